package membroker

import (
	"bytes"
	"context"
	"fmt"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Publish appends r and delivers it, in this goroutine unless another one is
// delivering in the same partition.
func (b *Broker) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	if err := b.ready(ctx, "publish"); err != nil {
		return broker.Published{}, err
	}
	if err := r.Check(); err != nil {
		return broker.Published{}, err
	}
	var id recordID
	if r.DedupeID != "" && r.Class != wire.Volatile && !mutantDedupe {
		id = b.shared.identify(r.Topic, r.DedupeID)
	}
	p := b.shared.of(r.Topic)
	p.mu.Lock()
	now := p.tick() // under the lock, so that it never falls within a topic
	done, of, err := p.publish(&r, id, now)
	batch := p.claim()
	watchers := p.store.changed()
	p.mu.Unlock()
	wakeAll(watchers)
	if batch != nil {
		p.drain(batch)
	}
	b.shared.makeRoom(of)
	if err != nil {
		return broker.Published{}, fmt.Errorf("publish: %w", err)
	}
	return done, nil
}

// publish does all of Publish that is one step, and returns who has more kept by it,
// or nil. p.mu is held.
func (p *partition) publish(r *broker.Record, id recordID, now int64) (broker.Published, *owner, error) {
	if r.Class == wire.Volatile {
		p.fanOut(r, p.mask(r.Topic), broker.Entry{At: p.shared.time(now)})
		return broker.Published{}, nil, nil
	}
	if id != (recordID{}) {
		if done, ok := p.repeated(r.Topic, id, now); ok {
			return done, nil, nil
		}
	}
	if r.Guard.Key != "" {
		if p.store.revision(p, r.Guard.Key, now) != r.Guard.Revision && !mutantGuard {
			return broker.Published{}, nil, broker.ErrFenced
		}
	}
	t, slot := p.record(r.Topic, r.Owner.Key)
	p.own(t, slot, r.Owner)
	var done broker.Published
	if r.Guard.Key != "" {
		done.Revision = r.Guard.Revision
		if len(r.Guard.Put) > 0 {
			done.Revision = p.store.write(p, r.Guard.Key, r.Guard.Put, 0)
		}
	}
	prev := uint64(0)
	if r.Class == wire.Latest {
		p.putLatest(t, slot, r.Key, p.shared.after(r.TTL), r.Data, now)
	} else {
		prev = p.append(t, slot, r, now)
		done.Pos = p.shared.position(t.gen, t.head)
	}
	p.settle(t, slot)
	of := p.shares.at(t.share).of
	if id != (recordID{}) {
		p.dedupe.add(id, seen{offset: done.Pos.Offset, revision: done.Revision, at: now, slot: slot, gen: t.gen})
	}
	p.fanOut(r, t.follow, broker.Entry{Pos: done.Pos, Prev: prev, At: p.shared.time(now)})
	if p.chaos.hits(r.Topic, loseAck) {
		return broker.Published{}, of, broker.ErrUnavailable
	}
	return done, of, nil
}

// append appends a durable record and returns the offset of the one before it,
// 0 if that is not retained.
func (p *partition) append(t *topic, slot uint32, r *broker.Record, now int64) (prev uint64) {
	if t.keeps(r.Keep) {
		p.trim(t, now)
	} else {
		p.expire(t, now) // what is gone must not come back
	}
	if t.first <= t.head {
		prev = t.head
	}
	if r.Keep == (broker.Retention{}) {
		for t.log.oldest != 0 {
			p.dropOldest(t)
		}
		t.head++
		t.first = t.head + 1
		return prev
	}
	t.retain(r.Keep)
	p.appendEntry(t, slot, now, r.Data)
	p.trim(t, now)
	return prev
}

// repeated returns what the first publish of id returned, if there was one. Its
// receivers may have missed it, so the topic's newest record goes out again.
func (p *partition) repeated(key broker.Key, id recordID, now int64) (broker.Published, bool) {
	t := p.known(key)
	s, ok := p.dedupe.find(id, t.gen, t.again, now)
	if !ok {
		return broker.Published{}, false
	}
	done := broker.Published{Duplicate: true, Revision: s.revision}
	if s.offset != 0 {
		done.Pos = p.shared.position(t.gen, s.offset)
	}
	p.announce(key, false)
	return done, true
}

// fanOut queues r for those in mask, with its place in e.
func (p *partition) fanOut(r *broker.Record, mask uint32, e broker.Entry) {
	if !p.shared.wanted(mask) || p.chaos.hits(r.Topic, dropLive) {
		return
	}
	e.Topic, e.Class, e.Key = r.Topic, r.Class, r.Key
	e.Data = bytes.Clone(r.Data)
	d := delivery{mask: mask, entry: e}
	p.queue(d)
	if p.chaos.hits(r.Topic, repeat) {
		p.queue(d)
	}
}
