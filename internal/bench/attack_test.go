package bench

import (
	"testing"
	"testing/synctest"
	"time"
)

// A busy machine can make any attack long and any attacker slow; what must have been seen depends
// on what was asked for alone.
func TestAnEndIsMissedOnlyWhereItHadToCome(t *testing.T) {
	bans := kind{wants: "1008", after: 12 * time.Second, least: 61}
	for _, c := range []struct {
		name   string
		of     int
		lasts  time.Duration
		seen   map[string]int64
		missed bool
	}{
		{"nobody was ended", 61, 12 * time.Second, map[string]int64{"cut": 3}, true},
		{"one was", 61, 12 * time.Second, map[string]int64{"1008": 1}, false},
		{"too short", 61, 11 * time.Second, nil, false},
		{"too few", 60, 12 * time.Second, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &attack{kind: bans, of: c.of, ends: c.seen}
				if missed := a.missed(t.Context(), c.lasts); missed != c.missed {
					t.Errorf("missed: %v", missed)
				}
			})
		})
	}
}
