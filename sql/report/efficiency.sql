/*
 * What caches save, and what models give for their money.
 */

/*
 * What a cache saved is what did not happen, so it is an estimate, and its
 * columns say so.  That of the provider's cache is priced by the cost engine:
 * one input token plain, read from the cache, and written to it, by the price
 * in force at noon for that organisation (contracts, discounts and exchange
 * rates included) in the standard tier and the lowest context tier, times the
 * tokens.  It is exact where the calls were of that tier and the price did
 * not change on that day.
 */
CREATE VIEW usage_monitor.cache_efficiency WITH (security_invoker = true) AS
SELECT m.day,
       m.org,
       m.provider,
       m.model,
       m.requests,
       m.input_tokens,
       m.cache_read_input_tokens,
       m.cache_creation_input_tokens,
       round(m.cache_read_input_tokens::numeric / nullif(m.input_tokens, 0), 4) AS cache_hit_rate,
       CASE WHEN m.cache_read_input_tokens > 0
            THEN trim_scale(m.cache_read_input_tokens * (p.plain - p.read)) ELSE 0
       END AS provider_cache_saving_estimate,
       CASE WHEN m.cache_creation_input_tokens > 0
            THEN trim_scale(m.cache_creation_input_tokens * (p.written - p.plain)) ELSE 0
       END AS cache_creation_premium_estimate,
       m.cached_requests,
       round(m.cached_requests::numeric / nullif(m.requests, 0), 4) AS application_cache_hit_rate,
       CASE WHEN m.cached_requests > 0
            THEN trim_scale(m.cached_requests * coalesce(
                     m.cost / nullif(m.requests - m.cached_requests - m.unpriced_requests, 0),
                     -- nobody was billed for a cached call, and it may name no provider
                     sum(m.cost) OVER same_model
                     / nullif(sum(m.requests - m.cached_requests - m.unpriced_requests) OVER same_model, 0))) ELSE 0
       END AS application_cache_saving_estimate,
       m.cost,
       usage_monitor.ledger_currency() AS currency,
       m.unpriced_requests
FROM usage_monitor.model_usage AS m
CROSS JOIN LATERAL (
    SELECT (m.day + time '12:00') AT TIME ZONE usage_monitor.ledger_time_zone() AS noon
) AS d
CROSS JOIN LATERAL (
    SELECT CASE WHEN m.cache_read_input_tokens + m.cache_creation_input_tokens > 0
                THEN usage_monitor.cost(m.model, 1, 0, provider => m.provider, org => m.org, at => d.noon)
           END AS plain,
           CASE WHEN m.cache_read_input_tokens > 0
                THEN usage_monitor.cost(m.model, 1, 0, cache_read_input_tokens => 1,
                                        provider => m.provider, org => m.org, at => d.noon)
           END AS read,
           CASE WHEN m.cache_creation_input_tokens > 0
                THEN usage_monitor.cost(m.model, 1, 0, cache_creation_input_tokens => 1,
                                        provider => m.provider, org => m.org, at => d.noon)
           END AS written
) AS p
WINDOW same_model AS (PARTITION BY m.day, m.org, m.model);

COMMENT ON VIEW usage_monitor.cache_efficiency IS
    'How often the provider''s cache and the application''s own one served, and what that saved, by day, organisation, provider and model. Savings are estimates: see their columns. In whatever order but its own it prices all days first: give a condition on day.';
COMMENT ON COLUMN usage_monitor.cache_efficiency.cache_hit_rate IS 'Input tokens read from the provider''s cache among all, from 0 to 1, to four decimals; NULL: no input.';
COMMENT ON COLUMN usage_monitor.cache_efficiency.provider_cache_saving_estimate IS 'What the tokens read from the provider''s cache would have cost more at the plain input rate, by the price at noon of that day for that organisation, in the standard tier and without surcharge for a large context; NULL: no price. Exact where the calls were like that.';
COMMENT ON COLUMN usage_monitor.cache_efficiency.cache_creation_premium_estimate IS 'What the tokens written to the provider''s cache cost more than at the plain input rate, likewise, all as written for the shorter time; to be taken off the saving. Negative where writing is cheaper; NULL: no price.';
COMMENT ON COLUMN usage_monitor.cache_efficiency.application_cache_hit_rate IS 'Calls answered from the application''s own cache among all, from 0 to 1, to four decimals.';
COMMENT ON COLUMN usage_monitor.cache_efficiency.application_cache_saving_estimate IS 'What the calls answered from the application''s own cache would have cost at the average of the organisation''s other calls to the model on that day that have a cost, at the same provider if there is one; NULL: no such call.';

/*
 * The sums of all organisations need no row of each: only those that have
 * prices or discounts of their own are looked at one by one, and taken off what
 * all together would have saved by everybody's prices.
 */
CREATE FUNCTION _usage_monitor._cache_savings(
    first_day date,
    past_day date,
    org text,
    model text,
    OUT provider numeric,
    OUT premium numeric,
    OUT application numeric
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    columns     CONSTANT text := 'm.day, m.provider, m.model, m.cache_read_input_tokens, m.cache_creation_input_tokens, m.cached_requests';
    conditions  CONSTANT text := 'm.day >= $1 AND m.day < $2' || _usage_monitor._condition('m.model', model);
    own_prices  CONSTANT text[] := CASE WHEN org IS NULL THEN
        ARRAY(SELECT p.org FROM usage_monitor.price p WHERE p.org IS NOT NULL UNION SELECT d.org FROM usage_monitor.discount d) END;
    cached_days date[];
BEGIN
    EXECUTE format($query$
        SELECT coalesce(sum(m.sign * (m.cache_read_input_tokens * (p.plain - p.read))) FILTER (WHERE m.cache_read_input_tokens > 0), 0),
               coalesce(sum(m.sign * (m.cache_creation_input_tokens * (p.written - p.plain))) FILTER (WHERE m.cache_creation_input_tokens > 0), 0),
               array_agg(DISTINCT m.day) FILTER (WHERE m.cached_requests > 0)
          FROM (%s) AS m
         CROSS JOIN LATERAL (SELECT (m.day + time '12:00') AT TIME ZONE usage_monitor.ledger_time_zone() AS noon) AS d
         CROSS JOIN LATERAL (
               SELECT usage_monitor.cost(m.model, 1, 0, provider => m.provider, org => m.org, at => d.noon) AS plain,
                      usage_monitor.cost(m.model, 1, 0, cache_read_input_tokens => 1, provider => m.provider, org => m.org, at => d.noon) AS read,
                      usage_monitor.cost(m.model, 1, 0, cache_creation_input_tokens => 1, provider => m.provider, org => m.org, at => d.noon) AS written) AS p
         WHERE m.cache_read_input_tokens > 0 OR m.cache_creation_input_tokens > 0 OR m.cached_requests > 0
        $query$,
        CASE WHEN org IS NOT NULL
             THEN format('SELECT 1 AS sign, m.org, %s FROM usage_monitor.model_usage AS m WHERE %s %s', columns, conditions, _usage_monitor._condition('m.org', org))
             ELSE format('SELECT 1 AS sign, NULL AS org, %s FROM usage_monitor.model_total AS m WHERE %s', columns, conditions)
                  || CASE WHEN own_prices = '{}' THEN ''
                          ELSE format(' UNION ALL SELECT k.sign, k.org, %s
                                          FROM usage_monitor.model_usage AS m
                                         CROSS JOIN LATERAL (VALUES (1, m.org), (-1, NULL)) AS k (sign, org)
                                         WHERE m.org = ANY ($3) AND %s', columns, conditions) END END)
       INTO provider, premium, cached_days
      USING first_day, past_day, own_prices;
    provider := trim_scale(provider);
    premium := trim_scale(premium);

    application := 0;
    IF cached_days IS NOT NULL THEN
        EXECUTE 'SELECT coalesce(sum(c.application_cache_saving_estimate), 0)
                   FROM usage_monitor.cache_efficiency AS c
                  WHERE c.cached_requests > 0 AND c.day = ANY ($1)'
                || _usage_monitor._condition('c.org', org) || _usage_monitor._condition('c.model', model)
           INTO application
          USING cached_days;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._cache_savings(date, date, text, text) IS
    'The estimates of cache_efficiency added up over the days from one on and before another; of one organisation, of one model, of both, or of all.';

/*
 * Calls that the application's own cache answered cost nothing and say nothing
 * of a model's price, and how many tokens they had no rollup knows.  So where
 * there are such calls the ledger is asked, once for all models; where there
 * are none it is not read, nor is a query over all of it planned and compiled.
 * Of a day that it does not have whole any more, for it is archived, that
 * cannot be said, and it is left out.
 */
CREATE FUNCTION _usage_monitor._cached_tokens(since timestamptz)
RETURNS TABLE (day date, provider text, model text, requests bigint, total_tokens numeric)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
BEGIN
    IF since IS NOT NULL THEN
        RETURN QUERY
        SELECT usage_monitor.ledger_day(u.ts) AS day, u.provider::text, u.model::text, count(*), sum(u.total_tokens)
          FROM usage_monitor.usage AS u
         WHERE u.cached
           AND u.ts >= since
         GROUP BY 1, 2, 3;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._cached_tokens(timestamptz) IS
    'How many tokens the calls since an instant had that the application''s own cache answered, by day, provider and model; NULL: none is asked for.';

CREATE VIEW usage_monitor.model_efficiency WITH (security_invoker = true) AS
WITH used AS MATERIALIZED (
    SELECT *
    FROM usage_monitor.model_total
    WHERE day > usage_monitor.ledger_day(now()) - 30
), cached AS MATERIALIZED (
    SELECT c.*
    -- from a day before, for the day may begin earlier than midnight
    FROM _usage_monitor._cached_tokens((SELECT _usage_monitor._day_start(min(d.day) - 1) FROM used AS d WHERE d.cached_requests > 0)) AS c
)
SELECT provider,
       model,
       requests,
       errors,
       round(errors::numeric / nullif(requests, 0), 4) AS error_rate,
       input_tokens,
       output_tokens,
       total_tokens,
       cost,
       usage_monitor.ledger_currency() AS currency,
       trim_scale(1000 * priced_cost / nullif(priced_tokens, 0)) AS cost_per_1k_tokens,
       trim_scale(cost / nullif(requests - unpriced_requests - cached_requests, 0)) AS cost_per_request,
       avg_duration_ms,
       1000 * output_tokens / nullif(requests * avg_duration_ms, 0) AS tokens_per_second,
       unpriced_requests,
       cached_requests,
       CASE WHEN priced_cost / nullif(priced_tokens, 0) IS NOT NULL
            THEN rank() OVER (ORDER BY priced_cost / nullif(priced_tokens, 0))
       END AS cost_rank
FROM (
    SELECT u.provider,
           u.model,
           sum(u.requests)::bigint AS requests,
           sum(u.errors)::bigint AS errors,
           sum(u.input_tokens)::bigint AS input_tokens,
           sum(u.output_tokens)::bigint AS output_tokens,
           sum(u.total_tokens)::bigint AS total_tokens,
           sum(u.cost) AS cost,
           -- what the calls without a price used is not known apart
           sum(u.cost) FILTER (WHERE p.is_known) AS priced_cost,
           sum(u.total_tokens - coalesce(c.total_tokens, 0)) FILTER (WHERE p.is_known) AS priced_tokens,
           sum(u.total_duration_ms)::double precision
               / nullif(sum(u.timed_requests), 0)::double precision AS avg_duration_ms,
           sum(u.unpriced_requests)::bigint AS unpriced_requests,
           sum(u.cached_requests)::bigint AS cached_requests
    FROM used AS u
    LEFT JOIN cached AS c
      ON c.day = u.day
     AND c.model = u.model
     AND coalesce(c.provider, '') = coalesce(u.provider, '')
    CROSS JOIN LATERAL (
        SELECT u.unpriced_requests = 0
               AND u.cached_requests < u.requests
               AND u.cached_requests = coalesce(c.requests, 0) AS is_known
    ) AS p
    GROUP BY u.provider, u.model
) AS m;

COMMENT ON VIEW usage_monitor.model_efficiency IS
    'What each provider''s model gave for its money over the last 30 days, today included, and all organisations.';
COMMENT ON COLUMN usage_monitor.model_efficiency.error_rate IS 'Calls that failed among all, from 0 to 1, to four decimals.';
COMMENT ON COLUMN usage_monitor.model_efficiency.cost_per_1k_tokens IS 'Cost of 1,000 input and output tokens on average, over the days on which every call has a cost, and without the calls that the application''s own cache answered; NULL: there is no such day, or no token.';
COMMENT ON COLUMN usage_monitor.model_efficiency.cost_per_request IS 'Cost of a call on average, of those that have one and that the application''s own cache did not answer; NULL: no such call.';
COMMENT ON COLUMN usage_monitor.model_efficiency.avg_duration_ms IS 'Average duration in milliseconds of the calls that have one.';
COMMENT ON COLUMN usage_monitor.model_efficiency.tokens_per_second IS 'Output tokens for each second that calls took, as if calls without a duration had taken the average.';
COMMENT ON COLUMN usage_monitor.model_efficiency.cost_rank IS 'Place by cost_per_1k_tokens, the cheapest first; NULL where that is.';

-- the others mean what they mean in the view that they come from
SELECT _usage_monitor._describe('{cache_efficiency, model_efficiency}', '{}', 'model_usage');
