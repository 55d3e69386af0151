/*
 * Names of models: which price does a name lead to?
 *
 * In order: the name as written, an alias, the name without the provider's
 * prefix, without the region, without version and date; at last a price for
 * any model (*).  Nothing is guessed across model families.
 */

/*
 * Takes one thing off a name that does not change what the model costs; no
 * row where nothing is left to take off.
 *
 * What may change the price stays on: the tuner's base name of a fine-tuned
 * model, ":free", Azure's data zones, Bedrock's commitments.
 */
CREATE FUNCTION _usage_monitor._shorter_name(
    provider text,
    name text,
    OUT n integer,
    OUT shorter text,
    OUT how text
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.n, s.shorter, s.how
      FROM (VALUES
                (1, 'without the provider''s prefix',
                 CASE WHEN _usage_monitor._canonical_provider(split_part(_shorter_name.name, '/', 1)) = _shorter_name.provider
                      THEN regexp_replace(_shorter_name.name, '^[^/]+/', '') END),
                (2, 'without the resource path',
                 regexp_replace(_shorter_name.name, '^(arn:aws[^/]*/|(projects/[^/]+/locations/[^/]+/)?(publishers/[^/]+/)?models/)', '')),
                (3, 'without the region', regexp_replace(_shorter_name.name, '^[a-z]{2}(-gov)?-[a-z]+-[0-9]/', '')),
                (4, 'without the region', regexp_replace(_shorter_name.name, '^(us|us-gov|eu|apac|au|ca|jp|sa|global)\.', '')),
                (5, 'without the tuned model''s own name', regexp_replace(_shorter_name.name, '^(ft:[^:]+):.*$', '\1')),
                (6, 'without the version', regexp_replace(_shorter_name.name, '-v1:[0-9]+$', '')),
                (7, 'without the version', regexp_replace(_shorter_name.name, '^(gemini-.*)-00[0-9]$', '\1')),
                (8, 'with - before the date', regexp_replace(_shorter_name.name, '@(20[0-9]{6})$', '-\1')),
                (9, 'without the date', regexp_replace(_shorter_name.name, '-20([0-9]{6}|[0-9]{2}-[0-9]{2}-[0-9]{2})$', '')),
                (10, 'without latest', regexp_replace(_shorter_name.name, '(-latest|@latest|@default|:latest)$', '')),
                (11, 'without the maker''s prefix',
                 regexp_replace(_shorter_name.name, '^(anthropic|amazon|meta|mistral|cohere|ai21|deepseek|qwen|openai|moonshot|minimax|google|nvidia)\.', '')),
                (12, 'in lower case', lower(_shorter_name.name))
           ) AS s (n, how, shorter)
     WHERE s.shorter <> _shorter_name.name
       AND s.shorter <> ''
     ORDER BY s.n
     LIMIT 1;
END;

COMMENT ON FUNCTION _usage_monitor._shorter_name(text, text) IS
    'The name without the first part that does not change the price (a prefix, a version, a date, ...), and which part that was: how in words, n as a number; 1 and 2 are prefixes that name the provider or the region.';

CREATE FUNCTION _usage_monitor._model_names(
    provider text,
    model text,
    for_org text DEFAULT '',
    OUT step integer,
    OUT at_provider text,
    OUT name text,
    OUT how text
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own_provider text := _usage_monitor._canonical_provider(provider);
    current_name text := model;
    reason       text := 'as written';
    alias        record;
    less         record;
    elsewhere    text;
    seen         text[] := '{}';
    -- what is left to shorten once an alias has been followed to its end
    later_name   text[] := '{}';
    later_reason text[] := '{}';
    rounds       integer := 0;
BEGIN
    step := 0;
    -- the ledger takes no longer ones
    IF octet_length(model) > 1000 THEN
        RETURN;
    END IF;
    -- openai/gpt-4o says who bills; anthropic/claude-3.5-sonnet may be a name at OpenRouter, which comes last
    IF own_provider IS NULL AND model LIKE '%/%' THEN
        own_provider := _usage_monitor._canonical_provider(split_part(model, '/', 1));
        elsewhere := own_provider;
        IF NOT EXISTS (SELECT FROM usage_monitor.price p WHERE p.provider = own_provider AND coalesce(p.org, for_org) = for_org) THEN
            own_provider := NULL;
        END IF;
    END IF;
    at_provider := own_provider;
    LOOP
        -- the name at its provider; without one, where an alias or the book says it belongs
        IF own_provider IS NULL AND at_provider IS NULL THEN
            SELECT a.provider INTO at_provider
              FROM usage_monitor.model_alias a
             WHERE a.provider IS NOT NULL
               AND _usage_monitor._alias_matches(current_name, a.pattern, a.model, a.origin)
             ORDER BY length(replace(a.pattern, '*', '')) DESC, a.origin DESC
             LIMIT 1;
            IF at_provider IS NULL THEN
                SELECT min(p.provider) INTO at_provider
                  FROM usage_monitor.price p
                 WHERE p.model = current_name
                   AND p.provider <> '*'
                   AND coalesce(p.org, for_org) = for_org
                HAVING count(DISTINCT p.provider) = 1;
            END IF;
        END IF;
        IF current_name <> ALL (seen) THEN
            step := step + 1;
            name := current_name;
            how := reason;
            seen := seen || name;
            RETURN NEXT;
        END IF;

        SELECT s.* INTO less FROM _usage_monitor._shorter_name(at_provider, current_name) s;

        SELECT a.provider, a.model, a.pattern INTO alias
          FROM usage_monitor.model_alias a
         WHERE a.model IS NOT NULL
           AND (at_provider IS NULL OR a.provider IS NULL OR a.provider = at_provider)
           AND _usage_monitor._alias_matches(current_name, a.pattern, a.model, a.origin)
           -- shipped patterns are of names without a prefix
           AND (a.origin = 'user' OR less.n IS NULL OR less.n > 2)
           -- Bedrock's -v2:0 is not the model that ends in -v1:0
           AND (a.origin = 'user'
                OR coalesce(substring(_model_names.model FROM '-v([0-9]+)(?::[0-9]+)?(?::[0-9]+k)?$') = substring(a.model FROM '-v([0-9]+)(?::[0-9]+)?$'), true))
           -- a model that is billed apart must not be taken for the one that its name begins with
           AND (a.origin = 'user' OR current_name !~ '(^|/)ft:|:free$'
                OR a.pattern ~ '^ft:|:free$' OR a.model ~ '^ft:|:free$')
         ORDER BY length(replace(a.pattern, '*', '')) DESC, a.origin DESC
         LIMIT 1;
        IF FOUND THEN
            at_provider := coalesce(alias.provider, at_provider);
        END IF;

        -- no name has more to take off, but one that was made to take long
        rounds := rounds + 1;
        EXIT WHEN rounds = 32;
        IF alias.model <> ALL (seen) THEN
            -- what the alias stands for is a name like any other
            IF less.shorter IS NOT NULL THEN
                later_name := less.shorter || later_name;
                later_reason := less.how || later_reason;
            END IF;
            current_name := alias.model;
            reason := format('alias %s', alias.pattern);
        ELSIF less.shorter IS NOT NULL THEN
            current_name := less.shorter;
            reason := less.how;
        ELSIF cardinality(later_name) > 0 THEN
            current_name := later_name[1];
            reason := later_reason[1];
            later_name := later_name[2:];
            later_reason := later_reason[2:];
        ELSE
            EXIT;
        END IF;
    END LOOP;

    IF elsewhere IS NOT NULL THEN
        SELECT min(p.provider) INTO elsewhere
          FROM usage_monitor.price p
         WHERE p.model = _model_names.model
           AND p.provider NOT IN ('*', elsewhere)
           AND coalesce(p.org, for_org) = for_org
        HAVING count(DISTINCT p.provider) = 1;
        IF elsewhere IS NOT NULL THEN
            step := step + 1;
            own_provider := at_provider;
            at_provider := elsewhere;
            name := model;
            how := 'as written, at the only provider that has it';
            RETURN NEXT;
            at_provider := own_provider;
        END IF;
    END IF;

    IF model !~ ':free$' THEN
        step := step + 1;
        name := '*';
        how := 'any model';
        RETURN NEXT;
    END IF;
END
$$;

COMMENT ON FUNCTION _usage_monitor._model_names(text, text, text) IS
    'The names in the price book that a recorded name may stand for, best first, by what is everybody''s and by what that organisation agreed on; another''s contract says nothing.';

CREATE FUNCTION _usage_monitor._applicable_rates(
    provider text,
    model text,
    for_org text DEFAULT '',
    OUT leads_to text,
    OUT rank bigint,
    OUT price_id bigint,
    OUT price_provider text,
    OUT price_model text,
    OUT service_tier text,
    OUT org text,
    OUT currency text,
    OUT valid_from timestamptz,
    OUT valid_to timestamptz,
    OUT meter text,
    OUT amount numeric,
    OUT per numeric,
    OUT unit_price numeric,
    OUT context_from bigint,
    OUT context_inclusive boolean,
    OUT window_start time,
    OUT window_end time,
    OUT window_days smallint[],
    OUT window_zone text,
    OUT is_listed boolean
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH candidate AS MATERIALIZED (
        SELECT n.step, n.at_provider, n.name
          FROM _usage_monitor._model_names(_applicable_rates.provider, _applicable_rates.model, _applicable_rates.for_org) n
    ), closest AS (
        SELECT DISTINCT ON (p.price_id)
               p.*,
               c.step,
               c.at_provider
          FROM candidate c
          JOIN usage_monitor.price p
            ON p.model = c.name
           AND p.provider IN (c.at_provider, '*')
           AND coalesce(p.org, _applicable_rates.for_org) = _applicable_rates.for_org
         ORDER BY p.price_id, c.step
    ), known AS (
        -- where the name leads: to its price, or else where it belongs
        SELECT coalesce((SELECT x.at_provider
                           FROM closest x
                          WHERE x.at_provider IS NOT NULL
                          ORDER BY x.step
                          LIMIT 1),
                        (SELECT c.at_provider
                           FROM candidate c
                          WHERE c.at_provider IS NOT NULL
                          ORDER BY c.step
                          LIMIT 1)) AS leads_to
    ), found AS (
        -- who sets a price of his own means every name that leads to it; of
        -- public catalogues the one that knows the name better is right
        SELECT x.*,
               dense_rank() OVER (
                   ORDER BY CASE WHEN x.org IS NOT NULL THEN 0
                                 WHEN x.origin = 'user' THEN 1
                                 ELSE 2 END,
                            CASE WHEN x.org IS NULL AND x.origin <> 'user' THEN x.step END,
                            CASE x.origin WHEN 'user' THEN 0 WHEN 'import' THEN 1 ELSE 2 END) AS rank
          FROM closest x
    )
    SELECT k.leads_to,
           f.rank,
           f.price_id,
           nullif(f.provider, '*'),
           f.model,
           f.service_tier,
           f.org,
           f.currency,
           coalesce(lower(f.valid), '-infinity'),
           coalesce(upper(f.valid), 'infinity'),
           r.meter,
           r.amount,
           r.per,
           -- exact: per divides 10^18
           trim_scale(r.amount * div(1000000000000000000, r.per) * 0.000000000000000001),
           r.context_from,
           r.context_inclusive,
           r.window_start,
           r.window_end,
           r.window_days,
           r.window_zone,
           f.org IS NULL AND f.origin <> 'user'
      FROM known k
      LEFT JOIN found f ON true
      LEFT JOIN LATERAL (
           SELECT p.*
             FROM usage_monitor.price_rate p
            WHERE p.price_id = f.price_id
            UNION ALL
           -- a minute and a second at the rate of an hour, where that is an exact decimal
           SELECT p.price_id, t.meter, trim_scale(round(p.amount / t.parts, 40)), p.per, p.context_from, p.context_inclusive,
                  p.window_start, p.window_end, p.window_days, p.window_zone
             FROM usage_monitor.price_rate p
             JOIN (VALUES ('hour', 'minute', 60), ('hour', 'second', 3600), ('minute', 'second', 60)) AS t (whole, meter, parts)
               ON t.whole = p.meter
            WHERE p.price_id = f.price_id
              AND round(p.amount / t.parts, 40) * t.parts = p.amount
              AND NOT EXISTS (SELECT
                                FROM usage_monitor.price_rate o
                               WHERE o.price_id = p.price_id
                                 AND (o.meter = t.meter OR o.meter = 'minute' AND t.parts = 3600))
           ) AS r ON true
     ORDER BY f.rank, f.step, f.provider = '*', f.price_id, r.meter, r.context_from;
END;

COMMENT ON FUNCTION _usage_monitor._applicable_rates(text, text, text) IS
    'All rates that a name may be priced by in calls of that organisation, or ('''') of one without contracts, in order of precedence: its own, user, then the closest name, import before shipped.';
