/*
 * What quotas have used: where that is kept, what the ledger says it must be,
 * and what the running transaction is about to add.
 */
CREATE TABLE _usage_monitor._counter_row (
    quota_id       bigint NOT NULL,
    subject        text COLLATE "C" NOT NULL,
    period_start   timestamptz NOT NULL,
    slot           smallint NOT NULL DEFAULT 0,
    used           numeric NOT NULL,
    share          numeric NOT NULL DEFAULT 0,
    next_threshold numeric,
    revision       bigint NOT NULL,
    raised         text,
    recent         bytea NOT NULL DEFAULT decode(repeat('00', 136), 'hex'),
    CONSTRAINT _counter_row_pkey PRIMARY KEY (quota_id, subject, period_start, slot)
    -- few rows a page: each write of one locks it
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- it is overwritten where it is
ALTER TABLE _usage_monitor._counter_row ALTER recent SET STORAGE PLAIN;

COMMENT ON TABLE _usage_monitor._counter_row IS
    'The rows that counters are made of: a header and, where many write at once, slots. Derived from the ledger, written by the extension alone, and not dumped.';
COMMENT ON COLUMN _usage_monitor._counter_row.quota_id IS 'The quota.';
COMMENT ON COLUMN _usage_monitor._counter_row.subject IS 'The subject; empty for a quota of scope all.';
COMMENT ON COLUMN _usage_monitor._counter_row.period_start IS 'When the period began; -infinity for lifetime.';
COMMENT ON COLUMN _usage_monitor._counter_row.slot IS '0: the header; 1 to 64: the slots that concurrent writers use.';
COMMENT ON COLUMN _usage_monitor._counter_row.used IS 'What was counted in this row when it was stored, in the unit of the quota''s metric; _added() knows what was since.';
COMMENT ON COLUMN _usage_monitor._counter_row.share IS 'What might then be used here before anybody else need be asked: the room up to the next threshold, shared out.';
COMMENT ON COLUMN _usage_monitor._counter_row.raised IS 'The levels whose thresholds the usage has reached, as the counter was last looked at exactly, with commas between them; NULL: not known, alerts tell.';
COMMENT ON COLUMN _usage_monitor._counter_row.next_threshold IS 'Of the header: the usage at which the next alert is due; NULL: no further one.';
COMMENT ON COLUMN _usage_monitor._counter_row.revision IS 'The quota''s revision that share and next_threshold were computed for.';
COMMENT ON COLUMN _usage_monitor._counter_row.recent IS 'What was added to used and share since the row was stored, and by whom; overwritten in place.';

CREATE TABLE _usage_monitor._quota_birth (
    quota_id      bigint NOT NULL,
    counted_since timestamptz NOT NULL,
    CONSTRAINT _quota_birth_pkey PRIMARY KEY (quota_id)
);

COMMENT ON TABLE _usage_monitor._quota_birth IS
    'Since when a quota''s counters are complete. A counter of an earlier period starts from the ledger''s sum, a later one from zero. Not dumped: a restored quota is born anew.';
COMMENT ON COLUMN _usage_monitor._quota_birth.quota_id IS 'The quota.';
COMMENT ON COLUMN _usage_monitor._quota_birth.counted_since IS 'The start of the first period whose counters are complete.';

CREATE FUNCTION _usage_monitor._adjusted(quota_ids bigint[])
RETURNS TABLE (quota_id bigint, subject text, period_start timestamptz, used numeric)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT a.quota_id, a.subject, a.period_start, a.amount
      FROM usage_monitor.quota_adjustment a
      JOIN usage_monitor.quota q
        ON q.quota_id = a.quota_id
       AND q.enabled
       AND _usage_monitor._counts(q) = a.counts
     WHERE a.quota_id = ANY (_adjusted.quota_ids)
       AND NOT EXISTS (
               SELECT FROM usage_monitor.quota o
                WHERE o.overrides = a.quota_id AND o.subject = a.subject AND o.enabled);
END;

COMMENT ON FUNCTION _usage_monitor._adjusted(bigint[]) IS
    'What adjustments add to the counters of the quotas, of those that still hold.';

CREATE FUNCTION _usage_monitor._counted(
    quota_ids bigint[],
    since timestamptz DEFAULT '-infinity',
    before timestamptz DEFAULT 'infinity',
    with_adjustments boolean DEFAULT true
) RETURNS TABLE (quota_id bigint, subject text, period_start timestamptz, used numeric)
    LANGUAGE c STABLE STRICT ROWS 1000
    AS 'MODULE_PATHNAME', 'usage_monitor_counted';

COMMENT ON FUNCTION _usage_monitor._counted(bigint[], timestamptz, timestamptz, boolean) IS
    'What the counters of the quotas must be by the ledger''s rows from since to before, and by adjustments, of what the caller may see. Counters are made by the same C code; verify() does not trust it.';

CREATE FUNCTION _usage_monitor._ledger_sum(quota_id bigint, subject text, period_start timestamptz)
RETURNS numeric
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT c.used
           FROM usage_monitor.quota q
          CROSS JOIN LATERAL _usage_monitor._counted(
                   ARRAY[q.quota_id],
                   _ledger_sum.period_start,
                   CASE WHEN q.period = 'lifetime' THEN 'infinity'
                        ELSE usage_monitor.period_end(_ledger_sum.period_start, q.period, q.time_zone, q.billing_day)
                   END) c
          WHERE q.quota_id = _ledger_sum.quota_id
            AND c.subject = _ledger_sum.subject
            AND c.period_start = _ledger_sum.period_start),
        0);
END;

COMMENT ON FUNCTION _usage_monitor._ledger_sum(bigint, text, timestamptz) IS
    'What one counter must be by the ledger.';

CREATE FUNCTION _usage_monitor._pending_usage()
RETURNS TABLE (quota_id bigint, subject text, period_start timestamptz, used numeric)
    LANGUAGE c STABLE ROWS 5
    AS 'MODULE_PATHNAME', 'usage_monitor_pending_usage';

COMMENT ON FUNCTION _usage_monitor._pending_usage() IS
    'What the running transaction is going to add to the counters when it commits.';

CREATE FUNCTION _usage_monitor._adjust_counter(quota_id bigint, subject text, period_start timestamptz, amount numeric) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_adjust_counter';

COMMENT ON FUNCTION _usage_monitor._adjust_counter(bigint, text, timestamptz, numeric) IS
    'Counts what the caller has written to quota_adjustment.';

CREATE FUNCTION _usage_monitor._changed_quotas() RETURNS SETOF bigint
    LANGUAGE c STABLE ROWS 1
    AS 'MODULE_PATHNAME', 'usage_monitor_changed_quotas';

COMMENT ON FUNCTION _usage_monitor._changed_quotas() IS
    'The quotas whose counters the running transaction is going to make anew when it commits.';

CREATE FUNCTION _usage_monitor._added(tid) RETURNS numeric
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_added';

COMMENT ON FUNCTION _usage_monitor._added(tid) IS
    'What was added to the row of _counter_row at that ctid since it was stored, as the statement''s snapshot sees it; NaN if that is not known any more, for others have added too often since. Error: 22023 there is no row.';

/*
 * As the owner, for a counter shows the same to everybody who may see it,
 * whichever rows of the ledger he may see.
 */
CREATE FUNCTION _usage_monitor._counter_sum_as_owner(quota_id bigint, subject text, period_start timestamptz)
RETURNS numeric
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own       usage_monitor.quota;
    dimension text;
    condition text;
    first_day date := '-infinity';
    next_day  date := 'infinity';
    result    numeric;
BEGIN
    SELECT * INTO own FROM usage_monitor.quota q WHERE q.quota_id = _counter_sum_as_owner.quota_id;
    IF _usage_monitor._caller_orgs() IS NOT NULL
       AND (own.org = ANY (_usage_monitor._caller_orgs())
            OR (own.scope = 'org' AND own.org IS NULL AND subject = ANY (_usage_monitor._caller_orgs()))) IS NOT TRUE
    THEN
        RETURN NULL;
    END IF;
    SELECT d.name, d.condition
      INTO dimension, condition
      FROM (VALUES ('all', 'day_total', 'true'),
                   ('org', 'day', 'r.org = $1'),
                   ('department', 'project', 'r.key2 = $1'),
                   ('project', 'project', 'r.key1 = $1'),
                   ('user', 'user', 'r.key1 = $1'),
                   ('provider', 'model_total', 'r.key2 = $1'),
                   ('tag', 'tag', 'r.key1 || ''='' || r.key2 = $1')) AS d (scope, name, condition)
     WHERE d.scope = own.scope
       AND own.period <> 'hour'
       AND own.time_zone = usage_monitor.ledger_time_zone()
       AND num_nonnulls(own.org, own.provider, own.counted_models) = 0
       AND _usage_monitor._rollups_apply();
    IF dimension IS NULL THEN
        RETURN _usage_monitor._ledger_sum(quota_id, subject, period_start);
    END IF;

    IF own.period <> 'lifetime' THEN
        first_day := usage_monitor.ledger_day(period_start);
        next_day := usage_monitor.ledger_day(usage_monitor.period_end(period_start, own.period, own.time_zone, own.billing_day));
    END IF;
    -- not the archive: what of it counts is an adjustment
    EXECUTE format($query$
        SELECT coalesce(%1$s, 0)
          FROM (SELECT day, org, key1, key2, requests, input_tokens, output_tokens, cost FROM _usage_monitor.%2$I
                UNION ALL
                SELECT day, org, key1, key2, requests, input_tokens, output_tokens, cost FROM _usage_monitor.%3$I) r
         WHERE %4$s
           AND r.day >= $2
           AND r.day < $3
        $query$,
        CASE own.metric WHEN 'tokens' THEN 'coalesce(sum(r.input_tokens), 0) + coalesce(sum(r.output_tokens), 0)'
                        ELSE format('sum(r.%I)', own.metric) END,
        '_rollup_' || dimension,
        '_tail_' || dimension,
        condition)
       INTO result
      USING subject, first_day, next_day;
    RETURN result + coalesce((SELECT sum(a.used)
                                FROM _usage_monitor._adjusted(ARRAY[_counter_sum_as_owner.quota_id]) a
                               WHERE a.subject = _counter_sum_as_owner.subject
                                 AND a.period_start = _counter_sum_as_owner.period_start), 0);
END
$$;

COMMENT ON FUNCTION _usage_monitor._counter_sum_as_owner(bigint, text, timestamptz) IS
    'What _counter_sum() does, as the owner.';

CREATE FUNCTION _usage_monitor._counter_sum(quota_id bigint, subject text, period_start timestamptz)
RETURNS numeric
    LANGUAGE c STABLE COST 100
    AS 'MODULE_PATHNAME', 'usage_monitor_as_owner';

COMMENT ON FUNCTION _usage_monitor._counter_sum(bigint, text, timestamptz) IS
    'What a counter was as the statement''s snapshot sees it: by the rollups, where its quota counts whole days of the ledger without a filter, and otherwise by the ledger.';

CREATE VIEW usage_monitor.quota_usage WITH (security_invoker = true) AS
SELECT c.quota_id,
       c.subject,
       c.period_start,
       CASE WHEN c.used = 'NaN' THEN
           _usage_monitor._counter_sum(c.quota_id, c.subject, c.period_start)
            ELSE c.used
       END AS used
  FROM (SELECT r.quota_id, r.subject, r.period_start, sum(r.used + _usage_monitor._added(r.ctid)) AS used
          FROM _usage_monitor._counter_row r
         GROUP BY r.quota_id, r.subject, r.period_start) c;

COMMENT ON VIEW usage_monitor.quota_usage IS
    'The counters: what was used of each quota by each subject in each period, as it was committed. quota_status and quota_history show the same by name, and with the running transaction''s own.';
COMMENT ON COLUMN usage_monitor.quota_usage.quota_id IS 'The quota.';
COMMENT ON COLUMN usage_monitor.quota_usage.subject IS 'The subject; empty for a quota of scope all.';
COMMENT ON COLUMN usage_monitor.quota_usage.period_start IS 'When the period began; -infinity for lifetime.';
COMMENT ON COLUMN usage_monitor.quota_usage.used IS 'What was counted, in the unit of the quota''s metric. Where a snapshot is so old that the counter does not know any more, rollups or ledger are asked instead.';

CREATE FUNCTION _usage_monitor._recount_quota(quota_id bigint) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_recount_quota';

COMMENT ON FUNCTION _usage_monitor._recount_quota(bigint) IS
    'Has a quota''s counters made anew just before the transaction commits.';

CREATE FUNCTION usage_monitor.rebuild_counters() RETURNS bigint
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*)
      FROM (SELECT _usage_monitor._recount_quota(q.quota_id) FROM usage_monitor.quota q OFFSET 0) r;
END;

COMMENT ON FUNCTION usage_monitor.rebuild_counters() IS
    'Makes all counters anew from the ledger, just before the transaction commits, and returns the number of quotas. Alerts that were raised are not raised again. Writers wait meanwhile.';

CREATE FUNCTION _usage_monitor._lock_counters() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_lock_counters';

COMMENT ON FUNCTION _usage_monitor._lock_counters() IS
    'Waits until nobody writes counters, and keeps others from it until the transaction ends. Error: 25001 the transaction has reserved.';

/*
 * SECURITY DEFINER, so that managers, who may not write to the counters, can
 * have them folded: it changes no sum, and shows nothing but a number.
 */
CREATE FUNCTION usage_monitor.fold_counters() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    folded bigint;
BEGIN
    -- what others have counted since an earlier snapshot would be lost
    PERFORM _usage_monitor._check_read_committed('fold_counters');

    -- writers, who hold the lock that this one excludes until they end, wait
    PERFORM _usage_monitor._lock_counters();

    WITH counter AS (
        SELECT r.quota_id, r.subject, r.period_start, sum(r.used + _usage_monitor._added(r.ctid)) AS used
          FROM _usage_monitor._counter_row r
          JOIN usage_monitor.quota q ON q.quota_id = r.quota_id
         WHERE q.period <> 'lifetime'
           AND usage_monitor.period_end(r.period_start, q.period, q.time_zone, q.billing_day) <= now()
         GROUP BY r.quota_id, r.subject, r.period_start
        HAVING max(r.slot) > 0
           AND sum(r.used + _usage_monitor._added(r.ctid)) <> 'NaN'
    ), slot AS (
        DELETE FROM _usage_monitor._counter_row s
         USING counter c
         WHERE s.quota_id = c.quota_id
           AND s.subject = c.subject
           AND s.period_start = c.period_start
           AND s.slot > 0
        RETURNING s.slot
    ), header AS (
        -- revision 0: a late row looks at the thresholds anew
        UPDATE _usage_monitor._counter_row h
           SET used = c.used, share = 0, revision = 0, recent = DEFAULT
          FROM counter c
         WHERE h.quota_id = c.quota_id
           AND h.subject = c.subject
           AND h.period_start = c.period_start
           AND h.slot = 0
    )
    SELECT count(*) INTO folded FROM slot;
    RETURN folded;
END
$$;

COMMENT ON FUNCTION usage_monitor.fold_counters() IS
    'Folds the slots of counters whose period is over into one row each, and returns how many slots that were. Call it now and then where quotas are of hours or days; nothing depends on it. Error: 25001 not at READ COMMITTED, or after reserve().';
