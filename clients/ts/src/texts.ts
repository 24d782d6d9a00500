import { applyChunk, codePoints, type TextState } from './chunks.js'
import type { Run, StreamCompletePayload } from './wire.js'

/**
 * What is kept of text streams. Where there are more, those that changed last stay.
 */
const limits = {
  open: 1024, // that may grow, with their texts; a server is told of as many at most
  ended: 64, // with their texts
  endedUnits: 8 << 20, // the sum of their lengths, in UTF-16 units; the newest one is kept whatever its size
  bare: 4096, // others of which only the length is known, so that text that comes again is not told twice
}

/** A text stream as far as the client has it. */
export interface StreamText {
  /** The beginning of the text, without holes; all of it unless `missing`. */
  readonly text: string
  /** In Unicode code points: how far the stream has come. More than `text` has if `missing`. */
  readonly length: number
  readonly state: 'open' | 'complete' | 'cancelled' | 'failed'
  /** Something behind `text` is not here: the stream was too long to be kept, or a part was lost. */
  readonly missing: boolean
}

/** What is new in a text: `added` follows behind `start` code points of what was there; 0 replaces it. */
export interface Change {
  start: number
  added: string
}

interface Entry extends TextState {
  id: string
  state: StreamText['state']
  short: boolean // what follows text is not here, so that it cannot grow
  end?: { state: StreamText['state']; length: number } // what it will be once the rest has come that a snapshot had no room for
  on: Set<Entry> | undefined
}

/** Puts the text streams together that arrive in chunks. */
export class Texts {
  readonly #of = new Map<string, Entry>()
  // Each entry is on one of these, the one that changed last at the end.
  readonly #open = new Set<Entry>()
  readonly #ended = new Set<Entry>()
  readonly #bare = new Set<Entry>()
  #endedUnits = 0

  get(id: string): StreamText | undefined {
    const s = this.#of.get(id)
    return s && { text: s.text, length: s.length, state: s.state, missing: s.short }
  }

  length(id: string): number {
    return this.#of.get(id)?.length ?? 0
  }

  /** Whether a stream has ended, as far as is known. */
  done(id: string): boolean {
    const s = this.#of.get(id)
    return s !== undefined && s.state !== 'open'
  }

  /** Takes a stream_open: the text is there, and empty. */
  begin(id: string): void {
    if (!this.#of.has(id)) this.#put(this.#entry(id), this.#open)
  }

  /**
   * Takes a stream_chunk. A chunk behind a hole is new, since to hide it would not bring back
   * what is missing; the text does not take it, and waits for the whole.
   */
  chunk(id: string, start: number, text: string): Change | undefined {
    if (text === '') return undefined
    const s = this.#entry(id)
    if (s.state !== 'open') return undefined
    const hole = start > s.length
    const next = applyChunk({ text: s.short || hole ? '' : s.text, length: hole ? start : s.length }, { start, text })
    if (next.added === '') return undefined
    const at = hole ? start : s.length
    s.short ||= hole
    s.length = next.length
    if (!s.short) s.text = next.text
    this.#put(s, this.#open)
    if (s.end && s.length >= s.end.length) this.#finish(s, s.end.state)
    return { start: at, added: next.added }
  }

  /**
   * Takes a stream_complete. A text of the length that it says is what counts, whatever came in
   * chunks, since the log keeps it; without one, the chunks were all.
   */
  complete(p: StreamCompletePayload): Change | undefined {
    return this.#end(p.stream_id, p.state, p.length, p.text ?? '')
  }

  /**
   * Takes the texts of a snapshot's live runs, and puts into the snapshot those that are longer
   * here: what is told next follows behind them. Of a text with a length, which is that of the whole, the rest
   * comes in chunks.
   */
  snapshot(runs: Run[]): void {
    for (const stream of runs.flatMap((run) => run.streams)) {
      const length = codePoints(stream.text)
      const whole = Math.max(length, stream.length ?? 0)
      if (stream.state !== 'open' && whole === length) {
        this.#end(stream.stream_id, stream.state, length, stream.text)
        continue
      }
      const s = this.#entry(stream.stream_id)
      if (s.state !== 'open' && (stream.state === 'open' || !s.short)) {
        if (stream.state === 'open') continue // the snapshot is older
        stream.text = s.text
        delete stream.length
        continue
      }
      if (length > s.length || (s.short && (length === s.length || length < whole))) take(s, stream.text, length)
      else if (!s.short) stream.text = s.text
      if (s.length >= whole) delete stream.length
      s.state = 'open'
      this.#put(s, this.#open)
      if (stream.state === 'open') continue
      s.end = { state: stream.state as StreamText['state'], length: whole }
      if (s.length >= whole) this.#finish(s, s.end.state)
    }
  }

  /** Lengths of the streams that may grow, newest first, at most so many: for a session_restore. */
  lengths(most = limits.open): Record<string, number> {
    const lengths: Record<string, number> = {}
    let n = 0
    for (const s of [...this.#open].reverse()) {
      if (s.length > 0 && n++ < most) lengths[s.id] = s.length
    }
    return lengths
  }

  #end(id: string, state: string, length: number, whole: string): Change | undefined {
    const s = this.#entry(id)
    let change: Change | undefined
    if (codePoints(whole) === length) {
      if (s.short || !whole.startsWith(s.text)) change = { start: 0, added: whole }
      else if (whole !== s.text) change = { start: s.length, added: whole.slice(s.text.length) }
      take(s, whole, length)
    } else if (s.length !== length) {
      s.length = length
      s.short = true
    }
    this.#finish(s, state as StreamText['state'])
    return change
  }

  #finish(s: Entry, state: StreamText['state']): void {
    s.state = state
    delete s.end
    this.#put(s, this.#ended)
  }

  #entry(id: string): Entry {
    let s = this.#of.get(id)
    if (!s) this.#of.set(id, (s = { id, text: '', length: 0, state: 'open', short: false, on: undefined }))
    return s
  }

  /** Moves s to the end of a shelf, and forgets what is too much then. */
  #put(s: Entry, to: Set<Entry>): void {
    if (s.on === this.#ended) this.#endedUnits -= s.text.length
    s.on?.delete(s)
    s.on = to.add(s)
    if (to === this.#ended) this.#endedUnits += s.text.length
    if (this.#open.size > limits.open) this.#strip(this.#open)
    while (this.#ended.size > limits.ended || (this.#endedUnits > limits.endedUnits && this.#ended.size > 1)) {
      this.#strip(this.#ended)
    }
    if (this.#bare.size > limits.bare) {
      for (const oldest of this.#bare) {
        this.#bare.delete(oldest)
        this.#of.delete(oldest.id)
        break
      }
    }
  }

  /** Drops the oldest text of a shelf; its length stays. */
  #strip(from: Set<Entry>): void {
    for (const s of from) {
      if (from === this.#ended) this.#endedUnits -= s.text.length
      from.delete(s)
      s.on = undefined
      s.text = ''
      s.short = true
      this.#put(s, this.#bare)
      return
    }
  }
}

function take(s: Entry, whole: string, length: number): void {
  s.text = whole
  s.length = length
  s.short = false
}
