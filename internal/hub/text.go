package hub

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// textSource is where the text of a flush comes from: the topic whose lock is held, if any, and
// what a worker has read.
type textSource struct {
	slot    uint32 // of the topic
	rec     *topic // locked; nil: only what was read
	address string // of the topic, made when needed
	fresh   bool   // for a connection that has no right to what was before it followed
}

// readText is what a worker has read of a stream.
type readText struct {
	key  Key
	span span
}

// need is text that a flush could not find.
type need struct {
	key Key
	at  uint64
}

// gatherMarks takes the text that comes before an entry. It is false if that is more than
// the turn takes, or has to be read first (s.need is set then).
func (h *Hub) gatherMarks(s *scratch, rec *conn, src *textSource, marks []Mark, offset uint64) bool {
	for i := range marks {
		m := &marks[i]
		if src.fresh && h.watches(rec, h.threadTag(m.Thread)) {
			h.beginText(rec, src.slot, m.Key, m.Length)
		}
		if m.Length > 0 && !mutantOrder && h.watches(rec, h.threadTag(m.Thread)) && !h.takeText(s, rec, src, &m.Stream, m.Length) {
			return false
		}
		if m.Ended {
			if at := h.textCursor(rec, src.slot, m.Key, false); at >= 0 {
				h.readings.at(rec.reading).end(at, offset)
			}
		}
	}
	return true
}

// gatherText takes what is ready of a topic's streams, for a connection that has all of its
// entries. One that is ahead of the topic, because it has read the log, may have seen the ends
// of streams that are thought to grow here: it gets the text of those only that it has begun.
// Streams that have not changed since the connection had all are not looked at. The caller
// holds the topic's lock.
func (h *Hub) gatherText(s *scratch, rec *conn, src *textSource, ahead bool) (more bool) {
	number := src.rec.streams.Load()
	if number == 0 {
		return false
	}
	set, all := h.sets.at(number), !ahead
	for i := h.changedSince(set, h.seenOf(rec, src.slot)); i != 0; {
		st := h.streams.at(i)
		i = st.later
		if st.ended || !h.watches(rec, st.thread) || ahead && h.textCursor(rec, src.slot, st.Key, false) < 0 {
			continue
		}
		s.need = nil
		if src.fresh {
			h.beginText(rec, src.slot, st.Key, st.head)
		}
		if !h.takeText(s, rec, src, &st.Stream, st.ready) {
			if all = false; s.need == nil {
				return true
			}
		}
		more = h.ask(s, rec, src) || more
	}
	if all && (rec.reading != 0 || len(set.of) > fewTexts) {
		s.saw = append(s.saw, textSeen{src.slot, h.streams.at(set.newest).version})
	}
	return more
}

// beginText is where the text of a stream begins for a connection without a right to what was before
// it followed the topic: at a length, which is what it sees of the stream first. That is 0 at the
// event that opens it, so that of a stream which was opened behind that place nothing is missing.
func (h *Hub) beginText(rec *conn, topicSlot uint32, key Key, length uint64) {
	if mutantEarlier || h.textCursor(rec, topicSlot, key, false) >= 0 {
		return
	}
	i := h.textCursor(rec, topicSlot, key, true)
	h.readings.at(rec.reading).at[i].at = length
}

// beginTextsHere does that for the streams that a topic has where the connection begins to follow
// it, so that what is added from now on is written. One that begins further back will come by the
// events that open streams. The caller holds rec.mu.
func (h *Hub) beginTextsHere(rec *conn, topicSlot uint32, at cursor) {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	defer t.mu.Unlock()
	number := t.streams.Load()
	if number == 0 || at.epoch != t.epoch.Load() || at.offset < t.head.Load() {
		return
	}
	for i := h.sets.at(number).oldest; i != 0; i = h.streams.at(i).later {
		if st := h.streams.at(i); !st.ended {
			h.beginText(rec, topicSlot, st.Key, st.head)
		}
	}
}

// ask has the text read that a turn could not find, from where the cursor stands. If the turn
// has some of the stream, that is written first: then there is more. The caller holds the
// topic's lock.
func (h *Hub) ask(s *scratch, rec *conn, src *textSource) (more bool) {
	if s.need == nil {
		return false
	}
	i := h.textCursor(rec, src.slot, s.need.key, true)
	r := h.readings.at(rec.reading)
	cur := &r.at[i]
	switch {
	case r.takenOf(i) != cur.at:
		more = true
	case !cur.catching:
		cur.catching = true
		s.catch = append(s.catch, wanted{
			conn: handle(s.slot, rec.gen),
			from: place{tenant: src.rec.tenant, key: src.rec.key, stream: s.need.key, pos: wire.Position{Offset: s.need.at}},
		})
	}
	s.need = nil
	return more
}

// takeText adds the text of a stream up to a length to the turn. It is false if not all of
// it fits, or if some has to be read first, which s.need says.
func (h *Hub) takeText(s *scratch, rec *conn, src *textSource, of *Stream, to uint64) bool {
	at := h.textCursor(rec, src.slot, of.Key, false)
	for {
		var taken uint64
		if at >= 0 {
			taken = h.readings.at(rec.reading).takenOf(at)
		}
		if taken >= to {
			return true
		}
		if s.full() {
			return false
		}
		frame, end, ok := h.chunk(s, src, of, taken, to)
		if !ok {
			s.need = &need{key: of.Key, at: taken}
			return false
		}
		if at < 0 {
			at = h.textCursor(rec, src.slot, of.Key, true)
		}
		r := h.readings.at(rec.reading)
		cur := &r.at[at]
		cur.taken, cur.turn, cur.catching = end, r.turn, false
		if frame != nil {
			s.add(frame, markText+at, end)
		} else {
			// There is no such text any more.
			s.passOver(markText+at, end, &cur.at)
		}
	}
}

// chunk returns the frame of a stream's text from a length on, up to another or less far, and
// where it ends; nil if that text is gone. It is not ok if the text has to be read.
func (h *Hub) chunk(s *scratch, src *textSource, of *Stream, from, to uint64) (frame []byte, end uint64, ok bool) {
	var piece *span
	var st *stream // whose text it is; nil: it was read
	if src.rec != nil {
		if st = h.streamAt(src.rec, of.Key); st != nil && st.text.from <= from && to <= st.text.to {
			piece = &st.text
		}
	}
	if piece == nil {
		var gone bool
		if piece, gone = s.piece(of.Key, from); piece == nil {
			return nil, to, gone
		}
		to = min(to, piece.to)
	}
	if frame = piece.made(from, to); frame != nil {
		return frame, to, true
	}
	text, end := piece.cut(from, to, chunkBytes)
	if frame = piece.made(from, end); frame != nil {
		return frame, end, true
	}
	if src.address == "" {
		src.address = h.address(src)
	}
	frame = h.chunkFrame(src.address, of, from, text)
	switch {
	case st == nil || piece != &st.text:
		piece.keep(chunk{from, end, frame})
	case h.hold(src.rec, st, len(frame)):
		piece.keep(chunk{from, end, frame})
		h.weigh(src.rec, st)
	}
	return frame, end, true
}

// piece finds text that was read, from a length on. Gone: a reading found nothing where
// there was text to be expected, so the stream was folded, or lost.
func (s *scratch) piece(key Key, from uint64) (piece *span, gone bool) {
	for _, r := range s.texts {
		switch {
		case r.key != key || r.span.from > from:
		case from < r.span.to:
			return &r.span, false
		case r.span.from == r.span.to:
			gone = true
		}
	}
	return nil, gone
}

func (h *Hub) address(src *textSource) string {
	rec := src.rec
	if rec == nil {
		rec = h.topics.at(src.slot)
		rec.mu.Lock()
		defer rec.mu.Unlock()
	}
	return h.addressOf(rec).String()
}

// readStream reads the text of a stream once for all cursors at the same place, or hands on what
// was read.
func (h *Hub) readStream(s *scratch, j job) {
	if j.text == nil {
		r, err := h.readText(j.from)
		if err != nil {
			h.failed(err, j)
			return
		}
		j.text, j.conns = r, h.catch.take(j.from)
	}
	for _, c := range j.slice() {
		h.handText(s, c, j.from, j.text)
	}
	if len(j.conns) > 0 {
		h.catch.add(jobRest, j)
	}
}

// readText reads a stream from a place on, or finds what was read of it before.
func (h *Hub) readText(from place) (*readText, error) {
	if r := h.longs.find(from, h.tick()); r != nil {
		return r, nil
	}
	text, err := h.cfg.Source.Text(h.ctx, from.key, from.stream, from.pos.Offset)
	if err != nil {
		return nil, err
	}
	h.count.textReads.Add(1)
	r := &readText{key: from.stream}
	r.span.restart(from.pos.Offset)
	r.span.grow(text, uint64(utf8.RuneCountInString(text)))
	if len(text) > longText {
		h.keepLong(from, &r.span)
	}
	return r, nil
}

// handText flushes a connection with text that was read for it, if its cursor still stands
// where the reading began.
func (h *Hub) handText(s *scratch, c Handle, from place, r *readText) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	slot := c.slot()
	topicSlot := h.index.find(from.key)
	i := h.textCursor(rec, topicSlot, from.stream, false)
	if topicSlot == 0 || i < 0 {
		h.unlock(rec, slot)
		return
	}
	cur := &h.readings.at(rec.reading).at[i]
	if !cur.catching || cur.at != from.pos.Offset {
		h.unlock(rec, slot)
		return
	}
	cur.catching = false
	s.texts = append(s.texts[:0], r)
	for h.flush(s, rec, slot) {
	}
	clear(s.texts)
	s.texts = s.texts[:0]
	rec.wake.Store(1)
	h.unlock(rec, slot)
	h.settle(s)
}

// texts are the streams whose text waits for the end of its window.
type texts struct {
	wake chan struct{} // capacity 1

	mu  sync.Mutex // guards due
	due []dueText  // in the order of at: all windows have the same length
}

type dueText struct {
	topic  Topic
	stream Key
	at     time.Duration // since the hub began
}

// later lets the text of a stream be flushed at a time.
func (t *texts) later(d dueText) {
	t.mu.Lock()
	t.due = append(t.due, d)
	first := len(t.due) == 1
	t.mu.Unlock()
	if first {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// next takes a stream whose time has come. Without one it says how long until the next.
func (t *texts) next(now time.Duration) (d dueText, wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.due) == 0 {
		t.due = nil
		return d, time.Hour, false
	}
	if d = t.due[0]; d.at > now {
		return d, d.at - now, false
	}
	t.due = t.due[1:]
	return d, 0, true
}

// textLoop flushes text at the end of its window.
func (h *Hub) textLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Since(h.start)
		d, wait, ok := h.texts.next(now)
		if ok {
			h.flushText(d, now)
			continue
		}
		timer.Reset(wait)
		select {
		case <-h.ctx.Done():
			return
		case <-h.texts.wake:
		case <-timer.C:
		}
	}
}

func (h *Hub) flushText(d dueText, now time.Duration) {
	rec := h.topicOf(d.topic)
	if rec == nil {
		return
	}
	st := h.streamAt(rec, d.stream)
	if st == nil || !st.pending {
		rec.mu.Unlock()
		return
	}
	h.ripen(rec, st, now)
	h.deliver(d.topic.slot(), rec)
}
