-- reprice(), closed periods and their corrections.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\pset null -

SELECT usage_monitor.set_price('m', 1, 2, provider => 'acme') > 0 AS set;
INSERT INTO usage_monitor.quota (name, scope, metric, amount, period) VALUES ('everything', 'all', 'cost', 1000, 'lifetime');
INSERT INTO usage_monitor.usage (ts, provider, model, user_id, input_tokens, output_tokens, cost, cached) VALUES
    ('2026-01-05', 'acme', 'm', 'ann', 1000000, 0, NULL, false),
    ('2026-01-05', 'acme', 'm', 'bob', 1000000, 1000000, NULL, false),
    ('2026-02-05', 'acme', 'm', 'ann', 1000000, 1000000, NULL, false),
    ('2026-02-06', 'acme', 'm', 'ann', 1000000, 0, 7, false),
    ('2026-02-06', 'acme', 'm', 'ann', 1000000, 0, NULL, true),
    ('2026-02-07', 'acme', 'late', 'bob', 1000000, 0, NULL, false),
    ('2026-03-01', 'acme', 'other', 'bob', 1000000, 0, NULL, false);
CREATE VIEW ledger AS
SELECT usage_id, ts::date AS day, model, user_id, operation, cost, cost_source, unpriced_reason, tags FROM usage_monitor.usage ORDER BY usage_id;

-- nothing changes by itself, and nothing where nothing changed
SELECT * FROM usage_monitor.reprice('2026-01-01', '2026-04-01');
SELECT usage_monitor.set_price('late', 3, 3, provider => 'acme') > 0 AS set;
-- a price that begins on 5 February does not touch January
SELECT usage_monitor.set_price('m', 10, 20, provider => 'acme', valid_from => '2026-02-05') > 0 AS set;
SELECT usage_id, cost FROM ledger;

-- first what would change
SELECT * FROM usage_monitor.reprice('2026-01-01', '2026-04-01');
SELECT * FROM usage_monitor.reprice('2026-01-01', '2026-04-01', model => 'late');
SELECT count(*) AS unchanged FROM ledger WHERE cost_source = 'unpriced';
SELECT count(*) AS audited FROM usage_monitor.audit_log WHERE what = 'reprice';

-- then the change: day by day, reported and cached calls left alone
SELECT * FROM usage_monitor.reprice('2026-01-01', '2026-04-01', dry_run => false);
SELECT * FROM ledger;
SELECT * FROM usage_monitor.reprice('2026-01-01', '2026-04-01', dry_run => false);
SELECT what, who = session_user AS own, details FROM usage_monitor.audit_log WHERE what = 'reprice' ORDER BY audit_id;
-- what is derived follows
SELECT (SELECT used FROM usage_monitor.quota_status) = sum(cost) AS counted FROM ledger;

-- a price that is gone leaves what it priced as it was
DELETE FROM usage_monitor.price WHERE model = 'late';
SELECT * FROM usage_monitor.reprice('-infinity', 'infinity');

-- a closed period stays, until rows that correct it are asked for
SELECT until, closed_by = session_user AS own FROM usage_monitor.close_period('2026-01-31');
UPDATE usage_monitor.price_rate SET amount = amount / 2 WHERE price_id IN (SELECT price_id FROM usage_monitor.price WHERE model = 'm');
SELECT * FROM usage_monitor.reprice('-infinity', 'infinity');
SELECT * FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false);
SELECT usage_id, cost FROM ledger WHERE day < '2026-02-01';
SELECT * FROM usage_monitor.reprice('2026-01-05 12:00', 'infinity', dry_run => false, corrections => true);
SELECT * FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false, corrections => true);
SELECT model, user_id, operation, cost, cost_source, tags FROM ledger WHERE operation = 'correction' ORDER BY user_id;
-- once is enough
SELECT count(*) AS done FROM usage_monitor.reprice('-infinity', 'infinity', dry_run => false, corrections => true);
SELECT count(*) AS corrections, sum(cost) FROM ledger WHERE operation = 'correction';
SELECT (SELECT used FROM usage_monitor.quota_status) = sum(cost) AS counted FROM ledger;

-- opened again
SELECT until FROM usage_monitor.reopen_period('2026-01-01');
SELECT usage_monitor.reopen_period('2026-01-01');
SELECT usage_monitor.reopen_period(NULL);
SELECT usage_monitor.reopen_period('-infinity');
SELECT usage_monitor.reopen_period('4713-01-01 BC');
SELECT until FROM usage_monitor.close_period('2026-02-28');
SELECT usage_monitor.close_period('2026-01-31');
SELECT usage_monitor.close_period(NULL);
-- what is not over is not closed, in the ledger's time zone
SELECT usage_monitor.close_period('294270-01-01');
DO $$
BEGIN
    PERFORM usage_monitor.close_period(usage_monitor.ledger_day(now()));
    RAISE EXCEPTION 'today was closed';
EXCEPTION WHEN SQLSTATE 'UM011' THEN
    NULL;
END
$$;
SELECT change, old->'until' AS old, new->'until' AS new FROM usage_monitor.audit_log WHERE what = 'closed_period' ORDER BY audit_id;

-- refused
SELECT usage_monitor.reprice('2026-02-01', '2026-01-01');
SELECT usage_monitor.reprice(NULL, '2026-01-01');
-- a negative cost is for corrections, and they for the ledger's owner
INSERT INTO usage_monitor.usage (model, cost) VALUES ('m', -1);
CREATE ROLE regress_writer;
CREATE ROLE regress_manager;
SELECT usage_monitor.grant_access('regress_writer', 'writer'), usage_monitor.grant_access('regress_manager', 'manager');
SET ROLE regress_writer;
INSERT INTO usage_monitor.usage (model, cost, operation) VALUES ('m', -1, 'correction');
SELECT usage_monitor.reprice('2026-01-01', '2026-02-01', dry_run => false);
RESET ROLE;
-- a manager may reprice, who may not change the ledger otherwise
SET ROLE regress_manager;
SELECT usage_monitor.set_price('other', 1, 1, provider => 'acme') > 0 AS set;
SELECT model, requests, new_cost FROM usage_monitor.reprice('2026-03-01', '2026-04-01', dry_run => false);
UPDATE usage_monitor.usage SET cost = 0;
RESET ROLE;

-- Days are the ledger's, whatever the session's time zone is
SELECT usage_monitor.set_price('tz', 1, 1) IS NOT NULL AS priced;
INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2026-07-01 20:00Z', 'tz', 1000000);
SELECT usage_monitor.set_price('tz', 2, 2, valid_from => '-infinity') IS NOT NULL AS priced;
SET timezone = 'Asia/Tokyo';
SELECT requests, difference FROM usage_monitor.reprice('2026-07-02', '2026-07-03', model => 'tz');
SELECT requests, difference FROM usage_monitor.reprice('2026-07-01', '2026-07-02', model => 'tz');
SELECT requests, difference FROM usage_monitor.reprice(date '2026-07-01', date '2026-07-02', model => 'tz');
SELECT requests, difference FROM usage_monitor.reprice(timestamptz '2026-07-02', timestamptz '2026-07-03', model => 'tz');
RESET timezone;

DROP VIEW ledger;
DROP EXTENSION usage_monitor CASCADE;
DROP ROLE regress_writer, regress_manager;
