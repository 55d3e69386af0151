-- The report on the last days, tags in reports, and files for spreadsheets.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'America/New_York';
SELECT time_zone FROM usage_monitor.configure(time_zone => 'Asia/Shanghai');
SELECT usage_monitor.set_price('m', 10, 20, provider => 'acme') > 0 AS set;

-- in one transaction, in which the day does not turn: two calls a day, of this one and the ten before
BEGIN;
INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens, tags, duration_ms)
SELECT greatest(now() - d * interval '1 day', (usage_monitor.ledger_day(now()) - d)::timestamp AT TIME ZONE 'Asia/Shanghai'), o, 'p', 'm', 1000 * (d + 1),
       jsonb_build_object('team', 't' || d % 2, 'n', d), 1234.5678
  FROM generate_series(0, 10) AS d, unnest('{a,b}'::text[]) AS o;
INSERT INTO usage_monitor.usage (org, model, input_tokens, tags) VALUES ('a', 'm', 500, NULL), ('a', 'nobody-knows', 1, '{"team": "t9"}');

SELECT r ->> 'report' AS report, r #>> '{period, complete}' AS complete, (r #>> '{period, name}') = to_char(today - 2, 'YYYY-MM-DD') || '/' || to_char(today, 'YYYY-MM-DD') AS name,
       (r #>> '{period, first_day}')::date = today - 2 AND (r #>> '{period, last_day}')::date = today AS days,
       r #> '{summary, requests}' AS requests, r #> '{summary, cost}' AS cost, r #> '{comparison, previous, cost}' AS before,
       r #> '{comparison, change, cost}' AS change, jsonb_array_length(r -> 'trend') AS trend, r #> '{by_org, 0, cost}' AS dearest
  FROM (SELECT usage_monitor.ledger_day(now())) AS d (today), usage_monitor.report(3) AS r;
SELECT (SELECT sum(cost) FROM usage_monitor.daily_total WHERE day > usage_monitor.ledger_day(now()) - n) = (usage_monitor.report(n) #>> '{summary, cost}')::numeric AS is_the_views, n
  FROM unnest('{1, 5, 11, 366}'::int[]) AS n;
SELECT jsonb_array_length(r -> 'trend') >= 1 AS by_hour, r #> '{summary, requests}' AS requests FROM usage_monitor.report(1, org => 'b') AS r;
-- its keys are those of the others
SELECT array_agg(k) = (SELECT array_agg(k) FROM jsonb_object_keys(usage_monitor.report('monthly')) AS k) AS alike FROM jsonb_object_keys(usage_monitor.report(7)) AS k;
-- tags: each value, with its share of its name's cost; and each name
SELECT t ->> 'key' AS key, t ->> 'value' AS value, t -> 'requests' AS requests, t -> 'cost' AS cost, t -> 'cost_percentage' AS "%", t -> 'unpriced_requests' AS unpriced
  FROM jsonb_array_elements(usage_monitor.report(3, 'a') -> 'by_tag') AS t;
SELECT k ->> 'key' AS key, k -> 'values' AS values, k -> 'requests' AS requests, k -> 'cost' AS cost, k -> 'unpriced_requests' AS unpriced
  FROM jsonb_array_elements(usage_monitor.report(3, 'a') -> 'by_key') AS k;
SELECT r #> '{others, by_tag}' AS others FROM usage_monitor.report(3) AS r;
-- of more than are listed, shares are still of all
INSERT INTO usage_monitor.usage (org, model, input_tokens, tags) SELECT 'many', 'm', 1000, jsonb_build_object('call', i) FROM generate_series(1, 60) AS i;
SELECT jsonb_array_length(r -> 'by_tag') AS listed, r #> '{others, by_tag}' AS others, r #> '{by_tag, 0, cost_percentage}' AS "%" FROM usage_monitor.report(1, 'many') AS r;
-- nothing used
SELECT r -> 'by_tag' AS by_tag, r -> 'by_key' AS by_key, r #> '{summary, cost}' AS cost FROM usage_monitor.report(30, 'nobody') AS r;
ROLLBACK;
SELECT usage_monitor.report(0);
SELECT usage_monitor.report(367);
SELECT usage_monitor.report(NULL::integer);

/*
 * Files for spreadsheets: what people group by month has a column for it.
 */
INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens, duration_ms, tags) VALUES
    ('2026-01-31 15:59Z', 'a', 'p', 'm', 1000, 1234.5678, NULL),
    ('2026-01-31 16:00Z', 'a', '=p', 'm', 1000, 2000, '{"team": "x,y"}'),
    ('2026-02-10Z', 'a', 'p', 'm', 3000, NULL, '{"team": "+1"}'),
    ('2026-02-10Z', 'a', 'p', 'nobody-knows', 3000, 10, NULL);
SELECT ascii(f) = 65279 AS has_mark, substr(f, 2) AS file FROM usage_monitor.usage_csv('2026-01-01', '2026-03-01', 'project', 'a') AS f;
SELECT substr(f, 2) AS file FROM usage_monitor.usage_csv('2026-01-01', '2026-03-01', 'day', decimal_mark => ',') AS f;
SELECT substr(f, 2) AS file FROM usage_monitor.usage_csv('2026-01-31', '2026-02-02', 'month') AS f;
SELECT substr(f, 2) AS file FROM usage_monitor.usage_csv('2026-01-31', '2026-03-02', 'tag') AS f;
SELECT substr(f, 2) AS file FROM usage_monitor.usage_csv('2025-01-31', '2025-03-02', 'model') AS f;
SELECT usage_monitor.usage_csv('2026-01-31', '2026-01-02');
SELECT usage_monitor.usage_csv('2026-01-01', '2026-01-02', 'colour');
SELECT usage_monitor.usage_csv('2026-01-01', '2026-01-02', NULL);
SELECT usage_monitor.usage_csv('2026-01-01', '2026-01-02', decimal_mark => NULL);

DROP EXTENSION usage_monitor CASCADE;
