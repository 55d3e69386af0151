/*
 * Budgets: quotas whose amount is allotted, in part or in all, to others.
 */
CREATE FUNCTION _usage_monitor._counts_only(q usage_monitor.quota, what text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(CASE what WHEN 'org' THEN q.org WHEN 'provider' THEN q.provider WHEN 'model' THEN q.model END,
                    CASE WHEN q.scope = what THEN q.subject END);
END;

COMMENT ON FUNCTION _usage_monitor._counts_only(usage_monitor.quota, text) IS
    'The organisation, provider or model that is the only one whose calls a quota counts; NULL: any.';

CREATE FUNCTION _usage_monitor._check_allotted(budget_id bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    excess record;
BEGIN
    -- raises come and go: what is looked at is every instant at which one does
    SELECT w.name, i.instant, a.amount, p.allotted
      INTO excess
      FROM usage_monitor.quota w
     CROSS JOIN LATERAL (
               SELECT clock_timestamp() AS instant
                UNION
               SELECT b.instant
                 FROM usage_monitor.quota_raise r
                 JOIN usage_monitor.quota q ON q.quota_id = r.quota_id
                CROSS JOIN LATERAL (VALUES (lower(r.valid)), (upper(r.valid))) b (instant)
                WHERE w.quota_id IN (q.quota_id, q.parent)
                  AND b.instant > clock_timestamp()
                  AND isfinite(b.instant)) i
     CROSS JOIN LATERAL _usage_monitor._quota_amount_at(w, i.instant) a (amount)
     CROSS JOIN LATERAL (
               SELECT sum(_usage_monitor._quota_amount_at(q, i.instant)) AS allotted
                 FROM usage_monitor.quota q
                WHERE q.parent = w.quota_id) p
     WHERE w.quota_id = _check_allotted.budget_id
       AND p.allotted > a.amount
     ORDER BY i.instant
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('the parts of budget "%s" are %s, more than its amount of %s%s',
                             excess.name, trim_scale(excess.allotted), trim_scale(excess.amount),
                             CASE WHEN excess.instant > clock_timestamp() THEN ' from ' || excess.instant ELSE '' END),
            HINT = 'Raise the whole, or lower other parts first.';
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_allotted(bigint) IS
    'Refuses parts of a budget that exceed the whole, now or once a raise begins or ends (UM006).';

CREATE FUNCTION _usage_monitor._check_budget() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part  usage_monitor.quota;
    whole usage_monitor.quota;
BEGIN
    IF NEW.parent IS NOT NULL THEN
        SELECT q.* INTO whole
          FROM usage_monitor.quota q
         WHERE q.quota_id = NEW.parent;
        IF NOT FOUND OR whole.kind <> 'budget' OR whole.parent IS NOT NULL
           OR EXISTS (SELECT FROM usage_monitor.quota q WHERE q.parent = NEW.quota_id)
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM008',
                MESSAGE = format('"%s" cannot be a part of %s', NEW.name, coalesce('"' || whole.name || '"', 'budget ' || NEW.parent)),
                HINT = 'A part and its whole are budgets of one metric, period and time zone, and a part has no parts.';
        END IF;
        -- two parts at once: one after the other; the whole's own trigger looks at all of them
        UPDATE usage_monitor.quota q
           SET enabled = q.enabled
         WHERE q.quota_id = whole.quota_id;
        RETURN NULL;
    END IF;

    SELECT q.* INTO whole
      FROM usage_monitor.quota q
     WHERE q.quota_id = NEW.quota_id;
    SELECT q.* INTO part
      FROM usage_monitor.quota q
     WHERE q.parent = whole.quota_id
       AND (whole.kind <> 'budget'
            OR q.kind <> 'budget'
            OR (q.metric, q.period, q.billing_day, q.time_zone)
               IS DISTINCT FROM (whole.metric, whole.period, whole.billing_day, whole.time_zone)
            OR q.org IS DISTINCT FROM coalesce(_usage_monitor._counts_only(whole, 'org'), q.org)
            OR q.provider IS DISTINCT FROM coalesce(_usage_monitor._counts_only(whole, 'provider'), q.provider)
            OR q.model IS DISTINCT FROM coalesce(_usage_monitor._counts_only(whole, 'model'), q.model))
     ORDER BY q.quota_id
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('"%s" cannot be a part of "%s"', part.name, whole.name),
            HINT = 'A part and its whole are budgets of one metric, period and time zone, and a part has no parts. Where the whole is of one organisation, provider or model, its parts count only the calls of that. One UPDATE can change a whole together with its parts.';
    END IF;
    PERFORM _usage_monitor._check_allotted(whole.quota_id);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_budget() IS
    'Row trigger: the parts of a budget count what the whole counts, and do not exceed it.';

-- a dump restores its rows in any order
CREATE TRIGGER check_budget
    AFTER INSERT ON usage_monitor.quota
    FOR EACH ROW WHEN ((NEW.kind = 'budget' OR NEW.parent IS NOT NULL) AND NOT _usage_monitor._is_restoring())
    EXECUTE FUNCTION _usage_monitor._check_budget();

CREATE TRIGGER check_changed_budget
    AFTER UPDATE ON usage_monitor.quota
    FOR EACH ROW WHEN (OLD.kind = 'budget' OR NEW.kind = 'budget' OR NEW.parent IS NOT NULL)
    EXECUTE FUNCTION _usage_monitor._check_budget();

CREATE FUNCTION _usage_monitor._keep_to_whole() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole usage_monitor.quota;
BEGIN
    SELECT q.* INTO whole
      FROM usage_monitor.quota q
     WHERE q.quota_id = NEW.parent;
    NEW.org := coalesce(NEW.org, _usage_monitor._counts_only(whole, 'org'));
    NEW.provider := coalesce(NEW.provider, _usage_monitor._counts_only(whole, 'provider'));
    NEW.model := coalesce(NEW.model, _usage_monitor._counts_only(whole, 'model'));
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._keep_to_whole() IS
    'Row trigger: a part of a budget of one organisation counts only the calls of that, and so with providers and models.';

CREATE TRIGGER keep_to_whole
    BEFORE INSERT OR UPDATE ON usage_monitor.quota
    FOR EACH ROW WHEN (NEW.parent IS NOT NULL)
    EXECUTE FUNCTION _usage_monitor._keep_to_whole();

CREATE FUNCTION usage_monitor.set_budget(
    name text,
    scope text,
    subject text DEFAULT NULL,
    amount numeric DEFAULT NULL,
    period text DEFAULT 'year',
    part_of text DEFAULT NULL,
    metric text DEFAULT 'cost',
    warning numeric DEFAULT 0.80,
    critical numeric DEFAULT 0.95,
    enforcement text DEFAULT 'alert',
    time_zone text DEFAULT NULL,
    org text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole  usage_monitor.quota;
    result bigint;
BEGIN
    IF part_of IS NOT NULL THEN
        SELECT q.* INTO whole
          FROM usage_monitor.quota q
         WHERE q.name = set_budget.part_of;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'no_data_found',
                MESSAGE = format('budget "%s" does not exist', part_of),
                HINT = 'Make the whole before its parts.';
        END IF;
    END IF;

    -- a part is counted as its whole is
    INSERT INTO usage_monitor.quota AS q (
        name, kind, parent, scope, subject, amount, period, billing_day, metric,
        warning_threshold, critical_threshold, enforcement, time_zone, org)
    VALUES (
        set_budget.name, 'budget', whole.quota_id, set_budget.scope, set_budget.subject, set_budget.amount,
        coalesce(whole.period, set_budget.period), coalesce(whole.billing_day, 1),
        coalesce(whole.metric, set_budget.metric), set_budget.warning, set_budget.critical,
        set_budget.enforcement, coalesce(whole.time_zone, set_budget.time_zone), set_budget.org)
    ON CONFLICT ON CONSTRAINT quota_name_key DO UPDATE
    SET kind = excluded.kind,
        parent = excluded.parent,
        scope = excluded.scope,
        subject = excluded.subject,
        amount = excluded.amount,
        period = excluded.period,
        billing_day = excluded.billing_day,
        metric = excluded.metric,
        warning_threshold = excluded.warning_threshold,
        critical_threshold = excluded.critical_threshold,
        enforcement = excluded.enforcement,
        time_zone = excluded.time_zone,
        org = excluded.org
    RETURNING q.quota_id INTO result;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.set_budget(text, text, text, numeric, text, text, text, numeric, numeric, text, text, text) IS
    'Makes the budget of that name, or changes it, and returns its quota_id. part_of: the name of the budget that it is a part of, whose metric, period and time zone it takes, and whose organisation if it is of one; parts together cannot exceed the whole, raises included. A whole that has parts keeps its metric, period, time zone and organisation. Errors: those of set_quota, UM006 for parts that exceed, P0002 no such budget.';

CREATE VIEW usage_monitor.budget_status WITH (security_invoker = true) AS
SELECT s.quota_id,
       s.name,
       w.name AS part_of,
       s.scope,
       s.subject,
       s.metric,
       s.period,
       s.period_start,
       s.period_end,
       s.amount,
       coalesce(p.allotted, 0) AS allotted,
       s.amount - coalesce(p.allotted, 0) AS unallotted,
       s.used,
       s.reserved,
       s.remaining,
       s.percentage,
       s.state,
       s.projected,
       round(100 * s.projected / s.amount, 2) AS projected_percentage,
       s.runs_out_at
  FROM usage_monitor.quota_status s
  JOIN usage_monitor.quota q ON q.quota_id = s.quota_id
  LEFT JOIN usage_monitor.quota w ON w.quota_id = q.parent
  LEFT JOIN LATERAL (
           SELECT sum(_usage_monitor._quota_amount(c)) AS allotted
             FROM usage_monitor.quota c
            WHERE c.parent = q.quota_id) p ON true
 WHERE q.kind = 'budget';

COMMENT ON VIEW usage_monitor.budget_status IS
    'The running period of every budget and of its parts, with what is allotted and where it is heading.';

SELECT _usage_monitor._describe('{budget_status}', ARRAY[
    ['part_of', 'The budget that it is a part of.'],
    ['allotted', 'The sum of its parts'' amounts.'],
    ['unallotted', 'What is not allotted to parts.'],
    ['projected_percentage', 'projected in percent of the amount.']], 'quota_status');
