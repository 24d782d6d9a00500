package hub

// streamSet is the streams of a topic. It exists while there are some. The lock of the topic
// guards it.
//
// They are in the order in which they last had something to write, each with a version that
// is greater than all before it, so that a flush looks only at those that have changed since
// the last one, however many there are.
type streamSet struct {
	of             map[Key]uint32
	oldest, newest uint32 // ends of the list that stream.earlier and later link
}

// streamAt returns a stream of a topic, or nil. The caller holds rec.mu.
func (h *Hub) streamAt(rec *topic, key Key) *stream {
	if set := rec.streams.Load(); set != 0 {
		if i := h.sets.at(set).of[key]; i != 0 {
			return h.streams.at(i)
		}
	}
	return nil
}

// addStream makes a stream known that was length long. The caller holds rec.mu.
func (h *Hub) addStream(slot uint32, rec *topic, s Stream, length uint64) {
	number := rec.streams.Load()
	if number == 0 {
		number = h.sets.get()
		h.sets.at(number).of = make(map[Key]uint32)
	}
	i := h.streams.get()
	st := h.streams.at(i)
	st.Stream, st.thread = s, h.threadTag(s.Thread)
	st.head, st.ready, st.flushed = length, length, longAgo
	st.touched.Store(h.tick())
	st.text.restart(length)
	st.owner.Store(slot)
	h.sets.at(number).of[s.Key] = i
	h.toEnd(h.sets.at(number), i)
	rec.streams.Store(number) // the last: who reads it without the lock finds a set that is whole
}

// toEnd puts a stream at the end of the order.
func (h *Hub) toEnd(set *streamSet, i uint32) {
	st := h.streams.at(i)
	st.version, st.number = h.versions.Add(1), i
	st.earlier, st.later = set.newest, 0
	if set.newest != 0 {
		h.streams.at(set.newest).later = i
	} else {
		set.oldest = i
	}
	set.newest = i
}

// unlink takes a stream out of the order.
func (h *Hub) unlink(set *streamSet, st *stream) {
	if st.earlier != 0 {
		h.streams.at(st.earlier).later = st.later
	} else {
		set.oldest = st.later
	}
	if st.later != 0 {
		h.streams.at(st.later).earlier = st.earlier
	} else {
		set.newest = st.earlier
	}
}

// changed notes that a stream has something to write. The caller holds rec.mu.
func (h *Hub) changed(rec *topic, st *stream) {
	set := h.sets.at(rec.streams.Load())
	h.unlink(set, st)
	h.toEnd(set, st.number)
}

// changedSince returns the first stream, in order, that has changed after a version, or 0.
func (h *Hub) changedSince(set *streamSet, version uint64) (first uint32) {
	for i := set.newest; i != 0 && h.streams.at(i).version > version; i = h.streams.at(i).earlier {
		first = i
	}
	return first
}

// dropStream makes a stream known no more. The caller holds rec.mu.
func (h *Hub) dropStream(rec *topic, i uint32) {
	st, number := h.streams.at(i), rec.streams.Load()
	set := h.sets.at(number)
	h.unlink(set, st)
	delete(set.of, st.Key)
	st.text = span{}
	h.weigh(rec, st)
	st.owner.Store(0)
	st.Stream, st.earlier, st.later = Stream{}, 0, 0
	st.pending, st.ended, st.missed = false, false, false
	h.streams.put(i)
	if len(set.of) == 0 {
		rec.streams.Store(0)
		*set = streamSet{}
		h.sets.put(number)
	}
}

// dropStreams does that for all of a topic. The caller holds rec.mu.
func (h *Hub) dropStreams(rec *topic) {
	for n := rec.streams.Load(); n != 0; n = rec.streams.Load() {
		h.dropStream(rec, h.sets.at(n).oldest)
	}
}

// missEnds notes that entries up to the topic's head were missed. A stream of which nothing
// comes any more will be known no more. The caller holds rec.mu.
func (h *Hub) missEnds(rec *topic) {
	rec.ends = rec.head.Load()
	if n := rec.streams.Load(); n != 0 {
		for i := h.sets.at(n).oldest; i != 0; i = h.streams.at(i).later {
			h.streams.at(i).missed = true
		}
	}
}
