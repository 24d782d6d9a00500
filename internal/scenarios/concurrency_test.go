package scenarios_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// TestOneManagerForAll: 55 goroutines come to one manager at once, each with a user. All of
// them see the same connections, and what each publishes reaches all.
func TestOneManagerForAll(t *testing.T) {
	t.Parallel()
	const goroutines = 55
	n := newNode(t, switchboard.Options{})
	var connected, published sync.WaitGroup
	connected.Add(goroutines)
	published.Add(goroutines)
	each(t, goroutines+1, func(i int) error {
		if i == goroutines {
			published.Wait()
			return n.end(t.Context(), switchboard.All())
		}
		d, err := n.connect(fmt.Sprintf("user-%d", i))
		connected.Done()
		if err != nil {
			published.Done()
			return err
		}
		t.Cleanup(d.drop)
		connected.Wait()
		seen := 0
		for _, err := range n.Connections().List(t.Context(), switchboard.All()) {
			if err != nil {
				return err
			}
			seen++
		}
		err = n.note(t.Context(), switchboard.All(), strconv.Itoa(i), 0)
		published.Done()
		if err != nil || seen != goroutines {
			return fmt.Errorf("got %d connections, %w, want %d", seen, err, goroutines)
		}
		got, err := notes(d.messages())
		if err != nil {
			return err
		}
		return interleaved(got, goroutines, 1)
	})
}

// TestCountersAreExact: 30 goroutines with 20 operations each. Each happens once, has a place
// of its own behind the one before it, and is counted.
func TestCountersAreExact(t *testing.T) {
	t.Parallel()
	const goroutines, operations = 30, 20
	n := newNode(t, switchboard.Options{})
	var handled atomic.Int64
	n.Handle("count", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
		handled.Add(1)
		return nil
	})
	places := make([][]uint64, goroutines)
	each(t, goroutines, func(i int) error {
		c, err := client.Dial(waiting(t), client.Options{URL: n.url(), Token: as(fmt.Sprintf("user-%d", i))})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		for range operations {
			if _, err := c.Send(waiting(t), client.Message{Type: "count"}); err != nil {
				return err
			}
			d, err := n.Publish(t.Context(), switchboard.All(), switchboard.Message{Type: noteType})
			if err != nil {
				return err
			}
			places[i] = append(places[i], d.Position.Offset)
		}
		if !slices.IsSorted(places[i]) {
			return fmt.Errorf("got places %v, want them to rise", places[i])
		}
		return nil
	})
	all := slices.Sorted(slices.Values(slices.Concat(places...)))
	if distinct := len(slices.Compact(all)); distinct != goroutines*operations {
		t.Errorf("got %d places for %d messages", distinct, goroutines*operations)
	}
	st := n.Stats()
	received := st.Received - st.Acks // clients tell by themselves what they have
	if st.Published != goroutines*operations || received != goroutines*operations || handled.Load() != goroutines*operations {
		t.Errorf("got %d published, %d received, %d handled, want %d of each", st.Published, received, handled.Load(), goroutines*operations)
	}
}

// TestNoDeadlock: everything that takes locks, at once, on the same few connections, rooms and
// topics, and a shutdown in the middle of it. It ends.
func TestNoDeadlock(t *testing.T) {
	t.Parallel()
	const workers, rounds = 24, 30
	n := newNode(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: -1}})
	n.Handle("echo", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
		_, err := n.Publish(ctx, switchboard.User(c.Identity().User), switchboard.Message{Type: "echoed", Payload: msg.Payload})
		return err
	})
	ctx := t.Context()
	user := func(i int) string { return fmt.Sprintf("user-%d", i%3) }
	shared := func(i int) string { return fmt.Sprintf("room-%d", i%2) }
	operations := []func(i int) error{
		func(i int) error { return n.note(ctx, switchboard.User(user(i)), "x", i) },
		func(i int) error { return n.note(ctx, switchboard.Room(shared(i)), "x", i) },
		func(i int) error { return n.note(ctx, switchboard.All(), "x", i) },
		func(i int) error { return n.Rooms().Add(ctx, shared(i), user(i)) },
		func(i int) error { return n.Rooms().Remove(ctx, shared(i), user(i+1)) },
		func(i int) error {
			for _, err := range n.Connections().List(ctx, switchboard.All()) {
				if n.Stats(); err != nil {
					return err
				}
			}
			_, err := n.History(ctx, switchboard.Room(shared(i)), switchboard.Query{})
			return err
		},
		func(i int) error {
			_, err := n.Connections().Close(ctx, switchboard.User(user(i)), switchboard.CloseError{})
			return err
		},
		func(i int) error {
			run, err := n.Runs().Start(ctx, switchboard.RunOptions{Agent: "a", To: switchboard.User(user(i))})
			if err != nil {
				return err
			}
			if _, err := io.WriteString(run.Stream("s"), "text"); err != nil {
				return err
			}
			_, err = run.Cancel(ctx, "enough")
			return err
		},
		func(i int) error {
			d, err := n.connect(user(i) + " room:*:*")
			if err != nil {
				return err
			}
			defer d.drop()
			for _, frame := range []string{
				`{"type":"subscribe","payload":{"rooms":["room-0","room-1"]}}`, `{"type":"echo"}`,
				`{"type":"unsubscribe","payload":{"rooms":["room-1"]}}`, `{"type":"history","payload":{"topic":"room/room-0"}}`,
			} {
				if err := d.say(frame); err != nil {
					return nil // it was closed meanwhile
				}
			}
			_, _ = d.read()
			return nil
		},
	}
	work := func(rounds int) error {
		var wg sync.WaitGroup
		errs := make([]error, workers)
		for w := range workers {
			wg.Go(func() {
				for r := range rounds {
					if err := operations[(w+r)%len(operations)](w + r); err != nil {
						errs[w] = errors.Join(errs[w], err)
					}
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	done := make(chan error, 1)
	go func() {
		err := work(rounds)
		down := make(chan struct{})
		go func() {
			defer close(down)
			stop, cancel := context.WithCancel(context.Background())
			cancel()
			_ = n.Shutdown(stop) // newNode does so again, and looks at what comes back
		}()
		_ = work(3) // refused or not, by a manager that ends: it only must end
		<-down
		done <- err
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-waiting(t).Done():
		stacks := make([]byte, 1<<20)
		t.Fatalf("deadlock:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// TestHandlersDoNotAccumulate: the former system had a handler more with each connection and
// thousands in the end. Here a message is handled once after 300 connections as after one, and
// nothing of them runs on.
func TestHandlersDoNotAccumulate(t *testing.T) {
	if !alone(t) {
		return
	}
	const batches, users = 10, 30
	n := newNode(t, switchboard.Options{})
	var handled atomic.Int64
	n.Handle("hello", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
		handled.Add(1)
		return nil
	})
	// The goroutines that run handlers are kept, some of them. Those who meet bring them all up.
	var meeting sync.WaitGroup
	meeting.Add(users)
	n.Handle("meet", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
		meeting.Done()
		meeting.Wait()
		return nil
	})
	visit := func(typ string, i int) error {
		d, err := n.connect(fmt.Sprintf("user-%d", i))
		if err != nil {
			return err
		}
		defer d.drop()
		if err := d.say(fmt.Sprintf(`{"type":%q,"message_id":"%s-%d"}`, typ, typ, i)); err != nil {
			return err
		}
		if _, err := nextOf(d, wire.AckType); err != nil {
			return err
		}
		return d.leave()
	}
	each(t, users, func(i int) error { return visit("meet", i) })
	n.becomesEmpty(t)
	before := runtime.NumGoroutine()
	for batch := range batches {
		each(t, users, func(i int) error { return visit("hello", batch*users+i) })
	}
	n.becomesEmpty(t)
	eventually(t, "no goroutine is left over", func() bool { return runtime.NumGoroutine() <= before })
	must(t, visit("hello", batches*users))
	if got := handled.Load(); got != batches*users+1 {
		t.Errorf("%d messages were handled %d times", batches*users+1, got)
	}
}
