/*
 * A page of the reference in Markdown, read from the catalog and its
 * comments, which everything public must have.  Run by test/reference, with
 * part set to functions, tables or views.
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

SELECT :'part' = 'functions' AS functions, :'part' = 'tables' AS tables, :'part' = 'views' AS views \gset

\if :functions
\qecho 'Every argument with a default may be left out, and named: `cost => 0.02`.'

-- Functions of one name, one result and the same names of arguments are one
-- entry: "at timestamptz | date" takes either.
SELECT format(E'\n## %s\n\n```sql\n%s(%s)\n    RETURNS %s\n```\n\n%s', f.proname, f.proname, f.arguments, f.results,
              (SELECT string_agg(CASE WHEN differing IS NOT NULL THEN format('*%s*: ', pg_temp.type_name(p.proargtypes[differing], NULL)) ELSE '' END
                                 || p.comment,
                                 E'\n\n' ORDER BY p.oid)
               FROM public_function AS p,
                    (SELECT min(n) - 1 AS differing
                     FROM (SELECT t.n
                           FROM pg_proc AS q, unnest(q.proargtypes) WITH ORDINALITY AS t (type, n)
                           WHERE q.oid = ANY (f.oids)
                           GROUP BY t.n
                           HAVING count(DISTINCT t.type) > 1) AS d) AS d
               WHERE p.oid = ANY (f.oids)))
FROM (
    SELECT proname, oids,
           CASE WHEN count(*) FILTER (WHERE is_input) > 3
                THEN format(E'\n    %s\n', string_agg(declaration, E',\n    ' ORDER BY n) FILTER (WHERE is_input))
                ELSE coalesce(string_agg(declaration, ', ' ORDER BY n) FILTER (WHERE is_input), '')
           END AS arguments,
           coalesce(E'TABLE (\n        ' || string_agg(declaration, E',\n        ' ORDER BY n) FILTER (WHERE NOT is_input)
                    || E'\n    )',
                    replace(pg_get_function_result(oids[1]), 'timestamp with time zone', 'timestamptz')) AS results
    FROM (
        SELECT g.proname, g.oids, a.n,
               bool_and(a.mode IN ('i', 'v')) AS is_input,
               concat_ws(' ', CASE min(a.mode) WHEN 'v' THEN 'VARIADIC' END, quote_ident(a.name),
                         (SELECT string_agg(type, ' | ' ORDER BY first)
                          FROM (SELECT type, min(n) AS first
                                FROM unnest(array_agg(a.type ORDER BY a.oid)) WITH ORDINALITY AS t (type, n)
                                GROUP BY type) AS t),
                         'DEFAULT ' || min(a.default_value)) AS declaration
        FROM (
            SELECT proname, array_agg(oid ORDER BY oid) AS oids
            FROM public_function
            GROUP BY proname, proargnames, proretset,
                     CASE WHEN prorettype <> 'record'::regtype THEN prorettype END
        ) AS g
        LEFT JOIN LATERAL (
            SELECT p.oid, t.n, coalesce(p.proargmodes[t.n], 'i') AS mode, p.proargnames[t.n] AS name,
                   pg_temp.type_name(t.type, NULL) AS type,
                   pg_temp.expression(pg_get_function_arg_default(p.oid, t.n::integer)) AS default_value
            FROM public_function AS p,
                 unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY AS t (type, n)
            WHERE p.oid = ANY (g.oids)
        ) AS a ON true
        GROUP BY g.proname, g.oids, a.n, a.name
    ) AS d
    GROUP BY proname, oids
) AS f
ORDER BY f.proname COLLATE "C", f.oids;
\endif

\if :tables
\qecho 'The ledger comes first.'

SELECT format(E'\n## %s\n\n%s\n\n| column | type | default | |\n|---|---|---|---|\n%s',
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
\endif

\if :views
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
\endif
