-- import_prices(): public catalogues.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\pset null -

-- a catalogue in LiteLLM's format, with what is odd about the real one
CREATE TABLE catalogue (version integer, content jsonb);
INSERT INTO catalogue VALUES (1, $$
{
  "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ...", "mode": "chat"},
  "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "max_tokens": 16384, "supports_vision": true,
    "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
    "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_token_priority": 4.25e-06, "output_cost_per_token_priority": 1.7e-05},
  "gpt-4o-2024-05-13": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 5e-06, "output_cost_per_token": 1.5e-05},
  "azure/gpt-4o": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05},
  "azure/eu/gpt-4o": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2.75e-06, "output_cost_per_token": 1.1e-05},
  "claude-sonnet-4-5-20250929": {"litellm_provider": "anthropic", "mode": "chat",
    "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
    "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
    "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
    "cache_read_input_token_cost_above_200k_tokens": 6e-07, "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.02, "search_context_size_high": 0.03},
    "provider_specific_entry": {"fast": 6.0, "us": 1.1}, "deprecation_date": "2027-01-01"},
  "us.anthropic.claude-sonnet-4-5-20250929-v1:0": {"litellm_provider": "bedrock_converse", "mode": "chat", "input_cost_per_token": 3.3e-06, "output_cost_per_token": 1.65e-05},
  "bedrock/us-east-1/anthropic.claude-v2:1": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 8e-06, "output_cost_per_token": 2.4e-05},
  "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_second": 0.0175, "output_cost_per_second": 0.0175},
  "gemini/gemini-2.5-pro": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
    "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05},
  "gemini-2.5-pro": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", "input_cost_per_token": 1.3e-06, "output_cost_per_token": 1.1e-05},
  "vertex_ai/claude-3-5-sonnet@20240620": {"litellm_provider": "vertex_ai-anthropic_models", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
  "openrouter/anthropic/claude-3.5-sonnet": {"litellm_provider": "openrouter", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05},
  "openrouter/deepseek/deepseek-r1:free": {"litellm_provider": "openrouter", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0},
  "deepinfra/tiny": {"litellm_provider": "deepinfra", "mode": "chat", "input_cost_per_token": 1.2345678901234567e-12, "output_cost_per_token": 9.999999999999999e-10},
  "text-embedding-3-small": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "output_cost_per_token": 0.0, "output_vector_size": 1536},
  "whisper-1": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0},
  "tts-1": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
  "rerank-v3.5": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
  "aiml/flux-pro": {"litellm_provider": "aiml", "mode": "image_generation", "output_cost_per_image": 0.053},
  "dashscope/qwen3-max": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
    {"range": [0, 32000], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
    {"range": [32000, 128000], "input_cost_per_token": 2.4e-06, "output_cost_per_token": 1.2e-05}]},
  "odd/model": {"litellm_provider": "odd", "mode": "chat", "input_cost_per_token": "cheap", "output_cost_per_token": -1, "input_cost_per_dream": 4, "cache_read_input_token_cost": null}
}
$$);

SELECT provider, model, meter, new, note
FROM usage_monitor.import_prices((SELECT content FROM catalogue WHERE version = 1), 'litellm')
WHERE change = 'new';
-- twice is once; what is not understood is told each time
SELECT change, provider, model, note
FROM usage_monitor.import_prices((SELECT content FROM catalogue WHERE version = 1), 'litellm');

-- every price is the catalogue's own arithmetic, by the name as written, with or without the provider
CREATE VIEW checked AS
SELECT m.key,
       usage_monitor.cost(m.key, 1234567, 7654) AS bare,
       usage_monitor.cost(m.key, 1234567, 7654, provider => m.value ->> 'litellm_provider') AS named,
       1234567 * coalesce(m.value -> 'input_cost_per_token_above_200k_tokens', m.value -> 'input_cost_per_token')::numeric
         + 7654 * coalesce(m.value -> 'output_cost_per_token_above_200k_tokens', m.value -> 'output_cost_per_token')::numeric
         + coalesce((m.value -> 'input_cost_per_query')::numeric, 0) AS expected
FROM catalogue AS c, jsonb_each(c.content) AS m
WHERE c.version = 1 AND m.key NOT IN ('sample_spec', 'odd/model', 'deepinfra/tiny') AND m.value ? 'output_cost_per_token';
SELECT count(*) AS models, count(*) FILTER (WHERE bare = expected) AS bare, count(*) FILTER (WHERE named = expected) AS named FROM checked;
SELECT * FROM checked WHERE bare IS DISTINCT FROM expected OR named IS DISTINCT FROM expected;

-- the rest by hand
SELECT usage_monitor.cost('gpt-4o', 1000, 100, 500) AS standard,
       usage_monitor.cost('gpt-4o', 1000, 100, service_tier => 'batch') AS batch,
       usage_monitor.cost('gpt-4o', 1000, 100, service_tier => 'priority') AS priority;
SELECT usage_monitor.cost('claude-sonnet-4-5-20250929', 200000, 0, 0, 100000, 50000) AS "200000",
       usage_monitor.cost('claude-sonnet-4-5-20250929', 200001, 0, 0, 100000, 50000) AS "200001",
       usage_monitor.cost('claude-sonnet-4-5-20250929', 0, 0, units => '{"web_search": 3}') AS searches;
SELECT usage_monitor.cost('whisper-1', 0, 0, units => '{"second": 90.5}') AS seconds,
       usage_monitor.cost('tts-1', 0, 0, units => '{"character": 1000}') AS characters,
       usage_monitor.cost('rerank-v3.5', 0, 0, provider => 'cohere') AS query,
       usage_monitor.cost('aiml/flux-pro', 0, 0, units => '{"image": 2}') AS images;
SELECT usage_monitor.cost('dashscope/qwen3-max', 32000, 1) AS "32000", usage_monitor.cost('dashscope/qwen3-max', 32001, 1) AS "32001";
SELECT usage_monitor.cost('odd/model', 1, 1) AS "no price";
-- what a float adds behind its 15 digits is no price
SELECT usage_monitor.cost('deepinfra/tiny', 1000000000, 0) AS input, usage_monitor.cost('deepinfra/tiny', 0, 1000000000) AS output;
-- factors: in one country, in fast mode
SELECT usage_monitor.cost('claude-sonnet-4-5-20250929', 1000, 0) AS standard,
       usage_monitor.cost('claude-sonnet-4-5-20250929', 1000, 0, units => '{"us_inference": 1}') AS in_the_us,
       usage_monitor.cost('claude-sonnet-4-5-20250929', 1000, 100, service_tier => 'fast') AS fast;

-- a year later: one price changed, one went, one is a typo
INSERT INTO usage_monitor.usage (ts, model, input_tokens, output_tokens) VALUES ('2025-06-01', 'gpt-4o', 1000000, 0);
INSERT INTO catalogue SELECT 2, jsonb_build_object(
    'gpt-4o', ((content -> 'gpt-4o') || '{"input_cost_per_token": 2e-06}'::jsonb) - 'cache_read_input_token_cost',
    'gpt-4o-2024-05-13', (content -> 'gpt-4o-2024-05-13') || '{"input_cost_per_token": 5e-05}'::jsonb,
    'brand-new', '{"litellm_provider": "openai", "input_cost_per_token": 1e-06}'::jsonb)
FROM catalogue WHERE version = 1;
SELECT * FROM usage_monitor.import_prices((SELECT content FROM catalogue WHERE version = 2), 'litellm', '2026-01-01');
SELECT usage_monitor.cost('gpt-4o', 1000000, 0, 1000, at => '2025-12-31 23:59:59.999999') AS before,
       usage_monitor.cost('gpt-4o', 1000000, 0, 1000, at => '2026-01-01') AS after,
       usage_monitor.cost('gpt-4o-2024-05-13', 1000000, 0, at => '2026-01-01') AS "held back",
       usage_monitor.cost('claude-sonnet-4-5-20250929', 1000, 0, at => '2026-01-01') AS "not listed";
SELECT cost FROM usage_monitor.usage;
SELECT * FROM usage_monitor.reprice('2025-01-01', '2026-01-01');
SELECT provider, model, meter, change, old, new
FROM usage_monitor.import_prices((SELECT content FROM catalogue WHERE version = 2), 'litellm', '2026-01-01', confirm => true);
SELECT * FROM usage_monitor.import_prices((SELECT content FROM catalogue WHERE version = 2), 'litellm', '2026-01-01');
SELECT model, service_tier, valid FROM usage_monitor.price
WHERE origin = 'import' AND model IN ('gpt-4o', 'gpt-4o-2024-05-13') AND provider = 'openai' ORDER BY model, service_tier, valid;

-- genai-prices: dates, hours, tiers
SELECT provider, model, meter, change, new, note FROM usage_monitor.import_prices($$
[{"id": "acme", "models": [
  {"id": "plain", "prices": {"input_mtok": 0.1, "output_mtok": 0.4, "web_searches_kcount": 10}},
  {"id": "tiers", "prices": {"input_mtok": {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]}, "output_mtok": 10, "dream_mtok": 1}},
  {"id": "dated", "prices": [
    {"prices": {"input_mtok": 10}},
    {"constraint": {"type": "start_date", "start_date": "2025-06-10"}, "prices": {"input_mtok": 2}}]},
  {"id": "hours", "prices": [
    {"prices": {"input_mtok": 2}},
    {"constraint": {"type": "time_of_date", "start_time": "16:30:00Z", "end_time": "00:30:00Z"}, "prices": {"input_mtok": 1}}]}]}]
$$, 'genai-prices');
SELECT usage_monitor.cost('dated', 1000000, 0, at => '2025-06-09 23:59:59.999999') AS before,
       usage_monitor.cost('dated', 1000000, 0, at => '2025-06-10') AS after,
       usage_monitor.cost('hours', 1000000, 0, at => '2025-06-10 00:29:59') AS "off peak",
       usage_monitor.cost('hours', 1000000, 0, at => '2025-06-10 00:30:00') AS peak,
       usage_monitor.cost('plain', 0, 0, units => '{"web_search": 1}') AS search;

-- models.dev
SELECT provider, model, meter, change, new, note FROM usage_monitor.import_prices($$
{"acme": {"id": "acme", "models": {
  "dev-1": {"id": "dev-1", "cost": {"input": 1.25, "output": 10, "cache_read": 0.125, "context_over_200k": {"input": 2.5, "output": 15, "cache_read": 0.25}}},
  "dev-2": {"id": "dev-2", "cost": {"input": 1, "output": 2, "tiers": [{"tier": {"type": "context", "size": 32000}, "input": 3, "output": 6}], "telepathy": 1}},
  "dev-3": {"id": "dev-3"}}}}
$$, 'models.dev');

-- two of its providers are one of ours: the one that is called so is right, and the other is told of
SELECT provider, model, meter, change, new, note FROM usage_monitor.import_prices($$
{"google-vertex": {"id": "google-vertex", "models": {"both": {"id": "both", "cost": {"input": 3, "output": 4}}, "vertex-only": {"id": "vertex-only", "cost": {"input": 5}}}},
 "google": {"id": "google", "models": {"both": {"id": "both", "cost": {"input": 1, "output": 2}}}},
 "volcengine": {"id": "volcengine", "models": {"one": {"id": "one", "cost": {"input": 7}}}},
 "doubao": {"id": "doubao", "models": {"one": {"id": "one", "cost": {"input": 8}}}}}
$$, 'models.dev');

-- OpenRouter: texts, in dollars for one; -1 where another model says what a call costs
CREATE TABLE openrouter (content jsonb);
INSERT INTO openrouter VALUES ($$
{"data": [
  {"id": "acme/router-1", "name": "One", "pricing": {"prompt": "0.0000015", "completion": "0.0000075", "input_cache_read": "0.00000015", "input_cache_write": "0.00000008333333333333334",
     "internal_reasoning": "0.0000075", "audio": "0.000003", "input_audio_cache": "0.0000003", "image": "0.0000015", "image_output": "0.00003", "request": "0", "web_search": "0.014",
     "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000003", "completion": "0.000009000000000000001"}, {"at_full_moon": true, "prompt": "0.1"}]}},
  {"id": "acme/router-1:free", "pricing": {"prompt": "0", "completion": "0"}},
  {"id": "acme/auto", "pricing": {"prompt": "-1", "completion": "-1"}},
  {"id": "acme/odd", "pricing": {"prompt": "0.000001", "completion": "free", "image": "0.0036", "telepathy": "1"}},
  {"id": "acme/none"}],
 "total_count": 5}
$$);
SELECT provider, model, meter, change, new, note FROM openrouter, usage_monitor.import_prices(content, 'openrouter');
SELECT change, count(*) FROM openrouter, usage_monitor.import_prices(content, 'openrouter') GROUP BY change;
SELECT usage_monitor.cost('acme/router-1', 199999, 100, provider => 'openrouter') AS below, usage_monitor.cost('acme/router-1', 200000, 100, provider => 'openrouter') AS above,
       usage_monitor.cost('openrouter/acme/router-1:free', 100, 100) AS free, usage_monitor.cost('acme/auto', 1, 1, provider => 'openrouter') AS unknown;

-- which format it is, is seen by itself
SELECT _usage_monitor._catalogue_format(c.content) FROM catalogue AS c
UNION ALL SELECT _usage_monitor._catalogue_format(content) FROM openrouter
UNION ALL SELECT _usage_monitor._catalogue_format(c::jsonb) FROM unnest(ARRAY['{"acme": {"models": {"a": {}}}}', '[{"id": "a", "models": [{"id": "b"}]}]', '[{"meter": "input"}]', '{}', '[]', '5', '{"a": 1}']) AS c;
SELECT DISTINCT change FROM openrouter, usage_monitor.import_prices(content);
SELECT * FROM usage_monitor.import_prices('{"a": 1}');
SELECT * FROM usage_monitor.import_prices('{"models": []}', 'openrouter');
DROP TABLE openrouter;

-- usage_monitor's own: a dated piece goes into what is there, and the rest stays
SELECT model, meter, change, old, new, note FROM usage_monitor.import_prices($$
[{"provider": "acme", "model": "own", "meter": "input", "amount": 0.002, "per": 1000, "currency": "CNY", "service_tier": "batch"},
 {"provider": "acme", "model": "plain", "meter": "input", "amount": "0.2", "valid_from": "2026-03-01T00:00:00Z", "valid_to": "2026-04-01T00:00:00Z", "nonsense": 1}]
$$, 'usage_monitor');
SELECT valid, (SELECT array_agg(meter ORDER BY meter) FROM usage_monitor.price_rate AS r WHERE r.price_id = p.price_id) AS meters
FROM usage_monitor.price AS p WHERE model = 'plain' ORDER BY valid;

-- all or nothing
SELECT count(*) AS prices FROM usage_monitor.price WHERE origin = 'import' \gset
SELECT * FROM usage_monitor.import_prices('[]', 'litellm');
SELECT * FROM usage_monitor.import_prices('{}', 'litellm');
SELECT * FROM usage_monitor.import_prices(NULL, 'models.dev');
SELECT * FROM usage_monitor.import_prices('{}', 'csv');
SELECT * FROM usage_monitor.import_prices('[{"provider": "acme", "model": "a", "meter": "input", "amount": 1}, {"provider": "acme", "model": "b", "meter": "luck", "amount": 1}]', 'usage_monitor');
SELECT * FROM usage_monitor.import_prices('[{"provider": "acme", "model": "a", "meter": "input", "amount": 1}, {"provider": "acme", "model": "b", "meter": "input", "amount": 1, "per": 3}]', 'usage_monitor');
\set VERBOSITY sqlstate
SELECT * FROM usage_monitor.import_prices('[{"provider": "acme", "model": "a", "meter": "input", "amount": 1, "valid_to": "2026-01-01"}, {"provider": "acme", "model": "a", "meter": "input", "amount": 2, "valid_from": "2025-01-01"}]', 'usage_monitor');
\set VERBOSITY default
SELECT count(*) = :prices AS unchanged FROM usage_monitor.price WHERE origin = 'import';

DROP VIEW checked;
DROP TABLE catalogue;
DROP EXTENSION usage_monitor CASCADE;
