--
-- metrics(): what monitoring watches
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- not meanwhile
SET usage_monitor.auto_refresh_rows = 0;
SET usage_monitor.maintenance_interval = 0;
CREATE ROLE regress_metrics;
CREATE ROLE regress_tenant;
CREATE VIEW pg_temp.named AS
SELECT metric, concat_ws(' / ', nullif(org, ''), nullif(provider, ''), nullif(model, ''), nullif(quota, ''), nullif(level, ''), nullif(state, ''), nullif(step, '')) AS names, value
  FROM usage_monitor.metrics();

-- An empty ledger costs nothing; it is not silent
SELECT * FROM pg_temp.named WHERE metric !~ 'timestamp|worker' ORDER BY metric COLLATE "C", names COLLATE "C";

-- One transaction, in which no day turns
SELECT usage_monitor.set_price('dear', 10, 20, provider => 'vendor') > 0, usage_monitor.set_price('cheap', 0.1, 0.2) > 0;
SELECT usage_monitor.set_quota('company', 'all', NULL, 100, period => 'lifetime') > 0,
       usage_monitor.set_quota('each user', 'user', NULL, 10, period => 'lifetime', metric => 'requests') > 0,
       usage_monitor.set_quota('unused', 'org', 'nobody', 1) > 0;
BEGIN;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens, success)
SELECT 'acme', 'alice', 'dear', 100000, 1000, n > 1 FROM generate_series(1, 9) AS n;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens) VALUES
    ('acme', 'bob', 'cheap', 1, 1),
    ('initech', 'carol', 'cheap', 1000, 0),
    ('initech', 'carol', 'unheard of', 7, 0),
    ('"} evil{', NULL, 'cheap', 3, 0);
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('acme', 'bob', 'dear', 0.0000000000000000001);
-- in months that are over, which count nowhere here but in quotas
INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens) VALUES (now() - interval '40 days', 'acme', 'alice', 'dear', 1000000);
SELECT * FROM pg_temp.named WHERE metric ~ 'today|month|quota|alerts' ORDER BY metric COLLATE "C", names COLLATE "C";

-- Every one of them adds up to what the views say
CREATE VIEW pg_temp.sums AS
SELECT m.metric, m.value = v.value AS same
  FROM (SELECT metric, sum(value) AS value FROM usage_monitor.metrics() GROUP BY metric) AS m
  JOIN (SELECT u.* FROM usage_monitor.daily_total AS t
         CROSS JOIN LATERAL (VALUES ('cost_today', cost), ('requests_today', requests), ('errors_today', errors), ('unpriced_requests_today', unpriced_requests),
                                    ('input_tokens_today', input_tokens), ('output_tokens_today', output_tokens)) AS u (metric, value)
         WHERE day = usage_monitor.ledger_day(now())
        UNION ALL
        SELECT u.* FROM usage_monitor.monthly_total
         CROSS JOIN LATERAL (VALUES ('cost_this_month', cost), ('requests_this_month', requests)) AS u (metric, value)
         WHERE month = date_trunc('month', usage_monitor.ledger_day(now()))) AS v USING (metric);
SELECT * FROM pg_temp.sums ORDER BY metric COLLATE "C";

-- However few are named: the dearest are, and the others have no name
SELECT metric, org, model, value FROM usage_monitor.metrics(1) WHERE metric ~ 'cost|requests' ORDER BY metric COLLATE "C", org COLLATE "C";
SELECT metric, org, model, quota, value FROM usage_monitor.metrics(0) WHERE metric ~ 'cost|quota';
SELECT metric, quota, value FROM usage_monitor.metrics(2) WHERE metric = 'quota_used_ratio' ORDER BY value DESC;

-- No two are the same series, and none has the name of a user
SELECT count(*) FROM (SELECT FROM usage_monitor.metrics() AS m GROUP BY m.metric, m.org, m.provider, m.model, m.quota, m.level, m.state, m.step HAVING count(*) > 1) AS d;
SELECT count(*) FROM usage_monitor.metrics() AS m WHERE m::text ~ 'alice|bob|carol';
COMMIT;

-- An alert that is acknowledged, one of a threshold, and one that is resolved
DELETE FROM usage_monitor.alert WHERE alert_type = 'unpriced';
SELECT usage_monitor.set_quota('company', 'all', NULL, 100, period => 'lifetime', thresholds => '{0.05, 0.5}') > 0;
INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('acme', 'dear', 1);
SELECT level, state, value FROM usage_monitor.metrics() WHERE metric = 'alerts' AND value > 0 ORDER BY level COLLATE "C", state;
SELECT count(usage_monitor.acknowledge_alert(alert_id)) FROM usage_monitor.active_alert WHERE level = 'exceeded';
SELECT level, state, value FROM usage_monitor.metrics() WHERE metric = 'alerts' AND value > 0 ORDER BY level COLLATE "C", state;
SELECT count(usage_monitor.resolve_alert(alert_id)) > 0 FROM usage_monitor.active_alert;
SELECT sum(value) FROM usage_monitor.metrics() WHERE metric = 'alerts';

-- The tail, and maintenance
SELECT value FROM usage_monitor.metrics() WHERE metric = 'tail_calls';
CALL usage_monitor.maintain();
SELECT value FROM usage_monitor.metrics() WHERE metric = 'tail_calls';
SELECT metric, now() - to_timestamp(value) < interval '10 minutes' FROM usage_monitor.metrics() WHERE metric ~ 'timestamp' ORDER BY 1;
SELECT count(*), sum(value) FROM usage_monitor.metrics() WHERE metric = 'maintenance_failing';
UPDATE _usage_monitor._maintenance SET error = 'no room', failing_since = now() WHERE step = 'refresh';
SELECT step, value FROM usage_monitor.metrics() WHERE metric = 'maintenance_failing' AND value > 0;
SELECT metric, value FROM usage_monitor.metrics() WHERE metric ~ 'worker' ORDER BY 1;

-- It has these rights, and no others
SELECT usage_monitor.grant_access('regress_metrics', 'metrics');
SELECT * FROM pg_temp.refusal($$SELECT usage_monitor.grant_access('regress_metrics', 'metrics', org => 'acme')$$);
SET ROLE regress_metrics;
SELECT count(*) > 30, count(DISTINCT metric) FROM usage_monitor.metrics();
SELECT s, r.* FROM unnest(ARRAY[
    'SELECT FROM usage_monitor.usage', 'SELECT FROM usage_monitor.daily_total', 'SELECT FROM usage_monitor.user_usage', 'SELECT FROM usage_monitor.alert',
    'SELECT FROM usage_monitor.maintenance_status', 'SELECT usage_monitor.report(''daily'')', 'SELECT usage_monitor.refresh()', 'SELECT usage_monitor.ledger_day(now())',
    'INSERT INTO usage_monitor.usage (model) VALUES (''m'')',
    'SELECT usage_monitor.metrics(-1)', 'SELECT usage_monitor.metrics(10001)', 'SELECT usage_monitor.metrics(NULL)']) AS s CROSS JOIN LATERAL pg_temp.refusal(s) AS r;
-- who is confined sees nothing of others here either
RESET ROLE;
SELECT usage_monitor.grant_access('regress_tenant', 'reader', org => 'acme');
SET ROLE regress_tenant;
SELECT * FROM pg_temp.refusal('SELECT usage_monitor.metrics()');
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_tenant');
SELECT usage_monitor.revoke_access('regress_metrics');
DROP ROLE regress_metrics, regress_tenant;
DROP EXTENSION usage_monitor CASCADE;
