// The head of the page: what is shown, of when, and what can be taken along.
import { h } from './dom.js'
import * as fmt from './format.js'
import { change } from './parts.js'
import { address, isFiner, remember, snapshot, state, t } from './state.js'

export function stamp () {
  const { data } = state
  return data && h('span', { class: 'note' }, snapshot ? t('snapshot_of', { time: fmt.instant(data.meta.generated_at) }) : t('updated', { time: fmt.clock(data.meta.generated_at) }))
}

export function header ({ reload, schedule }) {
  const { data, query, lang } = state
  const menu = (label, key, ...items) => h('details', { class: 'menu' }, h('summary', { 'data-key': key }, label), h('div', { class: 'menu-items' }, items))
  const link = (what, format, label) => h('a', { href: `api/download?what=${what}&format=${format}&${address()}`, download: '' }, label)
  const save = () => {
    const a = h('a', { href: URL.createObjectURL(new Blob([JSON.stringify({ ...state.data, calls: state.calls }, null, 1)], { type: 'application/json' })), download: `usage-${state.data.meta.today}.json` })
    a.click(); setTimeout(() => URL.revokeObjectURL(a.href), 1000)
  }
  const theme = document.documentElement.dataset.theme ?? 'auto'
  const org = data ? data.filters.org : query.org
  return [
    h('div', { class: 'brand' }, h('h1', null, t('title')),
      h('p', { class: 'note' }, org ?? t('all_orgs'), data && ' · ' + t('currency_zone', { currency: data.meta.currency, zone: data.meta.time_zone }))),
    h('div', { class: 'tools' },
      !snapshot && h('label', { class: 'switch' }, h('input', { type: 'checkbox', 'data-key': 'auto', checked: state.auto, onchange: e => { state.auto = e.target.checked; remember.set('auto', state.auto ? 'on' : 'off'); schedule() } }), t('auto')),
      !snapshot && h('button', { type: 'button', 'data-key': 'refresh', onclick: reload }, t('refresh')),
      data && menu(t('export'), 'export',
        snapshot
          ? []
          : [link('report', 'json', t(query.range === 'today' ? 'dl_report_day' : query.range === '7d' ? 'dl_report_week' : 'dl_report_month')),
              isFiner(query) ? [] : [link('day', 'csv', t('dl_day')), link('user', 'csv', t('dl_user')), link('model', 'csv', t('dl_model'))],
              link('calls', 'csv', t('dl_calls')),
              isFiner(query) && h('p', { class: 'note' }, t('dl_note'))],
        h('button', { type: 'button', onclick: save }, t('dl_page'))),
      h('select', { 'aria-label': t('language'), 'data-key': 'lang', onchange: e => { remember.set('lang', e.target.value); state.lang = e.target.value; change() } },
        [['en', 'English'], ['zh', '简体中文']].map(([v, n]) => h('option', { value: v, lang: v === 'zh' ? 'zh-CN' : 'en', selected: v === lang }, n))),
      h('select', { 'aria-label': t('theme'), 'data-key': 'theme', onchange: e => setTheme(e.target.value) },
        ['auto', 'light', 'dark'].map(v => h('option', { value: v, selected: v === theme }, t('theme_' + v)))))
  ]
}

export function setTheme (value) {
  remember.set('theme', value)
  if (value === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = value
}

export function notices () {
  const { data, failure } = state
  const list = []
  if (failure && data) list.push(h('div', { class: 'notice bad', role: 'status' }, t('stale', { time: fmt.clock(data.meta.generated_at), why: t('err_' + failure) })))
  const u = data?.unpriced
  if (u && u.models.length) {
    list.push(h('div', { class: 'notice warn' }, h('b', null, t('unpriced_warn', { n: fmt.count(u.requests), models: u.models.slice(0, 4).map(x => x.model).join(', ') + (u.models.length + u.others > 4 ? ' …' : '') })), ' ', t('unpriced_how')))
  }
  if (state.reading) list.push(h('div', { class: 'notice', role: 'status' }, t('reading_calls')))
  else if (state.tooSlow) list.push(h('div', { class: 'notice warn', role: 'status' }, t('calls_too_slow')))
  else if (data?.from_calls && isFiner(data.filters) && data.meta.details_since) list.push(h('div', { class: 'notice' }, t('ledger_since', { day: fmt.longDay(data.meta.details_since) })))
  return list
}
