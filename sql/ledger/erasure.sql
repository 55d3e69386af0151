/*
 * Erasure of a person's name, in place of which a pseudonym stands from then
 * on.  Nothing that adds up changes.
 */
CREATE FUNCTION _usage_monitor._renamed(value text, name text, pseudonym text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value = name THEN pseudonym
            ELSE replace(value, '"' || name || '"', '"' || pseudonym || '"') END;

COMMENT ON FUNCTION _usage_monitor._renamed(text, text, text) IS
    'A text that is the name, or quotes it, with the pseudonym instead.';

CREATE FUNCTION _usage_monitor._renamed(value jsonb, name text, pseudonym text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
AS $$
DECLARE
    -- of these the value is no person's name, though one be called the same
    ours CONSTANT text[] := '{access, alert_type, amount, changes, cost_source, currency, department, enforcement, kind, level,
                              meter, metric, model, models, operation, org, period, project, provider, resolved_model, role,
                              scope, service_tier, source, time_zone, window}';
BEGIN
    RETURN (
        SELECT coalesce(jsonb_object_agg(member.key, CASE
                   WHEN member.key = ANY (ours) THEN member.value
                   WHEN member.key = 'dimensions' AND jsonb_typeof(member.value) = 'object'
                       THEN _usage_monitor._renamed(member.value, name, pseudonym)
                   -- all strings of it, of any depth, keys too
                   ELSE (SELECT string_agg(coalesce(to_jsonb(_usage_monitor._renamed(t.token[1]::jsonb #>> '{}', name, pseudonym))::text,
                                                    t.token[2]), '' ORDER BY t.n)::jsonb
                           FROM regexp_matches(member.value::text, '("(?:[^"\\]|\\.)*")|([^"]+)', 'g') WITH ORDINALITY AS t (token, n))
               END), '{}')
          FROM jsonb_each(value) AS member);
END
$$;

COMMENT ON FUNCTION _usage_monitor._renamed(jsonb, text, text) IS
    'A row or details as JSON, in which strings that are the name, or quote it, have the pseudonym instead. Its own keys stay, and so does what names no person (an organisation, a model, a period, ...), even where it is the same word.';

/*
 * The counters of the person's quotas are made anew when the transaction
 * commits, so the ledger's rows are changed without being counted.  In the
 * rollups the person's rows are renamed where they are: refresh() has put all
 * rows into them, and nobody folds until the transaction ends.
 */
CREATE FUNCTION usage_monitor.erase_user(user_id text, org text DEFAULT NULL) RETURNS text
    -- changes the ledger, the rollups and the audit log, which nobody else
    -- may: who may execute this is the administrator's choice
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET usage_monitor.count_changes = off
    SET usage_monitor.write_corrections = on
AS $$
DECLARE
    person    CONSTANT text := erase_user.user_id;
    only_org  CONSTANT text := erase_user.org;
    -- as JSON has it
    escaped   CONSTANT text := substr(to_jsonb(person)::text, 2, length(to_jsonb(person)::text) - 2);
    pseudonym CONSTANT text := 'erased-' || gen_random_uuid();
    calls     bigint;
    named     bigint;
    renamed   record;
    keyed     record;
BEGIN
    IF coalesce(btrim(person), '') = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = 'argument "user_id" must not be empty',
            HINT = 'Give the name that the ledger has: SELECT DISTINCT user_id FROM usage_monitor.user_usage.';
    END IF;
    -- First the ledger, as who confines a role has it, then the quotas, as who changes or credits them: refresh()
    -- may take the lock of births, for which whoever changed a quota waits when he commits.
    LOCK TABLE usage_monitor.usage IN ROW EXCLUSIVE MODE;
    LOCK TABLE usage_monitor.quota IN EXCLUSIVE MODE;
    PERFORM usage_monitor.refresh();
    -- who makes counters from the ledger has the name in all of it, or in none
    LOCK TABLE _usage_monitor._quota_birth IN SHARE ROW EXCLUSIVE MODE;

    -- What is held goes with the person.  In the order of settle(): the reservation, its parts, the ledger; what is being
    -- settled is waited for, and renamed with the rest.
    UPDATE usage_monitor.reservation r
       SET user_id = pseudonym
     WHERE r.user_id = person
       AND (only_org IS NULL OR r.org = only_org);
    UPDATE _usage_monitor._reservation_part p
       SET subject = pseudonym
      FROM usage_monitor.reservation r, usage_monitor.quota q
     WHERE p.subject = person
       AND r.reservation_id = p.reservation_id
       AND q.quota_id = p.quota_id
       AND q.scope = 'user'
       AND (only_org IS NULL OR r.org = only_org);

    UPDATE usage_monitor.usage u
       SET user_id = pseudonym
     WHERE u.user_id = person
       AND (only_org IS NULL OR u.org = only_org);
    GET DIAGNOSTICS calls = ROW_COUNT;

    DELETE FROM _usage_monitor._correction c
     USING _usage_monitor._rollup_state s
     WHERE c.xid = pg_current_xact_id()::text::bigint
       AND c.row_xid < s.next_xid
       AND c.row_xid <> ALL (s.running_xids);
    UPDATE _usage_monitor._correction c
       SET user_id = pseudonym
     WHERE c.xid <> pg_current_xact_id()::text::bigint
       AND c.user_id = person
       AND (only_org IS NULL OR c.org = only_org);
    FOR keyed IN
        SELECT t.name AS table_name, 'key' || k.n AS key
          FROM _usage_monitor._rollup_dimension d
         CROSS JOIN LATERAL unnest(d.keys) WITH ORDINALITY AS k (name, n)
         CROSS JOIN LATERAL (VALUES ('_rollup_' || d.name), ('_archive_' || d.name)) AS t (name)
         WHERE k.name = 'user_id'
        UNION ALL
        SELECT '_archive_session', 'key1'
    LOOP
        -- name_hash stays: should a fold ever add to the row, it makes another one beside it
        EXECUTE format('UPDATE _usage_monitor.%1$I SET %2$I = $1 WHERE %2$I = $2 AND ($3 IS NULL OR org = $3)',
                       keyed.table_name, keyed.key)
          USING pseudonym, person, only_org;
    END LOOP;

    -- what was adjusted goes with the person
    UPDATE usage_monitor.quota_adjustment a
       SET subject = pseudonym,
           -- of a quota that counts that person alone
           counts = CASE WHEN a.counts::jsonb ->> 1 = person
                         THEN jsonb_set(a.counts::jsonb, '{1}', to_jsonb(pseudonym))::text ELSE a.counts END
      FROM usage_monitor.quota q
     WHERE a.subject = person
       AND q.quota_id = a.quota_id
       AND q.scope = 'user'
       AND (only_org IS NULL OR q.org = only_org);

    UPDATE usage_monitor.alert a
       SET subject = CASE WHEN a.alert_type IN ('unpriced', 'anomaly') OR a.details ->> 'scope' <> 'user' THEN a.subject
                          ELSE _usage_monitor._renamed(a.subject, person, pseudonym) END,
           message = _usage_monitor._renamed(a.message, person, pseudonym),
           details = _usage_monitor._renamed(a.details, person, pseudonym),
           quota = _usage_monitor._renamed(a.quota, person, pseudonym)
     WHERE (strpos(concat(a.subject, a.message), person) > 0 OR strpos(a.details::text, escaped) > 0)
       AND (only_org IS NULL
            OR a.details ->> 'org' = only_org
            OR EXISTS (SELECT FROM usage_monitor.quota q
                        WHERE q.quota_id = a.quota_id
                          AND (q.org = only_org OR (q.scope = 'org' AND a.subject = only_org))));

    -- quotas of the person's own, and where they are called by the name
    FOR renamed IN
        UPDATE usage_monitor.quota q
           SET subject = pseudonym,
               name = replace(q.name, person, pseudonym)
          FROM usage_monitor.quota old
         WHERE old.quota_id = q.quota_id
           AND q.scope = 'user'
           AND q.subject = person
           AND (only_org IS NULL OR q.org = only_org)
        RETURNING q.quota_id, old.name AS old_name, q.name AS new_name
    LOOP
        UPDATE usage_monitor.alert a
           SET message = _usage_monitor._renamed(a.message, renamed.old_name, renamed.new_name),
               details = _usage_monitor._renamed(a.details, renamed.old_name, renamed.new_name),
               quota = _usage_monitor._renamed(a.quota, renamed.old_name, renamed.new_name)
         WHERE a.quota_id = renamed.quota_id;
        UPDATE usage_monitor.audit_log l
           SET old = _usage_monitor._renamed(l.old, renamed.old_name, renamed.new_name),
               new = _usage_monitor._renamed(l.new, renamed.old_name, renamed.new_name),
               details = _usage_monitor._renamed(l.details, renamed.old_name, renamed.new_name)
         WHERE strpos(concat(l.old, l.new, l.details), escaped) > 0;
    END LOOP;
    PERFORM _usage_monitor._recount_quota(q.quota_id)
       FROM usage_monitor.quota q
      WHERE q.scope = 'user'
        AND q.enabled
        AND (q.subject IS NULL OR q.subject IN (person, pseudonym));

    UPDATE usage_monitor.audit_log l
       SET old = _usage_monitor._renamed(l.old, person, pseudonym),
           new = _usage_monitor._renamed(l.new, person, pseudonym),
           details = _usage_monitor._renamed(l.details, person, pseudonym)
     WHERE strpos(concat(l.old, l.new, l.details), escaped) > 0
       AND (only_org IS NULL OR only_org IN (l.old ->> 'org', l.new ->> 'org', l.details ->> 'org'));

    -- what the application wrote besides is its own: to change it is to count it anew
    SELECT count(*) INTO named
      FROM usage_monitor.usage u
     WHERE (strpos(concat_ws(' ', u.session_id, u.request_id, u.error, u.unpriced_reason), person) > 0
            OR strpos(concat_ws(' ', u.tags, u.provider_usage, u.unread), escaped) > 0)
       AND (only_org IS NULL OR u.org = only_org);
    IF named > 0 THEN
        RAISE NOTICE USING
            MESSAGE = format('calls that still have the name in tags, session or request ids, error texts or what providers answered: %s', named),
            HINT = 'Replace it there by the pseudonym that is returned: UPDATE usage_monitor.usage SET tags = ..., session_id = ..., error = ...';
    END IF;
    INSERT INTO usage_monitor.audit_log (what, details)
    VALUES ('erase_user', jsonb_strip_nulls(jsonb_build_object('pseudonym', pseudonym, 'org', only_org, 'calls', calls,
                                                               'calls_that_name', nullif(named, 0))));
    RETURN pseudonym;
END
$$;

COMMENT ON FUNCTION usage_monitor.erase_user(text, text) IS
    'Replaces a person''s name by a pseudonym, which it returns: in the ledger, rollups, archive, counters, quotas, alerts, reservations and the audit log, of that organisation or (NULL) of all. All sums stay, no alert is raised, no quota refuses it. Tags, session and request ids, error texts and what providers answered are the application''s, and stay: how many calls have the name there, a notice and the audit log (calls_that_name) say. Calls that others are recording meanwhile keep the name: take the right to record first. Errors: UM004 no name, 25001 as for refresh().';
