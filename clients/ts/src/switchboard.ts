import { Connection } from './connection.js'
import { Credentials, socketUrl } from './credentials.js'
import { mintTicket } from './http.js'
import { Session } from './session.js'
import { parsePlace } from './track.js'
import type { StreamText } from './texts.js'
import type { ThreadOptions } from './threads.js'
import type { TypingPlace } from './typing.js'
import type {
  ConnectionState,
  DeviceState,
  Events,
  Incoming,
  Options,
  OutboxItem,
  OutgoingMessage,
  ReadMarkerEvent,
  StopResult,
  ThreadSnapshot,
  Verb,
  VerbAnswer,
  VerbPayload,
} from './types.js'
import type { Position } from './wire.js'

/** How long a verb waits for its answer if nobody says otherwise, with the time that a new connection takes. */
const answerMs = 30_000

/**
 * A session with a Switchboard server, over any number of connections. It begins with
 * connect(), and from then on keeps itself connected until close(), or until the server
 * refuses it for good, which the state `closed` tells.
 */
export class Switchboard {
  readonly #session: Session
  readonly #connection: Connection

  /** Throws a TypeError if there is no URL to connect to. */
  readonly #options: Options

  constructor(options: Options = {}) {
    this.#options = options
    socketUrl(options.url)
    this.#session = new Session(options)
    this.#connection = new Connection(options, new Credentials(options), this.#session)
    this.#session.connection = this.#connection
  }

  /** Begins, or, while it waits to try again, does so at once. Else it does nothing. */
  connect(): void {
    this.#connection.start()
  }

  /** Leaves. Requests that wait end with `CLOSED`; the outbox stays. A later connect() goes on where it was. */
  close(reason = ''): void {
    this.#session.acks.tell()
    this.#connection.stop(reason)
  }

  get state(): ConnectionState {
    return this.#connection.state
  }

  /** Who the server says that this is; undefined before the first connection. */
  get user(): string | undefined {
    return this.#session.user
  }

  /** The session, which is this device among those that `presence` tells; undefined before the first connection. */
  get sessionId(): string | undefined {
    return this.#session.id
  }

  /** Calls listener at each event, within the frame that causes it. Returns what ends that. */
  on<K extends keyof Events>(event: K, listener: (e: Events[K]) => void): () => void {
    return this.#session.events.on(event, listener)
  }

  /**
   * Sends a message, now or once there is a connection, again on each new one, and with the same
   * id, which the server handles once. Messages arrive in the order of their sending. It
   * throws `OUTBOX_FULL` if a thousand messages or 4 MiB wait already. What the server never answers, such
   * as typing_started, is sent now or fails.
   */
  send(message: OutgoingMessage): OutboxItem {
    if (message.type !== 'typing_started') this.typing(message, false)
    return this.#session.outbox.add(message)
  }

  /**
   * Says that the user has seen a message and all before it in its topic. It is told within seconds, also on another
   * connection. That messages have arrived is told by itself. Of what has no position there is nothing to say.
   */
  seen(message: Pick<Incoming, 'topic' | 'position'>): void {
    this.#session.acks.note('seen', message.topic ?? '', parsePlace(message.position))
  }

  /**
   * Says that the user types in a thread of a room, or of the user's own; call it at each key. The server is told every two
   * seconds at most, and that it has ended with `types` false, by a message that is sent there, or by itself after
   * five seconds. Others hear of it by `typing`.
   */
  typing({ room, threadId }: TypingPlace = {}, types = true): void {
    this.#session.typing.tell({ ...(room !== undefined && { room }), ...(threadId !== undefined && { threadId }) }, types)
  }

  /**
   * Says what the user does on this device, and with `meta`, of 1 KiB at most, what else others are to see. It is said again on each new
   * connection. Who else is there is told by `presence`: of the user's own other devices once this was called.
   */
  presence(state: DeviceState, meta?: object): void {
    this.#session.present.say(state, meta)
  }

  /**
   * Says how far the user has read a thread of the user's own (the default one without any name) or a room, and returns how
   * far that is now: markers move forward only. The user's other devices hear of it by `readMarker`.
   */
  async markRead({ threadId, room, position }: ReadMarkerEvent): Promise<Position> {
    const answer = await this.request('mark_read', {
      ...(threadId && { thread_id: threadId }),
      ...(room !== undefined && { room }),
      position,
    })
    return answer.position ?? position
  }

  /** Tries a failed item again, with the same id. */
  retry(id: string): void {
    this.#session.outbox.retry(id)
  }

  /** Takes a failed item out of the outbox, where it has taken room. It reports whether there was one. */
  discard(id: string): boolean {
    return this.#session.outbox.discard(id)
  }

  /** What is sending or has failed, in order. */
  get outbox(): readonly OutboxItem[] {
    return this.#session.outbox.items
  }

  /**
   * Sends a verb and returns the payload of its answer. It waits for a connection, and asks again, with the
   * same id, if that is lost. It rejects with a {@link SwitchboardError}; after `TIMEOUT` (30 s if not said) and
   * `ABORTED` nothing is known.
   */
  async request<V extends Verb>(
    type: V,
    payload: VerbPayload<V>,
    options: { signal?: AbortSignal; timeoutMs?: number } = {},
  ): Promise<VerbAnswer<V>> {
    const answer = await this.#session.calls.begin(type, payload, { timeoutMs: answerMs, ...options })
    return (answer.payload ?? {}) as VerbAnswer<V>
  }

  /**
   * Opens a thread: the snapshot is the thread as of its position, to be shown instead of what events have told of
   * it before. Each event that comes after it, whether one awaits this promise or listens to `snapshot`, is behind
   * that position; text events go on behind the texts in it. The thread stays open: if its messages are lost, it is
   * opened again, and `snapshot` tells. With `before` it is an older page, and nothing else changes. The promise waits
   * for a connection as long as it takes; it rejects with the server's refusal, and with `CLOSED`.
   */
  async openThread(options: ThreadOptions): Promise<ThreadSnapshot> {
    return this.#session.openThread({ ...options })
  }

  /** Stops a run, the runs of a thread, or all of the user's. */
  async stop(target: { runId: string } | { threadId: string } | { all: true }, reason?: string): Promise<StopResult> {
    const payload = {
      ...('runId' in target ? { run_id: target.runId } : 'threadId' in target ? { thread_id: target.threadId } : { all: true }),
      ...(reason !== undefined && { reason }),
    }
    const { status, runs = [] } = await this.request('stop_agent', payload)
    return { status: status as StopResult['status'], runs }
  }

  /** A text stream as far as it is here; undefined if nothing is known of it. The id is that of stream_open. */
  text(streamId: string): StreamText | undefined {
    return this.#session.texts.get(streamId)
  }

  /** A ticket for one connection of the same user, for another device say; good for 300 seconds if not said. */
  mintTicket(ttlSeconds?: number): Promise<string> {
    return mintTicket(this.#options, this.#connection.credentials.token, ttlSeconds)
  }
}
