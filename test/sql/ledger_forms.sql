--
-- Every way in which rows reach, change and leave the ledger
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- days of every year
SET usage_monitor.max_future = '100000d';

SELECT usage_monitor.set_price('ledger-a', 2, 8, provider => 'regress') > 0,
       usage_monitor.set_price('ledger-b', 1, 0, cache_read => 0.1, provider => 'regress') > 0;
SELECT usage_monitor.set_quota('tokens', 'all', NULL, 1000000, metric => 'tokens') > 0,
       usage_monitor.set_quota('cost', 'user', NULL, 1000, period => 'day', time_zone => 'Asia/Kolkata') > 0,
       usage_monitor.set_quota('calls', 'model', 'ledger-a', 1000, period => 'lifetime', metric => 'requests') > 0;

-- What the counters must be, and the number of those that are otherwise
CREATE VIEW pg_temp.expected AS
SELECT 'tokens' AS name, '' AS subject, date_trunc('month', ts, 'UTC') AS period_start, sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS used
FROM usage_monitor.usage GROUP BY 3
UNION ALL
SELECT 'cost', user_id, date_trunc('day', ts, 'Asia/Kolkata'), sum(cost)
FROM usage_monitor.usage WHERE user_id IS NOT NULL GROUP BY 2, 3
UNION ALL
SELECT 'calls', 'ledger-a', '-infinity', count(*)
FROM usage_monitor.usage WHERE model = 'ledger-a';

CREATE FUNCTION pg_temp.counted(OUT rows bigint, OUT cost numeric, OUT wrong_counters bigint) LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM usage_monitor.usage),
           (SELECT trim_scale(sum(cost)) FROM usage_monitor.usage),
           count(*) FILTER (WHERE e.used IS DISTINCT FROM c.used)
    FROM (SELECT * FROM pg_temp.expected WHERE used <> 0) AS e
    FULL JOIN (SELECT q.name, u.subject, u.period_start, sum(u.used) AS used
               FROM usage_monitor.quota_usage AS u JOIN usage_monitor.quota AS q USING (quota_id)
               GROUP BY q.name, u.subject, u.period_start
               HAVING sum(u.used) <> 0) AS c
    USING (name, subject, period_start);
$$;

-- A partition of the user's own, beside the default one; 2099 is counted from
-- zero, months before this one from the ledger's sum
CREATE TABLE regress_usage_2026_03 (LIKE usage_monitor.usage_default INCLUDING ALL);
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_usage_2026_03 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');

INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts)
VALUES ('alice', 'ledger-a', 1000, 500, '2099-03-01 18:29:59.999999') RETURNING cost;
-- several rows, in both partitions
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts) VALUES
    ('alice', 'ledger-a', 1000, 500, '2099-03-01 18:30'),
    ('bob', 'ledger-b', 1000, 500, '2026-03-01'),
    ('bob', 'ledger-a', 1000, 500, '2026-03-31 23:59:59.999999'),
    (NULL, 'ledger-a', 1000, 500, '2026-04-01');
SELECT * FROM pg_temp.counted();
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts)
SELECT 'user-' || i % 7, 'ledger-' || substr('ab', 1 + i % 2, 1), i, i / 2, timestamptz '2026-02-25' + i * interval '1 hour'
FROM generate_series(1, 200) AS i;
SELECT * FROM pg_temp.counted();
COPY usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts, request_id) FROM STDIN (FORMAT csv);
alice,ledger-a,100,10,2026-03-05 12:00,copy-1
bob,ledger-a,100,10,2026-04-05 12:00,copy-2
bob,ledger-b,,10,2099-03-05 12:00,copy-3
\.
SELECT * FROM pg_temp.counted();
-- a partition directly
INSERT INTO usage_monitor.usage_default (user_id, model, input_tokens, output_tokens, ts)
VALUES ('alice', 'ledger-a', 10, 5, '2026-05-01') RETURNING usage_id > 0, org, service_tier, total_tokens, cost, cost_source;
INSERT INTO regress_usage_2026_03 (user_id, model, input_tokens, output_tokens, ts)
VALUES ('alice', 'ledger-a', 10, 5, '2026-03-01') RETURNING usage_id > 0, org, service_tier, total_tokens, cost, cost_source;
-- NULL for what has a default, as drivers send it
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts, org, service_tier, cache_read_input_tokens, success, cached)
VALUES ('alice', 'ledger-b', 10, 5, '2026-03-01', NULL, NULL, NULL, NULL, NULL) RETURNING org, service_tier, cache_read_input_tokens, success, cached, cost;
-- prepared, with a plan for each row and one for all
PREPARE call (text, bigint, timestamptz) AS
    INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts) VALUES ($1, 'ledger-a', $2, 0, $3) RETURNING cost;
EXECUTE call ('alice', 1, '2026-03-02');
SET plan_cache_mode = force_generic_plan;
EXECUTE call ('bob', 2, '2026-03-02');
EXECUTE call ('bob', 3, '2026-04-02');
RESET plan_cache_mode;
-- in a function, some of it undone
CREATE FUNCTION pg_temp.record_calls() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    total numeric := 0;
    this  numeric;
BEGIN
    FOR i IN 1..10 LOOP
        BEGIN
            INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts)
            VALUES ('carol', 'ledger-a', i, 0, timestamptz '2026-03-30' + i * interval '1 day') RETURNING cost INTO this;
            IF i % 3 = 0 THEN
                RAISE division_by_zero;
            END IF;
            total := total + this;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
    RETURN total;
END
$$;
SELECT pg_temp.record_calls();
SELECT * FROM pg_temp.counted();
-- savepoints
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, ts) VALUES ('dave', 'ledger-a', 100, '2026-03-07');
SAVEPOINT a;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, ts) VALUES ('dave', 'ledger-a', 1000, '2026-03-07');
SAVEPOINT b;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, ts) VALUES ('dave', 'ledger-a', 10000, '2026-03-07');
RELEASE b;
ROLLBACK TO a;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, ts) VALUES ('dave', 'ledger-a', 7, '2026-03-07');
RELEASE a;
SELECT used FROM usage_monitor.quota_history WHERE name = 'cost' AND subject = 'dave';
COMMIT;
SELECT used FROM usage_monitor.quota_history WHERE name = 'cost' AND subject = 'dave';
BEGIN;
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, ts) VALUES ('dave', 'ledger-a', 100, '2026-03-07');
ROLLBACK;
SELECT * FROM pg_temp.counted();

-- The same request once: in the same partition a conflict, which may be passed over
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-1', 'erin', 'ledger-a', 1000, 0, '2026-03-10') RETURNING cost;
SELECT * FROM pg_temp.refusal($$
    INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
    VALUES ('r-1', 'erin', 'ledger-a', 1000, 0, '2026-03-10')$$);
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-1', 'erin', 'ledger-a', 1000, 0, '2026-03-10'), ('r-2', 'erin', 'ledger-a', 1, 0, '2026-03-10'), ('r-2', 'erin', 'ledger-a', 1, 0, '2026-03-10')
ON CONFLICT DO NOTHING RETURNING request_id, cost;
-- a retry whose time is in another partition is passed over, too; another call of that name is refused
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-1', 'erin', 'ledger-a', 1000, 0, '2026-04-10') RETURNING 'recorded twice';
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-1', 'erin', 'ledger-a', 1000, 0, '2026-04-10') ON CONFLICT DO NOTHING RETURNING 'recorded twice';
SELECT * FROM pg_temp.refusal($$
    INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
    VALUES ('r-1', 'erin', 'ledger-b', 1000, 0, '2026-04-10')$$);
SELECT * FROM pg_temp.refusal($$
    UPDATE usage_monitor.usage SET request_id = 'r-1' WHERE request_id = 'copy-2'$$);
-- in another organisation it is another request
INSERT INTO usage_monitor.usage (request_id, org, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-1', 'acme', 'erin', 'ledger-a', 1000, 0, '2026-04-10') RETURNING cost;
SELECT * FROM pg_temp.counted();

-- MERGE
MERGE INTO usage_monitor.usage AS u
USING (VALUES ('r-1', 2000, timestamptz '2026-03-10'), ('r-3', 3000, '2026-03-11'), ('r-4', 4000, '2026-04-11')) AS s (request_id, input_tokens, ts)
ON u.request_id = s.request_id AND u.org = 'default'
WHEN MATCHED THEN UPDATE SET input_tokens = s.input_tokens
WHEN NOT MATCHED THEN INSERT (request_id, user_id, model, input_tokens, output_tokens, ts)
    VALUES (s.request_id, 'erin', 'ledger-a', s.input_tokens, 0, s.ts);
SELECT request_id, org, ts, input_tokens, total_tokens, cost FROM usage_monitor.usage WHERE request_id LIKE 'r-%' ORDER BY request_id, org;
SELECT * FROM pg_temp.counted();

-- UPDATE is followed by cost and counters
UPDATE usage_monitor.usage SET output_tokens = 1000, cache_read_input_tokens = 0 WHERE request_id = 'r-3' RETURNING total_tokens, input_cost, output_cost, cost;
UPDATE usage_monitor.usage SET model = 'ledger-b', user_id = 'frank' WHERE request_id = 'r-3' RETURNING model, total_tokens, cost;
UPDATE usage_monitor.usage SET input_tokens = input_tokens + 1 WHERE user_id LIKE 'user-%';
SELECT * FROM pg_temp.counted();
-- to another partition and back, with its number
SELECT usage_id AS moved FROM usage_monitor.usage WHERE request_id = 'r-4' \gset
UPDATE usage_monitor.usage SET ts = '2026-03-12' WHERE request_id = 'r-4' RETURNING usage_id = :moved, tableoid::regclass, cost;
SELECT * FROM pg_temp.counted();
UPDATE usage_monitor.usage SET ts = ts + interval '1 month', input_tokens = 5000 WHERE request_id = 'r-4' RETURNING usage_id = :moved, tableoid::regclass, cost;
UPDATE usage_monitor.usage SET ts = ts + interval '1 month' WHERE ts < '2026-04-01' AND user_id LIKE 'user-%';
SELECT * FROM pg_temp.counted();
-- a price that came later is asked for with cost NULL
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts)
VALUES ('r-5', 'erin', 'ledger-c', 1000, 0, '2026-03-10') RETURNING cost_source, cost;
SELECT usage_monitor.set_price('ledger-c', 5, 5, provider => 'regress') > 0;
UPDATE usage_monitor.usage SET cost = NULL WHERE request_id = 'r-5' RETURNING cost_source, cost, price_id > 0;
SELECT usage_monitor.set_price('ledger-c', 6, 6, provider => 'regress', valid_from => '2026-01-01') > 0;
UPDATE usage_monitor.usage SET department = 'a' WHERE request_id = 'r-5' RETURNING cost_source, cost;
UPDATE usage_monitor.usage SET cost = NULL WHERE request_id = 'r-5' RETURNING cost_source, cost;
-- a reported cost stays as it is
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens, ts, cost, input_cost)
VALUES ('r-6', 'erin', 'ledger-c', 1000, 0, '2026-03-10', 0.5, 0.2) RETURNING cost_source, cost, input_cost, output_cost, other_cost, price_id, currency;
UPDATE usage_monitor.usage SET output_tokens = 10 WHERE request_id = 'r-6' RETURNING cost_source, cost, total_tokens;
UPDATE usage_monitor.usage SET cost = 0.7 WHERE request_id = 'r-6' RETURNING cost_source, cost, input_cost, output_cost, other_cost;
UPDATE usage_monitor.usage SET cost = 0.8 WHERE request_id = 'r-5' RETURNING cost_source, cost, input_cost, output_cost, other_cost;
UPDATE usage_monitor.usage SET cost = NULL WHERE request_id = 'r-6' RETURNING cost_source, cost, input_cost, output_cost, other_cost;
-- answered by the application's own cache
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts, cached)
VALUES ('erin', 'ledger-a', 1000, 1000, '2026-03-10', true), ('erin', 'never-heard-of', 1000, 1000, '2026-03-10', true)
RETURNING cost_source, cost, input_cost, output_cost, other_cost, total_tokens;
SELECT * FROM pg_temp.counted();
DELETE FROM usage_monitor.usage WHERE user_id IN ('erin', 'user-3');
DELETE FROM regress_usage_2026_03 WHERE user_id = 'bob';
SELECT * FROM pg_temp.counted();
-- made and gone in one transaction
BEGIN;
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, ts) VALUES ('r-7', 'gone', 'ledger-a', 100, '2026-03-07');
UPDATE usage_monitor.usage SET input_tokens = 200 WHERE request_id = 'r-7';
DELETE FROM usage_monitor.usage WHERE request_id = 'r-7';
INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, ts) VALUES ('r-7', 'gone', 'ledger-a', 300, '2026-04-07');
COMMIT;
SELECT * FROM pg_temp.counted();

-- What the extension fills is its own
INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, ts)
VALUES ('grace', 'ledger-a', 1000, 0, '2026-03-10')
RETURNING usage_id > 0, total_tokens, price_id > 0, currency, input_cost, output_cost, other_cost, cost, cost_source, price_currency, price_cost,
          exchange_rate, xid = pg_current_xact_id()::text::bigint, recorded_at = now();
-- the owner may restore a row as it is; it raises nothing, and counts
INSERT INTO usage_monitor.usage (usage_id, user_id, model, input_tokens, output_tokens, ts, total_tokens, cost, cost_source, recorded_at)
VALUES (-5, 'grace', 'ledger-a', 900000, 0, '2026-03-10', 900000, 5000, 'computed', '2026-03-10 00:00:01')
RETURNING usage_id, total_tokens, cost, cost_source, recorded_at;
SELECT * FROM pg_temp.counted();
SELECT * FROM usage_monitor.alert WHERE alert_type <> 'unpriced';
-- nobody else
CREATE ROLE regress_ledger_writer;
SELECT usage_monitor.grant_access('regress_ledger_writer', 'writer');
SET ROLE regress_ledger_writer;
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, cost, recorded_at) VALUES ('ledger-a', 0, now())$$);
-- not even under the number of a row whose change has just failed
RESET ROLE;
GRANT EXECUTE ON FUNCTION usage_monitor.record TO regress_ledger_writer;
SELECT usage_monitor.set_quota('room', 'user', 'heidi', 100, metric => 'tokens', period => 'lifetime', enforcement => 'block') > 0;
SET ROLE regress_ledger_writer;
BEGIN;
SELECT usage_id AS failed FROM usage_monitor.record('{"id": "r-8", "model": "ledger-a", "usage": {"prompt_tokens": 50, "completion_tokens": 0}}', user_id => 'heidi') \gset
SELECT code, message FROM pg_temp.refusal($$
    SELECT usage_monitor.record('{"id": "r-8", "model": "ledger-a", "usage": {"prompt_tokens": 500, "completion_tokens": 0}}')$$);
INSERT INTO usage_monitor.usage (usage_id, user_id, model, ts, total_tokens, cost_source, cost, recorded_at)
VALUES (:failed, 'heidi', 'ledger-a', '2026-03-10', -1000000, 'computed', -500, '2000-01-01');
ROLLBACK;
RESET ROLE;
SELECT * FROM pg_temp.refusal('TRUNCATE usage_monitor.usage');
SELECT * FROM pg_temp.refusal('TRUNCATE usage_monitor.usage_default');
SELECT * FROM pg_temp.refusal('TRUNCATE usage_monitor.quota');
SELECT * FROM pg_temp.counted();
-- What a trigger of the user's own records, while record() replaces a call, stands for itself
CREATE FUNCTION pg_temp.aside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.user_id = 'ivan' THEN
        INSERT INTO usage_monitor.usage (request_id, model, input_tokens, output_tokens, ts)
        VALUES ('r-10', 'ledger-b', 1, 0, '2026-04-10');
    ELSIF NEW.user_id = 'judy' THEN
        PERFORM usage_monitor.record('{"id": "r-12", "model": "ledger-b", "usage": {"prompt_tokens": 1, "completion_tokens": 0}}',
                                     ts => '2026-04-10');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER aside BEFORE INSERT ON usage_monitor.usage FOR EACH ROW EXECUTE FUNCTION pg_temp.aside();
SELECT request_id, output_tokens
FROM usage_monitor.record('{"id": "r-10", "model": "ledger-a", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}', ts => '2026-03-10');
SELECT * FROM pg_temp.refusal($$
    SELECT usage_monitor.record('{"id": "r-11", "model": "ledger-a", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
                                user_id => 'ivan', ts => '2026-04-10')$$);
SELECT request_id, user_id, output_tokens
FROM usage_monitor.record('{"id": "r-10", "model": "ledger-a", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}',
                          user_id => 'judy', ts => '2026-04-10');
SELECT request_id, model, output_tokens, ts FROM usage_monitor.usage WHERE request_id ~ '^r-1[0-9]$' ORDER BY request_id;
DROP TRIGGER aside ON usage_monitor.usage;
-- a partition needs the unique index by which retries are recognised
CREATE TABLE regress_usage_2026_06 (LIKE usage_monitor.usage_default);
ALTER TABLE usage_monitor.usage ATTACH PARTITION regress_usage_2026_06 FOR VALUES FROM ('2026-06-01') TO ('2026-07-01');
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.usage (request_id, model, ts) VALUES ('r-9', 'ledger-a', '2026-06-10')$$);

DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_ledger_writer;
