package wire

// Code says why something was refused, in error messages and in problem documents.
type Code string

// The codes of errors. A code says what a client can do; the message beside it is for
// people and may change.
const (
	// CodeInvalidJSON means that the frame is not strict JSON: broken, duplicate keys, bad
	// UTF-8, too deep. Sending the same again cannot help.
	CodeInvalidJSON Code = "INVALID_JSON"
	// CodeInvalidMessage means that a field is missing or does not fit; details.field names
	// it. Sending the same again cannot help.
	CodeInvalidMessage Code = "INVALID_MESSAGE"
	// CodeTooLarge means more bytes than details.limit. The connection closes with 1009.
	CodeTooLarge Code = "TOO_LARGE"
	// CodeRateLimited means too many messages or connections. Wait details.retry_after_ms,
	// or as long as the header Retry-After says, and send it again with the same id.
	CodeRateLimited Code = "RATE_LIMITED"
	// CodeBusy means that too many messages of this connection wait for their handler. Send
	// it again once some have been answered.
	CodeBusy Code = "BUSY"
	// CodeAuthError means a credential that is missing, bad, expired, revoked or another
	// user's. Get a new one; do not repeat with the same.
	CodeAuthError Code = "AUTH_ERROR"
	// CodeForbidden means that the user may not do this. It does not tell whether the object
	// exists. Do not repeat.
	CodeForbidden Code = "FORBIDDEN"
	// CodeNotFound means that there is no such run, approval, connection or stream.
	CodeNotFound Code = "NOT_FOUND"
	// CodeConflict means that the state does not allow it any more, or that the same id was
	// used for something else. Read the state, then decide.
	CodeConflict Code = "CONFLICT"
	// CodeRunContract means an event out of its order, or from somebody who is not the run.
	// The producer has a mistake; nothing was changed.
	CodeRunContract Code = "RUN_CONTRACT"
	// CodeRunEnded means that the run has completed, failed or died. Stop producing.
	CodeRunEnded Code = "RUN_ENDED"
	// CodeRunCancelled means that somebody has stopped the run. Stop producing.
	CodeRunCancelled Code = "RUN_CANCELLED"
	// CodeStreamOffset means that text would leave a hole. Go on from details.length.
	CodeStreamOffset Code = "STREAM_OFFSET"
	// CodeBackendUnavailable means that no back end has taken the message in time. With
	// details.queued it stays queued: do not send it again.
	CodeBackendUnavailable Code = "BACKEND_UNAVAILABLE"
	// CodeUnavailable means that the server cannot do it now, and nothing is known about what
	// became of the message. Wait details.retry_after_ms and send it again with the same id.
	CodeUnavailable Code = "UNAVAILABLE"
	// CodeUnsupported means that this server does not have it. Do not repeat.
	CodeUnsupported Code = "UNSUPPORTED"
	// CodeTimeout means that a handler took too long; it may still have had its effect.
	CodeTimeout Code = "TIMEOUT"
	// CodeInternal means a mistake of the server; its log has the reason.
	CodeInternal Code = "INTERNAL"
)

// HTTPStatus is the status of an HTTP answer that refuses something with this code: 500 for
// a code that is none of the above.
func (c Code) HTTPStatus() int {
	switch c {
	case CodeInvalidJSON:
		return 400
	case CodeAuthError:
		return 401
	case CodeForbidden:
		return 403
	case CodeNotFound:
		return 404
	case CodeConflict, CodeRunContract, CodeRunEnded, CodeRunCancelled, CodeStreamOffset:
		return 409
	case CodeTooLarge:
		return 413
	case CodeInvalidMessage, CodeUnsupported:
		return 422
	case CodeRateLimited, CodeBusy:
		return 429
	case CodeUnavailable, CodeBackendUnavailable:
		return 503
	case CodeTimeout:
		return 504
	}
	return 500
}

// CloseCode is the status of a WebSocket close frame (RFC 6455 §7.4). The reason beside it
// says what to do, in words.
type CloseCode uint16

// The close codes. Unless said otherwise a client comes back with its session, after a
// pause with jitter.
const (
	// CloseNormal ends a connection on purpose: logout, or the client leaves. Do not reconnect.
	CloseNormal CloseCode = 1000
	// CloseGoingAway means missed heartbeats, or a server that stops without notice. Reconnect.
	CloseGoingAway CloseCode = 1001
	// CloseProtocolError means frames against RFC 6455. A client with that fault meets it again.
	CloseProtocolError CloseCode = 1002
	// CloseUnsupportedData means a binary frame; messages are text.
	CloseUnsupportedData CloseCode = 1003
	// CloseInvalidText means a text frame that is not UTF-8.
	CloseInvalidText CloseCode = 1007
	// ClosePolicy means a refused credential or origin. Do not reconnect with the same.
	ClosePolicy CloseCode = 1008
	// CloseTooBig means a message over the limit that the welcome tells. Reconnect, but do not
	// send it again.
	CloseTooBig CloseCode = 1009
	// CloseInternal means a mistake of the server. Reconnect.
	CloseInternal CloseCode = 1011
	// CloseRestart means that the node restarts; server_shutdown came before and said when to
	// reconnect.
	CloseRestart CloseCode = 1012
	// CloseTryAgain means a limit, or a socket that could not be written for too long.
	// Reconnect; the session can be resumed.
	CloseTryAgain CloseCode = 1013
	// CloseExpired means that the credential has run out. Reconnect with a new one.
	CloseExpired CloseCode = 4001
	// CloseRevoked means that the credential or the session was revoked. Do not reconnect.
	CloseRevoked CloseCode = 4002
	// CloseReplaced means that a newer connection of the same session has taken over. Do not
	// reconnect: two clients would take turns for ever.
	CloseReplaced CloseCode = 4003
)
