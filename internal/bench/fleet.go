package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// devices is how many connections a user has.
const devices = 10

// numbered is the type of what is published, which is the application's own.
const numbered = "bench_number"

// room is where everybody is.
const room = "everybody"

// fleet is many clients that check what they get.
type fleet struct {
	at      atomic.Pointer[string] // where to connect, host and port
	members []*member
	text    func(from, n int) string
	alone   bool                 // each is a user, in no room
	opened  func(net.Conn) error // may refuse a connection; nil: nobody does
	reading sync.WaitGroup
}

// member is a client, and what it has got so far.
type member struct {
	c    *client.Client
	user string

	mu                             sync.Mutex // guards the fields below
	inUser, inRoom                 int        // the last number of each
	text                           int        // how much of the run's text
	took                           []time.Duration
	received, lost, twice, damaged int
	end                            error
}

// number is the payload of what is published.
type number struct {
	N  int   `json:"n"`
	At int64 `json:"at"` // nanoseconds since 1970; 0: not told
}

// dial connects a client. One that is told that too many come at once comes again when it is told to.
func (f *fleet) dial(ctx context.Context, m *member) error {
	for {
		var err error
		m.c, err = client.Dial(ctx, client.Options{
			URL: "ws://nodes.test/ws", Rooms: f.rooms(),
			Token: func(context.Context) (string, error) { return m.user, nil },
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, *f.at.Load())
				if err != nil || f.opened == nil {
					return nc, err
				}
				return nc, f.opened(nc)
			},
		})
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Code != wire.CodeUnavailable {
			return err
		}
		after, _ := refused.Details["retry_after_ms"].(float64)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(time.Second/10, time.Duration(after)*time.Millisecond)):
		}
	}
}

func (f *fleet) rooms() []string {
	if f.alone {
		return nil
	}
	return []string{room}
}

// connect makes n clients.
func (f *fleet) connect(ctx context.Context, n int) error {
	f.members = make([]*member, n)
	failed := make(chan error, n)
	slots := make(chan struct{}, 32)
	var dialing sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		dialing.Go(func() {
			defer func() { <-slots }()
			m := &member{user: fmt.Sprintf("user-%d", i/devices)}
			if f.alone {
				m.user = fmt.Sprintf("user-%d", i)
			}
			if err := f.dial(ctx, m); err != nil {
				failed <- err
				return
			}
			f.members[i] = m
			f.reading.Go(func() { m.read(ctx, f.text) })
		})
	}
	dialing.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("connect %d clients: %w", n, err)
	default:
		return nil
	}
}

// close ends all clients.
func (f *fleet) close() {
	var closing sync.WaitGroup
	for _, m := range f.members {
		if m != nil {
			closing.Go(func() { _ = m.c.Close() }) // what it ended with is known to its reader
		}
	}
	closing.Wait()
	f.reading.Wait()
}

func (m *member) read(ctx context.Context, text func(from, n int) string) {
	for env, err := range m.c.Messages(ctx) {
		m.mu.Lock()
		if err != nil {
			m.end = err
		} else {
			m.take(env, text)
		}
		m.mu.Unlock()
	}
}

// take checks a message. The caller holds m.mu.
func (m *member) take(env wire.Envelope, text func(from, n int) string) {
	if string(env.Type) == numbered {
		var p number
		if env.Decode(&p) != nil {
			m.damaged++
			return
		}
		m.received++
		if p.At != 0 {
			m.took = append(m.took, time.Since(time.Unix(0, p.At)))
		}
		last := &m.inUser
		if strings.HasPrefix(env.Topic, "room/") {
			last = &m.inRoom
		}
		switch {
		case p.N <= *last:
			m.twice++
			return
		case p.N > *last+1:
			m.lost += p.N - *last - 1
		}
		*last = p.N
		return
	}
	switch env.Type {
	case wire.StreamChunk:
		var p wire.StreamChunkPayload
		if env.Decode(&p) != nil || p.Text != text(p.Start, len(p.Text)) {
			m.damaged++
			return
		}
		switch {
		case p.Start > m.text:
			m.lost++
		case p.Start < m.text:
			m.twice++
		}
		m.text = max(m.text, p.Start+len(p.Text))
	case wire.GapType:
		m.lost++
	}
}

// result is what a fleet has got.
type result struct{ received, lost, twice, damaged, ended int }

// check waits until everybody has everything, or until ctx ends, and counts.
func (f *fleet) check(ctx context.Context, inUser map[string]int, inRoom, text int) (r result) {
	for {
		r = result{}
		whole := true
		for _, m := range f.members {
			m.mu.Lock()
			r.received += m.received
			r.lost += m.lost
			r.twice += m.twice
			r.damaged += m.damaged
			missing := max(0, inUser[m.user]-m.inUser) + max(0, inRoom-m.inRoom)
			if m.text < text {
				missing++
			}
			if missing > 0 {
				r.lost += missing
				whole = false
			}
			if m.end != nil {
				r.ended++
			}
			m.mu.Unlock()
		}
		if whole || ctx.Err() != nil {
			return r
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
