-- LiteLLM's spend logs, from its own table: in this database, or as a foreign
-- table.  Costs are the ledger's, not LiteLLM's.  Again counts nothing again.
SELECT count(*) AS calls, sum((done.call).cost) AS cost
  FROM (SELECT usage_monitor.record(
                   -- usage_object says what was cached; rows of older versions have none
                   jsonb_build_object('usage', jsonb_build_object('prompt_tokens', l.prompt_tokens, 'completion_tokens', l.completion_tokens)
                                               || coalesce(nullif(l.metadata -> 'usage_object', 'null'), '{}')),
                   provider => nullif(l.custom_llm_provider, ''),
                   model => l.model,
                   project => nullif(l.team_id, ''),
                   user_id => coalesce(nullif(l.end_user, ''), nullif(l."user", '')),
                   operation => nullif(l.call_type, ''),
                   source => l.metadata ->> 'user_api_key_alias',
                   request_id => l.request_id,
                   ts => l."startTime" AT TIME ZONE 'UTC',
                   duration_ms => extract(epoch FROM l."endTime" - l."startTime") * 1000,
                   success => l.metadata ->> 'status' IS DISTINCT FROM 'failure') AS call
          FROM "LiteLLM_SpendLogs" l
         WHERE l.model <> ''
           AND l.cache_hit IS DISTINCT FROM 'True' -- nobody was called
         ORDER BY l."startTime") AS done;
