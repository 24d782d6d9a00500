package server

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// calls returns every call that the router knows, from the description that it serves.
func calls(t *testing.T, a *api) []request {
	t.Helper()
	all := []request{{method: http.MethodGet, path: "/api/openapi.json"}}
	for path, item := range a.huma.OpenAPI().Paths {
		path = strings.NewReplacer("{id}", "conn_1", "{user}", "alice", "{run}", "R", "{stream}", "answer", "{room}", "team").Replace(path)
		if strings.Contains(path, "{") {
			t.Fatalf("got path %s: tell this test what to put in", path)
		}
		for method, op := range map[string]bool{
			http.MethodGet: item.Get != nil, http.MethodPost: item.Post != nil, http.MethodPut: item.Put != nil,
			http.MethodDelete: item.Delete != nil, http.MethodPatch: item.Patch != nil,
		} {
			if op {
				all = append(all, request{method: method, path: path})
			}
		}
	}
	if len(all) < 7 {
		t.Fatalf("got %d calls, want all of them", len(all))
	}
	return all
}

func testAPI(t *testing.T, keys ...APIKey) *api {
	t.Helper()
	m, err := switchboard.New(switchboard.Options{Auth: byName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
	})
	a, err := newAPI(m, Config{APIKeys: keys, Limits: switchboard.Limits{GuessesPerAddress: -1}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve answers a request without a network.
func serve(h http.Handler, r request) answer {
	req := httptest.NewRequest(r.method, r.path, strings.NewReader(r.body))
	maps.Copy(req.Header, r.header)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return answer{status: w.Code, header: w.Header(), body: w.Body.Bytes()}
}

func TestEveryCallDemandsAKey(t *testing.T) {
	a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey)})
	unknown := []request{{method: "GET", path: "/api/"}, {method: "GET", path: "/api/v1/nothing"}, {method: "GET", path: "/api/docs"}, {method: "PUT", path: "/api/v1/publish"}}
	for _, c := range append(calls(t, a), unknown...) {
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + testKey, testKey, "Bearer " + testKey + "x"} {
			c.header = http.Header{"Authorization": {header}}
			got := serve(a, c)
			if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("got %d for %s %s with %q, want 401 and WWW-Authenticate", got.status, c.method, c.path, header)
				continue
			}
			if p := got.problem(t); p.Code != wire.CodeAuthError {
				t.Errorf("got code %s for %s %s, want %s", p.Code, c.method, c.path, wire.CodeAuthError)
			}
		}
	}
}

func TestEveryCallNeedsItsScope(t *testing.T) {
	bearer := http.Header{"Authorization": {"Bearer " + testKey}}
	granted := map[string][]Scope{}
	for _, scope := range Scopes() {
		a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey), Scopes: []Scope{scope}})
		for _, c := range calls(t, a) {
			c.header = bearer
			name := c.method + " " + c.path
			if got := serve(a, c); got.status != http.StatusForbidden {
				granted[name] = append(granted[name], scope)
			}
		}
	}
	want := map[string][]Scope{
		"GET /api/openapi.json":                   Scopes(),
		"POST /api/v1/publish":                    {ScopePublish},
		"POST /api/v1/publish/batch":              {ScopePublish},
		"POST /api/v1/tickets":                    {ScopeTickets},
		"GET /api/v1/history":                     {ScopeRead},
		"GET /api/v1/receipts":                    {ScopeRead},
		"GET /api/v1/connections":                 {ScopeMonitor},
		"GET /api/v1/nodes":                       {ScopeMonitor},
		"POST /api/v1/nodes/conn_1/drain":         {ScopeManage},
		"GET /api/v1/stats":                       {ScopeMonitor},
		"GET /api/v1/tenant":                      {ScopeMonitor},
		"GET /api/v1/audit":                       {ScopeAudit},
		"DELETE /api/v1/connections/conn_1":       {ScopeManage},
		"DELETE /api/v1/users/alice/connections":  {ScopeManage},
		"GET /api/v1/rooms/team":                  {ScopeRead},
		"GET /api/v1/rooms/team/members":          {ScopeRead},
		"PUT /api/v1/rooms/team/members/alice":    {ScopeManage},
		"DELETE /api/v1/rooms/team/members/alice": {ScopeManage},
		"POST /api/v1/revocations":                {ScopeManage},
		"GET /api/v1/revocations":                 {ScopeManage},
		"DELETE /api/v1/revocations/conn_1":       {ScopeManage},
		"POST /api/v1/runs":                       {ScopePublish},
		"GET /api/v1/runs/R":                      {ScopeRead},
		"POST /api/v1/runs/R/events":              {ScopePublish},
		"POST /api/v1/runs/R/complete":            {ScopePublish},
		"POST /api/v1/runs/R/fail":                {ScopePublish},
		"POST /api/v1/runs/R/cancel":              {ScopePublish},
		"POST /api/v1/runs/R/heartbeat":           {ScopePublish},
		"POST /api/v1/runs/R/streams/answer":      {ScopePublish},
		"GET /api/v1/runs/R/streams/answer":       {ScopeRead},
		"GET /api/v1/threads/conn_1":              {ScopeRead},
		"GET /api/v1/presence/users/alice":        {ScopeRead},
		"GET /api/v1/presence/rooms/team":         {ScopeRead},
		"GET /ws/stats":                           {ScopeMonitor},
	}
	for name, scopes := range want {
		if !slices.Equal(granted[name], scopes) {
			t.Errorf("got scopes %v for %s, want %v", granted[name], name, scopes)
		}
		delete(granted, name)
	}
	if len(granted) > 0 {
		t.Errorf("got calls %v that this test does not know", granted)
	}
}

func TestAKeySpeaksForItsTenantsOnly(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tenants []string
		header  []string
		tenant  string
		ok      bool
	}{
		{"no tenants, no header", nil, nil, "", true},
		{"no tenants, empty header", nil, []string{""}, "", true},
		{"no tenants, a header", nil, []string{"acme"}, "acme", false},
		{"one tenant, no header", []string{"acme"}, nil, "acme", true},
		{"one tenant, its header", []string{"acme"}, []string{"acme"}, "acme", true},
		{"one tenant, empty header", []string{"acme"}, []string{""}, "", false},
		{"one tenant, another header", []string{"acme"}, []string{"ajax"}, "ajax", false},
		{"two tenants, no header", []string{"acme", "ajax"}, nil, "", false},
		{"two tenants, one header", []string{"acme", "ajax"}, []string{"ajax"}, "ajax", true},
		{"two tenants, two headers", []string{"acme", "ajax"}, []string{"acme", "ajax"}, "", false},
		{"default and another, no header", []string{"", "acme"}, nil, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/stats", nil)
			r.Header[tenantHeader] = tt.header
			key := APIKey{Tenants: tt.tenants}
			if tenant, ok := key.tenant(r); ok != tt.ok || ok && tenant != tt.tenant {
				t.Errorf("got tenant %q %v, want %q %v", tenant, ok, tt.tenant, tt.ok)
			}
		})
	}
}

func TestAnotherTenantIsRefused(t *testing.T) {
	a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey), Tenants: []string{"acme"}})
	for _, c := range calls(t, a) {
		c.header = http.Header{"Authorization": {"Bearer " + testKey}, tenantHeader: {"ajax"}}
		got := serve(a, c)
		if p := got.problem(t); p.Status != http.StatusForbidden || p.Code != wire.CodeForbidden {
			t.Errorf("got %d %s for %s %s, want 403 FORBIDDEN", p.Status, p.Code, c.method, c.path)
		}
	}
}

func TestKeysThatCannotWorkAreRefusedAtTheStart(t *testing.T) {
	good := HashKey("k")
	for _, tt := range []struct {
		name string
		keys []APIKey
		want string
	}{
		{"no name", []APIKey{{Hash: good}}, "needs a name"},
		{"no key", []APIKey{{Name: "a"}}, `"a" has no key`},
		{"empty key", []APIKey{{Name: "a", Hash: HashKey("")}}, `"a" has no key`},
		{"same name", []APIKey{{Name: "a", Hash: good}, {Name: "a", Hash: HashKey("l")}}, `called "a"`},
		{"unknown scope", []APIKey{{Name: "a", Hash: good, Scopes: []Scope{"all"}}}, `no scope "all"`},
		{"bad tenant", []APIKey{{Name: "a", Hash: good, Tenants: []string{"a\x07"}}}, "control characters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config()
			cfg.APIKeys = tt.keys
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestTwoKeysAreGoodWhileOneIsExchanged(t *testing.T) {
	ring := keyring{{Name: "shop-2026", Hash: HashKey("former")}, {Name: "shop-2027", Hash: HashKey("next")}}
	for token, name := range map[string]string{"former": "shop-2026", "next": "shop-2027"} {
		if k, err := ring.of(&http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}); err != nil || k.Name != name {
			t.Errorf("%s: got %v, %v, want %s", token, k, err, name)
		}
	}
}

func TestACallWithTwoAuthorizationHeadersIsRefused(t *testing.T) {
	a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey)})
	for _, values := range [][]string{{"Bearer " + testKey, "Bearer " + testKey}, {"Bearer wrong", "Bearer " + testKey}, {"Bearer " + testKey, "Basic x"}} {
		for _, c := range calls(t, a) {
			c.header = http.Header{"Authorization": values}
			if got := serve(a, c); got.status != http.StatusUnauthorized {
				t.Errorf("%q: got %d for %s %s, want 401", values, got.status, c.method, c.path)
			}
		}
	}
}

// FuzzAPIKeyHeader holds that nothing but the key itself, behind the scheme, is the key.
func FuzzAPIKeyHeader(f *testing.F) {
	ring := keyring{{Name: "test", Hash: HashKey(testKey)}}
	for _, seed := range []string{"Bearer " + testKey, "bearer  " + testKey, "Bearer " + testKey + ", x", "Basic " + testKey, "Bearer", testKey, ""} {
		f.Add(seed, "")
		f.Add("", seed)
	}
	f.Fuzz(func(t *testing.T, header, second string) {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		if second != "" {
			r.Header["Authorization"] = append(r.Header["Authorization"], second)
		}
		_, err := ring.of(r)
		scheme, key, _ := strings.Cut(header, " ")
		want := second == "" && strings.EqualFold(scheme, "Bearer") && strings.TrimLeft(key, " ") == testKey
		if (err == nil) != want {
			t.Errorf("got %v for %q and %q, want accepted: %v", err, header, second, want)
		}
	})
}
