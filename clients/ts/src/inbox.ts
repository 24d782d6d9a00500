import type { Acks } from './acks.js'
import type { Call } from './calls.js'
import type { Emitter } from './emitter.js'
import type { Present } from './presence.js'
import type { Resume } from './recovery.js'
import type { Change, Texts } from './texts.js'
import { incoming, type Threads } from './threads.js'
import { formatPlace, type Track } from './track.js'
import type { Events, GapEvent, ReadMarkerEvent, TextEvent, Why } from './types.js'
import type { Typing } from './typing.js'
import type { Envelope, Gap, Position, ReadMarkerPayload, StreamChunkPayload, StreamCompletePayload, StreamOpenPayload, Thread } from './wire.js'

/** Takes what comes of topics and texts, and tells each thing once. */
export class Inbox {
  /** The latest resume; what it brings counts as missed. */
  resume: Resume | undefined
  /** Texts that a restore has named which is not answered yet: what comes of them comes again behind the answer. */
  withheld: Record<string, number> | undefined

  readonly #events: Emitter<Events>
  readonly #track: Track
  readonly #texts: Texts
  readonly #threads: Threads
  readonly #acks: Acks
  readonly #typing: Typing
  readonly #present: Present

  constructor(events: Emitter<Events>, track: Track, texts: Texts, threads: Threads, acks: Acks, typing: Typing, present: Present) {
    this.#events = events
    this.#track = track
    this.#texts = texts
    this.#threads = threads
    this.#acks = acks
    this.#typing = typing
    this.#present = present
  }

  /** Takes a message that has a place in a topic. */
  durable(env: Envelope): Why {
    const place = this.#track.accept(env)
    if (!place) return 'duplicate'
    this.#acks.note('positions', env.topic ?? '', place)
    const why = this.resume?.missedMessage(env.topic ?? '', place) ? 'replay' : 'live'
    if (why === 'replay') this.resume!.came('message')
    if (env.type === 'stream_open') this.#texts.begin((env.payload as unknown as StreamOpenPayload).stream_id)
    if (env.type === 'stream_complete') {
      const p = env.payload as unknown as StreamCompletePayload
      const from = this.#texts.length(p.stream_id)
      const change = this.#texts.complete(p)
      if (change) this.#grown(env, p.stream_id, from, change, why)
    }
    this.#typing.said(env)
    this.tell(env, place.epoch ? formatPlace(place) : undefined, why)
    return why
  }

  /** Takes a stream_chunk. */
  chunk(env: Envelope): Why {
    const { stream_id: id, start, text } = env.payload as unknown as StreamChunkPayload
    const from = this.#texts.length(id)
    if (this.withheld && (id in this.withheld || start > from)) return 'duplicate'
    const change = this.#texts.chunk(id, start, text)
    if (!change) return 'duplicate'
    const why = this.resume?.missedText(env.topic ?? '', id, change.start) ? 'replay' : 'live'
    if (why === 'replay') this.resume!.came('text')
    this.#grown(env, id, from, change, why)
    return why
  }

  #grown(env: Envelope, id: string, from: number, change: Change, why: Why): void {
    const { text, length } = this.#texts.get(id)!
    if (why === 'replay') this.resume!.grew(id, from, length)
    const event: TextEvent = { streamId: id, runId: env.run_id ?? id.slice(0, id.lastIndexOf('/')), topic: env.topic ?? '', ...change, text, length, why }
    if (env.thread_id !== undefined) event.threadId = env.thread_id
    this.#events.emit('text', event)
  }

  /** Tells a message. */
  tell(env: Envelope, position: Position | undefined, why: Why): void {
    this.#events.emit('message', incoming(env, position, why))
  }

  /** Takes a read_marker. */
  marker({ thread_id, room, position }: ReadMarkerPayload): void {
    const event: ReadMarkerEvent = { position }
    if (room) event.room = room
    else event.threadId = thread_id ?? ''
    this.#events.emit('readMarker', event)
  }

  /** Takes a gap. */
  gap(g: Gap): void {
    this.#track.gap(g)
    this.resume?.gap(g)
    const event: GapEvent = { topic: g.topic, from: g.from, to: g.to, reason: g.reason }
    if (g.count) event.count = g.count
    this.#events.emit('gap', event)
  }

  /** Learns where topics begin and end from an answer to a call, or from what comes unasked. */
  learn(env: Envelope, call: Call | undefined): void {
    const p = env.payload as { topics?: Record<string, Position>; room?: string; position?: Position } | undefined
    switch (env.type) {
      case 'subscribed':
        return this.#track.learnAll(p?.topics ?? {})
      case 'unsubscribed':
        for (const topic of Object.keys(p?.topics ?? {})) this.#forget(topic)
        return
      case 'room_joined':
        return this.#track.learn(`room/${p?.room}`, p?.position ?? '')
      case 'room_left':
        this.#threads.leave(p?.room ?? '')
        return this.#forget(`room/${p?.room}`)
      case 'thread_snapshot':
        if (!call || !env.topic || (call.payload as { before?: Position }).before) return // an older page is nothing to go on from
        this.#track.advance(env.topic, p?.position ?? '')
        this.#texts.snapshot((p as unknown as Thread).runs)
    }
  }

  #forget(topic: string): void {
    this.#track.forget(topic)
    this.#acks.forget(topic)
    this.#present.forget(topic)
  }
}
