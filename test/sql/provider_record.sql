-- Recording what providers answer.
\getenv test PG_ABS_SRCDIR
\set start :test '/include/start.psql'
\i :start

CREATE ROLE regress_provider_record;
GRANT USAGE ON SCHEMA usage_monitor, _usage_monitor TO regress_provider_record;
GRANT EXECUTE ON FUNCTION usage_monitor.record TO regress_provider_record;
GRANT EXECUTE ON FUNCTION usage_monitor.normalize_usage TO regress_provider_record;

CREATE VIEW pg_temp.recorded AS
    SELECT request_id, user_id, project, provider, model, input_tokens, output_tokens, cache_read_input_tokens AS read,
           success, error, cost_source, cost
    FROM usage_monitor.usage
    WHERE org = 'regress_provider_record'
    ORDER BY usage_id;

-- An application that may call the functions and nothing else
SET ROLE regress_provider_record;
SELECT input_tokens, output_tokens FROM usage_monitor.normalize_usage('{"input_tokens": 3, "output_tokens": 4}');
SELECT request_id, user_id, provider, model, input_tokens, output_tokens, success, ts
FROM usage_monitor.record(
    '{"id": "msg_1", "type": "message", "model": "claude-regress-1", "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5}}',
    org => 'regress_provider_record', user_id => 'alice', project => 'p', ts => '2026-01-02 03:04:05+00');
SELECT count(*) FROM usage_monitor.usage;

-- The last word of a stream replaces the first; what it does not know stays
SELECT request_id, user_id, project, input_tokens, output_tokens, provider_usage, ts
FROM usage_monitor.record(
    '{"id": "msg_1", "type": "message", "model": "claude-regress-1", "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 50}}',
    org => 'regress_provider_record', project => 'q');

-- The same id in another organisation is another call
SELECT org, request_id, output_tokens
FROM usage_monitor.record(
    '{"id": "msg_1", "type": "message", "model": "claude-regress-1", "usage": {"input_tokens": 10, "output_tokens": 7}}');

-- Without an id every call is its own; the argument precedes the body
SELECT request_id, model, provider
FROM usage_monitor.record('{"prompt_tokens": 1, "completion_tokens": 2}', 'openai', 'gpt-regress', org => 'regress_provider_record');
SELECT request_id, model, provider
FROM usage_monitor.record('{"id": "x", "model": "gpt-regress-9", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}',
                          model => 'gpt-regress', request_id => 'mine', org => 'regress_provider_record');

-- Steps that another model made are rows of their own, and go with a later version that lacks them
SELECT request_id, model, input_tokens, output_tokens
FROM usage_monitor.record(
    '{"id": "msg_2", "type": "message", "model": "claude-regress-1", "usage": {"input_tokens": 10, "output_tokens": 5, "iterations": [{"type": "message", "input_tokens": 10, "output_tokens": 5}, {"type": "advisor_message", "model": "claude-regress-2", "input_tokens": 235, "output_tokens": 70}, {"type": "compaction", "input_tokens": 1000, "output_tokens": 1}]}}',
    org => 'regress_provider_record');
RESET ROLE;
TABLE recorded;
SELECT output_tokens
FROM usage_monitor.record(
    '{"id": "msg_2", "type": "message", "model": "claude-regress-1", "usage": {"input_tokens": 1010, "output_tokens": 7}}',
    org => 'regress_provider_record');
SELECT request_id FROM recorded WHERE request_id LIKE 'msg_2%';

-- A call that failed
SELECT input_tokens, output_tokens, success, error
FROM usage_monitor.record('{"error": {"message": "Rate limit reached", "type": "tokens"}}', 'openai', 'gpt-regress',
                          org => 'regress_provider_record');
SELECT success, error
FROM usage_monitor.record('{"error": {"message": "Rate limit reached", "type": "tokens"}}', 'openai', 'gpt-regress',
                          org => 'regress_provider_record', error => 'gave up');
SELECT success, error
FROM usage_monitor.record('{"type": "error", "error": {"message": "Overloaded"}, "request_id": "req_1"}', 'anthropic', 'claude-regress-1',
                          org => 'regress_provider_record', success => true);

-- A model without a price costs what the provider says that it did, until the counts say more
SELECT cost_source, cost, price_id
FROM usage_monitor.record('{"id": "gen-1", "model": "regress/m", "usage": {"prompt_tokens": 5, "completion_tokens": 5, "cost": 0.00014, "cost_details": {}}}',
                          org => 'regress_provider_record');
SELECT cost_source, cost, price_id
FROM usage_monitor.record('{"id": "gen-1", "model": "regress/m", "usage": {"prompt_tokens": 5, "completion_tokens": 50, "cost": 0.0014, "cost_details": {}}}',
                          org => 'regress_provider_record');

-- Refused, and nothing recorded
SELECT count(*) AS before FROM recorded \gset
\set VERBOSITY terse
SELECT usage_monitor.record('{"prompt_tokens": 1, "completion_tokens": 2}', org => 'regress_provider_record');
SELECT usage_monitor.record('{"model": "gpt-regress", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 1}}', org => 'regress_provider_record');
SELECT usage_monitor.record('{"model": "gpt-regress"}', org => 'regress_provider_record');
SELECT count(*) = :before FROM recorded;

DELETE FROM usage_monitor.usage
WHERE org = 'regress_provider_record' OR model = 'claude-regress-1';
REVOKE ALL ON SCHEMA usage_monitor, _usage_monitor FROM regress_provider_record;
REVOKE ALL ON FUNCTION usage_monitor.record FROM regress_provider_record;
REVOKE ALL ON FUNCTION usage_monitor.normalize_usage FROM regress_provider_record;
DROP ROLE regress_provider_record;
