/*
 * Public catalogues of prices, each read into one row a rate.  A row without
 * a meter is a field that is not understood; it is reported, not guessed.
 */
CREATE TYPE _usage_monitor._listed_rate AS (
    provider          text,
    model             text,
    service_tier      text,
    currency          text,
    valid_from        timestamptz,
    valid_to          timestamptz,
    meter             text,
    amount            numeric,
    per               numeric,
    context_from      bigint,
    context_inclusive boolean,
    window_start      time,
    window_end        time,
    window_days       smallint[],
    window_zone       text,
    source            text,
    field             text,
    note              text
);

COMMENT ON TYPE _usage_monitor._listed_rate IS 'A rate as a catalogue lists it; meter NULL: a field that was not understood.';

/* Catalogues are made by programs that count in floats: 0.30000000000000004 is 0.3. */
CREATE FUNCTION _usage_monitor._without_noise(price numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    -- no price is larger or has more decimals, and the logarithm of such a number takes long
    WHEN scale(price) BETWEEN 16 AND 100 AND price BETWEEN 1e-60 AND 1e30
    THEN trim_scale(round(price, 14 - floor(log(price))::integer))
    ELSE price
END;

COMMENT ON FUNCTION _usage_monitor._without_noise(numeric) IS
    'The price rounded to 15 significant digits, as many as a float keeps, where it has more than 15 decimals.';

CREATE FUNCTION _usage_monitor._json_price(value jsonb) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number' AND value::numeric >= 0 THEN _usage_monitor._without_noise(value::numeric) END;

COMMENT ON FUNCTION _usage_monitor._json_price(jsonb) IS 'The number, without a float''s noise; NULL for what is no price: a text, an object, something below zero.';

/*
 * LiteLLM's model_prices_and_context_window.json: one object a model, prices
 * a single unit.  A field's name is a meter's, then what narrows it: a
 * context tier (strictly above), a service tier.
 */
CREATE FUNCTION _usage_monitor._litellm_rates(catalogue jsonb) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH entry AS MATERIALIZED (
        SELECT e.key,
               e.value,
               _usage_monitor._canonical_provider(coalesce(
                   e.value ->> 'litellm_provider',
                   CASE WHEN e.key LIKE '%/%' THEN split_part(e.key, '/', 1) END)) AS provider
          FROM jsonb_each(catalogue) AS e
         WHERE e.key <> 'sample_spec'
    ), model AS MATERIALIZED (
        -- the provider's prefix is taken off, unless two names would become one
        SELECT b.key, b.value, b.provider,
               CASE WHEN row_number() OVER (PARTITION BY b.provider, b.bare ORDER BY b.key <> b.bare, b.key) = 1
                    THEN b.bare ELSE b.key END AS name
          FROM (SELECT e.*,
                       CASE WHEN e.key LIKE '%/_%'
                             AND _usage_monitor._canonical_provider(split_part(e.key, '/', 1)) = e.provider
                            THEN substr(e.key, strpos(e.key, '/') + 1)
                            ELSE e.key END AS bare
                  FROM entry e) AS b
    ), field AS MATERIALIZED (
        SELECT m.provider, m.name, f.key AS field, f.value, NULL::bigint AS context_from
          FROM model m
         CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(m.value) WHEN 'object' THEN m.value ELSE '{}' END) AS f
         WHERE f.key <> 'tiered_pricing'
        UNION ALL
        -- a list of tiers, each with the fields of a model
        SELECT m.provider, m.name, f.key, f.value, (t.value -> 'range' ->> 0)::numeric::bigint
          FROM model m
         CROSS JOIN LATERAL jsonb_array_elements(
                   CASE jsonb_typeof(m.value -> 'tiered_pricing') WHEN 'array' THEN m.value -> 'tiered_pricing' ELSE '[]' END) AS t
         CROSS JOIN LATERAL jsonb_each(t.value) AS f
         WHERE f.key <> 'range'
    ), parsed AS MATERIALIZED (
        SELECT f.provider, f.name, f.field, f.value,
               coalesce(f.context_from, (substring(f.field FROM '_above_([0-9]+)k_tokens'))::bigint * 1000, 0) AS context_from,
               CASE substring(f.field FROM '_(batches|batch|flex|priority|fast|ultrafast)$')
                   WHEN 'batches' THEN 'batch'
                   ELSE coalesce(substring(f.field FROM '_(batch|flex|priority|fast|ultrafast)$'), 'standard')
               END AS service_tier,
               regexp_replace(regexp_replace(f.field, '_(batches|batch|flex|priority|fast|ultrafast)$', ''),
                              '_above_[0-9]+k_tokens', '') AS base
          FROM field f
         WHERE jsonb_typeof(f.value) <> 'null'
           AND f.field !~ '^(max_|supports_|supported_|(r|t)p(m|d)$|comment|metadata$|mode$|source$|litellm_provider$|deprecation_date$|output_vector_size$|tool_use_system_prompt_tokens$|prompt_cache_min_tokens$|thinking_always_on$|uses_embed_content$|use_openai_chat_streaming$|bedrock_|provider_specific_entry$)'
    ), rate AS MATERIALIZED (
        SELECT p.provider, p.name, p.field, p.service_tier, p.context_from, k.meter, k.per,
               CASE WHEN p.base = 'search_context_cost_per_query'
                    THEN _usage_monitor._json_price(p.value -> 'search_context_size_medium')
                    ELSE _usage_monitor._json_price(p.value) END AS unit_price,
               -- of two fields for one meter, the first that says more than 0
               row_number() OVER (
                   PARTITION BY p.provider, p.name, p.service_tier, p.context_from, k.meter
                   ORDER BY _usage_monitor._json_price(p.value) = 0, k.n) AS place
          FROM parsed p
          JOIN (VALUES
                   (1, 'input_cost_per_token', 'input', 1000000),
                   (2, 'output_cost_per_token', 'output', 1000000),
                   (3, 'cache_read_input_token_cost', 'cache_read', 1000000),
                   (4, 'cache_creation_input_token_cost', 'cache_write', 1000000),
                   (5, 'cache_creation_input_token_cost_above_1hr', 'cache_write_1h', 1000000),
                   (6, 'output_cost_per_reasoning_token', 'reasoning', 1000000),
                   (7, 'input_cost_per_audio_token', 'input_audio', 1000000),
                   (8, 'output_cost_per_audio_token', 'output_audio', 1000000),
                   (9, 'input_cost_per_image_token', 'input_image', 1000000),
                   (10, 'output_cost_per_image_token', 'output_image', 1000000),
                   (11, 'input_cost_per_video_token', 'input_video', 1000000),
                   (12, 'output_cost_per_video_token', 'output_video', 1000000),
                   (13, 'cache_read_input_audio_token_cost', 'cache_read_audio', 1000000),
                   (14, 'cache_read_input_token_cost_per_audio_token', 'cache_read_audio', 1000000),
                   (15, 'cache_read_input_image_token_cost', 'cache_read_image', 1000000),
                   (16, 'output_cost_per_image', 'image', 1),
                   (17, 'input_cost_per_image', 'image', 1),
                   (18, 'input_cost_per_second', 'second', 1),
                   (19, 'output_cost_per_second', 'second', 1),
                   (20, 'output_cost_per_video_per_second', 'second', 1),
                   (21, 'input_cost_per_audio_per_second', 'second', 1),
                   (22, 'input_cost_per_video_per_second', 'second', 1),
                   (23, 'input_cost_per_character', 'character', 1),
                   (24, 'output_cost_per_character', 'character', 1),
                   (25, 'input_cost_per_query', 'request', 1),
                   (26, 'input_cost_per_request', 'request', 1),
                   (27, 'output_cost_per_request', 'request', 1),
                   (28, 'search_context_cost_per_query', 'web_search', 1),
                   (29, 'ocr_cost_per_page', 'page', 1),
                   (30, 'code_interpreter_cost_per_session', 'session', 1),
                   (31, 'input_cost_per_token_cache_hit', 'cache_read', 1000000),
                   (32, 'annotation_cost_per_page', 'annotated_page', 1),
                   (33, 'output_cost_per_second_1080p', 'second_1080p', 1),
                   (34, 'regional_processing_uplift_multiplier_us', 'us_inference', 1),
                   (35, 'regional_processing_uplift_multiplier_eu', 'eu_inference', 1)
               ) AS k (n, field, meter, per) ON k.field = p.base
    ), special AS (
        -- factors on what tokens cost: in one region, in fast mode
        SELECT m.provider, m.name, f.key AS factor, f.value AS value, _usage_monitor._json_price(f.value) AS amount
          FROM model m
         CROSS JOIN LATERAL jsonb_each(
                   CASE jsonb_typeof(m.value -> 'provider_specific_entry') WHEN 'object' THEN m.value -> 'provider_specific_entry' ELSE '{}' END) AS f
         WHERE f.key NOT LIKE 'bedrock\_%'
    )
    SELECT r.provider, r.name, r.service_tier, 'USD', NULL::timestamptz, NULL::timestamptz,
           r.meter, r.unit_price * r.per, r.per::numeric, r.context_from, false,
           NULL::time, NULL::time, NULL::smallint[], NULL::text, 'litellm',
           r.field, CASE r.meter WHEN 'web_search' THEN 'the price of the medium search context' END
      FROM rate r
     WHERE r.place = 1
       AND r.unit_price IS NOT NULL
       AND r.provider IS NOT NULL
    UNION ALL
    SELECT s.provider, s.name, 'standard', 'USD', NULL, NULL,
           s.factor || '_inference', s.amount, 1, 0, false, NULL, NULL, NULL, NULL, 'litellm', 'provider_specific_entry', NULL
      FROM special s
     WHERE s.factor IN ('us', 'eu')
       AND s.amount IS NOT NULL
       AND s.provider IS NOT NULL
       AND NOT EXISTS (SELECT FROM rate r WHERE (r.provider, r.name, r.meter) = (s.provider, s.name, s.factor || '_inference'))
    UNION ALL
    SELECT r.provider, r.name, s.factor, 'USD', NULL, NULL,
           r.meter, r.unit_price * r.per * s.amount, r.per, r.context_from, false,
           NULL, NULL, NULL, NULL, 'litellm', 'provider_specific_entry', NULL
      FROM special s
      JOIN rate r ON (r.provider, r.name) = (s.provider, s.name)
     WHERE s.factor IN ('fast', 'priority')
       AND s.amount IS NOT NULL
       AND r.place = 1
       AND r.unit_price IS NOT NULL
       AND r.service_tier = 'standard'
       AND _usage_monitor._meter_side(r.meter) <> 'other'
       AND NOT EXISTS (SELECT FROM rate o WHERE (o.provider, o.name, o.service_tier) = (s.provider, s.name, s.factor))
    UNION ALL
    SELECT s.provider, s.name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           'provider_specific_entry.' || s.factor,
           CASE WHEN s.amount IS NULL THEN format('%s is not a price', s.value) ELSE 'not known' END
      FROM special s
     WHERE s.factor NOT IN ('us', 'eu', 'fast', 'priority')
        OR s.amount IS NULL
    UNION ALL
    SELECT p.provider, p.name, p.service_tier, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           p.field,
           CASE WHEN p.provider IS NULL THEN 'the entry names no provider'
                WHEN r.meter IS NULL THEN 'not known'
                WHEN r.unit_price IS NULL THEN format('%s is not a price', p.value)
                ELSE format('another field is the price of meter %s', r.meter) END
      FROM parsed p
      LEFT JOIN rate r ON (r.provider, r.name, r.field, r.context_from) = (p.provider, p.name, p.field, p.context_from)
     WHERE r.field IS NULL
        OR r.unit_price IS NULL
        OR r.place > 1 AND r.unit_price > 0;
END;

COMMENT ON FUNCTION _usage_monitor._litellm_rates(jsonb) IS 'Rates in LiteLLM''s model_prices_and_context_window.json.';

/*
 * @pydantic/genai-prices: a list of providers with their models; the prices
 * of a model are an object, or a list with the date or the hours of each.
 * Later entries of a list precede earlier ones.
 */
CREATE FUNCTION _usage_monitor._genai_prices_rates(catalogue jsonb) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH model AS (
        SELECT _usage_monitor._canonical_provider(p.value ->> 'id') AS provider,
               m.value ->> 'id' AS name,
               CASE jsonb_typeof(m.value -> 'prices')
                   WHEN 'array' THEN m.value -> 'prices'
                   ELSE jsonb_build_array(jsonb_build_object('prices', m.value -> 'prices')) END AS prices
          FROM jsonb_array_elements(catalogue) AS p
         CROSS JOIN LATERAL jsonb_array_elements(p.value -> 'models') AS m
    ), variant AS MATERIALIZED (
        SELECT m.provider, m.name, v.value -> 'prices' AS prices,
               (v.value -> 'constraint' ->> 'start_date')::date::timestamp AT TIME ZONE 'UTC' AS valid_from,
               (v.value -> 'constraint' ->> 'start_time') AS window_start,
               (v.value -> 'constraint' ->> 'end_time') AS window_end
          FROM model m
         CROSS JOIN LATERAL jsonb_array_elements(m.prices) AS v
    ), dated AS (
        SELECT v.*,
               lead(v.valid_from) OVER (PARTITION BY v.provider, v.name ORDER BY v.valid_from NULLS FIRST) AS valid_to
          FROM variant v
         WHERE v.window_start IS NULL
    ), priced AS (
        SELECT d.provider, d.name, d.prices, d.valid_from, d.valid_to, NULL::time AS window_start, NULL::time AS window_end
          FROM dated d
        UNION ALL
        -- hours of the day, whatever the date
        SELECT v.provider, v.name, v.prices, d.valid_from, d.valid_to,
               (left(v.window_start, 8))::time, (left(v.window_end, 8))::time
          FROM variant v
          JOIN dated d ON (d.provider, d.name) = (v.provider, v.name)
         WHERE v.window_start IS NOT NULL
    ), field AS (
        SELECT p.*, f.key AS field, t.context_from, t.price, k.meter, k.divisor, k.per
          FROM priced p
         CROSS JOIN LATERAL jsonb_each(p.prices) AS f
         CROSS JOIN LATERAL (
             SELECT 0::bigint AS context_from,
                    CASE jsonb_typeof(f.value) WHEN 'object' THEN f.value -> 'base' ELSE f.value END AS price
             UNION ALL
             SELECT (x.value ->> 'start')::bigint, x.value -> 'price'
               FROM jsonb_array_elements(CASE jsonb_typeof(f.value) WHEN 'object' THEN f.value -> 'tiers' ELSE '[]' END) AS x
         ) AS t
          LEFT JOIN (VALUES
                   ('input_mtok', 'input', 1, 1000000),
                   ('output_mtok', 'output', 1, 1000000),
                   ('cache_read_mtok', 'cache_read', 1, 1000000),
                   ('cache_write_mtok', 'cache_write', 1, 1000000),
                   ('cache_write_1h_mtok', 'cache_write_1h', 1, 1000000),
                   ('output_reasoning_mtok', 'reasoning', 1, 1000000),
                   ('input_audio_mtok', 'input_audio', 1, 1000000),
                   ('output_audio_mtok', 'output_audio', 1, 1000000),
                   ('cache_audio_read_mtok', 'cache_read_audio', 1, 1000000),
                   ('input_image_mtok', 'input_image', 1, 1000000),
                   ('output_image_mtok', 'output_image', 1, 1000000),
                   ('cache_image_read_mtok', 'cache_read_image', 1, 1000000),
                   ('input_video_mtok', 'input_video', 1, 1000000),
                   ('output_video_mtok', 'output_video', 1, 1000000),
                   ('cache_video_read_mtok', 'cache_read_video', 1, 1000000),
                   ('requests_kcount', 'request', 0.001, 1),
                   ('web_searches_kcount', 'web_search', 0.001, 1),
                   ('storage_searches_kcount', 'file_search', 0.001, 1),
                   ('input_document_kpages', 'page', 0.001, 1),
                   ('input_annotated_document_kpages', 'annotated_page', 0.001, 1),
                   ('input_mchars', 'character', 0.000001, 1),
                   ('audio_hours', 'hour', 1, 1)
               ) AS k (field, meter, divisor, per) ON k.field = f.key
         WHERE jsonb_typeof(f.value) <> 'null'
    )
    SELECT f.provider, f.name, 'standard', 'USD', f.valid_from, f.valid_to,
           CASE WHEN _usage_monitor._json_price(f.price) IS NOT NULL THEN f.meter END,
           _usage_monitor._json_price(f.price) * f.divisor,
           f.per::numeric,
           f.context_from, false, f.window_start, f.window_end, NULL::smallint[],
           CASE WHEN f.window_start IS NOT NULL THEN 'UTC' END,
           'genai-prices', f.field,
           CASE WHEN f.meter IS NULL THEN 'not known'
                WHEN _usage_monitor._json_price(f.price) IS NULL THEN format('%s is not a price', f.price) END
      FROM field f;
END;

COMMENT ON FUNCTION _usage_monitor._genai_prices_rates(jsonb) IS 'Rates in the data.json of @pydantic/genai-prices.';

/*
 * models.dev's api.json: an object of providers with an object of models,
 * whose cost is in dollars for a million tokens.
 */
CREATE FUNCTION _usage_monitor._models_dev_rates(catalogue jsonb) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH listed AS MATERIALIZED (
        -- two of its providers may be one of ours: the one that is called so says what a model costs
        SELECT p.provider,
               p.listed_as,
               m.key AS name,
               m.value -> 'cost' AS cost,
               first_value(p.listed_as) OVER (PARTITION BY p.provider, m.key
                                              ORDER BY p.listed_as <> p.provider, p.listed_as COLLATE "C") AS chosen
          FROM (SELECT _usage_monitor._canonical_provider(e.key) AS provider, e.key AS listed_as, e.value
                  FROM jsonb_each(catalogue) AS e) AS p
         CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(p.value -> 'models') WHEN 'object' THEN p.value -> 'models' ELSE '{}' END) AS m
         WHERE jsonb_typeof(m.value -> 'cost') = 'object'
    ), cost AS (
        SELECT l.provider, l.name, l.cost
          FROM listed l
         WHERE l.listed_as = l.chosen
    ), tier AS (
        SELECT c.provider, c.name, c.cost AS prices, 0::bigint AS context_from
          FROM cost c
        UNION ALL
        SELECT c.provider, c.name, t.value, (substring(t.key FROM '^context_over_([0-9]+)k$'))::bigint * 1000
          FROM cost c
         CROSS JOIN LATERAL jsonb_each(c.cost) AS t
         WHERE t.key ~ '^context_over_[0-9]+k$'
           -- the same tier in both spellings counts once
           AND NOT c.cost ? 'tiers'
        UNION ALL
        SELECT c.provider, c.name, t.value - 'tier', (t.value -> 'tier' ->> 'size')::bigint
          FROM cost c
         CROSS JOIN LATERAL jsonb_array_elements(c.cost -> 'tiers') AS t
         WHERE t.value -> 'tier' ->> 'type' = 'context'
    ), field AS (
        SELECT t.provider, t.name, t.context_from, f.key AS field, f.value AS price, k.meter
          FROM tier t
         CROSS JOIN LATERAL jsonb_each(t.prices) AS f
          LEFT JOIN (VALUES
                   ('input', 'input'),
                   ('output', 'output'),
                   ('reasoning', 'reasoning'),
                   ('cache_read', 'cache_read'),
                   ('cache_write', 'cache_write'),
                   ('input_audio', 'input_audio'),
                   ('output_audio', 'output_audio')
               ) AS k (field, meter) ON k.field = f.key
         WHERE f.key !~ '^(context_over_[0-9]+k|tiers)$'
           AND jsonb_typeof(f.value) <> 'null'
    )
    SELECT f.provider, f.name, 'standard', 'USD', NULL::timestamptz, NULL::timestamptz,
           CASE WHEN _usage_monitor._json_price(f.price) IS NOT NULL THEN f.meter END,
           _usage_monitor._json_price(f.price), 1000000::numeric, f.context_from, false,
           NULL::time, NULL::time, NULL::smallint[], NULL::text, 'models.dev', f.field,
           CASE WHEN f.meter IS NULL THEN 'not known'
                WHEN _usage_monitor._json_price(f.price) IS NULL THEN format('%s is not a price', f.price) END
      FROM field f
    UNION ALL
    SELECT l.provider, l.name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           'cost', format('of "%s" in the catalogue; "%s" says what it costs', l.listed_as, l.chosen)
      FROM listed l
     WHERE l.listed_as <> l.chosen;
END;

COMMENT ON FUNCTION _usage_monitor._models_dev_rates(jsonb) IS 'Rates in models.dev''s api.json.';

/*
 * OpenRouter's /api/v1/models: a list of models under "data", whose prices
 * are texts, in dollars for one unit; overrides hold from a number of input
 * tokens on.  A price of -1 means that another model says what a call costs.
 */
CREATE FUNCTION _usage_monitor._openrouter_rates(catalogue jsonb) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH model AS MATERIALIZED (
        SELECT m.value ->> 'id' AS name, m.value -> 'pricing' AS pricing
          FROM jsonb_array_elements(catalogue -> 'data') AS m
         WHERE jsonb_typeof(m.value -> 'pricing') = 'object'
           AND m.value ->> 'id' IS NOT NULL
    ), tier AS (
        SELECT m.name, m.pricing - 'overrides' AS pricing, 0::bigint AS context_from
          FROM model m
        UNION ALL
        SELECT m.name, o.value - 'min_prompt_tokens', (o.value ->> 'min_prompt_tokens')::bigint
          FROM model m
         CROSS JOIN LATERAL jsonb_array_elements(
                   CASE jsonb_typeof(m.pricing -> 'overrides') WHEN 'array' THEN m.pricing -> 'overrides' ELSE '[]' END) AS o
         WHERE jsonb_typeof(o.value) = 'object'
           AND (o.value ->> 'min_prompt_tokens') ~ '^[0-9]{1,18}$'
    ), field AS (
        SELECT t.name, t.context_from, f.key AS field, f.value #>> '{}' AS value, k.per, k.largest,
               CASE WHEN f.value #>> '{}' ~ '^[0-9]{1,9}([.][0-9]{1,60})?(e-?[0-9]{1,2})?$'
                    THEN _usage_monitor._without_noise((f.value #>> '{}')::numeric) END AS amount,
               k.meter
          FROM tier t
         CROSS JOIN LATERAL jsonb_each(t.pricing) AS f
          LEFT JOIN (VALUES
                   ('prompt', 'input', 1000000, NULL::numeric),
                   ('completion', 'output', 1000000, NULL),
                   ('input_cache_read', 'cache_read', 1000000, NULL),
                   ('input_cache_write', 'cache_write', 1000000, NULL),
                   ('input_cache_write_1h', 'cache_write_1h', 1000000, NULL),
                   ('internal_reasoning', 'reasoning', 1000000, NULL),
                   ('audio', 'input_audio', 1000000, NULL),
                   ('input_audio_cache', 'cache_read_audio', 1000000, NULL),
                   ('audio_output', 'output_audio', 1000000, NULL),
                   -- of a token; of a whole image it was once, and then more
                   ('image', 'input_image', 1000000, 0.0001),
                   ('image_output', 'output_image', 1000000, 0.001),
                   ('request', 'request', 1, NULL),
                   ('web_search', 'web_search', 1, NULL)
               ) AS k (field, meter, per, largest) ON k.field = f.key
         WHERE jsonb_typeof(f.value) <> 'null'
    )
    SELECT 'openrouter', f.name, 'standard', 'USD', NULL::timestamptz, NULL::timestamptz,
           CASE WHEN f.amount <= coalesce(f.largest, f.amount) THEN f.meter END,
           f.amount * f.per, f.per::numeric, f.context_from, f.context_from > 0,
           NULL::time, NULL::time, NULL::smallint[], NULL::text, 'openrouter', f.field,
           CASE WHEN f.meter IS NULL THEN 'not known'
                WHEN f.amount IS NULL THEN format('"%s" is not a price', left(f.value, 60))
                WHEN f.amount > f.largest THEN format('%s is not the price of a token', f.amount) END
      FROM field f
    UNION ALL
    SELECT 'openrouter', m.name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           'overrides', 'not known'
      FROM model m
     CROSS JOIN LATERAL jsonb_path_query(m.pricing, 'lax $.overrides[*]') AS o
     WHERE jsonb_typeof(o) <> 'object'
        OR coalesce(o ->> 'min_prompt_tokens', '') !~ '^[0-9]{1,18}$';
END;

COMMENT ON FUNCTION _usage_monitor._openrouter_rates(jsonb) IS 'Rates in OpenRouter''s list of models (GET /api/v1/models).';

/* A list of objects, one a rate, with the columns of the files in pricing. */
CREATE FUNCTION _usage_monitor._own_rates(catalogue jsonb) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT _usage_monitor._canonical_provider(e.value ->> 'provider'),
           e.value ->> 'model',
           coalesce(nullif(e.value ->> 'service_tier', ''), 'standard'),
           coalesce(nullif(e.value ->> 'currency', ''), 'USD'),
           nullif(e.value ->> 'valid_from', '')::timestamptz,
           nullif(e.value ->> 'valid_to', '')::timestamptz,
           e.value ->> 'meter',
           (e.value ->> 'amount')::numeric,
           coalesce(nullif(e.value ->> 'per', '')::numeric, 1000000),
           coalesce(nullif(e.value ->> 'context_from', '')::bigint, 0),
           coalesce(nullif(e.value ->> 'context_inclusive', '')::boolean, false),
           nullif(e.value ->> 'window_start', '')::time,
           nullif(e.value ->> 'window_end', '')::time,
           CASE jsonb_typeof(e.value -> 'window_days')
               WHEN 'array' THEN ARRAY(SELECT d.value::smallint FROM jsonb_array_elements_text(e.value -> 'window_days') AS d)
               ELSE nullif(e.value ->> 'window_days', '')::smallint[] END,
           nullif(e.value ->> 'window_zone', ''),
           coalesce(nullif(e.value ->> 'source', ''), 'usage_monitor'),
           'amount',
           NULL::text
      FROM jsonb_array_elements(catalogue) AS e
    UNION ALL
    SELECT e.value ->> 'provider', e.value ->> 'model', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           f.key, 'not known'
      FROM jsonb_array_elements(catalogue) AS e
     CROSS JOIN LATERAL jsonb_object_keys(e.value) AS f (key)
     WHERE f.key <> ALL (ARRAY['provider', 'model', 'service_tier', 'currency', 'valid_from', 'valid_to', 'meter', 'amount',
                               'per', 'context_from', 'context_inclusive', 'window_start', 'window_end', 'window_days',
                               'window_zone', 'source', 'as_of']);
END;

COMMENT ON FUNCTION _usage_monitor._own_rates(jsonb) IS 'Rates in usage_monitor''s own format: a list of objects with the columns of the files in pricing.';

CREATE FUNCTION _usage_monitor._catalogue_format(catalogue jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN jsonb_path_exists(catalogue, 'lax $.data[*].pricing') THEN 'openrouter'
    WHEN jsonb_path_exists(catalogue, 'lax $[*].models[*]') THEN 'genai-prices'
    WHEN jsonb_path_exists(catalogue, 'lax $[*].meter') THEN 'usage_monitor'
    WHEN jsonb_path_exists(catalogue, 'lax $.*.models') THEN 'models.dev'
    WHEN jsonb_path_exists(catalogue, 'lax $.*.litellm_provider') THEN 'litellm'
END;

COMMENT ON FUNCTION _usage_monitor._catalogue_format(jsonb) IS 'Which format a catalogue seems to be of; NULL: none that is known.';

CREATE FUNCTION _usage_monitor._listed_rates(catalogue jsonb, kind text) RETURNS SETOF _usage_monitor._listed_rate
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shape CONSTANT text := CASE WHEN kind IN ('litellm', 'models.dev', 'openrouter') THEN 'object' ELSE 'array' END;
    wrong record;
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = 'the catalogue is of no known format',
            HINT = 'Formats are litellm, genai-prices, models.dev, openrouter and usage_monitor. Pass the whole file, cast to jsonb.';
    END IF;
    IF kind NOT IN ('litellm', 'genai-prices', 'models.dev', 'openrouter', 'usage_monitor') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown catalogue format "%s"', kind),
            HINT = 'Formats are litellm, genai-prices, models.dev, openrouter and usage_monitor.';
    END IF;
    IF jsonb_typeof(catalogue) IS DISTINCT FROM shape THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = format('a catalogue of format "%s" must be a JSON %s, but is %s',
                             kind, shape, coalesce(jsonb_typeof(catalogue), 'null')),
            HINT = 'Pass the whole file, cast to jsonb.';
    END IF;

    IF shape = 'array' THEN
        SELECT e.place, jsonb_typeof(e.value) AS type INTO wrong
          FROM jsonb_array_elements(catalogue) WITH ORDINALITY AS e (value, place)
         WHERE jsonb_typeof(e.value) <> 'object'
         LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM010',
                MESSAGE = format('entry %s of the catalogue must be a JSON object, but is %s', wrong.place, wrong.type),
                HINT = 'Pass the whole file, cast to jsonb.';
        END IF;
    END IF;
    IF kind = 'openrouter' AND jsonb_typeof(catalogue -> 'data') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = 'a catalogue of format "openrouter" must have a list of models under "data"',
            HINT = 'Pass the whole answer of GET /api/v1/models, cast to jsonb.';
    END IF;

    CASE kind
        WHEN 'litellm' THEN RETURN QUERY SELECT * FROM _usage_monitor._litellm_rates(catalogue);
        WHEN 'genai-prices' THEN RETURN QUERY SELECT * FROM _usage_monitor._genai_prices_rates(catalogue);
        WHEN 'models.dev' THEN RETURN QUERY SELECT * FROM _usage_monitor._models_dev_rates(catalogue);
        WHEN 'openrouter' THEN RETURN QUERY SELECT * FROM _usage_monitor._openrouter_rates(catalogue);
        ELSE RETURN QUERY SELECT * FROM _usage_monitor._own_rates(catalogue);
    END CASE;
END
$$;

COMMENT ON FUNCTION _usage_monitor._listed_rates(jsonb, text) IS
    'The rates of a catalogue of that format. Errors: UM008 unknown format, UM010 a catalogue of another one.';
