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
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// goodbye closes a device as a client does that leaves.
func (c *device) goodbye() {
	c.t.Helper()
	c.write(8, []byte{0x03, 0xe8})
}

// A room that was empty begins again for who watches it on another node.
func TestWhoComesBackToARoomThatWasEmptyIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		known := alice.hears("room/team", nil, 2*time.Second)
		for range 3 {
			bob := two.as(t, "bob"+seesTeam)
			bob.follow()
			known = alice.hears("room/team", known, 15*time.Second)
			known.want(t, "bob is there", "alice (active); bob (active)")
			bob.goodbye()
			known = alice.hears("room/team", known, 15*time.Second)
			known.want(t, "bob has gone", "alice (active)")
		}
	})
}

// A node that got another name tells its own watchers who leaves.
func TestANodeWithAnotherNameHasNoGhostsOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob, carol := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam), two.as(t, "carol"+seesTeam)
		for _, c := range []*device{alice, bob, carol} {
			c.follow()
		}
		there := "alice (active); bob (active); carol (active)"
		far := alice.hears("room/team", nil, 3*time.Second)
		far.want(t, "before", there)
		near := bob.hears("room/team", nil, 3*time.Second)
		near.want(t, "before", there)
		expire(t, b, "two")
		far = alice.hears("room/team", far, time.Minute)
		near = bob.hears("room/team", near, time.Second)
		near.want(t, "after its lease was lost", there)
		carol.goodbye()
		near = bob.hears("room/team", near, 3*time.Second)
		near.want(t, "on the same node", "alice (active); bob (active)")
		far.want(t, "before carol leaves", there)
		alice.hears("room/team", far, 3*time.Second).want(t, "on the other node", "alice (active); bob (active)")
	})
}

// All leases end when the broker is away for longer, and nobody has gone.
func TestWhileTheBrokerIsAwayNobodyLeaves(t *testing.T) {
	for name, after := range map[string]time.Duration{"as usual": 0, "who is cut off has gone": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				beat := patientBeat
				beat.OfflineAfter = after
				b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: beat})
				alice, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam)
				alice.follow()
				bob.follow()
				alice.hears("room/team", nil, 3*time.Second).want(t, "before", "alice (active); bob (active)")
				elect := b.Faults().KillLeader()
				time.Sleep(15 * time.Second)
				elect()
				for _, c := range []*device{alice, bob} {
					for end := time.Now().Add(time.Minute); ; {
						m, err := c.raw(time.Until(end))
						if err != nil {
							break
						}
						if env, err := wire.ParseAnswer(m); err == nil && env.Type == wire.PresenceDiff {
							t.Errorf("got %s, want nothing", m)
						}
					}
				}
				bob.is("idle")
				alice.hears("room/team", who{"alice": {}, "bob": {}}, 15*time.Second)
			})
		})
	}
}

// Who says goodbye has gone at once, also on a device that was lost for a moment before.
func TestAGoodbyeCountsAfterAReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := s.watching(t, "alice"+seesTeam), s.as(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, time.Second)
		_ = bob.conn.Close()
		known = alice.hears("room/team", known, time.Second)
		bob = s.resume(t, bob)
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "after a return", "alice (active); bob (active)")
		bob.goodbye()
		alice.hears("room/team", known, time.Second).want(t, "after a goodbye", "alice (active)")
	})
}

// Names fit that are more than a connection is let wait for otherwise.
func TestTheNamesOfAFullRoomAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		for n := range 250 {
			s.as(t, fmt.Sprint("u", n, " room:team:join")).follow()
		}
		alice := s.watching(t, "alice"+seesTeam)
		alice.follow()
		if known := alice.hears("room/team", nil, 3*time.Second); len(known) != 251 {
			t.Errorf("got %d names, want 251", len(known))
		}
	})
}

// hanging is a driver whose publishes wait while it is told so.
type hanging struct {
	broker.Driver
	hangs atomic.Bool
}

func (d *hanging) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	if d.hangs.Load() {
		<-ctx.Done()
		return broker.Published{}, ctx.Err()
	}
	return d.Driver.Publish(ctx, r)
}

// A broker that takes nothing keeps nobody from hearing what happens on the same node, and what it
// did not take is told when it does again.
func TestPresenceDoesNotWaitForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openDriver(t)
		slow := &hanging{Driver: b}
		second := b.Node()
		t.Cleanup(func() { _ = second.Close() })
		opts := switchboard.Options{Heartbeat: patientBeat, SessionKeys: [][]byte{make([]byte, 32)}}
		opts.Broker, opts.Node = slow, "one"
		one := newServer(t, opts)
		opts.Broker, opts.Node = second, "two"
		two := newServer(t, opts)
		time.Sleep(time.Second)
		alice, bob := one.watching(t, "alice"+seesTeam), one.as(t, "bob"+seesTeam)
		carol, phone := two.watching(t, "carol"+seesTeam), two.phone(t, "bob"+seesTeam, "phone")
		for _, c := range []*device{alice, bob, carol} {
			c.follow()
		}
		near := alice.hears("room/team", nil, 3*time.Second)
		far := carol.hears("room/team", nil, 3*time.Second)
		own := phone.hears("user/bob", nil, time.Second)
		slow.hangs.Store(true)
		bob.is("idle")
		near = alice.hears("room/team", near, time.Second)
		near.want(t, "on the same node", "alice (active); bob (idle); carol (active)")
		time.Sleep(30 * time.Second)
		slow.hangs.Store(false)
		carol.hears("room/team", far, 20*time.Second).want(t, "on the other node", "alice (active); bob (idle); carol (active)")
		phone.hears("user/bob", own, time.Second).want(t, "another device", "bob (idle, phone active)")
	})
}

// An application that takes its time to say who may watch does not keep others from it.
func TestPresenceDoesNotWaitForTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat, Authorize: func(ctx context.Context, id switchboard.Identity, act switchboard.Action, room string) error {
			if act != switchboard.ActPresence {
				return nil
			}
			asked.Add(1)
			if id.User == "slow" {
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
				}
				return switchboard.ErrForbidden
			}
			return nil
		}})
		alice := s.watching(t, "alice")
		alice.follow()
		known := alice.hears("room/team", nil, time.Second)
		slow := s.watching(t, "slow")
		slow.follow()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "while the application is asked", "alice (active); slow (active)")
		if b, err := slow.raw(2 * time.Minute); err == nil {
			t.Errorf("got %s without a right", b)
		}
		before := asked.Load()
		alice.is("idle")
		alice.hears("room/team", known, time.Second).want(t, "then", "alice (idle); slow (active)")
		if n := asked.Load() - before; n != 0 {
			t.Errorf("got %d questions after a presence_update, want none", n)
		}
	})
}

// Who exchanges the credential is told no more by the former one, also while the application is asked.
func TestNothingIsToldByAFormerRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat, Authorize: func(ctx context.Context, _ switchboard.Identity, act switchboard.Action, _ string) error {
			if act != switchboard.ActPresence || !slow.Load() {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
			return switchboard.ErrForbidden
		}})
		alice, bob := s.watching(t, "alice"), s.phone(t, "bob", "phone")
		alice.follow()
		bob.follow()
		alice.hears("room/team", nil, time.Second).want(t, "before", "alice (active); bob (phone active)")
		slow.Store(true)
		alice.send(`{"type":"auth","payload":{"token":"alice"}}`)
		alice.await(wire.AuthOK)
		bob.is("idle")
		if b, err := alice.raw(time.Minute); err == nil {
			t.Errorf("got %s by a former right", b)
		}
	})
}

// Who leaves a room and comes back is told all of it again.
func TestWhoFollowsARoomAgainIsToldAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		alice := s.watching(t, "alice"+seesTeam)
		for range 2 {
			alice.follow()
			alice.hears("room/team", nil, time.Second).want(t, "it follows", "alice (active)")
			alice.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
		}
	})
}

// forgetful is a driver that writes a lease and loses the answer.
type forgetful struct {
	broker.Driver
	loses atomic.Int32
}

func (d *forgetful) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	rev, err := d.Driver.Put(ctx, key, value, ifRev, ttl)
	if strings.HasPrefix(key, "node/") && err == nil && d.loses.Add(-1) >= 0 {
		return 0, broker.ErrUnavailable
	}
	return rev, err
}

func TestANodeKeepsALeaseWhoseAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openDriver(t)
		d := &forgetful{Driver: b}
		d.loses.Store(1) // the first
		newServer(t, switchboard.Options{Broker: d, Node: "one", SessionKeys: [][]byte{make([]byte, 32)}})
		names := make(map[string]struct{})
		for i := range 20 {
			if i == 5 {
				d.loses.Store(1) // a later one
			}
			time.Sleep(time.Second)
			for change, err := range b.Watch(t.Context(), "node/") {
				if err != nil {
					t.Fatal(err)
				}
				if change.Synced {
					break
				}
				names[change.Key] = struct{}{}
			}
		}
		if len(names) != 1 {
			t.Errorf("got leases %v, want one", names)
		}
	})
}

// The last one of a room on a node leaves, and nobody is told: the node says later how far it is.
func TestALostGoodbyeOfTheLastInARoomIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := one.watching(t, "alice"+seesTeam), two.as(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, 20*time.Second)
		known.want(t, "before", "alice (active); bob (active)")
		b.Faults().DropLive(roomKey("team"), 2) // that he left, and the first repetition
		bob.goodbye()
		alice.hears("room/team", known, 12*time.Second).want(t, "after", "alice (active)")
	})
}

// What other devices said while the link was lost is asked for, and they are told of this one.
func TestDevicesFindEachOtherAfterALostLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, second := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		phone := two.phone(t, "alice", "phone")
		second.Faults().CutLink()
		laptop := one.phone(t, "alice", "laptop")
		for name, c := range map[string]*device{"phone": phone, "laptop": laptop} {
			c.hears("user/alice", nil, 10*time.Second).want(t, name, "alice (laptop active, phone active)")
		}
	})
}

// A lease that ends is no end of what is said: who was given up asks for what the others did not tell it.
func TestANodeThatWasGivenUpHasMissedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := bob.hears("room/team", nil, 15*time.Second)
		known.want(t, "before", "alice (active); bob (active)")
		expire(t, b, "two")
		alice.is("idle") // the node is alone, as far as it knows
		known = bob.hears("room/team", known, 15*time.Second)
		known.want(t, "after", "alice (idle); bob (active)")
	})
}
