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
    list_unit_price numeric,
    unit_price      numeric,
    discount        numeric,
    currency        text,
    exchange_rate   numeric,
    price_id        bigint,
    service_tier    text,
    context_from    bigint,
    time_window     text,
    list_cost       numeric,
    price_cost      numeric,
    cost            numeric,
    requests        bigint
);

COMMENT ON TYPE _usage_monitor._charge_part IS
    'What calls used of a meter at one rate: as cost_breakdown() has it; list_unit_price is what it is for those who have no contract, and a surcharge is in both. Without a meter: what all of them cost.';

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
    SSPACE = 500,
    FINALFUNC = _usage_monitor._charge_final
);

COMMENT ON AGGREGATE _usage_monitor._charge_parts(text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz) IS
    'What calls used, by meter and rate, and at last what all of that costs: the arguments of cost(). Calls without a price add nothing.';

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

/*
 * Text of the query, for it is long and what selects from it is made of many
 * columns: to be read from a function, each row would be written down and read
 * once more.  What is charged together is summed up and sorted before it
 * becomes rows, of which there are several times as many.
 */
CREATE FUNCTION _usage_monitor._charge_query(org text, tag_names text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format($query$
        WITH call AS (
            SELECT usage_monitor.ledger_day(u.ts) AS day,
                   u.org, u.department, u.project, u.provider,
                   coalesce(u.resolved_model, u.model) AS model,
                   %1$s AS tags,
                   u.cost_source AS kind,
                   CASE WHEN u.operation = 'correction' AND u.cost_source = 'reported'
                        THEN coalesce(u.tags ->> 'corrects', to_char(usage_monitor.ledger_day(u.ts), 'YYYY-MM-DD')) END AS corrects,
                   CASE WHEN u.cost_source = 'reported' THEN u.price_currency END AS price_currency,
                   CASE WHEN u.cost_source = 'reported' THEN u.exchange_rate END AS exchange_rate,
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
             GROUP BY 1, 2, 3, 4, 5, 6, 8, 9, 10, 11 %3$s
        ), sums AS MATERIALIZED (
            SELECT * FROM call
            UNION ALL
            SELECT u.day, u.org, NULL, NULL, u.key2, coalesce(u.key3, u.key1), '{}',
                   CASE WHEN c.is_priced THEN 'archived' ELSE 'unpriced' END, NULL, NULL, NULL,
                   c.requests, c.cost, c.cost, NULL
              FROM _usage_monitor._archived_model u
             CROSS JOIN LATERAL (
                 VALUES (true, trim_scale(u.cost), u.requests - coalesce(u.unpriced_requests, 0)),
                        (false, NULL, u.unpriced_requests)) AS c (is_priced, cost, requests)
             WHERE u.day >= $4
               AND u.day < $5
               AND %2$s
               AND CASE WHEN c.is_priced THEN c.cost <> 0 ELSE c.requests > 0 END
        ), time AS MATERIALIZED (
            SELECT d.day,
                   _usage_monitor._focus_time(_usage_monitor._day_start(d.day)) AS day_start,
                   _usage_monitor._focus_time(_usage_monitor._day_start(d.day + 1)) AS day_end,
                   _usage_monitor._focus_time(_usage_monitor._day_start(date_trunc('month', d.day::timestamp)::date)) AS month_start,
                   _usage_monitor._focus_time(_usage_monitor._day_start((date_trunc('month', d.day::timestamp) + interval '1 month')::date)) AS month_end
              FROM (SELECT DISTINCT s.day FROM sums s) AS d
        ), sorted AS (
            SELECT s.*, t.day_start, t.day_end, t.month_start, t.month_end
              FROM sums s
              JOIN time t ON t.day = s.day
             ORDER BY s.day, s.org, s.department, s.project, coalesce(s.provider, 'Unknown'), s.model, s.tags, s.kind, s.corrects, s.price_currency, s.exchange_rate
        )
        SELECT s.day, s.org, s.department, s.project, s.provider, s.model, s.tags,
               CASE WHEN p.meter IS NOT NULL THEN 'usage'
                    -- the ledger keeps what held when the calls were priced
                    WHEN s.kind = 'computed' THEN 'difference'
                    WHEN s.corrects IS NOT NULL THEN 'correction'
                    ELSE s.kind END AS kind,
               p.meter, p.service_tier, p.context_from, p.time_window, p.price_id,
               p.quantity, p.amount, p.per, p.list_unit_price, p.unit_price, p.discount,
               CASE WHEN p.meter IS NOT NULL THEN p.currency
                    WHEN s.kind <> 'unpriced' THEN coalesce(s.price_currency, $7) END AS price_currency,
               CASE WHEN p.meter IS NOT NULL THEN p.price_cost
                    WHEN s.kind = 'computed' THEN trim_scale(s.cost - p.cost)
                    ELSE trim_scale(s.price_cost) END AS price_cost,
               CASE WHEN p.meter IS NOT NULL THEN p.exchange_rate ELSE trim_scale(s.exchange_rate) END AS exchange_rate,
               CASE WHEN p.meter IS NOT NULL THEN p.list_cost ELSE trim_scale(s.cost - coalesce(p.cost, 0)) END AS list_cost,
               CASE WHEN p.meter IS NOT NULL THEN p.cost ELSE trim_scale(s.cost - coalesce(p.cost, 0)) END AS cost,
               CASE WHEN p.meter IS NOT NULL THEN p.requests
                    WHEN s.kind = 'computed' OR s.corrects IS NOT NULL THEN 0
                    ELSE s.requests END AS requests,
               s.corrects,
               s.day_start, s.day_end, s.month_start, s.month_end
          FROM sorted s
         CROSS JOIN LATERAL unnest(coalesce(s.parts, ARRAY[NULL]::_usage_monitor._charge_part[])) AS p
         WHERE p.meter IS NOT NULL
            OR s.kind <> 'computed'
            OR s.cost <> p.cost
        $query$,
        CASE WHEN tag_names = '{}' THEN '''{}''::jsonb'
             ELSE '(SELECT coalesce(jsonb_object_agg(t.name, u.tags -> t.name), ''{}'') FROM unnest($6) AS t (name) WHERE u.tags ? t.name)' END,
        CASE WHEN org IS NULL THEN 'true' ELSE 'u.org = $3' END,
        CASE WHEN tag_names = '{}' THEN '' ELSE ', 7' END);

COMMENT ON FUNCTION _usage_monitor._charge_query(text, text[]) IS
    'The query of _charges(), sorted, with what is in _charge, and when day and month start and end, as FOCUS writes it; its parameters are two instants, an organisation, two days, names of tags, and the ledger''s currency.';

CREATE FUNCTION _usage_monitor._charges(first_day date, past_day date, org text DEFAULT NULL, tag_names text[] DEFAULT '{}')
RETURNS SETOF _usage_monitor._charge
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- ten million rows are not to be sorted for some thousand groups
    SET enable_sort = off
AS $$
BEGIN
    RETURN QUERY EXECUTE '
        SELECT c.day, c.org, c.department, c.project, c.provider, c.model, c.tags, c.kind, c.meter, c.service_tier, c.context_from,
               c.time_window, c.price_id, c.quantity, c.amount, c.per, c.list_unit_price, c.unit_price, c.discount, c.price_currency,
               c.price_cost, c.exchange_rate, c.list_cost, c.cost, c.requests, c.corrects
          FROM (' || _usage_monitor._charge_query(org, tag_names) || ') AS c'
    USING _usage_monitor._instant(first_day), _usage_monitor._instant(past_day), org, first_day, past_day, tag_names,
          usage_monitor.ledger_currency();
END
$$;

COMMENT ON FUNCTION _usage_monitor._charges(date, date, text, text[]) IS
    'What was charged on the days from the first to the one before the second, of one organisation or of all, by the tags of those names too: costs add up to those of the views, exactly.';
