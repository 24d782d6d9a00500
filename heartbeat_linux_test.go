package switchboard_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// What the system waits for is shorter than what the heartbeat does, for any heartbeat.
func TestTheSystemGivesUpOnAPeerBeforeTheHeartbeatDoes(t *testing.T) {
	for timeout, want := range map[time.Duration]int{10 * time.Second: 8_000, 75 * time.Second: 60_000, 15 * time.Minute: 720_000} {
		m, err := switchboard.New(switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{Interval: 5 * time.Second, Timeout: timeout}})
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn, 1)
		srv := httptest.NewUnstartedServer(m.ClientAPI())
		srv.Config.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
			accepted <- nc
			return ctx
		}
		srv.Start()
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, resp := handshakeOver(t, conn, request{token: "alice"})
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %d, want 101", resp.StatusCode)
		}
		c.welcomed(resp)
		raw, err := (<-accepted).(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != want || err != nil {
				t.Errorf("timeout %v: got a user timeout of %d ms, %v, want %d", timeout, got, err, want)
			}
		})
		if err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		shutDown(t, m)
		srv.Close()
	}
}

// TestWhoReadsNothingEndsAsUnwritable: with Linux a living peer whose window is full is given up by the
// system before the heartbeat would. What is told of it is the same.
func TestWhoReadsNothingEndsAsUnwritable(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{Interval: time.Second, Timeout: 2 * time.Second, MaxMissed: 2}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, resp := handshakeOver(t, conn, request{token: "alice"})
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d, want 101", resp.StatusCode)
	}
	text := strings.Repeat("x", 1<<19)
	alive := ws.AppendMasked(nil, ws.OpPong, true, [4]byte{}, nil) // which nobody asked for
	for range 32 {
		_, _ = conn.Write(alive)
		if _, err := m.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]string{"text": text}}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(100 * time.Millisecond) {
		for end, err := range m.Connections().Ended(t.Context(), switchboard.User("alice")) {
			if err != nil {
				t.Fatal(err)
			}
			if end.Code != wire.CloseTryAgain || end.Reason != "nothing could be written for too long: reconnect" || end.Remote {
				t.Errorf("got %d %q, remote %v; want 1013, unwritable, and our own end", end.Code, end.Reason, end.Remote)
			}
			shutDown(t, m)
			srv.Close()
			return
		}
		_, _ = conn.Write(alive)
		if time.Now().After(deadline) {
			t.Fatal("the connection has not ended")
		}
	}
}
