package agent_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/wire"
)

// start returns a manager without connections, shut down when the test ends.
func start(t testing.TB) *switchboard.Manager {
	t.Helper()
	m, err := switchboard.New(switchboard.Options{Auth: nobody})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// A talk is a run that answered, as viewers saw it.
type talk struct {
	err    error // of Answer
	events []switchboard.Envelope
	text   string
	state  string // of the text
}

// begin starts a run for alice.
func begin(t testing.TB, m *switchboard.Manager) *switchboard.Run {
	t.Helper()
	run, err := m.Runs().Start(context.Background(), switchboard.RunOptions{Agent: "tester", To: switchboard.User("alice")})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// answer runs a question to its end, as HandleRun does.
func answer(t testing.TB, m *switchboard.Manager, run *switchboard.Run, a *agent.Agent, question string) talk {
	t.Helper()
	var got talk
	if got.err = a.Answer(run.Context(), run, question); got.err != nil {
		_, _ = run.Fail(context.Background(), got.err) // which a stopped run refuses
	} else if _, err := run.Complete(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	page, err := m.History(context.Background(), switchboard.User("alice"), switchboard.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Messages {
		if e.RunID == run.ID() {
			got.events = append(got.events, e)
		}
	}
	if s, err := run.Stream(agent.StreamName).Snapshot(context.Background()); err == nil {
		got.text, got.state = s.Text, s.State
	}
	return got
}

// types are those of the events.
func (g talk) types() []wire.MessageType {
	var types []wire.MessageType
	for _, e := range g.events {
		types = append(types, e.Type)
	}
	return types
}

// payload decodes the n-th payload, counted from 0, of a type.
func payload[T any](t testing.TB, g talk, typ wire.MessageType, n int) T {
	t.Helper()
	var v T
	for _, e := range g.events {
		if e.Type != typ {
			continue
		}
		if n--; n < 0 {
			if err := json.Unmarshal(e.Payload, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("got events %v, want more of %s", g.types(), typ)
	return v
}
