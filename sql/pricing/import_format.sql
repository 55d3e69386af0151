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

CREATE FUNCTION _usage_monitor._json_price(value jsonb) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number' AND value::numeric >= 0 THEN value::numeric END;

COMMENT ON FUNCTION _usage_monitor._json_price(jsonb) IS 'The number, exactly; NULL for what is no price: a text, an object, something below zero.';

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
               CASE substring(f.field FROM '_(batches|batch|flex|priority|fast)$')
                   WHEN 'batches' THEN 'batch'
                   ELSE coalesce(substring(f.field FROM '_(batch|flex|priority|fast)$'), 'standard')
               END AS service_tier,
               regexp_replace(regexp_replace(f.field, '_(batches|batch|flex|priority|fast)$', ''),
                              '_above_[0-9]+k_tokens', '') AS base
          FROM field f
         WHERE jsonb_typeof(f.value) <> 'null'
           AND f.field !~ '^(max_|supports_|supported_|(r|t)p(m|d)$|comment|metadata$|mode$|source$|litellm_provider$|deprecation_date$|output_vector_size$|tool_use_system_prompt_tokens$|prompt_cache_min_tokens$|thinking_always_on$|uses_embed_content$|use_openai_chat_streaming$|bedrock_)'
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
                   (30, 'code_interpreter_cost_per_session', 'session', 1)
               ) AS k (n, field, meter, per) ON k.field = p.base
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
        SELECT p.*, f.key AS field, t.context_from, t.price, k.meter, k.divisor
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
                   ('input_mtok', 'input', 1),
                   ('output_mtok', 'output', 1),
                   ('cache_read_mtok', 'cache_read', 1),
                   ('cache_write_mtok', 'cache_write', 1),
                   ('cache_write_1h_mtok', 'cache_write_1h', 1),
                   ('output_reasoning_mtok', 'reasoning', 1),
                   ('input_audio_mtok', 'input_audio', 1),
                   ('output_audio_mtok', 'output_audio', 1),
                   ('cache_audio_read_mtok', 'cache_read_audio', 1),
                   ('input_image_mtok', 'input_image', 1),
                   ('output_image_mtok', 'output_image', 1),
                   ('cache_image_read_mtok', 'cache_read_image', 1),
                   ('input_video_mtok', 'input_video', 1),
                   ('output_video_mtok', 'output_video', 1),
                   ('cache_video_read_mtok', 'cache_read_video', 1),
                   ('requests_kcount', 'request', 0.001),
                   ('web_searches_kcount', 'web_search', 0.001)
               ) AS k (field, meter, divisor) ON k.field = f.key
         WHERE jsonb_typeof(f.value) <> 'null'
    )
    SELECT f.provider, f.name, 'standard', 'USD', f.valid_from, f.valid_to,
           CASE WHEN _usage_monitor._json_price(f.price) IS NOT NULL THEN f.meter END,
           _usage_monitor._json_price(f.price) * f.divisor,
           CASE f.divisor WHEN 1 THEN 1000000 ELSE 1 END,
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
    WITH cost AS MATERIALIZED (
        SELECT _usage_monitor._canonical_provider(p.key) AS provider,
               m.key AS name,
               m.value -> 'cost' AS cost
          FROM jsonb_each(catalogue) AS p
         CROSS JOIN LATERAL jsonb_each(p.value -> 'models') AS m
         WHERE jsonb_typeof(m.value -> 'cost') = 'object'
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
      FROM field f;
END;

COMMENT ON FUNCTION _usage_monitor._models_dev_rates(jsonb) IS 'Rates in models.dev''s api.json.';

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
