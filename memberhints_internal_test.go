package switchboard

import (
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// A back end that adds and removes a member faster than devices can be made to follow has one look
// taken at how it is, not one for each time.
func TestHintsOfOneMembershipWaitOnce(t *testing.T) {
	hints := memberHints{wake: make(chan struct{}, 1)}
	hint := func(user, room, by string, offset uint64) {
		hints.add(memberHint{
			user: wire.Topic{Kind: wire.KindUser, ID: user},
			membership: membership{
				Member: wire.Member{User: user, Joined: true}, Room: room, By: by, Position: Position{Epoch: "e", Offset: offset},
			},
		})
	}
	for i := range uint64(1000) {
		hint("alice", "r", "", 10+i)
	}
	hint("alice", "s", "", 1)
	hint("bob", "r", "", 2)
	hint("alice", "r", "conn", 2000)
	got := hints.take()
	if len(got) != 3 || got[0].Position.Offset != 10 || got[0].By != "conn" || got[1].Room != "s" || got[2].user.ID != "bob" {
		t.Errorf("got %+v, want the first of alice in r with the last connection, alice in s, and bob", got)
	}
	hint("alice", "r", "", 3000)
	if got := hints.take(); len(got) != 1 || got[0].Position.Offset != 3000 {
		t.Errorf("got %+v, want what came after the others were taken", got)
	}
}
