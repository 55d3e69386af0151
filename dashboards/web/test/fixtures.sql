-- Two months of a small ledger, for the tests of the page: two organisations
-- with weekdays, a model without a price, errors, caches, quotas at all
-- levels, names in Chinese, and names that are meant to do harm.
SET client_min_messages = warning;
\o /dev/null
SELECT usage_monitor.set_quota('company', 'all', NULL, 400, 'month');
SELECT usage_monitor.set_quota('acme', 'org', 'acme', 30, 'month');
SELECT usage_monitor.set_quota('each user', 'user', NULL, 25, 'month');
SELECT usage_monitor.set_quota('tokens a day', 'model', 'gpt-4o', 400000, 'day', 'tokens', enforcement => 'alert');
\o
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, session_id, provider, model, operation, source, input_tokens, output_tokens,
                                 cache_read_input_tokens, duration_ms, success, error, cached, tags)
SELECT day + make_interval(secs => 8 * 3600 + 3000 * (n % 10) + n), CASE n % 3 WHEN 0 THEN '环球科技' ELSE 'acme' END, (ARRAY['engineering', 'support', '直播部'])[1 + n % 3],
       (ARRAY['search', 'support-bot', 'campaigns', NULL])[1 + n % 4], (ARRAY['alice', 'bob', 'carol', '王小明', 'dave'])[1 + n % 5], 's' || n % 17, NULL,
       (ARRAY['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-4-5', 'gemini-2.5-flash', 'gemini-2.5-pro', 'gpt-4.1', 'claude-haiku-4-5', 'deepseek-chat'])[1 + n % 8],
       (ARRAY['chat', 'embeddings'])[1 + n % 2], (ARRAY['web', 'api', 'nightly-batch'])[1 + n % 3],
       3000 + 100 * (n % 40), 200 + 10 * (n % 30), CASE n % 4 WHEN 0 THEN 2000 ELSE 0 END, 300 + 97 * (n % 100), n % 13 > 0, CASE WHEN n % 13 = 0 THEN 'rate limit exceeded' END,
       n % 29 = 1, '{"env": "test"}'
FROM generate_series(date_trunc('day', now()) - interval '65 days', now(), interval '1 day') AS d (day),
     generate_series(1, CASE WHEN extract(isodow FROM day) < 6 THEN 60 ELSE 15 END) AS n
WHERE day + make_interval(secs => 8 * 3600 + 3000 * (n % 10) + n) <= now();
-- of today, whatever the hour
INSERT INTO usage_monitor.usage (org, project, user_id, model, source, input_tokens, output_tokens, duration_ms) SELECT 'acme', 'search', 'alice', 'gpt-4o', 'web', 2000, 300, 800 FROM generate_series(1, 3);
INSERT INTO usage_monitor.usage (ts, org, project, user_id, model, source, input_tokens, output_tokens) SELECT now() - n * interval '7 hours', 'acme', 'search', 'bob', 'our-llama-70b', 'api', 3000, 500 FROM generate_series(1, 40) AS n;
INSERT INTO usage_monitor.usage (org, department, project, user_id, model, operation, source, input_tokens, output_tokens, duration_ms, success, error)
SELECT o, 'R&D <script>alert(1)</script>', '</script><img src=x onerror=alert(2)>', u, 'gpt-4o', '<b>chat</b>', '<b>web</b>', 900000, 3000, 2100, n > 1, CASE WHEN n = 1 THEN '"><svg onload=alert(3)>' END
FROM generate_series(1, 3) AS n,
     (VALUES ('acme', '"><script>alert(4)</script>'), ('<!--<script>"hostile''org', '=HYPERLINK("http://example.invalid")'),
             ('acme', 'a-very-long-user-name-that-nobody-would-type-but-some-single-sign-on-makes@subsidiary.example')) AS o (o, u);
SELECT usage_monitor.set_quota('<i>hostile</i> quota', 'org', '<!--<script>"hostile''org', 1, 'month') > 0 AS set \gset
INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, output_tokens) VALUES ('<!--<script>"hostile''org', 'x', 'gpt-4o', 100000, 10);
-- a session is somebody's
INSERT INTO usage_monitor.usage (org, session_id, model, cost) VALUES ('acme', 's-of-alice-4711', 'gpt-4o', 0.01);
INSERT INTO usage_monitor.alert_rule (name, metric, threshold, dimensions) VALUES ('dear sessions', 'cost', 0.01, '{session_id}');
DO $$ BEGIN PERFORM usage_monitor.check_anomalies(), usage_monitor.check_alert_rules(); END $$;
SELECT usage_monitor.refresh() AS folded \gset
