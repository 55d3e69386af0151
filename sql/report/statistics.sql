/*
 * What views cannot be asked, for they take no arguments: one hour, one day,
 * one session, the last so many days, any range by anything.
 */
CREATE FUNCTION usage_monitor.usage_between(
    "from" timestamptz,
    "to" timestamptz,
    group_by text DEFAULT 'day',
    org text DEFAULT NULL,
    "limit" integer DEFAULT NULL
) RETURNS SETOF usage_monitor.usage_summary
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    unit   CONSTANT text := CASE group_by WHEN 'hour' THEN 'hour' ELSE 'day' END;
    bound  record;
    start  timestamptz;
    found  record;
BEGIN
    IF group_by IS NULL
       OR group_by NOT IN ('hour', 'day', 'week', 'month', 'org', 'department', 'project', 'user', 'session', 'provider',
                           'model', 'resolved_model', 'operation', 'source', 'service_tier', 'tag')
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "group_by" must be a known grouping, but is %s', _usage_monitor._quoted(group_by)),
            HINT = 'Group by hour, day, week, month, org, department, project, user, session, provider, model, resolved_model, operation, source, service_tier or tag.';
    END IF;
    IF "from" IS NULL OR "to" IS NULL OR "from" > "to" THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('arguments "from" and "to" must be the start and the end of a range, but are %s and %s',
                             coalesce(_usage_monitor._iso_time("from"), 'NULL'), coalesce(_usage_monitor._iso_time("to"), 'NULL')),
            HINT = 'The range begins with "from" and ends before "to". Write -infinity and infinity for all time.';
    END IF;

    -- the views know whole hours and days; a part of one would be a guess
    FOR bound IN SELECT b.* FROM (VALUES ('from', "from"), ('to', "to")) AS b (name, at) WHERE isfinite(b.at) LOOP
        PERFORM _usage_monitor._check_instant(bound.name, bound.at, 'Write -infinity and infinity for all time.');
        start := CASE unit WHEN 'hour' THEN usage_monitor.ledger_hour(bound.at)
                           ELSE _usage_monitor._day_start(usage_monitor.ledger_day(bound.at)) END;
        IF bound.at <> start THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM001',
                MESSAGE = format('argument "%s" must be the start of %s in %s, but is %s',
                                 bound.name,
                                 CASE unit WHEN 'hour' THEN 'an hour' ELSE 'a day' END,
                                 usage_monitor.ledger_time_zone(),
                                 _usage_monitor._iso_time(bound.at)),
                HINT = format(CASE unit WHEN 'hour' THEN 'That hour begins at %s.'
                                        ELSE 'That day begins at %s. A date is a day of the ledger: write date ''%s'', or cast with ::date.' END,
                              _usage_monitor._iso_time(start), _usage_monitor._period_name('day', start));
        END IF;
    END LOOP;

    IF "limit" IS NULL THEN
        RETURN QUERY SELECT s.* FROM _usage_monitor._usage_sum(unit, "from", "to", group_by, org) AS s;
        RETURN;
    END IF;
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 100000, 'It is how many rows are listed, the dearest; one row more adds up the others.');
    IF group_by IN ('hour', 'day', 'week', 'month', 'session', 'tag') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "limit" does not go with "group_by" %s', group_by),
            HINT = 'Leave "limit" out. It goes with org, department, project, user, provider, model, resolved_model, operation, source and service_tier.';
    END IF;
    found := _usage_monitor._dearest(unit, "from", "to", group_by, org, "limit");
    RETURN QUERY SELECT s.* FROM unnest(found.listed) AS s;
    IF found.rows > "limit" THEN
        RETURN QUERY
        SELECT w.period, w.period_start, w.period_end, w.org, NULL::text, NULL::text, NULL::text,
               w.requests - l.requests, w.successes - l.successes, w.errors - l.errors,
               round((w.successes - l.successes)::numeric / nullif(w.requests - l.requests, 0), 4),
               w.input_tokens - l.input_tokens, w.output_tokens - l.output_tokens,
               w.cache_read_input_tokens - l.cache_read_input_tokens,
               w.cache_creation_input_tokens - l.cache_creation_input_tokens,
               w.reasoning_output_tokens - l.reasoning_output_tokens,
               w.total_tokens - l.total_tokens,
               w.input_cost - coalesce(l.input_cost, 0), w.output_cost - coalesce(l.output_cost, 0), w.other_cost - coalesce(l.other_cost, 0),
               -- of the others alone no call may be priced
               CASE WHEN w.requests - l.requests > w.unpriced_requests - l.unpriced_requests OR w.cost <> coalesce(l.cost, 0) THEN w.cost - coalesce(l.cost, 0) END,
               CASE WHEN w.requests - l.requests > w.unpriced_requests - l.unpriced_requests OR w.cost <> coalesce(l.cost, 0)
                    THEN round(100 * (w.cost - coalesce(l.cost, 0)) / nullif(w.cost, 0), 2) END,
               w.currency,
               NULL::double precision,
               w.unpriced_requests - l.unpriced_requests, w.cached_requests - l.cached_requests,
               found.rows - "limit"
          FROM _usage_monitor._usage_sum(unit, "from", "to", org => org) AS w
         CROSS JOIN (
               SELECT sum(s.requests)::bigint AS requests, sum(s.successes)::bigint AS successes, sum(s.errors)::bigint AS errors,
                      sum(s.input_tokens)::bigint AS input_tokens, sum(s.output_tokens)::bigint AS output_tokens,
                      sum(s.cache_read_input_tokens)::bigint AS cache_read_input_tokens,
                      sum(s.cache_creation_input_tokens)::bigint AS cache_creation_input_tokens,
                      sum(s.reasoning_output_tokens)::bigint AS reasoning_output_tokens,
                      sum(s.total_tokens)::bigint AS total_tokens,
                      sum(s.input_cost) AS input_cost, sum(s.output_cost) AS output_cost, sum(s.other_cost) AS other_cost,
                      sum(s.cost) AS cost,
                      sum(s.unpriced_requests)::bigint AS unpriced_requests, sum(s.cached_requests)::bigint AS cached_requests
                 FROM unnest(found.listed) AS s) AS l;
    END IF;
END
$$;

COMMENT ON FUNCTION usage_monitor.usage_between(timestamptz, timestamptz, text, text, integer) IS
    'Usage in the range that begins with "from" and ends before "to", grouped by hour, day, week or month (those with usage, in order; one that the range cuts has only its part), or by org, department, project, user, session, provider, model, resolved_model, operation, source, service_tier or tag (the dearest first). org NULL: all organisations; departments, projects, users and sessions of two of them are never one. session has the sessions that began in the range, each with the whole of its life, and reads all of the ledger; tag counts a call under each of its tags. Both ends must be the start of a day in the ledger''s time zone, or of an hour with group_by hour, or infinite: a part of a day is not known exactly. With a limit so many rows, the dearest, and one more that adds up the others, if there are any (its column others says how many). Errors: UM001 for other instants, NULL, "from" after "to", or a limit outside 1 to 100000; UM008 unknown group_by, or one that a limit does not go with.';

CREATE FUNCTION usage_monitor.usage_between(
    "from" date,
    "to" date,
    group_by text DEFAULT 'day',
    org text DEFAULT NULL,
    "limit" integer DEFAULT NULL
) RETURNS SETOF usage_monitor.usage_summary
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT b.*
      FROM usage_monitor.usage_between(_usage_monitor._instant(usage_between."from"),
                                       _usage_monitor._instant(usage_between."to"),
                                       usage_between.group_by, usage_between.org, usage_between."limit") AS b;
END;

COMMENT ON FUNCTION usage_monitor.usage_between(date, date, text, text, integer) IS
    'The same for days of the ledger''s calendar, whatever the session''s time zone is, from the first to the one before the second: usage_between(date ''2026-11-01'', date ''2026-12-01'') is November. Errors: as above.';

CREATE FUNCTION usage_monitor.usage_between(
    "from" text,
    "to" text,
    group_by text DEFAULT 'day',
    org text DEFAULT NULL,
    "limit" integer DEFAULT NULL
) RETURNS SETOF usage_monitor.usage_summary
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT b.*
      FROM usage_monitor.usage_between(_usage_monitor._instant(usage_between."from"),
                                       _usage_monitor._instant(usage_between."to"),
                                       usage_between.group_by, usage_between.org, usage_between."limit") AS b;
END;

COMMENT ON FUNCTION usage_monitor.usage_between(text, text, text, text, integer) IS
    'The same for days or instants that are written without a type, by the ledger''s clock where they name no zone: usage_between(''2026-11-01'', ''2026-12-01'') is November. Errors: as above, and 22007 for text that is not a day or an instant.';

CREATE FUNCTION usage_monitor.hourly_summary(hours_ago integer DEFAULT 0, org text DEFAULT NULL)
    RETURNS usage_monitor.usage_summary
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hour   timestamptz;
    result usage_monitor.usage_summary;
BEGIN
    PERFORM _usage_monitor._check_count('hours_ago', hours_ago, 0, 878400, '0 is the hour that runs, 1 the one before it.');
    hour := usage_monitor.ledger_hour(now() - make_interval(hours => hours_ago));
    SELECT s.* INTO result FROM _usage_monitor._usage_sum('hour', hour, hour + interval '1 hour', org => org) AS s;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.hourly_summary(integer, text) IS
    'Usage in one hour of the ledger''s clock: the one that runs, or the one so many hours before it; of one organisation, or of all. Error: UM001 for fewer than 0 or more than 878400 hours.';

CREATE FUNCTION usage_monitor.daily_summary(days_ago integer DEFAULT 0, org text DEFAULT NULL)
    RETURNS usage_monitor.usage_summary
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    day    date;
    result usage_monitor.usage_summary;
BEGIN
    PERFORM _usage_monitor._check_count('days_ago', days_ago, 0, 36600, '0 is today, 1 is yesterday.');
    day := usage_monitor.ledger_day(now()) - days_ago;
    SELECT s.* INTO result
      FROM _usage_monitor._usage_sum('day', _usage_monitor._day_start(day), _usage_monitor._day_start(day + 1), org => org) AS s;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.daily_summary(integer, text) IS
    'Usage on one day of the ledger''s calendar: today, or so many days before it; of one organisation, or of all. Error: UM001 for fewer than 0 or more than 36600 days.';

CREATE FUNCTION usage_monitor.monthly_summary(year integer, month integer, org text DEFAULT NULL)
    RETURNS usage_monitor.usage_summary
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day date;
    result    usage_monitor.usage_summary;
BEGIN
    PERFORM _usage_monitor._check_count('year', year, 1, 9999, 'Write it with all its digits: 2026.');
    PERFORM _usage_monitor._check_count('month', month, 1, 12, 'Months are 1 (January) to 12 (December).');
    first_day := make_date(year, month, 1);
    SELECT s.* INTO result
      FROM _usage_monitor._usage_sum('month', _usage_monitor._day_start(first_day),
                                    _usage_monitor._day_start((first_day + interval '1 month')::date), org => org) AS s;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.monthly_summary(integer, integer, text) IS
    'Usage in one month of the ledger''s calendar; of one organisation, or of all. Error: UM001 for a month outside 1 to 12, or a year outside 1 to 9999.';

CREATE FUNCTION usage_monitor.current_stats(org text DEFAULT NULL) RETURNS SETOF usage_monitor.usage_summary
    LANGUAGE sql STABLE ROWS 2
BEGIN ATOMIC
    SELECT h.* FROM usage_monitor.hourly_summary(0, current_stats.org) AS h
    UNION ALL
    SELECT d.* FROM usage_monitor.daily_summary(0, current_stats.org) AS d;
END;

COMMENT ON FUNCTION usage_monitor.current_stats(text) IS
    'Usage so far: two rows, of the hour and of the day that run; of one organisation, or of all.';

CREATE FUNCTION usage_monitor.session_stats(session_id text, org text DEFAULT NULL)
    RETURNS SETOF usage_monitor.session_summary
    LANGUAGE plpgsql STABLE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE '
        SELECT s.org::text, s.session_id::text, s.user_id::text, s.first_ts, s.last_ts, s.last_ts - s.first_ts,
               s.requests, s.errors, s.input_tokens, s.output_tokens, s.cache_read_input_tokens, s.total_tokens,
               s.cost, trim_scale(s.cost / nullif(s.requests - s.unpriced_requests, 0)), s.currency, s.avg_duration_ms,
               s.unpriced_requests, s.cached_requests
          FROM usage_monitor.session_usage AS s
         WHERE s.session_id = $1 ' || CASE WHEN org IS NULL THEN '' ELSE 'AND s.org = $2' END || '
         ORDER BY s.org'
    USING session_id, org;
END
$$;

COMMENT ON FUNCTION usage_monitor.session_stats(text, text) IS
    'A session, over its whole life: one row, or one for each organisation that has a session of that name where none is given. No rows: no call of such a session.';

CREATE FUNCTION usage_monitor.top_users(
    "limit" integer DEFAULT 10,
    days integer DEFAULT 30,
    org text DEFAULT NULL
) RETURNS SETOF usage_monitor.user_summary
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    today    CONSTANT date := usage_monitor.ledger_day(now());
    whole    CONSTANT text := CASE WHEN org IS NULL THEN 'usage_monitor.daily_total AS d WHERE d.day > $1 AND d.day <= $2'
                                   ELSE 'usage_monitor.daily_usage AS d WHERE d.day > $1 AND d.day <= $2 AND d.org = $3' END;
    orgs     text[];
    user_ids text[];
BEGIN
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 2147483647, 'It is how many users are listed.');
    PERFORM _usage_monitor._check_count('days', days, 1, 36600, '1 is today alone, 30 is today and the 29 days before it.');

    SELECT d.orgs, d.user_ids INTO orgs, user_ids
      FROM _usage_monitor._dearest_users(today - days + 1, today + 1, org, "limit", false) AS d;

    RETURN QUERY EXECUTE '
        SELECT rank() OVER (ORDER BY s.cost DESC NULLS LAST), s.org::text, s.user_id::text, s.requests, s.errors, round(1 - s.errors::numeric / nullif(s.requests, 0), 4),
               s.input_tokens, s.output_tokens, s.total_tokens, s.cost,
               round(100 * s.cost / nullif((SELECT sum(d.cost) FROM ' || whole || '), 0), 2),
               trim_scale(s.cost / nullif(s.requests - s.unpriced_requests, 0)),
               usage_monitor.ledger_currency(), s.unpriced_requests, s.active_days, s.last_day
          FROM (
              SELECT u.org, u.user_id,
                     sum(u.requests)::bigint AS requests,
                     sum(u.errors)::bigint AS errors,
                     sum(u.input_tokens)::bigint AS input_tokens,
                     sum(u.output_tokens)::bigint AS output_tokens,
                     sum(u.total_tokens)::bigint AS total_tokens,
                     sum(u.cost) AS cost,
                     sum(u.unpriced_requests)::bigint AS unpriced_requests,
                     count(*) AS active_days,
                     max(u.day) AS last_day
                FROM usage_monitor.user_usage AS u
               WHERE u.day > $1 AND u.day <= $2 ' || CASE WHEN org IS NULL THEN '' ELSE 'AND u.org = $3' END || '
                 AND (u.user_id = ANY ($5) OR u.user_id IS NULL)
                 AND ARRAY[u.org, u.user_id] IN (SELECT ARRAY[d.org, d.user_id] FROM unnest($4, $5) AS d (org, user_id))
               GROUP BY u.org, u.user_id
          ) AS s
         ORDER BY s.cost DESC NULLS LAST, s.requests DESC, s.org, s.user_id'
    USING today - days, today, org, orgs, user_ids;
END
$$;

COMMENT ON FUNCTION usage_monitor.top_users(integer, integer, text) IS
    'The users that cost most in the last days, of which today is one; of one organisation, or of all. Errors: UM001 for a limit below 1, or days outside 1 to 36600.';

CREATE FUNCTION usage_monitor.top_models(
    "limit" integer DEFAULT 10,
    days integer DEFAULT 30,
    org text DEFAULT NULL
) RETURNS SETOF usage_monitor.model_summary
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    today CONSTANT date := usage_monitor.ledger_day(now());
    whole CONSTANT text := CASE WHEN org IS NULL THEN 'usage_monitor.daily_total AS d WHERE d.day > $1 AND d.day <= $2'
                                ELSE 'usage_monitor.daily_usage AS d WHERE d.day > $1 AND d.day <= $2 AND d.org = $3' END;
BEGIN
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 2147483647, 'It is how many models are listed.');
    PERFORM _usage_monitor._check_count('days', days, 1, 36600, '1 is today alone, 30 is today and the 29 days before it.');

    RETURN QUERY EXECUTE '
        SELECT rank() OVER (ORDER BY s.cost DESC NULLS LAST), s.provider::text, s.model::text, s.requests, s.errors, round(1 - s.errors::numeric / nullif(s.requests, 0), 4),
               s.input_tokens, s.output_tokens, s.total_tokens, s.cost,
               round(100 * s.cost / nullif((SELECT sum(d.cost) FROM ' || whole || '), 0), 2),
               trim_scale(s.cost / nullif(s.requests - s.unpriced_requests, 0)),
               usage_monitor.ledger_currency(), s.unpriced_requests, s.active_days, s.last_day
          FROM (
              SELECT m.provider, m.model,
                     sum(m.requests)::bigint AS requests,
                     sum(m.errors)::bigint AS errors,
                     sum(m.input_tokens)::bigint AS input_tokens,
                     sum(m.output_tokens)::bigint AS output_tokens,
                     sum(m.total_tokens)::bigint AS total_tokens,
                     sum(m.cost) AS cost,
                     sum(m.unpriced_requests)::bigint AS unpriced_requests,
                     count(*) AS active_days,
                     max(m.day) AS last_day
                FROM ' || CASE WHEN org IS NULL THEN 'usage_monitor.model_total' ELSE 'usage_monitor.model_usage' END || ' AS m
               WHERE m.day > $1 AND m.day <= $2 ' || CASE WHEN org IS NULL THEN '' ELSE 'AND m.org = $3' END || '
               GROUP BY m.provider, m.model
               ORDER BY cost DESC NULLS LAST, requests DESC, m.provider, m.model
               LIMIT $4
          ) AS s
         ORDER BY s.cost DESC NULLS LAST, s.requests DESC, s.provider, s.model'
    USING today - days, today, org, "limit";
END
$$;

COMMENT ON FUNCTION usage_monitor.top_models(integer, integer, text) IS
    'The models that cost most in the last days, of which today is one; of one organisation, or of all. Errors: UM001 for a limit below 1, or days outside 1 to 36600.';

CREATE FUNCTION _usage_monitor._condition(expression text, value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL THEN ''
            WHEN value = '' THEN format(' AND %s IS NULL', expression)
            ELSE format(' AND %s = %L', expression, value) END;

COMMENT ON FUNCTION _usage_monitor._condition(text, text) IS
    'The condition, with AND before it, that a column has this value; '''': is NULL; NULL: no condition.';

/*
 * The ledger has no btree on ts, only the ranges of blocks: the last hour is
 * looked at first, and three times as much where that has too few, and so on:
 * all in all not much more than the last time takes.
 */
CREATE FUNCTION usage_monitor.recent_calls(
    "limit" integer DEFAULT 100,
    org text DEFAULT NULL,
    department text DEFAULT NULL,
    project text DEFAULT NULL,
    user_id text DEFAULT NULL,
    source text DEFAULT NULL,
    model text DEFAULT NULL,
    since timestamptz DEFAULT '-infinity',
    until timestamptz DEFAULT 'infinity',
    before_id bigint DEFAULT NULL
) RETURNS SETOF usage_monitor.recent_usage
    LANGUAGE plpgsql STABLE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    conditions CONSTANT text :=
        _usage_monitor._condition('u.org', org) || _usage_monitor._condition('u.department', department)
        || _usage_monitor._condition('u.project', project) || _usage_monitor._condition('u.user_id', user_id)
        || _usage_monitor._condition('u.source', source) || _usage_monitor._condition('u.model', model);
    span  interval;
    start timestamptz;
    calls usage_monitor.recent_usage[];
BEGIN
    PERFORM _usage_monitor._check_count('limit', "limit", 1, 100000, 'It is how many calls are listed.');
    IF since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('arguments "since" and "until" must be instants, but are %s and %s',
                             coalesce(_usage_monitor._iso_time(since), 'NULL'), coalesce(_usage_monitor._iso_time(until), 'NULL')),
            HINT = 'Leave them out for all time.';
    END IF;

    FOREACH span IN ARRAY ARRAY['1 hour', '6 hours', '1 day', '3 days', '10 days', '30 days', '100 days', NULL]::interval[] LOOP
        start := CASE WHEN span IS NULL THEN since ELSE greatest(since, least(until, now()) - span) END;
        EXECUTE '
            SELECT array_agg(c ORDER BY c.ts DESC, c.usage_id DESC)
              FROM (SELECT u.usage_id, u.ts, u.org, u.department, u.project, u.user_id, u.session_id,
                           u.provider, u.model, u.operation, u.source, u.service_tier,
                           u.input_tokens, u.output_tokens, u.total_tokens, u.cost, u.currency, u.cost_source,
                           u.duration_ms, u.success, u.error, u.cached, u.tags
                      FROM usage_monitor.usage AS u
                     WHERE u.ts >= $1' || CASE WHEN before_id IS NULL THEN ' AND u.ts < $2'
                                               ELSE ' AND u.ts <= $2 AND (u.ts < $2 OR u.usage_id < $3)' END || conditions || '
                     ORDER BY u.ts DESC, u.usage_id DESC
                     LIMIT $4) AS c'
           INTO calls
          USING start, until, before_id, "limit";
        EXIT WHEN cardinality(calls) = "limit" OR start = since;
    END LOOP;
    RETURN QUERY SELECT c.* FROM unnest(calls) AS c;
END
$$;

COMMENT ON FUNCTION usage_monitor.recent_calls(integer, text, text, text, text, text, text, timestamptz, timestamptz, bigint) IS
    'The latest calls by when they were made, of an organisation, a department, a project, a user, a source, a model, or several of these at once (NULL: any; '''': calls that name none), made since an instant and before another. For the next ones give ts and usage_id of the last one as until and before_id. The columns are those of recent_usage. It reads the ledger: all of it where calls like these are few, so give since. Errors: UM001 for a limit outside 1 to 100000, or an instant that is NULL.';

CREATE FUNCTION usage_monitor.cost_trend(days integer DEFAULT 30, org text DEFAULT NULL)
RETURNS TABLE (
    day date, requests bigint, total_tokens bigint, cost numeric, currency text, unpriced_requests bigint,
    previous_cost numeric, change numeric, change_percentage numeric,
    average_7d_cost numeric, average_7d_requests numeric
)
    LANGUAGE plpgsql STABLE ROWS 30
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    today  CONSTANT date := usage_monitor.ledger_day(now());
    source CONSTANT text := CASE WHEN org IS NULL THEN 'usage_monitor.daily_total AS d WHERE true'
                                 ELSE 'usage_monitor.daily_usage AS d WHERE d.org = $3' END;
BEGIN
    PERFORM _usage_monitor._check_count('days', days, 1, 36600, '1 is today alone, 30 is today and the 29 days before it.');

    -- not by the views, which have every day since the first call, however long ago that was
    RETURN QUERY EXECUTE '
        SELECT t.day, t.requests, t.total_tokens, t.cost, usage_monitor.ledger_currency(), t.unpriced_requests,
               CASE WHEN t.has_past THEN t.previous_cost END,
               CASE WHEN t.has_past THEN t.cost - t.previous_cost END,
               CASE WHEN t.has_past THEN round(100.0 * (t.cost - t.previous_cost) / nullif(t.previous_cost, 0.0), 2) END,
               CASE WHEN t.has_past THEN t.average_7d_cost END,
               CASE WHEN t.has_past THEN t.average_7d_requests END
          FROM (
              SELECT e.*,
                     lag(e.cost) OVER days AS previous_cost,
                     avg(e.cost) OVER week AS average_7d_cost,
                     avg(e.requests) OVER week AS average_7d_requests
                FROM (
                    SELECT c.day,
                           coalesce(u.requests, 0) AS requests,
                           coalesce(u.total_tokens, 0) AS total_tokens,
                           CASE WHEN u.day IS NULL THEN 0 ELSE u.cost END AS cost,
                           coalesce(u.unpriced_requests, 0) AS unpriced_requests,
                           coalesce(c.day >= f.day, false) AS has_past
                      FROM (SELECT $1 - n AS day FROM generate_series(0, $2 + 6) AS n) AS c
                     CROSS JOIN (SELECT min(d.day) AS day FROM ' || source || ') AS f
                      LEFT JOIN (SELECT d.day, d.requests, d.total_tokens, d.cost, d.unpriced_requests
                                   FROM ' || source || ' AND d.day >= $1 - $2 - 6 AND d.day <= $1) AS u ON u.day = c.day
                ) AS e
              WINDOW days AS (PARTITION BY e.has_past ORDER BY e.day),
                     week AS (days ROWS 6 PRECEDING)
          ) AS t
         WHERE t.day > $1 - $2
         ORDER BY t.day'
    USING today, days, org;
END
$$;

COMMENT ON FUNCTION usage_monitor.cost_trend(integer, text) IS
    'A row for each of the last days, idle ones too, the last of them today: the columns of usage_trend, of one organisation, or of all together. Days before the first call have no change and no average. Error: UM001 for days outside 1 to 36600.';
