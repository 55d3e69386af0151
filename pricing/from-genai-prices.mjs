/*
 * Regenerates the vendors' CSV files and model_alias_generated.csv from the
 * npm package @pydantic/genai-prices:
 *
 *     node from-genai-prices.mjs PACKAGE AS_OF
 *
 * PACKAGE is the directory of the installed package, AS_OF the day of its
 * release (it carries no date of its own).  The output depends on nothing
 * else and is sorted, so that a diff shows what vendors changed.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadProviders, byHand, notSold } from './genai-prices.mjs'

const COLUMNS = ['provider', 'model', 'service_tier', 'currency', 'valid_from', 'valid_to', 'meter',
  'amount', 'per', 'context_from', 'context_inclusive', 'window_start', 'window_end', 'window_days',
  'window_zone', 'source', 'as_of']

/* The package's price keys: our meter and the units that the price buys. */
const METERS = {
  input_mtok: ['input', 1000000],
  output_mtok: ['output', 1000000],
  cache_read_mtok: ['cache_read', 1000000],
  cache_write_mtok: ['cache_write', 1000000],
  cache_write_1h_mtok: ['cache_write_1h', 1000000],
  output_reasoning_mtok: ['reasoning', 1000000],
  input_audio_mtok: ['input_audio', 1000000],
  output_audio_mtok: ['output_audio', 1000000],
  cache_audio_read_mtok: ['cache_read_audio', 1000000],
  input_image_mtok: ['input_image', 1000000],
  output_image_mtok: ['output_image', 1000000],
  cache_image_read_mtok: ['cache_read_image', 1000000],
  input_video_mtok: ['input_video', 1000000],
  output_video_mtok: ['output_video', 1000000],
  cache_video_read_mtok: ['cache_read_video', 1000000],
  requests_kcount: ['request', 1000],
  web_searches_kcount: ['web_search', 1000],
  input_document_kpages: ['page', 1000],
  input_mchars: ['character', 1000000],
  storage_searches_kcount: ['file_search', 1000],
  input_annotated_document_kpages: ['annotated_page', 1000],
}

/*
 * Keys without a meter of ours.  input_audio_hours repeats audio_hours for
 * the models that have it; the others are extras beside the tokens.
 */
const IGNORED = new Set(['input_audio_hours', 'output_citation_mtok', 'input_text_messages_kcount'])

/*
 * Service tiers whose price is a rule and not a table: the factor holds for
 * these meters of every model that the test admits.  What a tier does not
 * price costs what it costs in the standard tier; so Gemini's cached tokens,
 * which its batch mode does not discount, are left out.
 */
const TOKENS = ['input', 'output', 'cache_read', 'cache_write', 'cache_write_1h', 'reasoning']
const GPT = /^gpt-(5(\.[1-9])?|6)(-(mini|nano|pro|sol|terra|luna|astra))?$/
const GPT_SOURCE = 'https://developers.openai.com/api/docs/pricing'
/*
 * What is billed beside the tokens, and the package does not say: searches of
 * Google's, by generation, OpenAI's tools, and what Anthropic multiplies by
 * where a call is served in the United States only.
 */
const searches = (id, list) => list.some(([meter]) => meter === 'web_search')
const TOOLS = [
  { provider: 'google', meter: 'web_search', amount: '14', per: '1000', admits: (id) => id.startsWith('gemini-3') },
  { provider: 'google', meter: 'web_search', amount: '35', per: '1000',
    admits: (id) => id.startsWith('gemini-2') && !id.includes('embedding') },
  { provider: 'google', meter: 'maps_search', amount: '14', per: '1000', admits: (id) => id.startsWith('gemini-3') },
  { provider: 'google', meter: 'maps_search', amount: '25', per: '1000', admits: (id) => /^gemini-2.5-(pro|flash|flash-lite)$/.test(id) },
  { provider: 'openai', meter: 'web_search_preview', amount: '25', per: '1000',
    admits: (id, list) => searches(id, list) && /^gpt-4(o|\.1)/.test(id) },
  { provider: 'anthropic', meter: 'us_inference', amount: '1.1', per: '1',
    admits: (id) => /^claude-(opus-4-[678]|opus-5|sonnet-4-6|sonnet-5|haiku-5|fable)/.test(id) },
  { provider: 'openai', meter: 'code_interpreter', amount: '0.03', per: '1', admits: searches },
  { provider: 'openai', meter: 'request', amount: '25', per: '1000', admits: (id) => /^gpt-4o(-mini)?-search-preview/.test(id) },
  { provider: 'x-ai', meter: 'web_search', amount: '5', per: '1000', admits: (id) => /^grok-[34]/.test(id) },
  { provider: 'x-ai', meter: 'search_source', amount: '25', per: '1000', admits: (id) => /^grok-[34]/.test(id) },
  { provider: 'x-ai', meter: 'code_interpreter', amount: '5', per: '1000', admits: (id) => /^grok-[34]/.test(id) },
]

/* Anthropic's writes for an hour cost twice the input, wherever the model is served; the package does not say so of Google. */
function writesForAnHour(provider, name, list) {
  if (provider !== 'google' || !name.startsWith('claude-') || list.some(([meter]) => meter === 'cache_write_1h')) return []
  return list.filter(([meter]) => meter === 'input').map(([, amount, per, ...rest]) => ['cache_write_1h', decimal(Number(amount) * 2), per, ...rest])
}

const TIERS = [
  /* Older models are in openai-tiers.csv: their discounts are not uniform. */
  { provider: 'openai', tier: 'batch', factor: 0.5, meters: TOKENS, admits: (id) => GPT.test(id), source: GPT_SOURCE },
  { provider: 'openai', tier: 'flex', factor: 0.5, meters: TOKENS, admits: (id) => GPT.test(id), source: GPT_SOURCE },
  { provider: 'openai', tier: 'priority', factor: 2, meters: TOKENS,
    admits: (id) => /^gpt-(5\.6|6)-/.test(id), source: 'https://openai.com/api-fast-mode/' },
  { provider: 'openai', tier: 'fast', factor: 2, meters: TOKENS,
    admits: (id) => /^gpt-(5\.6|6)-/.test(id), source: 'https://openai.com/api-fast-mode/' },
  { provider: 'anthropic', tier: 'batch', factor: 0.5, meters: TOKENS,
    admits: (id) => !/^claude-(2|v1)/.test(id),
    source: 'https://docs.anthropic.com/en/docs/about-claude/pricing#batch-processing' },
  { provider: 'anthropic', tier: 'fast', factor: 6, meters: TOKENS,
    admits: (id) => id === 'claude-opus-4-6',
    source: 'https://docs.anthropic.com/en/docs/about-claude/pricing#fast-mode-pricing' },
  { provider: 'anthropic', tier: 'fast', factor: 2, meters: TOKENS,
    admits: (id) => id === 'claude-opus-5-5',
    source: 'https://docs.anthropic.com/en/docs/about-claude/pricing#fast-mode-pricing' },
  { provider: 'google', tier: 'batch', factor: 0.5,
    meters: ['input', 'output', 'input_audio', 'output_image'],
    admits: (id) => /^gemini-(2\.[05]|3)/.test(id) && !/live|native-audio|tts/.test(id),
    source: 'https://ai.google.dev/gemini-api/docs/pricing' },
  { provider: 'google', tier: 'flex', factor: 0.5, meters: ['input', 'output', 'input_audio'],
    admits: (id) => /^gemini-(2\.5-(pro|flash|flash-lite)|3.*)$/.test(id) && !/live|image|tts/.test(id),
    source: 'https://ai.google.dev/gemini-api/docs/optimization' },
  { provider: 'mistral', tier: 'batch', factor: 0.5, meters: TOKENS,
    admits: (id) => !/:free$/.test(id),
    source: 'https://docs.mistral.ai/capabilities/batch/' },
  { provider: 'groq', tier: 'batch', factor: 0.5, meters: ['input', 'output'],
    admits: (id) => /^(llama-3\.1-8b-instant|llama-3\.3-70b-versatile|meta-llama\/llama-4|openai\/gpt-oss|qwen\/qwen3-32b)/.test(id),
    source: 'https://console.groq.com/docs/batch' },
  { provider: 'voyageai', tier: 'batch', factor: 0.67, meters: ['input'],
    admits: (id) => /^voyage-(3\.5|4|code-3|context-3|3-large)/.test(id),
    source: 'https://docs.voyageai.com/docs/pricing' },
]

/* Vendors whose models are known by their bare names: aliases lead there. */
const FAMILIES = new Set(['openai', 'anthropic', 'google', 'deepseek', 'moonshotai', 'mistral', 'x-ai',
  'minimax', 'cohere', 'voyageai', 'perplexity', 'typesafe'])

/* Clauses that would swallow other vendors' models: only the text itself is an alias. */
const TOO_GREEDY = new Set(['deepseek-r1', 'deepseek-chat', 'gemma-3-', 'gemma-3n', 'mixtral-8x7b', 'moderation'])

const here = dirname(fileURLToPath(import.meta.url))

/* A double's shortest exact decimal; digits beyond the 15th are its noise. */
function decimal(value) {
  const [mantissa, exponent] = value.toPrecision(15).split('e')
  if (exponent === undefined)
    return mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa
  return value.toFixed(Math.min(100, 15 - Number(exponent))).replace(/\.?0+$/, '')
}

function csv(fields) {
  return fields.map((f) => (/[",\n]/.test(f) ? `"${f.replaceAll('"', '""')}"` : f)).join(',')
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}

/* The rates of one set of prices: [meter, amount, per, context_from]. */
function rates(prices) {
  const out = []
  for (const [key, price] of Object.entries(prices)) {
    if (IGNORED.has(key)) continue
    if (key === 'audio_hours') {
      /* Minutes and seconds have rates of their own where they are exact decimals, and are else a part of the hour. */
      for (const [meter, units] of [['hour', 1], ['minute', 60], ['second', 3600]])
        if (decimal(price / units).length < 12) out.push([meter, decimal(price / units), 1, 0])
      continue
    }
    if (!METERS[key]) throw new Error(`price key "${key}" is unknown: add it to METERS or IGNORED`)
    const [meter, per] = METERS[key]
    if (typeof price === 'number') {
      out.push([meter, decimal(price), per, 0])
      continue
    }
    out.push([meter, decimal(price.base), per, 0])
    for (const tier of price.tiers) out.push([meter, decimal(tier.price), per, tier.start])
  }
  /* A model without any price is a free one. */
  if (Object.keys(prices).length === 0)
    out.push(['input', '0', 1000000, 0], ['output', '0', 1000000, 0])
  return out
}

/* "16:30:00Z" */
function utcTime(text) {
  const match = /^(\d{2}:\d{2}:\d{2})(Z|\+00:00)$/.exec(text)
  if (!match) throw new Error(`time of day "${text}" is not UTC`)
  return match[1]
}

/*
 * The ranges in which a model's prices hold: [valid_from, valid_to, rates].
 * The package takes the last entry whose constraint holds.  So, in a range
 * between two dates, entries behind the last dated one in force are windows
 * over it.
 */
function ranges(prices) {
  if (!Array.isArray(prices)) return [['', '', rates(prices).map((r) => [...r, '', ''])]]
  const dates = prices.filter((p) => p.constraint?.start_date).map((p) => p.constraint.start_date)
  const starts = ['', ...new Set(dates)].sort()
  return starts.map((start, i) => {
    const out = []
    const windows = []
    for (const entry of [...prices].reverse()) {
      const constraint = entry.constraint
      if (constraint?.start_date && constraint.start_date > start) continue
      if (constraint?.start_time) {
        windows.push([utcTime(constraint.start_time), utcTime(constraint.end_time), entry.prices])
        continue
      }
      out.push(...rates(entry.prices).map((r) => [...r, '', '']))
      for (const [from, to, windowed] of windows) {
        if (Object.keys(windowed).join() !== Object.keys(entry.prices).join())
          throw new Error('a window prices other meters than the rest of the day')
        out.push(...rates(windowed).map((r) => [...r, from, to]))
      }
      break
    }
    const at = (day) => (day ? `${day}T00:00:00Z` : '')
    return [at(start), at(starts[i + 1]), out]
  })
}

/* The leaves of a match clause, as [operator, text]; what needs a regex is left out. */
function clauses(match) {
  if (match.or) return match.or.flatMap(clauses)
  if (match.and) return match.and.filter((m) => !m.regex).slice(0, 1).flatMap(clauses)
  const [[operator, text]] = Object.entries(match)
  return operator === 'regex' ? [] : [[operator, text]]
}

/* Names that a host takes for a model; where it sells others' models, parts of them as well. */
function names(model, partial) {
  return clauses(model.match)
    .filter(([operator, text]) => operator === 'equals' || (partial && !/[@/]$|^global\./.test(text)))
    .map(([, text]) => text)
}

/*
 * Bedrock's names carry a region, the model's vendor and a version round the
 * name.  Every region but "global" costs the same.
 */
function bedrockPattern(id, text) {
  const vendor = /^(?:regional\.|global\.)?([a-z0-9]+)\./.exec(id)[1]
  const name = text.slice(Math.max(text.indexOf(`${vendor}.`), 0))
  const qualified = name.startsWith(`${vendor}.`) ? name : `${vendor}.${name}`
  return text.startsWith('global.') ? `global.${qualified}*` : `*${qualified}*`
}

function aliases(provider, model) {
  const out = []
  for (const [operator, text] of clauses(model.match)) {
    if (provider.id === 'aws') {
      if (operator !== 'equals') out.push(bedrockPattern(model.id, text))
    } else if (provider.id === 'anthropic' && text.includes('@')) {
      continue // Vertex AI's way to write a date
    } else if (provider.id === 'google' && model.id.startsWith('claude-')) {
      out.push(`${model.id}@*`)
      if (text.includes('@')) out.push(`${text}*`)
    } else if (operator === 'equals' || TOO_GREEDY.has(text)) out.push(text.replace(/-$/, ''))
    else if (operator === 'starts_with') out.push(`${text}*`)
    else if (operator === 'ends_with') out.push(`*${text}`)
    else out.push(`*${text}*`)
  }
  return [...new Set(out)].filter((pattern) => pattern !== model.id)
}

/* A provider's models by every name under which it sells them. */
function catalogue(provider, providers) {
  const models = new Map()
  const add = (name, model) => models.has(name) || models.set(name, model)
  for (const model of provider.models) add(model.id, model)
  /* A host's other names are rows: an alias would hold for every provider. */
  for (const model of provider.models)
    if (!FAMILIES.has(provider.id) || (provider.id === 'google' && model.id.startsWith('claude-')))
      for (const name of names(model, provider.id === 'google' || provider.id === 'aws')) add(name, model)
  for (const id of provider.fallback_model_providers ?? [])
    for (const model of byHand.has(id) ? [] : providers.find((p) => p.id === id).models)
      for (const name of [model.id, ...names(model)]) {
        const own = provider.models.find((m) => matches(m.match, name))
        add(name, own ?? model)
      }
  return models
}

function matches(match, name) {
  if (match.or) return match.or.some((m) => matches(m, name))
  if (match.and) return match.and.every((m) => matches(m, name))
  const [[operator, text]] = Object.entries(match)
  const [n, t] = [name.toLowerCase(), text.toLowerCase()]
  switch (operator) {
    case 'equals': return n === t
    case 'starts_with': return n.startsWith(t)
    case 'ends_with': return n.endsWith(t)
    case 'contains': return n.includes(t)
    default: return new RegExp(text).test(n)
  }
}

function rows(provider, name, model, asOf) {
  const source = provider.pricing_urls?.[0] ?? ''
  const tiers = [{ tier: '', factor: 1, source, meters: undefined },
    ...TIERS.filter((d) => d.provider === provider.id && d.admits(model.id))]
  const out = []
  for (const { tier, factor, meters, source } of tiers)
    for (const [from, to, list] of ranges(model.prices))
      for (const [meter, amount, per, context, start, end] of [...list, ...writesForAnHour(provider.id, name, list)]) {
        if (meters && !meters.includes(meter)) continue
        const scaled = factor === 1 ? amount : decimal(Number(amount) * factor)
        out.push([provider.id, name, tier, 'USD', from, to, meter, scaled, per === 1000000 ? '' : String(per),
          context ? String(context) : '', '', start, end, '', start ? 'UTC' : '', source, asOf])
      }
  for (const { meter, amount, per, admits } of TOOLS.filter((t) => t.provider === provider.id))
    for (const [from, to, list] of ranges(model.prices))
      if (admits(model.id, list) && !list.some(([m]) => m === meter))
        out.push([provider.id, name, '', 'USD', from, to, meter, amount, per, '', '', '', '', '', '', source, asOf])
  return out
}

const [, , path, asOf] = process.argv
if (!/^\d{4}-\d{2}-\d{2}$/.test(asOf ?? '')) {
  console.error('usage: node from-genai-prices.mjs PACKAGE AS_OF')
  process.exit(2)
}

const all = await loadProviders(path)
const providers = all.filter((p) => !byHand.has(p.id))

for (const file of readdirSync(here).filter((f) => f.endsWith('.csv'))) {
  const [header, first = ''] = readFileSync(join(here, file), 'utf8').split('\n')
  const id = first.split(',')[0]
  if (header === COLUMNS.join() && file === `${id}.csv` && !byHand.has(id) && !providers.some((p) => p.id === id))
    console.error(`${file}: left the package; remove it, or keep it by hand`)
}

/* What additions.csv has is kept by hand. */
const added = new Set(readFileSync(join(here, 'additions.csv'), 'utf8').split('\n').map((line) => line.split(',').slice(0, 3).join()))

const alias = new Map()
let models = 0
let count = 0
for (const provider of [...providers].sort((a, b) => compare(a.id, b.id))) {
  const lines = []
  for (const [name, model] of catalogue(provider, all)) {
    const list = notSold(provider, name) ? [] : rows(provider, name, model, asOf).filter((r) => !added.has(r.slice(0, 3).join()))
    if (list.length === 0) continue
    models++
    lines.push(...list.map(csv))
    if ((FAMILIES.has(provider.id) || provider.id === 'aws') && provider.models.includes(model) && name === model.id)
      for (const pattern of aliases(provider, model)) {
        const taken = alias.get(pattern)
        if (!taken) alias.set(pattern, [pattern, provider.id, model.id])
        else if (taken[1] === provider.id && taken[2] !== model.id)
          console.error(`alias ${pattern}: ${taken[2]} keeps it, not ${model.id}`)
      }
  }
  lines.sort(compare)
  count += lines.length
  writeFileSync(join(here, `${provider.id}.csv`), `${COLUMNS.join()}\n${lines.join('\n')}\n`)
}

/* A model whose own name another one's pattern takes gets that name as an alias. */
function takes(pattern, name) {
  const [head, ...parts] = pattern.split('*')
  if (parts.length === 0) return pattern === name
  const tail = parts.pop()
  if (!name.startsWith(head) || name.length < head.length + tail.length || !name.endsWith(tail)) return false
  let rest = name.slice(head.length, name.length - tail.length)
  return parts.every((part) => {
    const at = rest.indexOf(part)
    rest = rest.slice(at + part.length)
    return at >= 0
  })
}
const patterns = [...alias.values()].sort((a, b) => b[0].length - a[0].length || compare(a[0], b[0]))
for (const provider of providers.filter((p) => FAMILIES.has(p.id) || p.id === 'aws'))
  for (const { id } of provider.models) {
    const taken = patterns.find(([pattern]) => takes(pattern, id))
    if (taken && (taken[1] !== provider.id || taken[2] !== id) && !alias.has(id)) {
      if (taken[1] === provider.id) alias.set(id, [id, provider.id, id])
      else if (provider.id !== 'google') console.error(`alias ${taken[0]} of ${taken[1]} takes ${provider.id}/${id}`)
    }
  }

writeFileSync(join(here, 'model_alias_generated.csv'),
  `pattern,provider,model\n${[...alias.values()].map(csv).sort(compare).join('\n')}\n`)
console.error(`${providers.length} providers, ${models} models, ${count} rates, ${alias.size} aliases`)
