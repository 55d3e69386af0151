/*
 * The schema, and the ledger's currency and time zone.
 *
 * CREATE SCHEMA without IF NOT EXISTS: a schema that somebody made beforehand
 * is refused, and ours goes with DROP EXTENSION.
 */
CREATE SCHEMA usage_monitor;
CREATE SCHEMA _usage_monitor;

-- the path of CREATE EXTENSION ends with the schema of btree_gist, where others
-- may have put functions of the same names as those used here
SET LOCAL search_path = pg_catalog, pg_temp;

COMMENT ON SCHEMA usage_monitor IS
    'The ledger for AI spend: insert calls into usage, set prices and quotas, read the views.';
COMMENT ON SCHEMA _usage_monitor IS
    'What usage_monitor keeps for itself; nothing in it is meant to be called or read by name.';

CREATE FUNCTION _usage_monitor._library_version() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_library_version';

COMMENT ON FUNCTION _usage_monitor._library_version() IS
    'The version of the library that the session has loaded; that of the script is pg_extension.extversion.';

CREATE TABLE usage_monitor.setting (
    only_row  boolean NOT NULL DEFAULT true,
    currency  text NOT NULL DEFAULT 'USD',
    time_zone text NOT NULL DEFAULT 'UTC',
    unpriced  text NOT NULL DEFAULT 'record',
    reported_costs text NOT NULL DEFAULT 'prefer',
    CONSTRAINT setting_pkey PRIMARY KEY (only_row),
    CONSTRAINT setting_only_row CHECK (only_row)
);

COMMENT ON TABLE usage_monitor.setting IS
    'The ledger''s settings: one row once configure() was called, defaults before.';
COMMENT ON COLUMN usage_monitor.setting.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN usage_monitor.setting.currency IS 'ISO 4217 code of the currency that costs are kept in; fixed once the ledger has rows.';
COMMENT ON COLUMN usage_monitor.setting.time_zone IS 'Time zone whose days and hours the views show; fixed once the ledger has rows.';
COMMENT ON COLUMN usage_monitor.setting.unpriced IS 'What happens to a call without a price: record (cost NULL, shown in unpriced_usage) or refuse (SQLSTATE UM012).';
COMMENT ON COLUMN usage_monitor.setting.reported_costs IS 'What record() does with what a response says that the provider charged: prefer (cost_source reported, the price book''s figure in list_cost) or ignore (price by the price book).';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.setting', '');

CREATE FUNCTION _usage_monitor._invalidate() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'usage_monitor_invalidate';

COMMENT ON FUNCTION _usage_monitor._invalidate() IS
    'Statement trigger of a table that backends cache: makes every backend read it anew.';

CREATE FUNCTION _usage_monitor._is_restoring() RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'usage_monitor_is_restoring';

COMMENT ON FUNCTION _usage_monitor._is_restoring() IS
    'Whether a dump is being restored, by the settings that it makes; not for functions with a search_path of their own.';

CREATE FUNCTION _usage_monitor._is_time_zone(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_is_time_zone';

COMMENT ON FUNCTION _usage_monitor._is_time_zone(text) IS 'Whether the server knows a time zone of that name.';

CREATE FUNCTION _usage_monitor._quoted(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce('"' || value || '"', 'NULL');

COMMENT ON FUNCTION _usage_monitor._quoted(text) IS 'A value as messages name it.';

CREATE FUNCTION _usage_monitor._check_keyword(what text, value text, owner text, known text[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL OR value <> ALL (known) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown %s %s of %s', what, _usage_monitor._quoted(value), owner),
            HINT = format('Write %s or %s.', array_to_string(trim_array(known, 1), ', '), known[cardinality(known)]);
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_keyword(text, text, text, text[]) IS
    'Refuses an unknown keyword (UM008).';

CREATE FUNCTION _usage_monitor._check_read_committed(name text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'active_sql_transaction',
            MESSAGE = format('%s() must be called at isolation level READ COMMITTED', name),
            HINT = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED;';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_read_committed(text) IS
    'Refuses a function of that name where it would not see what others have committed meanwhile (25001).';

CREATE FUNCTION _usage_monitor._check_currency(name text, code text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF code IS NULL OR code !~ '^[A-Z]{3}$' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "%s" must be a currency code, but is %s', name, _usage_monitor._quoted(code)),
            HINT = 'Write the ISO 4217 code in capitals, for example USD or CNY.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_currency(text, text) IS 'Refuses what is no ISO 4217 code (UM008).';

CREATE FUNCTION _usage_monitor._trimmed(name text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(name, E' \t\n\u000b\f\r');

COMMENT ON FUNCTION _usage_monitor._trimmed(text) IS 'A name without the blanks round it, as the ledger has it.';

CREATE FUNCTION _usage_monitor._check_time_zone(name text, zone text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF zone IS NULL OR NOT _usage_monitor._is_time_zone(zone)
           -- one with digits may be a POSIX rule, by which +05:30 is west of Greenwich
       OR (zone ~ '[0-9]' AND NOT EXISTS (SELECT FROM pg_timezone_names n WHERE lower(n.name) = lower(zone)))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "%s" must be a time zone, but is %s', name, _usage_monitor._quoted(zone)),
            HINT = 'Time zones are listed in pg_timezone_names, for example Asia/Shanghai.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_time_zone(text, text) IS 'Refuses a time zone that the server does not know (UM008).';

-- plpgsql: the tables are made later
CREATE FUNCTION _usage_monitor._ledger_has_rows() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM usage_monitor.usage)
        OR EXISTS (SELECT FROM usage_monitor.archived_partition);
END
$$;

COMMENT ON FUNCTION _usage_monitor._ledger_has_rows() IS 'Has anything been recorded, even if it is archived by now?';

CREATE FUNCTION _usage_monitor._check_setting() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- the row of a dump arrives by INSERT, perhaps after the ledger's
    IF TG_OP <> 'INSERT'
       AND (TG_OP = 'DELETE'
            OR (OLD.currency, OLD.time_zone) IS DISTINCT FROM (NEW.currency, NEW.time_zone))
       AND _usage_monitor._ledger_has_rows()
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM011',
            MESSAGE = 'the ledger''s currency and time zone are fixed once it has rows',
            HINT = 'Views and counters are kept in them. Set both before the first call is recorded.';
    END IF;

    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;

    PERFORM _usage_monitor._check_currency('currency', NEW.currency);
    PERFORM _usage_monitor._check_time_zone('time_zone', NEW.time_zone);
    IF NEW.unpriced IS NULL OR NEW.unpriced NOT IN ('record', 'refuse') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "unpriced" must be record or refuse, but is %s', _usage_monitor._quoted(NEW.unpriced)),
            HINT = 'record keeps calls without a price with cost NULL, refuse does not take them.';
    END IF;
    IF NEW.reported_costs IS NULL OR NEW.reported_costs NOT IN ('prefer', 'ignore') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "reported_costs" must be prefer or ignore, but is %s', _usage_monitor._quoted(NEW.reported_costs)),
            HINT = 'prefer takes what a response says that the provider charged, ignore prices the call by the price book.';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_setting() IS 'Row trigger: what a setting must be, and when it may change.';

CREATE TRIGGER check_setting
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.setting
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._check_setting();

CREATE FUNCTION usage_monitor.ledger_currency() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_ledger_currency';

COMMENT ON FUNCTION usage_monitor.ledger_currency() IS
    'ISO 4217 code of the currency of every cost in the ledger.';

CREATE FUNCTION usage_monitor.ledger_time_zone() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_ledger_time_zone';

COMMENT ON FUNCTION usage_monitor.ledger_time_zone() IS
    'Time zone of the ledger''s days and hours.';

CREATE FUNCTION usage_monitor.ledger_hour(ts timestamptz) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_ledger_hour';

COMMENT ON FUNCTION usage_monitor.ledger_hour(timestamptz) IS
    'The instant at which the hour of the ledger''s clock began.';

CREATE FUNCTION usage_monitor.ledger_day(ts timestamptz) RETURNS date
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_ledger_day';

COMMENT ON FUNCTION usage_monitor.ledger_day(timestamptz) IS
    'The day on the ledger''s calendar.';

/*
 * Ledgers whose calls come together at a hub must not give them the same
 * numbers: each node has a million million of them.  With 9,000 nodes they are
 * still numbers that JSON's readers take for what they are (below 2^53).
 */
CREATE FUNCTION _usage_monitor._number_from(node integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first    CONSTANT bigint := node * 1000000000000;
    own      record;
    is_there boolean;
    next     bigint;
BEGIN
    IF NOT node BETWEEN 0 AND 9000 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "node" must be from 0 to 9000, but is %s', node),
            HINT = 'Number the nodes from 1 on; a ledger by itself, and a hub, is 0.';
    END IF;
    FOR own IN
        SELECT s.seqrelid::regclass AS name,
               coalesce(d.refobjid::regclass, 'usage_monitor.usage') AS numbered,
               coalesce(a.attname, 'usage_id') AS number
          FROM pg_sequence s
          JOIN pg_class c ON c.oid = s.seqrelid
          LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'
          LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE c.relnamespace = 'usage_monitor'::regnamespace
           AND s.seqtypid = 'bigint'::regtype
         ORDER BY 1
    LOOP
        EXECUTE format('SELECT last_value >= $1 AND last_value < $1 + 1000000000000 FROM %s', own.name)
           INTO is_there
          USING first;
        CONTINUE WHEN is_there;
        EXECUTE format('SELECT coalesce(max(%1$I), greatest($1, 1) - 1) + 1 FROM %2$s WHERE %1$I >= $1 AND %1$I < $1 + 1000000000000', own.number, own.numbered)
           INTO next
          USING first;
        EXECUTE format('ALTER SEQUENCE %s RESTART WITH %s', own.name, next);
    END LOOP;
    INSERT INTO usage_monitor.audit_log (what, details)
    VALUES ('configure', jsonb_build_object('node', node));
END
$$;

COMMENT ON FUNCTION _usage_monitor._number_from(integer) IS
    'Numbers what is recorded and made from now on in the range of a node: its number and twelve digits.';

CREATE FUNCTION usage_monitor.configure(
    currency text DEFAULT NULL,
    time_zone text DEFAULT NULL,
    unpriced text DEFAULT NULL,
    reported_costs text DEFAULT NULL,
    node integer DEFAULT NULL
) RETURNS usage_monitor.setting
    -- it writes the settings, which a manager who may execute it cannot
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result   usage_monitor.setting;
    missing  record;
    is_fixed boolean;
BEGIN
    IF num_nonnulls(currency, time_zone) > 0 THEN
        is_fixed := _usage_monitor._ledger_has_rows();
        IF NOT is_fixed THEN
            -- nobody may record a call between the look and the change
            LOCK TABLE usage_monitor.usage IN SHARE MODE;
            is_fixed := _usage_monitor._ledger_has_rows();
        END IF;
        IF is_fixed
           AND (coalesce(configure.currency, usage_monitor.ledger_currency()), coalesce(configure.time_zone, usage_monitor.ledger_time_zone()))
               <> (usage_monitor.ledger_currency(), usage_monitor.ledger_time_zone())
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM011',
                MESSAGE = 'the ledger''s currency and time zone are fixed once it has rows',
                HINT = 'Views and counters are kept in them. Set both before the first call is recorded.';
        END IF;
    END IF;

    IF node IS NOT NULL THEN
        -- two nodes of one number would stop the hub
        IF NOT pg_has_role(session_user, current_user, 'USAGE') THEN
            RAISE EXCEPTION USING
                ERRCODE = 'insufficient_privilege',
                MESSAGE = 'only the owner of the ledger may set the number of a node',
                HINT = 'Leave "node" out, or have the administrator call configure().';
        END IF;
        LOCK TABLE usage_monitor.usage IN SHARE MODE;
        PERFORM _usage_monitor._number_from(node);
    END IF;

    UPDATE usage_monitor.setting s
       SET currency = coalesce(configure.currency, s.currency),
           time_zone = coalesce(configure.time_zone, s.time_zone),
           unpriced = coalesce(configure.unpriced, s.unpriced),
           reported_costs = coalesce(configure.reported_costs, s.reported_costs)
    RETURNING * INTO result;

    IF NOT FOUND THEN
        INSERT INTO usage_monitor.setting (currency, time_zone, unpriced, reported_costs)
        VALUES (coalesce(configure.currency, 'USD'),
                coalesce(configure.time_zone, 'UTC'),
                coalesce(configure.unpriced, 'record'),
                coalesce(configure.reported_costs, 'prefer'))
        RETURNING * INTO result;
    END IF;

    -- without a rate from a price's currency its calls have no cost: said of most prices when a
    -- currency is chosen, and at any time of the vendors in use
    FOR missing IN
        SELECT p.currency,
               count(*) > (SELECT count(*) / 2 FROM usage_monitor.price) AS is_most,
               string_agg(DISTINCT u.provider, ', ' ORDER BY u.provider) AS used
          FROM usage_monitor.price p
          LEFT JOIN (SELECT DISTINCT m.provider
                       FROM usage_monitor.model_usage m
                      WHERE m.unpriced_requests > 0) AS u ON u.provider = p.provider
         WHERE p.currency <> result.currency
           AND NOT EXISTS (
                   SELECT FROM usage_monitor.exchange_rate x
                    WHERE x.from_currency = p.currency AND x.to_currency = result.currency)
         GROUP BY p.currency
         ORDER BY count(*) DESC, p.currency
    LOOP
        missing.is_most := missing.is_most AND configure.currency IS NOT NULL;
        CONTINUE WHEN NOT missing.is_most AND missing.used IS NULL;
        RAISE NOTICE USING
            MESSAGE = format('%s in %s: without an exchange rate to %s, calls at these prices are unpriced',
                             CASE WHEN missing.is_most THEN 'most prices are' ELSE format('prices of %s are', missing.used) END,
                             missing.currency, result.currency),
            HINT = format('INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES (''%s'', ''%s'', ...);',
                          missing.currency, result.currency);
    END LOOP;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.configure(text, text, text, text, integer) IS
    'Sets the ledger''s currency (ISO 4217, default USD), time zone (default UTC), what happens to calls without a price (record or refuse), and to what responses say that the provider charged (prefer or ignore). node: the number of a ledger that a hub subscribes to, from 1 to 9000 (0: of one by itself); what is recorded from then on has numbers of its range, 1000000000000 times node and more; only the ledger''s owner may set it. NULL leaves a setting as it is. A notice names the currencies without an exchange rate to the ledger''s: that of most prices where currency is given, and those of vendors whose calls are unpriced. Errors: UM008 for an unknown value, UM011 for currency or zone once the ledger has rows, 42501 for node.';
