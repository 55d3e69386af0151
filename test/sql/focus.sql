-- FOCUS cost and usage data: what the specification asks of each column, and
-- the ledger's cost to the last digit.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
\set SHOW_CONTEXT never
-- the session's zone does not matter
SET timezone = 'America/New_York';
SELECT time_zone FROM usage_monitor.configure(time_zone => 'Asia/Shanghai');

-- a discount, a contract, another currency, another tier, a context tier, fractions, a surcharge
SELECT usage_monitor.set_price('m', 10, 20, cache_read => 1, provider => 'acme') > 0 AS set,
       usage_monitor.set_price('m', 9, 18, provider => 'acme', org => 'contract') > 0 AS contract,
       usage_monitor.set_price('y', 10, 20, provider => 'acme', currency => 'CNY') > 0 AS yuan;
INSERT INTO usage_monitor.discount (org, percent) VALUES ('big', 12.5);
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, valid, rate) VALUES
    ('CNY', 'USD', '[2026-01-01Z,2026-01-20Z)', 0.1399), ('CNY', 'USD', '[2026-01-20Z,)', 0.14);
INSERT INTO usage_monitor.usage (ts, org, department, project, model, input_tokens, output_tokens, cache_read_input_tokens, tags)
SELECT '2026-01-14 15:00Z'::timestamptz + i * interval '7 hours', o, nullif('d' || i % 3, 'd0'), nullif('p' || i % 2, 'p1'), m, 100 + i, i, i,
       jsonb_build_object('team', 't' || i % 2, 'n', i)
  FROM generate_series(1, 20) i, unnest('{big,contract,other}'::text[]) o, unnest('{m,y}'::text[]) m;
INSERT INTO usage_monitor.usage (ts, org, provider, model, service_tier, input_tokens, output_tokens, units) VALUES
    ('2026-01-31 15:59:59Z', 'other', 'acme', 'm', 'standard', 1, 0, NULL),
    ('2026-01-31 16:00Z', 'other', 'acme', 'm', 'standard', 2, 0, NULL),
    ('2026-01-15Z', 'big', 'openai', 'gpt-4o', 'batch', 1000, 10, NULL),
    ('2026-01-15Z', 'big', 'google', 'gemini-2.5-pro', 'standard', 300000, 10, NULL),
    ('2026-01-15Z', 'big', 'google', 'gemini-2.5-pro', 'standard', 1000, 10, NULL),
    ('2026-01-15Z', 'big', 'anthropic', 'claude-opus-4-6', 'standard', 1000, 10, '{"us_inference": 1, "web_search": 3}'),
    ('2026-01-15Z', 'big', 'openai', 'whisper-1', 'standard', NULL, NULL, '{"minute": 2.5}'),
    ('2026-01-15Z', 'big', 'openai', 'whisper-1', 'standard', NULL, NULL, '{"second": 90.25}');
-- what the provider charged, in two currencies, and of nobody known; what comes from a cache; what has no price
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cost, currency, cached) VALUES
    ('2026-01-16Z', 'big', 'openai', 'gpt-4o', 1000, 10, 1.23, NULL, false),
    ('2026-01-16Z', 'big', 'openai', 'gpt-4o', 1000, 10, 7, 'CNY', false),
    ('2026-01-16Z', 'big', NULL, 'somebody''s', 1000, 10, 0.000001, NULL, false),
    ('2026-01-16Z', 'big', 'openai', 'gpt-4o', 1000, 10, NULL, NULL, true),
    ('2026-01-16Z', 'big', 'openai', 'nobody-knows', 1000, 10, NULL, NULL, false);
-- prices that change after the books are closed leave what was charged, and corrections follow
SELECT until FROM usage_monitor.close_period('2026-01-16');
UPDATE usage_monitor.price_rate r SET amount = 11 FROM usage_monitor.price p WHERE p.price_id = r.price_id AND p.model = 'm' AND r.amount = 10;
SELECT count(*) AS repriced FROM usage_monitor.reprice('2026-01-01', '2026-02-01', dry_run => false, corrections => true);
-- money that is given back of a call of a month that is open
SELECT u.cost FROM usage_monitor.refund_call((SELECT max(usage_id) FROM usage_monitor.usage WHERE ts = '2026-01-31 16:00Z'), NULL, 'mistaken') AS u;

-- the ledger's cost, by day and in all; the notice tells of what is not in it
CREATE TEMP TABLE focus AS SELECT * FROM usage_monitor.focus('2026-01-01', '2099-01-01', version => '1.3', tags => '{team}');
SELECT f.day, f.billed, f.billed = d.cost AS is_the_ledgers
  FROM (SELECT left("ChargePeriodEnd", 10)::date AS day, sum("BilledCost") AS billed FROM focus GROUP BY 1) AS f
  JOIN usage_monitor.daily_total d ON d.day = f.day
 WHERE f.day < '2026-02-01'
 ORDER BY f.day;
SELECT sum("BilledCost") = (SELECT sum(cost) FROM usage_monitor.usage) AS all_of_it,
       sum("BilledCost") = sum("EffectiveCost") AND sum("BilledCost") = sum("ContractedCost") AS alike,
       count(*) = count(DISTINCT ("ChargePeriodStart", "BillingAccountId", "SubAccountId", x_Department, "SkuPriceId", "Tags",
                                  "PricingCurrency", "ListUnitPrice", "ContractedUnitPrice", "ChargeCategory", "x_CorrectedDay")) AS one_row_each
  FROM (SELECT *, "x_Department" AS x_department FROM focus) AS f;
-- an organisation by itself is its part of all
SELECT sum("BilledCost") = (SELECT sum("BilledCost") FROM focus WHERE "BillingAccountId" = 'contract') AS its_part
  FROM usage_monitor.focus('2026-01-01', '2099-01-01', 'contract');

-- list, contracted and billed; both currencies; the discount
SELECT "BillingAccountId" AS org, "SkuId", "PricingQuantity" AS quantity, "ListUnitPrice" AS list, "ContractedUnitPrice" AS contracted,
       "ListCost", "BilledCost", "PricingCurrency" AS cur, "PricingCurrencyListUnitPrice" AS cur_list, "PricingCurrencyEffectiveCost" AS cur_cost
  FROM usage_monitor.focus('2026-01-20', '2026-01-21')
 WHERE "x_Department" IS NULL AND "SkuMeter" IN ('input', 'cache_read');
SELECT "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd", count(*), sum("ConsumedQuantity") AS tokens
  FROM usage_monitor.focus('2026-01-31', '2026-02-02', 'other') GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT "SkuPriceId", "SkuPriceDetails", "PricingQuantity", "PricingUnit", "ListCost", "BilledCost"
  FROM focus WHERE "ChargePeriodEnd" = '2026-01-15T16:00:00Z' AND "ServiceProviderName" <> 'acme';
SELECT "ChargeDescription", "PricingCategory", "PricingQuantity", "PricingUnit", "ListUnitPrice" AS unit, "PricingCurrency" AS cur, "BilledCost", "ConsumedQuantity" AS n, "ConsumedUnit"
  FROM focus WHERE "ChargePeriodEnd" = '2026-01-16T16:00:00Z' AND "SkuMeter" = 'charge' AND "ChargeCategory" = 'Usage';
SELECT "ChargeCategory", "ChargeClass", "ChargeDescription", sum("BilledCost"), sum("ConsumedQuantity"), count(*)
  FROM focus WHERE "ChargeCategory" <> 'Usage' OR "ChargeClass" IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT "Tags", count(*) > 0 AS has_rows FROM focus GROUP BY 1 ORDER BY 1;

-- the file has the columns of the version: all that are mandatory, and others by the names that FOCUS has
CREATE TEMP TABLE mandatory (version, name) AS
SELECT v.version, c.name
  FROM (VALUES ('1.2'), ('1.3'), ('1.4')) AS v (version),
       unnest('{BilledCost, BillingAccountId, BillingAccountName, BillingCurrency, BillingPeriodEnd, BillingPeriodStart, ChargeCategory,
                ChargeClass, ChargeDescription, ChargePeriodEnd, ChargePeriodStart, ContractedCost, EffectiveCost, InvoiceIssuerName,
                ListCost, PricingQuantity, PricingUnit, ServiceCategory, ServiceName}'::text[]) AS c (name)
UNION ALL VALUES ('1.2', 'ProviderName'), ('1.2', 'PublisherName'), ('1.3', 'ServiceProviderName'), ('1.3', 'HostProviderName'),
                 ('1.4', 'ServiceProviderName'), ('1.4', 'HostProviderName');
CREATE TEMP TABLE header AS
SELECT v.version, unnest(string_to_array(h.line, ',')) AS name
  FROM (VALUES ('1.2'), ('1.3'), ('1.4')) AS v (version)
 CROSS JOIN LATERAL (SELECT * FROM usage_monitor.focus_csv('2025-01-01', '2025-01-02', version => v.version) AS l (line) LIMIT 1) AS h;
SELECT m.version, count(*) AS mandatory, count(*) FILTER (WHERE h.name IS NULL) AS missing
  FROM mandatory m LEFT JOIN header h USING (version, name) GROUP BY 1 ORDER BY 1;
SELECT version, count(*) AS columns, count(*) FILTER (WHERE name !~ '^x_[A-Z][A-Za-z]+$|^[A-Z][A-Za-z]+$') AS misnamed,
       string_agg(name, ', ') FILTER (WHERE name ~ 'Provider|Publisher') AS names
  FROM header GROUP BY 1 ORDER BY 1;
SELECT version, count(*) FILTER (WHERE f."ProviderName" IS NULL) AS without_old, count(*) FILTER (WHERE f."ServiceProviderName" IS NULL) AS without_new, count(*)
  FROM (VALUES ('1.2'), ('1.3'), ('1.4')) AS v (version), usage_monitor.focus('2026-01-20', '2026-01-21', 'contract', version) AS f GROUP BY 1 ORDER BY 1;

/*
 * What must hold of every row.  A rule is what it is about, what a row must
 * satisfy, and what breaks it: each is tried on rows that break it, too.
 */
CREATE TEMP TABLE rule (name text, must text, breaks text);
INSERT INTO rule
SELECT 'type and presence of ' || c, format('%I IS NOT NULL', c), format('%I = NULL', c)
  FROM unnest('{BilledCost, BillingAccountId, BillingAccountName, BillingCurrency, BillingPeriodEnd, BillingPeriodStart, ChargeCategory,
                ChargeDescription, ChargePeriodEnd, ChargePeriodStart, ContractedCost, EffectiveCost, InvoiceIssuerName, ListCost,
                ServiceCategory, ServiceName, ServiceSubcategory, ProviderName, PublisherName, ServiceProviderName, HostProviderName,
                ChargeFrequency, PricingCurrency}'::text[]) AS c
UNION ALL
SELECT 'no blank in ' || a.attname, format('%I !~ ''^\s|\s$|^$''', a.attname), format('%I = '' ''', a.attname)
  FROM pg_attribute a
 WHERE a.attrelid = 'focus'::regclass AND a.atttypid = 'text'::regtype AND a.attnum > 0 AND a.attname NOT IN ('AvailabilityZone', 'InvoiceId')
UNION ALL
SELECT 'a finite number in ' || a.attname, format('%1$I NOT IN (''NaN'', ''Infinity'', ''-Infinity'')', a.attname), format('%I = ''NaN''', a.attname)
  FROM pg_attribute a
 WHERE a.attrelid = 'focus'::regclass AND a.atttypid = 'numeric'::regtype AND a.attnum > 0
UNION ALL
SELECT 'ISO 8601 in UTC in ' || c, format('%1$I ~ ''^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$''', c), format('%I = ''2026-01-01 00:00:00+00''', c)
  FROM unnest('{BillingPeriodEnd, BillingPeriodStart, ChargePeriodEnd, ChargePeriodStart}'::text[]) AS c
UNION ALL
SELECT 'a currency in ' || c, format('%1$I ~ ''^[A-Z]{3}$''', c), format('%I = ''dollars''', c)
  FROM unnest('{BillingCurrency, PricingCurrency}'::text[]) AS c
UNION ALL
SELECT 'a unit in ' || c, format('%1$I ~ ''^([A-Z][a-z]*s|[A-Z][a-z]*es|GB)$''', c), format('%I = ''tokens per million''', c)
  FROM unnest('{PricingUnit, ConsumedUnit}'::text[]) AS c
UNION ALL
SELECT format('%s times PricingQuantity is %s', u, p), format('%I * "PricingQuantity" = %I', u, p), format('%I = %1$I + 1', u)
  FROM (VALUES ('ListUnitPrice', 'ListCost'), ('ContractedUnitPrice', 'ContractedCost'),
               ('PricingCurrencyContractedUnitPrice', 'PricingCurrencyEffectiveCost')) AS t (u, p)
UNION ALL
SELECT format('%s is not negative', c), format('%I >= 0', c), format('%I = -1', c)
  FROM unnest('{ListUnitPrice, ContractedUnitPrice, PricingCurrencyListUnitPrice, PricingCurrencyContractedUnitPrice}'::text[]) AS c
UNION ALL
SELECT format('%s of usage', c), format('"ChargeCategory" <> ''Usage'' OR "ChargeClass" IS NOT NULL OR %I IS NOT NULL', c), format('%I = NULL', c)
  FROM unnest('{ListUnitPrice, ContractedUnitPrice, PricingQuantity, PricingUnit, PricingCategory, ConsumedQuantity, ConsumedUnit, SkuId, SkuPriceId,
                PricingCurrencyListUnitPrice, PricingCurrencyContractedUnitPrice, PricingCurrencyEffectiveCost}'::text[]) AS c
UNION ALL
SELECT format('%s and %s together', a, b), format('(%I IS NULL) = (%I IS NULL)', a, b), format('%I = CASE WHEN %I IS NULL THEN ''x'' END', a, b)
  FROM (VALUES ('PricingUnit', 'PricingQuantity'), ('ConsumedUnit', 'ConsumedQuantity'), ('SkuMeter', 'SkuId'),
               ('SubAccountName', 'SubAccountId'), ('SubAccountType', 'SubAccountId')) AS t (a, b)
UNION ALL
SELECT format('the values of %s', c), format('%I IN (%s)', c, v), format('%I = ''Something''', c)
  FROM (VALUES ('ChargeCategory', '''Usage'', ''Purchase'', ''Tax'', ''Credit'', ''Adjustment'''), ('ChargeClass', '''Correction'''),
               ('ChargeFrequency', '''One-Time'', ''Recurring'', ''Usage-Based'''),
               ('PricingCategory', '''Standard'', ''Dynamic'', ''Committed'', ''Other'''),
               ('ServiceCategory', '''AI and Machine Learning'''), ('ServiceSubcategory', '''Generative AI''')) AS t (c, v)
UNION ALL VALUES
    ('a billing period is a month', '("BillingPeriodStart"::timestamptz AT TIME ZONE ''Asia/Shanghai'') + interval ''1 month'' = ("BillingPeriodEnd"::timestamptz AT TIME ZONE ''Asia/Shanghai'')',
     '"BillingPeriodEnd" = "ChargePeriodEnd"'),
    ('a charge period is a day', '("ChargePeriodStart"::timestamptz AT TIME ZONE ''Asia/Shanghai'') + interval ''1 day'' = ("ChargePeriodEnd"::timestamptz AT TIME ZONE ''Asia/Shanghai'')',
     '"ChargePeriodEnd" = "BillingPeriodEnd", "ChargePeriodStart" = "BillingPeriodStart"'),
    ('a charge is in its billing period', '"ChargePeriodStart" >= "BillingPeriodStart" AND "ChargePeriodEnd" <= "BillingPeriodEnd"',
     '"ChargePeriodStart" = ''2020-01-01T00:00:00Z'''),
    ('usage alone is consumed', '"ChargeCategory" = ''Usage'' OR "ConsumedQuantity" IS NULL', '"ChargeCategory" = ''Adjustment'', "ConsumedQuantity" = 1'),
    ('details are of a price', '"SkuPriceId" IS NOT NULL OR "SkuPriceDetails" IS NULL', '"SkuPriceId" = NULL, "SkuPriceDetails" = ''{}'''),
    ('details of its own begin with x_', '"SkuPriceDetails" IS NULL OR NOT EXISTS (SELECT FROM jsonb_object_keys("SkuPriceDetails") k WHERE k !~ ''^x_'')',
     '"SkuPriceDetails" = ''{"tier": 1}'''),
    ('details and tags are flat', 'NOT jsonb_path_exists(jsonb_build_array("SkuPriceDetails", "Tags"), ''$[*].* ? (@.type() == "object" || @.type() == "array")'')',
     '"Tags" = ''{"a": {"b": 1}}'''),
    ('billed is effective', '"BilledCost" = "EffectiveCost"', '"EffectiveCost" = "BilledCost" + 1');

CREATE FUNCTION pg_temp.violations(must text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM focus WHERE NOT (%s)', must) INTO found;
    RETURN found;
END
$$;
-- in the rows as they are, none; after each was broken, that rule is found broken
SELECT count(*) AS rules, count(*) FILTER (WHERE pg_temp.violations(must) > 0) AS violated FROM rule;
SELECT name, pg_temp.violations(must) FROM rule WHERE pg_temp.violations(must) > 0;
DO $$
DECLARE
    r record;
    found bigint;
BEGIN
    FOR r IN SELECT * FROM rule LOOP
        BEGIN
            EXECUTE 'UPDATE focus SET ' || r.breaks;
            found := pg_temp.violations(r.must);
            RAISE EXCEPTION USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
            IF found = 0 THEN
                RAISE WARNING 'rule "%" cannot be broken', r.name;
            END IF;
        END;
    END LOOP;
END
$$;
-- a SKU price has one SKU, and a SKU one meter
SELECT "SkuPriceId" FROM focus GROUP BY 1 HAVING count(DISTINCT "SkuId") <> 1;
SELECT "SkuId" FROM focus GROUP BY 1 HAVING count(DISTINCT "SkuMeter") <> 1;

-- names that CSV must quote
INSERT INTO usage_monitor.usage (ts, org, project, model, cost) VALUES ('2026-01-02Z', 'a "b", c', E'line\nbreak', 'x', 1);
SELECT l FROM usage_monitor.focus_csv('2026-01-02', '2026-01-03', version => '1.2') AS l OFFSET 1;

-- who is confined to an organisation sees its part, and no notice of others
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_um_focus;
RESET client_min_messages;
CREATE ROLE regress_um_focus;
SELECT usage_monitor.grant_access('regress_um_focus', 'reader', 'contract');
SET ROLE regress_um_focus;
SELECT DISTINCT "BillingAccountId" FROM usage_monitor.focus('2026-01-01', '2099-01-01');
SELECT count(*) FROM usage_monitor.focus('2026-01-01', '2099-01-01', 'big');
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_um_focus');
DROP ROLE regress_um_focus;

-- days that are archived keep their costs, model by model
CREATE TABLE usage_january (LIKE usage_monitor.usage_default INCLUDING ALL);
BEGIN;
WITH moved AS (DELETE FROM usage_monitor.usage_default WHERE ts < '2026-01-16 16:00Z' RETURNING *)
INSERT INTO usage_january SELECT * FROM moved;
ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_january FOR VALUES FROM ('2026-01-01Z') TO ('2026-01-16 16:00Z');
COMMIT;
SELECT usage_monitor.rebuild_rollups() > 0 AS rebuilt;
SELECT requests FROM usage_monitor.drop_usage_before('2026-01-17');
SELECT left("ChargePeriodEnd", 10) AS day, sum("BilledCost"), sum("BilledCost") = d.cost AS is_the_ledgers
  FROM usage_monitor.focus('2026-01-01', '2026-01-19') f JOIN usage_monitor.daily_total d ON d.day = left("ChargePeriodEnd", 10)::date GROUP BY 1, d.cost ORDER BY 1;
SELECT "ChargeDescription", "SubAccountId", "BilledCost", "PricingQuantity", "PricingUnit", "x_Requests" FROM usage_monitor.focus('2026-01-16', '2026-01-17', 'big');

-- refused
SELECT * FROM usage_monitor.focus('2026-02-01', '2026-01-01');
SELECT * FROM usage_monitor.focus(NULL, '2026-01-01');
SELECT * FROM usage_monitor.focus('2026-01-01', '2026-02-01', version => '1.0');
SELECT * FROM usage_monitor.focus('2026-01-01', '2026-02-01', version => NULL);
SELECT * FROM usage_monitor.focus_csv('2026-01-01', '2026-02-01', version => '2');
SELECT * FROM usage_monitor.focus('2026-01-01', '2026-02-01', tags => '{""}');

DROP EXTENSION usage_monitor CASCADE;
