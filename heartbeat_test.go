package switchboard_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// pings reads frames for a time and returns when pings came, answering them if told so.
func (c *device) pings(d time.Duration, answer bool) (at []time.Duration) {
	c.t.Helper()
	for began := time.Now(); ; {
		op, payload, err := c.frame(time.Until(began.Add(d)))
		if err != nil {
			return at
		}
		if op == ws.OpPing {
			at = append(at, time.Since(began))
			if answer {
				c.write(ws.OpPong, payload)
			}
		}
	}
}

func TestAPeerThatAnswersIsPingedEveryIntervalAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		at := a.pings(10*time.Minute+time.Second, true)
		if n := len(at); n < 23 || n > 25 {
			t.Errorf("got %d pings in 10 minutes, want one every 25 s", n)
		}
		for i := range len(at) - 1 {
			if gap := at[i+1] - at[i]; gap < 23*time.Second || gap > 27*time.Second {
				t.Errorf("got %v between two pings, want about 25s", gap)
			}
		}
		st := s.Stats().Heartbeat
		if st.Missed != 0 || st.Dropped != 0 || st.Pings != uint64(len(at)) || st.Pongs != st.Pings {
			t.Errorf("got %+v, want %d pings and pongs and nothing missed", st, len(at))
		}
	})
}

func TestAPeerThatMissesTwoPingsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		began := time.Now()
		if at := a.pings(60*time.Second, false); len(at) != 2 || at[1] < 53*time.Second {
			t.Errorf("got pings at %v, want one after 25 s and another 30 s later", at)
		}
		a.ends(wire.CloseGoingAway)
		if got := time.Since(began); got < 75*time.Second || got > 79*time.Second {
			t.Errorf("closed after %v, want 75s", got)
		}
		if st := s.Stats().Heartbeat; st.Dropped != 1 || st.Missed != 1 || st.Resurrected != 0 {
			t.Errorf("got %+v, want one dropped", st)
		}
	})
}

// TestSilenceIsBoundedWhateverThePings: nothing comes for Timeout although misses are
// not counted out.
func TestSilenceIsBoundedWhateverThePings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{
			Interval: 10 * time.Second, Timeout: 30 * time.Second, MaxMissed: 100,
		}})
		a := s.as(t, "alice")
		began := time.Now()
		for {
			op, _, err := a.frame(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if op == ws.OpClose {
				break
			}
		}
		if got := time.Since(began); got < 30*time.Second || got > 33*time.Second {
			t.Errorf("closed after %v, want 30s", got)
		}
	})
}

func TestAnyFrameIsASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: 20 * time.Second, MaxMissed: 1}})
		a := s.as(t, "alice")
		for range 60 {
			time.Sleep(9900 * time.Millisecond)
			a.send(`{"type":"pong"}`) // no answer to the protocol's pings
		}
		if n := len(a.pings(time.Millisecond, false)); n == 0 {
			t.Error("got no ping, so nothing was tried")
		}
		a.send(`{"type":"ping","message_id":"p"}`)
		a.expect(wire.Pong)
	})
}

func TestAPeerThatComesBackAfterAMissIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		time.Sleep(60 * time.Second)
		if st := s.Stats().Heartbeat; st.Missed != 1 || st.Resurrected != 0 {
			t.Fatalf("got %+v after a minute of silence, want one miss", st)
		}
		a.send(`{"type":"ping","message_id":"p"}`)
		time.Sleep(10 * time.Second)
		if st := s.Stats().Heartbeat; st.Resurrected != 1 || st.Dropped != 0 {
			t.Errorf("got %+v after it was heard, want one resurrected", st)
		}
		a.expect(wire.Pong)
	})
}

func TestApplicationPingsComeWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{path: "/ws?heartbeat=app", token: "alice"})
		b := s.connect(t, request{path: "/ws?heartbeat=protocol", token: "alice"})
		for range 30 {
			time.Sleep(24 * time.Second)
			b.write(ws.OpPong, nil)
			a.send(`{"type":"pong"}`)
		}
		pings := 0
		for {
			raw, err := a.raw(time.Millisecond)
			if err != nil {
				break
			}
			env, err := wire.Parse(raw)
			if err != nil || env.Type != wire.Ping || env.Timestamp == 0 {
				t.Errorf("got %s (%v), want a ping", raw, err)
			}
			pings++
		}
		if pings == 0 {
			t.Error("got no ping message")
		}
		b.silent()
	})
}

func TestWhoTakesNothingForTooLongIsClosedWith1013(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", buffer: 2048})
		big := make([]byte, 0, 4096)
		for range 4000 {
			big = append(big, 'x')
		}
		if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]string{"x": string(big)}}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for s.Stats().Heartbeat.Dropped == 0 && time.Since(began) < 5*time.Minute {
			time.Sleep(time.Second)
			a.write(ws.OpPong, nil) // it is alive, it only does not read
		}
		if got := time.Since(began); got < 75*time.Second || got > 90*time.Second {
			t.Errorf("closed after %v, want 75s", got)
		}
		for { // what was begun is finished, then the close comes
			if _, err := a.raw(time.Second); err != nil {
				var end closed
				if !errors.As(err, &end) || end.code != wire.CloseTryAgain {
					t.Errorf("got %v, want a close with 1013", err)
				}
				break
			}
		}
	})
}

func TestHeartbeatForKnowsItsEnvironments(t *testing.T) {
	for name, want := range map[string]switchboard.Heartbeat{
		"production":  {Interval: 25 * time.Second, Timeout: 75 * time.Second, MaxMissed: 2},
		"staging":     {Interval: 30 * time.Second, Timeout: 90 * time.Second, MaxMissed: 2},
		"development": {Interval: 45 * time.Second, Timeout: 60 * time.Second, MaxMissed: 3},
		"testing":     {Interval: 45 * time.Second, Timeout: 60 * time.Second, MaxMissed: 3},
		"":            {Interval: 45 * time.Second, Timeout: 60 * time.Second, MaxMissed: 3},
		"Production":  {Interval: 25 * time.Second, Timeout: 75 * time.Second, MaxMissed: 2},
	} {
		if got := switchboard.HeartbeatFor(name); got != want {
			t.Errorf("%q: got %+v, want %+v", name, got, want)
		}
	}
}
