package hub

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/wire"
)

func TestLeaveEndsWhatBeganBeforeItsPlaceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b, held := r.open(user("a")), r.open(user("a")), r.open(user("a"))
		key, topic := keyOf(room("r")), r.follow(room("r"))
		a.join(room("r"))
		for range 3 {
			r.publish(room("r"))
		}
		synctest.Wait()
		b.join(room("r")) // behind the third
		tag, err := r.hub.FollowOn(held.h, topic, wire.Position{Epoch: "e1"}, Terms{Held: true})
		if err != nil {
			t.Fatal(err)
		}
		end := wire.Position{Epoch: "e1", Offset: 4}
		synctest.Wait()
		if !r.hub.Leave(a.h, key, end, nil) {
			t.Error("who has all before the end goes on")
		}
		if r.hub.Leave(b.h, key, wire.Position{Epoch: "e1", Offset: 3}, nil) {
			t.Error("who began behind the end has left")
		}
		if !r.hub.Leave(held.h, key, end, nil) || r.hub.Begin(held.h, key, tag, nil, true) {
			t.Error("who was held goes on, or begins after the end")
		}
		r.publish(room("r"))
		synctest.Wait()
		wantFrames(t, a.of(room("r")), numbers("e1", 1, 3))
		wantFrames(t, b.of(room("r")), numbers("e1", 4, 4))
		wantFrames(t, held.of(room("r")), nil)
		if got := r.hub.Stats().Gaps; got != 0 {
			t.Errorf("got %d gaps, want none: nothing was missing", got)
		}
	})
}

func TestAHeldRoomIsWrittenOnceItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		key := keyOf(room("r"))
		tag, err := r.hub.FollowOn(a.h, r.follow(room("r")), wire.Position{Epoch: "e1"}, Terms{Held: true})
		if err != nil {
			t.Fatal(err)
		}
		r.publish(room("r"))
		synctest.Wait()
		wantFrames(t, a.of(room("r")), nil)
		if r.hub.Begin(a.h, key, tag+1, nil, true) {
			t.Error("another follow's tag begins this one")
		}
		if !r.hub.Begin(a.h, key, tag, nil, true) {
			t.Error("Begin says that the room is not followed")
		}
		synctest.Wait()
		wantFrames(t, a.of(room("r")), numbers("e1", 1, 1))
		if r.hub.Oust(a.h, key) {
			t.Error("who has begun is ousted")
		}
	})
}

func TestWhatIsSentInARoomIsForWhoFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		key, yes := keyOf(room("r")), func([]byte) bool { return true }
		wantErr := func(what string, agrees func([]byte) bool, want error) {
			t.Helper()
			if err := r.hub.SendIn(a.h, key, text("x"), agrees); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", what, err, want)
			}
		}
		wantErr("not followed", yes, ErrGone)
		tag, err := r.hub.FollowOn(a.h, r.follow(room("r")), wire.Position{Epoch: "e1"}, Terms{Held: true})
		if err != nil {
			t.Fatal(err)
		}
		wantErr("held", yes, ErrGone)
		r.hub.Begin(a.h, key, tag, nil, true)
		wantErr("followed", yes, nil)
		wantErr("the blob is another", func(info []byte) bool { return len(info) > 100 }, ErrGone)
		r.hub.Unfollow(a.h, key)
		wantErr("left", yes, ErrGone)
	})
}

func TestALargeFrameIsTakenWhileNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		large := text(strings.Repeat("x", 64<<10))
		for range 3 {
			if err := r.hub.Send(a.h, large, true); err != nil {
				t.Errorf("got %v, want it to be taken", err)
			}
			synctest.Wait()
		}
	})
}
