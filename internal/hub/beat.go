package hub

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// The health of a connection begins full, gains with each answered ping and loses with each
// missed one.
const (
	HealthFull  = 100
	HealthGood  = 50 // a healthy one has more
	healthGains = 10
	healthLoses = 25
)

// longestTrip is what a round trip can take: an answer that comes later says how long the peer
// slept, not how far away it is.
const longestTrip = 30 * time.Second

// Beat is what a sweep sees of a connection.
type Beat struct {
	Silent     time.Duration // since its last frame
	Unwritable time.Duration // since its socket took something; 0: it does
	PingAge    time.Duration // since a ping whose pong has not come; 0: none
	Heard      bool          // something else came since that ping
	Missed     int           // pings in a row after which nothing came

	seen uint32 // tick of its last frame
}

// Act is what a sweep can do with a connection.
type Act uint8

// What a sweep can do.
const (
	Leave  Act = iota // nothing
	Ping              // send a ping
	Miss              // count the unanswered ping as missed, and send another
	Forget            // give up waiting for a pong of who was heard since
	Drop              // close it as Verdict says
)

// Verdict is what a sweep does with a connection. The rest is for Drop: whether the ping
// before counts as missed, and what the client is told.
type Verdict struct {
	Act    Act
	Missed bool
	Code   wire.CloseCode
	Reason string
}

// Sweep shows one of parts slices of the table to fn, which says what to do. fn may call any
// method of the hub. A connection from which something comes before that is done is left as
// it is: what was judged is no longer so.
func (h *Hub) Sweep(part, parts int, fn func(c Handle, b Beat) Verdict) {
	limit := int(h.conns.limit())
	for i := limit * part / parts; i < limit*(part+1)/parts; i++ {
		if i == 0 {
			continue
		}
		slot := uint32(i)
		rec := h.conns.at(slot)
		rec.mu.Lock()
		c, dead := handle(slot, rec.gen), rec.flags&(connDead|connClosing) != 0 || rec.gen == 0
		b := h.beat(rec)
		h.unlock(rec, slot)
		if dead {
			continue
		}
		if verdict := fn(c, b); verdict.Act != Leave {
			h.carryOut(c, b, verdict)
		}
	}
}

func (h *Hub) beat(rec *conn) Beat {
	b := Beat{seen: rec.seen.Load(), Missed: int(rec.missed)}
	b.Silent = h.since(b.seen)
	if rec.flags&connBlocked != 0 {
		b.Unwritable = max(tickLength, h.since(rec.blocked))
	}
	if rec.flags&connPinged != 0 {
		b.PingAge, b.Heard = max(tickLength, h.since(rec.pinged)), rec.flags&connHeard != 0
	}
	return b
}

// carryOut does with c what was decided about b.
func (h *Hub) carryOut(c Handle, b Beat, v Verdict) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	defer h.unlock(rec, c.slot())
	heard := rec.seen.Load() != b.seen || b.Unwritable > 0 && rec.flags&connBlocked == 0
	if heard || rec.flags&connClosing != 0 {
		return
	}
	switch v.Act {
	case Ping:
		h.ping(rec)
	case Miss:
		h.miss(rec)
		h.ping(rec)
	case Forget:
		h.forgetPing(rec)
	case Drop:
		if v.Missed {
			h.miss(rec)
		}
		h.count.dropped.Add(1)
		if b.Unwritable == 0 {
			rec.flags |= connPeerClosed // an answer to our close is not waited for
		}
		h.closeLocked(rec, c, End{Code: v.Code, Reason: v.Reason}, false)
	}
}

// miss counts a ping that was not answered. The caller holds rec.mu.
func (h *Hub) miss(rec *conn) {
	if rec.missed == 0 {
		h.count.missing.Add(1)
	}
	if rec.missed < math.MaxUint8 {
		rec.missed++
	}
	h.count.missed.Add(1)
	h.setHealth(rec, max(int(rec.health)-healthLoses, 0))
}

// ping sends a ping, unless too much waits already, and reports whether it did. Its payload is
// when it was sent, so that its pong is known from that of another, and from one that nobody
// asked for. The caller holds rec.mu.
func (h *Hub) ping(rec *conn) bool {
	at := h.micros()
	var payload [4]byte
	binary.BigEndian.PutUint32(payload[:], at)
	if h.send(rec, ws.AppendFrame(nil, ws.OpPing, payload[:]), true) != nil {
		return false
	}
	if rec.flags&connPinged == 0 {
		h.count.pending.Add(1)
	}
	rec.flags = rec.flags&^connHeard | connPinged
	rec.pinged, rec.pingAt = max(1, h.tick()), at
	h.count.pings.Add(1)
	return true
}

// micros is the time since the hub began. It wraps after 71 minutes.
func (h *Hub) micros() uint32 { return uint32(time.Since(h.start) / time.Microsecond) }

// forgetPing takes back that a pong is waited for. The caller holds rec.mu.
func (h *Hub) forgetPing(rec *conn) {
	if rec.flags&connPinged != 0 {
		rec.flags &^= connPinged
		h.count.pending.Add(-1)
	}
}

// hears notes that something came in. The caller holds rec.mu.
func (h *Hub) hears(rec *conn) {
	rec.seen.Store(h.tick())
	rec.flags |= connHeard
	if rec.missed != 0 && rec.flags&connClosing == 0 {
		rec.missed = 0
		h.count.missing.Add(-1)
		h.count.resurrected.Add(1)
	}
}

// pong takes the answer to the ping that is under way, and reports whether it is that. Any
// other is a sign of life and no more.
func (h *Hub) pong(c Handle, payload []byte) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	if rec.flags&connPinged == 0 || len(payload) != 4 || binary.BigEndian.Uint32(payload) != rec.pingAt {
		h.unlock(rec, c.slot())
		return false
	}
	h.forgetPing(rec)
	h.count.pongs.Add(1)
	h.setHealth(rec, min(int(rec.health)+healthGains, HealthFull))
	rec.ponged = max(1, h.tick())
	trip := time.Duration(h.micros()-rec.pingAt) * time.Microsecond
	if h.since(rec.pinged) > longestTrip { // or the microseconds have wrapped
		trip = max(trip, longestTrip+1)
	}
	if h.count.roundTrip(trip) {
		rec.rtt = uint32(trip / time.Microsecond)
	}
	var waiting []chan pingResult
	if rec.flags&connAwaited != 0 {
		rec.flags &^= connAwaited
		waiting = h.waits.take(c)
	}
	h.unlock(rec, c.slot())
	tell(waiting, pingResult{trip: trip})
	return true
}

// setHealth changes a connection's health, and what is said of all. The caller holds rec.mu.
func (h *Hub) setHealth(rec *conn, to int) {
	was := int(rec.health)
	if was == to {
		return
	}
	rec.health = uint8(to)
	h.count.health.Add(int64(to - was))
	switch {
	case was <= HealthGood && to > HealthGood:
		h.count.healthy.Add(1)
	case was > HealthGood && to <= HealthGood:
		h.count.healthy.Add(-1)
	}
}

// settleBeat takes a connection that ends out of what is said of all. The caller holds rec.mu.
func (h *Hub) settleBeat(rec *conn) {
	h.forgetPing(rec)
	if rec.missed != 0 {
		rec.missed = 0
		h.count.missing.Add(-1)
	}
	h.setHealth(rec, 0)
}

// roundTrip takes a round trip into the average, with a weight of a tenth; one that is five
// times the average is taken for an outlier and weighs a fiftieth. It reports whether d can be
// one: what is none, or longer than any, counts for nothing.
func (c *counters) roundTrip(d time.Duration) bool {
	if d > longestTrip {
		c.late.Add(1)
	}
	if d <= 0 || d > longestTrip {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.min == 0 || d < c.min {
		c.min = d
	}
	c.max = max(c.max, d)
	switch {
	case c.mean == 0:
		c.mean = d
	case d > 5*c.mean:
		c.mean += (d - c.mean) / 50
	default:
		c.mean += (d - c.mean) / 10
	}
	return true
}

// RoundTrip measures how long a ping and its pong take now. If one is under way, it is the one
// that is measured, for all who ask: who asks often must not put off that it is missed. Only one
// older than fresh whose peer was heard since is no longer waited for. RoundTrip waits until ctx
// ends. The error is that of ctx, [ErrGone], or [ErrFull].
func (h *Hub) RoundTrip(ctx context.Context, c Handle, fresh time.Duration) (time.Duration, error) {
	rec := h.lock(c)
	if rec == nil {
		return 0, ErrGone
	}
	if rec.flags&(connClosing|connCloseSent) != 0 {
		h.unlock(rec, c.slot())
		return 0, ErrGone
	}
	if rec.flags&connPinged == 0 || rec.flags&connHeard != 0 && h.since(rec.pinged) > fresh {
		if !h.ping(rec) {
			h.unlock(rec, c.slot())
			return 0, ErrFull
		}
	}
	rec.flags |= connAwaited
	wait := h.waits.add(c)
	h.unlock(rec, c.slot())
	select {
	case got := <-wait:
		return got.trip, got.err
	case <-ctx.Done():
		h.waits.remove(c, wait)
		return 0, ctx.Err()
	}
}

// pingWaits has those who wait for the pong of a connection.
type pingWaits struct {
	mu sync.Mutex // guards of; taken last
	of map[Handle][]chan pingResult
}

type pingResult struct {
	trip time.Duration
	err  error
}

// add returns a channel on which at most one result comes, without being waited for.
func (w *pingWaits) add(c Handle) chan pingResult {
	wait := make(chan pingResult, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = make(map[Handle][]chan pingResult)
	}
	w.of[c] = append(w.of[c], wait)
	return wait
}

// remove forgets one who waits no longer.
func (w *pingWaits) remove(c Handle, wait chan pingResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.of[c][:0]
	for _, other := range w.of[c] {
		if other != wait {
			left = append(left, other)
		}
	}
	if len(left) == 0 {
		delete(w.of, c)
		return
	}
	w.of[c] = left
}

// take returns all who wait for c, and forgets them.
func (w *pingWaits) take(c Handle) []chan pingResult {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.of[c]
	delete(w.of, c)
	return waiting
}

func tell(waiting []chan pingResult, r pingResult) {
	for _, wait := range waiting {
		wait <- r
	}
}
