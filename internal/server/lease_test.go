package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// memory is a listener whose connections are in memory, so that its time may be that of a
// bubble.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *memory) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memory) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *memory) dial() (*ws.PipeConn, error) {
	a, b := ws.Pipe(1 << 20)
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// startOver runs a server, of which the test has the manager, over a listener until the test
// ends.
func startOver(t *testing.T, cfg Config, ln net.Listener, dial func() (net.Conn, error)) (*node, *switchboard.Manager) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m, err := switchboard.New(switchboard.Options{Auth: s.cfg.Auth, Broker: s.cfg.Broker, Heartbeat: s.cfg.Heartbeat, Log: s.log})
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHandler(m, s.cfg, nil, s.log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listeners{here: ln}, m, nil, h) }()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() }}
	t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("got %v from serve, want nil", err)
		}
	})
	<-s.Ready()
	return &node{Server: s, http: &http.Client{Transport: transport}}, m
}

// inMemory runs a server over connections in memory.
func inMemory(t *testing.T, cfg Config) (*node, *memory) {
	t.Helper()
	ln := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
	n, _ := startOver(t, cfg, ln, func() (net.Conn, error) { return ln.dial() })
	return n, ln
}

// rawUpload is a producer that writes its request by hand.
func rawUpload(t *testing.T, conn net.Conn, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: switchboard\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", path, testKey); err != nil {
		t.Fatal(err)
	}
}

func writeChunk(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(text), text); err != nil {
		t.Fatal(err)
	}
}

func (n *node) runState(t *testing.T, id string) string {
	t.Helper()
	state, _ := n.get(t, "/api/v1/runs/"+id).object(t)["run_state"].(string)
	return state
}

func TestAnOpenBodyKeepsTheLeaseAlsoWhenItIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ln := inMemory(t, config())
		n.startRun(t, "R")
		conn, err := ln.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		rawUpload(t, conn, "/api/v1/runs/R/streams/answer?start=0")
		writeChunk(t, conn, "Once ")
		for range 5 {
			time.Sleep(time.Minute)
			if got := n.runState(t, "R"); got != "running" {
				t.Fatalf("got %s while the body is open, want running", got)
			}
			writeChunk(t, conn, "more ")
		}
		if _, err := conn.Write([]byte("0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("got status %d after five minutes, want 200", res.StatusCode)
		}
		wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":30,"state":"open","text":"Once more more more more more "}`)
		time.Sleep(producerLease + 500*time.Millisecond)
		if got := n.runState(t, "R"); got != "dead" {
			t.Errorf("got %s behind the lease, want dead", got)
		}
	})
}

func TestAProducerThatIsKilledEndsTheRunAfterTheLease(t *testing.T) {
	for _, how := range []string{"its kernel says goodbye", "its host is cut off"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, ln := inMemory(t, config())
				n.startRun(t, "R")
				conn, err := ln.dial()
				if err != nil {
					t.Fatal(err)
				}
				rawUpload(t, conn, "/api/v1/runs/R/streams/answer?start=0&complete=true")
				writeChunk(t, conn, "partial \xf0\x9f") // the code point is lost with its producer
				time.Sleep(10 * time.Minute)
				if how == "its host is cut off" {
					conn.CutAfter(0)
				}
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
				killed := time.Now()
				time.Sleep(producerLease - time.Second)
				if got := n.runState(t, "R"); got != "running" {
					t.Errorf("got %s within the lease, want running", got)
				}
				time.Sleep(2 * time.Second)
				doc := n.get(t, "/api/v1/runs/R").object(t)
				ended, _ := doc["ended_at"].(float64)
				after := time.UnixMilli(int64(ended * 1000)).Sub(killed)
				if doc["run_state"] != "dead" || after < producerLease-time.Millisecond || after > producerLease+time.Second {
					t.Errorf("got %v, %v after the kill, want dead in 30 to 31 s", doc, after)
				}
				wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":8,"state":"failed","text":"partial "}`)
			})
		})
	}
}

func TestEveryCallForARunKeepsItAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := inMemory(t, config())
		n.startRun(t, "R")
		for _, call := range []struct{ path, body string }{
			{"/heartbeat", ""}, {"/events", `{"type":"agent_thinking","payload":{"reasoning":"hm"}}`}, {"/heartbeat", ""},
		} {
			time.Sleep(producerLease - time.Second)
			if got := n.post(t, "/api/v1/runs/R"+call.path, call.body); got.status != http.StatusOK {
				t.Errorf("%s: got %d with %s, want 200", call.path, got.status, got.body)
			}
		}
		time.Sleep(producerLease - time.Second)
		if got := n.append(t, "/api/v1/runs/R/streams/answer", "x"); got.status != http.StatusOK {
			t.Errorf("append: got %d with %s, want 200", got.status, got.body)
		}
		for range 3 { // who only looks is no producer
			time.Sleep(producerLease/3 + 100*time.Millisecond)
			n.runState(t, "R")
		}
		time.Sleep(time.Second)
		if got := n.runState(t, "R"); got != "dead" {
			t.Errorf("got %s, want dead", got)
		}
	})
}

func TestAProducerThatIsKilledEndsTheRunOnEveryDevice(t *testing.T) {
	const lease = 300 * time.Millisecond
	for _, linger := range []int{-1, 0} { // 0: the peer is reset
		t.Run(fmt.Sprint("linger ", linger), func(t *testing.T) {
			ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			dial := func() (net.Conn, error) { return new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String()) }
			n, m := startOver(t, config(), ln, dial)
			devices := []*device{n.connect(t, "alice"), n.connect(t, "alice")}
			if _, err := m.Runs().Start(t.Context(), switchboard.RunOptions{
				ID: "R", Agent: "writer", To: switchboard.User("alice"), Lease: lease,
			}); err != nil {
				t.Fatal(err)
			}
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			rawUpload(t, conn, "/api/v1/runs/R/streams/answer")
			writeChunk(t, conn, "partial")
			for _, d := range devices {
				d.text(t, "", "partial")
			}
			if err := conn.(*net.TCPConn).SetLinger(linger); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			for _, d := range devices {
				msg := d.next(t)
				for msg.Type == wire.StreamComplete {
					msg = d.next(t)
				}
				if after := time.Since(killed); msg.Type != wire.AgentDeath || after < lease || after > lease+time.Second {
					t.Errorf("got %s after %v, want %s in %v to %v", msg.Type, after, wire.AgentDeath, lease, lease+time.Second)
				}
			}
		})
	}
}
