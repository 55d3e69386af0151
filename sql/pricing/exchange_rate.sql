/*
 * What other currencies are worth in the ledger's.
 */
CREATE TABLE usage_monitor.exchange_rate (
    from_currency text NOT NULL,
    to_currency   text NOT NULL,
    valid         tstzrange NOT NULL DEFAULT '(,)',
    rate          numeric NOT NULL,
    CONSTRAINT exchange_rate_no_overlap EXCLUDE USING gist (
        from_currency WITH =,
        to_currency WITH =,
        valid WITH &&
    )
);

COMMENT ON TABLE usage_monitor.exchange_rate IS
    'What one unit of a price''s currency is worth in the ledger''s, over a time range. A call priced in a currency without a rate at its time stays unpriced.';
COMMENT ON COLUMN usage_monitor.exchange_rate.from_currency IS 'ISO 4217 code of a price''s currency.';
COMMENT ON COLUMN usage_monitor.exchange_rate.to_currency IS 'ISO 4217 code of the ledger''s currency.';
COMMENT ON COLUMN usage_monitor.exchange_rate.valid IS 'When the rate holds: [from, to).';
COMMENT ON COLUMN usage_monitor.exchange_rate.rate IS 'Amount in to_currency for one unit of from_currency.';

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

CREATE TRIGGER check_exchange_rate
    BEFORE INSERT OR UPDATE ON usage_monitor.exchange_rate
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_exchange_rate();

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.exchange_rate', '');
