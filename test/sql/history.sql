-- History is let in: periods that are over block nothing, and raise no flood of alerts
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
CREATE VIEW pg_temp.raised AS
SELECT quota, subject, level, occurrences, period_start, trim_scale(used) AS used, trim_scale(amount) AS amount, message, resolved_at IS NOT NULL AS resolved
  FROM usage_monitor.alert ORDER BY alert_id;
CREATE PROCEDURE pg_temp.call(at timestamptz, who text, cost numeric) LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (at, who, 'm', cost);
$$;

-- a year over a blocking quota of days, in one statement
SELECT usage_monitor.set_quota('day', 'user', 'fred', 1, period => 'day', enforcement => 'block') > 0;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost)
SELECT d, 'fred', 'm', 1.5 + extract(doy FROM d) / 1000 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-12-31 10:00Z', '1 day') AS d;
SELECT count(*), sum(cost) FROM usage_monitor.usage;
TABLE pg_temp.raised;
-- and row by row, each in a transaction of its own
SELECT usage_monitor.resolve_alerts(subject => 'fred');
SELECT usage_monitor.set_quota('day of gina', 'user', 'gina', 1, period => 'day', enforcement => 'block') > 0;
DO $$
DECLARE
    day timestamptz;
BEGIN
    FOR n IN 1 .. 3 LOOP
        FOR day IN SELECT generate_series('2025-01-01 10:00Z'::timestamptz, '2025-12-31 10:00Z', '1 day') LOOP
            INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (day, 'gina', 'm', 0.4 + n / 1000.0);
            COMMIT;
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*), sum(cost) FROM usage_monitor.usage WHERE user_id = 'gina';
TABLE pg_temp.raised;
-- the worst is what it has come to, also where nothing blocks
UPDATE usage_monitor.quota SET enforcement = 'alert' WHERE name = 'day of gina';
CALL pg_temp.call('2025-03-01 11:00Z', 'gina', 5);
CALL pg_temp.call('2025-03-01 12:00Z', 'gina', 2);
CALL pg_temp.call('2025-04-01 12:00Z', 'gina', 3);
TABLE pg_temp.raised;
-- who was told of it need not be told again; what comes new is
SELECT quota, occurrences FROM usage_monitor.resolve_alert((SELECT max(alert_id) FROM usage_monitor.alert));
CALL pg_temp.call('2025-04-01 13:00Z', 'gina', 9);
CALL pg_temp.call('2024-04-01 13:00Z', 'gina', 0.99);
SELECT usage_monitor.rebuild_counters();
CALL pg_temp.call('2025-04-01 14:00Z', 'gina', 9);
SELECT count(*) FROM pg_temp.raised;
CALL pg_temp.call('2024-04-01 14:00Z', 'gina', 0.01);
TABLE pg_temp.raised OFFSET 2;
SELECT * FROM usage_monitor.verify();

-- today is blocked as ever, and so is a lifetime
CALL pg_temp.call(now(), 'fred', 1.5);
SELECT usage_monitor.set_quota('life', 'user', 'hal', 1, period => 'lifetime', enforcement => 'block') > 0;
CALL pg_temp.call('2025-01-01', 'hal', 1.5);
-- a month of before, of tokens and requests and several quotas at once, with a savepoint
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('months', 'user', NULL, 100, metric => 'tokens', enforcement => 'block', warning => 0.1),
       usage_monitor.set_quota('hours', 'org', 'default', 2, period => 'hour', metric => 'requests', enforcement => 'block'),
       usage_monitor.set_quota('weeks', 'all', NULL, 10, period => 'week') IS NULL;
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, cost)
SELECT '2025-02-03 04:05Z'::timestamptz + n * interval '1 day', 'u' || n % 3, 'm', 90, 1 FROM generate_series(1, 40) AS n;
SAVEPOINT s;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, cost) SELECT '2025-02-03 04:05Z', 'u9', 'm', 900, 1 FROM generate_series(1, 5);
ROLLBACK TO s;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, cost) SELECT '2025-02-03 04:05Z', 'u8', 'm', 900, 1 FROM generate_series(1, 3);
COMMIT;
TABLE pg_temp.raised;
-- many subjects: more than there are locks for
DELETE FROM usage_monitor.alert;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, cost)
SELECT '2024-02-03 04:05Z'::timestamptz + n % 12 * interval '1 month', 'many' || n % 700, 'm', 900, 0 FROM generate_series(1, 8400) AS n;
SELECT quota, count(*), sum(occurrences) FROM pg_temp.raised GROUP BY 1 ORDER BY 1;
SELECT * FROM usage_monitor.verify();

-- what was told of is known again, whatever way to write times the session has
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('days', 'user', NULL, 1, period => 'day') IS NULL;
BEGIN;
SET LOCAL datestyle = 'SQL, DMY';
SET LOCAL timezone = 'Asia/Kolkata';
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) SELECT timestamptz '25/10/2025 12:00Z' + n * interval '1 day', 'styled', 'm', 2 FROM generate_series(0, 2) AS n;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) SELECT timestamptz '25/10/2025 12:00Z' + n * interval '1 day', 'styled', 'styled', 2 FROM generate_series(0, 2) AS n;
COMMIT;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) SELECT timestamptz '2025-10-24 12:00Z' + n * interval '1 day', 'styled', 'm', 2 FROM generate_series(0, 4) AS n;
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) SELECT timestamptz '2025-10-24 12:00Z' + n * interval '1 day', 'styled', 'styled', 2 FROM generate_series(0, 4) AS n;
SELECT alert_type, subject, occurrences, details ->> 'days' AS days FROM usage_monitor.alert ORDER BY alert_id;
BEGIN;
SET LOCAL datestyle = 'SQL, DMY';
SELECT usage_monitor.set_price('styled', 1, 1, valid_from => '1/1/2025') > 0;
SELECT model, requests FROM usage_monitor.reprice('1/10/2025'::date, '1/12/2025', 'styled', dry_run => false);
COMMIT;
SELECT alert_type, resolved_at IS NOT NULL AS resolved FROM usage_monitor.alert WHERE subject = 'styled' ORDER BY alert_id;

-- a limit that moves is none of periods that are over
DELETE FROM usage_monitor.alert;
UPDATE usage_monitor.quota SET amount = 1;
SELECT count(*) FROM usage_monitor.alert WHERE period_start < now() - interval '32 days';

-- one alert for each period, or none
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('day', 'user', NULL, 1, period => 'day', enforcement => 'block') > 0;
SET usage_monitor.alert_past_periods = each;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) SELECT d, 'ida', 'm', 0.9 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-01-03 10:00Z', '1 day') AS d;
SELECT count(*) FROM pg_temp.raised;
CALL pg_temp.call('2025-01-01', 'ida', 1);
CALL pg_temp.call('2025-01-01', 'ida', 1);
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) SELECT d, 'ida', 'm', 0.9 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-01-03 10:00Z', '1 day') AS d;
-- left and reached again: told once
UPDATE usage_monitor.usage SET cost = 0 WHERE user_id = 'ida' AND ts = '2025-01-03 10:00Z';
CALL pg_temp.call('2025-01-03', 'ida', 1);
TABLE pg_temp.raised;
SET usage_monitor.alert_past_periods = none;
CALL pg_temp.call('2025-01-05', 'ida', 3);
SELECT count(*) FROM pg_temp.raised;
RESET usage_monitor.alert_past_periods;
SET usage_monitor.alert_past_periods = some;
CREATE ROLE regress_late_writer;
SELECT usage_monitor.grant_access('regress_late_writer', 'writer');
SET ROLE regress_late_writer;
SET usage_monitor.alert_past_periods = none;
CALL pg_temp.call('2025-01-06', 'ida', 3);
RESET ROLE;
SELECT count(*) FROM pg_temp.raised;
DROP OWNED BY regress_late_writer;
DROP ROLE regress_late_writer;
SELECT * FROM usage_monitor.verify();

-- calls without a price are told of once a model, too
DELETE FROM usage_monitor.alert;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT d, 'unknown', 1 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-12-31 10:00Z', '1 day') AS d;
TABLE pg_temp.raised;
DO $$
DECLARE
    day timestamptz;
BEGIN
    FOR day IN SELECT generate_series('2025-01-01 10:00Z'::timestamptz, '2025-12-31 10:00Z', '3 days') LOOP
        INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES (day, 'other', 1);
        COMMIT;
    END LOOP;
END
$$;
SELECT message, details->>'day' AS day FROM usage_monitor.alert ORDER BY alert_id;
-- what is told of need not be told again
SELECT usage_monitor.resolve_alerts('unpriced');
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2025-06-01', 'unknown', 1);
SELECT count(*) FROM usage_monitor.active_alert;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2024-06-01', 'unknown', 1);
SELECT model, occurrences, message FROM usage_monitor.active_alert;
-- some of it gets a price
SELECT usage_monitor.set_price('other', 1, 1, valid_from => '2025-06-01') > 0;
SELECT count(*) FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
UPDATE usage_monitor.alert SET resolved_at = NULL;
SELECT usage_monitor.set_price('other', 1, 1, valid_from => '2024-06-01') > 0;
SELECT count(*) FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
SELECT model, resolved_at IS NOT NULL AS closed FROM usage_monitor.alert ORDER BY alert_id;
-- a model that nobody names twice, a thousand times
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT '2025-06-01'::timestamptz + n % 10 * interval '1 day', 'made up ' || n, 1 FROM generate_series(1, 1000) AS n;
SELECT count(*), sum(occurrences) FROM usage_monitor.alert WHERE model LIKE 'made up%';
SET usage_monitor.alert_past_periods = each;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT d, 'day by day', 1 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-01-03 10:00Z', '1 day') AS d, generate_series(1, 2);
SET usage_monitor.alert_past_periods = none;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) SELECT d, 'never mind', 1 FROM generate_series('2025-01-01 10:00Z'::timestamptz, '2025-01-03 10:00Z', '1 day') AS d;
SELECT model, occurrences, message FROM usage_monitor.alert WHERE model IN ('day by day', 'never mind') ORDER BY alert_id;
