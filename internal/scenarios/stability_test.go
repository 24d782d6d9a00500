package scenarios_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
)

// healthy counts the connections that miss no ping and take what they are sent.
func (n *node) healthy(t testing.TB) (count int) {
	t.Helper()
	for info, err := range n.Connections().List(t.Context(), switchboard.All()) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Healthy() && info.UnwritableSince.IsZero() {
			count++
		}
	}
	return count
}

// crowd connects count users in batches, so many at a time, until the test ends.
func (n *node) crowd(t testing.TB, count, batch, atOnce int) []*device {
	t.Helper()
	all := make([]*device, count)
	for first := 0; first < count; first += batch {
		each(t, atOnce, func(worker int) (err error) {
			for i := first + worker; i < min(first+batch, count); i += atOnce {
				if all[i], err = n.connect(fmt.Sprintf("user-%d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t.Cleanup(func() {
		for _, d := range all {
			d.drop()
		}
	})
	return all
}

// TestHighConcurrentConnections: 500 connections, made in batches of 50 by ten at once, are
// all healthy and get all their messages, and cost less than 100 MB, both their ends.
func TestHighConcurrentConnections(t *testing.T) {
	if !alone(t) {
		return
	}
	n := newNode(t, switchboard.Options{})
	before := footprint()
	const connections, messages, publishers = 500, 20, 10
	devices := n.crowd(t, connections, 50, publishers)
	each(t, connections+publishers, func(i int) error {
		if i < connections {
			got, err := notes(devices[i].messages())
			if err != nil {
				return err
			}
			return exactly(got, numbered("server", messages))
		}
		for user := i - connections; user < connections; user += publishers {
			to := switchboard.User(fmt.Sprintf("user-%d", user))
			for k := range messages {
				if err := n.note(t.Context(), to, "server", k); err != nil {
					return err
				}
			}
			if err := n.end(t.Context(), to); err != nil {
				return err
			}
		}
		return nil
	})
	if got := n.healthy(t); got != connections {
		t.Errorf("got %d healthy connections, want %d", got, connections)
	}
	grewBelow(t, before, 100*megabyte)
}

// TestRapidConnectDisconnect: 100 times 20 users come, get a message and leave, half of them
// without a word. Nothing of them stays.
func TestRapidConnectDisconnect(t *testing.T) {
	if !alone(t) {
		return
	}
	n := newNode(t, switchboard.Options{})
	const cycles, users = 100, 20
	var goroutines int
	var before int64
	for cycle := range cycles + 1 {
		each(t, users, func(i int) error {
			d, err := n.connect(fmt.Sprintf("user-%d-%d", cycle, i))
			if err != nil {
				return err
			}
			defer d.drop()
			if err := n.note(t.Context(), switchboard.User(d.welcome.UserID), "server", cycle); err != nil {
				return err
			}
			if env, err := d.read(); err != nil || env.Type != noteType {
				return fmt.Errorf("got %s, %v, want the note", env.Type, err)
			}
			if i%2 == 0 {
				return nil
			}
			return d.leave()
		})
		if cycle == 0 { // what the first ones bring up may stay
			n.becomesEmpty(t)
			goroutines, before = runtime.NumGoroutine(), footprint()
		}
	}
	n.becomesEmpty(t)
	eventually(t, "no goroutine is left over", func() bool { return runtime.NumGoroutine() <= goroutines })
	if got := n.Stats().Accepted; got != (cycles+1)*users {
		t.Errorf("got %d accepted connections, want %d", got, (cycles+1)*users)
	}
	grewBelow(t, before, 50*megabyte)
}

// becomesEmpty waits until nobody is connected.
func (n *node) becomesEmpty(t testing.TB) {
	t.Helper()
	eventually(t, "nobody is connected", func() bool {
		st := n.Stats()
		return st.Connections == 0 && st.Users == 0
	})
}

// TestLongRunning: 50 connections for 30 seconds, with a message to each in each second, by
// five publishers. None is lost, none of the connections is replaced, and it costs nothing.
func TestLongRunning(t *testing.T) {
	if !alone(t) {
		return
	}
	n := newNode(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 2 * time.Second, Timeout: 20 * time.Second, MaxMissed: 5}})
	const connections, seconds, publishers = 50, 30, 5
	clients := make([]*client.Client, connections)
	for i := range clients {
		clients[i] = n.client(t, fmt.Sprintf("user-%d", i), client.Options{})
	}
	before := footprint()
	began := time.Now()
	each(t, connections+publishers, func(i int) error {
		if i < connections {
			got, err := notes(clients[i].Messages(t.Context()))
			if err != nil {
				return err
			}
			return exactly(got, numbered("server", seconds))
		}
		pace := time.NewTicker(time.Second)
		defer pace.Stop()
		for k := range seconds {
			<-pace.C
			for user := i - connections; user < connections; user += publishers {
				if err := n.note(t.Context(), switchboard.User(fmt.Sprintf("user-%d", user)), "server", k); err != nil {
					return err
				}
			}
		}
		for user := i - connections; user < connections; user += publishers {
			if err := n.end(t.Context(), switchboard.User(fmt.Sprintf("user-%d", user))); err != nil {
				return err
			}
		}
		return nil
	})
	if took := time.Since(began); took < seconds*time.Second {
		t.Errorf("it took %v only, want %d seconds", took, seconds)
	}
	if got := n.healthy(t); got != connections {
		t.Errorf("got %d healthy connections, want %d", got, connections)
	}
	st := n.Stats()
	if st.Accepted != connections || st.Heartbeat.Dropped != 0 {
		t.Errorf("got %d connections and %d dropped ones, want those %d all the time", st.Accepted, st.Heartbeat.Dropped, connections)
	}
	if st.Heartbeat.Pings < connections {
		t.Errorf("got %d pings, want some to each: nothing was tried", st.Heartbeat.Pings)
	}
	grewBelow(t, before, 20*megabyte)
}
