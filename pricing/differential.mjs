/*
 * Random usage of every model in @pydantic/genai-prices, with the cost that
 * the package's own calcPrice gives it, as CSV:
 *
 *     node differential.mjs PACKAGE [N] [SEED]
 *
 * The package adds floats (some 1e-16 of relative error an operation); SQL's
 * costs are exact.  They agree when they differ by no more than 1e-9 of the
 * larger one, or by 1e-12: an error of one token, one tier or one rate is
 * larger than that.
 *
 * Only what a model's price names is used: the package lets the output of an
 * embedding model go for nothing, here it has no price.
 */
import { byHand, load, loadProviders, notSold } from './genai-prices.mjs'

const [, , path, count = '5', seed = '1'] = process.argv
const { calcPrice } = load(path)

/* mulberry32: the same usage on every machine. */
let state = Number(seed)
function random() {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}
const upTo = (n) => Math.floor(random() * (n + 1))

/* Numbers of tokens on both sides of every context tier, and on the edge itself. */
function inputTokens(prices) {
  const starts = Object.values(prices).flatMap((p) => (p?.tiers ?? []).map((t) => t.start))
  if (starts.length && random() < 0.6) return starts[upTo(starts.length - 1)] + upTo(2) - 1
  return upTo(10 ** (1 + upTo(6)))
}

/* Instants on both sides of every dated change, at any time of day, on the edge itself. */
function instant(prices) {
  const starts = Array.isArray(prices) ? prices.map((p) => p.constraint?.start_date).filter(Boolean) : []
  const day = starts.length && random() < 0.8 ? Date.parse(starts[upTo(starts.length - 1)]) : Date.parse('2026-01-01')
  return new Date(day + [0, -1000, (upTo(80) - 40) * 86400000 + upTo(86399) * 1000][upTo(2)])
}

console.log('provider,model,ts,input_tokens,output_tokens,cache_read,cache_write,input_audio,output_audio,cache_read_audio,expected_total')
for (const provider of await loadProviders(path)) {
  if (byHand.has(provider.id)) continue
  for (const model of provider.models) {
    if (notSold(provider, model.id)) continue
    for (let i = 0; i < Number(count); i++) {
      const ts = instant(model.prices)
      const one = Array.isArray(model.prices) ? model.prices[0].prices : model.prices
      const has = (key) => (key in one ? 1 : 0)
      if (Object.keys(one).length && !has('input_mtok')) continue
      const input = inputTokens(one)
      const audio = has('input_audio_mtok') * upTo(input)
      const audioRead = has('cache_audio_read_mtok') * upTo(audio)
      const read = audioRead + has('cache_read_mtok') * upTo(input - audio)
      const write = has('cache_write_mtok') * upTo(input - audio - read + audioRead)
      const output = has('output_mtok') * upTo(20000)
      const outputAudio = has('output_audio_mtok') * upTo(output)
      const usage = { input_tokens: input, output_tokens: output, cache_read_tokens: read, cache_write_tokens: write,
        input_audio_tokens: audio, output_audio_tokens: outputAudio, cache_audio_read_tokens: audioRead }
      /* The model itself, whatever its name would match. */
      const only = { ...provider, fallback_model_providers: undefined,
        models: [{ ...model, match: { equals: model.id } }] }
      const price = calcPrice(usage, model.id, { provider: only, timestamp: ts })
      if (!price) throw new Error(`${provider.id}/${model.id} has no price`)
      console.log([provider.id, model.id, ts.toISOString(), input, output, read, write, audio, outputAudio,
        audioRead, price.total_price].join())
    }
  }
}
