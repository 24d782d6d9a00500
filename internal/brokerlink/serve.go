package brokerlink

import (
	"context"
	"encoding/gob"
	"net"
	"sync"

	"github.com/netra-systems/switchboard/broker"
)

// Serve answers who connects to ln, each with a driver of its own that node makes, until ctx
// ends. It closes ln and the drivers, and returns when every goroutine has.
func Serve(ctx context.Context, ln net.Listener, node func() broker.Driver) {
	var links sync.WaitGroup
	defer links.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		links.Go(func() { serveLink(ctx, nc, node()) })
	}
}

// server is one link, seen from the driver.
type server struct {
	d   broker.Driver
	nc  net.Conn
	out sync.Mutex // guards enc
	enc *gob.Encoder

	mu    sync.Mutex // guards calls
	calls map[uint64]context.CancelFunc
}

func serveLink(ctx context.Context, nc net.Conn, d broker.Driver) {
	ctx, end := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	s := &server{d: d, nc: nc, enc: gob.NewEncoder(nc), calls: make(map[uint64]context.CancelFunc)}
	var work sync.WaitGroup
	for dec := gob.NewDecoder(nc); ; {
		var c call
		if dec.Decode(&c) != nil {
			break
		}
		if c.Method == cancel {
			s.end(c.ID)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		s.mu.Lock()
		s.calls[c.ID] = cancel
		s.mu.Unlock()
		work.Go(func() {
			defer s.end(c.ID)
			a := s.do(ctx, &c)
			a.ID = c.ID
			s.send(a)
		})
	}
	end()
	_ = d.Close()
	_ = nc.Close()
	work.Wait()
}

// end ends a call, if it has not.
func (s *server) end(id uint64) {
	s.mu.Lock()
	end := s.calls[id]
	delete(s.calls, id)
	s.mu.Unlock()
	if end != nil {
		end()
	}
}

// send writes an answer. A link that breaks is noticed by who reads it.
func (s *server) send(a *answer) {
	s.out.Lock()
	defer s.out.Unlock()
	if s.enc.Encode(a) != nil {
		_ = s.nc.Close()
	}
}

// do carries out a call.
func (s *server) do(ctx context.Context, c *call) *answer {
	a := new(answer)
	var err error
	topic := broker.Key{}
	if len(c.Topics) > 0 {
		topic = c.Topics[0]
	}
	switch c.Method {
	case publish:
		a.Published, err = s.d.Publish(ctx, c.Record)
	case follow:
		err = s.d.Follow(ctx, c.Topics...)
	case unfollow:
		err = s.d.Unfollow(ctx, c.Topics...)
	case run:
		err = s.d.Run(ctx, &relay{s, c.ID})
	case since:
		a.Entries, a.Head, err = s.d.Since(ctx, topic, c.Pos, c.Number)
	case before:
		a.Entries, err = s.d.Before(ctx, topic, c.Pos, c.Number)
	case latest:
		a.Entries, err = s.d.Latest(ctx, topic)
	case heads:
		a.Heads, err = s.d.Heads(ctx, c.Exact, c.Topics...)
	case drop:
		err = s.d.Drop(ctx, topic)
	case kept:
		a.Kept, err = s.d.Kept(ctx, topic)
	default:
		err = s.doOther(ctx, c, topic, a)
	}
	a.Error = failureOf(err)
	return a
}

// doOther carries out calls of texts and the store.
func (s *server) doOther(ctx context.Context, c *call, topic broker.Key, a *answer) (err error) {
	switch c.Method {
	case appendText:
		a.Number, err = s.d.Append(ctx, topic, c.Stream, c.Number, c.Text, c.Token)
	case seal:
		a.Number, err = s.d.Seal(ctx, topic, c.Stream, c.Token)
	case read:
		a.Text, a.Number, err = s.d.Read(ctx, topic, c.Stream, c.Number, c.Limit)
	case remove:
		err = s.d.Remove(ctx, topic, c.Stream)
	case get:
		a.Item, err = s.d.Get(ctx, c.Key)
	case put:
		a.Item.Revision, err = s.d.Put(ctx, c.Key, c.Value, c.Token, c.TTL)
	case deleteItem:
		err = s.d.Delete(ctx, c.Key, c.Token)
	case watch:
		for change, end := range s.d.Watch(ctx, c.Key) {
			if end != nil {
				return end
			}
			s.send(&answer{ID: c.ID, More: true, Change: change})
		}
	}
	return err
}

// relay sends what is delivered.
type relay struct {
	s  *server
	id uint64
}

// Record implements [broker.Receiver].
func (r *relay) Record(e broker.Entry) { r.s.send(&answer{ID: r.id, More: true, Live: &e}) }

// Text implements [broker.Receiver].
func (r *relay) Text(topic, stream broker.Key, start int, text string) {
	r.s.send(&answer{ID: r.id, More: true, Piece: &piece{topic, stream, start, text}})
}
