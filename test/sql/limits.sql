SET usage_monitor.max_cost = 1e100;
-- What is too long for a key, or too large for a sum, is refused; what just fits works
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SELECT usage_monitor.set_quota('each prompt', 'tag', 'prompt', 20) AS made;
SELECT usage_monitor.set_quota('each user', 'user', NULL, 20) AS made;
INSERT INTO usage_monitor.usage (user_id, model, cost, tags)
VALUES (repeat('u', 1000), 'm', 1, jsonb_build_object('prompt', repeat('x', 994)));
INSERT INTO usage_monitor.usage (model, cost, tags) VALUES ('m', 1, jsonb_build_object('prompt', repeat('x', 995)));
INSERT INTO usage_monitor.usage (model, cost, tags) VALUES ('m', 1, jsonb_build_object(repeat('é', 501), 1));
INSERT INTO usage_monitor.usage (model, cost, user_id) VALUES ('m', 1, repeat('u', 1001));
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('small', 'm', 1e-101);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('large', 'm', 1e101);
INSERT INTO usage_monitor.usage (user_id, model, cost, input_cost) VALUES ('part', 'm', 1, 1e-101);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('small', 'm', 1e-100), ('large', 'm', 1e100 - 1e-100);
SELECT left(s.subject, 10) AS subject, length(s.subject), s.used > 0 AS used, s.state
FROM usage_monitor.quota_status AS s ORDER BY s.subject COLLATE "C";
SELECT usage_monitor.refresh();
SELECT sum(cost) = 1e100 + 1 AS cost FROM usage_monitor.daily_usage;
SELECT * FROM usage_monitor.verify();

-- A quota that has been raised very often, and raises that are taken back by hand
SELECT usage_monitor.set_quota('raised', 'org', 'acme', 10, 'month', 'requests', enforcement => 'block') AS made;
INSERT INTO usage_monitor.quota_raise (quota_id, amount, valid)
SELECT q.quota_id, 5, tstzrange('2020-01-01', '2020-01-02')
FROM usage_monitor.quota AS q CROSS JOIN generate_series(1, 1100) WHERE q.name = 'raised';
INSERT INTO usage_monitor.usage (org, model, cost) SELECT 'acme', 'm', 0 FROM generate_series(1, 10);
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'm', 0);
SELECT usage_monitor.raise_quota('raised', 2, 'infinity') IS NOT NULL AS raised;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'm', 0);
DELETE FROM usage_monitor.quota_raise WHERE amount = 2;
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'm', 0);
SELECT used, amount, state FROM usage_monitor.quota_status WHERE name = 'raised';
