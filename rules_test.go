package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// The tests of this file are the rules of isolation that the system before this one had written
// down and did not keep, and the validation in which it failed.

// TestAValidationOfTwentyUsersFindsNoViolation is the check that found 40 violations: users who
// share a thread, each with an agent that writes events at the same time; 20 deliveries reached
// another user, and 20 events, four of each of five users, came to the wrong one.
func TestAValidationOfTwentyUsersFindsNoViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users, events = 20, 4
		s := newServer(t, switchboard.Options{Limits: unlimited})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, func(ctx context.Context, run *switchboard.Run, msg wire.Envelope) error {
			for n := range events {
				if err := run.Thinking(ctx, fmt.Sprintf("secret of <%s> %d", msg.UserID, n)); err != nil {
					return err
				}
			}
			return nil
		})
		var all []*device
		for i := range users {
			all = append(all, s.as(t, fmt.Sprintf("user%02d", i)))
		}
		for _, c := range all {
			c.send(`{"type":"user_message","message_id":"ask","thread_id":"shared","payload":{"content":"hello"}}`)
		}
		for i := range users { // and what the application says to each
			s.note(t, switchboard.User(fmt.Sprintf("user%02d", i)), i)
		}
		synctest.Wait()
		violations := 0
		for i, c := range all {
			own, notes := 0, 0
			for {
				b, err := c.raw(time.Second)
				if err != nil {
					break
				}
				text := string(b)
				mine := strings.Count(text, fmt.Sprintf(`secret of \u003cuser%02d\u003e`, i)) + strings.Count(text, fmt.Sprintf("secret of <user%02d>", i))
				if strings.Count(text, "secret of ") != mine {
					violations++
				}
				own += mine
				if strings.Contains(text, `"type":"note"`) {
					notes++
					if !strings.Contains(text, fmt.Sprintf(`"n":%d}`, i)) {
						violations++
					}
				}
			}
			if own != events || notes != 1 {
				t.Errorf("user %d got %d events and %d notes of their own, want %d and 1", i, own, notes, events)
			}
		}
		if violations != 0 {
			t.Errorf("got %d violations, want 0", violations)
		}
	})
}

// TestAConnectionIsBoundToItsUserForLife: no message and no credential makes it another's.
func TestAConnectionIsBoundToItsUserForLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		c := s.as(t, "acme/alice")
		for _, other := range []string{"acme/bob", "alice", "other/alice"} {
			c.send(`{"type":"auth","message_id":"a","payload":{"token":%q}}`, other)
			c.refused(wire.CodeAuthError, "a")
		}
		c.send(`{"type":"user_message","message_id":"m","user_id":"bob","payload":{"user_id":"bob"}}`)
		if env := c.await(wire.UserMessage); env.UserID != "alice" || env.Topic != "user/alice" {
			t.Errorf("got a message of %q on %s, want alice's", env.UserID, env.Topic)
		}
	})
}

// TestAnEmitterIsBoundToItsRun: events of a run come from that run, and go where it was started for.
func TestAnEmitterIsBoundToItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		alice, bob := s.as(t, "alice"), s.as(t, "bob")
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "a", To: switchboard.User("alice"), Thread: "t", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		alice.expect(wire.AgentStarted)
		_, err = s.Publish(t.Context(), switchboard.User("bob"), switchboard.Message{Type: wire.AgentThinking, Run: run.ID(), Payload: map[string]any{}})
		if switchboard.CodeOf(err) != wire.CodeRunContract {
			t.Errorf("publishing an event of the run to another: got %v, want %s", err, wire.CodeRunContract)
		}
		bob.send(`{"type":"agent_thinking","message_id":"m","run_id":%q,"payload":{}}`, run.ID())
		if env := bob.next(); env.Type == wire.AgentThinking {
			t.Error("a client wrote an event of a run")
		}
		if _, err := s.Runs().Attach(switchboard.WithTenant(t.Context(), "acme"), run.ID()); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("attaching from another tenant: got %v, want ErrNotFound", err)
		}
		alice.silent()
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		bob.silent()
	})
}

// TestNobodyReachesTheConnectionOfAnother: whoever names a connection must be its user, or the
// application of its tenant.
func TestNobodyReachesTheConnectionOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		alice, bob := s.as(t, "acme/alice"), s.as(t, "acme/bob")
		id := alice.welcome.ConnectionID
		for _, tenant := range []string{"", "other"} {
			ctx := switchboard.WithTenant(t.Context(), tenant)
			if _, err := s.Publish(ctx, switchboard.Connection(id), switchboard.Message{Type: "note"}); !errors.Is(err, switchboard.ErrNotFound) {
				t.Errorf("publishing from %q: got %v, want ErrNotFound", tenant, err)
			}
			if n, err := s.Connections().Close(ctx, switchboard.Connection(id), switchboard.CloseError{}); n != 0 || err != nil {
				t.Errorf("closing from %q: got %d, %v, want 0", tenant, n, err)
			}
		}
		bob.send(`{"type":"session_restore","message_id":"r","payload":{"replace":%q}}`, id)
		bob.await(wire.SessionRestored)
		for _, token := range []string{"acme/bob", "alice", "other/alice"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://switchboard.test/messages", strings.NewReader(`{"type":"ping"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Switchboard-Connection", id)
			if got := s.answerTo(t, r); got != http.StatusNotFound {
				t.Errorf("posting as %s: got %d, want 404", token, got)
			}
		}
		alice.silent()
	})
}

// answerTo sends a request and returns the status.
func (s *server) answerTo(t *testing.T, r *http.Request) int {
	t.Helper()
	conn, err := s.ln.dial(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 12)
	if _, err := io.ReadFull(conn, text); err != nil {
		t.Fatal(err)
	}
	var status int
	if _, err := fmt.Sscanf(string(text), "HTTP/1.1 %d", &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// TestTheSameThreadOfTwoUsersDoesNotMix: what decides is the topic, and the thread is a label.
func TestTheSameThreadOfTwoUsersDoesNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		alice, bob, other := s.as(t, "alice"), s.as(t, "bob"), s.as(t, "acme/alice")
		alice.send(`{"type":"user_message","message_id":"m1","thread_id":"t","payload":{"content":"of alice"}}`)
		alice.await(wire.AckType)
		for _, c := range []*device{bob, other} {
			c.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":"t"}}`)
			if env := c.await(wire.ThreadSnapshot); strings.Contains(string(env.Payload), "of alice") {
				t.Errorf("got %s, want nothing of another", env.Payload)
			}
			c.silent()
		}
	})
}

// TestWhatBelongsToAConnectionGoesWithIt: nothing of one that has ended is left, and nothing is
// sent to it any more.
func TestWhatBelongsToAConnectionGoesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		for range 50 {
			c := s.as(t, "alice room:r:join")
			c.join("r")
			if err := c.conn.Close(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			_, err := s.Publish(t.Context(), switchboard.Connection(c.welcome.ConnectionID), switchboard.Message{Type: "note"})
			if !errors.Is(err, switchboard.ErrNotFound) {
				t.Errorf("publishing to a connection that has ended: got %v, want ErrNotFound", err)
			}
		}
		if got := s.Stats(); got.Connections != 0 || got.Users != 0 || got.Rooms != 0 {
			t.Errorf("got %d connections, %d users and %d rooms, want none", got.Connections, got.Users, got.Rooms)
		}
	})
}

// TestAnEmitterOfARunThatHasEndedSaysNothing, and says so: no call of it is taken for a success.
func TestAnEmitterOfARunThatHasEndedSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "a", To: switchboard.User("alice"), Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		alice := s.as(t, "alice")
		if err := run.Thinking(t.Context(), "too late"); !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("got %v, want ErrRunEnded", err)
		}
		if _, err := io.WriteString(run.Stream("answer"), "too late"); !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("got %v, want ErrRunEnded", err)
		}
		alice.silent()
	})
}

// TestAUserHasSoManyConnectionsAndOthersHaveTheirs: the bound of one user takes no place of another.
func TestAUserHasSoManyConnectionsAndOthersHaveTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: 5}})
		for range 5 {
			s.as(t, "alice")
		}
		if _, resp := s.handshake(t, request{token: "alice"}); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a sixth: got %d, want 429", resp.StatusCode)
		}
		s.as(t, "bob")
		s.as(t, "acme/alice")
	})
}

// TestASlowDeviceOfAUserLosesNothingAndHoldsUpNobody: there is no queue for each user, from which
// the oldest would be dropped; what a device has not read waits in the log, in order.
func TestASlowDeviceOfAUserLosesNothingAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 1500
		s := newServer(t, switchboard.Options{})
		slow, other := s.connect(t, request{token: "alice", buffer: 4 << 10}), s.as(t, "bob")
		for n := range messages {
			s.note(t, switchboard.User("alice"), n)
		}
		s.note(t, switchboard.User("bob"), 1)
		wantEqual(t, "notes of bob", other.notes(1), []int{1})
		for n, got := range slow.notes(messages) {
			if got != n {
				t.Fatalf("got note %d, want %d", got, n)
			}
		}
	})
}
