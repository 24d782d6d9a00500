package switchboard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

func (s *server) connections(t testing.TB, to switchboard.Target) (all []switchboard.ConnInfo) {
	t.Helper()
	for info, err := range s.Connections().List(t.Context(), to) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	return all
}

func (s *server) ended(t testing.TB, tenant string, to switchboard.Target) (all []switchboard.ConnEnd) {
	t.Helper()
	for end, err := range s.Connections().Ended(switchboard.WithTenant(t.Context(), tenant), to) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, end)
	}
	return all
}

// topic is what a connection says of one of its topics.
func topicOf(t testing.TB, info switchboard.ConnInfo, name string) switchboard.ConnTopic {
	t.Helper()
	for _, topic := range info.Topics {
		if topic.Topic == name {
			return topic
		}
	}
	t.Fatalf("got topics %+v, want %s among them", info.Topics, name)
	return switchboard.ConnTopic{}
}

func TestAConnectionTellsWhatIsWrittenAndAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:*:*")
		a.send(`{"type":"join_room","message_id":"j","payload":{"room":"r"}}`)
		a.await(wire.RoomJoined)
		first := s.note(t, switchboard.Room("r"), 1).Position
		a.await("note")
		info := s.connections(t, switchboard.User("alice"))[0]
		wantEqual(t, "before the first ack", topicOf(t, info, "room/r"), switchboard.ConnTopic{Topic: "room/r", Written: first})
		if info.Lag != 0 || !info.LastAck.IsZero() {
			t.Errorf("got lag %d and last ack %v of one who acknowledges nothing", info.Lag, info.LastAck)
		}
		a.acks("room/r", first, first)
		acked := time.Now()
		time.Sleep(time.Minute)
		head := s.note(t, switchboard.Room("r"), 2).Position
		a.await("note")
		info = s.connections(t, switchboard.Room("r"))[0]
		wantEqual(t, "the room", topicOf(t, info, "room/r"), switchboard.ConnTopic{Topic: "room/r", Written: head, Delivered: first, Seen: first, Lag: 1})
		wantEqual(t, "lag", info.Lag, 1)
		if d := info.LastAck.Sub(acked).Abs(); d > 20*time.Millisecond {
			t.Errorf("got the last ack %v off", d)
		}
		// Who leaves and comes again begins anew.
		a.send(`{"type":"leave_room","message_id":"l","payload":{"room":"r"}}`)
		a.await(wire.RoomLeft)
		a.send(`{"type":"join_room","message_id":"j","payload":{"room":"r"}}`)
		a.await(wire.RoomJoined)
		got := topicOf(t, s.connections(t, switchboard.Room("r"))[0], "room/r")
		if !got.Delivered.IsZero() || got.Lag != 0 {
			t.Errorf("got %+v, want nothing acknowledged", got)
		}
	})
}

func TestAConnectionThatTakesNothingIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", buffer: 16 << 10})
		first := s.note(t, switchboard.User("alice"), 0).Position
		a.notes(1)
		a.acks("user/alice", first, switchboard.Position{})
		for n := range 2000 {
			s.note(t, switchboard.User("alice"), 1+n)
		}
		synctest.Wait()
		info := s.connections(t, switchboard.User("alice"))[0]
		topic := topicOf(t, info, "user/alice")
		if info.UnwritableSince.IsZero() || topic.Behind == 0 || topic.Lag != 2000 || info.Behind != topic.Behind {
			t.Errorf("got %+v of a socket that takes nothing", info)
		}
		_ = a.conn.Close()
		synctest.Wait()
		end := s.ended(t, "", switchboard.User("alice"))[0]
		wantEqual(t, "the topic at the end", topicOf(t, end.ConnInfo, "user/alice"), topic)
	})
}

func TestHowAConnectionEndedIsKeptTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, b, other := s.as(t, "alice"), s.as(t, "bob"), s.as(t, "acme/alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.acks("user/alice", pos, pos)
		a.write(ws.OpClose, append([]byte{0x0f, 0xa0}, "bye"...)) // 4000
		synctest.Wait()
		time.Sleep(time.Minute)
		if _, err := s.Connections().Close(t.Context(), switchboard.User("bob"), switchboard.CloseError{Code: wire.CloseRevoked, Reason: "go"}); err != nil {
			t.Fatal(err)
		}
		b.ends(wire.CloseRevoked)
		_ = b.conn.Close()
		_ = other.conn.Close()
		synctest.Wait()

		ends := s.ended(t, "", switchboard.All())
		if len(ends) != 2 || ends[0].User != "bob" || ends[1].User != "alice" {
			t.Fatalf("got %+v, want bob's end, then alice's", ends)
		}
		wantEqual(t, "bob's end", []any{ends[0].Code, ends[0].Reason, ends[0].Remote}, []any{wire.CloseRevoked, "go", false})
		wantEqual(t, "alice's end", []any{ends[1].Code, ends[1].Reason, ends[1].Remote}, []any{wire.CloseCode(4000), "bye", true})
		wantEqual(t, "alice's topic", topicOf(t, ends[1].ConnInfo, "user/alice"),
			switchboard.ConnTopic{Topic: "user/alice", Written: pos, Delivered: pos, Seen: pos})
		wantEqual(t, "ends of alice", len(s.ended(t, "", switchboard.User("alice"))), 1)
		wantEqual(t, "ends in the other tenant", len(s.ended(t, "acme", switchboard.User("alice"))), 1)
		wantEqual(t, "ends by id", len(s.ended(t, "", switchboard.Connection(a.welcome.ConnectionID))), 1)
		wantEqual(t, "ends by an id of another tenant", len(s.ended(t, "acme", switchboard.Connection(a.welcome.ConnectionID))), 0)
		time.Sleep(9*time.Minute + 30*time.Second)
		wantEqual(t, "ends after 10 minutes", len(s.ended(t, "", switchboard.All())), 1)
		time.Sleep(time.Minute)
		wantEqual(t, "ends after 11 minutes", len(s.ended(t, "", switchboard.All())), 0)
	})
}
