--
-- What no call can have used, cost, or been made at, is refused at the door;
-- what is left out is not taken for nothing
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SELECT usage_monitor.set_price('m', 1, 2, other => '{"web_search": 0.01}') > 0,
       usage_monitor.set_price('by request', NULL, NULL, other => '{"request": 0.5}') > 0,
       usage_monitor.set_price('by image', NULL, NULL, other => '{"image": 0.04}') > 0,
       usage_monitor.set_price('free', 0, 0) > 0,
       usage_monitor.set_quota('q', 'all', NULL, 1000000, period => 'lifetime') > 0;
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate, valid)
VALUES ('EUR', 'USD', 1.25, '[2026-01-01, 2026-07-01)');
SELECT usage_monitor.refresh();

-- Refused, in whichever column
SELECT v.columns, left(v."values", 60), r.*
FROM (VALUES
    ('input_tokens', '1000000000000001'),
    ('output_tokens', '9223372036854775807'),
    ('input_tokens, cache_read_input_tokens', '10, 1000000000000001'),
    ('units', $$'{"image": 1000000000000001}'$$),
    ('units', $$'{"second": 1000000000000000.5}'$$),
    ('cost', '1000000000.01'),
    ('cost', '1e1000'),
    ('cost', '1e-101'),
    ('cost, input_cost', '1, 2'),
    ('cost, input_cost, other_cost', '1, 0.5, 0.4'),
    ('input_cost, output_cost', '0.5, 0.5'),
    ('other_cost', '0.5'),
    ('ts', '''4714-11-24 BC'''),
    ('ts', '''2014-12-31 23:59:59.999999+00'''),
    ('ts', 'now() + interval ''24 hours 1 second'''),
    ('ts', 'to_timestamp(1764370000000)'),
    ('ts', '''294276-12-31'''),
    ('total_tokens', '150000'),
    ('input_tokens, output_tokens, total_tokens', '1000, 500, 1501'),
    ('input_tokens, output_tokens, total_tokens', '1000, NULL, 1500'),
    ('input_tokens, currency', '1000, ''EUR'''),
    ('cost, currency, ts', '1, ''JPY'', ''2026-05-01'''),
    ('cost, currency, ts', '1, ''EUR'', ''2026-07-01'''),
    ('cost, currency', '1, ''euro'''),
    ('cost, currency', '1, ''eur'''),
    ('cost, currency, ts', '900000000, ''EUR'', ''2026-06-30'''),
    ('cost, price_currency', '1, ''EUR'''),
    ('price_id', '1'),
    ('cost_source', '''computed'''),
    ('unpriced_reason', '''no price'''),
    ('cost, price_cost', '1, 1'),
    ('cost, exchange_rate', '1, 1'),
    ('usage_id', '-5'),
    ('xid', '1'),
    ('org', ''' '''),
    ('model', ''' ''')
) AS v (columns, "values")
CROSS JOIN LATERAL (
    SELECT refusal.*
    FROM pg_temp.refusal(format('INSERT INTO usage_monitor.usage (%s) VALUES (%s)',
                                CASE v.columns WHEN 'model' THEN v.columns ELSE v.columns || ', model' END,
                                CASE v.columns WHEN 'model' THEN v."values" ELSE v."values" || ', ''m''' END))) AS r
WHERE v.columns <> 'ts' OR r.message !~ 'future' OR r.message ~ '(57880|294276)';
-- (the clock is in the message)
SELECT code, message ~ '^column "ts" must not be in the future, but is ' AS ok
FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, ts) VALUES ('m', now() + interval '24 hours 1 second')$$);
SELECT count(*) AS calls, (SELECT count(*) FROM usage_monitor.quota_usage) AS counters FROM usage_monitor.usage;

-- What is just possible is let in
INSERT INTO usage_monitor.usage (model, input_tokens, output_tokens, total_tokens, ts)
VALUES ('m', 1000000000000000, 1000000000000000, 2000000000000000, '2015-01-01') RETURNING total_tokens, cost;
INSERT INTO usage_monitor.usage (model, input_tokens, cost, ts) VALUES ('m', 1, 1000000000, now() + interval '24 hours') RETURNING cost;
INSERT INTO usage_monitor.usage (model, units) VALUES ('m', '{"web_search": 1000000000000000}') RETURNING cost;
-- and sums up
SELECT usage_monitor.refresh();
SELECT sum(requests) AS requests, sum(cost) AS cost, sum(total_tokens) AS tokens FROM usage_monitor.daily_usage;
DELETE FROM usage_monitor.usage;

-- The bounds are settings, and the administrator's
SET usage_monitor.max_cost = 10;
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, cost) VALUES ('m', 10.01)$$);
SET usage_monitor.max_cost = 1e50;
INSERT INTO usage_monitor.usage (model, cost) VALUES ('m', 1e50) RETURNING cost;
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, cost) VALUES ('m', 1e51)$$);
RESET usage_monitor.max_cost;
SET usage_monitor.earliest_ts = '1999-02-29';
SET usage_monitor.earliest_ts = '1999-01-01 12:00';
SET usage_monitor.earliest_ts = '1999-01-31';
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, cost, ts) VALUES ('m', 1, '1999-01-30')$$);
INSERT INTO usage_monitor.usage (model, cost, ts) VALUES ('m', 1, '1999-01-31') RETURNING ts;
RESET usage_monitor.earliest_ts;
SET usage_monitor.max_future = '10min';
SELECT code FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, cost, ts) VALUES ('m', 1, now() + interval '11 minutes')$$);
RESET usage_monitor.max_future;
CREATE ROLE regress_bounds_writer;
SELECT usage_monitor.grant_access('regress_bounds_writer', 'writer');
SET ROLE regress_bounds_writer;
SET usage_monitor.max_cost = 1e50;
SET usage_monitor.earliest_ts = '1999-01-01';
SET usage_monitor.max_future = '1000d';
RESET ROLE;
-- what was let in may be changed, but not into what would not be let in
UPDATE usage_monitor.usage SET user_id = 'u' RETURNING cost, ts < '2015-01-01' AS early;
SELECT v.change, r.code, r.message
FROM (VALUES ('input_tokens = 1000000000000001'), ('cost = 1e49'), ('ts = ''2014-12-31'''), ('total_tokens = 7'),
             ('currency = ''EUR'''), ('cost_source = ''unpriced'''), ('price_cost = 1'), ('other_cost = 7'),
             ('usage_id = -5'), ('recorded_at = ''2020-01-01'''), ('xid = 1'), ('org = '' ''')) AS v (change)
CROSS JOIN LATERAL pg_temp.refusal(format('UPDATE usage_monitor.usage SET %s', v.change)) AS r;
SELECT bool_and(user_id = 'u') AS unchanged FROM usage_monitor.usage;
-- the owner restores what is beyond them
INSERT INTO usage_monitor.usage (model, cost, input_cost, output_cost, other_cost, input_tokens, ts, recorded_at)
VALUES ('m', 1e12, 0, 0, 1e12, 1000000000000001, '2000-01-01', '2000-01-01') RETURNING cost, input_tokens, output_tokens, success, ts;
DELETE FROM usage_monitor.usage;
SELECT count(*) AS differences FROM usage_monitor.verify();

-- A cost in another currency is converted by the rate at the time of the call
INSERT INTO usage_monitor.usage (model, cost, input_cost, currency, ts)
VALUES ('m', 1, 0.4, 'EUR', '2026-01-01'), ('m', 1, 0.4, 'USD', '2026-01-01'), ('m', 0, 0, 'EUR', '2026-06-30 23:59:59.999999+00')
RETURNING cost, input_cost, output_cost, other_cost, currency, cost_source, price_currency, price_cost, exchange_rate;
UPDATE usage_monitor.usage SET cost = 3, input_cost = 0, currency = 'EUR' WHERE cost = 1
RETURNING cost, other_cost, currency, price_currency, price_cost;
UPDATE usage_monitor.usage SET cost = 2 WHERE cost = 3.75
RETURNING cost, other_cost, currency, price_currency, price_cost;
SELECT used FROM usage_monitor.quota_usage;
SELECT count(*) AS differences FROM usage_monitor.verify();
DELETE FROM usage_monitor.usage;

-- A call that counted nothing is not free, unless all that is billed is the call, or nothing is
INSERT INTO usage_monitor.usage (model, user_id)
VALUES ('m', 'nothing'), ('by request', 'nothing'), ('by image', 'nothing'), ('free', 'nothing')
RETURNING model, input_tokens, output_tokens, total_tokens, cost, cost_source, unpriced_reason;
INSERT INTO usage_monitor.usage (model, input_tokens, output_tokens) VALUES ('m', 0, 0), ('m', 7, DEFAULT), ('m', DEFAULT, 7)
RETURNING input_tokens, output_tokens, total_tokens, cost, cost_source;
INSERT INTO usage_monitor.usage (model, units) VALUES ('m', '{"web_search": 2}'), ('m', '{}'), ('by image', '{"image": 1}')
RETURNING model, units, input_tokens, cost, unpriced_reason;
INSERT INTO usage_monitor.usage (model, cached, success, cost) VALUES ('m', true, true, NULL), ('m', false, false, NULL), ('m', false, true, 0.5)
RETURNING cached, success, input_tokens, output_tokens, cost, cost_source;
SELECT input_tokens, cost, unpriced_reason
FROM usage_monitor.settle((usage_monitor.reserve(model => 'm', cost => 1)).reservation_id);
SELECT input_tokens, cost, unpriced_reason
FROM usage_monitor.settle((usage_monitor.reserve(model => 'm', cost => 1)).reservation_id, output_tokens => 5);
UPDATE usage_monitor.usage SET input_tokens = 10 WHERE model = 'm' AND user_id = 'nothing' RETURNING output_tokens, cost, unpriced_reason;
UPDATE usage_monitor.usage SET output_tokens = 5 WHERE model = 'm' AND user_id = 'nothing' RETURNING output_tokens, cost, unpriced_reason;

-- Empty names are none, and names have no blanks round them
INSERT INTO usage_monitor.usage (model, provider, org, user_id, department, project, session_id, request_id, operation, source, cost)
VALUES (E' m\t', '', ' acme ', '', ' ', E'\n', ' s 1 ', '', '', ' ', 0)
RETURNING model, provider, org, user_id, department, project, session_id, request_id, operation, source;
SELECT user_id, org, model FROM usage_monitor.settle((usage_monitor.reserve(user_id => ' ', org => ' acme ', model => ' m ', cost => 1)).reservation_id, cost => 1);
SELECT usage_monitor.set_quota('each', 'user', NULL, 1) > 0, usage_monitor.set_quota('padded', 'user', ' ann ', 1) > 0;
SELECT subject FROM usage_monitor.quota WHERE name = 'padded';
SELECT name FROM usage_monitor.check_quota(user_id => '', model => 'm');
SELECT name, subject FROM usage_monitor.check_quota(user_id => ' ann ', org => 'acme ', model => ' m');
SELECT code, message FROM pg_temp.refusal($$SELECT * FROM usage_monitor.check_quota(org => ' ')$$);
SELECT code, message FROM pg_temp.refusal($$SELECT * FROM usage_monitor.reserve(org => '', cost => 1)$$);
SELECT request_id, org FROM usage_monitor.record('{"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}', request_id => ' r ', org => ' acme ');
SELECT request_id, input_tokens FROM usage_monitor.record('{"model": "m", "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}}', request_id => 'r', org => 'acme');
SELECT count(*) FROM usage_monitor.usage WHERE request_id = 'r';

-- An error is a failure, unless the client knows better
INSERT INTO usage_monitor.usage (model, cost, error, success)
VALUES ('m', 0, 'timeout', DEFAULT), ('m', 0, 'timeout, then it came', true), ('m', 0, '', DEFAULT), ('m', 0, NULL, false)
RETURNING error, success;

-- The same at the other doors
SELECT s.call, r.*
FROM (VALUES
    ('reserve(cost => 1000000001)'),
    ('reserve(model => ''m'', input_tokens => 1000000000000001)'),
    ('reserve(cost => 1, requests => 1000000000000001)'),
    ('cost(''m'', 1000000000000001, 0)'),
    ('settle(NULL)'),
    ('set_price(''n'', 10 ^ 1000::numeric, 0)'),
    ('set_price(''n'', 1e-101, 0)'),
    ('set_quota(''n'', ''all'', NULL, 10 ^ 1000::numeric)'),
    ('raise_quota(''q'', 10 ^ 1000::numeric, ''infinity'')'),
    ('drop_usage_before(''infinity'')'),
    ('drop_usage_before(''5874897-12-31'')'),
    ('drop_usage_before(''4713-01-01 BC'')'),
    ('close_period(''5874897-12-31'')'),
    ('import_prices(''[[]]'', ''usage_monitor'')'),
    ('import_prices(''[1]'', ''genai-prices'')'),
    ('import_prices(''[{"provider": "p", "model": "n", "meter": "input", "amount": "12abc"}]'', ''usage_monitor'')'),
    ('import_prices(''{"m": {"litellm_provider": "p", "tiered_pricing": [{"range": ["Infinity", 9], "input_cost_per_token": 1e-6}]}}'', ''litellm'')'),
    ('import_prices(''{"m": {"litellm_provider": "p", "tiered_pricing": [{"range": [1e400, 9], "input_cost_per_token": 1e-6}]}}'', ''litellm'')'),
    ('import_prices(''[{"provider": "p", "model": "n", "meter": "input", "amount": 1, "valid_to": -1}]'', ''usage_monitor'')'),
    ('import_prices(''[{"provider": "p", "model": "n", "meter": "input", "amount": 1}, {"provider": "p", "model": "n", "meter": "input", "amount": 2}]'', ''usage_monitor'')')
) AS s (call)
CROSS JOIN LATERAL pg_temp.refusal('SELECT usage_monitor.' || s.call) AS r;
SELECT r.* FROM pg_temp.refusal($$INSERT INTO usage_monitor.exchange_rate VALUES ('CHF', 'USD', '(,)', 10 ^ 1000::numeric)$$) AS r;
SELECT count(*) FROM usage_monitor.price WHERE model = 'n';
SELECT count(*) AS differences FROM usage_monitor.verify();

DROP OWNED BY regress_bounds_writer;
DROP ROLE regress_bounds_writer;
