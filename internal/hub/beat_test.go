package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// sweep shows all connections to fn.
func (r *rig) sweep(fn func(c Handle, b Beat) Verdict) {
	for part := range 3 {
		r.hub.Sweep(part, 3, fn)
	}
}

// act does the same with all connections.
func (r *rig) act(a Act) {
	r.sweep(func(Handle, Beat) Verdict {
		return Verdict{Act: a, Code: wire.CloseGoingAway, Reason: "heartbeat missed"}
	})
}

// ponged answers the last ping.
func (c *client) ponged() {
	rec := c.r.hub.conns.at(c.h.slot())
	rec.mu.Lock()
	payload := binary.BigEndian.AppendUint32(nil, rec.pingAt)
	rec.mu.Unlock()
	c.r.engine.sink.Pong(uint64(c.h), payload)
}

// stats is what Stats says of heartbeats.
func (r *rig) beats() Stats {
	s := r.hub.Stats()
	return Stats{
		Pings: s.Pings, Pongs: s.Pongs, Missed: s.Missed, Late: s.Late, Dropped: s.Dropped, Resurrected: s.Resurrected,
		Pending: s.Pending, Missing: s.Missing, Health: s.Health, Healthy: s.Healthy,
	}
}

func (r *rig) wantBeats(want Stats) {
	r.t.Helper()
	if got := r.beats(); got != want {
		r.t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPingsArePongedAndRoundTripsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.engine.sink.Ping(uint64(a.h), []byte("hello"))
		time.Sleep(time.Second)
		var seen []Beat
		sweep := func(act Act) {
			r.sweep(func(_ Handle, b Beat) Verdict {
				b.seen = 0
				seen = append(seen, b)
				return Verdict{}
			})
			r.act(act)
		}
		sweep(Ping)
		time.Sleep(2 * time.Second)
		sweep(Miss)
		time.Sleep(300 * time.Millisecond)
		if v, _ := r.hub.View(a.h); !v.Pinging || time.Since(v.Pinged) != 300*time.Millisecond || !v.Ponged.IsZero() || v.Missed != 1 || v.Health != 75 {
			t.Errorf("got %+v with a ping under way", v)
		}
		a.ponged()
		sweep(Leave)
		wantFrames(t, a.got.frames(), []string{"pong hello", "ping", "ping"})
		want := []Beat{{Silent: time.Second}, {Silent: 3 * time.Second, PingAge: 2 * time.Second}, {}}
		for i := range want {
			if seen[i] != want[i] {
				t.Errorf("beat %d: got %+v, want %+v", i, seen[i], want[i])
			}
		}
		time.Sleep(time.Second)
		v, _ := r.hub.View(a.h)
		if v.RoundTrip != 300*time.Millisecond || v.Pinging || time.Since(v.Ponged) != time.Second || v.Missed != 0 || v.Health != 85 || v.Idle != time.Second {
			t.Errorf("got %+v, want a round trip of 300ms", v)
		}
		r.wantBeats(Stats{Pings: 2, Pongs: 1, Missed: 1, Resurrected: 1, Health: 85, Healthy: 1})
	})
}

// Only the answer to the ping that is under way is its answer, or round trips would be made up.
func TestAPongThatAnswersNoPingIsASignOfLifeAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.act(Miss)
		time.Sleep(time.Second)
		for _, payload := range []string{"", "abc", "abcd", "abcde", strings.Repeat("x", 125)} {
			r.engine.sink.Pong(uint64(a.h), []byte(payload))
		}
		v, _ := r.hub.View(a.h)
		if v.RoundTrip != 0 || !v.Pinging || v.Missed != 0 || v.Health != 75 || v.Idle != 0 {
			t.Errorf("got %+v, want it heard and the ping still under way", v)
		}
		a.ponged()
		a.ponged() // a second time
		r.wantBeats(Stats{Pings: 1, Pongs: 1, Missed: 1, Resurrected: 1, Health: 85, Healthy: 1})
	})
}

// Or who asks often for round trips would have the client closed for a flood.
func TestAnswersToOurPingsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MaxControl = 60 })
		a := r.open(user("a"))
		for range 1000 {
			r.act(Ping)
			time.Sleep(time.Millisecond)
			a.ponged()
		}
		if s := r.hub.Stats(); s.Pongs != 1000 || s.Limited != 0 || s.Flooded != 0 {
			t.Errorf("got %d pongs, %d limited, %d flooded; want 1000 and none", s.Pongs, s.Limited, s.Flooded)
		}
		for range 100 {
			a.ponged() // what nobody asked for
		}
		if s := r.hub.Stats(); s.Flooded != 1 {
			t.Errorf("got %d flooded, want one", s.Flooded)
		}
	})
}

func TestWhatIsNoRoundTripIsNotCounted(t *testing.T) {
	var c counters
	for _, d := range []time.Duration{-1, 0, 30*time.Second + 1, time.Hour} {
		if c.roundTrip(d) {
			t.Errorf("got %v taken for a round trip", d)
		}
	}
	if c.mean != 0 || c.min != 0 || c.max != 0 || c.late.Load() != 2 {
		t.Errorf("got a mean of %v between %v and %v, %d late; want nothing but 2 late", c.mean, c.min, c.max, c.late.Load())
	}
	if !c.roundTrip(30 * time.Second) {
		t.Error("30s is not taken for a round trip")
	}
}

func TestTheMeanOfRoundTripsForgetsSlowlyAndOutliersMoreSlowly(t *testing.T) {
	var c counters
	for _, step := range []struct {
		d, mean, low, high time.Duration
	}{
		{time.Second, time.Second, time.Second, time.Second}, // the first is the mean
		{2 * time.Second, 1100 * time.Millisecond, time.Second, 2 * time.Second},
		{1100 * time.Millisecond, 1100 * time.Millisecond, time.Second, 2 * time.Second},
		{5500 * time.Millisecond, 1540 * time.Millisecond, time.Second, 5500 * time.Millisecond}, // five times is none yet
		{11540 * time.Millisecond, 1740 * time.Millisecond, time.Second, 11540 * time.Millisecond},
		{740 * time.Millisecond, 1640 * time.Millisecond, 740 * time.Millisecond, 11540 * time.Millisecond},
	} {
		c.roundTrip(step.d)
		if c.mean != step.mean || c.min != step.low || c.max != step.high {
			t.Errorf("after %v: got a mean of %v between %v and %v, want %v between %v and %v", step.d, c.mean, c.min, c.max, step.mean, step.low, step.high)
		}
	}
}

// A pong may come so late that the microseconds in the record have wrapped.
func TestALatePongIsAliveAndHasNoRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for _, late := range []time.Duration{30*time.Second + time.Millisecond, 1<<32*time.Microsecond + time.Millisecond} {
			r.act(Ping)
			time.Sleep(late)
			a.ponged()
		}
		if v, _ := r.hub.View(a.h); v.RoundTrip != 0 || v.Idle != 0 || v.Ponged.IsZero() {
			t.Errorf("got %+v, want it alive without a round trip", v)
		}
		r.wantBeats(Stats{Pings: 2, Pongs: 2, Late: 2, Health: 100, Healthy: 1})
		if s := r.hub.Stats(); s.MeanRTT != 0 {
			t.Errorf("got a mean of %v, want none", s.MeanRTT)
		}
	})
}

func TestHealthFallsWithEachMissAndRisesWithEachPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.open(user("b")) // who stays as it is
		only := func(act Act) {
			r.sweep(func(c Handle, _ Beat) Verdict {
				if c != a.h {
					return Verdict{}
				}
				return Verdict{Act: act}
			})
		}
		for _, step := range []struct {
			act     Act
			health  int
			healthy int
		}{
			{Miss, 75, 2}, {Miss, 50, 1}, {Miss, 25, 1}, {Miss, 0, 1}, {Miss, 0, 1},
			{Ping, 10, 1}, {Ping, 20, 1}, {Ping, 30, 1}, {Ping, 40, 1}, {Ping, 50, 1}, {Ping, 60, 2}, {Miss, 35, 1}, {Ping, 45, 1},
			{Ping, 55, 2}, {Ping, 65, 2}, {Ping, 75, 2}, {Ping, 85, 2}, {Ping, 95, 2}, {Ping, 100, 2}, {Ping, 100, 2},
		} {
			only(step.act)
			if step.act == Ping {
				time.Sleep(time.Millisecond)
				a.ponged()
			}
			v, _ := r.hub.View(a.h)
			s := r.hub.Stats()
			if v.Health != step.health || s.Healthy != step.healthy || s.Health != 100+step.health {
				t.Errorf("got a health of %d, %d healthy and %d in all, want %d, %d, %d", v.Health, s.Healthy, s.Health, step.health, step.healthy, 100+step.health)
			}
		}
		r.hub.Abandon(a.h)
		synctest.Wait()
		if s := r.hub.Stats(); s.Health != 100 || s.Healthy != 1 || s.Pending != 0 || s.Missing != 0 {
			t.Errorf("got %+v after it is gone, want what b has", s)
		}
		if end, _ := r.end(a.h); end.View.Health != 100 {
			t.Errorf("got a last health of %d, want 100", end.View.Health)
		}
	})
}

func TestMissesDoNotWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for range 300 {
			r.act(Miss)
			time.Sleep(time.Minute)
		}
		if v, _ := r.hub.View(a.h); v.Missed != 255 {
			t.Errorf("got %d missed, want 255", v.Missed)
		}
	})
}

// A frame in the same hundredth of a second as the ping is one that came after it: who answers
// at once, in a message or from an event stream, has missed nothing.
func TestWhatComesRightBehindAPingIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("before"))
		r.act(Ping)
		heard := func() (heard bool) {
			r.sweep(func(_ Handle, b Beat) Verdict {
				heard = b.Heard
				return Verdict{}
			})
			return heard
		}
		if heard() {
			t.Error("what came before a ping is taken for its answer")
		}
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("after"))
		time.Sleep(time.Minute)
		if !heard() {
			t.Error("what came right behind a ping is not taken for a sign of life")
		}
		r.act(Forget)
		r.wantBeats(Stats{Pings: 1, Health: 100, Healthy: 1})
	})
}

func TestWhoIsHeardWhileASweepDecidesIsLeftAlone(t *testing.T) {
	for name, act := range map[string]Act{"drop": Drop, "miss": Miss, "ping": Ping} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := r.open(user("a"))
				time.Sleep(time.Minute)
				r.sweep(func(c Handle, _ Beat) Verdict {
					r.engine.sink.Message(uint64(c), ws.OpText, []byte("here I am"))
					return Verdict{Act: act, Code: wire.CloseGoingAway}
				})
				synctest.Wait()
				if v, ok := r.hub.View(a.h); !ok || v.Missed != 0 {
					t.Errorf("got %+v %v, want it untouched", v, ok)
				}
				wantFrames(t, a.got.frames(), nil)
				r.wantBeats(Stats{Health: 100, Healthy: 1})
			})
		})
	}
}

func TestWhoCanBeWrittenAgainWhileASweepDecidesIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 10 })
		a := r.open(user("a"))
		r.publish(user("a"))
		time.Sleep(time.Minute)
		r.sweep(func(_ Handle, b Beat) Verdict {
			if b.Unwritable != time.Minute-tickLength { // blocked at tick 0 counts as at tick 1
				t.Errorf("got %v unwritable, want a minute", b.Unwritable)
			}
			r.engine.drainAll()
			return Verdict{Act: Drop, Code: wire.CloseTryAgain}
		})
		if _, ok := r.hub.View(a.h); !ok || r.hub.Stats().Dropped != 0 {
			t.Error("one that takes what is written was closed for taking nothing")
		}
	})
}

// The clock of a ping that waited in our own memory begins when it goes out.
func TestAPingThatCouldNotBeWrittenIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 10 })
		a := r.open(user("a"))
		r.publish(user("a"))
		r.act(Ping)
		time.Sleep(time.Minute)
		r.engine.drainAll()
		time.Sleep(time.Second)
		r.sweep(func(_ Handle, b Beat) Verdict {
			if b.PingAge != time.Second || b.Heard {
				t.Errorf("got %+v, want a ping of a second ago", b)
			}
			return Verdict{}
		})
		a.ponged()
		if v, _ := r.hub.View(a.h); v.Pinging {
			t.Error("its answer is not known")
		}
	})
}

func TestADeadOneIsCountedOnceAndIsGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.act(Miss)
		for range 3 {
			r.sweep(func(Handle, Beat) Verdict {
				return Verdict{Act: Drop, Missed: true, Code: wire.CloseGoingAway, Reason: "heartbeat missed"}
			})
		}
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("too late"))
		synctest.Wait()
		end, ok := r.end(a.h)
		if !ok || end.Code != wire.CloseGoingAway || end.Remote || end.View.Missed != 2 || end.View.Health != 50 {
			t.Errorf("got %+v %v, want it closed by us, with two missed", end, ok)
		}
		wantFrames(t, a.got.frames(), []string{"ping", "close 1001 heartbeat missed"})
		r.wantBeats(Stats{Pings: 1, Missed: 2, Dropped: 1})
		if s := r.hub.Stats(); s.Connections != 0 || s.Users != 0 {
			t.Errorf("got %d connections and %d users, want none", s.Connections, s.Users)
		}
	})
}

func TestNobodyComesBackWhoIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 10 })
		a := r.open(user("a"))
		r.publish(user("a"))
		r.act(Miss)
		time.Sleep(time.Minute)
		r.act(Drop)
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("I am here"))
		if v, ok := r.hub.View(a.h); !ok || v.Missed != 1 {
			t.Errorf("got %+v %v, want it still being closed", v, ok)
		}
		r.wantBeats(Stats{Pings: 1, Missed: 1, Dropped: 1, Pending: 1, Missing: 1, Health: 75, Healthy: 1})
		time.Sleep(6 * time.Second)
		if end, ok := r.end(a.h); !ok || end.Code != wire.CloseGoingAway || !end.Cut {
			t.Errorf("got %+v %v, want it given up", end, ok)
		}
		r.wantBeats(Stats{Pings: 1, Missed: 1, Dropped: 1})
	})
}

func TestARoundTripIsMeasuredOnceForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		var asking sync.WaitGroup
		for i := range 10 {
			asking.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if d, err := r.hub.RoundTrip(t.Context(), a.h, time.Minute); d != 20*time.Millisecond || err != nil {
					t.Errorf("got %v, %v, want 20ms", d, err)
				}
			})
		}
		asking.Go(func() { // who goes before
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
			defer cancel()
			if _, err := r.hub.RoundTrip(ctx, a.h, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
		})
		time.Sleep(20 * time.Millisecond)
		a.ponged()
		asking.Wait()
		wantFrames(t, a.got.frames(), []string{"ping"})
		if len(r.hub.waits.of) != 0 {
			t.Errorf("got %v left, want nobody who waits", r.hub.waits.of)
		}
		r.wantBeats(Stats{Pings: 1, Pongs: 1, Health: 100, Healthy: 1})
	})
}

func TestARoundTripOfWhoEndsIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		go func() {
			time.Sleep(time.Second)
			r.engine.sink.Closed(uint64(a.h), nil)
		}()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.hub.RoundTrip(ctx, a.h, time.Minute); !errors.Is(err, ErrGone) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want ErrGone after 1s", err, time.Since(began))
		}
		if _, err := r.hub.RoundTrip(t.Context(), a.h, time.Minute); !errors.Is(err, ErrGone) {
			t.Errorf("got %v of one that is gone, want ErrGone", err)
		}
		r.wantBeats(Stats{Pings: 1})
	})
}

func TestAnOldPingIsNotWaitedForAndAFullBufferTakesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { c.ControlBytes, e.room = 64, 200 })
		a := r.open(user("a"))
		r.act(Ping)
		ask := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.hub.RoundTrip(ctx, a.h, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
		}
		time.Sleep(2 * time.Minute)
		ask()
		wantFrames(t, a.got.frames(), []string{"ping"}) // whether it is missed is for the sweep to say
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("no pong"))
		ask()
		wantFrames(t, a.got.frames(), []string{"ping", "ping"})
		for range 40 { // more than the socket takes and the hub keeps
			_ = r.hub.Send(a.h, text("something to fill it"), false)
		}
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("no pong"))
		time.Sleep(2 * time.Minute)
		if _, err := r.hub.RoundTrip(t.Context(), a.h, time.Minute); !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
	})
}

// Wall clocks jump. A tick is of the monotonic clock, or everybody would seem silent for hours.
func TestTicksAreOfTheMonotonicClock(t *testing.T) {
	r := newRig(t, nil)
	if !strings.Contains(r.hub.start.String(), " m=") {
		t.Errorf("%v has no monotonic reading", r.hub.start)
	}
	if at := r.hub.at(r.hub.tick()); !strings.Contains(at.String(), " m=") {
		t.Errorf("what is shown as %v cannot be compared without a wall clock", at)
	}
}
