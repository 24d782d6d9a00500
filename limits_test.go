package switchboard_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// Too little memory for anything costs readings of the log, and no message and no text.
func TestATenantWithoutMemoryGetsEverything(t *testing.T) {
	for name, limits := range map[string]switchboard.Limits{
		"of the tenant": {TenantMemoryBytes: 1}, "of the node": {MemoryBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Limits: limits})
				a := s.as(t, "alice")
				s.note(t, switchboard.User("alice"), 1)
				wantEqual(t, "notes", a.notes(1), []int{1})
				run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice")})
				if err == nil {
					_, err = run.Stream("answer").AppendAt(t.Context(), -1, strings.Repeat("text ", 1000))
				}
				if err != nil {
					t.Fatal(err)
				}
				env := a.next()
				for env.Type != wire.StreamChunk {
					env = a.next()
				}
				if p := payload[wire.StreamChunkPayload](t, env); len(p.Text) != 5000 {
					t.Errorf("got %d bytes of text, want 5000", len(p.Text))
				}
				if got := s.Stats(); got.Evicted == 0 || got.WindowBytes != 0 || got.CatchUps == 0 {
					t.Errorf("got %d evicted, %d bytes and %d readings, want some, none and some", got.Evicted, got.WindowBytes, got.CatchUps)
				}
			})
		})
	}
}
