package ws

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// discardBytes bounds what is thrown away after reading ended, lingerTimeout for
	// how long after Release.
	discardBytes  = 1 << 20
	lingerTimeout = time.Second
)

// Bits of conn.state.
const (
	paused   uint32 = 1 << iota
	refusing        // nothing more is read; final
	released        // final
)

// conn is a connection of a [GoroutineEngine]. Its goroutines hold the conn itself,
// never the socket's name, so a name in new use is out of their reach.
type conn struct {
	engine *GoroutineEngine // immutable
	nc     net.Conn         // immutable
	raw    syscall.RawConn  // immutable; nil: nc is read and written by its methods
	direct Direct           // immutable; nil: nc cannot be written without waiting, unless raw is there
	tag    uint64           // set before the first goroutine starts

	// state is changed under mu and read without it between events.
	state atomic.Uint32

	mu      sync.Mutex // guards the next fields; never held while reading, writing or in the sink
	started bool
	reading bool     // the reader exists
	writing bool     // the writer exists
	want    bool     // the writer has something to do
	pending [][]byte // what it has to write, if raw and direct are nil
	failed  error    // why a write by the writer did not succeed
	refused bool     // reading ended because the peer broke a rule, or by Refuse

	// The next fields belong to the reader, or are handed to it under mu.
	dec   Decoder
	rest  []byte  // read, and not delivered yet: what Attach brought, or what Pause left
	armed bool    // the read deadline is set
	whole bool    // a message was completed since the deadline was looked at
	load  load    // of what was told
	turn  turn    // nil: it has none
	buf   *buffer // where rest lies, if raw is not nil
	err   error   // what readable got instead of bytes
}

func (c *conn) start(tag uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tag, c.started, c.load = tag, true, newLoad(c.engine.refills())
	c.readLocked()
}

func (c *conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Or(paused)
}

func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.And(^paused)
	c.readLocked()
}

func (c *conn) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = true
	c.state.Or(refusing)
}

// readLocked starts the reader unless it runs or must not.
func (c *conn) readLocked() {
	if c.state.Load() == 0 && c.started && !c.reading {
		c.reading = true
		c.engine.wg.Go(c.read)
	}
}

// release closes the connection in a goroutine of its own, as closing may wait: for
// the reader to leave the descriptor, for TLS to say goodbye, for the peer to stop.
func (c *conn) release() {
	c.mu.Lock()
	c.state.Or(released)
	c.pending = nil
	linger := c.refused
	c.mu.Unlock()
	go c.close(linger)
}

// close ends what Attach began to count.
func (c *conn) close(linger bool) {
	defer c.engine.wg.Done()
	if half, ok := c.nc.(interface{ CloseWrite() error }); linger && ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeout))
		c.discard()
	}
	_ = c.nc.Close()
}

// discard throws away what the peer sends after it broke a rule, within bounds: a
// socket that is closed with bytes unread is reset, and that may overtake the close frame.
func (c *conn) discard() {
	_, _ = io.CopyN(io.Discard, c.nc, discardBytes)
}
