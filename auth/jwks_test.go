package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

// signer is a key of an issuer, with what it publishes of it.
type signer struct {
	id     string
	method jwt.SigningMethod
	key    crypto.Signer
	alg    jwkset.ALG // published; "": not said
}

func newRSA(t testing.TB, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id: id, method: jwt.SigningMethodRS256, key: key, alg: jwkset.AlgRS256}
}

func newECDSA(t testing.TB, id string, curve elliptic.Curve, method jwt.SigningMethod) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id: id, method: method, key: key}
}

func newEd25519(t testing.TB, id string) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id: id, method: jwt.SigningMethodEdDSA, key: key, alg: jwkset.AlgEdDSA}
}

func (s signer) jwk(t testing.TB) jwkset.JWKMarshal {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(s.key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: s.id, ALG: s.alg, USE: jwkset.UseSig}})
	if err != nil {
		t.Fatal(err)
	}
	return k.Marshal()
}

// token signs claims, by default good ones for alice. Header values replace or, if nil,
// remove those that the token would have.
func (s signer) token(t testing.TB, change jwt.MapClaims, header map[string]any) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "https://login.test", "aud": "chat", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	token := jwt.NewWithClaims(s.method, claims)
	token.Header["kid"] = s.id
	for name, v := range header {
		token.Header[name] = v
		if v == nil {
			delete(token.Header, name)
		}
	}
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// issuer is a server that tells public keys.
type issuer struct {
	*httptest.Server
	asked atomic.Int64
	body  atomic.Value // of string
}

func newIssuer(t testing.TB, keys ...signer) *issuer {
	t.Helper()
	i := new(issuer)
	i.publish(t, keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		io.WriteString(w, i.body.Load().(string)) //nolint:errcheck // who asked hangs up on what is too long
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) publish(t testing.TB, keys ...signer) {
	t.Helper()
	var set jwkset.JWKSMarshal
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk(t))
	}
	body, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	i.body.Store(string(body))
}

func (i *issuer) login(t testing.TB) switchboard.Authenticator {
	t.Helper()
	a, err := auth.NewJWT(t.Context(), auth.JWT{JWKS: i.URL, Issuer: "https://login.test", Audience: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wantUser fails the test unless the token is alice's.
func wantUser(t *testing.T, a switchboard.Authenticator, token string) {
	t.Helper()
	if id, err := a(t.Context(), switchboard.Credential{Token: token}); err != nil || id.User != "alice" {
		t.Errorf("got %+v, %v, want alice", id, err)
	}
}

// wantRefused fails the test unless the token is refused with why.
func wantRefused(t *testing.T, a switchboard.Authenticator, token string, why error) {
	t.Helper()
	id, err := a(t.Context(), switchboard.Credential{Token: token})
	if !errors.Is(err, why) || id.User != "" {
		t.Errorf("got %+v, %v, want %v", id, err, why)
	}
	if other := switchboard.ErrUnavailable; !errors.Is(why, other) && errors.Is(err, other) {
		t.Errorf("got %v, want a refusal that is for good", err)
	}
}

func TestTokensOfPublishedKeysAreAccepted(t *testing.T) {
	pss := newRSA(t, "pss")
	pss.method, pss.alg = jwt.SigningMethodPS512, ""
	keys := []signer{
		newRSA(t, "rsa"), pss, newEd25519(t, "ed"),
		newECDSA(t, "p256", elliptic.P256(), jwt.SigningMethodES256),
		newECDSA(t, "p384", elliptic.P384(), jwt.SigningMethodES384),
		newECDSA(t, "p521", elliptic.P521(), jwt.SigningMethodES512),
	}
	a := newIssuer(t, keys...).login(t)
	for _, k := range keys {
		t.Run(k.id, func(t *testing.T) { wantUser(t, a, k.token(t, nil, nil)) })
	}
}

func TestATokenThatTheKeysDoNotCoverIsRefused(t *testing.T) {
	rsaKey, edKey := newRSA(t, "rsa"), newEd25519(t, "ed")
	ecKey := newECDSA(t, "ec", elliptic.P256(), jwt.SigningMethodES256)
	a := newIssuer(t, rsaKey, edKey, ecKey).login(t)

	der, err := x509.MarshalPKIXPublicKey(rsaKey.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := rsaKey.token(t, nil, nil)
	payload := strings.Split(good, ".")[1]
	hmac := func(secret []byte) string {
		token := jwt.New(jwt.SigningMethodHS256)
		token.Header["kid"] = "rsa"
		head, err := token.SigningString()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Split(head, ".")[0] + "." + payload
		sig, err := jwt.SigningMethodHS256.Sign(text, secret)
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	head := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	otherAlg := rsaKey
	otherAlg.method = jwt.SigningMethodRS512
	stranger := newRSA(t, "rsa")
	for name, token := range map[string]string{
		"HS256 with the public key as PEM": hmac(public),
		"HS256 with the public key as DER": hmac(der),
		"HS256 with the modulus":           hmac(rsaKey.key.Public().(*rsa.PublicKey).N.Bytes()),
		"none":                             head(`{"alg":"none","kid":"rsa"}`) + "." + payload + ".",
		"no algorithm":                     head(`{"kid":"rsa"}`) + "." + payload + "." + strings.Split(good, ".")[2],
		"no signature":                     good[:strings.LastIndex(good, ".")+1],
		"another's key of that name":       stranger.token(t, nil, nil),
		"an algorithm the key is not for":  otherAlg.token(t, nil, nil),
		"the id of a key of another type":  rsaKey.token(t, nil, map[string]any{"kid": "ed"}),
		"an id that is not known":          rsaKey.token(t, nil, map[string]any{"kid": "other"}),
		"an id that is no text":            rsaKey.token(t, nil, map[string]any{"kid": 7}),
		"a key of its own":                 stranger.token(t, nil, map[string]any{"kid": nil, "jwk": stranger.jwk(t)}),
		"another issuer":                   rsaKey.token(t, jwt.MapClaims{"iss": "https://evil.test"}, nil),
		"no issuer":                        rsaKey.token(t, jwt.MapClaims{"iss": ""}, nil),
		"another audience":                 rsaKey.token(t, jwt.MapClaims{"aud": "mail"}, nil),
		"no audience":                      rsaKey.token(t, jwt.MapClaims{"aud": []string{}}, nil),
		"expired":                          rsaKey.token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Second).Unix()}, nil),
		"another tenant":                   rsaKey.token(t, jwt.MapClaims{"tenant": "acme"}, nil),
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, token, switchboard.ErrUnauthenticated) })
	}
	wantUser(t, a, good)
}

func TestATokenNeedNotNameTheOnlyKey(t *testing.T) {
	one, two := newEd25519(t, "one"), newEd25519(t, "two")
	unnamed := one.token(t, nil, map[string]any{"kid": nil})
	wantUser(t, newIssuer(t, one).login(t), unnamed)
	wantUser(t, newIssuer(t, one, newRSA(t, "rsa")).login(t), unnamed) // the other cannot be meant
	wantRefused(t, newIssuer(t, one, two).login(t), unnamed, switchboard.ErrUnauthenticated)
}

// The servers of these tests are outside of the bubble, in which time stands still while
// something waits for the network.

func TestANewKeyIsFetchedByTheFirstTokenThatNamesIt(t *testing.T) {
	former, next := newEd25519(t, "1"), newEd25519(t, "2")
	i := newIssuer(t, former)
	synctest.Test(t, func(t *testing.T) {
		a := i.login(t)
		i.publish(t, next)
		var together sync.WaitGroup
		for range 20 {
			together.Go(func() { wantUser(t, a, next.token(t, nil, nil)) })
		}
		together.Wait()
		if n := i.asked.Load(); n != 2 {
			t.Errorf("got %d fetches, want one at the start and one for all who waited", n)
		}
		wantRefused(t, a, former.token(t, nil, nil), switchboard.ErrUnauthenticated)
	})
}

func TestMadeUpKeyIDsCauseOneFetchInTenSeconds(t *testing.T) {
	key := newEd25519(t, "1")
	i := newIssuer(t, key)
	synctest.Test(t, func(t *testing.T) {
		a := i.login(t)
		for lap := range 3 {
			for n := range 50 {
				wantRefused(t, a, key.token(t, nil, map[string]any{"kid": string(rune('a' + n))}), switchboard.ErrUnauthenticated)
			}
			wantUser(t, a, key.token(t, nil, nil))
			if got, want := i.asked.Load(), int64(lap+2); got != want {
				t.Fatalf("got %d fetches after %d s, want %d", got, lap*10, want)
			}
			time.Sleep(10 * time.Second)
		}
		// Nor do they keep a new key away for longer.
		next := newEd25519(t, "2")
		i.publish(t, key, next)
		wantUser(t, a, next.token(t, nil, nil))
	})
}

func TestAKeyThatWasTakenBackIsGoodForTenMinutes(t *testing.T) {
	former, next := newEd25519(t, "1"), newEd25519(t, "2")
	i := newIssuer(t, former)
	synctest.Test(t, func(t *testing.T) {
		a := i.login(t)
		i.publish(t, next)
		time.Sleep(10*time.Minute - time.Second)
		wantUser(t, a, former.token(t, nil, nil))
		if n := i.asked.Load(); n != 1 {
			t.Errorf("got %d fetches, want only that at the start", n)
		}
		time.Sleep(time.Second)
		wantRefused(t, a, former.token(t, nil, nil), switchboard.ErrUnauthenticated)
	})
}

func TestKeysStayGoodWhileTheIssuerIsDown(t *testing.T) {
	for name, breakIt := range map[string]func(*issuer){
		"closed":  (*issuer).Close,
		"error":   func(i *issuer) { i.Config.Handler = http.NotFoundHandler() },
		"garbage": func(i *issuer) { i.body.Store("<html>") },
		"no keys": func(i *issuer) { i.body.Store(`{"keys":[]}`) },
		"huge":    func(i *issuer) { i.body.Store(strings.Repeat(" ", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			key, next := newEd25519(t, "1"), newEd25519(t, "2")
			i := newIssuer(t, key)
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				a, err := auth.NewJWT(t.Context(), auth.JWT{
					JWKS: i.URL, Issuer: "https://login.test", Audience: "chat", Log: slog.New(slog.NewTextHandler(&log, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				breakIt(i)
				for range 100 {
					time.Sleep(time.Minute)
					wantUser(t, a, key.token(t, nil, nil))
				}
				// Nobody knows whether there is such a key by now: to come back may help.
				wantRefused(t, a, next.token(t, nil, nil), switchboard.ErrUnavailable)
				if text := log.String(); !strings.Contains(text, i.URL) || strings.Count(text, "\n") > 92 {
					t.Errorf("got log %q, want a line for each failure", text)
				}
			})
		})
	}
}

func TestAClientThatLeavesDoesNotKeepANewKeyFromOthers(t *testing.T) {
	key, next := newEd25519(t, "1"), newEd25519(t, "2")
	i := newIssuer(t, key)
	a := i.login(t)
	i.publish(t, key, next)
	gone, leave := context.WithCancel(t.Context())
	leave()
	a(gone, switchboard.Credential{Token: key.token(t, nil, map[string]any{"kid": "made up"})})
	wantUser(t, a, next.token(t, nil, nil))
}

func TestNewJWTFailsWithoutKeys(t *testing.T) {
	hanging, release := make(chan struct{}), make(chan struct{})
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, body) //nolint:errcheck // the same
		}
	}
	secretKey := base64.RawURLEncoding.EncodeToString(secret())
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"not found", http.NotFound, "404"},
		{"no JSON", answer("<html>"), "decode the JWK Set"},
		{"no set", answer("[]"), "decode the JWK Set"},
		{"no keys", answer("{}"), "no key"},
		{"a secret", answer(`{"keys":[{"kty":"oct","k":"` + secretKey + `","kid":"1"}]}`), "no key"},
		{"huge", answer(`{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`), "bytes"},
		{"redirect", http.RedirectHandler("http://127.0.0.1/keys", http.StatusFound).ServeHTTP, "302"},
		{"slow", func(http.ResponseWriter, *http.Request) { close(hanging); <-release }, "canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.answer)
			defer srv.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.name == "slow" {
				defer close(release)
				go func() {
					<-hanging
					cancel()
				}()
			}
			_, err := auth.NewJWT(ctx, auth.JWT{JWKS: srv.URL, Issuer: "i", Audience: "a"})
			for _, want := range []string{"JWT.JWKS", srv.URL, tt.want} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestNewJWTRefusesKeySourcesThatCannotBeTrusted(t *testing.T) {
	base := auth.JWT{JWKS: "https://login.test/keys", Issuer: "i", Audience: "a"}
	for _, tt := range []struct {
		name   string
		change func(*auth.JWT)
		want   string
	}{
		{"no issuer", func(j *auth.JWT) { j.Issuer = "" }, "JWT.Issuer"},
		{"no audience", func(j *auth.JWT) { j.Audience = "" }, "JWT.Audience"},
		{"a secret besides", func(j *auth.JWT) { j.Secret = secret() }, "JWT.Secret"},
		{"http", func(j *auth.JWT) { j.JWKS = "http://login.test/keys" }, "https"},
		{"a private network", func(j *auth.JWT) { j.JWKS = "http://10.0.0.1/keys" }, "https"},
		{"a host that looks like this machine", func(j *auth.JWT) { j.JWKS = "http://localhost.evil.test/keys" }, "https"},
		{"file", func(j *auth.JWT) { j.JWKS = "file:///etc/keys" }, "URL"},
		{"no scheme", func(j *auth.JWT) { j.JWKS = "login.test/keys" }, "URL"},
		{"no URL", func(j *auth.JWT) { j.JWKS = "https://%" }, "URL"},
		{"a password", func(j *auth.JWT) { j.JWKS = "https://a:hidden@login.test/keys" }, "user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := base
			tt.change(&j)
			_, err := auth.NewJWT(t.Context(), j)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got error %v, want one with %q and no secret", err, tt.want)
			}
		})
	}
}

func FuzzJWTOfPublishedKeys(f *testing.F) {
	keys := []signer{newRSA(f, "rsa"), newEd25519(f, "ed")}
	a := newIssuer(f, keys...).login(f)
	var signed []string
	for _, k := range keys {
		token := k.token(f, jwt.MapClaims{"exp": time.Now().Add(24 * time.Hour).Unix()}, nil)
		f.Add(token)
		f.Add(strings.Replace(token, "ey", "eyJhbGciOiJub25lIn0", 1))
		signed = append(signed, token[:strings.LastIndex(token, ".")])
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := a(t.Context(), switchboard.Credential{Token: token})
		if err == nil && (id.User != "alice" || !slices.Contains(signed, token[:strings.LastIndex(token, ".")])) {
			t.Errorf("accepted %q as %+v", token, id)
		}
	})
}
