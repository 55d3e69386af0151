/*
 * Admission: room that is held for a call before it is made.
 */
CREATE TABLE usage_monitor.reservation (
    reservation_id uuid NOT NULL DEFAULT gen_random_uuid(),
    state          text NOT NULL DEFAULT 'open',
    org            text COLLATE "C" NOT NULL,
    department     text COLLATE "C",
    project        text COLLATE "C",
    user_id        text COLLATE "C",
    session_id     text COLLATE "C",
    provider       text COLLATE "C",
    model          text COLLATE "C",
    tags           jsonb,
    cost           numeric NOT NULL,
    tokens         bigint NOT NULL,
    requests       bigint NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    usage_id       bigint,
    CONSTRAINT reservation_pkey PRIMARY KEY (reservation_id)
);

COMMENT ON TABLE usage_monitor.reservation IS
    'What reserve() holds for calls that are about to be made, until settle(), release() or its end.';
COMMENT ON COLUMN usage_monitor.reservation.reservation_id IS 'Its number.';
COMMENT ON COLUMN usage_monitor.reservation.state IS 'open, settled or released. An open one whose expires_at has passed holds nothing any more.';
COMMENT ON COLUMN usage_monitor.reservation.org IS 'Organisation of the call.';
COMMENT ON COLUMN usage_monitor.reservation.department IS 'Department of the call.';
COMMENT ON COLUMN usage_monitor.reservation.project IS 'Project of the call.';
COMMENT ON COLUMN usage_monitor.reservation.user_id IS 'User of the call.';
COMMENT ON COLUMN usage_monitor.reservation.session_id IS 'Session of the call.';
COMMENT ON COLUMN usage_monitor.reservation.provider IS 'Provider of the call.';
COMMENT ON COLUMN usage_monitor.reservation.model IS 'Model of the call.';
COMMENT ON COLUMN usage_monitor.reservation.tags IS 'Tags of the call.';
COMMENT ON COLUMN usage_monitor.reservation.cost IS 'What it holds of quotas of cost, in the ledger''s currency.';
COMMENT ON COLUMN usage_monitor.reservation.tokens IS 'What it holds of quotas of tokens.';
COMMENT ON COLUMN usage_monitor.reservation.requests IS 'What it holds of quotas of requests.';
COMMENT ON COLUMN usage_monitor.reservation.created_at IS 'When it was made.';
COMMENT ON COLUMN usage_monitor.reservation.expires_at IS 'When it stops holding anything, by itself.';
COMMENT ON COLUMN usage_monitor.reservation.ended_at IS 'When it was settled or released.';
COMMENT ON COLUMN usage_monitor.reservation.usage_id IS 'The row of the ledger that settled it.';

CREATE TABLE _usage_monitor._reservation_part (
    quota_id       bigint NOT NULL,
    subject        text COLLATE "C" NOT NULL,
    period_start   timestamptz NOT NULL,
    reservation_id uuid NOT NULL,
    amount         numeric NOT NULL,
    expires_at     timestamptz NOT NULL,
    CONSTRAINT _reservation_part_pkey PRIMARY KEY (quota_id, subject, period_start, reservation_id)
);

CREATE INDEX _reservation_part_reservation
    ON _usage_monitor._reservation_part (reservation_id);
CREATE INDEX _reservation_part_expires
    ON _usage_monitor._reservation_part (expires_at);

COMMENT ON TABLE _usage_monitor._reservation_part IS
    'What each open reservation holds of each counter.';
COMMENT ON COLUMN _usage_monitor._reservation_part.quota_id IS 'The quota.';
COMMENT ON COLUMN _usage_monitor._reservation_part.subject IS 'Its subject; empty for scope all.';
COMMENT ON COLUMN _usage_monitor._reservation_part.period_start IS 'Its period.';
COMMENT ON COLUMN _usage_monitor._reservation_part.reservation_id IS 'The reservation.';
COMMENT ON COLUMN _usage_monitor._reservation_part.amount IS 'How much, in the unit of the quota''s metric.';
COMMENT ON COLUMN _usage_monitor._reservation_part.expires_at IS 'Until when.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.reservation', '');
SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._reservation_part', '');

CREATE FUNCTION _usage_monitor._reserve(
    org text, department text, project text, user_id text, session_id text,
    model text, provider text, tags jsonb, ts timestamptz,
    cost numeric, tokens bigint, requests bigint,
    reservation_id uuid, expires_at timestamptz
) RETURNS bigint
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_reserve';

COMMENT ON FUNCTION _usage_monitor._reserve(text, text, text, text, text, text, text, jsonb, timestamptz, numeric, bigint, bigint, uuid, timestamptz) IS
    'Holds room in all quotas that the call touches, or in none: NULL, or the quota that has no room.';

CREATE FUNCTION _usage_monitor._max_reservation_ttl() RETURNS interval
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'usage_monitor_max_reservation_ttl';

COMMENT ON FUNCTION _usage_monitor._max_reservation_ttl() IS
    'The setting usage_monitor.max_reservation_ttl.';

CREATE FUNCTION _usage_monitor._end_reservation(reservation_id uuid, state text, org text)
RETURNS usage_monitor.reservation
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH ended AS (
        UPDATE usage_monitor.reservation r
           SET state = _end_reservation.state, ended_at = now()
         WHERE r.reservation_id = _end_reservation.reservation_id
           AND r.state = 'open'
           AND (_end_reservation.org IS NULL OR r.org = _usage_monitor._trimmed(_end_reservation.org))
               -- another tenant's is as one that does not exist
           AND (_usage_monitor._caller_orgs() IS NULL OR r.org = ANY (_usage_monitor._caller_orgs('writer')))
        RETURNING r.*
    ), given_back AS (
        -- expired ones hold nothing, and may be about to be removed: not to be waited for
        DELETE FROM _usage_monitor._reservation_part p
         USING ended e
         WHERE p.reservation_id = e.reservation_id
           AND p.expires_at > clock_timestamp()
    )
    SELECT e.* FROM ended e;
END;

COMMENT ON FUNCTION _usage_monitor._end_reservation(uuid, text, text) IS
    'Ends an open reservation, of that organisation or (NULL) of any, and returns it; NULL if there is no such one open.';

CREATE FUNCTION _usage_monitor._no_price(model text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format('there is no price%s: give the cost', ' for model "' || model || '"');

COMMENT ON FUNCTION _usage_monitor._no_price(text) IS
    'Why a call whose cost is not known is not allowed.';

CREATE FUNCTION _usage_monitor.reserve(
    org text DEFAULT 'default',
    user_id text DEFAULT NULL,
    project text DEFAULT NULL,
    department text DEFAULT NULL,
    session_id text DEFAULT NULL,
    model text DEFAULT NULL,
    provider text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    cost numeric DEFAULT NULL,
    input_tokens bigint DEFAULT NULL,
    max_output_tokens bigint DEFAULT NULL,
    ttl interval DEFAULT '10 minutes',
    requests bigint DEFAULT 1,
    OUT reservation_id uuid,
    OUT allowed boolean,
    OUT reason text,
    OUT expires_at timestamptz
)
    -- an application need not be able to read or write quotas: who may
    -- execute this is the administrator's choice
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own_org  CONSTANT text := _usage_monitor._check_org(_usage_monitor._trimmed(org), 'writer');
    tokens   CONSTANT numeric := coalesce(input_tokens, 0)::numeric + coalesce(max_output_tokens, 0);
    estimate CONSTANT numeric := coalesce(
        cost,
        CASE WHEN num_nonnulls(input_tokens, max_output_tokens) = 0 THEN 0
             ELSE usage_monitor.cost(_usage_monitor._trimmed(model), coalesce(input_tokens, 0), coalesce(max_output_tokens, 0),
                                     provider => nullif(_usage_monitor._trimmed(provider), ''), org => own_org) END);
    -- by the clock: the transaction may have begun a while ago
    started  CONSTANT timestamptz := clock_timestamp();
    refused  bigint;
BEGIN
    -- as the ledger will have them
    user_id := nullif(_usage_monitor._trimmed(user_id), '');
    project := nullif(_usage_monitor._trimmed(project), '');
    department := nullif(_usage_monitor._trimmed(department), '');
    session_id := nullif(_usage_monitor._trimmed(session_id), '');
    model := _usage_monitor._trimmed(model);
    provider := nullif(_usage_monitor._trimmed(provider), '');

    IF estimate < 0 OR estimate IN ('NaN', 'Infinity') OR least(input_tokens, max_output_tokens, requests) < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = 'a reservation must not be of a negative or infinite amount',
            HINT = 'Give the cost, or the input tokens and the most output tokens, that the call may need.';
    END IF;
    IF greatest(input_tokens, max_output_tokens, requests) > 1000000000000000 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('a reservation must be of at most 1000000000000000 tokens or requests, but is of %s',
                             greatest(input_tokens, max_output_tokens, requests)),
            HINT = 'Give the input tokens and the most output tokens that the call may need.';
    END IF;
    PERFORM _usage_monitor._check_cost('cost', cost);
    IF ttl IS NULL OR ttl <= interval '0' OR ttl > _usage_monitor._max_reservation_ttl() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('ttl of a reservation must be above zero and at most %s, but is %s',
                             justify_hours(_usage_monitor._max_reservation_ttl()), coalesce(ttl::text, 'NULL')),
            HINT = 'Give it the longest time that the call may take, for example interval ''10 minutes''; the administrator can set usage_monitor.max_reservation_ttl.';
    END IF;
    -- what the ledger would not take could not be settled
    PERFORM _usage_monitor._checked_tags(own_org, department, project, user_id, session_id, model, provider, tags);
    IF estimate IS NULL THEN
        allowed := false;
        reason := _usage_monitor._no_price(model);
        RETURN;
    END IF;

    expires_at := started + ttl;
    reservation_id := gen_random_uuid();
    refused := _usage_monitor._reserve(
        own_org, department, project, user_id, session_id, model,
        coalesce(provider, _usage_monitor._provider_of(model)), tags,
        clock_timestamp(), estimate, tokens::bigint, coalesce(requests, 0),
        reservation_id, expires_at);

    -- now and then what expired ones held goes; a snapshot of its own is what it takes to step
    -- round those that others remove
    IF random() < 0.01 AND current_setting('transaction_isolation') = 'read committed' THEN
        DELETE FROM _usage_monitor._reservation_part p
         USING (SELECT e.quota_id, e.subject, e.period_start, e.reservation_id
                  FROM _usage_monitor._reservation_part e
                 WHERE e.expires_at < started
                 ORDER BY e.expires_at
                 LIMIT 1000
                   FOR UPDATE SKIP LOCKED) x
         WHERE p.quota_id = x.quota_id
           AND p.subject = x.subject
           AND p.period_start = x.period_start
           AND p.reservation_id = x.reservation_id;
    END IF;

    allowed := refused IS NULL;
    IF allowed THEN
        INSERT INTO usage_monitor.reservation (
            reservation_id, org, department, project, user_id, session_id,
            provider, model, tags, cost, tokens, requests, expires_at)
        VALUES (
            reserve.reservation_id, own_org, reserve.department, reserve.project, reserve.user_id,
            reserve.session_id, reserve.provider, reserve.model, reserve.tags, estimate, tokens,
            coalesce(reserve.requests, 0), reserve.expires_at);
    ELSE
        reservation_id := NULL;
        expires_at := NULL;
        SELECT coalesce(
                   (SELECT format('quota "%s": %s', c.name, c.reason)
                      FROM usage_monitor.check_quota(
                               own_org, reserve.user_id, reserve.project, reserve.department,
                               reserve.session_id, reserve.model, reserve.provider, reserve.tags,
                               estimate, tokens::bigint, coalesce(reserve.requests, 0)) c
                     WHERE c.quota_id = refused
                       AND NOT c.allowed
                     LIMIT 1),
                   format('quota "%s" has no room', q.name))
          INTO reason
          FROM usage_monitor.quota q
         WHERE q.quota_id = refused;
    END IF;
END
$$;

SELECT _usage_monitor._run_as_owner('reserve');

COMMENT ON FUNCTION usage_monitor.reserve(text, text, text, text, text, text, text, jsonb, numeric, bigint, bigint, interval, bigint) IS
    'Holds room for a call that is about to be made: its cost, or what input_tokens and max_output_tokens would cost. It counts against blocking quotas until settle(), release() or the end of ttl. Never raises for a refusal: allowed is false, and reason says which quota. Errors: UM001 invalid amount or ttl, UM003 and UM004 as of INSERT.';

CREATE FUNCTION _usage_monitor.settle(
    reservation_id uuid,
    response jsonb DEFAULT NULL,
    model text DEFAULT NULL,
    -- left out, as for an INSERT
    input_tokens bigint DEFAULT '-9223372036854775808',
    output_tokens bigint DEFAULT '-9223372036854775808',
    cache_read_input_tokens bigint DEFAULT 0,
    cache_creation_input_tokens bigint DEFAULT 0,
    cache_creation_1h_input_tokens bigint DEFAULT 0,
    reasoning_output_tokens bigint DEFAULT 0,
    input_audio_tokens bigint DEFAULT 0,
    output_audio_tokens bigint DEFAULT 0,
    units jsonb DEFAULT NULL,
    service_tier text DEFAULT NULL,
    cost numeric DEFAULT NULL,
    operation text DEFAULT NULL,
    source text DEFAULT NULL,
    request_id text DEFAULT NULL,
    ts timestamptz DEFAULT NULL,
    duration_ms double precision DEFAULT NULL,
    success boolean DEFAULT NULL,
    error text DEFAULT NULL,
    cached boolean DEFAULT NULL,
    provider text DEFAULT NULL,
    org text DEFAULT NULL
) RETURNS usage_monitor.usage
    -- as for reserve()
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held     usage_monitor.reservation;
    result   usage_monitor.usage;
    -- what a response says itself
    besides  CONSTANT text[] := ARRAY(
        SELECT v.name
          FROM (VALUES (1, 'input_tokens', settle.input_tokens IS DISTINCT FROM '-9223372036854775808'),
                       (2, 'output_tokens', settle.output_tokens IS DISTINCT FROM '-9223372036854775808'),
                       (3, 'cache_read_input_tokens', settle.cache_read_input_tokens <> 0),
                       (4, 'cache_creation_input_tokens', settle.cache_creation_input_tokens <> 0),
                       (5, 'cache_creation_1h_input_tokens', settle.cache_creation_1h_input_tokens <> 0),
                       (6, 'reasoning_output_tokens', settle.reasoning_output_tokens <> 0),
                       (7, 'input_audio_tokens', settle.input_audio_tokens <> 0),
                       (8, 'output_audio_tokens', settle.output_audio_tokens <> 0),
                       (9, 'units', settle.units IS NOT NULL),
                       (10, 'service_tier', settle.service_tier IS NOT NULL),
                       (11, 'cost', settle.cost IS NOT NULL),
                       (12, 'cached', settle.cached)) AS v (place, name, is_given)
         WHERE v.is_given
         ORDER BY v.place);
BEGIN
    IF response IS NOT NULL AND besides <> '{}' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('"%s" cannot be given together with a response', array_to_string(besides, '", "')),
            HINT = 'Give the response, which is read as record() reads it, or counts and cost as to an INSERT.';
    END IF;
    -- the ledger takes a negative cost from its owner, as a correction; not from here
    IF settle.cost < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM003',
            MESSAGE = format('column "cost" must be zero or more, but is %s', settle.cost),
            HINT = 'Leave it out, and the call is priced by the price book.';
    END IF;

    held := _usage_monitor._end_reservation(settle.reservation_id, 'settled', settle.org);
    IF held.reservation_id IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM101',
            MESSAGE = format('reservation %s is not open', coalesce(settle.reservation_id::text, 'NULL')),
            HINT = 'It was settled or released before, or never made. Record the call with INSERT or record().';
    END IF;

    IF response IS NOT NULL THEN
        result := usage_monitor.record(
            response,
            provider => coalesce(settle.provider, held.provider),
            model => coalesce(settle.model, CASE WHEN response ? 'model' THEN NULL ELSE held.model END),
            org => held.org,
            department => held.department,
            project => held.project,
            user_id => held.user_id,
            session_id => held.session_id,
            operation => settle.operation,
            source => settle.source,
            request_id => settle.request_id,
            ts => settle.ts,
            duration_ms => settle.duration_ms,
            success => settle.success,
            error => settle.error,
            tags => held.tags);
    ELSE
        INSERT INTO usage_monitor.usage AS u (
            ts, request_id, org, department, project, user_id, session_id, provider, model,
            operation, source, service_tier, input_tokens, output_tokens,
            cache_read_input_tokens, cache_creation_input_tokens, cache_creation_1h_input_tokens,
            reasoning_output_tokens, input_audio_tokens, output_audio_tokens, units,
            duration_ms, success, error, cached, tags, cost)
        VALUES (
            coalesce(settle.ts, now()), settle.request_id, held.org, held.department, held.project, held.user_id,
            held.session_id, coalesce(settle.provider, held.provider), coalesce(settle.model, held.model),
            settle.operation, settle.source, settle.service_tier, settle.input_tokens, settle.output_tokens,
            settle.cache_read_input_tokens, settle.cache_creation_input_tokens, settle.cache_creation_1h_input_tokens,
            settle.reasoning_output_tokens, settle.input_audio_tokens, settle.output_audio_tokens, settle.units,
            settle.duration_ms, settle.success, settle.error, settle.cached, held.tags, settle.cost)
        RETURNING u.* INTO result;
    END IF;

    UPDATE usage_monitor.reservation r
       SET usage_id = result.usage_id
     WHERE r.reservation_id = settle.reservation_id;
    RETURN result;
END
$$;

SELECT _usage_monitor._run_as_owner('settle');

COMMENT ON FUNCTION usage_monitor.settle(uuid, jsonb, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, numeric, text, text, text, timestamptz, double precision, boolean, text, boolean, text, text) IS
    'Records the call that a reservation was made for, from a provider''s response as record() does or from counts as an INSERT does, and gives back what it held, in one transaction; returns the row of the ledger. An expired reservation is settled as well, but its room may be gone. org: the organisation that it must be of; whoever routes calls to nodes needs it, and elsewhere it can be left out. Errors: UM101 not open, 22023 counts or cost beside a response, and those of INSERT.';

CREATE FUNCTION _usage_monitor.release(reservation_id uuid, org text DEFAULT NULL) RETURNS boolean
    -- as for reserve()
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT (_usage_monitor._end_reservation(release.reservation_id, 'released', release.org)).reservation_id IS NOT NULL;
END;

SELECT _usage_monitor._run_as_owner('release');

COMMENT ON FUNCTION usage_monitor.release(uuid, text) IS
    'Gives back what a reservation held, for a call that was not made; false if it was not open, or not of that organisation (NULL: any).';
