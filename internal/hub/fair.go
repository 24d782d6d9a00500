package hub

import "sync"

// fair decides whose work a walker does next: the one place where tenants meet. It is deficit
// round robin with a head start for who was quiet (as FQ-CoDel, RFC 8290 §4.1, does it for
// packets). Each tenant has a turn of fairTurn visits and then goes to the end of the line; one
// that had nothing to do comes before those who have been at it. So a small tenant's message
// waits for one turn of each other newcomer at most, however much a large tenant has to send.
// Within a tenant continued connections and small rooms come before large ones.
type fair struct {
	mu    sync.Mutex // guards all fields, and those of lanes
	lanes map[uint32]*lane
	fresh queue[*lane] // had nothing to do until now
	busy  queue[*lane] // have had a turn since
}

// lane is the work of one tenant in one shard.
type lane struct {
	tenant uint32
	credit int  // visits left of its turn
	listed bool // in fresh or busy

	conns       queue[uint32] // connections with more to write than a turn of theirs takes
	small, bulk queue[*part]
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

func (f *fair) init() { f.lanes = make(map[uint32]*lane) }

// lane returns the tenant's lane, in line. The caller holds f.mu and adds work to it.
func (f *fair) lane(tenant uint32) *lane {
	l := f.lanes[tenant]
	if l == nil {
		l = &lane{tenant: tenant}
		f.lanes[tenant] = l
	}
	if !l.listed {
		l.listed, l.credit = true, fairTurn
		f.fresh.push(l)
	}
	return l
}

func (f *fair) pushConn(tenant, slot uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lane(tenant).conns.push(slot)
}

func (f *fair) pushPart(p *part, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.lane(p.tenant); first {
		l.small.push(p)
	} else {
		l.bulk.push(p)
	}
}

// pop takes what is next: a connection, a part, or nothing.
func (f *fair) pop() (conn uint32, p *part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		line := &f.fresh
		if line.empty() {
			line = &f.busy
		}
		if line.empty() {
			return 0, nil
		}
		l := line.items[line.at]
		if conn, p = l.take(); conn != 0 || p != nil {
			return conn, p
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

// take takes the tenant's next work, if its turn lasts.
func (l *lane) take() (conn uint32, p *part) {
	switch {
	case l.credit <= 0:
	case !l.conns.empty():
		conn = l.conns.pop()
		l.credit--
	case !l.small.empty():
		p = l.small.pop()
		l.credit -= p.visits()
	case !l.bulk.empty():
		p = l.bulk.pop()
		l.credit -= walkSlice
	}
	return conn, p
}

func (l *lane) empty() bool { return l.conns.empty() && l.small.empty() && l.bulk.empty() }

// visits is about how many connections the next slice of a lap meets.
func (p *part) visits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, min(len(p.list), walkSlice))
}
