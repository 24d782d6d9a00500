package ws

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// read is the reader of a connection: it runs until reading ends, or has to pause.
// The stack of this goroutine is most of what an idle connection costs, so the frames below
// a waiting read are few and small.
func (c *conn) read() {
	var err error
	if c.raw != nil {
		err = c.readRaw()
	} else {
		err = c.readStream()
	}
	if err == nil {
		return // the next reader may be at work already
	}
	c.endTurn()
	c.recycle()
	ce, _ := errors.AsType[*CloseError](err)
	refused := ce != nil && !ce.Remote
	if refused {
		_ = c.nc.SetReadDeadline(time.Time{}) // before Release can set its own
	}
	if !c.finish(refused) {
		return
	}
	c.engine.sink.Closed(c.tag, err)
	if refused {
		c.discard()
	}
}

// finish notes why reading ended; it reports false after Refuse and Release.
func (c *conn) finish(refused bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = c.refused || refused
	return c.state.Load()&(released|refusing) == 0
}

// readRaw reads a descriptor. It returns nil when it stopped for Pause or Release.
func (c *conn) readRaw() error {
	readable := c.readable // bound once: it escapes
	for {
		if stop, err := c.deliver(); stop || err != nil {
			return err
		}
		c.watch()
		if err := c.raw.Read(readable); err != nil {
			if err = c.judge(err); err != nil {
				return err
			}
			continue
		}
		if c.err != nil {
			return c.err
		}
	}
}

// readable is called when the descriptor may have something to read. Only here, and
// until that is delivered, the connection has a read buffer.
func (c *conn) readable(fd uintptr) (done bool) {
	if c.state.Load() != 0 {
		return true
	}
	b := c.engine.buffers.Get().(*buffer)
	n, again, err := readNonblock(fd, b[:])
	switch {
	case again:
		c.engine.buffers.Put(b)
		c.endTurn()
		return false
	case n == 0 && err == nil:
		err = io.EOF
	}
	c.buf, c.rest, c.err = b, b[:n], err
	return true
}

// recycle lets go of what was read, and gives the read buffer back. Even an empty
// slice of it would keep it alive.
func (c *conn) recycle() {
	c.rest = nil
	if c.buf != nil {
		c.engine.buffers.Put(c.buf)
		c.buf = nil
	}
}

// readStream reads any other transport, by reads that wait.
func (c *conn) readStream() error {
	buf := make([]byte, streamReadBytes)
	for {
		if stop, err := c.deliver(); stop || err != nil {
			return err
		}
		c.watch()
		c.endTurn()
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.rest = buf[:n] // an error comes again with the next read
			continue
		}
		if err = c.judge(err); err != nil {
			return err
		}
	}
}

// judge turns the end of the deadline into what it means. It returns nil if the
// reader is to look at Pause and Release again.
func (c *conn) judge(err error) error {
	switch {
	case err == nil || !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case c.state.Load() != 0:
		c.whole = true
		return nil
	}
	return &CloseError{Code: codePolicy, Reason: "incomplete frame"}
}

// deliver decodes rest and tells the sink, until rest is used up. stop says that the
// reader has to end, for Pause or Release.
func (c *conn) deliver() (stop bool, err error) {
	for {
		if c.state.Load() != 0 && c.stop() {
			return true, nil
		}
		if len(c.rest) == 0 {
			c.recycle()
			return false, nil
		}
		m, n, err := c.dec.Feed(c.rest, c.engine.limits)
		if err != nil {
			return false, err
		}
		c.rest = c.rest[n:]
		if m.Op != OpContinuation && c.state.Load()&(released|refusing) == 0 {
			start := time.Now()
			more := c.tell(m)
			c.breathe(len(m.Payload), more, time.Since(start))
		}
		if m.lent {
			c.engine.limits.memory.put(m.Payload)
		}
	}
}

// breathe lets others go first if c tells much.
func (c *conn) breathe(size, more int, took time.Duration) {
	now := c.engine.refills()
	if due, heavy := c.load.add(now, units(size, more, took)); due && !mutantBreath {
		c.endTurn()
		c.turn = c.engine.turns.take(heavy)
		c.load.waited(c.engine.refills() - now)
	}
}

// endTurn ends the turn of c, if it has one.
func (c *conn) endTurn() {
	if c.turn != nil {
		close(c.turn)
		c.turn = nil
	}
}

func (c *conn) tell(m Message) (more int) {
	switch m.Op {
	case OpPing:
		c.engine.sink.Ping(c.tag, m.Payload)
	case OpPong:
		c.engine.sink.Pong(c.tag, m.Payload)
	default:
		c.whole = true
		return c.engine.sink.Message(c.tag, m.Op, m.Payload)
	}
	return 0
}

// stop ends the reader if it has to, and leaves everything as the next one needs it.
func (c *conn) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state := c.state.Load(); {
	case state&(released|refusing) != 0:
		c.endTurn()
		c.recycle()
	case state&paused != 0:
		c.endTurn()
		rest := bytes.Clone(c.rest)
		c.recycle()
		c.rest = rest
		c.whole = true // a new reader, a new deadline
		c.reading = false
	default:
		return false
	}
	return true
}

// watch sets the read deadline while a message is incomplete: for each message
// once, so that a trickle of bytes does not extend it.
func (c *conn) watch() {
	switch idle := c.dec.Idle(); {
	case !idle && (!c.armed || c.whole):
		_ = c.nc.SetReadDeadline(time.Now().Add(c.engine.frameTimeout))
		c.armed = true
	case idle && c.armed:
		_ = c.nc.SetReadDeadline(time.Time{})
		c.armed = false
	}
	c.whole = false
}
