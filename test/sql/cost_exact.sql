--
-- Costs to the last digit: random prices and calls, against an oracle that
-- finds the rates and adds up in its own way
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

-- A number of that many digits
CREATE FUNCTION pg_temp.digits(n integer) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    result text := '';
BEGIN
    FOR i IN 1..n LOOP
        result := result || trunc(random() * 10)::integer;
    END LOOP;
    RETURN result;
END
$$;

-- Prices: amounts of up to 23 decimals, context tiers with both comparisons,
-- windows across midnight, batch prices of a part of the meters, free ones
CREATE FUNCTION pg_temp.make_prices(models integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id    bigint;
    meter text;
    tier  text;
    days  smallint[];
BEGIN
    FOR m IN 1..models LOOP
        FOREACH tier IN ARRAY CASE WHEN random() < 0.7 THEN '{standard, batch}' ELSE '{standard}' END::text[] LOOP
            INSERT INTO usage_monitor.price (provider, model, service_tier, currency)
            VALUES ('regress', 'exact-' || m, tier, 'USD')
            RETURNING price_id INTO id;
            FOREACH meter IN ARRAY '{input, output, cache_read, cache_write, cache_write_1h, reasoning, input_audio,
                                     output_audio, cache_read_audio, input_image, request, web_search, second, gb}'::text[]
            LOOP
                CONTINUE WHEN random() < CASE WHEN tier = 'batch' THEN 0.6
                                              WHEN meter IN ('input', 'output', 'web_search', 'second', 'gb') THEN 0.03
                                              ELSE 0.4 END;
                FOR context IN 0..CASE WHEN random() < 0.3 THEN 1 ELSE 0 END LOOP
                    INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from, context_inclusive)
                    VALUES (id, meter,
                            CASE WHEN random() < 0.1 THEN 0
                                 ELSE pg_temp.digits(1 + (random() * 14)::integer) * ('1e-' || (random() * 23)::integer)::numeric END,
                            ('{1, 8, 1000, 1000000, 100000000}'::numeric[])[1 + trunc(random() * 5)::integer],
                            context * 200000, random() < 0.5);
                END LOOP;
                IF random() < 0.3 THEN
                    days := CASE WHEN random() < 0.5 THEN '{1, 3, 7}' END;
                    INSERT INTO usage_monitor.price_rate (price_id, meter, amount, window_start, window_end, window_days, window_zone)
                    VALUES (id, meter, pg_temp.digits(5) * 0.001, '22:00', CASE WHEN random() < 0.5 THEN '03:15' ELSE '23:59:59' END::time,
                            days, CASE WHEN random() < 0.8 THEN 'America/New_York' END);
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;

CREATE TEMP TABLE call (
    id serial, model text, tier text, ts timestamptz, input bigint, output bigint, cache_read bigint, cache_write bigint,
    cache_write_1h bigint, reasoning bigint, input_audio bigint, output_audio bigint, units jsonb);

-- Calls: counts up to 10^12, at the edge of the context tier, on the days
-- around a change to summer time
CREATE FUNCTION pg_temp.make_calls(models integer, calls integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c call;
    cached_audio bigint;
BEGIN
    FOR i IN 0..models * calls - 1 LOOP
        c.model := 'exact-' || 1 + i / calls;
        c.tier := ('{standard, batch, flex}'::text[])[1 + trunc(random() * 3)::integer];
        c.ts := timestamptz '2026-03-06' + trunc(random() * 96 * 3600) * interval '1 second';
        c.input := CASE WHEN random() < 0.3 THEN 199999 + trunc(random() * 3) ELSE trunc(10 ^ (random() * 12)) END;
        c.output := CASE WHEN random() < 0.1 THEN 0 ELSE trunc(10 ^ (random() * 12)) END;
        c.cache_read := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.input * 0.4 * random()) END;
        c.cache_write := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.input * 0.3 * random()) END;
        c.cache_write_1h := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.cache_write * random()) END;
        cached_audio := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.cache_read * random()) END;
        c.input_audio := cached_audio + CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.input * 0.2 * random()) END;
        c.reasoning := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.output * 0.5 * random()) END;
        c.output_audio := CASE WHEN random() < 0.5 THEN 0 ELSE trunc(c.output * 0.5 * random()) END;
        c.units := jsonb_strip_nulls(jsonb_build_object(
            'cache_read_audio', nullif(cached_audio, 0),
            'input_image', CASE WHEN random() < 0.2 THEN trunc(c.input * 0.1 * random()) END,
            'request', CASE WHEN random() < 0.1 THEN trunc(random() * 3) END,
            'web_search', CASE WHEN random() < 0.2 THEN trunc(random() * 9) END,
            'second', CASE WHEN random() < 0.2 THEN pg_temp.digits(6) * 0.001 END,
            'gb', CASE WHEN random() < 0.2 THEN pg_temp.digits(12) * 0.000000001 END));
        IF random() < 0.04 THEN
            c.input := NULL;
        END IF;
        IF random() < 0.04 THEN
            c.output := NULL;
        END IF;
        INSERT INTO call (model, tier, ts, input, output, cache_read, cache_write, cache_write_1h, reasoning, input_audio,
                          output_audio, units)
        VALUES (c.model, c.tier, c.ts, c.input, c.output, c.cache_read, c.cache_write, c.cache_write_1h, c.reasoning,
                c.input_audio, c.output_audio, c.units);
    END LOOP;
END
$$;

-- The oracle: leaves, each with the meters that may price it, nearest first
CREATE VIEW pg_temp.leaf AS
SELECT c.id, c.model, c.tier, c.ts, coalesce(c.input, 0) AS context, l.meter, l.quantity, l.chain, l.unknown
FROM call AS c
CROSS JOIN LATERAL (
    SELECT coalesce((units ->> 'cache_read_audio')::numeric, 0) AS cached_audio,
           coalesce((units ->> 'input_image')::numeric, 0) AS image,
           coalesce((units ->> 'request')::numeric, 0) AS request) AS u
CROSS JOIN LATERAL (VALUES
    ('input', c.input - c.cache_read - c.cache_write - (c.input_audio - u.cached_audio) - u.image, '{input}'::text[], c.input IS NULL),
    ('cache_read', c.cache_read - u.cached_audio, '{cache_read, input}', false),
    ('cache_write', c.cache_write - c.cache_write_1h, '{cache_write, input}', false),
    ('cache_write_1h', c.cache_write_1h, '{cache_write_1h, cache_write, input}', false),
    ('input_audio', c.input_audio - u.cached_audio, '{input_audio, input}', false),
    ('cache_read_audio', u.cached_audio, '{cache_read_audio, cache_read, input}', false),
    ('input_image', u.image, '{input_image, input}', false),
    ('output', c.output - c.reasoning - c.output_audio, '{output}', c.output IS NULL),
    ('reasoning', c.reasoning, '{reasoning, output}', false),
    ('output_audio', c.output_audio, '{output_audio, output}', false),
    ('request', CASE u.request WHEN 0 THEN 1 ELSE u.request END, '{request}', false),
    ('web_search', (c.units ->> 'web_search')::numeric, '{web_search}', false),
    ('second', (c.units ->> 'second')::numeric, '{second}', false),
    ('gb', (c.units ->> 'gb')::numeric, '{gb}', false)
) AS l (meter, quantity, chain, unknown)
WHERE l.unknown OR l.quantity <> 0;

CREATE VIEW pg_temp.oracle AS
SELECT l.id,
       CASE WHEN bool_and(CASE WHEN l.unknown THEN coalesce(r.unit_price = 0, false)
                               WHEN l.meter = 'request' THEN r.unit_price IS NOT NULL OR c.units -> 'request' IS NULL OR c.units -> 'request' = '0'
                               ELSE r.unit_price IS NOT NULL END)
                 AND bool_and(EXISTS (SELECT FROM usage_monitor.price AS p JOIN usage_monitor.price_rate AS r USING (price_id)
                                      WHERE p.model = l.model AND p.provider = 'regress' AND p.service_tier = l.tier))
            THEN trim_scale(coalesce(sum(r.unit_price * l.quantity), 0)) END AS cost
FROM leaf AS l
JOIN call AS c USING (id)
LEFT JOIN LATERAL (
    -- with 60 decimals the quotient is exact
    SELECT round(r.amount, 60) / r.per AS unit_price
    FROM usage_monitor.price AS p
    JOIN usage_monitor.price_rate AS r USING (price_id)
    CROSS JOIN LATERAL (SELECT l.ts AT TIME ZONE coalesce(r.window_zone, 'UTC') AS local) AS t
    WHERE p.model = l.model AND p.provider = 'regress' AND p.service_tier IN (l.tier, 'standard')
      AND r.meter = ANY (l.chain)
      AND (r.context_from = 0 OR l.context > r.context_from OR (r.context_inclusive AND l.context = r.context_from))
      AND (r.window_start IS NULL
           OR EXISTS (SELECT FROM generate_series(-1, 0) AS day  -- the window that began yesterday, or today
                      WHERE t.local >= t.local::date + day + r.window_start
                        AND t.local < t.local::date + day + r.window_end
                            + CASE WHEN r.window_end < r.window_start THEN interval '1 day' ELSE '0' END
                        AND (r.window_days IS NULL OR extract(isodow FROM t.local::date + day) = ANY (r.window_days))))
    ORDER BY array_position(l.chain, r.meter), p.service_tier = l.tier DESC, r.context_from DESC, r.window_start IS NULL
    LIMIT 1) AS r ON true
GROUP BY l.id;

CREATE VIEW pg_temp.answer AS
SELECT c.*, usage_monitor.cost(c.model, c.input, c.output, c.cache_read, c.cache_write, c.cache_write_1h, c.reasoning,
                               c.input_audio, c.output_audio, c.units, 'regress', c.tier, NULL, c.ts) AS cost
FROM call AS c;

-- Digit by digit, as text
SELECT setseed(0.25);
SELECT pg_temp.make_prices(120), pg_temp.make_calls(120, 25);
CREATE TEMP TABLE compared AS
SELECT a.*, o.cost AS expected
FROM answer AS a
JOIN oracle AS o USING (id);
SELECT count(*) AS calls,
       count(*) FILTER (WHERE cost::text IS DISTINCT FROM expected::text) AS differences
FROM compared;
-- and that every kind of call was among them
SELECT count(*) FILTER (WHERE cost IS NULL) > 100 AS unpriced,
       count(*) FILTER (WHERE cost IS NOT NULL AND tier = 'batch') > 500 AS batches,
       count(*) FILTER (WHERE cost IS NOT NULL) > 1000 AS priced,
       count(*) FILTER (WHERE cost IS NOT NULL AND (input IS NULL OR output IS NULL)) > 0 AS unknown_but_free,
       count(*) FILTER (WHERE cost IS NOT NULL AND input = 200000) > 50 AS at_the_edge,
       count(*) FILTER (WHERE cost IS NOT NULL AND units ? 'cache_read_audio') > 100 AS cached_audio,
       max(scale(cost)) > 25 AS many_decimals
FROM compared;

-- In the ledger the same, and the parts sum to the whole
INSERT INTO usage_monitor.usage (request_id, model, provider, service_tier, ts, input_tokens, output_tokens, cache_read_input_tokens,
                                 cache_creation_input_tokens, cache_creation_1h_input_tokens, reasoning_output_tokens,
                                 input_audio_tokens, output_audio_tokens, units)
SELECT id, model, 'regress', tier, ts, input, output, cache_read, cache_write, cache_write_1h, reasoning, input_audio, output_audio, units
FROM call;
SELECT count(*) AS rows,
       count(*) FILTER (WHERE u.cost::text IS DISTINCT FROM c.expected::text) AS differences,
       count(*) FILTER (WHERE u.cost <> u.input_cost + u.output_cost + u.other_cost) AS other_sums,
       count(*) FILTER (WHERE (u.cost IS NULL) <> (u.cost_source = 'unpriced')) AS other_sources
FROM usage_monitor.usage AS u
JOIN compared AS c ON c.id = u.request_id::integer;

-- Beyond 128 bits: the same prices with a rate of 60 digits beside them, and
-- 10^15 tokens; every sum is now one of numeric
UPDATE usage_monitor.price_rate
SET amount = amount + 123456789012345678901234567890.12345678901234567890123
WHERE meter = 'cache_write_1h' AND price_id > 0;
UPDATE call
SET input = input * 1000, cache_read = cache_read * 1000, cache_write = cache_write * 1000, cache_write_1h = cache_write_1h * 1000,
    input_audio = input_audio * 1000, units = units || CASE WHEN units ? 'cache_read_audio' THEN
        jsonb_build_object('cache_read_audio', (units ->> 'cache_read_audio')::numeric * 1000) ELSE '{}' END;
SELECT count(*) AS calls,
       count(*) FILTER (WHERE a.cost::text IS DISTINCT FROM o.cost::text) AS differences,
       max(a.input) BETWEEN 9e14 AND 1e15 AS many_tokens,
       max(length(a.cost::text)) > 60 AS many_digits
FROM answer AS a
JOIN oracle AS o USING (id);

-- By hand: 23 decimals, 10^15 tokens, both edges of a context tier, both comparisons
SELECT usage_monitor.set_price('hand', 0.00000000000000000000001, 0, per => 1) > 0;
SELECT usage_monitor.cost('hand', 1, 0), usage_monitor.cost('hand', 1000000000000000, 0), usage_monitor.cost('hand', 999999999999999, 0);
SELECT usage_monitor.set_price('hand-large', 99999999999999999999999999.99999999999999999999999, 0, per => 1) > 0;
SELECT usage_monitor.cost('hand-large', 1000000000000000, 0);
INSERT INTO usage_monitor.price (provider, model, currency) VALUES ('*', 'hand-context', 'USD') RETURNING price_id AS id \gset
INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from, context_inclusive) VALUES
    (:id, 'input', 1, 1, 0, false), (:id, 'input', 2, 1, 200000, false), (:id, 'input', 3, 1, 300000, true),
    (:id, 'output', 1, 1, 0, false), (:id, 'output', 10, 1, 200000, false);
SELECT input, usage_monitor.cost('hand-context', input, 1)
FROM unnest('{199999, 200000, 200001, 299999, 300000, 300001}'::bigint[]) AS input;
-- a count that is not known is not 0
SELECT usage_monitor.cost('hand', NULL, 5), usage_monitor.cost('hand', 5, NULL), usage_monitor.cost('hand', NULL, NULL);
SELECT usage_monitor.cost(NULL, 1, 1), usage_monitor.cost('hand', 1, 1, at => NULL);
