package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

const (
	fetchTimeout = 3 * time.Second
	maxSetBytes  = 256 << 10
	// Older keys are fetched again by the next token that needs one. It is also how long a
	// key is still good that the issuer has taken back.
	freshFor = 10 * time.Minute
	// fetchPause lies between two fetches: tokens with made-up key ids cause no more.
	fetchPause = 10 * time.Second
	// RFC 7518 §3.3 asks for the lower bound; crypto/tls takes nothing above the upper one.
	minRSABits, maxRSABits = 2048, 8192
)

// keyAlgorithms are what public keys sign with. HS256 and its like are not among them: a
// public key would be a secret that everybody knows.
func keyAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// CheckJWKS says why keys are not fetched from a URL: it must be https, or http on this
// machine.
func CheckJWKS(address string) error {
	return checkURL(address, "https://login.example.com/.well-known/jwks.json")
}

// checkURL says why somebody else could change what comes from a URL.
func checkURL(address, example string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("is no URL") // err may show a password
	case u.Host == "":
		return errors.New("must be a URL such as " + example)
	case u.User != nil || u.Fragment != "":
		return errors.New("must have neither a user nor a fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopbackHost(u.Host):
		return nil
	}
	return errors.New("must be https: others could change what comes from there on its way; only loopback hosts may use http")
}

// publicKey is a key that tokens may be signed with.
type publicKey struct {
	id        string
	algorithm string // the only one that it is for; "": what fits its type
	key       any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// signs reports whether a token with this algorithm can be from the key's owner.
func (k publicKey) signs(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return algorithm == "ES256"
		case 384:
			return algorithm == "ES384"
		case 521:
			return algorithm == "ES512"
		}
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// equal reports whether two keys are the same and for the same.
func (k publicKey) equal(other publicKey) bool {
	same, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && k.algorithm == other.algorithm && same.Equal(other.key)
}

// keySet is the public keys of an issuer. Nothing runs in the background: they are fetched
// by the calls that need them, and the old ones stay good while that does not work.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger

	mu       sync.Mutex    // guards the fields below; not held while fetching
	keys     []publicKey   // replaced, never changed
	version  uint64        // of keys; those of one version are the same
	fetched  time.Time     // when keys came
	tried    time.Time     // when the last fetch ended that was not the first
	failure  error         // of the last fetch
	fetching chan struct{} // closed at the end of the fetch that is under way; nil: none is
}

// newKeySet fetches the keys for the first time.
func newKeySet(ctx context.Context, address string, log *slog.Logger) (*keySet, error) {
	s := &keySet{url: address, log: log, client: &http.Client{
		// Keys are fetched too seldom to keep a connection, which would need an owner.
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var err error
	s.keys, err = s.fetch(ctx)
	s.fetched = time.Now()
	return s, err
}

// of returns the key of a token that has not been checked yet. A token that does not name
// its key is taken only if there is but one that it can mean.
func (s *keySet) of(ctx context.Context, t *jwt.Token) (any, error) {
	id, named := t.Header[jwkset.HeaderKID]
	name, ok := id.(string)
	if named && !ok {
		return nil, errors.New("kid must be a string")
	}
	fits := func(k publicKey) bool { return (!named || k.id == name) && k.signs(t.Method.Alg()) }
	keys, fresh := s.known(fits)
	if len(keys) == 0 || !fresh {
		err := s.refresh(ctx, len(keys) == 0)
		if keys, _ = s.known(fits); len(keys) == 0 && err != nil {
			return nil, &unavailable{cause: err}
		}
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("the issuer has no such key")
	case len(keys) > 1 && !named:
		return nil, errors.New("the token must name its key, in kid")
	}
	candidates := jwt.VerificationKeySet{}
	for _, k := range keys {
		candidates.Keys = append(candidates.Keys, k.key)
	}
	return candidates, nil
}

// current returns the version of the keys that count now, which are fetched again if it is time:
// a token that was checked with another one is to be checked again.
func (s *keySet) current(ctx context.Context) uint64 {
	s.mu.Lock()
	version, fetched := s.version, s.fetched
	s.mu.Unlock()
	if time.Since(fetched) < freshFor {
		return version
	}
	_ = s.refresh(ctx, false) // without new keys the former ones count
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// known returns the keys that fit, and whether they are of late.
func (s *keySet) known(fits func(publicKey) bool) (keys []publicKey, fresh bool) {
	s.mu.Lock()
	all, fetched := s.keys, s.fetched
	s.mu.Unlock()
	for _, k := range all {
		if fits(k) {
			keys = append(keys, k)
		}
	}
	return keys, time.Since(fetched) < freshFor
}

// refresh fetches the keys, unless that was done a moment ago. If somebody else is at it, it
// waits for them or returns at once. The error is that of the last fetch.
func (s *keySet) refresh(ctx context.Context, wait bool) error {
	s.mu.Lock()
	others := s.fetching
	mine := others == nil && time.Since(s.tried) >= fetchPause
	if mine {
		s.fetching = make(chan struct{})
	}
	s.mu.Unlock()
	switch {
	case mine:
		s.renew(ctx)
	case others != nil && wait:
		select {
		case <-others:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// renew fetches the keys for everybody who waits for them. It goes on when ctx ends, at most
// for fetchTimeout: a client that leaves early must not keep new keys from all others.
func (s *keySet) renew(ctx context.Context) {
	keys, err := []publicKey(nil), errors.New("the fetch was aborted") // by a panic
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.fetching)
		s.fetching, s.failure, s.tried = nil, err, time.Now()
		if err == nil {
			if !slices.EqualFunc(keys, s.keys, publicKey.equal) {
				s.version++
			}
			s.keys, s.fetched = keys, s.tried
		}
	}()
	if keys, err = s.fetch(context.WithoutCancel(ctx)); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "keys of tokens not fetched", slog.Any("err", err))
	}
}

// fetch asks for the keys. It does not follow redirects: where keys come from is for the
// configuration to say.
func (s *keySet) fetch(ctx context.Context) ([]publicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err // it names the URL
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: got status %s", s.url, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSetBytes+1))
	if err == nil && len(body) > maxSetBytes {
		err = fmt.Errorf("the body has more than %d bytes", maxSetBytes)
	}
	var keys []publicKey
	if err == nil {
		keys, err = parseKeys(body)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", s.url, err)
	}
	return keys, nil
}

// parseKeys reads a JWK Set. Keys that are for something else, or that it does not
// understand, are left out (RFC 7517 §5).
func parseKeys(body []byte) ([]publicKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := wire.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decode the JWK Set: %w", err)
	}
	var keys []publicKey
	for _, text := range set.Keys {
		if k, ok := parseKey(text); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK Set has no key that a token could be signed with")
	}
	return keys, nil
}

func parseKey(text []byte) (publicKey, bool) {
	var said jwkset.JWKMarshal
	if wire.Unmarshal(text, &said) != nil {
		return publicKey{}, false
	}
	if said.USE != "" && said.USE != jwkset.UseSig || len(said.KEYOPS) > 0 && !slices.Contains(said.KEYOPS, jwkset.KeyOpsVerify) {
		return publicKey{}, false
	}
	// Nothing else of a key matters here, least of all URLs and private parts.
	parsed, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: said.KTY, CRV: said.CRV, X: said.X, Y: said.Y, N: said.N, E: said.E,
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return publicKey{}, false
	}
	k := publicKey{id: said.KID, algorithm: said.ALG.String(), key: parsed.Key()}
	if key, ok := k.key.(*rsa.PublicKey); ok && (key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits) {
		return publicKey{}, false
	}
	return k, slices.ContainsFunc(keyAlgorithms(), k.signs)
}

// unavailable means that a token could not be checked because there was no key, and none
// could be had.
type unavailable struct{ cause error }

func (u *unavailable) Error() string {
	return "the keys of tokens cannot be fetched: " + u.cause.Error()
}

func (u *unavailable) Unwrap() []error { return []error{switchboard.ErrUnavailable, u.cause} }
