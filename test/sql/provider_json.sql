-- What providers' responses say, in the ledger's words.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\pset null '-'

CREATE SCHEMA regress_provider_json;
SET search_path = regress_provider_json;

-- One line a response: what is not zero, what is not known, and what holds it.
CREATE FUNCTION reading(response jsonb, provider text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    u    usage_monitor.normalized_usage;
    hint text;
BEGIN
    u := usage_monitor.normalize_usage(response, provider);
    RETURN concat_ws(' ',
        coalesce(u.provider, '-'), coalesce(u.model, '-'), nullif(u.service_tier, 'standard'),
        'in', coalesce(u.input_tokens::text, '?'), 'out', coalesce(u.output_tokens::text, '?'),
        'read ' || nullif(u.cache_read_input_tokens, 0),
        'write ' || nullif(u.cache_creation_input_tokens, 0),
        'write_1h ' || nullif(u.cache_creation_1h_input_tokens, 0),
        'reasoning ' || nullif(u.reasoning_output_tokens, 0),
        'audio_in ' || nullif(u.input_audio_tokens, 0),
        'audio_out ' || nullif(u.output_audio_tokens, 0),
        u.units, 'cost ' || u.reported_cost, 'unread ' || u.unread::text);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN format('%s %s (%s)', SQLSTATE, SQLERRM, hint);
END
$$;

CREATE TABLE body (n int GENERATED ALWAYS AS IDENTITY, api text, response jsonb, provider text);
CREATE FUNCTION add(api text, response jsonb, provider text DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC INSERT INTO body (api, response, provider) VALUES (api, response, provider); END;

\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '

-- OpenAI chat completions
CREATE VIEW readings AS SELECT api, reading(response, provider) FROM body ORDER BY n;
\o /dev/null
SELECT add('chat', '{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":10,"rejected_prediction_tokens":30}},"service_tier":"default","system_fingerprint":"fp_1"}', 'openai');
SELECT add('chat, reasoning, flex', '{"model":"o3","usage":{"prompt_tokens":50,"completion_tokens":400,"total_tokens":450,"completion_tokens_details":{"reasoning_tokens":384}},"service_tier":"flex"}', 'openai');
SELECT add('chat, audio', '{"model":"gpt-4o-audio-preview","usage":{"prompt_tokens":117,"completion_tokens":220,"total_tokens":337,"prompt_tokens_details":{"cached_tokens":0,"text_tokens":17,"audio_tokens":100},"completion_tokens_details":{"audio_tokens":150,"text_tokens":70,"reasoning_tokens":0}}}', 'openai');
SELECT add('chat, null details', '{"model":"gpt-4","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}},"service_tier":null}');
SELECT add('chat, cache writes', '{"model":"gpt-5.5","usage":{"prompt_tokens":1000,"completion_tokens":5,"total_tokens":1005,"prompt_tokens_details":{"cached_tokens":200,"cache_write_tokens":700}}}');
SELECT add('usage alone', '{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}');
SELECT add('usage alone, total 0', '{"prompt_tokens":10,"completion_tokens":5,"total_tokens":0}');
SELECT add('usage null', '{"model":"gpt-4o","object":"chat.completion","choices":[],"usage":null}');
SELECT add('usage empty', '{"model":"gpt-4o","object":"chat.completion","choices":[],"usage":{}}');
SELECT add('counts null', '{"model":"gpt-4o","usage":{"prompt_tokens":null,"completion_tokens":null,"total_tokens":null}}');
SELECT add('two names', '{"model":"some","usage":{"prompt_tokens":10,"completion_tokens":5,"input_tokens":10,"output_tokens":5,"total_tokens":15}}');
SELECT add('two names, one empty', '{"model":"some","usage":{"prompt_tokens":10,"completion_tokens":5,"input_tokens":0,"output_tokens":0,"total_tokens":15,"input_tokens_details":null}}');
SELECT add('stream', '[{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"delta":{"content":"Hi"}}],"usage":null},{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[],"service_tier":"priority","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}},"[DONE]"]');
SELECT add('stream without usage', '[{"id":"c1","model":"gpt-4o","choices":[{"delta":{"content":"Hi"}}],"usage":null}]');
SELECT add('batch', '{"id":"batch_req_1","custom_id":"r1","response":{"status_code":200,"request_id":"q1","body":{"id":"chatcmpl-2","model":"gpt-4o-mini","usage":{"prompt_tokens":22,"completion_tokens":2,"total_tokens":24},"service_tier":"default"}},"error":null}');
SELECT add('embeddings', '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}', 'openai');
SELECT add('error', '{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}', 'openai');

-- OpenAI responses, realtime, images, transcriptions
SELECT add('responses', '{"id":"resp_1","object":"response","status":"completed","error":null,"model":"gpt-5-2025-08-07","output":[{"type":"reasoning"},{"type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}},{"type":"web_search_call","action":{"type":"open_page"}},{"type":"message"}],"service_tier":"default","billing":{"payer":"developer"},"usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":128,"cache_write_tokens":100},"output_tokens":52,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":380}}');
SELECT add('response.completed', '{"type":"response.completed","sequence_number":9,"response":{"id":"resp_1","object":"response","model":"gpt-5","service_tier":"auto","usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":0},"output_tokens":11,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":48}}}');
SELECT add('responses stream', '[{"type":"response.created","response":{"id":"resp_1","object":"response","model":"gpt-5","usage":null}},{"type":"response.output_text.delta","delta":"Hi","item_id":"msg_1"},{"type":"response.completed","response":{"id":"resp_1","object":"response","model":"gpt-5","usage":{"input_tokens":37,"output_tokens":11,"total_tokens":48}}}]');
SELECT add('responses failed', '{"id":"resp_2","object":"response","model":"gpt-5","status":"failed","error":{"code":"server_error","message":"The model failed"},"usage":null}');
SELECT add('realtime', '{"type":"response.done","response":{"object":"realtime.response","id":"resp_3","usage":{"total_tokens":253,"input_tokens":132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":13,"image_tokens":0,"cached_tokens":64,"cached_tokens_details":{"text_tokens":56,"audio_tokens":8,"image_tokens":0}},"output_token_details":{"text_tokens":30,"audio_tokens":91}}}}');
SELECT add('image', '{"created":1,"data":[{"b64_json":"aGk="}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}', 'openai');
SELECT add('image, details', '{"created":1,"data":[{"b64_json":"aGk="}],"usage":{"total_tokens":1100,"input_tokens":50,"output_tokens":1050,"input_tokens_details":{"text_tokens":50,"image_tokens":0},"output_tokens_details":{"text_tokens":60,"image_tokens":990}}}', 'openai');
SELECT add('image, no usage', '{"created":1,"data":[{"url":"https://example.com/1.png"},{"url":"https://example.com/2.png"}]}', 'openai');
SELECT add('transcription, tokens', '{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}', 'openai');
SELECT add('transcription, time', '{"text":"Hi","usage":{"type":"duration","seconds":9}}', 'openai');

-- Anthropic, also on Bedrock
SELECT add('messages', '{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":21,"cache_creation_input_tokens":500,"cache_read_input_tokens":1880,"cache_creation":{"ephemeral_5m_input_tokens":400,"ephemeral_1h_input_tokens":100},"output_tokens":393,"service_tier":"standard","server_tool_use":{"web_search_requests":2,"web_fetch_requests":1}}}');
SELECT add('before caching', '{"id":"msg_02","type":"message","role":"assistant","model":"claude-2.1","content":[],"usage":{"input_tokens":12,"output_tokens":6}}');
SELECT add('null fields', '{"type":"message","model":"claude-3-5-haiku-20241022","usage":{"input_tokens":12,"output_tokens":6,"cache_creation":null,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"server_tool_use":null,"service_tier":null}}');
SELECT add('usage alone', '{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":97,"output_tokens":6,"service_tier":"batch"}');
SELECT add('thinking, fast', '{"type":"message","model":"claude-opus-4-6","usage":{"input_tokens":3,"output_tokens":60,"cache_read_input_tokens":0,"speed":"fast","service_tier":"standard","output_tokens_details":{"thinking_tokens":40}}}');
SELECT add('message_start', '{"type":"message_start","message":{"id":"msg_03","type":"message","model":"claude-opus-4-1","usage":{"input_tokens":25,"cache_read_input_tokens":10,"output_tokens":1}}}');
SELECT add('message_delta', '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}');
SELECT add('stream', '[{"type":"message_start","message":{"id":"msg_03","type":"message","model":"claude-opus-4-1","usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7},"cache_read_input_tokens":10,"output_tokens":1,"service_tier":"priority"}}},{"type":"ping"},{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}},{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":9}},{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":30,"cache_read_input_tokens":null,"output_tokens":15}},{"type":"message_stop"}]');
SELECT add('batch', '{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_04","type":"message","model":"claude-3-5-sonnet-20241022","usage":{"input_tokens":11,"output_tokens":36}}}}');
SELECT add('compaction', '{"id":"msg_05","type":"message","model":"claude-opus-4-6","usage":{"input_tokens":23000,"output_tokens":1000,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":10},{"type":"message","input_tokens":23000,"output_tokens":1000}]}}');
SELECT add('compaction alone', '{"type":"message","model":"claude-opus-4-6","stop_reason":"compaction","usage":{"input_tokens":0,"output_tokens":0,"iterations":[{"type":"compaction","input_tokens":144,"output_tokens":276}]}}');
SELECT add('advisor', '{"id":"msg_06","type":"message","model":"claude-sonnet-4-6","usage":{"input_tokens":4,"cache_read_input_tokens":543,"cache_creation_input_tokens":81,"output_tokens":50,"iterations":[{"type":"message","input_tokens":2,"output_tokens":20,"cache_read_input_tokens":270,"cache_creation_input_tokens":34},{"type":"advisor_message","model":"claude-opus-4-6","input_tokens":235,"output_tokens":70,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},{"type":"message","input_tokens":2,"output_tokens":30,"cache_read_input_tokens":273,"cache_creation_input_tokens":47}]}}');
SELECT add('error', '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}', 'anthropic');
SELECT add('on Bedrock', '{"id":"msg_bdrk_01","type":"message","model":"claude-3-5-sonnet-20241022","usage":{"input_tokens":10,"output_tokens":4}}');
SELECT add('on Bedrock, by argument', '{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":4}', 'bedrock');
SELECT add('another''s', '{"id":"x","type":"message","model":"kimi-k2","usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":4}}');

-- Gemini
SELECT add('generateContent', '{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1500,"candidatesTokenCount":100,"totalTokenCount":1950,"cachedContentTokenCount":1024,"thoughtsTokenCount":300,"toolUsePromptTokenCount":50,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1000},{"modality":"IMAGE","tokenCount":258},{"modality":"AUDIO","tokenCount":200}],"cacheTokensDetails":[{"modality":"TEXT","tokenCount":924},{"modality":"AUDIO","tokenCount":100}],"candidatesTokensDetails":[{"modality":"TEXT","tokenCount":100}],"trafficType":"ON_DEMAND"},"modelVersion":"gemini-2.5-flash","responseId":"abc"}');
SELECT add('usage alone', '{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}');
SELECT add('image out, document in', '{"usageMetadata":{"promptTokenCount":270,"candidatesTokenCount":1295,"totalTokenCount":1565,"promptTokensDetails":[{"modality":"DOCUMENT","tokenCount":258},{"modality":"TEXT","tokenCount":12}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]},"modelVersion":"gemini-2.5-flash-image"}');
SELECT add('nothing said', '{"candidates":[],"usageMetadata":{"promptTokenCount":15,"totalTokenCount":15},"modelVersion":"gemini-2.5-pro"}');
SELECT add('thoughts only', '{"usageMetadata":{"promptTokenCount":15,"totalTokenCount":80,"thoughtsTokenCount":65},"modelVersion":"gemini-2.5-pro"}');
SELECT add('snake case', '{"usage_metadata":{"prompt_token_count":20,"candidates_token_count":30,"total_token_count":50,"cached_content_token_count":0,"prompt_tokens_details":[{"modality":4,"token_count":12}],"traffic_type":"PROVISIONED_THROUGHPUT"},"model_version":"gemini-1.5-pro"}');
SELECT add('stream', '[{"candidates":[{}],"usageMetadata":{"trafficType":"ON_DEMAND_FLEX"},"modelVersion":"gemini-2.5-pro","responseId":"r"},{"candidates":[{}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":3,"totalTokenCount":7,"trafficType":"ON_DEMAND_FLEX"},"modelVersion":"gemini-2.5-pro","responseId":"r"}]');
SELECT add('live', '{"usageMetadata":{"promptTokenCount":40,"responseTokenCount":60,"totalTokenCount":100,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"VIDEO","tokenCount":10}],"responseTokensDetails":[{"modality":"AUDIO","tokenCount":60}]}}');
SELECT add('through OpenAI''s API', '{"model":"gemini-2.5-flash","object":"chat.completion","usage":{"prompt_tokens":9,"completion_tokens":20,"total_tokens":629}}', 'gemini');

-- DashScope, DeepSeek, Moonshot, Zhipu
SELECT add('DashScope', '{"output":{"choices":[{"message":{"content":"Hi","role":"assistant"}}]},"usage":{"input_tokens":22,"output_tokens":17,"total_tokens":39,"prompt_tokens_details":{"cached_tokens":10},"output_tokens_details":{"reasoning_tokens":5},"plugins":{"search":{"count":1,"strategy":"turbo"}}},"request_id":"d89c"}');
SELECT add('DashScope, images', '{"output":{},"usage":{"input_tokens":1276,"image_tokens":1247,"output_tokens":81,"total_tokens":1357},"request_id":"d89d"}');
SELECT add('DashScope, image made', '{"output":{"results":[]},"usage":{"image_count":2},"request_id":"d89e"}');
SELECT add('DashScope, OpenAI mode', '{"id":"chatcmpl-3","model":"qwen3-max","usage":{"prompt_tokens":3019,"completion_tokens":104,"total_tokens":3123,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":2048,"cache_type":"ephemeral","cache_creation":{"ephemeral_5m_input_tokens":2048}}}}');
SELECT add('DashScope, by argument', '{"model":"qwen-plus","usage":{"prompt_tokens":30,"completion_tokens":1,"total_tokens":31}}', 'dashscope');
SELECT add('DashScope error', '{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"fb53"}', 'dashscope');
SELECT add('DeepSeek', '{"id":"1","model":"deepseek-reasoner","usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":640},"completion_tokens_details":{"reasoning_tokens":400},"prompt_cache_hit_tokens":640,"prompt_cache_miss_tokens":360}}');
SELECT add('Moonshot', '{"model":"kimi-k2","usage":{"prompt_tokens":100,"completion_tokens":9,"total_tokens":109,"cached_tokens":64}}', 'moonshot');
SELECT add('Zhipu', '{"model":"glm-4.6","request_id":"8","usage":{"prompt_tokens":11,"completion_tokens":40,"total_tokens":51,"prompt_tokens_details":{"cached_tokens":2}}}', 'zhipu');

-- Bedrock
SELECT add('Converse', '{"output":{"message":{"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":30,"outputTokens":628,"totalTokens":2658,"cacheReadInputTokens":1500,"cacheWriteInputTokens":500,"cacheDetails":[{"ttl":"1h","inputTokens":300},{"ttl":"5m","inputTokens":200}]},"metrics":{"latencyMs":1275},"serviceTier":{"type":"priority"}}');
SELECT add('ConverseStream', '[{"messageStart":{"role":"assistant"}},{"messageStop":{"stopReason":"end_turn"}},{"metadata":{"usage":{"inputTokens":7,"outputTokens":3,"totalTokens":10},"metrics":{"latencyMs":1}}}]');
SELECT add('stream of Claude', '[{"type":"message_start","message":{"id":"msg_bdrk_2","type":"message","model":"claude-3-haiku-20240307","usage":{"input_tokens":8,"output_tokens":1}}},{"type":"message_delta","usage":{"output_tokens":12}},{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":12}}]');
SELECT add('metrics', '{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":12,"cacheReadInputTokenCount":100,"invocationLatency":5}}');
SELECT add('Titan', '{"inputTextTokenCount":5,"results":[{"tokenCount":32,"outputText":"Hi","completionReason":"FINISH"}]}');
SELECT add('Llama', '{"generation":"Hi","prompt_token_count":15,"generation_token_count":20,"stop_reason":"stop"}');

-- xAI, Mistral, Groq, Cerebras, OpenRouter, Perplexity, Azure
SELECT add('xAI', '{"id":"a3d1","model":"grok-3-mini","usage":{"prompt_tokens":26,"completion_tokens":168,"total_tokens":498,"prompt_tokens_details":{"text_tokens":26,"audio_tokens":0,"image_tokens":0,"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":304,"audio_tokens":0},"num_sources_used":3},"system_fingerprint":"fp_44"}');
SELECT add('xAI, no total', '{"model":"grok-3-mini","usage":{"prompt_tokens":26,"completion_tokens":10,"completion_tokens_details":{"reasoning_tokens":304}}}', 'xai');
SELECT add('xAI responses', '{"model":"grok-4","object":"response","usage":{"input_tokens":9212,"input_tokens_details":{"cached_tokens":3072},"output_tokens":3417,"output_tokens_details":{"reasoning_tokens":17},"total_tokens":12629,"num_sources_used":0,"num_server_side_tools_used":3,"cost_in_usd_ticks":318319000,"server_side_tool_usage_details":{"web_search_calls":1,"x_search_calls":2}}}');
SELECT add('Mistral', '{"id":"m1","object":"chat.completion","model":"mistral-small-latest","usage":{"prompt_tokens":5,"total_tokens":39,"completion_tokens":34,"prompt_audio_seconds":null}}', 'mistral');
SELECT add('Mistral, audio', '{"model":"voxtral-mini-latest","text":"Hi","usage":{"prompt_audio_seconds":203,"prompt_tokens":4,"total_tokens":3264,"completion_tokens":635}}');
SELECT add('Mistral OCR', '{"model":"mistral-ocr-latest","pages":[],"usage_info":{"pages_processed":29,"doc_size_bytes":3002783}}');
SELECT add('Groq', '{"id":"g1","model":"llama-3.3-70b-versatile","usage":{"queue_time":0.1,"prompt_tokens":18,"prompt_time":0.001,"completion_tokens":556,"completion_time":0.46,"total_tokens":574,"total_time":0.46},"service_tier":"on_demand","x_groq":{"id":"req_1"}}');
SELECT add('Groq stream', '[{"id":"g2","model":"openai/gpt-oss-20b","choices":[{}],"x_groq":{"id":"req_2"}},{"id":"g2","model":"openai/gpt-oss-20b","choices":[],"x_groq":{"id":"req_2","usage":{"prompt_tokens":18,"completion_tokens":55,"total_tokens":73,"completion_tokens_details":{"reasoning_tokens":30}}}}]');
SELECT add('Cerebras', '{"id":"c","model":"llama3.1-8b","usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9},"time_info":{"total_time":0.1}}');
SELECT add('OpenRouter', '{"id":"gen-17","provider":"xAI","model":"x-ai/grok-4","usage":{"prompt_tokens":10339,"completion_tokens":60,"total_tokens":10399,"cost":0.00014,"is_byok":false,"prompt_tokens_details":{"cached_tokens":10318,"audio_tokens":0},"cost_details":{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":50}}}');
SELECT add('Perplexity', '{"id":"p","model":"sonar-deep-research","usage":{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":20016,"num_search_queries":18,"reasoning_tokens":193396,"cost":{"total_cost":1.19}}}');
SELECT add('Azure', '{"id":"chatcmpl-4","model":"gpt-4o-2024-11-20","prompt_filter_results":[],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}}');

-- Cohere, Ollama
SELECT add('Cohere v1', '{"response_id":"c1","text":"Hi","generation_id":"g","meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":5,"output_tokens":418},"tokens":{"input_tokens":71,"output_tokens":418}}}');
SELECT add('Cohere v2', '{"id":"c2","message":{"role":"assistant"},"usage":{"billed_units":{"input_tokens":17.0,"output_tokens":12.0},"tokens":{"input_tokens":215.0,"output_tokens":12.0},"cached_tokens":32}}');
SELECT add('Cohere v2 stream', '[{"type":"message-start","id":"c3","delta":{"message":{"role":"assistant"}}},{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":17,"output_tokens":12},"tokens":{"input_tokens":215,"output_tokens":12}}}}]');
SELECT add('Cohere rerank', '{"id":"c4","results":[],"meta":{"billed_units":{"search_units":2}}}');
SELECT add('Cohere embed', '{"id":"c5","embeddings":{},"meta":{"billed_units":{"images":3}}}');
SELECT add('Ollama', '{"model":"llama3.2","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"Hi"},"done":true,"total_duration":5191566416,"prompt_eval_count":26,"eval_count":298,"eval_duration":4799921000}');
SELECT add('Ollama, prompt cached', '{"model":"llama3.2","response":"Hi","done":true,"total_duration":519,"eval_count":298,"eval_duration":479}');
SELECT add('Ollama embed', '{"model":"all-minilm","embeddings":[[0.1]],"total_duration":14143917,"prompt_eval_count":8}');
SELECT add('Ollama, OpenAI''s API', '{"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":26,"completion_tokens":298,"total_tokens":324}}');
\o
SELECT * FROM readings;

-- A step that another model made is a part of its own.
SELECT (p.reading).model, (p.reading).input_tokens, (p.reading).output_tokens, p.provider_usage ->> 'type'
FROM body AS b, _usage_monitor._usage_parts(b.response, b.provider) AS p
WHERE b.api IN ('advisor', 'compaction');

-- Refused: what is no count.
SELECT reading('{"usage":{"prompt_tokens":-1,"completion_tokens":5}}');
SELECT reading('{"usage":{"prompt_tokens":1.5,"completion_tokens":5}}');
SELECT reading('{"usage":{"prompt_tokens":"12","completion_tokens":5}}');
SELECT reading('{"usage":{"prompt_tokens":1e30,"completion_tokens":5}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-3}}}');
SELECT reading('{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":true}}');
SELECT reading('{"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":-0.5}}');

-- Refused: parts that contradict each other.
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":11}}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":6}}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":14}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":3}}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"input_tokens":11}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"audio_tokens":8,"image_tokens":8}}}');
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":4}}');
SELECT reading('{"type":"message","usage":{"input_tokens":10,"output_tokens":5,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":4}}}');
SELECT reading('{"type":"message","usage":{"input_tokens":10,"output_tokens":5,"output_tokens_details":{"thinking_tokens":6}}}');
SELECT reading('{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":5,"totalTokenCount":30}}');
SELECT reading('{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"cachedContentTokenCount":11,"totalTokenCount":15}}');
SELECT reading('{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":16}}');
SELECT reading('{"usage":{"inputTokens":10,"outputTokens":5,"cacheWriteInputTokens":4,"cacheDetails":[{"ttl":"5m","inputTokens":3}]}}');

-- Held: contradictions that vendors are known for, and those of a stream.
SELECT reading('{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6,"cache_write_tokens":6}}}');
SELECT reading('{"model":"m","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15,"cache_read_input_tokens":4}}');
SELECT reading('[{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":11,"cached_tokens_details":{"audio_tokens":2}}}}]');
SELECT reading('[{"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":10,"output_tokens":1}}},{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}},{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":7}}]');

-- Refused: what is none of these.
SELECT reading('{"usage":{"tokens_used":10},"model":"x"}');
SELECT reading('{"foo":1,"bar":2}');
SELECT reading('{}');
SELECT reading('[]');
SELECT reading('"text"');
SELECT reading(NULL);
-- the answer of a token counter is no call
SELECT reading('{"input_tokens":2095}');
SELECT reading('{"model":"m","usage":5}');
SELECT reading('[{"id":"a","usage":{"prompt_tokens":1,"completion_tokens":1}},{"id":"b","usage":{"prompt_tokens":1,"completion_tokens":1}}]');

DROP SCHEMA regress_provider_json CASCADE;
