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
)

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
