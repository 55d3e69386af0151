/*
 * What an organisation pays less than everybody's price.
 */
CREATE TABLE usage_monitor.discount (
    org      text NOT NULL,
    provider text,
    model    text,
    percent  numeric NOT NULL,
    valid    tstzrange NOT NULL DEFAULT '(,)',
    CONSTRAINT discount_no_overlap EXCLUDE USING gist (
        org WITH =,
        (coalesce(provider, '')) WITH =,
        (coalesce(model, '')) WITH =,
        valid WITH &&
    )
);

COMMENT ON TABLE usage_monitor.discount IS
    'Percentages that an organisation pays less, off every price but its own contract prices. The closest one holds, by model, then provider; they do not add up.';
COMMENT ON COLUMN usage_monitor.discount.org IS 'The organisation that pays less.';
COMMENT ON COLUMN usage_monitor.discount.provider IS 'The provider whose prices are meant, by its name in the price book; NULL: any.';
COMMENT ON COLUMN usage_monitor.discount.model IS 'The model that is meant, by its name in the price book; NULL: any.';
COMMENT ON COLUMN usage_monitor.discount.percent IS 'How much less, from 0 to 100.';
COMMENT ON COLUMN usage_monitor.discount.valid IS 'When the discount holds: [from, to).';

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

CREATE TRIGGER check_discount
    BEFORE INSERT OR UPDATE ON usage_monitor.discount
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_discount();

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.discount', '');
