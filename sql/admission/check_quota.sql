/*
 * Admission: does a call fit, before it is made?
 */
CREATE FUNCTION _usage_monitor.check_quota(
    org text DEFAULT 'default',
    user_id text DEFAULT NULL,
    project text DEFAULT NULL,
    department text DEFAULT NULL,
    session_id text DEFAULT NULL,
    model text DEFAULT NULL,
    provider text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    cost numeric DEFAULT 0,
    tokens bigint DEFAULT 0,
    requests bigint DEFAULT 1
) RETURNS TABLE (
    quota_id bigint,
    name text,
    scope text,
    subject text,
    metric text,
    period text,
    period_start timestamptz,
    period_end timestamptz,
    amount numeric,
    used numeric,
    reserved numeric,
    remaining numeric,
    allowed boolean,
    enforcement text,
    reason text
)
    -- an application may ask about its own call without the right to read
    -- quotas: who may execute this is the administrator's choice
    LANGUAGE c STABLE ROWS 5
    AS 'MODULE_PATHNAME', 'usage_monitor_check_quota';

SELECT _usage_monitor._run_as_owner('check_quota');

COMMENT ON FUNCTION usage_monitor.check_quota(text, text, text, text, text, text, text, jsonb, numeric, bigint, bigint) IS
    'Says whether a call of that cost, in the ledger''s currency, and that many tokens fits: a row for each quota that it touches, refusals first. allowed says whether it fits, reason why not. enforcement block means that the INSERT would be refused. A cost of NULL (a model without a price) fits no quota of cost. It only reads, and never waits. Errors: UM001 negative or infinite amounts, UM004 for names and tags that an INSERT would refuse.';
