/*
 * FOCUS: the cost and usage data of the FinOps Open Cost and Usage
 * Specification, versions 1.2 to 1.4, for the tools that read it.
 *
 * A charge period is a day of the ledger, a billing period a month, a billing
 * account an organisation, a sub account a project, a SKU a meter of a model
 * of a provider.
 */
CREATE TYPE usage_monitor.focus_cost_and_usage AS (
    "AvailabilityZone"                    text,
    "BilledCost"                          numeric,
    "BillingAccountId"                    text,
    "BillingAccountName"                  text,
    "BillingAccountType"                  text,
    "BillingCurrency"                     text,
    "BillingPeriodEnd"                    text,
    "BillingPeriodStart"                  text,
    "ChargeCategory"                      text,
    "ChargeClass"                         text,
    "ChargeDescription"                   text,
    "ChargeFrequency"                     text,
    "ChargePeriodEnd"                     text,
    "ChargePeriodStart"                   text,
    "ConsumedQuantity"                    numeric,
    "ConsumedUnit"                        text,
    "ContractedCost"                      numeric,
    "ContractedUnitPrice"                 numeric,
    "EffectiveCost"                       numeric,
    "HostProviderName"                    text,
    "InvoiceId"                           text,
    "InvoiceIssuerName"                   text,
    "ListCost"                            numeric,
    "ListUnitPrice"                       numeric,
    "PricingCategory"                     text,
    "PricingCurrency"                     text,
    "PricingCurrencyContractedUnitPrice"  numeric,
    "PricingCurrencyEffectiveCost"        numeric,
    "PricingCurrencyListUnitPrice"        numeric,
    "PricingQuantity"                     numeric,
    "PricingUnit"                         text,
    "ProviderName"                        text,
    "PublisherName"                       text,
    "ServiceCategory"                     text,
    "ServiceName"                         text,
    "ServiceProviderName"                 text,
    "ServiceSubcategory"                  text,
    "SkuId"                               text,
    "SkuMeter"                            text,
    "SkuPriceDetails"                     jsonb,
    "SkuPriceId"                          text,
    "SubAccountId"                        text,
    "SubAccountName"                      text,
    "SubAccountType"                      text,
    "Tags"                                jsonb,
    "x_CorrectedDay"                      text,
    "x_Department"                        text,
    "x_Requests"                          bigint
);

COMMENT ON TYPE usage_monitor.focus_cost_and_usage IS
    'A row of focus(): the columns of every version; those that the version does not have are NULL.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."AvailabilityZone" IS 'NULL: calls have none.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BilledCost" IS 'What is charged, in BillingCurrency: the ledger''s cost, exactly.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingAccountId" IS 'The organisation.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingAccountName" IS 'The organisation.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingAccountType" IS 'Organisation.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingCurrency" IS 'The ledger''s currency.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingPeriodEnd" IS 'When the month of the ledger''s calendar ends, in UTC; not included.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."BillingPeriodStart" IS 'When it begins.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargeCategory" IS 'Usage; Adjustment: what calls cost more or less than the price book says now, for the ledger keeps what they were priced at, and refunds of the same month.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargeClass" IS 'Correction: corrects a closed period, in the month that it was made; else NULL.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargeDescription" IS 'What was charged, for people.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargeFrequency" IS 'Usage-Based.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargePeriodEnd" IS 'When the day of the ledger''s calendar ends, in UTC; not included.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ChargePeriodStart" IS 'When it begins.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ConsumedQuantity" IS 'What was used, in ConsumedUnit.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ConsumedUnit" IS 'Tokens, Requests, Seconds, ... by the meter.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ContractedCost" IS 'By the contract''s price and after the discount: BilledCost.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ContractedUnitPrice" IS 'Of a PricingUnit, in BillingCurrency, after the discount.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."EffectiveCost" IS 'BilledCost: nothing is paid in advance.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."HostProviderName" IS 'Who runs the model: the provider. From 1.3 on.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."InvoiceId" IS 'NULL: the ledger has no invoices.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."InvoiceIssuerName" IS 'Who bills: the provider.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ListCost" IS 'Without contract and discount, in BillingCurrency.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ListUnitPrice" IS 'Of a PricingUnit, in BillingCurrency, without contract and discount.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingCategory" IS 'Standard; Other: of costs that were not priced by the price book.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingCurrency" IS 'The currency of the price.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingCurrencyContractedUnitPrice" IS 'ContractedUnitPrice in PricingCurrency.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingCurrencyEffectiveCost" IS 'EffectiveCost in PricingCurrency.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingCurrencyListUnitPrice" IS 'ListUnitPrice in PricingCurrency.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingQuantity" IS 'What was priced, in PricingUnit.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PricingUnit" IS 'Tokens, Requests, ...; Units: units of PricingCurrency, of costs that were not priced by the price book.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ProviderName" IS 'The provider. Up to 1.3.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."PublisherName" IS 'The provider. Up to 1.3.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ServiceCategory" IS 'AI and Machine Learning.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ServiceName" IS 'The provider''s API.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ServiceProviderName" IS 'The provider. From 1.3 on.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."ServiceSubcategory" IS 'Generative AI.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SkuId" IS 'provider/model/meter, by their names in the price book.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SkuMeter" IS 'The meter; charge: of costs that were not priced by the price book.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SkuPriceDetails" IS 'Of what a price depends on: x_ServiceTier, x_ContextFrom (input tokens), x_TimeWindow.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SkuPriceId" IS 'SkuId, and the service tier, context tier and daily window of the price.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SubAccountId" IS 'The project.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SubAccountName" IS 'The project.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."SubAccountType" IS 'Project.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."Tags" IS 'The calls'' tags of the names that were asked for.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."x_CorrectedDay" IS 'Of a correction: the day that it corrects.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."x_Department" IS 'The department.';
COMMENT ON COLUMN usage_monitor.focus_cost_and_usage."x_Requests" IS 'Number of calls that used the meter; those of a call''s several meters are the same call.';

CREATE FUNCTION _usage_monitor._focus_columns(version text) RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF version IS NULL OR version NOT IN ('1.2', '1.3', '1.4') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "version" must be a version of FOCUS that is known, but is %s', coalesce('"' || version || '"', 'NULL')),
            HINT = 'Known versions are 1.2, 1.3 and 1.4.';
    END IF;
    RETURN QUERY
    SELECT a.attname::text
      FROM pg_attribute a
     WHERE a.attrelid = 'usage_monitor.focus_cost_and_usage'::regclass
       AND a.attnum > 0
       AND CASE WHEN a.attname IN ('HostProviderName', 'ServiceProviderName') THEN version >= '1.3'
                WHEN a.attname IN ('ProviderName', 'PublisherName') THEN version <= '1.3'
                ELSE true END
     ORDER BY a.attnum;
END
$$;

COMMENT ON FUNCTION _usage_monitor._focus_columns(text) IS 'The columns that a version of FOCUS has. Error: UM008 unknown version.';

CREATE FUNCTION _usage_monitor._focus_time(at timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');

COMMENT ON FUNCTION _usage_monitor._focus_time(timestamptz) IS 'An instant as FOCUS writes it.';

CREATE FUNCTION _usage_monitor._meter_unit(meter text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN meter = 'cache_storage' THEN 'Token-Hours'
            WHEN meter ~ '^(input|output|cache_|reasoning)' THEN 'Tokens'
            ELSE CASE meter
                     WHEN 'request' THEN 'Requests'
                     WHEN 'web_search' THEN 'Searches'
                     WHEN 'web_search_preview' THEN 'Searches'
                     WHEN 'maps_search' THEN 'Searches'
                     WHEN 'search_source' THEN 'Sources'
                     WHEN 'image' THEN 'Images'
                     WHEN 'image_2k' THEN 'Images'
                     WHEN 'image_4k' THEN 'Images'
                     WHEN 'second' THEN 'Seconds'
                     WHEN 'second_1080p' THEN 'Seconds'
                     WHEN 'second_4k' THEN 'Seconds'
                     WHEN 'minute' THEN 'Minutes'
                     WHEN 'hour' THEN 'Hours'
                     WHEN 'page' THEN 'Pages'
                     WHEN 'annotated_page' THEN 'Pages'
                     WHEN 'character' THEN 'Characters'
                     WHEN 'gb' THEN 'GB'
                     WHEN 'session' THEN 'Sessions'
                     WHEN 'file_search' THEN 'Searches'
                     WHEN 'code_interpreter' THEN 'Sessions'
                     WHEN 'classification' THEN 'Classifications'
                     ELSE 'Units' END END;

COMMENT ON FUNCTION _usage_monitor._meter_unit(text) IS 'The unit that a meter counts, as FOCUS writes units.';

CREATE FUNCTION usage_monitor.focus(
    "from" date,
    "to" date,
    org text DEFAULT NULL,
    version text DEFAULT '1.4',
    tags text[] DEFAULT '{}'
) RETURNS SETOF usage_monitor.focus_cost_and_usage
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    columns  CONSTANT text[] := ARRAY(SELECT _usage_monitor._focus_columns(version));
    currency CONSTANT text := usage_monitor.ledger_currency();
    unpriced bigint;
BEGIN
    PERFORM _usage_monitor._check_days("from", "to");
    IF tags IS NULL OR NULL = ANY (tags) OR '' = ANY (tags) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = 'argument "tags" must be names of tags',
            HINT = 'Leave it out, or name some: tags => ''{workflow, device}''.';
    END IF;

    RETURN QUERY
    WITH charge AS MATERIALIZED (
        SELECT c.*, coalesce(c.provider, 'Unknown') AS who,
               -- a correction is one of an earlier billing period
               c.kind = 'correction' AND left(c.corrects, 7) <> to_char(c.day, 'YYYY-MM') AS is_correction,
               c.kind IN ('correction', 'difference') AND coalesce(left(c.corrects, 7) = to_char(c.day, 'YYYY-MM'), true) AS is_adjustment
          FROM _usage_monitor._charges("from", "to", focus.org, focus.tags) AS c
    ), time AS MATERIALIZED (
        SELECT d.day,
               _usage_monitor._focus_time(_usage_monitor._day_start(d.day)) AS day_start,
               _usage_monitor._focus_time(_usage_monitor._day_start(d.day + 1)) AS day_end,
               _usage_monitor._focus_time(_usage_monitor._day_start(date_trunc('month', d.day::timestamp)::date)) AS month_start,
               _usage_monitor._focus_time(_usage_monitor._day_start((date_trunc('month', d.day::timestamp) + interval '1 month')::date)) AS month_end
          FROM (SELECT DISTINCT c.day FROM charge c) AS d
    )
    SELECT NULL::text,
           c.cost,
           c.org,
           c.org,
           'Organisation',
           currency,
           t.month_end,
           t.month_start,
           CASE WHEN c.is_adjustment THEN 'Adjustment' ELSE 'Usage' END,
           CASE WHEN c.is_correction THEN 'Correction' END,
           p.description,
           'Usage-Based',
           t.day_end,
           t.day_start,
           p.consumed,
           p.consumed_unit,
           c.cost,
           trim_scale(p.contracted * coalesce(c.exchange_rate, 1)),
           c.cost,
           CASE WHEN 'HostProviderName' = ANY (columns) THEN c.who END,
           NULL::text,
           c.who,
           p.list_cost,
           trim_scale(p.list * coalesce(c.exchange_rate, 1)),
           p.category,
           c.price_currency,
           p.contracted,
           c.price_cost,
           p.list,
           p.quantity,
           p.unit,
           CASE WHEN 'ProviderName' = ANY (columns) THEN c.who END,
           CASE WHEN 'PublisherName' = ANY (columns) THEN c.who END,
           'AI and Machine Learning',
           c.who || ' API',
           CASE WHEN 'ServiceProviderName' = ANY (columns) THEN c.who END,
           'Generative AI',
           format('%s/%s/', c.who, c.model) || p.meter,
           p.meter,
           p.details,
           format('%s/%s/', c.who, c.model) || p.meter || p.price,
           c.project,
           c.project,
           CASE WHEN c.project IS NOT NULL THEN 'Project' END,
           c.tags,
           c.corrects,
           c.department,
           c.requests
      FROM charge AS c
      JOIN time AS t ON t.day = c.day
     CROSS JOIN LATERAL (
         SELECT format('%s, %s', c.model, replace(c.meter, '_', ' ')) AS description,
                c.meter,
                'Standard' AS category,
                c.quantity AS consumed, _usage_monitor._meter_unit(c.meter) AS consumed_unit,
                c.quantity, _usage_monitor._meter_unit(c.meter) AS unit,
                c.list_unit_price AS list, trim_scale(c.unit_price * coalesce((100 - c.discount) * 0.01, 1)) AS contracted,
                c.list_cost,
                concat('/', c.service_tier, '/', c.context_from, '/' || c.time_window) AS price,
                jsonb_strip_nulls(jsonb_build_object('x_ServiceTier', c.service_tier, 'x_ContextFrom', c.context_from,
                                                     'x_TimeWindow', c.time_window)) AS details
          WHERE c.kind = 'usage'
         UNION ALL
         -- what was not priced by the price book is so many units of money, at one each
         SELECT CASE c.kind WHEN 'reported' THEN format('%s, as the provider charged', c.model)
                            WHEN 'correction' THEN format('%s, correction of %s', c.model, c.corrects)
                            WHEN 'archived' THEN format('%s, archived', c.model)
                            ELSE format('%s, by the prices that held when the calls were recorded', c.model) END,
                'charge', 'Other',
                CASE WHEN NOT c.is_adjustment THEN c.requests END, CASE WHEN NOT c.is_adjustment THEN 'Requests' END,
                c.price_cost, 'Units', 1, 1, c.cost, '', NULL
          WHERE c.kind NOT IN ('usage', 'unpriced')) AS p
     ORDER BY c.day, c.org, c.department, c.project, c.who, c.model, p.meter, p.price, c.kind, c.corrects, c.tags,
              c.exchange_rate, c.discount, c.list_unit_price, c.unit_price;

    -- a cost is never NULL in FOCUS, and never made up here
    SELECT s.unpriced_requests INTO unpriced
      FROM _usage_monitor._usage_sum('day', _usage_monitor._day_start("from"), _usage_monitor._day_start("to"), org => focus.org) AS s;
    IF unpriced > 0 THEN
        RAISE NOTICE USING
            MESSAGE = format('calls without a cost, which have no row: %s', unpriced),
            HINT = 'usage_monitor.unpriced_usage lists them; set their prices, and call reprice().';
    END IF;
END
$$;

COMMENT ON FUNCTION usage_monitor.focus(date, date, text, text, text[]) IS
    'FOCUS cost and usage data, of version 1.2, 1.3 or 1.4, of one organisation or of all, for the days of the ledger''s calendar from "from" on and before "to" (ledger_day() is the day of an instant): a row for each day, organisation, department, project, SKU (a meter of a model of a provider) and price, and the tags of those names. BilledCost adds up to the ledger''s cost, exactly. Calls without a cost have no row; a notice says how many they are. Days that the ledger has only sums of have a row for each model. focus_csv() has the columns of the version alone. Errors: UM001 not a range of days, UM004 no name of a tag, UM008 unknown version.';

CREATE FUNCTION _usage_monitor._csv_cell(value text, separator text DEFAULT ',') RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL THEN ''
            WHEN value = '' OR value ~ '["\r\n]' OR strpos(value, separator) > 0 THEN '"' || replace(value, '"', '""') || '"'
            ELSE value END;

COMMENT ON FUNCTION _usage_monitor._csv_cell(text, text) IS 'A value as CSV has it; NULL is nothing at all.';

CREATE FUNCTION usage_monitor.focus_csv(
    "from" date,
    "to" date,
    org text DEFAULT NULL,
    version text DEFAULT '1.4',
    tags text[] DEFAULT '{}'
) RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    columns CONSTANT text[] := ARRAY(SELECT _usage_monitor._focus_columns(version));
BEGIN
    RETURN NEXT array_to_string(columns, ',');
    RETURN QUERY EXECUTE
        'SELECT ' || (SELECT string_agg(format('_usage_monitor._csv_cell(f.%I::text)', c.name), ' || '','' || ' ORDER BY c.n)
                        FROM unnest(columns) WITH ORDINALITY AS c (name, n))
        || ' FROM usage_monitor.focus($1, $2, $3, $4, $5) AS f'
    USING "from", "to", org, version, tags;
END
$$;

COMMENT ON FUNCTION usage_monitor.focus_csv(date, date, text, text, text[]) IS
    'The same as the lines of a CSV file, with just the columns that the version has: psql -Atc "SELECT usage_monitor.focus_csv(...)" > focus.csv. Errors: as above.';
