/*
 * What a call would cost, before it is made or with another model.
 */
CREATE FUNCTION usage_monitor.estimate_cost(
    model text,
    input_tokens bigint,
    max_output_tokens bigint,
    provider text DEFAULT NULL,
    service_tier text DEFAULT 'standard',
    org text DEFAULT NULL,
    at timestamptz DEFAULT now()
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN usage_monitor.cost(model => estimate_cost.model,
                          input_tokens => estimate_cost.input_tokens,
                          output_tokens => estimate_cost.max_output_tokens,
                          provider => estimate_cost.provider,
                          service_tier => estimate_cost.service_tier,
                          org => estimate_cost.org,
                          at => estimate_cost.at);

COMMENT ON FUNCTION usage_monitor.estimate_cost(text, bigint, bigint, text, text, text, timestamptz) IS
    'The most that a call with so many input tokens, none of them cached, and at most so many output tokens can cost, in the ledger''s currency; NULL: no price. Errors: those of cost().';

CREATE FUNCTION usage_monitor.what_if(
    from_model text,
    to_model text,
    period tstzrange DEFAULT '(,)',
    to_provider text DEFAULT NULL,
    OUT requests bigint,
    OUT actual_cost numeric,
    OUT what_if_cost numeric,
    OUT difference numeric,
    OUT difference_percentage numeric,
    OUT unpriced_requests bigint,
    OUT currency text
)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.requests, s.actual_cost, s.what_if_cost,
           s.what_if_cost - s.actual_cost,
           round(100 * (s.what_if_cost - s.actual_cost) / nullif(s.actual_cost, 0), 2),
           s.unpriced_requests,
           usage_monitor.ledger_currency()
      FROM (
          SELECT count(*) AS requests,
                 sum(c.cost) FILTER (WHERE c.is_priced) AS actual_cost,
                 sum(c.what_if_cost) FILTER (WHERE c.is_priced) AS what_if_cost,
                 count(*) FILTER (WHERE NOT c.is_priced) AS unpriced_requests
            FROM (
                SELECT u.cost,
                       w.what_if_cost,
                       u.cost IS NOT NULL AND w.what_if_cost IS NOT NULL AS is_priced
                  FROM usage_monitor.usage u
                 CROSS JOIN LATERAL (
                     SELECT CASE WHEN u.cached THEN 0
                                 ELSE usage_monitor.cost(
                                     what_if.to_model, u.input_tokens, u.output_tokens,
                                     u.cache_read_input_tokens, u.cache_creation_input_tokens,
                                     u.cache_creation_1h_input_tokens, u.reasoning_output_tokens,
                                     u.input_audio_tokens, u.output_audio_tokens, u.units,
                                     what_if.to_provider, u.service_tier, u.org, u.ts) END
                            AS what_if_cost
                     OFFSET 0) AS w  -- once a row
                 WHERE u.model = what_if.from_model
                   AND u.ts <@ what_if.period
                   AND u.operation IS DISTINCT FROM 'correction'
            ) AS c
      ) AS s;
END;

COMMENT ON FUNCTION usage_monitor.what_if(text, text, tstzrange, text) IS
    'What the calls to one model in a period would have cost at another, each with its own tokens, tier, organisation and time. Calls that have no cost, or would have none, are counted in unpriced_requests and left out of both costs. difference_percentage is of the actual cost.';
