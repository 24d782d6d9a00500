import type { Place, Track } from './track.js'
import { parsePlace, reached } from './track.js'
import type { Texts } from './texts.js'
import type { Recovery } from './types.js'
import type { Gap, Restored } from './wire.js'

/**
 * When nothing has come for so long, the server is asked for a pong. If that is the next thing to
 * come, the resume is done, though something seems to be missing: a place in a log can be one
 * that is not sent, and text can have gone with its run.
 */
const quietMs = 1000

/** What a resume looks at, and whom it tells. */
interface Surroundings {
  track: Track
  texts: Texts
  /** When the connection was lost, on the scale of performance.now(). */
  lostAt: number
  /** Asks for a pong, and returns the id that it will have. */
  ping(): string
  /** How many snapshots are to come. */
  pending(): number
  done(r: Recovery): void
}

/** One resume: what it has to bring, and what it has brought. */
export class Resume {
  readonly #around: Surroundings
  /** What is told in the end, as far as it is counted while it comes. */
  readonly #count = { topics: 0, messages: 0, frames: 0, lost: 0, downMs: 0, reopened: false }
  readonly #lengths = new Map<string, { from: number; to: number }>() // of texts that came
  readonly #broken = new Set<string>() // topics that lost messages, and no gap has told how many
  #lostUnknown = false

  readonly #heads = new Map<string, Place>() // up to which messages count as missed
  readonly #texts = new Map<string, number>() // up to which text counts as missed
  #answered = false // the server has, and the end is not told yet
  #startedAt = 0
  #heard = 0 // when the last of what was missed came
  #quiet: ReturnType<typeof setTimeout> | undefined
  #asked: { id: string; heard: number } | undefined

  constructor(around: Surroundings) {
    this.#around = around
  }

  /** A connection was made, after this one or an earlier one was lost: what came stays counted. */
  welcomed(topics: number): void {
    this.#count.topics = topics
    this.#startedAt = performance.now()
    this.#count.downMs = Math.round(this.#startedAt - this.#around.lostAt)
    this.#answered = false
    this.#asked = undefined
    this.#heads.clear()
    this.#texts.clear()
  }

  /** Takes the answer to the restore. */
  restored(r: Restored): void {
    for (const [topic, { head, recovered }] of Object.entries(r.topics)) {
      const place = parsePlace(head)
      if (place && !recovered) this.#broken.add(topic)
      if (place) this.#heads.set(topic, place)
    }
    for (const run of r.runs) {
      for (const [id, length] of Object.entries(run.stream_lengths)) {
        if (this.#around.track.watches(run.thread_id ?? '')) this.#texts.set(id, length)
      }
    }
    this.#answered = true
    this.#heard = performance.now()
    this.#quiet = setTimeout(() => this.#look(), quietMs)
  }

  /** Whether a message at that place was missed. */
  missedMessage(topic: string, place: Place): boolean {
    const head = this.#heads.get(topic)
    return head !== undefined && reached(head, place)
  }

  /**
   * Whether text from there on was missed. The server tells the lengths of runs that go on; the text
   * of one that ended meanwhile comes before the messages that say so.
   */
  missedText(topic: string, id: string, start: number): boolean {
    const told = this.#texts.get(id)
    if (told !== undefined) return start < told
    const head = this.#heads.get(topic)
    return head !== undefined && !reached(this.#around.track.place(topic), head)
  }

  /** A frame has brought what was missed. */
  came(kind: 'message' | 'text'): void {
    if (kind === 'message') this.#count.messages++
    this.#count.frames++
    this.#heard = performance.now()
  }

  /** Missed text has moved a stream on. */
  grew(id: string, from: number, to: number): void {
    const known = this.#lengths.get(id)
    if (known) known.to = to
    else this.#lengths.set(id, { from, to })
  }

  gap(g: Gap): void {
    if (g.reason === 'volatile') return // nothing that a restore could bring
    this.#broken.delete(g.topic)
    const from = parsePlace(g.from)
    const to = parsePlace(g.to)
    if (g.count) this.#count.lost += g.count
    else if (from && to && from.epoch === to.epoch) this.#count.lost += Math.max(0, to.offset - from.offset) // nothing, if it leads back from a place that never was
    else this.#lostUnknown = true
  }

  /** Takes a pong. */
  pong(id: string | undefined): void {
    if (!this.#answered || this.#asked?.id !== id) return
    if (this.#asked?.heard === this.#heard) this.check(true)
    if (this.#answered) this.#quiet = setTimeout(() => this.#look(), quietMs)
  }

  /** A thread was opened again. */
  replaced(): void {
    this.#count.reopened = true
    this.#heard = performance.now()
  }

  /** Tells the end if all is there. */
  check(force = false): void {
    if (!this.#answered || this.#around.pending() > 0 || !(force || this.#whole())) return
    this.stop()
    const streams = [...this.#lengths].map(([streamId, { from, to }]) => ({ streamId, from, to }))
    const characters = streams.reduce((sum, s) => sum + s.to - s.from, 0)
    const lostUnknown = this.#lostUnknown || this.#broken.size > 0
    const ms = Math.round(performance.now() - this.#startedAt)
    this.#around.done({ ...this.#count, characters, lostUnknown, ms, streams })
  }

  /** The connection is lost, or nobody is interested any more. */
  stop(): void {
    this.#answered = false
    clearTimeout(this.#quiet)
  }

  #whole(): boolean {
    for (const [topic, head] of this.#heads) if (!reached(this.#around.track.place(topic), head)) return false
    for (const [id, length] of this.#texts) if (!this.#around.texts.done(id) && this.#around.texts.length(id) < length) return false
    return true
  }

  #look(): void {
    const silent = performance.now() - this.#heard
    if (silent >= quietMs) this.#asked = { id: this.#around.ping(), heard: this.#heard }
    else this.#quiet = setTimeout(() => this.#look(), quietMs - silent)
  }
}
