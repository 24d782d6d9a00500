package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

func TestTheControlAllowanceIsOverdrawnOnceAndThenTheConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MaxControl = 100 })
		a, b := r.open(user("a")), r.open(user("b"))
		spend := func(n int, want Payment) (retry time.Duration) {
			t.Helper()
			retry, got := r.hub.Spend(a.h, n)
			if got != want {
				t.Fatalf("got %v, want %v", got, want)
			}
			return retry
		}
		for range 100 {
			spend(1, Paid)
		}
		retry := spend(1, Overdue)
		time.Sleep(retry + time.Minute/100)
		spend(1, Paid) // who waits as told goes on
		for range 10 {
			spend(1, Overdue)
		}
		spend(1, Flooded)
		spend(1, Flooded)
		synctest.Wait()
		if end, ok := r.end(a.h); !ok || end.Code != wire.ClosePolicy || end.Reason == "" {
			t.Errorf("got %+v %v, want 1008 and a reason", end, ok)
		}
		if _, p := r.hub.Spend(b.h, 1); p != Paid {
			t.Error("another connection paid for it")
		}
		if s := r.hub.Stats(); s.Flooded != 1 || s.Limited < 12 {
			t.Errorf("got %d flooded, %d limited, want 1 and 12", s.Flooded, s.Limited)
		}
	})
}

// However dear one thing is, nobody is closed who was not told before.
func TestWhatIsDearDoesNotEndAConnectionUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MaxControl = 600 })
		a := r.open(user("a"))
		for {
			_, p := r.hub.Spend(a.h, 1<<30)
			if p == Flooded {
				t.Fatal("closed without having been told")
			}
			if p == Overdue {
				return
			}
		}
	})
}

// A debt is at most the whole allowance.
func TestWhatIsOwedIsPaidWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for range 10 {
			r.hub.Owe(a.h, 1000, 120)
		}
		if retry, ok := r.hub.Allow(a.h, 1, 120); ok || retry > time.Minute/120 {
			t.Errorf("got %v %v, want a refusal for %v", retry, ok, time.Minute/120)
		}
		time.Sleep(time.Minute)
		if _, ok := r.hub.Allow(a.h, 120, 120); !ok {
			t.Error("the debt was not paid after a minute")
		}
	})
}
