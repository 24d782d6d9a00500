package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// StoredRevocations begins the keys of all revocations: a hash of the tenant and the id follow.
const StoredRevocations = "switchboard/revocation/"

// ErrRevocation means that what is stored is not a revocation, or stands in another's place.
var ErrRevocation = errors.New("not a revocation")

// Revocation is one as it is stored. Exactly one of User, Session, TokenID and SID is set.
type Revocation struct {
	ID, Tenant                  string
	User, Session, TokenID, SID string
	NotBefore                   time.Time // credentials issued before are refused; zero: all
	Until                       time.Time // when it ends by itself; zero: never
	Made                        time.Time
	CancelRuns                  bool // those that User asked for before Made
	Reason                      string
	// Of a logout: the user and the connection; else "".
	Owner, By string
}

// storedBody is the encoding of a Revocation. Times are in milliseconds since 1970; 0 is zero.
type storedBody struct {
	ID         string `json:"id"`
	Tenant     string `json:"tenant,omitempty"`
	User       string `json:"user,omitempty"`
	Session    string `json:"session,omitempty"`
	TokenID    string `json:"token_id,omitempty"`
	SID        string `json:"sid,omitempty"`
	NotBefore  int64  `json:"not_before,omitempty"`
	Until      int64  `json:"until,omitempty"`
	Made       int64  `json:"made"`
	CancelRuns bool   `json:"cancel_runs,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Owner      string `json:"owner,omitempty"`
	By         string `json:"by,omitempty"`
}

// RevocationPrefix begins the keys of a tenant's revocations.
func RevocationPrefix(tenant string) string {
	sum := sha256.Sum256([]byte(tenant))
	return StoredRevocations + hex.EncodeToString(sum[:16]) + "/"
}

// Key is where r is stored.
func (r *Revocation) Key() string { return RevocationPrefix(r.Tenant) + r.ID }

// Store writes r, for as long as it holds. It must not be over at now.
func (r *Revocation) Store(ctx context.Context, store broker.Store, now time.Time) error {
	var ttl time.Duration
	if !r.Until.IsZero() {
		if ttl = r.Until.Sub(now); ttl <= 0 { // the store would keep it for good
			return errors.New("store revocation: it is over already")
		}
	}
	value, err := r.Encode()
	if err == nil {
		_, err = store.Put(ctx, r.Key(), value, 0, ttl)
	}
	if err != nil {
		return fmt.Errorf("store revocation: %w", err)
	}
	return nil
}

// Encode writes r for the store. Parts of milliseconds are lost: NotBefore is rounded up, so
// that nothing is good that should not be.
func (r *Revocation) Encode() ([]byte, error) {
	return json.Marshal(storedBody{
		ID: r.ID, Tenant: r.Tenant, User: r.User, Session: r.Session, TokenID: r.TokenID, SID: r.SID,
		NotBefore: millis(roundUp(r.NotBefore)), Until: millis(roundUp(r.Until)), Made: millis(r.Made),
		CancelRuns: r.CancelRuns, Reason: r.Reason, Owner: r.Owner, By: r.By,
	})
}

// ParseRevocation reads what is stored at key. The error is [ErrRevocation].
func ParseRevocation(key string, value []byte) (*Revocation, error) {
	var b storedBody
	if err := json.Unmarshal(value, &b); err != nil {
		return nil, ErrRevocation
	}
	r := &Revocation{
		ID: b.ID, Tenant: b.Tenant, User: b.User, Session: b.Session, TokenID: b.TokenID, SID: b.SID,
		NotBefore: fromMillis(b.NotBefore), Until: fromMillis(b.Until), Made: fromMillis(b.Made),
		CancelRuns: b.CancelRuns, Reason: b.Reason, Owner: b.Owner, By: b.By,
	}
	named := 0
	for _, name := range []string{r.User, r.Session, r.TokenID, r.SID} {
		if name != "" {
			named++
		}
	}
	if named != 1 || r.ID == "" || strings.Contains(r.ID, "/") || r.Key() != key {
		return nil, ErrRevocation
	}
	return r, nil
}

// holds reports whether r counts at now.
func (r *Revocation) holds(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// refuses reports whether a credential that r names is refused, by when it was issued. Of one
// that does not say so the worst is assumed.
func (r *Revocation) refuses(issued, now time.Time) bool {
	return r.holds(now) && (r.NotBefore.IsZero() || issued.IsZero() || issued.Before(r.NotBefore))
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// roundUp is the first whole millisecond that is not before t.
func roundUp(t time.Time) time.Time {
	if whole := time.UnixMilli(t.UnixMilli()); t.IsZero() || !whole.Before(t) {
		return t
	}
	return time.UnixMilli(t.UnixMilli() + 1)
}
