package switchboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// ticketAnswer is the answer to POST /websocket/ticket.
type ticketAnswer struct {
	Ticket       string  `json:"ticket"`
	ExpiresAt    float64 `json:"expires_at"`
	WebSocketURL string  `json:"websocket_url"`
}

func (c *web) ticket(token, body string) reply {
	c.t.Helper()
	return c.do(call{method: http.MethodPost, path: "/websocket/ticket", token: token, body: body})
}

func (r reply) ticket(t testing.TB) ticketAnswer {
	t.Helper()
	var got ticketAnswer
	if err := wire.UnmarshalExact([]byte(r.body), &got); err != nil || r.status != 200 {
		t.Fatalf("got %d %s (%v), want a ticket", r.status, r.body, err)
	}
	return got
}

func TestAClientMakesTicketsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		c := s.web(t)
		session := s.as(t, "acme/alice room:team:*").welcome.Session.Token
		for name, token := range map[string]string{"token": "acme/alice room:team:*", "session token": session} {
			got := c.ticket(token, "").ticket(t)
			if want := wire.Seconds(time.Now().Add(5 * time.Minute)); got.ExpiresAt != want {
				t.Errorf("%s: expires at %v, want %v", name, got.ExpiresAt, want)
			}
			if want := "ws://switchboard.test/ws?ticket=" + got.Ticket; got.WebSocketURL != want {
				t.Errorf("%s: got URL %s, want %s", name, got.WebSocketURL, want)
			}
			a := s.connect(t, request{path: "/ws?ticket=" + got.Ticket})
			a.join("team")
			if a.welcome.UserID != "alice" {
				t.Errorf("%s: got %s", name, a.welcome.UserID)
			}
			synctest.Wait() // the user's devices have heard of it: the next one is told nothing before its own join
		}
		got := c.ticket("alice room:team:* trade", `{"ttl_seconds":30,"permissions":["trade","room:team:join"]}`).ticket(t)
		if want := wire.Seconds(time.Now().Add(30 * time.Second)); got.ExpiresAt != want {
			t.Errorf("expires at %v, want %v", got.ExpiresAt, want)
		}
		a := s.connect(t, request{path: "/ws?ticket=" + got.Ticket})
		a.join("team")
		a.send(`{"type":"room_message","message_id":"m","payload":{"room":"team"}}`)
		a.refused(wire.CodeForbidden, "m")
		none := s.connect(t, request{path: "/ws?ticket=" + c.ticket("alice room:team:*", `{"permissions":[]}`).ticket(t).Ticket})
		none.send(`{"type":"join_room","message_id":"j","payload":{"room":"team"}}`)
		none.refused(wire.CodeForbidden, "j")
	})
}

func TestATicketIsNarrowerThanItsMakerOrTheSame(t *testing.T) {
	const own = "alice room:team-*:* room:x?:join room:one:history trade"
	tests := []struct {
		permission string
		want       bool
	}{
		{"trade", true}, {"room:team-*:*", true}, {"room:team-*:join", true}, {"room:team-a:*", true}, {"room:team-a:control", true},
		{"room:x1:join", true}, {"room:x?:join", true}, {"room:one:history", true},
		{"sell", false}, {"tradex", false}, {"room:*:*", false}, {"room:team-a*:join", false}, {"room:other:join", false},
		{"room:x*:join", false}, {"room:x1:publish", false}, {"room:x1:*", false}, {"room:one:*", false}, {"room:one", false}, {"", false},
	}
	check := func(t *testing.T, opts switchboard.Options, narrower bool) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, opts)
			c := s.web(t)
			for _, test := range tests {
				want := test.want && (narrower || strings.Contains(own+" ", " "+test.permission+" "))
				r := c.ticket(own, fmt.Sprintf(`{"permissions":["trade",%q]}`, test.permission))
				if want {
					r.ticket(t)
					continue
				}
				p := r.problem(t)
				if p.Status != 403 || p.Code != string(wire.CodeForbidden) || p.Details["field"] != "permissions.1" || p.Details["permission"] != test.permission {
					t.Errorf("%q: got %+v, want 403 that names it", test.permission, p)
				}
			}
		})
	}
	t.Run("by permissions", func(t *testing.T) { check(t, switchboard.Options{}, true) })
	// What an Authorizer makes of a permission is its own affair.
	t.Run("by an Authorizer", func(t *testing.T) {
		check(t, switchboard.Options{Authorize: func(context.Context, switchboard.Identity, switchboard.Action, string) error { return nil }}, false)
	})
}

func TestBadTicketRequestsAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		req    call
		status int
		code   wire.Code
		field  string
	}{
		{"no credential", call{}, 401, wire.CodeAuthError, ""},
		{"bad credential", call{token: "bad"}, 401, wire.CodeAuthError, ""},
		{"a ticket", call{path: "/websocket/ticket?ticket=tk_x"}, 401, wire.CodeAuthError, ""},
		{"origin", call{token: "alice", header: map[string]string{"Origin": "https://evil.example"}}, 403, wire.CodeForbidden, ""},
		{"no JSON", call{token: "alice", body: "{"}, 400, wire.CodeInvalidJSON, ""},
		{"duplicate key", call{token: "alice", body: `{"ttl_seconds":60,"ttl_seconds":61}`}, 400, wire.CodeInvalidJSON, "ttl_seconds"},
		{"a list", call{token: "alice", body: `[]`}, 422, wire.CodeInvalidMessage, ""},
		{"unknown member", call{token: "alice", body: `{"ttl":60}`}, 422, wire.CodeInvalidMessage, "ttl"},
		{"other case", call{token: "alice", body: `{"TTL_seconds":60}`}, 422, wire.CodeInvalidMessage, "TTL_seconds"},
		{"short", call{token: "alice", body: `{"ttl_seconds":29}`}, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"long", call{token: "alice", body: `{"ttl_seconds":3601}`}, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"huge", call{token: "alice", body: `{"ttl_seconds":9223372036854775807}`}, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"a fraction", call{token: "alice", body: `{"ttl_seconds":60.5}`}, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"permissions", call{token: "alice", body: `{"permissions":"trade"}`}, 422, wire.CodeInvalidMessage, "permissions"},
		{"a form", call{token: "alice", body: `a=b`, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, 415, wire.CodeUnsupported, ""},
		{"GET", call{method: http.MethodGet, token: "alice"}, 405, wire.CodeUnsupported, ""},
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for _, test := range tests {
			if test.req.method == "" {
				test.req.method = http.MethodPost
			}
			if test.req.path == "" {
				test.req.path = "/websocket/ticket"
			}
			p := s.web(t).do(test.req).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != test.status || p.Code != string(test.code) || field != test.field {
				t.Errorf("%s: got %+v, want %d %s field %q", test.name, p, test.status, test.code, test.field)
			}
		}
	})
}

func TestAUserGetsSoManyTicketsAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		c := s.web(t)
		for range 60 {
			c.ticket("alice", "").ticket(t)
		}
		time.Sleep(10500 * time.Millisecond)
		for range 10 { // one comes back each second
			c.ticket("alice", "").ticket(t)
		}
		r := c.ticket("alice", "")
		if p := r.problem(t); p.Status != 429 || p.Code != string(wire.CodeRateLimited) || p.Details["retry_after_ms"] != 500.0 || r.header.Get("Retry-After") != "1" {
			t.Errorf("got %+v with Retry-After %q, want 429 and 1", p, r.header.Get("Retry-After"))
		}
		c.ticket("acme/alice", "").ticket(t)
		c.ticket("bob", "").ticket(t)
		time.Sleep(time.Minute)
		c.ticket("alice", "").ticket(t)
	})
}

func TestTheURLOfATicketIsWhereTheClientCameFrom(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, m)
	mux := http.NewServeMux()
	mux.Handle("/live/", http.StripPrefix("/live", m.ClientAPI()))
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	got := (&web{t: t, base: srv.URL + "/live", http: srv.Client()}).ticket("alice", "").ticket(t)
	if want := "wss://" + srv.Listener.Addr().String() + "/live/ws?ticket=" + got.Ticket; got.WebSocketURL != want {
		t.Errorf("got %s, want %s", got.WebSocketURL, want)
	}
}
