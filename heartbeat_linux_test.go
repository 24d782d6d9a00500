package switchboard_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netra-systems/switchboard"
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
