/*
 * Closed by default: nothing is granted to PUBLIC.  Functions are, unless
 * that is taken back.
 */
REVOKE ALL ON SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;

CREATE FUNCTION usage_monitor.grant_access(role regrole, access text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grants text[];
    item   text;
BEGIN
    grants := CASE access
        WHEN 'writer' THEN ARRAY[
            'INSERT ON usage_monitor.usage',
            'SELECT (usage_id, cost, currency, cost_source) ON usage_monitor.usage',
            'EXECUTE ON FUNCTION usage_monitor.check_quota',
            'EXECUTE ON FUNCTION usage_monitor.record',
            'EXECUTE ON FUNCTION usage_monitor.reserve',
            'EXECUTE ON FUNCTION usage_monitor.settle',
            'EXECUTE ON FUNCTION usage_monitor.release']
        WHEN 'reader' THEN ARRAY[
            'SELECT ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor',
            'SELECT ON ALL SEQUENCES IN SCHEMA usage_monitor, _usage_monitor']
            -- and whatever only reads, which views and functions call by the reader's rights
            || ARRAY(SELECT 'EXECUTE ON FUNCTION ' || p.oid::regprocedure
                       FROM pg_proc p
                      WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
                        AND p.provolatile <> 'v'
                        AND p.prokind IN ('f', 'a', 'w'))
        WHEN 'manager' THEN ARRAY[
            'SELECT ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor',
            'SELECT, USAGE ON ALL SEQUENCES IN SCHEMA usage_monitor, _usage_monitor',
            'INSERT, UPDATE, DELETE ON usage_monitor.price, usage_monitor.price_rate, usage_monitor.model_alias, usage_monitor.model_alternative, usage_monitor.provider_alias, usage_monitor.exchange_rate, usage_monitor.discount, usage_monitor.quota, usage_monitor.alert_rule',
            'UPDATE ON usage_monitor.alert']
            -- what drops rows of the ledger, or grants, is its owner's
            || ARRAY(SELECT 'EXECUTE ON FUNCTION ' || p.oid::regprocedure
                       FROM pg_proc p
                      WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
                        AND p.prokind IN ('f', 'a', 'w')
                        AND p.proname NOT IN ('drop_usage_before', 'grant_access'))
    END;
    IF grants IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown access "%s"', access),
            HINT = 'Access is writer (records and reserves calls), reader (reads everything) or manager (sets prices and quotas, handles alerts).';
    END IF;

    EXECUTE format('GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO %s', role);
    FOREACH item IN ARRAY grants LOOP
        EXECUTE format('GRANT %s TO %s', item, role);
    END LOOP;
    -- read through _archived_..., which know of row security on the ledger
    FOR item IN
        SELECT c.oid::regclass::text
          FROM pg_class c
         WHERE c.relnamespace = '_usage_monitor'::regnamespace
           AND c.relname LIKE '\_archive\_%'
           AND c.relkind = 'r'
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', item, role);
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.grant_access(regrole, text) IS
    'Grants a role what a writer (inserts, records, reserves and settles calls), a reader (reads all tables and views) or a manager (sets prices and quotas, handles alerts) needs. Errors: UM008 unknown access.';

REVOKE ALL ON FUNCTION usage_monitor.grant_access(regrole, text) FROM PUBLIC;
