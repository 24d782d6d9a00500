package switchboard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// trail collects audit events.
type trail struct {
	mu     sync.Mutex // guards events
	events []switchboard.AuditEvent
}

func (l *trail) add(e switchboard.AuditEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// all returns what has come since take was called last.
func (l *trail) all() []switchboard.AuditEvent {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// take returns what has come since it was called last, each as words; times, addresses and ids
// of connections are left out, but must be there where a connection is concerned.
func (l *trail) take(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var told []string
	for _, e := range l.events {
		if e.At.IsZero() {
			t.Errorf("%+v has no time", e)
		}
		words := []string{string(e.Action)}
		for _, part := range []struct{ name, value string }{
			{"tenant", e.Tenant}, {"user", e.User}, {"actor", e.Actor}, {"object", e.Object}, {"reason", e.Reason}, {"code", string(e.Code)},
		} {
			if part.value != "" {
				words = append(words, part.name+"="+part.value)
			}
		}
		if e.Connection != "" {
			words = append(words, "on a connection")
		}
		told = append(told, strings.Join(words, " "))
	}
	l.events = nil
	return told
}

func (l *trail) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := l.take(t); !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

func TestEveryRefusalIsAnAuditEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log trail
		s := newServer(t, switchboard.Options{
			Audit: log.add, Limits: switchboard.Limits{ConnsPerUser: 1},
			OnConnect: func(_ context.Context, c *switchboard.Conn) error {
				if c.Identity().User == "eve" {
					return errors.New("not eve")
				}
				return nil
			},
		})
		s.handshake(t, request{token: "bad"})
		log.want(t, "a bad token", "connect reason=credential code=AUTH_ERROR")
		s.handshake(t, request{token: "acme/alice", origin: "https://elsewhere.example"})
		log.want(t, "a page from elsewhere", "connect reason=origin code=FORBIDDEN")
		s.handshake(t, request{path: "/ws?ticket=tkt_no"})
		log.want(t, "a bad ticket", "connect reason=credential code=AUTH_ERROR")
		s.handshake(t, request{token: "acme/alice", path: "/ws?heartbeat=none"})
		log.want(t, "a bad query", "connect reason=query code=INVALID_MESSAGE")
		s.handshake(t, request{token: "eve"})
		log.want(t, "the application says no", "connect user=eve reason=on_connect code=INTERNAL")
		c := s.as(t, "acme/alice room:own:*")
		s.handshake(t, request{token: "acme/alice"})
		log.want(t, "too many of one user", "connect tenant=acme user=alice reason=user_limit code=RATE_LIMITED")

		room := func(verb string) string {
			return "room tenant=acme user=alice object=secret reason=" + verb + " code=FORBIDDEN on a connection"
		}
		for _, message := range []string{
			`{"type":"join_room","payload":{"room":"secret"}}`,
			`{"type":"room_message","payload":{"room":"secret","content":"x"}}`,
			`{"type":"subscribe","payload":{"rooms":["secret"]}}`,
			`{"type":"thread_open","thread_id":"t","payload":{"room":"secret"}}`,
			`{"type":"history","payload":{"topic":"room/secret"}}`,
			`{"type":"session_restore","payload":{"positions":{"room/secret":"e:1"}}}`,
		} {
			c.send("%s", message)
			env, err := wire.Parse([]byte(message))
			if err != nil {
				t.Fatal(err)
			}
			log.want(t, message, room(string(env.Type)))
		}
		c.send(`{"type":"history","payload":{"topic":"user/bob"}}`)
		log.want(t, "the history of another user", "room tenant=acme user=alice reason=history code=FORBIDDEN on a connection")
		c.send(`{"type":"session_restore","payload":{"positions":{"user/bob":"e:1"}}}`)
		log.take(t) // a second one is a conflict; it must only not fail
		c.send(`{"type":"user_message","topic":"room/secret","payload":{}}`)
		log.want(t, "a message to a room", room("message"))
		for what, message := range map[string]string{
			"a bad token":           `{"type":"auth","payload":{"token":"bad"}}`,
			"another user's token":  `{"type":"auth","payload":{"token":"acme/bob"}}`,
			"another tenant's":      `{"type":"auth","payload":{"token":"ajax/alice"}}`,
			"a ticket that is none": `{"type":"auth","payload":{"ticket":"tkt_no"}}`,
		} {
			c.send("%s", message)
			log.want(t, what, "auth tenant=acme user=alice reason=auth code=AUTH_ERROR on a connection")
		}

		web := s.web(t)
		web.ticket("bad", "")
		log.want(t, "a call with a bad token", "call object=/websocket/ticket reason=credential code=AUTH_ERROR")
		web.ticket("acme/alice", `{"permissions":["room:*:*"]}`)
		log.want(t, "a ticket that is worth more", "call tenant=acme user=alice object=/websocket/ticket code=FORBIDDEN")
		web.do(call{path: "/threads/t?room=secret", token: "acme/alice"})
		log.want(t, "a thread of another room", "call tenant=acme user=alice object=/threads/{id} code=FORBIDDEN")
	})
}

func TestEveryDeedIsAnAuditEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log trail
		s := newServer(t, switchboard.Options{Audit: log.add})
		ctx := switchboard.WithTenant(t.Context(), "acme")
		named := switchboard.WithActor(ctx, "shop")
		c := s.as(t, "acme/alice room:own:*")
		c.join("own")
		log.want(t, "a join", "join tenant=acme user=alice object=own reason=joined")
		c.send(`{"type":"join_room","payload":{"room":"own"}}`)
		log.want(t, "a second join")
		if err := s.Rooms().Add(ctx, "own", "alice"); err != nil {
			t.Fatal(err)
		}
		log.want(t, "a right that the application gives", "join tenant=acme user=alice actor=application object=own reason=added")
		if err := s.Rooms().Add(named, "team", "bob"); err != nil {
			t.Fatal(err)
		}
		log.want(t, "an addition", "join tenant=acme user=bob actor=shop object=team reason=added")
		if err := s.Rooms().Remove(named, "team", "bob"); err != nil {
			t.Fatal(err)
		}
		if err := s.Rooms().Remove(named, "team", "bob"); err != nil {
			t.Fatal(err)
		}
		log.want(t, "a removal", "leave tenant=acme user=bob actor=shop object=team reason=removed")
		c.send(`{"type":"leave_room","payload":{"room":"own"}}`)
		log.want(t, "leaving", "leave tenant=acme user=alice object=own reason=left")

		if _, err := s.Access().Ticket(named, switchboard.Identity{Tenant: "acme", User: "carol"}, ticketTime); err != nil {
			t.Fatal(err)
		}
		log.want(t, "a ticket of the application's", "ticket tenant=acme user=carol actor=shop")
		s.web(t).ticket("acme/carol", "").ticket(t)
		log.want(t, "a ticket of the user's", "ticket tenant=acme user=carol")

		if n, err := s.Connections().Close(named, switchboard.User("nobody"), switchboard.CloseError{}); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		log.want(t, "nothing closed")
		if n, err := s.Connections().Close(named, switchboard.Connection(c.welcome.ConnectionID), switchboard.CloseError{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.ends(1000)
		log.want(t, "a connection closed", "close tenant=acme actor=shop on a connection")
		s.as(t, "acme/dave")
		if n, err := s.Connections().Close(ctx, switchboard.User("dave"), switchboard.CloseError{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		log.want(t, "a user's closed", "close tenant=acme user=dave actor=application object=user/dave")
	})
}

// BenchmarkARefusalIsCheap: what auditing adds to each refused handshake of a flood.
func BenchmarkARefusalIsCheap(b *testing.B) {
	for name, audit := range map[string]func(switchboard.AuditEvent){"nobody listens": nil, "somebody does": func(switchboard.AuditEvent) {}} {
		b.Run(name, func(b *testing.B) {
			m, err := switchboard.New(switchboard.Options{Auth: login, Audit: audit, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = m.Shutdown(context.Background()) }()
			h := m.ClientAPI()
			r := ticketCall("bad")
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(discardResponse{}, r)
			}
		})
	}
}

const ticketTime = time.Minute

func ticketCall(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/websocket/ticket", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// discardResponse takes an answer that nobody reads.
type discardResponse struct{}

func (discardResponse) Header() http.Header         { return http.Header{} }
func (discardResponse) Write(b []byte) (int, error) { return len(b), nil }
func (discardResponse) WriteHeader(int)             {}

// TestWhatAHandlerForbidsIsAnAuditEventOnceAMinute: for each type and connection, and nothing else that
// a handler may return.
func TestWhatAHandlerForbidsIsAnAuditEventOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(trail)
		s := newServer(t, switchboard.Options{Audit: log.add, Heartbeat: patientBeat})
		forbid := func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return switchboard.ErrForbidden }
		s.Handle("delete", forbid)
		s.Handle("rename", forbid)
		s.Handle("fail", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return switchboard.ErrNotFound })
		a, b := s.as(t, "acme/alice"), s.as(t, "acme/alice")
		send := func(c *device, typ string) {
			c.send(`{"type":%q,"message_id":"m"}`, typ)
			if b, err := c.raw(patience); err != nil || !strings.Contains(string(b), "error_code") {
				t.Fatalf("got %s, %v, want a refusal", b, err)
			}
		}
		for range 5 {
			send(a, "delete")
			send(a, "fail")
		}
		send(a, "rename")
		send(b, "delete")
		event := func(typ string) string {
			return "message tenant=acme user=alice reason=" + typ + " code=FORBIDDEN on a connection"
		}
		if got, want := log.take(t), []string{event("delete"), event("rename"), event("delete")}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		time.Sleep(time.Minute)
		send(a, "delete")
		send(a, "delete")
		if got, want := log.take(t), []string{event("delete")}; !slices.Equal(got, want) {
			t.Errorf("a minute later: got %q, want %q", got, want)
		}
	})
}
