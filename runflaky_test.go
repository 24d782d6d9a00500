package switchboard_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// flaky is a driver whose calls fail now and then, before they have done something or after,
// and whose Get is stale now and then: all that the contract of drivers allows.
type flaky struct {
	broker.Driver
	rate float64

	mu   sync.Mutex // guards the fields below
	rand *rand.Rand
	good bool                   // nothing fails any more
	old  map[string]broker.Item // as Get has returned them before
}

// fails draws what goes wrong with a call: an error, and whether it is done nevertheless.
func (d *flaky) fails() (done bool, err error) {
	d.mu.Lock()
	x, y, late := d.rand.Float64(), d.rand.Float64(), time.Duration(d.rand.IntN(5))*time.Millisecond
	good := d.good
	d.mu.Unlock()
	time.Sleep(late)
	switch {
	case good || x > d.rate:
		return true, nil
	case y < 0.3:
		return false, broker.ErrUnavailable
	case y < 0.6:
		return true, broker.ErrUnavailable
	}
	return y < 0.8, context.DeadlineExceeded
}

// around makes a call that may fail.
func around[T any](d *flaky, zero T, call func() (T, error)) (T, error) {
	done, err := d.fails()
	if err == nil {
		return call()
	}
	if done {
		_, _ = call()
	}
	return zero, fmt.Errorf("flaky: %w", err)
}

func (d *flaky) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	return around(d, broker.Published{}, func() (broker.Published, error) { return d.Driver.Publish(ctx, r) })
}

func (d *flaky) Append(ctx context.Context, topic, stream broker.Key, start int, text string, token uint64) (int, error) {
	return around(d, 0, func() (int, error) { return d.Driver.Append(ctx, topic, stream, start, text, token) })
}

func (d *flaky) Seal(ctx context.Context, topic, stream broker.Key, token uint64) (int, error) {
	return around(d, 0, func() (int, error) { return d.Driver.Seal(ctx, topic, stream, token) })
}

func (d *flaky) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	return around(d, 0, func() (uint64, error) { return d.Driver.Put(ctx, key, value, ifRev, ttl) })
}

func (d *flaky) Delete(ctx context.Context, key string, ifRev uint64) error {
	_, err := around(d, 0, func() (int, error) { return 0, d.Driver.Delete(ctx, key, ifRev) })
	return err
}

func (d *flaky) Remove(ctx context.Context, topic, stream broker.Key) error {
	_, err := around(d, 0, func() (int, error) { return 0, d.Driver.Remove(ctx, topic, stream) })
	return err
}

func (d *flaky) Get(ctx context.Context, key string) (broker.Item, error) {
	return around(d, broker.Item{}, func() (broker.Item, error) {
		item, err := d.Driver.Get(ctx, key)
		d.mu.Lock()
		defer d.mu.Unlock()
		if old, known := d.old[key]; known && !d.good && d.rand.Float64() < d.rate/2 {
			return old, nil
		}
		if err == nil && strings.Contains(key, "/") {
			if d.old == nil {
				d.old = make(map[string]broker.Item)
			}
			d.old[key] = item
		}
		return item, err
	})
}

func (d *flaky) Since(ctx context.Context, topic broker.Key, pos wire.Position, limit int) (entries []broker.Entry, head wire.Position, err error) {
	if _, err := d.fails(); err != nil {
		return nil, wire.Position{}, err
	}
	return d.Driver.Since(ctx, topic, pos, limit)
}

func (d *flaky) Heads(ctx context.Context, exact bool, topics ...broker.Key) ([]wire.Position, error) {
	return around(d, nil, func() ([]wire.Position, error) { return d.Driver.Heads(ctx, exact, topics...) })
}

func TestEveryRunEndsAndNothingStaysWhateverCallFails(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { aFlakyBroker(t, seed) })
		})
	}
}

func aFlakyBroker(t *testing.T, seed uint64) {
	drive := membroker.New(membroker.Options{})
	other := drive.Node()
	t.Cleanup(func() { _, _ = other.Close(), drive.Close() })
	f := &faults{t: t, seed: seed, texts: map[string]string{}, begun: map[string]bool{}, drive: drive, brief: true}
	var drivers []*flaky
	rate := 0.05 + 0.3*rand.New(rand.NewPCG(seed, 5)).Float64()
	for i, b := range []*membroker.Broker{drive, other} {
		d := &flaky{Driver: b, rate: rate, rand: rand.New(rand.NewPCG(seed, uint64(10+i))), old: map[string]broker.Item{}, good: true}
		s := newServer(t, switchboard.Options{
			Broker: d, Node: []string{"one", "two"}[i], Retention: broker.Retention{Messages: 10_000, Age: time.Hour},
		})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "inside"}, f.agent)
		f.nodes, drivers = append(f.nodes, s), append(drivers, d)
	}
	f.run(func(i int) {
		for _, d := range drivers {
			d.mu.Lock()
			d.good = i >= 40
			d.mu.Unlock()
		}
	})
	for i, s := range f.nodes {
		if live := s.Stats().RunsLive; live != 0 {
			t.Errorf("node %d: got %d live runs, want none", i, live)
		}
	}
	time.Sleep(10 * time.Minute)
	for i, s := range f.nodes {
		if topics := s.Stats().Topics; topics != 0 {
			t.Errorf("node %d: got %d topics, want none", i, topics)
		}
	}
	time.Sleep(3 * time.Hour)
	(&hooked{Driver: drive}).items(t)
}
