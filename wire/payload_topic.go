package wire

import "encoding/json"

// Gap is the payload of gap: messages that cannot be delivered any more. Delivery goes on
// with what is kept after To. It comes before the topic's next message.
type Gap struct {
	Topic string   `json:"topic"` // address
	From  Position `json:"from"`  // exclusive: the last message that was delivered
	To    Position `json:"to"`    // inclusive; "<new epoch>:0" if the epoch has changed
	// Reason is "expired", "epoch_changed" or "volatile".
	Reason string `json:"reason"`
	// Count is how many messages were lost; 0 if that is not known.
	Count    uint64 `json:"count,omitzero"`
	Epoch    string `json:"epoch,omitzero"`     // with epoch_changed: the former one
	NewEpoch string `json:"new_epoch,omitzero"` // with epoch_changed
}

// Why there is a gap, and why a topic could not be restored.
const (
	// ReasonExpired means that the topic does not keep so much.
	ReasonExpired = "expired"
	// ReasonEpochChanged means that the topic's log began anew.
	ReasonEpochChanged = "epoch_changed"
	// ReasonVolatile means that the receiver was behind and volatile messages were skipped.
	ReasonVolatile = "volatile"
	// ReasonForbidden means that the topic may not be read, or is not there.
	ReasonForbidden = "forbidden"
)

// SubscribeRequest is the payload of subscribe and unsubscribe.
type SubscribeRequest struct {
	Rooms   []string `json:"rooms,omitempty"`   // room ids, not addresses
	Threads []string `json:"threads,omitempty"` // whose streams and volatile messages to get
	// Since has positions to start from, by topic address; other rooms start now. It does
	// not count in unsubscribe.
	Since map[string]Position `json:"since,omitempty"`
}

// SubscribedPayload is the payload of subscribed and unsubscribed.
type SubscribedPayload struct {
	// Topics has the position of each topic concerned, by address. Messages after it will
	// come, or come no more.
	Topics map[string]Position `json:"topics"`
}

// JoinRoomRequest is the payload of join_room and leave_room.
type JoinRoomRequest struct {
	Room string `json:"room"`
}

// RoomJoinedPayload is the payload of room_joined. Messages after Position will come.
type RoomJoinedPayload struct {
	Room     string   `json:"room"`
	Members  []string `json:"members"` // user ids
	Position Position `json:"position"`
}

// RoomLeftPayload is the payload of room_left. Nothing of the room comes after it.
type RoomLeftPayload struct {
	Room string `json:"room"`
	// Reason is "left", "removed" or "forbidden".
	Reason string `json:"reason"`
}

// RoomMessageRequest is what the core reads of a room_message; other members are for the
// receivers and pass through.
type RoomMessageRequest struct {
	Room string `json:"room"`
}

// ThreadOpenRequest is the payload of thread_open and switch_thread. The last two fields
// count in thread_open only.
type ThreadOpenRequest struct {
	ThreadID string   `json:"thread_id"`
	Room     string   `json:"room,omitzero"`   // the room it is in; empty: the user's own topic
	Limit    int      `json:"limit,omitzero"`  // messages, at most 1000; 0: 50
	Before   Position `json:"before,omitzero"` // for older messages; zero: the newest
}

// Thread is the payload of thread_snapshot: a conversation as a joining client gets it.
// Live messages follow from Position exactly.
type Thread struct {
	Messages []Envelope `json:"messages"` // oldest first
	Runs     []Run      `json:"runs"`     // live ones
	Position Position   `json:"position"`
	HasMore  bool       `json:"has_more"` // there are older messages
}

// HistoryRequest is the payload of history: messages after Since or before Before, or the
// newest ones if both are zero.
type HistoryRequest struct {
	Topic    string   `json:"topic"` // address
	Since    Position `json:"since,omitzero"`
	Before   Position `json:"before,omitzero"`
	ThreadID string   `json:"thread_id,omitzero"` // only of this thread
	Limit    int      `json:"limit,omitzero"`     // messages, at most 1000; 0: 50
}

// HistoryResultPayload is the payload of history_result.
type HistoryResultPayload struct {
	Messages []Envelope `json:"messages"` // oldest first
	Head     Position   `json:"head"`     // of the topic
	HasMore  bool       `json:"has_more"` // in the direction that was asked for
	Gap      *Gap       `json:"gap,omitempty"`
}

// MarkReadRequest is the payload of mark_read: one of ThreadID and Room, and the position
// up to which the user has read.
type MarkReadRequest struct {
	ThreadID string   `json:"thread_id,omitzero"`
	Room     string   `json:"room,omitzero"`
	Position Position `json:"position"`
}

// ReadMarkerPayload is the payload of read_marker.
type ReadMarkerPayload MarkReadRequest

// TypingRequest is the payload of typing_started and typing_stopped; the thread is in the
// envelope.
type TypingRequest struct {
	Room string `json:"room,omitzero"` // empty: the user's own topic
}

// TypingPayload is the payload of user_typing and agent_typing.
type TypingPayload struct {
	UserID    string  `json:"user_id,omitzero"`    // in user_typing
	AgentName string  `json:"agent_name,omitzero"` // in agent_typing
	IsTyping  bool    `json:"is_typing"`
	ExpiresIn float64 `json:"expires_in,omitzero"` // seconds after which it ends by itself
}

// PresenceUpdateRequest is the payload of presence_update.
type PresenceUpdateRequest struct {
	// State is "active", "idle" or "background".
	State string `json:"state"`
	// Meta is a small JSON object that others see beside the state.
	Meta json.RawMessage `json:"meta,omitempty"`
}

// What a device may be.
const (
	StateActive     = "active"     // the user looks at it
	StateIdle       = "idle"       // the user does nothing
	StateBackground = "background" // the application is not seen
)

// Presence is one user's presence in presence_state and presence_diff.
type Presence struct {
	UserID  string   `json:"user_id"`
	Online  bool     `json:"online"`
	Since   float64  `json:"since,omitzero"` // seconds since 1970
	Devices []Device `json:"devices"`
}

// Device is one session of a user.
type Device struct {
	SessionID    string          `json:"session_id"`
	Name         string          `json:"name,omitzero"` // as the device called itself
	State        string          `json:"state"`
	LastActivity float64         `json:"last_activity,omitzero"` // seconds since 1970
	Meta         json.RawMessage `json:"meta,omitempty"`
}

// PresenceStatePayload is the payload of presence_state: who is in the room, or on which devices
// the user is. Of a room with more than 256 users it tells the number only, until there are 200.
type PresenceStatePayload struct {
	Users      []Presence `json:"users"`
	Count      int        `json:"count"`               // of users
	Incomplete bool       `json:"incomplete,omitzero"` // a node has not said who is there: another one follows
}

// PresenceDiffPayload is the payload of presence_diff: what changed since the last state or
// difference. Of a room with more than 256 users it tells the number only, until there are 200.
type PresenceDiffPayload struct {
	Joins   []Presence `json:"joins"`
	Leaves  []Presence `json:"leaves"`
	Updates []Presence `json:"updates"`
	Count   int        `json:"count"` // of users, from now on
}
