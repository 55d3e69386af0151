/*
 * Forecast: what the month will cost by its end.
 *
 * The cost of a day is explained by its weekday and a straight line: least
 * squares over the days before today, idle ones counted as 0.  Subtracting
 * each weekday's means of day and cost leaves the slope of the line as one
 * quotient (Frisch and Waugh), the same as that of the regression with seven
 * weekdays and a line in it.  The interval is the exact one of that
 * regression for the sum of the days to come: what each of them may differ by,
 * and how well the line and the weekdays are known.
 *
 * Money is exact as far as the ledger knows it; statistics are double
 * precision, rounded at the end.
 */
CREATE FUNCTION _usage_monitor._student_975(freedom double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
           WHEN freedom < 1 THEN NULL
           WHEN freedom <= 6 THEN
               (ARRAY[12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469]::double precision[])[freedom::integer]
           -- Cornish and Fisher: off by less than 0.002
           ELSE 1.959964 + 2.372271 / freedom + 2.822492 / freedom ^ 2 + 2.5559 / freedom ^ 3
       END;

COMMENT ON FUNCTION _usage_monitor._student_975(double precision) IS
    'Beyond how many standard deviations Student''s t is in one case of forty, by degrees of freedom: 19 of 20 lie within plus and minus that. NULL below one degree.';

CREATE FUNCTION _usage_monitor._check_forecast(at timestamptz, of_scope text, history integer) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _usage_monitor._check_instant('at', at, 'Give an instant of the month that is to be forecast, or leave "at" out for this one.');
    IF of_scope NOT IN ('all', 'org', 'model') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown scope "%s" of a forecast', of_scope),
            HINT = 'Scopes are all, org and model; NULL: each of them.';
    END IF;
    PERFORM _usage_monitor._check_count('history', history, 7, 731, 'It is how many days before today are looked at; 90 if it is left out.');
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_forecast(timestamptz, text, integer) IS 'Refuses what cannot be forecast (UM001, UM008).';

/*
 * What is known of each series by today: its sums, and the model.  A weekday
 * has the place of its number in the arrays; with less than two weeks, where
 * weekdays are not told apart, there is one place for all of them.
 */
CREATE FUNCTION _usage_monitor._forecast_model(today date, of_scope text, history integer)
RETURNS TABLE (
    n bigint, scope text, subject text, provider text,
    month_to_date numeric, before_today numeric, cost_today numeric, last_7_days numeric,
    days integer, unpriced_requests bigint,
    has_weekdays boolean, mean_days bigint[], mean_t double precision[], mean_cost double precision[],
    slope double precision, spread double precision, freedom integer,
    error_square double precision, error double precision, recent_error double precision,
    square double precision, cost double precision
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    month_start CONSTANT date := date_trunc('month', today::timestamp)::date;
    -- with two days or more of each weekday, a weekday has a mean and the line a slope
    enough      CONSTANT integer := 14;
    oldest      CONSTANT date := today - history;
    first_read  CONSTANT date := least(oldest, month_start);
BEGIN
    RETURN QUERY
    WITH used AS (
        SELECT 'all' AS scope, NULL::text AS subject, NULL::text AS provider,
               d.day, d.cost, d.unpriced_requests
          FROM usage_monitor.daily_total d
         WHERE d.day >= first_read
           AND d.day <= today
           AND (of_scope IS NULL OR of_scope = 'all')
        UNION ALL
        SELECT 'org', d.org, NULL, d.day, d.cost, d.unpriced_requests
          FROM usage_monitor.daily_usage d
         WHERE d.day >= first_read
           AND d.day <= today
           AND (of_scope IS NULL OR of_scope = 'org')
        UNION ALL
        SELECT 'model', d.model, d.provider, d.day, d.cost, d.unpriced_requests
          FROM usage_monitor.model_total d
         WHERE d.day >= first_read
           AND d.day <= today
           AND (of_scope IS NULL OR of_scope = 'model')
    ), numbered AS MATERIALIZED (
        SELECT u.*, dense_rank() OVER (ORDER BY array_position('{all,org,model}', u.scope),
                                          u.subject COLLATE "C", u.provider COLLATE "C") AS n
          FROM used u
    ), series AS MATERIALIZED (
        SELECT u.n,
               min(u.scope) AS scope,
               min(u.subject) AS subject,
               min(u.provider) AS provider,
               coalesce(sum(u.cost) FILTER (WHERE u.day >= month_start), 0) AS month_to_date,
               coalesce(sum(u.cost) FILTER (WHERE u.day >= month_start AND u.day < today), 0) AS before_today,
               coalesce(sum(u.cost) FILTER (WHERE u.day = today), 0) AS cost_today,
               coalesce(sum(u.cost) FILTER (WHERE u.day >= today - 7 AND u.day < today), 0) AS last_7_days,
               today - greatest(min(u.day), oldest) AS days,
               sum(u.unpriced_requests)::bigint AS unpriced_requests
          FROM numbered u
         GROUP BY u.n
        -- today is not over: it is no history
        HAVING min(u.day) < today
    ), history AS MATERIALIZED (
        -- every day of each, idle ones too; t counts days up to today, which is 0
        SELECT s.n,
               -t.back AS t,
               CASE WHEN s.days >= enough THEN extract(isodow FROM today - t.back)::integer ELSE 0 END AS weekday,
               coalesce(u.cost, 0)::double precision AS cost
          FROM series s
         CROSS JOIN LATERAL generate_series(1, s.days) AS t (back)
          LEFT JOIN numbered u ON u.n = s.n AND u.day = today - t.back
    ), weekday AS MATERIALIZED (
        SELECT h.n, h.weekday, count(*) AS days, avg(h.t)::double precision AS t, avg(h.cost) AS cost
          FROM history h
         GROUP BY h.n, h.weekday
    ), line AS MATERIALIZED (
        SELECT h.n,
               sum((h.t - w.t) * (h.cost - w.cost)) / sum((h.t - w.t) ^ 2) AS slope,
               sum((h.t - w.t) ^ 2) AS spread
          FROM history h
          JOIN weekday w ON w.n = h.n AND w.weekday = h.weekday
         WHERE h.weekday > 0
         GROUP BY h.n
    ), fit AS (
        SELECT e.n,
               sum(e.error ^ 2) AS error_square,
               sum(abs(e.error)) AS error,
               -- of the last seven days on average: large where something has changed since
               sum(e.error) FILTER (WHERE e.t >= -7) / count(*) FILTER (WHERE e.t >= -7) AS recent_error,
               sum((e.cost - e.mean) ^ 2) AS square,
               sum(e.cost) AS cost
          FROM (
              SELECT h.n, h.t, h.cost,
                     h.cost - w.cost - coalesce(l.slope, 0) * (h.t - w.t) AS error,
                     avg(h.cost) OVER (PARTITION BY h.n) AS mean
                FROM history h
                JOIN weekday w ON w.n = h.n AND w.weekday = h.weekday
                LEFT JOIN line l ON l.n = h.n) AS e
         GROUP BY e.n
    ), means AS (
        SELECT w.n,
               array_agg(w.days ORDER BY w.weekday) AS days,
               array_agg(w.t ORDER BY w.weekday) AS t,
               array_agg(w.cost ORDER BY w.weekday) AS cost
          FROM weekday w
         GROUP BY w.n
    )
    SELECT s.n, s.scope, s.subject, s.provider,
           s.month_to_date, s.before_today, s.cost_today, s.last_7_days,
           s.days, s.unpriced_requests,
           l.n IS NOT NULL, m.days, m.t, m.cost,
           l.slope, l.spread, s.days - CASE WHEN l.n IS NULL THEN 1 ELSE 8 END,
           f.error_square, f.error, f.recent_error, f.square, f.cost
      FROM series s
      JOIN fit f ON f.n = s.n
      JOIN means m ON m.n = s.n
      LEFT JOIN line l ON l.n = s.n;
END
$$;

COMMENT ON FUNCTION _usage_monitor._forecast_model(date, text, integer) IS
    'Sums and model of everything, of each organisation and of each model, from so many days before today.';

CREATE FUNCTION _usage_monitor._forecast_place(has_weekdays boolean, day date) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN has_weekdays THEN extract(isodow FROM day)::integer ELSE 1 END;

COMMENT ON FUNCTION _usage_monitor._forecast_place(boolean, date) IS 'Where the arrays of _forecast_model() have a day''s means.';

CREATE FUNCTION usage_monitor.forecast(
    at timestamptz DEFAULT now(),
    of_scope text DEFAULT NULL,
    history integer DEFAULT 90
) RETURNS TABLE (
    scope text, subject text, provider text, month date,
    month_to_date numeric, days_elapsed integer, days_left integer,
    forecast numeric, lower_bound numeric, upper_bound numeric, simple_forecast numeric,
    daily_trend numeric, history_days integer,
    r_squared numeric, error_percentage numeric, recent_error_percentage numeric,
    confidence text, unpriced_requests bigint, currency text
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    today       CONSTANT date := usage_monitor.ledger_day(at);
    month_start date;
    next_month  date;
BEGIN
    PERFORM _usage_monitor._check_forecast(at, of_scope, history);
    month_start := date_trunc('month', today::timestamp)::date;
    next_month := (month_start + interval '1 month')::date;

    RETURN QUERY
    WITH model AS MATERIALIZED (
        SELECT m.* FROM _usage_monitor._forecast_model(today, of_scope, history) m
    ), ahead AS (
        SELECT a.n, a.days, a.lever, a.cost, a.known
          FROM (
              SELECT m.n, w.place,
                     count(*) AS days,
                     sum(t.ahead - m.mean_t[w.place]) AS lever,
                     -- today is not forecast to cost less than it has
                     sum(greatest(m.mean_cost[w.place] + coalesce(m.slope, 0) * (t.ahead - m.mean_t[w.place]),
                                  CASE t.ahead WHEN 0 THEN m.cost_today::double precision ELSE 0 END)) AS cost,
                     min(m.mean_days[w.place]) AS known
                FROM model m
               CROSS JOIN generate_series(0, next_month - today - 1) AS t (ahead)
               CROSS JOIN LATERAL _usage_monitor._forecast_place(m.has_weekdays, today + t.ahead) AS w (place)
               GROUP BY m.n, w.place) AS a
    ), remainder AS (
        SELECT a.n,
               sum(a.cost) AS cost,
               -- in units of the variance of one day
               sum(a.days) + sum(a.days::double precision ^ 2 / a.known) AS variance,
               sum(a.lever) AS lever
          FROM ahead a
         GROUP BY a.n
    ), result AS (
        SELECT m.*,
               m.before_today + r.cost::numeric AS forecast,
               (_usage_monitor._student_975(m.freedom)
                * sqrt(m.error_square / nullif(m.freedom, 0) * (r.variance + coalesce(r.lever ^ 2 / m.spread, 0))))::numeric AS margin,
               -- no variance but that of rounding
               CASE WHEN m.square <= 1e-20 * m.cost ^ 2 THEN 1
                    ELSE greatest(1 - m.error_square / m.square, 0) END AS r_squared,
               100 * m.error / nullif(m.cost, 0) AS error_percentage,
               100 * m.recent_error / nullif(m.cost / m.days, 0) AS recent_error_percentage
          FROM model m
          JOIN remainder r ON r.n = m.n
    )
    SELECT r.scope, r.subject, r.provider, month_start,
           r.month_to_date,
           today - month_start,
           next_month - today,
           greatest(trim_scale(round(r.forecast, 6)), r.month_to_date),
           greatest(trim_scale(round(r.forecast - r.margin, 6)), r.month_to_date),
           greatest(trim_scale(round(r.forecast + r.margin, 6)), CASE WHEN r.margin IS NOT NULL THEN r.month_to_date END),
           trim_scale(round(r.last_7_days * (next_month - month_start) / least(r.days, 7), 6)),
           trim_scale(round(r.slope::numeric, 6)),
           r.days,
           round(r.r_squared::numeric, 4),
           round(r.error_percentage::numeric, 2),
           round(r.recent_error_percentage::numeric, 2),
           CASE WHEN r.days >= 56 AND c.error <= 20 THEN 'high'
                WHEN r.days >= 28 AND c.error <= 40 THEN 'medium'
                ELSE 'low' END,
           r.unpriced_requests,
           usage_monitor.ledger_currency()
      FROM result r
     CROSS JOIN LATERAL (SELECT coalesce(greatest(r.error_percentage, abs(r.recent_error_percentage)), 0) AS error) AS c
     ORDER BY r.n;
END
$$;

COMMENT ON FUNCTION usage_monitor.forecast(timestamptz, text, integer) IS
    'What the month of that instant will cost by its end, of everything, of each organisation and of each model (of_scope: one of all, org and model; NULL: all three), from so many days before the instant''s day, which counts whole. With 14 days or more: weekdays and a straight line by least squares, idle days being 0; with fewer: their average. No row for what had no usage before that day. The columns are those of cost_forecast. Errors: UM001 not an instant, or history that is not from 7 to 731 days; UM008 unknown scope.';

CREATE FUNCTION usage_monitor.forecast_days(
    at timestamptz DEFAULT now(),
    of_scope text DEFAULT 'all',
    of_subject text DEFAULT NULL,
    history integer DEFAULT 90
) RETURNS TABLE (
    scope text, subject text, provider text, day date,
    cost numeric, lower_bound numeric, upper_bound numeric, currency text
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    today      CONSTANT date := usage_monitor.ledger_day(at);
    next_month date;
BEGIN
    PERFORM _usage_monitor._check_forecast(at, of_scope, history);
    next_month := (date_trunc('month', today::timestamp) + interval '1 month')::date;

    RETURN QUERY
    SELECT d.scope, d.subject, d.provider, d.day,
           trim_scale(round(greatest(d.cost, d.so_far)::numeric, 6)),
           trim_scale(round(greatest(d.cost - d.margin, d.so_far)::numeric, 6)),
           trim_scale(round(CASE WHEN d.margin IS NOT NULL THEN greatest(d.cost + d.margin, d.so_far) END::numeric, 6)),
           usage_monitor.ledger_currency()
      FROM (
          SELECT m.n, m.scope, m.subject, m.provider, today + t.ahead AS day,
                 m.mean_cost[w.place] + coalesce(m.slope, 0) * l.lever AS cost,
                 CASE t.ahead WHEN 0 THEN m.cost_today::double precision ELSE 0 END AS so_far,
                 _usage_monitor._student_975(m.freedom)
                 * sqrt(m.error_square / nullif(m.freedom, 0)
                        * (1 + 1.0::double precision / m.mean_days[w.place] + coalesce(l.lever ^ 2 / m.spread, 0))) AS margin
            FROM _usage_monitor._forecast_model(today, of_scope, history) m
           CROSS JOIN generate_series(0, next_month - today - 1) AS t (ahead)
           CROSS JOIN LATERAL _usage_monitor._forecast_place(m.has_weekdays, today + t.ahead) AS w (place)
           CROSS JOIN LATERAL (SELECT t.ahead - m.mean_t[w.place] AS lever) AS l
           WHERE of_subject IS NULL OR m.subject = of_subject) AS d
     ORDER BY d.n, d.day;
END
$$;

COMMENT ON FUNCTION usage_monitor.forecast_days(timestamptz, text, text, integer) IS
    'What each day of the month that is left will cost, that of the instant included and whole, by the model of forecast(): of everything (of_scope all), of organisations (org) or models (model), of one of them (of_subject) or of each (NULL); of_scope NULL: all three. With what the month had cost before, they add up to the forecast but for the last decimal. A day is between lower_bound and upper_bound in 19 cases of 20; NULL: a single day of history does not tell. No row for what had no usage before that day. Errors as for forecast().';

CREATE VIEW usage_monitor.cost_forecast WITH (security_invoker = true) AS
SELECT f.scope, f.subject, f.provider, f.month,
       f.month_to_date, f.days_elapsed, f.days_left,
       f.forecast, f.lower_bound, f.upper_bound, f.simple_forecast,
       f.daily_trend, f.history_days, f.r_squared, f.error_percentage, f.recent_error_percentage,
       f.confidence, f.unpriced_requests, f.currency
  FROM usage_monitor.forecast() f;

COMMENT ON VIEW usage_monitor.cost_forecast IS
    'What this month will cost by its end: of everything, of each organisation and of each model, from trend and weekdays of up to 90 days. For another instant, ask forecast().';
COMMENT ON COLUMN usage_monitor.cost_forecast.scope IS 'all, org or model.';
COMMENT ON COLUMN usage_monitor.cost_forecast.subject IS 'Which organisation or model; NULL: all together.';
COMMENT ON COLUMN usage_monitor.cost_forecast.provider IS 'Provider of the model; NULL for other scopes.';
COMMENT ON COLUMN usage_monitor.cost_forecast.month IS 'First day of the month, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.cost_forecast.month_to_date IS 'Cost of the month so far, today included, exact.';
COMMENT ON COLUMN usage_monitor.cost_forecast.days_elapsed IS 'Days of the month that are over.';
COMMENT ON COLUMN usage_monitor.cost_forecast.days_left IS 'Days of the month that are not, today included.';
COMMENT ON COLUMN usage_monitor.cost_forecast.forecast IS 'What the month will have cost, to six decimals: what it has by yesterday, and what trend and weekdays say of the days left; today what it has cost already, if that is more. Never below month_to_date.';
COMMENT ON COLUMN usage_monitor.cost_forecast.lower_bound IS 'Least of the interval that holds the month''s cost in 19 cases of 20, if days differ from the forecast as they did, each on its own.';
COMMENT ON COLUMN usage_monitor.cost_forecast.upper_bound IS 'Most of that interval; NULL: a single day of history does not tell.';
COMMENT ON COLUMN usage_monitor.cost_forecast.simple_forecast IS 'For comparison: the average of the last seven days, of fewer if there are no more, times the days of the month.';
COMMENT ON COLUMN usage_monitor.cost_forecast.daily_trend IS 'By how much a day costs more than the day before, weekdays apart; NULL: too little history for a trend.';
COMMENT ON COLUMN usage_monitor.cost_forecast.history_days IS 'Days that the forecast is made from: from the first with usage to yesterday.';
COMMENT ON COLUMN usage_monitor.cost_forecast.r_squared IS 'Which part of the variance of these days trend and weekdays explain, from 0 to 1; 1 where all cost the same.';
COMMENT ON COLUMN usage_monitor.cost_forecast.error_percentage IS 'How far these days are from trend and weekdays on average, in percent of the average day; NULL: all were free.';
COMMENT ON COLUMN usage_monitor.cost_forecast.recent_error_percentage IS 'How far the last seven days are above trend and weekdays on average, below if negative, in percent of the average day: far off where something has changed.';
COMMENT ON COLUMN usage_monitor.cost_forecast.confidence IS 'high: 56 days of history or more, and neither error_percentage nor recent_error_percentage beyond 20; medium: 28 days, and neither beyond 40; else low.';
COMMENT ON COLUMN usage_monitor.cost_forecast.unpriced_requests IS 'Calls of history and month that have no cost, which the forecast knows nothing of.';
COMMENT ON COLUMN usage_monitor.cost_forecast.currency IS 'ISO 4217 code of the ledger''s currency.';

/* The same for days of the ledger's calendar, and what is written without a type. */
CREATE FUNCTION usage_monitor.forecast(
    at date,
    of_scope text DEFAULT NULL,
    history integer DEFAULT 90
) RETURNS SETOF usage_monitor.cost_forecast
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM usage_monitor.forecast(_usage_monitor._instant(forecast.at), forecast.of_scope, forecast.history);
END;

COMMENT ON FUNCTION usage_monitor.forecast(date, text, integer) IS
    'The same as of a day of the ledger''s calendar, whatever the session''s time zone is. Errors: as above.';

CREATE FUNCTION usage_monitor.forecast(
    at text,
    of_scope text DEFAULT NULL,
    history integer DEFAULT 90
) RETURNS SETOF usage_monitor.cost_forecast
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM usage_monitor.forecast(_usage_monitor._instant(forecast.at), forecast.of_scope, forecast.history);
END;

COMMENT ON FUNCTION usage_monitor.forecast(text, text, integer) IS
    'The same for a day or an instant that is written without a type, by the ledger''s clock where it names no zone. Errors: as above, and 22007 for text that is not a day or an instant.';
