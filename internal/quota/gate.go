package quota

import (
	"context"
	"slices"
	"sync"
)

// Gate bounds how many of each key are under way at once. All methods may be called concurrently.
// A nil Gate has no bound.
type Gate[K comparable] struct {
	most int

	mu sync.Mutex // guards of
	of map[K]*gateKey
}

// gateKey is a key of which some are under way.
type gateKey struct {
	n       int
	waiting []chan struct{} // closed when its owner has a place; in order
}

// NewGate makes a gate that lets most of each key in at once. It returns nil, no bound, if most is
// not above 0.
func NewGate[K comparable](most int) *Gate[K] {
	if most <= 0 {
		return nil
	}
	return &Gate[K]{most: most, of: make(map[K]*gateKey)}
}

// Enter lets one more of key in, if there is a place. The caller calls leave at its end, once.
func (g *Gate[K]) Enter(key K) (leave func(), ok bool) {
	leave, turn := g.enter(key, false)
	return leave, turn == nil
}

// Wait is Enter that waits for a place, behind those that wait already, until ctx ends.
func (g *Gate[K]) Wait(ctx context.Context, key K) (leave func(), ok bool) {
	leave, turn := g.enter(key, true)
	if turn == nil {
		return leave, true
	}
	select {
	case <-turn:
		return leave, true
	case <-ctx.Done():
	}
	g.mu.Lock()
	k := g.of[key]
	i := slices.Index(k.waiting, turn)
	if i >= 0 {
		k.waiting = slices.Delete(k.waiting, i, i+1)
	}
	g.mu.Unlock()
	return leave, i < 0 // the place came first
}

// enter takes a place. If there is none turn is not nil, and is closed when there is one for who waits.
func (g *Gate[K]) enter(key K, wait bool) (leave func(), turn chan struct{}) {
	if g == nil {
		return func() {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.of[key]
	if k == nil {
		k = new(gateKey)
		g.of[key] = k
	}
	leave = func() { g.leave(key) }
	if k.n < g.most {
		k.n++
		return leave, nil
	}
	turn = make(chan struct{})
	if wait {
		k.waiting = append(k.waiting, turn)
	}
	return leave, turn
}

// leave gives a place to who has waited for the longest, or back.
func (g *Gate[K]) leave(key K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.of[key]
	if len(k.waiting) > 0 {
		close(k.waiting[0])
		k.waiting = slices.Delete(k.waiting, 0, 1)
		return
	}
	if k.n--; k.n == 0 {
		delete(g.of, key)
	}
}

// Most is how many of a key are let in at once; 0: there is no bound.
func (g *Gate[K]) Most() int {
	if g == nil {
		return 0
	}
	return g.most
}
