package brokertest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func guardRules() []rule {
	return []rule{
		{"a record is appended only at the revision", guardedByRevision},
		{"put changes the item in the same step", guardPuts},
		{"the item is a Store item like others", guardItemIsInStore},
		{"a refused publish changes nothing", fencedChangesNothing},
		{"64 at once with the right revision succeed in order", guardedTogether},
		{"of 64 that put one wins", oneGuardWins},
		{"a retry returns the first result with its revision", guardedRetry},
		{"a refused publish does not take its id", fencedTakesNoID},
		{"an expired item does not exist", expiredGuard},
		{"a deleted item fences", deletedGuard},
		{"it guards latest records", guardedLatest},
	}
}

// guarded returns a record that asks for the revision of an item.
func guarded(topic broker.Key, data string, rev uint64, put string) broker.Record {
	r := record(topic, data)
	r.Guard = broker.Guard{Key: guardKey(topic, "run"), Revision: rev, Put: []byte(put)}
	return r
}

// wantItem checks an item's value and revision.
func (e *env) wantItem(key, value string, rev uint64) broker.Item {
	e.Helper()
	it, err := e.d.Get(e.ctx, key)
	if err != nil {
		e.Fatalf("Get(%q): %v", key, err)
	}
	if it.Key != key || string(it.Value) != value || it.Revision != rev {
		e.Fatalf("Get(%q) = %q %q at %d, want %q at %d", key, it.Key, it.Value, it.Revision, value, rev)
	}
	return it
}

func guardedByRevision(e *env) {
	topic := e.topic("t")
	key := guardKey(topic, "run")
	if p := e.publish(e.d, guarded(topic, "no item", 0, "")); p.Revision != 0 {
		e.Errorf("revision %d, want 0: there is no item", p.Revision)
	}
	rev, err := e.d.Put(e.ctx, key, []byte("v"), 0, 0)
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
	if p := e.publish(e.d, guarded(topic, "right", rev, "")); p.Revision != rev {
		e.Errorf("revision %d, want %d", p.Revision, rev)
	}
	for _, wrong := range []uint64{0, rev + 1, rev - 1, broker.Any} {
		if wrong == rev {
			continue
		}
		_, err := e.d.Publish(e.ctx, guarded(topic, "wrong", wrong, ""))
		e.wantErr("Publish at another revision", err, broker.ErrFenced)
	}
	e.wantItem(key, "v", rev)
	e.wantLog(e.d, topic, "no item", "right")
}

func guardPuts(e *env) {
	topic := e.topic("t")
	key := guardKey(topic, "run")
	r := guarded(topic, "started", 0, "running")
	first := e.publish(e.d, r)
	if first.Revision == 0 {
		e.Fatal("revision 0, want that of the new item")
	}
	copy(r.Guard.Put, "XXXXXXX") // it is the caller's again
	e.wantItem(key, "running", first.Revision)
	second := e.publish(e.d, guarded(topic, "ended", first.Revision, "done"))
	if second.Revision <= first.Revision {
		e.Errorf("revision %d after %d, want a higher one", second.Revision, first.Revision)
	}
	e.wantItem(key, "done", second.Revision)
	_, err := e.d.Publish(e.ctx, guarded(topic, "late", first.Revision, ""))
	e.wantErr("Publish of the former writer", err, broker.ErrFenced)
	e.wantLog(e.d, topic, "started", "ended")
}

func guardItemIsInStore(e *env) {
	topic := e.topic("t")
	key := guardKey(topic, "run")
	w := e.watch(e.d, topic.String()+"/")
	w.synced()
	rev, err := e.d.Put(e.ctx, key, []byte("leased"), 0, time.Hour)
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
	w.next(key, "leased")
	p := e.publish(e.d, guarded(topic, "x", rev, "kept"))
	w.next(key, "kept")
	if it := e.wantItem(key, "kept", p.Revision); !it.Expires.IsZero() {
		e.Errorf("expires at %v, want never: a guard's put is for good", it.Expires)
	}
	if err := e.d.Delete(e.ctx, key, p.Revision); err != nil {
		e.Errorf("Delete: %v", err)
	}
	w.nextDeleted(key)
}

func fencedChangesNothing(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	p := e.publish(e.d, guarded(topic, "one", 0, "v1"))
	_, err := e.d.Publish(e.ctx, guarded(topic, "never", p.Revision+1, "v2"))
	e.wantErr("Publish", err, broker.ErrFenced)
	_, err = e.d.Publish(e.ctx, guarded(e.topic("unknown"), "never", 7, "v2"))
	e.wantErr("Publish to a new topic", err, broker.ErrFenced)
	e.wantItem(guardKey(topic, "run"), "v1", p.Revision)
	e.say(topic, "two")
	e.wantLog(e.d, topic, "one", "two")
	e.wantLog(e.d, e.topic("unknown"))
	if got := texts(l.of(topic, "two")); !slices.Equal(got, []string{"one", "two"}) {
		e.Errorf("received %q, want one and two", got)
	}
}

func guardedTogether(e *env) {
	topic := e.topic("t")
	other := e.node()
	l := e.listen(e.d, topic)
	p := e.publish(e.d, guarded(topic, "started", 0, "v"))
	offsets := make([]uint64, 64)
	parallel(len(offsets), func(i int) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		got, err := d.Publish(e.ctx, guarded(topic, "event", p.Revision, ""))
		if err != nil || got.Revision != p.Revision {
			e.Errorf("guarded publish: %+v, %v; want revision %d", got, err, p.Revision)
		}
		offsets[i] = got.Pos.Offset
	})
	e.publish(e.d, guarded(topic, "ended", p.Revision, "done"))
	stored, _ := e.since(e.d, topic, p.Pos)
	slices.Sort(offsets)
	for i, offset := range offsets {
		if i >= len(stored) || stored[i].Pos.Offset != offset {
			e.Fatalf("the log has %d records, want the 64 at %v and one more", len(stored), offsets)
		}
	}
	live := l.of(topic, "ended")
	for i := range live[1:] {
		if live[i].Pos.Offset >= live[i+1].Pos.Offset {
			e.Fatalf("received %v before %v", live[i].Pos, live[i+1].Pos)
		}
	}
}

func oneGuardWins(e *env) {
	topic := e.topic("t")
	other := e.node()
	p := e.publish(e.d, guarded(topic, "started", 0, "v"))
	var won atomic.Int64
	var rev atomic.Uint64
	parallel(64, func(i int) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		got, err := d.Publish(e.ctx, guarded(topic, "ended", p.Revision, "done"))
		if err == nil {
			won.Add(1)
			rev.Store(got.Revision)
		} else if !errors.Is(err, broker.ErrFenced) {
			e.Errorf("Publish: %v, want %v", err, broker.ErrFenced)
		}
	})
	if n := won.Load(); n != 1 {
		e.Errorf("%d publishes succeeded, want 1", n)
	}
	e.wantItem(guardKey(topic, "run"), "done", rev.Load())
	e.wantLog(e.d, topic, "started", "ended")
}

func guardedRetry(e *env) {
	topic := e.topic("t")
	r := guarded(topic, "started", 0, "v1")
	r.DedupeID = "start"
	first := e.publish(e.d, r)
	again := e.publish(e.node(), r)
	if !again.Duplicate || again.Pos != first.Pos || again.Revision != first.Revision {
		e.Errorf("the retry returned %+v, want the duplicate of %+v", again, first)
	}
	second := e.publish(e.d, guarded(topic, "ended", first.Revision, "v2"))
	late := e.publish(e.d, r)
	if !late.Duplicate || late.Pos != first.Pos || late.Revision != first.Revision {
		e.Errorf("after the guard moved on the retry returned %+v, want the duplicate of %+v", late, first)
	}
	e.wantItem(guardKey(topic, "run"), "v2", second.Revision)
	e.wantLog(e.d, topic, "started", "ended")
}

func fencedTakesNoID(e *env) {
	topic := e.topic("t")
	r := guarded(topic, "event", 99, "")
	r.DedupeID = "id"
	_, err := e.d.Publish(e.ctx, r)
	e.wantErr("Publish", err, broker.ErrFenced)
	r.Guard.Revision = 0
	if p := e.publish(e.d, r); p.Duplicate {
		e.Error("the publish after a refused one is a duplicate")
	}
	e.wantLog(e.d, topic, "event")
}

func expiredGuard(e *env) {
	topic := e.topic("t")
	key := guardKey(topic, "run")
	rev, err := e.d.Put(e.ctx, key, []byte("v"), 0, time.Second)
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
	e.until("the item has expired", func() bool {
		_, err := e.d.Get(e.ctx, key)
		return errors.Is(err, broker.ErrNotFound)
	})
	_, err = e.d.Publish(e.ctx, guarded(topic, "late", rev, ""))
	e.wantErr("Publish at the expired revision", err, broker.ErrFenced)
	if p := e.publish(e.d, guarded(topic, "new", 0, "v2")); p.Revision <= rev {
		e.Errorf("revision %d after %d, want a higher one", p.Revision, rev)
	}
	e.wantLog(e.d, topic, "new")
}

func deletedGuard(e *env) {
	topic := e.topic("t")
	p := e.publish(e.d, guarded(topic, "started", 0, "v"))
	if err := e.d.Delete(e.ctx, guardKey(topic, "run"), p.Revision); err != nil {
		e.Fatalf("Delete: %v", err)
	}
	_, err := e.d.Publish(e.ctx, guarded(topic, "late", p.Revision, ""))
	e.wantErr("Publish", err, broker.ErrFenced)
	e.wantLog(e.d, topic, "started")
}

func guardedLatest(e *env) {
	topic := e.topic("t")
	p := e.publish(e.d, guarded(topic, "started", 0, "v"))
	r := latest(topic, "progress", "10 %")
	r.Guard = broker.Guard{Key: guardKey(topic, "run"), Revision: p.Revision}
	if got := e.publish(e.d, r); got.Revision != p.Revision || got.Pos != (wire.Position{}) {
		e.Errorf("Publish returned %+v, want revision %d and no place", got, p.Revision)
	}
	r.Guard.Revision++
	r.Data = []byte("20 %")
	_, err := e.d.Publish(e.ctx, r)
	e.wantErr("Publish", err, broker.ErrFenced)
	e.wantLatest(topic, "progress=10 %")
}
