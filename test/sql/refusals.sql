--
-- Bad input is refused: what is said, and that nothing changes
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal

SELECT usage_monitor.set_price('m', 1, 2) > 0,
       usage_monitor.set_quota('q', 'all', NULL, 1000, period => 'lifetime', metric => 'requests') > 0;
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r', 'alice', 'm', 100, 10, '2026-03-01') RETURNING cost;

CREATE VIEW pg_temp.state AS
SELECT (SELECT md5(string_agg(u::text, '' ORDER BY usage_id)) FROM usage_monitor.usage AS u) AS ledger,
       (SELECT md5(string_agg(q::text, '' ORDER BY quota_id)) FROM usage_monitor.quota AS q) AS quotas,
       (SELECT sum(used) FROM usage_monitor.quota_usage) AS used,
       (SELECT s::text FROM usage_monitor.setting AS s) AS setting;
CREATE TEMP TABLE before AS TABLE pg_temp.state;
SELECT used FROM before;

-- The ledger
SELECT v.columns, v."values", r.*
FROM (VALUES
    ('input_tokens', '-1'),
    ('output_tokens', '-1'),
    ('cache_read_input_tokens', '-1'),
    ('cache_creation_input_tokens', '-1'),
    ('cache_creation_1h_input_tokens', '-1'),
    ('reasoning_output_tokens', '-1'),
    ('input_audio_tokens', '-1'),
    ('output_audio_tokens', '-1'),
    ('input_tokens, output_tokens', '9223372036854775807, 1'),
    ('input_tokens, cache_read_input_tokens', '10, 11'),
    ('input_tokens, cache_read_input_tokens, cache_creation_input_tokens', '10, 6, 5'),
    ('input_tokens, cache_creation_input_tokens, cache_creation_1h_input_tokens', '10, 5, 6'),
    ('output_tokens, reasoning_output_tokens', '10, 11'),
    ('output_tokens, reasoning_output_tokens, output_audio_tokens', '10, 6, 5'),
    ('input_tokens, input_audio_tokens', '10, 11'),
    ('input_tokens, input_audio_tokens, units', $$10, 6, '{"input_image": 5}'$$),
    ('input_tokens, cache_read_input_tokens, units', $$10, 6, '{"cache_read_audio": 1}'$$),
    ('cost', '-0.1'),
    ('cost', '''NaN'''),
    ('cost', '''Infinity'''),
    ('cost, input_cost', '1, -0.1'),
    ('cost, output_cost', '1, ''NaN'''),
    ('cost, input_cost, output_cost', '1, 0.7, 0.4'),
    ('org', ''''''),
    ('user_id', 'repeat(''x'', 1001)'),
    ('request_id', 'repeat(''x'', 1001)'),
    ('service_tier', '''gold'''),
    ('service_tier', ''''''),
    ('units', $$'{"parrot": 1}'$$),
    ('units', $$'{"web_search": -1}'$$),
    ('units', $$'{"web_search": "2"}'$$),
    ('units', $$'{"web_search": 1e30}'$$),
    ('units', $$'{"second": 0.0000000000000000001}'$$),
    ('units', $$'{"input_image": 0.5}'$$),
    ('units', $$'{"input": 1}'$$),
    ('units', $$'{"reasoning": 1}'$$),
    ('units', $$'{"us_inference": 1, "eu_inference": 1}'$$),
    ('units', $$'[1]'$$),
    ('tags', $$'{"a": {"b": 1}}'$$),
    ('tags', $$'{"a": [1]}'$$),
    ('tags', $$'"a"'$$),
    ('tags', $$'["a"]'$$),
    ('duration_ms', '-1'),
    ('duration_ms', '''NaN'''),
    ('duration_ms', '''Infinity'''),
    ('ts', '''infinity'''),
    ('ts', '''-infinity'''),
    ('ts', 'NULL')
) AS v (columns, "values")
CROSS JOIN LATERAL pg_temp.refusal(format('INSERT INTO usage_monitor.usage (model, %s) VALUES (''m'', %s)', v.columns, v."values")) AS r;

SELECT s.statement, r.*
FROM (VALUES
    ($$INSERT INTO usage_monitor.usage (model) VALUES ('')$$),
    ($$INSERT INTO usage_monitor.usage (model) VALUES (NULL)$$),
    ($$INSERT INTO usage_monitor.usage (user_id) VALUES ('alice')$$),
    ($$INSERT INTO usage_monitor.usage (model) VALUES (repeat('x', 1001))$$),
    ($$INSERT INTO usage_monitor.usage_default (model, input_tokens) VALUES ('m', -1)$$),
    ($$INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 1), ('m', -1)$$),
    ($$INSERT INTO usage_monitor.usage (request_id, model) VALUES ('r', 'm')$$),
    ($$UPDATE usage_monitor.usage SET input_tokens = -1$$),
    ($$UPDATE usage_monitor.usage SET cache_read_input_tokens = 101$$),
    ($$UPDATE usage_monitor.usage SET cost = 'NaN'$$),
    ($$UPDATE usage_monitor.usage SET model = ''$$),
    ($$UPDATE usage_monitor.usage SET ts = 'infinity'$$),
    ($$SELECT usage_monitor.cost('m', -1, 0)$$),
    ($$SELECT usage_monitor.cost('m', 10, 0, 11)$$),
    ($$SELECT usage_monitor.cost('m', 10, 0, service_tier => 'gold')$$),
    ($$SELECT usage_monitor.cost('m', 10, 0, units => '{"parrot": 1}')$$)
) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;

-- A call without a price, where the setting says so
BEGIN;
SELECT currency, time_zone, unpriced FROM usage_monitor.configure(unpriced => 'refuse');
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('never-heard-of', 1)$$);
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (provider, model, input_tokens) VALUES ('nobody', 'never-heard-of', 1)$$);
INSERT INTO usage_monitor.usage (model, input_tokens, cost) VALUES ('never-heard-of', 1, 0.5) RETURNING cost_source;
ROLLBACK;

-- Quotas
SELECT s.call, r.*
FROM (VALUES
    ($$'', 'all', NULL, 1$$),
    ($$NULL, 'all', NULL, 1$$),
    ($$repeat('é', 501), 'all', NULL, 1$$),
    ($$'q', 'all', NULL, 0$$),
    ($$'q', 'all', NULL, -1$$),
    ($$'q', 'all', NULL, 'NaN'$$),
    ($$'q', 'all', NULL, 'Infinity'$$),
    ($$'q', 'all', NULL, NULL$$),
    ($$'q', 'team', NULL, 1$$),
    ($$'q', NULL, NULL, 1$$),
    ($$'q', 'all', 'alice', 1$$),
    ($$'q', 'user', '', 1$$),
    ($$'q', 'all', NULL, 1, period => 'fortnight'$$),
    ($$'q', 'all', NULL, 1, period => NULL$$),
    ($$'q', 'all', NULL, 1, metric => 'words'$$),
    ($$'q', 'all', NULL, 1, metric => NULL$$),
    ($$'q', 'all', NULL, 1, enforcement => 'shoot'$$),
    ($$'q', 'all', NULL, 1, time_zone => 'Moon/Tranquility'$$),
    ($$'q', 'all', NULL, 1, time_zone => '+05:30'$$),
    ($$'q', 'all', NULL, 1, time_zone => 'UTC+3'$$),
    ($$'q', 'all', NULL, 1, time_zone => 'CET-1CEST'$$),
    ($$'q', 'all', NULL, 1, warning => 0$$),
    ($$'q', 'all', NULL, 1, critical => 1.01$$),
    ($$'q', 'all', NULL, 1, warning => 0.96$$),
    ($$'q', 'all', NULL, 1, warning => 'NaN'$$),
    ($$'q', 'all', NULL, 1, critical => 'NaN'$$),
    ($$'q', 'all', NULL, 1, warning => NULL$$)
) AS s (call)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.set_quota(%s)', s.call)) AS r;
SELECT s.call, r.*
FROM (VALUES
    ($$cost => 'NaN'$$),
    ($$cost => 'Infinity'$$),
    ($$cost => '-Infinity'$$),
    ($$cost => -0.01$$),
    ($$cost => 1, tokens => -1$$),
    ($$cost => 1, requests => -1$$)
) AS s (call)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT * FROM usage_monitor.check_quota(%s)', s.call)) AS r;
SELECT s.statement, r.*
FROM (VALUES
    ($$INSERT INTO usage_monitor.quota (name, scope, amount) VALUES ('q', 'all', 1)$$),
    ($$INSERT INTO usage_monitor.quota (name, scope, amount) VALUES ('p', 'all', 0)$$),
    ($$UPDATE usage_monitor.quota SET amount = 0$$),
    ($$UPDATE usage_monitor.quota SET quota_id = quota_id + 1$$),
    ($$SELECT usage_monitor.period_start('2026-03-01', 'fortnight', 'UTC')$$),
    ($$SELECT usage_monitor.period_start('2026-03-01', 'day', 'Moon/Tranquility')$$),
    ($$SELECT usage_monitor.acknowledge_alert(1)$$),
    ($$SELECT usage_monitor.resolve_alert(1)$$),
    ($$SELECT usage_monitor.grant_access('pg_monitor', 'owner')$$)
) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;

-- Settings
SELECT s.call, r.*
FROM (VALUES
    ($$currency => 'dollars'$$),
    ($$currency => 'usd'$$),
    ($$time_zone => 'Moon/Tranquility'$$),
    ($$unpriced => 'ignore'$$),
    ($$currency => 'EUR'$$),
    ($$time_zone => 'Asia/Shanghai'$$)
) AS s (call)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.configure(%s)', s.call)) AS r;
SELECT usage_monitor.ledger_currency(), usage_monitor.ledger_time_zone();

-- Arguments that are left empty, and times that never come
SELECT s.statement, r.*
FROM (VALUES
    ($$SELECT usage_monitor.acknowledge_alert(NULL)$$),
    ($$SELECT usage_monitor.resolve_alert(-1)$$),
    ($$SELECT usage_monitor.raise_quota('q', 5, NULL)$$),
    ($$SELECT usage_monitor.set_price('n', 1, 2, valid_from => 'infinity')$$),
    ($$INSERT INTO usage_monitor.exchange_rate VALUES ('EUR', 'USD', '[infinity,)', 1.1)$$),
    ($$SELECT usage_monitor.record(to_jsonb('{"model": "gpt-4o"}'::text))$$),
    ($$SELECT usage_monitor.record('7')$$)
) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;

-- Nothing has changed
SELECT before IS NOT DISTINCT FROM state AS unchanged FROM before, pg_temp.state;

-- The row of settings, once there is one
SELECT currency, time_zone, unpriced FROM usage_monitor.configure(currency => 'USD');
-- and where calls have been recorded nobody who records waits for it
BEGIN;
SELECT unpriced FROM usage_monitor.configure(unpriced => 'refuse', reported_costs => 'ignore', currency => 'USD');
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation::regclass::text LIKE 'usage_monitor.usage%' AND mode <> 'AccessShareLock';
ROLLBACK;
SELECT s.statement, r.*
FROM (VALUES
    ($$SELECT usage_monitor.configure(currency => 'EUR')$$),
    ($$UPDATE usage_monitor.setting SET time_zone = 'Asia/Shanghai'$$),
    ($$UPDATE usage_monitor.setting SET unpriced = NULL$$),
    ($$DELETE FROM usage_monitor.setting$$),
    ($$INSERT INTO usage_monitor.setting (only_row) VALUES (false)$$)
) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;
SELECT currency, time_zone, unpriced FROM usage_monitor.setting;
