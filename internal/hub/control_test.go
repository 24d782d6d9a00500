package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// waits is what waits on a connection.
func (c *client) waits() extra {
	rec := c.r.hub.lock(c.h)
	if rec == nil {
		return extra{}
	}
	defer c.r.hub.unlock(rec, c.h.slot())
	if rec.extra == 0 {
		return extra{}
	}
	return *c.r.hub.extras.at(rec.extra)
}

// wantOverfull fails unless c was closed because too much waited.
func (c *client) wantOverfull() {
	c.r.t.Helper()
	c.r.engine.room = 0
	c.r.engine.drainAll()
	synctest.Wait()
	frames := c.got.frames()
	if got := frames[len(frames)-1]; got != "close 1013 too much waited to be written: reconnect" {
		c.r.t.Errorf("got %.80q last, want the close", got)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	end, ended := c.r.end(c.h)
	if !ended || end.Code != wire.CloseTryAgain || !end.Overfull || end.Remote || end.Unwritten == 0 {
		c.r.t.Errorf("got %+v, want that the connection was closed for what waited", end)
	}
	if n := c.r.hub.Stats().WindowBytes; n != 0 {
		c.r.t.Errorf("got %d bytes that are counted, want none", n)
	}
}

// Each road by which others have a frame written to a connection that does not read.
func TestWhatAConnectionHasNotAskedForIsBounded(t *testing.T) {
	frame := text(strings.Repeat("x", 4000))
	key := keyOf(room("r"))
	for name, tell := range map[string]func(r *rig, c *client){
		"a notice": func(r *rig, c *client) { _ = r.hub.Tell(c.h, frame) },
		"a room that is joined": func(r *rig, c *client) {
			tag, err := r.hub.FollowOn(c.h, r.follow(room("r")), wire.Position{Epoch: "e1"}, Terms{Held: true})
			if err == nil {
				r.hub.Begin(c.h, key, tag, frame, false)
				r.hub.Unfollow(c.h, key)
			}
		},
		"a room that is left": func(r *rig, c *client) {
			_ = r.hub.Follow(c.h, r.follow(room("r")), wire.Position{Epoch: "e1"})
			r.hub.Leave(c.h, key, wire.Position{}, frame)
		},
		"a gap before the end of a room": func(r *rig, c *client) {
			_ = r.hub.Follow(c.h, r.follow(room("r")), wire.Position{Epoch: "e0"})
			r.hub.Leave(c.h, key, wire.Position{}, nil)
		},
		"a room that is lost": func(r *rig, c *client) { r.hub.Quit(c.h, key, false, frame) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 1000 })
				silent, other := r.open(user("a")), r.open(user("b"))
				most, kept := 0, int64(0)
				for range 5000 {
					tell(r, silent)
					x := silent.waits()
					most, kept = max(most, x.bytes, x.told), max(kept, r.hub.Stats().WindowBytes)
				}
				if want := r.hub.cfg.ToldBytes; most < want || most > want+len(frame) {
					t.Errorf("got %d bytes that wait at most, want %d and a frame", most, want)
				}
				if free := r.hub.cfg.ControlBytes; kept < int64(most-free) {
					t.Errorf("got %d bytes counted of %d that wait, of which %d are free", kept, most, free)
				}
				if x := silent.waits(); x.bytes != 0 || len(x.control) != 0 {
					t.Errorf("got %d bytes that wait on a connection that was closed for them", x.bytes)
				}
				if err := r.hub.Tell(silent.h, frame); !errors.Is(err, ErrGone) {
					t.Errorf("after the close: got %v, want ErrGone", err)
				}
				r.publish(user("b"))
				synctest.Wait()
				wantFrames(t, other.of(user("b")), numbers("e1", 1, 1))
				if n := r.hub.Stats().Overfull; n != 1 {
					t.Errorf("got %d closed, want one", n)
				}
				silent.wantOverfull()
			})
		})
	}
}

func TestWhoReadsIsToldAsMuchAsThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 20_000 })
		slow := r.open(user("a"))
		for i := range 200 {
			if err := r.hub.Tell(slow.h, text(fmt.Sprint(i, strings.Repeat(" ", 10_000)))); err != nil {
				t.Fatal(i, err)
			}
			if i%10 == 9 {
				r.engine.drainAll()
			}
		}
		synctest.Wait()
		got := slow.got.frames()
		for i, frame := range got {
			if frame = strings.TrimSpace(frame); frame != fmt.Sprint(i) {
				t.Fatalf("got %q, want %d", frame, i)
			}
		}
		if len(got) != 200 || r.hub.Stats().Overfull != 0 || r.hub.Stats().WindowBytes != 0 {
			t.Errorf("got %d frames and %+v, want 200, none closed and nothing counted", len(got), r.hub.Stats())
		}
	})
}

// What somebody asked for is theirs to read: it ends nothing, and takes no place of the rest.
func TestAnswersDoNotEndAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 1000 })
		a := r.open(user("a"))
		for range 10 {
			if err := r.hub.Send(a.h, text(strings.Repeat("x", 100_000)), false); err != nil {
				t.Fatal(err)
			}
		}
		if got, least := r.hub.Stats().WindowBytes, int64(900_000); got < least {
			t.Errorf("got %d bytes counted, want those of the answers", got)
		}
		if err := r.hub.Tell(a.h, text("notice")); err != nil {
			t.Errorf("a notice behind answers: got %v", err)
		}
		r.engine.room = 0
		r.engine.drainAll()
		synctest.Wait()
		if got := a.got.frames(); len(got) != 11 || got[10] != "notice" {
			t.Errorf("got %d frames, want the answers and the notice", len(got))
		}
		if n := r.hub.Stats().WindowBytes; n != 0 {
			t.Errorf("got %d bytes counted when all is written, want none", n)
		}
	})
}

// A tenant whose connections do not read has no more of them than its share of memory: the
// connections of another go on, and so do its own on which little waits.
func TestWhatWaitsOnConnectionsIsOfTheMemoryOfTheirTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { e.room, c.TenantBytes = 1000, 1<<20 })
		frame := text(strings.Repeat("x", 4000))
		in := func(tenant, id string) *client {
			u := user(id)
			u.Tenant = tenant
			return r.open(u)
		}
		few, other := in("noisy", "few"), in("quiet", "bob")
		if err := r.hub.Tell(few.h, frame); err != nil {
			t.Fatal(err)
		}
		var silent []*client
		for i := range 100 {
			silent = append(silent, in("noisy", fmt.Sprint(i)))
		}
		for range 60 { // below what each may have
			for _, c := range silent {
				_ = r.hub.Tell(c.h, frame)
			}
		}
		free := int64(len(silent)) * int64(r.hub.cfg.ControlBytes+2*len(frame))
		if n := r.hub.Stats(); n.Overfull == 0 || n.WindowBytes > r.hub.cfg.TenantBytes+free {
			t.Errorf("got %d closed and %d bytes, want some and at most %d", n.Overfull, n.WindowBytes, r.hub.cfg.TenantBytes+free)
		}
		for _, c := range []*client{few, other} {
			if err := r.hub.Tell(c.h, frame); err != nil {
				t.Errorf("on who has little that waits: got %v", err)
			}
		}
		for range 60 {
			if err := r.hub.Tell(other.h, frame); err != nil {
				t.Fatalf("another tenant: got %v", err)
			}
		}
	})
}
