package auth

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard"
)

const (
	// maxRemembered is how many credentials are remembered, and maxRememberedBytes how many
	// bytes they may have been long in sum: what is kept of one is shorter than itself.
	maxRemembered      = 10_000
	maxRememberedBytes = 16 << 20
	// maxOfUser is how many of them may be one user's, so that somebody with an account and
	// many credentials does not make all others be checked anew.
	maxOfUser = 8
)

// hash stands for a credential.
type hash [sha256.Size]byte

// memory is the credentials that were good when they were last checked, by their hashes. Of the
// credentials themselves it holds nothing. All methods may be called concurrently.
type memory struct {
	most, bytes int // immutable: how many at most, and how long in sum

	mu    sync.Mutex // guards the fields below
	of    map[hash]*remembered
	all   []*remembered           // the same, in no order
	users map[owner][]*remembered // the same, of each user the oldest first
	size  int                     // of all of them
}

// remembered is immutable but for at.
type remembered struct {
	key     hash
	id      switchboard.Identity
	until   time.Time // when it is to be checked again
	version uint64    // of what it was checked by
	size    int
	at      int // its place in memory.all
}

// owner is whose a credential is.
type owner struct{ tenant, user string }

func newMemory() *memory {
	return &memory{most: maxRemembered, bytes: maxRememberedBytes, of: make(map[hash]*remembered), users: make(map[owner][]*remembered)}
}

// get returns who a credential is of, if it is remembered and was checked by what counts now.
// The identity is the caller's own.
func (m *memory) get(key hash, version uint64, now time.Time) (switchboard.Identity, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of[key]
	if r == nil {
		return switchboard.Identity{}, false
	}
	if r.version != version || !now.Before(r.until) {
		m.dropLocked(r)
		return switchboard.Identity{}, false
	}
	return cloned(r.id), true
}

// put remembers a credential of size bytes until a time. Of a full memory one leaves that chance
// picks: many new ones push out few of those that are in use, and those come back.
func (m *memory) put(key hash, id switchboard.Identity, size int, version uint64, until time.Time) {
	r := &remembered{key: key, id: cloned(id), until: until, version: version, size: size}
	who := owner{id.Tenant, id.User}
	m.mu.Lock()
	defer m.mu.Unlock()
	if former := m.of[key]; former != nil {
		m.dropLocked(former)
	}
	if own := m.users[who]; len(own) >= maxOfUser {
		m.dropLocked(own[0])
	}
	for len(m.all) > 0 && (len(m.all) >= m.most || m.size+size > m.bytes) {
		m.dropLocked(m.all[rand.IntN(len(m.all))]) //nolint:gosec // nothing secret depends on which one leaves
	}
	r.at = len(m.all)
	m.of[key], m.all, m.size = r, append(m.all, r), m.size+size
	m.users[who] = append(m.users[who], r)
}

// dropLocked forgets r. The caller holds m.mu.
func (m *memory) dropLocked(r *remembered) {
	delete(m.of, r.key)
	m.size -= r.size
	last := len(m.all) - 1
	m.all[r.at] = m.all[last]
	m.all[r.at].at = r.at
	m.all[last] = nil
	m.all = m.all[:last]
	who := owner{r.id.Tenant, r.id.User}
	if left := slices.DeleteFunc(m.users[who], func(other *remembered) bool { return other == r }); len(left) > 0 {
		m.users[who] = left
	} else {
		delete(m.users, who)
	}
}

// cloned is id with nothing that it shares with another.
func cloned(id switchboard.Identity) switchboard.Identity {
	id.Permissions, id.Claims = slices.Clone(id.Permissions), bytes.Clone(id.Claims)
	return id
}
