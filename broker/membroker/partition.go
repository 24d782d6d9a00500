package membroker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// partition is the part of the log whose topics have a key of the same kind, with
// what belongs to them: texts, and Store items placed with them.
type partition struct {
	shared *engine // immutable
	bit    uint64  // of this partition among all; immutable

	mu       sync.Mutex // guards the fields below; not held while delivering
	topics   map[broker.Key]uint32
	records  slab[topic]
	owners   map[broker.Key]uint32 // slots of shares
	shares   slab[share]
	texts    texts
	store    store
	pool     pool
	dedupe   dedupe
	chaos    chaos
	draining bool                    // somebody delivers, or the partition is in handoff
	pending  []delivery              // in order
	spare    []delivery              // empty, to be used again
	waiting  int                     // bytes in pending
	missed   map[broker.Key]struct{} // topics with deliveries that pending had no room for
	clock    int64                   // nanoseconds since the log began, when mu was taken to write
	gone     forgotten               // topics that were never dropped
	dropped  forgotten               // topics that were
	floor    uint64                  // no forgotten topic had a higher offset
	gens     uint32                  // nor was one dropped more often
}

func (p *partition) init(e *engine, opts Options, seed uint64) {
	p.shared, p.bit = e, 1<<seed
	p.topics = map[broker.Key]uint32{}
	p.owners = map[broker.Key]uint32{}
	p.texts.slots = map[textID]uint32{}
	p.dedupe.window = max(1, opts.Dedupe.Milliseconds())
	p.dedupe.most = max(1, opts.DedupeIDs/partitions/2)
	p.chaos = newChaos(opts.Chaos, seed)
}

// A value of topics is one of two things. A topic that was published to has a
// record; its value is the slot, times 2. One that is only followed, as most are
// that belong to an idle user, needs no more than its follow mask: times 2, plus 1.
const maskBits = 31

// find returns the slot of a topic's record, 0 if it has none.
func (p *partition) find(key broker.Key) uint32 {
	v := p.topics[key]
	if v&1 != 0 {
		return 0
	}
	return v >> 1
}

// tick sets the partition's clock and returns it in milliseconds.
func (p *partition) tick() int64 {
	p.clock = time.Since(p.shared.start).Nanoseconds()
	return p.clock / int64(time.Millisecond)
}

// record returns a topic's record and slot; it makes one for an owner if there is none.
func (p *partition) record(key, owner broker.Key) (*topic, uint32) {
	v := p.topics[key]
	if v&1 == 0 && v != 0 {
		return p.records.at(v >> 1), v >> 1
	}
	slot := p.records.take()
	p.topics[key] = slot << 1
	t := p.records.at(slot)
	*t = p.unknown(key)
	t.follow = v >> 1
	p.enlist(t, owner)
	return t, slot
}

// unknown returns what is to be told of a topic that has no record.
func (p *partition) unknown(key broker.Key) topic {
	switch {
	case p.dropped.has(key):
		return topic{key: key, head: p.floor, first: p.floor + 1, gen: p.gens, again: true}
	case p.gone.has(key):
		return topic{key: key, head: p.floor, first: p.floor + 1, again: true}
	}
	return topic{key: key, first: 1}
}

// mask returns who follows a topic.
func (p *partition) mask(key broker.Key) uint32 {
	v := p.topics[key]
	if v&1 == 0 && v != 0 {
		return p.records.at(v >> 1).follow
	}
	return v >> 1
}

// follow sets or clears a node's bit for a topic.
func (p *partition) follow(key broker.Key, bit uint32, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.topics[key]
	if v&1 == 0 && v != 0 {
		t := p.records.at(v >> 1)
		t.follow = with(t.follow, bit, on)
		return
	}
	if v == 0 && on && p.unknown(key).again { // floor may rise, and who follows must not think that something was missed
		t, slot := p.record(key, broker.Key{})
		t.follow = bit
		p.settle(t, slot)
		return
	}
	if m := with(v>>1, bit, on); m != 0 {
		p.topics[key] = m<<1 | 1
	} else {
		delete(p.topics, key)
	}
}

// forget clears a node's bit everywhere.
func (p *partition) forget(slot int) {
	if slot >= maskBits {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, v := range p.topics {
		if v&1 == 0 {
			t := p.records.at(v >> 1)
			t.follow = with(t.follow, 1<<slot, false)
		} else if m := with(v>>1, 1<<slot, false); m != 0 {
			p.topics[key] = m<<1 | 1
		} else {
			delete(p.topics, key)
		}
	}
}

func with(mask, bit uint32, on bool) uint32 {
	if on {
		return mask | bit
	}
	return mask &^ bit
}

// Follow waits until a Run is active; from then on topics are delivered to it.
func (b *Broker) Follow(ctx context.Context, topics ...broker.Key) error {
	if err := b.awaitRun(ctx); err != nil {
		return err
	}
	b.mark(topics, true)
	return nil
}

// awaitRun returns nil once a Run is active.
func (b *Broker) awaitRun(ctx context.Context) error {
	for {
		if err := b.ready(ctx, "follow"); err != nil {
			return err
		}
		b.mu.Lock()
		active, started := b.run != nil, b.started
		b.mu.Unlock()
		if active {
			return nil
		}
		select {
		case <-started:
		case <-ctx.Done():
			return fmt.Errorf("follow: %w", ctx.Err())
		}
	}
}

// Unfollow ends the delivery of topics, except to nodes beyond the 31st, which
// get everything.
func (b *Broker) Unfollow(ctx context.Context, topics ...broker.Key) error {
	if err := b.ready(ctx, "unfollow"); err != nil {
		return err
	}
	b.mark(topics, false)
	return nil
}

func (b *Broker) mark(topics []broker.Key, on bool) {
	if b.slot >= maskBits {
		return
	}
	for _, key := range topics {
		b.shared.of(key).follow(key, 1<<b.slot, on)
	}
}
