package switchboard_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// TestBadMessagesAreRefusedAndKeepTheConnection is journey 12 as far as it concerns what
// one client sends.
func TestBadMessagesAreRefusedAndKeepTheConnection(t *testing.T) {
	deep := strings.Repeat(`{"a":`, wire.MaxLevels) + "1" + strings.Repeat("}", wire.MaxLevels)
	tests := []struct {
		name, send string
		code       wire.Code
		id, field  string
	}{
		{"broken JSON", `{not json`, wire.CodeInvalidJSON, "", ""},
		{"no object", `[]`, wire.CodeInvalidJSON, "", ""},
		{"duplicate key", `{"type":"chat","type":"ping"}`, wire.CodeInvalidJSON, "", "type"},
		{"too deep", `{"type":"chat","message_id":"e","payload":` + deep + `}`, wire.CodeInvalidJSON, "", ""},
		{"type is a number", `{"type":7,"message_id":"e"}`, wire.CodeInvalidMessage, "e", "type"},
		{"no type", `{"message_id":"e"}`, wire.CodeInvalidMessage, "e", "type"},
		{"JSON-RPC", `{"jsonrpc":"2.0","method":"m","id":1,"message_id":"e"}`, wire.CodeUnsupported, "e", "jsonrpc"},
		{"bad id", `{"type":"chat","message_id":""}`, wire.CodeInvalidMessage, "", "message_id"},
		{"token of another user", `{"type":"auth","message_id":"e","payload":{"token":"bob"}}`, wire.CodeAuthError, "e", "token"},
		{"token of another tenant", `{"type":"auth","message_id":"e","payload":{"token":"acme/alice"}}`, wire.CodeAuthError, "e", "token"},
		{"bad token", `{"type":"auth","message_id":"e","payload":{"token":"bad"}}`, wire.CodeAuthError, "e", ""},
		{"no token", `{"type":"auth","message_id":"e"}`, wire.CodeAuthError, "e", "token"},
		{"ticket", `{"type":"auth","message_id":"e","payload":{"ticket":"x"}}`, wire.CodeAuthError, "e", "ticket"},
		{"forbidden room", `{"type":"subscribe","message_id":"e","payload":{"rooms":["board"]}}`, wire.CodeForbidden, "e", "rooms"},
		{"run event", `{"type":"agent_completed","message_id":"e","run_id":"r","payload":{}}`, wire.CodeRunContract, "e", "type"},
		{"verb without effect yet", `{"type":"steer","message_id":"e","payload":{"run_id":"R","text":"t"}}`, wire.CodeUnsupported, "e", "type"},
		{"chat to another user", `{"type":"chat","message_id":"e","topic":"user/bob"}`, wire.CodeForbidden, "e", "topic"},
		{"chat to all", `{"type":"chat","message_id":"e","topic":"all"}`, wire.CodeForbidden, "e", "topic"},
		{"chat to nothing", `{"type":"chat","message_id":"e","topic":"nothing"}`, wire.CodeInvalidMessage, "e", "topic"},
		{"history of another user", `{"type":"history","message_id":"e","payload":{"topic":"user/bob"}}`, wire.CodeForbidden, "e", "topic"},
		{"history of nothing", `{"type":"history","message_id":"e","payload":{"topic":"x"}}`, wire.CodeInvalidMessage, "e", "topic"},
		{"too long a page", `{"type":"history","message_id":"e","payload":{"topic":"all","limit":1001}}`, wire.CodeInvalidMessage, "e", "limit"},
		{"both directions", `{"type":"history","message_id":"e","payload":{"topic":"all","since":"a:1","before":"a:2"}}`, wire.CodeInvalidMessage, "e", "before"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				a := s.as(t, "alice")
				a.send("%s", test.send)
				e := a.refused(test.code, test.id)
				if field, _ := e.Details["field"].(string); field != test.field || e.Details == nil || e.Suggestions == nil {
					t.Errorf("got %+v, want field %q, and details and suggestions", e, test.field)
				}
				if strings.Contains(e.Message, "switchboard") || strings.Contains(e.Message, "Go ") {
					t.Errorf("got text %q, which is not for clients", e.Message)
				}
				a.send(`{"type":"ping","message_id":"p"}`)
				a.expect(wire.Pong)
				if got := s.Stats().Errors[test.code]; got != 1 {
					t.Errorf("%s is counted %d times, want once", test.code, got)
				}
			})
		})
	}
}

func TestEveryVerbThatIsNotBuiltIsUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		built := []wire.MessageType{
			wire.Ping, wire.Heartbeat, wire.Pong, wire.HeartbeatAck, wire.Auth, wire.SessionRestore, wire.Subscribe,
			wire.Unsubscribe, wire.JoinRoom, wire.LeaveRoom, wire.RoomMessage, wire.History,
			wire.ThreadOpen, wire.SwitchThread, wire.StopAgent, wire.AckType, wire.Logout, wire.PresenceUpdate,
			wire.MarkRead, wire.TypingStarted, wire.TypingStopped,
		}
		for info := range wire.Types() {
			if info.Verb && !slices.Contains(built, info.Type) {
				a.send(`{"type":%q,"message_id":"v"}`, info.Type)
				a.refused(wire.CodeUnsupported, "v")
			}
		}
	})
}

func TestHeartbeatsAreAnsweredAndAnswersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newServer(t, switchboard.Options{}).as(t, "alice")
		a.send(`{"type":"pong"}`)
		a.send(`{"type":"heartbeat_ack"}`)
		a.send(`{"type":"heartbeat","message_id":"h"}`)
		if got := a.expect(wire.HeartbeatAck).ID; got != "h" {
			t.Errorf("got the answer %q, want h", got)
		}
		a.send(`{"type":"ping"}`) // it is given an id, which its answer repeats
		if got := a.expect(wire.Pong).ID; got == "" {
			t.Error("the pong has no message_id")
		}
	})
}

func TestTheHundredAndTwentyFirstMessageOfAMinuteIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{Handler: time.Minute}})
		s.Handle("note", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
		a := s.as(t, "alice")
		for i := range 120 {
			a.send(`{"type":"note","message_id":"m%d"}`, i)
			a.ack(fmt.Sprint("m", i))
		}
		a.send(`{"type":"note","message_id":"e-3"}`)
		e := a.refused(wire.CodeRateLimited, "e-3")
		wantEqual(t, "details", e.Details, map[string]any{"limit": 120.0, "retry_after_ms": 500.0})
		a.send(`{"type":"ping","message_id":"p"}`) // control verbs are apart
		a.expect(wire.Pong)
		time.Sleep(500 * time.Millisecond)
		a.send(`{"type":"note","message_id":"again"}`)
		a.ack("again")
	})
}

func TestTheCodecsErrorsCloseWithTheirCode(t *testing.T) {
	tests := []struct {
		name  string
		frame []byte
		code  wire.CloseCode
	}{
		{"unmasked", ws.AppendFrame(nil, ws.OpText, []byte("{}")), wire.CloseProtocolError},
		{"binary", ws.AppendMasked(nil, ws.OpBinary, true, [4]byte{}, []byte("{}")), wire.CloseUnsupportedData},
		{"not UTF-8", ws.AppendMasked(nil, ws.OpText, true, [4]byte{}, []byte{0xff}), wire.CloseInvalidText},
		{"too big", ws.AppendMasked(nil, ws.OpText, true, [4]byte{}, make([]byte, 65537)), wire.CloseTooBig},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newServer(t, switchboard.Options{}).as(t, "alice")
				if _, err := a.conn.Write(test.frame); err != nil {
					t.Fatal(err)
				}
				if test.code == wire.CloseTooBig {
					e := a.refused(wire.CodeTooLarge, "")
					wantEqual(t, "details", e.Details, map[string]any{"limit": 65536.0})
				}
				a.ends(test.code)
			})
		})
	}
}

func TestTheLargestMessageIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newServer(t, switchboard.Options{}).as(t, "alice")
		head, tail := `{"type":"ping","message_id":"p","payload":{"x":"`, `"}}`
		a.send("%s%s%s", head, strings.Repeat("x", 65536-len(head)-len(tail)), tail)
		a.expect(wire.Pong)
	})
}

// TestRefusedHandshakes is the end of journey 12.
func TestRefusedHandshakes(t *testing.T) {
	tests := []struct {
		name   string
		req    request
		status int
		code   wire.Code
		detail string
		why    string
	}{
		{"no credential", request{}, 401, wire.CodeAuthError, "no credential", "credential"},
		{"bad token", request{token: "bad"}, 401, wire.CodeAuthError, "the token is not valid", "credential"},
		{"ticket", request{path: "/ws?ticket=x"}, 401, wire.CodeAuthError, "the ticket is not valid", "credential"},
		{"expired", request{token: "alice exp=-1s"}, 401, wire.CodeAuthError, "the credential has expired", "credential"},
		{"origin", request{token: "alice", origin: "https://evil.example"}, 403, wire.CodeForbidden, "origin is not allowed", "origin"},
		{"origin before credential", request{token: "bad", origin: "null"}, 403, wire.CodeForbidden, "origin is not allowed", "origin"},
		{"second connection", request{token: "full"}, 429, wire.CodeRateLimited, "too many connections", "user_limit"},
		{"bad device", request{token: "alice", path: "/ws?device=" + strings.Repeat("x", 65)}, 400, wire.CodeInvalidMessage, "device must be a name of at most 64 bytes", "query"},
		{"no subprotocol of ours", request{token: "alice", subprotocols: "graphql-ws"}, 400, wire.CodeUnsupported, "the subprotocol must be switchboard.v1", "subprotocol"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: 1}})
				s.as(t, "full")
				_, resp := s.handshake(t, test.req)
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				var got struct {
					Type, Title, Code, Detail string
					Status                    int
				}
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatalf("body %s: %v", body, err)
				}
				if resp.StatusCode != test.status || got.Status != test.status || got.Code != string(test.code) || got.Detail != test.detail ||
					got.Type != "about:blank" || got.Title != http.StatusText(test.status) {
					t.Errorf("got %d %s, want %d %s %q", resp.StatusCode, body, test.status, test.code, test.detail)
				}
				if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
					t.Errorf("got content type %q", ct)
				}
				if has, want := resp.Header.Get("Retry-After") != "", test.status == 429 || test.status == 503; has != want {
					t.Errorf("Retry-After is there: %v, want %v", has, want)
				}
				if st := s.Stats(); st.Refused != 1 || st.Refusals[test.why] != 1 {
					t.Errorf("got counters %d %v, want one %s", st.Refused, st.Refusals, test.why)
				}
			})
		})
	}
}

// TestABrowserHearsWhyItIsRefused: one that offered subprotocols gets the upgrade first.
func TestABrowserHearsWhyItIsRefused(t *testing.T) {
	tests := []struct {
		name, token, origin string
		code                wire.Code
		close               wire.CloseCode
	}{
		{"bad token", "foo", "", wire.CodeAuthError, wire.ClosePolicy},
		{"origin", "alice", "https://evil.example", wire.CodeForbidden, wire.ClosePolicy},
		{"user limit", "full", "", wire.CodeRateLimited, wire.CloseTryAgain},
		{"total limit", "alice", "", wire.CodeUnavailable, wire.CloseTryAgain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: 1}}
				if test.name == "total limit" {
					opts.Limits.Conns = 1
				}
				s := newServer(t, opts)
				s.as(t, "full")
				if test.token == "foo" {
					test.token = "bad foo"
				}
				c, resp := s.handshake(t, request{
					origin: test.origin, subprotocols: "switchboard.v1, token." + base64.RawURLEncoding.EncodeToString([]byte(test.token)),
				})
				if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != "switchboard.v1" {
					t.Fatalf("got %d %v, want the upgrade", resp.StatusCode, resp.Header)
				}
				c.refused(test.code, "")
				c.ends(test.close)
			})
		})
	}
}

// TestALimitHoldsWhoeverComesFirst lets more clients come at once than there are places.
func TestALimitHoldsWhoeverComesFirst(t *testing.T) {
	for name, limits := range map[string]switchboard.Limits{"user": {ConnsPerUser: 5}, "total": {Conns: 5, ConnsPerUser: -1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Limits: limits})
				var in, out atomic.Int64
				var wg sync.WaitGroup
				for range 30 {
					wg.Go(func() {
						c, resp := s.handshake(t, request{token: "alice"})
						if resp.StatusCode == 429 || resp.StatusCode == 503 {
							out.Add(1)
							return
						}
						switch env := c.next(); env.Type {
						case wire.SystemMessage:
							in.Add(1)
						case wire.ErrorMessageType: // others were faster
							out.Add(1)
							c.ends(wire.CloseTryAgain)
						}
					})
				}
				wg.Wait()
				if in.Load() != 5 || out.Load() != 25 {
					t.Errorf("%d got in and %d were refused, want 5 and 25", in.Load(), out.Load())
				}
			})
		})
	}
}

func TestTheOldDialectIsRefusedInItsOwnSubprotocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		c, resp := s.handshake(t, request{subprotocols: "jwt-auth, jwt.Zm9v"})
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "jwt-auth" {
			t.Errorf("got subprotocol %q, want jwt-auth", got)
		}
		c.refused(wire.CodeUnsupported, "")
		c.ends(wire.ClosePolicy)
	})
}

func TestATokenMayComeAsASubprotocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		token := "token." + base64.RawURLEncoding.EncodeToString([]byte("alice"))
		c, resp := s.handshake(t, request{subprotocols: "switchboard.v1, " + token})
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != "switchboard.v1" {
			t.Errorf("got subprotocol %q, want switchboard.v1, never the token", got)
		}
		c.welcomed(resp)
	})
}

func TestOriginsThatAreNamedMayConnect(t *testing.T) {
	allowed := []string{"https://app.example.com", "https://*.example.org"}
	tests := []struct {
		origin string
		want   bool
	}{
		{"", true},
		{"http://switchboard.test", true}, // the request's own host
		{"https://app.example.com", true},
		{"https://APP.example.com", true},
		{"http://app.example.com", false},
		{"https://app.example.com:8443", false},
		{"https://app.example.com.evil.net", false},
		{"https://a.example.org", true},
		{"https://a.b.example.org", true},
		{"https://example.org", false},
		{"https://evilexample.org", false},
		{"null", false},
		{"file://", false},
	}
	for _, test := range tests {
		t.Run(test.origin, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Origins: allowed})
				_, resp := s.handshake(t, request{token: "alice", origin: test.origin})
				if got := resp.StatusCode == 101; got != test.want {
					t.Errorf("got status %d, want accepted: %v", resp.StatusCode, test.want)
				}
			})
		})
	}
}

func TestWhatIsNoWebSocketIsAProblem(t *testing.T) {
	s := newServer(t, switchboard.Options{})
	for _, test := range []struct {
		method, path string
		status       int
	}{{"GET", "/ws", 426}, {"POST", "/websocket", 405}, {"GET", "/nothing", 404}} {
		w := newRecorder()
		r, err := http.NewRequestWithContext(t.Context(), test.method, "http://switchboard.test"+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.ClientAPI().ServeHTTP(w, r)
		if w.status != test.status || w.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: got %d %v", test.method, test.path, w.status, w.header)
		}
	}
}

// recorder is a response that cannot be taken over, as that of HTTP/2.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func TestABrokerThatCannotBeReachedIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice room:team:*")
		elect := d.Faults().KillLeader()
		for _, verb := range []string{
			`{"type":"chat","message_id":"e-11","payload":{"text":"hi"}}`,
			`{"type":"join_room","message_id":"e-11","payload":{"room":"team"}}`,
			`{"type":"history","message_id":"e-11","payload":{"topic":"all"}}`,
		} {
			a.send("%s", verb)
			e := a.refused(wire.CodeUnavailable, "e-11")
			wantEqual(t, "details", e.Details, map[string]any{"retry_after_ms": 1000.0})
		}
		_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note"})
		if !errors.Is(err, switchboard.ErrUnavailable) {
			t.Errorf("publish: got %v, want %v", err, switchboard.ErrUnavailable)
		}
		if _, resp := s.handshake(t, request{token: "bob"}); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a new client: got %d, want 503 with Retry-After", resp.StatusCode)
		}
		elect()
		time.Sleep(10 * time.Second) // the link comes back
		s.note(t, switchboard.User("alice"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
	})
}

// logBook collects what is logged.
type logBook struct {
	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func TestTheTextOfInternalErrorsStaysInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &logBook{}
		s := newServer(t, switchboard.Options{Log: slog.New(slog.NewTextHandler(book, nil))})
		s.Handle("panics", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { panic("secret one") })
		s.Handle("fails", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return errors.New("secret two") })
		a := s.as(t, "alice")
		for _, typ := range []string{"panics", "fails"} {
			a.send(`{"type":%q,"message_id":"e"}`, typ)
			if e := a.refused(wire.CodeInternal, "e"); e.Message != "internal error" || len(e.Details) > 0 {
				t.Errorf("got %+v, want nothing but internal error", e)
			}
		}
		for _, secret := range []string{"secret one", "secret two", "errors_test.go"} {
			if !strings.Contains(book.String(), secret) {
				t.Errorf("the log has no %q:\n%s", secret, book)
			}
		}
	})
}

func TestCodeOfKnowsEverySentinel(t *testing.T) {
	tests := []struct {
		err  error
		want wire.Code
	}{
		{nil, ""},
		{errors.New("x"), wire.CodeInternal},
		{switchboard.ErrUnauthenticated, wire.CodeAuthError},
		{switchboard.ErrForbidden, wire.CodeForbidden},
		{switchboard.ErrInvalid, wire.CodeInvalidMessage},
		{switchboard.ErrNotFound, wire.CodeNotFound},
		{switchboard.ErrConflict, wire.CodeConflict},
		{switchboard.ErrBusy, wire.CodeBusy},
		{switchboard.ErrUnavailable, wire.CodeUnavailable},
		{switchboard.ErrClosed, wire.CodeUnavailable},
		{switchboard.ErrRunContract, wire.CodeRunContract},
		{broker.ErrUnavailable, wire.CodeUnavailable},
		{&wire.ParseError{Code: wire.CodeInvalidJSON}, wire.CodeInvalidJSON},
		{&switchboard.Error{Code: wire.CodeTimeout}, wire.CodeTimeout},
	}
	for _, test := range tests {
		if test.err == nil {
			if got := switchboard.CodeOf(nil); got != "" {
				t.Errorf("nil: got %q, want none", got)
			}
			continue
		}
		if got := switchboard.CodeOf(fmt.Errorf("while: %w", test.err)); got != test.want {
			t.Errorf("%v: got %s, want %s", test.err, got, test.want)
		}
	}
	if err := error(&switchboard.Error{Code: wire.CodeForbidden}); !errors.Is(err, switchboard.ErrForbidden) || errors.Is(err, switchboard.ErrNotFound) {
		t.Error("an Error is not the sentinel of its code")
	}
}
