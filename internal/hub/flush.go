package hub

import (
	"slices"

	"github.com/netra-systems/switchboard/wire"
)

// A turn is what one flush writes to one connection before others have theirs.
const (
	turnBytes  = 64 << 10
	turnFrames = 128
	turns      = 4 // in a row by a caller who is not a walker
)

// scratch is the working memory of a flush: what is about to be written, and
// which cursor moves where once it is. Whoever flushes owns one.
type scratch struct {
	bufs  [][]byte
	marks []mark
	bytes int
	memo  memo
	catch []wanted   // readings of logs to ask for after the lock is given up
	dead  []grave    // connections that ended in this flush
	slots []uint32   // for callers that collect connections first
	list  []follower // for walkers

	slot  uint32      // of the connection whose turn it is
	texts []*readText // what a worker has read for it
	need  *need       // text that has to be read before the turn can go on
	saw   []textSeen  // what the connection has once the turn is written as a whole

	boards []boardTurn // to be looked at when all logs were
}

// boardTurn is a topic whose log a turn has to the end, and its cursor's number.
type boardTurn struct {
	which int
	topic uint32 // slot
}

// mark says what it means that a buffer is written.
type mark struct {
	which int    // a cursor's number, one of a text or a board behind its mark, or markRest, markControl, markClose
	after uint64 // the cursor's offset from then on
}

const (
	markRest = -1 - iota
	markControl
	markClose

	// The cursor's number is added to these.
	markPassing = 1 << 27 // volatile messages of a board
	markLatest  = 1 << 28 // the newest of its keys
	markSkipped = 1 << 29 // what is told of those that were skipped
	markText    = 1 << 30 // text of a stream
)

func (s *scratch) reset() {
	clear(s.bufs)
	s.bufs, s.marks, s.saw, s.bytes, s.need = s.bufs[:0], s.marks[:0], s.saw[:0], 0, nil
	s.boards = s.boards[:0]
}

func (s *scratch) full() bool {
	return s.bytes >= turnBytes || len(s.bufs) >= turnFrames
}

func (s *scratch) add(frame []byte, which int, after uint64) {
	s.bufs = append(s.bufs, frame)
	s.marks = append(s.marks, mark{which, after})
	s.bytes += len(frame)
}

// memo remembers what one reader of a window was given: in a walk nearly every
// follower has the same cursor, and needs no lock of the topic then. What it
// says (in this life of the topic, in this epoch, this entry follows that
// offset) never ceases to be true.
type memo struct {
	topic, gen, epoch uint32
	from, to          uint64
	frame             []byte // the one entry between them; nil: no memo
}

// wake flushes a connection for which something may be pending, unless
// somebody else has its lock, who then does it.
func (h *Hub) wake(slot uint32) {
	s := h.scratch.Get().(*scratch)
	h.wakeWith(s, slot)
	h.scratch.Put(s)
}

// wakeWith is wake with the caller's scratch. It reports whether the user's
// own topic is known to be written to the end.
func (h *Hub) wakeWith(s *scratch, slot uint32) (current bool) {
	rec := h.conns.at(slot)
	rec.wake.Store(1)
	for turn := 0; rec.wake.Load() != 0 && rec.mu.TryLock(); turn++ {
		rec.wake.Store(0)
		more := h.flush(s, rec, slot)
		user := h.topics.at(rec.user)
		current = rec.flags&connDead == 0 && rec.userAt.offset >= user.head.Load() && rec.userAt.epoch == user.epoch.Load() &&
			h.boardRead(rec, rec.user, user)
		tenant := h.tenantOf(rec)
		rec.mu.Unlock()
		h.settle(s)
		switch {
		case more && turn < turns:
			rec.wake.Store(1)
		case more:
			h.continueLater(tenant, slot)
			return current
		case mutantWakeup:
			return current
		}
	}
	return current
}

// settle does what a flush could not do under the lock.
func (h *Hub) settle(s *scratch) {
	for i := range s.catch {
		h.catch.want(s.catch[i])
	}
	s.catch = s.catch[:0]
	for i := range s.dead {
		h.reaper.bury(s.dead[i])
	}
	clear(s.dead)
	s.dead = s.dead[:0]
}

// flush writes what is pending on one connection, one turn of it, without ever
// waiting, and reports whether there is more that the socket might take. The
// caller holds rec.mu and calls settle after giving it up.
func (h *Hub) flush(s *scratch, rec *conn, slot uint32) (more bool) {
	if rec.flags&(connDead|connBlocked|connReading) != connReading {
		return false
	}
	s.reset()
	h.gatherExtra(s, rec)
	if rec.flags&(connHeld|connClosing) == 0 {
		more = h.gatherTopics(s, rec, slot)
	}
	if len(s.bufs) == 0 {
		if rec.flags&connDraining != 0 && !more && !rec.catching(h) {
			rec.flags |= connClosing
			h.gatherExtra(s, rec)
		}
		if len(s.bufs) == 0 {
			rec.blocked = 0
			h.sawTexts(s, rec)
			h.finish(s, rec, slot)
			return false
		}
	}
	n, blocked, err := h.engine.Write(rec.sock, s.bufs)
	if err != nil {
		h.broke(s, rec, slot, err)
		return false
	}
	if blocked && mutantDrop {
		n = s.bytes
	}
	h.advance(s, rec, n)
	if h.noteBlocked(rec, blocked); !blocked {
		h.sawTexts(s, rec)
	}
	s.reset()
	h.finish(s, rec, slot)
	if blocked || rec.flags&connDead != 0 {
		return false
	}
	return more || rec.flags&connDraining != 0 && rec.flags&connClosing == 0 && !rec.catching(h)
}

// noteBlocked notes whether a write was blocked. The caller holds rec.mu.
func (h *Hub) noteBlocked(rec *conn, blocked bool) {
	if !blocked {
		rec.blocked = 0
		return
	}
	rec.flags |= connBlocked
	rec.blocked = max(1, h.tick())
	h.count.blocked.Add(1)
}

// gatherExtra takes what is not of topics: the rest of a frame, answers, and
// at the end the close frame.
func (h *Hub) gatherExtra(s *scratch, rec *conn) {
	if rec.extra == 0 {
		return
	}
	x := h.extras.at(rec.extra)
	if x.rest != nil {
		s.add(x.rest, markRest, 0)
	}
	for i := range x.control {
		s.add(x.control[i].frame, markControl, 0)
	}
	if rec.flags&connClosing != 0 && x.close != nil {
		s.add(x.close, markClose, 0)
	}
}

// gatherTopics takes what lies between the connection's cursors and the heads.
func (h *Hub) gatherTopics(s *scratch, rec *conn, slot uint32) (more bool) {
	s.slot = slot
	if rec.reading != 0 {
		h.beginTexts(rec)
	}
	more = h.gather(s, rec, slot, 0, rec.user, &rec.userAt)
	more = h.gather(s, rec, slot, 1, rec.all, &rec.allAt) || more
	if rec.room.topic != 0 {
		more = h.gather(s, rec, slot, 2, rec.room.topic, &rec.room.at) || more
	}
	if rec.more != 0 {
		list := h.more.at(rec.more).list
		for i := range list {
			more = h.gather(s, rec, slot, 3+i, list[i].topic, &list[i].at) || more
		}
	}
	// Behind all logs, and what passes last: what may be skipped keeps nobody from what may not.
	for _, b := range s.boards {
		more = h.gatherLatest(s, rec, b.topic) || more
	}
	for _, b := range s.boards {
		more = h.gatherPassing(s, rec, b.topic, b.which) || more
	}
	return more
}

// cursor returns the cursor with a number given by gatherTopics.
func (h *Hub) cursor(rec *conn, which int) *cursor {
	switch which {
	case 0:
		return &rec.userAt
	case 1:
		return &rec.allAt
	case 2:
		return &rec.room.at
	}
	return &h.more.at(rec.more).list[which-3].at
}

// gather takes what follows one cursor, from the topic's window and its streams, or asks for
// a reading of the log if the window does not reach back that far. It reports whether there
// is more than the turn could take; what is on the topic's board it leaves for later.
func (h *Hub) gather(s *scratch, rec *conn, slot uint32, which int, topicSlot uint32, at *cursor) (more bool) {
	t := h.topics.at(topicSlot)
	current := at.epoch == t.epoch.Load() && at.offset >= t.head.Load()
	read := h.boardRead(rec, topicSlot, t)
	owed := h.owes(rec, topicSlot)
	if current && t.streams.Load() == 0 && read && !owed || at.flags&(cursorCatching|cursorHeld) != 0 {
		return false
	}
	if s.full() {
		return true
	}
	if m := &s.memo; !current && read && !owed && m.frame != nil && m.topic == topicSlot && m.gen == t.gen.Load() &&
		m.epoch == at.epoch && m.from == at.offset && t.streams.Load() == 0 {
		s.add(m.frame, which, m.to)
		return t.head.Load() > m.to
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flags&topicLive == 0 {
		return false
	}
	src := textSource{slot: topicSlot, rec: t, fresh: at.flags&cursorFresh != 0}
	epoch := t.epoch.Load()
	if at.epoch != epoch || at.offset < t.base && !(mutantSeam && at.offset+1 == t.base) {
		at.flags |= cursorCatching
		s.catch = append(s.catch, wanted{
			conn: handle(slot, rec.gen),
			from: place{tenant: t.tenant, key: t.key, pos: wire.Position{Epoch: h.epochs.name(at.epoch), Offset: at.offset}},
		})
		return false
	}
	if t.window != 0 {
		list := h.windows.at(t.window).after(at.offset)
		s.memo.frame = nil
		if len(list) == 1 && list[0].frame != nil && len(list[0].except) == 0 && len(list[0].marks) == 0 {
			s.memo = memo{topicSlot, t.gen.Load(), epoch, at.offset, list[0].offset, list[0].frame}
		}
		if done := h.take(s, rec, &src, which, at, list); !done {
			return s.need == nil || h.ask(s, rec, &src)
		}
	}
	if h.gatherOwed(s, rec, &src) || h.gatherText(s, rec, &src, at.offset > t.head.Load()) {
		return true
	}
	if !read {
		s.boards = append(s.boards, boardTurn{which, topicSlot})
	}
	return false
}

// take adds kept entries to the turn, each behind the text that belongs before it, and
// reports whether that was all of them: else the turn is full, or s.need says what has to be
// read. Entries that this session does not get move the cursor together with the frame before
// them, or at once.
func (h *Hub) take(s *scratch, rec *conn, src *textSource, which int, at *cursor, list []kept) (done bool) {
	for i := range list {
		e := &list[i]
		if e.frame == nil || e.excepts(rec.session) {
			if n := len(s.marks); n > 0 && s.marks[n-1].which == which {
				s.marks[n-1].after = e.offset
			} else {
				at.offset = e.offset
			}
			continue
		}
		if s.full() || !h.gatherMarks(s, rec, src, e.marks, e.offset) {
			return false
		}
		s.add(e.frame, which, e.offset)
	}
	return true
}

func (e *kept) excepts(session Session) bool {
	return slices.Contains(e.except, session)
}

// advance notes that the engine took n bytes of the turn: cursors move past
// every frame that was begun, and what is left of the last one is kept, to be
// written before anything else.
func (h *Hub) advance(s *scratch, rec *conn, n int) {
	controls, written := 0, 0
	var rest []byte
	for i, buf := range s.bufs {
		if written >= n {
			break
		}
		if written+len(buf) > n {
			rest = buf[n-written:]
		}
		written += len(buf)
		switch which := s.marks[i].which; which {
		case markRest:
		case markControl:
			controls++
		case markClose:
			rec.flags |= connCloseSent
			h.extraOf(rec).close = nil
		default:
			h.passed(rec, which, s.marks[i].after)
			rec.sent++
			h.count.sent.Add(1)
		}
	}
	h.count.sentBytes.Add(uint64(n))
	if n == 0 || rec.extra == 0 && rest == nil {
		return
	}
	x := h.extraOf(rec)
	x.rest = rest
	h.unqueue(rec, x, controls)
	if x.rest == nil && len(x.control) == 0 && rec.flags&(connDraining|connClosing) == 0 {
		h.dropExtra(rec)
	}
}

// passed notes that a frame was begun which moves a cursor.
func (h *Hub) passed(rec *conn, which int, after uint64) {
	switch {
	case which >= markText:
		h.readings.at(rec.reading).at[which-markText].at = after
	case which >= markPassing:
		h.advanceBoard(rec, which, after)
	default:
		h.cursor(rec, which).offset = after
	}
}

// finish releases a connection that has said all that it had to say to a
// client that has done so too.
func (h *Hub) finish(s *scratch, rec *conn, slot uint32) {
	if rec.flags&connCloseSent == 0 || rec.flags&connPeerClosed == 0 || rec.flags&connBlocked != 0 {
		return
	}
	if x := h.extraOf(rec); x.rest == nil {
		s.dead = append(s.dead, h.kill(rec, slot, x.end))
	}
}

// catching reports whether a reader is on its way for any cursor, in a log or in a text.
func (rec *conn) catching(h *Hub) bool {
	flags := rec.userAt.flags | rec.allAt.flags | rec.room.at.flags
	if rec.more != 0 {
		for _, f := range h.more.at(rec.more).list {
			flags |= f.at.flags
		}
	}
	if rec.reading != 0 {
		for i := range h.readings.at(rec.reading).at {
			if h.readings.at(rec.reading).at[i].catching {
				return true
			}
		}
		for _, cur := range h.readings.at(rec.reading).boards {
			if h.waitsForBoard(&cur) {
				return true
			}
		}
	}
	return flags&cursorCatching != 0
}
