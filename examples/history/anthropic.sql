-- Anthropic's usage report, from history (line jsonb): its pages, grouped by
-- model, service_tier and context_window at least
-- (/v1/organizations/usage_report/messages?group_by[]=model&group_by[]=service_tier&group_by[]=context_window).
-- It tells sums, and not of how many calls; here they are parts of a size that
-- is priced as the context window that they were in.
INSERT INTO usage_monitor.usage (request_id, ts, provider, model, service_tier, project, source, input_tokens, output_tokens, cache_read_input_tokens,
                                 cache_creation_input_tokens, cache_creation_1h_input_tokens, units)
SELECT concat_ws('/', 'anthropic-usage', bucket ->> 'starting_at', r ->> 'model', r ->> 'workspace_id', r ->> 'api_key_id', r ->> 'service_tier',
                 r ->> 'context_window', r ->> 'inference_geo', i),
       (bucket ->> 'starting_at')::timestamptz,
       'anthropic',
       r ->> 'model',
       coalesce(r ->> 'service_tier', 'standard'),
       r ->> 'workspace_id',
       'anthropic-usage',
       part[1] + part[2] + part[3] + part[4],
       part[5],
       part[2],
       part[3] + part[4],
       part[4],
       jsonb_strip_nulls(jsonb_build_object(
           'web_search', CASE i WHEN 1 THEN r #> '{server_tool_use,web_search_requests}' END,
           'us_inference', CASE r ->> 'inference_geo' WHEN 'us' THEN 1 END))
  FROM history h
 CROSS JOIN jsonb_array_elements(h.line -> 'data') AS bucket
 CROSS JOIN jsonb_array_elements(bucket -> 'results') AS r
 CROSS JOIN LATERAL (SELECT ARRAY[coalesce((r ->> 'uncached_input_tokens')::bigint, 0), coalesce((r ->> 'cache_read_input_tokens')::bigint, 0),
                                  coalesce((r #>> '{cache_creation,ephemeral_5m_input_tokens}')::bigint, 0),
                                  coalesce((r #>> '{cache_creation,ephemeral_1h_input_tokens}')::bigint, 0),
                                  coalesce((r ->> 'output_tokens')::bigint, 0)]) AS t (told)
 CROSS JOIN LATERAL (SELECT greatest(1, CASE r ->> 'context_window' WHEN '200k-1M' THEN (told[1] + told[2] + told[3] + told[4]) / 250000
                                             ELSE (told[1] + told[2] + told[3] + told[4] + 149999) / 150000 END)) AS c (calls)
 CROSS JOIN generate_series(1, calls) AS i
 CROSS JOIN LATERAL (SELECT array_agg(n / calls + (i <= n % calls)::int ORDER BY o) FROM unnest(told) WITH ORDINALITY AS u (n, o)) AS p (part)
 WHERE r ->> 'model' IS NOT NULL
ON CONFLICT DO NOTHING;
