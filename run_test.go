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

// say sends a user_message and returns the ack, which may come between other messages, and
// these.
func (c *device) ask(id, thread, content string) (ack wire.Ack, before []wire.Envelope) {
	c.t.Helper()
	c.send(`{"type":"user_message","message_id":%q,"thread_id":%q,"payload":{"content":%q}}`, id, thread, content)
	for {
		env := c.next()
		if env.Type != wire.AckType {
			before = append(before, env)
			continue
		}
		if err := env.Decode(&ack); err != nil {
			c.t.Fatal(err)
		}
		return ack, before
	}
}

// runOf is the run that an ack tells of.
func runOf(t testing.TB, ack wire.Ack) string {
	t.Helper()
	var result struct {
		Run string `json:"run_id"`
	}
	if err := wire.Unmarshal(ack.Result, &result); err != nil || result.Run == "" {
		t.Fatalf("got ack %+v, want a run: %v", ack, err)
	}
	return result.Run
}

// until returns all messages up to one of a type.
func (c *device) until(typ wire.MessageType) []wire.Envelope {
	c.t.Helper()
	var got []wire.Envelope
	for {
		env := c.next()
		if got = append(got, env); env.Type == typ {
			return got
		}
	}
}

// watched is what a device has seen of runs: texts by stream id, and the types of events.
type watched struct {
	texts  map[string]string
	events []string
	seen   map[string]bool
}

// take adds messages as a client does that follows the rules: what it has is dropped.
func (w *watched) take(t testing.TB, list ...wire.Envelope) {
	t.Helper()
	if w.texts == nil {
		w.texts, w.seen = map[string]string{}, map[string]bool{}
	}
	for _, env := range list {
		switch {
		case env.Type == wire.StreamChunk:
			chunk := payload[wire.StreamChunkPayload](t, env)
			have := []rune(w.texts[chunk.StreamID])
			if chunk.Start > len(have) {
				t.Fatalf("chunk begins at %d, want %d or less", chunk.Start, len(have))
			}
			if text := []rune(chunk.Text); chunk.Start+len(text) > len(have) {
				w.texts[chunk.StreamID] += string(text[len(have)-chunk.Start:])
			}
		case env.Offset != 0:
			if place := fmt.Sprint(env.Topic, env.Offset); !w.seen[place] {
				w.seen[place] = true
				w.events = append(w.events, string(env.Type))
				for id, n := range env.StreamLengths {
					if have := len([]rune(w.texts[id])); have < n {
						t.Errorf("%s came before its text: got %d code points, want %d", env.Type, have, n)
					}
				}
			}
		}
	}
}

const story = "Grüße! 🙂 Order 1042 left on Monday, due Thursday."

// support is the agent of journey 2.
func support(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
	if err := run.Thinking(ctx, "Looking up order 1042"); err != nil {
		return err
	}
	tool := run.Tool(ctx, "orders", map[string]any{"order": 1042, "api_key": "secret"})
	if err := tool.End(ctx, map[string]string{"state": "shipped"}, nil); err != nil {
		return err
	}
	out := run.Stream("answer")
	for _, word := range strings.SplitAfter(story, " ") {
		for i := range len(word) { // byte by byte: code points are split
			if _, err := io.WriteString(out, word[i:i+1]); err != nil {
				return err
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func TestAnAgentAnswersAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, support)
		a := s.as(t, "alice")
		ack, before := a.ask("a-2", "t-orders", "Where is order 1042?")
		id := runOf(t, ack)
		got := append(before, a.until(wire.AgentCompleted)...)
		if ack.Status != wire.StatusOK || ack.Position != got[0].Position() && got[0].Type == wire.UserMessage && ack.Position.Offset != got[0].Offset {
			t.Errorf("got ack %+v, first message %+v", ack, got[0])
		}
		var w watched
		w.take(t, got...)
		wantEqual(t, "events", w.events, []string{
			"user_message", "agent_started", "agent_thinking", "tool_executing", "tool_completed", "stream_open", "stream_complete", "agent_completed",
		})
		wantEqual(t, "text", w.texts[id+"/answer"], story)
		chunks := 0
		for _, env := range got {
			switch env.Type {
			case wire.UserMessage:
				continue
			case wire.StreamChunk:
				chunks++
				if env.Offset != 0 || env.ID != "" || env.UserID != "" || env.Topic != "user/alice" || env.Timestamp == 0 {
					t.Errorf("chunk: got %+v", env)
				}
			case wire.AgentStarted:
				if env.StreamLengths != nil || payload[wire.AgentStartedPayload](t, env).InReplyTo != "a-2" {
					t.Errorf("agent_started: got %+v %s", env, env.Payload)
				}
			case wire.ToolExecuting:
				wantEqual(t, "parameters", string(payload[wire.ToolExecutingPayload](t, env).Parameters), `{"api_key":"[REDACTED]","order":1042}`)
			case wire.StreamComplete:
				wantEqual(t, "stream_complete", payload[wire.StreamCompletePayload](t, env), wire.StreamCompletePayload{
					StreamID: id + "/answer", Length: 49, State: "complete", Text: story,
				})
			case wire.AgentCompleted:
				wantEqual(t, "lengths", env.StreamLengths, map[string]int{id + "/answer": 49})
				wantEqual(t, "result", string(payload[wire.AgentCompletedPayload](t, env).Result), "{}")
			}
			if env.RunID != id || env.ThreadID != "t-orders" || env.Type != wire.StreamChunk && (env.UserID != "alice" || env.AgentName != "support") {
				t.Errorf("%s: got run %q, thread %q, user %q, agent %q", env.Type, env.RunID, env.ThreadID, env.UserID, env.AgentName)
			}
		}
		if chunks >= len(story) || chunks == 0 {
			t.Errorf("got %d chunks of %d writes", chunks, len(story))
		}
		// The same message again starts nothing.
		ack, _ = a.ask("a-2", "t-orders", "Where is order 1042?")
		if ack.Status != wire.StatusDuplicate || runOf(t, ack) != id {
			t.Errorf("got ack %+v, want a duplicate of %s", ack, id)
		}
		a.silent()
		if got := s.Stats(); got.RunsStarted != 1 || got.RunsEnded[wire.RunCompleted] != 1 || got.RunsLive != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// slow writes the story word by word, each after its time.
func slow(pause time.Duration, ended chan<- error) switchboard.RunHandler {
	return func(_ context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
		out := run.Stream("answer")
		for _, word := range strings.SplitAfter(story, " ") {
			if _, err := io.WriteString(out, word); err != nil {
				if ended != nil {
					ended <- err
				}
				return err
			}
			time.Sleep(pause) // it does not look at its context
		}
		return nil
	}
}

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

func TestStopFromAnotherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		refused := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, slow(time.Second, refused))
		a, b, bob := s.as(t, "alice"), s.as(t, "alice"), s.as(t, "bob")
		ack, before := a.ask("a-1", "t1", "Write")
		id := runOf(t, ack)
		time.Sleep(1500 * time.Millisecond)
		bob.send(`{"type":"stop_agent","message_id":"c-1","payload":{"run_id":%q}}`, id)
		if ack := bob.ack("c-1"); ack.Status != wire.StatusNotFound || len(ack.Runs) != 0 {
			t.Errorf("another user: got %+v, want not_found", ack)
		}
		asked := time.Now()
		b.send(`{"type":"stop_agent","message_id":"b-2","payload":{"run_id":%q,"reason":"wrong order"}}`, id)
		stopped := b.ack("b-2")
		if d := time.Since(asked); d > 100*time.Millisecond {
			t.Errorf("got the ack after %v", d)
		}
		got := append(before, a.until(wire.AgentCancelled)...)
		last := got[len(got)-1]
		want := wire.Ack{MessageID: "b-2", Status: wire.StatusOK, Runs: []wire.StoppedRun{{
			RunID: id, Position: switchboard.Position{Epoch: a.welcome.Topics["user/alice"].Epoch, Offset: last.Offset},
			StreamLengths: map[string]int{id + "/answer": 9},
		}}}
		wantEqual(t, "ack", stopped, want)
		wantEqual(t, "agent_cancelled", payload[wire.AgentCancelledPayload](t, last), wire.AgentCancelledPayload{
			Status: "cancelled", Reason: "wrong order", ByUser: "alice",
		})
		complete := got[len(got)-2]
		wantEqual(t, "stream_complete", payload[wire.StreamCompletePayload](t, complete), wire.StreamCompletePayload{
			StreamID: id + "/answer", Length: 9, State: "cancelled", Text: "Grüße! 🙂 ",
		})
		if err := <-refused; !errors.Is(err, switchboard.ErrRunCancelled) {
			t.Errorf("the next write: got %v, want ErrRunCancelled", err)
		}
		a.silent() // nothing of the run follows
		a.send(`{"type":"stop_agent","message_id":"a-8","payload":{"run_id":%q}}`, id)
		want.MessageID, want.Status = "a-8", wire.StatusAlreadyEnded
		wantEqual(t, "second stop", a.ack("a-8"), want)
		run, err := s.Runs().Attach(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := run.Stream("answer").Snapshot(t.Context())
		if err != nil || stream.Text != "Grüße! 🙂 " || stream.State != wire.StreamStateCancelled {
			t.Errorf("text after the stop: got %+v, %v", stream, err)
		}
	})
}

func TestStopOfAThreadAndOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, slow(time.Second, nil))
		a := s.as(t, "alice")
		one, _ := a.ask("a-1", "t1", "Write")
		two, _ := a.ask("a-2", "t2", "Write")
		three, _ := a.ask("a-3", "t2", "Write")
		a.send(`{"type":"stop_agent","message_id":"s-1","payload":{"thread_id":"t1"}}`)
		ack := a.ack("s-1")
		if ack.Status != wire.StatusOK || len(ack.Runs) != 1 || ack.Runs[0].RunID != runOf(t, one) {
			t.Errorf("thread: got %+v", ack)
		}
		a.send(`{"type":"stop_agent","message_id":"s-2","payload":{"all":true}}`)
		ack = a.ack("s-2")
		got := map[string]bool{}
		for _, r := range ack.Runs {
			got[r.RunID] = true
		}
		wantEqual(t, "all", got, map[string]bool{runOf(t, two): true, runOf(t, three): true})
		a.send(`{"type":"stop_agent","message_id":"s-3","payload":{"all":true}}`)
		if ack := a.ack("s-3"); ack.Status != wire.StatusNotFound || ack.Runs == nil {
			t.Errorf("nothing to stop: got %+v, want not_found with an empty list", ack)
		}
		a.send(`{"type":"stop_agent","message_id":"s-4","payload":{}}`)
		for {
			b, err := a.raw(patience)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := wire.ParseErrorMessage(b); err == nil {
				wantEqual(t, "code", e.Code, wire.CodeInvalidMessage)
				break
			}
		}
	})
}

func TestAnAgentThatFailsSaysSo(t *testing.T) {
	for _, test := range []struct {
		name  string
		agent switchboard.RunHandler
		want  wire.AgentErrorPayload
	}{
		{"with words for the user", func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			return fmt.Errorf("order: %w", &switchboard.Error{Code: wire.CodeNotFound, Message: "there is no order 7"})
		}, wire.AgentErrorPayload{
			Status: "error", Error: "there is no order 7", Context: wire.ErrorContext{Type: "unknown", UserFacing: true},
			Message: "support encountered an issue processing your request",
		}},
		{"with an internal error", func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			return errors.New("dial tcp: secret host")
		}, wire.AgentErrorPayload{
			Status: "error", Error: "the agent has failed", Context: wire.ErrorContext{Type: "unknown"},
			Message: "support encountered an issue processing your request",
		}},
		{"with a panic", func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			panic("secret")
		}, wire.AgentErrorPayload{
			Status: "error", Error: "the agent has failed", Context: wire.ErrorContext{Type: "unknown"},
			Message: "support encountered an issue processing your request",
		}},
		{"with a tool that is still executing", func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
			run.Tool(ctx, "search", nil)
			return nil
		}, wire.AgentErrorPayload{
			Status: "error", Error: `agent_completed while the tool "search" is executing`, Context: wire.ErrorContext{Type: "unknown", UserFacing: true},
			Message: "support encountered an issue processing your request",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, test.agent)
				a := s.as(t, "alice")
				a.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
				wantEqual(t, "agent_error", payload[wire.AgentErrorPayload](t, a.await(wire.AgentError)), test.want)
			})
		})
	}
}

func TestAProducerThatIsGoneEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		begin := time.Now()
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{
			Agent: "writer", To: switchboard.User("alice"), ID: "order-4", Lease: 30 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if _, err := run.Stream("answer").AppendAt(t.Context(), 0, "partial"); err != nil {
			t.Fatal(err)
		}
		var env wire.Envelope
		for env.Type != wire.AgentDeath {
			b, err := a.raw(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if env, err = wire.ParseAnswer(b); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d < 50*time.Second || d > 51*time.Second {
			t.Errorf("agent_death after %v, want 50 to 51 s", d)
		}
		death := payload[wire.AgentDeathPayload](t, env)
		if death.Cause != wire.DeathNoHeartbeat || death.Status != "dead" {
			t.Errorf("got %+v", death)
		}
		if err := run.Thinking(t.Context(), "one more thing"); !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("after the end: got %v, want ErrRunEnded", err)
		}
		info, err := run.Info(t.Context())
		if err != nil || info.State != wire.RunDead || info.Ended.IsZero() || info.Owner == "" {
			t.Errorf("got %+v, %v", info, err)
		}
	})
}

func TestLimitsOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		start := func(id string, opts switchboard.RunOptions) {
			opts.Agent, opts.To, opts.ID = "writer", switchboard.User("alice"), id
			if _, err := s.Runs().Start(t.Context(), opts); err != nil {
				t.Fatal(err)
			}
		}
		state := func(id string) wire.RunState {
			run, err := s.Runs().Attach(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			info, err := run.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return info.State
		}
		start("long", switchboard.RunOptions{Max: 10 * time.Second})
		start("unwatched", switchboard.RunOptions{Unwatched: 5 * time.Second})
		a := s.as(t, "alice")
		start("watched", switchboard.RunOptions{Unwatched: 5 * time.Second})
		time.Sleep(8 * time.Second)
		wantEqual(t, "watched", state("watched"), wire.RunRunning)
		wantEqual(t, "long", state("long"), wire.RunRunning)
		_ = a.conn.Close()
		time.Sleep(6 * time.Second)
		wantEqual(t, "nobody watches any more", state("watched"), wire.RunCancelled)
		wantEqual(t, "too long", state("long"), wire.RunDead)
	})
}

func TestTheSameRunIsStartedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		opts := switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "order-4", Thread: "t", Lease: time.Minute}
		results := make(chan bool)
		for range 16 {
			go func() {
				run, err := s.Runs().Start(context.Background(), opts)
				if err != nil {
					t.Error(err)
					results <- false
					return
				}
				pos, now := run.Started()
				if pos.Offset != 1 {
					t.Errorf("got position %v, want the first", pos)
				}
				results <- now
			}()
		}
		n := 0
		for range 16 {
			if <-results {
				n++
			}
		}
		wantEqual(t, "runs that were new", n, 1)
		opts.Thread = "other"
		if _, err := s.Runs().Start(t.Context(), opts); !errors.Is(err, switchboard.ErrConflict) {
			t.Errorf("other fields: got %v, want ErrConflict", err)
		}
		opts.Thread, opts.To = "t", switchboard.User("bob")
		if _, err := s.Runs().Start(t.Context(), opts); !errors.Is(err, switchboard.ErrConflict) {
			t.Errorf("another user: got %v, want ErrConflict", err)
		}
		if _, err := s.Runs().Attach(switchboard.WithTenant(t.Context(), "acme"), "order-4"); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("another tenant: got %v, want ErrNotFound", err)
		}
		if _, err := s.Runs().Attach(t.Context(), "order-5"); !errors.Is(err, switchboard.ErrNotFound) {
			t.Errorf("unknown run: got %v, want ErrNotFound", err)
		}
	})
}

func TestARunIsThisProcessesWhileItsContextLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		ctx, cancel := context.WithCancel(t.Context())
		run, err := s.Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice")})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		a.await(wire.AgentCancelled)
		<-run.Context().Done()
		if err := context.Cause(run.Context()); !errors.Is(err, switchboard.ErrRunCancelled) {
			t.Errorf("got cause %v, want ErrRunCancelled", err)
		}
	})
}

func TestShutdownEndsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, _ *switchboard.Run, _ switchboard.Envelope) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
		a := s.as(t, "alice")
		a.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
		a.await(wire.AgentStarted)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("got cause %v, want ErrRunEnded", err)
		}
		if got := s.Stats().RunsEnded[wire.RunDead]; got != 1 {
			t.Errorf("got %d runs that died, want 1", got)
		}
	})
}

// twoNodes are two managers on one broker.
func twoNodes(t *testing.T, opts membroker.Options) (drive *membroker.Broker, one, two *server) {
	drive = membroker.New(opts)
	other := drive.Node()
	t.Cleanup(func() { _, _ = other.Close(), drive.Close() })
	return drive, newServer(t, switchboard.Options{Broker: drive, Node: "one"}), newServer(t, switchboard.Options{Broker: other, Node: "two"})
}

func TestStopOnAnotherNodeReachesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		ended := make(chan error, 1)
		one.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
			if _, err := io.WriteString(run.Stream("answer"), "begin"); err != nil {
				return err
			}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
		a, b := one.as(t, "alice"), two.as(t, "alice")
		ack, before := a.ask("m", "t1", "Write")
		id := runOf(t, ack)
		var w watched
		w.take(t, before...)
		for w.texts[id+"/answer"] == "" {
			w.take(t, a.next())
		}
		b.await(wire.StreamChunk)
		asked := time.Now()
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":%q}}`, id)
		if err := <-ended; !errors.Is(err, switchboard.ErrRunCancelled) || time.Since(asked) > 100*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(asked))
		}
		w.take(t, a.until(wire.AgentCancelled)...)
		wantEqual(t, "events", w.events, []string{"user_message", "agent_started", "stream_open", "stream_complete", "agent_cancelled"})
		a.silent()
	})
}

func TestARunMovesWithItsProducerFromNodeToNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a := one.as(t, "alice")
		opts := switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "order-4", Lease: 8 * time.Second}
		if _, err := one.Runs().Start(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
		length := 0
		for i := range 10 {
			time.Sleep(5 * time.Second)
			node := []*server{one, two}[i%2]
			run, err := node.Runs().Attach(t.Context(), "order-4")
			if err != nil {
				t.Fatal(err)
			}
			tool := fmt.Sprint("tool ", i)
			if err := run.Tool(t.Context(), tool, nil).End(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
			if length, err = run.Stream("answer").AppendAt(t.Context(), length, "word "); err != nil {
				t.Fatal(err)
			}
			if info, err := run.Info(t.Context()); err != nil || info.Owner != []string{"one", "two"}[i%2] {
				t.Errorf("got %+v, %v", info, err)
			}
		}
		run, err := one.Runs().Attach(t.Context(), "order-4")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var w watched
		w.take(t, a.until(wire.AgentCompleted)...)
		wantEqual(t, "text", w.texts["order-4/answer"], strings.Repeat("word ", 10))
		for range 10 { // the former owner's clock has nothing to say
			a.silent()
		}
		if live := one.Stats().RunsLive + two.Stats().RunsLive; live != 0 {
			t.Errorf("got %d live runs, want none", live)
		}
	})
}

func TestADeviceOnANodeThatDoesNotKnowTheRunGetsItsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		run, err := one.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R", Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		append := func(text string) {
			if _, err := run.Stream("answer").AppendAt(t.Context(), -1, text); err != nil {
				t.Error(err)
			}
		}
		append("Once upon ")
		b := two.as(t, "alice")
		append("a time")
		var w watched
		for w.texts["R/answer"] != "Once upon a time" {
			w.take(t, b.next())
		}
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
			_, _, err := drive.Read(t.Context(), topic, broker.NameKey("R/"+name), 0)
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
