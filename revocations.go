package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// A node that has not reached the store for unreachedFor does not know who is revoked. It
	// asks every reachEvery.
	unreachedFor = 5 * time.Second
	reachEvery   = time.Second
	reachTimeout = 2 * time.Second
	// enforceEvery is how long connections are not looked at again, so that many revocations
	// are carried out at once.
	enforceEvery = 50 * time.Millisecond
)

// whyRevoked is the reason of a refusal, as counted.
const whyRevoked = "revoked"

// revokedText is what a client hears whose connection is closed because of a revocation.
const revokedText = "revoked: do not reconnect, log in again"

// revocations is what this node knows of them, and of whether that is all.
type revocations struct {
	index           session.Revoked
	wake            chan struct{} // capacity 1
	ready           chan struct{} // closed when everything stored has been read once
	refused, closed atomic.Uint64

	mu       sync.Mutex // guards the fields below
	watching bool       // everything stored has been read, and changes come
	reached  time.Time  // when that was last certain
	due      map[string]*toCheck
}

// toCheck are the connections of a tenant that a new revocation may concern.
type toCheck struct {
	all   bool
	users map[string]struct{}
}

func (v *revocations) init(now time.Time) {
	v.wake, v.ready, v.reached = make(chan struct{}, 1), make(chan struct{}), now
}

// await returns once everything stored has been read, which at a start takes a moment.
func (v *revocations) await(ctx context.Context) error {
	select {
	case <-v.ready:
		return nil
	default:
	}
	timer := time.NewTimer(unreachedFor)
	defer timer.Stop()
	select {
	case <-v.ready:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return retryLater(wire.CodeUnavailable, "this node does not know yet what is revoked")
}

// current reports whether this node has heard of all that was revoked lately.
func (v *revocations) current(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Sub(v.reached) < unreachedFor
}

// setWatching notes that changes come, or that they do not any more.
func (v *revocations) setWatching(on bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watching = on
	if !on {
		return
	}
	v.reached = time.Now()
	select {
	case <-v.ready:
	default:
		close(v.ready) // setWatching is called by one goroutine
	}
}

// setReached notes that the store has answered what was asked at asked.
func (v *revocations) setReached(asked time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.watching {
		v.reached = asked
	}
}

// add takes note of a revocation, and of whom it may concern here.
func (v *revocations) add(r *session.Revocation) {
	if !v.index.Add(r) {
		return
	}
	v.mu.Lock()
	if v.due == nil {
		v.due = make(map[string]*toCheck)
	}
	d := v.due[r.Tenant]
	if d == nil {
		d = &toCheck{users: make(map[string]struct{})}
		v.due[r.Tenant] = d
	}
	switch {
	case r.User != "":
		d.users[r.User] = struct{}{}
	case r.Owner != "":
		d.users[r.Owner] = struct{}{}
	default:
		d.all = true
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *revocations) take() map[string]*toCheck {
	v.mu.Lock()
	defer v.mu.Unlock()
	due := v.due
	v.due = nil
	return due
}

// watchRevocations hears of revocations until ctx ends.
func (m *Manager) watchRevocations(ctx context.Context) {
	for pause := retryFirst; ctx.Err() == nil; pause = min(2*pause, retryLast) {
		synced, err := m.followRevocations(ctx)
		m.revocations.setWatching(false)
		if ctx.Err() != nil || errors.Is(err, broker.ErrClosed) {
			return
		}
		if synced {
			pause = retryFirst
			m.log.LogAttrs(ctx, slog.LevelWarn, "changes of revocations do not come any more, they are asked for again", slog.Any("err", err))
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// followRevocations reads all of them, and then changes until the link is lost.
func (m *Manager) followRevocations(ctx context.Context) (synced bool, err error) {
	seen := make(map[string]struct{})
	for change, err := range m.driver.Watch(ctx, session.StoredRevocations) {
		switch {
		case err != nil:
			return synced, err
		case change.Synced:
			m.revocations.index.Retain(seen) // the others have been taken back, or have ended
			m.revocations.setWatching(true)
			synced, seen = true, nil
		case change.Deleted:
			m.revocations.index.Remove(change.Key)
			delete(seen, change.Key)
		default:
			if r := m.readRevocation(change); r != nil {
				if seen != nil {
					seen[change.Key] = struct{}{}
				}
				m.revocations.add(r)
			}
		}
	}
	return synced, ctx.Err()
}

// reachStore finds out whether the store can be reached, until ctx ends.
func (m *Manager) reachStore(ctx context.Context) {
	for sleep(ctx, reachEvery) {
		asked := time.Now()
		try, cancel := context.WithTimeout(ctx, reachTimeout)
		_, err := m.driver.Get(try, session.StoredRevocations)
		cancel()
		if err == nil || errors.Is(err, broker.ErrNotFound) {
			m.revocations.setReached(asked)
		}
	}
}

// enforceRevocations closes the connections that new revocations concern, until ctx ends.
func (m *Manager) enforceRevocations(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.revocations.wake:
		}
		for tenant, d := range m.revocations.take() {
			if d.all {
				m.enforceOn(wire.Topic{Tenant: tenant, Kind: wire.KindAll})
				continue
			}
			for user := range d.users {
				m.enforceOn(wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: user})
			}
		}
		if !sleep(ctx, enforceEvery) {
			return
		}
	}
}

// enforceOn closes those of a topic's connections that are revoked, and lets nobody wait for those that were.
func (m *Manager) enforceOn(topic wire.Topic) {
	for _, c := range m.hub.Followers(hubKey(topic)) {
		m.enforce(c)
	}
	m.presence.post(presenceEvent{what: accessRevoked, topic: topic}) // who was lost a moment ago
}

// enforce closes a connection if it is revoked, and returns by what. It is for after each
// change of what a connection is, too: whoever makes a revocation looks for connections after
// it is in the index, so that one of the two sees the other.
func (m *Manager) enforce(c hub.Handle) *session.Revocation {
	view, ok := m.hub.View(c)
	if !ok {
		return nil
	}
	s, _, ok := m.stateOf(c)
	if !ok {
		return nil
	}
	find := func(s *state) *session.Revocation {
		return m.revocations.index.Find(session.Presented{
			Tenant: view.User.Tenant, User: view.User.ID, Session: view.Session.String(), CameOf: sessionNames(s.lineage),
			TokenID: s.tokenID, SID: s.sid, Issued: s.issued,
		}, time.Now())
	}
	r := find(&s)
	if r == nil {
		return nil
	}
	first := false
	m.changeState(c, func(s *state) {
		if r = find(s); r != nil { // else a refresh was faster
			first = s.flags&flagRevoked == 0
			s.flags |= flagRevoked
		}
	})
	if r == nil {
		return nil
	}
	if first { // it is not there any more, though its client may take its time to close
		m.presence.post(presenceEvent{what: deviceChanged, conn: c})
	}
	if r.By == view.ID { // its own logout
		_ = m.hub.Close(c, wire.CloseNormal, loggedOut, false)
		return r
	}
	if first && m.hub.Close(c, wire.CloseRevoked, revokedText, false) == nil {
		m.revocations.closed.Add(1)
		m.audit(AuditEvent{
			Tenant: view.User.Tenant, User: view.User.ID, Connection: view.ID, Address: s.address,
			Action: AuditClose, Object: r.ID, Reason: whyRevoked,
		})
	}
	return r
}

// checkRevoked refuses a credential that is revoked, or of which this node cannot know that.
func (m *Manager) checkRevoked(ctx context.Context, l login) *refusal {
	if err := m.revocations.await(ctx); err != nil {
		return &refusal{cause: err, why: "broker"}
	}
	if (l.resumed || l.lineage != "") && !m.revocations.current(time.Now()) {
		// Nobody else would know. Of other credentials their issuer may have said so, too.
		return &refusal{cause: retryLater(wire.CodeUnavailable, "this node cannot find out whether the session is revoked"), why: "broker"}
	}
	id := l.identity
	p := session.Presented{
		Tenant: id.Tenant, User: id.User, CameOf: sessionNames(l.lineage), TokenID: id.TokenID, SID: id.SID, Issued: id.Issued,
	}
	if l.resumed {
		p.Session = l.session.String()
	}
	if m.revocations.index.Find(p, time.Now()) == nil {
		return nil
	}
	m.revocations.refused.Add(1)
	return errRevoked()
}

// sessionNames are those by which the sessions of a lineage are revoked.
func sessionNames(l session.Lineage) (names []string) {
	for id := range l.All() {
		names = append(names, hub.Session(id).String())
	}
	return names
}

func errRevoked() *refusal {
	return &refusal{cause: &Error{Code: wire.CodeAuthError, Message: "the credential was revoked: log in again"}, why: whyRevoked}
}
