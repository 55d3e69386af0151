/*
 * import_prices(): a public catalogue becomes prices of origin import.
 *
 * A catalogue says what holds from now on (or from valid_from), save where it
 * dates an entry itself.  What it said earlier stays for earlier calls: the
 * price that held is ended, and the new one begins there.
 */
CREATE FUNCTION _usage_monitor._usual_units(meter text) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN _usage_monitor._meter_side(meter) = 'other' THEN 1 ELSE 1000000 END;

COMMENT ON FUNCTION _usage_monitor._usual_units(text) IS
    'For how many units imported prices are compared and kept: a million tokens, or one of anything else.';

CREATE FUNCTION _usage_monitor._rate_json(
    meter text,
    amount numeric,
    per numeric,
    context_from bigint,
    context_inclusive boolean,
    window_start time,
    window_end time,
    window_days smallint[],
    window_zone text
) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_build_object(
    'meter', meter,
    -- exact: per divides 10^18
    'amount', trim_scale(amount * div(1000000000000000000, per) * 0.000000000000000001 * _usage_monitor._usual_units(meter)),
    'context_from', context_from, 'context_inclusive', context_inclusive,
    'window_start', window_start, 'window_end', window_end, 'window_days', window_days, 'window_zone', window_zone);

COMMENT ON FUNCTION _usage_monitor._rate_json(text, numeric, numeric, bigint, boolean, time, time, smallint[], text) IS
    'A rate, as those of a catalogue are compared with those that there are.';

CREATE FUNCTION usage_monitor.import_prices(
    catalogue jsonb,
    format text DEFAULT NULL,
    valid_from timestamptz DEFAULT NULL,
    confirm boolean DEFAULT false,
    OUT provider text,
    OUT model text,
    OUT meter text,
    OUT change text,
    OUT old numeric,
    OUT new numeric,
    OUT note text
) RETURNS SETOF record
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    starts CONSTANT timestamptz := coalesce(import_prices.valid_from, now());
    listed _usage_monitor._listed_rate[];
    kind   CONSTANT text := coalesce(import_prices.format, _usage_monitor._catalogue_format(import_prices.catalogue));
    wrong  record;
BEGIN
    PERFORM _usage_monitor._progress('import', 'reading the catalogue', 0, 3);
    listed := ARRAY(SELECT r FROM _usage_monitor._listed_rates(import_prices.catalogue, kind) r);
    IF NOT EXISTS (SELECT FROM unnest(listed) r WHERE r.meter IS NOT NULL) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM010',
            MESSAGE = format('no price was found in the catalogue of format "%s"', kind),
            HINT = 'Is it of another format? Nothing was changed.';
    END IF;

    SELECT r.* INTO wrong
      FROM unnest(listed) r
     WHERE r.meter IS NOT NULL
       AND (r.amount IS NULL OR r.per IS NULL OR r.per < 1
            OR r.per > 1000000000000000000 OR 1000000000000000000 % r.per <> 0
            OR coalesce(r.model, '') = '' OR coalesce(r.provider, '') = ''
            OR _usage_monitor._meter_side(r.meter) IS NULL)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('price of meter "%s" of model "%s" of provider "%s" is invalid: %s per %s',
                             wrong.meter, wrong.model, wrong.provider, wrong.amount, wrong.per),
            HINT = 'An entry names a provider, a model and a known meter, and an amount for units that divide a power of ten. Nothing was changed.';
    END IF;

    PERFORM _usage_monitor._progress('import', 'comparing prices', 1, 3);
    -- two imports at once: one after the other
    LOCK TABLE usage_monitor.price IN SHARE ROW EXCLUSIVE MODE;

    CREATE TEMPORARY TABLE _import_piece ON COMMIT DROP AS
    WITH price AS (
        SELECT r.provider, r.model, r.service_tier, r.valid_from, r.valid_to,
               min(r.currency) AS currency,
               min(r.source) AS source,
               jsonb_agg(_usage_monitor._rate_json(r.meter, r.amount, r.per, r.context_from, r.context_inclusive,
                                                   r.window_start, r.window_end, r.window_days, r.window_zone)
                         ORDER BY r.meter, r.context_from, r.window_start, r.window_end, r.window_days, r.window_zone) AS rates,
               EXISTS (SELECT FROM usage_monitor.price p
                        WHERE p.model = r.model AND p.provider = r.provider
                          AND p.service_tier = r.service_tier
                          AND p.origin = 'import' AND p.org IS NULL) AS is_known
          FROM unnest(listed) AS r
         WHERE r.meter IS NOT NULL
         GROUP BY r.provider, r.model, r.service_tier, r.valid_from, r.valid_to
    )
    SELECT p.*,
           -- undated: for all time if it is the first of its kind
           coalesce(p.valid_from, CASE WHEN p.is_known THEN starts ELSE import_prices.valid_from END, '-infinity') AS begins,
           coalesce(p.valid_to, 'infinity') AS ends,
           NULL::bigint AS old_id,
           NULL::jsonb AS old_rates,
           NULL::text AS old_currency,
           false AS is_held,
           NULL::bigint AS new_id
      FROM price p;

    -- what was over before it begins is history
    DELETE FROM pg_temp._import_piece i WHERE i.begins >= i.ends;

    CREATE TEMPORARY TABLE _import_known ON COMMIT DROP AS
    SELECT p.price_id, p.provider, p.model, p.service_tier, p.currency, p.source, p.as_of,
           coalesce(lower(p.valid), '-infinity') AS begins,
           coalesce(upper(p.valid), 'infinity') AS ends,
           (SELECT jsonb_agg(_usage_monitor._rate_json(r.meter, r.amount, r.per, r.context_from, r.context_inclusive,
                                                       r.window_start, r.window_end, r.window_days, r.window_zone)
                             ORDER BY r.meter, r.context_from, r.window_start, r.window_end, r.window_days, r.window_zone)
              FROM usage_monitor.price_rate r
             WHERE r.price_id = p.price_id) AS rates
      FROM usage_monitor.price p
     WHERE p.origin = 'import'
       AND p.org IS NULL;
    ANALYZE pg_temp._import_piece;
    ANALYZE pg_temp._import_known;

    -- the same price over the whole of its time already: nothing to do
    DELETE FROM pg_temp._import_piece i
     USING (SELECT k.provider, k.model, k.service_tier, k.currency, k.rates,
                   range_agg(tstzrange(k.begins, k.ends)) AS valid
              FROM pg_temp._import_known k
             GROUP BY k.provider, k.model, k.service_tier, k.currency, k.rates) AS k
     WHERE (k.provider, k.model, k.service_tier, k.currency) = (i.provider, i.model, i.service_tier, i.currency)
       AND k.rates = i.rates
       AND k.valid @> tstzrange(i.begins, i.ends);

    UPDATE pg_temp._import_piece i
       SET old_id = k.price_id,
           old_rates = k.rates,
           old_currency = k.currency
      FROM pg_temp._import_known k
     WHERE (k.provider, k.model, k.service_tier) = (i.provider, i.model, i.service_tier)
       AND k.begins <= i.begins
       AND k.ends > i.begins;

    -- a step of 5x is a typo more often than a price; the whole price waits, for half of one would be neither
    IF NOT coalesce(import_prices.confirm, false) THEN
        UPDATE pg_temp._import_piece i
           SET is_held = true
         WHERE i.old_currency = i.currency
           AND EXISTS (
                   SELECT
                     FROM jsonb_to_recordset(i.old_rates) AS o (meter text, amount numeric, context_from bigint, window_start text)
                     JOIN jsonb_to_recordset(i.rates) AS n (meter text, amount numeric, context_from bigint, window_start text)
                       ON (n.meter, n.context_from, coalesce(n.window_start, '')) = (o.meter, o.context_from, coalesce(o.window_start, ''))
                    WHERE o.amount <> n.amount
                      AND greatest(o.amount, n.amount) >= 5 * least(o.amount, n.amount));
    END IF;

    UPDATE pg_temp._import_piece i
       SET new_id = nextval('usage_monitor.price_price_id_seq')
     WHERE NOT i.is_held;

    -- a price that outlasts the piece put into it goes on behind it
    CREATE TEMPORARY TABLE _import_rest ON COMMIT DROP AS
    SELECT k.price_id AS old_id,
           k.provider, k.model, k.service_tier, k.currency, k.source, k.as_of,
           k.begins, k.ends, m.taken
      FROM pg_temp._import_known k
      JOIN (SELECT i.provider, i.model, i.service_tier,
                   range_agg(tstzrange(i.begins, i.ends)) AS taken
              FROM pg_temp._import_piece i
             WHERE i.new_id IS NOT NULL
             GROUP BY i.provider, i.model, i.service_tier) AS m
        ON (k.provider, k.model, k.service_tier) = (m.provider, m.model, m.service_tier)
       AND m.taken && tstzrange(k.begins, k.ends);

    CREATE TEMPORARY TABLE _import_left ON COMMIT DROP AS
    SELECT t.*, nextval('usage_monitor.price_price_id_seq') AS rest_id, l.valid,
           row_number() OVER (PARTITION BY t.old_id ORDER BY l.valid) AS n
      FROM pg_temp._import_rest t
     CROSS JOIN LATERAL unnest(tstzmultirange(tstzrange(t.begins, t.ends)) - t.taken) AS l (valid);

    PERFORM _usage_monitor._progress('import', 'writing prices', 2, 3);
    -- first what is left of a price keeps its number; then the further ones, and the new ones
    DELETE FROM usage_monitor.price p
     USING pg_temp._import_rest t
     WHERE p.price_id = t.old_id
       AND NOT EXISTS (SELECT FROM pg_temp._import_left l WHERE l.old_id = t.old_id);
    UPDATE usage_monitor.price p
       SET valid = tstzrange(nullif(lower(l.valid), '-infinity'), nullif(upper(l.valid), 'infinity'))
      FROM pg_temp._import_left l
     WHERE p.price_id = l.old_id
       AND l.n = 1;
    INSERT INTO usage_monitor.price (price_id, provider, model, service_tier, currency, valid, origin, source, as_of)
    SELECT l.rest_id, l.provider, l.model, l.service_tier, l.currency,
           tstzrange(nullif(lower(l.valid), '-infinity'), nullif(upper(l.valid), 'infinity')),
           'import', l.source, l.as_of
      FROM pg_temp._import_left l
     WHERE l.n > 1;
    INSERT INTO usage_monitor.price_rate
    SELECT l.rest_id, r.meter, r.amount, r.per, r.context_from, r.context_inclusive,
           r.window_start, r.window_end, r.window_days, r.window_zone
      FROM pg_temp._import_left l
      JOIN usage_monitor.price_rate r ON r.price_id = l.old_id
     WHERE l.n > 1;
    DROP TABLE pg_temp._import_left;

    INSERT INTO usage_monitor.price (price_id, provider, model, service_tier, currency, valid, origin, source, as_of)
    SELECT i.new_id, i.provider, i.model, i.service_tier, i.currency,
           tstzrange(nullif(i.begins, '-infinity'), nullif(i.ends, 'infinity')),
           'import', i.source, (now() AT TIME ZONE 'UTC')::date
      FROM pg_temp._import_piece i
     WHERE i.new_id IS NOT NULL;
    INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from, context_inclusive,
                                          window_start, window_end, window_days, window_zone)
    SELECT i.new_id, r.meter, r.amount, _usage_monitor._usual_units(r.meter), r.context_from, r.context_inclusive,
           r.window_start, r.window_end, r.window_days, r.window_zone
      FROM pg_temp._import_piece i
     CROSS JOIN LATERAL jsonb_to_recordset(i.rates) AS r (
               meter text, amount numeric, context_from bigint, context_inclusive boolean,
               window_start time, window_end time, window_days smallint[], window_zone text)
     WHERE i.new_id IS NOT NULL;

    RETURN QUERY
    SELECT i.provider, i.model, d.meter,
           CASE WHEN i.is_held THEN 'held back'
                WHEN d.old_amount IS NULL THEN 'new'
                WHEN d.new_amount IS NULL THEN 'removed'
                ELSE 'changed' END,
           d.old_amount, d.new_amount,
           concat_ws(', ',
                     format('%s for %s', i.currency, _usage_monitor._usual_units(d.meter)),
                     nullif(i.service_tier, 'standard'),
                     CASE WHEN d.context_from > 0 THEN format('above %s input tokens', d.context_from) END,
                     d.window_start || ' to ' || d.window_end,
                     CASE WHEN i.begins > '-infinity'
                          THEN format('from %s', to_char(i.begins AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')) END,
                     CASE WHEN i.is_held
                          THEN 'this price has a step of 5x or more; take it with confirm => true' END)
      FROM pg_temp._import_piece i
     CROSS JOIN LATERAL (
           SELECT coalesce(n.meter, o.meter) AS meter,
                  coalesce(n.context_from, o.context_from) AS context_from,
                  coalesce(n.window_start, o.window_start) AS window_start,
                  coalesce(n.window_end, o.window_end) AS window_end,
                  o.amount AS old_amount,
                  n.amount AS new_amount
             FROM jsonb_to_recordset(i.rates) AS n (meter text, amount numeric, context_from bigint, window_start text, window_end text)
             FULL JOIN jsonb_to_recordset(coalesce(i.old_rates, '[]')) AS o (meter text, amount numeric, context_from bigint, window_start text, window_end text)
               ON n.meter = o.meter
              AND n.context_from = o.context_from
              AND coalesce(n.window_start, '') = coalesce(o.window_start, '')) AS d
     WHERE d.old_amount IS DISTINCT FROM d.new_amount
        OR i.old_currency <> i.currency
     ORDER BY i.provider, i.model, i.service_tier, i.begins, d.meter, d.context_from, d.window_start;

    RETURN QUERY
    SELECT DISTINCT r.provider, r.model, NULL::text, 'ignored field', NULL::numeric, NULL::numeric,
           concat_ws(': ', r.field, r.note)
      FROM unnest(listed) AS r
     WHERE r.meter IS NULL
     ORDER BY 1, 2, 7;

    DROP TABLE pg_temp._import_piece, pg_temp._import_known, pg_temp._import_rest;
    PERFORM _usage_monitor._progress(NULL);
EXCEPTION
    -- not a number, a time or a day; of what is not finite the server says that it is not supported
    WHEN data_exception OR feature_not_supported THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('the catalogue has a value that cannot be read: %s', SQLERRM),
            HINT = 'Amounts are numbers, times are written as 2026-01-31T00:00:00Z. Nothing was changed.';
    WHEN exclusion_violation OR unique_violation THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('the catalogue has two prices for the same time: %s', SQLERRM),
            HINT = 'Of one provider, model and tier, times must not overlap and meters not repeat. Nothing was changed.';
END
$$;

COMMENT ON FUNCTION usage_monitor.import_prices(jsonb, text, timestamptz, boolean) IS
    'Loads a public catalogue (format litellm, genai-prices, models.dev, openrouter or usage_monitor; NULL: the one it seems to be of) as prices of origin import, and returns a row a change: new, changed, removed (a meter that the price no longer has), held back (the price has a step of 5x or more; pass confirm => true) or ignored field. old and new are for a million tokens, or for one of anything else. A model that had no imported price gets it for all time, a changed one from valid_from (default now) on, and what held before stays for earlier calls; entries with dates of their own keep them. Models that the catalogue lacks are left alone. All or nothing. Errors: UM008 unknown format, UM009 invalid price, UM010 a catalogue of another format.';
