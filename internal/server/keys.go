package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// tenantHeader names the tenant that a call concerns.
const tenantHeader = "Switchboard-Tenant"

// Scope is a part of the API that a key may be limited to.
type Scope string

// The scopes of API keys.
const (
	ScopePublish Scope = "publish" // publish messages, produce and stop runs
	ScopeRead    Scope = "read"    // read messages, runs and memberships
	ScopeManage  Scope = "manage"  // close connections, revoke credentials, change memberships
	ScopeTickets Scope = "tickets" // make tickets, and so connect as any user
	ScopeMonitor Scope = "monitor" // see connections and counters, but no message
	ScopeAudit   Scope = "audit"   // read the audit log
)

// Scopes returns all of them.
func Scopes() []Scope {
	return []Scope{ScopePublish, ScopeRead, ScopeManage, ScopeTickets, ScopeMonitor, ScopeAudit}
}

// APIKey lets a back end call the API. It holds no secret: the key itself is known to
// its user only.
type APIKey struct {
	// Name is what the log and the audit log call the key; required, unique.
	Name string
	// Hash is that of the key, made by [HashKey].
	Hash [sha256.Size]byte
	// Tenants are those that the key may speak for; none: the default tenant "" only.
	Tenants []string
	// Scopes are what the key may do; none: everything.
	Scopes []Scope
	// Expires is the moment from which the key is refused; zero: never.
	Expires time.Time
}

// HashKey returns what [APIKey] keeps of a key. Keys are long and random, made by
// machines, so a plain hash is enough.
func HashKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// sameHash compares in constant time.
func sameHash(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

func (k *APIKey) may(s Scope) bool { return len(k.Scopes) == 0 || slices.Contains(k.Scopes, s) }

// expired reports whether k is refused at now.
func (k *APIKey) expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// tenant returns the tenant that a request concerns, or false if it is not k's.
func (k *APIKey) tenant(r *http.Request) (string, bool) {
	asked := r.Header.Values(tenantHeader)
	switch {
	case len(asked) > 1:
		return "", false
	case len(asked) == 1:
		return asked[0], k.speaksFor(asked[0])
	case len(k.Tenants) == 1:
		return k.Tenants[0], true
	}
	return "", k.speaksFor("")
}

// home is a tenant that k speaks for.
func (k *APIKey) home() string {
	if len(k.Tenants) > 0 {
		return k.Tenants[0]
	}
	return ""
}

func (k *APIKey) speaksFor(tenant string) bool {
	if len(k.Tenants) == 0 {
		return tenant == ""
	}
	return slices.Contains(k.Tenants, tenant)
}

func checkKeys(keys []APIKey) error {
	names := make(map[string]bool, len(keys))
	for i, k := range keys {
		if err := k.Check(); err != nil {
			return fmt.Errorf("APIKeys[%d]: %w", i, err)
		}
		if names[k.Name] {
			return fmt.Errorf("APIKeys: two keys are called %q", k.Name)
		}
		names[k.Name] = true
	}
	return nil
}

// Check says what is wrong with k by itself.
func (k *APIKey) Check() error {
	switch {
	case k.Name == "":
		return errors.New("a key needs a name")
	case sameHash(k.Hash, [sha256.Size]byte{}) || sameHash(k.Hash, HashKey("")):
		return fmt.Errorf("%q has no key", k.Name)
	}
	for _, s := range k.Scopes {
		if !slices.Contains(Scopes(), s) {
			return fmt.Errorf("%q: there is no scope %q, only %v", k.Name, s, Scopes())
		}
	}
	for _, t := range k.Tenants {
		if t == "" {
			continue
		}
		if err := wire.CheckID(t); err != nil {
			return fmt.Errorf("%q: a tenant %w", k.Name, err)
		}
	}
	return nil
}

// keyring finds the key of a request.
type keyring []APIKey

// keyEndsSoon is how long before its end a key is told of when the server starts.
const keyEndsSoon = 14 * 24 * time.Hour

// warn logs which keys end soon or have ended.
func (ring keyring) warn(log *slog.Logger, now time.Time) {
	for i := range ring {
		k := &ring[i]
		which := []slog.Attr{slog.String("key", k.Name), slog.Time("expires", k.Expires.UTC())}
		switch {
		case k.expired(now):
			log.LogAttrs(context.Background(), slog.LevelWarn, "api key has expired: it is refused", which...)
		case !k.Expires.IsZero() && k.Expires.Sub(now) <= keyEndsSoon:
			log.LogAttrs(context.Background(), slog.LevelWarn, "api key ends soon", which...)
		}
	}
}

var (
	errNoKey      = errors.New("an API key is required: Authorization: Bearer <key>")
	errKeyExpired = errors.New("the API key has expired")
)

// of returns the key that r shows, and with it errKeyExpired if it was good once. It compares with
// all keys, each in constant time, so that how long it takes tells nothing about them.
func (ring keyring) of(r *http.Request) (*APIKey, error) {
	token, _ := ws.Bearer(r)
	if token == "" {
		return nil, errNoKey
	}
	hash := HashKey(token)
	var found *APIKey
	for i := range ring {
		if sameHash(hash, ring[i].Hash) {
			found = &ring[i]
		}
	}
	if found == nil {
		return nil, errors.New("the API key is not known")
	}
	if found.expired(time.Now()) {
		return found, errKeyExpired
	}
	return found, nil
}
