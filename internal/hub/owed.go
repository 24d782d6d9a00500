package hub

import "slices"

// owedText is text that a connection gets though its topic may not have it any more as a stream
// that grows: what a snapshot had no room for.
type owedText struct {
	topic uint32 // slot
	Stream
	thread uint64 // tag of Thread
	to     uint64 // code points
	ended  bool   // nothing comes after to
}

// OweText says that c has the text of a stream of a topic up to a length, and gets the rest up to
// another one, while it watches the thread: once it has all of the topic's entries, each of which
// brings along the text that comes before it. With ended that was the whole text, and entries tell
// nothing of the stream any more. The error is [ErrGone].
func (h *Hub) OweText(c Handle, topic Key, of Stream, from, to uint64, ended bool) error {
	return h.seekText(c, topic, of.Key, from, func(r *reading, slot uint32) {
		switch {
		case from < to:
			r.owed = append(r.owed, owedText{topic: slot, Stream: of, thread: h.threadTag(of.Thread), to: to, ended: ended})
		case ended:
			r.drop(func(cur *textCursor) bool { return cur.textName == textName{slot, of.Key} })
		}
	})
}

// owes reports whether text of a topic is owed to a connection. The caller holds rec.mu.
func (h *Hub) owes(rec *conn, topicSlot uint32) bool {
	if rec.reading == 0 {
		return false
	}
	return slices.ContainsFunc(h.readings.at(rec.reading).owed, func(o owedText) bool { return o.topic == topicSlot })
}

// gatherOwed takes text of a topic that is owed to a connection which has all of its entries. The
// caller holds the topic's lock.
func (h *Hub) gatherOwed(s *scratch, rec *conn, src *textSource) (more bool) {
	if !h.owes(rec, src.slot) {
		return false
	}
	owed := h.readings.at(rec.reading).owed
	for i := range owed {
		o := &owed[i]
		if o.topic != src.slot || !h.watches(rec, o.thread) {
			continue
		}
		s.need = nil
		if !h.takeText(s, rec, src, &o.Stream, o.to) && s.need == nil {
			return true
		}
		more = h.ask(s, rec, src) || more
	}
	return more
}

// settleOwed drops what has been written, with the cursors that nothing else needs.
func (r *reading) settleOwed() {
	r.owed = slices.DeleteFunc(r.owed, func(o owedText) bool {
		i := r.find(textName{o.topic, o.Key})
		paid := r.at[i].at >= o.to
		if paid && o.ended {
			r.end(i, 1) // that entry, or a later one, has opened the stream
		}
		return paid
	})
}

// forgive drops what is owed of streams of which there is no cursor.
func (r *reading) forgive() {
	r.owed = slices.DeleteFunc(r.owed, func(o owedText) bool { return r.find(textName{o.topic, o.Key}) < 0 })
}
