package switchboard

import (
	"context"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// loggedOut is what a client hears that has asked for its end.
const loggedOut = "logged out"

// logoutVerb ends the session of the sender, or everything that was issued to its user up to
// now. The answer is the close.
func logoutVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.LogoutRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	user, now := sender.view.User, time.Now()
	if req.Everywhere && sender.identity.Issued.IsZero() {
		// The user's next credential would be refused as well.
		return unsupported("everywhere", "the credential does not say when it was issued, so later ones could not be told from it")
	}
	r := newRevocation(user.Tenant, now)
	r.Owner, r.By, r.Reason = user.ID, sender.view.ID, loggedOut
	var before []string
	if req.Everywhere {
		r.User, r.NotBefore = user.ID, justAfter(now)
		// It covers what the user's clients have ended before, and takes its place.
		before = m.revocations.index.Logouts(user.Tenant, user.ID)
	} else {
		r.Session, r.Until = sender.Session(), sessionOver(now)
	}
	if err := m.revoke(ctx, r); err != nil {
		return err
	}
	event := AuditEvent{Tenant: user.Tenant, User: user.ID, Connection: sender.view.ID, Action: AuditLogout, Object: r.ID}
	if s, _, ok := m.stateOf(in.c); ok {
		event.Address = s.address
	}
	if req.Everywhere {
		event.Reason = "everywhere"
	}
	m.audit(event)
	_ = m.hub.Close(in.c, wire.CloseNormal, loggedOut, false) // one that has ended needs none
	for _, key := range before {
		if err := m.driver.Delete(ctx, key, broker.Any); err != nil {
			m.log.LogAttrs(ctx, slog.LevelDebug, "former logout not forgotten", slog.Any("err", err))
			break
		}
	}
	return nil
}
