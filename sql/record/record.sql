/*
 * Recording a provider's response: normalize.sql reads it, the triggers of the
 * ledger price and count it.
 */

/*
 * Stores one row of the ledger, in place of the one that has its request_id
 * already.  What the later version does not know (project, tags, ...) stays,
 * and so does the time of the call.
 *
 * Of two transactions that record the same request at once, the second waits
 * for the first one and then replaces its row: ON CONFLICT DO NOTHING inserts
 * nothing, and the next round's UPDATE finds what was in the way.
 */
CREATE FUNCTION _usage_monitor._store_usage(
    given usage_monitor.usage, reported_cost numeric, OUT stored usage_monitor.usage, OUT replaced boolean)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    FOR attempt IN 1 .. 100 LOOP
        IF given.request_id IS NOT NULL THEN
            /* cost NULL: to be computed anew, also where it was reported before */
            UPDATE usage_monitor.usage AS u
            SET ts = coalesce(given.ts, u.ts),
                department = coalesce(given.department, u.department),
                project = coalesce(given.project, u.project),
                user_id = coalesce(given.user_id, u.user_id),
                session_id = coalesce(given.session_id, u.session_id),
                provider = coalesce(given.provider, u.provider),
                model = given.model,
                operation = coalesce(given.operation, u.operation),
                source = coalesce(given.source, u.source),
                service_tier = given.service_tier,
                input_tokens = given.input_tokens,
                output_tokens = given.output_tokens,
                cache_read_input_tokens = given.cache_read_input_tokens,
                cache_creation_input_tokens = given.cache_creation_input_tokens,
                cache_creation_1h_input_tokens = given.cache_creation_1h_input_tokens,
                reasoning_output_tokens = given.reasoning_output_tokens,
                input_audio_tokens = given.input_audio_tokens,
                output_audio_tokens = given.output_audio_tokens,
                units = given.units,
                duration_ms = coalesce(given.duration_ms, u.duration_ms),
                success = given.success,
                error = given.error,
                tags = coalesce(given.tags, u.tags),
                cost = NULL,
                provider_usage = given.provider_usage
            WHERE u.org = given.org AND u.request_id = given.request_id
            RETURNING u.* INTO stored;
            replaced := FOUND;
            EXIT WHEN replaced;
        END IF;

        BEGIN
            INSERT INTO usage_monitor.usage AS u (
                ts, request_id, org, department, project, user_id, session_id, provider, model, operation, source,
                service_tier, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,
                cache_creation_1h_input_tokens, reasoning_output_tokens, input_audio_tokens, output_audio_tokens,
                units, duration_ms, success, error, tags, provider_usage)
            VALUES (
                coalesce(given.ts, now()), given.request_id, given.org, given.department, given.project, given.user_id,
                given.session_id, given.provider, given.model, given.operation, given.source, given.service_tier,
                given.input_tokens, given.output_tokens, given.cache_read_input_tokens,
                given.cache_creation_input_tokens, given.cache_creation_1h_input_tokens,
                given.reasoning_output_tokens, given.input_audio_tokens, given.output_audio_tokens, given.units,
                given.duration_ms, given.success, given.error, given.tags, given.provider_usage)
            ON CONFLICT DO NOTHING
            RETURNING u.* INTO stored;
            replaced := false;
            EXIT WHEN FOUND;
        EXCEPTION WHEN unique_violation THEN
            -- it was recorded meanwhile, in another partition: replace that
            NULL;
        END;
    END LOOP;
    IF stored.usage_id IS NULL THEN
        -- the transaction's snapshot will never show it
        RAISE EXCEPTION USING
            ERRCODE = 'serialization_failure',
            MESSAGE = format('request "%s" was recorded by another transaction meanwhile', given.request_id),
            HINT = 'Try the transaction again.';
    END IF;

    /* what the provider charged is better than not to know; it is in dollars */
    IF stored.cost IS NULL AND reported_cost IS NOT NULL AND usage_monitor.ledger_currency() = 'USD' THEN
        UPDATE usage_monitor.usage AS u
        SET cost = reported_cost
        WHERE u.usage_id = stored.usage_id AND u.ts = stored.ts
        RETURNING u.* INTO stored;
    END IF;
END
$$;

/*
 * SECURITY DEFINER, so that an application needs EXECUTE on this function and
 * nothing else: it may add to the ledger, and replace the rows of a request_id
 * that it knows, without a right to read or change the table.
 */
CREATE FUNCTION _usage_monitor.record(
    response    jsonb,
    provider    text DEFAULT NULL,
    model       text DEFAULT NULL,
    org         text DEFAULT NULL,
    department  text DEFAULT NULL,
    project     text DEFAULT NULL,
    user_id     text DEFAULT NULL,
    session_id  text DEFAULT NULL,
    operation   text DEFAULT NULL,
    source      text DEFAULT NULL,
    request_id  text DEFAULT NULL,
    ts          timestamptz DEFAULT NULL,
    duration_ms double precision DEFAULT NULL,
    success     boolean DEFAULT NULL,
    error       text DEFAULT NULL,
    tags        jsonb DEFAULT NULL)
RETURNS usage_monitor.usage
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body     jsonb := _usage_monitor._response_body(response);
    failure  text := _usage_monitor._response_error(body);
    part     record;
    parts    integer := 0;
    given    usage_monitor.usage;
    call     usage_monitor.usage;
    outcome  record;
    repeated boolean;
BEGIN
    given.org := coalesce(_usage_monitor._trimmed(org), 'default');
    given.department := department;
    given.project := project;
    given.user_id := user_id;
    given.session_id := session_id;
    given.operation := operation;
    given.source := source;
    given.ts := ts;
    given.tags := tags;
    given.duration_ms := duration_ms;
    given.success := coalesce(success, error IS NULL AND failure IS NULL);
    given.error := coalesce(error, CASE WHEN NOT given.success THEN failure END);
    request_id := coalesce(nullif(_usage_monitor._trimmed(request_id), ''), _usage_monitor._response_id(body));

    FOR part IN SELECT p.reading, p.provider_usage FROM _usage_monitor._usage_parts(response, provider) AS p LOOP
        given.model := (part.reading).model;
        given.request_id := request_id;
        IF parts = 0 THEN
            given.model := coalesce(nullif(trim(model), ''), given.model);
        ELSE
            /* a step of the call: it ran within the call's time and success */
            given.request_id := request_id || '#' || parts;
            given.duration_ms := NULL;
            given.success := true;
            given.error := NULL;
        END IF;
        IF given.model IS NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM004',
                MESSAGE = 'the response does not name its model',
                HINT = 'Pass it: record(..., model => ''...'').';
        END IF;
        given.provider := (part.reading).provider;
        given.service_tier := (part.reading).service_tier;
        given.input_tokens := (part.reading).input_tokens;
        given.output_tokens := (part.reading).output_tokens;
        given.cache_read_input_tokens := (part.reading).cache_read_input_tokens;
        given.cache_creation_input_tokens := (part.reading).cache_creation_input_tokens;
        given.cache_creation_1h_input_tokens := (part.reading).cache_creation_1h_input_tokens;
        given.reasoning_output_tokens := (part.reading).reasoning_output_tokens;
        given.input_audio_tokens := (part.reading).input_audio_tokens;
        given.output_audio_tokens := (part.reading).output_audio_tokens;
        given.units := (part.reading).units;
        given.provider_usage := part.provider_usage;
        outcome := _usage_monitor._store_usage(given, (part.reading).reported_cost);
        IF parts = 0 THEN
            call := outcome.stored;
            repeated := outcome.replaced;
        END IF;
        parts := parts + 1;
    END LOOP;

    /* steps of the version before that this one does not have; only steps have a type */
    WHILE repeated LOOP
        DELETE FROM usage_monitor.usage AS u
        WHERE u.org = given.org AND u.request_id = record.request_id || '#' || parts
          AND u.provider_usage ? 'type';
        repeated := FOUND;
        parts := parts + 1;
    END LOOP;
    RETURN call;
END
$$;

SELECT _usage_monitor._run_as_owner('record');

COMMENT ON FUNCTION usage_monitor.record(jsonb, text, text, text, text, text, text, text, text, text, text,
    timestamptz, double precision, boolean, text, jsonb) IS
    'Records a provider''s response in the ledger and returns its row. The same request_id again (by default the response''s own id) replaces what was recorded before, at the time of the first call unless ts is given; model, success and error are the response''s unless given.';
