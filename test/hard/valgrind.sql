SELECT usage_monitor.configure(time_zone => 'America/New_York');

SELECT usage_monitor.set_price('m', 1, 2, cache_read => 0.1, valid_from => '2025-01-01');

SELECT usage_monitor.set_price('m', 1.5, 2.123456789, valid_from => '2025-06-01');

INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('house-*', 'm');

SELECT usage_monitor.set_quota('each ' || s, s, NULL, 50, p, 'requests') FROM unnest('{all,org,user,session,model,tag}'::text[]) AS s, unnest('{day,month,lifetime}'::text[]) AS p;

SELECT usage_monitor.set_quota('hard', 'user', 'u1', 40, 'lifetime', 'cost', enforcement => 'block');

INSERT INTO usage_monitor.usage (ts, request_id, org, user_id, session_id, model, input_tokens, output_tokens, cache_read_input_tokens, tags, duration_ms, success)
SELECT '2025-05-20Z'::timestamptz + n * interval '5 hours', 'r' || n, 'o' || n % 3, 'u' || n % 7, 's' || n % 11, (ARRAY['m', 'house-x', 'gpt-4o', 'nobody'])[n % 4 + 1], n * 10, n, n,
       jsonb_build_object('team', n % 5), n, n % 9 > 0 FROM generate_series(1, 400) AS n;

INSERT INTO usage_monitor.usage (user_id, model, input_tokens) SELECT 'now', 'm', n FROM generate_series(1, 60) AS n;

SELECT usage_monitor.record('{"id": "x1", "model": "gpt-4o", "usage": {"prompt_tokens": 500, "completion_tokens": 100, "total_tokens": 600, "prompt_tokens_details": {"cached_tokens": 100}}}', user_id => 'u3');

SELECT usage_monitor.record('{"type":"message","model":"claude-sonnet-4-5","usage":{"input_tokens":12,"output_tokens":6,"cache_read_input_tokens":3}}', user_id => 'u3');

UPDATE usage_monitor.usage SET output_tokens = 7 WHERE user_id = 'u2';

DELETE FROM usage_monitor.usage WHERE user_id = 'u4';

SELECT usage_monitor.refresh();

INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) SELECT '2025-07-01Z'::timestamptz + n * interval '1 hour', 'u' || n % 5, 'm', n FROM generate_series(1, 100) AS n;

SELECT count(*) FROM usage_monitor.daily_usage;

SELECT count(*) FROM usage_monitor.user_usage;

SELECT count(*) FROM usage_monitor.tag_usage;

SELECT count(*) FROM usage_monitor.quota_status;

SELECT count(*) FROM usage_monitor.check_quota(user_id => 'u1', cost => 1);

SELECT * FROM usage_monitor.reserve(user_id => 'u1', model => 'm', cost => 0.01);

SELECT usage_monitor.cost('m', 1000000, 10), (SELECT count(*) FROM usage_monitor.cost_breakdown('m', 1000, 10));

SELECT usage_monitor.set_price('nobody', 1, 1, valid_from => '2025-01-01');

SELECT count(*) FROM usage_monitor.reprice('2025-01-01'::date, '2026-01-01'::date, dry_run => false);

SELECT usage_monitor.refresh();

SELECT count(*) FROM usage_monitor.verify();

SELECT 'done' AS done;

