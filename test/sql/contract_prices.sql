-- What an organisation agreed on: contract prices, and percentage discounts.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;

SELECT usage_monitor.set_price('m', 10, 20, provider => 'acme') > 0 AS set;
SELECT usage_monitor.set_price('m', 9, 18, provider => 'acme', org => 'contract') > 0 AS set;
INSERT INTO usage_monitor.discount (org, provider, model, percent, valid) VALUES
    ('big', NULL, NULL, 5, '(,)'),
    ('big', 'acme', NULL, 12.5, '(,)'),
    ('big', 'acme', 'n', 50, '[2026-01-01Z,2026-02-01Z)'),
    ('big', NULL, 'p', 20, '(,)'),
    ('contract', NULL, NULL, 50, '(,)'),
    ('give-away', NULL, NULL, 100, '(,)');
SELECT usage_monitor.set_price('n', 10, 20, provider => 'acme') > 0 AS set;
SELECT usage_monitor.set_price('p', 10, 20, provider => 'acme') > 0 AS set;
SELECT usage_monitor.set_price('q', 10, 20, provider => 'other') > 0 AS set;

-- the closest discount holds; none is taken off a contract price
SELECT org, model, usage_monitor.cost(model, 1000000, 0, org => org, at => '2026-01-31 23:59:59Z') AS january,
       usage_monitor.cost(model, 1000000, 0, org => org, at => '2026-02-01Z') AS february
FROM unnest(ARRAY['big', 'bi', 'bigger', 'contract', 'give-away', 'nobody']) WITH ORDINALITY AS o (org, n),
     unnest(ARRAY['m', 'n', 'p', 'q']) AS model
ORDER BY n, model;
SELECT usage_monitor.cost('m', 1000000, 0) AS "no organisation";

-- alike in the breakdown and in the ledger
SELECT meter, quantity, unit_price, discount, cost FROM usage_monitor.cost_breakdown('m', 3, 7, org => 'big');
INSERT INTO usage_monitor.usage (org, provider, model, input_tokens, output_tokens) VALUES ('big', 'acme', 'm', 3, 7);
SELECT input_cost, output_cost, cost, cost_source FROM usage_monitor.usage;
SELECT meter, cost, discount FROM usage_monitor.explain_cost(1);
-- in another currency too: the provider's amount is what is left
SELECT usage_monitor.set_price('y', 10, 20, provider => 'acme', currency => 'CNY') > 0 AS set;
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
INSERT INTO usage_monitor.usage (org, provider, model, input_tokens) VALUES ('big', 'acme', 'y', 1000000);
SELECT price_currency, price_cost, exchange_rate, cost FROM usage_monitor.usage WHERE model = 'y';

-- a change is seen at once
UPDATE usage_monitor.discount SET percent = 10 WHERE provider = 'acme' AND model IS NULL;
SELECT usage_monitor.cost('m', 1000000, 0, org => 'big');
DELETE FROM usage_monitor.discount WHERE org = 'big';
SELECT usage_monitor.cost('m', 1000000, 0, org => 'big');

-- the provider by whichever name
INSERT INTO usage_monitor.discount (org, provider, percent) VALUES ('big', 'Vertex_AI', 10);
SELECT provider, percent FROM usage_monitor.discount WHERE org = 'big';

-- What one organisation agreed on says nothing of a model to others: neither who has it, nor that there are two.
-- To that organisation it does.
SELECT usage_monitor.set_price('theirs', 10, 20, provider => 'zeta', org => 'contract') > 0 AS set,
       usage_monitor.set_price('at-two', 10, 20, provider => 'acme') > 0 AS set,
       usage_monitor.set_price('at-two', 9, 18, provider => 'zeta', org => 'contract') > 0 AS set;
SELECT usage_monitor.set_quota('each provider', 'provider', NULL, 100) > 0 AS set;
INSERT INTO usage_monitor.usage (org, model, input_tokens) SELECT o.org, m.model, 1000000
  FROM unnest('{contract, nobody}'::text[]) o (org), unnest('{theirs, zeta/theirs, zeta/new, at-two}'::text[]) m (model);
SELECT org, model, provider, resolved_model, cost, unpriced_reason FROM usage_monitor.usage
 WHERE model ~ 'theirs|zeta|at-two' ORDER BY org, model COLLATE "C";
SELECT o.org, m.model, usage_monitor.cost(m.model, 1000000, 0, org => o.org),
       (SELECT string_agg(q.subject, ', ') FROM usage_monitor.check_quota(o.org, model => m.model, cost => 0) q) AS counted_for
  FROM unnest('{contract, nobody}'::text[]) o (org), unnest('{theirs, zeta/theirs, at-two}'::text[]) m (model) ORDER BY o.org, m.model COLLATE "C";
SELECT m.model, r.at_provider, r.name, r.has_price
  FROM unnest('{theirs, at-two}'::text[]) m (model), usage_monitor.resolve_model(NULL, m.model) r WHERE r.name <> '*' ORDER BY 1, 3;
-- and when the contract is over
DELETE FROM usage_monitor.price WHERE org = 'contract' AND model = 'at-two';
SELECT usage_monitor.cost('at-two', 1000000, 0, org => 'contract') AS public;

-- refused
\set SHOW_CONTEXT never
INSERT INTO usage_monitor.discount (org, percent) VALUES ('x', 101);
INSERT INTO usage_monitor.discount (org, percent) VALUES ('x', -1);
INSERT INTO usage_monitor.discount (org, percent) VALUES ('x', 'NaN');
INSERT INTO usage_monitor.discount (org, percent) VALUES ('', 5);
INSERT INTO usage_monitor.discount (org, percent, valid) VALUES ('x', 5, 'empty');
INSERT INTO usage_monitor.discount (org, percent) VALUES ('contract', 5);

DROP EXTENSION usage_monitor CASCADE;
