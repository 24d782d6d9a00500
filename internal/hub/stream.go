package hub

import (
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// textWindow is how long text waits for more, so that many small appends become few
	// frames. Text that follows two windows of silence does not wait.
	textWindow = 25 * time.Millisecond
	// textKeep is how much text, in bytes, a node keeps of a stream beyond what has not been
	// flushed. Who is further behind reads the log of the stream.
	textKeep = 4 << 10
	// textMost is how much text, in bytes, a node keeps of a stream at all: what comes within
	// one window may be more than that.
	textMost = 1 << 20
	// chunkBytes is how much text, in bytes, a chunk holds at most.
	chunkBytes = 256 << 10
	// chunksKept is how many chunks of a piece of text are remembered for who wants the same.
	chunksKept = 4
	// longAgo is when a stream was flushed that never was.
	longAgo = -time.Hour
)

// Stream names a growing text of a topic. Key is the name that drivers know; the rest is
// what receivers are told.
type Stream struct {
	Key         Key
	ID          string // "<run>/<name>"
	Run, Thread string
}

// Mark says how long a stream was at an entry: its text up to there comes before the entry,
// for all who watch its thread. Entries behind the one that ended a stream do not mark it.
type Mark struct {
	Stream
	Length uint64 // Unicode code points
	Ended  bool   // nothing comes after Length
}

// stream is a text that grows, as far as this node has heard of it. The lock of its topic
// guards it. Lengths are in code points.
type stream struct {
	owner atomic.Uint32 // topic, 0: unused; a hint to the reaper, as in window

	Stream
	number  uint32 // its own
	earlier uint32 // neighbours in the order of its set, 0: none
	later   uint32
	version uint64 // its place in the order
	thread  uint64 // tag of Thread
	head    uint64 // all that was heard
	ready   uint64 // up to here it may be written now
	text    span   // the newest part, up to head
	flushed time.Duration
	pending bool // ready moves when the window is over
	ended   bool
	missed  bool          // entries were missed, one of which may have ended it
	weight  int64         // what it is charged for
	touched atomic.Uint32 // tick of the last change; written under the lock
}

// span is a piece of a text.
type span struct {
	from, to uint64 // code points
	text     []byte
	// A place in text that is known, so that reading on does not count from the beginning.
	at     uint64
	offset int
	chunks [chunksKept]chunk // made of it last; the next one takes the place of chunks[oldest]
	oldest int
}

// chunk is the frame of the text between two lengths; nil: none.
type chunk struct {
	from, to uint64
	frame    []byte
}

// grow appends text of n code points.
func (p *span) grow(text string, n uint64) {
	p.text = append(p.text, text...)
	p.to += n
}

// restart forgets the text: what follows begins at a length.
func (p *span) restart(at uint64) { *p = span{from: at, to: at, at: at} }

// seek returns where in text a length is, which must lie within p.
func (p *span) seek(length uint64) int {
	switch {
	case p.to-p.from == uint64(len(p.text)): // one byte each
		return int(length - p.from)
	case length < p.at:
		p.at, p.offset = p.from, 0
	}
	for ; p.at < length; p.at++ {
		_, size := utf8.DecodeRune(p.text[p.offset:])
		p.offset += size
	}
	return p.offset
}

// cut returns the text between two lengths, or less where it would be more than limit bytes,
// and its end.
func (p *span) cut(from, to uint64, limit int) (text []byte, end uint64) {
	text = p.text[p.seek(from):]
	if len(text) > limit {
		for !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	if end = from + uint64(utf8.RuneCount(text)); end <= to {
		return text, end
	}
	start := p.seek(from)
	return p.text[start:p.seek(to)], to
}

// made returns a chunk that was made before, or nil.
func (p *span) made(from, to uint64) []byte {
	for i := range p.chunks {
		if c := &p.chunks[i]; c.from == from && c.to == to {
			return c.frame
		}
	}
	return nil
}

// keep remembers a chunk.
func (p *span) keep(c chunk) {
	p.chunks[p.oldest] = c
	p.oldest = (p.oldest + 1) % chunksKept
}

// trim drops text from the front until at most keep bytes before a length are left.
func (p *span) trim(length uint64, keep int) {
	excess := p.seek(length) - keep
	if excess < keep {
		return // not worth the copying yet
	}
	for excess < len(p.text) && !utf8.RuneStart(p.text[excess]) {
		excess++
	}
	gone := uint64(utf8.RuneCount(p.text[:excess]))
	if rest := p.text[excess:]; cap(p.text) > 4*keep { // a burst's memory is not kept
		p.text = append(make([]byte, 0, len(rest)), rest...)
	} else {
		p.text = p.text[:copy(p.text, rest)]
	}
	p.from += gone
	p.at, p.offset = p.from, 0
}

// AddStream makes a stream known that has length code points at least, for those who follow
// the topic, and that grew when the topic's log was at a place. It does nothing for a topic
// that is not known here, or if streams of it have ended since, as this one may have: what
// comes of one that has not makes it known after all.
func (h *Hub) AddStream(key Key, s Stream, length uint64, at wire.Position) {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return
	}
	st := h.streamAt(rec, s.Key)
	switch {
	case st == nil && rec.flags&topicLive != 0 && h.epochs.name(rec.epoch.Load()) == at.Epoch && at.Offset >= rec.ends:
		h.addStream(slot, rec, s, length)
	case st != nil && !st.ended && st.head < length:
		h.skipText(rec, st, length)
	default:
		rec.mu.Unlock()
		return
	}
	h.deliver(slot, rec)
}

// skipText notes that text was missed: who has less than length reads it from the log. The
// caller holds the topic's lock.
func (h *Hub) skipText(rec *topic, st *stream, length uint64) {
	st.head, st.ready = length, length
	h.forgetText(rec, st)
	h.changed(rec, st)
}

// Text takes text of a stream from the driver, in the order of the stream. It is false for
// a stream that is not known, of a topic that is: the caller then finds out and calls
// [Hub.AddStream]. It never waits.
func (h *Hub) Text(key, name Key, start uint64, text string) (known bool) {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return true
	}
	st := h.streamAt(rec, name)
	if st == nil || st.ended {
		rec.mu.Unlock()
		return st != nil
	}
	n := uint64(utf8.RuneCountInString(text))
	if start+n <= st.head { // came before
		rec.mu.Unlock()
		return true
	}
	if start > st.head { // something was missed, and is in the log
		h.skipText(rec, st, start)
	}
	for ; start < st.head; start++ {
		_, size := utf8.DecodeRuneInString(text)
		text, n = text[size:], n-1
	}
	st.head += n
	st.missed = false
	st.touched.Store(h.tick())
	if rec.count == 0 {
		h.skipText(rec, st, st.head)
		rec.mu.Unlock()
		return true
	}
	h.keepText(rec, st, text, n)
	if st.pending {
		rec.mu.Unlock()
		return true
	}
	now := time.Since(h.start)
	if now-st.flushed < 2*textWindow {
		st.pending = true
		rec.mu.Unlock()
		h.texts.later(dueText{topic: Topic(handle(slot, rec.gen.Load())), stream: name, at: now + textWindow})
		return true
	}
	h.ripen(rec, st, now)
	h.deliver(slot, rec)
	return true
}

// ripen lets all text be written that is there. The caller holds the topic's lock, and
// delivers.
func (h *Hub) ripen(rec *topic, st *stream, now time.Duration) {
	if st.text.from < st.ready {
		st.text.trim(st.ready, textKeep)
		h.weigh(rec, st)
	}
	st.pending, st.ready, st.flushed = false, st.head, now
	h.changed(rec, st)
}

// heed notes what an entry says of streams, before it is appended. The caller holds rec.mu.
func (h *Hub) heed(slot uint32, rec *topic, e *Entry) {
	for i := range e.Marks {
		m := &e.Marks[i]
		if m.Ended {
			rec.ends = e.Pos.Offset
		}
		st := h.streamAt(rec, m.Key)
		if st == nil {
			if !m.Ended && rec.count > 0 {
				h.addStream(slot, rec, m.Stream, m.Length)
			}
			continue
		}
		if m.Length > st.head {
			h.skipText(rec, st, m.Length)
		}
		if m.Length > st.ready {
			st.ready = m.Length
			h.changed(rec, st)
		}
		st.ended = st.ended || m.Ended
		st.missed = false
		st.touched.Store(h.tick())
	}
}

// freeIdleStreams is called by the reaper, as freeIdleWindows is.
func (h *Hub) freeIdleStreams() {
	for i := range h.streams.limit() {
		if i != 0 {
			h.freeIdleStream(i)
		}
	}
}

func (h *Hub) freeIdleStream(i uint32) {
	st := h.streams.at(i)
	owner := st.owner.Load()
	if owner == 0 {
		return
	}
	rec := h.topics.at(owner)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if st.owner.Load() != owner || int32(h.tick()-st.touched.Load()) <= windowIdle {
		return
	}
	switch st.text.chunks = [chunksKept]chunk{}; {
	case st.ended || st.missed:
		h.dropStream(rec, i)
	case st.pending:
		h.weigh(rec, st)
	default:
		h.forgetText(rec, st)
	}
}

// chunkFrame is the frame of a piece of a stream's text.
func (h *Hub) chunkFrame(address string, s *Stream, start uint64, text []byte) []byte {
	payload, err := wire.Marshal(wire.StreamChunkPayload{StreamID: s.ID, Start: int(start), Text: string(text)})
	if err != nil {
		return nil
	}
	body, err := wire.Append(nil, wire.Envelope{
		Type: wire.StreamChunk, Timestamp: wire.Seconds(time.Now()), Topic: address,
		ThreadID: s.Thread, RunID: s.Run, Payload: payload,
	})
	if err != nil {
		return nil
	}
	return ws.AppendFrame(nil, ws.OpText, body)
}
