package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// world is everything in one story. Its goroutine alone changes it, but for what is said otherwise.
type world struct {
	t    testing.TB
	seed uint64
	rnd  *rand.Rand

	broker   *membroker.Broker // the one that all nodes share, and through which the oracle looks
	nodes    []*node           // that are up
	devices  []*device
	ledgers  map[wire.Topic]*ledger
	runs     []*run
	members  map[string]map[string][]membership // tenant/room, user
	quitters map[string]bool                    // tenant|room|user that left
	number   int                                // of what was published last

	told     []string
	problems []string
}

// Bounds that are small enough to be met all the time.
const (
	historyMessages = 40
	windowBytes     = 4 << 10
	padding         = 60 // bytes of a message, at most
)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), broker: membroker.New(membroker.Options{}),
		ledgers: map[wire.Topic]*ledger{}, members: map[string]map[string][]membership{}, quitters: map[string]bool{},
	}
	for range 1 + w.rnd.IntN(2) {
		w.addNode()
	}
	return w
}

func (w *world) tell(format string, args ...any) {
	line := time.Since(bubbleStart).String() + " " + fmt.Sprintf(format, args...)
	if *oneSeed >= 0 { // also if it never comes to an end
		fmt.Println(line)
	}
	w.told = append(w.told, line)
}

// bubbleStart is when the clock of a bubble begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// wrong notes that a promise was broken.
func (w *world) wrong(format string, args ...any) {
	p := fmt.Sprintf(format, args...)
	w.problems = append(w.problems, p)
	w.tell("!! %s", p)
}

// reseed gives a step dice of its own.
func (w *world) reseed(step uint64) { w.rnd = rand.New(rand.NewPCG(w.seed, step)) }

func (w *world) pick(n int) int { return w.rnd.IntN(n) }

// node is a manager behind an HTTP server, over connections in memory.
type node struct {
	w        *world
	name     string
	manager  *switchboard.Manager
	tap      *tap
	ln       *listener
	srv      *http.Server
	served   sync.WaitGroup
	gone     bool
	draining chan struct{} // closed when the node is about to be drained
}

func (w *world) addNode() *node {
	n := &node{w: w, name: fmt.Sprint("node-", len(w.told)), ln: newListener(), draining: make(chan struct{})}
	n.tap = &tap{Driver: w.broker.Node(), volatile: map[broker.Key]int{}}
	m, err := switchboard.New(switchboard.Options{
		Auth: login, Broker: n.tap, Node: n.name,
		Limits:    switchboard.Limits{MemoryBytes: windowBytes, MessagesPerMinute: -1, ConnsPerUser: -1},
		Retention: broker.Retention{Messages: historyMessages},
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	m.Handle("slow", n.slow)
	n.manager = m
	n.srv = &http.Server{Handler: m.ClientAPI(), ErrorLog: log.New(io.Discard, "", 0)}
	n.served.Go(func() {
		if err := n.srv.Serve(n.ln); !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
	w.nodes = append(w.nodes, n)
	w.tell("%s comes up", n.name)
	return n
}

// slow is a handler that ends when the story says so, whatever becomes of its connection.
func (n *node) slow(context.Context, *switchboard.Conn, wire.Envelope) error {
	released := make(chan struct{})
	n.tap.handlers.push(released)
	select {
	case <-released:
	case <-n.draining:
	}
	return nil
}

// close drains a node.
func (n *node) close() {
	n.gone = true
	close(n.draining)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := n.manager.Shutdown(ctx); err != nil {
		n.w.wrong("%s does not shut down: %v", n.name, err)
	}
	if err := n.srv.Shutdown(ctx); err != nil {
		n.w.wrong("%s does not shut down: %v", n.name, err)
	}
	n.served.Wait()
	if err := n.tap.Close(); err != nil {
		n.w.t.Error(err)
	}
}

// close ends everything.
func (w *world) close() {
	for _, d := range w.devices {
		d.hangUp()
	}
	for r := w.live(); r != nil; r = w.live() {
		r.end(0)
	}
	synctest.Wait()
	for _, n := range w.nodes {
		if s := n.manager.Stats(); s.Connections != 0 || s.Users != 0 || s.Rooms != 0 {
			w.wrong("%s: has %d connections, %d users and %d rooms when nobody is there", n.name, s.Connections, s.Users, s.Rooms)
		}
	}
	for _, n := range w.nodes {
		n.close()
	}
	synctest.Wait()
	if err := w.broker.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) releaseHandlers() {
	for _, n := range w.nodes {
		for _, c := range n.tap.handlers.takeAll() {
			close(c)
		}
	}
}

// login takes "tenant/user" and gives rights in rooms that are open.
func login(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	tenant, user, ok := strings.Cut(cred.Token, "/")
	if !ok {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	return switchboard.Identity{Tenant: tenant, User: user, Permissions: []string{"room:open*:*"}}, nil
}

// tap is a node's view of the broker. It counts what passes, and can hand a record of one topic
// to the receivers of another, which an engine might do that mixes up its keys.
type tap struct {
	broker.Driver
	handlers waiting

	mu       sync.Mutex // guards the fields below
	in       broker.Receiver
	volatile map[broker.Key]int
}

func (p *tap) Run(ctx context.Context, in broker.Receiver) error {
	p.mu.Lock()
	p.in = in
	p.mu.Unlock()
	return p.Driver.Run(ctx, tapped{in, p})
}

type tapped struct {
	broker.Receiver
	tap *tap
}

func (r tapped) Record(e broker.Entry) {
	if e.Class == wire.Volatile {
		if rec, err := wire.ParseRecord(e.Data); err == nil && rec.Kind == wire.RecordMessage {
			r.tap.mu.Lock()
			r.tap.volatile[e.Topic]++
			r.tap.mu.Unlock()
		}
	}
	r.Receiver.Record(e)
}

func (p *tap) cutLink() { p.Driver.(*membroker.Broker).Faults().CutLink() }

// passed is how many volatile messages of a topic this node was given.
func (p *tap) passed(topic wire.Topic) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.volatile[broker.KeyOf(topic)]
}

// misdeliver hands e to the receivers of another topic, at the place behind its head.
func (p *tap) misdeliver(e broker.Entry, to wire.Topic, head wire.Position) {
	p.mu.Lock()
	in := p.in
	p.mu.Unlock()
	if in == nil {
		return
	}
	e.Topic, e.Prev = broker.KeyOf(to), head.Offset
	e.Pos = wire.Position{Epoch: head.Epoch, Offset: head.Offset + 1}
	in.Record(e)
}

// waiting are handlers that wait to be released.
type waiting struct {
	mu   sync.Mutex // guards list
	list []chan struct{}
}

func (w *waiting) push(c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, c)
}

func (w *waiting) takeAll() []chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
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

func (l *listener) dial(size int) (client, server *ws.PipeConn, ok bool) {
	client, server = ws.Pipe(size)
	select {
	case l.conns <- &unhurried{PipeConn: server}:
		return client, server, true
	case <-l.done:
		return nil, nil, false
	}
}

// unhurried is the server's end of a pipe. Within a write others have their turn, as they have
// when a thread is preempted there.
type unhurried struct {
	*ws.PipeConn
	writes atomic.Uint32
}

func (c *unhurried) TryWrite(bufs [][]byte) (int, error) {
	for range c.writes.Add(1) % 8 {
		runtime.Gosched()
	}
	return c.PipeConn.TryWrite(bufs)
}
