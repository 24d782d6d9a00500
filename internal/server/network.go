package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/internal/yield"
	"github.com/netra-systems/switchboard/wire"
)

// invitation is how long a link for a client of the network is good: as long as a ticket may be.
const invitation = time.Hour

// networkKey is the key of a context whose request came by Config.Network.
type networkKey struct{}

func fromNetwork(ctx context.Context) bool { return ctx.Value(networkKey{}) != nil }

// listeners are those of a server. Which of them a request came by decides what it may do.
type listeners struct {
	here    net.Listener
	network net.Listener // nil: none
}

// listen opens what cfg names.
func listen(ctx context.Context, cfg Config) (listeners, error) {
	var l listeners
	var err error
	if l.here, err = listenAt(ctx, cfg.Listen); err != nil {
		return l, err // it names the operation and the address
	}
	if cfg.Network != "" {
		if l.network, err = listenAt(ctx, cfg.Network); err != nil {
			return l, errors.Join(err, l.here.Close())
		}
	}
	return l, nil
}

// listenAt opens one. Connections are accepted when they have said something, and one after the other.
func listenAt(ctx context.Context, address string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{Control: deferAccept}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return yield.Listener(ln), nil
}

func (l listeners) all() []net.Listener {
	if l.network == nil {
		return []net.Listener{l.here}
	}
	return []net.Listener{l.here, l.network}
}

func (l listeners) close() (err error) {
	for _, ln := range l.all() {
		err = errors.Join(err, ln.Close())
	}
	return err
}

// mark is the BaseContext of an http.Server.
func (l listeners) mark(ln net.Listener) context.Context {
	if ln == l.network {
		return context.WithValue(context.Background(), networkKey{}, true)
	}
	return context.Background()
}

// notForNetwork refuses clients of the network: what lets them in are tickets and session tokens,
// which no authenticator sees. That of development judges by the address of the peer, which
// somebody in between may have changed.
func notForNetwork(next switchboard.Authenticator) switchboard.Authenticator {
	return func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		if cred.Request != nil && fromNetwork(cred.Request.Context()) {
			return switchboard.Identity{}, switchboard.ErrUnauthenticated
		}
		return next(ctx, cred)
	}
}

// apart sends requests of the network to a handler of their own, if they come to an address,
// and from a page of that address or from none.
func apart(network, others http.Handler) http.Handler {
	network = plainHost(network.ServeHTTP)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !fromNetwork(r.Context()):
			others.ServeHTTP(w, r)
		case !sameOrigin(r):
			newProblem(http.StatusForbidden, wire.CodeForbidden, "origin is not allowed").write(w)
		default:
			network.ServeHTTP(w, r)
		}
	})
}

func sameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && strings.EqualFold(u.Host, r.Host)
}

// invite makes a link for a client of the network, and another when that cannot be used any
// more, until ctx ends.
func (s *Server) invite(ctx context.Context, m *switchboard.Manager, store broker.Store, network net.Addr) {
	for ctx.Err() == nil {
		// What a page does needs no rights in rooms.
		ticket, err := m.Access().Ticket(ctx, switchboard.Identity{User: pageUser}, invitation)
		if err == nil {
			s.cfg.Invite(baseURL(network, false) + "/#ticket=" + ticket)
			err = session.AwaitTicket(ctx, store, ticket)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelError, "no more links for the network", slog.Any("err", err))
			}
			return
		}
	}
}
