package switchboard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func TestRoomInfoSaysWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		began := time.Now()
		a, phone := s.as(t, "alice room:team:*"), s.as(t, "alice room:team:*")
		a.join("team")
		phone.expect(wire.RoomJoined)
		if err := s.Rooms().Add(t.Context(), "team", "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		at := s.note(t, switchboard.Room("team"), 1).Position
		got, err := s.Rooms().Info(t.Context(), "team")
		if err != nil {
			t.Fatal(err)
		}
		if !got.Oldest.Equal(began) || !got.Newest.Equal(began.Add(time.Minute)) {
			t.Errorf("got messages from %v to %v, want from %v on for a minute", got.Oldest, got.Newest, began)
		}
		got.Oldest, got.Newest = time.Time{}, time.Time{}
		wantEqual(t, "room", got, switchboard.RoomInfo{Members: 2, Followers: 2, Head: at})
		if _, err := s.Rooms().Info(t.Context(), "a\x00b"); err == nil {
			t.Error("got no error for what is no id")
		}
	})
}

// TestOfARoomThatEverybodyHasLeftNothingStays but what was said, for as long as that is kept.
func TestOfARoomThatEverybodyHasLeftNothingStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Retention: broker.Retention{Messages: 10, Age: time.Hour}})
		before := s.Stats().Topics
		a, b := s.as(t, "alice room:team:*"), s.as(t, "bob")
		a.join("team")
		if err := s.Rooms().Add(t.Context(), "team", "bob"); err != nil {
			t.Fatal(err)
		}
		b.expect(wire.RoomJoined)
		a.send(`{"type":"typing_started","payload":{"room":"team"}}`)
		a.send(`{"type":"leave_room","payload":{"room":"team"}}`)
		a.await(wire.RoomLeft)
		if err := s.Rooms().Remove(t.Context(), "team", "bob"); err != nil {
			t.Fatal(err)
		}
		b.await(wire.RoomLeft)
		prefix := broker.KeyOf(wire.Topic{Kind: wire.KindRoom, ID: "team"}).String()
		for change, err := range d.Watch(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if change.Synced {
				break
			}
			t.Errorf("%s is still in the store", change.Key)
		}
		_, _ = a.conn.Close(), b.conn.Close()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := s.Stats(); got.Rooms != 0 || got.Topics > before+1 || got.Typing.Now != 0 {
			t.Errorf("got %d rooms and %d topics, want none but that of everybody", got.Rooms, got.Topics)
		}
		time.Sleep(2 * time.Hour)
		got, err := s.Rooms().Info(t.Context(), "team")
		if err != nil || got.Members != 0 || got.Followers != 0 || !got.Oldest.IsZero() || !got.Newest.IsZero() {
			t.Errorf("got %+v, error %v, want an empty room", got, err)
		}
	})
}
