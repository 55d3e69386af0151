/*
 * Calls of which something is unread: which fields, and reading them again
 * once usage_field says what they mean.
 */
CREATE VIEW usage_monitor.unread_fields WITH (security_invoker = true) AS
SELECT field.key AS path,
       count(*) AS requests,
       min(field.value #>> '{}') AS example,
       array_agg(DISTINCT u.model ORDER BY u.model) AS models,
       min(u.ts) AS first_ts,
       max(u.ts) AS last_ts,
       sum(u.total_tokens) AS total_tokens,
       count(*) FILTER (WHERE u.cost IS NULL) AS unpriced_requests
  FROM usage_monitor.usage u
 CROSS JOIN LATERAL jsonb_each(u.unread) AS field
 WHERE u.unread IS NOT NULL
 GROUP BY field.key;

COMMENT ON VIEW usage_monitor.unread_fields IS
    'What of responses no line of usage_field reads, and so keeps calls from being priced. If a field is part of a count: INSERT INTO usage_monitor.usage_field VALUES (''*'', path, meter); if it costs nothing, with the meaning -. Then reread().';
COMMENT ON COLUMN usage_monitor.unread_fields.path IS 'The field, as a line of usage_field would name it; or another reason, in words.';
COMMENT ON COLUMN usage_monitor.unread_fields.requests IS 'Number of calls that have it.';
COMMENT ON COLUMN usage_monitor.unread_fields.example IS 'One of its values.';
COMMENT ON COLUMN usage_monitor.unread_fields.models IS 'The models whose calls have it.';
COMMENT ON COLUMN usage_monitor.unread_fields.first_ts IS 'The first call that has it.';
COMMENT ON COLUMN usage_monitor.unread_fields.last_ts IS 'The last one.';
COMMENT ON COLUMN usage_monitor.unread_fields.total_tokens IS 'Tokens of these calls, as far as they could be read.';
COMMENT ON COLUMN usage_monitor.unread_fields.unpriced_requests IS 'Those of the calls that have no cost; the others have one that the provider reported.';

CREATE FUNCTION usage_monitor.reread(
    since timestamptz DEFAULT '-infinity',
    until timestamptz DEFAULT 'infinity',
    dry_run boolean DEFAULT true,
    OUT provider text,
    OUT model text,
    OUT requests bigint,
    OUT still_unread bigint,
    OUT old_cost numeric,
    OUT new_cost numeric,
    OUT currency text
) RETURNS SETOF record
    -- it changes the ledger, which a manager who may execute it cannot write
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    prefers CONSTANT boolean := coalesce((SELECT s.reported_costs = 'prefer' FROM usage_monitor.setting s), true);
    call    record;
    reading usage_monitor.normalized_usage;
    rate    numeric;
    charge  numeric;
    cost    numeric;
    changes jsonb := '[]';
BEGIN
    IF reread.since IS NULL OR reread.until IS NULL OR reread.since >= reread.until THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('the range from %s until %s is empty', coalesce(reread.since::text, 'NULL'), coalesce(reread.until::text, 'NULL')),
            HINT = 'Give a start and a later end; -infinity and infinity are understood.';
    END IF;

    -- the books are not closed while this runs
    IF NOT reread.dry_run THEN
        PERFORM _usage_monitor._hold_books('reread');
    END IF;
    FOR call IN
        SELECT u.*
          FROM usage_monitor.usage u
         WHERE u.unread IS NOT NULL
           AND u.provider_usage IS NOT NULL
           AND u.ts >= greatest(reread.since, _usage_monitor._books_open_from())
           AND u.ts < reread.until
         ORDER BY u.ts, u.usage_id
    LOOP
        reading := NULL;
        BEGIN
            SELECT (p.reading).* INTO reading
              FROM _usage_monitor._usage_parts(call.provider_usage, call.provider) AS p
             LIMIT 1;
        EXCEPTION WHEN SQLSTATE 'UM001' OR SQLSTATE 'UM002' OR SQLSTATE 'UM010' THEN
            NULL;  -- still not understood
        END;
        IF reading IS NULL OR reading.unread = call.unread THEN
            cost := call.cost;
        ELSE
            rate := CASE WHEN usage_monitor.ledger_currency() = 'USD' THEN 1 ELSE (
                        SELECT x.rate
                          FROM usage_monitor.exchange_rate x
                         WHERE x.from_currency = 'USD'
                           AND x.to_currency = usage_monitor.ledger_currency()
                           AND x.valid @> call.ts) END;
            charge := CASE WHEN prefers AND reading.unread IS NULL AND rate IS NOT NULL THEN reading.reported_cost END;
            cost := CASE WHEN charge IS NOT NULL THEN charge * rate
                         WHEN reading.unread IS NULL THEN
                             usage_monitor.cost(
                                 call.model, reading.input_tokens, reading.output_tokens,
                                 reading.cache_read_input_tokens, reading.cache_creation_input_tokens,
                                 reading.cache_creation_1h_input_tokens, reading.reasoning_output_tokens,
                                 reading.input_audio_tokens, reading.output_audio_tokens, reading.units,
                                 call.provider, reading.service_tier, call.org, call.ts) END;
            IF NOT reread.dry_run THEN
                UPDATE usage_monitor.usage u
                   SET service_tier = reading.service_tier,
                       input_tokens = reading.input_tokens,
                       output_tokens = reading.output_tokens,
                       cache_read_input_tokens = reading.cache_read_input_tokens,
                       cache_creation_input_tokens = reading.cache_creation_input_tokens,
                       cache_creation_1h_input_tokens = reading.cache_creation_1h_input_tokens,
                       reasoning_output_tokens = reading.reasoning_output_tokens,
                       input_audio_tokens = reading.input_audio_tokens,
                       output_audio_tokens = reading.output_audio_tokens,
                       units = reading.units,
                       unread = reading.unread,
                       cost = charge,
                       currency = CASE WHEN charge IS NOT NULL THEN 'USD' ELSE u.currency END
                 WHERE u.usage_id = call.usage_id
                   AND u.ts = call.ts
                RETURNING u.cost INTO cost;
            END IF;
        END IF;
        changes := changes || jsonb_build_object(
            'provider', call.provider, 'model', call.model,
            'still_unread', reading IS NULL OR reading.unread IS NOT NULL,
            'old_cost', call.cost, 'new_cost', cost);
    END LOOP;

    IF NOT reread.dry_run AND changes <> '[]' THEN
        INSERT INTO usage_monitor.audit_log (what, details)
        VALUES ('reread', jsonb_build_object(
                   'since', reread.since,
                   'until', reread.until,
                   'requests', jsonb_array_length(changes)));
    END IF;
    RETURN QUERY
        SELECT c.provider, c.model, count(*), count(*) FILTER (WHERE c.still_unread),
               sum(c.old_cost), sum(c.new_cost), usage_monitor.ledger_currency()
          FROM jsonb_to_recordset(changes) AS c (provider text, model text, still_unread boolean,
                                                 old_cost numeric, new_cost numeric)
         GROUP BY c.provider, c.model
         ORDER BY c.provider, c.model;
END
$$;

COMMENT ON FUNCTION usage_monitor.reread(timestamptz, timestamptz, boolean) IS
    'Reads the kept responses of calls of which something is unread once more, by the lines of usage_field as they are now; a row for each model, with what the calls cost before and after. dry_run => false changes the calls and writes audit_log. Calls of a closed period stay as they are, and so does what was read already. Errors: UM008 no such time, 25001 a change not at READ COMMITTED.';
