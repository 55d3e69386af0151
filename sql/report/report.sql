/*
 * dashboard() and report(): everything about a time in one JSON object.
 *
 * Keys do not change from call to call: what there is none of is an empty
 * list, 0 or null.  Money and counts are JSON numbers with all their digits,
 * instants are ISO 8601 by the ledger's clock.
 */
CREATE FUNCTION _usage_monitor._summary_json(s usage_monitor.usage_summary) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'requests', s.requests,
    'successes', s.successes,
    'errors', s.errors,
    'success_rate', s.success_rate,
    'error_rate', 1 - s.success_rate,
    'input_tokens', s.input_tokens,
    'output_tokens', s.output_tokens,
    'cache_read_input_tokens', s.cache_read_input_tokens,
    'cache_creation_input_tokens', s.cache_creation_input_tokens,
    'reasoning_output_tokens', s.reasoning_output_tokens,
    'total_tokens', s.total_tokens,
    'cache_hit_rate', round(s.cache_read_input_tokens::numeric / nullif(s.input_tokens, 0), 4),
    'cached_requests', s.cached_requests,
    'application_cache_hit_rate', round(s.cached_requests::numeric / nullif(s.requests, 0), 4),
    'input_cost', s.input_cost,
    'output_cost', s.output_cost,
    'other_cost', s.other_cost,
    'cost', s.cost,
    'cost_per_request', trim_scale(s.cost / nullif(s.requests - s.unpriced_requests, 0)),
    'avg_duration_ms', round(s.avg_duration_ms::numeric, 3),
    'unpriced_requests', s.unpriced_requests);

COMMENT ON FUNCTION _usage_monitor._summary_json(usage_monitor.usage_summary) IS 'The measures of a summary, for a report.';

CREATE FUNCTION _usage_monitor._period_json(s usage_monitor.usage_summary) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'name', s.name,
    'start', _usage_monitor._iso_time(s.period_start),
    'end', _usage_monitor._iso_time(s.period_end)) || _usage_monitor._summary_json(s);

COMMENT ON FUNCTION _usage_monitor._period_json(usage_monitor.usage_summary) IS 'A summary with its time, for a report.';

CREATE FUNCTION _usage_monitor._change_json(s usage_monitor.usage_summary, previous usage_monitor.usage_summary) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT jsonb_object_agg(c.name, c.now - c.before)
           || jsonb_object_agg(c.name || '_percentage', round(100 * (c.now - c.before) / nullif(c.before, 0), 2))
      FROM (VALUES ('requests', s.requests, previous.requests),
                   ('errors', s.errors, previous.errors),
                   ('total_tokens', s.total_tokens, previous.total_tokens),
                   ('cost', s.cost, previous.cost)) AS c (name, now, before);
END;

COMMENT ON FUNCTION _usage_monitor._change_json(usage_monitor.usage_summary, usage_monitor.usage_summary) IS
    'How much more one time has than another, and that in percent of the other, to two decimals.';

CREATE FUNCTION _usage_monitor._breakdown(
    period_start timestamptz,
    period_end timestamptz,
    group_by text,
    org text,
    "limit" integer,
    OUT listed jsonb,
    OUT others jsonb,
    OUT names bigint
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found CONSTANT record := _usage_monitor._dearest('day', period_start, period_end, group_by, org, "limit");
    part  CONSTANT usage_monitor.usage_summary[] := found.listed;
    whole usage_monitor.usage_summary;
BEGIN
    names := found.names;
    SELECT coalesce(jsonb_agg(
               CASE WHEN group_by IN ('user', 'department', 'project') THEN jsonb_build_object('org', (part[i]).org)
                    WHEN group_by = 'model' THEN jsonb_build_object('provider', (part[i]).provider)
                    WHEN group_by = 'tag' THEN jsonb_build_object('key', (part[i]).key)
                    ELSE '{}' END
               || jsonb_build_object(CASE group_by WHEN 'user' THEN 'user_id' WHEN 'tag' THEN 'value' ELSE group_by END, (part[i]).name,
                                     'cost_percentage', (part[i]).cost_percentage)
               || _usage_monitor._summary_json(part[i]) ORDER BY i), '[]')
      INTO listed
      FROM generate_subscripts(part, 1) AS i;

    IF found.rows >= "limit" THEN
        -- a call counts under each of its tags: there is no rest of a whole
        IF group_by = 'tag' THEN
            others := jsonb_build_object('count', found.rows - "limit");
            RETURN;
        END IF;
        SELECT s.* INTO whole FROM _usage_monitor._usage_sum('day', period_start, period_end, org => org) AS s;
        SELECT jsonb_build_object(
                   'count', found.rows - "limit",
                   'requests', whole.requests - sum((part[i]).requests),
                   'errors', whole.errors - sum((part[i]).errors),
                   'total_tokens', whole.total_tokens - sum((part[i]).total_tokens),
                   'cost', coalesce(whole.cost - sum((part[i]).cost), 0),
                   'unpriced_requests', whole.unpriced_requests - sum((part[i]).unpriced_requests))
          INTO others
          FROM generate_subscripts(part, 1) AS i;
    ELSE
        others := jsonb_build_object('count', 0, 'requests', 0, 'errors', 0, 'total_tokens', 0, 'cost', 0,
                                     'unpriced_requests', 0);
        IF group_by = 'tag' THEN
            others := '{"count": 0}';
        END IF;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._breakdown(timestamptz, timestamptz, text, text, integer) IS
    'The dearest rows of usage_between(), the sum of the rows that the limit left out (of tags, how many), and how many names there are in all.';

CREATE FUNCTION _usage_monitor._tag_keys_json(first_day date, past_day date, org text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    result jsonb;
BEGIN
    EXECUTE format($query$
        SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.cost DESC NULLS LAST, k.key), '[]')
          FROM (
              SELECT v.key,
                     count(DISTINCT v.value) AS "values",
                     sum(v.requests)::bigint AS requests,
                     sum(v.errors)::bigint AS errors,
                     sum(v.total_tokens)::bigint AS total_tokens,
                     sum(v.cost) AS cost,
                     sum(v.unpriced_requests)::bigint AS unpriced_requests
                FROM usage_monitor.tag_usage v
               WHERE v.day >= $1
                 AND v.day < $2
                 AND %s
               GROUP BY v.key) AS k
        $query$,
        CASE WHEN org IS NULL THEN 'true' ELSE 'v.org = $3' END)
       INTO result
      USING first_day, past_day, org;
    RETURN result;
END
$$;

COMMENT ON FUNCTION _usage_monitor._tag_keys_json(date, date, text) IS 'What the calls with a tag of that name come to, whatever its value, the dearest name first.';

CREATE FUNCTION _usage_monitor._unpriced_json(period_start timestamptz, period_end timestamptz, org text) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT jsonb_build_object(
               'requests', coalesce(sum(s.unpriced_requests), 0),
               'models', coalesce(jsonb_agg(jsonb_build_object('provider', s.provider, 'model', s.name,
                                                               'requests', s.unpriced_requests)
                                            ORDER BY s.unpriced_requests DESC, s.provider COLLATE "C", s.name COLLATE "C"), '[]'))
      FROM _usage_monitor._usage_sum('day', _unpriced_json.period_start, _unpriced_json.period_end,
                                    'model', _unpriced_json.org) AS s
     WHERE s.unpriced_requests > 0;
END;

COMMENT ON FUNCTION _usage_monitor._unpriced_json(timestamptz, timestamptz, text) IS 'The models with calls that have no cost.';

CREATE FUNCTION _usage_monitor._cache_json(first_day date, past_day date, org text) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT jsonb_build_object(
               'provider_cache_saving_estimate', s.provider,
               'cache_creation_premium_estimate', s.premium,
               'application_cache_saving_estimate', s.application)
      FROM _usage_monitor._cache_savings(_cache_json.first_day, _cache_json.past_day, _cache_json.org, NULL) AS s;
END;

COMMENT ON FUNCTION _usage_monitor._cache_json(date, date, text) IS 'What caches saved: the estimates of cache_efficiency.';

CREATE FUNCTION _usage_monitor._alerts_json(
    since timestamptz,
    until timestamptz,
    unresolved boolean,
    org text,
    "limit" integer
) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH raised AS MATERIALIZED (
        SELECT a.*,
               CASE WHEN a.resolved_at IS NOT NULL THEN 'resolved'
                    WHEN a.acknowledged_at IS NOT NULL THEN 'acknowledged'
                    ELSE 'open' END AS state,
               row_number() OVER (ORDER BY a.raised_at DESC, a.alert_id DESC) AS position
          FROM usage_monitor.alert AS a
          LEFT JOIN usage_monitor.quota AS q ON q.quota_id = a.quota_id
          LEFT JOIN usage_monitor.alert_rule AS r ON r.alert_rule_id::text = a.details ->> 'alert_rule_id'
         WHERE a.raised_at >= _alerts_json.since
           AND a.raised_at < _alerts_json.until
           AND (NOT _alerts_json.unresolved OR a.resolved_at IS NULL)
           AND (_alerts_json.org IS NULL
                OR q.org = _alerts_json.org
                OR (q.scope = 'org' AND a.subject = _alerts_json.org)
                OR (a.alert_type = 'anomaly' AND a.subject = _alerts_json.org)
                OR r.org = _alerts_json.org
                OR a.details -> 'dimensions' ->> 'org' = _alerts_json.org)
    )
    SELECT jsonb_build_object(
               'count', (SELECT count(*) FROM raised),
               'open', (SELECT count(*) FROM raised AS r WHERE r.state = 'open'),
               'acknowledged', (SELECT count(*) FROM raised AS r WHERE r.state = 'acknowledged'),
               'resolved', (SELECT count(*) FROM raised AS r WHERE r.state = 'resolved'),
               'by_level', (SELECT coalesce(jsonb_object_agg(l.level, l.alerts), '{}')
                              FROM (SELECT r.level, count(*) AS alerts FROM raised AS r GROUP BY r.level) AS l),
               'latest', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                     'alert_id', r.alert_id,
                                     'alert_type', r.alert_type,
                                     'level', r.level,
                                     'state', r.state,
                                     'subject', r.subject,
                                     'used', r.used,
                                     'amount', r.amount,
                                     'message', r.message,
                                     'raised_at', _usage_monitor._iso_time(r.raised_at)) ORDER BY r.position), '[]')
                            FROM raised AS r
                           WHERE r.position <= _alerts_json."limit"));
END;

COMMENT ON FUNCTION _usage_monitor._alerts_json(timestamptz, timestamptz, boolean, text, integer) IS
    'The alerts that were raised in a time; of an organisation: those of its quotas, rules and anomalies.';

CREATE FUNCTION _usage_monitor._quotas_json(org text, "limit" integer) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH status AS MATERIALIZED (
        SELECT s.*,
               row_number() OVER (ORDER BY s.percentage DESC, s.name, s.subject COLLATE "C") AS position
          FROM usage_monitor.quota_status AS s
          JOIN usage_monitor.quota AS q ON q.quota_id = s.quota_id
         WHERE _quotas_json.org IS NULL
            OR q.org = _quotas_json.org
            OR (q.scope = 'org' AND s.subject = _quotas_json.org)
    )
    SELECT jsonb_build_object(
               'ok', count(*) FILTER (WHERE s.state = 'ok'),
               'warning', count(*) FILTER (WHERE s.state = 'warning'),
               'critical', count(*) FILTER (WHERE s.state = 'critical'),
               'exceeded', count(*) FILTER (WHERE s.state = 'exceeded'),
               'near_limit', coalesce(jsonb_agg(jsonb_build_object(
                                 'name', s.name,
                                 'scope', s.scope,
                                 'subject', s.subject,
                                 'metric', s.metric,
                                 'period', s.period,
                                 'period_start', _usage_monitor._iso_time(s.period_start),
                                 'period_end', _usage_monitor._iso_time(s.period_end),
                                 'amount', s.amount,
                                 'used', s.used,
                                 'reserved', s.reserved,
                                 'remaining', s.remaining,
                                 'percentage', s.percentage,
                                 'state', s.state,
                                 'enforcement', s.enforcement,
                                 'projected', s.projected,
                                 'runs_out_at', _usage_monitor._iso_time(s.runs_out_at)) ORDER BY s.position)
                             FILTER (WHERE s.state <> 'ok' AND s.position <= _quotas_json."limit"), '[]'))
      FROM status AS s;
END;

COMMENT ON FUNCTION _usage_monitor._quotas_json(text, integer) IS
    'How the quotas stand now, and those that are past a threshold; of an organisation: quotas on it, or on its calls alone.';

/*
 * Half a week against a whole one says little: a period that runs is compared
 * by its full hours so far with the same of the one before.
 */
CREATE FUNCTION _usage_monitor._to_date_json(before timestamptz, starts timestamptz, ends timestamptz, org text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    zone        CONSTANT text := usage_monitor.ledger_time_zone();
    until       timestamptz;
    then_until  timestamptz;
    so_far      usage_monitor.usage_summary;
    then_so_far usage_monitor.usage_summary;
    source      text;
    first_hour  timestamptz;
BEGIN
    IF now() < starts OR now() >= ends THEN
        RETURN NULL;
    END IF;
    until := usage_monitor.ledger_hour(now());
    then_until := least(starts, usage_monitor.ledger_hour(
                      ((before AT TIME ZONE zone) + ((until AT TIME ZONE zone) - (starts AT TIME ZONE zone))) AT TIME ZONE zone));
    SELECT s.* INTO so_far FROM _usage_monitor._usage_sum('hour', starts, until, org => org) AS s;
    SELECT s.* INTO then_so_far FROM _usage_monitor._usage_sum('hour', before, then_until, org => org) AS s;
    -- nothing to compare with where the ledger began meanwhile
    source := CASE WHEN org IS NULL THEN 'usage_monitor.hourly_total AS h WHERE true' ELSE 'usage_monitor.hourly_usage AS h WHERE h.org = $3' END;
    EXECUTE 'SELECT min(h.hour) FROM ' || source || ' AND h.hour >= $1 AND h.hour < $2' INTO first_hour USING before, then_until, org;
    RETURN jsonb_build_object(
               'end', _usage_monitor._iso_time(until),
               'previous_end', _usage_monitor._iso_time(then_until),
               'previous_first_hour', _usage_monitor._iso_time(first_hour),
               'requests', so_far.requests,
               'cost', so_far.cost,
               'previous_requests', then_so_far.requests,
               'previous_cost', then_so_far.cost,
               'change', _usage_monitor._change_json(so_far, then_so_far));
END
$$;

COMMENT ON FUNCTION _usage_monitor._to_date_json(timestamptz, timestamptz, timestamptz, text) IS
    'The full hours of a running time against the same of the one before, which starts at "before", and the first of these that has a call; NULL: it does not run.';

CREATE FUNCTION _usage_monitor._to_date_json(unit text, starts timestamptz, ends timestamptz, org text) RETURNS jsonb
    LANGUAGE sql STABLE
RETURN _usage_monitor._to_date_json(usage_monitor.period_start(starts - interval '1 microsecond', unit, usage_monitor.ledger_time_zone()),
                                    starts, ends, org);

COMMENT ON FUNCTION _usage_monitor._to_date_json(text, timestamptz, timestamptz, text) IS
    'The same of a day, week or month.';

CREATE FUNCTION _usage_monitor._report(
    period text,
    unit text,
    before timestamptz,
    starts timestamptz,
    ends timestamptz,
    org text
) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    zone        CONSTANT text := usage_monitor.ledger_time_zone();
    step        CONSTANT text := CASE WHEN usage_monitor.ledger_day(ends) - usage_monitor.ledger_day(starts) = 1 THEN 'hour' ELSE 'day' END;
    summary     usage_monitor.usage_summary;
    previous    usage_monitor.usage_summary;
    to_date     jsonb;
    trend       jsonb;
    parts       jsonb := '{}';
    others      jsonb := '{}';
    users       bigint;
    keys        jsonb;
    part        record;
BEGIN
    PERFORM _usage_monitor._sum_up_tail(CASE WHEN org IS NULL AND _usage_monitor._confinement() = 0
                                             THEN '{hour_total, day_total, day, project, user, model_total, operation_total, tag}'
                                             ELSE '{hour, day_total, day, project, user, model, operation, tag}' END::text[]);
    SELECT s.* INTO summary FROM _usage_monitor._usage_sum(unit, starts, ends, org => org) AS s;
    SELECT s.* INTO previous FROM _usage_monitor._usage_sum(unit, before, starts, org => org) AS s;

    to_date := _usage_monitor._to_date_json(before, starts, ends, org);
    IF period = 'days' THEN
        summary.name := format('%s/%s', to_char(usage_monitor.ledger_day(starts), 'YYYY-MM-DD'), to_char(usage_monitor.ledger_day(ends) - 1, 'YYYY-MM-DD'));
        previous.name := format('%s/%s', to_char(usage_monitor.ledger_day(before), 'YYYY-MM-DD'), to_char(usage_monitor.ledger_day(starts) - 1, 'YYYY-MM-DD'));
    END IF;

    SELECT coalesce(jsonb_agg(jsonb_build_object(
                        'name', _usage_monitor._period_name(step, b.bucket),
                        'start', _usage_monitor._iso_time(b.bucket),
                        'requests', coalesce(s.requests, 0),
                        'errors', coalesce(s.errors, 0),
                        'total_tokens', coalesce(s.total_tokens, 0),
                        'cost', CASE WHEN s.period IS NULL THEN 0 ELSE s.cost END,
                        'unpriced_requests', coalesce(s.unpriced_requests, 0)) ORDER BY b.bucket), '[]')
      INTO trend
      FROM (
          SELECT DISTINCT CASE step WHEN 'hour' THEN usage_monitor.ledger_hour(t.at)
                                    ELSE _usage_monitor._day_start(usage_monitor.ledger_day(t.at)) END AS bucket
            -- there are places that change their clocks by half an hour
            FROM generate_series(starts, ends - interval '1 microsecond',
                                 CASE step WHEN 'hour' THEN interval '30 minutes' ELSE interval '12 hours' END) AS t (at)
      ) AS b
      LEFT JOIN _usage_monitor._usage_sum(step, starts, ends, step, org) AS s ON s.period_start = b.bucket
     WHERE b.bucket <= now() OR s.period IS NOT NULL;

    FOR part IN
        SELECT b.key, f.*
          FROM (VALUES ('by_org', 'org'),
                       ('by_department', 'department'),
                       ('by_project', 'project'),
                       ('by_user', 'user'),
                       ('by_provider', 'provider'),
                       ('by_model', 'model'),
                       ('by_operation', 'operation'),
                       ('by_source', 'source'),
                       ('by_service_tier', 'service_tier'),
                       ('by_tag', 'tag')) AS b (key, group_by)
         CROSS JOIN LATERAL _usage_monitor._breakdown(starts, ends, b.group_by, org, 50) AS f
    LOOP
        parts := parts || jsonb_build_object(part.key, part.listed);
        others := others || jsonb_build_object(part.key, part.others);
        IF part.key = 'by_user' THEN
            users := part.names;
        END IF;
    END LOOP;

    -- a share of the calls that have a tag of that name, also of those that the limit left out
    keys := _usage_monitor._tag_keys_json(usage_monitor.ledger_day(starts), usage_monitor.ledger_day(ends), org);
    SELECT jsonb_set(parts, '{by_tag}', coalesce(jsonb_agg(
               t.tag || jsonb_build_object('cost_percentage',
                                           round(100 * (t.tag ->> 'cost')::numeric / nullif((k.key ->> 'cost')::numeric, 0), 2))
               ORDER BY t.place), '[]'))
      INTO parts
      FROM jsonb_array_elements(parts -> 'by_tag') WITH ORDINALITY AS t (tag, place)
      JOIN jsonb_array_elements(keys) AS k (key) ON k.key ->> 'key' = t.tag ->> 'key';

    RETURN jsonb_build_object(
               'report', period,
               'period', jsonb_build_object(
                   'name', summary.name,
                   'start', _usage_monitor._iso_time(starts),
                   'end', _usage_monitor._iso_time(ends),
                   'first_day', usage_monitor.ledger_day(starts),
                   'last_day', usage_monitor.ledger_day(ends) - 1,
                   'time_zone', zone,
                   'complete', now() >= ends),
               'generated_at', _usage_monitor._iso_time(now()),
               'org', org,
               'currency', usage_monitor.ledger_currency(),
               'summary', _usage_monitor._summary_json(summary)
                          || jsonb_build_object('active_users', users)
                          || _usage_monitor._cache_json(usage_monitor.ledger_day(starts), usage_monitor.ledger_day(ends), org),
               'comparison', jsonb_build_object(
                   'previous', _usage_monitor._period_json(previous),
                   'change', _usage_monitor._change_json(summary, previous),
                   'to_date', to_date),
               'trend', trend,
               'others', others,
               'unpriced', _usage_monitor._unpriced_json(starts, ends, org),
               'alerts', _usage_monitor._alerts_json(starts, ends, false, org, 50),
               'quotas', _usage_monitor._quotas_json(org, 50))
           || parts
           || jsonb_build_object('by_key', keys);
END
$$;

COMMENT ON FUNCTION _usage_monitor._report(text, text, timestamptz, timestamptz, timestamptz, text) IS
    'The report on the time from "starts" on and before "ends", in comparison with that from "before" on; unit is what the views to read are of.';

CREATE FUNCTION usage_monitor.report(
    period text,
    at timestamptz DEFAULT now(),
    org text DEFAULT NULL
) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone CONSTANT text := usage_monitor.ledger_time_zone();
    unit CONSTANT text := CASE period WHEN 'daily' THEN 'day' WHEN 'weekly' THEN 'week' WHEN 'monthly' THEN 'month' END;
BEGIN
    IF unit IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "period" must be a known period, but is %s', _usage_monitor._quoted(period)),
            HINT = 'Reports are daily, weekly or monthly.';
    END IF;
    PERFORM _usage_monitor._check_instant('at', at, 'The report is on the day, week or month that it falls in; leave it out for the one that runs.');

    RETURN _usage_monitor._report(
               period, unit,
               usage_monitor.period_start(usage_monitor.period_start(at, unit, zone) - interval '1 microsecond', unit, zone),
               usage_monitor.period_start(at, unit, zone),
               usage_monitor.period_end(at, unit, zone),
               org);
END
$$;

COMMENT ON FUNCTION usage_monitor.report(text, timestamptz, text) IS
    'The daily, weekly (ISO) or monthly report on the time that the instant falls in, of one organisation or of all, as JSON: period, summary, comparison with the period before (and, while the period runs, of its full hours with the same of the one before: to_date), trend by hour or day, by_org, by_department, by_project, by_user, by_provider, by_model, by_operation, by_source, by_service_tier and by_tag (the 50 dearest of each; others has the sums of the rest, of tags their number), by_key (what the calls with a tag of that name come to), unpriced models, alerts that were raised in it, and quotas as they stand now. Rates are from 0 to 1, percentages of 100; savings are the estimates of cache_efficiency. Errors: UM008 unknown period, UM001 not an instant.';

CREATE FUNCTION usage_monitor.report(period text, at date, org text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT usage_monitor.report(report.period, _usage_monitor._instant(report.at), report.org);
END;

COMMENT ON FUNCTION usage_monitor.report(text, date, text) IS
    'The same of the day, week or month of a day of the ledger''s calendar, whatever the session''s time zone is. Errors: as above.';

CREATE FUNCTION usage_monitor.report(period text, at text, org text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT usage_monitor.report(report.period, _usage_monitor._instant(report.at), report.org);
END;

COMMENT ON FUNCTION usage_monitor.report(text, text, text) IS
    'The same for a day or an instant that is written without a type, by the ledger''s clock where it names no zone: report(''monthly'', ''2026-11-01'') is November. Errors: as above, and 22007 for text that is not a day or an instant.';

CREATE FUNCTION usage_monitor.report(days integer, org text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today CONSTANT date := usage_monitor.ledger_day(now());
BEGIN
    PERFORM _usage_monitor._check_count('days', days, 1, 366, 'The report is on so many days, of which today is the last.');
    RETURN _usage_monitor._report(
               'days', 'day',
               _usage_monitor._day_start(today + 1 - 2 * days),
               _usage_monitor._day_start(today + 1 - days),
               _usage_monitor._day_start(today + 1),
               org);
END
$$;

COMMENT ON FUNCTION usage_monitor.report(integer, text) IS
    'The same of the last days, today included, in comparison with as many before them: report(30). Its name is that of the first and the last day. Error: UM001 not from 1 to 366 days.';

CREATE FUNCTION _usage_monitor._no_usage(unit text, starts timestamptz, ends timestamptz) RETURNS usage_monitor.usage_summary
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT jsonb_populate_record(
               NULL::usage_monitor.usage_summary,
               jsonb_build_object('period', unit, 'period_start', starts, 'period_end', ends,
                                  'name', _usage_monitor._period_name(unit, starts))
               || jsonb_object_agg(c.name, 0))
      FROM unnest('{requests, successes, errors, input_tokens, output_tokens, cache_read_input_tokens,
                    cache_creation_input_tokens, reasoning_output_tokens, total_tokens, input_cost, output_cost,
                    other_cost, cost, unpriced_requests, cached_requests}'::text[]) AS c (name);
END;

COMMENT ON FUNCTION _usage_monitor._no_usage(text, timestamptz, timestamptz) IS 'The summary of a time without calls.';

CREATE FUNCTION usage_monitor.dashboard(org text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    zone     CONSTANT text := usage_monitor.ledger_time_zone();
    today    CONSTANT date := usage_monitor.ledger_day(now());
    tomorrow CONSTANT timestamptz := _usage_monitor._day_start(today + 1);
    since    CONSTANT timestamptz := _usage_monitor._day_start(today - 29);
    current  jsonb;
    previous jsonb;
    to_date  jsonb;
    trend    jsonb;
    users    jsonb;
BEGIN
    PERFORM _usage_monitor._sum_up_tail(CASE WHEN org IS NULL AND _usage_monitor._confinement() = 0
                                             THEN '{hour_total, day_total, user, model_total}'
                                             ELSE '{hour, day_total, day, user, model}' END::text[]);

    -- the current period of each length and the one before it, in one reading
    SELECT jsonb_object_agg(p.unit, _usage_monitor._period_json(p.summary)) FILTER (WHERE p.is_current),
           jsonb_object_agg(p.unit, _usage_monitor._period_json(p.summary)) FILTER (WHERE NOT p.is_current)
      INTO current, previous
      FROM (
          SELECT n.unit,
                 t.is_current,
                 coalesce(s.s, _usage_monitor._no_usage(n.unit, t.starts, t.ends)) AS summary
            FROM (VALUES ('hour'), ('day'), ('week'), ('month')) AS n (unit)
           CROSS JOIN LATERAL usage_monitor.period_start(now(), n.unit, zone) AS starts
           CROSS JOIN LATERAL usage_monitor.period_start(starts - interval '1 microsecond', n.unit, zone) AS before
           CROSS JOIN LATERAL usage_monitor.period_end(now(), n.unit, zone) AS ends
           CROSS JOIN LATERAL (
                     SELECT array_agg(u) AS rows
                       FROM _usage_monitor._usage_sum(n.unit, before, ends, n.unit, dashboard.org) AS u) AS found
           CROSS JOIN LATERAL (VALUES (true, starts, ends), (false, before, starts)) AS t (is_current, starts, ends)
            LEFT JOIN LATERAL unnest(found.rows) AS r ON r.period_start = t.starts
           CROSS JOIN LATERAL (SELECT CASE WHEN r.requests IS NOT NULL THEN r::usage_monitor.usage_summary END) AS s (s)
      ) AS p;

    SELECT jsonb_object_agg(u.unit, _usage_monitor._to_date_json(u.unit, usage_monitor.period_start(now(), u.unit, zone),
                                                                usage_monitor.period_end(now(), u.unit, zone), dashboard.org))
      INTO to_date
      FROM unnest('{day,week,month}'::text[]) AS u (unit);
    SELECT jsonb_agg(to_jsonb(t) - 'currency' ORDER BY t.day)
      INTO trend
      FROM usage_monitor.cost_trend(30, org) AS t;
    SELECT coalesce(jsonb_agg(to_jsonb(t) - '{currency, active_days, last_day}'::text[] ORDER BY t.rank, t.requests DESC, t.org, t.user_id), '[]')
      INTO users
      FROM usage_monitor.top_users(10, 1, org) AS t;

    RETURN jsonb_build_object(
        'generated_at', _usage_monitor._iso_time(now()),
        'time_zone', zone,
        'currency', usage_monitor.ledger_currency(),
        'org', org,
        'current', current,
        'previous', previous,
        'to_date', to_date,
        'trend', trend,
        'top_models', (_usage_monitor._breakdown(since, tomorrow, 'model', org, 10)).listed,
        'top_users_today', users,
        'unpriced', _usage_monitor._unpriced_json(since, tomorrow, org),
        'alerts', _usage_monitor._alerts_json('-infinity', 'infinity', true, org, 10),
        'quotas', _usage_monitor._quotas_json(org, 10));
END
$$;

COMMENT ON FUNCTION usage_monitor.dashboard(text) IS
    'How things stand, of one organisation or of all, as JSON: the current hour, day, week and month beside the previous ones, the full hours of day, week and month so far against the same of the previous ones (to_date; previous_first_hour is the first of these that has a call), the trend, the dearest models and the unpriced ones of the last 30 days, today''s dearest users, alerts that nobody has resolved, and the quotas that are past a threshold.';
