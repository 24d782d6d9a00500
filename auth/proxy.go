package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// The headers by which a proxy says who is calling.
const (
	HeaderUser        = "Switchboard-User"
	HeaderTenant      = "Switchboard-Tenant"
	HeaderPermissions = "Switchboard-Permissions" // separated by commas
	HeaderExpires     = "Switchboard-Expires"     // in seconds since 1970
)

// proxyHeaders returns all of them.
func proxyHeaders() []string {
	return []string{HeaderUser, HeaderTenant, HeaderPermissions, HeaderExpires}
}

// Proxy believes a proxy that has checked who is calling. Networks is required; every other
// zero field is the stated default.
type Proxy struct {
	// Networks are those of the proxies. The peer of a connection must be in one of them: what
	// it says in X-Forwarded-For does not count here.
	Networks []netip.Prefix
	// Tenants are those that the proxies may name. nil: only the one without a name.
	Tenants []string
	// Life is how long a login lasts of which no header says it (1 h).
	Life time.Duration
	// Next is asked about who comes with a token and without these headers. nil: nobody, and
	// they are refused.
	Next switchboard.Authenticator
	// Log gets a warning when headers come from somebody else; nil: discard.
	Log *slog.Logger
}

// NewProxy returns an authenticator that takes identities from the headers [HeaderUser],
// [HeaderTenant], [HeaderPermissions] and [HeaderExpires] of requests whose peer is a trusted
// proxy. The proxy must remove those that clients send. A request with one of them is refused if
// its peer is anybody else, if one is there twice or is not valid, if there is no user, and if it
// has a token besides: only one of both could be right. It may be called concurrently.
//
// There are no headers when a client refreshes on a live connection, so that needs a token and
// Next; else the client connects again.
func NewProxy(p Proxy) (switchboard.Authenticator, error) {
	if len(p.Networks) == 0 {
		return nil, errors.New("auth: Proxy.Networks is required: everybody could say to be anybody")
	}
	for _, network := range p.Networks {
		if !network.IsValid() {
			return nil, fmt.Errorf("auth: Proxy.Networks: %v is no network", network)
		}
	}
	if err := checkTenants(p.Tenants); err != nil {
		return nil, fmt.Errorf("auth: Proxy.Tenants: %w", err)
	}
	if p.Life < 0 {
		return nil, errors.New("auth: Proxy.Life must not be negative")
	}
	if p.Life == 0 {
		p.Life = time.Hour
	}
	if p.Tenants == nil {
		p.Tenants = []string{""}
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	p.Networks, p.Tenants = slices.Clone(p.Networks), slices.Clone(p.Tenants)
	return (&believer{Proxy: p}).authenticate, nil
}

// believer is a Proxy at work. It is immutable but for quiet.
type believer struct {
	Proxy
	quiet quiet
}

func (b *believer) authenticate(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	r := cred.Request
	said := r != nil && slices.ContainsFunc(proxyHeaders(), func(name string) bool { return len(r.Header[name]) > 0 })
	switch {
	case !said && b.Next != nil && cred.Token != "":
		return b.Next(ctx, cred)
	case !said:
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	case !b.trusts(r.RemoteAddr):
		if b.quiet.over(time.Now()) {
			b.Log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "somebody who is no trusted proxy said who is calling", slog.String("address", r.RemoteAddr))
		}
		return switchboard.Identity{}, &switchboard.Error{Code: wire.CodeForbidden, Message: "only a trusted proxy may say who is calling"}
	case cred.Token != "":
		return switchboard.Identity{}, refused("a token and the headers of a proxy exclude each other")
	}
	return b.identity(r.Header, time.Now())
}

// identity reads the headers of a proxy.
func (b *believer) identity(header http.Header, now time.Time) (switchboard.Identity, error) {
	for _, name := range proxyHeaders() {
		if len(header[name]) > 1 {
			return switchboard.Identity{}, refused(name + " is there twice")
		}
	}
	id := switchboard.Identity{Tenant: header.Get(HeaderTenant), User: header.Get(HeaderUser), Expires: now.Add(b.Life), Issued: now}
	if err := wire.CheckID(id.User); err != nil {
		return switchboard.Identity{}, refused(HeaderUser + " " + err.Error())
	}
	if !slices.Contains(b.Tenants, id.Tenant) {
		return switchboard.Identity{}, refused(HeaderTenant + " names a tenant that it may not")
	}
	if text := header.Get(HeaderPermissions); text != "" {
		for permission := range strings.SplitSeq(text, ",") {
			id.Permissions = append(id.Permissions, strings.TrimSpace(permission))
		}
	}
	if text := header.Get(HeaderExpires); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 || seconds > lastSecond {
			return switchboard.Identity{}, refused(HeaderExpires + " must be a number of seconds since 1970")
		}
		if id.Expires = time.Unix(seconds, 0); !now.Before(id.Expires) {
			return switchboard.Identity{}, refused("the login has expired")
		}
	}
	return id, nil
}

// trusts reports whether a peer is a proxy.
func (b *believer) trusts(peer string) bool {
	at, err := netip.ParseAddrPort(peer)
	addr := at.Addr().Unmap().WithZone("")
	return err == nil && slices.ContainsFunc(b.Networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}
