package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netra-systems/switchboard"
)

// watching is a listener that remembers what it has accepted last.
type watching struct {
	net.Listener
	mu   sync.Mutex // guards last
	last *net.TCPConn
}

func (l *watching) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = nc.(*net.TCPConn)
	return nc, nil
}

func TestAClientThatVanishesIsNoticedWhateverItReads(t *testing.T) {
	cfg := config()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := switchboard.New(switchboard.Options{Auth: byName})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	watch := &watching{Listener: ln}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listeners{here: watch}, m, nil, m.ClientAPI()) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-s.Ready()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(s.URL() + "/ws/beacon")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	watch.mu.Lock()
	defer watch.mu.Unlock()
	raw, err := watch.last.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 60_000 || err != nil {
			t.Errorf("got a user timeout of %d ms, %v, want 60000", got, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
