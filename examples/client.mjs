// Records what OpenAI's and Anthropic's clients, and those of whoever speaks
// their protocols, are answered: streams, failures and the clients' own
// retries too.  It stands where the client calls fetch, so that all that the
// client offers works as before.
//
//   const openai = new OpenAI({ fetch: recordingFetch(recorder, { user_id: 'alice' }) })
//   const anthropic = new Anthropic({ fetch: recordingFetch(recorder, () => ({ user_id: currentUser() })) })
//
// who: arguments of record(), or a function that is asked for them at each
// call.  OpenAI tells the usage of a chat's stream only if it is asked to, by
// stream_options: { include_usage: true }; else the call is recorded unpriced.

// What is billed by the call; not files, batches, count_tokens, ...
const BILLED = /\/(completions|responses|messages|embeddings|generations|edits|transcriptions|translations|moderations)$/

export function recordingFetch(recorder, who = {}, fetch = globalThis.fetch) {
  return async (url, init = {}) => {
    if (init.method?.toUpperCase() !== 'POST' || !BILLED.test(new URL(url?.url ?? url).pathname)) return fetch(url, init)

    const began = Date.now()
    const record = (body, more) => {
      try {
        recorder.record(body, {
          ...(modelOf(body) ? {} : { model: modelOf(asJson(init.body)) }),
          ts: new Date(began),
          duration_ms: Date.now() - began,
          ...(typeof who === 'function' ? who() : who),
          ...more
        })
      } catch {
        recorder.counts.dropped++
      }
    }
    let response
    try {
      response = await fetch(url, init)
    } catch (error) {
      record({ error: { message: String(error?.message ?? error) } }, { success: false })
      throw error
    }
    // the copy is read beside the client, which does not wait for it
    read(response.clone()).then(
      (body) => response.ok ? record(body) : record({ error: { message: errorOf(body) ?? `status ${response.status}` } }, { success: false }),
      () => record({ usage: null }))
    return response
  }
}

// A body: an object, or the chunks of a stream.
async function read(response) {
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
    return asJson(await response.text()) ?? { usage: null }
  }
  const chunks = []
  let rest = ''
  try {
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split(/\r?\n/)
      rest = lines.pop()
      for (const line of lines) {
        const chunk = line.startsWith('data:') ? asJson(line.slice(5)) : undefined
        if (chunk) chunks.push(chunk)
      }
    }
  } catch {
    // aborted: what came until then is recorded, and held, for it does not end
  }
  return chunks.length > 0 ? chunks : { usage: null }
}

const asJson = (text) => { try { return typeof text === 'string' ? JSON.parse(text) : undefined } catch { return undefined } }
const modelOf = (body) => [body].flat().map((part) => part?.model ?? part?.message?.model ?? part?.response?.model).find(Boolean)
const errorOf = (body) => body?.error?.message ?? body?.message
