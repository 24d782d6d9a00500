package ws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// serveEcho runs an echo server behind net/http and dials it with another implementation.
func serveEcho(t *testing.T, cfg Config) (*websocket.Conn, context.Context) {
	t.Helper()
	sink := newEcho()
	e := NewGoroutineEngine(sink, cfg)
	sink.engine = e
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, buffered, err := Upgrade(w, r, "switchboard.v1")
		if he, ok := errors.AsType[*HandshakeError](err); ok {
			http.Error(w, he.Reason, he.Status)
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		s, err := e.Attach(nc, buffered)
		if err != nil {
			t.Error(err)
			return
		}
		sink.add(s)
	}))
	t.Cleanup(func() {
		srv.Close()
		_ = e.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, resp, err := websocket.Dial(ctx, srv.URL, &websocket.DialOptions{Subprotocols: []string{"other", "switchboard.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Sec-Websocket-Protocol"); got != "switchboard.v1" {
		t.Errorf("got subprotocol %q, want switchboard.v1", got)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	return c, ctx
}

func wantEcho(ctx context.Context, t *testing.T, c *websocket.Conn, typ websocket.MessageType, payload string) {
	t.Helper()
	got, b, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got != typ || string(b) != payload {
		t.Errorf("got %v of %d bytes, want %v of %d", got, len(b), typ, len(payload))
	}
}

func TestInteropEcho(t *testing.T) {
	c, ctx := serveEcho(t, Config{Message: 8 << 20, Binary: true})
	tests := []struct {
		name string
		typ  websocket.MessageType
		size int
	}{
		{"empty text", websocket.MessageText, 0},
		{"short text", websocket.MessageText, 125},
		{"16-bit length", websocket.MessageText, 126},
		{"64-bit length", websocket.MessageBinary, 1 << 16},
		{"megabytes", websocket.MessageBinary, 4 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			payload := strings.Repeat("z", tt.size)
			if err := c.Write(ctx, tt.typ, []byte(payload)); err != nil {
				t.Fatal(err)
			}
			wantEcho(ctx, t, c, tt.typ, payload)
		})
	}
}

func TestInteropFragments(t *testing.T) {
	c, ctx := serveEcho(t, Config{})
	w, err := c.Writer(ctx, websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, part := range []string{"one ", strings.Repeat("ä", 10_000), "", " three"} {
		want.WriteString(part)
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantEcho(ctx, t, c, websocket.MessageText, want.String())
}

func TestInteropPing(t *testing.T) {
	c, ctx := serveEcho(t, Config{})
	read := c.CloseRead(ctx)
	if err := c.Ping(read); err != nil {
		t.Errorf("got %v, want a pong", err)
	}
}

func TestInteropCloseByTheClient(t *testing.T) {
	c, _ := serveEcho(t, Config{})
	// Close returns an error unless the server answers with a close frame.
	if err := c.Close(4321, "enough"); err != nil {
		t.Errorf("got %v, want the closing handshake to complete", err)
	}
}

func TestInteropCloseByTheServer(t *testing.T) {
	tests := []struct {
		name string
		typ  websocket.MessageType
		send string
		want websocket.StatusCode
	}{
		{"too long", websocket.MessageText, strings.Repeat("x", 4<<20), websocket.StatusMessageTooBig},
		{"binary", websocket.MessageBinary, "x", websocket.StatusUnsupportedData},
		{"invalid text", websocket.MessageText, "\xff", websocket.StatusInvalidFramePayloadData},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, ctx := serveEcho(t, Config{})
			written := make(chan struct{})
			go func() {
				defer close(written)
				// Fails when the server closes first.
				_ = c.Write(ctx, tt.typ, []byte(tt.send))
			}()
			_, _, err := c.Read(ctx)
			if got := websocket.CloseStatus(err); got != tt.want {
				t.Errorf("got %v, want status %v", err, tt.want)
			}
			<-written
		})
	}
}

// pipes is a listener of a server to which Dial opens pipes.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.accept:
		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := Pipe(64 << 10)
	p.accept <- server
	return client, nil
}

// TestWholeServerRunsInABubble is what makes the pipe worth having: net/http, the
// handshake, the engine and a client of another make, with time that costs nothing.
func TestWholeServerRunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newEcho()
		e := NewGoroutineEngine(sink, Config{})
		sink.engine = e
		ln := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, buffered, err := Upgrade(w, r, "")
			if err != nil {
				t.Error(err)
				return
			}
			s, err := e.Attach(nc, buffered)
			if err != nil {
				t.Error(err)
				return
			}
			sink.add(s)
		})}
		go func() { _ = srv.Serve(ln) }()
		client := &http.Client{Transport: &http.Transport{DialContext: ln.Dial}}
		c, _, err := websocket.Dial(t.Context(), "ws://server/ws", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.Sleep(time.Hour)
		if err := c.Write(t.Context(), websocket.MessageText, []byte("after an hour")); err != nil {
			t.Fatal(err)
		}
		wantEcho(t.Context(), t, c, websocket.MessageText, "after an hour")
		if took := time.Since(start); took != time.Hour {
			t.Errorf("got an echo after %v, want 1h", took)
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		_ = srv.Close()
		_ = e.Close()
	})
}
