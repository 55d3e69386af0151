--
-- Who may do what
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

CREATE ROLE regress_writer;
CREATE ROLE regress_granted_writer;
CREATE ROLE regress_reader;
CREATE ROLE regress_manager;
CREATE ROLE regress_nobody;

-- What a role may do: the SQLSTATE of each statement, undone at once
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION USING ERRCODE = 'RG000';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE SQLSTATE WHEN 'RG000' THEN 'allowed' WHEN '42501' THEN 'denied' ELSE SQLSTATE || ' ' || SQLERRM END;
END
$$;

-- The least that an application needs
GRANT USAGE ON SCHEMA usage_monitor TO regress_writer;
GRANT INSERT, SELECT (cost) ON usage_monitor.usage TO regress_writer;
SELECT usage_monitor.set_price('m', 1, 2) > 0,
       usage_monitor.set_quota('alerts', 'all', NULL, 0.0001, period => 'lifetime') > 0,
       usage_monitor.set_quota('blocks', 'user', 'mallory', 1, period => 'lifetime', metric => 'requests', enforcement => 'block') > 0;
SET ROLE regress_writer;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens) VALUES ('alice', 'm', 1000, 500) RETURNING cost;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, request_id) VALUES ('mallory', 'm', 1000, 500, 'r') ON CONFLICT DO NOTHING RETURNING cost;
COPY usage_monitor.usage (user_id, model, input_tokens) FROM STDIN;
bob	m	7
\.
-- a blocking quota does not tell its figures
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens) VALUES ('mallory', 'm', 1000, 500);
RESET ROLE;
SELECT count(*), sum(cost) FROM usage_monitor.usage;
SELECT level FROM usage_monitor.alert WHERE subject IS NULL ORDER BY alert_id;

-- and everything else
CREATE TABLE pg_temp.attempt (number serial, statement text);
INSERT INTO pg_temp.attempt (statement) VALUES
    ('SELECT model FROM usage_monitor.usage'),
    ('SELECT sum(cost) FROM usage_monitor.usage_default'),
    ('UPDATE usage_monitor.usage SET cost = 0'),
    ('DELETE FROM usage_monitor.usage'),
    ('TRUNCATE usage_monitor.usage'),
    ('INSERT INTO usage_monitor.usage (model) VALUES (''m'') RETURNING model'),
    ('INSERT INTO usage_monitor.usage_default (model) VALUES (''m'')'),
    ('INSERT INTO usage_monitor.usage (model, cost, recorded_at) VALUES (''m'', 0, now())'),
    ('COPY usage_monitor.usage TO PROGRAM ''true'''),
    ('SELECT usage_monitor.set_price(''m'', 0, 0)'),
    ('SELECT usage_monitor.set_quota(''alerts'', ''all'', NULL, 1000000)'),
    ('SELECT usage_monitor.configure(''EUR'')'),
    ('SELECT usage_monitor.check_quota()'),
    ('SELECT usage_monitor.cost(''m'', 1, 1)'),
    ('SELECT usage_monitor.record(''{}'')'),
    ('SELECT usage_monitor.normalize_usage(''{}'')'),
    ('SELECT usage_monitor.acknowledge_alert(1)'),
    ('SELECT usage_monitor.resolve_alert(1)'),
    ('SELECT usage_monitor.grant_access(''regress_writer'', ''manager'')'),
    ('SELECT usage_monitor.ledger_currency()'),
    ('SELECT _usage_monitor._canonical_provider(''openai'')'),
    ('SELECT _usage_monitor._pending_usage()'),
    ('SELECT _usage_monitor._ledger_sum(1, '''', ''-infinity'')'),
    ('SELECT _usage_monitor._counted(''{1}'')'),
    ('INSERT INTO usage_monitor.price (provider, model, currency) VALUES (''*'', ''m'', ''USD'')'),
    ('UPDATE usage_monitor.price_rate SET amount = 0'),
    ('INSERT INTO usage_monitor.model_alias (pattern, model) VALUES (''x'', ''m'')'),
    ('INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES (''CNY'', ''USD'', 1)'),
    ('INSERT INTO usage_monitor.quota (name, scope, amount) VALUES (''mine'', ''all'', 1)'),
    ('UPDATE usage_monitor.quota SET amount = 1000000'),
    ('DELETE FROM usage_monitor.quota'),
    ('SELECT name FROM usage_monitor.quota'),
    ('INSERT INTO _usage_monitor._counter_row (quota_id, subject, period_start, used, revision) VALUES (1, ''x'', ''-infinity'', 0, 0)'),
    ('UPDATE _usage_monitor._counter_row SET used = 0'),
    ('DELETE FROM _usage_monitor._counter_row'),
    ('INSERT INTO usage_monitor.alert (alert_type, level, message) VALUES (''x'', ''x'', ''x'')'),
    ('UPDATE usage_monitor.alert SET resolved_at = now()'),
    ('DELETE FROM usage_monitor.alert'),
    ('INSERT INTO usage_monitor.setting DEFAULT VALUES'),
    ('SELECT nextval(''usage_monitor.usage_usage_id_seq'')'),
    ('SELECT setval(''usage_monitor.usage_usage_id_seq'', 1)'),
    ('SELECT nextval(''usage_monitor.quota_quota_id_seq'')'),
    ('CREATE TABLE usage_monitor.mine ()'),
    ('CREATE TRIGGER mine BEFORE INSERT ON usage_monitor.usage FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._invalidate()'),
    ('ALTER TABLE usage_monitor.usage DISABLE TRIGGER usage_after'),
    ('SET session_replication_role = replica');
GRANT SELECT ON pg_temp.attempt TO PUBLIC;
SET ROLE regress_writer;
SELECT pg_temp.outcome(statement), count(*) FROM pg_temp.attempt GROUP BY 1 ORDER BY 1;
RESET ROLE;
SET ROLE regress_nobody;
SELECT pg_temp.outcome(statement), count(*) FROM pg_temp.attempt GROUP BY 1 ORDER BY 1;
RESET ROLE;
SELECT count(*), sum(cost) FROM usage_monitor.usage;

-- What grant_access() gives
SELECT usage_monitor.grant_access('regress_granted_writer', 'writer');
SELECT usage_monitor.grant_access('regress_reader', 'reader');
SELECT usage_monitor.grant_access('regress_manager', 'manager');

SET ROLE regress_granted_writer;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('alice', 'm', 1000) RETURNING usage_id > 0, cost, currency, cost_source;
SELECT name, amount, used, allowed FROM usage_monitor.check_quota(user_id => 'mallory', requests => 1) ORDER BY name;
SELECT statement FROM pg_temp.attempt WHERE pg_temp.outcome(statement) <> 'denied' ORDER BY number;

-- nor does what runs as the owner let a writer take money out of the ledger
SELECT pg_temp.outcome('SELECT usage_monitor.settle((SELECT reservation_id FROM usage_monitor.reserve(cost => 1, model => ''m'')), cost => -3, operation => ''correction'')');
-- a reader can read every table and view, the archive by its views, and writes nothing
SET ROLE regress_reader;
SELECT c.oid::regclass, pg_temp.outcome(format('SELECT * FROM %s', c.oid::regclass)) AS outcome
FROM pg_class AS c
WHERE c.relnamespace = 'usage_monitor'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'f')
  AND pg_temp.outcome(format('SELECT * FROM %s', c.oid::regclass)) <> CASE WHEN c.relispartition THEN 'denied' ELSE 'allowed' END;
SELECT count(*) > 30 AS relations FROM pg_class WHERE relnamespace = 'usage_monitor'::regnamespace AND relkind IN ('r', 'p', 'v', 'f');
SELECT name, state FROM usage_monitor.quota_status ORDER BY name;
SELECT statement FROM pg_temp.attempt
WHERE statement !~ '\._' AND pg_temp.outcome(statement) <> 'denied' ORDER BY number;
-- and finds that all is well, where he sees all
SELECT count(*) AS differences FROM usage_monitor.verify();
RESET ROLE;
SELECT usage_monitor.refresh() > 0 AS refreshed;
UPDATE _usage_monitor._rollup_day SET cost = cost + 1;
UPDATE _usage_monitor._counter_row SET used = used + 1;
SET ROLE regress_reader;
SELECT what, count(*) > 0 AS found FROM usage_monitor.verify() GROUP BY what ORDER BY what;
RESET ROLE;
SELECT usage_monitor.rebuild_counters() > 0 AND usage_monitor.rebuild_rollups() > 0 AS mended;
BEGIN;
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_reader USING (org = 'acme');
SET ROLE regress_reader;
SELECT * FROM usage_monitor.verify();
ROLLBACK;

-- a manager sets prices and quotas and handles alerts, and leaves the ledger alone
SET ROLE regress_manager;
SELECT usage_monitor.set_price('managed', 1, 2) > 0;
SELECT usage_monitor.set_quota('managed', 'org', NULL, 10) > 0;
SELECT usage_monitor.set_quota('managed', 'org', NULL, 20) > 0;
SELECT amount FROM usage_monitor.quota WHERE name = 'managed';
DELETE FROM usage_monitor.quota WHERE name = 'managed';
SELECT model, meter, change FROM usage_monitor.import_prices('{"gpt-managed": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}', 'litellm');
SELECT set_raise > 0 AS raised FROM usage_monitor.set_quota('managed', 'org', NULL, 20), usage_monitor.raise_quota('managed', 5, 'tomorrow') AS set_raise;
DELETE FROM usage_monitor.quota WHERE name = 'managed';
SELECT level, acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.alert));
SELECT level, resolved_by FROM usage_monitor.resolve_alert((SELECT min(alert_id) FROM usage_monitor.alert));
SELECT statement, pg_temp.outcome(statement) FROM pg_temp.attempt
WHERE statement ~ '(usage_monitor\.usage|usage_default|quota_usage|_counter_row|session_replication_role|CREATE TABLE|INTO usage_monitor.alert)\M' ORDER BY number;
-- and may call what is called with nothing, but for what drops the ledger's rows or grants
SELECT count(*) AS differences FROM usage_monitor.verify();
SELECT usage_monitor.fold_counters() >= 0 AS folded;
SELECT usage_monitor.refresh() >= 0 AS refreshed;
SELECT usage_monitor.rebuild_counters() > 0 AS counters, usage_monitor.rebuild_rollups() > 0 AS rollups;
SELECT * FROM usage_monitor.drop_usage_before('2020-01-01');
SELECT usage_monitor.grant_access('regress_manager', 'writer');
RESET ROLE;

-- Nothing is granted to PUBLIC
SELECT format('%s %s', kind, name) AS granted
FROM (SELECT 'relation' AS kind, c.oid::regclass::text AS name, coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
      FROM pg_class AS c WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'f', 'S')
      UNION ALL
      SELECT 'column', format('%s.%s', a.attrelid::regclass, a.attname), a.attacl
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
      UNION ALL
      SELECT 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_proc AS p WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
      UNION ALL
      SELECT 'schema', n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner))
      FROM pg_namespace AS n WHERE n.nspname IN ('usage_monitor', '_usage_monitor')
      UNION ALL
      SELECT 'foreign-data wrapper', w.fdwname, coalesce(w.fdwacl, acldefault('F', w.fdwowner))
      FROM pg_foreign_data_wrapper AS w WHERE w.fdwname ~ '^usage_monitor'
      UNION ALL
      SELECT 'server', s.srvname, coalesce(s.srvacl, acldefault('S', s.srvowner))
      FROM pg_foreign_server AS s WHERE s.srvname ~ '^usage_monitor') AS object
WHERE EXISTS (SELECT FROM aclexplode(object.acl) AS a WHERE a.grantee = 0)
ORDER BY 1;

-- Everything public says what it is
SELECT format('%s %s', kind, name) AS without_comment
FROM (SELECT 'relation' AS kind, c.oid::regclass::text AS name, obj_description(c.oid, 'pg_class') AS comment
      FROM pg_class AS c WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'f')
      UNION ALL
      SELECT 'column', format('%s.%s', a.attrelid::regclass, a.attname), col_description(a.attrelid, a.attnum)
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
      WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'f') AND NOT c.relispartition
        AND c.relname !~ '^_' AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT 'function', p.oid::regprocedure::text, obj_description(p.oid, 'pg_proc')
      FROM pg_proc AS p WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND p.proname !~ '^_') AS object
WHERE comment IS NULL
ORDER BY 1;

-- Functions that could be led astray by a search_path; a procedure that commits cannot have one, and names all in full
SELECT p.oid::regprocedure
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
  AND (p.prosecdef OR l.lanname = 'plpgsql' OR (l.lanname = 'sql' AND p.prosqlbody IS NULL))
  AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))
ORDER BY 1;
-- ... or by how strings are read: those of a body are, when the function is called first
SELECT p.oid::regprocedure AS backslash
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
  AND l.lanname IN ('plpgsql', 'sql') AND p.prosqlbody IS NULL AND strpos(p.prosrc, E'\\') > 0
  AND NOT 'standard_conforming_strings=on' = ANY (coalesce(p.proconfig, '{}'))
ORDER BY 1;
-- ... but for those of the archive, which show nothing where row security holds on the ledger
SELECT c.oid::regclass AS security_definer_view
FROM pg_class AS c
WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind = 'v' AND NOT 'security_invoker=true' = ANY (coalesce(c.reloptions, '{}'))
  AND NOT (c.relname ~ '^_archived_' AND pg_get_viewdef(c.oid) ~ 'WHERE _usage_monitor._(rollups_apply|rolled_up)\(');

DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_writer, regress_granted_writer, regress_reader, regress_manager, regress_nobody;
