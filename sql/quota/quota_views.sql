/*
 * Quotas as people and BI tools see them.
 */
CREATE VIEW _usage_monitor._counter_part WITH (security_invoker = true) AS
SELECT u.quota_id, u.subject, u.period_start, u.used, false AS is_past
  FROM usage_monitor.quota_usage u
 WHERE u.quota_id <> ALL (ARRAY(SELECT x FROM _usage_monitor._changed_quotas() x))
UNION ALL
SELECT p.quota_id, p.subject, p.period_start, p.used, false
  FROM _usage_monitor._pending_usage() p
 WHERE p.quota_id <> ALL (ARRAY(SELECT x FROM _usage_monitor._changed_quotas() x))
UNION ALL
-- these will be what the ledger says
SELECT q.quota_id, l.subject, l.period_start, l.used, false
  FROM _usage_monitor._changed_quotas() x (quota_id)
  JOIN usage_monitor.quota q ON q.quota_id = x.quota_id
 CROSS JOIN LATERAL _usage_monitor._counted(
           ARRAY[q.quota_id],
           usage_monitor.period_start(now(), q.period, q.time_zone, q.billing_day)) l
UNION ALL
SELECT q.quota_id, l.subject, l.period_start, l.used, true
  FROM _usage_monitor._changed_quotas() x (quota_id)
  JOIN usage_monitor.quota q ON q.quota_id = x.quota_id
 CROSS JOIN LATERAL _usage_monitor._counted(
           ARRAY[q.quota_id],
           '-infinity',
           usage_monitor.period_start(now(), q.period, q.time_zone, q.billing_day)) l;

COMMENT ON VIEW _usage_monitor._counter_part IS
    'The counters, with what the running transaction is going to add; of quotas that it has changed, what the ledger says. is_past marks periods of these that are over: who wants running ones asks for NOT is_past, and spares the reading.';

CREATE VIEW _usage_monitor._counter WITH (security_invoker = true) AS
SELECT c.quota_id, c.subject, c.period_start, sum(c.used) AS used, c.is_past
  FROM _usage_monitor._counter_part c
 GROUP BY c.quota_id, c.subject, c.period_start, c.is_past;

COMMENT ON VIEW _usage_monitor._counter IS
    'The counters, each with all of its parts, as in _counter_part.';

CREATE FUNCTION _usage_monitor._quota_state(amount numeric, warning numeric, critical numeric, used numeric)
RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
           WHEN used >= amount THEN 'exceeded'
           WHEN used >= amount * critical THEN 'critical'
           WHEN used >= amount * warning THEN 'warning'
           ELSE 'ok'
       END;

COMMENT ON FUNCTION _usage_monitor._quota_state(numeric, numeric, numeric, numeric) IS
    'ok, warning, critical or exceeded.';

-- at the rate of the period so far
CREATE FUNCTION _usage_monitor._projected(period text, period_start timestamptz, period_end timestamptz, used numeric)
RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN period <> 'lifetime' AND now() > period_start THEN
                round(used * (extract(epoch FROM period_end - period_start)
                              / extract(epoch FROM now() - period_start)), 6)
       END;

COMMENT ON FUNCTION _usage_monitor._projected(text, timestamptz, timestamptz, numeric) IS
    'What a quota will have used by the end of its period.';

CREATE FUNCTION _usage_monitor._runs_out_at(
    period text, period_start timestamptz, period_end timestamptz, amount numeric, used numeric
) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN period <> 'lifetime' AND now() > period_start AND used > 0 AND used < amount THEN
                -- as numbers first: at a low rate it is later than any timestamp
                CASE WHEN extract(epoch FROM now() - period_start) * amount
                          < extract(epoch FROM period_end - period_start) * used
                     THEN period_start + (now() - period_start) * (amount / used)::double precision
                END
       END;

COMMENT ON FUNCTION _usage_monitor._runs_out_at(text, timestamptz, timestamptz, numeric, numeric) IS
    'When a quota''s amount will be used up; NULL: not in this period, or already.';

CREATE VIEW usage_monitor.quota_status WITH (security_invoker = true) AS
SELECT q.quota_id,
       q.name,
       q.scope,
       coalesce(nullif(c.subject, ''), q.subject) AS subject,
       q.metric,
       q.period,
       p.period_start,
       p.period_end,
       p.amount,
       coalesce(c.used, 0) AS used,
       coalesce(c.reserved, 0) AS reserved,
       p.amount - coalesce(c.used, 0) - coalesce(c.reserved, 0) AS remaining,
       round(100 * coalesce(c.used, 0) / p.amount, 2) AS percentage,
       _usage_monitor._quota_state(p.amount, q.warning_threshold, q.critical_threshold, coalesce(c.used, 0)) AS state,
       q.enforcement,
       _usage_monitor._projected(q.period, p.period_start, p.period_end, coalesce(c.used, 0)) AS projected,
       _usage_monitor._runs_out_at(q.period, p.period_start, p.period_end, p.amount, coalesce(c.used, 0)) AS runs_out_at,
       CASE q.scope WHEN 'org' THEN coalesce(nullif(c.subject, ''), q.subject) ELSE q.org END AS org,
       q.provider,
       q.model,
       q.warning_threshold,
       q.critical_threshold,
       q.thresholds
  FROM usage_monitor.quota q
  LEFT JOIN _usage_monitor._quota_raised r
    ON r.quota_id = q.quota_id
 CROSS JOIN LATERAL (
           -- once a quota, and not once a subject
           SELECT q.amount + coalesce(r.amount, 0) AS amount,
                  usage_monitor.period_start(now(), q.period, q.time_zone, q.billing_day) AS period_start,
                  usage_monitor.period_end(now(), q.period, q.time_zone, q.billing_day) AS period_end
           OFFSET 0) p
  LEFT JOIN (
           -- a subject that has only reserved has no counter
           SELECT x.quota_id, x.subject, x.period_start, sum(x.used) AS used, sum(x.reserved) AS reserved
             FROM (SELECT u.quota_id, u.subject, u.period_start, u.used, 0 AS reserved
                     FROM _usage_monitor._counter_part u
                    WHERE NOT u.is_past
                      -- not the counters of all periods, of which there are ever more
                      AND u.period_start = ANY (ARRAY(
                              SELECT usage_monitor.period_start(now(), d.period, d.time_zone, d.billing_day)
                                FROM (SELECT DISTINCT e.period, e.time_zone, e.billing_day
                                        FROM usage_monitor.quota e
                                       WHERE e.enabled) d))
                   UNION ALL
                   SELECT r.quota_id, r.subject, r.period_start, 0, r.amount
                     FROM _usage_monitor._reservation_part r
                    WHERE r.expires_at > clock_timestamp()) x
            GROUP BY x.quota_id, x.subject, x.period_start) c
    ON c.quota_id = q.quota_id
   AND c.period_start = p.period_start
 WHERE q.enabled
   AND (c.quota_id IS NOT NULL OR q.subject IS NOT NULL OR q.scope = 'all');

COMMENT ON VIEW usage_monitor.quota_status IS
    'The running period of every quota and subject; it shows committed usage and the reader''s own.';

CREATE VIEW usage_monitor.quota_history WITH (security_invoker = true) AS
WITH counter AS (
    SELECT c.quota_id, c.subject, c.period_start, c.used
      FROM _usage_monitor._counter c
    UNION ALL
    -- periods before the quota was made have a counter only where late rows came
    SELECT l.quota_id, l.subject, l.period_start, sum(l.used)
      FROM (SELECT ARRAY(SELECT b.quota_id FROM _usage_monitor._quota_birth b
                         EXCEPT
                         SELECT x FROM _usage_monitor._changed_quotas() x) AS quota_ids) i
     CROSS JOIN LATERAL (
               SELECT c.quota_id, c.subject, c.period_start, c.used
                 FROM _usage_monitor._counted(
                          i.quota_ids,
                          before => (SELECT max(b.counted_since)
                                       FROM _usage_monitor._quota_birth b
                                      WHERE b.quota_id = ANY (i.quota_ids)),
                          with_adjustments => false) c
                 JOIN _usage_monitor._quota_birth b ON b.quota_id = c.quota_id
                WHERE c.period_start < b.counted_since
               UNION ALL
               SELECT a.quota_id, a.subject, a.period_start, a.used
                 FROM _usage_monitor._adjusted(i.quota_ids) a
                 JOIN _usage_monitor._quota_birth b ON b.quota_id = a.quota_id
                WHERE a.period_start < b.counted_since) l
     WHERE NOT EXISTS (
               SELECT FROM _usage_monitor._counter_row u
                WHERE u.quota_id = l.quota_id
                  AND u.subject = l.subject
                  AND u.period_start = l.period_start)
     GROUP BY l.quota_id, l.subject, l.period_start
)
SELECT q.quota_id,
       q.name,
       q.scope,
       nullif(c.subject, '') AS subject,
       q.metric,
       q.period,
       c.period_start,
       CASE WHEN q.period = 'lifetime' THEN 'infinity'
            ELSE usage_monitor.period_end(c.period_start, q.period, q.time_zone, q.billing_day)
       END AS period_end,
       a.amount,
       c.used,
       a.amount - c.used AS remaining,
       round(100 * c.used / a.amount, 2) AS percentage,
       _usage_monitor._quota_state(a.amount, q.warning_threshold, q.critical_threshold, c.used) AS state,
       q.enforcement
  FROM usage_monitor.quota q
  LEFT JOIN _usage_monitor._quota_raised r
    ON r.quota_id = q.quota_id
 CROSS JOIN LATERAL (
           SELECT usage_monitor.period_start(now(), q.period, q.time_zone, q.billing_day) AS running
           OFFSET 0) p
  JOIN counter c ON c.quota_id = q.quota_id
 CROSS JOIN LATERAL (
           -- the running period is as quota_status has it
           SELECT q.amount + CASE WHEN c.period_start = p.running THEN coalesce(r.amount, 0) ELSE 0 END AS amount) a;

COMMENT ON VIEW usage_monitor.quota_history IS
    'Every period that has usage, of every quota and subject, by the amount that the quota has today; a raise counts in the running period only. Periods from before a quota was made are summed up from the ledger, from its first call on, whatever is asked.';

SELECT _usage_monitor._describe('{active_alert}', ARRAY[
    ['state', 'open or acknowledged.'],
    ['quota', 'Name of the quota or budget that was reached; NULL: another kind of alert.'],
    ['scope', 'What the quota limits: all, org, department, project, user, session, model, provider or tag.'],
    ['org', 'Organisation that the alert is about; NULL: all of them, or not one alone.'],
    ['metric', 'Unit of used and amount: that of the quota, or what the alert rule measures; cost of an anomaly.'],
    ['period', 'Period of the quota; NULL: another kind of alert.'],
    ['model', 'Model that the alert is about, or pattern of models that the quota counts; NULL: any.']], 'alert');
SELECT _usage_monitor._describe('{quota_status, quota_history}', ARRAY[
    ['org', 'Organisation whose usage it limits; NULL: of all of them.'],
    ['subject', 'Whose usage it is; NULL for a quota of scope all.'],
    ['period_start', 'When the period began; -infinity for lifetime.'],
    ['period_end', 'When the next one begins; infinity for lifetime.'],
    ['used', 'What was used in the period, in the unit of the metric.'],
    ['reserved', 'What open reservations hold.'],
    ['projected', 'What will be used by the end of the period at its rate so far; NULL for lifetime.'],
    ['runs_out_at', 'When the amount will be used up at that rate; NULL: not in this period, or already.'],
    ['remaining', 'Amount less what was used and reserved; negative where it is exceeded.'],
    ['percentage', 'What was used in percent of the amount, to two decimals.'],
    ['state', 'ok, warning, critical or exceeded.']], 'quota');
