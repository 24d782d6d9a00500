package switchboard

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/quota"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// Bounds of what is remembered at the door. Whoever comes beyond them shares a bucket.
const (
	manyAddresses = 1 << 16
	manyUsers     = 1 << 16
	manyOrigins   = 1 << 10
)

const (
	// maxHead is how large a request's line and headers may be together: room for the longest
	// event id, a credential and what browsers and proxies add. Servers have bounds of their own,
	// but that of net/http is a megabyte unless it is set.
	maxHead = 64 << 10

	// maxFarewells is how many refused clients are waited for at once until they have read why.
	// The rest is refused as clients are that offer no subprotocol.
	maxFarewells = 256

	// violations is how often an origin that may not connect is told so before it is blocked,
	// which ends when it has not been seen for a while: forgiven is how many it is forgiven in a
	// minute.
	violations = 5
	forgiven   = 0.5
)

// ticketsPerMinute bounds how many tickets a user gets from one node.
const ticketsPerMinute = 60

// Reasons of refusals at the door, beside those of docs/operations.md that need no name here.
const (
	whyAddress = "address_rate"
	whyGuesses = "guesses"
	whyUser    = "user_rate"
	whyReads   = "reads"
	whyPages   = "read_rate"
	whyBlocked = "origin_blocked"
	// whyMessages is of messages, not of who comes in.
	whyMessages = "messages"
	// whyOverfull is of connections that do not take what they are told.
	whyOverfull = "overfull"
	// whyMembers is of memberships.
	whyMembers = "members"
)

// door is what bounds how often somebody may try to connect or to call, besides admission, which
// is for all together.
type door struct {
	connects  *quota.Table[netip.Prefix] // new connections, by address
	calls     *quota.Table[netip.Prefix] // calls, by address
	guesses   *quota.Table[netip.Prefix] // credentials that were refused, by address
	arrivals  *quota.Table[userID]       // new connections, by user
	asks      *quota.Table[userID]       // calls, by user
	tickets   *quota.Table[userID]
	reads     *quota.Gate[userID]   // large answers to calls, under way, by user
	pages     *quota.Table[userID]  // what calls have read, in messages as on a connection, by user
	receipts  *quota.Table[userID]  // that begin, by user
	handled   *quota.Table[handled] // messages that handlers have forbidden, for the audit log
	strangers *quota.Table[string]  // origins that may not connect
	lingering chan struct{}         // one for each farewell
	notices   notices
	proxies   proxyHint
}

func (d *door) init(limits Limits) {
	d.connects = quota.New[netip.Prefix](float64(limits.ConnsPerAddress), limits.ConnsPerAddress, manyAddresses)
	d.calls = quota.New[netip.Prefix](float64(limits.CallsPerAddress), limits.CallsPerAddress, manyAddresses)
	d.guesses = quota.New[netip.Prefix](float64(limits.GuessesPerAddress), limits.GuessesPerAddress, manyAddresses)
	d.arrivals = quota.New[userID](float64(limits.ConnectsPerUser), limits.ConnectsPerUser, manyUsers)
	d.asks = quota.New[userID](float64(limits.CallsPerUser), limits.CallsPerUser, manyUsers)
	d.reads = quota.NewGate[userID](limits.ReadsPerUser)
	d.pages = quota.New[userID](float64(limits.MessagesPerMinute), limits.MessagesPerMinute, manyUsers)
	d.tickets = quota.New[userID](ticketsPerMinute, ticketsPerMinute, manyUsers)
	d.receipts = quota.New[userID](receiptsPerMinute, receiptsAtOnce, manyUsers)
	d.handled = quota.New[handled](1, 1, manyUsers)
	d.strangers = quota.New[string](forgiven, violations, manyOrigins)
	d.lingering = make(chan struct{}, maxFarewells)
}

// checkHead refuses a request whose line and headers are larger than anybody needs.
func checkHead(r *http.Request) error {
	size := len(r.URL.RawQuery) + len(r.URL.Path)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	if size <= maxHead {
		return nil
	}
	return &refusal{why: "head", cause: &Error{
		Code: wire.CodeTooLarge, Message: "the headers are too large", Details: map[string]any{"limit": maxHead},
	}}
}

// enter takes a connection or a call of the bucket of where it comes from: that of the user, if
// the client has a session token, which cannot be forged and costs no more than to open it, else
// that of the address. So those who share an address with a flood, and were here before, come
// back. Known is whether the user has paid.
func (m *Manager) enter(r *http.Request, offered []string, address *quota.Table[netip.Prefix], user *quota.Table[userID]) (known bool, err error) {
	kind, token := credentialOf(r, offered)
	if kind == sessionCredential {
		if l, err := m.resume(token); err == nil {
			return true, m.enterUser(user, l.identity)
		}
	}
	from := m.addressOf(r)
	key, ok := quota.Address(from)
	if !ok {
		return false, nil
	}
	if wait, ok := address.Take(key, 1, time.Now()); !ok {
		m.door.proxies.refused(m, r, from)
		return false, tooOften(whyAddress, "too many attempts from this address", wait)
	}
	return false, nil
}

// enterUser takes one of the bucket of a user.
func (m *Manager) enterUser(user *quota.Table[userID], id Identity) error {
	if wait, ok := user.Take(userID{id.Tenant, id.User}, 1, time.Now()); !ok {
		return tooOften(whyUser, "too many attempts of this user", wait)
	}
	return nil
}

// mayGuess refuses those whose address has shown too many credentials that are none. They are
// asked to wait before the credential is looked at, so no more are tried.
func (m *Manager) mayGuess(from netip.Addr) error {
	key, ok := quota.Address(from)
	if !ok {
		return nil
	}
	if wait, ok := m.door.guesses.Holds(key, 1, time.Now()); !ok {
		return tooOften(whyGuesses, "too many credentials from this address were refused", wait)
	}
	return nil
}

// guessed counts a credential that was refused.
func (m *Manager) guessed(from netip.Addr) {
	if key, ok := quota.Address(from); ok {
		m.door.guesses.Take(key, 1, time.Now())
	}
}

// guessable reports whether a request shows what could be tried one after the other. A session
// token is none: it is sealed, nobody is asked about it, and all of them may be refused at once,
// after a restart without keys. Nor is a request without anything, as of a page before its login.
func guessable(kind credentialKind, r *http.Request) bool {
	return kind != sessionCredential && (kind != noCredential || len(r.Header["Cookie"]) > 0)
}

// tooOften asks a client to come back when there is room, and a time of its own later.
func tooOften(why, text string, wait time.Duration) *refusal {
	after := wait + rand.N(retryAfter*time.Second) //nolint:gosec // who guesses it learns when another client comes back
	return &refusal{why: why, cause: &Error{
		Code: wire.CodeRateLimited, Message: text, Details: map[string]any{"retry_after_ms": after.Milliseconds()},
	}}
}

// linger upgrades a request that is refused, only to say why, if there is room to wait for those
// who read it. Floods leave half of the room to others.
func (h *handshake) linger(ref *refusal) bool {
	d := &h.m.door
	if h.chosen == "" || ref.why == whyBlocked || ref.why == whyAddress && len(d.lingering) >= maxFarewells/2 || !d.stay() {
		return false
	}
	defer d.goOn()
	nc, _, err := ws.Upgrade(h.w, h.r, h.chosen)
	if err == nil {
		farewell(nc, ref)
	}
	return err == nil
}

func (d *door) stay() bool {
	select {
	case d.lingering <- struct{}{}:
		return true
	default:
		return false
	}
}

func (d *door) goOn() { <-d.lingering }

// notices bounds how often refusals of a kind are logged where operators see it.
type notices struct {
	mu sync.Mutex         // guards of
	of map[string]*notice // by reason, of which there are few
}

type notice struct {
	logged time.Time
	count  int // since
}

// add counts a refusal and returns how many there were since the last was logged, if it is to be
// logged now.
func (n *notices) add(why string, now time.Time) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[string]*notice)
	}
	one := n.of[why]
	if one == nil {
		one = &notice{}
		n.of[why] = one
	}
	one.count++
	if now.Sub(one.logged) >= logAdmission {
		count, one.count, one.logged = one.count, 0, now
	}
	return count
}

// noticed logs a refusal at the door, at most every ten seconds for each reason.
func (m *Manager) noticed(r *http.Request, ref *refusal) {
	switch ref.why {
	case whyAddress, whyGuesses, whyUser, whyReads, whyPages, whyBlocked:
	default:
		return
	}
	if n := m.door.notices.add(ref.why, time.Now()); n > 0 {
		m.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "refused at the door", slog.String("why", ref.why),
			slog.Int("refused", n), slog.String("address", m.addressOf(r).String()))
	}
}

// proxyHint says once what operators get wrong: that all clients have the address of a proxy.
type proxyHint struct {
	mu          sync.Mutex // guards the fields below
	all, inside int        // refusals by address, and those of addresses that are private
	said        bool
}

// enoughRefusals is how many it takes to tell.
const enoughRefusals = 20

func (p *proxyHint) refused(m *Manager, r *http.Request, from netip.Addr) {
	p.mu.Lock()
	p.all++
	if from.IsPrivate() {
		p.inside++
	}
	say := !p.said && p.all >= enoughRefusals && 2*p.inside > p.all
	p.said = p.said || say
	p.mu.Unlock()
	if say {
		m.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn,
			"most who are refused by their address have a private one: if it is a proxy of yours, trust it to say theirs",
			slog.String("address", from.String()))
	}
}
