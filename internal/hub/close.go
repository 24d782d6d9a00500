package hub

import (
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// closeAbnormal is how a connection ends that nobody closed (RFC 6455 §7.4.1).
const closeAbnormal wire.CloseCode = 1006

// Unwritable is why a connection ends that took nothing for too long.
const Unwritable = "nothing could be written for too long: reconnect"

// Close ends a connection: with drain, after what is pending has been written.
// It returns at once; Events.Closed follows, at the latest when
// Config.CloseGrace is over. The first close of a connection holds, except
// that one without drain overtakes one with.
func (h *Hub) Close(c Handle, code wire.CloseCode, reason string, drain bool) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	h.closeLocked(rec, c, End{Code: code, Reason: reason}, drain)
	h.unlock(rec, c.slot())
	return nil
}

// closeLocked is Close under rec's lock, for a connection that is alive.
func (h *Hub) closeLocked(rec *conn, c Handle, end End, drain bool) {
	if rec.flags&connClosing != 0 {
		return
	}
	x := h.extraOf(rec)
	first := rec.flags&connDraining == 0
	if first {
		x.end = end
		x.close = ws.AppendClose(nil, uint16(end.Code), end.Reason)
	}
	if drain {
		rec.flags |= connDraining
		h.tellNow(rec)
	} else {
		rec.flags |= connClosing
	}
	if rec.flags&connPaused != 0 { // or the answer to our close is never read
		rec.flags &^= connPaused
		h.engine.Resume(rec.sock)
	}
	if first {
		h.reaper.within(c, h.cfg.CloseGrace)
	}
	rec.wake.Store(1)
}

// Abandon releases a connection now, whatever is pending. End.Cut says so.
func (h *Hub) Abandon(c Handle) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	end := End{Code: wire.CloseGoingAway, Reason: "server stops"}
	if rec.extra != 0 && rec.flags&(connClosing|connDraining) != 0 {
		end = h.extras.at(rec.extra).end
	} else if rec.flags&connBlocked == 0 && rec.extra == 0 {
		_, _, _ = h.engine.Write(rec.sock, [][]byte{ws.AppendClose(nil, uint16(end.Code), end.Reason)})
	}
	end.Cut = rec.flags&connCloseSent == 0 // or only the answer to our close is missing
	g := h.kill(rec, c.slot(), end)
	h.unlock(rec, c.slot())
	h.reaper.bury(g)
}

// broke is what becomes of a connection that could not be written. The system says only once why a
// socket broke: who was blocked and hears EPIPE comes second. The reader was told and calls Closed,
// which ends the connection; until then its socket takes nothing. The caller holds rec.mu and calls
// settle after giving it up.
func (h *Hub) broke(s *scratch, rec *conn, slot uint32, err error) {
	if !errors.Is(err, syscall.EPIPE) || rec.blocked == 0 || rec.flags&connPeerClosed != 0 {
		s.dead = append(s.dead, h.kill(rec, slot, h.lost(rec, err)))
		return
	}
	rec.flags |= connBlocked | connPeerClosed // from now on it is not paused
	if rec.flags&connPaused != 0 {
		rec.flags &^= connPaused
		h.engine.Resume(rec.sock)
	}
}

// lost is the end of a connection whose socket broke. The system may be quicker than the heartbeat to
// give up on one that takes nothing; that is the same end then. The caller holds rec.mu.
func (h *Hub) lost(rec *conn, err error) End {
	if errors.Is(err, syscall.ETIMEDOUT) && rec.blocked != 0 {
		return End{Code: wire.CloseTryAgain, Reason: Unwritable}
	}
	end := End{Code: closeAbnormal, Remote: true}
	if err != nil && !errors.Is(err, io.EOF) {
		end.Reason = err.Error()
	}
	return end
}

// grave is what is left of a connection once its socket is released, until it
// is taken out of the lists it stands in.
type grave struct {
	conn    Handle
	end     End
	rooms   []follow
	awaited bool // somebody may wait for a pong
}

// kill releases a connection's socket and ends the generation: one critical
// section, and the only place that does either. The caller holds rec.mu and
// passes the grave to reaper.bury after giving it up.
func (h *Hub) kill(rec *conn, slot uint32, end End) grave {
	g := grave{conn: handle(slot, rec.gen), end: end}
	g.end.View, g.end.Topics = h.view(rec, slot), h.following(rec)
	if rec.extra != 0 {
		x := h.extras.at(rec.extra)
		g.end.Unwritten = len(x.control) + x.lost
	}
	g.end.Info = append([]byte(nil), h.arena.get(rec.info)...)
	g.awaited = rec.flags&connAwaited != 0
	h.engine.Release(rec.sock)
	h.settleBeat(rec)
	rec.gen++
	rec.flags = connDead | rec.flags&connGuest
	h.dropExtra(rec)
	h.dropReading(rec)
	h.dropAcks(rec)
	h.arena.drop(rec.info)
	rec.info = 0
	if rec.room.topic != 0 {
		g.rooms = append(g.rooms, rec.room)
		rec.room = follow{}
	}
	if rec.more != 0 {
		m := h.more.at(rec.more)
		g.rooms = append(g.rooms, m.list...)
		m.list = nil
		h.more.put(rec.more)
		rec.more = 0
	}
	return g
}

// dig takes a dead connection out of all lists and gives its slot back.
func (h *Hub) dig(g *grave) {
	if g.awaited {
		tell(h.waits.take(g.conn), pingResult{err: ErrGone})
	}
	slot := g.conn.slot()
	rec := h.conns.at(slot)
	user, all := rec.user, rec.all // nobody writes them before the slot is given back
	h.part(slot, rec)
	h.releaseSlot(user)
	h.releaseSlot(all)
	for _, f := range g.rooms {
		h.unfollowed(slot, f.topic)
	}
	h.live.Add(-1)
	h.conns.put(slot)
}

// releaseSlot gives back a reference that keeps its topic alive until now.
func (h *Hub) releaseSlot(topicSlot uint32) {
	h.Release(Topic(handle(topicSlot, h.topics.at(topicSlot).gen.Load())))
}

// reaper is one goroutine that buries the dead, tells the owner, ends closes
// that take too long, and frees what is kept of idle topics.
type reaper struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards the fields below
	dead  []grave
	grace []deadline // in the order of at: all have the same length
	tells []deadline // likewise
}

type deadline struct {
	conn Handle
	at   time.Time
}

func (r *reaper) init() { r.wake = make(chan struct{}, 1) }

func (r *reaper) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reaper) bury(g grave) {
	r.mu.Lock()
	r.dead = append(r.dead, g)
	r.mu.Unlock()
	r.poke()
}

// within makes sure that c is gone after d.
func (r *reaper) within(c Handle, d time.Duration) {
	r.mu.Lock()
	r.grace = append(r.grace, deadline{c, time.Now().Add(d)})
	first := len(r.grace) == 1
	r.mu.Unlock()
	if first {
		r.poke()
	}
}

// later makes sure that c is told after skipTell what it skipped.
func (r *reaper) later(c Handle) {
	r.mu.Lock()
	r.tells = append(r.tells, deadline{c, time.Now().Add(skipTell)})
	first := len(r.tells) == 1
	r.mu.Unlock()
	if first {
		r.poke()
	}
}

// Ending reports whether a connection of a user has ended of which [Events.Closed] has not been called yet.
// Not all such: who is to miss none looks afterwards for those that [Events.Closing] has told of.
func (h *Hub) Ending(user Key) bool {
	slot, t := h.topicAt(user)
	if t == nil {
		return false
	}
	var list []uint32
	for i := t.first; i != 0; i = h.conns.at(i).next {
		list = append(list, i)
	}
	t.mu.Unlock()
	return slices.ContainsFunc(list, func(i uint32) bool {
		rec := h.conns.at(i)
		rec.mu.Lock()
		defer h.unlock(rec, i)
		return rec.flags&connDead != 0 && rec.user == slot
	})
}

// drain buries who is dead.
func (r *reaper) drain(h *Hub) {
	for {
		r.mu.Lock()
		dead := r.dead
		r.dead = nil
		r.mu.Unlock()
		if len(dead) == 0 {
			return
		}
		for i := range dead {
			h.cfg.Events.Closing(dead[i].end.View.User)
			h.dig(&dead[i])
			h.cfg.Events.Closed(dead[i].conn, dead[i].end)
		}
	}
}

// expire abandons who was to be gone by now, tells who was to be told, and says how long until
// the next.
func (r *reaper) expire(h *Hub) time.Duration {
	return min(r.due(&r.grace, h.Abandon), r.due(&r.tells, h.tellLater))
}

// due calls do for all of a list whose time has come, and says how long until the next.
func (r *reaper) due(list *[]deadline, do func(Handle)) time.Duration {
	for {
		r.mu.Lock()
		if len(*list) == 0 {
			*list = nil
			r.mu.Unlock()
			return time.Hour
		}
		next := (*list)[0]
		if d := time.Until(next.at); d > 0 {
			r.mu.Unlock()
			return d
		}
		*list = (*list)[1:]
		r.mu.Unlock()
		do(next.conn)
	}
}

func (h *Hub) reapLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	windows := time.NewTicker(windowIdle * tickLength / 2)
	defer windows.Stop()
	for {
		h.reaper.drain(h)
		h.relieve()
		timer.Reset(h.reaper.expire(h))
		select {
		case <-h.ctx.Done():
			return
		case <-h.reaper.wake:
		case <-timer.C:
		case <-windows.C:
			h.freeIdleWindows()
			h.freeIdleStreams()
			h.freePassed()
			h.freeIdleLongs()
		}
	}
}
