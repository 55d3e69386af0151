--
-- Anomalies: days and calls that cost what their history does not explain
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

-- Median and deviation, in plain words
CREATE FUNCTION pg_temp.median(vals numeric[]) RETURNS numeric LANGUAGE sql AS $$
    SELECT avg(m.value) FROM (SELECT v.value FROM unnest(vals) AS v (value) ORDER BY v.value OFFSET (cardinality(vals) - 1) / 2 LIMIT 2 - cardinality(vals) % 2) m;
$$;
CREATE FUNCTION pg_temp.usual(history numeric[], OUT expected numeric, OUT deviation numeric) LANGUAGE plpgsql AS $$
BEGIN
    expected := trim_scale(pg_temp.median(history));
    deviation := 1.4826 * pg_temp.median(ARRAY(SELECT abs(v.value - expected) FROM unnest(history) AS v (value)));
    IF deviation = 0 THEN
        deviation := greatest(1.2533 * (SELECT avg(abs(v.value - expected)) FROM unnest(history) AS v (value)), 0.01 * expected);
    END IF;
    deviation := trim_scale(deviation);
END
$$;
SELECT v AS series, e.expected, e.deviation, (SELECT _usage_monitor._unusual(x, 3, 1, true ORDER BY n) FROM unnest(v::numeric[] || 1000000.0) WITH ORDINALITY AS t (x, n)) = ARRAY[e.expected, e.deviation] AS same
  FROM unnest(ARRAY['{5}', '{1,2}', '{3,1,2}', '{1,2,3,4,100}', '{1,2,3,4}', '{7,7,7,7}', '{7,7,7,9}', '{0,0,0}', '{0.1,0.2,0.3}']) AS v
CROSS JOIN LATERAL pg_temp.usual(v::numeric[]) AS e;
-- in windows that move, of many shapes: the same, and nothing left out
CREATE TABLE pg_temp.series AS
SELECT s, n, round(CASE s % 5 WHEN 0 THEN r WHEN 1 THEN floor(4 * r) WHEN 2 THEN CASE WHEN r < 0.6 THEN 1 ELSE 10 * r END WHEN 3 THEN exp(8 * r) ELSE 100 * n + r END::numeric, s % 7) AS x
  FROM (SELECT s, n, ('x' || substr(md5(s || ' ' || n), 1, 7))::bit(28)::integer / 268435456.0 AS r FROM generate_series(1, 20) s, generate_series(1, 50) n) AS m;
SELECT k, count(*) AS values, count(c.usual) > 20 AS enough, count(*) FILTER (WHERE c.usual IS DISTINCT FROM CASE WHEN cardinality(c.history) >= 3 AND abs(c.x - e.expected) > k * e.deviation THEN ARRAY[e.expected, e.deviation] END) AS different
  FROM unnest('{0.5,2,10}'::numeric[]) AS k
 CROSS JOIN LATERAL (
           SELECT x, _usage_monitor._unusual(x, k, 3, true) OVER (PARTITION BY s ORDER BY n ROWS BETWEEN 11 PRECEDING AND CURRENT ROW) AS usual,
                  array_agg(x) OVER (PARTITION BY s ORDER BY n ROWS BETWEEN 11 PRECEDING AND 1 PRECEDING) AS history FROM pg_temp.series
           UNION ALL
           SELECT x, _usage_monitor._unusual(x, k, 3, true) OVER (PARTITION BY s ORDER BY n ROWS BETWEEN 12 PRECEDING AND CURRENT ROW),
                  array_agg(x) OVER (PARTITION BY s ORDER BY n ROWS BETWEEN 12 PRECEDING AND 1 PRECEDING) FROM pg_temp.series) AS c
 CROSS JOIN LATERAL pg_temp.usual(c.history) AS e GROUP BY k ORDER BY k;

-- Days of so much, one after the other, in two calls each
CREATE FUNCTION pg_temp.days(name text, since date, costs numeric[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT since + n::integer - 1 + time '10:00', name, 'd', c * 0.5 FROM unnest(costs) WITH ORDINALITY AS t (c, n), generate_series(1, 2);
$$;
CREATE VIEW pg_temp.days AS
SELECT day, org, cost, expected, deviation, lower_bound, upper_bound, sigmas, severity, beyond FROM usage_monitor.anomalous_days('2026-01-01') WHERE org IS NOT NULL ORDER BY org COLLATE "C", day;
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
SELECT day, org, cost, expected, severity FROM usage_monitor.anomalous_days('2026-01-01') WHERE org IS NULL ORDER BY day;
-- since a day, by another k, with more history; from the beginning
SELECT since, k, min_history, count(*), min(day), string_agg(DISTINCT severity, ' ') FROM (VALUES (date '2026-01-09', 2, 7), ('2026-01-09', 3, 7), ('2026-01-09', 3, 8), ('2026-01-10', 2, 2), ('2026-06-02', 2, 7), ('-infinity', 2, 7)) AS t (since, k, min_history)
 CROSS JOIN LATERAL usage_monitor.anomalous_days(since, k, min_history) GROUP BY since, k, min_history ORDER BY since, k, min_history;
SELECT r.* FROM unnest(ARRAY['NULL', 'now()::date, 0', 'now()::date, ''NaN''', 'now()::date, 2, 1', 'now()::date, 2, 31', 'now()::date, 2, NULL']) WITH ORDINALITY AS t (arguments, n)
CROSS JOIN LATERAL (SELECT code, regexp_replace(message, 'since [0-9-]+', 'since X') AS message, hint FROM pg_temp.refusal(format('SELECT usage_monitor.anomalous_days(%s)', arguments))) AS r ORDER BY n;
-- a day that is not over yet may only cost too much
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT now() - n * interval '1 day', o, 'd', 100 + n % 3 FROM generate_series(1, 9) AS n, unnest('{low, high}'::text[]) AS o;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('low', 'd', 1), ('high', 'd', 1000);
SELECT org, usage_id, ts, model, cost, severity FROM usage_monitor.cost_anomaly WHERE kind = 'day' AND day = usage_monitor.ledger_day(now()) AND org IS NOT NULL;
-- the view looks back 90 days
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT now() - n * interval '1 day', o, 'd', CASE WHEN n IN (90, 91) THEN 500 ELSE 10 END FROM generate_series(80, 110) AS n, unnest('{old}'::text[]) AS o;
SELECT usage_monitor.ledger_day(now()) - day AS days_ago, cost, expected FROM usage_monitor.cost_anomaly WHERE kind = 'day' AND org = 'old';
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

-- of many calls of few and of many models: the same as by the definition
CREATE TABLE pg_temp.kept AS SELECT * FROM usage_monitor.usage;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, model, cost, cached)
SELECT '2026-03-01'::timestamptz + n * interval '9 minutes', 'o' || n % 2, 'm' || CASE WHEN n % 11 < 9 THEN 0 ELSE n % 7 END, CASE WHEN n % 23 > 0 THEN round(('x' || substr(md5(n::text), 1, 7))::bit(28)::integer / 2684354.56 + CASE WHEN n % 97 = 0 THEN 300 ELSE 0 END, 3) END, n % 31 = 0
  FROM generate_series(1, 6000) AS n;
CREATE FUNCTION pg_temp.calls(since timestamptz, k numeric, min_history integer) RETURNS TABLE (usage_id bigint, expected numeric, deviation numeric) LANGUAGE sql AS $$
    SELECT c.usage_id, h.expected, h.deviation
      FROM (SELECT u.usage_id, u.ts, u.cost, array_agg(u.cost) OVER (PARTITION BY u.org, u.model ORDER BY u.ts, u.usage_id ROWS BETWEEN 200 PRECEDING AND 1 PRECEDING) AS history
              FROM usage_monitor.usage u WHERE u.ts >= since - interval '30 days' AND u.cost IS NOT NULL AND NOT u.cached) c
     CROSS JOIN LATERAL pg_temp.usual(c.history) h
     WHERE c.ts >= since AND cardinality(c.history) >= min_history AND c.cost > h.expected + k * h.deviation;
$$;
SELECT since, k, min_history, count(expected_b) > 0 AS found, count(*) FILTER (WHERE (expected_a, deviation_a) IS DISTINCT FROM (expected_b, deviation_b)) AS different
  FROM (VALUES (timestamptz '2026-03-20 13:45', 2, 30), ('2026-04-01', 3, 30), ('2026-04-06 00:05', 1.2, 60), ('2026-03-01', 3, 2), ('2026-04-05', 2, 150)) AS t (since, k, min_history)
 CROSS JOIN LATERAL (SELECT a.expected, a.deviation, b.expected, b.deviation FROM usage_monitor.anomalous_calls(since, k, min_history) a FULL JOIN pg_temp.calls(since, k, min_history) b USING (usage_id)) AS x (expected_a, deviation_a, expected_b, deviation_b)
 GROUP BY since, k, min_history ORDER BY since, k;
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, org, model, cost, cached) SELECT ts, org, model, cost, cached FROM pg_temp.kept ORDER BY usage_id;

-- Alerts: once for a day, once for a call
SELECT pg_temp.days('q', '2026-01-20', '{98,100,102,98,100,102,100,98,100,102,100,98,300}');
SELECT alert_type, level, subject, period_start, used, amount, regexp_replace(message, 'call \d+', 'call N') AS message, details - 'usage_id' - 'usage_ids' AS details FROM usage_monitor.check_anomalies('2026-02-01 23:00');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-01 23:00');
-- of this day, of the one before, and of no other; of calls until then
SELECT message FROM usage_monitor.check_anomalies('2026-02-02 23:00');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-02-01 12:00', 'o', 'm', 6), ('2026-02-01 12:30', 'o', 'm', 7);
SELECT regexp_replace(message, 'call \d+', 'call N') AS message FROM usage_monitor.check_anomalies('2026-02-01 12:10');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-03 12:00');
SELECT level, count(*) FROM usage_monitor.active_alert WHERE alert_type = 'anomaly' GROUP BY level;
-- many calls of a day are one alert, of the dearest; once it is resolved, the next are another
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-02-01 13:00Z'::timestamptz + n * interval '1 minute', 'o', 'm', 5 + n FROM generate_series(1, 9) AS n;
SELECT org, model, occurrences, used, details->>'cost' AS cost, regexp_replace(message, 'call \d+', 'call N') AS message FROM usage_monitor.check_anomalies('2026-02-01 13:30Z');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-02-01 13:20Z', 'o', 'm', 6);
SELECT occurrences, used, details->>'cost' AS cost, regexp_replace(message, 'call \d+', 'call N') AS message FROM usage_monitor.check_anomalies('2026-02-01 13:30Z');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-01 13:40Z');
SELECT usage_monitor.resolve_alerts('anomaly') > 0;
SELECT count(*) FROM usage_monitor.check_anomalies('2026-02-01 13:40Z');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-02-01 13:35Z', 'o', 'm', 6);
SELECT occurrences, used FROM usage_monitor.check_anomalies('2026-02-01 13:40Z');

-- A reader sees them, and raises none
CREATE ROLE regress_reader;
SELECT usage_monitor.grant_access('regress_reader', 'reader');
SET ROLE regress_reader;
SELECT count(*) FROM usage_monitor.cost_anomaly;
SELECT count(*) > 0 AS anomalies FROM usage_monitor.anomalous_days('2026-01-01');
SELECT count(*) FROM usage_monitor.anomalous_calls('2026-02-01');
SELECT code FROM pg_temp.refusal('SELECT usage_monitor.check_anomalies()');
SELECT code FROM pg_temp.refusal('SELECT usage_monitor.check_alert_rules()');
RESET ROLE;
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
