import { backoff, judge, type End } from './backoff.js'
import { Credentials } from './credentials.js'
import { SwitchboardError } from './errors.js'
import { Link, type Owner } from './link.js'
import type { ConnectionState, Options } from './types.js'
import type { Envelope, Welcome } from './wire.js'

/** Bounds one attempt, from asking for a credential to the welcome. */
const attemptMs = 15_000
/** How long a connection must have been live for the next loss to count as the first. */
const steadyMs = 10_000
/** How soon the server must be heard when the page or the network wakes up. */
const wakeMs = 5_000

/** What is to be done with a connection. */
export interface Duties {
  /** Whether a new connection must wait for a restore. */
  readonly resumes: boolean
  /** The threads to watch from the start. */
  readonly watched: readonly string[]
  welcomed(link: Link, welcome: Welcome, env: Envelope, raw: string): void
  received(link: Link, env: Envelope, raw: string): void
  wrote(link: Link, raw: string): void
  /** The link, which had its welcome, is lost. */
  lost(): void
  /** A message was too big for the server. It reports whether it was one of ours that failed. */
  tooBig(error: SwitchboardError): boolean
  /** There will be no connection until connect(). */
  over(error: SwitchboardError): void
  changed(state: ConnectionState): void
}

/** Keeps one connection, from start to stop: one attempt at a time, with pauses that grow. */
export class Connection implements Owner {
  state: ConnectionState = { status: 'idle' }
  link: Link | undefined

  #turn = 0 // the attempt that counts; others that still run are stale
  #tried = 0 // attempts since the client was steady
  #liveAt: number | undefined // on the scale of performance.now()
  #told = false // the server said when to come back
  #timer: ReturnType<typeof setTimeout> | undefined // to the next attempt, or the end of this one
  #stopListening: (() => void) | undefined
  readonly #WebSocketClass: typeof WebSocket
  readonly #random: () => number

  readonly credentials: Credentials
  readonly #duties: Duties

  constructor(options: Options, credentials: Credentials, duties: Duties) {
    this.credentials = credentials
    this.#duties = duties
    this.#WebSocketClass = options.WebSocket ?? globalThis.WebSocket
    this.#random = options.random ?? Math.random
  }

  /** Begins, or does not wait any longer. */
  start(): void {
    const { status } = this.state
    if (status === 'idle' || status === 'closed') {
      this.#tried = 0
      this.#stopListening = listen(() => this.wake())
    } else if (status !== 'waiting') {
      return
    }
    this.#attempt()
  }

  /** Ends until start. */
  stop(reason: string): void {
    if (this.state.status === 'closed') return
    this.link?.bye(reason)
    this.#finish({ status: 'closed', reason, closeCode: 1000 }, new SwitchboardError('CLOSED', reason || 'the client was closed'))
  }

  /** The page or the network is back: now is a good time, unless the server named another one. */
  wake(): void {
    if (this.state.status === 'waiting' && !this.#told) this.#attempt()
    else this.link?.probe(wakeMs)
  }

  /** What was missed is coming. */
  restoring(): void {
    this.#change({ status: 'restoring', attempt: this.#tried })
  }

  /** What was missed has come. */
  live(): void {
    this.#liveAt = performance.now()
    this.#change({ status: 'live', since: Date.now() })
  }

  #attempt(): void {
    const turn = ++this.#turn
    clearTimeout(this.#timer)
    this.#told = false
    this.#change({ status: 'connecting', attempt: ++this.#tried })
    if (turn !== this.#turn) return // a listener has closed the client
    const abandon = (reason: string, error?: SwitchboardError) => {
      if (turn === this.#turn) this.#recover({ reason, ...(error && { error }) }, undefined)
    }
    this.#timer = setTimeout(() => {
      const reason = `no connection in ${attemptMs / 1000} s`
      if (this.link) this.link.drop({ reason })
      else abandon(reason)
    }, attemptMs)
    this.credentials.handshake(this.#duties.resumes, this.#duties.watched).then(
      (handshake) => {
        if (turn !== this.#turn) return
        try {
          this.link = new Link(this.#WebSocketClass, handshake, this)
        } catch (error) {
          abandon(String(error), new SwitchboardError('PROTOCOL', String(error))) // a URL that no socket takes
        }
      },
      (error: unknown) => abandon(`no credential: ${error instanceof Error ? error.message : String(error)}`),
    )
  }

  welcomed(link: Link, welcome: Welcome, env: Envelope, raw: string): void {
    clearTimeout(this.#timer)
    this.credentials.keep(welcome.session)
    this.#duties.welcomed(link, welcome, env, raw)
  }

  received(link: Link, env: Envelope, raw: string): void {
    this.#duties.received(link, env, raw)
  }

  wrote(link: Link, raw: string): void {
    this.#duties.wrote(link, raw)
  }

  ended(link: Link, end: End): void {
    if (link === this.link) this.#recover(end, link)
  }

  /** Decides what comes after a loss, or after an attempt that failed. */
  #recover(end: End, link: Link | undefined): void {
    const turn = ++this.#turn
    this.link = undefined
    clearTimeout(this.#timer)
    if (this.#liveAt !== undefined && performance.now() - this.#liveAt >= steadyMs) this.#tried = 0
    this.#liveAt = undefined
    const plan = judge(end)
    if (plan.tooBig) {
      const error = new SwitchboardError('TOO_LARGE', end.reason)
      if (!this.#duties.tooBig(error)) plan.final = true // it would come again
    }
    if (link?.welcome) this.#duties.lost()
    if (turn !== this.#turn) return // a listener has closed the client
    const session = link?.kind === 'session'
    if (plan.credential) {
      if (!link?.welcome && !session) plan.final = true // one that was just asked for was refused
      this.credentials.drop()
    }
    if (end.closeCode === 4002) this.credentials.drop()
    if (plan.final) return this.#refuse(end)
    if (plan.credential && session && !link.welcome) {
      this.#tried--
      return this.#attempt() // once: it has no session's token now
    }
    const { reconnectAt } = link ?? {}
    const pause = backoff(this.#tried, this.#random)
    const wait = reconnectAt === undefined ? pause + (plan.afterMs ?? 0) : Math.max(0, reconnectAt - performance.now())
    this.#told = reconnectAt !== undefined || plan.afterMs !== undefined
    this.#timer = setTimeout(() => this.#attempt(), wait)
    const code = end.error?.code
    this.#change({ status: 'waiting', attempt: this.#tried + 1, retryAt: Math.round(Date.now() + wait), reason: end.reason, ...(code && { code }) })
  }

  #refuse(end: End): void {
    const { reason, closeCode, error } = end
    const state: ConnectionState = { status: 'closed', reason }
    if (error) state.code = error.code
    if (closeCode !== undefined) state.closeCode = closeCode
    this.#finish(state, error ?? new SwitchboardError('CLOSED', reason))
  }

  #finish(state: ConnectionState, error: SwitchboardError): void {
    this.#turn++
    clearTimeout(this.#timer)
    this.#stopListening?.()
    const welcomed = this.link?.welcome
    this.link = undefined
    this.#liveAt = undefined
    if (welcomed) this.#duties.lost()
    this.#change(state)
    this.#duties.over(error)
  }

  #change(state: ConnectionState): void {
    this.state = state
    this.#duties.changed(state)
  }
}

/** Calls wake when the network or the page is back, where there is such a thing. */
function listen(wake: () => void): () => void {
  const page = (globalThis as { document?: Document }).document
  const seen = () => page?.visibilityState === 'visible' && wake()
  globalThis.addEventListener?.('online', wake)
  globalThis.addEventListener?.('pageshow', seen)
  page?.addEventListener('visibilitychange', seen)
  return () => {
    globalThis.removeEventListener?.('online', wake)
    globalThis.removeEventListener?.('pageshow', seen)
    page?.removeEventListener('visibilitychange', seen)
  }
}
