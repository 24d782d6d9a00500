package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// counters are what Stats reports.
type counters struct {
	opened, received, sent, sentBytes         atomic.Uint64
	gaps, catchUps, syncs, blocked, isolation atomic.Uint64
	refused, pings, pongs, missed, readErrors atomic.Uint64
	textReads, skipped, evicted               atomic.Uint64
	limited, flooded, overfull                atomic.Uint64
	users, rooms                              atomic.Int64
	late, dropped, resurrected                atomic.Uint64

	// Of live connections: with a ping under way, with a missed one, the sum of their health, and
	// those that have enough of it.
	pending, missing, health, healthy atomic.Int64

	mu             sync.Mutex // guards the round trip times
	mean, min, max time.Duration
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
		Pings: c.pings.Load(), Pongs: c.pongs.Load(), Missed: c.missed.Load(), Late: c.late.Load(),
		Dropped: c.dropped.Load(), Resurrected: c.resurrected.Load(),
		Pending: int(c.pending.Load()), Missing: int(c.missing.Load()), Health: int(c.health.Load()), Healthy: int(c.healthy.Load()),
		MeanRTT: mean, MinRTT: low, MaxRTT: high, WindowBytes: h.memory.total.Load(), Evicted: c.evicted.Load(),
		Limited: c.limited.Load(), Flooded: c.flooded.Load(), Overfull: c.overfull.Load(),
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
		Idle:      h.since(rec.seen.Load()),
		RoundTrip: time.Duration(rec.rtt) * time.Microsecond, Missed: int(rec.missed), Health: int(rec.health),
		Pinging:  rec.flags&connPinged != 0,
		Received: uint64(rec.received.Load()), Sent: uint64(rec.sent), Errors: uint64(rec.errors.Load()),
		Held: rec.flags&connHeld != 0, Guest: rec.flags&connGuest != 0,
	}
	if rec.flags&connBlocked != 0 {
		v.Blocked = h.at(rec.blocked)
	}
	if rec.pinged != 0 {
		v.Pinged = h.at(rec.pinged)
	}
	if rec.ponged != 0 {
		v.Ponged = h.at(rec.ponged)
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
