import type { SwitchboardError } from './errors.js'
import type {
  Ack,
  ApproveRequest,
  AuthOKPayload,
  AuthRequest,
  Envelope,
  ErrorMessage,
  HistoryRequest,
  HistoryResultPayload,
  JoinRoomRequest,
  MarkReadRequest,
  Position,
  Presence,
  PresenceUpdateRequest,
  RoomJoinedPayload,
  RoomLeftPayload,
  RoomMessageRequest,
  Run,
  ServerPayloads,
  SteerRequest,
  StoppedRun,
  StopAgentRequest,
  SubscribedPayload,
  SubscribeRequest,
  Thread,
  ThreadOpenRequest,
} from './wire.js'

/** How to connect. */
export interface Options {
  /**
   * Where the server accepts connections; ws(s) and http(s) mean the same. Default: `/ws` of
   * the page's origin. Its query is kept.
   */
  url?: string | URL
  /** A name for this device, which others see. */
  device?: string
  /**
   * The JWT, or what returns it. It is asked for each connection that has no session token, and
   * before the credential expires.
   */
  token?: string | (() => string | Promise<string>)
  /** A ticket, which is good for one connection: a string is used once. */
  ticket?: string | (() => string | undefined | Promise<string | undefined>)
  /** Keeps the session's token, and only that, over a reload of the page. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  /** Default: `switchboard.session`. */
  storageKey?: string
  /** For environments without one of their own, and for tests; so are the next two. */
  WebSocket?: typeof WebSocket
  fetch?: typeof fetch
  /** A number from 0 to 1, for the time before an attempt to reconnect. */
  random?: () => number
  /**
   * Called with each frame, behind the events that it causes. The raw text of the welcome has
   * the session's token in it, which is a secret.
   */
  onFrame?: (frame: Frame) => void
}

/** How the client stands. */
export type ConnectionState =
  | { status: 'idle' }
  /** `attempt` counts from 1 since the client was live for ten seconds. */
  | { status: 'connecting'; attempt: number }
  /** There is a connection, and what was missed is coming. */
  | { status: 'restoring'; attempt: number }
  /** `since` and `retryAt` are on the scale of Date.now(). */
  | { status: 'live'; since: number }
  | { status: 'waiting'; attempt: number; retryAt: number; reason: string; code?: string }
  /** Until connect(): by close(), or because another attempt would be refused as well. */
  | { status: 'closed'; reason: string; code?: string; closeCode?: number }

/** What happens, by the name to listen to. */
export interface Events {
  state: ConnectionState
  /** A new message: each once, in the order of its topic. Text comes as `text` instead. */
  message: Incoming
  /** A text stream has grown. */
  text: TextEvent
  /** A thread as of a position, from openThread or because messages were lost. Show it instead of what you had. */
  snapshot: ThreadSnapshot
  /** Messages that cannot be had any more. */
  gap: GapEvent
  /** The client is where it would have been without the loss of the connection. */
  recovered: Recovery
  outbox: OutboxItem
  /** Somebody else has begun to type, or has stopped: said so, has said something, or was not heard of for 5 seconds. */
  typing: TypingEvent
  /** How far the user has read: on another device, or before. It comes behind the snapshot of a thread, too, and when the client comes back. */
  readMarker: ReadMarkerEvent
  /** Who is there now, in a room or of the user's own devices: at first, and when that changes. */
  presence: PresenceEvent
  /** What answers nothing of ours. */
  error: SwitchboardError
}

export interface TextEvent {
  streamId: string
  runId: string
  topic: string
  threadId?: string
  /** `added` stands behind so many code points of what was there; 0: it replaces what was there. */
  start: number
  added: string
  /** The text from its beginning, without holes, as {@link Switchboard.text} has it. */
  text: string
  /** In code points: how far the stream has come. */
  length: number
  why: Why
}

export interface TypingEvent {
  userId: string
  topic: string
  threadId?: string
  typing: boolean
}

/** Of a thread of the user's own, or of a room. */
export interface ReadMarkerEvent {
  threadId?: string
  room?: string
  position: Position
}

/** What the user does on a device, as the device says. */
export type DeviceState = 'active' | 'idle' | 'background'

export interface PresenceEvent {
  /** A room's, or `user/<self>` for the user's own devices. */
  topic: string
  /** All who are there, with their devices. Empty in a room with more than 256 users, until there are 200. */
  users: Presence[]
  /** How many there are. */
  count: number
  /** There may be more: a part of the servers has not said who is there. All are told when it has. */
  incomplete: boolean
}

export interface GapEvent {
  topic: string
  /** Exclusive. */
  from: Position
  /** Inclusive. */
  to: Position
  reason: string
  /** How many messages; absent if nobody knows. */
  count?: number
}

/** What a resume brought, counted from what came. */
export interface Recovery {
  /** That the client named. */
  topics: number
  /** That were missed, and came. */
  messages: number
  /** Code points of texts that were missed, and came. */
  characters: number
  /** In which both came. */
  frames: number
  /** Messages that cannot be had any more, as gaps told. */
  lost: number
  /** A gap did not tell how many messages it is about: `lost` is not all. */
  lostUnknown: boolean
  /** From the welcome to here. */
  ms: number
  /** From the loss of the connection to the welcome. */
  downMs: number
  /** Where texts went on, in code points. */
  streams: { streamId: string; from: number; to: number }[]
  /** Snapshots had to replace what was lost. */
  reopened: boolean
}

/**
 * Why a frame came. `replay`: a missed message, or missed text; `snapshot`: a thread_snapshot; `answer`: to
 * something of ours; `duplicate`: the client had it, and dropped it; `control`: the connection's own.
 * Frames of ours are `control` or `live`.
 */
export type Why = 'live' | 'replay' | 'snapshot' | 'answer' | 'duplicate' | 'control'

export interface Frame {
  direction: 'in' | 'out'
  /** On the scale of performance.now(). */
  at: number
  bytes: number
  why: Why
  envelope: Envelope
  raw: string
}

export interface OutgoingMessage {
  /** `user_message`, `chat`, or one of the application's. */
  type: string
  /** Becomes a JSON object. */
  payload?: object
  /** The conversation; the default one if absent. */
  threadId?: string
  /** The shared conversation that the thread is in; the user's own if absent. */
  room?: string
  /** Makes sending safe to repeat: the server handles one id once. Default: a new UUIDv7. */
  id?: string
}

/** A message on its way. It is what was known at the time: events bring newer ones with the same id. */
export interface OutboxItem {
  id: string
  type: string
  payload: unknown
  threadId?: string
  status: 'sending' | 'sent' | 'failed'
  /** In its topic, once sent. */
  position?: Position
  /** The run that took it, if an agent did. */
  runId?: string
  /** What the server said. */
  ack?: Ack
  /** Why it failed. */
  error?: SwitchboardError
  queuedAt: number
}

/** A conversation as of `position`. */
export interface ThreadSnapshot {
  topic: string
  threadId: string
  room?: string
  /** Oldest first. */
  messages: Incoming[]
  /** Those that are live, with their texts: text events go on behind them. */
  runs: Run[]
  /** Events that come later are behind it. */
  position: Position
  /** There are older messages: openThread with `before`. */
  hasMore: boolean
  /** Messages were lost, and this replaces them; nobody asked. */
  reopened: boolean
}

export interface StopResult {
  status: 'ok' | 'already_ended' | 'not_found'
  runs: StoppedRun[]
}

/**
 * The application's own messages: type → payload. Declare them by merging, and `switch (m.type)` knows them:
 * `declare module '@netra-systems/switchboard' { interface ApplicationMessages { shipped: { order: number } } }`
 */
export interface ApplicationMessages {}

type Labels = Omit<Envelope, 'type' | 'payload'>
type MessagesOf<Payloads> = { [T in keyof Payloads]: Labels & { type: T; payload: Payloads[T] } }[keyof Payloads]

/** Everything that a server sends. */
export type ServerMessage = MessagesOf<ServerPayloads> | MessagesOf<ApplicationMessages> | ErrorMessage

/** What the client takes for itself, or tells by other events. */
type Internal =
  | 'system_message'
  | 'session_restored'
  | 'auth_ok'
  | 'auth_expiring'
  | 'ping'
  | 'pong'
  | 'heartbeat_ack'
  | 'server_shutdown'
  | 'ack'
  | 'error_message'
  | 'gap'
  | 'subscribed'
  | 'unsubscribed'
  | 'thread_snapshot'
  | 'history_result'
  | 'stream_chunk'
  | 'user_typing'
  | 'read_marker'
  | 'presence_state'
  | 'presence_diff'

/** A message of a topic, or one that is not kept, such as agent_typing. */
export type Incoming = Exclude<ServerMessage, { type: Internal }> & {
  /** Its place in its topic, if it has one: unique, and the same in events and snapshots. */
  position?: Position
  why: Why
}

/** A verb's payload and the payload of its answer. */
interface Verbs {
  subscribe: [SubscribeRequest, SubscribedPayload]
  unsubscribe: [SubscribeRequest, SubscribedPayload]
  join_room: [JoinRoomRequest, RoomJoinedPayload]
  leave_room: [JoinRoomRequest, RoomLeftPayload]
  room_message: [RoomMessageRequest & Record<string, unknown>, Ack]
  history: [HistoryRequest, HistoryResultPayload]
  thread_open: [ThreadOpenRequest, Thread]
  switch_thread: [ThreadOpenRequest, Thread]
  stop_agent: [StopAgentRequest, Ack]
  steer: [SteerRequest, Ack]
  approve: [ApproveRequest, Ack]
  reject: [ApproveRequest, Ack]
  auth: [AuthRequest, AuthOKPayload]
  mark_read: [MarkReadRequest, Ack]
  presence_update: [PresenceUpdateRequest, Ack]
  ping: [object, object]
  heartbeat: [object, object]
}

/** A verb of the protocol, or a type of the application that is answered by an ack. */
export type Verb = keyof Verbs | (string & {})
export type VerbPayload<V extends Verb> = V extends keyof Verbs ? Verbs[V][0] : object
export type VerbAnswer<V extends Verb> = V extends keyof Verbs ? Verbs[V][1] : Ack
