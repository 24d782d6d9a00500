package membroker

import (
	"math"
	"math/bits"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// emptyShare is the share, one in so many, of what an owner may have that topics take
// at most of which nothing is kept. Beyond it they are forgotten.
const emptyShare = 8

// How many topics a partition forgets while it is locked, and how many it looks at in vain: of
// some more must be known, and one who has many of those must not cost time for it.
const (
	forgetOnce = 1024
	forgetVain = 16
)

// roomRest is for how long nobody makes room for all after that was in vain.
const roomRest = 100 * time.Millisecond

// slack is how much more than is needed leaves, so that looking for what leaves is
// done once in a while only.
func slack(most int64) int64 { return min(most/64, 1<<20) }

// makeRoom is called by who has written for an owner, without any lock; nil: nothing
// was written. When it returns nobody has more than he may, but for what others are
// writing and what must not leave.
func (e *engine) makeRoom(o *owner) {
	if o == nil {
		return
	}
	if most := o.most.Load(); most > 0 && o.bytes.Load() > most {
		e.shrink(o, most, most-slack(most))
	}
	if e.owners.bytes.Load() > e.history {
		e.makeRoomForAll()
	}
}

// makeRoomForAll takes from those who have most.
func (e *engine) makeRoomForAll() {
	all := &e.owners
	all.room.Lock()
	defer all.room.Unlock()
	if all.bytes.Load() <= e.history || time.Now().Before(all.rest) {
		return
	}
	most := e.history - slack(e.history)
	list := all.holdings()
	level := levelOf(list, most)
	for _, h := range list {
		if h.bytes > max(level, h.open) {
			e.shrink(h.of, level, level)
		}
	}
	if all.bytes.Load() > e.history {
		all.rest = time.Now().Add(roomRest)
	}
}

// holding is what one owner has.
type holding struct {
	of          *owner
	bytes, open int64
}

func (o *owners) holdings() []holding {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]holding, 0, len(o.of))
	for _, of := range o.of {
		list = append(list, holding{of, of.bytes.Load(), of.open.Load()})
	}
	return list
}

// levelOf returns how much each may keep at most, besides texts that are open, so that
// all together have no more than most: who has less keeps all.
func levelOf(list []holding, most int64) int64 {
	if mutantLevel {
		return 0
	}
	var low, high int64
	for _, h := range list {
		high = max(high, h.bytes)
	}
	for high-low > 1 {
		level := low + (high-low)/2
		sum := int64(0)
		for _, h := range list {
			sum += max(h.open, min(h.bytes, level))
		}
		if sum > most {
			high = level
		} else {
			low = level
		}
	}
	return low
}

// front is the time of the block of an owner that has to leave first in a partition.
type front struct {
	of *partition
	at int64 // or a time that never comes
}

// shrink lets what came first of an owner who has more than most leave until target is
// reached, or nothing may leave any more.
func (e *engine) shrink(o *owner, most, target int64) {
	o.room.Lock()
	defer o.room.Unlock()
	if o.bytes.Load() <= most {
		return // somebody else has made room
	}
	var room [partitions]front
	fronts := room[:0]
	for in := o.in.Load(); in != 0; in &= in - 1 {
		p := &e.parts[bits.TrailingZeros64(in)]
		fronts = append(fronts, front{p, p.front(o, most/emptyShare/topicBytes)})
	}
	for len(fronts) > 0 && o.bytes.Load() > target {
		first, next := 0, int64(math.MaxInt64)
		for i, f := range fronts {
			switch {
			case f.at < fronts[first].at:
				first, next = i, fronts[first].at
			case i != first:
				next = min(next, f.at)
			}
		}
		if fronts[first].at == math.MaxInt64 {
			break
		}
		fronts[first].at = fronts[first].of.evict(o, target, next)
	}
	for _, f := range fronts {
		if o.bytes.Load() <= target {
			break
		}
		f.of.front(o, 0)
	}
}

// front returns the time of the block of an owner that has to leave first, or a time
// that never comes. It forgets some topics of which nothing is kept, if the owner has
// more than so many.
func (p *partition) front(o *owner, empties int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot := p.owners[o.key]; slot != 0 && o.empties.Load() > empties {
		p.forgetTopics(p.shares.at(slot))
	}
	return p.frontOf(o)
}

func (p *partition) frontOf(o *owner) int64 {
	slot := p.owners[o.key]
	if slot == 0 || p.shares.at(slot).oldest == 0 {
		return math.MaxInt64
	}
	b, _ := p.pool.at(p.shares.at(slot).oldest)
	return b.newest
}

// evict lets blocks of an owner leave that are not after a time, until the owner has
// reached target, and returns the time of the next one.
func (p *partition) evict(o *owner, target, until int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		at := p.frontOf(o)
		if at > until || at == math.MaxInt64 || o.bytes.Load() <= target {
			return at
		}
		o.evicted.Add(p.evictBlock(p.shares.at(p.owners[o.key]).oldest))
	}
}

// evictBlock frees a block that is the first in its owner's list, and returns how many
// records or texts were in it.
func (p *partition) evictBlock(r ref) (lost uint64) {
	b, _ := p.pool.at(r)
	slot := b.of >> 2
	if b.of&3 == ofText {
		p.removeText(slot)
		return 1
	}
	t := p.records.at(slot)
	if b.of&3 == ofLatest {
		p.dropLatest(t, r)
		lost = 1
	} else {
		lost = p.dropOldest(t)
	}
	p.settle(t, slot)
	return lost
}

// forgetTopics forgets a quarter of the topics of which nothing is kept, but for those of which
// more must be known: that are followed, or were dropped while ids of before are remembered. What
// is known of the others afterwards is that there were some, that none had an offset above floor,
// and none a generation above gens.
func (p *partition) forgetTopics(s *share) {
	now, vain := p.shared.now(), 0
	for n := min((s.empties+3)/4, forgetOnce); n > 0 && vain < forgetVain; n-- {
		slot := s.emptied
		t := p.records.at(slot)
		p.fill(t, slot)
		if t.follow != 0 || t.gen > 0 && now < t.dropped+p.dedupe.window {
			p.empty(t, slot)
			vain++
			continue
		}
		p.floor = max(p.floor, t.head)
		if t.gen > 0 {
			p.gens = max(p.gens, t.gen)
			p.dropped.add(t.key)
		} else {
			p.gone.add(t.key)
		}
		delete(p.topics, t.key)
		p.unlist(t) // with its last topic s is gone, and then n is 1
		p.records.put(slot)
	}
}

// fits reports whether n bytes more of texts that are open are within what the owner of
// a topic, 0 for one that has no record, may have of them.
func (p *partition) fits(topic uint32, n int64) bool {
	all := &p.shared.owners
	var most, open int64
	if topic != 0 {
		o := p.shares.at(p.records.at(topic).share).of
		most, open = o.most.Load(), o.open.Load()
	} else if o := all.find(broker.Key{}); o != nil {
		open = o.open.Load()
	}
	if most > 0 && open+n > most/2 {
		return false
	}
	if half := p.shared.history / 2; all.open.Load()+n > half {
		others := all.writers.Load()
		if open > 0 {
			others--
		}
		return open+n <= half/(others+1)
	}
	return true
}
