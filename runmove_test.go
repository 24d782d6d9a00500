package switchboard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func TestAStopOfAllDoesNotMindARunThatHasNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		ended := make(chan error, 1)
		nodes[0].HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a, b := nodes[0].as(t, "alice"), nodes[1].as(t, "alice")
		a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		drivers[0].set(hooks{publish: func(ctx context.Context, _ wire.MessageType, _ func() (broker.Published, error)) (broker.Published, error) {
			<-ctx.Done()
			return broker.Published{}, ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_, _ = nodes[0].Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "A"})
		}()
		synctest.Wait()
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"all":true}}`)
		if got := b.ack("s"); got.Status != wire.StatusOK || len(got.Runs) != 1 {
			t.Errorf("got %+v", got)
		}
		b.send(`{"type":"stop_agent","message_id":"s-2","payload":{"run_id":"A"}}`)
		if got := b.ack("s-2"); got.Status != wire.StatusNotFound {
			t.Errorf("got %+v, want not_found", got)
		}
		<-ended
		drivers[0].set(hooks{})
	})
}
