package hub

import (
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
