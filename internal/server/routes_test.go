package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard"
)

// newTestAPI is the API with keys of two tenants and of each scope, and a manager behind it.
func newTestAPI(t *testing.T) (*api, http.Handler) {
	t.Helper()
	m, err := switchboard.New(switchboard.Options{Auth: byName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cfg := config()
	cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: "other", Hash: HashKey("sk_other"), Tenants: []string{"other"}})
	for _, scope := range Scopes() {
		cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: string(scope), Hash: HashKey("sk_" + string(scope)), Scopes: []Scope{scope}})
	}
	a, err := newAPI(m, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Limits.GuessesPerAddress = -1 // all requests have one address
	h, err := newHandler(m, cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a, h
}

// tryCall makes a request for the tenant without a name.
func tryCall(h http.Handler, method, path, credential string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://switchboard.test"+path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(tenantHeader, "")
	if credential != "" {
		r.Header.Set("Authorization", credential)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// operations are the calls of the API, from its own description, which a call cannot be left out of.
func (a *api) operations() (all [][2]string) {
	for path, item := range a.huma.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete, http.MethodPatch: item.Patch,
		} {
			if op != nil {
				all = append(all, [2]string{method, strings.NewReplacer("{", "x", "}", "").Replace(path)})
			}
		}
	}
	return all
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, "BREW",
}

// TestEveryCallOfTheAPIWantsAKey tries every call, every method and some paths that do not exist
// without a key, with a wrong one and with what is a credential elsewhere.
func TestEveryCallOfTheAPIWantsAKey(t *testing.T) {
	a, h := newTestAPI(t)
	calls := a.operations()
	if len(calls) < 15 {
		t.Fatalf("got %d calls, want all of the API", len(calls))
	}
	paths := []string{"/api/openapi.json", "/api/", "/api/v1", "/api/v2/publish", "/api/v1/publish/", "/api//v1/publish", "/api/v1/%2e%2e/v1/stats", "/api/v1/stats%00"}
	for _, call := range calls {
		paths = append(paths, call[1])
	}
	for _, path := range paths {
		for _, method := range methods {
			for _, credential := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer alice", "Basic c2tfdGVzdDo=", testKey, "Bearer swt_AAAA", "Bearer tk_AAAA", "Bearer " + testKey + "x"} {
				rec := tryCall(h, method, path, credential)
				if rec.Code == http.StatusUnauthorized && len(rec.Body.String()) < 300 || rec.Code == http.StatusTemporaryRedirect || rec.Code == http.StatusMovedPermanently {
					continue // a redirect of the mux, to the clean path, which says no more
				}
				t.Errorf("%s %s with %q: got %d %s, want 401", method, path, credential, rec.Code, rec.Body)
			}
		}
	}
}

// TestEveryCallOfTheAPIBelongsToOneScopeAndTenant: a key of another tenant gets 403, and of the
// keys that are limited to one scope exactly one may make the call.
func TestEveryCallOfTheAPIBelongsToOneScopeAndTenant(t *testing.T) {
	a, h := newTestAPI(t)
	for _, call := range a.operations() {
		if got := tryCall(h, call[0], call[1], "Bearer sk_other").Code; got != http.StatusForbidden {
			t.Errorf("%s %s with a key of another tenant: got %d, want 403", call[0], call[1], got)
		}
		var may []Scope
		for _, scope := range Scopes() {
			rec := tryCall(h, call[0], call[1], "Bearer sk_"+string(scope))
			if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "has no scope") {
				may = append(may, scope)
			}
		}
		if len(may) != 1 {
			t.Errorf("%s %s: keys of %v may make it, want one scope", call[0], call[1], may)
		}
	}
}

// TestAnAPIKeyIsNoCredentialOfAClient: the doors have keys of their own.
func TestAnAPIKeyIsNoCredentialOfAClient(t *testing.T) {
	cfg := config()
	cfg.Auth = func(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		if cred.Token == "alice" {
			return switchboard.Identity{User: "alice"}, nil
		}
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	n := start(t, cfg)
	for _, r := range []request{
		{method: http.MethodGet, path: "/threads/t"}, {method: http.MethodPost, path: "/websocket/ticket", body: "{}"},
		{method: http.MethodGet, path: "/events"}, {method: http.MethodPost, path: "/messages", body: "{}"},
	} {
		if got := n.call(t, r); got.status != http.StatusUnauthorized {
			t.Errorf("%s %s with an API key: got %d %s, want 401", r.method, r.path, got.status, got.body)
		}
	}
}

// TestWhatIsPublicInDevelopmentIsOnAList: each of the routes that only development has is here,
// answers nobody who came by a name of the internet, and is not there in production.
func TestWhatIsPublicInDevelopmentIsOnAList(t *testing.T) {
	public := []string{"GET /dev/config", "POST /dev/link", "POST " + reportPath}
	passed := []string{"/", "/ws", "/websocket"} // to what all servers have
	d, err := newDevelopment(Config{Development: true}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, production := newTestAPI(t)
	h := d.handler(http.NotFoundHandler())
	for pattern := range d.routes(http.NotFoundHandler()) {
		if slices.Contains(passed, pattern) {
			continue
		}
		if !slices.Contains(public, pattern) {
			t.Errorf("%s is new: is it for everybody?", pattern)
		}
		method, path, _ := strings.Cut(pattern, " ")
		r := httptest.NewRequest(method, "http://rebound.example"+path, io.NopCloser(strings.NewReader("{}")))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s by a name of the internet: got %d, want 421", pattern, rec.Code)
		}
		if got := tryCall(production, method, path, "").Code; got != http.StatusNotFound {
			t.Errorf("%s in production: got %d, want 404", pattern, got)
		}
	}
}
