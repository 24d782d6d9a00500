package hub

import (
	"sort"
	"sync/atomic"
)

// window is what a topic keeps of its recent entries: those after topic.base,
// in order. It exists only while some follower lags. The lock of its topic
// guards it.
type window struct {
	owner   atomic.Uint32 // topic, 0: unused; a hint to the reaper, which then locks the topic and looks again
	touched atomic.Uint32 // tick of the last append; written under the lock
	from    int           // first entry still here
	entries []kept
	bytes   int
}

// kept is an entry in a window.
type kept struct {
	offset uint64
	frame  []byte
	except []Session
	marks  []Mark
}

// append adds e, which the caller has checked, to the topic's window and moves
// its head. The caller holds rec.mu.
func (h *Hub) append(slot uint32, rec *topic, e *Entry) {
	defer rec.head.Store(e.Pos.Offset)
	h.heed(slot, rec, e)
	if rec.count == 0 {
		h.dropWindow(rec)
		rec.base = e.Pos.Offset
		return
	}
	if rec.window == 0 {
		rec.window = h.windows.get()
		h.windows.at(rec.window).owner.Store(slot)
		rec.base = rec.head.Load()
	}
	w := h.windows.at(rec.window)
	w.touched.Store(h.tick())
	k := kept{e.Pos.Offset, e.Frame, e.Except, e.Marks}
	size := k.weight()
	for have := len(w.entries) - w.from; have > 0 && (have >= h.cfg.WindowMessages || w.bytes+size > h.cfg.WindowBytes); have-- {
		h.evict(rec, w)
	}
	if size > h.cfg.WindowBytes || !h.room(rec, w, size) { // it is in the log
		h.dropWindow(rec)
		rec.base = e.Pos.Offset
		return
	}
	w.entries = append(w.entries, k)
	w.bytes += size
}

// room charges for an entry, for which older ones of the window go if need be. The caller holds
// rec.mu.
func (h *Hub) room(rec *topic, w *window, size int) bool {
	for !h.charge(rec.tenant, int64(size)) {
		h.count.evicted.Add(1)
		if len(w.entries) == w.from {
			return false
		}
		h.evict(rec, w)
	}
	return true
}

// evict lets the oldest entry go. Nothing is lost by it: a cursor that wants
// it reads the log. The caller holds rec.mu.
func (h *Hub) evict(rec *topic, w *window) {
	e := &w.entries[w.from]
	rec.base = e.offset
	w.bytes -= e.weight()
	h.charge(rec.tenant, -int64(e.weight()))
	*e = kept{}
	w.from++
	if w.from > len(w.entries)/2 {
		n := copy(w.entries, w.entries[w.from:])
		clear(w.entries[n:])
		w.entries, w.from = w.entries[:n], 0
	}
}

// after returns the entries that follow offset. The caller holds rec.mu and
// has seen that offset is not before rec.base.
func (w *window) after(offset uint64) []kept {
	list := w.entries[w.from:]
	if n := len(list); n > 0 && list[n-1].offset > offset && (n == 1 || list[n-2].offset <= offset) {
		return list[n-1:] // the usual case: just the newest
	}
	return list[sort.Search(len(list), func(i int) bool { return list[i].offset > offset }):]
}

// trim drops what no follower needs any more: all up to offset. The caller
// holds rec.mu.
func (h *Hub) trim(rec *topic, offset uint64) {
	if rec.window == 0 {
		return
	}
	if offset >= rec.head.Load() {
		h.dropWindow(rec)
		return
	}
	w := h.windows.at(rec.window)
	for len(w.entries) > w.from && w.entries[w.from].offset <= offset {
		h.evict(rec, w)
	}
}

// dropWindow gives the whole window back. The caller holds rec.mu.
func (h *Hub) dropWindow(rec *topic) {
	rec.base = rec.head.Load()
	if rec.window == 0 {
		return
	}
	w := h.windows.at(rec.window)
	h.charge(rec.tenant, -int64(w.bytes))
	clear(w.entries)
	if cap(w.entries) > 16 {
		w.entries = nil // a burst's memory is not kept for a quiet topic
	}
	w.owner.Store(0)
	w.entries, w.bytes, w.from = w.entries[:0], 0, 0
	h.windows.put(rec.window)
	rec.window = 0
}

// windowIdle is how long a window stays for those who lag when nothing is
// appended. Later they read the log.
const windowIdle = 10_000 / 10 // ticks

// freeIdleWindows is called by the reaper.
func (h *Hub) freeIdleWindows() {
	for i := range h.windows.limit() {
		if i == 0 {
			continue
		}
		h.freeIdleWindow(i)
	}
}

func (h *Hub) freeIdleWindow(i uint32) {
	w := h.windows.at(i)
	owner := w.owner.Load()
	if owner == 0 {
		return
	}
	rec := h.topics.at(owner)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.window == i && int32(h.tick()-w.touched.Load()) > windowIdle {
		h.dropWindow(rec)
	}
}
