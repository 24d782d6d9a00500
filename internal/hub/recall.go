package hub

import (
	"slices"
	"time"
)

// Asked is how far a topic's board was when the driver was asked what it has.
type Asked struct {
	gen    uint32 // of the topic
	number uint64 // of the latest message posted last
}

// Recalled is what the driver has of class Latest of a topic, the oldest first.
type Recalled struct {
	Asked Asked // what [Hub.Asking] returned before the driver was asked
	List  []Posting
	// Sure is a time that was over for the driver when it was asked: of all messages up to it
	// List has the newest.
	Sure time.Time
}

// Asking is called before the driver is asked what it has, for [Hub.Recall].
func (h *Hub) Asking(key Key) (a Asked) {
	_, rec := h.topicAt(key)
	if rec == nil {
		return a
	}
	defer rec.mu.Unlock()
	a.gen = rec.gen.Load()
	if i := rec.board.Load(); i != 0 {
		a.number = h.boards.at(i).newest.Load()
	}
	return a
}

// Recall takes the Latest postings of a topic as the driver has them, after a time in which some
// may have been missed. It is true if it cannot tell which of two is the newer: the caller asks
// the driver again a millisecond later, and is then sure of the time of what it was told before.
func (h *Hub) Recall(key Key, r Recalled) (again bool) {
	slot, rec := h.topicAt(key)
	if rec == nil {
		return false
	}
	if rec.gen.Load() == r.Asked.gen {
		h.dropGone(rec, &r)
	}
	changed := false
	for i := range r.List {
		p := &r.List[i]
		if !h.owns(rec, &p.Address) {
			h.isolation(rec, &p.Address)
			continue
		}
		switch old := h.latestOf(rec, p.Key); {
		case old != nil && h.same(old, p.Frame):
			old.at = p.At
			changed = h.refill(h.boards.at(rec.board.Load()), old, p.Frame) || changed
		case old == nil || old.at.Before(p.At) || old.at.Equal(p.At) && !p.At.After(r.Sure):
			h.postLatest(slot, rec, p)
			changed = true
		case old.at.Equal(p.At):
			again = true
		}
	}
	if !changed {
		rec.mu.Unlock()
		return again
	}
	h.deliver(slot, rec)
	return again
}

// dropGone drops what the driver did not have any more, though it was here before the driver
// was asked: it was replaced by one that has expired since, or its key was one too many. The
// caller holds rec.mu.
func (h *Hub) dropGone(rec *topic, r *Recalled) {
	i := rec.board.Load()
	if i == 0 {
		return
	}
	b := h.boards.at(i)
	b.latest = slices.DeleteFunc(b.latest, func(old posted) bool {
		gone := old.number <= r.Asked.number &&
			!slices.ContainsFunc(r.List, func(p Posting) bool { return p.Key == old.key })
		if gone {
			h.unpost(b, &old)
		}
		return gone
	})
}

// superseded reports whether a live message of class Latest is known already, or is older than
// the one that its topic has: what was recalled may overtake what is still on its way. The
// caller holds rec.mu.
func (h *Hub) superseded(rec *topic, p *Posting) bool {
	old := h.latestOf(rec, p.Key)
	return old != nil && (p.At.Before(old.at) || p.At.Equal(old.at) && h.same(old, p.Frame))
}

// agePostings makes whatever comes newer than what a topic has of class Latest: another epoch
// may have another clock. The caller holds rec.mu.
func (h *Hub) agePostings(rec *topic) {
	if i := rec.board.Load(); i != 0 {
		b := h.boards.at(i)
		for k := range b.latest {
			b.latest[k].at = time.Time{}
		}
	}
}
