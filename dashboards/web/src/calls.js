// The latest calls.
import { h } from './dom.js'
import * as fmt from './format.js'
import { digits, nameOf } from './parts.js'
import { snapshot, state, t } from './state.js'

export function callTable (more) {
  const { calls, query } = state
  const c = (name, cls) => h('th', { scope: 'col', class: cls }, name)
  const all = query.org === undefined
  return h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('h3', { id: 'latest' }, t('latest'))),
    !Array.isArray(calls) || calls.length === 0
      ? h('p', { class: 'empty', role: 'status' }, t(snapshot && !calls ? 'left_out' : calls === null ? 'loading' : Array.isArray(calls) ? 'no_calls' : 'too_slow'))
      : [h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-labelledby': 'latest' }, h('table', { class: 'data calls-table' },
          h('thead', null, h('tr', null, c(t('time')), c(t('status')), c(t('user')), c(t('model')), c(t('cost'), 'n'), c(t('tokens'), 'n'), c(t('duration'), 'n'), all && c(t('org')), c(t('project')), c(t('source')))),
          h('tbody', null, calls.map(r => h('tr', null,
            h('th', { scope: 'row', class: 'nowrap', title: fmt.exactInstant(r.ts) }, fmt.instant(r.ts)),
            h('td', { class: 'nowrap' }, r.success ? h('span', { class: 'state ok' }, r.cached ? t('cached') : t('ok')) : h('span', { class: 'state exceeded', title: r.error }, t('failed'))),
            h('td', { class: 'cut', title: r.user_id }, nameOf(r.user_id)),
            h('td', { class: 'cut', title: r.model }, r.model),
            h('td', { class: 'n nowrap' }, r.cost === null ? h('span', { class: 'state warning' }, t('unpriced')) : digits(r.cost)),
            h('td', { class: 'n', title: `${fmt.count(r.input_tokens ?? 0)} + ${fmt.count(r.output_tokens ?? 0)}` }, r.total_tokens === null ? '–' : fmt.compact(r.total_tokens)),
            h('td', { class: 'n nowrap' }, fmt.duration(r.duration_ms)),
            all && h('td', { class: 'cut', title: r.org }, r.org), h('td', { class: 'cut', title: r.project }, nameOf(r.project)), h('td', { class: 'cut', title: r.source }, nameOf(r.source))))))),
        !snapshot && calls.length % 50 === 0 && h('button', { type: 'button', class: 'quiet', 'data-key': 'more-calls', onclick: more }, t('older'))])
}
