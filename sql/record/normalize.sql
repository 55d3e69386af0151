/*
 * Reading what a provider reports.
 *
 * A response, or its usage object, of any API is brought to the ledger's
 * normal form: counts are inclusive, what was not reported is zero inside a
 * count that is known, and a count that nobody reported is NULL.  Parts that
 * contradict each other are refused, never clamped (UM001 a value that is no
 * count, UM002 an impossible whole, UM010 an unknown shape).
 *
 * From outside in: _response_body takes the envelope off, _response_usage
 * finds the usage object in it, _usage_parts tells the API by its fields and
 * calls the reader of that family.  Everything reads jsonb and nothing else,
 * hence IMMUTABLE.
 */
CREATE TYPE usage_monitor.normalized_usage AS (
    provider                       text,
    model                          text,
    service_tier                   text,
    input_tokens                   bigint,
    output_tokens                  bigint,
    cache_read_input_tokens        bigint,
    cache_creation_input_tokens    bigint,
    cache_creation_1h_input_tokens bigint,
    reasoning_output_tokens        bigint,
    input_audio_tokens             bigint,
    output_audio_tokens            bigint,
    units                          jsonb,
    reported_cost                  numeric
);

COMMENT ON TYPE usage_monitor.normalized_usage IS
    'What a response says was used, in the ledger''s words: input includes cached, written and audio tokens, output includes reasoning.';
COMMENT ON COLUMN usage_monitor.normalized_usage.provider IS 'Who bills; NULL: the response does not tell, and the model''s name decides.';
COMMENT ON COLUMN usage_monitor.normalized_usage.model IS 'The model as the response names it.';
COMMENT ON COLUMN usage_monitor.normalized_usage.service_tier IS 'The tier that served the call: standard, batch, flex, priority or fast.';
COMMENT ON COLUMN usage_monitor.normalized_usage.input_tokens IS 'All input tokens; NULL: not reported.';
COMMENT ON COLUMN usage_monitor.normalized_usage.output_tokens IS 'All output tokens; NULL: not reported.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_read_input_tokens IS 'Part of the input that was read from a cache.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_creation_input_tokens IS 'Part of the input that was written to a cache.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_creation_1h_input_tokens IS 'Part of the written tokens that is kept for an hour.';
COMMENT ON COLUMN usage_monitor.normalized_usage.reasoning_output_tokens IS 'Part of the output that is reasoning.';
COMMENT ON COLUMN usage_monitor.normalized_usage.input_audio_tokens IS 'Part of the input that is audio.';
COMMENT ON COLUMN usage_monitor.normalized_usage.output_audio_tokens IS 'Part of the output that is audio.';
COMMENT ON COLUMN usage_monitor.normalized_usage.units IS 'Every other meter that is not zero, {"web_search": 2, ...}; NULL: none.';
COMMENT ON COLUMN usage_monitor.normalized_usage.reported_cost IS 'What the provider says that the call cost, in US dollars: OpenRouter''s and Perplexity''s cost, xAI''s ticks of 1e-10 dollars.';

/* ---- Values -------------------------------------------------------------- */

/*
 * The quantity at the first of some paths ("details.cached_tokens") that has
 * one.  Gateways repeat a field under another API's name, sometimes as an
 * empty zero; two different quantities contradict each other.
 */
CREATE FUNCTION _usage_monitor._quantity(source jsonb, whole boolean, VARIADIC paths text[])
RETURNS numeric
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    path       text;
    value      jsonb;
    quantity   numeric;
    found_path text;
    found      numeric;
BEGIN
    FOREACH path IN ARRAY paths LOOP
        value := source #> string_to_array(path, '.');
        CONTINUE WHEN value IS NULL OR value = 'null';
        IF jsonb_typeof(value) <> 'number' THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM001',
                MESSAGE = format('invalid count: "%s" is %s', path, left(value::text, 60)),
                HINT = 'A count is a number that is not negative.';
        END IF;
        quantity := value::numeric;
        IF quantity < 0 OR whole AND (quantity <> trunc(quantity) OR quantity > 1e18) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM001',
                MESSAGE = format('invalid count: "%s" is %s', path, left(value::text, 60)),
                HINT = CASE WHEN quantity < 0 THEN 'A count is never negative.'
                            WHEN quantity <> trunc(quantity) THEN 'A count is a whole number.'
                            ELSE 'A count is at most 10^18.' END;
        END IF;
        IF coalesce(found, 0) = 0 THEN
            found := quantity;
            found_path := path;
        ELSIF quantity NOT IN (0, found) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM002',
                MESSAGE = format('impossible usage: "%s" is %s but "%s" is %s',
                                 found_path, found, path, quantity),
                HINT = 'They are two names of one count.';
        END IF;
    END LOOP;
    RETURN found;
END
$$;

CREATE FUNCTION _usage_monitor._count(source jsonb, VARIADIC paths text[])
RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN _usage_monitor._quantity(source, true, VARIADIC paths)::bigint;

/* The units of a call: those of the given meters that are not zero. */
CREATE FUNCTION _usage_monitor._units(meters jsonb)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT jsonb_object_agg(key, value)
    FROM jsonb_each(meters)
    WHERE value NOT IN ('0', 'null');
END;

/*
 * Tokens of some modalities in lists of {modality, tokenCount}.  Client
 * libraries write the modality as its name or as its number.
 */
CREATE FUNCTION _usage_monitor._modality(source jsonb, modalities text[], VARIADIC lists text[])
RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(sum(_usage_monitor._count(item, 'tokenCount', 'token_count')), 0)::bigint
    FROM unnest(lists) AS list (name),
         LATERAL jsonb_path_query(source -> list.name, 'lax $[*]') AS item
    WHERE upper(item ->> 'modality') = ANY (modalities);
END;

/* Refuses counts that ought to be equal and are not. */
CREATE FUNCTION _usage_monitor._check_sum(sum_name text, sum numeric, parts_name text, parts numeric)
RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF sum <> parts THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM002',
            MESSAGE = format('impossible usage: %s is %s but %s is %s', sum_name, sum, parts_name, parts),
            HINT = 'Parts must add up to their whole; see what changed the response on its way.';
    END IF;
END
$$;

/*
 * Tokens written to a cache, all and those kept for an hour, from the sum and
 * its parts by time to live.  Either may be missing.
 */
CREATE FUNCTION _usage_monitor._cache_writes(
    written bigint, five_minutes bigint, one_hour bigint, OUT writes bigint, OUT writes_1h bigint)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF five_minutes IS NOT NULL OR one_hour IS NOT NULL THEN
        PERFORM _usage_monitor._check_sum('cache_creation_input_tokens', written, 'the sum of its parts by time to live',
                                         coalesce(five_minutes, 0)::numeric + coalesce(one_hour, 0));
    END IF;
    writes := coalesce(written, coalesce(five_minutes, 0) + coalesce(one_hour, 0));
    writes_1h := coalesce(one_hour, 0);
END
$$;

/*
 * The normal form from what the reader of a family found.  What it did not
 * find inside the counts is zero; what must hold of every API's is checked.
 */
CREATE FUNCTION _usage_monitor._complete_usage(
    INOUT reading usage_monitor.normalized_usage, provider text, model text, service_tier text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part   text;
    parts  text[];
    whole  text;
    counts jsonb;
BEGIN
    reading.provider := provider;
    reading.model := model;
    reading.service_tier := service_tier;
    reading.cache_read_input_tokens := coalesce(reading.cache_read_input_tokens, 0);
    reading.cache_creation_input_tokens := coalesce(reading.cache_creation_input_tokens, 0);
    reading.cache_creation_1h_input_tokens := coalesce(reading.cache_creation_1h_input_tokens, 0);
    reading.reasoning_output_tokens := coalesce(reading.reasoning_output_tokens, 0);
    reading.input_audio_tokens := coalesce(reading.input_audio_tokens, 0);
    reading.output_audio_tokens := coalesce(reading.output_audio_tokens, 0);

    counts := jsonb_strip_nulls(to_jsonb(reading)) || coalesce(reading.units, '{}');
    FOR whole, parts IN VALUES
        ('input_tokens', '{cache_read_input_tokens,cache_creation_input_tokens}'::text[]),
        ('input_tokens', '{input_audio_tokens,input_image,input_video}'),
        ('output_tokens', '{reasoning_output_tokens,output_audio_tokens,output_image,output_video}'),
        ('cache_creation_input_tokens', '{cache_creation_1h_input_tokens}'),
        ('cache_read_input_tokens', '{cache_read_audio,cache_read_image,cache_read_video}'),
        ('input_audio_tokens', '{cache_read_audio}'),
        ('input_image', '{cache_read_image}'),
        ('input_video', '{cache_read_video}')
    LOOP
        /* an unknown input or output contains whatever it contains */
        CONTINUE WHEN whole IN ('input_tokens', 'output_tokens') AND NOT counts ? whole;
        SELECT string_agg(format('"%s" (%s)', p.name, counts -> p.name), ' and ') INTO part
        FROM unnest(parts) AS p (name)
        WHERE counts ->> p.name <> '0'
        HAVING sum((counts ->> p.name)::numeric) > coalesce((counts ->> whole)::numeric, 0);
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM002',
                MESSAGE = format('impossible usage: %s exceed "%s" (%s)',
                                 part, whole, coalesce(counts ->> whole, '0')),
                HINT = 'A part cannot be more than its whole; see what changed the response on its way.';
        END IF;
    END LOOP;
END
$$;

/* ---- The response round the usage ---------------------------------------- */

/* Our id of a provider under one of its common names. */
CREATE FUNCTION _usage_monitor._provider_id(name text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE lower(trim(name))
    WHEN '' THEN NULL
    WHEN 'bedrock' THEN 'aws' WHEN 'aws_bedrock' THEN 'aws' WHEN 'aws.bedrock' THEN 'aws'
    WHEN 'amazon-bedrock' THEN 'aws' WHEN 'amazon' THEN 'aws' WHEN 'bedrock_converse' THEN 'aws'
    WHEN 'gemini' THEN 'google' WHEN 'gcp.gemini' THEN 'google' WHEN 'gcp.vertex_ai' THEN 'google'
    WHEN 'gcp.gen_ai' THEN 'google' WHEN 'vertex' THEN 'google' WHEN 'vertex_ai' THEN 'google'
    WHEN 'vertexai' THEN 'google' WHEN 'google-gla' THEN 'google' WHEN 'google-vertex' THEN 'google'
    WHEN 'dashscope' THEN 'alibaba' WHEN 'qwen' THEN 'alibaba' WHEN 'aliyun' THEN 'alibaba'
    WHEN 'bailian' THEN 'alibaba' WHEN 'alibaba-cloud' THEN 'alibaba' WHEN 'alibaba_cloud' THEN 'alibaba'
    WHEN 'xai' THEN 'x-ai' WHEN 'x_ai' THEN 'x-ai' WHEN 'grok' THEN 'x-ai'
    WHEN 'claude' THEN 'anthropic'
    WHEN 'azure_openai' THEN 'azure' WHEN 'azure-openai' THEN 'azure' WHEN 'azure_ai' THEN 'azure'
    WHEN 'az.ai.openai' THEN 'azure' WHEN 'azure.ai.openai' THEN 'azure' WHEN 'azure.ai.inference' THEN 'azure'
    WHEN 'mistral_ai' THEN 'mistral' WHEN 'mistralai' THEN 'mistral'
    WHEN 'moonshot' THEN 'moonshotai' WHEN 'moonshot_ai' THEN 'moonshotai' WHEN 'kimi' THEN 'moonshotai'
    WHEN 'zhipu' THEN 'zhipuai' WHEN 'bigmodel' THEN 'zhipuai' WHEN 'glm' THEN 'zhipuai'
    WHEN 'z-ai' THEN 'zai' WHEN 'z.ai' THEN 'zai'
    ELSE lower(trim(name))
END;

/* The provider that only its own responses give away, or NULL. */
CREATE FUNCTION _usage_monitor._provider_sign(body jsonb, usage jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN body ->> 'id' LIKE 'gen-%' OR usage ?| '{cost_details,is_byok}' THEN 'openrouter'
    WHEN usage ?| '{prompt_cache_hit_tokens,prompt_cache_miss_tokens}' THEN 'deepseek'
    WHEN body ? 'x_groq' OR usage ?& '{queue_time,total_time}' THEN 'groq'
    WHEN usage ?| '{num_sources_used,num_server_side_tools_used,cost_in_usd_ticks}' THEN 'x-ai'
    WHEN body ->> 'system_fingerprint' = 'fp_ollama' THEN 'ollama'
    WHEN body ? 'time_info' THEN 'cerebras'
    WHEN usage ?| '{citation_tokens,num_search_queries,search_context_size}' THEN 'perplexity'
    WHEN usage ?| '{prompt_audio_seconds,pages_processed}' THEN 'mistral'
    WHEN body ? 'prompt_filter_results'
        OR body @? '$.choices[*].content_filter_results' THEN 'azure'
    WHEN usage -> 'prompt_tokens_details' ?| '{cache_creation,cache_type}'
        OR jsonb_typeof(body -> 'output') = 'object' AND body ? 'request_id' THEN 'alibaba'
    WHEN body ? 'billing' OR body ->> 'object' = 'realtime.response' THEN 'openai'
END;

CREATE FUNCTION _usage_monitor._response_model(body jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(trim(coalesce(
    body ->> 'model', body ->> 'modelVersion', body ->> 'model_version', body ->> 'modelId',
    body #>> '{trace,promptRouter,invokedModelId}')), '');

CREATE FUNCTION _usage_monitor._response_id(body jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(coalesce(
    body ->> 'id', body ->> 'responseId', body ->> 'response_id', body ->> 'request_id',
    body ->> 'requestId', body ->> 'RequestId', body #>> '{ResponseMetadata,RequestId}',
    body ->> 'generation_id'), '');

/* What went wrong, if the response says that something did. */
CREATE FUNCTION _usage_monitor._response_error(body jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(CASE
    WHEN jsonb_typeof(body -> 'error') = 'object'
        THEN coalesce(body #>> '{error,message}', body ->> 'error')
    WHEN jsonb_typeof(body -> 'error') = 'string' THEN body ->> 'error'
    WHEN jsonb_typeof(body #> '{choices,0,error}') = 'object'
        THEN coalesce(body #>> '{choices,0,error,message}', body #>> '{choices,0,error}')
    WHEN body ->> 'object' = 'error' OR body ? '__type' THEN coalesce(body ->> 'message', body ->> 'code', body ->> '__type')
    WHEN jsonb_typeof(body -> 'code') = 'string' AND body ->> 'code' <> '' AND body ? 'message'
        THEN format('%s: %s', body ->> 'code', body ->> 'message')
    WHEN body ->> 'status' = 'failed' THEN 'failed'
END, '');

/*
 * The tier that served the call.  What the price book does not know is priced
 * like the standard tier, and called so: default, auto, on_demand, scale, ...
 */
CREATE FUNCTION _usage_monitor._service_tier(body jsonb, usage jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN usage ->> 'speed' = 'fast' THEN 'fast' ELSE
    coalesce(substring(
        lower(coalesce(
            body ->> 'service_tier', usage ->> 'service_tier', body #>> '{serviceTier,type}',
            body ->> 'serviceTier', usage ->> 'serviceTier', usage ->> 'trafficType', usage ->> 'traffic_type'))
        FROM '^(?:on_demand_|service_tier_)?(batch|flex|priority|fast)$'), 'standard')
END;

/* The usage object of a body; the body itself where it is one; or NULL. */
CREATE FUNCTION _usage_monitor._response_usage(body jsonb)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT found.usage
    FROM (VALUES
        (1, body -> 'usage'),
        (2, body -> 'usageMetadata'),
        (3, body -> 'usage_metadata'),
        (4, body -> 'usage_info'),
        (5, body #> '{x_groq,usage}'),
        (6, body #> '{metadata,usage}'),
        (7, CASE WHEN body -> 'meta' ?| '{billed_units,tokens}' THEN body -> 'meta' END),
        (8, body -> 'amazon-bedrock-invocationMetrics'),
        (9, CASE WHEN body ?| '{prompt_tokens,completion_tokens,total_tokens,input_tokens,output_tokens,
                promptTokenCount,candidatesTokenCount,totalTokenCount,thoughtsTokenCount,
                prompt_token_count,candidates_token_count,total_token_count,
                inputTokens,outputTokens,totalTokens,inputTokenCount,outputTokenCount,
                inputTextTokenCount,generation_token_count,
                prompt_eval_count,eval_count,eval_duration,billed_units,pages_processed,
                prompt_audio_seconds,cost_in_usd_ticks}'
                OR body ->> 'type' = 'duration' AND body ? 'seconds'
            THEN body END)
    ) AS found (rank, usage)
    WHERE jsonb_typeof(found.usage) = 'object' AND found.usage <> '{}'
    ORDER BY found.rank
    LIMIT 1;
END;

/*
 * One response out of its envelope: a stream's event (response.completed,
 * message_start, message-end), a line of a batch's results, a gateway's
 * wrapping.
 */
CREATE FUNCTION _usage_monitor._unwrap_response(response jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body  jsonb := response;
    inner_body jsonb;
    batch boolean := false;
BEGIN
    LOOP
        batch := batch OR body ?| '{custom_id,recordId}' OR body ?& '{key,response}';
        EXIT WHEN _usage_monitor._response_usage(body) IS NOT NULL;
        SELECT envelope.content INTO inner_body
        FROM (VALUES
            (1, body -> 'response', true),
            (2, body -> 'body', true),
            (3, body -> 'result', true),
            (4, body -> 'modelOutput', true),
            (5, body -> 'message', false),
            (6, body -> 'delta', false),
            (7, body -> 'data', body ? 'event')
        ) AS envelope (rank, content, always)
        WHERE jsonb_typeof(envelope.content) = 'object'
          AND (envelope.always OR _usage_monitor._response_usage(envelope.content) IS NOT NULL)
        ORDER BY envelope.rank
        LIMIT 1;
        EXIT WHEN NOT FOUND;
        body := inner_body;
    END LOOP;
    RETURN CASE WHEN batch THEN body || '{"service_tier": "batch"}' ELSE body END;
END
$$;

/*
 * The message_delta of an Anthropic stream has cumulative counts; those that it
 * leaves out stand in message_start.  A breakdown of cache writes that the
 * later sum has outgrown is dropped.
 */
CREATE FUNCTION _usage_monitor._merge_anthropic(started jsonb, delta jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said jsonb := jsonb_strip_nulls(delta);
BEGIN
    IF jsonb_typeof(started) IS DISTINCT FROM 'object' THEN
        RETURN said;
    END IF;
    IF said -> 'cache_creation_input_tokens' <> started -> 'cache_creation_input_tokens' THEN
        started := started - 'cache_creation';
    END IF;
    RETURN started || said;
END
$$;

/*
 * The body of a response.  An array is the chunks or events of one stream:
 * each field's last word wins, for usage that a stream repeats is cumulative.
 */
CREATE FUNCTION _usage_monitor._response_body(response jsonb)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    event     jsonb;
    chunk     jsonb;
    merged    jsonb := '{}';
    stream_id text;
BEGIN
    IF jsonb_typeof(response) = 'object' THEN
        RETURN _usage_monitor._unwrap_response(response);
    END IF;
    IF jsonb_typeof(response) = 'array' THEN
        FOR event IN SELECT e FROM jsonb_array_elements(response) AS e WHERE jsonb_typeof(e) = 'object' LOOP
            chunk := _usage_monitor._unwrap_response(event);
            IF _usage_monitor._response_usage(chunk) IS NOT NULL THEN
                IF stream_id <> _usage_monitor._response_id(chunk) THEN
                    RAISE EXCEPTION USING
                        ERRCODE = 'UM010',
                        MESSAGE = format('array of several responses: "%s" and "%s"',
                                         stream_id, _usage_monitor._response_id(chunk)),
                        HINT = 'An array is read as the chunks of one stream; pass one response at a time.';
                END IF;
                stream_id := coalesce(_usage_monitor._response_id(chunk), stream_id);
            END IF;
            IF chunk ->> 'type' = 'message_delta' AND jsonb_typeof(chunk -> 'usage') = 'object' THEN
                chunk := chunk || jsonb_build_object('usage',
                    _usage_monitor._merge_anthropic(merged -> 'usage', chunk -> 'usage'));
            END IF;
            merged := merged || (
                SELECT coalesce(jsonb_object_agg(field.key, field.value), '{}')
                FROM jsonb_each(chunk) AS field
                WHERE field.value NOT IN ('null', '{}') OR NOT merged ? field.key);
        END LOOP;
        IF merged <> '{}' THEN
            RETURN merged;
        END IF;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'UM010',
        MESSAGE = format('unknown shape of response: %s',
                         CASE WHEN response IS NULL THEN 'NULL'
                              WHEN jsonb_typeof(response) = 'array' THEN 'an array without objects'
                              ELSE 'a JSON ' || jsonb_typeof(response) END),
        HINT = 'Pass the body of the response, its usage object, or the array of a stream''s chunks, as jsonb.';
END
$$;

/* ---- One reader for each family of APIs ---------------------------------- */

/*
 * OpenAI and whoever speaks its language: chat completions, responses,
 * embeddings, images, audio, realtime; DashScope in both modes.
 */
CREATE FUNCTION _usage_monitor._usage_openai(body jsonb, usage jsonb, provider text)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading   usage_monitor.normalized_usage;
    total     bigint := nullif(_usage_monitor._count(usage, 'total_tokens'), 0);
    reasoning bigint := coalesce(_usage_monitor._count(usage, 'completion_tokens_details.reasoning_tokens',
        'output_tokens_details.reasoning_tokens', 'output_token_details.reasoning_tokens',
        'output_tokens_details.thinking_tokens', 'reasoning_tokens'), 0);
    seconds   numeric := _usage_monitor._quantity(usage, false, 'prompt_audio_seconds', 'seconds',
        'billable_audio_seconds', 'duration');
    images    jsonb := jsonb_path_query_array(body, '$.data[*] ? (exists (@.b64_json) || exists (@.url))');
    missed    bigint := _usage_monitor._count(usage, 'prompt_cache_miss_tokens');
    rest      numeric;
BEGIN
    reading.input_tokens := _usage_monitor._count(usage, 'prompt_tokens', 'input_tokens');
    reading.output_tokens := _usage_monitor._count(usage, 'completion_tokens', 'output_tokens');
    reading.input_audio_tokens := coalesce(_usage_monitor._count(usage, 'prompt_tokens_details.audio_tokens',
        'input_tokens_details.audio_tokens', 'input_token_details.audio_tokens'), 0);
    reading.output_audio_tokens := coalesce(_usage_monitor._count(usage, 'completion_tokens_details.audio_tokens',
        'output_tokens_details.audio_tokens', 'output_token_details.audio_tokens'), 0);

    /* one side alone: the total has the other, and embeddings have no output */
    IF total IS NOT NULL AND reading.input_tokens IS NULL AND reading.output_tokens IS NULL THEN
        reading.input_tokens := total;
    END IF;
    IF NOT usage ?| '{prompt_tokens,completion_tokens,input_tokens,output_tokens,total_tokens}' THEN
        reading.input_tokens := 0;
        reading.output_tokens := 0;
    ELSIF reading.output_tokens IS NULL THEN
        reading.output_tokens := CASE WHEN total IS NOT NULL THEN greatest(total - reading.input_tokens, 0)
                                      WHEN body ?| '{data,embeddings,results}' THEN 0 END;
    ELSIF reading.input_tokens IS NULL THEN
        reading.input_tokens := CASE WHEN total IS NOT NULL THEN greatest(total - reading.output_tokens, 0) END;
    END IF;

    /* what the total has beyond the two sides */
    rest := total - (reading.input_tokens::numeric + reading.output_tokens);
    IF rest < 0 THEN
        PERFORM _usage_monitor._check_sum('"total_tokens"', total, 'the sum of input and output tokens',
                                         reading.input_tokens::numeric + reading.output_tokens);
    ELSIF rest > 0 AND usage ? 'prompt_audio_seconds' AND seconds > 0 THEN
        /* Mistral counts the text of the prompt only */
        reading.input_tokens := reading.input_tokens + rest;
        reading.input_audio_tokens := rest;
    ELSIF rest > 0 THEN
        /* xAI's reasoning, and Gemini's, which does not even say so */
        IF reasoning NOT IN (0, rest) THEN
            PERFORM _usage_monitor._check_sum('"total_tokens"', total, 'the sum of input, output and reasoning tokens',
                                             reading.input_tokens::numeric + reading.output_tokens + reasoning);
        END IF;
        reading.output_tokens := reading.output_tokens + rest;
        reasoning := rest;
    ELSIF rest IS NULL AND provider = 'x-ai' AND usage ? 'prompt_tokens' THEN
        reading.output_tokens := reading.output_tokens + reasoning;
    END IF;
    IF provider = 'perplexity' THEN
        /* both are billed beside the completion, and left out of the total */
        reading.output_tokens := reading.output_tokens + coalesce(_usage_monitor._count(usage, 'citation_tokens'), 0)
            + coalesce(_usage_monitor._count(usage, 'reasoning_tokens'), 0);
    END IF;
    reading.reasoning_output_tokens := reasoning;

    reading.cache_read_input_tokens := coalesce(_usage_monitor._count(usage, 'prompt_tokens_details.cached_tokens',
        'input_tokens_details.cached_tokens', 'input_token_details.cached_tokens', 'prompt_cache_hit_tokens',
        'cached_tokens', 'cached_prompt_text_tokens', 'cache_read_input_tokens'), 0);
    IF missed IS NOT NULL AND usage ? 'prompt_cache_hit_tokens' THEN
        PERFORM _usage_monitor._check_sum('the sum of "prompt_cache_hit_tokens" and "prompt_cache_miss_tokens"',
            reading.cache_read_input_tokens::numeric + missed, '"prompt_tokens"', reading.input_tokens);
    END IF;
    SELECT writes, writes_1h
    INTO reading.cache_creation_input_tokens, reading.cache_creation_1h_input_tokens
    FROM _usage_monitor._cache_writes(
        _usage_monitor._count(usage, 'prompt_tokens_details.cache_write_tokens',
            'input_tokens_details.cache_write_tokens', 'input_token_details.cache_write_tokens',
            'prompt_tokens_details.cache_creation_input_tokens', 'prompt_tokens_details.cache_creation_tokens',
            'input_tokens_details.cache_creation_input_tokens', 'cache_creation_input_tokens'),
        _usage_monitor._count(usage, 'prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens',
            'input_tokens_details.cache_creation.ephemeral_5m_input_tokens'),
        _usage_monitor._count(usage, 'prompt_tokens_details.cache_creation.ephemeral_1h_input_tokens',
            'input_tokens_details.cache_creation.ephemeral_1h_input_tokens'));

    reading.units := _usage_monitor._units(jsonb_build_object(
        'input_image', _usage_monitor._count(usage, 'prompt_tokens_details.image_tokens',
            'input_tokens_details.image_tokens', 'input_token_details.image_tokens', 'image_tokens'),
        'input_video', _usage_monitor._count(usage, 'prompt_tokens_details.video_tokens',
            'input_tokens_details.video_tokens', 'video_tokens'),
        /* older bodies of image models do not say that all of the output is image */
        'output_image', coalesce(_usage_monitor._count(usage, 'completion_tokens_details.image_tokens',
                'output_tokens_details.image_tokens', 'output_token_details.image_tokens'),
            CASE WHEN images <> '[]' AND jsonb_typeof(usage -> 'output_tokens_details') IS DISTINCT FROM 'object'
                THEN reading.output_tokens END),
        'output_video', _usage_monitor._count(usage, 'completion_tokens_details.video_tokens',
            'output_tokens_details.video_tokens'),
        'cache_read_audio', _usage_monitor._count(usage, 'input_token_details.cached_tokens_details.audio_tokens',
            'input_tokens_details.cached_tokens_details.audio_tokens',
            'prompt_tokens_details.cached_tokens_details.audio_tokens'),
        'cache_read_image', _usage_monitor._count(usage, 'input_token_details.cached_tokens_details.image_tokens',
            'input_tokens_details.cached_tokens_details.image_tokens',
            'prompt_tokens_details.cached_tokens_details.image_tokens'),
        /* pages of one search that are opened are not searches */
        'web_search', coalesce(
            nullif(_usage_monitor._count(usage, 'server_tool_use.web_search_requests', 'num_search_queries',
                'plugins.search.count', 'num_sources_used'), 0),
            nullif(_usage_monitor._count(body, 'tool_usage.web_search.num_requests'), 0),
            nullif(coalesce(_usage_monitor._count(usage, 'server_side_tool_usage_details.web_search_calls'), 0)
                + coalesce(_usage_monitor._count(usage, 'server_side_tool_usage_details.x_search_calls'), 0), 0),
            jsonb_array_length(jsonb_path_query_array(body, '$.output[*] ? (@.type == "web_search_call"
                && !(@.action.type == "open_page" || @.action.type == "find_in_page"))'))),
        /* images that are not counted in tokens are counted one by one */
        'image', CASE WHEN reading.input_tokens = 0 AND reading.output_tokens = 0
            THEN coalesce(_usage_monitor._count(usage, 'image_count'), jsonb_array_length(images)) END,
        'second', seconds,
        'page', _usage_monitor._count(usage, 'pages_processed'),
        'character', _usage_monitor._count(usage, 'characters')));

    reading.reported_cost := CASE jsonb_typeof(usage -> 'cost')
        WHEN 'object' THEN _usage_monitor._quantity(usage, false, 'cost.total_cost')
        ELSE coalesce(_usage_monitor._quantity(usage, false, 'cost'),
                      _usage_monitor._quantity(usage, false, 'cost_in_usd_ticks') * 0.0000000001) END;
    RETURN reading;
END
$$;

/*
 * Anthropic's messages, wherever they are served, or one step of them.  Cache
 * counts stand beside the input.
 */
CREATE FUNCTION _usage_monitor._usage_anthropic(usage jsonb)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading usage_monitor.normalized_usage;
    total   bigint := nullif(_usage_monitor._count(usage, 'total_tokens'), 0);
    plain   bigint := _usage_monitor._count(usage, 'input_tokens');
BEGIN
    SELECT writes, writes_1h
    INTO reading.cache_creation_input_tokens, reading.cache_creation_1h_input_tokens
    FROM _usage_monitor._cache_writes(
        _usage_monitor._count(usage, 'cache_creation_input_tokens'),
        _usage_monitor._count(usage, 'cache_creation.ephemeral_5m_input_tokens'),
        _usage_monitor._count(usage, 'cache_creation.ephemeral_1h_input_tokens'));
    reading.cache_read_input_tokens := coalesce(_usage_monitor._count(usage, 'cache_read_input_tokens'), 0);
    reading.input_tokens := plain + reading.cache_creation_input_tokens + reading.cache_read_input_tokens;
    reading.output_tokens := _usage_monitor._count(usage, 'output_tokens');
    reading.reasoning_output_tokens := _usage_monitor._count(usage, 'output_tokens_details.thinking_tokens');
    reading.units := _usage_monitor._units(jsonb_build_object(
        'web_search', _usage_monitor._count(usage, 'server_tool_use.web_search_requests')));
    IF total <> plain::numeric + reading.output_tokens THEN
        /* Anthropic gives no total; gateways add one, with the cached tokens or without */
        PERFORM _usage_monitor._check_sum('"total_tokens"', total, 'the sum of input and output tokens',
                                         reading.input_tokens::numeric + reading.output_tokens);
    END IF;
    RETURN reading;
END
$$;

/* Gemini: thoughts come on top of the candidates, tool use on top of the prompt. */
CREATE FUNCTION _usage_monitor._usage_google(usage jsonb)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading    usage_monitor.normalized_usage;
    prompt     bigint := _usage_monitor._count(usage, 'promptTokenCount', 'prompt_token_count');
    candidates bigint := _usage_monitor._count(usage, 'candidatesTokenCount', 'candidates_token_count',
        'responseTokenCount', 'response_token_count');
    thoughts   bigint := _usage_monitor._count(usage, 'thoughtsTokenCount', 'thoughts_token_count');
    tool_use   bigint := _usage_monitor._count(usage, 'toolUsePromptTokenCount', 'tool_use_prompt_token_count');
    total      bigint := nullif(_usage_monitor._count(usage, 'totalTokenCount', 'total_token_count'), 0);
    rest       numeric;
    cache_lists  text[] := '{cacheTokensDetails,cache_tokens_details}';
    /* without a list of the prompt's modalities, the cache's are those that are known */
    input_lists  text[] := CASE WHEN usage ?| '{promptTokensDetails,prompt_tokens_details}'
        THEN '{promptTokensDetails,prompt_tokens_details}' ELSE cache_lists END
        || '{toolUsePromptTokensDetails,tool_use_prompt_tokens_details}'::text[];
    output_lists text[] := '{candidatesTokensDetails,candidates_tokens_details,
        responseTokensDetails,response_tokens_details}';
BEGIN
    /* a field that is zero is left out, but one that is all there is tells nothing of the others */
    IF coalesce(prompt, candidates, thoughts, tool_use, total) IS NOT NULL THEN
        reading.input_tokens := coalesce(prompt, 0) + coalesce(tool_use, 0);
        reading.output_tokens := coalesce(candidates, 0) + coalesce(thoughts, 0);
        rest := total - (reading.input_tokens::numeric + reading.output_tokens);
        IF rest > 0 AND prompt IS NULL THEN
            reading.input_tokens := reading.input_tokens + rest;
        ELSIF rest > 0 AND coalesce(thoughts, 0) = 0 THEN
            /* thoughts that older versions do not report */
            reading.output_tokens := reading.output_tokens + rest;
            thoughts := rest;
        ELSIF rest <> 0 THEN
            PERFORM _usage_monitor._check_sum('"totalTokenCount"', total, 'the sum of its parts',
                                             reading.input_tokens::numeric + reading.output_tokens);
        END IF;
    END IF;
    reading.cache_read_input_tokens :=
        _usage_monitor._count(usage, 'cachedContentTokenCount', 'cached_content_token_count');
    reading.reasoning_output_tokens := thoughts;
    reading.input_audio_tokens := _usage_monitor._modality(usage, '{AUDIO,4}', VARIADIC input_lists);
    reading.output_audio_tokens := _usage_monitor._modality(usage, '{AUDIO,4}', VARIADIC output_lists);
    /* pages of a document are billed as images */
    reading.units := _usage_monitor._units(jsonb_build_object(
        'input_image', _usage_monitor._modality(usage, '{IMAGE,DOCUMENT,2,5}', VARIADIC input_lists),
        'input_video', _usage_monitor._modality(usage, '{VIDEO,3}', VARIADIC input_lists),
        'output_image', _usage_monitor._modality(usage, '{IMAGE,DOCUMENT,2,5}', VARIADIC output_lists),
        'output_video', _usage_monitor._modality(usage, '{VIDEO,3}', VARIADIC output_lists),
        'cache_read_audio', _usage_monitor._modality(usage, '{AUDIO,4}', VARIADIC cache_lists),
        'cache_read_image', _usage_monitor._modality(usage, '{IMAGE,DOCUMENT,2,5}', VARIADIC cache_lists),
        'cache_read_video', _usage_monitor._modality(usage, '{VIDEO,3}', VARIADIC cache_lists)));
    reading.provider := 'google';
    RETURN reading;
END
$$;

/*
 * Bedrock: Converse, the metrics of its streams, and the bodies of Amazon's and
 * Meta's own models.  Cache counts stand beside the input.
 */
CREATE FUNCTION _usage_monitor._usage_bedrock(usage jsonb)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading usage_monitor.normalized_usage;
    total   bigint := nullif(_usage_monitor._count(usage, 'totalTokens'), 0);
    plain   bigint := _usage_monitor._count(usage, 'inputTokens', 'inputTokenCount', 'inputTextTokenCount',
        'prompt_token_count');
    five_minutes bigint;
    one_hour     bigint;
BEGIN
    SELECT sum(_usage_monitor._count(detail, 'inputTokens')) FILTER (WHERE detail ->> 'ttl' IS DISTINCT FROM '1h'),
           sum(_usage_monitor._count(detail, 'inputTokens')) FILTER (WHERE detail ->> 'ttl' = '1h')
    INTO five_minutes, one_hour
    FROM jsonb_path_query(usage, 'lax $.cacheDetails[*] ? (exists (@.inputTokens))') AS detail;
    SELECT writes, writes_1h
    INTO reading.cache_creation_input_tokens, reading.cache_creation_1h_input_tokens
    FROM _usage_monitor._cache_writes(
        _usage_monitor._count(usage, 'cacheWriteInputTokens', 'cacheWriteInputTokenCount'), five_minutes, one_hour);
    reading.cache_read_input_tokens :=
        coalesce(_usage_monitor._count(usage, 'cacheReadInputTokens', 'cacheReadInputTokenCount'), 0);
    reading.input_tokens := plain + reading.cache_creation_input_tokens + reading.cache_read_input_tokens;
    reading.output_tokens := coalesce(
        _usage_monitor._count(usage, 'outputTokens', 'outputTokenCount', 'generation_token_count'),
        (SELECT sum(_usage_monitor._count(result, 'tokenCount'))
         FROM jsonb_path_query(usage, 'lax $.results[*]') AS result),
        CASE WHEN usage ? 'embedding' THEN 0 END);
    IF total <> plain::numeric + reading.output_tokens THEN
        /* some models' totals leave the cached tokens out */
        PERFORM _usage_monitor._check_sum('"totalTokens"', total, 'the sum of its parts',
                                         reading.input_tokens::numeric + reading.output_tokens);
    END IF;
    reading.provider := 'aws';
    RETURN reading;
END
$$;

/* Cohere: billed_units is what is billed; the tokens beside it are not. */
CREATE FUNCTION _usage_monitor._usage_cohere(usage jsonb)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading usage_monitor.normalized_usage;
    billed  jsonb := CASE WHEN jsonb_typeof(usage -> 'billed_units') = 'object'
                          THEN usage -> 'billed_units' ELSE usage -> 'tokens' END;
    image   bigint := coalesce(_usage_monitor._count(billed, 'image_tokens'), 0);
BEGIN
    reading.input_tokens := coalesce(_usage_monitor._count(billed, 'input_tokens'), 0) + image;
    reading.output_tokens := coalesce(_usage_monitor._count(billed, 'output_tokens'), 0);
    /* a search of rerank is what a request costs */
    reading.units := _usage_monitor._units(jsonb_build_object(
        'input_image', image,
        'request', _usage_monitor._count(billed, 'search_units'),
        'image', CASE WHEN image = 0 THEN _usage_monitor._count(billed, 'images') END));
    reading.provider := 'cohere';
    RETURN reading;
END
$$;

/* Ollama: a prompt that was in its cache has no count, which is not zero. */
CREATE FUNCTION _usage_monitor._usage_ollama(body jsonb, usage jsonb)
RETURNS usage_monitor.normalized_usage
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reading usage_monitor.normalized_usage;
BEGIN
    reading.input_tokens := _usage_monitor._count(usage, 'prompt_eval_count');
    reading.output_tokens := coalesce(_usage_monitor._count(usage, 'eval_count'),
        CASE WHEN body ?| '{embeddings,embedding}' THEN 0 END);
    reading.provider := 'ollama';
    RETURN reading;
END
$$;

/* ---- The dispatcher ------------------------------------------------------ */

/* Which family's reader a usage object is for; NULL: none. */
CREATE FUNCTION _usage_monitor._usage_family(body jsonb, usage jsonb, provider text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN usage ?| '{inputTokens,outputTokens,totalTokens,inputTokenCount,outputTokenCount,
                    inputTextTokenCount,generation_token_count}' THEN 'bedrock'
    WHEN usage ?| '{promptTokenCount,candidatesTokenCount,responseTokenCount,thoughtsTokenCount,
                    toolUsePromptTokenCount,cachedContentTokenCount,totalTokenCount,trafficType,
                    prompt_token_count,candidates_token_count,response_token_count,thoughts_token_count,
                    total_token_count,traffic_type}' THEN 'google'
    WHEN jsonb_typeof(usage -> 'billed_units') = 'object'
        OR jsonb_typeof(usage -> 'tokens') = 'object' THEN 'cohere'
    WHEN usage ?| '{prompt_eval_count,eval_count,eval_duration}' THEN 'ollama'
    WHEN usage ?| '{prompt_tokens,completion_tokens}' THEN 'openai'
    WHEN usage ?| '{input_tokens,output_tokens}'
        AND NOT usage ?| '{input_tokens_details,input_token_details,prompt_tokens_details}'
        AND (usage ?| '{cache_creation_input_tokens,cache_read_input_tokens,cache_creation,server_tool_use,
                        iterations,service_tier}'
             OR body ->> 'type' LIKE 'message%'
             OR provider IN ('anthropic', 'aws')) THEN 'anthropic'
    WHEN usage ?| '{input_tokens,output_tokens,total_tokens,seconds,duration,characters,image_count,
                    pages_processed,prompt_audio_seconds,cost_in_usd_ticks}' THEN 'openai'
END;

/*
 * What a response says was used: the first row for the call itself, further
 * ones for steps of it that another model made and bills.  The caller knows
 * whom he called: a provider that he names is not second-guessed.
 */
CREATE FUNCTION _usage_monitor._usage_parts(
    response jsonb, provider text, OUT reading usage_monitor.normalized_usage, OUT provider_usage jsonb)
RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body   jsonb := _usage_monitor._response_body(response);
    usage  jsonb := _usage_monitor._response_usage(body);
    biller text := coalesce(_usage_monitor._provider_id(provider), _usage_monitor._provider_sign(body, usage));
    model  text := _usage_monitor._response_model(body);
    tier   text := _usage_monitor._service_tier(body, usage);
    family text := _usage_monitor._usage_family(body, usage, biller);
    step   jsonb;
    extra  usage_monitor.normalized_usage;
    extras usage_monitor.normalized_usage[] := '{}';
    extra_steps jsonb[] := '{}';
BEGIN
    provider_usage := usage;
    CASE family
        WHEN 'openai' THEN
            reading := _usage_monitor._usage_openai(body, usage, biller);
        WHEN 'anthropic' THEN
            reading := _usage_monitor._usage_anthropic(usage);
            reading.provider := CASE
                WHEN body ->> 'id' LIKE 'msg_bdrk_%' OR body ? 'amazon-bedrock-invocationMetrics' THEN 'aws'
                WHEN body ->> 'id' LIKE 'msg_vrtx_%' THEN 'google'
                WHEN model IS NULL OR model ~* 'claude' THEN 'anthropic' END;
        WHEN 'google' THEN
            reading := _usage_monitor._usage_google(usage);
        WHEN 'bedrock' THEN
            reading := _usage_monitor._usage_bedrock(usage);
        WHEN 'cohere' THEN
            reading := _usage_monitor._usage_cohere(usage);
        WHEN 'ollama' THEN
            reading := _usage_monitor._usage_ollama(body, usage);
        ELSE
            IF usage IS NULL AND body @? '$.data[*] ? (exists (@.b64_json) || exists (@.url))' THEN
                reading := _usage_monitor._usage_openai(body, '{}', biller);
            ELSIF usage IS NULL AND _usage_monitor._response_error(body) IS NOT NULL THEN
                /* a call that failed used nothing, unless it says so */
                reading := _usage_monitor._usage_openai('{}', '{}', biller);
            ELSIF usage IS NULL AND body ?| '{usage,usageMetadata,usage_metadata}' THEN
                /* it was not told what was used, which is not nothing */
                reading := _usage_monitor._usage_openai('{}', '{}', biller);
                reading.input_tokens := NULL;
                reading.output_tokens := NULL;
            ELSE
                RAISE EXCEPTION USING
                    ERRCODE = 'UM010',
                    MESSAGE = format('unknown shape of %s with the keys %s',
                        CASE WHEN usage IS NULL THEN 'response' ELSE 'usage object' END,
                        coalesce((SELECT string_agg(format('"%s"', left(key, 40)), ', ')
                                  FROM (SELECT key FROM jsonb_object_keys(coalesce(usage, body)) AS key LIMIT 20) AS seen),
                                 '(none)')),
                    HINT = 'Pass a response of one of the APIs in the documentation, or INSERT the counts.';
            END IF;
    END CASE;
    biller := coalesce(biller, reading.provider);
    reading := _usage_monitor._complete_usage(reading, biller, model, tier);

    /*
     * The top level of an Anthropic message sums its message steps only.  What
     * else it took (compaction, an advisor) is billed as well: steps of the
     * same model belong to the call, those of another are rows of their own.
     */
    FOR step IN
        SELECT jsonb_path_query(usage, 'lax $.iterations[*]
            ? (@.type != "message" && @.type != "fallback_message")')
        WHERE family = 'anthropic'
    LOOP
        extra := _usage_monitor._complete_usage(_usage_monitor._usage_anthropic(step),
                                               biller, coalesce(step ->> 'model', model), tier);
        IF extra.model IS DISTINCT FROM model THEN
            extras := extras || extra;
            extra_steps := extra_steps || step;
            CONTINUE;
        END IF;
        reading.input_tokens := reading.input_tokens + extra.input_tokens;
        reading.output_tokens := reading.output_tokens + extra.output_tokens;
        reading.cache_read_input_tokens := reading.cache_read_input_tokens + extra.cache_read_input_tokens;
        reading.cache_creation_input_tokens :=
            reading.cache_creation_input_tokens + extra.cache_creation_input_tokens;
        reading.cache_creation_1h_input_tokens :=
            reading.cache_creation_1h_input_tokens + extra.cache_creation_1h_input_tokens;
        reading.reasoning_output_tokens := reading.reasoning_output_tokens + extra.reasoning_output_tokens;
    END LOOP;

    RETURN NEXT;
    FOR i IN 1 .. cardinality(extras) LOOP
        reading := extras[i];
        provider_usage := extra_steps[i];
        RETURN NEXT;
    END LOOP;
END
$$;

/*
 * SECURITY DEFINER, so that EXECUTE on this function is enough and the private
 * ones stay closed; it reads its arguments and nothing else.
 */
CREATE FUNCTION usage_monitor.normalize_usage(response jsonb, provider text DEFAULT NULL)
RETURNS usage_monitor.normalized_usage
LANGUAGE sql IMMUTABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (part.reading).* FROM _usage_monitor._usage_parts(response, provider) AS part LIMIT 1;
$$;

COMMENT ON FUNCTION usage_monitor.normalize_usage(jsonb, text) IS
    'Reads what a provider''s response (its body, its usage object, or the array of a stream''s chunks) says was used, and records nothing. Steps that another model made are left out; record() makes rows of their own of them.';
