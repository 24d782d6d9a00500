package isolation_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enough is how often a way was taken that should have done something by then.
const enough = 150

// TestNobodyGetsByAnyWayWhatIsNotTheirs plays stories of random steps and holds every byte that
// anybody gets to the monitor.
func TestNobodyGetsByAnyWayWhatIsNotTheirs(t *testing.T) {
	all := slices.Concat(ways(), backendWays())
	total, watched, seen := score{}, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		nodes := rapid.IntRange(1, 2).Draw(rt, "nodes")
		// Each step has dice of its own, so that a story can be made shorter.
		steps := rapid.SliceOfN(rapid.Uint64(), 20, 80).Draw(rt, "steps")
		w := play(t, all, nodes, steps)
		for name, s := range w.score {
			total.add(name, s.tried, s.done)
		}
		watched += w.m.watched
		seen += w.m.seen
		if len(w.m.faults) > 0 {
			rt.Errorf("%s\nthe last step was %s", strings.Join(w.m.faults, "\n"), w.last)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%-16s %6d times, %6d did something", name, total[name].tried, total[name].done)
		if !t.Failed() && total[name].tried >= enough && total[name].done == 0 {
			t.Errorf("%s never did anything: the test has no eyes there", name)
		}
	}
	t.Logf("%d bytes watched, %d marks seen by those who may", watched, seen)
}

// play plays a story.
func play(t *testing.T, all []way, nodes int, steps []uint64) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, nodes)
		defer w.close()
		for i, seed := range steps {
			w.rnd = rand.New(rand.NewPCG(seed, 0))
			w.m.next()
			if i < 6 {
				w.comeIn()
				continue
			}
			way := pick(w, all)
			w.last = way.name
			done := 0
			if way.take(w) {
				done = 1
			}
			w.score.add(way.name, 1, done)
			if len(w.m.faults) > 0 {
				break
			}
		}
		w.m.next()
		w.end()
	})
	return w
}
