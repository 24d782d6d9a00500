import type { End } from './backoff.js'
import type { Handshake, Kind } from './credentials.js'
import { refusal, SwitchboardError } from './errors.js'
import { newId } from './ids.js'
import type { Envelope, ErrorMessage, Welcome } from './wire.js'

/** How long after a ping the server must have been heard; less if its heartbeat is faster. */
const pongMs = 10_000

/** What a link tells its owner. After `ended`, which comes once, it tells nothing. */
export interface Owner {
  welcomed(link: Link, welcome: Welcome, env: Envelope, raw: string): void
  received(link: Link, env: Envelope, raw: string): void
  /** A frame of ours. */
  wrote(link: Link, raw: string): void
  ended(link: Link, end: End): void
}

/** One socket, from the handshake to its end. */
export class Link {
  /** How it got in. */
  readonly kind: Kind
  /** The first message, once it has come. */
  welcome: Welcome | undefined
  /** When server_shutdown wants the next connection, on the scale of performance.now(). */
  reconnectAt: number | undefined

  #socket: WebSocket | undefined
  readonly #queue: string[] = []
  #paused: ReturnType<typeof setTimeout> | undefined
  #closing: End | undefined // told behind the frames that wait
  #heard = 0 // when the last frame came
  #watch: ReturnType<typeof setTimeout> | undefined // looks whether the server is silent
  #pong: ReturnType<typeof setTimeout> | undefined // runs until a sign of life must have come
  #refused: SwitchboardError | undefined // what came instead of a welcome

  readonly #owner: Owner

  constructor(WebSocketClass: typeof WebSocket, handshake: Handshake, owner: Owner) {
    this.#owner = owner
    this.kind = handshake.kind
    const socket = new WebSocketClass(handshake.url, handshake.protocols)
    this.#socket = socket
    socket.onmessage = ({ data }) => this.#take(data)
    socket.onclose = ({ code, reason }) => {
      this.#closing = { closeCode: code, reason: reason || closeReason(code) }
      this.#flush()
    }
    socket.onerror = () => {} // a close follows, and tells no less
  }

  /** Whether there is a socket still. */
  get alive(): boolean {
    return this.#socket !== undefined
  }

  /** Writes a message. */
  send(frame: string): void {
    if (this.#socket?.readyState !== 1) return // its end is about to be told
    this.#socket.send(frame)
    this.#owner.wrote(this, frame)
  }

  /** Closes the socket in the polite way and does not wait for the answer. */
  bye(reason: string): void {
    this.#release(1000, reason)
  }

  /** Gives the socket up: its end is told at once, though the network may take minutes to agree. */
  drop(end: End): void {
    this.#end(end)
  }

  /** Asks for a sign of life, which must come within so many milliseconds. */
  probe(ms = pongMs): void {
    if (!this.welcome || this.#pong) return
    this.send(JSON.stringify({ type: 'ping', message_id: newId() }))
    const asked = this.#heard
    this.#pong = setTimeout(() => {
      this.#pong = undefined
      if (this.#heard === asked) this.#end({ reason: 'the server does not answer' })
    }, ms)
  }

  /**
   * Frames wait until promises that were just settled have been told: who awaits a snapshot goes on before the
   * next message comes, whether or not the socket hands over several frames at once.
   */
  pause(): void {
    this.#paused ??= setTimeout(() => {
      this.#paused = undefined
      this.#flush()
    }, 0)
  }

  #take(data: unknown): void {
    this.#heard = performance.now()
    if (typeof data !== 'string') return this.#end(nonsense('a binary frame'))
    this.#queue.push(data)
    if (!this.#paused) this.#flush()
  }

  #flush(): void {
    for (let raw; !this.#paused && this.#socket && (raw = this.#queue.shift()) !== undefined; ) this.#handle(raw)
    if (this.#closing && !this.#paused) this.#end(this.#closing)
  }

  #handle(raw: string): void {
    let env: Envelope | undefined
    try {
      env = JSON.parse(raw) as Envelope
    } catch {
      // it is told below
    }
    if (typeof env?.type !== 'string') return this.#end(nonsense('no message'))
    try {
      if (this.welcome) this.#owner.received(this, env, raw)
      else this.#greet(env, raw)
    } catch (error) {
      this.#end(nonsense(`a ${env.type} that cannot be read (${String(error)})`))
    }
  }

  /** Takes the first message: the welcome, or why there is none. The close that follows the latter tells it. */
  #greet(env: Envelope, raw: string): void {
    const welcome = env.payload as unknown as Welcome | undefined
    if (env.type === 'error_message') {
      this.#refused ??= refusal(env as ErrorMessage)
    } else if (env.type === 'system_message' && welcome?.event === 'connection_established') {
      this.welcome = welcome
      this.#listen(welcome.config.heartbeat_interval * 1000)
      this.#owner.welcomed(this, welcome, env, raw)
    } else if (!this.#refused) {
      this.#end(nonsense(`a ${env.type} before its welcome`))
    }
  }

  /** Pings when nothing has come for an interval: the server's own pings are not for scripts to see. */
  #listen(interval: number): void {
    if (!(interval > 0)) return
    const look = () => {
      const silent = performance.now() - this.#heard
      if (silent >= interval) this.probe(Math.min(interval, pongMs))
      this.#watch = setTimeout(look, silent >= interval ? interval : interval - silent)
    }
    this.#watch = setTimeout(look, interval)
  }

  #end(end: End): void {
    if (!this.#socket) return
    this.#release(1000, '')
    const error = end.error ?? this.#refused
    if (error && this.#refused) end = { ...end, reason: error.message }
    this.#owner.ended(this, error ? { ...end, error } : end)
  }

  #release(code: number, reason: string): void {
    const socket = this.#socket
    if (!socket) return
    this.#socket = undefined
    clearTimeout(this.#watch)
    clearTimeout(this.#pong)
    clearTimeout(this.#paused)
    socket.onmessage = socket.onclose = null
    if (socket.readyState < 2) socket.close(code, reason.slice(0, 41)) // of 123 bytes
  }
}

function nonsense(what: string): End {
  const reason = `the server sent ${what}`
  return { reason, error: new SwitchboardError('PROTOCOL', reason) }
}

function closeReason(code: number): string {
  return code === 1006 || code === 1005 ? 'the connection was lost' : `the server closed the connection (${code})`
}
