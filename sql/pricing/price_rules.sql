/*
 * What a price must be, and set_price().
 */
CREATE FUNCTION _usage_monitor._meter_side(meter text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_meter_side';

COMMENT ON FUNCTION _usage_monitor._meter_side(text) IS
    'On which side of the bill a meter is: input, output or other; NULL if there is no such meter.';

CREATE FUNCTION _usage_monitor._meter_names() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_meter_names';

COMMENT ON FUNCTION _usage_monitor._meter_names() IS 'The names of all meters, for a hint.';

CREATE FUNCTION _usage_monitor._check_service_tier(tier text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_check_service_tier';

COMMENT ON FUNCTION _usage_monitor._check_service_tier(text) IS
    'The tier as given; refuses what is not standard, batch, flex, priority, fast or ultrafast (UM005).';

CREATE FUNCTION _usage_monitor._protect_shipped() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_protect_shipped';

COMMENT ON FUNCTION _usage_monitor._protect_shipped() IS
    'Row trigger: only the extension''s scripts write shipped rows, for a dump would lose any edit of them (UM011).';

/*
 * Tables that are dumped cannot refer to each other by foreign keys: those
 * would exist before the rows are restored, which pg_restore -j does in any
 * order.  These two do what a key with ON DELETE CASCADE did, and let a
 * restore be.  Like a key's they act as the owner, without SECURITY DEFINER.
 */
CREATE FUNCTION _usage_monitor._check_parent() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_check_parent';

COMMENT ON FUNCTION _usage_monitor._check_parent() IS
    'Row trigger: a rate must be of a price, a raise or adjustment of a quota (23503), save while a dump is restored.';

CREATE FUNCTION _usage_monitor._keep_children() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_keep_children';

COMMENT ON FUNCTION _usage_monitor._keep_children() IS
    'Trigger: rates go with their price, raises and adjustments with their quota, whose numbers cannot be changed meanwhile (23503).';

CREATE FUNCTION _usage_monitor._check_valid(valid tstzrange) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF isempty(valid) OR (NOT lower_inf(valid) AND NOT lower_inc(valid)) OR upper_inc(valid) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "valid" must hold its start and not its end, but is %s', valid),
            HINT = 'Write for example tstzrange(''2026-01-01'', ''2026-07-01'', ''[)'').';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_valid(tstzrange) IS 'Refuses a range of time that is not [from, to) (UM009).';

CREATE FUNCTION _usage_monitor._check_price() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other usage_monitor.price;
BEGIN
    IF coalesce(NEW.model, '') = '' OR coalesce(NEW.provider, '') = '' OR NEW.org = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('column "%s" must not be empty',
                             CASE WHEN coalesce(NEW.model, '') = '' THEN 'model'
                                  WHEN NEW.org = '' THEN 'org'
                                  ELSE 'provider' END),
            HINT = 'Write * for any model or any provider; leave org NULL for everybody''s price.';
    END IF;
    PERFORM _usage_monitor._check_service_tier(NEW.service_tier);
    PERFORM _usage_monitor._check_currency('currency', NEW.currency);
    IF NEW.origin NOT IN ('user', 'import') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "origin" must be user or import, but is "%s"', NEW.origin),
            HINT = 'Leave it out: your own prices are of origin user.';
    END IF;
    PERFORM _usage_monitor._check_valid(NEW.valid);

    SELECT p.* INTO other
      FROM usage_monitor.price p
     WHERE p.model = NEW.model
       AND p.provider = NEW.provider
       AND p.service_tier = NEW.service_tier
       AND p.origin = NEW.origin
       AND coalesce(p.org, '') = coalesce(NEW.org, '')
       AND p.valid && NEW.valid
       AND p.price_id <> NEW.price_id
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'exclusion_violation',
            MESSAGE = format('price of model "%s" over %s overlaps price %s over %s',
                             NEW.model, NEW.valid, other.price_id, other.valid),
            HINT = 'End the other price first, or call usage_monitor.set_price(), which does so.',
            TABLE = 'price',
            SCHEMA = 'usage_monitor',
            CONSTRAINT = 'price_no_overlap';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_price() IS
    'Row trigger: what a price must be. The constraint guards what two transactions do at once.';

CREATE FUNCTION _usage_monitor._check_price_rate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF _usage_monitor._meter_side(NEW.meter) IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "meter" must be a known meter, but is %s', _usage_monitor._quoted(NEW.meter)),
            HINT = format('Meters are %s.', _usage_monitor._meter_names());
    END IF;
    IF NEW.amount IS NULL OR NEW.amount < 0 OR NEW.amount IN ('NaN', 'Infinity') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "amount" of meter "%s" must be zero or more, but is %s', NEW.meter, coalesce(NEW.amount::text, 'NULL')),
            HINT = 'It is money for "per" units, in the price''s currency.';
    END IF;
    IF abs(NEW.amount) >= 1e100 OR scale(NEW.amount) > 100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "amount" of meter "%s" has too many digits', NEW.meter),
            HINT = 'It may have 100 digits before the point and 100 behind it.';
    END IF;
    IF NEW.per IS NULL OR NEW.per IN ('NaN', 'Infinity') OR NEW.per < 1
       OR NEW.per > 1000000000000000000 OR 1000000000000000000 % NEW.per <> 0
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "per" of meter "%s" must divide a power of ten, but is %s', NEW.meter, coalesce(NEW.per::text, 'NULL')),
            HINT = 'Only then is every cost an exact decimal. Write 1000000, 1000 or 1, and convert the amount.';
    END IF;
    IF NEW.context_from IS NULL OR NEW.context_from < 0 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "context_from" of meter "%s" must be zero or more, but is %s', NEW.meter, coalesce(NEW.context_from::text, 'NULL')),
            HINT = 'It is a number of input tokens; 0 stands for every request.';
    END IF;
    IF NEW.window_zone IS NOT NULL THEN
        PERFORM _usage_monitor._check_time_zone('window_zone', NEW.window_zone);
    END IF;
    IF (NEW.window_start IS NULL) <> (NEW.window_end IS NULL)
       OR NEW.window_start = NEW.window_end
       OR NOT (NEW.window_days <@ ARRAY[1, 2, 3, 4, 5, 6, 7]::smallint[])
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('window from %s to %s on days %s of meter "%s" is invalid',
                             coalesce(NEW.window_start::text, 'NULL'), coalesce(NEW.window_end::text, 'NULL'),
                             coalesce(NEW.window_days::text, 'NULL'), NEW.meter),
            HINT = 'A window has a start and another end, and days from 1 (Monday) to 7 (Sunday).';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_price_rate() IS 'Row trigger: what a rate must be.';

CREATE FUNCTION _usage_monitor._check_exchange_rate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _usage_monitor._check_currency('from_currency', NEW.from_currency);
    PERFORM _usage_monitor._check_currency('to_currency', NEW.to_currency);
    IF NEW.rate IS NULL OR NEW.rate <= 0 OR NEW.rate IN ('NaN', 'Infinity')
       OR NEW.from_currency = NEW.to_currency
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "rate" from %s to %s must be above zero and between two currencies, but is %s',
                             NEW.from_currency, NEW.to_currency, coalesce(NEW.rate::text, 'NULL')),
            HINT = 'It is what one unit of from_currency is worth in to_currency.';
    END IF;
    IF abs(NEW.rate) >= 1e100 OR scale(NEW.rate) > 100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "rate" from %s to %s has too many digits', NEW.from_currency, NEW.to_currency),
            HINT = 'It may have 100 digits before the point and 100 behind it.';
    END IF;
    PERFORM _usage_monitor._check_valid(NEW.valid);
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_exchange_rate() IS 'Row trigger: what an exchange rate must be.';

CREATE FUNCTION _usage_monitor._check_discount() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.org = '' OR NEW.provider = '' OR NEW.model = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('column "%s" must not be empty',
                             CASE WHEN NEW.org = '' THEN 'org'
                                  WHEN NEW.provider = '' THEN 'provider'
                                  ELSE 'model' END),
            HINT = 'Leave provider or model NULL for any.';
    END IF;
    IF NEW.percent IS NULL OR NOT NEW.percent BETWEEN 0 AND 100 OR scale(NEW.percent) > 100 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "percent" must be from 0 to 100, but is %s', coalesce(left(NEW.percent::text, 60), 'NULL')),
            HINT = 'It is what the organisation pays less: 15 stands for 15 %.';
    END IF;
    PERFORM _usage_monitor._check_valid(NEW.valid);
    NEW.provider := _usage_monitor._canonical_provider(NEW.provider);
    NEW.model := _usage_monitor._resolved_model(NEW.provider, NEW.model);
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_discount() IS 'Row trigger: what a discount must be.';

CREATE FUNCTION _usage_monitor._check_alias() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.origin <> 'user' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "origin" must be user, but is "%s"', NEW.origin),
            HINT = 'Leave it out: your own aliases are of origin user.';
    END IF;
    -- not in one condition: the other table has no such columns
    IF TG_TABLE_NAME = 'model_alias' THEN
        IF NEW.pattern = '' OR num_nulls(NEW.provider, NEW.model) = 2 THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM004',
                MESSAGE = format('alias "%s" must have a pattern, and a provider or a model that it stands for', NEW.pattern),
                HINT = 'For example pattern acme-chat, provider openai, model gpt-4o.';
        END IF;
        NEW.provider := _usage_monitor._canonical_provider(NEW.provider);
    ELSIF NEW.alias = '' OR NEW.provider = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('alias "%s" must have a name, and a provider that it stands for', NEW.alias),
            HINT = 'For example alias our-openai, provider openai.';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_alias() IS 'Row trigger: what an alias must be.';

CREATE TRIGGER check_price
    BEFORE INSERT OR UPDATE ON usage_monitor.price
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_price();

CREATE TRIGGER check_price_rate
    BEFORE INSERT OR UPDATE ON usage_monitor.price_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_price_rate();

CREATE TRIGGER check_exchange_rate
    BEFORE INSERT OR UPDATE ON usage_monitor.exchange_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_exchange_rate();

CREATE TRIGGER check_discount
    BEFORE INSERT OR UPDATE ON usage_monitor.discount
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_discount();

CREATE TRIGGER check_alias
    BEFORE INSERT OR UPDATE ON usage_monitor.model_alias
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_alias();

CREATE TRIGGER check_alias
    BEFORE INSERT OR UPDATE ON usage_monitor.provider_alias
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_alias();

CREATE TRIGGER protect_shipped
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.price
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._protect_shipped();

CREATE TRIGGER protect_shipped
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.price_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._protect_shipped();

CREATE TRIGGER protect_shipped
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.model_alias
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._protect_shipped();

CREATE TRIGGER protect_shipped
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.provider_alias
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._protect_shipped();

CREATE TRIGGER check_parent
    AFTER INSERT OR UPDATE ON usage_monitor.price_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_parent();

CREATE TRIGGER keep_children
    AFTER DELETE OR UPDATE OF price_id ON usage_monitor.price
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._keep_children();

CREATE TRIGGER keep_children_truncate
    AFTER TRUNCATE ON usage_monitor.price
    FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._keep_children();

/*
 * Only the user's rows are dumped: the shipped ones come with the extension.
 */
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.price', 'WHERE origin <> ''shipped''');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.price_price_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.price_rate', 'WHERE price_id > 0');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.model_alias', 'WHERE origin <> ''shipped''');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.provider_alias', 'WHERE origin <> ''shipped''');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.exchange_rate', '');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.discount', '');

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
    is_first     boolean;
    new_id       bigint;
BEGIN
    -- two calls at once for one model: one after the other
    LOCK TABLE usage_monitor.price IN SHARE ROW EXCLUSIVE MODE;

    SELECT count(*) = 0, min(lower(p.valid)) FILTER (WHERE lower(p.valid) > starts)
      INTO is_first, ends
      FROM usage_monitor.price p
     WHERE p.model = set_price.model
       AND p.provider = own_provider
       AND p.service_tier = set_price.service_tier
       AND p.origin = 'user'
       AND coalesce(p.org, '') = coalesce(set_price.org, '');

    -- the price that held until then ends there; one that began right then is replaced
    DELETE FROM usage_monitor.price p
     WHERE p.model = set_price.model
       AND p.provider = own_provider
       AND p.service_tier = set_price.service_tier
       AND p.origin = 'user'
       AND coalesce(p.org, '') = coalesce(set_price.org, '')
       AND lower(p.valid) = starts;
    UPDATE usage_monitor.price p
       SET valid = tstzrange(lower(p.valid), starts)
     WHERE p.model = set_price.model
       AND p.provider = own_provider
       AND p.service_tier = set_price.service_tier
       AND p.origin = 'user'
       AND coalesce(p.org, '') = coalesce(set_price.org, '')
       AND p.valid @> starts;

    INSERT INTO usage_monitor.price (provider, model, service_tier, org, currency, valid)
    VALUES (own_provider,
            set_price.model,
            set_price.service_tier,
            set_price.org,
            coalesce(set_price.currency, usage_monitor.ledger_currency()),
            tstzrange(CASE WHEN is_first THEN set_price.valid_from ELSE starts END, ends))
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
