package runs_test

import (
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

func TestIDsOfRunsAndStreamsMakeAnID(t *testing.T) {
	for _, tt := range []struct {
		name, id  string
		run, text string // what is wrong with it as a run's id, as a stream's name
	}{
		{"usual", "order-help-3", "", ""},
		{"63 bytes", strings.Repeat("x", 63), "", ""},
		{"64 bytes", strings.Repeat("x", 64), "", "must have at most 63 bytes"},
		{"65 bytes", strings.Repeat("x", 65), "must have at most 64 bytes", "must have at most 63 bytes"},
		{"empty", "", "must not be empty", "must not be empty"},
		{"a slash", "a/b", `must not contain "/"`, `must not contain "/"`},
		{"a line break", "a\n", "must not contain control characters", "must not contain control characters"},
		{"not UTF-8", "\xff", "must be valid UTF-8", "must be valid UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(runs.CheckRunID(tt.id)); got != tt.run {
				t.Errorf("got %q for a run, want %q", got, tt.run)
			}
			if got := text(runs.CheckStreamName(tt.id)); got != tt.text {
				t.Errorf("got %q for a stream, want %q", got, tt.text)
			}
		})
	}
	longest := runs.StreamID(strings.Repeat("r", 64), strings.Repeat("s", 63))
	if err := wire.CheckID(longest); err != nil {
		t.Errorf("got %v for the longest id of a stream, want none", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTheRunOfAMessageIsTheSameWheneverItIsHandled(t *testing.T) {
	alice := wire.Topic{Tenant: "acme", Kind: wire.KindUser, ID: "alice"}
	// Nodes of other releases must find the same run, so this never changes.
	const want = "r_351258b792dd81ad97e4"
	if got := runs.DerivedID(alice, "alice", "a-2"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	seen := map[string]string{}
	room := wire.Topic{Tenant: "acme", Kind: wire.KindRoom, ID: "alice"}
	for _, tt := range []struct {
		name          string
		topic         wire.Topic
		user, message string
	}{
		{"this one", alice, "alice", "a-2"},
		{"another tenant", wire.Topic{Kind: wire.KindUser, ID: "alice"}, "alice", "a-2"},
		{"a room", room, "alice", "a-2"},
		{"another user in the room", room, "bob", "a-2"},
		{"another message", alice, "alice", "a-3"},
		{"the same letters in other parts", alice, "alicea", "-2"},
		{"the same letters in tenant and id", wire.Topic{Tenant: "acmea", Kind: wire.KindUser, ID: "lice"}, "alice", "a-2"},
	} {
		id := runs.DerivedID(tt.topic, tt.user, tt.message)
		if other, taken := seen[id]; taken {
			t.Errorf("got %s for %s and for %s", id, tt.name, other)
		}
		seen[id] = tt.name
		if err := runs.CheckRunID(id); err != nil {
			t.Errorf("%s: got %s: %v", tt.name, id, err)
		}
	}
}
