/*
 * Trends and patterns: how usage changes from day to day, and when in the
 * week it happens.
 */

/* usage_trend of all organisations together; see there. */
CREATE VIEW usage_monitor.trend_total WITH (security_invoker = true) AS
SELECT day,
       requests,
       total_tokens,
       cost,
       usage_monitor.ledger_currency() AS currency,
       unpriced_requests,
       lag(cost) OVER days AS previous_cost,
       cost - lag(cost) OVER days AS change,
       round(100.0 * (cost - lag(cost) OVER days) / nullif(lag(cost) OVER days, 0.0), 2) AS change_percentage,
       avg(cost) OVER week AS average_7d_cost,
       avg(requests) OVER week AS average_7d_requests
FROM (
    SELECT d.day + idle AS day,
           CASE idle WHEN 0 THEN d.requests ELSE 0 END AS requests,
           CASE idle WHEN 0 THEN d.total_tokens ELSE 0 END AS total_tokens,
           CASE idle WHEN 0 THEN d.cost ELSE 0 END AS cost,
           CASE idle WHEN 0 THEN d.unpriced_requests ELSE 0 END AS unpriced_requests
    FROM (
        SELECT day, requests, total_tokens, cost, unpriced_requests,
               lead(day, 1, greatest(day, usage_monitor.ledger_day(now())) + 1) OVER (ORDER BY day) AS next_day
        FROM usage_monitor.daily_total
    ) AS d
    CROSS JOIN LATERAL (
        SELECT n + CASE WHEN n >= 36600 THEN greatest(d.next_day - d.day - 1 - 36606, 0) ELSE 0 END AS idle
        FROM generate_series(0, least(d.next_day - d.day - 1, 36606)) AS n
    ) AS i
) AS every_day
WINDOW days AS (ORDER BY day),
       week AS (days ROWS 6 PRECEDING);

COMMENT ON VIEW usage_monitor.trend_total IS
    'Each day since the first call, idle ones included, against the day before and the average of seven days: usage_trend of all organisations together.';

/*
 * A view by organisation and one over all of them.  An average is over all
 * hours of that weekday and time since the first call, idle ones too: how
 * many there were is counted on the wall clock, where the hour that a change
 * of clocks skips counts, and the one that it repeats counts once.
 */
DO $$
DECLARE
    view record;
    col  record;
BEGIN
    FOR view IN
        SELECT v.*
        FROM (VALUES
            ('usage_pattern', 'hourly_usage', 'org, ', 'PARTITION BY org',
             'When in the week an organisation uses what: its whole history by weekday and hour of the day, on the ledger''s clock. Hours of the week that never had a call have no row.'),
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

    /* A column means what it means in the views that it comes from. */
    FOR col IN
        SELECT c.relname, a.attname, coalesce(d.comment, col_description(t.attrelid, t.attnum)) AS comment
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attribute AS t ON t.attrelid = 'usage_monitor.usage_trend'::regclass AND t.attname = a.attname
        LEFT JOIN (VALUES
            ('weekday', 'Day of the week, from 1 (Monday) to 7 (Sunday), in the ledger''s time zone.'),
            ('hour_of_day', 'Hour of the day, from 0 to 23, in the ledger''s time zone.'),
            ('errors', 'Number of calls that failed.'),
            ('hours', 'How many hours of that weekday and time there were from the first call until now, with or without a call.'),
            ('average_requests', 'Number of calls in such an hour on average, idle ones included.'),
            ('average_cost', 'Cost of such an hour on average, idle ones included; NULL where no call is priced.'),
            ('requests_percentage', 'Share of all calls, in percent, to two decimals.'),
            ('cost_percentage', 'Share of all cost, in percent, to two decimals.')
        ) AS d (name, comment) ON d.name = a.attname
        WHERE c.oid IN ('usage_monitor.trend_total'::regclass, 'usage_monitor.usage_pattern'::regclass,
                        'usage_monitor.pattern_total'::regclass)
    LOOP
        EXECUTE format('COMMENT ON COLUMN usage_monitor.%I.%I IS %L', col.relname, col.attname, col.comment);
    END LOOP;
END
$$;

/*
 * The histogram of durations, a row a bucket.
 */
DO $$
DECLARE
    sums    text;
    buckets text;
BEGIN
    SELECT string_agg(format('_usage_monitor._sum(r.%1$I) AS %1$I', b.name), ', ' ORDER BY b.place),
           string_agg(format('(%s, %s, %L, s.%I)', b.from_ms, coalesce(b.to_ms::text, 'NULL'),
                             CASE WHEN b.to_ms <= 1000 THEN '0-1 s'
                                  WHEN b.to_ms <= 2000 THEN '1-2 s'
                                  WHEN b.to_ms <= 3000 THEN '2-3 s'
                                  WHEN b.to_ms <= 5000 THEN '3-5 s'
                                  ELSE 'over 5 s' END,
                             b.name), ', ' ORDER BY b.place)
      INTO sums, buckets
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
               round(100.0 * b.requests / sum(b.requests) OVER (PARTITION BY s.day, s.org), 2) AS percentage
          FROM (SELECT r.day, r.org, %s
                  FROM _usage_monitor._live_day r
                 GROUP BY r.day, r.org) AS s
         CROSS JOIN LATERAL (VALUES %s) AS b (from_ms, to_ms, range, requests)
         WHERE b.requests <> 0
        $view$, sums, buckets);
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
