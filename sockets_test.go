package switchboard_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

// overSockets runs a test over real sockets on the loopback interface, plain and with TLS.
func overSockets(t *testing.T, opts switchboard.Options, test func(t *testing.T, m *switchboard.Manager, dial func(token string) *device)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			opts.Auth = login
			m, err := switchboard.New(opts)
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewUnstartedServer(m.ClientAPI())
			if secure {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if err := m.Shutdown(ctx); err != nil {
					t.Error(err)
				}
			}()
			var mu sync.Mutex
			var conns []net.Conn
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				for _, c := range conns {
					_ = c.Close()
				}
			}()
			test(t, m, func(token string) *device {
				t.Helper()
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if secure {
					conn = tls.Client(conn, &tls.Config{RootCAs: roots(srv), ServerName: "example.com"})
				}
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
				c, resp := handshakeOver(t, conn, request{token: token})
				c.welcomed(resp)
				return c
			})
		})
	}
}

// roots are the certificates that clients of srv trust.
func roots(srv *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return pool
}

func TestOverRealSocketsToo(t *testing.T) {
	overSockets(t, switchboard.Options{Limits: unlimited}, func(t *testing.T, m *switchboard.Manager, dial func(string) *device) {
		m.Handle("echo", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
			_, err := m.Publish(ctx, switchboard.User(c.Identity().User), switchboard.Message{Type: "echoed", Payload: msg.Payload})
			return err
		})
		a, sleeper := dial("alice room:team:*"), dial("bob room:team:*")
		a.join("team")
		sleeper.join("team")
		for n := range 2000 { // more than the sockets' buffers hold
			_, err := m.Publish(t.Context(), switchboard.Room("team"), switchboard.Message{
				Type: "note", Payload: map[string]any{"n": n, "x": strings.Repeat("x", 4000)},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for n := range 2000 {
			if got := payload[struct{ N int }](t, a.expect("note")).N; got != n {
				t.Fatalf("got note %d, want %d", got, n)
			}
		}
		a.send(`{"type":"echo","message_id":"e","payload":{"x":"ü"}}`)
		a.await("echoed")
		for n := range 2000 { // who slept gets the same
			if got := payload[struct{ N int }](t, sleeper.expect("note")).N; got != n {
				t.Fatalf("got note %d, want %d", got, n)
			}
		}
		n, err := m.Connections().Close(t.Context(), switchboard.User("alice"), switchboard.CloseError{Code: 4000})
		if n != 1 || err != nil {
			t.Errorf("close: got %d, %v", n, err)
		}
		a.ends(4000)
	})
}
