/*
 * What is audited.  Made last, when the tables have the rows that come with
 * the extension; rows that a dump restores have been audited before, and their
 * entries are restored, too.
 */
DO $$
DECLARE
    audited record;
BEGIN
    FOR audited IN
        SELECT *
          FROM (VALUES ('setting', 'INSERT OR UPDATE OR DELETE', '{}'::text[]),
                       ('price', 'INSERT OR UPDATE OR DELETE', '{price_id, provider, model}'),
                       ('price_rate', 'INSERT OR UPDATE OR DELETE', '{price_id, meter}'),
                       ('model_alias', 'INSERT OR UPDATE OR DELETE', '{pattern}'),
                       ('provider_alias', 'INSERT OR UPDATE OR DELETE', '{alias}'),
                       ('model_alternative', 'INSERT OR UPDATE OR DELETE', '{model, alternative}'),
                       ('exchange_rate', 'INSERT OR UPDATE OR DELETE', '{from_currency, to_currency}'),
                       ('ignored_model', 'INSERT OR UPDATE OR DELETE', '{pattern}'),
                       ('discount', 'INSERT OR UPDATE OR DELETE', '{org, provider, model}'),
                       ('quota', 'INSERT OR UPDATE OR DELETE', '{quota_id, name}'),
                       ('quota_raise', 'INSERT OR UPDATE OR DELETE', '{raise_id, quota_id}'),
                       ('alert_rule', 'INSERT OR UPDATE OR DELETE', '{alert_rule_id, name}'),
                       ('alert_channel', 'INSERT OR UPDATE OR DELETE', '{name}'),
                       ('access', 'INSERT OR UPDATE OR DELETE', '{role, access, org}'),
                       ('closed_period', 'INSERT OR UPDATE OR DELETE', '{}'),
                       -- raised by the extension, seen and resolved by people
                       ('alert', 'UPDATE OF acknowledged_at, resolved_at', '{alert_id}')
               ) AS a (name, events, key)
    LOOP
        EXECUTE format('CREATE TRIGGER audit AFTER %s ON usage_monitor.%I FOR EACH ROW WHEN (NOT _usage_monitor._is_restoring()) EXECUTE FUNCTION _usage_monitor._audit(%s)',
                       audited.events, audited.name,
                       (SELECT string_agg(quote_literal(k), ', ') FROM unnest(audited.key) AS k));
    END LOOP;
END
$$;
