package hub

import (
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// An allowance is a time: what is spent moves it on by its share of a minute, and it may be at
// most a minute ahead of now. So a minute's worth may come at once. Records have it in ticks and
// in parts of a tick, of which there are 1<<16.
const minute = uint32(time.Minute / tickLength)

// overdraft is how far a control allowance is overdrawn, a tenth, before the connection ends:
// its answers say when to go on, and who reads them has stopped by then.
const overdraft = minute / 10

// allowance is one as it stands in a record.
type allowance struct {
	tick uint32
	part uint16
}

// spend takes n of perMinute out of a, and tells how far ahead of now that is, in ticks.
func (a allowance) spend(now uint32, n, perMinute int) (after allowance, ahead uint32) {
	if a.tick-now > minute+overdraft { // it is of the past
		a = allowance{tick: now}
	}
	parts := uint64(a.part) + uint64(minute)<<16*uint64(min(max(n, 0), perMinute))/uint64(perMinute)
	after = allowance{a.tick + uint32(parts>>16), uint16(parts)}
	ahead = after.tick - now
	if after.part > 0 {
		ahead++
	}
	return after, ahead
}

// owe takes n of perMinute out of a, as far as they are left.
func (a allowance) owe(now uint32, n, perMinute int) allowance {
	after, ahead := a.spend(now, n, perMinute)
	if ahead > minute {
		return allowance{tick: now + minute}
	}
	return after
}

// Rates are how many messages may come in a minute, all of which may come at once. What is not
// above 0 is no bound.
type Rates struct {
	Conn int // of one connection
	User int // of all connections of its user to this hub together
}

// Bound is whose allowance is used up.
type Bound uint8

// What [Hub.Allow] can find.
const (
	Within Bound = iota // neither: the messages are let through
	OfConn              // that of the connection, or it has ended
	OfUser              // that of its user
)

// Allow spends n messages. When so many are not left nothing is spent, and retry says how long
// until they are.
func (h *Hub) Allow(c Handle, n int, of Rates) (retry time.Duration, over Bound) {
	rec := h.lock(c)
	if rec == nil {
		return 0, OfConn
	}
	defer h.unlock(rec, c.slot())
	now, after := h.tick(), allowance{rec.budget, rec.budgetPart}
	if of.Conn > 0 {
		var ahead uint32
		if after, ahead = after.spend(now, n, of.Conn); ahead > minute {
			return time.Duration(ahead-minute) * tickLength, OfConn
		}
	}
	if of.User > 0 {
		if ahead, ok := h.topics.at(rec.user).spend(now, n, of.User); !ok {
			return time.Duration(ahead-minute) * tickLength, OfUser
		}
	}
	rec.budget, rec.budgetPart = after.tick, after.part
	return 0, Within
}

// spend takes n messages out of what the user of t may send, unless so many are not left.
func (t *topic) spend(now uint32, n, perMinute int) (ahead uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after, ahead := allowance{t.idle, t.idlePart}.spend(now, n, perMinute)
	if ahead <= minute {
		t.idle, t.idlePart = after.tick, after.part
	}
	return ahead, ahead <= minute
}

// Owe spends n messages for what was done already, as far as they are left.
func (h *Hub) Owe(c Handle, n int, of Rates) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	defer h.unlock(rec, c.slot())
	now := h.tick()
	if of.Conn > 0 {
		after := allowance{rec.budget, rec.budgetPart}.owe(now, n, of.Conn)
		rec.budget, rec.budgetPart = after.tick, after.part
	}
	if of.User > 0 {
		t := h.topics.at(rec.user)
		t.mu.Lock()
		defer t.mu.Unlock()
		after := allowance{t.idle, t.idlePart}.owe(now, n, of.User)
		t.idle, t.idlePart = after.tick, after.part
	}
}

// Payment is what came of [Hub.Spend].
type Payment uint8

// What can come of Spend.
const (
	Paid    Payment = iota // there was enough
	Overdue                // there was not: refuse it. The refusal is paid for too
	Flooded                // it was told and went on: the connection is being closed, or is gone
)

// Spend takes n out of the control allowance of c, Config.MaxControl a minute, all of which may
// be spent at once. It is the price of everything that is no message of the application, of
// protocol pings, and pongs that answer none of ours, which the hub spends itself, and of refusals, so that no answer is
// free. One who goes on after it is Overdue is closed with 1008, and not read any more.
func (h *Hub) Spend(c Handle, n int) (retry time.Duration, p Payment) {
	rec := h.lock(c)
	if rec == nil {
		return 0, Flooded
	}
	defer h.unlock(rec, c.slot())
	if h.cfg.MaxControl <= 0 {
		return 0, Paid
	}
	// Nothing is so dear that it ends a connection that was not told before.
	n = min(n, max(1, h.cfg.MaxControl/20))
	after, ahead := allowance{rec.control, rec.controlPart}.spend(h.tick(), n, h.cfg.MaxControl)
	if ahead <= minute {
		rec.control, rec.controlPart = after.tick, after.part
		return 0, Paid
	}
	h.count.limited.Add(1)
	if ahead <= minute+overdraft || mutantFlood {
		rec.control, rec.controlPart = after.tick, after.part
		return time.Duration(ahead-minute) * tickLength, Overdue
	}
	if rec.flags&(connClosing|connPeerClosed) == 0 {
		h.count.flooded.Add(1)
		h.closeLocked(rec, c, End{Code: wire.ClosePolicy, Reason: "too many frames"}, false)
		rec.flags |= connPeerClosed // what it says is not waited for
		h.engine.Refuse(rec.sock)
	}
	return 0, Flooded
}
