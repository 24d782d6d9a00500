package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// putLarge posts a message of class Latest that says n and is long.
func (r *rig) putLarge(a wire.Topic, key string, n, size int) {
	p := latest(a, key, n)
	p.Frame = text(fmt.Sprintf("latest %s %s %d%s", a, key, n, strings.Repeat(".", size)))
	r.keepLatest(p)
	r.hub.Post(p)
}

// said is what a client got from boards, without what makes it long.
func (c *client) said(t *testing.T) (list []string) {
	t.Helper()
	for _, f := range c.posted(t) {
		list = append(list, strings.TrimRight(f, "."))
	}
	return list
}

func (r *rig) setFailing(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = err
}

// boards counts what boards of a tenant cost: all of it, and the frames.
func (r *rig) boards(tenant string) (all, frames int64) {
	h := r.hub
	for i := uint32(1); i < h.topics.limit(); i++ {
		rec := h.topics.at(i)
		rec.mu.Lock()
		if b := rec.board.Load(); b != 0 && h.tenants.name(rec.tenant) == tenant {
			for _, p := range append(slices.Clone(h.boards.at(b).latest), h.boards.at(b).passing...) {
				all += int64(p.weight())
				frames += int64(len(p.frame))
			}
		}
		rec.mu.Unlock()
	}
	return all, frames
}

// A tenant with many boards has no more of them in memory than it may, and all of them are there
// for who comes later.
func TestBoardsAreWithinTheBoundOfTheirTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, rooms, keys, size = 1 << 20, 40, 16, 10_000 // 6.4 MB
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MemoryBytes, c.TenantBytes = 4<<20, most })
		in := func(tenant string, i int) wire.Topic {
			return wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: fmt.Sprint("r", i)}
		}
		loud := r.open(wire.Topic{Tenant: "loud", Kind: wire.KindUser, ID: "u"})
		quiet := r.open(wire.Topic{Tenant: "quiet", Kind: wire.KindUser, ID: "u"})
		quiet.join(in("quiet", 0))
		r.putLarge(in("quiet", 0), "x", 1, size)
		synctest.Wait()
		before, _ := r.boards("quiet")
		var want []string
		for i := range rooms {
			loud.join(in("loud", i))
			for k := range keys {
				r.putLarge(in("loud", i), fmt.Sprint(k), i, size)
				want = append(want, fmt.Sprintf("latest room/r%d %d %d", i, k, i))
				synctest.Wait() // nobody makes room any more
				all, frames := r.boards("loud")
				if got := r.hub.memory.tenants.of(r.hub.tenants.number("loud")).Load(); got != all || got > most {
					t.Fatalf("charged for %d bytes of %d, %d of them frames; want at most %d", got, all, frames, most)
				}
				if k%4 == 0 {
					time.Sleep(tickLength)
				}
			}
		}
		r.drainToTheEnd([]*client{loud})
		if got := loud.said(t); !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("who was there got %d of %d", len(got), len(want))
		}
		late := r.open(wire.Topic{Tenant: "loud", Kind: wire.KindUser, ID: "late"})
		for i := range rooms {
			late.join(in("loud", i))
		}
		r.drainToTheEnd([]*client{late})
		got := late.said(t)
		if !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("who came later got %d, want each of %d once", len(got), len(want))
		}
		for i := range rooms { // each board oldest first
			prefix := fmt.Sprintf("latest room/r%d ", i)
			of := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, prefix) })
			if !slices.Equal(of, want[i*keys:(i+1)*keys]) {
				t.Fatalf("of room %d came %q", i, of)
			}
		}
		if all, frames := r.boards("loud"); all > most+size || r.hub.Stats().Evicted == 0 {
			t.Errorf("%d bytes are on boards, %d of frames, and %d were given up", all, frames, r.hub.Stats().Evicted)
		}
		_, had := r.boards("loud")
		for i := range rooms { // the manager does that now and then
			_ = r.Recall(t.Context(), keyOf(in("loud", i)))
		}
		if _, frames := r.boards("loud"); frames != had {
			t.Errorf("%d bytes of frames are on boards after %d, though nobody needs them", frames, had)
		}
		recalls := r.recalls
		time.Sleep(time.Second)
		if r.recalls != recalls {
			t.Error("the driver is asked although everybody has everything")
		}
		if all, _ := r.boards("quiet"); all != before {
			t.Errorf("%d bytes are kept of the quiet tenant, want %d as before", all, before)
		}
	})
}

func sorted(list []string) []string {
	return slices.Sorted(slices.Values(list))
}

// With no room at all, readers that stall, a driver that fails for a while and others that put,
// everybody ends with the newest of each key, and never gets an older one after it.
func TestWithoutRoomForBoardsEverybodyGetsTheNewest(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { boardsWithoutRoom(t, seed) })
		})
	}
}

func boardsWithoutRoom(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	r := newRig(t, func(c *Config, e *fakeEngine) {
		c.MemoryBytes, e.room = int64([]int{1, 3000, 20_000}[rng.IntN(3)]), 1500+rng.IntN(3000)
	})
	rooms := []wire.Topic{room("r0"), room("r1"), user("a")}
	var clients []*client
	open := func() {
		c := r.open(user("a"))
		for _, in := range rooms[:2] {
			c.join(in)
		}
		clients = append(clients, c)
	}
	open()
	open()
	newest := map[string]int{}
	for round := range 30 {
		if round == 15 {
			r.setFailing(errLogDown)
		}
		if round == 17 {
			r.setFailing(nil)
		}
		var wg sync.WaitGroup
		for _, in := range rooms {
			rng := rand.New(rand.NewPCG(seed, rng.Uint64()))
			for k := range 4 {
				newest[fmt.Sprintf("%s %d", in, k)] = 10 * round
			}
			wg.Go(func() {
				for k := range 4 {
					r.putLarge(in, fmt.Sprint(k), 10*round, 100+rng.IntN(900))
					time.Sleep(time.Duration(1+rng.IntN(3)) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if round%5 == 0 {
			open()
		}
		r.engine.drain(clients[rng.IntN(len(clients))].socket())
		if round%7 == 0 {
			for _, in := range rooms {
				_ = r.Recall(t.Context(), keyOf(in)) // as the manager does now and then
			}
		}
	}
	for range 20 { // each time it waits for what takes a while without room
		r.drainToTheEnd(clients)
	}
	for i, c := range clients {
		last := map[string]int{}
		for _, f := range c.said(t) {
			words := strings.Fields(f)
			n := 0
			if _, err := fmt.Sscan(words[3], &n); err != nil {
				t.Fatal(err)
			}
			if of := words[1] + " " + words[2]; n < last[of] {
				t.Errorf("client %d got %q after %d", i, f, last[of])
			} else {
				last[of] = n
			}
		}
		for of, n := range newest {
			if last[of] != n {
				t.Errorf("client %d ends with %d of %s, want %d", i, last[of], of, n)
			}
		}
	}
	time.Sleep(2 * time.Minute)
	if n := r.hub.Stats().WindowBytes; n != 0 {
		t.Errorf("got %d bytes that stay", n)
	}
}

func TestWhoIsMovedAwayGetsWhatTheBoardHasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MemoryBytes = 1 })
		r.putLarge(user("a"), "x", 1, 100)
		r.open(user("a"))
		r.putLarge(user("a"), "x", 2, 100)
		r.putLarge(user("a"), "y", 3, 100)
		synctest.Wait()
		r.setFailing(errLogDown)
		late := r.open(user("a"))
		if err := r.hub.Close(late.h, wire.CloseRestart, "", true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, over := r.end(late.h); over {
			t.Fatal("the connection has ended before it had everything")
		}
		r.setFailing(nil)
		time.Sleep(time.Second)
		wantFrames(t, late.said(t), []string{"latest user/a x 2", "latest user/a y 3"})
	})
}
