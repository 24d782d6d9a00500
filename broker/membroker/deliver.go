package membroker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// turn is how many deliveries of others a publisher makes before a Run goes on
// with them. Nobody's publish lasts longer because others publish more.
const turn = 64

// What may wait to be delivered in a partition. Receivers do not block, so this
// is reached only when one does. What is beyond it is not delivered; once the
// receivers are through, the newest records of its topics are, which tells them
// to read the log.
const (
	maxWaiting      = 1 << 14
	maxWaitingBytes = 64 << 20
)

// sweepEvery is how often a Run sweeps one partition.
const sweepEvery = time.Second

// run is one active Run.
type run struct {
	slot int
	in   broker.Receiver
	gate gate
}

// wants reports whether a topic with that follow mask is delivered to r. Nodes
// for which the mask has no bit get everything.
func (r *run) wants(mask uint32) bool { return r.slot >= maskBits || mask>>r.slot&1 != 0 }

// delivery is a record or a piece of text on its way to the receivers.
type delivery struct {
	mask  uint32
	entry broker.Entry
	text  *text // nil: a record
}

// text is what was added to a stream of entry.Topic.
type text struct {
	stream broker.Key
	start  int
	added  string
}

// Run delivers to in until ctx is done, the link is cut or b is closed. It also
// frees the memory of what is past its time, one partition a second.
func (b *Broker) Run(ctx context.Context, in broker.Receiver) error {
	if err := b.ready(ctx, "run"); err != nil {
		return err
	}
	r := &run{slot: b.slot, in: in, gate: gate{idle: make(chan struct{}, 1)}}
	l, err := b.begin(r)
	if err != nil {
		return err
	}
	defer b.end(r)
	e := b.shared
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("run: %w", ctx.Err())
		case <-l.down:
			return fmt.Errorf("run: %w", l.err)
		case p := <-e.handoff:
			p.resume()
		case <-sweep.C:
			e.parts[e.swept.Add(1)%partitions].sweep(e.now())
		}
	}
}

// begin makes r the active run and returns the link that it hangs on.
func (b *Broker) begin(r *run) (*link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed.Load():
		return nil, fmt.Errorf("run: %w", broker.ErrClosed)
	case b.run != nil:
		return nil, errors.New("run: another one is active")
	}
	b.run = r
	b.shared.addRun(r)
	b.wake()
	return b.link.Load(), nil
}

// end makes r inactive and waits for the deliveries in progress.
func (b *Broker) end(r *run) {
	b.shared.removeRun(r)
	r.gate.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run = nil
}

func (e *engine) addRun(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := *e.runs.Load()
	with := append(now[:len(now):len(now)], r)
	e.runs.Store(&with)
}

func (e *engine) removeRun(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var without []*run
	for _, other := range *e.runs.Load() {
		if other != r {
			without = append(without, other)
		}
	}
	e.runs.Store(&without)
}

// wanted reports whether any active run wants a topic with that follow mask.
func (e *engine) wanted(mask uint32) bool {
	for _, r := range *e.runs.Load() {
		if r.wants(mask) {
			return true
		}
	}
	return false
}

// queue puts d behind the partition's other deliveries. p.mu is held.
func (p *partition) queue(d delivery) {
	size := len(d.entry.Data)
	if d.text != nil {
		size = len(d.text.added)
	}
	if len(p.pending) >= maxWaiting || p.waiting > 0 && p.waiting+size > maxWaitingBytes {
		if p.missed == nil {
			p.missed = map[broker.Key]struct{}{}
		}
		p.missed[d.entry.Topic] = struct{}{}
		return
	}
	p.pending = append(p.pending, d)
	p.waiting += size
}

// announce queues the newest records of a topic again. p.mu is held.
func (p *partition) announce(key broker.Key, latest bool) {
	slot := p.find(key)
	if slot == 0 {
		return
	}
	t, now := p.records.at(slot), p.shared.now()
	if !p.shared.wanted(t.follow) {
		return
	}
	if p.expire(t, now); t.first <= t.head {
		p.queue(delivery{mask: t.follow, entry: p.read(key, t, t.head, t.head, math.MaxInt)[0]})
	}
	if latest {
		for _, e := range p.latest(key, t, now) {
			p.queue(delivery{mask: t.follow, entry: e})
		}
	}
}

// announceMissed announces topics of which something was not queued, as far as
// there is room. p.mu is held.
func (p *partition) announceMissed() {
	for key := range p.missed {
		if len(p.pending) >= maxWaiting/2 || p.waiting >= maxWaitingBytes/2 {
			return
		}
		delete(p.missed, key)
		p.announce(key, true)
	}
	p.missed = nil
}

// claim returns what is pending if nobody is delivering it; the caller then has
// to call drain with it once it has released p.mu.
func (p *partition) claim() []delivery {
	if p.draining || len(p.pending) == 0 {
		return nil
	}
	p.draining = true
	return p.takePending()
}

// takePending leaves an empty list behind. p.mu is held.
func (p *partition) takePending() []delivery {
	batch := p.pending
	p.pending = p.spare
	p.spare = nil
	p.waiting = 0
	return batch
}

// drain delivers batch, then what was queued meanwhile, in order. One goroutine
// at a time does this for a partition, the one that claimed it, so that a topic
// is never delivered concurrently; who publishes meanwhile, receivers included,
// only queues. After a turn a Run goes on.
func (p *partition) drain(batch []delivery) {
	ended := false
	defer func() {
		if !ended { // the turn is over, or a receiver panicked
			p.shared.handoff <- p // has room for every partition
		}
	}()
	for n := 0; ; {
		for i := range batch {
			p.shared.deliver(&batch[i])
		}
		n += len(batch)
		clear(batch)

		p.mu.Lock()
		if cap(batch) <= 4*turn {
			p.spare = batch[:0]
		}
		if len(p.pending) == 0 && len(p.missed) > 0 {
			p.announceMissed()
		}
		if len(p.pending) == 0 {
			p.draining, ended = false, true
			p.mu.Unlock()
			return
		}
		if n+len(p.pending) > turn {
			p.mu.Unlock()
			return
		}
		batch = p.takePending()
		p.mu.Unlock()
	}
}

// resume goes on where a turn was over.
func (p *partition) resume() {
	p.mu.Lock()
	batch := p.takePending()
	p.mu.Unlock()
	p.drain(batch)
}

// deliver hands d to every run that wants it.
func (e *engine) deliver(d *delivery) {
	for _, r := range *e.runs.Load() {
		if r.wants(d.mask) {
			r.deliver(d)
		}
	}
}

func (r *run) deliver(d *delivery) {
	if !r.gate.enter() {
		return
	}
	defer r.gate.leave()
	if d.text != nil {
		r.in.Text(d.entry.Topic, d.text.stream, d.text.start, d.text.added)
		return
	}
	r.in.Record(d.entry)
}

// gate counts who is inside and can be closed. It is not an RWMutex, because a
// receiver that publishes goes in again while close may be waiting.
type gate struct {
	inside atomic.Int64  // less by shut once it is closed
	idle   chan struct{} // gets one token when the last one leaves a closed gate
}

const shut = math.MinInt64 / 2

// enter reports whether the gate is open; only then leave has to be called.
func (g *gate) enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.inside.Add(-1) == shut {
		select {
		case g.idle <- struct{}{}:
		default: // close has its token
		}
	}
}

// close closes the gate and waits until nobody is inside. It is called once.
func (g *gate) close() {
	if g.inside.Add(shut) != shut {
		<-g.idle
	}
}
