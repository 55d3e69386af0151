// What an address asks for, checked; anything else is refused by name.

export const RANGES = ['today', '7d', '30d', 'month', 'last_month', '90d']
export const FILTERS = ['org', 'department', 'project', 'user', 'source', 'model']

export class BadRequest extends Error {}

// A filter that is there and empty asks for calls that name none.
export function parseFilters (params) {
  const filters = { range: '30d' }
  for (const [key, value] of params) {
    if (key === 'lang') continue
    if (key === 'range') {
      if (!RANGES.includes(value) && !/^\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d$/.test(value)) throw new BadRequest('unknown range')
      filters.range = value
    } else if (FILTERS.includes(key)) {
      if (value.length > 300 || value.includes('\0')) throw new BadRequest(`"${key}" is too long`)
      filters[key] = value
    } else throw new BadRequest(`unknown parameter "${key}"`)
  }
  return filters
}

const iso = d => d.toISOString().slice(0, 10)
export const plusDays = (day, n) => { const d = new Date(day + 'T00:00:00Z'); d.setUTCDate(d.getUTCDate() + n); return iso(d) }

// First and last day of a range, on the ledger's calendar.
export function rangeDays (range, today) {
  const month = today.slice(0, 8) + '01'
  switch (range) {
    case 'today': return [today, today]
    case '7d': return [plusDays(today, -6), today]
    case '30d': return [plusDays(today, -29), today]
    case '90d': return [plusDays(today, -89), today]
    case 'month': return [month, today]
    case 'last_month': { const last = plusDays(month, -1); return [last.slice(0, 8) + '01', last] }
  }
  const [from, to] = range.split('_')
  for (const day of [from, to]) if (Number.isNaN(Date.parse(day)) || iso(new Date(day)) !== day) throw new BadRequest('no such day')
  if (from > to) throw new BadRequest('the range ends before it begins')
  if ((Date.parse(to) - Date.parse(from)) / 864e5 > 730) throw new BadRequest('the range is longer than two years')
  return [from, to]
}
