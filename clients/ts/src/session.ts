import { Acks } from './acks.js'
import { Calls } from './calls.js'
import { utf8Bytes } from './chunks.js'
import type { Connection, Duties } from './connection.js'
import { Emitter, guard } from './emitter.js'
import { passes, refusal, SwitchboardError } from './errors.js'
import { newId } from './ids.js'
import { Inbox } from './inbox.js'
import type { Link } from './link.js'
import { Outbox } from './outbox.js'
import { Present } from './presence.js'
import { Resume } from './recovery.js'
import { Texts } from './texts.js'
import { snapshotOf, Threads, type ThreadOptions } from './threads.js'
import { Track } from './track.js'
import { Typing } from './typing.js'
import type { ConnectionState, Events, Options, ThreadSnapshot, Why } from './types.js'
import type { AuthOKPayload, Envelope, ErrorMessage, Gap, ReadMarkerPayload, Restored, ServerShutdownPayload, Welcome } from './wire.js'

/** What goes on over any number of connections: it takes what they bring, and tells each thing once. */
export class Session implements Duties {
  readonly events = new Emitter<Events>()
  readonly texts = new Texts()
  readonly outbox: Outbox
  readonly calls: Calls
  readonly threads: Threads
  readonly acks: Acks
  readonly typing: Typing
  readonly present: Present
  user: string | undefined
  id: string | undefined
  connection!: Connection // set by who makes both

  readonly #track = new Track()
  readonly #inbox: Inbox
  #ready: Link | undefined // takes messages of the application
  #restoreId: string | undefined // the session_restore that is not answered yet
  #formerId: string | undefined // of the latest connection, which a new one replaces
  #lostAt = 0
  #resuming = false
  #refreshing = false
  #tooLargeTold = false // on this connection, of a message of ours
  readonly #reopening = new Set<ThreadOptions>() // threads whose messages were lost, until their snapshots come

  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    const post = (frame: string) => this.#post(frame)
    const limit = () => this.connection.link?.welcome?.config.max_message_size ?? 0
    this.calls = new Calls({ post, limit })
    this.threads = new Threads(this.calls)
    this.acks = new Acks(post)
    this.typing = new Typing(post, this.events)
    this.present = new Present(post, this.events)
    this.#inbox = new Inbox(this.events, this.#track, this.texts, this.threads, this.acks, this.typing, this.present)
    this.outbox = new Outbox({
      post,
      limit,
      tell: (item) => this.events.emit('outbox', item),
    })
  }

  get resumes(): boolean {
    return this.#track.topics > 0
  }

  get watched(): readonly string[] {
    return this.#track.query
  }

  changed(state: ConnectionState): void {
    this.events.emit('state', state)
  }

  over(error: SwitchboardError): void {
    this.calls.end(error)
  }

  tooBig(error: SwitchboardError): boolean {
    if (this.#tooLargeTold) return true
    const call = this.calls.end(error)
    return this.outbox.fail(error) || call
  }

  lost(): void {
    this.#ready = undefined
    this.#restoreId = this.#inbox.withheld = undefined
    this.#refreshing = false
    this.#tooLargeTold = false
    this.#track.lost()
    this.outbox.lost()
    this.acks.lost()
    this.typing.lost()
    this.present.lost()
    this.#inbox.resume?.stop()
    if (!this.#resuming) this.#lostAt = performance.now()
  }

  welcomed(link: Link, w: Welcome, env: Envelope, raw: string): void {
    const replace = w.session.id === this.id ? this.#formerId : undefined
    const resumes = this.resumes
    this.user = w.user_id
    this.id = w.session.id
    this.#formerId = w.connection_id
    this.#track.learnAll(w.topics)
    this.#frame('in', env, raw, 'control')
    if (resumes || w.held) this.#restore(link, w, resumes, replace)
    else this.#begin(link)
  }

  /** Says what the client has. Of text streams it says as much as the server takes in one message. */
  #restore(link: Link, w: Welcome, resumes: boolean, replace: string | undefined): void {
    this.connection.restoring()
    if (!link.alive) return // a listener has closed the client
    const positions = resumes ? this.#track.restore() : {}
    if (resumes) {
      if (!this.#resuming) this.#inbox.resume = this.#resume()
      this.#resuming = true
      this.#inbox.resume?.welcomed(Object.keys(positions).length)
    }
    this.#restoreId = newId()
    for (let most = 1024; ; most = most >> 1) {
      const streams = this.texts.lengths(most)
      const payload = { positions, streams, replace }
      const frame = JSON.stringify({ type: 'session_restore', message_id: this.#restoreId, payload })
      const limit = w.config.max_message_size
      if (most > 0 && limit > 0 && utf8Bytes(frame) > limit) continue
      this.#inbox.withheld = streams
      return link.send(frame)
    }
  }

  #resume(): Resume {
    return new Resume({
      track: this.#track,
      texts: this.texts,
      lostAt: this.#lostAt,
      ping: () => {
        const message_id = newId()
        this.#post(JSON.stringify({ type: 'ping', message_id }))
        return message_id
      },
      pending: () => this.#reopening.size,
      done: (recovery) => {
        this.#resuming = false
        this.connection.live()
        this.events.emit('recovered', recovery)
      },
    })
  }

  /** The connection takes messages. */
  #begin(link: Link): void {
    this.#ready = link
    if (!this.#resuming) this.connection.live()
    this.present.ready()
    this.calls.ready()
    this.outbox.ready()
    this.acks.soon()
  }

  #post(frame: string): boolean {
    if (!this.#ready?.alive) return false
    this.#ready.send(frame)
    return true
  }

  wrote(_: Link, raw: string): void {
    if (!this.#options.onFrame) return
    const env = JSON.parse(raw) as Envelope
    this.#frame('out', env, raw, ['session_restore', 'ping', 'pong', 'auth', 'ack'].includes(env.type) ? 'control' : 'live')
  }

  received(link: Link, env: Envelope, raw: string): void {
    const why = this.#take(link, env)
    this.#frame('in', env, raw, why)
    this.#inbox.resume?.check()
  }

  #frame(direction: 'in' | 'out', envelope: Envelope, raw: string, why: Why): void {
    const { onFrame } = this.#options
    if (onFrame) guard(() => onFrame({ direction, at: performance.now(), bytes: utf8Bytes(raw), why, envelope, raw }))
  }

  /** Does what a message asks for, and says why it came. */
  #take(link: Link, env: Envelope): Why {
    if (env.offset) return this.#inbox.durable(env)
    if (env.type === 'stream_chunk') return this.#inbox.chunk(env)
    const payload = env.payload as unknown
    switch (env.type) {
      case 'ping':
        link.send(JSON.stringify({ type: 'pong', message_id: env.message_id }))
        return 'control'
      case 'system_message':
        return 'control'
      case 'session_restored':
        if (env.message_id === this.#restoreId) this.#restored(link, payload as Restored)
        return 'control'
      case 'gap':
        this.#inbox.gap(payload as Gap)
        return 'control'
      case 'server_shutdown':
        link.reconnectAt = performance.now() + Math.min(Math.max((payload as ServerShutdownPayload).reconnect_after_ms, 0), 600_000)
        return 'control'
      case 'auth_expiring':
        void this.#refresh()
        return 'control'
      case 'user_typing':
        this.typing.heard(env)
        return 'live'
      case 'presence_state':
        this.present.state(env)
        return 'live'
      case 'presence_diff':
        this.present.diff(env)
        return 'live'
      case 'read_marker':
        this.#inbox.marker(payload as ReadMarkerPayload)
        return 'live'
      case 'pong':
        this.#inbox.resume?.pong(env.message_id)
        break
      case 'auth_ok':
        this.connection.credentials.keep((payload as AuthOKPayload).session)
        break
      case 'error_message':
        this.#refused(link, env as ErrorMessage)
        return 'answer'
    }
    const call = this.calls.answered(env)
    this.#inbox.learn(env, call)
    if (call) {
      this.#track.follow(call.type, call.payload)
      call.resolve(env)
      // Who awaits a snapshot shows it before it hears of what comes behind it.
      if (env.type === 'thread_snapshot') link.pause()
      return env.type === 'thread_snapshot' ? 'snapshot' : 'answer'
    }
    if (this.outbox.answer(env, undefined)) return 'answer'
    if (internal.has(env.type)) return 'answer' // an answer that nobody waits for any more
    this.#inbox.tell(env, undefined, 'live')
    return 'live'
  }

  #restored(link: Link, r: Restored): void {
    this.#restoreId = this.#inbox.withheld = undefined
    this.#track.restored(r)
    const broken = new Set<string>()
    for (const [topic, state] of Object.entries(r.topics)) {
      if (!state.recovered) broken.add(topic)
      if (state.reason !== 'forbidden' || state.head) continue
      this.threads.leave(topic.slice('room/'.length))
      this.events.emit('error', new SwitchboardError('FORBIDDEN', `${topic} may not be read any more`, { topic }))
    }
    const again = this.threads.in(broken, `user/${this.user}`).filter((t) => !this.#reopening.has(t))
    for (const thread of again) this.#reopening.add(thread)
    if (this.#resuming) this.#inbox.resume?.restored(r)
    this.#begin(link)
    for (const thread of again) void this.#reopen(thread)
  }

  async openThread(options: ThreadOptions): Promise<ThreadSnapshot> {
    const env = await this.threads.ask(options)
    const snapshot = snapshotOf(env, options, false)
    if (options.before !== undefined) return snapshot
    this.threads.remember(options)
    this.events.emit('snapshot', snapshot)
    return snapshot
  }

  /** Opens a thread again whose messages were lost, so that the application is whole. */
  async #reopen(options: ThreadOptions): Promise<void> {
    try {
      const env = await this.threads.ask(options)
      this.#reopening.delete(options)
      this.#inbox.resume?.replaced()
      this.events.emit('snapshot', snapshotOf(env, options, true))
    } catch (error) {
      const e = error as SwitchboardError
      if (passes(e)) return void setTimeout(() => void this.#reopen(options), e.retryAfterMs ?? 1000)
      this.#reopening.delete(options)
      this.events.emit('error', e)
    }
    this.#inbox.resume?.check()
  }

  #refused(link: Link, m: ErrorMessage): void {
    if (m.message_id !== undefined && m.message_id === this.acks.id) return
    const error = refusal(m)
    if (m.message_id !== undefined && m.message_id === this.#restoreId) return link.drop({ reason: m.error_message, error })
    const call = this.calls.answered(m)
    if (error.code === 'TOO_LARGE' && m.message_id !== undefined) this.#tooLargeTold = true
    if (call) call.reject(error)
    else if (!this.outbox.answer(m, error)) this.events.emit('error', error)
  }

  /** Proves the user again on the open connection. Where that fails the server closes with 4001, and a new credential is asked for then. */
  async #refresh(): Promise<void> {
    if (this.#refreshing) return
    this.#refreshing = true
    try {
      const fresh = await this.connection.credentials.fresh()
      if (fresh.token ?? fresh.ticket) await this.calls.begin('auth', fresh, { timeoutMs: 30_000 })
    } catch (error) {
      if (error instanceof SwitchboardError) this.events.emit('error', error)
    } finally {
      this.#refreshing = false
    }
  }
}

/** Answers, which are nobody's message if nobody waits for them any more. */
const internal = new Set(
  'ack pong heartbeat_ack auth_ok subscribed unsubscribed room_joined thread_snapshot history_result'.split(' '),
)
