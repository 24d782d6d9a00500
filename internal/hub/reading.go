package hub

import (
	"hash/maphash"
	"slices"
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
	owed    []owedText       // each of a stream with a cursor
	turn    uint32           // counts turns
	seen    []textSeen
	boards  []boardCursor
	boardOf map[uint32]int // numbers in boards by topic, made when they are many
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
	return h.seekText(c, topic, stream, length, nil)
}

// seekText does that, and then something more, if then is not nil.
func (h *Hub) seekText(c Handle, topic, stream Key, length uint64, then func(r *reading, topicSlot uint32)) error {
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
	r.owed = slices.DeleteFunc(r.owed, func(o owedText) bool { return o.topic == slot && o.Key == stream })
	if then != nil {
		then(r, slot)
	}
	r.unsee(slot)
	rec.wake.Store(1)
	return nil
}

// ForgetTexts says that c has nothing of the streams of a topic, until SeekText says otherwise.
func (h *Hub) ForgetTexts(c Handle, topic Key) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(topic)
	if rec.reading == 0 || slot == 0 {
		return
	}
	r := h.readings.at(rec.reading)
	r.drop(func(cur *textCursor) bool { return cur.topic == slot })
	r.unsee(slot)
	rec.wake.Store(1)
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
	r.forgive()
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
	r.settleOwed()
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
		r.boardOf = nil
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
		owed := func(o owedText) bool { return o.topic == topicSlot && o.Key == r.at[i].key }
		if r.at[i].topic != topicSlot || slices.ContainsFunc(r.owed, owed) {
			continue
		}
		if st := h.streamAt(t, r.at[i].key); st == nil || st.ended {
			r.end(i, max(1, t.head.Load()))
		}
	}
}
