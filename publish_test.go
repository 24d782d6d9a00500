package switchboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestPublishRefusesWhatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		note := switchboard.Message{Type: "note"}
		tests := []struct {
			name string
			to   switchboard.Target
			msg  switchboard.Message
			want error
			code wire.Code
		}{
			{"run event", switchboard.User("alice"), switchboard.Message{Type: wire.AgentStarted}, switchboard.ErrRunContract, wire.CodeRunContract},
			{"run event to a connection", switchboard.Connection(a.welcome.ConnectionID), switchboard.Message{Type: wire.StreamChunk}, switchboard.ErrRunContract, wire.CodeRunContract},
			{"no type", switchboard.User("alice"), switchboard.Message{}, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"no target", switchboard.Target{}, note, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"empty user", switchboard.User(""), note, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"long room", switchboard.Room(strings.Repeat("x", 129)), note, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"payload is a list", switchboard.All(), switchboard.Message{Type: "note", Payload: []int{1}}, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"payload is no JSON", switchboard.All(), switchboard.Message{Type: "note", Payload: json.RawMessage(`{"a":1,"a":2}`)}, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"payload cannot be encoded", switchboard.All(), switchboard.Message{Type: "note", Payload: make(chan int)}, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"bad id", switchboard.All(), switchboard.Message{Type: "note", ID: "a\nb"}, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"latest without a key", switchboard.All(), switchboard.Message{Type: "note", Class: wire.Latest}, nil, wire.CodeInvalidMessage},
			{"a key that is no id", switchboard.All(), switchboard.Message{Type: "note", Class: wire.Latest, Key: "a\n"}, nil, wire.CodeInvalidMessage},
			{"latest for too short", switchboard.All(), switchboard.Message{Type: "note", Class: wire.Latest, Key: "k", TTL: time.Millisecond}, nil, wire.CodeInvalidMessage},
			{"latest for too long", switchboard.All(), switchboard.Message{Type: "note", Class: wire.Latest, Key: "k", TTL: 8 * 24 * time.Hour}, nil, wire.CodeInvalidMessage},
			{"a volatile key", switchboard.User("alice"), switchboard.Message{Type: "note", Class: wire.Volatile, Key: "k"}, nil, wire.CodeInvalidMessage},
			{"a durable key", switchboard.User("alice"), switchboard.Message{Type: "note", Key: "k"}, nil, wire.CodeInvalidMessage},
			{"a durable TTL", switchboard.User("alice"), switchboard.Message{Type: "note", TTL: time.Minute}, nil, wire.CodeInvalidMessage},
			{"a key for a connection", switchboard.Connection(a.welcome.ConnectionID), switchboard.Message{Type: "note", Key: "k"}, nil, wire.CodeInvalidMessage},
			{"no such class", switchboard.User("alice"), switchboard.Message{Type: "note", Class: 3}, nil, wire.CodeInvalidMessage},
			{"too large to pass", switchboard.All(), switchboard.Message{Type: "note", Class: wire.Volatile, Payload: map[string]string{"x": strings.Repeat("x", 64<<10)}}, nil, wire.CodeTooLarge},
			{"latest to a connection", switchboard.Connection(a.welcome.ConnectionID), switchboard.Message{Type: "note", Class: wire.Latest}, nil, wire.CodeUnsupported},
			{"no such connection", switchboard.Connection("conn_x"), note, switchboard.ErrNotFound, wire.CodeNotFound},
			{"no session", switchboard.All().Except("alice"), note, switchboard.ErrInvalid, wire.CodeInvalidMessage},
			{"too large", switchboard.All(), switchboard.Message{Type: "note", Payload: map[string]string{"x": strings.Repeat("x", 1<<20)}}, nil, wire.CodeTooLarge},
			{"too large for a connection", switchboard.Connection(a.welcome.ConnectionID), switchboard.Message{Type: "note", Payload: map[string]string{"x": strings.Repeat("x", 1<<20)}}, nil, wire.CodeTooLarge},
		}
		for _, test := range tests {
			d, err := s.Publish(t.Context(), test.to, test.msg)
			if got := switchboard.CodeOf(err); got != test.code || test.want != nil && !errors.Is(err, test.want) || d != (switchboard.Delivery{}) {
				t.Errorf("%s: got %+v, %v (%s), want %v (%s)", test.name, d, err, got, test.want, test.code)
			}
		}
		a.silent()
	})
}

func TestAConnectionCanBeSentToAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, other := s.as(t, "alice"), s.as(t, "alice")
		to := switchboard.Connection(a.welcome.ConnectionID)
		for _, class := range []wire.Class{wire.Volatile, wire.Durable} {
			d, err := s.Publish(t.Context(), to, switchboard.Message{Type: "hint", ID: "h", Class: class, Thread: "t", Run: "r"})
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "delivery", d, switchboard.Delivery{ID: "h", Receivers: 1})
			got := a.expect("hint")
			wantEqual(t, "message", got, wire.Envelope{Type: "hint", ID: "h", Timestamp: got.Timestamp, ThreadID: "t", RunID: "r"})
		}
		if _, err := s.Publish(switchboard.WithTenant(t.Context(), "acme"), to, switchboard.Message{Type: "hint"}); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("from another tenant: got %v, want %v", err, switchboard.ErrNotFound)
		}
		other.silent()
		_ = a.conn.Close()
		synctest.Wait()
		if _, err := s.Publish(t.Context(), to, switchboard.Message{Type: "hint"}); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("to one that is gone: got %v, want %v", err, switchboard.ErrNotFound)
		}
	})
}

func TestAConnectionThatDoesNotReadIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", buffer: 1024})
		to := switchboard.Connection(a.welcome.ConnectionID)
		sent := 0
		for {
			_, err := s.Publish(t.Context(), to, switchboard.Message{Type: "hint", Payload: map[string]string{"x": strings.Repeat("x", 1000)}})
			if errors.Is(err, switchboard.ErrBusy) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if sent++; sent > 100 {
				t.Fatal("100 kB wait for one that does not read")
			}
		}
		for range sent { // what was taken comes
			a.expect("hint")
		}
	})
}

func TestExceptLeavesOutASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("tell", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			_, err := s.Publish(ctx, switchboard.User("alice").Except(c.Session()), switchboard.Message{Type: "told"})
			return err
		})
		a, b := s.as(t, "alice"), s.as(t, "alice")
		a.send(`{"type":"tell","message_id":"t"}`)
		a.ack("t")
		b.expect("told")
		a.silent()
		again := s.resume(t, a) // neither later
		_, got := again.restored(a.welcome.Topics, "")
		if !got.Topics["user/alice"].Recovered {
			t.Errorf("got %+v", got)
		}
		again.silent()
		infos := 0
		for _, err := range s.Connections().List(t.Context(), switchboard.User("alice").Except(a.welcome.Session.ID)) {
			if err != nil {
				t.Fatal(err)
			}
			infos++
		}
		if infos != 1 {
			t.Errorf("got %d connections, want b's alone", infos)
		}
	})
}

// TestAHandlerThatRunsAgainPublishesNothingTwice: ids derive from the message handled.
func TestAHandlerThatRunsAgainPublishesNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		var ids []string
		attempt := 0
		s.Handle("work", func(ctx context.Context, _ *switchboard.Conn, _ switchboard.Envelope) error {
			attempt++
			for i := range 3 {
				d, err := s.Publish(ctx, switchboard.Room("out"), switchboard.Message{Type: "note", Payload: map[string]int{"n": i}})
				if err != nil {
					return err
				}
				if d.Duplicate != (attempt > 1) {
					t.Errorf("attempt %d: message %d is a duplicate: %v", attempt, i, d.Duplicate)
				}
				ids = append(ids, d.ID)
			}
			return switchboard.ErrUnavailable
		})
		a := s.as(t, "alice")
		watch := s.as(t, "bob room:out:join")
		watch.join("out")
		for range 2 {
			a.send(`{"type":"work","message_id":"w"}`)
			a.refused(wire.CodeUnavailable, "w")
		}
		wantEqual(t, "notes", watch.notes(3), []int{0, 1, 2})
		watch.silent()
		for i := range 3 {
			if ids[i] != ids[i+3] || wire.CheckID(ids[i]) != nil || len(ids[i]) != 36 {
				t.Errorf("got ids %q and %q, want the same UUID", ids[i], ids[i+3])
			}
		}
		attempt = 0
		a.send(`{"type":"work","message_id":"other"}`)
		a.refused(wire.CodeUnavailable, "other")
		wantEqual(t, "notes of another message", watch.notes(3), []int{0, 1, 2})
	})
}

// TestNoIDImitatesAnotherPublishers: a user chooses message ids, and whatever the choice, it
// is no duplicate of what others published.
func TestNoIDImitatesAnotherPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, b := s.as(t, "alice room:team:*"), s.as(t, "alicex room:team:*")
		if _, err := s.Publish(t.Context(), switchboard.Room("team"), switchboard.Message{Type: "note", ID: "xm"}); err != nil {
			t.Fatal(err)
		}
		for _, try := range []struct {
			c  *device
			id string
		}{{a, "xm"}, {b, "m"}, {a, "m"}, {b, "xm"}} {
			try.c.send(`{"type":"room_message","message_id":%q,"payload":{"room":"team"}}`, try.id)
			if got := try.c.ack(try.id).Status; got != wire.StatusOK {
				t.Errorf("%s: got status %q, want ok", try.id, got)
			}
		}
	})
}

func TestHistoryPagesBothWaysAndMissNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		const n = 700
		for i := range n {
			thread := []string{"", "t1", "t2"}[i%3]
			_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
				Type: "note", ID: fmt.Sprint("n", i), Thread: thread, Payload: map[string]int{"n": i},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			name   string
			thread string
			limit  int
			want   func(int) bool
		}{
			{"all", "", 100, func(int) bool { return true }},
			{"one thread", "t1", 30, func(i int) bool { return i%3 == 1 }},
			{"in one piece", "", 1000, func(int) bool { return true }},
		} {
			var want, forward, backward []int
			for i := range n {
				if test.want(i) {
					want = append(want, i)
				}
			}
			at := wire.Position{}
			page, err := s.History(t.Context(), switchboard.User("alice"), switchboard.Query{Limit: test.limit, Thread: test.thread})
			for err == nil {
				var part []int
				for _, env := range page.Messages {
					part = append(part, payload[struct{ N int }](t, env).N)
				}
				backward = append(part, backward...)
				if !page.HasMore {
					break
				}
				at = wire.Position{Epoch: page.Head.Epoch, Offset: page.Messages[0].Offset}
				page, err = s.History(t.Context(), switchboard.User("alice"), switchboard.Query{Limit: test.limit, Thread: test.thread, Before: at})
			}
			at = wire.Position{Epoch: page.Head.Epoch, Offset: 0}
			for err == nil {
				page, err = s.History(t.Context(), switchboard.User("alice"), switchboard.Query{Limit: test.limit, Thread: test.thread, Since: at})
				for _, env := range page.Messages {
					forward = append(forward, payload[struct{ N int }](t, env).N)
					at.Offset = env.Offset
				}
				if !page.HasMore {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, test.name+" backward", backward, want)
			wantEqual(t, test.name+" forward", forward, want)
		}
	})
}

func TestHistorySaysWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		first := s.note(t, switchboard.Room("team"), 1).Position
		if err := d.Drop(t.Context(), roomKey("team")); err != nil {
			t.Fatal(err)
		}
		last := s.note(t, switchboard.Room("team"), 2).Position
		page, err := s.History(t.Context(), switchboard.Room("team"), switchboard.Query{Since: first})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "gap", page.Gap, &wire.Gap{
			Topic: "room/team", From: first, To: at(last, 0), Reason: "epoch_changed", Epoch: first.Epoch, NewEpoch: last.Epoch,
		})
		if len(page.Messages) != 1 || page.Head != last {
			t.Errorf("got %+v, want what is kept", page)
		}
		page, err = s.History(t.Context(), switchboard.Room("team"), switchboard.Query{Since: at(last, 99)})
		if err != nil || len(page.Messages) != 0 || page.Gap != nil {
			t.Errorf("since a place that was never reached: got %+v, %v, want nothing", page, err)
		}
		page, err = s.History(t.Context(), switchboard.Room("team"), switchboard.Query{Before: first})
		if err != nil || len(page.Messages) != 0 || page.HasMore {
			t.Errorf("before a place of a log that is gone: got %+v, %v, want nothing", page, err)
		}
	})
}

func TestAPageForAClientIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for i := range 40 {
			_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
				Type: "note", ID: fmt.Sprint(i), Payload: map[string]string{"x": strings.Repeat("x", 50<<10)},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		a := s.connect(t, request{token: "alice", buffer: 4 << 20})
		a.send(`{"type":"history","message_id":"h","payload":{"topic":"user/alice","limit":40}}`)
		env := a.expect(wire.HistoryResult)
		got := payload[wire.HistoryResultPayload](t, env)
		if len(env.Payload) > 1100<<10 || len(got.Messages) < 15 || !got.HasMore || got.Head.Offset != 40 {
			t.Errorf("got %d messages in %d bytes, more: %v", len(got.Messages), len(env.Payload), got.HasMore)
		}
	})
}

// TestTimesOfATopicNeverFall holds the timestamps of concurrent publishers against the order
// of the log, and those of history against what was delivered.
func TestTimesOfATopicNeverFall(t *testing.T) {
	s := newServer(t, switchboard.Options{})
	a := s.as(t, "alice")
	const publishers, each = 8, 25
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for range each {
				if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	page, err := s.History(t.Context(), switchboard.User("alice"), switchboard.Query{Limit: publishers * each})
	if err != nil || len(page.Messages) != publishers*each {
		t.Fatalf("history: got %d messages, error %v", len(page.Messages), err)
	}
	last := 0.0
	for i, stored := range page.Messages {
		live := a.expect("note")
		if live.Timestamp != stored.Timestamp || live.Offset != stored.Offset {
			t.Fatalf("message %d: delivered as of %v, history says %v", i, live.Timestamp, stored.Timestamp)
		}
		if live.Timestamp < last || last == 0 && time.Since(time.UnixMilli(int64(live.Timestamp*1000))).Abs() > time.Minute {
			t.Fatalf("message %d is of %v, the one before of %v", i, live.Timestamp, last)
		}
		last = live.Timestamp
	}
}
