// Receives what OpenTelemetry exporters send (OTLP over HTTP, as JSON) and
// gives it to record_span().
//
//   PGUSER=recorder node otlp-receiver.mjs        libpq's variables; HOST, PORT, TOKEN; ORG for all of it
//   OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/json
//   OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer ..."       if there is a TOKEN
//
// What the ledger refuses is told to the exporter as a partial success; if the
// database is away it is asked to send again, which counts once.
import { createServer } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { pathToFileURL } from 'node:url'
import pg from 'pg'

const LIMIT = 16 * 1024 * 1024

async function bodyOf(request) {
  const parts = []
  let length = 0
  for await (const part of request) {
    // what is too much is read and dropped: who is cut off would send it again
    if ((length += part.length) <= LIMIT) parts.push(part)
  }
  if (length > LIMIT) throw Object.assign(new Error('the export is too large'), { status: 413 })
  const bytes = Buffer.concat(parts)
  return (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes, { maxOutputLength: LIMIT }) : bytes).toString()
}

async function receive(request, pool, { token, org }) {
  const rejected = { '/v1/traces': 'rejectedSpans', '/v1/logs': 'rejectedLogRecords' }[request.url]
  if (request.method !== 'POST') return [405, { message: 'POST to /v1/traces or /v1/logs' }]
  if (token && request.headers.authorization !== `Bearer ${token}`) return [401, { message: 'a token is wanted' }]
  if (request.url === '/v1/metrics') return [200, {}] // sums, which tell of no single call
  if (!rejected) return [404, { message: 'POST to /v1/traces or /v1/logs' }]
  if (!request.headers['content-type']?.startsWith('application/json')) {
    return [415, { message: 'JSON is wanted: OTEL_EXPORTER_OTLP_PROTOCOL=http/json' }]
  }
  const { rows } = await pool.query(
    "SELECT concat_ws(' ', span_id, error) AS refusal FROM usage_monitor.record_span($1, org => $2) WHERE outcome = 'refused'",
    [JSON.stringify(JSON.parse(await bodyOf(request))), org])
  if (rows.length === 0) return [200, {}]
  return [200, { partialSuccess: { [rejected]: String(rows.length), errorMessage: rows.slice(0, 10).map((row) => row.refusal).join('; ') } }]
}

export function otlpReceiver(pool, options = {}) {
  return createServer(async (request, response) => {
    const [status, body] = await receive(request, pool, options).catch((error) => {
      if (error instanceof SyntaxError || /^(UM|22)/.test(error.code)) return [400, { message: error.message }]
      if (/^(Z_|ERR_BUFFER_TOO_LARGE)/.test(error.code)) return [400, { message: 'the compressed body cannot be read' }]
      if (!error.status) console.error(error.message)
      return [error.status ?? 503, { message: error.status ? error.message : 'the ledger is away' }]
    })
    response.writeHead(status, { 'content-type': 'application/json', ...(status === 503 ? { 'retry-after': '5' } : {}) })
    response.end(JSON.stringify(body))
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { HOST = '127.0.0.1', PORT = '4318', TOKEN, ORG } = process.env
  otlpReceiver(new pg.Pool(), { token: TOKEN, org: ORG }).listen(+PORT, HOST, () => console.log(`listening on ${HOST}:${PORT}`))
}
