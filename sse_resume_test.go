package switchboard_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// TestACutStreamMissesAndRepeatsNothing cuts an event stream again and again while messages
// are published to its user, a room and everybody.
func TestACutStreamMissesAndRepeatsNothing(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login, Limits: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer shutDown(t, m)
	c := newWeb(t, srv.URL, new(net.Dialer).DialContext)
	a := c.stream("alice room:team:join room:team:history")
	a.post(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"]}}`).answer(t, 200, wire.Subscribed, "s")

	const messages = 600
	targets := []switchboard.Target{switchboard.User("alice"), switchboard.Room("team"), switchboard.All()}
	var wg sync.WaitGroup
	for to, target := range targets {
		wg.Go(func() {
			for n := range messages {
				_, err := m.Publish(context.Background(), target, switchboard.Message{
					Type: "note", Payload: map[string]any{"to": to, "n": n, "x": strings.Repeat("x", 200)},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wg.Wait()
	next := make([]int, len(targets))
	cuts := 0
	for until := 1 + rand.N(100); next[0]+next[1]+next[2] < len(targets)*messages; until-- {
		if until == 0 {
			a.cut()
			a = a.again()
			if e := a.expect(wire.SessionRestored); payload[wire.Restored](t, e).Topics["room/team"].Recovered != true {
				t.Fatalf("got %s, want the room recovered", e.Payload)
			}
			cuts++
			until = 1 + rand.N(100)
		}
		got := payload[struct{ To, N int }](t, a.expect("note"))
		if got.N != next[got.To] {
			t.Fatalf("got message %d of topic %d, want %d", got.N, got.To, next[got.To])
		}
		next[got.To]++
	}
	if cuts < 5 {
		t.Errorf("the stream was cut %d times, want more", cuts)
	}
}

func TestAPageThatOpensAStreamAnewSaysItsLastEventInTheURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		s.note(t, switchboard.User("alice"), 1)
		a.notes(1)
		a.cut()
		s.note(t, switchboard.User("alice"), 2)
		b := s.web(t).streamOf(call{path: "/events?last_event_id=" + a.last, token: "alice"})
		if !b.welcome.Held {
			t.Error("the connection is not held")
		}
		b.expect(wire.SessionRestored)
		wantEqual(t, "notes", b.notes(1), []int{2})
	})
}

// TestALossIsToldOnAnEventStream: the log of the user kept less than was missed.
func TestALossIsToldOnAnEventStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Retention: broker.Retention{Messages: 2}})
		a := s.web(t).stream("alice")
		a.cut()
		synctest.Wait() // what somebody still has to get is kept
		for n := range 5 {
			s.note(t, switchboard.User("alice"), n)
		}
		user := a.welcome.Topics["user/alice"]
		b := a.again()
		before := has(t, b.last).Positions["user/alice"]
		if before != user {
			t.Errorf("the welcome has moved the position to %v, want %v", before, user)
		}
		if got := payload[wire.Restored](t, b.expect(wire.SessionRestored)); got.Topics["user/alice"].Reason != wire.ReasonExpired {
			t.Errorf("got %+v, want expired", got)
		}
		wantEqual(t, "position before the gap", has(t, b.last).Positions["user/alice"], user)
		gap := payload[wire.Gap](t, b.expect(wire.GapType))
		wantEqual(t, "position after the gap", has(t, b.last).Positions["user/alice"], gap.To)
		wantEqual(t, "notes", b.notes(2), []int{3, 4})
	})
}

func TestASessionIsResumedByItsTokenInTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice room:a:join")
		a.cut()
		b := s.web(t).stream(a.welcome.Session.Token)
		if b.welcome.Session.ID != a.welcome.Session.ID || b.welcome.Session.Token == a.welcome.Session.Token || b.welcome.Held {
			t.Errorf("got %+v after %+v, want the same session with a new token, not held", b.welcome, a.welcome)
		}
		w := s.connect(t, request{token: a.welcome.Session.Token})
		if w.welcome.Session.ID != a.welcome.Session.ID || !w.welcome.Held {
			t.Errorf("WebSocket: got %+v, want the same session, held", w.welcome)
		}
		if got := s.web(t).do(call{path: "/events", token: a.welcome.Session.Token + "x"}).problem(t); got.Code != "AUTH_ERROR" || got.Status != 401 {
			t.Errorf("changed token: got %+v, want 401", got)
		}
	})
}

// TestAStreamWhoseSessionCannotBeRestoredEnds: going on from now would hide what was missed.
func TestAStreamWhoseSessionCannotBeRestoredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &brokenLog{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.web(t).stream("alice")
		a.cut()
		s.note(t, switchboard.User("alice"), 1)
		d.broken.Store(true)
		b := a.again()
		e, err := wire.ParseErrorMessage([]byte(b.event().data))
		if err != nil || e.Code != wire.CodeUnavailable {
			t.Fatalf("got %+v, %v, want UNAVAILABLE", e, err)
		}
		b.ends(wire.CloseTryAgain)
		d.broken.Store(false)
		c := b.again()
		c.expect(wire.SessionRestored)
		wantEqual(t, "notes", c.notes(1), []int{1})
	})
}

// TestAnIDNamesOnlyWhatTheClientWasSent: a room whose epoch it does not know is not named.
func TestAnIDNamesOnlyWhatTheClientWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("hidden", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			return c.Follow(ctx, "secret") // the client is not told where it begins
		})
		a := s.web(t).stream("alice room:team:* room:other:*")
		a.post(`{"type":"join_room","message_id":"j","payload":{"room":"team"}}`).answer(t, 200, wire.RoomJoined, "j")
		a.post(`{"type":"subscribe","message_id":"s","payload":{"rooms":["other"]}}`).answer(t, 200, wire.Subscribed, "s")
		a.post(`{"type":"hidden","message_id":"h"}`).answer(t, 200, wire.AckType, "h")
		s.note(t, switchboard.Room("secret"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
		got := has(t, a.last).Positions
		if len(got) != 4 || got["room/team"].Epoch == "" || got["room/other"].Epoch == "" {
			t.Errorf("got %v, want user, all, team and other", got)
		}
		a.post(`{"type":"leave_room","message_id":"l","payload":{"room":"team"}}`).answer(t, 200, wire.RoomLeft, "l")
		a.post(`{"type":"unsubscribe","message_id":"u","payload":{"rooms":["other"]}}`).answer(t, 200, wire.Unsubscribed, "u")
		s.note(t, switchboard.User("alice"), 2)
		wantEqual(t, "notes", a.notes(1), []int{2})
		if got := has(t, a.last).Positions; len(got) != 2 {
			t.Errorf("got %v, want user and all", got)
		}
	})
}

// TestTheAnswerOfAPostSetsTheIDOfTheStream: whoever is cut off right after has the room.
func TestTheAnswerOfAPostSetsTheIDOfTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice room:team:*")
		a.post(`{"type":"join_room","message_id":"j","payload":{"room":"team"}}`).answer(t, 200, wire.RoomJoined, "j")
		if e := a.event(); e.data != "" || e.id == "" {
			t.Errorf("got %+v, want an id without data", e)
		}
		synctest.Wait() // until her other devices would have been told
		a.cut()
		s.note(t, switchboard.Room("team"), 1)
		b := a.again()
		b.expect(wire.SessionRestored)
		wantEqual(t, "notes", b.notes(1), []int{1})
	})
}
