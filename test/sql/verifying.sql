--
-- verify() finds what rebuild_counters() mends
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

CREATE VIEW pg_temp.difference AS
SELECT v.what, q.name, v.key->>'subject' AS subject, v.key->>'period_start' AS period_start, v.expected, regexp_replace(v.found, ' = .*', '') AS found
FROM usage_monitor.verify() AS v LEFT JOIN usage_monitor.quota AS q ON q.quota_id = (v.key->>'quota_id')::bigint
ORDER BY 1, 2, 3, 4, 6;

SELECT usage_monitor.set_price('m', 1, 2, per => 1, provider => 'regress') > 0,
       usage_monitor.set_quota('users', 'user', NULL, 100, 'lifetime') > 0,
       usage_monitor.set_quota('years', 'user', NULL, 100, 'year') > 0,
       usage_monitor.set_quota('all', 'all', NULL, 1000, 'lifetime', 'requests') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost, request_id) SELECT '2025-01-01'::timestamptz + n * interval '1 day', 'u' || n % 3, 'm', n + 0.5, 'r' || n FROM generate_series(1, 12) AS n;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) VALUES ('2024-12-31', 'u1', 'm', 60), ('2025-01-01', 'u1', 'no price', 5);
SELECT * FROM pg_temp.difference;
SELECT name, subject, period_start, used FROM usage_monitor.quota_history ORDER BY 1, 2, 3;
SELECT name, level, alert.subject, period_start, used FROM usage_monitor.alert JOIN usage_monitor.quota USING (quota_id) ORDER BY alert_id;

-- Counters that somebody has tampered with
UPDATE _usage_monitor._counter_row SET used = used + 0.000000001 WHERE subject = 'u0' AND slot = 0;
-- (years that were over when the quota was made have a counter where rows came late, and need none)
DELETE FROM _usage_monitor._counter_row WHERE subject = 'u1' AND period_start = '2025-01-01';
DELETE FROM _usage_monitor._counter_row WHERE subject = '';
INSERT INTO _usage_monitor._counter_row (quota_id, subject, period_start, used, revision) SELECT quota_id, 'nobody', '-infinity', 7, 1 FROM usage_monitor.quota WHERE name = 'users';
SELECT * FROM pg_temp.difference;
SELECT usage_monitor.rebuild_counters();
SELECT * FROM pg_temp.difference;
SELECT name, subject, period_start, used FROM usage_monitor.quota_history ORDER BY 1, 2, 3;
-- nothing is raised again, and the next level is
SELECT count(*) FROM usage_monitor.alert WHERE quota_id IS NOT NULL;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2024-12-31', 'u1', 'm', 6), ('2024-12-31', 'u1', 'm', 10);
SELECT name, level, alert.subject, period_start, used FROM usage_monitor.alert JOIN usage_monitor.quota USING (quota_id) ORDER BY alert_id;
SELECT usage_monitor.rebuild_counters();
SELECT count(*) FROM usage_monitor.alert WHERE quota_id IS NOT NULL;
-- in one transaction with rows of its own, and undone
BEGIN;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2025-06-01', 'u2', 'm', 1000);
SELECT usage_monitor.rebuild_counters();
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2025-06-01', 'u2', 'm', 1);
COMMIT;
SELECT * FROM pg_temp.difference;
SELECT name, level, used FROM usage_monitor.alert JOIN usage_monitor.quota USING (quota_id) WHERE alert.subject = 'u2' ORDER BY alert_id;
BEGIN;
UPDATE _usage_monitor._counter_row SET used = 0;
SELECT count(*) > 0 AS different FROM pg_temp.difference;
ROLLBACK;
SELECT * FROM pg_temp.difference;

-- A ledger whose rows were changed behind its triggers' back
SET session_replication_role = replica;
ALTER TABLE usage_monitor.usage DISABLE TRIGGER USER;
UPDATE usage_monitor.usage SET cost = cost + 1 WHERE request_id = 'r3';
ALTER TABLE usage_monitor.usage ENABLE ALWAYS TRIGGER usage_before;
ALTER TABLE usage_monitor.usage ENABLE ALWAYS TRIGGER usage_after;
ALTER TABLE usage_monitor.usage ENABLE TRIGGER refuse_truncate;
RESET session_replication_role;
SELECT * FROM pg_temp.difference;
SELECT usage_monitor.rebuild_counters();
SELECT * FROM pg_temp.difference;
DELETE FROM usage_monitor.usage WHERE request_id = 'r3';
SELECT * FROM pg_temp.difference;

-- Slots of periods that are over are folded into one row
CREATE VIEW pg_temp.slots AS
SELECT q.name, count(*) AS slots, sum(u.used + _usage_monitor._added(u.ctid)) AS used
FROM _usage_monitor._counter_row AS u JOIN usage_monitor.quota AS q USING (quota_id)
WHERE u.subject = 'u1' AND u.period_start IN ('2024-01-01', '-infinity') GROUP BY 1 ORDER BY 1;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2024-12-31', 'u1', 'm', 1);
INSERT INTO _usage_monitor._counter_row (quota_id, subject, period_start, slot, used, share, revision)
SELECT quota_id, 'u1', CASE period WHEN 'year' THEN '2024-01-01'::timestamptz ELSE '-infinity' END, slot, slot, 0, revision
FROM usage_monitor.quota, generate_series(1, 3) AS slot WHERE scope = 'user';
UPDATE _usage_monitor._counter_row SET used = used - 6 WHERE subject = 'u1' AND period_start IN ('2024-01-01', '-infinity') AND slot = 0;
SELECT * FROM pg_temp.slots;
SELECT * FROM pg_temp.difference;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT usage_monitor.fold_counters();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT * FROM pg_temp.slots;
SELECT usage_monitor.fold_counters();
SELECT * FROM pg_temp.slots;
SELECT * FROM pg_temp.difference;
SELECT usage_monitor.fold_counters();
-- late rows find their counter, and the alerts as they were
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2024-12-31', 'u1', 'm', 20), ('2024-12-31', 'u1', 'm', 5);
SELECT * FROM pg_temp.slots;
SELECT * FROM pg_temp.difference;
SELECT name, level, used FROM usage_monitor.alert JOIN usage_monitor.quota USING (quota_id) WHERE alert.subject = 'u1' ORDER BY alert_id;
-- nor is a counter missed that the transaction has yet to make, from rows before the quota
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2021-03-01', 'early', 'm', 1);
SELECT usage_monitor.set_quota('late', 'user', 'early', 100, period => 'day') > 0 AS made;
BEGIN;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2021-03-01', 'early', 'm', 2);
SELECT * FROM pg_temp.difference;
COMMIT;
SELECT * FROM pg_temp.difference;
SELECT used FROM usage_monitor.quota_history WHERE name = 'late';

-- A difference in any column of any rollup is found, and named: a row that is wrong, one that is missing, one that is in another's place
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, provider, model, operation, source, service_tier, tags, cost)
VALUES ('2025-02-01 12:00Z', 'acme', 'd', 'p', 'u4', 'regress', 'm', 'chat', 'web', 'batch', '{"team": "a"}', 3);
SELECT usage_monitor.refresh() > 0 AS refreshed;
CREATE FUNCTION pg_temp.plant(change text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rollup text;
BEGIN
    FOR rollup IN SELECT '_rollup_' || name FROM _usage_monitor._rollup_dimension LOOP
        EXECUTE format(change, rollup, (SELECT string_agg(format('%1$I = coalesce(%1$I, 0) + 1', m), ', ') FROM _usage_monitor._rollup_measures() AS m));
    END LOOP;
END
$$;
CREATE VIEW pg_temp.planted AS
SELECT d.name, count(v.*) FILTER (WHERE v.key ? 'columns') AS rows, count(v.*) FILTER (WHERE v.key ? 'column') AS totals,
       max(jsonb_array_length(v.key->'columns')) AS columns,
       min(v.key->>'day') = '2025-02-01' AS day, bool_and(v.key ? 'hour') FILTER (WHERE v.key ? 'columns') = d.by_hour AS hour,
       min(v.key->>'org') AS org, min(v.key->>'keys') AS keys,
       string_agg(v.expected || ' / ' || v.found, '; ' ORDER BY v.key->>'day') FILTER (WHERE v.key ? 'columns') AS difference
FROM _usage_monitor._rollup_dimension AS d LEFT JOIN usage_monitor.verify() AS v ON v.key->>'rollup' = d.name
GROUP BY d.name, d.by_hour ORDER BY d.name;
SELECT count(*) AS columns FROM _usage_monitor._rollup_measures();
BEGIN;
SELECT pg_temp.plant($$UPDATE _usage_monitor.%I SET %s WHERE day = '2025-02-01'$$);
TABLE pg_temp.planted;
ROLLBACK;
BEGIN;
SELECT pg_temp.plant($$DELETE FROM _usage_monitor.%I WHERE day = '2025-02-01'$$);
TABLE pg_temp.planted;
ROLLBACK;
BEGIN;
SELECT pg_temp.plant($$UPDATE _usage_monitor.%I SET day = day + 1 WHERE day = '2025-02-01'$$);
TABLE pg_temp.planted;
ROLLBACK;
SELECT * FROM pg_temp.difference;
