// All that is asked of the database: functions of usage_monitor, which do the
// work, in transactions that can only read and see one instant.
import pg from 'pg'
import { BadRequest, FILTERS, plusDays, rangeDays } from './filters.mjs'

// int8 and numeric come as strings and stay so; dates are asked for as text
pg.types.setTypeParser(pg.types.builtins.DATE, s => s)

// libpq's variables, or one address: PGHOST, PGDATABASE, ... or DATABASE_URL
export const connect = options => new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  application_name: 'usage_monitor web',
  ...options
})

export async function readOnly (client, timeoutMs, work) {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  try {
    await client.query(`SET LOCAL statement_timeout = ${Number(timeoutMs)}`)
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    throw error
  }
}

const rows = async (client, text, values) => (await client.query({ text, values })).rows
const today = async client => (await rows(client, 'SELECT usage_monitor.ledger_day(now())::text AS today'))[0].today
// arguments of page_data() and recent_calls(), in their order
const conditions = f => ['org', 'department', 'project', 'user', 'source', 'model'].map(k => f[k] ?? null)

export async function page (client, f, fromCalls) {
  const [from, to] = rangeDays(f.range, await today(client))
  const [{ page }] = await rows(client,
    'SELECT usage_monitor.page_data($1::date, $2::date + 1, $3, $4, $5, $6, $7, $8, 10, $9) AS page',
    [from, to, ...conditions(f), fromCalls])
  const [{ may }] = await rows(client, `
      SELECT coalesce(bool_or(has_function_privilege(p.oid, 'EXECUTE')), false) AS may
        FROM pg_proc AS p
       WHERE p.pronamespace = 'usage_monitor'::regnamespace AND p.proname = 'resolve_alert'`)
  page.meta.may_handle_alerts = may
  return page
}

const DAY = n => `(($${n}::date)::timestamp AT TIME ZONE usage_monitor.ledger_time_zone())`
const CALLS = `usage_monitor.recent_calls($1, $2, $3, $4, $5, $6, $7, ${DAY(8)}`

// the latest, or those before one of them
export async function calls (client, f, limit, before) {
  const [from, to] = rangeDays(f.range, await today(client))
  return rows(client, `
      SELECT usage_id, to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS ts, org, department, project, user_id, provider, model, operation, source,
             input_tokens, output_tokens, total_tokens, cost, cost_source, duration_ms, success, error, cached
        FROM ${CALLS}, ${before ? '$10::timestamptz' : DAY(10)}, $9)`,
  [limit, ...conditions(f), from, before?.id ?? null, before?.ts ?? plusDays(to, 1)])
}

// Of all together or one organisation; it changes slowly.
export const advice = (client, f) => rows(client, `
    SELECT code, arguments, type, subject, title, description, recommendations, current_cost, potential_savings, savings_percentage, effort, priority
      FROM usage_monitor.suggest_optimizations(now(), $1, 30, 0)
     WHERE org IS NOT DISTINCT FROM $1
     ORDER BY potential_savings DESC NULLS LAST
     LIMIT 8`, [f.org || null])

export const names = (client, kind, containing, org) =>
  rows(client, 'SELECT name, cost FROM usage_monitor.known_names($1, $2, 50, $3)', [kind, containing || null, kind === 'org' ? null : org || null])

const BREAKDOWNS = ['day', 'hour', 'user', 'project', 'department', 'model', 'operation', 'source', 'org']

export async function download (client, f, what) {
  const [from, to] = rangeDays(f.range, await today(client))
  if (what === 'report') {
    const period = f.range === 'today' ? 'daily' : f.range === '7d' ? 'weekly' : 'monthly'
    return { json: (await rows(client, 'SELECT usage_monitor.report($1, $2::date, $3)::text AS report', [period, to, f.org ?? null]))[0].report }
  }
  if (what === 'calls') {
    return { rows: await rows(client, `
      SELECT usage_id, ts::text, org, department, project, user_id, session_id, provider, model, operation, source, service_tier, input_tokens, output_tokens,
             total_tokens, cost, currency, cost_source, duration_ms, success, error, cached, tags
        FROM ${CALLS}, ${DAY(9)})`, [100000, ...conditions(f), from, plusDays(to, 1)]) }
  }
  if (!BREAKDOWNS.includes(what)) throw new BadRequest('unknown download')
  if (FILTERS.some(k => k !== 'org' && f[k] !== undefined)) throw new BadRequest('of a project, department, user, source or model only calls can be had')
  return { rows: await rows(client, 'SELECT * FROM usage_monitor.usage_between($1::date, $2::date + 1, $3, $4)', [from, to, what, f.org ?? null]) }
}

// The one thing that writes: what a role with the right to does with alerts.
export async function handleAlerts (client, action, ids) {
  const call = { acknowledge: 'acknowledge_alert', resolve: 'resolve_alert' }[action]
  await rows(client, `SELECT usage_monitor.${call}(a.id) FROM unnest($1::bigint[]) AS a (id)`, [ids])
}
