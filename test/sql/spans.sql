-- Calls that OpenTelemetry tells of: one row a call, whichever convention,
-- export or library tells of it, and however often.
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, hint);
END
$$;

-- what became of it, and the counts that are in the ledger
CREATE FUNCTION pg_temp.told(export jsonb, org text DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    u usage_monitor.usage;
BEGIN
    FOR r IN SELECT * FROM usage_monitor.record_span(export, org => told.org) LOOP
        SELECT * INTO u FROM usage_monitor.usage x WHERE x.usage_id = r.usage_id;
        RETURN NEXT concat_ws(' ', r.outcome, r.request_id, u.provider, u.model,
            CASE WHEN r.usage_id IS NOT NULL THEN format('in=%s out=%s', u.input_tokens, u.output_tokens) END,
            'read=' || nullif(u.cache_read_input_tokens, 0), 'write=' || nullif(u.cache_creation_input_tokens, 0),
            'reasoning=' || nullif(u.reasoning_output_tokens, 0), 'audio=' || nullif(u.input_audio_tokens, 0), u.units::text,
            nullif(u.service_tier, 'standard'), 'cost=' || trim_scale(u.cost), u.unpriced_reason, u.error, r.error_code, r.error);
    END LOOP;
END
$$;
-- a span of one trace, with these attributes
CREATE FUNCTION pg_temp.span(id text, parent text, second integer, attributes jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('traceId', 'trace', 'spanId', id, 'parentSpanId', parent, 'name', 'a span',
                              'startTimeUnixNano', (1793620800 + second)::text || '000000000',
                              'endTimeUnixNano', (1793620800 + second + 30)::text || '000000000', 'attributes', attributes)
$$;

-- What an exporter sends of one call of Vercel's AI SDK, which makes two spans of it; and sends again
\set export '{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}, "scopeSpans": [{"scope": {"name": "ai"}, "spans": [{"traceId": "3935a2a3032eac73be83b509c2944afe", "spanId": "6b6f817a03c72e4d", "parentSpanId": "028d7e19a2df41d5", "name": "ai.generateText.doGenerate", "kind": 1, "startTimeUnixNano": "1795900321192000000", "endTimeUnixNano": "1795900321213063278", "attributes": [{"key": "ai.operationId", "value": {"stringValue": "ai.generateText.doGenerate"}}, {"key": "ai.telemetry.functionId", "value": {"stringValue": "summarise"}}, {"key": "ai.model.provider", "value": {"stringValue": "openai.chat"}}, {"key": "ai.settings.maxOutputTokens", "value": {"intValue": 500}}, {"key": "ai.telemetry.metadata.userId", "value": {"stringValue": "alice"}}, {"key": "gen_ai.system", "value": {"stringValue": "openai.chat"}}, {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}}, {"key": "ai.response.id", "value": {"stringValue": "resp-1"}}, {"key": "ai.response.model", "value": {"stringValue": "gpt-4o-2024-08-06"}}, {"key": "ai.response.avgOutputTokensPerSecond", "value": {"doubleValue": 41.5}}, {"key": "ai.usage.inputTokens", "value": {"intValue": "2006"}}, {"key": "ai.usage.inputTokenDetails.noCacheTokens", "value": {"intValue": 86}}, {"key": "ai.usage.inputTokenDetails.cacheReadTokens", "value": {"intValue": 1920}}, {"key": "ai.usage.inputTokenDetails.cacheWriteTokens", "value": {"intValue": 0}}, {"key": "ai.usage.outputTokens", "value": {"intValue": 300}}, {"key": "ai.usage.outputTokenDetails.textTokens", "value": {"intValue": 300}}, {"key": "ai.usage.outputTokenDetails.reasoningTokens", "value": {"intValue": 0}}, {"key": "ai.usage.totalTokens", "value": {"intValue": 2306}}, {"key": "ai.usage.cachedInputTokens", "value": {"intValue": 1920}}, {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": "stop"}]}}}, {"key": "gen_ai.response.id", "value": {"stringValue": "resp-1"}}, {"key": "gen_ai.response.model", "value": {"stringValue": "gpt-4o-2024-08-06"}}, {"key": "gen_ai.usage.input_tokens", "value": {"intValue": 2006}}, {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 300}}], "status": {"code": 0}}, {"traceId": "3935a2a3032eac73be83b509c2944afe", "spanId": "028d7e19a2df41d5", "name": "ai.generateText", "startTimeUnixNano": "1795900321168000000", "endTimeUnixNano": "1795900321214891641", "attributes": [{"key": "ai.operationId", "value": {"stringValue": "ai.generateText"}}, {"key": "ai.model.provider", "value": {"stringValue": "openai.chat"}}, {"key": "ai.model.id", "value": {"stringValue": "gpt-4o"}}, {"key": "ai.usage.inputTokens", "value": {"intValue": 2006}}, {"key": "ai.usage.outputTokens", "value": {"intValue": 300}}], "status": {"code": 0}}, {"traceId": "3935a2a3032eac73be83b509c2944afe", "spanId": "028d7e19a2df41d6", "name": "GET /", "startTimeUnixNano": "1795900321168000000", "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}]}]}]}]}'
SELECT * FROM pg_temp.told(:'export');
SELECT * FROM pg_temp.told(:'export');
SELECT ts, duration_ms, user_id, source, operation, success FROM usage_monitor.usage;
SELECT count(*) FROM usage_monitor.usage;

-- The conventions: of this year, with everything
SELECT pg_temp.told(pg_temp.span('c1', '', 1, '{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "aws.bedrock", "gen_ai.request.model": "claude", "gen_ai.request.max_tokens": 4096,
    "gen_ai.response.model": "anthropic.claude-sonnet-4-5-20250929-v1:0", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 200, "gen_ai.usage.cache_read.input_tokens": 8000,
    "gen_ai.usage.cache_write.input_tokens": 500, "gen_ai.usage.reasoning.output_tokens": 50, "gen_ai.usage.cost.amount": 5, "gen_ai.usage.cost.currency": "USD"}'));
SELECT pg_temp.told(pg_temp.span('c2', '', 2, '{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-4o-audio-preview",
    "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 200, "gen_ai.usage.text.input_tokens": 900, "gen_ai.usage.audio.input_tokens": 100, "gen_ai.usage.text.output_tokens": 200}'));
-- of last year; as other libraries have it, who all count inclusively
SELECT pg_temp.told(pg_temp.span('c3', '', 3, '{"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.cache_read.input_tokens": 8000, "gen_ai.usage.cache_creation.input_tokens": 500}'));
SELECT pg_temp.told(pg_temp.span('c4', '', 4, '{"gen_ai.system": "Anthropic", "llm.request.type": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.prompt_tokens": 9000,
    "gen_ai.usage.completion_tokens": 200, "llm.usage.total_tokens": 9200, "gen_ai.usage.cache_read_input_tokens": 8000, "gen_ai.usage.cache_creation_input_tokens": 500, "llm.headers": "None"}'));
SELECT pg_temp.told(pg_temp.span('c5', '', 5, '{"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.total_tokens": 9200, "gen_ai.usage.cache_read_input_tokens": 8000, "gen_ai.usage.cache_creation_input_tokens": 500}'));
SELECT pg_temp.told(pg_temp.span('c6', '', 6, '{"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 9000,
    "gen_ai.usage.output_tokens": 200, "gen_ai.usage.details.input_tokens": 500, "gen_ai.usage.details.output_tokens": 200, "gen_ai.usage.details.cache_read_tokens": 8000,
    "gen_ai.usage.details.cache_write_tokens": 500, "gen_ai.usage.details.cache_read_input_tokens": 8000, "gen_ai.usage.details.cache_creation_input_tokens": 500, "operation.cost": 0.4}'));
SELECT pg_temp.told(pg_temp.span('c7', '', 7, '{"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.input_tokens.cached": 8000,
    "gen_ai.usage.output_tokens": 500, "gen_ai.usage.output_tokens.reasoning": 100, "gen_ai.usage.total_tokens": 9500}'));
SELECT pg_temp.told(pg_temp.span('c8', '', 8, '{"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.response.prompt_tokens": 1000, "gen_ai.response.completion_tokens": 500}'));
SELECT pg_temp.told(pg_temp.span('c9', '', 9, '{"llm.vendor": "openai", "llm.request.model": "gpt-4o", "llm.usage.prompt_tokens": 1000, "llm.usage.completion_tokens": 500, "llm.usage.total_tokens": 1500}'));
SELECT pg_temp.told(pg_temp.span('c10', '', 10, '{"gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "openai", "gen_ai.request.model": "text-embedding-3-small", "gen_ai.usage.input_tokens": 1000}'));
SELECT pg_temp.told(pg_temp.span('c11', '', 11, '{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-5", "gen_ai.openai.response.service_tier": "flex", "gen_ai.openai.request.service_tier": "auto",
    "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 500}'));
-- OpenInference, and Langfuse
SELECT pg_temp.told(pg_temp.span('o1', '', 12, '{"openinference.span.kind": "LLM", "llm.provider": "openai", "llm.model_name": "gpt-4o-2024-08-06", "llm.token_count.prompt": 2006, "llm.token_count.completion": 300,
    "llm.token_count.total": 2306, "llm.token_count.prompt_details.cache_read": 1920, "llm.token_count.completion_details.reasoning": 0, "llm.invocation_parameters": "{\"max_tokens\": 5}", "llm.cost.total": 0.5}'));
SELECT pg_temp.told(pg_temp.span('o2', '', 13, '{"openinference.span.kind": "LLM", "llm.system": "anthropic", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 9000, "llm.token_count.completion": 200,
    "llm.token_count.prompt_details.cache_read": 8000, "llm.token_count.prompt_details.cache_write": 500}'));
SELECT pg_temp.told(pg_temp.span('o3', '', 14, '{"openinference.span.kind": "EMBEDDING", "embedding.model_name": "text-embedding-3-small", "llm.token_count.prompt": 1000, "llm.token_count.total": 1000}'));
SELECT pg_temp.told(pg_temp.span('l1', '', 15, '{"langfuse.observation.type": "generation", "langfuse.observation.model.name": "claude-sonnet-4-5",
    "langfuse.observation.usage_details": "{\"input\": 500, \"output\": 200, \"cache_read_input_tokens\": 8000, \"cache_creation_input_tokens\": 500}"}'));
-- AI SDK: 4; 5, whose input is Anthropic's own, so read what Anthropic itself says, and hold what nobody says; embeddings
SELECT pg_temp.told(pg_temp.span('a1', '', 16, '{"ai.operationId": "ai.generateObject.doGenerate", "ai.model.provider": "openai.chat", "ai.model.id": "gpt-4o", "ai.usage.promptTokens": 1000, "ai.usage.completionTokens": 500,
    "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 500}'));
SELECT pg_temp.told(pg_temp.span('a2', '', 17, '{"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "anthropic.messages", "ai.model.id": "claude-sonnet-4-5", "gen_ai.system": "anthropic.messages", "gen_ai.request.model": "claude-sonnet-4-5",
    "ai.usage.inputTokens": 500, "ai.usage.outputTokens": 200, "ai.usage.totalTokens": 700, "ai.usage.cachedInputTokens": 8000, "gen_ai.usage.input_tokens": 500, "gen_ai.usage.output_tokens": 200,
    "ai.response.providerMetadata": "{\"anthropic\": {\"usage\": {\"input_tokens\": 500, \"cache_creation_input_tokens\": 500, \"cache_read_input_tokens\": 8000, \"output_tokens\": 200, \"service_tier\": \"standard\"}, \"cacheCreationInputTokens\": 500}}"}'));
SELECT pg_temp.told(pg_temp.span('a3', '', 18, '{"ai.operationId": "ai.streamText.doStream", "ai.model.provider": "anthropic.messages", "ai.model.id": "claude-sonnet-4-5", "gen_ai.system": "anthropic.messages",
    "ai.usage.inputTokens": 9000, "ai.usage.outputTokens": 200, "ai.usage.cachedInputTokens": 8000, "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 200}'));
SELECT pg_temp.told(pg_temp.span('a4', '', 19, '{"ai.operationId": "ai.embed.doEmbed", "ai.model.provider": "openai.embedding", "ai.model.id": "text-embedding-3-small", "ai.usage.tokens": 1000}'));
SELECT pg_temp.told(pg_temp.span('a5', '', 20, '{"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "google.generative-ai", "ai.model.id": "gemini-2.5-pro", "gen_ai.system": "google.generative-ai",
    "ai.usage.inputTokens": 9000, "ai.usage.outputTokens": 500, "ai.usage.reasoningTokens": 100, "ai.usage.totalTokens": 9600, "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 500,
    "ai.response.providerMetadata": "{\"google\": {\"usageMetadata\": {\"promptTokenCount\": 9000, \"candidatesTokenCount\": 500, \"thoughtsTokenCount\": 100, \"totalTokenCount\": 9600}}}"}'));
-- what is unread holds a call here, too; what the application added for itself does not
SELECT pg_temp.told(pg_temp.span('u1', '', 21, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 500, "gen_ai.usage.lyrical.input_tokens": 8000}'));
SELECT pg_temp.told(pg_temp.span('u2', '', 22, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 500, "app.token_budget": 8000}'));
-- calls that failed, and of which nobody says what they used
SELECT pg_temp.told(pg_temp.span('f1', '', 23, '{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "error.type": "timeout"}') || '{"status": {"code": 2, "message": "too slow"}}');
SELECT pg_temp.told(pg_temp.span('f2', '', 24, '{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}'));
SELECT pg_temp.told(pg_temp.span('f3', '', 25, '{"langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-4o"}'));
-- one that does not even name its model is not passed over
SELECT pg_temp.told(pg_temp.span('f4', '', 26, '{"langfuse.observation.type": "generation", "langfuse.observation.input": "Hello"}'));

-- Events of coding agents: strings, and Anthropic's counts stand beside each other; the span of the same call; a retry of the export; an error
\set claude '{"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}, {"key": "department", "value": {"stringValue": "engineering"}}]}, "scopeLogs": [{"logRecords": [{"timeUnixNano": "1795900321192000000", "body": {"stringValue": "claude_code.api_request"}, "attributes": [{"key": "event.name", "value": {"stringValue": "api_request"}}, {"key": "session.id", "value": {"stringValue": "s1"}}, {"key": "event.sequence", "value": {"stringValue": "7"}}, {"key": "model", "value": {"stringValue": "claude-sonnet-4-5"}}, {"key": "input_tokens", "value": {"stringValue": "500"}}, {"key": "output_tokens", "value": {"stringValue": "200"}}, {"key": "cache_read_tokens", "value": {"stringValue": "8000"}}, {"key": "cache_creation_tokens", "value": {"stringValue": "500"}}, {"key": "cost_usd", "value": {"stringValue": "0.5"}}, {"key": "speed", "value": {"stringValue": "normal"}}, {"key": "duration_ms", "value": {"stringValue": "1500"}}, {"key": "request_id", "value": {"stringValue": "req_1"}}, {"key": "user.email", "value": {"stringValue": "alice@example.com"}}, {"key": "user.id", "value": {"stringValue": "0f3a"}}]}, {"timeUnixNano": "1795900321192000000", "body": {"stringValue": "claude_code.user_prompt"}, "attributes": [{"key": "event.name", "value": {"stringValue": "user_prompt"}}]}, {"timeUnixNano": "1795900331192000000", "body": {"stringValue": "claude_code.api_error"}, "attributes": [{"key": "event.name", "value": {"stringValue": "api_error"}}, {"key": "session.id", "value": {"stringValue": "s1"}}, {"key": "event.sequence", "value": {"stringValue": "9"}}, {"key": "model", "value": {"stringValue": "claude-sonnet-4-5"}}, {"key": "error", "value": {"stringValue": "Overloaded"}}, {"key": "status_code", "value": {"stringValue": "529"}}]}]}]}]}'
SELECT pg_temp.told(:'claude');
SELECT pg_temp.told(:'claude');
SELECT pg_temp.told(pg_temp.span('claude', '', 25, '{"span.type": "llm_request", "model": "claude-sonnet-4-5", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "request_id": "req_1",
    "input_tokens": 500, "output_tokens": 200, "cache_read_tokens": 8000, "cache_creation_tokens": 500, "success": true}') || '{"name": "claude_code.llm_request"}');
SELECT ts, user_id, session_id, department, source, duration_ms, success FROM usage_monitor.usage WHERE request_id IN ('req_1', 's1/9') ORDER BY ts;
SELECT pg_temp.told('{"event.name": "codex.sse_event", "event.kind": "response.completed", "conversation.id": "c1", "event.timestamp": "2026-11-20T10:00:00.123Z", "model": "gpt-5-codex",
    "input_token_count": "9000", "output_token_count": "500", "cached_token_count": 8000, "reasoning_token_count": 100, "tool_token_count": "9500"}');
SELECT pg_temp.told('[{"attributes": {"event.name": "codex.sse_event", "event.kind": "response.created", "conversation.id": "c1", "model": "gpt-5-codex"}}]');
-- Gemini CLI tells of each response twice
SELECT pg_temp.told('[{"attributes": {"event.name": "gemini_cli.api_response", "session.id": "g1", "installation.id": "i", "prompt_id": "p1", "event.timestamp": "2026-11-20T10:00:00.123Z", "model": "gemini-2.5-pro",
    "input_token_count": 9000, "output_token_count": 500, "cached_content_token_count": 8000, "thoughts_token_count": 100, "tool_token_count": 50, "total_token_count": 9650, "duration_ms": 1200}},
    {"attributes": {"event.name": "gen_ai.client.inference.operation.details", "session.id": "g1", "installation.id": "i", "gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.gen_ai",
    "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.response.id": "r1", "gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 500}}]');
SELECT pg_temp.told('{"event.name": "qwen-code.api_response", "session.id": "q1", "prompt_id": "p1", "event.timestamp": "2026-11-20T10:00:00.123Z", "model": "qwen-max",
    "input_token_count": 9000, "output_token_count": 500, "cached_content_token_count": 0, "thoughts_token_count": 100, "total_token_count": 9500}');

-- Two libraries tell of one call: in one export, whatever the order
SELECT pg_temp.told(jsonb_build_array(
    pg_temp.span('n1', '', 30, '{"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 700}'),
    pg_temp.span('n2', 'n1', 31, '{"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 2006, "llm.token_count.completion": 300}'),
    pg_temp.span('n3', 'n2', 32, '{"http.method": "POST"}'),
    pg_temp.span('n4', 'n3', 33, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.response.id": "resp-n", "gen_ai.usage.input_tokens": 2006, "gen_ai.usage.output_tokens": 300, "gen_ai.usage.cache_read.input_tokens": 1920}'),
    pg_temp.span('n5', 'n1', 34, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.response.id": "resp-m", "gen_ai.usage.input_tokens": 994, "gen_ai.usage.output_tokens": 400}')));
-- in one export after the other, the inner one first, or last; and the event of the same span
SELECT pg_temp.told(pg_temp.span('m2', 'm1', 41, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 2006, "gen_ai.usage.output_tokens": 300}'));
SELECT pg_temp.told(pg_temp.span('m1', 'm0', 40, '{"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 2006, "llm.token_count.completion": 300}'));
SELECT pg_temp.told('{"timeUnixNano": "1793620841000000000", "traceId": "trace", "spanId": "m2", "eventName": "gen_ai.client.inference.operation.details",
    "attributes": {"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 2006, "gen_ai.usage.output_tokens": 300}}');
SELECT pg_temp.told(pg_temp.span('k1', '', 42, '{"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 77, "llm.token_count.completion": 300}'));
SELECT pg_temp.told(pg_temp.span('k2', 'k1', 43, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 2006, "gen_ai.usage.output_tokens": 300}'));
-- the same response by two spans side by side; one that another call was made in; one that says less than those in it
SELECT pg_temp.told(jsonb_build_array(
    pg_temp.span('j1', 'j0', 50, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.response.id": "resp-j", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 3}'),
    pg_temp.span('j2', 'j0', 51, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.response.id": "resp-j", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 3}'),
    pg_temp.span('j3', 'j0', 52, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 200}'),
    pg_temp.span('j4', 'j3', 53, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 5}'),
    pg_temp.span('j5', 'j0', 54, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}'),
    pg_temp.span('j6', 'j5', 55, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 51, "gen_ai.usage.output_tokens": 6}')));

-- Spans that are their own parents, or each other's, are calls all the same
SELECT pg_temp.told(jsonb_build_array(
    pg_temp.span('y1', 'y1', 56, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 3}'),
    pg_temp.span('y2', 'y3', 57, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 4}'),
    pg_temp.span('y3', 'y2', 58, '{"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5}')));

-- A bad span loses no other; what is no call has no row
SELECT pg_temp.told(jsonb_build_array(
    pg_temp.span('b1', '', 60, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": -5, "gen_ai.usage.output_tokens": 1}'),
    pg_temp.span('b2', '', 61, '{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}'),
    pg_temp.span('b3', '', 62, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1, "gen_ai.usage.cache_read.input_tokens": 9}'),
    pg_temp.span('b4', '', 63, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": "many", "gen_ai.usage.output_tokens": 1}'),
    pg_temp.span('b5', '', 64, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}') || '{"startTimeUnixNano": "yesterday or so"}',
    pg_temp.span('b6', '', 65, '{"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "gpt-4o", "ai.usage.inputTokens": 5, "ai.usage.outputTokens": 1, "ai.response.providerMetadata": "{cut o"}'),
    pg_temp.span('b7', '', 66, '{"db.system": "postgresql"}'),
    pg_temp.span('b8', '', 67, '"no attributes"'),
    7, '{}',
    pg_temp.span('b9', '', 68, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}')));
SELECT count(*) FROM usage_monitor.usage WHERE ts BETWEEN '2026-11-02 12:01' AND '2026-11-02 12:01:20';
SELECT pg_temp.told('{"resourceSpans": []}');
SELECT pg_temp.told('{"resourceSpans": [{"scopeSpans": [{"spans": 5}]}, 6]}');
SELECT pg_temp.told('{}');
SELECT pg_temp.told('{"weather": "fine"}');
SELECT pg_temp.refusal($$SELECT * FROM usage_monitor.record_span('5')$$);
SELECT pg_temp.refusal($$SELECT * FROM usage_monitor.record_span(NULL)$$);
SELECT pg_temp.refusal($$SELECT * FROM usage_monitor.record_span('{"resourceMetrics": [{}]}')$$);

-- As the SDK for Python prints it
SELECT pg_temp.told('{"name": "chat", "context": {"trace_id": "0x0af7651916cd43dd8448eb211c80319c", "span_id": "0x00b7ad6b7169203331"}, "parent_id": null, "start_time": "2026-11-02T10:00:00.000000Z", "end_time": "2026-11-02T10:00:01.500000Z",
    "status": {"status_code": "UNSET"}, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}, "resource": {"attributes": {"service.name": "worker"}}}');
SELECT ts, duration_ms, source FROM usage_monitor.usage WHERE request_id LIKE '0af765%';

-- Whose it is: by the attributes, or as who calls has it
SELECT outcome
FROM usage_monitor.record_span(pg_temp.span('w1', '', 70, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1, "gen_ai.conversation.id": "conv",
    "usage_monitor.org": "acme", "usage_monitor.department": "sales", "usage_monitor.project": "crm", "usage_monitor.user_id": "bob", "user.id": "4711", "service.name": "unknown_service:node"}'));
SELECT outcome
FROM usage_monitor.record_span(pg_temp.span('w2', '', 71, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1, "usage_monitor.org": "acme", "user.id": "4711"}'),
    org => 'globex', department => 'd', project => 'p', user_id => 'u', source => 's');
SELECT request_id, org, department, project, user_id, session_id, source, operation FROM usage_monitor.usage WHERE request_id IN ('trace/w1', 'trace/w2') ORDER BY request_id;

-- A writer needs no more than its rights; who is confined to an organisation records for it alone
CREATE ROLE regress_spans_writer;
CREATE ROLE regress_spans_acme;
SELECT usage_monitor.grant_access('regress_spans_writer', 'writer');
SELECT usage_monitor.grant_access('regress_spans_acme', 'writer', 'acme');
SET ROLE regress_spans_writer;
SELECT outcome, cost FROM usage_monitor.record_span(pg_temp.span('w3', '', 72, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}'));
SELECT pg_temp.refusal('SELECT count(*) FROM _usage_monitor._span');
SET ROLE regress_spans_acme;
-- the same trace as of others: theirs is not seen
SELECT outcome FROM usage_monitor.record_span(pg_temp.span('w3', '', 72, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}'));
SELECT outcome, error_code, error FROM usage_monitor.record_span(pg_temp.span('w4', '', 73, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1, "usage_monitor.org": "globex"}'));
SELECT pg_temp.refusal($$SELECT * FROM usage_monitor.record_span('{}', org => 'globex')$$);
RESET ROLE;
SELECT org, count(*) FROM usage_monitor.usage WHERE request_id = 'trace/w3' GROUP BY org ORDER BY org;

-- A quota that blocks refuses the span, and no other
SELECT usage_monitor.set_quota('tight', scope => 'user', subject => 'blocked', metric => 'requests', amount => 1, period => 'lifetime', enforcement => 'block') IS NOT NULL;
SELECT outcome, error_code FROM usage_monitor.record_span(jsonb_build_array(
    pg_temp.span('q1', '', 80, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1, "user.id": "blocked"}'),
    pg_temp.span('q2', '', 81, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 6, "gen_ai.usage.output_tokens": 2, "user.id": "blocked"}'),
    pg_temp.span('q3', '', 82, '{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3, "user.id": "free"}')));

-- What was seen is forgotten after a day, and yet nothing counts twice
UPDATE _usage_monitor._span SET seen_at = now() - interval '25 hours';
SELECT pg_temp.told(:'export');
SELECT count(*) FROM _usage_monitor._span;
SELECT count(*) FROM usage_monitor.usage WHERE request_id = 'resp-1';
SELECT * FROM usage_monitor.verify();

SELECT usage_monitor.revoke_access('regress_spans_acme'), usage_monitor.revoke_access('regress_spans_writer');
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_spans_writer, regress_spans_acme;
