// The page in headless Chromium and without: figures against SQL, what is
// refused, accessibility, hostile names, a ledger that is empty.  Run by
// test/check, which makes the ledgers.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import pg from 'pg'
import { launch, whole } from './browser.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const address = (role, database) => `postgresql://${role}:${role}@127.0.0.1:${process.env.PGPORT}/${database}`
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
const HOSTILE = '<!--<script>"hostile\'org'

const freePort = () => new Promise(resolve => { const s = createServer(); s.listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => resolve(port)) }) })
async function serve (role, database, env = {}) {
  const port = await freePort()
  const child = spawn(process.execPath, ['server.mjs'], { env: { ...process.env, DATABASE_URL: address(role, database), PORT: port, FRESH_MS: 0, ...env }, stdio: ['ignore', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'] })
  await once(child.stdout, 'data')
  const get = (path, { body, ...options } = {}) => new Promise((resolve, reject) => http.request({ port, host: '127.0.0.1', path, ...options }, r => {
    let text = ''; r.on('data', d => { text += d }); r.on('end', () => resolve({ status: r.statusCode, body: text, headers: r.headers }))
  }).on('error', reject).end(body))
  return { base: `http://127.0.0.1:${port}/`, port, get, json: async path => JSON.parse((await get(path)).body), stop: async () => { child.kill(); if (child.exitCode === null) await once(child, 'exit') } }
}

const db = new pg.Client({ database: 'web_full' })
const one = async (sql, values) => Object.values((await db.query(sql, values)).rows[0])[0]
let live, browser
before(async () => {
  await db.connect()
  live = await serve('web_reader', 'web_full')
  browser = await launch()
})
after(async () => { await browser.close(); await live.stop(); await db.end() })

async function open (url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(60000)
  page.said = []; page.asked = []
  page.on('console', m => page.said.push(m.text()))
  page.on('pageerror', e => page.said.push(e.message))
  page.on('dialog', d => { page.said.push('dialog ' + d.message()); d.dismiss() })
  page.on('request', r => page.asked.push(r.url()))
  await page.goto(url)
  return page
}
async function accessible (page) {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(runOnly => axe.run({ runOnly }), RULES)
  assert.deepEqual(violations.map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 160), v.nodes[0].failureSummary?.slice(0, 200)]), [])
}
// money that is the same, however many zeros it is written with
const same = (got, want, what) => assert.equal(String(got).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, ''), String(want).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, ''), what)

describe('the server', () => {
  test('refuses another host, another site, what it does not know, and other files', async () => {
    for (const host of ['evil.example', `evil.example:${live.port}`, '127.0.0.1', `localhost:${live.port}.evil.example`]) assert.equal((await live.get('/', { headers: { Host: host } })).status, 421, host)
    assert.equal((await live.get('/', { headers: { Host: `LocalHost:${live.port}` } })).status, 200)
    assert.equal((await live.get('/api/page', { method: 'POST' })).status, 405)
    assert.equal((await live.get('/api/page?nonsense=1')).status, 400)
    assert.equal((await live.get('/api/page?range=2026-13-01_2026-13-02')).status, 400)
    assert.equal((await live.get('/api/page?range=2026-02-02_2026-02-01')).status, 400)
    assert.equal((await live.get('/api/page?org=%00')).status, 400)
    assert.equal((await live.get('/api/names?kind=password')).status, 400)
    assert.equal((await live.get('/api/download?what=usage&format=csv')).status, 400)
    // days that no calendar has, and what is neither a call nor an address
    for (const range of ['0000-01-01_0000-01-02', '9999-12-31_9999-12-31']) assert.equal((await live.get(`/api/calls?range=${range}`)).status, 400, range)
    for (const before of ['1', '2026', '2026-02-31T00:00:00.000000Z', 'now', "2026-01-01T00:00:00.000000Z'"]) assert.equal((await live.get(`/api/calls?id=1&before=${encodeURIComponent(before)}`)).status, 400, before)
    assert.equal((await live.get('//')).status, 404)
    assert.equal((await live.get('/api/names?kind=org&containing=%00')).status, 400)
    assert.equal((await live.get('/api/alerts', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: 'null' })).status, 400)
    assert.equal((await live.get('/../server.mjs')).status, 404)
    assert.equal((await live.get('/%2e%2e/server.mjs')).status, 404)
    assert.match((await live.get('/')).headers['content-security-policy'], /default-src 'none'; script-src 'self'; style-src 'self'/)
  })
  test('takes a name with SQL in it for a name', async () => {
    assert.equal((await live.json(`/api/page?org=${encodeURIComponent("x'; DROP TABLE usage_monitor.usage --")}`)).sums.total.requests, '0')
  })
  test('downloads CSV whose formulas are text, and the report of the database to the last digit', async () => {
    const csv = (await live.get('/api/download?what=calls&format=csv&range=7d')).body
    assert.ok(csv.startsWith('\ufeff') && csv.includes("\"'=HYPERLINK(") && !/(^|,)"?=HYPERLINK/m.test(csv))
    const report = (await live.get('/api/download?what=report&format=json&range=month')).body
    assert.ok(report.includes('"cost": ' + await one("SELECT usage_monitor.report('monthly') #>> '{summary,cost}'")))
    const days = (await live.get('/api/download?what=day&format=csv&range=30d')).body.trim().split('\r\n')
    assert.equal(days.length - 1, Number(await one('SELECT count(*) FROM usage_monitor.daily_total WHERE day > usage_monitor.ledger_day(now()) - 30')))
  })
  test('knows other names, and says which setting is none', async () => {
    const named = await serve('web_reader', 'web_full', { ALLOWED_HOSTS: 'usage.example, Usage.Example:8443' })
    for (const host of ['usage.example', 'usage.example:8443']) assert.equal((await named.get('/', { headers: { Host: host } })).status, 200, host)
    await named.stop()
    for (const [name, value] of [['PORT', 'http'], ['PORT', '65536'], ['STATEMENT_TIMEOUT_MS', '15s'], ['FRESH_MS', '-1']]) {
      assert.throws(() => execFileSync(process.execPath, ['server.mjs'], { env: { ...process.env, [name]: value }, stdio: 'pipe', timeout: 20000 }),
        error => error.status === 1 && error.stderr.toString().startsWith(`${name} must be a whole number from 0 to `))
    }
  })
  test('ends a query that takes too long', async () => {
    const slow = await serve('web_reader', 'web_full', { STATEMENT_TIMEOUT_MS: 1 })
    assert.equal((await slow.get('/api/page?range=90d')).status, 504)
    await slow.stop()
  })
  test('lets a reader change nothing, and a manager handle alerts, from its own page alone', async () => {
    const post = (server, body, headers = {}) => server.get('/api/alerts', { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) })
    const id = Number(await one("SELECT min(alert_id) FROM usage_monitor.active_alert WHERE alert_type LIKE 'quota%'"))
    assert.equal((await post(live, { action: 'resolve', alert_ids: [id] })).status, 403)
    const manager = await serve('web_manager', 'web_full')
    assert.equal((await post(manager, { action: 'resolve', alert_ids: [id] }, { Origin: 'http://evil.example' })).status, 403)
    assert.equal((await post(manager, { action: 'resolve', alert_ids: [id] }, { 'Content-Type': 'text/plain' })).status, 403)
    assert.equal((await post(manager, { action: 'drop', alert_ids: [id] })).status, 400)
    assert.equal((await post(manager, { action: 'resolve', alert_ids: ['1; DROP'] })).status, 400)
    assert.equal(await one('SELECT resolved_at FROM usage_monitor.alert WHERE alert_id = $1', [id]), null)
    assert.equal((await post(manager, { action: 'acknowledge', alert_ids: [id] })).status, 200)
    assert.equal(await one('SELECT acknowledged_by FROM usage_monitor.alert WHERE alert_id = $1', [id]), 'web_manager')
    await manager.stop()
  })
})

describe('the figures', () => {
  test('are those of the ledger', async () => {
    const all = await live.json('/api/page?range=30d')
    const today = all.meta.today
    same(all.sums.today.cost, await one('SELECT sum(cost) FROM usage_monitor.usage WHERE usage_monitor.ledger_day(ts) = $1', [today]), 'today')
    same(all.sums.total.cost, await one('SELECT sum(cost) FROM usage_monitor.usage WHERE usage_monitor.ledger_day(ts) BETWEEN $1 AND $2', [all.first_day, all.last_day]), 'the range')
    same(all.sums.month.cost, await one("SELECT sum(cost) FROM usage_monitor.usage WHERE usage_monitor.ledger_day(ts) >= date_trunc('month', $1::date)", [today]), 'the month')
    same(all.forecast.forecast, await one("SELECT forecast FROM usage_monitor.cost_forecast WHERE scope = 'all'"), 'the forecast')
    assert.equal(String(all.alerts.count), await one('SELECT count(*) FROM usage_monitor.active_alert'))
    assert.equal((await live.json('/api/calls?range=30d'))[0].usage_id, await one('SELECT usage_id FROM usage_monitor.usage ORDER BY ts DESC, usage_id DESC LIMIT 1'))
  })
  for (const [key, column, name] of [['project', 'project', 'search'], ['model', 'model', 'gpt-4o'], ['source', 'source', 'api'], ['user', 'user_id', 'alice'], ['department', 'department', '直播部'], ['org', 'org', HOSTILE]]) {
    test(`of one ${key} are those of the ledger`, async () => {
      const query = `range=30d&${key}=${encodeURIComponent(name)}`
      const part = await live.json('/api/page?' + query)
      same(part.sums.total.cost, await one(`SELECT sum(cost) FROM usage_monitor.usage WHERE ${column} = $1 AND usage_monitor.ledger_day(ts) BETWEEN $2 AND $3`, [name, part.first_day, part.last_day]))
      const whole = await live.json(`/api/page?${query}&calls=1`)
      assert.deepEqual(whole.missing, [])
      assert.equal(whole.sums.total.cost, part.sums.total.cost)
      const calls = await live.json('/api/calls?' + query)
      assert.ok(calls.length > 0 && calls.every(c => c[column] === name))
    })
  }
  test('of calls that name no project are asked for by an empty filter', async () => {
    const none = await live.json('/api/page?range=30d&project=')
    same(none.sums.total.cost, await one('SELECT sum(cost) FROM usage_monitor.usage WHERE project IS NULL AND usage_monitor.ledger_day(ts) BETWEEN $1 AND $2', [none.first_day, none.last_day]))
  })
  test('of older calls follow the latest without a gap', async () => {
    const first = await live.json('/api/calls?range=30d')
    const last = first.at(-1)
    const next = await live.json(`/api/calls?range=30d&before=${encodeURIComponent(last.ts)}&id=${last.usage_id}`)
    const { rows } = await db.query('SELECT usage_id FROM usage_monitor.usage ORDER BY ts DESC, usage_id DESC LIMIT 100')
    assert.deepEqual([...first, ...next].map(c => c.usage_id), rows.map(r => r.usage_id))
  })
})

describe('the page', () => {
  for (const width of [390, 1280, 1920]) {
    for (const colorScheme of ['light', 'dark']) {
      for (const lang of ['en', 'zh']) {
        test(`${width} pixels, ${colorScheme}, ${lang}: fits, says nothing to the console, asks nobody else`, async () => {
          const page = await open(live.base + '?lang=' + lang, { viewport: { width, height: 900 }, colorScheme })
          await whole(page)
          assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider than the window')
          // what differs by theme and by size is looked at in each
          if (lang === (width === 390 ? 'zh' : 'en') && width < 1920) await accessible(page)
          assert.deepEqual(page.said, [])
          assert.ok(page.asked.every(u => u.startsWith(live.base)))
          // nothing is left in another language
          if (lang === 'zh') assert.doesNotMatch((await page.textContent('#app')).replace(/Token|UTC|USD|P9\d|English|[a-z0-9.]+-[a-z0-9.-]+|[A-Za-z&=<>"'/()!,.:-]*(alert|HYPERLINK|script|onerror|hostile|invalid|example)[^\u4e00-\u9fff]*/g, ''), /\b(the|calls|of|cost|Today|users)\b/)
          await page.context().close()
        })
      }
    }
  }
  test('shows all digits of what SQL says', async () => {
    const page = await open(live.base)
    await whole(page)
    const now = await live.json('/api/page?range=30d')
    const titles = await page.$$eval('.kpi .big', els => els.map(e => e.title))
    assert.deepEqual(titles.slice(0, 3), [now.sums.today.cost, now.sums.month.cost, now.forecast.forecast].map(v => `${v} ${now.meta.currency}`))
    await page.click('[data-key="cost-toggle"]')
    const cells = await page.$$eval('[aria-labelledby="cost-title"] tbody tr', rows => rows.map(r => r.children[r.children.length - 3].querySelector('span')?.title).filter(Boolean))
    assert.deepEqual(cells, [...now.days].reverse().map(d => `${d.cost} ${now.meta.currency}`))
    await page.context().close()
  })
  test('shows hostile names as text', async () => {
    const page = await open(live.base + '?org=' + encodeURIComponent(HOSTILE))
    await whole(page)
    assert.equal(await page.$$eval('main script, main img, main svg script, main i:not([class]):not([style])', e => e.length), 0)
    const text = await page.textContent('#app')
    assert.ok(text.includes(HOSTILE) && text.includes('</script><img src=x onerror=alert(2)>') && text.includes('<i>hostile</i> quota'))
    assert.deepEqual(page.said, [])
    await page.context().close()
  })
  test('moves nothing and keeps the focus when it refreshes', async () => {
    const page = await open(live.base)
    await whole(page)
    await page.evaluate(() => { window.shifts = 0; new PerformanceObserver(l => { for (const e of l.getEntries()) if (!e.hadRecentInput) window.shifts += e.value }).observe({ type: 'layout-shift', buffered: false }) })
    await page.focus('.ranking button.link')
    const focused = await page.evaluate(() => document.activeElement.dataset.key)
    await db.query("INSERT INTO usage_monitor.usage (org, user_id, model, project, source, input_tokens, output_tokens, duration_ms) VALUES ('acme', 'alice', 'gpt-4o', 'search', 'api', 1000, 100, 900)")
    const shown = await page.evaluate(() => document.documentElement.dataset.ready)
    await page.waitForTimeout(1100)
    await page.evaluate(() => document.querySelector('[data-key="refresh"]').dispatchEvent(new MouseEvent('click', { bubbles: true })))
    await page.waitForFunction(b => document.documentElement.dataset.ready !== b, shown)
    await whole(page)
    assert.equal(await page.evaluate(() => document.activeElement.dataset.key), focused)
    const shift = await page.evaluate(() => window.shifts)
    assert.ok(shift < 0.01, `moved by ${shift}`)
    await page.context().close()
  })
  test('is walked through by the keyboard', async () => {
    const page = await open(live.base)
    await whole(page)
    await page.focus('[aria-labelledby="cost-title"] .chart')
    await page.keyboard.press('End')
    await page.keyboard.press('ArrowLeft')
    assert.ok((await page.textContent('.visually-hidden[aria-live]')).length > 20 && await page.isVisible('.tip'))
    await page.context().close()
  })
  test('finds names by a part of them, filters by them, and has filters in its address', async () => {
    const page = await open(live.base)
    await whole(page)
    await page.click('[data-key="f-user"]')
    await page.fill('.picker[open] input', 'SUBSIDIARY')
    await page.waitForFunction(() => document.querySelectorAll('.picker[open] .names li').length === 1)
    await page.keyboard.press('Enter')
    await page.waitForFunction(() => location.search.startsWith('?user=a-very-long'))
    await whole(page)
    assert.equal(await page.$$eval('[data-slot="by-user"] tbody tr', r => r.length), 1)
    // what no rollup knows of a user was read from his calls
    assert.ok(await page.isVisible('[data-slot="by-kind"] .ranking'))
    await page.goBack()
    await page.waitForFunction(() => location.search === '' && document.querySelectorAll('[data-slot="by-user"] tbody tr').length > 1)
    await page.context().close()
  })
  test('shows what it knows under any filters, and says what took too long', async () => {
    for (const query of ['department=support', 'user=alice&model=gpt-4o', 'project=search&source=web&model=gpt-4o', 'project=', 'model=our-llama-70b', 'range=today&user=alice', 'org=acme&project=search', 'org=no+such']) {
      const page = await open(live.base + '?' + query)
      await whole(page)
      assert.deepEqual(page.said, [], query)
      assert.equal(await page.$$eval('[data-slot="kpis"] .big', b => b[1].textContent !== '–'), true, query)
      await page.context().close()
      // the calls take too long: a refusal in their place, and what rollups know stays
      const slow = await (await browser.newContext({ locale: 'en-GB' })).newPage()
      const errors = []
      slow.on('pageerror', e => errors.push(e.message))
      await slow.route(/calls=1/, r => r.fulfill({ status: 504, contentType: 'application/json', body: '{"error":"timeout"}' }))
      await slow.goto(live.base + '?' + query)
      await whole(slow)
      assert.deepEqual(errors, [], query)
      assert.equal(await slow.isVisible('.notice.warn:has-text("took too long")'), query !== 'org=no+such', query)
      await slow.context().close()
    }
  })
  test('folds its filters on a phone', async () => {
    const page = await open(live.base, { viewport: { width: 390, height: 900 } })
    await whole(page)
    assert.equal(await page.isVisible('[data-key="f-project"]'), false)
    await page.click('[data-key="fold"]')
    assert.equal(await page.isVisible('[data-key="f-project"]'), true)
    await accessible(page)
    await page.context().close()
  })
  test('lets a manager acknowledge and resolve, and a reader not', async () => {
    const reader = await open(live.base)
    await whole(reader)
    assert.equal(await reader.$$eval('.handle button', b => b.length), 0)
    await reader.context().close()
    const server = await serve('web_manager', 'web_full')
    const page = await open(server.base)
    await whole(page)
    const open_ = Number(await one('SELECT count(*) FROM usage_monitor.active_alert'))
    const [button] = await page.$$('[data-key^="resolve "]')
    const id = (await button.getAttribute('data-key')).split(' ')[1]
    await button.click()
    await page.waitForFunction(key => !document.querySelector(`[data-key="${key}"]`), `resolve ${id}`)
    assert.equal(await one('SELECT resolved_by FROM usage_monitor.alert WHERE alert_id = $1', [id]), 'web_manager')
    assert.ok(Number(await one('SELECT count(*) FROM usage_monitor.active_alert')) < open_)
    assert.deepEqual(page.said, [])
    await page.context().close()
    await server.stop()
  })
  test('keeps the last figures when the server is gone, and says so', async () => {
    const server = await serve('web_reader', 'web_full')
    const page = await open(server.base)
    await whole(page)
    await server.stop()
    await page.click('[data-key="refresh"]')
    await page.waitForSelector('.notice.bad')
    assert.ok(await page.isVisible('.kpi'))
    await page.context().close()
  })
})

describe('the snapshot', () => {
  const file = join(tmpdir(), `usage-snapshot-${process.pid}.html`)
  const make = (...options) => execFileSync(process.execPath, ['snapshot.mjs', file, ...options], { env: { ...process.env, DATABASE_URL: address('web_reader', 'web_full') }, stdio: 'pipe' })
  after(() => { if (existsSync(file)) rmSync(file) })
  test('is one file that asks nobody for anything', async () => {
    make('range=30d')
    const page = await open(pathToFileURL(file).href)
    await whole(page)
    await page.click('[data-key="range-7d"]')
    await page.waitForFunction(() => document.querySelector('[aria-labelledby="cost-title"]').textContent.includes('7 days'))
    assert.equal(page.asked.filter(u => !u.startsWith('data:')).length, 1)
    assert.deepEqual(page.said, [])
    await accessible(page)
    assert.ok(await page.evaluate(() => fetch('http://127.0.0.1:9/').then(() => false, () => true)), 'its policy lets it ask')
    await page.context().close()
  })
  test('can be without users and calls', async () => {
    make('range=30d', 'without=users,calls')
    const html = readFileSync(file, 'utf8')
    const { rows } = await db.query('SELECT DISTINCT user_id FROM usage_monitor.usage WHERE user_id IS NOT NULL AND length(user_id) > 1')
    for (const { user_id: user } of rows) assert.ok(!html.includes(JSON.stringify(user).replaceAll('<', '\\u003c')), `${user} is in it`)
    assert.ok(!html.includes('subsidiary.example'))
    assert.ok((await live.json('/api/page?range=30d')).alerts.listed.some(a => a.subject?.includes('s-of-alice-4711')) && !html.includes('s-of-alice-4711'))
    const page = await open(pathToFileURL(file).href)
    await whole(page)
    assert.equal(await page.$$eval('[data-slot="calls"] tbody tr, [data-slot="by-user"] tbody tr', r => r.length), 0)
    assert.deepEqual(page.said, [])
    await page.context().close()
  })
  test('refuses what it does not know', () => {
    assert.throws(() => make('without=money'))
    assert.throws(() => make('user=alice', 'without=users'))
    assert.throws(() => make('range=never'))
  })
})

describe('small ledgers', () => {
  test('an empty one says what to do', async () => {
    const server = await serve('web_reader', 'web_empty')
    const page = await open(server.base)
    await page.waitForSelector('.first h2')
    assert.match(await page.textContent('.first'), /INSERT INTO usage_monitor.usage/)
    await accessible(page)
    assert.deepEqual(page.said, [])
    await page.context().close()
    await server.stop()
  })
  test('one call is shown', async () => {
    const server = await serve('web_reader', 'web_one')
    for (const range of ['today', '30d', 'last_month']) {
      const page = await open(server.base + '?range=' + range)
      await whole(page)
      await accessible(page)
      assert.deepEqual(page.said, [])
      if (range !== 'last_month') assert.equal(await page.$$eval('[data-slot="calls"] tbody tr', r => r.length), 1)
      await page.context().close()
    }
    const data = await server.json('/api/page?range=today')
    same(data.sums.today.cost, '0.0075')
    await server.stop()
  })
})
