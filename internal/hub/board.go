package hub

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// passingMost is how many volatile messages a topic has in memory at most, and passingKeep for
	// how long. Who has not taken one by then skips it.
	passingMost = 256
	passingKeep = time.Second
	// skipTell is the time between two gaps that tell a connection what it skipped of a topic.
	skipTell = time.Second
	// latestKeys is how many keys a topic has, as in package broker.
	latestKeys = 64
)

// Posting is a message without a place in the log of its topic. One of class Latest replaces
// the one with its key; whoever follows the topic later gets it too, until it expires. One of
// class Volatile passes: who does not take it at once never gets it, and is told so.
type Posting struct {
	Topic   Key
	Address wire.Topic // what the record itself says, as in Entry
	Class   wire.Class
	Key     string    // Latest
	At      time.Time // Latest: the greater is the newer
	Expires time.Time // Latest
	Thread  string    // Volatile: for those only who watch it; "": for all
	Frame   []byte    // as in Entry
	Except  []Session // as in Entry
}

// board holds the postings of a topic. The lock of its topic guards it; the atomic fields are
// written under it and may be read without.
type board struct {
	owner   atomic.Uint32 // topic, 0: unused; a hint to the reaper, as in window
	touched atomic.Uint32 // tick when frames of class Latest were last put here

	latest  []posted      // one per key, by number, the oldest first
	newest  atomic.Uint64 // number of the latest message posted last
	passing []posted      // volatile messages by number, the last one being passed
	passed  atomic.Uint64 // how many volatile messages there were
	bytes   int           // what both cost
	need    uint64        // the first of the latest whose frame was given up and is needed; 0: none
	force   bool          // there is room for it in any case
	fills   uint64        // how often the driver was asked for such frames
}

// posted is a message on a board. Messages of each class have numbers of their own.
type posted struct {
	number  uint64
	frame   []byte // latest: nil if it was given up
	sum     uint64 // hash of the frame that was given up
	except  []Session
	key     string
	thread  uint64    // tag; volatile only; 0: for all
	at      time.Time // latest: as published; volatile: when it came
	expires time.Time // latest only
}

// boardCursor is what a connection has of a board: numbers up to which it has all.
type boardCursor struct {
	topic   uint32 // slot
	told    uint32 // tick of the last gap, 0: none
	latest  uint64
	passed  uint64
	asked   uint64 // value of board.fills with which it goes on; not above it: it waits for none
	skipped uint64 // volatile messages that it did not get and was not told of
	waits   bool   // the reaper will look, because it is too early for another gap
}

// Post takes a posting from the driver, in the order of its topic, never concurrently for one
// topic. It never waits.
func (h *Hub) Post(p Posting) {
	slot, rec := h.topicAt(p.Topic)
	if rec == nil {
		return
	}
	if !h.owns(rec, &p.Address) {
		h.isolation(rec, &p.Address)
		rec.mu.Unlock()
		return
	}
	switch {
	case p.Class == wire.Latest && !h.superseded(rec, &p):
		h.postLatest(slot, rec, &p)
	case p.Class == wire.Volatile && rec.count > 0:
		h.postPassing(slot, rec, &p)
	default:
		rec.mu.Unlock()
		return
	}
	h.deliver(slot, rec)
}

// posts counts all that was ever on a topic's board. The caller holds rec.mu.
func (h *Hub) posts(rec *topic) uint64 {
	i := rec.board.Load()
	if i == 0 {
		return 0
	}
	return h.boards.at(i).newest.Load() + h.boards.at(i).passed.Load()
}

// hasLatest reports whether a topic has had Latest postings here. The caller holds rec.mu.
func (h *Hub) hasLatest(rec *topic) bool {
	i := rec.board.Load()
	return i != 0 && h.boards.at(i).newest.Load() > 0
}

// boardOf returns the topic's board, made if need be. The caller holds rec.mu.
func (h *Hub) boardOf(slot uint32, rec *topic) *board {
	if i := rec.board.Load(); i != 0 {
		return h.boards.at(i)
	}
	i := h.boards.get()
	b := h.boards.at(i)
	b.owner.Store(slot)
	rec.board.Store(i)
	return b
}

// latestOf returns what a topic has under a key, or nil. The caller holds rec.mu.
func (h *Hub) latestOf(rec *topic, key string) *posted {
	if i := rec.board.Load(); i != 0 {
		b := h.boards.at(i)
		for k := range b.latest {
			if b.latest[k].key == key {
				return &b.latest[k]
			}
		}
	}
	return nil
}

// postLatest puts a message in the place of the one with its key. The caller holds rec.mu.
func (h *Hub) postLatest(slot uint32, rec *topic, p *Posting) {
	b, now := h.boardOf(slot, rec), time.Now()
	b.latest = slices.DeleteFunc(b.latest, func(old posted) bool {
		gone := old.key == p.Key || !now.Before(old.expires)
		if gone {
			h.unpost(b, &old)
		}
		return gone
	})
	if len(b.latest) >= latestKeys {
		h.unpost(b, &b.latest[0])
		b.latest = slices.Delete(b.latest, 0, 1)
	}
	put := posted{
		number: b.newest.Load() + 1, frame: p.Frame, except: p.Except, key: p.Key, at: p.At, expires: p.Expires,
	}
	h.putLatest(b, put)
	b.newest.Add(1)
}

// postPassing appends a volatile message. The caller holds rec.mu.
func (h *Hub) postPassing(slot uint32, rec *topic, p *Posting) {
	b, now, thread := h.boardOf(slot, rec), time.Now(), uint64(0)
	if p.Thread != "" {
		thread = h.threadTag(p.Thread)
	}
	h.pass(b, now, passingMost-1)
	put := posted{number: b.passed.Load() + 1, frame: p.Frame, except: p.Except, thread: thread, at: now}
	if !h.charge(rec.tenant, int64(put.weight())) { // all that pass are skipped, this one too
		h.count.evicted.Add(1 + uint64(len(b.passing)))
		h.pass(b, now, 0)
		b.passed.Add(1)
		return
	}
	b.bytes += put.weight()
	b.passing = append(b.passing, put)
	b.passed.Add(1)
}

// pass drops volatile messages whose time is over, and the oldest beyond a number. The caller
// holds the topic's lock.
func (h *Hub) pass(b *board, now time.Time, most int) {
	n := max(0, len(b.passing)-most)
	for n < len(b.passing) && now.Sub(b.passing[n].at) > passingKeep {
		n++
	}
	for i := range n {
		h.unpost(b, &b.passing[i])
	}
	b.passing = slices.Delete(b.passing, 0, n)
	if len(b.passing) == 0 && cap(b.passing) > 16 {
		b.passing = nil // a burst's memory is not kept
	}
}

func (h *Hub) charged(b *board, n int) {
	b.bytes += n
	h.chargeAnyway(h.topics.at(b.owner.Load()).tenant, int64(n))
}

// unpost gives back the memory of a message that leaves the board.
func (h *Hub) unpost(b *board, p *posted) { h.charged(b, -p.weight()) }

// dropPassing drops the volatile messages of a topic, which all its followers have. The caller
// holds rec.mu.
func (h *Hub) dropPassing(rec *topic) {
	if i := rec.board.Load(); i != 0 {
		h.pass(h.boards.at(i), time.Now(), 0)
	}
}

// dropBoard gives a topic's board back. Nobody follows the topic; the caller holds rec.mu.
func (h *Hub) dropBoard(rec *topic) {
	i := rec.board.Load()
	if i == 0 {
		return
	}
	b := h.boards.at(i)
	h.charged(b, -b.bytes)
	b.owner.Store(0)
	b.latest, b.passing = nil, nil
	b.newest.Store(0)
	b.passed.Store(0)
	b.need, b.force, b.fills = 0, false, 0
	rec.board.Store(0)
	h.boards.put(i)
}

// freePassed is called by the reaper, as freeIdleWindows is, and when memory is short.
func (h *Hub) freePassed() {
	for i := range h.boards.limit() {
		if i == 0 {
			continue
		}
		b := h.boards.at(i)
		owner := b.owner.Load()
		if owner == 0 {
			continue
		}
		rec := h.topics.at(owner)
		rec.mu.Lock()
		if rec.board.Load() == i {
			now := time.Now()
			h.pass(b, now, passingMost)
			b.latest = slices.DeleteFunc(b.latest, func(p posted) bool {
				expired := !now.Before(p.expires)
				if expired {
					h.unpost(b, &p)
				}
				return expired
			})
		}
		rec.mu.Unlock()
	}
}

// boardCursorOf returns a connection's cursor in a topic's board, made if need be: it has
// nothing of what is there. The caller holds rec.mu.
func (h *Hub) boardCursorOf(rec *conn, topicSlot uint32) (cur *boardCursor, i int) {
	r := h.readingOf(rec)
	if i = r.findBoard(topicSlot); i < 0 {
		i = len(r.boards)
		r.boards = append(r.boards, boardCursor{topic: topicSlot})
		if r.boardOf != nil {
			r.boardOf[topicSlot] = i
		}
	}
	return &r.boards[i], i
}

// findBoard returns the number of a cursor in a topic's board, or -1.
func (r *reading) findBoard(topicSlot uint32) int {
	if len(r.boards) <= fewTexts {
		return slices.IndexFunc(r.boards, func(cur boardCursor) bool { return cur.topic == topicSlot })
	}
	if r.boardOf == nil {
		r.boardOf = make(map[uint32]int, 2*len(r.boards))
		for i := range r.boards {
			r.boardOf[r.boards[i].topic] = i
		}
	}
	if i, ok := r.boardOf[topicSlot]; ok {
		return i
	}
	return -1
}

// joinBoard lets a connection begin with what is posted from now on, and what is still there of
// class Latest. The caller holds rec.mu and the topic's lock.
func (h *Hub) joinBoard(rec *conn, topicSlot uint32, t *topic) {
	i := t.board.Load()
	if i == 0 {
		return // without a cursor it has nothing of a board that is made later
	}
	b := h.boards.at(i)
	if b.passed.Load() == 0 && len(b.latest) == 0 {
		return
	}
	cur, _ := h.boardCursorOf(rec, topicSlot)
	*cur = boardCursor{topic: topicSlot, passed: b.passed.Load()}
}

// boardRead reports whether a connection has all of a topic's board. The caller holds rec.mu.
func (h *Hub) boardRead(rec *conn, topicSlot uint32, t *topic) bool {
	i := t.board.Load()
	if i == 0 {
		return true
	}
	b := h.boards.at(i)
	var cur boardCursor
	if rec.reading != 0 {
		r := h.readings.at(rec.reading)
		if i := r.findBoard(topicSlot); i >= 0 {
			cur = r.boards[i]
		}
	}
	return cur.latest == b.newest.Load() && cur.passed == b.passed.Load() && (cur.skipped == 0 || cur.waits)
}

// gatherLatest takes the newest messages of a topic's keys that a connection does not have, and
// reports whether the turn was too short for all. The caller holds rec.mu.
func (h *Hub) gatherLatest(s *scratch, rec *conn, topicSlot uint32) (more bool) {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.board.Load()
	if i == 0 {
		return false
	}
	b := h.boards.at(i)
	cur, which := h.boardCursorOf(rec, topicSlot)
	if cur.latest >= b.newest.Load() {
		return false
	}
	missing, done := h.takeLatest(s, rec, b, cur, markLatest+which)
	if missing != 0 {
		h.askLatest(s, rec, t, b, cur, missing)
	}
	return missing == 0 && !done
}

// gatherPassing does so for volatile messages, and tells how many were skipped. log is the number
// of the topic's cursor.
func (h *Hub) gatherPassing(s *scratch, rec *conn, topicSlot uint32, log int) (more bool) {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.board.Load()
	if i == 0 || h.boardRead(rec, topicSlot, t) {
		return false
	}
	b := h.boards.at(i)
	cur, which := h.boardCursorOf(rec, topicSlot)
	h.pass(b, time.Now(), passingMost)
	if lost := b.passed.Load() - uint64(len(b.passing)); cur.passed < lost {
		cur.skipped += lost - cur.passed
		cur.passed = lost
	}
	if s.full() {
		return true
	}
	if cur.skipped > 0 && !cur.waits {
		h.tellSkipped(s, rec, t, h.after(s, rec, log), which)
	}
	return !h.takePassing(s, rec, b, cur, markPassing+which)
}

// tellSkipped takes a gap into the turn, or has the reaper look when it is time for one.
func (h *Hub) tellSkipped(s *scratch, rec *conn, t *topic, at wire.Position, which int) {
	cur := &h.readings.at(rec.reading).boards[which]
	if cur.told != 0 && h.since(cur.told) < skipTell-tickLength && rec.flags&connDraining == 0 {
		cur.waits = true
		h.reaper.later(handle(s.slot, rec.gen))
		return
	}
	frame, err := messageFrame(wire.GapType, wire.Gap{
		Topic: h.addressOf(t).String(), From: at, To: at, Reason: wire.ReasonVolatile, Count: cur.skipped,
	})
	if err == nil {
		s.add(frame, markSkipped+which, cur.skipped)
	}
}

// after is where a cursor will stand once the turn is written.
func (h *Hub) after(s *scratch, rec *conn, which int) wire.Position {
	at := h.cursor(rec, which)
	pos := wire.Position{Epoch: h.epochs.name(at.epoch), Offset: at.offset}
	for i := len(s.marks) - 1; i >= 0; i-- {
		if s.marks[i].which == which {
			pos.Offset = s.marks[i].after
			break
		}
	}
	return pos
}

// messageFrame is the frame of a message of the hub's own.
func messageFrame(typ wire.MessageType, payload any) ([]byte, error) {
	raw, err := wire.Marshal(payload)
	if err != nil {
		return nil, err
	}
	body, err := wire.Append(nil, wire.Envelope{Type: typ, Timestamp: wire.Seconds(time.Now()), Payload: raw})
	if err != nil {
		return nil, err
	}
	return ws.AppendFrame(nil, ws.OpText, body), nil
}

// takePassing adds volatile messages to the turn and reports whether that was all of them.
func (h *Hub) takePassing(s *scratch, rec *conn, b *board, cur *boardCursor, which int) (done bool) {
	for i := range b.passing {
		p := &b.passing[i]
		switch {
		case p.number <= cur.passed:
		case p.thread != 0 && !h.watches(rec, p.thread), slices.Contains(p.except, rec.session):
			s.passOver(which, p.number, &cur.passed)
		case s.full():
			return false
		default:
			s.add(p.frame, which, p.number)
		}
	}
	return true
}

// takeLatest does so for the newest messages of the keys. It ends before one whose frame was
// given up, and returns its number.
func (h *Hub) takeLatest(s *scratch, rec *conn, b *board, cur *boardCursor, which int) (missing uint64, done bool) {
	now := time.Now()
	for i := range b.latest {
		p := &b.latest[i]
		switch {
		case p.number <= cur.latest:
		case !now.Before(p.expires) || slices.Contains(p.except, rec.session):
			s.passOver(which, p.number, &cur.latest)
		case s.full():
			return 0, false
		case p.frame == nil:
			return p.number, false
		default:
			s.add(p.frame, which, p.number)
		}
	}
	// The newest may be gone already: replaced, expired or one too many.
	s.passOver(which, b.newest.Load(), &cur.latest)
	return 0, true
}

// passOver moves a number over what is not written: with what is written before it, or at once.
func (s *scratch) passOver(which int, to uint64, at *uint64) {
	for i := len(s.marks) - 1; i >= 0; i-- {
		if s.marks[i].which == which {
			s.marks[i].after = max(s.marks[i].after, to)
			return
		}
	}
	*at = max(*at, to)
}

// advanceBoard notes that a frame from a board was begun. The caller holds rec.mu.
func (h *Hub) advanceBoard(rec *conn, which int, after uint64) {
	list := h.readings.at(rec.reading).boards
	switch {
	case which >= markSkipped:
		cur := &list[which-markSkipped]
		cur.skipped -= after
		cur.told = max(1, h.tick())
		h.count.skipped.Add(after)
		h.count.gaps.Add(1)
	case which >= markLatest:
		list[which-markLatest].latest = after
	default:
		list[which-markPassing].passed = after
	}
}

// tellNow lets a connection that ends be told at once. The caller holds rec.mu.
func (h *Hub) tellNow(rec *conn) {
	if rec.reading != 0 {
		list := h.readings.at(rec.reading).boards
		for i := range list {
			list[i].waits = false
		}
	}
}

// tellLater is called by the reaper when a connection may be told again what it skipped of a
// topic. Those of which it is too early have a look of their own before them.
func (h *Hub) tellLater(c Handle) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	if rec.reading != 0 {
		list := h.readings.at(rec.reading).boards
		for i := range list {
			if h.since(list[i].told) >= skipTell-tickLength { // told at tick 0 counts as at tick 1
				list[i].waits = false
			}
		}
	}
	rec.wake.Store(1)
	h.unlock(rec, c.slot())
}
