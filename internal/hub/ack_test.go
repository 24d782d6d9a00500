package hub

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/wire"
)

func TestAcksThatTellNothingTrueAreDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		for range 3 {
			r.publish(alice)
		}
		synctest.Wait()
		at := func(epoch string, offset uint64) wire.Position { return wire.Position{Epoch: epoch, Offset: offset} }
		for _, tt := range []struct {
			name            string
			delivered, seen wire.Position
			want            Acked // Delivered, Seen, Fresh, Doubted
		}{
			{"above the cursor", at("e1", 4), wire.Position{}, Acked{Doubted: 1}},
			{"of another epoch", at("e0", 1), at("e0", 1), Acked{Doubted: 2}},
			{"true", at("e1", 2), wire.Position{}, Acked{Delivered: at("e1", 2), Fresh: true}},
			{"again", at("e1", 2), wire.Position{}, Acked{Delivered: at("e1", 2)}},
			{"back", at("e1", 1), at("e1", 1), Acked{Delivered: at("e1", 2), Seen: at("e1", 1), Fresh: true}},
			{"seen above delivered", at("e1", 2), at("e1", 3), Acked{Delivered: at("e1", 3), Seen: at("e1", 3), Fresh: true}},
		} {
			got, err := r.hub.Ack(c.h, keyOf(alice), tt.delivered, tt.seen)
			if got.Session != c.session || got.User != alice {
				t.Errorf("%s: got %+v, want the session and the user", tt.name, got)
			}
			got.Session, got.User = Session{}, wire.Topic{}
			if err != nil || got != tt.want {
				t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
			}
		}
		r.hub.Hold(c.h) // its cursor is about to move
		if got, err := r.hub.Ack(c.h, keyOf(alice), at("e1", 3), wire.Position{}); err != nil || got.Doubted != 1 {
			t.Errorf("held: got %+v, %v, want it doubted", got, err)
		}
		if _, err := r.hub.Ack(c.h, keyOf(room("r")), at("e1", 1), wire.Position{}); !errors.Is(err, ErrNotFollowed) {
			t.Errorf("got %v for a room, want ErrNotFollowed", err)
		}
	})
}

// A cursor stands where the client says that it is, until the log was read from there.
func TestAnAckOfAnEpochThatOnlyTheClientKnowsIsDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		r.mu.Lock()
		r.failing = errLogDown
		r.mu.Unlock()
		made := wire.Position{Epoch: "made-up", Offset: 1 << 40}
		if err := r.hub.Seek(c.h, keyOf(alice), made); err != nil {
			t.Fatal(err)
		}
		if got, err := r.hub.Ack(c.h, keyOf(alice), made, made); err != nil || got.Fresh || got.Doubted != 2 {
			t.Errorf("got %+v, %v, want both doubted", got, err)
		}
	})
}

// A topic's number may be another topic's as soon as nobody follows it.
func TestAcksOfARoomGoWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		c := r.open(user("alice"))
		rooms := []wire.Topic{room("1"), room("2"), room("3")}
		first := wire.Position{Epoch: "e1", Offset: 1}
		for _, a := range rooms {
			c.join(a)
			r.publish(a)
			synctest.Wait()
			if got, err := r.hub.Ack(c.h, keyOf(a), first, wire.Position{}); err != nil || !got.Fresh {
				t.Fatalf("got %+v, %v", got, err)
			}
		}
		r.hub.Unfollow(c.h, keyOf(rooms[0]))
		if n := len(r.hub.acks.at(r.hub.conns.at(c.h.slot()).acks).list); n != 2 {
			t.Errorf("got %d marks, want those of 2 rooms", n)
		}
		c.join(rooms[0])
		for _, cur := range r.hub.Following(c.h) {
			if want := cur.Address == rooms[1] || cur.Address == rooms[2]; cur.Delivered.IsZero() == want {
				t.Errorf("got %+v", cur)
			}
		}
	})
}

func TestConnectionsThatAcknowledgeNothingHaveNoRecordOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		idle, c := r.open(user("bob")), r.open(alice)
		r.publish(alice)
		synctest.Wait()
		ack := func() {
			if _, err := r.hub.Ack(c.h, keyOf(alice), wire.Position{Epoch: "e1", Offset: 1}, wire.Position{}); err != nil {
				t.Fatal(err)
			}
		}
		if used := r.hub.acks.used(); used != 0 {
			t.Errorf("got %d records of acks, want none", used)
		}
		ack()
		if used := r.hub.acks.used(); used != 1 {
			t.Errorf("got %d records of acks, want 1", used)
		}
		for _, h := range []Handle{idle.h, c.h} {
			r.hub.Abandon(h)
		}
		synctest.Wait()
		if end, _ := r.end(c.h); len(end.Topics) != 2 || end.Topics[0].Delivered.Offset != 1 || end.View.Acked.IsZero() {
			t.Errorf("got %+v, want what was acknowledged", end)
		}
		if used := r.hub.acks.used(); used != 0 {
			t.Errorf("got %d records of acks after the end, want none", used)
		}
	})
}

func BenchmarkAck(b *testing.B) {
	r := nullRig(b)
	alice := user("alice")
	c := r.connect(alice)
	if err := r.hub.Start(c, false); err != nil {
		b.Fatal(err)
	}
	for range 1000 {
		r.publish(alice)
	}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		if _, err := r.hub.Ack(c, keyOf(alice), wire.Position{Epoch: "e1", Offset: n%1000 + 1}, wire.Position{}); err != nil {
			b.Fatal(err)
		}
	}
}
