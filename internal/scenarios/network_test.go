package scenarios_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// TestNetworkInstability: 25 connections and 10 messages to each, on four networks. Everybody
// gets all of them once and in order, on the terrible one too.
func TestNetworkInstability(t *testing.T) {
	t.Parallel()
	for _, p := range profiles() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, switchboard.Options{})
			var lost atomic.Int64
			const connections = 25
			lines := make([]*line, connections)
			for i := range lines {
				lines[i] = newLine(t, n, p, i)
			}
			each(t, connections, func(i int) error {
				user := fmt.Sprintf("user-%d", i)
				ctx, cancel := context.WithTimeout(t.Context(), 5*patience) // clients wait between attempts, in the end up to 10 s
				defer cancel()
				return lines[i].carries(ctx, n, user, 10, func(int) {
					if lines[i].chance() {
						lost.Add(1)
					}
				})
			})
			t.Logf("%d of %d messages were lost at first; %d connections were made for %d clients",
				lost.Load(), connections*10, n.Stats().Accepted, connections)
			if p.loss > 0 && lost.Load() == 0 {
				t.Error("nothing was lost, so nothing was tried")
			}
		})
	}
}

// carries connects a user over the line, sends count messages and wants all of them to arrive,
// once and in order. They go in pairs, so that a cut finds one message under way and one that
// comes meanwhile. Before each of them the line may be broken.
func (l *line) carries(ctx context.Context, n *node, user string, count int, before func(k int)) error {
	c, err := l.dial(ctx, user)
	if err != nil {
		return err
	}
	defer c.Close()
	arrived, all := make(chan struct{}, count), make(chan error, 1)
	go func() {
		got, err := notes(func(yield func(wire.Envelope, error) bool) {
			for env, err := range c.Messages(ctx) {
				if !yield(env, err) {
					return
				}
				if env.Type == noteType && len(arrived) < count { // which ones, exactly says
					arrived <- struct{}{}
				}
			}
		})
		if err == nil {
			err = exactly(got, numbered(user, count))
		}
		all <- err
	}()
	pending := 0
	for k := range count {
		before(k)
		if err := n.note(ctx, switchboard.User(user), user, k); err != nil {
			return err
		}
		if pending++; pending < 2 && k+1 < count {
			continue
		}
		for ; pending > 0; pending-- {
			select {
			case <-arrived:
			case err := <-all:
				return fmt.Errorf("at message %d the messages ended: %w", k, err)
			}
		}
	}
	if err := n.end(ctx, switchboard.User(user)); err != nil {
		return err
	}
	return <-all
}

// dial connects over the line. The first connection is the caller's to repeat.
func (l *line) dial(ctx context.Context, user string) (*client.Client, error) {
	for {
		c, err := client.Dial(ctx, client.Options{URL: l.url(), Token: as(user)})
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}

// TestWhatIsSentOverABadLineIsSaidOnce: every third answer to what a client sends is lost with
// the connection, so the client must send it again. It is said once, and in order.
func TestWhatIsSentOverABadLineIsSaidOnce(t *testing.T) {
	t.Parallel()
	const users, messages = 10, 9
	n := newNode(t, switchboard.Options{})
	each(t, users, func(i int) error {
		user := fmt.Sprintf("user-%d", i)
		l := newLine(t, n, profile{name: user}, i)
		c, err := l.dial(waiting(t), user)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		d, err := n.connect(user)
		if err != nil {
			return err
		}
		defer d.drop()
		for k := range messages {
			if k%3 == i%3 {
				l.breaks(reset + fate(i%3))
			}
			if _, err := c.Send(waiting(t), client.Message{Type: wire.UserMessage, Payload: note{user, k}}); err != nil {
				return err
			}
		}
		if err := n.end(t.Context(), switchboard.User(user)); err != nil {
			return err
		}
		var got []note
		for env, err := range d.messages() {
			var one note
			if err == nil && env.Type != endType {
				err = env.Decode(&one)
			}
			if err != nil {
				return err
			}
			if env.Type == endType {
				break
			}
			got = append(got, one)
		}
		return exactly(got, numbered(user, messages))
	})
	if got := n.Stats().Accepted; got < 2*users+users {
		t.Errorf("got %d connections of %d, so not every line was cut", got, 2*users)
	}
}
