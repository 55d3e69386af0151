/*
 * Closed by default: nothing is granted to PUBLIC.  Functions are, unless
 * that is taken back.
 */
REVOKE ALL ON SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;

DROP FUNCTION _usage_monitor._run_as_owner(text);

CREATE FUNCTION usage_monitor.grant_access(role regrole, access text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item text;
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'argument "role" must not be NULL',
            HINT = 'Name the role that is to have access.';
    END IF;
    IF access IS NULL OR NOT EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.access = grant_access.access) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown access "%s"', access),
            HINT = 'Access is writer (records and reserves calls), reader (reads everything) or manager (sets prices and quotas, handles alerts).';
    END IF;

    FOR item IN
        SELECT format('GRANT %s ON %s %s TO %s',
                      r.privilege || coalesce((SELECT '(' || string_agg(quote_ident(c.name), ', ') || ')' FROM unnest(r.columns) c (name)), ''),
                      r.kind,
                      string_agg(r.name, ', '),
                      role)
          FROM usage_monitor.access_right r
         WHERE r.access IN (grant_access.access, CASE grant_access.access WHEN 'manager' THEN 'reader' END)
         GROUP BY r.kind, r.privilege, r.columns
    LOOP
        EXECUTE item;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.grant_access(regrole, text) IS
    'Grants a role what a writer (inserts, records, reserves and settles calls), a reader (reads all tables and views) or a manager (reads, sets prices and quotas, handles alerts) needs; access_right lists it. Errors: UM008 unknown access, 22004 no role.';

REVOKE ALL ON FUNCTION usage_monitor.grant_access(regrole, text) FROM PUBLIC;
