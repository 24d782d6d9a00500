package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/netra-systems/switchboard"
)

// Issuers returns an authenticator for tokens of several issuers. Each of list is checked and
// used as by [NewJWT], and needs an Issuer and Tenants of its own: a tenant has one issuer,
// because another one's alice need not be the same person. Which issuer a token is of its iss
// says; from then on it is checked by nothing but that issuer's keys, audience and tenants, so
// an issuer can speak for nobody but its own tenants. Tokens of other issuers are refused.
func Issuers(ctx context.Context, list ...JWT) (switchboard.Authenticator, error) {
	if len(list) == 0 {
		return nil, errors.New("auth: Issuers needs one or more")
	}
	of, speaks := make(map[string]*checker, len(list)), make(map[string]string)
	for i, j := range list {
		if j.Issuer == "" {
			return nil, fmt.Errorf("auth: Issuers: number %d has no Issuer, by which its tokens are told from others", i+1)
		}
		if of[j.Issuer] != nil {
			return nil, fmt.Errorf("auth: Issuers: %q is there twice", j.Issuer)
		}
		c, err := newChecker(ctx, j)
		if err != nil {
			return nil, fmt.Errorf("auth: Issuers: %q: %w", j.Issuer, err)
		}
		for _, tenant := range c.Tenants {
			if other, taken := speaks[tenant]; taken {
				return nil, fmt.Errorf("auth: Issuers: tenant %q is of both %q and %q", tenant, other, j.Issuer)
			}
			speaks[tenant] = j.Issuer
		}
		of[j.Issuer] = c
	}
	return func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		if cred.Token == "" {
			return switchboard.Identity{}, switchboard.ErrUnauthenticated
		}
		issuer, err := saidIssuer(cred.Token)
		if err != nil {
			return switchboard.Identity{}, fmt.Errorf("%w: %w", switchboard.ErrUnauthenticated, err)
		}
		c := of[issuer]
		if c == nil {
			return switchboard.Identity{}, refused("the issuer of the token is not known")
		}
		return c.authenticate(ctx, cred)
	}, nil
}

// saidIssuer is what a token says in iss, before it was checked.
func saidIssuer(token string) (string, error) {
	if err := checkSpelling(token); err != nil {
		return "", err
	}
	text, err := part(token, 1)
	if err != nil {
		return "", fmt.Errorf("the content of the token: %w", err)
	}
	var said claims
	if err := said.UnmarshalJSON(text); err != nil {
		return "", fmt.Errorf("the content of the token: %w", err)
	}
	return said.Issuer, nil
}
