package switchboard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// AuditEvent is one event that concerns security. It never holds a credential or a payload.
type AuditEvent struct {
	At                       time.Time
	Tenant, User, Connection string // whom it concerns, as far as they are known
	Actor                    string // who of the application did it, see [WithActor]; "": the user, or nobody who is known
	Address                  netip.Addr
	Action                   AuditAction
	Object                   string // what it was done to: a room, a user, the id of a revocation, …
	Reason                   string // a word of the operator's or of the program's, never of the client's
	Code                     Code   // why it was refused; "": it was done
}

// AuditAction is what was done, or tried.
type AuditAction string

// The actions.
const (
	AuditConnect AuditAction = "connect" // a connection, refused
	AuditCall    AuditAction = "call"    // a call of a client, refused
	AuditAuth    AuditAction = "auth"    // a credential on a live connection, refused
	AuditRoom    AuditAction = "room"    // something in a room, refused
	AuditMessage AuditAction = "message" // a message, forbidden by the application's handler
	AuditJoin    AuditAction = "join"    // a membership began
	AuditLeave   AuditAction = "leave"   // a membership ended
	AuditClose   AuditAction = "close"   // the application closed a connection
	AuditTicket  AuditAction = "ticket"  // a ticket was made
	AuditRevoke  AuditAction = "revoke"  // a revocation was made
	AuditRestore AuditAction = "restore" // a revocation was taken back
	AuditLogout  AuditAction = "logout"  // a session was ended by its client
	AuditLeak    AuditAction = "leak"    // a canary got what is another's, by the way that is the object
	AuditAPI     AuditAction = "api"     // a call of a back end, refused
	AuditDrain   AuditAction = "drain"   // a back end began the drain of a node
)

// actorKey is the key of a context's actor.
type actorKey struct{}

// WithActor names, for the audit events of calls under ctx, who of the application makes them:
// the name of an API key or of an operator, never a credential. Without it that is "application".
func WithActor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, name)
}

func actorOf(ctx context.Context) string {
	name, _ := ctx.Value(actorKey{}).(string)
	return cmp.Or(name, "application")
}

// audit tells the application of an event, and the log.
func (m *Manager) audit(e AuditEvent) {
	e.At = time.Now()
	if m.opts.Audit != nil {
		m.opts.Audit(e)
	}
	if !m.log.Enabled(m.life, slog.LevelDebug) {
		return // it is called for every one of a flood
	}
	m.log.LogAttrs(m.life, slog.LevelDebug, "audit", slog.String("action", string(e.Action)), slog.String("tenant", e.Tenant),
		slog.String("user", e.User), slog.String("actor", e.Actor), slog.String("conn_id", e.Connection), slog.String("object", e.Object),
		slog.String("reason", e.Reason), slog.String("code", string(e.Code)))
}

// auditRefusal tells of a message that its sender had no right to. kind is the type of a verb,
// or another word of this program's.
func (in *inbound) auditRefusal(kind string, err error) {
	e := AuditEvent{Action: AuditRoom, Code: CodeOf(err), Reason: kind}
	switch {
	case e.Code == wire.CodeAuthError:
		e.Action = AuditAuth
	case e.Code != wire.CodeForbidden:
		return
	}
	if ref, ok := errors.AsType[*refusal](err); ok {
		e.Reason = ref.why
	}
	if known, ok := errors.AsType[*Error](err); ok {
		if room, ok := known.Details["room"].(string); ok && wire.CheckID(room) == nil {
			e.Object = room
		}
	}
	if c, err := in.conn(); err == nil {
		c.audit(e)
	}
}

// handled is whose messages of which type a handler has forbidden.
type handled struct {
	conn hub.Handle
	typ  wire.MessageType
}

// auditHandler tells of a message that its handler forbade, once a minute for each type that a
// connection sends.
func (m *Manager) auditHandler(c *Conn, typ wire.MessageType, err error) {
	if CodeOf(err) != wire.CodeForbidden {
		return
	}
	if _, first := m.door.handled.Take(handled{c.handle, typ}, 1, time.Now()); first {
		c.audit(AuditEvent{Action: AuditMessage, Reason: string(typ), Code: wire.CodeForbidden})
	}
}

// audit tells of an event that concerns c, but not of what a canary is refused: it tries that always.
func (c *Conn) audit(e AuditEvent) {
	if e.Code != "" && c.view.Guest {
		return
	}
	e.Tenant, e.User, e.Connection = c.view.User.Tenant, c.view.User.ID, c.view.ID
	if s, _, ok := c.m.stateOf(c.handle); ok {
		e.Address = s.address
	}
	c.m.audit(e)
}

// auditMember tells of a membership that has begun or ended.
func (m *Manager) auditMember(ctx context.Context, room wire.Topic, user string, kind memberKind, reason string) {
	e := AuditEvent{Action: AuditJoin, Tenant: room.Tenant, User: user, Object: room.ID, Reason: reason}
	switch {
	case kind == memberNone:
		e.Action = AuditLeave
	case kind == memberAdded:
		e.Reason = "added"
	default:
		e.Reason = "joined"
	}
	if kind == memberAdded || kind == memberNone && reason != reasonLeft {
		e.Actor = actorOf(ctx)
	}
	m.audit(e)
}

// auditClose tells of connections that the application closed.
func (m *Manager) auditClose(ctx context.Context, tenant string, to Target) {
	e := AuditEvent{Action: AuditClose, Tenant: tenant, Actor: actorOf(ctx)}
	if to.connection() {
		e.Connection = to.id
	} else if topic, err := to.topic(tenant); err == nil {
		e.Object = topic.String()
		if topic.Kind == wire.KindUser {
			e.User = topic.ID
		}
	}
	m.audit(e)
}

// callError is why a call of a user who is known is refused.
type callError struct {
	user wire.Topic
	error
}

func (e *callError) Unwrap() error { return e.error }

// calledBy says, of a call that is refused, who makes it.
func calledBy(id Identity, err error) error {
	if err == nil || id.User == "" {
		return err
	}
	return &callError{user: wire.Topic{Tenant: id.Tenant, Kind: wire.KindUser, ID: id.User}, error: err}
}
