package yield

import (
	"net"
	"time"
)

// After a wait of unrest, as where processors never rest, some connections are accepted at once. What they
// cost together is less than unrest, so that there is no unrest because of them.
const (
	unrest = 8 * time.Millisecond
	some   = 3
)

// Listener accepts connections one after the other, each when a processor has nothing else to do: who is
// connected comes before those who want to be, however many of them there are at once. They wait in
// the system's queue.
func Listener(ln net.Listener) net.Listener { return &listener{Listener: ln, yielder: New()} }

type listener struct {
	net.Listener
	yielder *Yielder
	free    int // so many more are accepted at once
}

// Accept implements [net.Listener]. One goroutine at a time calls it.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	switch {
	case err != nil:
	case l.free > 0:
		l.free--
	case l.yielder.Yield() >= unrest:
		l.free = some
	}
	return nc, err
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.yielder.Close()
	return l.Listener.Close()
}
