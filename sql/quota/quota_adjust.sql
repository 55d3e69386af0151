/*
 * Exceptions, on record: quotas raised for a while, set back to zero, and
 * credited.
 */
CREATE FUNCTION _usage_monitor._revise_quota(name text) RETURNS usage_monitor.quota
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result usage_monitor.quota;
BEGIN
    UPDATE usage_monitor.quota q
       SET enabled = q.enabled
     WHERE q.name = _revise_quota.name
    RETURNING q.* INTO result;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', coalesce(name, 'NULL')),
            HINT = 'SELECT name FROM usage_monitor.quota lists them.';
    END IF;
    RETURN result;
END
$$;

COMMENT ON FUNCTION _usage_monitor._revise_quota(text) IS
    'Makes a quota''s next revision, by which what was shared out is collected, and keeps others from changing it; returns it. Error: P0002 no such quota.';

CREATE FUNCTION usage_monitor.reset_quota(
    name text,
    subject text DEFAULT NULL,
    reason text DEFAULT NULL
) RETURNS bigint
    -- writes the audit log, which nobody else may
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
AS $$
DECLARE
    own   usage_monitor.quota;
    count bigint;
BEGIN
    own := _usage_monitor._revise_quota(name);
    WITH made AS (
        INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount, reason)
        SELECT c.quota_id, c.subject, c.period_start, - c.used, reset_quota.reason
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
            MESSAGE = format('a raise of quota "%s" must be above zero, but is %s', name, coalesce(amount::text, 'NULL')),
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

    own := _usage_monitor._revise_quota(name);
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

CREATE FUNCTION _usage_monitor._credited_subject(q usage_monitor.quota, subject text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted CONSTANT text := CASE WHEN q.scope = 'model' AND NOT q.exact
                                 THEN _usage_monitor._resolved_model(q.provider, _usage_monitor._trimmed(subject))
                                 ELSE nullif(_usage_monitor._trimmed(subject), '') END;
    -- for a tag, a quota of a key is one for each of its values
    is_each CONSTANT boolean := q.scope <> 'all'
        AND (q.subject IS NULL OR (q.scope = 'tag' AND q.subject NOT LIKE '%=%'));
    instead text;
BEGIN
    IF NOT is_each AND wanted IS NULL THEN
        RETURN coalesce(q.subject, '');
    END IF;
    IF is_each AND wanted IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('quota "%s" is for each %s: say which one is credited', q.name, q.scope),
            HINT = 'SELECT name, subject FROM usage_monitor.quota_status lists those that have used it.';
    END IF;
    IF (NOT is_each AND wanted IS DISTINCT FROM q.subject)
       OR (is_each AND q.scope = 'tag' AND (wanted NOT LIKE '%=%' OR (q.subject IS NOT NULL AND NOT starts_with(wanted, q.subject || '='))))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('quota "%s" does not limit %s "%s"', q.name, q.scope, subject),
            HINT = CASE WHEN q.scope = 'all' THEN 'It has no subject: give NULL.'
                        WHEN is_each THEN format('Its subjects are written %s=value.', coalesce(q.subject, 'key'))
                        ELSE format('Its subject is "%s".', q.subject) END;
    END IF;
    SELECT o.name INTO instead
      FROM usage_monitor.quota o
     WHERE o.overrides = q.quota_id
       AND o.subject = wanted
       AND o.enabled;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('quota "%s" does not limit %s "%s"', q.name, q.scope, subject),
            HINT = format('Quota "%s" stands in for it.', instead);
    END IF;
    RETURN wanted;
END
$$;

COMMENT ON FUNCTION _usage_monitor._credited_subject(usage_monitor.quota, text) IS
    'The subject of a quota''s counter that is meant; refuses one that the quota has not (UM004).';

/*
 * A credit is an adjustment of the counter alone: the ledger's money stays what
 * it was.  The quota is kept from being changed until the transaction ends, so
 * that what is adjusted is what it counts.
 */
CREATE FUNCTION _usage_monitor.credit(quota text, subject text, amount numeric, reason text)
    RETURNS usage_monitor.quota_adjustment
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
AS $$
DECLARE
    own    usage_monitor.quota;
    result usage_monitor.quota_adjustment;
BEGIN
    SELECT q.* INTO own
      FROM usage_monitor.quota q
     WHERE q.name = credit.quota
       AND (_usage_monitor._caller_orgs() IS NULL OR q.org = ANY (_usage_monitor._caller_orgs('manager')))
       FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', coalesce(quota, 'NULL')),
            HINT = 'SELECT name FROM usage_monitor.quota lists them.';
    END IF;
    IF NOT own.enabled THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('quota "%s" is disabled, and counts nothing', own.name),
            HINT = format('UPDATE usage_monitor.quota SET enabled = true WHERE name = %L.', own.name);
    END IF;
    IF coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('quota "%s" cannot be credited without a reason', own.name),
            HINT = 'Say why: the audit log keeps it.';
    END IF;
    IF amount IS NULL OR amount = 0 OR amount IN ('NaN', 'Infinity', '-Infinity')
       OR abs(amount) >= 1e100 OR scale(amount) > 100
       OR (own.metric <> 'cost' AND amount <> trunc(amount))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('a credit to quota "%s" must be an amount of %s, but is %s', own.name,
                             CASE own.metric WHEN 'cost' THEN 'money' ELSE 'whole ' || own.metric END, coalesce(amount::text, 'NULL')),
            HINT = 'It is what has been used less from now on. A negative one takes a credit back.';
    END IF;

    INSERT INTO usage_monitor.quota_adjustment AS a (quota_id, subject, period_start, amount, reason)
    VALUES (own.quota_id, _usage_monitor._credited_subject(own, subject),
            usage_monitor.period_start(now(), own.period, own.time_zone, own.billing_day),
            - credit.amount, credit.reason)
    RETURNING a.* INTO result;
    PERFORM _usage_monitor._adjust_counter(result.quota_id, result.subject, result.period_start, result.amount);
    INSERT INTO usage_monitor.audit_log (what, details)
    VALUES ('credit', jsonb_strip_nulls(jsonb_build_object(
                'quota', own.name, 'org', own.org, 'subject', nullif(result.subject, ''), 'amount', credit.amount,
                'adjustment_id', result.adjustment_id, 'reason', credit.reason)));
    RETURN result;
END
$$;

SELECT _usage_monitor._run_as_owner('credit');

COMMENT ON FUNCTION usage_monitor.credit(text, text, numeric, text) IS
    'Has a quota''s subject (NULL where the quota has but one) used so much less in the running period, in the unit of the metric, and returns the adjustment: what is left rises at once, and thresholds that the usage is below then alert again when they are reached. A negative amount takes it back, and is refused where a blocking quota has no room (UM100). The ledger, and what is reported of it, stays; audit_log says who did and why. It holds while the quota counts the same. Errors: UM004 no reason, or a subject that the quota has not, UM006 amount, UM100, 55000 a disabled quota, P0002 no such quota.';

/*
 * For who may not DELETE: that right would include LOCK TABLE ... ACCESS
 * EXCLUSIVE, by which one organisation's manager keeps everybody from recording.
 */
CREATE FUNCTION _usage_monitor.drop_quota(name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM usage_monitor.quota q
     WHERE q.name = drop_quota.name
       AND (_usage_monitor._caller_orgs() IS NULL
            OR (q.org = ANY (_usage_monitor._caller_orgs('manager')) AND q.overrides IS NULL));
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('quota "%s" does not exist', coalesce(name, 'NULL')),
            HINT = 'SELECT name FROM usage_monitor.quota lists them.';
    END IF;
END
$$;

SELECT _usage_monitor._run_as_owner('drop_quota');

COMMENT ON FUNCTION usage_monitor.drop_quota(text) IS
    'Deletes a quota, and what it has counted; a manager who is confined to organisations one that counts theirs. The ledger, and the alerts that it has raised, stay; audit_log says who did. Errors: P0002 no such quota, or not one that the caller may drop; 23503 a budget that has parts.';
