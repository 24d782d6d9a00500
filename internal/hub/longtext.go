package hub

import (
	"slices"
	"sync"
	"unicode/utf8"
)

const (
	// longText is how many bytes of a stream are worth keeping once they were read: who is so far
	// behind takes them in many turns, and is seldom alone.
	longText = chunkBytes
	// longTexts is how many such texts are kept at most.
	longTexts = 16
	// signEvery is the number of code points between two places in such a text that are known.
	signEvery = 64 << 10
)

// longRead is text that was read of a stream and that never changes. Whoever is in the midst of
// it reads on there, and not the whole rest of the stream again.
type longRead struct {
	topic, key Key
	tenant     uint32
	from, to   uint64 // code points
	text       []byte
	signs      []int  // where in text every signEvery-th code point begins
	used       uint32 // tick
}

// longReads are those that are kept, charged to the tenants of their topics.
type longReads struct {
	mu   sync.Mutex // guards list and longRead.used
	list []*longRead
}

// find returns text from a place on, or nil.
func (l *longReads) find(from place, now uint32) *readText {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := from.pos.Offset
	for _, t := range l.list {
		if t.topic != from.key || t.key != from.stream || at < t.from || at >= t.to {
			continue
		}
		t.used = now
		sign := (at - t.from) / signEvery
		r := &readText{key: t.key}
		r.span.restart(t.from + sign*signEvery)
		r.span.to = t.to
		r.span.text = t.text[t.signs[sign]:len(t.text):len(t.text)]
		return r
	}
	return nil
}

// keepLong keeps text that was read, if there is memory for it.
func (h *Hub) keepLong(from place, p *span) {
	_, rec := h.topicAt(from.key)
	if rec == nil {
		return
	}
	tenant := rec.tenant
	rec.mu.Unlock()
	if !h.charge(tenant, int64(len(p.text))) {
		return
	}
	t := &longRead{topic: from.key, key: from.stream, tenant: tenant, from: p.from, to: p.to, text: p.text, used: h.tick()}
	for at, n := 0, 0; at < len(p.text); n++ {
		if n%signEvery == 0 {
			t.signs = append(t.signs, at)
		}
		_, size := utf8.DecodeRune(p.text[at:])
		at += size
	}
	h.longs.mu.Lock()
	h.longs.list = append(h.longs.list, t)
	h.longs.mu.Unlock()
	h.dropLongs(func(old *longRead, n int) bool { return n > longTexts })
}

// dropLongs drops texts, those first that were not used for longest, which is told how many
// there are.
func (h *Hub) dropLongs(which func(t *longRead, n int) bool) (dropped int) {
	h.longs.mu.Lock()
	defer h.longs.mu.Unlock()
	now := h.tick()
	slices.SortStableFunc(h.longs.list, func(a, b *longRead) int { return int(int32(now-b.used) - int32(now-a.used)) })
	n := len(h.longs.list)
	h.longs.list = slices.DeleteFunc(h.longs.list, func(t *longRead) bool {
		gone := which(t, n)
		if gone {
			h.charge(t.tenant, -int64(len(t.text)))
			n--
			dropped++
		}
		return gone
	})
	return dropped
}

// freeIdleLongs is called by the reaper.
func (h *Hub) freeIdleLongs() {
	now := h.tick()
	h.dropLongs(func(t *longRead, _ int) bool { return int32(now-t.used) > windowIdle })
}
