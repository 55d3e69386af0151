// Records what is called through Vercel's AI SDK (5 and 6), streams too.
//
//   const model = wrapLanguageModel({ model: openai('gpt-5'), middleware: recordUsage(recorder, { user_id: 'alice' }) })
//   await generateText({ model, prompt })
//
// who: arguments of record(), or a function that is asked for them at each call.

export function recordUsage(recorder, who = {}) {
  // What is common to all calls; the provider is "openai.chat", "anthropic.messages", ...
  const call = (model, began) => ({
    provider: model.provider.split('.')[0],
    model: model.modelId,
    ts: new Date(began),
    duration_ms: Date.now() - began,
    ...(typeof who === 'function' ? who() : who)
  })

  // The model that answered is the price's: gpt-4o-2024-08-06 for gpt-4o.
  const record = (model, began, { response, usage, providerMetadata, error }) => {
    const end = error ? { error: { message: String(error.message ?? error) } } : { usage: null }
    recorder.record({ id: response?.id, ...end, ...(usage ? { usage } : {}), providerMetadata },
      { ...call(model, began), model: response?.modelId ?? model.modelId })
  }

  return {
    specificationVersion: 'v3',

    async wrapGenerate({ doGenerate, model }) {
      const began = Date.now()
      try {
        const result = await doGenerate()
        record(model, began, result)
        return result
      } catch (error) {
        record(model, began, { error })
        throw error
      }
    },

    async wrapStream({ doStream, model }) {
      const began = Date.now()
      const told = {}
      let open = true
      const end = (error) => {
        if (open) record(model, began, { ...told, error: error ?? told.error })
        open = false
      }
      let result
      try {
        result = await doStream()
      } catch (error) {
        end(error)
        throw error
      }
      const reader = result.stream.getReader()
      const stream = new ReadableStream({
        async pull(controller) {
          try {
            const { done, value } = await reader.read()
            if (value?.type === 'response-metadata') told.response = { ...told.response, ...value }
            if (value?.type === 'finish') Object.assign(told, { usage: value.usage, providerMetadata: value.providerMetadata })
            if (value?.type === 'error') told.error = value.error
            if (!done) return controller.enqueue(value)
            end()
            controller.close()
          } catch (error) {
            end(error)
            controller.error(error)
          }
        },
        // whoever stops reading early still pays: recorded without counts, hence unpriced and listed
        cancel(reason) {
          end()
          return reader.cancel(reason)
        }
      })
      return { ...result, stream }
    }
  }
}
