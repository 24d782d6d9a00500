package client_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func TestASlowReaderStopsTheSocketAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 2000
		var written atomic.Int64
		joined := make(chan struct{}) // both read: what came before would be the first one's alone
		text := raw(map[string]string{"text": strings.Repeat("x", 1000)})
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			<-joined
			for i := range total {
				p.send(wire.Envelope{Type: "note", ID: "n", Topic: "user/alice", Offset: uint64(i + 1), Payload: text})
				written.Add(1)
			}
			p.untilClosed()
		}))
		in, other := messages(t, c), messages(t, c)
		close(joined)
		for range 10 {
			other.expect("n")
		}
		synctest.Wait()
		if n := written.Load(); n < 200 || n > 400 {
			t.Errorf("got %d messages read ahead, want about 256 KiB of 1 KB each", n)
		}
		for i := range total {
			if got := in.expect("n"); got.Offset != uint64(i+1) {
				t.Fatalf("got offset %d, want %d", got.Offset, i+1)
			}
			if i >= 10 {
				other.expect("n")
			}
		}
	})
}

func TestASequenceThatNobodyReadsFreesTheSocketWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := raw(map[string]string{"text": strings.Repeat("x", 1000)})
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			for i := range 1000 {
				p.send(wire.Envelope{Type: "note", ID: "n", Topic: "user/alice", Offset: uint64(i + 1), Payload: text})
			}
			p.untilClosed()
		}))
		in := messages(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.Messages(ctx)
		for range 1000 {
			in.expect("n")
		}
	})
}

func TestSendMayBeCalledWithinTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := raw(map[string]string{"text": strings.Repeat("x", 1000)})
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			for i := range 1000 { // more than is read ahead without need
				p.send(wire.Envelope{Type: "note", ID: "n", Topic: "user/alice", Offset: uint64(i + 1), Payload: text})
			}
			p.ack(p.expect("reply", nil), wire.Ack{Status: wire.StatusOK})
			p.untilClosed()
		}))
		in := messages(t, c)
		in.expect("n")
		if _, err := c.Send(t.Context(), client.Message{Type: "reply"}); err != nil {
			t.Error(err)
		}
		for range 999 {
			in.expect("n")
		}
	})
}
