package server

import (
	"net/http"
	"testing"
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
		for _, path := range []string{"/api/v1/stats", "/api/v1/nodes"} {
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
	if got := counted("key of a"); got.BackendPublished != 3 || got.BackendBytes != 6 {
		t.Errorf("got %+v of the one that published", got)
	}
	if got := counted("key of b"); got != (tenantAnswer{}) {
		t.Errorf("got %+v of the other, want nothing", got)
	}
	if got := serve(a, request{method: http.MethodGet, path: "/api/v1/tenant", header: as("key of b", "a")}); got.status != http.StatusForbidden {
		t.Errorf("got %d for another tenant, want 403", got.status)
	}
}
