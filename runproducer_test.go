package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// What producers outside the process need, whose calls an HTTP server makes for them.

// leased starts a run that its producer's calls keep alive.
func (s *server) leased(t *testing.T, id string, lease time.Duration) *switchboard.Run {
	t.Helper()
	run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: id, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (s *server) runInfo(t *testing.T, id string) switchboard.RunInfo {
	t.Helper()
	run, err := s.Runs().Attach(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	info, err := run.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestALeaseDoesNotRunOutWhileTheRunIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run := s.leased(t, "R", 30*time.Second)
		held, release, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if state := s.runInfo(t, "R").State; state != wire.RunRunning || held.Err() != nil {
			t.Errorf("held: got %s, %v, want a run that lives", state, held.Err())
		}
		release()
		release() // again does nothing
		if !errors.Is(held.Err(), context.Canceled) {
			t.Errorf("released: got %v, want an ended context", held.Err())
		}
		time.Sleep(29 * time.Second)
		wantEqual(t, "within the lease", s.runInfo(t, "R").State, wire.RunRunning)
		time.Sleep(2 * time.Second)
		wantEqual(t, "behind the lease", s.runInfo(t, "R").State, wire.RunDead)
		if _, _, err := run.Hold(t.Context()); !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("hold of a run that has ended: got %v, want ErrRunEnded", err)
		}
	})
}

func TestWhoHoldsARunLearnsOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run := s.leased(t, "R", time.Minute)
		held, release, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if _, err := run.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		<-held.Done()
		cause, ok := errors.AsType[*switchboard.Error](context.Cause(held))
		if !ok || cause.Code != wire.CodeRunCancelled {
			t.Fatalf("got cause %v, want RUN_CANCELLED", context.Cause(held))
		}
		wantEqual(t, "details", cause.Details, map[string]any{"run_id": "R", "run_state": "cancelled"})
	})
}

func TestWhoHoldsARunLearnsOfItsEndOnAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		run := one.leased(t, "R", time.Minute)
		held, release, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		elsewhere, err := two.Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := elsewhere.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-held.Done()
		if err := context.Cause(held); !errors.Is(err, switchboard.ErrRunEnded) {
			t.Errorf("got cause %v, want ErrRunEnded", err)
		}
		// The node that had it tells what became of it.
		info, err := run.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := two.runInfo(t, "R")
		if info.State != wire.RunCompleted || info.End != want.End || info.End != info.Latest || info.Ended.IsZero() {
			t.Errorf("got %+v, want that it has ended as %+v", info, want)
		}
	})
}

func TestWhoHoldsARunLearnsThatItHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		run := one.leased(t, "R", time.Minute)
		held, release, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		elsewhere, err := two.Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		if err := elsewhere.Thinking(t.Context(), "from here"); err != nil {
			t.Fatal(err)
		}
		if err := run.Thinking(t.Context(), "and back"); err != nil { // it finds out, and takes the run back
			t.Fatal(err)
		}
		<-held.Done()
		if err := context.Cause(held); !errors.Is(err, switchboard.ErrConflict) {
			t.Errorf("got cause %v, want ErrConflict", err)
		}
		again, release, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		time.Sleep(2 * time.Minute)
		if again.Err() != nil {
			t.Errorf("got %v while the run is held, want that it lives", context.Cause(again))
		}
	})
}

func TestAnAppendTellsWhereItsTextIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		out := s.leased(t, "R", time.Minute).Stream("answer")
		for _, step := range []struct {
			start        int
			text         string
			from, length int
		}{
			{0, "Hello", 0, 5}, {0, "", 5, 5}, {3, "lo wörld", 5, 11}, {3, "lo wörld", 11, 11}, {0, "Hell", 11, 11}, {-1, "!", 11, 12}, {-1, "", 12, 12},
		} {
			from, length, err := out.AppendNew(t.Context(), step.start, step.text)
			if err != nil || from != step.from || length != step.length {
				t.Errorf("AppendNew(%d, %q): got %d, %d, %v, want %d, %d", step.start, step.text, from, length, err, step.from, step.length)
			}
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if from, length, err := out.AppendNew(t.Context(), 6, "wörld!"); err != nil || from != 12 || length != 12 {
			t.Errorf("the end of a complete stream again: got %d, %d, %v, want 12, 12", from, length, err)
		}
	})
}

func TestARunSaysWhereItsLatestEventIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run := s.leased(t, "R", time.Minute)
		started, _ := run.Started()
		wantEqual(t, "at the start", s.runInfo(t, "R").Latest, started)
		thought, err := run.Emit(t.Context(), switchboard.Message{Type: wire.AgentThinking, Payload: map[string]string{"reasoning": "hm"}})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "behind an event", s.runInfo(t, "R").Latest, thought)
		end, err := run.Complete(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, pause := range []time.Duration{0, time.Hour} { // from memory, then from the log
			time.Sleep(pause)
			info := s.runInfo(t, "R")
			wantEqual(t, "at the end", []switchboard.Position{info.Started, info.Latest, info.End}, []switchboard.Position{started, end, end})
			wantEqual(t, "target", info.Target.String(), "user/alice")
		}
	})
}

func TestAnEventWithTheSameIDIsWrittenOnceHoweverLongTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run := s.leased(t, "R", time.Hour)
		emit := func(id string, typ wire.MessageType) switchboard.Position {
			t.Helper()
			pos, err := run.Emit(t.Context(), switchboard.Message{Type: typ, ID: id, Payload: map[string]string{"tool_name": "search", "reasoning": "hm"}})
			if err != nil {
				t.Fatal(err)
			}
			return pos
		}
		for n := range 1500 {
			emit(fmt.Sprint("thought ", n), wire.AgentThinking)
		}
		begin := emit("begin", wire.ToolExecuting)
		time.Sleep(5 * time.Minute) // longer than any window of the broker
		wantEqual(t, "the begin again", emit("begin", wire.ToolExecuting), begin)
		end := emit("end", wire.ToolCompleted)
		wantEqual(t, "the end again", emit("end", wire.ToolCompleted), end)
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Errorf("got %v, want that no tool is executing", err)
		}
	})
}

func TestWhatAProducerMayNotWriteNamesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		_, err := s.leased(t, "R", time.Minute).Emit(t.Context(), switchboard.Message{Type: wire.AgentDeath})
		refused, ok := errors.AsType[*switchboard.Error](err)
		if !ok || refused.Code != wire.CodeRunContract {
			t.Fatalf("got %v, want RUN_CONTRACT", err)
		}
		wantEqual(t, "details", refused.Details, map[string]any{"field": "type", "run_id": "R"})
	})
}

func TestATargetIsWrittenAsClientsCallIt(t *testing.T) {
	for want, to := range map[string]switchboard.Target{
		"user/alice": switchboard.User("alice").Except("ses_x"), "room/r1": switchboard.Room("r1"), "all": switchboard.All(),
		"connection/conn_1": switchboard.Connection("conn_1"), "": {},
	} {
		wantEqual(t, "target", to.String(), want)
	}
}
