package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
)

// BenchmarkToken checks one token again and again, as in a reconnect storm.
func BenchmarkToken(b *testing.B) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range []struct {
		method jwt.SigningMethod
		key    any
		public any
	}{
		{jwt.SigningMethodHS256, secret, nil},
		{jwt.SigningMethodES256, ecKey, ecKey.Public()},
		{jwt.SigningMethodRS256, rsaKey, rsaKey.Public()},
	} {
		token, err := jwt.NewWithClaims(kind.method, jwt.MapClaims{
			"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "jti": "8d1e0f3a", "permissions": []string{"room:team:*"},
		}).SignedString(kind.key)
		if err != nil {
			b.Fatal(err)
		}
		for _, remember := range []bool{false, true} {
			name := kind.method.Alg() + "/checked"
			if remember {
				name = kind.method.Alg() + "/remembered"
			}
			b.Run(name, func(b *testing.B) {
				c, err := newChecker(b.Context(), JWT{Secret: secret})
				if err != nil {
					b.Fatal(err)
				}
				if kind.public != nil {
					c.keys = &keySet{keys: []publicKey{{key: kind.public}}, fetched: time.Now()}
					c.parser = jwt.NewParser(jwt.WithValidMethods(keyAlgorithms()))
				}
				if !remember {
					c.known = nil
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.authenticate(b.Context(), switchboard.Credential{Token: token}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
