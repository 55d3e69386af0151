import { h } from './dom.js'
import * as fmt from './format.js'
import { hideTip, overlays } from './charts.js'
import { fill, onChange, slot } from './parts.js'
import { FILTERS, address, isFiner, readAddress, remember, snapshot, state, t } from './state.js'
import { header, notices, setTheme, stamp } from './header.js'
import { filterBar } from './filters.js'
import { costChart, kpis } from './figures.js'
import { ranking } from './where.js'
import { alerts, quotas } from './limits.js'
import { cacheCard, durationChart, errorChart, heatMap } from './health.js'
import { adviceCard } from './advice.js'
import { callTable } from './calls.js'

const REFRESH = 30000
const app = document.getElementById('app')

/* ---- what is asked for --------------------------------------------------- */

function go (changes) {
  state.query = { ...state.query, ...changes }
  for (const k of FILTERS) if (state.query[k] === undefined) delete state.query[k]
  const text = address()
  if (snapshot) history.replaceState(null, '', '#' + text)
  else history.pushState(null, '', text ? '?' + text : location.pathname)
  load()
}
addEventListener('popstate', () => { state.query = readAddress(); load() })

async function ask (path) {
  const response = await fetch('api/' + path)
  const answer = await response.json()
  if (!response.ok) throw response.status === 400 ? 'bad' : answer.error
  return answer
}
const why = error => typeof error === 'string' ? error : 'offline'

let asked = 0
let took = 0 // what the last answer took, which says how often to ask
let advisedAt = 0
let adviceOf
async function load () {
  if (snapshot) {
    state.data = snapshot.pages[state.query.range] ?? snapshot.pages[state.query.range = snapshot.range]
    state.calls = snapshot.calls[state.query.range] ?? undefined
    state.advice = snapshot.advice
    return render()
  }
  const mine = ++asked
  const filters = address()
  const same = loadedFor === filters
  if (!same) { state.calls = null; state.tooSlow = false }
  state.loading = true
  render()
  const current = () => mine === asked
  const started = performance.now()
  try {
    // what the calls have to be read for comes after the rest, or with it once it is there
    const whole = same && state.data?.from_calls
    const data = await ask(`page?${filters}${whole ? '&calls=1' : ''}`)
    if (!current()) return
    state.data = data; state.failure = null
    loadedFor = filters
  } catch (error) {
    if (!current()) return
    if (same && state.data?.from_calls && error === 'timeout') state.data.from_calls = false
    state.failure = why(error)
  }
  state.loading = false
  state.reading = state.failure === null && state.data.missing.length > 0 && !(same && state.tooSlow)
  render()
  const rest = []
  if (state.reading) {
    rest.push(ask(`page?${filters}&calls=1`).then(data => { if (current()) state.data = data }, error => { if (current()) { state.tooSlow = error === 'timeout'; if (!state.tooSlow) state.failure = why(error) } })
      .finally(() => { if (current()) { state.reading = false; render() } }))
  }
  // who looks through older ones is not sent back to the latest
  if (!(state.calls?.length > 50)) rest.push(ask('calls?' + filters).then(calls => { if (current()) state.calls = calls }, () => { if (current() && !Array.isArray(state.calls)) state.calls = undefined }).finally(() => current() && render()))
  if (adviceOf !== state.query.org || Date.now() - advisedAt > 600000) {
    if (adviceOf !== state.query.org) state.advice = null
    adviceOf = state.query.org; advisedAt = Date.now()
    rest.push(ask('advice?' + new URLSearchParams(adviceOf === undefined ? {} : { org: adviceOf })).then(advice => { if (current()) state.advice = advice }, () => { advisedAt = 0; if (current()) state.advice = undefined }).finally(() => current() && render()))
  }
  await Promise.all(rest)
  if (current()) { took = performance.now() - started; schedule() }
}
let loadedFor

async function olderCalls () {
  const last = state.calls.at(-1)
  const filters = address()
  try {
    const calls = await ask(`calls?${filters}&before=${encodeURIComponent(last.ts)}&id=${last.usage_id}`)
    if (filters === address() && state.calls.at(-1) === last) { state.calls = [...state.calls, ...calls]; render() }
  } catch (error) { state.failure = why(error); render() }
}

async function handle (action, ids) {
  state.refused = null
  try {
    const response = await fetch('api/alerts', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ action, alert_ids: ids }) })
    if (!response.ok) state.refused = (await response.json()).error
  } catch { state.refused = 'offline' }
  load()
}

let timer
function schedule () {
  clearTimeout(timer)
  // a page that is dear to make is made less often
  if (!snapshot && state.auto) timer = setTimeout(() => document.hidden ? schedule() : load(), Math.max(REFRESH, 20 * took))
}
document.addEventListener('visibilitychange', () => { if (!document.hidden && state.auto && !snapshot && state.data && Date.now() - Date.parse(state.data.meta.generated_at) > Math.max(REFRESH, 20 * took)) load() })

/* ---- the page ------------------------------------------------------------ */

function frame () {
  const shown = ['where', 'limits', 'health']
  const heading = (id, key) => h('h2', { id: 'h-' + id, 'data-text': key, class: shown.includes(id) ? null : 'visually-hidden' })
  // a part of one card is named by it
  const section = (id, key, ...children) => shown.includes(id)
    ? h('section', { class: 'part', 'aria-labelledby': 'h-' + id }, heading(id, key), ...children)
    : h('div', { class: 'part' }, heading(id, key), ...children)
  app.replaceChildren(
    h('a', { class: 'skip', href: '#main', 'data-text': 'skip' }),
    h('header', { class: 'top' }, slot('header', 'div', { class: 'head' }), slot('stamp', 'div', { class: 'stamp' })),
    slot('filters', 'div', { class: 'filters', role: 'region', 'data-label': 'filters' }),
    h('main', { id: 'main', tabindex: '-1' }, slot('message', 'div', { class: 'message' }), h('div', { id: 'content', hidden: true },
      slot('notices', 'div', { class: 'notices', 'aria-live': 'polite' }),
      section('kpi', 'kpi', slot('kpis', 'div', { class: 'kpis' })),
      section('cost', 'cost', slot('cost', 'div', {})),
      section('where', 'where', h('div', { class: 'grid three' }, slot('by-user', 'div', {}), slot('by-place', 'div', {}), slot('by-kind', 'div', {}))),
      section('limits', 'limits', h('div', { class: 'grid limits' }, slot('quotas', 'div', {}), slot('alerts', 'div', {}))),
      section('health', 'health', h('div', { class: 'grid three' }, slot('errors', 'div', {}), slot('durations', 'div', {}), slot('cache', 'div', {}))),
      section('advice', 'advice', h('div', { class: 'grid two' }, slot('advice', 'div', {}), slot('when', 'div', {}))),
      section('latest', 'latest', slot('calls', 'div', {})))),
    h('footer', { class: 'note', 'data-text': 'rounded' }),
    ...overlays)
}

function render () {
  const d = state.data
  fmt.setup(state.lang, d?.meta.currency ?? 'USD', d?.meta.time_zone ?? 'UTC')
  document.documentElement.lang = state.lang === 'zh' ? 'zh-CN' : 'en'
  document.title = t('title')
  for (const el of app.querySelectorAll('[data-text]')) el.textContent = t(el.dataset.text)
  for (const el of app.querySelectorAll('[data-label]')) el.setAttribute('aria-label', t(el.dataset.label))
  app.classList.toggle('loading', state.loading)
  const content = document.getElementById('content')
  const empty = d && d.meta.first_day === null
  content.hidden = !d || empty
  fill('header', [d?.meta.currency, d?.meta.time_zone, d?.filters.org, state.query], () => header({ reload: load, schedule }))
  fill('stamp', [d?.meta.generated_at], stamp)
  fill('filters', [state.query, d?.first_day, d?.last_day, d?.meta.today], () => filterBar(go))
  fill('message', [!!d, state.failure, empty], () => d && !empty
    ? []
    : empty
      ? h('div', { class: 'card first' }, h('h2', null, t('empty_title')), h('p', null, t('empty_text')), h('pre', { tabindex: '0' }, "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)\nVALUES ('alice', 'gpt-4o', 1000, 500);"))
      : h('p', { class: 'card first', role: 'status' }, state.failure ? t('err_' + state.failure) : t('loading')))
  if (content.hidden) return
  const waits = [state.reading, state.tooSlow]
  const m = d.meta
  fill('notices', [d.unpriced, state.failure, d.from_calls, m.details_since, state.failure && m.generated_at, waits], notices)
  fill('kpis', [d.sums, d.month_to_date, d.forecast, d.alerts, d.quotas, d.filters, m.today, waits], kpis)
  fill('cost', [d.days, d.sums?.before, d.stack, d.hours, d.forecast, d.anomalies, d.first_day, d.last_day, state.asTable.has('cost'), waits], costChart)
  fill('by-user', [d.parts.user, d.parts.org?.listed.length, waits], () => ranking('user', ['user'], go))
  fill('by-place', [d.parts.project, d.parts.department, d.parts.org, state.tab.place, waits], () => ranking('place', ['project', 'department', 'org'], go))
  fill('by-kind', [d.parts.model, d.parts.operation, d.parts.source, state.tab.kind, waits], () => ranking('kind', ['model', 'operation', 'source'], go))
  fill('quotas', [d.quotas, d.filters], quotas)
  fill('alerts', [d.alerts, d.filters, m.may_handle_alerts, state.refused], () => alerts(handle))
  fill('errors', [d.days, d.hours, state.asTable.has('errors'), waits], errorChart)
  fill('durations', [d.durations, state.asTable.has('durations'), waits], durationChart)
  fill('cache', [d.cache, d.sums?.total], cacheCard)
  fill('advice', [state.advice === undefined ? 'none' : state.advice, isFiner(d.filters)], adviceCard)
  fill('when', [d.pattern, state.asTable.has('when'), waits], heatMap)
  fill('calls', [state.calls === undefined ? 'none' : state.calls, state.query.org], () => callTable(olderCalls))
  document.documentElement.dataset.ready = m.generated_at
  document.documentElement.dataset.whole = String(!state.reading && !state.loading && (snapshot !== null || (state.calls !== null && state.advice !== null)))
}

onChange(render)
setTheme(remember.get('theme') ?? 'auto')
frame()
render()
load()
// menus close when one turns elsewhere
document.addEventListener('click', e => { for (const d of document.querySelectorAll('details.menu[open]')) if (!d.contains(e.target) || e.target.closest('.menu-items a, .menu-items > button')) d.open = false })
document.addEventListener('keydown', e => { if (e.key === 'Escape') { hideTip(); for (const d of document.querySelectorAll('details.menu[open]')) { d.open = false; d.querySelector('summary').focus() } } })
let width = innerWidth
addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; requestAnimationFrame(render) } })
