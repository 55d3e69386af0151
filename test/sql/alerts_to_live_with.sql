--
-- Alerts: many are resolved at once, those of unpriced calls close by themselves, and some models need no price
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal

-- Seventy days of a model without a price, one of another, and one that need not have one
INSERT INTO usage_monitor.usage (ts, model, input_tokens, output_tokens)
SELECT d, 'our-llama', 1000, 100 FROM generate_series('2026-01-01 12:00+00'::timestamptz, '2026-03-11', '1 day') AS d;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2026-01-01', 'other', 1), ('2026-01-01', '<synthetic>', 0), ('2026-01-02', 'test-a', 1);
INSERT INTO usage_monitor.ignored_model VALUES ('test-*', 'our tests');
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2026-01-03', 'test-b', 1), ('2026-01-03', 'a test-b', 1);
SELECT model, count(*) > 0 AS alerts FROM usage_monitor.active_alert WHERE alert_type = 'unpriced' GROUP BY 1 ORDER BY 1;
SELECT model FROM usage_monitor.unpriced_usage WHERE model IN ('test-b', '<synthetic>') ORDER BY 1;
SELECT code FROM pg_temp.refusal($$INSERT INTO usage_monitor.ignored_model VALUES ('')$$);

-- A price comes: the alerts of what is priced by it close
SELECT usage_monitor.set_price('our-llama', 1, 1, valid_from => '2026-02-01') > 0;
SELECT sum(requests) > 0 AS priced FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => true);
SELECT sum(requests) AS priced FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
SELECT occurrences, message FROM usage_monitor.active_alert WHERE model = 'our-llama';
SELECT usage_monitor.set_price('our-llama', 1, 1, valid_from => '2026-01-01') > 0;
SELECT sum(requests) AS priced FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
SELECT count(*) FROM usage_monitor.active_alert WHERE model = 'our-llama';
SELECT DISTINCT resolved_by FROM usage_monitor.alert WHERE resolved_at IS NOT NULL;
-- a call that is voided, or priced by hand, needs no alert either
SELECT model FROM usage_monitor.void_call((SELECT usage_id FROM usage_monitor.usage WHERE model = 'a test-b'), 'a slip');
SELECT count(*) FROM usage_monitor.active_alert WHERE model = 'a test-b';
UPDATE usage_monitor.usage SET cost = 1 WHERE model = 'other';
SELECT count(*) FROM usage_monitor.check_alert_rules();
SELECT count(*) FROM usage_monitor.active_alert WHERE model = 'other';

-- In bulk
SELECT usage_monitor.set_quota('each', 'user', NULL, 1) > 0, usage_monitor.set_quota('of one model', 'all', NULL, 1, model => 'm') > 0;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 0.9), ('bob', 'm', 1.5);
SELECT quota, level, subject, model FROM usage_monitor.active_alert WHERE quota_id IS NOT NULL ORDER BY 1, 2, 3;
SELECT usage_monitor.resolve_alerts('unpriced') > 0 AS some, usage_monitor.resolve_alerts('unpriced') AS none;
SELECT usage_monitor.resolve_alerts(subject => 'bob', level => 'warning');
SELECT usage_monitor.resolve_alerts(quota => 'of one model', before => now() - interval '1 day'), usage_monitor.resolve_alerts(quota => 'of one model');
SELECT quota, level, subject, model FROM usage_monitor.active_alert ORDER BY 1, 2, 3;
SELECT r.* FROM pg_temp.refusal('SELECT usage_monitor.resolve_alerts()') AS r;
CREATE ROLE regress_alert_boss;
CREATE ROLE regress_alert_reader;
SELECT usage_monitor.grant_access('regress_alert_boss', 'manager'), usage_monitor.grant_access('regress_alert_reader', 'reader');
SET ROLE regress_alert_reader;
SELECT code FROM pg_temp.refusal('SELECT usage_monitor.resolve_alerts(before => now())');
SET ROLE regress_alert_boss;
SELECT code, message FROM pg_temp.refusal('SELECT usage_monitor.resolve_alerts(before => now(), by => ''somebody'')');
SELECT usage_monitor.resolve_alerts(before => now());
RESET ROLE;
SELECT count(*) AS open, (SELECT count(*) FROM usage_monitor.alert WHERE resolved_by = 'regress_alert_boss') AS by_boss FROM usage_monitor.active_alert;
SELECT count(*) AS audited FROM usage_monitor.audit_log WHERE what = 'alert' AND new->>'resolved_by' = 'regress_alert_boss';

-- What rules say now, for who may read calls
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, window_length, dimensions) VALUES ('dear users', 'cost', 1, '1 hour', '{user_id}');
SET ROLE regress_alert_reader;
SELECT name, dimensions, requests, value, threshold, is_reached FROM usage_monitor.alert_rule_status ORDER BY value;
RESET ROLE;
SELECT subject, used FROM usage_monitor.check_alert_rules();
DROP OWNED BY regress_alert_boss, regress_alert_reader;
DROP ROLE regress_alert_boss, regress_alert_reader;

-- A day that has two midnights begins at the first, and its calls keep the alert open
DROP EXTENSION usage_monitor CASCADE;
CREATE EXTENSION usage_monitor CASCADE;
SELECT time_zone FROM usage_monitor.configure(time_zone => 'America/Havana');
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2025-11-02 04:30+00', 'our-llama', 1);
SELECT count(*) FROM usage_monitor.check_alert_rules();
SELECT details ->> 'day' AS day, period_start FROM usage_monitor.active_alert;
