package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

// raw signs a header and claims as they are written.
func raw(t testing.TB, header, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := jwt.SigningMethodHS256.Sign(text, secret())
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

const plainHeader = `{"alg":"HS256","typ":"JWT"}`

func TestWhatATokenSaysInAnUnusualWayIsRefused(t *testing.T) {
	a := newJWT(t, auth.JWT{Audience: "chat", Tenants: []string{"", "acme"}})
	exp := time.Now().Add(time.Hour).Unix()
	good := fmt.Sprintf(`{"sub":"alice","aud":"chat","exp":%d}`, exp)
	claims := func(format string, args ...any) string { return raw(t, plainHeader, fmt.Sprintf(format, args...)) }
	header := func(h string) string { return raw(t, h, good) }
	for name, token := range map[string]string{
		"crit":                       header(`{"alg":"HS256","crit":["exp"]}`),
		"crit of nothing":            header(`{"alg":"HS256","crit":[]}`),
		"b64":                        header(`{"alg":"HS256","b64":false}`),
		"compressed":                 header(`{"alg":"HS256","zip":"DEF"}`),
		"nested":                     header(`{"alg":"HS256","cty":"JWT"}`),
		"another type":               header(`{"alg":"HS256","typ":"logout+jwt"}`),
		"a type that is no text":     header(`{"alg":"HS256","typ":7}`),
		"two algorithms":             header(`{"alg":"none","alg":"HS256"}`),
		"algorithm in upper case":    header(`{"ALG":"HS256"}`),
		"algorithm in lower case":    header(`{"alg":"hs256"}`),
		"algorithm in a list":        header(`{"alg":["HS256"]}`),
		"header that is null":        header(`null`),
		"header and something":       header(plainHeader + `{}`),
		"two users":                  claims(`{"sub":"bob","sub":"alice","aud":"chat","exp":%d}`, exp),
		"two ids":                    claims(`{"sub":"alice","jti":"a","jti":"b","aud":"chat","exp":%d}`, exp),
		"two expiries":               claims(`{"sub":"alice","aud":"chat","exp":1,"exp":%d}`, exp),
		"escaped name twice":         claims(`{"sub":"bob","\u0073ub":"alice","aud":"chat","exp":%d}`, exp),
		"user in upper case":         claims(`{"SUB":"alice","aud":"chat","exp":%d}`, exp),
		"expiry in upper case":       claims(`{"sub":"alice","aud":"chat","EXP":%d}`, exp),
		"expiry a text":              claims(`{"sub":"alice","aud":"chat","exp":"%d"}`, exp),
		"expiry huge":                claims(`{"sub":"alice","aud":"chat","exp":1e300}`),
		"expiry beyond numbers":      claims(`{"sub":"alice","aud":"chat","exp":1e400}`),
		"expiry that wraps":          claims(`{"sub":"alice","aud":"chat","exp":9223372036854775808}`),
		"expiry not a number":        claims(`{"sub":"alice","aud":"chat","exp":NaN}`),
		"expiry before 1970":         claims(`{"sub":"alice","aud":"chat","exp":-1}`),
		"expiry null":                claims(`{"sub":"alice","aud":"chat","exp":null}`),
		"expiry a list":              claims(`{"sub":"alice","aud":"chat","exp":[%d]}`, exp),
		"begins as text":             claims(`{"sub":"alice","aud":"chat","nbf":"1","exp":%d}`, exp),
		"begins beyond the leeway":   claims(`{"sub":"alice","aud":"chat","nbf":%d,"exp":%d}`, time.Now().Add(time.Minute).Unix(), exp),
		"issued beyond the leeway":   claims(`{"sub":"alice","aud":"chat","iat":%d,"exp":%d}`, time.Now().Add(time.Minute).Unix(), exp),
		"audience a number":          claims(`{"sub":"alice","aud":7,"exp":%d}`, exp),
		"audiences of others":        claims(`{"sub":"alice","aud":["mail","Chat","chat "],"exp":%d}`, exp),
		"audience with a number":     claims(`{"sub":"alice","aud":["chat",7],"exp":%d}`, exp),
		"audience an object":         claims(`{"sub":"alice","aud":{"chat":true},"exp":%d}`, exp),
		"tenant a list":              claims(`{"sub":"alice","tenant":["acme"],"aud":"chat","exp":%d}`, exp),
		"permissions of numbers":     claims(`{"sub":"alice","permissions":[7],"aud":"chat","exp":%d}`, exp),
		"claims in a list":           claims(`[{"sub":"alice","aud":"chat","exp":%d}]`, exp),
		"claims null":                claims(`null`),
		"claims twice":               claims(`{"sub":"alice","aud":"chat","exp":%d}{}`, exp),
		"text that is not UTF-8":     claims("{\"sub\":\"alice\xff\",\"aud\":\"chat\",\"exp\":%d}", exp),
		"deep":                       claims(`{"sub":"alice","aud":"chat","exp":%d,"x":%s}`, exp, strings.Repeat("[", 100)+strings.Repeat("]", 100)),
		"longer than a token may be": claims(`{"sub":"alice","aud":"chat","exp":%d,"x":"%s"}`, exp, strings.Repeat("x", auth.MaxTokenBytes)),
		"JSON serialization":         `{"payload":"","signatures":[]}`,
		"five parts":                 raw(t, plainHeader, good) + ".a.b",
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, token, switchboard.ErrUnauthenticated) })
	}
	for name, token := range map[string]string{
		"plain":                     header(plainHeader),
		"no type":                   header(`{"alg":"HS256"}`),
		"an access token":           header(`{"alg":"HS256","typ":"at+JWT"}`),
		"the type written out":      header(`{"alg":"HS256","typ":"application/jwt"}`),
		"expiry with a fraction":    claims(`{"sub":"alice","aud":"chat","exp":%d.75}`, exp),
		"one audience of several":   claims(`{"sub":"alice","aud":["mail","chat"],"exp":%d}`, exp),
		"claims of others":          claims(`{"sub":"alice","aud":"chat","exp":%d,"Tenant":"acme","Sub":"bob"}`, exp),
		"issued within the leeway":  claims(`{"sub":"alice","aud":"chat","iat":%d,"exp":%d}`, time.Now().Add(20*time.Second).Unix(), exp),
		"space between the members": claims("{ \"sub\": \"alice\",\n\"aud\": \"chat\", \"exp\": %d }", exp),
	} {
		t.Run(name, func(t *testing.T) {
			wantUser(t, a, token)
			if id, _ := a(t.Context(), switchboard.Credential{Token: token}); id.Tenant != "" {
				t.Errorf("got tenant %q, want none", id.Tenant)
			}
		})
	}
}

// TestATokenHasOneSpelling: else who is revoked, or limited, by the hash of a token would write it in another way.
func TestATokenHasOneSpelling(t *testing.T) {
	a := newJWT(t, auth.JWT{})
	token := raw(t, plainHeader, fmt.Sprintf(`{"sub":"alice","jti":"1","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	wantUser(t, a, token)
	last := token[len(token)-1]
	for name, other := range map[string]string{
		"padding":                token + "=",
		"two of it":              token + "==",
		"a space before":         " " + token,
		"a space behind":         token + " ",
		"a line end behind":      token + "\n",
		"a line end inside":      token[:len(token)-4] + "\r\n" + token[len(token)-4:],
		"a zero behind":          token + "\x00",
		"the other alphabet":     strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
		"bits that do not count": token[:len(token)-1] + string(next(last)),
		"a dot behind":           token + ".",
		"percent":                strings.Replace(token, ".", "%2e", 1),
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, other, switchboard.ErrUnauthenticated) })
	}
}

// next is a letter whose bits differ in the last one only.
func next(letter byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, letter)^1]
}

func TestAnIssuerSpeaksForItsTenantsOnly(t *testing.T) {
	other := []byte("another secret of 32 bytes or more")
	a, err := auth.Issuers(t.Context(),
		auth.JWT{Issuer: "A", Secret: secret(), Tenants: []string{"a1", "a2"}},
		auth.JWT{Issuer: "B", Secret: other, Tenants: []string{"b", ""}},
	)
	if err != nil {
		t.Fatal(err)
	}
	token := func(key []byte, change jwt.MapClaims) string {
		c := jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
		maps.Copy(c, change)
		return sign(t, jwt.SigningMethodHS256, key, c)
	}
	for range 2 { // the second time from memory
		wantUser(t, a, token(secret(), jwt.MapClaims{"iss": "A", "tenant": "a2"}))
		wantUser(t, a, token(other, jwt.MapClaims{"iss": "B", "tenant": "b"}))
		wantUser(t, a, token(other, jwt.MapClaims{"iss": "B"}))
	}
	for name, bad := range map[string]string{
		"A names a tenant of B":       token(secret(), jwt.MapClaims{"iss": "A", "tenant": "b"}),
		"A names the one without":     token(secret(), jwt.MapClaims{"iss": "A"}),
		"A says to be B":              token(secret(), jwt.MapClaims{"iss": "B", "tenant": "b"}),
		"B says to be A":              token(other, jwt.MapClaims{"iss": "A", "tenant": "a1"}),
		"nobody":                      token(secret(), jwt.MapClaims{"tenant": "a1"}),
		"somebody else":               token(secret(), jwt.MapClaims{"iss": "C", "tenant": "a1"}),
		"an issuer in upper case too": raw(t, plainHeader, fmt.Sprintf(`{"iss":"B","ISS":"A","tenant":"a1","sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix())),
		"two issuers":                 raw(t, plainHeader, fmt.Sprintf(`{"iss":"B","iss":"A","tenant":"a1","sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix())),
		"issuers in a list":           token(secret(), jwt.MapClaims{"iss": []string{"A", "B"}, "tenant": "a1"}),
		"no token":                    "",
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, a, bad, switchboard.ErrUnauthenticated) })
	}
}

func TestIssuersThatCouldBeTakenForEachOtherAreRefused(t *testing.T) {
	for name, list := range map[string][]auth.JWT{
		"nobody":        {},
		"no issuer":     {{Secret: secret(), Tenants: []string{"a"}}},
		"twice":         {{Issuer: "A", Secret: secret(), Tenants: []string{"a"}}, {Issuer: "A", Secret: secret(), Tenants: []string{"b"}}},
		"one tenant":    {{Issuer: "A", Secret: secret(), Tenants: []string{"a"}}, {Issuer: "B", Secret: secret(), Tenants: []string{"b", "a"}}},
		"no tenants":    {{Issuer: "A", Secret: secret()}, {Issuer: "B", Secret: secret()}},
		"a weak secret": {{Issuer: "A", Secret: secret()[:8]}},
	} {
		if _, err := auth.Issuers(t.Context(), list...); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// reference reads a token in the plainest way there is, for FuzzJWT: it accepts what was signed by the secret.
func reference(token string) (user string, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || jwt.SigningMethodHS256.Verify(parts[0]+"."+parts[1], sig, secret()) != nil {
		return "", false
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	var said map[string]any
	if err != nil || json.Unmarshal(text, &said) != nil {
		return "", false
	}
	exp, dated := said["exp"].(float64)
	user, named := said["sub"].(string)
	return user, named && dated && exp > float64(time.Now().Unix())
}
