--
-- What makes a ledger a node or a hub: numbers of its own, and what comes by
-- replication.  013_nodes.pl tries them with several servers.
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
\pset null '-'
\set SHOW_CONTEXT never
SET timezone = 'UTC';

-- Numbers of a node: of calls, and of all else that is published or moved
INSERT INTO usage_monitor.usage (model) VALUES ('m');
SELECT usage_monitor.configure(node => 7);
INSERT INTO usage_monitor.usage (model) VALUES ('m'), ('m');
SELECT array_agg(usage_id ORDER BY usage_id) FROM usage_monitor.usage;
SELECT usage_monitor.set_price('m', 1, 1), usage_monitor.set_quota('q', 'user', 'amy', 5, 'lifetime', 'requests', enforcement => 'block');
SELECT usage_monitor.raise_quota('q', 1, 'tomorrow');
INSERT INTO usage_monitor.usage (model) VALUES ('unknown');
SELECT alert_id FROM usage_monitor.alert;
SELECT array_agg(audit_id ORDER BY audit_id) FROM usage_monitor.audit_log WHERE what IN ('configure', 'quota');
SELECT details FROM usage_monitor.audit_log WHERE what = 'configure';

-- twice is once, and one that returns goes on where it was
SELECT usage_monitor.configure(node => 7);
INSERT INTO usage_monitor.usage (model) VALUES ('m') RETURNING usage_id;
SELECT usage_monitor.configure(node => 0);
INSERT INTO usage_monitor.usage (model) VALUES ('m') RETURNING usage_id;
SELECT usage_monitor.configure(node => 7);
INSERT INTO usage_monitor.usage (model) VALUES ('m') RETURNING usage_id;
BEGIN;
SELECT usage_monitor.configure(node => 8);
ROLLBACK;
INSERT INTO usage_monitor.usage (model) VALUES ('m') RETURNING usage_id;
-- the last one's calls still have room in a bigint
SELECT usage_monitor.configure(node => 9000);
INSERT INTO usage_monitor.usage (model) VALUES ('m') RETURNING usage_id, usage_id < 2::numeric ^ 53;
SELECT usage_monitor.configure(node => 9001);
SELECT usage_monitor.configure(node => -1);
CREATE ROLE regress_manager;
SELECT usage_monitor.grant_access('regress_manager', 'manager');
SET SESSION AUTHORIZATION regress_manager;
SELECT usage_monitor.configure(node => 1);
RESET SESSION AUTHORIZATION;
SELECT usage_monitor.revoke_access('regress_manager');
DROP ROLE regress_manager;

-- What is replicated is stored as it is, counts, and is never refused
SET session_replication_role = replica;
INSERT INTO usage_monitor.usage (usage_id, xid, user_id, model, resolved_model, input_tokens, output_tokens, total_tokens, success, input_cost, output_cost, other_cost, cost, cost_source, currency, recorded_at)
SELECT n, 1, 'amy', 'm', 'm', 1000000, 0, 1000000, true, 77, 0, 0, 77, 'computed', 'USD', '2026-01-01' FROM generate_series(101, 109) n;
SELECT used, amount FROM usage_monitor.quota_status;
SELECT count(*) FROM usage_monitor.alert WHERE alert_type <> 'unpriced';
UPDATE usage_monitor.usage SET tags = '{"a": "b"}', input_cost = NULL, output_cost = NULL, other_cost = NULL, cost = NULL, cost_source = 'unpriced' WHERE usage_id = 102;
UPDATE usage_monitor.usage SET input_tokens = 5, total_tokens = 5 WHERE usage_id = 103;
UPDATE usage_monitor.usage SET input_cost = 78, cost = 78 WHERE usage_id = 104;
DELETE FROM usage_monitor.usage WHERE usage_id = 109;
SELECT usage_id, input_tokens, cost, cost_source, tags, xid = 1 FROM usage_monitor.usage WHERE user_id = 'amy' ORDER BY 1;
SELECT count(*) FROM usage_monitor.alert WHERE alert_type <> 'unpriced';
SELECT what, key, expected, found FROM usage_monitor.verify();
-- and raises alerts where that is set
SET usage_monitor.replicated_alerts = on;
INSERT INTO usage_monitor.usage (usage_id, user_id, model, input_cost, output_cost, other_cost, cost, success, recorded_at) VALUES (110, 'amy', 'm', 1, 0, 0, 1, true, '2026-01-01');
SELECT level FROM usage_monitor.alert WHERE alert_type <> 'unpriced' ORDER BY alert_id;
RESET usage_monitor.replicated_alerts;
-- what replication brings from a plain table is a call
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('amy', 'm', 2000000) RETURNING cost, cost_source;
RESET session_replication_role;
INSERT INTO usage_monitor.usage (user_id, model) VALUES ('amy', 'm');
SELECT what, key, expected, found FROM usage_monitor.verify();

-- A quota that is replicated counts, and raises what is reached where that is set
SET session_replication_role = replica;
INSERT INTO usage_monitor.quota (quota_id, name, scope, subject, metric, amount, period, time_zone, created_at)
VALUES (1, 'silent', 'user', 'amy', 'requests', 3, 'lifetime', 'UTC', '2026-01-01');
SET usage_monitor.replicated_alerts = on;
INSERT INTO usage_monitor.quota (quota_id, name, scope, subject, metric, amount, period, time_zone, created_at)
VALUES (2, 'loud', 'user', 'amy', 'requests', 11, 'lifetime', 'UTC', '2026-01-01');
SELECT details->>'quota', level FROM usage_monitor.alert WHERE quota_id IN (1, 2) ORDER BY alert_id;
UPDATE usage_monitor.quota SET amount = 10, revision = revision + 1 WHERE quota_id = 2;
SELECT details->>'quota', level FROM usage_monitor.alert WHERE quota_id IN (1, 2) ORDER BY alert_id;
RESET usage_monitor.replicated_alerts;
RESET session_replication_role;
SELECT name, used FROM usage_monitor.quota_status ORDER BY name;

-- What a hub publishes can be changed
CREATE PUBLICATION regress_config FOR TABLE
    usage_monitor.price WHERE (price_id > 0), usage_monitor.price_rate WHERE (price_id > 0),
    usage_monitor.model_alias WHERE (origin <> 'shipped'), usage_monitor.provider_alias WHERE (origin <> 'shipped'),
    usage_monitor.usage_field WHERE (line > 100000), usage_monitor.exchange_rate, usage_monitor.discount,
    usage_monitor.quota WHERE (scope = 'org' OR org IS NOT NULL), usage_monitor.quota_raise;
UPDATE usage_monitor.price SET org = 'acme' WHERE price_id > 0;
UPDATE usage_monitor.price_rate SET amount = 2 WHERE price_id > 0;
INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('n', 'm');
UPDATE usage_monitor.model_alias SET model = 'o' WHERE pattern = 'n';
INSERT INTO usage_monitor.provider_alias (alias, provider) VALUES ('ours', 'openai');
DELETE FROM usage_monitor.provider_alias WHERE alias = 'ours';
INSERT INTO usage_monitor.usage_field (family, path, meaning) VALUES ('*', 'prompt_tokens_details.cache_hits', 'cache_read');
DELETE FROM usage_monitor.usage_field WHERE source = 'own';
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
UPDATE usage_monitor.exchange_rate SET rate = 0.15;
INSERT INTO usage_monitor.discount (org, percent) VALUES ('acme', 10);
UPDATE usage_monitor.discount SET percent = 20;
UPDATE usage_monitor.quota SET amount = 9 WHERE name = 'loud';
DELETE FROM usage_monitor.quota WHERE name = 'silent';
DELETE FROM usage_monitor.quota_raise;
SELECT usage_monitor.set_price('m', 3, 3) > 0;
DROP PUBLICATION regress_config;

-- A partition that tells its key alone is published by itself, and not as part of the ledger
CREATE TABLE regress_2025 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO usage_monitor.usage (ts, model, cost) VALUES ('2025-05-05', 'm', 1), ('2025-05-06', 'm', 1);
UPDATE usage_monitor.usage SET cost = 2 WHERE ts < '2026-01-01';
CREATE PUBLICATION regress_ledger FOR TABLE usage_monitor.usage;
UPDATE usage_monitor.usage SET cost = 3 WHERE ts < '2026-01-01';
ALTER PUBLICATION regress_ledger SET (publish_via_partition_root = true);
UPDATE usage_monitor.usage SET cost = 4 WHERE ts < '2026-01-01';
UPDATE regress_2025 SET cost = 4;
DELETE FROM usage_monitor.usage WHERE ts < '2026-01-01';
-- moved into one, or out of it
UPDATE usage_monitor.usage SET ts = '2026-02-02' WHERE ts = '2025-05-05';
ALTER PUBLICATION regress_ledger SET (publish = 'insert');
UPDATE usage_monitor.usage SET cost = 5 WHERE ts < '2026-01-01';
DROP PUBLICATION regress_ledger;
CREATE PUBLICATION regress_ledger FOR TABLES IN SCHEMA usage_monitor WITH (publish_via_partition_root = true);
UPDATE usage_monitor.usage SET cost = 6 WHERE ts < '2026-01-01';
ALTER TABLE regress_2025 REPLICA IDENTITY FULL;
UPDATE usage_monitor.usage SET cost = 7 WHERE ts < '2026-01-01';
DELETE FROM usage_monitor.usage WHERE ts < '2026-01-01';
DROP PUBLICATION regress_ledger;

-- Whoever routes calls to nodes says whose reservation it is
SELECT reservation_id AS held FROM usage_monitor.reserve('acme', cost => 1) \gset
\set VERBOSITY sqlstate
SELECT usage_monitor.settle(:'held', model => 'm', org => 'rival');
\set VERBOSITY default
SELECT usage_monitor.release(:'held', org => 'rival');
SELECT org FROM usage_monitor.settle(:'held', model => 'm', input_tokens => 1, org => ' acme');
SELECT reservation_id AS held FROM usage_monitor.reserve('acme', cost => 1) \gset
SELECT usage_monitor.release(:'held', org => 'acme'), usage_monitor.release(:'held');

DROP EXTENSION usage_monitor CASCADE;
