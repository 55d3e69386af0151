--
-- Rollups: whether and when they are refreshed, the views show the same
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
-- days of every year
SET usage_monitor.max_future = '100000d';
SET timezone = 'Pacific/Chatham';   -- must not matter: buckets are the ledger's
SET datestyle = 'ISO, YMD';
\set views :test '/include/views.psql'
\i :views

CREATE FUNCTION pg_temp.folded() RETURNS TABLE (folded numeric, corrections bigint)
LANGUAGE sql AS $$
    SELECT (SELECT sum(requests) FROM _usage_monitor._rollup_day_total),
           (SELECT count(*) FROM _usage_monitor._correction)
$$;

SELECT usage_monitor.configure('CNY', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;

-- never refreshed
SELECT * FROM pg_temp.folded();
SELECT * FROM pg_temp.compare();

-- refreshed, twice
SELECT usage_monitor.refresh();
SELECT usage_monitor.refresh();
SELECT * FROM pg_temp.folded();
SELECT * FROM pg_temp.compare();

-- rows that are folded change in every way: in what is counted, in the key, in
-- the day, to nothing
UPDATE usage_monitor.usage SET output_tokens = output_tokens + 7, duration_ms = 12345.5 WHERE usage_id % 5 = 0;
UPDATE usage_monitor.usage SET user_id = 'eve', model = 'um-test-1', tags = '{"team": "b"}', org = 'initech' WHERE usage_id % 7 = 0;
UPDATE usage_monitor.usage SET ts = ts - interval '40 days', cost = NULL WHERE usage_id % 11 = 0;
DELETE FROM usage_monitor.usage WHERE usage_id % 13 = 0;
SELECT * FROM pg_temp.folded();
SELECT * FROM pg_temp.compare();
-- ... and again, before and after a fold, and late ones come
UPDATE usage_monitor.usage SET success = NOT success, cached = NOT cached WHERE usage_id % 5 = 0;
EXECUTE fill;
SELECT * FROM pg_temp.compare();
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT * FROM pg_temp.folded();
SELECT * FROM pg_temp.compare();
DELETE FROM usage_monitor.usage WHERE usage_id % 5 = 0;
SELECT * FROM pg_temp.compare();

-- a row that is changed by the transaction that recorded it needs no correction
SELECT usage_monitor.refresh() > 0 AS refreshed;
BEGIN;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('own', 'u', 'um-test-0', 5);
SAVEPOINT s;
UPDATE usage_monitor.usage SET input_tokens = 6 WHERE org = 'own';
DELETE FROM usage_monitor.usage WHERE org = 'own';
ROLLBACK TO s;
UPDATE usage_monitor.usage SET input_tokens = 7 WHERE org = 'own';
SELECT requests, input_tokens FROM usage_monitor.daily_usage WHERE org = 'own';
COMMIT;
SELECT * FROM pg_temp.folded();
SELECT usage_monitor.refresh();
SELECT requests, input_tokens FROM usage_monitor.daily_usage WHERE org = 'own';

-- a row moves to another partition, and keeps its transaction
CREATE TABLE usage_2025_11 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2025_11 FOR VALUES FROM ('2030-01-01 00:00+00') TO ('2031-01-01 00:00+00');
UPDATE usage_monitor.usage SET ts = '2030-05-05 12:00Z' WHERE org = 'own';
SELECT sign, org, input_tokens, ts AT TIME ZONE 'UTC' < '2030-01-01' AS old FROM _usage_monitor._correction ORDER BY sign;
SELECT day, requests, input_tokens FROM usage_monitor.daily_usage WHERE org = 'own';
SELECT usage_monitor.refresh();
SELECT day, requests, input_tokens FROM usage_monitor.daily_usage WHERE org = 'own';
SELECT * FROM pg_temp.compare();

-- made anew, and nothing is left of the old ones
SELECT usage_monitor.rebuild_rollups() = (SELECT count(*) FROM usage_monitor.usage) AS all_rows;
SELECT * FROM pg_temp.compare();

-- all gone: no row of zeros stays
DELETE FROM usage_monitor.usage;
SELECT * FROM pg_temp.compare();
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT * FROM pg_temp.compare();
SELECT count(*) FROM _usage_monitor._rollup_user;

-- another time zone has other days
EXECUTE fill;
SELECT usage_monitor.refresh() > 0 AS refreshed;
DELETE FROM usage_monitor.usage;
SELECT time_zone FROM usage_monitor.configure(time_zone => 'Asia/Kathmandu');
EXECUTE fill;
SELECT * FROM pg_temp.folded();
SELECT * FROM pg_temp.compare();
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT * FROM pg_temp.compare();

-- A fold is refused where it would not be exact
BEGIN;
INSERT INTO usage_monitor.usage (model) VALUES ('um-test-0');
SELECT usage_monitor.refresh();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT usage_monitor.refresh();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT usage_monitor.rebuild_rollups();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT usage_monitor.refresh();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- The histogram's percentiles: spread evenly within a bucket
SELECT p, usage_monitor.duration_percentile(p, VARIADIC array_fill(0, ARRAY[6]) || 100 || array_fill(0, ARRAY[12])) AS one_bucket,
       usage_monitor.duration_percentile(p, VARIADIC ARRAY[50] || array_fill(0, ARRAY[17]) || 50) AS both_ends
FROM unnest('{0, 0.25, 0.5, 0.75, 1}'::float8[]) AS p;
SELECT usage_monitor.duration_percentile(0.5, VARIADIC array_fill(0, ARRAY[19])) IS NULL AS no_calls,
       usage_monitor.duration_percentile(NULL, VARIADIC array_fill(1, ARRAY[19])) IS NULL AS no_share;
-- A duration that is a bound is in the bucket below it
INSERT INTO usage_monitor.usage (ts, org, model, duration_ms) SELECT '2025-01-01', 'bounds', 'um-test-0', d FROM unnest('{0, 10, 10.1, 1000, 81920, 81921}'::float8[]) AS d;
SELECT sum(ms_10) AS ms_10, sum(ms_20) AS ms_20, sum(ms_1000) AS ms_1000, sum(ms_81920) AS ms_81920, sum(ms_infinity) AS above FROM _usage_monitor._live_day WHERE org = 'bounds';
SELECT usage_monitor.refresh() > 0 AS refreshed;
SELECT sum(ms_10) AS ms_10, sum(ms_20) AS ms_20, sum(ms_1000) AS ms_1000, sum(ms_81920) AS ms_81920, sum(ms_infinity) AS above FROM _usage_monitor._live_day WHERE org = 'bounds';
SELECT range, from_ms, to_ms, requests, percentage FROM usage_monitor.duration_distribution WHERE org = 'bounds' ORDER BY from_ms;
-- ... and all of them, against the ledger
SELECT day, org, range, sum(requests) FROM usage_monitor.duration_distribution GROUP BY 1, 2, 3
EXCEPT ALL
SELECT usage_monitor.ledger_day(ts), org,
       CASE WHEN duration_ms <= 1000 THEN '0-1 s' WHEN duration_ms <= 2000 THEN '1-2 s' WHEN duration_ms <= 3000 THEN '2-3 s'
            WHEN duration_ms <= 5000 THEN '3-5 s' ELSE 'over 5 s' END, count(*)
FROM usage_monitor.usage WHERE duration_ms IS NOT NULL GROUP BY 1, 2, 3;
SELECT usage_monitor.duration_percentile(1.5, VARIADIC array_fill(1, ARRAY[19]));
\echo :LAST_ERROR_SQLSTATE
SELECT usage_monitor.duration_percentile(0.5, 1, 2, 3);
\echo :LAST_ERROR_SQLSTATE

-- Conditions reach the indexes of the rollups.  With few rows a scan of them
-- all is cheaper, so it is made dear.
SET enable_seqscan = off;
CREATE FUNCTION pg_temp.reaches(query text, index text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN jsonb_path_exists(plan, '$.** ? (@."Index Name" == $index && @."Index Cond" like_regex "." && !(@."Index Cond" like_regex "day = ANY"))',
                             jsonb_build_object('index', index));
END
$$;
SELECT view, condition, index, pg_temp.reaches(format('SELECT * FROM usage_monitor.%I WHERE %s', view, condition), index)
FROM (VALUES ('hourly_usage', 'hour >= now() - interval ''1 day''', '_rollup_hour_hour'),
             ('hourly_usage', 'org = ''acme''', '_rollup_hour_org'),
             ('daily_usage', 'day >= current_date - 30', '_rollup_day_name'),
             ('daily_usage', 'org = ''acme'' AND day >= current_date - 3000', '_rollup_day_org'),
             ('project_usage', 'org = ''acme''', '_rollup_project_org'),
             ('user_usage', 'user_id = ''ann'' AND day >= current_date - 30', '_rollup_user_key'),
             ('user_usage', 'org = ''acme''', '_rollup_user_org'),
             ('model_usage', 'model = ''um-test-0''', '_rollup_model_key'),
             ('model_usage', 'org = ''acme'' AND day = current_date', '_rollup_model_org'),
             ('tag_usage', 'org = ''acme''', '_rollup_tag_org'),
             ('usage_trend', 'org = ''acme''', '_rollup_day_org'),
             ('daily_total', 'day >= current_date - 30', '_rollup_day_total_name'),
             ('model_total', 'day = current_date', '_rollup_model_total_name')) AS v (view, condition, index);
-- Calls without a cost, and those of which something is unread, are found among the others by an index
CREATE FUNCTION pg_temp.reads(query text, index text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN jsonb_path_exists(plan, '$.** ? (@."Index Name" == $index)', jsonb_build_object('index', index));
END
$$;
SELECT v AS view, pg_temp.reads('SELECT * FROM usage_monitor.' || v, 'usage_default_unpriced') FROM unnest('{unpriced_usage,unread_fields,recent_usage}'::text[]) AS v;
-- What sums up the rows of a rollup begins with the latest day
CREATE FUNCTION pg_temp.with_latest(view text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    latest boolean;
BEGIN
    EXECUTE format('SELECT (SELECT v.day FROM usage_monitor.%1$I v LIMIT 1) = max(v.day) FROM usage_monitor.%1$I v', view) INTO latest;
    RETURN latest;
END
$$;
SELECT v AS view, pg_temp.with_latest(v)
FROM unnest('{department_usage,project_usage,provider_usage,operation_usage,source_usage,service_tier_usage,operation_total,source_total,service_tier_total,duration_distribution}'::text[]) AS v;
RESET enable_seqscan;

-- A few names among very many, and one more
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens)
SELECT 'many', 'many-' || i, 'um-test-0', 1 FROM generate_series(1, 3000) i;
SELECT usage_monitor.refresh() >= 3000 AS refreshed;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens)
SELECT 'many', 'many-' || i, 'um-test-0', 1 FROM generate_series(1, 3001, 600) i;
SELECT usage_monitor.refresh();
SELECT requests, count(*) FROM _usage_monitor._rollup_user WHERE org = 'many' GROUP BY 1 ORDER BY 1;

-- Row security on the ledger holds, whatever is folded: such a reader's views
-- read the ledger, and he sees no rollup
CREATE ROLE regress_rollup_reader;
SELECT usage_monitor.grant_access('regress_rollup_reader', 'reader');
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_rollup_reader USING (org = 'acme');
SELECT usage_monitor.refresh() >= 0 AS refreshed;
UPDATE usage_monitor.usage SET duration_ms = 1 WHERE usage_id % 3 = 0;
SET ROLE regress_rollup_reader;
SELECT (SELECT string_agg(DISTINCT org, ' ') FROM usage_monitor.daily_usage) AS daily,
       (SELECT string_agg(DISTINCT org, ' ') FROM usage_monitor.model_usage) AS model,
       (SELECT sum(requests) FROM usage_monitor.daily_total) = (SELECT count(*) FROM usage_monitor.usage) AS total,
       (SELECT count(*) FROM _usage_monitor._rollup_day) AS rollups,
       (SELECT count(*) FROM _usage_monitor._correction) AS corrections;
SELECT usage_monitor.refresh();
RESET ROLE;
ALTER TABLE usage_monitor.usage DISABLE ROW LEVEL SECURITY;
SELECT * FROM pg_temp.compare();
SET ROLE regress_rollup_reader;
SELECT (SELECT sum(requests) FROM usage_monitor.daily_total) = (SELECT count(*) FROM usage_monitor.usage) AS total,
       (SELECT count(*) > 0 FROM _usage_monitor._rollup_day) AS rollups;
RESET ROLE;

DROP POLICY own_org ON usage_monitor.usage;
DROP OWNED BY regress_rollup_reader;
DROP ROLE regress_rollup_reader;

-- Indexes that somebody has added are kept up
CREATE INDEX own ON _usage_monitor._rollup_day (requests);
INSERT INTO usage_monitor.usage (model) VALUES ('m');
SELECT usage_monitor.refresh();
SELECT * FROM _usage_monitor._unindexed('_usage_monitor._rollup_day');
DROP INDEX _usage_monitor.own;
CREATE INDEX own ON _usage_monitor._rollup_day ((requests + 1)) WHERE org = 'default';
INSERT INTO usage_monitor.usage (model, org) VALUES ('m', 'default'), ('m', 'other');
SELECT usage_monitor.refresh();
BEGIN;
SET LOCAL enable_seqscan = off;
SELECT sum(requests) = (SELECT count(*) FROM usage_monitor.usage WHERE org = 'default') AS all_of_them
  FROM _usage_monitor._rollup_day WHERE requests + 1 > 0 AND org = 'default';
COMMIT;
DROP INDEX _usage_monitor.own;

-- Columns that somebody has added, or has dropped again, are let be
ALTER TABLE _usage_monitor._rollup_day ADD COLUMN note text, ADD COLUMN checked boolean NOT NULL DEFAULT true;
INSERT INTO usage_monitor.usage (model) VALUES ('m');
SELECT usage_monitor.refresh();
SELECT bool_and(checked) AS all_checked FROM _usage_monitor._rollup_day;
ALTER TABLE _usage_monitor._rollup_day DROP COLUMN note;
INSERT INTO usage_monitor.usage (model, org) VALUES ('m', 'later');
SELECT usage_monitor.refresh();
SELECT checked FROM _usage_monitor._rollup_day WHERE org = 'later';
ALTER TABLE _usage_monitor._rollup_day DROP COLUMN checked;
ALTER FOREIGN TABLE _usage_monitor._tail_day ADD COLUMN note text;
INSERT INTO usage_monitor.usage (model, org) VALUES ('m', 'later');
SELECT requests, note FROM _usage_monitor._tail_day WHERE org = 'later';
ALTER FOREIGN TABLE _usage_monitor._tail_day DROP COLUMN note;
SELECT usage_monitor.refresh();
SELECT * FROM usage_monitor.verify();

-- Names may share a hash, and have rows of their own all the same
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens) SELECT '2026-05-01 12:00+00', 'crowd', 'n' || n, 'm', n FROM generate_series(1, 30000) AS n;
SELECT usage_monitor.refresh();
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens) SELECT '2026-05-01 12:00+00', 'crowd', 'n' || n, 'm', n FROM generate_series(1, 30000) AS n;
SELECT usage_monitor.refresh();
SELECT count(*), count(DISTINCT user_id) AS users, min(requests), max(requests), bool_and(input_tokens = 2 * substr(user_id, 2)::bigint) AS right
FROM usage_monitor.user_usage WHERE org = 'crowd';
SELECT count(*) > count(DISTINCT name_hash) AS shared FROM _usage_monitor._rollup_user WHERE org = 'crowd';
SELECT * FROM _usage_monitor._verify_rollups();
