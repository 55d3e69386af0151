--
-- Alerts that are to arrive: channels, what they are told of, and how a relay tells them
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

-- What is no channel, and what to type instead
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, hint);
END
$$;
SELECT pg_temp.refusal('INSERT INTO usage_monitor.alert_channel (name, kind, target) VALUES ' || v) FROM unnest(ARRAY[
    $$('', 'webhook', 'secret:x')$$,
    $$('a', 'pager', 'secret:x')$$,
    $$('a', NULL, 'secret:x')$$,
    $$('a', 'slack', 'https://hooks.slack.com/services/T0/B0/token')$$,
    $$('a', 'wecom', 'https://example.com/send?key=1')$$,
    $$('a', 'webhook', 'https://user:word@example.com/')$$,
    $$('a', 'webhook', 'https://example.com/?token=x')$$,
    $$('a', 'webhook', 'file:///etc/passwd')$$,
    $$('a', 'webhook', 'https://hooks.slack.com/services/T0/B0/abcdefghij0123456789wxyz')$$,
    $$('a', 'webhook', 'https://open.feishu.cn/open-apis/bot/v2/hook/0b1f3c5d-1234-4321-aaaa-bbbbccccdddd')$$,
    $$('a', 'webhook', 'https://discord.com/api/webhooks/123/AbC-dEf_012345678901234567890/slack')$$,
    $$('a', 'webhook', 'secret:../x')$$,
    $$('a', 'alertmanager', 'http://')$$,
    $$('a', 'webhook', E'http://a/\nb')$$,
    $$('a', 'webhook', NULL)$$,
    $$('a', 'email', 'ops')$$,
    $$('a', 'email', 'ops@example.com,')$$,
    $$('a', 'email', E'ops@example.com\nBcc: all@example.com')$$]) v;
SELECT pg_temp.refusal(format('INSERT INTO usage_monitor.alert_channel (name, kind, target, %s) VALUES (''a'', ''webhook'', ''secret:x'', %s)', c, v))
FROM (VALUES ('levels', $$'{warning, severe}'$$), ('levels', $$'{NULL}'$$), ('levels', $$'{50}'$$), ('alert_types', $$'{quota}'$$), ('alert_types', $$'{NULL}'$$), ('org', $$''$$),
             ('digest', $$'hour'$$)) t (c, v);
SELECT pg_temp.refusal($$INSERT INTO usage_monitor.alert_channel (name, kind, target, digest) VALUES ('a', 'alertmanager', 'http://am:9093/api/v2/alerts', 'day')$$);
SELECT count(*) FROM usage_monitor.alert_channel;
-- of every type that there is, and there is no other
INSERT INTO usage_monitor.alert_channel (name, kind, target, alert_types) VALUES ('a', 'webhook', 'secret:x', _usage_monitor._alert_types());
DELETE FROM usage_monitor.alert_channel;
SELECT pg_temp.refusal($$INSERT INTO usage_monitor.alert (alert_type, level, message) VALUES ('new', 'info', 'of a type that no channel could be told of')$$);

-- Each channel is told of what it wants, by the transaction that raises it
SELECT usage_monitor.set_price('m', 1, 2) > 0,
       usage_monitor.set_quota('users', 'user', NULL, 100, metric => 'requests', period => 'lifetime') > 0,
       usage_monitor.set_quota('acme', 'org', 'acme', 10, metric => 'requests', period => 'lifetime') > 0;
INSERT INTO usage_monitor.alert_channel (name, kind, target, levels, alert_types, org, digest, tells_resolved, enabled) VALUES
    ('all', 'webhook', 'http://127.0.0.1/hook', NULL, NULL, NULL, NULL, true, true),
    ('exceeded', 'email', 'ops@example.com, cfo@example.com', '{exceeded}', NULL, NULL, NULL, true, true),
    ('unpriced', 'slack', 'secret:slack', '{warning, 50%}', '{unpriced}', NULL, NULL, true, true),
    ('acme', 'feishu', 'secret:feishu', NULL, NULL, 'acme', NULL, false, true),
    ('off', 'dingtalk', 'secret:ding', NULL, NULL, NULL, NULL, true, false),
    ('daily', 'wecom', 'secret:wecom', NULL, NULL, NULL, 'day', true, true);
-- until then there is no digest, also when a day begins while this runs
UPDATE usage_monitor.alert_channel SET digest_since = now() + interval '1 day';
BEGIN;
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'rolled-back', 1 FROM generate_series(1, 100);
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'rolled-back', 1 FROM generate_series(1, 100);
ROLLBACK TO s;
INSERT INTO usage_monitor.usage (model, org, input_tokens) SELECT 'm', 'acme', 1 FROM generate_series(1, 10);
COMMIT;
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'alice', 1 FROM generate_series(1, 80);
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) VALUES ('unheard of', 'bob', 1);
CREATE VIEW pg_temp.told AS
SELECT d.channel, d.event, a.alert_type, a.subject, d.attempts, d.delivered_at IS NOT NULL AS delivered, d.last_error
FROM usage_monitor.alert_delivery d LEFT JOIN usage_monitor.alert a USING (alert_id) ORDER BY d.channel, d.delivery_id;
SELECT * FROM pg_temp.told;
SELECT count(*) FROM usage_monitor.alert_delivery WHERE alert_id NOT IN (SELECT alert_id FROM usage_monitor.alert);

CREATE FUNCTION pg_temp.tell(error text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    WITH claimed AS MATERIALIZED (SELECT * FROM usage_monitor.claim_delivery())
    SELECT concat_ws(' | ', c.channel, c.kind, c.target, c.event, cardinality(c.delivery_ids),
                     regexp_replace(coalesce(c.message #>> '{alert,message}', c.message ->> 'event', jsonb_array_length(c.message) || ' alerts'), '\d{4}-\d\d-\d\d', 'DAY'),
                     usage_monitor.note_delivery(c.channel, c.delivery_ids, error)::text)
      FROM claimed c
$$;

-- A relay may tell, and nothing else
CREATE ROLE regress_relay;
SELECT usage_monitor.grant_access('regress_relay', 'relay');
SELECT pg_temp.refusal($$SELECT usage_monitor.grant_access('regress_relay', 'relay', org => 'acme')$$);
SET ROLE regress_relay;
SELECT pg_temp.refusal(s) FROM unnest(ARRAY[
    'SELECT FROM usage_monitor.usage', 'SELECT FROM usage_monitor.alert', 'SELECT FROM usage_monitor.alert_channel', 'SELECT FROM usage_monitor.alert_delivery',
    'DELETE FROM usage_monitor.alert_delivery', 'SELECT usage_monitor.report(''daily'')', 'SELECT usage_monitor.resolve_alert(1)',
    'INSERT INTO usage_monitor.usage (model) VALUES (''m'')']) s;

-- In order: one that fails holds up those behind it, and no other channel
BEGIN;
SELECT pg_temp.tell();
SELECT pg_temp.tell('HTTP status 503');
SELECT pg_temp.tell();
SELECT pg_temp.tell();
SELECT pg_temp.tell();
COMMIT;
RESET ROLE;
SELECT * FROM pg_temp.told WHERE delivered OR attempts > 0;

-- After each failure it waits longer; then nothing is skipped
SELECT attempts, next_attempt_at BETWEEN created_at AND clock_timestamp() + interval '1 second' AS waits FROM usage_monitor.alert_delivery WHERE attempts > 0 AND delivered_at IS NULL;
DO $$
BEGIN
    FOR i IN 1..11 LOOP
        PERFORM usage_monitor.note_delivery(channel, ARRAY[delivery_id], 'HTTP status 503')
           FROM usage_monitor.alert_delivery WHERE attempts > 0 AND delivered_at IS NULL;
    END LOOP;
END
$$;
SELECT channel, attempts, next_attempt_at > clock_timestamp() + interval '4 minutes', next_attempt_at < clock_timestamp() + interval '6 minutes' FROM usage_monitor.alert_delivery WHERE attempts > 1;
SELECT pg_temp.tell();
SELECT pg_temp.tell() IS NULL AS nothing_due;
-- longer where the receiver asks for it, for no more than an hour; an attempt that is put off further is due: the clock was ahead
BEGIN;
CREATE FUNCTION pg_temp.waits(retry_after interval) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    d record;
BEGIN
    SELECT channel, delivery_id INTO d FROM usage_monitor.alert_delivery WHERE attempts > 1 AND delivered_at IS NULL;
    PERFORM usage_monitor.note_delivery(d.channel, ARRAY[d.delivery_id], 'HTTP status 429', retry_after => waits.retry_after);
    RETURN (SELECT date_trunc('minute', next_attempt_at - clock_timestamp() + interval '30 seconds')
              FROM usage_monitor.alert_delivery WHERE delivery_id = d.delivery_id);
END
$$;
SELECT w AS asked, pg_temp.waits(w) FROM unnest('{-1 hour, 1 minute, 20 minutes, 1 day}'::interval[]) w;
UPDATE usage_monitor.alert_delivery SET next_attempt_at = now() + interval '1 year' WHERE attempts > 1 AND delivered_at IS NULL;
SELECT pg_temp.tell('HTTP status 503');
ROLLBACK;
-- a number that is not of the channel, and one that was delivered, stay as they are
SELECT usage_monitor.note_delivery('no channel', ARRAY(SELECT delivery_id FROM usage_monitor.alert_delivery)),
       usage_monitor.note_delivery('all', ARRAY(SELECT delivery_id FROM usage_monitor.alert_delivery WHERE channel = 'all' AND delivered_at IS NOT NULL), 'late');
SELECT count(*) FROM usage_monitor.alert_delivery WHERE last_error = 'late' OR attempts > 20;
UPDATE usage_monitor.alert_delivery SET next_attempt_at = now();
SELECT pg_temp.tell() FROM generate_series(1, 12);
SELECT usage_monitor.note_delivery('exceeded', ARRAY(SELECT delivery_id FROM usage_monitor.alert_delivery WHERE channel = 'daily'), 'x');
SELECT count(*) FILTER (WHERE delivered_at IS NULL), count(*) FILTER (WHERE delivered_at IS NOT NULL) FROM usage_monitor.alert_delivery WHERE channel <> 'daily';

-- What was told is told when it is resolved, once, where that is wanted
SELECT usage_monitor.resolve_alerts(before => 'tomorrow') > 3;
SELECT (usage_monitor.resolve_alert(min(alert_id))).resolved_at IS NOT NULL FROM usage_monitor.alert;
SELECT channel, count(*) FROM usage_monitor.alert_delivery WHERE event = 'resolved' GROUP BY 1 ORDER BY 1;

-- a channel that is not enabled is told of no new alert, and later of what became of the others
UPDATE usage_monitor.alert_channel SET enabled = name = 'off';
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'dave', 1 FROM generate_series(1, 80);
UPDATE usage_monitor.alert_channel SET enabled = false;
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'dave', 1 FROM generate_series(1, 20);
SELECT usage_monitor.resolve_alerts(subject => 'dave');
SELECT pg_temp.tell() IS NULL AS nothing;
UPDATE usage_monitor.alert_channel SET enabled = true WHERE name = 'off';
SELECT pg_temp.tell() FROM generate_series(1, 3);
DELETE FROM usage_monitor.alert WHERE subject = 'dave';
UPDATE usage_monitor.alert_channel SET enabled = name <> 'off';
UPDATE usage_monitor.alert_channel SET digest_since = now() + interval '1 day';

-- What some have not taken is not sent to the others again
SELECT usage_monitor.note_delivery('exceeded', ARRAY(SELECT delivery_id FROM usage_monitor.alert_delivery WHERE channel = 'exceeded'), 'refused: cfo@example.com', true);
SELECT * FROM pg_temp.told WHERE channel = 'exceeded' AND last_error IS NOT NULL;

-- A digest is due when its day is over, and has its alerts and report; several days come one by one
DELETE FROM usage_monitor.alert_delivery WHERE channel <> 'daily';
BEGIN;
SELECT usage_monitor.claim_delivery() IS NULL AS none;
-- since a time from which nobody can count
SAVEPOINT odd;
UPDATE usage_monitor.alert_channel SET digest_since = '-infinity' WHERE name = 'daily';
SELECT digest_since = now() AS since_now FROM usage_monitor.alert_channel WHERE name = 'daily';
SELECT usage_monitor.claim_delivery() IS NULL AS none;
ROLLBACK TO odd;
UPDATE usage_monitor.alert_delivery SET created_at = created_at - interval '2 days';
INSERT INTO usage_monitor.usage (model, org, ts, input_tokens) VALUES ('m', 'acme', now() - interval '2 days', 3000000);
UPDATE usage_monitor.alert_channel SET digest_since = now() - interval '2 days' WHERE name = 'daily';
SAVEPOINT digest;
SELECT channel, kind, event, cardinality(delivery_ids), jsonb_array_length(message -> 'alerts'), message -> 'alerts' -> 0 ->> 'event',
       message #>> '{report,summary,cost}', message -> 'report' -> 'org', (message #>> '{report,period,first_day}')::date = (now() - interval '2 days')::date
  FROM usage_monitor.claim_delivery();
ROLLBACK TO digest;
SELECT pg_temp.tell();
SELECT pg_temp.tell('lost');
SELECT pg_temp.tell() IS NULL;
UPDATE usage_monitor.alert_delivery SET next_attempt_at = now() WHERE event = 'digest';
SELECT pg_temp.tell();
SELECT pg_temp.tell() IS NULL;
SELECT channel, event, period_end - period_start, attempts, delivered_at IS NOT NULL FROM usage_monitor.alert_delivery WHERE event = 'digest' ORDER BY delivery_id;
-- of one organisation, over a week
UPDATE usage_monitor.alert_channel SET org = 'nobody', digest = 'week' WHERE name = 'daily';
UPDATE usage_monitor.alert_delivery SET period_start = period_start - interval '30 days', period_end = period_end - interval '30 days' WHERE event = 'digest';
UPDATE usage_monitor.alert_channel SET digest_since = now() - interval '8 days' WHERE name = 'daily';
SELECT event, message #>> '{report,report}', message #>> '{report,org}', message #>> '{report,summary,requests}' FROM usage_monitor.claim_delivery();
-- one of a time when the server's clock was ahead does not keep those until then from coming
SAVEPOINT ahead;
UPDATE usage_monitor.alert_delivery SET period_start = now() + interval '1 year', period_end = now() + interval '1 year 7 days'
 WHERE delivery_id = (SELECT max(d.delivery_id) FROM usage_monitor.alert_delivery d WHERE d.event = 'digest');
SELECT _usage_monitor._digest_due(c) < now() AS due FROM usage_monitor.alert_channel c WHERE c.name = 'daily';
ROLLBACK TO ahead;
COMMIT;

-- Alertmanager is told all that is open, every minute, and of what is resolved
INSERT INTO usage_monitor.alert_channel (name, kind, target, alert_types) VALUES ('am', 'alertmanager', 'http://127.0.0.1:9093/api/v2/alerts', '{quota_exceeded, quota_critical}');
UPDATE usage_monitor.alert_channel SET enabled = name = 'am';
INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', 'carol', 1 FROM generate_series(1, 100);
SELECT pg_temp.tell();
SELECT pg_temp.tell() IS NULL;
SELECT (usage_monitor.resolve_alert(max(alert_id))).level FROM usage_monitor.active_alert;
BEGIN;
SELECT message #- '{0,labels,alert_id}' #- '{0,startsAt}' #- '{0,endsAt}' #- '{1,labels,alert_id}' #- '{1,startsAt}' #- '{1,endsAt}', message -> 0 ? 'endsAt', message -> 1 ? 'endsAt'
  FROM usage_monitor.claim_delivery();
ROLLBACK;
SELECT pg_temp.tell();
SELECT pg_temp.tell() IS NULL;
UPDATE usage_monitor.alert_channel SET posted_at = now() - interval '2 minutes';
SELECT pg_temp.tell();
-- a channel that was restored, of a time when more was allowed, is told nevertheless
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE usage_monitor.alert_channel SET target = 'https://example.com/0123456789abcdefghijklmnop', posted_at = NULL WHERE name = 'am';
SET LOCAL session_replication_role = origin;
SELECT pg_temp.tell();
SELECT posted_at IS NOT NULL AS told FROM usage_monitor.alert_channel WHERE name = 'am';
ROLLBACK;
-- what is resolved before it was raised, for the clock was set back, ends when it starts; what is open does not end
BEGIN;
UPDATE usage_monitor.alert SET raised_at = now() + interval '1 hour';
SELECT resolved_at IS NULL AS is_open, count(*) > 0 AS found, bool_and(alert ->> 'endsAt' = alert ->> 'startsAt') AS ends FROM usage_monitor.alertmanager_alert GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- a time that has not come keeps nobody waiting
UPDATE usage_monitor.alert_channel SET posted_at = 'infinity';
SELECT pg_temp.tell();

-- Deliveries go with their channel and their alert; what is kept by the extension is not audited
UPDATE usage_monitor.alert_channel SET name = 'manager' WHERE name = 'am';
SELECT channel, count(*) FROM usage_monitor.alert_delivery WHERE event <> 'digest' GROUP BY 1 ORDER BY 1;
DELETE FROM usage_monitor.alert WHERE subject = 'carol';
SELECT count(*) FROM usage_monitor.alert_delivery WHERE channel = 'manager';
DELETE FROM usage_monitor.alert_channel;
SELECT count(*) FROM usage_monitor.alert_delivery;
SELECT change, count(*), count(*) FILTER (WHERE new ? 'posted_at' AND change = 'update') FROM usage_monitor.audit_log WHERE what = 'alert_channel' GROUP BY 1 ORDER BY 1;

-- A manager keeps channels, and gives up what is not to be told
CREATE ROLE regress_delivery_manager;
SELECT usage_monitor.grant_access('regress_delivery_manager', 'manager');
SET ROLE regress_delivery_manager;
INSERT INTO usage_monitor.alert_channel (name, kind, target) VALUES ('mine', 'webhook', 'secret:mine');
UPDATE usage_monitor.alert_channel SET name = 'ours';
DELETE FROM usage_monitor.alert_delivery WHERE delivered_at IS NULL;
SELECT pg_temp.refusal(s) FROM unnest(ARRAY['UPDATE usage_monitor.alert_delivery SET delivered_at = now()', 'SELECT usage_monitor.claim_delivery()']) s;
DELETE FROM usage_monitor.alert_channel;
RESET ROLE;

SELECT usage_monitor.revoke_access('regress_relay'), usage_monitor.revoke_access('regress_delivery_manager');
DROP ROLE regress_relay, regress_delivery_manager;
DROP EXTENSION usage_monitor CASCADE;
