// Package server joins a manager, the HTTP API for back ends and a listener into one
// process. It is what the binary runs; programs with a server of their own mount a
// switchboard.Manager instead.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/audit"
	"github.com/netra-systems/switchboard/internal/ws"
)

// The bounds of what a client may make the HTTP server wait for or keep.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	// hangUp is how long plain HTTP requests may go on after the manager has shut down.
	hangUp = 5 * time.Second
	// answerTimeout is for answers that come at once, from the head of the request on: those that are
	// large, or come later, have times of their own.
	answerTimeout = callTimeout + 10*time.Second
)

// Config says what a Server serves. Listen is required, and either Auth or Development.
type Config struct {
	// Listen is the TCP address to listen on, as "127.0.0.1:8080"; port 0 picks one.
	Listen string
	// Auth says who a client is; see [switchboard.Options].
	Auth switchboard.Authenticator
	// Development lets clients of this machine in without a credential; see
	// [auth.Development]. Listen should be a loopback address then.
	Development bool
	// Page is a web page, with an index.html and assets, that is served at / in Development;
	// nil: none.
	Page fs.FS
	// Network is a second TCP address to listen on in Development, for clients of the local
	// network; "": none. Each gets in by a link of Invite, and then has the page and what clients
	// may call, but not the API for back ends.
	Network string
	// Invite is told a link that opens the page for one client of the network, and another each
	// time that one was used or has expired. It is called by one goroutine, for which Run waits.
	// It goes with Network.
	Invite func(link string)
	// APIKeys are the keys of back ends. Without any, every call below /api is refused.
	APIKeys []APIKey
	// Broker stores and carries messages; nil: the memory of this process. Its owner
	// closes it after Run has returned.
	Broker broker.Driver
	// TLS makes the server speak https and wss; nil: neither.
	TLS *tls.Config
	// Origins are those of pages that may connect, besides the server's own.
	Origins []string
	// SecureOrigins refuses pages that came without TLS.
	SecureOrigins bool
	// TrustedProxy are the networks of proxies that are believed where a client is.
	TrustedProxy []netip.Prefix
	// SessionKeys, Limits, Quota and Retention are those of [switchboard.Options].
	SessionKeys [][]byte
	Limits      switchboard.Limits
	Quota       func(tenant string) switchboard.Quota
	Retention   broker.Retention
	// ReadsPerTenant is how many calls of the API that read may be under way at once for a tenant, each
	// until its answer is written. Zero: 16; below: no bound.
	ReadsPerTenant int
	// Heartbeat is that of connections; zero: that of production.
	Heartbeat switchboard.Heartbeat
	// Canaries and PresenceProbe are those of [switchboard.Options].
	Canaries, PresenceProbe time.Duration
	// Documents is an agent that answers what users ask; nil: nobody does.
	Documents *Documents
	// Drain is how long clients are given to leave when the server stops (10 s).
	Drain time.Duration
	// Data is a directory for what outlasts the process, which is the audit log, in audit below it;
	// "": that is in memory.
	Data string
	// Audit is the audit log; nil: Run opens one in Data, and closes it.
	Audit *audit.Log
	// Report gets, when the server stops, some lines on how the drain went; nil: nobody does.
	Report io.Writer
	// ReadyFile is a path at which the server tells, while it accepts connections, its
	// URL, process id and ReadyKey; "": none. The file is readable by its owner only.
	ReadyFile string
	// ReadyKey is the API key that the ready file tells; "": none.
	ReadyKey string
	// Version is told in the description of the API.
	Version string
	// Log gets what operators must know; nil: discard.
	Log *slog.Logger
}

func (c Config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("Listen: %w", err)
	}
	if c.Auth == nil && !c.Development {
		return errors.New("Auth is missing: without it nobody could connect")
	}
	if c.Auth != nil && c.Development {
		return errors.New("Development does not go with Auth: it would let everybody past it")
	}
	if (c.Page != nil || c.Network != "") && !c.Development {
		return errors.New("Page and Network go with Development only")
	}
	if (c.Network != "") != (c.Invite != nil) {
		return errors.New("Network and Invite go together")
	}
	if c.Network != "" && c.TLS != nil {
		return errors.New("Network does not go with TLS: no certificate has its address")
	}
	if c.Drain < 0 {
		return errors.New("Drain must not be negative")
	}
	return checkKeys(c.APIKeys)
}

// Server is one node: a manager behind an HTTP server. Make one with [New] and call Run
// once; URL and Ready may be called at any time.
type Server struct {
	cfg       Config
	log       *slog.Logger
	documents *documents    // nil: none
	dev       *development  // nil: not in development
	ready     chan struct{} // closed once url is set
	url       string        // set before ready is closed, immutable afterwards
}

// New checks cfg; the error names the field. It starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	cfg.Drain = cmp.Or(cfg.Drain, 10*time.Second)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, switchboard.HeartbeatFor("production"))
	if cfg.Development {
		cfg.Auth = notForNetwork(auth.Development())
		cfg.Origins = []string{"*"} // it looks at the origin itself: pages of this machine, on any port
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, log: log, ready: make(chan struct{})}
	var err error
	if cfg.Documents != nil {
		if s.documents, err = newDocuments(cfg.Documents); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	if cfg.Development {
		if s.dev, err = newDevelopment(cfg, s.documents, log); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	return s, nil
}

// Ready returns a channel that is closed once the server accepts connections. It stays
// open if Run fails before.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL returns the base URL of the server, with its real port, and "" until it is ready.
// A server that listens on all addresses is told by a loopback one.
func (s *Server) URL() string {
	select {
	case <-s.ready:
		return s.url
	default:
		return ""
	}
}

// Run listens and serves until ctx ends, then moves the clients away and stops. It
// returns when every goroutine it started has ended; nil means that ctx ended and
// nothing went wrong. Call it once.
func (s *Server) Run(ctx context.Context) error {
	lns, err := listen(ctx, s.cfg)
	if err != nil {
		return err
	}
	cfg := s.cfg
	if cfg.Audit != nil {
		return s.run(ctx, cfg, lns)
	}
	if cfg.Audit, err = openAudit(cfg.Data, s.log); err != nil {
		return errors.Join(err, lns.close())
	}
	return errors.Join(s.run(ctx, cfg, lns), cfg.Audit.Close())
}

// run serves with what Run has opened. It closes lns.
func (s *Server) run(ctx context.Context, cfg Config, lns listeners) error {
	driver := cfg.Broker
	if driver == nil {
		own := membroker.New(membroker.Options{})
		defer own.Close()
		driver = own
	}
	m, err := switchboard.New(switchboard.Options{
		Auth: s.cfg.Auth, Broker: driver, Origins: s.cfg.Origins, SecureOrigins: s.cfg.SecureOrigins,
		TrustedProxy: s.cfg.TrustedProxy, SessionKeys: s.cfg.SessionKeys,
		Heartbeat: s.cfg.Heartbeat, Limits: s.cfg.Limits, Quota: s.cfg.Quota, Retention: s.cfg.Retention,
		Canaries: s.cfg.Canaries, PresenceProbe: s.cfg.PresenceProbe, Audit: recordIn(cfg.Audit), Log: s.log,
	})
	if err != nil {
		return errors.Join(err, lns.close())
	}
	s.documents.register(m)
	handler, err := newHandler(m, cfg, s.dev, s.log)
	if err != nil {
		return errors.Join(err, lns.close(), m.Shutdown(ctx))
	}
	return s.serve(ctx, lns, m, driver, handler)
}

// serve owns lns, m and the goroutines that accept and invite.
func (s *Server) serve(ctx context.Context, lns listeners, m *switchboard.Manager, store broker.Store, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		BaseContext:       lns.mark,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       callTimeout, // a body that never ends would keep its connection for good
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// An event stream stays here. Its client may vanish without a word.
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			ws.Tune(nc)
			return ctx
		},
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: s.cfg.TLS,
	}
	accept := srv.Serve
	if s.cfg.TLS != nil {
		accept = func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") }
	}
	var accepting, inviting sync.WaitGroup
	failed := make(chan error, len(lns.all()))
	for _, ln := range lns.all() {
		accepting.Go(func() { failed <- accept(ln) })
	}

	err := s.announce(lns.here.Addr())
	if err == nil {
		invited, cancel := context.WithCancel(ctx)
		if lns.network != nil {
			inviting.Go(func() { s.invite(invited, m, store, lns.network.Addr()) })
		}
		select {
		case <-ctx.Done():
		case err = <-failed: // it cannot accept any more
		}
		cancel()
		inviting.Wait()
	}
	return errors.Join(err, s.stop(context.WithoutCancel(ctx), m, srv, &accepting), s.retire())
}

// announce tells everybody concerned that the server accepts connections.
func (s *Server) announce(addr net.Addr) error {
	s.url = baseURL(addr, s.cfg.TLS != nil)
	if s.cfg.ReadyFile != "" {
		if err := writeReady(s.cfg.ReadyFile, readiness{URL: s.url, Key: s.cfg.ReadyKey}); err != nil {
			return err
		}
	}
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "server ready", slog.String("url", s.url))
	close(s.ready)
	return nil
}

func (s *Server) retire() error {
	if s.cfg.ReadyFile == "" {
		return nil
	}
	return removeReady(s.cfg.ReadyFile)
}

// stop ends the manager first: http.Server.Shutdown neither knows of sockets nor tells
// clients where to go. Requests that come meanwhile are refused by the manager.
func (s *Server) stop(ctx context.Context, m *switchboard.Manager, srv *http.Server, accepting *sync.WaitGroup) error {
	drain, cancel := context.WithTimeout(ctx, s.cfg.Drain)
	defer cancel()
	err := m.Shutdown(drain)
	if err != nil {
		err = fmt.Errorf("drain: %w", err)
	}
	if s.cfg.Report != nil {
		s.report(m.DrainReport())
	}
	quit, cancel := context.WithTimeout(ctx, hangUp)
	defer cancel()
	if late := srv.Shutdown(quit); late != nil {
		err = errors.Join(err, fmt.Errorf("requests were cut off: %w", late), srv.Close())
	}
	accepting.Wait()
	if s.dev != nil {
		for _, links := range s.dev.links {
			links.Wait()
		}
	}
	return err
}

// report tells how the drain went.
func (s *Server) report(r switchboard.DrainReport) {
	fmt.Fprint(s.cfg.Report, r)
	if left := r.Left - min(r.Left, r.Lost); left > 0 && s.cfg.Broker == nil {
		fmt.Fprintf(s.cfg.Report, "  the log is in memory: the %d left in it are lost with this process\n", left)
	}
}

// baseURL is where clients on this machine reach addr.
func baseURL(addr net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	host := addr.String()
	if ap, err := netip.ParseAddrPort(host); err == nil && ap.Addr().IsUnspecified() {
		host = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	return (&url.URL{Scheme: scheme, Host: host}).String()
}
