/*
 * Adding up the aggregate views, for functions and reports.
 *
 * Nothing here reads the ledger, but for sessions.  Without an organisation the *_total views
 * are read, which have one row where the others have one for each of them.
 * Queries are made for each call, so that they are planned for what is asked.
 * To compile them would take longer than to run them: hence jit = off, as in
 * the functions that read the views for reports.
 */
CREATE TYPE usage_monitor.usage_summary AS (
    period                      text,
    period_start                timestamptz,
    period_end                  timestamptz,
    org                         text,
    provider                    text,
    key                         text,
    name                        text,
    requests                    bigint,
    successes                   bigint,
    errors                      bigint,
    success_rate                numeric,
    input_tokens                bigint,
    output_tokens               bigint,
    cache_read_input_tokens     bigint,
    cache_creation_input_tokens bigint,
    reasoning_output_tokens     bigint,
    total_tokens                bigint,
    input_cost                  numeric,
    output_cost                 numeric,
    other_cost                  numeric,
    cost                        numeric,
    cost_percentage             numeric,
    currency                    text,
    avg_duration_ms             double precision,
    unpriced_requests           bigint,
    cached_requests             bigint,
    others                      bigint
);

COMMENT ON TYPE usage_monitor.usage_summary IS
    'A row of usage_between(), current_stats(), hourly_summary(), daily_summary() and monthly_summary(): what was used in a time, in all or by one of its parts.';

CREATE TYPE usage_monitor.session_summary AS (
    org                     text,
    session_id              text,
    user_id                 text,
    first_ts                timestamptz,
    last_ts                 timestamptz,
    length                  interval,
    requests                bigint,
    errors                  bigint,
    input_tokens            bigint,
    output_tokens           bigint,
    cache_read_input_tokens bigint,
    total_tokens            bigint,
    cost                    numeric,
    cost_per_request        numeric,
    currency                text,
    avg_duration_ms         double precision,
    unpriced_requests       bigint,
    cached_requests         bigint
);

COMMENT ON TYPE usage_monitor.session_summary IS 'A row of session_stats(): a session, over its whole life.';

CREATE TYPE usage_monitor.user_summary AS (
    rank              bigint,
    org               text,
    user_id           text,
    requests          bigint,
    errors            bigint,
    success_rate      numeric,
    input_tokens      bigint,
    output_tokens     bigint,
    total_tokens      bigint,
    cost              numeric,
    cost_percentage   numeric,
    cost_per_request  numeric,
    currency          text,
    unpriced_requests bigint,
    active_days       bigint,
    last_day          date
);

COMMENT ON TYPE usage_monitor.user_summary IS 'A row of top_users(): a user of an organisation, over some days.';

CREATE TYPE usage_monitor.model_summary AS (
    rank              bigint,
    provider          text,
    model             text,
    requests          bigint,
    errors            bigint,
    success_rate      numeric,
    input_tokens      bigint,
    output_tokens     bigint,
    total_tokens      bigint,
    cost              numeric,
    cost_percentage   numeric,
    cost_per_request  numeric,
    currency          text,
    unpriced_requests bigint,
    active_days       bigint,
    last_day          date
);

COMMENT ON TYPE usage_monitor.model_summary IS 'A row of top_models(): a model of a provider, over some days.';

SELECT _usage_monitor._describe('{usage_summary, session_summary, user_summary, model_summary}', ARRAY[
    ['period', 'What the time is: hour, day, week, month or range.'],
    ['period_start', 'When it begins.'],
    ['period_end', 'When it ends; that instant is not in it.'],
    ['rank', 'Place by cost, the dearest first; users or models of the same cost share one.'],
    ['org', 'Organisation; NULL: all of them.'],
    ['provider', 'Who bills, where the row is of a provider or a model; NULL: calls that name nobody.'],
    ['key', 'Name of the tag, where the row is of a tag.'],
    ['name', 'What the row is of: the user_id, the model, the tag''s value, ..., NULL: calls that name none; or the hour, day, week or month as people write it.'],
    ['user_id', 'User; NULL: calls that name none, or a session of several users.'],
    ['session_id', 'Session.'],
    ['model', 'Model, as the application wrote it.'],
    ['first_ts', 'When the first of the calls was made.'],
    ['last_ts', 'When the last of the calls was made.'],
    ['length', 'From the first call to the last.'],
    ['requests', 'Number of calls; corrections do not count.'],
    ['successes', 'Number of calls that succeeded.'],
    ['errors', 'Number of calls that failed.'],
    ['success_rate', 'Successes among requests, from 0 to 1, to four decimals; NULL: no call.'],
    ['input_tokens', 'Input tokens, cached and audio ones included.'],
    ['output_tokens', 'Output tokens, reasoning and audio ones included.'],
    ['cache_read_input_tokens', 'Input tokens that were read from the provider''s cache.'],
    ['cache_creation_input_tokens', 'Input tokens that were written to the provider''s cache.'],
    ['reasoning_output_tokens', 'Output tokens that were spent on reasoning.'],
    ['total_tokens', 'Input and output tokens.'],
    ['input_cost', 'Cost of the input, exact; NULL where it is known of no call.'],
    ['output_cost', 'Cost of the output, exact; NULL where it is known of no call.'],
    ['other_cost', 'Cost of everything else, exact; NULL where it is known of no call.'],
    ['cost', 'Cost, exact; 0 without a call, NULL where no call is priced. Calls without a price add nothing to it: see unpriced_requests.'],
    ['cost_percentage', 'Share of the cost of all rows, in percent, to two decimals; of a tag: of the rows of its key. Rows that a limit left out count too. NULL where one row is for everything.'],
    ['cost_per_request', 'Cost of a call on average, of those that have one.'],
    ['currency', 'ISO 4217 code of the currency of the costs: the ledger''s.'],
    ['avg_duration_ms', 'Average duration in milliseconds of the calls that have one.'],
    ['unpriced_requests', 'Number of calls without a cost.'],
    ['cached_requests', 'Number of calls answered from the application''s own cache.'],
    ['others', 'How many rows a limit left out, which this row adds up; NULL: a row by itself.'],
    ['active_days', 'On how many of the days there was a call.'],
    ['last_day', 'The latest of these days.']]);

CREATE FUNCTION _usage_monitor._check_count(name text, value bigint, lowest bigint, highest bigint, hint text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL OR value < lowest OR value > highest THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('argument "%s" must be from %s to %s, but is %s', name, lowest, highest, coalesce(value::text, 'NULL')),
            HINT = hint;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_count(text, bigint, bigint, bigint, text) IS 'Refuses a number that is outside of its bounds (UM001).';

CREATE FUNCTION _usage_monitor._usage_view(
    unit text,
    group_by text,
    org text,
    OUT view text,
    OUT org_key text,
    OUT provider_key text,
    OUT tag_key text,
    OUT name_key text
)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT v.view || CASE WHEN v.has_total AND _usage_view.org IS NULL THEN '_total' ELSE '_usage' END,
           CASE WHEN _usage_view.org IS NULL THEN v.org_key END,
           v.provider_key, v.tag_key, v.name_key
      FROM (VALUES ('hour',         'hourly',       true,  NULL,    NULL,         NULL,    NULL),
                   ('day',          'daily',        true,  NULL,    NULL,         NULL,    NULL),
                   ('week',         'weekly',       true,  NULL,    NULL,         NULL,    NULL),
                   ('month',        'monthly',      true,  NULL,    NULL,         NULL,    NULL),
                   ('org',          'daily',        false, 'v.org', NULL,         NULL,    'v.org'),
                   ('department',   'department',   false, 'v.org', NULL,         NULL,    'v.department'),
                   ('project',      'project',      false, 'v.org', NULL,         NULL,    'v.project'),
                   ('user',         'user',         false, 'v.org', NULL,         NULL,    'v.user_id'),
                   ('session',      'session',      false, 'v.org', NULL,         NULL,    'v.session_id'),
                   ('tag',          'tag',          false, NULL,    NULL,         'v.key', 'v.value'),
                   ('provider',     'provider',     true,  NULL,    'v.provider', NULL,    'v.provider'),
                   ('model',        'model',        true,  NULL,    'v.provider', NULL,    'v.model'),
                   ('resolved_model', 'model',      true,  NULL,    'v.provider', NULL,    'v.resolved_model'),
                   ('operation',    'operation',    true,  NULL,    NULL,         NULL,    'v.operation'),
                   ('source',       'source',       true,  NULL,    NULL,         NULL,    'v.source'),
                   ('service_tier', 'service_tier', true,  NULL,    NULL,         NULL,    'v.service_tier'))
           AS v (name, view, has_total, org_key, provider_key, tag_key, name_key)
     WHERE v.name = CASE WHEN _usage_view.group_by IN ('hour', 'day', 'week', 'month') THEN _usage_view.unit
                         ELSE coalesce(_usage_view.group_by, _usage_view.unit) END;
END;

COMMENT ON FUNCTION _usage_monitor._usage_view(text, text, text) IS
    'The view to add up, and the columns of it to group by: of all organisations together where none is given and there is such a view.';

/*
 * The users who cost most are found among all by as little as that takes; what
 * else there is to say of them is summed up of them alone.
 */
CREATE FUNCTION _usage_monitor._dearest_users(
    first_day date,
    past_day date,
    only_org text,
    "limit" integer,
    counted boolean,
    OUT orgs text[],
    OUT user_ids text[],
    OUT rows bigint,
    OUT names bigint
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
BEGIN
    -- by _sum(): each has but a few days; to count them takes a quarter of the time
    EXECUTE '
        SELECT coalesce(array_agg(t.org), ''{}''), coalesce(array_agg(t.user_id), ''{}''),
               ' || CASE WHEN counted THEN 'coalesce(max(t.rows), 0), coalesce(max(t.names), 0)' ELSE 'NULL, NULL' END || '
          FROM (
              SELECT u.org, u.user_id' || CASE WHEN counted THEN ', count(*) OVER () AS rows, count(u.user_id) OVER () AS names' ELSE '' END || '
                FROM usage_monitor.user_usage AS u
               WHERE u.day >= $1 AND u.day < $2 ' || CASE WHEN only_org IS NULL THEN '' ELSE 'AND u.org = $3' END || '
               GROUP BY u.org, u.user_id
               ORDER BY _usage_monitor._sum(u.cost) DESC NULLS LAST, _usage_monitor._sum(u.requests) DESC, u.org, u.user_id
               LIMIT $4
          ) AS t'
       INTO orgs, user_ids, rows, names
      USING first_day, past_day, only_org, "limit";
END
$$;

COMMENT ON FUNCTION _usage_monitor._dearest_users(date, date, text, integer, boolean) IS
    'The users that cost most from a day on and before another, of one organisation or of all: the organisation of each, and the user_id; and if they are to be counted, how many users there are, and how many of them have a name.';

CREATE FUNCTION _usage_monitor._usage_sum(
    unit text,
    period_start timestamptz,
    period_end timestamptz,
    group_by text DEFAULT NULL,
    org text DEFAULT NULL,
    "limit" integer DEFAULT NULL,
    orgs text[] DEFAULT NULL,
    user_ids text[] DEFAULT NULL
) RETURNS SETOF usage_monitor.usage_summary
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    by_time  CONSTANT boolean := coalesce(group_by IN ('hour', 'day', 'week', 'month'), false);
    source   CONSTANT record := _usage_monitor._usage_view(unit, group_by, org);
    bucket   text := 'NULL';
    keys     text;
    starts   text := '$1';
    ends     text := '$2';
    range    text;
    share    text;
    summed   text;
BEGIN
    IF by_time THEN
        bucket := CASE group_by WHEN unit THEN 'v.' || unit
                                ELSE format('date_trunc(%L, v.day::timestamp)::date', group_by) END;
        keys := bucket;
        starts := CASE group_by WHEN 'hour' THEN 's.bucket' ELSE '_usage_monitor._day_start(s.bucket)' END;
        ends := CASE group_by WHEN 'hour' THEN 's.bucket + interval ''1 hour'''
                              ELSE format('_usage_monitor._day_start((s.bucket + interval ''1 %s'')::date)', group_by) END;
    ELSIF group_by IS NOT NULL THEN
        keys := concat_ws(', ', source.org_key, source.provider_key, source.tag_key, source.name_key);
    END IF;

    range := CASE WHEN group_by = 'session' THEN 'v.first_ts >= $1 AND v.first_ts < $2'
                  WHEN unit = 'hour' THEN 'v.hour >= $1 AND v.hour < $2'
                  ELSE format('v.%1$I >= $3 AND v.%1$I < $4', unit) END
             || CASE WHEN org IS NULL THEN '' ELSE ' AND v.org = $5' END;

    summed := format('usage_monitor.%I AS v WHERE %s', source.view, range);
    IF user_ids IS NOT NULL THEN
        summed := summed || ' AND (v.user_id = ANY ($8) OR v.user_id IS NULL)
                              AND ARRAY[v.org, v.user_id] IN (SELECT ARRAY[d.org, d.user_id] FROM unnest($7, $8) AS d (org, user_id))';
    END IF;

    -- the whole is cheaper to read where it is known than to add up from many users
    share := CASE WHEN group_by IS NULL THEN 'NULL::numeric'
                  WHEN by_time OR group_by IN ('session', 'tag')
                  THEN 'round(100 * s.cost / nullif(sum(s.cost) OVER (PARTITION BY s.key), 0), 2)'
                  ELSE format('round(100 * s.cost / nullif((SELECT sum(v.cost) FROM usage_monitor.%I AS v WHERE %s), 0), 2)',
                              (_usage_monitor._usage_view('day', NULL, org)).view, range) END;

    RETURN QUERY EXECUTE
        'SELECT ' || quote_literal(CASE WHEN by_time THEN group_by WHEN group_by IS NULL THEN unit ELSE 'range' END) || ',
                greatest(' || starts || ', $1),
                least(' || ends || ', $2),
                s.org, s.provider, s.key,
                ' || CASE WHEN by_time OR group_by IS NULL
                          THEN format('_usage_monitor._period_name(%L, %s)', coalesce(group_by, unit), starts)
                          ELSE 's.name' END || ',
                s.requests, s.successes, s.errors,
                round(s.successes::numeric / nullif(s.requests, 0), 4),
                s.input_tokens, s.output_tokens, s.cache_read_input_tokens, s.cache_creation_input_tokens,
                s.reasoning_output_tokens, s.total_tokens,
                s.input_cost, s.output_cost, s.other_cost, s.cost,
                ' || share || ',
                usage_monitor.ledger_currency(),
                s.avg_duration_ms, s.unpriced_requests, s.cached_requests, NULL::bigint
           FROM (
               SELECT ' || bucket || ' AS bucket,
                      ' || CASE WHEN org IS NULL THEN coalesce(source.org_key, 'NULL') ELSE '$5' END || '::text AS org,
                      ' || coalesce(source.provider_key, 'NULL') || '::text AS provider,
                      ' || coalesce(source.tag_key, 'NULL') || '::text AS key,
                      ' || coalesce(source.name_key, 'NULL') || '::text AS name,
                      coalesce(sum(v.requests), 0)::bigint AS requests,
                      coalesce(sum(v.successes), 0)::bigint AS successes,
                      coalesce(sum(v.errors), 0)::bigint AS errors,
                      coalesce(sum(v.input_tokens), 0)::bigint AS input_tokens,
                      coalesce(sum(v.output_tokens), 0)::bigint AS output_tokens,
                      coalesce(sum(v.cache_read_input_tokens), 0)::bigint AS cache_read_input_tokens,
                      coalesce(sum(v.cache_creation_input_tokens), 0)::bigint AS cache_creation_input_tokens,
                      coalesce(sum(v.reasoning_output_tokens), 0)::bigint AS reasoning_output_tokens,
                      coalesce(sum(v.total_tokens), 0)::bigint AS total_tokens,
                      CASE WHEN count(*) = 0 THEN 0 ELSE sum(v.input_cost) END AS input_cost,
                      CASE WHEN count(*) = 0 THEN 0 ELSE sum(v.output_cost) END AS output_cost,
                      CASE WHEN count(*) = 0 THEN 0 ELSE sum(v.other_cost) END AS other_cost,
                      CASE WHEN count(*) = 0 THEN 0 ELSE sum(v.cost) END AS cost,
                      sum(v.total_duration_ms)::double precision
                      / nullif(sum(v.timed_requests), 0)::double precision AS avg_duration_ms,
                      coalesce(sum(v.unpriced_requests), 0)::bigint AS unpriced_requests,
                      coalesce(sum(v.cached_requests), 0)::bigint AS cached_requests
                 FROM ' || summed
                 || coalesce(' GROUP BY ' || keys, '')
                 || CASE WHEN "limit" IS NULL THEN ''
                         ELSE format(' ORDER BY cost DESC NULLS LAST, requests DESC, %s LIMIT $6', keys) END || '
           ) AS s
          ORDER BY s.bucket, s.cost DESC NULLS LAST, s.requests DESC,
                   s.org COLLATE "C", s.provider COLLATE "C", s.key COLLATE "C", s.name COLLATE "C"'
    USING period_start, period_end,
          usage_monitor.ledger_day(period_start), usage_monitor.ledger_day(period_end), org, "limit",
          orgs, user_ids;
END
$$;

COMMENT ON FUNCTION _usage_monitor._usage_sum(text, timestamptz, timestamptz, text, text, integer, text[], text[]) IS
    'Adds up the view of that unit (hour, day, week or month) over the units that begin in [period_start, period_end): in one row, or grouped as in usage_between(), the dearest with a limit; of these users of these organisations alone, where they are given.';

CREATE FUNCTION _usage_monitor._dearest(
    unit text,
    period_start timestamptz,
    period_end timestamptz,
    group_by text,
    org text,
    "limit" integer,
    OUT listed usage_monitor.usage_summary[],
    OUT rows bigint,
    OUT names bigint
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    source CONSTANT record := _usage_monitor._usage_view('day', group_by, org);
    users  record;
BEGIN
    -- users are many: who they are is found out first, and counted with it
    IF group_by = 'user' THEN
        users := _usage_monitor._dearest_users(usage_monitor.ledger_day(period_start), usage_monitor.ledger_day(period_end), org, "limit", true);
        listed := ARRAY(SELECT s FROM _usage_monitor._usage_sum(unit, period_start, period_end, group_by, org, "limit", users.orgs, users.user_ids) AS s);
        rows := users.rows;
        names := users.names;
        RETURN;
    END IF;

    listed := ARRAY(SELECT s FROM _usage_monitor._usage_sum(unit, period_start, period_end, group_by, org, "limit") AS s);
    IF cardinality(listed) < "limit" THEN
        rows := cardinality(listed);
        names := (SELECT count(l.name) FROM unnest(listed) AS l);
        RETURN;
    END IF;
    EXECUTE format('SELECT count(*), count(s.name)
                      FROM (SELECT %s AS name FROM usage_monitor.%I AS v WHERE v.day >= $1 AND v.day < $2 %s GROUP BY %s) AS s',
                   source.name_key, source.view, CASE WHEN org IS NULL THEN '' ELSE 'AND v.org = $3' END,
                   concat_ws(', ', source.org_key, source.provider_key, source.tag_key, source.name_key))
       INTO rows, names
      USING usage_monitor.ledger_day(period_start), usage_monitor.ledger_day(period_end), org;
END
$$;

COMMENT ON FUNCTION _usage_monitor._dearest(text, timestamptz, timestamptz, text, text, integer) IS
    'The rows that _usage_sum() has with a limit, how many it has without one, and how many of those have a name.';
