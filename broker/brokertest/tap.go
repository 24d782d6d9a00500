package brokertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// tap is a receiver that keeps what it gets, and checks what has to be true of
// every delivery.
type tap struct {
	e    *env
	stop func() error  // ends Run and returns its error
	done chan struct{} // closed when Run has returned

	mu      sync.Mutex // guards the fields below
	entries []broker.Entry
	pieces  []piece
	busy    map[broker.Key]bool // topics that are being delivered
	ended   bool                // Run has returned
	changed chan struct{}       // closed, and made anew, with each delivery
	onEntry func(broker.Entry)  // called without the lock; nil: not
}

// piece is what Receiver.Text got.
type piece struct {
	topic, stream broker.Key
	start         int
	text          string
}

// listen runs a tap on d that follows topics. It is stopped at the end, if the
// case does not do it before.
func (e *env) listen(d broker.Driver, topics ...broker.Key) *tap {
	e.Helper()
	return e.listenWith(d, nil, topics...)
}

// listenWith is listen with a function that gets every record, in the
// receiver's call.
func (e *env) listenWith(d broker.Driver, on func(broker.Entry), topics ...broker.Key) *tap {
	e.Helper()
	l := &tap{e: e, done: make(chan struct{}), busy: map[broker.Key]bool{}, changed: make(chan struct{}), onEntry: on}
	ctx, cancel := context.WithCancel(e.ctx)
	var ran error
	go func() {
		defer close(l.done)
		ran = d.Run(ctx, l)
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
	}()
	l.stop = func() error {
		cancel()
		<-l.done
		return ran
	}
	e.Cleanup(func() {
		if err := l.stop(); err == nil {
			e.Error("Run returned nil, want an error in every case")
		}
	})
	if err := d.Follow(e.ctx, topics...); err != nil {
		e.Fatalf("Follow: %v", err)
	}
	return l
}

// Record implements broker.Receiver.
func (l *tap) Record(entry broker.Entry) {
	l.enter(entry.Topic)
	if l.onEntry != nil {
		l.onEntry(entry)
	}
	l.leave(entry.Topic, func() { l.entries = append(l.entries, entry) })
}

// Text implements broker.Receiver.
func (l *tap) Text(topic, stream broker.Key, start int, text string) {
	l.enter(topic)
	l.leave(topic, func() { l.pieces = append(l.pieces, piece{topic, stream, start, text}) })
}

func (l *tap) enter(topic broker.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[topic] {
		l.e.Error("two deliveries of one topic at the same time")
	}
	if l.ended {
		l.e.Error("a delivery after Run has returned")
	}
	l.busy[topic] = true
}

func (l *tap) leave(topic broker.Key, keep func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		l.e.Error("a delivery was in progress when Run returned")
	}
	keep()
	l.busy[topic] = false
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait waits until ok, which is called with the lock held.
func (l *tap) wait(what string, ok func() bool) {
	l.e.Helper()
	timeout := time.NewTimer(l.e.h.Patience)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		done, changed := ok(), l.changed
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			l.mu.Lock()
			got := texts(l.entries)
			l.mu.Unlock()
			l.e.Fatalf("after %v not received: %s; got %d records, the last %q", l.e.h.Patience, what, len(got), got[max(0, len(got)-10):])
		}
	}
}

// of returns what came of a topic, without repetitions, once it has the data
// last.
func (l *tap) of(topic broker.Key, last string) []broker.Entry {
	l.e.Helper()
	var out []broker.Entry
	l.wait(last, func() bool {
		out = nil
		for _, entry := range l.entries {
			if entry.Topic == topic && !slices.ContainsFunc(out, func(o broker.Entry) bool {
				return o.Pos == entry.Pos && string(o.Data) == string(entry.Data)
			}) {
				out = append(out, entry)
			}
		}
		return len(out) > 0 && string(out[len(out)-1].Data) == last
	})
	return out
}

// text returns the text that came of a stream, from start on, once it has a
// length in bytes. Pieces that are repeated are left out; a hole fails the test.
func (l *tap) text(topic, stream broker.Key, start, bytes int) string {
	l.e.Helper()
	var out string
	l.wait("a text", func() bool {
		out = ""
		length := start
		for _, p := range l.pieces {
			if p.topic != topic || p.stream != stream || p.start < length {
				continue
			}
			if p.start > length {
				l.e.Errorf("a piece of text starts at %d, want %d", p.start, length)
				return true
			}
			out += p.text
			length += len([]rune(p.text))
		}
		return len(out) >= bytes
	})
	return out
}

// end stops Run, if nothing else does, and checks what it returned.
func (l *tap) end(want error) {
	l.e.Helper()
	if want != context.Canceled {
		select {
		case <-l.done:
		case <-l.e.ctx.Done():
			l.e.Errorf("Run did not return, want %v", want)
		}
	}
	if err := l.stop(); !errors.Is(err, want) {
		l.e.Errorf("Run returned %v, want %v", err, want)
	}
}
