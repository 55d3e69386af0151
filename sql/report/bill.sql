/*
 * The vendor's own bill beside the ledger: what was billed by day, model and
 * meter, and which calls the ledger lacks or prices otherwise.
 */
CREATE TABLE usage_monitor.vendor_bill (
    vendor       text NOT NULL,
    day          date NOT NULL,
    account      text NOT NULL DEFAULT '',
    project      text NOT NULL DEFAULT '',
    model        text NOT NULL DEFAULT '',
    meter        text NOT NULL DEFAULT 'total',
    service_tier text NOT NULL DEFAULT 'standard',
    item         text NOT NULL DEFAULT '',
    quantity     numeric,
    amount       numeric,
    currency     text,
    source       text NOT NULL,
    imported_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vendor_bill_pkey PRIMARY KEY (vendor, day, account, project, model, meter, service_tier, item, source)
);

COMMENT ON TABLE usage_monitor.vendor_bill IS
    'What vendors say that they billed, and what was used: filled by import_bill().';
COMMENT ON COLUMN usage_monitor.vendor_bill.vendor IS 'Who bills, by the price book''s name: openai, anthropic, ...';
COMMENT ON COLUMN usage_monitor.vendor_bill.day IS 'The vendor''s day, in UTC.';
COMMENT ON COLUMN usage_monitor.vendor_bill.account IS 'The vendor''s account or organisation; empty: not said.';
COMMENT ON COLUMN usage_monitor.vendor_bill.project IS 'The vendor''s project or workspace; empty: not said.';
COMMENT ON COLUMN usage_monitor.vendor_bill.model IS 'The model as the vendor wrote it; empty: not said.';
COMMENT ON COLUMN usage_monitor.vendor_bill.meter IS 'What was billed: a meter, exclusive of those inside it (input is what was neither cached nor written); other, where that is not a known meter; credit, where such a line is below zero; total, where the bill does not say.';
COMMENT ON COLUMN usage_monitor.vendor_bill.service_tier IS 'Service tier.';
COMMENT ON COLUMN usage_monitor.vendor_bill.item IS 'The line of the bill as the vendor wrote it.';
COMMENT ON COLUMN usage_monitor.vendor_bill.quantity IS 'Units of the meter; NULL: not said.';
COMMENT ON COLUMN usage_monitor.vendor_bill.amount IS 'What was billed, in currency; NULL: a report of usage, which says no amounts.';
COMMENT ON COLUMN usage_monitor.vendor_bill.currency IS 'ISO 4217 code of the amount''s currency.';
COMMENT ON COLUMN usage_monitor.vendor_bill.source IS 'Of which report it is: openai-costs, openai-usage, anthropic-cost, anthropic-usage, openrouter-activity or focus.';
COMMENT ON COLUMN usage_monitor.vendor_bill.imported_at IS 'When it was imported last.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.vendor_bill', '');

CREATE FUNCTION _usage_monitor._bill_meter(item text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN item ~* 'maps' AND item ~* 'ground|search' THEN 'maps_search'
    WHEN item ~* 'web.?search|ground|search (tool )?(call|request|quer)' THEN CASE WHEN item ~* 'preview' THEN 'web_search_preview' ELSE 'web_search' END
    WHEN item ~* 'file.?search' THEN 'file_search'
    WHEN item ~* 'code.?(interpreter|execution)' THEN 'code_interpreter'
    WHEN item ~* 'storage' AND item ~* 'cach' THEN 'cache_storage'
    WHEN item ~* 'cach' AND item ~* 'writ|creat' THEN CASE WHEN item ~* '1.?h|hour' THEN 'cache_write_1h' ELSE 'cache_write' END
    WHEN item ~* 'cach' THEN CASE WHEN item ~* 'audio' THEN 'cache_read_audio' WHEN item ~* 'image' THEN 'cache_read_image' ELSE 'cache_read' END
    WHEN item ~* 'reason' AND item !~* 'input' THEN 'reasoning'
    WHEN item ~* 'output|completion|response|thinking' THEN
        CASE WHEN item ~* 'audio' THEN 'output_audio' WHEN item ~* 'image' THEN 'output_image' WHEN item ~* 'video' THEN 'output_video' ELSE 'output' END
    WHEN item ~* 'input|prompt' THEN
        CASE WHEN item ~* 'audio' THEN 'input_audio' WHEN item ~* 'image' THEN 'input_image' WHEN item ~* 'video' THEN 'input_video' ELSE 'input' END
    WHEN item ~* 'session' THEN 'session'
    WHEN item ~* 'image' THEN 'image'
    WHEN item ~* 'character' THEN 'character'
    WHEN item ~* 'second' THEN 'second'
    WHEN item ~* 'minute' THEN 'minute'
    WHEN item ~* 'request' THEN 'request'
    ELSE 'other'
END;

COMMENT ON FUNCTION _usage_monitor._bill_meter(text) IS 'Which meter a line of a bill is about, by its words; other: none that is known.';

/* RFC 4180, a byte order mark in front or not: one array a record; quotes hold commas, line ends and doubled quotes. */
CREATE FUNCTION _usage_monitor._csv_records(document text) RETURNS SETOF text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH field AS (
        SELECT f.n,
               CASE WHEN f.part[1] LIKE '"%' THEN replace(substr(f.part[1], 2, length(f.part[1]) - 2), '""', '"') ELSE f.part[1] END AS value,
               f.part[2] AS behind
          FROM regexp_matches(rtrim(regexp_replace(document, '^[^\x01-\x7f]+', ''), E'\r\n') || E'\n', '("(?:[^"]|"")*"|[^,\r\n"]*)(,|\r?\n)', 'g') WITH ORDINALITY AS f (part, n)
    ), record AS (
        SELECT f.n, f.value, count(*) FILTER (WHERE f.behind <> ',') OVER (ORDER BY f.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS number
          FROM field f
    )
    SELECT array_agg(r.value ORDER BY r.n)
      FROM record r
     GROUP BY r.number
     ORDER BY r.number;
END;

COMMENT ON FUNCTION _usage_monitor._csv_records(text) IS 'The records of a CSV document, each an array of its fields.';

/*
 * The model of the price book that the words of a line name: the longest one, on
 * Bedrock in its region.  Bedrock's usage types write a name together: NovaLite,
 * Claude4.6Opus.
 */
CREATE FUNCTION _usage_monitor._model_in_words(vendor text, words text, squashed text DEFAULT NULL) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.model
      FROM (SELECT DISTINCT p.model,
                   -- Bedrock's names have a region and the maker in front; a date, a version and the like are behind
                   regexp_replace(regexp_replace(lower(p.model), '^((regional|global|us|eu|apac|jp|au)\.)?([a-z0-9]+\.)?', ''),
                                  '(-preview)?(-0)?(-20[0-9]{6})?(-v[0-9]+)?(:[0-9]+)?$', '') AS core
              FROM usage_monitor.price p
             WHERE p.provider = _model_in_words.vendor
               AND p.model <> '*') AS n
     WHERE n.core ~ '[0-9]|-'
       AND (strpos('-' || regexp_replace(lower(_model_in_words.words), '[^a-z0-9]+', '-', 'g') || '-',
                   '-' || regexp_replace(n.core, '[^a-z0-9]+', '-', 'g') || '-') > 0
            OR regexp_replace(n.core, '[^a-z0-9]', '', 'g') = regexp_replace(lower(_model_in_words.squashed), '[^a-z0-9]', '', 'g')
            OR (SELECT array_agg(m[1] ORDER BY m[1]) FROM regexp_matches(n.core, '[a-z]+|[0-9]+', 'g') AS m)
               = (SELECT array_agg(m[1] ORDER BY m[1]) FROM regexp_matches(lower(_model_in_words.squashed), '[a-z]+|[0-9]+', 'g') AS m))
     ORDER BY length(n.core) DESC,
              n.model LIKE CASE WHEN _model_in_words.words ~* 'global' THEN 'global.%' ELSE 'regional.%' END DESC,
              n.model ~ ':[0-9]+$' DESC, length(n.model), n.model
     LIMIT 1;
END;

COMMENT ON FUNCTION _usage_monitor._model_in_words(text, text, text) IS 'The model of a vendor that a line of a bill names; NULL: none that the price book has.';

CREATE FUNCTION _usage_monitor._bill_of_openai(document jsonb) RETURNS SETOF usage_monitor.vendor_bill
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH result AS (
        SELECT (to_timestamp((b ->> 'start_time')::numeric) AT TIME ZONE 'UTC')::date AS day,
               r,
               r ->> 'line_item' AS item,
               coalesce(r ->> 'organization_id', '') AS account,
               coalesce(r ->> 'project_id', '') AS project
          FROM jsonb_path_query(document, 'strict $.** ? (@.start_time > 0 && exists(@.results))') AS b
         CROSS JOIN LATERAL jsonb_array_elements(b -> 'results') AS r
    )
    -- costs: "gpt-4o-2024-08-06, cached input", or a model alone, all of it; a tool's line names no model
    SELECT 'openai', c.day, c.account, c.project,
           CASE WHEN c.item LIKE '%, %' THEN regexp_replace(split_part(c.item, ', ', 1), '[ -]+(batch|flex|priority)$', '', 'i') WHEN n.is_model THEN c.item ELSE '' END,
           CASE WHEN c.item IS NULL OR n.is_model THEN 'total' ELSE _usage_monitor._bill_meter(regexp_replace(c.item, '^[^,]*, ', '')) END,
           coalesce(substring(lower(c.item) FROM '\m(batch|flex|priority|fast|ultrafast)\M'), 'standard'),
           coalesce(c.item, ''),
           (c.r ->> 'quantity')::numeric, (c.r -> 'amount' ->> 'value')::numeric, upper(c.r -> 'amount' ->> 'currency'),
           'openai-costs', now()
      FROM result c
     CROSS JOIN LATERAL (SELECT c.item NOT LIKE '%, %'
                            AND EXISTS (SELECT FROM usage_monitor.price p
                                         WHERE p.provider = 'openai' AND p.model = _usage_monitor._resolved_model('openai', c.item)) AS is_model) AS n
     WHERE c.r ? 'amount'
    UNION ALL
    -- usage: counts that hold one another
    SELECT 'openai', u.day, u.account, u.project, coalesce(u.r ->> 'model', ''), m.meter,
           coalesce(CASE WHEN (u.r ->> 'batch')::boolean THEN 'batch' END, CASE WHEN u.r ->> 'service_tier' IN ('batch', 'flex', 'priority', 'fast', 'ultrafast') THEN u.r ->> 'service_tier' END, 'standard'),
           coalesce(u.r ->> 'object', ''), m.quantity, NULL, NULL, 'openai-usage', now()
      FROM result u
     CROSS JOIN LATERAL (SELECT coalesce((u.r ->> 'input_tokens')::numeric, 0) AS input,
                                coalesce((u.r ->> 'input_cached_tokens')::numeric, 0) AS cached,
                                coalesce((u.r ->> 'input_audio_tokens')::numeric, 0) AS audio,
                                coalesce((u.r ->> 'output_tokens')::numeric, 0) AS output,
                                coalesce((u.r ->> 'output_audio_tokens')::numeric, 0) AS spoken) AS n
     CROSS JOIN LATERAL (VALUES ('input', n.input - n.cached - n.audio), ('cache_read', n.cached), ('input_audio', n.audio),
                                ('output', n.output - n.spoken), ('output_audio', n.spoken),
                                ('image', (u.r ->> 'images')::numeric), ('character', (u.r ->> 'characters')::numeric), ('second', (u.r ->> 'seconds')::numeric),
                                ('request', (u.r ->> 'num_model_requests')::numeric)) AS m (meter, quantity)
     WHERE NOT u.r ? 'amount'
       AND m.quantity <> 0;
END;

COMMENT ON FUNCTION _usage_monitor._bill_of_openai(jsonb) IS 'Lines of OpenAI''s organization/costs and organization/usage answers: a page, or several.';

CREATE FUNCTION _usage_monitor._bill_of_anthropic(document jsonb) RETURNS SETOF usage_monitor.vendor_bill
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH result AS (
        SELECT ((b ->> 'starting_at')::timestamptz AT TIME ZONE 'UTC')::date AS day,
               r,
               coalesce(r ->> 'workspace_id', '') AS project,
               coalesce(r ->> 'model', _usage_monitor._model_in_words('anthropic', r ->> 'description'), '') AS model,
               CASE WHEN r ->> 'service_tier' IN ('batch', 'priority', 'flex', 'fast', 'ultrafast') THEN r ->> 'service_tier' ELSE 'standard' END AS tier
          FROM jsonb_path_query(document, 'strict $.** ? (@.starting_at starts with "2" && exists(@.results))') AS b
         CROSS JOIN LATERAL jsonb_array_elements(b -> 'results') AS r
    )
    -- amounts are cents, as texts
    SELECT 'anthropic', c.day, '', c.project, c.model,
           CASE WHEN c.r ->> 'token_type' IS NOT NULL THEN
                    CASE c.r ->> 'token_type'
                        WHEN 'uncached_input_tokens' THEN 'input'
                        WHEN 'output_tokens' THEN 'output'
                        WHEN 'cache_read_input_tokens' THEN 'cache_read'
                        WHEN 'cache_creation.ephemeral_1h_input_tokens' THEN 'cache_write_1h'
                        WHEN 'cache_creation.ephemeral_5m_input_tokens' THEN 'cache_write'
                        ELSE 'other' END
                -- "Claude Opus 5 Usage - Input Tokens"
                WHEN nullif(c.r ->> 'cost_type', 'tokens') IS NOT NULL THEN _usage_monitor._bill_meter(replace(c.r ->> 'cost_type', '_', ' '))
                WHEN c.r ->> 'description' IS NOT NULL THEN coalesce(nullif(_usage_monitor._bill_meter(c.r ->> 'description'), 'other'), CASE WHEN c.model <> '' THEN 'total' END, 'other')
                ELSE 'total' END,
           c.tier, concat_ws(', ', c.r ->> 'description', c.r ->> 'context_window', c.r ->> 'inference_geo'),
           NULL, (c.r ->> 'amount')::numeric * 0.01, upper(coalesce(c.r ->> 'currency', 'USD')), 'anthropic-cost', now()
      FROM result c
     WHERE c.r ? 'amount'
    UNION ALL
    SELECT 'anthropic', u.day, '', u.project, u.model, m.meter, u.tier,
           concat_ws(', ', u.r ->> 'api_key_id', u.r ->> 'context_window', u.r ->> 'inference_geo'),
           m.quantity, NULL, NULL, 'anthropic-usage', now()
      FROM result u
     CROSS JOIN LATERAL (VALUES ('input', (u.r ->> 'uncached_input_tokens')::numeric), ('output', (u.r ->> 'output_tokens')::numeric),
                                ('cache_read', (u.r ->> 'cache_read_input_tokens')::numeric),
                                ('cache_write', (u.r -> 'cache_creation' ->> 'ephemeral_5m_input_tokens')::numeric),
                                ('cache_write_1h', (u.r -> 'cache_creation' ->> 'ephemeral_1h_input_tokens')::numeric),
                                ('web_search', (u.r -> 'server_tool_use' ->> 'web_search_requests')::numeric)) AS m (meter, quantity)
     WHERE NOT u.r ? 'amount'
       AND m.quantity <> 0;
END;

COMMENT ON FUNCTION _usage_monitor._bill_of_anthropic(jsonb) IS 'Lines of Anthropic''s cost_report and usage_report answers: a page, or several.';

CREATE FUNCTION _usage_monitor._bill_of_openrouter(document jsonb) RETURNS SETOF usage_monitor.vendor_bill
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT 'openrouter', left(a ->> 'date', 10)::date, '', '', coalesce(a ->> 'model', ''), m.meter, 'standard',
           concat_ws(', ', a ->> 'provider_name', a ->> 'providerName', a ->> 'endpoint_id', a ->> 'endpointId'),
           m.quantity, m.amount, CASE WHEN m.amount IS NOT NULL THEN 'USD' END, 'openrouter-activity', now()
      FROM jsonb_path_query(document, 'strict $.** ? (exists(@.date) && exists(@.usage))') AS a
     CROSS JOIN LATERAL (VALUES ('total', NULL, (a ->> 'usage')::numeric + coalesce(a ->> 'byok_usage_inference', a ->> 'byokUsageInference', '0')::numeric),
                                ('request', (a ->> 'requests')::numeric, NULL)) AS m (meter, quantity, amount)
     WHERE m.amount IS NOT NULL
        OR m.quantity <> 0;
END;

COMMENT ON FUNCTION _usage_monitor._bill_of_openrouter(jsonb) IS 'Lines of OpenRouter''s activity: an amount and a number of requests a model and day; of its tokens it does not say which were cached.';

CREATE FUNCTION _usage_monitor._bill_of_focus(rows jsonb) RETURNS SETOF usage_monitor.vendor_bill
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH charge AS (
        SELECT r,
               substring(r ->> 'x_UsageType' FROM '^(?:[A-Z]{2,4}[0-9]-)?(.*?)(?:-mantle)?-(?:text-)?(?:input|output|cache)') AS squashed,
               concat_ws(' ', r ->> 'SkuMeter', r ->> 'x_UsageType', r ->> 'x_SkuDescription', r ->> 'ChargeDescription', r ->> 'ResourceName', r ->> 'SkuId') AS words,
               lower(coalesce(r ->> 'ServiceProviderName', r ->> 'ProviderName', r ->> 'PublisherName', '')) AS provider,
               coalesce(nullif(r ->> 'PricingUnit', ''), r ->> 'ConsumedUnit', '') AS unit,
               coalesce(nullif(r ->> 'PricingQuantity', ''), nullif(r ->> 'ConsumedQuantity', ''))::numeric AS quantity
          FROM jsonb_array_elements(rows) AS r
         WHERE nullif(r ->> 'ChargePeriodStart', '') IS NOT NULL
           -- an export has all that an account was charged for
           AND (coalesce(r ->> 'ServiceCategory', '') IN ('', 'AI and Machine Learning')
                OR concat_ws(' ', r ->> 'ServiceName', r ->> 'x_UsageType', r ->> 'ChargeDescription') ~* 'bedrock|vertex|gemini|generative|openai|claude|\mtokens?\M')
    ), line AS (
        SELECT c.*,
               CASE WHEN c.provider ~ 'amazon|aws' THEN 'aws' WHEN c.provider ~ 'google' THEN 'google' WHEN c.provider ~ 'microsoft|azure' THEN 'azure'
                    ELSE _usage_monitor._canonical_provider(c.provider) END AS vendor
          FROM charge c
    )
    SELECT l.vendor,
           ((l.r ->> 'ChargePeriodStart')::timestamptz AT TIME ZONE 'UTC')::date,
           coalesce(l.r ->> 'BillingAccountId', ''),
           coalesce(l.r ->> 'SubAccountId', ''),
           coalesce(nullif(l.r ->> 'x_ModelId', ''),
                    CASE WHEN l.r ->> 'SkuId' LIKE '%/%/%' THEN substring(l.r ->> 'SkuId' FROM '^[^/]*/(.*)/[^/]*$') END,
                    _usage_monitor._model_in_words(l.vendor, concat_ws(' ', l.r ->> 'ServiceName', l.words), l.squashed), l.squashed, ''),
           coalesce(CASE WHEN _usage_monitor._meter_side(l.r ->> 'SkuMeter') IS NOT NULL THEN l.r ->> 'SkuMeter' END, _usage_monitor._bill_meter(l.words)),
           CASE WHEN l.words ~* '\mbatch\M' THEN 'batch' WHEN l.words ~* '\mflex\M' THEN 'flex' WHEN l.words ~* '\mpriority\M' THEN 'priority' ELSE 'standard' END,
           -- a correction that comes in an export of its own is a line beside the one that it corrects
           concat_ws(', ', coalesce(nullif(l.r ->> 'ChargeDescription', ''), l.words), nullif(l.r ->> 'ChargeClass', '')),
           l.quantity * CASE WHEN l.unit ~* '\m1?k\M|thousand|\m1,?000 ' THEN 1000 WHEN l.unit ~* '\m1?m\M|million' THEN 1000000 ELSE 1 END,
           (l.r ->> 'BilledCost')::numeric,
           upper(l.r ->> 'BillingCurrency'),
           'focus', now()
      FROM line l;
END;

COMMENT ON FUNCTION _usage_monitor._bill_of_focus(jsonb) IS 'Lines of an export in FOCUS columns, a list of objects.';

/*
 * What is imported replaces what the same line said before, so a bill may be
 * imported again, or once it is corrected.
 */
CREATE FUNCTION usage_monitor.import_bill(
    bill text,
    format text DEFAULT NULL,
    OUT vendor text,
    OUT first_day date,
    OUT last_day date,
    OUT lines bigint,
    OUT changed bigint,
    OUT amount numeric,
    OUT currency text
) RETURNS SETOF record
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
#variable_conflict use_column
DECLARE
    document jsonb;
    kind     text := lower(import_bill.format);
    damaged  bigint;
    listed   usage_monitor.vendor_bill[];
    wrong    record;
BEGIN
    IF kind IN ('aws', 'google') THEN
        kind := 'focus';
    END IF;
    IF kind IS NOT NULL AND kind NOT IN ('openai', 'anthropic', 'openrouter', 'focus') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown format of a bill "%s"', import_bill.format),
            HINT = 'Formats are openai, anthropic, openrouter and focus (also aws and google, whose exports have its columns).';
    END IF;

    IF import_bill.bill ~ '^[^\x21-\x7e]*[[{]' THEN
        document := import_bill.bill::jsonb;
    ELSE
        -- a table of texts: each record under the names of the first, blank lines left out
        SELECT jsonb_agg(jsonb_object(h.header, h.record)) FILTER (WHERE cardinality(h.record) = cardinality(h.header)),
               min(h.n) FILTER (WHERE cardinality(h.record) <> cardinality(h.header))
          INTO document, damaged
          FROM (SELECT c.record, c.n, first_value(c.record) OVER (ORDER BY c.n) AS header
                  FROM _usage_monitor._csv_records(import_bill.bill) WITH ORDINALITY AS c (record, n)) AS h
         WHERE h.n > 1
           AND h.record <> '{""}';
        IF damaged IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM010',
                MESSAGE = format('record %s of the bill has another number of fields than the header', damaged),
                HINT = 'Export the bill again: a part of it may be missing. Nothing was changed.';
        END IF;
    END IF;
    IF kind IS NULL THEN
        kind := CASE
            WHEN jsonb_path_exists(document, 'strict $.** ? (exists(@.start_time) && exists(@.results))') THEN 'openai'
            WHEN jsonb_path_exists(document, 'strict $.** ? (exists(@.starting_at) && exists(@.results))') THEN 'anthropic'
            WHEN jsonb_path_exists(document, 'strict $.** ? (exists(@.date) && exists(@.usage))') THEN 'openrouter'
            WHEN jsonb_path_exists(document, 'lax $[*].BilledCost') THEN 'focus' END;
    END IF;

    IF kind = 'openai' THEN
        listed := ARRAY(SELECT b FROM _usage_monitor._bill_of_openai(document) b);
    ELSIF kind = 'anthropic' THEN
        listed := ARRAY(SELECT b FROM _usage_monitor._bill_of_anthropic(document) b);
    ELSIF kind = 'openrouter' THEN
        listed := ARRAY(SELECT b FROM _usage_monitor._bill_of_openrouter(document) b);
    ELSIF kind = 'focus' AND jsonb_typeof(document) = 'array' THEN
        listed := ARRAY(SELECT b FROM _usage_monitor._bill_of_focus(document) b);
    END IF;
    IF coalesce(cardinality(listed), 0) = 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = CASE WHEN kind IS NULL THEN 'the bill is of no known format'
                           ELSE format('no line was found in the bill of format "%s"', kind) END,
            HINT = 'Pass the vendor''s whole answer or export. Formats are openai, anthropic, openrouter and focus. Nothing was changed.';
    END IF;
    SELECT b.* INTO wrong
      FROM unnest(listed) AS b
     WHERE b.amount IS NOT NULL AND (b.currency ~ '^[A-Z]{3}$') IS NOT TRUE
        OR b.vendor IS NULL OR b.day IS NULL
        OR b.day NOT BETWEEN '2000-01-01' AND usage_monitor.ledger_day(now()) + 366
        OR (abs(b.amount) < 1e100 AND scale(b.amount) <= 100) IS FALSE
        OR (abs(b.quantity) < 1e100 AND scale(b.quantity) <= 100) IS FALSE
        OR b.quantity < 0 AND (b.amount <= 0) IS NOT TRUE
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('line "%s" of the bill is invalid: vendor %s, day %s, quantity %s, amount %s %s',
                             left(wrong.item, 100), coalesce(wrong.vendor, 'NULL'), coalesce(wrong.day::text, 'NULL'),
                             coalesce(left(wrong.quantity::text, 100), 'NULL'), coalesce(left(wrong.amount::text, 100), 'NULL'), wrong.currency),
            HINT = 'A line has a vendor, a day that is no more than a year ahead, a quantity that is negative only where the amount is, and an amount with its currency. Nothing was changed.';
    END IF;

    RETURN QUERY
    WITH line AS (
        -- a report that is grouped by more than a line of ours has several for one
        SELECT b.vendor, b.day, b.account, b.project, b.model,
               CASE WHEN b.meter = 'other' AND b.amount < 0 THEN 'credit' ELSE b.meter END, b.service_tier, b.item, b.source,
               sum(b.quantity) AS quantity, sum(b.amount) AS amount, min(b.currency) AS currency
          FROM unnest(listed) AS b
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    ), written AS (
        INSERT INTO usage_monitor.vendor_bill AS v
               (vendor, day, account, project, model, meter, service_tier, item, source, quantity, amount, currency)
        SELECT l.* FROM line l
            ON CONFLICT ON CONSTRAINT vendor_bill_pkey DO UPDATE
           SET quantity = excluded.quantity, amount = excluded.amount, currency = excluded.currency, imported_at = now()
         WHERE (v.quantity, v.amount, v.currency) IS DISTINCT FROM (excluded.quantity, excluded.amount, excluded.currency)
        RETURNING v.vendor, v.currency
    )
    SELECT l.vendor, min(l.day), max(l.day), count(*),
           (SELECT count(*) FROM written w WHERE w.vendor = l.vendor AND w.currency IS NOT DISTINCT FROM l.currency),
           trim_scale(sum(l.amount)), l.currency
      FROM line l
     GROUP BY l.vendor, l.currency
     ORDER BY l.vendor, l.currency;
EXCEPTION
    WHEN data_exception THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('the bill has a value that cannot be read: %s', SQLERRM),
            HINT = 'Pass the vendor''s whole answer or export, as it came. Nothing was changed.';
END
$$;

COMMENT ON FUNCTION usage_monitor.import_bill(text, text) IS
    'Takes in what a vendor says that he billed or that was used: the answers of OpenAI''s costs and usage API, of Anthropic''s cost and usage report, OpenRouter''s activity (JSON), or an export in FOCUS columns, as of AWS and Google (CSV or JSON). format: openai, anthropic, openrouter, focus; NULL: the one that it seems to be of. Returns a row a vendor and currency: lines, and how many of them are new or said otherwise before. A line that is imported again replaces itself. Errors: UM008 unknown format, UM009 a value that cannot be, UM010 nothing found, or a damaged record.';

CREATE FUNCTION usage_monitor.import_bill(
    bill jsonb,
    format text DEFAULT NULL,
    OUT vendor text,
    OUT first_day date,
    OUT last_day date,
    OUT lines bigint,
    OUT changed bigint,
    OUT amount numeric,
    OUT currency text
) RETURNS SETOF record
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT * FROM usage_monitor.import_bill(import_bill.bill::text, import_bill.format);
END
$$;

COMMENT ON FUNCTION usage_monitor.import_bill(jsonb, text) IS 'The same, of a document that is jsonb already.';

/*
 * The ledger is read day by day, for a bill may be of a few: what is added up
 * is of many calls and few models, and a view's query would be compiled, and
 * planned for all that the ledger has, also where there is no bill.
 */
CREATE FUNCTION _usage_monitor._billed_calls() RETURNS TABLE (
    vendor text, day date, model text, requests bigint, unpriced bigint, cost numeric, parts _usage_monitor._charge_part[]
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    billed record;
BEGIN
    FOR billed IN
        SELECT b.day, array_agg(DISTINCT b.vendor) AS vendors,
               b.day::timestamp AT TIME ZONE 'UTC' AS since, (b.day + 1)::timestamp AT TIME ZONE 'UTC' AS until
          FROM usage_monitor.vendor_bill b
         GROUP BY b.day
    LOOP
        RETURN QUERY
        SELECT u.provider::text, billed.day, coalesce(u.resolved_model, u.model)::text,
               count(*),
               count(*) FILTER (WHERE u.cost_source = 'unpriced'),
               sum(u.cost),
               _usage_monitor._charge_parts(
                   u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                   u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                   u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens,
                   u.units, u.provider, u.service_tier, u.org, u.ts)
          FROM usage_monitor.usage u
         WHERE u.provider = ANY (billed.vendors)
           AND u.ts >= billed.since
           AND u.ts < billed.until
           AND NOT (u.cached AND u.cost = 0)
           AND u.operation IS DISTINCT FROM 'correction'
         GROUP BY 1, 3;
    END LOOP;
END
$$;

COMMENT ON FUNCTION _usage_monitor._billed_calls() IS
    'The calls of the vendors'' days (UTC) that a bill was imported of, by model: how many, how many without a cost, what they cost, and what they used.';

CREATE VIEW usage_monitor.bill_reconciliation
    WITH (security_invoker = true) AS
WITH bill AS (
    -- what a report of usage counts stands beside the amounts of a report of costs
    SELECT s.*,
           -- the number of calls stands for the quantity of all of it
           coalesce(s.quantity, CASE WHEN s.meter = 'total' THEN
               max(s.quantity) FILTER (WHERE s.meter = 'request') OVER (PARTITION BY s.vendor, s.day, s.model) END) AS billed_quantity
      FROM (
          SELECT b.vendor, b.day, b.model, b.meter,
                 coalesce(sum(b.quantity) FILTER (WHERE b.amount IS NOT NULL), sum(b.quantity) FILTER (WHERE b.amount IS NULL)) AS quantity,
                 sum(b.amount) AS amount,
                 bool_or(b.amount IS NOT NULL AND b.converted IS NULL) AS lacks_exchange_rate,
                 sum(b.converted) AS converted
            FROM (SELECT v.vendor, v.day, v.meter, v.quantity, v.amount,
                         coalesce(_usage_monitor._resolved_model(v.vendor, nullif(v.model, '')), '') AS model,
                         CASE WHEN v.currency = usage_monitor.ledger_currency() THEN v.amount
                              ELSE v.amount * (SELECT e.rate
                                                 FROM usage_monitor.exchange_rate e
                                                WHERE e.from_currency = v.currency
                                                  AND e.to_currency = usage_monitor.ledger_currency()
                                                  AND e.valid @> (v.day::timestamp AT TIME ZONE 'UTC')) END AS converted
                    FROM usage_monitor.vendor_bill v) AS b
           GROUP BY b.vendor, b.day, b.model, b.meter) AS s
), call AS MATERIALIZED (
    SELECT c.vendor, c.day, c.model COLLATE "C" AS model, c.requests, c.unpriced, c.cost, c.parts FROM _usage_monitor._billed_calls() AS c
), call_sum AS (
    SELECT c.vendor, c.day, c.model, c.requests, c.unpriced FROM call c WHERE c.model <> ''
    UNION ALL
    SELECT c.vendor, c.day, '', sum(c.requests), sum(c.unpriced) FROM call c GROUP BY 1, 2
), part AS (
    SELECT c.vendor, c.day, c.model, p.meter,
           sum(p.quantity) AS quantity,
           sum(p.cost) AS amount
      FROM call c
     CROSS JOIN LATERAL unnest(c.parts) AS p
     WHERE p.meter IS NOT NULL
     GROUP BY 1, 2, 3, 4
), listed AS (
    SELECT p.vendor, p.day, p.model, p.meter, p.quantity, p.amount FROM part p
    UNION ALL
    -- what a bill says of whole calls, of a model or of all
    SELECT c.vendor, c.day, c.model, 'total', sum(c.requests), sum(c.cost) FROM call c GROUP BY 1, 2, 3
    UNION ALL
    SELECT c.vendor, c.day, '', 'total', sum(c.requests), sum(c.cost) FROM call c GROUP BY 1, 2
    UNION ALL
    SELECT c.vendor, c.day, c.model, 'request', sum(c.requests), NULL FROM call c
     WHERE NOT EXISTS (SELECT FROM part p WHERE (p.vendor, p.day, p.model, p.meter) = (c.vendor, c.day, c.model, 'request'))
     GROUP BY 1, 2, 3
    UNION ALL
    -- tools that a bill lists without a model
    SELECT p.vendor, p.day, '', p.meter, sum(p.quantity), sum(p.amount) FROM part p GROUP BY 1, 2, 4
), ledger AS (
    -- what the bill has in another grain is not compared
    SELECT l.*
      FROM listed l
     WHERE EXISTS (SELECT FROM bill b WHERE (b.vendor, b.day, b.model, b.meter) = (l.vendor, l.day, l.model, l.meter))
        OR l.model <> '' AND l.meter NOT IN ('total', 'request')
           AND NOT EXISTS (SELECT FROM bill b WHERE (b.vendor, b.day) = (l.vendor, l.day)
                                                AND (b.meter = 'total' AND b.model IN ('', l.model) OR b.model = '' AND b.meter = l.meter))
), side AS (
    SELECT coalesce(b.vendor, l.vendor) AS vendor,
           coalesce(b.day, l.day) AS day,
           coalesce(b.model, l.model) AS model,
           coalesce(b.meter, l.meter) AS meter,
           l.quantity AS ledger_quantity,
           b.billed_quantity,
           l.amount AS ledger_amount,
           b.converted AS billed_amount,
           b.vendor IS NULL AS is_not_billed,
           coalesce(b.lacks_exchange_rate, false) AS lacks_exchange_rate,
           coalesce(b.amount IS NOT NULL, false) AS has_amount
      FROM bill b
      FULL JOIN ledger l ON (b.vendor, b.day, b.model, b.meter) = (l.vendor, l.day, l.model, l.meter)
), compared AS (
    SELECT s.*,
           coalesce(c.unpriced, 0) AS unpriced,
           c.requests,
           -- reports of costs are made of floats
           abs(s.ledger_amount - s.billed_amount) <= greatest(0.000001, abs(s.billed_amount) * 0.000001) AS is_same_amount
      FROM side s
      LEFT JOIN call_sum c ON (c.vendor, c.day, c.model) = (s.vendor, s.day, s.model)
), judged AS (
    SELECT c.*,
           k.missing,
           -- amounts alone: a price is a round number for a million, what is missing is so many whole units
           abs(k.price - round(k.price, 4)) <= abs(k.price) * 0.0000001 AS is_round_price,
           abs(k.missing - round(k.missing)) <= 0.001 AS is_whole,
           abs(k.missing * c.requests / nullif(c.ledger_quantity, 0) - round(k.missing * c.requests / nullif(c.ledger_quantity, 0))) <= 0.000001 AS is_whole_calls
      FROM compared c
     CROSS JOIN LATERAL (SELECT c.billed_amount * 1000000 / nullif(c.ledger_quantity, 0) AS price,
                                (c.billed_amount - c.ledger_amount) * c.ledger_quantity / nullif(c.ledger_amount, 0) AS missing) AS k
), of_model AS (
    SELECT j.*,
           bool_and(NOT j.is_same_amount) FILTER (WHERE j.billed_quantity IS NULL AND j.billed_amount IS NOT NULL AND j.ledger_amount IS NOT NULL) OVER w AS all_differ,
           bool_and(j.is_whole) FILTER (WHERE NOT j.is_same_amount) OVER w AS all_whole,
           bool_and(j.is_whole_calls) FILTER (WHERE NOT j.is_same_amount) OVER w AS all_whole_calls,
           bool_and(j.is_round_price) FILTER (WHERE NOT j.is_same_amount) OVER w AS all_round
      FROM judged j
    WINDOW w AS (PARTITION BY j.vendor, j.day, j.model)
)
SELECT o.day, o.vendor, o.model, o.meter,
       trim_scale(o.ledger_quantity) AS ledger_quantity,
       trim_scale(o.billed_quantity) AS billed_quantity,
       trim_scale(o.billed_quantity - o.ledger_quantity) AS quantity_difference,
       trim_scale(o.ledger_amount) AS ledger_amount,
       trim_scale(o.billed_amount) AS billed_amount,
       trim_scale(o.billed_amount - o.ledger_amount) AS amount_difference,
       usage_monitor.ledger_currency() AS currency,
       CASE
           WHEN o.lacks_exchange_rate THEN 'no exchange rate'
           WHEN o.is_not_billed THEN 'not billed'
           WHEN o.meter = 'credit' THEN 'credit'
           WHEN o.ledger_quantity IS NULL THEN CASE WHEN o.unpriced > 0 THEN 'unpriced calls' ELSE 'missing calls' END
           WHEN o.unpriced > 0 AND (o.billed_quantity > o.ledger_quantity OR NOT o.is_same_amount) THEN 'unpriced calls'
           WHEN o.billed_quantity IS NOT NULL THEN
               CASE WHEN o.billed_quantity = o.ledger_quantity THEN
                        CASE WHEN NOT o.has_amount OR o.ledger_amount IS NULL OR o.is_same_amount THEN 'agrees' ELSE 'wrong price' END
                    ELSE concat(CASE WHEN o.billed_quantity > o.ledger_quantity THEN 'missing calls' ELSE 'not billed' END,
                                CASE WHEN o.meter <> 'total'
                                      AND abs(o.billed_amount * o.ledger_quantity - o.ledger_amount * o.billed_quantity)
                                          > 0.000001 * abs(o.billed_amount * o.ledger_quantity) THEN ', wrong price' END) END
           WHEN o.ledger_amount IS NULL OR o.is_same_amount THEN 'agrees'
           WHEN o.meter = 'total' THEN 'another amount'
           -- another meter of the same calls agrees, so none is missing
           WHEN NOT o.all_differ THEN 'wrong price'
           WHEN o.all_round AND NOT coalesce(o.all_whole_calls, false) THEN 'wrong price'
           WHEN NOT coalesce(o.all_whole, false) THEN 'wrong price'
           WHEN o.missing > 0 THEN 'missing calls'
           ELSE 'not billed'
       END AS finding
  FROM of_model o;

COMMENT ON VIEW usage_monitor.bill_reconciliation IS
    'Ledger and vendor''s bill side by side, by the vendor''s day (UTC), model and meter, for the days that a bill was imported of. It reads all calls of these vendors and days, whatever is asked of it: a million take some seconds.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.day IS 'The vendor''s day, in UTC.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.vendor IS 'Who bills.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.model IS 'The model as the price book calls it; empty: the bill names none.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.meter IS 'What is billed: a meter, exclusive of those inside it; total: all of it, whose quantity is the number of calls; other: none that is known; credit: the same, below zero.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.ledger_quantity IS 'Units by the ledger''s calls that have a price.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.billed_quantity IS 'Units by the bill; NULL: it does not say.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.quantity_difference IS 'Billed less the ledger''s.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.ledger_amount IS 'What they cost by the price book, in currency.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.billed_amount IS 'What was billed, in currency, by the exchange rate of the day; NULL: not said.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.amount_difference IS 'Billed less the ledger''s.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.currency IS 'The ledger''s currency.';
COMMENT ON COLUMN usage_monitor.bill_reconciliation.finding IS 'agrees; missing calls: billed and not in the ledger; not billed: in the ledger and not on the bill; wrong price: as many units, another amount; another amount: of all calls together, without their number, so it cannot be told which; credit: a line below zero that is of no meter; unpriced calls: the ledger has calls without a price; no exchange rate. Where the bill says no quantity, it is told from the amounts of all meters of the model that day, and may err.';
