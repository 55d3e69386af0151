/*
 * Rollups: the ledger's rows summed up by what dashboards ask for, so that an
 * answer costs what it shows and not what was recorded.
 *
 * They hold what was committed up to a mark, the snapshot of the last fold;
 * the views add what came after it, the tail.  So a view is right whenever it
 * is read, and refresh() only makes it faster.
 *
 * All of it is derived from the ledger, and not dumped, but for the archive:
 * what was summed up of rows that the ledger has no longer.
 */
CREATE TABLE _usage_monitor._rollup_state (
    only_row     boolean NOT NULL DEFAULT true,
    next_xid     bigint NOT NULL DEFAULT 0,
    running_xids bigint[] NOT NULL DEFAULT '{}',
    usage_id     bigint NOT NULL DEFAULT 0,
    refreshed_at timestamptz,
    maintained_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _rollup_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT _rollup_state_only_row CHECK (only_row)
) WITH (fillfactor = 10);

INSERT INTO _usage_monitor._rollup_state DEFAULT VALUES;

COMMENT ON TABLE _usage_monitor._rollup_state IS
    'The mark: which transactions of the ledger are in the rollups. Those before next_xid, but for running_xids.';
COMMENT ON COLUMN _usage_monitor._rollup_state.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN _usage_monitor._rollup_state.next_xid IS 'Transactions from this one on (64 bits) are in the tail; 0: all are.';
COMMENT ON COLUMN _usage_monitor._rollup_state.running_xids IS 'Earlier ones that are in the tail too, for they were in progress; ascending.';
COMMENT ON COLUMN _usage_monitor._rollup_state.usage_id IS 'The last usage_id that was given out before the fold; tells how long the tail is.';
COMMENT ON COLUMN _usage_monitor._rollup_state.refreshed_at IS 'When the last fold was.';
COMMENT ON COLUMN _usage_monitor._rollup_state.maintained_at IS 'When maintain() was last begun; before the first time, when the extension was made.';

/*
 * One line a question.  A new dimension is one more line.
 */
CREATE TABLE _usage_monitor._rollup_dimension (
    name    text NOT NULL,
    by_hour boolean NOT NULL,
    by_org  boolean NOT NULL,
    keys    text[] NOT NULL,
    CONSTRAINT _rollup_dimension_pkey PRIMARY KEY (name)
);

-- what mostly goes together shares one: a row that comes late costs a fold one
-- row of each
INSERT INTO _usage_monitor._rollup_dimension (name, by_hour, by_org, keys) VALUES
    ('hour',            true,  true,  '{}'),
    ('day',             false, true,  '{}'),
    ('project',         false, true,  '{project, department}'),
    ('user',            false, true,  '{user_id}'),
    ('model',           false, true,  '{model, provider, resolved_model}'),
    ('operation',       false, true,  '{operation, source, service_tier}'),
    ('combined',        false, true,  '{project, source, model}'),
    ('tag',             false, true,  '{tags}'),
    ('hour_total',      true,  false, '{}'),
    ('day_total',       false, false, '{}'),
    ('model_total',     false, false, '{model, provider, resolved_model}'),
    ('operation_total', false, false, '{operation, source, service_tier}');

COMMENT ON TABLE _usage_monitor._rollup_dimension IS
    'What the ledger is rolled up by: each has a table _rollup_<name>.';
COMMENT ON COLUMN _usage_monitor._rollup_dimension.name IS 'Name of the dimension.';
COMMENT ON COLUMN _usage_monitor._rollup_dimension.by_hour IS 'By hour as well as by day?';
COMMENT ON COLUMN _usage_monitor._rollup_dimension.by_org IS 'Each organisation by itself, or all together?';
COMMENT ON COLUMN _usage_monitor._rollup_dimension.keys IS 'The ledger''s columns that are its keys, three at most; tags alone: each tag''s name and value.';

/*
 * What every rollup looks like, with what is asked for most in front.  The
 * sums that are mostly zero are NULL then, which takes no space, and those of
 * costs where no call has one; the histogram of durations counts calls by the
 * upper bound, in milliseconds, that their duration does not exceed.  The
 * bounds are those that OpenTelemetry has for the duration of a GenAI call,
 * and 1, 2, 3 and 5 seconds.
 *
 * src/rollup/rollup_row.c knows the columns by their order.
 */
CREATE TABLE _usage_monitor._rollup (
    day                         date NOT NULL,
    name_hash                   integer NOT NULL,
    requests                    bigint NOT NULL,
    input_tokens                bigint,
    output_tokens               bigint,
    cost                        numeric,
    org                         text COLLATE "C",
    key1                        text COLLATE "C",
    key2                        text COLLATE "C",
    key3                        text COLLATE "C",
    hour                        timestamptz,
    input_cost                  numeric,
    output_cost                 numeric,
    other_cost                  numeric,
    duration_ms                 numeric,
    cache_read_input_tokens     bigint,
    cache_creation_input_tokens bigint,
    reasoning_output_tokens     bigint,
    errors                      bigint,
    unpriced_requests           bigint,
    cached_requests             bigint,
    unknown_input_requests      bigint,
    unknown_output_requests     bigint,
    untimed_requests            bigint,
    ms_10                       bigint,
    ms_20                       bigint,
    ms_40                       bigint,
    ms_80                       bigint,
    ms_160                      bigint,
    ms_320                      bigint,
    ms_640                      bigint,
    ms_1000                     bigint,
    ms_1280                     bigint,
    ms_2000                     bigint,
    ms_2560                     bigint,
    ms_3000                     bigint,
    ms_5000                     bigint,
    ms_5120                     bigint,
    ms_10240                    bigint,
    ms_20480                    bigint,
    ms_40960                    bigint,
    ms_81920                    bigint,
    ms_infinity                 bigint
);

COMMENT ON TABLE _usage_monitor._rollup IS 'What the tables of rollups are made like; has no rows.';
COMMENT ON COLUMN _usage_monitor._rollup.name_hash IS 'A hash of hour, org and keys, by which a fold finds the row to add to.';

CREATE AGGREGATE _usage_monitor._sum(bigint) (
    SFUNC = int8pl,
    STYPE = bigint,
    COMBINEFUNC = int8pl,
    PARALLEL = SAFE
);

COMMENT ON AGGREGATE _usage_monitor._sum(bigint) IS
    'The sum, as sum() has it, but a bigint; quick to set up. Error: 22003 beyond bigint.';

CREATE AGGREGATE _usage_monitor._sum(numeric) (
    SFUNC = numeric_add,
    STYPE = numeric,
    COMBINEFUNC = numeric_add,
    PARALLEL = SAFE
);

COMMENT ON AGGREGATE _usage_monitor._sum(numeric) IS
    'The sum, as sum() has it; quick to set up, for groups of few rows.';

CREATE FUNCTION _usage_monitor._rollup_measures() RETURNS SETOF name
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT a.attname
      FROM pg_attribute a
     WHERE a.attrelid = '_usage_monitor._rollup'::regclass
       AND a.attnum > 0
       AND a.attname NOT IN ('day', 'name_hash', 'hour', 'org', 'key1', 'key2', 'key3')
     ORDER BY a.attnum;
END;

COMMENT ON FUNCTION _usage_monitor._rollup_measures() IS 'The columns of a rollup that are sums.';

/*
 * A fold finds a row by its day and the hash of the rest of its name, which is
 * much faster than by five columns; readers find rows by day, organisation or
 * key.
 */
DO $$
DECLARE
    dimension _usage_monitor._rollup_dimension;
    name      text;
BEGIN
    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        name := '_rollup_' || dimension.name;
        -- A rollup is read before parallel workers have started, or has so many
        -- names that to merge what they found takes longer.  Where there are few
        -- names, late calls add to each row of a page, which wants room for two of each.
        EXECUTE format('CREATE TABLE _usage_monitor.%I (LIKE _usage_monitor._rollup INCLUDING ALL) WITH (fillfactor = %s, parallel_workers = 0)',
                       name, CASE WHEN dimension.name = 'day' OR NOT dimension.by_org THEN 50 ELSE 80 END);
        EXECUTE format('CREATE INDEX %I ON _usage_monitor.%I (day, name_hash)', name || '_name', name);
        IF dimension.by_org THEN
            EXECUTE format('CREATE INDEX %I ON _usage_monitor.%I (org, day)', name || '_org', name);
            -- rows lie by day, which the planner does not believe of an index of two columns
            EXECUTE format('CREATE INDEX %I ON _usage_monitor.%I USING brin (day) WITH (pages_per_range = 16)', name || '_day', name);
        END IF;
        IF dimension.name IN ('user', 'model') THEN
            EXECUTE format('CREATE INDEX %I ON _usage_monitor.%I (key1, day)', name || '_key', name);
        END IF;
        IF dimension.by_hour THEN
            EXECUTE format('CREATE INDEX %I ON _usage_monitor.%I USING brin (hour) WITH (pages_per_range = 8)', name || '_hour', name);
        END IF;
        EXECUTE format('CREATE TABLE _usage_monitor.%I (LIKE _usage_monitor.%I INCLUDING ALL)', '_archive_' || dimension.name, name);
        EXECUTE format('COMMENT ON TABLE _usage_monitor.%I IS %L', '_archive_' || dimension.name,
                       'What ' || name || ' had of rows that the ledger has no longer.');
        PERFORM pg_catalog.pg_extension_config_dump(format('_usage_monitor.%I', '_archive_' || dimension.name)::regclass, '');
        EXECUTE format('COMMENT ON TABLE _usage_monitor.%I IS %L', name,
                       format('Rollup of the ledger by %s.',
                              concat_ws(', ', CASE WHEN dimension.by_hour THEN 'hour' ELSE 'day' END,
                                        CASE WHEN dimension.by_org THEN 'org' END,
                                        nullif(array_to_string(dimension.keys, ', '), ''))));
    END LOOP;
END
$$;

/*
 * What an UPDATE or a DELETE does to a row that another transaction recorded:
 * the old row counts less, the new one more.  It counts while it is not in
 * the rollups and the row, as it was, is.
 */
CREATE TABLE _usage_monitor._correction (
    xid                         bigint NOT NULL,
    row_xid                     bigint NOT NULL,
    sign                        bigint NOT NULL,
    session_id                  text COLLATE "C",
    ts                          timestamptz NOT NULL,
    org                         text COLLATE "C",
    department                  text COLLATE "C",
    project                     text COLLATE "C",
    user_id                     text COLLATE "C",
    provider                    text COLLATE "C",
    model                       text COLLATE "C",
    resolved_model              text COLLATE "C",
    operation                   text COLLATE "C",
    source                      text COLLATE "C",
    service_tier                text COLLATE "C",
    tags                        jsonb,
    input_tokens                bigint,
    output_tokens               bigint,
    cache_read_input_tokens     bigint,
    cache_creation_input_tokens bigint,
    reasoning_output_tokens     bigint,
    input_cost                  numeric,
    output_cost                 numeric,
    other_cost                  numeric,
    cost                        numeric,
    duration_ms                 double precision,
    success                     boolean,
    cached                      boolean
);

COMMENT ON TABLE _usage_monitor._correction IS
    'Changes of rows that other transactions recorded, until they are in the rollups, and in counters that are being made.';
COMMENT ON COLUMN _usage_monitor._correction.xid IS 'The transaction that changed the row (64 bits).';
COMMENT ON COLUMN _usage_monitor._correction.row_xid IS 'The transaction that recorded it.';
COMMENT ON COLUMN _usage_monitor._correction.sign IS '-1: the row as it was; 1: as it is. Its columns follow, as in usage.';

CREATE FUNCTION _usage_monitor._exact_ms(duration_ms double precision) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_exact_ms';

COMMENT ON FUNCTION _usage_monitor._exact_ms(double precision) IS
    'A duration as a number that can be added and taken away again exactly: the decimal that it is shown as.';

/*
 * The ledger's rows with the columns of a rollup: what one call adds to its
 * sums.
 */
DO $$
DECLARE
    histogram text;
BEGIN
    SELECT string_agg(format('CASE WHEN %s THEN 1::bigint END AS %I',
                             concat_ws(' AND ', 'u.duration_ms > ' || lag_bound, 'u.duration_ms <= ' || nullif(bound, 'infinity')),
                             attname), ', ' ORDER BY attnum)
      INTO histogram
      FROM (SELECT attname, attnum, substr(attname, 4) AS bound,
                   lag(substr(attname, 4)) OVER (ORDER BY attnum) AS lag_bound
              FROM pg_attribute
             WHERE attrelid = '_usage_monitor._rollup'::regclass
               AND attname LIKE 'ms\_%') h;

    EXECUTE format($view$
        CREATE VIEW _usage_monitor._call WITH (security_invoker = true) AS
        SELECT u.session_id,
               u.ts,
               u.org,
               u.department,
               u.project,
               u.user_id,
               u.provider,
               u.model,
               u.operation,
               u.source,
               CASE WHEN u.operation = 'correction' THEN 0 ELSE 1 END::bigint AS requests,
               u.cost,
               u.input_cost,
               u.output_cost,
               u.other_cost,
               _usage_monitor._exact_ms(u.duration_ms) AS duration_ms,
               u.input_tokens,
               u.output_tokens,
               u.cache_read_input_tokens,
               u.cache_creation_input_tokens,
               u.reasoning_output_tokens,
               CASE WHEN NOT u.success THEN 1::bigint END AS errors,
               CASE WHEN u.cost IS NULL THEN 1::bigint END AS unpriced_requests,
               CASE WHEN u.cached THEN 1::bigint END AS cached_requests,
               CASE WHEN u.input_tokens IS NULL THEN 1::bigint END AS unknown_input_requests,
               CASE WHEN u.output_tokens IS NULL THEN 1::bigint END AS unknown_output_requests,
               CASE WHEN u.duration_ms IS NULL AND u.operation IS DISTINCT FROM 'correction' THEN 1::bigint END AS untimed_requests,
               %s
          FROM usage_monitor.usage u
        $view$, histogram);
END
$$;

COMMENT ON VIEW _usage_monitor._call IS
    'The ledger, each row with what it adds to the sums of its session.';

/*
 * Sessions have no rollup: when the first and the last call of one was cannot
 * be told any more once one of them is deleted.  Their archive has the sums
 * that the ledger had of them.
 */
CREATE TABLE _usage_monitor._archive_session (
    LIKE _usage_monitor._rollup,
    session_id text COLLATE "C" NOT NULL,
    first_ts   timestamptz NOT NULL,
    last_ts    timestamptz NOT NULL
);

CREATE INDEX _archive_session_session_id ON _usage_monitor._archive_session (session_id);

COMMENT ON TABLE _usage_monitor._archive_session IS
    'What sessions had of calls that the ledger has no longer, by day, organisation and user (key1).';

SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._archive_session', '');

CREATE VIEW _usage_monitor._archived_session WITH (security_barrier = true) AS
SELECT *
  FROM _usage_monitor._archive_session
 WHERE _usage_monitor._rolled_up(org);

COMMENT ON VIEW _usage_monitor._archived_session IS 'What the reader may see of _archive_session.';

DO $$
DECLARE
    columns text;
    sums    text;
BEGIN
    SELECT string_agg(quote_ident(m.name), ', '),
           string_agg(format('nullif(sum(r.%1$I), 0) AS %1$I', m.name), ', ')
      INTO columns, sums
      FROM _usage_monitor._rollup_measures() m (name);

    EXECUTE format($view$
        CREATE VIEW _usage_monitor._live_session WITH (security_invoker = true) AS
        SELECT c.org, c.session_id, c.user_id, c.ts AS first_ts, c.ts AS last_ts, %1$s
          FROM _usage_monitor._call c
         WHERE c.session_id IS NOT NULL
        UNION ALL
        SELECT a.org, a.session_id, a.key1, a.first_ts, a.last_ts, %1$s
          FROM _usage_monitor._archived_session a
        $view$, columns);

    EXECUTE format($function$
        CREATE FUNCTION _usage_monitor._archive_sessions(from_ts timestamptz, to_ts timestamptz) RETURNS void
            LANGUAGE sql
            SET search_path = pg_catalog, pg_temp
        BEGIN ATOMIC
            INSERT INTO _usage_monitor._archive_session (day, name_hash, org, key1, session_id, first_ts, last_ts, %1$s)
            SELECT usage_monitor.ledger_day(r.ts), 0, r.org, r.user_id, r.session_id, min(r.ts), max(r.ts), %2$s
              FROM _usage_monitor._call r
             WHERE r.session_id IS NOT NULL
               AND r.ts >= _archive_sessions.from_ts
               AND r.ts < _archive_sessions.to_ts
             GROUP BY 1, r.org, r.user_id, r.session_id;
        END
        $function$, columns, sums);
END
$$;

COMMENT ON VIEW _usage_monitor._live_session IS
    'The calls in sessions, those of the archive summed up by day and user: sum it up.';
COMMENT ON FUNCTION _usage_monitor._archive_sessions(timestamptz, timestamptz) IS
    'Archives the sessions of calls from an instant on and before another.';
DO $$
DECLARE
    dimension _usage_monitor._rollup_dimension;
BEGIN
    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        -- a barrier: conditions of the reader's come after
        EXECUTE format('CREATE VIEW _usage_monitor.%I WITH (security_barrier = true) AS SELECT * FROM _usage_monitor.%I WHERE %s',
                       '_archived_' || dimension.name, '_archive_' || dimension.name,
                       CASE WHEN dimension.by_org THEN '_usage_monitor._rolled_up(org)' ELSE '_usage_monitor._rollups_apply()' END);
        EXECUTE format('COMMENT ON VIEW _usage_monitor.%I IS %L', '_archived_' || dimension.name,
                       'What the reader may see of _archive_' || dimension.name || '.');
    END LOOP;
END
$$;

CREATE FUNCTION _usage_monitor._ledger_sums(dimension text) RETURNS SETOF _usage_monitor._rollup
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 100000
    AS 'MODULE_PATHNAME', 'usage_monitor_ledger_sums';

COMMENT ON FUNCTION _usage_monitor._ledger_sums(text) IS
    'The ledger summed up for a rollup, as _tail_<name> has the tail; of one that memory does not suffice for, names come more than once. Error: 42704 no such rollup.';

/*
 * The tail, summed up for each rollup.
 */
CREATE FUNCTION _usage_monitor._tail_handler() RETURNS fdw_handler
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_tail_handler';

COMMENT ON FUNCTION _usage_monitor._tail_handler() IS 'Reads the foreign tables of the tail.';

CREATE FOREIGN DATA WRAPPER usage_monitor_tail HANDLER _usage_monitor._tail_handler NO VALIDATOR;

COMMENT ON FOREIGN DATA WRAPPER usage_monitor_tail IS 'usage_monitor: the tail, summed up by the session that asks.';

CREATE SERVER usage_monitor_tail FOREIGN DATA WRAPPER usage_monitor_tail;

COMMENT ON SERVER usage_monitor_tail IS 'usage_monitor: this session.';

DO $$
DECLARE
    columns   text;
    dimension _usage_monitor._rollup_dimension;
    name      text;
BEGIN
    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
                      || CASE a.attcollation WHEN '"C"'::regcollation THEN ' COLLATE "C"' ELSE '' END, ', ' ORDER BY a.attnum)
      INTO columns
      FROM pg_attribute a
     WHERE a.attrelid = '_usage_monitor._rollup'::regclass
       AND a.attnum > 0;

    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        name := '_tail_' || dimension.name;
        -- rows: what the planner expects at least; a tail is mostly one of hours
        EXECUTE format('CREATE FOREIGN TABLE _usage_monitor.%I (%s) SERVER usage_monitor_tail OPTIONS (dimension %L, rows %L)',
                       name, columns, dimension.name, CASE dimension.name WHEN 'day_total' THEN 2 ELSE 100 END);
        EXECUTE format('COMMENT ON FOREIGN TABLE _usage_monitor.%I IS %L', name,
                       'The tail summed up for _rollup_' || dimension.name || '; of one that memory does not suffice for, names come more than once. The session remembers it, and reads only what came since.');
    END LOOP;
END
$$;

CREATE FUNCTION _usage_monitor._sum_up_tail(dimensions text[]) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'usage_monitor_sum_up_tail';

COMMENT ON FUNCTION _usage_monitor._sum_up_tail(text[]) IS
    'Sums up the tail for those rollups in one reading, for the queries that follow; each would read it for itself. Does nothing where the session cannot remember it. Error: 42704 no such rollup.';

/*
 * The days that there is more of than the rollups have; whose the archived
 * ones are does not matter.
 */
CREATE VIEW _usage_monitor._archived_days AS
SELECT a.day
  FROM _usage_monitor._archive_day_total a
 WHERE _usage_monitor._rollups_apply(_usage_monitor._own_orgs());

COMMENT ON VIEW _usage_monitor._archived_days IS 'The days that the archive has something of.';

CREATE VIEW _usage_monitor._open_days WITH (security_invoker = true) AS
SELECT t.day
  FROM _usage_monitor._tail_day_total t
UNION ALL
SELECT a.day
  FROM _usage_monitor._archived_days a;

COMMENT ON VIEW _usage_monitor._open_days IS
    'The days that tail or archive add to; some more than once.';

/*
 * Each rollup as the reader sees it, in parts: what is folded, what is
 * archived, and the tail.  Whoever reads them sums up.
 *
 * Rollups know no rows, so who is subject to row security on the ledger, and
 * be it the owner, sees nothing of them, unless it is there only to confine him
 * to organisations: a policy says so, also to those who read the tables
 * themselves.  To him all of the ledger is tail.  The archive
 * has no policy, with which nobody but a superuser could dump it; it is read
 * through views with the rights of their owner, and granted to nobody.
 */
DO $$
DECLARE
    dimension _usage_monitor._rollup_dimension;
BEGIN
    EXECUTE 'ALTER TABLE _usage_monitor._correction ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY';
    EXECUTE 'CREATE POLICY rollups_apply ON _usage_monitor._correction USING (_usage_monitor._rolled_up(org))';

    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        EXECUTE format('ALTER TABLE _usage_monitor.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', '_rollup_' || dimension.name);
        EXECUTE format('CREATE POLICY rollups_apply ON _usage_monitor.%I USING (%s)', '_rollup_' || dimension.name,
                       CASE WHEN dimension.by_org THEN '_usage_monitor._rolled_up(org)' ELSE '_usage_monitor._rollups_apply()' END);
    END LOOP;
END
$$;

/*
 * The parts of a rollup, as text of which views are made.
 *
 * Who is confined to organisations has no total but that of his organisations;
 * the tail's is of what he sees anyway.  Which parts the reader has is said by
 * a column, for whoever reads them to ask "WHERE r.is_read": to the planner it
 * is constant, so it drops the others before it plans them, and scans each of
 * those that are left by itself.  A condition in a part would make a query of
 * it, which is planned even if it is not read.
 */
CREATE FUNCTION _usage_monitor._rollup_parts(rollup text, columns text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT string_agg(format('SELECT %s AS is_read, %s AS is_whole, %s FROM _usage_monitor.%I r',
                             CASE WHEN d.by_org OR p.is_read IS NULL THEN 'true' ELSE '_usage_monitor._confinement() ' || p.is_read END,
                             CASE WHEN p.place = 2 THEN '_usage_monitor._confinement() = 1' ELSE (p.place = 1)::text END,
                             _rollup_parts.columns,
                             p.kind || CASE WHEN p.of_orgs THEN replace(d.name, '_total', '') ELSE d.name END),
                      ' UNION ALL ' ORDER BY p.place)
      FROM _usage_monitor._rollup_dimension d
     CROSS JOIN (VALUES
                 (1, '_rollup_', '= 0', false),
                 (2, '_rollup_', '> 0', true),
                 (3, '_archived_', '= 0', false),
                 (4, '_archived_', '> 0', true),
                 (5, '_tail_', NULL, false)) AS p (place, kind, is_read, of_orgs)
     WHERE d.name = _rollup_parts.rollup
       AND NOT (d.by_org AND p.of_orgs);
END;

COMMENT ON FUNCTION _usage_monitor._rollup_parts(text, text) IS
    'The query of a rollup''s columns (of r) as the reader sees it, in parts that are to be summed up: rollup, archive and tail. is_read: is the part for him? is_whole: is it the rollup, with one row where one is shown?';

DO $$
DECLARE
    dimension _usage_monitor._rollup_dimension;
    columns   text;
BEGIN
    SELECT string_agg('r.' || quote_ident(c.name), ', ')
      INTO columns
      FROM (SELECT unnest('{day, hour, org, key1, key2, key3}'::name[]) UNION ALL SELECT _usage_monitor._rollup_measures()) c (name);

    FOR dimension IN SELECT * FROM _usage_monitor._rollup_dimension LOOP
        EXECUTE format('CREATE VIEW _usage_monitor.%I WITH (security_invoker = true) AS SELECT %s FROM (%s) r WHERE r.is_read',
                       '_live_' || dimension.name, columns, _usage_monitor._rollup_parts(dimension.name, columns));
        EXECUTE format('COMMENT ON VIEW _usage_monitor.%I IS %L', '_live_' || dimension.name,
                       format('The rollup %s with the archive and the tail: sum it up.', '_rollup_' || dimension.name));
    END LOOP;
END
$$;

CREATE FUNCTION usage_monitor.duration_percentile(percentile double precision, VARIADIC histogram bigint[])
RETURNS double precision
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_duration_percentile';

COMMENT ON FUNCTION usage_monitor.duration_percentile(double precision, bigint[]) IS
    'The duration in milliseconds that this share (0 to 1) of the calls did not exceed, estimated from a histogram: the numbers of calls up to 10, 20, 40, 80, 160, 320, 640, 1000, 1280, 2000, 2560, 3000, 5000, 5120, 10240, 20480, 40960, 81920 ms and above. Within a bucket calls are taken to be spread evenly, as in Prometheus; above the last bound it is that bound. NULL: no calls. Error: UM001 percentile not from 0 to 1, or another number of buckets.';

CREATE FUNCTION usage_monitor.refresh() RETURNS bigint
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_refresh';

COMMENT ON FUNCTION usage_monitor.refresh() IS
    'Folds what was recorded since the last time into the rollups, and returns how many rows that was. Views are right without it, and faster with it. One runs at a time; writers and readers do not wait. Error: 25001 in a transaction that has written, or not at READ COMMITTED.';

CREATE FUNCTION usage_monitor.rebuild_rollups() RETURNS bigint
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_rebuild_rollups';

COMMENT ON FUNCTION usage_monitor.rebuild_rollups() IS
    'Makes the rollups anew from the ledger, and returns how many rows that was; the archive stays. Writers and readers do not wait. Errors as for refresh().';

CREATE FUNCTION _usage_monitor._reset_rollups() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_reset_rollups';

COMMENT ON FUNCTION _usage_monitor._reset_rollups() IS
    'Row trigger of setting: empties the rollups, whose days were those of another time zone.';

-- a dump may bring the setting after the ledger, and somebody have folded it
CREATE TRIGGER reset_rollups_of_default_zone
    AFTER INSERT ON usage_monitor.setting
    FOR EACH ROW
    WHEN (NEW.time_zone <> 'UTC')
    EXECUTE FUNCTION _usage_monitor._reset_rollups();

CREATE TRIGGER reset_rollups
    AFTER UPDATE ON usage_monitor.setting
    FOR EACH ROW
    WHEN (NEW.time_zone <> OLD.time_zone)
    EXECUTE FUNCTION _usage_monitor._reset_rollups();
