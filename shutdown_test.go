package switchboard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func TestShutdownTellsEveryClientWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		const n = 200
		var all []*device
		for range n {
			all = append(all, s.as(t, "alice"))
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 8*time.Second || took < 500*time.Millisecond {
			t.Errorf("took %v, want it paced within the time", took)
		}
		later := map[int]int{}
		for _, c := range all {
			got := payload[wire.ServerShutdownPayload](t, c.expect(wire.ServerShutdown))
			later[got.ReconnectAfterMS]++
			if got.ReconnectAfterMS <= 0 || got.Message == "" {
				t.Errorf("got %+v", got)
			}
			c.ends(wire.CloseRestart)
		}
		if len(later) < n/2 {
			t.Errorf("%d clients come back at %d times, want each at its own", n, len(later))
		}
	})
}

func TestShutdownOfAnIdleManagerTakesNoTimeAndHappensOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := switchboard.New(switchboard.Options{Auth: login})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 3 {
			if err := m.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if _, err := m.Publish(t.Context(), switchboard.All(), switchboard.Message{Type: "note"}); !errors.Is(err, switchboard.ErrClosed) {
			t.Errorf("publish: got %v, want %v", err, switchboard.ErrClosed)
		}
		if _, err := m.History(t.Context(), switchboard.All(), switchboard.Query{}); !errors.Is(err, switchboard.ErrClosed) {
			t.Errorf("history: got %v, want %v", err, switchboard.ErrClosed)
		}
	})
}

func TestADrainingNodeRefusesNewClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		for range 300 {
			s.as(t, "alice")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(ctx) }()
		time.Sleep(100 * time.Millisecond)
		if _, resp := s.handshake(t, request{token: "bob"}); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
			t.Errorf("got %d, want 503 with Retry-After", resp.StatusCode)
		}
		c, _ := s.handshake(t, request{token: "bob", subprotocols: "switchboard.v1"})
		c.refused(wire.CodeUnavailable, "")
		c.ends(wire.CloseTryAgain)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownWaitsForHandlersAsLongAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		release := make(chan struct{})
		var ended bool
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-release // whatever its context says
			ended = true
			return nil
		})
		a := s.as(t, "alice")
		a.send(`{"type":"work","message_id":"w"}`)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that a handler is still at work", err)
		}
		close(release)
		if err := s.Shutdown(t.Context()); err != nil || !ended {
			t.Errorf("second call: got %v, handler ended: %v", err, ended)
		}
	})
}

func TestABrokerThatIsGivenIsNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		for range 2 { // and it can be used again
			m, err := switchboard.New(switchboard.Options{Auth: login, Broker: d})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Publish(t.Context(), switchboard.All(), switchboard.Message{Type: "note"}); err != nil {
				t.Fatal(err)
			}
			if err := m.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Heads(t.Context(), true, roomKey("x")); err != nil {
			t.Errorf("got %v, want it open", err)
		}
	})
}

func TestNewNamesTheFieldThatIsWrong(t *testing.T) {
	tests := []struct {
		field string
		opts  switchboard.Options
	}{
		{"Options.Auth", switchboard.Options{}},
		{"Options.Node", switchboard.Options{Auth: login, Node: "a\nb"}},
		{"Options.Origins[1]", switchboard.Options{Auth: login, Origins: []string{"*", "app.example.com"}}},
		{"Options.Origins[0]", switchboard.Options{Auth: login, Origins: []string{"https://app.example.com/"}}},
		{"Options.Origins[0]", switchboard.Options{Auth: login, Origins: []string{"https://a.*.com"}}},
		{"Options.SessionKeys[0]", switchboard.Options{Auth: login, SessionKeys: [][]byte{make([]byte, 16)}}},
		{"Options.Retention", switchboard.Options{Auth: login, Retention: broker.Retention{Messages: -1}}},
		{"Options.Heartbeat", switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{MaxMissed: -1}}},
		{"Options.Heartbeat.Interval", switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{Interval: 1}}},
		{"Options.Heartbeat.Timeout", switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{Interval: time.Minute, Timeout: time.Second}}},
	}
	for _, test := range tests {
		if _, err := switchboard.New(test.opts); err == nil || !strings.Contains(err.Error(), test.field) {
			t.Errorf("got %v, want an error that names %s", err, test.field)
		}
	}
}

func TestNewFailsWithoutItsBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		elect := d.Faults().KillLeader()
		defer elect()
		if _, err := switchboard.New(switchboard.Options{Auth: login, Broker: d}); !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, switchboard.ErrUnavailable)
		}
	})
}

func TestStatsCountWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:*")
		a.join("team")
		s.note(t, switchboard.User("alice"), 1)
		s.note(t, switchboard.User("alice"), 1) // a duplicate
		a.notes(1)
		a.send(`{"type":"nothing","message_id":"n"}`)
		a.ack("n")
		time.Sleep(time.Second)
		got := s.Stats()
		if got.Connections != 1 || got.Users != 1 || got.Rooms != 1 || got.Accepted != 1 || got.Refused != 0 || got.Received != 2 ||
			got.Published != 1 || got.Unhandled != 1 || got.Isolation != 0 || got.Unreadable != 0 || got.Uptime < time.Second {
			t.Errorf("got %+v", got)
		}
		_ = a.conn.Close()
		time.Sleep(time.Minute) // topics are forgotten after 30 s
		if got := s.Stats(); got.Connections != 0 || got.Users != 0 || got.Rooms != 0 || got.Topics != 0 {
			t.Errorf("afterwards got %+v, want nothing left", got)
		}
	})
}
