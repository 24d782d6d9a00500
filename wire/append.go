package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// Seconds is t as the protocol writes times: seconds since 1970, milliseconds as fraction.
func Seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// Append appends e as JSON, with its fields in a fixed order and empty ones left out.
// What it writes [Parse] reads: it refuses a type or an id that is none, a payload or
// trace that is no strict JSON object, text that is not UTF-8, a negative stream length
// and a timestamp that is no number. On error dst comes back as it was.
//
// The bytes of the payload pass through unchanged, so line breaks between its tokens
// stay. The timestamp is rounded to milliseconds.
func Append(dst []byte, e Envelope) ([]byte, error) {
	if err := e.check(); err != nil {
		return dst, err
	}
	w := writer{b: dst}
	w.string(`{"type":`, string(e.Type))
	w.string(`,"message_id":`, e.ID)
	w.timestamp(e.Timestamp)
	w.string(`,"topic":`, e.Topic)
	if e.Offset != 0 {
		w.b = strconv.AppendUint(append(w.b, `,"offset":`...), e.Offset, 10)
	}
	w.string(`,"user_id":`, e.UserID)
	w.string(`,"thread_id":`, e.ThreadID)
	w.string(`,"run_id":`, e.RunID)
	w.string(`,"agent_name":`, e.AgentName)
	w.lengths(e.StreamLengths)
	w.raw(`,"payload":`, e.Payload)
	w.raw(`,"trace":`, e.Trace)
	return w.end(dst)
}

// check is what Append asks of an envelope besides UTF-8, which the writer sees.
func (e *Envelope) check() error {
	if err := CheckID(string(e.Type)); err != nil {
		return fmt.Errorf("type %w", err)
	}
	for _, id := range [...]struct{ name, value string }{
		{"message_id", e.ID}, {"thread_id", e.ThreadID}, {"run_id", e.RunID},
	} {
		if id.value == "" {
			continue
		}
		if err := CheckID(id.value); err != nil {
			return fmt.Errorf("%s %w", id.name, err)
		}
	}
	if err := checkObject("payload", e.Payload); err != nil {
		return err
	}
	return checkObject("trace", e.Trace)
}

// checkObject refuses what would break the envelope around raw, which is one level deeper.
func checkObject(name string, raw json.RawMessage) error {
	switch {
	case raw == nil:
		return nil
	case !isObject(raw):
		return fmt.Errorf("%s must be a JSON object", name)
	case deeper(raw, MaxLevels-1):
		return fmt.Errorf("%s has more than %d levels", name, MaxLevels-1)
	}
	return nil
}

// writer appends members of one JSON object and remembers the first error.
type writer struct {
	b   []byte
	err error
}

// string appends a member if it is not empty. Its key includes what stands before it.
func (w *writer) string(key, value string) {
	if value == "" {
		return
	}
	w.b = append(w.b, key...)
	w.quoted(value)
}

func (w *writer) quoted(s string) {
	b, err := appendQuoted(w.b, s)
	w.b = b
	if err != nil {
		w.fail(errors.New("text must be valid UTF-8"))
	}
}

// fail notes err, unless there has been another, or it is nil.
func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) raw(key string, value json.RawMessage) {
	if value != nil {
		w.b = append(append(w.b, key...), value...)
	}
}

// timestamp appends seconds with at most three decimals and never an exponent.
func (w *writer) timestamp(seconds float64) {
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		w.fail(errors.New("timestamp must be a number"))
		return
	}
	const exact = 1 << 53 // from here on a float64 has no fraction that could matter
	if math.Abs(seconds) < exact {
		seconds = math.Round(seconds*1000) / 1000
	}
	if seconds != 0 {
		w.b = strconv.AppendFloat(append(w.b, `,"timestamp":`...), seconds, 'f', -1, 64)
	}
}

func (w *writer) lengths(lengths map[string]int) {
	if len(lengths) == 0 {
		return
	}
	w.b = append(w.b, `,"stream_lengths":{`...)
	for i, id := range slices.Sorted(maps.Keys(lengths)) {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		if lengths[id] < 0 {
			w.fail(errors.New("stream_lengths must not be negative"))
		}
		w.quoted(id)
		w.b = strconv.AppendInt(append(w.b, ':'), int64(lengths[id]), 10)
	}
	w.b = append(w.b, '}')
}

// end closes the object, or takes back all that was appended to dst.
func (w *writer) end(dst []byte) ([]byte, error) {
	if w.err != nil {
		return dst, w.err
	}
	return append(w.b, '}'), nil
}

// AppendPlaced appends body, an encoded envelope without topic, offset and timestamp, with
// these spliced in front: {"topic":"user/alice","offset":42,"timestamp":…,"type":… . It
// copies and checks nothing else, so that a record is encoded once for all receivers. An
// offset of 0 and a zero time are left out. A body that is no object with members comes back unchanged behind dst, because
// there is nothing to splice into.
func AppendPlaced(dst []byte, t Topic, offset uint64, at time.Time, body []byte) []byte {
	if len(body) < 3 || body[0] != '{' || body[1] != '"' {
		return append(dst, body...)
	}
	dst = append(dst, `{"topic":`...)
	dst, _ = appendQuoted(dst, t.String()) // an id that is not UTF-8 is made so
	if offset != 0 {
		dst = strconv.AppendUint(append(dst, `,"offset":`...), offset, 10)
	}
	if !at.IsZero() {
		dst = strconv.AppendFloat(append(dst, `,"timestamp":`...), Seconds(at), 'f', -1, 64)
	}
	return append(append(dst, ','), body[1:]...)
}
