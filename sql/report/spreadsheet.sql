/*
 * Files for spreadsheets: CSV that they open right, with what people read
 * rounded, and nothing that they would take for a formula.
 */
CREATE FUNCTION _usage_monitor._cell_separator(decimal_mark text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE decimal_mark WHEN ',' THEN ';' ELSE ',' END;

COMMENT ON FUNCTION _usage_monitor._cell_separator(text) IS 'What is between cells, where numbers have that decimal mark.';

CREATE FUNCTION _usage_monitor._spreadsheet_cell(value text, decimal_mark text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- a spreadsheet takes what begins so for a formula, and runs it
RETURN _usage_monitor._csv_cell(CASE WHEN value ~ '^[=+@\t\r\n-]' THEN '''' || value ELSE value END,
                                _usage_monitor._cell_separator(decimal_mark));

COMMENT ON FUNCTION _usage_monitor._spreadsheet_cell(text, text) IS 'A text for a spreadsheet, which does not take it for a formula.';

CREATE FUNCTION _usage_monitor._spreadsheet_cell(value numeric, decimal_mark text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(replace(value::text, '.', decimal_mark), '');

COMMENT ON FUNCTION _usage_monitor._spreadsheet_cell(numeric, text) IS 'A number for a spreadsheet, with that decimal mark.';

CREATE FUNCTION _usage_monitor._spreadsheet(header text[], lines text[], decimal_mark text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
BEGIN
    -- Excel reads UTF-8 only where this stands before it; other encodings of a client have no such character
    RETURN CASE WHEN getdatabaseencoding() = 'UTF8' AND pg_client_encoding() IN ('UTF8', 'SQL_ASCII') THEN convert_from('\xefbbbf', 'UTF8') ELSE '' END
           || array_to_string(array_to_string(header, _usage_monitor._cell_separator(decimal_mark)) || lines, E'\n');
END
$$;

COMMENT ON FUNCTION _usage_monitor._spreadsheet(text[], text[], text) IS 'The text of a CSV file that spreadsheets open right.';

CREATE FUNCTION _usage_monitor._check_decimal_mark(decimal_mark text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF decimal_mark IS NULL OR decimal_mark NOT IN ('.', ',') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('argument "decimal_mark" must be a point or a comma, but is %s', _usage_monitor._quoted(decimal_mark)),
            HINT = 'Give '','' for spreadsheets that write 1,5; cells are then separated by semicolons.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_decimal_mark(text) IS 'Refuses what is neither point nor comma (UM008).';

CREATE FUNCTION usage_monitor.usage_csv(
    "from" date,
    "to" date,
    group_by text DEFAULT 'day',
    org text DEFAULT NULL,
    decimal_mark text DEFAULT '.'
) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    zone      CONSTANT text := usage_monitor.ledger_time_zone();
    mark      CONSTANT text := decimal_mark;
    by_time   CONSTANT boolean := coalesce(group_by IN ('hour', 'day', 'week', 'month'), false);
    separator CONSTANT text := _usage_monitor._cell_separator(mark);
    lines     text[] := '{}';
    part      record;
BEGIN
    PERFORM _usage_monitor._check_decimal_mark(mark);
    PERFORM _usage_monitor._check_days("from", "to");
    -- each month by itself, for people group by it
    FOR part IN
        SELECT greatest(usage_csv."from", m.month::date) AS first_day,
               least(usage_csv."to", (m.month + interval '1 month')::date) AS past_day
          FROM generate_series(date_trunc('month', usage_csv."from"::timestamp), usage_csv."to" - interval '1 day', interval '1 month') AS m (month)
         WHERE NOT by_time
        UNION ALL
        SELECT usage_csv."from", usage_csv."to" WHERE by_time
    LOOP
        lines := lines || ARRAY(
            SELECT concat_ws(separator,
                       to_char(s.period_start AT TIME ZONE zone, 'YYYY-MM'),
                       _usage_monitor._spreadsheet_cell(s.org, mark),
                       _usage_monitor._spreadsheet_cell(s.provider, mark),
                       _usage_monitor._spreadsheet_cell(s.key, mark),
                       _usage_monitor._spreadsheet_cell(s.name, mark),
                       s.requests, s.errors,
                       _usage_monitor._spreadsheet_cell(s.success_rate, mark),
                       s.input_tokens, s.output_tokens, s.cache_read_input_tokens, s.cache_creation_input_tokens,
                       s.reasoning_output_tokens, s.total_tokens,
                       _usage_monitor._spreadsheet_cell(s.cost, mark),
                       _usage_monitor._spreadsheet_cell(s.cost_percentage, mark),
                       s.currency,
                       _usage_monitor._spreadsheet_cell(round(s.avg_duration_ms::numeric / 1000, 2), mark),
                       s.unpriced_requests, s.cached_requests)
              FROM usage_monitor.usage_between(part.first_day, part.past_day, usage_csv.group_by, usage_csv.org) AS s);
    END LOOP;
    RETURN _usage_monitor._spreadsheet(
        ARRAY['month', 'org', 'provider', 'key', CASE WHEN by_time THEN 'period' ELSE group_by END, 'requests', 'errors', 'success_rate', 'input_tokens', 'output_tokens',
              'cache_read_input_tokens', 'cache_creation_input_tokens', 'reasoning_output_tokens', 'total_tokens', 'cost', 'cost_percentage',
              'currency', 'avg_duration_s', 'unpriced_requests', 'cached_requests'],
        lines, mark);
END
$$;

COMMENT ON FUNCTION usage_monitor.usage_csv(date, date, text, text, text) IS
    'usage_between() as a CSV file that spreadsheets open right: UTF-8, by the ledger''s calendar, average durations in seconds to two decimals, costs exact, names that begin like a formula after an apostrophe. What is not grouped by time is so for each month by itself, and cost_percentage is of the month; a column has the month. decimal_mark '','' is for spreadsheets that write 1,5: cells are then separated by semicolons. Errors: UM001 not a range of days, UM008 unknown group_by, or another mark.';
