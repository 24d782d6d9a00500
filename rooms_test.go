package switchboard_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// join joins a room and returns the answer.
func (c *device) join(room string) wire.RoomJoinedPayload {
	c.t.Helper()
	c.send(`{"type":"join_room","message_id":"join","payload":{"room":%q}}`, room)
	env := c.await(wire.RoomJoined)
	if env.ID != "join" {
		c.t.Fatalf("got the answer %q, want that of join", env.ID)
	}
	return payload[wire.RoomJoinedPayload](c.t, env)
}

// TestARoomMessageReachesEverybodyInTheRoom is journey 10 without typing, and with what it does not show.
func TestARoomMessageReachesEverybodyInTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:*")
		a.join("team")
		c := s.as(t, "bob room:team:*")
		joined := c.join("team")
		if want := []string{"alice", "bob"}; joined.Room != "team" || !slices.Equal(joined.Members, want) {
			t.Errorf("got %+v, want room team with %v", joined, want)
		}

		var told [2]string
		for i, room := range []string{"board", "exists"} {
			s.note(t, switchboard.Room("exists"), i)
			c.send(`{"type":"join_room","message_id":"c-2","payload":{"room":%q}}`, room)
			e := c.refused(wire.CodeForbidden, "c-2")
			if e.Details["field"] != "room" || e.Details["room"] != room {
				t.Errorf("got details %v", e.Details)
			}
			told[i] = e.Message
		}
		if told[0] != told[1] {
			t.Errorf("a room that exists is refused as %q, one that does not as %q", told[1], told[0])
		}

		c.send(`{"type":"room_message","message_id":"c-3","user_id":"alice","payload":{"room":"team","text":"Hi all"}}`)
		ack := c.ackBeside("c-3", "room_message")
		got := a.expect("room_message")
		wantEqual(t, "message", got, wire.Envelope{
			Type: "room_message", ID: "c-3", Timestamp: got.Timestamp, Topic: "room/team", Offset: joined.Position.Offset + 1,
			UserID: "bob", Payload: []byte(`{"room":"team","text":"Hi all"}`),
		})
		wantEqual(t, "ack", ack, wire.Ack{MessageID: "c-3", Status: "ok", Position: at(joined.Position, got.Offset)})

		c.send(`{"type":"leave_room","message_id":"c-4","payload":{"room":"team"}}`)
		left := c.expect(wire.RoomLeft)
		wantEqual(t, "left", payload[wire.RoomLeftPayload](t, left), wire.RoomLeftPayload{Room: "team", Reason: "left"})
		if left.ID != "c-4" {
			t.Errorf("got the answer %q, want c-4", left.ID)
		}
		a.send(`{"type":"room_message","message_id":"a-12","payload":{"room":"team","text":"Bye bob"}}`)
		if got := a.ackBeside("a-12", "room_message").Position.Offset; got != joined.Position.Offset+3 {
			t.Errorf("got offset %d, want that after the membership record, %d", got, joined.Position.Offset+3)
		}
		c.silent()
	})
}

// ackBeside reads an ack and a message of a type, which may come in either order.
func (c *device) ackBeside(id string, typ wire.MessageType) wire.Ack {
	c.t.Helper()
	var ack wire.Ack
	for range 2 {
		switch env := c.next(); env.Type {
		case wire.AckType:
			ack = payload[wire.Ack](c.t, env)
		case typ:
			if env.ID != id {
				c.t.Errorf("got a %s with id %q, want %q", typ, env.ID, id)
			}
		default:
			c.t.Fatalf("got a %s, want an ack and a %s", env.Type, typ)
		}
	}
	if ack.MessageID != id {
		c.t.Fatalf("got the ack of %q, want that of %q", ack.MessageID, id)
	}
	return ack
}

func TestOtherDevicesFollowAndLeaveWithTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		laptop, phone := s.as(t, "alice room:team:*"), s.as(t, "alice room:team:*")
		joined := laptop.join("team")
		told := phone.expect(wire.RoomJoined)
		wantEqual(t, "phone is told", payload[wire.RoomJoinedPayload](t, told), joined)
		if told.ID != "" {
			t.Errorf("the phone got the answer of %q, which it did not ask", told.ID)
		}
		s.note(t, switchboard.Room("team"), 1)
		wantEqual(t, "laptop", laptop.notes(1), []int{1})
		wantEqual(t, "phone", phone.notes(1), []int{1})

		phone.send(`{"type":"leave_room","message_id":"l","payload":{"room":"team"}}`)
		for _, c := range []*device{phone, laptop} {
			left := payload[wire.RoomLeftPayload](t, c.expect(wire.RoomLeft))
			wantEqual(t, "left", left, wire.RoomLeftPayload{Room: "team", Reason: "left"})
		}
		s.note(t, switchboard.Room("team"), 2)
		laptop.silent()
		phone.silent()
	})
}

func TestAddGivesTheRightAndRemoveTakesItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, b := s.as(t, "alice"), s.as(t, "bob")
		for range 2 { // the second time changes nothing
			if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
				t.Fatal(err)
			}
		}
		a.expect(wire.RoomJoined)
		synctest.Wait() // the second hint is carried out too
		s.note(t, switchboard.Room("team"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})

		late := s.as(t, "alice")
		late.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"]}}`)
		late.expect(wire.Subscribed)

		if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*device{a, late} {
			wantEqual(t, "left", payload[wire.RoomLeftPayload](t, c.expect(wire.RoomLeft)), wire.RoomLeftPayload{Room: "team", Reason: "removed"})
		}
		s.note(t, switchboard.Room("team"), 2)
		a.silent()
		late.silent()
		b.silent()
		late.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"]}}`)
		late.refused(wire.CodeForbidden, "s")
		if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Errorf("removing who is no member: got %v, want none", err)
		}
	})
}

// TestAMemberGetsExactlyWhatIsSaidBetweenJoinAndRemoval holds a removal's place in the log
// against what was delivered.
func TestAMemberGetsExactlyWhatIsSaidBetweenJoinAndRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		for n := range 30 {
			switch n % 10 {
			case 3:
				if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
					t.Fatal(err)
				}
				a.expect(wire.RoomJoined)
				synctest.Wait()
			case 7:
				if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
					t.Fatal(err)
				}
				a.expect(wire.RoomLeft)
			}
			s.note(t, switchboard.Room("team"), n)
			if n%10 >= 3 && n%10 < 7 {
				wantEqual(t, "note", a.notes(1), []int{n})
			}
		}
		a.silent()
	})
}

// TestWhoIsRemovedWhileBehindIsToldWhatIsMissing: the room stops at once, so what was said
// before and not yet written is a gap.
func TestWhoIsRemovedWhileBehindIsToldWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", buffer: 1024})
		if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		joined := payload[wire.RoomJoinedPayload](t, a.expect(wire.RoomJoined)).Position
		synctest.Wait()
		var last switchboard.Delivery
		for n := range 2000 {
			last = s.note(t, switchboard.Room("team"), n)
		}
		if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		seen := joined.Offset
		for {
			env := a.next()
			if env.Type == wire.GapType {
				gap := payload[wire.Gap](t, env)
				if gap.Topic != "room/team" || gap.To != at(last.Position, last.Position.Offset+1) || gap.From.Offset > seen {
					t.Errorf("got gap %+v after offset %d", gap, seen)
				}
				break
			}
			if env.Offset != seen+1 {
				t.Fatalf("got offset %d after %d", env.Offset, seen)
			}
			seen = env.Offset
		}
		a.expect(wire.RoomLeft)
		a.silent()
	})
}

// TestTheAnswerComesBeforeTheFirstMessageThatItSpeaksFor while somebody talks without pause.
func TestTheAnswerComesBeforeTheFirstMessageThatItSpeaksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Retention: broker.Retention{Messages: 1 << 20}})
		stop := make(chan struct{})
		var talk sync.WaitGroup
		talk.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					s.note(t, switchboard.Room("team"), n)
				}
			}
		})
		for i := range 20 {
			a := s.as(t, fmt.Sprintf("user%d room:team:*", i))
			verb, answer := "join_room", wire.RoomJoined
			body := `{"room":"team"}`
			if i%2 == 0 {
				verb, answer, body = "subscribe", wire.Subscribed, `{"rooms":["team"]}`
			}
			a.send(`{"type":%q,"message_id":"j","payload":%s}`, verb, body)
			env := a.expect(answer)
			from := payload[wire.RoomJoinedPayload](t, env).Position.Offset
			if i%2 == 0 {
				from = payload[wire.SubscribedPayload](t, env).Topics["room/team"].Offset
			}
			if got := a.expect("note").Offset; got <= from || got > from+2 {
				t.Errorf("got offset %d after position %d", got, from)
			}
			_ = a.conn.Close()
		}
		close(stop)
		talk.Wait()
	})
}

func TestMembersOutlastTheirConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:*:*")
		a.join("team")
		a.join("team")
		a.join("other")
		_ = a.conn.Close()
		if err := s.Rooms().Add(t.Context(), "team", "carol"); err != nil {
			t.Fatal(err)
		}
		var got []string
		for user, err := range s.Rooms().Members(t.Context(), "team") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, user)
		}
		slices.Sort(got)
		wantEqual(t, "members", got, []string{"alice", "carol"})
		for user, err := range s.Rooms().Members(switchboard.WithTenant(t.Context(), "acme"), "team") {
			t.Errorf("another tenant sees member %q (%v)", user, err)
		}
	})
}

func TestMembershipRecordsTakeAnOffsetAndAreNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:*")
		first := a.join("team").Position
		d := s.note(t, switchboard.Room("team"), 1)
		if err := s.Rooms().Add(t.Context(), "team", "carol"); err != nil {
			t.Fatal(err)
		}
		d2 := s.note(t, switchboard.Room("team"), 2)
		if d.Position.Offset != first.Offset+1 || d2.Position.Offset != first.Offset+3 {
			t.Errorf("got offsets %d and %d after %d, want one taken between them", d.Position.Offset, d2.Position.Offset, first.Offset)
		}
		wantEqual(t, "notes", a.notes(2), []int{1, 2})
		page, err := s.History(t.Context(), switchboard.Room("team"), switchboard.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Messages) != 2 || page.HasMore || page.Head != d2.Position {
			t.Errorf("got page %+v, want the two notes", page)
		}
	})
}

func TestSubscribeStartsWhereItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		d := s.note(t, switchboard.Room("team"), 1)
		s.note(t, switchboard.Room("team"), 2)
		head := s.note(t, switchboard.Room("team"), 3).Position
		a := s.as(t, "alice room:team:join room:team:history room:new:join")
		a.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team","new"],"since":{"room/team":"%s"},"threads":["t1"]}}`, d.Position)
		got := payload[wire.SubscribedPayload](t, a.expect(wire.Subscribed)).Topics
		if len(got) != 2 || got["room/team"] != d.Position || got["room/new"].Epoch == "" {
			t.Errorf("got topics %v", got)
		}
		wantEqual(t, "notes", a.notes(2), []int{2, 3})

		b := s.as(t, "bob room:team:join") // may not read what was said before
		b.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"],"since":{"room/team":"%s"}}}`, d.Position)
		got = payload[wire.SubscribedPayload](t, b.expect(wire.Subscribed)).Topics
		wantEqual(t, "topics without the right", got, map[string]wire.Position{"room/team": head})

		for _, c := range []*device{a, b} {
			c.send(`{"type":"unsubscribe","message_id":"u","payload":{"rooms":["team","never"]}}`)
			got := payload[wire.SubscribedPayload](t, c.expect(wire.Unsubscribed)).Topics
			wantEqual(t, "unsubscribed", got, map[string]wire.Position{"room/team": head})
		}
		s.note(t, switchboard.Room("team"), 4)
		a.silent()
		b.silent()
	})
}

func TestSubscribeToAForbiddenRoomFollowsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:join")
		a.send(`{"type":"subscribe","message_id":"e-6","payload":{"rooms":["team","board"]}}`)
		e := a.refused(wire.CodeForbidden, "e-6")
		if e.Details["field"] != "rooms" || e.Details["room"] != "board" {
			t.Errorf("got details %v", e.Details)
		}
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
	})
}

func TestAConnectionFollowsSoManyRoomsAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{RoomsPerConn: 3}})
		a := s.as(t, "alice room:*:*")
		for i := range 3 {
			a.join(fmt.Sprint("room", i))
		}
		for _, verb := range []string{
			`{"type":"join_room","message_id":"x","payload":{"room":"more"}}`,
			`{"type":"subscribe","message_id":"x","payload":{"rooms":["room0","more"]}}`,
			`{"type":"session_restore","message_id":"x","payload":{"positions":{"room/more":""}}}`,
		} {
			a.send("%s", verb)
			a.refused(wire.CodeConflict, "x")
		}
		a.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["room0","room0","room1"]}}`)
		a.expect(wire.Subscribed)
		if n := len(slices.Collect(keys(s.Rooms().Members(t.Context(), "more")))); n != 0 {
			t.Errorf("got %d members of a room that was refused, want 0", n)
		}
	})
}

func TestARemovalIsCarriedOutOnTheOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		second := d.Node()
		t.Cleanup(func() { _ = second.Close() })
		one := newServer(t, switchboard.Options{Broker: d})
		two := newServer(t, switchboard.Options{Broker: second})
		a := one.as(t, "alice")
		if err := two.Rooms().Add(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		a.expect(wire.RoomJoined)
		two.note(t, switchboard.Room("team"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
		if err := two.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		a.expect(wire.RoomLeft)
		two.note(t, switchboard.Room("team"), 2)
		a.silent()
	})
}

func TestOnlyWhoMaySpeaksInARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:join")
		a.join("team")
		a.send(`{"type":"room_message","message_id":"m","payload":{"room":"team"}}`)
		a.refused(wire.CodeForbidden, "m")
		a.send(`{"type":"chat","message_id":"m","topic":"room/team","payload":{}}`)
		a.refused(wire.CodeForbidden, "m")
		a.send(`{"type":"history","message_id":"m","payload":{"topic":"room/team"}}`)
		a.refused(wire.CodeForbidden, "m")
		for _, bad := range []string{`{}`, `{"room":7}`, `{"room":""}`} {
			a.send(`{"type":"room_message","message_id":"m","payload":%s}`, bad)
			a.refused(wire.CodeInvalidMessage, "m")
		}
		a.silent()
	})
}

func keys[K, V any](seq func(func(K, V) bool)) func(func(K) bool) {
	return func(yield func(K) bool) {
		seq(func(k K, _ V) bool { return yield(k) })
	}
}

// TestAMissedRemovalIsCarriedOutWhenTheLogIsRead stores the end of a membership without
// delivering its record or the hint to the user's nodes.
func TestAMissedRemovalIsCarriedOutWhenTheLogIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		a.expect(wire.RoomJoined)
		synctest.Wait() // the answer comes before the interest, with which the log is read
		d.Faults().DropLive(roomKey("team"), 2)
		d.Faults().DropLive(broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"}), 1)
		if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
		time.Sleep(11 * time.Second) // heads are compared every 10 s
		wantEqual(t, "left", payload[wire.RoomLeftPayload](t, a.expect(wire.RoomLeft)), wire.RoomLeftPayload{Room: "team", Reason: "removed"})
		a.silent()
	})
}

// TestADeviceFollowsWithItsOwnRight: the credential of another one does not help, and an
// Authorizer that panics ends nothing.
func TestADeviceFollowsWithItsOwnRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Authorize: func(_ context.Context, id switchboard.Identity, _ switchboard.Action, _ string) error {
			switch {
			case slices.Contains(id.Permissions, "panic"):
				panic("authorizer")
			case slices.Contains(id.Permissions, "all"):
				return nil
			}
			return switchboard.ErrForbidden
		}})
		widget, broken, laptop, phone := s.as(t, "alice"), s.as(t, "alice panic"), s.as(t, "alice all"), s.as(t, "alice all")
		laptop.join("team")
		phone.expect(wire.RoomJoined)
		widget.silent()
		broken.silent()
		if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil { // gives the right to all
			t.Fatal(err)
		}
		widget.expect(wire.RoomJoined)
		broken.expect(wire.RoomJoined)
	})
}

func TestAJoinThatRacesTheRemovalIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Broker: &countingDriver{Driver: openDriver(t), slowFollow: time.Second}})
		if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		a, other := s.as(t, "alice"), s.as(t, "alice")
		a.send(`{"type":"join_room","message_id":"j","payload":{"room":"team"}}`)
		synctest.Wait() // the right is there, and the room not yet
		if err := s.Rooms().Remove(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		a.refused(wire.CodeForbidden, "j")
		for user, err := range s.Rooms().Members(t.Context(), "team") {
			t.Errorf("%s has become a member, error %v", user, err)
		}
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
		other.silent()
	})
}

// However many leave together, their topics are let go of soon after.
func TestTopicsOfACrowdThatHasLeftAreForgottenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for i := range 1200 {
			_ = s.as(t, fmt.Sprint("user", i)).conn.Close()
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := s.Stats().Topics; n > 1 {
			t.Errorf("got %d topics half a minute after everybody has left, want all but that of everybody gone", n)
		}
	})
}
