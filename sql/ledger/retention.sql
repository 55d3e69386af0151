/*
 * Retention without loss: what is dropped from the ledger is summed up first,
 * in an archive that views and counters go on to include.
 */
CREATE TABLE usage_monitor.archived_partition (
    name              text NOT NULL,
    from_ts           timestamptz NOT NULL,
    to_ts             timestamptz NOT NULL,
    requests          bigint NOT NULL,
    cost              numeric,
    unpriced_requests bigint NOT NULL DEFAULT 0,
    archived_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_by       text NOT NULL DEFAULT session_user,
    -- a name comes again, with the same bounds, where calls came late
    CONSTRAINT archived_partition_pkey PRIMARY KEY (name, from_ts, archived_at)
);

COMMENT ON TABLE usage_monitor.archived_partition IS
    'The partitions of the ledger that drop_usage_before() has archived and dropped.';
COMMENT ON COLUMN usage_monitor.archived_partition.name IS 'Name of the partition, with its schema.';
COMMENT ON COLUMN usage_monitor.archived_partition.from_ts IS 'From when on it had calls, as it was bounded.';
COMMENT ON COLUMN usage_monitor.archived_partition.to_ts IS 'Before when.';
COMMENT ON COLUMN usage_monitor.archived_partition.requests IS 'How many calls it had.';
COMMENT ON COLUMN usage_monitor.archived_partition.cost IS 'What they cost, in the ledger''s currency.';
COMMENT ON COLUMN usage_monitor.archived_partition.unpriced_requests IS 'How many of them have no cost, and will never have one.';
COMMENT ON COLUMN usage_monitor.archived_partition.archived_at IS 'When it was dropped.';
COMMENT ON COLUMN usage_monitor.archived_partition.archived_by IS 'By whom.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.archived_partition', '');

CREATE FUNCTION usage_monitor.details_since() RETURNS timestamptz
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT max(p.to_ts) FROM usage_monitor.archived_partition p;
END;

COMMENT ON FUNCTION usage_monitor.details_since() IS
    'The instant since which the ledger has every call as a row. Before it, views show archived sums and calls that came late. NULL: the ledger has all calls.';

CREATE FUNCTION _usage_monitor._lock_rollups() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_lock_rollups';

COMMENT ON FUNCTION _usage_monitor._lock_rollups() IS
    'Keeps others from folding until the transaction ends. Errors as for refresh().';

CREATE FUNCTION _usage_monitor._fold_tail() RETURNS bigint
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_fold_tail';

COMMENT ON FUNCTION _usage_monitor._fold_tail() IS
    'Folds the tail, in a transaction that may have written to other tables than the ledger; returns the number of rows. Error: 42501 not the owner.';

CREATE FUNCTION _usage_monitor._archive_partition(partition regclass) RETURNS bigint
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_archive_partition';

COMMENT ON FUNCTION _usage_monitor._archive_partition(regclass) IS
    'Moves what the partition has from the rollups, which have all of it, to the archive; returns its number of rows. Error: 42501 not the owner.';

CREATE FUNCTION _usage_monitor._partitions()
RETURNS TABLE (partition regclass, from_ts timestamptz, to_ts timestamptz)
    LANGUAGE sql STABLE
    -- the bounds are printed in the session's time zone
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
BEGIN ATOMIC
    SELECT c.oid::regclass,
           CASE b.bounds[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim(b.bounds[1], '''') END::timestamptz,
           CASE b.bounds[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim(b.bounds[2], '''') END::timestamptz
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                     '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') b (bounds)
     WHERE i.inhparent = 'usage_monitor.usage'::regclass
       AND b.bounds IS NOT NULL;
END;

COMMENT ON FUNCTION _usage_monitor._partitions() IS
    'The partitions of the ledger that have bounds, and these.';

CREATE FUNCTION _usage_monitor._is_folded(partition regclass, from_ts timestamptz, to_ts timestamptz) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off    -- which a scan that is discouraged would turn on
AS $$
DECLARE
    mark     _usage_monitor._rollup_state;
    has_tail boolean;
BEGIN
    SELECT s.* INTO STRICT mark FROM _usage_monitor._rollup_state s;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s u WHERE u.xid >= $1 OR u.xid = ANY ($2))', partition)
       INTO has_tail
      USING mark.next_xid, mark.running_xids;
    RETURN NOT has_tail
       AND NOT EXISTS (
               SELECT FROM _usage_monitor._correction c
                WHERE c.ts >= from_ts
                  AND c.ts < to_ts
                  AND (c.xid >= mark.next_xid OR c.xid = ANY (mark.running_xids)));
END
$$;

COMMENT ON FUNCTION _usage_monitor._is_folded(regclass, timestamptz, timestamptz) IS
    'Whether the rollups have all that was ever done to the rows of a partition with these bounds.';

CREATE FUNCTION _usage_monitor._archived_by(until timestamptz) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT concat((SELECT string_agg(concat_ws(' ', q.quota_id, q.revision, q.created_at), ',' ORDER BY q.quota_id)
                     FROM usage_monitor.quota q),
                  '; ',
                  (SELECT string_agg(concat_ws(' ', p.partition::oid, p.from_ts, p.to_ts), ',' ORDER BY p.to_ts)
                     FROM _usage_monitor._partitions() p
                    WHERE p.to_ts <= until));
END;

COMMENT ON FUNCTION _usage_monitor._archived_by(timestamptz) IS
    'A text that is another one once a quota, or a partition that ends by then, was made, changed or dropped.';

CREATE FUNCTION _usage_monitor._archive(name text, partition regclass, from_ts timestamptz, to_ts timestamptz)
RETURNS usage_monitor.archived_partition
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
AS $$
#variable_conflict use_column
DECLARE
    archived usage_monitor.archived_partition;
BEGIN
    PERFORM _usage_monitor._archive_partition(_archive.partition);
    PERFORM _usage_monitor._archive_sessions(_archive.from_ts, _archive.to_ts);

    -- counters go on to have what the ledger has no longer
    INSERT INTO usage_monitor.quota_adjustment (quota_id, subject, period_start, amount)
    SELECT c.quota_id, c.subject, c.period_start, c.used
      FROM _usage_monitor._counted(ARRAY(SELECT q.quota_id FROM usage_monitor.quota q),
                                  _archive.from_ts, _archive.to_ts, with_adjustments => false) c
     WHERE c.used <> 0;

    INSERT INTO usage_monitor.archived_partition (name, from_ts, to_ts, requests, cost, unpriced_requests)
    SELECT _archive.name, _archive.from_ts, _archive.to_ts, count(*) FILTER (WHERE u.operation IS DISTINCT FROM 'correction'),
           sum(u.cost), count(*) - count(u.cost)
      FROM usage_monitor.usage u
     WHERE u.ts >= _archive.from_ts
       AND u.ts < _archive.to_ts
    RETURNING * INTO archived;
    RETURN archived;
END
$$;

COMMENT ON FUNCTION _usage_monitor._archive(text, regclass, timestamptz, timestamptz) IS
    'Moves what a partition adds up to, which is all folded, to the archive and to adjustments of counters. Error: 42501 not the owner.';

/*
 * What is dropped is summed up while others go on to record.  Then the ledger
 * is locked, and if somebody has changed anything of it meanwhile, all is undone
 * and done again.
 */
CREATE FUNCTION usage_monitor.drop_usage_before(day date)
RETURNS SETOF usage_monitor.archived_partition
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    attempts CONSTANT integer := 4;
    until    timestamptz;
    made_by  text;
    dropped  record;
    archived usage_monitor.archived_partition;
    done     usage_monitor.archived_partition[];
    total    bigint;
BEGIN
    IF day IS NULL OR NOT isfinite(day) OR day > usage_monitor.ledger_day(now()) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('usage before %s cannot be dropped', coalesce(day::text, 'NULL')),
            HINT = 'Give a day that is not in the future: partitions that end before it are archived and dropped.';
    END IF;
    until := _usage_monitor._instant(day);

    -- in this order, as every fold does
    PERFORM _usage_monitor._lock_rollups();
    IF NOT EXISTS (SELECT FROM _usage_monitor._partitions() p WHERE p.to_ts <= until) THEN
        RAISE NOTICE USING
            MESSAGE = format('the ledger has no partition that ends before %s', day),
            HINT = 'Only whole partitions are dropped; doc/operation.md says how to make them.';
        RETURN;
    END IF;
    PERFORM _usage_monitor._progress('archive', 'verifying');
    IF EXISTS (SELECT FROM usage_monitor.verify()) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM013',
            MESSAGE = 'counters or rollups are not what the ledger says, so none of it is dropped',
            HINT = 'SELECT * FROM usage_monitor.verify() lists the differences; rebuild_rollups() and rebuild_counters() mend them.';
    END IF;

    FOR attempt IN 1 .. attempts LOOP
        BEGIN
            IF attempt = attempts THEN
                -- it is never left alone for so long: others wait
                PERFORM _usage_monitor._lock_ledger('drop_usage_before');
            END IF;
            done := '{}';
            made_by := _usage_monitor._archived_by(until);
            total := (SELECT count(*) FROM _usage_monitor._partitions() p WHERE p.to_ts <= until);
            PERFORM _usage_monitor._progress('archive');
            PERFORM _usage_monitor._fold_tail();
            FOR dropped IN
                SELECT p.*, format('%I.%I', n.nspname, c.relname) AS name
                  FROM _usage_monitor._partitions() p
                  JOIN pg_class c ON c.oid = p.partition
                  JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE p.to_ts <= until
                 ORDER BY p.to_ts
            LOOP
                PERFORM _usage_monitor._progress('archive', 'archiving partitions', cardinality(done), total);
                done := done || _usage_monitor._archive(dropped.name, dropped.partition, dropped.from_ts, dropped.to_ts);
            END LOOP;

            PERFORM _usage_monitor._progress('archive', 'waiting for the ledger');
            PERFORM _usage_monitor._lock_ledger('drop_usage_before');
            PERFORM _usage_monitor._progress('archive', 'dropping partitions', 0, total);
            IF made_by IS DISTINCT FROM _usage_monitor._archived_by(until)
               OR EXISTS (SELECT FROM _usage_monitor._partitions() p
                           WHERE p.to_ts <= until
                             AND NOT _usage_monitor._is_folded(p.partition, p.from_ts, p.to_ts))
            THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'serialization_failure',
                    MESSAGE = format('calls of before %s have come while they were archived', day);
            END IF;
            FOR dropped IN
                SELECT p.partition FROM _usage_monitor._partitions() p WHERE p.to_ts <= until
            LOOP
                EXECUTE format('ALTER TABLE usage_monitor.usage DETACH PARTITION %s', dropped.partition);
                EXECUTE format('DROP TABLE %s', dropped.partition);
            END LOOP;
            EXIT;
        -- UM013: what has come since the fold is in no rollup that it could be moved from
        EXCEPTION WHEN serialization_failure OR SQLSTATE 'UM013' THEN
            IF attempt = attempts THEN
                RAISE;
            END IF;
        END;
    END LOOP;

    PERFORM _usage_monitor._progress(NULL);

    FOREACH archived IN ARRAY done LOOP
        IF archived.unpriced_requests > 0 THEN
            RAISE NOTICE USING
                MESSAGE = format('%s of the calls of partition %s have no cost, and cannot be priced any more', archived.unpriced_requests, archived.name),
                HINT = 'They stay in unpriced_requests of the views, and leave unpriced_usage. To price them, roll back, set their prices, and call reprice().';
        END IF;
        RETURN NEXT archived;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.drop_usage_before(date) IS
    'Drops the partitions of the ledger that end before that day (in the ledger''s time zone), and returns them: first verify() must agree and their rows are folded, then what they add up to is moved to the archive, which is dumped. Views and counters stay as they are; calls that come late for those days still count. Others go on to record and read, and wait for some milliseconds when it has archived; it begins anew where calls of that time have come meanwhile, and has others wait for all of it where that goes on. Calls without a cost can never be priced: a notice says how many they were. A request_id that was dropped is not recognised any more, and a quota that is made later does not count what was dropped. Errors: UM001 invalid day, UM013 verify() finds differences, 25001 as for refresh(), 55P03 others have been using the ledger for a minute.';
