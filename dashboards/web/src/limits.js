// Quotas and alerts, as they stand now.
import { h } from './dom.js'
import * as fmt from './format.js'
import { amountOf, card, digits } from './parts.js'
import { isFiner, known, snapshot, state, t } from './state.js'

const PER = { hour: 'per_hour', day: 'per_day', week: 'per_week', month: 'per_month', year: 'per_year', lifetime: 'lifetime' }
const finerNote = () => isFiner(state.data.filters) && h('p', { class: 'note' }, t('quotas_now'))

export function quotas () {
  const q = state.data.quotas
  return card('quotas', t('quotas'), [
    q.count > 0 && h('p', { class: 'note' }, t('quotas_sum', { exceeded: q.exceeded, near: q.warning + q.critical, ok: q.count - q.exceeded - q.warning - q.critical })), finerNote()],
  q.count === 0
    ? h('p', { class: 'empty' }, t('no_quotas'))
    : h('ul', { class: 'quotas' }, q.listed.slice(0, 12).map(quota)),
  q.count > Math.min(12, q.listed.length) && h('p', { class: 'note' }, t('more', { n: fmt.count(q.count - Math.min(12, q.listed.length)) })))
}

function quota (s) {
  // what is above the limit is shown, up to twice of it
  const scale = Math.max(1, Math.min(2, Number(s.percentage) / 100))
  const projected = s.projected === null ? null : Number(s.projected) / Number(s.amount)
  const x = share => Math.min(100, 100 * share / scale) + '%'
  const when = s.runs_out_at
    ? t('runs_out', { day: fmt.instant(s.runs_out_at) })
    : projected !== null && s.state !== 'exceeded' && s.period_end ? t('projected', { p: fmt.percent(projected, 0), day: s.period === 'hour' ? fmt.instant(s.period_end) : fmt.lastDay(s.period_end) }) : null
  return h('li', { class: s.state },
    h('div', { class: 'q-head' },
      h('span', { class: 'q-name' }, h('b', null, s.name), s.subject !== null && s.subject !== s.name && [' · ', s.subject], h('span', { class: 'sub' }, t(PER[s.period]), s.enforcement === 'block' && ' · ' + t('blocks'))),
      h('span', { class: 'state ' + s.state }, t('state_' + s.state))),
    h('div', { class: 'meter', role: 'img', 'aria-label': `${s.name} ${s.subject ?? ''}: ${fmt.percent(s.percentage / 100, 0)}` },
      projected !== null && h('span', { class: 'ahead', style: { width: x(projected) } }),
      h('span', { class: 'fill', style: { width: x(s.percentage / 100) } }),
      h('i', { class: 'tick', style: { left: x(Number(s.warning_threshold)) } }), h('i', { class: 'tick', style: { left: x(Number(s.critical_threshold)) } }), scale > 1 && h('i', { class: 'tick limit', style: { left: x(1) } })),
    h('div', { class: 'q-foot' },
      h('span', { title: s.metric === 'cost' ? fmt.full(s.used) : fmt.count(s.used) }, t('of', { used: amountOf(s.metric, s.used), amount: amountOf(s.metric, s.amount) }), ' · ', h('b', null, fmt.percent(s.percentage / 100, Number(s.percentage) < 1000 ? 1 : 0))),
      when && h('span', null, when)))
}

export function alerts (handle) {
  const { data } = state
  const a = data.alerts
  const may = data.meta.may_handle_alerts && !snapshot
  const button = (x, action) => h('button', { type: 'button', class: 'quiet', 'data-key': `${action} ${x.alert_ids[0]}`, onclick: e => { e.target.disabled = true; handle(action, x.alert_ids) } }, t(action))
  return card('alerts', t('alerts'), finerNote(),
    a.count === 0
      ? h('p', { class: 'empty' }, t('no_alerts'))
      : h('ul', { class: 'alerts' }, a.listed.map(x => h('li', { title: x.message },
        h('span', { class: 'state ' + x.level }, known('level_' + x.level) ? t('level_' + x.level) : x.level),
        h('div', { class: 'what' }, what(x), h('span', { class: 'sub' }, more(x)),
          may && h('div', { class: 'handle' }, x.state === 'open' && button(x, 'acknowledge'), button(x, 'resolve')))))),
    a.matters > a.listed.length && h('p', { class: 'note' }, t('more', { n: fmt.count(a.matters - a.listed.length) })),
    state.refused && h('p', { class: 'note', role: 'alert' }, t('err_' + state.refused)))
}

function what (x) {
  if (x.alert_type === 'unpriced') return t('alert_unpriced', { model: x.subject })
  if (x.quota) return [h('b', null, x.quota), x.subject !== null && x.subject !== x.quota && ' · ' + x.subject]
  const d = x.details ?? {}
  if (x.alert_type === 'anomaly') {
    return d.kind === 'call'
      ? [t('alert_call', { model: d.model }), x.subject && ' · ' + x.subject]
      : [t('alert_day', { day: d.day ? fmt.day(d.day) : '' }), ' · ' + (x.subject ?? t('all_orgs'))]
  }
  if (x.alert_type === 'threshold') return [h('b', null, d.rule), x.subject && ' · ' + x.subject]
  return x.message ?? x.alert_type
}

function more (x) {
  const { data } = state
  return [
    x.quota && t('of', { used: amountOf(x.metric, x.used), amount: amountOf(x.metric, x.amount) }),
    x.alert_type === 'anomaly' && [digits(x.used), ', ', t('expected_about', { cost: fmt.money(x.details?.expected) })],
    x.alert_type === 'threshold' && `${x.used} > ${x.amount}`,
    x.alert_type === 'unpriced' && x.times > 1 && t('times', { n: fmt.count(x.times) }),
    // of another period than the one that runs: say which
    x.quota && x.period_start && (x.period === 'month' ? x.period_start.slice(0, 7) !== data.meta.today.slice(0, 7) && fmt.month(x.period_start) : x.period_start !== data.meta.today && fmt.day(x.period_start)),
    fmt.instant(x.raised_at), x.state === 'acknowledged' && t('seen_by', { name: x.acknowledged_by ?? '' })]
    .filter(Boolean).flatMap((v, i) => i ? [' · ', v] : [v])
}
