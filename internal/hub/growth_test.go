package hub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// However often a connection skips, it waits once for each topic to be told, and is told of all.
func TestWhoSkipsInManyTopicsIsToldOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		var rooms []wire.Topic
		for i := range 4 {
			rooms = append(rooms, room(fmt.Sprint(i)))
			a.join(rooms[i])
		}
		posts := 0
		for range 60 { // six seconds
			a.stall(true)
			for _, in := range rooms {
				for range passingMost + 1 {
					posts++
					r.pass(in, posts, "")
				}
			}
			a.stall(false)
			synctest.Wait()
			r.hub.reaper.mu.Lock()
			n := len(r.hub.reaper.tells)
			r.hub.reaper.mu.Unlock()
			if n > len(rooms) {
				t.Fatalf("the connection waits %d times, want once for each topic", n)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * skipTell)
		synctest.Wait()
		got, told := 0, 0
		for _, line := range a.posted(t) {
			var topic string
			var count int
			if n, _ := fmt.Sscanf(line, "gap %s volatile %d", &topic, &count); n == 2 {
				told += count
			} else {
				got++
			}
		}
		if got+told != posts || told == 0 {
			t.Errorf("got %d messages and was told of %d, want %d together", got, told, posts)
		}
	})
}

// Names of epochs that only clients know are bounded, and those who come with them are told
// that theirs is another.
func TestEpochsThatClientsClaimDoNotGrowWithoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.publish(room("r"))
		a := r.open(user("a"))
		a.join(room("r"))
		for i := range 2 * maxClaims {
			_ = r.hub.Seek(a.h, keyOf(user("a")), wire.Position{Epoch: fmt.Sprintf("claimed-%d", i), Offset: 7})
		}
		synctest.Wait()
		if n := len(*r.hub.epochs.list.Load()); n > maxClaims+10 {
			t.Errorf("got %d names, want %d at most", n, maxClaims)
		}
		b := r.open(user("b"))
		_ = r.hub.Seek(b.h, keyOf(user("b")), wire.Position{Epoch: "one-more", Offset: 7})
		r.publish(user("b"))
		synctest.Wait()
		if frames := b.got.frames(); len(frames) != 2 || !strings.Contains(frames[0], wire.ReasonEpochChanged) {
			t.Errorf("got %q, want a gap and the message", frames)
		}
	})
}

// When everybody has gone and some time is over, nothing is charged and no record is in use.
func TestNothingIsLeftOnceEverybodyHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { e.room = 3000; c.MemoryBytes = 300_000 })
		for round := range 3 {
			var clients []*client
			var topics []wire.Topic
			var texts []*testText
			for i := range 8 {
				u := wire.Topic{Tenant: fmt.Sprint("t", i%3), Kind: wire.KindUser, ID: fmt.Sprint("u", i)}
				in := wire.Topic{Tenant: u.Tenant, Kind: wire.KindRoom, ID: "r"}
				c := r.open(u)
				c.join(in)
				c.join(wire.Topic{Tenant: u.Tenant, Kind: wire.KindRoom, ID: "s"})
				clients, topics = append(clients, c), append(topics, u, in)
				texts = append(texts, r.stream(u, fmt.Sprint("own", round, i), ""), r.stream(in, fmt.Sprint("room", round, i), "t"))
				if i%2 == 0 {
					_ = r.hub.Watch(c.h, "t")
				}
			}
			for n := range 200 {
				for i, topic := range topics {
					r.publish(topic)
					r.pass(topic, n, "t")
					r.put(topic, fmt.Sprint(n%70), n)
					r.write(texts[i], strings.Repeat("text ", 20), n%17 == 0)
				}
				if c := clients[n%len(clients)]; n%3 == 0 {
					r.engine.drain(c.socket())
					pos, _ := r.hub.Cursor(c.h, keyOf(topics[2*(n%len(clients))]))
					_, _ = r.hub.Ack(c.h, keyOf(topics[2*(n%len(clients))]), pos, pos)
				}
				time.Sleep(5 * time.Millisecond)
			}
			for i, c := range clients {
				if i%2 == 0 {
					r.hub.Unfollow(c.h, keyOf(topics[2*i+1]))
				}
				if i%3 == 0 {
					r.hub.Abandon(c.h)
				} else {
					_ = r.hub.Close(c.h, wire.CloseNormal, "", true)
				}
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		h := r.hub
		if n := h.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes charged, want 0", n)
		}
		for i, n := range *h.memory.tenants.list.Load() {
			if n.Load() != 0 {
				t.Errorf("tenant %q is charged for %d bytes, want 0", h.tenants.name(uint32(min(i, len(*h.tenants.list.Load())-1))), n.Load())
			}
		}
		h.Expire(h.Idle(nil, 1000, 0))
		for name, n := range map[string]int{
			"connections": h.conns.used(), "topics": h.topics.used(), "windows": h.windows.used(), "fans": h.fans.used(),
			"extras": h.extras.used(), "streams": h.streams.used(), "sets": h.sets.used(), "readings": h.readings.used(),
			"boards": h.boards.used(), "more": h.more.used(), "acks": h.acks.used(),
		} {
			if n != 0 {
				t.Errorf("got %d %s that stay, want none", n, name)
			}
		}
		h.catch.mu.Lock()
		defer h.catch.mu.Unlock()
		if n := len(h.catch.waiting); n != 0 || !h.catch.idle() {
			t.Errorf("%d readings are waited for by nobody, or jobs are left", n)
		}
	})
}

// A log that cannot be read is asked again for those only who still wait.
func TestALogThatCannotBeReadIsNotAskedForWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.WindowMessages = 1 })
		alice, bob := r.open(user("alice")), r.open(user("bob"))
		r.mu.Lock()
		r.unreadable = map[Key]bool{keyOf(user("alice")): true, keyOf(user("bob")): true}
		r.mu.Unlock()
		for _, c := range []*client{alice, bob} {
			_ = r.hub.Seek(c.h, keyOf(user(map[*client]string{alice: "alice", bob: "bob"}[c])), wire.Position{Epoch: "e0"})
		}
		time.Sleep(time.Second)
		r.hub.Abandon(alice.h)
		time.Sleep(time.Second)
		synctest.Wait() // a reading that is asked for again at this very moment is in nobody's list
		r.hub.catch.mu.Lock()
		if n := len(r.hub.catch.waiting); n != 1 {
			t.Errorf("%d readings are waited for, want that of the one who is there", n)
		}
		r.hub.catch.mu.Unlock()
		r.mu.Lock()
		r.unreadable = nil
		r.mu.Unlock()
		time.Sleep(time.Second)
		if frames := bob.got.frames(); len(frames) != 1 || !strings.Contains(frames[0], wire.ReasonEpochChanged) {
			t.Errorf("got %q, want the gap once the log can be read", frames)
		}
	})
}
