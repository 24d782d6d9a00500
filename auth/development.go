package auth

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// DevelopmentUser is who connects in development without saying more.
const DevelopmentUser = "dev_user"

// Development returns an authenticator for a programmer's own machine. It lets in who comes
// without a credential, from a loopback address, to a loopback host and, if it is a web page,
// from one of a loopback host too: as the user that the query parameter "user" names, else as
// [DevelopmentUser], with all rights in all rooms. Whoever brings a credential is refused,
// because nothing here could check it.
//
// All three conditions matter: a page on the internet can make a browser connect to this
// machine, and a name on the internet can be made to resolve to it. It must not stand behind
// a proxy, to whom everybody's address is loopback.
func Development() switchboard.Authenticator {
	return func(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		r := cred.Request
		if r != nil && !loopbackOrigin(r) {
			return switchboard.Identity{}, &switchboard.Error{Code: wire.CodeForbidden, Message: "origin is not allowed"}
		}
		if r == nil || cred.Token != "" || !loopbackPeer(r) || !loopbackHost(r.Host) {
			return switchboard.Identity{}, switchboard.ErrUnauthenticated
		}
		id := switchboard.Identity{User: DevelopmentUser, Permissions: []string{"room:*:*"}, Issued: time.Now()}
		if user := r.URL.Query().Get("user"); user != "" {
			if err := wire.CheckID(user); err != nil {
				return switchboard.Identity{}, refused("user " + err.Error())
			}
			id.User = user
		}
		return id, nil
	}
}

func loopbackPeer(r *http.Request) bool {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// loopbackHost reports whether hostport names this machine, with or without a port.
func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// loopbackOrigin reports whether the page that asks, if it is one, is of this machine.
func loopbackOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && loopbackHost(u.Host)
}
