package membroker

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// fill puts n items with a room, and returns their prefix.
func fill(tb testing.TB, b *Broker, room string, n int) string {
	tb.Helper()
	prefix := broker.KeyOf(wire.Topic{Kind: wire.KindRoom, ID: room}).String() + "/m/"
	for i := range n {
		if _, err := b.Put(tb.Context(), fmt.Sprintf("%s%06d", prefix, i), []byte("member"), 0, 0); err != nil {
			tb.Fatal(err)
		}
	}
	return prefix
}

// TestWhoStopsAWatchEarlyHasNotPaidForTheRest counts what is allocated: a copy of each item is.
func TestWhoStopsAWatchEarlyHasNotPaidForTheRest(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	allocations := func(n int) float64 {
		prefix := fill(t, b, fmt.Sprint("room", n), n)
		return testing.AllocsPerRun(20, func() {
			got := 0
			for change, err := range b.Watch(context.Background(), prefix) {
				if err != nil {
					t.Fatal(err)
				}
				if got++; change.Synced || got == 10 {
					break
				}
			}
			if got != 10 {
				t.Fatalf("got %d items, want 10", got)
			}
		})
	}
	if few, many := allocations(500), allocations(20_000); many > 1.5*few {
		t.Errorf("10 of 20,000 items took %.0f allocations, of 500 %.0f", many, few)
	}
}

// TestWhatChangesWhileItIsListedIsTold: items before and behind the one that the list is at are
// written, deleted and made anew. Nobody goes back in time, and in the end all is as it is.
func TestWhatChangesWhileItIsListedIsTold(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	const n = 5 * listPage
	prefix := fill(t, b, "team", n)
	want := make(map[string]uint64)
	for i := range n {
		item, err := b.Get(t.Context(), fmt.Sprintf("%s%06d", prefix, i))
		if err != nil {
			t.Fatal(err)
		}
		want[item.Key] = item.Revision
	}
	change := func(key string, gone bool) {
		if gone {
			if err := b.Delete(t.Context(), key, broker.Any); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
			return
		}
		revision, err := b.Put(t.Context(), key, []byte("changed"), broker.Any, 0)
		if err != nil {
			t.Fatal(err)
		}
		want[key] = revision
	}
	got, newest := make(map[string]uint64), make(map[string]uint64)
	synced, last := false, fmt.Sprint(prefix, "zz")
	for c, err := range b.Watch(t.Context(), prefix) {
		switch {
		case err != nil:
			t.Fatal(err)
		case c.Synced:
			synced = true
			change(last, false) // so that the end is known
		case c.Revision < newest[c.Key]:
			t.Fatalf("%s: got revision %d after %d", c.Key, c.Revision, newest[c.Key])
		case c.Deleted:
			delete(got, c.Key)
		default:
			got[c.Key] = c.Revision
		}
		newest[c.Key] = max(newest[c.Key], c.Revision)
		if i := len(got); !synced && i%7 == 0 {
			change(fmt.Sprintf("%s%06d", prefix, i/2), i%3 == 0)
			change(fmt.Sprintf("%s%06d", prefix, min(n-1, i+listPage+i%50)), i%5 == 0)
			change(fmt.Sprintf("%s%06d", prefix, i+1), i%2 == 0)
			change(fmt.Sprintf("%s%06d-new", prefix, i+2), false)
		}
		if c.Key == last {
			break
		}
	}
	if !synced || !maps.Equal(got, want) {
		t.Errorf("got %d items, want %d; they differ", len(got), len(want))
	}
}
