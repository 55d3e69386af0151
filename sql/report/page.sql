/*
 * page_data(): what a page of figures shows of some days, in one JSON object.
 *
 * Every figure comes from the rollups, for a page is looked at all day long.
 * A rollup answers what all of its keys are known of; so which one is read
 * depends on the conditions and on what is grouped by, and _page_source()
 * finds the smallest that does.  What none knows (the users of a project, say)
 * is left out, and read from the calls themselves only if that is asked for.
 *
 * Numbers are text with all their digits: what reads JSON may not have so
 * many.
 */
CREATE FUNCTION _usage_monitor._page_source(
    keys text[],
    conditions jsonb,
    first_day date,
    past_day date,
    from_calls boolean,
    OUT source text,
    OUT is_calls boolean
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    measures CONSTANT text := (SELECT string_agg(quote_ident(m.name), ', ') FROM _usage_monitor._rollup_measures() AS m (name));
    needed   CONSTANT text[] := keys || ARRAY(SELECT jsonb_object_keys(conditions));
    columns  jsonb;
    rollup   text;
BEGIN
    -- the smallest first
    SELECT r.rollup, r.columns
      INTO rollup, columns
      FROM (VALUES
            (1, 'day_total', '{}'),
            (2, 'day', '{"org": "org"}'),
            (3, 'operation_total', '{"operation": "key1", "source": "key2"}'),
            (4, 'model_total', '{"model": "key1", "provider": "key2"}'),
            (5, 'operation', '{"org": "org", "operation": "key1", "source": "key2"}'),
            (6, 'model', '{"org": "org", "model": "key1", "provider": "key2"}'),
            (7, 'project', '{"org": "org", "project": "key1", "department": "key2"}'),
            (8, 'combined', '{"org": "org", "project": "key1", "source": "key2", "model": "key3"}'),
            (9, 'user', '{"org": "org", "user": "key1"}')
           ) AS r (place, rollup, columns)
     WHERE r.columns::jsonb ?& needed
     ORDER BY r.place
     LIMIT 1;

    is_calls := rollup IS NULL;
    IF NOT is_calls THEN
        source := format('(SELECT r.day, %s %s FROM _usage_monitor.%I AS r WHERE r.day >= %L AND r.day < %L %s)',
                         (SELECT string_agg(format('r.%I AS %I, ', c.value, c.key), '') FROM jsonb_each_text(columns) AS c),
                         measures, '_live_' || rollup, first_day, past_day,
                         (SELECT string_agg(_usage_monitor._condition(format('r.%I', columns ->> c.key), c.value), '')
                            FROM jsonb_each_text(conditions) AS c));
    ELSIF from_calls THEN
        source := format('(SELECT usage_monitor.ledger_day(c.ts) AS day, c.ts, c.org, c.department, c.project, c.user_id AS "user",
                                  c.provider, c.model, c.operation, c.source, %s
                             FROM _usage_monitor._call AS c WHERE c.ts >= %L AND c.ts < %L %s)',
                         measures, _usage_monitor._day_start(first_day), _usage_monitor._day_start(past_day),
                         (SELECT string_agg(_usage_monitor._condition('c.' || CASE c.key WHEN 'user' THEN 'user_id' ELSE quote_ident(c.key) END, c.value), '')
                            FROM jsonb_each_text(conditions) AS c));
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._page_source(text[], jsonb, date, date, boolean) IS
    'What to select from, in parentheses, for sums by these keys under these conditions of the days from a day on and before another: the smallest rollup that has the keys of all, or the calls; NULL: no rollup, and not from calls.';

CREATE FUNCTION _usage_monitor._page_parts(source text, kinds text[], "limit" integer, whole numeric) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    -- many rows are not to be sorted for some hundred groups
    SET enable_sort = off
AS $$
DECLARE
    result jsonb;
    -- those of two organisations that have the same name are never one
    keys   CONSTANT jsonb := '{"user": ["org", "user"], "project": ["org", "project"], "department": ["org", "department"],
                               "model": ["provider", "model"], "operation": ["operation"], "source": ["source"], "org": ["org"]}';
    has_provider CONSTANT boolean := source ~ '(AS "?|c[.])provider';
BEGIN
    EXECUTE format($query$
        WITH fine AS MATERIALIZED (
            SELECT %7$s,
                   sum(s.requests) AS requests, sum(s.errors) AS errors, sum(s.input_tokens) AS input_tokens, sum(s.output_tokens) AS output_tokens,
                   sum(s.cost) AS cost, sum(s.unpriced_requests) AS unpriced_requests
              FROM %5$s AS s
             GROUP BY %7$s
        ), part AS (
            SELECT %1$s AS kind, %2$s AS name, %3$s AS org, %4$s AS provider,
                   sum(s.requests)::bigint AS requests,
                   coalesce(sum(s.errors), 0)::bigint AS errors,
                   (coalesce(sum(s.input_tokens), 0) + coalesce(sum(s.output_tokens), 0))::bigint AS total_tokens,
                   CASE WHEN sum(s.requests) > coalesce(sum(s.unpriced_requests), 0) OR sum(s.cost) <> 0 THEN coalesce(trim_scale(sum(s.cost)), 0) END AS cost,
                   coalesce(sum(s.unpriced_requests), 0)::bigint AS unpriced_requests
              FROM fine AS s
             GROUP BY GROUPING SETS (%6$s)
            HAVING sum(s.requests) > 0 OR sum(s.cost) <> 0
        ), ranked AS (
            SELECT p.*, row_number() OVER (PARTITION BY p.kind ORDER BY p.cost DESC NULLS LAST, p.requests DESC, p.org, p.name, p.provider) AS place
              FROM part AS p
        )
        SELECT jsonb_object_agg(k.kind, k.part)
          FROM (
              SELECT n.kind, jsonb_build_object(
                         'listed', coalesce(jsonb_agg(jsonb_build_object(
                             'name', r.name, 'org', r.org, 'provider', r.provider,
                             'requests', r.requests::text, 'errors', r.errors::text, 'total_tokens', r.total_tokens::text,
                             'cost', r.cost::text, 'unpriced_requests', r.unpriced_requests::text,
                             'cost_percentage', round(100 * r.cost / nullif($2, 0), 2)::text) ORDER BY r.place) FILTER (WHERE r.place <= $1), '[]'),
                         'others', count(*) FILTER (WHERE r.place > $1),
                         'others_cost', trim_scale(coalesce(sum(r.cost) FILTER (WHERE r.place > $1), 0))::text) AS part
                FROM unnest($3) AS n (kind)
                LEFT JOIN ranked AS r ON r.kind = n.kind
               GROUP BY n.kind) AS k
        $query$,
        -- one query may group by several: which of them a row is of, tells grouping()
        CASE WHEN cardinality(kinds) = 1 THEN quote_literal(kinds[1])
             ELSE 'CASE ' || (SELECT string_agg(format('WHEN grouping(s.%I) = 0 THEN %L', k, k), ' '
                                                ORDER BY k = 'org') FROM unnest(kinds) AS k) || ' END' END,
        CASE WHEN cardinality(kinds) = 1 THEN format('s.%I::text', kinds[1])
             ELSE 'CASE ' || (SELECT string_agg(format('WHEN grouping(s.%1$I) = 0 THEN s.%1$I', k), ' '
                                                ORDER BY k = 'org') FROM unnest(kinds) AS k) || ' END' END,
        CASE WHEN kinds && '{user,project,department,org}' THEN 's.org::text' ELSE 'NULL::text' END,
        CASE WHEN 'model' = ANY (kinds) AND has_provider THEN 's.provider::text' ELSE 'NULL::text' END,
        source,
        (SELECT string_agg('(' || (SELECT string_agg(format('s.%I', c), ', ')
                                     FROM jsonb_array_elements_text(keys -> k) AS c
                                    WHERE c <> 'provider' OR has_provider) || ')', ', ')
           FROM unnest(kinds) AS k),
        -- by all of them first, which is few rows: these are read for each
        (SELECT string_agg(DISTINCT format('s.%I', c), ', ')
           FROM unnest(kinds) AS k, jsonb_array_elements_text(keys -> k) AS c
          WHERE c <> 'provider' OR has_provider))
       INTO result
      USING "limit", whole, kinds;
    RETURN result;
END
$$;

COMMENT ON FUNCTION _usage_monitor._page_parts(text, text[], integer, numeric) IS
    'The dearest users, projects, ... of a _page_source(), and how many others there are.';

CREATE FUNCTION _usage_monitor._page_quotas(org text, "limit" integer) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    -- of all there are, which may be one for each user, no more than it takes to find those that are listed
    WITH status AS MATERIALIZED (
        SELECT s.quota_id, s.name, s.scope, s.subject, s.org, s.metric, s.period, s.period_start, s.period_end, s.amount, s.used, s.reserved,
               s.percentage, s.state
          FROM usage_monitor.quota_status AS s
         WHERE _page_quotas.org IS NULL OR s.org = _page_quotas.org
    ), listed AS (
        SELECT s.*
          FROM status AS s
         ORDER BY s.scope NOT IN ('all', 'org'), s.percentage DESC, s.name, s.subject COLLATE "C"
         LIMIT _page_quotas."limit"
    )
    SELECT jsonb_build_object(
               'count', count(*),
               'warning', count(*) FILTER (WHERE s.state = 'warning'),
               'critical', count(*) FILTER (WHERE s.state = 'critical'),
               'exceeded', count(*) FILTER (WHERE s.state = 'exceeded'),
               'listed', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                     'quota_id', l.quota_id, 'name', l.name, 'scope', l.scope, 'subject', l.subject, 'org', l.org, 'metric', l.metric,
                                     'period', l.period, 'amount', l.amount::text, 'used', l.used::text, 'reserved', l.reserved::text,
                                     'percentage', l.percentage::text,
                                     'projected', _usage_monitor._projected(l.period, l.period_start, l.period_end, l.used)::text,
                                     'state', l.state, 'enforcement', q.enforcement,
                                     'warning_threshold', q.warning_threshold::text, 'critical_threshold', q.critical_threshold::text,
                                     'period_end', CASE WHEN isfinite(l.period_end) THEN l.period_end END,
                                     'runs_out_at', _usage_monitor._runs_out_at(l.period, l.period_start, l.period_end, l.amount, l.used))
                                                       ORDER BY l.scope NOT IN ('all', 'org'), l.percentage DESC, l.name, l.subject COLLATE "C"), '[]')
                            FROM listed AS l
                            JOIN usage_monitor.quota AS q ON q.quota_id = l.quota_id))
      FROM status AS s;
END;

COMMENT ON FUNCTION _usage_monitor._page_quotas(text, integer) IS 'How the quotas stand: of everything and organisations first, then by how much is used.';

/*
 * Warning, critical and exceeded of one quota, subject and period are one
 * matter, and so is a model without a price on many days.
 */
CREATE FUNCTION _usage_monitor._page_alerts(org text, "limit" integer) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH active AS MATERIALIZED (
        SELECT a.*,
               sum(a.occurrences) OVER matter AS times,
               array_agg(a.alert_id) OVER (matter ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS alert_ids,
               row_number() OVER (matter ORDER BY array_position('{exceeded,critical,warning,info}', a.level) NULLS LAST, a.raised_at DESC, a.alert_id DESC) AS n
          FROM usage_monitor.active_alert AS a
         WHERE _page_alerts.org IS NULL OR a.org = _page_alerts.org
        WINDOW matter AS (PARTITION BY CASE WHEN a.quota_id IS NOT NULL THEN 'quota' ELSE a.alert_type END, a.quota_id, a.subject,
                                       CASE WHEN a.alert_type <> 'unpriced' THEN a.period_start END)
    ), matter AS MATERIALIZED (
        SELECT a.*,
               -- a quota's days may be those of another zone
               CASE WHEN isfinite(a.period_start) THEN (a.period_start AT TIME ZONE coalesce(q.time_zone, usage_monitor.ledger_time_zone()))::date END AS first_day,
               row_number() OVER (ORDER BY (a.level IN ('critical', 'exceeded')) DESC, a.raised_at DESC, a.alert_id DESC) AS place
          FROM active AS a
          LEFT JOIN usage_monitor.quota AS q ON q.quota_id = a.quota_id
         WHERE a.n = 1
    )
    SELECT jsonb_build_object(
               'count', (SELECT count(*) FROM active),
               'severe', (SELECT count(*) FROM active AS a WHERE a.level IN ('critical', 'exceeded')),
               'acknowledged', (SELECT count(*) FROM active AS a WHERE a.state = 'acknowledged'),
               'matters', (SELECT count(*) FROM matter),
               'listed', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                     'alert_ids', m.alert_ids, 'alert_type', m.alert_type, 'level', m.level, 'state', m.state, 'acknowledged_by', m.acknowledged_by,
                                     'quota', m.quota, 'scope', m.scope, 'subject', m.subject, 'org', m.org, 'metric', m.metric, 'period', m.period,
                                     'period_start', m.first_day,
                                     'used', m.used::text, 'amount', m.amount::text, 'message', m.message, 'details', m.details,
                                     'raised_at', m.raised_at, 'times', m.times) ORDER BY m.place), '[]')
                            FROM matter AS m
                           WHERE m.place <= _page_alerts."limit"));
END;

COMMENT ON FUNCTION _usage_monitor._page_alerts(text, integer) IS 'Alerts that nobody has resolved, by what they are about.';

CREATE FUNCTION usage_monitor.page_data(
    "from" date,
    "to" date,
    org text DEFAULT NULL,
    department text DEFAULT NULL,
    project text DEFAULT NULL,
    user_id text DEFAULT NULL,
    source text DEFAULT NULL,
    model text DEFAULT NULL,
    "limit" integer DEFAULT 10,
    from_calls boolean DEFAULT false
) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET jit = off
AS $$
DECLARE
    zone        CONSTANT text := usage_monitor.ledger_time_zone();
    today       CONSTANT date := usage_monitor.ledger_day(now());
    month       CONSTANT date := date_trunc('month', today::timestamp)::date;
    last_month  CONSTANT date := (month - interval '1 month')::date;
    conditions  CONSTANT jsonb := jsonb_strip_nulls(jsonb_build_object(
        'org', org, 'department', department, 'project', project, 'user', user_id, 'source', source, 'model', model));
    finer       CONSTANT boolean := conditions - 'org' <> '{}';
    of_scope    CONSTANT text := CASE WHEN conditions = '{}' THEN 'all'
                                      WHEN NOT finer THEN 'org'
                                      WHEN conditions - 'model' = '{}' THEN 'model' END;
    -- the days shown have begun
    past_day    date;
    before_from date;
    read_from   date;
    found       record;
    days        jsonb;
    sums        jsonb;
    whole       numeric;
    stack       jsonb;
    hours       jsonb;
    pattern     jsonb;
    parts       jsonb := '{}';
    by_source   jsonb := '{}';
    rollup      record;
    missing     text[] := '{}';
    durations   jsonb;
    cache       jsonb;
    forecast    jsonb;
    unpriced    jsonb;
    kind        text;
BEGIN
    PERFORM _usage_monitor._check_days("from", "to");
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 1000, 'It is how many users, projects, models, ... are listed.');
    IF "from" = "to" OR "to" - "from" > 1100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('a page must have from 1 to 1100 days, but from %s to %s there are %s', "from", "to", "to" - "from"),
            HINT = 'Give as "to" the day after the last one.';
    END IF;
    past_day := greatest(least("to", today + 1), "from");
    before_from := "from" - ("to" - "from");
    -- for the comparisons, and the average of seven days
    read_from := least("from" - 6, before_from, last_month);

    /* Every day, and what is compared: one reading. */
    found := _usage_monitor._page_source('{}', conditions, read_from, greatest("to", today + 1), from_calls);
    IF found.source IS NOT NULL THEN
        EXECUTE format($query$
            WITH used AS MATERIALIZED (
                SELECT s.day,
                       sum(s.requests)::bigint AS requests,
                       coalesce(sum(s.errors), 0)::bigint AS errors,
                       coalesce(sum(s.input_tokens), 0)::bigint AS input_tokens,
                       coalesce(sum(s.output_tokens), 0)::bigint AS output_tokens,
                       coalesce(sum(s.cache_read_input_tokens), 0)::bigint AS cache_read_input_tokens,
                       coalesce(sum(s.cost), 0) AS cost,
                       coalesce(sum(s.unpriced_requests), 0)::bigint AS unpriced_requests,
                       coalesce(sum(s.cached_requests), 0)::bigint AS cached_requests
                  FROM %s AS s
                 GROUP BY s.day
                HAVING sum(s.requests) > 0 OR sum(s.cost) <> 0
            ), every_day AS (
                SELECT d.day::date AS day, coalesce(u.requests, 0) AS requests, coalesce(u.errors, 0) AS errors,
                       coalesce(u.input_tokens + u.output_tokens, 0) AS total_tokens, coalesce(u.cost, 0) AS cost,
                       -- days before the first call are no idle ones
                       avg(coalesce(u.cost, 0)) FILTER (WHERE d.day >= f.day) OVER (ORDER BY d.day ROWS 6 PRECEDING) AS average,
                       d.day >= f.day AS has_past
                  FROM generate_series($1::timestamp - interval '6 days', $2::timestamp - interval '1 day', interval '1 day') AS d (day)
                 CROSS JOIN (SELECT min(u.day) AS day FROM used AS u) AS f
                  LEFT JOIN used AS u ON u.day = d.day
            ), part AS (
                SELECT n.name, sum(u.requests) AS requests, sum(u.errors) AS errors, sum(u.input_tokens) AS input_tokens, sum(u.output_tokens) AS output_tokens,
                       sum(u.cache_read_input_tokens) AS cache_read_input_tokens, sum(u.cost) AS cost,
                       sum(u.unpriced_requests) AS unpriced_requests, sum(u.cached_requests) AS cached_requests, min(u.day) AS first_day
                  FROM (VALUES ('today', $3, $3 + 1), ('yesterday', $3 - 1, $3), ('total', $1, $2), ('before', $4, $1),
                               ('month', $5, $3 + 1), ('last_month', $6, $5),
                               -- whole days: hours are not known under every condition
                               ('month_to_date', $5, $3), ('last_month_to_date', $6, least($6 + ($3 - $5), $5))) AS n (name, first, past)
                  LEFT JOIN used AS u ON u.day >= n.first AND u.day < n.past
                 GROUP BY n.name
            )
            SELECT (SELECT jsonb_agg(jsonb_build_object(
                               'day', e.day, 'requests', e.requests::text, 'errors', e.errors::text, 'total_tokens', e.total_tokens::text,
                               'cost', trim_scale(e.cost)::text,
                               'average_7d_cost', CASE WHEN e.has_past THEN trim_scale(round(e.average, 12))::text END) ORDER BY e.day)
                      FROM every_day AS e
                     WHERE e.day >= $1),
                   (SELECT jsonb_object_agg(p.name, jsonb_build_object(
                               'requests', coalesce(p.requests, 0)::text, 'errors', coalesce(p.errors, 0)::text,
                               'input_tokens', coalesce(p.input_tokens, 0)::text, 'output_tokens', coalesce(p.output_tokens, 0)::text,
                               'total_tokens', coalesce(p.input_tokens + p.output_tokens, 0)::text,
                               'cache_read_input_tokens', coalesce(p.cache_read_input_tokens, 0)::text,
                               'cost', trim_scale(coalesce(p.cost, 0))::text,
                               'unpriced_requests', coalesce(p.unpriced_requests, 0)::text,
                               'cached_requests', coalesce(p.cached_requests, 0)::text,
                               'first_day', p.first_day))
                      FROM part AS p),
                   (SELECT p.cost FROM part AS p WHERE p.name = 'total')
            $query$, found.source)
           INTO days, sums, whole
          USING "from", past_day, today, before_from, month, last_month;
    END IF;

    /* The days by model: the six dearest, and the others together.  And models with calls that have no price. */
    found := _usage_monitor._page_source('{model}', conditions, "from", past_day, from_calls);
    IF found.source IS NOT NULL THEN
        EXECUTE format($query$
            WITH used AS MATERIALIZED (
                SELECT s.day, s.model, sum(s.cost) AS cost, sum(s.unpriced_requests) AS unpriced_requests
                  FROM %s AS s
                 GROUP BY s.day, s.model
            ), dearest AS (
                SELECT u.model, row_number() OVER (ORDER BY sum(u.cost) DESC NULLS LAST, u.model) AS place
                  FROM used AS u
                 GROUP BY u.model
            ), cell AS (
                SELECT u.day, least(d.place, 7) AS place, sum(u.cost) AS cost
                  FROM used AS u
                  JOIN dearest AS d ON d.model = u.model
                 GROUP BY u.day, least(d.place, 7)
            ), unpriced AS (
                SELECT u.model, sum(u.unpriced_requests)::bigint AS requests,
                       row_number() OVER (ORDER BY sum(u.unpriced_requests) DESC, u.model) AS place
                  FROM used AS u
                 GROUP BY u.model
                HAVING sum(u.unpriced_requests) > 0
            )
            SELECT jsonb_build_object(
                       'models', (SELECT coalesce(jsonb_agg(d.model ORDER BY d.place), '[]') FROM dearest AS d WHERE d.place <= 6),
                       'others', (SELECT greatest(count(*) - 6, 0) FROM dearest),
                       -- a list for each day, as in days: of each model, and the others
                       'costs', (SELECT coalesce(jsonb_agg(r.costs ORDER BY r.day), '[]')
                                   FROM (SELECT d.day, jsonb_agg(trim_scale(coalesce(c.cost, 0))::text ORDER BY p.place) AS costs
                                           FROM generate_series($1::timestamp, $2::timestamp - interval '1 day', interval '1 day') AS d (day)
                                          CROSS JOIN generate_series(1, 7) AS p (place)
                                           LEFT JOIN cell AS c ON c.day = d.day AND c.place = p.place
                                          GROUP BY d.day) AS r)),
                   (SELECT jsonb_build_object('requests', coalesce(sum(u.requests), 0)::text,
                                              'models', coalesce(jsonb_agg(jsonb_build_object('model', u.model, 'requests', u.requests::text) ORDER BY u.place)
                                                                 FILTER (WHERE u.place <= $3), '[]'),
                                              'others', count(*) FILTER (WHERE u.place > $3))
                      FROM unpriced AS u)
            $query$, found.source)
           INTO stack, unpriced
          USING "from", past_day, "limit";
    END IF;

    /* Where it goes. */
    FOREACH kind IN ARRAY '{user,project,department,model,operation,source,org}'::text[] LOOP
        -- users are many, and without other conditions found by less
        IF kind = 'user' AND NOT finer THEN
            SELECT parts || jsonb_build_object('user', jsonb_build_object(
                       'listed', coalesce(jsonb_agg(jsonb_build_object(
                           'name', u.name, 'org', u.org, 'provider', NULL, 'requests', u.requests::text, 'errors', u.errors::text,
                           'total_tokens', u.total_tokens::text, 'cost', trim_scale(u.cost)::text, 'unpriced_requests', u.unpriced_requests::text,
                           'cost_percentage', u.cost_percentage::text) ORDER BY u.n) FILTER (WHERE u.others IS NULL), '[]'),
                       'others', coalesce(max(u.others), 0),
                       'others_cost', trim_scale(coalesce(max(u.cost) FILTER (WHERE u.others IS NOT NULL), 0))::text))
              INTO parts
              FROM usage_monitor.usage_between(_usage_monitor._day_start("from"), _usage_monitor._day_start(past_day),
                                               'user', org, "limit") WITH ORDINALITY AS u (
                       period, period_start, period_end, org, provider, key, name, requests, successes, errors, success_rate, input_tokens,
                       output_tokens, cache_read_input_tokens, cache_creation_input_tokens, reasoning_output_tokens, total_tokens, input_cost,
                       output_cost, other_cost, cost, cost_percentage, currency, avg_duration_ms, unpriced_requests, cached_requests, others, n);
            CONTINUE;
        END IF;
        found := _usage_monitor._page_source(
            CASE WHEN kind IN ('user', 'project', 'department') THEN ARRAY['org', kind]
                 WHEN kind = 'model' AND conditions - '{org,model}'::text[] = '{}' THEN ARRAY['model', 'provider']
                 ELSE ARRAY[kind] END,
            conditions, "from", past_day, false);
        IF found.source IS NULL THEN
            missing := missing || kind;
        ELSE
            by_source := by_source || jsonb_build_object(found.source, coalesce(by_source -> found.source, '[]') || to_jsonb(kind));
        END IF;
    END LOOP;
    -- one reading for all that a rollup knows
    FOR rollup IN SELECT b.key AS source, ARRAY(SELECT jsonb_array_elements_text(b.value)) AS kinds FROM jsonb_each(by_source) AS b LOOP
        parts := parts || _usage_monitor._page_parts(rollup.source, rollup.kinds, "limit", whole);
    END LOOP;

    -- one reading of the calls for all that no rollup knows
    IF from_calls AND missing <> '{}' THEN
        found := _usage_monitor._page_source('{calls}', conditions, "from", past_day, true);
        parts := parts || _usage_monitor._page_parts(found.source, missing, "limit", whole);
    END IF;

    /* When: hours are known of organisations. */
    IF NOT finer THEN
        pattern := (SELECT jsonb_agg(jsonb_build_object('weekday', p.weekday, 'hour', p.hour_of_day, 'requests', p.requests::text, 'cost', p.cost::text))
                      FROM usage_monitor.pattern_between("from", past_day, org) AS p
                     WHERE p.requests > 0);
        IF "to" - "from" = 1 THEN
            hours := (SELECT coalesce(jsonb_agg(jsonb_build_object('hour', extract(hour FROM h.period_start AT TIME ZONE zone),
                                                                   'requests', h.requests::text, 'errors', h.errors::text, 'cost', h.cost::text)), '[]')
                        FROM usage_monitor.usage_between(_usage_monitor._day_start("from"), _usage_monitor._day_start("to"), 'hour', org) AS h);
        END IF;
    ELSIF from_calls THEN
        found := _usage_monitor._page_source('{calls}', conditions, "from", past_day, true);
        EXECUTE format($query$
            SELECT jsonb_agg(jsonb_build_object('weekday', u.weekday, 'hour', u.hour, 'requests', u.requests::text, 'errors', u.errors::text,
                                                'cost', trim_scale(coalesce(u.cost, 0))::text) ORDER BY u.weekday, u.hour)
              FROM (SELECT extract(isodow FROM s.ts AT TIME ZONE $1)::integer AS weekday, extract(hour FROM s.ts AT TIME ZONE $1)::integer AS hour,
                           sum(s.requests) AS requests, coalesce(sum(s.errors), 0) AS errors, sum(s.cost) AS cost
                      FROM %s AS s
                     GROUP BY 1, 2) AS u
            $query$, found.source)
           INTO pattern
          USING zone;
        hours := CASE WHEN "to" - "from" = 1 THEN coalesce(pattern, '[]') END;
    END IF;

    /* How long calls took. */
    found := _usage_monitor._page_source('{}', conditions, "from", past_day, from_calls);
    IF found.source IS NOT NULL THEN
        EXECUTE format($query$
            SELECT jsonb_build_object('bounds_ms', _usage_monitor._duration_bounds(), 'histogram', s.histogram,
                                      'p50', usage_monitor.duration_percentile(0.5, VARIADIC s.histogram),
                                      'p95', usage_monitor.duration_percentile(0.95, VARIADIC s.histogram),
                                      'p99', usage_monitor.duration_percentile(0.99, VARIADIC s.histogram))
              FROM (SELECT ARRAY[%s] AS histogram FROM %s AS s) AS s
            $query$,
            (SELECT string_agg(format('coalesce(sum(s.%I), 0)::bigint', m.name), ', ' ORDER BY m.place)
               FROM _usage_monitor._rollup_measures() WITH ORDINALITY AS m (name, place)
              WHERE m.name LIKE 'ms\_%'),
            found.source)
           INTO durations;
    END IF;

    /* What caches saved is estimated by day, organisation and model. */
    IF conditions - '{org,model}'::text[] = '{}' THEN
        SELECT jsonb_build_object('provider', s.provider::text, 'premium', s.premium::text, 'application', s.application::text,
                                  'net', (s.provider + s.application - s.premium)::text)
          INTO cache
          FROM _usage_monitor._cache_savings("from", past_day, org, model) AS s;
    END IF;

    /* What is to come. */
    IF of_scope IS NOT NULL THEN
        SELECT jsonb_build_object(
                   'month', f.month, 'month_to_date', f.month_to_date::text, 'days_left', f.days_left, 'forecast', f.forecast::text,
                   'lower_bound', f.lower_bound::text, 'upper_bound', f.upper_bound::text, 'confidence', f.confidence, 'history_days', f.history_days,
                   'days', (SELECT jsonb_agg(jsonb_build_object('day', d.day, 'cost', d.cost::text, 'lower_bound', d.lower_bound::text, 'upper_bound', d.upper_bound::text)
                                             ORDER BY d.day)
                              FROM usage_monitor.forecast_days(now(), of_scope, f.subject) AS d
                             WHERE d.provider IS NOT DISTINCT FROM f.provider))
          INTO forecast
          FROM usage_monitor.forecast(now(), of_scope) AS f
         WHERE f.subject IS NOT DISTINCT FROM CASE of_scope WHEN 'org' THEN page_data.org WHEN 'model' THEN page_data.model END
         -- a model that several provide: the one that costs most
         ORDER BY f.month_to_date DESC
         LIMIT 1;
    END IF;

    RETURN jsonb_build_object(
        'meta', jsonb_build_object(
            'generated_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'today', today,
            'time_zone', zone,
            'currency', usage_monitor.ledger_currency(),
            'details_since', usage_monitor.ledger_day(usage_monitor.details_since()),
            'first_day', (SELECT min(d.day) FROM usage_monitor.daily_total AS d),
            'version', (SELECT x.extversion FROM pg_extension AS x WHERE x.extname = 'usage_monitor')),
        'filters', conditions,
        'first_day', "from",
        'last_day', "to" - 1,
        'from_calls', from_calls,
        'missing', CASE WHEN from_calls THEN '{}'
                        ELSE missing || CASE WHEN finer THEN '{pattern}'::text[] ELSE '{}' END || CASE WHEN sums IS NULL THEN '{sums}'::text[] ELSE '{}' END END,
        'sums', sums,
        'month_to_date', CASE WHEN NOT finer THEN
            _usage_monitor._to_date_json('month', _usage_monitor._day_start(month), _usage_monitor._day_start((month + interval '1 month')::date), org)
            - 'change' END,
        'days', days,
        'stack', stack,
        'hours', hours,
        'pattern', coalesce(pattern, CASE WHEN from_calls OR NOT finer THEN '[]'::jsonb END),
        'parts', parts,
        'durations', durations,
        'cache', cache,
        'forecast', forecast,
        'anomalies', CASE WHEN NOT finer THEN
            (SELECT coalesce(jsonb_agg(jsonb_build_object('day', a.day, 'cost', a.cost::text, 'expected', round(a.expected, 12)::text, 'severity', a.severity) ORDER BY a.day), '[]')
               FROM _usage_monitor._anomalous_days("from", 2, 7, array_remove(ARRAY[org], NULL), org IS NULL) AS a
              WHERE a.day < "to" AND a.cost > a.expected) END,
        'quotas', _usage_monitor._page_quotas(org, 2 * "limit"),
        'alerts', _usage_monitor._page_alerts(org, "limit"),
        'unpriced', unpriced);
END
$$;

COMMENT ON FUNCTION usage_monitor.page_data(date, date, text, text, text, text, text, text, integer, boolean) IS
    'What a page shows of the days from a day on and before another, in one snapshot, as JSON: of everything, or of an organisation, a department, a project, a user, a source, a model, or several of these at once ('''': calls that name none). Sums of today, yesterday, the range and as many days before it, of this month and the last; days with their 7-day average, by model; users, projects, departments, models, operations, sources and organisations, the dearest of each ("limit") and how many others; weekdays and hours; durations; what caches saved; forecast with its days; anomalous days; quotas and alerts as they stand; models without a price. Numbers are text with all their digits. It reads rollups; what none has under such conditions is null and named in missing, unless from_calls says to read the calls for it, which takes longer. Errors: UM001 for no range of 1 to 1100 days, or a limit outside 1 to 1000.';

CREATE FUNCTION usage_monitor.known_names(
    kind text,
    containing text DEFAULT NULL,
    "limit" integer DEFAULT 50,
    org text DEFAULT NULL,
    days integer DEFAULT 90
) RETURNS TABLE (name text, requests bigint, cost numeric)
    LANGUAGE plpgsql STABLE ROWS 50
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    today CONSTANT date := usage_monitor.ledger_day(now());
    found record;
BEGIN
    IF kind IS NULL OR kind NOT IN ('org', 'department', 'project', 'user', 'source', 'model', 'operation') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "kind" must be a known kind of names, but is %s', coalesce('"' || kind || '"', 'NULL')),
            HINT = 'Kinds are org, department, project, user, source, model and operation.';
    END IF;
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 1000, 'It is how many names are listed.');
    PERFORM _usage_monitor._check_count('days', days, 1, 36600, '1 is today alone, 90 is today and the 89 days before it.');

    found := _usage_monitor._page_source(ARRAY[kind], jsonb_strip_nulls(jsonb_build_object('org', org)), today - days + 1, today + 1, false);
    RETURN QUERY EXECUTE format('
        SELECT s.%1$I::text, sum(s.requests)::bigint,
               CASE WHEN sum(s.requests) > coalesce(sum(s.unpriced_requests), 0) OR sum(s.cost) <> 0 THEN coalesce(trim_scale(sum(s.cost)), 0) END AS cost
          FROM %2$s AS s
         WHERE s.%1$I IS NOT NULL
           AND ($1 IS NULL OR strpos(lower(s.%1$I), lower($1)) > 0)
         GROUP BY s.%1$I
        HAVING sum(s.requests) > 0 OR sum(s.cost) <> 0
         ORDER BY cost DESC NULLS LAST, 2 DESC, 1
         LIMIT $2', kind, found.source)
    USING containing, "limit";
END
$$;

COMMENT ON FUNCTION usage_monitor.known_names(text, text, integer, text, integer) IS
    'The names of that kind (org, department, project, user, source, model or operation) that calls of the last days have, today included; those that contain a text, in whatever case; of one organisation, or of all; the dearest first. Errors: UM008 unknown kind, UM001 for a limit outside 1 to 1000, or days outside 1 to 36600.';
