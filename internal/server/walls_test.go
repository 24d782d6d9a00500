package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAKeyOfNamedTenantsDoesNotSeeWhatTheNodeCounts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tenants []string
		want    int
	}{
		{"no tenants", nil, http.StatusOK},
		{"the one without a name and another", []string{"", "acme"}, http.StatusOK},
		{"one with a name", []string{"acme"}, http.StatusForbidden},
	} {
		a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey), Tenants: tt.tenants})
		for _, path := range []string{"/api/v1/stats", "/ws/stats", "/api/v1/nodes"} {
			got := serve(a, request{method: http.MethodGet, path: path, header: http.Header{"Authorization": {"Bearer " + testKey}}})
			if got.status != tt.want {
				t.Errorf("%s: got %d for %s, want %d", tt.name, got.status, path, tt.want)
			}
		}
	}
}

func TestAKeySeesTheCountersOfItsTenantOnly(t *testing.T) {
	a := testAPI(t,
		APIKey{Name: "a", Hash: HashKey("key of a"), Tenants: []string{"a"}}, APIKey{Name: "b", Hash: HashKey("key of b"), Tenants: []string{"b"}})
	as := func(key, tenant string) http.Header {
		h := http.Header{"Authorization": {"Bearer " + key}}
		if tenant != "" {
			h.Set(tenantHeader, tenant)
		}
		return h
	}
	for range 3 {
		body := `{"to":{"user":"alice"},"type":"x","payload":{}}`
		if got := serve(a, request{method: http.MethodPost, path: "/api/v1/publish", header: as("key of a", ""), body: body}); got.status != http.StatusOK {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	counted := func(key string) (got tenantAnswer) {
		serve(a, request{method: http.MethodGet, path: "/api/v1/tenant", header: as(key, "")}).decode(t, &got)
		return got
	}
	if got := counted("key of a"); got.BackendPublished != 3 || got.BackendBytes != 6 || *got.HistoryBytes == 0 {
		t.Errorf("got %+v of the one that published", got)
	}
	if got := counted("key of b"); got != (tenantAnswer{HistoryBytes: got.HistoryBytes, HistoryEvicted: got.HistoryEvicted}) ||
		*got.HistoryBytes+int64(*got.HistoryEvicted) != 0 {
		t.Errorf("got %+v of the other, want nothing", got)
	}
	if got := serve(a, request{method: http.MethodGet, path: "/api/v1/tenant", header: as("key of b", "a")}); got.status != http.StatusForbidden {
		t.Errorf("got %d for another tenant, want 403", got.status)
	}
}

func TestARunMoreThanATenantMayHaveIsRefusedWith429(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: byName, Quota: func(string) switchboard.Quota { return switchboard.Quota{Runs: 1} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a, err := newAPI(m, Config{APIKeys: []APIKey{{Name: "a", Hash: HashKey("key of a")}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, path, body string) answer {
		return serve(a, request{method: method, path: path, header: http.Header{"Authorization": {"Bearer key of a"}}, body: body})
	}
	start := `{"to":{"user":"u"},"agent_name":"a","run_id":"%d"}`
	if got := call(http.MethodPost, "/api/v1/runs", fmt.Sprintf(start, 1)); got.status != http.StatusCreated {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	got := call(http.MethodPost, "/api/v1/runs", fmt.Sprintf(start, 2))
	p := got.problem(t)
	if got.status != http.StatusTooManyRequests || p.Code != wire.CodeRateLimited || p.Details["scope"] != "tenant" || p.Details["limit"] != 1.0 || got.header.Get("Retry-After") != "2" {
		t.Errorf("got %d %s with %v", got.status, got.body, got.header)
	}
	var counted tenantAnswer
	call(http.MethodGet, "/api/v1/tenant", "").decode(t, &counted)
	if counted.Runs != 1 || counted.RunsRefused != 1 || counted.Quota.Runs != 1 {
		t.Errorf("got %+v", counted)
	}
}
