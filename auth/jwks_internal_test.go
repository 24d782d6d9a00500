package auth

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Keys of RFC 8037 and RFC 7517.
const (
	okp = `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	ec  = `{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`
)

func TestKeysThatAreForSomethingElseAreLeftOut(t *testing.T) {
	for name, key := range map[string]string{
		"encryption":          `{"kty":"EC","crv":"P-256","use":"enc","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`,
		"other operations":    `{"kty":"OKP","crv":"Ed25519","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"another algorithm":   `{"kty":"OKP","crv":"Ed25519","alg":"RS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"a secret":            `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}`,
		"a secret for HS256":  `{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}`,
		"key agreement":       `{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}`,
		"not on its curve":    `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}`,
		"unknown curve":       `{"kty":"EC","crv":"secp256k1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`,
		"short RSA key":       `{"kty":"RSA","n":"oahUIoWw0K0usKNuOR6H4wkf4oBUXHTxRvgb48E-BVvxkeDNjbC4he8rUWcJoZmds2h7M70imEVhRU5djINXtqllXI4DFqcI1DgjT9LewND8MW2Krf3Spsk_ZkoFnilakGygTwpZ3uesH-PFABNIUYpOiN15dsQRkgr0vEhxN92i2as","e":"AQAB"}`,
		"duplicate member":    `{"kty":"OKP","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"no object":           `7`,
		"nothing known of it": `{"kty":"XYZ"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if k, ok := parseKey([]byte(key)); ok {
				t.Errorf("got %+v, want nothing", k)
			}
		})
	}
	keys, err := parseKeys([]byte(`{"keys":[{"kty":"XYZ"},` + okp + `,7,` + ec + `]}`))
	if err != nil || len(keys) != 2 || keys[0].id != "ed" || keys[1].id != "ec" {
		t.Errorf("got %+v, %v, want the two that are good", keys, err)
	}
}

func TestAKeySignsWithWhatFitsItsType(t *testing.T) {
	ecKey, ok := parseKey([]byte(ec))
	if !ok {
		t.Fatal("the key of RFC 7517 is refused")
	}
	edKey, ok := parseKey([]byte(okp))
	if !ok {
		t.Fatal("the key of RFC 8037 is refused")
	}
	rsaKey := publicKey{key: new(rsa.PublicKey)}
	only := publicKey{key: new(rsa.PublicKey), algorithm: "PS256"}
	for _, tt := range []struct {
		name string
		key  publicKey
		want []string
	}{
		{"P-256", ecKey, []string{"ES256"}},
		{"Ed25519", edKey, []string{"EdDSA"}},
		{"RSA", rsaKey, []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		{"RSA for one algorithm", only, []string{"PS256"}},
	} {
		var got []string
		for _, alg := range jwt.GetAlgorithms() {
			if tt.key.signs(alg) {
				got = append(got, alg)
			}
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// silent is a client of an issuer that accepts connections and says nothing.
func silent(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far) //nolint:errcheck // it ends with near
			return near, nil
		},
	}}
}

func TestASlowIssuerIsGivenThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := publicKey{id: "ed", key: []byte(nil)}
		s := &keySet{url: "http://issuer", client: silent(t), log: slog.New(slog.DiscardHandler), keys: []publicKey{known}}
		start := time.Now()
		if _, err := s.fetch(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Fatalf("got %v after %v, want a deadline after 3s", err, time.Since(start))
		}
		// One caller in ten seconds finds out that it still is; all others go on with what
		// there is.
		all := func(publicKey) bool { return true }
		for n, want := range []time.Duration{3 * time.Second, 0, 0} {
			start := time.Now()
			if keys, fresh := s.known(all); len(keys) != 1 || fresh {
				t.Fatalf("got %d keys, fresh %v, want the old one", len(keys), fresh)
			}
			err := s.refresh(t.Context(), false)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != want {
				t.Errorf("got %v from call %d after %v, want the deadline of the fetch after %v", err, n, took, want)
			}
		}
	})
}

func TestWhoWaitsForKeysLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keySet{url: "http://issuer", client: silent(t), log: slog.New(slog.DiscardHandler)}
		var first sync.WaitGroup
		defer first.Wait()
		first.Go(func() {
			if err := s.refresh(t.Context(), true); err == nil {
				t.Error("got no error, want that of the fetch")
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := s.refresh(ctx, true); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the deadline after 1s", err, time.Since(start))
		}
		if err := s.refresh(t.Context(), false); err != nil || time.Since(start) != time.Second {
			t.Errorf("got %v after %v from a call that does not wait, want nil at once", err, time.Since(start))
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[` + okp + `,` + ec + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeys(body)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("got %d keys and error %v, want one or the other", len(keys), err)
		}
		for _, k := range keys {
			if !slices.ContainsFunc(keyAlgorithms(), k.signs) || k.signs("HS256") || k.signs("none") {
				t.Errorf("got %+v, want a key that only tokens of an issuer are signed with", k)
			}
		}
	})
}
