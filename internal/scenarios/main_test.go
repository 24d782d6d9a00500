package scenarios_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "32") // most of them wait, one for 30 seconds; the flag is testing's own
	}
	goleak.VerifyTestMain(m, leftByToxiproxy()...)
}

// aloneEnv names the one test that a process was started for.
const aloneEnv = "SWITCHBOARD_SCENARIO"

// alone makes a test run in a process of its own, beside the others, because it looks at
// memory or goroutines. It reports whether this is that process, in which the test must go on.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) == t.Name() {
		return true
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), aloneEnv+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// footprint is what is alive in this process, in bytes: objects and stacks of goroutines.
func footprint() int64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() + samples[1].Value.Uint64())
}

const megabyte = 1 << 20

// grewBelow fails the test if more than limit has become alive since before, and tells it.
func grewBelow(t testing.TB, before, limit int64) {
	t.Helper()
	grown := footprint() - before
	t.Logf("grew by %.1f MB", float64(grown)/megabyte)
	if grown >= limit {
		t.Errorf("grew by %.1f MB, want less than %d", float64(grown)/megabyte, limit/megabyte)
	}
}

// becomes waits until ok, for what nothing tells: that something has gone.
func becomes(what string, ok func() bool) error {
	deadline := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline:
			stacks := make([]byte, 64<<10)
			return fmt.Errorf("after %v still not: %s\n%s", patience, what, stacks[:runtime.Stack(stacks, true)])
		}
	}
	return nil
}

// eventually ends the test if ok does not become true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if err := becomes(what, ok); err != nil {
		t.Fatal(err)
	}
}
