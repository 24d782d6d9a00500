package switchboard_test

import (
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAThreadOfALogThatBeganAnewIsToldAfterTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := switchboard.Options{SessionKeys: [][]byte{make([]byte, 32)}}
		former := newServer(t, opts)
		a := former.as(t, "alice")
		old := former.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)

		s := newServer(t, opts) // after a restart, say: history was in memory
		b := s.resume(t, a)
		_, restored := b.restored(map[string]wire.Position{"user/alice": old}, "")
		anew := restored.Topics["user/alice"].Head
		if anew.Epoch == old.Epoch {
			t.Fatalf("got %+v, want a log that began anew", restored)
		}
		b.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":""}}`)
		wantEqual(t, "gap", payload[wire.Gap](t, b.expect(wire.GapType)), wire.Gap{
			Topic: "user/alice", From: old, To: at(anew, 0), Reason: "epoch_changed", Epoch: old.Epoch, NewEpoch: anew.Epoch,
		})
		if got := payload[wire.Thread](t, b.expect(wire.ThreadSnapshot)); got.Position != at(anew, 0) || len(got.Messages) != 0 {
			t.Errorf("got thread %+v, want an empty one at the beginning of the new epoch", got)
		}
		if got := s.Stats().Gaps; got != 1 {
			t.Errorf("got %d gaps counted, want 1", got)
		}
		next := s.note(t, switchboard.User("alice"), 2).Position
		if got := b.expect("note"); got.Offset != next.Offset || next.Epoch != anew.Epoch {
			t.Errorf("got %+v, want the message at %s without another gap", got, next)
		}
		b.silent()
	})
}
