package switchboard_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func (s *server) add(t testing.TB, user string) {
	t.Helper()
	if err := s.Rooms().Add(t.Context(), "team", user); err != nil {
		t.Fatal(err)
	}
}

func (s *server) remove(t testing.TB, user string) {
	t.Helper()
	if err := s.Rooms().Remove(t.Context(), "team", user); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasSaidBetweenTwoMembershipsStaysUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		s.add(t, "alice")
		first := payload[wire.RoomJoinedPayload](t, a.expect(wire.RoomJoined)).Position
		s.note(t, switchboard.Room("team"), 1)
		a.notes(1)
		_ = a.conn.Close()
		s.note(t, switchboard.Room("team"), 2) // hers, and lost to her by the end
		s.remove(t, "alice")
		s.note(t, switchboard.Room("team"), 3)

		away := s.as(t, "alice")
		_, got := away.restored(map[string]wire.Position{"room/team": at(first, first.Offset+1)}, "")
		wantEqual(t, "while removed", got.Topics["room/team"], wire.RestoredTopic{Reason: wire.ReasonForbidden})
		away.silent()

		s.add(t, "alice")
		second := payload[wire.RoomJoinedPayload](t, away.expect(wire.RoomJoined)).Position
		s.note(t, switchboard.Room("team"), 4)
		away.notes(1)
		for _, from := range []wire.Position{{}, first, at(first, first.Offset+1), at(first, second.Offset-1)} {
			b := s.as(t, "alice")
			b.restored(map[string]wire.Position{"room/team": from}, "")
			wantEqual(t, "gap", payload[wire.Gap](t, b.expect(wire.GapType)), wire.Gap{Topic: "room/team", From: from, To: second, Reason: "expired"})
			wantEqual(t, "since the second join", b.notes(1), []int{4})
			b.silent()
		}
	})
}

// TestALogThatBeginsAnewShowsAMemberNothingFromBeforeTheJoin: the new log has kept what is older.
func TestALogThatBeginsAnewShowsAMemberNothingFromBeforeTheJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		s.note(t, switchboard.Room("team"), 1)
		s.note(t, switchboard.Room("team"), 2)
		a := s.as(t, "alice")
		s.add(t, "alice")
		a.expect(wire.RoomJoined)
		synctest.Wait()
		old := s.note(t, switchboard.Room("team"), 3).Position
		s.note(t, switchboard.Room("team"), 4)
		a.notes(2)
		d.Faults().LoseTail(roomKey("team"), 1)
		anew := s.note(t, switchboard.Room("team"), 5).Position
		if anew.Epoch == old.Epoch {
			t.Fatal("the log did not begin anew")
		}
		gap := payload[wire.Gap](t, a.expect(wire.GapType))
		if gap.Reason != "epoch_changed" || gap.To != anew {
			t.Errorf("got gap %+v, want one to %s", gap, anew)
		}
		s.note(t, switchboard.Room("team"), 6)
		wantEqual(t, "live", a.notes(1), []int{6})
		a.silent()

		for _, from := range []wire.Position{{}, old, {Epoch: anew.Epoch}, at(anew, 1)} {
			b := s.as(t, "alice")
			b.restored(map[string]wire.Position{"room/team": from}, "")
			b.expect(wire.GapType)
			b.silent()
			_ = b.conn.Close()
		}
		place := s.note(t, switchboard.Room("team"), 7).Position
		a.notes(1)
		s.note(t, switchboard.Room("team"), 8)
		b := s.as(t, "alice") // from the first return on the place is exact again
		b.restored(map[string]wire.Position{"room/team": place}, "")
		wantEqual(t, "missed", b.notes(1), []int{8})
	})
}

// TestAnEndThatHistoryHasLostIsCarriedOut: neither the hint nor the record comes, and when the node
// reads the log the record has been forgotten.
func TestAnEndThatHistoryHasLostIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Retention: broker.Retention{Messages: 3}})
		a, bob := s.as(t, "alice"), s.as(t, "bob")
		s.add(t, "alice")
		s.add(t, "bob")
		a.expect(wire.RoomJoined)
		bob.expect(wire.RoomJoined)
		synctest.Wait()
		d.Faults().DropLive(roomKey("team"), 6)
		d.Faults().DropLive(userKey("alice"), 1)
		s.remove(t, "alice")
		for n := range 5 {
			s.note(t, switchboard.Room("team"), n)
		}
		time.Sleep(11 * time.Second) // heads are compared every 10 s
		a.expect(wire.GapType)
		wantEqual(t, "left", payload[wire.RoomLeftPayload](t, a.expect(wire.RoomLeft)), wire.RoomLeftPayload{Room: "team", Reason: "removed"})
		a.silent()
		bob.expect(wire.GapType)
		wantEqual(t, "what bob got", bob.notes(3), []int{2, 3, 4})
	})
}

func TestAFormerMemberGetsNothingMoreOfWhatGoesOnInTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.Room("team"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		write := func(text string) {
			if _, err := io.WriteString(run.Stream("answer"), text); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		write("begun before, ")
		a := s.as(t, "alice")
		s.add(t, "alice")
		a.expect(wire.RoomJoined)
		write("heard, ")
		text := ""
		for text != "heard, " { // what was there before the membership is not alice's
			if env := a.next(); env.Type == wire.StreamChunk {
				text += payload[wire.StreamChunkPayload](t, env).Text
			}
		}
		s.remove(t, "alice")
		a.expect(wire.RoomLeft)
		write("not heard")
		for _, class := range []wire.Class{wire.Durable, wire.Latest, wire.Volatile} {
			msg := switchboard.Message{Type: "note", Class: class}
			if class == wire.Latest {
				msg.Key, msg.TTL = "k", time.Minute
			}
			if _, err := s.Publish(t.Context(), switchboard.Room("team"), msg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		a.silent()
		a.send(`{"type":"thread_open","message_id":"o","payload":{"room":"team","thread_id":""}}`)
		a.refused(wire.CodeForbidden, "o")
		a.send(`{"type":"stop_agent","message_id":"x","payload":{"run_id":"R"}}`)
		if ack := a.ack("x"); ack.Status != wire.StatusNotFound {
			t.Errorf("got %+v, want not_found", ack)
		}
	})
}

func TestWhoHasLeftARoomStopsNoRunThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		s.add(t, "alice")
		a.expect(wire.RoomJoined)
		for _, id := range []string{"R1", "R2"} {
			if _, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.Room("team"), User: "alice", ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []string{wire.StatusOK, wire.StatusNotFound} {
			if i == 1 {
				s.remove(t, "alice")
			}
			a.send(`{"type":"stop_agent","message_id":"x","payload":{"run_id":"R%d"}}`, i+1)
			if ack := a.ack("x"); ack.Status != want {
				t.Errorf("R%d: got %+v, want %s", i+1, ack, want)
			}
		}
	})
}

// TestARoomIsRefusedAlikeWhetherItExistsOrNot compares the words, and what the broker was asked.
func TestARoomIsRefusedAlikeWhetherItExistsOrNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &countedCalls{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		s.note(t, switchboard.Room("exists"), 1)
		if err := s.Rooms().Add(t.Context(), "exists", "bob"); err != nil {
			t.Fatal(err)
		}
		b := s.as(t, "bob")
		b.join("exists")
		a, web := s.as(t, "alice"), s.web(t)
		for _, verb := range []string{
			`{"type":"join_room","message_id":"x","payload":{"room":"ROOM"}}`,
			`{"type":"leave_room","message_id":"x","payload":{"room":"ROOM"}}`,
			`{"type":"subscribe","message_id":"x","payload":{"rooms":["ROOM"]}}`,
			`{"type":"unsubscribe","message_id":"x","payload":{"rooms":["ROOM"]}}`,
			`{"type":"room_message","message_id":"x","payload":{"room":"ROOM"}}`,
			`{"type":"user_message","message_id":"x","topic":"room/ROOM","payload":{}}`,
			`{"type":"history","message_id":"x","payload":{"topic":"room/ROOM"}}`,
			`{"type":"thread_open","message_id":"x","payload":{"room":"ROOM","thread_id":"t"}}`,
			`{"type":"switch_thread","message_id":"x","payload":{"room":"ROOM","thread_id":"t"}}`,
			`{"type":"ack","message_id":"x","payload":{"positions":{"room/ROOM":"e:1"}}}`,
			`{"type":"mark_read","message_id":"x","payload":{"room":"ROOM","position":"e:1"}}`,
			`{"type":"typing_started","message_id":"x","payload":{"room":"ROOM"}}`,
			"",
		} {
			var told [2]string
			var calls [2]int64
			for i, room := range []string{"exists", "hidden"} {
				before := d.calls.Load()
				if verb == "" {
					got := web.do(call{method: http.MethodGet, path: "/threads/t?room=" + room, token: "alice"})
					told[i] = got.body
				} else {
					a.send("%s", strings.ReplaceAll(verb, "ROOM", room))
					raw, err := a.raw(patience)
					if err != nil {
						t.Fatal(err)
					}
					told[i] = string(raw)
				}
				synctest.Wait()
				calls[i], told[i] = d.calls.Load()-before, strings.ReplaceAll(told[i], room, "ROOM")
			}
			if told[0] != told[1] || calls[0] != calls[1] {
				t.Errorf("%s:\na room that exists: %s (%d calls)\none that does not: %s (%d calls)", verb, told[0], calls[0], told[1], calls[1])
			}
		}
	})
}

// countedCalls counts what a driver is asked.
type countedCalls struct {
	broker.Driver
	calls atomic.Int64
}

func (d *countedCalls) Get(ctx context.Context, key string) (broker.Item, error) {
	d.calls.Add(1)
	return d.Driver.Get(ctx, key)
}

func (d *countedCalls) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	d.calls.Add(1)
	return d.Driver.Publish(ctx, r)
}

func (d *countedCalls) Heads(ctx context.Context, exact bool, topics ...broker.Key) ([]wire.Position, error) {
	d.calls.Add(1)
	return d.Driver.Heads(ctx, exact, topics...)
}

func TestAnAuthorizerThatFailsOrPanicsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Authorize: func(_ context.Context, id switchboard.Identity, _ switchboard.Action, _ string) error {
			if id.User == "alice" {
				panic("authorizer")
			}
			return io.ErrUnexpectedEOF
		}})
		a, b := s.as(t, "alice"), s.as(t, "bob")
		for _, verb := range []string{
			`{"type":"join_room","message_id":"x","payload":{"room":"team"}}`,
			`{"type":"subscribe","message_id":"x","payload":{"rooms":["team"]}}`,
			`{"type":"room_message","message_id":"x","payload":{"room":"team"}}`,
			`{"type":"history","message_id":"x","payload":{"topic":"room/team"}}`,
			`{"type":"session_restore","message_id":"x","payload":{"positions":{"room/team":""}}}`,
		} {
			for _, c := range []*device{a, b} {
				c.send("%s", verb)
				c.refused(wire.CodeInternal, "x")
			}
		}
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
		b.silent()
	})
}

func TestTheDefaultThreadIsSubscribedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		a.send(`{"type":"subscribe","message_id":"s","payload":{"threads":["","t1"]}}`)
		a.expect(wire.Subscribed)
		a.send(`{"type":"unsubscribe","message_id":"u","payload":{"threads":[""]}}`)
		a.expect(wire.Unsubscribed)
	})
}

func TestAnIdentityHasABoundedListOfPermissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := 0
		s := newServer(t, switchboard.Options{Auth: func(context.Context, switchboard.Credential) (switchboard.Identity, error) {
			id := switchboard.Identity{User: "alice"}
			for range many {
				id.Permissions = append(id.Permissions, "room:a:join")
			}
			return id, nil
		}})
		many = 1024
		a := s.as(t, "x")
		many = 1025
		if _, resp := s.handshake(t, request{token: "x"}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("1,025 permissions: got %d, want 401", resp.StatusCode)
		}
		a.send(`{"type":"auth","message_id":"a","payload":{"token":"x"}}`)
		a.refused(wire.CodeAuthError, "a")
		for _, id := range []switchboard.Identity{
			{User: "alice", Permissions: make([]string, 1025)},
			{User: "alice", Permissions: []string{strings.Repeat("x", 32<<10+1)}},
		} {
			if _, err := s.Access().Ticket(t.Context(), id, time.Minute); err == nil {
				t.Error("got a ticket for more permissions than an identity may have")
			}
		}
	})
}
