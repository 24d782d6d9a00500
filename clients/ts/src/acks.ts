import { newId } from './ids.js'
import { formatPlace, reached, type Place } from './track.js'
import type { AckRequest } from './wire.js'

/** How long what has arrived waits for more, to be told together. */
const delayMs = 2000

/** Tells the server how far messages have arrived, and have been seen: once in two seconds at most, and only what is new. */
export class Acks {
  /** Of the latest message that told. A room may be gone by the time that the server reads of it, which is nobody's concern. */
  id: string | undefined

  readonly #known = { positions: new Map<string, Place>(), seen: new Map<string, Place>() }
  #news = nothing()
  #told = nothing() // latest
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #post: (frame: string) => boolean

  constructor(post: (frame: string) => boolean) {
    this.#post = post
  }

  note(what: 'positions' | 'seen', topic: string, place: Place | undefined): void {
    if (!place?.epoch || reached(this.#known[what].get(topic), place)) return
    this.#known[what].set(topic, place)
    this.#news[what][topic] = formatPlace(place)
    this.soon()
  }

  forget(topic: string): void {
    for (const what of ['positions', 'seen'] as const) {
      this.#known[what].delete(topic)
      delete this.#news[what][topic]
      delete this.#told[what][topic]
    }
  }

  /** A connection is gone, and perhaps what was told last with it: it is told again. */
  lost(): void {
    const { positions, seen } = this.#told
    this.#told = nothing()
    this.#news = { positions: { ...positions, ...this.#news.positions }, seen: { ...seen, ...this.#news.seen } }
  }

  soon(): void {
    this.#timer ??= setTimeout(() => this.tell(), delayMs)
  }

  /** Tells what is new, if there is a connection. */
  tell(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const payload = this.#news
    if (!Object.keys({ ...payload.positions, ...payload.seen }).length) return
    const message_id = newId()
    if (!this.#post(JSON.stringify({ type: 'ack', message_id, payload }))) return
    this.id = message_id
    this.#told = payload
    this.#news = nothing()
  }
}

function nothing(): Required<AckRequest> {
  return { positions: {}, seen: {} }
}
