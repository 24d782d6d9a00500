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
				cuts, err := lines[i].tenMessages(waiting(t), n, user)
				lost.Add(int64(cuts))
				return err
			})
			t.Logf("%d of %d messages were lost at first; %d connections were made for %d clients",
				lost.Load(), connections*10, n.Stats().Accepted, connections)
			if p.loss > 0 && lost.Load() == 0 {
				t.Error("nothing was lost, so nothing was tried")
			}
		})
	}
}

// tenMessages connects a user over the line, sends ten messages and wants them all to arrive.
// They go in pairs, so that a cut finds one message under way and one that comes meanwhile.
func (l *line) tenMessages(ctx context.Context, n *node, user string) (lost int, err error) {
	c, err := l.dial(ctx, user)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	arrived := make(chan int, 10)
	all := make(chan error, 1)
	go func() {
		got, err := notes(func(yield func(wire.Envelope, error) bool) {
			for env, err := range c.Messages(ctx) {
				if !yield(env, err) {
					return
				}
				if env.Type == noteType {
					select {
					case arrived <- 1:
					default: // more than there should be, which exactly will say
					}
				}
			}
		})
		if err == nil {
			err = exactly(got, numbered(user, 10))
		}
		all <- err
	}()
	for k := range 10 {
		if l.chance() {
			lost++
		}
		if err := n.note(ctx, switchboard.User(user), user, k); err != nil {
			return lost, err
		}
		if k%2 == 0 {
			continue
		}
		for range 2 {
			select {
			case <-arrived:
			case err := <-all:
				return lost, fmt.Errorf("the messages ended early: %w", err)
			case <-ctx.Done():
				return lost, fmt.Errorf("message %d: %w", k, ctx.Err())
			}
		}
	}
	if _, err := n.Publish(ctx, switchboard.User(user), switchboard.Message{Type: endType}); err != nil {
		return lost, err
	}
	return lost, <-all
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
