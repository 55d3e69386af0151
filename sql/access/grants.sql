/*
 * Closed by default: nothing is granted to PUBLIC.  Functions are, unless
 * that is taken back.
 */
REVOKE ALL ON SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;

DROP FUNCTION _usage_monitor._run_as_owner(text);
DROP FUNCTION _usage_monitor._describe(text[], text[], text);

CREATE FUNCTION _usage_monitor._check_role(role regrole, org text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'argument "role" must not be NULL',
            HINT = 'Name the role: SELECT usage_monitor.grant_access(''name'', ''reader'').';
    END IF;
    IF org = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = 'argument "org" must not be empty',
            HINT = 'Leave it out for all organisations.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_role(regrole, text) IS
    'Refuses a role or an organisation that is not given (22004, UM004).';

CREATE FUNCTION _usage_monitor._grant_rights(role regrole, access text, confined boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item text;
BEGIN
    FOR item IN
        SELECT format('GRANT %s ON %s %s TO %s',
                      r.privilege || coalesce((SELECT '(' || string_agg(quote_ident(c.name), ', ') || ')' FROM unnest(r.columns) c (name)), ''),
                      r.kind,
                      string_agg(DISTINCT r.name, ', '),
                      role)
          FROM usage_monitor.access_right r
         WHERE r.access IN (_grant_rights.access, CASE _grant_rights.access WHEN 'manager' THEN 'reader' END)
           AND (r.by_org OR NOT confined)
         GROUP BY r.kind, r.privilege, r.columns
    LOOP
        EXECUTE item;
    END LOOP;
    IF confined AND access <> 'writer' THEN
        EXECUTE format('GRANT SELECT (name, from_ts, to_ts) ON usage_monitor.archived_partition TO %s', role);
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._grant_rights(regrole, text, boolean) IS
    'Grants what access_right lists, or of it what is for a role that is confined to organisations.';

CREATE FUNCTION usage_monitor.grant_access(role regrole, access text, org text DEFAULT NULL, via regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM _usage_monitor._check_role(role, org);
    IF access IS NULL OR NOT EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.access = grant_access.access) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown access "%s"', access),
            HINT = 'Access is writer (records and reserves calls), reader (reads everything), manager (sets prices and quotas, handles alerts), relay (delivers alerts) or metrics (reads metrics()).';
    END IF;
    IF access = 'relay' AND org IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = 'a relay cannot be confined to an organisation',
            HINT = 'It serves every channel. Leave "org" out, and give channels one: UPDATE usage_monitor.alert_channel SET org = ...';
    END IF;
    IF access = 'metrics' AND org IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = 'access "metrics" cannot be confined to an organisation',
            HINT = 'metrics() sums up the whole ledger. Leave "org" out, or grant "reader", which reads the views.';
    END IF;
    IF via IS NOT NULL AND org IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'argument "via" is for roles of one organisation',
            HINT = 'Name the organisation, or leave "via" out.';
    END IF;

    IF org IS NULL THEN
        IF EXISTS (SELECT FROM usage_monitor.access a WHERE a.role = pg_get_userbyid(grant_access.role) AND a.org IS NOT NULL) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM008',
                MESSAGE = format('role %s is confined to organisations', role),
                HINT = format('Name one, or give it all of them: SELECT usage_monitor.revoke_access(%L); and grant again.', pg_get_userbyid(role));
        END IF;
        INSERT INTO usage_monitor.access (role, access) VALUES (pg_get_userbyid(grant_access.role), grant_access.access)
        ON CONFLICT DO NOTHING;
        PERFORM _usage_monitor._grant_rights(role, access, false);
        RETURN;
    END IF;

    -- who sees all whatever is said here cannot be confined
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = role AND (r.rolsuper OR r.rolbypassrls))
       OR EXISTS (SELECT FROM pg_class c WHERE c.oid = 'usage_monitor.usage'::regclass AND pg_has_role(role, c.relowner, 'MEMBER'))
       OR EXISTS (SELECT FROM unnest('{pg_read_all_data, pg_write_all_data}'::name[]) p (name) WHERE pg_has_role(role, p.name, 'MEMBER'))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('role %s cannot be confined to an organisation', role),
            HINT = 'It is a superuser, bypasses row security, or is a member of the ledger''s owner or of pg_read_all_data or pg_write_all_data.';
    END IF;
    -- Before any right changes: who analyses a table would wait for that change,
    -- and keep its row security from being enabled.
    IF NOT EXISTS (SELECT FROM usage_monitor.access a WHERE a.org IS NOT NULL) THEN
        EXECUTE (SELECT format('LOCK TABLE ONLY usage_monitor.usage, %s IN ACCESS EXCLUSIVE MODE', string_agg('ONLY ' || t.name, ', ' ORDER BY t.name))
                   FROM _usage_monitor._confined_table t);
    END IF;
    -- what it was granted of all organisations goes
    IF NOT EXISTS (SELECT FROM usage_monitor.access a WHERE a.role = pg_get_userbyid(grant_access.role) AND a.org IS NOT NULL) THEN
        PERFORM usage_monitor.revoke_access(role);
    END IF;
    INSERT INTO usage_monitor.access (role, access, org)
    VALUES (pg_get_userbyid(grant_access.role), grant_access.access, grant_access.org)
    ON CONFLICT DO NOTHING;
    IF EXISTS (SELECT FROM usage_monitor.access a
                 JOIN pg_roles r ON r.rolname = a.role
                WHERE a.org IS NULL
                  AND (pg_has_role(grant_access.role, r.oid, 'MEMBER') OR r.oid = via))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('role %s has access to every organisation, as a member of another role', role),
            HINT = 'Revoke that membership, or grant access to another role.';
    END IF;
    PERFORM _usage_monitor._grant_rights(coalesce(via, role), access, true);
    IF via IS NOT NULL THEN
        -- it is confined as well, and stays so when its last member goes
        INSERT INTO usage_monitor.access (role, access, org)
        VALUES (pg_get_userbyid(via), grant_access.access, '')
        ON CONFLICT DO NOTHING;
        EXECUTE format('GRANT %s TO %s', via, role);
    END IF;
END
$$;

COMMENT ON FUNCTION usage_monitor.grant_access(regrole, text, text, regrole) IS
    'Grants a role what a writer (inserts, records, reserves and settles calls), a reader (reads all tables and views), a manager (reads, sets prices and quotas, handles alerts), a relay (delivers alerts, and reads nothing else) or what watches the ledger (metrics: calls metrics(), and reads nothing else) needs; access_right lists it. org: confines the role to that organisation and those that it was granted before; it sees, records and infers nothing of others. via: the rights go to that role, of which it becomes a member, for the lists of rights of tables do not hold thousands of roles. Errors: UM008 unknown access, or a role that cannot be confined, UM004 empty org, 22004 no role, 22023 via without org.';

CREATE FUNCTION usage_monitor.revoke_access(role regrole, access text DEFAULT NULL, org text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item text;
BEGIN
    PERFORM _usage_monitor._check_role(role, org);
    IF access IS NOT NULL AND NOT EXISTS (SELECT FROM usage_monitor.access_right r WHERE r.access = revoke_access.access) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown access "%s"', access),
            HINT = 'Access is writer, reader, manager, relay or metrics; NULL takes back all of it.';
    END IF;

    DELETE FROM usage_monitor.access a
     WHERE a.role = pg_get_userbyid(revoke_access.role)
       AND (revoke_access.access IS NULL OR a.access = revoke_access.access)
       AND (revoke_access.org IS NULL OR a.org = revoke_access.org);

    -- the rights of what it has no more, save those that what it has needs as well
    FOR item IN
        SELECT format('REVOKE ALL ON %s %s FROM %s', r.kind, string_agg(DISTINCT r.name, ', '), role)
          FROM usage_monitor.access_right r
         WHERE NOT EXISTS (
                   SELECT FROM usage_monitor.access a
                     JOIN usage_monitor.access_right k
                       ON k.access IN (a.access, CASE a.access WHEN 'manager' THEN 'reader' END)
                    WHERE a.role = pg_get_userbyid(revoke_access.role)
                      AND k.kind = r.kind
                      AND k.name = r.name)
         GROUP BY r.kind
    LOOP
        EXECUTE item;
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.revoke_access(regrole, text, text) IS
    'Takes back what grant_access() gave: an organisation, an access, or with NULL all of it; rights that were granted by hand on the same go, too. A role that then has nothing left can be dropped, if nothing else depends on it. Errors: UM008 unknown access, UM004 empty org, 22004 no role.';

REVOKE ALL ON ALL ROUTINES IN SCHEMA usage_monitor, _usage_monitor FROM PUBLIC;
