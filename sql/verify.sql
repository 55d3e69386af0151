/*
 * Nothing to lose: what is derived can be compared with the ledger, and made
 * anew from it.
 */
CREATE FUNCTION usage_monitor.verify()
RETURNS TABLE (what text, key jsonb, expected text, found text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    -- one statement, so one snapshot: writers may go on meanwhile
    WITH ledger AS (
        SELECT c.*
          FROM usage_monitor._counted(ARRAY(SELECT q.quota_id FROM usage_monitor.quota q)) c
    ), counter AS (
        SELECT c.*
          FROM usage_monitor._counter c
          LEFT JOIN usage_monitor._quota_birth b ON b.quota_id = c.quota_id
               -- one that the transaction is going to make, by the ledger's sum
         WHERE NOT (c.period_start < b.counted_since
                    AND NOT EXISTS (
                            SELECT FROM usage_monitor.quota_usage u
                             WHERE u.quota_id = c.quota_id
                               AND u.subject = c.subject
                               AND u.period_start = c.period_start))
            OR b.counted_since IS NULL
    )
    SELECT 'counter',
           jsonb_build_object(
               'quota_id', coalesce(c.quota_id, l.quota_id),
               'subject', coalesce(c.subject, l.subject),
               'period_start', coalesce(c.period_start, l.period_start)),
           coalesce(l.used, 0)::text,
           c.used::text
      FROM counter c
      FULL JOIN ledger l
        ON l.quota_id = c.quota_id
       AND l.subject = c.subject
       AND l.period_start = c.period_start
      LEFT JOIN usage_monitor._quota_birth b
        ON b.quota_id = coalesce(c.quota_id, l.quota_id)
     WHERE coalesce(l.used, 0) <> coalesce(c.used, 0)
           -- a period before the quota was made has a counter only once it needs one
       AND (c.quota_id IS NOT NULL OR b.counted_since IS NULL OR l.period_start >= b.counted_since)
    UNION ALL
    SELECT 'ledger',
           jsonb_build_object('usage_id', u.usage_id, 'ts', u.ts),
           'cost = input_cost + output_cost + other_cost',
           format('%s = %s + %s + %s', u.cost, u.input_cost, u.output_cost, u.other_cost)
      FROM usage_monitor.usage u
     WHERE u.cost IS DISTINCT FROM u.input_cost + u.output_cost + u.other_cost
    UNION ALL
    SELECT 'ledger',
           jsonb_build_object('org', u.org, 'request_id', u.request_id),
           'one row',
           format('%s rows', count(*))
      FROM usage_monitor.usage u
     WHERE u.request_id IS NOT NULL
     GROUP BY u.org, u.request_id
    HAVING count(*) > 1;
END;

COMMENT ON FUNCTION usage_monitor.verify() IS
    'Compares the counters with the ledger, and the ledger with itself: a row for each difference, none if all is well. what: counter or ledger. Reads the whole ledger, and blocks nobody.';

CREATE FUNCTION usage_monitor._recount_quota(quota_id bigint) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_recount_quota';

COMMENT ON FUNCTION usage_monitor._recount_quota(bigint) IS
    'Has a quota''s counters made anew just before the transaction commits.';

CREATE FUNCTION usage_monitor.rebuild_counters() RETURNS bigint
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*)
      FROM (SELECT usage_monitor._recount_quota(q.quota_id) FROM usage_monitor.quota q OFFSET 0) r;
END;

COMMENT ON FUNCTION usage_monitor.rebuild_counters() IS
    'Makes all counters anew from the ledger, just before the transaction commits, and returns the number of quotas. Alerts that were raised are not raised again. Writers wait meanwhile.';

CREATE FUNCTION usage_monitor.fold_counters() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    folded bigint;
BEGIN
    -- writers, who hold the lock that this one excludes until they end, wait
    LOCK TABLE usage_monitor.quota_usage IN SHARE ROW EXCLUSIVE MODE;

    WITH slot AS (
        DELETE FROM usage_monitor.quota_usage c
         USING usage_monitor.quota q
         WHERE q.quota_id = c.quota_id
           AND q.period <> 'lifetime'
           AND c.slot > 0
           AND usage_monitor.period_end(c.period_start, q.period, q.time_zone, q.billing_day) <= now()
        RETURNING c.quota_id, c.subject, c.period_start, c.used
    ), header AS (
        -- revision 0: a late row looks at the thresholds anew
        UPDATE usage_monitor.quota_usage h
           SET used = h.used + s.used, share = 0, revision = 0
          FROM (SELECT quota_id, subject, period_start, sum(used) AS used
                  FROM slot GROUP BY 1, 2, 3) s
         WHERE h.quota_id = s.quota_id
           AND h.subject = s.subject
           AND h.period_start = s.period_start
           AND h.slot = 0
    )
    SELECT count(*) INTO folded FROM slot;
    RETURN folded;
END
$$;

COMMENT ON FUNCTION usage_monitor.fold_counters() IS
    'Folds the slots of counters whose period is over into one row each, and returns how many went. Call it now and then where quotas are of hours or days; nothing depends on it.';
