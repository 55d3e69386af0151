--
-- Very many counters in one transaction: of new subjects, more than the server
-- has locks for, and of late rows, whose sums are read from the ledger at once
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SELECT usage_monitor.set_quota('each user', 'user', NULL, 100, 'month', 'tokens');
SELECT usage_monitor.set_quota('each org', 'org', NULL, 1000000, 'day', 'requests');
SELECT usage_monitor.set_quota('each session', 'session', NULL, 1, 'lifetime', enforcement => 'block');
INSERT INTO usage_monitor.usage (user_id, model, input_tokens)
SELECT 'u' || n, 'nobody', 10 FROM generate_series(1, 30000) AS n;
SELECT q.name, count(*) AS counters, sum(u.used) AS used
FROM usage_monitor.quota_usage AS u JOIN usage_monitor.quota AS q USING (quota_id) GROUP BY q.name ORDER BY q.name;

-- the same with late rows, of which some were there before the quotas
DELETE FROM usage_monitor.quota;
INSERT INTO usage_monitor.usage (ts, user_id, org, model, input_tokens)
SELECT '2025-01-01 00:00Z'::timestamptz + n * interval '2 hours', 'u' || n % 50, 'o' || n % 3, 'nobody', n FROM generate_series(1, 1000) AS n;
SELECT usage_monitor.set_quota('each user', 'user', NULL, 5000, 'month', 'tokens');
SELECT usage_monitor.set_quota('each org', 'org', NULL, 8, 'day', 'requests');
INSERT INTO usage_monitor.usage (ts, user_id, org, model, input_tokens)
SELECT '2025-01-01 00:00Z'::timestamptz + n * interval '3 hours', 'u' || n % 70, 'o' || n % 3, 'nobody', n FROM generate_series(1, 1000) AS n;
SELECT * FROM usage_monitor.verify();
WITH counted AS (
    SELECT user_id, date_trunc('month', ts, 'UTC') AS month, sum(input_tokens) AS used, count(*) FILTER (WHERE usage_id > 31000) AS late
    FROM usage_monitor.usage WHERE ts < '2025-12-01' GROUP BY 1, 2
)
SELECT count(*) AS counters, count(*) FILTER (WHERE u.used = c.used) AS right,
       (SELECT sum(occurrences) FROM usage_monitor.alert AS a WHERE quota = 'each user' AND level = 'exceeded')
       = count(*) FILTER (WHERE c.used >= 5000) AS alerted
FROM counted AS c JOIN usage_monitor.quota_usage AS u ON u.subject = c.user_id AND u.period_start = c.month
WHERE c.late > 0;
-- a few of them each by itself, and some that are there already
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) VALUES ('2025-06-01 00:00Z', 'u1', 'nobody', 1), ('2025-01-05 00:00Z', 'u2', 'nobody', 1);
SELECT * FROM usage_monitor.verify();
-- a rollback leaves none
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) SELECT 'v' || n, 'nobody', 10 FROM generate_series(1, 1000) AS n;
ROLLBACK;
SELECT count(*) FROM usage_monitor.quota_usage WHERE subject LIKE 'v%';
