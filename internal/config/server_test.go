package config

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/netra-systems/switchboard"
)

func login(context.Context, switchboard.Credential) (switchboard.Identity, error) {
	return switchboard.Identity{}, switchboard.ErrUnauthenticated
}

func TestTokensAreCheckedAsConfigured(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		claims     jwt.MapClaims
		want       bool
	}{
		{"no tenant", "", nil, true},
		{"a tenant", "", jwt.MapClaims{"tenant": "acme"}, false},
		{"an empty list of tenants", "jwt-tenant: []", nil, true},
		{"a tenant that may be", "jwt-tenant: acme", jwt.MapClaims{"tenant": "acme"}, true},
		{"none where there must be one", "jwt-tenant: acme", nil, false},
		{"none where there may be one", `jwt-tenant: [acme, ""]`, nil, true},
		{"the issuer", "jwt-issuer: i", jwt.MapClaims{"iss": "i"}, true},
		{"another issuer", "jwt-issuer: i", jwt.MapClaims{"iss": "j"}, false},
		{"another audience", "jwt-audience: a", jwt.MapClaims{"aud": "b"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := load(t, Sources{File: file(t, good+tt.file)}).Server(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
			maps.Copy(claims, tt.claims)
			token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(goodSecret))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cfg.Auth(t.Context(), switchboard.Credential{Token: token}); (err == nil) != tt.want {
				t.Errorf("got %v, want accepted: %v", err, tt.want)
			}
		})
	}
}

func TestAnotherServerIsAskedAsConfigured(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{"user":"alice","tenant":"acme"}`) //nolint:errcheck // who asks may hang up
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // before the server closes: connections are kept until then
	for tenant, want := range map[string]error{"acme": nil, "ajax": switchboard.ErrUnauthenticated} {
		l := load(t, Sources{File: file(t, "allowed-origin: https://a.test\nauth-url: "+srv.URL+"\njwt-tenant: "+tenant)})
		cfg, err := l.Server(ctx, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := cfg.Auth(ctx, switchboard.Credential{Token: "good"}); !errors.Is(err, want) || (err == nil) != (id.User == "alice") {
			t.Errorf("%s: got %+v, %v, want %v", tenant, id, err, want)
		}
		if _, err := cfg.Auth(ctx, switchboard.Credential{Token: "bad"}); !errors.Is(err, switchboard.ErrUnauthenticated) {
			t.Errorf("%s: got %v, want %v", tenant, err, switchboard.ErrUnauthenticated)
		}
	}
}

func TestOneThingChecksTokens(t *testing.T) {
	const base = "allowed-origin: https://a.test\nauth-url: "
	for text, want := range map[string]string{
		base + "https://login.test/who\njwt-secret: " + goodSecret:     "auth-url does not go with jwt-secret",
		base + "https://login.test/who\njwks: https://login.test/keys": "auth-url does not go with jwks",
		base + "https://login.test/who\njwt-issuer: i":                 "auth-url does not go with jwt-issuer",
		base + "https://login.test/who\njwt-audience: a":               "auth-url does not go with jwt-audience",
		base + "http://login.test/who":                                 "auth-url must be https",
		base + "login.test":                                            "auth-url must be a URL",
		base + "https://login.test/who\njwt-tenant: \"a\\tb\"":         "jwt-tenant",
	} {
		_, err := Load(Sources{File: file(t, text)})
		if problems, _ := errors.AsType[Problems](err); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("got %q, want one problem with %q", problems, want)
		}
	}
}

func TestAServerDoesNotStartWithoutTheKeysOfTokens(t *testing.T) {
	l := load(t, Sources{File: file(t, "allowed-origin: '*'\njwks: http://127.0.0.1:1/keys\njwt-issuer: i\njwt-audience: a\n")})
	_, err := l.Server(t.Context(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1/keys") {
		t.Errorf("got %v, want an error with the URL", err)
	}
	if _, ok := errors.AsType[Problems](err); ok {
		t.Errorf("got %v as a problem of the configuration, want that it may be right", err)
	}
}
