/*
 * Who may do what: the one list that grant_access() grants by.
 *
 * It names what is public, for each kind of access.  What that needs besides
 * of the one who calls or reads it (a view its tables, a function those that it
 * calls, a table the functions of its triggers) is found in their definitions,
 * and listed too.  What is on no list is the owner's alone.
 */
CREATE TABLE usage_monitor.access_right (
    access    text NOT NULL,
    kind      text NOT NULL,
    name      text NOT NULL,
    privilege text NOT NULL,
    columns   text[],
    by_org    boolean NOT NULL DEFAULT false,
    is_needed boolean NOT NULL DEFAULT false,
    CONSTRAINT access_right_pkey PRIMARY KEY (access, kind, name, privilege)
);

COMMENT ON TABLE usage_monitor.access_right IS
    'What grant_access() grants for each kind of access; a manager has the rights of a reader too. Filled by the extension.';
COMMENT ON COLUMN usage_monitor.access_right.access IS 'writer, reader, manager, relay or metrics.';
COMMENT ON COLUMN usage_monitor.access_right.kind IS 'schema, table (views, too), sequence or function.';
COMMENT ON COLUMN usage_monitor.access_right.name IS 'Of what, with its schema; of a function with the types of its arguments.';
COMMENT ON COLUMN usage_monitor.access_right.privilege IS 'As GRANT names it.';
COMMENT ON COLUMN usage_monitor.access_right.columns IS 'On these columns alone; NULL: on all.';
COMMENT ON COLUMN usage_monitor.access_right.by_org IS 'Also for a role that is confined to organisations?';
COMMENT ON COLUMN usage_monitor.access_right.is_needed IS 'Is it not on the list for itself, but because something else on it does not work without?';

-- who is confined to organisations has what is of one, and what is everybody's; not what is of all of them
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, columns, by_org) VALUES
    ('writer', 'schema', 'usage_monitor', 'USAGE', NULL, true),
    ('writer', 'table', 'usage_monitor.usage', 'INSERT', NULL, true),
    -- for RETURNING
    ('writer', 'table', 'usage_monitor.usage', 'SELECT', '{usage_id, cost, currency, cost_source}', true),
    ('reader', 'schema', 'usage_monitor', 'USAGE', NULL, true),
    ('reader', 'schema', '_usage_monitor', 'USAGE', NULL, true),
    -- what it had of each call is everybody's together, but not until when
    ('reader', 'table', 'usage_monitor.archived_partition', 'SELECT', NULL, false),
    ('manager', 'schema', 'usage_monitor', 'USAGE', NULL, true),
    ('manager', 'schema', '_usage_monitor', 'USAGE', NULL, true),
    -- import_prices() numbers many at once
    ('manager', 'sequence', 'usage_monitor.price_price_id_seq', 'USAGE', NULL, false),
    -- what is not to be told any more
    ('manager', 'table', 'usage_monitor.alert_delivery', 'DELETE', NULL, false),
    -- these need nothing but their functions
    ('relay', 'schema', 'usage_monitor', 'USAGE', NULL, false),
    ('metrics', 'schema', 'usage_monitor', 'USAGE', NULL, false);

-- tables and views that are read
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org)
SELECT 'reader', 'table', 'usage_monitor.' || t.name, 'SELECT', v.by_org
  FROM (VALUES
           (false, '{
               access, access_right, alert_channel, alert_delivery, audit_log, bill_reconciliation, closed_period, maintenance_progress, maintenance_status, vendor_bill
           }'),
           (true, '{
               alert, alert_rule, discount, exchange_rate, ignored_model, model_alias, model_alternative, price, price_rate,
               provider_alias, quota, quota_adjustment, quota_raise, request_conflict, reservation, setting, unread_fields,
               usage, usage_field,
               active_alert, alertmanager_alert, alert_rule_status, budget_status, cache_efficiency, combined_usage, cost_anomaly, cost_forecast, daily_total,
               daily_usage, department_usage, duration_distribution, hourly_total, hourly_usage, model_efficiency,
               model_total, model_usage, monthly_total, monthly_usage, operation_total, operation_usage,
               optimization_suggestion, organisation_usage, pattern_total, price_age, project_usage, provider_total,
               provider_usage, quota_history, quota_status, quota_usage, recent_usage, service_tier_total,
               service_tier_usage, session_usage, source_total, source_usage, tag_usage, trend_total, unpriced_usage,
               usage_pattern, usage_trend, user_usage, weekly_total, weekly_usage
           }')) AS v (by_org, names)
 CROSS JOIN unnest(v.names::text[]) t (name);

-- whose parts are read by names that are put together
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org, is_needed)
SELECT 'reader', 'table', c.oid::regclass::text, 'SELECT', true, true
  FROM pg_class c
 WHERE c.relnamespace = '_usage_monitor'::regnamespace
   AND c.relkind IN ('r', 'v', 'f')
   AND (c.relname ~ '^_(live|tail|archived)_'
        OR c.relname IN (SELECT '_rollup_' || d.name FROM _usage_monitor._rollup_dimension d));

-- tables that are written; of his own organisation's a manager sets quotas alone, for prices are the platform's
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org)
SELECT 'manager', 'table', 'usage_monitor.' || t.name, p.name, t.name = 'quota' AND p.name = 'INSERT'
  FROM unnest('{
           alert_channel, alert_rule, discount, exchange_rate, ignored_model, model_alias, model_alternative, price, price_rate, provider_alias,
           quota,
           usage_field, vendor_bill
       }'::text[]) t (name)
 CROSS JOIN unnest('{INSERT, UPDATE, DELETE}'::text[]) p (name);

-- Whose is a right to UPDATE or DELETE may lock the table, and so keep everybody from recording:
-- of one organisation he has it of the columns, and drop_quota() instead.
UPDATE usage_monitor.access_right
   SET by_org = true,
       columns = ARRAY(SELECT a.attname::text FROM pg_attribute a
                        WHERE a.attrelid = 'usage_monitor.quota'::regclass AND a.attnum > 0 AND NOT a.attisdropped
                        ORDER BY a.attnum)
 WHERE (access, name, privilege) = ('manager', 'usage_monitor.quota', 'UPDATE');

-- functions, each in all its forms
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org)
SELECT f.access, 'function', p.oid::regprocedure::text, 'EXECUTE', f.by_org
  FROM (VALUES
           ('writer', true, '{check_quota, record, record_span, release, reserve, settle}'),
           ('reader', true, '{
               anomalous_calls, anomalous_days, check_quota, cost, cost_breakdown, cost_trend, current_stats,
               daily_summary, dashboard, details_since, duration_percentile, durations_between, estimate_cost,
               explain_cost, focus, focus_csv, forecast, forecast_days, hourly_summary, known_names, ledger_currency, ledger_day,
               ledger_hour, ledger_time_zone, monthly_summary, normalize_usage, page_data, pattern_between, period_end,
               period_start, recent_calls, report, resolve_model, session_stats, statement, statement_csv, statement_html, statement_json, suggest_optimizations, top_models,
               top_users, usage_between, usage_csv, what_if
           }'),
           ('reader', false, '{metrics, verify}'),
           ('manager', true, '{acknowledge_alert, credit, drop_quota, refund_call, resolve_alert, set_quota}'),
           ('manager', false, '{
               check_alert_rules, check_anomalies, close_period, configure, default_alert_rules, erase_user,
               fold_counters, import_bill, import_prices, raise_quota, rebuild_counters, rebuild_rollups, refresh, reopen_period,
               reprice, reread, reset_quota, resolve_alerts, set_budget, set_price, void_call
           }'),
           ('relay', false, '{claim_delivery, note_delivery}'),
           ('metrics', false, '{metrics}')) AS f (access, by_org, names)
 CROSS JOIN unnest(f.names::text[]) n (name)
  LEFT JOIN pg_proc p ON p.pronamespace = 'usage_monitor'::regnamespace AND p.proname = n.name;

-- what policies call for whoever reads or records, by itself or as the planner has it (see src/base/access.c)
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org, is_needed)
SELECT a.access, 'function', p.oid::regprocedure::text, 'EXECUTE', true, true
  FROM unnest('{writer, reader}'::text[]) a (access)
 CROSS JOIN unnest('{_own, _rolled_up, _is_open, _own_orgs, _confined_to, _rollups_apply, _confinement}'::text[]) n (name)
  LEFT JOIN pg_proc p ON p.pronamespace = '_usage_monitor'::regnamespace AND p.proname = n.name;

/*
 * What these need of what is private: the objects whose names occur in their
 * definitions, and in theirs.  It ends where something runs as the owner: at
 * functions that are SECURITY DEFINER or C, and at views that are not
 * security_invoker.  What C reads as the user is the ledger, its corrections
 * and what is listed above.
 */
WITH RECURSIVE object (kind, name, word, definition) AS (
    SELECT 'function', p.oid::regprocedure::text, format('%s.%s', p.pronamespace::regnamespace, p.proname),
           CASE WHEN NOT p.prosecdef AND p.prokind = 'f' THEN pg_get_functiondef(p.oid) END
      FROM pg_proc p
     WHERE p.pronamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
       AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, 'fdw_handler'::regtype)
    UNION ALL
    SELECT 'table', c.oid::regclass::text, c.oid::regclass::text,
           CASE c.relkind
               WHEN 'v' THEN CASE WHEN 'security_invoker=true' = ANY (c.reloptions) THEN pg_get_viewdef(c.oid) END
               WHEN 'f' THEN '_usage_monitor._correction'
           END
      FROM pg_class c
     WHERE c.relnamespace IN ('usage_monitor'::regnamespace, '_usage_monitor'::regnamespace)
       AND c.relkind IN ('r', 'p', 'v', 'f')
), definition (name, definition, on_write) AS (
    SELECT o.name, o.definition, false
      FROM object o
    UNION ALL
    SELECT t.tgrelid::regclass::text, pg_get_triggerdef(t.oid) || pg_get_functiondef(t.tgfoid), true
      FROM pg_trigger t
     WHERE t.tgrelid::regclass::text IN (SELECT o.name FROM object o)
    UNION ALL
    SELECT p.polrelid::regclass::text, concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), false
      FROM pg_policy p
     WHERE p.polrelid::regclass::text IN (SELECT o.name FROM object o)
), use (name, on_write, kind, used) AS MATERIALIZED (
    SELECT DISTINCT d.name, d.on_write, o.kind, o.name
      FROM definition d
     CROSS JOIN LATERAL regexp_matches(d.definition, '\m_usage_monitor\.\w+', 'g') w (word)
      JOIN object o ON o.word = w.word[1]
), needed (access, kind, name, by_org) AS (
    SELECT r.access, r.kind, r.name, r.by_org
      FROM usage_monitor.access_right r
    UNION
    SELECT n.access, u.kind, u.used, n.by_org
      FROM needed n
      JOIN use u
        ON u.name = n.name
       AND (NOT u.on_write
            OR EXISTS (SELECT FROM usage_monitor.access_right w
                        WHERE w.access = n.access
                          AND w.name = n.name
                          AND w.privilege IN ('INSERT', 'UPDATE', 'DELETE')))
)
INSERT INTO usage_monitor.access_right (access, kind, name, privilege, by_org, is_needed)
SELECT n.access, n.kind, n.name, CASE n.kind WHEN 'table' THEN 'SELECT' ELSE 'EXECUTE' END, bool_or(n.by_org), true
  FROM needed n
 WHERE NOT EXISTS (SELECT FROM usage_monitor.access_right r
                    WHERE r.name = n.name
                      AND r.kind = n.kind
                      AND r.access = n.access)
 GROUP BY n.access, n.kind, n.name;
