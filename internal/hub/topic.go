package hub

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// topic is the record of an address: an ordered log as far as this node has
// seen it. It holds no pointer.
type topic struct {
	mu sync.Mutex // guards all fields; the atomic ones are written under it and may be read without

	key     Key
	head    atomic.Uint64 // offset of the last entry ingested
	epoch   atomic.Uint32 // number of the epoch that head is of
	gen     atomic.Uint32 // written under mu
	streams atomic.Uint32 // first of its text streams, linked by stream.next; written under mu
	board   atomic.Uint32 // what has no place in the log, 0: none so far; written under mu

	base uint64 // everything after it, up to head, is in the window
	want uint64 // an offset that the log is known to have, while live or syncing is missing
	ends uint64 // no entry after it has ended a text stream

	window uint32 // 0: none, then base is head
	addr   uint32 // arena block of the id
	tenant uint32 // number of the tenant's name
	fan    uint32 // lists of followers, rooms and all only
	first  uint32 // user only: first of its connections, linked by conn.next
	count  uint32 // followers
	refs   uint32 // who wants the record to stay
	idle   uint32 // tick when refs became 0 and, of a user, the messages of its connections are all allowed again
	link   uint32 // value of Hub.link when the head was last confirmed

	kind     wire.Kind
	flags    uint8
	idlePart uint16 // of idle, in parts of a tick
}

const (
	topicLive    = 1 << iota // followed at the driver, head known
	topicSyncing             // reading the log up to want; live entries are left to that
)

// index finds topics by key. Its maps hold no pointers.
type index struct {
	parts [64]struct {
		mu sync.RWMutex
		of map[Key]uint32
	}
}

func (x *index) init() {
	for i := range x.parts {
		x.parts[i].of = make(map[Key]uint32)
	}
}

func (x *index) find(key Key) uint32 {
	p := &x.parts[key[0]&63]
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.of[key]
}

// Acquire returns the record of a topic, made if need be, with one reference
// more. live is false until somebody has called [Hub.Confirm]: the caller then
// follows the topic at the driver, asks for its head and confirms.
func (h *Hub) Acquire(key Key, address wire.Topic) (t Topic, live bool) {
	t, live, _ = h.AcquireWithin(key, address, 0)
	return t, live
}

// AcquireWithin is Acquire, unless it would make the record of a room more than rooms of its
// tenant have one, which is [ErrTenantRooms]; 0 is no bound.
func (h *Hub) AcquireWithin(key Key, address wire.Topic, rooms int) (t Topic, live bool, err error) {
	p := &h.index.parts[key[0]&63]
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.of[key]
	if !ok {
		most := int64(math.MaxInt64)
		if rooms > 0 {
			most = int64(rooms)
		}
		if address.Kind == wire.KindRoom && !add(h.known.of(h.tenants.number(address.Tenant)), 1, most) {
			return 0, false, ErrTenantRooms
		}
		slot = h.topics.get()
		p.of[key] = slot
	}
	rec := h.topics.at(slot)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !ok {
		rec.gen.Add(1)
		rec.key, rec.kind = key, address.Kind
		rec.tenant, rec.addr = h.tenants.number(address.Tenant), h.arena.put([]byte(address.ID))
		rec.head.Store(0)
		rec.epoch.Store(0)
		rec.base, rec.want, rec.ends, rec.flags, rec.count, rec.first = 0, 0, 0, 0, 0, 0
		rec.idle, rec.idlePart = h.tick(), 0
	}
	rec.refs++
	return Topic(handle(slot, rec.gen.Load())), rec.flags&topicLive != 0, nil
}

// RoomsOf is how many rooms of a tenant have a record here: those that are followed, and those
// that were lately.
func (h *Hub) RoomsOf(tenant string) int {
	number, ok := h.tenants.find(tenant)
	if !ok {
		return 0
	}
	return int(h.known.of(number).Load())
}

// topicOf locks and returns the record that t names, or nil.
func (h *Hub) topicOf(t Topic) *topic {
	if !h.topics.has(t.slot()) {
		return nil
	}
	rec := h.topics.at(t.slot())
	rec.mu.Lock()
	if rec.gen.Load() != t.gen() || rec.refs == 0 && rec.key == (Key{}) {
		rec.mu.Unlock()
		return nil
	}
	return rec
}

// topicAt locks and returns the record of key, or nil.
func (h *Hub) topicAt(key Key) (slot uint32, rec *topic) {
	slot = h.index.find(key)
	if slot == 0 {
		return 0, nil
	}
	rec = h.topics.at(slot)
	rec.mu.Lock()
	if rec.key != key { // forgotten and given to another between the two locks
		rec.mu.Unlock()
		return 0, nil
	}
	return slot, rec
}

// Release gives one reference back. A topic without references stays until
// [Hub.Expire].
func (h *Hub) Release(t Topic) {
	rec := h.topicOf(t)
	if rec == nil {
		return
	}
	if rec.refs > 0 {
		rec.refs--
	}
	idle := rec.refs == 0
	var since uint32
	if idle {
		// What a user has sent too much is not forgotten by coming again.
		if since = h.tick(); rec.idle-since > minute {
			rec.idle, rec.idlePart = since, 0
		}
		since = rec.idle
	}
	rec.mu.Unlock()
	if idle {
		h.idle.add(t, since)
	}
}

// Link numbers the lives of the driver's link; see [Hub.Confirm].
func (h *Hub) Link() uint32 { return h.link.Load() }

// Confirm says that everything published to t from now on will be ingested,
// and that its log's head was head or later when the caller asked. link is what
// Link returned before that: if the link was lost meanwhile, the head is good
// and still not confirmed.
func (h *Hub) Confirm(t Topic, head wire.Position, link uint32) {
	rec := h.topicOf(t)
	if rec == nil {
		return
	}
	defer rec.mu.Unlock()
	if rec.flags&topicLive == 0 {
		rec.flags |= topicLive
		rec.epoch.Store(h.epochs.number(head.Epoch))
		rec.head.Store(head.Offset)
		rec.base, rec.ends = head.Offset, head.Offset
		rec.link = link
		if rec.want > head.Offset { // ingested before its head was known
			h.syncTo(t.slot(), rec, rec.want)
		}
		return
	}
	h.heard(t.slot(), rec, head)
	h.confirm(rec, head, link)
}

// Announce tells the head of a topic as heard other than by an entry: the hub
// reads the log if it is behind. link is as in [Hub.Confirm].
func (h *Hub) Announce(key Key, head wire.Position, link uint32) {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return
	}
	defer rec.mu.Unlock()
	if rec.flags&topicLive != 0 {
		h.heard(slot, rec, head)
		h.confirm(rec, head, link)
	}
}

// confirm notes that the link was up when head was the log's. The caller holds
// rec.mu.
func (h *Hub) confirm(rec *topic, head wire.Position, link uint32) {
	if rec.head.Load() >= head.Offset {
		rec.link = link
	}
}

// heard compares a head with what is here. The caller holds rec.mu.
func (h *Hub) heard(slot uint32, rec *topic, head wire.Position) {
	if h.epochs.name(rec.epoch.Load()) != head.Epoch {
		h.newEpoch(rec, head.Epoch)
	}
	if head.Offset > rec.head.Load() {
		h.syncTo(slot, rec, head.Offset)
	}
}

// newEpoch begins a topic anew: its log's tail is lost, or the log is another
// one. Cursors keep the old epoch, by which they find themselves behind. The
// caller holds rec.mu.
func (h *Hub) newEpoch(rec *topic, epoch string) {
	h.dropWindow(rec)
	rec.head.Store(0)
	rec.epoch.Store(h.epochs.number(epoch))
	rec.base, rec.want = 0, 0
	h.missEnds(rec)
	h.agePostings(rec)
}

// LinkLost says that entries may be missed from now on, until each topic's
// head is confirmed again: by Announce, or by an entry that continues it.
func (h *Hub) LinkLost() { h.link.Add(1) }

// Head returns the topic's head as far as this node has seen it.
func (h *Hub) Head(t Topic) (head wire.Position, live bool) {
	rec := h.topicOf(t)
	if rec == nil {
		return head, false
	}
	defer rec.mu.Unlock()
	return h.headOf(rec), rec.flags&topicLive != 0
}

func (h *Hub) headOf(rec *topic) wire.Position {
	return wire.Position{Epoch: h.epochs.name(rec.epoch.Load()), Offset: rec.head.Load()}
}

// Lookup finds a topic without taking a reference.
func (h *Hub) Lookup(key Key) (head wire.Position, followers int, live bool) {
	_, rec := h.topicAt(key)
	if rec == nil {
		return head, 0, false
	}
	defer rec.mu.Unlock()
	return h.headOf(rec), int(rec.count), rec.flags&topicLive != 0
}

// Address returns the address of a topic that is known here.
func (h *Hub) Address(key Key) (wire.Topic, bool) {
	_, rec := h.topicAt(key)
	if rec == nil {
		return wire.Topic{}, false
	}
	defer rec.mu.Unlock()
	return h.addressOf(rec), true
}

// Known reports whether entries of key are wanted here. It is cheap, for
// callers who would otherwise decode in vain.
func (h *Hub) Known(key Key) bool { return h.index.find(key) != 0 }

// addressOf is the address of rec, whose lock the caller holds.
func (h *Hub) addressOf(rec *topic) wire.Topic {
	return wire.Topic{Tenant: h.tenants.name(rec.tenant), Kind: rec.kind, ID: string(h.arena.get(rec.addr))}
}

// owns is the owner check: an entry belongs to the topic under whose key it
// came only if it says so itself. The caller holds rec.mu.
func (h *Hub) owns(rec *topic, a *wire.Topic) bool {
	return mutantOwner || rec.kind == a.Kind && h.tenants.name(rec.tenant) == a.Tenant && string(h.arena.get(rec.addr)) == a.ID
}

// Topics appends the heads of up to n live topics, from number *from on, and
// moves *from; it is 0 again after the last one.
func (h *Hub) Topics(dst []TopicHead, from *int, n int) []TopicHead {
	limit := int(h.topics.limit())
	i := max(*from, 1)
	for ; i < limit && n > 0; i++ {
		rec := h.topics.at(uint32(i))
		rec.mu.Lock()
		if rec.flags&topicLive != 0 {
			dst = append(dst, TopicHead{Key: rec.key, Head: h.headOf(rec), Latest: h.hasLatest(rec), Texts: rec.streams.Load() != 0})
			n--
		}
		rec.mu.Unlock()
	}
	if i >= limit {
		i = 0
	}
	*from = i
	return dst
}

// idleList remembers topics in the order in which they lost their last
// reference. An item is a hint: the record says whether it still holds.
type idleList struct {
	mu    sync.Mutex
	items []idleTopic // oldest first
}

type idleTopic struct {
	topic Topic
	tick  uint32
}

func (l *idleList) add(t Topic, tick uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, idleTopic{t, tick})
}

// take removes the oldest items for which ripe is true, at most n.
func (l *idleList) take(n int, ripe func(idleTopic) bool) []idleTopic {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for taken < len(l.items) && taken < n && ripe(l.items[taken]) {
		taken++
	}
	items := slices.Clone(l.items[:taken])
	if l.items = l.items[taken:]; len(l.items) == 0 {
		l.items = nil
	}
	return items
}

// Idle appends up to n keys of topics that have had no reference for at least
// age. Each is named once; the caller passes them to [Hub.Expire].
func (h *Hub) Idle(dst []Key, n int, age time.Duration) []Key {
	for have := len(dst); len(dst)-have < n; {
		items := h.idle.take(n-(len(dst)-have), func(it idleTopic) bool { return h.since(it.tick) >= age })
		if len(items) == 0 {
			break
		}
		for _, it := range items {
			rec := h.topicOf(it.topic)
			if rec == nil {
				continue
			}
			if rec.refs == 0 && rec.idle == it.tick {
				dst = append(dst, rec.key)
			}
			rec.mu.Unlock()
		}
	}
	return dst
}

// Expire forgets those of keys that have no reference and returns them.
func (h *Hub) Expire(keys []Key) []Key {
	var gone []Key
	for _, key := range keys {
		p := &h.index.parts[key[0]&63]
		p.mu.Lock()
		if slot, ok := p.of[key]; ok && h.forget(slot) {
			delete(p.of, key)
			h.topics.put(slot)
			gone = append(gone, key)
		}
		p.mu.Unlock()
	}
	return gone
}

// forget empties a record without references.
func (h *Hub) forget(slot uint32) bool {
	rec := h.topics.at(slot)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.refs != 0 {
		return false
	}
	h.dropWindow(rec)
	h.dropStreams(rec)
	h.dropBoard(rec)
	h.arena.drop(rec.addr)
	if rec.kind == wire.KindRoom {
		h.known.of(rec.tenant).Add(-1)
	}
	if rec.fan != 0 {
		h.fans.at(rec.fan).reset()
		h.fans.put(rec.fan)
	}
	rec.gen.Add(1)
	rec.key, rec.addr, rec.fan, rec.flags = Key{}, 0, 0, 0
	return true
}
