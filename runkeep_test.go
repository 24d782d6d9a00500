package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

func TestALongRunKnowsWhatItsProducerRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		emit := func(typ wire.MessageType, id string, payload any) {
			t.Helper()
			first, err := run.Emit(t.Context(), switchboard.Message{Type: typ, ID: id, Payload: payload})
			if err != nil {
				t.Fatal(err)
			}
			again, err := run.Emit(t.Context(), switchboard.Message{Type: typ, ID: id, Payload: payload})
			if err != nil || again != first {
				t.Fatalf("%s again: got %v, %v, want %v", id, again, err, first)
			}
		}
		for i := range 1100 {
			emit(wire.AgentThinking, fmt.Sprint("e-", i), map[string]string{"reasoning": "so"})
		}
		tool := map[string]string{"tool_name": "search"}
		emit(wire.ToolExecuting, "begin", tool)
		if _, err := run.Emit(t.Context(), switchboard.Message{Type: wire.ToolCompleted, ID: "end", Payload: tool}); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsStoredOfARunEndsAlthoughTheBrokerWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{Retention: broker.Retention{Messages: 1000, Age: time.Hour}})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		d.set(hooks{put: func(string, func() (uint64, error)) (uint64, error) { return 0, broker.ErrUnavailable }})
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		d.set(hooks{})
		time.Sleep(2 * time.Hour)
		d.items(t)
	})
}

func TestNothingIsStoredOfAStartThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		for _, what := range []string{"/live/", "/r/"} {
			d.set(hooks{get: func(key string) error {
				if strings.Contains(key, what) {
					return broker.ErrUnavailable
				}
				return nil
			}, put: func(key string, do func() (uint64, error)) (uint64, error) {
				if strings.Contains(key, what) {
					return 0, broker.ErrUnavailable
				}
				return do()
			}})
			if _, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice")}); err == nil {
				t.Fatal("got no error")
			}
		}
		d.set(hooks{})
		time.Sleep(2 * time.Hour)
		d.items(t)
	})
}

func TestAnEndWhoseAnswerWasLostIsCleanedUpAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{Retention: broker.Retention{Messages: 1000, Age: time.Hour}})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		if _, err := io.WriteString(run.Stream("answer"), "text"); err != nil {
			t.Fatal(err)
		}
		d.set(hooks{publish: func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			p, err := do()
			if _, ends := runs.EndState(typ); ends {
				return broker.Published{}, broker.ErrUnavailable
			}
			return p, err
		}})
		if _, err := run.Complete(t.Context(), nil); err == nil {
			t.Fatal("got no error")
		}
		time.Sleep(5 * time.Minute)
		d.set(hooks{})
		time.Sleep(10 * time.Second)
		if info, err := run.Info(t.Context()); err != nil || info.State != wire.RunCompleted || info.End.Offset != 4 || len(info.Streams) != 1 {
			t.Errorf("got %+v, %v", info, err)
		}
		if got := s.Stats(); got.RunsLive != 0 || got.RunsEnded[wire.RunCompleted] != 1 {
			t.Errorf("got %+v", got)
		}
		time.Sleep(5 * time.Minute)
		if got := s.Stats().Topics; got != 0 {
			t.Errorf("got %d topics, want none", got)
		}
		time.Sleep(2 * time.Hour)
		d.items(t)
	})
}

func TestSlowRemovalOfTextsDoesNotKeepTheDeadAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		if _, err := io.WriteString(run.Stream("answer"), "text"); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		d.set(hooks{remove: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		time.Sleep(2*time.Minute + time.Second)
		started(t, s, switchboard.RunOptions{ID: "S", Lease: 5 * time.Second})
		time.Sleep(6 * time.Second)
		wantEqual(t, "log", s.logOf(t, "S"), []string{"agent_started", "agent_death"})
	})
}

func TestALongTextThatIsSentAgainIsSkippedWhateverTheDriverRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		// As a driver may that compares the last 64 KiB only.
		d.set(hooks{append: func(_ context.Context, start, length int) error {
			if start >= 0 && start < length-(64<<10) {
				return broker.ErrConflict
			}
			return nil
		}})
		text := strings.Repeat("0123456789abcdef", 20_000)
		out := run.Stream("answer")
		if n, err := out.AppendAt(t.Context(), 0, text); err != nil || n != len(text) {
			t.Fatalf("got %d, %v", n, err)
		}
		for _, more := range []string{"", " and more"} {
			if n, err := out.AppendAt(t.Context(), 0, text+more); err != nil || n != len(text)+len(more) {
				t.Errorf("again: got %d, %v, want %d", n, err, len(text)+len(more))
			}
		}
		if _, err := out.AppendAt(t.Context(), 0, "X"+text); !errors.Is(err, switchboard.ErrConflict) {
			t.Errorf("other text: got %v, want ErrConflict", err)
		}
	})
}

func TestAWriteTellsWhatItHasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		var calls atomic.Int32
		d.set(hooks{append: func(context.Context, int, int) error {
			if calls.Add(1) > 1 {
				return broker.ErrUnavailable
			}
			return nil
		}})
		text := []byte(strings.Repeat("0123456789abcdef", 10_000))
		out := run.Stream("answer")
		n, err := out.Write(text)
		if n != 64<<10 || !errors.Is(err, switchboard.ErrUnavailable) {
			t.Fatalf("got %d, %v, want %d and ErrUnavailable", n, err, 64<<10)
		}
		d.set(hooks{})
		if _, err := out.Write(text[n:]); err != nil {
			t.Fatal(err)
		}
		if stream, err := out.Snapshot(t.Context()); err != nil || stream.Text != string(text) {
			t.Errorf("got %d bytes, %v, want %d", len(stream.Text), err, len(text))
		}
	})
}

func TestARunHasAnEndHoweverManyStreamsItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: strings.Repeat("r", 64)})
		var err error
		for i := 0; err == nil && i < 20_000; i++ {
			_, err = run.Stream(fmt.Sprintf("%063d", i)).AppendAt(t.Context(), 0, "x")
		}
		if !errors.Is(err, switchboard.ErrRunContract) {
			t.Errorf("got %v, want ErrRunContract", err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestNamesInEventsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		for _, msg := range []switchboard.Message{
			{Type: "note", Agent: "a\x00b"}, {Type: "note", Agent: strings.Repeat("a", 129)}, {Type: "note", ID: strings.Repeat("m", 129)}, {Type: ""},
		} {
			if _, err := run.Emit(t.Context(), msg); !errors.Is(err, switchboard.ErrInvalid) {
				t.Errorf("%+v: got %v, want ErrInvalid", msg, err)
			}
		}
		wantEqual(t, "log", s.logOf(t, "R"), []string{"agent_started"})
	})
}

func TestATextThatIsLongInBytesOnlyIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		text := strings.Repeat("🙂", 40_000)
		if _, err := io.WriteString(run.Stream("answer"), text); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		stream, err := run.Stream("answer").Snapshot(t.Context())
		if err != nil || stream.Text != text {
			t.Errorf("got %d bytes, %v, want %d", len(stream.Text), err, len(text))
		}
	})
}
