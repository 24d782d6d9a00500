package membroker

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// maxBehind is how many changes may wait for the caller of a watch. Then it ends,
// as if its link were lost: changes are never left out in silence.
const maxBehind = 1 << 16

// watcher is one range over a watch.
type watcher struct {
	prefix string
	wake   chan struct{} // has room for one

	mu      sync.Mutex // guards the fields below; may be taken with a partition's lock held
	changes []broker.Change
	behind  bool // changes were left out
}

// tell queues a change of key for those who watch it. The partition's lock is
// held, so changes of a key are in order.
func (s *store) tell(key string, change func() broker.Change) {
	var c broker.Change
	for _, w := range s.watchers {
		if !strings.HasPrefix(key, w.prefix) {
			continue
		}
		if c.Key == "" {
			c = change()
		}
		w.push(c)
		s.dirty = true
	}
}

// changed returns the watchers to wake once the partition's lock is released.
func (s *store) changed() []*watcher {
	if !s.dirty {
		return nil
	}
	s.dirty = false
	return s.watchers
}

func wakeAll(watchers []*watcher) {
	for _, w := range watchers {
		select {
		case w.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

func (w *watcher) push(c broker.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changes) >= maxBehind {
		w.behind = true
		return
	}
	w.changes = append(w.changes, c)
}

func (w *watcher) take() (changes []broker.Change, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes, w.changes = w.changes, nil
	return changes, w.behind
}

// Watch yields the items below prefix and then what changes; see [broker.Store].
// The caller's goroutine does the work, expiry included.
func (b *Broker) Watch(ctx context.Context, prefix string) iter.Seq2[broker.Change, error] {
	return func(yield func(broker.Change, error) bool) {
		l := b.link.Load()
		if err := b.ready(ctx, "watch"); err != nil {
			yield(broker.Change{}, err)
			return
		}
		w := &watcher{prefix: prefix, wake: make(chan struct{}, 1)}
		parts := b.shared.below(prefix)
		defer w.leave(parts)
		watch := watch{shared: b.shared, watcher: w, yield: yield}
		if !watch.list(parts) || !yield(broker.Change{Synced: true}, nil) {
			return
		}
		if err := watch.follow(ctx, l); err != nil {
			yield(broker.Change{}, fmt.Errorf("watch: %w", err))
		}
	}
}

// below returns the partitions that can have keys with a prefix.
func (e *engine) below(prefix string) []*partition {
	if topic, ok := broker.PlacedWith(prefix); ok {
		return []*partition{e.of(topic)}
	}
	parts := make([]*partition, partitions)
	for i := range parts {
		parts[i] = &e.parts[i]
	}
	return parts
}

// leave makes w known no more.
func (w *watcher) leave(parts []*partition) {
	for _, p := range parts {
		p.mu.Lock()
		p.store.watchers = slices.DeleteFunc(slices.Clone(p.store.watchers), func(o *watcher) bool { return o == w })
		p.mu.Unlock()
	}
}

// watch is what the caller of a range knows.
type watch struct {
	shared    *engine
	watcher   *watcher
	yield     func(broker.Change, error) bool
	deadlines deadlines // of items that were yielded; some have been renewed since

	pending []broker.Change // before the end of the list, and not in it
	behind  bool            // changes were left out then
}

// listPage is how many items are read at once: who stops early has not paid for the rest.
const listPage = 128

// listed is how far a partition was listed, and what its newest revision was then.
type listed struct {
	last     string // key; everything up to it, from the listed before, was read at once
	end      bool   // everything behind it was, too
	revision uint64
}

// list makes the watcher known to each partition and yields what is there. It
// reports false when the caller stopped.
func (w *watch) list(parts []*partition) bool {
	pages := make(map[*partition][]listed, len(parts))
	var items []broker.Item
	for _, p := range parts {
		p.join(w.watcher)
		for from, more := w.watcher.prefix, true; more; {
			var page listed
			items, page = p.page(items[:0], w.watcher.prefix, from, w.shared.now())
			pages[p] = append(pages[p], page)
			for _, it := range items {
				if !w.send(broker.Change{Item: it}) {
					return false
				}
			}
			from, more = page.last+"\x00", !page.end
		}
	}
	// Of what has changed meanwhile, some was read above.
	w.pending, w.behind = w.watcher.take()
	w.pending = slices.DeleteFunc(w.pending, func(c broker.Change) bool {
		of := pages[w.shared.place(c.Key)]
		i := slices.IndexFunc(of, func(l listed) bool { return l.end || c.Key <= l.last })
		return c.Revision <= of[i].revision
	})
	return true
}

// join makes w known to p.
func (p *partition) join(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.store
	s.watchers = append(slices.Clone(s.watchers), w)
}

// page appends some of the items below prefix, from a key on. Their keys share memory, and so do their
// values: a room may have many members, and each who joins it reads them.
func (p *partition) page(items []broker.Item, prefix, from string, now int64) ([]broker.Item, listed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.store
	page := listed{end: true, revision: s.last}
	var slots [listPage]uint32
	n, keyBytes, valueBytes := 0, 0, 0
	at, place, _ := s.keys.seek(from, s.keyOf(p))
	s.keys.from(at, place, func(slot uint32) bool {
		key, value := s.parts(p, s.items.at(slot))
		if len(key) < len(prefix) || string(key[:len(prefix)]) != prefix {
			return false
		}
		if n == listPage {
			page.end = false
			return false
		}
		slots[n] = slot
		n, keyBytes, valueBytes = n+1, keyBytes+len(key), valueBytes+len(value)
		return true
	})
	var keys strings.Builder
	keys.Grow(keyBytes)
	for _, slot := range slots[:n] {
		key, _ := s.parts(p, s.items.at(slot))
		keys.Write(key)
	}
	rest, values := keys.String(), make([]byte, 0, valueBytes)
	items = slices.Grow(items, n)
	for _, slot := range slots[:n] {
		it := s.items.at(slot)
		key, value := s.parts(p, it)
		page.last, rest = rest[:len(key)], rest[len(key):]
		if it.expires != 0 && it.expires <= now {
			continue
		}
		start := len(values)
		values = append(values, value...)
		items = append(items, broker.Item{
			Key: page.last, Value: values[start:len(values):len(values)], Revision: it.revision, Expires: p.shared.expiry(it),
		})
	}
	return items, page
}

// follow yields changes until the link is lost. It returns nil when the caller
// stopped.
func (w *watch) follow(ctx context.Context, l *link) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	changes, behind := w.pending, w.behind
	for ; ; changes, behind = w.watcher.take() {
		for _, c := range changes {
			if !w.send(c) {
				return nil
			}
		}
		if behind {
			return fmt.Errorf("the caller is %d changes behind: %w", maxBehind, broker.ErrUnavailable)
		}
		timer.Stop()
		if len(w.deadlines) > 0 {
			timer.Reset(time.Duration(w.deadlines[0].at-w.shared.now()) * time.Millisecond)
		}
		select {
		case <-w.watcher.wake:
		case <-timer.C:
			w.expire()
		case <-l.down:
			return l.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send yields a change and remembers its deadline.
func (w *watch) send(c broker.Change) bool {
	if !c.Expires.IsZero() {
		heap.Push(&w.deadlines, deadline{at: w.shared.millis(c.Expires), key: c.Key})
	}
	return w.yield(c, nil)
}

// expire lets the store notice what is past its deadline, which tells all
// watchers.
func (w *watch) expire() {
	now := w.shared.now()
	for len(w.deadlines) > 0 && w.deadlines[0].at <= now {
		d := heap.Pop(&w.deadlines).(deadline)
		p := w.shared.place(d.key)
		p.mu.Lock()
		p.store.get(p, d.key, now)
		watchers := p.store.changed()
		p.mu.Unlock()
		wakeAll(watchers)
	}
}

type deadline struct {
	at  int64 // millis
	key string
}

// deadlines is a heap, the next one first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	(*d)[last] = deadline{}
	*d = (*d)[:last]
	return x
}
