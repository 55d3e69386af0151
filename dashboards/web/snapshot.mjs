// The page as one file, with the data of every range that it offers:
//
//   node snapshot.mjs usage.html [range=30d] [org=acme] [lang=zh] [without=users,calls]
import { readFileSync, writeFileSync } from 'node:fs'
import { advice, calls, connect, page, readOnly } from './database.mjs'
import { RANGES, parseFilters } from './filters.mjs'
import { withoutUsers } from './without.mjs'

const [target, ...rest] = process.argv.slice(2)
const usage = 'usage: node snapshot.mjs FILE [range=30d] [org=...] [project=...] [lang=en|zh] [without=users,calls]'
if (!target || rest.some(a => !a.includes('='))) { console.error(usage); process.exit(2) }
const params = new URLSearchParams(rest.map(a => a.split(/=(.*)/s).slice(0, 2)))
const without = (params.get('without') ?? '').split(',').filter(Boolean)
if (without.some(w => !['users', 'calls'].includes(w))) { console.error(usage); process.exit(2) }
params.delete('without')

let filters
try {
  filters = parseFilters(params)
  if (filters.user !== undefined && without.includes('users')) throw new Error('without=users and user=... contradict each other')
} catch (error) { console.error(`${error.message}\n${usage}`); process.exit(2) }
const pool = connect({ max: 1 })
const client = await pool.connect()
const data = await readOnly(client, 300000, async client => {
  const data = { range: filters.range, lang: params.get('lang'), without, pages: {}, calls: {}, advice: await advice(client, filters) }
  for (const range of new Set([filters.range, ...RANGES])) {
    const f = { ...filters, range }
    const made = await page(client, f, true)
    made.meta.may_handle_alerts = false
    data.pages[range] = without.includes('users') ? withoutUsers(made) : made
    // a call names its user
    if (without.length === 0) data.calls[range] = await calls(client, f, 50)
  }
  return data
})
client.release()
await pool.end()
// no "<" at all: neither a comment nor the script's end can be spelled without it
const text = JSON.stringify(data).replaceAll('<', '\\u003c').replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
const html = readFileSync(new URL('./dist/snapshot.html', import.meta.url), 'utf8').replace('@DATA@', () => text)
writeFileSync(target, html)
console.log(`${target}: ${Buffer.byteLength(html)} bytes`)
