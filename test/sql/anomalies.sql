--
-- Anomalies: days and calls that cost what their history does not explain
--
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS usage_monitor CASCADE;
CREATE EXTENSION usage_monitor CASCADE;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
\pset null '-'

CREATE FUNCTION pg_temp.refusal(statement text, OUT code text, OUT message text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END
$$;

-- Median and deviation
SELECT v AS series, e.expected, e.deviation FROM unnest(ARRAY['{5}', '{1,2}', '{3,1,2}', '{1,2,3,4,100}', '{1,2,3,4}', '{7,7,7,7}', '{7,7,7,9}', '{0,0,0}', '{0.1,0.2,0.3}']) AS v
CROSS JOIN LATERAL usage_monitor._usual(v::numeric[]) AS e;

-- Days of so much, one after the other, in two calls each
CREATE FUNCTION pg_temp.days(name text, since date, costs numeric[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT since + n::integer - 1 + time '10:00', name, 'd', c * 0.5 FROM unnest(costs) WITH ORDINALITY AS t (c, n), generate_series(1, 2);
$$;
CREATE VIEW pg_temp.days AS
SELECT day, org, cost, expected, deviation, lower_bound, upper_bound, sigmas, severity FROM usage_monitor.cost_anomaly WHERE kind = 'day' AND org IS NOT NULL ORDER BY org COLLATE "C", day;
-- median 100, median absolute deviation 2, so 2.9652: beyond 105.9304 and 108.8956
SELECT pg_temp.days('a at 2', '2026-01-01', '{96,98,100,102,104,98,102,100, 105.9304}'),
       pg_temp.days('b beyond 2', '2026-01-01', '{96,98,100,102,104,98,102,100, 105.9305}'),
       pg_temp.days('c at 3', '2026-01-01', '{96,98,100,102,104,98,102,100, 108.8956}'),
       pg_temp.days('d beyond 3', '2026-01-01', '{96,98,100,102,104,98,102,100, 108.8957}'),
       pg_temp.days('e below', '2026-01-01', '{96,98,100,102,104,98,102,100, 50}'),
       -- seven days are enough, six are not
       pg_temp.days('f seven', '2026-01-01', '{100,98,102,100,98,102,100, 500}'),
       pg_temp.days('g six', '2026-01-01', '{100,98,102,98,102,100, 500}'),
       -- an outlier does not hide the next one, which mean and standard deviation would
       pg_temp.days('h outliers', '2026-01-01', '{98,100,102,98,100,102,100,1000,1000,1000,100}'),
       -- all the same
       pg_temp.days('i constant', '2026-01-01', '{5,5,5,5,5,5,5,5.1,5.11}'),
       pg_temp.days('j free', '2026-01-01', '{0,0,0,0,0,0,0,0.01}'),
       -- the history is that of 30 days: the last of these has none left, nor has the one before enough
       pg_temp.days('k old', '2026-01-01', '{98,100,102,98,100,102,100}'),
       pg_temp.days('k old', '2026-01-31', '{500}'), pg_temp.days('k old', '2026-02-02', '{500}'), pg_temp.days('k old', '2026-06-01', '{500}');
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens) VALUES ('2026-01-09', 'f seven', 'no price', 1);
SELECT * FROM pg_temp.days;
-- and all together
SELECT kind, day, org, usage_id, ts, model, cost, expected, severity FROM usage_monitor.cost_anomaly WHERE org IS NULL ORDER BY day;
-- a day that is not over yet may only cost too much
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT now() - n * interval '1 day', o, 'd', 100 + n % 3 FROM generate_series(1, 9) AS n, unnest('{low, high}'::text[]) AS o;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('low', 'd', 1), ('high', 'd', 1000);
SELECT org, cost, severity FROM usage_monitor.cost_anomaly WHERE kind = 'day' AND day = usage_monitor.ledger_day(now()) AND org IS NOT NULL;
DELETE FROM usage_monitor.usage;

-- Calls against those of the same organisation and model before
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-02-01'::timestamptz + n * interval '1 minute', 'o', 'm', 0.010 + 0.001 * (n % 5) FROM generate_series(1, 40) AS n;
-- median 0.012, deviation 0.0014826: 0.0164478 is three above
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES
    ('2026-02-01 10:00', 'o', 'm', 0.0164478), ('2026-02-01 10:01', 'o', 'm', 5), ('2026-02-01 10:02', 'o', 'm', 0.0165), ('2026-02-01 10:03', 'o', 'm', 0.015),
    ('2026-02-01 10:04', 'o', 'm', 0), ('2026-02-01 10:05', 'o', 'n', 5), ('2026-02-01 10:06', 'p', 'm', 5);
INSERT INTO usage_monitor.usage (ts, org, model, cached) VALUES ('2026-02-01 10:07', 'o', 'm', true);
SELECT kind, day, ts, org, model, cost, expected, deviation, lower_bound, upper_bound, sigmas, severity FROM usage_monitor.anomalous_calls('2026-02-01') ORDER BY ts;
SELECT ts, cost, sigmas, severity FROM usage_monitor.anomalous_calls('2026-02-01', 2) ORDER BY ts;
SELECT ts, cost FROM usage_monitor.anomalous_calls('2026-02-01 10:02') ORDER BY ts;
SELECT ts, cost FROM usage_monitor.anomalous_calls('2026-02-01', 3, 41) ORDER BY ts;
SELECT count(*) FROM usage_monitor.anomalous_calls('2026-02-01', 3, 44);
SELECT count(*) FROM usage_monitor.anomalous_calls('2026-03-10');
SELECT r.* FROM unnest(ARRAY['NULL', 'now(), 0', 'now(), -1', 'now(), ''NaN''', 'now(), NULL', 'now(), 3, 1', 'now(), 3, NULL']) WITH ORDINALITY AS t (arguments, n)
CROSS JOIN LATERAL (SELECT code, regexp_replace(message, 'since \S+ \S+,', 'since X,') AS message, hint FROM pg_temp.refusal(format('SELECT usage_monitor.anomalous_calls(%s)', arguments))) AS r ORDER BY n;

-- Alerts: once for a day, once for a call
SELECT pg_temp.days('q', '2026-01-20', '{98,100,102,98,100,102,100,98,100,102,100,98,300}');
SELECT alert_type, level, subject, period_start, used, amount, regexp_replace(message, 'call \d+', 'call N') AS message, details - 'usage_id' AS details FROM usage_monitor.check_anomalies('2026-02-01 23:00');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-01 23:00');
-- of this day, of the one before, and of no other; of calls until then
SELECT message FROM usage_monitor.check_anomalies('2026-02-02 23:00');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-02-01 12:00', 'o', 'm', 6), ('2026-02-01 12:30', 'o', 'm', 7);
SELECT regexp_replace(message, 'call \d+', 'call N') AS message FROM usage_monitor.check_anomalies('2026-02-01 12:10');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-03 12:00');
SELECT level, count(*) FROM usage_monitor.active_alert WHERE alert_type = 'anomaly' GROUP BY level;

-- A reader sees them, and raises none
CREATE ROLE regress_reader;
SELECT usage_monitor.grant_access('regress_reader', 'reader');
SET ROLE regress_reader;
SELECT count(*) > 0 AS anomalies FROM usage_monitor.cost_anomaly;
SELECT count(*) FROM usage_monitor.anomalous_calls('2026-02-01');
SELECT code FROM pg_temp.refusal('SELECT usage_monitor.check_anomalies()');
SELECT code FROM pg_temp.refusal('SELECT usage_monitor.check_alert_rules()');
RESET ROLE;
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
