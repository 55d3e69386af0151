/*
 * A call that cost less in the end has a correction beside it: by a manager,
 * and on record.
 */
-- finds what of a call was refunded
CREATE INDEX audit_log_refund ON usage_monitor.audit_log (((details ->> 'usage_id')::bigint)) WHERE what = 'refund_call';

CREATE FUNCTION _usage_monitor._refunds(usage_id bigint) RETURNS SETOF usage_monitor.usage
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT u.*
      FROM usage_monitor.audit_log l
      JOIN usage_monitor.usage u ON u.usage_id = (l.details ->> 'refund_id')::bigint
     WHERE l.what = 'refund_call'
       AND (l.details ->> 'usage_id')::bigint = _refunds.usage_id;
END;

COMMENT ON FUNCTION _usage_monitor._refunds(bigint) IS
    'The corrections that give back money of a call.';

CREATE FUNCTION _usage_monitor.refund_call(usage_id bigint, amount numeric, reason text) RETURNS usage_monitor.usage
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
AS $$
DECLARE
    call   usage_monitor.usage;
    rest   numeric;
    result usage_monitor.usage;
BEGIN
    IF coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('call %s cannot be refunded without a reason', coalesce(usage_id::text, 'NULL')),
            HINT = 'Say why: the audit log keeps it.';
    END IF;
    -- the books are not closed meanwhile, and what others have refunded of it is seen
    PERFORM _usage_monitor._hold_books('refund_call');
    SELECT u.* INTO call
      FROM usage_monitor.usage u
     WHERE u.usage_id = refund_call.usage_id
       AND (_usage_monitor._caller_orgs() IS NULL OR u.org = ANY (_usage_monitor._caller_orgs('manager')))
       FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'no_data_found',
            MESSAGE = format('call %s does not exist', coalesce(usage_id::text, 'NULL')),
            HINT = 'usage_monitor.usage lists the calls; those that were dropped after archiving are sums and cannot be refunded.';
    END IF;
    IF call.operation = 'correction' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('row %s is a correction, and cannot be refunded', usage_id),
            HINT = 'Void it with usage_monitor.void_call(usage_id, reason).';
    END IF;
    rest := call.cost + coalesce((SELECT sum(r.cost) FROM _usage_monitor._refunds(call.usage_id) r), 0);
    IF rest IS NULL OR coalesce(amount, rest) <= 0 OR coalesce(amount, rest) > rest OR scale(amount) > 100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM003',
            MESSAGE = CASE WHEN rest IS NULL THEN format('call %s has no cost that could be refunded', usage_id)
                           WHEN rest <= 0 THEN format('call %s has nothing left to refund', usage_id)
                           ELSE format('of call %s more than 0 and up to %s %s can be refunded, but not %s', usage_id,
                                       trim_scale(rest), call.currency, amount) END,
            HINT = CASE WHEN rest IS NULL THEN 'Set the price of its model, and call usage_monitor.reprice().'
                        ELSE 'The amount is what is given back; NULL gives back all that is left.' END;
    END IF;

    -- with the call, where it counts; in closed books nothing is entered any more
    INSERT INTO usage_monitor.usage AS u (
        ts, org, department, project, user_id, session_id, provider, model, operation, source, service_tier, tags, cost)
    VALUES (
        CASE WHEN call.ts < _usage_monitor._books_open_from() THEN now() ELSE call.ts END,
        call.org, call.department, call.project, call.user_id, call.session_id, call.provider, call.model,
        -- "corrects" is what reprice() knows its own corrections by
        'correction', call.source, call.service_tier, call.tags - 'corrects', - coalesce(refund_call.amount, rest))
    RETURNING u.* INTO result;
    INSERT INTO usage_monitor.audit_log (what, details)
    VALUES ('refund_call', jsonb_build_object(
                'usage_id', call.usage_id, 'refund_id', result.usage_id, 'org', call.org,
                'amount', - result.cost, 'reason', refund_call.reason));
    RETURN result;
END
$$;

SELECT _usage_monitor._run_as_owner('refund_call');

COMMENT ON FUNCTION usage_monitor.refund_call(bigint, numeric, text) IS
    'Gives back so much of what a call cost, in the ledger''s currency (NULL: all that is left), and returns the row that it adds to the ledger: of operation correction, with that cost below zero, and the call''s ts, organisation, user, model and tags; in a closed period it is dated now. Sums and quotas of cost fall; it is no call, in no count, average or quota of requests. audit_log says who did and why. Voiding the call takes its refunds along. Errors: UM003 no cost, or more than is left, UM004 no reason, UM011 a correction itself, 25001 not at READ COMMITTED, P0002 no such call.';
