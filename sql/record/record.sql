/*
 * Recording a provider's response: src/record reads and stores it, the
 * triggers of the ledger price and count it.
 */
CREATE TABLE usage_monitor.request_conflict (
    org         text COLLATE "C" NOT NULL,
    request_id  text COLLATE "C" NOT NULL,
    kept_as     text COLLATE "C" NOT NULL,
    difference  text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT request_conflict_pkey PRIMARY KEY (org, kept_as)
);

COMMENT ON TABLE usage_monitor.request_conflict IS
    'Calls that came under the request_id of another call, and were kept beside it: providers and proxies repeat ids. A later word of the same call replaces the earlier one and is not listed.';
COMMENT ON COLUMN usage_monitor.request_conflict.org IS 'Organisation.';
COMMENT ON COLUMN usage_monitor.request_conflict.request_id IS 'The id that both came with.';
COMMENT ON COLUMN usage_monitor.request_conflict.kept_as IS 'The request_id of the other call in the ledger.';
COMMENT ON COLUMN usage_monitor.request_conflict.difference IS 'Why it is no later word of the same call: another model, another user_id, or fewer input_tokens or output_tokens.';
COMMENT ON COLUMN usage_monitor.request_conflict.recorded_at IS 'When it was recorded.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.request_conflict', '');

CREATE FUNCTION _usage_monitor.record(
    response    jsonb,
    provider    text DEFAULT NULL,
    model       text DEFAULT NULL,
    org         text DEFAULT NULL,
    department  text DEFAULT NULL,
    project     text DEFAULT NULL,
    user_id     text DEFAULT NULL,
    session_id  text DEFAULT NULL,
    operation   text DEFAULT NULL,
    source      text DEFAULT NULL,
    request_id  text DEFAULT NULL,
    ts          timestamptz DEFAULT NULL,
    duration_ms double precision DEFAULT NULL,
    success     boolean DEFAULT NULL,
    error       text DEFAULT NULL,
    tags        jsonb DEFAULT NULL)
RETURNS usage_monitor.usage
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_record';

SELECT _usage_monitor._run_as_owner('record');

COMMENT ON FUNCTION usage_monitor.record(jsonb, text, text, text, text, text, text, text, text, text, text,
    timestamptz, double precision, boolean, text, jsonb) IS
    'Records a provider''s response in the ledger and returns its row. A later word of the same request_id (by default the response''s own id) replaces what was recorded before, at the time of the first one unless ts is given; another call under it is kept as one of its own, see request_conflict. Model, time, success and error are the response''s unless given. What the provider says that it charged is the cost (see configure); a response of which something is unread is recorded without a cost, see unread_fields. Errors: UM001, UM002, UM010 as of normalize_usage, UM004 no model, and those of INSERT.';
