/*
 * Partitions of the ledger, a month each: made ahead of time, and filled from
 * the default partition.
 *
 * A partition is no member of the extension, so a dump makes it, as it makes
 * those of an administrator's own.  It is made like usage_default, with all
 * that this has.
 */
CREATE FUNCTION _usage_monitor._trust_constraint(relation regclass, name name) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_trust_constraint';

COMMENT ON FUNCTION _usage_monitor._trust_constraint(regclass, name) IS
    'Notes that a NOT VALID constraint of a table, which the caller has locked exclusively, holds, as VALIDATE CONSTRAINT does; but he has looked, by an index. Error: 42501 not the owner.';

CREATE FUNCTION _usage_monitor._move_calls(partition regclass, since timestamptz, before timestamptz, attach text) RETURNS bigint
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_move_calls';

COMMENT ON FUNCTION _usage_monitor._move_calls(regclass, timestamptz, timestamptz, text) IS
    'Takes the calls of that time out of the default partition, runs the statements that attach a partition for them, and puts them in there, as they are; returns how many. The caller has locked the ledger exclusively. Error: 42501 not the owner.';

/*
 * Others queue behind who waits for this lock, so he does not wait long, but
 * tries again.
 */
CREATE FUNCTION _usage_monitor._lock_ledger(name text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $$
BEGIN
    PERFORM _usage_monitor._check_read_committed(name);
    FOR attempt IN 1 .. 60 LOOP
        BEGIN
            LOCK TABLE usage_monitor.usage IN ACCESS EXCLUSIVE MODE;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        PERFORM pg_sleep(0.5 + random() / 2);
    END LOOP;
    RAISE EXCEPTION USING
        ERRCODE = 'lock_not_available',
        MESSAGE = 'the ledger could not be locked: others have been using it all the time',
        HINT = 'SELECT pid, xact_start, query FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE relation = ''usage_monitor.usage''::regclass) lists who; try again when the oldest has ended.';
END
$$;

COMMENT ON FUNCTION _usage_monitor._lock_ledger(text) IS
    'For a function of that name: locks the ledger exclusively, without having anybody wait behind for more than a moment. Errors: 25001 not at READ COMMITTED, 55P03 after a minute.';

CREATE FUNCTION _usage_monitor._month(at timestamptz, OUT from_ts timestamptz, OUT to_ts timestamptz, OUT name text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT m.from_ts, m.to_ts, 'usage_' || to_char(m.from_ts AT TIME ZONE z.name, 'YYYY_MM')
      FROM usage_monitor.ledger_time_zone() AS z (name)
     CROSS JOIN LATERAL (
               SELECT usage_monitor.period_start(at, 'month', z.name) AS from_ts,
                      usage_monitor.period_end(at, 'month', z.name) AS to_ts) m;
END;

COMMENT ON FUNCTION _usage_monitor._month(timestamptz) IS
    'The month of the ledger''s calendar that an instant is in, and what its partition is called.';

CREATE FUNCTION _usage_monitor._gap(at timestamptz, OUT from_ts timestamptz, OUT to_ts timestamptz, OUT name text, OUT begun regclass)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT g.from_ts, g.to_ts,
           CASE WHEN g.from_ts = m.from_ts OR p.partition IS NOT NULL THEN m.name
                ELSE 'usage_' || to_char(g.from_ts AT TIME ZONE usage_monitor.ledger_time_zone(), 'YYYY_MM_DD_HH24MISS')
           END,
           p.partition
      FROM _usage_monitor._month(_gap.at) m
     CROSS JOIN LATERAL (
               SELECT greatest(m.from_ts, max(o.to_ts) FILTER (WHERE o.to_ts <= _gap.at)) AS from_ts,
                      least(m.to_ts, min(o.from_ts) FILTER (WHERE o.from_ts > _gap.at)) AS to_ts,
                      bool_or(o.from_ts <= _gap.at AND o.to_ts > _gap.at) AS is_covered
                 FROM _usage_monitor._partitions() o) g
      LEFT JOIN _usage_monitor._partitions() p
        ON p.to_ts = g.from_ts
       AND p.from_ts >= m.from_ts
       AND p.partition = to_regclass(format('usage_monitor.%I', m.name))
     WHERE g.is_covered IS NOT TRUE;
END;

COMMENT ON FUNCTION _usage_monitor._gap(timestamptz) IS
    'The part of an instant''s month round it that no partition has but the default one; none if one has the instant. begun: a partition of that month that ends where the part begins.';

CREATE FUNCTION _usage_monitor._make_partition(name text) RETURNS regclass
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model     CONSTANT regclass := 'usage_monitor.usage_default';
    partition regclass;
    statement text;
BEGIN
    IF to_regclass(format('usage_monitor.%I', name)) IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_table',
            MESSAGE = format('there is a table "%s" already, which is not the partition that is to be made', name),
            HINT = format('ALTER TABLE usage_monitor.%1$I RENAME TO %1$s_old;', name);
    END IF;
    EXECUTE format('CREATE TABLE usage_monitor.%I (LIKE usage_monitor.usage_default INCLUDING ALL)', name);
    partition := format('usage_monitor.%I', name)::regclass;

    -- what LIKE leaves out
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO %I', partition, pg_get_userbyid(c.relowner))
          FROM pg_class c WHERE c.oid = model
        UNION ALL
        SELECT format('ALTER TABLE %s SET TABLESPACE %I', partition, t.spcname)
          FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = model
        UNION ALL
        SELECT format('ALTER TABLE %s SET (%s)', partition, array_to_string(c.reloptions, ', '))
          FROM pg_class c WHERE c.oid = model AND c.reloptions IS NOT NULL
        UNION ALL
        SELECT format('ALTER TABLE %s REPLICA IDENTITY %s', partition, CASE c.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
          FROM pg_class c WHERE c.oid = model AND c.relreplident IN ('f', 'n')
        UNION ALL
        SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', partition, own.indexrelid::regclass::name)
          FROM pg_index i
          JOIN pg_index own ON own.indrelid = partition AND own.indisunique AND own.indkey = i.indkey
         WHERE i.indrelid = model AND i.indisreplident
        UNION ALL
        SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, partition,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
         WHERE c.oid = model AND a.grantee <> c.relowner
        UNION ALL
        SELECT format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, t.attname, partition,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM pg_attribute t CROSS JOIN LATERAL aclexplode(t.attacl) a
         WHERE t.attrelid = model AND NOT t.attisdropped
        UNION ALL
        SELECT format('CREATE TRIGGER %I BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s()', t.tgname, partition, t.tgfoid::regproc)
          FROM pg_trigger t WHERE t.tgrelid = model AND t.tgfoid = '_usage_monitor._refuse_truncate'::regproc
    LOOP
        EXECUTE statement;
    END LOOP;
    RETURN partition;
END
$$;

COMMENT ON FUNCTION _usage_monitor._make_partition(text) IS
    'Makes a table for a partition, with all that usage_default has: keys, indexes, owner, tablespace, grants, replica identity, storage parameters. Error: 42P07 there is one of that name.';

/*
 * Whoever attaches a partition has the server look through all of the default
 * one for rows that belong into it, unless a constraint tells that there are
 * none.  An index tells faster.
 */
CREATE FUNCTION _usage_monitor._attachment(partition regclass, from_ts timestamptz, to_ts timestamptz, is_attached boolean) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
RETURN concat(
    CASE WHEN is_attached THEN format('ALTER TABLE usage_monitor.usage DETACH PARTITION %s; ', partition) END,
    format('ALTER TABLE %1$s ADD CONSTRAINT _within CHECK (ts >= %2$L AND ts < %3$L) NOT VALID;'
           'ALTER TABLE usage_monitor.usage_default ADD CONSTRAINT _without CHECK (ts < %2$L OR ts >= %3$L) NOT VALID;'
           'SELECT _usage_monitor._trust_constraint(%1$L, ''_within''), _usage_monitor._trust_constraint(''usage_monitor.usage_default'', ''_without'');'
           'ALTER TABLE usage_monitor.usage ATTACH PARTITION %1$s FOR VALUES FROM (%2$L) TO (%3$L);'
           'ALTER TABLE usage_monitor.usage_default DROP CONSTRAINT _without;'
           'ALTER TABLE %1$s DROP CONSTRAINT _within',
           partition, from_ts, to_ts));

COMMENT ON FUNCTION _usage_monitor._attachment(regclass, timestamptz, timestamptz, boolean) IS
    'The statements that attach a partition, or attach it with other bounds, where it is known that the default one has nothing of that time, and the partition nothing else.';

CREATE FUNCTION _usage_monitor._summarize_default() RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(brin_summarize_new_values(i.indexrelid::regclass))
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_am a ON a.oid = c.relam AND a.amname = 'brin'
     WHERE i.indrelid = 'usage_monitor.usage_default'::regclass
       AND i.indisvalid;
END;

COMMENT ON FUNCTION _usage_monitor._summarize_default() IS
    'Has the block range indexes of the default partition learn of what was added, so that a look for a time need not read that.';

CREATE FUNCTION _usage_monitor._has_calls(from_ts timestamptz, to_ts timestamptz) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off    -- which a scan that is discouraged would turn on
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM ONLY usage_monitor.usage_default d
                    WHERE d.ts >= _has_calls.from_ts
                      AND d.ts < _has_calls.to_ts);
END;

COMMENT ON FUNCTION _usage_monitor._has_calls(timestamptz, timestamptz) IS
    'Whether the default partition has calls of that time.';

CREATE FUNCTION _usage_monitor._missing_months(months integer, OUT from_ts timestamptz, OUT to_ts timestamptz, OUT name text)
    RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT m.*
      FROM _usage_monitor._month(now()) r
     CROSS JOIN usage_monitor.ledger_time_zone() AS z (name)
     CROSS JOIN generate_series(0, least(_missing_months.months, 120)) AS n
     -- the middle of the month, which no change of the clock moves into another one
     CROSS JOIN LATERAL _usage_monitor._month((r.from_ts AT TIME ZONE z.name + make_interval(months => n, days => 14)) AT TIME ZONE z.name) m
     WHERE NOT EXISTS (SELECT FROM _usage_monitor._partitions() p
                        WHERE p.from_ts < m.to_ts
                          AND p.to_ts > m.from_ts)
     ORDER BY m.from_ts;
END;

COMMENT ON FUNCTION _usage_monitor._missing_months(integer) IS
    'The running month, and those of so many that follow, that no partition has anything of but the default one.';

CREATE FUNCTION usage_monitor.create_partitions(months integer DEFAULT 3)
RETURNS TABLE (partition text, from_ts timestamptz, to_ts timestamptz)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    missing   record;
    made      text[] := '{}';
    made_name text;
BEGIN
    PERFORM _usage_monitor._check_count('months', create_partitions.months, 0, 120,
                                        'Say how many months after the running one are to have a partition, for example create_partitions(3).');
    IF EXISTS (SELECT FROM _usage_monitor._missing_months(create_partitions.months)) THEN
        PERFORM _usage_monitor._summarize_default();
    END IF;

    -- the tables first: that takes longer, and holds nobody up
    FOR missing IN SELECT m.* FROM _usage_monitor._missing_months(create_partitions.months) m LOOP
        IF _usage_monitor._has_calls(missing.from_ts, missing.to_ts) THEN
            RAISE NOTICE USING
                MESSAGE = format('usage_default has calls of the month of "%s", which is not made now', missing.name),
                HINT = 'CALL usage_monitor.drain_default_partition() makes it, and moves them there.';
            CONTINUE;
        END IF;
        PERFORM _usage_monitor._make_partition(missing.name);
        made := made || missing.name;
    END LOOP;
    IF made = '{}' THEN
        RETURN;
    END IF;

    PERFORM _usage_monitor._lock_ledger('create_partitions');
    FOREACH made_name IN ARRAY made LOOP
        SELECT m.* INTO missing FROM _usage_monitor._missing_months(create_partitions.months) m WHERE m.name = made_name;
        -- somebody else may have made it meanwhile, or recorded a call
        IF NOT FOUND OR _usage_monitor._has_calls(missing.from_ts, missing.to_ts) THEN
            EXECUTE format('DROP TABLE usage_monitor.%I', made_name);
            CONTINUE;
        END IF;
        partition := format('usage_monitor.%I', made_name);
        EXECUTE _usage_monitor._attachment(partition::regclass, missing.from_ts, missing.to_ts, false);
        from_ts := missing.from_ts;
        to_ts := missing.to_ts;
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.create_partitions(integer) IS
    'Makes partitions usage_monitor.usage_YYYY_MM for the running month and so many that follow, in the ledger''s time zone, and returns those that it made: with the keys, indexes, owner, tablespace, grants, replica identity and storage parameters of usage_default. A month of which some partition has a part already is left alone, and one that usage_default has calls of is left to drain_default_partition(), with a notice. Locks the ledger for some milliseconds, which it does not wait for long at a time. Errors: UM001 months not from 0 to 120, 42P07 a table of that name is no partition, 55P03 others have been using the ledger for a minute.';

/*
 * One transaction of drain_default_partition(): the calls of one part of a
 * month, from where its partition ends.  How much that is it looks up before
 * it locks the ledger.
 */
CREATE FUNCTION _usage_monitor._drain_step(
    INOUT at timestamptz,
    INOUT width double precision,
    INOUT batch integer,
    OUT calls bigint,
    OUT held_ms double precision
)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off    -- which a scan that is discouraged would turn on
AS $$
DECLARE
    goal        CONSTANT double precision := 200;  -- milliseconds that others are to be held up
    gap         record;
    again       record;
    partition   regclass;
    until       timestamptz;
    counted     bigint;
    was_wide    boolean := false;  -- then it grows no more
    started_at  timestamptz := clock_timestamp();
    searched_ms double precision;
BEGIN
    width := greatest(coalesce(width, 3600), 0.000001);
    batch := greatest(coalesce(batch, 5000), 1);
    -- a month that was begun is ended, whether or not it has more calls
    SELECT g.* INTO gap FROM _usage_monitor._gap(at) g WHERE g.begun IS NOT NULL;
    IF NOT FOUND THEN
        SELECT coalesce((SELECT min(d.ts) FROM ONLY usage_monitor.usage_default d WHERE d.ts >= _drain_step.at),
                        (SELECT min(d.ts) FROM ONLY usage_monitor.usage_default d))
          INTO at;
        IF at IS NULL THEN
            RETURN;
        END IF;
        SELECT g.* INTO gap FROM _usage_monitor._gap(at) g;
    END IF;

    LOOP
        until := least(gap.to_ts, at + make_interval(secs => width));
        started_at := clock_timestamp();
        SELECT count(*) INTO counted
          FROM (SELECT FROM ONLY usage_monitor.usage_default d WHERE d.ts >= gap.from_ts AND d.ts < until LIMIT batch + 1) b;
        searched_ms := 1000 * extract(epoch FROM clock_timestamp() - started_at);
        EXIT WHEN counted > batch AND width <= 0.000001;
        EXIT WHEN counted <= batch AND (counted > batch / 4 OR until = gap.to_ts OR was_wide);
        was_wide := was_wide OR counted > batch;
        width := greatest(width * CASE WHEN counted > batch THEN 0.5 ELSE 2 END, 0.000001);
    END LOOP;
    IF searched_ms > 5 * goal THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('calls of one time are spread over all of usage_default: to find %s took %s ms', counted, round(searched_ms)),
            HINT = 'CREATE INDEX CONCURRENTLY usage_default_drain ON usage_monitor.usage_default (ts); then call this again, and drop the index afterwards.';
    END IF;

    partition := coalesce(gap.begun, _usage_monitor._make_partition(gap.name));
    PERFORM _usage_monitor._lock_ledger('drain_default_partition');
    started_at := clock_timestamp();
    SELECT g.* INTO again FROM _usage_monitor._gap(at) g;
    IF again IS DISTINCT FROM gap THEN
        -- somebody has made a partition meanwhile: look again
        IF gap.begun IS NULL THEN
            EXECUTE format('DROP TABLE %s', partition);
        END IF;
        calls := 0;
        held_ms := 0;
        RETURN;
    END IF;
    calls := _usage_monitor._move_calls(
                 partition, gap.from_ts, until,
                 _usage_monitor._attachment(
                     partition,
                     coalesce((SELECT p.from_ts FROM _usage_monitor._partitions() p WHERE p.partition = gap.begun), gap.from_ts),
                     until,
                     gap.begun IS NOT NULL));
    at := until;
    held_ms := 1000 * extract(epoch FROM clock_timestamp() - started_at);
    RAISE DEBUG 'moved % calls to % in % ms', calls, partition, round(held_ms);
    -- of few calls the time is not that of the calls
    IF calls > batch / 4 THEN
        batch := least(2 * batch, 100000, greatest(100, batch * goal / held_ms));
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._drain_step(timestamptz, double precision, integer) IS
    'Moves some calls out of the default partition, those from about an instant on; how many, and where to go on. calls NULL: it is empty. width: of so many seconds, at first an hour; batch: so many at a time, at first 5,000; held_ms: how long the ledger was locked.';

CREATE PROCEDURE usage_monitor.drain_default_partition()
    LANGUAGE plpgsql
    -- no SET: with one it could not commit.  So all that it names is named in full
AS $$
DECLARE
    at      timestamptz;
    width   double precision;
    batch   integer;
    calls   bigint;
    held_ms double precision;
    moved   bigint := 0;
    total   bigint;
BEGIN
    PERFORM _usage_monitor._summarize_default();
    total := pg_catalog.pg_stat_get_live_tuples('usage_monitor.usage_default'::pg_catalog.regclass);
    COMMIT;
    LOOP
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        PERFORM _usage_monitor._progress('drain', 'moving calls', moved, total);
        SELECT s.at, s.width, s.batch, s.calls, s.held_ms
          INTO at, width, batch, calls, held_ms
          FROM _usage_monitor._drain_step(at, width, batch) AS s;
        COMMIT;
        EXIT WHEN calls IS NULL;
        moved := moved OPERATOR(pg_catalog.+) calls;
        -- others are to have the ledger for longer than they were kept from it
        PERFORM pg_catalog.pg_sleep(held_ms OPERATOR(pg_catalog./) 500);
        COMMIT;
    END LOOP;
    PERFORM _usage_monitor._progress(NULL);
    COMMIT;
END
$$;

COMMENT ON PROCEDURE usage_monitor.drain_default_partition() IS
    'Moves the calls that usage_default has into partitions usage_monitor.usage_YYYY_MM, one for each month, which it makes; until there are none. It goes by itself from transaction to transaction, of each some thousand calls, which holds others up for some 0.2 seconds, and can be interrupted and called again. Calls stay as they are, and so do costs, counters, rollups and alerts; triggers of others do not fire. Errors: 55000 calls are not stored by time, and the hint has the index that helps, 42P07 a table of that name is no partition, 55P03 others have been using the ledger for a minute, 2D000 in a transaction block.';
