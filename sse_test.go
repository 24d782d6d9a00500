package switchboard_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

func TestAnEventStreamIsAConnectionLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).streamOf(call{path: "/events?device=tablet", token: "alice room:team:* exp=1h"})
		if w := a.welcome; w.Held || w.UserID != "alice" || !strings.HasPrefix(w.Session.Token, "swt_") || len(w.Topics) != 2 {
			t.Errorf("got welcome %+v", w)
		}
		wantEqual(t, "id of the welcome", has(t, a.last), wire.Restore{Positions: a.welcome.Topics})
		other := s.as(t, "alice")
		for n := range 3 {
			s.note(t, switchboard.User("alice"), n+1)
		}
		wantEqual(t, "notes", a.notes(3), []int{1, 2, 3})
		wantEqual(t, "notes of the WebSocket", other.notes(3), []int{1, 2, 3})
		user := a.welcome.Topics["user/alice"]
		wantEqual(t, "id of the last note", has(t, a.last), wire.Restore{
			Positions: map[string]wire.Position{"user/alice": at(user, user.Offset+3), "all": a.welcome.Topics["all"]},
		})
		transports := map[string]string{}
		for info, err := range s.Connections().List(t.Context(), switchboard.User("alice")) {
			if err != nil {
				t.Fatal(err)
			}
			transports[info.Transport] = info.Device + " " + info.Address.String()
		}
		wantEqual(t, "transports", transports, map[string]string{"sse": "tablet 127.0.0.1", "websocket": " 127.0.0.1"})
		n, err := s.Connections().Close(t.Context(), switchboard.Connection(a.welcome.ConnectionID), switchboard.CloseError{Code: 4321, Reason: "enough"})
		if n != 1 || err != nil {
			t.Errorf("got %d, %v, want 1 closed", n, err)
		}
		if got := a.ends(4321); got.Reason != "enough" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAHandlerOnOnePathServesBothTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).streamOf(call{path: "/ws", token: "alice", header: map[string]string{"Accept": "text/html;q=0.1, text/event-stream"}})
		s.note(t, switchboard.User("alice"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
		if got := s.web(t).do(call{path: "/ws", token: "alice"}); got.status != http.StatusUpgradeRequired {
			t.Errorf("without the header: got %d, want 426", got.status)
		}
	})
}

func TestAMessageIsOneLineOfItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
			Type: "note", Payload: json.RawMessage("{\"a\":\n[1,\r\n2],\r\"b\":\"x\\ny: z\"}"),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := payload[struct {
			A []int
			B string
		}](t, a.expect("note"))
		if len(got.A) != 2 || got.B != "x\ny: z" {
			t.Errorf("got %+v", got)
		}
	})
}

func shutDown(t *testing.T, m *switchboard.Manager) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestAnIdleStreamIsPingedAndLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		began := time.Now()
		for range 10 {
			e, ok, timeout := a.block(time.Minute)
			if !ok || timeout || e != (event{comment: "ping"}) {
				t.Fatalf("got %+v (open: %v), want a ping", e, ok)
			}
		}
		if took := time.Since(began); took < 230*time.Second || took > 270*time.Second {
			t.Errorf("10 pings came within %v, want one each 25 s", took)
		}
		synctest.Wait()
		for info, err := range s.Connections().List(t.Context(), switchboard.User("alice")) {
			if err != nil || info.Missed != 0 || info.Health != 100 || info.RoundTrip != 0 {
				t.Errorf("got %+v, %v, want it healthy without a round trip, which nobody knows", info, err)
			}
		}
		if beat := s.Stats().Heartbeat; beat.MeanRTT != 0 || beat.Pings < 10 || beat.Missed != 0 || beat.Resurrected != 0 {
			t.Errorf("got %+v, want pings and no round trips", beat)
		}
	})
}

func TestAppPingsAreEventsOnAStreamThatAskedForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).streamOf(call{path: "/events?heartbeat=app", token: "alice"})
		time.Sleep(30 * time.Second)
		a.expect(wire.Ping)
	})
}

// TestServerTimeoutsDoNotEndAStream: those of net/http are for answers that end.
func TestServerTimeoutsDoNotEndAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := switchboard.New(switchboard.Options{Auth: login})
		if err != nil {
			t.Fatal(err)
		}
		s := &server{Manager: m, ln: newListener()}
		srv := &http.Server{Handler: m.ClientAPI(), ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second, IdleTimeout: time.Second}
		var served sync.WaitGroup
		served.Go(func() { _ = srv.Serve(s.ln) })
		defer func() {
			shutDown(t, m)
			_ = srv.Close()
			served.Wait()
		}()
		m.Handle("slow", func(ctx context.Context, _ *switchboard.Conn, _ switchboard.Envelope) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		a := s.web(t).stream("alice")
		time.Sleep(time.Minute)
		a.post(`{"type":"slow","message_id":"s"}`).answer(t, 200, wire.AckType, "s")
		s.note(t, switchboard.User("alice"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
		refused := make(chan int, 1)
		go func() { refused <- a.post(`{"type":"slow","message_id":"r"}`).status }()
		time.Sleep(10 * time.Second)
		a.cut()
		if got := <-refused; got != http.StatusServiceUnavailable {
			t.Errorf("got status %d, want 503", got)
		}
	})
}

// silentStream opens an event stream that nobody reads, with room for 4 KiB.
func (s *server) silentStream(t *testing.T, user string) *ws.PipeConn {
	t.Helper()
	conn, err := s.ln.dial(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: switchboard.test\r\nAuthorization: Bearer "+user+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

// TestAStreamThatIsNotReadHoldsUpNobody: it takes nothing, is found by the heartbeat, and
// ends.
func TestAStreamThatIsNotReadHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		s.silentStream(t, "alice")
		other := s.as(t, "alice")
		began := time.Now()
		for n := range 100 {
			s.note(t, switchboard.User("alice"), n)
		}
		other.notes(100)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the other device waited %v", waited)
		}
		count := func() (n int) {
			for info, err := range s.Connections().List(t.Context(), switchboard.User("alice")) {
				if err != nil {
					t.Fatal(err)
				}
				if info.Transport == "sse" {
					n++
					if info.UnwritableSince.IsZero() {
						t.Errorf("got %+v, want it unwritable", info)
					}
				}
			}
			return n
		}
		if n := count(); n != 1 {
			t.Fatalf("got %d streams, want 1", n)
		}
		for range 10 {
			time.Sleep(10 * time.Second)
			_, _ = other.raw(0) // answers pings
			_, _ = other.raw(time.Millisecond)
		}
		if n := count(); n != 0 {
			t.Errorf("got %d streams after 100 s, want none", n)
		}
	})
}

func TestAClientThatLeavesIsGoneAtOnce(t *testing.T) {
	gone := func(t *testing.T, s *server) {
		t.Helper()
		synctest.Wait()
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("got %d connections after the client has left, want 0", n)
		}
	}
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, switchboard.Options{})
			s.web(t).stream("alice").cut()
			gone(t, s)
		})
	})
	// It does not take what is left, and its connection is not read because too many answers
	// wait for it.
	t.Run("stuck", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, switchboard.Options{})
			conn := s.silentStream(t, "alice")
			for n := range 100 {
				s.note(t, switchboard.User("alice"), n)
			}
			a := &source{t: t, web: s.web(t), token: "alice"}
			for info, err := range s.Connections().List(t.Context(), switchboard.User("alice")) {
				if err != nil {
					t.Fatal(err)
				}
				a.welcome.ConnectionID = info.ID
			}
			answers := make(chan reply, 5)
			for i := range cap(answers) {
				go func() {
					answers <- a.post(fmt.Sprintf(`{"type":"history","message_id":"h%d","payload":{"topic":"user/alice","limit":100}}`, i))
				}()
				synctest.Wait()
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			gone(t, s)
			// A post that was answered at that moment has its answer, the others are told to try again.
			for range cap(answers) {
				if got := <-answers; got.status != http.StatusServiceUnavailable && !strings.Contains(got.body, `"type":"history_result"`) {
					t.Errorf("got %+v for a post, want 503 or the history", got)
				}
			}
		})
	})
}

func TestShutdownTellsAStreamWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		s.note(t, switchboard.User("alice"), 1)
		synctest.Wait() // or the answer may overtake it
		shutDown(t, s.Manager)
		wantEqual(t, "notes", a.notes(1), []int{1})
		e := a.event()
		env, err := wire.Parse([]byte(e.data))
		if err != nil || env.Type != wire.ServerShutdown {
			t.Fatalf("got %+v, want server_shutdown", e)
		}
		if want := payload[wire.ServerShutdownPayload](t, env).ReconnectAfterMS; number(t, e.retry) != want || want == 0 {
			t.Errorf("got retry %q, want %d", e.retry, want)
		}
		a.ends(wire.CloseRestart)
		if got := s.web(t).do(call{path: "/events", token: "alice"}); got.problem(t).Status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("after shutdown: got %+v, want 503 with Retry-After", got)
		}
	})
}

func TestAStreamEndsWithItsCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice exp=90s")
		time.Sleep(31 * time.Second)
		a.expect(wire.AuthExpiring)
		a.ends(wire.CloseExpired)
	})
}

func TestRefusedStreamsAreProblemDocuments(t *testing.T) {
	refusing := switchboard.Options{
		Limits: switchboard.Limits{ConnsPerUser: 1},
		OnConnect: func(_ context.Context, c *switchboard.Conn) error {
			if c.Identity().User == "mallory" {
				return &switchboard.Error{Code: wire.CodeForbidden, Message: "not you"}
			}
			return nil
		},
	}
	id := func(text string) map[string]string {
		return map[string]string{"Last-Event-ID": base64.RawURLEncoding.EncodeToString([]byte(text))}
	}
	tests := []struct {
		name   string
		req    call
		status int
		code   wire.Code
		field  string
		why    string
	}{
		{"no credential", call{}, 401, wire.CodeAuthError, "", "credential"},
		{"bad token", call{token: "bad"}, 401, wire.CodeAuthError, "", "credential"},
		{"other scheme", call{header: map[string]string{"Authorization": "Basic YTpi"}}, 401, wire.CodeAuthError, "", "credential"},
		{"session token of nobody", call{token: "swt_AAAA"}, 401, wire.CodeAuthError, "", "credential"},
		{"unknown ticket", call{path: "/events?ticket=tk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, 401, wire.CodeAuthError, "", "credential"},
		{"empty ticket", call{path: "/events?ticket="}, 401, wire.CodeAuthError, "", "credential"},
		{"origin", call{token: "alice", header: map[string]string{"Origin": "https://evil.example"}}, 403, wire.CodeForbidden, "", "origin"},
		{"application", call{token: "mallory"}, 403, wire.CodeForbidden, "", "on_connect"},
		{"user limit", call{token: "full"}, 429, wire.CodeRateLimited, "", "user_limit"},
		{"bad device", call{path: "/events?device=%07", token: "alice"}, 400, wire.CodeInvalidMessage, "device", "query"},
		{"no base64", call{token: "alice", header: map[string]string{"Last-Event-ID": "a+b"}}, 400, wire.CodeInvalidJSON, "Last-Event-ID", "last_event_id"},
		{"padding", call{token: "alice", header: map[string]string{"Last-Event-ID": "e30="}}, 400, wire.CodeInvalidJSON, "Last-Event-ID", "last_event_id"},
		{"no JSON", call{token: "alice", header: id(`{"positions":`)}, 400, wire.CodeInvalidJSON, "Last-Event-ID", "last_event_id"},
		{"duplicate key", call{token: "alice", header: id(`{"positions":{"all":"a:1","all":"a:2"}}`)}, 400, wire.CodeInvalidJSON, "Last-Event-ID", "last_event_id"},
		{"a list", call{token: "alice", header: id(`[]`)}, 422, wire.CodeInvalidMessage, "Last-Event-ID", "last_event_id"},
		{"unknown member", call{token: "alice", header: id(`{"position":{}}`)}, 422, wire.CodeInvalidMessage, "Last-Event-ID", "last_event_id"},
		{"no position", call{token: "alice", header: id(`{"positions":{"all":"7"}}`)}, 422, wire.CodeInvalidMessage, "Last-Event-ID", "last_event_id"},
		{"no topic", call{token: "alice", header: id(`{"positions":{"alice":"a:7"}}`)}, 422, wire.CodeInvalidMessage, "Last-Event-ID", "last_event_id"},
		{"negative length", call{token: "alice", header: id(`{"streams":{"R/a":-1}}`)}, 422, wire.CodeInvalidMessage, "Last-Event-ID", "last_event_id"},
		{"in the URL", call{path: "/events?last_event_id=!", token: "alice"}, 400, wire.CodeInvalidJSON, "last_event_id", "last_event_id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, refusing)
				s.as(t, "full")
				if test.req.path == "" {
					test.req.path = "/events"
				}
				got := s.web(t).do(test.req)
				p := got.problem(t)
				if field, _ := p.Details["field"].(string); p.Status != test.status || p.Code != string(test.code) || field != test.field {
					t.Errorf("got %s, want %d %s field %q", got.body, test.status, test.code, test.field)
				}
				if has, want := got.header.Get("Retry-After") != "", test.status == 429; has != want {
					t.Errorf("Retry-After is there: %v, want %v", has, want)
				}
				if st := s.Stats(); st.Refused != 1 || st.Refusals[test.why] != 1 {
					t.Errorf("got counters %d %v, want one %s", st.Refused, st.Refusals, test.why)
				}
				synctest.Wait()
				if n := s.Stats().Connections; n != 1 {
					t.Errorf("got %d connections, want the one that was there", n)
				}
			})
		})
	}
}

// TestAStreamWithoutDeadlinesIsRefused: behind a wrapper that hides them a client that takes
// nothing could not be got rid of.
func TestAStreamWithoutDeadlinesIsRefused(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, m)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/events", nil)
	r.Header.Set("Authorization", "Bearer alice")
	m.ClientAPI().ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || m.Stats().Refusals["hijack"] != 1 {
		t.Errorf("got %d %v, want 500", w.Code, m.Stats().Refusals)
	}
}

func TestStreamsOverHTTP2(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(m.ClientAPI())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	defer shutDown(t, m)
	c := &web{t: t, base: srv.URL, http: srv.Client()}
	a := c.stream("alice")
	for n := range 3 {
		_, err := m.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]int{"n": n}})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "notes", a.notes(3), []int{0, 1, 2})
	a.post(`{"type":"ping","message_id":"p"}`).answer(t, 200, wire.Pong, "p")
	a.cut()
	b := a.again() // the server has let go of the first one, or will
	b.expect(wire.SessionRestored)
	shutDown(t, m)
	b.ends(wire.CloseRestart)
}

// TestManyStreamsComeAndGoWithoutLeavingAnything: goleak looks afterwards.
func TestManyStreamsComeAndGoWithoutLeavingAnything(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login, Limits: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer user%d\r\n\r\n", i)
				if j%2 == 0 {
					_, _ = bufio.NewReader(conn).ReadString('{')
				}
				_, _ = m.Publish(context.Background(), switchboard.User(fmt.Sprint("user", i)), switchboard.Message{Type: "note"})
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
	shutDown(t, m)
	if n := m.Stats().Connections; n != 0 {
		t.Errorf("got %d connections after shutdown, want 0", n)
	}
}
