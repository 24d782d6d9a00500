package hub

import (
	"slices"

	"github.com/netra-systems/switchboard/wire"
)

// extra is what a connection has beside its cursors: it exists while something
// is unwritten, or when the connection ends.
type extra struct {
	rest    []byte    // of a frame that was begun: nothing else may be written before it
	control []waiting // whole frames, written before those of topics
	bytes   int       // of control
	told    int       // of those frames of control that nobody on the connection asked for
	charged int       // what is counted of this extra among the memory that is kept
	lost    int       // frames of control that were given up
	close   []byte    // the close frame, written last
	end     End
}

// waiting is a control frame that waits to be written.
type waiting struct {
	frame []byte
	told  bool // see Tell
}

// Send queues a control frame, which is written before all messages of
// topics; frame must not change any more. An answer is always taken: when more
// than Config.ControlBytes wait, c is not read until they are written, so that
// no more questions come. What is optional is refused instead, with ErrFull, while
// something else waits. What is neither is for [Hub.Tell].
func (h *Hub) Send(c Handle, frame []byte, optional bool) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	return h.send(rec, frame, optional)
}

// send is Send for a caller that holds rec.mu.
func (h *Hub) send(rec *conn, frame []byte, optional bool) error {
	if rec.flags&(connClosing|connCloseSent) != 0 {
		return ErrGone
	}
	x := h.extraOf(rec)
	if optional && x.bytes > 0 && x.bytes+len(frame) > h.cfg.ControlBytes {
		h.count.refused.Add(1)
		return ErrFull
	}
	h.queue(rec, x, len(x.control), waiting{frame: frame})
	return nil
}

// Tell queues a control frame that c must get and has not asked for: other devices of its user
// bring it about, or the application does. Not to read c ends nothing of that. So a connection on
// which Config.ToldBytes of such frames wait is closed with 1013 instead of taking one more, also
// one with more than Config.ControlBytes of them while the tenant or the node has no memory left.
// The error is ErrFull then, and ErrGone when c has ended.
func (h *Hub) Tell(c Handle, frame []byte) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	return h.tell(rec, c, frame)
}

// tell is Tell for a caller that holds rec.mu.
func (h *Hub) tell(rec *conn, c Handle, frame []byte) error {
	if rec.flags&(connClosing|connCloseSent) != 0 {
		return ErrGone
	}
	x := h.extraOf(rec)
	if x.told >= h.cfg.ToldBytes || x.told > h.cfg.ControlBytes && h.above(h.topics.at(rec.user).tenant, full) {
		h.overfull(rec, c, x)
		return ErrFull
	}
	h.queue(rec, x, len(x.control), waiting{frame: frame, told: true})
	return nil
}

// overfull closes a connection on which too much waits. All of that is given up: it would keep
// the close from a client that is slow, and who comes back asks anew. The caller holds rec.mu.
func (h *Hub) overfull(rec *conn, c Handle, x *extra) {
	h.count.overfull.Add(1)
	x.lost += len(x.control)
	x.control, x.bytes, x.told = nil, 0, 0
	h.chargeWaiting(rec, x)
	h.closeLocked(rec, c, End{Code: wire.CloseTryAgain, Reason: "too much waited to be written: reconnect", Overfull: true}, false)
}

// say queues a control frame, if there is one and the connection still talks: an answer, or what
// it has not asked for. The caller holds rec.mu.
func (h *Hub) say(rec *conn, c Handle, frame []byte, asked bool) {
	switch {
	case frame == nil:
	case asked:
		_ = h.send(rec, frame, false)
	default:
		_ = h.tell(rec, c, frame)
	}
}

// Greet queues a control frame before all that was sent so far. Only what Start has not been
// called for can be greeted: nothing was written to it yet.
func (h *Hub) Greet(c Handle, frame []byte) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	if rec.flags&(connClosing|connCloseSent|connReading) != 0 {
		return ErrGone
	}
	h.queue(rec, h.extraOf(rec), 0, waiting{frame: frame})
	return nil
}

// queue puts a control frame at a place in x, which is rec's. The caller holds rec.mu.
func (h *Hub) queue(rec *conn, x *extra, at int, w waiting) {
	x.control = slices.Insert(x.control, at, w)
	x.bytes += len(w.frame)
	if w.told {
		x.told += len(w.frame)
	}
	h.chargeWaiting(rec, x)
	rec.sent++
	if x.bytes > h.cfg.ControlBytes && rec.flags&(connPaused|connPeerClosed) == 0 {
		rec.flags |= connPaused
		h.engine.Pause(rec.sock)
	}
	rec.wake.Store(1)
}

// unqueue takes the first n control frames away, which were begun. The caller holds rec.mu.
func (h *Hub) unqueue(rec *conn, x *extra, n int) {
	for _, w := range x.control[:n] {
		x.bytes -= len(w.frame)
		if w.told {
			x.told -= len(w.frame)
		}
	}
	kept := copy(x.control, x.control[n:])
	clear(x.control[kept:])
	x.control = x.control[:kept]
	h.chargeWaiting(rec, x)
	if x.bytes <= h.cfg.ControlBytes && rec.flags&connPaused != 0 {
		rec.flags &^= connPaused
		h.engine.Resume(rec.sock)
	}
}

// chargeWaiting counts what waits on a connection among the memory that is kept of its tenant, as far as it
// is more than Config.ControlBytes, which any connection may have. It is counted in any case, so what is
// kept of topics makes room for it. The caller holds rec.mu.
func (h *Hub) chargeWaiting(rec *conn, x *extra) {
	n := max(0, x.bytes+len(x.rest)-h.cfg.ControlBytes)
	if n != x.charged {
		h.chargeAnyway(h.topics.at(rec.user).tenant, int64(n-x.charged))
		x.charged = n
	}
}

// extraOf returns rec's extra, made if need be. The caller holds rec.mu.
func (h *Hub) extraOf(rec *conn) *extra {
	if rec.extra == 0 {
		rec.extra = h.extras.get()
	}
	return h.extras.at(rec.extra)
}

// dropExtra gives rec's extra back. The caller holds rec.mu.
func (h *Hub) dropExtra(rec *conn) {
	if rec.extra == 0 {
		return
	}
	x := h.extras.at(rec.extra)
	clear(x.control)
	control := x.control[:0]
	if cap(control) > 8 {
		control = nil
	}
	x.rest, x.bytes = nil, 0
	h.chargeWaiting(rec, x)
	*x = extra{control: control}
	h.extras.put(rec.extra)
	rec.extra = 0
}
