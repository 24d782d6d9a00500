package switchboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// The table of connections is swept in parts, sweepLaps times per interval, so that each
// connection is looked at every eighth of an interval and all are not at once.
const (
	sweepLaps = 8
	sweepTick = 250 * time.Millisecond // longest time between two parts
)

// roundTripWait bounds [Connections.Ping].
const roundTripWait = time.Second

// staleAfter is how long a connection is idle that Stale tells of.
const staleAfter = 5 * time.Minute

// Heartbeat says how dead peers are found. A peer that has been silent for Interval is pinged.
// A ping after which nothing has come for 1.2 intervals is missed. Who missed MaxMissed in a row,
// or was silent for Timeout, is closed with 1001, and who took nothing for Timeout with 1013. Any
// frame is a sign of life. Zero fields are 25 s, three intervals and 2; at most 255 can be missed.
// See [HeartbeatFor].
type Heartbeat struct {
	Interval, Timeout time.Duration
	MaxMissed         int
	// OfflineAfter is how long a device counts as there whose connection was lost (30 s), so that
	// who comes back within it was never away. Negative: not at all.
	OfflineAfter time.Duration
}

// environments has the heartbeats that are known by name. Staging stands behind balancers and
// networks for which 60 s were too short; both it and production miss two pings, to find the dead
// soon; a developer may sit in a debugger.
func environments() map[string]Heartbeat {
	return map[string]Heartbeat{
		"production":  {Interval: 25 * time.Second, Timeout: 75 * time.Second, MaxMissed: 2},
		"staging":     {Interval: 30 * time.Second, Timeout: 90 * time.Second, MaxMissed: 2},
		"development": {Interval: 45 * time.Second, Timeout: 60 * time.Second, MaxMissed: 3},
	}
}

// HeartbeatFor returns the values for "production" (25 s, 75 s, 2), "staging" (30 s, 90 s,
// 2), and for "development", "testing" or any other name (45 s, 60 s, 3).
func HeartbeatFor(environment string) Heartbeat {
	known := environments()
	if h, ok := known[strings.ToLower(environment)]; ok {
		return h
	}
	return known["development"]
}

func (h Heartbeat) checked() (Heartbeat, error) {
	if h.Interval < 0 || h.Timeout < 0 || h.MaxMissed < 0 {
		return h, errors.New("Options.Heartbeat must not be negative")
	}
	d := HeartbeatFor("production")
	if h.Timeout == 0 && h.Interval != 0 {
		h.Timeout = 3 * h.Interval
	}
	if h.Interval == 0 {
		h.Interval = d.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = d.Timeout
	}
	if h.MaxMissed == 0 {
		h.MaxMissed = d.MaxMissed
	}
	if h.OfflineAfter == 0 {
		h.OfflineAfter = 30 * time.Second
	}
	h.OfflineAfter = max(0, h.OfflineAfter)
	switch {
	case h.Interval < 10*time.Millisecond:
		return h, errors.New("Options.Heartbeat.Interval must be at least 10ms")
	case h.Timeout < h.Interval:
		return h, errors.New("Options.Heartbeat.Timeout must not be shorter than Interval")
	case h.MaxMissed > math.MaxUint8:
		return h, errors.New("Options.Heartbeat.MaxMissed must be at most 255")
	}
	return h, nil
}

// patience is how long a ping is waited for until it is missed: a fifth longer than until the
// next would be due.
func (h Heartbeat) patience() time.Duration { return h.Interval + h.Interval/5 }

// unacked is how long the system lets what was sent to a peer be unacknowledged before it breaks
// the connection: shorter than Timeout, so that a peer that vanished while it was being written to
// is found earlier than one that was idle.
func (h Heartbeat) unacked() time.Duration { return h.Timeout * 4 / 5 }

// beat is what the heartbeat remembers besides the connections' own records.
type beat struct {
	sweeps atomic.Uint64 // of the whole table
	stale  atomic.Int64  // connections, as the last one found them
}

// sweep pings the silent and closes the dead until ctx ends.
func (m *Manager) sweep(ctx context.Context) {
	lap := m.opts.Heartbeat.Interval / sweepLaps
	parts := int((lap + sweepTick - 1) / sweepTick)
	ticker := time.NewTicker(lap / time.Duration(parts))
	defer ticker.Stop()
	stale := 0
	stood := standstills{looked: time.Now()}
	stands := func(usual time.Duration) bool {
		now := time.Now()
		took := stood.turn(now, usual, lap, now.Add(-2*m.opts.Heartbeat.Timeout))
		if took >= m.opts.Heartbeat.Interval {
			m.log.LogAttrs(ctx, slog.LevelWarn, "server stood still: nobody's silence counts for that time", slog.Duration("took", took))
		}
		return took > 0
	}
	look := func(c hub.Handle, seen hub.Beat) hub.Verdict {
		b := stood.excuse(seen)
		v := m.opts.Heartbeat.judge(b)
		if (v.Act == hub.Drop || v.Act == hub.Miss) && stands(0) { // since this turn began
			b = stood.excuse(seen)
			v = m.opts.Heartbeat.judge(b)
		}
		if b.Silent > staleAfter {
			stale++
		}
		if v.Act == hub.Ping || v.Act == hub.Miss {
			m.appPing(c)
		}
		return v
	}
	for part := 0; ; part = (part + 1) % parts {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		stands(lap / time.Duration(parts))
		m.hub.Sweep(part, parts, look)
		if part == parts-1 {
			m.beat.stale.Store(int64(stale))
			m.beat.sweeps.Add(1)
			stale = 0
		}
	}
}

// judge says what becomes of a connection.
func (h Heartbeat) judge(b hub.Beat) hub.Verdict {
	dead := hub.Verdict{Act: hub.Drop, Code: wire.CloseGoingAway, Reason: "heartbeat missed: reconnect"}
	// Half a lap early or late: the pings of an idle peer are an interval apart.
	due := b.Silent >= h.Interval-h.Interval/sweepLaps/2
	old := b.PingAge >= h.patience()
	switch {
	case b.Unwritable >= h.Timeout:
		return hub.Verdict{Act: hub.Drop, Code: wire.CloseTryAgain, Reason: hub.Unwritable}
	case b.Silent >= h.Timeout:
		return dead
	case b.Unwritable > 0: // a ping would wait here
		return hub.Verdict{}
	case b.PingAge > 0 && !b.Heard && !old:
		return hub.Verdict{}
	case b.PingAge > 0 && !b.Heard && b.Missed+1 >= h.MaxMissed:
		dead.Missed = true
		return dead
	case b.PingAge > 0 && !b.Heard:
		return hub.Verdict{Act: hub.Miss}
	case due:
		return hub.Verdict{Act: hub.Ping}
	case old: // its peer was heard, and answers no pings
		return hub.Verdict{Act: hub.Forget}
	}
	return hub.Verdict{}
}

// appPing sends a ping message to a client that asked for them: a browser does not see the
// protocol's pings. The answer counts as any frame does.
func (m *Manager) appPing(c hub.Handle) {
	if m.count.appPings.Load() == 0 {
		return
	}
	s, _, ok := m.stateOf(c)
	if !ok || s.flags&flagAppPings == 0 {
		return
	}
	frame, err := encodeFrame(Envelope{Type: wire.Ping, Timestamp: wire.Seconds(time.Now())})
	if err == nil {
		_ = m.hub.Send(c, frame, true)
	}
}

// Ping measures how long the way to a connection and back takes now. It waits for at most 1 s,
// and less if ctx ends before. A ping that is under way is waited for instead of sending another,
// so that many callers cost one ping. No answer in time is [context.DeadlineExceeded]: it changes
// nothing about the connection, whose heartbeat decides. The error is [ErrNotFound] if there is
// no such connection of the tenant here, also when it ends meanwhile, [ErrInvalid] if id is empty,
// [ErrBusy] if too much waits to be written to it, and one with code UNSUPPORTED for an event
// stream, which cannot answer.
func (l Connections) Ping(ctx context.Context, id string) (time.Duration, error) {
	found, err := l.m.find(ctx, Connection(id))
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("ping a connection: %w", err)
	}
	c := found[0]
	if s, _, ok := l.m.stateOf(c); ok && s.flags&flagEvents != 0 {
		return 0, &Error{Code: wire.CodeUnsupported, Message: "an event stream does not answer pings"}
	}
	wait, cancel := context.WithTimeout(ctx, roundTripWait)
	defer cancel()
	d, err := l.m.hub.RoundTrip(wait, c, l.m.opts.Heartbeat.Interval)
	switch {
	case errors.Is(err, hub.ErrGone):
		err = ErrNotFound
	case errors.Is(err, hub.ErrFull):
		err = ErrBusy
	}
	if err != nil {
		return 0, fmt.Errorf("ping a connection: %w", err)
	}
	return d, nil
}
