// Records what LangChain calls, whichever provider it is.
//
//   await chain.invoke(input, { callbacks: [new UsageHandler(recorder, { user_id: 'alice' })] })
//
// who: arguments of record(), or a function that is asked for them at each call.
import { BaseCallbackHandler } from '@langchain/core/callbacks/base'

export class UsageHandler extends BaseCallbackHandler {
  name = 'usage_monitor'
  #begun = new Map()

  constructor(recorder, who = {}) {
    super()
    this.recorder = recorder
    this.who = who
  }

  #begin(runId, metadata, extra) {
    this.#begun.set(runId, {
      ts: new Date(),
      model: metadata?.ls_model_name ?? extra?.invocation_params?.model,
      who: typeof this.who === 'function' ? this.who() : this.who
    })
  }

  handleChatModelStart(llm, messages, runId, parentRunId, extra, tags, metadata) {
    this.#begin(runId, metadata, extra)
  }

  handleLLMStart(llm, prompts, runId, parentRunId, extra, tags, metadata) {
    this.#begin(runId, metadata, extra)
  }

  // What is known of the run, as arguments of record()
  #end(runId, responseMetadata) {
    const { ts = new Date(), model, who } = this.#begun.get(runId) ?? {}
    this.#begun.delete(runId)
    const named = responseMetadata?.model_name ?? responseMetadata?.model
    return { ts, model: named ?? model, duration_ms: Date.now() - ts, ...who }
  }

  handleLLMEnd(output, runId) {
    // one for each prompt; of several answers to one prompt the first has the usage of all
    output.generations.forEach(([generation], i) => {
      const message = generation?.message
      const body = message?.usage_metadata
        ? { id: message.id, usage_metadata: message.usage_metadata, response_metadata: message.response_metadata }
        : i === 0 && output.llmOutput ? { llm_output: output.llmOutput } : { usage: null }
      this.recorder.record(body, this.#end(runId, message?.response_metadata ?? output.llmOutput))
    })
  }

  handleLLMError(error, runId) {
    this.recorder.record({ error: { message: String(error?.message ?? error) } }, this.#end(runId))
  }
}
