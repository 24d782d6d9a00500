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
	"sync/atomic"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
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

// blackHole passes bytes between clients and a server until it is told to keep them: then it
// takes what comes, so that every system sees a network that works, and passes nothing on.
type blackHole struct {
	ln    net.Listener
	gone  atomic.Bool
	ended sync.WaitGroup
}

func newBlackHole(t *testing.T, server string) *blackHole {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &blackHole{ln: ln}
	p.ended.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			for _, way := range [][2]net.Conn{{client, back}, {back, client}} {
				p.ended.Go(func() { p.pass(way[0], way[1]) })
			}
		}
	})
	return p
}

func (p *blackHole) pass(from, to net.Conn) {
	defer func() { _ = from.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err == nil && !p.gone.Load() {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// A half-open connection that no system notices, because something between answers for the peer,
// is found by the heartbeat; what is beside it stays.
func TestAPeerBehindABlackHoleIsClosed(t *testing.T) {
	beat := switchboard.Heartbeat{Interval: 200 * time.Millisecond, Timeout: 2 * time.Second, MaxMissed: 255}
	m, err := switchboard.New(switchboard.Options{Auth: login, Heartbeat: beat})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer shutDown(t, m)
	hole := newBlackHole(t, srv.Listener.Addr().String())
	var reading sync.WaitGroup
	dial := func(addr net.Addr, user string) *device {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c, resp := handshakeOver(t, conn, request{token: user})
		c.welcomed(resp)
		reading.Go(c.answer)
		return c
	}
	lost, stays := dial(hole.ln.Addr(), "lost"), dial(srv.Listener.Addr(), "stays")
	until(t, "both were pinged", func() bool { return m.Stats().Heartbeat.Pongs >= 4 })
	hole.gone.Store(true)
	began := time.Now()
	until(t, "one is gone", func() bool { return m.Stats().Connections == 1 })
	if took := time.Since(began); took < beat.Timeout-2*beat.Interval {
		t.Errorf("closed after %v, want about %v", took, beat.Timeout)
	}
	if st := m.Stats().Heartbeat; st.Dropped != 1 || st.Healthy > 1 || st.Pending > 1 {
		t.Errorf("got %+v, want one dropped and one left", st)
	}
	ended := 0
	for info, err := range m.Connections().Ended(t.Context(), switchboard.User("lost")) {
		if ended++; err != nil || info.Code != wire.CloseGoingAway || info.Remote || info.Idle < beat.Timeout {
			t.Errorf("got %+v, %v, want it closed by us after %v", info, err, beat.Timeout)
		}
	}
	if ended != 1 {
		t.Errorf("got %d that ended, want one", ended)
	}
	_, _ = lost.conn.Close(), stays.conn.Close()
	_ = hole.ln.Close()
	reading.Wait()
	hole.ended.Wait()
}

// answer reads until the connection ends, and answers pings.
func (c *device) answer() {
	for {
		op, payload, err := c.frame(time.Hour)
		if err == nil && op == ws.OpPing {
			_, err = c.conn.Write(ws.AppendMasked(nil, ws.OpPong, true, [4]byte{1, 2, 3, 4}, payload))
		}
		if err != nil {
			return
		}
	}
}

// until waits for what real sockets bring about: the kernel's time is in no bubble.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-look.C:
		case <-end:
			t.Fatalf("waited a minute until %s", what)
		}
	}
}
