-- Alerts come again when the limit moves, or when the use falls below a threshold and reaches it once more
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
CREATE VIEW pg_temp.raised AS
SELECT details->>'quota' AS quota, subject, level, trim_scale(used) AS used, trim_scale(amount) AS amount FROM usage_monitor.alert ORDER BY alert_id;
CREATE PROCEDURE pg_temp.call(who text, cost numeric) LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES (who, 'm', cost);
$$;

-- a prepaid balance warns each time that it runs low
SELECT usage_monitor.set_quota('prepaid', 'user', 'ann', 10, 'lifetime') > 0;
CALL pg_temp.call('ann', 7);
CALL pg_temp.call('ann', 1);
CALL pg_temp.call('ann', 1);
UPDATE usage_monitor.quota SET amount = amount + 10 WHERE name = 'prepaid';
CALL pg_temp.call('ann', 6);
CALL pg_temp.call('ann', 1);
CALL pg_temp.call('ann', 1);
CALL pg_temp.call('ann', 3);
SELECT usage_monitor.set_quota('prepaid', 'user', 'ann', 30, 'lifetime') > 0;
-- a limit that falls is crossed by whoever lowers it, once
UPDATE usage_monitor.quota SET amount = 22 WHERE name = 'prepaid';
UPDATE usage_monitor.quota SET amount = 21.5 WHERE name = 'prepaid';
TABLE pg_temp.raised;
-- one that does not move is crossed once
UPDATE usage_monitor.quota SET amount = 21.5 WHERE name = 'prepaid';
CALL pg_temp.call('ann', 0);
SELECT usage_monitor.rebuild_counters() > 0;
CALL pg_temp.call('ann', 0.1);
SELECT count(*) FROM pg_temp.raised;
SELECT * FROM usage_monitor.verify();
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.alert;

-- use that falls: corrected, deleted, reset
SELECT usage_monitor.set_quota('q', 'user', NULL, 10, 'lifetime', warning => 0.5, critical => 1) > 0;
CALL pg_temp.call('bob', 6);
UPDATE usage_monitor.usage SET cost = 5.5 WHERE user_id = 'bob';
CALL pg_temp.call('bob', 0.1);
UPDATE usage_monitor.usage SET cost = 4 WHERE user_id = 'bob' AND cost = 5.5;
CALL pg_temp.call('bob', 1);
DELETE FROM usage_monitor.usage WHERE user_id = 'bob' AND cost = 4;
BEGIN;
CALL pg_temp.call('bob', 8);
ROLLBACK;
CALL pg_temp.call('bob', 20);
SELECT usage_monitor.reset_quota('q', 'bob');
CALL pg_temp.call('bob', 4);
CALL pg_temp.call('bob', 1);
-- down and up in one transaction is nothing
BEGIN;
DELETE FROM usage_monitor.usage WHERE user_id = 'bob' AND cost = 20;
CALL pg_temp.call('bob', 20);
COMMIT;
-- thresholds that move
UPDATE usage_monitor.quota SET thresholds = ARRAY[0.25];
UPDATE usage_monitor.quota SET warning_threshold = 0.8;
CALL pg_temp.call('bob', 3);
TABLE pg_temp.raised;
SELECT * FROM usage_monitor.verify();

-- a raise moves the limit, too, though nobody looks until the next call
SELECT usage_monitor.set_quota('raised', 'user', 'dot', 10, 'lifetime') > 0;
CALL pg_temp.call('dot', 8.5);
SELECT usage_monitor.raise_quota('raised', 5, until => now() + interval '1 day') > 0;
CALL pg_temp.call('dot', 4);
CALL pg_temp.call('dot', 0.1);
SELECT * FROM pg_temp.raised WHERE quota = 'raised';

-- verify() knows which levels a counter has reached, and which come next
BEGIN;
UPDATE _usage_monitor._counter_row SET raised = '' WHERE raised <> '';
SELECT what, expected, found FROM usage_monitor.verify() ORDER BY 2, 3;
ROLLBACK;
BEGIN;
UPDATE _usage_monitor._counter_row SET raised = 'warning,25%,critical,exceeded';
SELECT what, expected, found FROM usage_monitor.verify() ORDER BY 2, 3;
ROLLBACK;
BEGIN;
UPDATE _usage_monitor._counter_row SET next_threshold = NULL;
SELECT what, expected, found FROM usage_monitor.verify() ORDER BY 2, 3;
ROLLBACK;

-- what costs nothing is let in over the limit: INSERT, question and reservation alike
SELECT usage_monitor.set_quota('hard', 'user', 'cat', 1, 'lifetime', enforcement => 'block') > 0;
CALL pg_temp.call('cat', 1);
CALL pg_temp.call('cat', 0.5);
CALL pg_temp.call('cat', 0);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, cached) VALUES ('cat', 'm', 100, true);
SELECT allowed, reason FROM usage_monitor.check_quota(user_id => 'cat', cost => 0) WHERE name = 'hard';
SELECT allowed, reason FROM usage_monitor.check_quota(user_id => 'cat', cost => 0.1) WHERE name = 'hard';
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'cat', cost => 0);
SELECT allowed FROM usage_monitor.reserve(user_id => 'cat', cost => 0.1);
UPDATE usage_monitor.quota SET amount = 0.5 WHERE name = 'hard';
CALL pg_temp.call('cat', 0);
SELECT allowed FROM usage_monitor.reserve(user_id => 'cat', cost => 0);
-- nor is there a next period to wait for
\set VERBOSITY default
CALL pg_temp.call('cat', 1);
SELECT * FROM usage_monitor.verify();
