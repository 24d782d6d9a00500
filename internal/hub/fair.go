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
	fresh []*lane // had nothing to do until now, first come first served
	busy  []*lane // have had a turn since
}

// lane is the work of one tenant in one shard.
type lane struct {
	tenant uint32
	credit int  // visits left of its turn
	listed bool // in fresh or busy

	// First in first out.
	conns       []uint32 // connections with more to write than a turn of theirs takes
	small, bulk []*part
}

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
		f.fresh = append(f.fresh, l)
	}
	return l
}

func (f *fair) pushConn(tenant, slot uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lane(tenant)
	l.conns = append(l.conns, slot)
}

func (f *fair) pushPart(p *part, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.lane(p.tenant); first {
		l.small = append(l.small, p)
	} else {
		l.bulk = append(l.bulk, p)
	}
}

// pop takes what is next: a connection, a part, or nothing.
func (f *fair) pop() (conn uint32, p *part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		line := &f.fresh
		if len(*line) == 0 {
			line = &f.busy
		}
		if len(*line) == 0 {
			f.fresh, f.busy = nil, nil
			return 0, nil
		}
		l := (*line)[0]
		if conn, p = l.take(); conn != 0 || p != nil {
			return conn, p
		}
		(*line)[0] = nil
		*line = (*line)[1:]
		switch {
		case l.credit <= 0 && !l.empty():
			l.credit += fairTurn
			f.busy = append(f.busy, l)
		case line == &f.fresh && len(f.busy) > 0:
			// Not forgotten yet: else it could come back as a newcomer for ever.
			f.busy = append(f.busy, l)
		default:
			l.listed = false
		}
	}
}

// take takes the tenant's next work, if its turn lasts.
func (l *lane) take() (conn uint32, p *part) {
	switch {
	case l.credit <= 0:
	case len(l.conns) > 0:
		conn = l.conns[0]
		l.conns = l.conns[1:]
		l.credit--
	case len(l.small) > 0:
		p = first(&l.small)
		l.credit -= p.visits()
	case len(l.bulk) > 0:
		p = first(&l.bulk)
		l.credit -= walkSlice
	}
	return conn, p
}

func (l *lane) empty() bool { return len(l.conns)+len(l.small)+len(l.bulk) == 0 }

// first takes the first part of a queue.
func first(queue *[]*part) *part {
	p := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return p
}

// visits is about how many connections the next slice of a lap meets.
func (p *part) visits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, min(len(p.list), walkSlice))
}
