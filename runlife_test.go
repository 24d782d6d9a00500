package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

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

func TestRunsAndMessagesHaveIdsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", ID: "step-1"}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"one", "two"} {
			run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: id})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				msg := switchboard.Message{Type: wire.AgentThinking, ID: "step-1", Payload: map[string]string{"reasoning": id}}
				if _, err := run.Emit(t.Context(), msg); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := run.Complete(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		var w watched
		w.take(t, a.until(wire.AgentCompleted)...)
		w.take(t, a.until(wire.AgentCompleted)...)
		wantEqual(t, "events", w.events, []string{
			"note", "agent_started", "agent_thinking", "agent_completed", "agent_started", "agent_thinking", "agent_completed",
		})
	})
}

func TestEventsHaveIdsOfTheTimeOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		asked := time.Now()
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice")})
		if err == nil {
			_, err = run.Stream("answer").AppendAt(t.Context(), 0, "text")
		}
		if err == nil {
			_, err = run.Complete(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range a.until(wire.AgentCompleted) {
			if env.Offset == 0 {
				continue
			}
			id, err := uuid.Parse(env.ID)
			if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 {
				t.Errorf("%s: got id %s, want a UUIDv7", env.Type, env.ID)
			}
			sec, nsec := id.Time().UnixTime()
			if at := time.Unix(sec, nsec); at.UnixMilli() != asked.UnixMilli() && env.Type != wire.AgentThinking {
				t.Errorf("%s: got an id of %v, want of %v", env.Type, at, asked)
			}
		}
	})
}
