-- What of a response is not read is held, listed and read again; what the
-- provider charged is the cost; another call under the same id is kept.
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start
SELECT usage_monitor.set_price('reading-1', 1, 10, cache_read => 0.1) IS NOT NULL;

CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, hint);
END
$$;

-- An unread field that could be money holds the call; without it the call is priced
SELECT cost, cost_source, unpriced_reason, unread, input_tokens, cache_read_input_tokens
FROM usage_monitor.record('{"id": "u1", "model": "reading-1", "choices": [{"message": {"content": "a secret"}}],
    "user": "someone with a long and private name that is text and no word of an API at all, is it",
    "usage": {"prompt_tokens": 9000, "completion_tokens": 500, "total_tokens": 9500, "prompt_tokens_details": {"cache_hits": 8000, "zero": 0}}}',
    ts => '2026-01-01 12:00');
SELECT cost, cost_source FROM usage_monitor.record('{"id": "u2", "model": "reading-1", "usage": {"prompt_tokens": 9000, "completion_tokens": 500, "unknown": 0, "flag": true}}',
    ts => '2026-01-01 12:00');
-- so do a word that is none of a service tier's, and other fields of money, wherever they stand
SELECT unpriced_reason FROM usage_monitor.record('{"id": "u3", "model": "reading-1", "service_tier": "sublime", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}', ts => '2026-01-01 12:00');
SELECT unpriced_reason FROM usage_monitor.record('{"id": "u4", "model": "reading-1", "extra": {"billed_credits": 3}, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}', ts => '2026-01-01 12:00');
-- a shape that nobody knows, of a model that somebody named; but not if nothing in it could be money
SELECT cost, unpriced_reason, input_tokens, output_tokens FROM usage_monitor.record('{"llm_usage": {"tokens_in": 1000, "tokens_out": 200}}', model => 'reading-1', request_id => 'u5', ts => '2026-01-01 12:00');
SELECT pg_temp.refusal($$SELECT usage_monitor.record('{"weather": "fine", "model": "reading-1", "answer": 42}')$$);
SELECT pg_temp.refusal($$SELECT usage_monitor.record('{"llm_usage": {"tokens_in": 1000}}')$$);
SELECT pg_temp.refusal($$SELECT usage_monitor.record(NULL)$$);
SELECT pg_temp.refusal($$SELECT usage_monitor.record('{"object": "fine_tuning.job", "model": "m", "trained_tokens": 5}')$$);
-- a stream that was cut, before and after it told its usage
SELECT unpriced_reason, output_tokens FROM usage_monitor.record('[{"type": "message_start", "message": {"id": "u6", "type": "message", "model": "reading-1", "usage": {"input_tokens": 10, "output_tokens": 1}}}, {"type": "content_block_delta"}]', ts => '2026-01-01 12:00');
SELECT unpriced_reason, output_tokens FROM usage_monitor.record('[{"id": "u7", "object": "chat.completion.chunk", "model": "reading-1", "choices": [{"delta": {"content": "Hi"}}]}]', ts => '2026-01-01 12:00');
SELECT cost, output_tokens FROM usage_monitor.record('[{"id": "u8", "object": "chat.completion.chunk", "model": "reading-1", "choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}, {"id": "u8", "object": "chat.completion.chunk", "model": "reading-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}]', ts => '2026-01-01 12:00');

-- What is kept of a held response has no text; what is not held keeps its usage object
SELECT request_id, provider_usage FROM usage_monitor.usage ORDER BY usage_id;
SELECT path, requests, example, models, total_tokens, unpriced_requests FROM usage_monitor.unread_fields ORDER BY path COLLATE "C";
SELECT model, unpriced_reason, requests FROM usage_monitor.unpriced_usage ORDER BY unpriced_reason COLLATE "C";
SELECT subject, message FROM usage_monitor.alert WHERE alert_type = 'unpriced';

-- A line of one's own, and the call can be read again; first without a change
SELECT pg_temp.refusal(format('INSERT INTO usage_monitor.usage_field (family, path, meaning) VALUES (%L, %L, %L)', f.family, f.path, f.meaning))
FROM (VALUES ('*', 'a', 'cash_read'), ('*', 'a..b', 'input'), ('*', 'a[b', 'input'), ('*', '/', 'input'), ('*', 'a||b', 'input'), ('*', 'a[=]b', 'input'),
             ('*', 'a', 'tier=sublime'), ('*', 'a', 'input=5'), ('*', 'a', 'input >reasoning'), ('*', 'a', 'cost *two'), ('tier', 'sublime', 'heavenly'),
             ('*', '', 'input'), ('', 'a', 'input'), ('*', 'a', '+input?'), ('*', 'a', 'input output cache_read'), ('@', 'A.b', 'x')) AS f (family, path, meaning);
SELECT pg_temp.refusal($$DELETE FROM usage_monitor.usage_field WHERE line = 10$$);
SELECT pg_temp.refusal($$UPDATE usage_monitor.usage_field SET meaning = '-' WHERE line = 10$$);
SELECT pg_temp.refusal($$INSERT INTO usage_monitor.usage_field (family, path, meaning, source) VALUES ('*', 'a', 'input', 'shipped')$$);
INSERT INTO usage_monitor.usage_field VALUES ('*', 'prompt_tokens_details.cache_hits', 'cache_read');
INSERT INTO usage_monitor.usage_field VALUES ('tier', 'sublime', 'standard');
INSERT INTO usage_monitor.usage_field VALUES ('*', '/llm_usage', 'usage'), ('*', 'tokens_in', 'input'), ('*', 'tokens_out', 'output');
SELECT * FROM usage_monitor.reread();
SELECT count(*) FROM usage_monitor.usage WHERE unread IS NOT NULL;
SELECT * FROM usage_monitor.reread('2026-01-01', '2026-02-01', dry_run => false);
SELECT request_id, cost, unpriced_reason, input_tokens, cache_read_input_tokens FROM usage_monitor.usage ORDER BY usage_id;
SELECT cost, cache_read_input_tokens FROM usage_monitor.record('{"id": "u9", "model": "reading-1", "usage": {"prompt_tokens": 9000, "completion_tokens": 500, "prompt_tokens_details": {"cache_hits": 8000}}}');
SELECT what, details ->> 'requests' AS requests FROM usage_monitor.audit_log;
SELECT pg_temp.refusal($$SELECT usage_monitor.reread('2026-02-01', '2026-01-01')$$);
-- closed books stay as they are; reprice() leaves what is unread alone
SELECT usage_monitor.close_period('2026-01-01') IS NOT NULL AS closed;
INSERT INTO usage_monitor.usage_field VALUES ('*', '/extra', '-');
SELECT * FROM usage_monitor.reread(dry_run => false);
SELECT usage_monitor.reopen_period('2026-01-01') IS NULL AS still_closed;
SELECT count(*) FROM usage_monitor.reprice('2026-01-01', '2026-02-01');
-- a row that is held by an INSERT, and one that is let go
INSERT INTO usage_monitor.usage (request_id, model, input_tokens, output_tokens, unread) VALUES ('u10', 'reading-1', 10, 1, '{"extra": 3}') RETURNING cost, unpriced_reason;
UPDATE usage_monitor.usage SET unread = NULL WHERE request_id = 'u10' RETURNING cost, unpriced_reason;
SELECT pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, unread) VALUES ('reading-1', '[]')$$);
SELECT pg_temp.refusal($$INSERT INTO usage_monitor.usage (model, unread) VALUES ('reading-1', '{}')$$);
BEGIN;
SELECT unpriced FROM usage_monitor.configure(unpriced => 'refuse');
SELECT pg_temp.refusal($$SELECT usage_monitor.record('{"model": "reading-1", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "gold": 5}}')$$);
ROLLBACK;

-- The response's own time, unless another is given; one that cannot be is passed over
SELECT x.said, r.ts = now() AS is_now, CASE WHEN r.ts <> now() THEN r.ts END AS ts
FROM (VALUES (1, '"created": 1790000000'), (2, '"created_at": "2026-10-01T12:00:00.5+02:00"'), (3, '"timestamp": "2026-10-01 12:00:00"'),
             (4, '"created": 1790000000123'), (5, '"created": 0'), (6, '"created": 99999999999999'), (7, '"created_at": "yesterday"'), (8, '"created": "1790000000"'),
             (9, '"created": 1')) AS x (n, said)
CROSS JOIN LATERAL usage_monitor.record(('{"model": "reading-1", ' || x.said || ', "usage": {"prompt_tokens": 1, "completion_tokens": 1}}')::jsonb) AS r
ORDER BY x.n;
SELECT ts FROM usage_monitor.record('{"model": "reading-1", "created": 1790000000, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}', ts => '2026-05-05');

-- What the provider charged, with the price book's figure beside it
\set charged '{"model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.5, "is_byok": false}}'
SELECT cost, cost_source, list_cost, input_cost, other_cost FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c1"}')::jsonb);
SELECT e.meter, e.amount, e.cost, e.note FROM usage_monitor.usage u, usage_monitor.explain_cost(u.usage_id) AS e WHERE u.request_id = 'c1';
SELECT cost, cost_source, list_cost FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c2", "model": "reading-none"}')::jsonb);
-- but not where something else is unread; a router's fee, and what the provider took of one's own key
SELECT cost, cost_source, unread FROM usage_monitor.record('{"id": "c3", "model": "reading-1", "usage": {"prompt_tokens": 10, "completion_tokens": 10, "cost": 0.25, "gold": 5}}');
SELECT cost FROM usage_monitor.record('{"id": "gen-4", "model": "reading-1", "usage": {"prompt_tokens": 10, "completion_tokens": 10, "cost": 0.01, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.2}}}');
-- a later word with another charge
SELECT cost, list_cost FROM usage_monitor.record('{"id": "c1", "model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "cost": 0.75}}');
UPDATE usage_monitor.usage SET output_tokens = 300 WHERE request_id = 'c1' RETURNING cost, cost_source, list_cost;
UPDATE usage_monitor.usage SET cost = NULL WHERE request_id = 'c1' RETURNING cost, cost_source, list_cost;
SELECT reported_costs FROM usage_monitor.configure(reported_costs => 'ignore');
SELECT cost, cost_source, list_cost FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c5"}')::jsonb);
SELECT cost, cost_source FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c6", "model": "reading-none"}')::jsonb);
SELECT pg_temp.refusal($$SELECT usage_monitor.configure(reported_costs => 'maybe')$$);
-- in a ledger of another currency: converted, or priced by the price book while there is no rate
BEGIN;
DELETE FROM usage_monitor.usage;
SELECT currency, reported_costs FROM usage_monitor.configure(currency => 'CNY', reported_costs => 'prefer');
SELECT cost, cost_source, unpriced_reason FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c7"}')::jsonb);
INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('USD', 'CNY', 7);
SELECT cost, currency, cost_source, price_cost, price_currency, exchange_rate, list_cost FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c8"}')::jsonb);
SELECT cost, price_cost FROM usage_monitor.record((:'charged'::jsonb || '{"id": "c7"}')::jsonb);
SELECT e.meter, e.cost, e.note FROM usage_monitor.usage u, usage_monitor.explain_cost(u.usage_id) AS e WHERE u.request_id = 'c8';
ROLLBACK;

-- The same id: a later word replaces, a retry changes nothing, another call is kept and listed
SELECT request_id, output_tokens FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 10}}', user_id => 'ann');
SELECT request_id, output_tokens FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}');
SELECT request_id, output_tokens FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}', user_id => 'ann');
SELECT request_id FROM usage_monitor.record('{"id": "s1", "model": "reading-2", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}', user_id => 'ann');
SELECT request_id FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}', user_id => 'bob');
SELECT request_id FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 10, "completion_tokens": 100}}', user_id => 'ann');
SELECT request_id FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 10, "completion_tokens": 100}}', user_id => 'ann');
SELECT request_id FROM usage_monitor.record('{"id": "s1", "model": "reading-1", "usage": {"prompt_tokens": 10, "completion_tokens": 100}}', user_id => 'ann', org => 'other');
SELECT request_id, user_id, model, input_tokens, output_tokens FROM usage_monitor.usage WHERE request_id LIKE 's1%' ORDER BY usage_id;
SELECT org, request_id, kept_as, difference FROM usage_monitor.request_conflict ORDER BY kept_as;

-- An INSERT that may be repeated, in the ways that work
INSERT INTO usage_monitor.usage (request_id, model, input_tokens) VALUES ('i1', 'reading-1', 1) ON CONFLICT DO NOTHING;
INSERT INTO usage_monitor.usage (request_id, model, input_tokens) VALUES ('i1', 'reading-1', 1) ON CONFLICT DO NOTHING;
INSERT INTO usage_monitor.usage_default (request_id, model, input_tokens) VALUES ('i1', 'reading-1', 1) ON CONFLICT (org, request_id) WHERE request_id IS NOT NULL DO NOTHING;
INSERT INTO usage_monitor.usage_default (request_id, model, input_tokens) VALUES ('i1', 'reading-1', 2)
    ON CONFLICT (org, request_id) WHERE request_id IS NOT NULL DO UPDATE SET input_tokens = excluded.input_tokens;
SELECT count(*), max(input_tokens) FROM usage_monitor.usage WHERE request_id = 'i1';

-- Cached tokens and images overlap: where the price cannot depend on it, it is certain
SELECT cost, unpriced_reason FROM usage_monitor.record('{"modelVersion": "reading-1", "responseId": "o1", "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110,
    "cachedContentTokenCount": 90, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "IMAGE", "tokenCount": 80}]}}', provider => 'reading');
SELECT usage_monitor.set_price('reading-3', 1, 10, cache_read => 0.1, other => '{"input_image": 0.000005}') IS NOT NULL;
SELECT cost, unpriced_reason FROM usage_monitor.record('{"modelVersion": "reading-3", "responseId": "o2", "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110,
    "cachedContentTokenCount": 90, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "IMAGE", "tokenCount": 80}]}}', provider => 'reading');
SELECT usage_monitor.cost('reading-3', 100, 10, 90, units => '{"input_image": 80}'), usage_monitor.cost('reading-3', 100, 10, 90, units => '{"input_image": 80, "cache_read_image": 70}');

SELECT * FROM usage_monitor.verify();
