package switchboard

import (
	"testing"
	"time"
)

func TestThePeakOfARateIsThatOfAnySecond(t *testing.T) {
	var r rate
	for _, at := range []time.Duration{1900, 100, 950, 1050, 1100, 800, 2900} {
		r.add(at * time.Millisecond)
	}
	if r.peak != 4 { // from 0.8 s to 1.1 s, though no second of the clock has more than three
		t.Errorf("got %d, want 4", r.peak)
	}
}
