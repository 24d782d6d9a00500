package hub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

func wantFrames(t *testing.T, got, want []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("frames (-want +got):\n%s", d)
	}
}

func TestEveryDeviceOfAUserGetsEachMessageOnceAndNobodyElseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		phone, laptop, bob := r.open(user("alice")), r.open(user("alice")), r.open(user("bob"))
		other := r.open(wire.Topic{Tenant: "acme", Kind: wire.KindUser, ID: "alice"})
		for range 3 {
			r.publish(user("alice"))
		}
		synctest.Wait()
		wantFrames(t, phone.of(user("alice")), numbers("e1", 1, 3))
		wantFrames(t, laptop.of(user("alice")), numbers("e1", 1, 3))
		wantFrames(t, bob.got.frames(), nil)
		wantFrames(t, other.got.frames(), nil)
	})
}

func TestRoomAndAllReachTheirFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		all := wire.Topic{Kind: wire.KindAll}
		a, b := r.open(user("a")), r.open(user("b"))
		a.join(room("r1"))
		a.join(room("r2"))
		b.join(room("r2"))
		r.publish(room("r1"))
		r.publish(room("r2"))
		r.publish(all)
		synctest.Wait()
		wantFrames(t, a.of(room("r1")), numbers("e1", 1, 1))
		wantFrames(t, a.of(room("r2")), numbers("e1", 1, 1))
		wantFrames(t, b.of(room("r1")), nil)
		wantFrames(t, b.of(room("r2")), numbers("e1", 1, 1))
		wantFrames(t, a.of(all), numbers("e1", 1, 1))
		wantFrames(t, b.of(all), numbers("e1", 1, 1))
	})
}

func TestNothingOfARoomComesAfterUnfollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		a.join(room("r"))
		r.publish(room("r"))
		synctest.Wait()
		if !r.hub.Unfollow(a.h, keyOf(room("r"))) {
			t.Error("Unfollow says that the room was not followed")
		}
		r.publish(room("r"))
		synctest.Wait()
		wantFrames(t, a.of(room("r")), numbers("e1", 1, 1))
		a.join(room("r"))
		r.publish(room("r"))
		synctest.Wait()
		wantFrames(t, a.of(room("r")), []string{"e1 1", "e1 3"})
	})
}

func TestExceptedSessionsAndHiddenEntriesAreSkippedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.open(user("a")), r.open(user("a"))
		r.publish(user("a"))
		r.publish(user("a"), a.session)
		r.publish(user("a"))
		synctest.Wait()
		wantFrames(t, a.of(user("a")), []string{"e1 1", "e1 3"})
		wantFrames(t, b.of(user("a")), numbers("e1", 1, 3))
	})
}

// A socket that takes little at a time, at any cut, gets whole frames in order.
func TestShortWritesAreContinuedWhereTheyStopped(t *testing.T) {
	for size := 1; size < 64; size += 3 {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = size })
				a := r.open(user("a"))
				a.join(room("r"))
				for i := range 20 {
					r.publish(user("a"))
					r.publish(room("r"))
					if err := r.hub.Send(a.h, text(fmt.Sprint("answer ", i)), false); err != nil {
						t.Fatal(err)
					}
				}
				for range 2000 {
					synctest.Wait()
					r.engine.drain(a.socket())
				}
				wantFrames(t, a.of(user("a")), numbers("e1", 1, 20))
				wantFrames(t, a.of(room("r")), numbers("e1", 1, 20))
				if n := strings.Count(strings.Join(a.got.frames(), "\n"), "answer"); n != 20 {
					t.Errorf("got %d answers, want 20", n)
				}
			})
		})
	}
}

func TestAnswersOvertakeTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 1 })
		a := r.open(user("a"))
		for range 5 {
			r.publish(user("a"))
		}
		_ = r.hub.Send(a.h, text("answer"), false)
		r.engine.room = 0
		r.engine.drainAll()
		synctest.Wait()
		wantFrames(t, a.got.frames(), []string{":user/a e1 1", "answer", ":user/a e1 2", ":user/a e1 3", ":user/a e1 4", ":user/a e1 5"})
	})
}

func TestACursorBehindTheWindowReadsTheLogAndJoinsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { c.WindowMessages, e.room = 4, 1 })
		for _, topic := range []wire.Topic{user("a"), room("r")} {
			a := r.open(user("a"))
			a.join(room("r"))
			for range 1000 {
				r.publish(topic)
			}
			synctest.Wait()
			r.engine.room = 0
			r.engine.drainAll()
			synctest.Wait()
			r.publish(topic)
			synctest.Wait()
			wantFrames(t, a.of(topic), numbers("e1", 1, 1001))
			if n := r.hub.Stats().CatchUps; n == 0 {
				t.Error("the log was never read")
			}
			_ = r.hub.Close(a.h, 1000, "", false)
			r.engine.room = 1
		}
	})
}

func TestWhatTheLogNoLongerHasIsToldOnceAsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 61 {
			r.publish(user("a"))
		}
		r.keep(user("a"), 3)
		a, err := r.openHeld(user("a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.hub.Seek(a.h, keyOf(user("a")), wire.Position{Epoch: "e1", Offset: 56}); err != nil {
			t.Fatal(err)
		}
		_ = r.hub.Start(a.h, false)
		synctest.Wait()
		got := a.got.frames()
		if len(got) != 4 {
			t.Fatalf("got %q, want a gap and three messages", got)
		}
		env, err := wire.Parse([]byte(got[0]))
		if err != nil {
			t.Fatal(err)
		}
		var gap wire.Gap
		if err := env.Decode(&gap); err != nil {
			t.Fatal(err)
		}
		want := wire.Gap{
			Topic: "user/a", From: wire.Position{Epoch: "e1", Offset: 56}, To: wire.Position{Epoch: "e1", Offset: 58},
			Reason: wire.ReasonExpired, Count: 2,
		}
		if d := cmp.Diff(want, gap); d != "" {
			t.Errorf("gap (-want +got):\n%s", d)
		}
		wantFrames(t, a.of(user("a")), numbers("e1", 59, 61))
	})
}

// A client may know from another node that a log began anew, before this one does.
func TestACursorInAnEpochThatTheTopicDoesNotKnowIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, err := r.openHeld(user("a"))
		if err != nil {
			t.Fatal(err)
		}
		r.publish(user("a"))
		l := r.log(user("a"))
		l.mu.Lock()
		l.epoch, l.head, l.entries = "e2", 0, nil
		l.mu.Unlock()
		if err := r.hub.Seek(a.h, keyOf(user("a")), wire.Position{Epoch: "e2"}); err != nil {
			t.Fatal(err)
		}
		_ = r.hub.Start(a.h, false)
		synctest.Wait()
		if head, _, _ := r.hub.Lookup(keyOf(user("a"))); head != (wire.Position{Epoch: "e2"}) {
			t.Errorf("got %s as the head, want that of the log", head)
		}
		if n := r.hub.Stats().CatchUps; n != 1 {
			t.Errorf("got %d readings of the log, want 1", n)
		}
		r.publish(user("a"))
		synctest.Wait()
		wantFrames(t, a.of(user("a")), numbers("e2", 1, 1))
	})
}

func TestANewEpochIsToldBeforeItsFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("u"))
		a.join(room("r"))
		for range 9 {
			r.publish(room("r"))
		}
		synctest.Wait()
		l := r.log(room("r"))
		l.mu.Lock()
		l.epoch, l.head, l.entries = "e2", 0, nil
		l.mu.Unlock()
		r.publish(room("r"))
		r.publish(room("r"))
		synctest.Wait()
		wantFrames(t, a.of(room("r")), append(numbers("e1", 1, 9), "e2 1", "e2 2"))
		gaps := 0
		for i, f := range a.got.frames() {
			if !strings.Contains(f, `"gap"`) {
				continue
			}
			gaps++
			if i != 9 {
				t.Errorf("the gap is frame %d, want 9", i)
			}
			for _, part := range []string{`"from":"e1:9"`, `"to":"e2:0"`, `"reason":"epoch_changed"`, `"epoch":"e1"`, `"new_epoch":"e2"`} {
				if !strings.Contains(f, part) {
					t.Errorf("gap %s lacks %s", f, part)
				}
			}
		}
		if gaps != 1 {
			t.Errorf("got %d gaps, want 1", gaps)
		}
	})
}

func TestHeldConnectionGetsNothingButAnswersUntilUnheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, err := r.openHeld(user("a"))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.hub.Send(a.h, text("welcome"), false)
		_ = r.hub.Start(a.h, true)
		r.publish(user("a"))
		synctest.Wait()
		wantFrames(t, a.got.frames(), []string{"welcome"})
		if !r.hub.Unhold(a.h) {
			t.Error("Unhold says that it was not held")
		}
		synctest.Wait()
		wantFrames(t, a.of(user("a")), numbers("e1", 1, 1))
	})
}

func TestALogThatCannotBeReadIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 5 {
			r.publish(user("a"))
		}
		r.failing = errLogDown
		a := r.open(user("a"))
		_ = r.hub.Seek(a.h, keyOf(user("a")), wire.Position{Epoch: "e1", Offset: 2})
		time.Sleep(3 * catchRetry)
		wantFrames(t, a.of(user("a")), nil)
		r.mu.Lock()
		r.failing = nil
		r.mu.Unlock()
		time.Sleep(2 * catchRetry)
		wantFrames(t, a.of(user("a")), numbers("e1", 3, 5))
	})
}

// More topics whose logs cannot be read than there are readers do not keep
// others from theirs.
func TestOneUnreadableLogDoesNotHoldUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.unreadable = map[Key]bool{}
		back := func(id string) *client {
			for range 3 {
				r.publish(user(id))
			}
			c := r.open(user(id))
			_ = r.hub.Seek(c.h, keyOf(user(id)), wire.Position{Epoch: "e1", Offset: 1})
			return c
		}
		for i := range 2 * catchWorkers {
			id := fmt.Sprint("bad ", i)
			r.mu.Lock()
			r.unreadable[keyOf(user(id))] = true
			r.mu.Unlock()
			back(id)
		}
		good := back("good")
		time.Sleep(4 * catchRetry)
		wantFrames(t, good.of(user("good")), numbers("e1", 2, 3))
	})
}

func TestWindowsAreGivenBackWhenNobodyLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		a.join(room("r"))
		for range 100 {
			r.publish(user("a"))
			r.publish(room("r"))
		}
		// Where a publisher and a walker met at a connection, the reaper does it.
		time.Sleep(2 * windowIdle * tickLength)
		synctest.Wait()
		if s := r.hub.Stats(); s.WindowBytes != 0 || r.hub.windows.used() != 0 {
			t.Errorf("got %d bytes in %d windows, want none", s.WindowBytes, r.hub.windows.used())
		}
	})
}

func TestWindowsStayWithinTheirBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) {
			e.room, c.WindowMessages, c.WindowBytes, c.MemoryBytes = 1, 50, 500, 2000
		})
		var clients []*client
		for i := range 20 {
			clients = append(clients, r.open(user(fmt.Sprint(i))))
		}
		for range 100 {
			for i := range 20 {
				r.publish(user(fmt.Sprint(i)))
			}
			if n := r.hub.Stats().WindowBytes; n > 2000+20*30 {
				t.Fatalf("got %d bytes in windows, want at most one entry a topic over 2000", n)
			}
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := r.hub.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes in windows a minute later, want 0", n)
		}
		r.engine.room = 0
		r.engine.drainAll()
		synctest.Wait()
		for i, c := range clients {
			wantFrames(t, c.of(user(fmt.Sprint(i))), numbers("e1", 1, 100))
		}
	})
}
