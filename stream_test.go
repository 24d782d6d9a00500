package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

func TestASecondDeviceJoinsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, slow(time.Second, nil))
		a := s.as(t, "alice")
		ack, before := a.ask("a-2", "t-orders", "Where is order 1042?")
		id := runOf(t, ack)
		time.Sleep(2500 * time.Millisecond)
		b := s.as(t, "alice")
		b.send(`{"type":"thread_open","message_id":"b-1","payload":{"thread_id":"t-orders","limit":50}}`)
		early := b.until(wire.ThreadSnapshot)
		envelope := early[len(early)-1]
		snapshot := payload[wire.Thread](t, envelope)
		if envelope.Topic != "user/alice" || envelope.ThreadID != "t-orders" || envelope.ID != "b-1" {
			t.Errorf("got %+v", envelope)
		}
		all := append(before, a.until(wire.AgentCompleted)...)
		var first, second watched
		first.take(t, all...)
		// The snapshot has exactly what a got.
		var durable []wire.Envelope
		for _, env := range all {
			if env.Offset != 0 && env.Offset <= snapshot.Position.Offset {
				durable = append(durable, env)
			}
		}
		wantEqual(t, "messages of the snapshot", snapshot.Messages, durable)
		if len(snapshot.Runs) != 1 || len(snapshot.Runs[0].Streams) != 1 {
			t.Fatalf("got runs %+v, want one with a stream", snapshot.Runs)
		}
		run := snapshot.Runs[0]
		wantEqual(t, "run", run, wire.Run{
			ID: id, State: wire.RunRunning, AgentName: "support", StartedAt: run.StartedAt, Tools: []string{}, Approvals: []wire.Approval{},
			Streams: []wire.Stream{{ID: id + "/answer", State: "open", Text: "Grüße! 🙂 Order "}},
		})
		later := b.until(wire.AgentCompleted)
		for _, env := range later {
			if env.Offset != 0 && env.Offset <= snapshot.Position.Offset {
				t.Errorf("%s at %d came again behind the snapshot", env.Type, env.Offset)
			}
			if env.Type == wire.StreamChunk && payload[wire.StreamChunkPayload](t, env).Start < len([]rune(run.Streams[0].Text)) {
				t.Errorf("text of the snapshot came again: %s", env.Payload)
			}
		}
		second.take(t, snapshot.Messages...)
		second.texts = map[string]string{id + "/answer": run.Streams[0].Text}
		second.take(t, later...)
		wantEqual(t, "texts", second.texts, first.texts)
		wantEqual(t, "events", second.events, first.events)
	})
}

func TestTheTextGoesOnWhereTheSocketWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const appends = 10_000
		s := newServer(t, switchboard.Options{})
		release := make(chan struct{})
		var text strings.Builder
		for i := range appends {
			fmt.Fprintf(&text, "%d🙂 ", i)
		}
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
			out := run.Stream("answer")
			for i := range appends {
				if _, err := fmt.Fprintf(out, "%d🙂 ", i); err != nil {
					return err
				}
				if i == 1000 {
					time.Sleep(time.Second)
				}
				if i == 5000 {
					if err := run.Progress(ctx, 50, ""); err != nil {
						return err
					}
				}
			}
			<-release
			_, err := io.WriteString(out, "end")
			return err
		})
		a := s.as(t, "alice")
		ack, before := a.ask("a-3", "t1", "Write")
		id := runOf(t, ack)
		var w watched
		w.take(t, before...)
		for w.texts[id+"/answer"] == "" {
			w.take(t, a.next())
		}
		_ = a.conn.Close()
		time.Sleep(2 * time.Second) // the rest is written meanwhile
		b := s.resume(t, a)
		last := 0
		for place := range w.seen {
			var n int
			if _, err := fmt.Sscanf(strings.TrimPrefix(place, "user/alice"), "%d", &n); err == nil {
				last = max(last, n)
			}
		}
		epoch := a.welcome.Topics["user/alice"].Epoch
		b.send(`{"type":"session_restore","message_id":"r","payload":{"positions":{"user/alice":"%s:%d"},"streams":{%q:%d},"replace":%q}}`,
			epoch, last, id+"/answer", len([]rune(w.texts[id+"/answer"])), a.welcome.ConnectionID)
		restored := payload[wire.Restored](t, b.expect(wire.SessionRestored))
		if len(restored.Runs) != 1 || restored.Runs[0].StreamLengths[id+"/answer"] != len([]rune(text.String())) || restored.Runs[0].State != wire.RunRunning {
			t.Errorf("got runs %+v", restored.Runs)
		}
		chunks := 0
		for w.texts[id+"/answer"] != text.String() {
			env := b.next()
			if env.Type == wire.StreamChunk {
				chunks++
			}
			w.take(t, env)
		}
		if chunks > 3 {
			t.Errorf("the backlog came in %d chunks, want 3 at most", chunks)
		}
		close(release)
		w.take(t, b.until(wire.AgentCompleted)...)
		wantEqual(t, "text", w.texts[id+"/answer"], text.String()+"end")
	})
}

func TestATextIsFoldedIntoTheLogAfterItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := membroker.New(membroker.Options{})
		t.Cleanup(func() { _ = drive.Close() })
		s := newServer(t, switchboard.Options{Broker: drive, Retention: broker.Retention{Messages: 1000, Age: time.Hour}})
		long := strings.Repeat("long text ", 10_000)
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"short": story, "long": long} {
			if _, err := io.WriteString(run.Stream(name), text); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		topic := broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})
		kept := func(name string) bool {
			_, _, err := drive.Read(t.Context(), topic, broker.NameKey("R/"+name), 0, 0)
			return err == nil
		}
		if !kept("short") || !kept("long") {
			t.Error("a text is gone at once")
		}
		time.Sleep(3 * time.Minute)
		if kept("short") || !kept("long") {
			t.Errorf("after 3 minutes: got short %v, long %v, want only the long one", kept("short"), kept("long"))
		}
		attached, err := s.Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"short": story, "long": long} {
			stream, err := attached.Stream(name).Snapshot(t.Context())
			if err != nil || stream.Text != text || stream.State != wire.StreamStateComplete {
				t.Errorf("%s: got %d bytes, %s, %v", name, len(stream.Text), stream.State, err)
			}
		}
		info, err := attached.Info(t.Context())
		if err != nil || info.State != wire.RunCompleted || info.End.Offset == 0 {
			t.Errorf("got %+v, %v", info, err)
		}
		time.Sleep(2 * time.Hour)
		if kept("long") {
			t.Error("a long text is kept beyond the history")
		}
		if _, err := s.Runs().Attach(t.Context(), "R"); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("after the history: got %v, want ErrNotFound", err)
		}
	})
}

func TestAppendsThatDoNotFitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		out := run.Stream("answer")
		for _, step := range []struct {
			start  int
			text   string
			length int
			code   wire.Code
		}{
			{400, "late", 0, wire.CodeStreamOffset},
			{-2, "x", 0, wire.CodeInvalidMessage},
			{0, "a\xffb", 0, wire.CodeInvalidMessage},
			{0, "Hello", 5, ""},
			{3, "lo wörld", 11, ""},
			{3, "lo wörld", 11, ""},
			{12, "late", 11, wire.CodeStreamOffset},
			{3, "XX", 11, wire.CodeConflict},
			{-1, "!", 12, ""},
		} {
			length, err := out.AppendAt(t.Context(), step.start, step.text)
			if code := switchboard.CodeOf(err); code != step.code || err == nil && length != step.length {
				t.Errorf("AppendAt(%d, %q): got %d, %v, want %d, %s", step.start, step.text, length, err, step.length, step.code)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := out.AppendAt(t.Context(), 6, "wörld!"); err != nil || n != 12 {
			t.Errorf("what a complete stream has: got %d, %v", n, err)
		}
		if _, err := out.AppendAt(t.Context(), 12, "more"); !errors.Is(err, switchboard.ErrRunContract) {
			t.Errorf("more than a complete stream has: got %v, want ErrRunContract", err)
		}
		if _, err := out.AppendAt(t.Context(), 0, "Hallo"); !errors.Is(err, switchboard.ErrConflict) {
			t.Errorf("other text than a complete stream has: got %v, want ErrConflict", err)
		}
		for name, want := range map[string]wire.Code{"": wire.CodeInvalidMessage, "a/b": wire.CodeInvalidMessage} {
			if _, err := run.Stream(name).AppendAt(t.Context(), 0, "x"); switchboard.CodeOf(err) != want {
				t.Errorf("stream %q: got %v, want %s", name, err, want)
			}
		}
		if err := run.Stream("never").Close(); err != nil {
			t.Errorf("close of a stream without a write: got %v", err)
		}
		for _, typ := range []wire.MessageType{wire.AgentStarted, wire.AgentCompleted, wire.StreamOpen, wire.AgentStalled, wire.Ping} {
			if _, err := run.Emit(t.Context(), switchboard.Message{Type: typ}); !errors.Is(err, switchboard.ErrRunContract) {
				t.Errorf("Emit of %s: got %v, want ErrRunContract", typ, err)
			}
		}
		page, err := s.History(t.Context(), switchboard.User("alice"), switchboard.Query{})
		if err != nil || len(page.Messages) != 3 { // agent_started, stream_open, stream_complete
			t.Errorf("got %d messages, %v: a refused call left a trace", len(page.Messages), err)
		}
	})
}
