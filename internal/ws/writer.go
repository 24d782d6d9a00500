package ws

import "net"

// gatherBytes is the size up to which small buffers are joined for a transport that
// cannot take a list; it is the longest TLS record.
const gatherBytes = 16 << 10

// hand gives bufs to the writer.
func (c *conn) hand(bufs [][]byte) (n int, blocked bool, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state.Load()&released != 0:
		return 0, false, net.ErrClosed
	case c.failed != nil:
		return 0, false, c.failed
	case n == 0:
		return 0, false, nil
	}
	c.pending = append([][]byte(nil), bufs...)
	c.writeLocked()
	return n, true, nil
}

// awaitWritable has the writer wait for room in the socket.
func (c *conn) awaitWritable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load()&released != 0 {
		return net.ErrClosed
	}
	c.writeLocked()
	return nil
}

// writeLocked gives the writer something to do. It starts one unless there is: the last
// one may still be calling Writable, within which the next write is usual.
func (c *conn) writeLocked() {
	c.want = true
	if !c.writing {
		c.writing = true
		c.engine.wg.Go(c.write)
	}
}

// write is the writer of a connection: it exists while a write has to wait.
func (c *conn) write() {
	for {
		bufs, ok := c.take()
		if !ok {
			return
		}
		if c.direct != nil {
			c.direct.AwaitWritable()
		} else if c.raw != nil {
			// An error means closed, which the next Write finds out by itself.
			_ = c.raw.Write(writable)
		} else if err := c.writeAll(bufs); err != nil {
			c.fail(err)
		}
		if c.state.Load()&released != 0 {
			return
		}
		c.engine.sink.Writable(c.tag)
	}
}

// take returns what the writer has to do; without anything the writer ends.
func (c *conn) take() (bufs [][]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.want || c.state.Load()&released != 0 {
		c.writing = false
		return nil, false
	}
	bufs, c.pending, c.want = c.pending, nil, false
	return bufs, true
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// writeAll waits until the transport has taken all of bufs. Small ones are joined:
// to TLS each write is a record and a system call.
func (c *conn) writeAll(bufs [][]byte) error {
	var joined []byte
	for i, b := range bufs {
		if len(joined)+len(b) > gatherBytes && len(joined) > 0 {
			if _, err := c.nc.Write(joined); err != nil {
				return err
			}
			joined = joined[:0]
		}
		if i == len(bufs)-1 && len(joined) == 0 || len(b) >= gatherBytes {
			if _, err := c.nc.Write(b); err != nil {
				return err
			}
			continue
		}
		if joined == nil {
			joined = make([]byte, 0, min(gatherBytes, total(bufs[i:])))
		}
		joined = append(joined, b...)
	}
	if len(joined) == 0 {
		return nil
	}
	_, err := c.nc.Write(joined)
	return err
}

func total(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
