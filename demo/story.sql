--
-- What the month tells, in the order in which one would ask.  After load.sql,
-- in the same session.  Rounding is for display: the ledger and its views are
-- exact.
--
\pset footer off
\pset null '-'

-- A text in lines of whole words
CREATE FUNCTION pg_temp.lines(text, width integer) RETURNS text LANGUAGE sql IMMUTABLE
RETURN rtrim(regexp_replace($1, '(.{1,' || width || '})(\s+|$)', E'\\1\n', 'g'), E'\n');

\echo
\echo 'THE MONTH SO FAR (daily_total, quota_status)'
SELECT to_char(min(t.day), 'FMMonth YYYY') AS month, sum(t.requests) AS calls, round(sum(t.cost), 2) AS cost_usd,
       q.amount AS budget, round(greatest(q.used - q.amount, 0), 2) AS over_budget,
       sum(t.unpriced_requests) AS calls_without_a_price
FROM usage_monitor.daily_total AS t,
     usage_monitor.quota_status AS q
WHERE t.day >= date_trunc('month', current_date) AND q.name = 'company'
GROUP BY q.amount, q.used;

\echo 'THE LAST SEVEN DAYS (cost_trend)'
SELECT to_char(day, 'Dy YYYY-MM-DD') || CASE day WHEN current_date THEN ', so far' ELSE '' END AS day,
       requests, round(cost, 2) AS cost_usd,
       CASE WHEN day < current_date THEN lpad(to_char(change_percentage, 'FMSG9990') || ' %', 7) END AS change,
       round(average_7d_cost, 2) AS "7_day_avg",
       repeat('#', round(20 * cost / max(cost) OVER ())::int) AS " "
FROM usage_monitor.cost_trend(7) AS t
ORDER BY t.day;

\echo 'THIS WEEK''S FULL HOURS AGAINST THE SAME OF THE WEEK BEFORE (report)'
SELECT t ->> 'requests' AS requests, round((t ->> 'cost')::numeric, 2) AS cost_usd,
       t ->> 'previous_requests' AS last_week, round((t ->> 'previous_cost')::numeric, 2) AS last_week_usd,
       t #>> '{change,cost_percentage}' AS "change_%"
FROM jsonb_extract_path(usage_monitor.report('weekly'), 'comparison', 'to_date') AS t;

\echo 'WHICH DEPARTMENT, WITH ITS SHARE (usage_between)'
SELECT org, name AS department, requests, round(cost, 2) AS cost_usd, cost_percentage AS "share_%"
FROM usage_monitor.usage_between(current_date - 30, current_date + 1, group_by => 'department')
LIMIT 6;

\echo 'WHO SPENT MOST IN 30 DAYS (top_users)'
SELECT user_id, org, requests, total_tokens, round(cost, 2) AS cost_usd, cost_percentage AS "share_%", active_days
FROM usage_monitor.top_users(6);

\echo 'ON WHICH MODELS (model_usage)'
SELECT provider, model, sum(requests) AS requests,
       round(100.0 * sum(errors) / sum(requests), 1) AS "error_%",
       round(100.0 * sum(cache_read_input_tokens) / nullif(sum(input_tokens), 0), 1) AS "cache_%",
       round(nullif(sum(cost), 0), 2) AS cost_usd,
       round(1000 * nullif(sum(cost), 0) / nullif(sum(requests) - sum(unpriced_requests), 0), 2) AS usd_per_1000_calls,
       nullif(sum(unpriced_requests), 0) AS unpriced
FROM usage_monitor.model_usage
GROUP BY provider, model
ORDER BY sum(cost) DESC NULLS LAST;

\echo 'UNPRICED IS NOT FREE: THE MODEL THAT NOBODY HAS GIVEN A PRICE (unpriced_usage)'
SELECT model, sum(requests) AS calls, sum(input_tokens + output_tokens) AS tokens, min(unpriced_reason) AS reason,
       min(first_ts)::date AS since
FROM usage_monitor.unpriced_usage
GROUP BY model;

\echo 'ITS PRICE IS FOUND, AND ITS CALLS ARE PRICED BY IT (set_price, reprice)'
SET client_min_messages = warning;
SELECT usage_monitor.set_price('lab-llama', input => 0.20, output => 0.60) \gset
SELECT model, requests AS calls, old_cost, round(new_cost, 4) AS new_cost
FROM usage_monitor.reprice(current_date - 30, current_date + 1, 'lab-llama', dry_run => false);

\echo 'WHAT THE MONTH WILL HAVE COST BY ITS END (cost_forecast)'
SELECT coalesce(subject, 'all') AS org, round(month_to_date, 2) AS so_far, days_left,
       round(forecast, 2) AS forecast, round(lower_bound, 2) AS at_least, round(upper_bound, 2) AS at_most,
       round(simple_forecast, 2) AS by_7_day_avg, error_percentage AS "error_%", confidence
FROM usage_monitor.cost_forecast
WHERE scope <> 'model'
ORDER BY month_to_date DESC;

\echo 'WHERE MONEY COULD BE SAVED (optimization_suggestion)'
SELECT title, type, round(current_cost, 2) AS cost_usd, round(potential_savings, 2) AS savings, savings_percentage AS "%",
       effort, priority
FROM usage_monitor.optimization_suggestion
WHERE org IS NULL
LIMIT 6;

\echo 'HOW THE BUDGETS STAND: THE TEN CLOSEST TO THEIR LIMIT (quota_status)'
SELECT name, subject, metric, period, round(used, 2) AS used, amount, round(percentage, 1) AS "%", state
FROM usage_monitor.quota_status
ORDER BY percentage DESC
LIMIT 10;

\echo 'WHICH ALERTS THE QUOTAS RAISED, AND BY WHAT HOUR OF THE CALLS'' CLOCK (alert)'
SELECT to_char(r.at, 'YYYY-MM-DD HH24:MI') AS by_hour, a.level, a.details ->> 'quota' AS quota, a.subject,
       round(a.used, CASE a.details ->> 'metric' WHEN 'cost' THEN 2 ELSE 0 END) AS used, a.amount,
       a.details ->> 'metric' AS metric, a.details ->> 'period' AS period
FROM usage_monitor.alert AS a
JOIN raised AS r USING (alert_id)
WHERE a.quota_id IS NOT NULL
ORDER BY a.alert_id DESC
LIMIT 12;

\echo 'WHY CAROL''S DEAREST CALL COST WHAT IT DID (explain_cost)'
SELECT usage_id FROM usage_monitor.usage WHERE user_id = 'carol.diaz' ORDER BY cost DESC NULLS LAST LIMIT 1 \gset
SELECT u.model, e.meter, e.quantity AS tokens, e.amount, e.per, e.cost
FROM usage_monitor.usage AS u, usage_monitor.explain_cost(u.usage_id) AS e
WHERE u.usage_id = :usage_id
UNION ALL
SELECT model, 'the ledger says', total_tokens, NULL, NULL, cost
FROM usage_monitor.usage
WHERE usage_id = :usage_id;

\echo 'DOES ANOTHER CALL OF HERS, OF SOME 10 CENTS, STILL FIT? (check_quota)'
SELECT name, round(used, 2) AS used, amount, CASE WHEN allowed THEN 'yes' ELSE 'no' END AS fits, pg_temp.lines(reason, 60) AS why_not
FROM usage_monitor.check_quota(org => 'acme', user_id => 'carol.diaz', model => 'claude-sonnet-4-5',
                               provider => 'anthropic', cost => 0.10);

\echo 'IT DOES NOT, BUT THESE QUOTAS ONLY ALERT.  TELL ONE TO BLOCK, AND IT REFUSES THE CALL; OTHER USERS GO ON:'
\set ECHO queries
\set ON_ERROR_STOP off
UPDATE usage_monitor.quota SET enforcement = 'block' WHERE name = 'agent trial';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens)
VALUES ('acme', 'carol.diaz', 'claude-sonnet-4-5', 24000, 1500);
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens)
VALUES ('acme', 'alice.adams', 'gpt-4o', 1000, 500) RETURNING user_id, cost;
\set ECHO none
\set ON_ERROR_STOP on

\echo 'FOR THE ACCOUNTANT, AS CSV (\\copy ... TO ''departments.csv'' CSV HEADER)'
\copy (SELECT org, name AS department, requests, round(cost, 2) AS cost_usd FROM usage_monitor.usage_between(current_date - 30, current_date + 1, 'department') LIMIT 4) TO STDOUT CSV HEADER

\echo
\echo 'AND EVERYTHING ABOUT THE MONTH AS ONE JSON, IN SO MANY BYTES UNDER THESE KEYS (report)'
SELECT length(r::text) AS bytes, pg_temp.lines((SELECT string_agg(key, ' ') FROM jsonb_object_keys(r) AS key), 90) AS keys
FROM usage_monitor.report('monthly') AS r;
