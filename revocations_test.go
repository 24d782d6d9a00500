package switchboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// issued is a token that is issued now.
func issued(words string) string { return fmt.Sprintf("%s iat=%d", words, time.Now().UnixMilli()) }

func (s *server) revoke(t testing.TB, r switchboard.Revocation) string {
	t.Helper()
	id, err := s.Access().Revoke(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refusedLogin connects and wants AUTH_ERROR.
func (s *server) refusedLogin(t testing.TB, req request) {
	t.Helper()
	c, resp := s.handshake(t, req)
	defer c.conn.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols { // a browser hears it on the socket
		c.refused(wire.CodeAuthError, "")
		c.ends(wire.ClosePolicy)
		return
	}
	if resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("got %d, want 401", resp.StatusCode)
	}
}

func TestWhatIsRevokedIsOutWithinASecondOnEveryNode(t *testing.T) {
	for name, named := range map[string]func(c *device) switchboard.Revocation{
		"user":     func(*device) switchboard.Revocation { return switchboard.Revocation{User: "alice"} },
		"session":  func(c *device) switchboard.Revocation { return switchboard.Revocation{Session: c.welcome.Session.ID} },
		"token id": func(*device) switchboard.Revocation { return switchboard.Revocation{TokenID: "j1"} },
		"sid":      func(*device) switchboard.Revocation { return switchboard.Revocation{SID: "s1"} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two := twoNodes(t, membroker.Options{})
				token := issued("alice jti=j1 sid=s1")
				alice, phone := one.as(t, token), two.as(t, issued("alice jti=j2 sid=s2"))
				bob, acme := two.as(t, issued("bob jti=j3 sid=s3")), two.as(t, issued("acme/alice jti=j1 sid=s1"))
				time.Sleep(time.Second)
				began := time.Now()
				two.revoke(t, named(alice))
				alice.ends(wire.CloseRevoked)
				if took := time.Since(began); took > time.Second {
					t.Errorf("alice was out after %v, want within a second", took)
				}
				synctest.Wait()
				if name == "user" {
					phone.ends(wire.CloseRevoked)
				} else {
					phone.silent()
				}
				bob.silent()
				acme.silent()
				for _, s := range []*server{one, two} {
					s.refusedLogin(t, request{subprotocols: sessionProtocols(alice)})
					if name != "session" { // the same token begins another session
						s.refusedLogin(t, request{token: token})
					}
					s.as(t, issued("alice jti=j4 sid=s4"))
				}
				stats := one.Stats()
				wantEqual(t, "stats", []uint64{uint64(stats.Revocations), stats.Revoked}, []uint64{1, 1})
				if stats.Refusals["revoked"] == 0 {
					t.Errorf("got refusals %v, want some of revoked", stats.Refusals)
				}
			})
		})
	}
}

func TestACredentialOfUnknownAgeIsOlderThanEveryRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		id := s.revoke(t, switchboard.Revocation{User: "alice"})
		a.ends(wire.CloseRevoked)
		time.Sleep(time.Hour)
		s.refusedLogin(t, request{token: "alice"})
		if err := s.Access().Restore(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		s.as(t, "alice")
		if err := s.Access().Restore(t.Context(), id); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("restoring it again: got %v, want ErrNotFound", err)
		}
	})
}

func TestABanEndsWhenItSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		end := time.Now().Add(time.Minute)
		one.revoke(t, switchboard.Revocation{User: "alice", NotBefore: end, Until: end})
		synctest.Wait()
		for _, s := range []*server{one, two} {
			s.refusedLogin(t, request{token: issued("alice")})
		}
		time.Sleep(time.Minute)
		for _, s := range []*server{one, two} {
			s.as(t, issued("alice"))
		}
		time.Sleep(2 * time.Second) // the store counts whole seconds
		for _, s := range []*server{one, two} {
			if n := s.Stats().Revocations; n != 0 {
				t.Errorf("%d revocations are left, want none", n)
			}
		}
	})
}

func TestEveryWayInIsClosedToWhoIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		token := issued("alice")
		a := s.as(t, token)
		ticket := s.ticket(t, switchboard.Identity{User: "alice"})
		time.Sleep(time.Millisecond)
		s.revoke(t, switchboard.Revocation{User: "alice"})
		a.ends(wire.CloseRevoked)
		s.refusedLogin(t, request{path: "/ws?ticket=" + ticket})
		s.refusedLogin(t, request{token: token})
		s.refusedLogin(t, request{subprotocols: sessionProtocols(a)})
		s.refusedLogin(t, request{token: a.welcome.Session.Token})
		// A good connection cannot be given a credential that is not.
		b := s.as(t, issued("alice"))
		b.send(`{"type":"auth","message_id":"m","payload":{"token":%q}}`, token)
		b.refused(wire.CodeAuthError, "m")
		b.silent()
		w := s.web(t)
		for _, call := range []call{
			{path: "/events", token: token}, {method: http.MethodPost, path: "/messages", token: token}, {path: "/threads/t", token: token},
			{method: http.MethodPost, path: "/websocket/ticket", token: token},
		} {
			if got := w.do(call); got.status != http.StatusUnauthorized {
				t.Errorf("%s %s: got %d, want 401", call.method, call.path, got.status)
			}
		}
	})
}

func TestWhoIsRevokedWhileConnectingDoesNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *server
		first := true
		s = newServer(t, switchboard.Options{Broker: &pausing{Driver: openDriver(t), before: func(key broker.Key) {
			// The credential has been checked: its topics are asked for.
			if first && key == broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"}) {
				first = false
				s.revoke(t, switchboard.Revocation{User: "alice"})
				synctest.Wait()
			}
		}}})
		c, resp := s.handshake(t, request{token: "alice"})
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %d: it was refused before, and tests nothing", resp.StatusCode)
		}
		c.refused(wire.CodeAuthError, "")
		c.ends(wire.ClosePolicy)
		_ = c.conn.Close()
		synctest.Wait()
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d connections, want none", n)
		}
	})
}

// pausing does something before the head of a topic is asked for.
type pausing struct {
	broker.Driver
	before func(broker.Key)
}

func (p *pausing) Heads(ctx context.Context, exact bool, topics ...broker.Key) ([]wire.Position, error) {
	for _, key := range topics {
		p.before(key)
	}
	return p.Driver.Heads(ctx, exact, topics...)
}

func TestRunsOfARevokedUserEndIfThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		start := func(user string) *switchboard.Run {
			run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "a", To: switchboard.User(user)})
			if err != nil {
				t.Fatal(err)
			}
			return run
		}
		alices, bobs := start("alice"), start("bob")
		time.Sleep(time.Second)
		s.revoke(t, switchboard.Revocation{User: "alice"})
		synctest.Wait()
		if alices.Context().Err() != nil {
			t.Error("the run has ended, though only its user is out")
		}
		s.revoke(t, switchboard.Revocation{User: "alice", CancelRuns: true})
		synctest.Wait()
		if err := alices.Thinking(t.Context(), "more"); !errors.Is(err, switchboard.ErrRunCancelled) {
			t.Errorf("got %v, want ErrRunCancelled", err)
		}
		if bobs.Context().Err() != nil {
			t.Error("bob's run has ended")
		}
		time.Sleep(time.Second)
		if later := start("alice"); later.Context().Err() != nil {
			t.Error("a run that began afterwards has ended")
		}
	})
}

func TestARevocationSaysWhatIsWrongWithIt(t *testing.T) {
	s := newServer(t, switchboard.Options{})
	now := time.Now()
	for field, r := range map[string]switchboard.Revocation{
		"user":        {},
		"user ":       {User: "alice", Session: "ses_0123456789abcdef01234567"},
		"user  ":      {User: "a\x00b"},
		"session":     {Session: "s"},
		"token_id":    {TokenID: string(make([]byte, 300))},
		"until":       {User: "alice", Until: now.Add(-time.Second)},
		"cancel_runs": {SID: "s", CancelRuns: true},
		"reason":      {User: "alice", Reason: string(make([]byte, 300))},
	} {
		_, err := s.Access().Revoke(t.Context(), r)
		told, ok := errors.AsType[*switchboard.Error](err)
		if !ok || !errors.Is(err, switchboard.ErrInvalid) || told.Details["field"] != strings.TrimSpace(field) {
			t.Errorf("%s: got %v, want ErrInvalid that names it", field, err)
		}
	}
	for _, id := range []string{"", "x", "rev_/../x", "rev_none"} {
		if err := s.Access().Restore(t.Context(), id); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("restore %q: got %v, want ErrNotFound", id, err)
		}
	}
}

func TestLogoutEndsTheSessionForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		token := issued("alice")
		a, other := one.as(t, token), two.as(t, token)
		time.Sleep(time.Second)
		a.send(`{"type":"logout"}`)
		a.ends(wire.CloseNormal)
		synctest.Wait()
		other.silent() // it is another session
		two.refusedLogin(t, request{subprotocols: sessionProtocols(a)})
		two.resume(t, other)
		two.as(t, token) // the credential itself is still good
		wantEqual(t, "closed as revoked", one.Stats().Revoked, 0)
	})
}

func TestLogoutEverywhereEndsAllThatTheUserHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		token := issued("alice")
		for range 2 { // the second time counts as well
			a, phone, bob := one.as(t, token), two.as(t, token), two.as(t, issued("bob"))
			time.Sleep(time.Second)
			a.send(`{"type":"logout","payload":{"everywhere":true}}`)
			a.ends(wire.CloseNormal)
			phone.ends(wire.CloseRevoked)
			bob.silent()
			one.refusedLogin(t, request{token: token})
			time.Sleep(time.Second)
			token = issued("alice")
		}
		if n := one.Stats().Revocations; n != 1 {
			t.Errorf("%d revocations are kept, want one for the user", n)
		}
	})
}

func TestASessionWithoutEndEndsAfterAMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := bytes.Repeat([]byte{1}, session.KeyBytes)
		sealer, err := session.NewSealer(key)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now().Add(time.Minute - session.Longest)
		token, err := sealer.Seal(session.Token{User: "alice", Began: began, Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(t, switchboard.Options{SessionKeys: [][]byte{key}})
		a := s.as(t, token)
		if left := a.welcome.Session.ExpiresAt - wire.Seconds(time.Now()); left != 60 {
			t.Errorf("the new token is good for %v s, want 60: a month after the session began", left)
		}
		time.Sleep(time.Minute)
		s.refusedLogin(t, request{token: a.welcome.Session.Token})
	})
}

// unwatched is a driver whose watches end, and do not begin again, while lost is set.
type unwatched struct {
	broker.Driver
	lost atomic.Bool
	cut  context.Context // ends the first watches
}

func (u *unwatched) Watch(ctx context.Context, prefix string) iter.Seq2[broker.Change, error] {
	return func(yield func(broker.Change, error) bool) {
		if u.lost.Load() {
			yield(broker.Change{}, broker.ErrUnavailable)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if u.cut.Err() == nil {
			defer context.AfterFunc(u.cut, cancel)()
		}
		for c, err := range u.Driver.Watch(ctx, prefix) {
			if err != nil && u.lost.Load() {
				err = broker.ErrUnavailable
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func TestSessionTokensAreNotGoodWhileNobodyKnowsWhatIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, cut := context.WithCancel(t.Context())
		d := &unwatched{Driver: openDriver(t), cut: first}
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		synctest.Wait()
		d.lost.Store(true)
		cut()
		time.Sleep(4 * time.Second)
		s.resume(t, a)
		time.Sleep(time.Second)
		c, _ := s.handshake(t, request{subprotocols: sessionProtocols(a)})
		c.refused(wire.CodeUnavailable, "")
		c.ends(wire.CloseTryAgain)
		s.as(t, "alice") // a credential is checked by who made it
		d.lost.Store(false)
		time.Sleep(time.Second)
		s.resume(t, a)
	})
}
