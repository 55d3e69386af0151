--
-- Budgets and their parts, overrides, and thresholds of one's own
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

CREATE FUNCTION pg_temp.call(who text, amount numeric, department text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (user_id, department, model, cost) VALUES (who, department, 'm', amount);
$$;
CREATE VIEW pg_temp.raised AS
SELECT q.name, a.alert_type, a.level, a.subject, a.used, a.amount, a.details->'percentage' AS percentage
FROM usage_monitor.alert AS a JOIN usage_monitor.quota AS q USING (quota_id) ORDER BY a.alert_id;

-- Parts take their whole's metric, period and zone, and do not exceed it
SELECT usage_monitor.set_budget('company', 'org', 'default', 1000, 'year', time_zone => 'Asia/Shanghai') > 0;
SELECT usage_monitor.set_budget('research', 'department', 'research', 600, part_of => 'company') > 0,
       usage_monitor.set_budget('sales', 'department', 'sales', 300, 'month', part_of => 'company', metric => 'tokens', time_zone => 'UTC') > 0;
SELECT name, kind, parent IS NOT NULL AS part, metric, period, time_zone, amount, enforcement FROM usage_monitor.quota ORDER BY quota_id;
SELECT r.* FROM unnest(ARRAY[
    'SELECT usage_monitor.set_budget(''support'', ''department'', ''support'', 100.01, part_of => ''company'')',
    'SELECT usage_monitor.set_budget(''sales'', ''department'', ''sales'', 401, part_of => ''company'')',
    'SELECT usage_monitor.set_budget(''company'', ''org'', ''default'', 899.99, time_zone => ''Asia/Shanghai'')',
    'UPDATE usage_monitor.quota SET amount = 500 WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET amount = amount * 2 WHERE name = ''research''',
    'SELECT usage_monitor.set_budget(''deeper'', ''project'', ''p'', 1, part_of => ''sales'')',
    'UPDATE usage_monitor.quota SET time_zone = ''UTC'' WHERE name = ''sales''',
    'UPDATE usage_monitor.quota SET kind = ''quota'' WHERE name = ''sales''',
    'SELECT usage_monitor.set_budget(''orphan'', ''project'', ''p'', 1, part_of => ''nothing'')',
    'SELECT usage_monitor.set_budget(''none'', ''project'', ''p'')',
    'DELETE FROM usage_monitor.quota WHERE name = ''company''']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
-- all of it, to the last cent
SELECT usage_monitor.set_budget('support', 'department', 'support', 100, part_of => 'company') > 0;
SELECT name, part_of, amount, allotted, unallotted, used, percentage, state FROM usage_monitor.budget_status ORDER BY quota_id;

-- Usage counts in the part and in the whole; alerts say budget
SELECT pg_temp.call('u', 480, 'research');
SELECT pg_temp.call('u', 96, 'research'), pg_temp.call('u', 10, 'sales');
SELECT pg_temp.call('u', 400, 'research');
SELECT * FROM pg_temp.raised;
SELECT name, part_of, subject, amount, allotted, unallotted, used, reserved, remaining, percentage, state FROM usage_monitor.budget_status ORDER BY quota_id;
SELECT bool_and(projected >= used AND projected_percentage = round(100 * projected / amount, 2)) AS projected,
       bool_and(period_start <= now() AND now() < period_end) AS running,
       bool_and(period_start = date_trunc('year', now(), 'Asia/Shanghai')) AS zone
FROM usage_monitor.budget_status;
-- quotas are no budgets
SELECT usage_monitor.set_quota('plain', 'all', NULL, 1) > 0;
SELECT count(*) FROM usage_monitor.budget_status WHERE name = 'plain';
DELETE FROM usage_monitor.quota WHERE name = 'plain';
SELECT * FROM usage_monitor.verify();

-- Raised, parts do not exceed the whole either, at any time
SELECT r.* FROM unnest(ARRAY[
    'SELECT usage_monitor.raise_quota(''support'', 1, now() + interval ''1 day'')',
    'SELECT usage_monitor.set_budget(''support'', ''department'', ''support'', 60, part_of => ''company'')',
    'SELECT usage_monitor.raise_quota(''support'', 40.01, now() + interval ''1 day'')',
    'SELECT usage_monitor.raise_quota(''support'', 40, now() + interval ''1 day'')',
    'UPDATE usage_monitor.quota SET amount = amount + 1 WHERE name = ''sales''',
    'SELECT usage_monitor.raise_quota(''company'', 100, now() + interval ''2 days'')',
    'SELECT usage_monitor.raise_quota(''sales'', 100, now() + interval ''2 days'')',
    'SELECT usage_monitor.raise_quota(''sales'', 1, now() + interval ''1 hour'')',
    'DELETE FROM usage_monitor.quota_raise WHERE amount = 100 AND quota_id = (SELECT quota_id FROM usage_monitor.quota WHERE name = ''company'')',
    'DELETE FROM usage_monitor.quota_raise WHERE amount = 40',
    'UPDATE usage_monitor.quota SET amount = amount + 40 WHERE name = ''support''',
    'UPDATE usage_monitor.quota SET amount = amount + 1 WHERE name = ''support''']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL (SELECT f.code, regexp_replace(f.message, '\d{4}-.*', 'THEN') AS message, f.hint FROM pg_temp.refusal(statement) AS f) AS r ORDER BY n;
SELECT name, amount, allotted, unallotted FROM usage_monitor.budget_status ORDER BY quota_id;

-- The whole is not changed apart from its parts; together they are
SELECT r.* FROM unnest(ARRAY[
    'UPDATE usage_monitor.quota SET period = ''month'' WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET metric = ''tokens'' WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET time_zone = ''UTC'' WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET kind = ''quota'' WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET subject = ''other'' WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET provider = ''openai'' WHERE name = ''company''',
    'SELECT usage_monitor.set_quota(''company'', ''org'', ''default'', 2000)',
    'SELECT usage_monitor.set_budget(''above'', ''all'', NULL, 5000, time_zone => ''Asia/Shanghai'')',
    'SELECT usage_monitor.set_budget(''company'', ''org'', ''default'', 2000, part_of => ''above'')',
    'UPDATE usage_monitor.quota SET parent = quota_id WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET parent = -1 WHERE name = ''sales''',
    'UPDATE usage_monitor.quota SET org = ''other'' WHERE name = ''sales''',
    'INSERT INTO usage_monitor.quota (name, kind, parent, scope, subject, amount, period, time_zone, created_at) SELECT ''more'', kind, quota_id, ''department'', ''more'', 101, period, time_zone, ''2026-01-01'' FROM usage_monitor.quota WHERE name = ''company''',
    'UPDATE usage_monitor.quota SET period = ''month'', metric = ''tokens'', time_zone = ''UTC'' WHERE name <> ''above''']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
SELECT name, kind, org, metric, period, time_zone FROM usage_monitor.quota ORDER BY quota_id;
SELECT * FROM usage_monitor.verify();
DELETE FROM usage_monitor.quota WHERE parent IS NOT NULL;
DELETE FROM usage_monitor.quota;

-- A part counts calls of the organisation that the whole is of
SELECT usage_monitor.set_budget('2026', 'org', 'acme', 1000) > 0,
       usage_monitor.set_budget('2026 research', 'department', 'research', 500, part_of => '2026') > 0,
       usage_monitor.set_budget('marketing', 'department', 'marketing', 1000, org => 'acme') > 0,
       usage_monitor.set_budget('ads', 'project', 'ads', 500, part_of => 'marketing') > 0,
       usage_monitor.set_budget('everybody', 'all', NULL, 1000) > 0,
       usage_monitor.set_budget('globex', 'org', 'globex', 500, part_of => 'everybody') > 0;
INSERT INTO usage_monitor.usage (org, department, project, model, cost) VALUES ('acme', 'research', 'ads', 'm', 1), ('globex', 'research', 'ads', 'm', 10), ('acme', 'marketing', 'ads', 'm', 100);
SELECT s.name, s.part_of, q.org, s.used FROM usage_monitor.budget_status AS s JOIN usage_monitor.quota AS q USING (quota_id) ORDER BY quota_id;
-- moved under another whole, that one's
SELECT usage_monitor.set_budget('2026 research', 'department', 'research', 500, part_of => 'everybody') > 0;
SELECT name, org FROM usage_monitor.quota WHERE name = '2026 research';
SELECT * FROM usage_monitor.verify();

-- Overrides: another amount for one subject of a quota for each
DELETE FROM usage_monitor.quota WHERE parent IS NOT NULL;
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('each', 'user', NULL, 10, 'lifetime', enforcement => 'block') > 0;
SELECT pg_temp.call('vip', 6), pg_temp.call('other', 6);
SELECT usage_monitor.set_quota('vip''s', 'user', 'vip', 100, 'lifetime', enforcement => 'block', overrides => 'each') > 0;
SELECT pg_temp.call('vip', 60);
SELECT code, message FROM pg_temp.refusal('SELECT pg_temp.call(''other'', 5)');
SELECT name, subject, amount, used FROM usage_monitor.quota_status WHERE used <> 0 ORDER BY 1, 2;
SELECT name, remaining, allowed FROM usage_monitor.check_quota(user_id => 'vip', cost => 30);
SELECT name, remaining, allowed FROM usage_monitor.check_quota(user_id => 'other', cost => 30);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'vip', cost => 35);
SELECT allowed FROM usage_monitor.reserve(user_id => 'vip', cost => 30, ttl => '1 hour');
SELECT usage_monitor.release(reservation_id) FROM usage_monitor.reservation;
SELECT * FROM usage_monitor.verify();
-- disabled, it stands in for nothing: the usage is that of the quota for each
UPDATE usage_monitor.quota SET enabled = false WHERE name = 'vip''s';
SELECT name, subject, used, state FROM usage_monitor.quota_status WHERE used <> 0 ORDER BY 1, 2;
SELECT code FROM pg_temp.refusal('SELECT pg_temp.call(''vip'', 1)');
SELECT name, allowed FROM usage_monitor.check_quota(user_id => 'vip', cost => 30);
SELECT * FROM usage_monitor.verify();
UPDATE usage_monitor.quota SET enabled = true WHERE name = 'vip''s';
SELECT pg_temp.call('vip', 1);
SELECT name, subject, used FROM usage_monitor.quota_status WHERE used <> 0 ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();
-- dropped, the same
DELETE FROM usage_monitor.quota WHERE name = 'vip''s';
SELECT name, subject, used FROM usage_monitor.quota_status WHERE used <> 0 ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();
-- of a tag with each of its values
SELECT usage_monitor.set_quota('anchors', 'tag', 'anchor', 5, 'lifetime') > 0,
       usage_monitor.set_quota('anchor 7', 'tag', 'anchor=7', 50, 'lifetime', overrides => 'anchors') > 0;
INSERT INTO usage_monitor.usage (model, cost, tags) VALUES ('m', 4, '{"anchor": 7}'), ('m', 3, '{"anchor": 8}');
SELECT name, subject, used, amount FROM usage_monitor.quota_status WHERE scope = 'tag' AND used <> 0 ORDER BY 1, 2;
SELECT r.* FROM unnest(ARRAY[
    'SELECT usage_monitor.set_quota(''x'', ''user'', ''vip'', 1, overrides => ''nothing'')',
    'SELECT usage_monitor.set_quota(''x'', ''user'', NULL, 1, overrides => ''each'')',
    'SELECT usage_monitor.set_quota(''x'', ''org'', ''vip'', 1, overrides => ''each'')',
    'SELECT usage_monitor.set_quota(''x'', ''tag'', ''anchor=7'', 1, overrides => ''anchor 7'')']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
-- of several limits each stands in for its like; one that has none is one more
SELECT usage_monitor.set_quota('windows', 'project', NULL, 10, period => 'month', daily => 5, hourly => 3, enforcement => 'block') > 0,
       usage_monitor.set_quota('large', 'project', 'large', 100, period => 'month', daily => 50, hourly => 30, enforcement => 'block', overrides => 'windows') > 0,
       usage_monitor.set_quota('no hours', 'project', NULL, 1000, 'year') > 0,
       usage_monitor.set_quota('hours', 'project', 'large', 2000, 'year', hourly => 300, overrides => 'no hours') > 0;
SELECT q.name, o.name FROM usage_monitor.quota AS q LEFT JOIN usage_monitor.quota AS o ON o.quota_id = q.overrides WHERE q.subject = 'large' ORDER BY q.quota_id;
INSERT INTO usage_monitor.usage (project, model, cost) VALUES ('large', 'm', 29), ('small', 'm', 2);
SELECT name, subject, used FROM usage_monitor.quota_status WHERE scope = 'project' AND used <> 0 ORDER BY quota_id, subject;
SELECT name, allowed FROM usage_monitor.check_quota(project => 'large', cost => 2) ORDER BY name;
SELECT code, message FROM pg_temp.refusal('INSERT INTO usage_monitor.usage (project, model, cost) VALUES (''large'', ''m'', 2)');
SELECT code, message FROM pg_temp.refusal('INSERT INTO usage_monitor.usage (project, model, cost) VALUES (''small'', ''m'', 2)');
SELECT * FROM usage_monitor.verify();

-- More thresholds than two
DELETE FROM usage_monitor.quota WHERE overrides IS NOT NULL;
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('steps', 'user', NULL, 100, 'lifetime', thresholds => '{0.5, 0.25, 0.9, 0.125}') > 0;
SELECT pg_temp.call('a', 12.4), pg_temp.call('b', 100);
SELECT pg_temp.call('a', 0.1);
SELECT pg_temp.call('a', 37.5);
SELECT pg_temp.call('a', 40.1);
SELECT name, alert_type, level, subject, used FROM pg_temp.raised;
UPDATE usage_monitor.quota SET thresholds = '{0.905}';
SELECT name, alert_type, level, subject, used FROM pg_temp.raised WHERE level = '90.5%';
UPDATE usage_monitor.quota SET thresholds = NULL;
SELECT pg_temp.call('a', 9);
SELECT name, alert_type, level, subject, used FROM pg_temp.raised WHERE subject = 'a' ORDER BY used DESC LIMIT 2;
SELECT r.* FROM unnest(ARRAY['{0}', '{-0.5}', '{1.01}', '{NaN}', '{NULL}', '{0.5,0.50}', array_fill(0.5, '{21}')::text]) WITH ORDINALITY AS t (shares, n)
CROSS JOIN LATERAL pg_temp.refusal(format('UPDATE usage_monitor.quota SET thresholds = %L', shares)) AS r ORDER BY n;
SELECT * FROM usage_monitor.verify();
