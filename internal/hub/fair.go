package hub

import "sync"

// fair decides whose work is done next: the one place where tenants meet, of walkers and of those
// who read logs. It is deficit round robin with a head start for who was quiet (as FQ-CoDel,
// RFC 8290 §4.1, does it for packets). Each tenant has a turn of fairTurn visits and then goes to
// the end of the line; one that had nothing to do comes before those who have been at it. So a
// small tenant's message waits for one turn of each other newcomer at most, however much a large
// tenant has to send, and its returning client for one reading of each, however many cursors of a
// large tenant are behind.
type fair[W any] struct {
	cost func(rank int, work W) int // in visits; never changes

	mu    sync.Mutex // guards the fields below, and those of lanes
	lanes map[uint32]*lane[W]
	fresh queue[*lane[W]] // had nothing to do until now
	busy  queue[*lane[W]] // have had a turn since
}

// ranks are how many sorts of work a tenant has. What is of a lower one comes first.
const ranks = 3

// lane is the work of one tenant in one line.
type lane[W any] struct {
	tenant uint32
	credit int  // visits left of its turn
	listed bool // in fresh or busy
	work   [ranks]queue[W]
}

// queue is first in, first out. It uses its memory again.
type queue[T any] struct {
	items []T
	at    int // the next one
}

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) empty() bool { return q.at == len(q.items) }

// pop takes the next one, which must be there.
func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.at]
	q.items[q.at] = zero
	q.at++
	switch {
	case q.empty() && cap(q.items) > 1024:
		q.items, q.at = nil, 0 // a burst's memory is not kept
	case q.empty():
		q.items, q.at = q.items[:0], 0
	case q.at > len(q.items)/2 && q.at > 32: // or a queue that never is empty would grow for ever
		n := copy(q.items, q.items[q.at:])
		clear(q.items[n:])
		q.items, q.at = q.items[:n], 0
	}
	return v
}

// idleLanes is how many lanes are kept although some have nothing to do.
const idleLanes = 256

// fairTurn is how many visits a tenant's turn is.
const fairTurn = walkSlice

func (f *fair[W]) init(cost func(rank int, work W) int) {
	f.cost, f.lanes = cost, make(map[uint32]*lane[W])
}

// push adds work of a tenant behind what it has of the same rank.
func (f *fair[W]) push(tenant uint32, rank int, work W) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[tenant]
	if l == nil {
		l = &lane[W]{tenant: tenant}
		f.lanes[tenant] = l
	}
	if !l.listed {
		l.listed, l.credit = true, fairTurn
		f.fresh.push(l)
	}
	l.work[rank].push(work)
}

// pop takes what is next; ok is false if there is nothing.
func (f *fair[W]) pop() (work W, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		line := &f.fresh
		if line.empty() {
			line = &f.busy
		}
		if line.empty() {
			return work, false
		}
		l := line.items[line.at]
		if work, ok = f.take(l); ok {
			return work, true
		}
		line.pop()
		switch {
		case l.credit <= 0 && !l.empty():
			l.credit += fairTurn
			f.busy.push(l)
		case line == &f.fresh && !f.busy.empty():
			// Not forgotten yet: else it could come back as a newcomer for ever.
			f.busy.push(l)
		default:
			l.listed = false
			if len(f.lanes) > idleLanes { // tenants come and go
				delete(f.lanes, l.tenant)
			}
		}
	}
}

// take takes the tenant's next work, if its turn lasts. The caller holds f.mu.
func (f *fair[W]) take(l *lane[W]) (work W, ok bool) {
	if l.credit <= 0 {
		return work, false
	}
	for rank := range l.work {
		if q := &l.work[rank]; !q.empty() {
			work = q.pop()
			l.credit -= f.cost(rank, work)
			return work, true
		}
	}
	return work, false
}

func (l *lane[W]) empty() bool {
	for rank := range l.work {
		if !l.work[rank].empty() {
			return false
		}
	}
	return true
}

// drop forgets all work.
func (f *fair[W]) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.lanes)
	f.fresh, f.busy = queue[*lane[W]]{}, queue[*lane[W]]{}
}
