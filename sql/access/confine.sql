/*
 * What who is confined to organisations sees of each table, and what he may
 * write to it if he is granted to write.  Tables that have rollups of calls
 * say it themselves (sql/rollup/rollup.sql).
 *
 * These policies hold once row security is enabled, which _confine() sees to.
 * For the ledger two: one lets all through unless it has policies of its
 * owner's, who then say what passes, as PostgreSQL has it; the other one
 * restricts that.
 */
CREATE POLICY _open ON usage_monitor.usage USING (_usage_monitor._is_open());
CREATE POLICY _own ON usage_monitor.usage AS RESTRICTIVE USING (_usage_monitor._own(org));

CREATE TABLE _usage_monitor._confined_table (
    name   text NOT NULL,
    sees   text NOT NULL,
    writes text,
    CONSTRAINT _confined_table_pkey PRIMARY KEY (name)
);

COMMENT ON TABLE _usage_monitor._confined_table IS
    'Tables that have row security while roles are confined to organisations.';
COMMENT ON COLUMN _usage_monitor._confined_table.name IS 'Name of the table, with its schema.';
COMMENT ON COLUMN _usage_monitor._confined_table.sees IS 'By which condition who is confined sees a row.';
COMMENT ON COLUMN _usage_monitor._confined_table.writes IS 'By which he may write it, if he is granted to; NULL: none.';

INSERT INTO _usage_monitor._confined_table (name, sees, writes) VALUES
    -- those on an organisation are the platform's, those that it has made count its calls alone
    ('usage_monitor.quota',
        'org = ANY (_usage_monitor._own_orgs())
         OR (scope = ''org'' AND org IS NULL AND (subject IS NULL OR subject = ANY (_usage_monitor._own_orgs())))',
        'org = ANY (_usage_monitor._own_orgs(''manager'')) AND overrides IS NULL'),
    ('_usage_monitor._quota_birth',
        'quota_id IN (SELECT q.quota_id FROM usage_monitor.quota q)', NULL),
    ('usage_monitor.quota_raise',
        'quota_id IN (SELECT q.quota_id FROM usage_monitor.quota q)', NULL),
    -- a quota that he sees is of an organisation, or counts organisations; what was held or adjusted
    -- while it counted another's calls stays that one's
    ('_usage_monitor._counter_row',
        'EXISTS (SELECT FROM usage_monitor.quota q
                  WHERE q.quota_id = _counter_row.quota_id
                    AND (q.org IS NOT NULL OR _counter_row.subject = ANY (_usage_monitor._own_orgs())))', NULL),
    ('_usage_monitor._reservation_part',
        'EXISTS (SELECT FROM usage_monitor.quota q
                  WHERE q.quota_id = _reservation_part.quota_id
                    AND (q.org IS NOT NULL OR _reservation_part.subject = ANY (_usage_monitor._own_orgs())))
         AND EXISTS (SELECT FROM usage_monitor.reservation r
                      WHERE r.reservation_id = _reservation_part.reservation_id)', NULL),
    ('usage_monitor.quota_adjustment',
        'EXISTS (SELECT FROM usage_monitor.quota q
                  WHERE q.quota_id = quota_adjustment.quota_id
                    AND _usage_monitor._counts(q) = quota_adjustment.counts
                    AND (q.org IS NOT NULL OR quota_adjustment.subject = ANY (_usage_monitor._own_orgs())))', NULL),
    ('usage_monitor.reservation',
        'org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.request_conflict',
        'org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.alert_rule',
        'org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.alert',
        'org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.price',
        'org IS NULL OR org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.price_rate',
        'price_id IN (SELECT p.price_id FROM usage_monitor.price p)', NULL),
    ('usage_monitor.discount',
        'org = ANY (_usage_monitor._own_orgs())', NULL),
    ('usage_monitor.audit_log', 'false', NULL),
    ('usage_monitor.archived_partition', 'true', NULL),
    ('usage_monitor.access', 'false', NULL);

DO $$
DECLARE
    item _usage_monitor._confined_table;
BEGIN
    FOR item IN SELECT * FROM _usage_monitor._confined_table LOOP
        item.writes := coalesce(item.writes, 'false');
        -- by command, for one of ALL would let what may be written be read, too
        EXECUTE format('CREATE POLICY _see ON %s FOR SELECT USING (_usage_monitor._confined_to(NULL) OR (%s))', item.name, item.sees);
        EXECUTE format('CREATE POLICY _insert ON %s FOR INSERT WITH CHECK (_usage_monitor._confined_to(NULL) OR (%s))', item.name, item.writes);
        EXECUTE format('CREATE POLICY _update ON %s FOR UPDATE USING (_usage_monitor._confined_to(NULL) OR (%s))', item.name, item.writes);
        EXECUTE format('CREATE POLICY _delete ON %s FOR DELETE USING (_usage_monitor._confined_to(NULL) OR (%s))', item.name, item.writes);
    END LOOP;
END
$$;

-- always: the trigger below cannot change the table that fires it
ALTER TABLE usage_monitor.access ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION _usage_monitor._confine() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_on   CONSTANT boolean := EXISTS (SELECT FROM usage_monitor.access a WHERE a.org IS NOT NULL);
    was_on  CONSTANT boolean := (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = 'usage_monitor.quota'::regclass);
    has_own CONSTANT boolean := EXISTS (SELECT FROM pg_policy p
                                         WHERE p.polrelid = 'usage_monitor.usage'::regclass
                                           AND p.polname NOT IN ('_open', '_own'));
    item    text;
BEGIN
    IF is_on = was_on THEN
        RETURN NULL;
    END IF;
    FOR item IN
        SELECT t.name FROM _usage_monitor._confined_table t WHERE t.name <> 'usage_monitor.access'
        UNION ALL
        SELECT 'usage_monitor.usage' WHERE is_on OR NOT has_own
    LOOP
        EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', item, CASE WHEN is_on THEN 'ENABLE' ELSE 'DISABLE' END);
    END LOOP;
    IF is_on THEN
        -- who was granted rights by hand goes on; they include what policies call for whoever reads or records
        FOR item IN
            SELECT DISTINCT pg_get_userbyid(a.grantee)
              FROM pg_namespace n
             CROSS JOIN LATERAL aclexplode(n.nspacl) a
             WHERE n.nspname = 'usage_monitor'
               AND a.grantee NOT IN (0, n.nspowner)
               AND pg_get_userbyid(a.grantee) NOT IN (SELECT x.role FROM usage_monitor.access x)
        LOOP
            EXECUTE (
                SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', string_agg(r.name, ', '), item)
                  FROM usage_monitor.access_right r
                 WHERE r.access = 'writer'
                   AND r.kind = 'function'
                   AND r.is_needed);
            INSERT INTO usage_monitor.access (role) VALUES (item);
        END LOOP;
        RAISE NOTICE 'from now on roles see and record only what they are granted'
            USING HINT = 'SELECT usage_monitor.grant_access(role, access) gives all organisations. COPY into the ledger is for its owner and roles that bypass row security.';
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION _usage_monitor._confine() IS
    'Trigger of access: row security is enabled while somebody is confined.';

CREATE TRIGGER confine
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON usage_monitor.access
    FOR EACH STATEMENT EXECUTE FUNCTION _usage_monitor._confine();

-- also where a restore disables triggers
ALTER TABLE usage_monitor.access ENABLE ALWAYS TRIGGER confine;

CREATE FUNCTION _usage_monitor._verify_access()
RETURNS TABLE (key jsonb, expected text, found text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH confined AS (
        SELECT DISTINCT a.role, r.oid
          FROM usage_monitor.access a
          LEFT JOIN pg_roles r ON r.rolname = a.role
         WHERE a.org IS NOT NULL
    ), ledger AS (
        SELECT c.oid, c.relrowsecurity
          FROM pg_class c
         WHERE c.oid = 'usage_monitor.usage'::regclass
    )
    SELECT jsonb_build_object('table', c.oid::regclass), 'row security', 'none'
      FROM pg_class c
     WHERE NOT c.relrowsecurity
       AND (c.oid IN (SELECT t.name::regclass FROM _usage_monitor._confined_table t)
            OR c.oid IN (SELECT l.oid FROM ledger l))
       AND EXISTS (SELECT FROM confined)
    UNION ALL
    SELECT jsonb_build_object('table', l.oid::regclass), 'policy _own', 'none'
      FROM ledger l
     WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = l.oid AND p.polname = '_own' AND NOT p.polpermissive)
    UNION ALL
    -- row security of the ledger does not hold there
    SELECT jsonb_build_object('table', c.oid::regclass, 'role', x.role), 'not to be read', 'can be read'
      FROM confined x
     CROSS JOIN pg_class c
     WHERE (c.oid IN (SELECT i.relid FROM ledger l CROSS JOIN LATERAL pg_partition_tree(l.oid) i WHERE i.level > 0)
            OR (c.relnamespace = '_usage_monitor'::regnamespace AND c.relkind = 'r' AND c.relname LIKE '\_archive\_%'))
       AND has_any_column_privilege(x.oid, c.oid, 'SELECT');
END;

COMMENT ON FUNCTION _usage_monitor._verify_access() IS
    'Where who is confined to organisations could see others.';
