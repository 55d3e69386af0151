--
-- Retention: what is dropped from the ledger stays in views and counters
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
-- days of every year
SET usage_monitor.max_future = '100000d';
SET timezone = 'Pacific/Chatham';   -- must not matter
SET datestyle = 'ISO, YMD';
\set views :test '/include/views.psql'
\i :views

SELECT time_zone FROM usage_monitor.configure(time_zone => 'America/New_York');
SELECT usage_monitor.details_since() IS NULL AS all_details;

-- nothing to drop yet
SELECT * FROM usage_monitor.drop_usage_before('2024-06-01');

-- partitions by months of UTC: a day of New York is in two of them
CREATE TABLE usage_2024_02 (LIKE usage_monitor.usage_default INCLUDING ALL);
CREATE TABLE usage_2024_03 (LIKE usage_monitor.usage_default INCLUDING ALL);
CREATE TABLE "usage 2024-12" (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2024_02 FOR VALUES FROM ('2024-02-01 00:00+00') TO ('2024-03-01 00:00+00');
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2024_03 FOR VALUES FROM ('2024-03-01 00:00+00') TO ('2024-04-01 00:00+00');
ALTER TABLE usage_monitor.usage ATTACH PARTITION "usage 2024-12" FOR VALUES FROM ('2024-12-01 00:00+00') TO ('2025-01-01 00:00+00');
EXECUTE set_prices;
SELECT count(usage_monitor.set_quota(name, scope, NULL, 1000000, period, metric))
FROM (VALUES ('of all', 'all', 'lifetime', 'cost'), ('each year', 'org', 'year', 'requests'), ('each month', 'user', 'month', 'tokens'),
             ('each tag', 'tag', 'lifetime', 'requests')) AS q (name, scope, period, metric);
EXECUTE fill;
SELECT usage_monitor.refresh() > 0 AS refreshed;

-- what views and counters show before, and must show after
CREATE FUNCTION pg_temp.keep(suffix text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    view text;
BEGIN
    FOREACH view IN ARRAY '{hourly_usage, daily_usage, weekly_usage, monthly_usage, department_usage, project_usage, user_usage,
                            provider_usage, model_usage, operation_usage, source_usage, service_tier_usage, tag_usage, session_usage,
                            hourly_total, daily_total, model_total, operation_total, quota_history}'::text[] LOOP
        EXECUTE format('CREATE TEMP TABLE %I AS TABLE usage_monitor.%I', view || suffix, view);
    END LOOP;
END
$$;
CREATE FUNCTION pg_temp.changed(suffix text) RETURNS TABLE (view text, before bigint, after bigint)
LANGUAGE plpgsql AS $$
BEGIN
    FOR view IN SELECT replace(relname, suffix, '') FROM pg_class
                WHERE relnamespace = pg_my_temp_schema() AND relname LIKE '%' || suffix ORDER BY 1 LOOP
        EXECUTE format('SELECT (SELECT count(*) FROM (TABLE pg_temp.%1$I EXCEPT ALL TABLE usage_monitor.%2$I) d),
                               (SELECT count(*) FROM (TABLE usage_monitor.%2$I EXCEPT ALL TABLE pg_temp.%1$I) d)',
                       view || suffix, view) INTO before, after;
        IF before + after > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
SELECT pg_temp.keep('_kept');

-- Refusals
SELECT * FROM usage_monitor.drop_usage_before(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM usage_monitor.drop_usage_before('2999-01-01');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
UPDATE _usage_monitor._rollup_day SET cost = 1 WHERE org = 'acme' AND day = '2024-02-28';
COMMIT;
SELECT * FROM usage_monitor.drop_usage_before('2024-04-01');
\echo :LAST_ERROR_SQLSTATE
SELECT what, key, expected, found FROM usage_monitor.verify();
SELECT usage_monitor.rebuild_rollups() > 0 AS rebuilt;
SELECT count(*) FROM usage_monitor.verify();
BEGIN;
INSERT INTO usage_monitor.usage (model) VALUES ('um-test-0');
SELECT * FROM usage_monitor.drop_usage_before('2024-04-01');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- The partition of March ends within the last day of March there, and stays
SELECT name, to_ts AT TIME ZONE 'UTC' AS until, requests, cost FROM usage_monitor.drop_usage_before('2024-03-31');
SELECT usage_monitor.details_since() AT TIME ZONE 'UTC' AS details_since;
SELECT * FROM pg_temp.changed('_kept');
SELECT count(*) FROM usage_monitor.verify();
SELECT min(ts) AT TIME ZONE 'UTC' AS first FROM usage_monitor.usage;

-- A call that is late for a period that is archived
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, input_tokens, output_tokens)
VALUES ('2024-02-28 12:00-05', 'acme', 'late', 's1', 'um-test-0', 100, 100);
SELECT day, requests, input_tokens FROM usage_monitor.user_usage WHERE user_id = 'late';
SELECT (SELECT requests FROM usage_monitor.daily_usage WHERE day = '2024-02-28' AND org = 'acme')
       - (SELECT requests FROM pg_temp.daily_usage_kept WHERE day = '2024-02-28' AND org = 'acme') AS more;
SELECT (SELECT used FROM usage_monitor.quota_history WHERE name = 'each year' AND subject = 'acme' AND period_start < '2024-06-01')
       - (SELECT used FROM pg_temp.quota_history_kept WHERE name = 'each year' AND subject = 'acme' AND period_start < '2024-06-01') AS more;
SELECT usage_monitor.refresh();
SELECT count(*) FROM usage_monitor.verify();
-- (of it a counter at zero stays)
DELETE FROM usage_monitor.usage WHERE user_id = 'late';
SELECT usage_monitor.refresh();
SELECT * FROM pg_temp.changed('_kept');

-- Two at once, one with a name that must be quoted; the archive adds up
SELECT name, requests, cost FROM usage_monitor.drop_usage_before('2025-02-01');
SELECT * FROM pg_temp.changed('_kept');
SELECT count(*) FROM usage_monitor.verify();
SELECT count(*) FROM pg_class WHERE relname IN ('usage_2024_02', 'usage_2024_03', 'usage 2024-12');

-- Counters and rollups can be made anew from what is left and the archive
SELECT usage_monitor.rebuild_counters();
SELECT usage_monitor.rebuild_rollups() = (SELECT count(*) FROM usage_monitor.usage) AS rebuilt;
SELECT * FROM pg_temp.changed('_kept');
SELECT count(*) FROM usage_monitor.verify();

-- A partition of a name and with bounds that were archived before, for calls that came late: it is another one
CREATE TABLE pg_temp.requests AS SELECT sum(requests) AS requests FROM usage_monitor.daily_total;
CREATE TABLE usage_2024_02 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2024_02 FOR VALUES FROM (MINVALUE) TO ('2024-03-01 00:00+00');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2024-02-28 12:00-05', 'acme', 'm', 1);
SELECT name, from_ts, requests, cost FROM usage_monitor.drop_usage_before('2024-06-01');
CREATE TABLE usage_2024_02 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2024_02 FOR VALUES FROM (MINVALUE) TO ('2024-03-01 00:00+00');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2024-02-27 12:00-05', 'acme', 'm', 2);
SELECT name, from_ts, requests, cost FROM usage_monitor.drop_usage_before('2024-06-01');
SELECT name, from_ts, requests, cost, unpriced_requests FROM usage_monitor.archived_partition WHERE name ~ '2024_02' ORDER BY archived_at;
SELECT sum(t.requests) - (SELECT r.requests FROM pg_temp.requests r) AS more FROM usage_monitor.daily_total t;
SELECT count(*) FROM usage_monitor.verify();

-- The zone of the archive's days stays, though the ledger be empty
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure(time_zone => 'UTC');
\echo :LAST_ERROR_SQLSTATE

-- Row security on the ledger closes the archive, which knows no rows
CREATE ROLE regress_archive_reader;
SELECT usage_monitor.grant_access('regress_archive_reader', 'reader');
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_archive_reader USING (org = 'acme');
SET ROLE regress_archive_reader;
SELECT count(*) FROM usage_monitor.daily_usage;
SELECT count(*) FROM usage_monitor.session_usage;
SELECT count(*) FROM _usage_monitor._archive_day;
SELECT * FROM usage_monitor.drop_usage_before('2025-02-01');
RESET ROLE;
ALTER TABLE usage_monitor.usage DISABLE ROW LEVEL SECURITY;
DROP POLICY own_org ON usage_monitor.usage;
DROP OWNED BY regress_archive_reader;
DROP ROLE regress_archive_reader;
-- A manager may execute every function, and moves nothing to the archive by itself
CREATE ROLE regress_archive_manager;
SELECT usage_monitor.grant_access('regress_archive_manager', 'manager');
SET ROLE regress_archive_manager;
SELECT _usage_monitor._archive_partition('usage_monitor.usage_default');
\echo :LAST_ERROR_SQLSTATE
SELECT _usage_monitor._fold_tail();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
DROP OWNED BY regress_archive_manager;
DROP ROLE regress_archive_manager;

-- What counters do not know any more rollups, ledger and archive tell
SELECT usage_monitor.reset_quota(name) IS NOT NULL AS is_reset FROM usage_monitor.quota WHERE period = 'lifetime' ORDER BY quota_id LIMIT 1;
SELECT usage_monitor.refresh() IS NOT NULL AS is_refreshed;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens, tags)
SELECT 'o' || n % 2, 'u' || n % 3, 'm', n, 1, '{"t": 1}' FROM generate_series(1, 6) AS n;
CREATE TEMP TABLE known AS SELECT * FROM usage_monitor.quota_usage;
UPDATE _usage_monitor._counter_row
SET used = used + _usage_monitor._added(ctid), recent = decode(repeat('ff', octet_length(recent)), 'hex');
SELECT count(*) > 20 AS counters, count(*) FILTER (WHERE _usage_monitor._added(ctid) <> 'NaN') AS known FROM _usage_monitor._counter_row;
SELECT q.name, k.subject, k.period_start, k.used, c.used AS found
FROM pg_temp.known AS k FULL JOIN usage_monitor.quota_usage AS c USING (quota_id, subject, period_start) LEFT JOIN usage_monitor.quota AS q USING (quota_id)
WHERE k.used IS DISTINCT FROM c.used;
-- beside counters of a period before, of which many begin at once
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, output_tokens, tags)
SELECT ts, 'o' || n % 2, 'u' || n % CASE WHEN ts < '2024-01-01' THEN 6 ELSE 3 END, 'm', n, 1, '{"t": 1}'
FROM generate_series(1, 6) AS n, unnest(ARRAY[now(), '2023-01-05']) AS ts;
SELECT count(*) > 0 AS known FROM _usage_monitor._counter_row WHERE _usage_monitor._added(ctid) <> 'NaN';
SELECT * FROM usage_monitor.verify();
