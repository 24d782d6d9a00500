package hub

import (
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/wire"
)

func TestEntriesLostOnTheWayAreReadFromTheLog(t *testing.T) {
	for _, topic := range []wire.Topic{user("a"), room("r")} {
		t.Run(topic.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := r.open(user("a"))
				a.join(room("r"))
				r.publish(topic)
				r.log(topic).lost = 3
				for range 6 {
					r.publish(topic)
				}
				synctest.Wait()
				wantFrames(t, a.of(topic), numbers("e1", 1, 7))
				if n := r.hub.Stats().Syncs; n == 0 {
					t.Error("the topic was never synced")
				}
			})
		})
	}
}

func TestRepeatedEntriesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for range 3 {
			r.publish(user("a"))
		}
		for _, e := range r.log(user("a")).entries {
			r.hub.Ingest(e)
		}
		synctest.Wait()
		wantFrames(t, a.of(user("a")), numbers("e1", 1, 3))
	})
}

func TestAnEntryWithoutPredecessorContinuesOnlyAConfirmedHead(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.open(user("a"))
			r.publish(user("a"))
			if lost { // one that nobody will ever see: published during the break, expired before its end
				r.hub.LinkLost()
				r.log(user("a")).lost = 1
				r.publish(user("a"))
			}
			r.keep(user("a"), 0)
			r.publish(user("a"))
			synctest.Wait()
			if !lost {
				wantFrames(t, a.of(user("a")), numbers("e1", 1, 2))
				return
			}
			got := a.got.frames()
			if len(got) != 3 || got[0] != ":user/a e1 1" || got[2] != ":user/a e1 3" {
				t.Errorf("got %q, want the first, a gap, the third", got)
			}
			if n := r.hub.Stats().Gaps; n != 1 {
				t.Errorf("got %d gaps, want 1", n)
			}
		})
	}
}

// What was published to an empty topic while the link was down, and is not kept
// any more, is missing like anything else.
func TestNothingIsTakenForTheFirstEntryAfterALostLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.hub.LinkLost()
		r.log(user("a")).lost = 1
		r.publish(user("a"))
		r.keep(user("a"), 0)
		r.publish(user("a"))
		synctest.Wait()
		if got := a.got.frames(); len(got) != 2 || got[1] != ":user/a e1 2" {
			t.Errorf("got %q, want a gap and the second", got)
		}
	})
}

// A log that is read while the link is down says nothing about what comes
// before the link is back.
func TestReadingTheLogDoesNotConfirmAHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.publish(user("a"))
		r.hub.LinkLost()
		l := r.log(user("a"))
		l.lost = 1
		r.publish(user("a")) // 2: missed, and read with 3
		r.publish(user("a"))
		synctest.Wait()
		r.hub.LinkLost()
		l.lost = 1
		r.publish(user("a")) // 4: missed, and gone before anybody reads
		r.keep(user("a"), 0)
		r.publish(user("a"))
		synctest.Wait()
		wantFrames(t, a.of(user("a")), []string{"e1 1", "e1 2", "e1 3", "e1 5"})
		if n := r.hub.Stats().Gaps; n != 1 {
			t.Errorf("got %d gaps, want 1", n)
		}
	})
}

func TestAnnouncedHeadIsReadFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		l := r.log(user("a"))
		l.lost = 2
		r.publish(user("a"))
		r.publish(user("a"))
		synctest.Wait()
		wantFrames(t, a.of(user("a")), nil)
		r.hub.Announce(keyOf(user("a")), wire.Position{Epoch: "e1", Offset: 2}, r.hub.Link())
		synctest.Wait()
		wantFrames(t, a.of(user("a")), numbers("e1", 1, 2))
	})
}

// A topic's head is asked for while entries come in: none may fall between.
func TestEntriesBeforeTheHeadIsKnownAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ref, live := r.hub.Acquire(keyOf(user("a")), user("a"))
		if live {
			t.Fatal("a new topic is live")
		}
		r.publish(user("a")) // 1: before the head was read
		head := wire.Position{Epoch: "e1", Offset: 1}
		r.publish(user("a")) // 2: between reading and confirming
		r.hub.Confirm(ref, head, r.hub.Link())
		a, err := r.openHeld(user("a"))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.hub.Seek(a.h, keyOf(user("a")), head)
		_ = r.hub.Start(a.h, false)
		synctest.Wait()
		wantFrames(t, a.of(user("a")), numbers("e1", 2, 2))
	})
}

func TestARecordUnderAnotherTopicsKeyIsDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for _, address := range []wire.Topic{user("b"), room("a"), {Tenant: "x", Kind: wire.KindUser, ID: "a"}} {
			r.hub.Ingest(Entry{Topic: keyOf(user("a")), Address: address, Pos: wire.Position{Epoch: "e1", Offset: 1}, Frame: text("secret")})
		}
		synctest.Wait()
		wantFrames(t, a.got.frames(), nil)
		if n := r.hub.Stats().Isolation; n != 3 {
			t.Errorf("got %d isolation faults, want 3", n)
		}
	})
}

func TestIdleTopicsAreForgottenAndComeBackFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.publish(user("a"))
		_ = r.hub.Close(a.h, 1000, "", false)
		r.engine.sink.Closed(uint64(a.h), nil)
		synctest.Wait()
		keys := r.hub.Idle(nil, 10, 0)
		if len(keys) != 2 {
			t.Fatalf("got %d idle topics, want the user's and all", len(keys))
		}
		again, live := r.hub.Acquire(keys[0], user("a"))
		if !live {
			t.Error("a topic that was only idle is not live any more")
		}
		if n := len(r.hub.Expire(keys)); n != 1 {
			t.Errorf("got %d expired, want 1: one has a reference", n)
		}
		r.hub.Release(again)
		if n := len(r.hub.Expire(r.hub.Idle(nil, 10, 0))); n != 1 {
			t.Errorf("got %d expired, want 1", n)
		}
		if n := r.hub.Stats().Topics; n != 0 {
			t.Errorf("got %d topics, want 0", n)
		}
		if _, live := r.hub.Acquire(keyOf(user("a")), user("a")); live {
			t.Error("a forgotten topic is live")
		}
	})
}
