--
-- Roles that are confined to organisations.  What is read from the catalog
-- covers what is added later.
--
\set VERBOSITY terse
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

CREATE ROLE regress_t_reader;
CREATE ROLE regress_t_writer;
CREATE ROLE regress_t_manager;
CREATE ROLE regress_t_other;    -- reads for another organisation
CREATE ROLE regress_t_both;     -- has the privileges of two
CREATE ROLE regress_t_all;      -- reads all
CREATE ROLE regress_t_hand;     -- was granted by hand, before
CREATE ROLE regress_t_late;     -- and after

-- Before: of others everything is called zeta
GRANT USAGE ON SCHEMA usage_monitor TO regress_t_hand;
GRANT INSERT, SELECT (cost) ON usage_monitor.usage TO regress_t_hand;
SELECT usage_monitor.grant_access('regress_t_all', 'reader');
SELECT usage_monitor.set_quota('each user', 'user', NULL, 5), usage_monitor.set_quota('each org', 'org', NULL, 50),
       usage_monitor.set_quota('zeta-quota', 'org', 'zeta', 70, enforcement => 'block'),
       usage_monitor.set_quota('zeta-users', 'user', NULL, 0.01, org => 'zeta'),
       usage_monitor.set_quota('acme users', 'user', NULL, 0.04, org => 'acme');
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, org) VALUES ('zeta-rule', 'requests', 1, 'zeta'), ('acme rule', 'requests', 1, 'acme');
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, dimensions) VALUES ('each project', 'requests', 1, '{org, project}');
INSERT INTO usage_monitor.usage (org, user_id, project, department, session_id, source, model, input_tokens, output_tokens, request_id, tags, duration_ms)
SELECT o.org, o.prefix || '-user', o.prefix || '-project', o.prefix || '-department', o.prefix || '-session', o.prefix || '-source',
       'gpt-4o', 1000, 100, o.prefix || '-request-' || i, jsonb_build_object(o.prefix || '-key', o.prefix || '-value'), 10
  FROM (VALUES ('acme', 'acme'), ('zeta', 'zeta'), ('zeta-gamma', 'zeta-gamma')) o (org, prefix), generate_series(1, 20) i;
INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('zeta', 'zeta-model', 1);
SELECT usage_monitor.set_price('gpt-4o', 1, 1, org => 'zeta') > 0, usage_monitor.set_price('zeta-contract', 1, 1, provider => 'zeta-vendor', org => 'zeta') > 0;
INSERT INTO usage_monitor.discount (org, percent) VALUES ('zeta', 12), ('acme', 5);
SELECT usage_monitor.raise_quota('zeta-quota', 1, 'tomorrow', 'zeta-reason') > 0, usage_monitor.reset_quota('zeta-users', 'zeta-user', 'zeta-reason');
SELECT count(*) > 0 FROM usage_monitor.check_alert_rules();
SELECT allowed FROM usage_monitor.reserve('zeta', user_id => 'zeta-user', cost => 1);
SELECT usage_monitor.refresh();
-- a long time ago, by now archived
CREATE TABLE public.usage_2020 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION public.usage_2020 FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, cost)
SELECT '2020-03-03', o.org, o.prefix || '-user', o.prefix || '-old', 'm', 3 FROM (VALUES ('acme', 'acme'), ('zeta', 'zeta')) o (org, prefix);
SELECT requests FROM usage_monitor.drop_usage_before('2021-01-01');
-- and the tail, with a correction
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) SELECT o.org, o.prefix || '-tail', 'gpt-4o', 5 FROM (VALUES ('acme', 'acme'), ('zeta', 'zeta')) o (org, prefix), generate_series(1, 3);
UPDATE usage_monitor.usage SET cost = cost + 1 WHERE request_id IN ('acme-request-2', 'zeta-request-2');

-- Nobody is confined: no row security
SELECT relrowsecurity FROM pg_class WHERE oid IN ('usage_monitor.usage'::regclass, 'usage_monitor.quota'::regclass);
SELECT usage_monitor.grant_access('regress_t_reader', 'reader', org => 'acme');
SELECT relrowsecurity FROM pg_class WHERE oid IN ('usage_monitor.usage'::regclass, 'usage_monitor.quota'::regclass);
SELECT usage_monitor.grant_access('regress_t_other', 'reader', org => 'zeta'),
       usage_monitor.grant_access('regress_t_writer', 'writer', org => 'acme'),
       usage_monitor.grant_access('regress_t_manager', 'manager', org => 'acme');
GRANT regress_t_reader, regress_t_other TO regress_t_both;
SELECT role, access, org FROM usage_monitor.access ORDER BY 1, 2, 3;

-- What cannot be granted
SELECT usage_monitor.grant_access('regress_t_reader', 'reader');
SELECT usage_monitor.grant_access('regress_t_reader', 'reader', org => '');
SELECT usage_monitor.grant_access('regress_t_reader', 'guest', org => 'acme');
SELECT usage_monitor.grant_access(NULL, 'reader', org => 'acme');
CREATE ROLE regress_t_super SUPERUSER;
SELECT usage_monitor.grant_access('regress_t_super', 'reader', org => 'acme');
DROP ROLE regress_t_super;
SELECT usage_monitor.grant_access('regress_t_hand', 'reader', via => 'regress_t_reader');
SELECT usage_monitor.revoke_access('regress_t_reader', 'guest');
SELECT usage_monitor.revoke_access(NULL);
BEGIN;
GRANT regress_t_all TO regress_t_late;
SELECT usage_monitor.grant_access('regress_t_late', 'reader', org => 'acme');
ROLLBACK;

-- Everything that a confined role may read, and everything that a function says to him, searched for the names of others
CREATE TABLE pg_temp.said (role text DEFAULT current_user, name text, about text, state text, words text);
GRANT INSERT, SELECT ON pg_temp.said TO PUBLIC;
CREATE FUNCTION pg_temp.ask(name text, about text, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    words text;
BEGIN
    EXECUTE format('SELECT string_agg(t::text, E''\n'' ORDER BY t::text) FROM (%s) t', statement) INTO words;
    RAISE EXCEPTION USING ERRCODE = 'RG000', MESSAGE = coalesce(words, '');
EXCEPTION WHEN OTHERS THEN
    INSERT INTO pg_temp.said (name, about, state, words)
    -- numbers that are made up each time, and times that pass
    VALUES (name, about, SQLSTATE, regexp_replace(SQLERRM, '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+|\d+:\d+:\d+(\.\d+)?', '#', 'g'));
END
$$;
CREATE TABLE pg_temp.question AS
-- each relation, partitions and private ones too
SELECT c.oid::regclass::text AS name, '' AS about, format('SELECT * FROM %s', c.oid::regclass) AS statement
  FROM pg_class c
 WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
   AND c.relkind IN ('r', 'p', 'v', 'f', 'S')
UNION ALL
SELECT 'pg_stats', '', 'SELECT s.tablename, s.attname, s.most_common_vals, s.histogram_bounds FROM pg_stats s WHERE s.schemaname ~ ''usage_monitor'''
UNION ALL
-- each function, about nobody in particular, about what zeta has and about what nobody has: the last two must be answered alike
SELECT p.oid::regprocedure::text, v.about,
       format('SELECT * FROM %s(%s)', p.oid::regproc,
              (SELECT string_agg(CASE WHEN p.provariadic <> 0 AND a.place = p.pronargs THEN 'VARIADIC ' ELSE '' END
                                 || CASE
                                     WHEN a.name = 'org' THEN quote_nullable(v.org)
                                     WHEN a.type = 'uuid'::regtype AND v.prefix = 'zeta' THEN quote_literal((SELECT reservation_id FROM usage_monitor.reservation)) || '::uuid'
                                     WHEN a.type = 'uuid'::regtype THEN '''00000000-0000-0000-0000-000000000000''::uuid'
                                     WHEN a.name = 'usage_id' AND v.prefix = 'zeta' THEN (SELECT min(usage_id)::text FROM usage_monitor.usage WHERE org = 'zeta')
                                     WHEN a.name = 'alert_id' AND v.prefix = 'zeta' THEN (SELECT min(alert_id)::text FROM usage_monitor.alert WHERE message ~ 'zeta')
                                     WHEN a.name IN ('usage_id', 'alert_id') THEN '999999999'
                                     WHEN a.name = 'response' THEN '''{"model": "gpt-4o", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}''::jsonb'
                                     WHEN a.name IN ('period', 'time_zone', 'ttl', 'service_tier', 'cost', 'response') OR v.prefix = '' THEN 'NULL::' || format_type(a.type, NULL)
                                     WHEN a.name IN ('from_time', 'to_time', 'at') AND a.type = 'text'::regtype THEN quote_literal(current_date)
                                     WHEN a.name IN ('model', 'from_model', 'to_model') THEN quote_literal(v.model)
                                     WHEN a.type = 'text'::regtype THEN quote_literal(v.prefix || '-' || CASE a.name WHEN 'user_id' THEN 'user' WHEN 'session_id' THEN 'session'
                                                                                             WHEN 'request_id' THEN 'request-1' WHEN 'name' THEN 'quota' ELSE a.name END)
                                     WHEN a.type = 'timestamptz'::regtype THEN 'now()'
                                     WHEN a.type = 'date'::regtype THEN 'current_date'
                                     WHEN a.type IN ('bigint'::regtype, 'integer'::regtype, 'numeric'::regtype) THEN '10'
                                     WHEN a.type = 'bigint[]'::regtype THEN 'ARRAY(SELECT generate_series(1, 20))::bigint[]'
                                     WHEN a.type = 'tid'::regtype THEN '''(0,1)''::tid'
                                     ELSE 'NULL::' || format_type(a.type, NULL) END, ', ' ORDER BY a.place)
                 FROM unnest(p.proargtypes::oid[], p.proargnames[1:p.pronargs]) WITH ORDINALITY a (type, name, place)))
  FROM pg_proc p
 CROSS JOIN (VALUES ('', '', NULL, NULL), ('zeta', 'zeta', 'zeta', 'gpt-4o'), ('nobody', 'nobody', 'nobody', 'gpt-4o'),
                    ('zeta in acme', 'zeta', 'acme', 'zeta-contract'), ('nobody in acme', 'nobody', 'acme', 'nobody-contract')) v (about, prefix, org, model)
 WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
   AND p.prokind = 'f'
   AND NOT 'internal'::regtype = ANY (p.proargtypes)
   AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'fdw_handler'::regtype);
GRANT SELECT ON pg_temp.question TO PUBLIC;
SET client_min_messages = error;
SET ROLE regress_t_reader;
SELECT pg_temp.ask(name, about, statement) FROM pg_temp.question \g /dev/null
SET ROLE regress_t_writer;
SELECT pg_temp.ask(name, about, statement) FROM pg_temp.question \g /dev/null
SET ROLE regress_t_manager;
SELECT pg_temp.ask(name, about, statement) FROM pg_temp.question \g /dev/null
RESET ROLE;
SELECT pg_temp.ask(name, about, statement) FROM pg_temp.question WHERE about = '' \g /dev/null
SET client_min_messages = warning;
-- the search finds what there is: the owner sees it all over
SELECT count(DISTINCT name) > 30 FROM pg_temp.said WHERE role = current_user AND words ~ 'zeta' AND state = 'RG000' AND about = '';
SELECT role, count(DISTINCT name) FILTER (WHERE state = 'RG000') > CASE role WHEN 'regress_t_writer' THEN 2 ELSE 130 END FROM pg_temp.said WHERE role <> current_user GROUP BY role ORDER BY role;
-- and they find their own in what they may read
SELECT role, count(DISTINCT name) > 30 FROM pg_temp.said WHERE role IN ('regress_t_reader', 'regress_t_manager') AND words ~ 'acme' GROUP BY role ORDER BY role;
-- but nothing of others, unless they said it themselves
SELECT role, name, about, state, words FROM pg_temp.said WHERE role <> current_user AND about = '' AND words ~ 'zeta';
SELECT role, name, about, state, words FROM pg_temp.said WHERE role <> current_user AND about ~ 'nobody' AND words ~ 'zeta';
-- and what others have is as what nobody has
SELECT z.role, z.name, z.state, z.words, n.state, n.words
  FROM pg_temp.said z
  JOIN pg_temp.said n ON n.role = z.role AND n.name = z.name AND n.about = replace(z.about, 'zeta', 'nobody')
 WHERE z.about ~ '^zeta'
   AND z.role <> current_user
   AND (z.state, regexp_replace(z.words, 'zeta|\d+', '*', 'g')) IS DISTINCT FROM (n.state, regexp_replace(n.words, 'nobody|\d+', '*', 'g'))
 ORDER BY 1, 2;

-- Sums agree, whichever way they are asked for: owner, who reads all, one organisation, two
PREPARE counts AS
SELECT (SELECT count(*) FROM usage_monitor.usage) + (SELECT coalesce(sum(requests), 0) FROM usage_monitor.daily_usage WHERE day < '2021-01-01') AS calls,
       (SELECT sum(requests) FROM usage_monitor.daily_total) AS daily_total,
       (SELECT sum(requests) FROM usage_monitor.hourly_total) AS hourly_total,
       (SELECT sum(requests) FROM usage_monitor.model_total) AS model_total,
       (SELECT sum(requests) FROM usage_monitor.operation_total) AS operation_total,
       (SELECT sum(requests) FROM usage_monitor.daily_usage) AS daily_usage,
       (SELECT sum(requests) FROM usage_monitor.user_usage) AS user_usage,
       (SELECT sum(cost) FROM usage_monitor.model_total) = (SELECT sum(cost) FROM usage_monitor.model_usage) AS cost,
       (SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.daily_usage) AS orgs;
-- one session, plans and remembered tails across roles
SET plan_cache_mode = force_generic_plan;
EXECUTE counts;
SET ROLE regress_t_all;
EXECUTE counts;
SELECT count(*) FROM usage_monitor.verify();
SET ROLE regress_t_reader;
EXECUTE counts;
SET ROLE regress_t_other;
EXECUTE counts;
SET ROLE regress_t_both;
EXECUTE counts;
SET ROLE regress_t_reader;
EXECUTE counts;
RESET ROLE;
EXECUTE counts;
-- a cursor shows nobody more than he may see
BEGIN;
SET LOCAL ROLE regress_t_reader;
DECLARE own CURSOR FOR SELECT DISTINCT org FROM usage_monitor.daily_usage;
RESET ROLE;
SET LOCAL ROLE regress_t_other;
FETCH ALL FROM own;
SELECT DISTINCT org FROM usage_monitor.daily_usage;
ROLLBACK;
-- grants and memberships given and taken in mid-session
SELECT usage_monitor.grant_access('regress_t_reader', 'reader', org => 'zeta-gamma');
SET ROLE regress_t_reader;
EXECUTE counts;
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_t_reader', org => 'zeta-gamma');
SET ROLE regress_t_reader;
EXECUTE counts;
RESET ROLE;
GRANT regress_t_all TO regress_t_both;
SET ROLE regress_t_both;
SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.daily_usage;
RESET ROLE;
REVOKE regress_t_all FROM regress_t_both;
SET ROLE regress_t_both;
SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.daily_usage;
RESET ROLE;
RESET plan_cache_mode;

-- Functions that tell what they are shown, though cheaper than all else, are shown one's own
CREATE SCHEMA regress_t AUTHORIZATION regress_t_reader;
SET ROLE regress_t_reader;
CREATE FUNCTION regress_t.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.00000001 AS $$ BEGIN RAISE WARNING 'leak %', $1; RETURN true; END $$;
SELECT count(*) FROM usage_monitor.usage WHERE org <> 'acme' AND regress_t.leak(org || user_id);
SELECT count(*) FROM usage_monitor.daily_usage WHERE org <> 'acme' AND regress_t.leak(org);
SELECT count(*) FROM usage_monitor.model_total WHERE requests < 0 AND regress_t.leak(CASE WHEN cost > 10 THEN 'much' END);
SELECT count(*) FROM _usage_monitor._rollup_user WHERE org <> 'acme' AND regress_t.leak(org || key1);
SELECT count(*) FROM _usage_monitor._archived_day WHERE org <> 'acme' AND regress_t.leak(org);
SELECT count(*) FROM usage_monitor.quota WHERE name ~ 'zeta' AND regress_t.leak(CASE WHEN name ~ 'zeta' THEN name END);
SELECT count(*) FROM _usage_monitor._counter_row WHERE subject ~ 'zeta' AND regress_t.leak(CASE WHEN subject ~ 'zeta' THEN subject END);
SELECT count(*) FROM usage_monitor.alert WHERE message ~ 'zeta' AND regress_t.leak(CASE WHEN message ~ 'zeta' THEN message END);
SELECT count(*) FROM usage_monitor.price WHERE org <> 'acme' AND regress_t.leak(org);
RESET ROLE;
-- what a tenant's code does when others run it
SET ROLE regress_t_reader;
CREATE VIEW regress_t.v AS SELECT DISTINCT org FROM usage_monitor.usage;
GRANT USAGE ON SCHEMA regress_t TO regress_t_other;
GRANT SELECT ON regress_t.v TO regress_t_other;
CREATE MATERIALIZED VIEW regress_t.m AS SELECT DISTINCT org FROM usage_monitor.usage;
CREATE FUNCTION regress_t.definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.usage $$;
CREATE TABLE regress_t.t (i integer);
INSERT INTO regress_t.t VALUES (1);
RESET ROLE;
GRANT EXECUTE ON FUNCTION usage_monitor.record TO regress_t_reader;
SET ROLE regress_t_reader;
CREATE FUNCTION regress_t.trojan(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM usage_monitor.record('{"model": "trojan", "usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}}', org => 'zeta');
    RETURN $1;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN 0;
END
$$;
CREATE INDEX ON regress_t.t (regress_t.trojan(i));
RESET ROLE;
REINDEX TABLE regress_t.t;
ANALYZE regress_t.t;
REFRESH MATERIALIZED VIEW regress_t.m;
SELECT * FROM regress_t.m;
SELECT regress_t.definer();
SELECT count(*) AS trojans FROM usage_monitor.usage WHERE model = 'trojan';
SET ROLE regress_t_other;
SELECT * FROM regress_t.v;
RESET ROLE;

-- A writer records for his organisation, and need not name it where he has one
SET ROLE regress_t_writer;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('acme', 'w', 'gpt-4o', 10) RETURNING cost;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('w', 'gpt-4o', 10) RETURNING cost;
SELECT (usage_monitor.record('{"model": "gpt-4o", "usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}', request_id => 'n1')).org;
SELECT (usage_monitor.record('{"model": "gpt-4o", "usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}', request_id => 'acme-request-1')).tags;
-- not for another's, and whether that has a request is not told
INSERT INTO usage_monitor.usage (org, model, request_id) VALUES ('zeta', 'gpt-4o', 'zeta-request-1');
INSERT INTO usage_monitor.usage (org, model, request_id) VALUES ('zeta', 'gpt-4o', 'unheard of');
SELECT usage_monitor.record('{"model": "gpt-4o", "usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}', org => 'zeta', request_id => 'zeta-request-1');
SELECT usage_monitor.reserve('zeta', cost => 1);
SELECT usage_monitor.check_quota('zeta');
COPY usage_monitor.usage (model, input_tokens) FROM STDIN;
gpt-4o	1
\.
-- the room that others leave is told as yes or no
SELECT name, subject, amount, used, allowed, reason FROM usage_monitor.check_quota(user_id => 'w', cost => 100) ORDER BY name;
SELECT allowed, reason FROM usage_monitor.reserve(cost => 1);
RESET ROLE;
CREATE TABLE pg_temp.foreign_one AS SELECT reservation_id FROM usage_monitor.reservation WHERE org = 'zeta';
GRANT SELECT ON pg_temp.foreign_one TO PUBLIC;
SET ROLE regress_t_writer;
SELECT usage_monitor.release(reservation_id) FROM pg_temp.foreign_one;
DO $$
BEGIN
    PERFORM usage_monitor.settle(reservation_id, model => 'm') FROM pg_temp.foreign_one;
EXCEPTION WHEN SQLSTATE 'UM101' THEN
    RAISE WARNING 'is not open';
END
$$;
RESET ROLE;
SELECT state, count(*) FROM usage_monitor.reservation GROUP BY 1;
SELECT org, count(*) FROM usage_monitor.usage WHERE user_id = 'w' OR request_id = 'n1' GROUP BY 1;
-- who may read one and record for another does just that
SELECT usage_monitor.grant_access('regress_t_reader', 'writer', org => 'zeta-gamma');
SET ROLE regress_t_reader;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'm', 1);
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('zeta-gamma', 'm', 1);
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_t_reader', 'writer');
SET ROLE regress_t_reader;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('zeta-gamma', 'm', 1);
SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.usage;
RESET ROLE;

-- What a transaction is about to count is nobody else's in it
BEGIN;
SET LOCAL ROLE regress_t_hand;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('zeta', 'zeta-user', 'm', 0.5), ('acme', 'acme-user', 'm', 0.25);
RESET ROLE;
SELECT usage_monitor.set_quota('zeta-changed', 'org', 'zeta', 5) > 0;
SET LOCAL ROLE regress_t_reader;
SELECT q.name, p.subject, p.used FROM _usage_monitor._pending_usage() p JOIN usage_monitor.quota q USING (quota_id) ORDER BY 1, 2;
SELECT count(*) FROM _usage_monitor._pending_usage();
SELECT count(*) FROM _usage_monitor._changed_quotas();
SELECT name, subject FROM usage_monitor.quota_status ORDER BY 1, 2;
ROLLBACK;

-- A manager: quotas that count his organisation alone, its alerts, and no prices
SET ROLE regress_t_manager;
SELECT usage_monitor.set_quota('acme sessions', 'session', NULL, 3, org => 'acme') > 0;
SELECT usage_monitor.set_quota('mine', 'org', 'acme', 3);
SELECT usage_monitor.set_quota('mine', 'org', 'acme', 1e9, org => 'acme', overrides => 'each org');
SELECT usage_monitor.set_quota('each org', 'org', NULL, 1e9);
UPDATE usage_monitor.quota SET amount = 1e9 WHERE name IN ('each org', 'zeta-quota');
-- who may DELETE may LOCK TABLE, too
DELETE FROM usage_monitor.quota WHERE name = 'acme sessions';
SELECT usage_monitor.drop_quota('zeta-quota');
SELECT usage_monitor.drop_quota('each org');
SELECT usage_monitor.drop_quota(NULL);
SELECT usage_monitor.set_quota('acme short', 'user', NULL, 3, org => 'acme') > 0, usage_monitor.set_quota('acme short', 'user', NULL, 4, org => 'acme') > 0;
SELECT usage_monitor.drop_quota('acme short');
UPDATE usage_monitor.quota SET org = NULL WHERE name = 'acme sessions';
UPDATE usage_monitor.quota SET org = 'zeta' WHERE name = 'acme sessions';
SELECT usage_monitor.set_price('gpt-4o', 0, 0, org => 'acme');
INSERT INTO usage_monitor.discount (org, percent) VALUES ('acme', 100);
SELECT usage_monitor.reset_quota('each org');
INSERT INTO usage_monitor.access VALUES ('regress_t_manager', 'manager', 'zeta');
SELECT usage_monitor.grant_access('regress_t_manager', 'manager', org => 'zeta');
SELECT acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.alert));
-- it would resolve those of others, too
SELECT usage_monitor.resolve_alerts(before => now());
SELECT DISTINCT alert_type, subject FROM usage_monitor.alert ORDER BY 1, 2;
RESET ROLE;
SELECT name, amount FROM usage_monitor.quota WHERE scope = 'org' ORDER BY 1;
SELECT as_role, change, old ->> 'name' AS name, old ->> 'org' AS org FROM usage_monitor.audit_log WHERE what = 'quota' AND change = 'delete';

-- Of a quota that is shared with others he hears that it is full, by whichever way he records, and no figures
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    EXECUTE statement;
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(': ', SQLERRM, nullif(said, ''));
END
$$;
BEGIN;
SELECT usage_monitor.set_quota('shared', 'all', NULL, 60, 'lifetime', enforcement => 'block') > 0 AND
       usage_monitor.set_quota('acme own', 'project', NULL, 5, 'lifetime', org => 'acme', enforcement => 'block') > 0;
CREATE TEMP TABLE way AS
SELECT * FROM (VALUES (1, 'INSERT INTO usage_monitor.usage (org, project, model, cost) VALUES (''acme'', ''p'', ''m'', %s)'),
                      (2, 'SELECT usage_monitor.record(''{"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": %s}}'', ''openrouter'', org => ''acme'', project => ''p'')')) w (n, statement);
GRANT SELECT ON way TO regress_t_writer;
COMMIT;
SET ROLE regress_t_writer;
SELECT w.n, cost, pg_temp.refused(format(w.statement, cost)) FROM pg_temp.way w, unnest('{6, 100}'::numeric[]) cost ORDER BY 1, 2;
RESET ROLE;
SELECT w.n, pg_temp.refused(format(w.statement, 100)) FROM pg_temp.way w ORDER BY 1;
DELETE FROM usage_monitor.quota WHERE name IN ('shared', 'acme own');
DROP TABLE pg_temp.way;

-- None can keep others from recording: no lock on anything that is more than what it takes to insert
DO $$
DECLARE
    asked   record;
    refused integer := 0;
BEGIN
    FOR asked IN
        SELECT r.name AS role, c.oid::regclass AS locked
          FROM unnest('{regress_t_reader, regress_t_writer, regress_t_manager, regress_t_all}'::text[]) r (name)
         CROSS JOIN pg_class c
         WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
    LOOP
        BEGIN
            PERFORM set_config('role', asked.role, true);
            EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', asked.locked);
            RAISE WARNING '% can lock %', asked.role, asked.locked;
            PERFORM set_config('role', 'none', true);
        EXCEPTION WHEN insufficient_privilege THEN
            refused := refused + 1;
        END;
    END LOOP;
    RAISE WARNING 'many locks refused: %', refused > 400;
END
$$;

-- Policies of one's own hold beside ours: who is confined gets what both allow
CREATE POLICY regress_t_own ON usage_monitor.usage TO regress_t_all USING (user_id = 'zeta-user');
CREATE POLICY regress_t_own2 ON usage_monitor.usage TO regress_t_reader USING (user_id ~ 'tail');
SET ROLE regress_t_all;
SELECT count(DISTINCT user_id), count(*) = (SELECT sum(requests) FROM usage_monitor.daily_total) FROM usage_monitor.usage;
SELECT * FROM usage_monitor.verify();
SET ROLE regress_t_reader;
SELECT string_agg(DISTINCT user_id, ','), count(*) = (SELECT sum(requests) FROM usage_monitor.daily_total) FROM usage_monitor.usage;
SET ROLE regress_t_other;
SELECT count(*) FROM usage_monitor.usage;
RESET ROLE;
DROP POLICY regress_t_own ON usage_monitor.usage;
DROP POLICY regress_t_own2 ON usage_monitor.usage;

-- Who was granted by hand before goes on; who is after, or is renamed, sees nothing
SET ROLE regress_t_hand;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('zeta', 'm', 0.01) RETURNING cost;
RESET ROLE;
GRANT USAGE ON SCHEMA usage_monitor TO regress_t_late;
GRANT SELECT ON usage_monitor.usage, usage_monitor.quota TO regress_t_late;
GRANT INSERT ON usage_monitor.usage TO regress_t_late;
SET ROLE regress_t_late;
SELECT count(*) FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('zeta', 'm', 0.01);
RESET ROLE;
ALTER ROLE regress_t_other RENAME TO regress_t_renamed;
SET ROLE regress_t_renamed;
SELECT count(*), (SELECT sum(requests) FROM usage_monitor.daily_total) FROM usage_monitor.usage;
RESET ROLE;
ALTER ROLE regress_t_renamed RENAME TO regress_t_other;
SET ROLE regress_t_reader;
SET row_security = off;
SELECT count(*) FROM usage_monitor.usage;
RESET row_security;
RESET ROLE;

-- Many tenants: the rights are a group's
CREATE ROLE regress_t_group;
CREATE ROLE regress_t_member;
SELECT usage_monitor.grant_access('regress_t_member', 'reader', org => 'zeta-gamma', via => 'regress_t_group');
SET ROLE regress_t_member;
SELECT string_agg(DISTINCT org, ','), count(*) FROM usage_monitor.usage;
SET ROLE regress_t_group;
SELECT count(*) FROM usage_monitor.usage;
RESET ROLE;

-- A quota or a rule that an organisation is given tells it nothing of those whose calls it was about before
SELECT usage_monitor.set_quota('given', 'user', NULL, 0.01) > 0;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('zeta', 'zeta-given', 'm', 1);
SELECT usage_monitor.reset_quota('given', 'zeta-given', 'zeta-reason');
SELECT allowed FROM usage_monitor.reserve('zeta', user_id => 'zeta-given', cost => 1);
UPDATE usage_monitor.quota SET org = 'acme' WHERE name = 'given';
UPDATE usage_monitor.alert_rule SET org = 'acme', name = 'given' WHERE name = 'zeta-rule';
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('acme', 'acme-given', 'm', 1);
DELETE FROM pg_temp.said;
SET ROLE regress_t_reader;
SELECT pg_temp.ask(name, about, statement) FROM pg_temp.question WHERE about = '' \g /dev/null
SELECT string_agg(subject, ',') FROM usage_monitor.alert WHERE quota = 'given';
RESET ROLE;
SELECT count(*) > 100 FROM pg_temp.said WHERE state = 'RG000';
SELECT name, words FROM pg_temp.said WHERE words ~ 'zeta';

-- verify() says where somebody could see more
SELECT count(*) FROM usage_monitor.verify();
BEGIN;
ALTER TABLE usage_monitor.usage DISABLE ROW LEVEL SECURITY;
ALTER TABLE usage_monitor.alert DISABLE ROW LEVEL SECURITY;
GRANT SELECT ON usage_monitor.usage_default TO regress_t_reader;
GRANT SELECT (org) ON _usage_monitor._archive_day TO regress_t_group;
SELECT what, key, expected, found FROM usage_monitor.verify() ORDER BY key::text;
ROLLBACK;

-- All is taken back: no row security, and roles that can be dropped
SELECT usage_monitor.revoke_access(r::regrole) FROM unnest('{regress_t_reader, regress_t_writer, regress_t_manager, regress_t_other, regress_t_member}'::text[]) r;
SET ROLE regress_t_member;
SELECT count(*) FROM usage_monitor.usage;
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_t_group');
SELECT role, access, org FROM usage_monitor.access ORDER BY 1;
SELECT relrowsecurity FROM pg_class WHERE oid IN ('usage_monitor.usage'::regclass, 'usage_monitor.quota'::regclass);
SET ROLE regress_t_hand;
COPY usage_monitor.usage (model, cost) FROM STDIN;
m	1
\.
RESET ROLE;
SELECT count(*) FROM usage_monitor.verify();
DROP OWNED BY regress_t_reader;
DROP ROLE regress_t_reader, regress_t_writer, regress_t_manager, regress_t_other, regress_t_member, regress_t_group, regress_t_both;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_t_all, regress_t_hand, regress_t_late;
