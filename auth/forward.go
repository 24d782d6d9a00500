package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

const (
	askTimeout     = 3 * time.Second // for an answer, and for a place to ask
	maxAsked       = 64              // questions under way
	maxAnswerBytes = 64 << 10
	maxAnswerHead  = 16 << 10
	// maxCached is how long an answer is used at most, whatever it says: so long who asks anew
	// would not hear that it has changed.
	maxCached = 5 * time.Minute
	// maxForwardedFor bounds what is passed on of the addresses that a client came by.
	maxForwardedFor = 1 << 10
)

// Forward asks another server who is calling. URL is required; every other zero field is the
// stated default.
type Forward struct {
	// URL is asked by GET: https, or http on this machine.
	URL string
	// Tenants are those that answers may name. nil: only the one without a name.
	Tenants []string
	// Life is how long a login lasts of which the answer does not say it (1 h), and MaxLife how
	// long one lasts at most (24 h).
	Life, MaxLife time.Duration
	// Log gets a warning when there are no answers, or ones that cannot be understood; nil:
	// discard.
	Log *slog.Logger
}

// answer is what URL says of a login.
type answer struct {
	User        string          `json:"user"`
	Tenant      string          `json:"tenant"`
	Permissions []string        `json:"permissions"`
	ExpiresAt   float64         `json:"expires_at"` // seconds since 1970; 0: Life from now
	IssuedAt    float64         `json:"issued_at"`  // the same; 0: now
	TokenID     string          `json:"token_id"`
	SID         string          `json:"sid"`
	Claims      json.RawMessage `json:"claims"`
}

// NewForward returns an authenticator that asks f.URL about each token, with
// "Authorization: Bearer" and the token, the client's Origin, and an X-Forwarded-For to which the
// address of the peer is added. 200 lets in whom the body names:
//
//	{"user": "alice", "tenant": "acme", "permissions": ["room:team:*"], "expires_at": 1767225600,
//	 "issued_at": 1767222000, "token_id": "…", "sid": "…", "claims": {…}}
//
// User is required, other members are refused. 401 says that the token is not good, and 403 that
// its user may not connect. Everything else, and none within 3 s, is
// [switchboard.ErrUnavailable]; redirects are not followed. 64 questions are under way at most.
// An answer is used again for the same token and origin if its Cache-Control says max-age, for so
// long and five minutes at most.
//
// Cookies are not passed on: a browser sends them from whatever page opens a connection, so
// pages of others could connect as their visitor. Who comes without a token is refused, and
// nobody is asked.
//
// It may be called concurrently. Until ctx ends it keeps connections to URL.
func NewForward(ctx context.Context, f Forward) (switchboard.Authenticator, error) {
	if err := CheckAuthURL(f.URL); err != nil {
		return nil, fmt.Errorf("auth: Forward.URL %w", err)
	}
	f.Life, f.MaxLife = cmp.Or(f.Life, time.Hour), cmp.Or(f.MaxLife, 24*time.Hour)
	if f.Life < 0 || f.MaxLife < f.Life {
		return nil, errors.New("auth: Forward.Life must be positive and not above MaxLife")
	}
	if err := checkTenants(f.Tenants); err != nil {
		return nil, fmt.Errorf("auth: Forward.Tenants: %w", err)
	}
	if f.Tenants == nil {
		f.Tenants = []string{""}
	}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	f.Tenants = slices.Clone(f.Tenants)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxAsked, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswerHead,
		DisableCompression: true, // a small body must not become a large one
	}
	a := &asker{Forward: f, places: make(chan struct{}, maxAsked), known: newMemory(), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	context.AfterFunc(ctx, func() {
		a.ended.Store(true)
		transport.CloseIdleConnections()
	})
	return a.authenticate, nil
}

// CheckAuthURL says why logins are not asked for at a URL: it must be https, or http on this
// machine.
func CheckAuthURL(address string) error { return checkURL(address, "https://login.example.com/who") }

// asker is a Forward at work.
type asker struct {
	Forward
	client *http.Client
	ended  atomic.Bool   // no connection is kept any more
	places chan struct{} // one for each question under way
	known  *memory
	quiet  quiet
}

func (a *asker) authenticate(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if !visibleText(cred.Token) { // nor could it be in a header
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	var origin string
	if r := cred.Request; r != nil {
		if len(r.Header["Origin"]) > 1 {
			return switchboard.Identity{}, switchboard.ErrUnauthenticated
		}
		origin = r.Header.Get("Origin")
	}
	key := hash(sha256.Sum256([]byte(cred.Token + "\x00" + origin)))
	if id, ok := a.known.get(key, 0, time.Now()); ok {
		return id, nil
	}
	id, cached, err := a.ask(ctx, cred, origin)
	if err != nil {
		if errors.Is(err, switchboard.ErrUnavailable) && ctx.Err() == nil && a.quiet.over(time.Now()) {
			a.Log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "logins cannot be asked for", slog.Any("err", err))
		}
		return switchboard.Identity{}, err
	}
	if until := time.Now().Add(cached); cached > 0 {
		if id.Expires.Before(until) {
			until = id.Expires
		}
		a.known.put(key, id, len(cred.Token)+len(origin), 0, until)
	}
	return id, nil
}

// ask asks who a token is of, and for how long the answer may be used again.
func (a *asker) ask(ctx context.Context, cred switchboard.Credential, origin string) (id switchboard.Identity, cached time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return id, 0, noAnswer(errors.New("too many logins are asked for at once"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, http.NoBody)
	if err != nil {
		return id, 0, noAnswer(err)
	}
	req.Close = a.ended.Load()
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+cred.Token)
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	if way := forwardedFor(cred.Request); way != "" {
		req.Header.Set("X-Forwarded-For", way)
	}
	res, err := a.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL, which may hold a secret
		}
		return id, 0, noAnswer(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return id, 0, noAnswer(err)
	}
	id, err = a.read(res.StatusCode, body, time.Now())
	return id, cacheFor(res.Header), err
}

// read makes of an answer whom it lets in.
func (a *asker) read(status int, body []byte, now time.Time) (switchboard.Identity, error) {
	var said answer
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	case http.StatusForbidden:
		return switchboard.Identity{}, &switchboard.Error{Code: wire.CodeForbidden, Message: "you may not connect"}
	default:
		return switchboard.Identity{}, noAnswer(fmt.Errorf("got status %d", status))
	}
	if len(body) > maxAnswerBytes {
		return switchboard.Identity{}, noAnswer(fmt.Errorf("the body has more than %d bytes", maxAnswerBytes))
	}
	if err := wire.UnmarshalExact(body, &said); err != nil {
		return switchboard.Identity{}, noAnswer(fmt.Errorf("the body: %w", err))
	}
	if err := wire.CheckID(said.User); err != nil {
		return switchboard.Identity{}, noAnswer(fmt.Errorf("user %w", err))
	}
	for _, at := range []float64{said.ExpiresAt, said.IssuedAt} {
		if at < 0 || at > lastSecond {
			return switchboard.Identity{}, noAnswer(errors.New("times are in seconds since 1970"))
		}
	}
	if !slices.Contains(a.Tenants, said.Tenant) {
		return switchboard.Identity{}, refused("the login names a tenant that it may not")
	}
	id := switchboard.Identity{
		Tenant: said.Tenant, User: said.User, Permissions: said.Permissions, TokenID: said.TokenID, SID: said.SID,
		Expires: now.Add(a.Life), Issued: now,
	}
	if said.ExpiresAt != 0 {
		id.Expires = fromSeconds(said.ExpiresAt)
	}
	if latest := now.Add(a.MaxLife); id.Expires.After(latest) {
		id.Expires = latest
	}
	if !now.Before(id.Expires) {
		return switchboard.Identity{}, refused("the login has expired")
	}
	if said.IssuedAt != 0 {
		id.Issued = fromSeconds(said.IssuedAt)
	}
	if len(said.Claims) > 0 && string(said.Claims) != "null" {
		id.Claims = said.Claims
	}
	return id, nil
}

func fromSeconds(s float64) time.Time { return time.UnixMilli(int64(s * 1000)) }

// noAnswer means that nobody could say who is calling.
func noAnswer(cause error) error {
	return fmt.Errorf("the login could not be asked for: %w: %w", switchboard.ErrUnavailable, cause)
}

// cacheFor is how long an answer may be used again.
func cacheFor(header http.Header) (d time.Duration) {
	for part := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			d = min(time.Duration(seconds)*time.Second, maxCached)
		}
	}
	return d
}

// forwardedFor is where a request comes from, as a proxy would say it: what the client or
// proxies before this server say, and then the one address that is known for sure.
func forwardedFor(r *http.Request) string {
	if r == nil {
		return ""
	}
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	if before := strings.Join(r.Header.Values("X-Forwarded-For"), ", "); before != "" && len(before) <= maxForwardedFor {
		return before + ", " + peer
	}
	return peer
}

// visibleText reports whether text is a token that a header can carry.
func visibleText(text string) bool {
	return text != "" && len(text) <= MaxTokenBytes && !slices.ContainsFunc([]byte(text), func(b byte) bool { return b <= ' ' || b > '~' })
}
