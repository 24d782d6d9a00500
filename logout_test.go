package switchboard_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

func TestALogoutEndsTheSessionAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		token := "alice" // it need not say when it was issued
		a, other := one.as(t, token), two.as(t, token)
		half := two.resume(t, a) // the same session on the other node
		a.send(`{"type":"logout","payload":{"everywhere":false}}`)
		a.ends(wire.CloseNormal)
		half.ends(wire.CloseRevoked)
		synctest.Wait() // the other node has heard of it too
		for _, s := range []*server{one, two} {
			c, _ := s.handshake(t, request{subprotocols: sessionProtocols(a)})
			c.refused(wire.CodeAuthError, "")
			c.ends(wire.ClosePolicy)
		}
		other.silent()
		two.resume(t, other)
		one.as(t, token) // the credential itself is as good as before
		for r, err := range one.Access().Revocations(t.Context()) {
			if left := time.Until(r.Until); err != nil || left < 30*24*time.Hour || left > 31*24*time.Hour {
				t.Errorf("got one for %v, %v, want for a month: then there is nothing left to refuse", left, err)
			}
		}
	})
}

func TestALogoutEverywhereEndsAllThatWasIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		old := issued("alice")
		a, b, s := one.as(t, old), two.as(t, issued("alice")), two.web(t).stream(old)
		bob := two.as(t, issued("bob"))
		a.send(`{"type":"logout","payload":{"everywhere":true}}`)
		a.ends(wire.CloseNormal)
		b.ends(wire.CloseRevoked)
		s.ends(wire.CloseRevoked)
		bob.silent()
		for name, req := range map[string]request{"token": {token: old}, "session": {token: b.welcome.Session.Token}} {
			if _, resp := one.handshake(t, req); resp.StatusCode != 401 {
				t.Errorf("%s: got %d, want 401", name, resp.StatusCode)
			}
		}
		two.as(t, issued("alice"))
	})
}

func TestALogoutEverywhereNeedsToKnowWhatWasIssuedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newServer(t, switchboard.Options{}).as(t, "alice")
		a.send(`{"type":"logout","message_id":"l","payload":{"everywhere":true}}`)
		if e := a.refused(wire.CodeUnsupported, "l"); e.Details["field"] != "everywhere" {
			t.Errorf("got %+v, want the field", e)
		}
		a.silent()
	})
}

func TestOneUserCannotFillTheRevocationsOfATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for i := range 100 {
			a := s.as(t, issued("mallory"))
			a.send(`{"type":"logout","message_id":"%d"}`, i)
			a.ends(wire.CloseNormal)
			_ = a.conn.Close()
			synctest.Wait()
		}
		a := s.as(t, issued("mallory"))
		a.send(`{"type":"logout","message_id":"l"}`)
		if e := a.refused(wire.CodeRateLimited, "l"); e.Details["field"] != "everywhere" || fmt.Sprint(e.Details["limit"]) != "100" {
			t.Errorf("got %+v, want the limit and the way out", e)
		}
		a.send(`{"type":"logout","message_id":"all","payload":{"everywhere":true}}`)
		a.ends(wire.CloseNormal)
		time.Sleep(time.Second)
		if got := s.Stats().Revocations; got != 1 {
			t.Errorf("got %d revocations, want the one that covers the others", got)
		}
	})
}
