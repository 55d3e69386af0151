/*
 * Which cheaper model does for comparable use: what optimization_suggestion
 * compares with.  A matter of opinion, so users add to it and take from it.
 */
CREATE TABLE usage_monitor.model_alternative (
    pattern     text NOT NULL,
    alternative text NOT NULL,
    provider    text,
    note        text,
    enabled     boolean NOT NULL DEFAULT true,
    origin      text NOT NULL DEFAULT 'user',
    CONSTRAINT model_alternative_pkey PRIMARY KEY (pattern, alternative, origin)
);

COMMENT ON TABLE usage_monitor.model_alternative IS
    'Models that may do the work of dearer ones: what optimization_suggestion compares with. Add rows of your own: one of the same pattern and alternative precedes the shipped one, and one with enabled false takes the alternative out for every model that its pattern fits, but where another row of yours comes closer to the name.';
COMMENT ON COLUMN usage_monitor.model_alternative.pattern IS 'The dearer model, by any of the names that resolve_model() shows for a call to it; * stands for any run of characters.';
COMMENT ON COLUMN usage_monitor.model_alternative.alternative IS 'The model that may do.';
COMMENT ON COLUMN usage_monitor.model_alternative.provider IS 'Who offers it; NULL: the provider of the dearer one.';
COMMENT ON COLUMN usage_monitor.model_alternative.note IS 'How they compare, for people.';
COMMENT ON COLUMN usage_monitor.model_alternative.enabled IS 'False: not suggested, by whatever row it would be; with a provider: not at that one.';
COMMENT ON COLUMN usage_monitor.model_alternative.origin IS 'shipped (read only) or user.';

-- only what changes the bill much; whether the answers do is for an evaluation to say
INSERT INTO usage_monitor.model_alternative (pattern, alternative, note, origin)
SELECT a.pattern, a.alternative, a.note, 'shipped'
  FROM (VALUES
      ('gpt-4', 'gpt-4.1', 'successor'),
      ('gpt-4-32k', 'gpt-4.1', 'successor'),
      ('gpt-4-turbo', 'gpt-4.1', 'successor'),
      ('gpt-4.5-preview', 'gpt-4.1', 'successor'),
      ('gpt-3.5-turbo', 'gpt-4o-mini', 'successor'),
      ('gpt-3.5-turbo-16k', 'gpt-4o-mini', 'successor'),
      ('gpt-4o-2024-05-13', 'gpt-4o', 'later version'),
      ('gpt-4o', 'gpt-4o-mini', 'smaller model of the family'),
      ('gpt-4o', 'gpt-4.1-mini', 'smaller model, longer context'),
      ('gpt-4.1', 'gpt-4.1-mini', 'smaller model of the family'),
      ('gpt-4.1-mini', 'gpt-4.1-nano', 'smallest model of the family'),
      ('gpt-5', 'gpt-5-mini', 'smaller model of the family'),
      ('gpt-5.1', 'gpt-5-mini', 'smaller model, generation before'),
      ('gpt-5.2', 'gpt-5-mini', 'smaller model, generation before'),
      ('gpt-5-mini', 'gpt-5-nano', 'smallest model of the family'),
      ('gpt-5-pro', 'gpt-5', 'the family''s standard model'),
      ('gpt-5.2-pro', 'gpt-5.2', 'the family''s standard model'),
      ('gpt-5.4-pro', 'gpt-5.4', 'the family''s standard model'),
      ('gpt-5.4', 'gpt-5.4-mini', 'smaller model of the family'),
      ('gpt-5.4-mini', 'gpt-5.4-nano', 'smallest model of the family'),
      ('gpt-5.6-sol', 'gpt-5.6-terra', 'smaller model of the family'),
      ('gpt-5.6-terra', 'gpt-5.6-luna', 'smallest model of the family'),
      ('gpt-6-sol', 'gpt-6-luna', 'smaller model of the family'),
      ('o1', 'o3', 'successor'),
      ('o1-preview', 'o3', 'successor'),
      ('o1-pro', 'o3-pro', 'successor'),
      ('o3-pro', 'o3', 'the family''s standard model'),
      ('o3', 'o4-mini', 'smaller model that reasons'),
      ('text-embedding-3-large', 'text-embedding-3-small', 'smaller model; everything is to be embedded anew'),
      ('text-embedding-ada-002', 'text-embedding-3-small', 'successor; everything is to be embedded anew'),
      ('claude-3-opus*', 'claude-opus-4-5', 'successor'),
      ('claude-opus-4-0', 'claude-opus-4-5', 'successor'),
      ('claude-opus-4-1', 'claude-opus-4-5', 'successor'),
      ('claude-opus-4-5', 'claude-sonnet-4-5', 'smaller model of the family'),
      ('claude-opus-4-6', 'claude-sonnet-4-6', 'smaller model of the family'),
      ('claude-opus-5', 'claude-sonnet-5', 'smaller model of the family'),
      ('claude-sonnet-4-6', 'claude-haiku-4-5', 'smaller model'),
      ('claude-sonnet-4-5', 'claude-haiku-4-5', 'smaller model of the family'),
      ('claude-sonnet-4-5', 'claude-sonnet-5', 'successor'),
      ('claude-sonnet-4-0', 'claude-haiku-4-5', 'smaller model, generation after'),
      ('claude-3-7-sonnet*', 'claude-haiku-4-5', 'smaller model, generation after'),
      ('claude-3-5-sonnet*', 'claude-haiku-4-5', 'smaller model, generation after'),
      ('anthropic.claude-opus-4-1-20250805', 'anthropic.claude-opus-4-5', 'successor'),
      ('anthropic.claude-opus-4-5', 'anthropic.claude-sonnet-4-5-20250929', 'smaller model of the family'),
      ('anthropic.claude-sonnet-4-5-20250929', 'anthropic.claude-haiku-4-5-20251001', 'smaller model of the family'),
      ('anthropic.claude-sonnet-4-20250514', 'anthropic.claude-haiku-4-5-20251001', 'smaller model, generation after'),
      ('amazon.nova-premier', 'amazon.nova-pro', 'smaller model of the family'),
      ('amazon.nova-pro', 'amazon.nova-lite', 'smaller model of the family'),
      ('amazon.nova-lite', 'amazon.nova-micro', 'text alone'),
      ('gemini-1.5-pro', 'gemini-2.5-flash', 'smaller model, generation after'),
      ('gemini-2.5-pro', 'gemini-2.5-flash', 'smaller model of the family'),
      ('gemini-2.5-flash', 'gemini-2.5-flash-lite', 'smallest model of the family'),
      ('gemini-2.0-flash', 'gemini-2.0-flash-lite', 'smallest model of the family'),
      ('gemini-3-pro-preview', 'gemini-3-flash-preview', 'smaller model of the family'),
      ('gemini-3.1-pro-preview', 'gemini-3-flash-preview', 'smaller model, generation before'),
      ('gemini-3-flash-preview', 'gemini-3.1-flash-lite', 'smallest model of the family'),
      ('gemini-3.5-flash', 'gemini-3.5-flash-lite', 'smallest model of the family'),
      ('qwen-max', 'qwen-plus', 'smaller model of the family'),
      ('qwen3-max', 'qwen-plus', 'smaller model of the family'),
      ('qwen-plus', 'qwen-flash', 'smallest model of the family'),
      ('deepseek-v4-pro', 'deepseek-v4-flash', 'smaller model of the family'),
      ('grok-3', 'grok-3-mini', 'smaller model of the family'),
      ('grok-4-0709', 'grok-4-1-fast-reasoning', 'smaller model that reasons'),
      ('mistral-large', 'mistral-medium-latest', 'smaller model of the family'),
      ('mistral-medium-latest', 'mistral-small-latest', 'smaller model of the family'),
      ('command-r-plus', 'command-r', 'smaller model of the family'),
      ('command-a', 'command-r', 'smaller model, generation before'),
      ('command-r', 'command-r7b', 'smallest model of the family'),
      ('sonar-pro', 'sonar', 'smaller model of the family'),
      ('voyage-3-large', 'voyage-3.5', 'smaller model; everything is to be embedded anew'),
      ('voyage-3.5', 'voyage-3.5-lite', 'smaller model; everything is to be embedded anew'),
      ('voyage-4-large', 'voyage-4', 'smaller model of the family'),
      ('voyage-4', 'voyage-4-lite', 'smaller model of the family'),
      ('glm-4.5', 'glm-4.5-air', 'smaller model of the family'),
      ('glm-4.6', 'glm-4.5-air', 'smaller model, generation before'),
      ('glm-4-plus', 'glm-4-air', 'smaller model of the family'),
      ('kimi-k2-thinking-turbo', 'kimi-k2-thinking', 'the same model, slower'),
      ('kimi-k2-turbo-preview', 'kimi-k2', 'the same model, slower'),
      ('moonshot-v1-128k', 'moonshot-v1-32k', 'where the context is short enough'),
      ('doubao-1.5-pro-32k', 'doubao-1.5-lite-32k', 'smaller model of the family'),
      ('doubao-seed-1.6', 'doubao-seed-1.6-flash', 'smallest model of the family')
      ) AS a (pattern, alternative, note);

CREATE FUNCTION _usage_monitor._check_alternative() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.origin <> 'user' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM008',
            MESSAGE = format('column "origin" must be user, but is "%s"', NEW.origin),
            HINT = 'Leave it out: your own alternatives are of origin user.';
    END IF;
    IF NEW.pattern = '' OR NEW.alternative = '' OR NEW.provider = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('column "%s" must not be empty',
                             CASE WHEN NEW.pattern = '' THEN 'pattern'
                                  WHEN NEW.alternative = '' THEN 'alternative'
                                  ELSE 'provider' END),
            HINT = 'For example pattern acme-large*, alternative acme-small; leave provider NULL for the same one.';
    END IF;
    IF NEW.alternative LIKE '%*%' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'UM004',
            MESSAGE = format('column "alternative" must be the name of one model, but is "%s"', NEW.alternative),
            HINT = 'Only pattern may have a *.';
    END IF;
    NEW.provider := _usage_monitor._canonical_provider(NEW.provider);
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION _usage_monitor._check_alternative() IS 'Row trigger: what an alternative must be.';

CREATE TRIGGER check_alternative
    BEFORE INSERT OR UPDATE ON usage_monitor.model_alternative
    FOR EACH ROW WHEN (NEW.origin IS DISTINCT FROM 'shipped')
    EXECUTE FUNCTION _usage_monitor._check_alternative();

CREATE TRIGGER protect_shipped
    BEFORE INSERT OR UPDATE OR DELETE ON usage_monitor.model_alternative
    FOR EACH ROW EXECUTE FUNCTION _usage_monitor._protect_shipped();

SELECT pg_catalog.pg_extension_config_dump('usage_monitor.model_alternative', 'WHERE origin <> ''shipped''');

CREATE FUNCTION _usage_monitor._alternatives(provider text, model text)
RETURNS TABLE (alternative text, provider text, note text)
    LANGUAGE sql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH fitting AS (
        -- how close a row comes: first the name that it fits, then how much of that it spells out
        SELECT a.alternative, coalesce(a.provider, $1) AS provider, a.note, a.enabled, a.origin, a.pattern,
               a.provider IS NULL AS is_any_provider,
               min(n.step) AS step,
               length(replace(a.pattern, '*', '')) AS spelled
          FROM usage_monitor.model_alternative a
          JOIN _usage_monitor._model_names($1, $2) n
            ON n.name <> '*'
           AND n.name LIKE _usage_monitor._like_pattern(a.pattern)
         WHERE a.alternative <> $2
         GROUP BY a.pattern, a.alternative, a.origin
    )
    SELECT DISTINCT ON (f.alternative, f.provider) f.alternative, f.provider, f.note
      FROM fitting f
     WHERE f.enabled
       AND NOT EXISTS (
               SELECT
                 FROM fitting u
                WHERE u.origin = 'user'
                  AND u.alternative = f.alternative
                  AND CASE WHEN f.origin = 'user'
                           -- who takes one out that he has added means calls that the row comes closer to
                           THEN NOT u.enabled
                                AND (u.is_any_provider OR u.provider = f.provider)
                                AND (u.step, -u.spelled) <= (f.step, -f.spelled)
                           ELSE u.pattern = f.pattern
                                OR (NOT u.enabled AND (u.is_any_provider OR u.provider = f.provider))
                      END)
     ORDER BY f.alternative, f.provider, f.origin DESC, f.step, f.spelled DESC, f.pattern;
END;

COMMENT ON FUNCTION _usage_monitor._alternatives(text, text) IS
    'The alternatives to a model of a provider, and who offers them.';
