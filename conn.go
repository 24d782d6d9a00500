package switchboard

import (
	"context"
	"errors"
	"fmt"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Conn is one connection, bound for life to one tenant and user. Only a Manager makes them,
// each time that one is asked for, so two of the same connection are equal by ID and not by
// address. Keep its ID, not the Conn. To send to it alone publish to [Connection](c.ID()).
//
// All methods may be called concurrently, also after the connection has ended.
type Conn struct {
	m        *Manager
	handle   hub.Handle
	view     hub.View     // when the Conn was made
	identity Identity     // when the Conn was made
	allowed  *permissions // those of identity
}

// conn makes the Conn of a handle, and reports whether the connection is still there. One that
// is closed because it is revoked is not: what waits of it is not carried out any more.
func (m *Manager) conn(c hub.Handle) (*Conn, bool) {
	view, ok := m.hub.View(c)
	if !ok {
		return nil, false
	}
	s, set, ok := m.stateOf(c)
	if !ok || s.flags&flagRevoked != 0 {
		return nil, false
	}
	return &Conn{m: m, handle: c, view: view, identity: s.identity(view, set), allowed: set}, true
}

// ID names the connection: conn_ and hexadecimal digits.
func (c *Conn) ID() string { return c.view.ID }

// Session names the session, which survives reconnects: ses_ and hexadecimal digits.
func (c *Conn) Session() string { return c.view.Session.String() }

// Identity is who the connection belongs to, as of its latest credential.
func (c *Conn) Identity() Identity {
	id, _ := c.current()
	return id
}

// current is the connection's identity now, or the last one that c saw.
func (c *Conn) current() (Identity, *permissions) {
	if s, set, ok := c.m.stateOf(c.handle); ok {
		return s.identity(c.view, set), set
	}
	return c.identity, c.allowed
}

// Info is a snapshot; of a connection that has ended only the names are left.
func (c *Conn) Info() ConnInfo {
	if info, ok := c.m.connInfo(c.handle); ok {
		return info
	}
	return ConnInfo{ID: c.view.ID, Session: c.Session(), User: c.view.User.ID, Node: c.m.opts.Node}
}

// Context ends with the connection; its cause is a [CloseError]. It carries the tenant.
func (c *Conn) Context() context.Context { return c.m.lives.context(c.m, c.handle, c.view.User.Tenant) }

// May asks the Authorizer, or the permissions, about a room: for handlers that act for the
// sender, since Publish does not ask. The error says no with [ErrForbidden], or that it could
// not be found out.
func (c *Conn) May(ctx context.Context, act Action, room string) error {
	if err := wire.CheckID(room); err != nil {
		return fmt.Errorf("room %w: %w", err, ErrInvalid)
	}
	id, allowed := c.current()
	if err := c.m.authorize(ctx, id, allowed, act, room); err != nil {
		return fmt.Errorf("%s in room: %w", act, err)
	}
	return nil
}

// Follow makes the connection receive rooms from now on without becoming a member; nothing
// is authorized, and rooms that it follows already stay as they are. It follows none of them
// after an error: [ErrNotFound] if the connection has ended, [ErrConflict] if it would follow
// too many, code RATE_LIMITED if its tenant has no room left of its [Quota].
func (c *Conn) Follow(ctx context.Context, rooms ...string) error {
	topics, err := roomTopics(c.view.User.Tenant, rooms)
	if err != nil {
		return err
	}
	var fresh []wire.Topic
	for _, topic := range topics {
		a, err := c.m.acquireRoom(ctx, topic)
		if err == nil {
			var mine bool
			if _, mine, err = c.m.follow(c.handle, a, a.head, false, true, hub.Terms{}); mine {
				fresh = append(fresh, topic)
			}
		}
		if err != nil {
			for _, topic := range fresh {
				c.m.hub.Unfollow(c.handle, hubKey(topic))
			}
			return fmt.Errorf("follow %s: %w", topic, err)
		}
	}
	return nil
}

// Unfollow makes the connection receive rooms no longer. Memberships stay. Rooms that it does
// not follow are ignored.
func (c *Conn) Unfollow(_ context.Context, rooms ...string) error {
	topics, err := roomTopics(c.view.User.Tenant, rooms)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		c.m.hub.Unfollow(c.handle, hubKey(topic))
		c.m.ceases(c.handle, c.view, topic)
	}
	return nil
}

// Close writes what is pending, for at most 5 s, then sends why. It returns at once. The
// error is [ErrNotFound] if the connection has ended and [ErrInvalid] for a code that must
// not be sent.
func (c *Conn) Close(why CloseError) error {
	err := c.m.closeConn(c.handle, why)
	if err == nil {
		c.audit(AuditEvent{Action: AuditClose, Actor: actorOf(context.Background())})
	}
	return err
}

func (m *Manager) closeConn(c hub.Handle, why CloseError) error {
	if why.Code == 0 {
		why.Code = wire.CloseNormal
	}
	if !sendable(why.Code) {
		return fmt.Errorf("close code %d must not be sent: %w", why.Code, ErrInvalid)
	}
	if err := m.hub.Close(c, why.Code, why.Reason, true); err != nil {
		return fmt.Errorf("close: %w", ErrNotFound)
	}
	return nil
}

// sendable reports whether a close frame may carry code (RFC 6455 §7.4).
func sendable(code wire.CloseCode) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// roomTopics turns ids of rooms into topics.
func roomTopics(tenant string, rooms []string) ([]wire.Topic, error) {
	topics := make([]wire.Topic, len(rooms))
	for i, room := range rooms {
		topics[i] = wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: room}
		if err := wire.CheckID(room); err != nil {
			return nil, fmt.Errorf("room %w: %w", err, ErrInvalid)
		}
	}
	return topics, nil
}

// hubError is what callers see of an error of the hub.
func hubError(err error) error {
	switch {
	case errors.Is(err, hub.ErrGone):
		return fmt.Errorf("the connection has ended: %w", ErrNotFound)
	case errors.Is(err, hub.ErrRoomLimit):
		return &Error{Code: wire.CodeConflict, Message: "too many rooms on this connection"}
	case errors.Is(err, hub.ErrThreadLimit):
		return &Error{Code: wire.CodeConflict, Message: "too many threads on this connection", Details: map[string]any{"limit": hub.MaxThreads}}
	}
	return err
}
