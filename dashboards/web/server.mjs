// The page, live: static files, and figures as JSON.
import { createServer } from 'node:http'
import { existsSync, readFileSync } from 'node:fs'
import { csv } from './csv.mjs'
import { advice, calls, connect, download, handleAlerts, names, page, readOnly } from './database.mjs'
import { BadRequest, FILTERS, parseFilters } from './filters.mjs'

function setting (name, otherwise, most = 3600000) {
  const value = Number(process.env[name] || otherwise)
  if (Number.isInteger(value) && value >= 0 && value <= most) return value
  console.error(`${name} must be a whole number from 0 to ${most}, but is "${process.env[name]}"`)
  process.exit(1)
}
const host = process.env.HOST ?? '127.0.0.1'
const port = setting('PORT', 8765, 65535)
const timeout = setting('STATEMENT_TIMEOUT_MS', 15000)
const fresh = setting('FRESH_MS', 5000)
const CALLS = 50
// a request by another name was made by somebody else's page
const hosts = new Set([...['127.0.0.1', 'localhost', '[::1]'].map(name => port === 80 ? name : `${name}:${port}`),
  ...(process.env.ALLOWED_HOSTS ?? '').toLowerCase().split(',').map(name => name.trim()).filter(Boolean)])

const dist = new URL('./dist/', import.meta.url)
if (!existsSync(new URL('index.html', dist))) { console.error('There is no dist/index.html: run "npm run build" first.'); process.exit(1) }
const files = new Map([
  ['/', ['index.html', 'text/html; charset=utf-8']],
  ['/app.js', ['app.js', 'text/javascript; charset=utf-8']],
  ['/app.css', ['app.css', 'text/css; charset=utf-8']],
  ['/THIRD-PARTY.txt', ['THIRD-PARTY.txt', 'text/plain; charset=utf-8']]
].map(([path, [name, type]]) => [path, { type, bytes: readFileSync(new URL(name, dist)) }]))

const HEADERS = {
  'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin'
}

const pool = connect({ max: 3, connectionTimeoutMillis: 10000 })
pool.on('error', error => console.error('database:', error.message))

async function withClient (work) {
  const client = await pool.connect()
  let broken = true
  try {
    const result = await work(client)
    broken = false
    return result
  } catch (error) {
    broken = !error.code && !(error instanceof BadRequest)
    throw error
  } finally { client.release(broken) }
}
const query = work => withClient(client => readOnly(client, timeout, work))

// Twenty open pages ask once.  A hundred answers are kept at most.
const answers = new Map()
function shared (keepMs, key, make) {
  const now = Date.now()
  for (const [k, a] of answers) if (a.done && (now - a.at > a.keep || answers.size > 100)) answers.delete(k)
  let answer = answers.get(key)
  if (!answer) {
    answer = { at: now, keep: keepMs, done: false, value: query(make) }
    answer.value.then(() => { answer.done = true }, () => answers.delete(key))
    answers.set(key, answer)
  }
  return answer.value
}

function send (response, status, type, body, headers = {}) {
  response.writeHead(status, { ...HEADERS, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), 'Cache-Control': 'no-store', ...headers })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}
const json = (response, status, value, headers) => send(response, status, 'application/json; charset=utf-8', JSON.stringify(value), headers)

// takes named parameters off those of the filters
function take (params, ...keys) {
  const taken = keys.map(k => params.get(k))
  for (const k of keys) params.delete(k)
  return taken
}
const key = (...parts) => JSON.stringify(parts)

async function body (request) {
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > 20000) throw new BadRequest('too long')
  }
  try { return JSON.parse(text) } catch { throw new BadRequest('not JSON') }
}

async function handle (request, response) {
  // a form or a page of another site can't send this type without asking first
  const origin = request.headers.origin
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '') || (origin !== undefined && !hosts.has(origin.replace(/^https?:\/\//, '')))) {
    return json(response, 403, { error: 'forbidden' })
  }
  const { action, alert_ids: ids } = await body(request) ?? {}
  if (!['acknowledge', 'resolve'].includes(action) || !Array.isArray(ids) || ids.length === 0 || ids.length > 1000 || !ids.every(Number.isSafeInteger)) {
    throw new BadRequest('an action, acknowledge or resolve, and alert_ids are wanted')
  }
  await withClient(client => handleAlerts(client, action, ids))
  answers.clear()
  json(response, 200, {})
}

async function answer (request, response) {
  if (!hosts.has(request.headers.host?.toLowerCase())) return json(response, 421, { error: 'unknown host' })
  let url
  try { url = new URL(request.url, 'http://local') } catch { return json(response, 404, { error: 'not found' }) }
  if (request.method === 'POST' && url.pathname === '/api/alerts') return handle(request, response)
  if (request.method !== 'GET' && request.method !== 'HEAD') return json(response, 405, { error: 'only GET' }, { Allow: 'GET, HEAD' })
  const file = files.get(url.pathname)
  if (file) return send(response, 200, file.type, file.bytes)
  const params = new URLSearchParams(url.searchParams)
  switch (url.pathname) {
    case '/api/page': {
      const [fromCalls] = take(params, 'calls')
      const f = parseFilters(params)
      return json(response, 200, await shared(fresh, key('page', f, fromCalls), client => page(client, f, fromCalls === '1')))
    }
    case '/api/calls': {
      const [ts, id] = take(params, 'before', 'id')
      if (ts !== null && (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(ts) || !/^\d{1,18}$/.test(id ?? ''))) throw new BadRequest('unknown call')
      const f = parseFilters(params)
      return json(response, 200, await shared(fresh, key('calls', f, ts, id), client => calls(client, f, CALLS, ts === null ? null : { ts, id })))
    }
    case '/api/advice': {
      const f = parseFilters(params)
      return json(response, 200, await shared(600000, key('advice', f.org), client => advice(client, f)))
    }
    case '/api/names': {
      const [kind, containing] = take(params, 'kind', 'containing')
      if (!FILTERS.includes(kind) || (containing ?? '').length > 300) throw new BadRequest('unknown kind of names')
      const f = parseFilters(params)
      return json(response, 200, await shared(60000, key('names', kind, containing, f.org), client => names(client, kind, containing, f.org)))
    }
    case '/api/download': {
      const [what, format] = take(params, 'what', 'format')
      if (format !== 'csv' && format !== 'json') throw new BadRequest('unknown format')
      const f = parseFilters(params)
      const result = await query(client => download(client, f, what ?? ''))
      const asCsv = format === 'csv' && result.rows
      return send(response, 200, asCsv ? 'text/csv; charset=utf-8' : 'application/json; charset=utf-8',
        asCsv ? csv(result.rows) : result.json ?? JSON.stringify(result.rows, null, 1),
        { 'Content-Disposition': `attachment; filename="usage-${what}-${f.range}.${asCsv ? 'csv' : 'json'}"` })
    }
  }
  json(response, 404, { error: 'not found' })
}

const server = createServer((request, response) => {
  answer(request, response).catch(error => {
    if (response.headersSent) return response.destroy()
    if (error instanceof BadRequest) return json(response, 400, { error: error.message })
    // the log has the details, the page a class of error that it can put in words
    console.error(new Date().toISOString(), request.url, error.code ?? '', error.message)
    const kind = /^(22|UM)/.test(error.code) ? 'bad' // a day that no calendar has
      : error.code === '57014' ? 'timeout' : error.code === '42501' ? 'forbidden' : /^(3F000|42883|42P01)$/.test(error.code) ? 'not_installed' : 'unavailable'
    json(response, kind === 'bad' ? 400 : kind === 'timeout' ? 504 : kind === 'forbidden' ? 403 : 503, { error: kind })
  })
})
server.requestTimeout = 30000
server.on('error', error => {
  console.error(error.code === 'EADDRINUSE' ? `Port ${port} is taken: choose another with PORT=...` : error.message)
  process.exit(1)
})
server.listen(port, host, () => console.log(`http://${host}:${port}/`))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { server.close(); server.closeAllConnections?.(); pool.end() })
