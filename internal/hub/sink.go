package hub

import (
	"errors"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// sink is the side of the hub that the engine sees. Tags are handles.
type sink Hub

// alive notes that something came in from a connection, and reports whether it
// is one that still listens.
func (h *Hub) alive(c Handle) (closing, ok bool) {
	rec := h.lock(c)
	if rec == nil {
		return false, false
	}
	defer h.unlock(rec, c.slot())
	h.hears(rec)
	return rec.flags&(connClosing|connDraining) != 0, true
}

// Message implements [ws.Sink]. What a connection sends after it was told to
// end is not heard.
func (s *sink) Message(tag uint64, _ ws.Opcode, payload []byte) (more int) {
	h, c := (*Hub)(s), Handle(tag)
	closing, ok := h.alive(c)
	if !ok || closing {
		return 0
	}
	h.conns.at(c.slot()).received.Add(1)
	h.count.received.Add(1)
	return h.cfg.Events.Message(c, payload)
}

// Ping implements [ws.Sink].
func (s *sink) Ping(tag uint64, payload []byte) {
	h, c := (*Hub)(s), Handle(tag)
	if _, ok := h.alive(c); !ok {
		return
	}
	if _, paid := h.Spend(c, 1); paid == Paid {
		// Optional: one who pings without reading is not owed every pong
		// (RFC 6455 §5.5.3).
		_ = h.Send(c, ws.AppendFrame(nil, ws.OpPong, payload), true)
	}
}

// Pong implements [ws.Sink].
func (s *sink) Pong(tag uint64, payload []byte) {
	h, c := (*Hub)(s), Handle(tag)
	if _, ok := h.alive(c); !ok {
		return
	}
	if !h.pong(c, payload) { // what answers a ping of ours was asked for
		_, _ = h.Spend(c, 1)
	}
}

// Writable implements [ws.Sink].
func (s *sink) Writable(tag uint64) {
	h, c := (*Hub)(s), Handle(tag)
	rec := h.lock(c)
	if rec == nil {
		return
	}
	rec.flags &^= connBlocked
	if rec.flags&(connPinged|connHeard) == connPinged {
		rec.pinged = max(1, h.tick()) // it may have waited here: only now the peer can answer
	}
	rec.wake.Store(1)
	h.unlock(rec, c.slot())
}

// Closed implements [ws.Sink]: reading ended.
func (s *sink) Closed(tag uint64, err error) {
	h, c := (*Hub)(s), Handle(tag)
	var ce *ws.CloseError
	if errors.As(err, &ce) && !ce.Remote {
		if _, ok := h.alive(c); ok {
			h.cfg.Events.Failed(c, ce)
		}
	}
	rec := h.lock(c)
	if rec == nil {
		return
	}
	if ce == nil { // the socket is gone: nobody reads what is pending
		end := h.lost(rec, err)
		if rec.extra != 0 && rec.flags&(connClosing|connDraining) != 0 {
			end = h.extras.at(rec.extra).end
		}
		g := h.kill(rec, c.slot(), end)
		h.unlock(rec, c.slot())
		h.reaper.bury(g)
		return
	}
	// Nothing more is heard from it, so it goes as soon as the close is written.
	rec.flags |= connPeerClosed
	end := End{Code: wire.CloseCode(ce.Code), Reason: ce.Reason, Remote: ce.Remote}
	h.closeLocked(rec, c, end, false)
	rec.wake.Store(1)
	h.unlock(rec, c.slot())
}
