--
-- What providers and catalogues say, changed at random: it is read or refused
-- with a code that says why, never with an internal error, a negative count or a
-- wrong sum.  For test/hard/run:
--
--   psql -v seed=0.42 -v count=10000 -v originals=FILE -v cases=DIRECTORY -f test/hard/mutations.sql
--
-- The file has the responses, as test/sql/provider_json.sql does: SELECT add('API', 'RESPONSE');
-- the directory is test/cases, whose responses lose each of their numbers, one at a time.
--
\set ON_ERROR_STOP 1
\set QUIET 1
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS usage_monitor CASCADE;
CREATE EXTENSION usage_monitor CASCADE;
SELECT setseed(:seed) \g /dev/null

CREATE TEMP TABLE original (n int GENERATED ALWAYS AS IDENTITY, format text, document jsonb);
CREATE FUNCTION public.add(api text, response jsonb, provider text DEFAULT NULL) RETURNS void LANGUAGE sql AS
'INSERT INTO original (document) VALUES (response)';
\o /dev/null
\i :originals
\o
DROP FUNCTION public.add;

-- A fifth of what is tried, though there are few
INSERT INTO original (format, document)
SELECT v.* FROM (VALUES
    ('litellm', jsonb '{"gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06, "input_cost_per_token_batches": 1.25e-06, "search_context_cost_per_query": {"search_context_size_low": 0.01}},
      "dashscope/q": {"litellm_provider": "dashscope", "tiered_pricing": [{"range": [0, 32000], "input_cost_per_token": 1.2e-06}, {"range": [32000, 128000], "input_cost_per_token": 2.4e-06}]}}'),
    ('genai-prices', jsonb '[{"id": "acme", "models": [{"id": "plain", "prices": {"input_mtok": 0.1, "output_mtok": 0.4, "web_searches_kcount": 10}},
        {"id": "tiers", "prices": {"input_mtok": {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]}, "output_mtok": 10}},
        {"id": "dated", "prices": [{"prices": {"input_mtok": 1}}, {"constraint": {"start_date": "2026-01-01"}, "prices": {"input_mtok": 2}}]}]}]'),
    ('models.dev', jsonb '{"acme": {"id": "acme", "models": {"plain": {"id": "plain", "cost": {"input": 0.1, "output": 0.4, "cache_read": 0.01}, "limit": {"context": 1000}}}}}'),
    ('usage_monitor', jsonb '[{"provider": "acme", "model": "own", "meter": "input", "amount": 0.002, "per": 1000, "currency": "USD", "service_tier": "batch"},
        {"provider": "acme", "model": "plain", "meter": "output", "amount": "0.2", "valid_from": "2026-03-01T00:00:00Z", "valid_to": "2026-04-01T00:00:00Z"}]')) AS v (format, document),
       generate_series(1, 6);

-- What a place of a document may become
CREATE FUNCTION pg_temp.anything() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
    SELECT (ARRAY['null', 'true', 'false', '0', '-1', '1', '1.5', '-0.0001', '1e15', '1e16', '9223372036854775807', '9223372036854775808', '1e400', '1e-400',
        '""', '" "', '"NaN"', '"Infinity"', '"-1"', '"7"', '"gpt-4o"', '"\u0001\ufffd"', '"2026-01-01"', '"infinity"', '"4714-11-24 BC"', '[]', '{}', '[[]]', '[null]',
        '{"": null}', '{"usage": {}}', '[{"usage": {"prompt_tokens": 1}}]'])[1 + floor(random() * 32)::int]::jsonb
$$;

CREATE FUNCTION pg_temp.places(document jsonb) RETURNS SETOF text[] LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE place (path, value) AS (
        SELECT '{}'::text[], document
        UNION ALL
        SELECT p.path || c.key, c.value
          FROM place AS p
         CROSS JOIN LATERAL (
                SELECT o.key, o.value FROM jsonb_each(CASE jsonb_typeof(p.value) WHEN 'object' THEN p.value END) AS o
                UNION ALL
                SELECT (a.n - 1)::text, a.value
                  FROM jsonb_array_elements(CASE jsonb_typeof(p.value) WHEN 'array' THEN p.value END) WITH ORDINALITY AS a (value, n)) AS c)
    SELECT path FROM place WHERE path <> '{}'
$$;

-- One to three places changed: to something else, to what another document has, or away
CREATE FUNCTION pg_temp.mutation(document jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    path text[];
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 3)::int LOOP
        SELECT p INTO path FROM pg_temp.places(document) AS p ORDER BY random() LIMIT 1;
        EXIT WHEN path IS NULL;
        document := CASE floor(random() * 5)::int
            WHEN 0 THEN document #- path
            WHEN 1 THEN jsonb_set(document, path, (SELECT o.document FROM original AS o ORDER BY random() LIMIT 1))
            WHEN 2 THEN jsonb_set(document #- path, path[1:cardinality(path) - 1] || ARRAY[(ARRAY['usage', 'model', 'total_tokens', 'prompt_tokens', 'input_tokens', 'output_tokens',
                'cost', 'service_tier', 'prices', 'models', 'tiers', 'amount', '0', '-1', ''])[1 + floor(random() * 15)::int]], coalesce(document #> path, 'null'))
            ELSE jsonb_set(document, path, pg_temp.anything()) END;
    END LOOP;
    RETURN document;
EXCEPTION WHEN data_exception OR invalid_parameter_value THEN
    RETURN document;    -- a path that there cannot be
END
$$;

CREATE TEMP TABLE outcome (what text, code text, message text, document jsonb);
CREATE FUNCTION pg_temp.try(format text, changed jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r usage_monitor.normalized_usage;
BEGIN
    IF format IS NOT NULL THEN
        PERFORM * FROM usage_monitor.import_prices(changed, format, confirm => true);
        INSERT INTO outcome VALUES (format, '00000');
    ELSE
        r := usage_monitor.normalize_usage(changed);
        IF least(r.input_tokens, r.output_tokens) < 0 THEN
            INSERT INTO outcome VALUES ('reading', 'negative', r::text, changed);
        END IF;
        PERFORM * FROM usage_monitor.record(changed);
        INSERT INTO outcome VALUES ('reading', '00000');
    END IF;
EXCEPTION WHEN OTHERS THEN
    INSERT INTO outcome VALUES (coalesce(format, 'reading'), SQLSTATE, SQLERRM, changed);
END
$$;

SELECT count(pg_temp.try(o.format, pg_temp.mutation(o.document)))
  FROM generate_series(1, :count) AS i (turn)
  JOIN (SELECT *, count(*) OVER () AS of FROM original) AS o ON o.n = 1 + i.turn % o.of \g /dev/null

--
-- Each number of each known response dropped, and made null, and each object on
-- the way to one.
--
-- What is not told cannot be read: a response that does not say what was cached
-- is one of an API that never says it, and all of its input costs what input
-- costs.  So a lost part may change the cost.  What must hold:
--
--   null      is not told either: as dropped
--   no more   no count is more than it was: what is left is not taken for another
--             API's, nor a part for what it is not a part of
--   no side   of which something was told is priced as nothing, unless the call failed, a
--             charge is told, or it is images, which are billed one by one where no tokens are
--
CREATE TEMP TABLE known (line jsonb);
SELECT format('COPY known FROM %L (FORMAT csv, QUOTE E''\x01'', DELIMITER E''\x02'')', :'cases' || '/' || f) FROM pg_ls_dir(:'cases') AS f WHERE f LIKE '%.jsonl' \gexec
CREATE FUNCTION pg_temp.reading(response jsonb, provider text) RETURNS usage_monitor.normalized_usage LANGUAGE plpgsql AS $$
DECLARE
    parts usage_monitor.normalized_usage[];
    whole usage_monitor.normalized_usage;
BEGIN
    SELECT array_agg(p.reading) INTO parts FROM _usage_monitor._usage_parts(response, provider) AS p;
    whole := parts[1];
    SELECT sum(p.input_tokens), sum(p.output_tokens), sum(p.cache_read_input_tokens), sum(p.cache_creation_input_tokens), sum(p.cache_creation_1h_input_tokens),
           sum(p.input_audio_tokens), sum(p.output_audio_tokens)
      INTO whole.input_tokens, whole.output_tokens, whole.cache_read_input_tokens, whole.cache_creation_input_tokens, whole.cache_creation_1h_input_tokens,
           whole.input_audio_tokens, whole.output_audio_tokens
      FROM unnest(parts) AS p;
    -- what has no price anyway: nothing is told of it
    IF whole.unread IS NOT NULL OR EXISTS (SELECT FROM unnest(parts) AS p WHERE (p.input_tokens IS NULL OR p.output_tokens IS NULL) AND p.reported_cost IS NULL) THEN
        RETURN NULL;
    END IF;
    RETURN whole;
EXCEPTION WHEN SQLSTATE 'UM001' OR SQLSTATE 'UM002' OR SQLSTATE 'UM010' THEN
    RETURN NULL;
END
$$;
CREATE TEMP TABLE lost AS
SELECT k.line ->> 'name' AS name, p.path, k.line #>> '{expect,success}' IS NULL AND NOT k.line -> 'body' ? 'error' AS succeeded, pg_temp.reading(k.line -> 'body', k.line #>> '{record,provider}') AS before,
       pg_temp.reading((k.line -> 'body') #- p.path, k.line #>> '{record,provider}') AS dropped,
       pg_temp.reading(jsonb_set(k.line -> 'body', p.path, 'null'), k.line #>> '{record,provider}') AS nulled
  FROM known AS k
 CROSS JOIN LATERAL (
       SELECT DISTINCT f.path[: n] AS path
         FROM pg_temp.places(k.line -> 'body') AS f (path)
        CROSS JOIN LATERAL generate_series(1, cardinality(f.path)) AS n
        WHERE jsonb_typeof((k.line -> 'body') #> f.path) = 'number' AND (k.line -> 'body') #> f.path <> '0') AS p
 WHERE NOT k.line -> 'expect' ? 'err';
CREATE TEMP VIEW wrongly_lost AS
SELECT 'null' AS rule, l.* FROM lost AS l
 WHERE l.dropped::text IS DISTINCT FROM l.nulled::text
   -- those after an element that is dropped move up; a usage object that is null was there
   AND l.path[cardinality(l.path)] !~ '^[0-9]+$|usage'
UNION ALL
SELECT 'no more', l.* FROM lost AS l
 WHERE (l.dropped).input_tokens > (l.before).input_tokens OR (l.dropped).output_tokens > (l.before).output_tokens
    OR (l.dropped).cache_read_input_tokens > (l.before).cache_read_input_tokens OR (l.dropped).cache_creation_input_tokens > (l.before).cache_creation_input_tokens
    OR (l.dropped).input_audio_tokens > (l.before).input_audio_tokens OR (l.dropped).output_audio_tokens > (l.before).output_audio_tokens
UNION ALL
SELECT 'no side', l.* FROM lost AS l
 WHERE (((l.before).input_tokens > 0 AND (l.dropped).input_tokens = 0) OR ((l.before).output_tokens > 0 AND (l.dropped).output_tokens = 0))
   AND l.succeeded AND (l.dropped).reported_cost IS NULL AND coalesce((l.dropped).units ->> 'image', '') = '';
SELECT count(*) AS tried, count(*) FILTER (WHERE l.before::text IS NOT NULL) AS priced, count(*) FILTER (WHERE l.before::text IS NOT NULL AND l.dropped::text IS NULL) AS no_more_priced,
       count(*) FILTER (WHERE l.before::text = l.dropped::text) AS the_same FROM lost AS l;
SELECT w.rule, w.name, w.path, w.before, w.dropped, w.nulled FROM wrongly_lost AS w ORDER BY 1, 2, 3 LIMIT 40;

SELECT what, count(*) AS tried, count(*) FILTER (WHERE code = '00000') AS read, count(DISTINCT code) AS codes FROM outcome GROUP BY what ORDER BY what;
SELECT DISTINCT ON (code, what) what, code, message, left(document::text, 300) AS document FROM outcome WHERE code !~ '^(00000|UM|22P02$)' ORDER BY code, what LIMIT 10;
SELECT count(*) AS wrong FROM outcome WHERE code !~ '^(00000|UM|22P02$)' \gset
SELECT count(*) AS unverified FROM usage_monitor.verify() \gset
SELECT :wrong = 0 AND :unverified = 0 AND (SELECT count(*) FROM outcome) >= :count AND (SELECT count(*) FROM original) > 50
   AND (SELECT count(*) FROM lost) > 4000 AND NOT EXISTS (SELECT FROM wrongly_lost) AS passed \gset
\if :passed
\else
DO 'BEGIN RAISE EXCEPTION ''what was changed is not refused properly''; END';
\endif
DROP EXTENSION usage_monitor CASCADE;
