package hub

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// MaxThreads is how many threads one connection watches.
const MaxThreads = 128

// reading is what a connection has of text streams and boards. It exists while some are written
// to it, or when it watches certain threads only. The connection's lock guards it.
type reading struct {
	chosen  bool     // only the threads below are watched
	threads []uint64 // tags, the one opened last at the end
	at      []textCursor
	of      map[textName]int // numbers in at, made when they are many
	ended   int              // cursors with an end
	turn    uint32           // counts turns
	seen    []textSeen
	boards  []boardCursor
}

// textName names a stream: a topic's slot and a key.
type textName struct {
	topic uint32
	key   Key
}

// textSeen says that all text of a topic has been written that streams had up to a version.
type textSeen struct {
	topic   uint32 // slot
	version uint64
}

// textCursor is a length: the text of a stream up to it has been written.
type textCursor struct {
	textName
	at    uint64
	taken uint64 // the same, once the turn that is being gathered is written
	turn  uint32 // in which taken was set; in another turn it is at
	until uint64 // offset of the entry that ended the stream, once it is in a turn; 0: none
	// A reader of the stream's log is on its way, with what comes after at.
	catching bool
}

// threadTag is what stands for a thread in records.
func (h *Hub) threadTag(thread string) uint64 { return maphash.String(h.seed, thread) }

// readingOf returns rec's reading, made if need be. The caller holds rec.mu.
func (h *Hub) readingOf(rec *conn) *reading {
	if rec.reading == 0 {
		rec.reading = h.readings.get()
	}
	return h.readings.at(rec.reading)
}

// dropReading gives it back. The caller holds rec.mu.
func (h *Hub) dropReading(rec *conn) {
	if rec.reading == 0 {
		return
	}
	*h.readings.at(rec.reading) = reading{}
	h.readings.put(rec.reading)
	rec.reading = 0
}

// Watch makes c receive the text of some threads, besides those it chose before; a connection
// that has chosen none receives all. Messages come whatever their thread. The error is
// [ErrThreadLimit] or [ErrGone].
func (h *Hub) Watch(c Handle, threads ...string) error {
	return h.choose(c, func(r *reading) {
		r.chosen = true
		for _, thread := range threads {
			r.leave(h.threadTag(thread))
			r.threads = append(r.threads, h.threadTag(thread))
		}
	})
}

// Unwatch ends what Watch began. A connection that has chosen no threads goes on to receive
// all.
func (h *Hub) Unwatch(c Handle, threads ...string) error {
	return h.choose(c, func(r *reading) {
		for _, thread := range threads {
			r.leave(h.threadTag(thread))
		}
	})
}

// SwitchThread is Watch that unwatches the thread that was watched last.
func (h *Hub) SwitchThread(c Handle, thread string) error {
	return h.choose(c, func(r *reading) {
		r.chosen = true
		tag := h.threadTag(thread)
		former := len(r.threads) - 1
		if former >= 0 && r.threads[former] == tag {
			return
		}
		if former >= 0 {
			r.threads = r.threads[:former]
		}
		r.leave(tag)
		r.threads = append(r.threads, tag)
	})
}

func (r *reading) leave(tag uint64) {
	r.threads = slices.DeleteFunc(r.threads, func(t uint64) bool { return t == tag })
}

// choose changes which threads c watches.
func (h *Hub) choose(c Handle, change func(*reading)) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	r := h.readingOf(rec)
	before, chosen := slices.Clone(r.threads), r.chosen
	change(r)
	r.seen = nil // streams of threads that were not watched
	if len(r.threads) > MaxThreads {
		r.threads, r.chosen = before, chosen
		return ErrThreadLimit
	}
	rec.wake.Store(1)
	return nil
}

// SeekText says that c has the text of a stream of a topic up to a length.
func (h *Hub) SeekText(c Handle, topic, stream Key, length uint64) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(topic)
	if slot == 0 || h.cursorOf(rec, slot) == nil {
		return ErrGone
	}
	i := h.textCursor(rec, slot, stream, true)
	r := h.readings.at(rec.reading)
	if r.at[i].until != 0 {
		r.ended--
	}
	r.at[i] = textCursor{textName: textName{slot, stream}, at: length}
	r.unsee(slot)
	rec.wake.Store(1)
	return nil
}

// watches reports whether the text of a thread is for a connection whose lock the caller holds.
func (h *Hub) watches(rec *conn, thread uint64) bool {
	if rec.reading == 0 {
		return true
	}
	r := h.readings.at(rec.reading)
	return !r.chosen || slices.Contains(r.threads, thread)
}

// textCursor returns the number of a stream's cursor, made if make is set, or -1.
func (h *Hub) textCursor(rec *conn, topicSlot uint32, key Key, make bool) int {
	name := textName{topicSlot, key}
	if rec.reading != 0 {
		if i := h.readings.at(rec.reading).find(name); i >= 0 {
			return i
		}
	}
	if !make {
		return -1
	}
	r := h.readingOf(rec)
	r.at = append(r.at, textCursor{textName: name})
	if r.of != nil {
		r.of[name] = len(r.at) - 1
	}
	return len(r.at) - 1
}

// fewTexts is how many cursors, or streams, are looked at one by one.
const fewTexts = 8

// find returns the number of a cursor, or -1.
func (r *reading) find(name textName) int {
	if len(r.at) <= fewTexts {
		return slices.IndexFunc(r.at, func(cur textCursor) bool { return cur.textName == name })
	}
	if r.of == nil {
		r.of = make(map[textName]int, 2*len(r.at))
		for i := range r.at {
			r.of[r.at[i].textName] = i
		}
	}
	if i, ok := r.of[name]; ok {
		return i
	}
	return -1
}

// drop drops cursors.
func (r *reading) drop(which func(*textCursor) bool) {
	r.ended, r.of = 0, nil
	r.at = slices.DeleteFunc(r.at, func(cur textCursor) bool {
		gone := which(&cur)
		if !gone && cur.until != 0 {
			r.ended++
		}
		return gone
	})
}

// end notes at which entry a stream ends.
func (r *reading) end(i int, offset uint64) {
	if r.at[i].until == 0 {
		r.ended++
	}
	r.at[i].until = offset
}

// takenOf is how far a stream is written once the turn is.
func (r *reading) takenOf(i int) uint64 {
	if r.at[i].turn == r.turn {
		return max(r.at[i].taken, r.at[i].at)
	}
	return r.at[i].at
}

// unsee lets all streams of a topic be looked at again.
func (r *reading) unsee(topicSlot uint32) {
	r.seen = slices.DeleteFunc(r.seen, func(s textSeen) bool { return s.topic == topicSlot })
}

// seenOf is the version up to which a connection has all text of a topic.
func (h *Hub) seenOf(rec *conn, topicSlot uint32) uint64 {
	if rec.reading != 0 {
		for _, s := range h.readings.at(rec.reading).seen {
			if s.topic == topicSlot {
				return s.version
			}
		}
	}
	return 0
}

// sawTexts notes, when a turn is written as a whole, what the connection has now.
func (h *Hub) sawTexts(s *scratch, rec *conn) {
	for _, saw := range s.saw {
		r := h.readingOf(rec)
		i := slices.IndexFunc(r.seen, func(old textSeen) bool { return old.topic == saw.topic })
		if i < 0 {
			r.seen = append(r.seen, saw)
		} else {
			r.seen[i] = saw
		}
	}
	s.saw = s.saw[:0]
}

// beginTexts prepares the text cursors of a connection for a turn: those of streams that have
// ended for it are dropped.
func (h *Hub) beginTexts(rec *conn) {
	if rec.reading == 0 {
		return
	}
	r := h.readings.at(rec.reading)
	r.turn++
	if r.ended > 0 {
		r.drop(func(cur *textCursor) bool {
			at := h.cursorOf(rec, cur.topic)
			return at == nil || cur.until != 0 && at.offset >= cur.until
		})
	}
	if len(r.at)+len(r.boards) > 0 || r.chosen {
		return
	}
	r.seen = slices.DeleteFunc(r.seen, func(s textSeen) bool { return h.topics.at(s.topic).streams.Load() == 0 })
	if len(r.seen) == 0 {
		h.dropReading(rec)
	}
}

// leaveTexts drops the cursors of a topic that is no longer followed.
func (h *Hub) leaveTexts(rec *conn, topicSlot uint32) {
	if rec.reading != 0 {
		r := h.readings.at(rec.reading)
		r.drop(func(cur *textCursor) bool { return cur.topic == topicSlot })
		r.unsee(topicSlot)
		r.boards = slices.DeleteFunc(r.boards, func(cur boardCursor) bool { return cur.topic == topicSlot })
	}
}

// skipEnds is called when a connection was told of a gap: cursors of streams that have ended
// are dropped once it has come to where the topic is now, because their ends may be in the gap.
// The caller holds rec.mu.
func (h *Hub) skipEnds(rec *conn, topicSlot uint32) {
	if rec.reading == 0 {
		return
	}
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	defer t.mu.Unlock()
	r := h.readings.at(rec.reading)
	for i := range r.at {
		if r.at[i].topic != topicSlot {
			continue
		}
		if st := h.streamAt(t, r.at[i].key); st == nil || st.ended {
			r.end(i, max(1, t.head.Load()))
		}
	}
}

// textSource is where the text of a flush comes from: the topic whose lock is held, if any, and
// what a worker has read.
type textSource struct {
	slot    uint32 // of the topic
	rec     *topic // locked; nil: only what was read
	address string // of the topic, made when needed
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
			from: place{key: src.rec.key, stream: s.need.key, pos: wire.Position{Offset: s.need.at}},
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
			s.skip(markText+at, end, cur)
		}
	}
}

// skip moves a text cursor without a frame: there is no such text any more.
func (s *scratch) skip(which int, end uint64, cur *textCursor) {
	for i := len(s.marks) - 1; i >= 0; i-- {
		if s.marks[i].which == which {
			s.marks[i].after = end
			return
		}
	}
	cur.at = end
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

// readStream reads the text of a stream once for all cursors at the same place.
func (h *Hub) readStream(s *scratch, from place) {
	r, err := h.readText(from)
	if err != nil {
		h.failed(err, job{from: from})
		return
	}
	for _, c := range h.catch.take(from) {
		h.handText(s, c, from, r)
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
