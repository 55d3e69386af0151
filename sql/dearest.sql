/*
 * The users who cost most, found among all by as little as that takes: what
 * else there is to say of them is summed up of them alone.
 */
CREATE FUNCTION usage_monitor._dearest_users(
    first_day date,
    past_day date,
    only_org text,
    "limit" integer,
    OUT orgs text[],
    OUT user_ids text[]
)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
BEGIN
    -- by _sum(): each has but a few days
    EXECUTE '
        SELECT coalesce(array_agg(t.org), ''{}''), coalesce(array_agg(t.user_id), ''{}'')
          FROM (
              SELECT u.org, u.user_id
                FROM usage_monitor.user_usage AS u
               WHERE u.day >= $1 AND u.day < $2 ' || CASE WHEN only_org IS NULL THEN '' ELSE 'AND u.org = $3' END || '
               GROUP BY u.org, u.user_id
               ORDER BY usage_monitor._sum(u.cost) DESC NULLS LAST, usage_monitor._sum(u.requests) DESC, u.org, u.user_id
               LIMIT $4
          ) AS t'
       INTO orgs, user_ids
      USING first_day, past_day, only_org, "limit";
END
$$;

COMMENT ON FUNCTION usage_monitor._dearest_users(date, date, text, integer) IS
    'The users that cost most from a day on and before another, of one organisation or of all: the organisation of each, and the user_id.';
