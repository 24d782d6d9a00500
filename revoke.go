package switchboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// maxReason bounds Revocation.Reason, in bytes.
const maxReason = 256

// Revocation takes back the right to connect. It names exactly one of User, Session, TokenID and
// SID, and concerns what was issued before NotBefore: credentials, and the tickets and session
// tokens that came of them; a Session so all sessions that came of it by tickets. One of which it is not known when it was issued counts as issued
// before. To ban a user set NotBefore to the end of the ban.
type Revocation struct {
	ID string // made by [Access.Revoke]
	// A user; a session, as [Conn.Session] names it; or the TokenID or SID of an [Identity].
	User, Session, TokenID, SID string
	// NotBefore is from when on what is issued is good; zero is now for a User, and never for
	// the others, whose names do not come again.
	NotBefore time.Time
	// Until is when the revocation ends by itself, and what it refused is good again, if it has
	// not expired. Zero is never, except for a Session: there nothing is left to refuse after a
	// month.
	Until time.Time
	// CancelRuns cancels the live runs that User asked for before now, on every node.
	CancelRuns bool
	Reason     string    // for the operator, never told to the client; at most 256 bytes
	Made       time.Time // set by Revoke
}

// Revoke makes r hold from now on: within a second the connections that it concerns are closed
// with 4002 on every node, and until it ends nobody connects, calls or refreshes with what it
// concerns. The id is for [Access.Restore].
//
// The error is [ErrInvalid], and names the field, [ErrConflict] if the tenant has 100,000
// revocations already or 1,000 of the same name, or the broker's; after [ErrUnavailable] the
// revocation may hold all the same, and making it again does no harm.
func (a Access) Revoke(ctx context.Context, r Revocation) (id string, err error) {
	tenant, err := a.m.tenantOf(ctx)
	var stored *session.Revocation
	if err == nil {
		stored, err = r.stored(tenant, time.Now())
	}
	if err == nil {
		err = a.m.revoke(ctx, stored)
	}
	if err != nil {
		return "", fmt.Errorf("revoke: %w", err)
	}
	a.m.audit(AuditEvent{Tenant: tenant, User: r.User, Action: AuditRevoke, Actor: actorOf(ctx), Object: stored.ID, Reason: r.Reason})
	if r.CancelRuns {
		a.m.cancelStrays(ctx, stored)
	}
	return stored.ID, nil
}

// Restore takes a revocation back: what it refused is good again within a second, unless another
// one refuses it too. The error is [ErrNotFound] if there is none, or the broker's.
func (a Access) Restore(ctx context.Context, id string) error {
	tenant, err := a.m.tenantOf(ctx)
	if err == nil {
		err = a.m.restore(ctx, tenant, id)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	a.m.audit(AuditEvent{Tenant: tenant, Action: AuditRestore, Actor: actorOf(ctx), Object: id})
	return nil
}

func (m *Manager) restore(ctx context.Context, tenant, id string) error {
	none := fieldError(wire.CodeNotFound, "id", "there is no such revocation")
	if wire.CheckID(id) != nil || strings.Contains(id, "/") {
		return none
	}
	key := session.RevocationPrefix(tenant) + id
	_, err := m.driver.Get(ctx, key)
	if errors.Is(err, broker.ErrNotFound) {
		return none
	}
	if err != nil {
		return err
	}
	return m.driver.Delete(ctx, key, broker.Any)
}

// Revocations yields those of the tenant that hold, the oldest first, and among them the logouts
// of clients. After an error nothing more comes.
func (a Access) Revocations(ctx context.Context) iter.Seq2[Revocation, error] {
	return func(yield func(Revocation, error) bool) {
		tenant, err := a.m.tenantOf(ctx)
		var list []*session.Revocation
		if err == nil {
			list, err = a.m.storedRevocations(ctx, tenant)
		}
		if err != nil {
			yield(Revocation{}, fmt.Errorf("revocations: %w", err))
			return
		}
		for _, r := range list {
			if !yield(revocationOf(r), nil) {
				return
			}
		}
	}
}

func (m *Manager) storedRevocations(ctx context.Context, tenant string) (list []*session.Revocation, err error) {
	for change, err := range m.driver.Watch(ctx, session.RevocationPrefix(tenant)) {
		if err != nil {
			return nil, err
		}
		if change.Synced {
			break
		}
		if r := m.readRevocation(change); r != nil {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *session.Revocation) int { return cmp.Compare(a.ID, b.ID) }) // which begins with the time
	return list, ctx.Err()
}

// readRevocation reads what is stored; nil: nothing that this version can read, which is told.
func (m *Manager) readRevocation(change broker.Change) *session.Revocation {
	if change.Deleted {
		return nil
	}
	r, err := session.ParseRevocation(change.Key, change.Value)
	if err != nil {
		m.count.unreadable.Add(1)
		m.log.LogAttrs(m.life, slog.LevelError, "revocation not readable: it is not in force", slog.String("key", change.Key))
		return nil
	}
	return r
}

func revocationOf(r *session.Revocation) Revocation {
	return Revocation{
		ID: r.ID, User: r.User, Session: r.Session, TokenID: r.TokenID, SID: r.SID, NotBefore: r.NotBefore, Until: r.Until,
		CancelRuns: r.CancelRuns, Reason: r.Reason, Made: r.Made,
	}
}

// stored checks r and completes it.
func (r *Revocation) stored(tenant string, now time.Time) (*session.Revocation, error) {
	bad := func(field, text string) (*session.Revocation, error) {
		return nil, fieldError(wire.CodeInvalidMessage, field, field+" "+text)
	}
	named := 0
	for _, name := range []struct{ field, value string }{
		{"user", r.User}, {"session", r.Session}, {"token_id", r.TokenID}, {"sid", r.SID},
	} {
		if name.value == "" {
			continue
		}
		named++
		_, isSession := hub.ParseSession(name.value)
		switch {
		case name.field == "user" && wire.CheckID(name.value) != nil:
			return bad(name.field, wire.CheckID(name.value).Error())
		case name.field == "session" && !isSession:
			return bad(name.field, "must be the name of a session")
		case len(name.value) > maxTokenID || !utf8.ValidString(name.value):
			return bad(name.field, fmt.Sprintf("must be a text of at most %d bytes", maxTokenID))
		}
	}
	switch {
	case named != 1:
		return bad("user", "or one of session, token_id, sid must be given, and no two of them")
	case r.CancelRuns && r.User == "":
		return bad("cancel_runs", "goes with a user only")
	case !r.Until.IsZero() && !now.Before(r.Until):
		return bad("until", "is over already")
	case len(r.Reason) > maxReason || !utf8.ValidString(r.Reason) || strings.ContainsFunc(r.Reason, unicode.IsControl):
		return bad("reason", fmt.Sprintf("must be a line of at most %d bytes", maxReason))
	}
	stored := newRevocation(tenant, now)
	stored.User, stored.Session, stored.TokenID, stored.SID = r.User, r.Session, r.TokenID, r.SID
	stored.NotBefore, stored.Until, stored.CancelRuns, stored.Reason = r.NotBefore, r.Until, r.CancelRuns, r.Reason
	switch {
	case r.User != "" && r.NotBefore.IsZero():
		stored.NotBefore = justAfter(now)
	case r.Session != "" && r.NotBefore.IsZero() && r.Until.IsZero():
		stored.Until = sessionOver(now)
	}
	return stored, nil
}

func newRevocation(tenant string, now time.Time) *session.Revocation {
	return &session.Revocation{ID: "rev_" + wire.NewID(), Tenant: tenant, Made: now}
}

// justAfter is the first moment that differs from now where times are kept in milliseconds.
func justAfter(now time.Time) time.Time { return time.UnixMilli(now.UnixMilli() + 1) }

// sessionOver is when nothing of a session can be good any more that is ended now: its tokens,
// the tickets that were made with them, and what came of those, for which the same credential
// was shown. An hour is for clocks that differ.
func sessionOver(now time.Time) time.Time {
	return now.Add(session.Longest + ticketLongest + time.Hour)
}

// revoke stores r, if there is room for it.
func (m *Manager) revoke(ctx context.Context, r *session.Revocation) error {
	if err := m.revocations.await(ctx); err != nil { // or how many there are is not known
		return err
	}
	switch err := m.revocations.index.Room(r); {
	case errors.Is(err, session.ErrLogouts):
		return &Error{
			Code: wire.CodeRateLimited, Message: "too many sessions were ended one by one: end all of them",
			Details: map[string]any{"field": "everywhere", "limit": session.MaxLogoutsUser},
		}
	case errors.Is(err, session.ErrSameName):
		return &Error{
			Code: wire.CodeConflict, Message: err.Error() + ": restore some",
			Details: map[string]any{"limit": session.MaxRevocationsName},
		}
	case err != nil:
		return &Error{
			Code: wire.CodeConflict, Message: err.Error() + ": restore some",
			Details: map[string]any{"limit": session.MaxRevocations},
		}
	}
	return r.Store(ctx, m.driver, r.Made)
}

// cancelStrays cancels the runs in the topic of the user that no node owns; every node cancels
// its own. What cannot be reached ends with its lease.
func (m *Manager) cancelStrays(ctx context.Context, r *session.Revocation) {
	notes, err := m.liveRuns(ctx, wire.Topic{Tenant: r.Tenant, Kind: wire.KindUser, ID: r.User})
	var specs []runSpec
	for _, note := range notes {
		spec, findErr := m.findRun(ctx, r.Tenant, note.ID)
		if findErr == nil && spec.User == r.User && spec.Created <= r.Made.UnixMilli() {
			specs = append(specs, spec)
		}
	}
	if err == nil {
		_, err = m.stopRuns(ctx, specs, cancelledBy, "")
	}
	if err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "runs of a revoked user not cancelled by this node", slog.String("revocation", r.ID), slog.Any("err", err))
	}
}

// cancelledBy is why a run was cancelled that a revocation is about.
const cancelledBy = "the access of the user was revoked"
