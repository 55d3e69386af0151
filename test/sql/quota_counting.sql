--
-- Quotas: what is counted for whom and when, and the alerts that follow
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
-- days of every year
SET usage_monitor.max_future = '100000d';
SET usage_monitor.max_cost = 1e100;
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

-- What the counters must be: every quota against every row, in plain SQL
CREATE VIEW pg_temp.expected AS
SELECT q.quota_id, s.subject,
       CASE q.period WHEN 'lifetime' THEN '-infinity' ELSE date_trunc(q.period, u.ts, q.time_zone) END AS period_start,
       sum(CASE q.metric WHEN 'cost' THEN u.cost
                         WHEN 'tokens' THEN coalesce(u.input_tokens, 0) + coalesce(u.output_tokens, 0)
                         ELSE 1 END) AS used
FROM usage_monitor.quota AS q
CROSS JOIN usage_monitor.usage AS u
CROSS JOIN LATERAL (
    SELECT v.subject
    FROM (VALUES ('all', ''), ('org', u.org), ('department', u.department), ('project', u.project), ('user', u.user_id),
                 ('session', u.session_id), ('model', u.model), ('provider', u.provider)) AS v (scope, subject)
    WHERE v.scope = q.scope AND v.subject = coalesce(q.subject, v.subject)
    UNION ALL
    SELECT key || '=' || value
    FROM jsonb_each_text(u.tags)
    WHERE q.scope = 'tag' AND value IS NOT NULL AND coalesce(q.subject, key) IN (key, key || '=' || value)) AS s
WHERE q.enabled
  AND (q.org IS NULL OR q.org = u.org) AND (q.provider IS NULL OR q.provider = u.provider) AND (q.model IS NULL OR q.model = u.model)
GROUP BY 1, 2, 3;

CREATE VIEW pg_temp.counter AS
SELECT quota_id, subject, period_start, sum(used) AS used
FROM usage_monitor.quota_usage
GROUP BY quota_id, subject, period_start;

-- Counters and rows of quota_history that differ from that
CREATE FUNCTION pg_temp.wrong(OUT counters bigint, OUT history bigint) LANGUAGE sql AS $$
    SELECT (SELECT count(*)
            FROM pg_temp.counter AS c
            LEFT JOIN pg_temp.expected AS e USING (quota_id, subject, period_start)
            WHERE c.used <> coalesce(e.used, 0)),
           (SELECT count(*)
            FROM (SELECT quota_id, coalesce(subject, '') AS subject, period_start, used FROM usage_monitor.quota_history WHERE used <> 0) AS h
            FULL JOIN (SELECT * FROM pg_temp.expected WHERE used <> 0) AS e USING (quota_id, subject, period_start)
            WHERE h.used IS DISTINCT FROM e.used);
$$;

CREATE FUNCTION pg_temp.call(at timestamptz, who text, tokens bigint) RETURNS numeric LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, output_tokens) VALUES (at, who, 'm', tokens, 0) RETURNING cost;
$$;

SELECT usage_monitor.set_price('m', 1, 2, per => 1, provider => 'regress') > 0,
       usage_monitor.set_price('n', 0.1, 0.2, per => 1, provider => 'regress') > 0;

-- Every scope, metric, period and filter.  Rows at the edges of days and years, around
-- changes to and from summer time, in a leap year, in week 53, behind and before now
INSERT INTO usage_monitor.quota (name, scope, metric, period, time_zone, amount)
SELECT format('%s by %s', scope, period), scope, ('{cost, tokens, requests}'::text[])[1 + (s + p) % 3], period,
       ('{UTC, Asia/Shanghai, Asia/Kolkata, America/New_York}'::text[])[1 + (s + p) % 4], 1000000
FROM unnest('{all, org, department, project, user, session, model, provider, tag}'::text[]) WITH ORDINALITY AS a (scope, s),
     unnest('{hour, day, week, month, year, lifetime}'::text[]) WITH ORDINALITY AS b (period, p);
INSERT INTO usage_monitor.quota (name, scope, subject, org, provider, model, metric, period, time_zone, amount) VALUES
    ('one user', 'user', 'alice', NULL, NULL, NULL, 'cost', 'day', 'America/New_York', 1000000),
    ('one user of an organisation', 'user', 'alice', 'acme', NULL, NULL, 'tokens', 'month', 'UTC', 1000000),
    ('one tag', 'tag', 'team=red', NULL, NULL, NULL, 'requests', 'year', 'UTC', 1000000),
    ('each value of a key', 'tag', 'team', NULL, NULL, NULL, 'tokens', 'lifetime', 'UTC', 1000000),
    ('a model for each user', 'user', NULL, NULL, NULL, 'n', 'cost', 'week', 'Asia/Kolkata', 1000000),
    ('a provider', 'all', NULL, NULL, 'regress', NULL, 'cost', 'month', 'Asia/Shanghai', 1000000),
    ('nobody', 'project', 'none', 'none', 'none', 'none', 'cost', 'hour', NULL, 1000000);
CREATE FUNCTION pg_temp.record_calls(at timestamptz[], first integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, session_id, model, input_tokens, output_tokens, tags)
    SELECT t.ts, ('{acme, default}'::text[])[1 + i % 2], 'd' || nullif(i % 3, 0), 'p' || nullif(i % 4, 0),
           ('{alice, bob}'::text[])[1 + i % 5 % 2], 's' || i % 6, ('{m, n, unpriced}'::text[])[1 + i % 3], nullif(i % 7, 0), i / 2,
           (ARRAY['{"team": "red"}', '{"team": "blue", "n": 1.50, "b": true, "x": null}', '{"a=b": "c", "": ""}', NULL]::jsonb[])[1 + i % 4]
    FROM unnest(at) WITH ORDINALITY AS t (ts, n), LATERAL (SELECT t.n::integer + first AS i) AS number;
$$;
SELECT pg_temp.record_calls('{2024-02-29 23:59:59.999999, 2024-03-01 00:00, 2024-02-29 15:59:59.999999, 2024-02-29 16:00,
    2025-12-31 18:29:59.999999, 2025-12-31 18:30, 2026-03-08 04:59:59.999999, 2026-03-08 05:00, 2026-03-08 06:59, 2026-03-08 07:00,
    2026-03-09 03:59:59.999999, 2026-03-09 04:00, 2026-11-01 03:59:59.999999, 2026-11-01 04:00, 2026-11-01 05:30, 2026-11-01 06:30,
    2026-11-02 04:59:59.999999, 2026-11-02 05:00, 2026-12-27 23:59:59.999999, 2026-12-28 00:00, 2027-01-03 23:59:59.999999,
    2027-01-04 00:00, 2096-02-29 12:00, 2099-12-31 23:59:59.999999, 2100-01-01 00:00}', 0);
SELECT * FROM pg_temp.wrong();
SELECT pg_temp.record_calls(array_agg(now() - n * interval '7 hours 7 minutes'), 100) FROM generate_series(-3, 15) AS n;
SELECT * FROM pg_temp.wrong();
UPDATE usage_monitor.usage SET user_id = 'bob', tags = '{"team": "green"}', input_tokens = coalesce(input_tokens, 0) + 1 WHERE usage_id % 5 = 0;
DELETE FROM usage_monitor.usage WHERE usage_id % 7 = 0;
SELECT * FROM pg_temp.wrong();
SELECT count(*) > 600 AS counters, count(DISTINCT quota_id) AS quotas FROM pg_temp.counter;
SELECT count(*) FROM usage_monitor.quota;

-- Made after the rows, they count the same; so they do after a change of what is counted
CREATE TEMP TABLE definition AS SELECT name, scope, subject, org, provider, model, metric, amount, period, time_zone FROM usage_monitor.quota;
DELETE FROM usage_monitor.quota;
SELECT count(*) FROM usage_monitor.quota_usage;
INSERT INTO usage_monitor.quota (name, scope, subject, org, provider, model, metric, amount, period, time_zone) TABLE definition;
SELECT * FROM pg_temp.wrong();
SELECT pg_temp.record_calls('{2024-02-29 12:00, 2026-03-08 12:00, 2099-12-31 12:00}', 200);
SELECT * FROM pg_temp.wrong();
UPDATE usage_monitor.quota SET metric = CASE metric WHEN 'cost' THEN 'tokens' WHEN 'tokens' THEN 'requests' ELSE 'cost' END, time_zone = 'Asia/Kolkata';
SELECT * FROM pg_temp.wrong();
UPDATE usage_monitor.quota SET enabled = name LIKE '%month%';
SELECT * FROM pg_temp.wrong();
SELECT pg_temp.record_calls('{2024-02-29 12:00, 2026-03-08 12:00, 2099-12-31 12:00}', 300);
UPDATE usage_monitor.quota SET enabled = true;
SELECT * FROM pg_temp.wrong();
SELECT count(*) FROM usage_monitor.alert WHERE alert_type <> 'unpriced';
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;

-- Days have 23 to 25 hours, and end a microsecond before midnight
SELECT usage_monitor.set_quota('day', 'user', NULL, 100, period => 'day', metric => 'requests', time_zone => 'America/New_York') > 0;
SELECT pg_temp.call(at, 'alice', 1)
FROM unnest('{2026-03-08 04:59:59.999999, 2026-03-08 05:00, 2026-03-09 03:59:59.999999, 2026-03-09 04:00,
              2026-11-01 03:59:59.999999, 2026-11-01 04:00, 2026-11-02 04:59:59.999999, 2026-11-02 05:00}'::timestamptz[]) AS at;
SELECT period_start, period_end, period_end - period_start AS length, used FROM usage_monitor.quota_history ORDER BY period_start;
SELECT period, usage_monitor.period_start(at, period, zone), usage_monitor.period_end(at, period, zone)
FROM (VALUES ('hour', '2026-03-08 06:30:01+00'::timestamptz, 'Asia/Kolkata'), ('day', '2024-02-29 15:59:59.999999+00', 'Asia/Shanghai'),
             ('day', '2024-02-29 16:00+00', 'Asia/Shanghai'), ('week', '2027-01-03 23:59:59.999999+00', 'UTC'), ('week', '2027-01-04+00', 'UTC'),
             ('month', '2024-02-29 18:29:59.999999+00', 'Asia/Kolkata'), ('year', '2026-12-31 18:30+00', 'Asia/Kolkata'),
             ('lifetime', '2026-01-01', 'UTC')) AS v (period, at, zone);
DELETE FROM usage_monitor.quota;

-- Alerts: each level once, in order, in the transaction that reaches it, of periods that are not over
SET usage_monitor.max_future = '36525 d';
CREATE VIEW pg_temp.raised AS
SELECT a.alert_type, a.subject, a.period_start, a.used, a.amount, a.message
FROM usage_monitor.alert AS a WHERE a.alert_type <> 'unpriced' ORDER BY a.alert_id;
SELECT usage_monitor.set_quota('tokens', 'user', NULL, 100, metric => 'tokens', time_zone => 'Asia/Shanghai') > 0;
SELECT pg_temp.call('2096-01-31 16:00', 'alice', 79);
TABLE pg_temp.raised;
SELECT pg_temp.call('2096-02-03', 'alice', 1);
SELECT pg_temp.call('2096-02-03', 'alice', 1);
SELECT pg_temp.call('2096-01-31 15:59:59.999999', 'alice', 99);
SELECT pg_temp.call('2096-02-03', 'bob', 500);
TABLE pg_temp.raised;
-- a correction downwards, and up again
UPDATE usage_monitor.usage SET input_tokens = 5 WHERE user_id = 'bob';
UPDATE usage_monitor.usage SET input_tokens = 99 WHERE user_id = 'bob';
SELECT pg_temp.call('2096-02-04', 'bob', 700);
DELETE FROM usage_monitor.usage WHERE user_id = 'alice' AND ts > '2096-02-02';
SELECT pg_temp.call('2096-02-04', 'alice', 1);
SELECT count(*) FROM pg_temp.raised;
SELECT pg_temp.call('2096-02-04', 'alice', 15);
-- what is undone is not raised
BEGIN;
SELECT pg_temp.call('2096-02-04', 'carol', 100);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT pg_temp.call('2096-02-04', 'carol', 100);
ROLLBACK TO a;
SELECT pg_temp.call('2096-02-04', 'carol', 90);
COMMIT;
SELECT alert_type, subject, period_start, used FROM pg_temp.raised OFFSET 6;
-- so is what was done to a quota
BEGIN;
UPDATE usage_monitor.quota SET warning_threshold = warning_threshold + 0.01;
SAVEPOINT a;
UPDATE usage_monitor.quota SET metric = 'requests' WHERE metric = 'tokens';
SAVEPOINT b;
SELECT count(*) > 0 AS anew FROM _usage_monitor._changed_quotas();
RELEASE b;
SELECT count(*) > 0 AS anew FROM _usage_monitor._changed_quotas();
ROLLBACK TO a;
SELECT count(*) > 0 AS anew FROM _usage_monitor._changed_quotas();
ROLLBACK;
-- in another period again
SELECT pg_temp.call('2096-05-04', 'carol', 80);
SELECT alert_type, subject, period_start, used FROM pg_temp.raised OFFSET 8;
SELECT * FROM pg_temp.wrong();
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.alert;
RESET usage_monitor.max_future;

-- A quota made in mid-period counts what is there, and changes hold at once
SELECT pg_temp.call('2026-02-03', 'alice', 90);
SELECT usage_monitor.set_quota('life', 'user', 'alice', 100, metric => 'tokens', period => 'lifetime') > 0;
SELECT alert_type, used, amount FROM pg_temp.raised;
SELECT subject, period_start, period_end, amount, used, remaining, percentage, state FROM usage_monitor.quota_status;
-- more room, and less
SELECT usage_monitor.set_quota('life', 'user', 'alice', 1000, metric => 'tokens', period => 'lifetime') > 0;
SELECT amount, used, remaining, percentage, state FROM usage_monitor.quota_status;
SELECT pg_temp.call('2026-02-03', 'alice', 10);
SELECT count(*) FROM pg_temp.raised;
SELECT usage_monitor.set_quota('life', 'user', 'alice', 103, metric => 'tokens', period => 'lifetime') > 0;
SELECT alert_type, used, amount FROM pg_temp.raised;
UPDATE usage_monitor.quota SET critical_threshold = 0.99, warning_threshold = 0.5;
SELECT state FROM usage_monitor.quota_status;
UPDATE usage_monitor.quota SET amount = 100;
SELECT alert_type, used, amount FROM pg_temp.raised;
-- another scope, in another name
SELECT pg_temp.call('2026-02-03', 'bob', 70);
SELECT usage_monitor.set_quota('life', 'all', NULL, 200, metric => 'tokens', period => 'lifetime') > 0;
SELECT scope, subject, used, state FROM usage_monitor.quota_status;
SELECT alert_type, subject, used, amount FROM pg_temp.raised OFFSET 3;
-- switched off it neither counts nor alerts; on again it has counted all
UPDATE usage_monitor.quota SET enabled = false;
SELECT pg_temp.call('2026-02-03', 'bob', 25);
SELECT count(*) FROM usage_monitor.quota_status;
SELECT count(*) FROM pg_temp.raised;
UPDATE usage_monitor.quota SET enabled = true;
SELECT used, state FROM usage_monitor.quota_status;
SELECT alert_type, subject, used, amount FROM pg_temp.raised OFFSET 4;
SELECT * FROM pg_temp.wrong();
-- a row before the quota and one after it, in its own transaction
BEGIN;
SELECT pg_temp.call('2026-02-03', 'carol', 3);
SELECT usage_monitor.set_quota('carol', 'user', 'carol', 10, metric => 'tokens', period => 'lifetime') > 0;
SELECT pg_temp.call('2026-02-03', 'carol', 4);
COMMIT;
SELECT used FROM usage_monitor.quota_status WHERE name = 'carol';
DELETE FROM usage_monitor.quota;
SELECT count(*) FROM usage_monitor.quota_usage;
SELECT count(*) > 0 AS alerts_stay FROM pg_temp.raised;
DELETE FROM usage_monitor.usage;

-- The running period, with what the transaction is about to add
BEGIN;
SELECT usage_monitor.set_quota('month', 'org', NULL, 10, metric => 'requests') > 0;
INSERT INTO usage_monitor.usage (org, model) SELECT 'acme', 'm' FROM generate_series(1, 8);
SELECT period_start = date_trunc('month', now(), 'UTC') AS starts, period_end = date_trunc('month', now(), 'UTC') + interval '1 month' AS ends,
       subject, used, remaining, percentage, state
FROM usage_monitor.quota_status;
ROLLBACK;

-- A blocking quota refuses the statement, and leaves nothing of it
SELECT usage_monitor.set_quota('block', 'user', NULL, 10, metric => 'tokens', period => 'lifetime', enforcement => 'block') > 0;
SELECT pg_temp.call('2026-02-03', 'alice', 6);
SELECT pg_temp.call('2026-02-03', 'alice', 5);
SELECT pg_temp.call('2026-02-03', 'alice', 4);
SELECT pg_temp.call('2026-02-03', 'alice', 1);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('bob', 'm', 4), ('bob', 'm', 4), ('bob', 'm', 4);
BEGIN;
SELECT pg_temp.call('2026-02-03', 'bob', 9);
SAVEPOINT a;
SELECT pg_temp.call('2026-02-03', 'bob', 9);
ROLLBACK TO a;
SELECT pg_temp.call('2026-02-03', 'bob', 1);
COMMIT;
-- nothing counts that has no tokens, and a correction downwards is always welcome
SELECT pg_temp.call('2026-02-03', 'bob', 0);
UPDATE usage_monitor.quota SET amount = 5;
UPDATE usage_monitor.usage SET input_tokens = 8 WHERE user_id = 'bob' AND input_tokens = 9;
UPDATE usage_monitor.usage SET input_tokens = 9 WHERE user_id = 'bob' AND input_tokens = 8;
UPDATE usage_monitor.usage SET user_id = 'alice' WHERE user_id = 'bob' AND input_tokens = 8;
SELECT user_id, input_tokens FROM usage_monitor.usage ORDER BY usage_id;
SELECT subject, used, state FROM usage_monitor.quota_status ORDER BY subject;
SELECT * FROM pg_temp.wrong();

-- May it be made?
SELECT usage_monitor.set_quota('all calls', 'all', NULL, 100, metric => 'requests', period => 'lifetime') > 0,
       usage_monitor.set_quota('red cost', 'tag', 'team=red', 0.5, period => 'lifetime') > 0;
SELECT name, subject, metric, amount, used, reserved, remaining, allowed, enforcement, reason FROM usage_monitor.check_quota(user_id => 'alice', tokens => 1);
SELECT name, subject, metric, amount, used, reserved, remaining, allowed, enforcement, reason
FROM usage_monitor.check_quota(user_id => 'carol', tokens => 5, cost => 0.50000001, requests => 95, tags => '{"team": "red"}');
SELECT name, allowed FROM usage_monitor.check_quota(user_id => 'carol', tokens => 6, cost => 0.5, requests => 96, tags => '{"team": "red"}');
SELECT name, allowed FROM usage_monitor.check_quota();

-- Handling alerts
SELECT level, subject, acknowledged_at = now() AS now, acknowledged_by, resolved_at FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.active_alert), 'carol');
SELECT acknowledged_at < now() AS earlier, acknowledged_by FROM usage_monitor.acknowledge_alert((SELECT min(alert_id) FROM usage_monitor.active_alert), 'dave');
SELECT state, count(*) FROM usage_monitor.active_alert GROUP BY state ORDER BY state;
SELECT acknowledged_by, resolved_at = now() AS now, resolved_by FROM usage_monitor.resolve_alert((SELECT min(alert_id) FROM usage_monitor.active_alert), 'erin');
SELECT state, count(*) FROM usage_monitor.active_alert GROUP BY state ORDER BY state;

-- Money of any scale and size, in one counter, as it comes
SELECT usage_monitor.set_quota('digits', 'user', 'digits', 1e40, 'lifetime') > 0 AS is_set;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.5);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.25);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.0000000000000000001);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.5);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 123456789012345678901234567890.125);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.000000000000000001);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 170141183460469231731);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('digits', 'm', 0.1);
SELECT _usage_monitor._added('(4294967295,1)');
SELECT _usage_monitor._added('(0,1000)');
SELECT used, used = (SELECT sum(cost) FROM usage_monitor.usage WHERE user_id = 'digits') AS is_right
FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id) WHERE name = 'digits';
SELECT * FROM pg_temp.wrong();
