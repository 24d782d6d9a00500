package hub

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
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

// Rooms are forgotten and their records given to others all the time, while some post, some ask
// the driver and some come and go: nobody gets what is of another room, nor an older one after a
// newer.
func TestBoardsOfRoomsThatComeAndGo(t *testing.T) {
	const groups, rooms, rounds = 4, 3, 300
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 2000 })
		name := func(group, i int) wire.Topic { return room(fmt.Sprintf("g%d-%d", group, i)) }
		var wg sync.WaitGroup
		var clients [groups]*client
		for group := range groups {
			c := r.open(user(fmt.Sprint(group)))
			clients[group] = c
			for i := range rooms {
				topic := name(group, i)
				wg.Go(func() { // posts
					for n := range rounds {
						r.pass(topic, n, "")
						p := latest(topic, "x", n)
						r.hub.Post(p)
						if n%7 == 0 {
							r.hub.Recall(keyOf(topic), Recalled{Asked: r.hub.Asking(keyOf(topic)), List: []Posting{p}})
						}
						time.Sleep(3 * time.Millisecond)
					}
				})
				wg.Go(func() { // comes and goes
					rnd := rand.New(rand.NewPCG(uint64(group), uint64(i)))
					for range rounds / 3 {
						c.join(topic)
						time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
						r.hub.Unfollow(c.h, keyOf(topic))
						r.hub.Expire([]Key{keyOf(topic)})
						time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
					}
				})
			}
		}
		wg.Go(func() {
			for range rounds {
				r.engine.drainAll()
				time.Sleep(5 * time.Millisecond)
			}
		})
		wg.Wait()
		for group, c := range clients {
			last := map[string]int{}
			for _, f := range c.posted(t) {
				var kind, of string
				var in, n int
				switch {
				case strings.HasPrefix(f, "gap "):
					continue
				case scan(f, "passing room/g%d-%d %d", &in, new(int), &n):
					kind, of = "passing", strings.Fields(f)[1]
				case scan(f, "latest room/g%d-%d x %d", &in, new(int), &n):
					kind, of = "latest", strings.Fields(f)[1]
				}
				if in != group {
					t.Errorf("group %d got %q", group, f)
				}
				if n < last[kind+of] { // the newest comes again to who comes again
					t.Errorf("group %d got %q after %d", group, f, last[kind+of])
				}
				last[kind+of] = n
			}
			if len(last) == 0 {
				t.Errorf("group %d got nothing", group)
			}
		}
		time.Sleep(2 * time.Minute)
		if n := r.hub.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes kept, want 0", n)
		}
	})
}

func TestAPlaceOnABoardIsNotTakenForOneOnAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		a.join(room("r1"))
		for n := range 3 {
			r.pass(room("r1"), n, "")
			r.put(room("r1"), "x", n)
		}
		synctest.Wait()
		slot := r.hub.index.find(keyOf(room("r1")))
		r.hub.Unfollow(a.h, keyOf(room("r1")))
		r.hub.Expire([]Key{keyOf(room("r1"))})
		a.join(room("r2"))
		if r.hub.index.find(keyOf(room("r2"))) != slot {
			t.Fatal("the record is not used again: this test shows nothing")
		}
		r.pass(room("r2"), 1, "")
		synctest.Wait()
		r.put(room("r2"), "x", 1)
		synctest.Wait()
		got := a.posted(t)
		wantFrames(t, got[len(got)-2:], []string{"passing room/r2 1", "latest room/r2 x 1"})
	})
}
