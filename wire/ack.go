package wire

import (
	"encoding/json"
	"fmt"
)

// Ack is the payload of a server's ack: what became of a message.
type Ack struct {
	MessageID string `json:"message_id"`
	// Status is "ok", "queued", "duplicate" or "unhandled"; in the ack of stop_agent also
	// "already_ended" or "not_found", in that of approve and reject also "already_resolved"
	// or "expired".
	Status string `json:"status"`
	// Position is where the message is in its topic's log; absent if it is in none.
	Position Position `json:"position,omitzero"`
	// Result is what a handler returned, or {"run_id":…} if an agent took the message.
	Result json.RawMessage `json:"result,omitempty"`
	// Runs are the runs that stop_agent was about, an empty list where none was found;
	// absent (nil) in the ack of any other message.
	Runs []StoppedRun `json:"runs,omitzero"`
}

// StoppedRun is a run in the ack of stop_agent.
type StoppedRun struct {
	RunID         string         `json:"run_id"`
	Position      Position       `json:"position"`                // of its last event
	StreamLengths map[string]int `json:"stream_lengths,omitzero"` // code points, by stream id
}

// What an ack says.
const (
	// StatusOK means that the handler returned without error, or that the verb was done.
	StatusOK = "ok"
	// StatusQueued means that a back end will get the message.
	StatusQueued = "queued"
	// StatusDuplicate means that the same message was handled before.
	StatusDuplicate = "duplicate"
	// StatusUnhandled means that nobody takes messages of this type.
	StatusUnhandled = "unhandled"
	// StatusAlreadyEnded answers stop_agent on a run that has ended.
	StatusAlreadyEnded = "already_ended"
	// StatusNotFound answers stop_agent where there is no such run.
	StatusNotFound = "not_found"
	// StatusAlreadyResolved answers approve and reject when another answer was first.
	StatusAlreadyResolved = "already_resolved"
	// StatusExpired answers approve and reject when the time is over.
	StatusExpired = "expired"
)

// AppendAck appends the frame of an ack. The message answered has the given id, which also
// becomes ack.MessageID if that is empty; ts is in seconds. A receivedType that is not
// empty is put into the envelope as received_type: it tells the type of an unhandled
// message. On error, as of [Append], dst comes back as it was.
func AppendAck(dst []byte, id string, ts float64, ack Ack, receivedType MessageType) ([]byte, error) {
	if ack.MessageID == "" {
		ack.MessageID = id
	}
	if id != "" {
		if err := CheckID(id); err != nil {
			return dst, fmt.Errorf("message_id %w", err)
		}
	}
	w := writer{b: dst}
	w.string(`{"type":`, string(AckType))
	w.string(`,"received_type":`, string(receivedType))
	w.string(`,"message_id":`, id)
	w.timestamp(ts)
	w.b = append(w.b, `,"payload":`...)
	w.ack(ack)
	return w.end(dst)
}

// ack appends what Marshal would make of ack, without reflection, since every message of a
// client causes one.
func (w *writer) ack(ack Ack) {
	w.b = append(w.b, `{"message_id":`...)
	w.quoted(ack.MessageID)
	w.b = append(w.b, `,"status":`...)
	w.quoted(ack.Status)
	position, err := ack.Position.MarshalText()
	w.fail(err)
	w.string(`,"position":`, string(position))
	if len(ack.Result) > 0 {
		if !isValue(ack.Result) || deeper(ack.Result, MaxLevels-2) {
			w.fail(fmt.Errorf("result must be JSON of at most %d levels", MaxLevels-2))
		}
		w.raw(`,"result":`, ack.Result)
	}
	if ack.Runs != nil {
		runs, err := Marshal(ack.Runs)
		w.fail(err)
		w.raw(`,"runs":`, runs)
	}
	w.b = append(w.b, '}')
}
