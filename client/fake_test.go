package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a listener whose connections are pipes in memory, so that time may be fake. A
// pipe has no buffer: what one side does not read, the other cannot write.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { close(m.done); return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case m.conns <- there:
		return here, nil
	case <-m.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// script is what a server does with one connection.
type script func(p *peer)

// scripts is a handler that treats its first connection by the first script, and so on. A
// connection too many fails the test.
type scripts struct {
	t        *testing.T
	next     chan script
	running  sync.WaitGroup
	finished atomic.Int64
}

func handler(t *testing.T, all ...script) *scripts {
	h := &scripts{t: t, next: make(chan script, len(all))}
	for _, s := range all {
		h.next <- s
	}
	return h
}

func (h *scripts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s := <-h.next:
		h.running.Add(1)
		defer h.running.Done()
		s(&peer{t: h.t, w: w, r: r})
		h.finished.Add(1)
	default:
		h.t.Errorf("got a connection too many: %s", r.URL)
		w.WriteHeader(http.StatusForbidden)
	}
}

// serve runs a server in memory and returns options to connect to it. A script that is not
// reached, or not finished when the test ends, fails the test.
func serve(t *testing.T, all ...script) client.Options {
	t.Helper()
	m := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
	h := handler(t, all...)
	srv := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(m)
	}()
	t.Cleanup(func() {
		synctest.Wait()
		h.running.Wait()
		_ = srv.Close()
		<-served
		if n := int(h.finished.Load()); n < len(all) {
			t.Errorf("got %d of %d scripts finished", n, len(all))
		}
	})
	return client.Options{
		URL: "ws://switchboard.test/ws", Dial: m.dial,
		Token: func(context.Context) (string, error) { return "jwt", nil },
	}
}

// peer is the server's side of one connection.
type peer struct {
	t    *testing.T
	w    http.ResponseWriter
	r    *http.Request
	conn *websocket.Conn
}

// refuse answers the handshake with a problem document.
func (p *peer) refuse(status int, code wire.Code, header ...string) {
	p.w.Header().Set("Content-Type", "application/problem+json")
	for i := 0; i < len(header); i += 2 {
		p.w.Header().Set(header[i], header[i+1])
	}
	p.w.WriteHeader(status)
	fmt.Fprintf(p.w, `{"type":"about:blank","status":%d,"code":%q,"detail":"no"}`, status, code)
}

func (p *peer) accept() {
	conn, err := websocket.Accept(p.w, p.r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		p.t.Error(err)
		panic(http.ErrAbortHandler)
	}
	p.conn = conn
	p.conn.SetReadLimit(1 << 20)
}

// welcome accepts and greets. Topics are address and position, in turn.
func (p *peer) welcome(id string, topics ...string) {
	p.welcomeWith(wire.Welcome{ConnectionID: id, Session: wire.SessionInfo{ID: "ses_1", Token: "token of " + id}}, topics...)
}

func (p *peer) welcomeWith(w wire.Welcome, topics ...string) {
	p.accept()
	w.Event, w.UserID = wire.WelcomeEvent, "alice"
	w.Topics = map[string]wire.Position{}
	for i := 0; i < len(topics); i += 2 {
		w.Topics[topics[i]] = position(topics[i+1])
	}
	if w.Config.HeartbeatInterval == 0 {
		w.Config.HeartbeatInterval = 25
	}
	p.send(wire.Envelope{Type: wire.SystemMessage, Payload: raw(w)})
}

func (p *peer) send(env wire.Envelope) {
	p.t.Helper()
	frame, err := wire.Append(nil, env)
	if err != nil {
		p.t.Error(err)
	}
	p.sendRaw(string(frame))
}

func (p *peer) sendRaw(frame string) {
	p.t.Helper()
	if err := p.conn.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		p.t.Errorf("got error %v writing %s, want none", err, frame)
	}
}

// note sends a durable message whose id tells its place.
func (p *peer) note(topic string, offset uint64) {
	p.t.Helper()
	p.send(wire.Envelope{Type: "note", ID: fmt.Sprintf("%s-%d", topic, offset), Topic: topic, Offset: offset, Timestamp: 1})
}

// read returns the next message of the client.
func (p *peer) read() wire.Envelope {
	p.t.Helper()
	_, frame, err := p.conn.Read(context.Background())
	if err != nil {
		p.t.Errorf("got error %v, want a message", err)
		panic(http.ErrAbortHandler)
	}
	env, err := wire.Parse(frame)
	if err != nil {
		p.t.Errorf("got error %v for %s, want a message", err, frame)
	}
	return env
}

// expect returns the next message, which must be of a type, with its payload in v.
func (p *peer) expect(typ wire.MessageType, v any) wire.Envelope {
	p.t.Helper()
	env := p.read()
	if env.Type != typ {
		p.t.Errorf("got %s %s, want %s", env.Type, env.Payload, typ)
	}
	if v != nil {
		if err := env.Decode(v); err != nil {
			p.t.Error(err)
		}
	}
	return env
}

func (p *peer) ack(to wire.Envelope, ack wire.Ack) {
	p.t.Helper()
	frame, err := wire.AppendAck(nil, to.ID, 1, ack, "")
	if err != nil {
		p.t.Error(err)
	}
	p.sendRaw(string(frame))
}

func (p *peer) answer(to wire.Envelope, typ wire.MessageType, payload any) {
	p.t.Helper()
	p.send(wire.Envelope{Type: typ, ID: to.ID, Timestamp: 1, Payload: raw(payload)})
}

func (p *peer) error(to string, code wire.Code, details map[string]any) {
	p.t.Helper()
	frame, err := wire.AppendError(nil, wire.ErrorMessage{Code: code, Message: "no", MessageID: to, Details: details})
	if err != nil {
		p.t.Error(err)
	}
	p.sendRaw(string(frame))
}

// restore expects a session_restore and answers that all of it is recovered.
func (p *peer) restore() wire.Restore {
	p.t.Helper()
	var r wire.Restore
	env := p.expect(wire.SessionRestore, &r)
	answer := wire.Restored{Topics: map[string]wire.RestoredTopic{}}
	for topic, pos := range r.Positions {
		answer.Topics[topic] = wire.RestoredTopic{Recovered: true, From: pos, Head: pos}
	}
	p.answer(env, wire.SessionRestored, answer)
	return r
}

func (p *peer) close(code wire.CloseCode, reason string) {
	_ = p.conn.Close(websocket.StatusCode(code), reason)
}

// cut ends the connection without a close frame.
func (p *peer) cut() { _ = p.conn.CloseNow() }

// untilClosed waits for the client to leave and returns its close code, or -1.
func (p *peer) untilClosed() int {
	for {
		if _, _, err := p.conn.Read(context.Background()); err != nil {
			_ = p.conn.CloseNow()
			return int(websocket.CloseStatus(err))
		}
	}
}

func raw(v any) json.RawMessage {
	b, err := wire.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func position(s string) wire.Position {
	p, err := wire.ParsePosition(s)
	if err != nil {
		panic(err)
	}
	return p
}

// sessionToken returns the session token that the client offered, "" if none.
func (p *peer) sessionToken() string {
	for protocol := range strings.SplitSeq(p.r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if encoded, ok := strings.CutPrefix(strings.TrimSpace(protocol), wire.SessionProtocol); ok {
			token, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil {
				p.t.Error(err)
			}
			return string(token)
		}
	}
	return ""
}

// dial connects and closes at the end of the test.
func dial(t *testing.T, opts client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), opts)
	if err != nil {
		t.Fatalf("got error %v, want a client", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inbox collects what a client gets.
type inbox struct {
	t    *testing.T
	next func() (wire.Envelope, error, bool)
}

func messages(t *testing.T, c *client.Client) inbox {
	next, stop := iter.Pull2(c.Messages(t.Context()))
	t.Cleanup(stop)
	return inbox{t, next}
}

// expect returns the next message that is neither a welcome nor a session_restored; its id must be id.
func (b inbox) expect(id string) wire.Envelope {
	b.t.Helper()
	for {
		env, err, ok := b.next()
		if err != nil || !ok {
			b.t.Fatalf("got error %v, end %t, want %s", err, !ok, id)
		}
		if env.Type == wire.SystemMessage || env.Type == wire.SessionRestored {
			continue
		}
		if env.ID != id {
			b.t.Fatalf("got %s %s, want %s", env.Type, env.ID, id)
		}
		return env
	}
}

// expectEnd skips to the end and returns its error.
func (b inbox) expectEnd() error {
	b.t.Helper()
	for {
		env, err, ok := b.next()
		switch {
		case !ok:
			return nil
		case err != nil:
			return err
		case env.Type == wire.SystemMessage || env.Type == wire.SessionRestored || env.Type == wire.ServerShutdown:
		default:
			b.t.Errorf("got %s %s, want the end", env.Type, env.ID)
		}
	}
}
