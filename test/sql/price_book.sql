--
-- The price book: set_price(), precedence, names, currencies, refusals
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal

CREATE VIEW pg_temp.book AS
SELECT p.model, p.provider, p.service_tier, p.org, p.currency, p.valid,
       string_agg(format('%s %s/%s', r.meter, r.amount, r.per), ', ' ORDER BY r.meter COLLATE "C") AS rates
FROM usage_monitor.price AS p
JOIN usage_monitor.price_rate AS r USING (price_id)
WHERE p.origin = 'user'
GROUP BY p.price_id
ORDER BY p.model COLLATE "C", p.provider COLLATE "C", p.service_tier, p.org NULLS FIRST, p.valid;

-- The first price holds for all time, a later one ends it
SELECT usage_monitor.set_price('m-time', 2, 8) > 0;
TABLE book;
SELECT usage_monitor.set_price('m-time', 3, 9, valid_from => '2026-03-01') > 0;
TABLE book;
-- one in between
SELECT usage_monitor.set_price('m-time', 2.5, 8.5, valid_from => '2026-02-01') > 0;
-- one at the same instant replaces
SELECT usage_monitor.set_price('m-time', 4, 10, valid_from => '2026-03-01') > 0;
TABLE book;

-- The price of an instant: the very first one is the new price's
SELECT at, usage_monitor.cost('m-time', 1000000, 1000000, at => at)
FROM unnest('{-infinity, 2026-01-31 23:59:59.999999, 2026-02-01 00:00, 2026-02-28 23:59:59.999999, 2026-03-01 00:00}'::timestamptz[]) AS at;

-- A first price that does not reach back, and one before it
SELECT usage_monitor.set_price('m-late', 1, 1, valid_from => '2026-05-01') > 0;
SELECT usage_monitor.cost('m-late', 1, 1, at => '2026-04-30 23:59:59.999999');
SELECT usage_monitor.set_price('m-late', 2, 2, valid_from => '2026-04-01') > 0;
SELECT model, valid, rates FROM book WHERE model = 'm-late';

-- Without valid_from a later price holds from now on
BEGIN;
SELECT usage_monitor.set_price('m-now', 1, 1) > 0;
SELECT usage_monitor.set_price('m-now', 2, 2) > 0;
SELECT usage_monitor.set_price('m-now', 3, 3) > 0;
SELECT valid = tstzrange(NULL, now()) AS until_now, valid = tstzrange(now(), NULL) AS from_now, rates
FROM book WHERE model = 'm-now';
SELECT usage_monitor.cost('m-now', 500000, 500000),
       usage_monitor.cost('m-now', 500000, 500000, at => now() - interval '1 microsecond');
ROLLBACK;
-- and with the transaction it is gone
SELECT usage_monitor.cost('m-now', 500000, 500000);

-- Every common case in one call
SELECT usage_monitor.set_price('m-cache', 3, 15, 0.3, 3.75, cache_write_1h => 6) > 0;
SELECT usage_monitor.set_price('m-thousand', 0.004, 0.012, per => 1000) > 0;
SELECT usage_monitor.set_price('m-tier', 2, 8) > 0,
       usage_monitor.set_price('m-tier', 1, NULL, service_tier => 'batch') > 0;
SELECT usage_monitor.set_price('m-org', 2, 8) > 0,
       usage_monitor.set_price('m-org', 1.5, 6, org => 'acme') > 0;
SELECT usage_monitor.set_price('m-provider', 2, 8, provider => 'OpenAI') > 0,
       usage_monitor.set_price('m-provider', 1, 4, provider => 'azure') > 0,
       usage_monitor.set_price('m-provider', 9, 9, provider => '*') > 0;
SELECT usage_monitor.set_price('m-other', 1, 2, other => '{"web_search": 0.01, "image": 0.04, "second": 0.0001}') > 0;
SELECT usage_monitor.set_price('m-image', NULL, NULL, other => '{"image": 0.04}') > 0;
SELECT usage_monitor.set_price('m-free', 0, 0) > 0;
SELECT * FROM book WHERE model NOT IN ('m-time', 'm-late');

-- 100 of 1000 are read, 300 written, 100 of them for an hour: 600*3 + 100*0.3 + 200*3.75 + 100*6 + 10*15
SELECT usage_monitor.cost('m-cache', 1000, 10, 100, 300, 100);
SELECT usage_monitor.cost('m-thousand', 1000, 1000);
-- output has no rate in the batch tier: the standard one; nobody knows what flex costs
SELECT tier, usage_monitor.cost('m-tier', 1000000, 1000000, service_tier => tier)
FROM unnest('{standard, batch, flex}'::text[]) AS tier;
-- a tier that only one catalogue knows is asked there; an agreed price is not mixed with what others pay
SELECT usage_monitor.cost('gpt-4.1', 1000000, 0, service_tier => 'batch') AS shipped,
       usage_monitor.cost('gpt-4.1', 1000000, 0, service_tier => 'flex') AS unknown;
SELECT meter, note FROM usage_monitor.cost_breakdown('gpt-4.1', 1000000, 0, service_tier => 'flex');
BEGIN;
SELECT change, new FROM usage_monitor.import_prices('[{"provider": "openai", "model": "gpt-4.1", "meter": "input", "amount": 1.9}]', 'usage_monitor');
SELECT usage_monitor.cost('gpt-4.1', 1000000, 0) AS imported, usage_monitor.cost('gpt-4.1', 1000000, 0, service_tier => 'batch') AS shipped;
SELECT usage_monitor.set_price('gpt-4.1', 1.5, 6, provider => 'openai', org => 'acme') > 0;
SELECT usage_monitor.cost('gpt-4.1', 1000000, 0, org => 'acme') AS agreed, usage_monitor.cost('gpt-4.1', 1000000, 0, service_tier => 'batch', org => 'acme') AS not_agreed;
ROLLBACK;
-- time: seconds at the rate of a minute or an hour
SELECT usage_monitor.set_price('m-hour', NULL, NULL, other => '{"hour": 0.36}') > 0, usage_monitor.set_price('m-minute', NULL, NULL, other => '{"minute": 0.006, "hour": 1}') > 0;
SELECT m, u, usage_monitor.cost(m, 0, 0, units => u) FROM unnest('{m-hour, m-minute}'::text[]) AS m, unnest('{"{\"second\": 90}", "{\"second\": 7.5}", "{\"minute\": 2}", "{\"second\": 3600}", "{\"hour\": 1, \"second\": 36}"}'::jsonb[]) AS u;
SELECT meter, quantity, trim_scale(amount) AS amount, cost, note FROM usage_monitor.cost_breakdown('m-hour', 0, 0, units => '{"second": 90}');
DELETE FROM usage_monitor.price WHERE model IN ('m-hour', 'm-minute');
-- other rates for short answers, and for calls with reasoning; a tier's own
BEGIN;
SELECT usage_monitor.set_price('m-short', 3, 14, other => '{"input_short": 2, "output_short": 8}', cache_read => 0.6) > 0, usage_monitor.set_price('m-think', 1, 2, other => '{"output_thinking": 8}') > 0,
       usage_monitor.set_price('m-think', 0.5, 1, service_tier => 'batch', other => '{"output_thinking": 4}') > 0;
SELECT o AS output, usage_monitor.cost('m-short', 1000000, o) AS short, usage_monitor.cost('m-short', 1000000, o, 500000) AS cached, usage_monitor.cost('m-short', 1000000, o, reasoning_output_tokens => 100) AS reasoning
FROM unnest('{100, 199, 200, NULL}'::bigint[]) AS o;
SELECT r AS reasoning, usage_monitor.cost('m-think', 1000000, 1000000, reasoning_output_tokens => r) AS thinking, usage_monitor.cost('m-think', 1000000, 1000000, reasoning_output_tokens => r, service_tier => 'batch') AS in_batch
FROM unnest('{0, 1, 1000000}'::bigint[]) AS r;
SELECT meter, quantity, trim_scale(amount) AS amount, trim_scale(cost) AS cost, note FROM usage_monitor.cost_breakdown('m-think', 1000000, 1000000, reasoning_output_tokens => 1);
-- a tier that says what output costs, says it of thinking too
SELECT usage_monitor.set_price('m-one', 1, 2, other => '{"output_thinking": 0.000008, "output_short": 0.0000015}') > 0, usage_monitor.set_price('m-one', 0.5, 1, service_tier => 'batch') > 0,
       usage_monitor.set_price('m-one', 0.7, NULL, service_tier => 'flex') > 0;
SELECT t AS tier, o AS output, r AS reasoning, usage_monitor.cost('m-one', 0, o, reasoning_output_tokens => r, service_tier => t)
FROM unnest('{standard, batch, flex}'::text[]) AS t, (VALUES (1000000, 0), (1000000, 1000000), (100, 0)) AS v (o, r);
SAVEPOINT a;
SELECT usage_monitor.cost('m-think', 1, 1, units => '{"output_thinking": 5}');
ROLLBACK;
-- the older search tool has a price of its own, or the newer one's; what multiplies, multiplies tokens
SELECT usage_monitor.cost('gpt-4.1', 0, 0, units => '{"web_search_preview": 2}') AS older, usage_monitor.cost('gpt-5', 0, 0, units => '{"web_search_preview": 2}') AS newer,
       usage_monitor.cost('claude-sonnet-5', 1000000, 0, units => '{"us_inference": 1, "web_search": 1}') AS in_one_country;
SELECT org, usage_monitor.cost('m-org', 1000000, 1000000, org => org)
FROM unnest('{acme, other, NULL}'::text[]) AS org;
SELECT provider, usage_monitor.cost('m-provider', 1000000, 1000000, provider => provider)
FROM unnest('{openai, azure, groq}'::text[]) AS provider;
SELECT usage_monitor.cost('m-other', 0, 0, units => '{"web_search": 2, "image": 1, "second": 12.5}');
-- a meter without any rate leaves the call unpriced
SELECT usage_monitor.cost('m-other', 0, 0, units => '{"page": 1}');
SELECT usage_monitor.cost('m-image', 0, 0, units => '{"image": 3}'), usage_monitor.cost('m-image', 1, 0, units => '{"image": 3}');
SELECT usage_monitor.cost('m-free', 1000, 1000), usage_monitor.cost('m-nobody-knows', 1000, 1000);

-- Precedence: the organisation's own, the user's, an imported one, the shipped
SELECT usage_monitor.cost('gpt-4o', 1000000, 0) > 0 AS shipped;
INSERT INTO usage_monitor.price (provider, model, currency, origin) VALUES ('openai', 'gpt-4o', 'USD', 'import') RETURNING price_id AS import \gset
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (:import, 'input', 1001), (:import, 'output', 1001);
SELECT usage_monitor.cost('gpt-4o', 1000000, 0, org => 'acme');
SELECT usage_monitor.set_price('gpt-4o', 1002, 1002) > 0;
SELECT usage_monitor.cost('gpt-4o', 1000000, 0, org => 'acme');
SELECT usage_monitor.set_price('gpt-4o', 1003, 1003, org => 'acme') > 0;
SELECT usage_monitor.cost('gpt-4o', 1000000, 0, org => 'acme'), usage_monitor.cost('gpt-4o', 1000000, 0);
DELETE FROM usage_monitor.price WHERE model = 'gpt-4o' AND origin <> 'shipped';
SELECT usage_monitor.cost('gpt-4o', 1000000, 0) BETWEEN 0 AND 100 AS shipped;

-- Currencies without an exchange rate are named: that of most prices, and those of vendors in use
BEGIN;
SET LOCAL client_min_messages = notice;
SELECT currency FROM usage_monitor.configure(currency => 'USD');
SELECT currency FROM usage_monitor.configure(unpriced => 'record');
INSERT INTO usage_monitor.usage (provider, model, input_tokens, output_tokens) VALUES ('alibaba', 'qwen-max', 10, 10), ('zhipuai', 'glm-4.6', 10, 10), ('openai', 'gpt-5', 10, 10);
SELECT currency FROM usage_monitor.configure(unpriced => 'record');
SELECT model, unpriced_reason FROM usage_monitor.unpriced_usage ORDER BY model;
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
SELECT currency FROM usage_monitor.configure(unpriced => 'record');
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = notice;
SELECT currency FROM usage_monitor.configure(currency => 'CNY');
INSERT INTO usage_monitor.usage (provider, model, input_tokens, output_tokens) VALUES ('alibaba', 'qwen-max', 10, 10), ('openai', 'gpt-5', 10, 10);
SELECT currency FROM usage_monitor.configure(reported_costs => 'prefer');
SELECT model, unpriced_reason FROM usage_monitor.unpriced_usage;
ROLLBACK;

-- The price lists of the first users.  A, in a ledger in yuan
BEGIN;
SELECT currency FROM usage_monitor.configure(currency => 'CNY');
SELECT count(usage_monitor.set_price(model, input, output, per => 1000))
FROM (VALUES ('qwen-plus', 0.004, 0.012), ('qwen-max', 0.02, 0.06)) AS list (model, input, output);
SELECT usage_monitor.cost('qwen-plus', 2000, 700), usage_monitor.cost('qwen-max', 2000, 700);
INSERT INTO usage_monitor.usage (model, input_tokens, output_tokens)
SELECT 'qwen-max', 2000, 700 FROM generate_series(1, 360);
SELECT count(*), sum(total_tokens), sum(cost), min(currency), max(currency) FROM usage_monitor.usage;
ROLLBACK;
SELECT usage_monitor.ledger_currency();

-- B
BEGIN;
SELECT currency FROM usage_monitor.configure(currency => 'CNY');
SELECT count(usage_monitor.set_price(model, input, output, per => 1000))
FROM (VALUES ('qwen-plus', 0.0004, 0.002), ('qwen-turbo', 0.0003, 0.0006), ('qwen-max', 0.02, 0.06),
             ('gpt-4', 0.21, 0.42), ('gpt-3.5-turbo', 0.0035, 0.007)) AS list (model, input, output);
SELECT model, usage_monitor.cost(model, 2000, 700)
FROM unnest('{qwen-plus, qwen-turbo, qwen-max, gpt-4, gpt-3.5-turbo}'::text[]) AS model;
ROLLBACK;

-- C
BEGIN;
SELECT currency FROM usage_monitor.configure(currency => 'CNY');
SELECT count(usage_monitor.set_price(model, input, output))
FROM (VALUES ('claude-3-5-sonnet', 3.00, 15.00), ('gpt-4-turbo', 10.00, 30.00), ('glm-4', 0.10, 0.10),
             ('qwen2.5-coder', 0.02, 0.02)) AS list (model, input, output);
SELECT usage_monitor.set_price('*', 0, 0, provider => 'ollama') > 0;
SELECT model, usage_monitor.cost(model, 2000, 700)
FROM unnest('{claude-3-5-sonnet, gpt-4-turbo, glm-4, qwen2.5-coder}'::text[]) AS model;
SELECT usage_monitor.cost('any-model:7b', 2000, 700, provider => 'ollama');
ROLLBACK;

-- D: any model at all, in dollars
BEGIN;
SELECT usage_monitor.set_price('*', 0.000002, 0.000002, per => 1) > 0;
SELECT usage_monitor.cost('m-nobody-knows', 2000, 700),
       usage_monitor.cost('m-nobody-knows', 2000, 700, provider => 'anybody'),
       usage_monitor.cost('m-thousand', 1000, 1000) AS of_its_own;
ROLLBACK;
SELECT usage_monitor.cost('m-nobody-knows', 2000, 700);

-- Names that lead to a price
SELECT usage_monitor.set_price('regress-sonnet', 3, 15, provider => 'anthropic') > 0;
INSERT INTO usage_monitor.model_alias (pattern, provider, model)
VALUES ('our-chat', 'anthropic', 'regress-sonnet'), ('our-*', NULL, 'm-thousand'), ('our-ch*', NULL, 'm-free');
SELECT name, provider, usage_monitor.cost(name, 1000000, 0, provider => provider)
FROM (VALUES ('regress-sonnet', NULL), ('regress-sonnet', 'anthropic'), ('Regress-Sonnet', NULL),
             ('anthropic/regress-sonnet', NULL), ('anthropic/regress-sonnet', 'anthropic'),
             ('regress-sonnet-20260102', NULL), ('regress-sonnet@20260102', 'anthropic'),
             ('regress-sonnet-2026-01-02', NULL), ('regress-sonnet-latest', NULL),
             ('our-chat', NULL), ('our-cheap', NULL), ('our-own', NULL),
             ('regress-sonnet-2', NULL), ('regress-sonne', NULL), ('not-our-chat', NULL),
             ('regress-sonnet', 'openai')) AS v (name, provider);
-- on Bedrock, with region, vendor, date and version
SELECT usage_monitor.set_price('anthropic.regress-opus', 5, 25, provider => 'aws') > 0;
SELECT name, provider, usage_monitor.cost(name, 1000000, 0, provider => provider)
FROM (VALUES ('us.anthropic.regress-opus-20260102-v1:0', 'aws'), ('anthropic.regress-opus-20260102-v1:0', 'bedrock'),
             ('eu.anthropic.regress-opus', NULL)) AS v (name, provider);
-- the closest name first, not the newest price
SELECT usage_monitor.set_price('regress-sonnet-20260102', 4, 15, provider => 'anthropic') > 0;
SELECT usage_monitor.cost('regress-sonnet-20260102', 1000000, 0), usage_monitor.cost('regress-sonnet-20260103', 1000000, 0);

-- Currencies: a price in yuan, in a ledger in dollars
SELECT usage_monitor.set_price('m-yuan', 10, 20, currency => 'CNY') > 0;
SELECT usage_monitor.cost('m-yuan', 1000000, 0);
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, valid, rate) VALUES
    ('CNY', 'USD', '[2026-01-01, 2026-02-01)', 0.14),
    ('CNY', 'USD', '[2026-02-01, 2026-03-01)', 0.1399999999999),
    ('EUR', 'USD', '(,)', 1.1), ('CNY', 'EUR', '(,)', 0.13);
INSERT INTO usage_monitor.usage (model, input_tokens, output_tokens, ts)
SELECT 'm-yuan', 100000, 10000, ts
FROM unnest('{2025-12-31 23:59:59.999999, 2026-01-01, 2026-01-31 23:59:59.999999, 2026-02-01, 2026-03-01}'::timestamptz[]) AS ts
RETURNING ts, cost_source, currency, cost, price_currency, price_cost, exchange_rate;
SELECT provider, model, sum(requests) FROM usage_monitor.unpriced_usage GROUP BY provider, model;

-- A later price does not rewrite what is recorded
SELECT usage_monitor.set_price('m-yuan', 99, 99) > 0;
SELECT count(*), sum(cost) FROM usage_monitor.usage;

-- Windows on the vendor's clock, at night and at the weekend
INSERT INTO usage_monitor.price (provider, model, currency) VALUES ('*', 'm-window', 'USD') RETURNING price_id AS windowed \gset
INSERT INTO usage_monitor.price_rate (price_id, meter, amount, window_start, window_end, window_days, window_zone) VALUES
    (:windowed, 'input', 10, NULL, NULL, NULL, NULL),
    (:windowed, 'input', 5, '22:30', '06:00', '{1,2,3,4,5}', 'America/New_York'),
    (:windowed, 'output', 0, NULL, NULL, NULL, NULL);
SELECT local, usage_monitor.cost('m-window', 1000000, 0, at => local AT TIME ZONE 'America/New_York')
FROM unnest('{2026-03-06 22:29:59.999999, 2026-03-06 22:30, 2026-03-07 05:59:59.999999, 2026-03-07 06:00,
              2026-03-07 23:00, 2026-03-08 03:30, 2026-03-09 05:00, 2026-03-10 05:00}'::timestamp[]) AS local;

-- Refused, and nothing changed
CREATE TEMP TABLE before AS
SELECT (SELECT md5(string_agg(p::text, '' ORDER BY price_id)) FROM usage_monitor.price AS p) AS price,
       (SELECT md5(string_agg(r::text, '' ORDER BY r::text COLLATE "C")) FROM usage_monitor.price_rate AS r) AS rate;

SELECT s.call, r.*
FROM unnest(ARRAY[
    $$NULL, 1, 1$$,
    $$'', 1, 1$$,
    $$'m', NULL, NULL$$,
    $$'m', NULL, NULL, other => '{}'$$,
    $$'m', -1, 1$$,
    $$'m', 1, 'NaN'$$,
    $$'m', 1, 'Infinity'$$,
    $$'m', 1, 1, cache_read => -0.1$$,
    $$'m', 1, 1, per => 0$$,
    $$'m', 1, 1, per => 3$$,
    $$'m', 1, 1, per => 0.5$$,
    $$'m', 1, 1, per => NULL$$,
    $$'m', 1, 1, currency => 'usd'$$,
    $$'m', 1, 1, currency => ''$$,
    $$'m', 1, 1, service_tier => 'gold'$$,
    $$'m', 1, 1, org => ''$$,
    $$'m', 1, 1, other => '{"parrot": 1}'$$,
    $$'m', 1, 1, other => '{"image": -1}'$$,
    $$'m', 1, 1, other => '[1]'$$,
    $$'m', 1, 1, other => '{"image": "0.04"}'$$,
    $$'m', 1, 1, other => '{"image": [0.04]}'$$,
    $$'m-time', 1, -1$$
]) AS s (call)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.set_price(%s)', s.call)) AS r;

SELECT s.statement, r.*
FROM unnest(ARRAY[
    $$INSERT INTO usage_monitor.price (provider, model, currency, valid) VALUES ('*', 'm-time', 'USD', '[2026-02-15, 2026-02-16)')$$,
    $$UPDATE usage_monitor.price SET valid = '(,)' WHERE model = 'm-late' AND lower(valid) = '2026-04-01'$$,
    $$INSERT INTO usage_monitor.price (provider, model, currency, valid) VALUES ('*', 'm', 'USD', 'empty')$$,
    $$INSERT INTO usage_monitor.price (provider, model, currency, valid) VALUES ('*', 'm', 'USD', '[2026-02-15, 2026-02-16]')$$,
    $$INSERT INTO usage_monitor.price (provider, model, currency) VALUES ('', 'm', 'USD')$$,
    $$INSERT INTO usage_monitor.price (provider, model, currency, origin) VALUES ('*', 'm', 'USD', 'mine')$$,
    $$INSERT INTO usage_monitor.price (price_id, provider, model, currency, origin) VALUES (-1, '*', 'm', 'USD', 'shipped')$$,
    $$UPDATE usage_monitor.price SET currency = 'EUR' WHERE model = 'gpt-4o'$$,
    $$UPDATE usage_monitor.price SET origin = 'shipped' WHERE model = 'm-time'$$,
    $$DELETE FROM usage_monitor.price WHERE model = 'gpt-4o'$$,
    $$UPDATE usage_monitor.price_rate SET amount = 0 WHERE price_id < 0$$,
    $$DELETE FROM usage_monitor.price_rate WHERE price_id < 0$$,
    $$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) SELECT min(price_id), 'gb', 1 FROM usage_monitor.price$$,
    $$DELETE FROM usage_monitor.model_alias$$,
    $$UPDATE usage_monitor.provider_alias SET provider = 'me'$$,
    $$INSERT INTO usage_monitor.model_alias (pattern) VALUES ('x')$$,
    $$INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('', 'm')$$,
    $$INSERT INTO usage_monitor.model_alias (pattern, model, origin) VALUES ('x', 'm', 'import')$$,
    $$UPDATE usage_monitor.price_rate SET context_from = -1 WHERE price_id > 0$$,
    $$UPDATE usage_monitor.price_rate SET meter = 'input_tokens' WHERE price_id > 0$$,
    $$UPDATE usage_monitor.price_rate SET window_start = '08:00' WHERE price_id > 0$$,
    $$UPDATE usage_monitor.price_rate SET window_start = '08:00', window_end = '08:00' WHERE price_id > 0$$,
    $$UPDATE usage_monitor.price_rate SET window_days = '{0}' WHERE price_id > 0$$,
    $$UPDATE usage_monitor.price_rate SET window_zone = 'Moon/Tranquility' WHERE price_id > 0$$,
    $$INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('GBP', 'USD', 0)$$,
    $$INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('GBP', 'USD', 'NaN')$$,
    $$INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('USD', 'USD', 1)$$,
    $$INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('pounds', 'USD', 1)$$,
    $$INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('EUR', 'USD', 1)$$
]) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;

SELECT before = ROW(
       (SELECT md5(string_agg(p::text, '' ORDER BY price_id)) FROM usage_monitor.price AS p),
       (SELECT md5(string_agg(r::text, '' ORDER BY r::text COLLATE "C")) FROM usage_monitor.price_rate AS r)) AS unchanged
FROM before;
