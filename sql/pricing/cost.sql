/*
 * What a call costs.
 */
CREATE FUNCTION usage_monitor.cost(
    model text,
    input_tokens bigint,
    output_tokens bigint,
    cache_read_input_tokens bigint DEFAULT 0,
    cache_creation_input_tokens bigint DEFAULT 0,
    cache_creation_1h_input_tokens bigint DEFAULT 0,
    reasoning_output_tokens bigint DEFAULT 0,
    input_audio_tokens bigint DEFAULT 0,
    output_audio_tokens bigint DEFAULT 0,
    units jsonb DEFAULT NULL,
    provider text DEFAULT NULL,
    service_tier text DEFAULT 'standard',
    org text DEFAULT NULL,
    at timestamptz DEFAULT now()
) RETURNS numeric
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_cost';

COMMENT ON FUNCTION usage_monitor.cost(text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, text, text, timestamptz) IS
    'What a call costs by the prices in force at that instant, in the ledger''s currency, exactly; NULL where there is no price for all of it. Counts are inclusive: input_tokens contains cached, written and audio tokens, output_tokens contains reasoning. Errors: UM001 negative count, UM002 impossible usage, UM005 unknown tier, UM008 unknown unit.';

CREATE FUNCTION _usage_monitor._resolved_model(provider text, model text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_resolved_model';

COMMENT ON FUNCTION _usage_monitor._resolved_model(text, text) IS
    'What the price book calls the model: the name of the price that it leads to, contract prices and prices of any model apart; as written where there is none.';
