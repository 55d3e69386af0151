-- So many quotas of named subjects that a session does not read them all, but
-- those of the subjects that it meets.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SELECT set_price FROM usage_monitor.set_price('m', 1, 1);
INSERT INTO usage_monitor.quota (name, scope, subject, metric, amount)
SELECT 'user ' || n, 'user', 'u' || n, 'requests', 10 FROM generate_series(1, 1100) n;
INSERT INTO usage_monitor.quota (name, scope, subject, metric, amount, enforcement, enabled, org) VALUES
    ('each user', 'user', NULL, 'requests', 5, 'alert', true, NULL),
    ('all', 'all', NULL, 'requests', 1000, 'alert', true, NULL),
    ('second', 'user', 'u1', 'tokens', 100, 'alert', true, NULL),
    ('of acme', 'user', 'u1', 'requests', 3, 'block', true, 'acme'),
    ('team red', 'tag', 'team=red', 'requests', 2, 'alert', true, NULL),
    ('each team', 'tag', 'team', 'requests', 1, 'alert', true, NULL),
    ('off', 'org', 'acme', 'requests', 1, 'block', false, NULL);
INSERT INTO usage_monitor.quota (name, scope, subject, metric, amount, overrides)
SELECT 'instead', 'user', 'u2', 'requests', 7, quota_id FROM usage_monitor.quota WHERE name = 'each user';
-- Each session asks anew
\c -
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, tags)
SELECT 'globex', 'u' || n % 4, 'm', 1,
       CASE WHEN n % 2 = 0 THEN '{"team": "red"}'::jsonb ELSE '{"team": "blue", "null": null}' END
FROM generate_series(0, 11) n;
CREATE VIEW counters AS
SELECT q.name, s.subject, s.used, s.amount, s.state
FROM usage_monitor.quota_status AS s JOIN usage_monitor.quota AS q USING (quota_id)
WHERE s.used > 0;
SELECT * FROM counters ORDER BY name COLLATE "C", subject COLLATE "C";
SELECT q.name, a.subject, a.level FROM usage_monitor.alert AS a JOIN usage_monitor.quota AS q USING (quota_id) ORDER BY a.alert_id;
-- A quota of the organisation comes in, and one that blocks
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) SELECT 'acme', 'u1', 'm', 1 FROM generate_series(1, 3);
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('acme', 'u1', 'm', 1);
-- What is changed is known at once: raised, turned on, dropped, made for a subject that was met without it
SELECT usage_monitor.raise_quota('of acme', 1, 'infinity', 'more') IS NOT NULL AS raised;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('acme', 'u1', 'm', 1);
UPDATE usage_monitor.quota SET enabled = true, amount = 5 WHERE name = 'off';
DELETE FROM usage_monitor.quota WHERE name = 'of acme';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('acme', 'u1', 'm', 1);
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('acme', 'u0', 'm', 1);
SELECT usage_monitor.set_quota('nobody', 'user', 'u0', 100, 'month', 'requests') IS NOT NULL AS made;
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('globex', 'u0', 'm', 1);
SELECT * FROM counters WHERE name IN ('off', 'nobody', 'user 1') ORDER BY name;
-- A reservation that is refused and one that is not
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'u1', model => 'm', cost => 0);
SELECT allowed, reason FROM usage_monitor.reserve('globex', 'u1', model => 'm', cost => 0);
-- Many subjects
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) SELECT 'globex', 'u' || n, 'm', 1 FROM generate_series(1, 2000) n;
SELECT count(*), sum(used) FROM counters WHERE name LIKE 'user %';
SELECT * FROM usage_monitor.verify();

-- An error while a subject's quotas are read leaves none of them out afterwards
\c -
\set SHOW_CONTEXT never
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('globex', 'u5', 'm', 1);
INSERT INTO usage_monitor.quota_raise (quota_id, amount, valid)
SELECT q.quota_id, 9e131071, tstzrange(now(), now() + interval '4 seconds')
FROM usage_monitor.quota AS q CROSS JOIN generate_series(1, 2) WHERE q.name = 'second';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('globex', 'u1', 'm', 1);
SELECT pg_sleep_until(max(upper(valid))) FROM usage_monitor.quota_raise WHERE amount > 1e9;
SELECT used FROM counters WHERE name = 'second';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('globex', 'u1', 'm', 1);
SELECT used FROM counters WHERE name = 'second';
SELECT * FROM usage_monitor.verify();

-- Who is confined to an organisation is told what is counted of it, in a session that has met no subject
SELECT usage_monitor.set_quota('of u7', 'user', 'u7', 100, 'month', 'requests', org => 'acme') IS NOT NULL AS made;
UPDATE usage_monitor.quota SET enforcement = 'alert' WHERE name = 'off';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) SELECT org, 'u7', 'm', 1 FROM unnest('{acme, acme, globex}'::text[]) org;
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_many;
RESET client_min_messages;
CREATE ROLE regress_many;
SELECT usage_monitor.grant_access('regress_many', 'reader', 'acme');
\c -
SET ROLE regress_many;
SELECT q.name, u.subject, u.used FROM usage_monitor.quota_usage AS u JOIN usage_monitor.quota AS q USING (quota_id) ORDER BY q.name;
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_many');
DROP ROLE regress_many;
