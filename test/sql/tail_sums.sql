--
-- What a session remembers of the tail: whatever happens after it has summed
-- it up, all views are what the ledger says (verify() compares each rollup
-- with its tail)
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET usage_monitor.max_cost = 1e100;
\set views :test '/include/views.psql'
\i :views

SELECT usage_monitor.configure('CNY', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;
CREATE VIEW total AS
SELECT (SELECT sum(requests) FROM usage_monitor.daily_total) AS daily,
       (SELECT sum(requests) FROM usage_monitor.model_usage) AS by_model,
       count(*) AS calls,
       (SELECT count(*) FROM usage_monitor.verify()) AS differences
FROM usage_monitor.usage;

-- nothing is folded: all is summed up, and remembered; calls come and change
TABLE total;
EXECUTE fill;
TABLE total;
UPDATE usage_monitor.usage SET user_id = 'eve', model = 'um-test-1', org = 'initech', duration_ms = 1 WHERE usage_id % 7 = 0;
TABLE total;
DELETE FROM usage_monitor.usage WHERE usage_id % 5 = 0;
TABLE total;
SELECT usage_monitor.refresh() > 0 AS refreshed;
TABLE total;
EXECUTE fill;
UPDATE usage_monitor.usage SET ts = ts - interval '40 days', cost = NULL WHERE usage_id % 11 = 0;
TABLE total;
SELECT usage_monitor.rebuild_rollups() > 0 AS rebuilt;
TABLE total;

-- a transaction sees what it has written, and what is remembered has nothing of it
EXECUTE fill;
TABLE total;
BEGIN;
TABLE total;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
TABLE total;
SAVEPOINT s;
DELETE FROM usage_monitor.usage WHERE org = 'acme';
TABLE total;
ROLLBACK TO s;
TABLE total;
ROLLBACK;
TABLE total;
BEGIN;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
TABLE total;
COMMIT;
TABLE total;

-- a partition with calls of the tail goes, and comes back
ALTER TABLE usage_monitor.usage DETACH PARTITION usage_monitor.usage_default;
SELECT daily, by_model FROM total;
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_monitor.usage_default DEFAULT;
TABLE total;

-- numbers of any size, as no integer has them: told by plain SQL, for verify()
-- adds them up as the views do
INSERT INTO usage_monitor.usage (ts, org, model, duration_ms, cost)
SELECT '2025-03-09', 'numbers', 'um-test-0', duration, cost
FROM unnest('{0, 0.0001, 10000, 100000000, 0.00010001, 1e30, 1e-30, 1e45, 1e-45, 12345678901234567890123456789012345678.9,
              170141183460469231731687303715884105727, 170141183460469231731687303715884105728, 99999999999999999999.99999999999999999999}'::numeric[],
            '{0, 0.5, 0.25, 1234.75, 1e15, 1e14, 100, 81920.5, 20, 7, 8, 9, 10}'::float8[]) AS n (cost, duration);
SELECT cost, avg_duration_ms FROM usage_monitor.daily_usage WHERE org = 'numbers';
SELECT * FROM pg_temp.compare();
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT * FROM pg_temp.compare();
DELETE FROM usage_monitor.usage WHERE org = 'numbers' AND (cost > 1e20 OR duration_ms > 1e14);
SELECT * FROM pg_temp.compare();
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT cost, avg_duration_ms FROM usage_monitor.daily_usage WHERE org = 'numbers';
SELECT * FROM pg_temp.compare();

-- One reading is for all that a query, or a report, asks for.  The least of ten times: whatever
-- else goes on in the server may have a session forget its sums between two queries.
EXECUTE fill;
CREATE FUNCTION pg_temp.readings() RETURNS bigint LANGUAGE sql AS $$
    SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0)
      FROM pg_stat_xact_user_tables
     WHERE relid = 'usage_monitor.usage_default'::regclass
$$;
CREATE PROCEDURE pg_temp.fewest_readings(question text, INOUT fewest bigint DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    FOR i IN 1..10 LOOP
        INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
        COMMIT;
        before := pg_temp.readings();
        EXECUTE question;
        fewest := least(fewest, pg_temp.readings() - before);
        COMMIT;
    END LOOP;
END
$$;
CALL pg_temp.fewest_readings('SELECT sum(requests) FROM _usage_monitor._tail_day_total') \gset one_
CALL pg_temp.fewest_readings('SELECT sum(requests) FROM usage_monitor.model_total') \gset model_
CALL pg_temp.fewest_readings('SELECT usage_monitor.dashboard()') \gset all_
CALL pg_temp.fewest_readings('SELECT usage_monitor.dashboard(''acme'')') \gset org_
SELECT :one_fewest > 0 AS is_read, :model_fewest = :one_fewest AS two_rollups, :all_fewest = :one_fewest AS dashboard, :org_fewest = :one_fewest AS of_one;
TABLE total;
-- whose sums are not remembered has nothing of it
BEGIN;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
SELECT _usage_monitor._sum_up_tail('{day_total, user}');
TABLE total;
ROLLBACK;
TABLE total;
SELECT _usage_monitor._sum_up_tail('{day_total, day_total, user}'), _usage_monitor._sum_up_tail('{}');
TABLE total;
SELECT _usage_monitor._sum_up_tail('{no such}');
\echo :LAST_ERROR_SQLSTATE
TABLE total;
SELECT md5((usage_monitor.report('monthly', '2025-03-15') - 'generated_at')::text) AS report \gset

-- where memory does not suffice it is summed up in parts, and not beforehand
\c -
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT md5((usage_monitor.report('monthly', '2025-03-15') - 'generated_at')::text) = :'report' AS same_report;
TABLE total;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
TABLE total;
SELECT usage_monitor.rebuild_rollups() > 0 AS rebuilt;
TABLE total;

-- whoever may not read the ledger gets nothing that the session remembers
CREATE ROLE regress_views_only;
GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO regress_views_only;
GRANT SELECT ON usage_monitor.daily_total, _usage_monitor._open_days, _usage_monitor._live_day_total, _usage_monitor._rollup_day_total, _usage_monitor._tail_day_total,
    _usage_monitor._rollup_state, _usage_monitor._archived_day_total, _usage_monitor._archived_day, _usage_monitor._rollup_day, _usage_monitor._tail_day, _usage_monitor._live_day TO regress_views_only;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA usage_monitor, _usage_monitor TO regress_views_only;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('um-test-0', 5);
SELECT sum(requests) > 0 AS readable FROM usage_monitor.daily_total;
SET ROLE regress_views_only;
SELECT sum(requests) > 0 AS readable FROM usage_monitor.daily_total;
RESET ROLE;

SELECT * FROM _usage_monitor._ledger_sums('no such');
\echo :LAST_ERROR_SQLSTATE

DROP VIEW total;
DROP OWNED BY regress_views_only;
DROP ROLE regress_views_only;
