-- Statements for accountants: lines that add up, and months that stay as they were.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'America/New_York';
SELECT time_zone FROM usage_monitor.configure(time_zone => 'Asia/Shanghai');

SELECT usage_monitor.set_price('m', 10, 20, cache_read => 1, provider => 'acme') > 0 AS set,
       usage_monitor.set_price('m', 9, 18, provider => 'acme', org => 'contract') > 0 AS contract,
       usage_monitor.set_price('y', 10, 20, provider => 'acme', currency => 'CNY') > 0 AS yuan;
INSERT INTO usage_monitor.discount (org, percent) VALUES ('big', 12.5);
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens, output_tokens, cache_read_input_tokens)
SELECT '2026-01-10Z'::timestamptz + i * interval '7 hours', o, nullif('p' || i % 3, 'p0'), m, 123457 * i, 1001 * i, 777 * i
  FROM generate_series(1, 20) i, unnest('{big,contract,other}'::text[]) o, unnest('{m,y}'::text[]) m;
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cost) VALUES
    ('2026-01-31 15:59:59Z', 'big', 'acme', 'm', 1, 0, NULL),
    ('2026-01-31 16:00Z', 'big', 'acme', 'm', 1000000, 0, NULL),
    ('2026-01-16Z', 'big', 'google', 'gemini-2.5-pro', 300000, 10, NULL),
    ('2026-01-16Z', 'big', 'openai', 'gpt-4o', 1000, 10, 1.235),
    ('2026-01-16Z', 'big', 'openai', 'nobody-knows', 1000, 10, NULL);

SELECT line, kind, project, model, meter, note, quantity, unit, per, list_price, unit_price, price_currency AS cur, exchange_rate AS rate, discount_percentage AS "%",
       exact_amount, list, discount, amount, tax, total
  FROM usage_monitor.statement('big', '2026-01');
-- lines add up to the ledger's cost, and the rounded ones to the rounded sum, down and across
SELECT o AS org, count(*) AS lines,
       sum(s.exact_amount) = (SELECT sum(cost) FROM usage_monitor.monthly_usage u WHERE u.org = o AND u.month = '2026-01-01') AS is_the_ledgers,
       sum(s.amount) = round(sum(s.exact_amount), 2) AS amounts, sum(s.discount) = round(sum(s.exact_list - s.exact_amount), 2) AS discounts,
       bool_and(s.list - s.discount = s.amount AND s.total = s.amount AND abs(s.amount - s.exact_amount) < 0.01) AS across
  FROM unnest('{big,contract,other}'::text[]) o, usage_monitor.statement(o, '2026-01') s GROUP BY 1 ORDER BY 1;
-- also where there are many small ones
INSERT INTO usage_monitor.usage (ts, org, project, model, cost) SELECT '2026-01-15Z', 'small', 'p' || i, 'x', 0.0034 * i FROM generate_series(0, 200) i;
SELECT count(*), sum(amount), round(sum(exact_amount), 2), max(abs(amount - exact_amount)) < 0.01 AS within_a_cent, min(amount) FROM usage_monitor.statement('small', '2026-01');
-- a discount on some lines is none on those beside them
INSERT INTO usage_monitor.discount (org, provider, percent) VALUES ('partly', 'acme', 3.3);
INSERT INTO usage_monitor.usage (ts, org, project, provider, model, input_tokens)
SELECT '2026-01-15Z', 'partly', 'p' || i, p, m, 777 * i FROM generate_series(1, 30) i, (VALUES ('acme', 'm'), ('openai', 'gpt-4o')) t (p, m);
SELECT provider, count(*), sum(discount) AS discount, round(sum(exact_list - exact_amount), 2) AS exact, min(discount), max(discount),
       bool_and(list - discount = amount) AS across, max(abs(list - exact_list)) < 0.02 AS within_cents
  FROM usage_monitor.statement('partly', '2026-01') GROUP BY 1 ORDER BY 1;
-- a month by its name, by a day, whatever the session's time zone and way of writing
SELECT count(*) = ALL (ARRAY[(SELECT count(*) FROM usage_monitor.statement('big', '2026-01-31')), (SELECT count(*) FROM usage_monitor.statement('big', date '2026-01-17'))])
  FROM usage_monitor.statement('big', '2026-1');
SELECT line, quantity, amount FROM usage_monitor.statement('big', '2026-02');

/*
 * A month that is closed is repeated to the digit, whatever happens then.
 */
CREATE TEMP TABLE closed AS SELECT o AS org, s.* FROM unnest('{big,contract,other,small}'::text[]) o, usage_monitor.statement(o, '2026-01') s;
SELECT until FROM usage_monitor.close_period('2026-01-31');
CREATE FUNCTION pg_temp.changed() RETURNS TABLE (org text, line integer, kind text, project text, model text, amount numeric, exact_amount numeric) LANGUAGE sql AS $$
    SELECT o, s.line, s.kind, s.project, s.model, s.amount, s.exact_amount
      FROM unnest('{big,contract,other,small}'::text[]) o, usage_monitor.statement(o, '2026-01') s
     WHERE NOT EXISTS (SELECT FROM closed c WHERE c.org = o AND to_jsonb(s) = to_jsonb(c) - 'org')
     ORDER BY 1, 2 $$;
CREATE FUNCTION pg_temp.is_the_ledgers() RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_and((SELECT sum(s.exact_amount) FROM usage_monitor.statement(u.org, u.month) s) = u.cost
                    AND (SELECT sum(s.amount) FROM usage_monitor.statement(u.org, u.month) s) = round(u.cost, 2))
      FROM usage_monitor.monthly_usage u $$;
SELECT count(*) AS lines, (SELECT count(*) FROM pg_temp.changed()) AS changed FROM closed;
-- prices change: nothing
UPDATE usage_monitor.price_rate r SET amount = 11 FROM usage_monitor.price p WHERE p.price_id = r.price_id AND p.model = 'm' AND r.amount = 10;
DELETE FROM usage_monitor.discount;
SELECT count(*) AS changed FROM pg_temp.changed();
SELECT pg_temp.is_the_ledgers();
-- they are corrected in the month that they are corrected in
SELECT count(*) > 0 AS repriced FROM usage_monitor.reprice('2026-01-01', '2026-02-01', dry_run => false, corrections => true);
SELECT count(*) AS changed FROM pg_temp.changed();
SELECT kind, note, project, model, sum(quantity) AS quantity, sum(amount) AS amount, sum(exact_amount) FROM usage_monitor.statement('big', now()::date) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
SELECT pg_temp.is_the_ledgers();
-- calls come late: lines of their own, behind the others
INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens) VALUES ('2026-01-20Z', 'other', 'p1', 'm', 1000000), ('2026-01-20Z', 'other', 'new', 'm', 100000);
SELECT * FROM pg_temp.changed();
SELECT pg_temp.is_the_ledgers();

-- also in a month that had none
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens) VALUES ('2026-01-20Z', 'new', 'm', 100000);
SELECT line, kind, model, amount FROM usage_monitor.statement('new', '2026-01');

-- to who reads one organisation alone, too; the others do not exist for him
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_um_statements;
CREATE ROLE regress_um_statements;
SELECT usage_monitor.grant_access('regress_um_statements', 'reader', 'other');
SET ROLE regress_um_statements;
SELECT count(*), sum(amount), count(*) FILTER (WHERE kind = 'later') AS later FROM usage_monitor.statement('other', '2026-01');
SELECT count(*) FROM usage_monitor.statement('big', '2026-01');
SELECT * FROM _usage_monitor._closed_charge;
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_um_statements');
DROP ROLE regress_um_statements;
RESET client_min_messages;

-- closed again, and after it was opened, the lines are those of then
SELECT until FROM usage_monitor.close_period('2026-02-15');
SELECT count(*) AS later FROM pg_temp.changed() WHERE kind = 'later';
SELECT until FROM usage_monitor.reopen_period('2026-01-31');
SELECT count(*) FILTER (WHERE kind = 'later') AS later, count(*) FILTER (WHERE kind = 'difference') > 0 AS differs FROM pg_temp.changed();
SELECT until FROM usage_monitor.close_period('2026-01-31');
TRUNCATE closed;
INSERT INTO closed SELECT o AS org, s.* FROM unnest('{big,contract,other,small}'::text[]) o, usage_monitor.statement(o, '2026-01') s;

-- archived and dropped: nothing changes, and later calls are seen
CREATE TABLE usage_january (LIKE usage_monitor.usage_default INCLUDING ALL);
BEGIN;
WITH moved AS (DELETE FROM usage_monitor.usage_default WHERE ts < '2026-01-31 16:00Z' RETURNING *)
INSERT INTO usage_january SELECT * FROM moved;
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_january FOR VALUES FROM ('2026-01-01Z') TO ('2026-01-31 16:00Z');
COMMIT;
SELECT usage_monitor.rebuild_rollups() > 0 AS rebuilt;
SET client_min_messages = warning;
SELECT requests FROM usage_monitor.drop_usage_before('2026-02-01');
RESET client_min_messages;
SELECT count(*) AS changed FROM pg_temp.changed();
INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens) VALUES ('2026-01-20Z', 'other', 'p1', 'm', 1000000);
SELECT * FROM pg_temp.changed();
SELECT pg_temp.is_the_ledgers();

/*
 * As files: a name may be anything, and is neither a formula nor a tag.
 */
INSERT INTO usage_monitor.usage (ts, org, project, provider, model, input_tokens, output_tokens, cost) VALUES
    ('2026-03-01Z', '<b>"A" & Co</b>', '=HYPERLINK("http://x")', 'p;q', E'two\nlines', 1, 0, 1234567.895),
    ('2026-03-01Z', '<b>"A" & Co</b>', '-1', 'acme', 'm', 1234567, 0, NULL),
    ('2026-03-01Z', '<b>"A" & Co</b>', '研究', 'acme', 'nobody-knows', 1, 0, NULL);
SELECT ascii(f) = 65279 AS has_mark, substr(f, 2) AS file FROM usage_monitor.statement_csv('<b>"A" & Co</b>', '2026-03') AS f;
SELECT substr(f, 2) AS file FROM usage_monitor.statement_csv('<b>"A" & Co</b>', '2026-03-02', decimal_mark => ',') AS f;
SELECT regexp_replace(usage_monitor.statement_html('<b>"A" & Co</b>', '2026-03'), 'as of [^<]*', 'as of then.') AS page;
SELECT jsonb_pretty((j - 'as_of') #- '{lines,0}' #- '{lines,0}') AS json, j ? 'as_of' AS as_of, j ->> 'closed_at' AS closed_at
  FROM usage_monitor.statement_json('<b>"A" & Co</b>', '2026-03') AS j;
-- of a closed month, byte for byte
SELECT pg_sleep(0.001);
CREATE TEMP TABLE file AS SELECT usage_monitor.statement_json('big', '2026-01') AS json, usage_monitor.statement_html('big', '2026-01') AS html, usage_monitor.statement_csv('big', '2026-01') AS csv;
SELECT json = usage_monitor.statement_json('big', '2026-01') AND html = usage_monitor.statement_html('big', '2026-01') AND csv = usage_monitor.statement_csv('big', '2026-01') AS same,
       json ->> 'as_of' AS as_of, (json ->> 'closed_at') ~ '\+08:00$' AS closed_by_the_ledgers_clock FROM file;
-- quantities with decimals add up
INSERT INTO usage_monitor.usage (ts, org, provider, model, units) VALUES
    ('2026-02-03Z', 'halves', 'openai', 'whisper-1', '{"minute": 0.1}'),
    ('2026-02-04Z', 'halves', 'openai', 'whisper-1', '{"minute": 0.25}'),
    ('2026-02-05Z', 'halves', 'openai', 'whisper-1', '{"minute": 2}');
SELECT meter, quantity, exact_amount, exact_amount = (SELECT sum(cost) FROM usage_monitor.usage WHERE org = 'halves') AS same
  FROM usage_monitor.statement('halves', '2026-02');
-- currencies without cents, or with three decimals
SELECT c, _usage_monitor._currency_digits(c) FROM unnest('{USD,JPY,KWD}'::text[]) c;
-- nothing used
SELECT count(*) FROM usage_monitor.statement('nobody', '2026-01');
SELECT usage_monitor.statement_json('nobody', '2026-01') -> 'total' AS total;

-- refused
SELECT * FROM usage_monitor.statement(NULL, '2026-01');
SELECT * FROM usage_monitor.statement('', '2026-01');
SELECT * FROM usage_monitor.statement('big', NULL::date);
SELECT * FROM usage_monitor.statement('big', 'infinity'::date);
SELECT * FROM usage_monitor.statement('big', '2026-13');
SELECT * FROM usage_monitor.statement('big', 'January');
SELECT usage_monitor.statement_csv('big', '2026-01', ';');
SELECT usage_monitor.statement_json(NULL, '2026-01');

DROP EXTENSION usage_monitor CASCADE;
