/*
 * Periods, and days and instants of the ledger's calendar as people write them.
 */
CREATE FUNCTION usage_monitor.period_start(ts timestamptz, period text, time_zone text, billing_day integer DEFAULT 1) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_period_start';

COMMENT ON FUNCTION usage_monitor.period_start(timestamptz, text, text, integer) IS
    'When the hour, day, week (Monday), month (from the billing day on) or year of that instant began in the time zone; -infinity for lifetime. Error: UM008 unknown period.';

CREATE FUNCTION usage_monitor.period_end(ts timestamptz, period text, time_zone text, billing_day integer DEFAULT 1) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_period_end';

COMMENT ON FUNCTION usage_monitor.period_end(timestamptz, text, text, integer) IS
    'When the next hour, day, week, month or year begins; infinity for lifetime. Error: UM008 unknown period.';

CREATE FUNCTION _usage_monitor._day_start(day date) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
-- every day has a noon, and no day has two
RETURN CASE WHEN isfinite(day)
            THEN usage_monitor.period_start((day + time '12:00') AT TIME ZONE usage_monitor.ledger_time_zone(),
                                            'day', usage_monitor.ledger_time_zone())
            ELSE day::timestamp AT TIME ZONE 'UTC' END;

COMMENT ON FUNCTION _usage_monitor._day_start(date) IS 'When the day of the ledger''s calendar begins.';

/*
 * Days and instants that functions are asked for.  A day is one of the
 * ledger's calendar, and so is what is written without a zone, as a literal
 * is that has no type: the session's zone must not make another day of it.
 */
CREATE FUNCTION _usage_monitor._instant(day date) RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF isfinite(day) AND (day < '4710-01-01 BC' OR day >= '294276-01-01') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('day %s is out of range', day),
            HINT = 'Days are from 4710-01-01 BC to 294275-12-31.';
    END IF;
    RETURN _usage_monitor._day_start(day);
END
$$;

COMMENT ON FUNCTION _usage_monitor._instant(date) IS
    'When the day of the ledger''s calendar begins. Error: UM001 a day so far away that its month has no end.';

CREATE FUNCTION _usage_monitor._instant(at text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- restored at the end, whatever is set meanwhile
    SET timezone = 'UTC'
AS $$
BEGIN
    PERFORM set_config('timezone', usage_monitor.ledger_time_zone(), true);
    RETURN at::timestamptz;
END
$$;

COMMENT ON FUNCTION _usage_monitor._instant(text) IS
    'The instant that is written, by the ledger''s clock where it names no zone; a day is when it begins. Error: 22007 for text that is neither.';

CREATE FUNCTION _usage_monitor._has_period(at timestamptz) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(at >= '4710-01-01 00:00+00 BC' AND at < '294276-01-01 00:00+00', false);

COMMENT ON FUNCTION _usage_monitor._has_period(timestamptz) IS
    'Whether the instant is one, and its month and those beside it have a start and an end.';

CREATE FUNCTION _usage_monitor._check_instant(name text, at timestamptz, hint text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT _usage_monitor._has_period(at) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('argument "%s" must be an instant%s, but is %s', name,
                             CASE WHEN isfinite(at) THEN ' of the years 4710 BC to 294275' END, coalesce(at::text, 'NULL')),
            HINT = hint;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_instant(text, timestamptz, text) IS 'Refuses an instant whose day or month is not known, or begins or ends out of range (UM001).';

CREATE FUNCTION _usage_monitor._period_name(period text, at timestamptz) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE usage_monitor.ledger_time_zone(),
               CASE period WHEN 'hour' THEN 'YYYY-MM-DD HH24:MI'
                           WHEN 'day' THEN 'YYYY-MM-DD'
                           WHEN 'week' THEN 'IYYY-"W"IW'
                           WHEN 'month' THEN 'YYYY-MM' END);

COMMENT ON FUNCTION _usage_monitor._period_name(text, timestamptz) IS
    'The hour, day, week or month of the ledger''s calendar that begins then, as people write it.';

CREATE FUNCTION _usage_monitor._iso_time(at timestamptz) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN isfinite(at)
                THEN to_char(l.local, 'YYYY-MM-DD"T"HH24:MI:SS')
                     || CASE WHEN l.local = date_trunc('second', l.local) THEN '' ELSE to_char(l.local, '.US') END
                     || CASE WHEN l.local < l.utc THEN '-' ELSE '+' END
                     || to_char(greatest(l.local - l.utc, l.utc - l.local), 'HH24:MI')
                ELSE at::text END
      FROM (SELECT at AT TIME ZONE usage_monitor.ledger_time_zone() AS local,
                   at AT TIME ZONE 'UTC' AS utc) AS l;
END;

COMMENT ON FUNCTION _usage_monitor._iso_time(timestamptz) IS
    'An instant as ISO 8601 writes it, by the ledger''s clock and not the session''s.';
