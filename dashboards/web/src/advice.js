// What could be saved, said in the reader's language by code and arguments.
import { h } from './dom.js'
import * as fmt from './format.js'
import { amountOf, card } from './parts.js'
import { isFiner, known, state, t } from './state.js'

// arguments as people read them
function spoken (a) {
  const by = { ...a.arguments }
  const metric = by.metric ?? 'cost'
  for (const [k, v] of Object.entries(by)) {
    if (['cost', 'alternative_cost', 'savings', 'failed_cost', 'calls_cost', 'batch_cost', 'expected'].includes(k)) by[k] = fmt.money(v)
    else if (['requests', 'calls', 'errors', 'average_input_tokens', 'subjects'].includes(k)) by[k] = fmt.count(v)
    else if (['read_percentage', 'error_percentage'].includes(k)) by[k] = fmt.percent(v / 100)
    else if (['amount', 'highest'].includes(k)) by[k] = amountOf(metric, v)
    else if (k === 'period') by[k] = t('of_' + v)
  }
  return by
}

export function adviceCard () {
  const { advice, data } = state
  return card('advice', t('advice'), [h('p', { class: 'note' }, t('advice_note')), isFiner(data.filters) && h('p', { class: 'note' }, t('quotas_now'))],
    !Array.isArray(advice) || advice.length === 0
      ? h('p', { class: 'empty', role: 'status' }, t(advice === null ? 'loading' : Array.isArray(advice) ? 'no_advice' : 'too_slow'))
      : h('ol', { class: 'advice' }, advice.slice(0, 5).map(a => {
        const title = known('advice_' + a.code) ? t('advice_' + a.code, spoken(a)) : a.title
        const text = known('because_' + a.code) ? t('because_' + a.code, spoken(a)) : a.description
        return h('li', null,
          h('div', { class: 'what' }, h('b', null, title), h('span', { class: 'sub' }, text),
            h('span', { class: 'sub' }, a.savings_percentage !== null && t('of_cost', { p: fmt.percent(a.savings_percentage / 100, 0), cost: fmt.money(a.current_cost) }) + ' · ', t('effort_' + a.effort))),
          a.potential_savings !== null && h('span', { class: 'saves', title: fmt.full(a.potential_savings) }, t('saves', { cost: fmt.roundMoney(a.potential_savings) })))
      })))
}
