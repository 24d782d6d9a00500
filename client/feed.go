package client

import (
	"context"
	"iter"
	"sync"

	"github.com/netra-systems/switchboard/wire"
)

// How much the client reads ahead of the slowest reader of its messages, in bytes of
// frames. Where an answer is awaited it reads further, because the answer comes behind
// messages, and because whoever waits for it may be the reader itself.
const (
	readAhead        = 256 << 10
	readAheadWaiting = 4 << 20
)

// feed hands what arrives to all who read messages. It never drops anything: when the
// slowest reader is too far behind, put waits, and with it the socket.
type feed struct {
	changed chan struct{} // capacity 1: put looks again

	mu      sync.Mutex // guards the fields below
	readers map[*reader]struct{}
	first   *reader // takes what comes before the first call; nil afterwards
	waiting int     // answers that are awaited
	err     error   // why the feed ended; nil also after Close
	done    bool
}

// reader is one call of Messages.
type reader struct {
	wake  chan struct{} // capacity 1: next looks again
	queue []item        // guarded by feed.mu
	bytes int           // guarded by feed.mu; the sum over queue
	left  bool          // guarded by feed.mu
}

type item struct {
	env  wire.Envelope
	size int
}

func newFeed() *feed {
	f := &feed{changed: make(chan struct{}, 1), first: newReader()}
	f.readers = map[*reader]struct{}{f.first: {}}
	return f
}

func newReader() *reader { return &reader{wake: make(chan struct{}, 1)} }

// signal makes the one who waits at ch look again.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// put hands env to all readers and waits until none is too far behind, until ctx is done,
// or until the feed ends.
func (f *feed) put(ctx context.Context, env wire.Envelope, size int) {
	f.mu.Lock()
	for r := range f.readers {
		r.queue = append(r.queue, item{env, size})
		r.bytes += size
		signal(r.wake)
	}
	f.mu.Unlock()
	for !f.roomy() {
		select {
		case <-f.changed:
		case <-ctx.Done():
			return
		}
	}
}

// roomy reports whether more may be read from the socket.
func (f *feed) roomy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	limit := readAhead
	if f.waiting > 0 {
		limit = readAheadWaiting
	}
	for r := range f.readers {
		if r.bytes >= limit {
			return f.done
		}
	}
	return true
}

// await tells that an answer is awaited (1) or not any more (-1).
func (f *feed) await(n int) {
	f.mu.Lock()
	f.waiting += n
	f.mu.Unlock()
	signal(f.changed)
}

// start ends the time before the first call, in which messages are kept for it: a
// program that sends before it reads does not want them.
func (f *feed) start() {
	f.mu.Lock()
	if f.first != nil {
		delete(f.readers, f.first)
		f.first = nil
	}
	f.mu.Unlock()
	signal(f.changed)
}

// join adds a reader, which gets everything from now on; the first one also gets what has
// come since Dial.
func (f *feed) join() *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.first; r != nil {
		f.first = nil
		return r
	}
	r := newReader()
	if !f.done {
		f.readers[r] = struct{}{}
	}
	return r
}

func (f *feed) leave(r *reader) {
	f.mu.Lock()
	delete(f.readers, r)
	r.queue, r.bytes, r.left = nil, 0, true
	f.mu.Unlock()
	signal(f.changed)
}

// end tells all readers that nothing more comes. With an error they get what is left and
// the error; without one they end at once. Only the first call counts.
func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return
	}
	f.done, f.err = true, err
	for r := range f.readers {
		signal(r.wake)
	}
	signal(f.changed)
}

// take removes the next message of r. Without one it reports whether the feed has ended.
func (f *feed) take(r *reader) (env wire.Envelope, ok, done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.left || f.done && f.err == nil {
		return wire.Envelope{}, false, true, nil
	}
	if len(r.queue) == 0 {
		return wire.Envelope{}, false, f.done, f.err
	}
	next := r.queue[0]
	r.queue[0] = item{} // its bytes may go
	r.queue = r.queue[1:]
	r.bytes -= next.size
	signal(f.changed)
	return next.env, true, false, nil
}

// messages yields what r gets until the feed or ctx ends. Also where nobody ranges over
// the sequence, the end of ctx frees the socket.
func (f *feed) messages(ctx context.Context, r *reader) iter.Seq2[wire.Envelope, error] {
	stop := context.AfterFunc(ctx, func() { f.leave(r) })
	return func(yield func(wire.Envelope, error) bool) {
		defer stop()
		defer f.leave(r)
		for {
			if err := ctx.Err(); err != nil {
				yield(wire.Envelope{}, err)
				return
			}
			env, ok, done, err := f.take(r)
			switch {
			case ok:
				if !yield(env, nil) {
					return
				}
				continue
			case done && err != nil:
				yield(wire.Envelope{}, err)
				return
			case done:
				return
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
			}
		}
	}
}
