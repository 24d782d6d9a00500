package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// What docs/embedding.md shows is in this file, compiled and run.

// serveUntil runs a service until ctx ends, or a signal comes.
func serveUntil(ctx context.Context, addr string, handler http.Handler, m *switchboard.Manager) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	select {
	case err := <-failed:
		return errors.Join(err, m.Shutdown(ctx))
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	defer cancel()
	// In this order: the manager tells clients to come back and lets agents finish;
	// http.Server does not know of the sockets.
	return errors.Join(m.Shutdown(bye), srv.Shutdown(bye))
}

// shop stands for the service that there is already.
type shop struct {
	mu     sync.Mutex // guards logins
	logins map[string]shopLogin
}

type shopLogin struct {
	user string
	ends time.Time
}

// login returns what a cookie stands for.
func (s *shop) login(id string) (shopLogin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logins[id]
	if !ok {
		return shopLogin{}, errors.New("no such login")
	}
	return l, nil
}

// whoIs says who connects, by the cookie of the shop's own login.
func (s *shop) whoIs(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Request == nil || cred.Token != "" { // nothing here could check a token
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	cookie, err := cred.Request.Cookie("shop_login")
	if err != nil {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	login, err := s.login(cookie.Value)
	if err != nil {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	return switchboard.Identity{
		User:        login.user,
		SID:         cookie.Value, // comes back in the Identity of whoever resumes
		Expires:     login.ends,   // of the connection and of its session
		Permissions: []string{"room:shop-*:join", "room:shop-*:publish"},
	}, nil
}

// stillLoggedIn is asked for every connection, also for those that come back by a session token.
func (s *shop) stillLoggedIn(_ context.Context, c *switchboard.Conn) error {
	if _, err := s.login(c.Identity().SID); err != nil {
		return switchboard.ErrUnauthenticated
	}
	return nil
}

func (s *shop) routes(m *switchboard.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		msg := switchboard.Message{Type: "order_placed", ID: "order-1042-placed", Payload: map[string]int{"order": 1042}}
		if _, err := m.Publish(r.Context(), switchboard.User("alice"), msg); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := s.logOut(r, m); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/realtime/", http.StripPrefix("/realtime", m.ClientAPI())) // /realtime/ws, /realtime/events, …
	return mux
}

func (s *shop) logOut(r *http.Request, m *switchboard.Manager) error {
	for _, cookie := range r.CookiesNamed("shop_login") {
		s.mu.Lock()
		login, ok := s.logins[cookie.Value]
		delete(s.logins, cookie.Value)
		s.mu.Unlock()
		if !ok {
			continue
		}
		ended := switchboard.Revocation{SID: cookie.Value, Until: login.ends}
		if _, err := m.Access().Revoke(r.Context(), ended); err != nil {
			return err
		}
	}
	return nil
}

// logRequests is middleware that leaves the connection within reach.
func logRequests(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		log.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.String("path", r.URL.Path), slog.Int("status", rec.status))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (r *statusWriter) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is how http.ResponseController finds what can be taken over and flushed.
func (r *statusWriter) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func Example_embedding() {
	ctx := context.Background()
	s := &shop{logins: map[string]shopLogin{"c1": {user: "alice", ends: time.Now().Add(time.Hour)}}}
	m, err := switchboard.New(switchboard.Options{Auth: s.whoIs, OnConnect: s.stillLoggedIn})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(logRequests(slog.New(slog.DiscardHandler), s.routes(m)))
	defer srv.Close()
	defer m.Shutdown(ctx)

	dial := func(header, value string) (*websocket.Conn, int) {
		url := strings.Replace(srv.URL, "http", "ws", 1) + "/realtime/ws"
		c, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{header: {value}}})
		if res == nil {
			fmt.Println(err)
			return nil, 0
		}
		return c, res.StatusCode
	}
	_, status := dial("Cookie", "shop_login=c2")
	fmt.Println(status)
	page, status := dial("Cookie", "shop_login=c1")
	fmt.Println(status)
	defer page.CloseNow()
	var welcome wire.Welcome
	if err := (browser{page}).next(ctx).Decode(&welcome); err != nil {
		fmt.Println(err)
	}

	post := func(path string) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+path, http.NoBody)
		if err != nil {
			return 0
		}
		req.AddCookie(&http.Cookie{Name: "shop_login", Value: "c1"})
		res, err := srv.Client().Do(req)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	fmt.Println(post("/orders"), browser{page}.next(ctx).Type)

	closed := make(chan error)
	go func() {
		_, _, err := page.Read(ctx)
		closed <- err
	}()
	fmt.Println(post("/logout"), websocket.CloseStatus(<-closed))
	_, status = dial("Authorization", "Bearer "+welcome.Session.Token)
	fmt.Println(status)
	// Output:
	// 401
	// 101
	// 201 order_placed
	// 200 StatusCode(4002)
	// 401
}

func Example_either() {
	ctx := context.Background()
	s := &shop{}
	tokens, err := auth.NewJWT(ctx, auth.JWT{Secret: []byte("5f1c0b7e9a3d4c6188f2e07b6d9ca541")})
	if err != nil {
		fmt.Println(err)
		return
	}
	either := func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		if cred.Token != "" {
			return tokens(ctx, cred)
		}
		return s.whoIs(ctx, cred)
	}
	_, err = either(ctx, switchboard.Credential{Token: "no token"})
	fmt.Println(switchboard.CodeOf(err))
	_, err = either(ctx, switchboard.Credential{})
	fmt.Println(switchboard.CodeOf(err))
	// Output:
	// AUTH_ERROR
	// AUTH_ERROR
}

func TestAServiceEndsInPeace(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: tokenIsUser})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serveUntil(ctx, "127.0.0.1:0", m.ClientAPI(), m); err != nil {
		t.Error(err)
	}
}

// connect serves h in memory and returns how a client dials it.
func connect(t *testing.T, h http.Handler) func(ctx context.Context, network, addr string) (net.Conn, error) {
	ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		_ = srv.Close()
		served.Wait()
	})
	return func(context.Context, string, string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		ln.conns <- theirs
		return mine, nil
	}
}

// pipes is a net.Listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func TestAReminderComesAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := switchboard.New(switchboard.Options{Auth: tokenIsUser}) // the token "alice" is alice
		if err != nil {
			t.Fatal(err)
		}
		dial := connect(t, m.ClientAPI())
		m.Handle("remind", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			to := switchboard.User(c.Identity().User)
			time.AfterFunc(time.Hour, func() { _, _ = m.Publish(context.WithoutCancel(ctx), to, switchboard.Message{Type: "reminder"}) })
			return nil
		})
		phone, err := client.Dial(t.Context(), client.Options{
			URL: "ws://app.test/ws", Dial: dial,
			Token: func(context.Context) (string, error) { return "alice", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		messages := phone.Messages(t.Context())
		if _, err := phone.Send(t.Context(), client.Message{Type: "remind"}); err != nil {
			t.Fatal(err)
		}
		for msg, err := range messages {
			if err != nil {
				t.Fatal(err)
			}
			if msg.Type == "reminder" {
				break
			}
		}
		if got := time.Since(began); got != time.Hour { // which took no time
			t.Errorf("the reminder came after %v, want 1h", got)
		}
		_ = phone.Close()
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
