SET usage_monitor.max_future = '100000d';
-- Where clocks are set by half an hour, the hour that this cuts short is one of
-- its own: hours do not overlap, in whatever order calls come
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SELECT usage_monitor.set_quota('an hour', 'user', NULL, 1000, 'hour', 'requests', time_zone => 'Australia/Lord_Howe') AS made;
CREATE VIEW hours AS
SELECT to_char(u.period_start AT TIME ZONE 'UTC', 'MM-DD HH24:MI') AS start,
       to_char(usage_monitor.period_end(u.period_start, 'hour', 'Australia/Lord_Howe') AT TIME ZONE 'UTC', 'HH24:MI') AS "end",
       to_char(u.period_start AT TIME ZONE 'Australia/Lord_Howe', 'HH24:MI') AS clock,
       u.subject, sum(u.used) AS used
FROM usage_monitor.quota_usage AS u GROUP BY u.subject, u.period_start ORDER BY u.subject, u.period_start;
-- back at 02:00, to 01:30
INSERT INTO usage_monitor.usage (ts, user_id, model)
SELECT '2027-04-03 14:05Z'::timestamptz + i * interval '10 minutes', 'autumn', 'm' FROM generate_series(0, 12) AS i;
INSERT INTO usage_monitor.usage (ts, user_id, model)
SELECT '2027-04-03 14:05Z'::timestamptz + i * interval '10 minutes', 'autumn', 'm' FROM generate_series(12, 0, -1) AS i;
-- forward at 02:00, to 02:30
INSERT INTO usage_monitor.usage (ts, user_id, model)
SELECT '2027-10-02 14:05Z'::timestamptz + i * interval '10 minutes', 'spring', 'm' FROM generate_series(0, 15) AS i;
SELECT * FROM hours;
SELECT * FROM usage_monitor.verify();
-- by half an hour in the middle of one, and where only the name of the time changes
SELECT zone, to_char(ts AT TIME ZONE zone, 'HH24:MI:SS') AS clock,
       to_char(usage_monitor.period_start(ts, 'hour', zone) AT TIME ZONE 'UTC', 'HH24:MI:SS') AS start,
       to_char(usage_monitor.period_end(ts, 'hour', zone) AT TIME ZONE 'UTC', 'HH24:MI:SS') AS "end"
FROM (VALUES ('America/Caracas', '2016-05-01 06:59:59Z'::timestamptz), ('America/Caracas', '2016-05-01 07:00Z'),
             ('Asia/Pyongyang', '2018-05-04 14:59:59Z'), ('Asia/Pyongyang', '2018-05-04 15:00Z'),
             ('America/New_York', '2026-11-01 05:59Z'), ('America/New_York', '2026-11-01 06:01Z'),
             ('Asia/Kathmandu', '2026-11-01 06:01Z')) AS t (zone, ts);

-- No calendar goes further
SELECT usage_monitor.period_start('infinity', 'day', 'UTC');
SELECT usage_monitor.period_end('294276-12-31 12:00Z', 'year', 'UTC');

-- A time zone that the server knew once, and does not know any more
ALTER TABLE usage_monitor.quota DISABLE TRIGGER ALL;
UPDATE usage_monitor.quota SET time_zone = 'Moon/Tranquility';
ALTER TABLE usage_monitor.quota ENABLE TRIGGER ALL;
INSERT INTO usage_monitor.usage (user_id, model) VALUES ('u', 'm');
\echo :SQLSTATE
