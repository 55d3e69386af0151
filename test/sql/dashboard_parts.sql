--
-- What a dashboard asks for and no view can be asked: days of a forecast,
-- patterns and durations of some days, calls of several conditions, limits
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET timezone = 'Pacific/Auckland';  -- the ledger's days are not the session's
\set SHOW_CONTEXT never

-- Nothing was recorded
SELECT count(*) FROM usage_monitor.forecast_days(now(), NULL);
SELECT count(*), sum(requests), sum(cost), min(hours), max(hours) FROM usage_monitor.pattern_between('2026-03-02', '2026-03-16');
SELECT * FROM usage_monitor.durations_between('2026-03-01', '2026-04-01');
SELECT count(*) FROM usage_monitor.recent_calls();
SELECT count(*) FROM usage_monitor.usage_between('2026-03-01', '2026-04-01', 'user', "limit" => 3);
SELECT u.key, u.value FROM jsonb_each(usage_monitor.dashboard() -> 'to_date') AS t, jsonb_each(t.value) AS u WHERE u.key IN ('cost', 'previous_first_hour') ORDER BY 1;

-- A hundred days of calls of known shape
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, provider, model, source, operation, input_tokens, duration_ms, success, cost)
SELECT '2026-03-01 00:00Z'::timestamptz + n * interval '1 hour' * 2.4,
       CASE WHEN n % 3 = 0 THEN 'acme' ELSE 'globex' END, 'd' || n % 2, CASE WHEN n % 5 > 0 THEN 'p' || n % 5 END, 'u' || n % 7,
       'p', 'm' || n % 4, 's' || n % 2, 'chat', n, n * 13, n % 11 > 0, CASE WHEN n % 50 <> 1 THEN 0.01 * n END
FROM generate_series(0, 999) AS n;

-- The days of a forecast add up to it; each has its weekday, and today what it has cost
SELECT scope, count(*), min(day), max(day), bool_and(lower_bound <= cost AND cost <= upper_bound) AS inside, bool_and(currency = 'USD') AS currency
FROM usage_monitor.forecast_days('2026-04-20 12:00Z', NULL) GROUP BY scope ORDER BY scope;
SELECT f.scope, f.subject, abs(f.forecast - s.cost - b.cost) < 0.0001 AS adds_up
FROM usage_monitor.forecast('2026-04-20 12:00Z') AS f
JOIN (SELECT scope, subject, sum(cost) AS cost FROM usage_monitor.forecast_days('2026-04-20 12:00Z', NULL) GROUP BY 1, 2) AS s ON (s.scope, s.subject) IS NOT DISTINCT FROM (f.scope, f.subject)
CROSS JOIN LATERAL (SELECT coalesce(sum(cost), 0) AS cost FROM usage_monitor.usage AS u
                    WHERE ts >= '2026-04-01 00:00Z' AND ts < '2026-04-20 00:00Z' AND f.subject IS NOT DISTINCT FROM CASE f.scope WHEN 'org' THEN org WHEN 'model' THEN model END) AS b
ORDER BY 1, 2;
SELECT count(DISTINCT subject), count(*) FROM usage_monitor.forecast_days('2026-04-20 12:00Z', 'org', 'acme');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-04-20 10:00Z', 'acme', 'm0', 5000);
SELECT day, cost >= 5000 AS includes_today, lower_bound >= 5000 AS at_least FROM usage_monitor.forecast_days('2026-04-20 12:00Z', 'org', 'acme') LIMIT 2;
DELETE FROM usage_monitor.usage WHERE cost = 5000;
SELECT r.* FROM unnest(ARRAY['NULL', '''infinity''', 'now(), ''user''', 'now(), ''all'', NULL, 6']) AS a CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.forecast_days(%s)', a)) AS r;

-- Patterns of some days: the ledger's, hour by hour
SELECT count(*), count(*) FILTER (WHERE (p.requests, p.errors, p.cost) IS DISTINCT FROM (l.requests, l.errors, l.cost)) AS different
FROM usage_monitor.pattern_between('2026-03-05', '2026-03-25', 'acme') AS p
LEFT JOIN LATERAL (SELECT count(*) AS requests, count(*) FILTER (WHERE NOT success) AS errors, CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost) END AS cost FROM usage_monitor.usage
                   WHERE org = 'acme' AND ts >= '2026-03-05 00:00Z' AND ts < '2026-03-25 00:00Z'
                     AND extract(isodow FROM ts AT TIME ZONE 'UTC') = p.weekday AND extract(hour FROM ts AT TIME ZONE 'UTC') = p.hour_of_day) AS l ON true;
SELECT weekday, hour_of_day, requests, hours, average_requests FROM usage_monitor.pattern_between('2026-03-05', '2026-03-25') WHERE hour_of_day = 0;
-- hours that have not begun do not count
SELECT sum(hours) = 24 * 14 + extract(hour FROM now() AT TIME ZONE 'UTC') + 1 AS begun FROM usage_monitor.pattern_between((now() AT TIME ZONE 'UTC')::date - 14, (now() AT TIME ZONE 'UTC')::date + 7);

-- Durations of several days: those of the histograms together
SELECT d.requests = count(u.duration_ms) AS requests, d.avg_duration_ms = avg(u.duration_ms) AS average, d.p95_duration_ms, d.bounds_ms, d.histogram
FROM usage_monitor.durations_between('2026-03-05', '2026-05-25', 'globex') AS d, usage_monitor.usage AS u
WHERE u.org = 'globex' AND u.ts >= '2026-03-05 00:00Z' AND u.ts < '2026-05-25 00:00Z' GROUP BY d.*, d.requests, d.avg_duration_ms, d.p95_duration_ms, d.bounds_ms, d.histogram;
SELECT d.p50_duration_ms = v.p50_duration_ms AND d.p99_duration_ms = v.p99_duration_ms AS as_the_day FROM usage_monitor.durations_between('2026-03-05', '2026-03-06') AS d, usage_monitor.daily_total AS v WHERE v.day = '2026-03-05';
SELECT f, r.* FROM unnest('{pattern_between,durations_between}'::text[]) AS f, unnest(ARRAY['NULL, ''2026-03-01''', '''2026-03-02'', ''2026-03-01''', '''-infinity'', ''2026-03-01''', '''1900-01-01'', ''2026-03-01''']) AS a
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.%I(%s)', f, a)) AS r;

-- Calls by when they were made, of several conditions at once
SELECT (SELECT array_agg(usage_id) FROM usage_monitor.recent_calls(5, "source" => 's1', model => 'm1')) = ARRAY(SELECT usage_id FROM usage_monitor.usage WHERE source = 's1' AND model = 'm1' ORDER BY ts DESC, usage_id DESC LIMIT 5) AS same,
       (SELECT array_agg(usage_id) FROM usage_monitor.recent_calls(1000, 'acme', 'd1', '', 'u3')) = ARRAY(SELECT usage_id FROM usage_monitor.usage WHERE org = 'acme' AND department = 'd1' AND project IS NULL AND user_id = 'u3' ORDER BY ts DESC, usage_id DESC) AS none_given,
       (SELECT array_agg(usage_id) FROM usage_monitor.recent_calls(1000, since => '2026-03-05 00:00Z', until => '2026-03-06 00:00Z')) = ARRAY(SELECT usage_id FROM usage_monitor.usage WHERE ts >= '2026-03-05 00:00Z' AND ts < '2026-03-06 00:00Z' ORDER BY ts DESC, usage_id DESC) AS of_a_day;
-- not by when they were recorded
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-01-01 00:00Z', 'late', 'm', 1), (now(), 'now', 'm', 1), (now(), 'now', 'm', 1);
SELECT org FROM usage_monitor.recent_calls(3);
SELECT org FROM usage_monitor.recent_usage LIMIT 1;
-- page by page: nothing twice, nothing left out, among calls of one instant too
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-02-01 00:00Z', 'same', 'm', 1 FROM generate_series(1, 7);
WITH RECURSIVE page AS (
    (SELECT 1 AS page, usage_id, ts FROM usage_monitor.recent_calls(3, 'same'))
    UNION ALL
    SELECT l.page + 1, n.usage_id, n.ts
      FROM (SELECT p.* FROM page AS p ORDER BY p.ts, p.usage_id LIMIT 1) AS l
     CROSS JOIN LATERAL usage_monitor.recent_calls(3, 'same', until => l.ts, before_id => l.usage_id) AS n
)
SELECT max(page) AS pages, count(*), count(DISTINCT usage_id) FROM page;
SELECT r.* FROM unnest(ARRAY['0', '100001', 'NULL', '1, since => NULL', '1, until => NULL']) AS a CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.recent_calls(%s)', a)) AS r;
-- a name is a name
SELECT count(*) FROM usage_monitor.recent_calls(3, $$x' OR true --$$);

-- The dearest and the others are all of it
SELECT name, org, requests, cost, cost_percentage, unpriced_requests, others FROM usage_monitor.usage_between('2026-03-01', '2026-07-01', 'user', "limit" => 2);
SELECT g AS group_by, count(*) AS rows, sum(b.requests) = max(w.requests) AS requests, sum(b.cost) = max(w.cost) AS cost, sum(b.errors) = max(w.errors) AS errors, sum(b.total_tokens) = max(w.total_tokens) AS tokens, sum(b.unpriced_requests) = max(w.unpriced_requests) AS unpriced,
       max(b.others) = (SELECT count(*) FROM usage_monitor.usage_between('2026-03-01', '2026-07-01', g, o)) - 1 AS others
FROM unnest('{org,department,project,user,provider,model,operation,source,service_tier}'::text[]) AS g, unnest('{acme,NULL}'::text[]) AS o
CROSS JOIN LATERAL usage_monitor.usage_between('2026-03-01', '2026-07-01', g, o, 1) AS b
CROSS JOIN LATERAL (SELECT sum(requests) AS requests, sum(cost) AS cost, sum(errors) AS errors, sum(total_tokens) AS total_tokens, sum(unpriced_requests) AS unpriced_requests FROM usage_monitor.usage_between('2026-03-01', '2026-07-01', 'day', o)) AS w
GROUP BY g, o ORDER BY g, o;
SELECT count(*) FROM usage_monitor.usage_between('2026-03-01', '2026-07-01', 'org', "limit" => 2);
SELECT r.* FROM unnest(ARRAY['''user'', NULL, 0', '''day'', NULL, 1', '''tag'', NULL, 1', '''session'', NULL, 1']) AS a
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.usage_between(date ''2026-03-01'', date ''2026-04-01'', %s)', a)) AS r;

-- Several conditions at once from one rollup
SELECT count(*) AS rows, count(*) FILTER (WHERE (v.requests, v.cost, v.input_tokens) IS DISTINCT FROM (l.requests, l.cost, l.input_tokens)) AS different
FROM usage_monitor.combined_usage AS v
FULL JOIN (SELECT usage_monitor.ledger_day(ts) AS day, org, project, source, model, count(*) AS requests, sum(cost) AS cost, sum(input_tokens) AS input_tokens FROM usage_monitor.usage GROUP BY 1, 2, 3, 4, 5) AS l
  ON l.day = v.day AND l.org = v.org AND coalesce(l.project, '') = coalesce(v.project, '') AND coalesce(l.source, '') = coalesce(v.source, '') AND l.model = v.model;
SELECT usage_monitor.refresh() > 0 AS folded;
SELECT sum(v.cost) = (SELECT sum(cost) FROM usage_monitor.usage WHERE project = 'p2' AND source = 's1' AND model = 'm1') AS same FROM usage_monitor.combined_usage AS v WHERE project = 'p2' AND source = 's1' AND model = 'm1';

-- Weekends are no news, a dear one is
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, model, cost)
SELECT d + time '10:00', o, 'm', CASE WHEN extract(isodow FROM d) < 6 THEN 100 + n % 7 WHEN o = 'dear' AND d::date = '2026-05-30' THEN 60 ELSE 10 + 0.1 * (n % 7) END
FROM generate_series('2026-03-02Z'::timestamptz, '2026-05-31', '1 day') WITH ORDINALITY AS t (d, n), unnest('{cheap,dear}'::text[]) AS o;
SELECT day, org, cost, round(expected, 2) AS expected, severity FROM usage_monitor.anomalous_days('2026-03-02') WHERE org IS NOT NULL;
-- and a working day that costs as little as a Sunday
UPDATE usage_monitor.usage SET cost = 10 WHERE org = 'cheap' AND ts >= '2026-05-27' AND ts < '2026-05-28';
SELECT day, org, cost, round(expected, 2) AS expected, severity FROM usage_monitor.anomalous_days('2026-05-20') WHERE org = 'cheap';

-- The views say whose and what
SELECT usage_monitor.set_quota('of acme', 'org', 'acme', 1, 'lifetime') IS NOT NULL AS set, usage_monitor.set_quota('each user', 'user', NULL, 1, 'month', org => 'acme', model => 'm') IS NOT NULL AS set;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('acme', 'u', 'm', 0.9);
SELECT name, subject, org, provider, model, warning_threshold, critical_threshold, thresholds FROM usage_monitor.quota_status ORDER BY name, subject;
SELECT alert_type, subject, quota, scope, org, metric, period FROM usage_monitor.active_alert WHERE quota_id IS NOT NULL ORDER BY alert_id;
DROP EXTENSION usage_monitor CASCADE;
