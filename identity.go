package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// Identity is who a connection belongs to. A connection never changes its tenant and user;
// the other fields change when the client refreshes its credential.
type Identity struct {
	Tenant, User string // User is required
	// Permissions of the form "room:<glob>:<action>" decide about rooms, if there is no
	// Options.Authorize; others are the application's own. The action is that of an
	// [Action] or "*". In a glob * stands for any characters and ? for one; it is matched
	// against one room id.
	Permissions []string
	Expires     time.Time // of the credential, at which the connection is closed; zero: never
	// Issued is when the credential was: now, if the request itself is the proof, such as that of
	// a login that is looked up each time. Zero: not known, and then before every [Revocation].
	Issued       time.Time
	TokenID, SID string // the credential's jti and sid
	// Claims is the credential's content, if the Authenticator keeps it: JSON of at most
	// 4 KiB, more is refused.
	Claims json.RawMessage
}

// Credential is what a client offered: at connect, with each call over HTTP, and again when
// it refreshes. Session tokens and tickets never get to an Authenticator: the manager opens
// its own.
type Credential struct {
	Token string // "": none
	// Request is the one that opens the connection, or the call. It is nil at a refresh.
	Request *http.Request
}

// Authenticator says who is calling, or returns an error in whose tree is
// [ErrUnauthenticated]. Other errors mean that it could not find out; what the client is
// told of them is for [CodeOf]. It may be called concurrently. Package auth has some.
type Authenticator func(ctx context.Context, cred Credential) (Identity, error)

// Authorizer decides what id may do in a room, instead of Identity.Permissions. Nil allows;
// [ErrForbidden] refuses; other errors mean that it could not find out, which refuses too.
// It is called on the goroutine that reads the connection, so it must be fast.
type Authorizer func(ctx context.Context, id Identity, act Action, room string) error

// Action is what a client wants to do in a room.
type Action string

// The actions.
const (
	ActJoin     Action = "join"     // receive the room's messages, be a member
	ActPublish  Action = "publish"  // speak
	ActPresence Action = "presence" // see who is there
	ActHistory  Action = "history"  // read what was said before
	ActControl  Action = "control"  // stop, steer and approve runs
)

// maxClaims bounds what is kept of a credential for the life of its connection.
const maxClaims = 4 << 10

// checkIdentity refuses what an authenticator may not return.
func (m *Manager) checkIdentity(id Identity, now time.Time) error {
	if err := wire.CheckID(id.User); err != nil {
		return fmt.Errorf("%w: user %w", ErrUnauthenticated, err)
	}
	if err := m.checkTenant(id.Tenant); err != nil {
		return fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	if !id.Expires.IsZero() && !now.Before(id.Expires) {
		return &Error{Code: wire.CodeAuthError, Message: "the credential has expired"}
	}
	if len(id.TokenID) > maxTokenID || len(id.SID) > maxTokenID || len(id.Claims) > maxClaims || tooMany(id.Permissions) {
		return &Error{Code: wire.CodeAuthError, Message: "the credential says too much"}
	}
	return nil
}

func (m *Manager) checkTenant(tenant string) error {
	if tenant == "" {
		if m.opts.RequireTenant {
			return fmt.Errorf("tenant is missing: %w", ErrInvalid)
		}
		return nil
	}
	if err := wire.CheckID(tenant); err != nil {
		return fmt.Errorf("tenant %w: %w", err, ErrInvalid)
	}
	return nil
}

// tenantKey is the key of a context's tenant.
type tenantKey struct{}

// WithTenant makes calls under ctx concern another tenant; "" is the default one. Inside a
// handler the context names the sender's tenant already.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

// tenantOf returns the tenant that a call under ctx concerns. There is none any more once
// the manager has shut down.
func (m *Manager) tenantOf(ctx context.Context) (string, error) {
	if m.life.Err() != nil {
		return "", ErrClosed
	}
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant, m.checkTenant(tenant)
}

// authorize asks whether id may do act in room: the Authorizer if there is one, else the
// permissions. Any error refuses, a panic too; [ErrForbidden] is the ordinary one.
func (m *Manager) authorize(ctx context.Context, id Identity, allowed *permissions, act Action, room string) (err error) {
	if m.opts.Authorize != nil {
		defer func() {
			if r := recover(); r != nil {
				err = newPanicError(r)
			}
		}()
		return m.opts.Authorize(ctx, id, act, room)
	}
	if allowed.allow(act, room) {
		return nil
	}
	return ErrForbidden
}

// mayRead asks whether id may follow room: by right, or because the application made the
// user a member. The latter is only lent: it can be taken back while somebody acts on it.
func (m *Manager) mayRead(ctx context.Context, id Identity, allowed *permissions, room string) (lent bool, err error) {
	err = m.authorize(ctx, id, allowed, ActJoin, room)
	if err == nil || !errors.Is(err, ErrForbidden) {
		return false, err
	}
	state, getErr := m.memberState(ctx, wire.Topic{Tenant: id.Tenant, Kind: wire.KindRoom, ID: room}, id.User)
	if getErr != nil {
		return false, getErr
	}
	if state.kind == memberAdded {
		return true, nil
	}
	return false, err
}
