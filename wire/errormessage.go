package wire

import (
	"cmp"
	"errors"
	"fmt"
)

// ErrorMessage is the body of an error_message. Unlike other messages it has no payload:
// its fields stand in the envelope.
type ErrorMessage struct {
	// Code is for programs; empty is written as INTERNAL.
	Code Code
	// Message is for people.
	Message string
	// Details holds what a program may need: field, limit, retry_after_ms, run_state, … A
	// number that was read is a float64.
	Details map[string]any
	// MessageID is that of the message that is refused; empty if it could not be decoded.
	MessageID string
	// Timestamp is in seconds since 1970.
	Timestamp float64
	// Suggestions are sentences for the user.
	Suggestions []string
}

// errorFields are those that an error_message has besides the envelope's.
type errorFields struct {
	Code        Code           `json:"error_code"`
	Message     string         `json:"error_message"`
	Details     map[string]any `json:"details"`
	Suggestions []string       `json:"recovery_suggestions"`
}

// AppendError appends e as a frame. Details and suggestions are written also when empty. It
// fails, with dst as it was, if Details holds what JSON cannot say, if MessageID is no id, or
// if text is not UTF-8.
func AppendError(dst []byte, e ErrorMessage) ([]byte, error) {
	if e.MessageID != "" {
		if err := CheckID(e.MessageID); err != nil {
			return dst, fmt.Errorf("message_id %w", err)
		}
	}
	details, err := Marshal(e.Details)
	if err != nil {
		return dst, fmt.Errorf("details: %w", err)
	}
	if deeper(details, MaxLevels-1) {
		return dst, fmt.Errorf("details have more than %d levels", MaxLevels-1)
	}
	w := writer{b: dst}
	w.string(`{"type":`, string(ErrorMessageType))
	w.string(`,"error_code":`, string(cmp.Or(e.Code, CodeInternal)))
	w.b = append(w.b, `,"error_message":`...)
	w.quoted(e.Message)
	w.raw(`,"details":`, details)
	w.string(`,"message_id":`, e.MessageID)
	w.timestamp(e.Timestamp)
	w.b = append(w.b, `,"recovery_suggestions":[`...)
	for i, s := range e.Suggestions {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.quoted(s)
	}
	w.b = append(w.b, ']')
	return w.end(dst)
}

var errNoErrorMessage = errors.New("the frame is not an error_message")

// ParseErrorMessage reads an error_message, by the rules of [Parse]. It fails for a message
// of another type.
func ParseErrorMessage(frame []byte) (ErrorMessage, error) {
	env, err := ParseAnswer(frame)
	if err != nil {
		return ErrorMessage{}, err
	}
	if env.Type != ErrorMessageType {
		return ErrorMessage{}, errNoErrorMessage
	}
	var f errorFields
	if err := unmarshal(frame, &f); err != nil {
		return ErrorMessage{}, err
	}
	return ErrorMessage{
		Code: f.Code, Message: f.Message, Details: f.Details,
		MessageID: env.ID, Timestamp: env.Timestamp, Suggestions: f.Suggestions,
	}, nil
}
