/*
 * A column means the same in every table, view and type that has it, and is
 * described once: by the comments that are given, as {name, comment} pairs, or
 * as the table or view is that it comes from.  What has a comment keeps it.
 */
-- for this script alone, which drops it at its end
CREATE FUNCTION _usage_monitor._describe(relations text[], comments text[], source text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT r.name AS relation, a.attname, coalesce(c.comment, col_description(s.attrelid, s.attnum)) AS comment
          FROM unnest(relations) AS r (name)
          JOIN pg_attribute a
            ON a.attrelid = format('usage_monitor.%I', r.name)::regclass
           AND a.attnum > 0
          LEFT JOIN (SELECT comments[i][1] AS name, comments[i][2] AS comment FROM generate_subscripts(comments, 1) AS i) c
            ON c.name = a.attname
          LEFT JOIN pg_attribute s
            ON s.attrelid = ('usage_monitor.' || source)::regclass
           AND s.attname = a.attname
         WHERE col_description(a.attrelid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN usage_monitor.%I.%I IS %L', col.relation, col.attname, col.comment);
    END LOOP;
END
$$;
