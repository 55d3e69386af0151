// The Node examples, with the real packages: mock models of the AI SDK and
// LangChain, a local server in the place of OpenAI and Anthropic, and the real
// OpenTelemetry exporters; by PGHOST, PGDATABASE, ...
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import { AIMessage } from '@langchain/core/messages'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs'
import { BatchSpanProcessor, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import { context, trace } from '@opentelemetry/api'
import { generateText, streamText, wrapLanguageModel } from 'ai'
import { MockLanguageModelV3, simulateReadableStream } from 'ai/test'
import OpenAI from 'openai'
import pg from 'pg'
import { recordUsage } from '../ai-sdk.mjs'
import { recordingFetch } from '../client.mjs'
import { UsageHandler } from '../langchain.mjs'
import { otlpReceiver } from '../otlp-receiver.mjs'
import { Recorder } from '../recorder.mjs'

// One call of each provider, and what it costs, whatever road it takes.
const OPENAI = { model: 'gpt-4o-2024-08-06', input: 2006, cached: 1920, written: 0, output: 300, cost: '0.005615' }
const CLAUDE = { model: 'claude-sonnet-4-5', input: 9000, cached: 8000, written: 500, output: 200, cost: '0.008775' }

const pool = new pg.Pool()
const recorder = new Recorder(pool, { retryAfter: 50 })
let provider, receiver

// The row of a request
async function row(id, columns = 'trim_scale(cost)::text AS cost') {
  assert.equal(await recorder.flush(), 0)
  const { rows } = await pool.query(`SELECT ${columns} FROM usage_monitor.usage WHERE request_id = $1`, [id])
  return rows[0]
}
async function rowSoon(id, columns) {
  for (let i = 0; i < 500; i++) {
    const found = await row(id, columns)
    if (found) return found
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.fail(`${id} was not recorded: ${recorder.counts.error}`)
}
const count = async () => +(await pool.query('SELECT count(*) FROM usage_monitor.usage')).rows[0].count
const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)))

// In the place of the providers; the id of the answer is the prompt.
const chatUsage = { prompt_tokens: 2006, completion_tokens: 300, total_tokens: 2306, prompt_tokens_details: { cached_tokens: 1920 } }
const responseUsage = { input_tokens: 2006, output_tokens: 300, total_tokens: 2306, input_tokens_details: { cached_tokens: 1920 }, output_tokens_details: { reasoning_tokens: 0 } }
const claudeUsage = { input_tokens: 500, cache_creation_input_tokens: 500, cache_read_input_tokens: 8000, output_tokens: 200 }
const answers = {
  '/chat/completions': ({ messages: [{ content: id }], stream, stream_options }) => {
    const chunk = (choices, usage) => ({ id, object: 'chat.completion.chunk', created: 1, model: OPENAI.model, choices, usage })
    return stream
      ? [chunk([{ index: 0, delta: { content: 'Hi' }, finish_reason: null }]), chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]),
          ...(stream_options?.include_usage ? [chunk([], chatUsage)] : [])]
      : { id, object: 'chat.completion', created: 1, model: OPENAI.model, choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }], usage: chatUsage }
  },
  '/responses': ({ input: id, stream }) => {
    const response = { id, object: 'response', created_at: 1, model: OPENAI.model, status: 'completed', output: [], usage: responseUsage }
    return stream ? [{ type: 'response.created', response: { ...response, status: 'in_progress', usage: null } }, { type: 'response.completed', response }] : response
  },
  '/embeddings': () => ({ object: 'list', model: 'text-embedding-3-small', data: [{ object: 'embedding', index: 0, embedding: [0] }], usage: { prompt_tokens: 1000, total_tokens: 1000 } }),
  '/v1/messages': ({ messages: [{ content: id }], stream }) => {
    const message = { id, type: 'message', role: 'assistant', model: CLAUDE.model, content: [{ type: 'text', text: 'Hi' }], stop_reason: 'end_turn', usage: claudeUsage }
    return stream
      ? [{ type: 'message_start', message: { ...message, content: [], stop_reason: null, usage: { ...claudeUsage, output_tokens: 1 } } },
          { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }, { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hi' } },
          { type: 'content_block_stop', index: 0 }, { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 200 } }, { type: 'message_stop' }]
      : message
  }
}

before(async () => {
  provider = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const asked = JSON.parse(body)
    if (body.includes('overload')) {
      response.writeHead(529, { 'content-type': 'application/json' })
      return response.end(JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }))
    }
    const answer = answers[request.url](asked)
    if (!Array.isArray(answer)) {
      response.writeHead(200, { 'content-type': 'application/json' })
      return response.end(JSON.stringify(answer))
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of answer) {
      response.write(`${event.type ? `event: ${event.type}\n` : ''}data: ${JSON.stringify(event)}\n\n`)
      // whoever is to be left stops here
      if (body.includes('endless')) return
    }
    response.end()
  })
  provider.url = await listen(provider)
  receiver = otlpReceiver(pool, { token: 'secret', org: undefined })
  receiver.url = await listen(receiver)
})

after(async () => {
  provider.closeAllConnections()
  provider.close()
  receiver.closeAllConnections()
  receiver.close()
  await pool.end()
})

const openai = (who) => new OpenAI({ apiKey: 'none', baseURL: provider.url, maxRetries: 0, fetch: recordingFetch(recorder, who) })
const anthropic = () => new Anthropic({ apiKey: 'none', baseURL: provider.url, maxRetries: 0, fetch: recordingFetch(recorder) })

test('openai: chat, responses, embeddings, and what the client offers still works', async () => {
  const client = openai({ user_id: 'alice' })
  const { data, response } = await client.chat.completions.create({ model: 'gpt-4o', messages: [{ role: 'user', content: 'js-chat' }] }).withResponse()
  assert.equal(data.choices[0].message.content, 'Hi')
  assert.equal(response.status, 200)
  assert.deepEqual(await rowSoon('js-chat', 'trim_scale(cost)::text AS cost, user_id, model, duration_ms >= 0 AS timed'),
    { cost: OPENAI.cost, user_id: 'alice', model: OPENAI.model, timed: true })
  await client.responses.create({ model: 'gpt-4o', input: 'js-responses' })
  assert.equal((await rowSoon('js-responses')).cost, OPENAI.cost)
  await openai({ request_id: 'js-embeddings' }).embeddings.create({ model: 'text-embedding-3-small', input: 'x' })
  assert.equal((await rowSoon('js-embeddings')).cost, '0.00002')
})

test('openai: streams, with usage and without', async () => {
  const chat = async (id, options) => {
    let text = ''
    for await (const chunk of await openai().chat.completions.create({ model: 'gpt-4o', messages: [{ role: 'user', content: id }], stream: true, ...options })) {
      text += chunk.choices[0]?.delta.content ?? ''
    }
    return text
  }
  assert.equal(await chat('js-stream', { stream_options: { include_usage: true } }), 'Hi')
  assert.equal((await rowSoon('js-stream')).cost, OPENAI.cost)
  await chat('js-stream-untold')
  assert.equal((await rowSoon('js-stream-untold')).cost, null)
  for await (const event of await openai().responses.create({ model: 'gpt-4o', input: 'js-events', stream: true })) assert.ok(event.type)
  assert.equal((await rowSoon('js-events')).cost, OPENAI.cost)
})

test('anthropic: messages, streams, a failure, a stream that is left', async () => {
  const ask = (id, options) => ({ model: CLAUDE.model, max_tokens: 9, messages: [{ role: 'user', content: id }], ...options })
  await anthropic().messages.create(ask('js-message'))
  assert.equal((await rowSoon('js-message')).cost, CLAUDE.cost)
  const final = await anthropic().messages.stream(ask('js-message-stream')).finalMessage()
  assert.equal(final.usage.output_tokens, 200)
  assert.equal((await rowSoon('js-message-stream')).cost, CLAUDE.cost)
  const failing = new Anthropic({ apiKey: 'none', baseURL: provider.url, maxRetries: 0, fetch: recordingFetch(recorder, () => ({ request_id: 'js-failed' })) })
  await assert.rejects(failing.messages.create(ask('overload')), /Overloaded/)
  assert.deepEqual(await rowSoon('js-failed', 'model, success, error, cost::float8'), { model: CLAUDE.model, success: false, error: 'Overloaded', cost: 0 })
  const stream = anthropic().messages.stream(ask('js-endless'))
  stream.on('error', () => {})
  for await (const event of stream) if (event.type === 'message_start') break
  assert.deepEqual(await rowSoon('js-endless', 'cost, unpriced_reason'), { cost: null, unpriced_reason: 'the stream was cut' })
})

// The AI SDK's models: what their providers make of the answers above
const v3 = (call) => ({ inputTokens: { total: call.input, noCache: call.input - call.cached - call.written, cacheRead: call.cached, cacheWrite: call.written }, outputTokens: { total: call.output, text: call.output, reasoning: 0 } })
const mock = (call, name, id) => new MockLanguageModelV3({
  provider: name,
  modelId: call.model,
  doGenerate: async () => ({ finishReason: { unified: 'stop', raw: 'stop' }, usage: v3(call), content: [{ type: 'text', text: 'Hi' }], warnings: [], response: { id, modelId: call.model, timestamp: new Date(0) } }),
  doStream: async () => ({ stream: simulateReadableStream({ chunks: [
    { type: 'stream-start', warnings: [] }, { type: 'response-metadata', id, modelId: call.model, timestamp: new Date(0) },
    { type: 'text-start', id: '1' }, { type: 'text-delta', id: '1', delta: 'Hi' }, { type: 'text-end', id: '1' },
    { type: 'finish', finishReason: { unified: 'stop', raw: 'stop' }, usage: v3(call) }] }) })
})
const recorded = (model, who) => wrapLanguageModel({ model, middleware: recordUsage(recorder, who) })

test('AI SDK: generated and streamed', async () => {
  for (const [call, name] of [[OPENAI, 'openai.chat'], [CLAUDE, 'anthropic.messages']]) {
    assert.equal((await generateText({ model: recorded(mock(call, name, `ai-${name}`), { operation: 'summarise' }), prompt: 'x' })).text, 'Hi')
    assert.deepEqual(await rowSoon(`ai-${name}`, 'trim_scale(cost)::text AS cost, operation, provider'), { cost: call.cost, operation: 'summarise', provider: name.split('.')[0] })
    assert.equal(await streamText({ model: recorded(mock(call, name, `ai-stream-${name}`)), prompt: 'x' }).text, 'Hi')
    assert.equal((await rowSoon(`ai-stream-${name}`)).cost, call.cost)
  }
})

test('AI SDK: failures, and a stream that is left', async () => {
  const failing = new MockLanguageModelV3({ provider: 'openai.chat', modelId: 'gpt-4o', doGenerate: async () => { throw new Error('too slow') } })
  await assert.rejects(generateText({ model: recorded(failing, { request_id: 'ai-failed' }), prompt: 'x', maxRetries: 0 }), /too slow/)
  assert.deepEqual(await rowSoon('ai-failed', 'model, success, error, cost::float8'), { model: 'gpt-4o', success: false, error: 'too slow', cost: 0 })
  const { stream } = await recorded(mock(OPENAI, 'openai.chat', 'ai-left')).doStream({ prompt: [] })
  const reader = stream.getReader()
  await reader.read()
  await reader.read()
  await reader.cancel()
  assert.deepEqual(await rowSoon('ai-left', 'cost, unpriced_reason'), { cost: null, unpriced_reason: 'no count of meter input' })
})

class ChatModel extends BaseChatModel {
  constructor(message) { super({}); this.message = message }
  _llmType() { return 'mock' }
  async _generate() {
    if (!this.message) throw new Error('too slow')
    return { generations: [{ text: 'Hi', message: new AIMessage({ content: 'Hi', ...this.message }) }] }
  }
}

test('LangChain', async () => {
  const metadata = (call) => ({ input_tokens: call.input, output_tokens: call.output, total_tokens: call.input + call.output,
    input_token_details: { cache_read: call.cached, cache_creation: call.written }, output_token_details: { reasoning: 0 } })
  const invoke = (message, who) => new ChatModel(message).invoke('x', { callbacks: [new UsageHandler(recorder, who)] })
  await invoke({ id: 'lc-openai', response_metadata: { model_name: OPENAI.model, model_provider: 'openai' }, usage_metadata: metadata(OPENAI) }, () => ({ user_id: 'bob' }))
  assert.deepEqual(await rowSoon('lc-openai', 'trim_scale(cost)::text AS cost, user_id'), { cost: OPENAI.cost, user_id: 'bob' })
  await invoke({ id: 'lc-claude', response_metadata: { model: CLAUDE.model }, usage_metadata: metadata(CLAUDE) })
  assert.equal((await rowSoon('lc-claude')).cost, CLAUDE.cost)
  await assert.rejects(invoke(null, { request_id: 'lc-failed', model: 'gpt-4o' }), /too slow/)
  assert.deepEqual(await rowSoon('lc-failed', 'success, error, cost::float8'), { success: false, error: 'too slow', cost: 0 })
})

const exporter = (Kind, path, token = 'secret') => new Kind({ url: receiver.url + path, headers: { authorization: `Bearer ${token}` } })

test('OpenTelemetry: the AI SDK through a real exporter, one row a call', async () => {
  const tracers = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter(OTLPTraceExporter, '/v1/traces'))] })
  const telemetry = { isEnabled: true, tracer: tracers.getTracer('ai'), functionId: 'summarise', metadata: { userId: 'alice' } }
  const before = await count()
  await generateText({ model: mock(OPENAI, 'openai.chat', 'otel-generate'), prompt: 'x', experimental_telemetry: telemetry })
  await streamText({ model: mock(CLAUDE, 'anthropic.messages', 'otel-stream'), prompt: 'x', experimental_telemetry: telemetry }).consumeStream()
  await tracers.forceFlush()
  assert.deepEqual(await rowSoon('otel-generate', 'trim_scale(cost)::text AS cost, user_id, operation'), { cost: OPENAI.cost, user_id: 'alice', operation: 'summarise' })
  assert.equal((await rowSoon('otel-stream')).cost, CLAUDE.cost)
  await tracers.shutdown()
  assert.equal(await count(), before + 2)
})

test('OpenTelemetry: two libraries tell of one call at the same time', async () => {
  const tracers = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter(OTLPTraceExporter, '/v1/traces'))] })
  const tracer = tracers.getTracer('test')
  const before = await count()
  for (let i = 0; i < 12; i++) {
    const outer = tracer.startSpan('ChatOpenAI', { attributes: { 'openinference.span.kind': 'LLM', 'llm.model_name': 'gpt-4o', 'llm.token_count.prompt': 2006, 'llm.token_count.completion': 300 + i } })
    const inner = tracer.startSpan('chat gpt-4o', { attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'openai', 'gen_ai.response.model': OPENAI.model,
      'gen_ai.usage.input_tokens': 2006, 'gen_ai.usage.output_tokens': 300 + i, 'gen_ai.usage.cache_read.input_tokens': 1920 } }, trace.setSpan(context.active(), outer))
    inner.end()
    outer.end()
  }
  await tracers.shutdown()
  assert.equal(await count(), before + 12)
})

test('OpenTelemetry: logs of a coding agent, in batches, compressed', async () => {
  const logs = new LoggerProvider({ processors: [new SimpleLogRecordProcessor({ exporter: new OTLPLogExporter({ url: `${receiver.url}/v1/logs`, compression: 'gzip', headers: { authorization: 'Bearer secret' } }) })] })
  logs.getLogger('com.anthropic.claude_code.events').emit({ severityNumber: SeverityNumber.INFO, body: 'claude_code.api_request', attributes: { 'event.name': 'api_request', 'session.id': 's', 'event.sequence': 1,
    model: CLAUDE.model, input_tokens: '500', output_tokens: '200', cache_read_tokens: '8000', cache_creation_tokens: '500', cost_usd: '1', request_id: 'otel-claude-code' } })
  await logs.forceFlush()
  assert.equal((await rowSoon('otel-claude-code')).cost, CLAUDE.cost)
  await logs.shutdown()
  const tracers = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter(OTLPTraceExporter, '/v1/traces'))] })
  const tracer = tracers.getTracer('test')
  const before = await count()
  for (let i = 0; i < 1000; i++) tracer.startSpan('chat', { attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'gpt-4o', 'gen_ai.usage.input_tokens': 5, 'gen_ai.usage.output_tokens': 1 } }).end()
  await tracers.shutdown()
  assert.equal(await count(), before + 1000)
})

test('OpenTelemetry: what the receiver says', async () => {
  const post = async (path, body, { token = 'secret', type = 'application/json', encoding } = {}) => {
    const response = await fetch(receiver.url + path, { method: 'POST', body, headers: { 'content-type': type, authorization: `Bearer ${token}`, ...(encoding ? { 'content-encoding': encoding } : {}) } })
    return [response.status, await response.json()]
  }
  const span = (attributes) => JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: 'a1', spanId: 'b1', startTimeUnixNano: '1795900321192000000', attributes: Object.entries(attributes).map(([key, value]) => ({ key, value: { [typeof value === 'number' ? 'intValue' : 'stringValue']: String(value) } })) }] }] }] })
  const refused = await post('/v1/traces', span({ 'gen_ai.request.model': 'gpt-4o', 'gen_ai.usage.input_tokens': -5, 'gen_ai.usage.output_tokens': 1 }))
  assert.equal(refused[0], 200)
  assert.equal(refused[1].partialSuccess.rejectedSpans, '1')
  assert.match(refused[1].partialSuccess.errorMessage, /^b1 invalid count/)
  assert.deepEqual(await post('/v1/metrics', '{}'), [200, {}])
  assert.equal((await post('/v1/traces', '{}', { token: 'guess' }))[0], 401)
  assert.equal((await post('/v1/traces', 'x', { type: 'application/x-protobuf' }))[0], 415)
  assert.equal((await post('/v1/traces', '{broken'))[0], 400)
  assert.equal((await post('/v1/traces', '5'))[0], 400)
  // PostgreSQL's jsonb has no such character: to send it again would not help
  assert.equal((await post('/v1/traces', '{"resourceSpans": "\\u0000"}'))[0], 400)
  assert.equal((await post('/v1/traces', 'no gzip', { encoding: 'gzip' }))[0], 400)
  assert.equal((await post('/v1/traces', ' '.repeat(17 * 1024 * 1024)))[0], 413)
  assert.equal((await post('/v2', '{}'))[0], 404)
  assert.equal((await fetch(receiver.url)).status, 405)
  const away = otlpReceiver({ query: async () => { throw Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' }) } })
  const url = await listen(away)
  const response = await fetch(`${url}/v1/traces`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })
  assert.equal(response.status, 503)
  assert.equal(response.headers.get('retry-after'), '5')
  await response.text()
  away.closeAllConnections()
  away.close()
})

test('the database ends idle connections: neither a call nor the process is lost', async () => {
  const own = new pg.Pool({ application_name: 'js_ends' })
  const recording = new Recorder(own, { retryAfter: 20 })
  for (let i = 0; i < 3; i++) {
    recording.record({ id: `js-ends-${i}`, model: 'gpt-4o', usage: { prompt_tokens: 10, completion_tokens: 1 } })
    assert.equal(await recording.flush(), 0)
    const ended = new Promise((resolve) => own.once('error', resolve))
    await pool.query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'js_ends'")
    await ended
  }
  assert.deepEqual([recording.counts.recorded, recording.counts.refused, recording.counts.error.code], [3, 0, '57P01'])
  await own.end()
})

test('the database is away: calls wait, and what is too much is dropped and counted', async () => {
  let away = true
  const fickle = { query: (...args) => away ? Promise.reject(Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' })) : pool.query(...args) }
  const small = new Recorder(fickle, { limit: 3, retryAfter: 20 })
  for (let i = 0; i < 5; i++) small.record({ model: 'gpt-4o', usage: { prompt_tokens: 10, completion_tokens: 1 } }, { session_id: 'away' })
  assert.equal(await small.flush(100), 3)
  assert.equal(small.counts.dropped, 2)
  away = false
  assert.equal(await small.flush(), 0)
  assert.equal(small.counts.recorded, 3)
  const { rows } = await pool.query("SELECT count(*)::int AS n FROM usage_monitor.usage WHERE session_id = 'away'")
  assert.equal(rows[0].n, 3)
  // what is refused is counted, and does not stand in the way
  small.record({ model: 'gpt-4o', usage: { prompt_tokens: -1 } })
  const circle = {}
  circle.circle = circle
  small.record(circle)
  small.record({ id: 'js-after', model: 'gpt-4o', usage: { prompt_tokens: 10, completion_tokens: 1 } })
  assert.equal(await small.flush(), 0)
  assert.deepEqual([small.counts.recorded, small.counts.refused, small.counts.dropped], [4, 1, 3])
})
