package hub

import (
	"log/slog"

	"github.com/netra-systems/switchboard/wire"
)

// Ingest takes an entry from the driver: in the order of its topic, never
// concurrently for one topic. An entry that continues the topic is delivered;
// one that shows that others are missing makes the hub read the log; one that
// was there before is dropped. User topics are flushed before Ingest returns,
// which never waits; rooms and all are walked by the workers.
func (h *Hub) Ingest(e Entry) {
	slot, rec := h.topicAt(e.Topic)
	if rec == nil {
		return
	}
	accepted := h.accept(slot, rec, &e)
	if !accepted {
		rec.mu.Unlock()
		return
	}
	h.append(slot, rec, &e)
	h.deliver(slot, rec)
}

// accept decides about an entry. The caller holds rec.mu.
func (h *Hub) accept(slot uint32, rec *topic, e *Entry) bool {
	if !h.owns(rec, &e.Address) {
		h.isolation(rec, &e.Address)
		return false
	}
	if rec.flags&topicLive == 0 { // its head is being asked for, and may come without this one
		rec.want = max(rec.want, e.Pos.Offset)
		return false
	}
	if h.epochs.name(rec.epoch.Load()) != e.Pos.Epoch {
		h.newEpoch(rec, e.Pos.Epoch)
	}
	head := rec.head.Load()
	if e.Pos.Offset <= head {
		return false
	}
	if rec.flags&topicSyncing != 0 {
		rec.want = max(rec.want, e.Pos.Offset)
		return false
	}
	// Without a predecessor it may be that nothing older is kept, which is no
	// loss as long as the head was known to be the log's.
	confirmed := rec.link == h.link.Load()
	if (e.Prev != 0 && e.Prev != head || e.Prev == 0 && !confirmed) && !mutantPrev {
		h.syncTo(slot, rec, e.Pos.Offset)
		return false
	}
	if e.Prev == head {
		rec.link = h.link.Load()
	}
	return true
}

func (h *Hub) isolation(rec *topic, claimed *wire.Topic) {
	h.count.isolation.Add(1)
	h.log.LogAttrs(h.ctx, slog.LevelError, "record under another topic's key dropped",
		slog.String("topic", h.addressOf(rec).String()), slog.String("record", claimed.String()))
}

// deliver wakes the followers of a topic whose head has moved. The caller
// holds rec.mu, which deliver gives up.
func (h *Hub) deliver(slot uint32, rec *topic) {
	if rec.kind != kindUser {
		var parts []part
		if rec.fan != 0 {
			parts = h.fans.at(rec.fan).parts
		}
		rec.mu.Unlock()
		for i := range parts {
			if p := &parts[i]; !p.empty() {
				h.mark(p)
			}
		}
		return
	}
	s := h.scratch.Get().(*scratch)
	defer h.scratch.Put(s)
	slots := s.slots[:0]
	for i := rec.first; i != 0; i = h.conns.at(i).next {
		slots = append(slots, i)
	}
	s.slots = slots
	head, posts := rec.head.Load(), h.posts(rec)
	rec.mu.Unlock()
	current := true
	for _, c := range slots {
		current = h.wakeWith(s, c) && current
	}
	if current { // nobody lags: nothing is kept
		rec.mu.Lock()
		if rec.head.Load() == head {
			h.dropWindow(rec)
		}
		if h.posts(rec) == posts {
			h.dropPassing(rec)
		}
		rec.mu.Unlock()
	}
}

// syncTo starts reading a topic's log up to want, unless that is under way.
// The caller holds rec.mu.
func (h *Hub) syncTo(slot uint32, rec *topic, want uint64) {
	rec.want = max(rec.want, want)
	if rec.flags&topicSyncing != 0 {
		return
	}
	rec.flags |= topicSyncing
	h.count.syncs.Add(1)
	h.catch.add(jobNew, job{from: place{tenant: rec.tenant}, topic: Topic(handle(slot, rec.gen.Load()))})
}

// synced takes a part of the log that a topic missed, read at from. It reports
// whether the topic is complete now, and is called again with what follows if
// not.
func (h *Hub) synced(t Topic, from wire.Position, b *Batch) (done bool) {
	rec := h.topicOf(t)
	if rec == nil {
		return true
	}
	if h.epochs.name(rec.epoch.Load()) != from.Epoch { // began anew while the old log was read
		rec.mu.Unlock()
		return false
	}
	if b.Head.Epoch != from.Epoch {
		h.newEpoch(rec, b.Head.Epoch)
		rec.want = b.Head.Offset
	}
	if b.Gap {
		// What is missing is told to each cursor when it reads the log itself.
		h.dropWindow(rec)
		first := b.Head.Offset
		if len(b.Entries) > 0 {
			first = b.Entries[0].Pos.Offset - 1
		}
		if first > rec.head.Load() {
			rec.head.Store(first)
			rec.base = first
		}
		h.missEnds(rec)
	}
	before := rec.head.Load()
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Pos.Offset <= rec.head.Load() {
			continue
		}
		if !h.owns(rec, &e.Address) {
			h.isolation(rec, &e.Address)
			continue
		}
		h.append(t.slot(), rec, e)
	}
	if rec.head.Load() == before {
		// The log has no more than this: what was announced beyond is not in it.
		rec.want = min(rec.want, max(before, b.Head.Offset))
		if b.Head.Offset > before && len(b.Entries) == 0 {
			rec.head.Store(b.Head.Offset)
			h.dropWindow(rec)
			h.missEnds(rec)
		}
	}
	done = rec.head.Load() >= rec.want
	if done {
		// The head stays unconfirmed if it was: the log may have been read while
		// the link was down.
		rec.flags &^= topicSyncing
	}
	h.deliver(t.slot(), rec)
	return done
}
