package brokertest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

func storeRules() []rule {
	return []rule{
		{"put and get", putAndGet},
		{"a put asks for the revision", putAsksForRevision},
		{"of 64 compare-and-swaps one wins", oneSwapWins},
		{"64 counters lose no count", countersAreExact},
		{"delete asks for the revision", deleteAsksForRevision},
		{"revisions rise across deletion and expiry", revisionsRise},
		{"an item past its deadline is missing", itemExpires},
		{"a put replaces the deadline", putReplacesDeadline},
		{"ttl rounds up to seconds", ttlRoundsUp},
		{"values are the caller's and of any size", storeValues},
		{"keys of any form are different keys", storeKeys},
	}
}

// put writes and expects no error.
func (e *env) put(key, value string, ifRev uint64, ttl time.Duration) uint64 {
	e.Helper()
	rev, err := e.d.Put(e.ctx, key, []byte(value), ifRev, ttl)
	if err != nil || rev == 0 {
		e.Fatalf("Put(%q) = %d, %v; want a revision", key, rev, err)
	}
	return rev
}

// noItem checks that there is no item.
func (e *env) noItem(key string) {
	e.Helper()
	_, err := e.d.Get(e.ctx, key)
	e.wantErr("Get", err, broker.ErrNotFound)
}

func putAndGet(e *env) {
	key := e.key("k")
	e.noItem(key)
	rev := e.put(key, "one", 0, 0)
	if it := e.wantItem(key, "one", rev); !it.Expires.IsZero() {
		e.Errorf("expires at %v, want never", it.Expires)
	}
	next := e.put(key, "two", rev, 0)
	if next <= rev {
		e.Errorf("revision %d after %d, want a higher one", next, rev)
	}
	e.wantItem(key, "two", next)
	e.until("another node has it too", func() bool {
		it, err := e.node().Get(e.ctx, key)
		return err == nil && it.Revision == next
	})
}

func putAsksForRevision(e *env) {
	key := e.key("k")
	for _, wrong := range []uint64{1, 99, broker.Any - 1} {
		_, err := e.d.Put(e.ctx, key, nil, wrong, 0)
		e.wantErr("Put where there is nothing", err, broker.ErrConflict)
	}
	rev := e.put(key, "one", 0, 0)
	_, err := e.d.Put(e.ctx, key, []byte("again"), 0, 0)
	e.wantErr("Put where there is something", err, broker.ErrConflict)
	_, err = e.d.Put(e.ctx, key, []byte("again"), rev+1, 0)
	e.wantErr("Put at another revision", err, broker.ErrConflict)
	e.wantItem(key, "one", rev)
	next := e.put(key, "any", broker.Any, 0)
	e.wantItem(key, "any", next)
	e.wantItem(e.key("new"), "any", e.put(e.key("new"), "any", broker.Any, 0))
	_, err = e.d.Put(e.ctx, key, nil, broker.Any, -time.Second)
	e.wantRefused("Put with a negative ttl", err)
}

func oneSwapWins(e *env) {
	other := e.node()
	for _, rev := range []uint64{0, e.put(e.key("there"), "old", 0, 0)} {
		key := e.key("there")
		if rev == 0 {
			key = e.key("new")
		}
		var won atomic.Int64
		var winner atomic.Uint64
		parallel(64, func(i int) {
			d := e.d
			if i%2 == 1 {
				d = other
			}
			got, err := d.Put(e.ctx, key, []byte("won"), rev, 0)
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(got)
			case !errors.Is(err, broker.ErrConflict):
				e.Errorf("Put: %v, want %v", err, broker.ErrConflict)
			}
		})
		if n := won.Load(); n != 1 {
			e.Errorf("%d of 64 won, want 1", n)
		}
		e.until("the winner's item is there", func() bool {
			it, err := e.d.Get(e.ctx, key)
			return err == nil && it.Revision == winner.Load() && string(it.Value) == "won"
		})
	}
}

func countersAreExact(e *env) {
	key := e.key("counter")
	e.put(key, "", 0, 0)
	other := e.node()
	parallel(8, func(i int) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		for done := 0; done < 8 && e.ctx.Err() == nil; {
			it, err := d.Get(e.ctx, key)
			if err != nil {
				e.Errorf("Get: %v", err)
				return
			}
			_, err = d.Put(e.ctx, key, append(it.Value[:len(it.Value):len(it.Value)], 'x'), it.Revision, 0)
			switch {
			case err == nil:
				done++
			case !errors.Is(err, broker.ErrConflict):
				e.Errorf("Put: %v", err)
				return
			}
		}
	})
	it, err := e.d.Get(e.ctx, key)
	if err != nil || string(it.Value) != strings.Repeat("x", 64) {
		e.Errorf("counted %d, %v; want 64", len(it.Value), err)
	}
}

func deleteAsksForRevision(e *env) {
	key := e.key("k")
	rev := e.put(key, "one", 0, 0)
	e.wantErr("Delete at another revision", e.d.Delete(e.ctx, key, rev+1), broker.ErrConflict)
	e.wantErr("Delete of what should not exist", e.d.Delete(e.ctx, key, 0), broker.ErrConflict)
	e.wantItem(key, "one", rev)
	if err := e.d.Delete(e.ctx, key, rev); err != nil {
		e.Fatalf("Delete: %v", err)
	}
	e.noItem(key)
	e.wantErr("Delete of a missing item at a revision", e.d.Delete(e.ctx, key, rev), broker.ErrConflict)
	for _, ifRev := range []uint64{0, broker.Any} {
		if err := e.d.Delete(e.ctx, key, ifRev); err != nil {
			e.Errorf("Delete of a missing item: %v, want no error", err)
		}
	}
	e.put(key, "two", 0, 0)
	if err := e.d.Delete(e.ctx, key, broker.Any); err != nil {
		e.Errorf("Delete at any revision: %v", err)
	}
	e.noItem(key)
}

func revisionsRise(e *env) {
	key := e.key("k")
	last := uint64(0)
	rises := func(rev uint64) {
		e.Helper()
		if rev <= last {
			e.Errorf("revision %d after %d, want a higher one", rev, last)
		}
		last = rev
	}
	rises(e.put(key, "1", 0, 0))
	rises(e.put(key, "2", broker.Any, 0))
	if err := e.d.Delete(e.ctx, key, last); err != nil {
		e.Fatalf("Delete: %v", err)
	}
	rises(e.put(key, "3", 0, time.Second))
	e.until("the item has expired", func() bool {
		_, err := e.d.Get(e.ctx, key)
		return errors.Is(err, broker.ErrNotFound)
	})
	rises(e.put(key, "4", 0, 0))
}

func itemExpires(e *env) {
	key := e.key("k")
	before := time.Now()
	rev := e.put(key, "v", 0, time.Second)
	it, err := e.d.Get(e.ctx, key)
	if time.Since(before) < time.Second {
		if err != nil || it.Revision != rev {
			e.Fatalf("Get = %d, %v; want the item before its deadline", it.Revision, err)
		}
		if it.Expires.Before(before.Add(time.Second-10*time.Millisecond)) || it.Expires.After(time.Now().Add(2*time.Second)) {
			e.Errorf("expires at %v, %v after it was put; want 1 s", it.Expires, it.Expires.Sub(before))
		}
	}
	e.until("it has expired", func() bool {
		it, err := e.d.Get(e.ctx, key)
		if err == nil && time.Now().After(it.Expires.Add(time.Millisecond)) {
			e.Fatalf("Get returned an item %v past its deadline", time.Since(it.Expires))
		}
		return errors.Is(err, broker.ErrNotFound)
	})
	_, err = e.d.Put(e.ctx, key, []byte("w"), rev, 0)
	e.wantErr("Put at the revision of an expired item", err, broker.ErrConflict)
	e.put(key, "new", 0, 0)
}

func putReplacesDeadline(e *env) {
	renewed, kept := e.key("renewed"), e.key("kept")
	first := time.Now()
	for _, key := range []string{renewed, kept} {
		e.put(key, "1", 0, time.Second)
	}
	rev := e.put(renewed, "2", broker.Any, time.Hour)
	forever := e.put(kept, "2", broker.Any, 0)
	if time.Since(first) > time.Second {
		e.Skip("too slow to put before the deadline")
	}
	e.until("the first deadline has passed", func() bool { return time.Since(first) > 2*time.Second })
	e.wantItem(renewed, "2", rev)
	e.wantItem(kept, "2", forever)
}

func ttlRoundsUp(e *env) {
	for ttl, want := range map[time.Duration]time.Duration{
		1:                              time.Second,
		time.Millisecond:               time.Second,
		time.Second + time.Millisecond: 2 * time.Second,
		90 * time.Second:               90 * time.Second,
	} {
		key := e.key(ttl.String())
		before := time.Now()
		e.put(key, "v", 0, ttl)
		after := time.Now()
		it, err := e.d.Get(e.ctx, key)
		if time.Since(before) >= want {
			continue // too slow
		}
		if err != nil {
			e.Errorf("ttl %v: Get: %v", ttl, err)
			continue
		}
		// An engine may count in whole seconds.
		if it.Expires.Before(before.Add(want-10*time.Millisecond)) || it.Expires.After(after.Add(want+time.Second)) {
			e.Errorf("ttl %v expires after %v, want %v", ttl, it.Expires.Sub(before), want)
		}
	}
}

func storeValues(e *env) {
	key := e.key("k")
	value := []byte("value")
	rev, err := e.d.Put(e.ctx, key, value, 0, 0)
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
	copy(value, "XXXXX")
	it := e.wantItem(key, "value", rev)
	e.put(key, "other", rev, 0)
	if string(it.Value) != "value" {
		e.Errorf("the value of an earlier Get changed to %q", it.Value)
	}
	for _, size := range []int{0, 1, 1000, 100 << 10, 500 << 10} {
		want := strings.Repeat("v", size)
		e.wantItem(key, want, e.put(key, want, broker.Any, 0))
	}
}

func storeKeys(e *env) {
	names := []string{
		"a", "A", "a/b", "a//b", "a.b", "*", ">", "a*", "{a}", " ", "a b", "ä", "\"", strings.Repeat("k", 200),
		e.topic("t").String(), e.topic("t").String() + "/", "a:b", "$", "_",
	}
	revs := map[string]uint64{}
	for i, name := range names {
		revs[name] = e.put(e.key(name), fmt.Sprint(i), 0, 0)
	}
	for i, name := range names {
		e.wantItem(e.key(name), fmt.Sprint(i), revs[name])
	}
	placed := guardKey(e.topic("t"), "*")
	e.wantItem(placed, "v", e.put(placed, "v", 0, 0))
}
