/*
 * Alerts of calls that have no cost.
 */
CREATE INDEX alert_unpriced
    ON usage_monitor.alert (subject)
    WHERE alert_type = 'unpriced';

/*
 * What need not have a price: models that clients name where no model was
 * asked.
 */
CREATE TABLE usage_monitor.ignored_model (
    pattern text COLLATE "C" NOT NULL,
    reason  text,
    CONSTRAINT ignored_model_pkey PRIMARY KEY (pattern),
    CONSTRAINT ignored_model_pattern_check CHECK (pattern <> '')
);

COMMENT ON TABLE usage_monitor.ignored_model IS
    'Models whose calls raise no alert when they have no price; they are in unpriced_usage all the same.';
COMMENT ON COLUMN usage_monitor.ignored_model.pattern IS 'The name as it is recorded; * stands for any run of characters.';
COMMENT ON COLUMN usage_monitor.ignored_model.reason IS 'Why it needs no price.';

INSERT INTO usage_monitor.ignored_model (pattern, reason)
VALUES ('<synthetic>', 'what Claude Code calls messages that it has made up itself');

-- that one comes with the extension
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.ignored_model', 'WHERE pattern <> ''<synthetic>''');

/*
 * Days that were told of, so that each is told of once.  Not read from alert:
 * that would let SERIALIZABLE transactions that raise different alerts fail.
 */
CREATE TABLE _usage_monitor._unpriced_day (
    model text COLLATE "C" NOT NULL,
    day   date NOT NULL,
    CONSTRAINT _unpriced_day_pkey PRIMARY KEY (model, day)
);

COMMENT ON TABLE _usage_monitor._unpriced_day IS
    'The days on which a model had calls without a cost, that an alert has told of.';
COMMENT ON COLUMN _usage_monitor._unpriced_day.model IS 'The model, as it was recorded.';
COMMENT ON COLUMN _usage_monitor._unpriced_day.day IS 'The day, in the ledger''s time zone.';

SELECT pg_catalog.pg_extension_config_dump('_usage_monitor._unpriced_day', '');

CREATE FUNCTION _usage_monitor._unpriced_alert(model text, days date[], mode text, open_id bigint)
RETURNS SETOF usage_monitor.alert
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    -- as what is read again here was written, whatever the session's way is
    SET datestyle = 'ISO, YMD'
BEGIN ATOMIC
    WITH told AS MATERIALIZED (
        SELECT a.occurrences, (a.details ->> 'days')::datemultirange AS days
          FROM usage_monitor.alert a
         WHERE a.alert_id = _unpriced_alert.open_id
           AND mode <> 'each'
    ), result AS (
        SELECT count(*) + coalesce(max(t.occurrences), 0) AS occurrences,
               max(d.day) AS last_day,
               range_agg(daterange(d.day, d.day, '[]'))
               + coalesce((SELECT o.days FROM told o), '{}') AS days
          FROM unnest(_unpriced_alert.days) AS d (day)
          LEFT JOIN told t ON true
         GROUP BY CASE WHEN mode = 'each' THEN d.day END
    )
    SELECT CASE WHEN mode <> 'each' THEN _unpriced_alert.open_id END AS alert_id,
           'unpriced' AS alert_type,
           'warning' AS level,
           NULL::bigint AS quota_id,
           _unpriced_alert.model AS subject,
           _usage_monitor._day_start(lower(r.days)) AS period_start,
           NULL::numeric AS used,
           NULL::numeric AS amount,
           CASE WHEN r.occurrences = 1 THEN
               format('model "%s" has calls without a cost on %s', _unpriced_alert.model, to_char(r.last_day, 'YYYY-MM-DD'))
           ELSE
               format('model "%s" has calls without a cost on %s days, from %s to %s', _unpriced_alert.model, r.occurrences,
                      to_char(lower(r.days), 'YYYY-MM-DD'), to_char(upper(r.days) - 1, 'YYYY-MM-DD'))
           END AS message,
           jsonb_build_object('model', _unpriced_alert.model, 'day', r.last_day, 'days', r.days::text) AS details,
           NULL::timestamptz AS raised_at,
           NULL::timestamptz AS acknowledged_at,
           NULL::text AS acknowledged_by,
           NULL::timestamptz AS resolved_at,
           NULL::text AS resolved_by,
           NULL::text AS quota,
           NULL::text AS org,
           _unpriced_alert.model,
           r.occurrences,
           now() AS last_seen
      FROM result r
     ORDER BY r.last_day;
END;

COMMENT ON FUNCTION _usage_monitor._unpriced_alert(text, date[], text, bigint) IS
    'The alert of a model''s calls without a cost on these days, which adds to the open one; or (mode each) one for each day.';

CREATE FUNCTION _usage_monitor._close_unpriced_alerts() RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
    -- as what is read again here was written, whatever the session's way is
    SET datestyle = 'ISO, YMD'
BEGIN ATOMIC
    UPDATE usage_monitor.alert a
       SET resolved_at = now(),
           resolved_by = 'usage_monitor'
     WHERE a.alert_type = 'unpriced'
       AND a.resolved_at IS NULL
       AND a.details ? 'days'
       AND NOT EXISTS (
               SELECT
                 FROM usage_monitor.usage u
                WHERE u.cost IS NULL
                  AND u.model = a.subject
                  AND u.ts >= a.period_start
                  AND u.ts < _usage_monitor._day_start(upper((a.details ->> 'days')::datemultirange))
                  AND usage_monitor.ledger_day(u.ts) <@ (a.details ->> 'days')::datemultirange);
END;

COMMENT ON FUNCTION _usage_monitor._close_unpriced_alerts() IS
    'Resolves the alerts of models that have no call without a cost any more on the days that they tell of.';
