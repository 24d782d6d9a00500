package ws

import (
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
			for option, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_NOTSENT_LOWAT: notSentLowat, unix.TCP_USER_TIMEOUT: 7000} {
				err := raw.Control(func(fd uintptr) {
					if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); got != want || err != nil {
						t.Errorf("got %d, %v for TCP option %d, want %d", got, err, option, want)
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
