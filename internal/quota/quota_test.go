package quota

import (
	"testing"
	"time"
)

var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestEachKeyHasItsOwnBucket(t *testing.T) {
	table := New[string](60, 3, 10)
	for range 3 {
		if _, ok := table.Take("a", 1, start); !ok {
			t.Fatal("the burst was refused")
		}
	}
	if wait, ok := table.Take("a", 1, start); ok || wait != time.Second {
		t.Errorf("got %v, %v, want a wait of 1 s", wait, ok)
	}
	if _, ok := table.Take("b", 3, start); !ok {
		t.Error("b pays for a")
	}
	if wait, ok := table.Take("a", 2, start.Add(time.Second)); ok || wait != time.Second {
		t.Errorf("got %v, %v, want one second more", wait, ok)
	}
	if _, ok := table.Take("a", 1, start.Add(time.Second)); !ok {
		t.Error("a refusal took something")
	}
	if wait, ok := table.Take("b", 4, start.Add(time.Hour)); ok || wait <= 0 {
		t.Errorf("got %v, %v for more than there ever is, want a refusal", wait, ok)
	}
}

func TestKeysBeyondTheTableShareABucketAndTakeNothingFromOthers(t *testing.T) {
	table := New[int](60, 2, 100)
	for key := range 100 {
		table.Take(key, 1, start)
	}
	let := 0
	for key := range 10_000 {
		if _, ok := table.Take(1000+key, 1, start); ok {
			let++
		}
	}
	if let != 2 {
		t.Errorf("%d of the keys beyond were let through, want 2 together", let)
	}
	if n := table.Len(); n != 100 {
		t.Errorf("got %d buckets, want 100", n)
	}
	if _, ok := table.Take(7, 1, start); !ok {
		t.Error("a known key lost its bucket")
	}
	if _, ok := table.Take(5000, 2, start.Add(time.Minute)); !ok || table.Len() != 1 {
		t.Errorf("got %v and %d buckets after a minute, want a new one alone", ok, table.Len())
	}
}

func BenchmarkTakeOfStrangersWhenTheTableIsFull(b *testing.B) {
	table := New[int](60, 2, 100_000)
	for key := range 100_000 {
		table.Take(key, 1, start)
	}
	for n := 0; b.Loop(); n++ {
		table.Take(1_000_000+n, 1, start)
	}
}

func TestNoTableHasNoBound(t *testing.T) {
	table := New[int](0, 1, 1)
	if _, ok := table.Take(1, 1<<30, start); !ok || table.Len() != 0 {
		t.Error("refused without a bound")
	}
}
