// What cards are made of.
import { h } from './dom.js'
import * as fmt from './format.js'
import { state, t } from './state.js'

let render = () => {}
export const onChange = f => { render = f }
export const change = () => render()

const slots = new Map()
// A part of the page that is made anew only if what it shows has changed.
export function slot (name, tag, props) {
  const el = h(tag, { ...props, 'data-slot': name })
  slots.set(name, { el, shown: null })
  return el
}
export function fill (name, depends, make) {
  const s = slots.get(name)
  const key = JSON.stringify([state.lang, s.el.clientWidth, depends])
  if (s.shown === key) return
  s.shown = key
  const focus = s.el.contains(document.activeElement) ? document.activeElement.dataset.key : null
  const content = make()
  s.el.replaceChildren(...[content].flat(Infinity).filter(Boolean))
  drawIn(s.el)
  if (focus) s.el.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus()
}

const drawings = new WeakMap()
// a place for a chart of that height, which is drawn when its width is known
export function canvas (height, draw) {
  const el = h('div', { class: 'canvas', style: { 'min-height': height + 'px' } })
  drawings.set(el, width => draw(width, height))
  return el
}
function drawIn (root) {
  for (const el of root.querySelectorAll('.canvas')) {
    const width = Math.floor(el.clientWidth)
    if (width > 40) el.replaceChildren(drawings.get(el)(width))
  }
}

// a chart, and the same as a table
export function figure (id, title, note, legend, chart, head, rows) {
  const on = state.asTable.has(id)
  return h('figure', { class: 'card', 'aria-labelledby': id + '-title' },
    h('div', { class: 'card-head' },
      h('div', null, h('h3', { id: id + '-title' }, title), note && h('p', { class: 'note' }, note)),
      h('button', { type: 'button', class: 'quiet', 'data-key': id + '-toggle', 'aria-pressed': String(on), onclick: () => { on ? state.asTable.delete(id) : state.asTable.add(id); change() } }, on ? t('chart') : t('table'))),
    on
      ? h('div', { class: 'scroll tall', tabindex: '0', role: 'region', 'aria-labelledby': id + '-title' }, table(head, rows))
      : [legend, chart])
}
export function table (head, rows) {
  return h('table', { class: 'data' },
    h('thead', null, h('tr', null, head.map(c => h('th', { scope: 'col', class: c.n && 'n' }, c.name)))),
    h('tbody', null, rows.map(r => h('tr', null, r.map((v, i) => h(i === 0 ? 'th' : 'td', { scope: i === 0 ? 'row' : undefined, class: head[i].n && 'n' }, v))))))
}
export function card (id, title, note, ...content) {
  return h('section', { class: 'card', 'aria-labelledby': id },
    h('div', { class: 'card-head' }, h('div', null, h('h3', { id }, title), note)), ...content)
}
// what no rollup knows under these filters
export const notYet = () => h('p', { class: 'empty', role: 'status' }, t(state.tooSlow ? 'too_slow' : 'reading_calls'))

export const nameOf = v => v === null || v === undefined || v === '' ? t('none_given') : v
export const digits = (value, shown) => h('span', { title: fmt.full(value) }, shown ?? fmt.money(value))
export const exact = (value, shown) => h('span', { title: fmt.count(value) }, shown ?? fmt.compact(value))
export const amountOf = (metric, v) => metric === 'cost' ? fmt.money(v) : t(metric === 'tokens' ? 'n_tokens' : 'n_calls', { n: fmt.compact(v) })
