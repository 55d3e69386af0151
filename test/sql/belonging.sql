--
-- What belongs to a price or a quota: refused without it, gone with it.
-- Triggers do what foreign keys did, but for a dump that is being restored
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
SET usage_monitor.write_corrections = on; -- adjustments of any kind

-- How a statement is refused
CREATE FUNCTION pg_temp.refusal(statement text, OUT code text, OUT "table" text, OUT message text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, "table" = TABLE_NAME, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END
$$;

-- Shipped rates have prices
SELECT count(*) FROM usage_monitor.price_rate AS r
WHERE NOT EXISTS (SELECT FROM usage_monitor.price AS p WHERE p.price_id = r.price_id);

INSERT INTO usage_monitor.price (price_id, provider, model, currency) VALUES (1, '*', 'm', 'USD'), (2, '*', 'n', 'USD'), (3, '*', 'bare', 'USD');
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (1, 'input', 1), (1, 'output', 2), (2, 'input', 3);
INSERT INTO usage_monitor.quota (quota_id, name, scope, amount) VALUES (1, 'q', 'all', 10), (2, 'r', 'all', 10);
INSERT INTO usage_monitor.quota_raise (quota_id, amount, valid) VALUES (1, 5, '[2026-01-01, 2026-02-01)'), (2, 6, '[2026-01-01, 2026-02-01)');
INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount) VALUES (1, '', '2026-01-01', -1), (2, '', '2026-01-01', -2);

CREATE VIEW pg_temp.state AS
SELECT (SELECT string_agg(price_id::text, ',' ORDER BY price_id) FROM usage_monitor.price WHERE origin = 'user') AS prices,
       (SELECT string_agg(format('%s %s', price_id, meter), ',' ORDER BY price_id, meter) FROM usage_monitor.price_rate WHERE price_id > 0) AS rates,
       (SELECT string_agg(quota_id::text, ',' ORDER BY quota_id) FROM usage_monitor.quota) AS quotas,
       (SELECT string_agg(quota_id::text, ',' ORDER BY quota_id) FROM usage_monitor.quota_raise) AS raises,
       (SELECT string_agg(quota_id::text, ',' ORDER BY quota_id) FROM usage_monitor.quota_adjustment) AS adjustments;
TABLE pg_temp.state;

-- Refused, and nothing changed
SELECT s.statement, r.*
FROM unnest(ARRAY[
    $$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (99, 'input', 1)$$,
    $$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (3, 'input', 1), (99, 'input', 1)$$,
    $$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (NULL, 'input', 1)$$,
    $$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (1, 'input', 1) ON CONFLICT ON CONSTRAINT price_rate_key DO UPDATE SET price_id = 99$$,
    $$UPDATE usage_monitor.price_rate SET price_id = 99 WHERE price_id = 2$$,
    $$INSERT INTO usage_monitor.quota_raise (quota_id, amount, valid) VALUES (99, 1, '[2026-01-01, 2026-02-01)')$$,
    $$UPDATE usage_monitor.quota_raise SET quota_id = 99 WHERE quota_id = 1$$,
    $$INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount) VALUES (99, '', '2026-01-01', 1)$$,
    $$UPDATE usage_monitor.quota_adjustment SET quota_id = 99 WHERE quota_id = 1$$,
    $$UPDATE usage_monitor.price SET price_id = 9, model = 'o' WHERE price_id = 1$$,
    $$UPDATE usage_monitor.quota SET quota_id = 9 WHERE quota_id = 1$$,
    $$TRUNCATE usage_monitor.price$$,
    $$TRUNCATE usage_monitor.price CASCADE$$,
    $$TRUNCATE usage_monitor.quota CASCADE$$,
    -- half of what a dump sets, each
    $$SET LOCAL check_function_bodies = off; INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (99, 'input', 1)$$,
    $$SET LOCAL search_path = ''; INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (99, 'input', 1)$$,
    $$SELECT _usage_monitor._check_parent()$$,
    $$SELECT _usage_monitor._keep_children()$$
]) AS s (statement)
CROSS JOIN LATERAL pg_temp.refusal(s.statement) AS r;
TABLE pg_temp.state;

-- Not triggers of other tables, or of another kind
CREATE TABLE pg_temp.quota (quota_id bigint);
INSERT INTO pg_temp.quota VALUES (1);
CREATE TRIGGER foreign_table AFTER DELETE ON pg_temp.quota FOR EACH ROW EXECUTE FUNCTION _usage_monitor._keep_children();
SELECT * FROM pg_temp.refusal('DELETE FROM pg_temp.quota');
DROP TRIGGER foreign_table ON pg_temp.quota;
CREATE TRIGGER before BEFORE DELETE ON pg_temp.quota FOR EACH ROW EXECUTE FUNCTION _usage_monitor._keep_children();
SELECT * FROM pg_temp.refusal('DELETE FROM pg_temp.quota');
DROP TRIGGER before ON pg_temp.quota;
CREATE TRIGGER statement AFTER INSERT ON pg_temp.quota FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._check_parent();
SELECT * FROM pg_temp.refusal('INSERT INTO pg_temp.quota VALUES (2)');
DROP TABLE pg_temp.quota;

-- Allowed: both by one statement, another price, the number of a price without rates
BEGIN;
WITH made AS (
    INSERT INTO usage_monitor.price (price_id, provider, model, currency) VALUES (4, '*', 'o', 'USD') RETURNING price_id
)
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) SELECT price_id, 'input', 1 FROM made;
UPDATE usage_monitor.price_rate SET price_id = 3 WHERE price_id = 2;
UPDATE usage_monitor.price SET price_id = 9, model = 'p' WHERE price_id = 2;
UPDATE usage_monitor.price SET price_id = price_id, currency = 'EUR' WHERE price_id = 1;
UPDATE usage_monitor.price_rate SET amount = 7 WHERE price_id = 1;
TABLE pg_temp.state;
ROLLBACK;

-- What is deleted takes its own along, one or many, within a transaction that made them
BEGIN;
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (1, 'image', 1);
DELETE FROM usage_monitor.price WHERE price_id = 1;
DELETE FROM usage_monitor.quota WHERE name = 'q';
TABLE pg_temp.state;
DELETE FROM usage_monitor.price WHERE origin = 'user';
DELETE FROM usage_monitor.quota;
TABLE pg_temp.state;
ROLLBACK;
-- and by one statement with those that it adds
BEGIN;
WITH added AS (
    INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (1, 'image', 1)
)
DELETE FROM usage_monitor.price WHERE price_id = 1;
TABLE pg_temp.state;
ROLLBACK;
-- the cached price goes too
BEGIN;
SELECT usage_monitor.cost('m', 1000000, 0);
DELETE FROM usage_monitor.price WHERE price_id = 1;
SELECT usage_monitor.cost('m', 1000000, 0);
ROLLBACK;
SELECT usage_monitor.cost('m', 1000000, 0);

-- Both by one TRUNCATE
BEGIN;
TRUNCATE usage_monitor.price, usage_monitor.price_rate;
TABLE pg_temp.state;
ROLLBACK;

-- Of those who have only just the right for it; a row policy does not hide a parent from the check, as from no key
CREATE ROLE regress_belonging;
GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO regress_belonging;
GRANT INSERT ON usage_monitor.price_rate TO regress_belonging;
GRANT SELECT, DELETE ON usage_monitor.price TO regress_belonging;
GRANT EXECUTE ON FUNCTION _usage_monitor._meter_side, _usage_monitor._is_restoring, _usage_monitor._own_orgs, _usage_monitor._confined_to TO regress_belonging;
ALTER TABLE usage_monitor.price ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_monitor.price FORCE ROW LEVEL SECURITY;
CREATE POLICY only_m ON usage_monitor.price USING (model = 'm');
SET ROLE regress_belonging;
INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (3, 'input', 1);
SELECT * FROM pg_temp.refusal($$INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (99, 'input', 1)$$);
DELETE FROM usage_monitor.price WHERE price_id = 1;
RESET ROLE;
DROP POLICY only_m ON usage_monitor.price;
ALTER TABLE usage_monitor.price DISABLE ROW LEVEL SECURITY;
ALTER TABLE usage_monitor.price NO FORCE ROW LEVEL SECURITY;
TABLE pg_temp.state;

-- As a dump is restored: what belongs to a row may come before it
BEGIN;
SET LOCAL check_function_bodies = off;
SELECT pg_catalog.set_config('search_path', '', true);
COPY usage_monitor.price_rate (price_id, meter, amount) FROM STDIN;
50	input	1
\.
COPY usage_monitor.quota_raise (quota_id, amount, valid) FROM STDIN;
50	1	[2026-01-01, 2026-02-01)
\.
COPY usage_monitor.quota_adjustment (quota_id, subject, period_start, amount) FROM STDIN;
50		2026-01-01	1
\.
COPY usage_monitor.price (price_id, provider, model, currency) FROM STDIN;
50	*	restored	USD
\.
COPY usage_monitor.quota (quota_id, name, scope, amount) FROM STDIN;
50	restored	all	1
\.
TABLE pg_temp.state;
DELETE FROM usage_monitor.price WHERE price_id = 50;
DELETE FROM usage_monitor.quota WHERE quota_id = 50;
COMMIT;
TABLE pg_temp.state;

DROP VIEW pg_temp.state;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_belonging;
