package switchboard_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// bounded gives the tenant "noisy" a quota.
func bounded(q switchboard.Quota) func(string) switchboard.Quota {
	return func(tenant string) switchboard.Quota {
		if tenant == "noisy" {
			return q
		}
		return switchboard.Quota{}
	}
}

func (s *server) tenantStats(t *testing.T, tenant string) switchboard.TenantStats {
	t.Helper()
	got, err := s.TenantStats(switchboard.WithTenant(t.Context(), tenant))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestATenantWithAllItsConnectionsIsRefusedAndAnotherIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{Conns: 2})})
		s.as(t, "noisy/a")
		last := s.as(t, "noisy/b")
		_, resp := s.handshake(t, request{token: "noisy/c"})
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d with Retry-After %q, want 429", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		for range 5 {
			s.as(t, "quiet/a")
		}
		noisy, quiet := s.tenantStats(t, "noisy"), s.tenantStats(t, "quiet")
		if noisy.Connections != 2 || noisy.Accepted != 2 || noisy.Refused != 1 || quiet.Connections != 5 || quiet.Refused != 0 {
			t.Errorf("got %+v and %+v", noisy, quiet)
		}
		if n := s.Stats().Refusals["tenant_limit"]; n != 1 {
			t.Errorf("got %d refusals, want 1", n)
		}
		last.conn.Close()
		synctest.Wait()
		s.as(t, "noisy/c") // there is a place again
	})
}

func TestATenantsConnectionsAreBoundedHoweverManyComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		together := make(chan struct{})
		s := newServer(t, switchboard.Options{
			Quota: bounded(switchboard.Quota{Conns: 3}),
			Auth: func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
				<-together
				return login(ctx, cred)
			},
		})
		for _, user := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
			s.attempt(t, request{token: "noisy/" + user})
		}
		close(together)
		synctest.Wait()
		if got := s.tenantStats(t, "noisy"); got.Connections != 3 || got.Refused != 7 {
			t.Errorf("got %+v, want 3 connections and 7 refused", got)
		}
	})
}

func TestATenantsConnectionsBeginNoFasterThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{ConnsPerSecond: 2})})
		s.as(t, "noisy/a")
		s.as(t, "noisy/b")
		if _, resp := s.handshake(t, request{token: "noisy/c"}); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("got %d, want 429", resp.StatusCode)
		}
		s.as(t, "quiet/a")
		time.Sleep(time.Second)
		s.as(t, "noisy/c")
	})
}

func TestWhatBackEndsOfATenantPublishIsBoundedAndLeavesItsUsersAndOthersTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{
			MessagesPerMinute: 3, BackendMessagesPerMinute: 60, BackendBytesPerMinute: 1000,
		})})
		a := s.as(t, "noisy/a")
		noisy, quiet := switchboard.WithTenant(t.Context(), "noisy"), switchboard.WithTenant(t.Context(), "quiet")
		publish := func(ctx context.Context) error {
			_, err := s.Publish(ctx, switchboard.User("nobody"), switchboard.Message{Type: "x", Payload: map[string]int{"n": 1}})
			return err
		}
		for i := range 60 {
			if err := publish(noisy); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		err := publish(noisy)
		var told *switchboard.Error
		if !errors.As(err, &told) || told.Code != wire.CodeRateLimited || told.Details["retry_after_ms"] != int64(1000) || told.Details["scope"] != "tenant" {
			t.Errorf("got %v with %v, want RATE_LIMITED for about a second", err, told)
		}
		for range 200 {
			if err := publish(quiet); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			a.send(`{"type":"user_message","payload":{}}`)
			a.next() // the message and its ack, in any order
			a.next()
		}
		a.send(`{"type":"user_message","message_id":"m","payload":{}}`)
		a.refused(wire.CodeRateLimited, "m")
		time.Sleep(time.Second)
		if err := publish(noisy); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		_, err = s.Publish(noisy, switchboard.User("nobody"), switchboard.Message{Type: "x", Payload: string(make([]byte, 1001))})
		if switchboard.CodeOf(err) != wire.CodeTooLarge {
			t.Errorf("got %v for more bytes than there ever are, want TOO_LARGE", err)
		}
		got := s.tenantStats(t, "noisy")
		if got.Published != 3 || got.Limited != 1 || got.BackendPublished != 61 || got.BackendLimited != 2 || got.BackendBytes != 61*7 {
			t.Errorf("got %+v", got)
		}
		if got := s.tenantStats(t, "quiet"); got.BackendPublished != 200 || got.BackendLimited != 0 || got.Published != 0 {
			t.Errorf("got %+v of the quiet tenant", got)
		}
	})
}
