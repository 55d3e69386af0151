--
-- A person's name goes, and nothing that adds up changes
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- where a name is found, in any column of any table and view
CREATE FUNCTION pg_temp.places(name text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
    found boolean;
BEGIN
    FOR relation IN SELECT c.oid FROM pg_class AS c WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'f') ORDER BY c.relname COLLATE "C" LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r WHERE strpos(r::text, %L) > 0)', relation, name) INTO found;
        IF found THEN
            RETURN NEXT relation::text;
        END IF;
    END LOOP;
END
$$;

CREATE TABLE usage_monitor.usage_2025 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_monitor.usage_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
SELECT usage_monitor.set_quota('each', 'user', NULL, 1, 'month') > 0,
       usage_monitor.set_quota('each for life', 'user', NULL, 2, 'lifetime', enforcement => 'block') > 0,
       usage_monitor.set_quota('each of acme', 'user', NULL, 3, 'month', org => 'acme') > 0,
       usage_monitor.set_quota('cap of ann@example.com', 'user', 'ann@example.com', 1.9, 'lifetime', enforcement => 'block') > 0,
       usage_monitor.set_quota('all', 'all', NULL, 100, 'lifetime') > 0;
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, cost, input_tokens)
VALUES ('2025-05-01', 'acme', 'ann@example.com', 's', 'm', 0.25, 1), ('2025-05-01', 'acme', 'bob', 's', 'm', 0.5, 1),
       ('2025-05-01', 'acme', 'cy', 's', 'm', 0.5, 1);
SELECT requests FROM usage_monitor.drop_usage_before('2026-01-01');
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, cost, input_tokens)
VALUES ('2026-03-01', 'acme', 'ann@example.com', 's', 'm', 0.9, 10), ('2026-03-02', 'globex', 'ann@example.com', 's', 'm', 0.3, 20),
       ('2026-03-02', 'acme', 'bob', 's', 'm', 1.5, 30), ('2026-03-02', 'acme', 'cy', 's', 'm', 1.4, 30), ('2026-03-02', 'acme', 'ann', 's', 'm', 0.1, 1);
SELECT usage_monitor.refresh() > 0;
-- in the tail, a change that is not folded yet, and a reservation
INSERT INTO usage_monitor.usage (ts, org, user_id, model, cost) VALUES ('2026-03-03', 'acme', 'ann@example.com', 'm', 0.1);
UPDATE usage_monitor.usage SET input_tokens = 11 WHERE input_tokens = 10;
SELECT allowed FROM usage_monitor.reserve('acme', 'ann@example.com', cost => 0.1);
SELECT usage_monitor.acknowledge_alert(alert_id) IS NOT NULL FROM usage_monitor.alert WHERE subject = 'ann@example.com';
SELECT count(*) AS alerts, count(*) FILTER (WHERE subject = 'ann@example.com') AS of_ann FROM usage_monitor.alert;
CREATE VIEW pg_temp.sums AS
SELECT (SELECT sum(cost) FROM usage_monitor.usage) AS ledger, (SELECT sum(cost) FROM usage_monitor.user_usage) AS users,
       (SELECT sum(requests) FROM usage_monitor.daily_usage) AS days, (SELECT sum(cost) FROM usage_monitor.session_usage) AS sessions,
       (SELECT jsonb_agg(jsonb_build_array(quota_id, period_start, used) ORDER BY quota_id, period_start, used) FROM usage_monitor.quota_history WHERE used <> 0) AS counters,
       (SELECT sum(requests) FROM usage_monitor.reservation) AS reserved, (SELECT count(*) FROM usage_monitor.alert) AS alerts;
CREATE TEMP TABLE before AS TABLE pg_temp.sums;
LISTEN usage_monitor_alert;

SELECT * FROM pg_temp.places('ann@example.com');
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.erase_user('')$$);
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.erase_user(NULL)$$);
BEGIN;
DELETE FROM usage_monitor.alert_rule;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('zoe', 'm', 0);
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.erase_user('bob')$$);
ROLLBACK;
SELECT usage_monitor.erase_user('ann@example.com') AS ann \gset
SELECT :'ann' ~ '^erased-[0-9a-f-]{36}$' AS ok;
SELECT * FROM pg_temp.places('ann@example.com');
SELECT before IS NOT DISTINCT FROM sums AS same FROM before, pg_temp.sums;
SELECT * FROM usage_monitor.verify();
SELECT name = 'cap of ' || :'ann' AND subject = :'ann' AS renamed FROM usage_monitor.quota WHERE name LIKE 'cap%';
SELECT count(*) > 0 AS alerts, bool_and(message ~ :'ann') AS named FROM usage_monitor.alert WHERE subject = :'ann';
SELECT what, details->>'calls' AS calls FROM usage_monitor.audit_log WHERE what = 'erase_user';
-- another person of nearly that name is untouched
SELECT sum(cost) FROM usage_monitor.user_usage WHERE user_id = 'ann';

-- Two that would exceed a blocking quota together stay two, and a second refresh() changes nothing
SELECT usage_monitor.erase_user('bob') AS bob \gset
SELECT usage_monitor.erase_user('cy') AS cy \gset
SELECT before IS NOT DISTINCT FROM sums AS same FROM before, pg_temp.sums;
SELECT usage_monitor.refresh() IS NOT NULL;
SELECT before IS NOT DISTINCT FROM sums AS same FROM before, pg_temp.sums;
SELECT name.name, p.* FROM unnest('{bob,cy}'::text[]) AS name, pg_temp.places('"' || name || '"') AS p;
SELECT * FROM usage_monitor.verify();
SELECT :'bob' <> :'cy' AS two;
-- the quotas go on with them
SELECT code, replace(message, :'cy', 'cy') FROM pg_temp.refusal(format($$INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES (%L, 'm', 0.2)$$, :'cy'));
SELECT code FROM pg_temp.refusal(format($$INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2026-03-05', %L, 'm', 0.01)$$, :'cy'));

-- Of one organisation only
INSERT INTO usage_monitor.usage (ts, org, user_id, model, cost)
VALUES ('2026-04-01', 'acme', 'dan', 'm', 0.5), ('2026-04-01', 'globex', 'dan', 'm', 0.25);
SELECT usage_monitor.erase_user('dan', 'acme') AS dan \gset
SELECT org, user_id = :'dan' AS erased, cost FROM usage_monitor.usage WHERE user_id IN ('dan', :'dan') ORDER BY org;
SELECT name, quota_usage.subject = :'dan' AS erased, used FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id)
WHERE quota_usage.subject IN ('dan', :'dan') ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();

-- What the application wrote besides stays, is told of, and can be replaced
SELECT usage_monitor.set_quota('each reviewer', 'tag', 'reviewer', 10, 'month') > 0 AS made;
INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, request_id, error, model, cost, tags)
VALUES ('2026-04-02', 'acme', 'eve "e"', NULL, NULL, NULL, 'm', 0.5, NULL),
       ('2026-04-02', 'acme', 'dora', NULL, NULL, NULL, 'm', 0.25, '{"reviewer": "eve \"e\""}'),
       ('2026-04-02', 'acme', NULL, 'eve "e"-1', 'eve "e"-2', 'no key of eve "e"', 'm', 0.125, NULL),
       ('2026-04-02', 'globex', NULL, 'eve "e"-1', NULL, NULL, 'm', 0.125, NULL);
SET client_min_messages = notice;
SELECT usage_monitor.erase_user('eve "e"', 'acme') AS eve \gset
SELECT usage_monitor.erase_user('nobody') AS nobody \gset
SET client_min_messages = warning;
SELECT details ->> 'calls' AS calls, details ->> 'calls_that_name' AS calls_that_name FROM usage_monitor.audit_log WHERE what = 'erase_user' ORDER BY audit_id DESC LIMIT 2;
UPDATE usage_monitor.usage
   SET tags = replace(tags::text, to_jsonb('eve "e"'::text)::text, to_jsonb(:'eve'::text)::text)::jsonb,
       session_id = replace(session_id, 'eve "e"', :'eve'),
       request_id = replace(request_id, 'eve "e"', :'eve'),
       error = replace(error, 'eve "e"', :'eve')
 WHERE org = 'acme' AND strpos(concat_ws(' ', tags, session_id, request_id, error), 'eve') > 0;
SELECT count(*) FROM usage_monitor.usage WHERE org = 'acme' AND strpos(usage::text, 'eve') > 0;
SELECT key, value = :'eve' AS erased, cost FROM usage_monitor.tag_usage;
SELECT quota_usage.subject = 'reviewer=' || :'eve' AS erased, used FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id) WHERE name = 'each reviewer' AND used > 0;
SELECT * FROM usage_monitor.verify();

-- Names that are words of ours too, or look like JSON: what the log and alerts have as such stays
UNLISTEN *;
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.alert;
CREATE TEMP TABLE odd AS SELECT * FROM unnest(ARRAY['usage_id', 'user', 'lifetime', 'acme', 'm', 'x", "y', 'x": {"y', '"', '\']) AS o (name);
SELECT usage_monitor.set_quota('odd', 'user', NULL, 1, 'lifetime') > 0, usage_monitor.set_quota('odd org', 'org', 'acme', 1, 'lifetime') > 0;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) SELECT 'acme', name, 'm', 2 FROM odd;
SELECT usage_monitor.reset_quota('odd') AS reset;
SELECT count(usage_monitor.refund_call(usage_id, 1, 'of "' || user_id || '"')) FROM usage_monitor.usage WHERE user_id IN (SELECT name FROM odd);
SELECT format('SELECT length(usage_monitor.erase_user(%L))', name) FROM odd \gexec
SELECT jsonb_object_keys(details) AS key, count(*) FROM usage_monitor.alert GROUP BY 1 ORDER BY 1;
SELECT details ->> 'scope' AS scope, details ->> 'period' AS period, subject ~ '^erased-' AS erased, message ~ 'erased-' AS in_message, count(*) FROM usage_monitor.alert GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT jsonb_object_keys(details) AS key, count(*), count(*) FILTER (WHERE details ->> 'org' = 'acme') AS of_acme, count(*) FILTER (WHERE details ->> 'reason' ~ '^of "erased-') AS reasons
  FROM usage_monitor.audit_log WHERE what = 'refund_call' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS erased FROM usage_monitor.audit_log, jsonb_object_keys(details -> 'used') AS subject WHERE what = 'reset_quota' AND details ->> 'quota' = 'odd' AND subject ~ '^erased-';
SELECT count(*), count(*) FILTER (WHERE code = 'UM003') AS refused FROM usage_monitor.usage, pg_temp.refusal(format('SELECT usage_monitor.refund_call(%s, 1.5, ''again'')', usage_id)) WHERE user_id ~ '^erased-' AND cost = 2;
SELECT * FROM usage_monitor.verify();
