-- Responses of all vendors and client libraries, with what must come out.
--
-- test/cases/*.jsonl: name, record (arguments), body, and expect: counts
-- (in, out, cr cache read, cw cache write, cw1h, re reasoning, ia and oa
-- audio), units, service_tier, provider, model, success, rows, cost in USD of
-- all rows (with cur in that currency), held: it must be held, or err: it must
-- be refused.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
\pset format unaligned
\pset tuples_only on
\pset null '-'
\getenv abs_srcdir PG_ABS_SRCDIR
\set bodies :abs_srcdir '/cases/bodies.jsonl'
\set more :abs_srcdir '/cases/more.jsonl'
\set kinds :abs_srcdir '/cases/kinds.jsonl'

CREATE SCHEMA regress_response_cases;
SET search_path = regress_response_cases;
CREATE TABLE line (n integer GENERATED ALWAYS AS IDENTITY, file text DEFAULT 'bodies', line jsonb);
COPY line (line) FROM :'bodies' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
ALTER TABLE line ALTER file SET DEFAULT 'more';
COPY line (line) FROM :'more' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
ALTER TABLE line ALTER file SET DEFAULT 'kinds';
COPY line (line) FROM :'kinds' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);

-- What becomes of a response; nothing stays.
CREATE FUNCTION try(body jsonb, provider text, model text, ts timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    u     usage_monitor.usage;
    total record;
    said  text;
BEGIN
    u := usage_monitor.record(body, provider => provider, model => model, ts => ts);
    SELECT sum(l.cost) AS cost, sum(l.price_cost) AS price_cost, count(*) AS n, bool_or(l.cost IS NULL) AS unpriced
      INTO total
      FROM usage_monitor.usage l;
    RAISE EXCEPTION 'UMXXX %', jsonb_build_object(
        'in', u.input_tokens, 'out', u.output_tokens, 'cr', u.cache_read_input_tokens,
        'cw', u.cache_creation_input_tokens, 'cw1h', u.cache_creation_1h_input_tokens,
        're', u.reasoning_output_tokens, 'ia', u.input_audio_tokens, 'oa', u.output_audio_tokens,
        'units', u.units, 'service_tier', u.service_tier, 'provider', u.provider, 'model', u.model,
        'success', u.success, 'rows', total.n,
        'cost', CASE WHEN NOT total.unpriced THEN trim_scale(total.cost) END,
        'price_cost', trim_scale(total.price_cost), 'unread', u.unread, 'reason', u.unpriced_reason);
EXCEPTION WHEN OTHERS THEN
    IF SQLERRM LIKE 'UMXXX %' THEN
        RETURN substr(SQLERRM, 7)::jsonb;
    END IF;
    RETURN jsonb_build_object('raised', SQLSTATE, 'message', SQLERRM);
END
$$;

CREATE TABLE result AS
    SELECT l.n, l.file, l.line ->> 'name' AS name, l.line -> 'expect' AS expect,
           try(l.line -> 'body', l.line #>> '{record,provider}', l.line #>> '{record,model}',
               coalesce((l.line #>> '{record,ts}')::timestamptz, '2026-11-20 12:00+00')) AS got
      FROM line AS l
     ORDER BY l.n;

-- One line for each thing that is not as expected.
CREATE VIEW difference AS
    SELECT r.n, r.file, r.name, d.what,
           CASE WHEN r.got ? 'raised' THEN 'refused'
                WHEN r.got -> 'unread' <> 'null' THEN 'held: ' || (r.got ->> 'reason')
                WHEN r.got -> 'cost' = 'null' THEN 'unpriced: ' || (r.got ->> 'reason')
                ELSE 'read' END AS became
      FROM result AS r
     CROSS JOIN LATERAL (
           SELECT 'recorded, to be refused' WHERE r.expect ? 'err' AND NOT r.got ? 'raised'
           UNION ALL
           SELECT (r.got ->> 'raised') || ' ' || (r.got ->> 'message') WHERE NOT r.expect ? 'err' AND r.expect <> '{}' AND r.got ? 'raised'
           UNION ALL
           SELECT 'priced, to be held' WHERE r.expect ? 'held' AND r.got -> 'unread' = 'null'
           UNION ALL
           SELECT 'held, to be priced' WHERE r.got -> 'unread' <> 'null' AND NOT r.expect ? 'held' AND NOT r.expect ? 'err' AND r.expect -> 'cost' IS DISTINCT FROM 'null'
           UNION ALL
           SELECT 'failed, which it did not' WHERE NOT r.expect ?| '{err,success}' AND r.got -> 'success' = 'false'
           UNION ALL
           SELECT format('%s is %s, not %s', e.key, coalesce(g.got #>> '{}', '-'), coalesce(e.value #>> '{}', '-'))
             FROM jsonb_each(r.expect - '{cur,err,held}'::text[]) AS e
            CROSS JOIN LATERAL (SELECT CASE WHEN e.key = 'cost' AND r.expect ? 'cur' THEN r.got -> 'price_cost'
                                            ELSE r.got -> e.key END AS got) AS g
            WHERE NOT r.expect ? 'err' AND NOT r.got ? 'raised'
              AND CASE WHEN e.key = 'cost' THEN (e.value #>> '{}')::numeric IS DISTINCT FROM (g.got #>> '{}')::numeric
                       ELSE g.got IS DISTINCT FROM e.value END) AS d (what);

-- By file: as expected, of all; what is not is listed with what it became.
SELECT r.file, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM difference d WHERE d.n = r.n)) AS as_expected, count(*)
  FROM result r GROUP BY r.file ORDER BY r.file;
SELECT d.name, d.what, d.became FROM difference d ORDER BY d.n, d.what COLLATE "C";

-- What became of all: nothing is an internal error, nothing is held without a reason.
SELECT r.file, CASE WHEN r.got ? 'raised' THEN 'refused ' || (r.got ->> 'raised')
                    WHEN r.got -> 'unread' <> 'null' THEN 'held'
                    WHEN r.got -> 'cost' = 'null' THEN 'read, without a price'
                    ELSE 'read and priced' END AS became, count(*)
  FROM result r GROUP BY 1, 2 ORDER BY 1, 2;

-- Each key on the way to a number, renamed: the same reading, or held, or refused.
CREATE FUNCTION reading(body jsonb, provider text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    held   boolean;
BEGIN
    SELECT string_agg(((p.reading).input_tokens, (p.reading).output_tokens, (p.reading).cache_read_input_tokens,
                       (p.reading).cache_creation_input_tokens, (p.reading).cache_creation_1h_input_tokens,
                       (p.reading).reasoning_output_tokens, (p.reading).input_audio_tokens, (p.reading).output_audio_tokens,
                       (p.reading).units, (p.reading).service_tier, (p.reading).reported_cost)::text, ' + '
                      ORDER BY (p.reading).input_tokens, (p.reading).output_tokens),
           bool_or((p.reading).unread IS NOT NULL)
      INTO answer, held
      FROM _usage_monitor._usage_parts(body, provider) AS p;
    -- a count that is not known has no price
    RETURN CASE WHEN held OR answer ~ '[(],|[(][0-9]*,,' THEN 'held' ELSE answer END;
EXCEPTION WHEN SQLSTATE 'UM001' OR SQLSTATE 'UM002' OR SQLSTATE 'UM010' THEN
    RETURN 'refused';
END
$$;

CREATE TABLE mutation AS
    WITH RECURSIVE place AS (
        SELECT l.n, l.line -> 'body' AS value, '{}'::text[] AS path
          FROM line AS l
        UNION ALL
        SELECT p.n, c.value, p.path || c.key
          FROM place AS p
         CROSS JOIN LATERAL (
               SELECT o.key, o.value
                 FROM jsonb_each(CASE WHEN jsonb_typeof(p.value) = 'object' THEN p.value END) AS o
               UNION ALL
               SELECT (a.ordinality - 1)::text, a.value
                 FROM jsonb_array_elements(CASE WHEN jsonb_typeof(p.value) = 'array' THEN p.value END) WITH ORDINALITY AS a) AS c
         WHERE cardinality(p.path) < 12
    ), number AS (
        SELECT n, path FROM place WHERE jsonb_typeof(value) = 'number' AND value <> '0'
    ), key AS (
        SELECT DISTINCT m.n, m.path[: i] AS path
          FROM number AS m
         CROSS JOIN LATERAL generate_series(1, cardinality(m.path)) AS i
         WHERE jsonb_typeof((SELECT l.line -> 'body' FROM line l WHERE l.n = m.n) #> m.path[: i - 1]) = 'object'
    )
    SELECT k.n, k.path, new.name,
           CASE WHEN cardinality(k.path) = 1 THEN renamed.value
                ELSE jsonb_set(b.body, k.path[: cardinality(k.path) - 1], renamed.value) END AS body,
           b.body AS original, b.provider
      FROM key AS k
     CROSS JOIN LATERAL (SELECT l.line -> 'body' AS body, l.line #>> '{record,provider}' AS provider
                           FROM line l WHERE l.n = k.n) AS b
     CROSS JOIN LATERAL (SELECT k.path[cardinality(k.path)] AS name) AS old
     CROSS JOIN LATERAL (VALUES (substring(old.name FROM '^(?:.*\.)?') || 'zq'),
                                (regexp_replace(old.name, '([^.]*)$', 'x_\1'))) AS new (name)
     CROSS JOIN LATERAL (SELECT b.body #> k.path[: cardinality(k.path) - 1] AS value) AS parent
     CROSS JOIN LATERAL (SELECT (parent.value - old.name) || jsonb_build_object(new.name, parent.value -> old.name) AS value) AS renamed;

SELECT count(*) > 3000 AS many,
       count(*) FILTER (WHERE r.before NOT IN ('held', 'refused') AND r.after NOT IN ('held', 'refused', r.before)) AS silent
  FROM mutation AS m
 CROSS JOIN LATERAL (SELECT reading(m.original, m.provider) AS before, reading(m.body, m.provider) AS after OFFSET 0) AS r;
SELECT l.line ->> 'name', m.path, m.name, r.before, r.after
  FROM mutation AS m
  JOIN line AS l USING (n)
 CROSS JOIN LATERAL (SELECT reading(m.original, m.provider) AS before, reading(m.body, m.provider) AS after OFFSET 0) AS r
 WHERE r.before NOT IN ('held', 'refused') AND r.after NOT IN ('held', 'refused', r.before)
 ORDER BY m.n, m.path, m.name
 LIMIT 20;

-- Each line forgotten: what a line that says what a count is leaves behind is
-- the same, or held, or refused.  Lines that say where counts are, and whose,
-- are another matter: these are listed.
CREATE FUNCTION forget(one integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    silent jsonb;
BEGIN
    DELETE FROM usage_monitor.usage_field f WHERE f.line = one;
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', b.name, 'before', b.reading, 'after', a.reading) ORDER BY b.n), '[]')
      INTO silent
      FROM before AS b
     CROSS JOIN LATERAL (SELECT reading(b.body, b.provider) AS reading OFFSET 0) AS a
     WHERE b.reading NOT IN ('held', 'refused')
       AND a.reading NOT IN ('held', 'refused', b.reading);
    RAISE EXCEPTION 'UMXXX %', silent;
EXCEPTION WHEN raise_exception THEN
    RETURN substr(SQLERRM, 7)::jsonb;
END
$$;
CREATE TABLE before AS
    SELECT l.n, l.line ->> 'name' AS name, l.line -> 'body' AS body, l.line #>> '{record,provider}' AS provider,
           reading(l.line -> 'body', l.line #>> '{record,provider}') AS reading
      FROM line l;
-- it protects the shipped lines
ALTER TABLE usage_monitor.usage_field DISABLE TRIGGER protect_shipped;
CREATE TABLE forgotten AS
    SELECT f.line, f.family, f.path, f.meaning, forget(f.line) AS silent
      FROM usage_monitor.usage_field f
     WHERE f.family NOT IN ('@', 'tier', 'geo', 'provider');
SELECT count(*) > 150 AS many FROM forgotten;
SELECT f.family, f.path, f.meaning, jsonb_array_length(f.silent) AS silent, f.silent -> 0 ->> 'name' AS example
  FROM forgotten f
 WHERE f.silent <> '[]'
 ORDER BY f.line;

ALTER TABLE usage_monitor.usage_field ENABLE TRIGGER protect_shipped;

DROP SCHEMA regress_response_cases CASCADE;
