// Package brokertest is the conformance suite of [broker.Driver]: a driver
// passes [Run] or it is not one. Its [History] finds lost, repeated, misplaced
// and foreign messages, for tests at any level.
package brokertest

import (
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// Harness is what the suite needs to know of an engine. A nil hook or a zero
// capability means that the engine cannot do this; cases that need it are
// skipped and say so.
type Harness struct {
	// Node returns a node of the engine, with no link to the ones before, as
	// another process would have it. The suite closes it. Required.
	Node func(t testing.TB) broker.Driver

	// Patience is how long the suite waits for what has to happen (10 s).
	Patience time.Duration

	// Dedupe is the window, if it is short enough to be waited for.
	Dedupe time.Duration

	// ExactRetention says that Record.Keep holds for each topic and to the
	// record, and Record.Owner for each owner. Without it topics may keep more,
	// for longer.
	ExactRetention bool

	// CutLink makes d lose its link once; calls that follow work again within
	// Patience.
	CutLink func(t testing.TB, d broker.Driver)

	// KillLeader begins an outage of the engine that is over within Patience,
	// by itself, and in which nothing acknowledged is lost.
	KillLeader func(t testing.TB)

	// LoseTail makes the engine lose the newest n records of a topic, which were
	// acknowledged.
	LoseTail func(t testing.TB, topic broker.Key, n int)

	// DropLive makes the next n records of a topic be stored and acknowledged
	// but not delivered.
	DropLive func(t testing.TB, topic broker.Key, n int)
}

// rule is a case: a sentence of the contract and how it is tested.
type rule struct {
	name string
	test func(e *env)
}

// Run tests a driver against the contract. It calls open for each case; all may
// return the same engine, since each case has topics and keys of its own. Cases
// with faults come last and one by one.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	groups := []struct {
		name     string
		parallel bool
		rules    []rule
	}{
		{"publish", true, publishRules()},
		{"latest", true, latestRules()},
		{"guard", true, guardRules()},
		{"log", true, logRules()},
		{"retention", true, retentionRules()},
		{"owner", true, ownerRules()},
		{"live", true, liveRules()},
		{"link", true, linkRules()},
		{"streams", true, streamRules()},
		{"store", true, storeRules()},
		{"watch", true, watchRules()},
		{"faults", false, faultRules()},
	}
	t.Run("rules", func(t *testing.T) { // returns when the parallel ones are done
		for _, g := range groups {
			if g.parallel {
				runGroup(t, g.name, true, g.rules, open)
			}
		}
	})
	for _, g := range groups {
		if !g.parallel {
			runGroup(t, g.name, false, g.rules, open)
		}
	}
}

func runGroup(t *testing.T, name string, parallel bool, rules []rule, open func(t *testing.T) Harness) {
	t.Run(name, func(t *testing.T) {
		for _, r := range rules {
			t.Run(r.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				r.test(newEnv(t, open(t)))
			})
		}
	})
}
