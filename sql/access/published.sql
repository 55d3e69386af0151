/*
 * Publications of all tables, on both sides.  What a dump does not have, as it
 * is derived or shipped, each server has for itself: what is replicated of it
 * is passed over.  And every row tells which it is when it changes.
 */
DO $$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT c.oid::regclass AS name,
               -- of a table that is dumped in part, the rest: the condition begins with a column
               regexp_replace(e.condition, '^WHERE ', '') AS condition,
               NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AND c.relreplident = 'd' AS is_nameless
          FROM pg_class c
          LEFT JOIN (SELECT t.oid, t.condition
                       FROM pg_extension x
                      CROSS JOIN LATERAL unnest(x.extconfig, x.extcondition) AS t (oid, condition)
                      WHERE x.extname = 'usage_monitor') e ON e.oid = c.oid
         WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
           AND c.relkind = 'r'
           AND NOT c.relispartition
    LOOP
        IF own.is_nameless THEN
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', own.name);
        END IF;
        CONTINUE WHEN own.condition = '';   -- all of it is dumped
        EXECUTE format('CREATE TRIGGER pass_over BEFORE INSERT ON %s FOR EACH ROW %s EXECUTE FUNCTION _usage_monitor._pass_over()',
                       own.name, 'WHEN (NOT (NEW.' || own.condition || '))');
        EXECUTE format('CREATE TRIGGER pass_over_changes BEFORE UPDATE OR DELETE ON %s FOR EACH ROW %s EXECUTE FUNCTION _usage_monitor._pass_over()',
                       own.name, 'WHEN (NOT (OLD.' || own.condition || '))');
        EXECUTE format('ALTER TABLE %1$s ENABLE REPLICA TRIGGER pass_over, ENABLE REPLICA TRIGGER pass_over_changes', own.name);
    END LOOP;
END
$$;
