package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// cases reads a file of testdata, whose README.md explains it.
func cases[T any](t testing.TB, file string) []T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var rows []T
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

type envelopeCase struct {
	Name   string
	Frame  string
	Base64 []byte `json:"frame_base64"`
	Append string

	Code      wire.Code
	Field     string
	MessageID string `json:"message_id"`
}

func (c envelopeCase) bytes() []byte {
	if c.Base64 != nil {
		return c.Base64
	}
	return []byte(c.Frame)
}

func TestGoldenEnvelopes(t *testing.T) {
	for _, c := range cases[envelopeCase](t, "envelopes.json") {
		t.Run(c.Name, func(t *testing.T) {
			frame := c.bytes()
			env, err := wire.Parse(frame)
			if c.Code != "" {
				want := &wire.ParseError{Code: c.Code, Field: c.Field, MessageID: c.MessageID}
				wantParseError(t, err, want)
				return
			}
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			want := c.Append
			if want == "" {
				want = c.Frame
			}
			got, err := wire.Append(nil, env)
			if err != nil || string(got) != want {
				t.Errorf("got %s, error %v, want %s", got, err, want)
			}
			if string(frame) != string(c.bytes()) {
				t.Errorf("got the frame changed to %s", frame)
			}
		})
	}
}

// wantParseError compares all but the text.
func wantParseError(t *testing.T, err error, want *wire.ParseError) {
	t.Helper()
	got, ok := errors.AsType[*wire.ParseError](err)
	if !ok {
		t.Fatalf("got error %v, want a ParseError", err)
	}
	if got.Message == "" {
		t.Error("got no message")
	}
	got.Message = want.Message
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("error (-got +want):\n%s", diff)
	}
}

func TestGoldenPositions(t *testing.T) {
	type row struct {
		Text, Epoch, Offset string
		Refused             bool
	}
	for _, c := range cases[row](t, "positions.json") {
		t.Run(c.Text, func(t *testing.T) {
			got, err := wire.ParsePosition(c.Text)
			if c.Refused {
				if err == nil {
					t.Errorf("got %+v, want an error", got)
				}
				return
			}
			offset, _ := strconv.ParseUint(c.Offset, 10, 64)
			if want := (wire.Position{Epoch: c.Epoch, Offset: offset}); err != nil || got != want {
				t.Fatalf("got %+v, error %v, want %+v", got, err, want)
			}
			if got.String() != c.Text {
				t.Errorf("got text %q, want %q", got.String(), c.Text)
			}
			if text, err := got.MarshalText(); err != nil || string(text) != c.Text {
				t.Errorf("got marshalled %q, error %v, want %q", text, err, c.Text)
			}
		})
	}
}

func TestGoldenTopics(t *testing.T) {
	type row struct {
		Text, Kind, ID string
		Refused        bool
	}
	for _, c := range cases[row](t, "topics.json") {
		t.Run(c.Text, func(t *testing.T) {
			got, err := wire.ParseTopic("acme", c.Text)
			if c.Refused {
				if err == nil || got != (wire.Topic{}) {
					t.Errorf("got %+v, error %v, want only an error", got, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if got.Tenant != "acme" || got.Kind.String() != c.Kind || got.ID != c.ID || got.String() != c.Text {
				t.Errorf("got %+v (%s), want kind %s and id %s", got, got, c.Kind, c.ID)
			}
			if err := got.Check(); err != nil {
				t.Errorf("got check error %v, want none", err)
			}
		})
	}
}

func TestGoldenErrors(t *testing.T) {
	type row struct {
		Name, Frame, Append string
		Refused             bool
		Error               struct {
			Code        wire.Code
			Message     string
			Details     map[string]any
			MessageID   string `json:"message_id"`
			Timestamp   float64
			Suggestions []string
		}
	}
	for _, c := range cases[row](t, "errors.json") {
		t.Run(c.Name, func(t *testing.T) {
			got, err := wire.ParseErrorMessage([]byte(c.Frame))
			if c.Refused {
				if err == nil {
					t.Errorf("got %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if diff := cmp.Diff(got, wire.ErrorMessage(c.Error)); diff != "" {
				t.Errorf("message (-got +want):\n%s", diff)
			}
			want := c.Append
			if want == "" {
				want = c.Frame
			}
			if again, err := wire.AppendError(nil, got); err != nil || string(again) != want {
				t.Errorf("got %s, error %v, want %s", again, err, want)
			}
		})
	}
}

func TestGoldenAcks(t *testing.T) {
	type row struct {
		Name         string
		MessageID    string `json:"message_id"`
		Timestamp    float64
		ReceivedType wire.MessageType `json:"received_type"`
		Ack          wire.Ack
		Frame        string
	}
	for _, c := range cases[row](t, "acks.json") {
		t.Run(c.Name, func(t *testing.T) {
			got, err := wire.AppendAck(nil, c.MessageID, c.Timestamp, c.Ack, c.ReceivedType)
			if err != nil || string(got) != c.Frame {
				t.Errorf("got %s, error %v, want %s", got, err, c.Frame)
			}
			env, err := wire.ParseAnswer([]byte(c.Frame))
			if err != nil || env.Type != wire.AckType || env.ID != c.MessageID {
				t.Fatalf("got %+v, error %v, want the ack of %s", env, err, c.MessageID)
			}
			var ack wire.Ack
			if err := env.Decode(&ack); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ack, c.Ack); diff != "" {
				t.Errorf("ack (-got +want):\n%s", diff)
			}
		})
	}
}

type recordCase struct {
	Name   string
	Data   []byte `json:"data_base64"`
	Record *struct {
		Kind, Tenant, Thread, Body string
		TopicKind                  string `json:"topic_kind"`
		TopicID                    string `json:"topic_id"`
		Except                     []string
		Run                        string
		Streams                    []wire.RecordStream
		TTL                        int64 `json:"ttl_ms"`
	}
}

func (c recordCase) record() wire.Record {
	kinds := map[string]wire.RecordKind{"message": wire.RecordMessage, "member": wire.RecordMember, "run": wire.RecordRun, "latest": wire.RecordLatest, "presence": wire.RecordPresence}
	topics := map[string]wire.Kind{"user": wire.KindUser, "room": wire.KindRoom, "all": wire.KindAll}
	r := c.Record
	return wire.Record{
		Kind:   kinds[r.Kind],
		Topic:  wire.Topic{Tenant: r.Tenant, Kind: topics[r.TopicKind], ID: r.TopicID},
		Thread: r.Thread, Except: r.Except, Run: r.Run, Streams: r.Streams, TTL: time.Duration(r.TTL) * time.Millisecond, Body: []byte(r.Body),
	}
}

// TestGoldenRecords holds what is in stores: records of this and of the former version
// must stay readable. The file is never written by a program.
func TestGoldenRecords(t *testing.T) {
	for _, c := range cases[recordCase](t, "records.json") {
		t.Run(c.Name, func(t *testing.T) {
			got, err := wire.ParseRecord(c.Data)
			if c.Record == nil {
				if err == nil {
					t.Errorf("got %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			want := c.record()
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("record (-got +want):\n%s", diff)
			}
			if data, err := wire.AppendRecord(nil, want); err != nil || string(data) != string(c.Data) {
				t.Errorf("got data %s, error %v, want %s",
					base64.StdEncoding.EncodeToString(data), err, base64.StdEncoding.EncodeToString(c.Data))
			}
		})
	}
}
