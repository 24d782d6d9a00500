package switchboard

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// Options configures a [Manager]. Auth is required; every other zero value is the default
// that stands in its comment. New copies what it needs: changing the slices afterwards
// has no effect.
type Options struct {
	// Auth says who is calling. It is asked at connect and when a client refreshes its
	// credential, concurrently, within Limits.Handshake.
	Auth Authenticator
	// Authorize decides about rooms. nil: Identity.Permissions decide.
	Authorize Authorizer
	// OnConnect runs after Auth and before the welcome; an error refuses the connection,
	// after the upgrade, so that the client hears why. It must not keep the Conn.
	OnConnect func(context.Context, *Conn) error
	// Broker stores and carries messages. nil: in memory, this process only. One that is
	// given is not closed by Shutdown.
	Broker broker.Driver
	// Node names this process in lists and logs. "": the host's name and a random part.
	Node string
	// Origins are those of web pages that may connect besides the request's own host:
	// "https://app.example.com", "https://*.example.com" for any host below it, or "*".
	// Requests without an Origin header do not come from web pages and pass.
	Origins []string
	// SecureOrigins refuses pages that came without TLS, whatever Origins says: somebody on the
	// way may have changed them.
	SecureOrigins bool
	// TrustedProxy are the networks of proxies whose X-Forwarded-For is believed. nil: nobody's,
	// and a client's address is that of its connection. Then all clients behind a proxy share
	// what one address may do. Name the proxies' own networks only, never those of clients.
	TrustedProxy []netip.Prefix
	// SessionKeys are of 32 bytes each; the first one seals session tokens and all of them
	// open. nil: keys that all nodes share in the broker's store, exchanged every 30 days.
	SessionKeys [][]byte
	// RequireTenant refuses contexts and identities that name no tenant.
	RequireTenant bool
	Heartbeat     Heartbeat
	Limits        Limits
	// Quota says what a tenant may cost this node. It is asked when a tenant comes that did nothing
	// for 10 minutes, concurrently, and must not block. A negative field is no bound. nil: no tenant
	// has a bound of its own.
	Quota func(tenant string) Quota
	// Retention is how much of each topic is kept. Zero: 10,000 messages, 7 days; of a
	// partly filled one a zero field is no bound.
	Retention broker.Retention
	// Canaries is how often two users that the manager makes up in each tenant with connections
	// here, eight tenants at a time, try to read each other by all that a client can do: an alarm
	// for faults that tests did not find. See CanaryStats. Zero: never; at least 1 s.
	Canaries time.Duration
	// PresenceProbe is how often one of two users that the manager makes up is cut off, to measure how
	// long the other one sees it online. See PresenceStats. Zero: never; at least 1 s.
	PresenceProbe time.Duration
	// Audit is told of refusals, joins, kicks, tickets and revocations, by several goroutines at once.
	// It must not block. nil: nobody is told.
	Audit func(AuditEvent)
	// Log gets what operators must know. nil: discard.
	Log *slog.Logger
}

// Limits bounds what one client may cost. Zero is the default in parentheses, a negative
// value means no limit.
type Limits struct {
	MessageBytes      int // of one message from a client (64 KiB)
	MessagesPerMinute int // per connection, heartbeats apart (120); all may come at once
	// MessagesPerUser is the same for all connections of a user to this node together (four times
	// MessagesPerMinute).
	MessagesPerUser int
	// ControlPerMinute is what one connection may send besides, all at once: pings, pongs that
	// answer no ping, and acknowledgements for 1 each, auth, logout and session_restore for 10, and
	// everything that is refused; 1 more for each 4 KiB of a message (240). Both clients here spend about 35. One who
	// goes on after it was told RATE_LIMITED, for a tenth more, is closed with 1008.
	ControlPerMinute  int
	Conns             int           // on this node (no limit)
	ConnsPerUser      int           // on this node (20)
	RoomsPerConn      int           // that one connection follows (128)
	Handshake         time.Duration // authentication, OnConnect and upgrade (10 s)
	Frame             time.Duration // from the first byte of a message to its last (30 s)
	Handler           time.Duration // one Handle call (30 s)
	MemoryBytes       int64         // recent messages and texts of all topics; the oldest leave first (a quarter of GOMEMLIMIT, else 256 MiB)
	TenantMemoryBytes int64         // the same of one tenant, and no tenant is the empty one (half of MemoryBytes)
	// Handshakes is how many may be at work at once (256): one takes a few kilobytes and about
	// as long as Auth, and more only wait for each other. HandshakesPerSecond is how many may
	// begin (2,000): about what two cores carry beside their work. Who comes in excess is asked,
	// before Auth, to come back later. A quarter of both is kept for clients that resume a session
	// and whose user has a live run on this node.
	Handshakes, HandshakesPerSecond int
	// By address, in a minute; one of IPv6 counts as its /64, and this machine's own have no
	// bound. ConnsPerAddress is how many may try to connect (60), CallsPerAddress how many HTTP
	// calls of clients they may make (1,200), both without those who show a valid session token.
	// GuessesPerAddress is how many credentials may be refused (10) until none is looked at.
	ConnsPerAddress, CallsPerAddress, GuessesPerAddress int
	// By user, in a minute: new connections (six times ConnsPerUser, at least 60) and HTTP calls
	// (1,200).
	ConnectsPerUser, CallsPerUser int
	// ReadsPerUser is how many HTTP calls of a user may read at once, each until its answer is
	// written (8). What they read is paid for besides, as on a connection.
	ReadsPerUser int
}

// forever stands for no limit where time is computed with.
const forever = 100 * 365 * 24 * time.Hour

// startTimeout bounds what New asks of the broker.
const startTimeout = 10 * time.Second

// checked returns a copy of o with defaults in place. The error names the field.
func (o Options) checked() (Options, error) {
	if o.Auth == nil {
		return o, errors.New("Options.Auth is missing: without it nobody could connect")
	}
	if o.Node == "" {
		o.Node = nodeName()
	}
	if err := wire.CheckID(o.Node); err != nil {
		return o, fmt.Errorf("Options.Node %w", err)
	}
	for i, origin := range o.Origins {
		if err := CheckOrigin(origin); err != nil {
			return o, fmt.Errorf("Options.Origins[%d] %q %w", i, origin, err)
		}
	}
	for i, key := range o.SessionKeys {
		if len(key) != session.KeyBytes {
			return o, fmt.Errorf("Options.SessionKeys[%d] has %d bytes, not %d", i, len(key), session.KeyBytes)
		}
	}
	for i, proxy := range o.TrustedProxy {
		if !proxy.IsValid() || proxy.Bits() == 0 {
			return o, fmt.Errorf("Options.TrustedProxy[%d] is not a network, or everybody's", i)
		}
	}
	o.TrustedProxy = slices.Clone(o.TrustedProxy)
	for i, proxy := range o.TrustedProxy {
		o.TrustedProxy[i] = plainNetwork(proxy)
	}
	if o.Retention == (broker.Retention{}) {
		o.Retention = broker.Retention{Messages: 10_000, Age: 7 * 24 * time.Hour}
	}
	if o.Retention.Messages < 0 || o.Retention.Age < 0 {
		return o, errors.New("Options.Retention must not be negative")
	}
	if o.Canaries != 0 && o.Canaries < time.Second {
		return o, errors.New("Options.Canaries must be at least 1s, or 0")
	}
	if o.PresenceProbe != 0 && o.PresenceProbe < time.Second {
		return o, errors.New("Options.PresenceProbe must be at least 1s, or 0")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.withDefaults()
	var err error
	o.Heartbeat, err = o.Heartbeat.checked()
	return o, err
}

func (l Limits) withDefaults() Limits {
	l.MessageBytes = limit(l.MessageBytes, 64<<10, math.MaxInt32)
	l.MessagesPerMinute = limit(l.MessagesPerMinute, 120, 0)
	l.MessagesPerUser = limit(l.MessagesPerUser, 4*l.MessagesPerMinute, 0)
	l.ControlPerMinute = limit(l.ControlPerMinute, 240, 0)
	l.Conns = limit(l.Conns, 0, 0)
	l.ConnsPerUser = limit(l.ConnsPerUser, 20, 0)
	l.RoomsPerConn = limit(l.RoomsPerConn, 128, 0)
	l.Handshake = limit(l.Handshake, 10*time.Second, forever)
	l.Handshakes = limit(l.Handshakes, 256, 0)
	l.HandshakesPerSecond = limit(l.HandshakesPerSecond, 2000, 0)
	l.ConnsPerAddress = limit(l.ConnsPerAddress, 60, 0)
	l.CallsPerAddress = limit(l.CallsPerAddress, 1200, 0)
	l.GuessesPerAddress = limit(l.GuessesPerAddress, 10, 0)
	connects := -1
	if l.ConnsPerUser > 0 {
		connects = max(60, 6*l.ConnsPerUser)
	}
	l.ConnectsPerUser = limit(cmp.Or(l.ConnectsPerUser, connects), 0, 0)
	l.CallsPerUser = limit(l.CallsPerUser, 1200, 0)
	l.ReadsPerUser = limit(l.ReadsPerUser, 8, 0)
	l.Frame = limit(l.Frame, 30*time.Second, forever)
	l.Handler = limit(l.Handler, 30*time.Second, forever)
	l.MemoryBytes = limit(l.MemoryBytes, defaultMemory(), math.MaxInt64)
	l.TenantMemoryBytes = limit(l.TenantMemoryBytes, l.MemoryBytes/2, math.MaxInt64)
	return l
}

// limit is v, or what stands for its default or for no limit.
func limit[T int | int64 | time.Duration](v, standard, none T) T {
	switch {
	case v == 0:
		return standard
	case v < 0:
		return none
	}
	return v
}

func defaultMemory() int64 {
	if total := debug.SetMemoryLimit(-1); total < math.MaxInt64 {
		return max(total/4, 16<<20)
	}
	return 256 << 20
}

func nodeName() string {
	host, err := os.Hostname()
	if err != nil || wire.CheckID(host) != nil || len(host) > 100 {
		host = "node"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}
