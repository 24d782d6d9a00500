package switchboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// How long a ticket is good, and for how long a client that does not say asks for one.
const (
	ticketShortest = 30 * time.Second
	ticketLongest  = time.Hour
	ticketUsual    = 5 * time.Minute
)

// Access hands out the right to connect. The value is a view that costs nothing.
type Access struct{ m *Manager }

// Access returns what hands out the right to connect.
func (m *Manager) Access() Access { return Access{m} }

// Ticket makes a credential for one connection as id, good for ttl (30 s to 1 h) and not
// longer than id itself. Whoever presents it first, to any node, is connected, for as long as
// id says. If id does not say when it was issued, that is now. The tenant of id must be that of ctx. The error is [ErrInvalid], and names the
// argument, one with code RATE_LIMITED beyond the tenant's [Quota], or the broker's.
func (a Access) Ticket(ctx context.Context, id Identity, ttl time.Duration) (string, error) {
	tenant, err := a.m.tenantOf(ctx)
	if err == nil && id.Tenant != tenant {
		err = fmt.Errorf("id.Tenant is not that of ctx: %w", ErrInvalid)
	}
	if err == nil && (ttl < ticketShortest || ttl > ticketLongest) {
		err = fmt.Errorf("ttl must be from %v to %v: %w", ticketShortest, ticketLongest, ErrInvalid)
	}
	if err != nil {
		return "", fmt.Errorf("ticket: %w", err)
	}
	l := login{identity: id, shown: time.Now()}
	if id.Issued.IsZero() || id.Issued.After(l.shown) {
		l.identity.Issued = l.shown
	}
	ticket, _, err := a.m.ticket(ctx, l, ttl)
	if err != nil {
		return "", fmt.Errorf("ticket: %w", err)
	}
	a.m.audit(AuditEvent{Action: AuditTicket, Tenant: id.Tenant, User: id.User, Actor: actorOf(ctx)})
	return ticket, nil
}

// ticket makes a ticket and tells until when it can be used.
func (m *Manager) ticket(ctx context.Context, l login, ttl time.Duration) (text string, expires time.Time, err error) {
	id, now := l.identity, time.Now()
	if err := checkTicket(id, now); err != nil {
		return "", expires, err
	}
	var maker hub.Session // when that is revoked, or one of its lineage, so is the ticket
	if l.resumed {
		maker = l.session
		if _, ok := l.lineage.And(maker); !ok {
			return "", expires, errLineage()
		}
	}
	expires = now.Add(ttl)
	if !id.Expires.IsZero() && id.Expires.Before(expires) {
		expires = id.Expires
	}
	if !isCanary(ctx) { // those take nothing of their tenant
		if err := m.tenants.ticket(id.Tenant, now); err != nil {
			return "", expires, err
		}
	}
	text, err = session.IssueTicket(ctx, m.driver, session.Token{
		Tenant: id.Tenant, User: id.User, Permissions: id.Permissions, TokenID: id.TokenID, SID: id.SID,
		Claims: id.Claims, Issued: id.Issued, Shown: l.shown, Session: maker, Lineage: l.lineage, Credential: id.Expires, Expires: expires,
	}, now)
	if errors.Is(err, session.ErrTicketBig) {
		err = fieldError(wire.CodeInvalidMessage, "permissions", "the permissions are too long for a ticket")
	}
	return text, expires, err
}

// errLineage is for a session that came of so many others that what comes of it could not name
// all of them, and would outlive their revocation. A login begins a lineage of its own.
func errLineage() *refusal {
	return &refusal{why: "lineage", cause: &Error{
		Code: wire.CodeAuthError, Message: "the session came of too many tickets, each made by the session of another: log in again",
		Details: map[string]any{"limit": session.MaxLineage},
	}}
}

// checkTicket refuses an identity that no ticket can have.
func checkTicket(id Identity, now time.Time) error {
	if err := wire.CheckID(id.User); err != nil {
		return fmt.Errorf("id.User %w: %w", err, ErrInvalid)
	}
	if !id.Expires.IsZero() && !now.Before(id.Expires) {
		return fmt.Errorf("id.Expires is over: %w", ErrInvalid)
	}
	if tooMany(id.Permissions) {
		return fmt.Errorf("id.Permissions must be at most %d with %d bytes: %w", maxPermissions, maxPermissionBytes, ErrInvalid)
	}
	for _, part := range []struct {
		name      string
		size, max int
	}{{"TokenID", len(id.TokenID), maxTokenID}, {"SID", len(id.SID), maxTokenID}, {"Claims", len(id.Claims), maxClaims}} {
		if part.size > part.max {
			return fmt.Errorf("id.%s must have at most %d bytes: %w", part.name, part.max, ErrInvalid)
		}
	}
	return nil
}

// redeem returns who a ticket is for, in a new session. Afterwards nobody can use it any more.
func (m *Manager) redeem(ctx context.Context, ticket string) (login, error) {
	now := time.Now()
	t, err := session.RedeemTicket(ctx, m.driver, ticket, now)
	if errors.Is(err, session.ErrTicket) {
		return login{}, badTicket()
	}
	if err != nil {
		return login{}, err
	}
	l := login{identity: identityOf(t), session: hub.NewSession(), shown: t.Shown}
	if t.Session != (hub.Session{}) {
		lineage, ok := t.Lineage.And(t.Session)
		if !ok { // nobody here has issued it
			return login{}, badTicket()
		}
		l.lineage = lineage
	}
	if l.shown.IsZero() { // issued by a version that did not say so
		l.shown = now
	}
	return l, m.checkIdentity(l.identity, now)
}

func badTicket() *Error {
	return &Error{Code: wire.CodeAuthError, Message: "the ticket is not valid"}
}

// ticketRequest is the body of POST /websocket/ticket.
type ticketRequest struct {
	TTL         *int      `json:"ttl_seconds"`
	Permissions *[]string `json:"permissions"`
}

func (r *ticketRequest) ttl() (time.Duration, error) {
	if r.TTL == nil {
		return ticketUsual, nil
	}
	shortest, longest := int(ticketShortest/time.Second), int(ticketLongest/time.Second)
	if *r.TTL < shortest || *r.TTL > longest {
		return 0, fieldError(wire.CodeInvalidMessage, "ttl_seconds", fmt.Sprintf("ttl_seconds must be from %d to %d", shortest, longest))
	}
	return time.Duration(*r.TTL) * time.Second, nil
}

// ticketAnswer is the answer to it.
type ticketAnswer struct {
	Ticket       string  `json:"ticket"`
	ExpiresAt    float64 `json:"expires_at"` // seconds since 1970
	WebSocketURL string  `json:"websocket_url"`
}

// postTicket gives a client a ticket for itself.
func (m *Manager) postTicket(w http.ResponseWriter, r *http.Request) {
	answer, err := m.ticketFor(w, r)
	if err != nil {
		m.refuseCall(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (m *Manager) ticketFor(w http.ResponseWriter, r *http.Request) (answer ticketAnswer, err error) {
	if !m.gate.enter() {
		return ticketAnswer{}, errDraining()
	}
	defer m.gate.leave()
	ctx, cancel := m.callContext(r)
	defer cancel()
	l, err := m.callerLogin(ctx, r)
	if err != nil {
		return ticketAnswer{}, err
	}
	id := &l.identity
	defer func() { err = calledBy(*id, err) }()
	body, err := m.readBody(w, r)
	if err != nil {
		return ticketAnswer{}, err
	}
	var req ticketRequest
	if len(body) > 0 {
		if err := wire.UnmarshalExact(body, &req); err != nil {
			return ticketAnswer{}, err
		}
	}
	ttl, err := req.ttl()
	if err != nil {
		return ticketAnswer{}, err
	}
	if req.Permissions != nil {
		if err := m.checkSubset(*req.Permissions, id.Permissions); err != nil {
			return ticketAnswer{}, err
		}
		id.Permissions = *req.Permissions
	}
	if wait, ok := m.door.tickets.Take(userID{id.Tenant, id.User}, 1, time.Now()); !ok {
		return ticketAnswer{}, &Error{
			Code: wire.CodeRateLimited, Message: "too many tickets",
			Details: map[string]any{"limit": ticketsPerMinute, "scope": "user", "retry_after_ms": max(1, wait.Milliseconds())},
		}
	}
	ticket, expires, err := m.ticket(ctx, l, ttl)
	if err != nil {
		return ticketAnswer{}, err
	}
	m.audit(AuditEvent{Action: AuditTicket, Tenant: id.Tenant, User: id.User, Address: m.addressOf(r)})
	return ticketAnswer{Ticket: ticket, ExpiresAt: wire.Seconds(expires), WebSocketURL: ws.URL(r, "/ws", url.Values{"ticket": {ticket}})}, nil
}

// checkSubset refuses permissions that are not among those of the caller, nor narrower.
func (m *Manager) checkSubset(wanted, own []string) error {
	allowed := compilePermissions(own)
	for i, permission := range wanted {
		if slices.Contains(own, permission) {
			continue
		}
		// What the Authorizer makes of a permission nobody else can know.
		if m.opts.Authorize == nil && allowed.covers(permission) {
			continue
		}
		return &Error{
			Code: wire.CodeForbidden, Message: "a ticket cannot have a permission that its maker has not",
			Details: map[string]any{"field": fmt.Sprintf("permissions.%d", i), "permission": permission},
		}
	}
	return nil
}

// covers reports whether a rule gives at least the right of a permission for rooms: the same
// rooms or one of them, the same action or one of them. Of other globs it says no.
func (p *permissions) covers(permission string) bool {
	wanted := compilePermissions([]string{permission}).rooms
	if len(wanted) != 1 {
		return false
	}
	one, act := wanted[0].plain == len(wanted[0].glob), wanted[0].act
	m := globMatcher{id: wanted[0].glob}
	return slices.ContainsFunc(p.rooms, func(r roomRule) bool {
		return (r.act == "*" || r.act == act) && (r.glob == m.id || one && m.matches(r))
	})
}
