/*
 * The reference part of README.md in Markdown, read from the catalog and its
 * comments, which everything public must have.  Private names begin with _.
 * Run by test/reference.
 */
\pset tuples_only on
\pset format unaligned
SET search_path = pg_catalog, pg_temp;
SET quote_all_identifiers = off;

-- Text for a cell of a table
CREATE FUNCTION pg_temp.cell(text) RETURNS text LANGUAGE sql
RETURN replace(coalesce($1, ''), '|', '\|');

-- As one would write them
CREATE FUNCTION pg_temp.type_name(oid, integer) RETURNS text LANGUAGE sql
RETURN replace(replace(format_type($1, $2), 'timestamp with time zone', 'timestamptz'), ' without time zone', '');
CREATE FUNCTION pg_temp.expression(text) RETURNS text LANGUAGE sql
RETURN regexp_replace($1, '^(NULL|''[^'']*'')::[a-z ]+$', '\1');

CREATE TEMP VIEW relation AS
SELECT c.oid, c.relname, c.relkind,
       CASE c.relkind WHEN 'c' THEN obj_description(c.reltype, 'pg_type')
                      ELSE obj_description(c.oid, 'pg_class')
       END AS comment
FROM pg_class AS c
WHERE c.relnamespace = 'usage_monitor'::regnamespace
  AND c.relkind IN ('r', 'p', 'v', 'c')
  AND NOT c.relispartition
  AND c.relname NOT LIKE '\_%';

CREATE TEMP VIEW relation_column AS
SELECT r.relname, r.relkind, a.attnum, a.attname, a.attnotnull,
       pg_temp.type_name(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attidentity <> '' THEN 'next number'
            ELSE pg_temp.expression(pg_get_expr(d.adbin, d.adrelid))
       END AS default_value,
       col_description(r.oid, a.attnum) AS comment
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum;

CREATE TEMP VIEW public_function AS
SELECT p.*, obj_description(p.oid, 'pg_proc') AS comment
FROM pg_proc AS p
WHERE p.pronamespace = 'usage_monitor'::regnamespace
  AND p.proname NOT LIKE '\_%';

DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(name, ', ') INTO missing
    FROM (
        SELECT proname FROM pg_temp.public_function WHERE comment IS NULL
        UNION ALL
        SELECT relname FROM pg_temp.relation WHERE comment IS NULL
        UNION ALL
        SELECT relname || '.' || attname FROM pg_temp.relation_column WHERE comment IS NULL
    ) AS uncommented (name);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'COMMENT ON is missing for %', missing;
    END IF;
END
$$;

\qecho '### Functions'
\qecho
\qecho 'Every argument with a default may be left out, and named: `cost => 0.02`.'

SELECT format(E'\n#### %s\n\n```sql\n%s(%s)\n    RETURNS %s\n```\n\n%s',
              p.proname, p.proname, arguments.list,
              CASE WHEN arguments.results IS NULL
                   THEN replace(pg_get_function_result(p.oid), 'timestamp with time zone', 'timestamptz')
                   ELSE format(E'TABLE (\n        %s\n    )', arguments.results)
              END,
              p.comment)
FROM public_function AS p
CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) FILTER (WHERE is_input) > 3
                THEN format(E'\n    %s\n', string_agg(declaration, E',\n    ' ORDER BY n) FILTER (WHERE is_input))
                ELSE coalesce(string_agg(declaration, ', ' ORDER BY n) FILTER (WHERE is_input), '')
           END AS list,
           string_agg(declaration, E',\n        ' ORDER BY n) FILTER (WHERE NOT is_input) AS results
    FROM (
        SELECT n,
               coalesce(p.proargmodes[n], 'i') IN ('i', 'v') AS is_input,
               concat_ws(' ', CASE p.proargmodes[n] WHEN 'v' THEN 'VARIADIC' END, quote_ident(p.proargnames[n]), pg_temp.type_name(type, NULL),
                         'DEFAULT ' || pg_temp.expression(pg_get_function_arg_default(p.oid, n::integer))) AS declaration
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY AS t (type, n)
    ) AS a
) AS arguments
ORDER BY p.proname COLLATE "C", p.oid;

\qecho
\qecho '### Tables and types'

SELECT format(E'\n#### %s\n\n%s\n\n| column | type | default | |\n|---|---|---|---|\n%s',
              r.relname, r.comment,
              (SELECT string_agg(
                          format('| `%s` | %s | %s | %s |', c.attname, c.type,
                                 CASE WHEN c.default_value IS NOT NULL THEN '`' || pg_temp.cell(c.default_value) || '`'
                                      WHEN c.attnotnull AND c.comment !~ 'by the extension' THEN 'required'
                                      ELSE ''
                                 END,
                                 pg_temp.cell(c.comment)),
                          E'\n' ORDER BY c.attnum)
               FROM relation_column AS c
               WHERE c.relname = r.relname))
FROM relation AS r
WHERE r.relkind <> 'v'
ORDER BY r.relkind = 'c', r.relname = 'usage' DESC, r.relname COLLATE "C";

\qecho
\qecho '### Views'
\qecho
SELECT string_agg(format('`%s`', c.attname), ', ' ORDER BY c.attnum) AS measures
FROM relation_column AS c
WHERE c.relname = 'daily_usage' AND c.attname NOT IN ('day', 'org') \gset
\qecho '*Measures* are' :measures.
\qecho
\qecho '| view | what it shows | columns |'
\qecho '|---|---|---|'

SELECT format('| `%s` | %s | %s |', r.relname, pg_temp.cell(r.comment),
              replace((SELECT string_agg(format('`%s`', c.attname), ', ' ORDER BY c.attnum)
                       FROM relation_column AS c
                       WHERE c.relname = r.relname),
                      :'measures', '*measures*'))
FROM relation AS r
WHERE r.relkind = 'v'
ORDER BY r.relname COLLATE "C";

\qecho
\qecho 'A column means the same wherever it appears; where it does not, the views are named.'
\qecho
\qecho '| column | type | | in |'
\qecho '|---|---|---|---|'

SELECT format('| `%s` | %s | %s | %s |', c.attname, c.type, pg_temp.cell(c.comment),
              CASE WHEN count(*) OVER (PARTITION BY c.attname) > 1 THEN c.views END)
FROM (
    SELECT attname, type, comment,
           string_agg(format('`%s`', relname), ', ' ORDER BY relname COLLATE "C") AS views
    FROM relation_column
    WHERE relkind = 'v'
    GROUP BY attname, type, comment
) AS c
ORDER BY c.attname COLLATE "C", c.views;
