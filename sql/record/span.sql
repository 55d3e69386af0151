/*
 * Calls that OpenTelemetry tells of.  This unpacks an export and finds who
 * called; what the attributes mean is in usage_field, as of every response.
 *
 * One call is told of by more than one span: the client library's, and that of
 * whatever calls the library.  The innermost one is recorded, for it knows
 * most, and what is round it is known again by its trace and its counts.
 */
CREATE TABLE _usage_monitor._span (
    org           text COLLATE "C" NOT NULL,
    trace         text COLLATE "C" NOT NULL,
    span          text COLLATE "C" NOT NULL,
    request_id    text COLLATE "C",
    is_call       boolean NOT NULL,
    input_tokens  numeric,
    output_tokens numeric,
    seen_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _span_pkey PRIMARY KEY (org, trace, span)
);

CREATE INDEX _span_seen_at ON _usage_monitor._span (seen_at);

COMMENT ON TABLE _usage_monitor._span IS
    'Spans of calls, and the spans round them, kept for a day so that another span of the same call is not recorded as a second call. Not dumped: what comes later is known again by its request_id.';
COMMENT ON COLUMN _usage_monitor._span.org IS 'Organisation.';
COMMENT ON COLUMN _usage_monitor._span.trace IS 'The id of the trace; for an event of a coding agent, the name of the agent.';
COMMENT ON COLUMN _usage_monitor._span.span IS 'The id of the span; for an event, the id of its request.';
COMMENT ON COLUMN _usage_monitor._span.request_id IS 'The request_id of the call in the ledger; NULL for a span round others.';
COMMENT ON COLUMN _usage_monitor._span.is_call IS 'Whether the span is a call itself; if not, it is round spans that are.';
COMMENT ON COLUMN _usage_monitor._span.input_tokens IS 'Of its call, or of all calls in it.';
COMMENT ON COLUMN _usage_monitor._span.output_tokens IS 'Of its call, or of all calls in it.';
COMMENT ON COLUMN _usage_monitor._span.seen_at IS 'When it came.';

CREATE FUNCTION _usage_monitor._otel_attributes(attributes jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(attributes)
           WHEN 'object' THEN attributes
           WHEN 'array' THEN coalesce((
               SELECT jsonb_object_agg(a ->> 'key', CASE
                          WHEN a -> 'value' ? 'stringValue' THEN a #> '{value,stringValue}'
                          -- a number of 64 bits is written as text
                          WHEN a #>> '{value,intValue}' ~ '^-?\d{1,20}$' THEN to_jsonb((a #>> '{value,intValue}')::numeric)
                          WHEN a -> 'value' ? 'doubleValue' THEN a #> '{value,doubleValue}'
                          WHEN a -> 'value' ? 'boolValue' THEN a #> '{value,boolValue}'
                          ELSE a -> 'value'
                      END)
                 FROM jsonb_array_elements(CASE jsonb_typeof(attributes) WHEN 'array' THEN attributes ELSE '[]' END) AS a
                WHERE a ->> 'key' IS NOT NULL), '{}')
           ELSE '{}'
       END;

COMMENT ON FUNCTION _usage_monitor._otel_attributes(jsonb) IS
    'Attributes as an object: from OTLP''s list of keys and values, or as they are.';

CREATE FUNCTION _usage_monitor._otel_object(value text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN value LIKE '{%' THEN value::jsonb END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    -- cut off, as SDKs do with long values
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION _usage_monitor._otel_object(text) IS
    'An object that is written as text in an attribute; NULL: the text is not a whole JSON object.';

CREATE FUNCTION _usage_monitor._otel_time(span jsonb, VARIADIC names text[]) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
               WHEN span ->> n ~ '^\d+$' THEN 'epoch'::timestamptz + trunc((span ->> n)::numeric / 1000)::bigint * interval '1 microsecond'
               ELSE (span ->> n)::timestamptz
           END
      FROM unnest(names) WITH ORDINALITY AS o (n, i)
     WHERE nullif(span ->> n, '0') <> ''
     ORDER BY i
     LIMIT 1;
END;

COMMENT ON FUNCTION _usage_monitor._otel_time(jsonb, text[]) IS
    'The first of these times that is told: nanoseconds since 1970, or ISO 8601.';

CREATE FUNCTION _usage_monitor._spans(export jsonb)
RETURNS TABLE (span jsonb, resource jsonb, is_bare boolean, trace_id text, span_id text, parent_id text, begins text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH item AS (
        SELECT i
          FROM jsonb_path_query(export, '$[*]') AS i
    ), part AS (
        SELECT p
          FROM item
         CROSS JOIN unnest('{$.resourceSpans[*],$.resourceLogs[*],$}'::jsonpath[]) AS path
         CROSS JOIN jsonb_path_query(i, path) AS p
    ), told AS (
        SELECT s, p #> '{resource,attributes}' AS resource, false AS is_bare
          FROM part
         CROSS JOIN unnest('{$.scopeSpans[*].spans[*],$.scopeLogs[*].logRecords[*]}'::jsonpath[]) AS path
         CROSS JOIN jsonb_path_query(p, path) AS s
        UNION ALL
        SELECT i, i #> '{resource,attributes}', NOT i ? 'attributes'
          FROM item
         WHERE jsonb_typeof(i) <> 'object'
            OR (NOT i ?| '{resourceSpans,resourceLogs,scopeSpans,scopeLogs,partialSuccess}' AND i <> '{}')
    )
    -- ids as the SDK for Python prints them: elsewhere, with 0x before them
    SELECT s, resource, is_bare,
           nullif(regexp_replace(coalesce(s ->> 'traceId', s #>> '{context,trace_id}'), '^(0x|0+$)', ''), ''),
           nullif(regexp_replace(coalesce(s ->> 'spanId', s #>> '{context,span_id}'), '^(0x|0+$)', ''), ''),
           nullif(regexp_replace(coalesce(s ->> 'parentSpanId', s ->> 'parent_id'), '^(0x|0+$)', ''), ''),
           coalesce(lpad(s ->> 'startTimeUnixNano', 20, '0'), s ->> 'start_time') COLLATE "C"
      FROM told;
END;

COMMENT ON FUNCTION _usage_monitor._spans(jsonb) IS
    'The spans and log records of an export, each with the attributes of its resource; is_bare: nothing but attributes was given.';

CREATE FUNCTION _usage_monitor._span_event(span jsonb, attributes jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE n
               WHEN 'api_request' THEN 'claude_code.api_request'
               WHEN 'api_error' THEN 'claude_code.api_error'
               ELSE n
           END
      FROM unnest(ARRAY[span #>> '{body,stringValue}', span ->> 'body', span ->> 'eventName',
                        attributes ->> 'event.name', span ->> 'name']) WITH ORDINALITY AS o (n, i)
     WHERE n IN ('api_request', 'api_error', 'claude_code.api_request', 'claude_code.api_error', 'claude_code.llm_request')
        OR n ~ '^[a-z_-]+\.api_(response|error)$'
        OR (n = 'codex.sse_event' AND attributes ->> 'event.kind' = 'response.completed')
     ORDER BY i
     LIMIT 1;
END;

COMMENT ON FUNCTION _usage_monitor._span_event(jsonb, jsonb) IS
    'The event by which a coding agent reports a call: claude_code.api_request, codex.sse_event, gemini_cli.api_response, ...; NULL: it is not such an event.';

CREATE FUNCTION _usage_monitor._span_response(span jsonb, attributes jsonb, event text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
DECLARE
    operation text := attributes ->> 'gen_ai.operation.name';
    kind      text := coalesce(attributes ->> 'openinference.span.kind', attributes ->> 'langfuse.observation.type',
                               attributes ->> 'langsmith.span.kind', attributes ->> 'traceloop.span.kind');
    response  jsonb;
BEGIN
    IF event IS NOT NULL THEN
        -- an agent's own event has counts without a prefix, among much else
        RETURN jsonb_build_object(
            'model', attributes -> 'model',
            event, coalesce((
                SELECT jsonb_object_agg(a.key, a.value)
                  FROM jsonb_each(attributes) AS a
                 WHERE a.key ~ '^[a-z0-9_]+$'
                   AND (a.key ~ '(token|cost|usage|price|credit|bill)' OR a.key = 'speed')), '{}'));
    END IF;
    -- spans round a call, which repeat or sum up what those within say
    IF operation ~* '^((invoke|create|run|execute)_(agent|workflow|tool|task)|agent|workflow|task|tool|chain|plan)$'
       OR kind ~* '^(chain|agent|tool|retriever|workflow|task|guardrail|evaluator|prompt|parser|span|event)$'
       OR attributes ->> 'ai.operationId' !~ '\.do(Generate|Stream|Embed)$'
       -- it tells the same by an event of its own
       OR attributes ->> 'service.name' = 'gemini-cli'
       OR (attributes ->> 'event.name' = 'gen_ai.client.inference.operation.details' AND attributes ? 'installation.id') THEN
        RETURN NULL;
    END IF;

    SELECT jsonb_object_agg(
               -- names of the first drafts, which stand beside later ones
               regexp_replace(a.key, '^(gen_ai\.response|llm\.usage)\.([a-z_]+_tokens)$', 'gen_ai.usage.\2'),
               a.value)
      INTO response
      FROM jsonb_each(attributes) AS a
     WHERE a.key ~ '^(gen_ai|llm|ai|embedding|openai|openinference|langfuse\.observation\.model)\.';
    IF _usage_monitor._otel_object(attributes ->> 'ai.response.providerMetadata') IS NOT NULL THEN
        response := response - 'ai.response.providerMetadata' ||
            jsonb_build_object('provider_metadata', _usage_monitor._otel_object(attributes ->> 'ai.response.providerMetadata'));
    END IF;
    IF _usage_monitor._otel_object(attributes ->> 'langfuse.observation.usage_details') IS NOT NULL THEN
        response := coalesce(response, '{}') ||
            jsonb_build_object('usage_details', _usage_monitor._otel_object(attributes ->> 'langfuse.observation.usage_details'));
    END IF;
    IF response ? 'usage_details'
       OR EXISTS (SELECT FROM jsonb_object_keys(response) AS k WHERE k ~ '^(gen_ai|llm|ai)\.(usage|token_count)\M') THEN
        RETURN response;
    END IF;
    -- a call of which nobody says what it used is a call all the same
    IF span ? 'spanId' AND span ? 'startTimeUnixNano' OR span ? 'context' THEN
        IF operation ~* '^(chat|text_completion|generate_content|embeddings?|completions?|responses)$'
           OR kind ~* '^(llm|embedding|generation)$'
           OR attributes ? 'llm.request.type'
           OR attributes ? 'ai.operationId' THEN
            RETURN coalesce(response, '{}') || '{"usage": null}';
        END IF;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION _usage_monitor._span_response(jsonb, jsonb, text) IS
    'What a span says of a call, as a response that record() reads; NULL: the span is not a call, or only repeats what the spans within it say.';

CREATE FUNCTION _usage_monitor._span_failure(span jsonb, attributes jsonb, event text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN span #>> '{status,code}' IN ('2', 'STATUS_CODE_ERROR') OR span #>> '{status,status_code}' = 'ERROR'
         OR attributes ->> 'error.type' <> '' OR attributes ->> 'success' = 'false' OR event LIKE '%.api\_error'
    THEN coalesce(nullif(span #>> '{status,message}', ''), nullif(span #>> '{status,description}', ''),
                  attributes ->> 'error.message', attributes ->> 'error_message', attributes ->> 'exception.message', attributes ->> 'error',
                  attributes ->> 'error.type', attributes ->> 'error_type', attributes ->> 'status_code', 'failed')
END;

COMMENT ON FUNCTION _usage_monitor._span_failure(jsonb, jsonb, text) IS
    'Why the call of a span failed; NULL: it did not.';

CREATE FUNCTION _usage_monitor._is_same_use(known _usage_monitor._span, usage usage_monitor.normalized_usage) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (usage.input_tokens IS NULL AND usage.output_tokens IS NULL)
    OR coalesce(usage.input_tokens = known.input_tokens AND usage.output_tokens = known.output_tokens, false)
    OR coalesce(usage.input_tokens = known.input_tokens AND usage.input_tokens > 0, false)
    OR coalesce(usage.output_tokens = known.output_tokens AND usage.output_tokens > 0, false);

COMMENT ON FUNCTION _usage_monitor._is_same_use(_usage_monitor._span, usage_monitor.normalized_usage) IS
    'Whether two spans report the same usage. It is enough that one side, input or output, agrees: some spans leave out cached tokens, or reasoning.';

CREATE FUNCTION _usage_monitor._is_told(request_id text, org text, trace text, span text, parents jsonb, usage usage_monitor.normalized_usage)
RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  _usage_monitor._span;
    outer_ text := parents ->> span;
    depth  integer := 0;
BEGIN
    -- whoever tells of the same span at the same time waits here
    INSERT INTO _usage_monitor._span AS s (org, trace, span, request_id, is_call, input_tokens, output_tokens)
    VALUES (org, trace, span, request_id, true, usage.input_tokens, usage.output_tokens)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT s.* INTO known
          FROM _usage_monitor._span s
         WHERE s.org = _is_told.org
           AND s.trace = _is_told.trace
           AND s.span = _is_told.span;
        IF _usage_monitor._is_same_use(known, usage) THEN
            RETURN true;
        END IF;
        -- calls within it were others
        UPDATE _usage_monitor._span s
           SET request_id = _is_told.request_id,
               is_call = true,
               input_tokens = usage.input_tokens,
               output_tokens = usage.output_tokens
         WHERE s.org = _is_told.org
           AND s.trace = _is_told.trace
           AND s.span = _is_told.span;
    END IF;
    -- another span of the same response
    IF EXISTS (
        SELECT FROM _usage_monitor._span s
         WHERE s.org = _is_told.org
           AND s.trace = _is_told.trace
           AND s.span <> _is_told.span
           AND s.request_id = _is_told.request_id
           AND _usage_monitor._is_same_use(s, usage)) THEN
        RETURN true;
    END IF;
    -- those round it will tell of it again, or have done so
    WHILE outer_ <> '' AND depth < 100 LOOP
        INSERT INTO _usage_monitor._span AS s (org, trace, span, is_call, input_tokens, output_tokens)
        VALUES (org, trace, outer_, false, usage.input_tokens, usage.output_tokens)
        ON CONFLICT ON CONSTRAINT _span_pkey DO UPDATE
           SET input_tokens = CASE WHEN s.is_call THEN s.input_tokens ELSE coalesce(s.input_tokens + excluded.input_tokens, s.input_tokens, excluded.input_tokens) END,
               output_tokens = CASE WHEN s.is_call THEN s.output_tokens ELSE coalesce(s.output_tokens + excluded.output_tokens, s.output_tokens, excluded.output_tokens) END
        RETURNING s.* INTO known;
        IF known.is_call AND depth = 0 AND _usage_monitor._is_same_use(known, usage) THEN
            RETURN true;
        END IF;
        outer_ := parents ->> outer_;
        depth := depth + 1;
    END LOOP;
    RETURN false;
END
$$;

COMMENT ON FUNCTION _usage_monitor._is_told(text, text, text, text, jsonb, usage_monitor.normalized_usage) IS
    'Has another span of the trace told of this call? If not, it is noted that this one has. A span round another repeats it if their counts agree; else it is a call of its own.';

CREATE FUNCTION _usage_monitor.record_span(
    span             jsonb,
    org              text DEFAULT NULL,
    department       text DEFAULT NULL,
    project          text DEFAULT NULL,
    user_id          text DEFAULT NULL,
    source           text DEFAULT NULL,
    OUT span_id      text,
    OUT outcome      text,
    OUT usage_id     bigint,
    OUT request_id   text,
    OUT provider     text,
    OUT model        text,
    OUT cost         numeric,
    OUT currency     text,
    OUT error_code   text,
    OUT error        text)
RETURNS SETOF record
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    -- a path's rows are many by the planner's guess: compiling for them takes longer than it all
    SET jit = off
AS $$
DECLARE
    item     record;
    a        jsonb;
    event    text;
    response jsonb;
    trace    text;
    own_org  text;
    failure  text;
    duration double precision;
    parents  jsonb;
    reading  usage_monitor.normalized_usage;
    call     usage_monitor.usage;
    is_known boolean;
    hint     text;
BEGIN
    IF jsonb_typeof(record_span.span) IS NULL OR jsonb_typeof(record_span.span) NOT IN ('object', 'array')
       OR jsonb_path_exists(record_span.span, '$[*].resourceMetrics') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = CASE WHEN jsonb_path_exists(record_span.span, '$[*].resourceMetrics')
                           THEN 'metrics cannot be recorded: they are sums, not single calls'
                           ELSE format('unknown shape of span: %s', coalesce(left(record_span.span::text, 60), 'NULL')) END,
            HINT = 'Pass a span, a log record, an object of attributes, or what an exporter sends to /v1/traces or /v1/logs, as jsonb.';
    END IF;
    IF record_span.org IS NOT NULL THEN
        PERFORM _usage_monitor._check_org(_usage_monitor._trimmed(record_span.org), 'writer');
    END IF;
    SELECT jsonb_object_agg(s.span_id, s.parent_id)
      INTO parents
      FROM _usage_monitor._spans(record_span.span) s
     WHERE s.span_id IS NOT NULL
       AND s.parent_id <> s.span_id;

    -- the inner ones first: they begin after those round them
    FOR item IN
        SELECT s.span, s.is_bare, s.trace_id, s.span_id, x.attributes
          FROM _usage_monitor._spans(record_span.span) s
         CROSS JOIN LATERAL (
                   SELECT _usage_monitor._otel_attributes(s.resource) ||
                          _usage_monitor._otel_attributes(CASE WHEN s.is_bare THEN s.span ELSE s.span -> 'attributes' END)) AS x (attributes)
         WHERE s.is_bare
            OR EXISTS (SELECT FROM jsonb_object_keys(x.attributes) AS k
                        WHERE k ~ '^(gen_ai|llm|ai|embedding|openinference|langfuse)\.' OR k = 'model')
         ORDER BY s.begins DESC NULLS LAST
    LOOP
        a := item.attributes;
        event := _usage_monitor._span_event(item.span, a);
        response := _usage_monitor._span_response(item.span, a, event);
        CONTINUE WHEN response IS NULL AND NOT item.is_bare;
        trace := item.trace_id;
        span_id := item.span_id;
        outcome := NULL;
        usage_id := NULL;
        request_id := NULL;
        provider := NULL;
        model := NULL;
        cost := NULL;
        currency := NULL;
        error_code := NULL;
        error := NULL;
        BEGIN
            IF response IS NULL THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'UM010',
                    MESSAGE = format('unknown shape of span: %s', left(item.span::text, 60)),
                    HINT = 'No attribute describes a call to a model. Expected are attributes named gen_ai.*, llm.* or ai.*, or an event of a coding agent, such as claude_code.api_request.';
            END IF;

            failure := _usage_monitor._span_failure(item.span, a, event);
            IF failure IS NOT NULL
               AND NOT EXISTS (SELECT FROM jsonb_each(response) AS r
                                WHERE r.key ~ '^(gen_ai|llm|ai)\.(usage|token_count)\M' OR r.key = 'usage_details'
                                   OR (r.key = event AND r.value <> '{}')) THEN
                response := response || jsonb_build_object('error', jsonb_build_object('message', failure));
            END IF;

            provider := coalesce(a ->> 'gen_ai.provider.name', a ->> 'gen_ai.system', a ->> 'llm.provider', a ->> 'llm.system',
                                 a ->> 'llm.vendor', a ->> 'ai.model.provider');
            IF event IS NOT NULL THEN
                provider := NULL;
                trace := split_part(event, '.', 1);
                span_id := coalesce(a ->> 'request_id', a ->> 'gen_ai.response.id',
                                    concat_ws('/', coalesce(a ->> 'session.id', a ->> 'conversation.id'), a ->> 'prompt_id',
                                              coalesce(a ->> 'event.sequence', a ->> 'event.timestamp', item.span ->> 'timeUnixNano')));
                request_id := nullif(span_id, '');
            ELSE
                -- client libraries append what they call there: openai.chat, anthropic.messages
                IF NOT EXISTS (SELECT FROM usage_monitor.provider_alias p WHERE p.alias = lower(record_span.provider)) THEN
                    provider := split_part(provider, '.', 1);
                END IF;
                request_id := coalesce(nullif(a ->> 'gen_ai.response.id', ''), nullif(a ->> 'ai.response.id', ''),
                                       nullif(a ->> 'llm.response.id', ''), trace || '/' || span_id);
            END IF;
            own_org := _usage_monitor._check_org(_usage_monitor._trimmed(coalesce(record_span.org, a ->> 'usage_monitor.org')), 'writer');

            IF trace IS NOT NULL AND span_id IS NOT NULL THEN
                -- record() reads it again: that is some 3 % of what a span takes
                SELECT (p.reading).* INTO reading
                  FROM _usage_monitor._usage_parts(response, provider) p
                 LIMIT 1;
                IF _usage_monitor._is_told(request_id, own_org, trace, span_id, parents, reading) THEN
                    outcome := 'repeated';
                    provider := NULL;
                    RETURN NEXT;
                    CONTINUE;
                END IF;
            END IF;
            is_known := EXISTS (SELECT FROM usage_monitor.usage u WHERE u.org = own_org AND u.request_id = record_span.request_id);

            duration := CASE WHEN a ->> 'duration_ms' ~ '^\d+(\.\d+)?$' THEN (a ->> 'duration_ms')::double precision
                             ELSE extract(epoch FROM _usage_monitor._otel_time(item.span, 'endTimeUnixNano', 'end_time')
                                                     - _usage_monitor._otel_time(item.span, 'startTimeUnixNano', 'start_time')) * 1000 END;
            SELECT r.* INTO call
              FROM _usage_monitor.record(
                       response,
                       provider => record_span.provider,
                       org => own_org,
                       department => coalesce(record_span.department, a ->> 'usage_monitor.department', a ->> 'department'),
                       project => coalesce(record_span.project, a ->> 'usage_monitor.project'),
                       user_id => coalesce(record_span.user_id, a ->> 'usage_monitor.user_id',
                                           CASE WHEN event IS NOT NULL THEN coalesce(a ->> 'user.email', a ->> 'user.account_uuid') END,
                                           a ->> 'user.id', a ->> 'enduser.id', a ->> 'user.email', a ->> 'ai.telemetry.metadata.userId',
                                           a ->> 'langfuse.user.id', a ->> 'traceloop.association.properties.user_id'),
                       session_id => coalesce(a ->> 'session.id', a ->> 'gen_ai.conversation.id', a ->> 'conversation.id',
                                              a ->> 'ai.telemetry.metadata.sessionId', a ->> 'langfuse.session.id',
                                              a ->> 'traceloop.association.properties.session_id'),
                       operation => coalesce(a ->> 'usage_monitor.operation', a ->> 'gen_ai.operation.name',
                                             a ->> 'ai.telemetry.functionId', a ->> 'llm.request.type'),
                       source => coalesce(record_span.source, a ->> 'usage_monitor.source',
                                          CASE WHEN a ->> 'service.name' NOT LIKE 'unknown\_service%' THEN a ->> 'service.name' END),
                       request_id => record_span.request_id,
                       ts => coalesce(_usage_monitor._otel_time(item.span, 'startTimeUnixNano', 'start_time'),
                                      _usage_monitor._otel_time(a, 'event.timestamp'),
                                      _usage_monitor._otel_time(item.span, 'timeUnixNano', 'observedTimeUnixNano', 'timestamp')),
                       duration_ms => CASE WHEN duration >= 0 THEN duration END,
                       success => failure IS NULL,
                       error => failure) r;
            outcome := CASE WHEN is_known AND call.request_id = request_id THEN 'repeated' ELSE 'recorded' END;
            usage_id := call.usage_id;
            request_id := call.request_id;
            provider := call.provider;
            model := call.model;
            cost := call.cost;
            currency := call.currency;
        EXCEPTION WHEN OTHERS THEN
            -- what is wrong with one span must not lose the others; what is wrong with the transaction is raised
            IF left(SQLSTATE, 2) NOT IN ('UM', '22', '23', '54') AND SQLSTATE <> '42501' THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            outcome := 'refused';
            error_code := SQLSTATE;
            error := concat_ws(' ', SQLERRM, '(' || nullif(hint, '') || ')');
        END;
        RETURN NEXT;
    END LOOP;

    DELETE FROM _usage_monitor._span s
     WHERE (s.org, s.trace, s.span) IN (
               SELECT o.org, o.trace, o.span
                 FROM _usage_monitor._span o
                WHERE o.seen_at < now() - interval '1 day'
                ORDER BY o.seen_at
                LIMIT 1000
                  FOR UPDATE SKIP LOCKED);
END
$$;

SELECT _usage_monitor._run_as_owner('record_span');

COMMENT ON FUNCTION usage_monitor.record_span(jsonb, text, text, text, text, text) IS
    'Records the calls that OpenTelemetry tells of: a span, a log record, an object of attributes, an array of them, or all that an exporter sends as JSON. A row for each call: recorded; repeated, because it was recorded before; or refused, with the reason, while the others are recorded all the same. Spans that are not calls have no row. What is not given is taken from the attributes: usage_monitor.org, usage_monitor.project, ..., or the conventions'' own. Errors: UM010 neither a span nor an export.';
