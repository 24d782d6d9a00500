package main

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

type tokenCmd struct {
	Secret     string        `name:"jwt-secret" env:"SWITCHBOARD_JWT_SECRET" required:"" placeholder:"S" help:"The server's secret."`
	User       string        `required:"" placeholder:"U" help:"Whom the token is for."`
	Tenant     string        `placeholder:"T" help:"The user's tenant."`
	Permission []string      `sep:"none" placeholder:"P" help:"A right in rooms, as room:<glob>:<join|publish|presence|history|control|*>. Repeat for more."`
	TTL        time.Duration `name:"ttl" default:"1h" help:"How long the token is good."`
}

// claims are those that the server reads.
type claims struct {
	jwt.RegisteredClaims
	Tenant      string   `json:"tenant,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
}

// Validate refuses tokens that no server would take.
func (c *tokenCmd) Validate() error {
	switch {
	case c.Secret == "":
		return usage("--jwt-secret must not be empty")
	case c.User == "":
		return usage("--user must not be empty")
	case c.TTL <= 0:
		return usage("--ttl must be positive")
	}
	return nil
}

// Run prints a token, signed with HS256.
func (c *tokenCmd) Run(term terminal) error {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: uuid.NewString(), Subject: c.User,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(c.TTL)),
		},
		Tenant: c.Tenant, Permissions: c.Permission,
	}).SignedString([]byte(c.Secret))
	if err != nil {
		return fmt.Errorf("sign the token: %w", err)
	}
	_, err = fmt.Fprintln(term.out, token)
	return err
}
