--
-- What a program can read of a refusal
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
\set SHOW_CONTEXT always
CREATE ROLE regress_refused;
GRANT USAGE ON SCHEMA usage_monitor TO regress_refused;
GRANT INSERT ON usage_monitor.usage TO regress_refused;
SELECT usage_monitor.set_quota('Ann''s cap', 'user', 'ann', 10, 'lifetime', enforcement => 'block') > 0 AS set;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 8);
-- who only inserts learns which quota; who may ask check_quota() learns what it would tell him
SET ROLE regress_refused;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 2.5);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION usage_monitor.check_quota TO regress_refused;
SET ROLE regress_refused;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 2.5);
SELECT used, reserved, amount, remaining FROM usage_monitor.check_quota(user_id => 'ann', cost => 2.5);
RESET ROLE;
-- the same from inside of a function, and at commit
CREATE FUNCTION pg_temp.refusal(statement text, OUT code text, OUT "schema" text, OUT "table" text, OUT "constraint" text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, "schema" = SCHEMA_NAME, "table" = TABLE_NAME, "constraint" = CONSTRAINT_NAME;
END
$$;
SELECT * FROM pg_temp.refusal($$SELECT usage_monitor.settle((usage_monitor.reserve(user_id => 'ann', cost => 1)).reservation_id, model => 'm', cost => 5)$$);
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 2);
SELECT usage_monitor.set_quota('Ann''s cap', 'user', 'ann', 9, 'lifetime', enforcement => 'block') > 0 AS set;
COMMIT;
-- refusals tell nothing of the functions that they come out of, and all of the caller's own
SELECT usage_monitor.set_quota('q', 'all', NULL, 0);
SELECT usage_monitor.set_budget('parts', 'org', 'acme', -1);
CREATE FUNCTION public.mine() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM usage_monitor.set_quota('q', 'all', NULL, 0);
END
$$;
SELECT public.mine();
SELECT usage_monitor.acknowledge_alert(-1);
SELECT usage_monitor.import_bill('{}'::jsonb);
DROP FUNCTION public.mine();
DROP OWNED BY regress_refused;
DROP ROLE regress_refused;
