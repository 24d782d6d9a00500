package switchboard_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// TestAnAuthorizerThatTakesItsTimeHoldsUpNobodysPresence, and is asked for the right to see who is in a
// room only when that may have changed.
func TestAnAuthorizerThatTakesItsTimeHoldsUpNobodysPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: patientBeat, Authorize: func(ctx context.Context, id switchboard.Identity, act switchboard.Action, _ string) error {
			if act != switchboard.ActPresence {
				return nil
			}
			asked.Add(1)
			switch {
			case id.User == "late":
				time.Sleep(5 * time.Second)
			case strings.HasPrefix(id.User, "never"):
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		never, late := s.watching(t, "slow/never"), s.watching(t, "slow/late")
		never.follow()
		late.follow()
		time.Sleep(200 * time.Millisecond) // the two are asked for first
		for n := range 64 {                // who asks in vain as well
			s.connect(t, request{token: fmt.Sprint("slow/never", n)}).send(`{"type":"subscribe","payload":{"rooms":["other"]}}`)
		}
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
		time.Sleep(time.Minute) // until the others were asked as well
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

// An answer that comes late, to a question by a former credential, changes nothing of what the latest one
// allows; nor does one to a former question by the same credential.
func TestALateAnswerOfTheApplicationIsNoAnswerToALaterQuestion(t *testing.T) {
	for name, answer := range map[string]error{"allowed": nil, "forbidden": switchboard.ErrForbidden} {
		for again, send := range map[string]func(alice *device){
			"by another credential": func(alice *device) {
				alice.send(`{"type":"auth","payload":{"token":"alice"}}`)
				alice.await(wire.AuthOK)
			},
			"by the same credential": func(alice *device) {
				alice.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
				alice.await(wire.Unsubscribed)
				alice.follow()
			},
		} {
			t.Run(name+", and asked again "+again, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var asked atomic.Int64
					s := newServer(t, switchboard.Options{Heartbeat: patientBeat, Authorize: func(_ context.Context, id switchboard.Identity, act switchboard.Action, _ string) error {
						if act == switchboard.ActPresence && id.User == "alice" && asked.Add(1) == 1 {
							time.Sleep(3 * time.Second)
							return answer
						}
						return nil
					}})
					alice := s.watching(t, "alice")
					alice.follow()
					time.Sleep(time.Second)
					send(alice)
					bob := s.phone(t, "bob", "phone")
					bob.follow()
					known := alice.hears("room/team", nil, time.Second)
					known.want(t, "by the later answer", "alice (active); bob (phone active)")
					time.Sleep(5 * time.Second)
					bob.is("idle")
					known = alice.hears("room/team", known, time.Second)
					known.want(t, "after the late answer", "alice (active); bob (phone idle)")
				})
			})
		}
	}
}
