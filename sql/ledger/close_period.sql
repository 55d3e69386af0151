/*
 * Closed books: a period whose calls' costs change no more.
 */
CREATE TABLE usage_monitor.closed_period (
    only_row  boolean NOT NULL DEFAULT true,
    until     date NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    closed_by text NOT NULL DEFAULT session_user,
    CONSTRAINT closed_period_pkey PRIMARY KEY (only_row),
    CONSTRAINT closed_period_only_row CHECK (only_row)
);

COMMENT ON TABLE usage_monitor.closed_period IS 'Up to when the books are closed: at most one row.';
COMMENT ON COLUMN usage_monitor.closed_period.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN usage_monitor.closed_period.until IS 'The last closed day, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.closed_period.closed_at IS 'When it was closed.';
COMMENT ON COLUMN usage_monitor.closed_period.closed_by IS 'The role that was logged in.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.closed_period', '');

CREATE FUNCTION usage_monitor.close_period(until date) RETURNS usage_monitor.closed_period
    -- writes until when the books are closed, which nobody else may
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result usage_monitor.closed_period;
BEGIN
    PERFORM _usage_monitor._instant(close_period.until);
    -- a reprice() under way is waited for
    LOCK TABLE usage_monitor.closed_period IN EXCLUSIVE MODE;

    IF close_period.until IS NULL OR NOT isfinite(close_period.until) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('argument "until" must be a day, but is %s', coalesce(close_period.until::text, 'NULL')),
            HINT = 'Give the last day to close, for example close_period(''2026-10-31'').';
    END IF;
    IF close_period.until >= usage_monitor.ledger_day(now()) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('the books cannot be closed until %s, which is not over', close_period.until),
            HINT = 'Give a day that is over: what is closed is kept as it is then.';
    END IF;
    SELECT c.* INTO result FROM usage_monitor.closed_period c WHERE c.until > close_period.until;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('the books are closed until %s already', result.until),
            HINT = format('To open some of it again: SELECT usage_monitor.reopen_period(''%s'');', close_period.until + 1);
    END IF;
    INSERT INTO usage_monitor.closed_period AS c (until)
    VALUES (close_period.until)
    ON CONFLICT (only_row) DO UPDATE
       SET until = excluded.until, closed_at = excluded.closed_at, closed_by = excluded.closed_by
    RETURNING c.* INTO result;
    PERFORM _usage_monitor._keep_closed_months(result.until);
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.close_period(date) IS
    'Closes the books up to that day, which is included, in the ledger''s time zone: reprice() no longer changes its calls, and the lines of statement() of the months that are closed wholly are kept, for which the ledger is read once. Late calls are recorded as ever. Errors: UM001 a day too far away, UM011 closed further already, or a day that is not over.';

CREATE FUNCTION usage_monitor.reopen_period(since date) RETURNS usage_monitor.closed_period
    -- as close_period()
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result usage_monitor.closed_period;
BEGIN
    PERFORM _usage_monitor._instant(since);
    IF since IS NULL OR NOT isfinite(since) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('argument "since" must be a day, but is %s', coalesce(since::text, 'NULL')),
            HINT = 'Give the first day to open, for example reopen_period(''2026-10-01'').';
    END IF;
    LOCK TABLE usage_monitor.closed_period IN EXCLUSIVE MODE;

    UPDATE usage_monitor.closed_period c
       SET until = reopen_period.since - 1, closed_at = now(), closed_by = session_user
     WHERE c.until >= reopen_period.since
    RETURNING c.* INTO result;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = format('the books are not closed on %s', reopen_period.since),
            HINT = 'SELECT until FROM usage_monitor.closed_period says until when they are.';
    END IF;
    PERFORM _usage_monitor._keep_closed_months(result.until);
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.reopen_period(date) IS
    'Opens the books again from that day on; what was kept of its months for statement() is forgotten. Errors: UM001 a day too far away, UM011 not closed then, or no day.';

CREATE FUNCTION _usage_monitor._books_open_from() RETURNS timestamptz
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(max(_usage_monitor._day_start(c.until + 1)), '-infinity')
      FROM usage_monitor.closed_period c;
END;

COMMENT ON FUNCTION _usage_monitor._books_open_from() IS
    'Since when the books are open: calls of before are of a closed period.';

/*
 * What is in the books, and until when they are closed, must be what is
 * committed, and not what a snapshot of before has of it.
 */
CREATE FUNCTION _usage_monitor._hold_books(name text, alone boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _usage_monitor._check_read_committed(name);
    IF alone THEN
        LOCK TABLE usage_monitor.closed_period IN SHARE ROW EXCLUSIVE MODE;
    ELSE
        LOCK TABLE usage_monitor.closed_period IN SHARE MODE;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._hold_books(text, boolean) IS
    'Until the transaction ends no period is closed or reopened, and (alone) nobody else changes what was recorded; for a function of that name, at isolation level READ COMMITTED only (25001).';
