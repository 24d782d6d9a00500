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

// seenState is what a node knows of a message whose turn it is.
type seenState uint8

const (
	seenNever   seenState = iota // or its handler has failed
	seenRunning                  // a handler is at work on it
	seenOverdue                  // the same, and its time is over
	seenDone                     // a handler has succeeded
)

// recent remembers the ids of messages for one to two windows after their handlers have
// succeeded, so that a message that a client sends again is handled once per node. The same
// message does not count as handled while its handler is at work: it waits for the outcome.
type recent struct {
	mu      sync.Mutex // guards the fields below, and those of handling
	running map[[16]byte]*handling
	now     map[[16]byte]struct{}
	before  map[[16]byte]struct{}
	began   time.Time // of now
}

// handling is a message that a handler is at work on.
type handling struct {
	waiting []waitingCall
	overdue bool
}

// waitingCall is the same message on another connection, and the lane that it holds up.
type waitingCall struct {
	lane *lane
	call *call
}

// seenKey identifies a message of a user.
func seenKey(user wire.Topic, id string) [16]byte {
	var room [256]byte
	sum := sha256.Sum256(appendSized(room[:0], user.Tenant, user.ID, id))
	return [16]byte(sum[:16])
}

// has reports whether the message was handled.
func (r *recent) has(key [16]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hasLocked(key)
}

func (r *recent) hasLocked(key [16]byte) bool {
	_, now := r.now[key]
	_, before := r.before[key]
	return now || before
}

// begin tells what is known of the message c, whose turn it is in its lane. The caller that
// gets seenNever must handle it and call finish. After seenRunning, found and c belong
// to the caller of overdue or finish that gets them.
func (r *recent) begin(found *lane, c *call) seenState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hasLocked(c.seen) {
		return seenDone
	}
	h := r.running[c.seen]
	switch {
	case h == nil:
		if r.running == nil {
			r.running = make(map[[16]byte]*handling)
		}
		r.running[c.seen] = &handling{}
		return seenNever
	case h.overdue:
		return seenOverdue
	}
	h.waiting = append(h.waiting, waitingCall{lane: found, call: c})
	return seenRunning
}

// overdue marks a message whose handler is late, and returns what waits for it.
func (r *recent) overdue(key [16]byte) []waitingCall {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.running[key]
	waiting := h.waiting
	h.waiting, h.overdue = nil, true
	return waiting
}

// finish ends what begin has begun, remembers key if the handler has succeeded, and returns
// what waits for it.
func (r *recent) finish(key [16]byte, ok bool, now time.Time) []waitingCall {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.running[key].waiting
	delete(r.running, key)
	if !ok {
		return waiting
	}
	if age := now.Sub(r.began); age >= recentFor || len(r.now) >= recentMax {
		if age >= 2*recentFor {
			r.now = nil
		}
		r.before, r.now, r.began = r.now, make(map[[16]byte]struct{}), now
	}
	r.now[key] = struct{}{}
	return waiting
}
