-- Triggers of users on alerts: an outbox, deferred triggers, and what they may not do
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
CREATE ROLE regress_outbox_writer;
GRANT USAGE ON SCHEMA usage_monitor TO regress_outbox_writer;
GRANT INSERT ON usage_monitor.usage TO regress_outbox_writer;
CREATE SCHEMA regress_outbox;
CREATE TABLE regress_outbox.topic (topic text PRIMARY KEY);
CREATE TABLE regress_outbox.message (
    message_id bigint GENERATED ALWAYS AS IDENTITY,
    topic      text NOT NULL REFERENCES regress_outbox.topic DEFERRABLE INITIALLY DEFERRED,
    alert_id   bigint,
    said       text
);
SELECT usage_monitor.set_quota('q', 'user', NULL, 10, 'lifetime') > 0;

-- AFTER ROW: writes to a table that the one who records has no right to; by the owner's rights
CREATE FUNCTION regress_outbox.enqueue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_outbox.message (topic, alert_id, said)
    VALUES (TG_ARGV[0], NEW.alert_id,
            format('%s %s %s, %s, search_path %s', NEW.alert_type, NEW.subject, TG_ARGV[0],
                   CASE WHEN pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN 'as owner' ELSE 'as user' END,
                   current_setting('search_path')));
    RETURN NULL;
END
$$;
CREATE TRIGGER now AFTER INSERT ON usage_monitor.alert
    FOR EACH ROW EXECUTE FUNCTION regress_outbox.enqueue('now');
-- deferred: fired too, and so are the checks of what it writes
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON usage_monitor.alert DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION regress_outbox.enqueue('later');
SET ROLE regress_outbox_writer;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 8);
RESET ROLE;
SELECT count(*) FROM usage_monitor.usage;
INSERT INTO regress_outbox.topic VALUES ('now'), ('later');
SET ROLE regress_outbox_writer;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 8);
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u', 'm', 2);
INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('u', 'nobody knows', 2);
COMMIT;
RESET ROLE;
SELECT said FROM regress_outbox.message ORDER BY message_id;
SELECT count(*), count(DISTINCT alert_id) FROM regress_outbox.message;
-- what follows the trigger's statements is undone with the transaction
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('v', 'm', 9);
ROLLBACK;
SELECT count(*) FROM regress_outbox.message;

-- one that fails, as any trigger does, fails the transaction
CREATE FUNCTION regress_outbox.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the outbox is full';
END
$$;
CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON usage_monitor.alert DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.subject = 'w') EXECUTE FUNCTION regress_outbox.fail();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('w', 'm', 9);
SELECT count(*) FROM usage_monitor.usage WHERE user_id = 'w';
DROP TRIGGER fail ON usage_monitor.alert;

-- names are looked up in pg_catalog alone, unless the function sets a path of its own
CREATE FUNCTION regress_outbox.count_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM message;
    RETURN NULL;
END
$$;
CREATE TRIGGER z AFTER INSERT ON usage_monitor.alert FOR EACH ROW EXECUTE FUNCTION regress_outbox.count_messages();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('x', 'm', 9);
ALTER FUNCTION regress_outbox.count_messages() SET search_path = regress_outbox, pg_temp;
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('x', 'm', 9);
SELECT count(*) FROM regress_outbox.message WHERE said ~ ' x ';
DROP TRIGGER z ON usage_monitor.alert;

-- it may not record, reserve or change quotas: the counters are being written
CREATE FUNCTION regress_outbox.too_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.subject
        WHEN 'a' THEN INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('a', 'm', 1);
        WHEN 'b' THEN PERFORM usage_monitor.reserve(user_id => 'b', cost => 1);
        WHEN 'c' THEN PERFORM usage_monitor.set_quota('q', 'user', NULL, 20, 'lifetime');
        ELSE NULL;
    END CASE;
    RETURN NULL;
END
$$;
CREATE TRIGGER too_late AFTER INSERT ON usage_monitor.alert FOR EACH ROW EXECUTE FUNCTION regress_outbox.too_late();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('a', 'm', 9);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('b', 'm', 9);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('c', 'm', 9);
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('d', 'm', 9);
DROP TRIGGER too_late ON usage_monitor.alert;

-- BEFORE ROW: one that drops the alert
CREATE FUNCTION regress_outbox.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER drop_it BEFORE INSERT ON usage_monitor.alert FOR EACH ROW WHEN (NEW.subject = 'silent') EXECUTE FUNCTION regress_outbox.drop_it();
INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('silent', 'm', 9);
SELECT count(*) FROM usage_monitor.alert WHERE subject = 'silent';
SELECT * FROM usage_monitor.verify();
DROP SCHEMA regress_outbox CASCADE;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_outbox_writer;
