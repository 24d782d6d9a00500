package membroker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// topic is what is known of one topic. Its entries are those from first to head,
// one for each offset. It has no pointers.
type topic struct {
	key        broker.Key
	head       uint64 // 0: no record in this epoch
	first      uint64 // head+1: nothing is retained
	age        int64  // millis that entries are kept; 0: no bound
	dropped    int64  // millis, when that was last done
	log        chain  // a block's first is the offset of its first entry
	latest     chain  // the newest per key, a block each
	keep       uint32 // entries that are kept; 0: no bound
	gen        uint32 // says the epoch: how often the topic was dropped
	texts      uint32 // the first text of the topic; 0: none
	follow     uint32 // who follows it, a bit per node
	share      uint32 // whose it is
	prev, next uint32 // in the list of those of which nothing is kept
	bare       bool   // it is in that list
	again      bool   // it may have been known before, and forgotten
}

// An entry in a block is the length of its data, the millisecond when it was
// appended, both as uvarint, and the data.

// appendEntry gives data the next offset.
func (p *partition) appendEntry(t *topic, slot uint32, at int64, data []byte) {
	var head [2 * binary.MaxVarintLen64]byte
	h := binary.AppendUvarint(head[:0], uint64(len(data)))
	h = binary.AppendUvarint(h, uint64(at))
	t.head++
	last := t.log.newest
	b, mem := p.pool.grow(&t.log, len(h)+len(data), t.head)
	n := copy(mem[b.used:], h)
	n += copy(mem[int(b.used)+n:], data)
	b.used += uint32(n)
	if t.log.newest == last {
		p.touch(t.share, last)
		return
	}
	b.of = slot<<2 | ofLog
	p.enter(t.share, t.log.newest)
}

// cutEntry splits the first entry off a block's bytes. It reports false for
// bytes that appendEntry did not write.
func cutEntry(mem []byte) (at int64, data, rest []byte, ok bool) {
	size, n := binary.Uvarint(mem)
	if n <= 0 {
		return 0, nil, nil, false
	}
	millis, m := binary.Uvarint(mem[n:])
	if m <= 0 || millis > math.MaxInt64 || size > uint64(len(mem)-n-m) {
		return 0, nil, nil, false
	}
	end := n + m + int(size)
	return int64(millis), mem[n+m : end : end], mem[end:], true
}

// skip cuts n entries off.
func skip(mem []byte, n uint64) []byte {
	for range n {
		_, _, rest, ok := cutEntry(mem)
		if !ok {
			return nil
		}
		mem = rest
	}
	return mem
}

// retain sets how much of t is kept.
func (t *topic) retain(keep broker.Retention) { t.keep, t.age = bounds(keep) }

// keeps reports whether keep is what t has already.
func (t *topic) keeps(keep broker.Retention) bool {
	messages, age := bounds(keep)
	return t.keep == messages && t.age == age
}

// bounds returns a retention as a topic has it: a duration in millis, rounded up.
func bounds(keep broker.Retention) (messages uint32, age int64) {
	if keep.Age > 0 {
		age = int64((keep.Age-1)/time.Millisecond) + 1
	}
	return uint32(min(keep.Messages, math.MaxUint32)), age
}

// trim frees what retention does not keep, as far as whole blocks tell: it is
// quick, and what stays though it is too old leaves with its block. After it t
// has entries only if the newest one is to be kept.
func (p *partition) trim(t *topic, now int64) {
	if t.keep > 0 && t.head+1-t.first > uint64(t.keep) {
		t.first = t.head - uint64(t.keep) + 1
	}
	for t.log.oldest != 0 {
		b, _ := p.pool.at(t.log.oldest)
		if p.end(t, b) > t.first && (t.age == 0 || b.newest/int64(time.Millisecond)+t.age > now) {
			return
		}
		p.dropOldest(t)
	}
}

// end is the offset after the last entry of a block of t.
func (p *partition) end(t *topic, b *block) uint64 {
	if b.next == 0 {
		return t.head + 1
	}
	n, _ := p.pool.at(b.next)
	return n.first
}

// dropOldest frees the oldest block of t, which must have one, and returns how many
// of its entries were retained.
func (p *partition) dropOldest(t *topic) (lost uint64) {
	r := t.log.oldest
	b, _ := p.pool.at(r)
	if end := p.end(t, b); end > t.first {
		lost, t.first = end-t.first, end
	}
	p.leave(t.share, r)
	p.pool.drop(&t.log, r)
	return lost
}

// expire is trim to the entry, for reading.
func (p *partition) expire(t *topic, now int64) {
	p.trim(t, now)
	if t.age == 0 || t.log.oldest == 0 {
		return
	}
	b, mem := p.pool.at(t.log.oldest)
	rest := skip(mem[:b.used], t.first-b.first)
	for len(rest) > 0 {
		at, _, next, ok := cutEntry(rest)
		if !ok || at+t.age > now {
			return
		}
		t.first++
		rest = next
	}
}

// sinceBytes is after how much Since returns fewer entries than it could: the
// partition is locked meanwhile.
const sinceBytes = 2 << 20

// read returns the entries from lo to hi, which are retained, as copies; fewer
// once they have more than most bytes.
func (p *partition) read(key broker.Key, t *topic, lo, hi uint64, most int) []broker.Entry {
	if lo > hi {
		return nil
	}
	epoch := p.shared.epoch(t.gen)
	out := make([]broker.Entry, 0, hi-lo+1)
	for r := p.pool.seek(&t.log, lo, t.head); r != 0 && lo <= hi && most > 0; {
		b, mem := p.pool.at(r)
		mem = skip(mem[:b.used], lo-b.first)
		mem = bytes.Clone(mem[:len(mem)-len(skip(mem, hi-lo+1))]) // shared by the block's entries
		most -= len(mem)
		for lo <= hi && len(mem) > 0 {
			at, data, rest, ok := cutEntry(mem)
			if !ok {
				return out
			}
			e := broker.Entry{Topic: key, Pos: wire.Position{Epoch: epoch, Offset: lo}, At: p.shared.time(at), Data: data}
			if lo > t.first {
				e.Prev = lo - 1
			}
			out = append(out, e)
			mem = rest
			lo++
		}
		r = b.next
	}
	return out
}

// known returns a topic, also one that has no record, for reading.
func (p *partition) known(key broker.Key) *topic {
	if slot := p.find(key); slot != 0 {
		return p.records.at(slot)
	}
	t := p.unknown(key)
	return &t
}

// Since returns what comes after pos; see [broker.Log]. A limit below 1 asks for
// the head only.
func (b *Broker) Since(ctx context.Context, key broker.Key, pos wire.Position, limit int) ([]broker.Entry, wire.Position, error) {
	if err := b.ready(ctx, "since"); err != nil {
		return nil, wire.Position{}, err
	}
	p := b.shared.of(key)
	now := b.shared.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.known(key)
	p.expire(t, now)
	head := p.shared.position(t.gen, t.head)
	lo := t.first
	var gap error
	switch {
	case pos == wire.Position{}:
	case pos.Epoch != head.Epoch || pos.Offset > head.Offset:
		gap = &broker.GapError{}
	case pos.Offset+1 < t.first:
		if gap = (&broker.GapError{}); !t.again {
			gap = &broker.GapError{Lost: t.first - 1 - pos.Offset}
		}
	default:
		lo = pos.Offset + 1
	}
	if gap != nil {
		gap = fmt.Errorf("since: %w", gap)
	}
	hi := t.head
	if n := uint64(max(limit, 0)); hi-lo+1 > n { // lo is at most hi+1
		hi = lo + n - 1
	}
	return p.read(key, t, lo, hi, sinceBytes), head, gap
}

// Before returns what comes before pos; see [broker.Log].
func (b *Broker) Before(ctx context.Context, key broker.Key, pos wire.Position, limit int) ([]broker.Entry, error) {
	if err := b.ready(ctx, "before"); err != nil {
		return nil, err
	}
	p := b.shared.of(key)
	now := b.shared.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.known(key)
	p.expire(t, now)
	hi := t.head
	var gap error
	switch {
	case pos == wire.Position{}:
	case pos.Epoch != p.shared.epoch(t.gen):
		gap = fmt.Errorf("before: %w", &broker.GapError{})
	case pos.Offset == 0:
		return nil, nil
	default:
		hi = min(hi, pos.Offset-1)
	}
	if hi < t.first || limit <= 0 {
		return nil, gap
	}
	lo := t.first
	if n := uint64(limit); hi-lo+1 > n {
		lo = hi - n + 1
	}
	out := p.read(key, t, lo, hi, math.MaxInt)
	slices.Reverse(out)
	return out, gap
}

// Heads returns one head per topic; they are always exact.
func (b *Broker) Heads(ctx context.Context, _ bool, topics ...broker.Key) ([]wire.Position, error) {
	if err := b.ready(ctx, "heads"); err != nil {
		return nil, err
	}
	heads := make([]wire.Position, len(topics))
	for i, key := range topics {
		p := b.shared.of(key)
		p.mu.Lock()
		t := p.known(key)
		heads[i] = p.shared.position(t.gen, t.head)
		p.mu.Unlock()
	}
	return heads, nil
}

// Drop erases a topic and its texts. What is left of it is the next epoch.
func (b *Broker) Drop(ctx context.Context, key broker.Key) error {
	if err := b.ready(ctx, "drop"); err != nil {
		return err
	}
	p := b.shared.of(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	t, slot := p.record(key, broker.Key{})
	for t.log.oldest != 0 {
		p.dropOldest(t)
	}
	for t.latest.oldest != 0 {
		p.dropLatest(t, t.latest.oldest)
	}
	for t.texts != 0 {
		p.removeText(t.texts)
	}
	t.gen++
	t.head, t.first, t.again, t.dropped = 0, 1, false, b.shared.now()
	p.settle(t, slot)
	return nil
}
