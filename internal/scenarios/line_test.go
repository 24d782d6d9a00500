package scenarios_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// A profile is a network as the former tests named it.
//
// They dropped a message with some probability and called that the loss. A TCP stream loses no
// bytes in its middle: a lost packet is sent again, so it shows as time, which is the jitter,
// and when packets are lost for too long one end gives up, so it shows as the end of the
// connection, with whatever had been given to the socket and had not arrived. That end is what
// this loss is: with its probability each new connection is reset in its handshake, and each
// message finds that the connection ends under it, in one of three ways (see fate). It is worse
// than the network that the numbers describe, where nearly all lost packets would only be late.
type profile struct {
	name            string
	latency, jitter time.Duration // one way, either way
	loss            float64
}

// profiles are those of the former stress test.
func profiles() []profile {
	return []profile{
		{"stable", time.Millisecond, 0, 0},
		{"unstable", 50 * time.Millisecond, 20 * time.Millisecond, 0.05},
		{"poor", 200 * time.Millisecond, 100 * time.Millisecond, 0.10},
		{"terrible", 500 * time.Millisecond, 300 * time.Millisecond, 0.20},
	}
}

// A fate is what becomes of the next bytes that the server sends on a line.
type fate int32

const (
	arrives fate = iota
	reset        // they are lost and the connection is reset
	torn         // half of them arrive, then it is reset
	hole         // they are lost and all that follows, until it is reset after holeTime
	silence      // they are lost and all that follows, and nobody tells
)

const holeTime = 100 * time.Millisecond

// lossToxic ends a connection under the bytes that it carries, when it is told to.
type lossToxic struct {
	next atomic.Int32 // fate
}

// Pipe is the toxic's work on one connection.
func (l *lossToxic) Pipe(stub *toxics.ToxicStub) {
	var end <-chan time.Time // of a hole
	lost := false
	for {
		select {
		case <-stub.Interrupt:
			return
		case <-end:
			finish(stub)
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			if lost {
				continue
			}
			switch fate(l.next.Swap(int32(arrives))) {
			case arrives:
				stub.Output <- c
			case torn:
				stub.Output <- &stream.StreamChunk{Data: c.Data[:len(c.Data)/2], Timestamp: c.Timestamp}
				finish(stub)
				return
			case reset:
				finish(stub)
				return
			case hole:
				lost, end = true, time.After(holeTime)
			case silence:
				lost = true
			}
		}
	}
}

// finish ends a connection, and takes what still comes from the server so that nobody waits.
func finish(stub *toxics.ToxicStub) {
	stub.Close()
	for {
		select {
		case c := <-stub.Input:
			if c == nil {
				return
			}
		case <-stub.Interrupt:
			return
		}
	}
}

// registerLoss makes Toxiproxy know the toxic.
var registerLoss = sync.OnceFunc(func() { toxics.Register("loss", new(lossToxic)) })

// line is the network between one client and a node.
type line struct {
	proxy *toxiproxy.Proxy
	loss  *lossToxic
	dice  *rand.Rand // of the one who sends
	p     profile
}

// newLine makes a line that behaves as p says, the same way for each seed.
func newLine(t testing.TB, n *node, p profile, seed int) *line {
	t.Helper()
	registerLoss()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &line{
		proxy: toxiproxy.NewProxy(server, p.name, "127.0.0.1:0", n.addr),
		dice:  rand.New(rand.NewPCG(uint64(seed), 1)), p: p,
	}
	way := map[string]any{"latency": p.latency.Milliseconds(), "jitter": p.jitter.Milliseconds()}
	l.add(t, "latency", "upstream", 1, way)
	l.add(t, "latency", "downstream", 1, way)
	// With a reset_peer on the line, all its connections end by a reset, also those of others.
	l.add(t, "reset_peer", "downstream", p.loss, map[string]any{"timeout": 0})
	l.add(t, "loss", "downstream", 1, map[string]any{})
	l.loss = l.proxy.Toxics.GetToxic("loss_downstream").Toxic.(*lossToxic)
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

func (l *line) add(t testing.TB, typ, direction string, toxicity float64, attributes map[string]any) {
	t.Helper()
	spec, err := json.Marshal(map[string]any{"type": typ, "stream": direction, "toxicity": toxicity, "attributes": attributes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(string(spec))); err != nil {
		t.Fatal(err)
	}
}

func (l *line) url() string { return "ws://" + l.proxy.Listen + "/ws" }

// breaks makes the line fail under what is sent next.
func (l *line) breaks(how fate) { l.loss.next.Store(int32(how)) }

// chance throws the dice for one message, and reports whether it is lost.
func (l *line) chance() bool {
	if l.dice.Float64() >= l.p.loss {
		return false
	}
	l.breaks(reset + fate(l.dice.IntN(3)))
	return true
}

// leftByToxiproxy are goroutines that it leaves behind: a toxic that still has bytes for the
// one behind it when that one, or the socket at the end, has ended the connection.
func leftByToxiproxy() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"),
		goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*LatencyToxic).Pipe"),
		goleak.IgnoreTopFunction("github.com/netra-systems/switchboard/internal/scenarios_test.(*lossToxic).Pipe"),
	}
}
