package switchboard_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
)

func TestAProbeMeasuresHowLongWhoWasLostIsShownOnline(t *testing.T) {
	for i, offline := range []time.Duration{30 * time.Second, 3 * time.Minute, -1} {
		synctest.Test(t, func(t *testing.T) {
			var text lockedBuffer
			s := newServer(t, switchboard.Options{
				PresenceProbe: time.Minute, RequireTenant: i == 0, Heartbeat: switchboard.Heartbeat{OfflineAfter: offline}, Log: slog.New(slog.NewTextHandler(&text, nil)),
				OnConnect: func(context.Context, *switchboard.Conn) error {
					t.Error("OnConnect is called for a probe")
					return nil
				},
			})
			time.Sleep(2*time.Minute + 2*max(0, offline) + 30*time.Second)
			synctest.Wait()
			got := s.Stats()
			p := got.Presence
			if least := max(0, offline); p.Probes != 2 || p.ProbesLate+p.ProbesFailed != 0 || p.ProbeLast < least || p.ProbeLast > least+200*time.Millisecond || p.ProbeWorst < p.ProbeLast {
				t.Errorf("offline after %v: got %+v, want two probes that took so long and 200 ms at most", offline, p)
			}
			if got.Connections != 0 || got.Rooms != 0 || got.Canaries != (switchboard.CanaryStats{}) || text.String() != "" {
				t.Errorf("got %d connections, %d rooms, %+v and the log %s, want nothing left", got.Connections, got.Rooms, got.Canaries, text.String())
			}
		})
	}
}

func TestAProbeThatMeasuresNothingIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lockedBuffer
		s := newServer(t, switchboard.Options{
			PresenceProbe: time.Minute, Log: slog.New(slog.NewTextHandler(&text, nil)), Limits: switchboard.Limits{RoomsPerConn: 1, Conns: 1},
		})
		s.as(t, "alice")
		time.Sleep(90 * time.Second)
		if p := s.Stats().Presence; p.Probes != 0 || p.ProbesFailed == 0 || !strings.Contains(text.String(), "presence not probed") {
			t.Errorf("got %+v and the log %s, want a failed probe", p, text.String())
		}
	})
}
