package switchboard

import (
	"log/slog"
	"net/netip"
	"time"
)

// AuditEvent is one event that concerns security. It never holds a credential or a payload.
type AuditEvent struct {
	At                       time.Time
	Tenant, User, Connection string // as far as they are known
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
	AuditConnect AuditAction = "connect" // a connection or a call of a client, refused
	AuditAuth    AuditAction = "auth"    // a credential on a live connection
	AuditRoom    AuditAction = "room"    // something in a room, refused
	AuditJoin    AuditAction = "join"    // a membership began
	AuditLeave   AuditAction = "leave"   // a membership ended
	AuditClose   AuditAction = "close"   // the application closed a connection
	AuditTicket  AuditAction = "ticket"  // a ticket was made
	AuditRevoke  AuditAction = "revoke"  // a revocation was made
	AuditRestore AuditAction = "restore" // a revocation was taken back
	AuditLogout  AuditAction = "logout"  // a session was ended by its client
	AuditLeak    AuditAction = "leak"    // a canary got what is another's, by the way that is the object
	AuditAPI     AuditAction = "api"     // a call of a back end, refused
)

// audit tells the application of an event, and the log.
func (m *Manager) audit(e AuditEvent) {
	e.At = time.Now()
	if m.opts.Audit != nil {
		m.opts.Audit(e)
	}
	m.log.LogAttrs(m.life, slog.LevelDebug, "audit", slog.String("action", string(e.Action)), slog.String("tenant", e.Tenant),
		slog.String("user", e.User), slog.String("conn_id", e.Connection), slog.String("object", e.Object),
		slog.String("reason", e.Reason), slog.String("code", string(e.Code)))
}
