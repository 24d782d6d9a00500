package switchboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// publicPaths are all that anybody may ask. What is not here wants a credential.
var publicPaths = []string{"/ws/config", "/ws/health", "/ws/beacon", "/healthz", "/readyz"}

var allMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, http.MethodTrace, http.MethodConnect, "BREW", "PROPFIND",
}

// strangers are credentials of nobody: none, wrong ones, and those of other doors.
var strangers = []string{"", "Bearer wrong", "Bearer sk_backend", "Basic YWxpY2U6YWxpY2U=", "Bearer", "Bearer swt_AAAA", "Bearer tk_AAAA", "bearer \x00"}

func scanned(t *testing.T) *Manager {
	t.Helper()
	m, err := New(Options{Limits: Limits{ConnsPerAddress: -1, CallsPerAddress: -1, GuessesPerAddress: -1}, Auth: func(_ context.Context, cred Credential) (Identity, error) {
		if cred.Token == "secret-token" {
			return Identity{User: "zq-user"}, nil
		}
		return Identity{}, ErrUnauthenticated
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.Publish(t.Context(), User("zq-user"), Message{Type: "note", Thread: "t", Payload: map[string]string{"text": "zq-text"}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// lasting is an answer that may take long, as those of real servers.
type lasting struct{ *httptest.ResponseRecorder }

func (lasting) SetWriteDeadline(time.Time) error { return nil }

// try makes a request as a browser, a client or a scanner would. What a WebSocket needs is there.
func try(t *testing.T, h http.Handler, method, path, credential string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "http://switchboard.test/", strings.NewReader("{}"))
	at, err := r.URL.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.RequestURI = at, at.RequestURI()
	if strings.HasPrefix(path, "//") { // which would be a host
		r.URL, r.RequestURI = r.URL.JoinPath(), path
		r.URL.Scheme, r.URL.Host, r.URL.Path, r.URL.RawPath = "http", "switchboard.test", path, ""
	}
	if credential != "" {
		r.Header.Set("Authorization", credential)
	}
	if path == "/ws" || path == "/websocket" {
		r.Body, r.ContentLength = http.NoBody, 0
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(lasting{rec}, r)
	if body := rec.Body.String(); strings.Contains(body, "zq-") || len(body) > 2000 {
		t.Errorf("%s %s with %q tells %s", method, path, credential, body)
	}
	return rec
}

// TestEveryRouteOfClientsWantsACredential tries every path of the table with every method. A new
// one is tried by itself, and must be added here if it is for everybody.
func TestEveryRouteOfClientsWantsACredential(t *testing.T) {
	m := scanned(t)
	h := m.ClientAPI()
	for pattern, methods := range m.clientRoutes() {
		path := strings.ReplaceAll(pattern, "{id}", "t")
		public := slices.Contains(publicPaths, path)
		for _, method := range allMethods {
			for _, credential := range strangers {
				got := try(t, h, method, path, credential).Code
				_, there := methods[method]
				there = there || methods == nil && method == http.MethodGet
				var fine bool
				switch {
				case method == http.MethodOptions: // a preflight, which tells methods and nothing else
					fine = got == http.StatusNoContent
				case public && there:
					fine = got == http.StatusOK
				case there:
					fine = got == http.StatusUnauthorized || got == http.StatusForbidden
				case methods == nil: // no handshake
					fine = got == http.StatusBadRequest || got == http.StatusUpgradeRequired || got == http.StatusMethodNotAllowed
				default:
					fine = got == http.StatusMethodNotAllowed
				}
				if !fine {
					t.Errorf("%s %s with %q: got %d", method, path, credential, got)
				}
			}
		}
	}
	if got := try(t, h, http.MethodGet, "/threads/other", "Bearer secret-token").Code; got != http.StatusOK {
		t.Errorf("with a credential: got %d, want 200", got)
	}
}

// TestNoSpellingOfAPathGoesAroundTheCredential writes paths as proxies and browsers do not.
func TestNoSpellingOfAPathGoesAroundTheCredential(t *testing.T) {
	m := scanned(t)
	h := m.ClientAPI()
	for _, path := range []string{
		"//threads/t", "/threads//t", "/threads/t/", "/threads/./t", "/threads/../threads/t", "/threads/%2e%2e/t", "/threads%2ft", "/%74hreads/t",
		"/ws/config/../../threads/t", "/ws/config/%2e%2e/%2e%2e/threads/t", "/ws/config/..%2f..%2fthreads%2ft", "/THREADS/t", "/threads/t%00",
		"/threads/t;x=1", "/healthz/../threads/t", "/ws/", "/ws/..", "/events/", "/events?ticket=", "/events?ticket=tk_x", "/threads/t?ticket=tk_x",
		"/messages/", "/metrics", "/debug/pprof/", "/debug/vars", "/.git/config", "/api/v1/stats", "/", "/favicon.ico", "/ws/stats", "/ws/test",
	} {
		for _, method := range allMethods {
			rec := try(t, h, method, path, "")
			if rec.Code < 300 && method != http.MethodOptions {
				t.Errorf("%s %s: got %d %s", method, path, rec.Code, rec.Body)
			}
			if to := rec.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
				t.Errorf("%s %s leads away, to %s", method, path, to)
			}
		}
	}
}
