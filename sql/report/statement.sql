/*
 * Statements: what an organisation is charged for a month, line by line, for
 * its accountants.
 *
 * The lines of a month are kept when it is closed.  From then on a statement
 * repeats them as they were, whatever becomes of prices and of the ledger's
 * rows, and what came after is lines of their own.
 */
CREATE TABLE _usage_monitor._closed_month (
    month     date NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _closed_month_pkey PRIMARY KEY (month)
);

COMMENT ON TABLE _usage_monitor._closed_month IS 'The months whose lines are kept in _closed_charge: those that close_period() has closed wholly.';
COMMENT ON COLUMN _usage_monitor._closed_month.month IS 'First day of the month.';
COMMENT ON COLUMN _usage_monitor._closed_month.closed_at IS 'When it was closed.';

SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._closed_month', '');

CREATE TYPE _usage_monitor._month_charge AS (
    month           date,
    org             text COLLATE "C",
    project         text COLLATE "C",
    provider        text COLLATE "C",
    model           text COLLATE "C",
    kind            text,
    meter           text,
    service_tier    text,
    context_from    bigint,
    time_window     text,
    quantity        numeric,
    per             numeric,
    list_unit_price numeric,
    unit_price      numeric,
    discount        numeric,
    price_currency  text,
    exchange_rate   numeric,
    list_cost       numeric,
    cost            numeric,
    corrects        text
);

COMMENT ON TYPE _usage_monitor._month_charge IS 'What was charged in a month, summed up from _charges().';
COMMENT ON COLUMN _usage_monitor._month_charge.quantity IS 'Of usage: how much of the meter; else the number of calls.';
COMMENT ON COLUMN _usage_monitor._month_charge.corrects IS 'Of a correction: the month that it corrects.';

CREATE TABLE _usage_monitor._closed_charge (LIKE _usage_monitor._month_charge);

CREATE INDEX _closed_charge_month ON _usage_monitor._closed_charge (month, org);

COMMENT ON TABLE _usage_monitor._closed_charge IS 'What was charged in a month, as it was when the month was closed.';

SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._closed_charge', '');

-- a barrier: conditions of the reader's come after
CREATE VIEW _usage_monitor._closed_charges WITH (security_barrier = true) AS
SELECT *
  FROM _usage_monitor._closed_charge
 WHERE _usage_monitor._rolled_up(org);

COMMENT ON VIEW _usage_monitor._closed_charges IS 'What the reader may see of _closed_charge.';

CREATE FUNCTION _usage_monitor._closed_at(month date) RETURNS timestamptz
    -- when the books were closed is no secret of anybody's
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT m.closed_at FROM _usage_monitor._closed_month m WHERE m.month = _closed_at.month;
END;

COMMENT ON FUNCTION _usage_monitor._closed_at(date) IS 'When the month that begins on that day was closed; NULL: it is not.';

CREATE FUNCTION _usage_monitor._month_charges(month date, org text DEFAULT NULL) RETURNS SETOF _usage_monitor._month_charge
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT _month_charges.month, c.org, c.project, c.provider, c.model, c.kind, c.meter, c.service_tier, c.context_from, c.time_window,
           CASE WHEN c.kind = 'usage' THEN sum(c.quantity) WHEN c.kind IN ('reported', 'archived', 'unpriced') THEN sum(c.requests) END,
           c.per, c.list_unit_price, c.unit_price, c.discount, c.price_currency, c.exchange_rate,
           trim_scale(sum(c.list_cost)), trim_scale(sum(c.cost)),
           coalesce(substring(c.corrects FROM '^(\d{4}-\d\d)-\d\d$'), c.corrects)
      FROM _usage_monitor._charges(_month_charges.month, (_month_charges.month + interval '1 month')::date, _month_charges.org) AS c
     GROUP BY c.org, c.project, c.provider, c.model, c.kind, c.meter, c.service_tier, c.context_from, c.time_window,
              c.per, c.list_unit_price, c.unit_price, c.discount, c.price_currency, c.exchange_rate, 20;
END;

COMMENT ON FUNCTION _usage_monitor._month_charges(date, text) IS
    'What was charged in the month that begins on that day, by the ledger as it is, of one organisation or of all.';

CREATE FUNCTION _usage_monitor._keep_closed_months(until date) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept date;
BEGIN
    DELETE FROM _usage_monitor._closed_charge c WHERE c.month + interval '1 month' > _keep_closed_months.until + 1;
    DELETE FROM _usage_monitor._closed_month m WHERE m.month + interval '1 month' > _keep_closed_months.until + 1;
    FOR kept IN
        SELECT g.month::date
          FROM generate_series((SELECT min(t.month) FROM usage_monitor.monthly_total t)::timestamp,
                               _keep_closed_months.until + 1 - interval '1 month', interval '1 month') AS g (month)
         WHERE NOT EXISTS (SELECT FROM _usage_monitor._closed_month m WHERE m.month = g.month)
    LOOP
        INSERT INTO _usage_monitor._closed_month (month) VALUES (kept);
        INSERT INTO _usage_monitor._closed_charge SELECT * FROM _usage_monitor._month_charges(kept);
    END LOOP;
END
$$;

COMMENT ON FUNCTION _usage_monitor._keep_closed_months(date) IS
    'Keeps the lines of the months that end by that day, from the first on that has a call, save those that are kept already, and forgets those of later ones.';

CREATE TYPE usage_monitor.statement_line AS (
    line                integer,
    kind                text,
    project             text,
    provider            text,
    model               text,
    service_tier        text,
    meter               text,
    note                text,
    quantity            numeric,
    unit                text,
    per                 numeric,
    list_price          numeric,
    unit_price          numeric,
    price_currency      text,
    exchange_rate       numeric,
    discount_percentage numeric,
    exact_list          numeric,
    exact_amount        numeric,
    list                numeric,
    discount            numeric,
    amount              numeric,
    tax                 numeric,
    total               numeric,
    currency            text
);

COMMENT ON TYPE usage_monitor.statement_line IS 'A line of statement().';
COMMENT ON COLUMN usage_monitor.statement_line.line IS 'Number of the line; those of a closed month keep theirs.';
COMMENT ON COLUMN usage_monitor.statement_line.kind IS 'usage (of a meter, at a price), reported (as the provider charged), difference (what calls cost more or less than the price book says now), archived (of days whose calls were archived and dropped), unpriced (calls without a cost), correction (of a closed month, made in this one) or later (what the month''s calls cost more or less since it was closed).';
COMMENT ON COLUMN usage_monitor.statement_line.project IS 'Project; NULL: of none, or not known any more.';
COMMENT ON COLUMN usage_monitor.statement_line.provider IS 'Who bills.';
COMMENT ON COLUMN usage_monitor.statement_line.model IS 'Model, as the price book calls it.';
COMMENT ON COLUMN usage_monitor.statement_line.service_tier IS 'Service tier of the price.';
COMMENT ON COLUMN usage_monitor.statement_line.meter IS 'What was used, of kind usage.';
COMMENT ON COLUMN usage_monitor.statement_line.note IS 'Context tier or daily window of the price; which month is corrected.';
COMMENT ON COLUMN usage_monitor.statement_line.quantity IS 'How much was used, in unit.';
COMMENT ON COLUMN usage_monitor.statement_line.unit IS 'Tokens, Requests, Seconds, ...';
COMMENT ON COLUMN usage_monitor.statement_line.per IS 'How many units the prices are of.';
COMMENT ON COLUMN usage_monitor.statement_line.list_price IS 'Of so many units, in price_currency, without contract and discount.';
COMMENT ON COLUMN usage_monitor.statement_line.unit_price IS 'Of so many units, in price_currency, by the contract and before the discount.';
COMMENT ON COLUMN usage_monitor.statement_line.price_currency IS 'Currency of the prices.';
COMMENT ON COLUMN usage_monitor.statement_line.exchange_rate IS 'What one unit of it was worth in currency; NULL: it is the same.';
COMMENT ON COLUMN usage_monitor.statement_line.discount_percentage IS 'The organisation''s discount, in percent.';
COMMENT ON COLUMN usage_monitor.statement_line.exact_list IS 'What it would cost without contract and discount, in currency, exactly.';
COMMENT ON COLUMN usage_monitor.statement_line.exact_amount IS 'What it costs, exactly: adds up to the ledger''s cost of the month. NULL: not known.';
COMMENT ON COLUMN usage_monitor.statement_line.list IS 'amount and discount together.';
COMMENT ON COLUMN usage_monitor.statement_line.discount IS 'exact_list less exact_amount, rounded so that the lines add up to the rounded sum; below zero where a contract''s price is above the list''s.';
COMMENT ON COLUMN usage_monitor.statement_line.amount IS 'exact_amount rounded, likewise.';
COMMENT ON COLUMN usage_monitor.statement_line.tax IS 'NULL: to be filled in.';
COMMENT ON COLUMN usage_monitor.statement_line.total IS 'The amount, and the tax once it is filled in.';
COMMENT ON COLUMN usage_monitor.statement_line.currency IS 'The ledger''s currency.';

CREATE FUNCTION _usage_monitor._currency_digits(currency text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
            WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
            ELSE 2 END;

COMMENT ON FUNCTION _usage_monitor._currency_digits(text) IS 'How many decimals a currency has (ISO 4217).';

CREATE FUNCTION _usage_monitor._check_statement(org text, month date) RETURNS date
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(org, '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = 'argument "org" must be an organisation',
            HINT = 'SELECT DISTINCT org FROM usage_monitor.monthly_usage lists them.';
    END IF;
    IF month IS NULL OR NOT isfinite(month) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('argument "month" must be a month, but is %s', coalesce(month::text, 'NULL')),
            HINT = 'Write ''2026-11'', or any day of it.';
    END IF;
    PERFORM _usage_monitor._instant(month);
    RETURN date_trunc('month', month::timestamp)::date;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_statement(text, date) IS
    'The first day of the month; refuses what is not a month (UM001), and an organisation that is NULL or empty (UM004).';

CREATE FUNCTION _usage_monitor._month_of(month text) RETURNS date
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN month ~ '^[0-9]{4}-[0-9]{1,2}$' THEN month || '-01' ELSE month END::date;
EXCEPTION
    WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM001',
            MESSAGE = format('argument "month" must be a month, but is %s', _usage_monitor._quoted(month)),
            HINT = 'Write ''2026-11'', or any day of it.';
END
$$;

COMMENT ON FUNCTION _usage_monitor._month_of(text) IS 'A day of the month that is written so, or as a day. Errors: UM001 it is neither.';

CREATE FUNCTION usage_monitor.statement(org text, month date) RETURNS SETOF usage_monitor.statement_line
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    first_day CONSTANT date := _usage_monitor._check_statement(org, month);
    past_day  CONSTANT date := (first_day + interval '1 month')::date;
    currency  CONSTANT text := usage_monitor.ledger_currency();
    digits    CONSTANT integer := _usage_monitor._currency_digits(currency);
    -- who sees only some of the rows has no use for what all came to
    is_kept   CONSTANT boolean := _usage_monitor._closed_at(first_day) IS NOT NULL AND _usage_monitor._rolled_up(org);
    charges    _usage_monitor._month_charge[];
    by_project boolean;
BEGIN
    IF NOT is_kept THEN
        charges := ARRAY(SELECT c FROM _usage_monitor._month_charges(first_day, statement.org) AS c);
    ELSE
        charges := ARRAY(SELECT ROW(c.*)::_usage_monitor._month_charge
                           FROM _usage_monitor._closed_charges AS c
                          WHERE c.month = first_day AND c.org = statement.org);
        -- the archive knows no projects
        by_project := NOT EXISTS (SELECT FROM _usage_monitor._archived_model a
                                   WHERE a.org = statement.org AND a.day >= first_day AND a.day < past_day);
        charges := charges || ARRAY(
            SELECT ROW(first_day, statement.org, n.project, n.provider, n.model, 'later', NULL, NULL, NULL, NULL,
                       NULL, NULL, NULL, NULL, NULL, currency, NULL,
                       trim_scale(sum(n.cost)), trim_scale(sum(n.cost)), NULL)::_usage_monitor._month_charge
              FROM (
                  SELECT CASE WHEN by_project THEN u.project END AS project, u.provider, coalesce(u.resolved_model, u.model) AS model, u.cost
                    FROM usage_monitor.usage u
                   WHERE u.ts >= _usage_monitor._day_start(first_day)
                     AND u.ts < _usage_monitor._day_start(past_day)
                     AND u.org = statement.org
                  UNION ALL
                  SELECT NULL, a.key2, coalesce(a.key3, a.key1), a.cost
                    FROM _usage_monitor._archived_model a
                   WHERE a.org = statement.org AND a.day >= first_day AND a.day < past_day
                  UNION ALL
                  SELECT CASE WHEN by_project THEN c.project END, c.provider, c.model, - c.cost
                    FROM unnest(charges) AS c) AS n
             GROUP BY n.project, n.provider, n.model
            HAVING sum(n.cost) <> 0);
    END IF;

    RETURN QUERY
    WITH numbered AS (
        SELECT c.*,
               row_number() OVER (ORDER BY array_position('{usage, reported, difference, archived, unpriced, correction, later}'::text[], c.kind),
                                           c.project NULLS FIRST, c.provider, c.model, c.meter, c.service_tier, c.context_from, c.time_window,
                                           c.price_currency, c.exchange_rate, c.discount, c.list_unit_price, c.unit_price, c.per, c.corrects)::integer AS line
          FROM unnest(charges) AS c
    ), rounded AS (
        -- a line is what the sum so far grows by, when rounded: so the lines add up to the rounded sum,
        -- and a line without a discount shows none
        SELECT n.*,
               round(sum(n.list_cost - n.cost) OVER sofar, digits) - coalesce(round(sum(n.list_cost - n.cost) OVER before, digits), 0) AS less,
               round(sum(n.cost) OVER sofar, digits) - coalesce(round(sum(n.cost) OVER before, digits), 0) AS amount
          FROM numbered n
        WINDOW sofar AS (ORDER BY n.line),
               before AS (ORDER BY n.line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
    SELECT r.line, r.kind, r.project, r.provider, r.model, r.service_tier, r.meter,
           CASE WHEN r.kind = 'correction' THEN 'of ' || r.corrects
                ELSE nullif(concat_ws(', ', CASE WHEN r.context_from > 0 THEN format('above %s input tokens', r.context_from) END, r.time_window), '') END,
           r.quantity,
           CASE WHEN r.kind = 'usage' THEN _usage_monitor._meter_unit(r.meter) WHEN r.quantity IS NOT NULL THEN 'Requests' END,
           r.per,
           trim_scale(r.list_unit_price * r.per), trim_scale(r.unit_price * r.per),
           r.price_currency, r.exchange_rate, r.discount,
           r.list_cost, r.cost,
           CASE WHEN r.cost IS NOT NULL THEN r.amount + r.less END,
           CASE WHEN r.cost IS NOT NULL THEN r.less END,
           CASE WHEN r.cost IS NOT NULL THEN r.amount END,
           NULL::numeric,
           CASE WHEN r.cost IS NOT NULL THEN r.amount END,
           currency
      FROM rounded r
     ORDER BY r.line;
END
$$;

COMMENT ON FUNCTION usage_monitor.statement(text, date) IS
    'What an organisation is charged for the month of the ledger''s calendar that the day falls in: a line for each project, model, meter and price, with its list price, discount and amount; exact, and rounded so that the lines add up to the rounded sum. A month that close_period() has closed repeats its lines to the digit; what came later is lines of their own. Errors: UM001 no month, UM004 no organisation.';

CREATE FUNCTION usage_monitor.statement(org text, month text) RETURNS SETOF usage_monitor.statement_line
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM usage_monitor.statement(statement.org, _usage_monitor._month_of(statement.month));
END;

COMMENT ON FUNCTION usage_monitor.statement(text, text) IS
    'The same for a month that is written ''2026-11'', or as a day. Errors: as above, and UM001 it is neither.';

/*
 * The same as JSON, as a file for a spreadsheet, and as a page to print.
 */
CREATE FUNCTION usage_monitor.statement_json(org text, month date) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day CONSTANT date := _usage_monitor._check_statement(org, month);
    past_day  CONSTANT date := (first_day + interval '1 month')::date;
    closed_at CONSTANT timestamptz := _usage_monitor._closed_at(first_day);
    lines     CONSTANT usage_monitor.statement_line[] := ARRAY(SELECT s FROM usage_monitor.statement(org, month) AS s);
BEGIN
    -- what a closed month says is the same whenever it is asked
    RETURN jsonb_build_object(
               'org', org,
               'month', to_char(first_day, 'YYYY-MM'),
               'first_day', to_char(first_day, 'YYYY-MM-DD'),
               'last_day', to_char(past_day - 1, 'YYYY-MM-DD'),
               'time_zone', usage_monitor.ledger_time_zone(),
               'currency', usage_monitor.ledger_currency(),
               'closed_at', _usage_monitor._iso_time(closed_at),
               'as_of', CASE WHEN closed_at IS NULL THEN _usage_monitor._iso_time(now()) END)
           || (SELECT jsonb_build_object(
                          'lines', coalesce(jsonb_agg(to_jsonb(l) - 'currency' ORDER BY l.line), '[]'),
                          'list', coalesce(sum(l.list), 0),
                          'discount', coalesce(sum(l.discount), 0),
                          'amount', coalesce(sum(l.amount), 0),
                          'tax', NULL,
                          'total', coalesce(sum(l.total), 0),
                          'exact_amount', coalesce(trim_scale(sum(l.exact_amount)), 0),
                          'unpriced_requests', coalesce(sum(l.quantity) FILTER (WHERE l.kind = 'unpriced'), 0))
                 FROM unnest(lines) AS l)
           || jsonb_build_object('by_project', (
                  SELECT coalesce(jsonb_agg(jsonb_build_object('project', p.project, 'amount', p.amount) ORDER BY p.project NULLS FIRST), '[]')
                    FROM (SELECT l.project, coalesce(sum(l.amount), 0) AS amount FROM unnest(lines) AS l GROUP BY l.project) AS p));
END
$$;

COMMENT ON FUNCTION usage_monitor.statement_json(text, date) IS
    'The statement as JSON: its month, lines, sums, and amounts by project. Money is numbers with all their digits. Errors: as above.';

CREATE FUNCTION usage_monitor.statement_json(org text, month text) RETURNS jsonb
    LANGUAGE sql STABLE
RETURN usage_monitor.statement_json(org, _usage_monitor._month_of(month));

COMMENT ON FUNCTION usage_monitor.statement_json(text, text) IS 'The same for a month that is written ''2026-11'', or as a day. Errors: as above.';

CREATE FUNCTION usage_monitor.statement_csv(org text, month date, decimal_mark text DEFAULT '.') RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day CONSTANT date := _usage_monitor._check_statement(org, month);
    columns   CONSTANT text[] := '{line, kind, project, provider, model, service_tier, meter, note, quantity, unit, per, list_price, unit_price,
                                   price_currency, exchange_rate, discount_percentage, list, discount, amount, tax, total, currency, exact_amount}';
    lines     text[];
BEGIN
    PERFORM _usage_monitor._check_decimal_mark(decimal_mark);
    EXECUTE 'SELECT array_agg(concat_ws($5, $4, _usage_monitor._spreadsheet_cell($1, $3), '
            || (SELECT string_agg(format('_usage_monitor._spreadsheet_cell(s.%I, $3)', c.name), ', ' ORDER BY c.n)
                  FROM unnest(columns) WITH ORDINALITY AS c (name, n))
            || ') ORDER BY s.line) FROM usage_monitor.statement($1, $2) AS s'
       INTO lines
      USING org, month, decimal_mark, to_char(first_day, 'YYYY-MM'), _usage_monitor._cell_separator(decimal_mark);
    RETURN _usage_monitor._spreadsheet('{month, org}' || columns, coalesce(lines, '{}'), decimal_mark);
END
$$;

COMMENT ON FUNCTION usage_monitor.statement_csv(text, date, text) IS
    'The statement as a CSV file that spreadsheets open right: UTF-8, amounts rounded (exact_amount is not), names that begin like a formula after an apostrophe. decimal_mark '','' is for spreadsheets that write 1,5: cells are then separated by semicolons. Errors: as above, and UM008 another mark.';

CREATE FUNCTION usage_monitor.statement_csv(org text, month text, decimal_mark text DEFAULT '.') RETURNS text
    LANGUAGE sql STABLE
RETURN usage_monitor.statement_csv(org, _usage_monitor._month_of(month), decimal_mark);

COMMENT ON FUNCTION usage_monitor.statement_csv(text, text, text) IS 'The same for a month that is written ''2026-11'', or as a day. Errors: as above.';

CREATE FUNCTION _usage_monitor._html(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(replace(replace(coalesce(value, ''), '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;');

COMMENT ON FUNCTION _usage_monitor._html(text) IS 'A text as HTML has it.';

CREATE FUNCTION _usage_monitor._grouped(value numeric) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- thousands apart, whatever the server's locale is, and the decimals as they are
RETURN CASE WHEN value < 0 THEN '-' ELSE '' END
       || regexp_replace(trunc(abs(value))::text, '(\d)(?=(\d{3})+$)', '\1,', 'g')
       || coalesce(substring(abs(value)::text FROM '\..*$'), '');

COMMENT ON FUNCTION _usage_monitor._grouped(numeric) IS 'A number for people: 1,234,567.89.';

CREATE FUNCTION usage_monitor.statement_html(org text, month date) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
DECLARE
    s       CONSTANT jsonb := usage_monitor.statement_json(org, month);
    heading CONSTANT text := _usage_monitor._html(format('%s, %s', org, s ->> 'month'));
    body    text;
BEGIN
    SELECT string_agg(format('<tr><td>%s<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s</tr>',
                             l.line,
                             _usage_monitor._html(l.project),
                             _usage_monitor._html(concat_ws(' ', l.provider, l.model)),
                             _usage_monitor._html(concat_ws(', ',
                                 CASE l.kind WHEN 'usage' THEN replace(l.meter, '_', ' ')
                                             WHEN 'reported' THEN 'as the provider charged'
                                             WHEN 'difference' THEN 'by the prices that held when recorded'
                                             WHEN 'unpriced' THEN 'no price yet'
                                             WHEN 'later' THEN 'since the month was closed'
                                             ELSE l.kind END,
                                 nullif(l.service_tier, 'standard'), l.note)),
                             concat_ws(' ', _usage_monitor._grouped(l.quantity), lower(l.unit)),
                             CASE WHEN l.kind = 'usage'
                                  THEN concat_ws(' ', _usage_monitor._grouped(l.unit_price), _usage_monitor._html(l.price_currency),
                                                 'for ' || _usage_monitor._grouped(l.per), 'at ' || l.exchange_rate) END,
                             _usage_monitor._grouped(l.list),
                             _usage_monitor._grouped(l.discount),
                             _usage_monitor._grouped(l.amount)), E'\n' ORDER BY l.line)
      INTO body
      FROM jsonb_populate_recordset(NULL::usage_monitor.statement_line, s -> 'lines') AS l;

    RETURN format($page$<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>%s</title>
<style>
body { font: 10pt/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #111; background: #fff; }
table { border-collapse: collapse; width: 100%%; }
th, td { text-align: left; vertical-align: top; padding: .2em .6em; border-bottom: 1px solid #ccc; overflow-wrap: anywhere; }
td:nth-child(n + 5), th:nth-child(n + 5) { text-align: right; font-variant-numeric: tabular-nums; }
tfoot { display: table-row-group; font-weight: bold; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
@page { size: A4 landscape; margin: 15mm; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
</style>
<h1>%s</h1>
<p>%s to %s, %s. Amounts in %s. %s</p>
<table>
<thead><tr><th>Line<th>Project<th>Model<th>What<th>Quantity<th>Unit price<th>List<th>Discount<th>Amount</tr></thead>
<tbody>
%s
</tbody>
<tfoot>
<tr><td colspan="6">Sum<td>%s<td>%s<td>%s</tr>
<tr><td colspan="8">Tax<td></tr>
<tr><td colspan="8">Total<td>%s</tr>
</tfoot>
</table>
%s</html>
$page$,
        heading, heading,
        s ->> 'first_day', s ->> 'last_day', _usage_monitor._html(s ->> 'time_zone'), s ->> 'currency',
        CASE WHEN s ->> 'closed_at' IS NULL THEN 'The month is not closed; as of ' || (s ->> 'as_of') || '.'
             ELSE 'Closed at ' || (s ->> 'closed_at') || '.' END,
        body,
        _usage_monitor._grouped((s ->> 'list')::numeric),
        _usage_monitor._grouped((s ->> 'discount')::numeric),
        _usage_monitor._grouped((s ->> 'amount')::numeric),
        _usage_monitor._grouped((s ->> 'total')::numeric),
        CASE WHEN (s ->> 'unpriced_requests')::numeric > 0
             THEN format(E'<p>Calls that have no price yet, and are not in the sum: %s.</p>\n', _usage_monitor._grouped((s ->> 'unpriced_requests')::numeric))
             ELSE '' END);
END
$$;

COMMENT ON FUNCTION usage_monitor.statement_html(text, date) IS
    'The statement as a page to print, or to make a PDF of: HTML that refers to nothing else. Errors: as above.';

CREATE FUNCTION usage_monitor.statement_html(org text, month text) RETURNS text
    LANGUAGE sql STABLE
RETURN usage_monitor.statement_html(org, _usage_monitor._month_of(month));

COMMENT ON FUNCTION usage_monitor.statement_html(text, text) IS 'The same for a month that is written ''2026-11'', or as a day. Errors: as above.';
