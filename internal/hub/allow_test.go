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
			r.hub.Owe(a.h, 1000, Rates{Conn: 120})
		}
		if retry, over := r.hub.Allow(a.h, 1, Rates{Conn: 120}); over != OfConn || retry > time.Minute/120 {
			t.Errorf("got %v %v, want a refusal for %v", retry, over, time.Minute/120)
		}
		time.Sleep(time.Minute)
		if _, over := r.hub.Allow(a.h, 120, Rates{Conn: 120}); over != Within {
			t.Error("the debt was not paid after a minute")
		}
	})
}

func TestAUsersConnectionsShareAnAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		of := Rates{Conn: 4, User: 6}
		a, b, other := r.open(user("a")), r.open(user("a")), r.open(user("b"))
		for _, c := range []*client{a, a, a, b, b, b} {
			if _, over := r.hub.Allow(c.h, 1, of); over != Within {
				t.Fatalf("got %v within the allowance", over)
			}
		}
		for _, c := range []*client{a, b} {
			if retry, over := r.hub.Allow(c.h, 1, of); over != OfUser || retry != 10*time.Second {
				t.Errorf("got %v %v, want a refusal for 10s", over, retry)
			}
		}
		if _, over := r.hub.Allow(other.h, 1, of); over != Within {
			t.Error("another user paid for it")
		}
		time.Sleep(10 * time.Second)
		if _, over := r.hub.Allow(a.h, 1, of); over != Within {
			t.Error("refused after the time that was told, or the connection paid for what was refused")
		}
		r.hub.Owe(b.h, 1000, of)
		time.Sleep(50 * time.Second)
		if _, over := r.hub.Allow(a.h, 4, of); over != Within {
			t.Error("a debt is more than the whole allowance")
		}
	})
}

// Who has no connection any more is not forgotten before its allowance is full again.
func TestComingAgainGivesNobodyANewAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		of := Rates{User: 60}
		const age = 30 * time.Second
		leave := func(c *client) {
			r.hub.Close(c.h, wire.CloseNormal, "", false)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		a := r.open(user("a"))
		r.hub.Allow(a.h, 60, of)
		leave(a)
		time.Sleep(39 * time.Second)
		r.hub.Expire(r.hub.Idle(nil, 10, age))
		a = r.open(user("a"))
		if _, over := r.hub.Allow(a.h, 41, of); over != OfUser {
			t.Errorf("got %v, want that 40 s give 40 messages", over)
		}
		if _, over := r.hub.Allow(a.h, 40, of); over != Within {
			t.Errorf("got %v of 40 messages after 40 s", over)
		}
		leave(a)
		time.Sleep(time.Minute + age)
		if gone := r.hub.Expire(r.hub.Idle(nil, 10, age)); len(gone) == 0 {
			t.Error("a user without connections is never forgotten")
		}
	})
}

// Also one that is no whole number of ticks a message, or many messages a tick.
func TestARateIsWhatItSays(t *testing.T) {
	for _, perMinute := range []int{1, 7, 120, 481, 6000, 7001, 1_000_000} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			of := Rates{Conn: perMinute, User: perMinute}
			a := r.open(user("a"))
			let := func() (n int) {
				for {
					if _, over := r.hub.Allow(a.h, 1, of); over != Within {
						return n
					}
					n++
				}
			}
			if got := let(); got < perMinute || got > perMinute+perMinute/1000 {
				t.Errorf("got %d at once, want %d", got, perMinute)
			}
			time.Sleep(30 * time.Second)
			if got := let(); got < perMinute/2-1 || got > perMinute/2+perMinute/1000 {
				t.Errorf("got %d in half a minute of %d", got, perMinute)
			}
		})
	}
}

// BenchmarkAllow is what each message of a client costs before anything is done for it.
func BenchmarkAllow(b *testing.B) {
	r := newRig(b, nil)
	a := r.open(user("a"))
	for b.Loop() {
		r.hub.Allow(a.h, 1, Rates{1 << 24, 1 << 24})
	}
}
