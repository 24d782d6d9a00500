package switchboard_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// secrets are texts that only those may see whom they concern.
type secrets struct {
	mu    sync.Mutex // guards known
	known map[string]string
}

// mark makes up a secret for a place.
func (s *secrets) mark(place string) string {
	secret := fmt.Sprintf("Zq7:%x/%s+", len(place)*7919, strings.ReplaceAll(place, " ", "-"))
	return s.is(place, secret)
}

// is says that a text is secret.
func (s *secrets) is(place, secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]string)
	}
	s.known[secret] = place
	return secret
}

// forms are how a secret may be written: as it is, escaped, in hex, and in base64, where it may
// begin at any of three places within what is encoded.
func forms(secret string) []string {
	quoted, _ := json.Marshal(secret)
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`), hex.EncodeToString([]byte(secret))}
	for skip := range 3 {
		for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			coded := coding.EncodeToString([]byte(strings.Repeat("x", skip) + secret))
			all = append(all, coded[4:len(coded)-3]) // what does not depend on what is around it
		}
	}
	return all
}

// in looks for every secret in a text that should have none.
func (s *secrets) in(t *testing.T, what, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret, place := range s.known {
		for _, form := range forms(secret) {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("the %s has the secret of the %s: …%s…", what, place, text[max(0, at-300):min(len(text), at+100)])
				break
			}
		}
	}
}

// written is a log that may be written by many.
type written struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// secretive is what a test of secrets plays with.
type secretive struct {
	*secrets
	t      *testing.T
	s      *server
	log    written
	events written
}

func newSecretive(t *testing.T) *secretive {
	h := &secretive{secrets: new(secrets), t: t}
	claims, err := json.Marshal(map[string]string{"secret": h.mark("claims")})
	if err != nil {
		t.Fatal(err)
	}
	opts := switchboard.Options{
		Auth: func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
			id, err := login(ctx, cred)
			id.Claims = claims
			return id, err
		},
		OnConnect: func(_ context.Context, c *switchboard.Conn) error {
			if c.Identity().User == "mallory" {
				return errors.New("not mallory")
			}
			return nil
		},
		Audit:  func(e switchboard.AuditEvent) { fmt.Fprintf(&h.events, "%+v\n", e) },
		Limits: switchboard.Limits{MessagesPerMinute: -1, ConnsPerUser: -1},
		Log:    slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})),
	}
	h.s = newServer(t, opts)
	h.s.Handle("fails", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
		return errors.New("it did not work")
	})
	h.s.Handle("panics", func(_ context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
		return errors.New(string(msg.Payload[len(msg.Payload)])) // beyond the end
	})
	h.s.Handle("refuses", func(_ context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
		return fmt.Errorf("of the application: %w", switchboard.ErrForbidden)
	})
	h.s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, h.agent)
	return h
}

// agent works with secrets, and ends as it is asked to.
func (h *secretive) agent(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
	_ = run.Thinking(ctx, h.mark("thought"))
	tool := run.Tool(ctx, "search", map[string]any{"query": h.mark("parameter"), "password": h.mark("password")})
	_ = tool.End(ctx, map[string]any{"found": h.mark("result of a tool")}, nil)
	text := run.Stream("answer")
	_, _ = text.Write([]byte(h.mark("text of a stream")))
	_, _ = run.Emit(ctx, switchboard.Message{Type: "note", Payload: map[string]any{"note": h.mark("event of a run")}})
	switch {
	case strings.Contains(string(msg.Payload), "fail"):
		return errors.New("the model is away")
	case strings.Contains(string(msg.Payload), "panic"):
		panic("at the disco")
	}
	_, _ = run.Complete(ctx, map[string]any{"answer": h.mark("result of a run")})
	return nil
}

// journeys of clients with every kind of secret, good and bad.
func (h *secretive) connects() *device {
	t, s := h.t, h.s
	for _, bad := range []request{
		{token: "bad " + h.mark("bad token")},
		{token: "mallory " + h.is("token of one who is refused", "room:mallory-secret-room:join")},
		{subprotocols: "switchboard.v1, token." + base64.RawURLEncoding.EncodeToString([]byte("bad "+h.mark("token in a subprotocol")))},
		{subprotocols: "switchboard.v1, token." + h.mark("subprotocol that is no base64")},
		{subprotocols: "switchboard.v1, session." + base64.RawURLEncoding.EncodeToString([]byte("sbs_"+h.mark("bad session token")))},
		{subprotocols: h.is("unknown subprotocol", "Zq7-unknown-subprotocol")},
		{path: "/ws?ticket=" + url.QueryEscape(h.mark("bad ticket"))},
		{path: "/ws?token=" + url.QueryEscape(h.mark("token in the query"))},
		{path: "/ws?heartbeat=" + url.QueryEscape(h.mark("value in the query")), token: "alice"},
		{path: "/ws?device=" + url.QueryEscape(strings.Repeat("x", 200)+h.mark("long device")), token: "alice"},
		{path: "/ws?thread=%00" + url.QueryEscape(h.mark("bad thread")), token: "alice"},
	} {
		s.handshake(t, bad)
	}
	c := s.as(t, "alice "+h.is("permission", "room:Zq7-own:*"))
	h.is("session token", c.welcome.Session.Token)
	again := s.resume(t, c)
	h.is("session token of a return", again.welcome.Session.Token)
	return again
}

func (h *secretive) sends(send func(message string)) {
	object := func(typ, member, value string) string {
		body, err := json.Marshal(map[string]any{"type": typ, "message_id": wire.NewID(), "payload": map[string]string{member: value}})
		if err != nil {
			h.t.Fatal(err)
		}
		return string(body)
	}
	for _, message := range []string{
		object("fails", "s", h.mark("payload of a handler that fails")),
		object("panics", "s", h.mark("payload of a handler that panics")),
		object("refuses", "s", h.mark("payload of a handler that refuses")),
		object("nobody", "s", h.mark("payload that nobody takes")),
		object("user_message", "content", h.mark("message to an agent")),
		object("user_message", "content", "fail "+h.mark("message to an agent that fails")),
		object("user_message", "content", "panic "+h.mark("message to an agent that panics")),
		object("room_message", "room", h.mark("room that is none")+"\x00"),
		object("auth", "token", "bad "+h.mark("token in band")),
		object("auth", "token", "bob "+h.mark("token of another")),
		object("auth", "ticket", h.mark("ticket in band")),
		object("auth", h.mark("unknown member"), "x"),
		object("join_room", "room", "r\x07"+h.mark("room with a control character")),
		object("history", "topic", "x/"+h.mark("topic that is none")),
		object("agent_completed", "s", h.mark("payload of a run event")),
		`{"type":"x","payload":{"s":"` + h.mark("message that is cut"),
		`{"type":"x","payload":{"` + h.mark("name that is there twice") + `":1,"` + h.mark("name that is there twice") + `":2}}`,
		`{"type":"x","payload":"` + h.mark("payload of another kind") + `"}`,
		`{"type":["` + h.mark("type of another kind") + `"]}`,
		`{"` + h.mark("member of the envelope") + `":1,"type":"x"}`,
		`{"type":"subscribe","payload":{"rooms":"` + h.mark("list of another kind") + `"}}`,
		`{"type":"subscribe","payload":{"rooms":[],"since":{"room/r":"` + h.mark("position that is none") + `"}}}`,
		`{"type":"session_restore","payload":{"positions":{"` + h.mark("topic to restore") + `":"e:1"}}}`,
		`{"type":"ack","payload":{"positions":{"user/alice":"` + h.mark("position acknowledged") + `"}}}`,
		`{"type":"x","payload":{"n":1e999,"s":"\ud800` + h.mark("text that is no Unicode") + `"}}`,
		h.mark("no JSON at all"),
	} {
		send(message)
	}
}

func (h *secretive) calls(stream *source) {
	c := h.s.web(h.t)
	made := c.ticket("alice", "").ticket(h.t)
	h.is("ticket", made.Ticket)
	for _, one := range []call{
		{method: http.MethodPost, path: "/websocket/ticket", token: "bad " + h.mark("token of a call")},
		{method: http.MethodPost, path: "/websocket/ticket", token: "alice", body: `{"permissions":["` + h.mark("permission asked for") + `"]}`},
		{method: http.MethodPost, path: "/websocket/ticket", token: "alice", body: `{"` + h.mark("member of a call") + `":1}`},
		{method: http.MethodPost, path: "/websocket/ticket?token=" + url.QueryEscape(h.mark("query of a call")), header: map[string]string{"Cookie": "s=" + h.mark("cookie")}},
		{path: "/threads/t?limit=" + url.QueryEscape(h.mark("limit that is none")), token: "alice"},
		{path: "/threads/t?a;b=" + h.mark("query with a semicolon"), token: "alice"},
		{path: "/events?ticket=" + url.QueryEscape(h.mark("ticket of a stream")), header: map[string]string{"Accept": "text/event-stream"}},
		{path: "/events", token: "alice", header: map[string]string{"Last-Event-ID": h.mark("position of a stream")}},
		{path: "/nothing?q=" + url.QueryEscape(h.mark("query to nothing"))},
		{method: http.MethodPost, path: "/messages", token: "alice", body: h.mark("posted to no stream"), header: map[string]string{"Switchboard-Connection": h.mark("name of a connection")}},
		{method: http.MethodPost, path: "/messages", token: "alice", body: h.mark("another type"), header: map[string]string{"Content-Type": "text/" + h.is("type", "Zq7-content-type")}},
		stream.message(`{"type":"x","payload":{"s":"` + strings.Repeat(h.mark("posted and too large"), 4000) + `"}}`),
	} {
		c.do(one)
	}
}

// TestNoSecretIsInALogOrShownToOthers: tokens, tickets, payloads, parameters, claims and queries
// of good and bad clients, at level Debug.
func TestNoSecretIsInALogOrShownToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSecretive(t)
		c := h.connects()
		bob := h.s.as(t, "bob")
		stream := h.s.web(t).stream("alice")
		h.is("session token of a stream", stream.welcome.Session.Token)
		h.sends(func(message string) { c.send("%s", message) })
		h.sends(func(message string) { stream.post(message) })
		h.calls(stream)
		if _, err := h.s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "x", Payload: map[string]string{"s": h.mark("message of the application")}}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "x", Payload: h.mark("payload that is no object")}); err == nil {
			t.Fatal("a text was published")
		}
		synctest.Wait()
		c.send(`{"type":"x","payload":{"s":"%s"}}`, strings.Repeat(h.mark("message that is too large"), 4000))
		synctest.Wait()

		h.in(t, "log", h.log.String())
		h.in(t, "audit events", h.events.String())
		h.in(t, "counters", fmt.Sprintf("%+v", h.s.Stats()))
		for info, err := range h.s.Connections().List(t.Context(), switchboard.All()) {
			h.in(t, "list of connections", fmt.Sprintf("%+v %v", info, err))
		}
		for info, err := range h.s.Connections().Ended(t.Context(), switchboard.All()) {
			h.in(t, "list of ended connections", fmt.Sprintf("%+v %v", info, err))
		}
		for _, path := range []string{"/ws/config", "/ws/health", "/ws/beacon", "/healthz", "/readyz"} {
			h.in(t, path, h.s.web(t).do(call{path: path}).body)
		}
		bob.silent()
		for _, must := range []string{"message refused", "connection refused", "call refused", "panic"} {
			if !strings.Contains(h.log.String(), must) {
				t.Errorf("the log does not tell of a %q: this test tests nothing", must)
			}
		}
	})
}

func TestASecretIsFoundInEveryForm(t *testing.T) {
	const secret = "Zq7:secret/+"
	for _, text := range []string{
		secret, "Zq7%3Asecret%2F%2B", hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("a" + secret + "b")),
		base64.RawURLEncoding.EncodeToString([]byte("ab" + secret)),
	} {
		found := false
		for _, form := range forms(secret) {
			found = found || strings.Contains("x "+text+" y", form)
		}
		if !found {
			t.Errorf("not found in %s", text)
		}
	}
}
