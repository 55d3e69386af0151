/*
 * Quotas as people and BI tools see them.
 */
CREATE VIEW usage_monitor._counter WITH (security_invoker = true) AS
SELECT c.quota_id,
       c.subject,
       c.period_start,
       sum(c.used) AS used
  FROM (SELECT u.quota_id, u.subject, u.period_start, u.used
          FROM usage_monitor.quota_usage u
        UNION ALL
        SELECT p.quota_id, p.subject, p.period_start, p.used
          FROM usage_monitor._pending_usage() p) c
 GROUP BY c.quota_id, c.subject, c.period_start;

COMMENT ON VIEW usage_monitor._counter IS
    'The counters, with what the running transaction is going to add.';

CREATE FUNCTION usage_monitor._quota_state(q usage_monitor.quota, used numeric) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
           WHEN used >= q.amount THEN 'exceeded'
           WHEN used >= q.amount * q.critical_threshold THEN 'critical'
           WHEN used >= q.amount * q.warning_threshold THEN 'warning'
           ELSE 'ok'
       END;

COMMENT ON FUNCTION usage_monitor._quota_state(usage_monitor.quota, numeric) IS
    'ok, warning, critical or exceeded.';

CREATE VIEW usage_monitor.quota_status WITH (security_invoker = true) AS
SELECT q.quota_id,
       q.name,
       q.scope,
       coalesce(nullif(c.subject, ''), q.subject) AS subject,
       q.metric,
       q.period,
       p.period_start,
       p.period_end,
       q.amount,
       coalesce(c.used, 0) AS used,
       q.amount - coalesce(c.used, 0) AS remaining,
       round(100 * coalesce(c.used, 0) / q.amount, 2) AS percentage,
       usage_monitor._quota_state(q, coalesce(c.used, 0)) AS state,
       q.enforcement
  FROM usage_monitor.quota q
 CROSS JOIN LATERAL (
           SELECT usage_monitor.period_start(now(), q.period, q.time_zone) AS period_start,
                  usage_monitor.period_end(now(), q.period, q.time_zone) AS period_end) p
  LEFT JOIN usage_monitor._counter c
    ON c.quota_id = q.quota_id
   AND c.period_start = p.period_start
 WHERE q.enabled
   AND (c.quota_id IS NOT NULL OR q.subject IS NOT NULL OR q.scope = 'all');

COMMENT ON VIEW usage_monitor.quota_status IS
    'The running period of every quota and subject; it shows committed usage and the reader''s own.';

CREATE VIEW usage_monitor.quota_history WITH (security_invoker = true) AS
WITH counter AS (
    SELECT c.quota_id, c.subject, c.period_start, c.used
      FROM usage_monitor._counter c
    UNION ALL
    -- periods before the quota was made have a counter only where late rows came
    SELECT l.quota_id, l.subject, l.period_start, l.used
      FROM usage_monitor._counted(
               ARRAY(SELECT b.quota_id FROM usage_monitor._quota_birth b),
               '-infinity',
               (SELECT max(b.counted_since) FROM usage_monitor._quota_birth b)) l
      JOIN usage_monitor._quota_birth b ON b.quota_id = l.quota_id
     WHERE l.period_start < b.counted_since
       AND NOT EXISTS (
               SELECT FROM usage_monitor.quota_usage u
                WHERE u.quota_id = l.quota_id
                  AND u.subject = l.subject
                  AND u.period_start = l.period_start)
)
SELECT q.quota_id,
       q.name,
       q.scope,
       nullif(c.subject, '') AS subject,
       q.metric,
       q.period,
       c.period_start,
       CASE WHEN q.period = 'lifetime' THEN 'infinity'
            ELSE usage_monitor.period_end(c.period_start, q.period, q.time_zone)
       END AS period_end,
       q.amount,
       c.used,
       q.amount - c.used AS remaining,
       round(100 * c.used / q.amount, 2) AS percentage,
       usage_monitor._quota_state(q, c.used) AS state,
       q.enforcement
  FROM usage_monitor.quota q
  JOIN counter c ON c.quota_id = q.quota_id;

COMMENT ON VIEW usage_monitor.quota_history IS
    'Every period that has usage, of every quota and subject.';
