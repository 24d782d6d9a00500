package switchboard_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
)

// What the former system was to bear, by how many there are; what is about time is measured, in
// heartbeatbench_test.go.
//
//	1,000 connections, active for 5 s              TestAThousandConnectionsAreKeptAlive, BenchmarkActivity
//	100 times 50 that come and go                  BenchmarkComeAndGo
//	50 times 100, half of them without a word      TestNothingIsLeftOfThousandsOfConnections
//	500 connections for 10 s                       BenchmarkHeartbeat
//	congestion: 5 and 30 of 100 answers are lost   TestMostSurviveACongestion
//	2,000, half leave, 500 come                    TestWhenHalfHaveLeftOthersComeIn
//	100 connections, 50 operations each            BenchmarkPing

// crowd connects count users of their own, whose names begin alike, over pipes that hold little.
func (s *server) crowd(t testing.TB, name string, count int) []*device {
	t.Helper()
	all := make([]*device, count)
	for i := range all {
		all[i] = s.connect(t, request{token: fmt.Sprint(name, "-", i), buffer: 4 << 10})
	}
	return all
}

// heapInUse is what is reachable.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAThousandConnectionsAreKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: switchboard.Heartbeat{
			Interval: 500 * time.Millisecond, Timeout: 2 * time.Second, MaxMissed: 2,
		}})
		before := heapInUse()
		for _, c := range s.crowd(t, "user", 1000) {
			go c.answer()
		}
		time.Sleep(5 * time.Second)
		if grown := heapInUse() - before; grown > 100<<20 { // both ends, and the tests' own
			t.Errorf("grew by %d MB, want less than 100", grown>>20)
		}
		st := s.Stats()
		if h := st.Heartbeat; st.Connections != 1000 || h.Healthy != 1000 || h.MeanHealth != 100 || h.Missed != 0 || h.Dropped != 0 || h.Pings < 8000 {
			t.Errorf("got %d connections and %+v, want all of them well", st.Connections, h)
		}
	})
}

func TestTheDeadAreGoneSoonAndTheLiveStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := switchboard.HeartbeatFor("production")
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: h})
		live := s.crowd(t, "live", 10)
		for _, c := range live {
			go c.answer()
		}
		time.Sleep(10 * time.Second)
		s.crowd(t, "dead", 100)
		began := time.Now()
		for s.Stats().Connections > 10 {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(began)
		if most := h.Timeout + h.Interval/8 + time.Second; took < h.Timeout || took > most || most > 2*h.Timeout {
			t.Errorf("the dead were gone after %v, want between %v and %v", took, h.Timeout, most)
		}
		st := s.Stats()
		if b := st.Heartbeat; st.Users != 10 || b.Dropped != 100 || b.Healthy != 10 || b.Missing != 0 || b.Pending > 10 || b.MeanHealth != 100 {
			t.Errorf("got %d users and %+v, want the ten live ones and nothing of the others", st.Users, b)
		}
		for _, c := range live {
			if info := s.known(t, c); info.Missed != 0 || info.Health != 100 {
				t.Errorf("got %+v, want it well", info)
			}
		}
		time.Sleep(2*h.Timeout - took) // what the log of topics that nobody follows any more needs
		if got := s.Stats().Topics; got != 11 {
			t.Errorf("got %d topics, want those of ten users and all", got)
		}
	})
}

func TestAThousandDeadAndTenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: quick()})
		live := s.crowd(t, "live", 10)
		for _, c := range live {
			go c.answer()
		}
		for range 4 {
			s.crowd(t, "dead", 250)
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Second)
		if st := s.Stats(); st.Connections != 10 || st.Heartbeat.Dropped != 1000 || st.Heartbeat.Healthy != 10 {
			t.Errorf("got %d connections and %+v, want ten", st.Connections, st.Heartbeat)
		}
		for _, c := range live {
			if _, err := s.ping(t, c); err != nil {
				t.Error(err)
			}
			if info := s.known(t, c); info.Missed != 0 || info.Health != 100 {
				t.Errorf("got %+v, want it well", info)
			}
		}
	})
}

func TestOf1000ConnectionsHalfLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		all := s.crowd(t, "user", 1000)
		for _, c := range all[:500] {
			_ = c.conn.Close()
		}
		synctest.Wait()
		if st := s.Stats(); st.Connections != 500 || st.Users != 500 || st.Heartbeat.Healthy != 500 {
			t.Errorf("got %d connections of %d users, want 500", st.Connections, st.Users)
		}
	})
}

func TestWhenHalfHaveLeftOthersComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := unlimited
		limits.Conns = 2000
		s := newServer(t, switchboard.Options{Limits: limits, Heartbeat: quick()})
		all := s.crowd(t, "user", 2000)
		if _, resp := s.handshake(t, request{token: "one too many"}); resp.StatusCode != 503 {
			t.Errorf("got %d for one too many, want 503", resp.StatusCode)
		}
		for _, c := range all[:1000] {
			go c.answer()
		}
		time.Sleep(4 * time.Second) // of the others nothing is heard
		if st := s.Stats(); st.Connections != 1000 || st.Heartbeat.Dropped != 1000 {
			t.Errorf("got %d connections and %d dropped, want half of both", st.Connections, st.Heartbeat.Dropped)
		}
		for _, c := range s.crowd(t, "new", 500) { // fails if one is refused
			go c.answer()
		}
		time.Sleep(4 * time.Second)
		if st := s.Stats(); st.Connections != 1500 || st.Heartbeat.Healthy != 1500 {
			t.Errorf("got %d connections, %d healthy, want 1500", st.Connections, st.Heartbeat.Healthy)
		}
	})
}

func TestNothingIsLeftOfThousandsOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: quick()})
		round := func(i int) {
			for k, c := range s.crowd(t, fmt.Sprint("user-", i), 100) {
				if k%2 == 0 {
					_ = c.conn.Close()
				}
				c.conn, c.in = nil, nil // the test keeps no pipe
			}
		}
		settle := func() {
			time.Sleep(15 * time.Minute) // also of what is kept of those that ended
		}
		for i := range 5 { // until tables have their size
			round(i)
			time.Sleep(time.Second)
		}
		settle()
		before := heapInUse()
		for i := range 50 {
			round(5 + i)
			time.Sleep(time.Second)
		}
		settle()
		if grown := heapInUse() - before; grown > 10<<20 {
			t.Errorf("grew by %d KB, want less than 10 MB", grown>>10)
		}
		st := s.Stats()
		if st.Connections != 0 || st.Users != 0 || st.Topics != 0 || st.Accepted != 5500 || st.Heartbeat.Dropped != 2750 ||
			st.Heartbeat.Pending != 0 || st.Heartbeat.Missing != 0 || st.Heartbeat.Healthy != 0 {
			t.Errorf("got %+v, want nothing left", st)
		}
	})
}

func TestMostSurviveACongestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 100
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: patient(time.Second)})
		began := time.Now()
		var answering sync.WaitGroup
		for i, c := range s.crowd(t, "user", 200) {
			dice := rand.New(rand.NewPCG(7, uint64(i)))
			answering.Go(func() {
				for {
					op, payload, err := c.frame(time.Hour)
					if err != nil {
						return
					}
					lost := 0.05
					if at := time.Since(began); at > 30*time.Second && at < 60*time.Second {
						lost = 0.30
					}
					if op == ws.OpPing && dice.Float64() >= lost {
						time.Sleep(time.Duration(dice.IntN(300)) * time.Millisecond)
						_, _ = c.conn.Write(ws.AppendMasked(nil, ws.OpPong, true, [4]byte{}, payload))
					}
				}
			})
		}
		time.Sleep(rounds * time.Second)
		st := s.Stats()
		if h := st.Heartbeat; st.Connections != 200 || h.Pongs < 5*h.Missed || h.Missed < 1000 || h.Healthy < 190 || h.Dropped != 0 {
			t.Errorf("got %d connections and %+v, want most of them well", st.Connections, h)
		}
		if _, err := s.Connections().Close(t.Context(), switchboard.All(), switchboard.CloseError{}); err != nil {
			t.Error(err)
		}
		answering.Wait()
	})
}
