-- The extension's own tables, altered by others: columns and indexes that
-- are not its own, triggers, and a library of another version.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
SET intervalstyle = postgres;
\set SHOW_CONTEXT never
SELECT usage_monitor.set_quota('all', 'all', amount => 100, period => 'lifetime') > 0 AS made;
SELECT usage_monitor.set_quota('each', 'user', amount => 10, period => 'lifetime', enforcement => 'block') > 0 AS made;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 1);

-- Columns of quota, added, dropped, and in another order
ALTER TABLE usage_monitor.quota ADD COLUMN note text;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 1);
ALTER TABLE usage_monitor.quota DROP COLUMN note;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 1);
SELECT name, subject, used FROM usage_monitor.quota_status ORDER BY 1, 2;

-- The same where quotas are so many that they are read one by one
INSERT INTO usage_monitor.quota (name, scope, subject, amount, period)
SELECT 'q' || g, 'user', 'v' || g, 10, 'lifetime' FROM generate_series(1, 1100) g;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('v1', 'm', 1);
ALTER TABLE usage_monitor.quota ADD COLUMN note text;
ALTER TABLE usage_monitor.quota_raise ADD COLUMN note text;
ALTER TABLE _usage_monitor._quota_birth ADD COLUMN note text, DROP COLUMN IF EXISTS nothing;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('v2', 'm', 1);
ALTER TABLE usage_monitor.quota DROP COLUMN note;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('v3', 'm', 1);
SELECT name, used FROM usage_monitor.quota_status WHERE subject IN ('v1', 'v2', 'v3') AND name LIKE 'q%' ORDER BY 1;
DELETE FROM usage_monitor.quota WHERE name LIKE 'q%';

-- Columns of counters: new rows have their defaults, old ones keep what they have
ALTER TABLE _usage_monitor._counter_row ADD a text, ADD b int NOT NULL DEFAULT 7, ADD c text, ADD d timestamptz DEFAULT now();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 1), ('u2', 'm', 1);
UPDATE _usage_monitor._counter_row SET a = 'mine', b = 8 WHERE subject = 'u1';
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 5.0000000001);
ALTER TABLE _usage_monitor._counter_row DROP COLUMN c;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'm', 1);
SELECT subject, a, b, d IS NOT NULL AS d FROM _usage_monitor._counter_row WHERE subject LIKE 'u%' ORDER BY 1;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u1', 'm', 2);
SELECT usage_monitor.rebuild_counters() > 0 AS rebuilt;
SELECT subject, a, b FROM _usage_monitor._counter_row WHERE subject LIKE 'u%' ORDER BY 1;
SELECT name, subject, used FROM usage_monitor.quota_status WHERE used > 0 ORDER BY 1, 2;
SELECT * FROM usage_monitor.verify();
ALTER TABLE _usage_monitor._counter_row DROP a, DROP b, DROP d;

-- Columns of what changed rows write, and of the state of the rollups
ALTER TABLE _usage_monitor._correction ADD COLUMN note text DEFAULT 'n';
ALTER TABLE _usage_monitor._rollup_state ADD COLUMN note text;
CREATE INDEX own ON _usage_monitor._correction (org);
SELECT usage_monitor.refresh() > 0 AS folded;
UPDATE usage_monitor.usage SET cost = 3 WHERE user_id = 'u2';
SELECT sign, cost, note FROM _usage_monitor._correction ORDER BY 1;
SELECT count(*) FROM _usage_monitor._unindexed('_usage_monitor._correction');
SELECT * FROM usage_monitor.verify();
SELECT usage_monitor.refresh();
DROP INDEX _usage_monitor.own;
ALTER TABLE _usage_monitor._correction DROP COLUMN note;
ALTER TABLE _usage_monitor._rollup_state DROP COLUMN note;

-- A column that is missing is refused by its name
BEGIN;
ALTER TABLE _usage_monitor._counter_row RENAME COLUMN recent TO bygone;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u9', 'm', 1);
COMMIT;

-- So is a table without its key
BEGIN;
ALTER TABLE _usage_monitor._counter_row DROP CONSTRAINT _counter_row_pkey;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u9', 'm', 1);
COMMIT;

-- Indexes of counters that somebody has added are kept up: of columns, of
-- expressions, of a part of the rows
CREATE INDEX own_subject ON _usage_monitor._counter_row (subject);
CREATE INDEX own_upper ON _usage_monitor._counter_row (upper(subject)) WHERE slot = 0;
CREATE UNIQUE INDEX own_key ON _usage_monitor._counter_row (subject, quota_id, period_start, slot) INCLUDE (used);
CREATE INDEX own_brin ON _usage_monitor._counter_row USING brin (used);
CREATE INDEX own_revision ON _usage_monitor._counter_row (revision, share);
INSERT INTO usage_monitor.usage (user_id, model, cost) SELECT 'w' || g, 'm', 1 FROM generate_series(1, 40) g;
SELECT usage_monitor.raise_quota('each', 5, now() + interval '1 hour') > 0 AS raised;
INSERT INTO usage_monitor.usage (user_id, model, cost) SELECT 'w' || g, 'm', 10 FROM generate_series(1, 40, 2) g;
SELECT count(*) FROM _usage_monitor._unindexed('_usage_monitor._counter_row');
BEGIN;
SET LOCAL enable_seqscan = off;
SELECT count(*) FROM _usage_monitor._counter_row WHERE upper(subject) > 'W' AND slot = 0;
SELECT count(*) FROM _usage_monitor._counter_row WHERE subject > 'w' AND slot = 0;
COMMIT;
SELECT * FROM usage_monitor.verify();
DROP INDEX _usage_monitor.own_subject, _usage_monitor.own_upper, _usage_monitor.own_key, _usage_monitor.own_brin, _usage_monitor.own_revision;

-- verify() knows rows that there are twice, and rows that an index lacks
BEGIN;
UPDATE pg_index SET indisready = false, indislive = false WHERE indexrelid = '_usage_monitor._counter_row_pkey'::regclass;
ALTER TABLE _usage_monitor._counter_row SET (fillfactor = 50);
INSERT INTO _usage_monitor._counter_row (quota_id, subject, period_start, used, revision)
SELECT quota_id, subject, period_start, 0, 0 FROM _usage_monitor._counter_row WHERE subject = 'u1' AND slot = 0;
UPDATE pg_index SET indisready = true, indislive = true WHERE indexrelid = '_usage_monitor._counter_row_pkey'::regclass;
ALTER TABLE _usage_monitor._counter_row SET (fillfactor = 50);
SELECT what, key - 'quota_id' AS key, expected, found FROM usage_monitor.verify() ORDER BY 1, 3;
ROLLBACK;
SELECT * FROM _usage_monitor._unindexed('usage_monitor.usage');
SELECT * FROM _usage_monitor._unindexed('usage_monitor.quota_status');

-- and triggers that are not as they were installed
ALTER TABLE usage_monitor.usage ENABLE TRIGGER ALL;
ALTER TABLE usage_monitor.price ENABLE TRIGGER ALL;
ALTER TABLE usage_monitor.quota DISABLE TRIGGER check_quota;
BEGIN;
DROP TRIGGER quota_made ON usage_monitor.quota;
SELECT * FROM usage_monitor.verify() ORDER BY key::text COLLATE "C";
ROLLBACK;
ALTER TABLE usage_monitor.usage ENABLE ALWAYS TRIGGER usage_before, ENABLE ALWAYS TRIGGER usage_after;
ALTER TABLE usage_monitor.price ENABLE ALWAYS TRIGGER invalidate, ENABLE REPLICA TRIGGER invalidate_replicated,
    ENABLE REPLICA TRIGGER pass_over, ENABLE REPLICA TRIGGER pass_over_changes;
ALTER TABLE usage_monitor.quota ENABLE TRIGGER check_quota;
SELECT * FROM usage_monitor.verify();

-- The script and the library know each other's version
SELECT _usage_monitor._library_version() = extversion AS same FROM pg_extension WHERE extname = 'usage_monitor';
BEGIN;
UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'usage_monitor';
ALTER TABLE usage_monitor.usage_default SET (fillfactor = 100);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'm', 1);
-- once, and not with each call
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'm', 1);
ROLLBACK;
BEGIN;
UPDATE pg_extension SET extversion = '100.0' WHERE extname = 'usage_monitor';
ALTER TABLE usage_monitor.usage_default SET (fillfactor = 100);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'm', 1);
ALTER TABLE _usage_monitor._counter_row RENAME COLUMN revision TO other_revision;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'm', 1);
COMMIT;
SELECT * FROM usage_monitor.verify();

-- A partition that cannot tell whether it has a request already gets no row
CREATE TABLE usage_monitor.usage_2024 PARTITION OF usage_monitor.usage FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO usage_monitor.usage (ts, model, cost) VALUES ('2024-05-01', 'm', 1);
INSERT INTO usage_monitor.usage (ts, request_id, model, cost) VALUES ('2024-05-01', 'r', 'm', 1), ('2024-05-02', 'r', 'm', 1);
-- nor is it in the way of others
INSERT INTO usage_monitor.usage (request_id, model, cost) VALUES ('r', 'm', 1);
CREATE UNIQUE INDEX wrong ON usage_monitor.usage_2024 (org, request_id) WHERE request_id > 'a';
INSERT INTO usage_monitor.usage (ts, request_id, model, cost) VALUES ('2024-05-01', 'r', 'm', 1);
DROP INDEX usage_monitor.wrong;
CREATE UNIQUE INDEX ON usage_monitor.usage_2024 (org, request_id) WHERE request_id IS NOT NULL;
INSERT INTO usage_monitor.usage (ts, request_id, model, cost) VALUES ('2024-05-01', 'r', 'm', 1);
INSERT INTO usage_monitor.usage (ts, request_id, model, cost) VALUES ('2024-05-01', 's', 'm', 1);
INSERT INTO usage_monitor.usage (request_id, model, cost) VALUES ('s', 'm', 1), ('s', 'm', 1);
SELECT request_id, count(*) FROM usage_monitor.usage WHERE request_id IN ('r', 's') GROUP BY 1 ORDER BY 1;
DROP TABLE usage_monitor.usage_2024;

-- What a client may ask for at most
INSERT INTO usage_monitor.usage (model, cost, tags) SELECT 'm', 1, jsonb_object_agg('t' || g, g) FROM generate_series(1, 65) g;
SET usage_monitor.max_tags = 65;
INSERT INTO usage_monitor.usage (model, cost, tags) SELECT 'm', 1, jsonb_object_agg('t' || g, g) FROM generate_series(1, 65) g;
RESET usage_monitor.max_tags;
SELECT allowed FROM usage_monitor.reserve(user_id => 'x', cost => 1, ttl => '25 hours');
SELECT allowed FROM usage_monitor.reserve(user_id => 'x', cost => 1, ttl => '24 hours');
SET usage_monitor.max_reservation_ttl = '2d';
SELECT allowed FROM usage_monitor.reserve(user_id => 'x', cost => 1, ttl => '25 hours');
RESET usage_monitor.max_reservation_ttl;
CREATE ROLE regress_client;
SET ROLE regress_client;
SET usage_monitor.max_tags = 1000;
SET usage_monitor.max_reservation_ttl = '100d';
RESET ROLE;
DROP ROLE regress_client;
-- names take time in proportion to their length
SELECT count(*) < 40 AS few FROM _usage_monitor._model_names(NULL, repeat('us.', 332) || 'a');
SELECT count(*) < 40 AS few FROM _usage_monitor._model_names(NULL, repeat('-latest', 142));
SELECT count(*) FROM _usage_monitor._model_names(NULL, repeat('-latest', 100000));
SELECT usage_monitor.cost(repeat('-latest', 100000), 1, 1);

-- A sum that bigint does not hold is refused, and not wrapped
BEGIN;
INSERT INTO usage_monitor.usage (model, input_tokens, total_tokens, recorded_at, usage_id)
SELECT 'm', 9223372036854775807, 9223372036854775807, '2024-01-01', -g FROM generate_series(1, 2) g;
SELECT input_tokens FROM usage_monitor.daily_total;
ROLLBACK;

-- Reservations, with an index, and with what the executor alone looks after
\set VERBOSITY terse
CREATE INDEX own ON usage_monitor.reservation (user_id, usage_id);
SELECT count(usage_monitor.release(reservation_id)) FROM usage_monitor.reservation WHERE state = 'open';
SELECT s.cost FROM usage_monitor.reserve(user_id => 'r1', cost => 1) r, usage_monitor.settle(r.reservation_id, model => 'm', cost => 1) s;
SET enable_seqscan = off;
SELECT state, usage_id IS NOT NULL AS has_call FROM usage_monitor.reservation WHERE user_id = 'r1' AND usage_id > 0;
RESET enable_seqscan;
DROP INDEX usage_monitor.own;
ALTER TABLE usage_monitor.reservation ALTER user_id SET NOT NULL;
SELECT allowed FROM usage_monitor.reserve(cost => 1);
SELECT allowed FROM usage_monitor.reserve(user_id => 'r2', cost => 1);
ALTER TABLE usage_monitor.reservation ALTER user_id DROP NOT NULL, ADD CONSTRAINT own CHECK (cost < 5);
SELECT allowed FROM usage_monitor.reserve(user_id => 'r3', cost => 6);
\set VERBOSITY default
SELECT name, subject, reserved FROM usage_monitor.quota_status WHERE subject LIKE 'r%' ORDER BY 2;
ALTER TABLE usage_monitor.reservation DROP CONSTRAINT own;
CREATE TABLE own_note (what text, state text, user_id text);
CREATE FUNCTION own_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.own_note VALUES (TG_OP, NEW.state, NEW.user_id);
    RETURN NEW;
END $$;
CREATE TRIGGER own_note AFTER INSERT OR UPDATE ON usage_monitor.reservation FOR EACH ROW EXECUTE FUNCTION own_note();
SELECT usage_monitor.release(reservation_id) FROM usage_monitor.reserve(user_id => 'r4', cost => 1);
SELECT s.cost FROM usage_monitor.reserve(user_id => 'r5', cost => 1) r, usage_monitor.settle(r.reservation_id, model => 'm', cost => 1) s;
SELECT * FROM own_note ORDER BY user_id, what;
DROP TRIGGER own_note ON usage_monitor.reservation;
-- one that a trigger of the ledger changes while it is settled
CREATE FUNCTION own_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_monitor.reservation SET tags = '{"touched": "yes"}' WHERE user_id = NEW.user_id;
    RETURN NEW;
END $$;
CREATE TRIGGER own_touch AFTER INSERT ON usage_monitor.usage FOR EACH ROW EXECUTE FUNCTION own_touch();
SELECT s.cost FROM usage_monitor.reserve(user_id => 'r6', cost => 1) r, usage_monitor.settle(r.reservation_id, model => 'm', cost => 1) s;
SELECT state, tags, usage_id IS NOT NULL AS has_call FROM usage_monitor.reservation WHERE user_id = 'r6';
DROP FUNCTION own_note, own_touch CASCADE;
DROP TABLE own_note;
-- columns
ALTER TABLE usage_monitor.reservation ADD note text DEFAULT 'n', DROP department;
ALTER TABLE usage_monitor.reservation ADD department text;
SELECT s.cost FROM usage_monitor.reserve(user_id => 'r7', cost => 1) r, usage_monitor.settle(r.reservation_id, model => 'm', cost => 1) s;
SELECT state, note, usage_id IS NOT NULL AS has_call FROM usage_monitor.reservation WHERE user_id = 'r7';
-- without its primary key nothing is found
ALTER TABLE usage_monitor.reservation DROP CONSTRAINT reservation_pkey;
SELECT usage_monitor.release(gen_random_uuid());
