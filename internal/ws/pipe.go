package ws

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Pipe returns two ends of an in-memory connection for tests. Unlike [net.Pipe] it
// is buffered, as sockets are: size bytes, at least one, fit each way before a write waits.
// Waiting is durable, so a pipe works within a testing/synctest bubble, where its
// deadlines take no time. By its addresses a is a client of b on the loopback interface.
func Pipe(size int) (a, b *PipeConn) {
	l := &link{}
	l.changed.L = &l.mu
	up, down := &queue{size: max(1, size), cut: -1}, &queue{size: max(1, size), cut: -1}
	client := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}
	server := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	a = &PipeConn{link: l, in: down, out: up, local: client, remote: server}
	b = &PipeConn{link: l, in: up, out: down, local: server, remote: client}
	return a, b
}

// PipeConn is one end of a [Pipe]. It behaves as a TCP connection does: what was
// written before Close can still be read by the peer, who then reads io.EOF, or fails with
// ECONNRESET if the closed end had left bytes unread; the peer's writes fail with EPIPE,
// the closed end with net.ErrClosed. Errors other than io.EOF are wrapped in a [net.OpError].
type PipeConn struct {
	link          *link
	local, remote net.Addr

	// The fields below are guarded by link.mu.
	in, out           *queue
	reading, writing  deadline
	closed, halfClose bool
}

var _ net.Conn = (*PipeConn)(nil)

// link is what both ends share.
type link struct {
	mu      sync.Mutex
	changed sync.Cond // broadcast whenever something that a read or write waits for may have changed
	broken  bool      // guarded by mu
}

// queue is one direction, guarded by the link's mu.
type queue struct {
	size   int
	data   []byte // written and not yet read
	ended  bool   // the writing end will write no more
	reset  bool   // it ended without having read everything
	unread bool   // the reading end will read no more
	cut    int    // so many bytes until the link breaks; negative: it does not
}

// deadline is guarded by the link's mu.
type deadline struct {
	expired bool
	timer   *time.Timer
	set     int // counts settings, so that the timer of an older one has no effect
}

// Read implements [net.Conn].
func (c *PipeConn) Read(b []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case c.reading.expired:
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		}
		if n, err := c.took(b); n > 0 || err != nil {
			return n, err
		}
		c.link.changed.Wait()
	}
}

// TryRead reads what is there, and never waits: n is 0 if nothing is. Deadlines do not matter.
func (c *PipeConn) TryRead(b []byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.took(b)
}

// took takes what is there, or says why nothing ever will be. The caller holds link.mu.
func (c *PipeConn) took(b []byte) (n int, err error) {
	switch {
	case c.closed:
		return 0, c.failed("read", net.ErrClosed)
	case len(c.in.data) > 0:
		n := copy(b, c.in.data)
		c.in.data = c.in.data[n:]
		c.link.changed.Broadcast()
		return n, nil
	case c.link.broken, c.in.reset:
		return 0, c.failed("read", syscall.ECONNRESET)
	case c.in.ended:
		return 0, io.EOF
	}
	return 0, nil
}

// Write implements [net.Conn]. It waits until everything is in the buffer.
func (c *PipeConn) Write(b []byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		switch {
		case c.closed:
			return n, c.failed("write", net.ErrClosed)
		case c.writing.expired:
			return n, c.failed("write", os.ErrDeadlineExceeded)
		case len(b) == n:
			return n, nil
		}
		if err := c.unwritable(); err != nil {
			return n, err
		}
		if k := c.out.put(b[n:]); k > 0 {
			n += k
			c.link.broken = c.link.broken || c.out.cut == 0
			c.link.changed.Broadcast()
			continue
		}
		c.link.changed.Wait()
	}
}

// TryWrite implements [Direct].
func (c *PipeConn) TryWrite(bufs [][]byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if err := c.unwritable(); err != nil {
		return 0, err
	}
	for _, b := range bufs {
		k := c.out.put(b)
		if n += k; k < len(b) {
			break
		}
	}
	c.link.broken = c.link.broken || c.out.cut == 0
	c.link.changed.Broadcast()
	return n, nil
}

// AwaitWritable implements [Direct].
func (c *PipeConn) AwaitWritable() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for c.unwritable() == nil && len(c.out.data) >= c.out.size {
		c.link.changed.Wait()
	}
}

// unwritable is why nothing can be written any more. The caller holds link.mu.
func (c *PipeConn) unwritable() error {
	switch {
	case c.closed:
		return c.failed("write", net.ErrClosed)
	case c.link.broken:
		return c.failed("write", syscall.ECONNRESET)
	case c.halfClose, c.out.unread:
		return c.failed("write", syscall.EPIPE)
	}
	return nil
}

// put appends what fits and returns how much that was.
func (q *queue) put(b []byte) int {
	n := min(len(b), q.size-len(q.data))
	if q.cut >= 0 {
		n = min(n, q.cut)
		q.cut -= n
	}
	q.data = append(q.data, b[:n]...)
	return n
}

// CloseWrite ends this direction only: the peer reads io.EOF after what was written before.
func (c *PipeConn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.halfClose, c.out.ended = true, true
	c.link.changed.Broadcast()
	return nil
}

// Close implements [net.Conn]. What the peer wrote and nobody read is lost, which the
// peer learns by a reset.
func (c *PipeConn) Close() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.closed = true
	c.out.ended, c.out.reset = true, len(c.in.data) > 0
	c.in.unread, c.in.data = true, nil
	c.reading.clear()
	c.writing.clear()
	c.link.changed.Broadcast()
	return nil
}

// CutAfter breaks the connection, both ways and without a farewell, once n more
// bytes have been written to this end: the peer can still read those, and everything
// else on either end fails with ECONNRESET. CutAfter(0) breaks it at once.
func (c *PipeConn) CutAfter(n int) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.out.cut = max(0, n)
	c.link.broken = c.link.broken || n <= 0
	c.link.changed.Broadcast()
}

// LocalAddr implements [net.Conn].
func (c *PipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *PipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *PipeConn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.reading, &c.writing) }

// SetReadDeadline implements [net.Conn].
func (c *PipeConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.reading) }

// SetWriteDeadline implements [net.Conn].
func (c *PipeConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writing) }

func (c *PipeConn) setDeadlines(t time.Time, deadlines ...*deadline) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.clear()
		if t.IsZero() {
			continue
		}
		wait := time.Until(t)
		if wait <= 0 {
			d.expired = true
			c.link.changed.Broadcast()
			continue
		}
		set := d.set
		d.timer = time.AfterFunc(wait, func() {
			c.link.mu.Lock()
			defer c.link.mu.Unlock()
			if d.set == set {
				d.expired = true
				c.link.changed.Broadcast()
			}
		})
	}
	return nil
}

func (d *deadline) clear() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.expired, d.timer = false, nil
	d.set++
}

func (c *PipeConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
}
