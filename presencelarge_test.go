package switchboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// states are what a device is told of the room "team" as a whole within a time, and how often of its number.
func (c *device) states(d time.Duration) (states []wire.PresenceStatePayload, counts []int) {
	c.t.Helper()
	for end := time.Now().Add(d); ; {
		b, err := c.raw(time.Until(end))
		if err != nil {
			return states, counts
		}
		env, err := wire.ParseAnswer(b)
		if err != nil {
			c.t.Fatal(err)
		}
		switch {
		case env.Topic != "room/team":
		case env.Type == wire.PresenceState:
			states = append(states, payload[wire.PresenceStatePayload](c.t, env))
		case env.Type == wire.PresenceDiff:
			counts = append(counts, payload[wire.PresenceDiffPayload](c.t, env).Count)
		}
	}
}

// audience makes n users follow the room "team", who do not hear who is there.
func (s *server) audience(t *testing.T, n int) []*device {
	t.Helper()
	all := make([]*device, n)
	for i := range all {
		all[i] = s.as(t, fmt.Sprintf("u%03d room:team:join", i))
		all[i].follow()
	}
	return all
}

// Names are long. Who comes and goes where a room becomes large makes the server tell nobody all of them.
func TestNamesAreNotToldEachTimeSomebodyLeavesALargeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: patientBeat})
		alice := s.watching(t, "alice"+seesTeam)
		alice.follow()
		crowd := s.audience(t, 255)
		alice.states(5 * time.Second)
		one := s.as(t, "one room:team:join")
		for range 30 {
			one.follow()
			time.Sleep(500 * time.Millisecond)
			one.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
			one.await(wire.Unsubscribed)
			time.Sleep(500 * time.Millisecond)
		}
		states, counts := alice.states(10 * time.Second)
		if len(states) != 1 || len(states[0].Users) != 0 || states[0].Count != 257 {
			t.Errorf("got %d whole states, want one, with the number 257", len(states))
		}
		if n := len(counts); n == 0 || n > 20 || counts[n-1] != 256 {
			t.Errorf("got counts %v within 40 s, want one in 2 s and 256 at the end", counts)
		}
		// With fewer it is names again, and no sooner than the next number would be told.
		for _, c := range crowd[:54] {
			c.goodbye()
		}
		if states, counts := alice.states(10 * time.Second); len(states) != 0 || len(counts) == 0 || counts[len(counts)-1] != 202 {
			t.Errorf("got %d whole states and counts %v, want 202 and no names", len(states), counts)
		}
		crowd[54].goodbye()
		time.Sleep(300 * time.Millisecond) // the number is told
		crowd[55].goodbye()
		if states, counts := alice.states(time.Second); len(states) != 0 || len(counts) != 1 || counts[0] != 201 {
			t.Errorf("got %d whole states and counts %v, want 201 and no names yet", len(states), counts)
		}
		states, _ = alice.states(2 * time.Second)
		if len(states) != 1 || len(states[0].Users) != 200 || states[0].Count != 200 {
			t.Errorf("got %d whole states, want one, with 200 names", len(states))
		}
	})
}

// slowly is a driver that takes its time to publish what a node answers who is in a room.
type slowly struct {
	broker.Driver
	takes atomic.Int64 // nanoseconds; below 0: it loses it
	began atomic.Int64 // how many answers
}

func (d *slowly) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	if bytes.Contains(r.Data, []byte(`,"c":`)) { // of how many users it is
		d.began.Add(1)
		takes := time.Duration(d.takes.Load())
		if takes < 0 {
			return broker.Published{}, nil
		}
		time.Sleep(takes)
		ctx = context.WithoutCancel(ctx) // as if it had been said so late
	}
	return d.Driver.Publish(ctx, r)
}

// slowCluster is two nodes, of which the second is slow to answer.
func slowCluster(t *testing.T) (one, two *server, slow *slowly, b *membroker.Broker) {
	b = openDriver(t)
	second := b.Node()
	t.Cleanup(func() { _ = second.Close() })
	slow = &slowly{Driver: second}
	opts := switchboard.Options{Limits: unlimited, Heartbeat: patientBeat, SessionKeys: [][]byte{make([]byte, 32)}}
	opts.Broker, opts.Node = b, "one"
	one = newServer(t, opts)
	opts.Broker, opts.Node = slow, "two"
	two = newServer(t, opts)
	time.Sleep(time.Second)
	return one, two, slow, b
}

// present is how many users a node says are in the room "team".
func (s *server) present(t *testing.T) (n int, err error) {
	for _, err := range s.Presence().Room(t.Context(), "team") {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// An answer that comes in many pieces, each of which takes its time, is waited for.
func TestWhoIsInALargeRoomOfASlowNodeIsToldAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, slow, _ := slowCluster(t)
		two.audience(t, 450)
		time.Sleep(30 * time.Second)
		slow.takes.Store(int64(900 * time.Millisecond))
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		began := time.Now()
		states, _ := alice.states(20 * time.Second)
		if len(states) != 1 || states[0].Count != 451 || states[0].Incomplete {
			t.Errorf("got %+v, want one state, with all 451", states)
		}
		if n := slow.began.Load(); n != 4 { // that it begins, and three with users
			t.Errorf("the answer had %d pieces, want 4: it was asked once", n)
		}
		if n, err := one.present(t); n != 451 || err != nil {
			t.Errorf("got %d users and %v, want 451", n, err)
		}
		if took := time.Since(began); took < 20*time.Second+3*900*time.Millisecond {
			t.Errorf("both took %v: nothing was slow", took)
		}
	})
}

// What is not known is said not to be known: to who asks by an error, to who watches by a state that is
// incomplete, and not before it has lasted.
func TestANodeThatDoesNotAnswerIsNoNodeWithoutUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, slow, _ := slowCluster(t)
		two.audience(t, 3)
		time.Sleep(30 * time.Second)
		slow.takes.Store(-1)
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		if n, err := one.present(t); n != 0 || !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("got %d users and %v, want ErrUnavailable", n, err)
		}
		if p, err := one.Presence().User(t.Context(), "u001"); !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("got %+v and %v, want ErrUnavailable", p, err)
		}
		if states, _ := alice.states(3 * time.Second); len(states) != 0 { // 9 s in all
			t.Errorf("got %+v while the other node is waited for", states)
		}
		states, _ := alice.states(30 * time.Second)
		if len(states) != 1 || states[0].Count != 1 || !states[0].Incomplete {
			t.Errorf("got %+v, want one state, which says that it is incomplete", states)
		}
		slow.takes.Store(0)
		states, _ = alice.states(10 * time.Second)
		if len(states) != 1 || states[0].Count != 4 || states[0].Incomplete {
			t.Errorf("got %+v, want one state, with all", states)
		}
		if n, err := one.present(t); n != 4 || err != nil {
			t.Errorf("got %d users and %v, want 4", n, err)
		}
	})
}

// A node that has died is waited for as long as its lease lives, and then is none.
func TestADeadNodeIsWaitedForAsLongAsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, second := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		two.audience(t, 3)
		time.Sleep(30 * time.Second)
		_ = second.Close()
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		if _, err := one.present(t); !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		states, _ := alice.states(15 * time.Second)
		if n := len(states); n == 0 || states[n-1].Incomplete || states[n-1].Count != 1 {
			t.Errorf("got %+v, want alice alone at the end", states)
		}
		if n, err := one.present(t); n != 1 || err != nil {
			t.Errorf("got %d users and %v, want 1", n, err)
		}
	})
}

// A node that is busy for a while is not asked again and again, which would make it answer as often.
func TestABusyNodeIsAskedOnceWhoIsInARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, slow, _ := slowCluster(t)
		two.audience(t, 3)
		time.Sleep(30 * time.Second)
		slow.takes.Store(int64(8 * time.Second))
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		states, _ := alice.states(time.Minute)
		if n := slow.began.Load(); n != 1 || len(states) != 1 || states[0].Count != 4 || states[0].Incomplete {
			t.Errorf("got %+v after %d answers, want one state, with all, after one", states, n)
		}
	})
}

// What was asked while the link was lost is asked again when it is back.
func TestWhoWatchesSinceTheLinkWasLostIsToldWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, slow, b := slowCluster(t)
		two.audience(t, 3)
		time.Sleep(30 * time.Second)
		slow.takes.Store(-1)
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		time.Sleep(time.Second)
		slow.takes.Store(0)
		b.Faults().CutLink()
		states, _ := alice.states(5 * time.Second)
		if len(states) != 1 || states[0].Count != 4 || states[0].Incomplete {
			t.Errorf("got %+v, want one state, with all", states)
		}
	})
}
