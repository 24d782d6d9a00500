package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// MinSecretBytes is the shortest secret for HS256: shorter ones can be found by trying
// (RFC 7518 §3.2).
const MinSecretBytes = 32

// Leeway is how much the clocks of who made a token and of this machine may differ when
// nbf and iat are compared. A token is never good after its exp.
const Leeway = 30 * time.Second

// JWT checks tokens. Secret is required; every other zero field is the stated default.
type JWT struct {
	// Secret is that of HS256, of 32 bytes or more. Other algorithms are refused.
	Secret []byte
	// Issuer and Audience must be what a token says in iss and, perhaps among others, in
	// aud. "": not compared.
	Issuer, Audience string
	// Tenants are those that tokens may name. nil: only the one without a name.
	Tenants []string
	// KeepClaims puts the token's content into Identity.Claims. Tokens with more than 4 KiB
	// of it are then refused by the manager.
	KeepClaims bool
}

// claims are what a token may say. The user is in sub or in user_id.
type claims struct {
	jwt.RegisteredClaims
	UserID      string   `json:"user_id"`
	Tenant      string   `json:"tenant"`
	SID         string   `json:"sid"`
	Permissions []string `json:"permissions"`
}

// NewJWT checks j and returns an authenticator, which may be called concurrently. A token
// must say exp, and its user in sub or user_id; it may say tenant, iat, nbf, jti, sid and
// permissions. ctx bounds the start only.
func NewJWT(_ context.Context, j JWT) (switchboard.Authenticator, error) {
	if n := len(j.Secret); n < MinSecretBytes {
		return nil, fmt.Errorf("auth: JWT.Secret has %d bytes: HS256 needs %d or more", n, MinSecretBytes)
	}
	for _, tenant := range j.Tenants {
		if tenant == "" {
			continue
		}
		if err := wire.CheckID(tenant); err != nil {
			return nil, fmt.Errorf("auth: JWT.Tenants: %q %w", tenant, err)
		}
	}
	if j.Tenants == nil {
		j.Tenants = []string{""}
	}
	j.Tenants, j.Secret = slices.Clone(j.Tenants), slices.Clone(j.Secret)
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding(),
	}
	if j.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(j.Issuer))
	}
	if j.Audience != "" {
		opts = append(opts, jwt.WithAudience(j.Audience))
	}
	c := checker{JWT: j, parser: jwt.NewParser(opts...)}
	return c.authenticate, nil
}

// checker is immutable.
type checker struct {
	JWT
	parser *jwt.Parser
}

func (c *checker) authenticate(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Token == "" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	var said claims
	key := func(*jwt.Token) (any, error) { return c.Secret, nil }
	if _, err := c.parser.ParseWithClaims(cred.Token, &said, key); err != nil {
		if errors.Is(err, jwt.ErrTokenExpired) {
			return switchboard.Identity{}, expired()
		}
		return switchboard.Identity{}, fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
	}
	if !time.Now().Before(said.ExpiresAt.Time) {
		return switchboard.Identity{}, expired() // the leeway is not for exp
	}
	user := said.Subject
	if user == "" {
		user = said.UserID
	}
	switch {
	case user == "":
		return switchboard.Identity{}, refused("the token names no user")
	case said.UserID != "" && said.UserID != user:
		return switchboard.Identity{}, refused("the token names two users")
	case !slices.Contains(c.Tenants, said.Tenant):
		return switchboard.Identity{}, refused("the token names a tenant that it may not")
	}
	id := switchboard.Identity{
		Tenant: said.Tenant, User: user, Permissions: said.Permissions,
		Expires: said.ExpiresAt.Time, TokenID: said.ID, SID: said.SID,
	}
	if c.KeepClaims {
		id.Claims = content(cred.Token)
	}
	return id, nil
}

// content is the payload of a token that has been checked.
func content(token string) json.RawMessage {
	_, rest, _ := strings.Cut(token, ".")
	coded, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil {
		return nil
	}
	return b
}

func expired() error { return refused("the token has expired") }

func refused(message string) error {
	return &switchboard.Error{Code: wire.CodeAuthError, Message: message}
}
