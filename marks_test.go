package switchboard_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// marks sends a mark_read and returns where the mark is, as the ack says.
func (c *device) marks(where, pos string) string {
	c.t.Helper()
	c.send(`{"type":"mark_read","message_id":"mark","payload":{%s"position":%q}}`, where, pos)
	ack := c.ack("mark")
	if ack.Status != wire.StatusOK {
		c.t.Fatalf("got status %q, want ok", ack.Status)
	}
	return ack.Position.String()
}

// marked reads the next message, which must be the read_marker of alice's with a payload.
func (c *device) marked(thread, payload string) {
	c.t.Helper()
	got := c.expect(wire.ReadMarker)
	want := wire.Envelope{
		Type: wire.ReadMarker, Timestamp: got.Timestamp, Topic: "user/alice", UserID: "alice", ThreadID: thread, Payload: []byte(payload),
	}
	if diff := cmp.Diff(want, got); diff != "" || got.Timestamp == 0 {
		c.t.Fatalf("read_marker (-want +got), timestamp %v:\n%s", got.Timestamp, diff)
	}
}

// TestAReadMarkerReachesTheUsersOtherDevices, on all nodes and whatever threads they watch, and
// nobody else.
func TestAReadMarkerReachesTheUsersOtherDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		laptop, tablet := one.as(t, "alice room:team:*"), one.as(t, "alice room:team:*")
		phone, bob := two.connect(t, request{token: "alice", path: "/ws?thread=other"}), two.as(t, "bob room:team:*")
		all := []*device{tablet, phone}

		own := one.note(t, switchboard.User("alice"), 1).Position.String()
		for _, c := range append(all, laptop) {
			c.notes(1)
		}
		wantEqual(t, "mark of a thread", laptop.marks(`"thread_id":"t1",`, own), own)
		for _, c := range all {
			c.marked("t1", fmt.Sprintf(`{"thread_id":"t1","position":%q}`, own))
		}
		wantEqual(t, "mark of the default thread", laptop.marks("", own), own)
		for _, c := range all {
			c.marked("", fmt.Sprintf(`{"position":%q}`, own))
		}
		room := one.note(t, switchboard.Room("team"), 2).Position.String()
		wantEqual(t, "mark of a room", laptop.marks(`"room":"team",`, room), room)
		for _, c := range all {
			c.marked("", fmt.Sprintf(`{"room":"team","position":%q}`, room))
		}
		bob.silent()
		laptop.silent()
	})
}

func TestAReadMarkerOnlyMovesForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, other := s.as(t, "alice"), s.as(t, "alice")
		var pos []string
		for i := range 3 {
			pos = append(pos, s.note(t, switchboard.User("alice"), i).Position.String())
		}
		a.notes(3)
		other.notes(3)
		wantEqual(t, "the mark", a.marks(`"thread_id":"t1",`, pos[1]), pos[1])
		other.marked("t1", fmt.Sprintf(`{"thread_id":"t1","position":%q}`, pos[1]))
		wantEqual(t, "an older one", other.marks(`"thread_id":"t1",`, pos[0]), pos[1])
		wantEqual(t, "the same", other.marks(`"thread_id":"t1",`, pos[1]), pos[1])
		a.silent()
		wantEqual(t, "of another thread", other.marks(`"thread_id":"t2",`, pos[0]), pos[0])
		a.marked("t2", fmt.Sprintf(`{"thread_id":"t2","position":%q}`, pos[0]))

		var got []switchboard.ReadMarker
		for k, err := range s.ReadMarkers(t.Context(), "alice") {
			if err != nil {
				t.Fatal(err)
			}
			k.At = time.Time{}
			got = append(got, k)
		}
		at := func(i int) wire.Position {
			p, err := wire.ParsePosition(pos[i])
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		wantEqual(t, "markers", got, []switchboard.ReadMarker{{Thread: "t2", Position: at(0)}, {Thread: "t1", Position: at(1)}})
	})
}

func TestWhatCannotBeReadIsNotMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, other := s.as(t, "alice room:team:join"), s.as(t, "alice")
		head := s.note(t, switchboard.User("alice"), 1).Position
		s.note(t, switchboard.Room("exists"), 2)
		a.notes(1)
		other.notes(1)
		beyond := wire.Position{Epoch: head.Epoch, Offset: head.Offset + 1}
		for _, test := range []struct {
			name, payload string
			code          wire.Code
			field         string
		}{
			{"above the head", fmt.Sprintf(`{"thread_id":"t","position":%q}`, beyond), wire.CodeInvalidMessage, "position"},
			{"of another epoch", `{"thread_id":"t","position":"former:1"}`, wire.CodeConflict, "position"},
			{"without a position", `{"thread_id":"t"}`, wire.CodeInvalidMessage, "position"},
			{"a thread and a room", fmt.Sprintf(`{"thread_id":"t","room":"team","position":%q}`, head), wire.CodeInvalidMessage, "room"},
			{"a room that exists", fmt.Sprintf(`{"room":"exists","position":%q}`, head), wire.CodeForbidden, "room"},
			{"one that does not", fmt.Sprintf(`{"room":"unknown","position":%q}`, head), wire.CodeForbidden, "room"},
			{"no id of a thread", fmt.Sprintf(`{"thread_id":"\u0000","position":%q}`, head), wire.CodeInvalidMessage, "thread_id"},
			{"no id of a room", fmt.Sprintf(`{"room":"\u0000","position":%q}`, head), wire.CodeInvalidMessage, "room"},
		} {
			a.send(`{"type":"mark_read","message_id":"e","payload":%s}`, test.payload)
			e := a.refused(test.code, "e")
			wantEqual(t, test.name, fmt.Sprint(e.Details["field"]), test.field)
		}
		for k, err := range s.ReadMarkers(t.Context(), "alice") {
			t.Errorf("got %+v, error %v, want no marker", k, err)
		}
		other.silent()
	})
}

// TestWhoOpensOrComesBackKnowsTheMarkers: other devices, and the same on another node.
func TestWhoOpensOrComesBackKnowsTheMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a := one.as(t, "alice room:team:* room:board:*")
		own := one.note(t, switchboard.User("alice"), 1).Position.String()
		room := one.note(t, switchboard.Room("team"), 2).Position.String()
		a.notes(1)
		a.marks(`"thread_id":"t1",`, own)
		a.marks(`"thread_id":"t2",`, own)
		a.marks(`"room":"team",`, room)
		board := one.note(t, switchboard.Room("board"), 3).Position.String()
		a.marks(`"room":"board",`, board)
		t1, team := fmt.Sprintf(`{"thread_id":"t1","position":%q}`, own), fmt.Sprintf(`{"room":"team","position":%q}`, room)

		synctest.Wait() // until the other node has heard of all of it
		b := two.as(t, "alice room:team:* room:board:*")
		for _, verb := range []string{"thread_open", "switch_thread"} {
			b.send(`{"type":%q,"payload":{"thread_id":"t1"}}`, verb)
			b.expect(wire.ThreadSnapshot)
			b.marked("t1", t1)
		}
		b.send(`{"type":"thread_open","payload":{"thread_id":"t3"}}`)
		b.expect(wire.ThreadSnapshot)
		b.send(`{"type":"thread_open","payload":{"thread_id":"x","room":"team"}}`)
		b.expect(wire.ThreadSnapshot)
		b.marked("", team)
		b.send(`{"type":"join_room","payload":{"room":"team"}}`)
		b.expect(wire.RoomJoined)
		b.marked("", team)
		b.send(`{"type":"subscribe","payload":{"rooms":["team"],"threads":["t1","t3"]}}`)
		b.expect(wire.Subscribed)
		b.marked("", team)
		b.marked("t1", t1)
		b.silent()

		c := two.resume(t, a)
		c.send(`{"type":"session_restore","payload":{"positions":{"user/alice":%q,"room/team":%q}}}`, own, room)
		c.await(wire.SessionRestored)
		c.marked("", team)
		c.marked("t2", fmt.Sprintf(`{"thread_id":"t2","position":%q}`, own))
		c.marked("t1", t1)
		c.silent()
	})
}

// TestReadMarkersThatRaceAllMove: two devices, on two nodes.
func TestReadMarkersThatRaceAllMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a, b := one.as(t, "alice"), two.as(t, "alice")
		pos := one.note(t, switchboard.User("alice"), 1).Position.String()
		for i := range 20 {
			for j, c := range []*device{a, b} {
				c.send(`{"type":"mark_read","message_id":"m","payload":{"thread_id":"t%d","position":%q}}`, 2*i+j, pos)
			}
		}
		for _, c := range []*device{a, b} {
			for range 20 {
				c.await(wire.AckType)
			}
		}
		n := 0
		for _, err := range one.ReadMarkers(t.Context(), "alice") {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		wantEqual(t, "markers", n, 40)
	})
}

// TestReadMarkersAreKeptTogether: erasing a user's data is deleting what lies with the user's topic.
func TestReadMarkersAreKeptTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice room:team:*")
		own := s.note(t, switchboard.User("alice"), 1).Position.String()
		room := s.note(t, switchboard.Room("team"), 2).Position.String()
		a.notes(1)
		a.marks(`"thread_id":"t1",`, own)
		a.marks(`"room":"team",`, room)
		user := wire.Topic{Kind: wire.KindUser, ID: "alice"}
		if err := d.Delete(t.Context(), broker.KeyOf(user).String()+"/read", broker.Any); err != nil {
			t.Fatal(err)
		}
		for k, err := range s.ReadMarkers(t.Context(), "alice") {
			t.Errorf("got %+v, error %v, want none", k, err)
		}
		wantEqual(t, "mark", a.marks(`"thread_id":"t1",`, own), own)
	})
}
