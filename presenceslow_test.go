package switchboard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
)

// TestAnAuthorizerThatTakesItsTimeHoldsUpNobodysPresence, and is asked for the right to see who is in a
// room only when that may have changed.
func TestAnAuthorizerThatTakesItsTimeHoldsUpNobodysPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := newServer(t, switchboard.Options{Authorize: func(ctx context.Context, id switchboard.Identity, act switchboard.Action, _ string) error {
			if act != switchboard.ActPresence {
				return nil
			}
			asked.Add(1)
			switch id.User {
			case "late":
				time.Sleep(5 * time.Second)
			case "never":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		never, late := s.watching(t, "slow/never"), s.watching(t, "slow/late")
		never.follow()
		late.follow()
		time.Sleep(200 * time.Millisecond)
		alice, bob := s.watching(t, "alice"), s.watching(t, "bob")
		alice.follow()
		bob.follow()
		alice.hears("room/team", nil, time.Second).want(t, "another tenant", "alice (active); bob (active)")
		if got, err := s.Presence().User(t.Context(), "bob"); err != nil || !got.Online {
			t.Errorf("got %+v, %v", got, err)
		}
		late.hears("room/team", nil, 6*time.Second).want(t, "after a while", "late (active); never (active)")
		time.Sleep(10 * time.Second)
		if b, err := never.raw(time.Second); err == nil {
			t.Errorf("got %s without an answer to whether it may", b)
		}
		// Nor because of a device's state.
		before := asked.Load()
		late.is("idle")
		late.is("background")
		late.hears("room/team", who{"late": {}, "never": {}}, time.Second).want(t, "later", "late (background); never ()")
		if n := asked.Load() - before; n != 0 {
			t.Errorf("the Authorizer was asked %d times because of a device's state", n)
		}
	})
}
