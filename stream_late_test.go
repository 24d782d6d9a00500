package switchboard_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// A device that lags opens a thread as it was when a text was still written. The others have
// all of it.
func TestADeviceThatLagsDoesNotBringBackATextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		swift := s.as(t, "alice")
		slow := s.connect(t, request{token: "alice", buffer: 1 << 10})
		run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(run.Stream("answer"), story); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := run.Progress(t.Context(), 50, strings.Repeat("full ", 1000)); err != nil {
			t.Fatal(err)
		}
		if err := run.Stream("answer").Close(); err != nil {
			t.Fatal(err)
		}
		swift.until(wire.StreamComplete)
		time.Sleep(20 * time.Second)
		slow.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":""}}`)
		snapshot := payload[wire.Thread](t, slow.await(wire.ThreadSnapshot))
		if len(snapshot.Runs) != 1 {
			t.Fatalf("got runs %+v, want the one that was live where the device is", snapshot.Runs)
		}
		swift.silent()
	})
}

// What grew before anybody followed its topic here is asked for again if that could not be answered.
func TestATextIsFoundAlsoIfTheBrokerFailsWhenItIsLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		run, err := nodes[0].Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(run.Stream("answer"), story); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var failures atomic.Int32
		drivers[1].set(hooks{read: func(context.Context) error {
			if failures.Add(1) <= 2 {
				return broker.ErrUnavailable
			}
			return nil
		}})
		a := nodes[1].as(t, "alice")
		time.Sleep(10 * time.Second)
		chunk := payload[wire.StreamChunkPayload](t, a.expect(wire.StreamChunk))
		wantEqual(t, "text", chunk.Text, story)
	})
}
