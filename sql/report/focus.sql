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
            WHEN starts_with(meter, 'input') OR starts_with(meter, 'output') OR starts_with(meter, 'cache_')
                 OR starts_with(meter, 'reasoning') THEN 'Tokens'
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
    -- as in _charges()
    SET enable_sort = off
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

    -- Rows of so many columns are made once, and are not sorted: what they are made of is.
    RETURN QUERY EXECUTE format($query$
    SELECT NULL::text,
           c.cost,
           c.org,
           c.org,
           'Organisation',
           $7,
           c.month_end,
           c.month_start,
           CASE WHEN c.is_adjustment THEN 'Adjustment' ELSE 'Usage' END,
           CASE WHEN c.is_correction THEN 'Correction' END,
           CASE c.kind WHEN 'usage' THEN c.model || ', ' || replace(c.meter, '_', ' ')
                       WHEN 'reported' THEN c.model || ', as the provider charged'
                       WHEN 'correction' THEN format('%%s, correction of %%s', c.model, c.corrects)
                       WHEN 'archived' THEN c.model || ', archived'
                       ELSE c.model || ', by the prices that held when the calls were recorded' END,
           'Usage-Based',
           c.day_end,
           c.day_start,
           CASE WHEN c.unit IS NOT NULL THEN c.quantity WHEN NOT c.is_adjustment THEN c.requests END,
           CASE WHEN c.unit IS NOT NULL THEN c.unit WHEN NOT c.is_adjustment THEN 'Requests' END,
           c.cost,
           CASE WHEN c.exchange_rate IS NULL THEN c.contracted ELSE trim_scale(c.contracted * c.exchange_rate) END,
           c.cost,
           %1$s,
           NULL::text,
           c.who,
           c.list_cost,
           CASE WHEN c.exchange_rate IS NULL THEN c.list ELSE trim_scale(c.list * c.exchange_rate) END,
           CASE WHEN c.unit IS NOT NULL THEN 'Standard' ELSE 'Other' END,
           c.price_currency,
           c.contracted,
           c.price_cost,
           c.list,
           -- what was not priced by the price book is so many units of money, at one each
           CASE WHEN c.unit IS NOT NULL THEN c.quantity ELSE c.price_cost END,
           coalesce(c.unit, 'Units'),
           %2$s,
           %3$s,
           'AI and Machine Learning',
           c.who || ' API',
           %4$s,
           'Generative AI',
           c.sku,
           coalesce(c.meter, 'charge'),
           CASE WHEN c.time_window IS NOT NULL
                THEN jsonb_build_object('x_ServiceTier', c.service_tier, 'x_ContextFrom', c.context_from, 'x_TimeWindow', c.time_window)
                WHEN c.unit IS NOT NULL
                THEN jsonb_build_object('x_ServiceTier', c.service_tier, 'x_ContextFrom', c.context_from) END,
           CASE WHEN c.unit IS NOT NULL
                THEN c.sku || '/' || c.service_tier || '/' || c.context_from::text || coalesce('/' || c.time_window, '') ELSE c.sku END,
           c.project,
           c.project,
           CASE WHEN c.project IS NOT NULL THEN 'Project' END,
           c.tags,
           c.corrects,
           c.department,
           c.requests
      FROM (
          SELECT c.*,
                 w.who,
                 w.who || '/' || c.model || '/' || coalesce(c.meter, 'charge') AS sku,
                 CASE WHEN c.meter IS NOT NULL THEN _usage_monitor._meter_unit(c.meter) END AS unit,
                 CASE WHEN c.meter IS NOT NULL THEN c.list_unit_price ELSE 1 END AS list,
                 CASE WHEN c.discount IS NOT NULL THEN trim_scale(c.unit_price * ((100 - c.discount) * 0.01))
                      WHEN c.meter IS NOT NULL THEN c.unit_price
                      ELSE 1 END AS contracted,
                 -- a correction is one of an earlier billing period
                 c.kind = 'correction' AND left(c.corrects, 7) <> to_char(c.day, 'YYYY-MM') AS is_correction,
                 c.kind IN ('correction', 'difference') AND coalesce(left(c.corrects, 7) = to_char(c.day, 'YYYY-MM'), true) AS is_adjustment
            FROM (%5$s) AS c
           CROSS JOIN LATERAL (SELECT coalesce(c.provider, 'Unknown') AS who) AS w
           WHERE c.kind <> 'unpriced'
          OFFSET 0  -- each once
      ) AS c
    $query$,
    CASE WHEN 'HostProviderName' = ANY (columns) THEN 'c.who' ELSE 'NULL' END,
    CASE WHEN 'ProviderName' = ANY (columns) THEN 'c.who' ELSE 'NULL' END,
    CASE WHEN 'PublisherName' = ANY (columns) THEN 'c.who' ELSE 'NULL' END,
    CASE WHEN 'ServiceProviderName' = ANY (columns) THEN 'c.who' ELSE 'NULL' END,
    _usage_monitor._charge_query(org, tags))
    USING _usage_monitor._instant("from"), _usage_monitor._instant("to"), org, "from", "to", tags, currency;

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
