/*
 * Other names of models and providers: what applications write, and what the
 * price book calls it.
 */
CREATE TABLE usage_monitor.model_alias (
    pattern  text NOT NULL,
    provider text,
    model    text,
    origin   text NOT NULL DEFAULT 'user',
    CONSTRAINT model_alias_pkey PRIMARY KEY (pattern, origin)
);

COMMENT ON TABLE usage_monitor.model_alias IS
    'Other names of models. The longest pattern that matches wins; a user''s alias precedes a shipped one of the same length.';
COMMENT ON COLUMN usage_monitor.model_alias.pattern IS 'The name that applications write; * stands for any run of characters.';
COMMENT ON COLUMN usage_monitor.model_alias.provider IS 'The provider whose price is meant; NULL: the one that the row names.';
COMMENT ON COLUMN usage_monitor.model_alias.model IS 'The model whose price is meant; NULL: the name as written, at that provider.';
COMMENT ON COLUMN usage_monitor.model_alias.origin IS 'shipped or user.';

CREATE TABLE usage_monitor.provider_alias (
    alias    text NOT NULL,
    provider text NOT NULL,
    origin   text NOT NULL DEFAULT 'user',
    CONSTRAINT provider_alias_pkey PRIMARY KEY (alias, origin)
);

COMMENT ON TABLE usage_monitor.provider_alias IS
    'Other names of providers: what OpenTelemetry, LiteLLM and others call the providers of the price book.';
COMMENT ON COLUMN usage_monitor.provider_alias.alias IS 'The name that applications write.';
COMMENT ON COLUMN usage_monitor.provider_alias.provider IS 'The provider in the price book.';
COMMENT ON COLUMN usage_monitor.provider_alias.origin IS 'shipped or user.';

CREATE FUNCTION _usage_monitor._canonical_provider(provider text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT a.provider
           FROM usage_monitor.provider_alias a
          WHERE a.alias = lower(_canonical_provider.provider)
          ORDER BY a.origin DESC  -- user before shipped
          LIMIT 1),
        -- client libraries name the interface as well: openai.responses, google.vertex.chat
        CASE WHEN _canonical_provider.provider LIKE '_%.%' THEN
            coalesce((SELECT a.provider
                        FROM usage_monitor.provider_alias a
                       WHERE a.alias = split_part(lower(_canonical_provider.provider), '.', 1)
                       ORDER BY a.origin DESC
                       LIMIT 1),
                     (SELECT p.provider
                        FROM usage_monitor.price p
                       WHERE p.provider = split_part(lower(_canonical_provider.provider), '.', 1)
                         AND NOT EXISTS (SELECT
                                           FROM usage_monitor.price own
                                          WHERE own.provider = lower(_canonical_provider.provider))
                       LIMIT 1))
        END,
        nullif(lower(_canonical_provider.provider), ''));
END;

COMMENT ON FUNCTION _usage_monitor._canonical_provider(text) IS
    'The price book''s name of a provider; what stands behind a dot names an interface of his (openai.responses).';

CREATE FUNCTION _usage_monitor._like_pattern(pattern text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN replace(replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%');

COMMENT ON FUNCTION _usage_monitor._like_pattern(text) IS
    'A pattern of model_alias, where * stands for any run of characters, as LIKE writes it.';

/*
 * A user's * is any run of characters.  In a shipped pattern that leads to a
 * price it is less: in front a region or the maker's name, elsewhere a date
 * or a release, never the number of the family's next version.
 */
CREATE FUNCTION _usage_monitor._alias_matches(
    name text,
    pattern text,
    model text,
    origin text
) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN name NOT LIKE _usage_monitor._like_pattern(pattern) THEN false
    WHEN origin = 'user' OR model IS NULL OR strpos(pattern, '*') = 0 THEN true
    WHEN right(pattern, 5) = '.ft-*' THEN true    -- the name of a tuned model
    ELSE name ~ ('^'
                 || CASE WHEN left(pattern, 1) = '*' THEN '([A-Za-z-]+[./-])?' ELSE '' END
                 || replace(regexp_replace(ltrim(pattern, '*'), '[^A-Za-z0-9*]', '\\\&', 'g'), '*',
                            '([-@:._]?(20[0-9]{2}-?[0-9]{2}-?[0-9]{2}|[0-9]{2}-[0-9]{2}(-20[0-9]{2}|-[0-9]{2})?|[0-9]{2}-20[0-9]{2}|[0-9]{4}|[0-9]{6}|00[0-9]|latest|default|preview|exp|experimental|beta|stable|nightly)|-v[0-9]+|:[0-9]+k?)*')
                 || '$')
END;

COMMENT ON FUNCTION _usage_monitor._alias_matches(text, text, text, text) IS
    'Whether a name is one of those that an alias stands for: in a user''s pattern * is anything, in a shipped one only a region in front, a date or release behind.';

CREATE FUNCTION _usage_monitor._check_alias() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.origin <> 'user' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "origin" must be user, but is "%s"', NEW.origin),
            HINT = 'Leave it out: your own aliases are of origin user.';
    END IF;
    -- not in one condition: the other table has no such columns
    IF TG_TABLE_NAME = 'model_alias' THEN
        IF NEW.pattern = '' OR num_nulls(NEW.provider, NEW.model) = 2 THEN
            RAISE EXCEPTION USING
                ERRCODE = 'UM004',
                MESSAGE = format('alias "%s" must have a pattern, and a provider or a model that it stands for', NEW.pattern),
                HINT = 'For example pattern acme-chat, provider openai, model gpt-4o.';
        END IF;
        NEW.provider := _usage_monitor._canonical_provider(NEW.provider);
    ELSIF NEW.alias = '' OR NEW.provider = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('alias "%s" must have a name, and a provider that it stands for', NEW.alias),
            HINT = 'For example alias our-openai, provider openai.';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_alias() IS 'Row trigger: what an alias must be.';

CREATE TRIGGER check_alias
    BEFORE INSERT OR UPDATE ON usage_monitor.model_alias
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_alias();

CREATE TRIGGER check_alias
    BEFORE INSERT OR UPDATE ON usage_monitor.provider_alias
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_alias();

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.model_alias', 'WHERE origin <> ''shipped''');
SELECT pg_catalog.pg_extension_config_dump('usage_monitor.provider_alias', 'WHERE origin <> ''shipped''');
