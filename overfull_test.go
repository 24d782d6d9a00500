package switchboard_test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// A device that reads nothing is told of each room that another device of its user joins and leaves,
// for as long as that goes on.
func TestADeviceThatDoesNotReadIsClosedForWhatAnotherDeviceDoes(t *testing.T) {
	limits := unlimited
	limits.MessagesPerUser = -1
	m, err := switchboard.New(switchboard.Options{Auth: login, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer shutDown(t, m)
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	dial := func(req request) *device {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		c, resp := handshakeOver(t, conn, req)
		c.welcomed(resp)
		return c
	}
	for i := range 100 {
		if err := m.Rooms().Add(t.Context(), "hot", fmt.Sprint(strings.Repeat("m", 120), i)); err != nil {
			t.Fatal(err)
		}
	}
	alice := request{token: "alice room:hot:join"}
	silent, mover, reads, bob := dial(alice), dial(alice), dial(alice), dial(request{token: "bob room:hot:join"})
	if err := silent.conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	bob.join("hot")

	const told, frame = 256 << 10, 16 << 10 // what may wait, and a frame and what is left of one
	most, joins := int64(0), 0
	move := func() (at wire.Position) {
		mover.send(`{"type":"join_room","message_id":"j","payload":{"room":"hot"}}`)
		joined := mover.await(wire.RoomJoined) // it may also be told as a device of its user, while it joins
		reads.await(wire.RoomJoined)           // it is told like the one that does not read
		most = max(most, m.Stats().WindowBytes)
		joins++
		return payload[wire.RoomJoinedPayload](t, joined).Position
	}
	for m.Stats().Overfull == 0 && joins < 20_000 {
		move()
		mover.send(`{"type":"leave_room","message_id":"l","payload":{"room":"hot"}}`)
		mover.await(wire.RoomLeft)
		reads.await(wire.RoomLeft)
	}
	if most < told/2 || most > told+2*frame {
		t.Errorf("got %d bytes that waited at most, want %d and a frame", most, told)
	}
	if err := silent.conn.(*net.TCPConn).SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	silent.ends(wire.CloseTryAgain) // behind what the network had taken
	_ = silent.conn.Close()
	at := move()
	if got := m.Stats().Overfull; got != 1 {
		t.Errorf("got %d connections closed after %d joins, want one", got, joins)
	}
	until(t, "the end is known", func() bool { return m.Stats().Connections == 3 })
	ended := 0
	for end, err := range m.Connections().Ended(t.Context(), switchboard.All()) {
		if ended++; err != nil || end.Code != wire.CloseTryAgain || end.Remote || end.Reason != "too much waited to be written: reconnect" {
			t.Errorf("got %+v, %v, want it closed for what waited", end, err)
		}
	}
	if ended != 1 {
		t.Errorf("got %d that ended, want one", ended)
	}

	back := dial(request{subprotocols: sessionProtocols(silent)})
	if back.welcome.Session.ID != silent.welcome.Session.ID {
		t.Error("the session is another one")
	}
	_, restored := back.restored(map[string]wire.Position{"room/hot": at}, "")
	if got := restored.Topics["room/hot"]; !got.Recovered {
		t.Errorf("got %+v, want that it follows the room", got)
	}
	if _, err := m.Publish(t.Context(), switchboard.Room("hot"), switchboard.Message{Type: "note", Payload: map[string]int{"n": 1}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*device{back, mover, reads, bob} {
		c.await("note")
	}
}

// A member's other devices may be slow, and have not asked who is there.
func TestOtherDevicesAreToldFewMembersOfALargeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		for i := range 1000 {
			if err := s.Rooms().Add(t.Context(), "large", fmt.Sprint(strings.Repeat("m", 120), i)); err != nil {
				t.Fatal(err)
			}
		}
		asks, told := s.as(t, "alice room:*:join"), s.as(t, "alice room:*:join")
		for room, want := range map[string][2]int{"large": {1000, 1 << 10 / 126}, "small": {1, 1}} {
			asks.send(`{"type":"join_room","payload":{"room":%q}}`, room)
			for i, c := range []*device{asks, told} {
				got := payload[wire.RoomJoinedPayload](t, c.expect(wire.RoomJoined))
				if n := len(got.Members); n < want[i] || n > want[i]+1 || got.Position.IsZero() {
					t.Errorf("%s: got %d members from %v on, want about %d", room, n, got.Position, want[i])
				}
			}
		}
	})
}

// A user may be added to many rooms at a time, while a device of theirs has a bad line.
func TestWhoIsAddedToAsManyRoomsAsThereMayBeIsNotClosedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		slow := s.connect(t, request{token: "alice", buffer: 1024})
		const rooms = 128
		for i := range rooms {
			for k := range 20 {
				if err := s.Rooms().Add(t.Context(), fmt.Sprint(strings.Repeat("r", 120), i), fmt.Sprint(strings.Repeat("m", 120), k)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range rooms {
			if err := s.Rooms().Add(t.Context(), fmt.Sprint(strings.Repeat("r", 120), i), "alice"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range rooms {
			if got := payload[wire.RoomJoinedPayload](t, slow.expect(wire.RoomJoined)).Room; got != fmt.Sprint(strings.Repeat("r", 120), i) {
				t.Fatalf("got %s, want the %d. room", got, i)
			}
		}
	})
}
