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
	"github.com/netra-systems/switchboard/wire"
)

// ask sends a user_message and returns the ack, which may come between other messages, and
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
