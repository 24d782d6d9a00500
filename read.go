package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// verbTimeout bounds what a verb may wait for: the broker and the Authorizer.
const verbTimeout = 10 * time.Second

// retryUnavailable is when a client may try again what the broker could not do.
const retryUnavailable = time.Second

// events is the side of the manager that the hub sees.
type events Manager

// Message implements [hub.Events].
func (e *events) Message(c hub.Handle, payload []byte) (more int) {
	return (*Manager)(e).read(c, payload)
}

// inbound is one message from a client on its way through the core. It lives as long as
// the call of Message: what waits longer copies.
type inbound struct {
	m    *Manager
	c    hub.Handle
	env  Envelope // owns its bytes
	size int      // bytes of the frame
	more int      // how many usual messages' work it was so far, besides that of one

	known *Conn // made by conn
}

// conn returns who sent the message; it fails if the connection has ended meanwhile.
func (in *inbound) conn() (*Conn, error) {
	if in.known == nil {
		c, ok := in.m.conn(in.c)
		if !ok {
			return nil, hubError(hub.ErrGone)
		}
		in.known = c
	}
	return in.known, nil
}

// read takes one message: it is decoded, counted, and either done here, as a verb, or put
// into the connection's lane for a handler. It runs on the goroutine that reads the
// connection, so verbs of one connection are done in order. more is that of [ws.Sink].
func (m *Manager) read(c hub.Handle, payload []byte) (more int) {
	env, err := wire.Parse(payload)
	if err != nil {
		id := ""
		if parse, ok := errors.AsType[*wire.ParseError](err); ok {
			id = parse.MessageID
		}
		m.deny(c, id, len(payload), err)
		return 0
	}
	if env.ID == "" {
		env.ID = wire.NewID()
	}
	in := inbound{m: m, c: c, env: env, size: len(payload)}
	verb, isVerb := m.verbs[env.Type]
	switch {
	case verb.price > 0:
		if retry, paid := m.hub.Spend(c, verb.price+dear(len(payload))); paid != hub.Paid {
			m.overdue(c, env.ID, retry, paid)
			return 0
		}
	default:
		err = in.spend(1)
	}
	switch {
	case err != nil:
	case isVerb:
		err = in.do(verb)
	case env.Type.Verb():
		err = unsupported("type", string(env.Type)+" is not available")
	case env.Type.RunEvent():
		err = fieldError(wire.CodeRunContract, "type", "run events come from their run")
	default:
		err = in.hand()
	}
	if err != nil {
		kind := "message"
		if isVerb {
			kind = string(env.Type)
		}
		in.auditRefusal(kind, err)
		m.deny(c, env.ID, len(payload), err)
	}
	return in.more
}

// dear is what size bytes add to the price of a frame.
func dear(size int) int { return size / (4 << 10) }

// deny refuses a message that a client has just sent. Its sender pays for the answer, and hears
// only to slow down, or nothing, if it cannot.
func (m *Manager) deny(c hub.Handle, id string, size int, err error) {
	if retry, paid := m.hub.Spend(c, 1+dear(size)); paid != hub.Paid {
		m.overdue(c, id, retry, paid)
		return
	}
	m.refuse(c, id, err)
}

// overdue refuses what was not paid for. Who is being closed hears no more.
func (m *Manager) overdue(c hub.Handle, id string, retry time.Duration, paid hub.Payment) {
	if paid == hub.Overdue {
		m.refuse(c, id, rateLimited("too many frames: slow down or be closed", m.opts.Limits.ControlPerMinute, retry))
	}
}

func rateLimited(message string, limit int, retry time.Duration) *Error {
	return &Error{
		Code: wire.CodeRateLimited, Message: message,
		Details: map[string]any{"limit": limit, "retry_after_ms": max(1, retry.Milliseconds())},
	}
}

// do carries out a verb. What it panics with must not end the reading of the connection.
func (in *inbound) do(v verb) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = newPanicError(r)
		}
	}()
	if v.quick != nil {
		v.quick(in)
		return nil
	}
	ctx, cancel := context.WithTimeout(in.m.life, verbTimeout)
	defer cancel()
	return v.do(ctx, in)
}

// spend takes n messages out of the connection's allowance: what it costs itself, or what a verb
// adds to it that is about to do the work of several.
func (in *inbound) spend(n int) error {
	of := in.m.opts.Limits.rates()
	if of == (hub.Rates{}) || n <= 0 {
		return nil
	}
	switch retry, over := in.m.hub.Allow(in.c, n, of); over {
	case hub.OfConn:
		return rateLimited("too many messages", of.Conn, retry)
	case hub.OfUser:
		in.m.userLimited(in.c)
		err := rateLimited("too many messages of this user", of.User, retry)
		err.Details["scope"] = "user"
		return err
	}
	return nil
}

// rates are how many messages clients may send.
func (l *Limits) rates() hub.Rates {
	return hub.Rates{Conn: l.MessagesPerMinute, User: l.MessagesPerUser}
}

// userLimited counts and logs that a user sends too much over all connections.
func (m *Manager) userLimited(c hub.Handle) {
	m.count.userLimited.Add(1)
	n := m.door.notices.add(whyMessages, time.Now())
	if view, ok := m.hub.View(c); ok && n > 0 {
		m.log.LogAttrs(m.life, slog.LevelWarn, "users send too many messages: what is beyond their rate is refused", slog.Int("refused", n),
			slog.String("tenant", view.User.Tenant), slog.String("user", view.User.ID))
	}
}

// overfull logs that connections end because they do not take what others have them told.
func (m *Manager) overfull(end hub.End) {
	if n := m.door.notices.add(whyOverfull, time.Now()); n > 0 {
		m.log.LogAttrs(m.life, slog.LevelWarn, "connections take too little of what they are told: they are closed", slog.Int("closed", n),
			slog.String("tenant", end.View.User.Tenant), slog.String("user", end.View.User.ID))
	}
}

// owe is spend for what is done already: the next messages wait for it.
func (in *inbound) owe(n int) {
	if n > 0 {
		in.m.hub.Owe(in.c, n, in.m.opts.Limits.rates())
	}
}

// Failed implements [hub.Events]: the client broke the protocol and will be closed.
func (e *events) Failed(c hub.Handle, err *ws.CloseError) {
	m := (*Manager)(e)
	if wire.CloseCode(err.Code) == wire.CloseTooBig {
		m.refuse(c, "", &Error{
			Code: wire.CodeTooLarge, Message: "message is too large",
			Details: map[string]any{"limit": m.opts.Limits.MessageBytes},
		})
		return
	}
	m.log.LogAttrs(m.life, slog.LevelDebug, "protocol violation",
		slog.String("conn_id", m.hub.ID(c)), slog.Int("close_code", int(err.Code)), slog.String("reason", err.Reason))
}

// Followed implements [hub.Events].
func (e *events) Followed(c hub.Handle, user wire.Topic, room hub.Key) {
	(*Manager)(e).presence.post(presenceEvent{what: roomFollowed, conn: c, topic: user, room: room})
}

// Closing implements [hub.Events].
func (e *events) Closing(user wire.Topic) { (*Manager)(e).presence.begins(hubKey(user)) }

// Closed implements [hub.Events].
func (e *events) Closed(c hub.Handle, end hub.End) {
	m := (*Manager)(e)
	why := CloseError{Code: end.Code, Reason: end.Reason}
	m.lanes.close(c, why)
	m.lives.end(c, why)
	m.holds.release(c)
	m.mail.remove(c)
	m.receipts.hurry(end.View.Session, end.Topics)
	m.typing.end(c, everywhere)
	if s, err := decodeState(end.Info); err == nil {
		m.ended.add(end.View.User.Tenant, m.endInfo(end, s))
		m.presence.post(presenceEvent{what: connEnded, conn: c, ended: m.leaving(end, s)})
		m.permissions.drop(s.permissions)
		if s.flags&flagAppPings != 0 {
			m.count.appPings.Add(-1)
		}
	} else {
		m.presence.ended(hubKey(end.View.User))
	}
	m.drain.ended(c, end)
	if end.Overfull {
		m.overfull(end)
	}
	m.log.LogAttrs(m.life, slog.LevelDebug, "connection closed",
		slog.String("conn_id", end.View.ID), slog.String("user", end.View.User.ID), slog.String("tenant", end.View.User.Tenant),
		slog.Int("close_code", int(end.Code)), slog.String("reason", end.Reason), slog.Bool("remote", end.Remote))
}
