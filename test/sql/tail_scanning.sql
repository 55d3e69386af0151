--
-- The tail as foreign tables: conditions that are looked at before a sum
-- becomes a row, scans of one tail beside each other, and what is no sum but
-- rows, for want of memory
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
\set views :test '/include/views.psql'
\i :views

SELECT usage_monitor.configure('CNY', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;
SELECT usage_monitor.refresh() > 0 AS refreshed;
EXECUTE fill;
UPDATE usage_monitor.usage SET user_id = 'eve' WHERE usage_id % 7 = 0;

CREATE TABLE pg_temp.condition (number serial, condition text, is_exact boolean DEFAULT false);
INSERT INTO condition (condition, is_exact) VALUES
    ('true', true),
    ('t.org = ''acme''', true),
    ('''globex'' = t.org', true),
    ('t.key1 = ''ann''', true),
    ('t.key1 = ''ann'' AND t.org = ''globex''', true),
    ('t.key1 = ''ann'' AND t.key1 = ''bob''', false),
    ('t.key1 = ''nobody''', true),
    ('t.key1 = ''''', true),
    ('t.key1 = NULL::text', true),
    ('t.day = NULL::date', true),
    ('t.key1 = (SELECT NULL::text)', true),
    ('t.key1 = (SELECT min(u.user_id) FROM usage_monitor.usage u)', true),
    ('t.key1 IS NULL', false),
    ('t.key1 IS DISTINCT FROM ''ann''', false),
    ('t.key1 <> ''ann''', false),
    ('t.key1 >= ''bob''', false),
    ('t.key1 IN (''ann'', ''eve'')', false),
    ('(t.key1 = ''ann'' OR t.org = ''globex'')', false),
    ('NOT t.key1 = ''ann''', false),
    ('t.key1 = t.org', false),
    ('t.key1 || '''' = ''ann''', false),
    ('t.key1 = lower(''ANN'')', true),
    ('t.key1 = ''ann''::varchar', true),
    ('t.key1::varchar = ''ann''::varchar', false),
    ('t.key1 LIKE ''ann''', false),
    ('t.key1 = ''ann'' COLLATE "C"', true),
    ('t.key1 = (ARRAY[''ann'', ''bob''])[1 + (random() * 0)::int]', false),
    ('t.org = current_setting(''test.org'')', true),
    ('t.day = ''2025-03-09''', true),
    ('t.day >= ''2025-03-09''', true),
    ('t.day > ''2025-03-09''', false),
    ('t.day <= ''2025-03-09''', true),
    ('t.day < ''2025-03-09''', false),
    ('''2025-03-09'' <= t.day', true),
    ('''2025-03-09'' > t.day', false),
    ('t.day BETWEEN ''2025-03-08'' AND ''2025-03-10''', true),
    ('t.day BETWEEN ''2025-03-10'' AND ''2025-03-08''', true),
    ('t.day > ''-infinity'' AND t.day < ''infinity''', true),
    ('t.day = ''infinity''', true),
    ('t.day >= timestamp ''2025-03-09 12:00''', false),
    ('t.day >= current_date - 30', true),
    ('t.day <> ''2025-03-09''', false),
    ('t.day IN (SELECT s.day FROM _usage_monitor._tail_day_total s WHERE s.day < ''2025-01-01'')', false),
    ('t.day >= ''2024-12-30'' AND t.org = ''acme'' AND t.key1 = ''bob'' AND t.requests > 5', false);
SET test.org = 'acme';

-- What a condition lets through is what it would if it were looked at afterwards
CREATE FUNCTION pg_temp.differences_of(tail text) RETURNS TABLE (conditions bigint, rows numeric, differing text)
LANGUAGE plpgsql AS $$
DECLARE
    query text := 'SELECT t.day, t.org, t.key1, t.key2, sum(t.requests), trim_scale(sum(t.cost)), sum(t.ms_2000), sum(t.errors) FROM %s t WHERE %s GROUP BY 1, 2, 3, 4';
    item  record;
    found bigint;
    wrong bigint;
BEGIN
    SET LOCAL client_min_messages = warning;
    DROP TABLE IF EXISTS pg_temp.every_sum;
    EXECUTE format('CREATE TEMP TABLE every_sum AS SELECT * FROM _usage_monitor.%I', tail);
    conditions := 0;
    rows := 0;
    FOR item IN SELECT * FROM pg_temp.condition ORDER BY number LOOP
        EXECUTE format('WITH shown AS MATERIALIZED (%1$s), told AS MATERIALIZED (%2$s)
                        SELECT (SELECT count(*) FROM (%1$s) d),
                               (SELECT count(*) FROM ((TABLE shown EXCEPT ALL TABLE told) UNION ALL (TABLE told EXCEPT ALL TABLE shown)) d)',
                       format(query, '_usage_monitor.' || tail, item.condition), format(query, 'pg_temp.every_sum', item.condition))
           INTO found, wrong;
        conditions := conditions + 1;
        rows := rows + found;
        differing := concat_ws('; ', differing, CASE WHEN wrong > 0 THEN item.condition END);
    END LOOP;
    RETURN NEXT;
END
$$;
CREATE VIEW pg_temp.every_difference AS
SELECT d.name, t.conditions, t.rows > 0 AS has_rows, t.differing
FROM _usage_monitor._rollup_dimension d
CROSS JOIN LATERAL pg_temp.differences_of('_tail_' || d.name) t
ORDER BY d.name;
TABLE every_difference;

-- ... and sums that do not fulfil it are not made rows of
CREATE FUNCTION pg_temp.removed(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) ' || query INTO plan;
    RETURN (SELECT sum((node ->> 'Rows Removed by Filter')::numeric)
            FROM jsonb_path_query(plan, '$.** ? (@."Node Type" == "Foreign Scan")') AS node);
END
$$;
SELECT condition FROM condition
WHERE is_exact AND pg_temp.removed(format('SELECT * FROM _usage_monitor._tail_user t WHERE %s', condition)) > 0;
SELECT pg_temp.removed('SELECT day, cost FROM usage_monitor.user_usage WHERE user_id = ''ann'' AND org = ''acme'' AND day >= ''2025-03-09''') AS by_view,
       pg_temp.removed('SELECT * FROM _usage_monitor._tail_user WHERE key1 LIKE ''ann''') > 0 AS otherwise;

-- Whatever columns are asked for
SELECT count(*) > 0 AS found, count(DISTINCT t) = count(*) AS whole_rows, count(DISTINCT t.tableoid::regclass) AS tables FROM _usage_monitor._tail_model t WHERE org = 'acme';
SELECT count(*) FROM _usage_monitor._tail_day_total;
SELECT count(*) AS differing FROM (SELECT t AS row FROM _usage_monitor._tail_user t WHERE key1 = 'ann') a
WHERE to_jsonb(a.row) NOT IN (SELECT to_jsonb(t) FROM _usage_monitor._tail_user t);
SELECT count(*) FROM (SELECT * FROM _usage_monitor._tail_day_total ORDER BY cost, day LIMIT 3) l;

-- Values that are known as it runs: parameters, of a plan for all of them, and of rescans
SET plan_cache_mode = force_generic_plan;
PREPARE of_user(text, date, date) AS
SELECT sum(requests), sum(cost) FROM usage_monitor.user_usage WHERE user_id = $1 AND day BETWEEN $2 AND $3;
EXECUTE of_user('ann', '2025-03-08', '2025-03-10');
EXECUTE of_user('bob', '2025-03-08', '2025-03-10');
EXECUTE of_user('bob', '2020-01-01', '2030-01-01');
EXECUTE of_user(NULL, '2020-01-01', '2030-01-01');
EXECUTE of_user('bob', '2020-01-01', NULL);
SELECT sum(requests), sum(cost) FROM usage_monitor.user_usage WHERE user_id || '' = 'bob';
RESET plan_cache_mode;

PREPARE of_each AS
SELECT u.name, s.*, (SELECT sum(l.requests) FROM _usage_monitor._live_user l WHERE l.key1 = u.name AND l.day >= u.day) AS live
FROM (VALUES ('ann', date '2025-01-01'), ('bob', '2025-01-01'), ('bob', '2025-03-10'), (NULL, '2025-01-01'), ('no', '2025-01-01'), ('ann', '2025-01-01'), ('ann', NULL)) AS u (name, day)
CROSS JOIN LATERAL (SELECT count(DISTINCT (t.day, t.org)), sum(t.requests) AS requests FROM _usage_monitor._tail_user t WHERE t.key1 = u.name AND t.day >= u.day) AS s
ORDER BY u.name, u.day;
EXECUTE of_each;

-- The same tail twice and more, scanned over and over
PREPARE self_join AS
SELECT count(*) > 0 AS found, count(*) FILTER (WHERE a.cost IS DISTINCT FROM b.cost OR a.requests <> b.requests) AS differing
FROM (SELECT day, org, key1, sum(requests) AS requests, sum(cost) AS cost FROM _usage_monitor._tail_user GROUP BY 1, 2, 3) a
JOIN (SELECT day, org, key1, sum(requests) AS requests, sum(cost) AS cost FROM _usage_monitor._tail_user GROUP BY 1, 2, 3) b
  ON (a.day, a.org, coalesce(a.key1, '-')) = (b.day, b.org, coalesce(b.key1, '-'));
PREPARE nested AS
SELECT count(*) = sum(s.n) AS same, count(*) > 0 AS found
FROM _usage_monitor._tail_day a
JOIN _usage_monitor._tail_day b ON a.day = b.day AND a.requests >= b.requests
CROSS JOIN (SELECT count(*) > 0 AS some FROM _usage_monitor._tail_day) c
CROSS JOIN LATERAL (SELECT 1 AS n) s;
EXECUTE self_join;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
EXECUTE self_join;
EXECUTE nested;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;

-- A cursor shows what there was when it was declared, however slowly it is read
CREATE VIEW pg_temp.seen AS SELECT count(*) AS names, sum(requests) AS requests, sum(input_tokens) AS input_tokens FROM _usage_monitor._tail_model;
CREATE FUNCTION pg_temp.read(c refcursor, at_most integer DEFAULT NULL, OUT names integer, OUT requests bigint)
LANGUAGE plpgsql AS $$
DECLARE
    counts bigint[] := coalesce(nullif(current_setting('test.' || c, true), ''), '{0,0}');
    r record;
BEGIN
    LOOP
        EXIT WHEN at_most <= 0;
        FETCH c INTO r;
        EXIT WHEN NOT found;
        counts := ARRAY[counts[1] + 1, counts[2] + r.requests];
        at_most := at_most - 1;
    END LOOP;
    names := counts[1];
    requests := counts[2];
    PERFORM set_config('test.' || c, CASE WHEN at_most >= 0 THEN counts::text ELSE '' END, false);
END
$$;
TABLE seen;
BEGIN;
DECLARE early CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
SELECT names FROM pg_temp.read('early', 3);
DECLARE unread CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
DECLARE scrolled SCROLL CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
MOVE LAST IN scrolled;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5), ('new', 5);
TABLE seen;
DECLARE late CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
SELECT names FROM pg_temp.read('late', 1);
DELETE FROM usage_monitor.usage WHERE org = 'acme';
TABLE seen;
SELECT * FROM pg_temp.read('early');
SELECT * FROM pg_temp.read('late');
SELECT * FROM pg_temp.read('unread');
MOVE ABSOLUTE 0 IN scrolled;
SELECT * FROM pg_temp.read('scrolled');
SAVEPOINT s;
SELECT sum(1 / (requests - requests)) FROM _usage_monitor._tail_model;
ROLLBACK TO s;
TABLE seen;
ROLLBACK;
TABLE seen;

BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM _usage_monitor._tail_model;
SELECT names FROM pg_temp.read('held', 3);
COMMIT;
SELECT usage_monitor.refresh() > 0 AS refreshed;
TABLE seen;
SELECT * FROM pg_temp.read('held');
CLOSE held;
EXECUTE fill;
TABLE seen;

-- An error halfway, which is caught, with a cursor open
CREATE FUNCTION pg_temp.stumble() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 / (requests - requests) FROM _usage_monitor._tail_model;
EXCEPTION WHEN division_by_zero THEN
    RETURN 1;
END
$$;
BEGIN;
DECLARE stumbling CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
SELECT names FROM pg_temp.read('stumbling', 2);
SELECT sum(pg_temp.stumble()) FROM generate_series(1, 3);
SELECT * FROM pg_temp.read('stumbling');
COMMIT;
TABLE seen;

-- What memory does not suffice for is as right
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT usage_monitor.refresh() > 0 AS refreshed;
EXECUTE fill;
INSERT INTO usage_monitor.usage (ts, org, user_id, project, model, input_tokens)
SELECT '2025-03-09 12:00Z', 'acme', 'user-' || n, 'p' || n, 'um-test-' || n % 900, n
FROM generate_series(1, 2000) n;
-- again, for in one part there is much of it
EXECUTE fill;
SELECT count(*) > count(DISTINCT (day, org, key1)) AS in_parts FROM _usage_monitor._tail_user;
SELECT t.* FROM pg_temp.differences_of('_tail_user') t;
EXECUTE of_user('bob', '2025-03-08', '2025-03-10');
EXECUTE of_each;
EXECUTE self_join;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
EXECUTE nested;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
SELECT sum(requests), sum(input_tokens) FROM _usage_monitor._tail_model;
BEGIN;
DECLARE large CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
SELECT names FROM pg_temp.read('large', 2);
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5), ('new', 5);
SELECT sum(requests), sum(input_tokens) FROM _usage_monitor._tail_model;
SAVEPOINT s;
SELECT sum(1 / (requests - requests)) FROM _usage_monitor._tail_model;
ROLLBACK TO s;
SELECT requests FROM pg_temp.read('large');
ROLLBACK;
SELECT sum(requests), sum(input_tokens) FROM _usage_monitor._tail_model;
RESET work_mem;
RESET hash_mem_multiplier;
SELECT sum(requests), sum(input_tokens) FROM _usage_monitor._tail_model;
SELECT t.* FROM pg_temp.differences_of('_tail_user') t;

-- Row security: all of what he may see of the ledger is tail, and nothing else
CREATE ROLE regress_tail_reader;
SELECT usage_monitor.grant_access('regress_tail_reader', 'reader');
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_tail_reader USING (org = 'acme');
SELECT count(*) AS calls FROM usage_monitor.usage WHERE org = 'acme' \gset
SET ROLE regress_tail_reader;
SELECT string_agg(DISTINCT org, ' ') AS orgs, sum(requests) = :calls AS all_calls FROM _usage_monitor._tail_user;
SELECT count(*) FROM _usage_monitor._tail_user WHERE org = 'globex';
SELECT sum(requests) > 0 AS found FROM usage_monitor.user_usage WHERE user_id = 'ann' AND day = '2025-03-09';
RESET ROLE;
ALTER TABLE usage_monitor.usage DISABLE ROW LEVEL SECURITY;
DROP POLICY own_org ON usage_monitor.usage;

-- EXPLAIN reads nothing: be it for who may not
REVOKE SELECT ON usage_monitor.usage FROM regress_tail_reader;
CREATE FUNCTION pg_temp.is_planned(query text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'EXPLAIN ' || query;
    RETURN true;
END
$$;
SET ROLE regress_tail_reader;
SELECT pg_temp.is_planned('SELECT * FROM _usage_monitor._tail_user WHERE key1 = ''ann''');
\set VERBOSITY terse
SELECT * FROM _usage_monitor._tail_user WHERE key1 = 'ann';
\set VERBOSITY default
RESET ROLE;
REVOKE SELECT ON _usage_monitor._tail_user FROM regress_tail_reader;
GRANT SELECT ON usage_monitor.usage TO regress_tail_reader;
SET ROLE regress_tail_reader;
SELECT * FROM _usage_monitor._tail_user WHERE key1 = 'ann';
-- nor makes he tables of his own
CREATE FOREIGN TABLE pg_temp.mine (day date) SERVER usage_monitor_tail OPTIONS (dimension 'day');
RESET ROLE;
CREATE FOREIGN TABLE pg_temp.mine (day date) SERVER usage_monitor_tail OPTIONS (dimension 'day');
SELECT * FROM pg_temp.mine;
CREATE FOREIGN TABLE pg_temp.nothing (day date) SERVER usage_monitor_tail;
SELECT * FROM pg_temp.nothing;
DROP FOREIGN TABLE mine, nothing;

-- Nobody writes them, and maintenance passes by
INSERT INTO _usage_monitor._tail_user (day, name_hash, requests) VALUES (current_date, 0, 1);
DELETE FROM _usage_monitor._tail_user;
TRUNCATE _usage_monitor._tail_user;
ANALYZE;

BEGIN;
DECLARE open CURSOR FOR SELECT * FROM _usage_monitor._tail_model;
MOVE 1 IN open;
SET LOCAL client_min_messages = error;
DROP EXTENSION usage_monitor CASCADE;
ROLLBACK;
TABLE seen;

DROP OWNED BY regress_tail_reader;
DROP ROLE regress_tail_reader;
