/*
 * What arrives by logical replication fires triggers of rows alone.  Made
 * last, for all tables that backends cache; where nothing is replicated these
 * never fire.
 */
DO $$
DECLARE
    cached record;
BEGIN
    FOR cached IN
        SELECT t.tgrelid::regclass AS name
          FROM pg_trigger t
         WHERE t.tgfoid = '_usage_monitor._invalidate'::regproc
         ORDER BY 1
    LOOP
        EXECUTE format('CREATE TRIGGER invalidate_replicated AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION _usage_monitor._invalidate()',
                       cached.name);
        EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER invalidate_replicated', cached.name);
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
