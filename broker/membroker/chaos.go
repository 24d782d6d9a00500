package membroker

import (
	"math/rand/v2"

	"github.com/netra-systems/switchboard/broker"
)

// Chaos says how often a Broker does what real engines do now and then, all of
// it within the contract. Each rate is a probability from 0 to 1; the same Seed
// gives each partition the same sequence of faults.
type Chaos struct {
	Seed     uint64
	DropLive float64 // a record or a piece of text is stored, but not delivered
	Repeat   float64 // a record is delivered twice
	LoseAck  float64 // a record is appended, but Publish returns ErrUnavailable
}

// fault is a kind of fault that concerns one topic.
type fault uint8

const (
	dropLive fault = iota
	repeat
	loseAck
)

// chaos is what a partition knows of faults; the partition's lock guards it.
type chaos struct {
	rates   [3]float64
	rand    *rand.Rand   // nil: no rates
	planned map[plan]int // how often still; nil: none
}

type plan struct {
	topic broker.Key
	fault fault
}

func newChaos(c Chaos, partition uint64) chaos {
	rates := [3]float64{dropLive: c.DropLive, repeat: c.Repeat, loseAck: c.LoseAck}
	if rates == [3]float64{} {
		return chaos{}
	}
	return chaos{rates: rates, rand: rand.New(rand.NewPCG(c.Seed, partition))} //nolint:gosec // faults of a test must come again with their seed
}

// hits reports whether the fault happens to topic now.
func (c *chaos) hits(topic broker.Key, f fault) bool {
	if c.planned != nil {
		if at := (plan{topic, f}); c.planned[at] > 0 {
			c.planned[at]--
			return true
		}
	}
	return c.rand != nil && c.rates[f] > 0 && c.rand.Float64() < c.rates[f]
}

// Faults breaks a Broker in planned ways, for tests of what stands above.
type Faults struct{ b *Broker }

// Faults returns the faults of b. Those of the engine concern all its nodes.
func (b *Broker) Faults() Faults { return Faults{b} }

// CutLink loses this node's link: Run and watches end with ErrUnavailable.
// Calls may follow at once.
func (f Faults) CutLink() { f.b.cut(broker.ErrUnavailable) }

// KillLeader loses the links of all nodes and makes every call fail with
// ErrUnavailable until elect is called. What was acknowledged is kept.
func (f Faults) KillLeader() (elect func()) {
	e := f.b.shared
	e.down.Store(true)
	e.mu.Lock()
	nodes := make([]*Broker, 0, len(e.nodes))
	for _, b := range e.nodes {
		if b != nil {
			nodes = append(nodes, b)
		}
	}
	e.mu.Unlock()
	for _, b := range nodes {
		b.cut(broker.ErrUnavailable)
	}
	return func() { e.down.Store(false) }
}

// LoseTail forgets the newest n records of a topic and their dedupe ids, as a
// failover does that lost acknowledged writes; what is left is of a new epoch.
// Store items that guards changed with these records stay changed.
func (f Faults) LoseTail(topic broker.Key, n int) {
	p := f.b.shared.of(topic)
	p.mu.Lock()
	defer p.mu.Unlock()
	t, slot := p.record(topic, broker.Key{})
	p.cutTail(t, t.head-min(t.head, uint64(max(n, 0))))
	t.gen++
	p.settle(t, slot)
	p.dedupe.rollback(slot, t.head, t.gen)
}

// cutTail removes the entries above head.
func (p *partition) cutTail(t *topic, head uint64) {
	t.head = head
	t.first = min(t.first, head+1)
	for t.log.newest != 0 {
		b, mem := p.pool.at(t.log.newest)
		if b.first <= head {
			b.used -= uint32(len(skip(mem[:b.used], head-b.first+1)))
			return
		}
		r := t.log.newest
		p.leave(t.share, r)
		p.pool.drop(&t.log, r)
	}
}

// DropLive stores the next n records and pieces of text of a topic without
// delivering them.
func (f Faults) DropLive(topic broker.Key, n int) { f.plan(topic, dropLive, n) }

// Repeat delivers the next n records of a topic twice.
func (f Faults) Repeat(topic broker.Key, n int) { f.plan(topic, repeat, n) }

// LoseAck lets the next n publishes to a topic succeed and return ErrUnavailable.
func (f Faults) LoseAck(topic broker.Key, n int) { f.plan(topic, loseAck, n) }

// Forget drops what was planned for a topic and has not happened.
func (f Faults) Forget(topic broker.Key) {
	p := f.b.shared.of(topic)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, what := range []fault{dropLive, repeat, loseAck} {
		delete(p.chaos.planned, plan{topic, what})
	}
}

func (f Faults) plan(topic broker.Key, what fault, n int) {
	p := f.b.shared.of(topic)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chaos.planned == nil {
		p.chaos.planned = map[plan]int{}
	}
	p.chaos.planned[plan{topic, what}] += n
}
