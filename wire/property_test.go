package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/wire"
)

func drawID(t *rapid.T, label string) string {
	return rapid.StringN(1, 40, 128).Filter(func(s string) bool { return wire.CheckID(s) == nil }).Draw(t, label)
}

func drawOptionalID(t *rapid.T, label string) string {
	if rapid.Bool().Draw(t, label+" is there") {
		return drawID(t, label)
	}
	return ""
}

func drawObject(t *rapid.T, label string) json.RawMessage {
	if !rapid.Bool().Draw(t, label+" is there") {
		return nil
	}
	leaf := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) any { return rapid.String().Draw(t, "text") }),
		rapid.Custom(func(t *rapid.T) any { return rapid.Float64Range(-1e9, 1e9).Draw(t, "number") }),
		rapid.Just[any](nil), rapid.Just[any](map[string]any{"a": []any{true}}),
	)
	raw, err := wire.Marshal(rapid.MapOfN(rapid.String(), leaf, 0, 5).Draw(t, label))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func drawEnvelope(t *rapid.T) wire.Envelope {
	env := wire.Envelope{
		Type:      wire.MessageType(drawID(t, "type")),
		Payload:   drawObject(t, "payload"),
		ID:        drawOptionalID(t, "message_id"),
		Timestamp: float64(rapid.Int64Range(0, 1<<42).Draw(t, "milliseconds")) / 1000,
		Topic:     rapid.StringN(0, 20, 60).Draw(t, "topic"),
		Offset:    rapid.Uint64().Draw(t, "offset"),
		UserID:    rapid.StringN(0, 20, 60).Draw(t, "user_id"),
		ThreadID:  drawOptionalID(t, "thread_id"),
		RunID:     drawOptionalID(t, "run_id"),
		AgentName: rapid.StringN(0, 20, 60).Draw(t, "agent_name"),
		Trace:     drawObject(t, "trace"),
	}
	lengths := rapid.MapOfN(rapid.StringN(0, 20, 60), rapid.IntMin(0), 0, 4).Draw(t, "stream_lengths")
	if len(lengths) > 0 {
		env.StreamLengths = lengths
	}
	return env
}

func TestWhatAppendWritesParseReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := drawEnvelope(t)
		frame, err := wire.Append(nil, env)
		if err != nil {
			t.Fatalf("%+v: %v", env, err)
		}
		got, err := wire.Parse(frame)
		if err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		if diff := cmp.Diff(got, env); diff != "" {
			t.Fatalf("envelope (-got +want):\n%s", diff)
		}
		wantRoundTrip(t, env)
	})
}

// TestASplicedRecordIsTheEnvelopeWithItsPlace follows a message as a node does: encoded
// once, stored, read, and spliced for its receivers.
func TestASplicedRecordIsTheEnvelopeWithItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := drawEnvelope(t)
		env.Topic, env.Offset, env.Timestamp = "", 0, 0
		body, err := wire.Append(nil, env)
		if err != nil {
			t.Fatal(err)
		}
		topic := wire.Topic{Tenant: drawOptionalID(t, "tenant"), Kind: wire.KindRoom, ID: drawID(t, "room")}
		record := wire.Record{
			Kind: wire.RecordMessage, Topic: topic, Thread: env.ThreadID, Body: body,
			Except: rapid.SliceOfN(rapid.StringN(1, 10, 40), 1, 4).Draw(t, "except"),
		}
		data, err := wire.AppendRecord(nil, record)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := wire.ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stored, record); diff != "" {
			t.Fatalf("record (-got +want):\n%s", diff)
		}
		env.Topic, env.Offset = topic.String(), rapid.Uint64Min(1).Draw(t, "offset")
		at := time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "at"))
		env.Timestamp = wire.Seconds(at)
		got, err := wire.Parse(wire.AppendPlaced(nil, stored.Topic, env.Offset, at, stored.Body))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, env); diff != "" {
			t.Fatalf("envelope (-got +want):\n%s", diff)
		}
	})
}

func TestAnAckIsWrittenAsMarshalWouldWriteIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ack := wire.Ack{
			MessageID: drawID(t, "message_id"),
			Status:    rapid.String().Draw(t, "status"),
			Result:    drawObject(t, "result"),
		}
		if rapid.Bool().Draw(t, "position is there") {
			ack.Position = wire.Position{Epoch: "e1", Offset: rapid.Uint64().Draw(t, "offset")}
		}
		if rapid.Bool().Draw(t, "runs are there") {
			ack.Runs = []wire.StoppedRun{}
			for range rapid.IntRange(0, 2).Draw(t, "runs") {
				ack.Runs = append(ack.Runs, wire.StoppedRun{RunID: drawID(t, "run_id"), Position: ack.Position})
			}
		}
		want, err := wire.Marshal(ack)
		if err != nil {
			t.Fatal(err)
		}
		frame, err := wire.AppendAck(nil, ack.MessageID, 1, ack, "")
		if err != nil {
			t.Fatal(err)
		}
		env, err := wire.Parse(frame)
		if err != nil || string(env.Payload) != string(want) {
			t.Fatalf("got %s, error %v, want payload %s", frame, err, want)
		}
	})
}

func TestErrorMessagesSurviveARoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := wire.ErrorMessage{
			Code:        rapid.SampledFrom(declaredCodes()).Draw(t, "code"),
			Message:     rapid.String().Draw(t, "message"),
			Details:     map[string]any{"field": rapid.String().Draw(t, "field"), "limit": rapid.Float64Range(0, 1e9).Draw(t, "limit")},
			MessageID:   drawOptionalID(t, "message_id"),
			Timestamp:   float64(rapid.Int64Range(0, 1<<42).Draw(t, "milliseconds")) / 1000,
			Suggestions: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "suggestions"),
		}
		frame, err := wire.AppendError(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ParseErrorMessage(frame)
		if err != nil {
			t.Fatalf("%s: %v", frame, err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("message (-got +want):\n%s", diff)
		}
	})
}
