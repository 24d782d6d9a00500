package session

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// How many revocations there may be. Beyond them one is refused; none is forgotten.
const (
	MaxRevocations     = 100_000 // of one tenant
	MaxLogouts         = 50_000  // of these, made by clients
	MaxRevocationsName = 1000    // of one user, session, token or sid
	MaxLogoutsUser     = 100     // made by the clients of one user
)

// Why there is no room for a revocation.
var (
	ErrRevocations = errors.New("the tenant has too many revocations")
	ErrSameName    = errors.New("there are too many revocations of the same")
	ErrLogouts     = errors.New("too many sessions were ended")
)

// Presented is what is known of a credential, for [Revoked.Find].
type Presented struct {
	Tenant, User, Session, TokenID, SID string   // "": not known, except of Tenant
	CameOf                              []string // the sessions of which Session came by tickets
	Issued                              time.Time
}

// Revoked is an index of what is revoked, in all tenants. The zero value is empty; its methods
// may be called concurrently.
type Revoked struct {
	mu      sync.RWMutex           // guards the fields below; what they point to is immutable, or theirs
	of      map[string]*Revocation // by key
	tenants map[string]*revokedTenant
}

type revokedTenant struct {
	n, logouts int
	by         map[revokedName][]*Revocation
}

// revokedName is what revocations name, or whose logouts they are.
type revokedName struct {
	kind byte
	text string
}

const (
	namesUser    = 'u'
	namesSession = 's'
	namesToken   = 't'
	namesSID     = 'i'
	ownedBy      = 'o'
)

// name is what r names.
func (r *Revocation) name() revokedName {
	switch {
	case r.User != "":
		return revokedName{namesUser, r.User}
	case r.Session != "":
		return revokedName{namesSession, r.Session}
	case r.TokenID != "":
		return revokedName{namesToken, r.TokenID}
	}
	return revokedName{namesSID, r.SID}
}

// names are those under which r is found.
func (r *Revocation) names() []revokedName {
	if r.Owner == "" {
		return []revokedName{r.name()}
	}
	return []revokedName{r.name(), {ownedBy, r.Owner}}
}

// Add makes r known, and reports whether it is new. The index keeps r.
func (x *Revoked) Add(r *Revocation) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := r.Key()
	before := x.of[key]
	if before != nil && *before == *r {
		return false
	}
	x.removeLocked(key)
	if x.of == nil {
		x.of, x.tenants = make(map[string]*Revocation), make(map[string]*revokedTenant)
	}
	t := x.tenants[r.Tenant]
	if t == nil {
		t = &revokedTenant{by: make(map[revokedName][]*Revocation)}
		x.tenants[r.Tenant] = t
	}
	x.of[key] = r
	t.n++
	if r.Owner != "" {
		t.logouts++
	}
	for _, name := range r.names() {
		t.by[name] = append(t.by[name], r)
	}
	return true
}

// Remove forgets the revocation that is stored at key. It need not be there.
func (x *Revoked) Remove(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(key)
}

func (x *Revoked) removeLocked(key string) {
	r := x.of[key]
	if r == nil {
		return
	}
	delete(x.of, key)
	t := x.tenants[r.Tenant]
	t.n--
	if r.Owner != "" {
		t.logouts--
	}
	for _, name := range r.names() {
		left := slices.DeleteFunc(t.by[name], func(other *Revocation) bool { return other == r })
		if t.by[name] = left; len(left) == 0 {
			delete(t.by, name)
		}
	}
	if t.n == 0 {
		delete(x.tenants, r.Tenant)
	}
}

// Retain forgets all whose keys are not in keys.
func (x *Revoked) Retain(keys map[string]struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.of {
		if _, there := keys[key]; !there {
			x.removeLocked(key)
		}
	}
}

// Find returns a revocation by which p is refused at now, or nil.
func (x *Revoked) Find(p Presented, now time.Time) *Revocation {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tenants[p.Tenant]
	if t == nil {
		return nil
	}
	for _, name := range []revokedName{{namesUser, p.User}, {namesSession, p.Session}, {namesToken, p.TokenID}, {namesSID, p.SID}} {
		if r := t.find(name, p.Issued, now); r != nil {
			return r
		}
	}
	for _, id := range p.CameOf {
		if r := t.find(revokedName{namesSession, id}, p.Issued, now); r != nil {
			return r
		}
	}
	return nil
}

// find returns a revocation by which a name is refused, or nil.
func (t *revokedTenant) find(name revokedName, issued, now time.Time) *Revocation {
	if name.text == "" {
		return nil
	}
	for _, r := range t.by[name] {
		if r.refuses(issued, now) {
			return r
		}
	}
	return nil
}

// Cancels reports whether runs that user asked for at created are to be cancelled.
func (x *Revoked) Cancels(tenant, user string, created, now time.Time) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tenants[tenant]
	return t != nil && slices.ContainsFunc(t.by[revokedName{namesUser, user}], func(r *Revocation) bool {
		return r.CancelRuns && r.holds(now) && !created.After(r.Made)
	})
}

// Room says whether r may be made: the error is [ErrRevocations], [ErrSameName] or [ErrLogouts].
// What ends all of a user's sessions may, if it takes the place of ends of single ones.
// Of several nodes that ask at the same moment each may find the last place.
func (x *Revoked) Room(r *Revocation) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tenants[r.Tenant]
	if t == nil {
		return nil
	}
	owned := len(t.by[revokedName{ownedBy, r.Owner}])
	if owned > 0 && r.User != "" {
		return nil // it takes their place
	}
	switch {
	case t.n >= MaxRevocations:
		return ErrRevocations
	case r.Owner != "" && (t.logouts >= MaxLogouts || owned >= MaxLogoutsUser):
		return ErrLogouts
	case len(t.by[r.name()]) >= MaxRevocationsName:
		return ErrSameName
	}
	return nil
}

// Logouts returns the keys of the revocations that the clients of a user have made.
func (x *Revoked) Logouts(tenant, user string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tenants[tenant]
	if t == nil {
		return nil
	}
	var keys []string
	for _, r := range t.by[revokedName{ownedBy, user}] {
		keys = append(keys, r.Key())
	}
	return keys
}

// Len is how many there are.
func (x *Revoked) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.of)
}
