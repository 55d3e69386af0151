-- The vendor's own bill beside the ledger.
SET client_min_messages = warning;
\getenv test PG_ABS_SRCDIR
\set fresh :test '/include/fresh.psql'
\i :fresh
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\pset null -
SELECT count(usage_monitor.set_price(m, 2.5, 10, 1.25, provider => 'openai')) FROM unnest('{bill-a, bill-b, bill-c}'::text[]) AS m;
SELECT usage_monitor.set_price('bill-search', NULL, NULL, other => '{"web_search": 0.01}', provider => 'openai') > 0;

INSERT INTO usage_monitor.usage (ts, org, provider, model, input_tokens, output_tokens, cache_read_input_tokens)
SELECT '2026-10-01 08:00Z'::timestamptz + n * interval '17 minutes', 'acme', 'openai', 'bill-' || m, 1237 + n * 11, 311 + n, 100
  FROM unnest('{a, b, c}'::text[]) AS m, generate_series(1, 20) AS n;
INSERT INTO usage_monitor.usage (ts, provider, model, units) VALUES ('2026-10-01 23:59:59.9Z', 'openai', 'bill-search', '{"web_search": 3}');
-- the day after, which is billed as it is
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens) VALUES ('2026-10-02 00:00Z', 'openai', 'bill-a', 1000, 10);

-- a cost report with what really happened: bill-b had a call more, the output of bill-c was dearer
CREATE FUNCTION pg_temp.costs(with_quantities boolean) RETURNS jsonb LANGUAGE sql AS $$
    WITH call AS (
        SELECT m, 1237 + n * 11 - 100 AS input, 100 AS cached, 311 + n AS output FROM unnest('{a, b, c}'::text[]) AS m, generate_series(1, 20) AS n
        UNION ALL
        SELECT 'b', 4321, 55, 777
    ), line AS (
        SELECT format('bill-%s, %s', c.m, i.item) AS item, sum(i.quantity) AS quantity, sum(i.quantity * i.price) / 1000000 AS amount
          FROM call c CROSS JOIN LATERAL (VALUES ('input', c.input, 2.5), ('cached input', c.cached, 1.25), ('output', c.output, CASE c.m WHEN 'c' THEN 12 ELSE 10 END)) AS i (item, quantity, price)
         GROUP BY 1
        UNION ALL
        SELECT 'web search tool calls', 3, 0.03
    )
    SELECT jsonb_build_object('object', 'page', 'has_more', false, 'data', jsonb_build_array(
        jsonb_build_object('object', 'bucket', 'start_time', 1790812800, 'end_time', 1790899200, 'results', (
            SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('object', 'organization.costs.result', 'amount', jsonb_build_object('value', l.amount::float8, 'currency', 'usd'),
                                                'line_item', l.item, 'project_id', 'proj_1', 'organization_id', 'org-1', 'quantity', CASE WHEN with_quantities THEN l.quantity END))) FROM line l)),
        jsonb_build_object('object', 'bucket', 'start_time', 1790899200, 'end_time', 1790985600, 'results', jsonb_build_array(
            jsonb_build_object('amount', jsonb_build_object('value', 0.0025, 'currency', 'usd'), 'line_item', 'bill-a, input'),
            jsonb_build_object('amount', jsonb_build_object('value', 0.0001, 'currency', 'usd'), 'line_item', 'bill-a, output')))));
$$;
SELECT * FROM usage_monitor.import_bill(pg_temp.costs(true), 'openai');
-- twice is once
SELECT * FROM usage_monitor.import_bill(pg_temp.costs(true)::text);
SELECT count(*), sum(amount) FROM usage_monitor.vendor_bill;
SELECT * FROM usage_monitor.bill_reconciliation ORDER BY day, vendor, model, meter;

-- told apart, too, where the report has amounts alone
DELETE FROM usage_monitor.vendor_bill;
SELECT lines, changed FROM usage_monitor.import_bill(pg_temp.costs(false), 'openai');
SELECT day, model, meter, ledger_quantity, billed_quantity, amount_difference, finding FROM usage_monitor.bill_reconciliation ORDER BY day, vendor, model, meter;
-- and a report of usage beside it says how many
SELECT * FROM usage_monitor.import_bill('{"data": [{"start_time": 1790812800, "end_time": 1790899200, "results": [
    {"object": "organization.usage.completions.result", "model": "bill-b", "project_id": "proj_1", "input_tokens": 31426, "input_cached_tokens": 2055, "output_tokens": 7207, "num_model_requests": 21, "batch": false}]}]}');
SELECT model, meter, ledger_quantity, billed_quantity, quantity_difference, finding FROM usage_monitor.bill_reconciliation WHERE model = 'bill-b' ORDER BY meter;

-- calls that the ledger has and the bill has not, calls without a price, a correction of the bill
DELETE FROM usage_monitor.vendor_bill;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens) VALUES ('2026-10-02 12:00Z', 'openai', 'bill-b', 500, 5), ('2026-10-02 12:00Z', 'openai', 'bill-new', 500, 5);
SELECT lines FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 0.0026, "currency": "usd"}, "line_item": "bill-a, input"}, {"amount": {"value": 0.001, "currency": "usd"}, "line_item": "bill-new, input"}]}]}');
SELECT lines, changed FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 0.0025, "currency": "usd"}, "line_item": "bill-a, input"}, {"amount": {"value": 0.0001, "currency": "usd"}, "line_item": "bill-a, output"}]}]}');
SELECT model, meter, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY model, meter;

-- Anthropic: cents in texts, and usage
DELETE FROM usage_monitor.vendor_bill;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, units)
VALUES ('2026-10-01 10:00Z', 'anthropic', 'claude-sonnet-4-5-20250929', 10000, 500, 8000, 1000, '{"web_search": 2}');
SELECT * FROM usage_monitor.import_bill('{"data": [{"starting_at": "2026-10-01T00:00:00Z", "ending_at": "2026-10-02T00:00:00Z", "results": [
    {"amount": "0.3", "currency": "USD", "cost_type": "tokens", "model": "claude-sonnet-4-5-20250929", "token_type": "uncached_input_tokens", "service_tier": "standard", "context_window": "0-200k", "description": "Claude Sonnet 4.5 Usage - Input Tokens", "workspace_id": "w"},
    {"amount": "0.75", "currency": "USD", "cost_type": "tokens", "model": "claude-sonnet-4-5-20250929", "token_type": "output_tokens", "service_tier": "standard", "context_window": "0-200k", "description": "Claude Sonnet 4.5 Usage - Output Tokens", "workspace_id": "w"},
    {"amount": "0.24", "currency": "USD", "cost_type": "tokens", "model": "claude-sonnet-4-5-20250929", "token_type": "cache_read_input_tokens", "service_tier": "standard", "context_window": "0-200k", "description": "read", "workspace_id": "w"},
    {"amount": "0.375", "currency": "USD", "cost_type": "tokens", "model": "claude-sonnet-4-5-20250929", "token_type": "cache_creation.ephemeral_5m_input_tokens", "service_tier": "standard", "context_window": "0-200k", "description": "write", "workspace_id": "w"},
    {"amount": "2", "currency": "USD", "cost_type": "web_search", "model": null, "token_type": null, "description": "Web Search Usage", "workspace_id": "w"}]}], "has_more": false, "next_page": null}', 'anthropic');
SELECT lines, changed FROM usage_monitor.import_bill('{"data": [{"starting_at": "2026-10-01T00:00:00Z", "ending_at": "2026-10-02T00:00:00Z", "results": [
    {"uncached_input_tokens": 1000, "cache_read_input_tokens": 8000, "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 0}, "output_tokens": 500, "server_tool_use": {"web_search_requests": 2}, "model": "claude-sonnet-4-5-20250929", "service_tier": "standard"}]}]}');
SELECT model, meter, ledger_quantity, billed_quantity, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY model, meter;

-- OpenRouter: an amount and a number of calls a model
DELETE FROM usage_monitor.vendor_bill;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens, cost) VALUES ('2026-10-01 10:00Z', 'openrouter', 'openai/gpt-4.1', 50, 125, 0.003), ('2026-10-01 11:00Z', 'openrouter', 'openai/gpt-4.1', 50, 125, 0.003);
SELECT * FROM usage_monitor.import_bill('{"data": [{"date": "2026-10-01", "model": "openai/gpt-4.1", "model_permaslug": "openai/gpt-4.1-2025-04-14", "provider_name": "OpenAI", "usage": 0.006, "byok_usage_inference": 0.003, "requests": 3, "prompt_tokens": 150, "completion_tokens": 375, "reasoning_tokens": 0}]}');
SELECT model, meter, ledger_quantity, billed_quantity, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY model, meter;

-- FOCUS columns: quotes, line ends, units of a million, another currency
DELETE FROM usage_monitor.vendor_bill;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens) VALUES ('2026-10-01 10:00Z', 'google', 'gemini-2.5-flash', 2000000, 100000), ('2026-10-01 10:00Z', 'aws', 'us.anthropic.claude-sonnet-4-5-20250929-v1:0', 1000000, 0);
SELECT * FROM usage_monitor.import_bill(E'\uFEFFBilledCost,BillingCurrency,ChargePeriodStart,ProviderName,SubAccountId,ChargeDescription,PricingQuantity,PricingUnit\r\n'
    '0.6,USD,2026-10-01T00:00:00Z,Google Cloud,p1,"Gemini 2.5 Flash GA Text Input, ""Predictions""",2,1M tokens\r\n'
    '0.25,USD,2026-10-01T00:00:00Z,Google Cloud,p1,"Gemini 2.5 Flash GA Text Output\nPredictions",100,1k tokens\r\n'
    '3.3,USD,2026-10-01T00:00:00Z,Amazon Web Services,p2,Claude Sonnet 4.5 input tokens US cross-region,1000,1K tokens\r\n'
    '7,EUR,2026-10-01T00:00:00Z,Amazon Web Services,p2,Something else,1,Units\r\n', 'focus');
SELECT vendor, model, meter, ledger_quantity, billed_quantity, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY vendor, model, meter;

-- lines as they are written: a model alone, three parts, a category, a credit, a refund with its quantity; nothing else of the day is compared with the whole of a model
DELETE FROM usage_monitor.vendor_bill;
SELECT * FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [
    {"amount": {"value": 0.0026, "currency": "usd"}, "line_item": "BILL-A"}, {"amount": {"value": 0.5, "currency": "usd"}, "line_item": "Text tokens"},
    {"amount": {"value": 0.00125, "currency": "usd"}, "line_item": "bill-b, input, batch", "quantity": 500}, {"amount": {"value": -0.00025, "currency": "usd"}, "line_item": "bill-b, Input", "quantity": -100},
    {"amount": {"value": -2, "currency": "usd"}, "line_item": "Promotional credit"}]}]}');
SELECT model, meter, service_tier, quantity, amount FROM usage_monitor.vendor_bill ORDER BY item;
SELECT model, meter, ledger_quantity, billed_quantity, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY model, meter;
-- all of a project, by amount alone
DELETE FROM usage_monitor.vendor_bill;
SELECT lines FROM usage_monitor.import_bill('{"data": [{"start_time": 1790812800, "results": [{"amount": {"value": 0.01, "currency": "usd"}, "line_item": null, "project_id": "p1"}]}]}');
SELECT model, meter, ledger_quantity, billed_quantity, finding FROM usage_monitor.bill_reconciliation;
-- Anthropic's report, where it is not grouped: descriptions alone
DELETE FROM usage_monitor.vendor_bill;
SELECT lines FROM usage_monitor.import_bill('{"data": [{"starting_at": "2026-10-01T00:00:00Z", "results": [
    {"amount": "0.3", "currency": "USD", "cost_type": "tokens", "description": "Claude Sonnet 4.5 Usage - Input Tokens"}, {"amount": "0.9", "currency": "USD", "cost_type": "tokens", "description": "Claude Sonnet 4.5 Usage - Output Tokens"},
    {"amount": "1", "currency": "USD", "cost_type": "tokens", "description": "Claude Sonnet 4 Usage - Input Tokens"}, {"amount": "3", "currency": "USD"}]}]}');
SELECT model, meter, amount FROM usage_monitor.vendor_bill ORDER BY item;
SELECT model, meter, finding FROM usage_monitor.bill_reconciliation WHERE model LIKE 'claude-sonnet-4-5%' AND meter IN ('input', 'output') ORDER BY meter;
-- an account's whole export: other services are none of ours; Bedrock's usage types; a correction in an export of its own adds to what it corrects
DELETE FROM usage_monitor.vendor_bill;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens) VALUES ('2026-10-03 10:00Z', 'aws', 'us.anthropic.claude-opus-4-6-v1', 100000, 0), ('2026-10-03 10:00Z', 'aws', 'amazon.nova-lite-v1:0', 150000, 0), ('2026-10-03 10:00Z', 'google', 'gemini-3-flash-preview', 100000, 1000);
\set head 'BilledCost,BillingCurrency,ChargeCategory,ChargeClass,ChargeDescription,ChargePeriodStart,PricingQuantity,PricingUnit,ProviderName,ServiceCategory,ServiceName,x_UsageType'
SELECT * FROM usage_monitor.import_bill(:'head' || E'\n'
    '0.66,USD,Usage,,input,2026-10-03 00:00:00,120,1K tokens,AWS,AI and Machine Learning,Amazon Bedrock,USE1-Claude4.6Opus-input-tokens\n'
    '0.009,USD,Usage,,x,2026-10-03 00:00:00,150,1K tokens,AWS,AI and Machine Learning,Amazon Bedrock,USE1-NovaLite-input-tokens\n'
    '77,USD,Usage,,hours,2026-10-03 00:00:00,1,Hrs,AWS,Compute,Amazon Elastic Compute Cloud,BoxUsage:m5\n'
    '-5,USD,Credit,,AWS credits,2026-10-03 00:00:00,,,AWS,AI and Machine Learning,Amazon Bedrock,\n'
    '0.05,USD,Usage,,Gemini 3 Flash Text Input - Predictions,2026-10-03T07:00:00Z,100000,count,Google Cloud,AI and Machine Learning,Vertex AI,\n'
    '0.0018,USD,Usage,,Gemini 3 Flash Thinking Text Output - Predictions,2026-10-03T07:00:00Z,600,count,Google Cloud,AI and Machine Learning,Vertex AI,\n'
    '0.0012,USD,Usage,,Gemini 3 Flash Text Output - Predictions,2026-10-03T07:00:00Z,400,count,Google Cloud,AI and Machine Learning,Vertex AI,\n', 'aws');
SELECT lines, changed, amount FROM usage_monitor.import_bill(:'head' || E'\n-0.11,USD,Usage,Correction,input,2026-10-03 00:00:00,-20,1K tokens,AWS,AI and Machine Learning,Amazon Bedrock,USE1-Claude4.6Opus-input-tokens\n', 'aws');
SELECT vendor, model, meter, ledger_quantity, billed_quantity, ledger_amount, billed_amount, finding FROM usage_monitor.bill_reconciliation ORDER BY vendor, model, meter;

-- refusals; nothing is changed
\set VERBOSITY default
SELECT * FROM usage_monitor.import_bill('{"data": []}', 'openai');
SELECT * FROM usage_monitor.import_bill('a,b'||chr(10)||'1,2');
-- one that was cut, or not quoted; blank lines do no harm
SELECT * FROM usage_monitor.import_bill('BilledCost,BillingCurrency,ChargePeriodStart'||chr(10)||'1,USD,2026-10-01T00:00:00Z'||chr(10)||chr(10)||'2,US', 'focus');
SELECT * FROM usage_monitor.import_bill('{"data": []}', 'stripe');
SELECT * FROM usage_monitor.import_bill('{"data": ');
SELECT * FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 1}, "line_item": "x, input"}]}]}');
SELECT * FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 1, "currency": "usd"}, "line_item": "x, input", "quantity": -1}]}]}');
SELECT * FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": "much", "currency": "usd"}, "line_item": "x, input"}]}]}');
SELECT * FROM usage_monitor.import_bill(NULL::text);
-- days and amounts that no bill has
SELECT * FROM usage_monitor.import_bill('[{"ProviderName": "AWS", "BilledCost": 1e120, "BillingCurrency": "USD", "ChargePeriodStart": "2026-05-03T00:00:00Z", "ServiceName": "Amazon Bedrock", "ChargeDescription": "tokens"}]', 'focus');
SELECT * FROM usage_monitor.import_bill('[{"ProviderName": "AWS", "BilledCost": 1, "BillingCurrency": "USD", "ChargePeriodStart": "infinity", "ServiceName": "Amazon Bedrock", "ChargeDescription": "tokens"}]', 'focus');
SELECT * FROM usage_monitor.import_bill('[{"ProviderName": "AWS", "BilledCost": 1, "BillingCurrency": "USD", "ChargePeriodStart": "9026-05-03T00:00:00Z", "ServiceName": "Amazon Bedrock", "ChargeDescription": "tokens"}]', 'focus');
SELECT count(*) FROM usage_monitor.vendor_bill;

-- a manager imports them, and takes out what is wrong
CREATE ROLE regress_bills_manager;
SELECT usage_monitor.grant_access('regress_bills_manager', 'manager');
SET ROLE regress_bills_manager;
SELECT lines, changed FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 1, "currency": "usd"}, "line_item": "own, input"}]}]}');
SELECT lines, changed FROM usage_monitor.import_bill('{"data": [{"start_time": 1790899200, "results": [{"amount": {"value": 2, "currency": "usd"}, "line_item": "own, input"}]}]}'::jsonb);
SELECT vendor, amount FROM usage_monitor.vendor_bill WHERE model = 'own';
SELECT billed_amount, finding FROM usage_monitor.bill_reconciliation WHERE model = 'own';
DELETE FROM usage_monitor.vendor_bill WHERE model = 'own';
RESET ROLE;
SELECT usage_monitor.revoke_access('regress_bills_manager');
DROP ROLE regress_bills_manager;

-- how old the price of each model is that was used of late
DELETE FROM usage_monitor.usage;
INSERT INTO usage_monitor.usage (ts, provider, model, input_tokens, output_tokens) VALUES
    (now(), 'openai', 'gpt-4o-2024-08-06', 1000000, 0), (now(), 'openai', 'gpt-4o', 1000000, 0), (now(), 'openai', 'bill-a', 1000000, 0), (now(), NULL, 'nobody-knows', 1, 0),
    (now() - interval '200 days', 'openai', 'gpt-4.1', 1, 0);
SELECT provider, model, requests, cost, origin, as_of IS NOT NULL AS dated, age = usage_monitor.ledger_day(now()) - as_of AS counted, source FROM usage_monitor.price_age ORDER BY model;
SELECT change FROM usage_monitor.import_prices('[{"provider": "openai", "model": "gpt-4o", "meter": "input", "amount": 2.4}]');
SELECT model, origin, age BETWEEN -1 AND 1 AS new FROM usage_monitor.price_age WHERE model = 'gpt-4o' ORDER BY origin;

DROP EXTENSION usage_monitor CASCADE;
