package switchboard

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// deadlineKind is what happens to a connection at a time.
type deadlineKind uint8

const (
	endHold    deadlineKind = iota // delivery begins without a session_restore
	credential                     // the credential is about to expire, or has
	endTyping                      // the user may have ceased to type
)

const (
	// warnBefore is how long before its credential expires a client hears of it.
	warnBefore = time.Minute
	// lookAgain bounds how long a credential is not looked at, so that it is noticed when
	// the system's clock is set.
	lookAgain = 10 * time.Minute
)

// deadlines are the times at which something happens to connections: few per connection,
// without a timer each. They are kept by the clock that nobody sets.
type deadlines struct {
	start time.Time     // immutable
	wake  chan struct{} // capacity 1; the earliest time has changed

	mu   sync.Mutex // guards heap
	heap deadlineHeap
}

// deadline holds no pointer. One whose connection has ended stays until its time, or until
// there are too many of them.
type deadline struct {
	at   time.Duration // since deadlines.start
	conn hub.Handle
	kind deadlineKind
}

type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *deadlineHeap) Push(x any)        { *h = append(*h, x.(deadline)) }
func (h *deadlineHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// in is when a time will have passed.
func (d *deadlines) in(after time.Duration) time.Duration { return max(1, time.Since(d.start)+after) }

// add makes kind happen to c at a time.
func (d *deadlines) add(at time.Duration, c hub.Handle, kind deadlineKind) {
	d.mu.Lock()
	heap.Push(&d.heap, deadline{at: at, conn: c, kind: kind})
	first := d.heap[0].conn == c && d.heap[0].kind == kind
	d.mu.Unlock()
	if first {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// due takes a deadline that is over. Without one, wait says how long until the next.
func (d *deadlines) due() (next deadline, wait time.Duration, ok bool) {
	now := time.Since(d.start)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) == 0 {
		return deadline{}, time.Hour, false
	}
	if wait := d.heap[0].at - now; wait > 0 {
		return deadline{}, wait, false
	}
	return heap.Pop(&d.heap).(deadline), 0, true
}

// compact drops deadlines that are spent if the others are a minority: with short connections
// and long credentials, or with many credentials on one, they would pile up.
func (d *deadlines) compact(live int, spent func(deadline) bool) {
	d.mu.Lock()
	items := d.heap
	if len(items) < 2*live+1024 {
		d.mu.Unlock()
		return
	}
	d.heap = nil // what is added meanwhile goes into a new one
	d.mu.Unlock()
	kept := items[:0]
	for _, item := range items {
		if !spent(item) {
			kept = append(kept, item)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heap = append(kept, d.heap...)
	heap.Init(&d.heap)
}

// keepDeadlines carries out deadlines until ctx ends.
func (m *Manager) keepDeadlines(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	tidy := time.NewTicker(time.Minute)
	defer tidy.Stop()
	for {
		next, wait, ok := m.deadlines.due()
		if ok {
			m.meet(next)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.deadlines.wake:
		case <-tidy.C:
			m.deadlines.compact(m.hub.Stats().Connections, m.spent)
		}
	}
}

// spent reports whether nothing would happen at a deadline.
func (m *Manager) spent(d deadline) bool {
	s, _, ok := m.stateOf(d.conn)
	return !ok || d.kind == credential && s.look != d.at
}

func (m *Manager) meet(d deadline) {
	switch d.kind {
	case endHold:
		if m.holds.release(d.conn) {
			m.hub.Unhold(d.conn)
		}
	case credential:
		m.checkCredential(d)
	case endTyping:
		m.lookAtTyping(d.conn)
	}
}

// checkCredential warns the client whose credential is about to expire and closes the one
// whose has. A refresh meanwhile has put it off.
func (m *Manager) checkCredential(d deadline) {
	c, now := d.conn, time.Now()
	var next, left time.Duration
	var warn, mine bool
	var expires time.Time
	there := m.changeState(c, func(s *state) {
		if s.look != d.at {
			return // another deadline sees to it
		}
		mine, s.look, expires = true, 0, s.expires
		left = expires.Sub(now)
		switch {
		case expires.IsZero() || left <= 0:
			return
		case left > warnBefore:
			next = m.deadlines.in(min(left-warnBefore, lookAgain))
		default:
			warn = s.flags&flagWarned == 0
			s.flags |= flagWarned
			next = m.deadlines.in(left)
		}
		s.look = next
	})
	switch {
	case !there || !mine || expires.IsZero():
		return
	case left <= 0:
		m.log.LogAttrs(m.life, slog.LevelDebug, "credential expired", slog.String("conn_id", m.hub.ID(c)))
		_ = m.hub.Close(c, wire.CloseExpired, "token expired: connect with a new token", true)
		return
	case warn:
		m.notify(c, wire.AuthExpiring, wire.AuthExpiringPayload{
			ExpiresAt: wire.Seconds(expires), InSeconds: float64((left + time.Second/2) / time.Second),
		})
	}
	m.deadlines.add(next, c, credential)
}

// watchCredential makes checkCredential look at c in time. Of a connection one deadline counts,
// the earliest: a client that goes back and forth between credentials does not collect them.
func (m *Manager) watchCredential(c hub.Handle) {
	var next time.Duration
	m.changeState(c, func(s *state) {
		if s.expires.IsZero() {
			return
		}
		at := m.deadlines.in(min(time.Until(s.expires)-warnBefore, lookAgain))
		if s.look == 0 || at < s.look {
			s.look, next = at, at
		}
	})
	if next != 0 {
		m.deadlines.add(next, c, credential)
	}
}
