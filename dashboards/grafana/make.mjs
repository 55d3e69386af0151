// Writes usage.json and operation.json, the dashboards that Grafana loads:
// what is the same in every panel is said here once.
//
//   node make.mjs            writes them
//   node make.mjs --check    says whether they are as this would write them
import fs from 'node:fs';

const here = new URL('.', import.meta.url);
const datasource = { type: 'grafana-postgresql-datasource', uid: '${datasource}' };

// "All" is NULL: no list of thousands of names is sent, and the planner knows
// that such a condition holds
const all = name => `coalesce($${name}) IS NULL`;
const orgs = `(${all('org')} OR org IN ($org))`;
const projects = `(${all('project')} OR coalesce(project, '') IN ($project))`;
const models = `(${all('model')} OR model IN ($model))`;
const chosen = `${orgs} AND ${projects} AND ${models}`;
// Grafana's range is of instants, written in UTC: by their days on the ledger's
// calendar, for the day that runs there may have another date here
const inTime = 'day BETWEEN usage_monitor.ledger_day($__timeFrom()) AND usage_monitor.ledger_day($__timeTo())';
const dayStart = "(day::timestamp AT TIME ZONE usage_monitor.ledger_time_zone())";
const variables = [
  { name: 'org', label: 'Organisation', allValue: 'NULL',
    query: `SELECT DISTINCT org FROM usage_monitor.daily_usage WHERE ${inTime} ORDER BY 1` },
  { name: 'project', label: 'Project', allValue: 'NULL',
    query: `SELECT DISTINCT coalesce(project, '(none)') AS __text, coalesce(project, '') AS __value FROM usage_monitor.project_usage WHERE ${inTime} AND ${orgs} ORDER BY 1` },
  { name: 'model', label: 'Model', allValue: 'NULL',
    query: `SELECT DISTINCT model FROM usage_monitor.model_usage WHERE ${inTime} AND ${orgs} ORDER BY 1` },
];
const today = 'usage_monitor.ledger_day(now())';
const month = `date_trunc('month', ${today}::timestamp)::date`;
const lastMonth = `(date_trunc('month', ${today}::timestamp) - interval '1 month')::date`;

let id = 0;
function panel(type, title, gridPos, rawSql, { description, unit, format = 'table', options = {}, custom, overrides = [] } = {}) {
  return {
    id: ++id, type, title, ...(description ? { description } : {}), datasource, gridPos,
    targets: [{ refId: 'A', datasource, format, rawQuery: true, editorMode: 'code', rawSql: rawSql.replace(/\s+/g, ' ').trim() }],
    fieldConfig: { defaults: { ...(unit ? { unit } : {}), ...(custom ? { custom } : {}) }, overrides },
    options, transparent: false,
  };
}
const stat = (title, x, y, sql, more = {}) =>
  panel('stat', title, { h: 4, w: 4, x, y }, sql, { options: { reduceOptions: { calcs: ['lastNotNull'], fields: '/.*/', values: false }, textMode: 'auto', graphMode: 'none' }, ...more });
const bars = { drawStyle: 'bars', fillOpacity: 80, lineWidth: 0, stacking: { mode: 'normal', group: 'A' } };
const legend = { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } };
const series = (title, gridPos, sql, more = {}) => panel('timeseries', title, gridPos, sql, { format: 'time_series', options: legend, ...more });
const table = (title, gridPos, sql, more = {}) => panel('table', title, gridPos, sql, { options: { showHeader: true, cellHeight: 'sm' }, ...more });
const column = (name, unit) => ({ matcher: { id: 'byName', options: name }, properties: [{ id: 'unit', value: unit }] });

function dashboard(uid, title, list, panels, time = 'now-30d') {
  return {
    uid, title, schemaVersion: 41, version: 1, tags: ['usage_monitor'], timezone: 'browser', editable: true, graphTooltip: 1,
    refresh: '1m', time: { from: time, to: 'now' }, annotations: { list: [] }, links: [],
    templating: {
      list: [
        { type: 'datasource', name: 'datasource', label: 'Ledger', query: 'grafana-postgresql-datasource' },
        ...list.map(v => ({
          type: 'query', name: v.name, label: v.label, datasource, query: v.query, refresh: 2, sort: 0,
          multi: true, includeAll: true, allValue: v.allValue, current: { text: ['All'], value: ['$__all'] }, hide: 0, options: [],
        })),
      ],
    },
    panels,
  };
}

// What the panels of usage read, for such days and what is chosen: the smallest
// view that knows it.  The conditions of the others are false before they are
// read.  A day has thousands of rows by project, source and model together.
const measures = 'requests, successes, errors, unpriced_requests, input_tokens, output_tokens, cache_read_input_tokens, cost';
function used(days, key) {
  const part = (view, condition, project, model) =>
    `SELECT day, org, ${project ? '' : 'NULL AS '}project, ${model ? '' : 'NULL AS '}model, ${measures} FROM usage_monitor.${view}
      WHERE ${condition} AND ${days} AND ${orgs}${project ? ` AND ${projects}` : ''}${model ? ` AND ${models}` : ''}`;
  const anyProject = all('project'), anyModel = all('model');
  const parts = {
    project: [part('project_usage', anyModel, true, false), part('combined_usage', `NOT ${anyModel}`, true, true)],
    model: [part('model_usage', anyProject, false, true), part('combined_usage', `NOT ${anyProject}`, true, true)],
    none: [
      part('daily_usage', `${anyProject} AND ${anyModel}`, false, false),
      part('model_usage', `${anyProject} AND NOT ${anyModel}`, false, true),
      part('project_usage', `NOT ${anyProject} AND ${anyModel}`, true, false),
      part('combined_usage', `NOT ${anyProject} AND NOT ${anyModel}`, true, true),
    ],
  }[key ?? 'none'];
  return `(${parts.join(' UNION ALL ')}) AS u`;
}
const byDay = (key, value) => `SELECT ${dayStart} AS "time", ${key === 'project' ? "coalesce(project, '(none)')" : key} AS metric, ${value} AS value
  FROM ${used(inTime, key)} GROUP BY 1, 2 ORDER BY 1`;

const usage = dashboard('usage-monitor', 'AI spend', variables, [
  stat('Today', 0, 0, `SELECT coalesce(sum(cost), 0) AS cost FROM ${used(`day = ${today}`)}`,
    { description: 'In the ledger\'s currency, by its calendar, whatever the range is.' }),
  stat('This month', 4, 0, `SELECT coalesce(sum(cost), 0) AS cost FROM ${used(`day >= ${month}`)}`),
  stat('Last month', 8, 0, `SELECT coalesce(sum(cost), 0) AS cost FROM ${used(`day >= ${lastMonth} AND day < ${month}`)}`),
  stat('In the range', 12, 0, `SELECT coalesce(sum(cost), 0) AS cost FROM ${used(inTime)}`),
  stat('Failed', 16, 0, `SELECT 100.0 * sum(errors) / nullif(sum(requests), 0) AS failed FROM ${used(inTime)}`, { unit: 'percent' }),
  stat('Calls without a cost', 20, 0, `SELECT coalesce(sum(unpriced_requests), 0) AS calls FROM ${used(inTime)}`,
    { description: 'They are in no sum of costs: set their prices, and call reprice().' }),
  series('Cost by model', { h: 9, w: 12, x: 0, y: 4 }, byDay('model', 'sum(cost)'), { custom: bars }),
  series('Cost by project', { h: 9, w: 12, x: 12, y: 4 }, byDay('project', 'sum(cost)'), { custom: bars }),
  // by the number of the day: on an axis of time, what is to come is beyond the range
  panel('trend', 'Forecast of this month', { h: 8, w: 12, x: 0, y: 13 },
    `SELECT extract(day FROM day)::integer AS day, sum(cost) AS cost, sum(forecast) AS forecast, sum(lower_bound) AS "at least", sum(upper_bound) AS "at most"
       FROM (SELECT day, org, cost, NULL::numeric AS forecast, NULL::numeric AS lower_bound, NULL::numeric AS upper_bound
               FROM usage_monitor.daily_usage WHERE day BETWEEN ${month} AND ${today}
             UNION ALL SELECT day, subject, NULL, cost, lower_bound, upper_bound FROM usage_monitor.forecast_days(now(), 'org')) AS d
      WHERE ${orgs} GROUP BY 1 ORDER BY 1`,
    { options: { xField: 'day', ...legend },
      description: 'Day by day: what it cost, and what the days left will, by organisation; the bounds of several are added up. Projects and models do not matter here.' }),
  table('Month to date and forecast', { h: 8, w: 12, x: 12, y: 13 },
    `SELECT org, month_to_date, forecast, lower_bound AS "at least", upper_bound AS "at most", confidence
       FROM (SELECT f.subject AS org, f.* FROM usage_monitor.cost_forecast AS f WHERE f.scope = 'org') AS f WHERE ${orgs} ORDER BY forecast DESC NULLS LAST LIMIT 100`),
  table('Models', { h: 9, w: 8, x: 0, y: 21 },
    `SELECT model, sum(cost) AS cost, sum(requests) AS calls, sum(input_tokens) AS "input tokens", sum(output_tokens) AS "output tokens"
       FROM ${used(inTime, 'model')} GROUP BY 1 ORDER BY 2 DESC NULLS LAST LIMIT 100`),
  table('Projects', { h: 9, w: 8, x: 8, y: 21 },
    `SELECT org, project, sum(cost) AS cost, sum(requests) AS calls FROM ${used(inTime, 'project')} GROUP BY 1, 2 ORDER BY 3 DESC NULLS LAST LIMIT 100`),
  table('Users', { h: 9, w: 8, x: 16, y: 21 },
    `SELECT org, user_id AS "user", sum(cost) AS cost, sum(requests) AS calls FROM usage_monitor.user_usage WHERE ${inTime} AND ${orgs} GROUP BY 1, 2 ORDER BY 3 DESC NULLS LAST LIMIT 100`,
    { description: 'Of the organisations; projects and models do not matter here.' }),
  table('Tags', { h: 9, w: 8, x: 0, y: 30 },
    `SELECT key, value, sum(cost) AS cost, sum(requests) AS calls FROM usage_monitor.tag_usage WHERE ${inTime} AND ${orgs} GROUP BY 1, 2 ORDER BY 3 DESC NULLS LAST LIMIT 100`,
    { description: 'API keys, teams and what else calls are tagged by. A call counts under each of its tags.' }),
  table('Quotas', { h: 9, w: 8, x: 8, y: 30 },
    `SELECT name, subject, period, amount, used, percentage, state, projected FROM usage_monitor.quota_status WHERE org IS NULL OR ${orgs}
      ORDER BY percentage DESC NULLS LAST LIMIT 100`, { overrides: [column('percentage', 'percent')] }),
  table('Open alerts', { h: 9, w: 8, x: 16, y: 30 },
    `SELECT raised_at AS "time", level, alert_type AS type, message, acknowledged_by FROM usage_monitor.active_alert WHERE org IS NULL OR ${orgs}
      ORDER BY raised_at DESC LIMIT 100`),
  series('Calls and failures', { h: 8, w: 8, x: 0, y: 39 },
    `SELECT ${dayStart} AS "time", sum(successes) AS succeeded, sum(errors) AS failed FROM ${used(inTime)} GROUP BY 1 ORDER BY 1`,
    { custom: bars }),
  series('Duration, 95th percentile', { h: 8, w: 8, x: 8, y: 39 },
    `SELECT ${dayStart} AS "time", org AS metric, p95_duration_ms AS value FROM usage_monitor.daily_usage WHERE ${inTime} AND ${orgs} ORDER BY 1`,
    { unit: 'ms', description: 'By organisation; projects and models do not matter here.' }),
  series('Input read from the cache', { h: 8, w: 8, x: 16, y: 39 },
    byDay('model', '100.0 * sum(cache_read_input_tokens) / nullif(sum(input_tokens), 0)'), { unit: 'percent' }),
  table('Models without a price', { h: 8, w: 8, x: 0, y: 47 },
    `SELECT model, org, sum(unpriced_requests) AS calls FROM ${used(inTime, 'model')} GROUP BY 1, 2 HAVING sum(unpriced_requests) > 0 ORDER BY 3 DESC LIMIT 100`),
  table('Latest calls', { h: 8, w: 16, x: 8, y: 47 },
    `SELECT ts AS "time", org, project, user_id AS "user", model, input_tokens AS "input", output_tokens AS "output", cost, duration_ms AS duration, success, error
       FROM usage_monitor.recent_usage WHERE ${chosen} ORDER BY usage_id DESC`, { description: 'Of the last 100 that were recorded.', overrides: [column('duration', 'ms')] }),
]);

id = 0;
const status = value => `SELECT ${value} FROM usage_monitor.maintenance_status`;
const size = names => `SELECT sum(pg_catalog.pg_total_relation_size(c.oid)) AS bytes FROM pg_catalog.pg_class AS c WHERE ${names}`;
const operation = dashboard('usage-monitor-operation', 'AI spend: the ledger', [], [
  stat('Calls since the last refresh', 0, 0, status('tail_calls AS calls'), { description: 'Views are right without a refresh, and faster after it.' }),
  stat('Since the last refresh', 4, 0, status('extract(epoch FROM now() - refreshed_at) AS seconds'), { unit: 's' }),
  stat('Background worker', 8, 0, status('worker')),
  stat('Failing step of maintenance', 12, 0, status("coalesce(failing_step || ': ' || error, 'none') AS step")),
  stat('Open alerts', 16, 0, 'SELECT count(*) AS alerts FROM usage_monitor.active_alert'),
  stat('Open reservations', 20, 0, "SELECT count(*) AS reservations FROM usage_monitor.reservation WHERE state = 'open' AND expires_at > now()"),
  stat('Ledger', 0, 4, size("c.oid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree('usage_monitor.usage') AS p)"), { unit: 'bytes' }),
  stat('Rollups', 4, 4, size(String.raw`c.relnamespace = '_usage_monitor'::regnamespace AND c.relname LIKE '\_rollup\_%' AND c.relkind = 'r'`), { unit: 'bytes' }),
  stat('Calls in the default partition', 8, 4, status('default_partition_calls AS calls'), { description: 'About. Those of months that have no partition of their own.' }),
  stat('Months without a partition', 12, 4, status('cardinality(months_without_partition) AS months')),
  stat('Counters of past periods', 16, 4, status('past_counters AS counters')),
  stat('Books closed until', 20, 4, "SELECT coalesce(max(until)::text, 'never') AS day FROM usage_monitor.closed_period"),
  series('Calls recorded, by hour', { h: 8, w: 12, x: 0, y: 8 },
    'SELECT hour AS "time", successes AS succeeded, errors AS failed FROM usage_monitor.hourly_total WHERE $__timeFilter(hour) ORDER BY 1', { custom: bars }),
  series('Calls without a cost, by day', { h: 8, w: 12, x: 12, y: 8 },
    `SELECT ${dayStart} AS "time", unpriced_requests AS calls FROM usage_monitor.daily_total WHERE ${inTime} ORDER BY 1`, { custom: bars }),
  table('Partitions', { h: 9, w: 12, x: 0, y: 16 },
    `SELECT p.relid::regclass::text AS partition, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS holds, pg_catalog.pg_total_relation_size(c.oid) AS bytes,
            greatest(c.reltuples, 0)::bigint AS calls, s.last_autovacuum
       FROM pg_catalog.pg_partition_tree('usage_monitor.usage') AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.relid
       LEFT JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid WHERE p.isleaf ORDER BY 1`, { overrides: [column('bytes', 'bytes')] }),
  // what no rollup knows; unpriced_usage has no column that leads to the calls of a time
  table('Why calls have no cost', { h: 9, w: 12, x: 12, y: 16 },
    `SELECT provider, model, CASE WHEN unread IS NULL THEN unpriced_reason ELSE 'unread field: see unread_fields' END AS reason,
            count(*) AS calls, max(ts) AS latest
       FROM usage_monitor.usage WHERE $__timeFilter(ts) AND cost IS NULL GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 100`),
  table('Alerts raised', { h: 9, w: 12, x: 0, y: 25 },
    `SELECT raised_at AS "time", level, alert_type AS type, message, resolved_at FROM usage_monitor.alert WHERE $__timeFilter(raised_at) ORDER BY raised_at DESC LIMIT 100`),
  table('Who changed what', { h: 9, w: 12, x: 12, y: 25 },
    `SELECT at AS "time", who, what, change, coalesce(new, old, details)::text AS details FROM usage_monitor.audit_log WHERE $__timeFilter(at) ORDER BY audit_id DESC LIMIT 100`),
], 'now-7d');

let stale = 0;
for (const [name, content] of [['usage.json', usage], ['operation.json', operation]]) {
  const text = JSON.stringify(content, null, 1) + '\n';
  if (!process.argv.includes('--check')) {
    fs.writeFileSync(new URL(name, here), text);
  } else if (fs.readFileSync(new URL(name, here), 'utf8') !== text) {
    console.error(`${name} is not what make.mjs writes`);
    stale++;
  }
}
process.exit(stale ? 1 : 0);
