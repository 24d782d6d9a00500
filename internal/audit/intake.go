package audit

import (
	"net/netip"
	"time"

	"github.com/netra-systems/switchboard/internal/quota"
)

// What of an event that could be made to happen at will becomes a line. The rest is counted.
const (
	foldTime = 5 * time.Second // equal refusals within it are one line with their number
	maxFolds = 1024            // different refusals of a series that are watched for equal ones
	maxQueue = 1024            // events of a series that are not written yet

	strangersPerMinute, strangersBurst = 60, 120 // lines of all strangers together
	addressPerMinute, addressBurst     = 6, 12   // and of one address, or one /64 of IPv6
	refusedPerMinute, refusedBurst     = 10, 30  // refusals of one user
	donePerMinute, doneBurst           = 60, 120 // and what one user did

	maxAddresses, maxUsers = 4096, 1 << 16 // that are told apart
)

// owner is whose budget an event is taken from.
type owner struct{ tenant, user string }

// queued is an event on its way to the file.
type queued struct {
	Event
	at    time.Time
	count int
	lost  uint64
}

// fold is a refusal that has its line, and how many equal ones came after it.
type fold struct {
	since time.Time
	more  int
}

// intake is what comes into a series. Log.mu guards it.
type intake struct {
	queue []queued
	folds map[Event]*fold
	lost  uint64
	told  time.Time // when lost was written last
}

// budgets bound the lines that others can cause. They have locks of their own.
type budgets struct {
	strangers *quota.Table[struct{}]
	addresses *quota.Table[netip.Prefix]
	refused   *quota.Table[owner]
	done      *quota.Table[owner]
}

func newBudgets() budgets {
	return budgets{
		strangers: quota.New[struct{}](strangersPerMinute, strangersBurst, 1),
		addresses: quota.New[netip.Prefix](addressPerMinute, addressBurst, maxAddresses),
		refused:   quota.New[owner](refusedPerMinute, refusedBurst, maxUsers),
		done:      quota.New[owner](donePerMinute, doneBurst, maxUsers),
	}
}

// stranger reports whether nobody has been proved to be behind e.
func (e Event) stranger() bool { return e.User == "" && e.Actor == "" }

// allow takes a line out of the budget of whoever is behind e. What the application does is
// bounded by nobody but itself.
func (b budgets) allow(e Event, now time.Time) bool {
	if e.stranger() {
		if _, ok := b.addresses.Take(network(e.Address), 1, now); !ok {
			return false
		}
		_, ok := b.strangers.Take(struct{}{}, 1, now)
		return ok
	}
	if e.Actor != "" {
		return true
	}
	who, of := owner{tenant: e.Tenant, user: e.User}, b.done
	if e.Code != "" {
		of = b.refused
	}
	_, ok := of.Take(who, 1, now)
	return ok
}

// network is what one client can have addresses of at will.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil { // there is no address
		return netip.Prefix{}
	}
	return p
}

// take makes a line of e, or counts it.
func (in *intake) take(e Event, now time.Time, b budgets) {
	alike := e
	alike.Connection = ""
	if e.Code != "" {
		if f := in.folds[alike]; f != nil {
			f.more++
			return
		}
	}
	if !b.allow(e, now) || len(in.queue) >= maxQueue {
		in.lost++
		return
	}
	in.queue = append(in.queue, queued{Event: e, at: now})
	if e.Code != "" && len(in.folds) < maxFolds {
		if in.folds == nil {
			in.folds = make(map[Event]*fold)
		}
		in.folds[alike] = &fold{since: now}
	}
}

// settle makes lines of what was counted: of equal refusals whose time is over, and of what is
// lost. Refusals for which the budget has no line now are counted on. At the end all are told.
func (in *intake) settle(now time.Time, b budgets, end bool) {
	for e, f := range in.folds {
		switch {
		case !end && now.Sub(f.since) < foldTime:
			continue
		case f.more == 0:
			delete(in.folds, e)
			continue
		case !end && (len(in.queue) >= maxQueue || !b.allow(e, now)):
			continue
		}
		in.queue = append(in.queue, queued{Event: e, at: now, count: f.more})
		f.since, f.more = now, 0
	}
	if in.lost > 0 && (end || now.Sub(in.told) >= foldTime) {
		in.queue = append(in.queue, queued{Event: Event{Action: ActionLost}, at: now, lost: in.lost})
		in.lost, in.told = 0, now
	}
}
