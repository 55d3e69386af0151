/*
 * A stand-in for the views over all organisations, until they come with the
 * rollups: to be dropped then.
 */
DO $$
DECLARE
    view record;
    col  record;
BEGIN
    FOR view IN
        SELECT v.*
          FROM (VALUES ('daily_total', 'day'),
                       ('model_total', 'day, provider, model'),
                       ('operation_total', 'day, operation'),
                       ('source_total', 'day, source'),
                       ('service_tier_total', 'day, service_tier')) AS v (name, keys)
    LOOP
        EXECUTE format(
            'CREATE VIEW usage_monitor.%I WITH (security_invoker = true) AS
             SELECT %s,
                    count(*) AS requests,
                    count(*) FILTER (WHERE NOT success) AS errors,
                    sum(input_tokens)::bigint AS input_tokens,
                    sum(output_tokens)::bigint AS output_tokens,
                    sum(cache_read_input_tokens)::bigint AS cache_read_input_tokens,
                    sum(cache_creation_input_tokens)::bigint AS cache_creation_input_tokens,
                    sum(reasoning_output_tokens)::bigint AS reasoning_output_tokens,
                    sum(input_cost) AS input_cost,
                    sum(cost) AS cost,
                    avg(duration_ms) AS avg_duration_ms,
                    count(*) FILTER (WHERE cost IS NULL) AS unpriced_requests,
                    count(*) FILTER (WHERE cached) AS cached_requests
               FROM usage_monitor.usage
              GROUP BY %s',
            view.name,
            replace(view.keys, 'day', 'usage_monitor.ledger_day(ts) AS day'),
            replace(view.keys, 'day', 'usage_monitor.ledger_day(ts)'));
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name, 'Stand-in.');
        FOR col IN
            SELECT a.attname FROM pg_attribute a WHERE a.attrelid = format('usage_monitor.%I', view.name)::regclass
        LOOP
            EXECUTE format('COMMENT ON COLUMN usage_monitor.%I.%I IS %L', view.name, col.attname, 'Stand-in.');
        END LOOP;
    END LOOP;
END
$$;
