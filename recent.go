package switchboard

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// Bounds of what a node remembers of the messages that it has handled.
const (
	recentFor = 2 * time.Minute
	recentMax = 1 << 20 // ids per window; while there are more, windows are shorter
)

// recent remembers the ids of messages for one to two windows, so that a message that a
// client sends again is handled once per node.
type recent struct {
	mu     sync.Mutex // guards the fields below
	now    map[[16]byte]struct{}
	before map[[16]byte]struct{}
	began  time.Time // of now
}

// seenKey identifies a message of a user.
func seenKey(user wire.Topic, id string) [16]byte {
	var room [256]byte
	sum := sha256.Sum256(appendSized(room[:0], user.Tenant, user.ID, id))
	return [16]byte(sum[:16])
}

// add reports whether key is new, and remembers it.
func (r *recent) add(key [16]byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := now.Sub(r.began); age >= recentFor || len(r.now) >= recentMax {
		if age >= 2*recentFor {
			r.now = nil
		}
		r.before, r.now, r.began = r.now, make(map[[16]byte]struct{}), now
	}
	if _, ok := r.now[key]; ok {
		return false
	}
	if _, ok := r.before[key]; ok {
		return false
	}
	r.now[key] = struct{}{}
	return true
}

// forget makes key new again.
func (r *recent) forget(key [16]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, key)
	delete(r.before, key)
}
