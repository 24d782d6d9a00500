package switchboard

import (
	"context"
	"errors"
	"fmt"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Code is why something was refused, in error messages and problem documents.
type Code = wire.Code

// What callers branch on, with errors.Is. [CodeOf] says what clients see of each.
var (
	// ErrClosed means that the manager has shut down.
	ErrClosed = errors.New("the manager is closed")
	// ErrUnauthenticated means a credential that is missing, bad, expired or another user's.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden means that the user may not do this.
	ErrForbidden = errors.New("not allowed")
	// ErrInvalid means an argument that no state could make right.
	ErrInvalid = errors.New("not valid")
	// ErrNotFound means that there is no such thing (any more).
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the state does not allow it any more.
	ErrConflict = errors.New("in conflict with what is there")
	// ErrBusy means that too much waits already; try again later.
	ErrBusy = errors.New("busy")
	// ErrUnavailable means that the broker cannot be reached, and nothing is known about
	// what became of the call; or that a node does not answer what only it knows. It is
	// that of package broker.
	ErrUnavailable = broker.ErrUnavailable
	// ErrRunContract means an event of a run from somebody who is not the run, or out of order.
	ErrRunContract = errors.New("run events come from their run")
	// ErrRunEnded means that the run has ended otherwise than by being stopped.
	ErrRunEnded = errors.New("the run has ended")
	// ErrRunCancelled means that the run was stopped.
	ErrRunCancelled = errors.New("the run was cancelled")
	// ErrStreamOffset means a start beyond the end of a text stream.
	ErrStreamOffset = errors.New("start is beyond the end")
)

// Error is an error that a client may see: its text and details are sent as they are.
// Handlers return one, wrapped or not, to say what a client can do about it.
type Error struct {
	Code        Code
	Message     string         // for people
	Details     map[string]any // for programs; what JSON can say. Never nil on the wire
	Suggestions []string       // sentences for the user
}

// Error returns the message, behind the code.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Is reports whether target is the sentinel that clients see as e's code, so that
// errors.Is(err, ErrForbidden) holds for every error that is FORBIDDEN.
func (e *Error) Is(target error) bool { return target == sentinelOf(e.Code) }

func sentinelOf(code Code) error {
	switch code {
	case wire.CodeAuthError:
		return ErrUnauthenticated
	case wire.CodeForbidden:
		return ErrForbidden
	case wire.CodeInvalidMessage:
		return ErrInvalid
	case wire.CodeNotFound:
		return ErrNotFound
	case wire.CodeConflict:
		return ErrConflict
	case wire.CodeBusy:
		return ErrBusy
	case wire.CodeUnavailable:
		return ErrUnavailable
	case wire.CodeRunContract:
		return ErrRunContract
	case wire.CodeRunEnded:
		return ErrRunEnded
	case wire.CodeRunCancelled:
		return ErrRunCancelled
	case wire.CodeStreamOffset:
		return ErrStreamOffset
	}
	return nil
}

// CodeOf is the one place that turns an error into what clients see: the code of an
// [*Error], of a [*wire.ParseError] or of a sentinel in err's tree, else INTERNAL. It is ""
// for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Code
	}
	if parse, ok := errors.AsType[*wire.ParseError](err); ok {
		return parse.Code
	}
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return wire.CodeAuthError
	case errors.Is(err, ErrForbidden):
		return wire.CodeForbidden
	case errors.Is(err, ErrInvalid):
		return wire.CodeInvalidMessage
	case errors.Is(err, ErrNotFound):
		return wire.CodeNotFound
	case errors.Is(err, ErrConflict):
		return wire.CodeConflict
	case errors.Is(err, ErrBusy):
		return wire.CodeBusy
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrClosed), errors.Is(err, broker.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // something else took too long
		return wire.CodeUnavailable
	case errors.Is(err, ErrRunContract):
		return wire.CodeRunContract
	case errors.Is(err, ErrRunEnded):
		return wire.CodeRunEnded
	case errors.Is(err, ErrRunCancelled):
		return wire.CodeRunCancelled
	case errors.Is(err, ErrStreamOffset):
		return wire.CodeStreamOffset
	}
	return wire.CodeInternal
}

// visible is what a client is told of err. Text of errors that are neither an *Error nor a
// ParseError stays in the log.
func visible(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if parse, ok := errors.AsType[*wire.ParseError](err); ok {
		e := &Error{Code: parse.Code, Message: parse.Message}
		if parse.Field != "" {
			e.Details = map[string]any{"field": parse.Field}
		}
		return e
	}
	code := CodeOf(err)
	e := &Error{Code: code, Message: sentence(code)}
	if code == wire.CodeUnavailable {
		e.Details = map[string]any{"retry_after_ms": retryUnavailable.Milliseconds()}
	}
	return e
}

// loggable is what a log is told of err. An error about the form of what a client sent may quote
// that, and a client that is wrong may send anything anywhere.
func loggable(err error) error {
	if parse, ok := errors.AsType[*wire.ParseError](err); ok {
		return errors.New(sentence(parse.Code))
	}
	return err
}

// sentence is what people are told of a code that comes without words.
func sentence(code Code) string {
	switch code {
	case wire.CodeAuthError:
		return "the credential is not valid"
	case wire.CodeForbidden:
		return "you may not do this"
	case wire.CodeInvalidMessage, wire.CodeInvalidJSON:
		return "the message is not valid"
	case wire.CodeTooLarge:
		return "the message is too large"
	case wire.CodeNotFound:
		return "there is no such thing"
	case wire.CodeConflict:
		return "it is not possible any more"
	case wire.CodeBusy:
		return "too many messages wait"
	case wire.CodeUnavailable:
		return "try again"
	case wire.CodeRunContract:
		return "run events come from their run"
	case wire.CodeRunEnded:
		return "the run has ended"
	case wire.CodeRunCancelled:
		return "the run was cancelled"
	case wire.CodeStreamOffset:
		return "start is beyond the end"
	}
	return "internal error"
}

// fieldError refuses one field of a message or an argument.
func fieldError(code Code, field, message string) *Error {
	return &Error{Code: code, Message: message, Details: map[string]any{"field": field}}
}

// roomError refuses something about a room, in the same words whether it exists or not.
func roomError(field, room, message string) *Error {
	return &Error{Code: wire.CodeForbidden, Message: message, Details: map[string]any{"field": field, "room": room}}
}

// unsupported refuses what this version does not have.
func unsupported(field, message string) *Error {
	return fieldError(wire.CodeUnsupported, field, message)
}

// CloseError is how a connection ended or is to end. A zero Code is 1000. The reason is for
// people and cut after 123 bytes.
type CloseError struct {
	Code   wire.CloseCode
	Reason string
}

// Error tells code and reason.
func (e CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("connection closed with %d", e.Code)
	}
	return fmt.Sprintf("connection closed with %d: %s", e.Code, e.Reason)
}
