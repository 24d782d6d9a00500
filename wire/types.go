package wire

import "iter"

// MessageType says what a message is. It is one of the constants below or any other id
// that an application makes up; types pass through unchanged, known or not.
//
// The comment behind each constant names who sends it: a client, the server, or (for
// what only the inbox of back ends carries) the inbox. From this file the table behind
// [Types] is generated.
type MessageType string

// Connection: how a connection begins, lives and ends.
const (
	// SystemMessage is the first message on every connection, with a [Welcome], and the last
	// one of an event stream, with a [Closing].
	SystemMessage MessageType = "system_message" // server
	// SessionRestore tells, with a [Restore], what a client that comes back has already.
	SessionRestore MessageType = "session_restore" // client
	// SessionRestored answers session_restore, with a [Restored]; what was missed follows.
	SessionRestored MessageType = "session_restored" // server
	// Auth proves the user again on an open connection, with an [AuthRequest].
	Auth MessageType = "auth" // client
	// AuthOK answers auth, with an [AuthOKPayload].
	AuthOK MessageType = "auth_ok" // server
	// AuthExpiring warns a minute before the credential expires, with an [AuthExpiringPayload].
	AuthExpiring MessageType = "auth_expiring" // server
	// Logout ends the session, with a [LogoutRequest]; the connection closes with 1000.
	Logout MessageType = "logout" // client
	// Ping asks for a pong. Servers send it too, to clients that asked for heartbeat=app.
	Ping MessageType = "ping" // client, server
	// Pong answers ping, with a [PongPayload] when it comes from the server.
	Pong MessageType = "pong" // client, server
	// Heartbeat asks for a heartbeat_ack, as ping does for a pong.
	Heartbeat MessageType = "heartbeat" // client
	// HeartbeatAck answers heartbeat.
	HeartbeatAck MessageType = "heartbeat_ack" // client, server
	// ServerShutdown says when to reconnect, with a [ServerShutdownPayload]; close 1012 follows.
	ServerShutdown MessageType = "server_shutdown" // server
)

// Answers: what servers say about messages of clients, and about loss.
const (
	// AckType confirms a message, with an [Ack]. From a client it reports watermarks,
	// with an [AckRequest], and is not answered.
	AckType MessageType = "ack" // client, server
	// ErrorMessageType refuses a message, or tells of an error; see [ErrorMessage].
	ErrorMessageType MessageType = "error_message" // server
	// GapType says, with a [Gap], that messages of a topic cannot be delivered.
	GapType MessageType = "gap" // server
)

// Conversation: what people and applications say.
const (
	// UserMessage is a user's message to an agent. It is appended to the topic first, so
	// that every device sees it.
	UserMessage MessageType = "user_message" // client, server
	// Chat is a user's message, like user_message.
	Chat MessageType = "chat" // client, server
	// StartAgent asks for an agent without saying anything in the conversation.
	StartAgent MessageType = "start_agent" // client
)

// Rooms: following and membership.
const (
	// Subscribe follows rooms and threads, with a [SubscribeRequest].
	Subscribe MessageType = "subscribe" // client
	// Unsubscribe stops following, with a [SubscribeRequest].
	Unsubscribe MessageType = "unsubscribe" // client
	// Subscribed answers subscribe, with a [SubscribedPayload].
	Subscribed MessageType = "subscribed" // server
	// Unsubscribed answers unsubscribe, with a [SubscribedPayload].
	Unsubscribed MessageType = "unsubscribed" // server
	// JoinRoom makes the user a member and this connection a follower, with a [JoinRoomRequest].
	JoinRoom MessageType = "join_room" // client
	// LeaveRoom ends the membership, with a [JoinRoomRequest].
	LeaveRoom MessageType = "leave_room" // client
	// RoomJoined answers join_room, with a [RoomJoinedPayload].
	RoomJoined MessageType = "room_joined" // server
	// RoomLeft answers leave_room or tells of a removal, with a [RoomLeftPayload].
	RoomLeft MessageType = "room_left" // server
	// RoomMessage speaks to all who follow a room, with a [RoomMessageRequest].
	RoomMessage MessageType = "room_message" // client, server
)

// Threads and history: what was said before.
const (
	// ThreadOpen asks for a thread and watches it from there, with a [ThreadOpenRequest].
	ThreadOpen MessageType = "thread_open" // client
	// SwitchThread is thread_open that stops watching the former thread.
	SwitchThread MessageType = "switch_thread" // client
	// ThreadSnapshot answers both, with a [Thread].
	ThreadSnapshot MessageType = "thread_snapshot" // server
	// History asks for a part of a topic's log, with a [HistoryRequest].
	History MessageType = "history" // client
	// HistoryResult answers history, with a [HistoryResultPayload].
	HistoryResult MessageType = "history_result" // server
	// MarkRead says how far the user has read, with a [MarkReadRequest].
	MarkRead MessageType = "mark_read" // client
	// ReadMarker tells the user's other devices of mark_read, with a [ReadMarkerPayload].
	ReadMarker MessageType = "read_marker" // server
)

// Presence: who is there and who types.
const (
	// PresenceUpdate sets the state of this device, with a [PresenceUpdateRequest].
	PresenceUpdate MessageType = "presence_update" // client
	// PresenceState says who is there, with a [PresenceStatePayload].
	PresenceState MessageType = "presence_state" // server
	// PresenceDiff says what changed since, with a [PresenceDiffPayload].
	PresenceDiff MessageType = "presence_diff" // server
	// TypingStarted says that the user types, with a [TypingRequest]. It is not answered.
	TypingStarted MessageType = "typing_started" // client
	// TypingStopped says that the user types no more, with a [TypingRequest].
	TypingStopped MessageType = "typing_stopped" // client
	// UserTyping tells others about both, with a [TypingPayload].
	UserTyping MessageType = "user_typing" // server
	// AgentTyping says that an agent is about to answer, with a [TypingPayload].
	AgentTyping MessageType = "agent_typing" // server
)

// Control: what people tell running agents.
const (
	// StopAgent cancels runs, with a [StopAgentRequest].
	StopAgent MessageType = "stop_agent" // client
	// Steer puts text into the input of a run, with a [SteerRequest].
	Steer MessageType = "steer" // client
	// Approve says yes to an approval, with an [ApproveRequest].
	Approve MessageType = "approve" // client
	// Reject says no to an approval, with an [ApproveRequest].
	Reject MessageType = "reject" // client
)

// Run events: what a run tells its viewers. They can be published by their run only.
const (
	// AgentStarted is the first event of a run, with an [AgentStartedPayload].
	AgentStarted MessageType = "agent_started" // server
	// AgentThinking tells what the agent is about, with an [AgentThinkingPayload].
	AgentThinking MessageType = "agent_thinking" // server
	// ToolExecuting says that a tool call begins, with a [ToolExecutingPayload].
	ToolExecuting MessageType = "tool_executing" // server
	// ToolCompleted ends a tool call, with a [ToolCompletedPayload].
	ToolCompleted MessageType = "tool_completed" // server
	// AgentCompleted is the last event of a run that did its work, with an [AgentCompletedPayload].
	AgentCompleted MessageType = "agent_completed" // server
	// AgentError is the last event of a run that failed, with an [AgentErrorPayload].
	AgentError MessageType = "agent_error" // server
	// AgentCancelled is the last event of a run that was stopped, with an [AgentCancelledPayload].
	AgentCancelled MessageType = "agent_cancelled" // server
	// AgentDeath is the last event of a run whose producer was lost, with an [AgentDeathPayload].
	AgentDeath MessageType = "agent_death" // server
	// AgentStalled says that a run has been silent for long, with an [AgentStalledPayload].
	AgentStalled MessageType = "agent_stalled" // server
	// ProgressUpdate tells how far a run is, with a [ProgressUpdatePayload].
	ProgressUpdate MessageType = "progress_update" // server
	// PartialResult is a part of the result, with a [PartialResultPayload].
	PartialResult MessageType = "partial_result" // server
	// FinalReport is the result in full, with a [FinalReportPayload].
	FinalReport MessageType = "final_report" // server
	// SubagentStarted says that the agent has called another, with a [SubagentPayload].
	SubagentStarted MessageType = "subagent_started" // server
	// SubagentCompleted ends what subagent_started began, with a [SubagentPayload].
	SubagentCompleted MessageType = "subagent_completed" // server
	// AgentLog is a line of the agent's log, with an [AgentLogPayload].
	AgentLog MessageType = "agent_log" // server
	// ApprovalRequested asks the viewers, with an [Approval].
	ApprovalRequested MessageType = "approval_requested" // server
	// ApprovalResolved tells the first answer, with an [ApprovalResolvedPayload].
	ApprovalResolved MessageType = "approval_resolved" // server
	// StreamOpen begins a text stream, with a [StreamOpenPayload].
	StreamOpen MessageType = "stream_open" // server
	// StreamChunk is text of a stream, with a [StreamChunkPayload]. It has no offset.
	StreamChunk MessageType = "stream_chunk" // server
	// StreamComplete ends a text stream, with a [StreamCompletePayload].
	StreamComplete MessageType = "stream_complete" // server
)

// Inbox events: what back ends hear about their users besides their messages.
const (
	// ConnectionOpened says that a user has connected a device.
	ConnectionOpened MessageType = "connection.opened" // inbox
	// ConnectionClosed says that a connection has ended.
	ConnectionClosed MessageType = "connection.closed" // inbox
	// UserOnline says that a user's first device is there.
	UserOnline MessageType = "user.online" // inbox
	// UserOffline says that a user's last device has been gone for the grace period.
	UserOffline MessageType = "user.offline" // inbox
	// RoomOccupied says that somebody follows a room that was empty.
	RoomOccupied MessageType = "room.occupied" // inbox
	// RoomVacated says that nobody follows a room any more.
	RoomVacated MessageType = "room.vacated" // inbox
	// RunFinished says that a run has ended, with its result and report.
	RunFinished MessageType = "run.finished" // inbox
)

// Quality: the messages of package quality.
const (
	// GetQualityMetrics asks for the figures of one agent or of all.
	GetQualityMetrics MessageType = "get_quality_metrics" // client
	// QualityMetrics answers get_quality_metrics.
	QualityMetrics MessageType = "quality_metrics" // server
	// SubscribeQualityAlerts begins or ends the delivery of alerts.
	SubscribeQualityAlerts MessageType = "subscribe_quality_alerts" // client
	// QualityAlertsSubscribed answers subscribe_quality_alerts.
	QualityAlertsSubscribed MessageType = "quality_alerts_subscribed" // server
	// QualityAlertsUnsubscribed answers subscribe_quality_alerts too.
	QualityAlertsUnsubscribed MessageType = "quality_alerts_unsubscribed" // server
	// QualityUpdate carries new figures to those who subscribed.
	QualityUpdate MessageType = "quality_update" // server
	// QualityAlert carries an alert to those who subscribed.
	QualityAlert MessageType = "quality_alert" // server
	// ValidateContent asks for a judgement about a text.
	ValidateContent MessageType = "validate_content" // client
	// ContentValidationResult answers validate_content.
	ContentValidationResult MessageType = "content_validation_result" // server
	// GenerateQualityReport asks for a report.
	GenerateQualityReport MessageType = "generate_quality_report" // client
	// QualityReportGenerated answers generate_quality_report.
	QualityReportGenerated MessageType = "quality_report_generated" // server
)

// Carried: types of older applications. They keep their names here so that nobody gives
// them another meaning; the core treats them as it does an application's own.
const (
	// Connect announces a client.
	Connect MessageType = "connect" // client, server
	// Disconnect announces that a client leaves.
	Disconnect MessageType = "disconnect" // client, server
	// AgentRequest asks an agent.
	AgentRequest MessageType = "agent_request" // client
	// AgentTask gives work to an agent.
	AgentTask MessageType = "agent_task" // client
	// AgentTaskAck confirms agent_task.
	AgentTaskAck MessageType = "agent_task_ack" // server
	// AgentResponse is an agent's answer.
	AgentResponse MessageType = "agent_response" // server
	// AgentResponseChunk is a part of an agent's answer.
	AgentResponseChunk MessageType = "agent_response_chunk" // server
	// AgentResponseComplete ends an agent's answer.
	AgentResponseComplete MessageType = "agent_response_complete" // server
	// AgentStatusRequest asks how an agent is.
	AgentStatusRequest MessageType = "agent_status_request" // client
	// AgentStatusUpdate tells how an agent is.
	AgentStatusUpdate MessageType = "agent_status_update" // server
	// AgentProgress tells how far an agent is.
	AgentProgress MessageType = "agent_progress" // server
	// ThreadUpdate says that a thread has changed.
	ThreadUpdate MessageType = "thread_update" // client, server
	// ThreadMessage is a message in a thread.
	ThreadMessage MessageType = "thread_message" // client, server
	// Broadcast is a message to everybody.
	Broadcast MessageType = "broadcast" // server
	// BroadcastTest is a broadcast of a test.
	BroadcastTest MessageType = "broadcast_test" // client, server
	// DirectMessage is a message to one user.
	DirectMessage MessageType = "direct_message" // client, server
	// JSONRPCRequest is a JSON-RPC request in an envelope.
	JSONRPCRequest MessageType = "jsonrpc_request" // client
	// JSONRPCResponse is a JSON-RPC response in an envelope.
	JSONRPCResponse MessageType = "jsonrpc_response" // server
	// JSONRPCNotification is a JSON-RPC notification in an envelope.
	JSONRPCNotification MessageType = "jsonrpc_notification" // client, server
	// ResilienceTest is a message of a test.
	ResilienceTest MessageType = "resilience_test" // client, server
	// RecoveryTest is a message of a test.
	RecoveryTest MessageType = "recovery_test" // client, server
)

// TypeInfo describes a message type of this package.
type TypeInfo struct {
	Type  MessageType
	Group string // such as "Run events"
	Doc   string // what it is: a sentence, or some, of plain text
	// FromClient and FromServer say who sends it. Neither: back ends get it from the inbox.
	FromClient, FromServer bool
	Verb                   bool // see [MessageType.Verb]
	RunEvent               bool // see [MessageType.RunEvent]
}

// Types yields every message type of this package once, in documented order.
func Types() iter.Seq[TypeInfo] {
	return func(yield func(TypeInfo) bool) {
		for _, info := range typeTable {
			info.Verb, info.RunEvent = info.Type.Verb(), info.Type.RunEvent()
			if !yield(info) {
				return
			}
		}
	}
}

// Verb reports whether the core itself answers t when a client sends it, so that no
// handler can be registered for it. What users say (user_message, chat, start_agent) and
// types of applications are not verbs.
func (t MessageType) Verb() bool {
	switch t {
	case SessionRestore, Auth, Logout, Ping, Pong, Heartbeat, HeartbeatAck, AckType,
		Subscribe, Unsubscribe, JoinRoom, LeaveRoom, RoomMessage,
		ThreadOpen, SwitchThread, History, MarkRead,
		PresenceUpdate, TypingStarted, TypingStopped,
		StopAgent, Steer, Approve, Reject:
		return true
	}
	return false
}

// Answered reports whether the server answers a message of type t from a client. What it
// does not answer it may still refuse, with an error_message.
func (t MessageType) Answered() bool {
	switch t {
	case Pong, HeartbeatAck, AckType, TypingStarted, TypingStopped:
		return false
	}
	return true
}

// RunEvent reports whether t is an event of a run. Such a message can come from its run
// only; anybody else is refused with RUN_CONTRACT.
func (t MessageType) RunEvent() bool {
	switch t {
	case AgentStarted, AgentThinking, ToolExecuting, ToolCompleted, AgentCompleted, AgentError,
		AgentCancelled, AgentDeath, AgentStalled, ProgressUpdate, PartialResult, FinalReport,
		SubagentStarted, SubagentCompleted, AgentLog, ApprovalRequested, ApprovalResolved,
		StreamOpen, StreamChunk, StreamComplete:
		return true
	}
	return false
}
