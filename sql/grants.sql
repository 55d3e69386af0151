/*
 * Closed by default: nothing is granted to PUBLIC.  Functions are, unless
 * that is taken back.
 */
REVOKE ALL ON SCHEMA usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA usage_monitor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA usage_monitor FROM PUBLIC;

CREATE FUNCTION usage_monitor.grant_access(role regrole, access text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grants text[];
    item   text;
BEGIN
    grants := CASE access
        WHEN 'writer' THEN ARRAY[
            'INSERT ON usage_monitor.usage',
            'SELECT (usage_id, cost, currency, cost_source) ON usage_monitor.usage',
            'EXECUTE ON FUNCTION usage_monitor.check_quota',
            'EXECUTE ON FUNCTION usage_monitor.record',
            'EXECUTE ON FUNCTION usage_monitor.reserve',
            'EXECUTE ON FUNCTION usage_monitor.settle',
            'EXECUTE ON FUNCTION usage_monitor.release']
        WHEN 'reader' THEN ARRAY[
            'SELECT ON ALL TABLES IN SCHEMA usage_monitor',
            'SELECT ON ALL SEQUENCES IN SCHEMA usage_monitor',
            'EXECUTE ON FUNCTION usage_monitor.cost',
            'EXECUTE ON FUNCTION usage_monitor.cost_breakdown',
            'EXECUTE ON FUNCTION usage_monitor.explain_cost',
            'EXECUTE ON FUNCTION usage_monitor.estimate_cost',
            'EXECUTE ON FUNCTION usage_monitor.what_if',
            'EXECUTE ON FUNCTION usage_monitor.resolve_model',
            'EXECUTE ON FUNCTION usage_monitor._model_names',
            'EXECUTE ON FUNCTION usage_monitor._shorter_name',
            'EXECUTE ON FUNCTION usage_monitor._canonical_provider',
            'EXECUTE ON FUNCTION usage_monitor._like_pattern',
            'EXECUTE ON FUNCTION usage_monitor._applicable_rates',
            'EXECUTE ON FUNCTION usage_monitor.check_quota',
            'EXECUTE ON FUNCTION usage_monitor.normalize_usage',
            'EXECUTE ON FUNCTION usage_monitor.ledger_currency',
            'EXECUTE ON FUNCTION usage_monitor.ledger_time_zone',
            'EXECUTE ON FUNCTION usage_monitor.ledger_hour',
            'EXECUTE ON FUNCTION usage_monitor.ledger_day',
            'EXECUTE ON FUNCTION usage_monitor.period_start',
            'EXECUTE ON FUNCTION usage_monitor.period_end',
            'EXECUTE ON FUNCTION usage_monitor._pending_usage',
            'EXECUTE ON FUNCTION usage_monitor._quota_state',
            'EXECUTE ON FUNCTION usage_monitor._quota_amount',
            'EXECUTE ON FUNCTION usage_monitor._counted',
            'EXECUTE ON FUNCTION usage_monitor._subjects',
            'EXECUTE ON FUNCTION usage_monitor.anomalous_calls',
            'EXECUTE ON FUNCTION usage_monitor.anomalous_days',
            'EXECUTE ON FUNCTION usage_monitor._unusual',
            'EXECUTE ON FUNCTION usage_monitor.forecast',
            'EXECUTE ON FUNCTION usage_monitor._student_975',
            'EXECUTE ON FUNCTION usage_monitor.suggest_optimizations',
            'EXECUTE ON FUNCTION usage_monitor._usage_advice',
            'EXECUTE ON FUNCTION usage_monitor._quota_advice',
            'EXECUTE ON FUNCTION usage_monitor._anomaly_advice',
            'EXECUTE ON FUNCTION usage_monitor._alternatives',
            'EXECUTE ON FUNCTION usage_monitor._cost_of_calls',
            'EXECUTE ON FUNCTION usage_monitor._looks_offline']
        WHEN 'manager' THEN ARRAY[
            'SELECT ON ALL TABLES IN SCHEMA usage_monitor',
            'SELECT, USAGE ON ALL SEQUENCES IN SCHEMA usage_monitor',
            'INSERT, UPDATE, DELETE ON usage_monitor.price, usage_monitor.price_rate, usage_monitor.model_alias, usage_monitor.model_alternative, usage_monitor.provider_alias, usage_monitor.exchange_rate, usage_monitor.discount, usage_monitor.quota, usage_monitor.alert_rule',
            'UPDATE ON usage_monitor.alert',
            'EXECUTE ON ALL FUNCTIONS IN SCHEMA usage_monitor']
    END;
    IF grants IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('unknown access "%s"', access),
            HINT = 'Access is writer (records and reserves calls), reader (reads everything) or manager (sets prices and quotas, handles alerts).';
    END IF;

    EXECUTE format('GRANT USAGE ON SCHEMA usage_monitor TO %s', role);
    FOREACH item IN ARRAY grants LOOP
        EXECUTE format('GRANT %s TO %s', item, role);
    END LOOP;
END
$$;

COMMENT ON FUNCTION usage_monitor.grant_access(regrole, text) IS
    'Grants a role what a writer (inserts, records, reserves and settles calls), a reader (reads all tables and views) or a manager (sets prices and quotas, handles alerts) needs. Errors: UM008 unknown access.';

REVOKE ALL ON FUNCTION usage_monitor.grant_access(regrole, text) FROM PUBLIC;
