// The calls through node-postgres.
const assert = require('assert')
const { Client } = require('pg')

const INSERT = `
    INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
    VALUES ($1, $2, $3, $4) RETURNING cost`

const RESPONSE = {
  id: 'r-2', object: 'chat.completion', model: 'test-model', choices: [],
  usage: { prompt_tokens: 2000, completion_tokens: 300, total_tokens: 2300 },
}

async function main() {
  const client = new Client()
  await client.connect()
  const rows = async (text, ...values) => (await client.query(text, values)).rows
  const refused = (code, text, ...values) => assert.rejects(client.query(text, values), { code })

  // numeric comes as a string: all its digits
  assert.deepEqual(await rows(INSERT, 'alice', 'test-model', 1000, 500), [{ cost: '0.0075' }])

  for (let i = 1; i <= 10; i++) {
    const prepared = { name: 'call', text: INSERT, values: ['bob', 'test-model', 1000 * i, 100 * i] }
    assert.equal(Number((await client.query(prepared)).rows[0].cost), 35 * i / 10000)
  }

  // a Date has milliseconds, a string all that PostgreSQL has
  assert.deepEqual(
    await rows(`INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, output_tokens, tags)
                VALUES ($1, $2, $3, $4, $5, $6) RETURNING cost`,
      '2026-01-02T03:04:05.678901+01:00', 'carol', 'test-model', 2000, 100, { workflow: 'summary' }),
    [{ cost: '0.006' }])

  const n = Array.from({ length: 100 }, (_, i) => i + 1)
  await rows(`INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
              SELECT 'dave', 'test-model', n, 2 * n FROM unnest($1::bigint[]) AS n`, n)

  const call = `INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens)
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING cost`
  assert.deepEqual(await rows(call, 'r-1', 'erin', 'test-model', 400, 100), [{ cost: '0.002' }])
  assert.deepEqual(await rows(call, 'r-1', 'erin', 'test-model', 400, 100), [])

  assert.deepEqual(await rows(INSERT, 'heidi', 'no-such-model', 10, 10), [{ cost: null }])
  await refused('UM001', INSERT, 'ivan', 'test-model', -1, 0)
  await assert.rejects(client.query(INSERT, ['grace', 'test-model', 0, 10000]),
    { code: 'UM100', schema: 'usage_monitor', table: 'quota', constraint: 'grace' })
  await refused('42501', 'SELECT user_id FROM usage_monitor.usage')
  await refused('42501', 'UPDATE usage_monitor.price_rate SET amount = 0')
  await client.end()

  const recorder = new Client({ user: process.env.RECORDER })
  await recorder.connect()
  const recorded = await recorder.query(
    'SELECT cost, input_tokens FROM usage_monitor.record($1, user_id => $2)', [RESPONSE, 'frank'])
  assert.deepEqual(recorded.rows, [{ cost: '0.008', input_tokens: '2000' }])
  await assert.rejects(recorder.query(INSERT, ['ivan', 'test-model', 1, 0]), { code: '42501' })
  await recorder.end()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
