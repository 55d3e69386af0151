-- OpenAI's usage API, from history (line jsonb): its pages, grouped by model at
-- least (/v1/organization/usage/completions?group_by=model&group_by=project_id&group_by=user_id&group_by=batch).
-- It tells sums and how many calls they are of; here they are as many calls of
-- the same size, for the size of a call can decide its price.
INSERT INTO usage_monitor.usage (request_id, ts, provider, model, service_tier, project, user_id, operation, source,
                                 input_tokens, output_tokens, cache_read_input_tokens, input_audio_tokens, output_audio_tokens)
SELECT concat_ws('/', 'openai-usage', bucket ->> 'start_time', r ->> 'model', r ->> 'project_id', r ->> 'user_id', r ->> 'api_key_id', r ->> 'batch', r ->> 'object', i),
       to_timestamp((bucket ->> 'start_time')::bigint),
       'openai',
       r ->> 'model',
       CASE WHEN r ->> 'batch' = 'true' THEN 'batch' ELSE 'standard' END,
       r ->> 'project_id',
       r ->> 'user_id',
       split_part(r ->> 'object', '.', 3),
       'openai-usage',
       part[1], part[2], part[3], part[4], part[5]
  FROM history h
 CROSS JOIN jsonb_array_elements(h.line -> 'data') AS bucket
 CROSS JOIN jsonb_array_elements(bucket -> 'results') AS r
 CROSS JOIN LATERAL (SELECT greatest(1, (r ->> 'num_model_requests')::bigint)) AS c (calls)
 CROSS JOIN generate_series(1, calls) AS i
 CROSS JOIN LATERAL (
           -- an equal part of each, and one more for the first ones, so that they sum up
           SELECT array_agg(n / calls + (i <= n % calls)::int ORDER BY o)
             FROM unnest(ARRAY[r ->> 'input_tokens', r ->> 'output_tokens', r ->> 'input_cached_tokens',
                               r ->> 'input_audio_tokens', r ->> 'output_audio_tokens']) WITH ORDINALITY AS t (text, o)
            CROSS JOIN LATERAL (SELECT coalesce(text::bigint, 0)) AS v (n)) AS p (part)
 WHERE r ->> 'model' IS NOT NULL
   AND r ? 'input_tokens'
ON CONFLICT DO NOTHING;
