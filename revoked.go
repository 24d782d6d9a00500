package switchboard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// storeLost is how long the store may be out of reach before session tokens are refused: what
	// was revoked meanwhile is not known.
	storeLost = 5 * time.Second
	// watchAgain is the pause before a watch that has ended is begun again.
	watchAgain = 250 * time.Millisecond
)

var errRevoked error = &Error{Code: wire.CodeAuthError, Message: "the credential has been revoked"}

// revocations are those that hold, of all tenants, as this node knows them: what the store had
// when it was last read, and every change since.
type revocations struct {
	ready chan struct{} // closed when they are known for the first time
	wake  chan struct{} // capacity 1; there is something to sweep

	mu      sync.RWMutex // guards the fields below
	byKey   map[string]held
	byName  map[revokedName]map[string]struct{} // keys of byKey
	tenants map[string]int                      // how many each has
	known   bool
	lost    time.Time               // when the watch ended; zero: it goes on
	users   map[wire.Topic]struct{} // whose connections are to be looked at
	all     bool                    // those of everybody are
}

type revokedName struct {
	tenant string
	kind   revocationKind
	name   string
}

func (r *revocations) init() {
	r.ready, r.wake = make(chan struct{}), make(chan struct{}, 1)
	r.replace(map[string]held{})
}

// replace makes of what was known what is known now. The caller holds r.mu, or is alone.
func (r *revocations) replace(now map[string]held) {
	r.byKey, r.byName, r.tenants = make(map[string]held, len(now)), make(map[revokedName]map[string]struct{}, len(now)), make(map[string]int)
	for key, h := range now {
		r.putLocked(key, h)
	}
}

func (r *revocations) put(key string, h held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(key, h)
}

func (r *revocations) putLocked(key string, h held) {
	r.removeLocked(key)
	kind, name := h.names()
	of := revokedName{h.tenant, kind, name}
	if r.byName[of] == nil {
		r.byName[of] = make(map[string]struct{}, 1)
	}
	r.byName[of][key] = struct{}{}
	r.byKey[key] = h
	r.tenants[h.tenant]++
}

func (r *revocations) remove(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(key)
}

func (r *revocations) removeLocked(key string) {
	h, ok := r.byKey[key]
	if !ok {
		return
	}
	kind, name := h.names()
	of := revokedName{h.tenant, kind, name}
	delete(r.byKey, key)
	if delete(r.byName[of], key); len(r.byName[of]) == 0 {
		delete(r.byName, of)
	}
	if r.tenants[h.tenant]--; r.tenants[h.tenant] == 0 {
		delete(r.tenants, h.tenant)
	}
}

// count is how many a tenant has.
func (r *revocations) count(tenant string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.tenants[tenant]
}

func (r *revocations) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byKey)
}

// concerns reports whether a credential of a session is taken back.
func (r *revocations) concerns(id Identity, session hub.Session, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.tenants[id.Tenant] == 0 {
		return false
	}
	return r.named(revokedName{id.Tenant, byUser, id.User}, id.Issued, now) ||
		r.named(revokedName{id.Tenant, bySession, session.String()}, id.Issued, now) ||
		id.TokenID != "" && r.named(revokedName{id.Tenant, byTokenID, id.TokenID}, id.Issued, now) ||
		id.SID != "" && r.named(revokedName{id.Tenant, bySID, id.SID}, id.Issued, now)
}

// named reports whether what was issued then is taken back under a name. The caller holds r.mu.
func (r *revocations) named(name revokedName, issued, now time.Time) bool {
	for key := range r.byName[name] {
		h := r.byKey[key]
		if issued.Before(h.NotBefore) && (h.Until.IsZero() || now.Before(h.Until)) {
			return true
		}
	}
	return false
}

// sweep has the connections of a user looked at, or with the zero topic those of everybody.
func (r *revocations) sweep(user wire.Topic) {
	r.mu.Lock()
	if user == (wire.Topic{}) {
		r.all = true
	} else {
		if r.users == nil {
			r.users = make(map[wire.Topic]struct{})
		}
		r.users[user] = struct{}{}
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// toSweep takes what is to be looked at.
func (r *revocations) toSweep() (users map[wire.Topic]struct{}, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	users, all = r.users, r.all
	r.users, r.all = nil, false
	return users, all
}

// checkRevoked refuses a credential that is taken back. A connection is checked before it is made
// and again when it can be found: whoever takes the credential back meanwhile either is seen by
// the second check or sees the connection. The same holds for a connection that changes its
// credential.
func (m *Manager) checkRevoked(ctx context.Context, l login) error {
	select {
	case <-m.revocations.ready:
	case <-ctx.Done():
		return &Error{Code: wire.CodeUnavailable, Message: "what is revoked could not be found out in time"}
	}
	now := time.Now()
	if m.revocations.concerns(l.identity, l.session, now) {
		return errRevoked
	}
	if l.resumed && m.revocations.outOfReach(now) {
		return retryLater(wire.CodeUnavailable, "what is revoked cannot be found out: connect with a credential, or later")
	}
	return nil
}

// outOfReach reports whether the store has been lost for too long.
func (r *revocations) outOfReach(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return !r.lost.IsZero() && now.Sub(r.lost) >= storeLost
}

// watchRevocations keeps them known until ctx ends.
func (m *Manager) watchRevocations(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		err := m.readRevocations(ctx)
		if ctx.Err() != nil {
			return
		}
		if m.revocations.lose(time.Now()) {
			told = false
		}
		if !told {
			told = true
			m.log.LogAttrs(ctx, slog.LevelWarn, "revocations are not heard of", slog.Any("err", err))
		}
		sleep(ctx, watchAgain)
	}
}

// lose notes that the watch has ended, and reports whether it had been going on.
func (r *revocations) lose(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.lost.IsZero()
	if was {
		r.lost = now
	}
	return was
}

// readRevocations reads all that are stored, and then every change, until the watch ends.
func (m *Manager) readRevocations(ctx context.Context) error {
	fresh := map[string]held{} // nil once they are known
	for change, err := range m.driver.Watch(ctx, revocationsStored) {
		var h held
		if err == nil && !change.Synced && !change.Deleted {
			if h, err = decodeRevocation(change.Value); err != nil {
				m.count.unreadable.Add(1)
				m.log.LogAttrs(ctx, slog.LevelError, "revocation", slog.String("key", change.Key), slog.Any("err", err))
				continue
			}
		}
		switch {
		case err != nil:
			return err
		case change.Synced && fresh != nil:
			m.revocations.learn(fresh)
			m.revocations.sweep(wire.Topic{})
			fresh = nil
		case change.Synced:
		case fresh != nil && change.Deleted:
			delete(fresh, change.Key)
		case fresh != nil:
			fresh[change.Key] = h
		case change.Deleted:
			m.revocations.remove(change.Key)
		default:
			m.revocations.put(change.Key, h)
			m.revocations.sweep(h.user())
		}
	}
	return ctx.Err()
}

// learn takes what the store has.
func (r *revocations) learn(now map[string]held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(now)
	r.lost = time.Time{}
	if !r.known {
		r.known = true
		close(r.ready)
	}
}

// sweepRevoked closes connections whose credential was taken back, and ends runs, until ctx ends.
func (m *Manager) sweepRevoked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.revocations.wake:
		}
		users, all := m.revocations.toSweep()
		if all {
			m.hub.Each(func(c hub.Handle) bool {
				m.closeIfRevoked(c)
				return ctx.Err() == nil
			})
		} else {
			for user := range users {
				for _, c := range m.hub.Followers(hubKey(user)) {
					m.closeIfRevoked(c)
				}
			}
		}
		m.cancelRevoked(ctx, users, all)
	}
}

// closeIfRevoked looks at one connection.
func (m *Manager) closeIfRevoked(c hub.Handle) {
	s, _, there := m.stateOf(c)
	conn, ok := m.conn(c)
	if there && ok && s.flags&flagLeaving == 0 && m.revocations.concerns(conn.identity, conn.view.Session, time.Now()) {
		m.closeRevoked(c)
	}
}

// closeRevoked ends a connection at once: what was not yet written is not for it any more.
func (m *Manager) closeRevoked(c hub.Handle) {
	if m.hub.Close(c, wire.CloseRevoked, "revoked: do not reconnect", false) == nil {
		m.count.revoked.Add(1)
	}
}

// cancelRevoked ends the runs of this node that revoked users have asked for, each on its own: a
// run that is hard to end holds up nobody.
func (m *Manager) cancelRevoked(ctx context.Context, users map[wire.Topic]struct{}, all bool) {
	now := time.Now()
	for _, r := range m.runs.all() {
		user := wire.Topic{Tenant: r.spec.Tenant, Kind: wire.KindUser, ID: r.spec.User}
		if _, named := users[user]; !all && !named || r.gone() || !m.revocations.cancels(user, time.UnixMilli(r.spec.Created), now) {
			continue
		}
		m.log.LogAttrs(ctx, slog.LevelInfo, "run of a revoked user is ended", slog.String("run_id", r.spec.ID), slog.String("user", user.ID))
		end := ending{typ: wire.AgentCancelled, payload: runs.Cancelled("the user's access was revoked", "")}
		r.announce(end)
		r.insist(end)
	}
}

// cancels reports whether a run that a user has asked for at a time is to be ended.
func (r *revocations) cancels(user wire.Topic, asked, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for key := range r.byName[revokedName{user.Tenant, byUser, user.ID}] {
		h := r.byKey[key]
		if h.CancelRuns && asked.Before(h.NotBefore) && (h.Until.IsZero() || now.Before(h.Until)) {
			return true
		}
	}
	return false
}
