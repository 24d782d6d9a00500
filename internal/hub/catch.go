package hub

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

const (
	catchWorkers = 4
	catchLimit   = 256                    // entries read at once
	catchRetry   = 250 * time.Millisecond // after a log could not be read
	catchTell    = 10 * time.Second       // between two lines of the operator's log about that
)

// handSlice is to how many cursors of a place is written before others have their turn: some take
// many writes.
const handSlice = 32

// place is where somebody wants to read on: in the log of a topic, or in one of its streams,
// where the offset is a length; or needs what a board has given up.
type place struct {
	tenant uint32 // number of the topic's tenant
	key    Key
	stream Key // zero: the log
	board  bool
	pos    wire.Position
}

// wanted is a connection that wants to read on.
type wanted struct {
	conn Handle
	from place
}

// catcher reads logs and streams for cursors that are behind their window, and for topics
// that missed entries. Cursors at the same place share one reading. Each reading is a turn of its
// tenant, and so is the handing on of what was read to some cursors more.
type catcher struct {
	wake chan struct{} // a token per job, as many as there are workers
	told atomic.Uint32 // tick of the last line about a log that could not be read
	jobs fair[job]

	mu      sync.Mutex // guards the fields below
	waiting map[place][]Handle
	closed  bool
}

// Ranks of jobs. What was read is handed on before more is read, so that little of it is kept.
const (
	jobRest = iota
	jobNew
)

// job is one reading: for cursors at from, or for a topic. With what was read it is for conns.
type job struct {
	from  place
	topic Topic     // not 0: sync it
	log   *caught   // of the log, or
	text  *readText // of a stream
	conns []Handle
}

// slice takes the cursors that are written to now.
func (j *job) slice() []Handle {
	now := j.conns[:min(len(j.conns), handSlice)]
	j.conns = j.conns[len(now):]
	return now
}

func (c *catcher) init() {
	c.wake = make(chan struct{}, catchWorkers)
	c.waiting = make(map[place][]Handle)
	c.jobs.init(func(int, job) int { return fairTurn })
}

func (c *catcher) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.jobs.drop()
}

func (c *catcher) add(rank int, j job) {
	c.mu.Lock()
	if !c.closed {
		c.jobs.push(j.from.tenant, rank, j)
	}
	c.mu.Unlock()
	c.poke()
}

func (c *catcher) poke() {
	select {
	case c.wake <- struct{}{}:
	default: // as many tokens as workers: each looks until nothing is left
	}
}

// want asks for a reading at w.from, or joins one that waits.
func (c *catcher) want(w wanted) {
	c.mu.Lock()
	list, ok := c.waiting[w.from]
	c.waiting[w.from] = append(list, w.conn)
	if !ok && !c.closed {
		c.jobs.push(w.from.tenant, jobNew, job{from: w.from})
	}
	c.mu.Unlock()
	if !ok {
		c.poke()
	}
}

// wait makes connections wait for a reading that the caller will ask for again.
func (c *catcher) wait(from place, conns ...Handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[from] = append(c.waiting[from], conns...)
}

// take returns who waits for a reading; who comes later needs another.
func (c *catcher) take(from place) []Handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.waiting[from]
	delete(c.waiting, from)
	return list
}

func (h *Hub) catchLoop() {
	s := new(scratch)
	for {
		j, ok := h.catch.jobs.pop()
		if !ok {
			select {
			case <-h.ctx.Done():
				return
			case <-h.catch.wake:
			}
			continue
		}
		switch {
		case j.topic != 0:
			h.syncTopic(j)
		case j.from.board:
			h.readBoard(j.from)
		case j.from.stream != Key{}:
			h.readStream(s, j)
		default:
			h.catchUp(s, j)
		}
	}
}

// read reads a log once.
func (h *Hub) read(from place, j job) (Batch, bool) {
	b, err := h.cfg.Source.Since(h.ctx, from.key, from.pos, catchLimit)
	if err != nil {
		h.failed(err, j)
		return b, false
	}
	return b, true
}

// failed is called when a log could not be read. The worker rests, and the jobs go to the
// end of the queue: whoever waits for them has no other way on, but they must not keep others
// from theirs.
func (h *Hub) failed(err error, jobs ...job) {
	if h.ctx.Err() != nil {
		return
	}
	n := h.count.readErrors.Add(1)
	if last := h.catch.told.Load(); last == 0 || h.since(last) > catchTell {
		h.catch.told.Store(max(1, h.tick()))
		h.log.LogAttrs(h.ctx, slog.LevelWarn, "log not read", slog.Any("err", err), slog.Uint64("failures", n))
	}
	timer := time.NewTimer(catchRetry)
	defer timer.Stop()
	select {
	case <-h.ctx.Done():
	case <-timer.C:
		for _, j := range jobs {
			if j.topic != 0 || h.awaited(j.from) {
				h.catch.add(jobNew, j)
			}
		}
	}
}

// awaited reports whether anybody still waits for a reading, and forgets who has gone.
func (h *Hub) awaited(from place) bool {
	list := slices.DeleteFunc(h.catch.take(from), func(c Handle) bool {
		rec := h.lock(c)
		if rec != nil {
			h.unlock(rec, c.slot())
		}
		return rec == nil
	})
	if len(list) > 0 {
		h.catch.wait(from, list...)
	}
	return len(list) > 0
}

// syncTopic reads the next part of what a topic has missed.
func (h *Hub) syncTopic(j job) {
	rec := h.topicOf(j.topic)
	if rec == nil {
		return
	}
	from := place{key: rec.key, pos: h.headOf(rec)}
	rec.mu.Unlock()
	if b, ok := h.read(from, j); ok && !h.synced(j.topic, from.pos, &b) {
		h.catch.add(jobNew, j)
	}
}

// catchUp reads the log once for all cursors at the same place and writes it
// to each as far as its socket takes it. A cursor that does not get to the end
// of what was read asks again from where it stands.
func (h *Hub) catchUp(s *scratch, j job) {
	if j.log == nil {
		if j.log = h.readLog(j); j.log == nil {
			return
		}
		j.conns = h.catch.take(j.from)
	}
	for _, c := range j.slice() {
		h.hand(s, c, j.log)
	}
	switch {
	case len(j.conns) > 0:
		h.catch.add(jobRest, j)
	case j.log.err != nil:
		h.failed(j.log.err, j.log.again...)
	}
}

// readLog reads a log for cursors, or returns nil.
func (h *Hub) readLog(j job) *caught {
	from := j.from
	h.count.catchUps.Add(1)
	before := h.epochOf(from.key)
	b, ok := h.read(from, j)
	if !ok {
		return nil
	}
	h.moveOn(from.key, before, b.Head)
	list := &caught{from: from, batch: &b, epoch: h.epochs.number(b.Head.Epoch)}
	if b.Gap && !mutantGap {
		list.gap, list.after = gapFrame(h.topicName(from.key), from.pos, &b)
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		list.kept = append(list.kept, kept{e.Pos.Offset, e.Frame, e.Except, e.Marks})
	}
	return list
}

// epochOf is the epoch of a topic as far as is known here.
func (h *Hub) epochOf(key Key) string {
	_, rec := h.topicAt(key)
	if rec == nil {
		return ""
	}
	defer rec.mu.Unlock()
	return h.epochs.name(rec.epoch.Load())
}

// moveOn tells a topic that its log is in another epoch, which somebody who read it has found, and
// a client that comes from another node may have known. The log was read after the topic was known
// to be in the epoch before; a topic that has moved on since knows more than that.
func (h *Hub) moveOn(key Key, before string, head wire.Position) {
	if before == head.Epoch {
		return
	}
	slot, rec := h.topicAt(key)
	if rec == nil {
		return
	}
	defer rec.mu.Unlock()
	if rec.flags&topicLive != 0 && h.epochs.name(rec.epoch.Load()) == before {
		h.heard(slot, rec, head)
	}
}

func (h *Hub) topicName(key Key) string {
	_, rec := h.topicAt(key)
	if rec == nil {
		return ""
	}
	defer rec.mu.Unlock()
	return h.addressOf(rec).String()
}

// caught is what was read at a place.
type caught struct {
	from  place
	batch *Batch
	epoch uint32
	gap   []byte // frame to write first, nil: nothing is missing
	after uint64 // offset of a cursor that was told the gap
	fresh []byte // the same for those that go on at the head, made when needed
	kept  []kept
	texts []*readText // of streams, as far as connections needed it

	err        error // why texts could not be read; nil: none was such
	unreadable []Key // these
	again      []job // for who waits for them
}

// gapFrame tells a client what is gone: all in (from, to]. Delivery goes on
// after to.
func gapFrame(topic string, from wire.Position, b *Batch) (frame []byte, to uint64) {
	to = b.Head.Offset
	if len(b.Entries) > 0 {
		to = b.Entries[0].Pos.Offset - 1
	}
	gap := wire.Gap{Topic: topic, From: from, To: wire.Position{Epoch: b.Head.Epoch, Offset: to}, Reason: wire.ReasonExpired, Count: b.Lost}
	if from.Epoch != b.Head.Epoch {
		gap.Reason, gap.Count = wire.ReasonEpochChanged, 0
		gap.Epoch, gap.NewEpoch = from.Epoch, b.Head.Epoch
		gap.To.Offset = 0
	}
	frame, err := messageFrame(wire.GapType, gap)
	if err != nil {
		return nil, to
	}
	return frame, to
}

// freshGap is the gap for a cursor that skips all that a log had when it was found to have begun
// anew, see [Terms].
func (h *Hub) freshGap(list *caught) []byte {
	if list.fresh == nil {
		from, to := list.from.pos, list.batch.Head
		list.fresh, _ = messageFrame(wire.GapType, wire.Gap{ // it fails for none
			Topic: h.topicName(list.from.key), From: from, To: to, Reason: wire.ReasonEpochChanged, Epoch: from.Epoch, NewEpoch: to.Epoch,
		})
	}
	return list.fresh
}

// hand writes what was read to one connection, if its cursor still stands where the reading
// began. Text that belongs before an entry is read where it is missing, and kept for the
// next connection.
func (h *Hub) hand(s *scratch, c Handle, list *caught) {
	gap, stands := list.gap, list.from.pos
	for {
		var missing *need
		if missing, stands = h.handOn(s, c, list, gap, stands); missing == nil {
			return
		}
		gap = nil
		if !h.readFor(list, missing) {
			again := list.from
			again.pos = stands
			h.catch.wait(again, c)
			if !slices.ContainsFunc(list.again, func(j job) bool { return j.from == again }) {
				list.again = append(list.again, job{from: again})
			}
			return
		}
	}
}

// readFor reads text that was missing, unless that has failed before.
func (h *Hub) readFor(list *caught, missing *need) bool {
	if slices.Contains(list.unreadable, missing.key) {
		return false
	}
	r, err := h.readText(place{key: list.from.key, stream: missing.key, pos: wire.Position{Offset: missing.at}})
	if err != nil {
		list.err, list.unreadable = err, append(list.unreadable, missing.key)
		return false
	}
	list.texts = append(list.texts, r)
	return true
}

// handOn writes to a connection whose cursor stands at a place, until it has all, its socket
// takes no more, or text is missing. In the last case the cursor waits where it stands now.
func (h *Hub) handOn(s *scratch, c Handle, list *caught, gap []byte, stands wire.Position) (missing *need, _ wire.Position) {
	rec := h.lock(c)
	if rec == nil {
		return nil, stands
	}
	slot := c.slot()
	topicSlot := h.index.find(list.from.key)
	at := h.cursorOf(rec, topicSlot)
	if topicSlot == 0 || at == nil || at.flags&cursorCatching == 0 ||
		at.offset != stands.Offset || h.epochs.name(at.epoch) != stands.Epoch {
		h.unlock(rec, slot)
		return nil, stands
	}
	if rec.flags&(connBlocked|connClosing|connHeld|connReading) == connReading {
		s.texts = append(s.texts[:0], list.texts...)
		missing = h.write(s, rec, slot, topicSlot, at, list, gap)
		clear(s.texts)
		s.texts = s.texts[:0]
	}
	if missing == nil {
		at.flags &^= cursorCatching
	}
	stands = wire.Position{Epoch: h.epochs.name(at.epoch), Offset: at.offset}
	rec.wake.Store(1)
	h.unlock(rec, slot)
	h.settle(s)
	return missing, stands
}

// number is what gatherTopics calls the cursor of a topic.
func (h *Hub) number(rec *conn, topicSlot uint32) int {
	switch topicSlot {
	case rec.user:
		return 0
	case rec.all:
		return 1
	case rec.room.topic:
		return 2
	}
	for i, f := range h.more.at(rec.more).list {
		if f.topic == topicSlot {
			return 3 + i
		}
	}
	return -1
}

// write moves a cursor through what was read, turn by turn, until the socket takes no more or
// text is missing, which it returns. The caller holds rec.mu.
func (h *Hub) write(s *scratch, rec *conn, slot, topicSlot uint32, at *cursor, list *caught, gap []byte) (missing *need) {
	todo, which, after := list.kept, h.number(rec, topicSlot), list.after
	src := textSource{slot: topicSlot, fresh: at.flags&cursorFresh != 0}
	if at.epoch != list.epoch && at.flags&cursorFresh != 0 {
		todo, after = nil, list.batch.Head.Offset
		if gap != nil {
			gap = h.freshGap(list)
		}
	}
	for {
		s.reset()
		h.beginTexts(rec)
		h.gatherExtra(s, rec)
		if gap != nil {
			s.add(gap, which, after)
		} else if at.epoch != list.epoch {
			at.epoch, at.offset = list.epoch, after
		}
		for len(todo) > 0 && todo[0].offset <= at.offset && gap == nil {
			todo = todo[1:]
		}
		h.take(s, rec, &src, which, at, todo)
		if len(s.bufs) == 0 {
			missing = s.need
			break
		}
		n, blocked, err := h.engine.Write(rec.sock, s.bufs)
		if err != nil {
			h.broke(s, rec, slot, err)
			return nil
		}
		begun := s.begun(n)
		if gap != nil && begun > s.first(which) {
			at.epoch = list.epoch
			h.count.gaps.Add(1)
			h.skipEnds(rec, topicSlot)
			gap = nil
		}
		h.advance(s, rec, n)
		if h.noteBlocked(rec, blocked); blocked {
			s.reset()
			return nil
		}
		if gap != nil {
			break
		}
	}
	s.reset()
	if len(list.kept) == 0 && list.batch.Head.Offset > at.offset && at.epoch == list.epoch {
		at.offset = list.batch.Head.Offset // nothing is kept up to the head
	}
	return missing
}

// begun counts the buffers of the turn that were written at least in part.
func (s *scratch) begun(n int) int {
	written := 0
	for i, buf := range s.bufs {
		if written >= n {
			return i
		}
		written += len(buf)
	}
	return len(s.bufs)
}

// first is the index of the first buffer that moves a cursor.
func (s *scratch) first(which int) int {
	for i, m := range s.marks {
		if m.which == which {
			return i
		}
	}
	return len(s.marks)
}
