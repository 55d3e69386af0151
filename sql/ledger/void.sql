/*
 * A call that should never have been recorded is taken out: by a manager, and
 * on record.
 */
CREATE FUNCTION usage_monitor.void_call(usage_id bigint, reason text) RETURNS usage_monitor.usage
    -- deletes from the ledger and writes the audit log, which nobody else may:
    -- who may execute this is the administrator's choice
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    voided  usage_monitor.usage;
    refunds bigint[];
BEGIN
    IF coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('call %s cannot be voided without a reason', coalesce(usage_id::text, 'NULL')),
            HINT = 'Say why: the audit log keeps it.';
    END IF;

    PERFORM _usage_monitor._hold_books('void_call');
    -- nobody refunds it meanwhile
    PERFORM FROM usage_monitor.usage u WHERE u.usage_id = void_call.usage_id FOR UPDATE;
    refunds := ARRAY(SELECT r.usage_id FROM _usage_monitor._refunds(void_call.usage_id) r);
    DELETE FROM usage_monitor.usage u
     WHERE u.usage_id = void_call.usage_id
    RETURNING u.* INTO voided;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('call %s does not exist', coalesce(usage_id::text, 'NULL')),
            HINT = 'usage_monitor.usage lists the calls; those that were dropped after archiving are sums and cannot be voided.';
    END IF;
    IF voided.ts < _usage_monitor._books_open_from() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('call %s cannot be voided: the books are closed on %s', usage_id,
                             usage_monitor.ledger_day(voided.ts)),
            HINT = format('SELECT usage_monitor.reopen_period(%L) opens them again.', usage_monitor.ledger_day(voided.ts));
    END IF;
    IF voided.cost IS NULL THEN
        PERFORM _usage_monitor._close_unpriced_alerts();
    END IF;
    INSERT INTO usage_monitor.audit_log (what, old, details)
    VALUES ('void_call', jsonb_strip_nulls(to_jsonb(voided)),
            jsonb_build_object('usage_id', voided.usage_id, 'reason', void_call.reason));
    PERFORM usage_monitor.void_call(r.usage_id, void_call.reason) FROM unnest(refunds) AS r (usage_id);
    RETURN voided;
END
$$;

COMMENT ON FUNCTION usage_monitor.void_call(bigint, text) IS
    'Takes a call out of the ledger, and returns it: views and quotas no longer count it, and audit_log keeps the row and the reason. Alerts that it raised stay. Its request_id may be recorded again. What was refunded of it is taken out, too. Errors: UM004 no reason, UM011 a call of a closed period, 25001 not at READ COMMITTED, P0002 no such call.';
