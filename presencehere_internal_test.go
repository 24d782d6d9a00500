package switchboard

import (
	"strconv"
	"testing"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// TestWhoIsAbsentIsFoundByPlace: and nothing stays of those who were.
func TestWhoIsAbsentIsFoundByPlace(t *testing.T) {
	room := func(i int) hub.Key { return hubKey(wire.Topic{Kind: wire.KindRoom, ID: strconv.Itoa(i)}) }
	var a absence
	const devices = 100
	for i := range devices {
		a.add(&absent{user: wire.Topic{Kind: wire.KindUser, ID: strconv.Itoa(i % 10)}, rooms: []hub.Key{room(i % 7), room(100 + i)}})
	}
	for left := devices; left > 0; left-- {
		i := devices - left
		if got := len(a.of[room(i%7)]); got != (left+6)/7 {
			t.Fatalf("got %d in the room of the next of %d, want %d", got, left, (left+6)/7)
		}
		d := a.first()
		if d.rooms[1] != room(100+i) {
			t.Fatalf("got another before the one that has waited for the longest")
		}
		if _, there := a.of[room(100+i)]; there {
			t.Fatal("the only one of a room is still there")
		}
	}
	if len(a.of) != 0 || len(a.order) != 0 {
		t.Errorf("got %d places and %d devices, want none", len(a.of), len(a.order))
	}
}
