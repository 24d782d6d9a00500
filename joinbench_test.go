package switchboard_test

import (
	"fmt"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// BenchmarkJoin is a user who joins a room that has many members, until the answer is there, and
// leaves it.
func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			s := newServer(b, switchboard.Options{Limits: switchboard.Limits{MessagesPerMinute: -1, ControlPerMinute: -1}})
			for i := range members {
				if err := s.Rooms().Add(b.Context(), "team", fmt.Sprint("member-", i)); err != nil {
					b.Fatal(err)
				}
			}
			a := s.as(b, "alice room:team:*")
			for b.Loop() {
				a.join("team")
				b.StopTimer()
				a.send(`{"type":"leave_room","payload":{"room":"team"}}`)
				a.await(wire.RoomLeft)
				b.StartTimer()
			}
		})
	}
}
