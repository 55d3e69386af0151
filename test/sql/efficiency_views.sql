--
-- What caches saved and what models gave, against the ledger call by call,
-- and by known answers
--
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'Pacific/Chatham';   -- must not matter: days are the ledger's
SET datestyle = 'ISO, YMD';

-- Calls of three organisations to three models: one pays by contract, one has
-- a discount, one model is billed in yuan, and one changes its price at midnight
PREPARE set_prices AS
SELECT count(p)
FROM (VALUES (usage_monitor.set_price('um-cache', 3, 15, 0.3, 3.75, provider => 'umtest')),
             (usage_monitor.set_price('um-cache', 2, 10, 0.1, 2.5, provider => 'umtest',
                                      valid_from => timestamp '2025-03-09' AT TIME ZONE usage_monitor.ledger_time_zone())),
             (usage_monitor.set_price('um-cache', 1.7, 9, 0.13, provider => 'umtest', org => 'globex')),
             (usage_monitor.set_price('um-yuan', 8, 24, 1.6, 8, currency => 'CNY', provider => 'umtest')),
             (usage_monitor.set_price('um-plain', 1, 2, provider => 'umtest'))) AS v (p);

PREPARE fill AS
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cache_read_input_tokens,
                                 cache_creation_input_tokens, duration_ms, success, cached)
SELECT '2025-03-06 00:00+00'::timestamptz + n * interval '17 minutes',
       (ARRAY['acme', 'globex', 'initech'])[1 + n % 3], 'umtest', (ARRAY['um-cache', 'um-yuan', 'um-plain', 'um-unknown'])[1 + n % 4],
       9000 + n * 7919 % 10007, n % 500, CASE WHEN n % 5 > 0 THEN n * 31 % 5003 END, CASE WHEN n % 7 > 0 THEN n * 37 % 3001 END,
       CASE WHEN n % 6 > 0 THEN n % 900 + 0.5 END, n % 11 > 0, n % 13 = 6
FROM (SELECT n FROM generate_series(1, 600) AS n) AS call
WHERE n % 5 > 0 AND n % 7 > 0;

-- What the calls would have cost without a cache, by the cost engine, each at
-- its own time; calls that the application's own cache answered cost nothing
CREATE FUNCTION pg_temp.differences() RETURNS TABLE (rows bigint, only_view bigint, only_reference bigint)
LANGUAGE sql AS $$
    WITH told AS (
        SELECT day, org, provider, model, requests, input_tokens, cache_read_input_tokens, cache_creation_input_tokens,
               cache_hit_rate, provider_cache_saving_estimate, cache_creation_premium_estimate,
               cached_requests, application_cache_hit_rate, round(application_cache_saving_estimate, 12), cost, unpriced_requests
        FROM usage_monitor.cache_efficiency
    ), call AS (
        SELECT (ts AT TIME ZONE usage_monitor.ledger_time_zone())::date AS day, u.*,
               usage_monitor.cost(model, input_tokens, 0, 0, 0, provider => provider, org => org, at => ts) AS plain,
               usage_monitor.cost(model, input_tokens, 0, cache_read_input_tokens, 0, provider => provider, org => org, at => ts) AS read,
               usage_monitor.cost(model, input_tokens, 0, 0, cache_creation_input_tokens, provider => provider, org => org, at => ts) AS written
        FROM usage_monitor.usage AS u
    ), reference AS (
        SELECT day, org, provider, model, count(*), sum(input_tokens)::bigint, sum(cache_read_input_tokens)::bigint, sum(cache_creation_input_tokens)::bigint,
               round(sum(cache_read_input_tokens) / sum(input_tokens), 4), sum(plain - read), sum(written - plain),
               sum(cached::int), round(avg(cached::int), 4),
               CASE WHEN bool_or(cached) THEN round(sum(cached::int) * (avg(cost) FILTER (WHERE NOT cached)), 12) ELSE 0 END,
               sum(cost), count(*) FILTER (WHERE cost IS NULL)
        FROM call GROUP BY day, org, provider, model
    )
    SELECT (SELECT count(*) FROM told),
           (SELECT count(*) FROM (TABLE told EXCEPT ALL TABLE reference) AS d),
           (SELECT count(*) FROM (TABLE reference EXCEPT ALL TABLE told) AS d);
$$;

-- The sums of a page and of a report, which take all organisations that have no prices of their own together
CREATE FUNCTION pg_temp.savings() RETURNS TABLE (asked bigint, something bigint, different bigint)
LANGUAGE sql AS $$
    SELECT count(*), count(*) FILTER (WHERE s.provider > 0 AND s.premium <> 0 AND s.application > 0),
           count(*) FILTER (WHERE (s.provider, s.premium, s.application) IS DISTINCT FROM (r.provider, r.premium, r.application))
    FROM unnest('{acme,globex,initech,nobody,NULL}'::text[]) AS o (org), unnest('{um-cache,um-yuan,um-unknown,NULL}'::text[]) AS m (model)
    CROSS JOIN LATERAL _usage_monitor._cache_savings('2025-03-07', '2025-03-12', o.org, m.model) AS s
    CROSS JOIN LATERAL (SELECT coalesce(sum(e.provider_cache_saving_estimate), 0) AS provider, coalesce(sum(e.cache_creation_premium_estimate), 0) AS premium,
                               coalesce(sum(e.application_cache_saving_estimate), 0) AS application
                        FROM usage_monitor.cache_efficiency AS e
                        WHERE e.day >= '2025-03-07' AND e.day < '2025-03-12' AND e.org = coalesce(o.org, e.org) AND e.model = coalesce(m.model, e.model)) AS r;
$$;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
INSERT INTO usage_monitor.discount (org, provider, percent) VALUES ('initech', 'umtest', 12.5);
EXECUTE set_prices;
EXECUTE fill;
SELECT * FROM pg_temp.differences();
SELECT * FROM pg_temp.savings();
SELECT model, sum(provider_cache_saving_estimate) > 0 AS saved, sum(cache_creation_premium_estimate) AS premium,
       sum(cached_requests) > 0 AS has_cached, count(*) FILTER (WHERE application_cache_saving_estimate > 0) > 0 AS cached_saved
FROM usage_monitor.cache_efficiency GROUP BY model ORDER BY model;
ROLLBACK;

BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'America/New_York');
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14);
INSERT INTO usage_monitor.discount (org, provider, percent) VALUES ('initech', 'umtest', 12.5);
EXECUTE set_prices;
EXECUTE fill;
SELECT * FROM pg_temp.differences();
SELECT * FROM pg_temp.savings();
ROLLBACK;

-- Known answers: a million cached tokens at 0.3 in place of 3, and 400,000 written at 3.75
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'UTC');
EXECUTE set_prices;
INSERT INTO usage_monitor.usage (ts, org, model, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, service_tier, cached)
VALUES ('2025-01-01 10:00+00', 'acme', 'um-cache', 2000000, 0, 1000000, 400000, 'standard', false),
       ('2025-01-01 10:00+00', 'acme', 'um-cache', 2000000, 0, 0, 0, 'standard', false),
       ('2025-01-01 10:00+00', 'acme', 'um-cache', 1000000, 0, 0, 0, 'standard', true),
       -- at 2 and 1, the average is 1.5
       ('2025-01-01 10:00+00', 'globex', 'um-plain', 2000000, 0, 0, 0, 'standard', false),
       ('2025-01-01 10:00+00', 'globex', 'um-plain', 1000000, 0, 0, 0, 'standard', false),
       ('2025-01-01 10:00+00', 'globex', 'um-plain', 500000, 0, 0, 0, 'standard', true),
       -- no other call tells what it saved
       ('2025-01-02 10:00+00', 'acme', 'um-cache', 10, 10, 0, 0, 'standard', true),
       -- no price
       ('2025-01-03 10:00+00', 'acme', 'um-unknown', 1000, 10, 500, 0, 'standard', false),
       ('2025-01-03 10:00+00', 'acme', 'um-unknown', 0, 10, 0, 0, 'standard', true);
SELECT day, org, provider, model, requests, input_tokens, cache_read_input_tokens, cache_hit_rate, provider_cache_saving_estimate AS saving,
       cache_creation_premium_estimate AS premium, cached_requests AS cached, application_cache_hit_rate AS rate,
       application_cache_saving_estimate AS cached_saving, cost, currency
FROM usage_monitor.cache_efficiency ORDER BY day, org, provider;
-- and in a report
SELECT report #>> '{summary, provider_cache_saving_estimate}' AS saving, report #>> '{summary, cache_creation_premium_estimate}' AS premium,
       report #>> '{summary, application_cache_saving_estimate}' AS cached_saving, report #>> '{summary, cache_hit_rate}' AS hit_rate,
       report #>> '{summary, application_cache_hit_rate}' AS cached_rate
FROM usage_monitor.report('monthly', '2025-01-15 00:00+00', 'acme') AS report;
-- a condition on any of its columns leaves the estimate as it is
SELECT provider, application_cache_saving_estimate AS cached_saving FROM usage_monitor.cache_efficiency WHERE provider IS NULL AND org = 'acme' ORDER BY day;
ROLLBACK;

-- What a model gave, over the last 30 days
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT usage_monitor.configure('USD', 'Asia/Kathmandu');
EXECUTE set_prices;
INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, duration_ms, success, cost)
SELECT now() - n * interval '53 minutes', (ARRAY['acme', 'globex'])[1 + n % 2], 'umtest', (ARRAY['um-cache', 'um-plain', 'um-unknown'])[1 + n % 3],
       9000 + n * 7919 % 10007, n % 500, CASE WHEN n % 6 > 0 THEN n % 900 + 0.5 END, n % 11 > 0,
       CASE WHEN n % 3 = 2 AND n < 400 THEN 0.001 * n END
FROM generate_series(0, 1200) AS n;
SELECT count(*) AS models, count(*) FILTER (WHERE same) AS same
FROM (
    SELECT (e.requests, e.errors, e.error_rate, e.total_tokens, e.cost, round(e.cost_per_1k_tokens, 12), round(e.cost_per_request, 12),
            round(e.avg_duration_ms::numeric, 6), round(e.tokens_per_second::numeric, 6), e.unpriced_requests, e.cost_rank)
           IS NOT DISTINCT FROM
           (r.requests, r.errors, r.error_rate, r.tokens, r.cost, round(r.per_1k, 12), round(r.per_request, 12),
            round(r.duration::numeric, 6), round((r.output / (r.duration * r.requests / 1000))::numeric, 6), r.unpriced,
            CASE WHEN r.per_1k IS NOT NULL THEN rank() OVER (ORDER BY r.per_1k) END) AS same
    FROM usage_monitor.model_efficiency AS e
    FULL JOIN (
        SELECT provider, model, sum(calls)::bigint AS requests, sum(bad)::bigint AS errors, round(sum(bad) / sum(calls), 4) AS error_rate,
               sum(tokens)::bigint AS tokens, sum(cost) AS cost,
               1000 * sum(CASE unpriced WHEN 0 THEN cost END) / sum(CASE unpriced WHEN 0 THEN tokens END) AS per_1k,
               sum(cost) / sum(calls - unpriced) AS per_request,
               sum(duration) / sum(timed) AS duration,
               sum(output) AS output, sum(unpriced)::bigint AS unpriced
        FROM (SELECT provider, model, (ts AT TIME ZONE 'Asia/Kathmandu')::date AS day, count(*) AS calls, sum(1 - success::int) AS bad,
                     sum(input_tokens + output_tokens) AS tokens, sum(output_tokens) AS output, sum(cost) AS cost,
                     sum(duration_ms) AS duration, count(duration_ms) AS timed,
                     count(*) - count(cost) AS unpriced
              FROM usage_monitor.usage
              WHERE (ts AT TIME ZONE 'Asia/Kathmandu')::date > (now() AT TIME ZONE 'Asia/Kathmandu')::date - 30
              GROUP BY 1, 2, 3) AS daily
        GROUP BY provider, model) AS r
      ON r.model = e.model AND r.provider IS NOT DISTINCT FROM e.provider
) AS d;

-- Known answers
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens, duration_ms, success, cost)
VALUES (now(), 'umtest', 'cheap', 1500, 500, 250, true, 0.002),
       (now(), 'umtest', 'cheap', 500, 1500, 750, false, 0.004),
       (now(), 'umtest', 'dear', 1000, 1000, 4000, true, 0.02),
       -- a day with a call that has no price tells nothing of the price of a token
       (now() - interval '3 days', 'umtest', 'dear', 100000, 1000, 4000, true, 1),
       (now() - interval '3 days', 'umtest', 'dear', 100000, 1000, 4000, true, NULL),
       -- too long ago
       (now() - interval '31 days', 'umtest', 'dear', 1000, 1000, 1, true, 100),
       (now(), 'umtest', 'no tokens', 0, 0, NULL, true, 1),
       (now(), NULL, 'no price', 10, 10, 10, true, NULL);
SELECT provider, model, requests, errors, error_rate, total_tokens, cost, cost_per_1k_tokens, cost_per_request, avg_duration_ms, tokens_per_second,
       unpriced_requests, cost_rank
FROM usage_monitor.model_efficiency ORDER BY cost_rank, model;
-- calls that the application's own cache answered make no model cheap: 990 of one, all of another, of whatever size, folded or not
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens, cached, cost)
SELECT now() - n % 5 * interval '1 day', 'umtest', m, 1000 * s, 1000 * s, c, CASE WHEN NOT c THEN p END
FROM (VALUES ('large', 1, false, 0.02, 10), ('large', 1, true, 0, 500), ('large', 0, true, 0, 490), ('small', 1, false, 0.002, 10), ('all cached', 1, true, 0, 5)) AS m (m, s, c, p, calls), generate_series(1, calls) AS n;
SELECT model, requests, cached_requests AS cached, total_tokens, cost, cost_per_1k_tokens, cost_per_request, cost_rank FROM usage_monitor.model_efficiency ORDER BY model;
-- of a day that the ledger does not have any more, nobody can tell which tokens were billed
DELETE FROM usage_monitor.usage;
INSERT INTO _usage_monitor._archive_model_total (day, name_hash, requests, input_tokens, cost, key1, key2, cached_requests)
VALUES (usage_monitor.ledger_day(now()) - 9, 1, 100, 100000, 1, 'large', 'umtest', 99), (usage_monitor.ledger_day(now()) - 8, 1, 100, 100000, 1, 'large', 'umtest', NULL);
SELECT model, requests, cached_requests AS cached, cost, cost_per_1k_tokens, cost_per_request FROM usage_monitor.model_efficiency;
DELETE FROM _usage_monitor._archive_model_total;
-- two calls of two days and 99 without a duration: the average is that of the two, wherever they are added up
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, user_id, provider, model, output_tokens, duration_ms, cost)
SELECT _usage_monitor._day_start(usage_monitor.ledger_day(now()) - day) + interval '1 hour', 'u', 'umtest', 'timed', 100, ms, 1
FROM (VALUES (1, 10000.0), (2, 1000.0)) AS d (day, ms)
UNION ALL
SELECT _usage_monitor._day_start(usage_monitor.ledger_day(now()) - 2) + interval '1 hour', 'u', 'umtest', 'timed', 100, NULL, 1
FROM generate_series(1, 99);
SELECT g AS group_by, array_agg(b.avg_duration_ms) AS avg_duration_ms
FROM unnest('{org, user, provider, model, operation, source, service_tier}'::text[]) AS g
CROSS JOIN LATERAL usage_monitor.usage_between('-infinity', 'infinity', g) AS b GROUP BY g ORDER BY g;
SELECT avg_duration_ms, tokens_per_second FROM usage_monitor.model_efficiency;
SELECT usage_monitor.dashboard() #> '{top_models,0,avg_duration_ms}' AS top_model,
       (SELECT sum(total_duration_ms) / sum(timed_requests) FROM usage_monitor.user_usage) AS by_hand;
DELETE FROM usage_monitor.usage;
SELECT (SELECT count(*) FROM usage_monitor.model_efficiency) AS models, (SELECT count(*) FROM usage_monitor.cache_efficiency) AS caches;
ROLLBACK;
