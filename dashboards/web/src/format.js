// Numbers and times for people.  What comes are strings with all digits; what
// is shown is rounded, and the digits stay in the title.
let locale = 'en'; let currency = 'USD'; let zone = 'UTC'
const made = new Map()
const number = options => {
  const key = locale + JSON.stringify(options)
  if (!made.has(key)) made.set(key, new Intl.NumberFormat(locale, options))
  return made.get(key)
}
const time = options => {
  const key = 't' + locale + JSON.stringify(options)
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(locale, options))
  return made.get(key)
}
export function setup (l, c, z) { locale = l === 'zh' ? 'zh-CN' : 'en-GB'; currency = c; zone = z }

const digits = () => number({ style: 'currency', currency }).resolvedOptions().maximumFractionDigits
const money_ = options => number({ style: 'currency', currency, currencyDisplay: 'narrowSymbol', ...options })
export function money (value) {
  if (value === null || value === undefined) return '–'
  const n = Number(value); const a = Math.abs(n)
  if (a !== 0 && a < 0.095) return money_({ minimumSignificantDigits: 2, maximumSignificantDigits: 2 }).format(n)
  if (a >= 1e6) return money_({ notation: 'compact', maximumSignificantDigits: 4 }).format(n)
  return money_({ minimumFractionDigits: digits(), maximumFractionDigits: digits() }).format(n)
}
// large figures, axes: no cents above a hundred
export function roundMoney (value) {
  if (value === null || value === undefined) return '–'
  const n = Number(value)
  if (Math.abs(n) >= 1e5) return money_({ notation: 'compact', maximumSignificantDigits: 4 }).format(n)
  if (Math.abs(n) >= 100) return money_({ maximumFractionDigits: 0, minimumFractionDigits: 0 }).format(n)
  return money(value)
}
export const axisMoney = n => n === 0 ? money_({ maximumFractionDigits: 0, minimumFractionDigits: 0 }).format(0) : money_({ notation: 'compact', maximumSignificantDigits: 3 }).format(n)
export const full = value => value === null || value === undefined ? '' : `${value} ${currency}`
export const count = value => number({ maximumFractionDigits: 0 }).format(Number(value))
export const compact = value => Math.abs(Number(value)) < 10000 ? count(value) : number({ notation: 'compact', maximumSignificantDigits: 3 }).format(Number(value))
export const percent = (share, d = 1) => number({ style: 'percent', minimumFractionDigits: d, maximumFractionDigits: d }).format(Number(share))
export const change = share => number({ style: 'percent', maximumFractionDigits: Math.abs(share) < 0.1 ? 1 : 0, signDisplay: 'exceptZero' }).format(share)
export function duration (ms, digits = 3) {
  if (ms === null || ms === undefined) return '–'
  const n = Number(ms)
  return n < 1000 ? number({ style: 'unit', unit: 'millisecond', unitDisplay: 'short', maximumFractionDigits: 0 }).format(n)
    : number({ style: 'unit', unit: 'second', unitDisplay: 'narrow', maximumSignificantDigits: n < 10000 ? 2 : digits }).format(n / 1000)
}
// a day is a date of the ledger's calendar, and has no zone
const at = day => new Date(day + 'T12:00:00Z')
export const day = d => time({ day: 'numeric', month: 'short', timeZone: 'UTC' }).format(at(d))
export const longDay = d => time({ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' }).format(at(d))
export const month = d => time({ month: 'long', timeZone: 'UTC' }).format(at(d))
export const instant = t => time({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: zone }).format(new Date(t))
export const clock = t => time({ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZone: zone }).format(new Date(t))
export const exactInstant = t => time({ year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23', timeZone: zone, timeZoneName: 'short' }).format(new Date(t))
// the last day of a period that ends at that instant
export const lastDay = t => time({ day: 'numeric', month: 'short', timeZone: zone }).format(new Date(Date.parse(t) - 1))
export function plusDays (day, n) { const d = new Date(day + 'T00:00:00Z'); d.setUTCDate(d.getUTCDate() + n); return d.toISOString().slice(0, 10) }
// the first day of the month before that day's
export const monthBefore = day => plusDays(day.slice(0, 8) + '01', -1).slice(0, 8) + '01'
