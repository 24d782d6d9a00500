package hub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

func TestWhoIsBehindInManyTopicsIsLookedAtOncePerTopicAndSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		topics := []wire.Topic{room("r1"), room("r2"), room("r3"), room("r4")}
		for _, topic := range topics {
			a.join(topic)
		}
		for i := range 60 {
			a.stall(true)
			for _, topic := range topics[:min(len(topics), i+1)] { // each is told at a time of its own
				for range passingMost + 1 {
					r.pass(topic, 1, "")
				}
			}
			a.stall(false)
			synctest.Wait()
			time.Sleep(skipTell / 7)
		}
		r.hub.reaper.mu.Lock()
		n := len(r.hub.reaper.tells)
		r.hub.reaper.mu.Unlock()
		if n > len(topics) {
			t.Errorf("the reaper has %d looks before it, want one per topic at most", n)
		}
	})
}

func TestVolatileMessagesKeepNobodyFromTheLogsOfOtherTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 300 })
		a := r.open(user("a"))
		a.join(room("r"))
		for i := range 1000 {
			r.pass(user("a"), i, "")
		}
		r.publish(room("r"))
		r.put(room("r"), "x", 1)
		for i := range 10 {
			for range 100 {
				r.pass(user("a"), i, "")
			}
			r.engine.drain(a.socket())
			synctest.Wait()
		}
		wantFrames(t, a.of(room("r")), numbers("e1", 1, 1))
		if got := strings.Join(a.posted(t), "\n"); !strings.Contains(got, "latest room/r x 1") {
			t.Error("the newest of the room was not delivered")
		}
	})
}

func TestTheNewestOfEachKeyComesBeforeWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 300 })
		a := r.open(user("a"))
		for i := range 1000 {
			r.pass(user("a"), i, "")
		}
		r.put(user("a"), "x", 1)
		for i := range 10 {
			for range 100 {
				r.pass(user("a"), i, "")
			}
			r.engine.drain(a.socket())
			synctest.Wait()
		}
		if got := strings.Join(a.posted(t), "\n"); !strings.Contains(got, "latest user/a x 1") {
			t.Error("not delivered")
		}
	})
}

func TestMemoryOfVolatileMessagesIsGivenBackWhenItIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MemoryBytes, c.TenantBytes = 64<<10, -1 })
		a := r.open(user("a"))
		for i := range 20 {
			topic := room(fmt.Sprint(i))
			a.join(topic)
			p := Posting{Topic: keyOf(topic), Address: topic, Class: wire.Volatile, Frame: text(strings.Repeat("x", 3<<10))}
			r.hub.Post(p)
		}
		synctest.Wait()
		time.Sleep(passingKeep + 50*time.Millisecond)
		r.publish(room("1")) // full as it is, it makes the reaper look
		synctest.Wait()
		if n := r.hub.Stats().WindowBytes; n > 32<<10 {
			t.Errorf("got %d bytes kept, want those given back whose time is over", n)
		}
	})
}
