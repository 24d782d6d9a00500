package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// recall says that the driver has these, which may not be all.
func (r *rig) recall(a wire.Topic, list ...Posting) (again bool) {
	return r.hub.Recall(keyOf(a), Recalled{List: list})
}

func TestAnOlderOneDeliveredLateDoesNotReplaceTheNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		old := latest(user("a"), "x", 1)
		time.Sleep(time.Millisecond)
		newer := latest(user("a"), "x", 2)
		r.recall(user("a"), newer)
		r.hub.Post(old) // what the driver had delivered still was on its way
		r.hub.Post(newer)
		r.hub.Post(newer) // repeated
		synctest.Wait()
		wantFrames(t, a.posted(t), []string{"latest user/a x 2"})
	})
}

func TestWhatIsKnownAlreadyWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		a.join(room("r"))
		p := latest(room("r"), "x", 1)
		r.hub.Post(p)
		synctest.Wait()
		a.stall(true)
		rec := r.hub.conns.at(a.h.slot())
		rec.wake.Store(0)
		rec.mu.Lock()
		r.recall(room("r"), p)
		synctest.Wait()
		if rec.wake.Load() != 0 {
			t.Error("a follower was woken")
		}
		rec.mu.Unlock()
	})
}

func TestWhatTheDriverHasNoLongerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.open(user("a"))
		r.put(user("a"), "stays", 1)
		r.put(user("a"), "goes", 2)
		asked := r.hub.Asking(keyOf(user("a")))
		r.put(user("a"), "new", 3) // while the driver answers
		r.hub.Recall(keyOf(user("a")), Recalled{Asked: asked, List: []Posting{latest(user("a"), "stays", 1)}})
		late := r.open(user("a"))
		synctest.Wait()
		wantFrames(t, late.posted(t), []string{"latest user/a stays 1", "latest user/a new 3"})
		time.Sleep(2 * time.Minute)
		if n := r.hub.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes kept, want 0", n)
		}
	})
}

func TestInAnotherEpochTheDriverMayHaveAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		old, known := latest(user("a"), "x", 2), latest(user("a"), "y", 1)
		time.Sleep(time.Minute / 2)
		r.put(user("a"), "x", 1)
		r.hub.Post(known)
		r.hub.Announce(keyOf(user("a")), wire.Position{Epoch: "e2"}, r.hub.Link())
		r.recall(user("a"), old, known)
		synctest.Wait()
		wantFrames(t, a.posted(t), []string{"latest user/a x 1", "latest user/a y 1", "latest user/a x 2"})
	})
}
