package switchboard_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
)

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
