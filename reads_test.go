package switchboard_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// unread makes a call of a client that reads nothing of the answer, with room for 4 KiB.
func (s *server) unread(t *testing.T, head, body string) *ws.PipeConn {
	t.Helper()
	conn, err := s.ln.dial(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "%s\r\nHost: switchboard.test\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

func TestAnswersThatNobodyReadsAreBoundedForEachUserAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{ReadsPerUser: 3}})
		s.publishSizes(t, switchboard.User("alice"), "t1", 320_000, 320_000)
		web := s.web(t)
		for range 3 {
			s.unread(t, "GET /threads/t1 HTTP/1.1\r\nAuthorization: Bearer alice", "")
		}
		for range 2 {
			got := web.do(call{path: "/threads/t1", token: "alice"})
			p := got.problem(t)
			if got.status != 429 || p.Code != string(wire.CodeRateLimited) || p.Details["limit"] != 3.0 || got.header.Get("Retry-After") != "1" {
				t.Errorf("got %d %+v after %q s, want 429 with a limit of 3 after 1", got.status, p, got.header.Get("Retry-After"))
			}
		}
		if got := web.do(call{path: "/threads/t1", token: "bob"}); got.status != 200 {
			t.Errorf("another user: got %d, want 200", got.status)
		}
		wantEqual(t, "refusals", s.Stats().CallRefusals, map[string]uint64{"reads": 2})
		time.Sleep(16 * time.Second) // 640 KB at 64 KiB/s are 9.8 s, and 10 s more; each refusal has waited 1 s
		if got := web.do(call{path: "/threads/t1", token: "alice"}); got.status != 429 {
			t.Errorf("a second before: got %d, want 429", got.status)
		}
		time.Sleep(time.Second)
		if got := web.do(call{path: "/threads/t1", token: "alice"}); got.status != 200 || len(got.body) < 640_000 {
			t.Errorf("when the others were given up: got %d with %d bytes, want 200 with all", got.status, len(got.body))
		}
	})
}

func TestLargeAnswersToPostsCountAsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{ReadsPerUser: 1}})
		web := s.web(t)
		in := web.stream("alice")
		s.publishSizes(t, switchboard.User("alice"), "t1", 50_000)
		post := func(text string) reply {
			return web.do(call{method: http.MethodPost, path: "/messages", token: "alice", body: text, header: map[string]string{
				"Switchboard-Connection": in.welcome.ConnectionID, "Content-Type": "application/json",
			}})
		}
		const history = `{"type":"history","payload":{"topic":"user/alice"}}`
		s.unread(t, "POST /messages HTTP/1.1\r\nAuthorization: Bearer alice\r\nContent-Type: application/json\r\nSwitchboard-Connection: "+
			in.welcome.ConnectionID, history)
		if got := post(history); got.status != 429 {
			t.Errorf("a large answer beside one that is not read: got %d %.100s, want 429", got.status, got.body)
		}
		if got := post(`{"type":"history","payload":{"topic":"user/alice","thread_id":"other"}}`); got.status == 429 {
			t.Errorf("a small answer: got %d, want it answered", got.status)
		}
		time.Sleep(time.Minute)
		if got := post(history); got.status != 200 {
			t.Errorf("when the other was given up: got %d %.100s, want 200", got.status, got.body)
		}
	})
}

// TestThreadsThatAreReadByCallsArePaidForByWhatWasRead: as on a connection, the third time at once
// that a long room is looked through.
func TestThreadsThatAreReadByCallsArePaidForByWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessagesPerMinute: 12}})
		for n := range 1000 {
			s.note(t, switchboard.Room("big"), n)
		}
		web := s.web(t)
		read := func(token, thread string) reply {
			return web.do(call{path: "/threads/" + thread + "?room=big", token: token})
		}
		for i, want := range []int{200, 200, 429} {
			got := read("alice room:big:*", "nosuch")
			if got.status != want {
				t.Errorf("reading %d: got %d %s, want %d", i+1, got.status, got.body, want)
			}
		}
		if got := s.Stats().CallRefusals["read_rate"]; got != 1 {
			t.Errorf("got %d refused, want 1", got)
		}
		if got := read("bob room:big:*", "nosuch"); got.status != 200 {
			t.Errorf("another user: got %d, want 200", got.status)
		}
		time.Sleep(5 * time.Second)
		if got := read("alice room:big:*", "nosuch"); got.status != 200 {
			t.Errorf("after 5 s, which is one message: got %d, want 200", got.status)
		}
		for range 50 { // short ones cost no more than the call
			if got := web.do(call{path: "/threads/t1", token: "carol"}); got.status != 200 {
				t.Fatalf("a short thread: got %d, want 200", got.status)
			}
		}
	})
}
