package switchboard_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// web is an HTTP client of a server.
type web struct {
	t    testing.TB
	base string
	http *http.Client
}

// web returns a client over connections in memory.
func (s *server) web(t testing.TB) *web {
	return newWeb(t, "http://switchboard.test", func(context.Context, string, string) (net.Conn, error) { return s.ln.dial(1 << 20) })
}

func newWeb(t testing.TB, base string, dial func(context.Context, string, string) (net.Conn, error)) *web {
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &web{t: t, base: base, http: &http.Client{Transport: transport}}
}

// call is a request. Zero fields are left out.
type call struct {
	method, path, body string
	token              string // in the header Authorization
	header             map[string]string
}

func (c *web) request(ctx context.Context, req call) *http.Request {
	c.t.Helper()
	if req.method == "" {
		req.method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, req.method, c.base+req.path, strings.NewReader(req.body))
	if err != nil {
		c.t.Fatal(err)
	}
	if req.body == "" {
		r.Body = http.NoBody
	}
	if req.token != "" {
		r.Header.Set("Authorization", "Bearer "+req.token)
	}
	for name, value := range req.header {
		r.Header.Set(name, value)
	}
	return r
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (c *web) do(req call) reply {
	c.t.Helper()
	resp, err := c.http.Do(c.request(context.Background(), req))
	if err != nil {
		c.t.Fatal(err)
	}
	return readReply(c.t, resp)
}

func readReply(t testing.TB, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// problemOf decodes a problem document.
type problem struct {
	Status       int
	Code, Detail string
	Details      map[string]any
}

func (r reply) problem(t testing.TB) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("got %d %s, want a problem document: %v", r.status, r.body, err)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/problem+json" || p.Status != r.status {
		t.Errorf("got a problem of type %q with status %d, want problem+json with %d", ct, p.Status, r.status)
	}
	return p
}

// event is one block of an event stream. A comment has nothing but that.
type event struct {
	id, data, retry, comment string
}

// source is an event stream.
type source struct {
	t       testing.TB
	web     *web
	token   string
	cut     context.CancelFunc
	events  chan event // closed at the end
	end     error      // why; set before events is closed
	welcome wire.Welcome
	last    string // id of the last event that was returned
}

// open asks for an event stream.
func (c *web) open(req call) (*source, *http.Response) {
	c.t.Helper()
	if req.path == "" {
		req.path = "/events"
	}
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := c.http.Do(c.request(ctx, req))
	if err != nil {
		c.t.Fatal(err)
	}
	s := &source{t: c.t, web: c, token: req.token, cut: cancel, events: make(chan event, 100_000)}
	if resp.StatusCode != http.StatusOK {
		c.t.Cleanup(cancel)
		return s, resp
	}
	c.t.Cleanup(func() {
		cancel()
		for range s.events {
		}
	})
	go func() {
		defer resp.Body.Close()
		s.end = s.read(bufio.NewReader(resp.Body))
		close(s.events)
	}()
	return s, resp
}

// read reads blocks as the specification of EventSource says.
func (s *source) read(in *bufio.Reader) error {
	var e event
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "":
			if value != "" {
				e.comment = value
				continue
			}
			if !strings.HasPrefix(e.data, `{"type":"presence_`) { // who is there is not what these tests are about
				s.events <- e
			}
			e = event{}
		case "id":
			e.id = value
		case "data":
			if e.data != "" {
				s.t.Errorf("got a second line of data: %q", line)
			}
			e.data = value
		case "retry":
			e.retry = value
		default:
			s.t.Errorf("got line %q", line)
		}
	}
}

// stream opens an event stream and reads the welcome.
func (c *web) stream(token string) *source {
	c.t.Helper()
	return c.streamOf(call{token: token})
}

// streamOf is stream with a request.
func (c *web) streamOf(req call) *source {
	c.t.Helper()
	s, resp := c.open(req)
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("event stream: got %+v, want 200", readReply(c.t, resp))
	}
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		c.t.Errorf("got content type %q, want text/event-stream", ct)
	}
	s.welcome = payload[wire.Welcome](c.t, s.expect(wire.SystemMessage))
	return s
}

// again comes back with the id of the last event.
func (s *source) again() *source {
	s.t.Helper()
	return s.web.streamOf(call{token: s.token, header: map[string]string{"Last-Event-ID": s.last}})
}

// block returns the next block of any kind; ok is false at the end of the stream.
func (s *source) block(wait time.Duration) (e event, ok, timeout bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case e, ok = <-s.events:
		if e.id != "" {
			s.last = e.id
		}
		return e, ok, false
	case <-timer.C:
		return event{}, false, true
	}
}

// event returns the next block that is no comment.
func (s *source) event() event {
	s.t.Helper()
	for {
		e, ok, timeout := s.block(patience)
		switch {
		case timeout:
			s.t.Fatal("no event came")
		case !ok:
			s.t.Fatalf("the stream has ended with %v, want an event", s.end)
		case e.comment == "":
			return e
		}
	}
}

// expect returns the message of the next event that has one, which must be of a type.
func (s *source) expect(typ wire.MessageType) wire.Envelope {
	s.t.Helper()
	e := s.event()
	for e.data == "" {
		e = s.event()
	}
	env, err := wire.ParseAnswer([]byte(e.data))
	if err != nil || env.Type != typ {
		s.t.Fatalf("got event %+v (%v), want a %s", e, err, typ)
	}
	return env
}

// notes reads as many notes as wanted and returns their numbers.
func (s *source) notes(count int) []int {
	s.t.Helper()
	var got []int
	for range count {
		got = append(got, payload[struct{ N int }](s.t, s.expect("note")).N)
	}
	return got
}

// silent fails if an event comes within a second.
func (s *source) silent() {
	s.t.Helper()
	if e, ok, timeout := s.block(time.Second); ok || !timeout {
		s.t.Errorf("got event %+v (open: %v), want silence", e, ok)
	}
}

// ends reads until the stream ends, which must be with an event that says code.
func (s *source) ends(code wire.CloseCode) wire.Closing {
	s.t.Helper()
	var last event
	for deadline := time.Now().Add(5 * time.Minute); ; {
		e, ok, timeout := s.block(time.Until(deadline))
		if timeout {
			s.t.Fatal("the stream does not end")
		}
		if !ok {
			break
		}
		if e.data != "" {
			last = e
		}
	}
	env, err := wire.Parse([]byte(last.data))
	if err != nil {
		s.t.Fatalf("the last event is %+v: %v", last, err)
	}
	got := payload[wire.Closing](s.t, env)
	if env.Type != wire.SystemMessage || got.Event != wire.ClosingEvent || got.Code != code || s.end != io.EOF {
		s.t.Errorf("got last event %s and end %v, want code %d and %v", last.data, s.end, code, io.EOF)
	}
	return got
}

// has is what the id of an event says that the client has.
func has(t testing.TB, id string) wire.Restore {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		t.Fatalf("id %q: %v", id, err)
	}
	var had wire.Restore
	if err := json.Unmarshal(body, &had); err != nil {
		t.Fatalf("id %s: %v", body, err)
	}
	return had
}

// post posts a message for the stream.
func (s *source) post(body string) reply {
	s.t.Helper()
	return s.web.do(s.message(body))
}

func (s *source) message(body string) call {
	return call{
		method: http.MethodPost, path: "/messages", body: body, token: s.token,
		header: map[string]string{"Switchboard-Connection": s.welcome.ConnectionID, "Content-Type": "application/json"},
	}
}

// answer is the envelope in a reply.
func (r reply) answer(t testing.TB, status int, typ wire.MessageType, id string) wire.Envelope {
	t.Helper()
	env, err := wire.ParseAnswer([]byte(r.body))
	if err != nil || r.status != status || env.Type != typ || env.ID != id {
		t.Fatalf("got %d %s (%v), want %d and a %s for %q", r.status, r.body, err, status, typ, id)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("got content type %q, want application/json", ct)
	}
	return env
}

// number is a number in a header.
func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Errorf("got %q, want a number", text)
	}
	return n
}

// brokenLog is a driver whose log cannot be read for a while.
type brokenLog struct {
	broker.Driver
	broken atomic.Bool
}

func (d *brokenLog) Since(ctx context.Context, topic broker.Key, pos wire.Position, limit int) ([]broker.Entry, wire.Position, error) {
	if d.broken.Load() {
		return nil, wire.Position{}, broker.ErrUnavailable
	}
	return d.Driver.Since(ctx, topic, pos, limit)
}
