-- What a user would write instead: a price book, quotas of an organisation and of
-- each user, counters in rows, alerts, and the functions of triggers that keep them.
CREATE TABLE own_price (model text PRIMARY KEY, input numeric, output numeric);
INSERT INTO own_price VALUES ('gpt-4o', 2.5, 10);
CREATE TABLE own_quota (scope text, subject text, amount numeric, thresholds numeric[]);
INSERT INTO own_quota VALUES ('org', 'acme', 1000000000, '{0.8, 0.95, 1}'), ('user', NULL, 1000000000, '{0.8, 0.95, 1}');
CREATE TABLE own_counter (scope text, subject text, period date, used numeric,
                          PRIMARY KEY (scope, subject, period)) WITH (fillfactor = 50);
CREATE TABLE own_alert (scope text, subject text, period date, threshold numeric, used numeric,
                        PRIMARY KEY (scope, subject, period, threshold));
CREATE FUNCTION own_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT (NEW.input_tokens * p.input + NEW.output_tokens * p.output) / 1000000 INTO NEW.cost
      FROM own_price p WHERE p.model = NEW.model;
    RETURN NEW;
END $$;
CREATE FUNCTION own_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    month CONSTANT date := date_trunc('month', NEW.ts);
    quota record;
    share numeric;
    now_used numeric;
BEGIN
    FOR quota IN
        SELECT q.*, CASE q.scope WHEN 'org' THEN NEW.org ELSE NEW.user_id END AS counted
          FROM own_quota q
         WHERE q.subject IS NULL OR q.subject = CASE q.scope WHEN 'org' THEN NEW.org ELSE NEW.user_id END
         ORDER BY q.scope
    LOOP
        INSERT INTO own_counter AS c VALUES (quota.scope, quota.counted, month, NEW.cost)
        ON CONFLICT (scope, subject, period) DO UPDATE SET used = c.used + NEW.cost
        RETURNING used INTO now_used;
        FOREACH share IN ARRAY quota.thresholds LOOP
            IF now_used >= share * quota.amount AND now_used - NEW.cost < share * quota.amount THEN
                INSERT INTO own_alert VALUES (quota.scope, quota.counted, month, share, now_used) ON CONFLICT DO NOTHING;
            END IF;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
