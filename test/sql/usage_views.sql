--
-- The views over the ledger, against aggregates made in another way
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'Pacific/Chatham';   -- must not matter: buckets are the ledger's
SET datestyle = 'ISO, YMD';
SET usage_monitor.max_future = '4d';

-- Every view and every column says what it is, and respects row security
SELECT c.relname, a.attname
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'usage_monitor'::regnamespace AND c.relkind = 'v'
  AND c.relname ~ '^[^_].*(_usage|_total|_trend)$'
  AND (obj_description(c.oid, 'pg_class') IS NULL
       OR col_description(c.oid, a.attnum) IS NULL
       OR NOT 'security_invoker=true' = ANY (c.reloptions));

\set views :test '/include/views.psql'
\i :views

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('UTC');
SELECT * FROM pg_temp.every_view;
SELECT * FROM pg_temp.every_total;
ROLLBACK;

-- 5 hours 45 minutes: hours begin at a quarter past
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('CNY', 'Asia/Kathmandu');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('Asia/Kathmandu');
SELECT * FROM pg_temp.every_view;
SELECT DISTINCT extract(minute FROM hour AT TIME ZONE 'UTC') AS minute, currency FROM usage_monitor.hourly_usage;
ROLLBACK;

-- Days of 23 and 25 hours
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'America/New_York');
EXECUTE set_prices;
EXECUTE fill;
SELECT pg_temp.prepare('America/New_York');
SELECT * FROM pg_temp.every_view;
SELECT * FROM pg_temp.every_total;
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens)
SELECT ts, 'clock', 'um-test-0', 0
FROM (VALUES (timestamptz '2025-03-09 05:30+00'), ('2025-11-02 04:30+00')) AS d (start)
CROSS JOIN generate_series(start, start + interval '24 hours 59 minutes', interval '1 hour') AS ts;
SELECT day, requests FROM usage_monitor.daily_usage WHERE org = 'clock' ORDER BY day;
SELECT count(*) AS hours, max(requests) FROM usage_monitor.hourly_usage WHERE org = 'clock';

-- The unpriced and the latest
SELECT day, org, provider, model, service_tier, requests, input_tokens, output_tokens, first_ts, last_ts
FROM usage_monitor.unpriced_usage
EXCEPT ALL
SELECT usage_monitor.ledger_day(ts), org, provider, model, service_tier, count(*), sum(input_tokens), sum(output_tokens), min(ts), max(ts)
FROM usage_monitor.usage WHERE cost_source = 'unpriced'
GROUP BY usage_monitor.ledger_day(ts), org, provider, model, service_tier;
SELECT model, sum(requests) AS requests,
       (SELECT sum(unpriced_requests) FROM usage_monitor.daily_usage) AS unpriced_requests
FROM usage_monitor.unpriced_usage GROUP BY model;
SELECT count(*), max(rank) AS last_rank, bool_and(r.cost IS NOT DISTINCT FROM u.cost) AS same_cost
FROM usage_monitor.recent_usage r
JOIN (SELECT usage_id, cost, rank() OVER (ORDER BY usage_id DESC) FROM usage_monitor.usage) AS u USING (usage_id);

ROLLBACK;

-- The trend, by known answers
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens, cost)
VALUES ('2025-01-01 10:00+00', 'acme', 'a', 10, 1.40),
       ('2025-01-02 10:00+00', 'acme', 'a', 10, 0.50), ('2025-01-02 23:59:59.999999+00', 'acme', 'a', 20, 0.20),
       ('2025-01-05 00:00+00', 'acme', 'a', 40, 2.10),
       ('2025-01-06 00:00+00', 'acme', 'no-such-model', 50, NULL),
       ('2025-01-09 00:00+00', 'acme', 'a', 60, 2.10), ('2025-01-09 00:00+00', 'acme', 'no-such-model', 5, NULL),
       ('2025-01-04 00:00+00', 'globex', 'a', 70, 3);
SELECT day, org, requests, total_tokens, cost, currency, unpriced_requests, previous_cost, change, change_percentage,
       round(average_7d_cost, 4) AS average_7d_cost, round(average_7d_requests, 4) AS average_7d_requests
FROM usage_monitor.usage_trend WHERE day < '2025-01-12' ORDER BY org, day;
-- No gap and no end before today
SELECT org, min(day), max(day) = (now() AT TIME ZONE 'UTC')::date AS today, count(*) = max(day) - min(day) + 1 AS dense
FROM usage_monitor.usage_trend GROUP BY org ORDER BY org;
-- A call whose clock is ahead ends it later
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES (now() + interval '3 days', 'early', 'a', 1);
SELECT day - (now() AT TIME ZONE 'UTC')::date AS days_ahead, requests, cost FROM usage_monitor.usage_trend WHERE org = 'early';
ROLLBACK;

-- Row security on the ledger holds in every view
BEGIN;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, session_id, model, tags)
SELECT '2025-01-01', org, 's', 'no-such-model', '{"team": "a"}' FROM unnest('{acme, globex}'::text[]) AS org;
CREATE ROLE regress_usage_reader;
GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO regress_usage_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor TO regress_usage_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA usage_monitor, _usage_monitor TO regress_usage_reader;
ALTER TABLE usage_monitor.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_org ON usage_monitor.usage TO regress_usage_reader USING (org = 'acme');
SET LOCAL ROLE regress_usage_reader;
SELECT (SELECT string_agg(org, ' ') FROM usage_monitor.daily_usage) AS daily,
       (SELECT string_agg(org, ' ') FROM usage_monitor.session_usage) AS session,
       (SELECT string_agg(org, ' ') FROM usage_monitor.tag_usage) AS tag,
       (SELECT string_agg(DISTINCT org, ' ') FROM usage_monitor.usage_trend) AS trend,
       (SELECT sum(requests) FROM usage_monitor.unpriced_usage) AS unpriced,
       (SELECT string_agg(org, ' ') FROM usage_monitor.recent_usage) AS recent;
ROLLBACK;

-- Without a call there is nothing
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT (SELECT count(*) FROM usage_monitor.daily_usage) AS days, (SELECT count(*) FROM usage_monitor.usage_trend) AS trend,
       (SELECT count(*) FROM usage_monitor.recent_usage) AS recent;
-- ... and of unknown prices and durations neither sum nor average
INSERT INTO usage_monitor.usage (ts, model, input_tokens, output_tokens) VALUES ('2025-01-01', 'no-such-model', 1, 1);
SELECT requests, success_rate, cost, avg_duration_ms, unpriced_requests FROM usage_monitor.daily_usage;
ROLLBACK;
