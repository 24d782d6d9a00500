package scenarios_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// TestErrorHandling: ten users and five messages to each, over lines that fail never, now and
// then, every second time, or without a word. All of the 50 arrive, and a neighbour on the same
// node notices nothing of it.
func TestErrorHandling(t *testing.T) {
	t.Parallel()
	// Silence is noticed by heartbeats alone, so there they must be quick.
	quick := switchboard.Heartbeat{Interval: 250 * time.Millisecond, Timeout: 10 * time.Second, MaxMissed: 30}
	for _, tt := range []struct {
		name  string
		every int // which messages meet a failure: the first of so many; 0: none
		how   fate
		beat  switchboard.Heartbeat
	}{
		{"none", 0, arrives, switchboard.Heartbeat{}},
		{"intermittent", 5, reset, switchboard.Heartbeat{}},
		{"frequent", 2, torn, switchboard.Heartbeat{}},
		{"timeout", 5, silence, quick},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const users, messages = 10, 5
			n := newNode(t, switchboard.Options{Heartbeat: tt.beat})
			neighbour, told := connect(t, n, "neighbour"), make(chan error, 1)
			go func() {
				got, err := notes(neighbour.messages())
				if err == nil {
					err = exactly(got, numbered("server", users*messages))
				}
				told <- err
			}()
			lines := make([]*line, users)
			for i := range lines {
				lines[i] = newLine(t, n, profile{name: tt.name}, i)
			}
			each(t, users+1, func(i int) error {
				if i < users {
					return lines[i].carries(waiting(t), n, fmt.Sprintf("user-%d", i), messages, func(k int) {
						if tt.every > 0 && (i*messages+k)%tt.every == 0 {
							lines[i].breaks(tt.how)
						}
					})
				}
				for k := range users * messages {
					if err := n.note(t.Context(), switchboard.User("neighbour"), "server", k); err != nil {
						return err
					}
				}
				return nil
			})
			must(t, n.end(t.Context(), switchboard.User("neighbour")))
			if err := <-told; err != nil {
				t.Errorf("the neighbour: %v", err)
			}
			made := n.Stats().Accepted
			t.Logf("%d connections were made for %d clients", made, users+1)
			if failures := made - users - 1; (tt.every > 0) != (failures > 0) {
				t.Errorf("got %d connections for %d clients", made, users+1)
			}
		})
	}
}

// TestThreadSafety: users connect, speak and listen all at once. All that they say is handled
// once, all answers arrive, in order, and what is counted is what happened.
func TestThreadSafety(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		users, messages int
	}{{"concurrent users", 10, 5}, {"thread safety", 20, 10}} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, switchboard.Options{})
			n.Handle("say", switchboard.Typed(func(ctx context.Context, c *switchboard.Conn, said note) error {
				return n.note(ctx, switchboard.User(c.Identity().User), said.From, said.N)
			}))
			each(t, tt.users, func(i int) error {
				user := fmt.Sprintf("user-%d", i)
				c, err := client.Dial(waiting(t), client.Options{URL: n.url(), Token: as(user)})
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = c.Close() })
				answers := c.Messages(waiting(t))
				for k := range tt.messages {
					if _, err := c.Send(waiting(t), client.Message{Type: "say", Payload: note{user, k}}); err != nil {
						return err
					}
				}
				if err := n.end(t.Context(), switchboard.User(user)); err != nil {
					return err
				}
				got, err := notes(answers)
				if err != nil {
					return err
				}
				return exactly(got, numbered(user, tt.messages))
			})
			st, all := n.Stats(), uint64(tt.users*tt.messages)
			if st.Connections != tt.users || st.Users != tt.users || st.Accepted != uint64(tt.users) {
				t.Errorf("got %d connections of %d users, %d accepted, want %d of each", st.Connections, st.Users, st.Accepted, tt.users)
			}
			if st.Published != all+uint64(tt.users) || st.Received-st.Acks != all || st.HandlerErrors != 0 || len(st.Errors) != 0 {
				t.Errorf("got %d published, %d received, %d and %v errors; want %d, %d and none",
					st.Published, st.Received-st.Acks, st.HandlerErrors, st.Errors, all+uint64(tt.users), all)
			}
			if got := n.healthy(t); got != tt.users {
				t.Errorf("got %d healthy connections, want %d", got, tt.users)
			}
		})
	}
}

// TestCleanUp: of many connections some are dead and do not answer. Those are closed, with
// 1001, and no other.
func TestCleanUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		count int
		dead  func(i int) bool
	}{
		{"every third of 100", 100, func(i int) bool { return i%3 == 0 }},
		{"two of five", 5, func(i int) bool { return i < 2 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Three seconds would be enough, were there nobody else on this machine.
			n := newNode(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 500 * time.Millisecond, Timeout: 15 * time.Second, MaxMissed: 30}})
			dead := 0
			for i := range tt.count {
				if tt.dead(i) {
					dead++
				}
			}
			each(t, tt.count+1, func(i int) error {
				if i == tt.count {
					err := becomes("the dead are gone", func() bool {
						st := n.Stats()
						return st.Accepted == uint64(tt.count) && st.Connections <= tt.count-dead
					})
					return errors.Join(err, n.end(t.Context(), switchboard.All()))
				}
				d, err := n.connect(fmt.Sprintf("user-%d", i))
				if err != nil {
					return err
				}
				if d.dead = tt.dead(i); d.dead {
					defer d.drop()
					if _, _, err := d.drain(); !errors.Is(err, errClosed{wire.CloseGoingAway}) {
						return fmt.Errorf("of the dead: got %w, want a close with 1001", err)
					}
					return nil
				}
				t.Cleanup(d.drop)
				if got, err := notes(d.messages()); len(got) != 0 || err != nil {
					return fmt.Errorf("of the living: got %d notes, %w", len(got), err)
				}
				return nil
			})
			st := n.Stats()
			if st.Connections != tt.count-dead || st.Heartbeat.Dropped != uint64(dead) {
				t.Errorf("got %d connections and %d dropped, want %d and %d", st.Connections, st.Heartbeat.Dropped, tt.count-dead, dead)
			}
		})
	}
}
