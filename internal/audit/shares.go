package audit

import (
	"time"

	"github.com/netra-systems/switchboard/internal/quota"
)

// unitBytes is how long a line may be that costs its tenant one of its allowance. A longer one
// costs one more for each so many bytes, so that an allowance says how soon files are full.
const unitBytes = 512

// allowance is what one tenant may write: lines of its back ends, and as many of its users, and
// beyond that a few of each action, so that none can be hidden by many of another.
type allowance struct {
	perMinute float64
	burst     int
	// of each action, when that is spent
	actionPerMinute float64
	actionBurst     int
	// of all tenants in the same series together; 0: there is one
	allPerMinute float64
	allBurst     int
}

// Files keep 57,344 units of a tenant at least, when the oldest has just been removed. Who has a
// stolen key, which has 7 of the 15 actions, needs 11 hours to write so many; with users that are
// made up, for all that these can do as well, 5.
func onDisk() allowance {
	return allowance{perMinute: 60, burst: 1500, actionPerMinute: 3, actionBurst: 40}
}

// A log in memory has 2,048 lines of a tenant, and takes fewer: an hour, and half of one.
func inMemory() allowance {
	return allowance{perMinute: 10, burst: 300, actionPerMinute: 1, actionBurst: 10}
}

// shared is that of tenants that have one series together.
func (a allowance) shared() allowance {
	a.allPerMinute, a.allBurst = 10*a.perMinute, 4*a.burst
	return a
}

// shares are what is left to tenants of their allowance. They have locks of their own.
type shares struct {
	half   *quota.Table[half]
	action *quota.Table[actionOf]
	all    *quota.Table[struct{}]
}

// half is what of a tenant writes: its back ends, or its users.
type half struct {
	tenant  string
	backEnd bool
}

type actionOf struct{ tenant, action string }

func newShares(a allowance) *shares {
	return &shares{
		half:   quota.New[half](a.perMinute, a.burst, maxHalves),
		action: quota.New[actionOf](a.actionPerMinute, a.actionBurst, maxUsers),
		all:    quota.New[struct{}](a.allPerMinute, a.allBurst, 1),
	}
}

// take takes a line of e out of what its tenant has.
func (s *shares) take(e Event, now time.Time) bool {
	n := e.units()
	if _, ok := s.half.Take(half{tenant: e.Tenant, backEnd: e.Actor != ""}, n, now); !ok {
		if _, ok := s.action.Take(actionOf{tenant: e.Tenant, action: e.Action}, n, now); !ok {
			return false
		}
	}
	_, ok := s.all.Take(struct{}{}, n, now)
	return ok
}

// units is what a line of e costs: not less than its bytes make.
func (e Event) units() int {
	size := 320 // of the names of all members, of numbers, time, address and hashes
	for _, text := range e.texts() {
		for i := range len(*text) {
			switch c := (*text)[i]; {
			case c < 0x20 || c == '<' || c == '>' || c == '&':
				size += len(`\u003c`)
			case c == '"' || c == '\\' || c >= 0x80: // of which some are written as six for three
				size += 2
			default:
				size++
			}
		}
	}
	return 1 + size/unitBytes
}
