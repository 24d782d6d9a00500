package switchboard_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAThreadIsReadOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for _, to := range []switchboard.Target{switchboard.User("alice"), switchboard.Room("team")} {
			for n := range 3 {
				if _, err := s.Publish(t.Context(), to, switchboard.Message{Type: "note", ID: fmt.Sprint(n), Thread: "t1"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), Thread: "t1", ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(run.Stream("answer"), "Dear Bob"); err != nil {
			t.Fatal(err)
		}
		c := s.web(t)
		read := func(token, path string) (wire.Thread, reply) {
			got := c.do(call{path: path, token: token})
			var thread wire.Thread
			if got.status == http.StatusOK {
				if err := wire.Unmarshal([]byte(got.body), &thread); err != nil {
					t.Fatal(err)
				}
			}
			return thread, got
		}
		whole, got := read("alice", "/threads/t1")
		if len(whole.Messages) != 5 || len(whole.Runs) != 1 || whole.Runs[0].Streams[0].Text != "Dear Bob" || whole.Position.Offset != 5 {
			t.Errorf("got %s", got.body)
		}
		older, got := read("alice", "/threads/t1?limit=2&before="+switchboard.Position{Epoch: whole.Position.Epoch, Offset: 3}.String())
		if len(older.Messages) != 2 || older.Messages[1].Offset != 2 || len(older.Runs) != 0 || older.HasMore {
			t.Errorf("older: got %s", got.body)
		}
		if other, got := read("alice", "/threads/other"); len(other.Messages) != 0 || len(other.Runs) != 0 {
			t.Errorf("another thread: got %s", got.body)
		}
		if theirs, got := read("bob", "/threads/t1"); len(theirs.Messages) != 0 {
			t.Errorf("another user: got %s", got.body)
		}
		if room, got := read("bob room:team:*", "/threads/t1?room=team"); len(room.Messages) != 3 {
			t.Errorf("a room: got %d %s", got.status, got.body)
		}
		for _, test := range []struct {
			token, path string
			status      int
			code        wire.Code
			field       string
		}{
			{"", "/threads/t1", 401, wire.CodeAuthError, ""},
			{"bob", "/threads/t1?room=team", 403, wire.CodeForbidden, "room"},
			{"bob room:team:join", "/threads/t1?room=team", 403, wire.CodeForbidden, "room"},
			{"alice", "/threads/t1?limit=0", 422, wire.CodeInvalidMessage, "limit"},
			{"alice", "/threads/t1?limit=1001", 422, wire.CodeInvalidMessage, "limit"},
			{"alice", "/threads/t1?before=x", 422, wire.CodeInvalidMessage, "before"},
			{"alice", "/threads/" + strings.Repeat("x", 129), 422, wire.CodeInvalidMessage, "id"},
		} {
			_, got := read(test.token, test.path)
			p := got.problem(t)
			if got.status != test.status || wire.Code(p.Code) != test.code || test.field != "" && p.Details["field"] != test.field {
				t.Errorf("%q %s: got %d %+v, want %d %s %q", test.token, test.path, got.status, p, test.status, test.code, test.field)
			}
		}
	})
}

// TestTextOverAnEventStreamGoesOnWhereItWasCut: text and events, by Last-Event-ID, cut after
// every event.
func TestTextOverAnEventStreamGoesOnWhereItWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, slow(50*time.Millisecond, nil))
		web := s.web(t)
		in := web.stream("alice")
		got := web.do(call{
			method: http.MethodPost, path: "/messages", token: "alice", body: `{"type":"user_message","message_id":"m","payload":{"content":"?"}}`,
			header: map[string]string{"Switchboard-Connection": in.welcome.ConnectionID, "Content-Type": "application/json"},
		})
		if got.status != http.StatusOK || !strings.Contains(got.body, `"run_id"`) {
			t.Fatalf("got %d %s, want an ack with a run", got.status, got.body)
		}
		var w watched
		text, cuts := "", 0
		for len(w.events) == 0 || w.events[len(w.events)-1] != "agent_completed" {
			env, err := wire.ParseAnswer([]byte(in.event().data))
			if err != nil {
				t.Fatal(err)
			}
			before := len(w.events)
			w.take(t, env)
			switch env.Type {
			case wire.SessionRestored, wire.SystemMessage:
				continue
			case wire.StreamChunk:
				chunk := payload[wire.StreamChunkPayload](t, env)
				if chunk.Start != len([]rune(text)) {
					t.Errorf("got text from %d on, want from %d", chunk.Start, len([]rune(text)))
				}
				text += chunk.Text
			default:
				if len(w.events) != before+1 {
					t.Errorf("%s at %d came twice", env.Type, env.Offset)
				}
			}
			in.cut()
			cuts++
			in = in.again()
		}
		wantEqual(t, "text", text, story)
		if cuts < 8 {
			t.Errorf("got %d cuts, want more", cuts)
		}
	})
}
