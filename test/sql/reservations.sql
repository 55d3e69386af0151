--
-- Reservations: room held for a call before it is made
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET intervalstyle = 'postgres';
\set SHOW_CONTEXT never

CREATE VIEW pg_temp.room AS
SELECT name, subject, used, reserved, remaining, percentage, state FROM usage_monitor.quota_status ORDER BY name, subject;
CREATE VIEW pg_temp.left_over AS
SELECT (SELECT count(*) FROM _usage_monitor._reservation_part) AS parts,
       (SELECT count(*) FROM usage_monitor.reservation WHERE state = 'open') AS open;

-- one unit of money a token in, two a token out
SELECT usage_monitor.set_price('m', 1, 2, per => 1, provider => 'regress') > 0,
       usage_monitor.set_quota('cost', 'user', NULL, 10, 'lifetime', enforcement => 'block') > 0;

-- Admission, up to the last bit of room, and refusal without an error
SELECT allowed, reason, reservation_id IS NOT NULL AS id, expires_at > clock_timestamp() + interval '9 minutes' AS later
FROM usage_monitor.reserve(user_id => 'alice', model => 'm', cost => 4);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'alice', model => 'm', input_tokens => 2, max_output_tokens => 1);
SELECT allowed, reason, reservation_id, expires_at FROM usage_monitor.reserve(user_id => 'alice', model => 'm', cost => 2.000001);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'alice', model => 'm', input_tokens => 0, max_output_tokens => 1);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'alice', cost => 0.000001);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'alice', cost => 0);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'bob', model => 'm', cost => 10);
SELECT allowed, reason FROM usage_monitor.reserve(model => 'm', cost => 1000);
SELECT * FROM pg_temp.room;
SELECT name, subject, amount, used, reserved, remaining, allowed, reason FROM usage_monitor.check_quota(user_id => 'alice', cost => 1);
-- what is reserved is held against calls that were not
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('alice', 'm', 0.01);
-- a reservation is no usage, and raises no alert
SELECT count(*) FROM usage_monitor.alert;
SELECT state, org, user_id, model, cost, tokens, requests, usage_id FROM usage_monitor.reservation ORDER BY cost, tokens;

-- Settling: with counts
SELECT reservation_id AS four FROM usage_monitor.reservation WHERE user_id = 'alice' AND cost = 4 AND tokens = 0 \gset
SELECT reservation_id AS two FROM usage_monitor.reservation WHERE user_id = 'alice' AND tokens = 1 \gset
SELECT reservation_id AS tokens FROM usage_monitor.reservation WHERE user_id = 'alice' AND tokens = 3 \gset
SELECT user_id, model, input_tokens, output_tokens, cost, cost_source, request_id, duration_ms
FROM usage_monitor.settle(:'four', input_tokens => 1, output_tokens => 1, request_id => 'r1', duration_ms => 12.5);
SELECT * FROM pg_temp.room WHERE subject = 'alice';
SELECT state, ended_at IS NOT NULL AS ended, (SELECT request_id FROM usage_monitor.usage u WHERE u.usage_id = r.usage_id) AS request
FROM usage_monitor.reservation r WHERE reservation_id = :'four';
-- more than was reserved, as long as there is room
SELECT cost FROM usage_monitor.settle(:'tokens', cost => 5);
SELECT * FROM pg_temp.room WHERE subject = 'alice';
-- a settlement that fails leaves the reservation as it was
SELECT message FROM pg_temp.refusal(format('SELECT usage_monitor.settle(%L, cost => 2.5)', :'two'));
SELECT message FROM pg_temp.refusal(format('SELECT usage_monitor.settle(%L, input_tokens => -1)', :'two'));
SELECT state FROM usage_monitor.reservation WHERE reservation_id = :'two';
SELECT reserved FROM pg_temp.room WHERE subject = 'alice';
-- with a provider's response
SELECT user_id, model, input_tokens, output_tokens, cost FROM usage_monitor.settle(:'two',
    '{"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}}');
SELECT * FROM pg_temp.room WHERE subject = 'alice';
-- a response that does not name its model is of the reservation's
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(org => 'o', user_id => 'carol', project => 'p', department => 'd', session_id => 's', model => 'm', tags => '{"t": 1}', cost => 5) \gset
SELECT :'allowed' AS allowed;
SELECT org, department, project, user_id, session_id, model, tags, cost
FROM usage_monitor.settle(:'id', '{"object": "chat.completion", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}');

-- Only once
SELECT regexp_replace(message, '[0-9a-f-]{36}', 'X') AS message, code, hint FROM pg_temp.refusal(format('SELECT usage_monitor.settle(%L)', :'four'));
SELECT code, message, hint FROM pg_temp.refusal('SELECT usage_monitor.settle(''00000000-0000-0000-0000-000000000000'')');
SELECT usage_monitor.release(:'four'), usage_monitor.release(NULL), usage_monitor.release('00000000-0000-0000-0000-000000000000');
SELECT reservation_id AS bob FROM usage_monitor.reservation WHERE user_id = 'bob' \gset
SELECT usage_monitor.release(:'bob');
SELECT usage_monitor.release(:'bob');
SELECT code FROM pg_temp.refusal(format('SELECT usage_monitor.settle(%L)', :'bob'));
SELECT count(*) FROM usage_monitor.usage;
SELECT allowed FROM usage_monitor.reserve(user_id => 'bob', cost => 10);
SELECT usage_monitor.release(reservation_id) FROM usage_monitor.reservation WHERE state = 'open' ORDER BY user_id, created_at;
SELECT * FROM pg_temp.left_over;

-- By itself, at its end
SELECT allowed, reservation_id AS short FROM usage_monitor.reserve(user_id => 'dan', cost => 10, ttl => '0.3 s') \gset
SELECT allowed FROM usage_monitor.reserve(user_id => 'dan', cost => 10);
SELECT pg_sleep(0.4);
SELECT reserved FROM pg_temp.room WHERE subject = 'dan';
SELECT allowed, reservation_id AS next FROM usage_monitor.reserve(user_id => 'dan', cost => 6) \gset
-- and is settled nevertheless, into the room that is left
SELECT cost FROM usage_monitor.settle(:'short', model => 'm', cost => 4);
SELECT allowed FROM usage_monitor.reserve(user_id => 'dan', cost => 0.1);
-- the clock goes on within a transaction
BEGIN;
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 10, ttl => '0.2 s');
SELECT pg_sleep(0.3);
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 10);
ROLLBACK;

-- A reservation of a transaction that is undone leaves nothing
BEGIN;
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 10);
SAVEPOINT s;
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 1);
ROLLBACK TO s;
SELECT reserved FROM usage_monitor.check_quota(user_id => 'eve');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 10);
ROLLBACK TO s;
SELECT allowed FROM usage_monitor.reserve(user_id => 'eve', cost => 7);
COMMIT;
SELECT reserved, remaining FROM usage_monitor.check_quota(user_id => 'eve');
-- together with usage
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('eve', 'm', 2);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'eve', cost => 1.5);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'eve', cost => 1);
SELECT used, reserved, remaining FROM usage_monitor.check_quota(user_id => 'eve');

-- A model without a price
SELECT allowed, reason, reservation_id FROM usage_monitor.reserve(user_id => 'fay', model => 'no such model', input_tokens => 1);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'fay', model => 'no such model', input_tokens => 1, cost => 1);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'fay', input_tokens => 1);
SELECT name, allowed, reason FROM usage_monitor.check_quota(user_id => 'fay', model => 'no such model', cost => NULL);
SELECT name, allowed, reason FROM usage_monitor.check_quota(user_id => 'fay', cost => usage_monitor.cost('no such model', 1, 1));

-- Several quotas: room in all of them, or none is taken
SELECT usage_monitor.set_quota('tokens', 'org', 'acme', 100, 'lifetime', 'tokens', enforcement => 'block') > 0,
       usage_monitor.set_quota('requests', 'tag', 'team', 2, 'lifetime', 'requests', enforcement => 'block') > 0,
       usage_monitor.set_quota('alerts only', 'all', NULL, 1, 'lifetime') > 0;
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'gil', model => 'm', tags => '{"team": "red"}', cost => 1, input_tokens => 60, max_output_tokens => 20);
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'gil', model => 'm', tags => '{"team": "red"}', cost => 1, input_tokens => 21);
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'gil', model => 'm', tags => '{"team": "red"}', cost => 1, requests => 2);
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'gil', model => 'm', tags => '{"team": "red"}', cost => 9.5, input_tokens => 1);
SELECT allowed, reason FROM usage_monitor.reserve('acme', 'gil', model => 'm', tags => '{"team": "red"}', cost => 9, input_tokens => 20);
SELECT name, subject, reserved FROM usage_monitor.check_quota('acme', 'gil', tags => '{"team": "red"}', requests => 0) ORDER BY name;
-- what is not known of the cost does not matter to quotas of other things, which come after
SELECT name, allowed, reason FROM usage_monitor.check_quota('acme', 'gil', tags => '{"team": "red"}', cost => NULL, tokens => NULL, requests => NULL);
-- a quota that does not block holds, and refuses nobody
SELECT name, used > amount AS beyond, reserved FROM usage_monitor.quota_status WHERE name = 'alerts only';
SELECT count(*) > 0 AS raised FROM usage_monitor.alert JOIN usage_monitor.quota USING (quota_id) WHERE name = 'alerts only';

-- Nonsense is refused
SELECT r.* FROM unnest(ARRAY[
    'SELECT usage_monitor.reserve(cost => -1)',
    'SELECT usage_monitor.reserve(cost => ''NaN'')',
    'SELECT usage_monitor.reserve(cost => ''Infinity'')',
    'SELECT usage_monitor.reserve(model => ''m'', input_tokens => -1)',
    'SELECT usage_monitor.reserve(cost => 1, max_output_tokens => -1)',
    'SELECT usage_monitor.reserve(cost => 1, requests => -1)',
    'SELECT usage_monitor.reserve(cost => 1, ttl => ''0'')',
    'SELECT usage_monitor.reserve(cost => 1, ttl => ''-1 s'')',
    'SELECT usage_monitor.reserve(cost => 1, ttl => NULL)',
    'SELECT usage_monitor.reserve(cost => 1, ttl => ''290000 years'')',
    'SELECT usage_monitor.reserve(cost => 1e100)',
    'SELECT usage_monitor.reserve(cost => 1, input_tokens => 9223372036854775807, max_output_tokens => 1)',
    'SELECT usage_monitor.reserve(cost => 1, user_id => repeat(''x'', 1001))',
    'SELECT usage_monitor.reserve(cost => 1, org => '''')',
    'SELECT usage_monitor.reserve(cost => 1, model => '''')',
    'SELECT usage_monitor.reserve(cost => 1, tags => ''3'')',
    'SELECT usage_monitor.reserve(cost => 1, tags => ''[1]'')',
    'SELECT usage_monitor.reserve(cost => 1, tags => ''{"a": {"b": 1}}'')',
    'SELECT usage_monitor.reserve(user_id => ''alice'', cost => 1000, tags => ''3'')',
    'SELECT usage_monitor.reserve(cost => 1, tags => jsonb_build_object(''a'', repeat(''x'', 1000)))',
    'SELECT * FROM usage_monitor.check_quota(user_id => ''alice'', tags => ''3'')',
    'SELECT * FROM usage_monitor.check_quota(user_id => repeat(''x'', 1001))',
    'SELECT * FROM usage_monitor.check_quota(org => '''')']) WITH ORDINALITY AS s (statement, n)
CROSS JOIN LATERAL pg_temp.refusal(statement) AS r ORDER BY n;

-- What the transaction has recorded itself is no room either: it is refused here, not at the commit
SELECT usage_monitor.set_quota('own', 'user', 'own', 10, enforcement => 'block') > 0 AS made;
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('own', 'm', 9);
SELECT allowed FROM usage_monitor.reserve(user_id => 'own', model => 'm', cost => 1.5);
SELECT allowed FROM usage_monitor.reserve(user_id => 'own', model => 'm', cost => 1);
COMMIT;
SELECT used, reserved FROM usage_monitor.quota_status WHERE name = 'own';

-- Where the ledger is asked, what it has of other days does not move the period that is told
BEGIN;
INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES (now(), 'nia', 'm', 1), (now() - interval '1 day', 'nia', 'm', 2);
SELECT usage_monitor.set_quota('nia ever', 'all', NULL, 1000000, 'lifetime') > 0, usage_monitor.set_quota('nia daily', 'user', 'nia', 10, 'day') > 0;
SELECT used, period_start <= now() AND period_end > now() AS is_now FROM usage_monitor.check_quota(user_id => 'nia') WHERE name = 'nia daily';
ROLLBACK;

-- The provider that is not named is the one that the ledger will name, for quotas of it and for those that count only its calls
SELECT usage_monitor.set_price('n', 1, 2, per => 1, provider => 'other') > 0,
       usage_monitor.set_quota('other', 'provider', 'other', 3, 'lifetime', enforcement => 'block') > 0,
       usage_monitor.set_quota('by other', 'user', 'ivy', 2, 'lifetime', provider => 'other', enforcement => 'block') > 0;
SELECT name, subject, allowed FROM usage_monitor.check_quota(user_id => 'ivy', model => 'n', cost => 3.5) WHERE name LIKE '%other' ORDER BY name;
SELECT name FROM usage_monitor.check_quota(user_id => 'ivy', model => 'n', provider => 'another', cost => 2.5) WHERE name LIKE '%other';
SELECT name FROM usage_monitor.check_quota(user_id => 'ivy', model => 'no such model', cost => 2.5) WHERE name LIKE '%other';
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'ivy', model => 'n', input_tokens => 3);
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'jan', model => 'n', input_tokens => 4);
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'ivy', model => 'n', input_tokens => 2) \gset
SELECT name, reserved FROM usage_monitor.quota_status WHERE name LIKE '%other' ORDER BY name;
SELECT provider, cost FROM usage_monitor.settle(:'id', input_tokens => 2);
SELECT name, used, reserved FROM usage_monitor.quota_status WHERE name LIKE '%other' ORDER BY name;
-- whoever reports the cost, too
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('jan', 'n', 1.5) RETURNING provider;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('jan', 'n', 0.5) RETURNING provider;
SELECT name, used FROM usage_monitor.quota_status WHERE name LIKE '%other' ORDER BY name;
DELETE FROM usage_monitor.quota WHERE name LIKE '%other';

-- A response is read as record() reads it: a call that failed, a call that was recorded before, another tier
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'kim', model => 'm', cost => 1) \gset
SELECT success, error, cost FROM usage_monitor.settle(:'id', '{"id": "resp_1", "object": "response", "model": "m", "status": "failed", "error": {"code": "server_error", "message": "boom"}, "usage": {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}}');
INSERT INTO usage_monitor.usage (ts, request_id, user_id, model, input_tokens) VALUES ('2026-01-01 00:00Z', 'early', 'kim', 'm', 1);
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'kim', model => 'm', cost => 1) \gset
SELECT ts, success, service_tier, cost FROM usage_monitor.settle(:'id', request_id => 'early', response => '{"object": "chat.completion", "model": "m", "service_tier": "flex", "usage": {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}}');
-- what it says itself is not given a second time
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'kim', model => 'm', cost => 1) \gset
SELECT r.* FROM unnest(ARRAY['input_tokens => 1', 'input_tokens => NULL, output_tokens => 2', 'cost => 1', 'cost => 0, units => ''{}''', 'service_tier => ''batch''',
                             'reasoning_output_tokens => 1', 'cached => true']) WITH ORDINALITY AS a (argument, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.settle(%L, ''{"object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1}}'', %s)', :'id', argument)) AS r ORDER BY n;
-- counts are taken as an INSERT takes them
SELECT provider, model, cached, success, error, service_tier, cost FROM usage_monitor.settle(:'id', model => 'gpt-4o', provider => 'elsewhere', cached => true, success => false, error => 'boom', input_tokens => 5);
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'kim', model => 'm', cost => 1) \gset
SELECT input_tokens, output_tokens, total_tokens, cached, success, service_tier, ts = now() AS now, cost FROM usage_monitor.settle(:'id', input_tokens => NULL, cost => 0.5);

-- and passes over one that another partition has
CREATE TABLE usage_2020 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2020 FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2021-01-01 00:00+00');
INSERT INTO usage_monitor.usage (ts, request_id, user_id, model, input_tokens) VALUES ('2020-06-01 00:00Z', 'retried', 'kim', 'm', 1);
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'kim', model => 'm', cost => 1) \gset
SELECT s IS NULL AS nothing FROM usage_monitor.settle(:'id', input_tokens => 1, request_id => 'retried') s;
SELECT r.state, r.usage_id, (SELECT count(*) FROM _usage_monitor._reservation_part p WHERE p.reservation_id = r.reservation_id) AS holds,
       (SELECT count(*) FROM usage_monitor.usage u WHERE u.request_id = 'retried') AS calls
  FROM usage_monitor.reservation r WHERE r.reservation_id = :'id';

-- By position, as far as it goes
SELECT allowed, expires_at < clock_timestamp() + interval '61 s' AS soon FROM usage_monitor.reserve('o', 'lea', 'p', 'd', 's', 'm', 'regress', '{"t": 1}', 1, 2, 3, '1 minute');
SELECT org, user_id, project, department, session_id, model, provider, tags, cost, tokens, requests FROM usage_monitor.reservation WHERE user_id = 'lea';

-- What expired reservations held is removed as others are made, by every hundredth or so
SELECT count(r.allowed) FROM generate_series(1, 50) AS n CROSS JOIN LATERAL usage_monitor.reserve(user_id => 'max' || n, cost => 1, ttl => '1 ms') AS r;
SELECT pg_sleep(0.01);
DO $$
BEGIN
    FOR n IN 1 .. 5000 LOOP
        PERFORM usage_monitor.reserve(user_id => 'max', cost => 0);
        EXIT WHEN NOT EXISTS (SELECT FROM _usage_monitor._reservation_part WHERE expires_at < clock_timestamp());
    END LOOP;
END
$$;
SELECT count(*) FROM _usage_monitor._reservation_part WHERE expires_at < clock_timestamp();

-- Everything given back, every counter as the ledger says
SELECT count(usage_monitor.release(reservation_id)) > 0 FROM usage_monitor.reservation WHERE state = 'open';
SELECT * FROM pg_temp.left_over;
SELECT count(*) FROM usage_monitor.quota_status WHERE reserved <> 0;
SELECT * FROM usage_monitor.verify();

-- A writer reserves, settles and releases, and sees no quota
CREATE ROLE regress_writer;
SELECT usage_monitor.grant_access('regress_writer', 'writer');
SET ROLE regress_writer;
SELECT allowed, reservation_id AS id FROM usage_monitor.reserve(user_id => 'hal', model => 'm', cost => 9) \gset
SELECT allowed, reason FROM usage_monitor.reserve(user_id => 'hal', model => 'm', cost => 2);
SELECT cost FROM usage_monitor.settle(:'id', input_tokens => 1);
SELECT usage_monitor.release(:'id');
SELECT cost FROM usage_monitor.record('{"object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}', user_id => 'hal');
SELECT r.code FROM unnest(ARRAY['SELECT * FROM usage_monitor.reservation', 'SELECT * FROM usage_monitor.quota_status', 'SELECT _usage_monitor.release(NULL)']) AS s CROSS JOIN LATERAL pg_temp.refusal(s) AS r;
RESET ROLE;
DROP OWNED BY regress_writer;
DROP ROLE regress_writer;
