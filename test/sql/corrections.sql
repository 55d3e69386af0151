-- Corrections are money: refunds of calls and credits to quotas count, are on record, and are no requests
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
\set SHOW_CONTEXT never
CREATE VIEW pg_temp.status AS SELECT name, subject, trim_scale(used) AS used, trim_scale(remaining) AS remaining, state FROM usage_monitor.quota_status ORDER BY quota_id, subject;

SELECT usage_monitor.set_quota('money', 'user', NULL, 10, 'lifetime', enforcement => 'block'),
       usage_monitor.set_quota('calls', 'user', NULL, 5, 'lifetime', metric => 'requests', enforcement => 'block'),
       usage_monitor.set_quota('tags', 'tag', 'team', 10, 'lifetime'),
       usage_monitor.set_quota('tokens', 'model', 'gpt-4o', 100, metric => 'tokens', period => 'lifetime');
INSERT INTO usage_monitor.usage (org, department, project, user_id, session_id, source, provider, model, cost, input_tokens, tags, duration_ms)
SELECT 'acme', 'd', 'p', 'ann', 's', 'app', 'openai', 'gpt-4o-2024-08-06', 3, 10, '{"team": "red"}', 100 FROM generate_series(1, 3);
SELECT min(usage_id) AS call FROM usage_monitor.usage \gset
TABLE pg_temp.status;
SELECT usage_monitor.refresh() > 0;

-- a part, and the rest
SELECT operation, cost, other_cost, ts = (SELECT ts FROM usage_monitor.usage WHERE usage_id = :call) AS same_ts, user_id, model, resolved_model, tags, input_tokens, success
FROM usage_monitor.refund_call(:call, 1.25, 'bad answer');
SELECT code, message, hint FROM pg_temp.refusal(format('SELECT usage_monitor.refund_call(%s, 1.7501, ''too much'')', :call)), (SELECT) x;
SELECT cost FROM usage_monitor.refund_call(:call, NULL, 'all of it');
TABLE pg_temp.status;
CREATE VIEW pg_temp.sums AS
SELECT 'daily' AS view, sum(requests) AS requests, sum(cost) AS cost, sum(errors) AS errors, sum(timed_requests) AS timed FROM usage_monitor.daily_usage
UNION ALL SELECT 'user', sum(requests), sum(cost), sum(errors), sum(timed_requests) FROM usage_monitor.user_usage
UNION ALL SELECT 'session', sum(requests), sum(cost), sum(errors), sum(timed_requests) FROM usage_monitor.session_usage
UNION ALL SELECT 'tag', sum(requests), sum(cost), sum(errors), sum(timed_requests) FROM usage_monitor.tag_usage
UNION ALL SELECT 'operation', sum(requests), sum(cost), sum(errors), sum(timed_requests) FROM usage_monitor.operation_usage
UNION ALL SELECT 'model', sum(requests), sum(cost), sum(errors), sum(timed_requests) FROM usage_monitor.model_total
UNION ALL SELECT 'ledger', 3, sum(cost), 0, 3 FROM usage_monitor.usage;
TABLE pg_temp.sums;
SELECT sum(requests) AS requests, min(success_rate) AS success, sum(cost) AS cost, max(avg_duration_ms) AS ms FROM usage_monitor.daily_total;
SELECT usage_monitor.refresh() > 0;
TABLE pg_temp.sums;
SELECT operation, requests, success_rate, input_tokens, trim_scale(cost) AS cost FROM usage_monitor.operation_usage ORDER BY 1;
SELECT error_rate, cost_per_request, tokens_per_second FROM usage_monitor.model_efficiency;
SELECT requests, application_cache_hit_rate FROM usage_monitor.cache_efficiency;
SELECT rank, user_id, requests, cost FROM usage_monitor.top_users();
SELECT * FROM usage_monitor.verify();
-- room that came back is there to use, twice
INSERT INTO usage_monitor.usage (org, user_id, model, cost) SELECT 'acme', 'ann', 'gpt-4o', 2 FROM generate_series(1, 2);
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('ann', 'm', 0)$$);
TABLE pg_temp.status;

-- what cannot be refunded
SELECT r.* FROM unnest(ARRAY['NULL, 1, ''x''', '0, 1, ''x''', :'call' || ', 1, ''x''', :'call' || ', NULL, ''x''', :'call' || ', 1, '' ''', :'call' || ', 1, NULL']) WITH ORDINALITY AS a (arguments, n)
CROSS JOIN LATERAL pg_temp.refusal('SELECT usage_monitor.refund_call(' || arguments || ')') AS r ORDER BY n;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('unpriced', 'unpriced', 1);
SELECT code, regexp_replace(message, '[0-9]+', 'N') AS message, hint FROM pg_temp.refusal('SELECT usage_monitor.refund_call((SELECT usage_id FROM usage_monitor.usage WHERE user_id = ''unpriced''), 1, ''x'')');
SELECT code, regexp_replace(message, '[0-9]+', 'N') AS message, hint FROM pg_temp.refusal('SELECT usage_monitor.refund_call((SELECT max(usage_id) FROM usage_monitor.usage WHERE operation = ''correction''), 1, ''x'')');
SELECT r.* FROM unnest('{0,-1,NaN,Infinity,1e-200}'::text[]) WITH ORDINALITY AS a (amount, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.refund_call(%s, %L, ''x'')', :call + 1, amount)) AS r ORDER BY n;
-- what others have committed must be seen
CREATE TEMP TABLE changing AS
SELECT * FROM unnest(ARRAY[format('refund_call(%s, 1, ''x'')', :call + 1), format('void_call(%s, ''x'')', :call + 1),
                           'reprice(''-infinity''::timestamptz, ''infinity'', dry_run => false)', 'reread(dry_run => false)']) AS c (call);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT r.* FROM changing, pg_temp.refusal('SELECT usage_monitor.' || call) AS r;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT r.* FROM changing, pg_temp.refusal('SELECT usage_monitor.' || call) AS r;
SELECT count(*) FROM usage_monitor.reprice('-infinity'::timestamptz, 'infinity');
COMMIT;
SELECT what, details - 'refund_id' AS details FROM usage_monitor.audit_log WHERE what IN ('refund_call', 'credit') ORDER BY audit_id;

-- a call that is voided takes its refunds along
SELECT usage_id FROM usage_monitor.void_call(:call, 'never happened');
SELECT count(*) FILTER (WHERE what = 'void_call') FROM usage_monitor.audit_log;
SELECT sum(cost), count(*) FILTER (WHERE operation = 'correction') AS corrections FROM usage_monitor.usage;
SELECT * FROM usage_monitor.verify();
-- in closed books nothing is entered
INSERT INTO usage_monitor.usage (ts, org, user_id, model, cost) VALUES ('2026-01-05', 'acme', 'bea', 'm', 2);
SELECT until FROM usage_monitor.close_period('2026-01-31');
SELECT ts = now() AS dated_now, cost FROM usage_monitor.refund_call((SELECT usage_id FROM usage_monitor.usage WHERE user_id = 'bea'), 0.5, 'late');
SELECT day < '2026-02-01' AS january, requests, success_rate, cost, avg_duration_ms, unpriced_requests FROM usage_monitor.user_usage WHERE user_id = 'bea' ORDER BY day;
SELECT usage_monitor.refresh() > 0;
SELECT day < '2026-02-01' AS january, requests, success_rate, cost, avg_duration_ms, unpriced_requests FROM usage_monitor.user_usage WHERE user_id = 'bea' ORDER BY day;
SELECT user_id, requests, success_rate, cost FROM usage_monitor.top_users(days => 2) WHERE user_id = 'bea';
SELECT subject, used, state FROM pg_temp.status WHERE subject = 'bea';
-- taken out and put back, also where sums become nothing in between
BEGIN;
DELETE FROM usage_monitor.usage WHERE user_id = 'bea' AND operation = 'correction';
SELECT count(*) FROM usage_monitor.user_usage WHERE user_id = 'bea' AND day > '2026-02-01';
ROLLBACK;
DELETE FROM usage_monitor.usage WHERE user_id = 'bea' AND operation = 'correction';
SELECT usage_monitor.refresh() >= 0;
SELECT count(*) FROM usage_monitor.user_usage WHERE user_id = 'bea' AND day > '2026-02-01';
SELECT * FROM usage_monitor.verify();

-- corrections are written by no one else
SELECT r.* FROM unnest(ARRAY[
    $$INSERT INTO usage_monitor.usage (model, cost, operation) VALUES ('m', -1, 'correction')$$,
    $$INSERT INTO usage_monitor.usage (model, cost, operation) VALUES ('m', 1, 'correction')$$,
    $$INSERT INTO usage_monitor.usage (model, input_tokens, operation) VALUES ('m', 1, ' correction ')$$,
    $$UPDATE usage_monitor.usage SET operation = 'correction' WHERE user_id = 'bea'$$,
    $$SELECT usage_monitor.settle((SELECT reservation_id FROM usage_monitor.reserve(cost => 1, model => 'm')), cost => 3, operation => 'correction')$$,
    $$INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount) VALUES (1, 'ann', '-infinity', -5)$$,
    $$TRUNCATE usage_monitor.quota_adjustment$$]) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;
INSERT INTO usage_monitor.usage (user_id, model, cost, operation) VALUES ('cor', 'm', 1, 'corrections') RETURNING operation;

-- Credits
DELETE FROM usage_monitor.quota;
DELETE FROM usage_monitor.usage;
DELETE FROM usage_monitor.alert;
SELECT usage_monitor.set_quota('each', 'user', NULL, 10, 'lifetime', enforcement => 'block'),
       usage_monitor.set_quota('own', 'user', 'dan', 10, 'lifetime', overrides => 'each'),
       usage_monitor.set_quota('all', 'all', NULL, 100, 'lifetime', metric => 'tokens'),
       usage_monitor.set_quota('team', 'tag', 'team', 10, 'lifetime'),
       usage_monitor.set_quota('model', 'model', 'gpt-4o', 3, 'lifetime', metric => 'requests');
INSERT INTO usage_monitor.usage (user_id, model, cost, input_tokens, tags) VALUES ('carol', 'openai/gpt-4o', 8, 90, '{"team": "red"}');
SELECT subject, amount, reason FROM usage_monitor.credit('each', 'carol', 5, 'goodwill');
TABLE pg_temp.status;
-- it alerts again
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('carol', 'm', 5);
SELECT quota, subject, level, used FROM usage_monitor.alert WHERE quota = 'each' ORDER BY alert_id;
SELECT subject, amount FROM usage_monitor.credit('all', NULL, 50, 'tokens') UNION ALL
SELECT subject, amount FROM usage_monitor.credit('team', 'team=red', 1.5, 'money') UNION ALL
SELECT subject, amount FROM usage_monitor.credit('model', ' GPT-4o ', 1, 'a request') UNION ALL
SELECT subject, amount FROM usage_monitor.credit('own', NULL, 2, 'money') UNION ALL
SELECT subject, amount FROM usage_monitor.credit('each', 'nobody yet', 2, 'in advance');
TABLE pg_temp.status;
-- in a transaction: seen at once, undone, and together with calls and changes of quotas
BEGIN;
SAVEPOINT s;
SELECT amount FROM usage_monitor.credit('each', 'carol', 3, 'a');
SELECT used FROM pg_temp.status WHERE name = 'each' AND subject = 'carol';
ROLLBACK TO s;
SELECT used FROM pg_temp.status WHERE name = 'each' AND subject = 'carol';
SELECT amount FROM usage_monitor.credit('each', 'carol', 4, 'b');
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('carol', 'm', 1);
SELECT usage_monitor.set_quota('another', 'user', 'carol', 10, 'lifetime') > 0;
SELECT used FROM pg_temp.status WHERE name = 'each' AND subject = 'carol';
COMMIT;
SELECT name, used FROM pg_temp.status WHERE subject = 'carol';
BEGIN;
SELECT amount FROM usage_monitor.credit('each', 'carol', 1, 'c');
UPDATE usage_monitor.quota SET amount = 11 WHERE name = 'each';
SELECT amount FROM usage_monitor.credit('each', 'carol', 1, 'd');
COMMIT;
SELECT name, used, remaining FROM pg_temp.status WHERE subject = 'carol';
SELECT * FROM usage_monitor.verify();
-- taken back, as far as there is room
SELECT amount FROM usage_monitor.credit('each', 'carol', -6.5, 'a mistake');
SELECT name, used FROM pg_temp.status WHERE name = 'each' AND subject = 'carol';
SELECT usage_monitor.credit('each', 'carol', -2, 'more than there is');
SELECT amount FROM usage_monitor.credit('own', 'dan', -12, 'where nothing blocks');
SELECT quota, subject, level, used FROM usage_monitor.alert WHERE quota = 'own' ORDER BY alert_id;
-- a reset goes on from there, and counters made anew know all of it
SELECT usage_monitor.reset_quota('each', 'carol', 'paid');
SELECT amount FROM usage_monitor.credit('each', 'carol', 1, 'and more');
SELECT usage_monitor.rebuild_counters();
SELECT name, used FROM pg_temp.status WHERE name = 'each' AND subject = 'carol';
SELECT * FROM usage_monitor.verify();
SELECT r.* FROM unnest('{DELETE FROM usage_monitor.quota_adjustment,UPDATE usage_monitor.quota_adjustment SET amount = 0}'::text[]) AS s (statement) CROSS JOIN LATERAL pg_temp.refusal(statement) AS r;
-- what the ledger says stays
SELECT sum(cost), sum(requests) FROM usage_monitor.daily_usage;
-- what cannot be credited
SELECT r.* FROM unnest(ARRAY['''none'', ''x'', 1, ''r''', 'NULL, ''x'', 1, ''r''', '''each'', NULL, 1, ''r''', '''each'', '' '', 1, ''r''', '''each'', ''dan'', 1, ''r''', '''own'', ''carol'', 1, ''r''',
    '''all'', ''x'', 1, ''r''', '''all'', NULL, 1.5, ''r''', '''team'', ''red'', 1, ''r''', '''team'', ''colour=red'', 1, ''r''', '''each'', ''carol'', 1, NULL', '''each'', ''carol'', 1, ''''',
    '''each'', ''carol'', 0, ''r''', '''each'', ''carol'', NULL, ''r''', '''each'', ''carol'', ''NaN'', ''r''', '''each'', ''carol'', 1e100, ''r''']) WITH ORDINALITY AS a (arguments, n)
CROSS JOIN LATERAL pg_temp.refusal('SELECT usage_monitor.credit(' || arguments || ')') AS r ORDER BY n;
UPDATE usage_monitor.quota SET enabled = false WHERE name = 'team';
SELECT r.* FROM pg_temp.refusal($$SELECT usage_monitor.credit('team', 'team=red', 1, 'r')$$) AS r;
SELECT details - 'adjustment_id' FROM usage_monitor.audit_log WHERE what = 'credit' ORDER BY audit_id LIMIT 3;

-- Who may: managers, of all organisations or of their own; readers and writers not
CREATE ROLE regress_all_boss;
CREATE ROLE regress_acme_boss;
CREATE ROLE regress_acme_app;
SELECT usage_monitor.grant_access('regress_all_boss', 'manager'), usage_monitor.grant_access('regress_acme_boss', 'manager', 'acme'),
       usage_monitor.grant_access('regress_acme_app', 'writer', 'acme'), usage_monitor.grant_access('regress_acme_app', 'reader', 'acme');
SELECT usage_monitor.set_quota('of acme', 'user', NULL, 10, 'lifetime', org => 'acme'), usage_monitor.set_quota('of globex', 'user', NULL, 10, 'lifetime', org => 'globex'),
       usage_monitor.set_quota('on acme', 'org', 'acme', 10, 'lifetime');
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('acme', 'eve', 'm', 1), ('globex', 'eve', 'm', 1);
SELECT usage_id AS acme_call FROM usage_monitor.usage WHERE org = 'acme' \gset
SELECT usage_id AS globex_call FROM usage_monitor.usage WHERE org = 'globex' \gset
SET ROLE regress_acme_app;
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.credit('of acme', 'eve', 1, 'r')$$);
SELECT code, message FROM pg_temp.refusal(format('SELECT usage_monitor.refund_call(%s, 1, ''r'')', :acme_call));
SET ROLE regress_acme_boss;
SELECT subject, amount FROM usage_monitor.credit('of acme', 'eve', 0.5, 'r');
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.credit('of globex', 'eve', 1, 'r')$$);
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.credit('each', 'eve', 1, 'r')$$);
SELECT code, message FROM pg_temp.refusal($$SELECT usage_monitor.credit('on acme', NULL, 1, 'r')$$);
SELECT org, user_id, cost FROM usage_monitor.refund_call(:acme_call, 0.25, 'r');
SELECT code, message = format('call %s does not exist', :globex_call) AS as_if_not_there FROM pg_temp.refusal(format('SELECT usage_monitor.refund_call(%s, 1, ''r'')', :globex_call));
SELECT subject, used FROM usage_monitor.quota_status WHERE name = 'of acme';
SET ROLE regress_all_boss;
SELECT subject, amount FROM usage_monitor.credit('of globex', 'eve', 0.5, 'r');
SELECT org, user_id, cost FROM usage_monitor.refund_call(:globex_call, 0.25, 'r');
SELECT code, message FROM pg_temp.refusal($$INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount) VALUES (1, 'eve', '-infinity', -5)$$);
SET usage_monitor.write_corrections = on;
RESET ROLE;
SELECT what, who = session_user AS who, as_role, details->>'org' AS org FROM usage_monitor.audit_log WHERE what IN ('credit', 'refund_call') ORDER BY audit_id DESC LIMIT 4;
SELECT * FROM usage_monitor.verify();
SELECT usage_monitor.revoke_access('regress_acme_boss'), usage_monitor.revoke_access('regress_acme_app');
-- a person who is erased keeps the credit, under the pseudonym
SELECT usage_monitor.refresh() > 0;
SELECT usage_monitor.erase_user('eve') ~ '^erased-';
SELECT name, left(subject, 7) AS subject, used FROM pg_temp.status WHERE name LIKE 'of %';
SELECT * FROM usage_monitor.verify();
DROP OWNED BY regress_all_boss, regress_acme_boss, regress_acme_app;
DROP ROLE regress_all_boss, regress_acme_boss, regress_acme_app;
-- quotas take their adjustments along
DELETE FROM usage_monitor.quota;
SELECT count(*) FROM usage_monitor.quota_adjustment;
