/*
 * Names of models: which price does a name lead to?
 *
 * In order: the name as written, an alias, the name without the provider's
 * prefix, without the region, without version and date; at last a price for
 * any model (*).  Nothing is guessed across model families.
 */
CREATE FUNCTION usage_monitor._canonical_provider(provider text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT a.provider
           FROM usage_monitor.provider_alias a
          WHERE a.alias = lower(_canonical_provider.provider)
          ORDER BY a.origin DESC  -- user before shipped
          LIMIT 1),
        nullif(lower(_canonical_provider.provider), ''));
END;

COMMENT ON FUNCTION usage_monitor._canonical_provider(text) IS
    'The price book''s name of a provider.';

CREATE FUNCTION usage_monitor._like_pattern(pattern text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN replace(replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%');

COMMENT ON FUNCTION usage_monitor._like_pattern(text) IS
    'A pattern of model_alias, where * stands for any run of characters, as LIKE writes it.';

CREATE FUNCTION usage_monitor._model_names(
    provider text,
    model text,
    OUT step integer,
    OUT at_provider text,
    OUT name text,
    OUT how text
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own_provider CONSTANT text := usage_monitor._canonical_provider(provider);
    current_name text := model;
    stripped     text;
    reason       text := 'as written';
    prefix       text;
    alias        record;
BEGIN
    at_provider := own_provider;
    step := 0;
    LOOP
        -- the name at its provider; without one, where an alias or the book says it belongs
        IF own_provider IS NULL AND at_provider IS NULL THEN
            SELECT a.provider INTO at_provider
              FROM usage_monitor.model_alias a
             WHERE a.provider IS NOT NULL
               AND current_name LIKE usage_monitor._like_pattern(a.pattern)
             ORDER BY length(replace(a.pattern, '*', '')) DESC, a.origin DESC
             LIMIT 1;
            IF at_provider IS NULL THEN
                SELECT min(p.provider) INTO at_provider
                  FROM usage_monitor.price p
                 WHERE p.model = current_name
                   AND p.provider <> '*'
                HAVING count(DISTINCT p.provider) = 1;
            END IF;
        END IF;
        step := step + 1;
        name := current_name;
        how := reason;
        RETURN NEXT;

        FOR alias IN
            SELECT a.provider, a.model, a.pattern
              FROM usage_monitor.model_alias a
             WHERE a.model IS NOT NULL
               AND (own_provider IS NULL OR a.provider IS NULL OR a.provider = own_provider)
               AND current_name LIKE usage_monitor._like_pattern(a.pattern)
             ORDER BY length(replace(a.pattern, '*', '')) DESC, a.origin DESC
             LIMIT 1
        LOOP
            at_provider := coalesce(alias.provider, at_provider);
            step := step + 1;
            name := alias.model;
            how := format('alias %s', alias.pattern);
            RETURN NEXT;
        END LOOP;

        -- what may be taken off the name, one thing at a time
        prefix := usage_monitor._canonical_provider(split_part(current_name, '/', 1));
        IF current_name LIKE '%/%'
           AND (prefix = own_provider
                OR (own_provider IS NULL
                    AND EXISTS (SELECT FROM usage_monitor.price p WHERE p.provider = prefix)))
        THEN
            stripped := substr(current_name, strpos(current_name, '/') + 1);
            at_provider := prefix;
            reason := 'without the provider''s prefix';
        ELSIF current_name ~ '^(publishers/[^/]+/)?models/' THEN
            stripped := regexp_replace(current_name, '^(publishers/[^/]+/)?models/', '');
            reason := 'without the resource path';
        ELSIF current_name ~ '^(us|us-gov|eu|apac|au|ca|jp|sa|global)\.' THEN
            stripped := regexp_replace(current_name, '^[a-z-]+\.', '');
            reason := 'without the region';
        ELSIF current_name ~ '-v[0-9]+:[0-9]+$' THEN
            stripped := regexp_replace(current_name, '-v[0-9]+:[0-9]+$', '');
            reason := 'without the version';
        ELSIF current_name ~ '[-@](20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})$' THEN
            stripped := regexp_replace(current_name, '[-@](20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})$', '');
            reason := 'without the date';
        ELSIF current_name ~ '(-latest|@latest|@default)$' THEN
            stripped := regexp_replace(current_name, '(-latest|@latest|@default)$', '');
            reason := 'without -latest';
        ELSIF current_name ~ '^(anthropic|amazon|meta|mistral|cohere|ai21|deepseek|qwen|openai|moonshot|minimax|google|nvidia)\.' THEN
            stripped := regexp_replace(current_name, '^[a-z0-9]+\.', '');
            reason := 'without the vendor''s prefix';
        ELSIF current_name <> lower(current_name) THEN
            stripped := lower(current_name);
            reason := 'in lower case';
        ELSE
            EXIT;
        END IF;
        EXIT WHEN stripped = '';
        current_name := stripped;
    END LOOP;

    step := step + 1;
    name := '*';
    how := 'any model';
    RETURN NEXT;
END
$$;

COMMENT ON FUNCTION usage_monitor._model_names(text, text) IS
    'The names in the price book that a recorded name may stand for, best first.';

CREATE FUNCTION usage_monitor._applicable_rates(
    provider text,
    model text,
    OUT leads_to text,
    OUT rank bigint,
    OUT price_id bigint,
    OUT price_provider text,
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
    OUT window_zone text
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH candidate AS MATERIALIZED (
        SELECT n.step, n.at_provider, n.name
          FROM usage_monitor._model_names(_applicable_rates.provider, _applicable_rates.model) n
    ), known AS (
        -- where the name leads, also where nothing is priced
        SELECT (array_agg(c.at_provider ORDER BY c.step) FILTER (WHERE c.at_provider IS NOT NULL))[1] AS leads_to
          FROM candidate c
    ), found AS (
        SELECT DISTINCT ON (p.price_id)
               p.*,
               CASE WHEN p.org IS NOT NULL THEN 0
                    WHEN p.origin = 'user' THEN 1
                    WHEN p.origin = 'import' THEN 2
                    ELSE 3 END AS rank,
               c.step
          FROM candidate c
          JOIN usage_monitor.price p
            ON p.model = c.name
           AND p.provider IN (c.at_provider, '*')
         ORDER BY p.price_id, c.step
    )
    SELECT k.leads_to,
           f.rank::bigint,
           f.price_id,
           nullif(f.provider, '*'),
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
           r.window_zone
      FROM known k
      LEFT JOIN found f ON true
      LEFT JOIN usage_monitor.price_rate r ON r.price_id = f.price_id
     ORDER BY f.rank, f.step, f.provider = '*', f.price_id, r.meter, r.context_from;
END;

COMMENT ON FUNCTION usage_monitor._applicable_rates(text, text) IS
    'All rates that a name may be priced by, in order of precedence: an organisation''s own, user, import, shipped; the closest name first.';
