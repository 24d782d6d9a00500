import { utf8Bytes } from './chunks.js'
import { passes, SwitchboardError } from './errors.js'
import { newId } from './ids.js'
import type { OutboxItem, OutgoingMessage } from './types.js'
import type { Ack, Envelope } from './wire.js'

/** What may wait. The server handles a message once within two minutes, so older ones are as good as new. */
const limits = { items: 1000, bytes: 4 << 20 }

/** How long to wait where a refusal that passes does not say it. */
const defaultRetryMs = 1000

interface Entry {
  item: OutboxItem
  frame: string
  bytes: number
}

/** Where the outbox writes to. */
interface Wire {
  /** Writes a frame if there is a connection that takes messages, and reports whether there is. */
  post(frame: string): boolean
  /** Bytes of a frame that the server takes; 0: it has not told. */
  limit(): number
  tell(item: OutboxItem): void
}

/**
 * Messages on their way. One is under way at a time: it is repeated on each connection, with
 * the same id, until the server has answered it; then comes the next. So they arrive in the
 * order in which they were sent, also if one of them has to be tried again. Nothing is
 * dropped: what is refused for good stays as failed until it is discarded.
 */
export class Outbox {
  #entries: Entry[] = [] // in order of sending
  #bytes = 0
  #flying: Entry | undefined
  #timer: ReturnType<typeof setTimeout> | undefined // runs until the first is tried again

  readonly #wire: Wire

  constructor(wire: Wire) {
    this.#wire = wire
  }

  get items(): readonly OutboxItem[] {
    return this.#entries.map((e) => e.item)
  }

  /** Takes a message. It throws OUTBOX_FULL if too much waits already, and what JSON.stringify throws. */
  add(m: OutgoingMessage): OutboxItem {
    const item: OutboxItem = { id: m.id ?? newId(), type: m.type, payload: m.payload, status: 'sending', queuedAt: Date.now() }
    if (m.threadId !== undefined) item.threadId = m.threadId
    const known = this.#entries.find((e) => e.item.id === item.id)
    if (known) return known.item
    const frame = encode(item, m.room)
    const bytes = utf8Bytes(frame)
    if (unanswered.has(m.type)) return this.#passing(item, frame)
    if (this.#entries.length >= limits.items || this.#bytes + bytes > limits.bytes) {
      throw new SwitchboardError('OUTBOX_FULL', `${this.#entries.length} messages wait to be sent; ${m.type} was not taken`, limits)
    }
    const entry = { item, frame, bytes }
    this.#entries.push(entry)
    this.#bytes += bytes
    this.#wire.tell(item)
    this.#next()
    return entry.item
  }

  /** Tries a failed item again, with its id, behind the others. */
  retry(id: string): void {
    const entry = this.#entries.find((e) => e.item.id === id)
    if (entry?.item.status !== 'failed') return
    this.#entries = [...this.#entries.filter((e) => e !== entry), entry]
    const { error: _, ...item } = entry.item
    this.#change(entry, { ...item, status: 'sending' })
    this.#next()
  }

  /** Takes a failed item out. It reports whether there was one. */
  discard(id: string): boolean {
    const entry = this.#entries.find((e) => e.item.id === id)
    if (entry?.item.status !== 'failed') return false
    this.#remove(entry)
    return true
  }

  /** A new connection takes messages: what was under way on the former one goes first. */
  ready(): void {
    this.#flying = undefined
    this.#next()
  }

  /** The connection is lost. */
  lost(): void {
    this.#flying = undefined
  }

  /** Takes the answer to the message under way. It reports whether env was that. */
  answer(env: Envelope, error: SwitchboardError | undefined): boolean {
    const entry = this.#flying
    if (!entry || env.message_id !== entry.item.id || env.type === entry.item.type) return false
    this.#flying = undefined
    if (!error) {
      this.#remove(entry)
      this.#wire.tell(sent(entry.item, env.payload as Ack | undefined))
    } else if (passes(error)) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#next()
      }, error.retryAfterMs ?? defaultRetryMs)
    } else {
      this.#change(entry, { ...entry.item, status: 'failed', error })
    }
    this.#next()
    return true
  }

  /** The message under way, if there is one, fails. */
  fail(error: SwitchboardError): boolean {
    const entry = this.#flying
    if (!entry) return false
    this.#flying = undefined
    this.#change(entry, { ...entry.item, status: 'failed', error })
    return true
  }

  #next(): void {
    while (!this.#flying && !this.#timer) {
      const entry = this.#entries.find((e) => e.item.status === 'sending')
      if (!entry) return
      const limit = this.#wire.limit()
      if (limit > 0 && entry.bytes > limit) {
        const error = new SwitchboardError('TOO_LARGE', `the message has ${entry.bytes} bytes, and ${limit} are allowed`, { limit })
        this.#change(entry, { ...entry.item, status: 'failed', error })
        continue
      }
      this.#flying = entry
      if (!this.#wire.post(entry.frame)) this.#flying = undefined
      return
    }
  }

  /** Sends what the server never answers: once, now or not at all. */
  #passing(item: OutboxItem, frame: string): OutboxItem {
    if (this.#wire.post(frame)) return { ...item, status: 'sent' }
    return { ...item, status: 'failed', error: new SwitchboardError('NOT_CONNECTED', `there is no connection for ${item.type}`) }
  }

  #change(entry: Entry, item: OutboxItem): void {
    entry.item = item
    this.#wire.tell(item)
  }

  #remove(entry: Entry): void {
    this.#entries = this.#entries.filter((e) => e !== entry)
    this.#bytes -= entry.bytes
  }
}

/** Types that the server never answers. */
const unanswered = new Set(['typing_started', 'typing_stopped', 'ack', 'logout', 'pong', 'heartbeat_ack'])

function encode(item: OutboxItem, room: string | undefined): string {
  return JSON.stringify({
    type: item.type,
    message_id: item.id,
    thread_id: item.threadId || undefined,
    topic: room === undefined ? undefined : `room/${room}`,
    payload: item.payload,
  })
}

function sent(item: OutboxItem, ack: Ack | undefined): OutboxItem {
  const done: OutboxItem = { ...item, status: 'sent' }
  if (ack?.status !== undefined) done.ack = ack
  if (ack?.position !== undefined) done.position = ack.position
  const run = (ack?.result as { run_id?: unknown } | null | undefined)?.run_id
  if (typeof run === 'string') done.runId = run
  return done
}
