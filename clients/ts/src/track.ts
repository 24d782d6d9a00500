import type { Envelope, Gap, Position, Restored, SubscribeRequest, ThreadOpenRequest } from './wire.js'

/** A place in a topic's log. */
export interface Place {
  epoch: string
  offset: number
}

export function parsePlace(position: Position | undefined): Place | undefined {
  const colon = position?.lastIndexOf(':') ?? -1
  if (colon < 0) return undefined
  return { epoch: position!.slice(0, colon), offset: Number(position!.slice(colon + 1)) }
}

export function formatPlace(p: Place): Position {
  return `${p.epoch}:${p.offset}`
}

/** Whether a is at b or behind it. Places of different epochs cannot be compared. */
export function reached(a: Place | undefined, b: Place): boolean {
  return a !== undefined && a.epoch === b.epoch && a.offset >= b.offset
}

/**
 * What the client knows about where it is. Positions come only from what the server says
 * about a topic: the welcome, subscribed, room_joined, session_restored, thread_snapshot and
 * gap. Messages move them on.
 */
export class Track {
  readonly #at = new Map<string, Place>()
  #threads: string[] = [] // watched; switch_thread leaves the last one
  /** Topics of which nothing counts until session_restored. */
  #restoring = new Set<string>()

  /** How many topics have a place. */
  get topics(): number {
    return this.#at.size
  }

  place(topic: string): Place | undefined {
    return this.#at.get(topic)
  }

  /** For the query of the next connection. It cannot name the default thread: with it among others, all are watched. */
  get query(): readonly string[] {
    return this.#threads.includes('') ? [] : this.#threads
  }

  /** Whether the text of a thread comes. */
  watches(thread: string): boolean {
    return this.query.length === 0 || this.query.includes(thread)
  }

  /** Takes a position that the server tells. One that is known stays: messages between the two may be on their way. */
  learn(topic: string, position: Position): void {
    const place = parsePlace(position)
    if (place && !this.#at.has(topic)) this.#at.set(topic, place)
  }

  learnAll(topics: Record<string, Position>): void {
    for (const [topic, position] of Object.entries(topics)) this.learn(topic, position)
  }

  /** Takes the position of a snapshot: everything up to it has come, or is in the snapshot. */
  advance(topic: string, position: Position): void {
    const place = parsePlace(position)
    if (!place) return
    const known = this.#at.get(topic)
    if (!known || (known.epoch === place.epoch && place.offset > known.offset)) this.#at.set(topic, place)
  }

  /** What to tell a new connection. All its topics wait for the answer. */
  restore(): Record<string, Position> {
    const known = [...this.#at].filter(([, place]) => place.epoch !== '') // of others the server never told the epoch
    this.#restoring = new Set(known.map(([topic]) => topic))
    return Object.fromEntries(known.map(([topic, place]) => [topic, formatPlace(place)]))
  }

  /**
   * Takes the answer to a restore. Rooms that may not be read any more are not followed any more; a topic whose log
   * was lost goes on from the beginning of its new one.
   */
  restored(r: Restored): void {
    this.#restoring.clear()
    for (const [topic, state] of Object.entries(r.topics)) {
      const head = parsePlace(state.head)
      if (state.reason === 'forbidden' && !head) this.#at.delete(topic)
      else if (head && head.epoch !== this.#at.get(topic)?.epoch) this.#at.set(topic, { epoch: head.epoch, offset: 0 })
    }
  }

  /** A connection has ended before it answered. */
  lost(): void {
    this.#restoring.clear()
  }

  /** Returns the place of a durable message that is new, and notes it; undefined if it is not new. */
  accept(env: Envelope): Place | undefined {
    const topic = env.topic ?? ''
    const offset = env.offset ?? 0
    if (this.#restoring.has(topic)) return undefined // it comes again after the answer
    const known = this.#at.get(topic)
    if (known && offset <= known.offset) return undefined
    const place = { epoch: known?.epoch ?? '', offset }
    this.#at.set(topic, place)
    return place
  }

  /** Moves behind what is lost, or back from a place that the topic never reached. Volatile messages have no place. */
  gap(g: Gap): void {
    if (g.reason === 'volatile') return
    const to = parsePlace(g.to)
    const known = this.#at.get(g.topic)
    const from = parsePlace(g.from)
    const back = to !== undefined && from?.epoch === to.epoch && from.offset > to.offset
    if (to && (!known || to.epoch !== known.epoch || to.offset > known.offset || back)) this.#at.set(g.topic, to)
  }

  forget(topic: string): void {
    this.#at.delete(topic)
  }

  /** Notes the outcome of an order that the server has confirmed. */
  follow(verb: string, payload: unknown): void {
    if (verb === 'subscribe' || verb === 'unsubscribe') {
      const { threads, since } = payload as SubscribeRequest
      for (const thread of threads ?? []) this.#watch(thread, verb === 'subscribe')
      if (verb === 'unsubscribe') return
      for (const [topic, position] of Object.entries(since ?? {})) {
        const place = parsePlace(position)
        if (place) this.#at.set(topic, place) // an earlier place than ours was asked for
      }
    } else if (verb === 'thread_open' || verb === 'switch_thread') {
      const { thread_id: thread, before } = payload as ThreadOpenRequest
      if (before) return // an older page opens nothing
      this.#watch(thread, false)
      if (verb === 'switch_thread') this.#threads.pop()
      this.#watch(thread, true)
    }
  }

  #watch(thread: string, on: boolean): void {
    this.#threads = this.#threads.filter((t) => t !== thread)
    if (on) this.#threads.push(thread)
  }
}
