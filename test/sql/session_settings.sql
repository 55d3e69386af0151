-- What a session is set to changes no figure.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
CREATE SCHEMA regress_session_settings;

INSERT INTO usage_monitor.usage (ts, org, user_id, project, model, input_tokens, cache_read_input_tokens, output_tokens, duration_ms, tags)
SELECT '2026-05-01 10:00Z'::timestamptz + n * interval '1 day', 'acme', (ARRAY['ann', 'b\ob', 'c"a,rol'])[1 + n % 3],
       'p', (ARRAY['gpt-4o', 'claude-sonnet-4-5'])[1 + n % 2], 1000 * n, 100 * n, 10 * n, 100 * n, '{"team": "a\\b"}'
FROM generate_series(1, 20) AS n;

CREATE TABLE regress_session_settings.question (name text, query text, answer text);
INSERT INTO regress_session_settings.question VALUES
('usage_between', $$usage_monitor.usage_between(date '2026-05-01', date '2026-06-01', 'model')$$),
('report', $$(SELECT r - 'generated_at' AS r FROM usage_monitor.report('monthly', timestamptz '2026-05-15 12:00Z') AS r)$$),
('page_data', $$(SELECT p -> 'days' AS days, p -> 'parts' AS parts, p -> 'durations' AS durations FROM usage_monitor.page_data(date '2026-05-01', date '2026-06-01') AS p)$$),
('durations_between', $$usage_monitor.durations_between(date '2026-05-01', date '2026-06-01')$$),
('recent_calls', $$(SELECT user_id, cost, tags FROM usage_monitor.recent_calls(3))$$),
('statement', $$usage_monitor.statement('acme', date '2026-05-01')$$),
('statement_csv', $$(SELECT ltrim(c, chr(65279)) AS csv FROM usage_monitor.statement_csv('acme', date '2026-05-01') AS c)$$),
('statement_html', $$(SELECT regexp_replace(h, 'as of [^ ]*', 'as of now') AS h FROM usage_monitor.statement_html('acme', date '2026-05-01') AS h)$$),
('usage_csv', $$(SELECT ltrim(c, chr(65279)) AS csv FROM usage_monitor.usage_csv(date '2026-05-01', date '2026-06-01', 'user') AS c)$$),
('focus_csv', $$usage_monitor.focus_csv(date '2026-05-01', date '2026-06-01')$$),
('record_span', $$(SELECT model, cost, outcome, error FROM usage_monitor.record_span('{"name": "chat", "startTimeUnixNano": "1795694400000000000",
    "attributes": [{"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}}, {"key": "gen_ai.response.model", "value": {"stringValue": "gpt-4o"}},
    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "2006"}}, {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "300"}}]}'))$$),
('import_bill', $$(SELECT lines, amount FROM usage_monitor.import_bill(concat_ws(chr(10), 'ProviderName,BilledCost,BillingCurrency,ChargePeriodStart,ServiceName,ChargeDescription',
    'AWS,1.25,USD,2026-05-03T00:00:00Z,Amazon Bedrock,input tokens'), 'focus'))$$),
('_renamed', $$(SELECT _usage_monitor._renamed(jsonb_build_object('a', concat('do', chr(34), 'ra'), 'b', 'dora'), 'dora', 'x') AS renamed)$$);

-- An answer as text; what it writes is taken back.
CREATE FUNCTION regress_session_settings.answer(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE 'SELECT string_agg(r, chr(10) ORDER BY r COLLATE "C") FROM (SELECT to_jsonb(t)::text AS r FROM ' || query || ' AS t) AS x' INTO found;
    RAISE EXCEPTION SQLSTATE 'UMXXX';
EXCEPTION
    WHEN SQLSTATE 'UMXXX' THEN RETURN found;
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
UPDATE regress_session_settings.question SET answer = regress_session_settings.answer(query);
SELECT name, left(answer, 60) AS answer FROM regress_session_settings.question WHERE answer IS NULL OR answer ~ '^[0-9A-Z]{5} ';

CREATE VIEW regress_session_settings.difference AS
SELECT q.name, left(n.answer, 80) AS answer
FROM regress_session_settings.question AS q, regress_session_settings.answer(q.query) AS n (answer)
WHERE n.answer IS DISTINCT FROM q.answer;

-- Each is a session of its own, for what a function's text means is found out once.
\c -
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET TimeZone = 'UTC';
SELECT * FROM regress_session_settings.difference;
\c -
SET array_nulls = off;
SET quote_all_identifiers = on;
SET transform_null_equals = on;
SET TimeZone = 'UTC';
SELECT * FROM regress_session_settings.difference;
\c -
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET bytea_output = 'escape';
SET default_transaction_isolation = 'serializable';
SET TimeZone = 'UTC';
SELECT * FROM regress_session_settings.difference;
-- A client of another encoding gets a file of that encoding, without the mark of UTF-8.
\c -
SET client_encoding = 'GBK';
SET TimeZone = 'UTC';
SELECT * FROM regress_session_settings.difference;
SELECT left(usage_monitor.usage_csv('2026-05-01', '2026-06-01', 'user'), 9) AS csv;
SET client_encoding = 'UTF8';
SELECT left(usage_monitor.usage_csv('2026-05-01', '2026-06-01', 'user'), 1) = chr(65279) AS marked;

SET client_min_messages = warning;
DROP SCHEMA regress_session_settings CASCADE;
DROP EXTENSION usage_monitor CASCADE;
