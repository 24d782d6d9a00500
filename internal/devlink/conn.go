package devlink

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// writer is an answer over a link.
type writer struct {
	http.ResponseWriter
	set  *Set
	link *link
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack gives the connection to who answers, as one of the link. What had been read of it,
// or is written to the buffer, goes past the link.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return newConn(w.set, w.link, nc), rw, nil
}

// unplug resets the connection of a request.
func unplug(w http.ResponseWriter) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server closes it
	}
	reset(nc)
}

// reset closes a connection without a word: the peer gets a reset, as of a network that has
// forgotten it, instead of the end of the stream.
func reset(nc net.Conn) {
	if outer, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		nc = outer.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then it is closed properly
	}
	_ = nc.Close()
}

// conn is a connection of a link. Like any net.Conn it may be read, written, closed and given
// deadlines concurrently.
type conn struct {
	net.Conn // the real one
	set      *Set
	link     *link
	stop     func() bool   // takes back the reset at a cut
	closed   chan struct{} // closed by Close
	once     sync.Once     // of Close
	read     deadline
	write    deadline
}

// newConn makes nc one of a link. If that was cut meanwhile, it is reset at once.
func newConn(s *Set, l *link, nc net.Conn) *conn {
	c := &conn{Conn: nc, set: s, link: l, closed: make(chan struct{})}
	c.read.moved, c.write.moved = make(chan struct{}), make(chan struct{})
	life, ok := l.join()
	if !ok { // the life is that of after the cut
		done, cancel := context.WithCancel(life)
		cancel()
		life = done
	}
	l.enter()
	s.conns.Add(1)
	c.stop = context.AfterFunc(life, func() {
		defer s.conns.Done()
		reset(c.Conn)
		c.close()
	})
	return c
}

// NetConn is for those who set options of the socket.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the writing side, if the connection can do that.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close closes the connection. What waits for the pace of the link ends too.
func (c *conn) Close() error {
	if c.stop() {
		defer c.set.conns.Done()
	}
	err := c.Conn.Close()
	c.close()
	return err
}

// close wakes who waits and leaves the link.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.closed)
		c.link.leave()
	})
}

// Read waits until the link lets another byte through, and reads no more than goes at once.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return c.Conn.Read(b)
	}
	p, _, err := c.admit(in, &c.read, 1)
	if err != nil {
		return 0, err
	}
	if p == nil {
		n, err := c.Conn.Read(b)
		// The link may have become slow while nothing came.
		if p, _ := c.link.now(time.Now()); p != nil {
			p.charge(in, n)
		}
		return n, err
	}
	n, err := c.Conn.Read(b[:min(len(b), p.step)])
	p.charge(in, n-1)
	return n, err
}

// charge takes what has gone through already out of the allowance of who comes next.
func (p *pace) charge(d direction, n int) {
	for now := time.Now(); n > 0; n -= p.step {
		p.limiters[d].ReserveN(now, min(n, p.step))
	}
}

// Write writes b in steps at the pace of the link. Whoever closes the connection, or whose
// deadline it is, finds at most one step on its way.
func (c *conn) Write(b []byte) (int, error) {
	done := 0
	for {
		_, size, err := c.admit(out, &c.write, len(b)-done)
		if err != nil {
			return done, err
		}
		n, err := c.Conn.Write(b[done : done+size])
		if done += n; err != nil || done == len(b) {
			return done, err
		}
	}
}

// admit waits until the link takes some of n bytes, and says how many and at which pace (nil:
// none, and then it is all of them).
func (c *conn) admit(d direction, dl *deadline, n int) (*pace, int, error) {
	for {
		now := time.Now()
		p, changed := c.link.now(now)
		if p == nil {
			return nil, n, nil // the deadline is that of the real connection
		}
		size := min(n, p.step)
		turn := p.limiters[d].ReserveN(now, size)
		at := now.Add(turn.DelayFrom(now))
		switch why, err := c.pause(at, p.until, changed, dl); {
		case err != nil:
			turn.Cancel()
			return nil, 0, err
		case why == arrived:
			return p, size, nil
		}
	}
}

// reason is why a pause is over.
type reason int

const (
	arrived reason = iota // the time has come
	freed                 // the link has another pace, or none
)

// pause waits for a moment, if the link keeps its pace until then. The error is that of a
// deadline that comes first, or [net.ErrClosed].
func (c *conn) pause(at, until time.Time, changed <-chan struct{}, dl *deadline) (reason, error) {
	for {
		limit, moved := dl.get()
		now := time.Now()
		switch {
		case !limit.IsZero() && !now.Before(limit):
			return 0, os.ErrDeadlineExceeded
		case !now.Before(at):
			return arrived, c.open()
		case !now.Before(until):
			return freed, c.open()
		}
		next := at
		if until.Before(next) {
			next = until
		}
		if !limit.IsZero() && limit.Before(next) {
			next = limit
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-timer.C:
		case <-moved:
		case <-changed:
			timer.Stop()
			return freed, nil
		case <-c.closed:
			timer.Stop()
			return 0, net.ErrClosed
		}
		timer.Stop()
	}
}

// open is an error once the connection is closed.
func (c *conn) open() error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		return nil
	}
}

// SetDeadline and its like hold for the pause before a step too.
func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is that of net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return c.Conn.SetWriteDeadline(t)
}

// deadline is a time that can be moved while somebody waits for it.
type deadline struct {
	mu    sync.Mutex    // guards the fields below
	at    time.Time     // zero: never
	moved chan struct{} // closed when at changes
}

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *deadline) get() (at time.Time, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.moved
}
