/*
 * Admission: does a call fit, before it is made?
 */
CREATE FUNCTION _usage_monitor.check_quota(
    org text DEFAULT 'default',
    user_id text DEFAULT NULL,
    project text DEFAULT NULL,
    department text DEFAULT NULL,
    session_id text DEFAULT NULL,
    model text DEFAULT NULL,
    provider text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    cost numeric DEFAULT 0,
    tokens bigint DEFAULT 0,
    requests bigint DEFAULT 1
) RETURNS TABLE (
    quota_id bigint,
    name text,
    scope text,
    subject text,
    metric text,
    period text,
    period_start timestamptz,
    period_end timestamptz,
    amount numeric,
    used numeric,
    reserved numeric,
    remaining numeric,
    allowed boolean,
    enforcement text,
    reason text
)
    -- an application may ask about its own call without the right to read
    -- quotas: who may execute this is the administrator's choice
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH call AS MATERIALIZED (
        -- as the ledger will have it
        SELECT g.*,
               coalesce(g.given_provider, _usage_monitor._provider_of(g.model)) AS provider,
               _usage_monitor._resolved_model(g.given_provider, g.model) AS resolved_model,
               _usage_monitor._checked_tags(
                   g.org, g.department, g.project, g.user_id, g.session_id, g.model, g.given_provider,
                   check_quota.tags) AS tags
          FROM (SELECT _usage_monitor._check_org(_usage_monitor._trimmed(check_quota.org)) AS org,
                       nullif(_usage_monitor._trimmed(check_quota.department), '') AS department,
                       nullif(_usage_monitor._trimmed(check_quota.project), '') AS project,
                       nullif(_usage_monitor._trimmed(check_quota.user_id), '') AS user_id,
                       nullif(_usage_monitor._trimmed(check_quota.session_id), '') AS session_id,
                       _usage_monitor._trimmed(check_quota.model) AS model,
                       nullif(_usage_monitor._trimmed(check_quota.provider), '') AS given_provider) g
    ), subject AS (
        SELECT v.scope, v.subject, NULL::text AS key, NULL::text AS spelling
          FROM call c
         CROSS JOIN LATERAL (
               VALUES ('all', ''),
                      ('org', c.org),
                      ('department', c.department),
                      ('project', c.project),
                      ('user', c.user_id),
                      ('session', c.session_id),
                      ('model', CASE WHEN c.resolved_model = c.model THEN c.model END),
                      ('provider', c.provider)) AS v (scope, subject)
         WHERE v.subject IS NOT NULL
        UNION ALL
        -- a model that the price book calls otherwise
        SELECT 'model', v.subject, NULL, v.spelling
          FROM call c
         CROSS JOIN LATERAL (VALUES (c.resolved_model, 'resolved'), (c.model, 'recorded')) AS v (subject, spelling)
         WHERE c.resolved_model <> c.model
        UNION ALL
        SELECT 'tag', t.key || '=' || t.value, t.key, NULL
          FROM call c
         CROSS JOIN LATERAL jsonb_each_text(c.tags) t
         WHERE t.value IS NOT NULL
    ), state AS (
        SELECT q.quota_id, q.name, q.scope, s.subject, q.metric, q.period, q.enforcement,
               p.period_start, p.period_end, _usage_monitor._quota_amount(q) AS amount,
               coalesce(c.used, 0) AS used,
               coalesce(r.reserved, 0) AS reserved,
               -- what others use is not told to who is confined to his organisations
               _usage_monitor._caller_orgs() IS NULL OR q.org IS NOT NULL OR q.scope = 'org' AS is_own,
               CASE q.metric
                   WHEN 'cost' THEN check_quota.cost
                   WHEN 'tokens' THEN coalesce(check_quota.tokens, 0)
                   ELSE coalesce(check_quota.requests, 0)
               END AS wanted
          FROM subject s
               -- one by one, for there may be very many quotas of other subjects
         CROSS JOIN LATERAL (
                   SELECT q1.quota_id FROM usage_monitor.quota q1 WHERE q1.scope = s.scope AND q1.subject = s.subject
                   UNION ALL
                   SELECT q2.quota_id FROM usage_monitor.quota q2 WHERE q2.scope = s.scope AND q2.subject = s.key
                   UNION ALL
                   SELECT q3.quota_id FROM usage_monitor.quota q3 WHERE q3.scope = s.scope AND q3.subject IS NULL) m
          JOIN usage_monitor.quota q ON q.quota_id = m.quota_id
         CROSS JOIN LATERAL (
                   SELECT usage_monitor.period_start(now(), q.period, q.time_zone, q.billing_day) AS period_start,
                          usage_monitor.period_end(now(), q.period, q.time_zone, q.billing_day) AS period_end) p
          LEFT JOIN LATERAL (
                   SELECT sum(x.used) AS used
                     FROM _usage_monitor._counter x
                    WHERE x.quota_id = q.quota_id
                      AND x.subject = s.subject
                      AND x.period_start = p.period_start
                      AND NOT x.is_past) c ON true
          LEFT JOIN LATERAL (
                   SELECT sum(x.amount) AS reserved
                     FROM _usage_monitor._reservation_part x
                    WHERE x.quota_id = q.quota_id
                      AND x.subject = s.subject
                      AND x.period_start = p.period_start
                      AND x.expires_at > clock_timestamp()) r ON true
         WHERE q.enabled
           AND NOT EXISTS (
                   SELECT FROM usage_monitor.quota o
                    WHERE o.overrides = q.quota_id AND o.scope = s.scope AND o.subject = s.subject AND o.enabled)
           AND (q.org IS NULL OR q.org = (SELECT c.org FROM call c))
           AND (q.provider IS NULL OR q.provider = (SELECT c.provider FROM call c))
           AND (SELECT _usage_monitor._passes_model(q.counted_models, q.exact, c.model, c.resolved_model) FROM call c)
           AND CASE WHEN s.spelling IS NULL THEN true
                    WHEN q.subject IS NULL THEN q.exact = (s.spelling = 'recorded')
                    ELSE NOT (q.exact AND s.spelling = 'resolved') END
    )
    SELECT t.quota_id,
           t.name,
           t.scope,
           nullif(t.subject, ''),
           t.metric,
           t.period,
           t.period_start,
           t.period_end,
           CASE WHEN t.is_own THEN t.amount END,
           CASE WHEN t.is_own THEN t.used END,
           CASE WHEN t.is_own THEN t.reserved END,
           CASE WHEN t.is_own THEN t.amount - t.used - t.reserved END,
           f.fits,
           t.enforcement,
           CASE WHEN t.wanted IS NULL THEN
               _usage_monitor._no_price(check_quota.model)
                WHEN NOT t.is_own AND NOT f.fits THEN
               'no room in a quota that is shared with others'
                WHEN NOT f.fits THEN
               format(CASE WHEN t.used + t.reserved > t.amount THEN '%s %s wanted, but %4$s of %3$s are used already%5$s%6$s'
                           ELSE '%s %s wanted, but of %s only %s remain%s%s' END,
                      trim_scale(t.wanted),
                      CASE t.metric WHEN 'cost' THEN usage_monitor.ledger_currency() ELSE t.metric END,
                      trim_scale(t.amount),
                      trim_scale(CASE WHEN t.used + t.reserved > t.amount THEN t.used + t.reserved
                                      ELSE t.amount - t.used - t.reserved END),
                      CASE t.period WHEN 'lifetime' THEN '' ELSE ' in this ' || t.period END,
                      CASE t.enforcement WHEN 'block' THEN '' ELSE ' (the quota alerts, and does not block)' END)
           END
      FROM state t
     CROSS JOIN LATERAL (
               -- what costs nothing is let in over the limit, too
               SELECT coalesce(t.wanted = 0 OR t.used + t.reserved + t.wanted <= t.amount, false) AS fits) f
     ORDER BY f.fits,
              CASE WHEN t.is_own THEN (t.amount - t.used - t.reserved) / t.amount END,
              t.quota_id;
END;

SELECT _usage_monitor._run_as_owner('check_quota');

COMMENT ON FUNCTION usage_monitor.check_quota(text, text, text, text, text, text, text, jsonb, numeric, bigint, bigint) IS
    'Says whether a call of that cost, in the ledger''s currency, and that many tokens fits: a row for each quota that it touches, refusals first. allowed says whether it fits, reason why not. enforcement block means that the INSERT would be refused. A cost of NULL (a model without a price) fits no quota of cost. It only reads, and never waits. Error: UM004 for names and tags that an INSERT would refuse.';
