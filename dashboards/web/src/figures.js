// The large figures, and cost over time.
import { h } from './dom.js'
import * as fmt from './format.js'
import { bands, barY, dot, everyNth, lineY, ruleX, stackY } from './charts.js'
import { canvas, digits, figure, notYet } from './parts.js'
import { bold, isFiner, state, t } from './state.js'

export function kpis () {
  const { data } = state
  const { sums, forecast, alerts } = data
  const finer = isFiner(data.filters)
  const one = (label, big, title, ...lines) => h('div', { class: 'kpi' }, h('h3', null, label), h('p', { class: 'big', title }, big), lines.filter(Boolean).map(l => h('p', { class: 'line' }, l)))
  const { today, month, yesterday } = sums ?? {}
  const budget = finer ? null : data.quotas.listed.find(q => q.metric === 'cost' && q.period === 'month' && (data.filters.org === undefined ? q.scope === 'all' : q.scope === 'org' && q.subject === data.filters.org))
  return [
    sums
      ? one(t('kpi_today'), fmt.roundMoney(today.cost), fmt.full(today.cost),
        t('calls_tokens', { calls: fmt.compact(today.requests), tokens: fmt.compact(today.total_tokens) }),
        today.requests > 0 && t('ok_rate', { rate: fmt.percent(1 - today.errors / today.requests) }), t('yesterday_was', { cost: fmt.roundMoney(yesterday.cost) }))
      : one(t('kpi_today'), '–', null, t(state.tooSlow ? 'too_slow' : 'reading_calls')),
    sums
      ? one(t('kpi_month'), fmt.roundMoney(month.cost), fmt.full(month.cost), comparison(data, finer),
        budget && bold(h, 'of_budget', 'p', { p: fmt.percent(budget.percentage / 100, 0), amount: fmt.roundMoney(budget.amount), name: budget.name }))
      : one(t('kpi_month'), '–', null),
    forecast
      ? one(t('kpi_forecast', { month: fmt.month(forecast.month) }), fmt.roundMoney(forecast.forecast), fmt.full(forecast.forecast),
        forecast.upper_bound && t('band', { low: fmt.roundMoney(forecast.lower_bound), high: fmt.roundMoney(forecast.upper_bound) }), t('confidence_' + forecast.confidence))
      : one(t('kpi_forecast', { month: fmt.month(data.meta.today) }), '–', null, t('no_forecast')),
    one(t('kpi_alerts'), [alerts.severe > 0 && h('i', { class: 'dot exceeded' }), alerts.severe === 0 && alerts.count > 0 && h('i', { class: 'dot warning' }), fmt.count(alerts.count - alerts.acknowledged)], null,
      alerts.count === 0 ? t('no_alerts') : t('severe', { n: fmt.count(alerts.severe) }), alerts.acknowledged > 0 && t('acknowledged', { n: fmt.count(alerts.acknowledged) }))
  ]
}

// This month against the same time of the last: by its full hours, or, under
// filters that hours are not known of, by its full days.
function comparison (data, finer) {
  const by = finer
    ? { now: data.sums.month_to_date.cost, then: data.sums.last_month_to_date.cost, first: data.meta.first_day, key: 'vs_last_days' }
    : { now: data.month_to_date.cost, then: data.month_to_date.previous_cost, first: data.month_to_date.previous_first_hour?.slice(0, 10), key: 'vs_last' }
  const start = fmt.monthBefore(data.meta.today)
  if (!(by.then > 0)) return t('vs_none')
  if (by.first > start) return t('vs_partial', { day: fmt.day(by.first) })
  return h('span', { title: `${fmt.full(by.now)} / ${fmt.full(by.then)}` }, bold(h, by.key, 'change', { change: fmt.change(by.now / by.then - 1), cost: fmt.roundMoney(by.then) }))
}

const COLORS = [1, 2, 3, 4, 5, 6].map(n => `var(--c${n})`)

export function costChart () {
  const { data, lang } = state
  const title = t(data.hours ? 'cost_by_hour' : data.stack ? 'cost_by_day' : 'cost_by_day_whole')
  if (!data.days) return h('section', { class: 'card', 'aria-labelledby': 'cost-title' }, h('h3', { id: 'cost-title' }, title), notYet())
  const { total, before } = data.sums
  const values = { cost: fmt.money(total.cost), calls: fmt.count(total.requests), tokens: fmt.compact(total.total_tokens), days: fmt.count(data.days.length) }
  const known = Number(before.cost) > 0 && data.meta.first_day <= fmt.plusDays(data.first_day, -data.days.length)
  const note = [h('span', { title: fmt.full(total.cost) }, t(data.hours ? 'in_day' : 'in_range', values)),
    known && h('span', { title: fmt.full(before.cost) }, ' · ' + t(data.hours ? 'vs_day' : 'vs_before', { change: fmt.change(total.cost / before.cost - 1), days: fmt.count(data.days.length) }))]
  if (data.hours) return hourChart(title, note)

  // where no rollup has models under these filters, the days are shown whole
  const { models, others, costs } = data.stack ?? { models: [t('total')], others: 0, costs: data.days.map(d => [d.cost]) }
  const series = [...models.map((name, i) => ({ key: i, name, color: COLORS[i] })), ...(others > 0 ? [{ key: 6, name: t('others'), color: 'var(--c0)' }] : [])]
  const bars = data.days.flatMap((d, n) => series.map(s => ({ day: d.day, key: s.key, cost: Number(costs[n][s.key]) }))).filter(b => b.cost !== 0)
  const ahead = data.forecast && data.last_day === data.meta.today && data.first_day !== data.last_day
    ? data.forecast.days.map(d => ({ day: d.day, cost: Number(d.cost), low: Number(d.lower_bound ?? d.cost), high: Number(d.upper_bound ?? d.cost) }))
    : []
  const aheadOf = new Map(ahead.map(a => [a.day, a]))
  const domain = [...data.days.map(d => d.day), ...ahead.map(a => a.day).filter(d => d > data.meta.today)]
  const average = data.days.filter(d => d.average_7d_cost !== null)
  const odd = new Map((data.anomalies ?? []).map(a => [a.day, a]))
  const top = Math.max(...data.days.map(d => Number(d.cost)), ...ahead.map(a => a.high), 0.01) * 1.06
  const index = new Map(data.days.map((d, n) => [d.day, n]))
  const legend = h('ul', { class: 'legend' }, series.map(s => h('li', null, h('i', { class: 'key', style: { background: s.color } }), s.name)),
    h('li', null, h('i', { class: 'key line' }), t('average7')), ahead.length > 0 && h('li', { title: t('forecast_note') }, h('i', { class: 'key ghost' }), t('forecast')),
    odd.size > 0 && h('li', null, h('i', { class: 'key odd' }), t('anomaly')))
  const describe = i => {
    const day = domain[i]; const n = index.get(day); const d = data.days[n]; const a = aheadOf.get(day); const o = odd.get(day)
    return {
      title: fmt.longDay(day) + (day === data.meta.today ? ` (${t('so_far')})` : ''),
      rows: [...(d && data.stack ? series.map(s => ({ name: s.name, color: s.color, value: fmt.money(costs[n][s.key]) })).reverse() : []),
        d && { name: t('total'), value: fmt.money(d.cost) }, d && { name: t('calls'), value: fmt.count(d.requests) }, d?.average_7d_cost && { name: t('average7'), value: fmt.money(d.average_7d_cost) },
        a && { name: t('forecast_day'), value: `${fmt.money(a.cost)} (${fmt.money(a.low)} – ${fmt.money(a.high)})` }, o && { name: t('anomaly'), value: t('expected_about', { cost: fmt.money(o.expected) }) }].filter(Boolean)
    }
  }
  return figure('cost', title, note, legend, canvas(innerWidth < 600 ? 250 : 320, (width, height) => bands({
    width, height, domain, label: title + '.', hint: t('keys_hint'), y: { tickFormat: fmt.axisMoney, domain: [0, top] },
    xTicks: everyNth(domain, width, lang === 'zh' ? 84 : 58), xFormat: fmt.day,
    marks: [
      barY(ahead, { x: 'day', y: 'cost', fill: 'var(--muted)', fillOpacity: 0.14, stroke: 'var(--muted)', strokeDasharray: '3,2', strokeOpacity: 0.9, insetTop: 0.5, insetLeft: 0.5, insetRight: 0.5 }),
      ruleX(ahead, { x: 'day', y1: 'low', y2: 'high', stroke: 'var(--muted)', strokeWidth: 1.5 }),
      barY(bars, stackY({ order: series.map(s => s.key) }, { x: 'day', y: 'cost', z: 'key', fill: d => series.find(s => s.key === d.key).color, insetTop: 0.5 })),
      lineY(average, { x: 'day', y: d => Number(d.average_7d_cost), stroke: 'var(--card)', strokeWidth: 4.5, strokeLinejoin: 'round' }),
      lineY(average, { x: 'day', y: d => Number(d.average_7d_cost), stroke: 'var(--text)', strokeWidth: 2, strokeLinejoin: 'round' }),
      dot([...odd.values()].filter(o => index.has(o.day)), { x: 'day', y: d => Number(data.days[index.get(d.day)].cost), dy: -8, symbol: 'triangle2', r: 4, fill: 'var(--bad)' })
    ],
    describe
  })), [{ name: t('day') }, ...series.map(s => ({ name: s.name, n: true })), { name: t('total'), n: true }, { name: t('average7'), n: true }, ...(ahead.length ? [{ name: t('forecast'), n: true }] : [])],
  [...domain].reverse().map(day => {
    const n = index.get(day); const d = data.days[n]; const a = aheadOf.get(day)
    return [fmt.longDay(day), ...series.map(s => d ? digits(costs[n][s.key]) : ''), d ? digits(d.cost) : '', d ? fmt.money(d.average_7d_cost) : '',
      ...(ahead.length ? [a ? `${fmt.money(a.cost)} (${fmt.money(a.low)} – ${fmt.money(a.high)})` : ''] : [])]
  }))
}

function hourChart (title, note) {
  const { data } = state
  const domain = Array.from({ length: 24 }, (_, i) => i)
  const of = new Map(data.hours.map(x => [x.hour, x]))
  const rows = domain.map(i => of.get(i) ?? { hour: i, cost: 0, requests: 0, errors: 0 })
  const name = i => `${String(i).padStart(2, '0')}:00`
  return figure('cost', title, note, null, canvas(300, (width, height) => bands({
    width, height, domain, label: title + '.', hint: t('keys_hint'), y: { tickFormat: fmt.axisMoney, domain: [0, Math.max(...rows.map(r => Number(r.cost)), 0.01) * 1.05] },
    xTicks: everyNth(domain, width, 34), xFormat: i => String(i).padStart(2, '0'),
    marks: [barY(rows, { x: 'hour', y: d => Number(d.cost), fill: 'var(--c1)' })],
    describe: i => ({ title: name(i), rows: [{ name: t('cost'), value: fmt.money(rows[i].cost) }, { name: t('calls'), value: fmt.count(rows[i].requests) }, { name: t('errors'), value: fmt.count(rows[i].errors) }] })
  })), [{ name: t('hour') }, { name: t('cost'), n: true }, { name: t('calls'), n: true }, { name: t('errors'), n: true }],
  rows.map(r => [name(r.hour), digits(r.cost), fmt.count(r.requests), fmt.count(r.errors)]))
}
