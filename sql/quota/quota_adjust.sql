/*
 * Exceptions, on record: quotas raised for a while, and set back to zero.
 */
CREATE FUNCTION usage_monitor.reset_quota(
    name text,
    subject text DEFAULT NULL,
    reason text DEFAULT NULL
) RETURNS bigint
    -- writes the audit log, which nobody else may
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own   usage_monitor.quota;
    count bigint;
BEGIN
    -- two at once: one after the other, and what the second sees is what the first has left
    UPDATE usage_monitor.quota q
       SET enabled = q.enabled
     WHERE q.name = reset_quota.name
    RETURNING q.* INTO own;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', name),
            HINT = 'SELECT name FROM usage_monitor.quota lists them.';
    END IF;

    WITH made AS (
        INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount)
        SELECT c.quota_id, c.subject, c.period_start, - c.used
          FROM _usage_monitor._counter c
         WHERE c.quota_id = own.quota_id
           AND c.period_start = usage_monitor.period_start(now(), own.period, own.time_zone, own.billing_day)
           AND NOT c.is_past
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

    PERFORM _usage_monitor._recount_quota(own.quota_id);
    RETURN count;
END
$$;

COMMENT ON FUNCTION usage_monitor.reset_quota(text, text, text) IS
    'Sets what a quota''s subject (NULL: all of them) has used in the running period to zero, and returns how many counters it was; audit_log says who did and how much it was. The ledger stays as it is, and thresholds that the usage is below then alert again when they are reached. It holds while the quota counts the same: with another metric, period or subject it counts all of the calls. Of calls that are deleted or become cheaper afterwards nobody can say whether they were before the reset, so used can fall below zero. Error: P0002 no such quota.';

CREATE FUNCTION usage_monitor.raise_quota(
    name text,
    amount numeric,
    until timestamptz,
    reason text DEFAULT NULL
) RETURNS bigint
    -- writes raises, which nobody else may
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own    usage_monitor.quota;
    result bigint;
BEGIN
    IF amount IS NULL OR amount <= 0 OR amount IN ('NaN', 'Infinity') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('a raise of quota "%s" must be above zero, but is %s', name, amount),
            HINT = 'It is what is added to the quota''s amount.';
    END IF;
    IF abs(amount) >= 1e100 OR scale(amount) > 100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('a raise of quota "%s" has too many digits', name),
            HINT = 'It may have 100 digits before the point and 100 behind it.';
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
    RETURNING q.* INTO own;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', name),
            HINT = 'SELECT name FROM usage_monitor.quota lists them.';
    END IF;

    INSERT INTO usage_monitor.quota_raise AS r (quota_id, amount, valid, reason)
    VALUES (own.quota_id, raise_quota.amount, tstzrange(now(), raise_quota.until), raise_quota.reason)
    RETURNING r.raise_id INTO result;
    IF own.kind = 'budget' THEN
        PERFORM _usage_monitor._check_allotted(coalesce(own.parent, own.quota_id));
    END IF;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.raise_quota(text, numeric, timestamptz, text) IS
    'Adds so much to a quota''s amount until then, when it ends by itself, and returns the raise_id; audit_log says who did. A part of a budget is raised only as far as the whole has room. Errors: UM006 amount or end, or parts of a budget that exceed it, P0002 no such quota.';
