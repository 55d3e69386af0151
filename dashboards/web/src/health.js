// Failures, durations, caches, and when calls are made.
import { h } from './dom.js'
import * as fmt from './format.js'
import { bands, barY, everyNth } from './charts.js'
import { canvas, card, digits, figure, notYet } from './parts.js'
import { state, t } from './state.js'

export function errorChart () {
  const { data, lang } = state
  if (!data.days) return card('errors', t('error_rate'), null, notYet())
  const hours = data.hours !== null
  const rows = hours
    ? Array.from({ length: 24 }, (_, i) => data.hours.find(x => x.hour === i) ?? { hour: i, requests: 0, errors: 0 }).map(x => ({ ...x, at: x.hour }))
    : data.days.map(d => ({ ...d, at: d.day }))
  const domain = rows.map(r => r.at)
  const rate = r => Number(r.requests) ? r.errors / r.requests : 0
  const top = Math.max(0.02, ...rows.map(rate)) * 1.08
  const name = hours ? i => String(i).padStart(2, '0') + ':00' : fmt.longDay
  const { total } = data.sums
  return figure('errors', t('error_rate'), total.requests > 0 && `${fmt.percent(total.errors / total.requests, 2)} · ${fmt.count(total.errors)} / ${fmt.count(total.requests)}`, null,
    canvas(180, (width, height) => bands({
      width, height, domain, label: t('error_rate') + '.', hint: t('keys_hint'), y: { tickFormat: v => fmt.percent(v, top < 0.05 ? 1 : 0), domain: [0, top] },
      xTicks: hours ? domain.filter(i => i % 3 === 0) : everyNth(domain, width, lang === 'zh' ? 84 : 64), xFormat: hours ? i => String(i).padStart(2, '0') : fmt.day,
      marks: [barY(rows, { x: 'at', y: rate, fill: 'var(--bad)', fillOpacity: 0.85 })],
      describe: i => ({ title: name(domain[i]), rows: [{ name: t('error_rate'), value: fmt.percent(rate(rows[i]), 2) }, { name: t('errors'), value: fmt.count(rows[i].errors) }, { name: t('calls'), value: fmt.count(rows[i].requests) }] })
    })),
    [{ name: hours ? t('hour') : t('day') }, { name: t('calls'), n: true }, { name: t('errors'), n: true }, { name: '%', n: true }],
    [...rows].reverse().map(r => [name(r.at), fmt.count(r.requests), fmt.count(r.errors), fmt.percent(rate(r), 2)]))
}

// the histogram has more bounds than a card has room for
const SHOWN = [320, 640, 1000, 2000, 3000, 5000, 10240, 20480, 40960, 81920, null]
export function durationChart () {
  const d = state.data.durations
  if (!d) return card('durations', t('durations'), null, notYet())
  const rows = SHOWN.map((to, i) => ({ i, to, from: i ? SHOWN[i - 1] : 0, requests: 0 }))
  d.histogram.forEach((n, i) => { rows.find(r => r.to === null || (d.bounds_ms[i] !== null && d.bounds_ms[i] <= r.to)).requests += n })
  while (rows.length > 3 && rows.at(-1).requests === 0) rows.pop()
  while (rows.length > 3 && rows[0].requests === 0) rows.shift()
  const all = rows.reduce((a, r) => a + r.requests, 0)
  const domain = rows.map(r => r.i)
  const at = i => rows.find(r => r.i === i)
  const short = r => r.to === null ? '>' + fmt.duration(r.from, 2) : '≤' + fmt.duration(r.to, 2)
  const long = r => r.to === null ? t('above', { t: fmt.duration(r.from) }) : t('up_to', { t: fmt.duration(r.to) })
  const share = r => all ? r.requests / all : 0
  return figure('durations', t('durations'), d.p50 !== null && ['p50', 'p95', 'p99'].map(k => `${t(k)} ${fmt.duration(d[k])}`).join(' · '), null,
    canvas(180, (width, height) => bands({
      width, height, domain, label: t('durations') + '.', hint: t('keys_hint'), y: { tickFormat: v => fmt.percent(v, 0), domain: [0, Math.max(0.1, ...rows.map(share)) * 1.08] },
      xTicks: everyNth(domain, width, 52), xFormat: i => short(at(i)),
      marks: [barY(rows, { x: 'i', y: share, fill: 'var(--c1)' })],
      describe: k => ({ title: long(rows[k]), rows: [{ name: t('share'), value: fmt.percent(share(rows[k])) }, { name: t('calls'), value: fmt.count(rows[k].requests) }] })
    })),
    [{ name: t('duration') }, { name: t('calls'), n: true }, { name: t('share'), n: true }], rows.map(r => [long(r), fmt.count(r.requests), fmt.percent(share(r))]))
}

export function cacheCard () {
  const { cache: c, sums } = state.data
  const row = (name, value, note) => h('div', { class: 'fact' }, h('dt', null, name, note && h('span', { class: 'sub' }, note)), h('dd', null, digits(value)))
  if (!c || !sums) return card('cache', t('cache'), null, h('p', { class: 'empty' }, t('cache_na')))
  const total = sums.total
  return card('cache', t('cache'), null,
    h('p', { class: 'big' }, digits(c.net, fmt.roundMoney(c.net))), h('p', { class: 'note' }, t('cache_net')),
    h('dl', { class: 'facts' },
      row(t('cache_provider'), c.provider, Number(total.input_tokens) > 0 && t('cache_hit', { rate: fmt.percent(total.cache_read_input_tokens / total.input_tokens) })),
      row(t('cache_app'), c.application, t('cache_answered', { n: fmt.count(total.cached_requests) })),
      Number(c.premium) > 0 && row(t('cache_premium'), '-' + c.premium)))
}

export function heatMap () {
  const { data } = state
  if (!data.pattern) return card('when', t('when'), null, notYet())
  const of = new Map(data.pattern.map(p => [p.weekday + ' ' + p.hour, p]))
  const most = Math.max(1, ...data.pattern.map(p => Number(p.requests)))
  const cells = []
  for (let w = 1; w <= 7; w++) for (let x = 0; x < 24; x++) cells.push({ w, x, p: of.get(w + ' ' + x) ?? { requests: 0, cost: 0 } })
  const wd = w => t('wd')[w - 1]
  const hour = x => String(x).padStart(2, '0') + ':00'
  return figure('when', t('when'), t('when_note', { zone: data.meta.time_zone }), null,
    h('div', null, h('div', { class: 'heat', role: 'img', 'aria-label': t('when') },
      h('span', null), Array.from({ length: 24 }, (_, x) => h('span', { class: 'hh' }, x % 3 === 0 ? String(x).padStart(2, '0') : '')),
      [1, 2, 3, 4, 5, 6, 7].map(w => [h('span', { class: 'ww' }, wd(w)), cells.filter(c => c.w === w).map(c =>
        h('i', { style: { '--heat': Math.sqrt(Number(c.p.requests) / most).toFixed(3) }, title: `${wd(w)} ${hour(c.x)} · ${fmt.count(c.p.requests)} ${t('calls')} · ${fmt.money(c.p.cost)}` }))])),
    h('p', { class: 'note heat-key' }, t('less'), [0, 0.25, 0.5, 0.75, 1].map(v => h('i', { style: { '--heat': v } })), t('most'))),
    [{ name: t('weekday') }, { name: t('hour') }, { name: t('calls'), n: true }, { name: t('cost'), n: true }],
    cells.filter(c => Number(c.p.requests) > 0).map(c => [wd(c.w), hour(c.x), fmt.count(c.p.requests), digits(c.p.cost)]))
}
