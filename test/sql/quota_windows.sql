--
-- Billing days, and several windows on one subject
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- days of every year
SET usage_monitor.max_future = '100000d';
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

-- Months from a day of one's own: shorter months have their last day instead
SELECT day AS billing_day, ts, usage_monitor.period_start(ts, 'month', 'UTC', day) AS period_start, usage_monitor.period_end(ts, 'month', 'UTC', day) AS period_end
FROM (VALUES (15, '2026-01-14 23:59:59.999999Z'::timestamptz), (15, '2026-01-15'), (15, '2026-02-14 23:59:59.999999'), (15, '2026-12-31'), (15, '2026-12-15'),
             (31, '2026-01-30 23:59:59.999999'), (31, '2026-01-31'), (31, '2026-02-27 23:59:59.999999'), (31, '2026-02-28'), (31, '2026-03-30'),
             (31, '2026-04-29'), (31, '2026-04-30'), (31, '2028-02-28 23:59:59.999999'), (31, '2028-02-29'), (31, '2026-12-31'),
             (30, '2026-02-28'), (30, '2028-02-28'), (30, '2028-02-29'), (29, '2028-02-29'), (29, '2027-02-28'), (1, '2028-02-29')) AS v (day, ts)
ORDER BY day, ts;
-- on the quota's own calendar, summer time included
SELECT zone, ts, usage_monitor.period_start(ts, 'month', zone, 15) AT TIME ZONE zone AS local_start, usage_monitor.period_end(ts, 'month', zone, 15) AT TIME ZONE zone AS local_end
FROM (VALUES ('Asia/Shanghai', '2026-05-14 15:59:59.999999Z'::timestamptz), ('Asia/Shanghai', '2026-05-14 16:00Z'),
             ('Asia/Kolkata', '2026-05-14 18:29:59.999999Z'), ('Asia/Kolkata', '2026-05-14 18:30Z'),
             ('America/New_York', '2026-03-15 03:59:59.999999Z'), ('America/New_York', '2026-03-15 04:00Z'), ('America/New_York', '2026-11-15 04:59:59.999999Z'), ('America/New_York', '2026-11-15 05:00Z')) AS v (zone, ts);
-- every instant of four years is in one period, and periods join
SELECT day, count(DISTINCT period_start) AS periods, bool_and(period_start <= ts AND ts < period_end) AS inside,
       bool_and(usage_monitor.period_start(period_end, 'month', 'America/New_York', day) = period_end) AS joined
FROM generate_series(1, 31) AS day
CROSS JOIN generate_series('2026-01-01'::timestamptz, '2029-12-31', '31 hours') AS ts
CROSS JOIN LATERAL (SELECT usage_monitor.period_start(ts, 'month', 'America/New_York', day), usage_monitor.period_end(ts, 'month', 'America/New_York', day)) AS p (period_start, period_end)
GROUP BY day HAVING NOT (bool_and(period_start <= ts AND ts < period_end) AND count(DISTINCT period_start) IN (48, 49)) ORDER BY day;

-- Counted so
SELECT usage_monitor.set_quota('from the 15th', 'user', NULL, 10, billing_day => 15, time_zone => 'Asia/Shanghai') > 0,
       usage_monitor.set_quota('from the 31st', 'user', NULL, 10, billing_day => 31) > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES
    ('2028-01-30 23:59:59.999999', 'u', 'm', 1), ('2028-01-31', 'u', 'm', 2), ('2028-02-14 15:59:59.999999', 'u', 'm', 4), ('2028-02-14 16:00', 'u', 'm', 8),
    ('2028-02-28 23:59:59.999999', 'u', 'm', 16), ('2028-02-29', 'u', 'm', 32), ('2028-03-30 23:59:59.999999', 'u', 'm', 64), ('2028-03-31', 'u', 'm', 128);
SELECT name, period_start, period_end, used, state FROM usage_monitor.quota_history ORDER BY name, period_start;
SELECT q.name, a.period_start, string_agg(a.level, ', ' ORDER BY a.alert_id) AS levels FROM usage_monitor.alert AS a JOIN usage_monitor.quota AS q USING (quota_id) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();
-- moved to another day, it counts anew
SELECT usage_monitor.set_quota('from the 31st', 'user', NULL, 10, billing_day => 1) > 0;
SELECT name, period_start, period_end, used FROM usage_monitor.quota_history WHERE name = 'from the 31st' ORDER BY period_start;
SELECT * FROM usage_monitor.verify();
SELECT r.* FROM unnest(ARRAY['billing_day => 0', 'billing_day => 32', 'billing_day => NULL', 'billing_day => 15, period => ''week''', 'billing_day => 15, period => ''year''']) WITH ORDINALITY AS t (argument, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.set_quota(''x'', ''user'', NULL, 10, %s)', argument)) AS r ORDER BY n;
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;

-- The last microsecond before midnight and midnight, on every clock: days of 23 and 25 hours, a leap day, week 53, the year's end
CREATE TEMP TABLE midnight AS
SELECT zone, day::date, (day AT TIME ZONE zone) AS instant
FROM unnest('{Asia/Shanghai,Asia/Kolkata,America/New_York}'::text[]) AS zone
CROSS JOIN unnest('{2026-03-08,2026-03-09,2026-11-01,2026-11-02,2028-02-29,2028-03-01,2026-12-28,2027-01-01,2027-01-04,2026-05-31,2026-06-01}'::timestamp[]) AS day;
SELECT zone, day, instant,
       usage_monitor.period_end(instant, 'day', zone) - instant AS day_lasts,
       usage_monitor.period_start(instant - interval '1 microsecond', 'day', zone) AT TIME ZONE zone AS day_before,
       usage_monitor.period_end(instant - interval '1 microsecond', 'day', zone) = instant AND usage_monitor.period_start(instant, 'day', zone) = instant AS day,
       usage_monitor.period_start(instant, 'hour', zone) = instant AS hour,
       usage_monitor.period_start(instant, 'week', zone) = instant AS week,
       usage_monitor.period_start(instant, 'month', zone) = instant AS month,
       usage_monitor.period_start(instant, 'month', zone, 31) = instant AS billed_on_31st,
       usage_monitor.period_start(instant, 'year', zone) = instant AS year
FROM midnight ORDER BY zone, instant;
-- counted so: 1 before, 2 at midnight, by quotas of each zone and period
SELECT count(usage_monitor.set_quota(zone || ' ' || period, 'user', zone, 1000, period, time_zone => zone)),
       count(usage_monitor.set_quota(zone || ' billed', 'user', zone, 1000, billing_day => 31, time_zone => zone))
FROM unnest('{Asia/Shanghai,Asia/Kolkata,America/New_York}'::text[]) AS zone, unnest('{hour,day,week,month,year}'::text[]) AS period;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost)
SELECT instant - before * interval '1 microsecond', zone, 'm', 2 - before FROM midnight, generate_series(0, 1) AS before;
-- what plain SQL says; a month that begins on the 31st is one of the last days of months
WITH expected AS (
    SELECT q.name, CASE WHEN q.billing_day = 1 THEN date_trunc(q.period, u.ts, q.time_zone) ELSE (
               SELECT max(start) FROM generate_series('2026-01-01'::date, '2029-01-01', '1 month') AS m (m)
               CROSS JOIN LATERAL (SELECT ((m + interval '1 month - 1 day')::timestamp AT TIME ZONE q.time_zone)) AS d (start)
               WHERE start <= u.ts) END AS period_start, sum(u.cost) AS used
    FROM usage_monitor.usage AS u JOIN usage_monitor.quota AS q ON q.subject = u.user_id GROUP BY 1, 2)
SELECT count(*) AS counters, count(*) FILTER (WHERE h.used IS DISTINCT FROM e.used) AS differ
FROM expected AS e FULL JOIN usage_monitor.quota_history AS h USING (name, period_start);
SELECT h.name, h.period_start AT TIME ZONE q.time_zone AS local_start, h.period_end AT TIME ZONE q.time_zone AS local_end, h.used
FROM usage_monitor.quota_history AS h JOIN usage_monitor.quota AS q USING (quota_id) WHERE q.time_zone = 'America/New_York' AND h.period IN ('day', 'week') ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;

-- Total, daily and hourly together
-- (no period that is over blocks)
SET usage_monitor.max_future = '36525 d';
SELECT usage_monitor.set_quota('anchor', 'tag', 'anchor', total => 1000, period => 'month', daily => 50, hourly => 10, enforcement => 'block', metric => 'tokens',
                               thresholds => '{0.5}', billing_day => 15, time_zone => 'Asia/Kolkata', org => 'o', warning => 0.7) > 0;
SELECT name, scope, subject, org, metric, amount, period, billing_day, time_zone, warning_threshold, thresholds, enforcement FROM usage_monitor.quota ORDER BY quota_id;
-- names of zones may have digits
SELECT usage_monitor.set_quota('zone', 'user', 'none', 1, 'day', time_zone => zone) > 0 FROM unnest('{Etc/GMT-3,Etc/GMT+12,utc}'::text[]) AS zone;
SELECT count(*) > 20 AS zones, bool_and(usage_monitor.set_quota('zone', 'user', 'none', 1, 'day', time_zone => name) > 0) AS are_taken
FROM pg_timezone_names WHERE name ~ '[0-9]' AND name !~ '^posix';
DELETE FROM usage_monitor.quota WHERE name = 'zone';
-- whichever is full refuses
INSERT INTO usage_monitor.usage (org, model, input_tokens, ts, tags) SELECT 'o', 'm', 10, '2096-05-01 00:10Z'::timestamptz + n * interval '1 hour', '{"anchor": 1}' FROM generate_series(1, 4) AS n;
SELECT code, message FROM pg_temp.refusal('INSERT INTO usage_monitor.usage (org, model, input_tokens, ts, tags) VALUES (''o'', ''m'', 1, ''2096-05-01 04:20Z'', ''{"anchor": 1}'')');
SELECT code, message FROM pg_temp.refusal('INSERT INTO usage_monitor.usage (org, model, input_tokens, ts, tags) VALUES (''o'', ''m'', 11, ''2096-05-01 05:40Z'', ''{"anchor": 1}'')');
INSERT INTO usage_monitor.usage (org, model, input_tokens, ts, tags) VALUES ('o', 'm', 10, '2096-05-01 05:40Z', '{"anchor": 1}');
SELECT code, message FROM pg_temp.refusal('INSERT INTO usage_monitor.usage (org, model, input_tokens, ts, tags) VALUES (''o'', ''m'', 1, ''2096-05-01 08:40Z'', ''{"anchor": 1}'')');
SELECT name, subject, period_start, used, percentage FROM usage_monitor.quota_history ORDER BY quota_id, period_start;
-- set again, they change
RESET usage_monitor.max_future;
SELECT usage_monitor.set_quota('anchor', 'tag', 'anchor', total => 2000, period => 'month', daily => 60, metric => 'tokens') > 0;
SELECT name, amount, period, billing_day, enforcement FROM usage_monitor.quota ORDER BY quota_id;
SELECT r.* FROM unnest(ARRAY[
    'SELECT usage_monitor.set_quota(''y'', ''user'', NULL, total => 1, daily => 0)',
    'SELECT usage_monitor.set_quota(''y'', ''user'', NULL, daily => 1)',
    'SELECT usage_monitor.set_quota(''y'', ''user'', NULL, 1, hourly => ''NaN'')']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
SELECT count(*) FROM usage_monitor.quota WHERE name LIKE 'y%';
SELECT * FROM usage_monitor.verify();
-- none of these counters is of a period that runs, and who asks for those does not read them
CREATE FUNCTION pg_temp.counters_read(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, FORMAT json) ' || query INTO plan;
    RETURN (SELECT sum(r::numeric) FROM jsonb_path_query(plan, 'strict $.** ? (@."Relation Name" == "_counter_row")."Actual Rows"') AS r);
END
$$;
SELECT pg_temp.counters_read('SELECT * FROM usage_monitor.quota_history') > 2 AS of_all_periods,
       pg_temp.counters_read('SELECT * FROM usage_monitor.quota_status') = 0 AS of_running_ones;
