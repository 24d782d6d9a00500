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

func TestAGapLeadsBackOnlyFromAPlaceThatWasNeverReached(t *testing.T) {
	at := func(offset uint64) wire.Position { return wire.Position{Epoch: "e", Offset: offset} }
	tr := newTrack(map[string]wire.Position{"all": at(500)}, nil)
	tr.gap(wire.Gap{Topic: "all", From: at(3), To: at(9), Reason: wire.ReasonExpired}) // of what is known
	if got := tr.positions["all"]; got != at(500) {
		t.Errorf("got %v, want to stay", got)
	}
	tr.gap(wire.Gap{Topic: "all", From: at(500), To: at(9), Reason: wire.ReasonExpired})
	if env := (wire.Envelope{Topic: "all", Offset: 10}); !tr.accept(&env) || tr.accept(&env) {
		t.Errorf("at %v: want the next message to be new, once", tr.positions["all"])
	}
}
