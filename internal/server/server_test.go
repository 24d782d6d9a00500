package server

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestNewNamesTheFieldThatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no address", func(c *Config) { c.Listen = "" }, "Listen"},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "Listen"},
		{"no authenticator", func(c *Config) { c.Auth = nil }, "Auth"},
		{"two of them", func(c *Config) { c.Development = true }, "Development"},
		{"network in production", func(c *Config) { c.Network, c.Invite = "127.0.0.1:0", func(string) {} }, "Network"},
		{"network that nobody hears of", func(c *Config) { c.Auth, c.Development, c.Network = nil, true, "127.0.0.1:0" }, "Invite"},
		{"negative drain", func(c *Config) { c.Drain = -1 }, "Drain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config()
			tt.change(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that names %s", err, tt.want)
			}
		})
	}
}

func TestRunFailsWhenTheAddressIsTaken(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := config()
	cfg.Listen = ln.Addr().String()
	cfg.ReadyFile = filepath.Join(t.TempDir(), "ready")
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.Listen) {
		t.Errorf("got error %v, want one that names %s", err, cfg.Listen)
	}
	if s.URL() != "" {
		t.Errorf("got URL %q of a server that never ran, want none", s.URL())
	}
	if _, err := os.Stat(cfg.ReadyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for the ready file, want that there is none", err)
	}
}

func TestTheReadyFileIsThereWhileTheServerAccepts(t *testing.T) {
	dir := t.TempDir()
	cfg := config()
	cfg.ReadyFile, cfg.ReadyKey = filepath.Join(dir, "ready.json"), testKey
	t.Run("running", func(t *testing.T) {
		n := start(t, cfg)
		content, err := os.ReadFile(cfg.ReadyFile)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(content, &got); err != nil {
			t.Fatalf("decode %s: %v", content, err)
		}
		if got["url"] != n.URL() || got["pid"] != float64(os.Getpid()) || got["api_key"] != testKey || len(got) != 3 {
			t.Errorf("got %s, want url %s, pid %d and the key", content, n.URL(), os.Getpid())
		}
		info, err := os.Stat(cfg.ReadyFile)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("got mode %v, want 0600", info.Mode().Perm())
		}
	})
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("got %v after the server has stopped, want nothing", left)
	}
}

func TestAReadyFileThatCannotBeWrittenStopsTheServer(t *testing.T) {
	cfg := config()
	cfg.ReadyFile = filepath.Join(t.TempDir(), "missing", "ready.json")
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "ready file") {
		t.Errorf("got error %v, want one about the ready file", err)
	}
}

func TestBaseURLIsOneThatCanBeReached(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80", "0.0.0.0:8080": "http://127.0.0.1:8080",
		"[::]:8080": "http://127.0.0.1:8080", "[::1]:8080": "http://[::1]:8080",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(tcp, false); got != want {
			t.Errorf("got %s for %s, want %s", got, addr, want)
		}
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func peerOf(*http.Request) netip.Addr { return netip.Addr{} }

func TestAPanicIsAnsweredWithoutItsTextAndLogged(t *testing.T) {
	var log lines
	logger := slog.New(slog.NewTextHandler(&log, nil))
	h := withHeaders(withLog(logger, peerOf, withRecovery(logger, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("the password is 1234")
	}))))
	got := serve(h, request{method: http.MethodGet, path: "/"})
	if p := got.problem(t); p.Status != http.StatusInternalServerError || p.Code != wire.CodeInternal || strings.Contains(string(got.body), "1234") {
		t.Errorf("got %s, want 500 INTERNAL without the panic's text", got.body)
	}
	if text := log.String(); !strings.Contains(text, "the password is 1234") || !strings.Contains(text, "server_test.go") {
		t.Errorf("got log %q, want the panic's text and stack", text)
	}
}

func TestAPanicInTheMiddleOfAnAnswerCutsIt(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	h := withLog(logger, peerOf, withRecovery(logger, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("too late")
	})))
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("got panic %v, want http.ErrAbortHandler", got)
		}
	}()
	serve(h, request{method: http.MethodGet, path: "/"})
}

func TestTheLogHasNoCredential(t *testing.T) {
	var log lines
	cfg := config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n := start(t, cfg)
	n.call(t, request{method: http.MethodGet, path: "/ws?ticket=tk_secret"})
	n.call(t, request{method: http.MethodGet, path: "/api/v1/stats"})
	text := log.String()
	for _, secret := range []string{"tk_secret", testKey} {
		if strings.Contains(text, secret) {
			t.Errorf("got %q in the log, want it nowhere:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "path=/api/v1/stats") {
		t.Errorf("got log %q, want a line for each request", text)
	}
}

func TestEveryAnswerTellsBrowsersToTrustNothing(t *testing.T) {
	n := start(t, config())
	for _, path := range []string{"/", "/api/v1/stats", "/api/v1/nothing"} {
		got := n.call(t, request{method: http.MethodGet, path: path})
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got.header.Get(name) != want {
				t.Errorf("got %s: %q at %s, want %q", name, got.header.Get(name), path, want)
			}
		}
	}
}

func TestRunStopsWhenItsContextEnds(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.URL(), "http://"), time.Second); err == nil {
		conn.Close()
		t.Error("got a connection after Run has returned, want none")
	}
}

// slow is an answer to a client that may stop reading.
type slow struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.deadlines = append(s.deadlines, at)
	return nil
}

func TestALargeAnswerOfTheAPIHasADeadlineThatEndsWithIt(t *testing.T) {
	a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey)})
	for i := range 20 {
		if _, err := a.m.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
			Type: "note", ID: strconv.Itoa(i), Payload: map[string]string{"text": strings.Repeat("x", 1000)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/api/v1/history?topic=user/alice", "/api/openapi.json"} {
		w := &slow{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+testKey)
		a.ServeHTTP(w, r)
		d := w.deadlines
		if w.Code != http.StatusOK || len(d) < 2 || time.Until(d[0]) > callTimeout || time.Until(d[0]) < 5*time.Second || !d[len(d)-1].IsZero() {
			t.Errorf("%s: got status %d and write deadlines %v, want 200, one by its size and then none", path, w.Code, d)
		}
		if got := w.Header().Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
			t.Errorf("%s: got length %s for %d bytes", path, got, w.Body.Len())
		}
	}
}
