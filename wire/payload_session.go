package wire

// Welcome is the payload of the system_message that begins every connection.
type Welcome struct {
	Event        string      `json:"event"` // always "connection_established"
	ConnectionID string      `json:"connection_id"`
	UserID       string      `json:"user_id"`
	ServerTime   float64     `json:"server_time"` // seconds since 1970
	Config       Config      `json:"config"`
	Session      SessionInfo `json:"session"`
	// Held says that no topic message comes until the client sends session_restore, or 2 s pass.
	Held bool `json:"held"`
	// Topics has the position of each topic that the connection follows, by address. Messages
	// after it will come.
	Topics map[string]Position `json:"topics"`
}

// WelcomeEvent is the event of a [Welcome].
const WelcomeEvent = "connection_established"

// Closing is the payload of the system_message that ends an event stream, which has no close
// frames: it says what they would.
type Closing struct {
	Event  string    `json:"event"` // always "connection_closed"
	Code   CloseCode `json:"code"`
	Reason string    `json:"reason"`
}

// ClosingEvent is the event of a [Closing].
const ClosingEvent = "connection_closed"

// Config is what a client has to know about the server's settings.
type Config struct {
	HeartbeatInterval float64 `json:"heartbeat_interval"` // seconds between pings of the server
	MaxMessageSize    int     `json:"max_message_size"`   // bytes of a frame from the client
}

// SessionInfo identifies a session and lets it be resumed.
type SessionInfo struct {
	ID string `json:"id"` // stays when the session is resumed
	// Token is the credential for the next connection; each connection gives a new one. It
	// is a secret and travels as a subprotocol or header, never in a URL.
	Token     string  `json:"token"`
	ExpiresAt float64 `json:"expires_at,omitzero"` // of Token, seconds since 1970; 0: never
}

// Restore is the payload of session_restore: what the client has already. All of it is
// optional.
type Restore struct {
	// Positions are by topic address. Topics that are not named go on from the welcome's.
	Positions map[string]Position `json:"positions,omitempty"`
	// Streams has the length of each unfinished text, in code points, by stream id.
	Streams map[string]int `json:"streams,omitempty"`
	// Replace is the id of the client's former connection, which is closed with 4003.
	Replace string `json:"replace,omitzero"`
}

// Restored is the payload of session_restored. It comes before the first replayed message.
type Restored struct {
	Topics map[string]RestoredTopic `json:"topics"` // by address, those that the client named
	Runs   []RestoredRun            `json:"runs"`   // that are live on the topics
	Rewind bool                     `json:"rewind,omitzero"`
}

// RestoredTopic says what becomes of one topic after a restore.
type RestoredTopic struct {
	Recovered bool     `json:"recovered"`       // everything after From comes
	From      Position `json:"from,omitzero"`   // where replay begins; absent unless Recovered
	Head      Position `json:"head,omitzero"`   // of the topic now; absent if Reason is forbidden
	Reason    string   `json:"reason,omitzero"` // expired, epoch_changed or forbidden
}

// RestoredRun is a live run in the answer to a restore.
type RestoredRun struct {
	RunID         string         `json:"run_id"`
	ThreadID      string         `json:"thread_id,omitzero"`
	AgentName     string         `json:"agent_name"`
	State         RunState       `json:"state"`
	StreamLengths map[string]int `json:"stream_lengths"` // code points, by stream id
}

// AuthRequest is the payload of auth: exactly one of a token and a ticket. Its user must be
// the connection's.
type AuthRequest struct {
	Token  string `json:"token,omitzero"`
	Ticket string `json:"ticket,omitzero"`
}

// AuthOKPayload is the payload of auth_ok.
type AuthOKPayload struct {
	ExpiresAt   float64     `json:"expires_at,omitzero"` // seconds since 1970; 0: never
	Permissions []string    `json:"permissions"`
	Session     SessionInfo `json:"session"` // with a new token
}

// AuthExpiringPayload is the payload of auth_expiring.
type AuthExpiringPayload struct {
	ExpiresAt float64 `json:"expires_at"` // seconds since 1970
	InSeconds float64 `json:"in_seconds"`
}

// LogoutRequest is the payload of logout.
type LogoutRequest struct {
	Everywhere bool `json:"everywhere,omitzero"` // all sessions of the user, not only this one
}

// PongPayload is the payload of the server's pong.
type PongPayload struct {
	Timestamp float64 `json:"timestamp"` // when the ping was handled, seconds since 1970
}

// ServerShutdownPayload is the payload of server_shutdown.
type ServerShutdownPayload struct {
	// ReconnectAfterMS is how long to wait, in milliseconds. It differs from client to client,
	// so that they do not all come at once.
	ReconnectAfterMS int    `json:"reconnect_after_ms"`
	Message          string `json:"message"`
}

// AckRequest is the payload of an ack from a client: how far it has got and shown each
// topic, by address. It is not answered.
type AckRequest struct {
	Positions map[string]Position `json:"positions"`
	Seen      map[string]Position `json:"seen,omitempty"`
}
