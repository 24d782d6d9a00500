package wire

// What a client offers in Sec-WebSocket-Protocol. The server selects [Subprotocol], and
// never one that holds a secret.
const (
	// Subprotocol names this protocol and its version.
	Subprotocol = "switchboard.v1"
	// TokenProtocol is followed by the base64url form, without padding, of a JWT.
	TokenProtocol = "token."
	// SessionProtocol is followed by the base64url form, without padding, of a session
	// token: the connection resumes that session and is held.
	SessionProtocol = "session."
)
