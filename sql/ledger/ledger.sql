/*
 * The ledger: one row for each call to a model.
 *
 * The parent has no key and no index of its own: only so does a dump that
 * holds a partition made by the user restore cleanly.  Each partition has
 * its own, from LIKE usage_default INCLUDING ALL.
 */
CREATE TABLE usage_monitor.usage (
    usage_id                       bigint NOT NULL,
    ts                             timestamptz NOT NULL DEFAULT now(),
    xid                            bigint NOT NULL, -- early, where it is cheap to look at
    request_id                     text COLLATE "C",
    org                            text COLLATE "C" NOT NULL DEFAULT 'default',
    department                     text COLLATE "C",
    project                        text COLLATE "C",
    user_id                        text COLLATE "C",
    session_id                     text COLLATE "C",
    provider                       text COLLATE "C",
    model                          text COLLATE "C" NOT NULL,
    resolved_model                 text COLLATE "C",
    operation                      text COLLATE "C",
    source                         text COLLATE "C",
    service_tier                   text COLLATE "C" NOT NULL DEFAULT 'standard',
    -- left out, which the trigger tells from 0 and from NULL: see fill_counts()
    input_tokens                   bigint DEFAULT '-9223372036854775808',
    output_tokens                  bigint DEFAULT '-9223372036854775808',
    cache_read_input_tokens        bigint NOT NULL DEFAULT 0,
    cache_creation_input_tokens    bigint NOT NULL DEFAULT 0,
    cache_creation_1h_input_tokens bigint NOT NULL DEFAULT 0,
    reasoning_output_tokens        bigint NOT NULL DEFAULT 0,
    input_audio_tokens             bigint NOT NULL DEFAULT 0,
    output_audio_tokens            bigint NOT NULL DEFAULT 0,
    units                          jsonb,
    duration_ms                    double precision,
    success                        boolean NOT NULL, -- by default, whether there is no error
    error                          text,
    cached                         boolean NOT NULL DEFAULT false,
    tags                           jsonb,
    total_tokens                   bigint,
    price_id                       bigint,
    currency                       text COLLATE "C",
    input_cost                     numeric,
    output_cost                    numeric,
    other_cost                     numeric,
    cost                           numeric,
    cost_source                    text COLLATE "C",
    list_cost                      numeric,
    unpriced_reason                text COLLATE "C",
    price_currency                 text COLLATE "C",
    price_cost                     numeric,
    exchange_rate                  numeric,
    provider_usage                 jsonb,
    unread                         jsonb,
    recorded_at                    timestamptz
) PARTITION BY RANGE (ts);

CREATE TABLE usage_monitor.usage_default
    PARTITION OF usage_monitor.usage DEFAULT;

ALTER TABLE usage_monitor.usage_default
    ADD CONSTRAINT usage_default_pkey PRIMARY KEY (usage_id);
CREATE UNIQUE INDEX usage_default_request_id
    ON usage_monitor.usage_default (org, request_id)
    WHERE request_id IS NOT NULL;
-- one index for both: each takes an insert as long as this one; refresh() has it learn of new pages
CREATE INDEX usage_default_ts_xid
    ON usage_monitor.usage_default USING brin (ts, xid);
-- finds a session among pages, and costs an insert nothing
CREATE INDEX usage_default_session_id
    ON usage_monitor.usage_default USING brin (session_id text_bloom_ops) WITH (pages_per_range = 32);

-- finds calls without a cost, and those that reread() reads again; of other calls it has no entry
CREATE INDEX usage_default_unpriced
    ON usage_monitor.usage_default (ts) WHERE cost IS NULL OR unread IS NOT NULL;

CREATE SEQUENCE usage_monitor.usage_usage_id_seq;

COMMENT ON TABLE usage_monitor.usage IS
    'The ledger: one row for each call to a model. INSERT is all that an application needs; model alone is mandatory. Counts are inclusive.';
COMMENT ON COLUMN usage_monitor.usage.usage_id IS 'Number of the row; filled by the extension.';
COMMENT ON COLUMN usage_monitor.usage.ts IS 'When the call was made; the instant by which it is priced and counted. From usage_monitor.earliest_ts to usage_monitor.max_future from now.';
COMMENT ON COLUMN usage_monitor.usage.request_id IS 'The caller''s or the provider''s name of the request; in one org it counts once, however often it is retried (in other partitions as far as usage_monitor.request_id_window reaches).';
COMMENT ON COLUMN usage_monitor.usage.org IS 'Organisation, or tenant.';
COMMENT ON COLUMN usage_monitor.usage.department IS 'Department of the organisation.';
COMMENT ON COLUMN usage_monitor.usage.project IS 'Project that the call was made for.';
COMMENT ON COLUMN usage_monitor.usage.user_id IS 'Who made the call.';
COMMENT ON COLUMN usage_monitor.usage.session_id IS 'Session or conversation (gen_ai.conversation.id).';
COMMENT ON COLUMN usage_monitor.usage.provider IS 'Who bills (gen_ai.provider.name); filled from the price book where the client does not say.';
COMMENT ON COLUMN usage_monitor.usage.model IS 'The model that answered (gen_ai.response.model); mandatory.';
COMMENT ON COLUMN usage_monitor.usage.resolved_model IS 'What the price book called the model when the call was recorded, whatever spelling, date or region it was recorded with; the model as written where the book did not know it. Filled by the extension; quotas of models go by it.';
COMMENT ON COLUMN usage_monitor.usage.operation IS 'What was done: chat, embeddings, ... (gen_ai.operation.name).';
COMMENT ON COLUMN usage_monitor.usage.source IS 'The application or feature that called.';
COMMENT ON COLUMN usage_monitor.usage.service_tier IS 'The tier that served the call: standard, batch, flex, priority, fast or ultrafast.';
COMMENT ON COLUMN usage_monitor.usage.input_tokens IS 'All input tokens: cached, written, audio and image ones too. NULL: not known, which is not 0. Left out: 0 where anything else is counted, else not known.';
COMMENT ON COLUMN usage_monitor.usage.output_tokens IS 'All output tokens: reasoning and audio ones too. NULL: not known. Left out: as for input_tokens.';
COMMENT ON COLUMN usage_monitor.usage.cache_read_input_tokens IS 'Input tokens read from the provider''s cache.';
COMMENT ON COLUMN usage_monitor.usage.cache_creation_input_tokens IS 'Input tokens written to the provider''s cache.';
COMMENT ON COLUMN usage_monitor.usage.cache_creation_1h_input_tokens IS 'Those of them that are written for an hour.';
COMMENT ON COLUMN usage_monitor.usage.reasoning_output_tokens IS 'Output tokens that were reasoning.';
COMMENT ON COLUMN usage_monitor.usage.input_audio_tokens IS 'Input tokens that were audio.';
COMMENT ON COLUMN usage_monitor.usage.output_audio_tokens IS 'Output tokens that were audio.';
COMMENT ON COLUMN usage_monitor.usage.units IS 'Every other meter: {"web_search": 2, "image": 1, "second": 12.5, ...}.';
COMMENT ON COLUMN usage_monitor.usage.duration_ms IS 'How long the call took, in milliseconds.';
COMMENT ON COLUMN usage_monitor.usage.success IS 'False: the call failed. Left out: true, unless there is an error.';
COMMENT ON COLUMN usage_monitor.usage.error IS 'Why it failed.';
COMMENT ON COLUMN usage_monitor.usage.cached IS 'True: answered from the application''s own cache; it costs nothing.';
COMMENT ON COLUMN usage_monitor.usage.tags IS 'Anything else to group or limit by: a flat object, {"workflow": "summary", "device": "a1"}.';
COMMENT ON COLUMN usage_monitor.usage.total_tokens IS 'input_tokens + output_tokens; filled by the extension. Given, it must be just that.';
COMMENT ON COLUMN usage_monitor.usage.price_id IS 'The price that it was priced by; filled by the extension.';
COMMENT ON COLUMN usage_monitor.usage.currency IS 'Currency of the cost columns: the ledger''s. A cost that is given in another one is converted by exchange_rate at ts, and kept as price_cost.';
COMMENT ON COLUMN usage_monitor.usage.input_cost IS 'Cost of everything on the input side, in currency; NULL: unpriced.';
COMMENT ON COLUMN usage_monitor.usage.output_cost IS 'Cost of everything on the output side; NULL: unpriced.';
COMMENT ON COLUMN usage_monitor.usage.other_cost IS 'Cost of requests, searches and other units: what input_cost and output_cost leave of cost; NULL: unpriced.';
COMMENT ON COLUMN usage_monitor.usage.cost IS 'The sum of the three, exactly; NULL: unpriced, which is not free. Give it, at most usage_monitor.max_cost, and it is kept as reported.';
COMMENT ON COLUMN usage_monitor.usage.cost_source IS 'computed (by the price book), reported (given by the client) or unpriced.';
COMMENT ON COLUMN usage_monitor.usage.list_cost IS 'Where the cost is reported: what the call costs by the price book, in currency; NULL: it has no price for all of it.';
COMMENT ON COLUMN usage_monitor.usage.unpriced_reason IS 'Why it is unpriced: no price, no rate for meter X, no count of meter X, no exchange rate from X to Y; NULL: it has a cost.';
COMMENT ON COLUMN usage_monitor.usage.price_currency IS 'The price''s currency, or that of a reported cost, where it is not the ledger''s.';
COMMENT ON COLUMN usage_monitor.usage.price_cost IS 'The cost in price_currency.';
COMMENT ON COLUMN usage_monitor.usage.exchange_rate IS 'What one unit of price_currency was worth: cost = price_cost * exchange_rate.';
COMMENT ON COLUMN usage_monitor.usage.provider_usage IS 'The provider''s own usage object, as record() received it; where something is unread, all of the response that is no text.';
COMMENT ON COLUMN usage_monitor.usage.unread IS 'What of the response could not be read, by its path, and keeps the call from being priced; NULL: nothing. reread() reads it again.';
COMMENT ON COLUMN usage_monitor.usage.recorded_at IS 'When it was recorded; filled by the extension. A row that arrives with it is restored as it is: only the ledger''s owner may do that.';
COMMENT ON COLUMN usage_monitor.usage.xid IS 'The transaction that recorded it (64 bits); filled by the extension.';

COMMENT ON TABLE usage_monitor.usage_default IS
    'The partition of the ledger for all times that have none of their own.';

CREATE FUNCTION _usage_monitor._usage_before() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_usage_before';

COMMENT ON FUNCTION _usage_monitor._usage_before() IS
    'BEFORE ROW trigger of the ledger: checks and prices the row.';

CREATE FUNCTION _usage_monitor._usage_after() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_usage_after';

COMMENT ON FUNCTION _usage_monitor._usage_after() IS
    'AFTER ROW trigger of the ledger: counts the row for the quotas.';

CREATE TRIGGER usage_before
    BEFORE INSERT OR UPDATE ON usage_monitor.usage
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._usage_before();

CREATE TRIGGER usage_after
    AFTER INSERT OR UPDATE OR DELETE ON usage_monitor.usage
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._usage_after();

-- also where rows arrive by logical replication
ALTER TABLE usage_monitor.usage ENABLE ALWAYS TRIGGER usage_before;
ALTER TABLE usage_monitor.usage ENABLE ALWAYS TRIGGER usage_after;

-- published as one table, which has no key: a subscriber finds a changed row by all of it
ALTER TABLE usage_monitor.usage REPLICA IDENTITY FULL;
ALTER TABLE usage_monitor.usage_default REPLICA IDENTITY FULL;

CREATE FUNCTION _usage_monitor._refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'UM011',
        MESSAGE = format('table "%s" cannot be truncated', TG_TABLE_NAME),
        HINT = 'Counters would not follow. DELETE does the same, with counters.';
END
$$;

COMMENT ON FUNCTION _usage_monitor._refuse_truncate() IS
    'Statement trigger: TRUNCATE fires no row trigger, so what follows the rows would not follow (UM011).';

CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON usage_monitor.usage
    FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._refuse_truncate();

CREATE TRIGGER refuse_truncate
    BEFORE TRUNCATE ON usage_monitor.usage_default
    FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._refuse_truncate();

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.usage', '');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.usage_default', '');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.usage_usage_id_seq', '');
