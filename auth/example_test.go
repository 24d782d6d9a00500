package auth_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

func ExampleNewJWT() {
	ctx := context.Background()
	key := []byte("a secret of 32 bytes or more ....")
	login, err := auth.NewJWT(ctx, auth.JWT{Secret: key, Issuer: "https://login.example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://login.example.com", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(),
		"permissions": []string{"room:team:*"},
	}).SignedString(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := login(ctx, switchboard.Credential{Token: token})
	fmt.Println(id.User, id.Permissions, err)
	// Output:
	// alice [room:team:*] <nil>
}

func ExampleIssuers() {
	ctx := context.Background()
	login, err := auth.Issuers(ctx,
		auth.JWT{Issuer: "https://login.acme.example", JWKS: "https://login.acme.example/keys", Audience: "chat", Tenants: []string{"acme"}},
		auth.JWT{Issuer: "https://login.ajax.example", JWKS: "https://login.ajax.example/keys", Audience: "chat", Tenants: []string{"ajax"}},
	)
	use(login, err)
}

func ExampleNewForward() {
	ctx := context.Background()
	login, err := auth.NewForward(ctx, auth.Forward{URL: "https://login.example.com/who", Tenants: []string{"acme"}})
	use(login, err)
}

func ExampleNewProxy() {
	var tokens switchboard.Authenticator // from NewJWT, perhaps
	login, err := auth.NewProxy(auth.Proxy{
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.7.0/24")},
		Tenants:  []string{"acme"},
		Next:     tokens, // for clients that come with a token of their own
	})
	use(login, err)
}

// use stands for switchboard.New.
func use(switchboard.Authenticator, error) {}
