package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
)

// counters are what Stats reports.
type counters struct {
	opened, received, sent, sentBytes         atomic.Uint64
	gaps, catchUps, syncs, blocked, isolation atomic.Uint64
	refused, pings, pongs, missed, readErrors atomic.Uint64
	textReads, skipped, evicted               atomic.Uint64
	limited, flooded                          atomic.Uint64
	users, rooms                              atomic.Int64

	mu             sync.Mutex // guards the round trip times
	mean, min, max time.Duration
}

// Round trips are averaged with a weight of a tenth; one that is five times
// the average is taken for an outlier and weighs a fiftieth.
func (c *counters) roundTrip(d time.Duration) {
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
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	c := &h.count
	c.mu.Lock()
	mean, low, high := c.mean, c.min, c.max
	c.mu.Unlock()
	return Stats{
		Connections: int(h.live.Load()), Users: int(c.users.Load()), Rooms: int(c.rooms.Load()), Topics: h.topics.used(),
		Opened: c.opened.Load(), Received: c.received.Load(), Sent: c.sent.Load(), SentBytes: c.sentBytes.Load(),
		Gaps: c.gaps.Load(), Skipped: c.skipped.Load(), CatchUps: c.catchUps.Load(), Syncs: c.syncs.Load(), Blocked: c.blocked.Load(),
		Isolation: c.isolation.Load(), Refused: c.refused.Load(), ReadErrors: c.readErrors.Load(), TextReads: c.textReads.Load(),
		Pings: c.pings.Load(), Pongs: c.pongs.Load(), Missed: c.missed.Load(),
		MeanRTT: mean, MinRTT: low, MaxRTT: high, WindowBytes: h.memory.total.Load(), Evicted: c.evicted.Load(),
		Limited: c.limited.Load(), Flooded: c.flooded.Load(),
	}
}

// View returns a snapshot of a connection.
func (h *Hub) View(c Handle) (View, bool) {
	rec := h.lock(c)
	if rec == nil {
		return View{}, false
	}
	defer h.unlock(rec, c.slot())
	return h.view(rec, c.slot()), true
}

// view is View for a caller that holds rec.mu.
func (h *Hub) view(rec *conn, slot uint32) View {
	v := View{
		Handle: handle(slot, rec.gen), ID: rec.id(slot), Session: rec.session,
		Opened: h.at(rec.opened), Seen: h.at(rec.seen.Load()),
		RoundTrip: time.Duration(rec.rtt) * time.Microsecond, Missed: int(rec.missed),
		Received: uint64(rec.received.Load()), Sent: uint64(rec.sent), Errors: uint64(rec.errors.Load()),
		Held: rec.flags&connHeld != 0,
	}
	if rec.flags&connBlocked != 0 {
		v.Blocked = h.at(rec.blocked)
	}
	if rec.acks != 0 {
		v.Acked = h.at(h.acks.at(rec.acks).at)
	}
	user := h.topics.at(rec.user)
	user.mu.Lock()
	v.User = h.addressOf(user)
	user.mu.Unlock()
	v.Behind = behind(user, &rec.userAt) + behind(h.topics.at(rec.all), &rec.allAt)
	if rec.room.topic != 0 {
		v.Behind += behind(h.topics.at(rec.room.topic), &rec.room.at)
	}
	if rec.more != 0 {
		for i, f := range h.more.at(rec.more).list {
			v.Behind += behind(h.topics.at(f.topic), &h.more.at(rec.more).list[i].at)
		}
	}
	return v
}

// Held reports whether c waits for [Hub.Unhold].
func (h *Hub) Held(c Handle) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	defer h.unlock(rec, c.slot())
	return rec.flags&connHeld != 0
}

// CountError counts a message of c that was refused.
func (h *Hub) CountError(c Handle) {
	if rec := h.lock(c); rec != nil {
		rec.errors.Add(1)
		h.unlock(rec, c.slot())
	}
}

// Sweep shows one of parts slices of the table to fn, which says what to do.
// fn may call any method of the hub.
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
		if verdict := fn(c, b); verdict != Leave {
			h.ping(c, verdict == Miss)
		}
	}
}

func (h *Hub) beat(rec *conn) Beat {
	b := Beat{Silent: h.since(rec.seen.Load()), Missed: int(rec.missed)}
	if rec.flags&connBlocked != 0 {
		b.Unwritable = max(tickLength, h.since(rec.blocked))
	}
	if rec.pinged != 0 {
		b.PingAge = max(tickLength, h.since(rec.pinged))
	}
	if rec.flags&connHeld != 0 {
		b.HeldFor = max(tickLength, h.since(rec.heldAt))
	}
	return b
}

// ping sends a ping, and counts the one before as missed if told so.
func (h *Hub) ping(c Handle, missed bool) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	if missed {
		rec.missed++
		h.count.missed.Add(1)
	}
	rec.pinged = max(1, h.tick())
	rec.pingAt = uint32(time.Since(h.start) / time.Microsecond)
	h.unlock(rec, c.slot())
	if h.Send(c, ws.AppendFrame(nil, ws.OpPing, nil), true) == nil {
		h.count.pings.Add(1)
	}
}
