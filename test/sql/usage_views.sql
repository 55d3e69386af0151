--
-- The views over the ledger, against aggregates made in another way
--
SET timezone = 'Pacific/Chatham';   -- must not matter: buckets are the ledger's
SET datestyle = 'ISO, YMD';

-- Every view and every column says what it is, and respects row security
SELECT c.relname, a.attname
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'usage_monitor'::regnamespace AND c.relkind = 'v'
  AND c.relname ~ '(_usage|^usage_trend)$'
  AND (obj_description(c.oid, 'pg_class') IS NULL
       OR col_description(c.oid, a.attnum) IS NULL
       OR NOT 'security_invoker=true' = ANY (c.reloptions));

-- What the views must show, from the ledger: sums of columns that are
-- prepared row by row, with the time of day taken off by hand
CREATE FUNCTION pg_temp.prepare(zone text) RETURNS void LANGUAGE sql AS $$
    CREATE TEMP TABLE call AS
    SELECT ts - (local - date_trunc('hour', local)) AS hour,
           local::date AS day,
           local::date - extract(isodow FROM local)::int + 1 AS week,
           local::date - extract(day FROM local)::int + 1 AS month,
           u.*
    FROM usage_monitor.usage u
    CROSS JOIN LATERAL (SELECT ts AT TIME ZONE zone) AS l (local);
$$;

-- The number of rows that only the view or only the reference has
CREATE FUNCTION pg_temp.differences(view text, keys text, details text DEFAULT '',
                                    source text DEFAULT '')
RETURNS TABLE (rows bigint, only_view bigint, only_reference bigint)
LANGUAGE plpgsql AS $$
DECLARE
    reference text := format($sql$
        SELECT %1$s, %2$s
               sum(1), sum(success::int), sum(1 - success::int),
               trunc(avg(success::int) + 0.00005, 4),
               sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens),
               sum(cache_creation_input_tokens), sum(reasoning_output_tokens), sum(total_tokens),
               sum(input_cost), sum(output_cost), sum(other_cost), sum(cost),
               (SELECT DISTINCT currency FROM pg_temp.call WHERE currency IS NOT NULL),
               sum(duration_ms) / count(duration_ms),
               count(*) - count(cost), sum(cached::int)
        FROM pg_temp.call %3$s
        GROUP BY %1$s $sql$, keys, details, source);
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT (SELECT count(*) FROM usage_monitor.%1$I),
               (SELECT count(*) FROM (TABLE usage_monitor.%1$I EXCEPT ALL (%2$s)) AS d),
               (SELECT count(*) FROM ((%2$s) EXCEPT ALL TABLE usage_monitor.%1$I) AS d)
        $sql$, view, reference);
END
$$;

CREATE VIEW pg_temp.every_view AS
SELECT v.name, d.*
FROM (VALUES
    (1, 'hourly_usage', 'hour, org', '', ''),
    (2, 'daily_usage', 'day, org', '', ''),
    (3, 'weekly_usage', 'week, org', '', ''),
    (4, 'monthly_usage', 'month, org', '', ''),
    (5, 'department_usage', 'day, org, department', '', ''),
    (6, 'project_usage', 'day, org, project', '', ''),
    (7, 'user_usage', 'day, org, user_id', '', ''),
    (8, 'provider_usage', 'day, org, provider', '', ''),
    (9, 'model_usage', 'day, org, provider, model', '', ''),
    (10, 'operation_usage', 'day, org, operation', '', ''),
    (11, 'source_usage', 'day, org, source', '', ''),
    (12, 'service_tier_usage', 'day, org, service_tier', '', ''),
    (13, 'session_usage', 'org, session_id',
         'CASE count(DISTINCT user_id) WHEN 1 THEN max(user_id) END, min(ts), max(ts),',
         'WHERE session_id > '''''),
    (14, 'tag_usage', 'day, org, tag, tags ->> tag', '',
         'CROSS JOIN LATERAL jsonb_object_keys(tags) AS k (tag)')
) AS v (nr, name, keys, details, source)
CROSS JOIN LATERAL pg_temp.differences(v.name, v.keys, v.details, v.source) AS d
ORDER BY v.nr;

-- Every view but session_usage and tag_usage has the ledger's total
CREATE FUNCTION pg_temp.total(view text, OUT requests numeric, OUT tokens numeric,
                              OUT cost numeric, OUT unpriced numeric)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT sum(requests), sum(total_tokens), sum(cost), sum(unpriced_requests)
                    FROM usage_monitor.%I', view) INTO requests, tokens, cost, unpriced;
END
$$;

CREATE VIEW pg_temp.every_total AS
SELECT requests, tokens, cost, unpriced, count(*) AS views
FROM (
    SELECT t.*
    FROM unnest('{hourly_usage, daily_usage, weekly_usage, monthly_usage, department_usage, project_usage,
                  user_usage, provider_usage, model_usage, operation_usage, source_usage, service_tier_usage,
                  usage_trend}'::text[]) AS view
    CROSS JOIN LATERAL pg_temp.total(view) AS t
    UNION ALL
    SELECT count(*), sum(total_tokens), sum(cost), sum((cost_source = 'unpriced')::int) FROM usage_monitor.usage
) AS total
GROUP BY requests, tokens, cost, unpriced;

-- A call every 47 minutes over four spans: New York's two changes of clock, a
-- week of two years, and a leap day that ends a month.  Every dimension is
-- missing now and then; calls fail, are cached, have no price or no duration.
PREPARE fill AS
INSERT INTO usage_monitor.usage
    (ts, org, department, project, user_id, session_id, provider, model, operation, source, service_tier,
     input_tokens, output_tokens, cache_read_input_tokens, reasoning_output_tokens,
     duration_ms, success, error, cached, tags, cost)
SELECT ts,
       (ARRAY['acme', 'globex'])[1 + n % 2],
       (ARRAY['sales', 'research', NULL])[1 + n % 3],
       (ARRAY['search', NULL, 'chat', 'search'])[1 + n % 4],
       (ARRAY['ann', 'bob', NULL, 'cy', 'dee'])[1 + n % 5],
       CASE WHEN n % 3 > 0 THEN 's' || n / 7 END,
       (ARRAY['umtest', NULL])[1 + (n % 7 = 3)::int],
       CASE WHEN n % 11 = 4 THEN 'no-such-model' ELSE 'um-test-' || n % 2 END,
       (ARRAY['chat', 'embeddings', NULL])[1 + n % 6 / 2],
       (ARRAY[NULL, 'web', 'api'])[1 + n % 9 / 3],
       (ARRAY['standard', 'batch'])[1 + (n % 13 = 5)::int],
       100 + n * 7919 % 100003, n * 104729 % 5003, n % 100, n * 104729 % 5003 / 3,
       CASE WHEN n % 8 > 0 THEN n % 1000 / 4.0 END,
       n % 17 > 0, CASE WHEN n % 17 = 0 THEN 'overloaded' END, n % 19 = 8,
       CASE n % 4 WHEN 0 THEN '{"team": "a", "env": "prod", "beta": true, "step": 3}'
                  WHEN 1 THEN '{"team": null}' WHEN 2 THEN '{}' END::jsonb,
       CASE WHEN n % 23 = 7 THEN 0.00000000000000000000123 END
FROM (
    SELECT row_number() OVER (ORDER BY span, ts)::int, ts
    FROM (VALUES (1, timestamptz '2024-02-27 00:00+00'), (2, '2024-12-28 00:00+00'),
                 (3, '2025-03-08 00:00+00'), (4, '2025-11-01 00:00+00')) AS s (span, start)
    CROSS JOIN generate_series(start, start + interval '5 days', interval '47 minutes') AS ts
) AS call (n, ts);

PREPARE set_prices AS
SELECT count(usage_monitor.set_price('um-test-' || n, 0.1 + n, 0.123456789012345678 * n, provider => 'umtest'))
FROM generate_series(0, 1) AS n;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('UTC');
SELECT * FROM pg_temp.every_view;
SELECT * FROM pg_temp.every_total;
ROLLBACK;

-- 5 hours 45 minutes: hours begin at a quarter past
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('CNY', 'Asia/Kathmandu');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('Asia/Kathmandu');
SELECT * FROM pg_temp.every_view;
SELECT DISTINCT extract(minute FROM hour AT TIME ZONE 'UTC') AS minute, currency FROM usage_monitor.hourly_usage;
ROLLBACK;

-- Days of 23 and 25 hours
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('America/New_York');
SELECT * FROM pg_temp.every_view;
SELECT * FROM pg_temp.every_total;
INSERT INTO usage_monitor.usage (ts, org, model)
SELECT ts, 'clock', 'um-test-0'
FROM (VALUES (timestamptz '2025-03-09 05:30+00'), ('2025-11-02 04:30+00')) AS d (start)
CROSS JOIN generate_series(start, start + interval '24 hours 59 minutes', interval '1 hour') AS ts;
SELECT day, requests FROM usage_monitor.daily_usage WHERE org = 'clock' ORDER BY day;
SELECT count(*) AS hours, max(requests) FROM usage_monitor.hourly_usage WHERE org = 'clock';

-- The unpriced and the latest
SELECT provider, model, service_tier, requests, input_tokens, output_tokens, first_ts, last_ts
FROM usage_monitor.unpriced_usage
EXCEPT ALL
SELECT provider, model, service_tier, count(*), sum(input_tokens), sum(output_tokens), min(ts), max(ts)
FROM usage_monitor.usage WHERE cost_source = 'unpriced'
GROUP BY provider, model, service_tier;
SELECT model, sum(requests) AS requests,
       (SELECT sum(unpriced_requests) FROM usage_monitor.daily_usage) AS unpriced_requests
FROM usage_monitor.unpriced_usage GROUP BY model;
SELECT count(*), max(rank) AS last_rank, bool_and(r.cost IS NOT DISTINCT FROM u.cost) AS same_cost
FROM usage_monitor.recent_usage r
JOIN (SELECT usage_id, cost, rank() OVER (ORDER BY usage_id DESC) FROM usage_monitor.usage) AS u USING (usage_id);

-- A condition on a bucket or a dimension is applied before the aggregation
CREATE FUNCTION pg_temp.filters_ledger(query text, field text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN EXISTS (
        SELECT FROM jsonb_path_query(plan, '$.** ? (@."Node Type" like_regex "Scan$")') AS node
        WHERE node ->> 'Relation Name' ~ '^usage'
          AND concat(node -> 'Filter', node -> 'Index Cond', node -> 'Recheck Cond') ~ field);
END
$$;
SELECT view, pg_temp.filters_ledger(format('SELECT * FROM usage_monitor.%I WHERE %s', view, condition), field) AS pushed
FROM (VALUES ('hourly_usage', 'hour = now()', 'ledger_hour'),
             ('daily_usage', 'day = current_date', 'ledger_day'),
             ('weekly_usage', 'week = current_date', 'ledger_day'),
             ('monthly_usage', 'month >= current_date', 'ledger_day'),
             ('model_usage', $$model = 'um-test-0'$$, 'model'),
             ('user_usage', $$user_id = 'ann' AND day = current_date$$, 'user_id'),
             ('session_usage', $$session_id = 's1'$$, 'session_id'),
             ('tag_usage', $$org = 'acme'$$, 'org'),
             ('usage_trend', $$org = 'acme'$$, 'org')) AS v (view, condition, field);
ROLLBACK;

-- The trend, by known answers
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens, cost)
VALUES ('2025-01-01 10:00+00', 'acme', 'a', 10, 1.40),
       ('2025-01-02 10:00+00', 'acme', 'a', 10, 0.50), ('2025-01-02 23:59:59.999999+00', 'acme', 'a', 20, 0.20),
       ('2025-01-05 00:00+00', 'acme', 'a', 40, 2.10),
       ('2025-01-06 00:00+00', 'acme', 'no-such-model', 50, NULL),
       ('2025-01-09 00:00+00', 'acme', 'a', 60, 2.10), ('2025-01-09 00:00+00', 'acme', 'no-such-model', 5, NULL),
       ('2025-01-04 00:00+00', 'globex', 'a', 70, 3);
SELECT day, org, requests, total_tokens, cost, currency, unpriced_requests, previous_cost, change, change_percentage,
       round(average_7d_cost, 4) AS average_7d_cost, round(average_7d_requests, 4) AS average_7d_requests
FROM usage_monitor.usage_trend WHERE day < '2025-01-12' ORDER BY org, day;
-- No gap and no end before today
SELECT org, min(day), max(day) = (now() AT TIME ZONE 'UTC')::date AS today, count(*) = max(day) - min(day) + 1 AS dense
FROM usage_monitor.usage_trend GROUP BY org ORDER BY org;
-- A call whose clock is ahead ends it later
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES (now() + interval '3 days', 'early', 'a', 1);
SELECT day - (now() AT TIME ZONE 'UTC')::date AS days_ahead, requests, cost FROM usage_monitor.usage_trend WHERE org = 'early';
ROLLBACK;

-- Row security on the ledger holds in every view
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, session_id, model, tags)
SELECT '2025-01-01', org, 's', 'no-such-model', '{"team": "a"}' FROM unnest('{acme, globex}'::text[]) AS org;
CREATE ROLE regress_usage_reader;
GRANT USAGE ON SCHEMA usage_monitor TO regress_usage_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA usage_monitor TO regress_usage_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA usage_monitor TO regress_usage_reader;
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_usage_reader USING (org = 'acme');
SET LOCAL ROLE regress_usage_reader;
SELECT (SELECT string_agg(org, ' ') FROM usage_monitor.daily_usage) AS daily,
       (SELECT string_agg(org, ' ') FROM usage_monitor.session_usage) AS session,
       (SELECT string_agg(org, ' ') FROM usage_monitor.tag_usage) AS tag,
       (SELECT string_agg(DISTINCT org, ' ') FROM usage_monitor.usage_trend) AS trend,
       (SELECT sum(requests) FROM usage_monitor.unpriced_usage) AS unpriced,
       (SELECT string_agg(org, ' ') FROM usage_monitor.recent_usage) AS recent;
ROLLBACK;

-- Without a call there is nothing
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT (SELECT count(*) FROM usage_monitor.daily_usage) AS days, (SELECT count(*) FROM usage_monitor.usage_trend) AS trend,
       (SELECT count(*) FROM usage_monitor.recent_usage) AS recent;
-- ... and of unknown prices and durations neither sum nor average
INSERT INTO usage_monitor.usage (ts, model, input_tokens, output_tokens) VALUES ('2025-01-01', 'no-such-model', 1, 1);
SELECT requests, success_rate, cost, avg_duration_ms, unpriced_requests FROM usage_monitor.daily_usage;
ROLLBACK;
