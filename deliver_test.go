package switchboard_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

func userKey(user string) broker.Key {
	return broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: user})
}

// TestWhatWasStoredAndNotDeliveredComesWithinTenSeconds.
func TestWhatWasStoredAndNotDeliveredComesWithinTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		synctest.Wait() // until heads have been compared for the first time
		d.Faults().DropLive(userKey("alice"), 1)
		s.note(t, switchboard.User("alice"), 1)
		a.silent()
		time.Sleep(10 * time.Second)
		wantEqual(t, "notes", a.notes(1), []int{1})
		a.silent()
	})
}

func TestWhatIsPublishedWhileTheLinkIsLostComesAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		second := d.Node()
		t.Cleanup(func() { _ = second.Close() })
		one := newServer(t, switchboard.Options{Broker: d})
		two := newServer(t, switchboard.Options{Broker: second})
		a := one.as(t, "alice")
		for n := range 20 {
			time.Sleep(6 * time.Second) // a link that is lost at once is not taken up again at once
			d.Faults().CutLink()
			synctest.Wait()
			two.note(t, switchboard.User("alice"), n) // before one's link is back
			wantEqual(t, "notes", a.notes(1), []int{n})
		}
		a.silent()
	})
}

func TestALostTailIsANewEpochAndAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		for n := range 3 {
			s.note(t, switchboard.User("alice"), n)
		}
		a.notes(3)
		d.Faults().LoseTail(userKey("alice"), 2)
		s.note(t, switchboard.User("alice"), 10)
		gap := payload[wire.Gap](t, a.expect(wire.GapType))
		p := a.welcome.Topics["user/alice"]
		if gap.Topic != "user/alice" || gap.From != at(p, p.Offset+3) || gap.Reason != "epoch_changed" || gap.NewEpoch == p.Epoch {
			t.Errorf("got gap %+v", gap)
		}
		got := []int{a.notes(1)[0], a.notes(1)[0]}
		wantEqual(t, "notes of the new epoch", got, []int{0, 10})
	})
}

// TestChaosLosesNothing: live records are dropped and repeated, acks are lost and links
// cut, and every client of three nodes sees everything that was acknowledged, in order.
func TestChaosLosesNothing(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := membroker.New(membroker.Options{Chaos: membroker.Chaos{Seed: seed, DropLive: 0.2, Repeat: 0.2, LoseAck: 0.1}})
				t.Cleanup(func() { _ = d.Close() })
				var nodes []*server
				var clients []*device
				for i := range 3 {
					node := d
					if i > 0 {
						node = d.Node()
						t.Cleanup(func() { _ = node.Close() })
					}
					s := newServer(t, switchboard.Options{Broker: node, Limits: unlimited})
					nodes = append(nodes, s)
					clients = append(clients, s.as(t, "alice"))
				}
				const n = 300
				for i := range n {
					msg := switchboard.Message{Type: "note", ID: fmt.Sprint("m", i), Payload: map[string]int{"n": i}}
					for { // as a publisher does that hears nothing
						if _, err := nodes[i%3].Publish(t.Context(), switchboard.User("alice"), msg); err == nil {
							break
						}
					}
					if i%60 == 59 {
						d.Faults().CutLink()
					}
				}
				var wg sync.WaitGroup
				for _, c := range clients {
					wg.Go(func() {
						for i := range n {
							b, err := c.raw(time.Minute)
							if err != nil {
								t.Errorf("note %d: %v", i, err)
								return
							}
							env, err := wire.ParseAnswer(b)
							if err != nil || payload[struct{ N int }](t, env).N != i {
								t.Errorf("got %s, want note %d", b, i)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// TestATopicThatIsNeededAgainIsFollowedAgain: the driver's follow never comes before the
// unfollow of the time before.
func TestATopicThatIsNeededAgainIsFollowedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for n := range 40 {
			a := s.as(t, "alice")
			s.note(t, switchboard.User("alice"), n)
			wantEqual(t, "notes", a.notes(1), []int{n})
			_ = a.conn.Close()
			time.Sleep(30*time.Second + time.Duration(n)*50*time.Millisecond)
		}
	})
}

// TestAFollowNeverOvertakesAnUnfollow: a client comes back while the driver is still busy
// with forgetting its topic.
func TestAFollowNeverOvertakesAnUnfollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &countingDriver{Driver: openDriver(t), slowUnfollow: 3 * time.Second}
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		_ = a.conn.Close()
		for d.unfollows.Load() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		b := s.as(t, "alice")
		time.Sleep(5 * time.Second) // whichever came first, it is through
		s.note(t, switchboard.User("alice"), 1)
		began := time.Now()
		wantEqual(t, "notes", b.notes(1), []int{1})
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the note took %v, so it was not delivered live", waited)
		}
	})
}

func TestManyClientsOfATopicFollowItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &countingDriver{Driver: openDriver(t), slowFollow: time.Second}
		s := newServer(t, switchboard.Options{Broker: d, Limits: unlimited})
		time.Sleep(2 * time.Second) // nodes listen to each other
		before := d.follows.Load()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { s.as(t, "alice") })
		}
		wg.Wait()
		if got := d.follows.Load() - before; got != 2 {
			t.Errorf("the driver was asked %d times, want once for user/alice and once for all", got)
		}
	})
}
