package switchboard

import (
	"testing"
	"time"
)

func TestPresenceIsToldTheLaterTheMoreThereIsToTell(t *testing.T) {
	const ms = time.Millisecond
	for took, want := range map[time.Duration]time.Duration{
		0: presenceTick, ms: presenceTick, 10 * ms: presenceTick, 20 * ms: 200 * ms, 150 * ms: 1500 * ms, time.Minute: presenceTickMax,
	} {
		if got := presencePause(took); got != want {
			t.Errorf("after %v got %v, want %v", took, got, want)
		}
	}
}
