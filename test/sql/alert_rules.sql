--
-- Alert rules: thresholds over a sliding window
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

-- Two to begin with, once
SELECT alert_rule_id, name, metric, window_length, threshold, min_requests, dimensions, severity, enabled FROM usage_monitor.default_alert_rules();
SELECT count(*) FROM usage_monitor.default_alert_rules();
DELETE FROM usage_monitor.alert_rule WHERE name = 'error rate';
SELECT name FROM usage_monitor.default_alert_rules();
DELETE FROM usage_monitor.alert_rule;

-- The window is (at - window_length, at]
INSERT INTO usage_monitor.usage (ts, org, user_id, provider, model, source, cost, success, duration_ms, input_tokens)
SELECT '2026-03-01 12:00'::timestamptz + n * interval '1 minute', 'o' || n % 2, CASE WHEN n % 3 > 0 THEN 'u' || n % 3 END, 'p', 'm' || n % 2, 's', n, n % 5 > 0, 100 * n, n
FROM generate_series(1, 20) AS n;
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens) VALUES ('2026-03-01 12:20', 'o2', 'no price', 7);
CREATE FUNCTION pg_temp.check_one(at timestamptz, metric text, threshold numeric, window_length interval DEFAULT '20 minutes', dimensions text[] DEFAULT NULL,
                                  min_requests bigint DEFAULT 1, org text DEFAULT NULL, provider text DEFAULT NULL, model text DEFAULT NULL)
RETURNS TABLE (subject text, value numeric, requests text) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM usage_monitor.alert_rule;
    INSERT INTO usage_monitor.alert_rule (name, metric, threshold, window_length, dimensions, min_requests, org, provider, model)
    VALUES ('r', metric, threshold, window_length, dimensions, min_requests, org, provider, model);
    RETURN QUERY SELECT a.subject, a.used, a.details->>'requests' FROM usage_monitor.check_alert_rules(at) AS a;
END
$$;
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'cost', 210);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'cost', 210.0000001);
SELECT * FROM pg_temp.check_one('2026-03-01 12:21', 'cost', 209);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20:59.999999', 'cost', 209);
SELECT * FROM pg_temp.check_one('2026-03-01 12:19:59.999999', 'cost', 190);
SELECT * FROM pg_temp.check_one('2026-03-01 13:00', 'cost', 0.01);
-- every metric
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'tokens', 217);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'requests', 21);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'error_rate', 0.19);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'error_rate', 0.2, '10 minutes', min_requests => 11);
SELECT * FROM pg_temp.check_one('2026-03-01 12:15', 'error_rate', 0.2, '10 minutes');
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'avg_duration_ms', 1050);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'p95_duration_ms', 1905);
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'p95_duration_ms', 1905.1);
-- filters, and enough calls
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'requests', 1, org => 'o1', model => 'm1', provider => 'p');
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'requests', 1, org => 'o1', model => 'm0');
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'cost', 1, min_requests => 22);
-- each combination of dimensions, those without a value together; unpriced calls have no cost
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'requests', 1, dimensions => '{user_id, org}');
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'cost', 105, dimensions => '{model}');
SELECT * FROM pg_temp.check_one('2026-03-01 12:20', 'requests', 1, dimensions => '{department, project, session_id, provider, operation, source}');

-- The alert
DELETE FROM usage_monitor.alert;
DELETE FROM usage_monitor.alert_rule;
INSERT INTO usage_monitor.alert_rule (name, metric, window_length, threshold, dimensions, severity)
VALUES ('dear', 'cost', '20 minutes', 50, '{org}', 'critical'), ('busy', 'requests', '1 hour', 20, '{}', 'info'), ('slow', 'avg_duration_ms', '1 hour', 1e6, NULL, 'warning');
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, enabled) VALUES ('off', 'cost', 1, false);
SELECT alert_type, level, quota_id, subject, period_start, used, amount, message, details - 'alert_rule_id' AS details, raised_at = now() AS now FROM usage_monitor.check_alert_rules('2026-03-01 12:20');
SELECT level, state, message FROM usage_monitor.active_alert ORDER BY alert_id;
-- is not raised again while it is open and its window overlaps
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:20');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:35');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:15');
INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2026-03-01 12:30', 'o1', 'm', 60), ('2026-03-01 12:30', 'o0', 'm', 60), ('2026-03-01 12:30', 'o3', 'm', 60);
-- another combination is another alert; one that is resolved may come again
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:35');
SELECT subject, resolved_by FROM usage_monitor.resolve_alert((SELECT min(alert_id) FROM usage_monitor.alert WHERE subject = 'org "o1"'), 'carol');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:35');
SELECT acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.alert WHERE subject = 'org "o0"'), 'carol');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:39:59.999999');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 12:40');
SELECT count(*) FROM usage_monitor.active_alert;
SELECT subject, occurrences, used, period_start, last_seen = now() AS just_now, state FROM usage_monitor.active_alert ORDER BY alert_id;
-- nothing is left of a check that is undone
BEGIN;
SELECT count(*) FROM usage_monitor.check_alert_rules('2026-03-01 12:21') AS a;
UPDATE usage_monitor.alert SET resolved_at = now();
SELECT count(*) FROM usage_monitor.check_alert_rules('2026-03-01 12:21') AS a;
ROLLBACK;
SELECT count(*) FROM usage_monitor.active_alert;

-- one row while it goes on for hours, notified of each time; a model is one by any name
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-03-02 00:30Z'::timestamptz + n * interval '1 hour', 'o9', (ARRAY['gpt-4o', 'openai/gpt-4o', 'gpt-4o-2024-08-06'])[1 + n % 3], n FROM generate_series(1, 5) AS n;
INSERT INTO usage_monitor.alert_rule (name, metric, window_length, threshold, dimensions, org) VALUES ('hourly', 'cost', '1 hour', 1, '{model}', 'o9');
SELECT n, c.subject, c.org, c.model, c.occurrences, c.used, c.message FROM generate_series(1, 7) AS n, usage_monitor.check_alert_rules('2026-03-02 01:00Z'::timestamptz + n * interval '1 hour') AS c WHERE c.org = 'o9';
SELECT subject, org, model, occurrences, used FROM usage_monitor.active_alert WHERE org = 'o9';
SELECT resolved_by FROM usage_monitor.resolve_alert((SELECT max(alert_id) FROM usage_monitor.alert), 'dave');
-- who leaves the name empty signs as himself
SELECT acknowledged_by = current_user AS himself FROM usage_monitor.acknowledge_alert((SELECT max(alert_id) FROM usage_monitor.alert), ' ');
SELECT occurrences FROM usage_monitor.check_alert_rules('2026-03-02 06:00Z');
DELETE FROM usage_monitor.alert WHERE org = 'o9';
DELETE FROM usage_monitor.alert_rule WHERE name = 'hourly';

-- What a rule must be
CREATE FUNCTION pg_temp.make(name text, metric text DEFAULT 'cost', severity text DEFAULT 'info', dimensions text[] DEFAULT NULL, threshold numeric DEFAULT 1,
                             window_length interval DEFAULT '1 hour', min_requests bigint DEFAULT 1) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_monitor.alert_rule (name, metric, severity, dimensions, threshold, window_length, min_requests) VALUES ($1, $2, $3, $4, $5, $6, $7);
$$;
SELECT r.* FROM unnest(ARRAY[
    '''''', 'NULL',
    '''x'', metric => ''p99''', '''x'', metric => NULL', '''x'', severity => ''fatal''', '''x'', severity => NULL',
    '''x'', dimensions => ''{org, tag}''', '''x'', dimensions => ''{org, org}''', '''x'', dimensions => ''{NULL}''',
    '''x'', threshold => 0', '''x'', threshold => -1', '''x'', threshold => NULL', '''x'', threshold => ''NaN''', '''x'', threshold => ''Infinity''', '''x'', metric => ''error_rate'', threshold => 1.01',
    '''x'', window_length => ''0''', '''x'', window_length => ''-1 hour''', '''x'', window_length => ''100 years 1 second''', '''x'', window_length => NULL', '''x'', min_requests => 0', '''x'', min_requests => NULL',
    '''dear''']) WITH ORDINALITY AS t (arguments, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT pg_temp.make(%s)', arguments)) AS r ORDER BY n;
SELECT name FROM usage_monitor.alert_rule ORDER BY alert_rule_id;

-- A manager makes rules and has them looked at, but makes up no alerts
CREATE ROLE regress_manager;
SELECT usage_monitor.grant_access('regress_manager', 'manager');
SET ROLE regress_manager;
SELECT unpriced FROM usage_monitor.configure(unpriced => 'record');
SELECT name FROM usage_monitor.default_alert_rules();
UPDATE usage_monitor.alert_rule SET threshold = 100 WHERE name = 'dear';
SELECT message FROM usage_monitor.check_alert_rules('2026-03-01 14:00');
SELECT message FROM usage_monitor.check_alert_rules('2026-03-02 00:00');
SELECT count(*) FROM usage_monitor.check_anomalies('2026-03-01 14:00');
DELETE FROM usage_monitor.alert_rule WHERE name = 'busy';
SELECT code FROM pg_temp.refusal('INSERT INTO usage_monitor.alert (alert_type, level, message) VALUES (''threshold'', ''info'', ''made up'')');
RESET ROLE;
DROP OWNED BY regress_manager;
DROP ROLE regress_manager;
