package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Follower is the smallest receiver that loses nothing: it compares prev with its
// head, and reads the log where live records are missing. The suite uses it to
// show that the contract is enough for that; it is slow and simple, and tells a
// [Seen] what it got.
type Follower struct {
	driver broker.Driver
	seen   *Seen
	name   func(e broker.Entry) string // the id of a message

	wake  chan struct{} // has room for one
	settl chan chan error

	mu     sync.Mutex // guards the fields below
	queue  []broker.Entry
	linked bool // there is a new link: heads have to be compared

	heads map[broker.Key]wire.Position // of the goroutine in Run only
}

// NewFollower returns a Follower of topics, from now on. The names of topics in
// seen are those of their keys. name tells the id of a message.
func NewFollower(ctx context.Context, d broker.Driver, seen *Seen, name func(e broker.Entry) string, topics ...broker.Key) (*Follower, error) {
	f := &Follower{
		driver: d, seen: seen, name: name,
		wake: make(chan struct{}, 1), settl: make(chan chan error),
		heads: map[broker.Key]wire.Position{},
	}
	heads, err := d.Heads(ctx, true, topics...)
	if err != nil {
		return nil, err
	}
	for i, topic := range topics {
		f.heads[topic] = heads[i]
		seen.From(topic.String(), heads[i])
	}
	return f, nil
}

// Run follows until ctx is done, through lost links. It returns other errors of
// the driver than ErrUnavailable.
func (f *Follower) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() { lost <- f.link(ctx) }()
	for {
		var err error
		var asked chan error
		select {
		case err := <-lost:
			return err
		case <-f.wake:
		case asked = <-f.settl:
		}
		entries, linked := f.take()
		if linked {
			err = f.relink(ctx)
		}
		for _, e := range entries {
			if err == nil {
				err = f.record(ctx, e)
			}
		}
		if asked != nil {
			if err == nil {
				err = f.compare(ctx)
			}
			asked <- err
		}
		if ctx.Err() != nil {
			return <-lost
		}
		if err != nil && !errors.Is(err, broker.ErrUnavailable) {
			cancel()
			<-lost
			return err
		}
		if err != nil { // the heads tell what was missed
			f.again()
			pause(ctx)
		}
	}
}

// link calls the driver's Run until ctx is done.
func (f *Follower) link(ctx context.Context) error {
	for ctx.Err() == nil {
		f.again()
		if err := f.driver.Run(ctx, f); ctx.Err() == nil && !errors.Is(err, broker.ErrUnavailable) {
			return err
		}
		pause(ctx)
	}
	return nil
}

// pause waits a moment before something is tried again.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// again asks for a comparison of heads.
func (f *Follower) again() {
	f.mu.Lock()
	f.linked = true
	f.mu.Unlock()
	f.signal()
}

func (f *Follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Follower) take() (entries []broker.Entry, linked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, linked = f.queue, f.linked
	f.queue, f.linked = nil, false
	return entries, linked
}

// Settle returns once f has everything that was acknowledged before the call,
// whatever was not delivered live.
func (f *Follower) Settle(ctx context.Context) error {
	for {
		asked := make(chan error, 1)
		select {
		case f.settl <- asked:
		case <-ctx.Done():
			return fmt.Errorf("settle: %w", ctx.Err())
		}
		if err := <-asked; !errors.Is(err, broker.ErrUnavailable) {
			return err
		}
		pause(ctx)
	}
}

// Record implements broker.Receiver.
func (f *Follower) Record(e broker.Entry) {
	f.mu.Lock()
	f.queue = append(f.queue, e)
	f.mu.Unlock()
	f.signal()
}

// Text implements broker.Receiver.
func (f *Follower) Text(topic, stream broker.Key, start int, text string) {}

// relink follows again and compares heads, in this order, so that nothing falls
// between.
func (f *Follower) relink(ctx context.Context) error {
	topics := make([]broker.Key, 0, len(f.heads))
	for topic := range f.heads {
		topics = append(topics, topic)
	}
	if err := f.driver.Follow(ctx, topics...); err != nil {
		return err
	}
	return f.compare(ctx)
}

// compare reads what the heads say is missing.
func (f *Follower) compare(ctx context.Context) error {
	for topic := range f.heads {
		if err := f.sync(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

// record takes a live record.
func (f *Follower) record(ctx context.Context, e broker.Entry) error {
	head, ours := f.heads[e.Topic]
	switch {
	case !ours || e.Class != wire.Durable:
	case e.Pos.Epoch == head.Epoch && e.Pos.Offset <= head.Offset: // seen
	case e.Pos.Epoch == head.Epoch && e.Prev == head.Offset:
		f.got(e)
	default:
		return f.sync(ctx, e.Topic)
	}
	return nil
}

// sync reads the log from the head on.
func (f *Follower) sync(ctx context.Context, topic broker.Key) error {
	for {
		from := f.heads[topic]
		entries, head, err := f.driver.Since(ctx, topic, from, 500)
		if errors.Is(err, broker.ErrGap) {
			to := head
			if len(entries) > 0 {
				to.Offset = entries[0].Pos.Offset - 1
			}
			f.seen.Gap(topic.String(), from, to)
			f.heads[topic] = to
		} else if err != nil {
			return err
		}
		for _, e := range entries {
			f.got(e)
		}
		if now := f.heads[topic]; now.Epoch == head.Epoch && now.Offset >= head.Offset {
			return nil
		}
	}
}

func (f *Follower) got(e broker.Entry) {
	f.heads[e.Topic] = e.Pos
	f.seen.Message(e.Topic.String(), f.name(e), e.Pos)
}
