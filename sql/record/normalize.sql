/*
 * What a response says was used, in the ledger's normal form: counts are
 * inclusive, a part that was not reported is zero, and a whole that nobody
 * reported is NULL.
 */
CREATE TYPE usage_monitor.normalized_usage AS (
    provider                       text,
    model                          text,
    service_tier                   text,
    input_tokens                   bigint,
    output_tokens                  bigint,
    cache_read_input_tokens        bigint,
    cache_creation_input_tokens    bigint,
    cache_creation_1h_input_tokens bigint,
    reasoning_output_tokens        bigint,
    input_audio_tokens             bigint,
    output_audio_tokens            bigint,
    units                          jsonb,
    reported_cost                  numeric,
    ts                             timestamptz,
    unread                         jsonb
);

COMMENT ON TYPE usage_monitor.normalized_usage IS
    'What a response says was used, in the ledger''s words: input includes cached, written and audio tokens, output includes reasoning.';
COMMENT ON COLUMN usage_monitor.normalized_usage.provider IS 'Who bills; NULL: the response does not tell, and the model''s name decides.';
COMMENT ON COLUMN usage_monitor.normalized_usage.model IS 'The model as the response names it.';
COMMENT ON COLUMN usage_monitor.normalized_usage.service_tier IS 'The tier that served the call: standard, batch, flex, priority, fast or ultrafast.';
COMMENT ON COLUMN usage_monitor.normalized_usage.input_tokens IS 'All input tokens; NULL: not reported.';
COMMENT ON COLUMN usage_monitor.normalized_usage.output_tokens IS 'All output tokens; NULL: not reported.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_read_input_tokens IS 'Part of the input that was read from a cache.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_creation_input_tokens IS 'Part of the input that was written to a cache.';
COMMENT ON COLUMN usage_monitor.normalized_usage.cache_creation_1h_input_tokens IS 'Part of the written tokens that is kept for an hour.';
COMMENT ON COLUMN usage_monitor.normalized_usage.reasoning_output_tokens IS 'Part of the output that is reasoning.';
COMMENT ON COLUMN usage_monitor.normalized_usage.input_audio_tokens IS 'Part of the input that is audio.';
COMMENT ON COLUMN usage_monitor.normalized_usage.output_audio_tokens IS 'Part of the output that is audio.';
COMMENT ON COLUMN usage_monitor.normalized_usage.units IS 'Every other meter that is not zero, {"web_search": 2, ...}; NULL: none.';
COMMENT ON COLUMN usage_monitor.normalized_usage.reported_cost IS 'What the provider says that it charged for the call, in US dollars; NULL: it does not say.';
COMMENT ON COLUMN usage_monitor.normalized_usage.ts IS 'When the response was made, by its own word; NULL: it does not say.';
COMMENT ON COLUMN usage_monitor.normalized_usage.unread IS 'What no line of usage_field reads and could be money, by its path, and other reasons not to price the call; NULL: all was read.';

/* STABLE: it asks usage_field. */
CREATE FUNCTION usage_monitor.normalize_usage(response jsonb, provider text DEFAULT NULL)
RETURNS usage_monitor.normalized_usage
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_normalize_usage';

COMMENT ON FUNCTION usage_monitor.normalize_usage(jsonb, text) IS
    'Reads what a provider''s response (its body, its usage object, or the array of a stream''s chunks) says was used, and records nothing. Steps that another model made are left out; record() makes rows of their own of them. Errors: UM001 a value that is no count, UM002 parts that contradict each other, UM010 an unknown shape.';

CREATE FUNCTION _usage_monitor._usage_parts(
    response jsonb, provider text, OUT reading usage_monitor.normalized_usage, OUT provider_usage jsonb)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 1
    AS 'MODULE_PATHNAME', 'usage_monitor_usage_parts';

COMMENT ON FUNCTION _usage_monitor._usage_parts(jsonb, text) IS
    'The calls that a response tells of, its own first, with what record() keeps of it; of an unknown shape, what is unread.';
