package switchboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// patience is how long a test waits for what must come. In a bubble it takes no time.
const patience = 5 * time.Second

// login is the authenticator of tests. A token is words: the user, or tenant/user, then
// permissions, and exp=<duration> for a credential that expires, iat=<milliseconds since 1970>
// for when it was issued, jti= and sid=.
func login(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	words := strings.Fields(cred.Token)
	if len(words) == 0 || words[0] == "bad" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	var id switchboard.Identity
	if tenant, user, ok := strings.Cut(words[0], "/"); ok {
		id.Tenant, id.User = tenant, user
	} else {
		id.User = words[0]
	}
	for _, word := range words[1:] {
		if life, ok := strings.CutPrefix(word, "exp="); ok {
			d, err := time.ParseDuration(life)
			if err != nil {
				return switchboard.Identity{}, err
			}
			id.Expires = time.Now().Add(d)
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "iat":
			ms, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return switchboard.Identity{}, err
			}
			id.Issued = time.UnixMilli(ms)
		case "jti":
			id.TokenID = value
		case "sid":
			id.SID = value
		default:
			id.Permissions = append(id.Permissions, word)
		}
	}
	return id, nil
}

// server is a manager behind an HTTP server, over connections in memory.
type server struct {
	*switchboard.Manager
	ln *listener
}

func newServer(t testing.TB, opts switchboard.Options) *server {
	t.Helper()
	if opts.Auth == nil {
		opts.Auth = login
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	m, err := switchboard.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Manager: m, ln: newListener()}
	srv := &http.Server{Handler: m.ClientAPI(), ReadHeaderTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() {
		if err := srv.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return s
}

// listener hands out one end of a pipe per dial.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *listener) dial(size int) (*ws.PipeConn, error) {
	a, b := ws.Pipe(size)
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// device is one end of a WebSocket, which reads only when it is asked to.
type device struct {
	t       testing.TB
	conn    net.Conn
	in      *bufio.Reader
	welcome wire.Welcome

	presence bool // it wants to hear who is there
}

// request is an attempt to connect. Zero fields are left out.
type request struct {
	path         string // "/ws"
	token        string // in the header Authorization
	subprotocols string
	origin       string
	from         string // address, as a proxy says it
	buffer       int    // of the pipe, each way (1 MiB)
}

// handshake sends req and returns the answer.
func (s *server) handshake(t testing.TB, req request) (*device, *http.Response) {
	t.Helper()
	if req.buffer == 0 {
		req.buffer = 1 << 20
	}
	conn, err := s.ln.dial(req.buffer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return handshakeOver(t, conn, req)
}

func handshakeOver(t testing.TB, conn net.Conn, req request) (*device, *http.Response) {
	t.Helper()
	if req.path == "" {
		req.path = "/ws"
	}
	r, err := http.NewRequest(http.MethodGet, "http://switchboard.test"+req.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if req.token != "" {
		set("Authorization", "Bearer "+req.token)
	}
	set("Sec-WebSocket-Protocol", req.subprotocols)
	set("Origin", req.origin)
	set("X-Forwarded-For", req.from)
	if err := conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	c := &device{t: t, conn: conn, in: bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.in, r)
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

// connect connects and reads the welcome.
func (s *server) connect(t testing.TB, req request) *device {
	t.Helper()
	c, resp := s.handshake(t, req)
	c.welcomed(resp)
	return c
}

func (c *device) welcomed(resp *http.Response) {
	c.t.Helper()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("handshake: got %d %s, want 101", resp.StatusCode, body)
	}
	env := c.expect(wire.SystemMessage)
	if err := env.Decode(&c.welcome); err != nil {
		c.t.Fatal(err)
	}
}

// as connects with a token.
func (s *server) as(t testing.TB, token string) *device {
	t.Helper()
	return s.connect(t, request{token: token})
}

// resume comes back with the session token of an earlier connection.
func (s *server) resume(t testing.TB, former *device) *device {
	t.Helper()
	return s.connect(t, request{subprotocols: sessionProtocols(former)})
}

func sessionProtocols(former *device) string {
	return "switchboard.v1, session." + base64.RawURLEncoding.EncodeToString([]byte(former.welcome.Session.Token))
}

// write sends one raw frame.
func (c *device) write(op ws.Opcode, payload []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(ws.AppendMasked(nil, op, true, [4]byte{1, 2, 3, 4}, payload)); err != nil {
		c.t.Fatal(err)
	}
}

// send sends a message as it is.
func (c *device) send(format string, args ...any) {
	c.t.Helper()
	c.write(ws.OpText, fmt.Appendf(nil, format, args...))
}

// closed is what ends a connection.
type closed struct {
	code   wire.CloseCode
	reason string
}

func (e closed) Error() string { return fmt.Sprintf("closed with %d %s", e.code, e.reason) }

// frame reads one frame of any kind.
func (c *device) frame(wait time.Duration) (op ws.Opcode, payload []byte, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(c.in, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(c.in, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.in, payload)
	return ws.Opcode(head[0] & 0xf), payload, err
}

// closedBy is what a close frame says; one without a code is 1005 (RFC 6455 §7.1.5).
func closedBy(payload []byte) closed {
	if len(payload) < 2 {
		return closed{code: 1005}
	}
	return closed{wire.CloseCode(binary.BigEndian.Uint16(payload)), string(payload[2:])}
}

// raw reads the next message, answering pings, and leaves out who is there unless the test is about
// that. A close frame is an error of type closed.
func (c *device) raw(wait time.Duration) ([]byte, error) {
	for {
		op, payload, err := c.frame(wait)
		if err != nil {
			return nil, err
		}
		switch op {
		case ws.OpPing:
			c.write(ws.OpPong, payload)
		case ws.OpPong:
		case ws.OpClose:
			return nil, closedBy(payload)
		default:
			if c.presence || !bytes.HasPrefix(payload, []byte(`{"type":"presence_`)) {
				return payload, nil
			}
		}
	}
}

// next returns the next message.
func (c *device) next() wire.Envelope {
	c.t.Helper()
	b, err := c.raw(patience)
	if err != nil {
		c.t.Fatalf("next message: %v", err)
	}
	env, err := wire.ParseAnswer(b)
	if err != nil {
		c.t.Fatalf("message %s: %v", b, err)
	}
	return env
}

// expect returns the next message, which must be of a type.
func (c *device) expect(typ wire.MessageType) wire.Envelope {
	c.t.Helper()
	b, err := c.raw(patience)
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", typ, err)
	}
	env, err := wire.ParseAnswer(b)
	if err != nil {
		c.t.Fatalf("message %s: %v", b, err)
	}
	if env.Type != typ {
		c.t.Fatalf("got %s, want a %s", b, typ)
	}
	return env
}

// await returns the next message of a type and skips others before it.
func (c *device) await(typ wire.MessageType) wire.Envelope {
	c.t.Helper()
	for {
		if env := c.next(); env.Type == typ {
			return env
		}
	}
}

// ack returns the next message, which must be the ack of id.
func (c *device) ack(id string) wire.Ack {
	c.t.Helper()
	env := c.await(wire.AckType)
	var ack wire.Ack
	if err := env.Decode(&ack); err != nil {
		c.t.Fatal(err)
	}
	if env.ID != id || ack.MessageID != id {
		c.t.Fatalf("got the ack of %q (%q), want that of %q", env.ID, ack.MessageID, id)
	}
	return ack
}

// refused returns the next message, which must be an error with a code.
func (c *device) refused(code wire.Code, id string) wire.ErrorMessage {
	c.t.Helper()
	b, err := c.raw(patience)
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", code, err)
	}
	e, err := wire.ParseErrorMessage(b)
	if err != nil {
		c.t.Fatalf("got %s, want an error %s", b, code)
	}
	if e.Code != code || e.MessageID != id {
		c.t.Fatalf("got %s, want code %s for message %q", b, code, id)
	}
	return e
}

// silent fails if a message comes within a second.
func (c *device) silent() {
	c.t.Helper()
	b, err := c.raw(time.Second)
	if err == nil {
		c.t.Errorf("got %s, want nothing", b)
	} else if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		c.t.Errorf("got %v, want silence", err)
	}
}

// ends reads until the connection is closed, which must be with code.
func (c *device) ends(code wire.CloseCode) {
	c.t.Helper()
	for {
		_, err := c.raw(2 * time.Minute)
		if err == nil {
			continue
		}
		var end closed
		if !errors.As(err, &end) || end.code != code {
			c.t.Fatalf("got %v, want a close with %d", err, code)
		}
		return
	}
}

// payload decodes the payload of an envelope into a T.
func payload[T any](t testing.TB, env wire.Envelope) T {
	t.Helper()
	var v T
	if err := env.Decode(&v); err != nil {
		t.Fatalf("payload of %s: %v", env.Type, err)
	}
	return v
}

// publish publishes a note.
func (s *server) note(t testing.TB, to switchboard.Target, n int) switchboard.Delivery {
	t.Helper()
	return s.noteIn(t, "", to, n)
}

func (s *server) noteIn(t testing.TB, tenant string, to switchboard.Target, n int) switchboard.Delivery {
	t.Helper()
	d, err := s.Publish(switchboard.WithTenant(t.Context(), tenant), to, switchboard.Message{
		Type: "note", ID: fmt.Sprintf("note-%s-%d", tenant, n), Payload: map[string]int{"n": n},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// notes reads as many notes as wanted and returns their numbers.
func (c *device) notes(count int) []int {
	c.t.Helper()
	var got []int
	for range count {
		got = append(got, payload[struct{ N int }](c.t, c.expect("note")).N)
	}
	return got
}

func wantEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func object(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// countingDriver counts the calls that follow and unfollow topics, which may take a while.
type countingDriver struct {
	broker.Driver
	slowFollow, slowUnfollow time.Duration
	follows, unfollows       atomic.Int64
}

func (d *countingDriver) Follow(ctx context.Context, topics ...broker.Key) error {
	if len(topics) > 0 {
		d.follows.Add(1)
		time.Sleep(d.slowFollow)
	}
	return d.Driver.Follow(ctx, topics...)
}

func (d *countingDriver) Unfollow(ctx context.Context, topics ...broker.Key) error {
	d.unfollows.Add(1)
	time.Sleep(d.slowUnfollow)
	return d.Driver.Unfollow(ctx, topics...)
}
