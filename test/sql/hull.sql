--
-- Whatever is called with whatever by whomever: nothing crashes, and nothing
-- private is anybody's.  All of it is read from the catalog, so that what is
-- added is covered.
--
\set VERBOSITY terse
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

CREATE ROLE regress_hull_reader;
CREATE ROLE regress_hull_writer;
CREATE ROLE regress_hull_manager;
SELECT usage_monitor.grant_access(r::regrole, access)
  FROM (VALUES ('regress_hull_reader', 'reader'), ('regress_hull_writer', 'writer'), ('regress_hull_manager', 'manager')) v (r, access);
SELECT usage_monitor.set_quota('each user', 'user', NULL, 10) > 0 AND usage_monitor.set_price('m', 1, 2) > 0;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) SELECT 'o', 'u', 'm', 10 FROM generate_series(1, 3);

CREATE TEMP VIEW own_function AS
SELECT p.oid, p.oid::regprocedure::text AS name, p.proargtypes::oid[] AS argtypes, p.prorettype, p.prokind, p.provolatile, p.proisstrict, p.provariadic, l.lanname
  FROM pg_proc p
  JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace);
CREATE TEMP VIEW own_relation AS
SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relacl, c.relowner, c.relispartition, c.relnamespace
  FROM pg_class c
 WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
   AND c.relkind IN ('r', 'p', 'v', 'f', 'S');
GRANT SELECT ON own_function, own_relation TO PUBLIC;

-- The list: what is on it exists, is not a trigger's, and readers change nothing
SELECT r.access, r.name FROM usage_monitor.access_right r
 WHERE r.kind = 'function'
   AND NOT EXISTS (SELECT FROM own_function f WHERE f.name = r.name
                      AND f.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'fdw_handler'::regtype)
                      AND NOT 'internal'::regtype = ANY (f.argtypes)
                      AND (r.access <> 'reader' OR f.provolatile <> 'v'));
SELECT r.access, r.name FROM usage_monitor.access_right r
 WHERE r.kind = 'table'
   AND NOT EXISTS (SELECT FROM own_relation c WHERE c.name = r.name AND NOT c.relispartition AND c.name !~ '\._archive_');
-- nobody else writes than who is known to, and private tables nobody
SELECT r.access, r.privilege, string_agg(substr(r.name, 15), ' ' ORDER BY r.name) FROM usage_monitor.access_right r
 WHERE r.kind = 'table' AND r.privilege <> 'SELECT' GROUP BY 1, 2 ORDER BY 1, 2;
-- what is public and on no list is the owner's alone
SELECT f.name FROM own_function f WHERE f.name !~ '^_' AND NOT EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.name = f.name) ORDER BY 1;
SELECT c.name FROM own_relation c WHERE c.name !~ '^_' AND NOT EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.name = c.name) ORDER BY 1;

-- The roles have what is on it, and nothing else
SELECT a.grantee::regrole, o.name, a.privilege_type
  FROM (SELECT c.name, c.relacl AS acl, c.relowner AS owner FROM own_relation c
        UNION ALL
        SELECT f.name, p.proacl, p.proowner FROM own_function f JOIN pg_proc p ON p.oid = f.oid
        UNION ALL
        SELECT n.nspname, n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname IN ('usage_monitor', '_usage_monitor')) o
 CROSS JOIN LATERAL aclexplode(o.acl) a
 WHERE a.grantee <> o.owner
   AND NOT EXISTS (SELECT FROM usage_monitor.access_right r
                    WHERE r.name = o.name AND r.privilege = a.privilege_type AND r.columns IS NULL
                      AND 'regress_hull_' || r.access IN (a.grantee::regrole::text, CASE a.grantee::regrole::text WHEN 'regress_hull_manager' THEN 'regress_hull_reader' END));

-- Triggers: each function on a table of the ledger's columns, and on one whose columns are all of another type
CREATE TABLE pg_temp.outcome (what text, name text, state text, message text);
GRANT INSERT ON pg_temp.outcome TO PUBLIC;
CREATE FUNCTION pg_temp.attempt(what text, name text, statements text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'RG000';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    INSERT INTO pg_temp.outcome VALUES (what, name, SQLSTATE, SQLERRM);
END
$$;
CREATE TEMP TABLE like_ledger AS SELECT * FROM usage_monitor.usage LIMIT 0;
CREATE TEMP TABLE wrong_types ();
DO $$
DECLARE
    own record;
BEGIN
    -- every name that a column of ours has
    FOR own IN SELECT DISTINCT a.attname FROM pg_attribute a JOIN own_relation c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
                WHERE a.attnum > 0 AND NOT a.attisdropped LOOP
        EXECUTE format('ALTER TABLE wrong_types ADD COLUMN %I bigint DEFAULT 4242', own.attname);
    END LOOP;
END
$$;
SELECT pg_temp.attempt(f.lanname || ' ' || t.name, f.name, ARRAY[
           format('CREATE TRIGGER x %s INSERT OR UPDATE OR DELETE%s ON %s FOR EACH %s EXECUTE FUNCTION %s%s',
                  timing, CASE level WHEN 'STATEMENT' THEN ' OR TRUNCATE' END, t.name, level, f.name, ''),
           format(t.fill, t.name),
           format('UPDATE %s SET org = org', t.name),
           format('DELETE FROM %s', t.name),
           format('TRUNCATE %s', t.name)])
  FROM own_function f
 CROSS JOIN (VALUES ('like_ledger', $$INSERT INTO %s (usage_id, ts, xid, model, success, cost, recorded_at) VALUES (1, now(), 3, 'm', true, -900, now())$$),
                    ('wrong_types', 'INSERT INTO %s DEFAULT VALUES')) t (name, fill)
 CROSS JOIN unnest('{BEFORE, AFTER}'::text[]) timing
 CROSS JOIN unnest('{ROW, STATEMENT}'::text[]) level
 WHERE f.prorettype = 'trigger'::regtype
 \g /dev/null
-- all of C refuse by identity, or because they are not fired so
SELECT what, state, count(DISTINCT name) > 5 FROM pg_temp.outcome WHERE what ~ '^c ' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT what, name, state, message FROM pg_temp.outcome WHERE state ~ '^XX';
-- and a manager cannot even make one
SET ROLE regress_hull_manager;
CREATE TEMP TABLE of_manager (org bigint);
SELECT pg_temp.attempt('manager', f.name, ARRAY[format('CREATE TRIGGER x AFTER INSERT ON of_manager FOR EACH ROW EXECUTE FUNCTION %s', f.name)])
  FROM own_function f WHERE f.prorettype = 'trigger'::regtype
 \g /dev/null
DROP TABLE of_manager;
RESET ROLE;
SELECT what, state, count(*) > 20 FROM pg_temp.outcome WHERE what = 'manager' GROUP BY 1, 2;
TRUNCATE pg_temp.outcome;

-- Functions: each with NULLs only, and with one NULL among values, by each kind of role and by the owner
CREATE FUNCTION pg_temp.sample(type oid) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce((SELECT v.value FROM (VALUES
               ('text', $a$'m'::text$a$), ('bigint', '1::bigint'), ('integer', '1'), ('numeric', '1.0'), ('boolean', 'true'),
               ('timestamptz', 'now()'), ('date', 'current_date'), ('jsonb', $a$'{"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}'::jsonb$a$),
               ('uuid', 'gen_random_uuid()'), ('tid', $a$'(0,1)'::tid$a$), ('interval', $a$interval '1 hour'$a$), ('float8', '0.5::float8'),
               ('bigint[]', 'ARRAY[1::bigint]'), ('text[]', $a$ARRAY['m'::text]$a$), ('numeric[]', 'ARRAY[0.5]'), ('regclass', $a$'usage_monitor.usage_default'::regclass$a$),
               ('regrole', $a$'regress_hull_reader'::regrole$a$), ('tstzrange', 'tstzrange(now(), NULL)')) v (type, value) WHERE v.type::regtype = $1),
           'NULL::' || format_type($1, NULL))
$$;
CREATE TEMP TABLE call AS
SELECT f.name, format(CASE f.prokind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT %s(%s)' END, substring(f.name FROM '^[^(]+'), a.list) AS statement
  FROM own_function f
 CROSS JOIN LATERAL generate_series(0, cardinality(f.argtypes) + 1) g (missing)
 CROSS JOIN LATERAL (
           -- 0: all are NULL; the last: none is
           SELECT coalesce(string_agg(CASE WHEN f.provariadic <> 0 AND t.place = cardinality(f.argtypes) THEN 'VARIADIC ' ELSE '' END
                                      || CASE WHEN g.missing IN (0, t.place) THEN 'NULL::' || format_type(t.type, NULL)
                                              ELSE pg_temp.sample(t.type) END, ', ' ORDER BY t.place), '') AS list
             FROM unnest(f.argtypes) WITH ORDINALITY t (type, place)) a
 WHERE f.prorettype <> 'trigger'::regtype
   AND NOT 'internal'::regtype = ANY (f.argtypes);
GRANT SELECT ON call TO PUBLIC;
-- what is looked at is how it ends
SET client_min_messages = error;
-- what calls the private ones has jit = off: to compile takes ten times as long as to run
SET jit = off;
SET ROLE regress_hull_writer;
SELECT pg_temp.attempt('writer', name, ARRAY[statement]) FROM call \g /dev/null
SET ROLE regress_hull_reader;
SELECT pg_temp.attempt('reader', name, ARRAY[statement]) FROM call \g /dev/null
SET ROLE regress_hull_manager;
SELECT pg_temp.attempt('manager', name, ARRAY[statement]) FROM call \g /dev/null
RESET ROLE;
-- what those were not granted
SELECT pg_temp.attempt('owner', name, ARRAY[statement]) FROM call
 WHERE name NOT IN (SELECT r.name FROM usage_monitor.access_right r)
 \g /dev/null
SET client_min_messages = warning;
SELECT what, count(DISTINCT name) > CASE what WHEN 'writer' THEN 4 ELSE 30 END FROM pg_temp.outcome WHERE state <> '42501' GROUP BY 1 ORDER BY 1;
SELECT DISTINCT what, name, state, message FROM pg_temp.outcome WHERE state ~ '^XX' ORDER BY 1, 2, 3, 4;
-- who is granted something does not lack what it needs
SELECT DISTINCT o.what, o.name, o.message
  FROM pg_temp.outcome o
 WHERE o.state = '42501'
   AND o.message ~ 'permission denied'
   AND EXISTS (SELECT FROM usage_monitor.access_right r
                WHERE r.name = o.name AND NOT r.is_needed AND o.what IN (r.access, CASE r.access WHEN 'reader' THEN 'manager' END))
 ORDER BY 1, 2, 3;
-- and who is not, is refused
SELECT DISTINCT o.what, o.name, o.state, o.message
  FROM pg_temp.outcome o
 WHERE o.what <> 'owner'
   AND o.state <> '42501'
       -- a strict one of NULL is NULL before anybody is asked
   AND NOT EXISTS (SELECT FROM own_function f WHERE f.name = o.name AND f.proisstrict)
   AND NOT EXISTS (SELECT FROM usage_monitor.access_right r
                    WHERE r.name = o.name AND o.what IN (r.access, CASE r.access WHEN 'reader' THEN 'manager' END))
 ORDER BY 1, 2, 3, 4;
TRUNCATE pg_temp.outcome;

-- Functions and aggregates again, each with one odd value among usual ones
CREATE TEMP TABLE odd AS
SELECT v.type::regtype AS type, v.value
  FROM (VALUES
           ('text', $a$''$a$), ('text', $a$E'([\x01%s"''\\\\'$a$), ('text', $a$repeat('us.', 1000)$a$),
           ('bigint', '0'), ('bigint', '-1'), ('bigint', '9223372036854775807'), ('bigint', '-9223372036854775808'),
           ('integer', '0'), ('integer', '-1'), ('integer', '2147483647'), ('integer', '-2147483648'),
           ('numeric', '0'), ('numeric', '-1'), ('numeric', $a$'NaN'$a$), ('numeric', $a$'-Infinity'$a$), ('numeric', '1e1000'), ('numeric', '1e-1000'),
           ('timestamptz', $a$'infinity'$a$), ('timestamptz', $a$'4714-11-24 00:00Z BC'$a$), ('timestamptz', $a$'294276-12-31'$a$),
           ('date', $a$'-infinity'$a$), ('date', $a$'4714-11-24 BC'$a$), ('date', $a$'5874897-12-31'$a$),
           ('interval', $a$'-1 day'$a$), ('interval', $a$'178000000 years'$a$), ('interval', $a$'0'$a$),
           ('float8', $a$'NaN'$a$), ('float8', $a$'Infinity'$a$), ('float8', '-1'),
           ('jsonb', $a$'null'$a$), ('jsonb', $a$'[]'$a$), ('jsonb', $a$'{}'$a$), ('jsonb', $a$'[{"usage": -1e400}]'$a$), ('jsonb', $a$repeat('[', 1000) || repeat(']', 1000)$a$),
           ('tid', $a$'(0,0)'$a$), ('tid', $a$'(4294967295,65535)'$a$), ('regclass', '0'), ('regclass', $a$'pg_class'$a$), ('regrole', '0'),
           ('tstzrange', $a$'empty'$a$), ('text[]', $a$'{}'$a$), ('text[]', $a$'{NULL}'$a$), ('text[]', $a$'{{a,b},{c,d}}'$a$),
           ('bigint[]', $a$'{}'$a$), ('bigint[]', $a$'{NULL}'$a$), ('bigint[]', $a$'[5:6]={1,2}'$a$),
           ('numeric[]', $a$'{}'$a$), ('numeric[]', $a$'{NULL}'$a$), ('numeric[]', $a$'{{1},{2}}'$a$)) v (type, value);
CREATE TEMP TABLE odd_call AS
SELECT coalesce(r.access, 'owner') AS who, f.name, format(CASE f.prokind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT %s(%s)' END, substring(f.name FROM '^[^(]+'), a.list) AS statement
  FROM own_function f
 CROSS JOIN LATERAL unnest(f.argtypes) WITH ORDINALITY g (type, place)
  JOIN odd o ON o.type = g.type
 CROSS JOIN LATERAL (
           SELECT string_agg(CASE WHEN f.provariadic <> 0 AND t.place = cardinality(f.argtypes) THEN 'VARIADIC ' ELSE '' END
                             || CASE WHEN t.place = g.place THEN format('(%s)::%s', o.value, format_type(t.type, NULL))
                                     ELSE pg_temp.sample(t.type) END, ', ' ORDER BY t.place) AS list
             FROM unnest(f.argtypes) WITH ORDINALITY t (type, place)) a
  LEFT JOIN usage_monitor.access_right r ON r.name = f.name
 WHERE f.prorettype <> 'trigger'::regtype
   AND NOT 'internal'::regtype = ANY (f.argtypes);
GRANT SELECT ON odd_call TO PUBLIC;
-- a statement of its own for each: what would go on and on is canceled
SET client_min_messages = error;
SET statement_timeout = '3s';
\set ECHO none
\o /dev/null
SET ROLE regress_hull_writer;
SELECT format('SELECT pg_temp.attempt(%L, %L, ARRAY[%L])', who, name, statement) FROM odd_call WHERE who = 'writer' \gexec
SET ROLE regress_hull_reader;
SELECT format('SELECT pg_temp.attempt(%L, %L, ARRAY[%L])', who, name, statement) FROM odd_call WHERE who = 'reader' \gexec
SET ROLE regress_hull_manager;
SELECT format('SELECT pg_temp.attempt(%L, %L, ARRAY[%L])', who, name, statement) FROM odd_call WHERE who = 'manager' \gexec
RESET ROLE;
SELECT format('SELECT pg_temp.attempt(%L, %L, ARRAY[%L])', who, name, statement) FROM odd_call WHERE who = 'owner' \gexec
\o
\set ECHO all
RESET statement_timeout;
RESET jit;
SET client_min_messages = warning;
SELECT what, count(*) > 100 FROM pg_temp.outcome GROUP BY 1 ORDER BY 1;
-- (the server says of itself which relations there are not)
SELECT DISTINCT what, name, state, message FROM pg_temp.outcome WHERE state ~ '^XX' AND (what <> 'owner' OR message !~ '^could not open relation with OID') ORDER BY 1, 2, 3, 4;
TRUNCATE pg_temp.outcome;
-- who says that his function is immutable, though it is not
SET ROLE regress_hull_reader;
CREATE FUNCTION pg_temp.liar(i numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE WHEN random() < 0.1 THEN NULL ELSE i * (1000 * random())::integer END;
EXCEPTION WHEN OTHERS THEN
    RETURN i;
END
$$;
DO $$
BEGIN
    FOR i IN 1 .. 200 LOOP
        BEGIN
            PERFORM _usage_monitor._unusual(pg_temp.liar(v), 1, -1, true) OVER (ORDER BY v ROWS BETWEEN i % 3 PRECEDING AND i % 2 PRECEDING)
               FROM generate_series(1, 30) v;
        EXCEPTION WHEN invalid_function_definition OR null_value_not_allowed THEN
            NULL;
        END;
    END LOOP;
END
$$;
DROP FUNCTION pg_temp.liar(numeric);
RESET ROLE;

-- Views and tables: who is granted one can read all of it
SET ROLE regress_hull_reader;
SELECT pg_temp.attempt('reader', c.name, ARRAY['SELECT * FROM ' || c.name]) FROM own_relation c WHERE c.relkind <> 'S' \g /dev/null
RESET ROLE;
SELECT o.name, o.state FROM pg_temp.outcome o
 WHERE (o.state = 'RG000') <> EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.access = 'reader' AND r.name = o.name);

-- A manager plays no restore, and signs as himself
SELECT usage_monitor.set_budget('whole', 'org', 'o', 100) > 0;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('o', 'u', 'm', 9);
SET ROLE regress_hull_manager;
BEGIN;
SET LOCAL search_path = '';
SET LOCAL check_function_bodies = off;
SAVEPOINT s;
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (987654321, 'input', 1);
ROLLBACK TO s;
INSERT INTO usage_monitor.quota (name, kind, scope, subject, amount, parent) SELECT 'part', 'budget', 'user', 'u', 5000, quota_id FROM usage_monitor.quota WHERE name = 'whole';
ROLLBACK;
UPDATE usage_monitor.alert SET message = 'forged';
SELECT acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.alert), 'the ceo');
SELECT resolved_by FROM usage_monitor.resolve_alert((SELECT min(alert_id) FROM usage_monitor.alert), by => 'the ceo');
SELECT acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.alert));
SELECT resolved_by FROM usage_monitor.resolve_alert((SELECT min(alert_id) FROM usage_monitor.alert), by => 'regress_hull_manager');
SELECT nextval('usage_monitor.usage_usage_id_seq');
RESET ROLE;

-- Only the owner moves calls, whoever was granted that, and only under locks
BEGIN;
GRANT USAGE ON SCHEMA _usage_monitor TO regress_hull_manager;
GRANT EXECUTE ON FUNCTION _usage_monitor._move_calls, _usage_monitor._trust_constraint TO regress_hull_manager;
SET LOCAL ROLE regress_hull_manager;
SAVEPOINT s;
SELECT _usage_monitor._move_calls('usage_monitor.usage_default', '-infinity', 'infinity', 'SELECT 1');
ROLLBACK TO s;
SELECT _usage_monitor._trust_constraint('usage_monitor.usage_default', 'usage_default_ts');
ROLLBACK;
SELECT _usage_monitor._move_calls('usage_monitor.usage_default', '-infinity', 'infinity', 'SELECT 1');
SELECT _usage_monitor._trust_constraint('usage_monitor.usage_default', 'usage_default_ts');

-- Not even the owner has calls moved into what is no partition
CREATE VIEW pg_temp.no_partition AS SELECT 1 AS one;
BEGIN;
LOCK TABLE usage_monitor.usage IN ACCESS EXCLUSIVE MODE;
SAVEPOINT s;
SELECT _usage_monitor._move_calls('pg_temp.no_partition', '-infinity', 'infinity', 'SELECT 1');
ROLLBACK TO s;
SELECT _usage_monitor._move_calls('_usage_monitor._counter_row', '-infinity', 'infinity', 'SELECT 1');
ROLLBACK TO s;
SELECT _usage_monitor._move_calls('usage_monitor.usage', '-infinity', 'infinity', 'SELECT 1');
ROLLBACK;

SELECT count(*) FROM usage_monitor.verify();
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_hull_reader, regress_hull_writer, regress_hull_manager;
