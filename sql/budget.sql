/*
 * Budgets: quotas whose amount is allotted, in part or in all, to others.
 */
CREATE FUNCTION usage_monitor._check_budget() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole    usage_monitor.quota;
    allotted numeric;
BEGIN
    -- a dump restores its rows in any order
    IF TG_OP = 'INSERT' AND NEW.created_at <> now() THEN
        RETURN NULL;
    END IF;

    -- two parts at once: one after the other
    SELECT q.* INTO whole
      FROM usage_monitor.quota q
     WHERE q.quota_id = coalesce(NEW.parent, NEW.quota_id)
       FOR NO KEY UPDATE;

    IF NEW.parent IS NOT NULL THEN
        IF NEW.kind <> 'budget' OR whole.kind <> 'budget' OR whole.parent IS NOT NULL
           OR (NEW.metric, NEW.period, NEW.billing_day, NEW.time_zone)
              IS DISTINCT FROM (whole.metric, whole.period, whole.billing_day, whole.time_zone)
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM008',
                MESSAGE = format('"%s" cannot be a part of "%s"', NEW.name, whole.name),
                HINT = 'A part and its whole are budgets of one metric, period and time zone, and a part has no parts.';
        END IF;
    END IF;

    SELECT sum(q.amount) INTO allotted
      FROM usage_monitor.quota q
     WHERE q.parent = whole.quota_id;
    IF allotted > whole.amount THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM006',
            MESSAGE = format('the parts of budget "%s" are %s, more than its amount of %s', whole.name, allotted, whole.amount),
            HINT = 'Raise the whole, or lower other parts first.';
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION usage_monitor._check_budget() IS
    'Row trigger: the parts of a budget do not exceed the whole.';

CREATE TRIGGER check_budget
    AFTER INSERT OR UPDATE ON usage_monitor.quota
    FOR EACH ROW WHEN (NEW.kind = 'budget' OR NEW.parent IS NOT NULL)
    EXECUTE FUNCTION usage_monitor._check_budget();

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
    time_zone text DEFAULT NULL
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
        warning_threshold, critical_threshold, enforcement, time_zone)
    VALUES (
        set_budget.name, 'budget', whole.quota_id, set_budget.scope, set_budget.subject, set_budget.amount,
        coalesce(whole.period, set_budget.period), coalesce(whole.billing_day, 1),
        coalesce(whole.metric, set_budget.metric), set_budget.warning, set_budget.critical,
        set_budget.enforcement, coalesce(whole.time_zone, set_budget.time_zone))
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
        time_zone = excluded.time_zone
    RETURNING q.quota_id INTO result;
    RETURN result;
END
$$;

COMMENT ON FUNCTION usage_monitor.set_budget(text, text, text, numeric, text, text, text, numeric, numeric, text, text) IS
    'Makes the budget of that name, or changes it, and returns its quota_id. part_of: the name of the budget that it is a part of, whose metric, period and time zone it takes; parts together cannot exceed the whole. Errors: those of set_quota, UM006 for parts that exceed, P0002 no such budget.';

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
           SELECT sum(c.amount) AS allotted
             FROM usage_monitor.quota c
            WHERE c.parent = q.quota_id) p ON true
 WHERE q.kind = 'budget';

COMMENT ON VIEW usage_monitor.budget_status IS
    'The running period of every budget and of its parts, with what is allotted and where it is heading.';

/* A column means what it means in quota_status. */
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT a.attname, coalesce(d.comment, col_description(t.attrelid, t.attnum)) AS comment
          FROM pg_attribute a
          LEFT JOIN pg_attribute t
            ON t.attrelid = 'usage_monitor.quota_status'::regclass
           AND t.attname = a.attname
          LEFT JOIN (VALUES
                       ('part_of', 'The budget that it is a part of.'),
                       ('allotted', 'The sum of its parts'' amounts.'),
                       ('unallotted', 'What is not allotted to parts.'),
                       ('projected_percentage', 'projected in percent of the amount.')) AS d (name, comment)
            ON d.name = a.attname
         WHERE a.attrelid = 'usage_monitor.budget_status'::regclass
    LOOP
        EXECUTE format('COMMENT ON COLUMN usage_monitor.budget_status.%I IS %L', col.attname, col.comment);
    END LOOP;
END
$$;
