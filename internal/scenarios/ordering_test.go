package scenarios_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// TestOrder: any number of senders at once, each with its messages in its order. Every device
// gets all of them, those of one sender in their order, and all devices the same sequence.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		senders, messages int
	}{
		{"one sender of 50", 1, 50}, {"five senders of 20", 5, 20}, {"25 senders of 40", 25, 40}, {"20 threads of 25", 20, 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, switchboard.Options{})
			raw := connect(t, n, "alice")
			phone, laptop := n.client(t, "alice", client.Options{Device: "phone"}), n.client(t, "alice", client.Options{Device: "laptop"})
			alice := switchboard.User("alice")
			each(t, tt.senders, func(i int) error {
				for k := range tt.messages {
					if err := n.note(t.Context(), alice, strconv.Itoa(i), k); err != nil {
						return err
					}
				}
				return nil
			})
			must(t, n.end(t.Context(), alice))
			first, err := notes(raw.messages())
			must(t, err)
			must(t, interleaved(first, tt.senders, tt.messages))
			for _, c := range []*client.Client{phone, laptop} {
				got, err := notes(c.Messages(waiting(t)))
				must(t, err)
				must(t, exactly(got, first))
			}
		})
	}
}

// TestOrderOfWhatClientsSend: messages that users send at once are handled in the order in
// which each of them sent them, and seen so by the others.
func TestOrderOfWhatClientsSend(t *testing.T) {
	t.Parallel()
	const users, messages = 5, 20
	n := newNode(t, switchboard.Options{})
	n.Handle("say", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
		_, err := n.Publish(ctx, switchboard.Room(room), switchboard.Message{Type: noteType, Payload: msg.Payload})
		return err
	})
	watcher := n.client(t, "watcher room:team:*", client.Options{Rooms: []string{room}})
	seen := watcher.Messages(waiting(t))
	each(t, users, func(i int) error {
		c, err := client.Dial(waiting(t), client.Options{URL: n.url(), Token: as(fmt.Sprintf("user-%d", i))})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		for k := range messages {
			if _, err := c.Send(waiting(t), client.Message{Type: "say", Payload: note{strconv.Itoa(i), k}}); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, n.end(t.Context(), switchboard.Room(room)))
	got, err := notes(seen)
	must(t, err)
	must(t, interleaved(got, users, messages))
}

// TestOrderAfterReconnect: a device whose connection is cut, with much of what is published
// while it is away, has everything in order when it is back.
func TestOrderAfterReconnect(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]fate{"reset": reset, "torn": torn, "hole": hole} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, switchboard.Options{})
			l := newLine(t, n, profile{name: name}, 1)
			c := n.client(t, "alice", client.Options{URL: l.url()})
			const messages = 150
			for k := range messages {
				if k == 50 || k == 100 {
					l.breaks(how)
				}
				must(t, n.note(t.Context(), switchboard.User("alice"), "server", k))
			}
			must(t, n.end(t.Context(), switchboard.User("alice")))
			got, err := notes(c.Messages(waiting(t)))
			must(t, err)
			must(t, exactly(got, numbered("server", messages)))
			if n.Stats().Accepted < 2 {
				t.Error("the connection was never cut, so nothing was tried")
			}
		})
	}
}

// TestEightStreams: eight texts grow at once by 150 pieces each. Every watcher has all of each,
// in order, however it was cut into chunks.
func TestEightStreams(t *testing.T) {
	t.Parallel()
	const streams, pieces, watchers = 8, 150, 3
	n := newNode(t, switchboard.Options{})
	clients := make([]*client.Client, watchers)
	for i := range clients {
		clients[i] = n.client(t, "alice", client.Options{})
	}
	run, err := n.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "r1"})
	must(t, err)
	piece := func(stream, k int) string { return fmt.Sprintf("[%d.%d ä🚀]", stream, k) }
	want := make([]string, streams)
	each(t, streams, func(i int) error {
		s := run.Stream(strconv.Itoa(i))
		for k := range pieces {
			want[i] += piece(i, k)
			if _, err := io.WriteString(s, piece(i, k)); err != nil {
				return err
			}
		}
		return s.Close()
	})
	_, err = run.Complete(t.Context(), nil)
	must(t, err)
	each(t, watchers, func(w int) error {
		joined := make([]strings.Builder, streams)
		for env, err := range clients[w].Messages(waiting(t)) {
			if err != nil {
				return err
			}
			switch env.Type {
			case wire.AgentCompleted:
				for i, text := range want {
					if got := joined[i].String(); got != text {
						return fmt.Errorf("the chunks of stream %d are %d bytes, want %d", i, len(got), len(text))
					}
					if got, done := clients[w].Text("r1/" + strconv.Itoa(i)); got != text || !done {
						return fmt.Errorf("the text of stream %d is %d bytes, done %v, want %d", i, len(got), done, len(text))
					}
				}
				return nil
			case wire.StreamChunk:
				var chunk wire.StreamChunkPayload
				if err := env.Decode(&chunk); err != nil {
					return err
				}
				i, err := strconv.Atoi(strings.TrimPrefix(chunk.StreamID, "r1/"))
				if err != nil {
					return err
				}
				joined[i].WriteString(chunk.Text)
			}
		}
		return errEnded
	})
}

// TestThreadBeforeAgent: a user's first words in a thread start an agent. Whoever has opened
// only this thread gets every event of it from the first on: no agent starts before its thread
// is known.
func TestThreadBeforeAgent(t *testing.T) {
	t.Parallel()
	n := newNode(t, switchboard.Options{})
	n.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "quick"}, func(context.Context, *switchboard.Run, switchboard.Envelope) error { return nil })
	each(t, 25, func(i int) error {
		thread := fmt.Sprintf("thread-%d", i)
		c, err := client.Dial(waiting(t), client.Options{URL: n.url(), Token: as(fmt.Sprintf("user-%d", i)), Threads: []string{thread}})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		msgs := c.Messages(waiting(t))
		if _, err := c.Send(waiting(t), client.Message{Type: wire.UserMessage, Payload: map[string]string{"content": "hello"}, Thread: thread}); err != nil {
			return err
		}
		var types []wire.MessageType
		for env, err := range msgs {
			if err != nil {
				return err
			}
			if env.Offset == 0 {
				continue
			}
			if env.ThreadID != thread {
				return fmt.Errorf("got a %s of thread %q, want %q", env.Type, env.ThreadID, thread)
			}
			if types = append(types, env.Type); env.Type == wire.AgentCompleted {
				break
			}
		}
		if got, want := fmt.Sprint(types), fmt.Sprint([]wire.MessageType{wire.UserMessage, wire.AgentStarted, wire.AgentCompleted}); got != want {
			return fmt.Errorf("got %s, want %s", got, want)
		}
		return nil
	})
}
