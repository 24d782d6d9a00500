package hub

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"
)

// A posting of class Latest whose frame was given up for want of memory stays on its board
// without it: what is left tells that there is one, since when, and until when. Whoever needs
// the frame has the driver asked for it, and goes on when it is there again.

// same reports whether a posting has a frame, or had it before it was given up.
func (h *Hub) same(p *posted, frame []byte) bool {
	if p.frame != nil {
		return bytes.Equal(p.frame, frame)
	}
	return p.sum == maphash.Bytes(h.seed, frame)
}

// strip gives up the frame of a posting of class Latest. The caller holds the topic's lock.
func (h *Hub) strip(b *board, p *posted) {
	p.sum = maphash.Bytes(h.seed, p.frame)
	h.charged(b, -len(p.frame))
	p.frame = nil
	h.count.evicted.Add(1)
}

// stripAll gives up all frames of class Latest of a board. The caller holds the topic's lock.
func (h *Hub) stripAll(b *board) {
	for i := range b.latest {
		if b.latest[i].frame != nil {
			h.strip(b, &b.latest[i])
		}
	}
}

// putLatest appends a posting. What there is no room for is kept without frames: those of the
// board that are older, and if that is not enough its own. The caller holds the topic's lock.
func (h *Hub) putLatest(b *board, put posted) {
	tenant := h.topics.at(b.owner.Load()).tenant
	size := int64(put.weight())
	b.touched.Store(h.tick())
	fits := h.charge(tenant, size)
	if !fits {
		h.stripAll(b)
		fits = h.charge(tenant, size)
	}
	if !fits {
		h.chargeAnyway(tenant, size)
	}
	b.bytes += int(size)
	b.latest = append(b.latest, put)
	if !fits {
		h.strip(b, &b.latest[len(b.latest)-1])
	}
}

// askLatest has the driver asked for the frame of a posting that a connection is to get next.
// The caller holds the connection's lock and the topic's.
func (h *Hub) askLatest(s *scratch, rec *conn, t *topic, b *board, cur *boardCursor, number uint64) {
	if cur.asked > b.fills {
		return // that is under way
	}
	cur.asked = b.fills + 1
	if b.need == 0 || number < b.need {
		b.need = number
	}
	s.catch = append(s.catch, wanted{conn: handle(s.slot, rec.gen), from: place{tenant: t.tenant, key: t.key, board: true}})
}

// waitsForBoard reports whether a connection waits for a frame. The caller holds its lock.
func (h *Hub) waitsForBoard(cur *boardCursor) bool {
	if cur.asked == 0 {
		return false
	}
	t := h.topics.at(cur.topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.board.Load()
	return i != 0 && cur.asked > h.boards.at(i).fills
}

// refill gives a posting its frame back, if somebody needs it and there is room. The caller
// holds the topic's lock.
func (h *Hub) refill(b *board, p *posted, frame []byte) bool {
	if p.frame != nil || b.need == 0 || p.number < b.need {
		return false
	}
	tenant := h.topics.at(b.owner.Load()).tenant
	if !h.charge(tenant, int64(len(frame))) {
		if !b.force {
			return false
		}
		b.force = false
		h.chargeAnyway(tenant, int64(len(frame)))
	}
	b.bytes += len(frame)
	p.frame = frame
	b.touched.Store(h.tick())
	return true
}

const (
	roomTries = 2              // to find room for a frame that somebody needs, before it is taken
	roomPause = 2 * tickLength // between them, in which the reaper makes some
)

// readBoard asks the driver for what connections need of a board.
func (h *Hub) readBoard(from place) {
	conns := h.catch.take(from) // who asks from now on may need more
	for try := 1; ; try++ {
		if err := h.cfg.Source.Recall(h.ctx, from.key); err != nil {
			h.catch.wait(from, conns...)
			h.failed(err, job{from: from})
			return
		}
		if h.refilled(from.key, try >= roomTries) {
			return
		}
		timer := time.NewTimer(roomPause)
		select {
		case <-h.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// refilled lets connections go on after the driver was asked, unless there was no room for the
// frame that is needed first. With force there is the next time.
func (h *Hub) refilled(key Key, force bool) (done bool) {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return true
	}
	i := rec.board.Load()
	if i == 0 {
		rec.mu.Unlock()
		return true
	}
	b := h.boards.at(i)
	first := slices.IndexFunc(b.latest, func(p posted) bool { return p.number >= b.need })
	if b.need != 0 && first >= 0 && b.latest[first].frame == nil && time.Now().Before(b.latest[first].expires) {
		b.force = force
		rec.mu.Unlock()
		return false
	}
	b.fills++ // who still needs something asks again
	b.need, b.force = 0, false
	h.deliver(slot, rec)
	return true
}
