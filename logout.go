package switchboard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// logoutVerb ends the session, or all that the user has: their tokens are good for nothing any
// more, on any node. It has no answer but the close.
func logoutVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.LogoutRequest
	if len(in.env.Payload) > 0 {
		if err := in.env.Decode(&req); err != nil {
			return err
		}
	}
	user, now := sender.view.User, time.Now()
	// No token of the session is good for longer.
	r := Revocation{Session: sender.Session(), Until: now.Add(session.Life + time.Second), Reason: "logout"}
	if req.Everywhere {
		// One for each user, however often: the latest holds, and forgives nothing of the former.
		sum := sha256.Sum256([]byte(user.ID))
		r = Revocation{ID: "rev_logout_" + hex.EncodeToString(sum[:16]), User: user.ID, Reason: "logout everywhere"}
	}
	// Its own credential is taken back too, but this connection does not end as one that was revoked.
	m.changeState(in.c, func(s *state) { s.flags |= flagLeaving })
	if _, err := m.revoke(ctx, user.Tenant, r); err != nil {
		m.changeState(in.c, func(s *state) { s.flags &^= flagLeaving })
		return err
	}
	m.audit(AuditEvent{Tenant: user.Tenant, User: user.ID, Connection: sender.view.ID, Action: AuditLogout, Reason: r.Reason})
	_ = m.hub.Close(in.c, wire.CloseNormal, "logged out", false)
	return nil
}
