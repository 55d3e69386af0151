--
-- Forecast: the month's end from trend and weekdays
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
-- days of every year
SET usage_monitor.max_future = '100000d';
SET timezone = 'Pacific/Auckland';  -- the ledger's days are not the session's
\set SHOW_CONTEXT never

-- An empty ledger
SELECT count(*) FROM usage_monitor.cost_forecast;

-- Days of a cost that is a formula of t, days since 2026-01-01, and weekday w
CREATE FUNCTION pg_temp.days(name text, first_day date, last_day date, formula text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO usage_monitor.usage (ts, org, provider, model, cost)
                    SELECT (d + time ''10:00'') AT TIME ZONE ''UTC'', %L, ''p'', %L, %s
                      FROM (SELECT d::date AS d, d::date - date ''2026-01-01'' AS t, extract(isodow FROM d) AS w
                              FROM generate_series(%L::timestamp, %L, ''1 day'') d) x ORDER BY d',
                   name, 'of ' || name, formula, first_day, last_day);
END
$$;
CREATE FUNCTION pg_temp.truth(name text, month date) RETURNS numeric LANGUAGE sql AS $$
    SELECT trim_scale(sum(cost)) FROM usage_monitor.daily_usage WHERE org = name AND day >= month AND day < month + interval '1 month';
$$;
-- known until the end of April, forecast on the way: exactly what will have been
SELECT pg_temp.days('1 constant', '2026-01-01', '2026-04-30', '10'),
       pg_temp.days('2 line', '2026-01-01', '2026-04-30', '20 + 0.25 * t'),
       pg_temp.days('3 weekdays', '2026-01-01', '2026-04-30', 'CASE WHEN w < 6 THEN 100 ELSE 7.5 END'),
       pg_temp.days('4 both', '2026-01-01', '2026-04-30', '3 * w + 0.125 * t + 1');
SELECT org, trim_scale(f.forecast) = pg_temp.truth(org, '2026-04-01') AS exact, f.month_to_date, f.forecast, f.lower_bound, f.upper_bound, f.simple_forecast, f.daily_trend, f.r_squared, f.confidence
  FROM unnest('{1 constant,2 line,3 weekdays,4 both}'::text[]) AS org
  JOIN usage_monitor.forecast('2026-04-10 23:00Z') f ON f.subject = org;
-- all together, and each model
SELECT scope, subject, provider, month, month_to_date, days_elapsed, days_left, forecast, history_days, currency FROM usage_monitor.forecast('2026-04-10 00:00Z');
SELECT scope, count(*) FROM unnest('{all,org,model}'::text[]) AS s, usage_monitor.forecast('2026-04-10', s) GROUP BY scope ORDER BY scope;
-- on each day of the months of 28, 30 and 31 days, and of a shorter history
SELECT f.month, count(*) AS forecasts, count(*) FILTER (WHERE f.forecast = pg_temp.truth(f.subject, f.month)) AS exact, min(f.days_elapsed + f.days_left) AS days
  FROM generate_series('2026-02-01 12:00Z'::timestamptz, '2026-04-30 12:00Z', '1 day') AS at, usage_monitor.forecast(at, 'org') f GROUP BY f.month ORDER BY f.month;
SELECT history, count(*) FILTER (WHERE f.forecast = pg_temp.truth(f.subject, f.month)) AS exact, min(f.history_days) AS history_days, string_agg(DISTINCT f.confidence, ' ') AS confidence
  FROM unnest('{14,27,28,55,56,90,120}'::integer[]) AS history, usage_monitor.forecast('2026-04-15', 'org', history) f GROUP BY history ORDER BY history;
-- February of a leap year
SELECT pg_temp.days('5 leap', '2027-12-01', '2028-02-10', '2');
SELECT subject, month, days_elapsed, days_left, forecast FROM usage_monitor.forecast('2028-02-11 09:00Z', 'org') WHERE subject = '5 leap';
DELETE FROM usage_monitor.usage;

-- Today is not over: it may cost more than the forecast of it, and not less
SELECT pg_temp.days('today none', '2026-01-01', '2026-04-09', '10'), pg_temp.days('today less', '2026-01-01', '2026-04-09', '10'), pg_temp.days('today more', '2026-01-01', '2026-04-09', '10'),
       pg_temp.days('today less', '2026-04-10', '2026-04-10', '4'), pg_temp.days('today more', '2026-04-10', '2026-04-10', '25');
SELECT subject, month_to_date, forecast, lower_bound, upper_bound FROM usage_monitor.forecast('2026-04-10 18:00Z', 'org');
-- the last day, and the first
SELECT subject, days_elapsed, days_left, month_to_date, forecast FROM usage_monitor.forecast('2026-03-31 18:00Z', 'org') WHERE subject = 'today none';
SELECT subject, days_elapsed, days_left, month_to_date, forecast FROM usage_monitor.forecast('2026-04-01 00:00Z', 'org') WHERE subject = 'today none';
DELETE FROM usage_monitor.usage;

-- Little history: the average, and low confidence; none: no row
SELECT pg_temp.days('01 none', '2026-04-10', '2026-04-10', '10'), pg_temp.days('02 one day', '2026-04-09', '2026-04-09', '10'), pg_temp.days('03 two', '2026-04-08', '2026-04-09', '10 + t % 2'),
       pg_temp.days('04 seven', '2026-04-03', '2026-04-09', '7 * w'), pg_temp.days('05 thirteen', '2026-03-28', '2026-04-09', '10'), pg_temp.days('06 fourteen', '2026-03-27', '2026-04-09', '10 * w'),
       -- idle days count as 0: the day of usage 20 days ago makes history of them; two weeks of nothing since
       pg_temp.days('07 once', '2026-03-20', '2026-03-20', '20'), pg_temp.days('08 over', '2026-01-01', '2026-03-26', '20'),
       -- only on Mondays
       pg_temp.days('09 mondays', '2026-01-05', '2026-04-09', 'CASE WHEN w = 1 THEN 12 ELSE 0 END'), pg_temp.days('10 free', '2026-01-01', '2026-04-09', '0');
DELETE FROM usage_monitor.usage WHERE org = '09 mondays' AND cost = 0;
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens) VALUES ('2026-04-02 10:00Z', '11 unpriced', 'no price', 1), ('2026-04-02 11:00Z', '11 unpriced', 'no price', 1);
SELECT subject, month_to_date, forecast, lower_bound, upper_bound, simple_forecast, daily_trend, history_days, r_squared, error_percentage, recent_error_percentage, confidence, unpriced_requests
  FROM usage_monitor.forecast('2026-04-10 18:00Z', 'org') ORDER BY subject COLLATE "C";
DELETE FROM usage_monitor.usage;

-- The same as the regression, done in another way: by the normal equations of seven weekdays and a line
CREATE TABLE pg_temp.noise AS
SELECT n, t, date '2026-01-01' + t AS day,
       -- twelve uniform deviates make a normal one; of md5, so the same everywhere
       100 + 0.3 * t + 10 * extract(isodow FROM date '2026-01-01' + t)
       + 15 * ((SELECT sum(('x' || substr(md5(format('%s %s %s', n, t, i)), 1, 7))::bit(28)::integer / 268435456.0) FROM generate_series(1, 12) i) - 6) AS cost
  FROM generate_series(1, 203) n, generate_series(0, 119) t;
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT (day + time '12:00') AT TIME ZONE 'UTC', 'n' || n, 'm', round(cost::numeric, 6) FROM pg_temp.noise WHERE n <= 200 OR day < '2026-04-06';
CREATE TABLE pg_temp.truth AS SELECT org, sum(cost) AS cost FROM usage_monitor.daily_usage WHERE day >= '2026-04-01' GROUP BY org;
CREATE FUNCTION pg_temp.solve(a double precision[], b double precision[]) RETURNS double precision[] LANGUAGE plpgsql AS $$
DECLARE k integer := cardinality(b); f double precision;
BEGIN
    FOR i IN 1..k LOOP
        FOR j IN 1..k LOOP
            CONTINUE WHEN j = i;
            f := a[j][i] / a[i][i];
            FOR c IN 1..k LOOP a[j][c] := a[j][c] - f * a[i][c]; END LOOP;
            b[j] := b[j] - f * b[i];
        END LOOP;
    END LOOP;
    FOR i IN 1..k LOOP b[i] := b[i] / a[i][i]; END LOOP;
    RETURN b;
END
$$;
CREATE FUNCTION pg_temp.features(t integer) RETURNS double precision[] LANGUAGE sql AS $$
    SELECT array_agg((extract(isodow FROM date '2026-01-01' + t) = w)::integer::double precision ORDER BY w) || t::double precision FROM generate_series(1, 7) w;
$$;
CREATE FUNCTION pg_temp.regression(name text, today date, OUT forecast numeric, OUT margin numeric) LANGUAGE plpgsql AS $$
DECLARE
    a double precision[]; xy double precision[]; beta double precision[]; x double precision[]; s double precision; known numeric;
    first_t integer := today - 90 - date '2026-01-01'; last_t integer := today - 1 - date '2026-01-01'; end_t integer := (date_trunc('month', today) + interval '1 month')::date - 1 - date '2026-01-01';
BEGIN
    SELECT array_agg(row_ ORDER BY i) INTO a FROM (SELECT i, array_agg(v ORDER BY j) AS row_ FROM (SELECT i, j, sum((pg_temp.features(t))[i] * (pg_temp.features(t))[j]) AS v FROM generate_series(first_t, last_t) t, generate_series(1, 8) i, generate_series(1, 8) j GROUP BY i, j) c GROUP BY i) r;
    SELECT array_agg(v ORDER BY i) INTO xy FROM (SELECT i, sum((pg_temp.features(d.day - date '2026-01-01'))[i] * d.cost::double precision) AS v FROM usage_monitor.daily_usage d, generate_series(1, 8) i WHERE d.org = name AND d.day BETWEEN date '2026-01-01' + first_t AND today - 1 GROUP BY i) r;
    beta := pg_temp.solve(a, xy);
    SELECT sqrt(sum((d.cost::double precision - (SELECT sum(beta[i] * (pg_temp.features(d.day - date '2026-01-01'))[i]) FROM generate_series(1, 8) i)) ^ 2) / 82) INTO s FROM usage_monitor.daily_usage d WHERE d.org = name AND d.day BETWEEN date '2026-01-01' + first_t AND today - 1;
    SELECT array_agg(v ORDER BY i) INTO x FROM (SELECT i, sum((pg_temp.features(t))[i]) AS v FROM generate_series(last_t + 1, end_t) t, generate_series(1, 8) i GROUP BY i) r;
    SELECT sum(cost) INTO known FROM usage_monitor.daily_usage d WHERE d.org = name AND d.day >= date_trunc('month', today) AND d.day < today;
    forecast := known + (SELECT sum(x[i] * beta[i]) FROM generate_series(1, 8) i);
    -- 1.98932: Student's t of 82 degrees of freedom
    margin := 1.98932 * s * sqrt(end_t - last_t + (SELECT sum(x[i] * (pg_temp.solve(a, x))[i]) FROM generate_series(1, 8) i));
END
$$;
SELECT f.subject, abs(f.forecast - r.forecast) < 0.0001 AS same_forecast, abs(f.upper_bound - f.forecast - r.margin) < 0.0005 * r.margin AS same_margin, abs(f.lower_bound + f.upper_bound - 2 * f.forecast) < 0.00001 AS symmetric, f.confidence
  FROM usage_monitor.forecast('2026-04-06 00:00Z', 'org') f CROSS JOIN LATERAL pg_temp.regression(f.subject, '2026-04-06') r WHERE f.subject IN ('n201', 'n202', 'n203');
-- the interval holds what the month will have cost in 19 cases of 20
SELECT at, round(avg((r.cost BETWEEN f.lower_bound AND f.upper_bound)::integer), 2) BETWEEN 0.91 AND 0.99 AS covers,
       abs(avg(f.forecast / r.cost) - 1) < 0.005 AS unbiased, avg(f.upper_bound - f.lower_bound) < 0.2 * avg(f.forecast) AS narrow, string_agg(DISTINCT f.confidence, ' ') AS confidence
  FROM unnest('{2026-04-02,2026-04-11,2026-04-21}'::date[]) AS at, usage_monitor.forecast(at::timestamp AT TIME ZONE 'UTC', 'org') f JOIN pg_temp.truth r ON r.org = f.subject WHERE f.subject NOT IN ('n201', 'n202', 'n203') GROUP BY at ORDER BY at;
DELETE FROM usage_monitor.usage;

-- Days and months are the ledger's: in India it is April already
SELECT usage_monitor.configure(time_zone => 'Asia/Kolkata');
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT '2026-03-31 19:00Z'::timestamptz + n * interval '1 day', 'o', 'm', 1 FROM generate_series(-20, 0) n;
SELECT at, month, days_elapsed, month_to_date, forecast FROM unnest('{2026-03-31 18:29Z,2026-03-31 18:30Z}'::timestamptz[]) AS at, usage_monitor.forecast(at, 'org');
DELETE FROM usage_monitor.usage;

-- The view is the function's, now
INSERT INTO usage_monitor.usage (ts, org, model, cost) SELECT now() - n * interval '1 day', 'o', 'm', 1 FROM generate_series(0, 29) n;
SELECT scope, subject, forecast = days_elapsed + days_left AS known, simple_forecast = forecast AS simple, history_days, confidence FROM usage_monitor.cost_forecast;

-- Refusals
SELECT r.* FROM unnest(ARRAY['NULL', '''infinity''', 'now(), ''user''', 'now(), NULL, 6', 'now(), NULL, NULL', 'now(), NULL, 2147483647']) WITH ORDINALITY AS t (arguments, n)
CROSS JOIN LATERAL pg_temp.refusal(format('SELECT usage_monitor.forecast(%s)', arguments)) AS r ORDER BY n;

-- A reader sees it
CREATE ROLE regress_reader;
SELECT usage_monitor.grant_access('regress_reader', 'reader');
SET ROLE regress_reader;
SELECT count(*) FROM usage_monitor.cost_forecast;
RESET ROLE;
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
