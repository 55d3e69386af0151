-- Claude Code's sessions, ~/.claude/projects/*/*.jsonl, from history (line jsonb).
-- A message stands on several lines, of which the last has all of its output.
-- request_id is the one of Claude Code's telemetry, so that both count once.
SELECT count(*) AS calls, sum((done.call).cost) AS cost
  FROM (SELECT usage_monitor.record(
                   m.line -> 'message',
                   provider => 'anthropic',
                   project => regexp_replace(m.line ->> 'cwd', '^.*/', ''),
                   session_id => m.line ->> 'sessionId',
                   source => 'claude-code',
                   request_id => coalesce(m.line ->> 'requestId', m.line #>> '{message,id}'),
                   ts => (m.line ->> 'timestamp')::timestamptz) AS call
          FROM (SELECT DISTINCT ON (coalesce(h.line ->> 'requestId', h.line #>> '{message,id}')) h.line
                  FROM history h
                 WHERE h.line ->> 'type' = 'assistant'
                   AND jsonb_typeof(h.line #> '{message,usage}') = 'object'
                   AND h.line #>> '{message,model}' <> '<synthetic>'
                 ORDER BY coalesce(h.line ->> 'requestId', h.line #>> '{message,id}'),
                          (h.line #>> '{message,usage,output_tokens}')::bigint DESC, h.line ->> 'timestamp' DESC) AS m
         ORDER BY m.line ->> 'timestamp') AS done;
