/*
 * How a cost comes about: meter by meter, for a call that is imagined or in
 * the ledger; and where a model's name leads.
 */
CREATE FUNCTION usage_monitor.cost_breakdown(
    model text,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_input_tokens bigint DEFAULT 0,
    cache_creation_input_tokens bigint DEFAULT 0,
    cache_creation_1h_input_tokens bigint DEFAULT 0,
    reasoning_output_tokens bigint DEFAULT 0,
    input_audio_tokens bigint DEFAULT 0,
    output_audio_tokens bigint DEFAULT 0,
    units jsonb DEFAULT NULL,
    provider text DEFAULT NULL,
    service_tier text DEFAULT 'standard',
    org text DEFAULT NULL,
    at timestamptz DEFAULT now(),
    OUT meter text,
    OUT quantity numeric,
    OUT amount numeric,
    OUT per numeric,
    OUT unit_price numeric,
    OUT cost numeric,
    OUT price_id bigint,
    OUT context_from bigint,
    OUT service_tier text,
    OUT currency text,
    OUT exchange_rate numeric,
    OUT discount numeric,
    OUT time_window text,
    OUT note text
) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 4
    AS 'MODULE_PATHNAME', 'usage_monitor_cost_breakdown';

COMMENT ON FUNCTION usage_monitor.cost_breakdown(text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz) IS
    'What cost() adds up, a row a meter: quantity of the meter alone (input without what was cached), amount for "per" units and unit_price in currency, cost in the ledger''s currency after discount (percent) and exchange_rate; the price and service tier it came from, the context tier, the daily window. The costs add up to cost() exactly. A call without a cost gives one row of meter unpriced, whose note says why. Errors: those of cost().';

CREATE FUNCTION usage_monitor.explain_cost(
    usage_id bigint,
    OUT meter text,
    OUT quantity numeric,
    OUT amount numeric,
    OUT per numeric,
    OUT unit_price numeric,
    OUT cost numeric,
    OUT price_id bigint,
    OUT context_from bigint,
    OUT service_tier text,
    OUT currency text,
    OUT exchange_rate numeric,
    OUT discount numeric,
    OUT time_window text,
    OUT note text
) RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 4
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH call AS MATERIALIZED (
        SELECT u.*, u.cost_source = 'computed' AND NOT u.cached AS is_computed
          FROM usage_monitor.usage u
         WHERE u.usage_id = explain_cost.usage_id
    ), part AS MATERIALIZED (
        SELECT b.*
          FROM call u
         CROSS JOIN LATERAL usage_monitor.cost_breakdown(
                   u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                   u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                   u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens,
                   u.units, u.provider, u.service_tier, u.org, u.ts) AS b
         WHERE u.is_computed
    )
    SELECT p.meter, p.quantity, p.amount, p.per, p.unit_price, p.cost, p.price_id,
           p.context_from, p.service_tier, p.currency, p.exchange_rate, p.discount,
           p.time_window, p.note
      FROM part p
     WHERE p.meter <> 'unpriced'
    UNION ALL
    -- the ledger keeps what held when the call was priced
    SELECT 'difference', NULL, NULL, NULL, NULL, trim_scale(u.cost - s.cost), u.price_id,
           NULL, NULL, u.currency, NULL, NULL, NULL,
           'the price book has changed since the call was priced; reprice() would take this off'
      FROM call u
     CROSS JOIN (SELECT coalesce(sum(p.cost), 0) AS cost FROM part p) AS s
     WHERE u.is_computed
       AND u.cost <> s.cost
    UNION ALL
    SELECT CASE WHEN u.cost_source = 'reported' THEN 'reported'
                WHEN u.cached THEN 'cached'
                ELSE 'unpriced' END,
           1, u.cost, 1, u.cost, u.cost, NULL,
           NULL, u.service_tier, u.currency, NULL, NULL, NULL,
           CASE WHEN u.cost_source = 'reported' AND u.price_currency IS NOT NULL
                THEN format('as reported: %s %s at %s', u.price_cost, u.price_currency, u.exchange_rate)
                WHEN u.cost_source = 'reported' THEN 'as reported'
                WHEN u.cached THEN 'answered from the application''s own cache'
                ELSE u.unpriced_reason END
      FROM call u
     WHERE NOT u.is_computed
    UNION ALL
    -- beside it, and no part of it
    SELECT 'list', 1, u.list_cost, 1, u.list_cost, NULL, NULL,
           NULL, u.service_tier, u.currency, NULL, NULL, NULL,
           'what the price book says, for comparison'
      FROM call u
     WHERE u.list_cost IS NOT NULL;
END;

COMMENT ON FUNCTION usage_monitor.explain_cost(bigint) IS
    'How the cost of a call in the ledger came about: the columns of cost_breakdown(), by the prices at the call''s time; they add up to its cost exactly. One row of meter reported, cached or unpriced for calls that were not priced, and one of meter list, without a cost, with what a reported call would cost by the price book; a row of meter difference where prices have been changed since. No rows: no such call.';

CREATE FUNCTION usage_monitor.resolve_model(
    provider text,
    model text,
    OUT step integer,
    OUT at_provider text,
    OUT name text,
    OUT how text,
    OUT has_price boolean,
    OUT price_id bigint,
    OUT origin text,
    OUT chosen boolean
) RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 5
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH choice AS (
        -- of the prices in force now, the first as cost() takes them
        SELECT r.price_id
          FROM _usage_monitor._applicable_rates(resolve_model.provider, resolve_model.model)
               WITH ORDINALITY AS r
         WHERE r.price_id IS NOT NULL
           AND r.org IS NULL
           AND r.valid_from <= now()
           AND r.valid_to > now()
         ORDER BY r.rank, r.service_tier <> 'standard', r.ordinality
         LIMIT 1
    ), step AS (
        SELECT n.step, n.at_provider, n.name, n.how, p.price_id, p.origin,
               p.price_id = (SELECT c.price_id FROM choice c) AS is_choice
          FROM _usage_monitor._model_names(resolve_model.provider, resolve_model.model) AS n
          LEFT JOIN LATERAL (
              SELECT x.price_id, x.origin
                FROM usage_monitor.price x
               WHERE x.model = n.name
                 AND x.provider IN (n.at_provider, '*')
                 AND x.org IS NULL
                 AND x.valid @> now()
               ORDER BY x.price_id = (SELECT c.price_id FROM choice c) DESC,
                        x.origin = 'user' DESC, x.origin = 'import' DESC,
                        x.service_tier = 'standard' DESC, x.provider = '*', x.price_id
               LIMIT 1) AS p ON true
    )
    SELECT s.step, s.at_provider, s.name, s.how,
           s.price_id IS NOT NULL,
           s.price_id,
           s.origin,
           coalesce(s.is_choice
                    AND row_number() OVER (PARTITION BY s.is_choice ORDER BY s.step) = 1, false)
      FROM step s
     ORDER BY s.step;
END;

COMMENT ON FUNCTION usage_monitor.resolve_model(text, text) IS
    'Where a model''s name leads: the names in the price book that it may stand for, best first, at which provider and why; the price that everybody has there now, and which one is chosen for a call of the standard tier. provider NULL: not said. Contract prices of organisations, which precede all of them, are left out.';
