/*
 * Admission: room that is held for a call before it is made.
 */
CREATE TABLE usage_monitor.reservation (
    reservation_id uuid NOT NULL DEFAULT gen_random_uuid(),
    state          text NOT NULL DEFAULT 'open',
    org            text COLLATE "C" NOT NULL,
    department     text COLLATE "C",
    project        text COLLATE "C",
    user_id        text COLLATE "C",
    session_id     text COLLATE "C",
    provider       text COLLATE "C",
    model          text COLLATE "C",
    tags           jsonb,
    cost           numeric NOT NULL,
    tokens         bigint NOT NULL,
    requests       bigint NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    usage_id       bigint,
    CONSTRAINT reservation_pkey PRIMARY KEY (reservation_id)
    -- each is changed once, at its end: so much room that its indexes need not be
) WITH (fillfactor = 80);

-- for maintain(), which deletes the oldest
CREATE INDEX reservation_expires_at
    ON usage_monitor.reservation (expires_at);

COMMENT ON TABLE usage_monitor.reservation IS
    'What reserve() holds for calls that are about to be made, until settle(), release() or its end.';
COMMENT ON COLUMN usage_monitor.reservation.reservation_id IS 'Its number.';
COMMENT ON COLUMN usage_monitor.reservation.state IS 'open, settled or released. An open one whose expires_at has passed holds nothing any more.';
COMMENT ON COLUMN usage_monitor.reservation.org IS 'Organisation of the call.';
COMMENT ON COLUMN usage_monitor.reservation.department IS 'Department of the call.';
COMMENT ON COLUMN usage_monitor.reservation.project IS 'Project of the call.';
COMMENT ON COLUMN usage_monitor.reservation.user_id IS 'User of the call.';
COMMENT ON COLUMN usage_monitor.reservation.session_id IS 'Session of the call.';
COMMENT ON COLUMN usage_monitor.reservation.provider IS 'Provider of the call.';
COMMENT ON COLUMN usage_monitor.reservation.model IS 'Model of the call.';
COMMENT ON COLUMN usage_monitor.reservation.tags IS 'Tags of the call.';
COMMENT ON COLUMN usage_monitor.reservation.cost IS 'What it holds of quotas of cost, in the ledger''s currency.';
COMMENT ON COLUMN usage_monitor.reservation.tokens IS 'What it holds of quotas of tokens.';
COMMENT ON COLUMN usage_monitor.reservation.requests IS 'What it holds of quotas of requests.';
COMMENT ON COLUMN usage_monitor.reservation.created_at IS 'When it was made.';
COMMENT ON COLUMN usage_monitor.reservation.expires_at IS 'When it stops holding anything, by itself.';
COMMENT ON COLUMN usage_monitor.reservation.ended_at IS 'When it was settled or released.';
COMMENT ON COLUMN usage_monitor.reservation.usage_id IS 'The row of the ledger that settled it.';

CREATE TABLE _usage_monitor._reservation_part (
    quota_id       bigint NOT NULL,
    subject        text COLLATE "C" NOT NULL,
    period_start   timestamptz NOT NULL,
    reservation_id uuid NOT NULL,
    amount         numeric NOT NULL,
    expires_at     timestamptz NOT NULL,
    -- one reservation, for settle(); a counter's come by the other index
    CONSTRAINT _reservation_part_pkey PRIMARY KEY (reservation_id, quota_id, subject, period_start)
);

CREATE INDEX _reservation_part_counter
    ON _usage_monitor._reservation_part (quota_id, subject, period_start);

COMMENT ON TABLE _usage_monitor._reservation_part IS
    'What each open reservation holds of each counter.';
COMMENT ON COLUMN _usage_monitor._reservation_part.quota_id IS 'The quota.';
COMMENT ON COLUMN _usage_monitor._reservation_part.subject IS 'Its subject; empty for scope all.';
COMMENT ON COLUMN _usage_monitor._reservation_part.period_start IS 'Its period.';
COMMENT ON COLUMN _usage_monitor._reservation_part.reservation_id IS 'The reservation.';
COMMENT ON COLUMN _usage_monitor._reservation_part.amount IS 'How much, in the unit of the quota''s metric.';
COMMENT ON COLUMN _usage_monitor._reservation_part.expires_at IS 'Until when.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.reservation', '');
SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._reservation_part', '');

CREATE FUNCTION _usage_monitor.reserve(
    org text DEFAULT 'default',
    user_id text DEFAULT NULL,
    project text DEFAULT NULL,
    department text DEFAULT NULL,
    session_id text DEFAULT NULL,
    model text DEFAULT NULL,
    provider text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    cost numeric DEFAULT NULL,
    input_tokens bigint DEFAULT NULL,
    max_output_tokens bigint DEFAULT NULL,
    ttl interval DEFAULT '10 minutes',
    requests bigint DEFAULT 1,
    OUT reservation_id uuid,
    OUT allowed boolean,
    OUT reason text,
    OUT expires_at timestamptz
)
    -- an application need not be able to read or write quotas: who may
    -- execute this is the administrator's choice
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_reserve';

SELECT _usage_monitor._run_as_owner('reserve');

COMMENT ON FUNCTION usage_monitor.reserve(text, text, text, text, text, text, text, jsonb, numeric, bigint, bigint, interval, bigint) IS
    'Holds room for a call that is about to be made: its cost, or what input_tokens and max_output_tokens would cost. It counts against blocking quotas until settle(), release() or the end of ttl. Never raises for a refusal: allowed is false, and reason says which quota. Errors: UM001 invalid amount or ttl, UM003 and UM004 as of INSERT.';

CREATE FUNCTION _usage_monitor.settle(
    reservation_id uuid,
    response jsonb DEFAULT NULL,
    model text DEFAULT NULL,
    -- left out, as for an INSERT
    input_tokens bigint DEFAULT '-9223372036854775808',
    output_tokens bigint DEFAULT '-9223372036854775808',
    cache_read_input_tokens bigint DEFAULT 0,
    cache_creation_input_tokens bigint DEFAULT 0,
    cache_creation_1h_input_tokens bigint DEFAULT 0,
    reasoning_output_tokens bigint DEFAULT 0,
    input_audio_tokens bigint DEFAULT 0,
    output_audio_tokens bigint DEFAULT 0,
    units jsonb DEFAULT NULL,
    service_tier text DEFAULT NULL,
    cost numeric DEFAULT NULL,
    operation text DEFAULT NULL,
    source text DEFAULT NULL,
    request_id text DEFAULT NULL,
    ts timestamptz DEFAULT NULL,
    duration_ms double precision DEFAULT NULL,
    success boolean DEFAULT NULL,
    error text DEFAULT NULL,
    cached boolean DEFAULT NULL,
    provider text DEFAULT NULL,
    org text DEFAULT NULL
) RETURNS usage_monitor.usage
    -- as for reserve()
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_settle';

SELECT _usage_monitor._run_as_owner('settle');

COMMENT ON FUNCTION usage_monitor.settle(uuid, jsonb, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, jsonb, text, numeric, text, text, text, timestamptz, double precision, boolean, text, boolean, text, text) IS
    'Records the call that a reservation was made for, from a provider''s response as record() does or from counts as an INSERT does, and gives back what it held, in one transaction; returns the row of the ledger, or NULL where an INSERT passes over a call that is there already. An expired reservation is settled as well, but its room may be gone. org: the organisation that it must be of; whoever routes calls to nodes needs it, and elsewhere it can be left out. Errors: UM101 not open, 22023 counts or cost beside a response, and those of INSERT.';

CREATE FUNCTION _usage_monitor.release(reservation_id uuid, org text DEFAULT NULL) RETURNS boolean
    -- as for reserve()
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_release';

SELECT _usage_monitor._run_as_owner('release');

COMMENT ON FUNCTION usage_monitor.release(uuid, text) IS
    'Gives back what a reservation held, for a call that was not made; false if it was not open, or not of that organisation (NULL: any).';
