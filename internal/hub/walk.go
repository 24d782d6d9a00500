package hub

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/yield"
)

// walkSlice is how many followers a walker visits before others have their turn.
const walkSlice = 256

// walkTime is how long a walker works before all others have theirs.
const walkTime = 250 * time.Microsecond

// fan is how a room, or all, reaches its followers: a list per shard.
type fan struct {
	parts []part // nil: unused; replaced, never resized, so that a walker may still hold one
}

func (f *fan) reset() { f.parts = nil }

// part is the followers of one topic in one shard. The walker of the shard
// alone moves elements of the list: it goes from the end down and drops the
// dead as it meets them.
type part struct {
	topic  uint32 // slot
	shard  int
	tenant uint32
	all    bool // every connection of the shard may follow; there is no list

	mu   sync.Mutex // guards list and dead
	list []follower
	dead int // unfollowed, still in the list

	state atomic.Uint32 // partIdle, …
	clean atomic.Uint64 // up to here every follower had everything when last walked

	// The walker's own, while state is partWalking or partAgain.
	at      int // next to visit is the one before
	lagging int
	head    uint64 // of the topic when the lap began
}

// follower is an item of a list: a connection, and the tag that its cursor has
// as long as the item is good.
type follower struct{ slot, tag uint32 }

// States of a part. Whoever appends to the topic marks its parts afterwards; a
// mark during a lap causes one more.
const (
	partIdle = iota
	partQueued
	partWalking
	partAgain
)

// fanOf returns the fan of a topic, made if need be. The caller holds rec.mu.
func (h *Hub) fanOf(slot uint32, rec *topic) *fan {
	if rec.fan == 0 {
		rec.fan = h.fans.get()
		f := h.fans.at(rec.fan)
		f.parts = make([]part, len(h.shards))
		for i := range f.parts {
			p := &f.parts[i]
			p.topic, p.shard, p.tenant, p.all = slot, i, rec.tenant, rec.kind == kindAll
		}
	}
	return h.fans.at(rec.fan)
}

// mark makes sure that a lap begins after now.
func (h *Hub) mark(p *part) {
	for {
		switch p.state.Load() {
		case partIdle:
			if p.state.CompareAndSwap(partIdle, partQueued) {
				h.shards[p.shard].push(p, !p.large())
				return
			}
		case partWalking:
			if p.state.CompareAndSwap(partWalking, partAgain) {
				return
			}
		default:
			return
		}
	}
}

func (p *part) large() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all || len(p.list) > walkSlice
}

func (p *part) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.all && len(p.list) == 0
}

// shard is the work of one walker: every connection belongs to one shard, so
// that at most one walker is at a connection.
type shard struct {
	wake chan struct{} // capacity 1
	work fair[step]
}

// step is what a walker does next: one of both.
type step struct {
	conn uint32 // a connection with more to write than a turn of its takes
	part *part  // a slice of a lap
}

// Ranks of steps: within a tenant continued connections and small rooms come before large ones.
const (
	stepConn = iota
	stepSmall
	stepBulk
)

// visits is about how many connections a step meets.
func (s step) visits(rank int) int {
	switch rank {
	case stepConn:
		return 1
	case stepBulk:
		return walkSlice
	}
	s.part.mu.Lock()
	defer s.part.mu.Unlock()
	return max(1, min(len(s.part.list), walkSlice))
}

func (s *shard) init() {
	s.wake = make(chan struct{}, 1)
	s.work.init(func(rank int, next step) int { return next.visits(rank) })
}

func (s *shard) push(p *part, first bool) {
	rank := stepBulk
	if first {
		rank = stepSmall
	}
	s.work.push(p.tenant, rank, step{part: p})
	s.poke()
}

func (s *shard) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (h *Hub) shardOf(slot uint32) int { return int(slot) % len(h.shards) }

// continueLater lets the walker go on with a connection of a tenant whose turn is over.
func (h *Hub) continueLater(tenant, slot uint32) {
	s := &h.shards[h.shardOf(slot)]
	s.work.push(tenant, stepConn, step{conn: slot})
	s.poke()
}

// tenantOf is the tenant's number of a connection whose lock the caller holds.
func (h *Hub) tenantOf(rec *conn) uint32 {
	if rec.flags&connDead != 0 {
		return 0 // its topics may be others' by now
	}
	return h.topics.at(rec.user).tenant
}

func (h *Hub) walkLoop(i int) {
	sh, s := &h.shards[i], new(scratch)
	pace := yield.NewPace(walkTime)
	defer pace.Close()
	for {
		pace.Step()
		next, ok := sh.work.pop()
		switch {
		case next.conn != 0:
			h.visit(s, next.conn, 0, 0)
		case ok:
			h.walk(s, next.part)
		default:
			s.memo = memo{} // an idle walker keeps no frame alive
			select {
			case <-h.ctx.Done():
				return
			case <-sh.wake:
			}
			pace.Begin()
		}
		if h.ctx.Err() != nil {
			return
		}
	}
}

// walk does one slice of a lap.
func (h *Hub) walk(s *scratch, p *part) {
	t := h.topics.at(p.topic)
	if p.state.CompareAndSwap(partQueued, partWalking) {
		p.begin(h, t)
	}
	if p.all {
		h.walkTable(s, p)
	} else {
		h.walkList(s, p)
	}
	if p.at > 0 {
		h.shards[p.shard].push(p, false)
		return
	}
	if p.lagging == 0 {
		p.clean.Store(p.head)
		h.trimFan(t)
	}
	if p.state.CompareAndSwap(partWalking, partIdle) {
		return
	}
	p.state.Store(partWalking) // marked meanwhile: one more lap
	p.begin(h, t)
	h.shards[p.shard].push(p, !p.large())
}

// begin starts a lap. Its head is read before anybody is visited.
func (p *part) begin(h *Hub, t *topic) {
	p.head, p.lagging = t.head.Load(), 0
	if p.all {
		p.at = int(h.conns.limit())
		return
	}
	p.mu.Lock()
	p.at = len(p.list)
	p.mu.Unlock()
}

// walkList visits the next followers of a room.
func (h *Hub) walkList(s *scratch, p *part) {
	p.mu.Lock()
	high := min(p.at, len(p.list))
	low := max(0, high-walkSlice)
	s.list = append(s.list[:0], p.list[low:high]...)
	p.mu.Unlock()
	gone := s.slots[:0]
	for i := len(s.list) - 1; i >= 0; i-- {
		follows, current := h.visit(s, s.list[i].slot, p.topic, s.list[i].tag)
		if !follows {
			gone = append(gone, uint32(low+i))
		} else if !current {
			p.lagging++
		}
	}
	if len(gone) > 0 {
		p.mu.Lock()
		for _, i := range gone { // from the end down, so what moves in was visited or came later
			last := len(p.list) - 1
			p.list[i] = p.list[last]
			p.list = p.list[:last]
			p.dead--
		}
		if len(p.list) == 0 {
			p.list = nil
		}
		p.mu.Unlock()
	}
	s.slots = gone[:0]
	p.at = low
}

// walkTable visits the next connections of the shard, for a topic that all of
// a tenant follow.
func (h *Hub) walkTable(s *scratch, p *part) {
	low := max(0, p.at-walkSlice*len(h.shards))
	for i := p.at - 1; i >= max(low, 1); i-- {
		if h.shardOf(uint32(i)) != p.shard {
			continue
		}
		if follows, current := h.visit(s, uint32(i), p.topic, 0); follows && !current {
			p.lagging++
		}
	}
	p.at = low
}

// visit flushes a connection and reports whether it follows the topic (with
// that tag), and whether it has all of it. A connection that somebody else is
// at is left to them: then it is taken to follow and to lag.
func (h *Hub) visit(s *scratch, slot, topicSlot, tag uint32) (follows, current bool) {
	rec := h.conns.at(slot)
	rec.wake.Store(1)
	follows = true
	for rec.wake.Load() != 0 && rec.mu.TryLock() {
		rec.wake.Store(0)
		more := h.flush(s, rec, slot)
		follows, current = h.follows(rec, topicSlot, tag)
		tenant := h.tenantOf(rec)
		rec.mu.Unlock()
		h.settle(s)
		if more {
			h.continueLater(tenant, slot)
			break
		}
		if mutantWakeup {
			break
		}
	}
	return follows, current
}

// follows looks for the cursor of a topic. The caller holds rec.mu.
func (h *Hub) follows(rec *conn, topicSlot, tag uint32) (follows, current bool) {
	if topicSlot == 0 || rec.flags&connDead != 0 {
		return false, false
	}
	var at *cursor
	switch {
	case tag == 0 && rec.all == topicSlot:
		at = &rec.allAt
	case rec.room.topic == topicSlot && rec.room.tag == tag:
		at = &rec.room.at
	case rec.more != 0:
		for i, f := range h.more.at(rec.more).list {
			if f.topic == topicSlot && f.tag == tag {
				at = &h.more.at(rec.more).list[i].at
			}
		}
	}
	if at == nil {
		return false, false
	}
	t := h.topics.at(topicSlot)
	return true, at.offset >= t.head.Load() && at.epoch == t.epoch.Load() && h.boardRead(rec, topicSlot, t)
}

// trimFan drops what every follower has from the window of a topic.
func (h *Hub) trimFan(t *topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fan == 0 || t.window == 0 {
		return
	}
	low := uint64(math.MaxUint64)
	parts := h.fans.at(t.fan).parts
	for i := range parts {
		if p := &parts[i]; !p.empty() {
			low = min(low, p.clean.Load())
		}
	}
	if low < math.MaxUint64 {
		h.trim(t, low)
	}
}
