package client

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

func TestARoomIsForgottenOnlyIfTheAnswerHasNoHead(t *testing.T) {
	seen, head := wire.Position{Epoch: "e", Offset: 3}, wire.Position{Epoch: "e", Offset: 9}
	tr := newTrack(map[string]wire.Position{"room/gone": seen, "room/here": seen, "room/late": seen}, nil)
	tr.restored(wire.Restored{Topics: map[string]wire.RestoredTopic{
		"room/gone": {Reason: wire.ReasonForbidden},
		"room/here": {Reason: wire.ReasonForbidden, Head: head},
		"room/late": {Reason: wire.ReasonExpired, Head: head},
	}})
	want := map[string]wire.Position{"room/here": seen, "room/late": seen}
	if diff := cmp.Diff(want, tr.positions); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
}
