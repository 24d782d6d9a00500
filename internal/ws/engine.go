package ws

import (
	"net"
	"time"
)

// Defaults of [Config].
const (
	DefaultMessageBytes = 64 << 10
	DefaultFrameTimeout = 30 * time.Second
	DefaultUserTimeout  = 60 * time.Second
)

// Socket is an engine's name for an attached connection. It is reused after
// Release, possibly at once. It holds no pointer, so that tables of sockets cost the
// garbage collector nothing. Zero is never the name of a socket.
type Socket uint32

// An Engine owns connections after their opening handshake: it reads and decodes
// what clients send, and writes what it is given. It never answers by itself: pongs,
// close frames and heartbeats are the caller's.
//
// Methods may be called concurrently for different sockets. For one socket the
// caller serializes them (it has a lock of its own for the connection); they may be
// called from within Sink methods. None of them waits, except Close. A method called
// with a name that is not in use does nothing (Write reports net.ErrClosed).
type Engine interface {
	// Attach takes over a connection after its handshake; buffered is what was
	// read of it already (the engine keeps and changes the slice). The engine owns nc
	// from now on, also when Attach fails, which closes nc. Nothing is read before Start.
	Attach(nc net.Conn, buffered []byte) (Socket, error)

	// Start begins reading. It is called once, before the first Write. All events
	// of s carry tag.
	Start(s Socket, tag uint64)

	// Write takes n bytes of bufs, in order, and never waits. If n is less than
	// the sum of bufs, either blocked is true or err is not nil.
	//
	// If blocked, Sink.Writable will be called exactly once, possibly before Write
	// returned; until then Write must not be called again. The engine may keep the bytes
	// it took, though not the outer slice, until Writable: they must not change.
	// If err is not nil the socket is broken and only Release is left to do. The system says
	// only once why: after EPIPE, if the socket is read, Closed follows and knows it.
	Write(s Socket, bufs [][]byte) (n int, blocked bool, err error)

	// Pause stops the delivery of messages: called from within a Sink method of s,
	// that one is the last; from elsewhere, one more may begin at the same moment. The socket
	// is not read while paused, so neither is its end noticed, nor does FrameTimeout run.
	// A socket may be paused before Start.
	Pause(s Socket)

	// Resume goes on where Pause stopped.
	Resume(s Socket)

	// Refuse ends reading for good, as a protocol violation of the peer does, but tells the
	// sink nothing: from within a Sink method of s that event is the last. What the peer still
	// sends costs no more than the system's buffers. The socket must be released.
	Refuse(s Socket)

	// Release closes the socket now. It drops bytes that the engine has taken while
	// blocked: whoever wants them delivered waits for Writable first. Events of the
	// socket's tag may be running, or begin at the same moment, and none later; they
	// carry the tag so that a receiver can tell. The name may be reused at once.
	//
	// After Refuse, or a protocol violation of the peer, only the writing side is closed at once,
	// and the rest within a second or when the peer closes too: what it still sends must not
	// turn the close frame written last into a reset.
	Release(s Socket)

	// Close releases everything and waits until no goroutine of the engine is left.
	// So it must not be called from within a Sink method, nor while holding what one waits
	// for. Attach fails from then on.
	Close() error
}

// Direct is a connection that can be written without waiting, as a plain socket is. A [PipeConn]
// is one, so that what is tried over pipes takes the way of sockets.
type Direct interface {
	net.Conn
	// TryWrite takes as much of bufs as there is room for, and never waits.
	TryWrite(bufs [][]byte) (n int, err error)
	// AwaitWritable waits until TryWrite would take something, or would fail.
	AwaitWritable()
}

// Tune sets the options of the TCP connection that is or carries nc as an engine does for
// those that it owns, so that a peer that has vanished is noticed while something is written
// to it. It is for connections that stay with an HTTP server and whose answers do not end.
func Tune(nc net.Conn) { tune(nc, DefaultUserTimeout) }

// noProbes turns off the keepalive that package net turns on, of the TCP connection that is or
// carries nc. Whoever owns an engine pings: that says that the client answers, and not only its
// kernel, and an idle connection would otherwise pay for both.
func noProbes(nc net.Conn) {
	if outer, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		nc = outer.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false) // then it stays as it is
	}
}

// A Sink receives the events of an engine's sockets, on goroutines of the engine.
// For one socket Message, Ping, Pong and Closed come one at a time and in order;
// Writable may come at the same time as one of them. A method that takes long delays only
// its own socket in a [GoroutineEngine] but may delay others in another engine.
type Sink interface {
	// Message is a complete text (valid UTF-8) or binary message. The payload is
	// valid until Message returns and may be changed. more is how many usual messages' work
	// it was besides that of one, as far as the Sink knows.
	Message(tag uint64, op Opcode, payload []byte) (more int)

	// Ping and Pong are control frames; their payload is valid until return.
	// A ping wants a pong with the same payload, which is the receiver's to write.
	Ping(tag uint64, payload []byte)
	Pong(tag uint64, payload []byte)

	// Writable follows a Write that was blocked: it can be tried again. If the
	// transport broke meanwhile, the next Write says so.
	Writable(tag uint64)

	// Closed says, once, that reading ended by itself: a [*CloseError] (a protocol
	// violation of the peer, or with Remote its own close frame), io.EOF, or an error
	// of the transport. The socket can still be written, to say why it ends, and must
	// be released.
	Closed(tag uint64, err error)
}

// Config is what an engine does to all its sockets. The zero value is usable.
type Config struct {
	// Message is the longest message accepted, in bytes, over all its fragments;
	// 0 means DefaultMessageBytes.
	Message int

	// FrameTimeout bounds the time from the first byte of a message to its last;
	// 0 means DefaultFrameTimeout. Reading then ends with close code 1008. There is no
	// timeout between messages: heartbeats are the caller's.
	FrameTimeout time.Duration

	// Binary accepts binary messages, which are otherwise refused with close code 1003.
	Binary bool

	// UserTimeout is how long sent bytes may stay unacknowledged before the system breaks a
	// TCP connection (TCP_USER_TIMEOUT, Linux only); 0 means DefaultUserTimeout, a negative value
	// leaves it to the system. A peer that acknowledges and reads nothing is the caller's to end.
	UserTimeout time.Duration
}

func (c Config) limits() Limits {
	return Limits{Message: c.Message, Binary: c.Binary, memory: new(memory)}
}

func (c Config) frameTimeout() time.Duration {
	if c.FrameTimeout <= 0 {
		return DefaultFrameTimeout
	}
	return c.FrameTimeout
}

func (c Config) userTimeout() time.Duration {
	if c.UserTimeout == 0 {
		return DefaultUserTimeout
	}
	return max(c.UserTimeout, 0)
}
