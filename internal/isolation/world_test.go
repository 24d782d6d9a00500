package isolation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/server"
	"github.com/netra-systems/switchboard/wire"
)

// Ids that are taken for each other where somebody joins strings.
var (
	tenants = []string{"", "acme", "a", "acme/user"}
	users   = []string{"alice", "acme", "all", "user/alice", "room/r", "*", ">", "ü🙂"}
	rooms   = []string{"r", "alice", "all", "user/alice", "*"}
	threads = []string{"t", "alice", "room/r"}
)

// world is one story. Its goroutine alone changes it; the goroutines of clients only read what was
// set before they began.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	m       *monitor
	broker  *membroker.Broker
	nodes   []*node
	clients []*client
	tokens  map[string]switchboard.Identity // guarded by mu: authenticators read it
	mu      sync.Mutex
	runs    []*run
	owed    []owed
	score   score
	last    string // the way that was taken last
	number  int
}

// dice draws a number below n.
func (w *world) dice(n int) int { return w.rnd.IntN(n) }

func pick[T any](w *world, list []T) T { return list[w.dice(len(list))] }

// owed is a mark that a client must have got in the end.
type owed struct {
	n   int
	who *client
}

// run is a run that goes on until it is stopped by one who may.
type run struct {
	*switchboard.Run
	place
	by      person // who asked for it
	node    *node
	stopped bool
}

// score counts for each way how often it was taken, and how often that did something.
type score map[string]*struct{ tried, done int }

func (s score) add(way string, tried, done int) {
	if s[way] == nil {
		s[way] = new(struct{ tried, done int })
	}
	s[way].tried += tried
	s[way].done += done
}

// node is all that a server serves, over connections in memory.
type node struct {
	*switchboard.Manager
	handler http.Handler
	conns   chan net.Conn
	closed  chan struct{}
	srv     *http.Server
	served  sync.WaitGroup
	driver  io.Closer
}

// Accept, Close and Addr make a node its own listener.
func (n *node) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *node) Close() error {
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	return nil
}

func (n *node) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// apiKeys are keys of back ends: by tenants, and by scopes.
var apiKeys = map[string]server.APIKey{
	"k-every":   {Name: "every", Tenants: tenants},
	"k-none":    {Name: "none"},
	"k-acme":    {Name: "acme", Tenants: []string{"acme"}},
	"k-a-read":  {Name: "a-read", Tenants: []string{"a"}, Scopes: []server.Scope{server.ScopeRead}},
	"k-watch":   {Name: "watch", Tenants: []string{"acme", "a"}, Scopes: []server.Scope{server.ScopeMonitor}},
	"k-publish": {Name: "publish", Tenants: []string{"a"}, Scopes: []server.Scope{server.ScopePublish}},
	"k-tickets": {Name: "tickets", Tenants: []string{"acme"}, Scopes: []server.Scope{server.ScopeTickets}},
}

func viewerOf(key string) *backend {
	k := apiKeys[key]
	may := func(s server.Scope) bool { return len(k.Scopes) == 0 || slices.Contains(k.Scopes, s) }
	b := &backend{called: key, tenants: k.Tenants, reads: may(server.ScopeRead), tickets: may(server.ScopeTickets)}
	if len(b.tenants) == 0 {
		b.tenants = []string{""}
	}
	return b
}

func newWorld(t *testing.T, nodes int) *world {
	w := &world{
		t: t, m: newMonitor(), broker: membroker.New(membroker.Options{}),
		tokens: map[string]switchboard.Identity{}, score: score{},
	}
	for i := range nodes {
		w.addNode(i)
	}
	return w
}

// logged is where a node logs to: neither what was said nor a credential may be there.
type logged struct{ m *monitor }

func (l logged) Write(b []byte) (int, error) {
	l.m.inspect(nobody("the log"), "a line", b)
	return len(b), nil
}

func (w *world) addNode(i int) {
	n := &node{conns: make(chan net.Conn), closed: make(chan struct{})}
	driver := w.broker.Node()
	n.driver = driver
	logger := slog.New(slog.NewTextHandler(logged{w.m}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := switchboard.New(switchboard.Options{
		Auth: w.login, Broker: driver, Node: fmt.Sprint("node-", i), Log: logger,
		Limits: switchboard.Limits{MessagesPerMinute: -1, ConnsPerUser: -1, Handshakes: -1, HandshakesPerSecond: -1},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.Manager = m
	m.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "echo"}, echo)
	m.Handle("whisper", func(ctx context.Context, c *switchboard.Conn, msg wire.Envelope) error {
		_, err := m.Publish(ctx, switchboard.Connection(c.ID()), switchboard.Message{Type: "whispered", Payload: msg.Payload})
		return err
	})
	keys := make([]server.APIKey, 0, len(apiKeys))
	for secret, k := range apiKeys {
		k.Hash = server.HashKey(secret)
		keys = append(keys, k)
	}
	n.handler, err = server.Handler(m, server.Config{Listen: "127.0.0.1:0", Auth: w.login, APIKeys: keys, Log: logger})
	if err != nil {
		w.t.Fatal(err)
	}
	n.srv = &http.Server{Handler: n.handler, ErrorLog: log.New(io.Discard, "", 0)}
	n.served.Go(func() {
		if err := n.srv.Serve(n); !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
	w.nodes = append(w.nodes, n)
}

// echo is an agent that says what it was told, by every kind of event.
func echo(ctx context.Context, run *switchboard.Run, msg wire.Envelope) error {
	text := string(msg.Payload)
	if err := run.Thinking(ctx, text); err != nil {
		return err
	}
	if err := run.Tool(ctx, "look", map[string]string{"for": text}).End(ctx, text, nil); err != nil {
		return err
	}
	_, err := io.WriteString(run.Stream("answer"), text)
	return err
}

// login knows the tokens that the story has given out.
func (w *world) login(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.tokens[cred.Token]
	if !ok {
		return id, switchboard.ErrUnauthenticated
	}
	return id, nil
}

// token makes a credential of somebody.
func (w *world) token(who person, allowed rights) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	token := fmt.Sprint("token-", w.number)
	w.tokens[token] = switchboard.Identity{Tenant: who.tenant, User: who.user, Permissions: allowed}
	return token
}

// someRights are what somebody may do in rooms.
func (w *world) someRights() (r rights) {
	for range w.dice(4) {
		r = append(r, "room:"+pick(w, append(rooms, "*"))+":"+pick(w, []string{"join", "history", "publish", "presence", "control", "*"}))
	}
	return r
}

// somebody is anybody, and half of the time somebody who is there.
func (w *world) somebody() person {
	if live := w.live(); len(live) > 0 && w.dice(2) == 0 {
		return pick(w, live).person
	}
	return person{pick(w, tenants), pick(w, users)}
}

// call makes a call over HTTP, and lets the monitor see all of the answer.
func (w *world) call(who viewer, n *node, method, path, credential, body string, header ...string) (int, string) {
	r := httptest.NewRequestWithContext(context.Background(), method, "http://switchboard.test/", strings.NewReader(body))
	at, err := r.URL.Parse(path)
	if err != nil {
		w.t.Fatal(err)
	}
	r.URL, r.RequestURI = at, at.RequestURI()
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	n.handler.ServeHTTP(rec, r)
	var all bytes.Buffer
	_ = rec.Result().Header.Write(&all)
	all.Write(rec.Body.Bytes())
	w.m.inspect(who, method+" "+path, all.Bytes())
	return rec.Code, rec.Body.String()
}

// settle lets everything happen that is about to.
func (w *world) settle() { synctest.Wait() }

// end is the end of the story: who is still there has got what it was owed.
func (w *world) end() {
	time.Sleep(15 * time.Second) // what was missed is found within 10
	w.settle()
	for _, o := range w.owed {
		if !o.who.left && !o.who.has(o.n) {
			w.m.wrong("%s did not get %s, said to %+v in step %d", o.who.name(), word(o.n), w.m.marks[o.n].place, w.m.marks[o.n].step)
		}
	}
	for _, r := range w.runs {
		w.mustLive(r, "the end")
	}
	for _, c := range w.clients {
		if !c.left && c.over() {
			w.m.wrong("%s was closed by nobody who may: %s", c.name(), c.why())
		}
	}
	for _, n := range w.nodes {
		if got := n.Stats().Isolation; got != 0 {
			w.m.wrong("%d records under a wrong address", got)
		}
	}
}

// close ends everything that the story began.
func (w *world) close() {
	for _, c := range w.clients {
		c.hangUp()
	}
	for _, r := range w.runs {
		_, _ = r.Complete(context.Background(), nil)
	}
	for _, n := range w.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := errors.Join(n.Shutdown(ctx), n.srv.Shutdown(ctx), n.driver.Close()); err != nil {
			w.t.Error(err)
		}
		cancel()
		n.served.Wait()
	}
	for _, c := range w.clients {
		c.reading.Wait()
	}
	if err := w.broker.Close(); err != nil {
		w.t.Error(err)
	}
}

// mustLive fails if a run has ended that nobody stopped who may.
func (w *world) mustLive(r *run, after string) {
	if r.stopped {
		return
	}
	info, err := r.Info(switchboard.WithTenant(context.Background(), r.tenant))
	if err != nil || info.State != wire.RunRunning {
		w.m.wrong("a run of %+v is %q (%v) after %s", r.place, info.State, err, after)
		r.stopped = true
	}
}
