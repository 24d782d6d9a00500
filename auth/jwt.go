package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

// JWT checks tokens. One of Secret and JWKS is required; every other zero field is the
// stated default.
type JWT struct {
	// Secret is that of HS256, of 32 bytes or more. Other algorithms are refused.
	Secret []byte
	// JWKS is the URL of the issuer's public keys (RFC 7517): https, or http on this machine.
	// Tokens are then signed with RS, PS or ES of 256, 384 or 512 bits, or with EdDSA, as
	// their key's type and its alg allow; never with HS256. Keys are fetched again after ten
	// minutes, and for a token that names a new one, but not within ten seconds of the last
	// time; those that are known stay good while the URL does not answer.
	JWKS string
	// Issuer and Audience must be what a token says in iss and, perhaps among others, in
	// aud. "": not compared. Both are required with JWKS, because an issuer signs tokens
	// for others too.
	Issuer, Audience string
	// Tenants are those that tokens may name. nil: only the one without a name.
	Tenants []string
	// KeepClaims puts the token's content into Identity.Claims. Tokens with more than 4 KiB
	// of it are then refused by the manager.
	KeepClaims bool
	// Log gets a warning when keys cannot be fetched any more; nil: discard.
	Log *slog.Logger
}

// NewJWT checks j, fetches the keys if there are any to fetch, and returns an authenticator,
// which may be called concurrently. A token must say exp, and its user in sub or user_id; it
// may say tenant, iat, nbf, jti, sid and permissions. Names count by their exact letters, and none
// may be there twice. A token whose key cannot be fetched is refused with
// [switchboard.ErrUnavailable].
//
// Tokens that were good are remembered, by their hash, until they expire: when all clients come
// back at once, their signatures are not computed again. 10,000 are, of each user 8. It is as if
// there were no memory: with the set of keys that they were checked by they are forgotten.
//
// ctx bounds the start only, and nothing has to be closed: keys are fetched by the calls that
// need them, each for 3 s at most.
func NewJWT(ctx context.Context, j JWT) (switchboard.Authenticator, error) {
	c, err := newChecker(ctx, j)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return c.authenticate, nil
}

func newChecker(ctx context.Context, j JWT) (*checker, error) {
	if err := j.valid(); err != nil {
		return nil, err
	}
	if j.Tenants == nil {
		j.Tenants = []string{""}
	}
	if j.Log == nil {
		j.Log = slog.New(slog.DiscardHandler)
	}
	j.Tenants, j.Secret = slices.Clone(j.Tenants), slices.Clone(j.Secret)
	c := &checker{JWT: j, known: newMemory()}
	algorithms := []string{jwt.SigningMethodHS256.Alg()}
	if j.JWKS != "" {
		algorithms = keyAlgorithms()
		var err error
		if c.keys, err = newKeySet(ctx, j.JWKS, j.Log); err != nil {
			return nil, fmt.Errorf("JWT.JWKS: %w", err)
		}
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding(),
	}
	if j.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(j.Issuer))
	}
	if j.Audience != "" {
		opts = append(opts, jwt.WithAudience(j.Audience))
	}
	c.parser = jwt.NewParser(opts...)
	return c, nil
}

// valid says what is wrong with j. It names the field.
func (j JWT) valid() error {
	switch n := len(j.Secret); {
	case j.JWKS != "" && n > 0:
		return errors.New("JWT.JWKS and JWT.Secret do not go together: tokens have one issuer")
	case j.JWKS != "":
		if err := CheckJWKS(j.JWKS); err != nil {
			return fmt.Errorf("JWT.JWKS %w", err)
		}
		if j.Issuer == "" || j.Audience == "" {
			return errors.New("JWT.Issuer and JWT.Audience are required with JWT.JWKS: its keys sign tokens for others too")
		}
	case n == 0:
		return errors.New("JWT.Secret or JWT.JWKS is required")
	case n < MinSecretBytes:
		return fmt.Errorf("JWT.Secret has %d bytes: HS256 needs %d or more", n, MinSecretBytes)
	}
	if err := checkTenants(j.Tenants); err != nil {
		return fmt.Errorf("JWT.Tenants: %w", err)
	}
	return nil
}

// checkTenants says which of them can be none.
func checkTenants(tenants []string) error {
	for _, tenant := range tenants {
		if tenant == "" {
			continue
		}
		if err := wire.CheckID(tenant); err != nil {
			return fmt.Errorf("%q %w", tenant, err)
		}
	}
	return nil
}

// checker knows the tokens of one issuer. It is immutable, but for what is in keys and known.
type checker struct {
	JWT
	keys   *keySet // nil: Secret is the key
	parser *jwt.Parser
	known  *memory // nil: nothing is remembered
}

func (c *checker) authenticate(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Token == "" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	if err := checkSpelling(cred.Token); err != nil {
		return switchboard.Identity{}, fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
	}
	if c.known == nil {
		return c.check(ctx, cred.Token)
	}
	var version uint64
	if c.keys != nil {
		version = c.keys.current(ctx) // before the check: new keys that come meanwhile make what it says old
	}
	key := hash(sha256.Sum256([]byte(cred.Token)))
	if id, ok := c.known.get(key, version, time.Now()); ok {
		return id, nil
	}
	id, err := c.check(ctx, cred.Token)
	if err == nil {
		c.known.put(key, id, len(cred.Token), version, id.Expires)
	}
	return id, err
}

// check finds out whose a token is, of which the spelling is known to be right.
func (c *checker) check(ctx context.Context, token string) (switchboard.Identity, error) {
	var said claims
	if err := c.parse(ctx, token, &said); err != nil {
		return switchboard.Identity{}, err
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
	if said.IssuedAt != nil {
		id.Issued = said.IssuedAt.Time
	}
	if c.KeepClaims {
		content, err := part(token, 1)
		if err != nil {
			return switchboard.Identity{}, fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
		}
		id.Claims = content
	}
	return id, nil
}

// parse reads a token and checks its signature, and all that the parser knows of claims.
func (c *checker) parse(ctx context.Context, token string, into *claims) error {
	if err := checkHeader(token); err != nil {
		return fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
	}
	_, err := c.parser.ParseWithClaims(token, into, func(t *jwt.Token) (any, error) {
		if c.keys == nil {
			return c.Secret, nil
		}
		return c.keys.of(ctx, t)
	})
	if late, ok := errors.AsType[*unavailable](err); ok {
		return late
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired()
	}
	return fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
}

func expired() error { return refused("the token has expired") }

func refused(message string) error {
	return &switchboard.Error{Code: wire.CodeAuthError, Message: message}
}
