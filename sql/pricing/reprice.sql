/*
 * History: what happens to calls in the ledger when the price book changes.
 * By itself, nothing.  reprice() shows what would change, and changes it when
 * told so; a closed period is left alone, save that rows which correct it may
 * be added.
 */
CREATE TYPE usage_monitor.repriced AS (
    provider   text,
    model      text,
    period     text,
    requests   bigint,
    old_cost   numeric,
    new_cost   numeric,
    difference numeric,
    currency   text
);

COMMENT ON TYPE usage_monitor.repriced IS
    'A row of reprice(): calls to a model whose cost differs, in the open or in the closed period; old_cost NULL: none of them had one.';
COMMENT ON COLUMN usage_monitor.repriced.provider IS 'Who bills.';
COMMENT ON COLUMN usage_monitor.repriced.model IS 'The model.';
COMMENT ON COLUMN usage_monitor.repriced.period IS 'open, or closed by close_period().';
COMMENT ON COLUMN usage_monitor.repriced.requests IS 'Number of calls whose cost differs.';
COMMENT ON COLUMN usage_monitor.repriced.old_cost IS 'What the ledger says that they cost; NULL: none of them has a cost.';
COMMENT ON COLUMN usage_monitor.repriced.new_cost IS 'What they cost by the prices in force at their time.';
COMMENT ON COLUMN usage_monitor.repriced.difference IS 'The new cost less the old.';
COMMENT ON COLUMN usage_monitor.repriced.currency IS 'The ledger''s.';

/*
 * One function and one transaction, not a procedure that commits batch by
 * batch: half of a repricing is no state that a report should be made from.
 * Who prefers smaller transactions calls it for shorter times.
 */
CREATE FUNCTION usage_monitor.reprice(
    since timestamptz,
    until timestamptz,
    model text DEFAULT NULL,
    dry_run boolean DEFAULT true,
    corrections boolean DEFAULT false
) RETURNS SETOF usage_monitor.repriced
    -- changes costs of the ledger, which nobody else may
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    open_from timestamptz;
    batch     record;
    batches   bigint := 0;
    looked_at bigint := 0;
    done      bigint := 0;
    changes   usage_monitor.repriced[] := '{}';
    found     usage_monitor.repriced[];
BEGIN
    IF reprice.since IS NULL OR reprice.until IS NULL OR reprice.since >= reprice.until THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('the range from %s until %s is empty', coalesce(reprice.since::text, 'NULL'), coalesce(reprice.until::text, 'NULL')),
            HINT = 'Give a start and a later end; -infinity and infinity are understood.';
    END IF;

    -- the books are not closed while this runs
    IF NOT reprice.dry_run THEN
        -- corrections are of what those of before have left
        PERFORM _usage_monitor._hold_books('reprice', alone => reprice.corrections);
    END IF;
    open_from := _usage_monitor._books_open_from();

    FOR batch IN
        SELECT usage_monitor.ledger_day(u.ts) AS day,
               greatest(min(u.ts), reprice.since) AS first_ts,
               max(u.ts) AS last_ts,
               count(*) AS calls,
               sum(count(*)) OVER ()::bigint AS all_calls
          FROM usage_monitor.usage u
         WHERE u.ts >= reprice.since
           AND u.ts < reprice.until
           AND (reprice.model IS NULL OR u.model = reprice.model)
         GROUP BY 1
         ORDER BY 1
    LOOP
        PERFORM _usage_monitor._progress('reprice', 'pricing calls', looked_at, batch.all_calls);
        looked_at := looked_at + batch.calls;
        WITH call AS MATERIALIZED (
            SELECT u.usage_id, u.ts, u.provider, u.model, u.cost, n.cost AS new_cost
              FROM usage_monitor.usage u
             CROSS JOIN LATERAL (
                 SELECT usage_monitor.cost(
                            u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                            u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                            u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens,
                            u.units, u.provider, u.service_tier, u.org, u.ts) AS cost
                 OFFSET 0) AS n
             WHERE u.ts BETWEEN batch.first_ts AND batch.last_ts
               AND (reprice.model IS NULL OR u.model = reprice.model)
               AND u.cost_source IN ('computed', 'unpriced')
               AND NOT u.cached
               AND u.unread IS NULL
               -- a call whose price is gone keeps what it cost
               AND n.cost IS NOT NULL
               AND n.cost IS DISTINCT FROM u.cost
        ), applied AS (
            -- the ledger's trigger prices the row anew
            UPDATE usage_monitor.usage u
               SET cost = NULL
              FROM call c
             WHERE u.usage_id = c.usage_id
               AND u.ts = c.ts
               AND u.ts >= open_from
               AND NOT reprice.dry_run
            RETURNING u.usage_id
        )
        SELECT array_agg(ROW(g.provider, g.model, g.period, g.requests, g.old_cost, g.new_cost,
                             g.new_cost - coalesce(g.old_cost, 0), NULL)::usage_monitor.repriced)
          INTO found
          FROM (SELECT c.provider, c.model,
                       CASE WHEN c.ts < open_from THEN 'closed' ELSE 'open' END AS period,
                       count(*) AS requests, sum(c.cost) AS old_cost, sum(c.new_cost) AS new_cost
                  FROM call c
                 GROUP BY 1, 2, 3) AS g;

        changes := changes || found;
        batches := batches + 1;
        IF NOT reprice.dry_run AND found IS NOT NULL THEN
            done := done + (SELECT coalesce(sum(f.requests), 0) FROM unnest(found) AS f WHERE f.period = 'open');
            RAISE NOTICE 'calls repriced until %: %', batch.day, done;
        END IF;
    END LOOP;

    SELECT array_agg(ROW(t.provider, t.model, t.period, t.requests, t.old_cost, t.new_cost, t.difference,
                         usage_monitor.ledger_currency())::usage_monitor.repriced
                     ORDER BY t.provider, t.model, t.period)
      INTO changes
      FROM (SELECT c.provider, c.model, c.period, sum(c.requests) AS requests, sum(c.old_cost) AS old_cost,
                   sum(c.new_cost) AS new_cost, sum(c.difference) AS difference
              FROM unnest(changes) AS c
             GROUP BY 1, 2, 3) AS t;

    IF NOT reprice.dry_run THEN
        IF reprice.corrections THEN
            -- whole days, as that is what a correction row says it corrects
            PERFORM _usage_monitor._correct_closed(
                        date_trunc('day', reprice.since, usage_monitor.ledger_time_zone()),
                        least(date_trunc('day', reprice.until + interval '1 day' - interval '1 microsecond',
                                         usage_monitor.ledger_time_zone()),
                              open_from),
                        reprice.model);
        END IF;
        PERFORM _usage_monitor._close_unpriced_alerts();
        INSERT INTO usage_monitor.audit_log (what, details)
        VALUES ('reprice', jsonb_build_object(
                   'since', reprice.since,
                   'until', reprice.until,
                   'model', reprice.model,
                   'corrections', reprice.corrections,
                   'changes', coalesce(to_jsonb(changes), '[]')));
    END IF;
    PERFORM _usage_monitor._progress(NULL);
    RETURN QUERY SELECT * FROM unnest(changes);
END
$$;

COMMENT ON FUNCTION usage_monitor.reprice(timestamptz, timestamptz, text, boolean, boolean) IS
    'Compares what calls cost with what they cost by the price book as it is now, at each call''s own time; a row for each model and period (open or closed) that differs. dry_run => false changes the open ones, day by day in one transaction, and writes audit_log. Reported costs, calls whose price is gone, and calls of which something is unread (see reread), stay as they are. A closed period is not changed; corrections => true adds rows of operation correction, dated now, with the difference as their cost, which may be negative. Errors: UM008 empty range, 25001 a change not at READ COMMITTED.';

CREATE FUNCTION usage_monitor.reprice(
    since date,
    until date,
    model text DEFAULT NULL,
    dry_run boolean DEFAULT true,
    corrections boolean DEFAULT false
) RETURNS SETOF usage_monitor.repriced
    LANGUAGE sql
BEGIN ATOMIC
    SELECT *
      FROM usage_monitor.reprice(_usage_monitor._instant(reprice.since), _usage_monitor._instant(reprice.until),
                                 reprice.model, reprice.dry_run, reprice.corrections);
END;

COMMENT ON FUNCTION usage_monitor.reprice(date, date, text, boolean, boolean) IS
    'The same for days of the ledger''s calendar, whatever the session''s time zone is, from the first to the one before the second. Errors: as above.';

CREATE FUNCTION usage_monitor.reprice(
    since text,
    until text,
    model text DEFAULT NULL,
    dry_run boolean DEFAULT true,
    corrections boolean DEFAULT false
) RETURNS SETOF usage_monitor.repriced
    LANGUAGE sql
BEGIN ATOMIC
    SELECT *
      FROM usage_monitor.reprice(_usage_monitor._instant(reprice.since), _usage_monitor._instant(reprice.until),
                                 reprice.model, reprice.dry_run, reprice.corrections);
END;

COMMENT ON FUNCTION usage_monitor.reprice(text, text, text, boolean, boolean) IS
    'The same for days or instants that are written without a type, by the ledger''s clock where they name no zone: reprice(''2026-11-01'', ''2026-12-01'') is November. Errors: as above, and 22007 for text that is not a day or an instant.';

/*
 * Adds what the calls of a closed time cost too little or too much, less what
 * was corrected before: one row for each day and whoever is charged for it.
 */
CREATE FUNCTION _usage_monitor._correct_closed(since timestamptz, until timestamptz, model text) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.write_corrections = on
BEGIN ATOMIC
    INSERT INTO usage_monitor.usage (org, department, project, user_id, provider, model, operation, cost, tags)
    SELECT d.org, d.department, d.project, d.user_id, d.provider, d.model, 'correction', sum(d.difference),
           jsonb_build_object('corrects', d.day)
      FROM (
          SELECT u.org, u.department, u.project, u.user_id, u.provider, u.model,
                 -- whatever the session's way to write a day is
                 to_char(usage_monitor.ledger_day(u.ts), 'YYYY-MM-DD') AS day,
                 usage_monitor.cost(
                     u.model, u.input_tokens, u.output_tokens, u.cache_read_input_tokens,
                     u.cache_creation_input_tokens, u.cache_creation_1h_input_tokens,
                     u.reasoning_output_tokens, u.input_audio_tokens, u.output_audio_tokens,
                     u.units, u.provider, u.service_tier, u.org, u.ts) - coalesce(u.cost, 0) AS difference
            FROM usage_monitor.usage u
           WHERE u.ts >= _correct_closed.since
             AND u.ts < _correct_closed.until
             AND (_correct_closed.model IS NULL OR u.model = _correct_closed.model)
             AND u.cost_source IN ('computed', 'unpriced')
             AND NOT u.cached
             AND u.unread IS NULL
          UNION ALL
          SELECT u.org, u.department, u.project, u.user_id, u.provider, u.model,
                 u.tags ->> 'corrects',
                 - u.cost
            FROM usage_monitor.usage u
           WHERE u.operation = 'correction'
             AND _usage_monitor._day_start((u.tags ->> 'corrects')::date) >= _correct_closed.since
             AND _usage_monitor._day_start((u.tags ->> 'corrects')::date) < _correct_closed.until
             AND (_correct_closed.model IS NULL OR u.model = _correct_closed.model)
      ) AS d
     WHERE d.difference IS NOT NULL
     GROUP BY d.org, d.department, d.project, d.user_id, d.provider, d.model, d.day
    HAVING sum(d.difference) <> 0;
END;

COMMENT ON FUNCTION _usage_monitor._correct_closed(timestamptz, timestamptz, text) IS
    'Adds the correction rows of a closed time, from the start of a day to the start of another.';
