--
-- What quota_status, quota_history and check_quota() say
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- days of every year
SET usage_monitor.max_future = '100000d';
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never
-- removes quotas, calls and alerts, for the next part
CREATE PROCEDURE pg_temp.clear() LANGUAGE sql AS $$
    DELETE FROM usage_monitor.quota WHERE parent IS NOT NULL OR overrides IS NOT NULL;
    DELETE FROM usage_monitor.quota;
    DELETE FROM usage_monitor.usage;
    DELETE FROM usage_monitor.alert;
    DELETE FROM usage_monitor.reservation;
$$;

-- At a very low rate it runs out after the end of all time
SELECT usage_monitor.set_quota(period, 'user', 'u', 1000, period) > 0,
       usage_monitor.set_quota('large ' || period, 'user', 'u', 1e90, period) > 0,
       usage_monitor.set_budget('budget ' || period, 'user', 'u', 1e12, period) > 0
FROM unnest('{hour,day,week,month,year,lifetime}'::text[]) AS period;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 0.00000000000000000001);
SELECT count(*), count(runs_out_at), bool_and(used = 0.00000000000000000001 AND percentage = 0.00) FROM usage_monitor.quota_status;
SELECT count(*), count(runs_out_at), bool_and(projected_percentage = 0.00) FROM usage_monitor.budget_status;
SELECT usage_monitor.dashboard() IS NOT NULL, usage_monitor.report('daily') IS NOT NULL;
-- at half of the amount so far it is just before the end, or later
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 999);
SELECT bool_and(CASE WHEN projected > amount THEN runs_out_at BETWEEN now() AND period_end ELSE runs_out_at IS NULL END)
FROM usage_monitor.quota_status WHERE name IN ('hour', 'day', 'week', 'month', 'year');
CALL pg_temp.clear();

-- What a transaction has done to quotas it sees at once, as it will be
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (now(), 'u', 'm', 5), (now() - interval '2 years', 'u', 'm', 3), (now(), 'v', 'm', 2);
CREATE VIEW pg_temp.status AS SELECT name, subject, used FROM usage_monitor.quota_status ORDER BY name, subject;
CREATE VIEW pg_temp.history AS SELECT name, subject, period_start = date_trunc('day', now()) AS today, used FROM usage_monitor.quota_history ORDER BY name, subject, period_start;
BEGIN;
SELECT usage_monitor.set_quota('day', 'user', NULL, 10, 'day', enforcement => 'block') > 0, usage_monitor.set_quota('life', 'user', 'u', 12, 'lifetime', enforcement => 'block') > 0;
SELECT * FROM pg_temp.status;
SELECT name, used, allowed FROM usage_monitor.check_quota(user_id => 'u', cost => 5) ORDER BY name;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 1);
SELECT * FROM pg_temp.status;
SELECT * FROM pg_temp.history;
SELECT * FROM usage_monitor.verify();
COMMIT;
SELECT * FROM pg_temp.status;
SELECT * FROM pg_temp.history;
SELECT * FROM usage_monitor.verify();
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('v', 'm', 1);
UPDATE usage_monitor.quota SET metric = 'requests' WHERE name = 'day';
UPDATE usage_monitor.quota SET enabled = false WHERE name = 'life';
SELECT * FROM pg_temp.status;
SELECT * FROM pg_temp.history;
SELECT * FROM usage_monitor.verify();
SAVEPOINT s;
DELETE FROM usage_monitor.quota;
SELECT * FROM pg_temp.history;
ROLLBACK TO s;
SELECT * FROM pg_temp.status;
COMMIT;
SELECT * FROM pg_temp.history;
SELECT * FROM usage_monitor.verify();
BEGIN;
UPDATE usage_monitor.quota SET metric = 'cost', enabled = true;
ROLLBACK;
SELECT * FROM pg_temp.history;
UPDATE usage_monitor.quota SET metric = 'cost', enabled = true;

-- A reset sees the one before it
BEGIN;
SELECT usage_monitor.reset_quota('day'), usage_monitor.reset_quota('day', 'u');
SELECT * FROM pg_temp.status;
SELECT * FROM usage_monitor.verify();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 2);
SELECT usage_monitor.reset_quota('day');
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 0.5);
SELECT * FROM pg_temp.status;
COMMIT;
SELECT * FROM pg_temp.status;
SELECT * FROM usage_monitor.verify();
SELECT amount FROM usage_monitor.quota_adjustment ORDER BY amount;
-- It is for what the quota counted then, and for subjects that it counts
SELECT usage_monitor.reset_quota('life'), count(*) FROM pg_temp.status WHERE name = 'life' AND used = 11.5;
UPDATE usage_monitor.quota SET metric = 'requests';
SELECT * FROM pg_temp.status;
SELECT * FROM usage_monitor.verify();
UPDATE usage_monitor.quota SET metric = 'cost', period = 'year', amount = 100;
SELECT name, subject, used FROM usage_monitor.quota_history WHERE period_start > now() - interval '1 year' ORDER BY name, subject;
UPDATE usage_monitor.quota SET period = CASE name WHEN 'day' THEN 'day' ELSE 'lifetime' END, model = 'm';
SELECT * FROM pg_temp.status;
UPDATE usage_monitor.quota SET model = NULL;
SELECT * FROM pg_temp.status;
SELECT usage_monitor.set_quota('v''s', 'user', 'v', 10, 'day', overrides => 'day') > 0;
SELECT * FROM pg_temp.status;
SELECT * FROM usage_monitor.verify();
CALL pg_temp.clear();

-- Alerts are raised once a period, of whichever length, and metric
CREATE VIEW pg_temp.raised AS
SELECT a.level, a.details->>'period' AS period, a.details->>'metric' AS metric, a.period_start, a.used, a.amount
FROM usage_monitor.alert AS a WHERE quota_id IS NOT NULL ORDER BY alert_id;
SELECT usage_monitor.set_quota('p', 'user', 'c', 1, 'day', time_zone => 'UTC') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost, input_tokens) VALUES ('2040-12-01 10:00', 'c', 'm', 2, 5);
SELECT usage_monitor.set_quota('p', 'user', 'c', 10, 'month', time_zone => 'UTC') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost, input_tokens) VALUES ('2040-12-20', 'c', 'm', 20, 50);
INSERT INTO usage_monitor.usage (ts, user_id, model, cost, input_tokens) VALUES ('2040-12-20', 'c', 'm', 1, 5);
SELECT usage_monitor.set_quota('p', 'user', 'c', 50, 'month', 'tokens', time_zone => 'UTC') > 0;
SELECT usage_monitor.set_quota('p', 'user', 'c', 10, 'month', time_zone => 'UTC') > 0;
SELECT usage_monitor.set_quota('p', 'user', 'c', 1, 'day', time_zone => 'UTC') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost, input_tokens) VALUES ('2040-12-01 11:00', 'c', 'm', 2, 5);
SELECT * FROM pg_temp.raised;
SELECT * FROM usage_monitor.verify();
CALL pg_temp.clear();

-- What is reserved shows, whether or not the subject has used anything, and whether or not the quota blocks
SELECT usage_monitor.set_quota('alerts', 'user', NULL, 10) > 0, usage_monitor.set_quota('blocks', 'user', NULL, 20, enforcement => 'block') > 0,
       usage_monitor.set_quota('one', 'user', 'x', 10) > 0, usage_monitor.set_quota('all', 'all', NULL, 100) > 0, usage_monitor.set_quota('tags', 'tag', 't', 30) > 0;
SELECT allowed FROM usage_monitor.reserve(user_id => 'x', cost => 4, tags => '{"t": "a"}');
SELECT allowed FROM usage_monitor.reserve(user_id => 'x', cost => 1);
SELECT allowed FROM usage_monitor.reserve(user_id => 'y', cost => 2, ttl => '0.01 s');
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('x', 'm', 3), ('z', 'm', 1);
SELECT pg_sleep(0.05);
SELECT name, subject, used, reserved, remaining FROM usage_monitor.quota_status WHERE subject IS DISTINCT FROM 'y' ORDER BY name, subject;
SELECT count(*) FROM usage_monitor.quota_status WHERE subject = 'y' AND reserved <> 0;
SELECT count(usage_monitor.release(reservation_id)) FROM usage_monitor.reservation WHERE user_id = 'x';
SELECT name, subject, used, reserved, remaining FROM usage_monitor.quota_status WHERE subject IS DISTINCT FROM 'y' ORDER BY name, subject;
CALL pg_temp.clear();

-- A raise: history and status agree about the running period
SELECT usage_monitor.set_quota('raised', 'user', 'r', 10, 'month') > 0;
SELECT usage_monitor.raise_quota('raised', 10, now() + interval '1 hour') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (now(), 'r', 'm', 15), (now() - interval '40 days', 'r', 'm', 9);
SELECT amount, used, remaining, percentage, state FROM usage_monitor.quota_status;
SELECT amount, used, remaining, percentage, state FROM usage_monitor.quota_history ORDER BY period_start;
CALL pg_temp.clear();

-- An alert says who reached the level, whoever's quota it is
CREATE ROLE regress_caller;
SELECT usage_monitor.grant_access('regress_caller', 'writer');
SELECT usage_monitor.set_quota('who', 'org', 'whose', 3, 'month', 'requests', thresholds => ARRAY[0.3]) IS NOT NULL AS made;
SET SESSION AUTHORIZATION regress_caller;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('whose', 'ann', 'm', 1);
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('whose', 'ann', 'm', 1), ('whose', 'bob', 'm', 1);
RESET SESSION AUTHORIZATION;
SELECT usage_monitor.set_quota('who else', 'org', 'nobody', 1, 'month', 'requests') IS NOT NULL AS made;
INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('nobody', 'm', 1);
SELECT q.name, a.level, a.details->>'user_id' AS user_id, a.details->>'role' = session_user AS own_role, a.details->>'role' = 'regress_caller' AS caller
FROM usage_monitor.alert AS a JOIN usage_monitor.quota AS q USING (quota_id) WHERE q.name LIKE 'who%' ORDER BY a.alert_id;
DROP OWNED BY regress_caller;
DROP ROLE regress_caller;
