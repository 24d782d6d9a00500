package client

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard/wire"
)

var (
	// ErrClosed is what calls return after [Client.Close].
	ErrClosed = errors.New("client is closed")
	// ErrNotConnected is what [Client.Do] returns while there is no connection, or when it is
	// lost before the answer: nothing is known about what became of the order.
	ErrNotConnected = errors.New("not connected")
)

// Error is a refusal by the server: of one message, of a connection, or for good.
type Error struct {
	// Code says what can be done; see the constants of package wire. It is empty if the
	// server closed the connection without a reason in words of the protocol.
	Code    wire.Code
	Message string
	// Details is what the server said besides, such as field or retry_after_ms.
	Details map[string]any
	// Close is the code that the connection was closed with; 0: it lives, or there was none.
	Close wire.CloseCode

	retryAfter time.Duration // as the server asked for; 0: it did not
}

// Error returns the code and the message.
func (e *Error) Error() string {
	text := e.Message
	if e.Code != "" {
		text = string(e.Code) + ": " + text
	}
	if e.Close != 0 {
		text += " (close " + strconv.Itoa(int(e.Close)) + ")"
	}
	return text
}

// maxRetryAfter bounds what a server may ask for, so that a mistake does not last for days.
const maxRetryAfter = 10 * time.Minute

// refusal makes an Error of an error_message.
func refusal(m wire.ErrorMessage) *Error {
	return &Error{Code: m.Code, Message: m.Message, Details: m.Details, retryAfter: retryAfter(m.Details)}
}

func retryAfter(details map[string]any) time.Duration {
	ms, _ := details["retry_after_ms"].(float64)
	return time.Duration(min(max(ms, 0), float64(maxRetryAfter/time.Millisecond))) * time.Millisecond
}

// closed makes an Error of the end of a connection, if the peer closed it, else it returns
// err as it is.
func closed(err error) error {
	if ce, ok := errors.AsType[websocket.CloseError](err); ok {
		return &Error{Message: ce.Reason, Close: wire.CloseCode(ce.Code)} //nolint:gosec // two bytes of a frame
	}
	return err
}

// refusedHandshake makes an Error of an HTTP answer that is not the upgrade. It returns nil
// for an answer that is not a refusal in words of the protocol.
func refusedHandshake(resp *http.Response) *Error {
	codes := map[int]wire.Code{
		http.StatusUnauthorized:       wire.CodeAuthError,
		http.StatusForbidden:          wire.CodeForbidden,
		http.StatusTooManyRequests:    wire.CodeRateLimited,
		http.StatusServiceUnavailable: wire.CodeUnavailable,
	}
	code, ok := codes[resp.StatusCode]
	if !ok {
		return nil
	}
	e := &Error{Code: code, Message: http.StatusText(resp.StatusCode)}
	var problem struct {
		Code    wire.Code
		Detail  string
		Details map[string]any
	}
	body, _ := io.ReadAll(resp.Body) // at most 1 KiB is there; a problem document is a bonus
	if json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		e.Code, e.Message, e.Details = problem.Code, problem.Detail, problem.Details
	}
	e.retryAfter = max(retryAfter(problem.Details), retryAfterHeader(resp.Header.Get("Retry-After")))
	return e
}

// retryAfterHeader reads seconds or a date (RFC 9110 §10.2.3).
func retryAfterHeader(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}

// errorFields are what an error_message has in place of a payload.
type errorFields struct {
	Code        wire.Code      `json:"error_code"`
	Message     string         `json:"error_message"`
	Details     map[string]any `json:"details"`
	Suggestions []string       `json:"recovery_suggestions"`
}

// AsError returns what msg, which [Client.Messages] yielded, says about an earlier message:
// that no back end has taken it in time, say. It is nil unless msg is an error_message.
func AsError(msg wire.Envelope) *Error {
	if msg.Type != wire.ErrorMessageType {
		return nil
	}
	var f errorFields
	if err := msg.Decode(&f); err != nil {
		return &Error{Code: wire.CodeInternal, Message: "the error_message cannot be read"}
	}
	return refusal(wire.ErrorMessage{Code: f.Code, Message: f.Message, Details: f.Details})
}
