/*
 * Who has access to what, and to whose: grant_access(role, access, org).
 *
 * While nobody is confined to an organisation, the table restricts nobody.
 * Once somebody is, everybody is confined to what it says (see
 * src/base/access.c).  Roles are there by name, for a dump that names one that
 * is not there must restore; a role that is renamed sees nothing any more.
 */
CREATE TABLE usage_monitor.access (
    role   text COLLATE "C" NOT NULL,
    access text,
    org    text COLLATE "C",
    CONSTRAINT access_key UNIQUE NULLS NOT DISTINCT (role, access, org)
);

COMMENT ON TABLE usage_monitor.access IS
    'Which roles were granted what access, and for which organisations; grant_access() and revoke_access() write it. Once a row names an organisation, roles see and record only what a row gives to them or to a role whose privileges they have; owner, superusers and who bypasses row security apart.';
COMMENT ON COLUMN usage_monitor.access.role IS 'Name of the role.';
COMMENT ON COLUMN usage_monitor.access.access IS 'writer, reader, manager, relay or metrics; NULL: it had been granted rights by hand when the first role was confined.';
COMMENT ON COLUMN usage_monitor.access.org IS 'The organisation that it is for; NULL: all of them; empty: none, of a role whose members have some.';

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.access', '');

CREATE FUNCTION _usage_monitor._own_support(internal) RETURNS internal
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_own_support';

COMMENT ON FUNCTION _usage_monitor._own_support(internal) IS
    'Planner support of _own(), _rolled_up() and _confinement(): what they come to for the user.';

CREATE FUNCTION _usage_monitor._check_support(internal) RETURNS internal
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'usage_monitor_check_support';

COMMENT ON FUNCTION _usage_monitor._check_support(internal) IS
    'Planner support of _confined_to(), _rollups_apply() and _is_open(), which let all rows through in a plan that is not stale.';

CREATE FUNCTION _usage_monitor._own(org text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._own_support
    AS 'MODULE_PATHNAME', 'usage_monitor_own';

COMMENT ON FUNCTION _usage_monitor._own(text) IS
    'May the current user see what is of that organisation?';

CREATE FUNCTION _usage_monitor._rolled_up(org text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._own_support
    AS 'MODULE_PATHNAME', 'usage_monitor_rolled_up';

COMMENT ON FUNCTION _usage_monitor._rolled_up(text) IS
    'May the current user see what rollups and archive have of that organisation?';

CREATE FUNCTION _usage_monitor._confined_to(orgs text[]) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._check_support
    AS 'MODULE_PATHNAME', 'usage_monitor_confined_to';

COMMENT ON FUNCTION _usage_monitor._confined_to(text[]) IS
    'Is the current user confined to just these organisations? NULL: is he not confined?';

CREATE FUNCTION _usage_monitor._rollups_apply(orgs text[] DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._check_support
    AS 'MODULE_PATHNAME', 'usage_monitor_rollups_apply';

COMMENT ON FUNCTION _usage_monitor._rollups_apply(text[]) IS
    'May the query of who is confined to just these organisations (NULL: of who is not confined) use the rollups, and the archive? Not if row security of somebody else''s making holds for him on the ledger, for they know no rows: his views read the ledger.';

CREATE FUNCTION _usage_monitor._confinement() RETURNS integer
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._own_support
    AS 'MODULE_PATHNAME', 'usage_monitor_confinement';

COMMENT ON FUNCTION _usage_monitor._confinement() IS
    '0: the current user is not confined; 1: to one organisation; 2: to several, or none. For queries of tables with row security, whose plans are made anew for another user.';

CREATE FUNCTION _usage_monitor._own_orgs(access text DEFAULT NULL) RETURNS text[]
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'usage_monitor_own_orgs';

COMMENT ON FUNCTION _usage_monitor._own_orgs(text) IS
    'The organisations that the current user is confined to, of what he may see, or as writer or manager; NULL: he is not.';

CREATE FUNCTION _usage_monitor._is_open() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE SUPPORT _usage_monitor._check_support
    AS 'MODULE_PATHNAME', 'usage_monitor_is_open';

COMMENT ON FUNCTION _usage_monitor._is_open() IS
    'Has the ledger row security for no other reason than that roles are confined to organisations?';

CREATE FUNCTION _usage_monitor._caller_orgs(access text DEFAULT NULL) RETURNS text[]
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'usage_monitor_caller_orgs';

COMMENT ON FUNCTION _usage_monitor._caller_orgs(text) IS
    'As _own_orgs(), of who called what runs as the owner.';

CREATE FUNCTION _usage_monitor._check_org(org text, access text DEFAULT NULL) RETURNS text
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'usage_monitor_check_org';

COMMENT ON FUNCTION _usage_monitor._check_org(text, text) IS
    'The organisation that is meant by who called what runs as the owner: default is his own, if he has one; refuses another than his (42501).';
