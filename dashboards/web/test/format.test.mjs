// Numbers as people read them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { csv } from '../csv.mjs'
import { BadRequest, parseFilters, rangeDays } from '../filters.mjs'
import * as fmt from '../src/format.js'
import { en, zh } from '../src/i18n.js'

test('money', () => {
  fmt.setup('en', 'USD', 'UTC')
  assert.equal(fmt.money('0.00012345'), '$0.00012')
  assert.equal(fmt.money('-3.456'), '-$3.46')
  assert.equal(fmt.money(null), '–')
  assert.equal(fmt.money('0'), '$0.00')
  assert.equal(fmt.roundMoney('1234.5'), '$1,235')
  assert.match(fmt.money('1000000000000'), /^\$1\D/)
  assert.equal(fmt.full('123456789012345678.123456789'), '123456789012345678.123456789 USD')
  fmt.setup('en', 'JPY', 'Asia/Tokyo')
  assert.equal(fmt.money('1234.5'), '¥1,235')
  fmt.setup('zh', 'CNY', 'Asia/Shanghai')
  assert.equal(fmt.money('12.5'), '¥12.50')
})
test('days and instants are those of the ledger', () => {
  fmt.setup('en', 'USD', 'Pacific/Kiritimati')
  assert.equal(fmt.day('2026-11-01'), '1 Nov')
  assert.equal(fmt.instant('2026-11-01T23:30:00Z'), '2 Nov, 13:30')
  assert.equal(fmt.monthBefore('2026-01-31'), '2025-12-01')
  assert.equal(fmt.plusDays('2028-02-28', 1), '2028-02-29')
})
test('durations', () => {
  fmt.setup('en', 'USD', 'UTC')
  assert.equal(fmt.duration(999), '999 ms')
  assert.equal(fmt.duration(2500), '2.5s')
  assert.equal(fmt.duration(null), '–')
})
test('ranges', () => {
  assert.deepEqual(rangeDays('last_month', '2026-03-31'), ['2026-02-01', '2026-02-28'])
  assert.deepEqual(rangeDays('7d', '2026-03-03'), ['2026-02-25', '2026-03-03'])
  assert.throws(() => rangeDays('2026-02-30_2026-03-01', '2026-03-03'), BadRequest)
  assert.throws(() => rangeDays('2020-01-01_2026-01-01', '2026-03-03'), BadRequest)
})
test('filters: an empty one is one', () => {
  assert.deepEqual(parseFilters(new URLSearchParams('range=7d&project=&org=a')), { range: '7d', project: '', org: 'a' })
  assert.throws(() => parseFilters(new URLSearchParams('drop=1')), BadRequest)
})
test('CSV', () => {
  assert.equal(csv([{ a: '=1+1', b: '-1.5e3', c: 'x"y', d: null, e: '@x', f: { a: 1 } }]), '\ufeffa,b,c,d,e,f\r\n\'=1+1,-1.5e3,"x""y",,\'@x,"{""a"":1}"\r\n')
  assert.equal(csv([]), '\ufeff')
})
test('both languages say the same things', () => {
  assert.deepEqual(Object.keys(zh).sort(), Object.keys(en).sort())
  const names = text => [...String(text).matchAll(/\{(\w+)\}/g)].map(m => m[1]).sort()
  for (const key of Object.keys(en)) for (const name of names(zh[key])) assert.ok(names(en[key]).includes(name), `${key}: {${name}}`)
})
