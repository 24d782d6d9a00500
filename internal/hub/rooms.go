package hub

import "github.com/netra-systems/switchboard/wire"

const (
	kindUser = wire.KindUser
	kindAll  = wire.KindAll
)

// nextTag returns a tag that is not 0, which stands for no tag.
func (h *Hub) nextTag() uint32 {
	for {
		if tag := h.tags.Add(1); tag != 0 {
			return tag
		}
	}
}

// rooms counts the rooms that a locked connection follows.
func (h *Hub) rooms(rec *conn) int {
	n := 0
	if rec.room.topic != 0 {
		n++
	}
	if rec.more != 0 {
		n += len(h.more.at(rec.more).list)
	}
	return n
}

// followed returns the cursor of a room in a locked connection.
func (h *Hub) followed(rec *conn, topicSlot uint32) *follow {
	if rec.room.topic == topicSlot {
		return &rec.room
	}
	if rec.more != 0 {
		list := h.more.at(rec.more).list
		for i := range list {
			if list[i].topic == topicSlot {
				return &list[i]
			}
		}
	}
	return nil
}

// addFollower puts a connection into its shard's list of a room. The caller holds rec.mu.
func (h *Hub) addFollower(rec *conn, slot uint32, f follow) {
	t := h.topics.at(f.topic)
	t.mu.Lock()
	t.count++
	if t.count == 1 {
		h.count.rooms.Add(1)
	}
	h.joinBoard(rec, f.topic, t)
	p := &h.fanOf(f.topic, t).parts[h.shardOf(slot)]
	t.mu.Unlock()
	p.mu.Lock()
	p.list = append(p.list, follower{slot, f.tag})
	sweep := p.dead > len(p.list)/2
	p.mu.Unlock()
	if sweep {
		h.mark(p)
	}
}

// unfollowed counts a follower less: its item in the list is dead by its tag.
func (h *Hub) unfollowed(slot, topicSlot uint32) {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	t.count--
	p := &h.fanOf(topicSlot, t).parts[h.shardOf(slot)]
	if t.count == 0 {
		h.count.rooms.Add(-1)
		h.dropWindow(t)
	}
	t.mu.Unlock()
	p.mu.Lock()
	p.dead++
	sweep := p.dead > len(p.list)/2
	p.mu.Unlock()
	if sweep {
		h.mark(p)
	}
	h.releaseSlot(topicSlot)
}

// Seek moves the cursor of a topic that c follows: its user's, all, or a room.
func (h *Hub) Seek(c Handle, key Key, pos wire.Position) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(key)
	at := h.cursorOf(rec, slot)
	if slot == 0 || at == nil {
		return ErrGone
	}
	terms := at.flags & cursorTerms
	*at = h.cursorAt(pos) // a reading under way for the old place finds another cursor
	at.flags |= terms
	rec.wake.Store(1)
	return nil
}

// cursorOf returns the cursor of a topic in a locked connection, or nil.
func (h *Hub) cursorOf(rec *conn, topicSlot uint32) *cursor {
	switch topicSlot {
	case rec.user:
		return &rec.userAt
	case rec.all:
		return &rec.allAt
	}
	if f := h.followed(rec, topicSlot); f != nil {
		return &f.at
	}
	return nil
}

// Cursor returns up to where c has been written a topic, and whether it follows
// it at all.
func (h *Hub) Cursor(c Handle, key Key) (wire.Position, bool) {
	rec := h.lock(c)
	if rec == nil {
		return wire.Position{}, false
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(key)
	at := h.cursorOf(rec, slot)
	if slot == 0 || at == nil {
		return wire.Position{}, false
	}
	return wire.Position{Epoch: h.epochs.name(at.epoch), Offset: at.offset}, true
}

// Following returns the topics that c follows and how far they are written.
func (h *Hub) Following(c Handle) []Cursor {
	rec := h.lock(c)
	if rec == nil {
		return nil
	}
	defer h.unlock(rec, c.slot())
	return h.following(rec)
}

// following is Following for a caller that holds rec.mu.
func (h *Hub) following(rec *conn) []Cursor {
	list := make([]Cursor, 0, 2+h.rooms(rec))
	list = append(list, h.cursorView(rec, rec.user, &rec.userAt), h.cursorView(rec, rec.all, &rec.allAt))
	if rec.room.topic != 0 {
		list = append(list, h.cursorView(rec, rec.room.topic, &rec.room.at))
	}
	if rec.more != 0 {
		for _, f := range h.more.at(rec.more).list {
			list = append(list, h.cursorView(rec, f.topic, &f.at))
		}
	}
	return list
}

func (h *Hub) cursorView(rec *conn, topicSlot uint32, at *cursor) Cursor {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	defer t.mu.Unlock()
	view := Cursor{
		Key: t.key, Address: h.addressOf(t),
		Pos:    wire.Position{Epoch: h.epochs.name(at.epoch), Offset: at.offset},
		Behind: behind(t, at),
	}
	if mark := h.ackOf(rec, topicSlot); mark != nil {
		view.Delivered, view.Seen = h.marks(mark)
	}
	return view
}

// behind counts the offsets between a cursor and the head.
func behind(t *topic, at *cursor) uint64 {
	head := t.head.Load()
	switch {
	case at.epoch != t.epoch.Load():
		return head
	case at.offset >= head:
		return 0
	}
	return head - at.offset
}

// Followers returns the connections that follow key now: a user's, a room's,
// or all of a tenant.
func (h *Hub) Followers(key Key) []Handle {
	slot, t := h.topicAt(key)
	if t == nil {
		return nil
	}
	var list []Handle
	switch t.kind {
	case kindUser:
		for i := t.first; i != 0; i = h.conns.at(i).next {
			list = append(list, Handle(i))
		}
		t.mu.Unlock()
		return h.current(list, slot)
	case kindAll:
		t.mu.Unlock()
		h.Each(func(c Handle) bool {
			list = append(list, c)
			return true
		})
		return h.current(list, slot)
	}
	var parts []part
	if t.fan != 0 {
		parts = h.fans.at(t.fan).parts
	}
	t.mu.Unlock()
	for i := range parts {
		p := &parts[i]
		p.mu.Lock()
		for _, f := range p.list {
			list = append(list, handle(f.slot, f.tag))
		}
		p.mu.Unlock()
	}
	return h.currentTags(list, slot)
}

// current replaces slots by handles of connections that have the topic.
func (h *Hub) current(list []Handle, topicSlot uint32) []Handle {
	kept := list[:0]
	for _, c := range list {
		rec := h.conns.at(c.slot())
		rec.mu.Lock()
		if rec.flags&connDead == 0 && (rec.user == topicSlot || rec.all == topicSlot) {
			kept = append(kept, handle(c.slot(), rec.gen))
		}
		h.unlock(rec, c.slot())
	}
	return kept
}

// currentTags does the same for items of a room, which carry their tag.
func (h *Hub) currentTags(list []Handle, topicSlot uint32) []Handle {
	kept := list[:0]
	for _, c := range list {
		rec := h.conns.at(c.slot())
		rec.mu.Lock()
		if follows, _ := h.follows(rec, topicSlot, c.gen()); follows {
			kept = append(kept, handle(c.slot(), rec.gen))
		}
		h.unlock(rec, c.slot())
	}
	return kept
}

// Each calls fn for every connection until it returns false. No lock is held
// during fn; a connection may be gone by then.
func (h *Hub) Each(fn func(Handle) bool) {
	for i := uint32(1); i < h.conns.limit(); i++ {
		rec := h.conns.at(i)
		rec.mu.Lock()
		c, dead := handle(i, rec.gen), rec.flags&connDead != 0 || rec.gen == 0
		h.unlock(rec, i)
		if !dead && !fn(c) {
			return
		}
	}
}
