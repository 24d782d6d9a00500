package ws

import (
	"sync"
	"sync/atomic"
)

const chunkSockets = 1 << 10

// table names connections by small numbers. Looking one up takes no lock.
type table struct {
	chunks atomic.Pointer[[]*chunk] // replaced, never changed, under mu

	mu   sync.Mutex // guards the fields below
	free []Socket   // released names; the last is used first
	used Socket     // names ever given out
}

type chunk [chunkSockets]atomic.Pointer[conn]

// get returns the connection, or nil if s is not in use.
func (t *table) get(s Socket) *conn {
	if slot := t.slot(s); slot != nil {
		return slot.Load()
	}
	return nil
}

func (t *table) add(c *conn) Socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		s := t.free[n-1]
		t.free = t.free[:n-1]
		t.slot(s).Store(c)
		return s
	}
	t.used++ // so that 0 is never a name
	s := t.used
	if t.slot(s) == nil {
		var grown []*chunk
		if old := t.chunks.Load(); old != nil {
			grown = append(grown, *old...)
		}
		grown = append(grown, new(chunk))
		t.chunks.Store(&grown)
	}
	t.slot(s).Store(c)
	return s
}

// take returns the connection and frees its name. Of several callers only one gets
// the connection.
func (t *table) take(s Socket) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.slot(s)
	if slot == nil {
		return nil
	}
	c := slot.Swap(nil)
	if c != nil {
		t.free = append(t.free, s)
	}
	return c
}

// names returns how far names have been given out.
func (t *table) names() Socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

func (t *table) slot(s Socket) *atomic.Pointer[conn] {
	chunks := t.chunks.Load()
	if chunks == nil || int(s/chunkSockets) >= len(*chunks) {
		return nil
	}
	return &(*chunks)[s/chunkSockets][s%chunkSockets]
}
