--
-- Notifications: who listens hears of each alert once, when it is committed
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
SELECT usage_monitor.set_quota('each user', 'user', NULL, 10) > 0 AS made;
LISTEN usage_monitor_alert;

-- Of a quota, of a model without a price, of a period that is over; of none that is rolled back
\o |sed -E 's/ received from .*//'
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 8);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('ann', 'nobody-prices-this', 1);
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (now() - interval '100 days', 'bob', 'm', 20);
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('carol', 'm', 20);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('carol', 'nor-this', 1);
ROLLBACK;
\o
SELECT alert_id, alert_type, level FROM usage_monitor.alert ORDER BY alert_id;

-- All of it where that is set, and fits: else without what is long, else its number
SET usage_monitor.notify = 'full';
\o |sed -E 's/ received from .*//; s/payload .*("level": "[a-z]*").*("quota": "[^"]*"), "amount".*("message").*("alert_type": "[a-z_]*").*/payload ... \1 ... \2 ... \3 ... \4 .../; s/(all){9,}/all.../'
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('dora', 'm', 10);
SELECT _usage_monitor._notify('number', repeat('all', 2666), 'short');
SELECT _usage_monitor._notify('number', repeat('all', 2667), 'short');
SELECT _usage_monitor._notify('number', repeat('all', 2667), repeat('long', 2000));
\o
RESET usage_monitor.notify;
UNLISTEN *;
