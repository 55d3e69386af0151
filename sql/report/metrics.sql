/*
 * metrics(): what monitoring looks at every minute, for whatever tool it is.
 *
 * A figure of a day falls at midnight, and a call that is voided or priced anew
 * lowers any other; so all are gauges, and no counters, which may only rise.
 *
 * Each name is one more series for as long as a tool keeps them: there are none
 * of users, sessions and subjects of quotas, and of organisations and models no
 * more than are asked for.  Two rows with the same names would be one series:
 * no organisation and no model has an empty name, which is that of the others.
 */
CREATE FUNCTION usage_monitor.metrics("limit" integer DEFAULT 200)
RETURNS TABLE (
    metric   text,
    org      text,
    provider text,
    model    text,
    quota    text,
    level    text,
    state    text,
    step     text,
    value    numeric
)
    -- SECURITY DEFINER: who watches the ledger reads sums, and none of its calls
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    today CONSTANT date := usage_monitor.ledger_day(now());
    month CONSTANT date := date_trunc('month', today::timestamp)::date;
BEGIN
    PERFORM _usage_monitor._check_count('limit', "limit", 0, 10000, 'It is how many organisations and models are named; the others are added up.');

    RETURN QUERY
    WITH used AS (
        SELECT u.org, u.provider, u.model, coalesce(sum(u.cost), 0) AS cost, sum(u.requests) AS requests, sum(u.errors) AS errors,
               sum(u.unpriced_requests) AS unpriced, coalesce(sum(u.input_tokens), 0) AS input, coalesce(sum(u.output_tokens), 0) AS output
          FROM usage_monitor.model_usage u
         WHERE u.day = today
         GROUP BY u.org, u.provider, u.model
    ), named AS (
        SELECT u.*, row_number() OVER (ORDER BY u.cost DESC, u.requests DESC, u.org, u.model, u.provider) <= metrics."limit" AS is_named
          FROM used u
        UNION ALL
        -- there are always others, so that a day without calls costs 0
        SELECT '', '', '', 0, 0, 0, 0, 0, 0, false
    ), today_sum AS (
        SELECT CASE WHEN n.is_named THEN n.org ELSE '' END AS org,
               CASE WHEN n.is_named THEN coalesce(n.provider, '') ELSE '' END AS provider,
               CASE WHEN n.is_named THEN n.model ELSE '' END AS model,
               sum(n.cost) AS cost, sum(n.requests) AS requests, sum(n.errors) AS errors, sum(n.unpriced) AS unpriced,
               sum(n.input) AS input, sum(n.output) AS output
          FROM named n
         GROUP BY 1, 2, 3
    ), month_used AS (
        SELECT u.org, coalesce(sum(u.cost), 0) AS cost, sum(u.requests) AS requests
          FROM usage_monitor.daily_usage u
         WHERE u.day >= month
           AND u.day <= today
         GROUP BY u.org
    ), month_sum AS (
        SELECT CASE WHEN u.is_named THEN u.org ELSE '' END AS org, sum(u.cost) AS cost, sum(u.requests) AS requests
          FROM (SELECT m.*, row_number() OVER (ORDER BY m.cost DESC, m.requests DESC, m.org) <= metrics."limit" AS is_named
                  FROM month_used m
                UNION ALL
                SELECT '', 0, 0, false) u
         GROUP BY 1
    ), quota_sum AS (
        SELECT s.name, max(s.used / s.amount) AS ratio,
               count(*) FILTER (WHERE s.state = 'ok') AS ok,
               count(*) FILTER (WHERE s.state = 'warning') AS warning,
               count(*) FILTER (WHERE s.state = 'critical') AS critical,
               count(*) FILTER (WHERE s.state = 'exceeded') AS exceeded
          FROM usage_monitor.quota_status s
         GROUP BY s.name
         ORDER BY ratio DESC, s.name
         LIMIT metrics."limit"
    ), alert_sum AS (
        SELECT a.level, a.state, sum(a.alerts) AS alerts
          FROM (SELECT a.level, a.state, count(*) AS alerts
                  FROM usage_monitor.active_alert a
                 GROUP BY a.level, a.state
                UNION ALL
                SELECT l.level, s.state, 0
                  FROM unnest('{info, warning, critical, exceeded}'::text[]) l (level)
                 CROSS JOIN unnest('{open, acknowledged}'::text[]) s (state)) a
         GROUP BY a.level, a.state
    )
    SELECT v.metric, t.org, t.provider, t.model, '', '', '', '', v.value
      FROM today_sum t
     CROSS JOIN LATERAL (VALUES
               ('cost_today', trim_scale(t.cost)),
               ('requests_today', t.requests),
               ('errors_today', t.errors),
               ('unpriced_requests_today', t.unpriced),
               ('input_tokens_today', t.input),
               ('output_tokens_today', t.output)) AS v (metric, value)
    UNION ALL
    SELECT v.metric, m.org, '', '', '', '', '', '', v.value
      FROM month_sum m
     CROSS JOIN LATERAL (VALUES ('cost_this_month', trim_scale(m.cost)), ('requests_this_month', m.requests)) AS v (metric, value)
    UNION ALL
    SELECT v.metric, '', '', '', q.name, '', v.state, '', v.value
      FROM quota_sum q
     CROSS JOIN LATERAL (VALUES
               ('quota_used_ratio', '', trim_scale(q.ratio)),
               ('quota_subjects', 'ok', q.ok),
               ('quota_subjects', 'warning', q.warning),
               ('quota_subjects', 'critical', q.critical),
               ('quota_subjects', 'exceeded', q.exceeded)) AS v (metric, state, value)
    UNION ALL
    SELECT 'alerts', '', '', '', '', a.level, a.state, '', a.alerts
      FROM alert_sum a
    UNION ALL
    SELECT 'maintenance_failing', '', '', '', '', '', '', m.step, (m.error IS NOT NULL)::integer
      FROM _usage_monitor._maintenance m
    UNION ALL
    SELECT v.metric, '', '', '', '', '', '', '', v.value
      FROM usage_monitor.maintenance_status s
     CROSS JOIN LATERAL (VALUES
               ('tail_calls', s.tail_calls),
               ('last_refresh_timestamp_seconds', extract(epoch FROM s.refreshed_at)),
               ('last_maintenance_timestamp_seconds', extract(epoch FROM s.maintained_at)),
               ('worker_running', (s.worker = 'running')::integer),
               ('worker_due', (s.worker LIKE 'due%')::integer)) AS v (metric, value)
     WHERE v.value IS NOT NULL;
END
$$;

COMMENT ON FUNCTION usage_monitor.metrics(integer) IS
    'What monitoring watches, a row for each figure: cost (in the ledger''s currency), requests, errors, unpriced requests and tokens of today by organisation, provider and model, cost and requests of this month by organisation, how much of each quota its fullest subject has used and how many subjects are in which state, open alerts by level and state, the tail, and maintenance. Names that a figure does not have are empty. Of organisations and models the dearest "limit" are named, and the others added up in a row without a name; of quotas the fullest are there. All are gauges: any of them may fall. Error: UM001 limit out of range.';
