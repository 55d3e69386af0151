/*
 * A stand-in for the views over all organisations at once that come with the
 * rollups: the same columns from the ledger itself.  To be dropped with them.
 */
DO $$
DECLARE
    measures CONSTANT text := $measures$
        count(*) AS requests,
        count(*) FILTER (WHERE success) AS successes,
        count(*) FILTER (WHERE NOT success) AS errors,
        round(count(*) FILTER (WHERE success)::numeric / count(*)::numeric, 4) AS success_rate,
        sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens,
        sum(cache_read_input_tokens)::bigint AS cache_read_input_tokens,
        sum(cache_creation_input_tokens)::bigint AS cache_creation_input_tokens,
        sum(reasoning_output_tokens)::bigint AS reasoning_output_tokens,
        sum(total_tokens)::bigint AS total_tokens,
        sum(input_cost) AS input_cost,
        sum(output_cost) AS output_cost,
        sum(other_cost) AS other_cost,
        sum(cost) AS cost,
        usage_monitor.ledger_currency() AS currency,
        avg(duration_ms) AS avg_duration_ms,
        count(*) FILTER (WHERE cost IS NULL) AS unpriced_requests,
        count(*) FILTER (WHERE cached) AS cached_requests
    $measures$;
    view record;
    col  record;
BEGIN
    FOR view IN
        SELECT v.name,
               concat_ws(', ', b.expression || ' AS ' || b.name, v.dimensions, measures) AS columns,
               concat_ws(', ', b.expression, v.dimensions) AS keys
        FROM (VALUES
            ('hourly_total', 'hour', NULL),
            ('daily_total', 'day', NULL),
            ('weekly_total', 'week', NULL),
            ('monthly_total', 'month', NULL),
            ('model_total', 'day', 'provider, model'),
            ('provider_total', 'day', 'provider'),
            ('operation_total', 'day', 'operation'),
            ('source_total', 'day', 'source'),
            ('service_tier_total', 'day', 'service_tier')
        ) AS v (name, bucket, dimensions)
        JOIN (VALUES
            ('hour', 'usage_monitor.ledger_hour(ts)'),
            ('day', 'usage_monitor.ledger_day(ts)'),
            ('week', 'date_trunc(''week'', usage_monitor.ledger_day(ts)::timestamp)::date'),
            ('month', 'date_trunc(''month'', usage_monitor.ledger_day(ts)::timestamp)::date')
        ) AS b (name, expression) ON b.name = v.bucket
    LOOP
        EXECUTE format('CREATE VIEW usage_monitor.%I WITH (security_invoker = true) AS SELECT %s FROM usage_monitor.usage GROUP BY %s',
                       view.name, view.columns, view.keys);
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name, 'Usage of all organisations together.');
        FOR col IN
            SELECT a.attname, col_description(s.attrelid, s.attnum) AS comment
            FROM pg_attribute AS a
            JOIN pg_attribute AS s ON s.attname = a.attname
                AND s.attrelid = format('usage_monitor.%I', replace(view.name, '_total', '_usage'))::regclass
            WHERE a.attrelid = format('usage_monitor.%I', view.name)::regclass AND a.attnum > 0
        LOOP
            EXECUTE format('COMMENT ON COLUMN usage_monitor.%I.%I IS %L', view.name, col.attname, col.comment);
        END LOOP;
    END LOOP;
END
$$;
