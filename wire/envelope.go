package wire

import "encoding/json"

// MaxLevels is how deep objects and arrays of a frame may nest, its own brace included.
const MaxLevels = 32

// answerLevels is what the answers of a server add: they hold envelopes of others
// (payload, messages, envelope), each of which may use MaxLevels itself.
const answerLevels = 8

// Envelope is one message as it travels. All but Type is optional, and zero values are
// left out. An Envelope owns its bytes: nothing in it aliases the frame it was read from.
//
// Timestamp, Topic (but for a room that a client names), Offset, UserID and StreamLengths
// are the server's to say. [Parse] accepts them from clients, where they mean nothing.
type Envelope struct {
	// Type is one of the constants of this package or an application's own.
	Type MessageType
	// Payload is a JSON object, or nil for none.
	Payload json.RawMessage
	// ID is the message_id. An answer has the id of what it answers.
	ID string
	// Timestamp is in seconds since 1970, with milliseconds as fraction.
	Timestamp float64
	// Topic is "user/<id>", "room/<id>" or "all"; see [ParseTopic].
	Topic string
	// Offset is the place in the topic's log; 0: not durable.
	Offset uint64
	// Epoch is the one that Offset belongs to. It does not travel: only a reader who has
	// followed the topic knows it and may fill it in. See [Envelope.Position].
	Epoch string
	// UserID is who sent the message or, on run events, who asked for the run; empty
	// for what the application publishes.
	UserID string
	// ThreadID is the conversation; empty: the topic's default thread.
	ThreadID string
	// RunID and AgentName say which run the message belongs to.
	RunID, AgentName string
	// StreamLengths has the length, in Unicode code points, of each text stream of the
	// run, at the moment of a run event.
	StreamLengths map[string]int
	// Trace is a W3C trace context as a JSON object, or nil.
	Trace json.RawMessage
}

// Position returns the place of a durable message in its topic's log. It is zero if the
// message is not durable, or if the epoch is not known; see [Envelope.Epoch].
func (e Envelope) Position() Position {
	if e.Offset == 0 || e.Epoch == "" {
		return Position{}
	}
	return Position{Epoch: e.Epoch, Offset: e.Offset}
}

// Decode unmarshals the payload into v by the rules of [Unmarshal]; a missing payload is
// an empty object. The error is a [*ParseError] with code INVALID_MESSAGE that names the
// field by its path in the payload, such as "items.2.price".
func (e Envelope) Decode(v any) error {
	payload := e.Payload
	if payload == nil {
		payload = json.RawMessage("{}")
	}
	return unmarshal(payload, v)
}

// MarshalJSON returns the bytes that [Append] writes.
func (e Envelope) MarshalJSON() ([]byte, error) { return Append(nil, e) }

// UnmarshalJSON reads b by the rules of [Parse]. On error e is unchanged.
func (e *Envelope) UnmarshalJSON(b []byte) error {
	parsed, err := Parse(b)
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}

// ParseError says why a frame, a body or a payload was refused. Its text may be shown to
// whoever sent it: it holds nothing of Go and nothing of the content.
type ParseError struct {
	// Code is INVALID_JSON for what no strict JSON parser accepts, INVALID_MESSAGE for JSON
	// that is not the message it should be, and UNSUPPORTED for an object of JSON-RPC.
	Code Code
	// Field is the path of the field concerned, joined by dots; empty if there is none.
	Field string
	// Message is a sentence about it.
	Message string
	// MessageID is that of the refused message, for the answer to repeat. It is empty
	// with INVALID_JSON: what cannot be decoded has no id.
	MessageID string
}

// Error returns the message.
func (e *ParseError) Error() string { return e.Message }
