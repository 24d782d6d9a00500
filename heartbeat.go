package switchboard

import (
	"context"
	"sync"
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

// beat is what the heartbeat remembers besides the connections' own records.
type beat struct {
	dropped, resurrected atomic.Uint64

	mu      sync.Mutex // guards missing
	missing map[hub.Handle]struct{}
}

// miss notes that a ping of c was not answered.
func (b *beat) miss(c hub.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing == nil {
		b.missing = make(map[hub.Handle]struct{})
	}
	b.missing[c] = struct{}{}
}

// heard notes that c is alive. If it had missed a ping it has come back.
func (b *beat) heard(c hub.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, missing := b.missing[c]; missing {
		delete(b.missing, c)
		b.resurrected.Add(1)
	}
}

// missed is how many connections have a ping unanswered past its time.
func (b *beat) missed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.missing)
}

// forget drops what is known of a connection that has ended.
func (b *beat) forget(c hub.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.missing, c)
}

// sweep pings the silent and closes the dead until ctx ends.
func (m *Manager) sweep(ctx context.Context) {
	lap := m.opts.Heartbeat.Interval / sweepLaps
	parts := int((lap + sweepTick - 1) / sweepTick)
	ticker := time.NewTicker(lap / time.Duration(parts))
	defer ticker.Stop()
	for part := 0; ; part = (part + 1) % parts {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m.hub.Sweep(part, parts, m.judge)
	}
}

// judge says what becomes of one connection.
func (m *Manager) judge(c hub.Handle, b hub.Beat) hub.Verdict {
	h := m.opts.Heartbeat
	if b.Missed == 0 {
		m.beat.heard(c)
	}
	// Any frame since the last ping is as good as its pong.
	unanswered := b.PingAge > 0 && b.Silent >= b.PingAge
	switch {
	case b.Unwritable >= h.Timeout:
		m.drop(c, wire.CloseTryAgain, "nothing could be written for too long: reconnect")
	case b.Silent >= h.Timeout:
		m.drop(c, wire.CloseGoingAway, "heartbeat missed: reconnect")
	case unanswered && b.PingAge >= h.Interval:
		if b.Missed+1 >= h.MaxMissed {
			m.drop(c, wire.CloseGoingAway, "heartbeat missed: reconnect")
		} else {
			m.beat.miss(c)
			m.ping(c)
		}
		return hub.Miss
	case !unanswered && b.Silent >= h.Interval-h.Interval/sweepLaps/2:
		// Half a lap early or late: the pings of an idle peer are an interval apart.
		m.ping(c)
		return hub.Ping
	}
	return hub.Leave
}

func (m *Manager) drop(c hub.Handle, code wire.CloseCode, reason string) {
	if m.hub.Close(c, code, reason, false) == nil {
		m.beat.dropped.Add(1)
	}
}

// ping sends a ping message to a client that asked for them: a browser does not see the
// protocol's pings. The answer counts as any frame does.
func (m *Manager) ping(c hub.Handle) {
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
