-- Langfuse's observations, from history (line jsonb): the pages of its API
-- (/api/public/observations), or a line an observation, as its exports have it.
SELECT count(*) AS calls, sum((done.call).cost) AS cost
  FROM (SELECT usage_monitor.record(
                   CASE WHEN o ->> 'level' = 'ERROR' AND coalesce(o -> 'usageDetails', o -> 'usage_details', 'null') IN ('null', '{}')
                        THEN '{"error": "failed"}'
                        WHEN jsonb_typeof(coalesce(o -> 'usageDetails', o -> 'usage_details')) = 'object'
                        THEN jsonb_build_object('usage_details', coalesce(o -> 'usageDetails', o -> 'usage_details'))
                        ELSE '{"usage": null}' END,
                   model => coalesce(o ->> 'model', o ->> 'providedModelName', o ->> 'provided_model_name'),
                   user_id => coalesce(o ->> 'userId', o ->> 'user_id'),
                   session_id => coalesce(o ->> 'sessionId', o ->> 'session_id'),
                   operation => o ->> 'name',
                   source => 'langfuse',
                   request_id => o ->> 'id',
                   ts => coalesce(o ->> 'startTime', o ->> 'start_time')::timestamptz,
                   duration_ms => extract(epoch FROM coalesce(o ->> 'endTime', o ->> 'end_time')::timestamptz
                                                     - coalesce(o ->> 'startTime', o ->> 'start_time')::timestamptz) * 1000,
                   success => o ->> 'level' IS DISTINCT FROM 'ERROR',
                   error => CASE WHEN o ->> 'level' = 'ERROR' THEN coalesce(o ->> 'statusMessage', o ->> 'status_message') END) AS call
          FROM history h
         CROSS JOIN jsonb_array_elements(CASE WHEN h.line ? 'data' THEN h.line -> 'data' ELSE jsonb_build_array(h.line) END) AS o
         WHERE o ->> 'type' IN ('GENERATION', 'EMBEDDING')
           AND coalesce(o ->> 'model', o ->> 'providedModelName', o ->> 'provided_model_name') IS NOT NULL
         ORDER BY coalesce(o ->> 'startTime', o ->> 'start_time')) AS done;
