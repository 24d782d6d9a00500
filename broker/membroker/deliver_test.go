package membroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/brokertest"
	"github.com/netra-systems/switchboard/wire"
)

// receiver calls a function for each record.
type receiver func(e broker.Entry)

func (r receiver) Record(e broker.Entry)               { r(e) }
func (receiver) Text(_, _ broker.Key, _ int, _ string) {}

// record returns a durable record.
func record(topic broker.Key, data string) broker.Record {
	return broker.Record{Topic: topic, Keep: usual(), Data: []byte(data)}
}

func TestPublisherDeliversItself(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	var got []string // without a lock: the race detector notices another goroutine
	stop := listen(t, b, receiver(func(e broker.Entry) { got = append(got, string(e.Data)) }))
	if err := b.Follow(t.Context(), keyOf(1)); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"1", "2", "3"} {
		must(t, b, record(keyOf(1), data))
		if got[len(got)-1] != data {
			t.Fatalf("received %q when Publish returned, want %q at the end", got, data)
		}
	}
	stop()
}

func TestUnfollowedTopicsAreNotDelivered(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	nodes := make([]*Broker, maskBits+3)
	got := make([]int, len(nodes))
	for i := range nodes {
		nodes[i] = b.Node()
		defer nodes[i].Close()
		stop := listen(t, nodes[i], receiver(func(broker.Entry) { got[i]++ }))
		defer stop()
		if err := nodes[i].Follow(t.Context(), keyOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes {
		must(t, b, record(keyOf(i), "x"))
	}
	for i, n := range got {
		// The first node's bit is that of b, so the last ones have none.
		if i+1 < maskBits && n != 1 || i+1 >= maskBits && n != len(nodes) {
			t.Errorf("node %d received %d records", i, n)
		}
	}
	if err := nodes[0].Unfollow(t.Context(), keyOf(0)); err != nil {
		t.Fatal(err)
	}
	must(t, b, record(keyOf(0), "x"))
	if got[0] != 1 {
		t.Errorf("received %d records, want 1: the second one was not followed any more", got[0])
	}
}

func TestClosedNodesLeaveNoTrace(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	stop := listen(t, b, sink{})
	defer stop()
	must(t, b, record(keyOf(1), "x"))
	for range 100 {
		n := b.Node()
		stop := listen(t, n, sink{})
		if err := n.Follow(t.Context(), keyOf(1), keyOf(2)); err != nil {
			t.Fatal(err)
		}
		n.Close()
		stop()
		if n.slot != 1 {
			t.Fatalf("slot %d, want that of the one before", n.slot)
		}
	}
	for _, topic := range []broker.Key{keyOf(1), keyOf(2)} {
		p := b.shared.of(topic)
		if m := p.mask(topic); m != 0 {
			t.Errorf("the follow mask is %b, want none", m)
		}
	}
	if n := len(b.shared.of(keyOf(2)).topics); n > 1 {
		t.Errorf("%d topics are known in a partition, want the one that was published to at most", n)
	}
}

// TestTurnsEnd has a publisher whose delivery takes long, and others that queue
// behind it. It does not have to deliver for them.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topic := keyOf(1)
		release, returned := make(chan struct{}), make(chan struct{})
		var got []uint64
		stop := listen(t, b, receiver(func(e broker.Entry) {
			switch e.Pos.Offset {
			case 1:
				<-release
			case 2:
				<-returned // would wait for itself
			}
			got = append(got, e.Pos.Offset)
		}))
		if err := b.Follow(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(returned)
			must(t, b, record(topic, "delivers"))
		}()
		synctest.Wait()
		const n = 10 * turn
		for range n {
			must(t, b, record(topic, "queued")) // does not wait for the one that delivers
		}
		close(release)
		synctest.Wait()
		stop()
		for i := range n + 1 {
			if i >= len(got) || got[i] != uint64(i+1) {
				t.Fatalf("received offsets %v, want 1 to %d", got, n+1)
			}
		}
	})
}

// TestBlockedReceiverIsToldWhatItMissed publishes more than may wait.
func TestBlockedReceiverIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topics := make([]broker.Key, 5)
		for i := range topics {
			topics[i] = broker.Key{1: byte(i)} // in one partition
		}
		release := make(chan struct{})
		last := map[broker.Key]uint64{}
		latest := 0
		received := 0
		stop := listen(t, b, receiver(func(e broker.Entry) {
			<-release
			received++
			if e.Class == wire.Latest {
				latest++
			} else if e.Pos.Offset < last[e.Topic] {
				t.Errorf("received offset %d after %d", e.Pos.Offset, last[e.Topic])
			}
			last[e.Topic] = max(last[e.Topic], e.Pos.Offset)
		}))
		if err := b.Follow(t.Context(), topics...); err != nil {
			t.Fatal(err)
		}
		go must(t, b, record(topics[0], "blocks"))
		synctest.Wait()
		want := map[broker.Key]uint64{topics[0]: 1}
		for i := range 2 * maxWaiting {
			topic := topics[i%len(topics)]
			must(t, b, broker.Record{Topic: topic, Keep: broker.Retention{Messages: 10}})
			want[topic]++
		}
		must(t, b, broker.Record{Topic: topics[0], Class: wire.Latest, Key: "k", TTL: time.Hour})
		close(release)
		synctest.Wait()
		stop()
		if diff := cmp.Diff(want, last); diff != "" {
			t.Errorf("newest offsets (-published +received):\n%s", diff)
		}
		if latest != 1 || received > maxWaiting+20 {
			t.Errorf("received %d records, %d of them latest ones; want 1, and not all", received, latest)
		}
	})
}

func TestReceiverThatPublishesMuchIsNotNested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topic := keyOf(1)
		var depth, deepest, count int
		stop := listen(t, b, receiver(func(e broker.Entry) {
			depth++
			deepest = max(deepest, depth)
			if count++; count == 1 { // more than a turn, before the first one returns
				for range 3 * turn {
					must(t, b, record(topic, "x"))
				}
			}
			depth--
		}))
		if err := b.Follow(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		must(t, b, record(topic, "first"))
		synctest.Wait()
		stop()
		if count != 3*turn+1 || deepest != 1 {
			t.Errorf("%d deliveries, %d deep; want %d, never within each other", count, deepest, 3*turn+1)
		}
	})
}

func TestPanicOfAReceiverDoesNotStopOthers(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	topic := keyOf(1)
	got := make(chan string, 10)
	stop := listen(t, b, receiver(func(e broker.Entry) {
		if string(e.Data) == "bad" {
			panic("receiver")
		}
		got <- string(e.Data)
	}))
	if err := b.Follow(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the publisher")
			}
		}()
		must(t, b, record(topic, "bad"))
	}()
	must(t, b, record(topic, "good"))
	if s := <-got; s != "good" {
		t.Errorf("received %q, want good", s)
	}
	stop()
}

func TestRunWaitsForDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		release := make(chan struct{})
		stop := listen(t, b, receiver(func(broker.Entry) { <-release }))
		if err := b.Follow(t.Context(), keyOf(1)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { must(t, b, record(keyOf(1), "x")) })
		synctest.Wait()
		var stopped atomic.Bool
		wg.Go(func() {
			stop()
			stopped.Store(true)
		})
		synctest.Wait()
		if stopped.Load() {
			t.Error("Run returned with a delivery in progress")
		}
		close(release)
		wg.Wait()
	})
}

// TestOrderUnderStress has publishers, receivers that publish, links that are cut
// and faults, and lets followers tell a history.
func TestOrderUnderStress(t *testing.T) {
	b := New(Options{Chaos: Chaos{Seed: 1, DropLive: 0.02, Repeat: 0.02, LoseAck: 0.02}})
	defer b.Close()
	var h brokertest.History
	var topics []broker.Key
	var names []string
	for i := range 20 {
		topics = append(topics, keyOf(i))
		names = append(names, keyOf(i).String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var nodes []*Broker
	var followers []*brokertest.Follower
	for i := range 3 {
		n := b.Node()
		defer n.Close()
		f, err := brokertest.NewFollower(ctx, n, h.Receiver(fmt.Sprint("node ", i), names...), func(e broker.Entry) string { return string(e.Data) }, topics...)
		if err != nil {
			t.Fatal(err)
		}
		nodes, followers = append(nodes, n), append(followers, f)
		wg.Go(func() {
			if err := f.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	var publishers sync.WaitGroup
	for i := range 8 {
		publishers.Go(func() {
			for n := range 500 {
				topic, id := topics[(i+n)%len(topics)], fmt.Sprintf("%d-%d", i, n)
				r := record(topic, id)
				r.DedupeID = id
				h.Attempted(topic.String(), id)
				p, err := nodes[i%3].Publish(ctx, r)
				for errors.Is(err, broker.ErrUnavailable) {
					p, err = nodes[n%3].Publish(ctx, r)
				}
				if err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
				h.Sent(topic.String(), id, p.Pos)
				if i == 0 && n%50 == 0 {
					nodes[n/50%3].Faults().CutLink()
				}
			}
		})
	}
	publishers.Wait()
	for _, f := range followers {
		if err := f.Settle(ctx); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
	cancel()
	wg.Wait()
	h.Verify(t)
	t.Log(h.Summary())
}

func TestFaultsHappenAsPlanned(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	topic := keyOf(1)
	var got []string
	stop := listen(t, b, receiver(func(e broker.Entry) { got = append(got, string(e.Data)) }))
	defer stop()
	if err := b.Follow(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	b.Faults().DropLive(topic, 1)
	b.Faults().LoseAck(topic, 1)
	b.Faults().Repeat(topic, 1)
	b.Faults().Forget(topic)
	b.Faults().DropLive(topic, 1)
	must(t, b, record(topic, "dropped"))
	must(t, b, record(topic, "1"))
	b.Faults().Repeat(topic, 1)
	must(t, b, record(topic, "2"))
	b.Faults().LoseAck(topic, 1)
	r := record(topic, "3")
	r.DedupeID = "id"
	if _, err := b.Publish(t.Context(), r); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Publish: %v, want %v", err, broker.ErrUnavailable)
	}
	if p := must(t, b, r); !p.Duplicate || p.Pos.Offset != 4 {
		t.Errorf("the retry returned %+v, want the duplicate of offset 4", p)
	}
	must(t, b, record(topic, "4"))
	if want := []string{"1", "2", "2", "3", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
}

func TestSameSeedSameFaults(t *testing.T) {
	received := func() (got []string) {
		b := New(Options{Chaos: Chaos{Seed: 7, DropLive: 0.3, Repeat: 0.3}})
		defer b.Close()
		defer listen(t, b, receiver(func(e broker.Entry) { got = append(got, string(e.Data)) }))()
		if err := b.Follow(t.Context(), keyOf(1)); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			must(t, b, record(keyOf(1), fmt.Sprint(i)))
		}
		return got
	}
	first := received()
	if second := received(); !slices.Equal(first, second) {
		t.Errorf("received %q, then %q", first, second)
	}
	if len(slices.Compact(slices.Clone(first))) > 85 || len(first) < 70 {
		t.Errorf("received %d of 100, want some dropped and some twice", len(first))
	}
}

func TestNoLeaderMeansUnavailable(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	stop := listen(t, b, sink{})
	pos := must(t, b, record(keyOf(1), "before")).Pos
	elect := b.Faults().KillLeader()
	if err := stop(); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Run: %v, want %v", err, broker.ErrUnavailable)
	}
	for name, err := range map[string]error{
		"Run":    b.Run(t.Context(), sink{}),
		"Follow": b.Follow(t.Context()),
		"Drop":   b.Drop(t.Context(), keyOf(1)),
	} {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, broker.ErrUnavailable)
		}
	}
	if _, err := b.Publish(t.Context(), record(keyOf(1), "lost")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Publish: %v, want %v", err, broker.ErrUnavailable)
	}
	elect()
	entries, head, err := b.Since(t.Context(), keyOf(1), pos, 10)
	if len(entries) != 0 || head != pos || err != nil {
		t.Errorf("%d entries, head %v, %v; want nothing after %v", len(entries), head, err, pos)
	}
}

func TestWatchThatIsNotReadEndsWithAnError(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	n := 0
	var last error
	for c, err := range b.Watch(t.Context(), "k") {
		last = err
		if err != nil {
			continue
		}
		if c.Synced {
			for i := range maxBehind + 10 {
				if _, err := b.Put(t.Context(), fmt.Sprint("k", i%100), nil, broker.Any, 0); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		n++
	}
	if !errors.Is(last, broker.ErrUnavailable) || n != maxBehind {
		t.Errorf("%d changes, then %v; want %d, then %v", n, last, maxBehind, broker.ErrUnavailable)
	}
}
