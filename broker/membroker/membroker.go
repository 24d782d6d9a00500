// Package membroker is a broker within one process: the log is in memory and
// ends with it.
//
// It is made for a million topics. History is bytes in chunks, topics and items
// are records side by side, so that the cost of a garbage collection follows the
// bytes that are kept and neither topics nor messages. There is no goroutine
// between a publisher and a receiver: who publishes delivers.
//
// It has no goroutines of its own. What is past its time is not returned, and
// its memory is freed by the goroutine that is in Run.
package membroker

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Options configures a Broker. The zero value is the default.
type Options struct {
	// Dedupe is how long a DedupeID is remembered (2 minutes).
	Dedupe time.Duration

	// DedupeIDs bounds how many are remembered on all topics together
	// (2,097,152, of about 100 bytes each); while there are more in a window, it
	// is shorter.
	DedupeIDs int

	// HistoryBytes bounds what is kept of all topics together: records, texts, and
	// what is known of the topics, but not what is stored with Put (half of
	// GOMEMLIMIT, else 1 GiB; negative: no bound). Beyond it who has most loses
	// what came first, see [broker.Owner].
	HistoryBytes int64

	// Chaos injects faults, for tests of what stands above. Zero: none.
	Chaos Chaos
}

// Broker is one node's view of a log in memory, and a [broker.Driver]. Several
// managers of one process share the log by a view of their own, made with
// [Broker.Node].
type Broker struct {
	shared *engine
	slot   int // the bit in a topic's follow mask; from 31 on everything is followed

	closed atomic.Bool          // set under mu
	link   atomic.Pointer[link] // set under mu

	mu      sync.Mutex    // guards the fields below
	run     *run          // nil: none
	started chan struct{} // closed, and made anew, when there is a run or the link is lost
}

var _ broker.Driver = (*Broker)(nil)

// link is what a node loses when it loses its link.
type link struct {
	down chan struct{} // closed when it is lost
	err  error         // why; set before down is closed
}

// engine is what nodes share.
type engine struct {
	start   time.Time // what millis count from
	base    string    // the epoch of every topic that was never dropped
	seeds   [2]maphash.Seed
	parts   [partitions]partition
	handoff chan *partition // partitions whose deliveries a Run is to go on with
	runs    atomic.Pointer[[]*run]
	down    atomic.Bool // there is no leader
	swept   atomic.Uint32
	owners  owners
	history int64 // Options.HistoryBytes

	mu     sync.Mutex // guards the fields below
	nodes  []*Broker  // by slot; nil: vacant
	epochs []string   // by generation, as far as they were asked for
}

// partitions is how many topics can be published to at the same moment.
const partitions = 64

// New returns the first node of a new log. Close it, and each further node, when
// nothing uses it any more; the log is gone when no node is reachable.
func New(opts Options) *Broker {
	if opts.Dedupe <= 0 {
		opts.Dedupe = 2 * time.Minute
	}
	if opts.DedupeIDs <= 0 {
		opts.DedupeIDs = 2 << 20
	}
	e := &engine{
		start:   time.Now(),
		base:    strings.ToLower(rand.Text()[:10]),
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		handoff: make(chan *partition, partitions),
		owners:  owners{of: map[broker.Key]*owner{}},
		history: bytesOf(opts.HistoryBytes),
	}
	e.runs.Store(new([]*run))
	for i := range e.parts {
		e.parts[i].init(e, opts, uint64(i))
	}
	return e.node()
}

// bytesOf returns a bound as Options has it, with its default.
func bytesOf(history int64) int64 {
	if history < 0 {
		return math.MaxInt64
	}
	if history > 0 {
		return history
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return max(limit/2, 32<<20)
	}
	return 1 << 30
}

// Node returns another node on the same log, as another process would have it:
// it follows nothing, has its own link, and is closed by itself.
func (b *Broker) Node() *Broker { return b.shared.node() }

func (e *engine) node() *Broker {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &Broker{shared: e, started: make(chan struct{})}
	b.link.Store(newLink())
	if b.slot = slices.Index(e.nodes, nil); b.slot < 0 {
		b.slot = len(e.nodes)
		e.nodes = append(e.nodes, nil)
	}
	e.nodes[b.slot] = b
	return b
}

// Close ends this node: its Run, its watches, and what waits in Follow.
func (b *Broker) Close() error {
	b.mu.Lock()
	again := b.closed.Swap(true)
	b.mu.Unlock()
	if again {
		return nil
	}
	b.cut(broker.ErrClosed)
	e := b.shared
	for i := range e.parts {
		e.parts[i].forget(b.slot)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes[b.slot] = nil
	return nil
}

// cut breaks the link, so that what hangs on it ends with err, and begins a new
// one.
func (b *Broker) cut(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.link.Swap(newLink())
	l.err = err
	close(l.down)
	b.wake()
}

// wake tells who waits for a Run to look again. b.mu is held.
func (b *Broker) wake() {
	close(b.started)
	b.started = make(chan struct{})
}

func newLink() *link { return &link{down: make(chan struct{})} }

// ready returns why a call cannot be served, or nil.
func (b *Broker) ready(ctx context.Context, call string) error {
	var err error
	switch {
	case b.closed.Load():
		err = broker.ErrClosed
	case ctx.Err() != nil:
		err = ctx.Err()
	case b.shared.down.Load():
		err = broker.ErrUnavailable
	default:
		return nil
	}
	return fmt.Errorf("%s: %w", call, err)
}

// now returns milliseconds since the log began.
func (e *engine) now() int64 { return time.Since(e.start).Milliseconds() }

// after returns the millisecond when d will have passed.
func (e *engine) after(d time.Duration) int64 {
	d = min(d, math.MaxInt64/2)
	return int64((time.Since(e.start) + d + time.Millisecond - 1) / time.Millisecond)
}

// time returns the moment that after returned, by the wall clock.
func (e *engine) time(millis int64) time.Time {
	return e.start.Add(time.Duration(millis) * time.Millisecond).Round(0)
}

// expiry is when an item expires; zero: never.
func (e *engine) expiry(it *item) time.Time {
	if it.expires == 0 {
		return time.Time{}
	}
	return e.time(it.expires)
}

// millis is the reverse of time.
func (e *engine) millis(t time.Time) int64 { return t.Sub(e.start.Round(0)).Milliseconds() }

// of returns the partition that a topic is in.
func (e *engine) of(topic broker.Key) *partition { return &e.parts[topic[0]%partitions] }

// place returns the partition that a Store item is in: its topic's, if it has
// one.
func (e *engine) place(key string) *partition {
	if topic, ok := broker.PlacedWith(key); ok {
		return e.of(topic)
	}
	return &e.parts[maphash.String(e.seeds[0], key)%partitions]
}

// identify returns the hash of an id in a topic.
func (e *engine) identify(topic broker.Key, id string) (out recordID) {
	var room [192]byte
	b := append(append(room[:0], topic[:]...), id...)
	for i, seed := range e.seeds {
		out[i] = maphash.Bytes(seed, b)
	}
	return out
}

// position returns a position of a topic that was dropped gen times. Epochs of
// the same generation are one string.
func (e *engine) position(gen uint32, offset uint64) wire.Position {
	return wire.Position{Epoch: e.epoch(gen), Offset: offset}
}

func (e *engine) epoch(gen uint32) string {
	if gen == 0 {
		return e.base
	}
	if gen >= 1024 { // this often in one topic only
		return fmt.Sprintf("%s-%d", e.base, gen)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for n := len(e.epochs); n <= int(gen); n++ {
		e.epochs = append(e.epochs, fmt.Sprintf("%s-%d", e.base, n))
	}
	return e.epochs[gen]
}
