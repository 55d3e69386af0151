// Who and what the money goes to: rankings, whose names are filters.
import { h } from './dom.js'
import * as fmt from './format.js'
import { change, digits, exact, nameOf, notYet } from './parts.js'
import { snapshot, state, t } from './state.js'

export function ranking (id, kinds, go) {
  const { data, query } = state
  const by = kinds.includes(state.tab[id]) ? state.tab[id] : kinds[0]
  const part = data.parts[by]
  const several = (data.parts.org?.listed.length ?? 1) > 1 && query.org === undefined && ['user', 'project', 'department'].includes(by)
  const clickable = !snapshot && by !== 'operation'
  const most = Math.max(...(part?.listed ?? []).map(r => Number(r.cost ?? 0)), 0)
  // the same model by two providers is two rows: then say which is which, however narrow
  const twice = r => by === 'model' && part.listed.some(o => o !== r && o.name === r.name)
  const name = r => clickable
    ? h('button', { type: 'button', class: 'link', title: r.name, 'data-key': `${by} ${r.org} ${r.name}`, 'aria-label': t('filter_by', { name: nameOf(r.name) }), onclick: () => go(several ? { [by]: r.name ?? '', org: r.org } : { [by]: r.name ?? '' }) }, nameOf(r.name))
    : h('span', { title: r.name }, nameOf(r.name))
  return h('section', { class: 'card', 'aria-label': t(by + 's') },
    h('div', { class: 'card-head' }, kinds.length === 1
      ? h('h3', null, t(by + 's'))
      : h('div', { class: 'tabs', role: 'group', 'aria-label': t('where') }, kinds.map(k => h('button', { type: 'button', 'data-key': id + k, 'aria-pressed': String(k === by), onclick: () => { state.tab = { ...state.tab, [id]: k }; change() } }, t(k + 's'))))),
    !part
      ? snapshot?.without.includes('users') && by === 'user' ? h('p', { class: 'empty' }, t('left_out')) : notYet()
      : part.listed.length === 0
        ? h('p', { class: 'empty' }, t('no_calls'))
        : h('table', { class: 'ranking' },
          h('thead', null, h('tr', null, h('th', { scope: 'col' }, t(by)), h('th', { scope: 'col', class: 'n calls' }, t('calls')), h('th', { scope: 'col', class: 'n' }, t('cost')), h('th', { scope: 'col', class: 'n' }, t('share')))),
          h('tbody', null, part.listed.map(r => h('tr', null,
            h('th', { scope: 'row' },
              h('span', { class: 'name' }, name(r), several && h('span', { class: 'sub' }, r.org), (r.provider || twice(r)) && h('span', { class: twice(r) ? 'sub' : 'sub provider' }, nameOf(r.provider))),
              h('span', { class: 'bar', 'aria-hidden': 'true' }, h('span', { style: { width: (most ? 100 * Number(r.cost ?? 0) / most : 0) + '%' } }))),
            h('td', { class: 'n calls' }, exact(r.requests)),
            h('td', { class: 'n' }, r.cost === null ? h('span', { class: 'muted' }, t('unpriced')) : digits(r.cost)),
            h('td', { class: 'n muted' }, r.cost_percentage === null ? '–' : fmt.percent(r.cost_percentage / 100)))))),
    part?.others > 0 && h('p', { class: 'note', title: fmt.full(part.others_cost) }, t('more_cost', { n: fmt.count(part.others), cost: fmt.money(part.others_cost) })))
}
