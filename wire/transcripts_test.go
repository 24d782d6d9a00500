package wire_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// frameCase is a frame of testdata/transcripts.jsonl.
type frameCase struct {
	Journey    int
	Connection string
	From       string
	Frame      string
	Code       wire.Code // why it is refused; empty: it is not
	Field      string
	MessageID  string `json:"message_id"`
}

func transcripts(t testing.TB) []frameCase {
	t.Helper()
	data, err := os.ReadFile("testdata/transcripts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var frames []frameCase
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var c frameCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, c)
	}
	return frames
}

// value decodes JSON for a comparison by value.
func value(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// known drops what a reader of envelopes ignores.
func known(v any) any {
	fields := v.(map[string]any)
	for name := range fields {
		if !slices.Contains([]string{
			"type", "payload", "message_id", "timestamp", "topic", "offset", "user_id", "thread_id", "run_id",
			"agent_name", "stream_lengths", "trace",
		}, name) {
			delete(fields, name)
		}
	}
	return fields
}

func TestFramesOfTheTranscriptsSurviveARoundTrip(t *testing.T) {
	frames := transcripts(t)
	if len(frames) < 150 {
		t.Fatalf("got %d frames, want them all", len(frames))
	}
	for _, c := range frames {
		env, err := wire.Parse([]byte(c.Frame))
		if c.Code != "" {
			wantParseError(t, err, &wire.ParseError{Code: c.Code, Field: c.Field, MessageID: c.MessageID})
			continue
		}
		if err != nil {
			t.Errorf("%s: got error %v, want none", c.Frame, err)
			continue
		}
		again, want := again(t, c, env), value(t, []byte(c.Frame))
		if env.Type != wire.ErrorMessageType && env.Type != wire.AckType {
			want = known(want)
		}
		if diff := cmp.Diff(value(t, again), want); diff != "" {
			t.Errorf("%s changed (-got +want):\n%s", c.Frame, diff)
		}
	}
}

// again writes env the way a server or a client writes it.
func again(t *testing.T, c frameCase, env wire.Envelope) []byte {
	t.Helper()
	var frame []byte
	var err error
	switch {
	case env.Type == wire.ErrorMessageType:
		var e wire.ErrorMessage
		if e, err = wire.ParseErrorMessage([]byte(c.Frame)); err == nil {
			frame, err = wire.AppendError(nil, e)
		}
	case env.Type == wire.AckType && c.From == "server":
		var ack wire.Ack
		var head struct {
			ReceivedType wire.MessageType `json:"received_type"`
		}
		if err = json.Unmarshal([]byte(c.Frame), &head); err != nil {
			t.Fatal(err)
		}
		if err = env.Decode(&ack); err == nil {
			frame, err = wire.AppendAck(nil, env.ID, env.Timestamp, ack, head.ReceivedType)
		}
	default:
		frame, err = wire.Append(nil, env)
	}
	if err != nil {
		t.Errorf("%s: got error %v, want none", c.Frame, err)
	}
	return frame
}

// TestPayloadStructsHoldAllThatTheTranscriptsSay decodes each payload into its struct and
// writes it again: what a struct does not know would be missing.
func TestPayloadStructsHoldAllThatTheTranscriptsSay(t *testing.T) {
	structs := map[wire.MessageType]any{}
	for _, p := range payloads() {
		if _, ok := structs[p.typ]; !ok {
			structs[p.typ] = p.value
		}
	}
	checked := 0
	for _, c := range transcripts(t) {
		if c.Code != "" {
			continue
		}
		env, err := wire.Parse([]byte(c.Frame))
		if err != nil || structs[env.Type] == nil || env.Type == wire.RoomMessage || c.Journey == 15 ||
			env.Type.RunEvent() && c.From == "client" {
			continue
		}
		v := reflect.New(reflect.TypeOf(structs[env.Type]).Elem()).Interface()
		if err := env.Decode(v); err != nil {
			t.Errorf("%s: %v", c.Frame, err)
			continue
		}
		got, err := wire.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", c.Frame, err)
			continue
		}
		if diff := cmp.Diff(value(t, got), value(t, env.Payload)); diff != "" {
			t.Errorf("%s payload changed (-got +want):\n%s", env.Type, diff)
		}
		checked++
	}
	if checked < 90 {
		t.Errorf("got %d payloads checked, want most", checked)
	}
}
