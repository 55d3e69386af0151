// What the page knows, and what is asked for: the address.
import { en, zh } from './i18n.js'

export const FILTERS = ['org', 'project', 'department', 'user', 'source', 'model']
export const RANGES = ['today', '7d', '30d', 'month', 'last_month', '90d']

const inlined = document.getElementById('snapshot')
export const snapshot = inlined ? JSON.parse(inlined.textContent) : null

export const remember = {
  get (key) { try { return localStorage.getItem('usage-' + key) } catch { return null } },
  set (key, value) { try { localStorage.setItem('usage-' + key, value) } catch { } }
}

const parameters = () => new URLSearchParams(location.search || location.hash.slice(1))
export function readAddress () {
  const p = parameters()
  const q = { range: p.get('range') || snapshot?.range || '30d' }
  if (!snapshot) for (const k of FILTERS) if (p.has(k)) q[k] = p.get(k)
  return q
}
function pickLanguage () {
  const asked = parameters().get('lang') || remember.get('lang') || snapshot?.lang || navigator.language
  return /^zh/i.test(asked) ? 'zh' : 'en'
}

export const state = {
  query: readAddress(),
  lang: pickLanguage(),
  auto: remember.get('auto') !== 'off',
  data: null, // of page_data()
  calls: null, // the latest
  advice: null,
  failure: null,
  loading: false,
  reading: false, // the calls are read for what no rollup knows
  tooSlow: false, // that took too long
  tab: { place: 'project', kind: 'model' },
  asTable: new Set()
}

// the filters, as part of an address; an empty one is "none given"
export function address (q = state.query) {
  const p = new URLSearchParams()
  if (q.range !== '30d') p.set('range', q.range)
  for (const k of FILTERS) if (q[k] !== undefined) p.set(k, q[k])
  return p.toString()
}
export const isFiner = q => FILTERS.some(k => k !== 'org' && q[k] !== undefined)

const dictionaries = { en, zh }
export function t (key, values) {
  const text = dictionaries[state.lang][key] ?? en[key] ?? key
  return values ? text.replace(/\{(\w+)\}/g, (_, k) => values[k] ?? '') : text
}
export const known = key => key in en
// the same, with one of its figures in bold
export function bold (h, key, which, values) {
  const [before, after] = t(key).split(`{${which}}`)
  const put = text => (text ?? '').replace(/\{(\w+)\}/g, (_, k) => values[k] ?? '')
  return [put(before), h('b', null, values[which]), put(after)]
}
