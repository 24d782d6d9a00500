package switchboard_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
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
