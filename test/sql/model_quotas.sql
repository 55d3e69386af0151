--
-- A model is a model, by whatever name it is recorded
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
CREATE VIEW pg_temp.used AS
SELECT q.name, u.subject, u.used FROM usage_monitor.quota_usage AS u JOIN usage_monitor.quota AS q USING (quota_id) ORDER BY 1, 2;

-- Four names, one model
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
SELECT 'ann', m, 1000, 500 FROM unnest('{gpt-4o,openai/gpt-4o,GPT-4o,gpt-4o-2024-08-06,never-heard-of}'::text[]) AS m
RETURNING model, resolved_model, provider;
UPDATE usage_monitor.usage SET model = 'claude-sonnet-4-5-20250929', provider = NULL WHERE model = 'never-heard-of' RETURNING resolved_model, provider;
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, resolved_model, input_tokens) VALUES ('m', 'gpt-4o', 1)$$);
SELECT code, message FROM pg_temp.refusal($$UPDATE usage_monitor.usage SET resolved_model = 'gpt-4o'$$);
DELETE FROM usage_monitor.usage;

-- A blocking limit is not dodged by another spelling, in whatever spelling it was set
SELECT usage_monitor.set_quota('four', 'user', NULL, 3, metric => 'requests', enforcement => 'block', model => 'openai/gpt-4o') > 0,
       usage_monitor.set_quota('one', 'model', 'GPT-4o', 100, metric => 'requests') > 0,
       usage_monitor.set_quota('each', 'model', NULL, 100, metric => 'requests') > 0,
       usage_monitor.set_quota('as written', 'all', NULL, 100, metric => 'requests', model => 'gpt-4o', exact => true) > 0,
       usage_monitor.set_quota('each as written', 'model', NULL, 100, metric => 'requests', exact => true) > 0,
       usage_monitor.set_quota('one as written', 'model', 'openai/gpt-4o', 100, metric => 'requests', exact => true) > 0,
       usage_monitor.set_quota('family', 'all', NULL, 100, metric => 'requests', model => 'claude-opus-*') > 0,
       usage_monitor.set_quota('list', 'all', NULL, 100, metric => 'requests', models => '{gpt-4o-2024-08-06,claude-sonnet-*,our-*}') > 0;
SELECT name, subject, model, models, counted_models, exact FROM usage_monitor.quota ORDER BY quota_id;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('ann', 'gpt-4o', 1), ('ann', 'GPT-4o', 1), ('ann', 'gpt-4o-2024-08-06', 1);
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('ann', 'openai/gpt-4o', 1)$$);
SELECT name, allowed FROM usage_monitor.check_quota(user_id => 'ann', model => 'openai/gpt-4o') ORDER BY 1;
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'ann', model => 'GPT-4o', cost => 0);
SELECT allowed FROM usage_monitor.reserve(user_id => 'ann', model => 'gpt-4o-mini', cost => 0);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens)
VALUES ('bob', 'openai/gpt-4o', 1), ('bob', 'anthropic/claude-opus-4-5', 1), ('bob', 'claude-opus-4-1-20250805', 1), ('bob', 'claude-sonnet-4-5', 1),
       ('bob', 'our-llama', 1), ('bob', 'gpt-4o-mini', 1);
SELECT * FROM pg_temp.used;
SELECT name, subject FROM usage_monitor.check_quota(user_id => 'bob', model => 'openai/gpt-4o') ORDER BY 1;
SELECT name FROM usage_monitor.check_quota(model => 'claude-opus-4-5') ORDER BY 1;
SELECT * FROM usage_monitor.verify();
-- counted anew, the same
CREATE TEMP TABLE before AS TABLE pg_temp.used;
SELECT usage_monitor.rebuild_counters();
SELECT * FROM before EXCEPT TABLE pg_temp.used;
-- also by a quota that comes later, by a change of the quota or of the call, and in a transaction that does both
SELECT usage_monitor.set_quota('late', 'user', 'bob', 100, metric => 'requests', model => 'gpt-4o') > 0;
UPDATE usage_monitor.quota SET exact = true WHERE name = 'family';
BEGIN;
UPDATE usage_monitor.usage SET model = 'gpt-4o-2024-08-06' WHERE model = 'our-llama';
UPDATE usage_monitor.quota SET models = '{claude-*}' WHERE name = 'list';
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('bob', 'GPT-4o', 1);
COMMIT;
SELECT * FROM pg_temp.used EXCEPT TABLE before ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();

-- A name that the price book learns later: what was recorded stays as it was, and the quota finds what is new
SELECT usage_monitor.set_quota('mine', 'all', NULL, 100, metric => 'requests', model => 'mine') > 0;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('mine', 1);
INSERT INTO usage_monitor.model_alias (pattern, provider, model) VALUES ('mine', 'openai', 'gpt-4o');
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('mine', 1);
SELECT model, resolved_model, cost FROM usage_monitor.usage WHERE model = 'mine' ORDER BY usage_id;
SELECT used FROM pg_temp.used WHERE name = 'mine';
SELECT requests FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
SELECT model, resolved_model, cost FROM usage_monitor.usage WHERE model = 'mine' ORDER BY usage_id;
SELECT used FROM pg_temp.used WHERE name = 'mine';
SELECT * FROM usage_monitor.verify();

-- A price of one's own, a contract, and a discount by another name
INSERT INTO usage_monitor.discount (org, model, percent) VALUES ('acme', 'openai/GPT-4o', 50);
SELECT model, percent FROM usage_monitor.discount;
SELECT usage_monitor.cost('gpt-4o', 1000000, 0) = 2 * usage_monitor.cost('gpt-4o-2024-08-06', 1000000, 0, org => 'acme') AS half;
SELECT usage_monitor.set_price('*', 0, 0, provider => 'ollama') > 0, usage_monitor.set_price('gpt-4o', 1, 1, org => 'acme') > 0;
INSERT INTO usage_monitor.usage (org, provider, model, input_tokens) VALUES ('acme', NULL, 'GPT-4o', 1), ('acme', 'ollama', 'llama3', 1)
RETURNING model, resolved_model;

-- Misspelt names are told, and impossible ones refused
SET client_min_messages = notice;
SELECT usage_monitor.set_quota('typo', 'user', 'alcie', 1) > 0;
SELECT usage_monitor.set_quota('typo', 'all', NULL, 1, model => 'gtp-4o') > 0;
SELECT usage_monitor.set_quota('typo', 'model', 'gtp-4o', 1) > 0;
SELECT usage_monitor.set_quota('right', 'user', 'bob', 1, model => 'GPT-4o') > 0;
SELECT usage_monitor.set_quota('right', 'model', 'openai/gpt-4o', 1) > 0;
SET client_min_messages = warning;
SELECT r.* FROM unnest(ARRAY['''model'', ''claude-*'', 1', '''all'', NULL, 1, models => ''{}''', '''all'', NULL, 1, models => ''{a,""}''']) AS a
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.set_quota(''q'', %s)', a)) AS r;
