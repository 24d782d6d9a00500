package switchboard_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// issued is a credential of now.
func issued(words string) string { return fmt.Sprintf("%s iat=%d", words, time.Now().UnixMilli()) }

func (s *server) revoke(t testing.TB, r switchboard.Revocation) (id string) {
	t.Helper()
	id, err := s.Access().Revoke(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// live are the connections of some nodes, by id.
func live(t testing.TB, nodes ...*server) (ids []string) {
	t.Helper()
	for _, s := range nodes {
		for info, err := range s.Connections().List(t.Context(), switchboard.All()) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, info.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func TestARevokedUserIsOutWithinASecondOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a1, a2, bob := one.as(t, issued("alice")), two.as(t, issued("alice")), two.as(t, issued("bob"))
		s1, s2 := one.web(t).stream(issued("alice")), two.web(t).stream(issued("alice"))
		other := two.as(t, issued("acme/alice"))
		began := time.Now()
		one.revoke(t, switchboard.Revocation{User: "alice", Reason: "left"})
		for _, c := range []*device{a1, a2} {
			_, err := c.raw(patience)
			if want := (closed{wire.CloseRevoked, "revoked: do not reconnect, log in again"}); err != want {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		s1.ends(wire.CloseRevoked)
		s2.ends(wire.CloseRevoked)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v, want a second at most", took)
		}
		bob.silent()
		other.silent()
		for i, s := range []*server{one, two} {
			if got := s.Stats(); got.Revocations != 1 || got.RevokedClosed != 2 {
				t.Errorf("node %d: got %d revocations and %d closed, want 1 and 2", i, got.Revocations, got.RevokedClosed)
			}
		}
	})
}

func TestASessionATokenAndASIDAreRevokedByTheirNames(t *testing.T) {
	for _, by := range []string{"session", "token", "sid"} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two := twoNodes(t, membroker.Options{})
				// Without an issue time, and by a clock that is ahead: these names do not come again.
				meant := two.as(t, fmt.Sprintf("alice jti=j1 sid=s1 iat=%d", time.Now().Add(time.Minute).UnixMilli()))
				same, other := one.as(t, issued("alice jti=j2 sid=s2")), two.as(t, "bob jti=j3 sid=s3")
				one.revoke(t, map[string]switchboard.Revocation{
					"session": {Session: meant.welcome.Session.ID}, "token": {TokenID: "j1"}, "sid": {SID: "s1"},
				}[by])
				meant.ends(wire.CloseRevoked)
				same.silent()
				other.silent()
				c, _ := one.handshake(t, request{subprotocols: sessionProtocols(meant)})
				c.refused(wire.CodeAuthError, "")
				c.ends(wire.ClosePolicy)
			})
		})
	}
}

func TestARevokedCredentialIsRefusedAtEveryDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events trail
		s := newServer(t, switchboard.Options{Audit: events.add})
		old := issued("alice jti=j1")
		a := s.as(t, old)
		t1, t2 := s.ticketBy(t, old), s.ticketBy(t, old)
		id := s.revoke(t, switchboard.Revocation{User: "alice"})
		a.ends(wire.CloseRevoked)
		time.Sleep(time.Second)
		fresh := issued("alice jti=j2")
		b := s.as(t, fresh)

		if _, resp := s.handshake(t, request{token: old}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %d, want 401", resp.StatusCode)
		}
		for name, protocols := range map[string]string{
			"token":   "switchboard.v1, token." + base64.RawURLEncoding.EncodeToString([]byte(old)),
			"session": sessionProtocols(a),
		} {
			c, _ := s.handshake(t, request{subprotocols: protocols})
			if e := c.refused(wire.CodeAuthError, ""); e.Message != "the credential was revoked: log in again" {
				t.Errorf("%s: got %q", name, e.Message)
			}
			c.ends(wire.ClosePolicy)
		}
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + t1}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("ticket: got %d, want 401", resp.StatusCode)
		}
		for _, token := range []string{old, a.welcome.Session.Token} {
			for _, c := range []call{
				{path: "/events", token: token}, {path: "/threads/t1", token: token},
				{method: http.MethodPost, path: "/messages", token: token, body: `{"type":"ping"}`},
				{method: http.MethodPost, path: "/websocket/ticket", token: token},
			} {
				if got := s.web(t).do(c); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "revoked") {
					t.Errorf("%s %s: got %d %s, want 401", c.method, c.path, got.status, got.body)
				}
			}
		}
		b.send(`{"type":"auth","message_id":"1","payload":{"token":%q}}`, old)
		b.refused(wire.CodeAuthError, "1")
		b.send(`{"type":"auth","message_id":"2","payload":{"ticket":%q}}`, t2)
		b.refused(wire.CodeAuthError, "2")
		b.silent()

		if got := s.Stats(); got.RevokedRefused != 14 || got.Refusals["revoked"] != 6 || got.CallRefusals["revoked"] != 6 {
			t.Errorf("got %d refused, of them %d connections; want 14 and 6, and as many calls", got.RevokedRefused, got.Refusals["revoked"])
		}
		count := map[switchboard.AuditAction]int{}
		for _, e := range events.all() {
			count[e.Action]++
			if e.User != "alice" || e.At.IsZero() || strings.Contains(fmt.Sprint(e), "swt_") {
				t.Errorf("got event %+v", e)
			}
		}
		wantEqual(t, "events", count, map[switchboard.AuditAction]int{
			switchboard.AuditRevoke: 1, switchboard.AuditClose: 1, switchboard.AuditConnect: 6, switchboard.AuditCall: 6,
			switchboard.AuditAuth: 2, switchboard.AuditTicket: 2,
		})
		if err := s.Access().Restore(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.as(t, old)
		s.resume(t, a)
	})
}

// hookedDriver is a driver that does something before a topic is followed.
type hookedDriver struct {
	broker.Driver
	hook func()
}

func (d *hookedDriver) Follow(ctx context.Context, topics ...broker.Key) error {
	if d.hook != nil && len(topics) > 0 {
		hook := d.hook
		d.hook = nil
		hook()
	}
	return d.Driver.Follow(ctx, topics...)
}

// TestARevocationBetweenCheckAndRegistrationIsSeen: it comes when the credential has been
// checked, and has been carried out before there is a connection to close.
func TestARevocationBetweenCheckAndRegistrationIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := &hookedDriver{Driver: openDriver(t)}
		connected := 0
		s := newServer(t, switchboard.Options{Broker: drive, OnConnect: func(context.Context, *switchboard.Conn) error {
			connected++
			return nil
		}})
		synctest.Wait()
		drive.hook = func() {
			s.revoke(t, switchboard.Revocation{User: "alice"})
			time.Sleep(time.Second)
		}
		c, resp := s.handshake(t, request{token: issued("alice")})
		if resp.StatusCode != http.StatusSwitchingProtocols || s.Stats().Revocations != 1 {
			t.Fatalf("got %d and %d revocations, want to be too late for a status", resp.StatusCode, s.Stats().Revocations)
		}
		c.ends(wire.CloseRevoked)
		_ = c.conn.Close()
		drive.hook = func() {
			s.revoke(t, switchboard.Revocation{User: "bob"})
			time.Sleep(time.Second)
		}
		got := s.web(t).do(call{path: "/events", token: issued("bob")})
		if !strings.Contains(got.body, "4002") && got.status != http.StatusUnauthorized {
			t.Errorf("got %d %s, want a refused stream", got.status, got.body)
		}
		synctest.Wait()
		if connected != 0 || s.Stats().Connections != 0 {
			t.Errorf("OnConnect was asked %d times and %d are connected, want none", connected, s.Stats().Connections)
		}
	})
}

func TestACredentialThatDoesNotSayWhenItWasIssuedIsBeforeEveryRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		s.revoke(t, switchboard.Revocation{User: "alice", NotBefore: time.Now().Add(-365 * 24 * time.Hour)})
		a.ends(wire.CloseRevoked)
		time.Sleep(time.Hour)
		if _, resp := s.handshake(t, request{token: "alice"}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %d, want 401", resp.StatusCode)
		}
		s.as(t, issued("alice"))
		// A ticket of the application is issued when it is made.
		s.connect(t, request{path: "/ws?ticket=" + s.ticket(t, switchboard.Identity{User: "alice"})})
	})
}

func TestAClockThatIsAheadDoesNotOutliveARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, fmt.Sprintf("alice iat=%d", time.Now().Add(time.Minute).UnixMilli()))
		time.Sleep(time.Second)
		s.revoke(t, switchboard.Revocation{User: "alice"})
		a.ends(wire.CloseRevoked)
		c, _ := s.handshake(t, request{subprotocols: sessionProtocols(a)})
		c.refused(wire.CodeAuthError, "")
	})
}

func TestARefreshCountsFromWhenItsCredentialWasIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		a, b := s.as(t, issued("alice")), s.as(t, issued("alice"))
		time.Sleep(time.Minute)
		between := time.Now()
		time.Sleep(time.Minute)
		newer := s.as(t, issued("alice"))
		for i, token := range []string{issued("alice"), issued("alice") + "0"} { // and one from far ahead, which counts as of now
			c := []*device{a, newer}[i]
			c.send(`{"type":"auth","payload":{"token":%q}}`, token)
			c.welcome.Session = payload[wire.AuthOKPayload](t, c.expect(wire.AuthOK)).Session
		}
		s.revoke(t, switchboard.Revocation{User: "alice", NotBefore: between})
		b.ends(wire.CloseRevoked)
		a.silent()
		c := s.resume(t, a)
		time.Sleep(time.Second)
		s.revoke(t, switchboard.Revocation{User: "alice"})
		for _, c := range []*device{a, newer, c} {
			c.ends(wire.CloseRevoked)
		}
	})
}

func TestABanKeepsEverybodyOutUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		old := issued("alice")
		a := s.as(t, old)
		end := time.Now().Add(time.Hour)
		s.revoke(t, switchboard.Revocation{User: "alice", NotBefore: end})
		a.ends(wire.CloseRevoked)
		time.Sleep(30 * time.Minute)
		for _, token := range []string{old, issued("alice")} {
			if _, resp := s.handshake(t, request{token: token}); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %d, want 401", resp.StatusCode)
			}
		}
		time.Sleep(31 * time.Minute)
		if _, resp := s.handshake(t, request{token: old}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("after the ban: got %d for what was issued before, want 401", resp.StatusCode)
		}
		s.as(t, issued("alice"))
	})
}

func TestARevocationWithAnEndEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		old := issued("alice")
		one.revoke(t, switchboard.Revocation{User: "alice", Until: time.Now().Add(90 * time.Second)})
		time.Sleep(time.Second)
		if _, resp := two.handshake(t, request{token: old}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %d, want 401", resp.StatusCode)
		}
		time.Sleep(89 * time.Second)
		two.as(t, old)
		time.Sleep(time.Minute)
		for _, s := range []*server{one, two} {
			if got := s.Stats().Revocations; got != 0 {
				t.Errorf("got %d revocations, want none", got)
			}
		}
	})
}

func TestARevocationWithoutAnEndOutlivesItsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := openDriver(t)
		one := newServer(t, switchboard.Options{Broker: drive.Node()})
		old := issued("alice jti=j")
		one.revoke(t, switchboard.Revocation{TokenID: "j"})
		shutDown(t, one.Manager)
		time.Sleep(time.Hour)
		two := newServer(t, switchboard.Options{Broker: drive.Node()}) // it has read all before it lets anybody in
		if _, resp := two.handshake(t, request{token: old}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %d, want 401", resp.StatusCode)
		}
		for r, err := range two.Access().Revocations(t.Context()) {
			if err != nil || !r.Until.IsZero() {
				t.Errorf("got %+v, %v, want no end: a token may be good for years", r, err)
			}
		}
	})
}

func TestWhatARevokedConnectionHasSentIsNotHandledAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		begun, release, handled := make(chan struct{}), make(chan struct{}), 0
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			if handled++; handled == 1 {
				close(begun)
				<-release
			}
			return nil
		})
		a := s.as(t, issued("alice"))
		for i := range 3 {
			a.send(`{"type":"work","message_id":"w%d"}`, i)
		}
		<-begun
		synctest.Wait()
		s.revoke(t, switchboard.Revocation{User: "alice"})
		time.Sleep(time.Second)
		close(release)
		synctest.Wait()
		if handled != 1 {
			t.Errorf("%d messages were handled, want only the one that was under way", handled)
		}
	})
}

func TestRunsOfARevokedUserAreCancelledOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		start := func(s *server, id, user string) *switchboard.Run {
			run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{ID: id, Agent: "writer", To: switchboard.Room("r"), User: user})
			if err != nil {
				t.Fatal(err)
			}
			return run
		}
		a1, a2, b := start(one, "r1", "alice"), start(two, "r2", "alice"), start(two, "r3", "bob")
		time.Sleep(time.Millisecond)
		one.revoke(t, switchboard.Revocation{User: "alice", CancelRuns: true})
		time.Sleep(time.Millisecond)
		later := start(two, "r4", "alice")
		time.Sleep(time.Second)
		emit := func(run *switchboard.Run) error {
			_, err := run.Emit(t.Context(), switchboard.Message{Type: wire.AgentThinking, Payload: map[string]string{"reasoning": "hm"}})
			return err
		}
		for i, run := range []*switchboard.Run{a1, a2} {
			if err := emit(run); !errors.Is(err, switchboard.ErrRunCancelled) {
				t.Errorf("run %d of alice: got %v, want %v", i+1, err, switchboard.ErrRunCancelled)
			}
		}
		if err := emit(b); err != nil {
			t.Errorf("bob's run: got %v", err)
		}
		if err := emit(later); err != nil {
			t.Errorf("run that was started afterwards: got %v", err)
		}
	})
}

func TestTheApplicationListsAndRestoresItsRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		now := time.Now()
		id := s.revoke(t, switchboard.Revocation{User: "alice", Until: now.Add(time.Hour), CancelRuns: true, Reason: "spam"})
		acme := switchboard.WithTenant(t.Context(), "acme")
		var got []switchboard.Revocation
		for r, err := range s.Access().Revocations(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		wantEqual(t, "revocations", got, []switchboard.Revocation{{
			ID: id, User: "alice", NotBefore: now.Add(time.Millisecond), Until: now.Add(time.Hour), CancelRuns: true, Reason: "spam", Made: now,
		}})
		for r, err := range s.Access().Revocations(acme) {
			t.Errorf("another tenant sees %+v, %v", r, err)
		}
		if err := s.Access().Restore(acme, id); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("another tenant: got %v, want %v", err, switchboard.ErrNotFound)
		}
		for _, bad := range []string{"", "rev_x", "../" + id, id + "/"} {
			if err := s.Access().Restore(t.Context(), bad); !errors.Is(err, switchboard.ErrNotFound) {
				t.Errorf("%q: got %v, want %v", bad, err, switchboard.ErrNotFound)
			}
		}
		if err := s.Access().Restore(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}
