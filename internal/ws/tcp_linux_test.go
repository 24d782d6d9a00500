package ws

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSocketOptionsAreSetBelowEveryTransport(t *testing.T) {
	for _, tr := range transports(t) {
		if tr.name != "tcp" && tr.name != "tls" {
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			e := NewGoroutineEngine(newRecorder(t), Config{UserTimeout: 7 * time.Second})
			client, server, err := tr.connect()
			if err != nil {
				t.Fatal(err)
			}
			newPeer(t, client)
			if _, err := e.Attach(server, nil); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = e.Close() })
			if outer, ok := server.(interface{ NetConn() net.Conn }); ok {
				server = outer.NetConn()
			}
			raw, err := server.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, option := range []struct{ level, name, want int }{
				{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
				{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 7000},
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
			} {
				err := raw.Control(func(fd uintptr) {
					if got, err := unix.GetsockoptInt(int(fd), option.level, option.name); got != option.want || err != nil {
						t.Errorf("got %d, %v for %+v", got, err, option)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestConnectionsOfAnHTTPServerCanBeTuned(t *testing.T) {
	for _, tr := range transports(t) {
		client, server, err := tr.connect()
		if err != nil {
			t.Fatal(err)
		}
		Tune(server) // others than TCP are left alone
		if tr.name == "tcp" {
			raw, err := server.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			err = raw.Control(func(fd uintptr) {
				if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 60_000 || err != nil {
					t.Errorf("got a user timeout of %d ms, %v, want 60000", got, err)
				}
				if on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on == 0 || err != nil {
					t.Errorf("got keepalive %d, %v, want it on: nothing else asks such a peer", on, err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
		_ = client.Close()
		_ = server.Close()
	}
}

func TestUserTimeoutCanBeLeftToTheSystem(t *testing.T) {
	tests := []struct {
		set, want time.Duration
	}{
		{0, DefaultUserTimeout}, {time.Second, time.Second}, {-1, 0},
	}
	for _, tt := range tests {
		if got := (Config{UserTimeout: tt.set}).userTimeout(); got != tt.want {
			t.Errorf("got %v for %v, want %v", got, tt.set, tt.want)
		}
	}
}

// blackHole makes a socket deaf: from now on the kernel drops every packet for it before TCP sees
// it, as if the network were gone. Nothing is acknowledged any more and nothing reset.
func blackHole(t *testing.T, nc net.Conn) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	})
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

// The heartbeat's own timeout would come later. Whoever vanished while it was being written to is
// found by the system.
func TestAPeerWhoseNetworkIsGoneIsFoundByTheSystem(t *testing.T) {
	sink := newRecorder(t)
	e := NewGoroutineEngine(sink, Config{UserTimeout: 500 * time.Millisecond})
	t.Cleanup(func() { _ = e.Close() })
	client, server, err := dialer(listen(t, "tcp", "127.0.0.1:0"))()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, err := e.Attach(server, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Start(s, 1)
	blackHole(t, client)
	began := time.Now()
	if _, _, err = e.Write(s, [][]byte{[]byte("hello?")}); err != nil {
		t.Fatal(err)
	}
	if got := sink.next(); got.Kind != "closed" || !errors.Is(got.Err, unix.ETIMEDOUT) {
		t.Errorf("got %+v, want closed by a timeout", got)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it took %v, want no less than the user timeout", took)
	}
}
