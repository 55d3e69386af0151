/*
 * Prices of one's own.
 */
CREATE FUNCTION usage_monitor.set_price(
    model text,
    input numeric,
    output numeric,
    cache_read numeric DEFAULT NULL,
    cache_write numeric DEFAULT NULL,
    per numeric DEFAULT 1000000,
    currency text DEFAULT NULL,
    provider text DEFAULT NULL,
    service_tier text DEFAULT 'standard',
    valid_from timestamptz DEFAULT NULL,
    org text DEFAULT NULL,
    cache_write_1h numeric DEFAULT NULL,
    other jsonb DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own_provider text := coalesce(_usage_monitor._canonical_provider(provider), '*');
    starts       timestamptz := coalesce(valid_from, now());
    ends         timestamptz;
    same         bigint[];  -- prices of the same kind, of other times
    new_id       bigint;
BEGIN
    -- two calls at once for one model: one after the other
    LOCK TABLE usage_monitor.price IN SHARE ROW EXCLUSIVE MODE;

    SELECT coalesce(array_agg(p.price_id), '{}'), min(lower(p.valid)) FILTER (WHERE lower(p.valid) > starts)
      INTO same, ends
      FROM usage_monitor.price p
     WHERE p.model = set_price.model
       AND p.provider = own_provider
       AND p.service_tier = set_price.service_tier
       AND p.origin = 'user'
       AND coalesce(p.org, '') = coalesce(set_price.org, '');

    -- the price that held until then ends there; one that began right then is replaced
    DELETE FROM usage_monitor.price p
     WHERE p.price_id = ANY (same)
       AND lower(p.valid) = starts;
    UPDATE usage_monitor.price p
       SET valid = tstzrange(lower(p.valid), starts)
     WHERE p.price_id = ANY (same)
       AND p.valid @> starts;

    INSERT INTO usage_monitor.price (provider, model, service_tier, org, currency, valid)
    VALUES (own_provider,
            set_price.model,
            set_price.service_tier,
            set_price.org,
            coalesce(set_price.currency, usage_monitor.ledger_currency()),
            tstzrange(CASE WHEN same = '{}' THEN set_price.valid_from ELSE starts END, ends))
    RETURNING price_id INTO new_id;

    INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per)
    SELECT new_id, r.meter, r.amount, set_price.per
      FROM (VALUES ('input', set_price.input),
                   ('output', set_price.output),
                   ('cache_read', set_price.cache_read),
                   ('cache_write', set_price.cache_write),
                   ('cache_write_1h', set_price.cache_write_1h)) AS r (meter, amount)
     WHERE r.amount IS NOT NULL;

    -- everything else is counted by the piece
    IF jsonb_typeof(set_price.other) <> 'object'
       OR jsonb_path_exists(set_price.other, 'strict $.* ? (@.type() != "number")')
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('the other rates of model "%s" must be an object of numbers, but are %s',
                             set_price.model, set_price.other),
            HINT = 'Write for example {"web_search": 0.01}: money for one unit of the meter.';
    END IF;
    INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per)
    SELECT new_id, r.key, r.value::numeric, 1
      FROM jsonb_each_text(set_price.other) AS r;

    IF NOT EXISTS (SELECT FROM usage_monitor.price_rate r WHERE r.price_id = new_id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('the price of model "%s" has no rate', set_price.model),
            HINT = 'Give at least one of input, output or other; 0 stands for free.';
    END IF;
    RETURN new_id;
END
$$;

COMMENT ON FUNCTION usage_monitor.set_price(text, numeric, numeric, numeric, numeric, numeric, text, text, text, timestamptz, text, numeric, jsonb) IS
    'Sets a price of your own and returns its price_id: money for "per" tokens (default 1000000) of input, output, cache reads and writes; other: {"meter": money for one unit}. currency: default the ledger''s; provider NULL: at any provider; model *: any model; valid_from NULL: for all time if it is the first of its kind, else from now on; the price before ends there. Errors: UM004, UM005, UM008, UM009.';
