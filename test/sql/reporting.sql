--
-- Statistics, reports and patterns, each against the same made from the
-- ledger in another way, on a ledger that has everything
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'Pacific/Chatham';   -- must not matter: days and hours are the ledger's
SET datestyle = 'ISO, YMD';

-- The ledger with its days and hours, the time of day taken off by hand
CREATE TEMP TABLE call AS
SELECT ts AS hour, now() AT TIME ZONE 'UTC' AS local, current_date AS day, current_date AS week, current_date AS month, u.*
FROM usage_monitor.usage AS u LIMIT 0;
CREATE TEMP TABLE every_report (period text, org text, report jsonb, first_day date, last_day date, previous_day date);

CREATE FUNCTION pg_temp.prepare() RETURNS void LANGUAGE sql AS $$
    INSERT INTO pg_temp.call
    SELECT ts - (local - date_trunc('hour', local)), local, local::date,
           local::date - extract(isodow FROM local)::int + 1,
           local::date - extract(day FROM local)::int + 1,
           u.*
    FROM usage_monitor.usage AS u
    CROSS JOIN LATERAL (SELECT ts AT TIME ZONE usage_monitor.ledger_time_zone()) AS l (local);

    INSERT INTO every_report
    SELECT period, org, usage_monitor.report(period, at, org), first_day,
           CASE period WHEN 'daily' THEN first_day WHEN 'weekly' THEN first_day + 6 ELSE (first_day + interval '1 month')::date - 1 END,
           CASE period WHEN 'daily' THEN first_day - 1 WHEN 'weekly' THEN first_day - 7 ELSE (first_day - interval '1 month')::date END
    FROM (SELECT p.period, o.org, a.at, (a.at AT TIME ZONE usage_monitor.ledger_time_zone())::date AS day
          FROM unnest('{daily, weekly, monthly}'::text[]) AS p (period)
          CROSS JOIN (VALUES (now()), ('2025-03-09 17:00+00'), ('2025-11-02 17:00+00'), ('2024-12-31 17:00+00')) AS a (at)
          CROSS JOIN (VALUES (NULL), ('acme')) AS o (org)) AS r
    CROSS JOIN LATERAL (SELECT CASE period WHEN 'daily' THEN day WHEN 'weekly' THEN day - extract(isodow FROM day)::int + 1
                                           ELSE day - extract(day FROM day)::int + 1 END AS first_day) AS f;
$$;

CREATE TEMP TABLE grouping_key (nr serial, group_by text, name text, org text, provider text, key text, source text);
INSERT INTO grouping_key (group_by, name, org, provider, key, source) VALUES
    ('hour', 'to_char(local, ''YYYY-MM-DD HH24:00'') || hour', NULL, NULL, NULL, ''),
    ('day', 'day::text', NULL, NULL, NULL, ''),
    ('week', 'to_char(week, ''IYYY-"W"IW'')', NULL, NULL, NULL, ''),
    ('month', 'to_char(month, ''YYYY-MM'')', NULL, NULL, NULL, ''),
    ('org', 'org', 'org', NULL, NULL, ''),
    ('department', 'department', 'org', NULL, NULL, ''),
    ('project', 'project', 'org', NULL, NULL, ''),
    ('user', 'user_id', 'org', NULL, NULL, ''),
    ('provider', 'provider', NULL, 'provider', NULL, ''),
    ('model', 'model', NULL, 'provider', NULL, ''),
    ('operation', 'operation', NULL, NULL, NULL, ''),
    ('source', 'source', NULL, NULL, NULL, ''),
    ('service_tier', 'service_tier', NULL, NULL, NULL, ''),
    ('tag', 'tags ->> tag', NULL, NULL, 'tag', 'CROSS JOIN LATERAL jsonb_object_keys(tags) AS k (tag)');

-- What usage_between() says, and what it should; the rows that only one has.
-- An hour that the clock shows twice has one name, so its start is added.
CREATE FUNCTION pg_temp.differences(group_by text, first date, past date, only_org text)
RETURNS TABLE (rows bigint, only_function bigint, only_reference bigint)
LANGUAGE plpgsql AS $$
DECLARE
    g pg_temp.grouping_key;
BEGIN
    SELECT * INTO g FROM pg_temp.grouping_key k WHERE k.group_by = differences.group_by;
    CREATE TEMP TABLE told AS
    SELECT b.org, provider, key, CASE group_by WHEN 'hour' THEN name || period_start ELSE name END,
           requests::numeric, successes::numeric, errors::numeric, success_rate,
           input_tokens::numeric, output_tokens::numeric, cache_read_input_tokens::numeric, cache_creation_input_tokens::numeric,
           reasoning_output_tokens::numeric, total_tokens::numeric,
           input_cost, output_cost, other_cost, cost, cost_percentage, currency,
           round(avg_duration_ms::numeric, 6), unpriced_requests::numeric, cached_requests::numeric
    FROM usage_monitor.usage_between(first, past, group_by, only_org) AS b;
    EXECUTE format($sql$
        CREATE TEMP TABLE found AS
        SELECT org, provider, key, name, requests, successes, errors, trunc(successes / requests + 0.00005, 4),
               input, output, read, written, reasoning, total, input_cost, output_cost, other_cost, cost,
               round(cost * 100 / sum(cost) OVER (PARTITION BY key), 2) AS percentage, usage_monitor.ledger_currency(),
               round(duration::numeric, 6), unpriced, cached
        FROM (
            SELECT org, provider, key, name, sum(calls) AS requests, sum(good) AS successes, sum(calls - good) AS errors,
                   sum(input) AS input, sum(output) AS output, sum(read) AS read, sum(written) AS written,
                   sum(reasoning) AS reasoning, sum(total) AS total,
                   sum(input_cost) AS input_cost, sum(output_cost) AS output_cost, sum(other_cost) AS other_cost, sum(cost) AS cost,
                   sum(duration) / sum(timed) AS duration,
                   sum(unpriced) AS unpriced, sum(cached) AS cached
            FROM (
                SELECT %s AS org, %s::text AS provider, %s::text AS key, %s AS name, %s AS bucket,
                       sum(1) AS calls, sum(success::int) AS good, sum(input_tokens) AS input, sum(output_tokens) AS output,
                       sum(cache_read_input_tokens) AS read, sum(cache_creation_input_tokens) AS written,
                       sum(reasoning_output_tokens) AS reasoning, sum(total_tokens) AS total,
                       sum(input_cost) AS input_cost, sum(output_cost) AS output_cost, sum(other_cost) AS other_cost, sum(cost) AS cost,
                       sum(duration_ms) AS duration, count(duration_ms) AS timed,
                       sum((cost_source = 'unpriced')::int) AS unpriced, sum(cached::int) AS cached
                FROM pg_temp.call %s
                WHERE day >= $1 AND day < $2 AND coalesce(org = $3, true)
                GROUP BY 1, 2, 3, 4, 5) AS daily
            GROUP BY org, provider, key, name) AS summed $sql$,
        coalesce(g.org, '$3'), coalesce(g.provider, 'NULL'), coalesce(g.key, 'NULL'), g.name,
        CASE group_by WHEN 'hour' THEN 'hour::text' ELSE 'day::text' END, g.source)
    USING first, past, only_org;
    RETURN QUERY SELECT (SELECT count(*) FROM told),
                        (SELECT count(*) FROM (TABLE told EXCEPT ALL TABLE found) AS d),
                        (SELECT count(*) FROM (TABLE found EXCEPT ALL TABLE told) AS d);
    DROP TABLE told, found;
END
$$;

-- Ranges that begin and end in the middle of weeks and months
CREATE VIEW pg_temp.every_range AS
SELECT g.group_by, sum(d.rows) > 0 AS has_rows, sum(d.only_function) AS only_function, sum(d.only_reference) AS only_reference
FROM grouping_key AS g
CROSS JOIN (VALUES (date '-infinity', date 'infinity', NULL), ('2025-03-09', '2025-03-12', NULL), ('2025-11-01', '2025-11-05', 'acme'),
                   ('2024-02-29', '2025-01-01', 'globex'), ('2025-03-10', '2025-03-10', NULL), ('-infinity', 'infinity', 'nobody')) AS r (first, past, org)
CROSS JOIN LATERAL pg_temp.differences(g.group_by, r.first, r.past, r.org) AS d
GROUP BY g.nr, g.group_by
ORDER BY g.nr;

-- One row for a time, against the ledger; now() is the same in all of a transaction
CREATE VIEW pg_temp.every_summary AS
SELECT f.name,
       count(*) FILTER (WHERE (s.requests, s.errors, s.input_tokens, s.output_tokens, s.total_tokens, s.cost, s.unpriced_requests, s.cached_requests)
                              IS DISTINCT FROM (r.requests, r.errors, r.input, r.output, r.total, r.cost, r.unpriced, r.cached)
                           OR round(s.avg_duration_ms::numeric, 6) IS DISTINCT FROM r.duration) AS wrong
FROM (VALUES (NULL), ('acme'), ('nobody')) AS o (org)
CROSS JOIN (
    SELECT 'hourly' AS name, ago, NULL::date AS month FROM generate_series(0, 30) AS ago
    UNION ALL SELECT 'daily', ago, NULL FROM generate_series(0, 40) AS ago
    UNION ALL SELECT 'monthly', NULL, month FROM (SELECT DISTINCT month FROM pg_temp.call UNION SELECT '2023-12-01') AS m
) AS f
CROSS JOIN LATERAL (
    SELECT * FROM usage_monitor.hourly_summary(f.ago, o.org) WHERE f.name = 'hourly'
    UNION ALL SELECT * FROM usage_monitor.daily_summary(f.ago, o.org) WHERE f.name = 'daily'
    UNION ALL
    SELECT * FROM usage_monitor.monthly_summary(extract(year FROM f.month)::int, extract(month FROM f.month)::int, o.org)
              WHERE f.name = 'monthly'
) AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS requests, count(*) FILTER (WHERE NOT success) AS errors, coalesce(sum(input_tokens), 0)::bigint AS input,
           coalesce(sum(output_tokens), 0)::bigint AS output, coalesce(sum(total_tokens), 0)::bigint AS total,
           CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost) END AS cost, count(*) - count(cost) AS unpriced,
           coalesce(sum(cached::int), 0) AS cached, round((sum(duration_ms) / count(duration_ms))::numeric, 6) AS duration
    FROM pg_temp.call AS c
    WHERE coalesce(c.org = o.org, true) AND CASE f.name
          WHEN 'hourly' THEN c.ts >= s.period_start AND c.ts < s.period_start + interval '1 hour' AND s.period_end = s.period_start + interval '1 hour'
                             AND now() - make_interval(hours => ago) BETWEEN s.period_start AND s.period_end
          WHEN 'daily' THEN c.day = (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date - ago
          ELSE c.month = f.month END
) AS r
GROUP BY f.name;

-- Sessions, the dearest users and models, the trend, the week: what is wrong
CREATE VIEW pg_temp.wrong AS
SELECT 'session' AS of, count(*) AS wrong
FROM (SELECT org, session_id, CASE count(DISTINCT user_id) WHEN 1 THEN max(user_id) END AS user_id, min(ts) AS first_ts, max(ts) AS last_ts,
             count(*) AS requests, sum(cost) AS cost, sum(total_tokens)::bigint AS total_tokens
      FROM pg_temp.call WHERE session_id IS NOT NULL GROUP BY org, session_id) AS r
FULL JOIN (SELECT DISTINCT s.* FROM (SELECT DISTINCT session_id FROM pg_temp.call) AS c
           CROSS JOIN LATERAL usage_monitor.session_stats(c.session_id) AS s) AS s USING (org, session_id)
WHERE (r.user_id, r.first_ts, r.last_ts, r.requests, r.cost, r.total_tokens)
      IS DISTINCT FROM (s.user_id, s.first_ts, s.last_ts, s.requests, s.cost, s.total_tokens) OR s.length <> r.last_ts - r.first_ts
UNION ALL
SELECT 'session by org', count(*)
FROM (SELECT DISTINCT org, session_id FROM pg_temp.call WHERE session_id IS NOT NULL) AS c
WHERE (SELECT array_agg(s.org) FROM usage_monitor.session_stats(c.session_id, c.org) AS s) IS DISTINCT FROM ARRAY[c.org]
UNION ALL
SELECT 'session between', count(*)
FROM (SELECT org, session_id AS name, min(ts) AS begun, count(*) AS requests, sum(cost) AS cost FROM pg_temp.call
      WHERE session_id IS NOT NULL GROUP BY org, session_id) AS r
FULL JOIN usage_monitor.usage_between(date '2025-03-09', date '2025-03-12', 'session') AS s USING (org, name)
WHERE CASE WHEN (begun AT TIME ZONE usage_monitor.ledger_time_zone())::date BETWEEN '2025-03-09' AND '2025-03-11'
           THEN (r.requests, r.cost) IS DISTINCT FROM (s.requests, s.cost) ELSE s.org IS NOT NULL END
UNION ALL
SELECT 'top users', sum(wrong)
FROM (VALUES (NULL, 1), (NULL, 30), ('acme', 7), ('acme', 36600)) AS a (only_org, days)
CROSS JOIN LATERAL (
    SELECT count(*) AS wrong
    FROM (SELECT c.org, c.user_id, count(*) AS requests, sum(1 - success::int) AS errors, sum(cost) AS cost, count(DISTINCT day) AS active_days,
                 max(day) AS last_day, rank() OVER (ORDER BY sum(cost) DESC NULLS LAST) AS rank,
                 round(100 * sum(cost) / sum(sum(cost)) OVER (), 2) AS cost_percentage
          FROM pg_temp.call AS c
          WHERE day > (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date - a.days
            AND day <= (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date AND coalesce(c.org = a.only_org, true)
          GROUP BY c.org, c.user_id) AS r
    FULL JOIN usage_monitor.top_users(1000, a.days, a.only_org) AS t
      ON t.org = r.org AND t.user_id IS NOT DISTINCT FROM r.user_id AND t.requests = r.requests
    WHERE (r.errors, r.cost, r.active_days, r.last_day, r.rank, r.cost_percentage)
          IS DISTINCT FROM (t.errors, t.cost, t.active_days, t.last_day, t.rank, t.cost_percentage)
) AS w
UNION ALL
SELECT 'top models', sum(wrong)
FROM (VALUES (NULL, 1), (NULL, 30), ('acme', 7), ('acme', 36600)) AS a (only_org, days)
CROSS JOIN LATERAL (
    SELECT count(*) AS wrong
    FROM (SELECT c.provider, c.model, count(*) AS requests, sum(1 - success::int) AS errors, sum(cost) AS cost, count(DISTINCT day) AS active_days,
                 max(day) AS last_day, rank() OVER (ORDER BY sum(cost) DESC NULLS LAST) AS rank,
                 round(100 * sum(cost) / sum(sum(cost)) OVER (), 2) AS cost_percentage
          FROM pg_temp.call AS c
          WHERE day > (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date - a.days
            AND day <= (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date AND coalesce(c.org = a.only_org, true)
          GROUP BY c.provider, c.model) AS r
    FULL JOIN usage_monitor.top_models(1000, a.days, a.only_org) AS t
      ON t.model = r.model AND t.provider IS NOT DISTINCT FROM r.provider AND t.requests = r.requests
    WHERE (r.errors, r.cost, r.active_days, r.last_day, r.rank, r.cost_percentage)
          IS DISTINCT FROM (t.errors, t.cost, t.active_days, t.last_day, t.rank, t.cost_percentage)
) AS w
UNION ALL
SELECT 'trend', sum(wrong)
FROM (VALUES (NULL), ('acme')) AS a (only_org)
CROSS JOIN LATERAL (
    -- the days one by one, without window functions
    SELECT count(*) AS wrong
    FROM (SELECT d.day, c.requests, c.cost, p.cost AS previous_cost, w.cost AS week_cost
          FROM (SELECT (now() AT TIME ZONE usage_monitor.ledger_time_zone())::date - n AS day FROM generate_series(0, 39) AS n) AS d
          CROSS JOIN LATERAL (SELECT count(*) AS requests, CASE WHEN count(*) = 0 THEN 0 ELSE sum(c.cost) END AS cost
                              FROM pg_temp.call AS c WHERE c.day = d.day AND coalesce(c.org = a.only_org, true)) AS c
          CROSS JOIN LATERAL (SELECT CASE WHEN count(*) = 0 THEN 0 ELSE sum(c.cost) END AS cost
                              FROM pg_temp.call AS c WHERE c.day = d.day - 1 AND coalesce(c.org = a.only_org, true)) AS p
          CROSS JOIN LATERAL (SELECT sum(c.cost) / 7 AS cost
                              FROM pg_temp.call AS c WHERE c.day BETWEEN d.day - 6 AND d.day AND coalesce(c.org = a.only_org, true)) AS w) AS r
    FULL JOIN usage_monitor.cost_trend(40, a.only_org) AS t ON t.day = r.day
    WHERE (r.requests, r.cost, r.previous_cost, r.cost - r.previous_cost, round(coalesce(r.week_cost, 0), 12))
          IS DISTINCT FROM (t.requests, t.cost, t.previous_cost, t.change, round(t.average_7d_cost, 12))
) AS w
UNION ALL
SELECT 'trend_total', count(*)
FROM (SELECT day, requests, cost, previous_cost, change, average_7d_cost FROM usage_monitor.cost_trend(40)
      EXCEPT ALL
      SELECT day, requests, cost, previous_cost, change, average_7d_cost FROM usage_monitor.trend_total) AS d
UNION ALL
-- every hour of the wall clock since the first call, one by one
SELECT 'pattern', count(*)
FROM (SELECT o.org, extract(isodow FROM h.local) AS weekday, extract(hour FROM h.local) AS hour_of_day,
             count(*) AS hours, sum(c.requests) AS requests, sum(c.cost) AS cost, sum(c.errors) AS errors, sum(c.unpriced) AS unpriced
      FROM (SELECT org, date_trunc('hour', min(local)) AS first FROM pg_temp.call GROUP BY org
            UNION ALL SELECT NULL, date_trunc('hour', min(local)) FROM pg_temp.call) AS o
      CROSS JOIN LATERAL generate_series(o.first, now() AT TIME ZONE usage_monitor.ledger_time_zone(), interval '1 hour') AS h (local)
      LEFT JOIN (SELECT org, date_trunc('hour', local) AS local, count(*) AS requests, sum(cost) AS cost, sum(1 - success::int) AS errors,
                        count(*) - count(cost) AS unpriced
                 FROM pg_temp.call GROUP BY GROUPING SETS ((org, date_trunc('hour', local)), (date_trunc('hour', local)))) AS c
             ON c.local = h.local AND c.org IS NOT DISTINCT FROM o.org
      GROUP BY o.org, 2, 3 HAVING count(c.local) > 0) AS r
FULL JOIN (SELECT org, weekday, hour_of_day, hours, requests, errors, cost, average_requests, average_cost, unpriced_requests FROM usage_monitor.usage_pattern
           UNION ALL
           SELECT NULL, weekday, hour_of_day, hours, requests, errors, cost, average_requests, average_cost, unpriced_requests FROM usage_monitor.pattern_total) AS p
  ON p.org IS NOT DISTINCT FROM r.org AND p.weekday = r.weekday AND p.hour_of_day = r.hour_of_day
WHERE (r.hours, r.requests, r.errors, r.cost, r.unpriced, round(r.requests / r.hours, 9), round(r.cost / r.hours, 9))
      IS DISTINCT FROM (p.hours, p.requests, p.errors, p.cost, p.unpriced_requests, round(p.average_requests, 9), round(p.average_cost, 9))
UNION ALL
SELECT 'share of the week', count(*)
FROM (SELECT sum(requests_percentage) AS requests, sum(cost_percentage) AS cost FROM usage_monitor.usage_pattern GROUP BY org
      UNION ALL SELECT sum(requests_percentage), sum(cost_percentage) FROM usage_monitor.pattern_total) AS s
WHERE requests NOT BETWEEN 99 AND 101 OR cost NOT BETWEEN 99 AND 101;

-- Reports: what they say of a time is what the other functions say of it
CREATE VIEW pg_temp.wrong_report AS
SELECT 'measures' AS of, count(*) AS wrong
FROM every_report AS r
CROSS JOIN LATERAL (VALUES
    (r.report #> '{summary, cost}', (SELECT to_jsonb(CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost) END) FROM pg_temp.call AS c WHERE c.day BETWEEN r.first_day AND r.last_day AND coalesce(c.org = r.org, true))),
    (r.report #> '{summary, requests}', (SELECT to_jsonb(count(*)) FROM pg_temp.call AS c WHERE c.day BETWEEN r.first_day AND r.last_day AND coalesce(c.org = r.org, true))),
    (r.report #> '{summary, active_users}', (SELECT to_jsonb(count(DISTINCT (c.org, user_id))) FROM pg_temp.call AS c WHERE c.day BETWEEN r.first_day AND r.last_day AND coalesce(c.org = r.org, true) AND user_id IS NOT NULL)),
    (r.report #> '{comparison, previous, cost}', (SELECT to_jsonb(CASE WHEN count(*) = 0 THEN 0 ELSE sum(cost) END) FROM pg_temp.call AS c WHERE c.day BETWEEN r.previous_day AND r.first_day - 1 AND coalesce(c.org = r.org, true))),
    (r.report #> '{comparison, change, requests}', (SELECT to_jsonb(count(*) FILTER (WHERE day >= r.first_day) - count(*) FILTER (WHERE day < r.first_day)) FROM pg_temp.call AS c WHERE c.day BETWEEN r.previous_day AND r.last_day AND coalesce(c.org = r.org, true))),
    (r.report #> '{unpriced, requests}', (SELECT to_jsonb(count(*)) FROM pg_temp.call AS c WHERE c.cost IS NULL AND c.day BETWEEN r.first_day AND r.last_day AND coalesce(c.org = r.org, true)))
) AS v (told, found)
WHERE nullif(v.told, 'null') IS DISTINCT FROM v.found
UNION ALL
-- each breakdown, and the trend, add up to the summary
SELECT 'sums', count(*)
FROM every_report AS r
CROSS JOIN unnest('{trend, by_org, by_department, by_project, by_user, by_provider, by_model, by_operation, by_source, by_service_tier}'::text[]) AS k (key)
CROSS JOIN LATERAL (
    SELECT coalesce(sum((p ->> 'requests')::numeric), 0) + coalesce((r.report #>> ARRAY['others', k.key, 'requests'])::numeric, 0) AS requests,
           coalesce(sum((p ->> 'cost')::numeric), 0) + coalesce((r.report #>> ARRAY['others', k.key, 'cost'])::numeric, 0) AS cost
    FROM jsonb_array_elements(r.report -> k.key) AS p) AS s
WHERE s.requests <> (r.report #>> '{summary, requests}')::numeric OR s.cost <> (r.report #>> '{summary, cost}')::numeric
UNION ALL
SELECT 'to date', count(*)
FROM every_report AS r
CROSS JOIN LATERAL (
    SELECT (r.report #>> '{period, start}')::timestamptz AS start,
           (r.report #>> '{comparison, to_date, end}')::timestamptz AS until,
           (r.report #>> '{comparison, previous, start}')::timestamptz AS previous_start,
           (r.report #>> '{comparison, to_date, previous_end}')::timestamptz AS previous_until
    OFFSET 0) AS t
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.ts >= t.start AND c.ts < t.until) AS requests,
           count(*) FILTER (WHERE c.ts >= t.previous_start AND c.ts < t.previous_until) AS previous
    FROM pg_temp.call AS c WHERE coalesce(c.org = r.org, true)) AS c
WHERE CASE WHEN now() >= (r.report #>> '{period, end}')::timestamptz
           THEN r.report #> '{comparison, to_date}' <> 'null' OR (r.report #>> '{period, complete}')::boolean IS NOT TRUE
           ELSE (to_jsonb(c.requests), to_jsonb(c.previous))
                IS DISTINCT FROM (r.report #> '{comparison, to_date, requests}', r.report #> '{comparison, to_date, previous_requests}')
                OR (r.report #>> '{period, complete}')::boolean END
UNION ALL
SELECT 'dashboard', count(*)
FROM (SELECT NULL AS org UNION ALL SELECT 'acme') AS o
CROSS JOIN LATERAL usage_monitor.dashboard(o.org) AS d (board)
CROSS JOIN LATERAL (VALUES
    (d.board #> '{current, hour, cost}', (SELECT to_jsonb(cost) FROM usage_monitor.hourly_summary(0, o.org))),
    (d.board #> '{previous, hour, cost}', (SELECT to_jsonb(cost) FROM usage_monitor.hourly_summary(1, o.org))),
    (d.board #> '{current, day, cost}', (SELECT to_jsonb(cost) FROM usage_monitor.daily_summary(0, o.org))),
    (d.board #> '{previous, day, requests}', (SELECT to_jsonb(requests) FROM usage_monitor.daily_summary(1, o.org))),
    (d.board #> '{current, week, cost}', usage_monitor.report('weekly', org => o.org) #> '{summary, cost}'),
    (d.board #> '{previous, month, cost}', usage_monitor.report('monthly', org => o.org) #> '{comparison, previous, cost}'),
    (d.board #> '{top_models, 0, cost}', (SELECT to_jsonb(cost) FROM usage_monitor.top_models(1, 30, o.org))),
    (d.board #> '{top_users_today, 0, requests}', (SELECT to_jsonb(requests) FROM usage_monitor.top_users(1, 1, o.org))),
    (d.board #> '{trend, 29, average_7d_cost}', (SELECT to_jsonb(average_7d_cost) FROM usage_monitor.cost_trend(1, o.org))),
    (to_jsonb(jsonb_array_length(d.board -> 'trend')), '30'),
    (to_jsonb((SELECT count(*) FROM usage_monitor.current_stats(o.org) AS c WHERE c.cost = (d.board #>> ARRAY['current', c.period, 'cost'])::numeric)), '2')
) AS v (told, found)
WHERE nullif(v.told, 'null') IS DISTINCT FROM v.found;

-- A call every 47 minutes over four spans and the last 50 days: New York's two
-- changes of clock, a week of two years, and a leap day that ends a month.
-- Every dimension is missing now and then; calls fail, are cached, have no
-- price or no duration.
PREPARE fill AS
INSERT INTO usage_monitor.usage
    (ts, org, department, project, user_id, session_id, provider, model, operation, source, service_tier,
     input_tokens, output_tokens, cache_read_input_tokens, reasoning_output_tokens,
     duration_ms, success, error, cached, tags, cost)
SELECT ts,
       (ARRAY['acme', 'globex'])[1 + n % 2],
       (ARRAY['sales', 'research', NULL])[1 + n % 3],
       (ARRAY['search', NULL, 'chat', 'search'])[1 + n % 4],
       CASE WHEN n % 5 < 4 THEN 'user ' || n % 97 END,
       CASE WHEN n % 3 > 0 THEN 's' || n / 7 END,
       (ARRAY['umtest', NULL])[1 + (n % 7 = 3)::int],
       CASE WHEN n % 11 = 4 THEN 'no-such-model' ELSE 'um-test-' || n % 2 END,
       (ARRAY['chat', 'embeddings', NULL])[1 + n % 6 / 2],
       (ARRAY[NULL, 'web', 'api'])[1 + n % 9 / 3],
       (ARRAY['standard', 'batch'])[1 + (n % 13 = 5)::int],
       100 + n * 7919::bigint % 100003, n * 104729::bigint % 5003, n % 100, n * 104729::bigint % 5003 / 3,
       CASE WHEN n % 8 > 0 THEN n % 1000 / 4.0 END,
       n % 17 > 0, CASE WHEN n % 17 = 0 THEN 'overloaded' END, n % 19 = 8,
       CASE n % 4 WHEN 0 THEN '{"team": "a", "env": "prod", "beta": true, "step": 3}'
                  WHEN 1 THEN '{"team": null}' WHEN 2 THEN '{}' END::jsonb,
       CASE WHEN n % 23 = 7 THEN 0.00000000000000000000123 END
FROM (
    SELECT row_number() OVER (ORDER BY span, ts)::int, ts
    FROM (VALUES (1, timestamptz '2024-02-27 00:00+00', timestamptz '2024-03-03 00:00+00'),
                 (2, '2024-12-28 00:00+00', '2025-01-02 00:00+00'),
                 (3, '2025-03-08 00:00+00', '2025-03-13 00:00+00'),
                 (4, '2025-11-01 00:00+00', '2025-11-06 00:00+00'),
                 (5, now() - interval '50 days', now())) AS s (span, first, last)
    CROSS JOIN generate_series(first, last, interval '97 minutes') AS ts
) AS call (n, ts);

PREPARE set_prices AS
SELECT count(usage_monitor.set_price('um-test-' || n, 0.1 + n, 0.123456789012345678 * n, provider => 'umtest', service_tier => t)) / 2 AS count
FROM generate_series(0, 1) AS n, unnest('{standard, batch}'::text[]) AS t;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare();
SELECT * FROM pg_temp.every_range;
SELECT * FROM pg_temp.every_summary;
SELECT * FROM pg_temp.wrong;
SELECT * FROM pg_temp.wrong_report;
ROLLBACK;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('CNY', 'Asia/Shanghai');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare();
SELECT sum(only_function) AS only_function, sum(only_reference) AS only_reference FROM pg_temp.every_range;
SELECT * FROM pg_temp.every_summary;
SELECT * FROM pg_temp.wrong WHERE wrong > 0;
SELECT * FROM pg_temp.wrong_report WHERE wrong > 0;
ROLLBACK;

-- 5 hours 45 minutes: hours begin at a quarter past
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'Asia/Kathmandu');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare();
SELECT sum(only_function) AS only_function, sum(only_reference) AS only_reference FROM pg_temp.every_range;
SELECT * FROM pg_temp.every_summary;
SELECT * FROM pg_temp.wrong WHERE wrong > 0;
SELECT * FROM pg_temp.wrong_report WHERE wrong > 0;
ROLLBACK;

-- Days of 23 and 25 hours
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare();
SELECT sum(only_function) AS only_function, sum(only_reference) AS only_reference FROM pg_temp.every_range;
SELECT * FROM pg_temp.every_summary;
SELECT * FROM pg_temp.wrong WHERE wrong > 0;
SELECT * FROM pg_temp.wrong_report WHERE wrong > 0;
SELECT r #>> '{period, start}' AS start, r #>> '{period, end}' AS end, jsonb_array_length(r -> 'trend') AS hours,
       r #>> '{trend, 1, name}' AS second, r #>> '{trend, 2, name}' AS third, r #>> '{trend, 2, start}' AS third_start
FROM unnest('{2025-03-09 12:00+00, 2025-11-02 12:00+00}'::timestamptz[]) AS at
CROSS JOIN LATERAL usage_monitor.report('daily', at) AS r;
ROLLBACK;
