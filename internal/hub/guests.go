package hub

import "sync"

// guests counts the connections that take no place of their tenant, by its topic for all. Next to
// always it is empty.
type guests struct {
	mu sync.Mutex // guards of; taken behind the lock of a topic
	of map[uint32]int
}

func (g *guests) add(all uint32, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = make(map[uint32]int)
	}
	if g.of[all] += n; g.of[all] == 0 {
		delete(g.of, all)
	}
}

// counted returns how many of those that follow a topic for all take a place of the tenant. The caller
// holds its lock.
func (g *guests) counted(slot uint32, all *topic) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(all.count) - g.of[slot]
}

// Places returns how many connections take a place of the tenant whose topic for all key is.
func (h *Hub) Places(key Key) int {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return 0
	}
	defer rec.mu.Unlock()
	return h.guests.counted(slot, rec)
}
