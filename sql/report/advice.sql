/*
 * Advice: where money could be saved.
 *
 * It is read from the aggregate views, but for what these do not tell apart,
 * and priced by cost() with the tokens that were used: what the same calls
 * would cost at another model, in the batch tier, or with more of their input
 * cached.  A saving is the difference to what the price book says of the calls
 * as they were made, or to what they did cost if that is less; so what the
 * price book does not know of (contract prices of single organisations in a
 * sum over all, costs that were reported) is never taken for a saving.
 */

/*
 * Calls of a day are priced as if all were of the same size.  That is exact,
 * but for prices with context tiers: the tokens are shared out in whole
 * numbers, meter by meter, and the last call takes the remainder.
 */
CREATE FUNCTION _usage_monitor._cost_of_calls(
    calls bigint,
    plain bigint,
    cache_read bigint,
    cache_write bigint,
    output bigint,
    reasoning bigint,
    provider text,
    model text,
    service_tier text,
    org text,
    at timestamptz
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN calls > 0 THEN
    (calls - 1) * usage_monitor.cost(
        model,
        plain / calls + cache_read / calls + cache_write / calls,
        output / calls + reasoning / calls,
        cache_read / calls,
        cache_write / calls,
        reasoning_output_tokens => reasoning / calls,
        provider => provider, service_tier => service_tier, org => org, at => at)
    + usage_monitor.cost(
        model,
        plain / calls + plain % calls + cache_read / calls + cache_read % calls + cache_write / calls + cache_write % calls,
        output / calls + output % calls + reasoning / calls + reasoning % calls,
        cache_read / calls + cache_read % calls,
        cache_write / calls + cache_write % calls,
        reasoning_output_tokens => reasoning / calls + reasoning % calls,
        provider => provider, service_tier => service_tier, org => org, at => at)
    END;

COMMENT ON FUNCTION _usage_monitor._cost_of_calls(bigint, bigint, bigint, bigint, bigint, bigint, text, text, text, text, timestamptz) IS
    'What so many calls cost that have so many tokens together, of each meter alone, all of them of the same size; NULL: no price, or no calls.';

CREATE FUNCTION _usage_monitor._looks_offline(name text) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN name ~* '(^|[^a-z])(batch|bulk|backfill|cron|crawler|embed|embedding|embeddings|etl|eval|evals|evaluation|index|indexer|indexing|ingest|ingestion|nightly|offline|periodic|pipeline|scheduled|scheduler|synthetic)([^a-z]|$)';

COMMENT ON FUNCTION _usage_monitor._looks_offline(text) IS
    'Whether an operation or source is called like something that nobody waits for.';

CREATE FUNCTION _usage_monitor._usage_advice(since date, until date, orgs text[], with_total boolean)
RETURNS TABLE (
    type text, org text, subject text, title text, description text,
    current_cost numeric, potential_savings numeric,
    recommendations text[], effort text, scope_cost numeric, evidence jsonb, code text, arguments jsonb
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    days      CONSTANT integer := until - since + 1;
    currency  CONSTANT text := usage_monitor.ledger_currency();
    starts    CONSTANT timestamptz := _usage_monitor._day_start(since);
    ends      CONSTANT timestamptz := _usage_monitor._day_start(until + 1);
    has_tiers CONSTANT boolean := EXISTS (
        SELECT
          FROM usage_monitor.service_tier_total t
         WHERE t.day >= since
           AND t.day <= until
           AND t.service_tier <> 'standard');
BEGIN
    RETURN QUERY
    WITH whole AS (
        SELECT NULL::text AS org, m.provider, m.model, m.day, m.requests, m.errors,
               m.input_tokens, m.output_tokens, m.cache_read_input_tokens,
               m.cache_creation_input_tokens, m.reasoning_output_tokens,
               m.input_cost, m.cost, m.unpriced_requests, m.cached_requests
          FROM usage_monitor.model_total m
         WHERE m.day >= since
           AND m.day <= until
           AND with_total
        UNION ALL
        SELECT m.org, m.provider, m.model, m.day, m.requests, m.errors,
               m.input_tokens, m.output_tokens, m.cache_read_input_tokens,
               m.cache_creation_input_tokens, m.reasoning_output_tokens,
               m.input_cost, m.cost, m.unpriced_requests, m.cached_requests
          FROM usage_monitor.model_usage m
         WHERE m.org = ANY (orgs)
           AND m.day >= since
           AND m.day <= until
    ), tiered AS MATERIALIZED (
        -- in which tier calls were, the rollups of models do not know
        SELECT u.org, u.provider, u.model, d.day, u.service_tier,
               count(*) FILTER (WHERE u.operation IS DISTINCT FROM 'correction') AS requests,
               count(*) FILTER (WHERE NOT u.success) AS errors,
               sum(u.input_tokens) AS input_tokens,
               sum(u.output_tokens) AS output_tokens,
               sum(u.cache_read_input_tokens) AS cache_read_input_tokens,
               sum(u.cache_creation_input_tokens) AS cache_creation_input_tokens,
               sum(u.reasoning_output_tokens) AS reasoning_output_tokens,
               sum(u.input_cost) AS input_cost,
               sum(u.cost) AS cost,
               count(*) FILTER (WHERE u.cost IS NULL) AS unpriced_requests,
               count(*) FILTER (WHERE u.cached) AS cached_requests
          FROM usage_monitor.usage u
         CROSS JOIN LATERAL (SELECT usage_monitor.ledger_day(u.ts) AS day) AS d
         WHERE has_tiers
           AND u.ts >= starts
           AND u.ts < ends
           AND u.service_tier <> 'standard'
           AND (with_total OR u.org = ANY (orgs))
         GROUP BY u.org, u.provider, u.model, d.day, u.service_tier
    ), in_tier AS (
        SELECT NULL::text AS of_org, t.*
          FROM tiered t
         WHERE with_total
        UNION ALL
        SELECT t.org, t.*
          FROM tiered t
         WHERE t.org = ANY (orgs)
    ), used AS (
        -- the standard tier is what is left of the whole
        SELECT x.org, x.provider, x.model, x.day, x.service_tier,
               sum(x.requests) AS requests,
               sum(x.errors) AS errors,
               coalesce(sum(x.input_tokens), 0) AS input_tokens,
               coalesce(sum(x.output_tokens), 0) AS output_tokens,
               sum(x.cache_read_input_tokens) AS cache_read_input_tokens,
               sum(x.cache_creation_input_tokens) AS cache_creation_input_tokens,
               sum(x.reasoning_output_tokens) AS reasoning_output_tokens,
               sum(x.input_cost) AS input_cost,
               sum(x.cost) AS cost,
               sum(x.unpriced_requests) AS unpriced_requests,
               sum(x.cached_requests) AS cached_requests
          FROM (
              SELECT w.org, w.provider, w.model, w.day, 'standard' AS service_tier, w.requests, w.errors,
                     w.input_tokens, w.output_tokens, w.cache_read_input_tokens,
                     w.cache_creation_input_tokens, w.reasoning_output_tokens,
                     w.input_cost, w.cost, w.unpriced_requests, w.cached_requests
                FROM whole w
              UNION ALL
              SELECT t.of_org, t.provider, t.model, t.day, k.service_tier, k.sign * t.requests, k.sign * t.errors,
                     k.sign * t.input_tokens, k.sign * t.output_tokens, k.sign * t.cache_read_input_tokens,
                     k.sign * t.cache_creation_input_tokens, k.sign * t.reasoning_output_tokens,
                     k.sign * t.input_cost, k.sign * t.cost, k.sign * t.unpriced_requests, k.sign * t.cached_requests
                FROM in_tier t
               CROSS JOIN LATERAL (VALUES (t.service_tier, 1), ('standard', -1)) AS k (service_tier, sign)) AS x
         GROUP BY x.org, x.provider, x.model, x.day, x.service_tier
        HAVING sum(x.requests) > 0
    ), mix AS MATERIALIZED (
        -- calls that have a cost, and their part of the tokens; of those models that could save something worth while
        SELECT u.org, coalesce(u.provider, '') AS provider, u.model, u.day, u.service_tier, u.requests, u.errors,
               u.cost, u.input_cost, u.scope_cost, u.calls,
               -- large inputs, of which little is cached
               u.model_input >= 2048 * u.model_requests AND u.model_cache_read < 0.2 * u.model_input AS is_uncached,
               greatest(round((u.input_tokens - u.cache_read_input_tokens - u.cache_creation_input_tokens) * p.part), 0)::bigint AS plain,
               round(u.cache_read_input_tokens * p.part)::bigint AS cache_read,
               round(u.cache_creation_input_tokens * p.part)::bigint AS cache_write,
               greatest(round((u.output_tokens - u.reasoning_output_tokens) * p.part), 0)::bigint AS output,
               round(u.reasoning_output_tokens * p.part)::bigint AS reasoning,
               (u.day + time '12:00') AT TIME ZONE usage_monitor.ledger_time_zone() AS at
          FROM (
              SELECT x.*,
                     (x.requests - x.unpriced_requests - x.cached_requests)::bigint AS calls,
                     sum(x.cost) OVER (PARTITION BY x.org) AS scope_cost,
                     sum(x.cost) OVER model AS model_cost,
                     sum(x.requests) OVER model AS model_requests,
                     sum(x.input_tokens) OVER model AS model_input,
                     sum(x.cache_read_input_tokens) OVER model AS model_cache_read
                FROM used x
              WINDOW model AS (PARTITION BY x.org, x.provider, x.model)) AS u
         CROSS JOIN LATERAL (SELECT u.calls::numeric / u.requests AS part) AS p
         WHERE u.calls > 0
           AND u.model_cost >= least(1, 0.01 * u.scope_cost)
    ), priced AS (
        SELECT m.*, b.book_cost,
               -- what the price book does not explain is not to be saved
               least(m.cost, b.book_cost) AS base_cost,
               CASE WHEN m.is_uncached THEN
                   _usage_monitor._cost_of_calls(
                       m.calls, c.input - w.cache_read - w.cache_write, w.cache_read, w.cache_write, m.output, m.reasoning,
                       nullif(m.provider, ''), m.model, m.service_tier, m.org, m.at)
               END AS caching_cost
          FROM mix m
         CROSS JOIN LATERAL (
               SELECT _usage_monitor._cost_of_calls(
                          m.calls, m.plain, m.cache_read, m.cache_write, m.output, m.reasoning,
                          nullif(m.provider, ''), m.model, m.service_tier, m.org, m.at) AS book_cost
               OFFSET 0) AS b  -- once a row
         CROSS JOIN LATERAL (SELECT m.plain + m.cache_read + m.cache_write AS input) AS c
         -- half of the input read from the cache, a twentieth written to it
         CROSS JOIN LATERAL (
               SELECT greatest(m.cache_write, c.input / 20) AS cache_write,
                      least(greatest(m.cache_read, c.input / 2), c.input - greatest(m.cache_write, c.input / 20)) AS cache_read) AS w
    ), model AS MATERIALIZED (
        SELECT p.org, p.provider, p.model,
               min(p.scope_cost) AS scope_cost,
               sum(p.requests) AS requests,
               sum(p.errors) AS errors,
               sum(p.calls) AS calls,
               sum(p.plain + p.cache_read + p.cache_write) AS input,
               sum(p.cache_read) AS cache_read,
               sum(p.cache_write) AS cache_write,
               sum(p.output + p.reasoning) AS output,
               sum(p.reasoning) AS reasoning,
               sum(p.cost) AS cost,
               sum(p.input_cost) AS input_cost,
               sum(p.book_cost) AS book_cost,
               sum(p.base_cost) FILTER (WHERE p.caching_cost < p.book_cost) AS caching_base_cost,
               sum(p.caching_cost) FILTER (WHERE p.caching_cost < p.book_cost) AS caching_cost
          FROM priced p
         GROUP BY p.org, p.provider, p.model
    ), facts AS (
        -- what every piece of evidence about a model begins with
        SELECT m.*,
               jsonb_build_object(
                   'from', since, 'to', until,
                   'provider', nullif(m.provider, ''), 'model', m.model,
                   'requests', m.requests, 'priced_calls', m.calls,
                   'input_tokens', m.input, 'cache_read_input_tokens', m.cache_read,
                   'cache_creation_input_tokens', m.cache_write,
                   'output_tokens', m.output, 'reasoning_output_tokens', m.reasoning,
                   'cost', m.cost, 'price_book_cost', m.book_cost) AS evidence
          FROM model m
    ), failing AS MATERIALIZED (
        SELECT f.*
          FROM facts f
         WHERE f.errors >= 20
           AND f.errors >= 0.05 * f.requests
    ), failed AS MATERIALIZED (
        -- what failed calls cost, the rollups do not know
        SELECT u.org, coalesce(u.provider, '') AS provider, u.model, sum(u.cost) AS cost
          FROM usage_monitor.usage u
         WHERE EXISTS (SELECT FROM failing)
           AND u.ts >= starts
           AND u.ts < ends
           AND NOT u.success
           AND u.model IN (SELECT f.model FROM failing f)
         GROUP BY u.org, u.provider, u.model
    ), cheaper AS MATERIALIZED (
        -- looked up once a model
        SELECT n.provider, n.model, a.alternative, a.provider AS alternative_provider, a.note
          FROM (SELECT DISTINCT m.provider, m.model FROM model m) AS n
         CROSS JOIN LATERAL _usage_monitor._alternatives(nullif(n.provider, ''), n.model) a
    ), alternative AS (
        SELECT d.org, d.provider, d.model, a.alternative, a.alternative_provider, a.note,
               count(DISTINCT d.day) AS days_priced,
               sum(d.base_cost) AS base_cost,
               sum(c.cost) AS cost
          FROM cheaper a
          JOIN priced d ON d.provider = a.provider AND d.model = a.model
         CROSS JOIN LATERAL (
               SELECT _usage_monitor._cost_of_calls(
                          d.calls, d.plain, d.cache_read, d.cache_write, d.output, d.reasoning,
                          a.alternative_provider, a.alternative, d.service_tier, d.org, d.at) AS cost
               OFFSET 0) AS c
         WHERE c.cost IS NOT NULL
         GROUP BY d.org, d.provider, d.model, a.alternative, a.alternative_provider, a.note
    ), best AS (
        SELECT a.*,
               row_number() OVER which AS rank,
               jsonb_agg(jsonb_build_object(
                   'model', a.alternative, 'provider', a.alternative_provider, 'note', a.note,
                   'cost', trim_scale(a.cost), 'in_place_of', trim_scale(a.base_cost), 'days', a.days_priced)) OVER (
                   which ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS alternatives
          FROM alternative a
         WHERE a.cost < a.base_cost
        WINDOW which AS (PARTITION BY a.org, a.provider, a.model
                         ORDER BY a.base_cost - a.cost DESC, a.alternative COLLATE "C", a.alternative_provider COLLATE "C")
    )
    SELECT 'model', f.org, f.model,
           format('%s in place of %s', b.alternative, f.model),
           format('%s calls to %s cost %s %s in %s days; with the same tokens %s would have cost %s.',
                  f.requests, f.model, round(f.cost, 2), currency, days, b.alternative, round(b.cost, 2)),
           f.cost,
           b.base_cost - b.cost,
           ARRAY[format('Evaluate %s on a sample of these calls (%s).', b.alternative, coalesce(b.note, 'an alternative of your own')),
                 'Move what it does well enough; keep the rest.',
                 format('To see no more of it: INSERT INTO usage_monitor.model_alternative (pattern, alternative, enabled) VALUES (%L, %L, false) ON CONFLICT (pattern, alternative, origin) DO UPDATE SET enabled = false.', f.model, b.alternative)],
           'medium',
           f.scope_cost,
           f.evidence || jsonb_build_object(
               'base_cost', trim_scale(b.base_cost), 'alternative', b.alternative,
               'alternative_provider', b.alternative_provider, 'alternative_cost', trim_scale(b.cost),
               'days_priced', b.days_priced, 'alternatives', b.alternatives),
           'cheaper_model',
           jsonb_build_object('model', f.model, 'alternative', b.alternative, 'requests', f.requests, 'cost', f.cost,
                              'alternative_cost', b.cost, 'days', days)
      FROM best b
      JOIN facts f ON f.org IS NOT DISTINCT FROM b.org AND f.provider = b.provider AND f.model = b.model
     WHERE b.rank = 1
    UNION ALL
    SELECT 'caching', f.org, f.model,
           format('Cache what repeats in the input of %s', f.model),
           format('Calls to %s have %s input tokens on average, of which %s %% are read from the provider''s cache; if half of them were, %s %s would be saved in %s days.',
                  f.model, round(f.input / f.calls), round(100 * f.cache_read / f.input, 1),
                  round(f.caching_base_cost - f.caching_cost, 2), currency, days),
           f.cost,
           f.caching_base_cost - f.caching_cost,
           ARRAY['Put what stays the same first: instructions, tools, documents; what changes last.',
                 'Where the provider wants it, mark the end of what is to be cached.',
                 'Watch cache_read_input_tokens in model_usage.'],
           'medium',
           f.scope_cost,
           f.evidence || jsonb_build_object(
               'base_cost', trim_scale(f.caching_base_cost), 'caching_cost', trim_scale(f.caching_cost),
               'assumed_read_share', 0.5, 'assumed_written_share', 0.05,
               'read_share', round(f.cache_read / f.input, 4), 'average_input_tokens', round(f.input / f.calls)),
           'prompt_caching',
           jsonb_build_object('model', f.model, 'average_input_tokens', round(f.input / f.calls),
                              'read_percentage', round(100 * f.cache_read / f.input, 1),
                              'savings', f.caching_base_cost - f.caching_cost, 'days', days)
      FROM facts f
     WHERE f.caching_cost IS NOT NULL
       AND f.calls >= 100
    UNION ALL
    SELECT 'usage_pattern', f.org, f.model,
           format('Calls to %s that fail', f.model),
           format('%s of %s calls to %s failed in %s days (%s %%), and cost %s %s all the same.',
                  f.errors, f.requests, f.model, days, round(100 * f.errors / f.requests, 1),
                  round(x.cost, 2), currency),
           f.cost,
           x.cost,
           ARRAY['Look at column error of these calls in the ledger.',
                 'Wait longer before each retry; give up after a few.',
                 'Check the input before it is sent: its length, its format.'],
           'medium',
           f.scope_cost,
           f.evidence || jsonb_build_object('errors', f.errors, 'failed_cost', trim_scale(x.cost)),
           'failing_calls',
           jsonb_build_object('model', f.model, 'errors', f.errors, 'requests', f.requests,
                              'error_percentage', round(100 * f.errors / f.requests, 1), 'failed_cost', x.cost, 'days', days)
      FROM failing f
     CROSS JOIN LATERAL (
           SELECT sum(c.cost) AS cost
             FROM failed c
            WHERE c.model = f.model
              AND c.provider = f.provider
              AND (f.org IS NULL OR c.org = f.org)) AS x
     WHERE x.cost > 0;
END
$$;

COMMENT ON FUNCTION _usage_monitor._usage_advice(date, date, text[], boolean) IS
    'What the calls of these days suggest: of these organisations, and of all together.';

/*
 * Which models an operation or a source calls, in which tier, no rollup knows.
 * So the rollups tell which of them have calls in the standard tier that may
 * be waited for and could save something worth while; of those alone, and of
 * these days, the ledger is read, and each call priced in both tiers; not at
 * all where the batch tier of no model is cheaper.
 */
CREATE FUNCTION _usage_monitor._tier_advice(since date, until date, orgs text[], with_total boolean)
RETURNS TABLE (
    type text, org text, subject text, title text, description text,
    current_cost numeric, potential_savings numeric,
    recommendations text[], effort text, scope_cost numeric, evidence jsonb, code text, arguments jsonb
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    days       CONSTANT integer := until - since + 1;
    currency   CONSTANT text := usage_monitor.ledger_currency();
    starts     CONSTANT timestamptz := _usage_monitor._day_start(since);
    ends       CONSTANT timestamptz := _usage_monitor._day_start(until + 1);
    found      jsonb;
    operations text[];
    sources    text[];
    models     text[];
BEGIN
    WITH rollup AS MATERIALIZED (
        SELECT NULL::text AS org, r.key1 AS operation, r.key2 AS source, r.key3 = 'standard' AS is_standard,
               r.requests, r.cost, coalesce(r.duration_ms, 0) AS duration_ms, r.requests - coalesce(r.untimed_requests, 0) AS timed_requests
          FROM _usage_monitor._live_operation_total r
         WHERE r.day >= since AND r.day <= until AND with_total
        UNION ALL
        SELECT r.org, r.key1, r.key2, r.key3 = 'standard',
               r.requests, r.cost, coalesce(r.duration_ms, 0), r.requests - coalesce(r.untimed_requests, 0)
          FROM _usage_monitor._live_operation r
         WHERE r.org = ANY (orgs) AND r.day >= since AND r.day <= until
    ), scope AS (
        SELECT r.org, sum(r.cost) AS cost
          FROM rollup r
         GROUP BY r.org
    ), work AS (
        SELECT r.org, n.dimension, n.name,
               sum(r.requests) AS requests,
               sum(r.cost) AS cost,
               sum(r.cost) FILTER (WHERE r.is_standard) AS standard_cost,
               round(sum(r.duration_ms) FILTER (WHERE r.is_standard)
                     / nullif(sum(r.timed_requests) FILTER (WHERE r.is_standard), 0)) AS duration_ms
          FROM rollup r
         CROSS JOIN LATERAL (VALUES ('operation', r.operation), ('source', r.source)) AS n (dimension, name)
         WHERE n.name IS NOT NULL
         GROUP BY r.org, n.dimension, n.name
    )
    SELECT jsonb_agg(jsonb_build_object(
               'org', w.org, 'dimension', w.dimension, 'name', w.name, 'requests', w.requests, 'cost', w.cost,
               'standard_cost', w.standard_cost, 'duration_ms', w.duration_ms, 'scope_cost', s.cost)),
           array_agg(DISTINCT w.name) FILTER (WHERE w.dimension = 'operation'),
           array_agg(DISTINCT w.name) FILTER (WHERE w.dimension = 'source')
      INTO found, operations, sources
      FROM work w
      JOIN scope s ON s.org IS NOT DISTINCT FROM w.org
     WHERE (_usage_monitor._looks_offline(w.name) OR w.duration_ms >= 60000)
       AND w.standard_cost > 0
       AND w.standard_cost >= least(1, 0.01 * s.cost);

    IF found IS NULL THEN
        RETURN;
    END IF;

    SELECT array_agg(DISTINCT m.model)
      INTO models
      FROM (SELECT n.provider, n.model,
                   (n.day + time '12:00') AT TIME ZONE usage_monitor.ledger_time_zone() AS at
              FROM usage_monitor.model_total n
             WHERE n.day >= since AND n.day <= until) AS m
     WHERE EXISTS (
               -- small and large inputs; embeddings have no price for output
               SELECT
                 FROM (VALUES (1000, 0), (1000, 1000), (1000000, 0), (1000000, 1000)) AS t (input, output)
                WHERE usage_monitor.cost(m.model, t.input, t.output, provider => m.provider, service_tier => 'batch', at => m.at)
                      < usage_monitor.cost(m.model, t.input, t.output, provider => m.provider, service_tier => 'standard', at => m.at))
           -- a contract may know of one
        OR EXISTS (SELECT FROM usage_monitor.price p WHERE p.org IS NOT NULL AND p.service_tier = 'batch');

    IF models IS NULL THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH call AS MATERIALIZED (
        -- of models that have a batch tier; what the price book does not explain is not to be saved
        SELECT u.org, u.operation, u.source, u.provider, u.model,
               count(*) AS calls,
               sum(least(u.cost, c.standard_cost)) AS base_cost,
               sum(c.batch_cost) AS batch_cost
          FROM usage_monitor.usage u
         CROSS JOIN LATERAL (
               SELECT usage_monitor.cost(
                          u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                          u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                          u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens, u.units,
                          u.provider, 'standard', u.org, u.ts) AS standard_cost,
                      usage_monitor.cost(
                          u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                          u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                          u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens, u.units,
                          u.provider, 'batch', u.org, u.ts) AS batch_cost
               OFFSET 0) AS c  -- once a row
         WHERE u.ts >= starts
           AND u.ts < ends
           AND u.service_tier = 'standard'
           AND NOT u.cached
           AND u.cost IS NOT NULL
           AND u.operation IS DISTINCT FROM 'correction'
           AND (u.operation = ANY (operations) OR u.source = ANY (sources))
           AND u.model = ANY (models)
           AND (with_total OR u.org = ANY (orgs))
           AND c.batch_cost < c.standard_cost
         GROUP BY u.org, u.operation, u.source, u.provider, u.model
    ), model AS (
        SELECT o.org, o.dimension, o.name, o.requests, o.cost, o.standard_cost, o.duration_ms, o.scope_cost,
               sum(c.calls) AS calls,
               sum(c.base_cost) AS base_cost,
               sum(c.batch_cost) AS batch_cost,
               jsonb_build_object('provider', c.provider, 'model', c.model, 'calls', sum(c.calls),
                                  'in_place_of', trim_scale(sum(c.base_cost)), 'cost', trim_scale(sum(c.batch_cost))) AS evidence
          FROM jsonb_to_recordset(found) AS o (
                   org text, dimension text, name text, requests numeric, cost numeric,
                   standard_cost numeric, duration_ms numeric, scope_cost numeric)
          JOIN (SELECT x.*, n.dimension, n.name
                  FROM call x
                 CROSS JOIN LATERAL (VALUES ('operation', x.operation), ('source', x.source)) AS n (dimension, name)) AS c
            ON c.dimension = o.dimension
           AND c.name = o.name
           AND (o.org IS NULL OR c.org = o.org)
         GROUP BY o.org, o.dimension, o.name, o.requests, o.cost, o.standard_cost, o.duration_ms, o.scope_cost, c.provider, c.model
        HAVING sum(c.batch_cost) < sum(c.base_cost)
    )
    SELECT 'tier', m.org, m.name,
           format('Batch tier for %s "%s"', m.dimension, m.name),
           format('%s calls of %s "%s" cost %s %s in %s days, and nobody seems to wait for them; %s of them, which cost %s, would have cost %s in the batch tier.',
                  m.requests, m.dimension, m.name, round(m.cost, 2), currency, days,
                  sum(m.calls), round(sum(m.base_cost), 2), round(sum(m.batch_cost), 2)),
           m.cost,
           sum(m.base_cost) - sum(m.batch_cost),
           ARRAY['Send them through the provider''s batch interface, which answers within a day.',
                 'Record them with service_tier batch.'],
           'medium',
           m.scope_cost,
           jsonb_build_object(
               'from', since, 'to', until, m.dimension, m.name, 'requests', m.requests, 'cost', m.cost,
               'average_duration_ms', m.duration_ms,
               'why', CASE WHEN _usage_monitor._looks_offline(m.name) THEN 'its name' ELSE 'calls take a minute or more' END,
               'standard_tier_cost', m.standard_cost, 'priced_calls', sum(m.calls),
               'base_cost', trim_scale(sum(m.base_cost)), 'batch_cost', trim_scale(sum(m.batch_cost)),
               'models', jsonb_agg(m.evidence ORDER BY m.base_cost - m.batch_cost DESC, m.evidence ->> 'model' COLLATE "C", m.evidence ->> 'provider' COLLATE "C")),
           'batch_tier',
           jsonb_build_object('dimension', m.dimension, 'name', m.name, 'requests', m.requests, 'cost', m.cost,
                              'calls', sum(m.calls), 'calls_cost', sum(m.base_cost), 'batch_cost', sum(m.batch_cost), 'days', days)
      FROM model m
     GROUP BY m.org, m.dimension, m.name, m.requests, m.cost, m.standard_cost, m.duration_ms, m.scope_cost;
END
$$;

COMMENT ON FUNCTION _usage_monitor._tier_advice(date, date, text[], boolean) IS
    'What calls of the standard tier that nobody waits for would have cost in the batch tier, call by call; for the same arguments as _usage_advice().';

CREATE FUNCTION _usage_monitor._about(value numeric, digits integer) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN value = 0 THEN 0
            ELSE trim_scale(round(value, digits - 1 - floor(log(abs(value)))::integer)) END;

COMMENT ON FUNCTION _usage_monitor._about(numeric, integer) IS 'The number to so many significant digits.';

CREATE FUNCTION _usage_monitor._quota_advice(at timestamptz, of_org text)
RETURNS TABLE (
    org text, subject text, title text, description text, current_cost numeric,
    recommendations text[], priority text, evidence jsonb, code text, arguments jsonb
)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH wanted AS (
        SELECT q.*,
               CASE WHEN q.scope = 'org' THEN q.subject ELSE q.org END AS quota_org,
               CASE q.metric WHEN 'cost' THEN usage_monitor.ledger_currency() ELSE q.metric END AS unit,
               usage_monitor.period_start(_quota_advice.at, q.period, q.time_zone, q.billing_day) AS running
          FROM usage_monitor.quota q
         WHERE q.enabled
           AND (_quota_advice.of_org IS NULL
                OR _quota_advice.of_org = CASE WHEN q.scope = 'org' THEN q.subject ELSE q.org END)
    ), past AS (
        -- the counters of quotas of one subject: read by their key
        SELECT w.*, h.periods, h.highest, h.reached,
               h.highest < 0.3 * w.amount AS is_far
          FROM wanted w
         CROSS JOIN LATERAL (
               SELECT count(*) AS periods,
                      max(p.used) AS highest,
                      count(*) FILTER (WHERE p.used >= w.amount) AS reached
                 FROM (
                     SELECT sum(u.used) AS used
                       FROM usage_monitor.quota_usage u
                      WHERE u.quota_id = w.quota_id
                        AND u.subject = coalesce(w.subject, '')
                        AND u.period_start >= w.running - CASE w.period WHEN 'week' THEN interval '56 days'
                                                                        WHEN 'month' THEN interval '3 months'
                                                                        ELSE interval '30 days' END
                        AND u.period_start < w.running
                      GROUP BY u.period_start) AS p) AS h
         WHERE (w.subject IS NOT NULL OR w.scope = 'all')
           AND w.period IN ('hour', 'day', 'week', 'month')
           AND h.periods >= CASE w.period WHEN 'month' THEN 2 WHEN 'week' THEN 4 ELSE 7 END
    ), found AS (
        SELECT p.*,
               row_number() OVER (PARTITION BY p.is_far ORDER BY p.amount DESC, p.name) AS rank
          FROM past p
         WHERE p.is_far OR 2 * p.reached >= p.periods
    )
    SELECT f.quota_org, f.name,
           CASE WHEN f.is_far THEN format('Quota "%s" is far from its limit', f.name)
                ELSE format('Quota "%s" is at its limit', f.name) END,
           CASE WHEN f.is_far
                THEN format('In the last %s periods (%s) no more than %s of %s %s were used: it would not stop what goes wrong.',
                            f.periods, f.period, CASE WHEN f.highest < 1 THEN _usage_monitor._about(f.highest, 6) ELSE trim_scale(round(f.highest, 6)) END,
                            trim_scale(f.amount), f.unit)
                ELSE format('%s of the last %s periods (%s) reached %s %s.',
                            f.reached, f.periods, f.period, trim_scale(f.amount), f.unit) END,
           CASE WHEN f.metric = 'cost' THEN f.highest END,
           CASE WHEN f.is_far AND f.highest <= 0
                THEN ARRAY['Nothing of it was used: is it still needed?']
                WHEN f.is_far
                THEN ARRAY[format('Lower it to some %s, half more than the most that was used.',
                                  CASE f.metric WHEN 'cost' THEN _usage_monitor._about(1.5 * f.highest, 2)
                                                ELSE greatest(ceil(1.5 * f.highest), _usage_monitor._about(1.5 * f.highest, 2)) END)]
                ELSE ARRAY['Find out who uses it: user_usage, model_usage.',
                           'Raise it if the use is meant, or the alert will be overlooked.'] END,
           CASE WHEN f.is_far THEN 'low' WHEN f.enforcement = 'block' THEN 'high' ELSE 'medium' END,
           jsonb_build_object(
               'quota_id', f.quota_id, 'metric', f.metric, 'period', f.period, 'amount', f.amount,
               'enforcement', f.enforcement, 'periods', f.periods, 'highest', f.highest, 'reached', f.reached),
           CASE WHEN f.is_far THEN 'quota_far_from_limit' ELSE 'quota_at_limit' END,
           jsonb_build_object('quota', f.name, 'metric', f.metric, 'period', f.period, 'amount', f.amount,
                              'periods', f.periods, 'highest', f.highest, 'reached', f.reached)
      FROM found f
     WHERE f.rank <= 20
    UNION ALL
    SELECT min(w.quota_org), w.name,
           format('Quota "%s" stops many', w.name),
           format('%s of its subjects (%s) reached %s %s in the last 30 days.',
                  count(DISTINCT a.subject), w.scope, trim_scale(w.amount), min(w.unit)),
           NULL,
           ARRAY['Raise it if the use is meant.',
                 'Give those who need more a quota of their own, with overrides.'],
           CASE WHEN w.enforcement = 'block' THEN 'high' ELSE 'medium' END,
           jsonb_build_object(
               'quota_id', w.quota_id, 'metric', w.metric, 'period', w.period, 'amount', w.amount,
               'enforcement', w.enforcement, 'alerts', sum(a.occurrences), 'subjects', count(DISTINCT a.subject)),
           'quota_stops_many',
           jsonb_build_object('quota', w.name, 'scope', w.scope, 'metric', w.metric, 'period', w.period, 'amount', w.amount,
                              'subjects', count(DISTINCT a.subject))
      FROM wanted w
      JOIN usage_monitor.alert a
        ON a.quota_id = w.quota_id
       AND a.level = 'exceeded'
       AND a.period_start > _quota_advice.at - interval '31 days'
       AND a.period_start <= _quota_advice.at
     WHERE w.subject IS NULL
       AND w.scope <> 'all'
     GROUP BY w.quota_id, w.name, w.scope, w.amount, w.metric, w.period, w.enforcement
    HAVING count(DISTINCT a.subject) >= 5;
END;

COMMENT ON FUNCTION _usage_monitor._quota_advice(timestamptz, text) IS
    'Quotas far from their limit, or at it again and again; of one organisation, or NULL: any.';

CREATE FUNCTION _usage_monitor._anomaly_advice(at timestamptz, orgs text[], with_total boolean)
RETURNS TABLE (
    org text, title text, description text, current_cost numeric, potential_savings numeric,
    recommendations text[], evidence jsonb, code text, arguments jsonb
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    today    CONSTANT date := usage_monitor.ledger_day(at);
    currency CONSTANT text := usage_monitor.ledger_currency();
BEGIN
    RETURN QUERY
    WITH resolved AS (
        SELECT a.subject, a.period_start
          FROM usage_monitor.alert a
         WHERE a.alert_type = 'anomaly'
           AND a.details->>'kind' = 'day'
           AND a.resolved_at IS NOT NULL
    ), day AS (
        SELECT d.org, d.day, d.cost, d.expected, d.sigmas
          FROM _usage_monitor._anomalous_days(today - 6, 3, 7, coalesce(orgs, '{}'), with_total) d
         WHERE d.cost > d.expected
           AND d.day <= today
           AND NOT EXISTS (
                   SELECT
                     FROM resolved r
                    WHERE r.subject IS NOT DISTINCT FROM d.org
                      AND r.period_start = _usage_monitor._day_start(d.day))
    )
    SELECT d.org,
           'Days that cost far more than usual',
           format('%s of the last seven days cost %s %s, where %s are usual.',
                  count(*), round(sum(d.cost), 2), currency, round(sum(d.expected), 2)),
           sum(d.cost), sum(d.cost - d.expected),
           ARRAY['Find out what was different: model_usage, user_usage, source_usage of these days.',
                 'Resolve the alerts of check_anomalies() when that is known: resolve_alert().'],
           jsonb_build_object('days', jsonb_agg(jsonb_build_object(
               'day', d.day, 'cost', d.cost, 'expected', d.expected, 'sigmas', d.sigmas) ORDER BY d.day)),
           'dear_days',
           jsonb_build_object('days', count(*), 'cost', sum(d.cost), 'expected', sum(d.expected))
      FROM day d
     GROUP BY d.org
    UNION ALL
    SELECT s.org,
           'Calls that cost far more than usual',
           format('%s calls of the last seven days cost %s %s, where %s are usual.',
                  sum(a.occurrences), round(sum((a.details->>'cost')::numeric), 2), currency,
                  round(sum((a.details->>'expected_cost')::numeric), 2)),
           sum((a.details->>'cost')::numeric), sum((a.details->>'cost')::numeric - (a.details->>'expected_cost')::numeric),
           ARRAY['Look at the calls in the ledger: how long are input and output?',
                 'Limit what a call may cost: max_tokens, a blocking quota.',
                 'Resolve their alerts when that is known: resolve_alert().'],
           jsonb_build_object(
               'calls', sum(a.occurrences),
               'dearest', (array_agg(jsonb_build_object(
                   'usage_id', a.details->'usage_id', 'model', a.details->'model',
                   'cost', a.used, 'expected', a.details->'expected') ORDER BY a.used DESC, a.alert_id))[1:10]),
           'dear_calls',
           jsonb_build_object('calls', sum(a.occurrences), 'cost', sum((a.details->>'cost')::numeric),
                              'expected', sum((a.details->>'expected_cost')::numeric))
      FROM usage_monitor.alert a
      JOIN (SELECT NULL::text AS org WHERE with_total
            UNION ALL
            SELECT o.org FROM unnest(orgs) AS o (org)) AS s ON s.org = a.subject OR s.org IS NULL
     WHERE a.alert_type = 'anomaly'
       AND a.details->>'kind' = 'call'
       AND a.resolved_at IS NULL
       AND a.period_start > at - interval '7 days'
       AND a.period_start <= at
     GROUP BY s.org;
END
$$;

COMMENT ON FUNCTION _usage_monitor._anomaly_advice(timestamptz, text[], boolean) IS
    'Days of the last seven, and calls that check_anomalies() found in them, that cost far more than usual and that nobody has resolved.';

CREATE FUNCTION usage_monitor.suggest_optimizations(
    at timestamptz DEFAULT now(),
    of_org text DEFAULT NULL,
    days integer DEFAULT 30,
    organisations integer DEFAULT 5
) RETURNS TABLE (
    title text, description text, type text, org text, subject text,
    current_cost numeric, potential_savings numeric, savings_percentage numeric,
    recommendations text[], effort text, priority text, evidence jsonb, currency text,
    code text, arguments jsonb
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    until CONSTANT date := usage_monitor.ledger_day(at);
    since date;
    orgs  text[];
BEGIN
    PERFORM _usage_monitor._check_instant('at', at, 'Give the instant at which the days to look at end, or leave "at" out for now.');
    PERFORM _usage_monitor._check_count('days', days, 1, 366, 'It is how many days are looked at, the instant''s own included; 30 if it is left out.');
    PERFORM _usage_monitor._check_count('organisations', organisations, 0, 2147483647,
                                        'It is for how many organisations, the dearest, there are suggestions beside those for all together.');

    since := until - days + 1;
    IF of_org IS NOT NULL THEN
        orgs := ARRAY[of_org];
    ELSE
        -- what holds for the only organisation is said of all together
        SELECT CASE WHEN max(o.n) > 1 THEN array_agg(o.org) FILTER (WHERE o.rank <= organisations) END
          INTO orgs
          FROM (
              SELECT d.org,
                     row_number() OVER (ORDER BY sum(d.cost) DESC NULLS LAST, d.org COLLATE "C") AS rank,
                     count(*) OVER () AS n
                FROM usage_monitor.daily_usage d
               WHERE d.day >= since
                 AND d.day <= until
               GROUP BY d.org) AS o;
    END IF;

    RETURN QUERY
    SELECT s.title, s.description, s.type, s.org, s.subject,
           trim_scale(s.current_cost), trim_scale(s.potential_savings),
           round(100 * s.potential_savings / nullif(s.current_cost, 0), 2),
           s.recommendations, s.effort, s.priority, jsonb_strip_nulls(s.evidence),
           usage_monitor.ledger_currency(), s.code,
           -- as text: a program that reads JSON may not have so many digits
           (SELECT jsonb_object_agg(a.key, CASE jsonb_typeof(a.value) WHEN 'number' THEN to_jsonb(trim_scale((a.value #>> '{}')::numeric)::text)
                                                ELSE a.value END)
              FROM jsonb_each(s.arguments) AS a)
      FROM (
          SELECT u.title, u.description, u.type, u.org, u.subject,
                 u.current_cost, u.potential_savings, u.recommendations, u.effort,
                 CASE WHEN u.potential_savings >= 0.2 * u.scope_cost THEN 'critical'
                      WHEN u.potential_savings >= 0.1 * u.scope_cost THEN 'high'
                      WHEN u.potential_savings >= 0.03 * u.scope_cost THEN 'medium'
                      ELSE 'low' END AS priority,
                 u.evidence, u.code, u.arguments
            FROM (SELECT m.* FROM _usage_monitor._usage_advice(since, until, orgs, of_org IS NULL) m
                  UNION ALL
                  SELECT t.* FROM _usage_monitor._tier_advice(since, until, orgs, of_org IS NULL) t) AS u
           WHERE u.potential_savings >= least(1, 0.01 * u.scope_cost)
             AND u.potential_savings > 0
          UNION ALL
          SELECT q.title, q.description, 'quota', q.org, q.subject,
                 q.current_cost, NULL, q.recommendations, 'low', q.priority, q.evidence, q.code, q.arguments
            FROM _usage_monitor._quota_advice(at, of_org) q
          UNION ALL
          SELECT a.title, a.description, 'anomaly', a.org, NULL,
                 a.current_cost, a.potential_savings, a.recommendations, 'low', 'high', a.evidence, a.code, a.arguments
            FROM _usage_monitor._anomaly_advice(at, orgs, of_org IS NULL) a) AS s
     ORDER BY s.potential_savings DESC NULLS LAST,
              array_position('{critical,high,medium,low}', s.priority),
              s.org COLLATE "C" NULLS FIRST, s.type, s.subject COLLATE "C";
END
$$;

COMMENT ON FUNCTION usage_monitor.suggest_optimizations(timestamptz, text, integer, integer) IS
    'Where money could be saved, by what was used in so many days until that instant: of all together and of the organisations that cost most, or of one organisation (of_org). The columns are those of optimization_suggestion. Error: UM001 invalid argument.';

CREATE VIEW usage_monitor.optimization_suggestion WITH (security_invoker = true) AS
SELECT s.title, s.description, s.type, s.org, s.subject,
       s.current_cost, s.potential_savings, s.savings_percentage,
       s.recommendations, s.effort, s.priority, s.evidence, s.currency, s.code, s.arguments
  FROM usage_monitor.suggest_optimizations() s;

COMMENT ON VIEW usage_monitor.optimization_suggestion IS
    'Where money could be saved, by what was used in the last 30 days, the most first: of all together (org NULL), and of the five organisations that cost most, if there are several. Savings do not add up: those of an organisation are in those of all, and a call can only be saved once. What saves less than 1 in the ledger''s currency and less than 1 % of the cost of all, or of the organisation, is left out. For others, ask suggest_optimizations().';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.title IS 'What to do, or what is the matter, in a few words.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.description IS 'The same in a sentence, with figures rounded.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.type IS 'model: a cheaper one by model_alternative, priced with the same tokens. caching: inputs of 2,048 tokens or more on average, of which less than a fifth is read from the provider''s cache; priced as if half were, and a twentieth written. tier: operations and sources whose name or duration (a minute or more) says that nobody waits for them, and what their calls in the standard tier would have cost in the batch tier, each by itself. usage_pattern: models of which 20 calls or more, and 5 %, fail. quota: quotas at their limit in half of their periods, or below 30 % of it in all. anomaly: days and calls of the last seven days beyond three deviations that nobody has resolved.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.org IS 'Organisation; NULL: all together, or a quota of no organisation.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.subject IS 'The model, operation, source or quota that it is about; NULL: none.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.current_cost IS 'What the subject cost in these days; of a quota, the most in a period, and of an anomaly, what is anomalous.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.potential_savings IS 'How much less it would have cost; evidence says how that comes about. NULL: not a matter of savings.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.savings_percentage IS 'Potential savings in percent of the current cost, to two decimals.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.recommendations IS 'What to do, step by step.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.effort IS 'low: a setting; medium: a change of the application, and its test; high: more than that.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.priority IS 'critical, high, medium or low: it saves 20 %, 10 %, 3 % or less of the cost of all, or of the organisation. Quotas at their limit: high if they block, else medium; far from it: low. Anomalies: high.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.evidence IS 'The figures that it is made from: days, tokens, what was paid, what the price book says of the same calls (price_book_cost), the lower of the two day by day (base_cost), what they would have cost, what was assumed or estimated.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.currency IS 'ISO 4217 code of the currency of the costs: the ledger''s.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.code IS 'Which suggestion it is, for programs that say it in other words than title and description: cheaper_model, prompt_caching, failing_calls, batch_tier, quota_far_from_limit, quota_at_limit, quota_stops_many, dear_days or dear_calls.';
COMMENT ON COLUMN usage_monitor.optimization_suggestion.arguments IS 'What title and description name, not rounded: a JSON object, numbers as text with all their digits. Its keys are the same for each code.';

/* The same for days of the ledger's calendar, and what is written without a type. */
CREATE FUNCTION usage_monitor.suggest_optimizations(
    at date,
    of_org text DEFAULT NULL,
    days integer DEFAULT 30,
    organisations integer DEFAULT 5
) RETURNS SETOF usage_monitor.optimization_suggestion
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM usage_monitor.suggest_optimizations(_usage_monitor._instant(suggest_optimizations.at), suggest_optimizations.of_org, suggest_optimizations.days, suggest_optimizations.organisations);
END;

COMMENT ON FUNCTION usage_monitor.suggest_optimizations(date, text, integer, integer) IS
    'The same for so many days of the ledger''s calendar, the last of which is given, whatever the session''s time zone is. Errors: as above.';

CREATE FUNCTION usage_monitor.suggest_optimizations(
    at text,
    of_org text DEFAULT NULL,
    days integer DEFAULT 30,
    organisations integer DEFAULT 5
) RETURNS SETOF usage_monitor.optimization_suggestion
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM usage_monitor.suggest_optimizations(_usage_monitor._instant(suggest_optimizations.at), suggest_optimizations.of_org, suggest_optimizations.days, suggest_optimizations.organisations);
END;

COMMENT ON FUNCTION usage_monitor.suggest_optimizations(text, text, integer, integer) IS
    'The same for a day or an instant that is written without a type, by the ledger''s clock where it names no zone. Errors: as above, and 22007 for text that is not a day or an instant.';
