--
-- Thirty days of AI usage, and today's up to now: three organisations, 200 users, ten models
-- of five vendors and one that is run in the house, some 50,000 calls.  The same each time,
-- but for the dates.
--
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE EXTENSION usage_monitor CASCADE;

-- Alibaba bills in yuan, the ledger is in dollars.
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate)
VALUES ('CNY', 'USD', 0.14);

-- Budgets first, so that alerts are raised while the calls come in.
\o /dev/null
SELECT usage_monitor.set_quota('company', 'all', NULL, 500, 'month');
SELECT usage_monitor.set_quota('acme', 'org', 'acme', 300, 'month');
SELECT usage_monitor.set_quota('globex', 'org', 'globex', 200, 'month');
SELECT usage_monitor.set_quota('initech', 'org', 'initech', 75, 'month');
SELECT usage_monitor.set_quota('each user', 'user', NULL, 12, 'month');
SELECT usage_monitor.set_quota('agent trial', 'user', 'carol.diaz', 40, 'lifetime');
SELECT usage_monitor.set_quota('gpt-4.1 a day', 'model', 'gpt-4.1', 2100000, 'day', 'tokens');
\o

\echo Making up a month of calls ...

SELECT setseed(0.42) \gset

-- Standard normal deviates (PostgreSQL 15 has no random_normal)
CREATE FUNCTION pg_temp.normal() RETURNS double precision
LANGUAGE sql VOLATILE AS
$$SELECT sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())$$;

CREATE TEMP TABLE person AS
SELECT first_name || '.' || last_name AS user_id,
       CASE WHEN n <= 100 THEN 'acme' WHEN n <= 160 THEN 'globex' ELSE 'initech' END AS org,
       (ARRAY['engineering', 'support', 'marketing', 'research'])[1 + n % 4] AS department,
       (ARRAY['code-assistant', 'support-bot', 'campaigns', 'search'])[1 + n % 4] AS project,
       (ARRAY['ide', 'web', 'api', 'batch'])[1 + n % 4] AS source,
       sum(weight) OVER (ORDER BY n) - weight AS weight_from,
       sum(weight) OVER (ORDER BY n) AS weight_to
FROM (
    SELECT row_number() OVER (ORDER BY l.n, f.n) AS n,
           first_name, last_name, exp(0.8 * pg_temp.normal()) AS weight
    FROM unnest(ARRAY['alice', 'bob', 'carol', 'david', 'emma', 'felix', 'grace', 'hugo', 'irene', 'jonas',
                      'karin', 'li', 'maria', 'noah', 'olga', 'priya', 'quentin', 'rosa', 'sam', 'tara'])
         WITH ORDINALITY AS f (first_name, n),
         unnest(ARRAY['adams', 'baker', 'chen', 'diaz', 'evans', 'fischer', 'gupta', 'haas', 'ivanov', 'jones'])
         WITH ORDINALITY AS l (last_name, n)
) AS p;

-- Share of the calls; median tokens in and out; milliseconds a token
CREATE TEMP TABLE engine AS
SELECT *, sum(share) OVER (ORDER BY n) - share AS share_from, sum(share) OVER (ORDER BY n) AS share_to
FROM (VALUES
    (1, 'openai',    'gpt-4o',            0.17, 3400, 420, 14),
    (2, 'openai',    'gpt-4o-mini',       0.22, 2300, 350,  9),
    (3, 'openai',    'gpt-4.1',           0.08, 5200, 650, 15),
    (4, 'anthropic', 'claude-sonnet-4-5', 0.12, 6100, 680, 16),
    (5, 'anthropic', 'claude-haiku-4-5',  0.10, 3000, 420,  8),
    (6, 'google',    'gemini-2.5-pro',    0.07, 5800, 950, 12),
    (7, 'google',    'gemini-2.5-flash',  0.11, 3600, 500,  6),
    (8, 'alibaba',   'qwen-plus',         0.06, 2800, 420, 12),
    (9, 'alibaba',   'qwen-max',          0.03, 3900, 520, 20),
    (10, 'deepseek', 'deepseek-chat',     0.04, 3200, 560, 22)
) AS e (n, provider, model, share, input, output, pace);

-- When: many on a working day, few on a weekend; a peak in the morning and
-- one in the afternoon.  An agent of carol.diaz's starts on the 18th day, and
-- does not rest.
CREATE TEMP TABLE moment AS
SELECT row_number() OVER (ORDER BY ts, pick) AS n, *
FROM (
    SELECT day + make_interval(secs => 3600 * abs(CASE
               WHEN slot < 0.45 THEN 10.3 + 1.3 * pg_temp.normal()
               WHEN slot < 0.88 THEN 15.0 + 1.7 * pg_temp.normal()
               ELSE 24 * random()
           END)) AS ts,
           false AS agent, random() AS pick, random() AS choice, random() AS fate
    FROM (
        SELECT day, random() AS slot
        FROM generate_series(date_trunc('day', now()) - interval '30 days', now(), '1 day') AS day,
             generate_series(1, (CASE WHEN extract(isodow FROM day) < 6 THEN 2050 ELSE 480 END
                                 * (1.1 - 0.2 * extract(epoch FROM date_trunc('day', now()) - day) / 2592000))::int)
    ) AS s
    UNION ALL
    SELECT day + make_interval(secs => 86400 * random()), true, 0, 0.5, random()
    FROM generate_series(date_trunc('day', now()) - interval '12 days', now(), '1 day') AS day,
         generate_series(1, 60)
) AS m
WHERE ts <= now();

-- What: long tails in tokens and time, conversations that reread the
-- provider's cache, failures, answers from the application's own cache
CREATE TEMP TABLE call AS
SELECT n, ts, 'req-' || n AS request_id, org, department, project, user_id,
       user_id || to_char(ts, '-MMDD-HH24') AS session_id,
       provider, model, operation,
       CASE WHEN agent THEN 'agent' ELSE source END AS source,
       input AS input_tokens,
       CASE WHEN success THEN output ELSE 0 END AS output_tokens,
       CASE WHEN reread AND input >= 1024 THEN (input * (0.4 + 0.5 * fate))::bigint ELSE 0 END AS cache_read,
       round((250 + pace * output * (0.7 + 0.6 * pick))::numeric) AS duration_ms,
       success,
       CASE WHEN NOT success THEN
           (ARRAY['rate limit exceeded', 'request timed out', 'server overloaded'])[1 + n % 3]
       END AS error,
       success AND fate > 0.96 AS cached,
       jsonb_build_object('env', CASE n % 12 WHEN 0 THEN 'staging' ELSE 'production' END,
                          'feature', project) AS tags
FROM (
    SELECT m.*, p.org, p.department, p.project, p.user_id, p.source, e.provider, e.model, e.pace,
           CASE p.project WHEN 'campaigns' THEN 'text_completion' WHEN 'search' THEN 'generate_content' ELSE 'chat' END AS operation,
           m.fate > 0.02 AS success,
           m.pick * 10 - floor(m.pick * 10) < 0.35 AS reread,
           ceil(CASE WHEN m.agent THEN 24000 ELSE e.input END * exp(0.9 * pg_temp.normal()))::bigint AS input,
           ceil(CASE WHEN m.agent THEN 1500 ELSE e.output END * exp(0.7 * pg_temp.normal()))::bigint AS output
    FROM (
        SELECT *, pick * (SELECT max(weight_to) FROM person) AS weight
        FROM moment
    ) AS m
    JOIN person AS p ON CASE WHEN m.agent THEN p.user_id = 'carol.diaz'
                             ELSE m.weight >= p.weight_from AND m.weight < p.weight_to END
    JOIN engine AS e ON CASE WHEN m.agent THEN e.model = 'claude-sonnet-4-5'
                             ELSE m.choice >= e.share_from AND m.choice < e.share_to END
    ORDER BY m.n
) AS c;

-- In the last ten days research tries a model of its own, which the price book does not know.
UPDATE call SET provider = NULL, model = 'lab-llama'
WHERE department = 'research' AND model IN ('qwen-plus', 'deepseek-chat')
  AND ts >= date_trunc('day', now()) - interval '10 days';

CREATE INDEX ON call (ts);
ANALYZE call;

-- Which alerts had been raised by when, on the clock of the calls
CREATE TEMP TABLE raised (alert_id bigint PRIMARY KEY, at timestamptz);

\echo Recording it, one transaction an hour ...

SELECT clock_timestamp() AS start \gset
DO $$
DECLARE
    hour timestamptz;
BEGIN
    FOR hour IN
        SELECT DISTINCT date_trunc('hour', ts) FROM call ORDER BY 1
    LOOP
        INSERT INTO usage_monitor.usage
            (ts, request_id, org, department, project, user_id, session_id,
             provider, model, operation, source, input_tokens, output_tokens,
             cache_read_input_tokens, duration_ms, success, error, cached, tags)
        SELECT ts, request_id, org, department, project, user_id, session_id,
               provider, model, operation, source, input_tokens, output_tokens,
               cache_read, duration_ms, success, error, cached, tags
        FROM call
        WHERE ts >= hour AND ts < hour + interval '1 hour'
        ORDER BY n;
        COMMIT;

        INSERT INTO raised
        SELECT alert_id, hour + interval '1 hour' FROM usage_monitor.alert
        ON CONFLICT DO NOTHING;
    END LOOP;
END
$$;
ANALYZE usage_monitor.usage_default;

SELECT format('%s calls in %s s: priced, counted against %s quotas, %s alerts raised.',
              (SELECT count(*) FROM usage_monitor.usage),
              round(extract(epoch FROM clock_timestamp() - :'start'), 1),
              (SELECT count(*) FROM usage_monitor.quota),
              (SELECT count(*) FROM usage_monitor.alert)) AS summary \gset
\echo :summary
