--
-- page_data() and known_names(): one answer for a page, equal to the ledger
-- under any conditions, folded or not
--
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
\i :refusal
SET timezone = 'Pacific/Auckland';  -- the ledger's days are not the session's
\set SHOW_CONTEXT never

-- An empty ledger: the same keys
SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(usage_monitor.page_data(current_date - 29, current_date + 1)) AS k;
SELECT p -> 'sums' -> 'total' ->> 'cost' AS cost, jsonb_array_length(p -> 'days') AS days, p -> 'meta' -> 'first_day' AS first_day, p -> 'parts' -> 'user' AS users, p -> 'forecast' AS forecast, p -> 'unpriced' AS unpriced
FROM usage_monitor.page_data((now() AT TIME ZONE 'UTC')::date - 29, (now() AT TIME ZONE 'UTC')::date + 1) AS p;
SELECT count(*) FROM usage_monitor.known_names('user');

-- Sixty days that end today
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, provider, model, source, operation, input_tokens, output_tokens, cache_read_input_tokens, duration_ms, success, cached, cost)
SELECT now() - n * interval '57 minutes',
       CASE WHEN n % 3 = 0 THEN 'acme' ELSE 'globex' END, 'd' || n % 2, CASE WHEN n % 5 > 0 THEN 'p' || n % 5 END, 'u' || n % 23,
       CASE WHEN n % 2 = 0 THEN 'even' ELSE 'odd' END, 'm' || n % 8, 's' || n % 2, CASE WHEN n % 4 > 0 THEN 'chat' ELSE 'embeddings' END,
       n, n % 7, n % 5, n * 13, n % 11 > 0, n % 97 = 0, CASE WHEN n % 50 <> 1 THEN 0.001 * n + 0.00000000000001 END
FROM generate_series(0, 1500) AS n;

-- Each sum and each list by the ledger itself
CREATE FUNCTION pg_temp.differences("from" date, "to" date, from_calls boolean, org text, department text, project text, user_id text, source text, model text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p       jsonb := usage_monitor.page_data("from", "to", org, department, project, user_id, source, model, 1000, from_calls);
    calls   text := format('FROM (SELECT *, usage_monitor.ledger_day(ts) AS day FROM usage_monitor.usage) AS u WHERE true %s %s %s %s %s %s',
                           'AND org = ' || quote_literal(org), 'AND department = ' || quote_literal(department),
                           CASE project WHEN '' THEN 'AND project IS NULL' ELSE 'AND project = ' || quote_literal(project) END,
                           'AND user_id = ' || quote_literal(user_id), 'AND source = ' || quote_literal(source), 'AND model = ' || quote_literal(model));
    inside  text := format('AND day >= %L AND day < %L', "from", "to");
    wrong   text[] := '{}';
    part    record;
    found   jsonb;
    wanted  jsonb;
BEGIN
    FOR part IN
        SELECT * FROM (VALUES
            ('total', inside), ('today', 'AND day = usage_monitor.ledger_day(now())'),
            ('before', format('AND day >= %L::date - %s AND day < %L', "from", "to" - "from", "from")),
            ('month', 'AND day >= date_trunc(''month'', usage_monitor.ledger_day(now())::timestamp)')) AS v (name, range)
    LOOP
        EXECUTE format('SELECT jsonb_build_object(''requests'', count(*)::text, ''errors'', count(*) FILTER (WHERE NOT success), ''cost'', trim_scale(coalesce(sum(cost), 0))::text,
                            ''total_tokens'', coalesce(sum(total_tokens), 0)::text, ''unpriced_requests'', count(*) FILTER (WHERE cost IS NULL)) %s %s', calls, part.range) INTO wanted;
        found := p -> 'sums' -> part.name;
        IF found IS NOT NULL AND NOT (wanted -> 'requests' = found -> 'requests' AND wanted ->> 'errors' = found ->> 'errors' AND wanted -> 'cost' = found -> 'cost'
                AND wanted -> 'total_tokens' = found -> 'total_tokens' AND wanted ->> 'unpriced_requests' = found ->> 'unpriced_requests') THEN
            wrong := wrong || format('%s: %s, not %s', part.name, found, wanted);
        END IF;
    END LOOP;

    EXECUTE format('SELECT jsonb_object_agg(day, cost) FROM (SELECT day, trim_scale(coalesce(sum(cost), 0))::text AS cost %s %s GROUP BY day) AS d', calls, inside) INTO wanted;
    IF p -> 'days' <> 'null' THEN
        SELECT jsonb_object_agg(d ->> 'day', d -> 'cost') FILTER (WHERE d ->> 'requests' <> '0') INTO found FROM jsonb_array_elements(p -> 'days') AS d;
        IF wanted IS DISTINCT FROM found THEN
            wrong := wrong || format('days: %s, not %s', found, wanted);
        END IF;
        -- the cells of a day add up to it
        IF p -> 'stack' <> 'null' AND EXISTS (
            SELECT FROM jsonb_array_elements(p -> 'days') WITH ORDINALITY AS d (day, n)
             WHERE (d.day ->> 'cost')::numeric <> (SELECT sum(c::numeric) FROM jsonb_array_elements_text(p -> 'stack' -> 'costs' -> (d.n - 1)::integer) AS c)) THEN
            wrong := wrong || 'stack'::text;
        END IF;
    END IF;

    FOR part IN
        SELECT * FROM (VALUES ('user', 'org, user_id'), ('project', 'org, project'), ('department', 'org, department'), ('operation', 'NULL, operation'), ('source', 'NULL, source'), ('org', 'org, org')) AS v (kind, columns)
        WHERE p -> 'parts' ? v.kind
    LOOP
        EXECUTE format('SELECT coalesce(jsonb_agg(jsonb_build_array(org, name, requests, cost) ORDER BY org, name), ''[]'')
                          FROM (SELECT x.org, x.name, count(*)::text AS requests, trim_scale(sum(cost))::text AS cost FROM (SELECT cost, %s %s %s) AS x (cost, org, name) GROUP BY x.org, x.name) AS y', part.columns, calls, inside) INTO wanted;
        SELECT coalesce(jsonb_agg(jsonb_build_array(r -> 'org', r -> 'name', r -> 'requests', r -> 'cost') ORDER BY r ->> 'org', r ->> 'name'), '[]') INTO found FROM jsonb_array_elements(p -> 'parts' -> part.kind -> 'listed') AS r;
        IF wanted IS DISTINCT FROM found THEN
            wrong := wrong || format('%s: %s, not %s', part.kind, found, wanted);
        END IF;
    END LOOP;
    EXECUTE format('SELECT count(duration_ms) %s %s', calls, inside) INTO wanted;
    SELECT to_jsonb(sum(h::bigint)) INTO found FROM jsonb_array_elements_text(p -> 'durations' -> 'histogram') AS h;
    IF found IS NOT NULL AND wanted <> found THEN
        wrong := wrong || format('durations: %s, not %s', found, wanted);
    END IF;
    EXECUTE format('SELECT to_jsonb(count(*)::text) %s %s', calls, inside) INTO wanted;
    SELECT to_jsonb(coalesce(sum((c ->> 'requests')::bigint), 0)::text) INTO found FROM jsonb_array_elements(p -> 'pattern') AS c WHERE p -> 'pattern' <> 'null';
    IF p -> 'pattern' <> 'null' AND wanted <> found THEN
        wrong := wrong || format('pattern: %s, not %s', found, wanted);
    END IF;
    -- what is there, and what is missing
    IF from_calls AND (p ->> 'missing' <> '[]' OR p -> 'sums' = 'null' OR p -> 'pattern' = 'null' OR (SELECT count(*) FROM jsonb_object_keys(p -> 'parts')) <> 7) THEN
        wrong := wrong || 'something is missing'::text;
    END IF;
    RETURN nullif(array_to_string(wrong, E'\n'), '');
END
$$;

CREATE TABLE pg_temp.conditions AS
SELECT * FROM (VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL), (2, 'acme', NULL, NULL, NULL, NULL, NULL), (3, NULL, NULL, 'p1', NULL, NULL, NULL), (4, NULL, NULL, '', NULL, NULL, NULL),
    (5, 'globex', NULL, 'p2', NULL, 's1', 'm7'), (6, NULL, NULL, NULL, NULL, 's0', NULL), (7, NULL, NULL, NULL, NULL, NULL, 'm4'), (8, 'acme', NULL, NULL, NULL, NULL, 'm4'),
    (9, NULL, 'd1', NULL, NULL, NULL, NULL), (10, NULL, 'd1', 'p3', NULL, NULL, NULL), (11, NULL, NULL, NULL, 'u5', NULL, NULL), (12, 'acme', NULL, NULL, 'u6', NULL, NULL),
    (13, NULL, 'd0', NULL, 'u4', 's0', 'm2'), (14, NULL, NULL, 'no such', NULL, NULL, NULL), (15, 'no such', NULL, NULL, NULL, NULL, NULL), (16, NULL, NULL, $$'; DROP TABLE x --$$, NULL, NULL, NULL)
) AS v (n, org, department, project, user_id, source, model);
-- nothing is folded yet; then everything is; then some of it
CREATE VIEW pg_temp.wrong AS
SELECT n, from_calls, r.first, pg_temp.differences(t.today - r.first, t.today + 1 - r.last, from_calls, org, department, project, user_id, source, model) AS wrong
FROM pg_temp.conditions, unnest('{f,t}'::boolean[]) AS from_calls, (VALUES (29, 0), (50, 20)) AS r (first, last), (SELECT usage_monitor.ledger_day(now()) AS today) AS t;
SELECT count(*), count(wrong) AS wrong, min(wrong) FROM pg_temp.wrong WHERE n % 2 = 1;
SELECT usage_monitor.refresh() > 0 AS folded;
SELECT count(*), count(wrong) AS wrong, min(wrong) FROM pg_temp.wrong;
INSERT INTO usage_monitor.usage (org, department, project, user_id, model, source, operation, cost) VALUES ('acme', 'd1', 'p1', 'u5', 'm4', 's0', 'chat', 1.25), ('globex', 'd0', NULL, 'u4', 'm2', 's0', 'chat', 0.5);
DELETE FROM usage_monitor.usage WHERE usage_id % 41 = 0;
SELECT count(*), count(wrong) AS wrong, min(wrong) FROM pg_temp.wrong WHERE n % 4 = 1;

-- What no rollup knows under these conditions is missing, and not zero
SELECT n, usage_monitor.page_data(usage_monitor.ledger_day(now()) - 6, usage_monitor.ledger_day(now()) + 1, org, department, project, user_id, source, model) -> 'missing' AS missing FROM pg_temp.conditions WHERE n < 14 ORDER BY n;

-- The rest says what the functions say that are for it
CREATE TABLE pg_temp.page AS SELECT d, usage_monitor.page_data(d - 29, d + 1) AS p FROM (SELECT usage_monitor.ledger_day(now()) AS d) AS t;
SELECT (p #>> '{forecast,forecast}')::numeric = f.forecast AS forecast, jsonb_array_length(p #> '{forecast,days}') = f.days_left AS forecast_days FROM pg_temp.page, usage_monitor.forecast(now(), 'all') AS f;
SELECT p #> '{durations,p95}' = to_jsonb(t.p95_duration_ms) AS p95 FROM pg_temp.page, usage_monitor.durations_between(d - 29, d + 1) AS t;
SELECT (p #>> '{cache,net}')::numeric = (SELECT sum(coalesce(provider_cache_saving_estimate, 0) + coalesce(application_cache_saving_estimate, 0) - coalesce(cache_creation_premium_estimate, 0)) FROM usage_monitor.cache_efficiency WHERE day > d - 30) AS cache FROM pg_temp.page;
SELECT p #>> '{unpriced,requests}' = (SELECT count(*)::text FROM usage_monitor.usage WHERE cost IS NULL AND usage_monitor.ledger_day(ts) > d - 30) AS unpriced FROM pg_temp.page;
SELECT (p #>> '{month_to_date,cost}')::numeric = (usage_monitor.dashboard() #>> '{to_date,month,cost}')::numeric AS to_date FROM pg_temp.page;
SELECT jsonb_typeof(p #> '{sums,total,cost}') AS cost, jsonb_typeof(p #> '{sums,total,input_tokens}') AS tokens, jsonb_typeof(p #> '{forecast,forecast}') AS forecast, jsonb_typeof(p #> '{parts,user,listed,0,cost}') AS part FROM pg_temp.page;
SELECT jsonb_array_length(p #> '{parts,user,listed}') AS listed, p #> '{parts,user,others}' AS others, (p #>> '{parts,user,others_cost}')::numeric = (SELECT cost FROM usage_monitor.usage_between(d - 29, d + 1, 'user', "limit" => 10) WHERE others IS NOT NULL) AS others_cost FROM pg_temp.page;

-- Quotas and alerts: whose, what of
SELECT usage_monitor.set_quota('all of it', 'all', NULL, 1000000, 'month') IS NOT NULL AS set, usage_monitor.set_quota('of q1', 'org', 'q1', 10, 'month') IS NOT NULL AS set, usage_monitor.set_quota('each', 'user', NULL, 1, 'day', 'requests', org => 'q1') IS NOT NULL AS set;
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('q1', 'u1', 'm1', 9), ('q2', 'u2', 'm1', 1);
INSERT INTO usage_monitor.usage (org, user_id, model, cost) VALUES ('q1', 'u1', 'm1', 2);
SELECT q ->> 'name' AS quota, q ->> 'org' AS org, q ->> 'subject' AS subject, q ->> 'state' AS state FROM usage_monitor.page_data(current_date, current_date + 1) AS p, jsonb_array_elements(p #> '{quotas,listed}') WITH ORDINALITY AS q (q, n) ORDER BY n;
SELECT a ->> 'quota' AS quota, a ->> 'level' AS level, a ->> 'subject' AS subject, a ->> 'org' AS org, jsonb_array_length(a -> 'alert_ids') AS alerts, a ->> 'metric' AS metric FROM usage_monitor.page_data(current_date, current_date + 1) AS p, jsonb_array_elements(p #> '{alerts,listed}') AS a WHERE a ->> 'quota' IS NOT NULL ORDER BY 1, 3;
SELECT p #> '{quotas,count}' AS quotas, p #> '{alerts,matters}' AS matters, p #> '{alerts,count}' AS alerts FROM unnest('{q1,q2}'::text[]) AS o, usage_monitor.page_data(current_date, current_date + 1, o) AS p;

-- Names
SELECT string_agg(name, ' ') FROM usage_monitor.known_names('project');
SELECT string_agg(name, ' ' ORDER BY name COLLATE "C") FROM usage_monitor.known_names('user', 'U1', org => 'acme');
SELECT count(*) FROM usage_monitor.known_names('user', "limit" => 5);
SELECT count(*) FROM usage_monitor.known_names('user', '%');
SELECT kind, count(*) > 0 AS some FROM unnest('{org,department,project,user,source,model,operation}'::text[]) AS kind, usage_monitor.known_names(kind) GROUP BY kind ORDER BY kind COLLATE "C";

SELECT r.* FROM unnest(ARRAY['page_data(NULL, date ''2026-01-01'')', 'page_data(date ''2026-01-01'', date ''2026-01-01'')', 'page_data(date ''2020-01-01'', date ''2026-01-01'')', 'page_data(date ''2026-01-02'', date ''2026-01-01'')',
    'page_data(date ''2026-01-01'', date ''2026-01-02'', "limit" => 0)', 'known_names(''session'')', 'known_names(NULL)', 'known_names(''user'', "limit" => 1001)', 'known_names(''user'', days => 0)']) WITH ORDINALITY AS t (call, n)
CROSS JOIN LATERAL pg_temp.refusal('SELECT usage_monitor.' || call) AS r ORDER BY n;
DROP EXTENSION usage_monitor CASCADE;
