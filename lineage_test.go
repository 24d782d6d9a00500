package switchboard_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// heir is a connection of a family: each but the first came of another by a ticket.
type heir struct {
	node   *server
	info   wire.Welcome
	ends   func(wire.CloseCode)
	leave  func()
	ticket string // made with its session token
}

// family are some sessions of alice on two nodes.
func family(t *testing.T, one, two *server) map[string]*heir {
	t.Helper()
	all := map[string]*heir{}
	socket := func(name string, node *server, req request) {
		c := node.connect(t, req)
		all[name] = &heir{node: node, info: c.welcome, ends: c.ends, leave: func() { _ = c.conn.Close() }}
	}
	by := func(name string) string { return all[name].node.ticketBy(t, all[name].info.Session.Token) }
	socket("mother", one, request{token: issued("alice")})
	socket("daughter", two, request{path: "/ws?ticket=" + by("mother")})
	socket("sister", two, request{path: "/ws?ticket=" + by("mother")})
	socket("grandchild", one, request{path: "/ws?ticket=" + by("daughter")})
	s := two.web(t).streamOf(call{path: "/events?ticket=" + by("grandchild")})
	all["stream"] = &heir{node: two, info: s.welcome, ends: func(code wire.CloseCode) { s.ends(code) }, leave: s.cut}
	socket("other", two, request{token: issued("alice")})
	for name, h := range all {
		h.ticket = by(name)
	}
	return all
}

// isOut tries everything that an heir has, on a node.
func (h *heir) isOut(t *testing.T, name string, node *server) {
	t.Helper()
	token := h.info.Session.Token
	for _, c := range []call{
		{path: "/threads/t1", token: token},
		{method: http.MethodPost, path: "/messages", token: token, body: `{"type":"ping"}`},
		{method: http.MethodPost, path: "/websocket/ticket", token: token},
		{path: "/events", token: token}, // last, because one that is let in does not end
	} {
		if got := node.web(t).do(c); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "revoked") {
			t.Fatalf("%s: %s %s: got %d %s, want 401", name, c.method, c.path, got.status, got.body)
		}
	}
	for what, req := range map[string]request{"token": {token: token}, "ticket": {path: "/ws?ticket=" + h.ticket}} {
		if _, resp := node.handshake(t, req); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s: got %d, want 401", name, what, resp.StatusCode)
		}
	}
}

// isIn does, too.
func (h *heir) isIn(t *testing.T, node *server) {
	t.Helper()
	if got := node.web(t).do(call{path: "/threads/t1", token: h.info.Session.Token}); got.status != http.StatusOK {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
	_ = node.connect(t, request{token: h.info.Session.Token}).conn.Close()
	_ = node.connect(t, request{path: "/ws?ticket=" + h.ticket}).conn.Close()
}

func TestWhatCameOfARevokedSessionByTicketsFallsWithIt(t *testing.T) {
	for _, tt := range []struct {
		whose string
		falls []string // besides
	}{
		{"mother", []string{"daughter", "sister", "grandchild", "stream"}},
		{"daughter", []string{"grandchild", "stream"}},
		{"grandchild", []string{"stream"}},
		{"sister", nil},
		{"other", nil},
	} {
		t.Run(tt.whose, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two := twoNodes(t, membroker.Options{})
				all := family(t, one, two)
				falls, began := append(tt.falls, tt.whose), time.Now()
				one.revoke(t, switchboard.Revocation{Session: all[tt.whose].info.Session.ID})
				for _, name := range falls {
					all[name].ends(wire.CloseRevoked)
					all[name].leave()
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %v, want a second at most", took)
				}
				time.Sleep(time.Second)
				var left []string
				for name, h := range all {
					if !slices.Contains(falls, name) {
						left = append(left, h.info.ConnectionID)
					}
				}
				slices.Sort(left)
				wantEqual(t, "who is connected still", live(t, one, two), left)
				for _, name := range falls {
					all[name].isOut(t, name, one)
					all[name].isOut(t, name, two)
				}
				for name, h := range all {
					if !slices.Contains(falls, name) {
						h.isIn(t, h.node)
					}
				}
			})
		})
	}
}

func TestALogoutEndsWhatCameOfTheSessionByTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a := one.as(t, "alice") // it need not say when it was issued
		b := two.connect(t, request{path: "/ws?ticket=" + one.ticketBy(t, a.welcome.Session.Token)})
		c := one.connect(t, request{path: "/ws?ticket=" + two.ticketBy(t, b.welcome.Session.Token)})
		c.send(`{"type":"logout"}`)
		c.ends(wire.CloseNormal)
		time.Sleep(time.Second)
		two.resume(t, a)
		one.resume(t, b)
		a.send(`{"type":"logout"}`)
		a.ends(wire.CloseNormal)
		b.ends(wire.CloseRevoked)
		for _, s := range []*server{one, two} {
			late, _ := s.handshake(t, request{subprotocols: sessionProtocols(b)})
			late.refused(wire.CodeAuthError, "")
			late.ends(wire.ClosePolicy)
		}
	})
}

// TestARevocationOfTheMakerBetweenCheckAndRegistrationIsSeen: it comes when the ticket has been
// redeemed and checked, and has been carried out before there is a connection to close.
func TestARevocationOfTheMakerBetweenCheckAndRegistrationIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := openDriver(t)
		hooked := &hookedDriver{Driver: drive.Node()}
		one, two := newServer(t, switchboard.Options{Broker: drive}), newServer(t, switchboard.Options{Broker: hooked})
		synctest.Wait()
		for i, user := range []string{"alice", "bob"} { // nobody on the other node follows them yet
			a := one.as(t, issued(user))
			ticket := one.ticketBy(t, a.welcome.Session.Token)
			hooked.hook = func() {
				one.revoke(t, switchboard.Revocation{Session: a.welcome.Session.ID})
				time.Sleep(time.Second)
			}
			if i == 0 {
				c, resp := two.handshake(t, request{path: "/ws?ticket=" + ticket})
				if resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("got %d, want to be too late for a status", resp.StatusCode)
				}
				c.ends(wire.CloseRevoked)
				_ = c.conn.Close()
			} else if got := two.web(t).do(call{path: "/events?ticket=" + ticket}); got.status != http.StatusUnauthorized && !strings.Contains(got.body, "4002") {
				t.Errorf("got %d %s, want a refused stream", got.status, got.body)
			}
			if hooked.hook != nil {
				t.Fatal("the revocation was not made in time")
			}
			a.ends(wire.CloseRevoked)
		}
		synctest.Wait()
		if got := two.Stats(); got.Connections != 0 || got.RevokedRefused != 2 {
			t.Errorf("got %d connections and %d refused, want none and 2", got.Connections, got.RevokedRefused)
		}
	})
}

func TestAnAuthByATicketIsOfTheSessionThatMadeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		auth := func(c *device, name, credential string) {
			t.Helper()
			c.send(`{"type":"auth","payload":{%q:%q}}`, name, credential)
			c.welcome.Session = payload[wire.AuthOKPayload](t, c.expect(wire.AuthOK)).Session
		}
		maker := one.as(t, issued("alice"))
		made := func() string { return one.ticketBy(t, maker.welcome.Session.Token) }
		stays, leaves := two.as(t, issued("alice")), two.as(t, issued("alice"))
		auth(leaves, "ticket", made())
		auth(stays, "ticket", made())
		child := one.connect(t, request{path: "/ws?ticket=" + two.ticketBy(t, leaves.welcome.Session.Token)})
		free := one.connect(t, request{path: "/ws?ticket=" + made()})
		auth(stays, "token", issued("alice")) // a credential of its own
		auth(free, "token", issued("alice"))
		late := made()
		one.revoke(t, switchboard.Revocation{Session: maker.welcome.Session.ID})
		for _, c := range []*device{maker, leaves, child} {
			c.ends(wire.CloseRevoked)
			synctest.Wait() // the other node has heard of it too
			again, _ := two.handshake(t, request{subprotocols: sessionProtocols(c)})
			again.refused(wire.CodeAuthError, "")
			again.ends(wire.ClosePolicy)
		}
		stays.send(`{"type":"auth","message_id":"late","payload":{"ticket":%q}}`, late)
		stays.refused(wire.CodeAuthError, "late")
		stays.silent()
		free.silent()
		two.resume(t, stays)
		one.resume(t, free)
	})
}

func TestALineageOfTicketsHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16
		_, one, two := twoNodes(t, membroker.Options{})
		first := one.as(t, issued("alice"))
		line := []*device{first}
		for range most {
			line = append(line, two.connect(t, request{path: "/ws?ticket=" + one.ticketBy(t, line[len(line)-1].welcome.Session.Token)}))
		}
		last := line[most]
		for range 2 * most { // by tickets of its own it proves itself as often as it likes
			first.send(`{"type":"auth","payload":{"ticket":%q}}`, one.ticketBy(t, first.welcome.Session.Token))
			first.welcome.Session = payload[wire.AuthOKPayload](t, first.expect(wire.AuthOK)).Session
			time.Sleep(time.Second)
		}
		got := two.web(t).ticket(last.welcome.Session.Token, "")
		if p := got.problem(t); p.Status != 401 || p.Code != string(wire.CodeAuthError) || fmt.Sprint(p.Details["limit"]) != fmt.Sprint(most) {
			t.Errorf("got %+v, want 401 with the limit", p)
		}
		if got := two.Stats().CallRefusals["lineage"]; got != 1 {
			t.Errorf("got %d counted, want 1", got)
		}
		renewed := two.resume(t, last) // it is as good as others for all else
		renewed.send(`{"type":"session_restore","payload":{}}`)
		renewed.await(wire.SessionRestored)
		renewed.send(`{"type":"auth","payload":{"token":%q}}`, issued("alice"))
		two.ticketBy(t, payload[wire.AuthOKPayload](t, renewed.await(wire.AuthOK)).Session.Token)

		one.revoke(t, switchboard.Revocation{Session: first.welcome.Session.ID})
		for _, c := range line {
			c.ends(wire.CloseRevoked)
		}
		renewed.silent()
		if _, resp := one.handshake(t, request{token: last.welcome.Session.Token}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the token of before: got %d, want 401", resp.StatusCode)
		}
	})
}
