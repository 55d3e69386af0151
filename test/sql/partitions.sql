--
-- Partitions of the ledger: made ahead, and filled from the default one
--
\set VERBOSITY terse
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'Pacific/Chatham';   -- must not matter
SET datestyle = 'ISO, YMD';
SELECT time_zone FROM usage_monitor.configure(time_zone => 'America/New_York');
CREATE ROLE regress_partition_reader;
GRANT SELECT ON usage_monitor.usage_default TO regress_partition_reader WITH GRANT OPTION;
GRANT SELECT (ts, org), UPDATE (org) ON usage_monitor.usage_default TO regress_partition_reader;
ALTER TABLE usage_monitor.usage_default SET (fillfactor = 90);
ALTER TABLE usage_monitor.usage_default REPLICA IDENTITY FULL;

-- months of New York, whatever month it is: named after it, each ends where the next begins
CREATE FUNCTION pg_temp.months_are_right() RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_and(partition::text = 'usage_monitor.' || to_char(from_ts AT TIME ZONE 'America/New_York', '"usage_"YYYY_MM')
                    AND (from_ts AT TIME ZONE 'America/New_York')::date = date_trunc('month', from_ts AT TIME ZONE 'America/New_York')
                    AND to_ts AT TIME ZONE 'America/New_York' = date_trunc('month', from_ts AT TIME ZONE 'America/New_York') + interval '1 month')
      FROM _usage_monitor._partitions();
$$;
SELECT count(*) FROM usage_monitor.create_partitions(months => 2);
SELECT count(*) FROM usage_monitor.create_partitions(months => 2);
SELECT count(*) FROM usage_monitor.create_partitions();
SELECT count(*), pg_temp.months_are_right() FROM _usage_monitor._partitions();

-- with all that usage_default has
SELECT count(*) AS partitions,
       count(DISTINCT (relowner, reloptions, relreplident, relacl::text, indexes, columns, triggers)) AS kinds
  FROM (SELECT c.oid, c.relowner, c.reloptions, c.relreplident, c.relacl,
               (SELECT string_agg(format('%s %s', i.indisprimary, regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \S+ ON \S+', '')), ', '
                                  ORDER BY regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \S+ ON \S+', '')) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes,
               (SELECT string_agg(concat(a.attname, a.atttypid, a.attnotnull, a.attacl), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns,
               (SELECT string_agg(concat(t.tgname, t.tgenabled, t.tgtype), ', ' ORDER BY t.tgname) FROM pg_trigger t WHERE t.tgrelid = c.oid) AS triggers
          FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
         WHERE h.inhparent = 'usage_monitor.usage'::regclass) p;
SELECT count(*) FROM pg_constraint WHERE conname IN ('_within', '_without');

-- wrong
SELECT usage_monitor.create_partitions(-1);
SELECT usage_monitor.create_partitions(NULL);
SELECT usage_monitor.create_partitions(121);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT usage_monitor.create_partitions(5);
ROLLBACK;
BEGIN;
CALL usage_monitor.drain_default_partition();
ROLLBACK;

-- the default partition has calls of several months, and someone's own partition is among them
SELECT usage_monitor.set_price('m', 1, 2, valid_from => '2020-01-01') > 0;
SELECT count(usage_monitor.set_quota(scope || ' ' || period, scope, NULL, 1000, period, 'requests'))
  FROM unnest('{all,user,org}'::text[]) scope, unnest('{day,month,lifetime}'::text[]) period;
CREATE TABLE regress_week (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_week FOR VALUES FROM ('2024-05-10 00:00+00') TO ('2024-05-20 00:00+00');
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, output_tokens, request_id, tags, provider_usage)
SELECT '2024-03-15 00:00+00'::timestamptz + n * interval '1 hour', 'o' || n % 3, 'u' || n % 7, 'm', n, 2 * n, 'r' || n, '{"a": "b"}',
       -- some that are stored beside their row
       CASE WHEN n % 100 = 0 THEN jsonb_build_object('x', (SELECT string_agg(md5(n || ' ' || g), '') FROM generate_series(1, 200) g)) END
  FROM generate_series(1, 2000) n;
SELECT usage_monitor.refresh();
-- very many of one instant, and some that are not folded
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT '2024-03-01 12:00+00', 'm', 1 FROM generate_series(1, 6000) n;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT '2024-03-01 11:59+00'::timestamptz + n * interval '1 second', 'm', 1 FROM generate_series(1, 90) n;
UPDATE usage_monitor.usage SET input_tokens = 5 WHERE request_id IN ('r1', 'r1999');
DELETE FROM usage_monitor.usage WHERE request_id = 'r2';

CREATE FUNCTION pg_temp.other_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'fired'; RETURN NEW; END $$;
CREATE TRIGGER other AFTER INSERT OR DELETE ON usage_monitor.usage FOR EACH ROW EXECUTE FUNCTION pg_temp.other_trigger();
CREATE TEMP TABLE before AS SELECT * FROM usage_monitor.usage;
CREATE TEMP TABLE daily_before AS SELECT * FROM usage_monitor.daily_usage;
CREATE TEMP TABLE history_before AS SELECT * FROM usage_monitor.quota_history;
CREATE TEMP TABLE counters_before AS SELECT * FROM usage_monitor.quota_usage;
CREATE TEMP TABLE corrections_before AS SELECT * FROM _usage_monitor._correction;
CALL usage_monitor.drain_default_partition();

-- every call is in the partition of its month, and is what it was
SELECT tableoid::regclass, count(*), min(ts) AT TIME ZONE 'America/New_York' AS first, max(ts) AT TIME ZONE 'America/New_York' AS last
  FROM usage_monitor.usage GROUP BY 1 ORDER BY 3;
SELECT p.partition, p.from_ts AT TIME ZONE 'America/New_York' AS from_ts, p.to_ts AT TIME ZONE 'America/New_York' AS to_ts
  FROM _usage_monitor._partitions() p WHERE p.to_ts < '2025-01-01' ORDER BY 2;
SELECT count(*) FROM ((TABLE before EXCEPT ALL SELECT * FROM usage_monitor.usage) UNION ALL (SELECT * FROM usage_monitor.usage EXCEPT ALL TABLE before)) d;
SELECT count(*) FROM ((TABLE daily_before EXCEPT ALL SELECT * FROM usage_monitor.daily_usage) UNION ALL (SELECT * FROM usage_monitor.daily_usage EXCEPT ALL TABLE daily_before)) d;
SELECT count(*) FROM ((TABLE history_before EXCEPT ALL SELECT * FROM usage_monitor.quota_history) UNION ALL (SELECT * FROM usage_monitor.quota_history EXCEPT ALL TABLE history_before)) d;
SELECT count(*) FROM ((TABLE counters_before EXCEPT ALL SELECT * FROM usage_monitor.quota_usage) UNION ALL (SELECT * FROM usage_monitor.quota_usage EXCEPT ALL TABLE counters_before)) d;
SELECT count(*) FROM ((TABLE corrections_before EXCEPT ALL SELECT * FROM _usage_monitor._correction) UNION ALL (SELECT * FROM _usage_monitor._correction EXCEPT ALL TABLE corrections_before)) d;
SELECT * FROM usage_monitor.verify();
-- the constraints that spared the looks are true
SELECT count(*) FROM usage_monitor.usage u JOIN _usage_monitor._partitions() p ON p.partition = u.tableoid WHERE NOT (u.ts >= p.from_ts AND u.ts < p.to_ts);
SELECT count(*) FROM pg_constraint WHERE conname IN ('_within', '_without');
-- the indexes have them
SET enable_seqscan = off;
SELECT count(*) FROM usage_monitor.usage_2024_03 WHERE org = 'o1' AND request_id = 'r100';
SELECT count(*) FROM usage_monitor.usage_2024_03 WHERE ts = '2024-03-01 12:00+00';
RESET enable_seqscan;

-- nothing is left to do
CALL usage_monitor.drain_default_partition();
-- what comes late goes where it belongs, and what comes for a month that has none is moved
DROP TRIGGER other ON usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, model, input_tokens, request_id) VALUES ('2024-03-02', 'm', 1, 'late'), ('2023-12-02', 'm', 1, 'later');
SELECT tableoid::regclass FROM usage_monitor.usage WHERE request_id IN ('late', 'later') ORDER BY 1;
-- a retry of a call that was moved is recognised
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, output_tokens, request_id) SELECT now(), org, user_id, model, input_tokens, output_tokens, request_id FROM before WHERE request_id = 'r500';
SELECT count(*) FROM usage_monitor.usage WHERE request_id = 'r500';
CREATE TABLE usage_monitor.usage_2023_12 ();
CALL usage_monitor.drain_default_partition();
DROP TABLE usage_monitor.usage_2023_12;
SET default_transaction_isolation = 'serializable';
CALL usage_monitor.drain_default_partition();
RESET default_transaction_isolation;
SELECT tableoid::regclass FROM usage_monitor.usage WHERE request_id = 'later';

-- a request is looked for in those partitions only that are within the window, if there is one
CREATE TABLE pairs AS
SELECT n, first, first + (n % 97 - 48) * interval '1 day 7 hours' AS again FROM (
    SELECT n, timestamptz '2023-11-03 00:00+00' + n * 7919 % 200 * interval '1 day' + n % 24 * interval '1 hour' AS first FROM generate_series(1, 400) n) r;
SET usage_monitor.request_id_window = '31d';
INSERT INTO usage_monitor.usage (ts, model, cost, request_id) SELECT first, 'm', 0, 'pair ' || n FROM pairs;
INSERT INTO usage_monitor.usage (ts, model, cost, request_id) SELECT again, 'm', 0, 'pair ' || n FROM pairs ON CONFLICT DO NOTHING;
-- those that are no further apart count once; others twice where the first one's partition is further away
WITH counted AS (
    SELECT p.first, p.again, count(*) AS rows FROM pairs p JOIN usage_monitor.usage u ON u.request_id = 'pair ' || p.n GROUP BY 1, 2, p.n
)
SELECT count(*) FILTER (WHERE near) > 0 AS near, bool_and(rows = 1) FILTER (WHERE near) AS once, count(*) FILTER (WHERE far) > 0 AS far, bool_and(rows = 2) FILTER (WHERE far) AS twice
  FROM counted c
  LEFT JOIN _usage_monitor._partitions() f ON c.first >= f.from_ts AND c.first < f.to_ts,
       LATERAL (SELECT abs(extract(epoch FROM c.first - c.again)) <= 31 * 86400 AS near,
                       f.from_ts > c.again + interval '31 days' OR f.to_ts <= c.again - interval '31 days' AS far) d;
SELECT count(*) > 0 AND bool_and(expected = 'one row') AS told FROM usage_monitor.verify();
RESET usage_monitor.request_id_window;
DELETE FROM usage_monitor.usage WHERE request_id LIKE 'pair %';
INSERT INTO usage_monitor.usage (ts, model, cost, request_id) SELECT first, 'm', 0, 'pair ' || n FROM pairs;
INSERT INTO usage_monitor.usage (ts, model, cost, request_id) SELECT again, 'm', 0, 'pair ' || n FROM pairs ON CONFLICT DO NOTHING;
SELECT count(*) = count(DISTINCT request_id) AS once FROM usage_monitor.usage WHERE request_id LIKE 'pair %';
DELETE FROM usage_monitor.usage WHERE request_id LIKE 'pair %';
DROP TABLE pairs;
-- a partition of a partition would not be looked into
CREATE TABLE usage_2010 (LIKE usage_monitor.usage_default) PARTITION BY LIST (org);
CREATE TABLE usage_2010_acme PARTITION OF usage_2010 FOR VALUES IN ('acme');
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2010 FOR VALUES FROM ('2010-01-01 00:00+00') TO ('2011-01-01 00:00+00');
SET usage_monitor.earliest_ts = '2010-01-01';
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2010-05-01', 'acme', 'm', 0);
RESET usage_monitor.earliest_ts;
INSERT INTO usage_monitor.usage (org, model, cost, request_id) VALUES ('acme', 'm', 0, 'beside it');
DELETE FROM usage_monitor.usage WHERE request_id = 'beside it';
ALTER TABLE usage_monitor.usage DETACH PARTITION usage_2010;
DROP TABLE usage_2010;

-- the running month is left to it
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2024-06-20', 'm', 1);
SELECT * FROM usage_monitor.verify();

-- what belongs to the owner is nobody else's
SET ROLE regress_partition_reader;
SELECT usage_monitor.create_partitions();
CALL usage_monitor.drain_default_partition();
RESET ROLE;
SET client_min_messages = warning;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_partition_reader;
