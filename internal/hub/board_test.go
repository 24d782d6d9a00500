package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// pass posts a volatile message that says n.
func (r *rig) pass(a wire.Topic, n int, thread string, except ...Session) {
	r.hub.Post(Posting{
		Topic: keyOf(a), Address: a, Class: wire.Volatile, Thread: thread, Except: except, Frame: text(fmt.Sprintf("passing %s %d", a, n)),
	})
}

// put posts a message of class Latest that says n.
func (r *rig) put(a wire.Topic, key string, n int, except ...Session) {
	p := latest(a, key, n, except...)
	r.keepLatest(p)
	r.hub.Post(p)
}

// keepLatest gives the driver what is posted next.
func (r *rig) keepLatest(p Posting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest == nil {
		r.latest = map[Key][]Posting{}
	}
	list := slices.DeleteFunc(r.latest[p.Topic], func(old Posting) bool { return old.Key == p.Key })
	list = append(list, p)
	r.latest[p.Topic] = list[max(0, len(list)-latestKeys):]
}

func latest(a wire.Topic, key string, n int, except ...Session) Posting {
	return Posting{
		Topic: keyOf(a), Address: a, Class: wire.Latest, Key: key, At: time.Now(), Expires: time.Now().Add(time.Minute), Except: except,
		Frame: text(fmt.Sprintf("latest %s %s %d", a, key, n)),
	}
}

// posted returns what a client got from boards, and of gaps the reason and the count.
func (c *client) posted(t *testing.T) (list []string) {
	t.Helper()
	for _, f := range c.got.frames() {
		switch {
		case strings.HasPrefix(f, "passing "), strings.HasPrefix(f, "latest "):
			list = append(list, f)
		case strings.HasPrefix(f, "{"):
			env, err := wire.Parse([]byte(f))
			var gap wire.Gap
			if err == nil {
				err = env.Decode(&gap)
			}
			if err != nil || gap.From != gap.To {
				t.Errorf("got %s, want a gap that moves nobody", f)
			}
			list = append(list, fmt.Sprintf("gap %s %s %d", gap.Topic, gap.Reason, gap.Count))
		}
	}
	return list
}

var kinds = []wire.Topic{user("a"), room("r"), {Kind: wire.KindAll}}

func TestVolatileMessagesReachWhoIsThere(t *testing.T) {
	for _, topic := range kinds {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.open(user("a"))
			a.join(room("r"))
			r.pass(topic, 1, "")
			r.publish(topic)
			r.pass(topic, 2, "", a.session)
			r.pass(topic, 3, "")
			synctest.Wait()
			late := r.open(user("a"))
			late.join(room("r"))
			r.pass(topic, 4, "")
			synctest.Wait()
			name := topic.String()
			wantFrames(t, a.posted(t), []string{"passing " + name + " 1", "passing " + name + " 3", "passing " + name + " 4"})
			wantFrames(t, late.posted(t), []string{"passing " + name + " 4"})
			wantFrames(t, a.of(topic), numbers("e1", 1, 1))
			time.Sleep(2 * windowIdle * tickLength)
			if n := r.hub.Stats().WindowBytes; n != 0 {
				t.Errorf("got %d bytes kept, want 0", n)
			}
		})
	}
}

func TestThreadsSelectVolatileMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		all, one := r.open(user("a")), r.open(user("a"))
		_ = r.hub.Watch(one.h, "t1")
		r.pass(user("a"), 1, "t1")
		r.pass(user("a"), 2, "t2")
		r.pass(user("a"), 3, "t1")
		r.pass(user("a"), 4, "") // of no conversation
		synctest.Wait()
		wantFrames(t, all.posted(t), []string{"passing user/a 1", "passing user/a 2", "passing user/a 3", "passing user/a 4"})
		wantFrames(t, one.posted(t), []string{"passing user/a 1", "passing user/a 3", "passing user/a 4"})
	})
}

func TestWhoIsBehindSkipsVolatileMessagesAndIsToldHowManyOnceASecond(t *testing.T) {
	for _, topic := range kinds {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 30 })
			a := r.open(user("a"))
			a.join(room("r"))
			r.publish(topic)
			r.publish(topic)
			r.publish(topic) // does not fit
			synctest.Wait()
			for i := range 7 {
				r.pass(topic, i, "")
			}
			time.Sleep(passingKeep + time.Second)
			r.pass(topic, 7, "") // a is behind, and in time for this one
			r.engine.room = 0
			r.engine.drainAll()
			synctest.Wait()
			name := topic.String()
			want := []string{"gap " + name + " volatile 7", "passing " + name + " 7"}
			wantFrames(t, a.posted(t), want)
			wantFrames(t, a.of(topic), numbers("e1", 1, 3))

			// Again at once: told when a second is over.
			for range passingMost + 5 {
				a.stall(true)
				r.pass(topic, 8, "")
			}
			a.stall(false)
			synctest.Wait()
			want = append(want, strings.Fields(strings.Repeat("passing_"+name+"_8 ", passingMost))...)
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], "_", " ")
			}
			wantFrames(t, a.posted(t), want)
			time.Sleep(skipTell)
			synctest.Wait()
			wantFrames(t, a.posted(t), append(want, "gap "+name+" volatile 5"))
			if n := r.hub.Stats().Skipped; n != 12 {
				t.Errorf("got %d messages counted as skipped, want 12", n)
			}
		})
	}
}

// stall makes the client's socket take nothing, or all that waits.
func (c *client) stall(on bool) {
	rec := c.r.hub.conns.at(c.h.slot())
	rec.mu.Lock()
	if on {
		rec.flags |= connBlocked
	} else {
		rec.flags &^= connBlocked
		rec.wake.Store(1)
	}
	c.r.hub.unlock(rec, c.h.slot())
}

// TestWhatIsSkippedInTheFirstMomentOfAHubIsTold: ticks begin at 0, which stands for never.
func TestWhatIsSkippedInTheFirstMomentOfAHubIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(cfg *Config, _ *fakeEngine) { cfg.MemoryBytes = 1 })
		a := r.open(user("a"))
		for n := range 3 {
			r.pass(user("a"), n, "")
			synctest.Wait()
		}
		wantFrames(t, a.posted(t), []string{"gap user/a volatile 1"})
		time.Sleep(skipTell)
		synctest.Wait()
		wantFrames(t, a.posted(t), []string{"gap user/a volatile 1", "gap user/a volatile 2"})
	})
}

func TestWhoComesLaterGetsTheNewestOfEachKey(t *testing.T) {
	for _, topic := range kinds {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.open(user("a"))
			a.join(room("r"))
			name := topic.String()
			r.put(topic, "x", 1)
			synctest.Wait()
			r.put(topic, "y", 2)
			synctest.Wait()
			r.put(topic, "x", 3)
			r.put(topic, "z", 4, a.session)
			synctest.Wait()
			wantFrames(t, a.posted(t), []string{"latest " + name + " x 1", "latest " + name + " y 2", "latest " + name + " x 3"})
			late := r.open(user("a"))
			late.join(room("r"))
			synctest.Wait()
			wantFrames(t, late.posted(t), []string{"latest " + name + " y 2", "latest " + name + " x 3", "latest " + name + " z 4"})
			time.Sleep(2 * time.Minute)
			last := r.open(user("a"))
			last.join(room("r"))
			synctest.Wait()
			wantFrames(t, last.posted(t), nil)
			if n := r.hub.Stats().WindowBytes; n != 0 {
				t.Errorf("got %d bytes kept, want 0", n)
			}
		})
	}
}

func TestWhoIsBehindGetsNoSupersededMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		a.join(room("r"))
		a.stall(true)
		for i := range 100 {
			r.put(room("r"), "x", i)
			r.put(room("r"), fmt.Sprint(i), i)
		}
		a.stall(false)
		synctest.Wait()
		got := a.posted(t)
		if len(got) != latestKeys || got[latestKeys-2] != "latest room/r x 99" || got[0] != "latest room/r 37 37" {
			t.Errorf("got %d messages, %q: want the newest of 64 keys", len(got), got)
		}
	})
}

func TestTheNewerOfTwoIsKeptWhateverComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		old, same := latest(user("a"), "x", 1), latest(user("a"), "y", 1)
		time.Sleep(time.Millisecond)
		missed := latest(user("a"), "z", 5)
		r.put(user("a"), "x", 2)
		r.hub.Post(same)
		synctest.Wait()
		if again := r.recall(user("a"), old, same, missed); again {
			t.Error("what is known already was not recognised")
		}
		other := same
		other.Frame = text("latest user/a y 3")
		if again := r.recall(user("a"), other); !again {
			t.Error("one of two messages of the same time was taken for the newer")
		}
		synctest.Wait()
		want := []string{"latest user/a x 2", "latest user/a y 1", "latest user/a z 5"}
		wantFrames(t, a.posted(t), want)
		// The driver was asked again, and still has that one.
		if again := r.hub.Recall(keyOf(user("a")), Recalled{List: []Posting{other}, Sure: other.At}); again {
			t.Error("it still is not known which is the newer")
		}
		synctest.Wait()
		wantFrames(t, a.posted(t), append(want, "latest user/a y 3"))
	})
}

func TestAPostingUnderAnotherTopicsKeyIsDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		p := latest(user("b"), "x", 1)
		p.Topic = keyOf(user("a"))
		r.hub.Post(p)
		r.hub.Recall(p.Topic, Recalled{List: []Posting{p}})
		synctest.Wait()
		wantFrames(t, a.posted(t), nil)
		if n := r.hub.Stats().Isolation; n != 2 {
			t.Errorf("got %d counted, want 2", n)
		}
	})
}

// Whoever is behind for whatever reason: what it got and what it was told to have skipped make
// up all that was posted since it came, and the newest of each key is what it has last.
func TestBoardsUnderStress(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t, func(c *Config, e *fakeEngine) { e.room = 300 + rnd.IntN(500) })
			var clients []*client
			for range 8 {
				c := r.open(user("a"))
				c.join(room("r"))
				clients = append(clients, c)
			}
			newest := map[string]int{}
			const posts = 2000
			for i := range posts {
				switch rnd.IntN(5) {
				case 0:
					key := fmt.Sprint(rnd.IntN(5))
					r.put(room("r"), key, i)
					newest[key] = i
				case 1:
					r.publish(room("r"))
				case 2:
					c := clients[rnd.IntN(len(clients))]
					r.engine.drain(c.socket())
				}
				r.pass(room("r"), i, "")
				if rnd.IntN(10) == 0 {
					time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				}
			}
			for range 4 { // until the last gap is told
				r.engine.drainAll()
				time.Sleep(skipTell)
				synctest.Wait()
			}
			for _, c := range clients {
				checkPosted(t, seed, c.posted(t), posts, newest)
			}
		})
	}
}

// checkPosted checks what one client got of a room.
func checkPosted(t *testing.T, seed uint64, got []string, posts int, newest map[string]int) {
	t.Helper()
	taken, skipped, last := 0, 0, -1
	has := map[string]int{}
	for _, f := range got {
		var n int
		var key string
		switch {
		case scan(f, "gap room/r volatile %d", &n):
			skipped += n
		case scan(f, "passing room/r %d", &n):
			if n <= last {
				t.Errorf("seed %d: %q after %d", seed, f, last)
			}
			last = n
			taken++
		case scan(f, "latest room/r %s %d", &key, &n):
			if n <= has[key] && has[key] != 0 {
				t.Errorf("seed %d: %q after %d", seed, f, has[key])
			}
			has[key] = n
		default:
			t.Errorf("seed %d: %q", seed, f)
		}
	}
	if taken+skipped != posts || taken == 0 {
		t.Errorf("seed %d: got %d messages and was told of %d, want %d in all", seed, taken, skipped, posts)
	}
	if fmt.Sprint(has) != fmt.Sprint(newest) {
		t.Errorf("seed %d: got %v last, want %v", seed, has, newest)
	}
}

func scan(s, format string, into ...any) bool {
	n, err := fmt.Sscanf(s, format, into...)
	return err == nil && n == len(into)
}
