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

CREATE FUNCTION usage_monitor.reset_quota(
    name text,
    subject text DEFAULT NULL,
    reason text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own   usage_monitor.quota;
    count bigint;
BEGIN
    SELECT q.* INTO own
      FROM usage_monitor.quota q
     WHERE q.name = reset_quota.name
       FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', name),
            HINT = 'usage_monitor.quota lists them.';
    END IF;

    WITH made AS (
        INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount)
        SELECT c.quota_id, c.subject, c.period_start, - c.used
          FROM usage_monitor._counter c
         WHERE c.quota_id = own.quota_id
           AND c.period_start = usage_monitor.period_start(now(), own.period, own.time_zone, own.billing_day)
           AND (reset_quota.subject IS NULL OR c.subject = reset_quota.subject)
           AND c.used <> 0
        RETURNING quota_adjustment.subject, quota_adjustment.amount
    ), noted AS (
        INSERT INTO usage_monitor.audit_log (what, details)
        SELECT 'reset_quota',
               jsonb_build_object(
                   'quota', own.name,
                   'reason', reset_quota.reason,
                   'used', jsonb_object_agg(m.subject, - m.amount))
          FROM made m
        HAVING count(*) > 0
    )
    SELECT count(*) INTO count FROM made;

    PERFORM usage_monitor._recount_quota(own.quota_id);
    RETURN count;
END
$$;

COMMENT ON FUNCTION usage_monitor.reset_quota(text, text, text) IS
    'Sets what a quota''s subject (NULL: all of them) has used in the running period to zero, and returns how many counters it was; audit_log says who did and how much it was. The ledger stays as it is, and alerts of the period are not raised again. Error: P0002 no such quota.';

CREATE FUNCTION usage_monitor.raise_quota(
    name text,
    amount numeric,
    until timestamptz,
    reason text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own    bigint;
    result bigint;
BEGIN
    IF amount IS NULL OR amount <= 0 OR amount IN ('NaN', 'Infinity') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('a raise of quota "%s" must be above zero, but is %s', name, amount),
            HINT = 'It is what is added to the quota''s amount.';
    END IF;
    IF until IS NULL OR until <= clock_timestamp() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('a raise of quota "%s" must end in the future, but ends %s', name, until),
            HINT = 'For good, change the quota with usage_monitor.set_quota().';
    END IF;

    -- a new revision: what was shared out by the old amount is collected
    UPDATE usage_monitor.quota q
       SET enabled = q.enabled
     WHERE q.name = raise_quota.name
    RETURNING q.quota_id INTO own;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', name),
            HINT = 'usage_monitor.quota lists them.';
    END IF;

    INSERT INTO usage_monitor.quota_raise AS r (quota_id, amount, valid, reason)
    VALUES (own, raise_quota.amount, tstzrange(now(), raise_quota.until), raise_quota.reason)
    RETURNING r.raise_id INTO result;
    INSERT INTO usage_monitor.audit_log (what, details)
    VALUES ('raise_quota',
            jsonb_build_object(
                'quota', raise_quota.name,
                'amount', raise_quota.amount,
                'until', raise_quota.until,
                'reason', raise_quota.reason));
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.raise_quota(text, numeric, timestamptz, text) IS
    'Adds so much to a quota''s amount until then, when it ends by itself, and returns the raise_id; audit_log says who did. Errors: UM006 amount or end, P0002 no such quota.';
