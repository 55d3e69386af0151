/*
 * The users who cost most, found among all.
 */
CREATE FUNCTION usage_monitor._dearest_users(
    first_day date,
    past_day date,
    only_org text,
    "limit" integer
) RETURNS TABLE (org text, user_id text)
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
BEGIN
    -- by _sum(): each has but a few days
    RETURN QUERY EXECUTE '
        SELECT u.org::text, u.user_id::text
          FROM usage_monitor.user_usage AS u
         WHERE u.day >= $1 AND u.day < $2 ' || CASE WHEN only_org IS NULL THEN '' ELSE 'AND u.org = $3' END || '
         GROUP BY u.org, u.user_id
         ORDER BY usage_monitor._sum(u.cost) DESC NULLS LAST, usage_monitor._sum(u.requests) DESC, u.org, u.user_id
         LIMIT $4'
    USING first_day, past_day, only_org, "limit";
END
$$;

COMMENT ON FUNCTION usage_monitor._dearest_users(date, date, text, integer) IS
    'The users that cost most from a day on and before another, of one organisation or of all, the dearest first.';
