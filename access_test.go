package switchboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// ticket makes one for alice.
func (s *server) ticket(t testing.TB, id switchboard.Identity) string {
	t.Helper()
	ticket, err := s.Access().Ticket(switchboard.WithTenant(t.Context(), id.Tenant), id, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestATicketConnectsOnceAsWhomItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []switchboard.Identity
		s := newServer(t, switchboard.Options{OnConnect: func(_ context.Context, c *switchboard.Conn) error {
			seen = append(seen, c.Identity())
			return nil
		}})
		id := switchboard.Identity{
			Tenant: "acme", User: "alice", Permissions: []string{"room:a:join", "trade"}, Expires: time.Now().Add(time.Hour),
			TokenID: "jti", SID: "sid", Claims: []byte(`{"plan":"gold"}`),
		}
		ticket := s.ticket(t, id)
		s.connect(t, request{path: "/ws?ticket=" + url.QueryEscape(ticket), subprotocols: "switchboard.v1"})
		id.Issued = time.Now() // with the ticket
		wantEqual(t, "identity", seen, []switchboard.Identity{id})
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + ticket}); resp.StatusCode != 401 {
			t.Errorf("again: got %d, want 401", resp.StatusCode)
		}
		c, _ := s.handshake(t, request{path: "/ws?ticket=" + ticket, subprotocols: "switchboard.v1"})
		if e := c.refused(wire.CodeAuthError, ""); e.Message != "the ticket is not valid" {
			t.Errorf("again, by a browser: got %q", e.Message)
		}
		c.ends(wire.ClosePolicy)
	})
}

func TestATicketOpensAnEventStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ticket := s.ticket(t, switchboard.Identity{User: "alice"})
		a := s.web(t).streamOf(call{path: "/events?ticket=" + ticket})
		a.token = a.welcome.Session.Token // what a page has to post with
		a.post(`{"type":"ping","message_id":"p"}`).answer(t, 200, wire.Pong, "p")
		if got := s.web(t).do(call{path: "/events?ticket=" + ticket}).problem(t); got.Status != 401 || got.Detail != "the ticket is not valid" {
			t.Errorf("again: got %+v, want 401", got)
		}
	})
}

func TestTheFirstCredentialCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ticket := s.ticket(t, switchboard.Identity{User: "alice"})
		if a := s.connect(t, request{path: "/ws?ticket=" + ticket, token: "bob"}); a.welcome.UserID != "bob" {
			t.Errorf("got %s, want bob, by the header", a.welcome.UserID)
		}
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + ticket, token: "bad"}); resp.StatusCode != 401 {
			t.Errorf("a bad header beside a good ticket: got %d, want 401", resp.StatusCode)
		}
		if a := s.connect(t, request{path: "/ws?ticket=" + ticket}); a.welcome.UserID != "alice" {
			t.Errorf("got %s, want alice: nobody has used the ticket", a.welcome.UserID)
		}
	})
}

// TestOneOfManyRedeemsATicket: on two nodes, by both transports and the auth verb at once.
func TestOneOfManyRedeemsATicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		nodes := []*server{newServer(t, switchboard.Options{Broker: d, Limits: unlimited}), newServer(t, switchboard.Options{Broker: d, Limits: unlimited})}
		for round := range 20 {
			ticket := nodes[0].ticket(t, switchboard.Identity{User: "alice"})
			var won atomic.Int64
			var wg sync.WaitGroup
			start := make(chan struct{})
			for i := range 24 {
				s := nodes[i%2]
				switch i % 3 {
				case 0:
					wg.Go(func() {
						<-start
						if _, resp := s.handshake(t, request{path: "/ws?ticket=" + ticket}); resp.StatusCode == http.StatusSwitchingProtocols {
							won.Add(1)
						}
					})
				case 1:
					c := s.web(t)
					wg.Go(func() {
						<-start
						if _, resp := c.open(call{path: "/events?ticket=" + ticket}); resp.StatusCode == http.StatusOK {
							won.Add(1)
						}
					})
				default:
					c := s.as(t, "alice")
					wg.Go(func() {
						<-start
						c.send(`{"type":"auth","message_id":"a","payload":{"ticket":%q}}`, ticket)
						if c.next().Type == wire.AuthOK {
							won.Add(1)
						}
					})
				}
			}
			close(start)
			wg.Wait()
			if n := won.Load(); n != 1 {
				t.Fatalf("round %d: %d of 24 were let in, want 1", round, n)
			}
		}
	})
}

func TestATicketExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		a, b := s.ticket(t, switchboard.Identity{User: "alice"}), s.ticket(t, switchboard.Identity{User: "alice"})
		// One that is cut short by the credential, below the second to which a store keeps time.
		short := s.ticket(t, switchboard.Identity{User: "alice", Expires: time.Now().Add(2500 * time.Millisecond)})
		time.Sleep(2600 * time.Millisecond)
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + short}); resp.StatusCode != 401 {
			t.Errorf("after its credential: got %d, want 401", resp.StatusCode)
		}
		time.Sleep(57 * time.Second)
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + a}); resp.StatusCode != 101 {
			t.Errorf("before its end: got %d, want 101", resp.StatusCode)
		}
		time.Sleep(time.Second)
		if _, resp := s.handshake(t, request{path: "/ws?ticket=" + b}); resp.StatusCode != 401 {
			t.Errorf("after its end: got %d, want 401", resp.StatusCode)
		}
	})
}

func TestAnIdentityByTicketLivesNoLongerThanItsCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		end := time.Now().Add(10 * time.Minute)
		got := s.web(t).ticket("alice exp=10m", `{"ttl_seconds":3600}`).ticket(t)
		if got.ExpiresAt != wire.Seconds(end) {
			t.Errorf("got a ticket until %v, want %v, as the credential", got.ExpiresAt, wire.Seconds(end))
		}
		time.Sleep(9 * time.Minute)
		a := s.connect(t, request{path: "/ws?ticket=" + got.Ticket})
		if a.welcome.Session.ExpiresAt != wire.Seconds(end) {
			t.Errorf("the session ends at %v, want %v", a.welcome.Session.ExpiresAt, wire.Seconds(end))
		}
		a.ends(wire.CloseExpired)
		if late := time.Since(end); late < 0 || late > time.Second {
			t.Errorf("closed %v after the credential, want at once", late)
		}
	})
}

func TestATicketRefreshesAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice exp=1h room:a:join")
		later := time.Now().Add(2 * time.Hour)
		ticket := s.ticket(t, switchboard.Identity{User: "alice", Expires: later, Permissions: []string{"room:b:join"}})
		a.send(`{"type":"auth","message_id":"a","payload":{"ticket":%q}}`, ticket)
		got := payload[wire.AuthOKPayload](t, a.expect(wire.AuthOK))
		if got.ExpiresAt != wire.Seconds(later) || got.Session.ID != a.welcome.Session.ID || len(got.Permissions) != 1 {
			t.Errorf("got %+v", got)
		}
		for name, body := range map[string]string{
			"used":          fmt.Sprintf(`{"ticket":%q}`, ticket),
			"another users": fmt.Sprintf(`{"ticket":%q}`, s.ticket(t, switchboard.Identity{User: "bob"})),
			"none":          `{"ticket":"x"}`,
		} {
			a.send(`{"type":"auth","message_id":"b","payload":%s}`, body)
			if e := a.refused(wire.CodeAuthError, "b"); e.Details["field"] != "ticket" {
				t.Errorf("%s: got %+v, want field ticket", name, e)
			}
		}
		a.send(`{"type":"auth","message_id":"c","payload":{"ticket":"x","token":"alice"}}`)
		a.refused(wire.CodeInvalidMessage, "c")
	})
}

func TestATicketIsRefusedAsUnavailableWhileTheStoreIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		ticket := s.ticket(t, switchboard.Identity{User: "alice"})
		elect := d.Faults().KillLeader()
		if got := s.web(t).do(call{path: "/events?ticket=" + ticket}).problem(t); got.Status != 503 || got.Code != string(wire.CodeUnavailable) {
			t.Errorf("event stream: got %+v, want 503", got)
		}
		c, _ := s.handshake(t, request{path: "/ws?ticket=" + ticket, subprotocols: "switchboard.v1"})
		c.refused(wire.CodeUnavailable, "")
		c.ends(wire.CloseTryAgain)
		if got := s.web(t).ticket("alice", "").problem(t); got.Status != 503 {
			t.Errorf("a new one: got %+v, want 503", got)
		}
		if _, err := s.Access().Ticket(t.Context(), switchboard.Identity{User: "alice"}, time.Minute); !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, switchboard.ErrUnavailable)
		}
		elect()
		s.connect(t, request{path: "/ws?ticket=" + ticket})
	})
}

func TestTicketNamesTheArgumentThatIsWrong(t *testing.T) {
	s := newServer(t, switchboard.Options{RequireTenant: true})
	alice := switchboard.Identity{Tenant: "acme", User: "alice"}
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name   string
		tenant string
		change func(*switchboard.Identity)
		ttl    time.Duration
		want   string
	}{
		{"short", "acme", nil, 29 * time.Second, "ttl"},
		{"long", "acme", nil, time.Hour + 1, "ttl"},
		{"negative", "acme", nil, -time.Minute, "ttl"},
		{"tenant of nobody", "", nil, time.Minute, "tenant"},
		{"another tenant", "other", nil, time.Minute, "id.Tenant"},
		{"no user", "acme", func(id *switchboard.Identity) { id.User = "" }, time.Minute, "id.User"},
		{"expired", "acme", func(id *switchboard.Identity) { id.Expires = time.Now() }, time.Minute, "id.Expires"},
		{"token id", "acme", func(id *switchboard.Identity) { id.TokenID = long }, time.Minute, "id.TokenID"},
		{"sid", "acme", func(id *switchboard.Identity) { id.SID = long }, time.Minute, "id.SID"},
		{"claims", "acme", func(id *switchboard.Identity) { id.Claims = []byte(`"` + long + `"`) }, time.Minute, "id.Claims"},
		{"permissions", "acme", func(id *switchboard.Identity) { id.Permissions = []string{long, long, long, long} }, time.Minute, "permissions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id := alice
			if test.change != nil {
				test.change(&id)
			}
			_, err := s.Access().Ticket(switchboard.WithTenant(t.Context(), test.tenant), id, test.ttl)
			if !errors.Is(err, switchboard.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v and %q", err, switchboard.ErrInvalid, test.want)
			}
		})
	}
	for _, ttl := range []time.Duration{30 * time.Second, time.Hour} {
		if _, err := s.Access().Ticket(switchboard.WithTenant(t.Context(), "acme"), alice, ttl); err != nil {
			t.Errorf("%v: got %v, want none", ttl, err)
		}
	}
}

func TestThereAreNoTicketsAfterShutdown(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		t.Fatal(err)
	}
	shutDown(t, m)
	if _, err := m.Access().Ticket(t.Context(), switchboard.Identity{User: "a"}, time.Minute); !errors.Is(err, switchboard.ErrClosed) {
		t.Errorf("got %v, want %v", err, switchboard.ErrClosed)
	}
}

// TestTheGoClientConnectsWithTickets asks for one for each new session.
func TestTheGoClientConnectsWithTickets(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer shutDown(t, m)
	c, err := client.Dial(t.Context(), client.Options{URL: srv.URL + "/ws", Ticket: func(ctx context.Context) (string, error) {
		return m.Access().Ticket(ctx, switchboard.Identity{User: "alice"}, time.Minute)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ack, err := c.Send(t.Context(), client.Message{Type: "chat"}); err != nil || ack.Position.IsZero() {
		t.Errorf("got %+v, %v, want an ack with a place", ack, err)
	}
}

func TestATicketIsInNoLogAndInNoStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		used, unused := s.ticket(t, switchboard.Identity{User: "alice"}), s.ticket(t, switchboard.Identity{User: "alice"})
		s.connect(t, request{path: "/ws?ticket=" + used})
		s.handshake(t, request{path: "/ws?ticket=" + used})
		s.web(t).do(call{path: "/events?ticket=" + used})
		s.web(t).do(call{path: "/nothing?ticket=" + used})
		if log.String() == "" {
			t.Error("nothing was logged, want refusals")
		}
		stored := 0
		for change, err := range d.Watch(t.Context(), "switchboard/ticket/") {
			if err != nil {
				t.Fatal(err)
			}
			if change.Synced {
				break
			}
			stored++
			for _, ticket := range []string{used, unused} {
				if strings.Contains(change.Key, ticket[3:]) || bytes.Contains(change.Value, []byte(ticket[3:])) {
					t.Errorf("got %s with %s in the store, want only a hash of the ticket", change.Key, change.Value)
				}
			}
		}
		if stored != 1 {
			t.Errorf("got %d tickets in the store, want the one that was not used", stored)
		}
		for _, ticket := range []string{used, unused} {
			if strings.Contains(log.String(), ticket[3:]) {
				t.Errorf("got %s in the log:\n%s", ticket, log.String())
			}
		}
	})
}

// lockedBuffer collects what is logged.
type lockedBuffer struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// lateStore is a store of which a node has not heard the latest for a moment.
type lateStore struct {
	broker.Driver
	behind atomic.Int64 // so many times Get knows nothing
}

func (d *lateStore) Get(ctx context.Context, key string) (broker.Item, error) {
	if strings.Contains(key, "ticket") && d.behind.Add(-1) >= 0 {
		return broker.Item{}, broker.ErrNotFound
	}
	return d.Driver.Get(ctx, key)
}

func TestATicketIsLookedUpTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &lateStore{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		ticket := s.ticket(t, switchboard.Identity{User: "alice"})
		d.behind.Store(1)
		s.connect(t, request{path: "/ws?ticket=" + ticket})
	})
}
