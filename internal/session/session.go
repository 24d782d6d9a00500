// Package session seals what outlives a connection, a session's id and its identity, into
// tokens that clients keep and present to come back, on any node that has the key; and it
// keeps tickets, which open one connection each.
//
// Both are bearer credentials. Neither holds positions: those are the client's to say.
package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Prefix begins every token, so that one can be told from other credentials and found in
// a log where it does not belong.
const Prefix = "swt_"

// Life is how long a token of a credential without expiry can be used, and Longest how long a
// session can be resumed with tokens only, whatever its credential says: then the client has to
// show a credential again. So a session that was revoked that long ago can be forgotten, and so can
// a key that has not sealed since.
const (
	Life    = 24 * time.Hour
	Longest = 30 * 24 * time.Hour
)

// KeyBytes is the size of a sealing key.
const KeyBytes = 32

// What is wrong with a token. It is never said more precisely to whom presented it.
var (
	ErrInvalid = errors.New("not a session token of this server")
	ErrExpired = errors.New("the session token has expired")
)

// Token is what a session token says.
type Token struct {
	Session      [12]byte // the session's id
	Lineage      Lineage  // the sessions that it came of
	Tenant, User string
	Permissions  []string
	TokenID, SID string          // of the credential that began the session, for revocation
	Claims       json.RawMessage // of that credential, nil: none
	Issued       time.Time       // when that credential was; zero: not known
	Shown        time.Time       // when that credential was shown to begin or renew the session
	Credential   time.Time       // when that credential expires; zero: never
	Expires      time.Time       // when the token does; see [Expiry]
}

// Expiry is when a token of a credential ends that expires at credential (zero: never) and was
// shown at shown, if it is sealed now: with the credential or else after [Life], and [Longest]
// after shown.
func Expiry(credential, shown, now time.Time) time.Time {
	ends, last := credential, shown.Add(Longest)
	if ends.IsZero() {
		ends = now.Add(Life)
	}
	if ends.After(last) {
		return last
	}
	return ends
}

// body is the encoding of a Token. Times are in milliseconds since 1970.
type body struct {
	Session     []byte          `json:"s"`
	Lineage     []byte          `json:"f,omitempty"` // of older versions there is none
	Tenant      string          `json:"t,omitempty"`
	User        string          `json:"u"`
	Permissions []string        `json:"p,omitempty"`
	TokenID     string          `json:"j,omitempty"`
	SID         string          `json:"i,omitempty"`
	Claims      json.RawMessage `json:"c,omitempty"`
	Issued      int64           `json:"a,omitempty"`
	Shown       int64           `json:"b,omitempty"`
	Credential  int64           `json:"x,omitempty"`
	Expires     int64           `json:"e"`
}

// Sealer makes and opens tokens. Its methods may be called concurrently.
type Sealer struct {
	stored bool                  // immutable: the keys are the store's
	ring   atomic.Pointer[[]key] // the newest first; replaced, never changed
	mu     sync.Mutex            // held to replace ring
}

// key is immutable.
type key struct {
	id     [4]byte
	secret []byte
	from   time.Time // when it begins to seal; zero: it does
}

func newKey(secret []byte, from time.Time) key {
	sum := sha256.Sum256(append([]byte("switchboard session key id\x00"), secret...))
	return key{id: [4]byte(sum[:4]), secret: bytes.Clone(secret), from: from}
}

// NewSealer makes a sealer of one key or more, each of [KeyBytes]. The first one seals and
// all of them open, so that keys can be exchanged without ending sessions.
func NewSealer(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("session: no key")
	}
	var ring []key
	for i, k := range keys {
		if len(k) != KeyBytes {
			return nil, fmt.Errorf("session: key %d has %d bytes, not %d", i, len(k), KeyBytes)
		}
		ring = append(ring, newKey(k, time.Time{}))
	}
	s := &Sealer{}
	s.ring.Store(&ring)
	return s, nil
}

// sealing is the newest key that seals at now.
func (s *Sealer) sealing(now time.Time) key {
	ring := *s.ring.Load()
	for _, k := range ring {
		if !now.Before(k.from) {
			return k
		}
	}
	return ring[len(ring)-1] // a clock that goes behind: others open it too
}

// The parts of a token after the prefix and base64url: version, key id, salt, ciphertext
// with tag. The header, which is authenticated too, is all but the last.
const (
	version     = 1
	saltBytes   = 24
	headerBytes = 1 + 4 + saltBytes
)

// Seal encrypts t. Two tokens of the same t differ.
func (s *Sealer) Seal(t Token) (string, error) {
	plain, err := encode(t)
	if err != nil {
		return "", fmt.Errorf("seal session token: %w", err)
	}
	k := s.sealing(time.Now())
	sealed := make([]byte, headerBytes, headerBytes+len(plain)+16)
	sealed[0] = version
	copy(sealed[1:], k.id[:])
	_, _ = rand.Read(sealed[5:headerBytes]) // it never fails
	aead, nonce, err := k.cipher(sealed[5:headerBytes])
	if err != nil {
		return "", fmt.Errorf("seal session token: %w", err)
	}
	sealed = aead.Seal(sealed, nonce, plain, sealed[:headerBytes])
	return Prefix + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open decrypts a token that Seal made with one of the keys and that has not expired at
// now. The error is [ErrInvalid] or [ErrExpired].
func (s *Sealer) Open(text string, now time.Time) (Token, error) {
	coded, ok := strings.CutPrefix(text, Prefix)
	if !ok {
		return Token{}, ErrInvalid
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(coded)
	if err != nil || len(sealed) < headerBytes || sealed[0] != version {
		return Token{}, ErrInvalid
	}
	for _, k := range *s.ring.Load() {
		if !bytes.Equal(k.id[:], sealed[1:5]) {
			continue
		}
		aead, nonce, err := k.cipher(sealed[5:headerBytes])
		if err != nil {
			return Token{}, ErrInvalid
		}
		plain, err := aead.Open(nil, nonce, sealed[headerBytes:], sealed[:headerBytes])
		if err != nil {
			return Token{}, ErrInvalid
		}
		return decode(plain, now)
	}
	return Token{}, ErrInvalid
}

// cipher derives the key and nonce of one token from its salt: with random nonces under one
// key, a fleet that hands out tokens for years would have to count them.
func (k key) cipher(salt []byte) (cipher.AEAD, []byte, error) {
	material, err := hkdf.Key(sha256.New, k.secret, salt, "switchboard session token", KeyBytes+12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(material[:KeyBytes])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, material[KeyBytes:], err
}

// encode writes t for Seal, or for the store.
func encode(t Token) ([]byte, error) {
	b := body{
		Session: t.Session[:], Lineage: []byte(t.Lineage), Tenant: t.Tenant, User: t.User, Permissions: t.Permissions,
		TokenID: t.TokenID, SID: t.SID, Claims: t.Claims, Expires: t.Expires.UnixMilli(),
		Issued: millis(t.Issued), Shown: millis(t.Shown), Credential: millis(t.Credential),
	}
	return json.Marshal(b)
}

// decode reads what encode wrote.
func decode(plain []byte, now time.Time) (Token, error) {
	var b body
	if err := json.Unmarshal(plain, &b); err != nil || len(b.Session) != sessionBytes {
		return Token{}, ErrInvalid
	}
	lineage, ok := ParseLineage(b.Lineage)
	if !ok {
		return Token{}, ErrInvalid
	}
	t := Token{
		Session: [12]byte(b.Session), Lineage: lineage, Tenant: b.Tenant, User: b.User, Permissions: b.Permissions,
		TokenID: b.TokenID, SID: b.SID, Claims: b.Claims, Expires: time.UnixMilli(b.Expires),
		Issued: fromMillis(b.Issued), Shown: fromMillis(b.Shown), Credential: fromMillis(b.Credential),
	}
	if !now.Before(t.Expires) {
		return Token{}, ErrExpired
	}
	return t, nil
}
