/*
 * Anomalies: days and calls that cost what their own history does not explain.
 *
 * Of a day, that history is the same weekday's: weekends are cheap, and no
 * news.  What a weekday costs is the median of its last eight weeks; by how
 * much days differ from what their weekday says, in proportion, tells what is
 * unusual, but no less than its weekdays differ from each other.  While fewer than four of a weekday are known, the day is compared
 * with all days of the last 30, and must be unlike those of its weekday too.
 *
 * The history is described by its median, and by its median absolute
 * deviation times 1.4826, which estimates the standard deviation: up to half
 * of the history may be outliers, and they do not hide the next one.  Where
 * half of the history is the same, the deviation is the mean absolute one
 * times 1.2533, or a hundredth of the median.
 */
CREATE FUNCTION _usage_monitor._unusual_add(internal, numeric, numeric, integer, boolean) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_unusual_add';

COMMENT ON FUNCTION _usage_monitor._unusual_add(internal, numeric, numeric, integer, boolean) IS
    'Transition of _unusual(): a value comes into the window.';

CREATE FUNCTION _usage_monitor._unusual_remove(internal, numeric, numeric, integer, boolean) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_unusual_remove';

COMMENT ON FUNCTION _usage_monitor._unusual_remove(internal, numeric, numeric, integer, boolean) IS
    'Inverse transition of _unusual(): a value leaves the window.';

CREATE FUNCTION _usage_monitor._unusual_final(internal) RETURNS numeric[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_unusual_final';

COMMENT ON FUNCTION _usage_monitor._unusual_final(internal) IS
    'Result of _unusual().';

CREATE AGGREGATE _usage_monitor._unusual(value numeric, k numeric, min_history integer, is_judged boolean) (
    SFUNC = _usage_monitor._unusual_add,
    STYPE = internal,
    FINALFUNC = _usage_monitor._unusual_final,
    MSFUNC = _usage_monitor._unusual_add,
    MINVFUNC = _usage_monitor._unusual_remove,
    MSTYPE = internal,
    MFINALFUNC = _usage_monitor._unusual_final
);

COMMENT ON AGGREGATE _usage_monitor._unusual(numeric, numeric, integer, boolean) IS
    'Over a window that ends with the current row: {median, standard deviation} of the other values, of which there must be min_history, if the current one is more than k deviations away; else NULL, and for a row that is not judged, which is history alone.';

CREATE FUNCTION _usage_monitor._median(vals numeric[]) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_median';

COMMENT ON FUNCTION _usage_monitor._median(numeric[]) IS 'The median, exact; NULL of no values.';

CREATE FUNCTION _usage_monitor._anomalous_days(
    since date,
    k numeric,
    min_history integer,
    orgs text[],
    with_total boolean
) RETURNS TABLE (
    day date, org text, cost numeric, expected numeric, deviation numeric,
    lower_bound numeric, upper_bound numeric, sigmas numeric, severity text,
    beyond numeric
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF since IS NULL OR k IS NULL OR k <= 0 OR k IN ('NaN', 'Infinity')
       OR min_history IS NULL OR min_history NOT BETWEEN 2 AND 30
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('cannot look for unusual days with since %s, k %s and min_history %s',
                             coalesce(since::text, 'NULL'), coalesce(k::text, 'NULL'), coalesce(min_history::text, 'NULL')),
            HINT = 'Give since as a day, k above zero (standard deviations), and min_history from 2 to 30 (days).';
    END IF;

    RETURN QUERY
    WITH daily AS (
        SELECT d.day, d.org, d.cost
          FROM usage_monitor.daily_usage d
         WHERE d.day >= _anomalous_days.since - 86
           AND (orgs IS NULL OR d.org = ANY (orgs))
        UNION ALL
        SELECT d.day, NULL, d.cost
          FROM usage_monitor.daily_total d
         WHERE d.day >= _anomalous_days.since - 86
           AND with_total
    ), beside AS (
        SELECT d.day, d.org, d.cost,
               array_agg(d.cost) OVER (
                   PARTITION BY d.org, extract(isodow FROM d.day) ORDER BY d.day
                   RANGE BETWEEN interval '56 days' PRECEDING AND interval '1 day' PRECEDING) AS weekdays
          FROM daily d
         WHERE d.cost IS NOT NULL
    ), proportion AS (
        SELECT b.day, b.org, b.cost, w.known, w.cost AS weekday_cost, b.weekdays,
               CASE WHEN w.known >= 2 THEN b.cost / nullif(w.cost, 0) END AS part
          FROM beside b
         CROSS JOIN LATERAL (
               SELECT coalesce(cardinality(b.weekdays), 0) AS known, _usage_monitor._median(b.weekdays) AS cost) AS w
    ), compared AS (
        SELECT p.day, p.org, p.cost, p.weekday_cost, p.weekdays,
               p.known >= 4 AND p.part IS NOT NULL
               AND count(p.part) OVER month > _anomalous_days.min_history AS by_weekday,
               _usage_monitor._unusual(p.cost, _anomalous_days.k, _anomalous_days.min_history, p.day >= _anomalous_days.since) OVER month AS usual,
               _usage_monitor._unusual(p.part, _anomalous_days.k, _anomalous_days.min_history, p.day >= _anomalous_days.since)
                   FILTER (WHERE p.part IS NOT NULL) OVER month AS usual_part
          FROM proportion p
        WINDOW month AS (PARTITION BY p.org ORDER BY p.day RANGE BETWEEN interval '30 days' PRECEDING AND CURRENT ROW)
    )
    SELECT c.day, c.org::text, c.cost, u.expected, u.deviation,
           r.lower_bound, r.upper_bound,
           round((c.cost - u.expected) / nullif(u.deviation, 0), 2),
           CASE WHEN abs(c.cost - u.expected) > 3 * u.deviation THEN 'critical' ELSE 'warning' END,
           c.cost - CASE WHEN c.cost > u.expected THEN r.upper_bound ELSE r.lower_bound END
      FROM compared c
     CROSS JOIN LATERAL (
           SELECT CASE WHEN c.by_weekday THEN trim_scale(c.usual_part[1] * c.weekday_cost) ELSE c.usual[1] END AS expected,
                  CASE WHEN c.by_weekday THEN trim_scale(greatest(c.usual_part[2] * c.weekday_cost, d.weekday_deviation))
                       ELSE c.usual[2] END AS deviation
             FROM (SELECT CASE WHEN c.usual_part IS NOT NULL THEN
                              -- of so few values it estimates too little, by these factors (Croux and Rousseeuw 1992)
                              1.4826 * (ARRAY[NULL, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129])[cardinality(c.weekdays)]
                              * _usage_monitor._median(ARRAY(SELECT abs(w.cost - c.weekday_cost) FROM unnest(c.weekdays) AS w (cost)))
                          END AS weekday_deviation) d) u
     CROSS JOIN LATERAL (
           SELECT greatest(u.expected - _anomalous_days.k * u.deviation, 0) AS lower_bound,
                  u.expected + _anomalous_days.k * u.deviation AS upper_bound) r
     WHERE c.day >= _anomalous_days.since
       AND u.expected IS NOT NULL
       AND CASE WHEN c.by_weekday THEN abs(c.cost - u.expected) > _anomalous_days.k * u.deviation
                ELSE c.weekday_cost IS NULL OR abs(c.cost - c.weekday_cost) > _anomalous_days.k * u.deviation END
           -- today is not over yet
       AND (c.cost > u.expected OR c.day < usage_monitor.ledger_day(now()));
END
$$;

COMMENT ON FUNCTION _usage_monitor._anomalous_days(date, numeric, integer, text[], boolean) IS
    'anomalous_days() of these organisations (NULL: of each), and of all together or without that.';

CREATE FUNCTION usage_monitor.anomalous_days(
    since date,
    k numeric DEFAULT 2,
    min_history integer DEFAULT 7
) RETURNS TABLE (
    day date, org text, cost numeric, expected numeric, deviation numeric,
    lower_bound numeric, upper_bound numeric, sigmas numeric, severity text,
    beyond numeric
)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.*
      FROM _usage_monitor._anomalous_days(anomalous_days.since, anomalous_days.k, anomalous_days.min_history, NULL, true) AS d;
END;

COMMENT ON FUNCTION usage_monitor.anomalous_days(date, numeric, integer) IS
    'The days since that one whose cost is more than k standard deviations away from the usual, of each organisation and of all together (org NULL). The usual is what the same weekday costs, by the days with usage among the 30 before; there must be min_history of them. While fewer than four of that weekday are known, the day must be that far from what any day costs, and from that weekday if there is one. Today, which is not over, is shown only if it costs too much. The columns are those of cost_anomaly. Error: UM001 invalid argument.';

CREATE FUNCTION usage_monitor.anomalous_calls(
    since timestamptz,
    k numeric DEFAULT 3,
    min_history integer DEFAULT 30
) RETURNS TABLE (
    kind text, day date, org text, usage_id bigint, ts timestamptz, model text,
    cost numeric, expected numeric, deviation numeric,
    lower_bound numeric, upper_bound numeric, sigmas numeric, severity text,
    beyond numeric
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    -- the calls are read once, and not once for each model
    SET enable_nestloop = off
AS $$
#variable_conflict use_column
DECLARE
    -- so many are enough to know what is usual, and bound the work
    reach     CONSTANT integer := greatest(200, min_history);
    first_day CONSTANT date := usage_monitor.ledger_day(since - interval '30 days');
    since_day CONSTANT date := usage_monitor.ledger_day(since);
    orgs      text[];
    models    text[];
    starts    timestamptz[];
    oldest    timestamptz;
BEGIN
    IF since IS NULL OR k IS NULL OR k <= 0 OR k IN ('NaN', 'Infinity') OR min_history IS NULL OR min_history < 2 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('cannot look for unusual calls with since %s, k %s and min_history %s',
                             coalesce(since::text, 'NULL'), coalesce(k::text, 'NULL'), coalesce(min_history::text, 'NULL')),
            HINT = 'Give since as an instant, k above zero (standard deviations), and min_history of 2 or more (calls).';
    END IF;

    -- who has calls to be judged, and from which day on there are enough before
    WITH daily AS MATERIALIZED (
        SELECT u.org, u.model, u.day, u.requests - u.unpriced_requests - u.cached_requests AS calls
          FROM usage_monitor.model_usage u
         WHERE u.day >= first_day
    ), pair AS MATERIALIZED (
        SELECT d.org, d.model, sum(d.calls) FILTER (WHERE d.day < since_day) AS calls_before
          FROM daily d
         GROUP BY d.org, d.model
        HAVING sum(d.calls) FILTER (WHERE d.day >= since_day) > 0
           AND sum(d.calls) > min_history
    ), start AS (
        SELECT c.org, c.model, max(c.day) AS day
          FROM (
              SELECT d.org, d.model, d.day,
                     sum(d.calls) OVER (PARTITION BY d.org, d.model ORDER BY d.day DESC) AS calls
                FROM pair p
                JOIN daily d ON d.org = p.org AND d.model = p.model
               WHERE p.calls_before > reach
                 AND d.day < since_day) AS c
         WHERE c.calls >= reach
         GROUP BY c.org, c.model
    )
    SELECT array_agg(p.org), array_agg(p.model),
           array_agg(greatest(_usage_monitor._day_start(coalesce(s.day, first_day)),
                              since - interval '30 days'))
      INTO orgs, models, starts
      FROM pair p
      LEFT JOIN start s ON s.org = p.org AND s.model = p.model;
    oldest := (SELECT min(s.start) FROM unnest(starts) AS s (start));

    RETURN QUERY
    WITH compared AS (
        SELECT u.org, u.usage_id, u.ts, u.model, u.cost,
               _usage_monitor._unusual(u.cost, anomalous_calls.k, anomalous_calls.min_history, u.ts >= anomalous_calls.since) OVER (
                   PARTITION BY p.n ORDER BY u.ts, u.usage_id
                   ROWS BETWEEN reach PRECEDING AND CURRENT ROW) AS usual
          -- the planner is not to know how many these are, for it would put the calls into the hash table
          FROM unnest((SELECT orgs), (SELECT models), (SELECT starts)) WITH ORDINALITY AS p (org, model, start, n)
          JOIN usage_monitor.usage u
            ON u.org = p.org
           AND u.model = p.model
           AND u.ts >= p.start
         WHERE u.ts >= oldest
           AND u.cost IS NOT NULL
           AND NOT u.cached
           AND u.operation IS DISTINCT FROM 'correction'
    )
    SELECT 'call', usage_monitor.ledger_day(c.ts), c.org::text, c.usage_id, c.ts, c.model::text,
           c.cost, h.expected, h.deviation,
           greatest(h.expected - anomalous_calls.k * h.deviation, 0),
           h.expected + anomalous_calls.k * h.deviation,
           round((c.cost - h.expected) / nullif(h.deviation, 0), 2),
           CASE WHEN c.cost > h.expected + 3 * h.deviation THEN 'critical' ELSE 'warning' END,
           c.cost - h.expected - anomalous_calls.k * h.deviation
      FROM compared c
     CROSS JOIN LATERAL (SELECT c.usual[1] AS expected, c.usual[2] AS deviation) h
     WHERE c.ts >= anomalous_calls.since
       AND c.cost > h.expected;
END
$$;

COMMENT ON FUNCTION usage_monitor.anomalous_calls(timestamptz, numeric, integer) IS
    'The calls since that instant that cost more than k standard deviations above the usual. The usual is the median of up to 200 earlier calls of the same organisation and model, none of them more than 30 days before since; there must be min_history of them. Calls that the application''s own cache answered are left out. The columns are those of cost_anomaly. Error: UM001 invalid argument.';

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
       d.severity,
       d.beyond
  FROM usage_monitor.anomalous_days(usage_monitor.ledger_day(now()) - 90) d
UNION ALL
SELECT 'call'::text, c.day, c.org, c.usage_id, c.ts, c.model, c.cost, c.expected, c.deviation,
       c.lower_bound, c.upper_bound, c.sigmas, c.severity, c.beyond
  FROM usage_monitor.anomalous_calls(now() - interval '1 day', 2) c;

COMMENT ON VIEW usage_monitor.cost_anomaly IS
    'Days of the last 90 whose cost is more than two standard deviations away from what their weekday costs, by the 30 days before (at least 7 with usage), of each organisation and of all together; and calls of the last 24 hours that cost more than two above the usual of their organisation and model. It reads the ledger''s calls of 31 days; anomalous_days(), which has days alone, reads none. For others, ask that and anomalous_calls().';
COMMENT ON COLUMN usage_monitor.cost_anomaly.kind IS 'day or call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.day IS 'Day, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.org IS 'Organisation; NULL: all together.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.usage_id IS 'Number of the call in the ledger.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.ts IS 'When the call was made.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.model IS 'Model of the call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.cost IS 'Cost of the day, or of the call.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.expected IS 'The median of its history: of a day, that of its weekday in the last eight weeks, and by how much the last 30 days differed from theirs.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.deviation IS 'The standard deviation of its history, estimated by the median absolute deviation times 1.4826, and of a day no less than its weekday''s; where that is 0, by the mean absolute deviation times 1.2533, or a hundredth of expected if that is more.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.lower_bound IS 'What it should have cost at least: two deviations below expected, and not below 0.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.upper_bound IS 'What it should have cost at most.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.sigmas IS 'How many deviations it is above expected, or below if negative; NULL: its history is all 0.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.severity IS 'warning, or critical beyond three deviations.';
COMMENT ON COLUMN usage_monitor.cost_anomaly.beyond IS 'By how much the cost is above upper_bound, or below lower_bound if negative.';

CREATE UNIQUE INDEX alert_anomaly_once
    ON usage_monitor.alert (coalesce(subject, ''), period_start)
    WHERE alert_type = 'anomaly' AND details->>'kind' = 'day';

CREATE INDEX alert_anomalous_calls
    ON usage_monitor.alert (org, model)
    WHERE alert_type = 'anomaly' AND details->>'kind' = 'call';

CREATE FUNCTION _usage_monitor._due_anomalies(at timestamptz) RETURNS SETOF usage_monitor.alert
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH days AS (
        SELECT d.day, d.org, _usage_monitor._day_start(d.day) AS since,
               d.cost, d.expected, d.deviation, d.upper_bound, d.sigmas, d.severity
          FROM usage_monitor.anomalous_days(usage_monitor.ledger_day(_due_anomalies.at) - 1) d
         WHERE d.day <= usage_monitor.ledger_day(_due_anomalies.at)
    ), calls AS (
        -- those that were told of are not told of again
        SELECT c.*
          FROM usage_monitor.anomalous_calls(_due_anomalies.at - interval '1 day') c
         WHERE c.ts <= _due_anomalies.at
           AND NOT EXISTS (
                   SELECT
                     FROM usage_monitor.alert a
                    WHERE a.alert_type = 'anomaly'
                      AND a.details ->> 'kind' = 'call'
                      AND a.org = c.org
                      AND a.model = c.model
                      AND a.details -> 'usage_ids' @> to_jsonb(c.usage_id))
    ), grouped AS (
        SELECT c.org, c.model, c.day, o.alert_id,
               count(*) + coalesce(o.occurrences, 0) AS occurrences,
               coalesce(o.details -> 'usage_ids', '[]') || jsonb_agg(c.usage_id ORDER BY c.usage_id) AS usage_ids,
               sum(c.cost) + coalesce((o.details ->> 'cost')::numeric, 0) AS cost,
               sum(c.expected) + coalesce((o.details ->> 'expected_cost')::numeric, 0) AS expected_cost,
               o.used AS told_cost,
               (array_agg(c.usage_id ORDER BY c.cost DESC, c.usage_id))[1] AS dearest
          FROM calls c
          LEFT JOIN LATERAL (
                   SELECT a.alert_id, a.occurrences, a.used, a.details
                     FROM usage_monitor.alert a
                    WHERE a.alert_type = 'anomaly'
                      AND a.details ->> 'kind' = 'call'
                      AND a.org = c.org
                      AND a.model = c.model
                      AND a.resolved_at IS NULL
                      AND a.details ->> 'day' = c.day::text
                    ORDER BY a.alert_id DESC
                    LIMIT 1) o ON true
         GROUP BY c.org, c.model, c.day, o.alert_id, o.occurrences, o.used, o.details
    ), anomaly AS (
        SELECT NULL::bigint AS alert_id, 1::bigint AS occurrences, d.severity, d.org, NULL::text AS model, d.since,
               d.cost, d.upper_bound, NULL::bigint AS usage_id,
               format('%s on %s cost %s %s, where %s is usual%s',
                      coalesce('"' || d.org || '"', 'all together'), to_char(d.day, 'YYYY-MM-DD'),
                      trim_scale(d.cost), usage_monitor.ledger_currency(), trim_scale(round(d.expected, 6)),
                      ' (' || d.sigmas || ' standard deviations)') AS message,
               jsonb_strip_nulls(jsonb_build_object(
                   'kind', 'day', 'day', d.day, 'expected', d.expected, 'deviation', d.deviation, 'sigmas', d.sigmas)) AS details
          FROM days d
        UNION ALL
        SELECT g.alert_id, g.occurrences, w.severity, g.org, g.model, w.ts, w.cost, w.upper_bound, w.usage_id,
               CASE WHEN g.occurrences > 1 THEN
                        format('%s calls of "%s" to %s on %s cost more than is usual, the dearest: ', g.occurrences, g.org, g.model,
                               to_char(g.day, 'YYYY-MM-DD'))
                    ELSE '' END
               || format('call %s of "%s" to %s cost %s %s, where %s is usual%s', w.usage_id, g.org, g.model,
                         trim_scale(w.cost), usage_monitor.ledger_currency(), trim_scale(round(w.expected, 6)),
                         ' (' || w.sigmas || ' standard deviations)'),
               jsonb_strip_nulls(jsonb_build_object(
                   'kind', 'call', 'day', g.day, 'usage_id', w.usage_id, 'model', g.model, 'expected', w.expected,
                   'deviation', w.deviation, 'sigmas', w.sigmas,
                   'usage_ids', g.usage_ids, 'cost', g.cost, 'expected_cost', g.expected_cost))
          FROM grouped g
          JOIN calls w ON w.usage_id = g.dearest AND w.org = g.org
         WHERE g.told_cost IS NULL OR w.cost > g.told_cost
        UNION ALL
        -- the dearest was told of
        SELECT g.alert_id, g.occurrences, a.level, a.org, a.model, a.period_start, a.used, a.amount, g.dearest,
               format('%s calls of "%s" to %s on %s cost more than is usual, the dearest: %s', g.occurrences, g.org, g.model,
                      to_char(g.day, 'YYYY-MM-DD'), substr(a.message, strpos(a.message, 'call '))),
               a.details || jsonb_build_object('usage_ids', g.usage_ids, 'cost', g.cost, 'expected_cost', g.expected_cost)
          FROM grouped g
          JOIN usage_monitor.alert a ON a.alert_id = g.alert_id
          JOIN calls w ON w.usage_id = g.dearest AND w.org = g.org
         WHERE w.cost <= g.told_cost
    )
    SELECT n.alert_id,
           'anomaly' AS alert_type,
           n.severity AS level,
           NULL::bigint AS quota_id,
           n.org AS subject,
           n.since AS period_start,
           n.cost AS used,
           n.upper_bound AS amount,
           n.message,
           n.details,
           NULL::timestamptz AS raised_at,
           NULL::timestamptz AS acknowledged_at,
           NULL::text AS acknowledged_by,
           NULL::timestamptz AS resolved_at,
           NULL::text AS resolved_by,
           NULL::text AS quota,
           n.org,
           n.model,
           n.occurrences,
           now() AS last_seen
      FROM anomaly n
     ORDER BY n.since, n.usage_id NULLS FIRST, n.org;
END;

COMMENT ON FUNCTION _usage_monitor._due_anomalies(timestamptz) IS
    'What check_anomalies() is to raise: days, some of which it has raised already; and calls that it has not, which add to the open alert of their organisation, model and day.';

CREATE FUNCTION usage_monitor.check_anomalies(at timestamptz DEFAULT now()) RETURNS SETOF usage_monitor.alert
    -- as for check_alert_rules()
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    due usage_monitor.alert;
BEGIN
    -- as there
    LOCK TABLE usage_monitor.alert_rule IN SHARE UPDATE EXCLUSIVE MODE;
    FOR due IN SELECT * FROM _usage_monitor._due_anomalies(check_anomalies.at) LOOP
        RETURN QUERY SELECT a.* FROM _usage_monitor._raise_due(due) AS a;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.check_anomalies(timestamptz) IS
    'Raises an alert of type anomaly for each anomalous day (that of the instant, and the one before), and one for the calls of an organisation to a model on a day that are among those of the last 24 hours and beyond three standard deviations, and returns these; further calls add to it while it is open. A background worker calls it as it does check_alert_rules().';
