package hub

import (
	"errors"

	"github.com/netra-systems/switchboard/wire"
)

// ErrNotFollowed says that the connection does not follow the topic, or that there is none.
var ErrNotFollowed = errors.New("the connection does not follow the topic")

// acks is what a connection has acknowledged. One that never did has none.
type acks struct {
	at   uint32 // tick of the last one that told something new
	list []acked
}

// acked is how far a connection has acknowledged a topic. There is one for each topic at
// most that the connection follows.
type acked struct {
	topic, epoch    uint32
	delivered, seen uint64
}

// Acked is what [Hub.Ack] made of an acknowledgement.
type Acked struct {
	Delivered, Seen wire.Position // of the connection so far; zero: nothing
	Session         Session
	User            wire.Topic
	Fresh           bool // it told something new
	Doubted         int  // positions that cannot be true, and were left out
}

// Ack notes that c has received topic key up to delivered and shown it up to seen; a zero
// position says nothing. What was shown was received. Marks never go back within an epoch.
//
// Not believed is a position that was not written to c: above its cursor, of another epoch
// than its cursor's, or told while c is held and its cursor is not where it will be. Nor is one
// of an epoch that is not the topic's: the cursor may stand there because the client said so.
func (h *Hub) Ack(c Handle, key Key, delivered, seen wire.Position) (Acked, error) {
	rec := h.lock(c)
	if rec == nil {
		return Acked{}, ErrGone
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(key)
	at := h.cursorOf(rec, slot)
	if slot == 0 || at == nil {
		return Acked{}, ErrNotFollowed
	}
	out := Acked{Session: rec.session}
	epoch, current := h.epochs.name(at.epoch), h.topics.at(slot).epoch.Load()
	believed := func(pos wire.Position) uint64 {
		switch {
		case pos.IsZero():
			return 0
		case rec.flags&connHeld != 0, pos.Epoch != epoch, at.epoch != current, pos.Offset > at.offset:
			out.Doubted++
			return 0
		}
		return pos.Offset
	}
	far, shown := believed(delivered), believed(seen)
	far = max(far, shown)
	mark := h.ackOf(rec, slot)
	if far > 0 && (mark == nil || mark.epoch != at.epoch || far > mark.delivered || shown > mark.seen) {
		mark = h.raise(rec, slot, at.epoch, far, shown)
		out.Fresh = true
	}
	if mark != nil {
		out.Delivered, out.Seen = h.marks(mark)
	}
	user := h.topics.at(rec.user)
	user.mu.Lock()
	out.User = h.addressOf(user)
	user.mu.Unlock()
	return out, nil
}

// ackOf returns what a locked connection has acknowledged of a topic, or nil.
func (h *Hub) ackOf(rec *conn, topicSlot uint32) *acked {
	if rec.acks == 0 {
		return nil
	}
	list := h.acks.at(rec.acks).list
	for i := range list {
		if list[i].topic == topicSlot {
			return &list[i]
		}
	}
	return nil
}

// raise moves a locked connection's marks of a topic on.
func (h *Hub) raise(rec *conn, topicSlot, epoch uint32, delivered, seen uint64) *acked {
	if rec.acks == 0 {
		rec.acks = h.acks.get()
	}
	a := h.acks.at(rec.acks)
	a.at = h.tick()
	mark := h.ackOf(rec, topicSlot)
	if mark == nil {
		a.list = append(a.list, acked{topic: topicSlot, epoch: epoch})
		mark = &a.list[len(a.list)-1]
	}
	if mark.epoch != epoch {
		*mark = acked{topic: topicSlot, epoch: epoch}
	}
	mark.delivered, mark.seen = max(mark.delivered, delivered), max(mark.seen, seen)
	return mark
}

// marks are the positions of a mark.
func (h *Hub) marks(mark *acked) (delivered, seen wire.Position) {
	epoch := h.epochs.name(mark.epoch)
	if mark.delivered > 0 {
		delivered = wire.Position{Epoch: epoch, Offset: mark.delivered}
	}
	if mark.seen > 0 {
		seen = wire.Position{Epoch: epoch, Offset: mark.seen}
	}
	return delivered, seen
}

// dropAck forgets what a locked connection has acknowledged of a topic that it leaves: the
// number of the topic may soon be another's.
func (h *Hub) dropAck(rec *conn, topicSlot uint32) {
	mark := h.ackOf(rec, topicSlot)
	if mark == nil {
		return
	}
	a := h.acks.at(rec.acks)
	last := len(a.list) - 1
	*mark = a.list[last]
	a.list = a.list[:last]
}

// dropAcks gives rec's acks back. The caller holds rec.mu.
func (h *Hub) dropAcks(rec *conn) {
	if rec.acks == 0 {
		return
	}
	*h.acks.at(rec.acks) = acks{}
	h.acks.put(rec.acks)
	rec.acks = 0
}
