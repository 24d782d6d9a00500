package ws

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// event is one call of a Sink.
type event struct {
	Kind    string // message, ping, pong, writable, closed
	Tag     uint64
	Op      Opcode
	Payload string
	Err     error
}

// recorder is a Sink that keeps what it is told.
type recorder struct {
	t      testing.TB
	events chan event
	during func(event) // called within the Sink method, before the event is kept; may be nil
}

func newRecorder(t testing.TB) *recorder {
	return &recorder{t: t, events: make(chan event, 1024)}
}

func (r *recorder) keep(e event) {
	if r.during != nil {
		r.during(e)
	}
	r.events <- e
}

func (r *recorder) Message(tag uint64, op Opcode, payload []byte) int {
	r.keep(event{Kind: "message", Tag: tag, Op: op, Payload: string(payload)})
	return 0
}

func (r *recorder) Ping(tag uint64, payload []byte) {
	r.keep(event{Kind: "ping", Tag: tag, Payload: string(payload)})
}

func (r *recorder) Pong(tag uint64, payload []byte) {
	r.keep(event{Kind: "pong", Tag: tag, Payload: string(payload)})
}

func (r *recorder) Writable(tag uint64) { r.keep(event{Kind: "writable", Tag: tag}) }

func (r *recorder) Closed(tag uint64, err error) { r.keep(event{Kind: "closed", Tag: tag, Err: err}) }

// next waits for the next event.
func (r *recorder) next() event {
	r.t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		r.t.Fatal("got no event, want one")
		return event{}
	}
}

// expect waits for the next event and compares it.
func (r *recorder) expect(want event) {
	r.t.Helper()
	if got := r.next(); got != want {
		r.t.Fatalf("got event %+v, want %+v", got, want)
	}
}

// expectNone looks at what has been recorded, without waiting.
func (r *recorder) expectNone() {
	r.t.Helper()
	select {
	case e := <-r.events:
		r.t.Fatalf("got event %+v, want none", e)
	default:
	}
}

// echo is a Sink that sends every message back and answers pings and close frames.
// It uses an engine as it is meant to be used: a lock per connection is the right to call
// it, and what could not be written waits for Writable.
type echo struct {
	engine  Engine                        // set before the first connection
	onEvent func(tag uint64, text string) // may be nil

	mu    sync.Mutex // guards the fields below
	conns map[uint64]*echoConn
	last  uint64
}

type echoConn struct {
	engine Engine

	mu       sync.Mutex // guards the fields below, and is the right to call the engine for socket
	socket   Socket
	out      [][]byte
	blocked  bool
	closing  bool // release when out is written
	released bool
}

func newEcho() *echo { return &echo{conns: make(map[uint64]*echoConn)} }

// add starts a connection and returns its tag.
func (e *echo) add(s Socket) (uint64, *echoConn) {
	c := &echoConn{engine: e.engine, socket: s}
	e.mu.Lock()
	e.last++
	tag := e.last
	e.conns[tag] = c
	e.mu.Unlock()
	e.engine.Start(s, tag)
	return tag, c
}

func (e *echo) conn(tag uint64) *echoConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns[tag]
}

func (e *echo) Message(tag uint64, op Opcode, payload []byte) int {
	if e.onEvent != nil {
		e.onEvent(tag, string(payload))
	}
	e.conn(tag).send(AppendFrame(nil, op, payload))
	return 0
}

func (e *echo) Ping(tag uint64, payload []byte) {
	e.conn(tag).send(AppendFrame(nil, OpPong, payload))
}

func (e *echo) Pong(uint64, []byte) {}

func (e *echo) Writable(tag uint64) {
	c := e.conn(tag)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocked = false
	c.flushLocked()
}

func (e *echo) Closed(tag uint64, err error) {
	c := e.conn(tag)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	if ce, ok := err.(*CloseError); ok {
		code := ce.Code
		if code == codeNoStatus {
			code = 0
		}
		c.out = append(c.out, AppendClose(nil, code, ce.Reason))
	} else {
		c.out = nil
	}
	c.flushLocked()
}

func (c *echoConn) send(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, frame)
	c.flushLocked()
}

func (c *echoConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releaseLocked()
}

func (c *echoConn) releaseLocked() {
	if !c.released {
		c.released = true
		c.engine.Release(c.socket)
	}
}

func (c *echoConn) flushLocked() {
	if c.released || c.blocked {
		return
	}
	n, blocked, err := c.engine.Write(c.socket, c.out)
	c.blocked = blocked
	c.out = advance(c.out, n)
	switch {
	case err != nil, c.closing && !blocked && len(c.out) == 0:
		c.releaseLocked()
	case !blocked && len(c.out) > 0:
		panic("engine left bytes without a reason")
	}
}

// advance drops the first n bytes.
func advance(bufs [][]byte, n int) [][]byte {
	bufs = slices.Clone(bufs)
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}
