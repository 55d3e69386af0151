--
-- Statistics and reports by known answers, what they refuse, and who may read them
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'Pacific/Chatham';   -- must not matter: days and hours are the ledger's
SET datestyle = 'ISO, YMD';
-- costs of any size, and calls of any time
SET usage_monitor.max_cost = 1e30;
SET usage_monitor.earliest_ts = '0900-01-01';
SET usage_monitor.max_future = '1400000d';

-- What is refused: SQLSTATE, message, hint
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN format('%s %s / %s', SQLSTATE, SQLERRM, hint);
END
$$;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('CNY', 'Asia/Shanghai');
SELECT call, pg_temp.refusal('SELECT * FROM usage_monitor.' || call) AS refusal
FROM unnest(ARRAY[
    'hourly_summary(-1)', 'hourly_summary(NULL)', 'hourly_summary(878401)',
    'daily_summary(-1)', 'daily_summary(NULL)', 'daily_summary(36601)',
    'monthly_summary(2026, 13)', 'monthly_summary(2026, 0)', 'monthly_summary(0, 1)', 'monthly_summary(10000, 1)', 'monthly_summary(NULL, 1)', 'monthly_summary(2026, NULL)',
    'top_users(-1)', 'top_users(0)', 'top_users(NULL)', 'top_users(days => -1)', 'top_users(days => 0)', 'top_users(days => 36601)',
    'top_models(-1)', 'top_models(NULL)', 'top_models(days => -1)', 'top_models(days => NULL)',
    'cost_trend(-1)', 'cost_trend(0)', 'cost_trend(NULL)', 'cost_trend(2147483647)',
    'usage_between(date ''2026-02-01'', date ''2026-01-01'')', 'usage_between(NULL, date ''2026-01-01'')', 'usage_between(date ''2026-01-01'', NULL)',
    'usage_between(timestamptz ''2026-02-01 00:00+08'', ''2026-01-01 00:00+08'')', 'usage_between(''infinity'', ''-infinity'')',
    'usage_between(date ''2026-01-01'', date ''2026-02-01'', ''colour'')', 'usage_between(date ''2026-01-01'', date ''2026-02-01'', NULL)',
    'usage_between(timestamptz ''2026-01-01 00:00+00'', ''2026-02-01 00:00+08'')',
    'usage_between(timestamptz ''2026-01-01 00:00+08'', ''2026-02-01 00:00:00.000001+08'', ''model'')',
    'usage_between(timestamptz ''2026-01-01 00:00+08'', ''2026-01-01 11:30+08'', ''hour'')',
    'usage_between(''2026-01-01'', ''tomorrow week'')', 'usage_between(date ''2026-01-01'', date ''5874897-12-31'')', 'usage_between(date ''2026-01-01'', date ''294276-12-31'')', 'usage_between(''2026-01-01 00:00+08'', timestamptz ''294276-12-31 00:00+00'')', 'usage_between(''4713-01-02 BC'', ''infinity'', ''month'')',
    'report(''monthly'', ''294276-12-31'')', 'report(''daily'', date ''5874897-12-31'')', 'report(''weekly'', ''4713-01-01 BC'')', 'report(''daily'', ''tomorrow week'')', 'report(''daily'', date ''-infinity'')', 'report(''daily'', NULL::date)',
    'forecast(''294276-12-30'')', 'forecast(date ''294276-12-31'')', 'suggest_optimizations(''294276-12-30'')', 'suggest_optimizations(NULL::date)',
    'report(''yearly'')', 'report(NULL)', 'report(''daily'', NULL)', 'report(''daily'', ''infinity'')']) AS call;

-- What is not
SELECT call, pg_temp.refusal('SELECT * FROM usage_monitor.' || call) AS refusal
FROM unnest(ARRAY[
    'hourly_summary(878400)', 'daily_summary(36600)', 'monthly_summary(1, 1)', 'monthly_summary(9999, 12)', 'top_users(2147483647, 36600)',
    'usage_between(timestamptz ''2026-01-01 00:00+08'', ''2026-01-01 00:00+08'')', 'usage_between(timestamptz ''2026-01-01 11:00+08'', ''2026-01-01 12:00+08'', ''hour'')',
    'usage_between(current_date - 7, current_date, ''user'')', 'usage_between(''-infinity'', ''infinity'', ''hour'')',
    'report(''monthly'', ''0001-01-15'')', 'report(''monthly'', ''294275-12-31'')', 'report(''monthly'', ''4710-01-02 BC'')', 'forecast(''294275-12-31'')', 'forecast(''4710-01-02 BC'')', 'suggest_optimizations(''294275-12-31'')', 'suggest_optimizations(''4710-01-02 BC'', days => 366)', 'usage_between(''-infinity'', date ''294275-12-31'')', 'usage_between(''today'', ''tomorrow'', ''hour'')', 'report(''weekly'', ''9999-12-15'')', 'dashboard(''nobody'')', 'session_stats(NULL)']) AS call;

-- Of an empty ledger: every function has an answer
SELECT period, name, requests, cost, success_rate, avg_duration_ms, currency
FROM (SELECT * FROM usage_monitor.monthly_summary(2026, 2) UNION ALL SELECT * FROM usage_monitor.monthly_summary(2026, 2, 'acme')) AS s;
SELECT period, requests, errors, total_tokens, cost, unpriced_requests, period_end - period_start AS length
FROM (SELECT * FROM usage_monitor.current_stats() UNION ALL SELECT * FROM usage_monitor.current_stats('acme')
      UNION ALL SELECT * FROM usage_monitor.hourly_summary(5) UNION ALL SELECT * FROM usage_monitor.daily_summary(5)) AS s;
SELECT (SELECT count(*) FROM usage_monitor.session_stats('s')) AS sessions, (SELECT count(*) FROM usage_monitor.top_users()) AS users,
       (SELECT count(*) FROM usage_monitor.top_models()) AS models, (SELECT count(*) FROM usage_monitor.usage_between('-infinity', 'infinity')) AS days,
       (SELECT count(*) FROM usage_monitor.trend_total) AS trend, (SELECT count(*) FROM usage_monitor.usage_pattern) AS pattern,
       (SELECT count(*) FROM usage_monitor.pattern_total) AS pattern_total;
SELECT count(*), sum(requests) AS requests, sum(cost) AS cost, count(change) AS changes, count(average_7d_cost) AS averages FROM usage_monitor.cost_trend();
SELECT jsonb_pretty(usage_monitor.report('daily', '2026-02-03 12:00+08') - 'generated_at' - 'trend' - 'others');
SELECT jsonb_array_length(usage_monitor.report('daily', '2026-02-03 12:00+08') -> 'trend') AS hours;
SELECT key, jsonb_typeof(value) FROM jsonb_each(usage_monitor.dashboard()) ORDER BY key;
ROLLBACK;

-- A ledger made by hand: a week and a month of two organisations
PREPARE set_prices AS
SELECT usage_monitor.set_price('a', 1, 10, provider => 'maker') > 0 AS a, usage_monitor.set_price('b', 2, 20, provider => 'maker') > 0 AS b;
PREPARE fill AS
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, session_id, model, operation, source, service_tier,
                                 input_tokens, output_tokens, cache_read_input_tokens, duration_ms, success, cached, tags)
VALUES -- 1 March 2026 is a Sunday
       ('2026-02-23 09:00+08', 'acme',   'it', 'bot', 'ann', 's1', 'a',     'chat', 'web', 'standard', 1000000, 100000, 400000, 100, true,  false, '{"team": "x"}'),
       ('2026-03-01 23:59:59.999999+08', 'acme', 'it', 'bot', 'ann', 's1', 'a', 'chat', 'web', 'standard', 1000000, 0, 0, 300, true, false, '{"team": "x"}'),
       -- the week of the report
       ('2026-03-02 00:00+08', 'acme',   'it', 'bot', 'ann', 's2', 'a',     'chat', 'web', 'standard', 1000000, 100000, 0,      100, true,  false, '{"team": "x"}'),
       ('2026-03-02 09:30+08', 'acme',   'it', 'bot', 'bob', 's2', 'b',     'chat', 'web', 'standard', 1000000, 100000, 500000, 500, true,  false, '{"team": "y", "env": "prod"}'),
       ('2026-03-04 09:45+08', 'acme',   NULL, NULL,  NULL,  NULL, 'b',     NULL,   NULL,  'standard', 1000000, 0,      0,      NULL, false, false, NULL),
       ('2026-03-04 10:00+08', 'globex', NULL, NULL,  'ann', NULL, 'mystery', 'chat', 'api', 'batch',  500000,  500000, 0,      1000, true,  false, '{"team": "x"}'),
       ('2026-03-08 23:59+08', 'globex', NULL, NULL,  'ann', NULL, 'a',     'chat', 'api', 'standard', 1000000, 100000, 0,      200, true,  true,  NULL),
       -- and after it
       ('2026-03-09 00:00+08', 'globex', NULL, NULL,  'ann', NULL, 'b',     'chat', 'api', 'standard', 1000000, 0,      0,      200, true,  false, NULL);

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('CNY', 'Asia/Shanghai');
EXECUTE set_prices;
EXECUTE fill;
SELECT name, requests, successes, errors, success_rate, input_tokens, output_tokens, cache_read_input_tokens AS read, cost, cost_percentage AS "%", currency,
       avg_duration_ms, unpriced_requests AS unpriced, cached_requests AS cached
FROM usage_monitor.usage_between(date '2026-03-02', date '2026-03-09');
SELECT name, period_start = '2026-02-28 00:00+08' AS starts_with_range, period_end = '2026-03-02 00:00+08' AS ends_with_week, requests, cost
FROM usage_monitor.usage_between(date '2026-02-28', date '2026-03-09', 'week') LIMIT 1;
SELECT name, requests, cost FROM usage_monitor.usage_between('-infinity', 'infinity', 'month');
SELECT name, period_start AT TIME ZONE 'UTC' AS utc, requests, cost
FROM usage_monitor.usage_between(timestamptz '2026-03-02 01:00+08', '2026-03-04 10:00+08', 'hour');
SELECT group_by, org, provider, key, name, requests, cost, cost_percentage AS "%"
FROM unnest('{org, department, project, user, session, provider, model, operation, source, service_tier, tag}'::text[]) WITH ORDINALITY AS g (group_by, nr)
CROSS JOIN LATERAL usage_monitor.usage_between(date '2026-03-02', date '2026-03-09', group_by) WITH ORDINALITY AS b
ORDER BY g.nr, b.ordinality;
SELECT org, key, name, requests, cost FROM usage_monitor.usage_between(date '2026-03-02', date '2026-03-09', 'tag', 'acme');
SELECT period, period_start AT TIME ZONE 'Asia/Shanghai' AS start, period_end AT TIME ZONE 'Asia/Shanghai' AS end, org, name, requests, cost, round(avg_duration_ms::numeric, 3) AS avg_duration_ms
FROM (SELECT * FROM usage_monitor.monthly_summary(2026, 2) UNION ALL SELECT * FROM usage_monitor.monthly_summary(2026, 3)
      UNION ALL SELECT * FROM usage_monitor.monthly_summary(2026, 3, 'globex')) AS s;
SELECT org, session_id, user_id, length, requests, errors, total_tokens, cost, cost_per_request, avg_duration_ms FROM usage_monitor.session_stats('s1')
UNION ALL
SELECT org, session_id, user_id, length, requests, errors, total_tokens, cost, cost_per_request, avg_duration_ms FROM usage_monitor.session_stats('s2', 'acme')
UNION ALL
SELECT org, session_id, user_id, length, requests, errors, total_tokens, cost, cost_per_request, avg_duration_ms FROM usage_monitor.session_stats('s2', 'globex');

-- The whole of a report, but for what depends on today
SELECT jsonb_pretty(usage_monitor.report('weekly', '2026-03-04 12:00+08') - '{generated_at, alerts, others, by_org, by_department, by_project, by_provider, by_service_tier}'::text[]);
SELECT key, value FROM jsonb_each(usage_monitor.report('weekly', '2026-03-04 12:00+08') -> 'others') ORDER BY key LIMIT 1;
-- by any instant of the week, for one organisation, and of other lengths
SELECT report #>> '{period, name}' AS name, report #>> '{org}' AS org, report #>> '{summary, requests}' AS requests, report #>> '{summary, cost}' AS cost,
       report #>> '{comparison, previous, cost}' AS previous, report #>> '{comparison, change, cost_percentage}' AS "%", jsonb_array_length(report -> 'trend') AS trend
FROM (VALUES (1, 'weekly', timestamptz '2026-03-02 00:00+08', NULL), (2, 'weekly', '2026-03-08 23:59:59.999999+08', NULL), (3, 'weekly', '2026-03-09 00:00+08', NULL),
             (4, 'weekly', '2026-03-04 12:00+08', 'acme'), (5, 'daily', '2026-03-02 12:00+08', NULL), (6, 'monthly', '2026-03-04 12:00+08', NULL),
             (7, 'monthly', '2026-03-04 12:00+08', 'globex'), (8, 'weekly', '2026-03-04 12:00+08', 'nobody')) AS a (nr, period, at, org)
CROSS JOIN LATERAL usage_monitor.report(a.period, a.at, a.org) AS report
ORDER BY a.nr;
-- money keeps its digits
INSERT INTO usage_monitor.usage (ts, model, cost) VALUES ('2026-03-10 00:00+08', 'a', 0.00000000000000000000123), ('2026-03-10 00:00+08', 'a', 12345678901234567890);
SELECT usage_monitor.report('daily', '2026-03-10 12:00+08') #> '{summary, cost}' AS cost;
ROLLBACK;

-- Alerts and quotas of a report, and of one organisation's
BEGIN;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.alert;
DELETE FROM usage_monitor.quota;
SELECT usage_monitor.configure('USD', 'America/New_York');
SELECT usage_monitor.set_quota('all', 'all', NULL, 100, 'lifetime') > 0, usage_monitor.set_quota('acme', 'org', 'acme', 10, 'lifetime') > 0,
       usage_monitor.set_quota('globex users', 'user', NULL, 20, 'lifetime', org => 'globex') > 0;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('acme', 'ann', 'a', 9), ('globex', 'bob', 'a', 25), ('globex', 'cy', 'a', 1);
INSERT INTO usage_monitor.alert (alert_type, level, subject, message, raised_at) VALUES
    ('anomaly', 'critical', 'acme', 'acme is unusual', now() - interval '3 months'), ('unpriced', 'info', 'acme', 'not of acme', now());
INSERT INTO usage_monitor.alert (alert_type, level, quota_id, subject, period_start, message, acknowledged_at)
SELECT 'quota_warning', 'warning', quota_id, subject, '-infinity', name, CASE scope WHEN 'org' THEN now() END FROM usage_monitor.quota WHERE scope <> 'all';
SELECT o.org, board #> '{alerts, count}' AS alerts, board #> '{alerts, open}' AS open, board #> '{alerts, acknowledged}' AS acknowledged, board #> '{alerts, by_level}' AS by_level,
       report #> '{alerts, count}' AS raised_this_month, board #> '{quotas, ok}' AS ok, board #> '{quotas, warning}' AS warning, board #> '{quotas, exceeded}' AS exceeded,
       (SELECT string_agg(q ->> 'name' || ' ' || (q ->> 'percentage'), ', ' ORDER BY n) FROM jsonb_array_elements(board #> '{quotas, near_limit}') WITH ORDINALITY AS e (q, n)) AS near_limit
FROM (VALUES (1, NULL), (2, 'acme'), (3, 'globex')) AS o (nr, org)
CROSS JOIN LATERAL usage_monitor.dashboard(o.org) AS board
CROSS JOIN LATERAL usage_monitor.report('monthly', org => o.org) AS report
ORDER BY o.nr;
SELECT alert - 'alert_id' - 'raised_at' AS alert FROM jsonb_array_elements(usage_monitor.dashboard('acme') #> '{alerts, latest}') WITH ORDINALITY AS a (alert, n) ORDER BY n;
SELECT jsonb_pretty((usage_monitor.dashboard('acme') #> '{quotas, near_limit, 0}')) AS quota;
SELECT (usage_monitor.resolve_alert(alert_id)).resolved_at IS NOT NULL AS resolved FROM usage_monitor.alert WHERE alert_type = 'anomaly';
SELECT usage_monitor.dashboard('acme') #> '{alerts, count}' AS unresolved;
ROLLBACK;

-- More rows than a report lists: the rest is added up
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, success, cost)
SELECT '2026-03-04 12:00+00', 'user ' || n, 'a', 7, n > 3, n FROM generate_series(1, 60) AS n;
SELECT jsonb_array_length(report -> 'by_user') AS listed, report #> '{by_user, 49, user_id}' AS last, report #> '{others, by_user}' AS others, report #> '{summary, active_users}' AS users
FROM usage_monitor.report('daily', '2026-03-04 12:00+00') AS report;
-- ties share a rank, and are listed by name
UPDATE usage_monitor.usage SET cost = 1, ts = now() WHERE user_id > 'user 57';
SELECT rank, user_id, cost, cost_percentage FROM usage_monitor.top_users(3, 1);
-- calls whose clock is ahead are not of today
UPDATE usage_monitor.usage SET ts = now() + interval '3 days' WHERE user_id = 'user 58';
SELECT rank, user_id, cost, cost_percentage FROM usage_monitor.top_users(3, 1) UNION ALL SELECT NULL, model, cost, cost_percentage FROM usage_monitor.top_models(3, 1);
SELECT usage_monitor.ledger_day(now()) - day AS days_ago, requests, cost FROM usage_monitor.cost_trend(2) ORDER BY 1;
SELECT day - usage_monitor.ledger_day(now()) AS days_ahead, requests, cost FROM usage_monitor.trend_total WHERE day > usage_monitor.ledger_day(now()) ORDER BY 1;
ROLLBACK;

-- The trend before the first call, and of a day without a price
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, model, input_tokens, cost)
VALUES (now() - interval '4 days', 'a', 10, 7), (now() - interval '3 days', 'a', 10, 3.5), (now() - interval '1 day', 'no-such-model', 10, NULL), (now(), 'a', 10, 1);
SELECT usage_monitor.ledger_day(now()) - day AS days_ago, requests, total_tokens, cost, unpriced_requests, previous_cost, change, change_percentage,
       round(average_7d_cost, 4) AS average_7d_cost, round(average_7d_requests, 4) AS average_7d_requests
FROM usage_monitor.cost_trend(6);
ROLLBACK;

-- Patterns: hours without a call count, from the first on
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, model, cost, success)
VALUES (now() - interval '21 days', 'acme', 'a', 1, true), (now() - interval '21 days', 'acme', 'a', 2, false), (now() - interval '7 days', 'acme', 'a', 3, true), (now(), 'acme', 'a', 0, true),
       -- three hours later in the week, which came three times
       (now() - interval '21 days' + interval '3 hours', 'acme', 'a', 2, true);
SELECT weekday = extract(isodow FROM now() AT TIME ZONE 'UTC') AND hour_of_day = extract(hour FROM now() AT TIME ZONE 'UTC') AS now, requests, errors, cost, currency, unpriced_requests,
       hours, average_requests, average_cost, requests_percentage, cost_percentage
FROM usage_monitor.usage_pattern ORDER BY hours DESC;
ROLLBACK;

-- A reader may call and read all of it; a nobody none
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, cost, cache_read_input_tokens, input_tokens) VALUES ('2026-03-04 12:00+00', 'acme', 'ann', 's', 'gpt-4o', 1, 5, 10);
SELECT usage_monitor.set_quota('each', 'user', NULL, 1, 'lifetime') > 0;
CREATE ROLE regress_report_reader;
CREATE ROLE regress_report_nobody;
SELECT usage_monitor.grant_access('regress_report_reader', 'reader');
GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO regress_report_nobody;
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'allowed';
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 'denied';
END
$$;
CREATE VIEW pg_temp.outcome AS
SELECT pg_temp.outcome('SELECT * FROM usage_monitor.' || call) AS outcome, count(*)
FROM unnest(ARRAY[
    'hourly_summary()', 'daily_summary()', 'monthly_summary(2026, 3)', 'monthly_summary(2026, 3, ''acme'')', 'current_stats()', 'session_stats(''s'')',
    'top_users()', 'top_models()', 'cost_trend()', 'cost_trend(org => ''acme'')', 'usage_between(date ''2026-03-01'', date ''2026-03-08'')',
    'usage_between(''-infinity'', ''infinity'', ''user'')', 'usage_between(''-infinity'', ''infinity'', ''model'', ''acme'')', 'dashboard()', 'dashboard(''acme'')',
    'report(''daily'', ''2026-03-04'')', 'report(''weekly'', ''2026-03-04'')', 'report(''monthly'', ''2026-03-04'', ''acme'')',
    'trend_total', 'usage_pattern', 'pattern_total', 'cache_efficiency', 'model_efficiency']) AS call
GROUP BY 1;
GRANT SELECT ON pg_temp.outcome TO regress_report_reader, regress_report_nobody;
ALTER VIEW pg_temp.outcome SET (security_invoker = true);
SET LOCAL ROLE regress_report_reader;
SELECT * FROM pg_temp.outcome;
SELECT usage_monitor.report('weekly', '2026-03-04') #>> '{summary, cost}' AS cost;
SET LOCAL ROLE regress_report_nobody;
SELECT * FROM pg_temp.outcome;
RESET ROLE;

-- Row security on the ledger holds in them
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_report_reader USING (org = 'globex');
SET LOCAL ROLE regress_report_reader;
SELECT (SELECT count(*) FROM usage_monitor.usage_between('-infinity', 'infinity', 'user')) AS users,
       usage_monitor.report('weekly', '2026-03-04', 'acme') #> '{summary, requests}' AS requests;
ROLLBACK;

-- Every view, type and column of them says what it is
SELECT c.relname, a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'usage_monitor'::regnamespace
  AND c.relname IN ('trend_total', 'usage_pattern', 'pattern_total', 'cache_efficiency', 'model_efficiency',
                    'usage_summary', 'session_summary', 'user_summary', 'model_summary')
  AND (coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) IS NULL
       OR col_description(c.oid, a.attnum) IS NULL
       OR c.relkind = 'v' AND NOT 'security_invoker=true' = ANY (c.reloptions));

-- A day is the ledger's, whatever the session's time zone is, and whether it is written as a date or without a type; an instant is what it is
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'America/New_York');
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT d + interval '12 hours', 'acme', 'm', 1 FROM generate_series('2026-10-01 00:00-04'::timestamptz, '2026-11-10', '1 day') AS d;
CREATE FUNCTION pg_temp.days_asked() RETURNS TABLE (call text, answer text) LANGUAGE sql AS $$
    SELECT r.call, r.report #>> '{period,name}'
      FROM (VALUES ('monthly literal', usage_monitor.report('monthly', '2026-11-01')),
                   ('monthly named', usage_monitor.report('monthly', at => '2026-11-01', org => 'acme')),
                   ('monthly date', usage_monitor.report('monthly', date '2026-11-01')),
                   ('daily date', usage_monitor.report('daily', date '2026-11-02')),
                   ('daily literal', usage_monitor.report('daily', '2026-11-02', 'acme')),
                   ('daily time', usage_monitor.report('daily', '2026-11-02 00:00')),
                   ('weekly literal', usage_monitor.report('weekly', '2026-11-02')),
                   ('daily instant', usage_monitor.report('daily', '2026-11-02 00:00+00')),
                   ('daily timestamptz', usage_monitor.report('daily', timestamptz '2026-11-02 04:30+00'))) AS r (call, report)
    UNION ALL
    SELECT 'forecast ' || f.call, f.month::text
      FROM (SELECT 'literal', (usage_monitor.forecast('2026-11-01', 'all')).month
            UNION ALL SELECT 'date', (usage_monitor.forecast(at => date '2026-11-01', of_scope => 'all')).month
            UNION ALL SELECT 'instant', (usage_monitor.forecast('2026-11-01 00:00Z', 'all')).month) AS f (call, month)
    UNION ALL
    SELECT 'between ' || b.call, b.names
      FROM (SELECT 'literals', string_agg(name, ', ') FROM usage_monitor.usage_between('2026-11-02', '2026-11-03', 'hour')
            UNION ALL SELECT 'dates', string_agg(name, ', ') FROM usage_monitor.usage_between(date '2026-11-02', date '2026-11-03', 'hour')
            UNION ALL SELECT 'instants', string_agg(name, ', ') FROM usage_monitor.usage_between('2026-11-02 05:00Z', '2026-11-03 05:00Z', 'hour')) AS b (call, names)
$$;
SET LOCAL timezone = 'UTC';
SELECT * FROM pg_temp.days_asked();
SET LOCAL timezone = 'Asia/Tokyo';
SELECT * FROM pg_temp.days_asked();
SHOW timezone;
-- nothing is ambiguous
PREPARE of_text AS SELECT usage_monitor.report('weekly', $1) #>> '{period,name}' AS name;
EXECUTE of_text('2026-11-02');
EXECUTE of_text(timestamptz '2026-11-02 00:00Z');
SELECT usage_monitor.report('weekly') IS NOT NULL AND usage_monitor.report('weekly', now()) IS NOT NULL AND usage_monitor.report('weekly', current_date) IS NOT NULL AND usage_monitor.report('weekly', localtimestamp) IS NOT NULL
       AND usage_monitor.report('weekly', org => 'acme') IS NOT NULL AND usage_monitor.report(org => 'acme', period => 'daily', at => current_date) IS NOT NULL AS all_there;
ROLLBACK;

-- Calls of a wrong century: every answer stays quick and what it was, but for the calls themselves
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'Asia/Kathmandu');
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT now() - n * interval '1 day', 'acme', 'm', n FROM generate_series(0, 40) AS n WHERE n % 7 > 1;
CREATE TEMP TABLE trend_before AS SELECT 'all' AS org, t.* FROM usage_monitor.cost_trend(60) AS t UNION ALL SELECT 'acme', t.* FROM usage_monitor.cost_trend(60, 'acme') AS t;
CREATE TEMP TABLE shown_before AS TABLE usage_monitor.trend_total;
CREATE TEMP TABLE org_before AS TABLE usage_monitor.usage_trend;
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('5800-01-01 00:00Z', 'acme', 'm', 7), ('4999-12-31 00:00Z', 'acme', 'm', 1), ('5800-01-02 00:00Z', 'globex', 'm', 1);
SET LOCAL statement_timeout = '5s';
SELECT count(*) FROM (SELECT 'all' AS org, t.* FROM usage_monitor.cost_trend(60) AS t UNION ALL SELECT 'acme', t.* FROM usage_monitor.cost_trend(60, 'acme') AS t EXCEPT TABLE trend_before) AS d;
SELECT jsonb_array_length(usage_monitor.dashboard() -> 'trend') AS days;
SELECT count(*) AS missing FROM (TABLE shown_before EXCEPT TABLE usage_monitor.trend_total) AS d;
SELECT count(*) AS missing FROM (TABLE org_before EXCEPT TABLE usage_monitor.usage_trend) AS d;
SELECT day, cost, previous_cost, change, average_7d_cost FROM usage_monitor.trend_total WHERE day > '4999-12-29' AND day < '4999-12-31' OR day >= '5799-12-31' ORDER BY day;
-- before the first day of all, which is long ago now, there is no day without a change
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('1000-01-01 00:00Z', 'acme', 'm', 7);
SELECT count(*) FROM (SELECT 'all' AS org, t.* FROM usage_monitor.cost_trend(40) AS t EXCEPT TABLE trend_before) AS d;
SELECT count(*), count(change) AS changes FROM usage_monitor.cost_trend(60);
SELECT jsonb_array_length(usage_monitor.dashboard() -> 'trend') AS days;
SELECT count(*) FROM usage_monitor.forecast('today', 'all');
ROLLBACK;

-- A report lists the 50 users who cost most, folded or not, of 122, of whom two have no name and many cost the same or nothing
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, cost)
SELECT '2026-03-15 12:00+00', 'many-' || n % 2, CASE WHEN n % 61 > 0 THEN 'u' || n % 61 END, 'm', n, CASE WHEN n % 7 > 0 THEN (n + 30) % 61 / 4 * 0.1 END FROM generate_series(1, 1000) AS n;
SELECT usage_monitor.refresh() > 0 AS refreshed;
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, cost)
SELECT '2026-03-15 12:00+00', 'many-' || n % 2, CASE WHEN n % 61 > 0 THEN 'u' || n % 61 END, 'm', n, CASE WHEN n % 7 > 0 THEN (n + 30) % 61 / 4 * 0.1 END FROM generate_series(1001, 1500) AS n;
SELECT o.org, count(l.place) AS listed, count(*) FILTER (WHERE (l.org, l.user_id, l.requests, l.tokens, l.cost) IS DISTINCT FROM (d.org, d.user_id, d.requests, d.tokens, d.cost)) AS wrong
FROM (VALUES (NULL), ('many-1')) AS o (org)
CROSS JOIN LATERAL (
    SELECT row_number() OVER (ORDER BY sum(u.cost) DESC NULLS LAST, count(*) DESC, u.org COLLATE "C", u.user_id COLLATE "C") AS place, u.org, u.user_id,
           count(*) AS requests, sum(u.input_tokens) AS tokens, sum(u.cost) AS cost
    FROM usage_monitor.usage AS u
    WHERE usage_monitor.ledger_day(u.ts) = usage_monitor.ledger_day('2026-03-15 12:00+00') AND coalesce(u.org = o.org, true)
    GROUP BY u.org, u.user_id
    ORDER BY place
    LIMIT 50
) AS d
LEFT JOIN LATERAL (
    SELECT ordinality AS place, user_ ->> 'org' AS org, user_ ->> 'user_id' AS user_id, (user_ ->> 'requests')::bigint AS requests,
           (user_ ->> 'input_tokens')::numeric AS tokens, (user_ ->> 'cost')::numeric AS cost
    FROM jsonb_array_elements(usage_monitor.report('daily', '2026-03-15 12:00+00', o.org) -> 'by_user') WITH ORDINALITY AS j (user_, ordinality)
) AS l ON l.place = d.place
GROUP BY o.org
ORDER BY o.org NULLS FIRST;
