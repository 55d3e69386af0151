/*
 * Nothing to lose: what is derived can be compared with the ledger.
 */
CREATE FUNCTION _usage_monitor._passes_model(counted_models text[], exact boolean, model text, resolved_model text)
RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN counted_models IS NULL
    OR EXISTS (SELECT
                 FROM unnest(counted_models) AS p (pattern)
                WHERE model LIKE _usage_monitor._like_pattern(p.pattern)
                   OR (NOT exact AND resolved_model LIKE _usage_monitor._like_pattern(p.pattern)));

COMMENT ON FUNCTION _usage_monitor._passes_model(text[], boolean, text, text) IS
    'Whether a quota of those models counts a call, by the name that it was recorded with or (unless exact) what the price book called it.';

CREATE FUNCTION _usage_monitor._expected_counters()
RETURNS TABLE (quota_id bigint, subject text, period_start timestamptz, used numeric)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    -- all calls are not to be sorted for however many counters
    SET enable_sort = off
BEGIN ATOMIC
    WITH wanted AS MATERIALIZED (
        SELECT q.*
          FROM usage_monitor.quota q
         WHERE q.enabled
    ), overridden AS MATERIALIZED (
        SELECT w.overrides, w.subject
          FROM wanted w
         WHERE w.overrides IS NOT NULL
           AND w.subject IS NOT NULL
    ), counted AS (
        SELECT s.scope, s.subject, s.key, s.spelling,
               u.org, u.provider, u.model, u.resolved_model, u.operation, u.ts, u.cost, u.total_tokens
          FROM usage_monitor.usage u
         CROSS JOIN LATERAL (
                   SELECT v.scope, v.subject, NULL::text, NULL::text
                     FROM (VALUES ('all', ''),
                                  ('org', u.org),
                                  ('department', u.department),
                                  ('project', u.project),
                                  ('user', u.user_id),
                                  ('session', u.session_id),
                                  ('model', CASE WHEN coalesce(u.resolved_model, u.model) = u.model THEN u.model END),
                                  ('provider', u.provider)) AS v (scope, subject)
                    WHERE v.subject IS NOT NULL
                   UNION ALL
                   -- a model that the price book calls otherwise
                   SELECT 'model', v.subject, NULL, v.spelling
                     FROM (VALUES (u.resolved_model, 'resolved'), (u.model, 'recorded')) AS v (subject, spelling)
                    WHERE u.resolved_model <> u.model
                   UNION ALL
                   SELECT 'tag', t.key || '=' || t.value, t.key, NULL
                     FROM jsonb_each_text(u.tags) t
                    WHERE t.value IS NOT NULL) AS s (scope, subject, key, spelling)
         WHERE s.scope IN (SELECT w.scope FROM wanted w)
    ), matched AS (
        -- quotas of one subject: many, joined by hash
        SELECT w.quota_id, w.metric, w.period, w.time_zone, w.billing_day,
               w.org AS only_org, w.provider AS only_provider, w.counted_models, w.exact, c.*
          FROM counted c
          JOIN wanted w ON w.scope = c.scope AND w.subject = c.subject
         WHERE NOT (w.exact AND coalesce(c.spelling = 'resolved', false))
        UNION ALL
        SELECT w.quota_id, w.metric, w.period, w.time_zone, w.billing_day, w.org, w.provider, w.counted_models, w.exact, c.*
          FROM counted c
          JOIN wanted w ON w.scope = c.scope AND w.subject = c.key
         WHERE (w.quota_id, c.subject) NOT IN (SELECT o.overrides, o.subject FROM overridden o)
        UNION ALL
        -- quotas of each subject: few
        SELECT w.quota_id, w.metric, w.period, w.time_zone, w.billing_day, w.org, w.provider, w.counted_models, w.exact, c.*
          FROM counted c
          JOIN wanted w ON w.scope = c.scope AND w.subject IS NULL
         WHERE (c.spelling IS NULL OR w.exact = (c.spelling = 'recorded'))
           AND (w.quota_id, c.subject) NOT IN (SELECT o.overrides, o.subject FROM overridden o)
    )
    SELECT x.quota_id, x.subject, x.period_start, coalesce(sum(x.used), 0)
      FROM (SELECT m.quota_id,
                   m.subject,
                   usage_monitor.period_start(m.ts, m.period, m.time_zone, m.billing_day) AS period_start,
                   CASE m.metric
                       WHEN 'cost' THEN m.cost
                       WHEN 'tokens' THEN m.total_tokens
                       ELSE CASE WHEN m.operation = 'correction' THEN 0 ELSE 1 END
                   END AS used
              FROM matched m
             -- an unpriced call counts for nothing, and makes no counter either
             WHERE (m.metric <> 'cost' OR m.cost IS NOT NULL)
               AND (m.only_org IS NULL OR m.only_org = m.org)
               AND (m.only_provider IS NULL OR m.only_provider = m.provider)
               AND _usage_monitor._passes_model(m.counted_models, m.exact, m.model, m.resolved_model)
            UNION ALL
            SELECT a.quota_id, a.subject, a.period_start, a.used
              FROM _usage_monitor._adjusted(ARRAY(SELECT w.quota_id FROM wanted w)) a) x
     GROUP BY 1, 2, 3;
END;

COMMENT ON FUNCTION _usage_monitor._expected_counters() IS
    'What all counters must be by the ledger and by adjustments, said once more and without any of the code that makes them: the witness of verify().';

CREATE FUNCTION _usage_monitor._verify_rollups()
RETURNS TABLE (key jsonb, expected text, found text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dimension _usage_monitor._rollup_dimension;
    measures  CONSTANT text := (SELECT string_agg(quote_ident(m.name), ', ') FROM _usage_monitor._rollup_measures() m (name));
    negated   CONSTANT text := (SELECT string_agg('- ' || quote_ident(m.name), ', ') FROM _usage_monitor._rollup_measures() m (name));
    differing CONSTANT text := (
        SELECT string_agg(format('CASE WHEN sum(s.%1$I) <> 0 THEN %1$L END', m.name), ', ')
          FROM _usage_monitor._rollup_measures() m (name));
BEGIN
    -- what the extension sums up, SQL does without a bound
    RETURN QUERY
    SELECT jsonb_build_object('rollup', 'day_total', 'column', x.name), x.expected::text, x.found::text
      FROM (SELECT sum(s.requests) AS requests, sum(s.input_tokens) AS input_tokens,
                   sum(s.output_tokens) AS output_tokens, sum(s.cost) AS cost
              FROM (SELECT count(*) FILTER (WHERE u.operation IS DISTINCT FROM 'correction') AS requests, sum(u.input_tokens) AS input_tokens,
                           sum(u.output_tokens) AS output_tokens, sum(u.cost) AS cost
                      FROM usage_monitor.usage u
                    UNION ALL
                    SELECT sum(a.requests), sum(a.input_tokens), sum(a.output_tokens), sum(a.cost)
                      FROM _usage_monitor._archived_day_total a) s) e
     CROSS JOIN (SELECT sum(l.requests) AS requests, sum(l.input_tokens) AS input_tokens,
                        sum(l.output_tokens) AS output_tokens, sum(l.cost) AS cost
                   FROM _usage_monitor._live_day_total l) f
     CROSS JOIN LATERAL (
               VALUES ('requests', e.requests, f.requests),
                      ('input_tokens', e.input_tokens, f.input_tokens),
                      ('output_tokens', e.output_tokens, f.output_tokens),
                      ('cost', e.cost, f.cost)) x (name, expected, found)
     WHERE coalesce(x.expected, 0) <> coalesce(x.found, 0);

    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        -- what there should be less what there is, summed up, is nothing
        RETURN QUERY EXECUTE format($query$
            SELECT jsonb_strip_nulls(jsonb_build_object(
                       'rollup', %1$L, 'day', d.day, 'hour', d.hour, 'org', d.org,
                       'keys', nullif(array_remove(ARRAY[d.key1, d.key2, d.key3], NULL), '{}'),
                       'columns', d.columns)),
                   format('%%s requests, cost %%s, %%s tokens', d.requests, trim_scale(d.cost), d.tokens),
                   format('%%s requests, cost %%s, %%s tokens', d.found_requests, trim_scale(d.found_cost), d.found_tokens)
              FROM (SELECT s.day, s.hour, s.org, s.key1, s.key2, s.key3,
                           array_remove(ARRAY[%4$s], NULL) AS columns,
                           coalesce(sum(s.requests) FILTER (WHERE s.side = 1), 0) AS requests,
                           coalesce(sum(s.cost) FILTER (WHERE s.side = 1), 0) AS cost,
                           coalesce(sum(s.input_tokens) FILTER (WHERE s.side = 1), 0)
                           + coalesce(sum(s.output_tokens) FILTER (WHERE s.side = 1), 0) AS tokens,
                           - coalesce(sum(s.requests) FILTER (WHERE s.side = 2), 0) AS found_requests,
                           - coalesce(sum(s.cost) FILTER (WHERE s.side = 2), 0) AS found_cost,
                           - coalesce(sum(s.input_tokens) FILTER (WHERE s.side = 2), 0)
                           - coalesce(sum(s.output_tokens) FILTER (WHERE s.side = 2), 0) AS found_tokens
                      FROM (SELECT 1 AS side, c.day, c.hour, c.org, c.key1, c.key2, c.key3, %2$s
                              FROM _usage_monitor._ledger_sums(%1$L) c
                            UNION ALL
                            SELECT 1, a.day, a.hour, a.org, a.key1, a.key2, a.key3, %2$s
                              FROM _usage_monitor.%5$I a
                            UNION ALL
                            SELECT 2, l.day, l.hour, l.org, l.key1, l.key2, l.key3, %3$s
                              FROM _usage_monitor.%6$I l) s
                     GROUP BY 1, 2, 3, 4, 5, 6) d
             WHERE d.columns <> '{}'
            $query$, dimension.name, measures, negated, differing,
            '_archived_' || dimension.name, '_live_' || dimension.name);
    END LOOP;
END
$$;

COMMENT ON FUNCTION _usage_monitor._verify_rollups() IS
    'Where rollups and tail together are not what the ledger and the archive say.';

CREATE FUNCTION _usage_monitor._unindexed("table" regclass)
RETURNS TABLE (index text, row_at tid)
    LANGUAGE c STABLE STRICT ROWS 1
    AS 'MODULE_PATHNAME', 'usage_monitor_unindexed';

COMMENT ON FUNCTION _usage_monitor._unindexed(regclass) IS
    'The rows of a table of schema _usage_monitor that a btree index over columns of it lacks. Error: 42809 another table.';

CREATE FUNCTION _usage_monitor._verify_counters()
RETURNS TABLE (key jsonb, expected text, found text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT jsonb_build_object('quota_id', r.quota_id, 'subject', r.subject, 'period_start', r.period_start, 'slot', r.slot),
           'one row',
           format('%s rows', count(*))
      FROM _usage_monitor._counter_row r
     GROUP BY r.quota_id, r.subject, r.period_start, r.slot
    HAVING count(*) > 1
    UNION ALL
    SELECT jsonb_build_object('quota_id', r.quota_id, 'subject', r.subject, 'period_start', r.period_start, 'slot', r.slot),
           format('an entry of index "%s"', u.index),
           'none'
      FROM _usage_monitor._unindexed('_usage_monitor._counter_row') u
      JOIN _usage_monitor._counter_row r ON r.ctid = u.row_at;
END;

COMMENT ON FUNCTION _usage_monitor._verify_counters() IS
    'Rows of counters that there are twice, or that an index lacks.';

CREATE FUNCTION _usage_monitor._verify_levels()
RETURNS TABLE (key jsonb, expected text, found text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH quota AS MATERIALIZED (
        SELECT q.quota_id, q.amount + coalesce(r.amount, 0) AS amount,
               q.revision + (coalesce(r.changes, 0) << 32) AS revision,
               q.warning_threshold, q.critical_threshold, q.thresholds
          FROM usage_monitor.quota q
          LEFT JOIN _usage_monitor._quota_raised r ON r.quota_id = q.quota_id
         WHERE q.enabled
    ), counter AS (
        -- looked at since the limit is what it is; with what others hold, as far as it is known
        SELECT h.quota_id, h.subject, h.period_start, h.raised, h.next_threshold, u.used
          FROM _usage_monitor._counter_row h
          JOIN quota q ON q.quota_id = h.quota_id AND q.revision = h.revision
         CROSS JOIN LATERAL (
                   SELECT sum(r.used + _usage_monitor._added(r.ctid)) AS used
                     FROM _usage_monitor._counter_row r
                    WHERE r.quota_id = h.quota_id
                      AND r.subject = h.subject
                      AND r.period_start = h.period_start) u
         WHERE h.slot = 0
           AND h.raised IS NOT NULL
           AND u.used <> 'NaN'
           AND h.quota_id <> ALL (ARRAY(SELECT x FROM _usage_monitor._changed_quotas() x))
    ), compared AS (
        SELECT c.*,
               -- that the period was over then is no level
               coalesce(array_to_string(ARRAY(
                   SELECT l.level FROM unnest(string_to_array(c.raised, ',')) AS l (level) WHERE l.level <> 'late' ORDER BY 1), ','), '') AS found,
               coalesce(e.levels, '') AS expected,
               e.next AS expected_next
          FROM counter c
          JOIN quota q ON q.quota_id = c.quota_id
         CROSS JOIN LATERAL (
                   SELECT string_agg(l.level, ',' ORDER BY l.level) FILTER (WHERE c.used >= q.amount * l.share) AS levels,
                          min(q.amount * l.share) FILTER (WHERE c.used < q.amount * l.share) AS next
                     FROM (VALUES ('warning', q.warning_threshold), ('critical', q.critical_threshold), ('exceeded', 1)
                           UNION ALL
                           SELECT trim_scale(t.share * 100) || '%', t.share FROM unnest(q.thresholds) AS t (share)) AS l (level, share)) e
    )
    SELECT jsonb_build_object('quota_id', c.quota_id, 'subject', c.subject, 'period_start', c.period_start, 'used', c.used),
           format('levels {%s}, next at %s', c.expected, coalesce(trim_scale(c.expected_next)::text, 'none')),
           format('levels {%s}, next at %s', c.found, coalesce(trim_scale(c.next_threshold)::text, 'none'))
      FROM compared c
     WHERE (c.found, c.next_threshold) IS DISTINCT FROM (c.expected, c.expected_next);
END;

COMMENT ON FUNCTION _usage_monitor._verify_levels() IS
    'Counters that hold other levels for reached than their usage has, by the limit in force, or wait for another threshold. Those that nobody has used since the limit moved tell at their next use.';

CREATE FUNCTION _usage_monitor._verify_triggers()
RETURNS TABLE (key jsonb, expected text, found text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH wanted AS (
        -- those that follow replicated rows too
        SELECT p.relid::oid AS relid, t.name, 'A' AS state
          FROM pg_partition_tree('usage_monitor.usage') p
         CROSS JOIN (VALUES ('usage_before'), ('usage_after')) AS t (name)
        UNION ALL
        SELECT 'usage_monitor.quota'::regclass, t.name, 'A'
          FROM (VALUES ('quota_made'), ('quota_counts_otherwise'), ('quota_limits_otherwise')) AS t (name)
        UNION ALL
        SELECT c.oid, t.name, t.state
          FROM pg_class c
         CROSS JOIN (VALUES ('invalidate', 'A'), ('invalidate_replicated', 'R')) AS t (name, state)
         WHERE c.relnamespace = 'usage_monitor'::regnamespace
           AND c.relname IN ('setting', 'access', 'price', 'price_rate', 'model_alias', 'provider_alias',
                             'exchange_rate', 'discount', 'usage_field', 'quota')
    ), installed AS (
        SELECT t.tgrelid AS relid, t.tgname::text AS name, t.tgenabled
          FROM pg_trigger t
          JOIN pg_proc f ON f.oid = t.tgfoid
         WHERE f.pronamespace = '_usage_monitor'::regnamespace
    ), state (letter, name) AS (
        VALUES ('A', 'enabled always'), ('O', 'enabled'), ('R', 'enabled for replicas only'), ('D', 'disabled')
    )
    SELECT jsonb_build_object('table', coalesce(w.relid, i.relid)::regclass, 'trigger', coalesce(w.name, i.name)),
           (SELECT s.name FROM state s WHERE s.letter = x.letter),
           coalesce((SELECT s.name FROM state s WHERE s.letter = i.tgenabled::text), 'none')
      FROM wanted w
      FULL JOIN installed i ON i.relid = w.relid AND i.name = w.name
     CROSS JOIN LATERAL (
               SELECT coalesce(w.state, CASE WHEN i.name LIKE 'pass\_over%' THEN 'R' ELSE 'O' END) AS letter) x
     WHERE i.tgenabled::text IS DISTINCT FROM x.letter
       -- others may be enabled always as well
       AND NOT (w.relid IS NULL AND i.tgenabled = 'A');
END;

COMMENT ON FUNCTION _usage_monitor._verify_triggers() IS
    'Triggers that are not enabled as they were installed.';

CREATE FUNCTION usage_monitor.verify()
RETURNS TABLE (what text, key jsonb, expected text, found text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- to compile so many sums takes seconds
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- counters know all rows: against some of them they would be wrong
    IF NOT _usage_monitor._rollups_apply() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'row security hides some of the ledger, so that nothing can be compared with it',
            HINT = 'Call verify() as somebody for whom no policy of table usage holds.';
    END IF;

    -- one statement, so one snapshot: writers may go on meanwhile
    RETURN QUERY
    WITH ledger AS (
        SELECT c.*
          FROM _usage_monitor._expected_counters() c
    ), counter AS (
        SELECT c.*
          FROM _usage_monitor._counter c
          LEFT JOIN _usage_monitor._quota_birth b ON b.quota_id = c.quota_id
               -- one that the transaction is going to make, by the ledger's sum
         WHERE NOT (c.period_start < b.counted_since
                    AND NOT EXISTS (
                            SELECT FROM _usage_monitor._counter_row u
                             WHERE u.quota_id = c.quota_id
                               AND u.subject = c.subject
                               AND u.period_start = c.period_start))
            OR b.counted_since IS NULL
    )
    SELECT 'counter',
           jsonb_build_object(
               'quota_id', coalesce(c.quota_id, l.quota_id),
               'subject', coalesce(c.subject, l.subject),
               'period_start', coalesce(c.period_start, l.period_start)),
           coalesce(l.used, 0)::text,
           c.used::text
      FROM counter c
      FULL JOIN ledger l
        ON l.quota_id = c.quota_id
       AND l.subject = c.subject
       AND l.period_start = c.period_start
      LEFT JOIN _usage_monitor._quota_birth b
        ON b.quota_id = coalesce(c.quota_id, l.quota_id)
     WHERE coalesce(l.used, 0) <> coalesce(c.used, 0)
           -- a period before the quota was made has a counter only once it needs one
       AND (c.quota_id IS NOT NULL OR b.counted_since IS NULL OR l.period_start >= b.counted_since)
    UNION ALL
    SELECT 'counter', r.key, r.expected, r.found
      FROM _usage_monitor._verify_counters() r
    UNION ALL
    SELECT 'alert', r.key, r.expected, r.found
      FROM _usage_monitor._verify_levels() r
    UNION ALL
    SELECT 'trigger', r.key, r.expected, r.found
      FROM _usage_monitor._verify_triggers() r
    UNION ALL
    SELECT 'rollup', r.key, r.expected, r.found
      FROM _usage_monitor._verify_rollups() r
    UNION ALL
    SELECT 'ledger',
           jsonb_build_object('usage_id', u.usage_id, 'ts', u.ts),
           'cost = input_cost + output_cost + other_cost',
           format('%s = %s + %s + %s', u.cost, u.input_cost, u.output_cost, u.other_cost)
      FROM usage_monitor.usage u
     WHERE u.cost IS DISTINCT FROM u.input_cost + u.output_cost + u.other_cost
    UNION ALL
    SELECT 'ledger',
           jsonb_build_object('org', u.org, 'request_id', u.request_id),
           'one row',
           format('%s rows', count(*))
      FROM usage_monitor.usage u
     WHERE u.request_id IS NOT NULL
     GROUP BY u.org, u.request_id
    HAVING count(*) > 1
    UNION ALL
    SELECT 'access', a.key, a.expected, a.found
      FROM _usage_monitor._verify_access() a;
END
$$;

COMMENT ON FUNCTION usage_monitor.verify() IS
    'Compares the counters and the rollups with the ledger, and the ledger with itself: a row for each difference, none if all is well. what: counter, rollup, ledger, alert: levels that a counter holds for reached, or not, against its usage; trigger: one that is not enabled as it was installed, for example after ENABLE TRIGGER ALL; ALTER TABLE ... ENABLE ALWAYS TRIGGER mends it; or access, where who is confined to organisations could see others. Reads the whole ledger several times, and blocks nobody. rebuild_counters() and rebuild_rollups() mend what they can. Error: 42501 row security hides some of the ledger.';
