/*
 * What was used, by whom, when and for how much: views over the rollups and
 * the ledger.
 *
 * All are security_invoker, so that row security on the ledger holds for
 * whoever asks.  They group in the ledger's time zone, not in the session's.
 */

/*
 * The aggregate views differ in what they group by and in nothing else, so
 * the measures are written once.  Each sums up a rollup, as the reader sees
 * it: a condition on a bucket or a dimension is applied before.  The views
 * named ..._usage have each organisation by itself, those named ..._total all
 * together, which is one row where there were as many as organisations.
 *
 * Where a view has just the keys of a rollup, the days that neither tail nor
 * archive add to, mostly all but today, are shown as they are: summing up each
 * row by itself would take longer than to read it.
 *
 * Those that are summed up begin with the latest day, which an index gives, so
 * that the latest rows, or any thousand, are there before all days are summed
 * up; what sums them up once more takes hardly longer for it.
 *
 * A cost, @cost@ here, is what a rollup has, but in a group, where corrections
 * can leave a sum of zero and no call with a cost.
 *
 * Sums are those of _sum(): the rows of a group are few, mostly one, and
 * what sum() sets up for each group costs more than it saves.
 *
 * Sums of tokens are bigint, which every driver knows: beyond it, at some
 * 92,000 calls of 10^14 tokens each, the view raises an error.  Sums of money
 * are numeric, whatever their size.
 */
DO $$
DECLARE
    histogram CONSTANT text := (
        SELECT string_agg(format('#%s#', attname), ', ' ORDER BY attnum)
          FROM pg_attribute
         WHERE attrelid = '_usage_monitor._rollup'::regclass
           AND attname LIKE 'ms\_%');
    measures text;
    measure_names text;
    grouped text;
    ungrouped text;
    rollup_measures CONSTANT text := (SELECT string_agg('r.' || quote_ident(m.name), ', ') FROM _usage_monitor._rollup_measures() m (name));
    is_any CONSTANT text := '_usage_monitor._sum(r.requests) > 0 OR _usage_monitor._sum(r.cost) <> 0';
    view record;
    parts text;
    sums text;
BEGIN
    SELECT string_agg(format('%s AS %s', m.expression, m.name), ', ' ORDER BY m.place),
           string_agg(m.name, ', ' ORDER BY m.place)
      INTO measures, measure_names
      FROM (VALUES
            (1, 'requests', '#requests#'),
            (2, 'successes', '(#requests# - coalesce(#errors#, 0))'),
            (3, 'errors', 'coalesce(#errors#, 0)'),
            (4, 'success_rate', 'round((#requests# - coalesce(#errors#, 0))::numeric / nullif(#requests#, 0), 4)'),
            (5, 'input_tokens', 'CASE WHEN #requests# > coalesce(#unknown_input_requests#, 0) THEN coalesce(#input_tokens#, 0) END'),
            (6, 'output_tokens', 'CASE WHEN #requests# > coalesce(#unknown_output_requests#, 0) THEN coalesce(#output_tokens#, 0) END'),
            (7, 'cache_read_input_tokens', 'coalesce(#cache_read_input_tokens#, 0)'),
            (8, 'cache_creation_input_tokens', 'coalesce(#cache_creation_input_tokens#, 0)'),
            (9, 'reasoning_output_tokens', 'coalesce(#reasoning_output_tokens#, 0)'),
            (10, 'total_tokens', '(coalesce(#input_tokens#, 0) + coalesce(#output_tokens#, 0))'),
            (11, 'input_cost', '@input_cost@'),
            (12, 'output_cost', '@output_cost@'),
            (13, 'other_cost', '@other_cost@'),
            (14, 'cost', '@cost@'),
            (15, 'currency', 'usage_monitor.ledger_currency()'),
            (16, 'avg_duration_ms', 'CASE WHEN #requests# > coalesce(#untimed_requests#, 0)'
                                    ' THEN coalesce(#duration_ms#, 0)::double precision / (#requests# - coalesce(#untimed_requests#, 0))::double precision END'),
            (17, 'p50_duration_ms', format('usage_monitor.duration_percentile(0.5, %s)', histogram)),
            (18, 'p95_duration_ms', format('usage_monitor.duration_percentile(0.95, %s)', histogram)),
            (19, 'p99_duration_ms', format('usage_monitor.duration_percentile(0.99, %s)', histogram)),
            (20, 'unpriced_requests', 'coalesce(#unpriced_requests#, 0)'),
            (21, 'cached_requests', 'coalesce(#cached_requests#, 0)'),
            (22, 'timed_requests', '(#requests# - coalesce(#untimed_requests#, 0))'),
            (23, 'total_duration_ms', 'trim_scale(coalesce(#duration_ms#, 0))')
        ) AS m (place, name, expression);
    ungrouped := regexp_replace(measures, '[#@](\w+)[#@]', 'r.\1', 'g');
    grouped := regexp_replace(measures, '@(\w+)@',
                              'CASE WHEN #requests# > coalesce(#unpriced_requests#, 0) OR #cost# <> 0 THEN coalesce(trim_scale(#\1#), 0) END', 'g');
    grouped := regexp_replace(grouped, '#(\w+)#', '_usage_monitor._sum(r.\1)', 'g');

    FOR view IN
        SELECT v.*,
               v.name LIKE '%\_total' AS is_total,
               concat_ws(', ',
                   CASE v.bucket
                       WHEN 'hour' THEN 'r.hour'
                       WHEN 'day' THEN 'r.day'
                       WHEN 'week' THEN 'date_trunc(''week'', r.day::timestamp)::date'
                       WHEN 'month' THEN 'date_trunc(''month'', r.day::timestamp)::date'
                   END || ' AS ' || v.bucket,
                   v.dimensions) AS keys,
               -- as many as there are keys
               (SELECT string_agg(n::text, ', ')
                  FROM generate_series(1, (v.bucket IS NOT NULL)::int + cardinality(string_to_array(coalesce(v.dimensions, ''), ','))) n) AS places
          FROM (VALUES
            ('hourly_usage', 'hour', true, 'hour', 'r.org', 'Usage by hour and organisation.'),
            ('daily_usage', 'day', true, 'day', 'r.org', 'Usage by day and organisation.'),
            ('weekly_usage', 'day', false, 'week', 'r.org', 'Usage by ISO week and organisation.'),
            ('monthly_usage', 'day', false, 'month', 'r.org', 'Usage by month and organisation.'),
            ('organisation_usage', 'day', true, 'day', 'r.org', 'Usage by day and organisation: daily_usage by the name that one may look for.'),
            ('department_usage', 'project', false, 'day', 'r.org, r.key2 AS department', 'Usage by day, organisation and department.'),
            ('project_usage', 'project', false, 'day', 'r.org, r.key1 AS project', 'Usage by day, organisation and project.'),
            ('user_usage', 'user', true, 'day', 'r.org, r.key1 AS user_id', 'Usage by day, organisation and user.'),
            ('provider_usage', 'model', false, 'day', 'r.org, r.key2 AS provider', 'Usage by day, organisation and provider. Not to be mistaken for the ledger''s column provider_usage.'),
            ('model_usage', 'model', true, 'day', 'r.org, r.key2 AS provider, r.key1 AS model, r.key3 AS resolved_model', 'Usage by day, organisation, provider and model.'),
            ('operation_usage', 'operation', false, 'day', 'r.org, r.key1 AS operation', 'Usage by day, organisation and operation.'),
            ('source_usage', 'operation', false, 'day', 'r.org, r.key2 AS source', 'Usage by day, organisation and source.'),
            ('service_tier_usage', 'operation', false, 'day', 'r.org, r.key3 AS service_tier', 'Usage by day, organisation and service tier.'),
            ('combined_usage', 'combined', true, 'day', 'r.org, r.key1 AS project, r.key2 AS source, r.key3 AS model', 'Usage by day, organisation, project, source and model: for conditions on several of these at once.'),
            ('tag_usage', 'tag', true, 'day', 'r.org, r.key1 AS key, r.key2 AS value', 'Usage by day, organisation and tag. A call counts under each of its tags, and without tags not at all, so its sum is not the ledger''s.'),
            ('hourly_total', 'hour_total', false, 'hour', NULL, 'Usage by hour.'),
            ('daily_total', 'day_total', false, 'day', NULL, 'Usage by day.'),
            ('weekly_total', 'day_total', false, 'week', NULL, 'Usage by ISO week.'),
            ('monthly_total', 'day_total', false, 'month', NULL, 'Usage by month.'),
            ('provider_total', 'model_total', false, 'day', 'r.key2 AS provider', 'Usage by day and provider.'),
            ('model_total', 'model_total', true, 'day', 'r.key2 AS provider, r.key1 AS model, r.key3 AS resolved_model', 'Usage by day, provider and model.'),
            ('operation_total', 'operation_total', false, 'day', 'r.key1 AS operation', 'Usage by day and operation.'),
            ('source_total', 'operation_total', false, 'day', 'r.key2 AS source', 'Usage by day and source.'),
            ('service_tier_total', 'operation_total', false, 'day', 'r.key3 AS service_tier', 'Usage by day and service tier.')
        ) AS v (name, rollup, is_whole, bucket, dimensions, comment)
    LOOP
        -- of keys the columns that they are made of, and below the name that follows the last space or dot
        parts := _usage_monitor._rollup_parts(
            view.rollup,
            (SELECT string_agg(DISTINCT k.name[1], ', ') FROM regexp_matches('r.day, ' || view.keys, '\mr\.\w+', 'g') k (name))
            || ', ' || rollup_measures);
        -- A row of the rollup that nothing is to be added to is a row of the
        -- view; to who is confined to one organisation, of the rollup by
        -- organisation.
        IF view.is_whole THEN
            sums := format('SELECT %1$s, %2$s FROM ('
                           'SELECT %3$s AS is_read, true AS is_rollup, r.day AS rollup_day, %4$s, %5$s FROM _usage_monitor.%6$I r '
                           '%7$sUNION ALL SELECT true, false, NULL, %4$s, %8$s FROM (%9$s) r '
                           'WHERE r.is_read AND (NOT r.is_whole OR r.day = ANY (ARRAY(SELECT o.day FROM _usage_monitor._open_days o))) '
                           'GROUP BY %10$s HAVING %11$s) u '
                           'WHERE u.is_read AND (NOT u.is_rollup OR u.rollup_day NOT IN (SELECT o.day FROM _usage_monitor._open_days o))',
                           regexp_replace(view.keys, '[^,]*[ .](\w+)', ' \1', 'g'),
                           measure_names,
                           CASE WHEN view.is_total THEN '_usage_monitor._confinement() = 0' ELSE 'true' END,
                           view.keys,
                           ungrouped,
                           '_rollup_' || view.rollup,
                           CASE WHEN view.is_total THEN
                               format('UNION ALL SELECT _usage_monitor._confinement() = 1, true, r.day, %s, %s FROM _usage_monitor.%I r ',
                                      view.keys, ungrouped, '_rollup_' || replace(view.rollup, '_total', ''))
                                ELSE '' END,
                           grouped,
                           parts,
                           (SELECT string_agg((p.place::integer + 3)::text, ', ') FROM unnest(string_to_array(view.places, ', ')) p (place)),
                           is_any);
        ELSE
            sums := format('SELECT %s, %s FROM (%s) r WHERE r.is_read GROUP BY %s HAVING %s%s',
                           view.keys, grouped, parts, view.places, is_any,
                           CASE WHEN view.bucket = 'day' THEN ' ORDER BY 1 DESC' ELSE '' END);
        END IF;
        EXECUTE format('CREATE VIEW usage_monitor.%I WITH (security_invoker = true) AS %s', view.name, sums);
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name,
                       view.comment || CASE WHEN view.is_total THEN ' All organisations together.' ELSE '' END);
    END LOOP;

    EXECUTE format($view$
        CREATE VIEW usage_monitor.session_usage WITH (security_invoker = true) AS
        SELECT r.org,
               r.session_id,
               CASE WHEN min(r.user_id) = max(r.user_id) THEN min(r.user_id) END AS user_id,
               min(r.first_ts) AS first_ts,
               max(r.last_ts) AS last_ts,
               %s
          FROM _usage_monitor._live_session r
         GROUP BY r.org, r.session_id
        $view$, grouped);
END
$$;

COMMENT ON VIEW usage_monitor.session_usage IS
    'Usage by organisation and session, over the session''s whole life. Calls outside a session are left out, so its sum is not the ledger''s. It reads the ledger, all of it before the first row unless a session is named: give a condition on session_id.';

/*
 * Each day with usage also stands for the idle days that follow it, until the
 * next one or today: an average over seven rows is then one over seven days.
 * Without a look at the ledger's first day apart, a condition on org reaches
 * the ledger through both windows.  Of a gap of more than a century, which is
 * a mistake in somebody's ts, the first hundred years and the last week are
 * shown: millions of days would take everybody else's time.
 */
DO $$
DECLARE
    view record;
BEGIN
    FOR view IN
        SELECT v.*
          FROM (VALUES
            ('usage_trend', 'daily_usage', 'org, ', 'PARTITION BY org ',
             'Each day since an organisation''s first, idle ones included, against the day before and the average of seven days. A day of which no call is priced has no cost, and its neighbours no change. Of idle days in a row, 36,600 are shown and the last seven.'),
            ('trend_total', 'daily_total', '', '',
             'Each day since the first call, idle ones included, against the day before and the average of seven days: usage_trend of all organisations together.')
        ) AS v (name, source, org, of_org, comment)
    LOOP
        EXECUTE format($view$
            CREATE VIEW usage_monitor.%1$I WITH (security_invoker = true) AS
            SELECT day, %3$s
                   requests,
                   total_tokens,
                   cost,
                   usage_monitor.ledger_currency() AS currency,
                   unpriced_requests,
                   lag(cost) OVER days AS previous_cost,
                   cost - lag(cost) OVER days AS change,
                   round(100.0 * (cost - lag(cost) OVER days) / nullif(lag(cost) OVER days, 0.0), 2) AS change_percentage,
                   avg(cost) OVER week AS average_7d_cost,
                   avg(requests) OVER week AS average_7d_requests
              FROM (
                  SELECT d.day + idle AS day, %3$s
                         CASE idle WHEN 0 THEN d.requests ELSE 0 END AS requests,
                         CASE idle WHEN 0 THEN d.total_tokens ELSE 0 END AS total_tokens,
                         CASE idle WHEN 0 THEN d.cost ELSE 0 END AS cost,
                         CASE idle WHEN 0 THEN d.unpriced_requests ELSE 0 END AS unpriced_requests
                    FROM (
                        SELECT day, %3$s requests, total_tokens, cost, unpriced_requests,
                               lead(day, 1, greatest(day, usage_monitor.ledger_day(now())) + 1) OVER (%4$s ORDER BY day) AS next_day
                          FROM usage_monitor.%2$I
                    ) AS d
                   CROSS JOIN LATERAL (
                        SELECT n + CASE WHEN n >= 36600 THEN greatest(d.next_day - d.day - 1 - 36606, 0) ELSE 0 END AS idle
                          FROM generate_series(0, least(d.next_day - d.day - 1, 36606)) AS n
                   ) AS i
              ) AS every_day
            WINDOW days AS (%4$s ORDER BY day),
                   week AS (days ROWS 6 PRECEDING)
            $view$, view.name, view.source, view.org, view.of_org);
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name, view.comment);
    END LOOP;
END
$$;

CREATE VIEW usage_monitor.unpriced_usage WITH (security_invoker = true) AS
SELECT usage_monitor.ledger_day(ts) AS day,
       org,
       provider,
       model,
       service_tier,
       -- which field it is, and not its value
       CASE WHEN unread IS NULL THEN unpriced_reason
            ELSE regexp_replace(unpriced_reason, '(unread field [^;=]+) = [^;]*', '\1', 'g') END AS unpriced_reason,
       count(*) AS requests,
       sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens,
       min(ts) AS first_ts,
       max(ts) AS last_ts
FROM usage_monitor.usage
WHERE cost IS NULL
GROUP BY 1, 2, 3, 4, 5, 6;

COMMENT ON VIEW usage_monitor.unpriced_usage IS
    'Models with calls that have no cost, because no price was known for them or something of their responses is unread (see unread_fields), by day and organisation; sum up for a model. An index of the ledger finds them; how many there are, model_usage tells faster. Those that drop_usage_before() has archived are in unpriced_requests of archived_partition and of the aggregate views, and not here.';

CREATE VIEW usage_monitor.recent_usage WITH (security_invoker = true) AS
SELECT usage_id, ts, org, department, project, user_id, session_id,
       provider, model, operation, source, service_tier,
       input_tokens, output_tokens, total_tokens, cost, currency, cost_source,
       duration_ms, success, error, cached, tags
FROM usage_monitor.usage
ORDER BY usage_id DESC
LIMIT 100;

COMMENT ON VIEW usage_monitor.recent_usage IS
    'The last 100 calls that were recorded, the latest first. Those of a project, a user or a time, by when they were made: recent_calls().';

SELECT _usage_monitor._describe(
    ARRAY(SELECT c.relname::text
            FROM pg_class c
           WHERE c.relnamespace = 'usage_monitor'::regnamespace
             AND c.relkind = 'v'
             AND c.relname ~ '(_usage|_total|_trend)$'), ARRAY[
    ['hour', 'Start of the hour, in the ledger''s time zone.'],
    ['day', 'Day, in the ledger''s time zone.'],
    ['week', 'The Monday on which the ISO week begins, in the ledger''s time zone.'],
    ['month', 'First day of the month, in the ledger''s time zone.'],
    ['usage_id', 'Number of the call in the ledger.'],
    ['ts', 'When the call was made.'],
    ['first_ts', 'When the first of the calls was made.'],
    ['last_ts', 'When the last of the calls was made.'],
    ['org', 'Organisation.'],
    ['department', 'Department; NULL: calls that name none.'],
    ['project', 'Project; NULL: calls that name none.'],
    ['user_id', 'User; NULL: calls that name none, or a session of several users.'],
    ['session_id', 'Session; NULL: calls outside one.'],
    ['provider', 'Who bills; NULL: calls that name nobody.'],
    ['model', 'Model, as the application wrote it.'],
    ['resolved_model', 'Model, as the price book called it when the calls were recorded.'],
    ['operation', 'Kind of call: chat, embeddings, ...; NULL: calls that name none.'],
    ['source', 'Where the calls came from; NULL: calls that name nothing.'],
    ['service_tier', 'standard, batch, flex, priority, fast or ultrafast.'],
    ['unpriced_reason', 'Why they have no cost: no price, no rate for a meter, no count of one, no exchange rate.'],
    ['key', 'Name of the tag.'],
    ['value', 'Value of the tag, as text.'],
    ['requests', 'Number of calls; corrections do not count.'],
    ['successes', 'Number of calls that succeeded.'],
    ['errors', 'Number of calls that failed.'],
    ['success_rate', 'Successes among requests, from 0 to 1, to four decimals; NULL: no call, but corrections.'],
    ['input_tokens', 'Input tokens, cached and audio ones included. A sum beyond bigint is an error.'],
    ['output_tokens', 'Output tokens, reasoning and audio ones included. A sum beyond bigint is an error.'],
    ['cache_read_input_tokens', 'Input tokens that were read from the provider''s cache.'],
    ['cache_creation_input_tokens', 'Input tokens that were written to the provider''s cache.'],
    ['reasoning_output_tokens', 'Output tokens that were spent on reasoning.'],
    ['total_tokens', 'Input and output tokens. A sum beyond bigint is an error.'],
    ['input_cost', 'Cost of the input, exact; NULL where it is known of no call.'],
    ['output_cost', 'Cost of the output, exact; NULL where it is known of no call.'],
    ['other_cost', 'Cost of everything else, exact; NULL where it is known of no call.'],
    ['cost', 'Cost, exact; NULL where no call is priced. Calls without a price add nothing to it: see unpriced_requests and unpriced_usage.'],
    ['currency', 'ISO 4217 code of the currency of the costs: the ledger''s.'],
    ['cost_source', 'computed, reported or unpriced.'],
    ['avg_duration_ms', 'Average duration in milliseconds of the calls that have one; of several rows: sum(total_duration_ms) / sum(timed_requests).'],
    ['p50_duration_ms', 'Median of the durations in milliseconds, estimated from a histogram: see duration_percentile().'],
    ['p95_duration_ms', '95th percentile of the durations in milliseconds, estimated.'],
    ['p99_duration_ms', '99th percentile of the durations in milliseconds, estimated.'],
    ['unpriced_requests', 'Number of calls without a cost.'],
    ['cached_requests', 'Number of calls answered from the application''s own cache.'],
    ['timed_requests', 'Number of calls that have a duration.'],
    ['total_duration_ms', 'Sum of the durations in milliseconds of the calls that have one, exact.'],
    ['previous_cost', 'Cost of the day before; NULL on the first day.'],
    ['change', 'Cost less that of the day before.'],
    ['change_percentage', 'Change in percent of the day before''s cost, to two decimals; NULL where that is 0.'],
    ['average_7d_cost', 'Average cost of this day and the six before it, of as many as there are; days without a cost are left out.'],
    ['average_7d_requests', 'Average number of calls on this day and the six before it, of as many as there are.'],
    ['duration_ms', 'Duration of the call in milliseconds.'],
    ['success', 'Whether the call succeeded.'],
    ['error', 'Why the call failed.'],
    ['cached', 'Whether the application''s own cache answered.'],
    ['tags', 'The call''s tags, a JSON object.']]);
