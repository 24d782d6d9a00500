package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAPostIsAMessageOnItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("echo", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
			_, err := s.Publish(ctx, switchboard.Connection(c.ID()), switchboard.Message{Type: "echoed", Payload: msg.Payload})
			return err
		})
		a := s.web(t).stream("alice")
		other := s.as(t, "alice")
		pong := a.post(`{"type":"ping","message_id":"p"}`).answer(t, 200, wire.Pong, "p")
		if payload[wire.PongPayload](t, pong).Timestamp == 0 {
			t.Errorf("got %+v", pong)
		}
		ack := payload[wire.Ack](t, a.post(`{"type":"echo","message_id":"e","payload":{"x":1}}`).answer(t, 200, wire.AckType, "e"))
		wantEqual(t, "ack", ack, wire.Ack{MessageID: "e", Status: "ok"})
		if got := a.expect("echoed"); string(got.Payload) != `{"x":1}` {
			t.Errorf("got %s, want the echo as an event", got.Payload)
		}

		// What is said has an answer, and is an event of the same id.
		ack = payload[wire.Ack](t, a.post(`{"type":"chat","message_id":"c","payload":{"text":"hi"}}`).answer(t, 200, wire.AckType, "c"))
		said := a.expect(wire.Chat)
		if said.ID != "c" || said.UserID != "alice" || said.Offset != ack.Position.Offset || ack.Status != "unhandled" {
			t.Errorf("got %+v and %+v, want the same message in both", said, ack)
		}
		other.expect(wire.Chat)
		again := payload[wire.Ack](t, a.post(`{"type":"chat","message_id":"c","payload":{"text":"hi"}}`).answer(t, 200, wire.AckType, "c"))
		wantEqual(t, "ack of the same again", again, wire.Ack{MessageID: "c", Status: "duplicate", Position: ack.Position})
		a.silent()
		for info, err := range s.Connections().List(t.Context(), switchboard.Connection(a.welcome.ConnectionID)) {
			if err != nil || info.Received != 4 {
				t.Errorf("got %+v, %v, want 4 messages received", info, err)
			}
		}
	})
}

func TestAPostWithoutAnIDGetsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		got := a.post(`{"type":"chat","data":{"text":"hi"},"thread_id":"t1"}`)
		said := a.expect(wire.Chat)
		got.answer(t, 200, wire.AckType, said.ID)
		if said.ID == "" || said.ThreadID != "t1" || string(said.Payload) != `{"text":"hi"}` {
			t.Errorf("got %+v", said)
		}
	})
}

func TestAnErrorOfAPostHasTheStatusOfItsCode(t *testing.T) {
	codes := map[wire.Code]int{
		wire.CodeInvalidMessage: 422, wire.CodeForbidden: 403, wire.CodeNotFound: 404, wire.CodeConflict: 409, wire.CodeRunEnded: 409,
		wire.CodeRateLimited: 429, wire.CodeBusy: 429, wire.CodeUnavailable: 503, wire.CodeTimeout: 504, wire.CodeInternal: 500,
		wire.CodeUnsupported: 422, wire.CodeAuthError: 401, "OF_THE_APPLICATION": 500,
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("fail", switchboard.Typed(func(_ context.Context, _ *switchboard.Conn, v struct{ Code wire.Code }) error {
			return &switchboard.Error{Code: v.Code, Message: "no", Details: map[string]any{"retry_after_ms": 1500}}
		}))
		a := s.web(t).stream("alice")
		for code, status := range codes {
			got := a.post(fmt.Sprintf(`{"type":"fail","message_id":"m-%s","payload":{"code":%q}}`, code, code))
			e, err := wire.ParseErrorMessage([]byte(got.body))
			if err != nil || got.status != status || e.Code != code || e.MessageID != "m-"+string(code) || e.Message != "no" {
				t.Errorf("%s: got %d %s, want %d", code, got.status, got.body, status)
			}
			if got.header.Get("Retry-After") != "2" {
				t.Errorf("%s: got Retry-After %q, want 2", code, got.header.Get("Retry-After"))
			}
		}
		a.silent()
	})
}

func TestAPostThatIsNoMessageIsRefusedAsOneWouldBe(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		code       wire.Code
		id         string
	}{
		{"no JSON", `{"type":`, 400, wire.CodeInvalidJSON, ""},
		{"nothing", ``, 400, wire.CodeInvalidJSON, ""},
		{"two", `{"type":"ping"} {"type":"ping"}`, 400, wire.CodeInvalidJSON, ""},
		{"duplicate key", `{"type":"ping","type":"pong"}`, 400, wire.CodeInvalidJSON, ""},
		{"bad UTF-8", "{\"type\":\"\xff\"}", 400, wire.CodeInvalidJSON, ""},
		{"no type", `{"message_id":"m"}`, 422, wire.CodeInvalidMessage, "m"},
		{"payload is a list", `{"type":"x","message_id":"m","payload":[]}`, 422, wire.CodeInvalidMessage, "m"},
		{"run event", `{"type":"agent_completed","message_id":"m"}`, 409, wire.CodeRunContract, "m"},
		{"room that it may not join", `{"type":"join_room","message_id":"m","payload":{"room":"r"}}`, 403, wire.CodeForbidden, "m"},
		{"auth of another", `{"type":"auth","message_id":"m","payload":{"token":"bob"}}`, 401, wire.CodeAuthError, "m"},
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		for _, test := range tests {
			got := a.post(test.body)
			e, err := wire.ParseErrorMessage([]byte(got.body))
			if err != nil || got.status != test.status || e.Code != test.code || e.MessageID != test.id {
				t.Errorf("%s: got %d %s, want %d %s for %q", test.name, got.status, got.body, test.status, test.code, test.id)
			}
		}
		a.silent()
		for info, err := range s.Connections().List(t.Context(), switchboard.User("alice")) {
			if err != nil || info.Errors != uint64(len(tests)) {
				t.Errorf("got %d errors counted, want %d", info.Errors, len(tests))
			}
		}
	})
}

func TestBadPostsAreProblemDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Origins: []string{"https://app.example.com"}})
		c := s.web(t)
		a, bob, acme := c.stream("alice"), c.stream("bob"), c.stream("acme/alice")
		socket := s.as(t, "alice")
		gone := c.stream("alice")
		gone.cut()
		synctest.Wait()
		of := func(id string, more ...string) map[string]string {
			h := map[string]string{"Switchboard-Connection": id, "Content-Type": "application/json"}
			for i := 0; i < len(more); i += 2 {
				h[more[i]] = more[i+1]
			}
			return h
		}
		mine := a.welcome.ConnectionID
		const ping = `{"type":"ping","message_id":"p"}`
		tests := []struct {
			name   string
			req    call
			status int
			code   wire.Code
			field  string
		}{
			{"no connection", call{body: ping, token: "alice"}, 422, wire.CodeInvalidMessage, "Switchboard-Connection"},
			{"no such connection", call{body: ping, token: "alice", header: of("conn_0")}, 404, wire.CodeNotFound, "Switchboard-Connection"},
			{"one that has ended", call{body: ping, token: "alice", header: of(gone.welcome.ConnectionID)}, 404, wire.CodeNotFound, "Switchboard-Connection"},
			{"another user's", call{body: ping, token: "alice", header: of(bob.welcome.ConnectionID)}, 404, wire.CodeNotFound, "Switchboard-Connection"},
			{"another tenant's", call{body: ping, token: "alice", header: of(acme.welcome.ConnectionID)}, 404, wire.CodeNotFound, "Switchboard-Connection"},
			{"a WebSocket", call{body: ping, token: "alice", header: of(socket.welcome.ConnectionID)}, 404, wire.CodeNotFound, "Switchboard-Connection"},
			{"no credential", call{body: ping, header: of(mine)}, 401, wire.CodeAuthError, ""},
			{"bad credential", call{body: ping, token: "bad", header: of(mine)}, 401, wire.CodeAuthError, ""},
			{"a ticket", call{path: "/messages?ticket=tk_AAAA", body: ping, header: of(mine)}, 401, wire.CodeAuthError, ""},
			{"origin", call{body: ping, token: "alice", header: of(mine, "Origin", "https://evil.example")}, 403, wire.CodeForbidden, ""},
			{"a form", call{body: ping, token: "alice", header: of(mine, "Content-Type", "application/x-www-form-urlencoded")}, 415, wire.CodeUnsupported, ""},
			{"latin-1", call{body: ping, token: "alice", header: of(mine, "Content-Type", "application/json; charset=latin1")}, 415, wire.CodeUnsupported, ""},
			{"compressed", call{body: ping, token: "alice", header: of(mine, "Content-Encoding", "gzip")}, 415, wire.CodeUnsupported, ""},
			{"too large", call{body: `{"type":"x","payload":{"x":"` + strings.Repeat("x", 64<<10) + `"}}`, token: "alice", header: of(mine)}, 413, wire.CodeTooLarge, ""},
			{"GET", call{method: http.MethodGet, token: "alice", header: of(mine)}, 405, wire.CodeUnsupported, ""},
		}
		for _, test := range tests {
			if test.req.method == "" {
				test.req.method = http.MethodPost
			}
			if test.req.path == "" {
				test.req.path = "/messages"
			}
			p := c.do(test.req).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != test.status || p.Code != string(test.code) || field != test.field {
				t.Errorf("%s: got %+v, want %d %s field %q", test.name, p, test.status, test.code, test.field)
			}
		}
		for _, stream := range []*source{a, bob, acme} {
			stream.silent()
		}
	})
}

func TestALargePostLeavesTheStreamAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessageBytes: 1000}})
		a := s.web(t).stream("alice")
		of := func(size int, id string) string {
			const head, tail = `{"type":"x",`, `"}}`
			body := head + id + `"payload":{"x":"`
			return body + strings.Repeat("x", size-len(body)-len(tail)) + tail
		}
		a.post(of(1000, `"message_id":"m",`)).answer(t, 200, wire.AckType, "m")
		if p := a.post(of(1001, `"message_id":"m",`)).problem(t); p.Status != 413 || p.Details["limit"] != 1000.0 {
			t.Errorf("got %+v, want 413", p)
		}
		// With the id that it is given it does not fit any more.
		got := a.post(of(1000, ""))
		if e, err := wire.ParseErrorMessage([]byte(got.body)); err != nil || got.status != 413 || e.Code != wire.CodeTooLarge || e.MessageID == "" {
			t.Errorf("got %d %s, want 413", got.status, got.body)
		}
		a.post(`{"type":"ping","message_id":"p"}`).answer(t, 200, wire.Pong, "p")
	})
}

func TestWhatIsNeverAnsweredHasNoBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		for _, typ := range []string{"pong", "heartbeat_ack"} {
			if got := a.post(fmt.Sprintf(`{"type":%q,"message_id":"m"}`, typ)); got.status != 204 || got.body != "" {
				t.Errorf("%s: got %+v, want 204", typ, got)
			}
		}
		a.silent()
	})
}

func TestTwoPostsOfTheSameMessageAreBothAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		calls := 0
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			calls++
			time.Sleep(time.Second)
			return nil
		})
		a := s.web(t).stream("alice")
		statuses := make(chan string, 3)
		for range cap(statuses) {
			go func() {
				statuses <- payload[wire.Ack](t, a.post(`{"type":"work","message_id":"w"}`).answer(t, 200, wire.AckType, "w")).Status
			}()
		}
		got := map[string]int{}
		for range cap(statuses) {
			got[<-statuses]++
		}
		wantEqual(t, "statuses", got, map[string]int{"ok": 1, "duplicate": 2})
		if calls != 1 {
			t.Errorf("the handler was called %d times, want once", calls)
		}
		a.silent()
	})
}

func TestALateAnswerIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{Handler: 5 * time.Second}})
		s.Handle("hang", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			time.Sleep(time.Minute)
			return nil
		})
		s.Handle("quick", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
		a := s.web(t).stream("alice")
		first := make(chan reply, 1)
		go func() { first <- a.post(`{"type":"hang","message_id":"h"}`) }()
		time.Sleep(time.Millisecond)
		began := time.Now()
		p := a.post(`{"type":"quick","message_id":"q"}`).problem(t)
		if took := time.Since(began); p.Status != 504 || p.Code != string(wire.CodeTimeout) || took != 15*time.Second {
			t.Errorf("got %+v after %v, want 504 after 15s", p, took)
		}
		if e, err := wire.ParseErrorMessage([]byte((<-first).body)); err != nil || e.Code != wire.CodeTimeout {
			t.Errorf("the handler that hangs: got %+v, %v, want TIMEOUT", e, err)
		}
		time.Sleep(50 * time.Second)
		if env := a.expect(wire.AckType); env.ID != "q" {
			t.Errorf("got the ack of %q, want that of q", env.ID)
		}
	})
}

func TestTheAnswerOfAPostWhoseSenderHasLeftIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			time.Sleep(time.Second)
			return nil
		})
		a := s.web(t).stream("alice")
		ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		if _, err := a.web.http.Do(a.web.request(ctx, a.message(`{"type":"work","message_id":"w"}`))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		if env := a.expect(wire.AckType); env.ID != "w" {
			t.Errorf("got the ack of %q, want that of w", env.ID)
		}

		// Also if it leaves while the answer comes, and what is left of its connection takes it.
		leaves := make(chan context.CancelFunc, 1)
		s.Handle("leave", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			(<-leaves)()
			return nil
		})
		for n := range 50 {
			ctx, leave := context.WithCancel(t.Context())
			leaves <- leave
			id := fmt.Sprint("v", n)
			s.ClientAPI().ServeHTTP(httptest.NewRecorder(), a.web.request(ctx, a.message(fmt.Sprintf(`{"type":"leave","message_id":%q}`, id))))
			if env := a.expect(wire.AckType); env.ID != id {
				t.Errorf("got the ack of %q, want that of %q", env.ID, id)
			}
		}
	})
}

// TestNoAnswerIsLostHoweverClientsLeave posts over real sockets that are closed at any
// moment: each message is answered once, to its sender or on the stream.
func TestNoAnswerIsLostHoweverClientsLeave(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login, Limits: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	const posts = 200
	served := make(chan struct{}, posts)
	clients := m.ClientAPI()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clients.ServeHTTP(w, r)
		if r.Method == http.MethodPost {
			served <- struct{}{}
		}
	}))
	defer srv.Close()
	defer shutDown(t, m)
	a := newWeb(t, srv.URL, new(net.Dialer).DialContext).stream("alice")
	var mu sync.Mutex
	answered := map[string]int{} // read by their senders, at least in part
	var wg sync.WaitGroup
	for i := range posts {
		wg.Go(func() {
			id := fmt.Sprint("m", i)
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			body := fmt.Sprintf(`{"type":"x","message_id":%q}`, id)
			fmt.Fprintf(conn, "POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nSwitchboard-Connection: %s\r\nContent-Length: %d\r\n\r\n%s",
				a.welcome.ConnectionID, len(body), body)
			if i%2 == 0 {
				return // leaves at once
			}
			if n, _ := conn.Read(make([]byte, 1)); n == 1 {
				mu.Lock()
				answered[id]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for range posts {
		select {
		case <-served:
		case <-time.After(patience):
			t.Fatal("a post was not served")
		}
	}
	if _, err := m.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "end"}); err != nil {
		t.Fatal(err)
	}
	events := map[string]int{}
	for {
		env, err := wire.ParseAnswer([]byte(a.event().data))
		if err == nil && env.Type == "end" {
			break
		}
		if err != nil || env.Type != wire.AckType {
			t.Fatalf("got %+v, %v, want acks only", env, err)
		}
		events[env.ID]++
	}
	for i := range posts {
		id := fmt.Sprint("m", i)
		if i%2 == 1 && answered[id] != 1 || answered[id]+events[id] > 1 {
			t.Errorf("%s: %d answers to its sender and %d events, want one", id, answered[id], events[id])
		}
	}
}

func TestAPostHearsThatItsStreamHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("work", func(ctx context.Context, _ *switchboard.Conn, _ switchboard.Envelope) error {
			<-ctx.Done()
			return ctx.Err()
		})
		a := s.web(t).stream("alice")
		got := make(chan reply, 1)
		go func() { got <- a.post(`{"type":"work","message_id":"w"}`) }()
		synctest.Wait()
		a.cut()
		r := <-got
		if p := r.problem(t); p.Status != 503 || p.Code != string(wire.CodeUnavailable) || r.header.Get("Retry-After") == "" {
			t.Errorf("got %+v, want 503", p)
		}
	})
}

func TestPostsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		free := make(chan struct{})
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-free
			return nil
		})
		a := s.web(t).stream("alice")
		statuses := make(chan int, 40)
		for i := range cap(statuses) {
			go func() { statuses <- a.post(fmt.Sprintf(`{"type":"work","message_id":"w%d"}`, i)).status }()
			synctest.Wait()
		}
		close(free)
		got := map[int]int{}
		for range cap(statuses) {
			got[<-statuses]++
		}
		wantEqual(t, "statuses", got, map[int]int{200: 32, 429: 8})
	})
}

func TestPostsSpendTheAllowanceOfTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessagesPerMinute: 3}})
		a := s.web(t).stream("alice")
		for i := range 3 {
			id := fmt.Sprint("m", i)
			a.post(fmt.Sprintf(`{"type":"x","message_id":%q}`, id)).answer(t, 200, wire.AckType, id)
		}
		got := a.post(`{"type":"x","message_id":"m4"}`)
		e, err := wire.ParseErrorMessage([]byte(got.body))
		if err != nil || got.status != 429 || e.Code != wire.CodeRateLimited || number(t, got.header.Get("Retry-After")) < 1 {
			t.Errorf("got %+v, want 429 with Retry-After", got)
		}
	})
}

func TestAStreamRewindsOnceByAPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.web(t).stream("alice")
		for n := range 3 {
			s.note(t, switchboard.User("alice"), n)
		}
		a.notes(3)
		user := a.welcome.Topics["user/alice"]
		body := fmt.Sprintf(`{"type":"session_restore","message_id":"r","payload":{"positions":{"user/alice":%q}}}`, at(user, user.Offset+1))
		env := a.post(body).answer(t, 200, wire.SessionRestored, "r")
		if got := payload[wire.Restored](t, env); !got.Rewind || !got.Topics["user/alice"].Recovered {
			t.Errorf("got %+v, want a rewind", got)
		}
		if e := a.event(); e.data != "" || has(t, e.id).Positions["user/alice"] != at(user, user.Offset+1) {
			t.Errorf("got %+v, want the id moved back", e)
		}
		wantEqual(t, "notes", a.notes(2), []int{1, 2})
		got := a.post(strings.Replace(body, `"r"`, `"r2"`, 1))
		if e, err := wire.ParseErrorMessage([]byte(got.body)); err != nil || got.status != 409 || e.Code != wire.CodeConflict {
			t.Errorf("again: got %+v, want 409", got)
		}
	})
}
