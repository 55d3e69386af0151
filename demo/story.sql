--
-- What the month tells, in the order in which one would ask.  After load.sql,
-- in the same session.  Rounding is for display: the ledger and its views are
-- exact.
--
\pset footer off
\pset format wrapped
\pset columns 110
\pset null '-'

\echo
\echo 'TODAY, SO FAR, AND YESTERDAY (daily_usage)'
SELECT day, org, requests, errors, total_tokens, round(cost, 2) AS cost_usd,
       round(avg_duration_ms) AS avg_ms
FROM usage_monitor.daily_usage
WHERE day >= current_date - 1
ORDER BY day DESC, cost DESC;

\echo 'THE LAST SEVEN DAYS (cost_trend)'
SELECT to_char(day, 'Dy YYYY-MM-DD') AS day, requests, round(cost, 2) AS cost_usd,
       lpad(to_char(change_percentage, 'FMSG9990') || ' %', 7) AS change,
       round(average_7d_cost, 2) AS "7_day_avg",
       repeat('#', round(20 * cost / max(cost) OVER ())::int) AS " "
FROM usage_monitor.cost_trend(7) AS t
ORDER BY t.day;

\echo 'THIS WEEK''S FULL HOURS AGAINST THE SAME OF THE WEEK BEFORE (report)'
SELECT t ->> 'requests' AS requests, round((t ->> 'cost')::numeric, 2) AS cost_usd,
       t ->> 'previous_requests' AS last_week, round((t ->> 'previous_cost')::numeric, 2) AS last_week_usd,
       t #>> '{change,cost_percentage}' AS "change_%"
FROM jsonb_extract_path(usage_monitor.report('weekly'), 'comparison', 'to_date') AS t;

\echo 'WHO SPENT MOST IN 30 DAYS (top_users)'
SELECT user_id, org, requests, total_tokens, round(cost, 2) AS cost_usd, cost_percentage AS share, active_days
FROM usage_monitor.top_users(6);

\echo 'ON WHICH MODELS (model_usage)'
SELECT provider, model, sum(requests) AS requests,
       round(100.0 * sum(errors) / sum(requests), 1) AS "error_%",
       round(100.0 * sum(cache_read_input_tokens) / sum(input_tokens), 1) AS "cache_%",
       round(sum(cost), 2) AS cost_usd,
       round(1000 * sum(cost) / sum(requests), 2) AS usd_per_1000_calls
FROM usage_monitor.model_usage
GROUP BY provider, model
ORDER BY sum(cost) DESC;

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

\echo 'WHICH ALERTS WERE RAISED, AND BY WHAT HOUR OF THE CALLS'' CLOCK (alert)'
SELECT to_char(r.at, 'YYYY-MM-DD HH24:MI') AS by_hour, a.level, a.details ->> 'quota' AS quota, a.subject,
       round(a.used, CASE a.details ->> 'metric' WHEN 'cost' THEN 2 ELSE 0 END) AS used, a.amount,
       a.details ->> 'metric' AS metric, a.details ->> 'period' AS period
FROM usage_monitor.alert AS a
JOIN raised AS r USING (alert_id)
ORDER BY a.alert_id DESC
LIMIT 15;

\echo 'WHY CAROL''S DEAREST CALL COST WHAT IT DID: THE PRICE IN FORCE AT ITS TIME (price, price_rate)'
SELECT usage_id FROM usage_monitor.usage WHERE user_id = 'carol.diaz' ORDER BY cost DESC LIMIT 1 \gset
SELECT u.model, r.meter, m.tokens, r.amount, r.per, r.context_from, trim_scale(m.tokens * r.amount / r.per) AS cost
FROM usage_monitor.usage AS u
CROSS JOIN LATERAL (VALUES
    ('input', input_tokens - cache_read_input_tokens),
    ('cache_read', cache_read_input_tokens),
    ('output', output_tokens)
) AS m (meter, tokens)
CROSS JOIN LATERAL (
    SELECT *
    FROM usage_monitor.price_rate AS r
    WHERE r.price_id = u.price_id AND r.meter = m.meter AND r.context_from < greatest(u.input_tokens, 1)
    ORDER BY r.context_from DESC
    LIMIT 1
) AS r
WHERE u.usage_id = :usage_id
UNION ALL
SELECT model, 'the ledger says', total_tokens, NULL, NULL, NULL, cost
FROM usage_monitor.usage
WHERE usage_id = :usage_id;

\echo 'MAY SHE MAKE ANOTHER CALL, OF SOME 10 CENTS? (check_quota)'
SELECT name, round(used, 2) AS used, amount, allowed, reason
FROM usage_monitor.check_quota(org => 'acme', user_id => 'carol.diaz', model => 'claude-sonnet-4-5',
                               provider => 'anthropic', cost => 0.10);

\echo 'SHE MAY, FOR QUOTAS ALERT UNLESS THEY ARE TOLD TO BLOCK:'
\set ECHO queries
\set ON_ERROR_STOP off
UPDATE usage_monitor.quota SET enforcement = 'block' WHERE name = 'agent trial';
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens)
VALUES ('acme', 'carol.diaz', 'claude-sonnet-4-5', 24000, 1500);
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens)
VALUES ('acme', 'alice.adams', 'gpt-4o', 1000, 500) RETURNING user_id, cost;
