package config

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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
