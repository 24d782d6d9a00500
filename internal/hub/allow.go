package hub

import (
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// An allowance is a time: what is spent moves it on by its share of a minute, and it may be at
// most a minute ahead of now. So a minute's worth may come at once.
const minute = uint32(time.Minute / tickLength)

// overdraft is how far a control allowance is overdrawn, a tenth, before the connection ends:
// its answers say when to go on, and who reads them has stopped by then.
const overdraft = minute / 10

// spent is the allowance after n of perMinute are taken out of it, and how far ahead of now that is.
func spent(allowance, now uint32, n, perMinute int) (after, ahead uint32) {
	if int32(allowance-now) < 0 {
		allowance = now
	}
	cost := max(1, minute/uint32(perMinute)) * uint32(min(max(n, 0), perMinute))
	return allowance + cost, allowance + cost - now
}

// Allow spends n of perMinute messages, all of which may come at once. When so many are not
// left nothing is spent, and retry says how long until they are.
func (h *Hub) Allow(c Handle, n, perMinute int) (retry time.Duration, ok bool) {
	rec := h.lock(c)
	if rec == nil {
		return 0, false
	}
	defer h.unlock(rec, c.slot())
	if perMinute <= 0 {
		return 0, true
	}
	after, ahead := spent(rec.budget, h.tick(), n, perMinute)
	if ahead > minute {
		return time.Duration(ahead-minute) * tickLength, false
	}
	rec.budget = after
	return 0, true
}

// Owe spends n of perMinute messages for what was done already, as far as they are left.
func (h *Hub) Owe(c Handle, n, perMinute int) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	defer h.unlock(rec, c.slot())
	now := h.tick()
	if after, ahead := spent(rec.budget, now, n, perMinute); ahead <= minute {
		rec.budget = after
	} else {
		rec.budget = now + minute
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
// protocol pings and pongs, which the hub spends itself, and of refusals, so that no answer is
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
	n = min(n, max(1, h.cfg.MaxControl/40))
	after, ahead := spent(rec.control, h.tick(), n, h.cfg.MaxControl)
	if ahead <= minute {
		rec.control = after
		return 0, Paid
	}
	h.count.limited.Add(1)
	if ahead <= minute+overdraft || mutantFlood {
		rec.control = after
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
