package switchboard

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	bucket "golang.org/x/time/rate"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Quota bounds what one tenant may cost one node, so that it leaves room for others. A field
// that is not above 0 is no bound. What is in excess is refused with RATE_LIMITED, and rates say after how long to try
// again; a rate may be used up at once. What users publish and what back ends publish is counted
// apart, so that neither leaves nothing to the other.
type Quota struct {
	Conns          int // open at the same time
	ConnsPerSecond int // that begin
	Rooms          int // that are followed, or were within half a minute
	Runs           int // that live and are owned by the node

	// Memberships of rooms, of all nodes together; from three quarters on one may be refused.
	Memberships int
	// TicketsPerMinute are those made, for whomever, of which each is kept for an hour at most.
	TicketsPerMinute int

	MessagesPerMinute int // that users publish
	BytesPerMinute    int // of their payloads

	BackendMessagesPerMinute int // published with [Manager.Publish] or the API
	BackendBytesPerMinute    int // of their payloads

	// HistoryBytes is what the broker keeps of the tenant, on all nodes together: messages, texts
	// and what it needs beside them. Nothing is refused for it but text of runs that would take more
	// than half: what came first leaves first.
	HistoryBytes int
}

// TenantStats is what one node counts of one tenant. The counters begin anew when the tenant had no
// connection and published nothing for 10 minutes.
type TenantStats struct {
	Quota       Quota
	Connections int    // now
	Accepted    uint64 // connections
	Refused     uint64 // connections, because of the quota
	Rooms       int    // that count, now
	Runs        int    // that live here, now
	// How often the quota had no place for a room or a run more.
	RoomsRefused, RunsRefused uint64
	// The same of memberships and tickets.
	MembershipsRefused, TicketsRefused uint64
	// Messages and bytes of payloads that the quota let through, repetitions included, and messages
	// that it refused.
	Published, Bytes, Limited                      uint64 // by users
	BackendPublished, BackendBytes, BackendLimited uint64 // by back ends
	// History is what the broker keeps of the tenant; nil: it does not answer. TextsRefused is how
	// often text of a run was refused on this node because there was no room for it.
	History      *broker.Kept
	TextsRefused uint64
}

const (
	// maxTenants bounds the tenants that are told apart; those beyond share a quota.
	maxTenants = 1 << 16
	// tenantKept is for how long a tenant is known that does nothing, longer than any of its rates
	// needs to be full again.
	tenantKept = 10 * time.Minute
	// tenantShort is the same when there is no room: then all its rates are full.
	tenantShort = time.Minute
)

// tenants are those that did something on this node lately.
type tenants struct {
	quota func(string) Quota      // nil: no bounds
	conns func(tenant string) int // how many it has now

	log *slog.Logger // nil: nobody is told

	mu    sync.Mutex          // guards the fields below
	of    map[string]*account // by tenant
	rest  *account            // of those for which there is no room; nil: there were none
	swept time.Time           // when it was last looked for idle ones for want of room
}

// account is what a tenant has used. The rates guard themselves.
type account struct {
	shared bool         // by tenants for which there is no room: none may see what it counts
	told   atomic.Int64 // when a refusal was logged last, in nanoseconds since 1970
	quota  Quota
	used   time.Time // last; guarded by tenants.mu

	begin, tickets    *bucket.Limiter // nil: no bound
	users, backends   allowances
	accepted, refused atomic.Uint64
	texts             atomic.Uint64 // refused, because there was no room in the history
	// Refused.
	rooms, runs, memberships, ticketsOver atomic.Uint64
}

// allowances are for one of those who publish in the name of a tenant.
type allowances struct {
	mu                       sync.Mutex      // makes one of both; guards nothing else
	messages, bytes          *bucket.Limiter // nil: no bound
	published, sent, limited atomic.Uint64
}

func newAccount(q Quota) *account {
	a := &account{quota: q}
	if q.ConnsPerSecond > 0 {
		a.begin = bucket.NewLimiter(bucket.Limit(q.ConnsPerSecond), q.ConnsPerSecond)
	}
	a.tickets = perMinute(q.TicketsPerMinute)
	a.users.messages, a.users.bytes = perMinute(q.MessagesPerMinute), perMinute(q.BytesPerMinute)
	a.backends.messages, a.backends.bytes = perMinute(q.BackendMessagesPerMinute), perMinute(q.BackendBytesPerMinute)
	return a
}

func perMinute(n int) *bucket.Limiter {
	if n <= 0 {
		return nil
	}
	return bucket.NewLimiter(bucket.Limit(float64(n)/60), n)
}

// account finds or makes that of a tenant. The application is asked for its quota outside the lock.
func (t *tenants) account(tenant string, now time.Time) *account {
	if a := t.known(tenant, now); a != nil {
		return a
	}
	var q Quota
	if t.quota != nil {
		q = t.quota(tenant)
	}
	if t.crowded(now) {
		t.forget(now, tenantShort)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.of[tenant]; a != nil {
		a.used = now
		return a
	}
	if len(t.of) >= maxTenants {
		if t.rest == nil {
			t.rest = newAccount(q)
			t.rest.shared = true
		}
		return t.rest
	}
	if t.of == nil {
		t.of = make(map[string]*account)
	}
	a := newAccount(q)
	a.used = now
	t.of[tenant] = a
	return a
}

func (t *tenants) known(tenant string, now time.Time) *account {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.of[tenant]
	if a != nil {
		a.used = now
	}
	return a
}

// crowded reports whether there is no room and it is time to make some.
func (t *tenants) crowded(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.of) < maxTenants || now.Sub(t.swept) < time.Second {
		return false
	}
	t.swept = now
	return true
}

// forget forgets tenants without connections that did nothing for so long.
func (t *tenants) forget(now time.Time, idle time.Duration) {
	for _, tenant := range t.idle(now, idle) {
		if t.conns(tenant) > 0 {
			continue
		}
		t.mu.Lock()
		if a := t.of[tenant]; a != nil && now.Sub(a.used) >= idle {
			delete(t.of, tenant)
		}
		t.mu.Unlock()
	}
}

func (t *tenants) idle(now time.Time, idle time.Duration) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tenant, a := range t.of {
		if now.Sub(a.used) >= idle {
			names = append(names, tenant)
		}
	}
	return names
}

// connect lets a connection of a tenant begin. most is how many it may have, for who makes it.
func (t *tenants) connect(tenant string, now time.Time) (most int, err error) {
	a := t.account(tenant, now)
	if a.begin != nil && !a.begin.AllowN(now, 1) {
		a.refused.Add(1)
		t.tell(a, tenant, "connections per second", now)
		return 0, errTenantRate(a.quota.ConnsPerSecond, wait(a.begin, 1, now))
	}
	return a.quota.Conns, nil
}

// ticket lets one more be made for a tenant.
func (t *tenants) ticket(tenant string, now time.Time) error {
	a := t.account(tenant, now)
	if a.tickets == nil || a.tickets.AllowN(now, 1) {
		return nil
	}
	return t.full(a, tenant, &a.ticketsOver, "tickets", a.quota.TicketsPerMinute, max(time.Millisecond, wait(a.tickets, 1, now)))
}

// publish takes a message out of what users may publish, or back ends.
func (t *tenants) publish(tenant string, backend bool, bytes int, now time.Time) error {
	a := t.account(tenant, now)
	of := &a.users
	if backend {
		of = &a.backends
	}
	err := of.take(bytes, now)
	if err != nil {
		of.limited.Add(1)
		t.tell(a, tenant, "messages or bytes per minute", now)
		return err
	}
	of.published.Add(1)
	of.sent.Add(uint64(bytes))
	return nil
}

// full counts in refused that a has no place for one more of what, of which it may have limit,
// and says so. after is when there may be one.
func (t *tenants) full(a *account, tenant string, refused *atomic.Uint64, what string, limit int, after time.Duration) error {
	refused.Add(1)
	t.tell(a, tenant, what, time.Now())
	return &Error{
		Code: wire.CodeRateLimited, Message: "too many " + what + " of this tenant",
		Details: map[string]any{"limit": limit, "scope": "tenant", "retry_after_ms": after.Milliseconds()},
	}
}

// fullOfRuns is full of runs, which end when they like.
func (t *tenants) fullOfRuns(a *account, tenant string) error {
	return t.full(a, tenant, &a.runs, "live runs", a.quota.Runs, retryAfter*time.Second)
}

// tell logs that a tenant is at its quota, every logAdmission at most.
func (t *tenants) tell(a *account, tenant, bound string, now time.Time) {
	last := a.told.Load()
	if t.log == nil || now.UnixNano()-last < int64(logAdmission) || !a.told.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	t.log.LogAttrs(context.Background(), slog.LevelWarn, "a tenant is at its quota: what is beyond it is refused",
		slog.String("tenant", tenant), slog.String("bound", bound))
}

// take takes a message and its bytes, or nothing.
func (a *allowances) take(bytes int, now time.Time) error {
	if a.messages == nil && a.bytes == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bytes != nil && bytes > a.bytes.Burst() {
		return errTooLarge(a.bytes.Burst())
	}
	for _, b := range []struct {
		of  *bucket.Limiter
		n   int
		say string
	}{{a.messages, 1, "messages"}, {a.bytes, bytes, "bytes"}} {
		if b.of != nil && b.of.TokensAt(now) < float64(b.n) {
			return &Error{
				Code: wire.CodeRateLimited, Message: "too many " + b.say + " of this tenant",
				Details: map[string]any{"limit": b.of.Burst(), "scope": "tenant", "retry_after_ms": wait(b.of, b.n, now).Milliseconds()},
			}
		}
	}
	if a.messages != nil {
		a.messages.AllowN(now, 1)
	}
	if a.bytes != nil {
		a.bytes.AllowN(now, bytes)
	}
	return nil
}

// wait is how long until n are there, rounded up to a millisecond.
func wait(l *bucket.Limiter, n int, now time.Time) time.Duration {
	missing := float64(n) - l.TokensAt(now)
	return time.Duration(math.Ceil(1000*missing/float64(l.Limit()))) * time.Millisecond
}

func errTenantRate(limit int, after time.Duration) *refusal {
	return &refusal{why: "tenant_rate", cause: &Error{
		Code: wire.CodeRateLimited, Message: "too many connections of this tenant begin",
		Details: map[string]any{"limit": limit, "scope": "tenant", "retry_after_ms": max(1, after.Milliseconds())},
	}}
}

func errTenantFull() *refusal {
	return &refusal{cause: retryLater(wire.CodeRateLimited, "too many connections of this tenant"), why: "tenant_limit"}
}

// placesOf takes a connection that begins out of the quota of its tenant, and returns how many there
// may be; 0: there is no bound. Canaries take nothing from their tenant.
func (m *Manager) placesOf(ctx context.Context, tenant string) (most int, err error) {
	if isCanary(ctx) {
		return 0, nil
	}
	return m.tenants.connect(tenant, time.Now())
}

// tenantFull counts a connection for which the tenant has no place.
func (m *Manager) tenantFull(tenant string) *refusal {
	now := time.Now()
	a := m.tenants.account(tenant, now)
	a.refused.Add(1)
	m.tenants.tell(a, tenant, "connections", now)
	return errTenantFull()
}

// tenantConns is how many connections a tenant has on this node, without canaries: all of them follow
// what is for everybody.
func (m *Manager) tenantConns(tenant string) int {
	return m.hub.Places(hubKey(wire.Topic{Tenant: tenant, Kind: wire.KindAll}))
}

// TenantStats is what this node counts of the tenant of ctx, and of no other.
func (m *Manager) TenantStats(ctx context.Context) (TenantStats, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return TenantStats{}, fmt.Errorf("tenant stats: %w", err)
	}
	a := m.tenants.account(tenant, time.Now())
	history := m.keptOf(ctx, tenant)
	if a.shared {
		return TenantStats{
			Quota: a.quota, Connections: m.tenantConns(tenant), Rooms: m.hub.RoomsOf(tenant), Runs: m.runs.liveOf(tenant), History: history,
		}, nil
	}
	return TenantStats{
		Quota: a.quota, Connections: m.tenantConns(tenant), Accepted: a.accepted.Load(), Refused: a.refused.Load(),
		Rooms: m.hub.RoomsOf(tenant), Runs: m.runs.liveOf(tenant), RoomsRefused: a.rooms.Load(), RunsRefused: a.runs.Load(),
		History: history, TextsRefused: a.texts.Load(),
		MembershipsRefused: a.memberships.Load(), TicketsRefused: a.ticketsOver.Load(),
		Published: a.users.published.Load(), Bytes: a.users.sent.Load(), Limited: a.users.limited.Load(),
		BackendPublished: a.backends.published.Load(), BackendBytes: a.backends.sent.Load(), BackendLimited: a.backends.limited.Load(),
	}, nil
}
