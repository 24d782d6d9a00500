import { utf8Bytes } from './chunks.js'
import { SwitchboardError } from './errors.js'
import { newId } from './ids.js'
import type { Envelope } from './wire.js'

/** A verb that waits for its answer. */
export interface Call {
  readonly id: string
  readonly type: string
  readonly payload: unknown
  readonly frame: string
  readonly resolve: (answer: Envelope) => void
  readonly reject: (error: SwitchboardError) => void
}

/** Verbs under way. They are repeated on each connection, with the same id, until answered. */
export class Calls {
  readonly #open = new Map<string, Call>()

  readonly #wire: { post(frame: string): boolean; limit(): number }

  constructor(wire: { post(frame: string): boolean; limit(): number }) {
    this.#wire = wire
  }

  /** Calls a verb. The answer is the envelope that has the id of the question. */
  begin(type: string, payload: unknown, options: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<Envelope> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs } = options
      const id = newId()
      const end = () => {
        this.#open.delete(id)
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
      }
      const call: Call = {
        id,
        type,
        payload,
        frame: JSON.stringify({ type, message_id: id, payload }),
        resolve: (answer) => (end(), resolve(answer)),
        reject: (error) => (end(), reject(error)),
      }
      const abort = () => call.reject(new SwitchboardError('ABORTED', `${type} was aborted`))
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => call.reject(new SwitchboardError('TIMEOUT', `no answer to ${type} in ${timeoutMs} ms`)), timeoutMs)
      if (signal?.aborted) return abort()
      signal?.addEventListener('abort', abort)
      this.#open.set(id, call)
      this.#post(call)
    })
  }

  /** A new connection takes messages. */
  ready(): void {
    for (const call of [...this.#open.values()]) this.#post(call)
  }

  /** Returns the call that env, which is not durable, answers, and forgets it. */
  answered(env: Envelope): Call | undefined {
    const call = this.#open.get(env.message_id ?? '')
    if (!call || call.type === env.type) return undefined
    this.#open.delete(call.id)
    return call
  }

  /** All calls under way end with an error. It reports whether there were any. */
  end(error: SwitchboardError): boolean {
    const open = [...this.#open.values()]
    for (const call of open) call.reject(error)
    return open.length > 0
  }

  /** Writes a call, unless the server would close the connection because of it. */
  #post(call: Call): void {
    const limit = this.#wire.limit()
    const bytes = limit > 0 ? utf8Bytes(call.frame) : 0
    if (bytes <= limit) this.#wire.post(call.frame)
    else call.reject(new SwitchboardError('TOO_LARGE', `${call.type} has ${bytes} bytes, and ${limit} are allowed`, { limit }))
  }
}
