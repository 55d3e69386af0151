/*
 * DROP EXTENSION drops a ledger that has calls only where it is told to.
 */
CREATE FUNCTION _usage_monitor._keep_ledger() RETURNS event_trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_keep_ledger';

COMMENT ON FUNCTION _usage_monitor._keep_ledger() IS
    'Event trigger: DROP EXTENSION without CASCADE, that of an extension which this one requires, and DROP OWNED by its owner are refused (2BP01) while the ledger or its archive has calls; with CASCADE, partitions outside its schema are named. Not where a dump is restored with --clean.';

CREATE EVENT TRIGGER usage_monitor_keep_ledger
    ON ddl_command_start WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED')
    EXECUTE FUNCTION _usage_monitor._keep_ledger();

COMMENT ON EVENT TRIGGER usage_monitor_keep_ledger IS
    'usage_monitor: keeps DROP EXTENSION from dropping a ledger that has calls, until it is told.';
