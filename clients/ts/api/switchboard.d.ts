//#region src/wire.d.ts
/** `"<epoch>:<offset>"`: a place in the log of a topic. Those of different epochs cannot be compared. */
type Position = string;
/** Ack is the payload of a server's ack: what became of a message. */
interface Ack {
  message_id: string;
  /**
   * Status is "ok", "queued", "duplicate" or "unhandled"; in the ack of stop_agent also "already_ended" or
   * "not_found", in that of approve and reject also "already_resolved" or "expired".
   */
  status: string;
  /** Position is where the message is in its topic's log; absent if it is in none. */
  position?: Position;
  /** Result is what a handler returned, or {"run_id":…} if an agent took the message. */
  result?: unknown;
  /**
   * Runs are the runs that stop_agent was about, an empty list where none was found; absent (nil) in the ack of
   * any other message.
   */
  runs?: StoppedRun[];
}
/**
 * AckRequest is the payload of an ack from a client: how far it has got and shown each topic, by address. It is
 * not answered.
 */
interface AckRequest {
  positions: Record<string, Position>;
  seen?: Record<string, Position>;
}
/** AgentCancelledPayload is the payload of agent_cancelled. */
interface AgentCancelledPayload {
  /** "cancelled" */
  status: string;
  reason: string;
  /** empty unless a user stopped it */
  by_user?: string;
}
/** AgentCompletedPayload is the payload of agent_completed. */
interface AgentCompletedPayload {
  /** "completed" */
  status: string;
  result?: unknown;
  execution_time_ms: number;
  message?: string;
}
/** AgentDeathPayload is the payload of agent_death. */
interface AgentDeathPayload {
  /** "dead" */
  status: string;
  /** Cause is a word such as timeout, no_heartbeat, silent_failure, memory_limit, node_lost. */
  death_cause: string;
  death_context?: unknown;
  message: string;
  /** such as refresh_required */
  recovery_action: string;
}
/** AgentErrorPayload is the payload of agent_error. */
interface AgentErrorPayload {
  /** "error" */
  status: string;
  /** Error may be read by users; the text of internal errors stays in the log. */
  error_message: string;
  error_context: ErrorContext;
  message?: string;
  truncated?: Truncation[];
}
/** AgentLogPayload is the payload of agent_log. */
interface AgentLogPayload {
  /** debug, info, warning or error */
  level: string;
  message: string;
  metadata?: unknown;
}
/** AgentStalledPayload is the payload of agent_stalled. */
interface AgentStalledPayload {
  silent_seconds: number;
  /** that is executing */
  tool_name?: string;
}
/** AgentStartedPayload is the payload of agent_started. */
interface AgentStartedPayload {
  /** "started" */
  status: string;
  context?: unknown;
  message?: string;
  /** InReplyTo is the id of the message that the agent took. */
  in_reply_to?: string;
}
/** AgentThinkingPayload is the payload of agent_thinking. */
interface AgentThinkingPayload {
  /** "thinking" */
  status: string;
  reasoning: string;
  /** from 1 */
  step_number?: number;
  /** 0 to 100 */
  progress_percentage?: number;
}
/** Approval is the payload of approval_requested: a question to the viewers of a run. */
interface Approval {
  approval_id: string;
  tool_name: string;
  prompt: string;
  /** Parameters are those of the tool call, redacted. */
  parameters?: unknown;
  truncated?: Truncation[];
  /** Schema is the JSON Schema of the values to answer with, if any are asked for. */
  schema?: unknown;
  /** seconds since 1970; then the answer is no */
  expires_at: number;
}
/** ApprovalResolvedPayload is the payload of approval_resolved. */
interface ApprovalResolvedPayload {
  approval_id: string;
  /** Decision is "approved", "rejected" or "expired". */
  decision: string;
  /** empty if nobody answered */
  by_user?: string;
  comment?: string;
}
/** ApproveRequest is the payload of approve and reject. */
interface ApproveRequest {
  approval_id: string;
  /** Values are what the approval's schema asks for. */
  values?: unknown;
  comment?: string;
}
/** AuthExpiringPayload is the payload of auth_expiring. */
interface AuthExpiringPayload {
  /** seconds since 1970 */
  expires_at: number;
  in_seconds: number;
}
/** AuthOKPayload is the payload of auth_ok. */
interface AuthOKPayload {
  /** seconds since 1970; 0: never */
  expires_at?: number;
  permissions: string[];
  /** with a new token */
  session: SessionInfo;
}
/** AuthRequest is the payload of auth: exactly one of a token and a ticket. Its user must be the connection's. */
interface AuthRequest {
  token?: string;
  ticket?: string;
}
/**
 * Closing is the payload of the system_message that ends an event stream, which has no close frames: it says
 * what they would.
 */
interface Closing {
  /** always "connection_closed" */
  event: string;
  code: number;
  reason: string;
}
/** Config is what a client has to know about the server's settings. */
interface Config {
  /** seconds between pings of the server */
  heartbeat_interval: number;
  /** bytes of a frame from the client */
  max_message_size: number;
}
/** Device is one session of a user. */
interface Device {
  session_id: string;
  /** as the device called itself */
  name?: string;
  state: string;
  /** seconds since 1970 */
  last_activity?: number;
  meta?: unknown;
}
/** One message as it travels. */
interface Envelope {
  agent_name?: string;
  message_id?: string;
  offset?: number;
  payload?: Record<string, unknown>;
  run_id?: string;
  stream_lengths?: Record<string, number>;
  thread_id?: string;
  /** Seconds since 1970. */
  timestamp?: number;
  topic?: string;
  trace?: Record<string, unknown>;
  type: string;
  user_id?: string;
}
/** ErrorContext classifies the error of an agent. */
interface ErrorContext {
  /** "unknown" if nobody knows */
  error_type: string;
  agent_step?: string;
  user_facing: boolean;
  /** trying again may help */
  recoverable?: boolean;
}
/** An error_message has its fields in the envelope. */
interface ErrorMessage extends Envelope {
  type: 'error_message';
  details?: Record<string, unknown>;
  error_code: 'INVALID_JSON' | 'INVALID_MESSAGE' | 'TOO_LARGE' | 'RATE_LIMITED' | 'BUSY' | 'AUTH_ERROR' | 'FORBIDDEN' | 'NOT_FOUND' | 'CONFLICT' | 'RUN_CONTRACT' | 'RUN_ENDED' | 'RUN_CANCELLED' | 'STREAM_OFFSET' | 'BACKEND_UNAVAILABLE' | 'UNAVAILABLE' | 'UNSUPPORTED' | 'TIMEOUT' | 'INTERNAL';
  error_message: string;
  recovery_suggestions?: string[];
}
/** FinalReportPayload is the payload of final_report. */
interface FinalReportPayload {
  report: unknown;
  total_duration_ms?: number;
}
/**
 * Gap is the payload of gap: messages that cannot be delivered any more. Delivery goes on with what is kept
 * after To. It comes before the topic's next message.
 */
interface Gap {
  /** address */
  topic: string;
  /** exclusive: the last message that was delivered */
  from: Position;
  /** inclusive; "<new epoch>:0" if the epoch has changed */
  to: Position;
  /** Reason is "expired", "epoch_changed" or "volatile". */
  reason: string;
  /** Count is how many messages were lost; 0 if that is not known. */
  count?: number;
  /** with epoch_changed: the former one */
  epoch?: string;
  /** with epoch_changed */
  new_epoch?: string;
}
/**
 * HistoryRequest is the payload of history: messages after Since or before Before, or the newest ones if both
 * are zero.
 */
interface HistoryRequest {
  /** address */
  topic: string;
  since?: Position;
  before?: Position;
  /** only of this thread */
  thread_id?: string;
  /** messages, at most 1000; 0: 50 */
  limit?: number;
}
/** HistoryResultPayload is the payload of history_result. */
interface HistoryResultPayload {
  /** oldest first */
  messages: Envelope[];
  /** of the topic */
  head: Position;
  /** in the direction that was asked for */
  has_more: boolean;
  gap?: Gap;
}
/** JoinRoomRequest is the payload of join_room and leave_room. */
interface JoinRoomRequest {
  room: string;
}
/** LogoutRequest is the payload of logout. */
interface LogoutRequest {
  /** all sessions of the user, not only this one */
  everywhere?: boolean;
}
/**
 * MarkReadRequest is the payload of mark_read: one of ThreadID and Room, and the position up to which the user
 * has read.
 */
interface MarkReadRequest {
  thread_id?: string;
  room?: string;
  position: Position;
}
/** PartialResultPayload is the payload of partial_result. */
interface PartialResultPayload {
  content: string;
  is_complete: boolean;
}
/** Presence is one user's presence in presence_state and presence_diff. */
interface Presence {
  user_id: string;
  online: boolean;
  /** seconds since 1970 */
  since?: number;
  devices: Device[];
}
/**
 * PresenceDiffPayload is the payload of presence_diff: what changed since the last state or difference. Of a
 * room with more than 256 users it tells the number only, until there are 200.
 */
interface PresenceDiffPayload {
  joins: Presence[];
  leaves: Presence[];
  updates: Presence[];
  /** of users, from now on */
  count: number;
}
/**
 * PresenceStatePayload is the payload of presence_state: who is in the room, or on which devices the user is. Of
 * a room with more than 256 users it tells the number only, until there are 200.
 */
interface PresenceStatePayload {
  users: Presence[];
  /** of users */
  count: number;
  /** a node has not said who is there: another one follows */
  incomplete?: boolean;
}
/** PresenceUpdateRequest is the payload of presence_update. */
interface PresenceUpdateRequest {
  /** State is "active", "idle" or "background". */
  state: string;
  /** Meta is a small JSON object that others see beside the state. */
  meta?: unknown;
}
/** Progress says how far a run is. */
interface Progress {
  /** 0 to 100 */
  percentage: number;
  current_step?: string;
  total_steps?: number;
  /** seconds */
  estimated_remaining?: number;
}
/** ProgressUpdatePayload is the payload of progress_update. */
interface ProgressUpdatePayload {
  /** "progress" */
  status: string;
  progress_data: Progress;
  message?: string;
}
/** ReadMarkerPayload is the payload of read_marker. */
interface ReadMarkerPayload {
  thread_id?: string;
  room?: string;
  position: Position;
}
/** Restore is the payload of session_restore: what the client has already. All of it is optional. */
interface Restore {
  /** Positions are by topic address. Topics that are not named go on from the welcome's. */
  positions?: Record<string, Position>;
  /** Streams has the length of each unfinished text, in code points, by stream id. */
  streams?: Record<string, number>;
  /** Replace is the id of the client's former connection, which is closed with 4003. */
  replace?: string;
}
/** Restored is the payload of session_restored. It comes before the first replayed message. */
interface Restored {
  /** by address, those that the client named */
  topics: Record<string, RestoredTopic>;
  /** that are live on the topics */
  runs: RestoredRun[];
  rewind?: boolean;
}
/** RestoredRun is a live run in the answer to a restore. */
interface RestoredRun {
  run_id: string;
  thread_id?: string;
  agent_name: string;
  state: 'running' | 'waiting' | 'completed' | 'failed' | 'cancelled' | 'dead';
  /** code points, by stream id */
  stream_lengths: Record<string, number>;
}
/** RestoredTopic says what becomes of one topic after a restore. */
interface RestoredTopic {
  /** everything after From comes */
  recovered: boolean;
  /** where replay begins; absent unless Recovered */
  from?: Position;
  /** of the topic now; absent if Reason is forbidden */
  head?: Position;
  /** expired, epoch_changed or forbidden */
  reason?: string;
}
/** RoomJoinedPayload is the payload of room_joined. Messages after Position will come. */
interface RoomJoinedPayload {
  room: string;
  /** user ids */
  members: string[];
  position: Position;
}
/** RoomLeftPayload is the payload of room_left. Nothing of the room comes after it. */
interface RoomLeftPayload {
  room: string;
  /** Reason is "left", "removed" or "forbidden". */
  reason: string;
}
/**
 * RoomMessageRequest is what the core reads of a room_message; other members are for the receivers and pass
 * through.
 */
interface RoomMessageRequest {
  room: string;
}
/** Run is a run as its viewers see it. */
interface Run {
  run_id: string;
  thread_id?: string;
  agent_name: string;
  state: 'running' | 'waiting' | 'completed' | 'failed' | 'cancelled' | 'dead';
  /** seconds since 1970 */
  started_at: number;
  /** Tools are the names of the tools that are executing. */
  tools: string[];
  /** Streams are all text streams of the run with their text; in a thread it may be the beginning of a longer one. */
  streams: Stream[];
  /** Approvals are those that wait for an answer. */
  approvals: Approval[];
}
/** ServerShutdownPayload is the payload of server_shutdown. */
interface ServerShutdownPayload {
  /**
   * ReconnectAfterMS is how long to wait, in milliseconds. It differs from client to client, so that they do not
   * all come at once.
   */
  reconnect_after_ms: number;
  message: string;
}
/** SessionInfo identifies a session and lets it be resumed. */
interface SessionInfo {
  /** stays when the session is resumed */
  id: string;
  /**
   * Token is the credential for the next connection; each connection gives a new one. It is a secret and travels
   * as a subprotocol or header, never in a URL.
   */
  token: string;
  /** of Token, seconds since 1970; 0: never */
  expires_at?: number;
}
/** SteerRequest is the payload of steer. */
interface SteerRequest {
  run_id: string;
  text: string;
}
/** StopAgentRequest is the payload of stop_agent: one run, the runs of a thread, or all of the user's. */
interface StopAgentRequest {
  run_id?: string;
  thread_id?: string;
  all?: boolean;
  reason?: string;
}
/** StoppedRun is a run in the ack of stop_agent. */
interface StoppedRun {
  run_id: string;
  /** of its last event */
  position: Position;
  /** code points, by stream id */
  stream_lengths?: Record<string, number>;
}
/** Stream is a text stream with its text so far. */
interface Stream {
  /** "<run id>/<name>" */
  stream_id: string;
  name?: string;
  /** State is "open", "complete", "cancelled" or "failed". */
  state: string;
  text: string;
  /**
   * Length is that of the whole text in Unicode code points. In a thread it is there only if Text is not all of
   * it.
   */
  length?: number;
}
/** StreamChunkPayload is the payload of stream_chunk. A receiver drops what it has by Start. */
interface StreamChunkPayload {
  stream_id: string;
  /** where Text begins, in Unicode code points */
  start: number;
  text: string;
}
/** StreamCompletePayload is the payload of stream_complete. */
interface StreamCompletePayload {
  stream_id: string;
  /** of the text, in Unicode code points */
  length: number;
  /** State is "complete", "cancelled" or "failed". */
  state: string;
  /** Text is the whole text; absent if it is longer than 64 KiB. */
  text?: string;
}
/** StreamOpenPayload is the payload of stream_open. */
interface StreamOpenPayload {
  /** "<run id>/<name>" */
  stream_id: string;
  name: string;
  /** "text" */
  format: string;
}
/** SubagentPayload is the payload of subagent_started and subagent_completed. */
interface SubagentPayload {
  subagent_name: string;
  subagent_id: string;
  parent_agent_name?: string;
  /** "started", "completed" or "failed" */
  status: string;
  result?: unknown;
  duration_ms?: number;
}
/** SubscribeRequest is the payload of subscribe and unsubscribe. */
interface SubscribeRequest {
  /** room ids, not addresses */
  rooms?: string[];
  /** whose streams and volatile messages to get */
  threads?: string[];
  /** Since has positions to start from, by topic address; other rooms start now. It does not count in unsubscribe. */
  since?: Record<string, Position>;
}
/** SubscribedPayload is the payload of subscribed and unsubscribed. */
interface SubscribedPayload {
  /** Topics has the position of each topic concerned, by address. Messages after it will come, or come no more. */
  topics: Record<string, Position>;
}
/**
 * Thread is the payload of thread_snapshot: a conversation as a joining client gets it. Live messages follow
 * from Position exactly.
 */
interface Thread {
  /** oldest first */
  messages: Envelope[];
  /** live ones */
  runs: Run[];
  position: Position;
  /** there are older messages */
  has_more: boolean;
}
/**
 * ThreadOpenRequest is the payload of thread_open and switch_thread. The last two fields count in thread_open
 * only.
 */
interface ThreadOpenRequest {
  thread_id: string;
  /** the room it is in; empty: the user's own topic */
  room?: string;
  /** messages, at most 1000; 0: 50 */
  limit?: number;
  /** for older messages; zero: the newest */
  before?: Position;
}
/** ToolCompletedPayload is the payload of tool_completed. */
interface ToolCompletedPayload {
  tool_name: string;
  /** Result is redacted; Error is there instead if the tool failed. */
  result?: unknown;
  error?: string;
  execution_time_ms: number;
  /** "completed" or "failed" */
  status: string;
  message?: string;
  truncated?: Truncation[];
}
/** ToolExecutingPayload is the payload of tool_executing. */
interface ToolExecutingPayload {
  tool_name: string;
  /** Parameters are redacted. */
  parameters?: unknown;
  /** "executing" */
  status: string;
  message?: string;
  truncated?: Truncation[];
}
/** Truncation tells of a string or a list that was cut before it was shown to viewers. */
interface Truncation {
  /**
   * Path is where it is in the payload, joined by dots, with list items by number from 0, such as
   * "parameters.items.2.text". A path of more than 200 characters ends in "…".
   */
  path: string;
  /** OriginalLength is what it had: Unicode code points of a string, items of a list. */
  original_length: number;
}
/** TypingPayload is the payload of user_typing and agent_typing. */
interface TypingPayload {
  /** in user_typing */
  user_id?: string;
  /** in agent_typing */
  agent_name?: string;
  is_typing: boolean;
  /** seconds after which it ends by itself */
  expires_in?: number;
}
/** TypingRequest is the payload of typing_started and typing_stopped; the thread is in the envelope. */
interface TypingRequest {
  /** empty: the user's own topic */
  room?: string;
}
/** Welcome is the payload of the system_message that begins every connection. */
interface Welcome {
  /** always "connection_established" */
  event: string;
  connection_id: string;
  user_id: string;
  /** seconds since 1970 */
  server_time: number;
  config: Config;
  session: SessionInfo;
  /** Held says that no topic message comes until the client sends session_restore, or 2 s pass. */
  held: boolean;
  /** Topics has the position of each topic that the connection follows, by address. Messages after it will come. */
  topics: Record<string, Position>;
}
/** Payloads of what the server sends, by type. An error_message is an {@link ErrorMessage}. */
interface ServerPayloads {
  /**
   * Is the first message on every connection, with a {@link Welcome}, and the last one of an event stream, with a
   * {@link Closing}.
   */
  system_message: Welcome | Closing;
  /** Answers session_restore, with a {@link Restored}; what was missed follows. */
  session_restored: Restored;
  /** Answers auth, with an {@link AuthOKPayload}. */
  auth_ok: AuthOKPayload;
  /** Warns a minute before the credential expires, with an {@link AuthExpiringPayload}. */
  auth_expiring: AuthExpiringPayload;
  /** Asks for a pong. Servers send it too, to clients that asked for heartbeat=app. */
  ping: Record<string, unknown>;
  /** Answers ping, with a {@link PongPayload} when it comes from the server. */
  pong: Record<string, unknown>;
  /** Answers heartbeat. */
  heartbeat_ack: Record<string, unknown>;
  /** Says when to reconnect, with a {@link ServerShutdownPayload}; close 1012 follows. */
  server_shutdown: ServerShutdownPayload;
  /**
   * Confirms a message, with an {@link Ack}. From a client it reports watermarks, with an {@link AckRequest}, and
   * is not answered.
   */
  ack: Ack;
  /** Says, with a {@link Gap}, that messages of a topic cannot be delivered. */
  gap: Gap;
  /** Is a user's message to an agent. It is appended to the topic first, so that every device sees it. */
  user_message: Record<string, unknown>;
  /** Is a user's message, like user_message. */
  chat: Record<string, unknown>;
  /** Answers subscribe, with a {@link SubscribedPayload}. */
  subscribed: SubscribedPayload;
  /** Answers unsubscribe, with a {@link SubscribedPayload}. */
  unsubscribed: SubscribedPayload;
  /** Answers join_room, with a {@link RoomJoinedPayload}. */
  room_joined: RoomJoinedPayload;
  /** Answers leave_room or tells of a removal, with a {@link RoomLeftPayload}. */
  room_left: RoomLeftPayload;
  /** Speaks to all who follow a room, with a {@link RoomMessageRequest}. */
  room_message: RoomMessageRequest;
  /** Answers both, with a {@link Thread}. */
  thread_snapshot: Thread;
  /** Answers history, with a {@link HistoryResultPayload}. */
  history_result: HistoryResultPayload;
  /** Tells the user's other devices of mark_read, with a {@link ReadMarkerPayload}. */
  read_marker: ReadMarkerPayload;
  /** Says who is there, with a {@link PresenceStatePayload}. */
  presence_state: PresenceStatePayload;
  /** Says what changed since, with a {@link PresenceDiffPayload}. */
  presence_diff: PresenceDiffPayload;
  /** Tells others about both, with a {@link TypingPayload}. */
  user_typing: TypingPayload;
  /** Says that an agent is about to answer, with a {@link TypingPayload}. */
  agent_typing: TypingPayload;
  /** Is the first event of a run, with an {@link AgentStartedPayload}. */
  agent_started: AgentStartedPayload;
  /** Tells what the agent is about, with an {@link AgentThinkingPayload}. */
  agent_thinking: AgentThinkingPayload;
  /** Says that a tool call begins, with a {@link ToolExecutingPayload}. */
  tool_executing: ToolExecutingPayload;
  /** Ends a tool call, with a {@link ToolCompletedPayload}. */
  tool_completed: ToolCompletedPayload;
  /** Is the last event of a run that did its work, with an {@link AgentCompletedPayload}. */
  agent_completed: AgentCompletedPayload;
  /** Is the last event of a run that failed, with an {@link AgentErrorPayload}. */
  agent_error: AgentErrorPayload;
  /** Is the last event of a run that was stopped, with an {@link AgentCancelledPayload}. */
  agent_cancelled: AgentCancelledPayload;
  /** Is the last event of a run whose producer was lost, with an {@link AgentDeathPayload}. */
  agent_death: AgentDeathPayload;
  /** Says that a run has been silent for long, with an {@link AgentStalledPayload}. */
  agent_stalled: AgentStalledPayload;
  /** Tells how far a run is, with a {@link ProgressUpdatePayload}. */
  progress_update: ProgressUpdatePayload;
  /** Is a part of the result, with a {@link PartialResultPayload}. */
  partial_result: PartialResultPayload;
  /** Is the result in full, with a {@link FinalReportPayload}. */
  final_report: FinalReportPayload;
  /** Says that the agent has called another, with a {@link SubagentPayload}. */
  subagent_started: SubagentPayload;
  /** Ends what subagent_started began, with a {@link SubagentPayload}. */
  subagent_completed: SubagentPayload;
  /** Is a line of the agent's log, with an {@link AgentLogPayload}. */
  agent_log: AgentLogPayload;
  /** Asks the viewers, with an {@link Approval}. */
  approval_requested: Approval;
  /** Tells the first answer, with an {@link ApprovalResolvedPayload}. */
  approval_resolved: ApprovalResolvedPayload;
  /** Begins a text stream, with a {@link StreamOpenPayload}. */
  stream_open: StreamOpenPayload;
  /** Is text of a stream, with a {@link StreamChunkPayload}. It has no offset. */
  stream_chunk: StreamChunkPayload;
  /** Ends a text stream, with a {@link StreamCompletePayload}. */
  stream_complete: StreamCompletePayload;
  /** Answers get_quality_metrics. */
  quality_metrics: Record<string, unknown>;
  /** Answers subscribe_quality_alerts. */
  quality_alerts_subscribed: Record<string, unknown>;
  /** Answers subscribe_quality_alerts too. */
  quality_alerts_unsubscribed: Record<string, unknown>;
  /** Carries new figures to those who subscribed. */
  quality_update: Record<string, unknown>;
  /** Carries an alert to those who subscribed. */
  quality_alert: Record<string, unknown>;
  /** Answers validate_content. */
  content_validation_result: Record<string, unknown>;
  /** Answers generate_quality_report. */
  quality_report_generated: Record<string, unknown>;
  /** Announces a client. */
  connect: Record<string, unknown>;
  /** Announces that a client leaves. */
  disconnect: Record<string, unknown>;
  /** Confirms agent_task. */
  agent_task_ack: Record<string, unknown>;
  /** Is an agent's answer. */
  agent_response: Record<string, unknown>;
  /** Is a part of an agent's answer. */
  agent_response_chunk: Record<string, unknown>;
  /** Ends an agent's answer. */
  agent_response_complete: Record<string, unknown>;
  /** Tells how an agent is. */
  agent_status_update: Record<string, unknown>;
  /** Tells how far an agent is. */
  agent_progress: Record<string, unknown>;
  /** Says that a thread has changed. */
  thread_update: Record<string, unknown>;
  /** Is a message in a thread. */
  thread_message: Record<string, unknown>;
  /** Is a message to everybody. */
  broadcast: Record<string, unknown>;
  /** Is a broadcast of a test. */
  broadcast_test: Record<string, unknown>;
  /** Is a message to one user. */
  direct_message: Record<string, unknown>;
  /** Is a JSON-RPC response in an envelope. */
  jsonrpc_response: Record<string, unknown>;
  /** Is a JSON-RPC notification in an envelope. */
  jsonrpc_notification: Record<string, unknown>;
  /** Is a message of a test. */
  resilience_test: Record<string, unknown>;
  /** Is a message of a test. */
  recovery_test: Record<string, unknown>;
}
/** Payloads of what clients send, by type. */
interface ClientPayloads {
  /** Tells, with a {@link Restore}, what a client that comes back has already. */
  session_restore: Restore;
  /** Proves the user again on an open connection, with an {@link AuthRequest}. */
  auth: AuthRequest;
  /** Ends the session, with a {@link LogoutRequest}; the connection closes with 1000. */
  logout: LogoutRequest;
  /** Asks for a pong. Servers send it too, to clients that asked for heartbeat=app. */
  ping: Record<string, unknown>;
  /** Answers ping, with a {@link PongPayload} when it comes from the server. */
  pong: Record<string, unknown>;
  /** Asks for a heartbeat_ack, as ping does for a pong. */
  heartbeat: Record<string, unknown>;
  /** Answers heartbeat. */
  heartbeat_ack: Record<string, unknown>;
  /**
   * Confirms a message, with an {@link Ack}. From a client it reports watermarks, with an {@link AckRequest}, and
   * is not answered.
   */
  ack: AckRequest;
  /** Is a user's message to an agent. It is appended to the topic first, so that every device sees it. */
  user_message: Record<string, unknown>;
  /** Is a user's message, like user_message. */
  chat: Record<string, unknown>;
  /** Asks for an agent without saying anything in the conversation. */
  start_agent: Record<string, unknown>;
  /** Follows rooms and threads, with a {@link SubscribeRequest}. */
  subscribe: SubscribeRequest;
  /** Stops following, with a {@link SubscribeRequest}. */
  unsubscribe: SubscribeRequest;
  /** Makes the user a member and this connection a follower, with a {@link JoinRoomRequest}. */
  join_room: JoinRoomRequest;
  /** Ends the membership, with a {@link JoinRoomRequest}. */
  leave_room: JoinRoomRequest;
  /** Speaks to all who follow a room, with a {@link RoomMessageRequest}. */
  room_message: RoomMessageRequest;
  /** Asks for a thread and watches it from there, with a {@link ThreadOpenRequest}. */
  thread_open: ThreadOpenRequest;
  /** Is thread_open that stops watching the former thread. */
  switch_thread: ThreadOpenRequest;
  /** Asks for a part of a topic's log, with a {@link HistoryRequest}. */
  history: HistoryRequest;
  /** Says how far the user has read, with a {@link MarkReadRequest}. */
  mark_read: MarkReadRequest;
  /** Sets the state of this device, with a {@link PresenceUpdateRequest}. */
  presence_update: PresenceUpdateRequest;
  /** Says that the user types, with a {@link TypingRequest}. It is not answered. */
  typing_started: TypingRequest;
  /** Says that the user types no more, with a {@link TypingRequest}. */
  typing_stopped: TypingRequest;
  /** Cancels runs, with a {@link StopAgentRequest}. */
  stop_agent: StopAgentRequest;
  /** Puts text into the input of a run, with a {@link SteerRequest}. */
  steer: SteerRequest;
  /** Says yes to an approval, with an {@link ApproveRequest}. */
  approve: ApproveRequest;
  /** Says no to an approval, with an {@link ApproveRequest}. */
  reject: ApproveRequest;
  /** Asks for the figures of one agent or of all. */
  get_quality_metrics: Record<string, unknown>;
  /** Begins or ends the delivery of alerts. */
  subscribe_quality_alerts: Record<string, unknown>;
  /** Asks for a judgement about a text. */
  validate_content: Record<string, unknown>;
  /** Asks for a report. */
  generate_quality_report: Record<string, unknown>;
  /** Announces a client. */
  connect: Record<string, unknown>;
  /** Announces that a client leaves. */
  disconnect: Record<string, unknown>;
  /** Asks an agent. */
  agent_request: Record<string, unknown>;
  /** Gives work to an agent. */
  agent_task: Record<string, unknown>;
  /** Asks how an agent is. */
  agent_status_request: Record<string, unknown>;
  /** Says that a thread has changed. */
  thread_update: Record<string, unknown>;
  /** Is a message in a thread. */
  thread_message: Record<string, unknown>;
  /** Is a broadcast of a test. */
  broadcast_test: Record<string, unknown>;
  /** Is a message to one user. */
  direct_message: Record<string, unknown>;
  /** Is a JSON-RPC request in an envelope. */
  jsonrpc_request: Record<string, unknown>;
  /** Is a JSON-RPC notification in an envelope. */
  jsonrpc_notification: Record<string, unknown>;
  /** Is a message of a test. */
  resilience_test: Record<string, unknown>;
  /** Is a message of a test. */
  recovery_test: Record<string, unknown>;
}
//#endregion
//#region src/texts.d.ts
/** A text stream as far as the client has it. */
interface StreamText {
  /** The beginning of the text, without holes; all of it unless `missing`. */
  readonly text: string;
  /** In Unicode code points: how far the stream has come. More than `text` has if `missing`. */
  readonly length: number;
  readonly state: 'open' | 'complete' | 'cancelled' | 'failed';
  /** Something behind `text` is not here: the stream was too long to be kept, or a part was lost. */
  readonly missing: boolean;
}
//#endregion
//#region src/errors.d.ts
/**
 * What went wrong, in one word. Those in capitals of the protocol come from the server; the
 * client's own are `OUTBOX_FULL`, `TIMEOUT` (no answer in time), `ABORTED` (by the signal),
 * `CLOSED` (there is no connection any more), `NOT_CONNECTED` (a message that is not worth
 * keeping) and `PROTOCOL` (the server said what cannot be understood).
 */
type ErrorCode = ErrorMessage['error_code'] | 'OUTBOX_FULL' | 'TIMEOUT' | 'ABORTED' | 'CLOSED' | 'NOT_CONNECTED' | 'PROTOCOL';
/** A refusal by the server, or by the client itself. */
declare class SwitchboardError extends Error {
  readonly code: ErrorCode;
  /** What the server said besides, such as `field`. */
  readonly details: Readonly<Record<string, unknown>>;
  /** How long the server wants one to wait before the next attempt. */
  readonly retryAfterMs: number | undefined;
  constructor(code: ErrorCode, message: string, details?: Readonly<Record<string, unknown>>);
}
//#endregion
//#region src/types.d.ts
/** How to connect. */
interface Options {
  /**
   * Where the server accepts connections; ws(s) and http(s) mean the same. Default: `/ws` of
   * the page's origin. Its query is kept.
   */
  url?: string | URL;
  /** A name for this device, which others see. */
  device?: string;
  /**
   * The JWT, or what returns it. It is asked for each connection that has no session token, and
   * before the credential expires.
   */
  token?: string | (() => string | Promise<string>);
  /** A ticket, which is good for one connection: a string is used once. */
  ticket?: string | (() => string | undefined | Promise<string | undefined>);
  /** Keeps the session's token, and only that, over a reload of the page. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  /** Default: `switchboard.session`. */
  storageKey?: string;
  /** For environments without one of their own, and for tests; so are the next two. */
  WebSocket?: typeof WebSocket;
  fetch?: typeof fetch;
  /** A number from 0 to 1, for the time before an attempt to reconnect. */
  random?: () => number;
  /**
   * Called with each frame, behind the events that it causes. The raw text of the welcome has
   * the session's token in it, which is a secret.
   */
  onFrame?: (frame: Frame) => void;
}
/** How the client stands. */
type ConnectionState = {
  status: 'idle';
} /** `attempt` counts from 1 since the client was live for ten seconds. */ | {
  status: 'connecting';
  attempt: number;
} /** There is a connection, and what was missed is coming. */ | {
  status: 'restoring';
  attempt: number;
} /** `since` and `retryAt` are on the scale of Date.now(). */ | {
  status: 'live';
  since: number;
} | {
  status: 'waiting';
  attempt: number;
  retryAt: number;
  reason: string;
  code?: string;
} /** Until connect(): by close(), or because another attempt would be refused as well. */ | {
  status: 'closed';
  reason: string;
  code?: string;
  closeCode?: number;
};
/** What happens, by the name to listen to. */
interface Events {
  state: ConnectionState;
  /** A new message: each once, in the order of its topic. Text comes as `text` instead. */
  message: Incoming;
  /** A text stream has grown. */
  text: TextEvent;
  /** A thread as of a position, from openThread or because messages were lost. Show it instead of what you had. */
  snapshot: ThreadSnapshot;
  /** Messages that cannot be had any more. */
  gap: GapEvent;
  /** The client is where it would have been without the loss of the connection. */
  recovered: Recovery;
  outbox: OutboxItem;
  /** Somebody else has begun to type, or has stopped: said so, has said something, or was not heard of for 5 seconds. */
  typing: TypingEvent;
  /** How far the user has read: on another device, or before. It comes behind the snapshot of a thread, too, and when the client comes back. */
  readMarker: ReadMarkerEvent;
  /** Who is there now, in a room or of the user's own devices: at first, and when that changes. */
  presence: PresenceEvent;
  /** What answers nothing of ours. */
  error: SwitchboardError;
}
interface TextEvent {
  streamId: string;
  runId: string;
  topic: string;
  threadId?: string;
  /** `added` stands behind so many code points of what was there; 0: it replaces what was there. */
  start: number;
  added: string;
  /** The text from its beginning, without holes, as {@link Switchboard.text} has it. */
  text: string;
  /** In code points: how far the stream has come. */
  length: number;
  why: Why;
}
interface TypingEvent {
  userId: string;
  topic: string;
  threadId?: string;
  typing: boolean;
}
/** Of a thread of the user's own, or of a room. */
interface ReadMarkerEvent {
  threadId?: string;
  room?: string;
  position: Position;
}
/** What the user does on a device, as the device says. */
type DeviceState = 'active' | 'idle' | 'background';
interface PresenceEvent {
  /** A room's, or `user/<self>` for the user's own devices. */
  topic: string;
  /** All who are there, with their devices. Empty in a room with more than 256 users, until there are 200. */
  users: Presence[];
  /** How many there are. */
  count: number;
  /** There may be more: a part of the servers has not said who is there. All are told when it has. */
  incomplete: boolean;
}
interface GapEvent {
  topic: string;
  /** Exclusive. */
  from: Position;
  /** Inclusive. */
  to: Position;
  reason: string;
  /** How many messages; absent if nobody knows. */
  count?: number;
}
/** What a resume brought, counted from what came. */
interface Recovery {
  /** That the client named. */
  topics: number;
  /** That were missed, and came. */
  messages: number;
  /** Code points of texts that were missed, and came. */
  characters: number;
  /** In which both came. */
  frames: number;
  /** Messages that cannot be had any more, as gaps told. */
  lost: number;
  /** A gap did not tell how many messages it is about: `lost` is not all. */
  lostUnknown: boolean;
  /** From the welcome to here. */
  ms: number;
  /** From the loss of the connection to the welcome. */
  downMs: number;
  /** Where texts went on, in code points. */
  streams: {
    streamId: string;
    from: number;
    to: number;
  }[];
  /** Snapshots had to replace what was lost. */
  reopened: boolean;
}
/**
 * Why a frame came. `replay`: a missed message, or missed text; `snapshot`: a thread_snapshot; `answer`: to
 * something of ours; `duplicate`: the client had it, and dropped it; `control`: the connection's own.
 * Frames of ours are `control` or `live`.
 */
type Why = 'live' | 'replay' | 'snapshot' | 'answer' | 'duplicate' | 'control';
interface Frame {
  direction: 'in' | 'out';
  /** On the scale of performance.now(). */
  at: number;
  bytes: number;
  why: Why;
  envelope: Envelope;
  raw: string;
}
interface OutgoingMessage {
  /** `user_message`, `chat`, or one of the application's. */
  type: string;
  /** Becomes a JSON object. */
  payload?: object;
  /** The conversation; the default one if absent. */
  threadId?: string;
  /** The shared conversation that the thread is in; the user's own if absent. */
  room?: string;
  /** Makes sending safe to repeat: the server handles one id once. Default: a new UUIDv7. */
  id?: string;
}
/** A message on its way. It is what was known at the time: events bring newer ones with the same id. */
interface OutboxItem {
  id: string;
  type: string;
  payload: unknown;
  threadId?: string;
  status: 'sending' | 'sent' | 'failed';
  /** In its topic, once sent. */
  position?: Position;
  /** The run that took it, if an agent did. */
  runId?: string;
  /** What the server said. */
  ack?: Ack;
  /** Why it failed. */
  error?: SwitchboardError;
  queuedAt: number;
}
/** A conversation as of `position`. */
interface ThreadSnapshot {
  topic: string;
  threadId: string;
  room?: string;
  /** Oldest first. */
  messages: Incoming[];
  /** Those that are live, with their texts: text events go on behind them. */
  runs: Run[];
  /** Events that come later are behind it. */
  position: Position;
  /** There are older messages: openThread with `before`. */
  hasMore: boolean;
  /** Messages were lost, and this replaces them; nobody asked. */
  reopened: boolean;
}
interface StopResult {
  status: 'ok' | 'already_ended' | 'not_found';
  runs: StoppedRun[];
}
/**
 * The application's own messages: type → payload. Declare them by merging, and `switch (m.type)` knows them:
 * `declare module '@netra-systems/switchboard' { interface ApplicationMessages { shipped: { order: number } } }`
 */
interface ApplicationMessages {}
type Labels = Omit<Envelope, 'type' | 'payload'>;
type MessagesOf<Payloads> = { [T in keyof Payloads]: Labels & {
  type: T;
  payload: Payloads[T];
} }[keyof Payloads];
/** Everything that a server sends. */
type ServerMessage = MessagesOf<ServerPayloads> | MessagesOf<ApplicationMessages> | ErrorMessage;
/** What the client takes for itself, or tells by other events. */
type Internal = 'system_message' | 'session_restored' | 'auth_ok' | 'auth_expiring' | 'ping' | 'pong' | 'heartbeat_ack' | 'server_shutdown' | 'ack' | 'error_message' | 'gap' | 'subscribed' | 'unsubscribed' | 'thread_snapshot' | 'history_result' | 'stream_chunk' | 'user_typing' | 'read_marker' | 'presence_state' | 'presence_diff';
/** A message of a topic, or one that is not kept, such as agent_typing. */
type Incoming = Exclude<ServerMessage, {
  type: Internal;
}> & {
  /** Its place in its topic, if it has one: unique, and the same in events and snapshots. */position?: Position;
  why: Why;
};
/** A verb's payload and the payload of its answer. */
interface Verbs {
  subscribe: [SubscribeRequest, SubscribedPayload];
  unsubscribe: [SubscribeRequest, SubscribedPayload];
  join_room: [JoinRoomRequest, RoomJoinedPayload];
  leave_room: [JoinRoomRequest, RoomLeftPayload];
  room_message: [RoomMessageRequest & Record<string, unknown>, Ack];
  history: [HistoryRequest, HistoryResultPayload];
  thread_open: [ThreadOpenRequest, Thread];
  switch_thread: [ThreadOpenRequest, Thread];
  stop_agent: [StopAgentRequest, Ack];
  steer: [SteerRequest, Ack];
  approve: [ApproveRequest, Ack];
  reject: [ApproveRequest, Ack];
  auth: [AuthRequest, AuthOKPayload];
  mark_read: [MarkReadRequest, Ack];
  presence_update: [PresenceUpdateRequest, Ack];
  ping: [object, object];
  heartbeat: [object, object];
}
/** A verb of the protocol, or a type of the application that is answered by an ack. */
type Verb = keyof Verbs | (string & {});
type VerbPayload<V extends Verb> = V extends keyof Verbs ? Verbs[V][0] : object;
type VerbAnswer<V extends Verb> = V extends keyof Verbs ? Verbs[V][1] : Ack;
//#endregion
//#region src/threads.d.ts
interface ThreadOptions {
  threadId: string;
  /** The room that the thread is in; the user's own topic if absent. */
  room?: string;
  /** Messages, at most 1000; default 50. */
  limit?: number;
  /** For older messages: nothing else changes then. */
  before?: Position;
}
//#endregion
//#region src/typing.d.ts
/** Where somebody types. */
interface TypingPlace {
  /** The user's own topic if absent. */
  room?: string;
  /** The default thread if absent. */
  threadId?: string;
}
//#endregion
//#region src/switchboard.d.ts
/**
 * A session with a Switchboard server, over any number of connections. It begins with
 * connect(), and from then on keeps itself connected until close(), or until the server
 * refuses it for good, which the state `closed` tells.
 */
declare class Switchboard {
  #private;
  constructor(options?: Options);
  /** Begins, or, while it waits to try again, does so at once. Else it does nothing. */
  connect(): void;
  /** Leaves. Requests that wait end with `CLOSED`; the outbox stays. A later connect() goes on where it was. */
  close(reason?: string): void;
  get state(): ConnectionState;
  /** Who the server says that this is; undefined before the first connection. */
  get user(): string | undefined;
  /** The session, which is this device among those that `presence` tells; undefined before the first connection. */
  get sessionId(): string | undefined;
  /** Calls listener at each event, within the frame that causes it. Returns what ends that. */
  on<K extends keyof Events>(event: K, listener: (e: Events[K]) => void): () => void;
  /**
   * Sends a message, now or once there is a connection, again on each new one, and with the same
   * id, which the server handles once. Messages arrive in the order of their sending. It
   * throws `OUTBOX_FULL` if a thousand messages or 4 MiB wait already. What the server never answers, such
   * as typing_started, is sent now or fails.
   */
  send(message: OutgoingMessage): OutboxItem;
  /**
   * Says that the user has seen a message and all before it in its topic. It is told within seconds, also on another
   * connection. That messages have arrived is told by itself. Of what has no position there is nothing to say.
   */
  seen(message: Pick<Incoming, 'topic' | 'position'>): void;
  /**
   * Says that the user types in a thread of a room, or of the user's own; call it at each key. The server is told every two
   * seconds at most, and that it has ended with `types` false, by a message that is sent there, or by itself after
   * five seconds. Others hear of it by `typing`.
   */
  typing({
    room,
    threadId
  }?: TypingPlace, types?: boolean): void;
  /**
   * Says what the user does on this device, and with `meta`, of 1 KiB at most, what else others are to see. It is said again on each new
   * connection. Who else is there is told by `presence`: of the user's own other devices once this was called.
   */
  presence(state: DeviceState, meta?: object): void;
  /**
   * Says how far the user has read a thread of the user's own (the default one without any name) or a room, and returns how
   * far that is now: markers move forward only. The user's other devices hear of it by `readMarker`.
   */
  markRead({
    threadId,
    room,
    position
  }: ReadMarkerEvent): Promise<Position>;
  /** Tries a failed item again, with the same id. */
  retry(id: string): void;
  /** Takes a failed item out of the outbox, where it has taken room. It reports whether there was one. */
  discard(id: string): boolean;
  /** What is sending or has failed, in order. */
  get outbox(): readonly OutboxItem[];
  /**
   * Sends a verb and returns the payload of its answer. It waits for a connection, and asks again, with the
   * same id, if that is lost. It rejects with a {@link SwitchboardError}; after `TIMEOUT` (30 s if not said) and
   * `ABORTED` nothing is known.
   */
  request<V extends Verb>(type: V, payload: VerbPayload<V>, options?: {
    signal?: AbortSignal;
    timeoutMs?: number;
  }): Promise<VerbAnswer<V>>;
  /**
   * Opens a thread: the snapshot is the thread as of its position, to be shown instead of what events have told of
   * it before. Each event that comes after it, whether one awaits this promise or listens to `snapshot`, is behind
   * that position; text events go on behind the texts in it. The thread stays open: if its messages are lost, it is
   * opened again, and `snapshot` tells. With `before` it is an older page, and nothing else changes. The promise waits
   * for a connection as long as it takes; it rejects with the server's refusal, and with `CLOSED`.
   */
  openThread(options: ThreadOptions): Promise<ThreadSnapshot>;
  /** Stops a run, the runs of a thread, or all of the user's. */
  stop(target: {
    runId: string;
  } | {
    threadId: string;
  } | {
    all: true;
  }, reason?: string): Promise<StopResult>;
  /** A text stream as far as it is here; undefined if nothing is known of it. The id is that of stream_open. */
  text(streamId: string): StreamText | undefined;
  /** A ticket for one connection of the same user, for another device say; good for 300 seconds if not said. */
  mintTicket(ttlSeconds?: number): Promise<string>;
}
//#endregion
//#region src/chunks.d.ts
/** A text from its beginning, and its length in Unicode code points, which is how the protocol counts. */
interface TextState {
  text: string;
  length: number;
}
/** What became of a chunk. */
interface Applied extends TextState {
  /** What was new in the chunk: `text` ends with it. Empty if the text had all of it. */
  added: string;
  /** How many code points are missing before the chunk. If it is not 0, nothing of the chunk was taken. */
  hole: number;
}
/**
 * Puts a stream_chunk behind a text. `start` counts code points, while strings of JavaScript
 * count UTF-16 units: an emoji is 1 there and 2 here. What the text has already is cut off;
 * it is never looked at, so that a long text costs no more than a short one.
 */
declare function applyChunk(state: TextState, chunk: {
  start: number;
  text: string;
}): Applied;
/** The length of s in Unicode code points; a surrogate without its other half counts as one. */
declare function codePoints(s: string): number;
//#endregion
//#region src/ids.d.ts
/**
 * A new UUIDv7 (RFC 9562). It is not made by crypto.randomUUID, which browsers hide from pages
 * that came over plain http from another machine.
 */
declare function newId(now?: number): string;
//#endregion
export { Ack, AckRequest, AgentCancelledPayload, AgentCompletedPayload, AgentDeathPayload, AgentErrorPayload, AgentLogPayload, AgentStalledPayload, AgentStartedPayload, AgentThinkingPayload, ApplicationMessages, type Applied, Approval, ApprovalResolvedPayload, ApproveRequest, AuthExpiringPayload, AuthOKPayload, AuthRequest, ClientPayloads, Closing, Config, ConnectionState, Device, DeviceState, Envelope, type ErrorCode, ErrorContext, ErrorMessage, Events, FinalReportPayload, Frame, Gap, GapEvent, HistoryRequest, HistoryResultPayload, Incoming, JoinRoomRequest, LogoutRequest, MarkReadRequest, Options, OutboxItem, OutgoingMessage, PartialResultPayload, Position, Presence, PresenceDiffPayload, PresenceEvent, PresenceStatePayload, PresenceUpdateRequest, Progress, ProgressUpdatePayload, ReadMarkerEvent, ReadMarkerPayload, Recovery, Restore, Restored, RestoredRun, RestoredTopic, RoomJoinedPayload, RoomLeftPayload, RoomMessageRequest, Run, ServerMessage, ServerPayloads, ServerShutdownPayload, SessionInfo, SteerRequest, StopAgentRequest, StopResult, StoppedRun, Stream, StreamChunkPayload, StreamCompletePayload, StreamOpenPayload, type StreamText, SubagentPayload, SubscribeRequest, SubscribedPayload, Switchboard, SwitchboardError, TextEvent, type TextState, Thread, ThreadOpenRequest, type ThreadOptions, ThreadSnapshot, ToolCompletedPayload, ToolExecutingPayload, Truncation, TypingEvent, TypingPayload, type TypingPlace, TypingRequest, Verb, VerbAnswer, VerbPayload, Welcome, Why, applyChunk, codePoints, newId };
