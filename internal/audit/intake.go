package audit

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
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

	maxAddresses, maxUsers, maxHalves = 4096, 1 << 16, 4096 // that are told apart

	tenantLostTime = time.Minute // a tenant has at most one line in it that says what is lost
	maxLosers      = 64          // tenants, and actions of one, of which it is told apart what is lost
)

// owner is whose budget an event is taken from.
type owner struct{ tenant, user string }

// queued is an event on its way to the file.
type queued struct {
	Event
	at    time.Time
	count int
	lost  uint64
	of    map[string]uint64 // lost by action; nil: all of the same as Event
}

// fold is a refusal that has its line, and how many equal ones came after it.
type fold struct {
	since time.Time
	more  int
}

// intake is what comes into a series. Log.mu guards all but its first two fields, which stay.
type intake struct {
	series string
	shares *shares // of the tenants that write it; nil: strangers do

	queue  []queued
	folds  map[Event]*fold
	lost   map[string]map[string]uint64 // not told yet, by tenant and action
	told   time.Time                    // when lost was written last
	missed uint64                       // all that was ever lost
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

// allow takes a line out of the budget of whoever is behind e: of a user that of the user first,
// and always that of the tenant.
func (b budgets) allow(e Event, now time.Time, of *shares) bool {
	if e.stranger() {
		if _, ok := b.addresses.Take(network(e.Address), 1, now); !ok {
			return false
		}
		_, ok := b.strangers.Take(struct{}{}, 1, now)
		return ok
	}
	if e.Actor == "" {
		who, each := owner{tenant: e.Tenant, user: e.User}, b.done
		if e.Code != "" {
			each = b.refused
		}
		if _, ok := each.Take(who, 1, now); !ok {
			return false
		}
	}
	return of.take(e, now)
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
	if len(in.queue) >= maxQueue || !b.allow(e, now, in.shares) {
		in.lose(e, 1)
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

// lose counts n events like e that make no line.
func (in *intake) lose(e Event, n uint64) {
	in.missed += n
	in.owe(e.Tenant, map[string]uint64{e.Action: n})
}

// owe keeps what has to be told as lost of a tenant.
func (in *intake) owe(tenant string, of map[string]uint64) {
	if in.lost == nil {
		in.lost = make(map[string]map[string]uint64)
	}
	if in.lost[tenant] == nil && len(in.lost) >= maxLosers || in.shares == nil { // strangers say which tenant they like
		tenant = ""
	}
	sum := in.lost[tenant]
	if sum == nil {
		sum = make(map[string]uint64)
		in.lost[tenant] = sum
	}
	for action, n := range of {
		if _, ok := sum[action]; !ok && len(sum) >= maxLosers {
			action = ""
		}
		sum[action] += n
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
		case !end && (len(in.queue) >= maxQueue || !b.allow(e, now, in.shares)):
			continue
		}
		in.queue = append(in.queue, queued{Event: e, at: now, count: f.more})
		f.since, f.more = now, 0
	}
	pause := tenantLostTime
	if in.shares == nil {
		pause = foldTime
	}
	if len(in.lost) == 0 || !end && now.Sub(in.told) < pause {
		return
	}
	for _, tenant := range slices.Sorted(maps.Keys(in.lost)) {
		in.queue = append(in.queue, tell(tenant, in.lost[tenant], now))
	}
	in.lost, in.told = nil, now
}

// tell is the line that says what is lost, and of which actions: "join 3, ticket 8390".
func tell(tenant string, of map[string]uint64, now time.Time) queued {
	q := queued{Event: Event{Action: ActionLost, Tenant: tenant}, at: now, of: of}
	var each []string
	for _, action := range slices.Sorted(maps.Keys(of)) {
		q.lost += of[action]
		if action != "" {
			each = append(each, fmt.Sprintf("%s %d", action, of[action]))
		}
	}
	q.Reason = strings.Join(each, ", ")
	q.Event = q.bounded()
	return q
}
