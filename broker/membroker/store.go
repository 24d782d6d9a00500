package membroker

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// store is a partition's part of the Store; the partition's lock guards it.
type store struct {
	items    slab[item]
	keys     index
	last     uint64     // the last revision that was given out
	watchers []*watcher // never changed, but replaced
	dirty    bool       // watchers have something new
}

// item is a key and its value, in a block of the partition's pool whose first is
// the length of the key. It has no pointers.
type item struct {
	revision uint64
	expires  int64 // millis; 0: never
	mem      ref
}

func (s *store) keyOf(p *partition) func(slot uint32) []byte {
	return func(slot uint32) []byte {
		key, _ := s.parts(p, s.items.at(slot))
		return key
	}
}

// get returns the item of key; one that has expired is deleted first, which is a
// change.
func (s *store) get(p *partition, key string, now int64) (*item, bool) {
	page, place, found := s.keys.seek(key, s.keyOf(p))
	if !found {
		return nil, false
	}
	it := s.items.at(s.keys.pages[page][place])
	if it.expires != 0 && it.expires <= now {
		s.remove(p, key)
		return nil, false
	}
	return it, true
}

// revision returns that of key, 0 if there is no such item.
func (s *store) revision(p *partition, key string, now int64) uint64 {
	it, ok := s.get(p, key, now)
	if !ok {
		return 0
	}
	return it.revision
}

// write gives key a value and returns its revision.
func (s *store) write(p *partition, key string, value []byte, expires int64) uint64 {
	page, place, found := s.keys.seek(key, s.keyOf(p))
	s.last++
	mem := p.pool.alloc(len(key) + len(value))
	b, bytes := p.pool.at(mem)
	b.first = uint64(copy(bytes, key))
	b.used = uint32(int(b.first) + copy(bytes[b.first:], value))
	var slot uint32
	if found {
		slot = s.keys.pages[page][place]
		p.pool.free(s.items.at(slot).mem)
	} else {
		slot = s.items.take()
		s.keys.insert(page, place, slot)
	}
	it := s.items.at(slot)
	*it = item{revision: s.last, expires: expires, mem: mem}
	s.tell(key, func() broker.Change { return broker.Change{Item: s.export(p, it)} })
	return s.last
}

// remove deletes key, which exists.
func (s *store) remove(p *partition, key string) {
	page, place, _ := s.keys.seek(key, s.keyOf(p))
	slot := s.keys.pages[page][place]
	s.keys.remove(page, place)
	p.pool.free(s.items.at(slot).mem)
	s.items.put(slot)
	s.last++
	s.tell(key, func() broker.Change {
		return broker.Change{Item: broker.Item{Key: key, Revision: s.last}, Deleted: true}
	})
}

// parts are the key and the value of an item, in the partition's memory.
func (s *store) parts(p *partition, it *item) (key, value []byte) {
	b, mem := p.pool.at(it.mem)
	return mem[:b.first], mem[b.first:b.used]
}

// export returns an item as a copy.
func (s *store) export(p *partition, it *item) broker.Item {
	key, value := s.parts(p, it)
	return broker.Item{Key: string(key), Value: bytes.Clone(value), Revision: it.revision, Expires: p.shared.expiry(it)}
}

// Get returns the item of key.
func (b *Broker) Get(ctx context.Context, key string) (broker.Item, error) {
	if err := b.ready(ctx, "get"); err != nil {
		return broker.Item{}, err
	}
	var out broker.Item
	err := b.store(key, func(p *partition, it *item) error {
		if it == nil {
			return fmt.Errorf("get %q: %w", key, broker.ErrNotFound)
		}
		out = p.store.export(p, it)
		return nil
	})
	return out, err
}

// Put writes an item if it has revision ifRev.
func (b *Broker) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	if err := b.ready(ctx, "put"); err != nil {
		return 0, err
	}
	if ttl < 0 {
		return 0, fmt.Errorf("put %q: ttl %v", key, ttl)
	}
	var expires int64
	if ttl > 0 {
		ttl = min(ttl, math.MaxInt64/2)
		expires = b.shared.after((ttl-1)/time.Second*time.Second + time.Second)
	}
	var rev uint64
	err := b.store(key, func(p *partition, it *item) error {
		if !matches(it, ifRev) {
			return fmt.Errorf("put %q: %w", key, broker.ErrConflict)
		}
		rev = p.store.write(p, key, value, expires)
		return nil
	})
	return rev, err
}

// Delete removes an item if it has revision ifRev.
func (b *Broker) Delete(ctx context.Context, key string, ifRev uint64) error {
	if err := b.ready(ctx, "delete"); err != nil {
		return err
	}
	return b.store(key, func(p *partition, it *item) error {
		if !matches(it, ifRev) {
			return fmt.Errorf("delete %q: %w", key, broker.ErrConflict)
		}
		if it != nil {
			p.store.remove(p, key)
		}
		return nil
	})
}

// matches reports whether a write with ifRev may go on; it is nil if there is
// no item.
func matches(it *item, ifRev uint64) bool {
	if it == nil {
		return ifRev == 0 || ifRev == broker.Any
	}
	return ifRev == it.revision || ifRev == broker.Any
}

// store calls do with the item of key, nil if there is none, as one step.
func (b *Broker) store(key string, do func(p *partition, it *item) error) error {
	p := b.shared.place(key)
	now := b.shared.now()
	p.mu.Lock()
	it, _ := p.store.get(p, key, now)
	err := do(p, it)
	watchers := p.store.changed()
	p.mu.Unlock()
	wakeAll(watchers)
	return err
}
