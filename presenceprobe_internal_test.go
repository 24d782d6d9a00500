package switchboard

import (
	"testing"
	"time"
)

// A probe that is late is told, and told again only after one that was in time.
func TestALateProbeIsToldOnce(t *testing.T) {
	var p probes
	const bound = 31 * time.Second
	for i, of := range []struct {
		took time.Duration
		told bool
	}{
		{30 * time.Second, false}, {bound, false}, {32 * time.Second, true}, {40 * time.Second, false}, {30 * time.Second, false}, {33 * time.Second, true},
	} {
		if got := p.took(of.took, bound); got != of.told {
			t.Errorf("probe %d, which took %v: told %v, want %v", i, of.took, got, of.told)
		}
	}
	if p.done != 6 || p.late != 3 || p.worst != 40*time.Second || p.last != 33*time.Second {
		t.Errorf("got %+v, want 6 probes, 3 late, the worst of 40s", &p)
	}
}
