// Time and filters.  Names are asked for when a list is opened, and searched
// for by the server: there may be ten thousands.
import { h } from './dom.js'
import * as fmt from './format.js'
import { nameOf } from './parts.js'
import { FILTERS, RANGES, snapshot, state, t } from './state.js'

let unfolded = false

function picker (key, go) {
  const { query } = state
  const value = query[key]
  const list = h('ul', { class: 'names', id: 'names-' + key })
  const said = h('p', { class: 'note', role: 'status' })
  let asked = 0
  const choose = name => { box.open = false; go({ [key]: name }) }
  const item = (name, label, cost) => h('li', null, h('button', { type: 'button', class: value === name && 'on', title: label, onclick: () => choose(name) },
    h('span', null, label), cost !== undefined && h('span', { class: 'note' }, fmt.roundMoney(cost))))
  async function search (text) {
    const mine = ++asked
    said.textContent = t('loading')
    const p = new URLSearchParams({ kind: key, containing: text })
    if (query.org !== undefined && key !== 'org') p.set('org', query.org)
    try {
      const response = await fetch('api/names?' + p)
      const names = await response.json()
      if (mine !== asked) return
      if (!response.ok) { said.textContent = t('err_' + names.error); return }
      list.replaceChildren(
        ...(text === '' ? [item(undefined, t('any')), ...(key === 'org' || key === 'model' ? [] : [item('', t('none_given'))])] : []),
        ...names.map(n => item(n.name, n.name, n.cost)))
      said.textContent = names.length === 50 ? t('first_names') : names.length === 0 ? t('no_names') : ''
    } catch { if (mine === asked) said.textContent = t('err_offline') }
  }
  let timer
  const input = h('input', { type: 'search', maxlength: 300, 'aria-label': t('search_names', { kind: t(key + 's') }), placeholder: t('search'), 'aria-controls': 'names-' + key, autocomplete: 'off',
    oninput: e => { clearTimeout(timer); timer = setTimeout(() => search(e.target.value.trim()), 200) },
    onkeydown: e => {
      if (e.key === 'ArrowDown') { e.preventDefault(); list.querySelector('button')?.focus() }
      if (e.key === 'Enter') { e.preventDefault(); list.querySelector('li:first-child button')?.click() }
    } })
  list.addEventListener('keydown', e => {
    const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[e.key]
    if (!step) return
    e.preventDefault()
    const next = e.target.closest('li')[step]
    next ? next.querySelector('button').focus() : e.key === 'ArrowUp' && input.focus()
  })
  const box = h('details', { class: 'menu picker', name: 'picker', ontoggle: () => { if (box.open) { input.value = ''; search(''); input.focus() } } },
    h('summary', { 'data-key': 'f-' + key, class: value !== undefined && 'on' }, t(key), value !== undefined && [': ', h('b', null, nameOf(value))]),
    h('div', { class: 'menu-items' }, input, said, list))
  return box
}

export function filterBar (go) {
  const { data, query } = state
  const custom = !RANGES.includes(query.range)
  const pick = key => h('button', { type: 'button', 'data-key': 'range-' + key, 'aria-pressed': String(query.range === key), onclick: () => go({ range: key }) }, t(key))
  const days = h('details', { class: 'menu' }, h('summary', { 'data-key': 'custom', class: custom && 'on' }, custom && data ? `${fmt.day(data.first_day)} – ${fmt.day(data.last_day)}` : t('custom')),
    h('form', { class: 'menu-items days', onsubmit: e => { e.preventDefault(); const f = new FormData(e.target); if (f.get('from') && f.get('to')) go({ range: [f.get('from'), f.get('to')].sort().join('_') }) } },
      h('label', null, t('from'), h('input', { type: 'date', name: 'from', required: true, value: data?.first_day, max: data?.meta.today })),
      h('label', null, t('to'), h('input', { type: 'date', name: 'to', required: true, value: data?.last_day, max: data?.meta.today })),
      h('button', { type: 'submit', class: 'primary' }, t('show'))))
  const set = FILTERS.filter(k => (snapshot ? data?.filters : query)?.[k] !== undefined)
  const chip = k => {
    const value = (snapshot ? data.filters : query)[k]
    return h('span', { class: 'chip' }, `${t(k)}: `, h('b', { title: value }, nameOf(value)),
      !snapshot && h('button', { type: 'button', 'data-key': 'x-' + k, 'aria-label': t('remove', { name: nameOf(value) }), onclick: () => go({ [k]: undefined }) }, '×'))
  }
  // on a phone the lists fold into one button
  const fold = h('button', { type: 'button', class: 'fold', 'data-key': 'fold', 'aria-expanded': String(unfolded), 'aria-controls': 'pickers',
    onclick: e => { unfolded = !unfolded; e.currentTarget.setAttribute('aria-expanded', String(unfolded)); pickers.classList.toggle('unfolded', unfolded) } },
  t('filters'), set.length > 0 && ` (${set.length})`)
  const pickers = h('div', { class: 'pickers' + (unfolded ? ' unfolded' : ''), id: 'pickers' }, snapshot ? [] : FILTERS.map(k => picker(k, go)))
  return [
    h('div', { class: 'segments', role: 'group', 'aria-label': t('range') }, RANGES.map(pick), !snapshot && days),
    !snapshot && [fold, pickers],
    set.length > 0 && h('div', { class: 'chips' }, set.map(chip),
      !snapshot && h('button', { type: 'button', class: 'quiet', 'data-key': 'clear', onclick: () => go(Object.fromEntries(FILTERS.map(k => [k, undefined]))) }, t('clear')))
  ]
}
