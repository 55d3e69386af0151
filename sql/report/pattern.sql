/*
 * Patterns: when in the week usage happens, and how long calls take.
 */

/*
 * A view by organisation and one over all of them.  An average is over all
 * hours of that weekday and time since the first call, idle ones too: how
 * many there were is counted on the wall clock, where the hour that a change
 * of clocks skips counts, and the one that it repeats counts once.
 */
DO $$
DECLARE
    view record;
BEGIN
    FOR view IN
        SELECT v.*
        FROM (VALUES
            ('usage_pattern', 'hourly_usage', 'org, ', 'PARTITION BY org',
             'When in the week an organisation uses what: its whole history by weekday and hour of the day, on the ledger''s clock. Hours of the week that never had a call have no row. Of some days, pattern_between() tells faster.'),
            ('pattern_total', 'hourly_total', '', '',
             'When in the week usage happens: usage_pattern of all organisations together.')
        ) AS v (name, source, org, of_org, comment)
    LOOP
        EXECUTE format($view$
            CREATE VIEW usage_monitor.%1$I WITH (security_invoker = true) AS
            SELECT %3$s weekday, hour_of_day, requests, errors, total_tokens, cost, currency, unpriced_requests,
                   -- the slot comes every 168 hours, for the first time so many after the first hour
                   (span - (168 + slot - first_slot) %% 168) / 168 + 1 AS hours,
                   trim_scale(requests::numeric / ((span - (168 + slot - first_slot) %% 168) / 168 + 1)) AS average_requests,
                   trim_scale(cost / ((span - (168 + slot - first_slot) %% 168) / 168 + 1)) AS average_cost,
                   round(100.0 * requests / sum(requests) OVER (%4$s), 2) AS requests_percentage,
                   round(100.0 * cost / nullif(sum(cost) OVER (%4$s), 0.0), 2) AS cost_percentage
            FROM (
                SELECT %3$s weekday, hour_of_day, requests, errors, total_tokens, cost, unpriced_requests,
                       usage_monitor.ledger_currency() AS currency,
                       24 * (weekday - 1) + hour_of_day AS slot,
                       24 * (extract(isodow FROM first_hour)::integer - 1) + extract(hour FROM first_hour)::integer AS first_slot,
                       (extract(epoch FROM greatest(last_hour,
                                                    date_trunc('hour', now() AT TIME ZONE usage_monitor.ledger_time_zone()))
                                           - first_hour) / 3600)::bigint AS span
                FROM (
                    SELECT %3$s
                           extract(isodow FROM local_hour)::integer AS weekday,
                           extract(hour FROM local_hour)::integer AS hour_of_day,
                           sum(requests)::bigint AS requests,
                           sum(errors)::bigint AS errors,
                           sum(total_tokens)::bigint AS total_tokens,
                           sum(cost) AS cost,
                           sum(unpriced_requests)::bigint AS unpriced_requests,
                           min(min(local_hour)) OVER (%4$s) AS first_hour,
                           max(max(local_hour)) OVER (%4$s) AS last_hour
                    FROM (
                        SELECT %3$s requests, errors, total_tokens, cost, unpriced_requests,
                               hour AT TIME ZONE usage_monitor.ledger_time_zone() AS local_hour
                        FROM usage_monitor.%2$I
                    ) AS local
                    GROUP BY %3$s
                             extract(isodow FROM local_hour)::integer,
                             extract(hour FROM local_hour)::integer
                ) AS summed
            ) AS placed
            $view$, view.name, view.source, view.org, view.of_org);
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name, view.comment);
    END LOOP;
END
$$;

SELECT _usage_monitor._describe('{usage_pattern, pattern_total}', ARRAY[
    ['weekday', 'Day of the week, from 1 (Monday) to 7 (Sunday), in the ledger''s time zone.'],
    ['hour_of_day', 'Hour of the day, from 0 to 23, in the ledger''s time zone.'],
    ['errors', 'Number of calls that failed.'],
    ['hours', 'How many hours of that weekday and time there were from the first call until now, with or without a call.'],
    ['average_requests', 'Number of calls in such an hour on average, idle ones included.'],
    ['average_cost', 'Cost of such an hour on average, idle ones included; NULL where no call is priced.'],
    ['requests_percentage', 'Share of all calls, in percent, to two decimals.'],
    ['cost_percentage', 'Share of all cost, in percent, to two decimals.']], 'usage_trend');

/*
 * The same of some days.  Every hour of the week has a row, for a chart wants
 * to show when nothing happens.
 */
CREATE FUNCTION _usage_monitor._check_days("from" date, "to" date) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF "from" IS NULL OR "to" IS NULL OR NOT isfinite("from") OR NOT isfinite("to") OR "from" > "to" OR "to" - "from" > 36600 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('arguments "from" and "to" must be two days, the first before the second, but are %s and %s',
                             coalesce("from"::text, 'NULL'), coalesce("to"::text, 'NULL')),
            HINT = 'The days are those from "from" on and before "to", 36600 at most: date ''2026-11-01'', date ''2026-12-01'' are November.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_days(date, date) IS 'Refuses what is no range of days (UM001).';

CREATE FUNCTION usage_monitor.pattern_between("from" date, "to" date, org text DEFAULT NULL)
RETURNS TABLE (
    weekday integer, hour_of_day integer, requests bigint, errors bigint, total_tokens bigint,
    cost numeric, currency text, unpriced_requests bigint,
    hours bigint, average_requests numeric, average_cost numeric
)
    LANGUAGE plpgsql STABLE ROWS 168
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    zone CONSTANT text := usage_monitor.ledger_time_zone();
BEGIN
    PERFORM _usage_monitor._check_days("from", "to");
    RETURN QUERY EXECUTE '
        SELECT w.weekday, w.hour, coalesce(u.requests, 0), coalesce(u.errors, 0), coalesce(u.total_tokens, 0),
               CASE WHEN u.requests IS NULL THEN 0 ELSE u.cost END, usage_monitor.ledger_currency(), coalesce(u.unpriced_requests, 0),
               n.hours, trim_scale(coalesce(u.requests, 0) / nullif(n.hours, 0)::numeric),
               trim_scale(CASE WHEN u.requests IS NULL THEN 0 ELSE u.cost END / nullif(n.hours, 0)::numeric)
          FROM (SELECT d.weekday, h.hour FROM generate_series(1, 7) AS d (weekday), generate_series(0, 23) AS h (hour)) AS w
         CROSS JOIN LATERAL (
               -- those that have begun, on the wall clock
               SELECT count(*) AS hours
                 FROM generate_series((7 + w.weekday - extract(isodow FROM $1)::integer) % 7, $2 - $1 - 1, 7) AS t (n)
                WHERE ($1 + t.n)::timestamp + make_interval(hours => w.hour) <= now() AT TIME ZONE $3) AS n
          LEFT JOIN (
               SELECT extract(isodow FROM v.local)::integer AS weekday, extract(hour FROM v.local)::integer AS hour,
                      sum(v.requests)::bigint AS requests, sum(v.errors)::bigint AS errors, sum(v.total_tokens)::bigint AS total_tokens,
                      sum(v.cost) AS cost, sum(v.unpriced_requests)::bigint AS unpriced_requests
                 FROM (SELECT v.*, v.hour AT TIME ZONE $3 AS local
                         FROM ' || CASE WHEN org IS NULL THEN 'usage_monitor.hourly_total AS v WHERE true'
                                        ELSE 'usage_monitor.hourly_usage AS v WHERE v.org = $6' END || '
                          AND v.hour >= $4 AND v.hour < $5) AS v
                GROUP BY 1, 2) AS u ON u.weekday = w.weekday AND u.hour = w.hour
         ORDER BY w.weekday, w.hour'
    USING "from", "to", zone, _usage_monitor._day_start("from"), _usage_monitor._day_start("to"), org;
END
$$;

COMMENT ON FUNCTION usage_monitor.pattern_between(date, date, text) IS
    'When in the week usage happens, from one day to the day before another: a row for each weekday and hour of the day, on the ledger''s clock; of one organisation, or of all. The columns are those of usage_pattern; hours counts those of the range that have begun. Error: UM001 invalid range.';

/*
 * The histogram of durations, a row a bucket.
 */
DO $$
DECLARE
    sums    text;
    timed   text;
    buckets text;
BEGIN
    SELECT string_agg(format('_usage_monitor._sum(r.%1$I) AS %1$I', b.name), ', ' ORDER BY b.place),
           string_agg(format('coalesce(_usage_monitor._sum(r.%I), 0)', b.name), ' + '),
           string_agg(format('(%s, %s, %L, s.%I)', b.from_ms, coalesce(b.to_ms::text, 'NULL'),
                             CASE WHEN b.to_ms <= 1000 THEN '0-1 s'
                                  WHEN b.to_ms <= 2000 THEN '1-2 s'
                                  WHEN b.to_ms <= 3000 THEN '2-3 s'
                                  WHEN b.to_ms <= 5000 THEN '3-5 s'
                                  ELSE 'over 5 s' END,
                             b.name), ', ' ORDER BY b.place)
      INTO sums, timed, buckets
      FROM (SELECT m.name,
                   m.place,
                   coalesce(lag(bound) OVER (ORDER BY m.place), 0) AS from_ms,
                   bound AS to_ms
              FROM _usage_monitor._rollup_measures() WITH ORDINALITY AS m (name, place)
             CROSS JOIN LATERAL (SELECT nullif(substr(m.name, 4), 'infinity')::integer) AS b (bound)
             WHERE m.name LIKE 'ms\_%') b;

    EXECUTE format($view$
        CREATE VIEW usage_monitor.duration_distribution WITH (security_invoker = true) AS
        SELECT s.day,
               s.org,
               b.range,
               b.from_ms,
               b.to_ms,
               b.requests,
               round(100.0 * b.requests / nullif(s.timed, 0), 2) AS percentage
          -- the latest days first, as in views.sql
          FROM (SELECT r.day, r.org, %s, %s AS timed
                  FROM _usage_monitor._live_day r
                 GROUP BY r.day, r.org
                 ORDER BY r.day DESC) AS s
         CROSS JOIN LATERAL (VALUES %s) AS b (from_ms, to_ms, range, requests)
         WHERE b.requests <> 0
        $view$, sums, timed, buckets);
END
$$;

COMMENT ON VIEW usage_monitor.duration_distribution IS
    'How many calls took how long, by day and organisation: a row for each bucket of the histogram that has calls. Sum up by range for 0-1, 1-2, 2-3, 3-5 and over 5 seconds.';
COMMENT ON COLUMN usage_monitor.duration_distribution.day IS 'Day, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.duration_distribution.org IS 'Organisation.';
COMMENT ON COLUMN usage_monitor.duration_distribution.range IS '0-1 s, 1-2 s, 2-3 s, 3-5 s or over 5 s: what the bucket is part of.';
COMMENT ON COLUMN usage_monitor.duration_distribution.from_ms IS 'Calls of the bucket took longer than this, in milliseconds; the first has those of 0, too.';
COMMENT ON COLUMN usage_monitor.duration_distribution.to_ms IS 'And at most this; NULL: the last bucket has no bound.';
COMMENT ON COLUMN usage_monitor.duration_distribution.requests IS 'Number of calls; those without a duration are left out.';
COMMENT ON COLUMN usage_monitor.duration_distribution.percentage IS 'In percent of the day''s and organisation''s calls that have a duration, to two decimals.';

/*
 * Percentiles of several days cannot be had from those of each; their
 * histograms add up.
 */
CREATE FUNCTION _usage_monitor._duration_bounds() RETURNS integer[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT array_agg(nullif(substr(m.name, 4), 'infinity')::integer ORDER BY m.place)
      FROM _usage_monitor._rollup_measures() WITH ORDINALITY AS m (name, place)
     WHERE m.name LIKE 'ms\_%';
END;

COMMENT ON FUNCTION _usage_monitor._duration_bounds() IS
    'The upper bounds of the histogram of durations, in milliseconds; the last is NULL: it has none.';

CREATE FUNCTION usage_monitor.durations_between(
    "from" date,
    "to" date,
    org text DEFAULT NULL,
    OUT requests bigint,
    OUT avg_duration_ms double precision,
    OUT p50_duration_ms double precision,
    OUT p95_duration_ms double precision,
    OUT p99_duration_ms double precision,
    OUT bounds_ms integer[],
    OUT histogram bigint[]
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET jit = off
AS $$
DECLARE
    buckets CONSTANT text := (SELECT string_agg(format('coalesce(sum(r.%I), 0)::bigint', m.name), ', ' ORDER BY m.place)
                                FROM _usage_monitor._rollup_measures() WITH ORDINALITY AS m (name, place)
                               WHERE m.name LIKE 'ms\_%');
BEGIN
    PERFORM _usage_monitor._check_days("from", "to");
    EXECUTE 'SELECT coalesce(sum(r.requests - coalesce(r.untimed_requests, 0)), 0)::bigint,
                    sum(r.duration_ms)::double precision / nullif(sum(r.requests - coalesce(r.untimed_requests, 0)), 0)::double precision,
                    ARRAY[' || buckets || ']
               FROM ' || CASE WHEN org IS NULL THEN '_usage_monitor._live_day_total AS r WHERE true'
                              ELSE '_usage_monitor._live_day AS r WHERE r.org = $3' END || '
                AND r.day >= $1 AND r.day < $2'
       INTO requests, avg_duration_ms, histogram
      USING "from", "to", org;
    bounds_ms := _usage_monitor._duration_bounds();
    p50_duration_ms := usage_monitor.duration_percentile(0.5, VARIADIC histogram);
    p95_duration_ms := usage_monitor.duration_percentile(0.95, VARIADIC histogram);
    p99_duration_ms := usage_monitor.duration_percentile(0.99, VARIADIC histogram);
END
$$;

COMMENT ON FUNCTION usage_monitor.durations_between(date, date, text) IS
    'How long the calls from one day to the day before another took, of one organisation or of all: how many calls have a duration, their average, median and 95th and 99th percentile in milliseconds (the percentiles estimated from the histogram: see duration_percentile()), and the histogram with the upper bounds of its buckets (NULL: the last has none). Error: UM001 invalid range.';
