package server_test

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/netra-systems/switchboard/internal/server"
)

func TestASmallHeapIsCollectedSeldomUnlessTheOperatorSaysHowOften(t *testing.T) {
	percent := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(150))

	t.Setenv("GOGC", "150")
	stop := server.CollectSeldom()
	if got := percent(); got != 150 {
		t.Errorf("got %d, want what the environment says", got)
	}
	stop()

	t.Setenv("GOGC", "")
	stop = server.CollectSeldom()
	if got := percent(); got != 400 {
		t.Errorf("got %d, want a heap that grows to five times of what is in use", got)
	}
	stop()
	if got := percent(); got != 150 {
		t.Errorf("got %d afterwards, want it as it was", got)
	}
}
