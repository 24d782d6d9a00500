package ws

import (
	"net"
	"sync"
	"time"
)

const (
	// readBytes is the size of the pooled buffers into which plain sockets are read
	// once they are readable, and in which writes to other transports are gathered.
	readBytes = 32 << 10

	// streamReadBytes is the size of the buffer with which any other transport waits for
	// its next byte, so it is paid by every idle connection.
	streamReadBytes = 2 << 10
)

// GoroutineEngine is the portable [Engine]: a goroutine per connection, and another
// only while a write has to wait. On Linux the goroutine of a plain TCP or Unix
// connection waits without a read buffer, and a write is one system call on the
// caller's goroutine; so it is for a [Direct] one. Every other transport (TLS, other
// systems) cannot be written without waiting: its bytes are written by a goroutine, and
// every Write to it is blocked until they are gone.
type GoroutineEngine struct {
	sink         Sink
	limits       Limits
	frameTimeout time.Duration
	userTimeout  time.Duration
	began        time.Time

	sockets table
	turns   *turns
	buffers sync.Pool // *buffer
	vectors sync.Pool // *vector

	closeMu sync.Mutex     // guards closed against Attach
	closed  bool           // set once
	ending  sync.Once      // of turns
	wg      sync.WaitGroup // one for each connection until it is closed, one for each goroutine
}

type buffer [readBytes]byte

var _ Engine = (*GoroutineEngine)(nil)

// NewGoroutineEngine makes an engine that tells sink what happens. Whoever made it
// closes it.
func NewGoroutineEngine(sink Sink, cfg Config) *GoroutineEngine {
	e := &GoroutineEngine{
		sink:         sink,
		limits:       cfg.limits(),
		frameTimeout: cfg.frameTimeout(),
		userTimeout:  cfg.userTimeout(),
		began:        time.Now(),
		turns:        newTurns(),
	}
	e.buffers.New = func() any { return new(buffer) }
	e.vectors.New = func() any { return newVector() }
	return e
}

// refills is how many messages a connection could have told without turns since the engine began.
func (e *GoroutineEngine) refills() uint32 {
	return uint32(time.Since(e.began) / refill) //nolint:gosec // it may wrap: differences are asked for
}

// Attach implements [Engine].
func (e *GoroutineEngine) Attach(nc net.Conn, buffered []byte) (Socket, error) {
	c := &conn{engine: e, nc: nc, rest: buffered}
	c.raw = rawConn(nc)
	c.direct, _ = nc.(Direct)
	tune(nc, e.userTimeout)
	noProbes(nc)

	s, ok := e.admit(c)
	if !ok {
		_ = nc.Close()
		return 0, net.ErrClosed
	}
	return s, nil
}

// admit names a connection, unless the engine is closed. In one step with the look
// at closed, so that Close finds every connection.
func (e *GoroutineEngine) admit(c *conn) (s Socket, ok bool) {
	e.closeMu.Lock()
	defer e.closeMu.Unlock()
	if e.closed {
		return 0, false
	}
	e.wg.Add(1) // done by conn.close
	return e.sockets.add(c), true
}

// Start implements [Engine].
func (e *GoroutineEngine) Start(s Socket, tag uint64) {
	if c := e.sockets.get(s); c != nil {
		c.start(tag)
	}
}

// Write implements [Engine].
func (e *GoroutineEngine) Write(s Socket, bufs [][]byte) (n int, blocked bool, err error) {
	c := e.sockets.get(s)
	switch {
	case c == nil:
		return 0, false, net.ErrClosed
	case c.direct != nil:
		n, err = c.direct.TryWrite(bufs)
		blocked = err == nil && n < total(bufs)
	case c.raw == nil:
		return c.hand(bufs)
	default:
		v := e.vectors.Get().(*vector)
		n, blocked, err = v.writeTo(c.raw, bufs)
		e.vectors.Put(v)
	}
	if blocked {
		err = c.awaitWritable()
		blocked = err == nil
	}
	return n, blocked, err
}

// Pause implements [Engine].
func (e *GoroutineEngine) Pause(s Socket) {
	if c := e.sockets.get(s); c != nil {
		c.pause()
	}
}

// Resume implements [Engine].
func (e *GoroutineEngine) Resume(s Socket) {
	if c := e.sockets.get(s); c != nil {
		c.resume()
	}
}

// Refuse implements [Engine].
func (e *GoroutineEngine) Refuse(s Socket) {
	if c := e.sockets.get(s); c != nil {
		c.refuse()
	}
}

// Release implements [Engine].
func (e *GoroutineEngine) Release(s Socket) {
	if c := e.sockets.take(s); c != nil {
		c.release()
	}
}

// Close implements [Engine]. It returns nil, and may be called again.
func (e *GoroutineEngine) Close() error {
	e.closeMu.Lock()
	e.closed = true
	e.closeMu.Unlock()
	for s := range e.sockets.names() {
		e.Release(s + 1)
	}
	e.ending.Do(e.turns.close)
	e.wg.Wait()
	return nil
}
