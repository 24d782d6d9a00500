package hub

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// memory counts what is kept of topics: windows, boards, texts with the frames made of them,
// and long texts that were read. What is kept is never more than [Config].MemoryBytes and, of one tenant,
// [Config].TenantBytes; only that there is a newest message of a key on a board, without its
// frame, is kept in any case, and so is what waits on connections, which has bounds of its own
// (control.go). Whoever finds no room keeps less, down to nothing: what is not
// kept is read from the driver. When three quarters are taken the reaper gives up what was used
// longest ago, so that this is rare.
type memory struct {
	total   atomic.Int64
	tenants tenantCounts
	pressed atomic.Bool   // the reaper is to make room
	again   atomic.Uint32 // tick from which it may do so again
	told    atomic.Bool   // the operator knows
}

// tenantCounts has a counter for each tenant.
type tenantCounts struct {
	list atomic.Pointer[[]*atomic.Int64] // by number; replaced when it grows

	mu sync.Mutex // guards the replacing of list
}

// of is the counter of a tenant.
func (t *tenantCounts) of(tenant uint32) *atomic.Int64 {
	if p := t.list.Load(); p != nil && int(tenant) < len(*p) {
		return (*p)[tenant]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*atomic.Int64
	if p := t.list.Load(); p != nil {
		list = *p
	}
	grown := slices.Clone(list)
	for len(grown) <= int(tenant) || len(grown) < 2*len(list) {
		grown = append(grown, new(atomic.Int64))
	}
	t.list.Store(&grown)
	return grown[tenant]
}

// add adds n unless that would be more than most.
func add(counter *atomic.Int64, n, most int64) bool {
	for {
		now := counter.Load()
		if n > most-now {
			return false
		}
		if counter.CompareAndSwap(now, now+n) {
			return true
		}
	}
}

// charge counts n bytes more that are kept of a tenant's topics. It is false, and nothing is
// counted, if the tenant or the node would have more than it may.
func (h *Hub) charge(tenant uint32, n int64) bool {
	of := h.memory.tenants.of(tenant)
	if n <= 0 {
		of.Add(n)
		h.memory.total.Add(n)
		return true
	}
	fits := add(of, n, h.cfg.TenantBytes)
	if fits && !add(&h.memory.total, n, h.cfg.MemoryBytes) {
		of.Add(-n)
		fits = false
	}
	if !fits || h.above(tenant, soft) {
		h.press(tenant, fits)
	}
	return fits
}

// chargeAnyway is charge for what is kept in any case.
func (h *Hub) chargeAnyway(tenant uint32, n int64) {
	h.memory.tenants.of(tenant).Add(n)
	h.memory.total.Add(n)
	if n > 0 && h.above(tenant, soft) {
		h.press(tenant, true)
	}
}

// How full memory is, in quarters, when there is none left, when the reaper begins to make room, and
// when it ends.
const (
	full = 4
	soft = 3
	calm = 2
)

// above reports whether a tenant, or the node, has more than so many quarters.
func (h *Hub) above(tenant uint32, quarters int64) bool {
	return h.memory.tenants.of(tenant).Load() > h.cfg.TenantBytes/4*quarters || h.memory.total.Load() > h.cfg.MemoryBytes/4*quarters
}

// boardKept is for how many ticks a board keeps its frames after one was put there.
const boardKept = 2

// relieveShare is the share of its time, one in so many, that the reaper spends on making room:
// it looks at everything, also where that does not help because much must be kept in any case.
const relieveShare = 20

// press lets the reaper make room, once per tick at most.
func (h *Hub) press(tenant uint32, fits bool) {
	if !fits && h.memory.told.CompareAndSwap(false, true) {
		h.log.LogAttrs(h.ctx, slog.LevelWarn, "memory for recent messages is full: who is behind reads the log",
			slog.String("tenant", h.tenants.name(tenant)), slog.Int64("bytes", h.memory.total.Load()))
	}
	if int32(h.tick()-h.memory.again.Load()) >= 0 && h.memory.pressed.CompareAndSwap(false, true) {
		h.reaper.poke()
	}
}

// held is something that can be given up: a window, the text of a stream or the frames of class
// Latest on a board.
type held struct {
	age    int32 // ticks since it was used
	window uint32
	stream uint32
	board  uint32
}

// relieve gives up what was used longest ago, of tenants that have much, or of all if the node
// has, until that is no longer so. The reaper calls it.
func (h *Hub) relieve() {
	if !h.memory.pressed.Load() {
		return
	}
	began, now := time.Now(), h.tick()
	defer func() {
		h.memory.again.Store(h.tick() + 1 + uint32(relieveShare*time.Since(began)/tickLength))
		h.memory.pressed.Store(false)
	}()
	h.freePassed()
	given := h.dropLongs(func(t *longRead, _ int) bool { return h.above(t.tenant, calm) })
	h.count.evicted.Add(uint64(given))
	var list []held
	for i := uint32(1); i < h.windows.limit(); i++ {
		if w := h.windows.at(i); h.crowded(w.owner.Load()) {
			list = append(list, held{age: int32(now - w.touched.Load()), window: i})
		}
	}
	for i := uint32(1); i < h.streams.limit(); i++ {
		if st := h.streams.at(i); h.crowded(st.owner.Load()) {
			list = append(list, held{age: int32(now - st.touched.Load()), stream: i})
		}
	}
	for i := uint32(1); i < h.boards.limit(); i++ {
		if b := h.boards.at(i); h.crowded(b.owner.Load()) {
			list = append(list, held{age: int32(now - b.touched.Load()), board: i})
		}
	}
	slices.SortFunc(list, func(a, b held) int { return cmp.Compare(b.age, a.age) })
	for _, it := range list {
		h.giveUp(it)
	}
}

// crowded reports whether what is kept of a topic, 0 for none, may be given up. It is a hint:
// the record may be another topic's by now.
func (h *Hub) crowded(topicSlot uint32) bool {
	if topicSlot == 0 {
		return false
	}
	rec := h.topics.at(topicSlot)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return h.above(rec.tenant, calm)
}

// giveUp drops a window, a text or the frames of a board, if its tenant or the node still has too much.
func (h *Hub) giveUp(it held) {
	owner := uint32(0)
	switch {
	case it.window != 0:
		owner = h.windows.at(it.window).owner.Load()
	case it.board != 0:
		owner = h.boards.at(it.board).owner.Load()
	default:
		owner = h.streams.at(it.stream).owner.Load()
	}
	if owner == 0 {
		return
	}
	rec := h.topics.at(owner)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !h.above(rec.tenant, calm) {
		return
	}
	switch {
	case it.window != 0 && rec.window == it.window:
		w := h.windows.at(it.window)
		h.count.evicted.Add(uint64(len(w.entries) - w.from))
		h.dropWindow(rec)
	case it.board != 0 && rec.board.Load() == it.board:
		// What was just put there is about to be taken. Without it whoever needs it would ask for it again,
		// in vain as long as this is quicker.
		if b := h.boards.at(it.board); int32(h.tick()-b.touched.Load()) >= boardKept {
			h.stripAll(b)
		}
	case it.stream != 0 && h.streams.at(it.stream).owner.Load() == owner:
		if st := h.streams.at(it.stream); st.weight > 0 {
			h.count.evicted.Add(1)
			h.forgetText(rec, st)
		}
	}
}

// weight is what an entry costs in a window.
func (e *kept) weight() int {
	return int(unsafe.Sizeof(*e)) + len(e.frame) + len(e.except)*len(Session{}) + len(e.marks)*int(unsafe.Sizeof(Mark{}))
}

// weight is what a message costs on a board.
func (p *posted) weight() int {
	return int(unsafe.Sizeof(*p)) + len(p.frame) + len(p.except)*len(Session{}) + len(p.key)
}

// weight is what a piece of text costs.
func (p *span) weight() int64 {
	n := int64(cap(p.text))
	for i := range p.chunks {
		n += int64(len(p.chunks[i].frame))
	}
	return n
}

// hold makes room for n bytes more of a stream. The caller holds the topic's lock.
func (h *Hub) hold(rec *topic, st *stream, n int) bool {
	if n > 0 && !h.charge(rec.tenant, int64(n)) {
		h.count.evicted.Add(1)
		return false
	}
	st.weight += int64(n)
	return true
}

// weigh counts what a stream costs now. The caller holds the topic's lock.
func (h *Hub) weigh(rec *topic, st *stream) {
	if now := st.text.weight(); now != st.weight {
		h.chargeAnyway(rec.tenant, now-st.weight)
		st.weight = now
	}
}

// keepText appends text of n code points, up to the head of its stream, to what is kept of it.
// If there is no room for it nothing is kept. The caller holds the topic's lock.
func (h *Hub) keepText(rec *topic, st *stream, text string, n uint64) {
	p := &st.text
	if size := len(p.text) + len(text); size > cap(p.text) {
		grown := max(size, min(2*cap(p.text), textMost))
		if size > textMost || !h.hold(rec, st, grown-cap(p.text)) {
			h.forgetText(rec, st)
			return
		}
		p.text = append(make([]byte, 0, grown), p.text...)
	}
	p.grow(text, n)
}

// forgetText lets go of what is kept of a stream: who has less than all reads the log. The
// caller holds the topic's lock.
func (h *Hub) forgetText(rec *topic, st *stream) {
	st.text.restart(st.head)
	h.weigh(rec, st)
}

// bound is a number of bytes, where 0 stands for a default and less for no bound.
func bound(v, standard int64) int64 {
	switch {
	case v == 0:
		return standard
	case v < 0:
		return math.MaxInt64
	}
	return v
}
