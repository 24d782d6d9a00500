package yield

import "net"

// Listener accepts connections one after the other, each when a processor has nothing else to do: who is
// connected comes before those who want to be, however many of them there are at once. They wait in
// the system's queue.
func Listener(ln net.Listener) net.Listener { return &listener{ln, New()} }

type listener struct {
	net.Listener
	yielder *Yielder
}

// Accept implements [net.Listener]. One goroutine at a time calls it.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.yielder.Yield()
	}
	return nc, err
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.yielder.Close()
	return l.Listener.Close()
}
