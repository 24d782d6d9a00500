package auth_test

import (
	"context"
	"fmt"
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
