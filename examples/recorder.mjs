// A queue in front of record(): what calls a model never waits for the ledger,
// and never fails because of it.  The examples beside this one fill it.
//
//   const recorder = new Recorder(new pg.Pool())
//   recorder.record(response, { user_id: 'alice' })    // returns at once
//   await recorder.flush()                             // before the process ends
//   recorder.counts   // { recorded, refused, dropped, error: the last one }
import { randomUUID } from 'node:crypto'

const ARGUMENTS = ['provider', 'model', 'org', 'department', 'project', 'user_id', 'session_id', 'operation', 'source',
  'request_id', 'ts', 'duration_ms', 'success', 'error', 'tags']
const RECORD = `SELECT FROM usage_monitor.record($1, ${ARGUMENTS.map((name, i) => `${name} => $${i + 2}`).join(', ')})`

// Has one of the chunks, or what is in it, an id?
const hasId = (body) => [body].flat().some((part) =>
  [part, part?.message, part?.response, part?.response_metadata].some((object) => object?.id))

export class Recorder {
  counts = { recorded: 0, refused: 0, dropped: 0, error: null }
  #queue = []
  #running = null

  // limit: so many calls wait at most while the database is away; the rest is dropped, and counted
  constructor(pool, { limit = 10000, retryAfter = 1000 } = {}) {
    this.pool = pool
    this.limit = limit
    this.retryAfter = retryAfter
    // a database that goes away ends idle connections: without a listener that would end the process
    pool.on?.('error', (error) => { this.counts.error = error })
  }

  // response: the body, its usage object, or the array of a stream's chunks; who: arguments of record()
  record(response, who = {}) {
    try {
      if (this.#queue.length >= this.limit) {
        this.counts.dropped++
        return
      }
      const call = { ts: new Date(), ...who }
      // what is sent again after an interruption counts once
      if (!hasId(response)) call.request_id ??= randomUUID()
      this.#queue.push([JSON.stringify(response), ...ARGUMENTS.map((name) => call[name] ?? null)])
      this.#running ??= this.#run().finally(() => { this.#running = null })
    } catch (error) {
      this.counts.dropped++
      this.counts.error = error
    }
  }

  async #run() {
    while (this.#queue.length > 0) {
      try {
        await this.pool.query(RECORD, this.#queue[0])
        this.counts.recorded++
        this.#queue.shift()
      } catch (error) {
        this.counts.error = error
        // refused: again would be refused again; else the database is away, or asks to try again
        if (/^(UM|22|23|42)/.test(error.code ?? '')) {
          this.counts.refused++
          this.#queue.shift()
        } else {
          await new Promise((resolve) => setTimeout(resolve, this.retryAfter).unref())
        }
      }
    }
  }

  // Waits until all is recorded, or so many milliseconds; returns how many still wait.
  async flush(timeout = 5000) {
    const end = Date.now() + timeout
    while (this.#queue.length > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 10))
    return this.#queue.length
  }
}
