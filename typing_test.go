package switchboard_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// typing reads the next message, which must say who types, or types no more, in topic and thread.
func (c *device) typing(user, topic, thread string, types bool) {
	c.t.Helper()
	b, err := c.raw(10 * time.Second)
	if err != nil {
		c.t.Fatalf("waiting for user_typing: %v", err)
	}
	got, err := wire.ParseAnswer(b)
	if err != nil {
		c.t.Fatalf("message %s: %v", b, err)
	}
	want := wire.Envelope{
		Type: wire.UserTyping, Timestamp: got.Timestamp, Topic: topic, UserID: user, ThreadID: thread,
		Payload: fmt.Appendf(nil, `{"user_id":%q,"is_typing":%t,"expires_in":5}`, user, types),
	}
	if diff := cmp.Diff(want, got); diff != "" || got.Timestamp == 0 {
		c.t.Fatalf("typing (-want +got), timestamp %v:\n%s", got.Timestamp, diff)
	}
}

// types says that the device's user types in a room.
func (c *device) types(room, thread string) {
	c.t.Helper()
	c.send(`{"type":"typing_started","message_id":"ty"%s,"payload":{"room":%q}}`, inThread(thread), room)
}

func (c *device) stops(room, thread string) {
	c.t.Helper()
	c.send(`{"type":"typing_stopped","message_id":"st"%s,"payload":{"room":%q}}`, inThread(thread), room)
}

func inThread(thread string) string {
	if thread == "" {
		return ""
	}
	return fmt.Sprintf(`,"thread_id":%q`, thread)
}

// inTeam is two users in a room.
func inTeam(t *testing.T) (s *server, a, b *device) {
	t.Helper()
	s = newServer(t, switchboard.Options{})
	a, b = s.as(t, "alice room:team:*"), s.as(t, "bob room:team:*")
	a.join("team")
	b.join("team")
	return s, a, b
}

// TestTypingReachesTheOthersAndIsNotAnswered is what the old routers did not do: they answered, and
// told nobody.
func TestTypingReachesTheOthersAndIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := inTeam(t)
		for _, typ := range []string{"typing_started", "typing_stopped"} {
			b.send(`{"type":%q,"message_id":"ty","user_id":"mallory","thread_id":"t1","payload":{"room":"team"}}`, typ)
			a.typing("bob", "room/team", "t1", typ == "typing_started")
		}
		b.send(`{"type":"typing_started","thread_id":"t2","topic":"room/team"}`) // a room named as in a message
		a.typing("bob", "room/team", "t2", true)
		b.silent()
		a.typing("bob", "room/team", "t2", false)
		a.silent()
	})
}

func TestTypingEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := inTeam(t)
		b.types("team", "")
		a.typing("bob", "room/team", "", true)
		began := time.Now()
		a.typing("bob", "room/team", "", false)
		wantEqual(t, "time until the end", time.Since(began), 5*time.Second)
		time.Sleep(10 * time.Second)
		a.silent()
		b.silent()
	})
}

func TestTypingIsRelayedNoMoreOftenThanNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := inTeam(t)
		began := time.Now()
		go func() {
			for range 40 { // 10 s long
				b.types("team", "")
				time.Sleep(250 * time.Millisecond)
			}
		}()
		for i := range 5 {
			a.typing("bob", "room/team", "", true)
			wantEqual(t, fmt.Sprint("time of relay ", i), time.Since(began), time.Duration(i)*2*time.Second)
		}
		a.typing("bob", "room/team", "", false)
		wantEqual(t, "time of the end", time.Since(began), 14750*time.Millisecond)
	})
}

// TestWhoBeginsAndStopsAllTheTimeIsToldOfSometimes: the fan-out of a large room is not the client's
// to command.
func TestWhoBeginsAndStopsAllTheTimeIsToldOfSometimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := inTeam(t)
		began := time.Now()
		for range 7 { // few enough that the connection is not made to take turns
			b.types("team", "")
			synctest.Wait()
			b.stops("team", "")
			synctest.Wait()
		}
		b.types("team", "")
		a.typing("bob", "room/team", "", true)
		a.typing("bob", "room/team", "", false)
		a.typing("bob", "room/team", "", true) // the last one, when it may be told
		wantEqual(t, "time", time.Since(began), 2*time.Second)
		a.typing("bob", "room/team", "", false)
		wantEqual(t, "time of the end", time.Since(began), 5*time.Second)
		synctest.Wait() // it is counted once it is told
		if n := s.Stats().Typing; n.Now != 0 || n.Relayed != 4 {
			t.Errorf("got %+v, want 4 relays and nobody who types", n)
		}
	})
}

func TestTypingEndsAtOnceAndOnce(t *testing.T) {
	const started = `{"type":"typing_started","payload":{"room":"team"}}`
	for _, test := range []struct {
		name string
		end  func(t *testing.T, s *server, b *device)
	}{
		{"typing_stopped", func(_ *testing.T, _ *server, b *device) { b.stops("team", "") }},
		{"leave_room", func(_ *testing.T, _ *server, b *device) {
			b.send(`{"type":"leave_room","payload":{"room":"team"}}`)
			b.expect(wire.RoomLeft)
		}},
		{"unsubscribe", func(_ *testing.T, _ *server, b *device) {
			b.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
			b.expect(wire.Unsubscribed)
		}},
		{"Unfollow", func(_ *testing.T, s *server, b *device) {
			s.Handle("quit", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
				return c.Unfollow(ctx, "team")
			})
			b.send(`{"type":"quit","message_id":"q"}`)
			b.ack("q")
		}},
		{"Remove", func(t *testing.T, s *server, b *device) {
			if err := s.Rooms().Remove(t.Context(), "team", "bob"); err != nil {
				t.Error(err)
			}
			b.expect(wire.RoomLeft)
		}},
		{"a refresh without the right", func(_ *testing.T, _ *server, b *device) {
			b.send(`{"type":"auth","payload":{"token":"bob"}}`)
			b.await(wire.RoomLeft)
		}},
		{"the end of the connection", func(_ *testing.T, _ *server, b *device) { _ = b.conn.Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, a, b := inTeam(t)
				b.send(started)
				a.typing("bob", "room/team", "", true)
				began := time.Now()
				test.end(t, s, b)
				a.typing("bob", "room/team", "", false)
				wantEqual(t, "time until the end", time.Since(began), 0)
				time.Sleep(10 * time.Second)
				a.silent()
				if got := s.Stats().Typing.Now; got != 0 {
					t.Errorf("got %d who type, want none", got)
				}
			})
		})
	}
}

// TestTwoDevicesOfAUserAreOneWhoTypes: it ends with the last of them, and each hears of the other.
func TestTwoDevicesOfAUserAreOneWhoTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := inTeam(t)
		synctest.Wait() // until nothing more is to be told of the room
		phone := s.as(t, "bob room:team:*")
		phone.send(`{"type":"subscribe","payload":{"rooms":["team"]}}`)
		phone.expect(wire.Subscribed)
		b.types("team", "")
		a.typing("bob", "room/team", "", true)
		phone.typing("bob", "room/team", "", true)
		phone.types("team", "")
		synctest.Wait()
		b.stops("team", "")
		a.silent()
		phone.stops("team", "")
		for _, c := range []*device{a, b, phone} {
			c.typing("bob", "room/team", "", false)
			c.silent()
		}
	})
}

func TestTypingInAPrivateThreadIsForTheUsersOtherDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		laptop, phone, other := one.as(t, "alice"), two.as(t, "alice"), two.as(t, "bob")
		laptop.send(`{"type":"typing_started","thread_id":"t1"}`)
		phone.typing("alice", "user/alice", "t1", true)
		_ = laptop.conn.Close()
		phone.typing("alice", "user/alice", "t1", false)
		other.silent()
	})
}

// TestTypingInAThreadIsForWhoWatchesIt: it is volatile, as text is.
func TestTypingInAThreadIsForWhoWatchesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := inTeam(t)
		a.send(`{"type":"subscribe","payload":{"threads":["t1"]}}`)
		a.expect(wire.Subscribed)
		b.types("team", "t2")
		a.silent()
		b.types("team", "t1")
		a.typing("bob", "room/team", "t1", true)
	})
}

func TestTypingIsForWhoMaySpeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, b := s.as(t, "alice room:team:*"), s.as(t, "bob room:team:join")
		a.join("team")
		b.join("team")
		for _, test := range []struct {
			message string
			code    wire.Code
			field   string
		}{
			{`{"type":"typing_started","message_id":"e","payload":{"room":"team"}}`, wire.CodeForbidden, "room"},
			{`{"type":"typing_started","message_id":"e","payload":{"room":"unknown"}}`, wire.CodeForbidden, "room"},
			{`{"type":"typing_started","message_id":"e","topic":"room/team"}`, wire.CodeForbidden, "room"},
			{`{"type":"typing_started","message_id":"e","topic":"user/alice"}`, wire.CodeForbidden, "topic"},
			{`{"type":"typing_started","message_id":"e","topic":"all"}`, wire.CodeForbidden, "topic"},
			{`{"type":"typing_stopped","message_id":"e","topic":"planet/x"}`, wire.CodeInvalidMessage, "topic"},
			{`{"type":"typing_started","message_id":"e","payload":{"room":"a\u0000"}}`, wire.CodeInvalidMessage, "room"},
			{`{"type":"typing_started","message_id":"e","payload":{"room":7}}`, wire.CodeInvalidMessage, "room"},
		} {
			b.send("%s", test.message)
			e := b.refused(test.code, "e")
			wantEqual(t, test.message, fmt.Sprint(e.Details["field"]), test.field)
		}
		b.stops("team", "") // who may not speak may stop
		b.silent()
		a.silent()
	})
}

func TestAConnectionTypesInSoManyPlacesAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		for i := range 16 {
			a.send(`{"type":"typing_started","thread_id":"t%d"}`, i)
		}
		a.send(`{"type":"typing_started","message_id":"e","thread_id":"more"}`)
		wantEqual(t, "limit", a.refused(wire.CodeConflict, "e").Details["limit"], any(float64(16)))
		a.send(`{"type":"typing_started","thread_id":"t3"}`) // a renewal is none more
		a.silent()
		wantEqual(t, "places", s.Stats().Typing.Now, 16)
		time.Sleep(5 * time.Second)
		wantEqual(t, "places", s.Stats().Typing.Now, 0)
	})
}

// TestAShutdownTellsWhoTypesNoMore: the devices on other nodes need not wait.
func TestAShutdownTellsWhoTypesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a, b := two.as(t, "alice room:team:*"), one.as(t, "bob room:team:*")
		a.join("team")
		b.join("team")
		b.types("team", "")
		a.typing("bob", "room/team", "", true)
		go func() {
			for {
				if _, err := b.raw(time.Minute); err != nil {
					_ = b.conn.Close()
					return
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := one.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		a.typing("bob", "room/team", "", false)
		a.silent()
	})
}
