/*
 * What was used, by whom, when and for how much: views over the ledger.
 *
 * All are security_invoker, so that row security on the ledger holds for
 * whoever asks.  They group in the ledger's time zone, not in the session's.
 */

/*
 * The aggregate views differ in what they group by and in nothing else, so
 * the measures are written once.  Each view is a plain GROUP BY over the
 * ledger: a condition on a bucket or a dimension is applied to the ledger's
 * rows before they are summed.
 *
 * Sums of tokens are bigint, which every driver knows: beyond it, at some
 * 92,000 calls of 10^14 tokens each, the view raises an error.  Sums of money
 * are numeric, whatever their size.
 */
DO $$
DECLARE
    measures CONSTANT text := $measures$
        count(*) AS requests,
        count(*) FILTER (WHERE success) AS successes,
        count(*) FILTER (WHERE NOT success) AS errors,
        round(count(*) FILTER (WHERE success)::numeric / count(*)::numeric, 4) AS success_rate,
        sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens,
        sum(cache_read_input_tokens)::bigint AS cache_read_input_tokens,
        sum(cache_creation_input_tokens)::bigint AS cache_creation_input_tokens,
        sum(reasoning_output_tokens)::bigint AS reasoning_output_tokens,
        sum(total_tokens)::bigint AS total_tokens,
        sum(input_cost) AS input_cost,
        sum(output_cost) AS output_cost,
        sum(other_cost) AS other_cost,
        sum(cost) AS cost,
        usage_monitor.ledger_currency() AS currency,
        avg(duration_ms) AS avg_duration_ms,
        count(*) FILTER (WHERE cost IS NULL) AS unpriced_requests,
        count(*) FILTER (WHERE cached) AS cached_requests
    $measures$;
    view record;
BEGIN
    FOR view IN
        SELECT v.name,
               concat_ws(', ', b.expression || ' AS ' || b.name, v.dimensions, v.details, measures) AS columns,
               concat_ws(' ', 'usage_monitor.usage', v.source) AS source,
               concat_ws(', ', b.expression, v.dimensions) AS keys,
               v.comment
        FROM (VALUES
            ('hourly_usage', 'hour', 'org', NULL, NULL,
             'Usage by hour and organisation.'),
            ('daily_usage', 'day', 'org', NULL, NULL,
             'Usage by day and organisation.'),
            ('weekly_usage', 'week', 'org', NULL, NULL,
             'Usage by ISO week and organisation.'),
            ('monthly_usage', 'month', 'org', NULL, NULL,
             'Usage by month and organisation.'),
            ('department_usage', 'day', 'org, department', NULL, NULL,
             'Usage by day, organisation and department.'),
            ('project_usage', 'day', 'org, project', NULL, NULL,
             'Usage by day, organisation and project.'),
            ('user_usage', 'day', 'org, user_id', NULL, NULL,
             'Usage by day, organisation and user.'),
            ('provider_usage', 'day', 'org, provider', NULL, NULL,
             'Usage by day, organisation and provider. Not to be mistaken for the ledger''s column provider_usage.'),
            ('model_usage', 'day', 'org, provider, model', NULL, NULL,
             'Usage by day, organisation, provider and model.'),
            ('operation_usage', 'day', 'org, operation', NULL, NULL,
             'Usage by day, organisation and operation.'),
            ('source_usage', 'day', 'org, source', NULL, NULL,
             'Usage by day, organisation and source.'),
            ('service_tier_usage', 'day', 'org, service_tier', NULL, NULL,
             'Usage by day, organisation and service tier.'),
            ('session_usage', NULL, 'org, session_id',
             'CASE WHEN min(user_id) = max(user_id) THEN min(user_id) END AS user_id,
              min(ts) AS first_ts, max(ts) AS last_ts',
             'WHERE session_id IS NOT NULL',
             'Usage by organisation and session, over the session''s whole life. Calls outside a session are left out, so its sum is not the ledger''s.'),
            ('tag_usage', 'day', 'org, key, value', NULL,
             'CROSS JOIN LATERAL jsonb_each_text(tags)',
             'Usage by day, organisation and tag. A call counts under each of its tags, and without tags not at all, so its sum is not the ledger''s.')
        ) AS v (name, bucket, dimensions, details, source, comment)
        LEFT JOIN (VALUES
            ('hour', 'usage_monitor.ledger_hour(ts)'),
            ('day', 'usage_monitor.ledger_day(ts)'),
            ('week', 'date_trunc(''week'', usage_monitor.ledger_day(ts)::timestamp)::date'),
            ('month', 'date_trunc(''month'', usage_monitor.ledger_day(ts)::timestamp)::date')
        ) AS b (name, expression) ON b.name = v.bucket
    LOOP
        EXECUTE format('CREATE VIEW usage_monitor.%I WITH (security_invoker = true) AS SELECT %s FROM %s GROUP BY %s',
                       view.name, view.columns, view.source, view.keys);
        EXECUTE format('COMMENT ON VIEW usage_monitor.%I IS %L', view.name, view.comment);
    END LOOP;
END
$$;

/*
 * Each day with usage also stands for the idle days that follow it, until the
 * next one or today: an average over seven rows is then one over seven days.
 * Without a look at the ledger's first day apart, a condition on org reaches
 * the ledger through both windows.
 */
CREATE VIEW usage_monitor.usage_trend WITH (security_invoker = true) AS
SELECT day,
       org,
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
    SELECT d.day + idle AS day,
           d.org,
           CASE idle WHEN 0 THEN d.requests ELSE 0 END AS requests,
           CASE idle WHEN 0 THEN d.total_tokens ELSE 0 END AS total_tokens,
           CASE idle WHEN 0 THEN d.cost ELSE 0 END AS cost,
           CASE idle WHEN 0 THEN d.unpriced_requests ELSE 0 END AS unpriced_requests
    FROM (
        SELECT day, org, requests, total_tokens, cost, unpriced_requests,
               lead(day, 1, greatest(day, usage_monitor.ledger_day(now())) + 1)
                   OVER (PARTITION BY org ORDER BY day) AS next_day
        FROM usage_monitor.daily_usage
    ) AS d
    CROSS JOIN LATERAL generate_series(0, d.next_day - d.day - 1) AS idle
) AS every_day
WINDOW days AS (PARTITION BY org ORDER BY day),
       week AS (days ROWS 6 PRECEDING);

COMMENT ON VIEW usage_monitor.usage_trend IS
    'Each day since an organisation''s first, idle ones included, against the day before and the average of seven days. A day of which no call is priced has no cost, and its neighbours no change.';

CREATE VIEW usage_monitor.unpriced_usage WITH (security_invoker = true) AS
SELECT provider,
       model,
       service_tier,
       unpriced_reason,
       count(*) AS requests,
       sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens,
       min(ts) AS first_ts,
       max(ts) AS last_ts
FROM usage_monitor.usage
WHERE cost IS NULL
GROUP BY provider, model, service_tier, unpriced_reason;

COMMENT ON VIEW usage_monitor.unpriced_usage IS
    'Models with calls that have no cost, because no price was known for them.';

CREATE VIEW usage_monitor.recent_usage WITH (security_invoker = true) AS
SELECT usage_id, ts, org, department, project, user_id, session_id,
       provider, model, operation, source, service_tier,
       input_tokens, output_tokens, total_tokens, cost, currency, cost_source,
       duration_ms, success, error, cached, tags
FROM usage_monitor.usage
ORDER BY usage_id DESC
LIMIT 100;

COMMENT ON VIEW usage_monitor.recent_usage IS
    'The last 100 calls that were recorded, the latest first.';

/* A column means the same in every view of usage, and is described once. */
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT c.relname, a.attname, d.comment
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        JOIN (VALUES
            ('hour', 'Start of the hour, in the ledger''s time zone.'),
            ('day', 'Day, in the ledger''s time zone.'),
            ('week', 'The Monday on which the ISO week begins, in the ledger''s time zone.'),
            ('month', 'First day of the month, in the ledger''s time zone.'),
            ('usage_id', 'Number of the call in the ledger.'),
            ('ts', 'When the call was made.'),
            ('first_ts', 'When the first of the calls was made.'),
            ('last_ts', 'When the last of the calls was made.'),
            ('org', 'Organisation.'),
            ('department', 'Department; NULL: calls that name none.'),
            ('project', 'Project; NULL: calls that name none.'),
            ('user_id', 'User; NULL: calls that name none, or a session of several users.'),
            ('session_id', 'Session; NULL: calls outside one.'),
            ('provider', 'Who bills; NULL: calls that name nobody.'),
            ('model', 'Model, as the application wrote it.'),
            ('operation', 'Kind of call: chat, embeddings, ...; NULL: calls that name none.'),
            ('source', 'Where the calls came from; NULL: calls that name nothing.'),
            ('service_tier', 'standard, batch, flex, priority or fast.'),
            ('unpriced_reason', 'Why they have no cost: no price, no rate for a meter, no count of one, no exchange rate.'),
            ('key', 'Name of the tag.'),
            ('value', 'Value of the tag, as text.'),
            ('requests', 'Number of calls.'),
            ('successes', 'Number of calls that succeeded.'),
            ('errors', 'Number of calls that failed.'),
            ('success_rate', 'Successes among requests, from 0 to 1, to four decimals.'),
            ('input_tokens', 'Input tokens, cached and audio ones included. A sum beyond bigint is an error.'),
            ('output_tokens', 'Output tokens, reasoning and audio ones included. A sum beyond bigint is an error.'),
            ('cache_read_input_tokens', 'Input tokens that were read from the provider''s cache.'),
            ('cache_creation_input_tokens', 'Input tokens that were written to the provider''s cache.'),
            ('reasoning_output_tokens', 'Output tokens that were spent on reasoning.'),
            ('total_tokens', 'Input and output tokens. A sum beyond bigint is an error.'),
            ('input_cost', 'Cost of the input, exact; NULL where it is known of no call.'),
            ('output_cost', 'Cost of the output, exact; NULL where it is known of no call.'),
            ('other_cost', 'Cost of everything else, exact; NULL where it is known of no call.'),
            ('cost', 'Cost, exact; NULL where no call is priced. Calls without a price add nothing to it: see unpriced_requests and unpriced_usage.'),
            ('currency', 'ISO 4217 code of the currency of the costs: the ledger''s.'),
            ('cost_source', 'computed, reported or unpriced.'),
            ('avg_duration_ms', 'Average duration in milliseconds of the calls that have one.'),
            ('unpriced_requests', 'Number of calls without a cost.'),
            ('cached_requests', 'Number of calls answered from the application''s own cache.'),
            ('previous_cost', 'Cost of the day before; NULL on the first day.'),
            ('change', 'Cost less that of the day before.'),
            ('change_percentage', 'Change in percent of the day before''s cost, to two decimals; NULL where that is 0.'),
            ('average_7d_cost', 'Average cost of this day and the six before it, of as many as there are; days without a cost are left out.'),
            ('average_7d_requests', 'Average number of calls on this day and the six before it, of as many as there are.'),
            ('duration_ms', 'Duration of the call in milliseconds.'),
            ('success', 'Whether the call succeeded.'),
            ('error', 'Why the call failed.'),
            ('cached', 'Whether the application''s own cache answered.'),
            ('tags', 'The call''s tags, a JSON object.')
        ) AS d (name, comment) ON d.name = a.attname
        WHERE c.relnamespace = 'usage_monitor'::regnamespace
          AND c.relkind = 'v'
          AND c.relname ~ '(_usage|^usage_trend)$'
    LOOP
        EXECUTE format('COMMENT ON COLUMN usage_monitor.%I.%I IS %L',
                       col.relname, col.attname, col.comment);
    END LOOP;
END
$$;
