import { vi } from 'vitest'
import { Switchboard, type Events, type Frame, type Options } from '../src/index.js'

/** What a test says in a frame. */
export type Said = { type: string; [key: string]: unknown }

/** A socket in memory, as the client sees it, with the server's side as methods. */
export class FakeSocket {
  readyState = 0
  onopen: (() => void) | null = null
  onmessage: ((e: { data: unknown }) => void) | null = null
  onclose: ((e: { code: number; reason: string }) => void) | null = null
  onerror: (() => void) | null = null
  /** What the client has sent. */
  readonly sent: (Said & { payload: any; message_id: string })[] = []
  /** What the client closed with. */
  closed: { code: number | undefined; reason: string | undefined } | undefined
  readonly url: URL
  /** Answers what the client sends, as soon as it has. */
  answer: ((m: Said & { payload: any; message_id: string }) => void) | undefined

  readonly protocols: string[]

  constructor(url: string, protocols: string[]) {
    this.url = new URL(url)
    this.protocols = protocols
  }

  send(data: string): void {
    if (this.readyState !== 1) throw new Error('not open')
    const m = JSON.parse(data)
    this.sent.push(m)
    this.answer?.(m)
  }

  close(code?: number, reason?: string): void {
    this.closed = { code, reason }
    this.readyState = 3
  }

  /** The session's token that the client came with. */
  get session(): string | undefined {
    return this.credential('session.')
  }

  get token(): string | undefined {
    return this.credential('token.')
  }

  private credential(prefix: string): string | undefined {
    const p = this.protocols.find((p) => p.startsWith(prefix))
    return p && Buffer.from(p.slice(prefix.length), 'base64url').toString()
  }

  say(...messages: Said[]): void {
    this.readyState = 1
    for (const m of messages) this.onmessage?.({ data: JSON.stringify(m) })
  }

  raw(data: unknown): void {
    this.readyState = 1
    this.onmessage?.({ data })
  }

  welcome(payload: Record<string, unknown> = {}): void {
    this.say({
      type: 'system_message',
      payload: {
        event: 'connection_established',
        connection_id: 'c1',
        user_id: 'alice',
        server_time: 1,
        config: { heartbeat_interval: 25, max_message_size: 65536 },
        session: { id: 's1', token: 'swt_1' },
        held: false,
        topics: { 'user/alice': 'e1:0', all: 'e1:0' },
        ...payload,
      },
    })
  }

  /** The last message of a type that the client sent. */
  last(type: string): (Said & { payload: any; message_id: string }) | undefined {
    return this.sent.filter((m) => m.type === type).at(-1)
  }

  /** Answers the client's restore: all is recovered up to these heads. */
  restored(heads: Record<string, string>, runs: unknown[] = [], others: Record<string, unknown> = {}): void {
    const asked = this.last('session_restore')!
    const topics: Record<string, unknown> = { ...others }
    for (const [topic, head] of Object.entries(heads)) topics[topic] = { recovered: true, from: asked.payload.positions[topic], head }
    this.say({ type: 'session_restored', message_id: asked.message_id, payload: { topics, runs } })
  }

  refuse(code: string, closeCode: number, details: Record<string, unknown> = {}): void {
    this.say({ type: 'error_message', error_code: code, error_message: `refused: ${code}`, details })
    this.end(closeCode)
  }

  end(code: number, reason = ''): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.onclose?.({ code, reason })
  }

  /** The network is gone. */
  cut(): void {
    this.end(1006)
  }
}

/** A client, and the sockets that it has made. */
export interface Bench {
  client: Switchboard
  sockets: FakeSocket[]
  /** All that the client has told, in order. */
  told: { event: keyof Events; e: any }[]
  frames: Frame[]
  socket(): FakeSocket
  /** The payloads of one event. */
  of<K extends keyof Events>(event: K): Events[K][]
}

/** Waits for promises and for timers that are due within so many milliseconds. */
export const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms)

export function bench(options: Options = {}): Bench {
  const sockets: FakeSocket[] = []
  const told: Bench['told'] = []
  const frames: Frame[] = []
  class Socket extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols)
      sockets.push(this)
    }
  }
  const client = new Switchboard({
    url: 'http://test.example/ws',
    WebSocket: Socket as never,
    random: () => 0.5,
    onFrame: (f) => frames.push(f),
    ...options,
  })
  for (const event of ['state', 'message', 'text', 'snapshot', 'gap', 'recovered', 'outbox', 'typing', 'readMarker', 'presence', 'error'] as const) {
    client.on(event, (e) => told.push({ event, e }))
  }
  return {
    client,
    sockets,
    told,
    frames,
    socket: () => sockets.at(-1)!,
    of: (event) => told.filter((t) => t.event === event).map((t) => t.e),
  }
}

/** A client that is live. */
export async function live(options: Options = {}, welcome: Record<string, unknown> = {}): Promise<Bench> {
  const b = bench(options)
  b.client.connect()
  await settle()
  b.socket().welcome(welcome)
  await settle()
  return b
}

/** Cuts the connection and lets the client make a new one, up to its welcome. */
export async function comeBack(b: Bench, welcome: Record<string, unknown> = {}): Promise<FakeSocket> {
  const n = b.sockets.length
  b.socket().cut()
  while (b.sockets.length === n) await settle(100)
  b.socket().welcome({ held: true, connection_id: `c${n + 1}`, session: { id: 's1', token: `swt_${n + 1}` }, ...welcome })
  await settle()
  return b.socket()
}

export const message = (offset: number, more: Record<string, unknown> = {}): Said => ({
  type: 'order_shipped',
  topic: 'user/alice',
  offset,
  message_id: `m${offset}`,
  payload: { n: offset },
  ...more,
})

export const chunk = (stream: string, start: number, text: string): Said => ({
  type: 'stream_chunk',
  topic: 'user/alice',
  run_id: stream.split('/')[0],
  payload: { stream_id: stream, start, text },
})

export const complete = (offset: number, stream: string, length: number, text?: string): Said =>
  message(offset, { type: 'stream_complete', run_id: stream.split('/')[0], payload: { stream_id: stream, length, state: 'complete', text } })
