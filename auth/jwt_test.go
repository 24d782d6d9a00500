package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret() []byte { return []byte("0123456789abcdef0123456789abcdef") }

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newJWT(t testing.TB, j auth.JWT) switchboard.Authenticator {
	t.Helper()
	j.Secret = secret()
	a, err := auth.NewJWT(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestATokenSaysWhoTheUserIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exp := time.Now().Add(time.Hour)
		tests := []struct {
			name   string
			claims jwt.MapClaims
			want   switchboard.Identity
		}{
			{
				"everything",
				jwt.MapClaims{
					"sub": "alice", "tenant": "acme", "exp": exp.Unix(), "iat": time.Now().Unix(), "nbf": time.Now().Unix(),
					"jti": "j1", "sid": "s1", "permissions": []string{"room:team:*", "trade"},
				},
				switchboard.Identity{
					Tenant: "acme", User: "alice", Permissions: []string{"room:team:*", "trade"}, Expires: exp, TokenID: "j1", SID: "s1",
					Issued: time.Unix(time.Now().Unix(), 0),
				},
			},
			{"user_id instead of sub", jwt.MapClaims{"user_id": "bob", "exp": exp.Unix()}, switchboard.Identity{User: "bob", Expires: exp}},
			{"both the same", jwt.MapClaims{"sub": "bob", "user_id": "bob", "exp": exp.Unix()}, switchboard.Identity{User: "bob", Expires: exp}},
			{"a clock that goes before", jwt.MapClaims{"sub": "bob", "exp": exp.Unix(), "nbf": time.Now().Add(20 * time.Second).Unix()}, switchboard.Identity{User: "bob", Expires: exp}},
		}
		a := newJWT(t, auth.JWT{Tenants: []string{"", "acme"}})
		for _, test := range tests {
			got, err := a(t.Context(), switchboard.Credential{Token: sign(t, jwt.SigningMethodHS256, secret(), test.claims)})
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
		}
	})
}

func TestATokenThatIsNotGoodIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		good := func(change func(jwt.MapClaims)) jwt.MapClaims {
			c := jwt.MapClaims{"sub": "alice", "iss": "login", "aud": []string{"chat", "mail"}, "exp": now.Add(time.Hour).Unix()}
			change(c)
			return c
		}
		hs := func(change func(jwt.MapClaims)) string {
			return sign(t, jwt.SigningMethodHS256, secret(), good(change))
		}
		nothing := func(jwt.MapClaims) {}
		valid := hs(nothing)
		parts := strings.Split(valid, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
		tests := map[string]string{
			"empty":              "",
			"no token":           "abc",
			"another secret":     sign(t, jwt.SigningMethodHS256, []byte("another secret that is long enough"), good(nothing)),
			"another algorithm":  sign(t, jwt.SigningMethodHS512, secret(), good(nothing)),
			"no algorithm":       none,
			"no signature":       parts[0] + "." + parts[1] + ".",
			"other content":      parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"bob","exp":99999999999}`)) + "." + parts[2],
			"expired":            hs(func(c jwt.MapClaims) { c["exp"] = now.Unix() }),
			"no expiry":          hs(func(c jwt.MapClaims) { delete(c, "exp") }),
			"not yet":            hs(func(c jwt.MapClaims) { c["nbf"] = now.Add(time.Minute).Unix() }),
			"from the future":    hs(func(c jwt.MapClaims) { c["iat"] = now.Add(time.Minute).Unix() }),
			"no user":            hs(func(c jwt.MapClaims) { delete(c, "sub") }),
			"two users":          hs(func(c jwt.MapClaims) { c["user_id"] = "bob" }),
			"another tenant":     hs(func(c jwt.MapClaims) { c["tenant"] = "other" }),
			"another issuer":     hs(func(c jwt.MapClaims) { c["iss"] = "evil" }),
			"another audience":   hs(func(c jwt.MapClaims) { c["aud"] = "mail" }),
			"user is a number":   hs(func(c jwt.MapClaims) { c["sub"] = 7 }),
			"permissions a text": hs(func(c jwt.MapClaims) { c["permissions"] = "room:*:*" }),
		}
		a := newJWT(t, auth.JWT{Issuer: "login", Audience: "chat"})
		if _, err := a(t.Context(), switchboard.Credential{Token: valid}); err != nil {
			t.Fatalf("the good token: %v", err)
		}
		for name, token := range tests {
			id, err := a(t.Context(), switchboard.Credential{Token: token})
			if !errors.Is(err, switchboard.ErrUnauthenticated) || id.User != "" {
				t.Errorf("%s: got %+v, %v, want %v", name, id, err, switchboard.ErrUnauthenticated)
			}
		}
	})
}

func TestClaimsAreKeptWhenAskedFor(t *testing.T) {
	token := sign(t, jwt.SigningMethodHS256, secret(), jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "plan": "gold"})
	for _, keep := range []bool{true, false} {
		id, err := newJWT(t, auth.JWT{KeepClaims: keep})(t.Context(), switchboard.Credential{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Plan string }
		if keep {
			if err := json.Unmarshal(id.Claims, &got); err != nil {
				t.Fatal(err)
			}
		}
		if (got.Plan == "gold") != keep || (id.Claims != nil) != keep {
			t.Errorf("keep %v: got claims %s", keep, id.Claims)
		}
	}
}

func TestNewJWTRefusesAWeakSecretAndABadTenant(t *testing.T) {
	for name, j := range map[string]auth.JWT{
		"no secret":    {},
		"short secret": {Secret: secret()[:31]},
		"bad tenant":   {Secret: secret(), Tenants: []string{"a\nb"}},
	} {
		if _, err := auth.NewJWT(context.Background(), j); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func FuzzJWT(f *testing.F) {
	a := newJWT(f, auth.JWT{})
	exp := time.Now().Add(24 * time.Hour).Unix()
	f.Add(sign(f, jwt.SigningMethodHS256, secret(), jwt.MapClaims{"sub": "alice", "exp": exp}))
	f.Add(raw(f, `{"alg":"HS256","crit":["exp"]}`, fmt.Sprintf(`{"sub":"alice","exp":%d}`, exp)))
	f.Add(raw(f, plainHeader, fmt.Sprintf(`{"sub":"alice","sub":"bob","exp":%d}`, exp)))
	f.Add(raw(f, plainHeader, `{"sub":"alice","exp":"1e999"}`))
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := a(t.Context(), switchboard.Credential{Token: token})
		if user, ok := reference(token); err == nil && (!ok || id.User != user || id.Tenant != "") {
			t.Errorf("accepted %q as %+v", token, id)
		}
	})
}
