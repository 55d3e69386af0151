--
-- What maintain() does: in steps, each for itself
--
\set VERBOSITY terse
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'UTC';
SET usage_monitor.auto_refresh_rows = 0;
SET usage_monitor.partitions_ahead = 2;

SELECT usage_monitor.set_price('m', 1, 2, valid_from => '2020-01-01') > 0;
SELECT count(usage_monitor.set_quota(scope || ' ' || period, scope, NULL, 20, period, 'requests'))
  FROM unnest('{all,user,org}'::text[]) scope, unnest('{hour,day,month,lifetime}'::text[]) period;
-- of the last hundred days, in partitions of their months
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens)
SELECT date_trunc('hour', now()) - n * interval '50 minutes', 'o' || n % 3, 'u' || n % 5, 'm', n FROM generate_series(1, 2880) n;
CALL usage_monitor.drain_default_partition();

CREATE TEMP TABLE history AS SELECT * FROM usage_monitor.quota_history;
CREATE TEMP TABLE alerts AS SELECT * FROM usage_monitor.alert;
CREATE TEMP TABLE daily AS SELECT * FROM usage_monitor.daily_usage;
CREATE TEMP VIEW changes AS
SELECT (SELECT count(*) FROM ((TABLE history EXCEPT SELECT * FROM usage_monitor.quota_history) UNION ALL (SELECT * FROM usage_monitor.quota_history EXCEPT TABLE history)) d) AS of_history,
       (SELECT count(*) FROM ((TABLE daily EXCEPT SELECT * FROM usage_monitor.daily_usage) UNION ALL (SELECT * FROM usage_monitor.daily_usage EXCEPT TABLE daily)) d) AS of_views,
       (SELECT count(*) FROM ((TABLE alerts EXCEPT SELECT * FROM usage_monitor.alert) UNION ALL (SELECT * FROM usage_monitor.alert EXCEPT TABLE alerts)) d WHERE d.quota_id IS NOT NULL) AS of_alerts,
       (SELECT count(*) FROM usage_monitor.verify()) AS of_sums;

SELECT tail_calls, refreshed_at IS NULL AS never, maintained_at, failing_step, worker, cardinality(months_without_partition) >= 2 AS months, past_counters > 5000 AS many
  FROM usage_monitor.maintenance_status;
CALL usage_monitor.maintain();
SELECT step, CASE WHEN step IN ('partitions', 'refresh', 'counters') THEN done > 0 END AS done, error FROM _usage_monitor._maintenance ORDER BY started_at;
SELECT tail_calls, refreshed_at > now() - interval '1 hour' AS refreshed, refresh_took > interval '0' AS took, maintained_at > now() - interval '1 hour' AS maintained, failing_step, error, failing_since,
       worker, months_without_partition, partitions_without_index, breaking_publications, library_version = script_version AS same_version
  FROM usage_monitor.maintenance_status;
-- what is left of the past: a day of each subject's, three months of the quotas of one subject
SELECT q.scope, q.period, count(*) > 0 AS kept, min(c.period_start) >= usage_monitor.period_start(now() - interval '1 hour' - CASE q.scope WHEN 'all' THEN interval '92 days' ELSE interval '1 day' END, q.period, 'UTC') AS as_long
  FROM _usage_monitor._counter_row c JOIN usage_monitor.quota q USING (quota_id)
 WHERE q.period <> 'lifetime' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM pg_temp.changes;
-- again, for nothing
CALL usage_monitor.maintain();
SELECT step, done FROM _usage_monitor._maintenance WHERE done <> 0;

-- late calls are counted in periods whose counters are gone, and alert once
CREATE TEMP TABLE late AS SELECT date_trunc('day', now()) - interval '50 days' + interval '1 hour' AS ts;
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens) SELECT ts, 'o1', 'u1', 'm', 1 FROM late, generate_series(1, 40);
SELECT count(*) > 0 AS raised, count(*) = count(DISTINCT (quota_id, coalesce(subject, ''), period_start, level)) AS once FROM usage_monitor.alert WHERE quota_id IS NOT NULL;
SELECT * FROM usage_monitor.verify();
SELECT q.name, h.used > 40 AS counted FROM usage_monitor.quota_history h JOIN usage_monitor.quota q USING (quota_id), late
 WHERE q.name = 'user day' AND h.subject = 'u1' AND h.period_start = date_trunc('day', late.ts);
CALL usage_monitor.maintain();
SELECT * FROM usage_monitor.verify();

-- one step that fails holds up no other, and is warned of once
CREATE FUNCTION pg_temp.block() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE usage_monitor.%I ()', (SELECT name FROM _usage_monitor._month(now() + interval '100 days')));
END $$;
SELECT pg_temp.block();
SET usage_monitor.partitions_ahead = 4;
INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 1);
SET client_min_messages = error;    -- the warning has a name of the season
CALL usage_monitor.maintain();
CALL usage_monitor.maintain();
RESET client_min_messages;
SELECT failing_step, error LIKE 'there is a table "usage_%" already%' AS error, failing_since < maintained_at AS since, tail_calls FROM usage_monitor.maintenance_status;
SELECT step, error IS NOT NULL AS failed FROM _usage_monitor._maintenance WHERE step IN ('partitions', 'refresh') ORDER BY step;
DO $$ BEGIN EXECUTE format('DROP TABLE usage_monitor.%I', (SELECT name FROM _usage_monitor._month(now() + interval '100 days'))); END $$;
CALL usage_monitor.maintain();
SELECT failing_step, failing_since, months_without_partition FROM usage_monitor.maintenance_status;

-- what is to be kept how long
SELECT name, setting, unit FROM pg_settings WHERE name ~ '^usage_monitor\.(retention|partitions|maintenance)' ORDER BY 1;
TRUNCATE daily;
INSERT INTO daily SELECT * FROM usage_monitor.daily_usage;
CREATE TEMP TABLE lifetime AS SELECT * FROM usage_monitor.quota_history WHERE period = 'lifetime';
SET usage_monitor.retention_ledger = 1;
CALL usage_monitor.maintain();
SELECT count(*) > 0 AS dropped, max(to_ts) >= date_trunc('month', now() - interval '1 hour') - interval '1 month' AS until FROM usage_monitor.archived_partition;
SELECT count(*) FROM ((TABLE daily EXCEPT SELECT * FROM usage_monitor.daily_usage) UNION ALL (SELECT * FROM usage_monitor.daily_usage EXCEPT TABLE daily)) d;
SELECT count(*) > 0 AS adjusted FROM usage_monitor.quota_adjustment;
SET usage_monitor.retention_history = '1d';
CALL usage_monitor.maintain();
SELECT q.period, count(*) > 0 AS kept FROM usage_monitor.quota_adjustment a JOIN usage_monitor.quota q USING (quota_id)
 WHERE q.scope <> 'all' AND a.period_start < date_trunc('month', now()) - interval '1 month' GROUP BY 1;
SELECT count(*) FROM ((TABLE lifetime EXCEPT SELECT * FROM usage_monitor.quota_history WHERE period = 'lifetime') UNION ALL (SELECT * FROM usage_monitor.quota_history WHERE period = 'lifetime' EXCEPT TABLE lifetime)) d;
SELECT * FROM usage_monitor.verify();
UPDATE usage_monitor.alert SET raised_at = raised_at - interval '40 days', last_seen = last_seen - interval '40 days';
SELECT max(usage_id) AS call FROM usage_monitor.usage WHERE cost > 0 \gset
SELECT cost < 0 AS refunded FROM usage_monitor.refund_call(:call, NULL, 'a test');
UPDATE usage_monitor.audit_log SET at = at - interval '40 days';
SET usage_monitor.retention_alerts = '30d';
SET usage_monitor.retention_audit = '30d';
CALL usage_monitor.maintain();
SELECT DISTINCT q.period FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.period = 'lifetime' OR usage_monitor.period_end(a.period_start, q.period, 'UTC') <= now();
-- of a call that is still there it is known what was refunded
SELECT what, count(*) FROM usage_monitor.audit_log GROUP BY 1;
SELECT cost > 0 AS voided FROM usage_monitor.void_call(:call, 'a test');
SELECT count(*) FROM usage_monitor.usage WHERE operation = 'correction';
CALL usage_monitor.maintain();
SELECT what, count(*) FROM usage_monitor.audit_log GROUP BY 1;

-- reservations, whatever became of them; not those that hold something
SELECT s.input_tokens FROM usage_monitor.reserve(user_id => 'u', cost => 0.01) r, usage_monitor.settle(r.reservation_id, model => 'm', input_tokens => 1) s;
SELECT usage_monitor.release(reservation_id) AS released FROM usage_monitor.reserve(user_id => 'u', cost => 0.01);
SELECT allowed FROM usage_monitor.reserve(user_id => 'u', cost => 0.01);
UPDATE usage_monitor.reservation SET expires_at = expires_at - interval '40 days';
SELECT allowed FROM usage_monitor.reserve(user_id => 'u', cost => 0.01);
CALL usage_monitor.maintain();
SELECT state, count(*) FROM usage_monitor.reservation GROUP BY 1 ORDER BY 1;
SET usage_monitor.retention_reservations = '30d';
CALL usage_monitor.maintain();
SELECT state, count(*) FROM usage_monitor.reservation GROUP BY 1;
SELECT done FROM _usage_monitor._maintenance WHERE step = 'reservations';
SELECT * FROM usage_monitor.verify();

-- a partition without the index is told of
CREATE TABLE regress_bare (LIKE usage_monitor.usage_default INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
CREATE UNIQUE INDEX ON regress_bare (org, request_id) WHERE request_id IS NOT NULL;
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_bare FOR VALUES FROM ('2018-01-01 00:00+00') TO ('2019-01-01 00:00+00');
SELECT partitions_without_index FROM usage_monitor.maintenance_status;

-- readers see it, and the owner alone does it
CREATE ROLE regress_maintenance_reader;
SELECT usage_monitor.grant_access('regress_maintenance_reader', 'reader');
SET ROLE regress_maintenance_reader;
SELECT tail_calls, failing_step FROM usage_monitor.maintenance_status;
CALL usage_monitor.maintain();
SET usage_monitor.retention_ledger = 1;
RESET ROLE;
BEGIN;
CALL usage_monitor.maintain();
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
CALL usage_monitor.maintain();
RESET default_transaction_isolation;
SELECT failing_step FROM usage_monitor.maintenance_status;

SELECT usage_monitor.revoke_access('regress_maintenance_reader');
SET client_min_messages = warning;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_maintenance_reader;
