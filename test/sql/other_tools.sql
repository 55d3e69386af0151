-- What other tools have recorded comes in by one statement each
-- (examples/history), and twice counts once.
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\set ECHO none
\set litellm :test '/../examples/history/litellm.sql'
\set langfuse :test '/../examples/history/langfuse.sql'
\set openai :test '/../examples/history/openai.sql'
\set anthropic :test '/../examples/history/anthropic.sql'
\set claude_code :test '/../examples/history/claude_code.sql'
\set ECHO all
CREATE SCHEMA regress_other_tools;
SET search_path = regress_other_tools;
CREATE TABLE history (line jsonb);
CREATE VIEW ledger AS
    SELECT request_id, ts, provider, model, nullif(service_tier, 'standard') AS tier, project, user_id, operation, source, input_tokens, output_tokens,
           nullif(cache_read_input_tokens, 0) AS read, nullif(cache_creation_input_tokens, 0) AS written, nullif(cache_creation_1h_input_tokens, 0) AS written_1h,
           units, success, trim_scale(cost) AS cost, unpriced_reason
      FROM usage_monitor.usage
     ORDER BY ts, usage_id;

-- LiteLLM: its table, as its migrations make it
CREATE TABLE "LiteLLM_SpendLogs" (
    request_id text PRIMARY KEY, call_type text NOT NULL, api_key text NOT NULL DEFAULT '', spend double precision NOT NULL DEFAULT 0, total_tokens integer NOT NULL DEFAULT 0,
    prompt_tokens integer NOT NULL DEFAULT 0, completion_tokens integer NOT NULL DEFAULT 0, "startTime" timestamp(3) NOT NULL, "endTime" timestamp(3) NOT NULL,
    "completionStartTime" timestamp(3), model text NOT NULL DEFAULT '', model_id text DEFAULT '', model_group text DEFAULT '', custom_llm_provider text DEFAULT '', api_base text DEFAULT '',
    "user" text DEFAULT '', metadata jsonb DEFAULT '{}', cache_hit text DEFAULT '', cache_key text DEFAULT '', request_tags jsonb DEFAULT '[]', team_id text, end_user text);
INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime", model, custom_llm_provider, "user", team_id, end_user, cache_hit, metadata) VALUES
    ('chatcmpl-1', 'acompletion', 0.5, 2306, 2006, 300, '2026-11-02 10:00', '2026-11-02 10:00:01.5', 'gpt-4o-2024-08-06', 'openai', 'default_user_id', 'search', 'alice', 'False',
     '{"status": "success", "user_api_key_alias": "key-1", "usage_object": {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306, "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": null}}}'),
    ('msg-1', 'acompletion', 0.5, 9200, 9000, 200, '2026-11-02 10:01', '2026-11-02 10:01:01', 'claude-sonnet-4-5', 'anthropic', 'bob', NULL, '', 'False',
     '{"usage_object": {"prompt_tokens": 9000, "completion_tokens": 200, "total_tokens": 9200, "cache_read_input_tokens": 8000, "cache_creation_input_tokens": 500, "prompt_tokens_details": {"cached_tokens": 8000}}}'),
    ('old-1', 'completion', 0.5, 1500, 1000, 500, '2026-11-02 10:02', '2026-11-02 10:02:01', 'gpt-4o', 'openai', '', NULL, NULL, '', '{"usage_object": null}'),
    ('hit-1', 'completion', 0, 1500, 1000, 500, '2026-11-02 10:03', '2026-11-02 10:03:01', 'gpt-4o', 'openai', '', NULL, NULL, 'True', '{}'),
    ('failed-1', 'completion', 0, 0, 0, 0, '2026-11-02 10:04', '2026-11-02 10:04:01', 'gpt-4o', 'openai', '', NULL, NULL, '', '{"status": "failure"}'),
    ('none-1', 'completion', 0, 0, 0, 0, '2026-11-02 10:05', '2026-11-02 10:05:01', '', '', '', NULL, NULL, '', '{}');
\i :litellm
\i :litellm
SELECT * FROM ledger;
DELETE FROM usage_monitor.usage;

-- Langfuse: a page of its API, and a line of an export
INSERT INTO history VALUES
    ('{"data": [{"id": "obs-1", "traceId": "t", "type": "GENERATION", "name": "summarise", "startTime": "2026-11-02T10:00:00.000Z", "endTime": "2026-11-02T10:00:01.500Z", "model": "claude-sonnet-4-5", "level": "DEFAULT",
        "usageDetails": {"input": 500, "output": 200, "cache_read_input_tokens": 8000, "cache_creation_input_tokens": 500, "total": 9200}, "costDetails": {"total": 3}, "usage": {"input": 500, "output": 200, "total": 9200, "unit": "TOKENS"}},
        {"id": "obs-2", "type": "SPAN", "name": "step", "startTime": "2026-11-02T10:00:00.000Z", "model": null},
        {"id": "obs-3", "type": "GENERATION", "name": "summarise", "startTime": "2026-11-02T10:01:00.000Z", "endTime": null, "model": "gpt-4o-2024-08-06", "level": "ERROR", "statusMessage": "too slow", "usageDetails": {}}], "meta": {"page": 1}}'),
    ('{"id": "obs-4", "type": "GENERATION", "name": "chat", "start_time": "2026-11-02 10:02:00.000", "end_time": "2026-11-02 10:02:01.000", "provided_model_name": "gpt-4o-2024-08-06", "user_id": "alice",
       "usage_details": {"input": 86, "input_cached_tokens": 1920, "output": 300, "total": 2306}}');
\i :langfuse
\i :langfuse
SELECT * FROM ledger;
SELECT request_id, error, duration_ms FROM usage_monitor.usage ORDER BY ts;
DELETE FROM usage_monitor.usage;

-- OpenAI's usage: sums, and of how many calls; each of them is below the size from which all is dearer
TRUNCATE history;
INSERT INTO history VALUES ('{"object": "page", "data": [{"object": "bucket", "start_time": 1793577600, "end_time": 1793664000, "results": [
    {"object": "organization.usage.completions.result", "input_tokens": 1000000, "output_tokens": 5001, "input_cached_tokens": 800000, "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 7, "project_id": "proj_1", "user_id": "user-1", "api_key_id": null, "model": "gpt-5.4", "batch": false},
    {"object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500, "input_cached_tokens": 0, "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 1, "project_id": "proj_1", "user_id": "user-1", "api_key_id": null, "model": "gpt-4o-2024-08-06", "batch": true}]},
    {"object": "bucket", "start_time": 1793664000, "end_time": 1793750400, "results": [{"object": "organization.usage.embeddings.result", "input_tokens": 1001, "num_model_requests": 2, "project_id": null, "user_id": null, "api_key_id": null, "model": "text-embedding-3-small"}, {"object": "organization.usage.images.result", "images": 2, "num_model_requests": 2, "model": "gpt-image-1"}]}], "has_more": false}');
\i :openai
\i :openai
SELECT model, tier, project, user_id, operation, count(*), min(ts), sum(input_tokens) AS input_tokens, max(input_tokens), sum(output_tokens) AS output_tokens, sum(read) AS read, sum(cost), max(unpriced_reason) FROM ledger GROUP BY 1, 2, 3, 4, 5 ORDER BY 1;
-- as if they were one call it would be more
SELECT trim_scale(usage_monitor.cost('gpt-5.4', 1000000, 5001, 800000)) > (SELECT sum(cost) FROM ledger WHERE model = 'gpt-5.4');
DELETE FROM usage_monitor.usage;

-- Anthropic's usage report: sums, by context window
TRUNCATE history;
INSERT INTO history VALUES ('{"data": [{"starting_at": "2026-11-02T00:00:00Z", "ending_at": "2026-11-03T00:00:00Z", "results": [
    {"uncached_input_tokens": 50000, "cache_creation": {"ephemeral_1h_input_tokens": 20000, "ephemeral_5m_input_tokens": 30001}, "cache_read_input_tokens": 800000, "output_tokens": 20000, "server_tool_use": {"web_search_requests": 10}, "api_key_id": null, "workspace_id": "ws", "model": "claude-sonnet-4-5", "service_tier": "standard", "context_window": "0-200k", "inference_geo": null},
    {"uncached_input_tokens": 600000, "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0}, "cache_read_input_tokens": 0, "output_tokens": 1000, "server_tool_use": {"web_search_requests": 0}, "api_key_id": null, "workspace_id": "ws", "model": "claude-sonnet-4-5", "service_tier": "standard", "context_window": "200k-1M", "inference_geo": null},
    {"uncached_input_tokens": 1000, "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0}, "cache_read_input_tokens": 0, "output_tokens": 100, "server_tool_use": {"web_search_requests": 0}, "workspace_id": null, "model": "claude-opus-4-6", "service_tier": "batch", "context_window": "0-200k", "inference_geo": "us"}]}], "has_more": false}');
\i :anthropic
\i :anthropic
SELECT model, tier, project, count(*), min(input_tokens), max(input_tokens), sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(read) AS read, sum(written) AS written, sum(written_1h) AS written_1h,
       string_agg(units::text, ' ') AS units, sum(cost), max(unpriced_reason) FROM ledger GROUP BY 1, 2, 3, input_tokens > 200000 ORDER BY 1, 6;
DELETE FROM usage_monitor.usage;

-- Claude Code: lines of one message, the last with all of its output; what its telemetry tells is the same call
TRUNCATE history;
INSERT INTO history VALUES
    ('{"type": "user", "sessionId": "s1", "message": {"role": "user", "content": "hello"}}'),
    ('{"type": "assistant", "sessionId": "s1", "cwd": "/home/alice/shop", "timestamp": "2026-11-02T10:00:00.000Z", "requestId": "req_1", "uuid": "u1", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [{"type": "thinking"}], "usage": {"input_tokens": 500, "cache_creation_input_tokens": 500, "cache_read_input_tokens": 8000, "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0}, "output_tokens": 3, "service_tier": "standard"}}}'),
    ('{"type": "assistant", "sessionId": "s1", "cwd": "/home/alice/shop", "timestamp": "2026-11-02T10:00:02.000Z", "requestId": "req_1", "uuid": "u2", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [{"type": "text"}], "usage": {"input_tokens": 500, "cache_creation_input_tokens": 500, "cache_read_input_tokens": 8000, "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0}, "output_tokens": 200, "service_tier": "standard"}}}'),
    ('{"type": "assistant", "sessionId": "s1", "timestamp": "2026-11-02T10:01:00.000Z", "uuid": "u3", "message": {"id": "x", "model": "<synthetic>", "role": "assistant", "usage": {"input_tokens": 0, "output_tokens": 0}}, "isApiErrorMessage": true}'),
    ('{"type": "summary", "summary": "said hello"}');
\i :claude_code
\i :claude_code
SELECT outcome FROM usage_monitor.record_span('{"event.name": "api_request", "session.id": "s1", "model": "claude-sonnet-4-5", "input_tokens": "500", "output_tokens": "200", "cache_read_tokens": "8000", "cache_creation_tokens": "500", "request_id": "req_1", "event.timestamp": "2026-11-02T10:00:02.000Z"}');
SELECT * FROM ledger;
SELECT * FROM usage_monitor.request_conflict;
SELECT * FROM usage_monitor.verify();

SET client_min_messages = warning;
DROP SCHEMA regress_other_tools CASCADE;
DROP EXTENSION usage_monitor CASCADE;
