package hub

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine is an engine whose sockets are byte slices with a size. It checks
// the hub's side of the contract of [ws.Engine].
type fakeEngine struct {
	sink ws.Sink
	room int // bytes that a socket takes before it blocks, 0: any
	bad  func(format string, args ...any)

	mu      sync.Mutex
	sockets []*fakeSocket
	free    []ws.Socket
}

type fakeSocket struct {
	mu       sync.Mutex
	tag      uint64
	started  bool
	released bool
	writing  bool
	blocked  bool
	paused   bool
	fill     int // bytes in the buffer
	broken   error
	got      *transcript
}

// transcript is what one connection was sent, over its whole life.
type transcript struct {
	mu    sync.Mutex
	bytes []byte
}

func (g *transcript) frames() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for left := g.bytes; len(left) > 0; {
		b := left
		if len(b) < 10 { // enough for any header of ours
			b = append(b[:len(b):len(b)], make([]byte, 10-len(b))...)
		}
		op, n, head := b[0]&15, int(b[1]), 2
		switch {
		case n == 126:
			n, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case n == 127:
			n, head = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		if len(left) < head+n {
			return append(list, "incomplete")
		}
		text := string(b[head : head+n])
		switch ws.Opcode(op) {
		case ws.OpClose:
			text = fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(b[head:]), text[2:])
		case ws.OpPing:
			text = "ping"
		case ws.OpPong:
			text = "pong " + text
		}
		list = append(list, text)
		left = left[head+n:]
	}
	return list
}

func (e *fakeEngine) socket(s ws.Socket) *fakeSocket {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sockets[s]
}

func (e *fakeEngine) Attach(nc net.Conn, _ []byte) (ws.Socket, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &fakeSocket{got: nc.(*fakeConn).got}
	if n := len(e.free); n > 0 { // reused at once, as file descriptors are
		i := e.free[n-1]
		e.free = e.free[:n-1]
		e.sockets[i] = s
		return i, nil
	}
	e.sockets = append(e.sockets, s)
	return ws.Socket(len(e.sockets) - 1), nil
}

func (e *fakeEngine) Start(s ws.Socket, tag uint64) {
	f := e.socket(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tag, f.started = tag, true
}

func (e *fakeEngine) Write(s ws.Socket, bufs [][]byte) (n int, blocked bool, err error) {
	f := e.socket(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released || !f.started || f.blocked || f.writing {
		e.bad("Write on socket %d: released %v, started %v, blocked %v, writing %v", s, f.released, f.started, f.blocked, f.writing)
	}
	if f.broken != nil {
		f.blocked = true // only Release is left to do
		return 0, false, f.broken
	}
	f.got.mu.Lock()
	defer f.got.mu.Unlock()
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	take := total
	if e.room > 0 && f.fill+take > e.room {
		take = max(e.room-f.fill, 0)
	}
	for _, b := range bufs {
		k := min(len(b), take-n)
		f.got.bytes = append(f.got.bytes, b[:k]...)
		n += k
	}
	f.fill += n
	f.blocked = n < total
	return n, f.blocked, nil
}

// drain empties the buffer of a socket, as a client does by reading.
func (e *fakeEngine) drain(s ws.Socket) {
	f := e.socket(s)
	f.mu.Lock()
	was, tag := f.blocked && !f.released, f.tag
	f.blocked, f.fill = false, 0
	f.mu.Unlock()
	if was {
		e.sink.Writable(tag)
	}
}

// snap breaks a socket that is blocked: the next Write gets err. The hub is told as it is of room.
func (e *fakeEngine) snap(s ws.Socket, err error) {
	f := e.socket(s)
	f.mu.Lock()
	f.broken = err
	f.mu.Unlock()
	e.drain(s)
}

// drainAll lets everybody read until nobody is blocked.
func (e *fakeEngine) drainAll() {
	for again := true; again; {
		again = false
		e.mu.Lock()
		n := len(e.sockets)
		e.mu.Unlock()
		for i := range n {
			f := e.socket(ws.Socket(i))
			f.mu.Lock()
			again = again || f.blocked && !f.released
			f.mu.Unlock()
			e.drain(ws.Socket(i))
		}
	}
}

func (e *fakeEngine) Pause(s ws.Socket)  { e.setPaused(s, true) }
func (e *fakeEngine) Resume(s ws.Socket) { e.setPaused(s, false) }

func (e *fakeEngine) setPaused(s ws.Socket, on bool) {
	f := e.socket(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released || f.paused == on {
		e.bad("Pause(%v) on socket %d: released %v, paused %v", on, s, f.released, f.paused)
	}
	f.paused = on
}

func (e *fakeEngine) Refuse(s ws.Socket) {
	if f := e.socket(s); f.released {
		e.bad("Refuse on socket %d, which is released", s)
	}
}

func (e *fakeEngine) Release(s ws.Socket) {
	f := e.socket(s)
	f.mu.Lock()
	if f.released {
		e.bad("socket %d released twice", s)
	}
	f.released = true
	f.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.free = append(e.free, s)
}

func (e *fakeEngine) Close() error { return nil }

// fakeConn stands for a connection and carries its transcript.
type fakeConn struct {
	net.Conn
	got *transcript
}

func (*fakeConn) Close() error { return nil }

// rig is a hub over fake sockets and a log in memory.
type rig struct {
	t      testing.TB
	hub    *Hub
	engine *fakeEngine

	mu         sync.Mutex
	logs       map[Key]*testLog
	events     []string
	ended      map[Handle]End
	message    func(c Handle, payload []byte)
	failing    error        // what readings of logs return
	unreadable map[Key]bool // logs and streams that cannot be read
	texts      map[Key]*testText
	textFails  int               // readings of streams that fail
	latest     map[Key][]Posting // what the driver has, for Recall
	recalls    int
	// afterText is called when a stream was read, before the hub has the text.
	afterText func(stream Key, from uint64)
}

// testText is a stream that grows.
type testText struct {
	Stream
	topic wire.Topic
	text  []rune
	ended bool
}

// testLog is the log of a topic, with the first entries cut off.
type testLog struct {
	order   sync.Mutex // held from numbering an entry until it is ingested
	mu      sync.Mutex
	address wire.Topic
	epoch   string
	head    uint64
	entries []Entry
	lost    int // of the live ones, to be dropped on the way
}

func newRig(t testing.TB, change func(*Config, *fakeEngine)) *rig {
	r := &rig{t: t, logs: map[Key]*testLog{}, ended: map[Handle]End{}, texts: map[Key]*testText{}}
	r.engine = &fakeEngine{bad: func(f string, a ...any) { t.Errorf(f, a...) }}
	r.engine.sockets = append(r.engine.sockets, &fakeSocket{released: true, got: new(transcript)})
	cfg := Config{Events: r, Source: r, Workers: 2, Engine: func(s ws.Sink) ws.Engine {
		r.engine.sink = s
		return r.engine
	}}
	if change != nil {
		change(&cfg, r.engine)
	}
	r.hub = New(cfg)
	t.Cleanup(r.hub.Shutdown)
	return r
}

func (r *rig) Message(c Handle, payload []byte) int {
	r.mu.Lock()
	r.events = append(r.events, string(payload))
	fn := r.message
	r.mu.Unlock()
	if fn != nil {
		fn(c, payload)
	}
	return 0
}

func (r *rig) Failed(c Handle, err *ws.CloseError) {
	_ = r.hub.Send(c, text("failed"), false)
}

func (r *rig) Closed(c Handle, end End) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.ended[c]; twice {
		r.t.Errorf("Closed twice for %x", c)
	}
	r.ended[c] = end
}

func (r *rig) Closing(wire.Topic) {}

func (r *rig) Followed(Handle, wire.Topic, Key) {}

func (r *rig) end(c Handle) (End, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end, ok := r.ended[c]
	return end, ok
}

var errLogDown = errors.New("log is down")

func (r *rig) Since(_ context.Context, key Key, pos wire.Position, limit int) (Batch, error) {
	r.mu.Lock()
	l, failing := r.logs[key], r.failing
	if r.unreadable[key] {
		failing = errLogDown
	}
	r.mu.Unlock()
	if failing != nil {
		return Batch{}, failing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := Batch{Head: wire.Position{Epoch: l.epoch, Offset: l.head}}
	after := pos.Offset
	if pos.Epoch != l.epoch && pos.Epoch != "" {
		b.Gap, after = true, 0
	}
	for _, e := range l.entries {
		if e.Pos.Offset > after && len(b.Entries) < limit {
			b.Entries = append(b.Entries, e)
		}
	}
	if first := l.head - uint64(len(l.entries)) + 1; !b.Gap && after+1 < first {
		b.Gap, b.Lost = true, first-1-after
	}
	return b, nil
}

// Recall answers with what was put.
func (r *rig) Recall(_ context.Context, key Key) error {
	asked := r.hub.Asking(key)
	r.mu.Lock()
	list, failing := slices.Clone(r.latest[key]), r.failing
	r.recalls++
	r.mu.Unlock()
	if failing != nil {
		return failing
	}
	r.hub.Recall(key, Recalled{Asked: asked, List: list})
	return nil
}

func (r *rig) Text(_ context.Context, topic, stream Key, from uint64) (string, error) {
	text, after, err := r.text(topic, stream, from)
	if after != nil {
		after(stream, from)
	}
	return text, err
}

func (r *rig) text(topic, stream Key, from uint64) (string, func(Key, uint64), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.textFails > 0 {
		r.textFails--
		return "", nil, errLogDown
	}
	if r.unreadable[stream] {
		return "", nil, errLogDown
	}
	s := r.texts[stream]
	if s == nil || keyOf(s.topic) != topic || from >= uint64(len(s.text)) {
		return "", r.afterText, nil
	}
	return string(s.text[from:]), r.afterText, nil
}

func keyOf(a wire.Topic) Key {
	sum := sha256.Sum256(fmt.Append(nil, a.Tenant, "\x00", a.Kind, a.ID))
	return Key(sum[:16])
}

func (r *rig) log(a wire.Topic) *testLog {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.logs[keyOf(a)]
	if l == nil {
		l = &testLog{address: a, epoch: "e1"}
		r.logs[keyOf(a)] = l
	}
	return l
}

func text(s string) []byte { return ws.AppendFrame(nil, ws.OpText, []byte(s)) }

// publish appends to a topic's log and delivers live, unless told to lose it.
func (r *rig) publish(a wire.Topic, except ...Session) uint64 {
	l := r.log(a)
	l.order.Lock()
	defer l.order.Unlock()
	return r.ingestNext(a, except...)
}

// ingestNext is publish for a caller who sees to the order.
func (r *rig) ingestNext(a wire.Topic, except ...Session) uint64 {
	return r.ingestMarked(a, nil, except...)
}

// ingestMarked is ingestNext of an event that says how long streams are.
func (r *rig) ingestMarked(a wire.Topic, marks []Mark, except ...Session) uint64 {
	l := r.log(a)
	l.mu.Lock()
	l.head++
	e := Entry{
		Topic: keyOf(a), Address: a, Pos: wire.Position{Epoch: l.epoch, Offset: l.head}, Marks: marks,
		Frame: text(fmt.Sprintf("%s %s %d", a.Tenant+":"+a.String(), l.epoch, l.head)), Except: except,
	}
	if len(l.entries) > 0 {
		e.Prev = l.head - 1
	}
	l.entries = append(l.entries, e)
	lose := l.lost > 0
	l.lost = max(l.lost-1, 0)
	l.mu.Unlock()
	if !lose {
		r.hub.Ingest(e)
	}
	return e.Pos.Offset
}

// keep cuts the log of a topic to its last n entries.
func (r *rig) keep(a wire.Topic, n int) {
	l := r.log(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = l.entries[max(0, len(l.entries)-n):]
}

func (r *rig) follow(a wire.Topic) Topic {
	t, live := r.hub.Acquire(keyOf(a), a)
	if !live {
		l := r.log(a)
		l.mu.Lock()
		head := wire.Position{Epoch: l.epoch, Offset: l.head}
		l.mu.Unlock()
		r.hub.Confirm(t, head, r.hub.Link())
	}
	return t
}

func user(id string) wire.Topic { return wire.Topic{Kind: wire.KindUser, ID: id} }
func room(id string) wire.Topic { return wire.Topic{Kind: wire.KindRoom, ID: id} }

// client is a connection of a test.
type client struct {
	r       *rig
	h       Handle
	session Session
	got     *transcript
}

func (r *rig) openHeld(u wire.Topic) (*client, error) {
	all := wire.Topic{Tenant: u.Tenant, Kind: wire.KindAll}
	ut, at := r.follow(u), r.follow(all)
	c := &client{r: r, session: NewSession(), got: new(transcript)}
	uh, _ := r.hub.Head(ut)
	ah, _ := r.hub.Head(at)
	h, err := r.hub.Open(Opening{Conn: &fakeConn{got: c.got}, User: ut, All: at, UserFrom: uh, AllFrom: ah, Session: c.session, Info: []byte(u.ID)})
	c.h = h
	return c, err
}

func (r *rig) open(u wire.Topic) *client {
	r.t.Helper()
	c, err := r.openHeld(u)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.hub.Start(c.h, false); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (c *client) join(a wire.Topic) {
	c.r.t.Helper()
	t := c.r.follow(a)
	head, _ := c.r.hub.Head(t)
	if err := c.r.hub.Follow(c.h, t, head); err != nil {
		c.r.t.Fatal(err)
	}
}

// of returns the frames of one topic as "epoch offset".
func (c *client) of(a wire.Topic) []string {
	var list []string
	for _, f := range c.got.frames() {
		if rest, ok := strings.CutPrefix(f, a.Tenant+":"+a.String()+" "); ok {
			list = append(list, rest)
		}
	}
	return list
}

func (c *client) socket() ws.Socket {
	rec := c.r.hub.conns.at(c.h.slot())
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.sock
}

func numbers(epoch string, from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("%s %d", epoch, i))
	}
	return list
}
