/*
 * What was charged: the ledger's calls added up by day, whoever is charged,
 * model, meter and price.  Statements and FOCUS data are made of it.
 *
 * It reads the ledger, once, for no rollup has prices and meters.
 */
CREATE TYPE _usage_monitor._charge_part AS (
    meter           text,
    quantity        numeric,
    amount          numeric,
    per             numeric,
    unit_price      numeric,
    list_unit_price numeric,
    multiplier      numeric,
    discount        numeric,
    currency        text,
    exchange_rate   numeric,
    price_id        bigint,
    service_tier    text,
    context_from    bigint,
    time_window     text,
    requests        bigint
);

COMMENT ON TYPE _usage_monitor._charge_part IS
    'What calls used of a meter at one rate: as cost_breakdown() has it; list_unit_price is what it is for those who have no contract, multiplier what both are to be multiplied by.';

CREATE FUNCTION _usage_monitor._charge_add(
    internal, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz
) RETURNS internal
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_charge_add';

COMMENT ON FUNCTION _usage_monitor._charge_add(internal, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz) IS
    'Takes a call into _charge_parts().';

CREATE FUNCTION _usage_monitor._charge_final(internal) RETURNS _usage_monitor._charge_part[]
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_charge_final';

COMMENT ON FUNCTION _usage_monitor._charge_final(internal) IS 'What _charge_parts() comes to.';

CREATE AGGREGATE _usage_monitor._charge_parts(
    text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz
) (
    SFUNC = _usage_monitor._charge_add,
    STYPE = internal,
    SSPACE = 1000,
    FINALFUNC = _usage_monitor._charge_final
);

COMMENT ON AGGREGATE _usage_monitor._charge_parts(text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz) IS
    'What calls used, by meter and rate: the arguments of cost(). Calls without a price add nothing.';

CREATE TYPE _usage_monitor._charge AS (
    day             date,
    org             text,
    department      text,
    project         text,
    provider        text,
    model           text,
    tags            jsonb,
    kind            text,
    meter           text,
    service_tier    text,
    context_from    bigint,
    time_window     text,
    price_id        bigint,
    quantity        numeric,
    amount          numeric,
    per             numeric,
    list_unit_price numeric,
    unit_price      numeric,
    discount        numeric,
    price_currency  text,
    price_cost      numeric,
    exchange_rate   numeric,
    list_cost       numeric,
    cost            numeric,
    requests        bigint,
    corrects        text
);

COMMENT ON TYPE _usage_monitor._charge IS 'A row of _charges().';
COMMENT ON COLUMN _usage_monitor._charge.day IS 'Day of the ledger''s calendar.';
COMMENT ON COLUMN _usage_monitor._charge.model IS 'The model as the price book calls it.';
COMMENT ON COLUMN _usage_monitor._charge.tags IS 'The calls'' tags of the names that were asked for.';
COMMENT ON COLUMN _usage_monitor._charge.kind IS
    'usage (of a meter, at a price), reported (what the provider charged), correction (of a closed period, by reprice; of a call, by refund_call), difference (what the calls cost more than the price book says now), archived (of days that the ledger has only sums of) or unpriced.';
COMMENT ON COLUMN _usage_monitor._charge.list_unit_price IS 'Of one unit, in price_currency, without contract and discount.';
COMMENT ON COLUMN _usage_monitor._charge.unit_price IS 'Of one unit, in price_currency, before the discount: of the contract, where there is one.';
COMMENT ON COLUMN _usage_monitor._charge.price_cost IS 'The cost, in price_currency.';
COMMENT ON COLUMN _usage_monitor._charge.corrects IS 'Of a correction: the day that it corrects.';

CREATE FUNCTION _usage_monitor._charges(first_day date, past_day date, org text DEFAULT NULL, tag_names text[] DEFAULT '{}')
RETURNS SETOF _usage_monitor._charge
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- ten million rows are not to be sorted for some thousand groups
    SET enable_sort = off
AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH sums AS MATERIALIZED (
            SELECT usage_monitor.ledger_day(u.ts) AS day,
                   u.org, u.department, u.project, u.provider,
                   coalesce(u.resolved_model, u.model) AS model,
                   %1$s AS tags,
                   u.cost_source,
                   CASE WHEN u.cost_source = 'reported' THEN u.price_currency END AS price_currency,
                   CASE WHEN u.cost_source = 'reported' THEN u.exchange_rate END AS exchange_rate,
                   CASE WHEN u.operation = 'correction' AND u.cost_source = 'reported'
                        THEN coalesce(u.tags ->> 'corrects', to_char(usage_monitor.ledger_day(u.ts), 'YYYY-MM-DD')) END AS corrects,
                   count(*) AS requests,
                   sum(u.cost) AS cost,
                   sum(CASE WHEN u.cost_source = 'reported' THEN coalesce(u.price_cost, u.cost) END) AS price_cost,
                   _usage_monitor._charge_parts(
                       u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                       u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                       u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens,
                       u.units, u.provider, u.service_tier, u.org, u.ts)
                   FILTER (WHERE u.cost_source = 'computed') AS parts
              FROM usage_monitor.usage u
             WHERE u.ts >= $1
               AND u.ts < $2
               AND %2$s
               -- what came out of the application's own cache
               AND NOT (u.cached AND u.cost = 0)
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ), part AS MATERIALIZED (
            SELECT s.day, s.org, s.department, s.project, s.provider, s.model, s.tags,
                   p.meter, p.service_tier, p.context_from, p.time_window, p.price_id, p.quantity, p.amount, p.per,
                   p.list_unit_price * coalesce(p.multiplier, 1) AS list_unit_price,
                   p.unit_price * coalesce(p.multiplier, 1) AS unit_price,
                   p.discount,
                   p.currency,
                   p.quantity * p.unit_price * coalesce(p.multiplier, 1) * coalesce((100 - p.discount) * 0.01, 1) AS price_cost,
                   p.exchange_rate,
                   p.requests
              FROM sums s
             CROSS JOIN LATERAL unnest(s.parts) AS p
        )
        SELECT p.day, p.org, p.department, p.project, p.provider, p.model, p.tags,
               'usage', p.meter, p.service_tier, p.context_from, p.time_window, p.price_id,
               trim_scale(p.quantity), trim_scale(p.amount), trim_scale(p.per),
               trim_scale(p.list_unit_price), trim_scale(p.unit_price), trim_scale(p.discount),
               p.currency, trim_scale(p.price_cost), trim_scale(p.exchange_rate),
               trim_scale(p.quantity * p.list_unit_price * coalesce(p.exchange_rate, 1)),
               trim_scale(p.price_cost * coalesce(p.exchange_rate, 1)),
               p.requests,
               NULL::text
          FROM part p
        UNION ALL
        -- the ledger keeps what held when the calls were priced
        SELECT s.day, s.org, s.department, s.project, s.provider, s.model, s.tags,
               'difference', NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL,
               usage_monitor.ledger_currency(), d.cost, NULL, d.cost, d.cost,
               0,
               NULL
          FROM sums s
         CROSS JOIN LATERAL (
             SELECT trim_scale(s.cost - coalesce(sum(p.quantity * p.unit_price * coalesce(p.multiplier, 1)
                                                     * coalesce((100 - p.discount) * 0.01, 1) * coalesce(p.exchange_rate, 1)), 0)) AS cost
               FROM unnest(s.parts) AS p) AS d
         WHERE s.cost_source = 'computed'
           AND d.cost <> 0
        UNION ALL
        SELECT s.day, s.org, s.department, s.project, s.provider, s.model, s.tags,
               CASE WHEN s.corrects IS NULL THEN 'reported' ELSE 'correction' END, NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL,
               coalesce(s.price_currency, usage_monitor.ledger_currency()), trim_scale(s.price_cost), trim_scale(s.exchange_rate),
               trim_scale(s.cost), trim_scale(s.cost),
               CASE WHEN s.corrects IS NULL THEN s.requests ELSE 0 END,
               s.corrects
          FROM sums s
         WHERE s.cost_source = 'reported'
        UNION ALL
        SELECT s.day, s.org, s.department, s.project, s.provider, s.model, s.tags,
               'unpriced', NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
               s.requests,
               NULL
          FROM sums s
         WHERE s.cost_source = 'unpriced'
        UNION ALL
        SELECT u.day, u.org, NULL, NULL, u.key2, coalesce(u.key3, u.key1), '{}',
               CASE WHEN c.is_priced THEN 'archived' ELSE 'unpriced' END, NULL, NULL, NULL, NULL, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL,
               CASE WHEN c.is_priced THEN usage_monitor.ledger_currency() END,
               c.cost, NULL, c.cost, c.cost,
               c.requests,
               NULL
          FROM _usage_monitor._archived_model u
         CROSS JOIN LATERAL (
             VALUES (true, trim_scale(u.cost), u.requests - coalesce(u.unpriced_requests, 0)),
                    (false, NULL, u.unpriced_requests)) AS c (is_priced, cost, requests)
         WHERE u.day >= $4
           AND u.day < $5
           AND %2$s
           AND CASE WHEN c.is_priced THEN c.cost <> 0 ELSE c.requests > 0 END
        $query$,
        CASE WHEN tag_names = '{}' THEN '''{}''::jsonb'
             ELSE '(SELECT coalesce(jsonb_object_agg(t.name, u.tags -> t.name), ''{}'') FROM unnest($6) AS t (name) WHERE u.tags ? t.name)' END,
        CASE WHEN org IS NULL THEN 'true' ELSE 'u.org = $3' END)
    USING _usage_monitor._instant(first_day), _usage_monitor._instant(past_day), org, first_day, past_day, tag_names;
END
$$;

COMMENT ON FUNCTION _usage_monitor._charges(date, date, text, text[]) IS
    'What was charged on the days from the first to the one before the second, of one organisation or of all, by the tags of those names too: costs add up to those of the views, exactly.';
