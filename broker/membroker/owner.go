package membroker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/netra-systems/switchboard/broker"
)

// owners are all who own topics, with nobody among them, the zero Key's.
type owners struct {
	bytes   atomic.Int64 // kept of all of them
	open    atomic.Int64 // of it, of texts that are open
	writers atomic.Int64 // how many of them have texts that are open

	room sync.Mutex // of who makes room for all; guards rest
	rest time.Time  // until when nobody tries, because what is left must not leave

	mu sync.Mutex // guards of; taken after a partition's lock
	of map[broker.Key]*owner
}

// owner is what is kept of one owner in all partitions.
type owner struct {
	key     broker.Key    // immutable
	in      atomic.Uint64 // a bit for each partition with topics of it
	most    atomic.Int64
	bytes   atomic.Int64
	open    atomic.Int64 // of it, of texts that are open
	empties atomic.Int64 // topics of which nothing is kept
	evicted atomic.Uint64

	room sync.Mutex // of who makes room; taken before a partition's lock
}

// share is what a partition has of an owner. It exists as long as a topic does.
type share struct {
	of             *owner
	topics         uint32
	oldest, newest ref    // blocks that may leave, in the order of their newest
	emptied, last  uint32 // topics of which nothing is kept, in the order in which that came
	empties        uint32
}

// What records cost beside the blocks of the pool, with their places in maps.
const (
	topicBytes  = int64(unsafe.Sizeof(topic{})) + 48
	streamBytes = int64(unsafe.Sizeof(stream{})) + 64
	blockBytes  = int64(unsafe.Sizeof(block{}))
)

// What a block in an owner's list is of: the slot of a topic or a stream, times 4,
// and one of these.
const (
	ofLog = 1 + iota
	ofLatest
	ofText // the first block of a text that is not open, for all of it
)

// shareOf returns the slot of what p has of an owner, made if there is none.
func (p *partition) shareOf(key broker.Key) uint32 {
	if slot := p.owners[key]; slot != 0 {
		return slot
	}
	slot := p.shares.take()
	p.shares.at(slot).of = p.shared.owners.enter(key, p.bit)
	p.owners[key] = slot
	return slot
}

// enter returns an owner for a partition that has a topic of it.
func (o *owners) enter(key broker.Key, bit uint64) *owner {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.of[key]
	if of == nil {
		of = &owner{key: key}
		o.of[key] = of
	}
	of.in.Or(bit)
	return of
}

// leave is called by a partition that has no topic of an owner any more. It forgets one of which
// there are none at all.
func (o *owners) leave(of *owner, bit uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if of.in.And(^bit) == bit {
		delete(o.of, of.key)
	}
}

// find returns an owner, nil if it has no topics.
func (o *owners) find(key broker.Key) *owner {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of[key]
}

// enlist makes a topic, which has nothing, one of an owner's.
func (p *partition) enlist(t *topic, key broker.Key) {
	t.share = p.shareOf(key)
	p.shares.at(t.share).topics++
	p.charge(t.share, topicBytes)
}

// unlist is the reverse.
func (p *partition) unlist(t *topic) {
	p.charge(t.share, -topicBytes)
	s := p.shares.at(t.share)
	if s.topics--; s.topics == 0 {
		delete(p.owners, s.of.key)
		p.shared.owners.leave(s.of, p.bit)
		p.shares.put(t.share)
	}
	t.share = 0
}

// own heeds what a record says of the owner of its topic.
func (p *partition) own(t *topic, slot uint32, o broker.Owner) {
	if of := p.shares.at(t.share).of; of.key == (broker.Key{}) && o.Key != of.key {
		p.adopt(t, slot, o.Key)
	}
	if of := p.shares.at(t.share).of; of.key == o.Key && of.most.Load() != o.Bytes {
		of.most.Store(o.Bytes)
	}
}

// adopt gives nobody's topic, with all that it has, an owner.
func (p *partition) adopt(t *topic, slot uint32, key broker.Key) {
	p.fill(t, slot)
	each := func(do func(r ref)) {
		for _, ch := range []chain{t.log, t.latest} {
			for r := ch.oldest; r != 0; {
				b, _ := p.pool.at(r)
				next := b.next
				do(r)
				r = next
			}
		}
	}
	each(func(r ref) { p.leave(t.share, r) })
	var open []uint32
	for i := t.texts; i != 0; i = p.texts.records.at(i).next {
		if s := p.texts.records.at(i); s.open {
			open = append(open, i)
		}
	}
	for _, i := range open {
		p.setOpen(i, false)
	}
	var texts []ref
	for i := t.texts; i != 0; i = p.texts.records.at(i).next {
		s := p.texts.records.at(i)
		p.pull(t.share, s.text.oldest)
		p.charge(t.share, -s.kept)
		texts = append(texts, s.text.oldest)
	}
	p.unlist(t)
	p.enlist(t, key)
	each(func(r ref) {
		b, _ := p.pool.at(r)
		at := b.newest // by which it expires
		p.enter(t.share, r)
		b.newest = at
	})
	for _, r := range texts {
		b, _ := p.pool.at(r)
		p.charge(t.share, p.texts.records.at(b.of>>2).kept)
		p.push(t.share, r)
	}
	for _, i := range open {
		p.setOpen(i, true)
	}
}

// charge counts n bytes more for an owner.
func (p *partition) charge(share uint32, n int64) {
	p.shares.at(share).of.bytes.Add(n)
	p.shared.owners.bytes.Add(n)
}

// chargeOpen counts n bytes more, which are counted already, as those of open texts.
func (p *partition) chargeOpen(share uint32, n int64) {
	if n == 0 {
		return
	}
	all := &p.shared.owners
	all.open.Add(n)
	switch now := p.shares.at(share).of.open.Add(n); {
	case now == n:
		all.writers.Add(1)
	case now == 0:
		all.writers.Add(-1)
	}
}

// enter counts a block and puts it behind all others of its owner.
func (p *partition) enter(share uint32, r ref) {
	p.charge(share, p.pool.cost(r))
	p.push(share, r)
}

// leave is the reverse, for who frees the block next.
func (p *partition) leave(share uint32, r ref) {
	p.charge(share, -p.pool.cost(r))
	p.pull(share, r)
}

// push puts a block behind all others of its owner: it has the newest of all.
func (p *partition) push(share uint32, r ref) {
	s := p.shares.at(share)
	b, _ := p.pool.at(r)
	b.newest, b.older, b.newer = p.clock, s.newest, 0
	if s.newest == 0 {
		s.oldest = r
	} else {
		last, _ := p.pool.at(s.newest)
		last.newer = r
	}
	s.newest = r
}

// pull takes a block out of its owner's list.
func (p *partition) pull(share uint32, r ref) {
	s := p.shares.at(share)
	b, _ := p.pool.at(r)
	if b.older == 0 {
		s.oldest = b.newer
	} else {
		o, _ := p.pool.at(b.older)
		o.newer = b.newer
	}
	if b.newer == 0 {
		s.newest = b.older
	} else {
		n, _ := p.pool.at(b.newer)
		n.older = b.older
	}
}

// touch is for a block that something was added to.
func (p *partition) touch(share uint32, r ref) {
	if p.shares.at(share).newest == r {
		b, _ := p.pool.at(r)
		b.newest = p.clock
		return
	}
	p.pull(share, r)
	p.push(share, r)
}

// settle notes whether anything is kept of a topic.
func (p *partition) settle(t *topic, slot uint32) {
	if t.log.oldest == 0 && t.latest.oldest == 0 && t.texts == 0 {
		p.empty(t, slot)
	} else {
		p.fill(t, slot)
	}
}

// empty puts a topic behind all others of its owner of which nothing is kept.
func (p *partition) empty(t *topic, slot uint32) {
	if t.bare {
		return
	}
	s := p.shares.at(t.share)
	t.bare, t.prev, t.next = true, s.last, 0
	if s.last == 0 {
		s.emptied = slot
	} else {
		p.records.at(s.last).next = slot
	}
	s.last = slot
	s.empties++
	s.of.empties.Add(1)
}

// fill takes it out again.
func (p *partition) fill(t *topic, slot uint32) {
	if !t.bare {
		return
	}
	s := p.shares.at(t.share)
	if t.prev == 0 {
		s.emptied = t.next
	} else {
		p.records.at(t.prev).next = t.next
	}
	if t.next == 0 {
		s.last = t.prev
	} else {
		p.records.at(t.next).prev = t.prev
	}
	t.bare, t.prev, t.next = false, 0, 0
	s.empties--
	s.of.empties.Add(-1)
}

// Kept tells what is kept of an owner's topics, exactly.
func (b *Broker) Kept(ctx context.Context, key broker.Key) (broker.Kept, error) {
	if err := b.ready(ctx, "kept"); err != nil {
		return broker.Kept{}, err
	}
	o := b.shared.owners.find(key)
	if o == nil {
		return broker.Kept{}, nil
	}
	return broker.Kept{Bytes: o.bytes.Load(), Evicted: o.evicted.Load()}, nil
}
