package switchboard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// price publishes a message of class latest.
func (s *server) price(t testing.TB, to switchboard.Target, key string, n int) switchboard.Delivery {
	t.Helper()
	d, err := s.Publish(t.Context(), to, switchboard.Message{
		Type: "price", ID: fmt.Sprint(key, n), Class: wire.Latest, Key: key, Payload: map[string]string{"price": fmt.Sprint(key, " ", n)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// prices expects so many messages of that kind and returns what they say.
func (c *device) prices(count int) (list []string) {
	c.t.Helper()
	for range count {
		var p struct{ Price string }
		env := c.expect("price")
		if err := env.Decode(&p); err != nil || env.Offset != 0 || env.Topic == "" {
			c.t.Fatalf("got %+v, %v: want a message of a topic, without an offset", env, err)
		}
		list = append(list, p.Price)
	}
	return list
}

func TestTheNewestOfEachKeyComesToWhoIsThereAndWhoComesLater(t *testing.T) {
	for _, to := range []switchboard.Target{switchboard.User("alice"), switchboard.Room("r"), switchboard.All()} {
		synctest.Test(t, func(t *testing.T) {
			d := openDriver(t)
			other := d.Node()
			t.Cleanup(func() { _ = other.Close() })
			one, two := newServer(t, switchboard.Options{Broker: d}), newServer(t, switchboard.Options{Broker: other})
			here := func(s *server) *device {
				c := s.as(t, "alice room:r:join")
				if to.String() == "room/r" {
					c.send(`{"type":"subscribe","payload":{"rooms":["r"]},"message_id":"s"}`)
					c.expect(wire.Subscribed)
					synctest.Wait() // it is answered before it follows
				}
				return c
			}
			a := here(one)
			wantEqual(t, "delivery", one.price(t, to, "x", 1), switchboard.Delivery{ID: "x1", Receivers: 1})
			wantEqual(t, "again", one.price(t, to, "x", 1), switchboard.Delivery{ID: "x1", Duplicate: true})
			one.price(t, to, "y", 2)
			wantEqual(t, "prices", a.prices(2), []string{"x 1", "y 2"})
			two.price(t, to, "x", 3) // a node that has nobody of them
			wantEqual(t, "prices", a.prices(1), []string{"x 3"})
			b := here(two)
			wantEqual(t, "prices at the other node", b.prices(2), []string{"y 2", "x 3"})
			one.note(t, to, 1) // the log knows nothing of them
			if got := a.notes(1); got[0] != 1 {
				t.Errorf("got %v", got)
			}
			b.notes(1)
			time.Sleep(61 * time.Second)
			here(one).silent()
			a.silent()
			b.silent()
		})
	}
}

func TestTheNewestOfAKeyIsNotLostWithTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		other := d.Node()
		t.Cleanup(func() { _ = other.Close() })
		one, two := newServer(t, switchboard.Options{Broker: d}), newServer(t, switchboard.Options{Broker: other})
		a := one.as(t, "alice")
		synctest.Wait()
		d.Faults().CutLink()
		synctest.Wait()
		two.price(t, switchboard.User("alice"), "x", 1)
		wantEqual(t, "prices", a.prices(1), []string{"x 1"})
		// One that the driver has and did not deliver is found when heads are compared.
		d.Faults().DropLive(userKey("alice"), 2) // to both nodes
		two.price(t, switchboard.User("alice"), "x", 2)
		a.silent()
		time.Sleep(10 * time.Second)
		wantEqual(t, "prices", a.prices(1), []string{"x 2"})
		a.silent()
	})
}

func TestTheNewerOfTwoThatWerePublishedAtOnceIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		synctest.Wait()
		s.price(t, switchboard.User("alice"), "x", 1)
		d.Faults().DropLive(userKey("alice"), 1)
		s.price(t, switchboard.User("alice"), "x", 2)
		wantEqual(t, "prices", a.prices(1), []string{"x 1"})
		time.Sleep(11 * time.Second)
		wantEqual(t, "prices", a.prices(1), []string{"x 2"})
		a.silent()
	})
}

func TestWhatWasReplacedWhileTheLinkWasLostDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		synctest.Wait()
		s.price(t, switchboard.User("alice"), "x", 1)
		wantEqual(t, "prices", a.prices(1), []string{"x 1"})
		d.Faults().DropLive(userKey("alice"), 1)
		if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
			Type: "price", Class: wire.Latest, Key: "x", TTL: time.Second,
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		s.as(t, "alice").silent()
	})
}

// cutDriver calls cut when it has read what the newest messages of a topic are.
type cutDriver struct {
	broker.Driver
	topic broker.Key
	cut   func()
}

func (d *cutDriver) Latest(ctx context.Context, topic broker.Key) ([]broker.Entry, error) {
	list, err := d.Driver.Latest(ctx, topic)
	if cut := d.cut; cut != nil && topic == d.topic {
		d.cut = nil
		cut()
	}
	return list, err
}

func TestTheNewestOfAKeyIsNotLostWithTheLinkWhileATopicBecomesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openDriver(t)
		other := b.Node()
		t.Cleanup(func() { _ = other.Close() })
		d := &cutDriver{Driver: b, topic: userKey("alice")}
		one, two := newServer(t, switchboard.Options{Broker: d}), newServer(t, switchboard.Options{Broker: other})
		synctest.Wait()
		d.cut = func() {
			b.Faults().CutLink()
			time.Sleep(time.Millisecond)
			two.price(t, switchboard.User("alice"), "x", 1)
			time.Sleep(5 * time.Second) // the link is back, and all that is live was looked at
		}
		wantEqual(t, "prices", one.as(t, "alice").prices(1), []string{"x 1"})
	})
}

// stuckDriver does not answer what the newest messages are while it is stuck.
type stuckDriver struct {
	broker.Driver
	stuck atomic.Bool
}

func (d *stuckDriver) Latest(ctx context.Context, topic broker.Key) ([]broker.Entry, error) {
	if d.stuck.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.Driver.Latest(ctx, topic)
}

func TestLogsAreComparedBeforeTheNewestOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stuckDriver{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		var last *device
		for n := range 300 { // more topics than heads are compared of at once
			last = s.as(t, fmt.Sprint("user", n))
		}
		s.price(t, switchboard.All(), "x", 1)
		last.prices(1)
		d.stuck.Store(true)
		d.Driver.(*membroker.Broker).Faults().DropLive(userKey("user299"), 1)
		s.note(t, switchboard.User("user299"), 1)
		time.Sleep(10 * time.Second)
		wantEqual(t, "notes", last.notes(1), []int{1})
	})
}

func TestVolatileMessagesPassAndAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a, b := s.as(t, "alice"), s.as(t, "alice")
		d, err := s.Publish(t.Context(), switchboard.User("alice").Except(b.welcome.Session.ID), switchboard.Message{Type: "moved", ID: "m", Class: wire.Volatile})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "delivery", d, switchboard.Delivery{ID: "m", Receivers: 2})
		got := a.expect("moved")
		wantEqual(t, "message", got, wire.Envelope{Type: "moved", ID: "m", Topic: "user/alice", Timestamp: got.Timestamp})
		b.silent()
		s.resume(t, a).silent()
		page, err := s.History(t.Context(), switchboard.User("alice"), switchboard.Query{})
		if err != nil || len(page.Messages) != 0 {
			t.Errorf("got %+v, %v, want an empty log", page, err)
		}
	})
}

func TestAClientThatIsBehindIsToldHowManyVolatileMessagesItSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", buffer: 1024})
		s.note(t, switchboard.User("alice"), 1)
		const count = 100
		for n := range count {
			_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
				Type: "moved", Class: wire.Volatile, Payload: map[string]any{"n": n, "x": strings.Repeat("x", 300)},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		a.notes(1)
		taken := 0
		for {
			env := a.next()
			if env.Type == wire.GapType {
				var gap wire.Gap
				if err := env.Decode(&gap); err != nil {
					t.Fatal(err)
				}
				head := a.welcome.Topics["user/alice"]
				head.Offset++
				wantEqual(t, "gap", gap, wire.Gap{Topic: "user/alice", From: head, To: head, Reason: wire.ReasonVolatile, Count: count - uint64(taken)})
				break
			}
			taken++
		}
		if taken == 0 {
			t.Error("it got none, though its socket took some")
		}
		a.silent()
		if got := s.Stats().Skipped; got != count-uint64(taken) {
			t.Errorf("got %d counted as skipped, want %d", got, count-taken)
		}
	})
}

// asked is a driver that takes its time for what is newest, and notes when it was asked.
type asked struct {
	broker.Driver
	mu    sync.Mutex // guards times
	times []time.Time
}

func (d *asked) Latest(ctx context.Context, topic broker.Key) ([]broker.Entry, error) {
	time.Sleep(10 * time.Millisecond)
	d.mu.Lock()
	d.times = append(d.times, time.Now())
	d.mu.Unlock()
	return d.Driver.Latest(ctx, topic)
}

// Topics with such messages must not hold up the comparison of heads of the others.
func TestTheNewestOfManyTopicsIsAskedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &asked{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		const users = 200
		for i := range users {
			name := fmt.Sprint("user", i)
			s.as(t, name)
			s.price(t, switchboard.User(name), "x", i)
		}
		synctest.Wait()
		d.mu.Lock()
		d.times = nil
		d.mu.Unlock()
		time.Sleep(13 * time.Second)
		d.mu.Lock()
		defer d.mu.Unlock()
		if n := len(d.times); n != users {
			t.Fatalf("got %d questions, want one for each topic", n)
		}
		if took := d.times[users-1].Sub(d.times[0]); took > users*10*time.Millisecond/8 {
			t.Errorf("it took %v", took)
		}
	})
}
