package switchboard_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

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

func TestAgentThatEndsAtOnceWhenStoppedHasNotFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		slowly := &flaky{Driver: membroker.New(membroker.Options{}), rand: rand.New(rand.NewPCG(1, 1))} // the agent is through before its run is
		s := newServer(t, switchboard.Options{Broker: slowly, Log: slog.New(slog.NewTextHandler(&log, nil))})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, _ *switchboard.Run, _ switchboard.Envelope) error {
			<-ctx.Done()
			return ctx.Err()
		})
		a := s.as(t, "alice")
		for _, message := range []string{"a-1", "a-2", "a-3", "a-4"} {
			ack, _ := a.ask(message, "t1", "Write")
			a.send(`{"type":"stop_agent","message_id":"stop-%s","payload":{"run_id":%q}}`, message, runOf(t, ack))
			if ack := a.ack("stop-" + message); ack.Status != wire.StatusOK {
				t.Errorf("got %+v, want ok", ack)
			}
		}
		synctest.Wait()
		if log.Len() > 0 || s.Stats().HandlerErrors != 0 {
			t.Errorf("got %d errors of handlers and the log %q, want none", s.Stats().HandlerErrors, log.String())
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
