package switchboard_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// meanwhile makes an authenticator that does something once, when it has judged a credential with
// the word "next" and has not said so yet.
func meanwhile(act *atomic.Pointer[func()]) switchboard.Authenticator {
	return func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		id, err := login(ctx, cred)
		if strings.Contains(cred.Token, "next") {
			if do := act.Swap(nil); do != nil {
				(*do)()
			}
		}
		return id, err
	}
}

// TestWhatHappensWhileAConnectionProvesItselfAgainCounts: the new credential has been judged, and is
// not the connection's yet, when one of the two is revoked or runs out, or the connection is closed.
func TestWhatHappensWhileAConnectionProvesItselfAgainCounts(t *testing.T) {
	const before = "alice jti=former exp=1h"
	for _, tt := range []struct {
		name, before, next string
		act                func(*testing.T, *server, *device)
		ends               wire.CloseCode // 0: it lives on, as before, and the new credential is refused
	}{
		{"the new token is revoked", before, "alice next jti=new", func(t *testing.T, s *server, _ *device) {
			s.revoke(t, switchboard.Revocation{TokenID: "new"})
		}, 0},
		{"the new token runs out", before, "alice next exp=1s", nil, 0},
		{"the former token is revoked", before, "alice next jti=new", func(t *testing.T, s *server, _ *device) {
			s.revoke(t, switchboard.Revocation{TokenID: "former"})
		}, wire.CloseRevoked},
		{"the session is revoked", before, "alice next jti=new", func(t *testing.T, s *server, a *device) {
			s.revoke(t, switchboard.Revocation{Session: a.welcome.Session.ID})
		}, wire.CloseRevoked},
		{"the user is revoked", before, "alice next jti=new", func(t *testing.T, s *server, _ *device) {
			s.revoke(t, switchboard.Revocation{User: "alice"})
		}, wire.CloseRevoked},
		{"the former token runs out", "alice exp=1s", "alice next exp=1h", nil, wire.CloseExpired},
		{"the application closes it", before, "alice next jti=new", func(t *testing.T, s *server, a *device) {
			if _, err := s.Connections().Close(t.Context(), switchboard.Connection(a.welcome.ConnectionID), switchboard.CloseError{Code: wire.CloseNormal}); err != nil {
				t.Error(err)
			}
		}, wire.CloseNormal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var act atomic.Pointer[func()]
				s := newServer(t, switchboard.Options{Auth: meanwhile(&act), Heartbeat: patientBeat})
				a := s.as(t, tt.before)
				if tt.ends == wire.CloseExpired {
					a.expect(wire.AuthExpiring)
				}
				do := func() {
					if tt.act != nil {
						tt.act(t, s, a)
					}
					time.Sleep(2 * time.Second) // it has been carried out
				}
				act.Store(&do)
				a.send(`{"type":"auth","message_id":"r","payload":{"token":%q}}`, tt.next)
				if tt.ends != 0 {
					b, err := a.raw(patience)
					var end closed
					if !errors.As(err, &end) || end.code != tt.ends {
						t.Errorf("got %s, %v, want a close with %d and nothing before", b, err, tt.ends)
					}
					return
				}
				a.refused(wire.CodeAuthError, "r")
				a.send(`{"type":"ping","message_id":"p"}`)
				a.expect(wire.Pong)
			})
		})
	}
}

// TestNothingOfARoomComesBehindARefreshThatDoesNotAllowIt: what is said there while the Authorizer is
// asked about the new credential is not written behind auth_ok.
func TestNothingOfARoomComesBehindARefreshThatDoesNotAllowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *server
		said := 0
		s = newServer(t, switchboard.Options{Authorize: func(_ context.Context, id switchboard.Identity, _ switchboard.Action, _ string) error {
			if id.TokenID != "less" {
				return nil
			}
			said++
			s.note(t, switchboard.Room("team"), said)
			synctest.Wait()
			return switchboard.ErrForbidden
		}})
		a := s.as(t, "alice jti=more")
		a.join("team")
		a.send(`{"type":"auth","message_id":"r","payload":{"token":"alice jti=less"}}`)
		for a.next().Type != wire.AuthOK {
		}
		s.note(t, switchboard.Room("team"), 100)
		a.silent()
		if said == 0 {
			t.Error("nothing was said meanwhile")
		}
	})
}

// TestWhatIsPostedBehindARefreshIsByTheNewCredential, also if it was sent at once with it.
func TestWhatIsPostedBehindARefreshIsByTheNewCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var act atomic.Pointer[func()]
		s := newServer(t, switchboard.Options{Auth: meanwhile(&act)})
		var by []string
		s.Handle("say", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			by = append(by, c.Identity().TokenID)
			return c.May(ctx, switchboard.ActPublish, "team")
		})
		a := s.as(t, "alice room:team:* jti=more")
		slow := func() { time.Sleep(time.Second) }
		act.Store(&slow)
		a.send(`{"type":"auth","message_id":"r","payload":{"token":"alice next jti=less"}}`)
		a.send(`{"type":"say","message_id":"s"}`)
		a.send(`{"type":"room_message","message_id":"m","payload":{"room":"team"}}`)
		a.expect(wire.AuthOK)
		refused := map[string]bool{}
		for range 2 {
			b, err := a.raw(patience)
			if err != nil {
				t.Fatal(err)
			}
			e, err := wire.ParseErrorMessage(b)
			refused[e.MessageID] = err == nil && e.Code == wire.CodeForbidden
		}
		if !refused["s"] || !refused["m"] || len(by) != 1 || by[0] != "less" {
			t.Errorf("got refusals %v, handled by %q, want both refused, as of the new credential", refused, by)
		}
	})
}
