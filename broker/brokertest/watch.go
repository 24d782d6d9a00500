package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

func watchRules() []rule {
	return []rule{
		{"what is there, then Synced, then changes", watchYields},
		{"changes of a key are in order", watchIsInOrder},
		{"expiry is a change", watchExpiry},
		{"only what is below the prefix", watchPrefix},
		{"a list ends at Synced", watchAsList},
		{"the caller may stop at any time", watchStops},
		{"it ends with its context", watchContext},
		{"what is written meanwhile comes", watchWhileWriting},
		{"the caller may write", watcherWrites},
	}
}

// watcher ranges over a watch in a goroutine.
type watcher struct {
	e       *env
	changes chan broker.Change
	err     error // after changes is closed
}

// watch begins a watch. It ends with the case.
func (e *env) watch(d broker.Driver, prefix string) *watcher {
	w := &watcher{e: e, changes: make(chan broker.Change, 1000)}
	ctx, cancel := context.WithCancel(e.ctx)
	go func() {
		defer close(w.changes)
		for c, err := range d.Watch(ctx, prefix) {
			if err != nil {
				w.err = err
				continue // nothing may follow an error
			}
			if w.err != nil {
				e.Errorf("a change of %q after the error %v", c.Key, w.err)
			}
			w.changes <- c
		}
	}()
	e.Cleanup(func() {
		cancel()
		for range w.changes {
		}
	})
	return w
}

// take returns the next change.
func (w *watcher) take() broker.Change {
	w.e.Helper()
	select {
	case c, ok := <-w.changes:
		if !ok {
			w.e.Fatalf("the watch ended: %v", w.err)
		}
		return c
	case <-time.After(w.e.h.Patience):
		w.e.Fatalf("no change after %v", w.e.h.Patience)
	}
	panic("not reached")
}

// synced returns the items up to Synced, by key.
func (w *watcher) synced() map[string]broker.Item {
	w.e.Helper()
	items := map[string]broker.Item{}
	for {
		c := w.take()
		if c.Synced {
			if c.Key != "" || c.Value != nil || c.Deleted {
				w.e.Errorf("Synced comes with an item: %+v", c)
			}
			return items
		}
		if c.Deleted {
			delete(items, c.Key)
		} else {
			items[c.Key] = c.Item
		}
	}
}

// next skips repetitions of key until it has value.
func (w *watcher) next(key, value string) broker.Change {
	w.e.Helper()
	for {
		if c := w.take(); c.Key == key && !c.Deleted && string(c.Value) == value {
			if c.Revision == 0 {
				w.e.Errorf("a change of %q without a revision", key)
			}
			return c
		}
	}
}

// nextDeleted skips changes of key until it is deleted.
func (w *watcher) nextDeleted(key string) broker.Change {
	w.e.Helper()
	for {
		if c := w.take(); c.Key == key && c.Deleted {
			if len(c.Value) > 0 {
				w.e.Errorf("%q is deleted with a value", key)
			}
			return c
		}
	}
}

// ends checks with which error the watch ends.
func (w *watcher) ends(want error) {
	w.e.Helper()
	timeout := time.After(w.e.h.Patience)
	for {
		select {
		case _, ok := <-w.changes:
			if !ok {
				w.e.wantErr("the watch", w.err, want)
				return
			}
		case <-timeout:
			w.e.Fatalf("the watch did not end, want %v", want)
		}
	}
}

func watchYields(e *env) {
	for _, other := range []broker.Driver{e.d, e.node()} {
		own := fmt.Sprintf("%p/", other)
		a, b, c := e.key(own+"a"), e.key(own+"b"), e.key(own+"c")
		rev := e.put(a, "1", 0, 0)
		e.put(b, "1", 0, time.Hour)
		w := e.watch(other, e.key(own))
		items := w.synced()
		if len(items) != 2 || string(items[a].Value) != "1" || items[a].Revision != rev || items[b].Expires.IsZero() {
			e.Fatalf("at first %+v, want both items", items)
		}
		next := e.put(a, "2", rev, 0)
		if got := w.next(a, "2"); got.Revision != next || !got.Expires.IsZero() {
			e.Errorf("the change is %+v, want revision %d", got, next)
		}
		e.put(c, "1", 0, 0)
		w.next(c, "1")
		if err := e.d.Delete(e.ctx, a, next); err != nil {
			e.Fatalf("Delete: %v", err)
		}
		w.nextDeleted(a)
		e.put(a, "3", 0, 0)
		w.next(a, "3")
	}
}

func watchIsInOrder(e *env) {
	w := e.watch(e.node(), e.key(""))
	w.synced()
	const keys, each = 8, 60
	parallel(keys, func(i int) {
		for n := range each {
			if _, err := e.d.Put(e.ctx, e.key(fmt.Sprint(i)), fmt.Append(nil, n), broker.Any, 0); err != nil {
				e.Errorf("Put: %v", err)
			}
		}
	})
	last := map[string]uint64{}
	for done := 0; done < keys; {
		c := w.take()
		if c.Revision < last[c.Key] {
			e.Fatalf("%q: revision %d after %d", c.Key, c.Revision, last[c.Key])
		}
		if c.Revision > last[c.Key] && string(c.Value) == fmt.Sprint(each-1) {
			done++
		}
		last[c.Key] = c.Revision
	}
}

func watchExpiry(e *env) {
	before, after := e.key("before"), e.key("after")
	e.put(before, "v", 0, time.Second)
	w := e.watch(e.node(), e.key(""))
	w.synced()
	e.put(after, "v", 0, 2*time.Second)
	first := w.next(after, "v")
	w.nextDeleted(before)
	gone := w.nextDeleted(after)
	if now := time.Now(); now.Before(first.Expires.Add(-time.Second)) {
		e.Errorf("expired at %v, want not before %v", now, first.Expires)
	}
	if gone.Revision != 0 && gone.Revision < first.Revision {
		e.Errorf("revision %d after %d", gone.Revision, first.Revision)
	}
	e.noItem(after)
}

func watchPrefix(e *env) {
	w := e.watch(e.d, e.key("a/"))
	w.synced()
	for _, name := range []string{"a", "a0", "b/x", "A/x", "a.", "a/in"} {
		e.put(e.key(name), "v", 0, 0)
	}
	if c := w.take(); c.Key != e.key("a/in") {
		e.Errorf("a change of %q, want that below the prefix only", c.Key)
	}
	for _, glob := range []string{"*", "a*", "a/*", ">", "a/i?", "a/[i]n"} {
		if items := e.watch(e.d, e.key(glob)).synced(); len(items) != 0 {
			e.Errorf("the prefix %q matched %v", glob, items)
		}
	}
	topic := e.topic("t")
	e.put(guardKey(topic, "x"), "v", 0, 0)
	for _, prefix := range []string{topic.String(), topic.String() + "/", guardKey(topic, "x")} {
		if items := e.watch(e.d, prefix).synced(); len(items) != 1 {
			e.Errorf("below %q there is %v, want one item", prefix, items)
		}
	}
}

func watchAsList(e *env) {
	const n = 1500
	for i := range n {
		e.put(e.key(fmt.Sprint("item/", i)), fmt.Sprint(i), 0, 0)
	}
	got := map[string]bool{}
	for c, err := range e.d.Watch(e.ctx, e.key("item/")) {
		if err != nil {
			e.Fatalf("Watch: %v", err)
		}
		if c.Synced {
			break
		}
		if want := e.key("item/" + string(c.Value)); c.Key != want {
			e.Fatalf("%q has the value of %q", c.Key, want)
		}
		got[c.Key] = true
	}
	if len(got) != n {
		e.Errorf("listed %d items, want %d", len(got), n)
	}
	for c, err := range e.d.Watch(e.ctx, e.key("nothing/")) {
		if err != nil || !c.Synced {
			e.Fatalf("got %+v, %v; want Synced at once", c, err)
		}
		break
	}
}

func watchStops(e *env) {
	for i := range 10 {
		e.put(e.key(fmt.Sprint(i)), "v", 0, 0)
	}
	seq := e.d.Watch(e.ctx, e.key(""))
	for range 3 { // each range is a watch of its own
		n := 0
		for _, err := range seq {
			if err != nil {
				e.Fatalf("Watch: %v", err)
			}
			if n++; n == 4 {
				break
			}
		}
		if n != 4 {
			e.Errorf("got %d changes, want 4", n)
		}
	}
}

func watchContext(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	ended := false
	for c, err := range e.d.Watch(ctx, e.key("")) {
		if err != nil {
			e.wantErr("Watch", err, context.Canceled)
			ended = true
			continue
		}
		if c.Synced {
			cancel()
		}
	}
	cancel()
	if !ended {
		e.Error("the watch ended without an error")
	}
	for _, err := range e.d.Watch(ctx, e.key("")) {
		e.wantErr("Watch of a done context", err, context.Canceled)
	}
}

func watchWhileWriting(e *env) {
	const n = 400
	w := e.watch(e.d, e.key(""))
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := e.d.Put(e.ctx, e.key(fmt.Sprint(i)), []byte("v"), 0, 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	got := map[string]bool{}
	for len(got) < n {
		if c := w.take(); !c.Synced {
			got[strings.TrimPrefix(c.Key, e.key(""))] = true
		}
	}
	if err := <-done; err != nil {
		e.Errorf("Put: %v", err)
	}
}

func watcherWrites(e *env) {
	e.put(e.key("0"), "v", 0, 0)
	n := 0
	for c, err := range e.d.Watch(e.ctx, e.key("")) {
		if err != nil {
			e.Fatalf("Watch: %v", err)
		}
		if c.Synced {
			continue
		}
		if n++; n == 20 {
			return
		}
		_, err := e.d.Put(e.ctx, e.key(fmt.Sprint(n)), nil, 0, 0)
		if err != nil && !errors.Is(err, broker.ErrConflict) {
			e.Fatalf("Put: %v", err)
		}
	}
}
