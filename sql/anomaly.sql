/*
 * Anomalies: days and calls that cost what their own history does not explain.
 *
 * The history is described by its median, and by its median absolute
 * deviation times 1.4826, which estimates the standard deviation: up to half
 * of the history may be outliers, and they do not hide the next one.
 */
CREATE FUNCTION usage_monitor._median(vals numeric[]) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT avg(m.value)
      FROM (SELECT v.value
              FROM unnest(vals) AS v (value)
             ORDER BY v.value
            OFFSET (cardinality(vals) - 1) / 2
             LIMIT 2 - cardinality(vals) % 2) m;
END;

COMMENT ON FUNCTION usage_monitor._median(numeric[]) IS
    'The value in the middle, or the mean of the two; exact, which percentile_cont() is not.';

CREATE FUNCTION usage_monitor._usual(history numeric[], OUT expected numeric, OUT deviation numeric)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    expected := trim_scale(usage_monitor._median(history));
    deviation := 1.4826 * usage_monitor._median(ARRAY(SELECT abs(v.value - expected) FROM unnest(history) AS v (value)));
    IF deviation = 0 THEN
        -- half of the values are the same: the mean absolute deviation, or a hundredth of that value
        deviation := greatest(1.2533 * (SELECT avg(abs(v.value - expected)) FROM unnest(history) AS v (value)),
                              0.01 * expected);
    END IF;
    deviation := trim_scale(deviation);
END
$$;

COMMENT ON FUNCTION usage_monitor._usual(numeric[]) IS
    'What is to be expected after that history, and the standard deviation of it, both robust to outliers.';

CREATE FUNCTION usage_monitor._anomalous_days(since date)
RETURNS TABLE (
    day date, org text, cost numeric, expected numeric, deviation numeric,
    lower_bound numeric, upper_bound numeric, sigmas numeric, severity text
)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH daily AS (
        SELECT d.day, d.org, sum(d.cost) AS cost
          FROM usage_monitor.daily_usage d
         WHERE d.day >= _anomalous_days.since - 30
         GROUP BY GROUPING SETS ((d.day, d.org), (d.day))
        HAVING sum(d.cost) IS NOT NULL
    ), compared AS (
        SELECT d.day, d.org, d.cost,
               array_agg(d.cost) OVER (
                   PARTITION BY d.org ORDER BY d.day
                   RANGE BETWEEN interval '30 days' PRECEDING AND interval '1 day' PRECEDING) AS history
          FROM daily d
    )
    SELECT c.day, c.org, c.cost, h.expected, h.deviation,
           greatest(h.expected - 2 * h.deviation, 0),
           h.expected + 2 * h.deviation,
           round((c.cost - h.expected) / nullif(h.deviation, 0), 2),
           CASE WHEN abs(c.cost - h.expected) > 3 * h.deviation THEN 'critical' ELSE 'warning' END
      FROM compared c
     CROSS JOIN LATERAL usage_monitor._usual(c.history) h
     WHERE c.day >= _anomalous_days.since
       AND cardinality(c.history) >= 7
       AND (c.cost > h.expected + 2 * h.deviation
            -- today is not over yet
            OR (c.cost < h.expected - 2 * h.deviation AND c.day < usage_monitor.ledger_day(now())));
END;

COMMENT ON FUNCTION usage_monitor._anomalous_days(date) IS
    'The days since then that are in cost_anomaly.';

CREATE FUNCTION usage_monitor.anomalous_calls(
    since timestamptz,
    k numeric DEFAULT 3,
    min_history integer DEFAULT 30
) RETURNS TABLE (
    kind text, day date, org text, usage_id bigint, ts timestamptz, model text,
    cost numeric, expected numeric, deviation numeric,
    lower_bound numeric, upper_bound numeric, sigmas numeric, severity text
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF since IS NULL OR k IS NULL OR k <= 0 OR k IN ('NaN', 'Infinity') OR min_history IS NULL OR min_history < 2 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('no calls can be told from their history with since %s, k %s and min_history %s', since, k, min_history),
            HINT = 'Give the instant from which on to look, standard deviations above zero, and a history of two calls or more.';
    END IF;

    RETURN QUERY
    WITH compared AS (
        -- the latest 200 are enough to know what is usual, and bound the work
        SELECT u.org, u.usage_id, u.ts, u.model, u.cost,
               array_agg(u.cost) OVER (
                   PARTITION BY u.org, u.model ORDER BY u.ts, u.usage_id
                   ROWS BETWEEN greatest(200, min_history) PRECEDING AND 1 PRECEDING) AS history
          FROM usage_monitor.usage u
         WHERE u.ts >= anomalous_calls.since - interval '30 days'
           AND u.cost IS NOT NULL
           AND NOT u.cached
    )
    SELECT 'call', usage_monitor.ledger_day(c.ts), c.org::text, c.usage_id, c.ts, c.model::text,
           c.cost, h.expected, h.deviation,
           greatest(h.expected - anomalous_calls.k * h.deviation, 0),
           h.expected + anomalous_calls.k * h.deviation,
           round((c.cost - h.expected) / nullif(h.deviation, 0), 2),
           CASE WHEN c.cost > h.expected + 3 * h.deviation THEN 'critical' ELSE 'warning' END
      FROM compared c
     CROSS JOIN LATERAL usage_monitor._usual(c.history) h
     WHERE c.ts >= anomalous_calls.since
       AND cardinality(c.history) >= anomalous_calls.min_history
       AND c.cost > h.expected + anomalous_calls.k * h.deviation;
END
$$;

COMMENT ON FUNCTION usage_monitor.anomalous_calls(timestamptz, numeric, integer) IS
    'The calls since then that cost more than k standard deviations above the usual: above the up to 200 calls of the same organisation and model before it, in the 30 days before since and after it, of which there must be min_history. Calls that the application''s own cache answered are left out. Error: UM001 for arguments that are none.';

CREATE VIEW usage_monitor.cost_anomaly WITH (security_invoker = true) AS
SELECT 'day'::text AS kind,
       d.day,
       d.org,
       NULL::bigint AS usage_id,
       NULL::timestamptz AS ts,
       NULL::text AS model,
       d.cost,
       d.expected,
       d.deviation,
       d.lower_bound,
       d.upper_bound,
       d.sigmas,
       d.severity
  FROM usage_monitor._anomalous_days('-infinity') d
UNION ALL
SELECT 'call'::text, c.day, c.org, c.usage_id, c.ts, c.model, c.cost, c.expected, c.deviation,
       c.lower_bound, c.upper_bound, c.sigmas, c.severity
  FROM usage_monitor.anomalous_calls(now() - interval '1 day', 2) c;

COMMENT ON VIEW usage_monitor.cost_anomaly IS
    'Days whose cost is more than two standard deviations away from that of the 30 days before (at least 7 with usage), of each organisation and of all together; and calls of the last 24 hours that cost more than two above the usual of their organisation and model. For other calls, ask anomalous_calls().';
COMMENT ON COLUMN usage_monitor.cost_anomaly.kind IS 'day or call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.day IS 'Day, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.org IS 'Organisation; NULL: all together.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.usage_id IS 'Number of the call in the ledger.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.ts IS 'When the call was made.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.model IS 'Model of the call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.cost IS 'Cost of the day, or of the call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.expected IS 'The median of its history.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.deviation IS 'The standard deviation of its history, estimated by the median absolute deviation times 1.4826; where that is 0, by the mean absolute deviation times 1.2533, or a hundredth of expected if that is more.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.lower_bound IS 'What it should have cost at least: two deviations below expected, and not below 0.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.upper_bound IS 'What it should have cost at most.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.sigmas IS 'How many deviations it is above expected, or below if negative; NULL: its history is all 0.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.severity IS 'warning, or critical beyond three deviations.';

CREATE UNIQUE INDEX alert_anomaly_once
    ON usage_monitor.alert ((details->>'kind'), coalesce(details->>'usage_id', subject, ''), period_start)
    WHERE alert_type = 'anomaly';

CREATE FUNCTION usage_monitor.check_anomalies(at timestamptz DEFAULT now()) RETURNS SETOF usage_monitor.alert
    -- as for check_alert_rules()
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today  CONSTANT date := usage_monitor.ledger_day(at);
    raised usage_monitor.alert;
BEGIN
    FOR raised IN
        WITH anomaly AS (
            SELECT 'day' AS kind, d.day, d.org, NULL::bigint AS usage_id, NULL::text AS model,
                   d.day::timestamp AT TIME ZONE usage_monitor.ledger_time_zone() AS since,
                   d.cost, d.expected, d.deviation, d.upper_bound, d.sigmas, d.severity
              FROM usage_monitor._anomalous_days(today - 1) d
             WHERE d.day <= today
            UNION ALL
            SELECT 'call', c.day, c.org, c.usage_id, c.model, c.ts,
                   c.cost, c.expected, c.deviation, c.upper_bound, c.sigmas, c.severity
              FROM usage_monitor.anomalous_calls(at - interval '1 day') c
             WHERE c.ts <= at
        )
        INSERT INTO usage_monitor.alert AS a (
            alert_type, level, subject, period_start, used, amount, message, details)
        SELECT 'anomaly', n.severity, n.org, n.since, n.cost, n.upper_bound,
               format('%s cost %s %s, where %s is usual%s',
                      CASE WHEN n.kind = 'call' THEN format('call %s of "%s" to %s', n.usage_id, n.org, n.model)
                           ELSE format('%s on %s', coalesce('"' || n.org || '"', 'all together'),
                                       to_char(n.day, 'YYYY-MM-DD')) END,
                      trim_scale(n.cost),
                      usage_monitor.ledger_currency(),
                      trim_scale(round(n.expected, 6)),
                      ' (' || n.sigmas || ' standard deviations)'),
               jsonb_strip_nulls(jsonb_build_object(
                   'kind', n.kind,
                   'day', n.day,
                   'usage_id', n.usage_id,
                   'model', n.model,
                   'expected', n.expected,
                   'deviation', n.deviation,
                   'sigmas', n.sigmas))
          FROM anomaly n
         ORDER BY n.since, n.usage_id NULLS FIRST, n.org
        ON CONFLICT DO NOTHING
        RETURNING a.*
    LOOP
        PERFORM usage_monitor._notify_alert(raised);
        RETURN NEXT raised;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.check_anomalies(timestamptz) IS
    'Raises an alert of type anomaly for each anomalous day (that of the instant, and the one before) and each call of the 24 hours before it that is beyond three standard deviations, unless there is one, and returns these. Have it called now and then, as check_alert_rules().';
