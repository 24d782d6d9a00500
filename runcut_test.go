package switchboard_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAHandlerThatLeavesItsGoroutineEndsItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			runtime.Goexit()
			return nil
		})
		a := s.as(t, "alice")
		a.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
		a.await(wire.AgentError)
	})
}
