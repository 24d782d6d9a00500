package quota

import "sync"

// Gate bounds how many of each key are under way at once. All methods may be called concurrently.
// A nil Gate has no bound.
type Gate[K comparable] struct {
	most int

	mu sync.Mutex // guards of
	of map[K]int  // how many are under way, of keys that have any
}

// NewGate makes a gate that lets most of each key in at once. It returns nil, no bound, if most is
// not above 0.
func NewGate[K comparable](most int) *Gate[K] {
	if most <= 0 {
		return nil
	}
	return &Gate[K]{most: most, of: make(map[K]int)}
}

// Enter lets one more of key in, if there is a place. The caller calls leave at its end, once.
func (g *Gate[K]) Enter(key K) (leave func(), ok bool) {
	if g == nil {
		return func() {}, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[key] >= g.most {
		return nil, false
	}
	g.of[key]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.of[key]--; g.of[key] == 0 {
			delete(g.of, key)
		}
	}, true
}

// Most is how many of a key are let in at once; 0: there is no bound.
func (g *Gate[K]) Most() int {
	if g == nil {
		return 0
	}
	return g.most
}
