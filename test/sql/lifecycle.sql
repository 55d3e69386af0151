--
-- The life of the extension: what DROP EXTENSION leaves, and what comes after
--
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS usage_monitor CASCADE;
CREATE EXTENSION IF NOT EXISTS btree_gist;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
\pset null '-'

CREATE FUNCTION pg_temp.objects(OUT catalog text, OUT count bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    FOREACH catalog IN ARRAY '{pg_am, pg_attrdef, pg_attribute, pg_cast, pg_class, pg_collation, pg_constraint, pg_conversion,
                               pg_default_acl, pg_depend, pg_description, pg_enum, pg_event_trigger, pg_extension, pg_foreign_data_wrapper,
                               pg_foreign_server, pg_foreign_table, pg_index,
                               pg_inherits, pg_init_privs, pg_largeobject_metadata, pg_namespace, pg_opclass, pg_operator,
                               pg_opfamily, pg_partitioned_table, pg_policy, pg_proc, pg_range, pg_rewrite, pg_sequence,
                               pg_shdepend, pg_statistic_ext, pg_trigger, pg_type}'::text[] LOOP
        EXECUTE format('SELECT count(*) FROM pg_catalog.%I', catalog) INTO count;
        RETURN NEXT;
    END LOOP;
END
$$;
-- A ledger in use: prices, quotas, alerts, a partition of the user's own, roles with grants
CREATE FUNCTION pg_temp.use() RETURNS TABLE (cost numeric, used numeric, alerts bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM usage_monitor.set_price('m', 1, 2);
    PERFORM usage_monitor.set_quota('q', 'all', NULL, 1000, period => 'lifetime', metric => 'tokens');
    INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts) VALUES ('alice', 'm', 800, 100, '2026-03-01');
    RETURN QUERY SELECT (SELECT sum(u.cost) FROM usage_monitor.usage AS u),
                        (SELECT s.used FROM usage_monitor.quota_status AS s),
                        (SELECT count(*) FROM usage_monitor.alert);
END
$$;

CREATE TABLE pg_temp.before (catalog text, count bigint);
INSERT INTO before SELECT * FROM pg_temp.objects();

CREATE EXTENSION usage_monitor;
CREATE ROLE regress_lifecycle;
SELECT usage_monitor.grant_access('regress_lifecycle', 'manager');
SELECT * FROM pg_temp.use();
SELECT s.used, (SELECT count(*) FROM usage_monitor.alert) AS alerts FROM usage_monitor.quota_status AS s;
CREATE TABLE regress_lifecycle_2026_04 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_lifecycle_2026_04 FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
INSERT INTO usage_monitor.usage (model, input_tokens, ts) VALUES ('m', 1, '2026-04-01') RETURNING tableoid::regclass;
-- refused while it has calls, however it is said, until it is meant
DROP EXTENSION usage_monitor;
DROP EXTENSION IF EXISTS usage_monitor RESTRICT;
DROP EXTENSION btree_gist CASCADE;
DROP EXTENSION no_such, btree_gist CASCADE;
DROP OWNED BY CURRENT_USER;
DROP SCHEMA usage_monitor CASCADE;
SET client_min_messages = notice;
DROP EXTENSION usage_monitor CASCADE;
SET client_min_messages = warning;
SELECT catalog, b.count AS before, o.count AS after
FROM before AS b JOIN pg_temp.objects() AS o USING (catalog)
WHERE b.count <> o.count;
SELECT to_regnamespace('usage_monitor'), to_regclass('regress_lifecycle_2026_04');
SELECT count(*) FROM pg_proc WHERE probin LIKE '%usage\_monitor%';
DROP ROLE regress_lifecycle;

-- Again in the same session, with plans and caches of the one before
CREATE EXTENSION usage_monitor;
SELECT * FROM pg_temp.use();
SELECT s.used, (SELECT count(*) FROM usage_monitor.alert) AS alerts FROM usage_monitor.quota_status AS s;

-- Dropped by a transaction that has rows to count
BEGIN;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 5) RETURNING cost;
DROP EXTENSION usage_monitor CASCADE;
COMMIT;
SELECT to_regnamespace('usage_monitor');
-- made, used, dropped and made again by one
BEGIN;
CREATE EXTENSION usage_monitor;
SELECT * FROM pg_temp.use();
DROP EXTENSION usage_monitor CASCADE;
CREATE EXTENSION usage_monitor;
SELECT cost FROM pg_temp.use();
COMMIT;
SELECT s.used, (SELECT count(*) FROM usage_monitor.alert) AS alerts FROM usage_monitor.quota_status AS s;
-- dropped in vain
BEGIN;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 50) RETURNING cost;
SAVEPOINT a;
DROP EXTENSION usage_monitor CASCADE;
ROLLBACK TO a;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 7) RETURNING cost;
COMMIT;
SELECT s.used, (SELECT count(*) FROM usage_monitor.alert) AS alerts FROM usage_monitor.quota_status AS s;
BEGIN;
DROP EXTENSION usage_monitor CASCADE;
ROLLBACK;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 3) RETURNING cost;
SELECT s.used FROM usage_monitor.quota_status AS s;
-- made in vain
DROP EXTENSION usage_monitor CASCADE;
BEGIN;
CREATE EXTENSION usage_monitor;
SELECT * FROM pg_temp.use();
ROLLBACK;
CREATE EXTENSION usage_monitor;
SELECT * FROM pg_temp.use();
DROP EXTENSION usage_monitor CASCADE;

-- A schema that somebody made before is not ours (PostgreSQL 18 also tells the
-- script's line)
\set SHOW_CONTEXT never
CREATE SCHEMA usage_monitor;
CREATE EXTENSION usage_monitor;
DROP SCHEMA usage_monitor;
CREATE EXTENSION usage_monitor;
-- and the extension cannot be moved
ALTER EXTENSION usage_monitor SET SCHEMA public;
DROP EXTENSION usage_monitor;
SELECT catalog, b.count AS before, o.count AS after
FROM before AS b JOIN pg_temp.objects() AS o USING (catalog)
WHERE b.count <> o.count;
