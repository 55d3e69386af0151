/*
 * Functions that run as the ledger's owner, and know for whom: what they do is
 * written in the private schema, and _run_as_owner() makes the public function
 * of the same name and arguments that calls it.  (In one that is SECURITY
 * DEFINER nobody can tell who called.)
 */
CREATE FUNCTION _usage_monitor._caller() RETURNS text
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'usage_monitor_caller';

COMMENT ON FUNCTION _usage_monitor._caller() IS
    'The role that called the function which runs as the owner; elsewhere the current role.';

-- for this script alone, which drops it at its end
CREATE FUNCTION _usage_monitor._run_as_owner(name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    private CONSTANT regproc := format('_usage_monitor.%I', name);
BEGIN
    EXECUTE (
        SELECT format('CREATE FUNCTION usage_monitor.%I(%s) RETURNS %s LANGUAGE c %s COST %s %s AS %L, %L',
                      name,
                      pg_get_function_arguments(private),
                      pg_get_function_result(private),
                      CASE p.provolatile WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
                      p.procost,
                      CASE WHEN p.proretset THEN 'ROWS ' || p.prorows END,
                      'MODULE_PATHNAME',
                      'usage_monitor_as_owner')
          FROM pg_proc p
         WHERE p.oid = private);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', private::regprocedure,
                   format('What usage_monitor.%s() does, as the owner.', name));
END
$$;
