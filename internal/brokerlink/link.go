package brokerlink

import (
	"context"
	"encoding/gob"
	"fmt"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Link is a driver at the other end of a socket. Make one with [Dial].
type Link struct {
	nc   net.Conn
	read chan struct{} // closed when the goroutine that reads has ended

	out sync.Mutex // guards enc
	enc *gob.Encoder

	mu    sync.Mutex // guards the fields below
	last  uint64
	calls map[uint64]*pending
	over  error // why no call is possible any more
}

// pending is a call that is not over. Answers wait in a list without a bound, so that who
// reads the link never waits for who takes them.
type pending struct {
	more chan struct{} // capacity 1

	mu   sync.Mutex // guards the fields below
	list []*answer
	over error // nothing more comes
}

// Dial connects to a [Serve].
func Dial(ctx context.Context, network, address string) (*Link, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("broker link: %w", err)
	}
	l := &Link{nc: nc, read: make(chan struct{}), enc: gob.NewEncoder(nc), calls: make(map[uint64]*pending)}
	go l.readAll() // ends with the socket
	return l, nil
}

func (l *Link) readAll() {
	defer close(l.read)
	for dec := gob.NewDecoder(l.nc); ; {
		a := new(answer)
		if dec.Decode(a) != nil {
			l.end(broker.ErrUnavailable)
			return
		}
		l.mu.Lock()
		p := l.calls[a.ID]
		if !a.More {
			delete(l.calls, a.ID)
		}
		l.mu.Unlock()
		if p != nil {
			p.put(a, nil)
		}
	}
}

// end ends every call, and those to come.
func (l *Link) end(why error) {
	l.mu.Lock()
	if l.over == nil {
		l.over = why
	}
	why = l.over
	calls := l.calls
	l.calls = make(map[uint64]*pending)
	l.mu.Unlock()
	for _, p := range calls {
		p.put(nil, why)
	}
	_ = l.nc.Close()
}

func (p *pending) put(a *answer, over error) {
	p.mu.Lock()
	if a != nil {
		p.list = append(p.list, a)
	}
	if over != nil {
		p.over = over
	}
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// next waits for the next answer.
func (p *pending) next(ctx context.Context) (*answer, error) {
	for {
		p.mu.Lock()
		if len(p.list) > 0 {
			a := p.list[0]
			p.list = p.list[1:]
			p.mu.Unlock()
			return a, nil
		}
		over := p.over
		p.mu.Unlock()
		if over != nil {
			return nil, over
		}
		select {
		case <-p.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin sends a call.
func (l *Link) begin(ctx context.Context, c *call) (*pending, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broker link: %w", err)
	}
	p := &pending{more: make(chan struct{}, 1)}
	l.mu.Lock()
	if l.over != nil {
		defer l.mu.Unlock()
		return nil, l.over
	}
	l.last++
	c.ID = l.last
	l.calls[c.ID] = p
	l.mu.Unlock()
	return p, l.send(c)
}

func (l *Link) send(c *call) error {
	l.out.Lock()
	defer l.out.Unlock()
	if err := l.enc.Encode(c); err != nil {
		l.end(broker.ErrUnavailable)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.over
	}
	return nil
}

// leave says that nobody waits for a call any more.
func (l *Link) leave(id uint64) {
	l.mu.Lock()
	_, open := l.calls[id]
	delete(l.calls, id)
	l.mu.Unlock()
	if open {
		_ = l.send(&call{ID: id, Method: cancel}) // a link that is lost has no calls
	}
}

// do carries out a call that has one answer. The answer is not nil.
func (l *Link) do(ctx context.Context, c *call) (*answer, error) {
	p, err := l.begin(ctx, c)
	if err != nil {
		return new(answer), err
	}
	a, err := p.next(ctx)
	if err != nil {
		l.leave(c.ID)
		return new(answer), fmt.Errorf("broker link: %w", err)
	}
	return a, a.Error.err()
}

// Close implements [broker.Driver].
func (l *Link) Close() error {
	l.end(broker.ErrClosed)
	<-l.read
	return nil
}

// Run implements [broker.Driver].
func (l *Link) Run(ctx context.Context, in broker.Receiver) error {
	c := &call{Method: run}
	p, err := l.begin(ctx, c)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.send(&call{ID: c.ID, Method: cancel}) })
	defer stop()
	for {
		a, err := p.next(context.Background()) // what was delivered before the end counts
		switch {
		case err != nil:
			return err
		case a.Live != nil:
			in.Record(*a.Live)
		case a.Piece != nil:
			in.Text(a.Piece.Topic, a.Piece.Stream, a.Piece.Start, a.Piece.Text)
		case ctx.Err() != nil:
			return fmt.Errorf("broker link: %w", ctx.Err())
		default:
			return a.Error.err()
		}
	}
}

// Publish implements [broker.Driver].
func (l *Link) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	a, err := l.do(ctx, &call{Method: publish, Record: r})
	return a.Published, err
}

// Follow implements [broker.Driver].
func (l *Link) Follow(ctx context.Context, topics ...broker.Key) error {
	_, err := l.do(ctx, &call{Method: follow, Topics: topics})
	return err
}

// Unfollow implements [broker.Driver].
func (l *Link) Unfollow(ctx context.Context, topics ...broker.Key) error {
	_, err := l.do(ctx, &call{Method: unfollow, Topics: topics})
	return err
}

// Since implements [broker.Log].
func (l *Link) Since(ctx context.Context, topic broker.Key, pos wire.Position, limit int) ([]broker.Entry, wire.Position, error) {
	a, err := l.do(ctx, &call{Method: since, Topics: []broker.Key{topic}, Pos: pos, Number: limit})
	return a.Entries, a.Head, err
}

// Before implements [broker.Log].
func (l *Link) Before(ctx context.Context, topic broker.Key, pos wire.Position, limit int) ([]broker.Entry, error) {
	a, err := l.do(ctx, &call{Method: before, Topics: []broker.Key{topic}, Pos: pos, Number: limit})
	return a.Entries, err
}

// Latest implements [broker.Log].
func (l *Link) Latest(ctx context.Context, topic broker.Key) ([]broker.Entry, error) {
	a, err := l.do(ctx, &call{Method: latest, Topics: []broker.Key{topic}})
	return a.Entries, err
}

// Heads implements [broker.Log].
func (l *Link) Heads(ctx context.Context, exact bool, topics ...broker.Key) ([]wire.Position, error) {
	a, err := l.do(ctx, &call{Method: heads, Topics: topics, Exact: exact})
	return a.Heads, err
}

// Drop implements [broker.Log].
func (l *Link) Drop(ctx context.Context, topic broker.Key) error {
	_, err := l.do(ctx, &call{Method: drop, Topics: []broker.Key{topic}})
	return err
}

// Kept implements [broker.Log].
func (l *Link) Kept(ctx context.Context, owner broker.Key) (broker.Kept, error) {
	a, err := l.do(ctx, &call{Method: kept, Topics: []broker.Key{owner}})
	return a.Kept, err
}

// Append implements [broker.Streams].
func (l *Link) Append(ctx context.Context, topic, stream broker.Key, start int, text string, token uint64) (int, error) {
	a, err := l.do(ctx, &call{Method: appendText, Topics: []broker.Key{topic}, Stream: stream, Number: start, Text: text, Token: token})
	return a.Number, err
}

// Seal implements [broker.Streams].
func (l *Link) Seal(ctx context.Context, topic, stream broker.Key, token uint64) (int, error) {
	a, err := l.do(ctx, &call{Method: seal, Topics: []broker.Key{topic}, Stream: stream, Token: token})
	return a.Number, err
}

// Read implements [broker.Streams].
func (l *Link) Read(ctx context.Context, topic, stream broker.Key, from, limit int) (string, int, error) {
	a, err := l.do(ctx, &call{Method: read, Topics: []broker.Key{topic}, Stream: stream, Number: from, Limit: limit})
	return a.Text, a.Number, err
}

// Remove implements [broker.Streams].
func (l *Link) Remove(ctx context.Context, topic, stream broker.Key) error {
	_, err := l.do(ctx, &call{Method: remove, Topics: []broker.Key{topic}, Stream: stream})
	return err
}

// Get implements [broker.Store].
func (l *Link) Get(ctx context.Context, key string) (broker.Item, error) {
	a, err := l.do(ctx, &call{Method: get, Key: key})
	return a.Item, err
}

// Put implements [broker.Store].
func (l *Link) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	a, err := l.do(ctx, &call{Method: put, Key: key, Value: value, Token: ifRev, TTL: ttl})
	return a.Item.Revision, err
}

// Delete implements [broker.Store].
func (l *Link) Delete(ctx context.Context, key string, ifRev uint64) error {
	_, err := l.do(ctx, &call{Method: deleteItem, Key: key, Token: ifRev})
	return err
}

// Watch implements [broker.Store].
func (l *Link) Watch(ctx context.Context, prefix string) iter.Seq2[broker.Change, error] {
	return func(yield func(broker.Change, error) bool) {
		c := &call{Method: watch, Key: prefix}
		p, err := l.begin(ctx, c)
		if err != nil {
			yield(broker.Change{}, err)
			return
		}
		defer l.leave(c.ID)
		for {
			a, err := p.next(ctx)
			if err == nil && !a.More {
				err = a.Error.err()
			}
			if err != nil {
				yield(broker.Change{}, fmt.Errorf("broker link: %w", err))
				return
			}
			if !yield(a.Change, nil) {
				return
			}
		}
	}
}
