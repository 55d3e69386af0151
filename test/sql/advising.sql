--
-- Advice: where money could be saved
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET timezone = 'America/Los_Angeles';  -- the ledger's days are not the session's
\set SHOW_CONTEXT never

-- An empty ledger
SELECT count(*) FROM usage_monitor.optimization_suggestion;

-- Alternatives: shipped ones are read only, and priced where their models are
SELECT count(*) > 50 AS shipped FROM usage_monitor.model_alternative;
SELECT a.* FROM (VALUES ('openai', 'gpt-4o-2024-08-06'), (NULL, 'claude-opus-4-1-20250805'), ('aws', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'), ('openai', 'gpt-4o-mini')) AS m (provider, model) CROSS JOIN LATERAL _usage_monitor._alternatives(m.provider, m.model) AS a;
-- and are cheaper, each of them
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
SELECT a.pattern, a.alternative, c.old_cost, c.new_cost
  FROM usage_monitor.model_alternative a
 CROSS JOIN LATERAL unnest('{0,1000}'::bigint[]) AS output
 CROSS JOIN LATERAL (SELECT usage_monitor.cost(replace(a.pattern, '*', '-latest'), 10000, output), usage_monitor.cost(a.alternative, 10000, output)) AS c (old_cost, new_cost)
 WHERE (output = 0 OR a.pattern !~ 'embedding|voyage') AND NOT coalesce(c.new_cost < c.old_cost, false);
SELECT r.* FROM unnest(ARRAY[
    'UPDATE usage_monitor.model_alternative SET enabled = false WHERE alternative = ''gpt-4o-mini''',
    'DELETE FROM usage_monitor.model_alternative',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative, origin) VALUES (''a'', ''b'', ''shipped'')',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative, origin) VALUES (''a'', ''b'', ''me'')',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES ('''', ''b'')',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES (''a'', '''')',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative, provider) VALUES (''a'', ''b'', '''')',
    'INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES (''a'', ''b*'')',
    'INSERT INTO usage_monitor.model_alternative (pattern) VALUES (''a'')']) WITH ORDINALITY AS t (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
-- one of one's own precedes, and takes out
INSERT INTO usage_monitor.model_alternative (pattern, alternative, note, enabled) VALUES ('gpt-4o', 'gpt-4o-mini', 'not for us', false), ('gpt-4o', 'gpt-4.1-mini', 'evaluated', true);
INSERT INTO usage_monitor.model_alternative (pattern, alternative, provider) VALUES ('gpt-4o*', 'deepseek-chat', 'DeepSeek');
SELECT a.* FROM _usage_monitor._alternatives('openai', 'gpt-4o-2024-08-06') AS a;
DELETE FROM usage_monitor.model_alternative WHERE origin = 'user';
-- and takes out what was suggested by another name, for that model; a closer row of one's own brings it back; nothing at one provider alone
CREATE VIEW pg_temp.for_4o AS
SELECT m.model, string_agg(a.alternative || ' at ' || a.provider, ', ' ORDER BY a.alternative, a.provider) AS alternatives
  FROM unnest('{gpt-4o,gpt-4o-2024-08-06,openai/gpt-4o-2024-11-20}'::text[]) AS m (model) LEFT JOIN LATERAL _usage_monitor._alternatives('openai', m.model) AS a ON true GROUP BY m.model ORDER BY m.model;
INSERT INTO usage_monitor.model_alternative (pattern, alternative, enabled) VALUES ('gpt-4o-2024-08-06', 'gpt-4o-mini', false);
SELECT * FROM pg_temp.for_4o;
INSERT INTO usage_monitor.model_alternative (pattern, alternative, enabled) VALUES ('gpt-4*', 'gpt-4o-mini', false), ('gpt-4o-2024-11-20', 'gpt-4o-mini', true);
SELECT * FROM pg_temp.for_4o;
DELETE FROM usage_monitor.model_alternative WHERE origin = 'user';
INSERT INTO usage_monitor.model_alternative (pattern, alternative, provider, enabled) VALUES ('gpt-4o*', 'deepseek-chat', 'deepseek', true), ('gpt-4o', 'gpt-4o-mini', 'azure', false), ('gpt-4o-2024-08-06', 'deepseek-chat', NULL, false), ('gpt-4o', 'deepseek-chat', 'openai', false);
SELECT * FROM pg_temp.for_4o;
DELETE FROM usage_monitor.model_alternative WHERE origin = 'user';

-- Calls of one size cost what they cost one by one; the last takes the remainder
SELECT count(usage_monitor.set_price('big', 10, 40, cache_read => 1, cache_write => 12.5, provider => 'acme')),
       count(usage_monitor.set_price('small', 1, 4, cache_read => 0.1, provider => 'acme')),
       count(usage_monitor.set_price('middle', 3, 12, provider => 'acme')),
       count(usage_monitor.set_price('big', 5, 20, provider => 'acme', service_tier => 'batch'));
SELECT _usage_monitor._cost_of_calls(n, 1000, 70, 33, 500, 7, 'acme', 'big', 'standard', NULL, now()) = usage_monitor.cost('big', 1103, 507, 70, 33, reasoning_output_tokens => 7, provider => 'acme') AS same FROM unnest('{1,2,3,7,1000,5000}'::bigint[]) AS n;
SELECT _usage_monitor._cost_of_calls(0, 1, 0, 0, 0, 0, 'acme', 'big', 'standard', NULL, now()), _usage_monitor._cost_of_calls(1, 1, 0, 0, 0, 0, 'acme', 'nobody', 'standard', NULL, now());
-- in a price with a context tier by the average call: ten calls of 600 are below 1,000, ten of 1,200 are not
WITH p AS (INSERT INTO usage_monitor.price (provider, model, currency) VALUES ('acme', 'tiered', 'USD') RETURNING price_id)
INSERT INTO usage_monitor.price_rate (price_id, meter, amount, context_from) SELECT p.price_id, r.* FROM p, (VALUES ('input', 1, 0), ('input', 2, 1000), ('output', 1, 0)) AS r;
SELECT _usage_monitor._cost_of_calls(10, t, 0, 0, 0, 0, 'acme', 'tiered', 'standard', NULL, now()) FROM unnest('{6000,12000}'::bigint[]) AS t;

-- A month of two organisations; suggestions as of its end
INSERT INTO usage_monitor.model_alternative (pattern, alternative, note) VALUES ('big', 'small', 'a tenth of it'), ('b*g', 'middle', NULL), ('small', 'big', 'dearer'), ('middle', 'nobody', 'no price');
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cache_read_input_tokens, reasoning_output_tokens, operation, source, duration_ms)
SELECT '2026-05-31 20:00Z'::timestamptz - n * interval '1 hour', CASE n % 3 WHEN 0 THEN 'one' ELSE 'two' END, 'acme', 'big', 1000 + n, 200 + n % 7, n % 40, n % 5, 'chat', 'web', 900
  FROM generate_series(1, 700) AS n;
CREATE VIEW pg_temp.suggestions AS SELECT * FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z');
SELECT s.type, s.org, s.subject, s.title, s.current_cost, s.potential_savings, s.savings_percentage, s.effort, s.priority, s.currency FROM pg_temp.suggestions s;
-- the same, call by call
SELECT s.org, s.current_cost = sum(u.cost) AS same_cost, s.potential_savings = sum(u.cost - c.cost) AS same_savings
  FROM pg_temp.suggestions s
  JOIN usage_monitor.usage u ON (s.org IS NULL OR u.org = s.org) AND usage_monitor.ledger_day(u.ts) BETWEEN '2026-05-02' AND '2026-05-31'
 CROSS JOIN LATERAL usage_monitor.cost('small', u.input_tokens, u.output_tokens, u.cache_read_input_tokens, reasoning_output_tokens => u.reasoning_output_tokens, provider => 'acme', at => u.ts) AS c (cost)
 WHERE s.type = 'model' GROUP BY s.org, s.current_cost, s.potential_savings ORDER BY s.org NULLS FIRST;
SELECT description, recommendations, jsonb_pretty(evidence) FROM pg_temp.suggestions WHERE org IS NULL;
-- what it says to see no more of it does that, again and again, whatever the alternative comes from
BEGIN;
CREATE FUNCTION pg_temp.see_no_more() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOR n IN 1..3 LOOP
        SELECT substring(s.recommendations[3] FROM 'INSERT.*[^.]') INTO statement FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z') s WHERE type = 'model' AND org IS NULL;
        EXIT WHEN statement IS NULL;
        RETURN NEXT statement;
        EXECUTE statement;
    END LOOP;
END
$$;
SELECT * FROM pg_temp.see_no_more();
ROLLBACK;
-- of one organisation, of fewer days, of none beside all together
SELECT org, subject, current_cost, evidence->>'from' AS since FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z', 'one');
SELECT org, subject, current_cost, evidence->>'from' AS since FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z', days => 1);
SELECT org, subject FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z', organisations => 0);
SELECT org, subject FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z', organisations => 1);
SELECT count(*) FROM usage_monitor.suggest_optimizations('2026-04-30');
-- what the price book does not explain is no saving: calls that were answered by the own cache, that have no cost, or a contract's
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cached) SELECT '2026-05-20', 'one', 'acme', 'big', 1000, 200, true FROM generate_series(1, 10);
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cost) SELECT '2026-05-21', 'one', 'acme', 'middle', 1000000, 0, 1 FROM generate_series(1, 10);
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, units) VALUES ('2026-05-22', 'one', 'acme', 'big', 1000000, '{"web_search": 1}');
INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES ('middle', 'small');
SELECT org, subject, current_cost, potential_savings, evidence->'requests' AS requests, evidence->'priced_calls' AS priced_calls, evidence->'price_book_cost' AS price_book_cost, evidence->'base_cost' AS base_cost, evidence->'alternative_cost' AS alternative_cost FROM pg_temp.suggestions WHERE org IS NULL AND type = 'model';
-- too little to mention: less than 1 dollar, and than 1 % of all
DELETE FROM usage_monitor.usage WHERE model = 'middle';
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens) VALUES ('2026-05-21', 'one', 'acme', 'middle', 30000);
SELECT count(*) FROM pg_temp.suggestions WHERE subject = 'middle' AND org IS NULL;
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens) VALUES ('2026-05-21', 'one', 'acme', 'middle', 50000);
SELECT org, type, subject, potential_savings, priority FROM pg_temp.suggestions WHERE subject = 'middle';
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.model_alternative WHERE origin = 'user';

-- The batch tier, for what nobody waits for: half of the cost of big, and middle has none
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, operation, source, service_tier, duration_ms)
SELECT '2026-05-20', 'one', 'acme', m, 1000000, o, s, t, d
  FROM (VALUES ('big', 'embeddings', 'web', 'standard', 500), ('big', 'chat', 'nightly-report', 'standard', 500), ('middle', 'chat', 'web', 'standard', 500),
               ('big', 'chat', 'debate', 'standard', 500), ('big', 'chat', 'agent', 'standard', 90000), ('big', 'research', 'web', 'batch', 90000)) AS c (m, o, s, t, d);
SELECT type, subject, title, description, current_cost, potential_savings, savings_percentage, evidence FROM pg_temp.suggestions WHERE type = 'tier';
SELECT n, _usage_monitor._looks_offline(n) FROM unnest('{batch,embeddings,Nightly Report,etl_job,my-eval-2,chat,debate,combat,reindexes,evaluate,pipeline}'::text[]) AS n;
DELETE FROM usage_monitor.usage;

-- what is in the batch tier already is not to be saved again, nor what has none; the rest is priced call by call
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, source, service_tier)
SELECT '2026-05-20', (ARRAY['one', 'two'])[1 + n % 2], 'acme', m, 1000 + n, 100, s, t
  FROM (VALUES ('big', 'nightly', 'batch', 400), ('middle', 'etl', 'standard', 400), ('big', 'web', 'standard', 600), ('big', 'cron', 'batch', 100), ('big', 'cron', 'standard', 100), ('middle', 'cron', 'standard', 100)) AS c (m, s, t, calls), generate_series(1, calls) AS n;
SELECT s.org, s.subject, s.description, s.current_cost, s.potential_savings, s.evidence->'models' AS models, s.evidence->'standard_tier_cost' AS standard_tier_cost FROM pg_temp.suggestions s WHERE type = 'tier';
SELECT o.org, sum(u.cost - usage_monitor.cost(u.model, u.input_tokens, u.output_tokens, provider => 'acme', service_tier => 'batch', at => u.ts)) AS known
  FROM usage_monitor.usage u, unnest('{NULL,one,two}'::text[]) AS o (org) WHERE u.source = 'cron' AND u.service_tier = 'standard' AND (o.org IS NULL OR u.org = o.org) GROUP BY o.org ORDER BY o.org NULLS FIRST;
-- a reported cost below the batch tier's price is no saving, and one above it is one down from the list price
UPDATE usage_monitor.usage SET cost = 0.001, input_cost = NULL, output_cost = NULL WHERE source = 'cron' AND model = 'big' AND service_tier = 'standard';
SELECT count(*) FROM pg_temp.suggestions s WHERE type = 'tier';
UPDATE usage_monitor.usage SET cost = 0.1, input_cost = NULL, output_cost = NULL WHERE source = 'cron' AND model = 'big' AND service_tier = 'standard';
SELECT org, subject, current_cost, potential_savings, evidence->'base_cost' AS base_cost FROM pg_temp.suggestions s WHERE type = 'tier';
DELETE FROM usage_monitor.usage;
-- a model that has a price for input alone, and one that has a batch tier by a contract
SELECT count(usage_monitor.set_price('embedder', 2, NULL, provider => 'acme')), count(usage_monitor.set_price('embedder', 1, NULL, provider => 'acme', service_tier => 'batch')), count(usage_monitor.set_price('middle', 1, 4, provider => 'acme', service_tier => 'batch', org => 'two'));
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, operation) SELECT '2026-05-20', o, 'acme', m, 1000000, 'indexing' FROM unnest('{one,two}'::text[]) AS o, unnest('{embedder,middle}'::text[]) AS m;
SELECT s.org, s.potential_savings, s.evidence->'models' AS models FROM pg_temp.suggestions s WHERE type = 'tier';
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.price WHERE model = 'middle' AND org = 'two';

-- A cheaper model is compared in the tier of the calls, as what_if() does; the same for each organisation
SELECT count(usage_monitor.set_price('small', 0.5, 2, provider => 'acme', service_tier => 'batch')),
       count(usage_monitor.set_price('small', 1, 4, provider => 'acme', service_tier => 'priority')),
       count(usage_monitor.set_price('big', 10, 40, provider => 'acme', service_tier => 'priority'));
INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES ('big', 'small');
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cache_read_input_tokens, reasoning_output_tokens, service_tier, success)
SELECT '2026-05-20'::timestamptz + n * interval '10 minutes', (ARRAY['one', 'two'])[1 + n % 2], 'acme', 'big', 10000 + n % 5, 500, 3000, 100, t, n % 50 > 0
  FROM (VALUES ('batch', 400), ('standard', 200), ('priority', 10)) AS c (t, calls), generate_series(1, calls) AS n;
SELECT s.org, s.current_cost, s.potential_savings, s.evidence->'alternative_cost' AS alternative_cost, s.evidence->'requests' AS requests, s.evidence->'price_book_cost' AS price_book_cost, s.evidence->'days_priced' AS days FROM pg_temp.suggestions s WHERE type = 'model';
SELECT w.requests, w.actual_cost, w.actual_cost - w.what_if_cost AS saving, trim_scale(w.what_if_cost) AS what_if_cost FROM usage_monitor.what_if('big', 'small') w;
DELETE FROM usage_monitor.usage WHERE service_tier <> 'batch';
SELECT s.org, s.description FROM pg_temp.suggestions s WHERE type = 'model';
SELECT w.what_if_cost FROM usage_monitor.what_if('big', 'small') w;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.model_alternative WHERE origin = 'user';

-- Caching: large inputs, little of which is cached
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, cache_read_input_tokens, output_tokens)
SELECT '2026-05-20', 'one', 'acme', m, i, r, 100
  FROM (VALUES ('big', 20000, 2000), ('small', 2000, 0), ('middle', 20000, 0)) AS c (m, i, r), generate_series(1, 100);
SELECT type, subject, title, description, current_cost, potential_savings, evidence FROM pg_temp.suggestions WHERE type = 'caching';
-- 100 calls of 9,000 plain, 10,000 read and 1,000 written tokens, to 18,000 and 2,000
SELECT 100 * (usage_monitor.cost('big', 20000, 100, 2000, provider => 'acme') - usage_monitor.cost('big', 20000, 100, 10000, 1000, provider => 'acme')) AS known;
-- enough is cached already
UPDATE usage_monitor.usage SET cache_read_input_tokens = 4000, cost = NULL WHERE model = 'big';
SELECT count(*) FROM pg_temp.suggestions WHERE type = 'caching';
DELETE FROM usage_monitor.usage;

-- Calls that fail
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, success)
SELECT '2026-05-20', 'one', 'acme', m, 10000, CASE WHEN n > f THEN 500 ELSE 0 END, n > f
  FROM (VALUES ('big', 400, 20), ('small', 100, 19), ('middle', 500, 24)) AS c (m, calls, f), generate_series(1, calls) AS n;
SELECT type, subject, title, description, current_cost, potential_savings, priority, evidence->'errors' AS errors, evidence->'failed_cost' AS failed_cost FROM pg_temp.suggestions WHERE type = 'usage_pattern';
DELETE FROM usage_monitor.usage;
-- only those whose calls cost something all the same; what they cost is known where it is reported, too
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, success)
SELECT '2026-05-20', 'one', 'acme', 'big', CASE WHEN n % 4 = 0 THEN 0 ELSE 20000 END, 0, n % 4 > 0 FROM generate_series(1, 400) AS n;
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens, cost, success)
SELECT '2026-05-20', 'one', 'openrouter/x', 1000, 0.5, n % 2 = 0 FROM generate_series(1, 200) n;
SELECT org, subject, description, current_cost, potential_savings FROM pg_temp.suggestions WHERE type = 'usage_pattern';
DELETE FROM usage_monitor.usage;

-- Quotas: far from their limit, at it, and neither
SELECT count(usage_monitor.set_quota(n, 'org', o, a, 'day')) FROM (VALUES ('far', 'one', 100), ('at', 'two', 1), ('right', 'three', 10)) AS q (n, o, a);
SELECT count(usage_monitor.set_quota('each', 'user', NULL, 1, 'day')), count(usage_monitor.set_quota('hard', 'user', 'u0', 20, 'day', enforcement => 'block'));
INSERT INTO usage_monitor.usage (ts, org, user_id, model, cost) SELECT '2026-05-31 12:00Z'::timestamptz - d * interval '1 day', o, 'u' || d % 6, 'm', 4 FROM generate_series(1, 20) AS d, unnest('{one,two,three}'::text[]) AS o;
SELECT type, org, subject, title, description, current_cost, potential_savings, recommendations, effort, priority, evidence - 'quota_id' AS evidence FROM pg_temp.suggestions WHERE type = 'quota';
SELECT org, subject FROM usage_monitor.suggest_optimizations('2026-05-31 23:00Z', 'two') WHERE type = 'quota';
-- six periods are not enough to tell
SELECT count(*) FROM usage_monitor.suggest_optimizations('2026-05-17 06:00Z') WHERE type = 'quota' AND subject IN ('far', 'at');
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;
-- what to lower one to has two digits, and is something that can be counted: never nothing
SELECT count(usage_monitor.set_quota(n, 'org', n, a, 'day', m)) FROM (VALUES ('0.002', 5, 'cost'), ('0.0000123456789', 5, 'cost'), ('1.23', 50, 'cost'), ('1234.5', 9999, 'cost'), ('free', 5, 'cost'), ('calls', 10, 'requests'), ('tokens', 99999, 'tokens')) AS q (n, a, m);
INSERT INTO usage_monitor.usage (ts, org, model, cost, input_tokens) SELECT '2026-05-31 12:00Z'::timestamptz - d * interval '1 day', o, 'm', CASE WHEN o ~ '^[0-9]' THEN o::numeric ELSE 0 END, 4567 FROM generate_series(1, 20) AS d, unnest('{0.002,0.0000123456789,1.23,1234.5,free,calls,tokens}'::text[]) AS o;
SELECT subject, description, recommendations FROM pg_temp.suggestions WHERE type = 'quota' ORDER BY subject;
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;

-- Anomalies of the last week, until they are resolved
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-05-31 12:00Z'::timestamptz - d * interval '1 day', o, 'm', CASE WHEN d IN (2, 20) AND o = 'one' THEN 500 ELSE 100 + d % 3 END FROM generate_series(1, 40) AS d, unnest('{one,two}'::text[]) AS o;
SELECT type, org, title, description, current_cost, potential_savings, savings_percentage, priority, evidence FROM pg_temp.suggestions;
SELECT count(*) FROM usage_monitor.check_anomalies('2026-05-29 23:00Z');
SELECT count(usage_monitor.resolve_alert(alert_id)) FROM usage_monitor.alert WHERE subject IS NULL;
SELECT type, org FROM pg_temp.suggestions;
SELECT count(usage_monitor.resolve_alert(alert_id)) FROM usage_monitor.alert WHERE subject IS NOT NULL;
SELECT count(*) FROM pg_temp.suggestions;
-- and calls, which check_anomalies() has found
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-05-29 00:00Z'::timestamptz + n * interval '1 minute', 'three', 'n', CASE WHEN n >= 79 THEN 0.5 ELSE 0.1 END FROM generate_series(1, 80) AS n;
SELECT count(*) FROM usage_monitor.check_anomalies('2026-05-29 23:00Z');
SELECT type, org, title, description, current_cost, potential_savings, evidence #- '{dearest,0,usage_id}' #- '{dearest,1,usage_id}' AS evidence FROM pg_temp.suggestions WHERE title LIKE 'Calls%';
DELETE FROM usage_monitor.usage;

-- The view is the function's, now
INSERT INTO usage_monitor.model_alternative (pattern, alternative) VALUES ('big', 'small');
INSERT INTO usage_monitor.usage (provider, model, input_tokens) SELECT 'acme', 'big', 1000 FROM generate_series(1, 100);
SELECT type, org, subject, current_cost, potential_savings FROM usage_monitor.optimization_suggestion;

-- Refusals
SELECT r.* FROM unnest(ARRAY['NULL', '''infinity''', 'days => 0', 'days => NULL', 'days => 2147483647', 'organisations => -1', 'organisations => NULL']) WITH ORDINALITY AS t (arguments, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.suggest_optimizations(%s)', arguments)) AS r ORDER BY n;

-- A reader sees it, a manager edits the alternatives
CREATE ROLE regress_reader;
CREATE ROLE regress_manager;
SELECT usage_monitor.grant_access('regress_reader', 'reader'), usage_monitor.grant_access('regress_manager', 'manager');
SET ROLE regress_reader;
SELECT count(*) FROM usage_monitor.optimization_suggestion;
SELECT code FROM pg_temp.refusal('DELETE FROM usage_monitor.model_alternative');
SET ROLE regress_manager;
UPDATE usage_monitor.model_alternative SET enabled = false WHERE pattern = 'big';
SELECT count(*) FROM usage_monitor.optimization_suggestion;
SELECT code FROM pg_temp.refusal('DELETE FROM usage_monitor.model_alternative');
RESET ROLE;
DROP OWNED BY regress_reader, regress_manager;
DROP ROLE regress_reader, regress_manager;
