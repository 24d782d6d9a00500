package switchboard

import (
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
)

func TestNobodysSilenceCountsWhileTheServerStoodStill(t *testing.T) {
	h := Heartbeat{Interval: 25 * time.Second, Timeout: 75 * time.Second, MaxMissed: 2, OfflineAfter: 30 * time.Second}
	const tick, slack = 250 * time.Millisecond, 3 * time.Second
	now := time.Now()
	s := standstills{looked: now}
	turns := func(n int) {
		for range n {
			now = now.Add(tick)
			if took := s.turn(now, tick, slack, now.Add(-2*h.Timeout)); took != 0 {
				t.Fatalf("a turn in time took %v", took)
			}
		}
	}
	stands := func(d time.Duration) {
		now = now.Add(tick + d)
		if took := s.turn(now, tick, slack, now.Add(-2*h.Timeout)); took != d {
			t.Fatalf("got %v, want %v", took, d)
		}
	}
	turns(2)
	heard := now
	turns(40) // 10 s
	stands(80 * time.Second)
	silent := func() hub.Beat { return hub.Beat{Silent: now.Sub(heard)} }
	if got := s.excuse(silent()).Silent.Round(time.Second); got != 10*time.Second {
		t.Errorf("got silent for %v, want 10s", got)
	}
	if v := h.judge(silent()); v.Act != hub.Drop {
		t.Errorf("got %+v without the excuse, want a drop", v)
	}
	if v := h.judge(s.excuse(silent())); v.Act != hub.Leave {
		t.Errorf("got %+v, want nothing to be done", v)
	}
	stands(80 * time.Second)
	turns(63) // 15.75 s, in which it could have been heard
	if v := h.judge(s.excuse(silent())); v.Act != hub.Ping {
		t.Errorf("got %+v after the interval, want a ping", v)
	}
	// Who was heard in the middle of it is excused from then on; who was pinged before has the rest of its time.
	if got := s.excuse(hub.Beat{Silent: 20 * time.Second, PingAge: now.Sub(heard), Unwritable: 1}); got.Silent.Round(time.Second) != 16*time.Second ||
		got.PingAge.Round(time.Second) != 26*time.Second || got.Unwritable != 1 {
		t.Errorf("got %+v", got)
	}
	now = now.Add(time.Millisecond)
	if took := s.turn(now, 0, slack, now.Add(-2*h.Timeout)); took != 0 {
		t.Errorf("got %v within a turn, want 0", took)
	}
	now = now.Add(90 * time.Second) // in the middle of a turn
	if took := s.turn(now, 0, slack, now.Add(-2*h.Timeout)); took != 90*time.Second {
		t.Errorf("got %v within a turn, want 90s", took)
	}
	turns(4 * 51) // the timeout is over, by the time that counts
	if v := h.judge(s.excuse(silent())); v.Act != hub.Drop {
		t.Errorf("got %+v, want a drop", v)
	}
	turns(4 * 100)
	if len(s.list) != 0 {
		t.Errorf("%d are remembered, though nobody is silent for so long", len(s.list))
	}
}
