-- How a cost comes about: cost_breakdown(), explain_cost(), estimates.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

INSERT INTO usage_monitor.price (price_id, provider, model, currency) VALUES (1001, 'acme', 'm', 'USD');
INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from) VALUES
    (1001, 'input', 3, 1000000, 0), (1001, 'input', 6, 1000000, 200000),
    (1001, 'cache_read', 0.3, 1000000, 0), (1001, 'cache_write', 3.75, 1000000, 0),
    (1001, 'output', 15, 1000000, 0), (1001, 'web_search', 10, 1000, 0);
INSERT INTO usage_monitor.price_rate (price_id, meter, amount, window_start, window_end, window_days, window_zone) VALUES
    (1001, 'output', 7.5, '23:00', '07:30', '{1,2,3,4,5}', 'Asia/Shanghai');
INSERT INTO usage_monitor.price (price_id, provider, model, currency, service_tier) VALUES (1002, 'acme', 'm', 'USD', 'batch');
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (1002, 'input', 1.5), (1002, 'output', 7.5);

\pset null -
-- leaves, not inclusive counts; what has no rate of its own says whose it takes
SELECT meter, quantity, trim_scale(amount) AS amount, per, unit_price, cost, price_id, context_from, service_tier, currency, note
FROM usage_monitor.cost_breakdown('m', 100000, 5000, 40000, 10000, 2000, 3000, units => '{"web_search": 2}', at => '2026-03-04 12:00Z');
-- a tier prices the whole request; a window; a meter that the batch tier leaves to the standard one
SELECT meter, cost, context_from, time_window FROM usage_monitor.cost_breakdown('m', 200001, 1000, at => '2026-03-04 16:00Z');
SELECT meter, cost, price_id, service_tier
FROM usage_monitor.cost_breakdown('m', 100000, 1000, 50000, service_tier => 'batch', at => '2026-03-04 12:00Z');
-- no cost, and why
SELECT meter, cost, note FROM usage_monitor.cost_breakdown('nobody-knows', 1, 1);
SELECT meter, cost, note FROM usage_monitor.cost_breakdown('m', 1, 1, units => '{"image": 1}');
SELECT meter, cost, note FROM usage_monitor.cost_breakdown('m', NULL, 1);
SELECT meter, cost, note FROM usage_monitor.cost_breakdown('yuan', 1, 1);
SELECT usage_monitor.set_price('yuan', 0.123456789, 9.87, currency => 'CNY') > 0 AS set;
SELECT meter, cost, note FROM usage_monitor.cost_breakdown('yuan', 1, 1);
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.1402931);
SELECT meter, quantity, unit_price, cost, currency, exchange_rate FROM usage_monitor.cost_breakdown('yuan', 1234567, 891);

-- the parts are the whole, to the last digit
INSERT INTO usage_monitor.discount (org, percent) VALUES ('discounted', 12.3456789);
SELECT count(*) AS calls, count(*) FILTER (WHERE parts IS DISTINCT FROM whole) AS differ
FROM (
    SELECT usage_monitor.cost(m, i * 7919, i * 31, i * 100, i * 50, i * 20, i * 3, org => o, service_tier => t) AS whole,
           (SELECT sum(b.cost) FROM usage_monitor.cost_breakdown(m, i * 7919, i * 31, i * 100, i * 50, i * 20, i * 3, org => o, service_tier => t) AS b) AS parts
    FROM generate_series(1, 20000000000, 1234567890) AS i,
         unnest(ARRAY['m', 'yuan', 'claude-sonnet-4-5', 'gpt-4o', 'qwen-plus']) AS m,
         unnest(ARRAY['', 'discounted']) AS o,
         unnest(ARRAY['standard', 'batch']) AS t
) AS x;

-- the ledger
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens, cost, cached) VALUES
    ('2026-03-04 12:00Z', 'acme', 'm', 1000, 100, NULL, false),
    ('2026-03-04 12:00Z', 'acme', 'm', 1000, 100, 0.5, false),
    ('2026-03-04 12:00Z', 'acme', 'm', 1000, 100, NULL, true),
    ('2026-03-04 12:00Z', 'acme', 'unknown', 1000, 100, NULL, false);
SELECT usage_id, e.meter, e.quantity, e.cost, e.note
FROM generate_series(1, 5) AS usage_id, usage_monitor.explain_cost(usage_id) AS e;
SELECT provider, model, unpriced_reason, sum(requests) FROM usage_monitor.unpriced_usage GROUP BY provider, model, unpriced_reason;
-- one alert a model and day, if it is recorded indeed
BEGIN;
INSERT INTO usage_monitor.usage (ts, model) VALUES ('2026-03-05 12:00Z', 'rolled back');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SAVEPOINT a;
INSERT INTO usage_monitor.usage (ts, model) VALUES ('2026-03-05 12:00Z', 'rolled back too');
ROLLBACK TO a;
INSERT INTO usage_monitor.usage (ts, model) SELECT '2026-03-05Z'::timestamptz + i * interval '1 hour', 'another' FROM generate_series(0, 47) AS i;
COMMIT;
INSERT INTO usage_monitor.usage (ts, provider, model) VALUES ('2026-03-04 13:00Z', 'acme', 'unknown');
\c
INSERT INTO usage_monitor.usage (ts, provider, model) VALUES ('2026-03-04 14:00Z', 'acme', 'unknown');
\pset null -
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT alert_type, level, subject, period_start, message, details FROM usage_monitor.alert ORDER BY subject, period_start;
DELETE FROM usage_monitor.usage WHERE model = 'another';
-- also when the price book says otherwise by now
UPDATE usage_monitor.price_rate SET amount = 1 WHERE price_id = 1001 AND meter = 'input' AND context_from = 0;
SELECT meter, quantity, cost, note FROM usage_monitor.explain_cost(1);
SELECT sum(e.cost) = u.cost AS same FROM usage_monitor.usage AS u, usage_monitor.explain_cost(u.usage_id) AS e WHERE u.usage_id = 1 GROUP BY u.cost;

-- before the call, and with another model
SELECT usage_monitor.estimate_cost('m', 1000, 4096, at => '2026-03-04 12:00Z'),
       usage_monitor.estimate_cost('nobody-knows', 1000, 4096);
SELECT usage_monitor.set_price('cheap', 0.1, 0.2) > 0 AS set;
SELECT * FROM usage_monitor.what_if('m', 'cheap', '[2026-03-01,2026-04-01)');
SELECT * FROM usage_monitor.what_if('m', 'nobody-knows');

-- a reader may ask
CREATE ROLE regress_reader;
SELECT usage_monitor.grant_access('regress_reader', 'reader');
SET ROLE regress_reader;
SELECT meter, cost FROM usage_monitor.explain_cost(2);
SELECT name FROM usage_monitor.resolve_model('acme', 'm') WHERE chosen;
SELECT requests FROM usage_monitor.what_if('m', 'cheap');
RESET ROLE;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_reader;
