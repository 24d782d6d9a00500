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

// kept looks at everything that a hub keeps of topics and returns what it costs, by tenant.
func (r *rig) kept() map[string]int64 {
	sum, h := map[string]int64{}, r.hub
	for i := uint32(1); i < h.topics.limit(); i++ {
		rec := h.topics.at(i)
		rec.mu.Lock()
		n := int64(0)
		if rec.window != 0 {
			w := h.windows.at(rec.window)
			for k := range w.entries[w.from:] {
				n += int64(w.entries[w.from+k].weight())
			}
		}
		if set := rec.streams.Load(); set != 0 {
			for _, i := range h.sets.at(set).of {
				n += h.streams.at(i).text.weight()
			}
		}
		if b := rec.board.Load(); b != 0 {
			for _, p := range append(h.boards.at(b).latest, h.boards.at(b).passing...) {
				n += int64(len(p.frame))
			}
		}
		sum[h.tenants.name(rec.tenant)] += n
		rec.mu.Unlock()
	}
	h.longs.mu.Lock()
	defer h.longs.mu.Unlock()
	for _, t := range h.longs.list {
		sum[h.tenants.name(t.tenant)] += int64(len(t.text))
	}
	return sum
}

// checkBounds compares the accounts with what is there and with the bounds.
func (r *rig) checkBounds() {
	r.t.Helper()
	total := int64(0)
	for tenant, n := range r.kept() {
		total += n
		if got := r.hub.memory.tenants.of(r.hub.tenants.number(tenant)).Load(); got != n || n > r.hub.cfg.TenantBytes {
			r.t.Errorf("tenant %q is charged for %d bytes and has %d, of at most %d", tenant, got, n, r.hub.cfg.TenantBytes)
		}
	}
	if got := r.hub.Stats().WindowBytes; got != total || total > r.hub.cfg.MemoryBytes {
		r.t.Errorf("the node is charged for %d bytes and has %d, of at most %d", got, total, r.hub.cfg.MemoryBytes)
	}
}

// drainToTheEnd lets clients read until nothing comes any more.
func (r *rig) drainToTheEnd(clients []*client) {
	for quiet, before := 0, 0; quiet < 5; quiet++ {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r.engine.drainAll()
		synctest.Wait()
		n := 0
		for _, c := range clients {
			c.got.mu.Lock()
			n += len(c.got.bytes)
			c.got.mu.Unlock()
		}
		if n != before {
			quiet, before = 0, n
		}
	}
}

// boundsStress runs random loads of several tenants with readers that stall, under bounds that
// are far too tight, and looks whether they hold and everybody has everything once.
func boundsStress(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	r := newRig(t, func(c *Config, e *fakeEngine) {
		c.Workers, c.WindowMessages = 1+rng.IntN(3), 1+rng.IntN(50)
		c.MemoryBytes = int64(rng.IntN(20_000))
		c.TenantBytes = 1 + c.MemoryBytes/int64(1+rng.IntN(3))
		e.room = 200 + rng.IntN(2000)
	})
	var topics []wire.Topic
	var clients []*client
	var texts []*testText
	for _, tenant := range []string{"a", "b", "c"} {
		for _, id := range []string{"x", "y"} {
			u, in := wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: id}, wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: "r"}
			c := r.open(u)
			c.join(in)
			clients, topics = append(clients, c), append(topics, u)
			texts = append(texts, r.stream(u, tenant+id+"/answer", ""))
		}
		in := wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: "r"}
		topics = append(topics, in)
		for i := range 3 {
			texts = append(texts, r.stream(in, fmt.Sprintf("%sr/%d", tenant, i), ""))
		}
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // not one moment in which it is more
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n := r.hub.memory.total.Load(); n > r.hub.cfg.MemoryBytes {
				t.Errorf("%d bytes are kept, of at most %d", n, r.hub.cfg.MemoryBytes)
			}
			time.Sleep(time.Millisecond)
		}
	})
	for range 12 {
		var wg sync.WaitGroup
		for i, s := range texts {
			rng := rand.New(rand.NewPCG(seed, rng.Uint64()+uint64(i)))
			wg.Go(func() {
				for range 20 {
					switch rng.IntN(5) {
					case 0:
						r.event(s)
					case 1:
						r.write(s, strings.Repeat("long🙂 ", 1+rng.IntN(100)), false)
					case 2:
						time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
					default:
						r.write(s, "token ", false)
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		r.checkBounds()
		r.engine.drain(clients[rng.IntN(len(clients))].socket())
	}
	r.drainToTheEnd(clients)
	close(stop)
	watch.Wait()
	for i, c := range clients {
		view, _ := r.hub.View(c.h)
		got := c.read(t, nil) // it fails if text comes twice
		for _, s := range texts {
			if s.topic == view.User || s.topic.Kind == wire.KindRoom && s.topic.Tenant == view.User.Tenant {
				got.want(s.ID, string(s.text))
			}
		}
		for _, topic := range topics {
			want := 0
			if topic == view.User || topic.Kind == wire.KindRoom && topic.Tenant == view.User.Tenant {
				want = int(r.log(topic).head)
			}
			if list := c.of(topic); strings.Join(list, " ") != strings.Join(numbers("e1", 1+want-len(list), want), " ") || want == 0 && len(list) > 0 {
				t.Errorf("client %d got %v of %s, want all up to %d", i, list, topic, want)
			}
		}
	}
	if r.hub.cfg.MemoryBytes < 2000 && r.hub.Stats().Evicted == 0 {
		t.Error("nothing was evicted: the bounds were not tight")
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if n := r.hub.Stats().WindowBytes; n != 0 {
		t.Errorf("got %d bytes that stay when nothing happens any more", n)
	}
}

func TestMemoryIsBoundedPerTenantAndNodeAndNobodyMissesAnything(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { boundsStress(t, seed) })
		})
	}
}

func TestATenantOverItsBoundDoesNotEvictAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { e.room, c.MemoryBytes, c.TenantBytes = 1, 1<<20, 64<<10 })
		quiet, loud := wire.Topic{Tenant: "quiet", Kind: wire.KindUser, ID: "u"}, wire.Topic{Tenant: "loud", Kind: wire.KindUser, ID: "u"}
		slow := r.open(quiet)
		r.open(loud)
		for range 20 {
			r.publish(quiet)
		}
		before := r.kept()["quiet"]
		s := r.stream(loud, "R/answer", "")
		for range 500 {
			r.publish(loud)
			r.write(s, strings.Repeat("text ", 500), false)
			time.Sleep(textWindow)
		}
		synctest.Wait()
		r.checkBounds()
		if got := r.kept()["quiet"]; before == 0 || got != before && r.hub.since(r.hub.windows.at(1).touched.Load()) < windowIdle*tickLength {
			t.Errorf("got %d bytes of the quiet tenant, want %d as before", got, before)
		}
		if r.hub.Stats().Evicted == 0 {
			t.Error("nothing was evicted: the test shows nothing")
		}
		r.engine.drainAll()
		synctest.Wait()
		if n := len(slow.of(quiet)); n != 20 {
			t.Errorf("got %d messages, want 20", n)
		}
	})
}

// A connection that takes nothing costs its record: what it has not taken is kept for all, for
// as long as the window reaches and not longer, and is nobody's copy.
func TestAStalledReaderCostsNoMemoryBeyondItsRecord(t *testing.T) {
	for name, topic := range map[string]wire.Topic{"user": user("alice"), "room": room("r")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 10_000 })
				stalled := r.open(user("alice"))
				stalled.join(room("r"))
				s := r.stream(topic, "R/answer", "")
				for i := range 5000 {
					r.publish(topic)
					r.write(s, "some text of a run ", false)
					if i%10 == 0 {
						time.Sleep(textWindow)
					}
				}
				synctest.Wait()
				if n := r.hub.Stats().WindowBytes; n == 0 || n > 1<<20+textMost {
					t.Errorf("got %d bytes while it goes on, want those of one window and one text at most", n)
				}
				if x := r.hub.conns.at(stalled.h.slot()).extra; x != 0 {
					if e := r.hub.extras.at(x); len(e.control) > 0 || len(e.rest) > chunkBytes {
						t.Errorf("got %d answers and %d bytes of a frame that wait", len(e.control), len(e.rest))
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := r.hub.Stats().WindowBytes; n != 0 {
					t.Errorf("got %d bytes that are kept for a reader that stalls, want none", n)
				}
				if n := r.hub.windows.used(); n != 0 {
					t.Errorf("got %d windows, want none", n)
				}
				r.drainToTheEnd([]*client{stalled})
				stalled.read(t, nil).want("R/answer", string(s.text))
			})
		})
	}
}

// A flush looks only at streams that have changed, however many there are, and nobody misses
// text for it.
func TestOfThousandsOfStreamsEveryoneGetsAllText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 50_000 })
		in := room("r")
		early := r.open(user("alice"))
		early.join(in)
		list := make([]*testText, 2000)
		for i := range list {
			list[i] = r.stream(in, fmt.Sprintf("R%d/answer", i), fmt.Sprint("t", i%2))
			r.write(list[i], "begin ", false)
		}
		chosen := r.open(user("bob"))
		chosen.join(in)
		if err := r.hub.Watch(chosen.h, "t0"); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 3000 {
			r.write(list[rng.IntN(len(list))], fmt.Sprintf("%d ", i), i > 2000 && i%50 == 0)
			if i%100 == 0 {
				time.Sleep(10 * time.Millisecond)
				r.engine.drainAll()
			}
			if i == 2000 {
				if err := r.hub.Watch(chosen.h, "t1"); err != nil {
					t.Fatal(err)
				}
				r.drainToTheEnd([]*client{chosen})
				got := chosen.read(t, nil)
				for _, s := range list {
					got.want(s.ID, string(s.text))
				}
			}
			if i%300 == 0 {
				r.finish(list[i/300])
				list[i/300] = r.stream(in, fmt.Sprintf("S%d/answer", i), "t0")
			}
		}
		late := r.open(user("carol"))
		late.join(in)
		for _, s := range list {
			r.write(s, "end", false)
		}
		r.drainToTheEnd([]*client{early, chosen, late})
		for _, c := range []*client{early, chosen, late} {
			got := c.read(t, nil)
			for _, s := range list {
				got.want(s.ID, string(s.text))
			}
		}
		_, rec := r.hub.topicAt(keyOf(in))
		rec.mu.Unlock()
		c := r.hub.lock(early.h)
		defer r.hub.unlock(c, early.h.slot())
		if first := r.hub.changedSince(r.hub.sets.at(rec.streams.Load()), r.hub.seenOf(c, r.hub.index.find(keyOf(in)))); first != 0 {
			t.Error("a connection that has all text would look at streams again")
		}
	})
}

// Each turn of a slow socket takes a little of a long text. The rest is not read again for that,
// nor for others who are as far behind.
func TestALongTextIsReadOnceForAllWhoAreBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 60_000 })
		alice := user("alice")
		s := r.stream(alice, "R/answer", "")
		keep := r.follow(alice)
		defer r.hub.Release(keep)
		r.write(s, strings.Repeat("some text, ß and 🙂. ", 40_000), true) // 800,000 code points
		var clients []*client
		for range 8 {
			clients = append(clients, r.open(alice))
		}
		head, _ := r.hub.Head(keep)
		r.hub.AddStream(keyOf(alice), s.Stream, uint64(len(s.text)), head)
		r.drainToTheEnd(clients)
		for i, c := range clients {
			if text := string(c.read(t, nil).texts["R/answer"]); text != string(s.text) {
				t.Errorf("client %d: got %d bytes of text, want %d", i, len(text), len(string(s.text)))
			}
		}
		if n := r.hub.Stats().TextReads; n > 4 {
			t.Errorf("the text was read %d times for %d connections, want once or a little more", n, len(clients))
		}
		r.checkBounds()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.hub.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes that stay", n)
		}
	})
}

func TestWithoutMemoryAllIsReadFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MemoryBytes = 1 })
		c := r.open(user("alice"))
		c.join(room("r"))
		for i, topic := range []wire.Topic{user("alice"), room("r")} {
			s := r.stream(topic, fmt.Sprintf("R%d/answer", i), "")
			synctest.Wait()
			if n := len(c.of(topic)); n != 1 {
				t.Errorf("got %d messages of %s, want one", n, topic)
			}
			r.write(s, "text", false)
			synctest.Wait()
			c.read(t, nil).want(s.ID, "text")
		}
		if s := r.hub.Stats(); s.WindowBytes != 0 || s.Evicted == 0 {
			t.Errorf("got %d bytes and %d evicted, want none and some", s.WindowBytes, s.Evicted)
		}
	})
}
