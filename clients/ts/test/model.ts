import { chunk, complete, message, type FakeSocket, type Said } from './fake.js'

/** Numbers from a seed, so that a case that fails can be had again. */
export function seeded(seed: number) {
  const next = () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  return { next, below, chance: (p: number) => next() < p, pick: <T>(of: readonly T[]): T => of[below(of.length)]! }
}

export type Random = ReturnType<typeof seeded>

interface Stream {
  text: string[] // code points
  done: boolean
}

/** One connection as the server knows it: how far it has written. */
interface View {
  socket: FakeSocket
  at: Record<string, number>
  texts: Record<string, number>
  waiting: { id: string; payload: any } | undefined // the restore that is not answered yet
}

const glyphs = ['a', 'b', ' ', 'ü', '\n', '🙂', '👩‍👧', '👍🏽', '🇫🇷', 'é', '漢', '𝒳']

/**
 * A server that keeps the rules of the protocol: two topics, streams that grow, a log that
 * replays, and messages that are handled once by their id.
 */
export class Model {
  readonly logs: Record<string, Said[]> = { 'user/alice': [], all: [] }
  readonly streams: Record<string, Stream> = {}
  /** Ids of the messages that were handled, in order. */
  readonly handled: string[] = []
  private view: View | undefined
  private runs = 0

  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  private head(topic: string): number {
    return this.logs[topic]!.at(-1)?.['offset'] as number ?? 0
  }

  private get heads(): Record<string, string> {
    return Object.fromEntries(Object.keys(this.logs).map((t) => [t, `e1:${this.head(t)}`]))
  }

  private append(topic: string, said: (offset: number) => Said): void {
    // Offsets need not be consecutive.
    this.logs[topic]!.push({ ...said(this.head(topic) + 1 + this.random.below(2)), topic })
  }

  /** Something happens. */
  step(): void {
    const { random } = this
    const open = Object.keys(this.streams).filter((id) => !this.streams[id]!.done)
    const kind = random.below(6)
    if (kind === 0 || open.length === 0) {
      const id = `R${++this.runs}/answer`
      this.streams[id] = { text: [], done: false }
      this.append('user/alice', (offset) => message(offset, { type: 'stream_open', payload: { stream_id: id, name: 'answer', format: 'text' } }))
    } else if (kind === 1) {
      this.append(random.pick(['user/alice', 'all']), (offset) => message(offset))
    } else if (kind === 2) {
      const id = random.pick(open)
      const { text } = this.streams[id]!
      this.streams[id]!.done = true
      // A long text is not sent again at its end, but its chunks are kept.
      this.append('user/alice', (offset) => complete(offset, id, text.length, text.join('')))
    } else {
      const { text } = this.streams[random.pick(open)]!
      for (let i = random.below(8); i >= 0; i--) text.push(...random.pick(glyphs))
    }
  }

  /** The client has made a connection. */
  accept(socket: FakeSocket): void {
    const held = socket.session !== undefined
    const at = Object.fromEntries(Object.keys(this.logs).map((t) => [t, this.head(t)]))
    const view: View = { socket, at, texts: this.lengths(), waiting: undefined }
    this.view = view
    socket.answer = (m) => this.hear(view, m)
    socket.welcome({ held, connection_id: `c${this.random.below(1e9)}`, topics: this.heads, session: { id: 's1', token: 'swt' } })
  }

  private lengths(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.streams).map(([id, s]) => [id, s.text.length]))
  }

  private hear(view: View, m: Said & { payload: any; message_id: string }): void {
    if (view.socket.readyState !== 1) return
    if (m.type === 'session_restore') {
      view.waiting = { id: m.message_id, payload: m.payload }
      if (this.random.chance(0.7)) this.restore(view)
    } else if (m.type === 'ping') {
      this.flush(view)
      view.socket.say({ type: 'pong', message_id: m.message_id })
    } else if (m.type === 'thread_open') {
      this.flush(view) // what is before the snapshot's position has been written before it
      const live = Object.entries(this.streams).filter(([, s]) => !s.done)
      const runs = live.map(([id, s]) => ({ run_id: id.split('/')[0], agent_name: 'a', state: 'running', started_at: 1, tools: [], approvals: [],
        streams: [{ stream_id: id, state: 'open', ...this.beginning(view, id, s) }] }))
      const payload = { messages: this.logs['user/alice']!.slice(-5), runs, position: this.heads['user/alice'], has_more: true }
      view.socket.say({ type: 'thread_snapshot', message_id: m.message_id, topic: 'user/alice', payload })
    } else if (m.type === 'user_message') {
      const duplicate = this.handled.includes(m.message_id)
      if (!duplicate) {
        this.handled.push(m.message_id)
        this.append('user/alice', (offset) => message(offset, { type: 'user_message', message_id: m.message_id, payload: m.payload }))
      }
      if (this.random.chance(0.3)) return view.socket.cut() // before the ack
      if (!duplicate && this.random.chance(0.2)) {
        this.handled.pop()
        this.logs['user/alice']!.pop()
        const refusal = { error_code: 'BUSY', error_message: 'later', details: { retry_after_ms: 100 } }
        return view.socket.say({ type: 'error_message', message_id: m.message_id, ...refusal })
      }
      view.socket.say({ type: 'ack', message_id: m.message_id, payload: { message_id: m.message_id, status: duplicate ? 'duplicate' : 'ok' } })
    }
  }

  /** A stream's text as a snapshot has it: the rest of a longer one comes behind. */
  private beginning(view: View, id: string, { text }: Stream): { text: string; length?: number } {
    const room = this.random.chance(0.5) ? this.random.below(text.length + 1) : text.length
    view.texts[id] = room
    return { text: text.slice(0, room).join(''), ...(room < text.length && { length: text.length }) }
  }

  private restore(view: View): void {
    const { id, payload } = view.waiting!
    view.waiting = undefined
    const topics: Record<string, unknown> = {}
    for (const [topic, position] of Object.entries<string>(payload.positions)) {
      view.at[topic] = Number(position.split(':')[1])
      topics[topic] = { recovered: true, from: position, head: this.heads[topic] }
    }
    for (const stream of Object.keys(this.streams)) view.texts[stream] = 0
    Object.assign(view.texts, payload.streams)
    const runs = Object.entries(this.streams)
      .filter(([, s]) => !s.done)
      .map(([stream, s]) => ({ run_id: stream.split('/')[0], agent_name: 'a', state: 'running', stream_lengths: { [stream]: s.text.length } }))
    view.socket.say({ type: 'session_restored', message_id: id, payload: { topics, runs } })
  }

  /** The server writes some of what the connection has not got: or it is slow, or the connection breaks. */
  write(): void {
    const { view, random } = this
    if (!view || view.socket.readyState !== 1) return
    if (view.waiting && random.chance(0.6)) this.restore(view)
    for (let n = random.below(4); n >= 0 && view.socket.readyState === 1; n--) {
      if (random.chance(0.12)) return view.socket.cut()
      if (!this.writeOne(view)) return
    }
  }

  flush(view = this.view): void {
    if (!view || view.socket.readyState !== 1) return
    if (view.waiting) this.restore(view)
    while (view.socket.readyState === 1 && this.writeOne(view)) {
      // until there is nothing more
    }
  }

  /** Writes one frame: a piece of text that is due, or the next message of a topic. */
  private writeOne(view: View): boolean {
    const { random } = this
    const due: (() => void)[] = []
    for (const [id, s] of Object.entries(this.streams)) {
      const have = view.texts[id] ?? 0
      if (have < s.text.length) {
        due.push(() => {
          const from = Math.max(0, have - (random.chance(0.3) ? random.below(4) : 0)) // text may overlap
          const to = have + 1 + random.below(s.text.length - have)
          view.texts[id] = to
          view.socket.say(chunk(id, from, s.text.slice(from, to).join('')))
        })
      }
    }
    for (const topic of Object.keys(this.logs)) {
      const next = this.logs[topic]!.find((m) => (m['offset'] as number) > view.at[topic]!)
      // The text of a stream comes before its end.
      const id = next?.type === 'stream_complete' ? (next['payload'] as { stream_id: string }).stream_id : ''
      if (!next || (view.texts[id] ?? 0) < (this.streams[id]?.text.length ?? 0)) continue
      due.push(() => {
        view.at[topic] = next['offset'] as number
        view.socket.say(next)
        if (random.chance(0.1)) view.socket.say(next) // told twice
      })
    }
    if (due.length === 0) return false
    random.pick(due)()
    return true
  }
}
