package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

func TestDevelopmentLetsInThisMachineOnly(t *testing.T) {
	tests := []struct {
		name, peer, host, origin, token string
		want                            bool
	}{
		{"this machine", "127.0.0.1:5000", "127.0.0.1:8080", "", "", true},
		{"by name", "127.0.0.1:5000", "localhost:8080", "", "", true},
		{"IPv6", "[::1]:5000", "[::1]:8080", "http://[::1]:5173", "", true},
		{"IPv6 without port", "[::1]:5000", "[::1]", "", "", true},
		{"mapped", "[::ffff:127.0.0.1]:5000", "127.8.9.1", "", "", true},
		{"page of this machine", "127.0.0.1:5000", "localhost", "http://localhost:5173", "", true},
		{"another machine", "192.0.2.1:5000", "localhost", "", "", false},
		{"private network", "10.0.0.1:5000", "localhost", "", "", false},
		{"name that was made to resolve here", "127.0.0.1:5000", "evil.example:8080", "", "", false},
		{"name that looks like it", "127.0.0.1:5000", "localhost.evil.example", "", "", false},
		{"page of the internet", "127.0.0.1:5000", "localhost", "https://evil.example", "", false},
		{"page without a name", "127.0.0.1:5000", "localhost", "null", "", false},
		{"with a credential", "127.0.0.1:5000", "localhost", "", "abc", false},
		{"no address", "", "localhost", "", "", false},
	}
	a := auth.Development()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.RemoteAddr, r.Host = test.peer, test.host
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			id, err := a(t.Context(), switchboard.Credential{Token: test.token, Request: r})
			if (err == nil) != test.want {
				t.Fatalf("got %+v, %v, want let in: %v", id, err, test.want)
			}
			why := switchboard.ErrUnauthenticated
			if strings.HasPrefix(test.name, "page") {
				why = switchboard.ErrForbidden
			}
			if err != nil && !errors.Is(err, why) {
				t.Errorf("got %v, want %v", err, why)
			}
		})
	}
}

func TestDevelopmentNamesItsUser(t *testing.T) {
	for path, want := range map[string]string{"/ws": auth.DevelopmentUser, "/ws?user=carol": "carol", "/ws?user=a%0Ab": ""} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr, r.Host = "127.0.0.1:5000", "localhost"
		before := time.Now()
		got, err := auth.Development()(t.Context(), switchboard.Credential{Request: r})
		if want == "" {
			if !errors.Is(err, switchboard.ErrUnauthenticated) {
				t.Errorf("%s: got %v, want %v", path, err, switchboard.ErrUnauthenticated)
			}
			continue
		}
		if got.Issued.Before(before) || got.Issued.After(time.Now()) {
			t.Errorf("%s: issued at %v, want now", path, got.Issued)
		}
		got.Issued = time.Time{}
		if diff := cmp.Diff(switchboard.Identity{User: want, Permissions: []string{"room:*:*"}}, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", path, err, diff)
		}
	}
}

func TestDevelopmentCannotRefresh(t *testing.T) {
	if _, err := auth.Development()(t.Context(), switchboard.Credential{}); !errors.Is(err, switchboard.ErrUnauthenticated) {
		t.Errorf("got %v, want %v", err, switchboard.ErrUnauthenticated)
	}
}
