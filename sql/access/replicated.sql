/*
 * The tables that backends cache tell them of every change.  What arrives by
 * logical replication fires triggers of rows alone; where nothing is
 * replicated these never fire.
 */
DO $$
DECLARE
    cached text;
BEGIN
    FOREACH cached IN ARRAY '{setting, access, price, price_rate, model_alias, provider_alias, exchange_rate, discount,
                              usage_field, quota}'::text[]
    LOOP
        EXECUTE format('CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON usage_monitor.%I FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._invalidate()',
                       cached);
        EXECUTE format('CREATE TRIGGER invalidate_replicated AFTER INSERT OR UPDATE OR DELETE ON usage_monitor.%I FOR EACH ROW EXECUTE FUNCTION _usage_monitor._invalidate()',
                       cached);
        EXECUTE format('ALTER TABLE usage_monitor.%I ENABLE ALWAYS TRIGGER invalidate, ENABLE REPLICA TRIGGER invalidate_replicated',
                       cached);
    END LOOP;
END
$$;

-- a hub may publish them by a condition on any column
ALTER TABLE usage_monitor.quota REPLICA IDENTITY FULL;

CREATE FUNCTION _usage_monitor._pass_over() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_pass_over';

COMMENT ON FUNCTION _usage_monitor._pass_over() IS
    'Row trigger: passes over what replication itself would write (see published.sql).';
