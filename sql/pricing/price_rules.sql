/*
 * What a price must be.
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
    IF lower(valid) = 'infinity' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM009',
            MESSAGE = format('column "valid" must begin at some time, but is %s', valid),
            HINT = 'It begins when the first call is priced by it: give that time, or leave it out for all time.';
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

CREATE TRIGGER check_price
    BEFORE INSERT OR UPDATE ON usage_monitor.price
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_price();

CREATE TRIGGER check_price_rate
    BEFORE INSERT OR UPDATE ON usage_monitor.price_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_price_rate();

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
