/*
 * How fast cost() is: a million rows on one core, against a plain sum() and
 * against what one would write in PL/pgSQL.  And how fast it is told which calls
 * are unusual among the 200 before, against ordering these anew for each.
 *
 *     psql -f test/bench/cost.sql
 */
\set QUIET on
\pset footer off
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
SET jit = off;
CREATE EXTENSION IF NOT EXISTS usage_monitor CASCADE;

CREATE TEMPORARY TABLE call AS
SELECT m.model,
       i * 7919 % 9000 AS input_tokens,
       i * 104729 % 3000 AS output_tokens,
       i * 0.0000137 AS cost
FROM generate_series(1::bigint, 1000000) AS i
JOIN (VALUES (0, 'gpt-4o'), (1, 'claude-sonnet-4-5'), (2, 'gemini-2.5-pro'),
             (3, 'gpt-4o-mini'), (4, 'deepseek-chat'), (5, 'mistral-large-latest')) AS m (n, model) ON m.n = i % 6;
VACUUM ANALYZE call;

/* The lookup and the arithmetic, without tiers, windows, names or units. */
CREATE FUNCTION pg_temp.looked_up_cost(a_model text, input_tokens bigint, output_tokens bigint) RETURNS numeric
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    input  numeric;
    output numeric;
BEGIN
    SELECT max(r.amount / r.per) FILTER (WHERE r.meter = 'input'),
           max(r.amount / r.per) FILTER (WHERE r.meter = 'output')
      INTO input, output
      FROM usage_monitor.price AS p
      JOIN usage_monitor.price_rate AS r USING (price_id)
     WHERE p.model = a_model
       AND p.service_tier = 'standard'
       AND p.valid @> now()
       AND r.context_from = 0;
    RETURN input_tokens * input + output_tokens * output;
END
$$;

CREATE FUNCTION pg_temp.best_of_three(query text) RETURNS double precision
    LANGUAGE plpgsql
AS $$
DECLARE
    best    double precision := 'infinity';
    started timestamptz;
BEGIN
    FOR i IN 1..3 LOOP
        started := clock_timestamp();
        EXECUTE query;
        best := least(best, extract(epoch FROM clock_timestamp() - started));
    END LOOP;
    RETURN best;
END
$$;

SELECT pg_temp.best_of_three('SELECT sum(cost) FROM call') AS plain,
       pg_temp.best_of_three('SELECT sum(usage_monitor.cost(model, input_tokens, output_tokens)) FROM call') AS engine,
       50 * pg_temp.best_of_three('SELECT sum(pg_temp.looked_up_cost(model, input_tokens, output_tokens)) FROM (SELECT * FROM call LIMIT 20000) AS c') AS looked_up
\gset

SELECT round((1 / :plain)::numeric, 1) AS "sum(numeric), M rows/s",
       round((1 / :engine)::numeric, 2) AS "sum(cost()), M rows/s",
       round((:plain / :engine)::numeric, 2) AS "ratio",
       round((:looked_up / :engine)::numeric) AS "times PL/pgSQL";

SELECT pg_temp.best_of_three('SELECT count(u.unusual)
                                FROM (SELECT _usage_monitor._unusual(c.input_tokens, 3, 30, true) OVER (ROWS 200 PRECEDING) AS unusual
                                        FROM (SELECT * FROM call LIMIT 20000) AS c) AS u') AS aggregate,
       pg_temp.best_of_three('SELECT count(d.deviation)
                                FROM (SELECT array_agg(c.input_tokens::double precision) OVER (ROWS BETWEEN 200 PRECEDING AND 1 PRECEDING) AS before
                                        FROM (SELECT * FROM call LIMIT 20000) AS c) AS w
                               CROSS JOIN LATERAL (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY b) AS median FROM unnest(w.before) AS b) AS m
                               CROSS JOIN LATERAL (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(b - m.median)) AS deviation
                                                     FROM unnest(w.before) AS b) AS d') AS ordered
\gset

SELECT round((20 / :aggregate)::numeric, 1) AS "unusual calls, K rows/s",
       round((:ordered / :aggregate)::numeric) AS "times percentile_cont()";
