package wire_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIDsAreBounded(t *testing.T) {
	tests := []struct {
		name, id, want string
	}{
		{"one byte", "a", ""},
		{"128 bytes", strings.Repeat("x", 128), ""},
		{"128 bytes of longer letters", strings.Repeat("é", 64), ""},
		{"spaces and wildcards", " *>.", ""},
		{"the replacement character itself", "\uFFFD", ""},
		{"empty", "", "must not be empty"},
		{"129 bytes", strings.Repeat("x", 129), "must have at most 128 bytes"},
		{"not UTF-8", "a\xff", "must be valid UTF-8"},
		{"a surrogate", "\xed\xa0\x80", "must be valid UTF-8"},
		{"a line break", "a\nb", "must not contain control characters"},
		{"delete", "a\x7f", "must not contain control characters"},
		{"a control character above ASCII", "a\u0085", "must not contain control characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := wire.CheckID(tt.id); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNewIDsAreUUIDsInOrder(t *testing.T) {
	var ids []string
	for range 1000 {
		id := wire.NewID()
		if u, err := uuid.Parse(id); err != nil || u.Version() != 7 {
			t.Fatalf("got %s, want a UUIDv7", id)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != 1000 {
		t.Error("got ids that repeat or go back")
	}
}

func TestPositionsThatCannotBeReadAreNotWritten(t *testing.T) {
	for _, p := range []wire.Position{{Offset: 1}, {Epoch: "a:b"}, {Epoch: strings.Repeat("x", 33)}, {Epoch: "é", Offset: 1}} {
		if text, err := p.MarshalText(); err == nil {
			t.Errorf("got %q for %+v, want an error", text, p)
		}
	}
	before := wire.Position{Epoch: "a", Offset: 1}
	p := before
	if err := p.UnmarshalText([]byte("bad")); err == nil || p != before {
		t.Errorf("got %+v, error %v, want it unchanged", p, err)
	}
}

func TestClassesHaveNames(t *testing.T) {
	for class, name := range map[wire.Class]string{wire.Durable: "durable", wire.Latest: "latest", wire.Volatile: "volatile"} {
		text, err := class.MarshalText()
		if err != nil || string(text) != name || class.String() != name {
			t.Errorf("got %q, error %v, want %q", text, err, name)
		}
		got := wire.Class(9)
		if err := got.UnmarshalText(text); err != nil || got != class {
			t.Errorf("got %v, error %v, want %v", got, err, class)
		}
	}
	var c wire.Class = wire.Volatile
	if err := c.UnmarshalText(nil); err != nil || c != wire.Durable {
		t.Errorf("got %v, error %v for no text, want durable", c, err)
	}
	if err := c.UnmarshalText([]byte("Durable")); err == nil {
		t.Error("got no error for a name in another case")
	}
	if _, err := wire.Class(3).MarshalText(); err == nil || wire.Class(3).String() != "invalid" {
		t.Error("got a name for what is no class")
	}
}

func TestTopicsThatCannotExistAreRefused(t *testing.T) {
	for _, topic := range []wire.Topic{
		{}, {ID: "x"}, {Kind: wire.KindUser}, {Kind: wire.KindAll, ID: "x"}, {Kind: 9, ID: "x"}, {Kind: wire.KindRoom, ID: "a\n"},
	} {
		if topic.Check() == nil {
			t.Errorf("got no error for %+v", topic)
		}
		if data, err := wire.AppendRecord(nil, wire.Record{Kind: wire.RecordMessage, Topic: topic}); err == nil {
			t.Errorf("got record %x for %+v, want an error", data, topic)
		}
	}
	if got := wire.Kind(9).String(); got != "invalid" {
		t.Errorf("got %q, want invalid", got)
	}
	ok := wire.Topic{Kind: wire.KindUser, ID: "alice"}
	if data, err := wire.AppendRecord([]byte("x"), wire.Record{Kind: 9, Topic: ok}); err == nil || string(data) != "x" {
		t.Errorf("got %q, error %v for an unknown kind of record, want an error", data, err)
	}
}

func TestOnlyADurableMessageOfAKnownEpochHasAPosition(t *testing.T) {
	for _, tt := range []struct {
		env  wire.Envelope
		want wire.Position
	}{
		{wire.Envelope{Epoch: "a", Offset: 7}, wire.Position{Epoch: "a", Offset: 7}},
		{wire.Envelope{Epoch: "a"}, wire.Position{}},
		{wire.Envelope{Offset: 7}, wire.Position{}},
	} {
		if got := tt.env.Position(); got != tt.want {
			t.Errorf("got %v for %+v, want %v", got, tt.env, tt.want)
		}
	}
}

func TestMembersAreWrittenAsRecordBodies(t *testing.T) {
	got, err := json.Marshal(wire.Member{User: "bob", Joined: true})
	if want := `{"user":"bob","joined":true}`; err != nil || string(got) != want {
		t.Errorf("got %s, error %v, want %s", got, err, want)
	}
}

func TestRunStatesThatEndARun(t *testing.T) {
	for state, want := range map[wire.RunState]bool{
		wire.RunRunning: false, wire.RunWaiting: false, "": false,
		wire.RunCompleted: true, wire.RunFailed: true, wire.RunCancelled: true, wire.RunDead: true,
	} {
		if got := state.Ended(); got != want {
			t.Errorf("got %t for %q, want %t", got, state, want)
		}
	}
}
