package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

func (s *server) ping(t testing.TB, c *device) (time.Duration, error) {
	return s.Connections().Ping(t.Context(), c.welcome.ConnectionID)
}

func TestPingsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(time.Second)})
		a := s.as(t, "alice")
		for range 5 {
			op, payload, err := a.frame(time.Minute)
			if op != ws.OpPing || len(payload) > 125 || err != nil {
				t.Errorf("got %v with %d bytes, %v; want a ping of at most 125", op, len(payload), err)
			}
		}
	})
}

func TestPingMeasuresARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(time.Minute)})
		a := s.as(t, "alice")
		time.Sleep(time.Second)
		go func() {
			op, payload, err := a.frame(time.Minute)
			if op != ws.OpPing || err != nil {
				t.Errorf("got %v, %v, want a ping", op, err)
			}
			if info := s.known(t, a); !info.Pinging || time.Since(info.LastPing) != 0 || s.Stats().Heartbeat.Pending != 1 {
				t.Errorf("got %+v, want a ping under way", info)
			}
			time.Sleep(80 * time.Millisecond)
			a.write(ws.OpPong, payload)
		}()
		if d, err := s.ping(t, a); d != 80*time.Millisecond || err != nil {
			t.Errorf("got %v, %v, want 80ms", d, err)
		}
		time.Sleep(time.Second)
		info := s.known(t, a)
		if info.RoundTrip != 80*time.Millisecond || info.Pinging || info.Missed != 0 || info.Health != 100 ||
			time.Since(info.LastPong) != time.Second || time.Since(info.LastPing) != 1080*time.Millisecond {
			t.Errorf("got %+v, want a round trip of 80ms a second ago", info)
		}
		st := s.Stats().Heartbeat
		if st.Pings != 1 || st.Pongs != 1 || st.Pending != 0 || st.MeanRTT != 80*time.Millisecond || st.MinRTT != st.MeanRTT || st.MaxRTT != st.MeanRTT {
			t.Errorf("got %+v, want one ping of 80ms", st)
		}
	})
}

func TestManyPingsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(10 * time.Second)})
		a := s.as(t, "alice")
		time.Sleep(10 * time.Second) // the heartbeat has sent one
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				if _, err := s.ping(t, a); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if pings := a.pings(time.Millisecond, true); len(pings) != 1 {
			t.Errorf("got %d pings, want one", len(pings))
		}
		asking.Wait()
		if st := s.Stats().Heartbeat; st.Pings != 1 || st.Pongs != 1 {
			t.Errorf("got %+v, want one ping and its pong", st)
		}
	})
}

func TestAPingWithoutAnswerChangesNothingAndTheNextOneWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(10 * time.Second)})
		a := s.as(t, "alice")
		began := time.Now()
		_, err := s.ping(t, a)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want DeadlineExceeded after 1s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, err := s.Connections().Ping(ctx, a.welcome.ConnectionID); !errors.Is(err, context.Canceled) || time.Since(began) != 1100*time.Millisecond {
			t.Errorf("got %v after %v, want Canceled after 100ms", err, time.Since(began))
		}
		if info := s.known(t, a); info.Missed != 0 || info.Health != 100 || !info.Pinging {
			t.Errorf("got %+v, want it as before, with a ping under way", info)
		}
		a.pings(time.Millisecond, true)
		go a.answer()
		if _, err := s.ping(t, a); err != nil {
			t.Errorf("got %v of the next one, want none", err)
		}
	})
}

func TestPingOfWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		ids := map[string]string{"unknown": "conn_unknown", "a guess": a.welcome.ConnectionID[:len(a.welcome.ConnectionID)-1] + "x"}
		for name, id := range ids {
			if _, err := s.Connections().Ping(t.Context(), id); !errors.Is(err, switchboard.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", name, err)
			}
		}
		if _, err := s.Connections().Ping(t.Context(), ""); !errors.Is(err, switchboard.ErrInvalid) {
			t.Errorf("no id: got %v, want ErrInvalid", err)
		}
		other := switchboard.WithTenant(t.Context(), "acme")
		if _, err := s.Connections().Ping(other, a.welcome.ConnectionID); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("another tenant's: got %v, want ErrNotFound", err)
		}
		time.AfterFunc(300*time.Millisecond, func() { _ = a.conn.Close() })
		began := time.Now()
		if _, err := s.ping(t, a); !errors.Is(err, switchboard.ErrNotFound) || time.Since(began) != 300*time.Millisecond {
			t.Errorf("one that ends: got %v after %v, want ErrNotFound at once", err, time.Since(began))
		}
		if _, err := s.ping(t, a); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("one that has ended: got %v, want ErrNotFound", err)
		}
		if st := s.Stats().Heartbeat; st.Pings != 1 {
			t.Errorf("got %d pings, want one", st.Pings)
		}
		s.web(t).stream("bob")
		for info, err := range s.Connections().List(t.Context(), switchboard.User("bob")) {
			if _, pingErr := s.Connections().Ping(t.Context(), info.ID); switchboard.CodeOf(pingErr) != wire.CodeUnsupported || err != nil {
				t.Errorf("an event stream: got %v, want UNSUPPORTED", pingErr)
			}
		}
	})
}

func TestOurOwnPingsBringNobodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Minute, MaxMissed: 3}})
		a := s.as(t, "alice")
		began := time.Now()
		for s.Stats().Connections == 1 {
			if _, err := s.ping(t, a); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, switchboard.ErrNotFound) {
				t.Errorf("got %v, want no answer", err)
			}
		}
		if took := time.Since(began); took > 50*time.Second {
			t.Errorf("it lived for %v by being pinged", took)
		}
		if _, err := s.ping(t, a); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("got %v of a dead one, want ErrNotFound", err)
		}
		if st := s.Stats(); st.Heartbeat.Resurrected != 0 || st.Connections != 0 || st.Heartbeat.Dropped != 1 {
			t.Errorf("got %+v, want it dead", st.Heartbeat)
		}
	})
}

func TestWhoAnswersIsKnownOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(time.Minute)})
		var all []*device
		for i := range 5 {
			all = append(all, s.as(t, fmt.Sprint("user-", i)))
		}
		for i, c := range all {
			if i < 3 {
				go c.answer()
			}
			_, err := s.ping(t, c)
			if answered := err == nil; answered != (i < 3) {
				t.Errorf("user %d: got %v", i, err)
			}
		}
		if st := s.Stats().Heartbeat; st.Pings != 5 || st.Pongs != 3 || st.Pending != 2 {
			t.Errorf("got %+v, want 5 pings and 3 pongs", st)
		}
		for i, c := range all {
			if info := s.known(t, c); info.Pinging != (i >= 3) || info.LastPong.IsZero() != (i >= 3) {
				t.Errorf("user %d: got %+v", i, info)
			}
		}
	})
}

func TestAHundredOperationsAtOnceHarmNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick(), Limits: unlimited})
		var wg sync.WaitGroup
		for i := range 100 {
			c := s.as(t, fmt.Sprint("user-", i))
			go c.answer()
			wg.Go(func() {
				for range 10 {
					if _, err := s.ping(t, c); err != nil {
						t.Error(err)
					}
					c.send(`{"type":"heartbeat"}`)
					if info := s.known(t, c); !info.Healthy() {
						t.Errorf("got %+v, want it healthy", info)
					}
					_ = s.Stats()
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if st := s.Stats(); st.Connections != 100 || st.Heartbeat.Healthy != 100 || st.Heartbeat.Missed != 0 || st.Heartbeat.Pings != st.Heartbeat.Pongs || st.Heartbeat.Pings != 1000 {
			t.Errorf("got %+v, want all healthy and all pings answered", st.Heartbeat)
		}
	})
}
