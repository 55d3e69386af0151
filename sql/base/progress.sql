/*
 * How far what takes long has come.
 */
CREATE FUNCTION _usage_monitor._progress(command text, phase text DEFAULT NULL, done bigint DEFAULT NULL, total bigint DEFAULT NULL) RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_progress';

COMMENT ON FUNCTION _usage_monitor._progress(text, text, bigint, bigint) IS
    'Has maintenance_progress show that the session runs that command, unless it shows another one that this is a part of; which phase it is in, and how much of that is done. Without a command it shows nothing any more, and so it does after an error. Error: 22023 unknown command or phase.';

CREATE FUNCTION _usage_monitor._progress_info(
    OUT pid integer, OUT command text, OUT phase text, OUT done bigint, OUT total bigint, OUT started_at timestamptz
) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 1
    AS 'MODULE_PATHNAME', 'usage_monitor_progress_info';

COMMENT ON FUNCTION _usage_monitor._progress_info() IS
    'What maintenance_progress shows.';

CREATE VIEW usage_monitor.maintenance_progress WITH (security_invoker = true) AS
SELECT p.pid, p.command, p.phase, p.done, p.total, p.started_at
  FROM _usage_monitor._progress_info() p;

COMMENT ON VIEW usage_monitor.maintenance_progress IS
    'A row for each session of this database that runs one of: refresh, rebuild rollups, make counters (which set_quota() and rebuild_counters() do at the end of their transaction), reprice, drain, archive, import. Needs track_activities, as the server''s own pg_stat_progress_... do.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.pid IS 'Process ID of the session.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.command IS 'What it runs.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.phase IS 'What it is at.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.done IS 'How much of this phase is done: calls, by the thousand; partitions where these are archived or dropped; steps of an import.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.total IS 'Of how many, about, as the statistics have it; NULL: nobody knows, or nothing is counted.';
COMMENT ON COLUMN usage_monitor.maintenance_progress.started_at IS 'When its statement began.';
