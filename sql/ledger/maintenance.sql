/*
 * What a ledger needs in the course of years, in steps that stand each for
 * itself: one that fails is noted, and does not hold up the others.
 *
 * The background worker goes through them, or a job that calls maintain().
 */
CREATE TABLE _usage_monitor._maintenance (
    step          text NOT NULL,
    started_at    timestamptz NOT NULL,
    took          interval NOT NULL,
    done          bigint,
    error         text,
    failing_since timestamptz,
    CONSTRAINT _maintenance_pkey PRIMARY KEY (step)
);

COMMENT ON TABLE _usage_monitor._maintenance IS 'How each step of maintain() went the last time.';
COMMENT ON COLUMN _usage_monitor._maintenance.step IS 'What it does.';
COMMENT ON COLUMN _usage_monitor._maintenance.started_at IS 'When it was last begun.';
COMMENT ON COLUMN _usage_monitor._maintenance.took IS 'How long it took.';
COMMENT ON COLUMN _usage_monitor._maintenance.done IS 'How many of what it does; NULL: it failed.';
COMMENT ON COLUMN _usage_monitor._maintenance.error IS 'Why it failed; NULL: it did not.';
COMMENT ON COLUMN _usage_monitor._maintenance.failing_since IS 'When it failed first, of the times that it has failed one after the other.';

/*
 * A counter of a period that is over can be told from the ledger, and those
 * whose quota counts from a later period on are made from it once a late call
 * needs one.  So what is kept of the past is what is looked at often: of quotas
 * of one subject the last months, for advice.
 */
CREATE FUNCTION _usage_monitor._counters_due(OUT quota_id bigint, OUT since timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT q.quota_id,
           usage_monitor.period_start(
               now() - CASE WHEN q.subject IS NULL AND q.scope <> 'all' THEN k.keep ELSE greatest(k.keep, interval '92 days') END,
               q.period, q.time_zone, q.billing_day)
      FROM usage_monitor.quota q
     CROSS JOIN (SELECT current_setting('usage_monitor.retention_counters')::interval) AS k (keep)
     WHERE q.enabled
       AND q.period <> 'lifetime';
END;

COMMENT ON FUNCTION _usage_monitor._counters_due() IS
    'From which period on the counters of each quota are kept; what is earlier is retired.';

CREATE FUNCTION _usage_monitor._retire_counters(lot integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $$
DECLARE
    ids      bigint[];
    subjects text[];
    starts   timestamptz[];
BEGIN
    -- which, before anybody is kept waiting
    SELECT array_agg(c.quota_id), array_agg(c.subject), array_agg(c.period_start)
      INTO ids, subjects, starts
      FROM (SELECT r.quota_id, r.subject, r.period_start
              FROM _usage_monitor._counter_row r
              JOIN _usage_monitor._counters_due() d ON d.quota_id = r.quota_id
             WHERE r.slot = 0
               AND r.period_start < d.since
             LIMIT lot) c;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;

    PERFORM _usage_monitor._lock_counters();
    UPDATE _usage_monitor._quota_birth b
       SET counted_since = d.since
      FROM _usage_monitor._counters_due() d
     WHERE d.quota_id = b.quota_id
       AND d.since > b.counted_since;
    IF FOUND THEN
        -- no row, but the trigger tells everybody who knows since when quotas count
        UPDATE usage_monitor.quota q SET enabled = q.enabled WHERE false;
    END IF;
    DELETE FROM _usage_monitor._counter_row r
     USING unnest(ids, subjects, starts) AS c (quota_id, subject, period_start)
     WHERE r.quota_id = c.quota_id
       AND r.subject = c.subject
       AND r.period_start = c.period_start
       AND EXISTS (SELECT FROM _usage_monitor._quota_birth b
                    WHERE b.quota_id = r.quota_id
                      AND b.counted_since > r.period_start);
    RETURN cardinality(ids);
END
$$;

COMMENT ON FUNCTION _usage_monitor._retire_counters(integer) IS
    'Drops so many counters of periods that have been over for usage_monitor.retention_counters, and returns how many: quota_history tells them from the ledger from then on, and a late call has one made again.';

CREATE FUNCTION _usage_monitor._fold_slots() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $$
BEGIN
    -- for nothing, nobody is kept waiting
    IF NOT EXISTS (SELECT FROM _usage_monitor._counter_row r
                     JOIN usage_monitor.quota q ON q.quota_id = r.quota_id
                    WHERE r.slot > 0
                      AND q.period <> 'lifetime'
                      AND usage_monitor.period_end(r.period_start, q.period, q.time_zone, q.billing_day) <= now())
    THEN
        RETURN 0;
    END IF;
    RETURN usage_monitor.fold_counters();
END
$$;

COMMENT ON FUNCTION _usage_monitor._fold_slots() IS 'Calls fold_counters() if there is anything to fold.';

CREATE FUNCTION _usage_monitor._prune_adjustments(before timestamptz, lot integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
AS $$
DECLARE
    pruned bigint;
BEGIN
    -- not what a counter goes by that is there
    WITH old AS (
        SELECT a.adjustment_id
          FROM usage_monitor.quota_adjustment a
          JOIN usage_monitor.quota q ON q.quota_id = a.quota_id
          JOIN _usage_monitor._quota_birth b ON b.quota_id = a.quota_id
         WHERE q.period <> 'lifetime'
           AND a.period_start < b.counted_since
           AND usage_monitor.period_end(a.period_start, q.period, q.time_zone, q.billing_day) <= _prune_adjustments.before
           AND NOT EXISTS (SELECT FROM _usage_monitor._counter_row r
                            WHERE r.quota_id = a.quota_id
                              AND r.subject = a.subject
                              AND r.period_start = a.period_start)
         LIMIT lot)
    DELETE FROM usage_monitor.quota_adjustment a
     USING old o
     WHERE a.adjustment_id = o.adjustment_id;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;

COMMENT ON FUNCTION _usage_monitor._prune_adjustments(timestamptz, integer) IS
    'Deletes so many adjustments of periods that were over before an instant, and returns how many.';

CREATE FUNCTION _usage_monitor._prune_alerts(before timestamptz, lot integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pruned bigint;
BEGIN
    -- an alert of a period that runs keeps its level from being raised again
    WITH old AS (
        SELECT a.alert_id
          FROM usage_monitor.alert a
          LEFT JOIN usage_monitor.quota q ON q.quota_id = a.quota_id
         -- what goes on is as old as it was seen last
         WHERE CASE WHEN a.occurrences > 1 THEN a.last_seen ELSE a.raised_at END < _prune_alerts.before
           AND (q.quota_id IS NULL
                OR (q.period <> 'lifetime'
                    AND usage_monitor.period_end(a.period_start, q.period, q.time_zone, q.billing_day) <= now()))
         LIMIT lot)
    DELETE FROM usage_monitor.alert a
     USING old o
     WHERE a.alert_id = o.alert_id;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    DELETE FROM _usage_monitor._unpriced_day d
     WHERE d.day < usage_monitor.ledger_day(_prune_alerts.before)
       AND NOT EXISTS (SELECT FROM usage_monitor.alert a
                        WHERE a.alert_type = 'unpriced'
                          AND a.subject = d.model);
    RETURN pruned;
END
$$;

COMMENT ON FUNCTION _usage_monitor._prune_alerts(timestamptz, integer) IS
    'Deletes so many alerts of periods that are over that were raised before an instant, and returns how many.';

CREATE FUNCTION _usage_monitor._retire_ledger(months integer) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day CONSTANT date := date_trunc('month', usage_monitor.ledger_day(now())) - make_interval(months => months);
BEGIN
    -- to drop anything, all of the ledger is verified: not each time
    IF NOT EXISTS (SELECT FROM _usage_monitor._partitions() p WHERE p.to_ts <= _usage_monitor._instant(day)) THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM usage_monitor.drop_usage_before(day));
END
$$;

COMMENT ON FUNCTION _usage_monitor._retire_ledger(integer) IS
    'Archives and drops the partitions that are older than so many months, and returns how many.';

CREATE FUNCTION _usage_monitor._maintain_step(INOUT step integer)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lot        CONSTANT integer := 5000;
    names      CONSTANT text[] := '{partitions, refresh, alert rules, anomalies, counters, slots, adjustments, alerts, reservations, audit log, ledger}';
    this       CONSTANT text := names[step];
    begun_at   CONSTANT timestamptz := clock_timestamp();
    keep       interval;
    months     integer;
    work       bigint := 0;
    failure    text;
    earlier    _usage_monitor._maintenance;
BEGIN
    PERFORM _usage_monitor._library_version();  -- the settings are the library's
    IF this IS NULL THEN
        UPDATE _usage_monitor._rollup_state SET maintained_at = begun_at;
        step := 1;
        RETURN;
    END IF;
    SELECT m.* INTO earlier FROM _usage_monitor._maintenance m WHERE m.step = this;

    BEGIN
        CASE this
            WHEN 'partitions' THEN
                months := current_setting('usage_monitor.partitions_ahead');
                IF months > 0 THEN
                    PERFORM set_config('client_min_messages', 'warning', true);
                    work := (SELECT count(*) FROM usage_monitor.create_partitions(months));
                END IF;
            WHEN 'refresh' THEN
                work := usage_monitor.refresh();
            WHEN 'alert rules' THEN
                work := (SELECT count(*) FROM usage_monitor.check_alert_rules());
            WHEN 'anomalies' THEN
                -- they are of days
                IF earlier.error IS NOT NULL OR earlier.started_at > begun_at - interval '1 hour' IS NOT TRUE THEN
                    work := (SELECT count(*) FROM usage_monitor.check_anomalies());
                ELSE
                    step := step + 1;
                    RETURN;
                END IF;
            WHEN 'counters' THEN
                work := _usage_monitor._retire_counters(lot);
            WHEN 'slots' THEN
                work := _usage_monitor._fold_slots();
            WHEN 'adjustments' THEN
                keep := current_setting('usage_monitor.retention_history');
                IF keep > interval '0' THEN
                    work := _usage_monitor._prune_adjustments(begun_at - keep, lot);
                END IF;
            WHEN 'alerts' THEN
                keep := current_setting('usage_monitor.retention_alerts');
                IF keep > interval '0' THEN
                    work := _usage_monitor._prune_alerts(begun_at - keep, lot);
                END IF;
            WHEN 'reservations' THEN
                keep := current_setting('usage_monitor.retention_reservations');
                IF keep > interval '0' THEN
                    DELETE FROM usage_monitor.reservation r
                     USING (SELECT o.reservation_id
                              FROM usage_monitor.reservation o
                             WHERE o.expires_at < begun_at - keep
                             LIMIT lot) AS old
                     WHERE r.reservation_id = old.reservation_id;
                    GET DIAGNOSTICS work = ROW_COUNT;
                END IF;
            WHEN 'audit log' THEN
                keep := current_setting('usage_monitor.retention_audit');
                IF keep > interval '0' THEN
                    DELETE FROM usage_monitor.audit_log l
                     WHERE l.at < begun_at - keep
                       -- else what was refunded of a call could be refunded again
                       AND NOT (l.what = 'refund_call'
                                AND EXISTS (SELECT FROM usage_monitor.usage u
                                             WHERE u.usage_id = (l.details ->> 'usage_id')::bigint));
                    GET DIAGNOSTICS work = ROW_COUNT;
                END IF;
            WHEN 'ledger' THEN
                months := current_setting('usage_monitor.retention_ledger');
                IF months > 0 THEN
                    work := _usage_monitor._retire_ledger(months);
                END IF;
        END CASE;
    EXCEPTION WHEN OTHERS THEN
        failure := SQLERRM;
        work := NULL;
        -- once: it may fail each minute; and that others were at it is nothing to tell
        IF earlier.error IS DISTINCT FROM failure AND SQLSTATE <> '55P03' THEN
            RAISE WARNING USING
                MESSAGE = format('step "%s" of maintain() failed: %s', this, failure),
                HINT = 'SELECT * FROM usage_monitor.maintenance_status shows since when; the other steps go on.';
        END IF;
    END;

    INSERT INTO _usage_monitor._maintenance AS m (step, started_at, took, done, error, failing_since)
    VALUES (this, begun_at, clock_timestamp() - begun_at, work, failure, CASE WHEN failure IS NOT NULL THEN begun_at END)
    ON CONFLICT ON CONSTRAINT _maintenance_pkey DO UPDATE
       SET started_at = excluded.started_at,
           took = excluded.took,
           done = excluded.done,
           error = excluded.error,
           failing_since = CASE WHEN excluded.error IS NOT NULL THEN coalesce(m.failing_since, excluded.failing_since) END;
    IF work = lot THEN
        RETURN;  -- there is more
    END IF;
    step := CASE WHEN step < cardinality(names) THEN step + 1 END;
END
$$;

COMMENT ON FUNCTION _usage_monitor._maintain_step(integer) IS
    'Does one step of maintain(), notes how it went, and returns which is next; NULL: none. Begins with 0.';

CREATE PROCEDURE usage_monitor.maintain()
    LANGUAGE plpgsql
    -- no SET: with one it could not commit.  So all that it names is named in full
AS $$
DECLARE
    step integer := 0;
BEGIN
    COMMIT;
    LOOP
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        step := _usage_monitor._maintain_step(step);
        COMMIT;
        EXIT WHEN step IS NULL;
        COMMIT;     -- of that look
    END LOOP;
END
$$;

COMMENT ON PROCEDURE usage_monitor.maintain() IS
    'Does what there is to do: makes the coming partitions (usage_monitor.partitions_ahead), refreshes the rollups, looks at alert rules and, once an hour, for anomalies, retires the counters of periods that are over and folds slots, and deletes or archives what is older than the settings usage_monitor.retention_... say. Each step is a transaction of its own; one that fails is noted in maintenance_status, and warned of once, and the others go on. A background worker does the same every usage_monitor.maintenance_interval. Error: 2D000 in a transaction block.';

CREATE VIEW usage_monitor.maintenance_status WITH (security_invoker = true) AS
SELECT (SELECT greatest(coalesce(sum(t.requests), 0), 0) FROM _usage_monitor._tail_day_total t)::bigint AS tail_calls,
       s.refreshed_at,
       (SELECT m.took FROM _usage_monitor._maintenance m WHERE m.step = 'refresh') AS refresh_took,
       (SELECT max(m.started_at) FROM _usage_monitor._maintenance m) AS maintained_at,
       f.step AS failing_step,
       f.error,
       f.failing_since,
       CASE WHEN w.is_running THEN 'running'
            WHEN r.rows = 0 AND r.maintenance = interval '0' THEN 'turned off'
            WHEN r.maintenance > interval '0' AND s.maintained_at < now() - r.maintenance - interval '10 minutes' THEN 'due, but nobody has recorded since, or no background worker is free (max_worker_processes)'
            ELSE 'not needed now'
       END AS worker,
       ARRAY(SELECT m.name FROM _usage_monitor._missing_months(greatest(r.months, 1)) m ORDER BY m.from_ts) AS months_without_partition,
       pg_stat_get_live_tuples('usage_monitor.usage_default'::regclass) AS default_partition_calls,
       ARRAY(SELECT p.partition::text
               FROM _usage_monitor._partitions() p
              WHERE NOT EXISTS (SELECT FROM pg_index i
                                  JOIN pg_class c ON c.oid = i.indexrelid
                                  JOIN pg_am a ON a.oid = c.relam AND a.amname = 'brin'
                                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = ANY (i.indkey) AND t.attname = 'xid'
                                 WHERE i.indrelid = p.partition)
              ORDER BY p.from_ts) AS partitions_without_index,
       (SELECT count(*)
          FROM _usage_monitor._counter_row c
          JOIN usage_monitor.quota q ON q.quota_id = c.quota_id
         WHERE c.slot = 0
           AND q.period <> 'lifetime'
           AND usage_monitor.period_end(c.period_start, q.period, q.time_zone, q.billing_day) <= now()) AS past_counters,
       (SELECT min(x.prepared) FROM pg_prepared_xacts x WHERE x.database = current_database()) AS oldest_prepared_transaction,
       (SELECT min(a.xact_start) FROM pg_stat_activity a WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid()) AS oldest_snapshot,
       ARRAY(SELECT DISTINCT p.pubname::text
               FROM pg_publication p
               JOIN pg_publication_tables t ON t.pubname = p.pubname
               JOIN pg_class c ON c.oid = format('%I.%I', t.schemaname, t.tablename)::regclass
              WHERE t.schemaname IN ('usage_monitor', '_usage_monitor')
                AND (p.pubupdate OR p.pubdelete)
                AND c.relkind = 'r'
                AND (c.relreplident = 'n'
                     OR (c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))
              ORDER BY 1) AS breaking_publications,
       _usage_monitor._library_version() AS library_version,
       (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'usage_monitor') AS script_version
  FROM _usage_monitor._rollup_state s
 CROSS JOIN LATERAL (
           -- the settings are known once the library is loaded
           SELECT _usage_monitor._library_version() AS version OFFSET 0) v
 CROSS JOIN LATERAL (
           SELECT current_setting('usage_monitor.auto_refresh_rows', v.version IS NULL)::integer AS rows,
                  current_setting('usage_monitor.maintenance_interval', v.version IS NULL)::interval AS maintenance,
                  current_setting('usage_monitor.partitions_ahead', v.version IS NULL)::integer AS months) r
 CROSS JOIN LATERAL (
           SELECT EXISTS (SELECT FROM pg_stat_activity a
                           WHERE a.backend_type = 'usage_monitor refresh'
                             AND a.datname = current_database()) AS is_running) w
  LEFT JOIN LATERAL (
           SELECT m.step, m.error, m.failing_since
             FROM _usage_monitor._maintenance m
            WHERE m.error IS NOT NULL
            ORDER BY m.failing_since
            LIMIT 1) f ON true;

COMMENT ON VIEW usage_monitor.maintenance_status IS
    'The health of the ledger, in one row.';
COMMENT ON COLUMN usage_monitor.maintenance_status.tail_calls IS 'How many calls have come since the last refresh; each reader adds them up himself.';
COMMENT ON COLUMN usage_monitor.maintenance_status.refreshed_at IS 'When the rollups were last refreshed; NULL: never.';
COMMENT ON COLUMN usage_monitor.maintenance_status.refresh_took IS 'How long that took when maintain() last did it.';
COMMENT ON COLUMN usage_monitor.maintenance_status.maintained_at IS 'When the last step of maintain() was begun, by whomever; NULL: never.';
COMMENT ON COLUMN usage_monitor.maintenance_status.failing_step IS 'The step of maintain() that has been failing for the longest; NULL: none fails.';
COMMENT ON COLUMN usage_monitor.maintenance_status.error IS 'Why, as it failed the last time.';
COMMENT ON COLUMN usage_monitor.maintenance_status.failing_since IS 'Since when.';
COMMENT ON COLUMN usage_monitor.maintenance_status.worker IS 'Whether the background worker runs, and if not, why.';
COMMENT ON COLUMN usage_monitor.maintenance_status.months_without_partition IS 'Partitions of the running month and those that follow (usage_monitor.partitions_ahead, at least one) that there are not.';
COMMENT ON COLUMN usage_monitor.maintenance_status.default_partition_calls IS 'How many calls usage_default has, about (as the statistics have it).';
COMMENT ON COLUMN usage_monitor.maintenance_status.partitions_without_index IS 'Partitions that lack the block range index over (ts, xid), so that who reads the tail reads all of them.';
COMMENT ON COLUMN usage_monitor.maintenance_status.past_counters IS 'Counters of periods that are over.';
COMMENT ON COLUMN usage_monitor.maintenance_status.oldest_prepared_transaction IS 'When the oldest prepared transaction was prepared: it holds the counters that it has paid into; NULL: there is none.';
COMMENT ON COLUMN usage_monitor.maintenance_status.oldest_snapshot IS 'When the transaction began that keeps old row versions from being removed; NULL: none, or not to be seen by the reader.';
COMMENT ON COLUMN usage_monitor.maintenance_status.breaking_publications IS 'Publications with tables of the extension that have no replica identity, so that their changes will fail.';
COMMENT ON COLUMN usage_monitor.maintenance_status.library_version IS 'The version of the library that the session has loaded.';
COMMENT ON COLUMN usage_monitor.maintenance_status.script_version IS 'That of the script; where it is another one, ALTER EXTENSION usage_monitor UPDATE.';
