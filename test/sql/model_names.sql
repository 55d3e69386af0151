-- Where the names that applications write lead.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;

-- one line a name: who bills, the name in the price book, how it was found
CREATE VIEW chosen AS
SELECT w.n, w.model AS written, r.at_provider, r.name, r.how
FROM (VALUES
    (1, 'gpt-4o'),
    (2, 'gpt-4o-2024-11-20'),
    (3, 'claude-sonnet-4-5-20250929'),
    (4, 'openai/gpt-4o'),
    (5, 'azure/gpt-4o-2024-08-06'),
    (6, 'gemini/gemini-2.5-pro'),
    (7, 'models/gemini-2.5-flash'),
    (8, 'publishers/google/models/gemini-2.0-flash-001'),
    (9, 'vertex_ai/claude-3-5-sonnet@20240620'),
    (10, 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    (11, 'bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    (12, 'bedrock/us-east-1/us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    (13, 'arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    (14, 'openrouter/anthropic/claude-3.5-sonnet'),
    (15, 'anthropic/claude-3.5-sonnet'),
    (16, 'GPT-4o'),
    (17, 'ft:gpt-4o-mini-2024-07-18:acme::id'),
    (18, 'mistral-large-latest'),
    (19, 'ollama/llama3.3:70b')
) AS w (n, model)
LEFT JOIN LATERAL (
    SELECT * FROM usage_monitor.resolve_model(NULL, w.model) WHERE chosen
) AS r ON true;
SELECT written, at_provider, name, how FROM chosen ORDER BY n;

-- every step is shown, whether or not it has a price
SELECT step, at_provider, name, how, has_price, origin, chosen
FROM usage_monitor.resolve_model(NULL, 'vertex_ai/claude-3-5-sonnet@20240620');

-- what a free model's name begins with is another model, and so is what was tuned
SELECT m AS written, usage_monitor.cost(m, 1000000, 0)
FROM unnest(ARRAY['gpt-4o:free', 'openrouter/openai/gpt-4o:free', 'deepseek/deepseek-r1:free',
                  'ft:gpt-5:acme::id', 'ft:davinci-9']) AS m;

-- nor is anything guessed across families, or across those who bill
SELECT m AS written, usage_monitor.cost(m, 1000000, 0)
FROM unnest(ARRAY['gpt-99', 'claude', 'gpt-4o-turbo-max', 'acme/gpt-4o', 'bedrock/us-east-1/6-month-commitment/anthropic.claude-v1']) AS m;
SELECT usage_monitor.cost('gpt-4o', 1000000, 0, provider => 'acme') AS "unknown provider",
       usage_monitor.cost('claude-sonnet-4-5', 1000000, 0, provider => 'openai') AS "another's model";

-- the provider's other names
SELECT DISTINCT usage_monitor.cost('gemini-2.5-flash', 1000000, 0, provider => p)
FROM unnest(ARRAY['google', 'gemini', 'gcp.gemini', 'vertex_ai', 'Vertex_AI', 'vertex_ai-language-models']) AS p;

-- an alias of one's own: the longest pattern wins
INSERT INTO usage_monitor.model_alias (pattern, provider, model) VALUES
    ('acme-*', 'openai', 'gpt-4o'),
    ('acme-small-*', 'openai', 'gpt-4o-mini');
SELECT name, how FROM usage_monitor.resolve_model(NULL, 'acme-chat') WHERE chosen;
SELECT name, how FROM usage_monitor.resolve_model(NULL, 'acme-small-chat') WHERE chosen;

-- where a name leads, the price is found again by the provider it was filled with
CREATE TEMPORARY TABLE price_seen AS
SELECT DISTINCT p.model FROM usage_monitor.price AS p WHERE p.model <> '*';
SELECT count(*) AS names, count(*) FILTER (WHERE again IS DISTINCT FROM first) AS lost
FROM (
    SELECT f.leads_to,
           f.price_id AS first,
           (SELECT a.price_id FROM _usage_monitor._applicable_rates(f.leads_to, s.model) AS a LIMIT 1) AS again
    FROM (SELECT * FROM price_seen ORDER BY md5(model) LIMIT 150) AS s
    CROSS JOIN LATERAL (SELECT * FROM _usage_monitor._applicable_rates(NULL, s.model) LIMIT 1) AS f
) AS x;

-- the next version of a family is not the one before: it has no price until somebody gives one
SELECT m AS written, usage_monitor.cost(m, 1000000, 0) AS cost
FROM unnest(ARRAY['claude-opus-4-1-20250805', 'claude-opus-4-10', 'claude-opus-4-7-fast', 'claude-sonnet-5-20260630', 'claude-sonnet-5-7', 'claude-sonnet-4-50',
                  'gemini-3.6-flash-preview-09-2026', 'gemini-3.6-flash-xl', 'gemini-1.5-flash-002', 'gemini-1.5-flash-8b', 'gpt-5-nano-2025-08-07', 'gpt-5-nano-2',
                  'kimi-k2.5-thinking', 'magistral-medium-2509', 'magistral-medium-2', 'us.amazon.nova-lite-v1:0', 'us.amazon.nova-lite-v2:0', 'amazon.titan-embed-text-v2:0',
                  'amazon.titan-embed-text-v3:0', 'eu.anthropic.claude-opus-5-v1:0', 'eu.anthropic.claude-opus-5-9-v1:0']) AS m;
-- no shipped pattern that leads to a price takes the name with another version behind it
SELECT a.pattern, n.name
FROM usage_monitor.model_alias AS a
CROSS JOIN LATERAL (VALUES (replace(a.pattern, '*', '') || '-9'), (replace(a.pattern, '*', '') || '.9'), (replace(a.pattern, '*', '') || '-12b'),
                           (replace(a.pattern, '*', '') || '-ultra'), ('x9' || replace(a.pattern, '*', ''))) AS n (name)
WHERE a.origin = 'shipped' AND a.model IS NOT NULL AND a.pattern !~ '\.ft-\*$'
  AND _usage_monitor._alias_matches(n.name, a.pattern, a.model, a.origin);

-- what an alias stands for is a name like any other: a region, a date, another alias
BEGIN;
INSERT INTO usage_monitor.model_alias (pattern, provider, model) VALUES
    ('profile-1', 'bedrock', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
    ('profile-2', 'anthropic', 'claude-sonnet-4-5-20250929'),
    ('profile-3', NULL, 'openai/gpt-4o-2024-08-06'),
    ('profile-4', NULL, 'profile-2'),
    ('round-1', NULL, 'round-2'), ('round-2', NULL, 'round-1');
SELECT m AS written, usage_monitor.cost(m, 1000, 1000) AS cost, usage_monitor.cost(t, 1000, 1000) AS of_what_it_stands_for
FROM (VALUES ('profile-1', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'), ('profile-2', 'claude-sonnet-4-5'), ('profile-3', 'gpt-4o'), ('profile-4', 'claude-sonnet-4-5'),
             ('round-1', 'round-2')) AS n (m, t);
SELECT step, at_provider, name, how, chosen FROM usage_monitor.resolve_model(NULL, 'profile-1') ORDER BY step;
ROLLBACK;

-- client libraries name an interface of the provider
SELECT p AS written, _usage_monitor._canonical_provider(p) AS provider, usage_monitor.cost(m, 1000000, 0, provider => p) AS cost
FROM (VALUES ('openai.responses', 'gpt-4o'), ('azure.chat', 'gpt-4o'), ('anthropic.messages', 'claude-sonnet-4-5'), ('google.generative-ai', 'gemini-2.5-flash'),
             ('google.vertex.chat', 'gemini-2.5-flash'), ('vertex.anthropic.messages', 'claude-sonnet-4-5'), ('amazon-bedrock', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'),
             ('xai.chat', 'grok-4.6'), ('mistral.chat', 'mistral-large-2512'), ('acme.chat', 'gpt-4o')) AS l (p, m);

-- rolling names have cost what the model behind them cost
SELECT m AS model, usage_monitor.cost(m, 1000000, 1000000, at => t::timestamptz) AS cost, t AS at
FROM (VALUES ('deepseek-chat', '2025-01-10 12:00Z'), ('deepseek-chat', '2025-06-01 12:00Z'), ('deepseek-chat', '2025-06-01 20:00Z'), ('deepseek-chat', '2025-12-01 20:00Z'),
             ('deepseek-reasoner', '2025-12-01 12:00Z'), ('deepseek-chat', '2026-06-01 12:00Z'), ('deepseek-v4-flash', '2026-08-18 02:00Z'), ('deepseek-v4-flash', '2026-11-18 02:00Z'),
             ('deepseek-v4-flash', '2026-11-18 20:00Z'), ('deepseek-flash', '2026-11-21 02:00Z'),
             ('mistral-large-latest', '2025-11-01Z'), ('mistral-large-latest', '2026-01-01Z'), ('mistral-medium-latest', '2026-01-01Z'), ('mistral-medium-latest', '2026-08-01Z'),
             ('gemini-4-argon', '2026-11-20Z'), ('gemini-4-argon', '2026-12-02Z'), ('claude-sonnet-5-5', '2026-10-10Z'),
             ('gemini-pro-latest', '2026-01-01Z'), ('gemini-pro-latest', '2026-02-01Z'), ('gemini-flash-latest', '2026-01-01Z'), ('gemini-flash-latest', '2026-02-01Z'), ('gemini-flash-latest', '2026-08-01Z')) AS c (m, t);

-- a price of one's own, of whatever name leads there
SELECT usage_monitor.set_price('gpt-4o', 1, 1, provider => 'openai') > 0 AS set;
SELECT usage_monitor.cost('gpt-4o-2024-11-20', 1000000, 0);
-- of any model at all, but for those that say they are free
SELECT usage_monitor.set_price('*', 7, 7) > 0 AS set;
SELECT usage_monitor.cost('whatever', 1000000, 0), usage_monitor.cost('whatever:free', 1000000, 0);

DROP VIEW chosen;
DROP EXTENSION usage_monitor CASCADE;
