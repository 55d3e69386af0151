-- Where the names that applications write lead.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS usage_monitor CASCADE;
CREATE EXTENSION usage_monitor CASCADE;
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

-- a price of one's own, of whatever name leads there
SELECT usage_monitor.set_price('gpt-4o', 1, 1, provider => 'openai') > 0 AS set;
SELECT usage_monitor.cost('gpt-4o-2024-11-20', 1000000, 0);
-- of any model at all, but for those that say they are free
SELECT usage_monitor.set_price('*', 7, 7) > 0 AS set;
SELECT usage_monitor.cost('whatever', 1000000, 0), usage_monitor.cost('whatever:free', 1000000, 0);

DROP VIEW chosen;
DROP EXTENSION usage_monitor;
