/*
 * How old are the prices that calls are priced by?
 */
CREATE VIEW usage_monitor.price_age WITH (security_invoker = true) AS
WITH used AS (
    SELECT t.provider, t.resolved_model AS model, max(t.day) AS last_used, sum(t.requests)::bigint AS requests, sum(t.cost) AS cost
      FROM usage_monitor.model_total t
     WHERE t.day > usage_monitor.ledger_day(now()) - 90
     GROUP BY 1, 2
)
SELECT u.provider,
       u.model,
       u.last_used,
       u.requests,
       u.cost,
       p.price_id,
       p.origin,
       p.currency,
       lower(p.valid) AS valid_from,
       upper(p.valid) AS valid_to,
       p.as_of,
       usage_monitor.ledger_day(now()) - p.as_of AS age,
       p.source
  FROM used u
  LEFT JOIN LATERAL (
       SELECT a.price_id
         FROM _usage_monitor._applicable_rates(u.provider, u.model) WITH ORDINALITY AS a
        WHERE a.org IS NULL
          AND a.service_tier = 'standard'
          AND a.valid_from <= now()
          AND a.valid_to > now()
        ORDER BY a.ordinality
        LIMIT 1) AS now ON true
  LEFT JOIN usage_monitor.price p ON p.price_id = now.price_id;

COMMENT ON VIEW usage_monitor.price_age IS
    'Models that were used in the last 90 days, with the price of the standard tier that is in force now, and how long ago its source said so. The oldest that cost most want looking at first: ORDER BY age * cost DESC NULLS FIRST.';
COMMENT ON COLUMN usage_monitor.price_age.provider IS 'Who bills.';
COMMENT ON COLUMN usage_monitor.price_age.model IS 'The model as the price book calls it.';
COMMENT ON COLUMN usage_monitor.price_age.last_used IS 'Day of the last call, in the ledger''s time zone.';
COMMENT ON COLUMN usage_monitor.price_age.requests IS 'Calls of the last 90 days.';
COMMENT ON COLUMN usage_monitor.price_age.cost IS 'What they cost, in the ledger''s currency.';
COMMENT ON COLUMN usage_monitor.price_age.price_id IS 'The price; NULL: the price book has none now.';
COMMENT ON COLUMN usage_monitor.price_age.origin IS 'shipped, import or user.';
COMMENT ON COLUMN usage_monitor.price_age.currency IS 'ISO 4217 code of the price''s currency.';
COMMENT ON COLUMN usage_monitor.price_age.valid_from IS 'Since when the price holds; NULL: as long as is known.';
COMMENT ON COLUMN usage_monitor.price_age.valid_to IS 'Until when it holds; NULL: nobody said.';
COMMENT ON COLUMN usage_monitor.price_age.as_of IS 'The day on which its source said so; NULL: not said, as of your own prices.';
COMMENT ON COLUMN usage_monitor.price_age.age IS 'Days since then.';
COMMENT ON COLUMN usage_monitor.price_age.source IS 'Where the price was read.';
