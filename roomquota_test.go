package switchboard_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// wantFull checks a refusal because of a quota.
func wantFull(t *testing.T, e wire.ErrorMessage, limit int, retry time.Duration) {
	t.Helper()
	if e.Details["limit"] != float64(limit) || e.Details["scope"] != "tenant" || e.Details["retry_after_ms"] != float64(retry.Milliseconds()) {
		t.Errorf("got details %v, want limit %d, scope tenant and %v", e.Details, limit, retry)
	}
}

func TestATenantFollowsNoMoreRoomsThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{Rooms: 2}), Log: slog.New(slog.NewTextHandler(&log, nil))})
		a, b := s.as(t, "noisy/a room:*:*"), s.as(t, "noisy/b room:*:*")
		for _, room := range []string{"r1", "r2"} {
			a.send(`{"type":"join_room","payload":{"room":%q}}`, room)
			a.await(wire.RoomJoined)
		}
		for _, message := range []string{
			`{"type":"join_room","message_id":"m","payload":{"room":"r3"}}`,
			`{"type":"subscribe","message_id":"m","payload":{"rooms":["r1","r3"]}}`,
			`{"type":"thread_open","message_id":"m","payload":{"room":"r3"}}`,
			`{"type":"session_restore","message_id":"m","payload":{"positions":{"room/r3":"e:1"}}}`,
		} {
			b.send("%s", message)
			wantFull(t, b.refused(wire.CodeRateLimited, "m"), 2, 30*time.Second)
		}
		b.send(`{"type":"join_room","payload":{"room":"r1"}}`)
		b.await(wire.RoomJoined) // which is followed already
		quiet := s.as(t, "quiet/a room:*:*")
		for _, room := range []string{"r1", "r2", "r3"} {
			quiet.send(`{"type":"join_room","payload":{"room":%q}}`, room)
			quiet.await(wire.RoomJoined)
		}
		if got := s.tenantStats(t, "noisy"); got.Rooms != 2 || got.RoomsRefused != 4 || got.Quota.Rooms != 2 {
			t.Errorf("got %+v", got)
		}
		if got := s.tenantStats(t, "quiet"); got.Rooms != 3 || got.RoomsRefused != 0 {
			t.Errorf("got %+v of the quiet tenant", got)
		}
		if n := log.count("a tenant is at its quota"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		a.send(`{"type":"leave_room","payload":{"room":"r2"}}`)
		a.await(wire.RoomLeft)
		time.Sleep(32 * time.Second)
		b.send(`{"type":"join_room","payload":{"room":"r3"}}`)
		b.await(wire.RoomJoined)
		// The application is told as well, and what it follows for a client that connects counts.
		var told error
		s.Handle("follow", func(ctx context.Context, c *switchboard.Conn, _ wire.Envelope) error {
			told = c.Follow(ctx, "r4")
			return nil
		})
		b.send(`{"type":"follow","message_id":"f"}`)
		b.ack("f")
		if switchboard.CodeOf(told) != wire.CodeRateLimited {
			t.Errorf("got %v, want RATE_LIMITED", told)
		}
	})
}

// A new member whose devices find no place is a member all the same, and follows when there is one.
func TestAMemberWithoutAPlaceForTheRoomIsAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{Rooms: 1})})
		a, b := s.as(t, "noisy/a"), s.as(t, "noisy/b")
		ctx := switchboard.WithTenant(t.Context(), "noisy")
		for room, user := range map[string]string{"r1": "a"} {
			if err := s.Rooms().Add(ctx, room, user); err != nil {
				t.Fatal(err)
			}
		}
		a.await(wire.RoomJoined)
		if err := s.Rooms().Add(ctx, "r2", "b"); err != nil {
			t.Fatal(err)
		}
		b.silent()
		if err := s.Rooms().Remove(ctx, "r1", "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(32 * time.Second)
		b.send(`{"type":"join_room","payload":{"room":"r2"}}`)
		b.await(wire.RoomJoined)
		if got := s.tenantStats(t, "noisy"); got.RoomsRefused != 1 {
			t.Errorf("got %+v, want one refusal", got)
		}
	})
}

func TestATenantHasNoMoreLiveRunsThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{Runs: 2})})
		noisy, quiet := switchboard.WithTenant(t.Context(), "noisy"), switchboard.WithTenant(t.Context(), "quiet")
		start := func(ctx context.Context, id string) (*switchboard.Run, error) {
			return s.Runs().Start(ctx, switchboard.RunOptions{ID: id, Agent: "writer", To: switchboard.User("u"), Lease: time.Hour})
		}
		var live []*switchboard.Run
		for _, id := range []string{"1", "2"} {
			run, err := start(noisy, id)
			if err != nil {
				t.Fatal(err)
			}
			live = append(live, run)
		}
		for range 3 {
			if _, err := start(noisy, "3"); switchboard.CodeOf(err) != wire.CodeRateLimited {
				t.Errorf("got %v, want RATE_LIMITED", err)
			}
		}
		if _, err := s.Runs().Attach(noisy, "3"); switchboard.CodeOf(err) != wire.CodeNotFound {
			t.Errorf("got %v, want that nothing is kept of a run that was refused", err)
		}
		if _, err := start(noisy, "1"); err != nil { // it lives
			t.Errorf("the same run again: %v", err)
		}
		for _, id := range []string{"1", "2", "3"} {
			if _, err := start(quiet, id); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.tenantStats(t, "noisy"); got.Runs != 2 || got.RunsRefused != 3 {
			t.Errorf("got %+v", got)
		}
		// A client that asks for one hears the same.
		s.HandleRun("ask", switchboard.RunOptions{Agent: "a"}, func(context.Context, *switchboard.Run, wire.Envelope) error { return nil })
		a := s.as(t, "noisy/a")
		a.send(`{"type":"ask","message_id":"m"}`)
		wantFull(t, a.refused(wire.CodeRateLimited, "m"), 2, 2*time.Second)
		if _, err := live[0].Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		a.send(`{"type":"ask","message_id":"m"}`)
		a.ack("m") // the place of the one that has ended
		synctest.Wait()
		if _, err := start(noisy, "3"); err != nil {
			t.Errorf("in the place of the agent that is through: %v", err)
		}
		if got := s.tenantStats(t, "noisy"); got.Runs != 2 {
			t.Errorf("got %d runs, want 2", got.Runs)
		}
		time.Sleep(2 * time.Hour) // their leases end
		if got, other := s.tenantStats(t, "noisy"), s.tenantStats(t, "quiet"); got.Runs != 0 || other.Runs != 0 || s.Stats().RunsLive != 0 {
			t.Errorf("got %d and %d runs, want none", got.Runs, other.Runs)
		}
	})
}

// A run that moves counts where it lives, and nowhere after its end; what lives is never refused.
func TestARunCountsAtTheNodeThatOwnsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := membroker.New(membroker.Options{})
		other := drive.Node()
		t.Cleanup(func() { _, _ = other.Close(), drive.Close() })
		quota := bounded(switchboard.Quota{Runs: 1})
		one := newServer(t, switchboard.Options{Broker: drive, Node: "one", Quota: quota})
		two := newServer(t, switchboard.Options{Broker: other, Node: "two", Quota: quota})
		ctx := switchboard.WithTenant(t.Context(), "noisy")
		want := func(ones, twos int) {
			t.Helper()
			if a, b := one.tenantStats(t, "noisy").Runs, two.tenantStats(t, "noisy").Runs; a != ones || b != twos {
				t.Errorf("got %d and %d, want %d and %d", a, b, ones, twos)
			}
			if a, b := one.Stats().RunsLive, two.Stats().RunsLive; a != ones || b != twos {
				t.Errorf("the nodes count %d and %d, want %d and %d", a, b, ones, twos)
			}
		}
		opts := func(id string) switchboard.RunOptions {
			return switchboard.RunOptions{ID: id, Agent: "writer", To: switchboard.User("u"), Lease: time.Minute}
		}
		for id, s := range map[string]*server{"1": one, "2": two} {
			if _, err := s.Runs().Start(ctx, opts(id)); err != nil {
				t.Fatal(err)
			}
		}
		if again, err := two.Runs().Start(ctx, opts("1")); err != nil || again.ID() != "1" {
			t.Errorf("a run that lives at the other node: got %v", err)
		}
		want(1, 1)
		run, err := two.Runs().Attach(ctx, "1")
		if err == nil {
			_, err = run.Emit(ctx, switchboard.Message{Type: "note"})
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		want(1, 2) // the former owner has not asked yet
		if _, err := run.Complete(ctx, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(0, 1)
		time.Sleep(time.Hour)
		want(0, 0)
	})
}
