--
-- Who changed what is on record, and who may not rewrite it
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- what came since one looked last
CREATE TEMP TABLE seen AS SELECT 0::bigint AS audit_id;
CREATE FUNCTION pg_temp.news() RETURNS TABLE (what text, change text, old jsonb, new jsonb, details jsonb) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT l.what, l.change, jsonb_strip_nulls(l.old) - 'created_at' - 'closed_at', jsonb_strip_nulls(l.new) - 'created_at' - 'closed_at', l.details
                   FROM usage_monitor.audit_log AS l WHERE l.audit_id > (SELECT s.audit_id FROM seen AS s) ORDER BY l.audit_id;
    UPDATE seen SET audit_id = (SELECT max(l.audit_id) FROM usage_monitor.audit_log AS l);
END
$$;

-- What comes with the extension is no change
SELECT count(*) FROM usage_monitor.audit_log;

CREATE ROLE regress_audit_boss LOGIN;
CREATE ROLE regress_audit_reader;
SELECT usage_monitor.grant_access('regress_audit_boss', 'manager'), usage_monitor.grant_access('regress_audit_reader', 'reader');

-- Each kind, by function and by statement
SELECT FROM usage_monitor.configure(unpriced => 'refuse');
SELECT FROM usage_monitor.configure(unpriced => 'record');
SELECT * FROM pg_temp.news();
SELECT usage_monitor.set_price('m', 1, 2, valid_from => '2026-01-01') > 0;
UPDATE usage_monitor.price_rate SET amount = 3 WHERE price_id > 0 AND meter = 'output';
DELETE FROM usage_monitor.price WHERE price_id > 0;
SELECT what, change, old - 'price_id' AS old, new - 'price_id' AS new FROM pg_temp.news() WHERE change <> 'insert' OR what = 'price';
SELECT count(*) > 0 AS imported FROM usage_monitor.import_prices('[{"provider": "p", "model": "n", "meter": "input", "amount": 1}]', 'usage_monitor');
SELECT what, change, new->>'model' AS model, new->>'origin' AS origin FROM pg_temp.news();
INSERT INTO usage_monitor.discount (org, percent) VALUES ('acme', 10);
INSERT INTO usage_monitor.model_alias (pattern, provider, model) VALUES ('mine', 'openai', 'gpt-4o');
INSERT INTO usage_monitor.provider_alias (alias, provider) VALUES ('ours', 'openai');
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('EUR', 'USD', 1.1);
UPDATE usage_monitor.exchange_rate SET rate = 1.2;
SELECT * FROM pg_temp.news();
SELECT usage_monitor.set_quota('q', 'user', NULL, 10) > 0;
SELECT usage_monitor.set_quota('q', 'user', NULL, 20) > 0;
-- nothing is changed by this one
UPDATE usage_monitor.quota SET amount = amount;
SELECT usage_monitor.raise_quota('q', 5, 'infinity', 'launch') > 0;
SELECT usage_monitor.set_budget('b', 'org', 'acme', 100) IS NOT NULL;
DELETE FROM usage_monitor.quota WHERE name = 'q';
SELECT what, change, old - 'quota_id' - 'valid' - 'raise_id' - 'made_by' AS old, new - 'quota_id' - 'valid' - 'raise_id' - 'made_by' AS new FROM pg_temp.news();
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, window_length) VALUES ('r', 'cost', 5, '1 hour');
UPDATE usage_monitor.alert_rule SET threshold = 6;
SELECT what, change, old->>'threshold' AS old, new->>'threshold' AS new, new->>'name' AS name FROM pg_temp.news();
SELECT until FROM usage_monitor.close_period('2026-01-31');
SELECT until FROM usage_monitor.reopen_period('2026-01-15');
SELECT what, change, old, new - 'closed_by' AS new FROM pg_temp.news();

-- An alert is raised by the extension, and handled by people
SELECT usage_monitor.set_quota('low', 'user', NULL, 1) > 0;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('alice', 'm', 0.9);
SELECT count(*) FROM pg_temp.news() WHERE what = 'alert';
SET SESSION AUTHORIZATION regress_audit_boss;
SELECT acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT max(alert_id) FROM usage_monitor.alert));
SELECT usage_monitor.set_quota('mine', 'org', 'acme', 5) > 0;
-- nobody writes into the log, or plays its trigger
SELECT code, message FROM pg_temp.refusal($$DELETE FROM usage_monitor.audit_log$$);
SELECT code, message FROM pg_temp.refusal($$UPDATE usage_monitor.audit_log SET who = 'somebody'$$);
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.audit_log (what) VALUES ('nothing')$$);
CREATE TEMP TABLE quota (revision integer);
SELECT code, message FROM pg_temp.refusal($$CREATE TRIGGER t AFTER INSERT ON pg_temp.quota FOR EACH ROW EXECUTE FUNCTION _usage_monitor._audit()$$);
RESET SESSION AUTHORIZATION;
SELECT who, as_role, what, change, jsonb_strip_nulls(new) - 'acknowledged_at' - 'alert_id' - 'quota_id' - 'created_at' AS new FROM usage_monitor.audit_log
WHERE audit_id > (SELECT audit_id FROM seen) AND what IN ('alert', 'quota') ORDER BY audit_id;
SELECT count(*) > 0 AS read FROM pg_temp.news();
SET ROLE regress_audit_boss;
SELECT usage_monitor.set_quota('mine', 'org', 'acme', 6) > 0;
RESET ROLE;
SELECT who = session_user AS own, as_role, old->>'amount' AS old, new->>'amount' AS new FROM usage_monitor.audit_log ORDER BY audit_id DESC LIMIT 1;
CREATE TEMP TABLE other (a integer);
CREATE TRIGGER t AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION _usage_monitor._audit();
SELECT code, message FROM pg_temp.refusal($$INSERT INTO other VALUES (1)$$);
SET ROLE regress_audit_reader;
SELECT count(*) > 10 AS readable FROM usage_monitor.audit_log;
RESET ROLE;
SELECT count(*) > 0 AS read FROM pg_temp.news();

-- A call is voided: by a manager, with a reason, and everything follows
INSERT INTO usage_monitor.usage (user_id, model, cost, input_tokens, ts, request_id)
VALUES ('bob', 'm', 5, 10, '2026-02-10', 'bad'), ('bob', 'm', 0.5, 10, '2026-02-10', 'good');
SELECT usage_monitor.refresh();
SELECT user_id, sum(cost) FROM usage_monitor.user_usage GROUP BY 1 ORDER BY 1;
SELECT usage_id AS bad FROM usage_monitor.usage WHERE request_id = 'bad' \gset
SET ROLE regress_audit_reader;
SELECT code FROM pg_temp.refusal(format('SELECT usage_monitor.void_call(%s, ''x'')', :bad));
SET ROLE regress_audit_boss;
SELECT r.* FROM pg_temp.refusal(format('SELECT usage_monitor.void_call(%s, '' '')', :bad)) AS r WHERE message !~ '^call [0-9]+ cannot be voided without a reason$';
SELECT r.* FROM pg_temp.refusal('SELECT usage_monitor.void_call(NULL, ''x'')') AS r;
SELECT user_id, cost, request_id FROM usage_monitor.void_call(:bad, 'sent in cents');
SELECT code FROM pg_temp.refusal(format('SELECT usage_monitor.void_call(%s, ''again'')', :bad));
RESET ROLE;
SELECT user_id, sum(cost) FROM usage_monitor.user_usage GROUP BY 1 ORDER BY 1;
SELECT quota_usage.subject, used FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id) WHERE name = 'low' ORDER BY 1, 2;
SELECT what, old->>'cost' AS cost, old->>'user_id' AS user_id, details->>'reason' AS reason FROM pg_temp.news();
SELECT count(*) AS differences FROM usage_monitor.verify();
SELECT until FROM usage_monitor.close_period('2026-02-28');
SELECT code, regexp_replace(message, '[0-9]+', 'N'), hint FROM pg_temp.refusal(format('SELECT usage_monitor.void_call(%s, ''late'')', (SELECT usage_id FROM usage_monitor.usage WHERE request_id = 'good')));
SELECT count(*) FROM usage_monitor.usage WHERE request_id = 'good';

DROP OWNED BY regress_audit_boss, regress_audit_reader;
DROP ROLE regress_audit_boss, regress_audit_reader;
