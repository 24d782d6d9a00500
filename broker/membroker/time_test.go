package membroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// must publishes and expects no error. Any goroutine may call it.
func must(t *testing.T, b *Broker, r broker.Record) broker.Published {
	t.Helper()
	p, err := b.Publish(t.Context(), r)
	if err != nil {
		t.Errorf("Publish: %v", err)
	}
	return p
}

// listen runs in on b until the function that it returns is called.
func listen(t *testing.T, b *Broker, in broker.Receiver) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, in) }()
	if err := b.Follow(ctx); err != nil {
		t.Fatalf("Follow: %v", err)
	}
	return func() error {
		cancel()
		return <-done
	}
}

func TestDedupeWindowIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		r := broker.Record{Topic: keyOf(1), Keep: usual(), DedupeID: "id"}
		for range 20 { // the maps change at any moment of a window
			first := must(t, b, r)
			if first.Duplicate {
				t.Fatal("after the window it is still a duplicate")
			}
			for range 24 {
				time.Sleep(5*time.Second - time.Millisecond)
				b.shared.of(r.Topic).sweep(b.shared.now())
				if p := must(t, b, r); !p.Duplicate || p.Pos != first.Pos {
					t.Fatalf("within the window got %+v, want the duplicate of %v", p, first.Pos)
				}
				other := r
				other.DedupeID = fmt.Sprint(time.Now().UnixNano())
				must(t, b, other)
			}
			time.Sleep(24 * time.Millisecond)
		}
	})
}

func TestDedupeIDsAreBounded(t *testing.T) {
	b := New(Options{DedupeIDs: 64 * 1000})
	defer b.Close()
	topic := keyOf(1)
	publish := func(i int) broker.Published {
		return must(t, b, broker.Record{Topic: topic, DedupeID: fmt.Sprint(i)})
	}
	for i := range 5000 {
		publish(i)
	}
	p := b.shared.of(topic)
	if n := len(p.dedupe.young) + len(p.dedupe.old); n > 1000 || n < 500 {
		t.Errorf("%d ids are remembered, want 500 to 1000", n)
	}
	if !publish(4600).Duplicate {
		t.Error("one of the newest 500 ids is forgotten")
	}
}

func TestRecordsLeaveAtTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topic := keyOf(1)
		keep := broker.Retention{Messages: 1000, Age: time.Minute}
		for i := range 100 {
			must(t, b, broker.Record{Topic: topic, Keep: keep, Data: fmt.Append(nil, i)})
			time.Sleep(time.Second)
		}
		for i := range 61 { // 40 s to 100 s ago, and so on
			entries, head, err := b.Since(t.Context(), topic, wire.Position{}, 1000)
			if err != nil || head.Offset != 100 || len(entries) != max(0, 59-i) {
				t.Fatalf("%d entries, head %v, %v; want %d", len(entries), head, err, 59-i)
			}
			back, err := b.Before(t.Context(), topic, wire.Position{}, 1000)
			if err != nil || len(back) != len(entries) {
				t.Fatalf("Before has %d entries, %v; want %d", len(back), err, len(entries))
			}
			time.Sleep(time.Second)
		}
	})
}

func TestLatestLeavesAtItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topic := keyOf(1)
		for i := range 10 {
			ttl := time.Duration(10-i) * time.Second
			must(t, b, broker.Record{Topic: topic, Class: wire.Latest, Key: fmt.Sprint(i), TTL: ttl})
		}
		for left := 10; left >= 0; left-- {
			entries, err := b.Latest(t.Context(), topic)
			if err != nil || len(entries) != left {
				t.Fatalf("%d entries, %v; want %d", len(entries), err, left)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestItemsLeaveAtTheirDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		if _, err := b.Put(t.Context(), "k", nil, 0, 1500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		it, err := b.Get(t.Context(), "k")
		if want := time.Now().Add(2 * time.Second); err != nil || !it.Expires.Equal(want) {
			t.Fatalf("expires at %v, %v; want %v", it.Expires, err, want)
		}
		time.Sleep(2*time.Second - time.Nanosecond)
		if _, err := b.Get(t.Context(), "k"); err != nil {
			t.Errorf("just before the deadline: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := b.Get(t.Context(), "k"); !errors.Is(err, broker.ErrNotFound) {
			t.Errorf("at the deadline: %v, want %v", err, broker.ErrNotFound)
		}
	})
}

func TestWatchTellsExpiryAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		start := time.Now()
		put := func(key string, ttl time.Duration) {
			if _, err := b.Put(t.Context(), key, nil, broker.Any, ttl); err != nil {
				t.Fatal(err)
			}
		}
		put("lease/renewed", 5*time.Second)
		put("lease/lost", 5*time.Second)
		put("lease/kept", 0)
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := range b.Watch(t.Context(), "lease/") {
				if err != nil {
					got = append(got, err.Error())
				} else if c.Deleted {
					got = append(got, fmt.Sprint(c.Key, " gone after ", time.Since(start)))
				}
			}
		}()
		time.Sleep(4 * time.Second)
		put("lease/renewed", 6*time.Second)
		put("lease/new", time.Second)
		time.Sleep(time.Minute)
		b.Close()
		<-done
		slices.Sort(got)
		want := []string{"lease/lost gone after 5s", "lease/new gone after 5s", "lease/renewed gone after 10s", "watch: broker is closed"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestRunFreesWhatIsPastItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		stop := listen(t, b, sink{})
		keep := broker.Retention{Messages: 1000, Age: time.Minute}
		for i := range 1000 {
			topic := keyOf(i)
			must(t, b, broker.Record{Topic: topic, Keep: keep, DedupeID: "id", Data: make([]byte, 500)})
			must(t, b, broker.Record{Topic: topic, Class: wire.Latest, Key: "k", TTL: time.Minute, Data: make([]byte, 500)})
			if _, err := b.Put(t.Context(), topic.String()+"/x", make([]byte, 500), 0, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		held := func() (bytes, ids, items int) {
			for i := range b.shared.parts {
				p := &b.shared.parts[i]
				p.mu.Lock()
				bytes += p.pool.bytes()
				ids += len(p.dedupe.young) + len(p.dedupe.old)
				items += int(p.store.items.made) - len(p.store.items.vacant)
				p.mu.Unlock()
			}
			return bytes, ids, items
		}
		if bytes, ids, items := held(); bytes < 1_500_000 || ids != 1000 || items != 1000 {
			t.Fatalf("%d bytes, %d ids and %d items are held, want all", bytes, ids, items)
		}
		time.Sleep(time.Minute + 5*time.Minute)
		if bytes, ids, items := held(); bytes != 0 || ids != 0 || items != 0 {
			t.Errorf("%d bytes, %d ids and %d items are held, want none", bytes, ids, items)
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want %v", err, context.Canceled)
		}
		p := must(t, b, broker.Record{Topic: keyOf(1), Keep: keep})
		if p.Pos.Offset != 2 {
			t.Errorf("offset %d, want 2: expiry does not reset the log", p.Pos.Offset)
		}
	})
}

func TestLongRetentionDoesNotBringBackWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		topic := keyOf(1)
		short := broker.Retention{Messages: 100, Age: time.Second}
		must(t, b, broker.Record{Topic: topic, Keep: short})
		time.Sleep(700 * time.Millisecond)
		must(t, b, broker.Record{Topic: topic, Keep: short})
		time.Sleep(700 * time.Millisecond)
		must(t, b, broker.Record{Topic: topic, Keep: usual()})
		entries, _, err := b.Since(t.Context(), topic, wire.Position{}, 10)
		if err != nil || len(entries) != 2 {
			t.Errorf("%d entries, %v; want the 2 that were not too old", len(entries), err)
		}
	})
}
