package switchboard

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Canaries are users that the manager makes up, two in each tenant, who try by all that a client
// can do to read each other, and one of the same name in the next tenant. They connect with
// tickets, through the same handler as everybody. Their names are random, new in each round, and
// at home nowhere: a client cannot have one, and a message for one is for nobody else.
//
// They are connections like others, for less than a second: lists and counters of operators show
// them, but they take nothing of their tenant's quota, and what they are refused is in no audit log.
// A canary that is kept from trying, by a bound, a full node or an operator, is neither a leak nor
// silence: the round is missed. Users do not see them, since nobody else follows their topics; OnConnect and handlers are
// not called for them. What they said is erased at the end of a round.

const (
	// canaryTenants is how many tenants are tried in one round; the next round goes on behind them.
	canaryTenants = 8
	// canaryTopics is how many topics are looked at in one round for tenants that are there.
	canaryTopics = 4096
	// canaryRound bounds one tenant's part of a round.
	canaryRound = 10 * time.Second
	// canaryAnswer bounds the wait for what must come.
	canaryAnswer = 2 * time.Second
)

// canaryKey is the key of a context under which a canary connects.
type canaryKey struct{}

func isCanary(ctx context.Context) bool { return ctx.Value(canaryKey{}) != nil }

// CanaryStats is what the canaries of a node have found since its start.
type CanaryStats struct {
	Rounds uint64 // of one tenant
	Tries  uint64 // to read what is another's, that were answered
	Leaks  uint64 // of them that succeeded, and messages that came to the wrong canary; must be 0
	Missed uint64 // rounds that did not end, or in which a canary did not get what is its own
}

// runCanaries plays rounds until ctx ends.
func (m *Manager) runCanaries(ctx context.Context) {
	if m.opts.Canaries == 0 {
		return
	}
	from := 0
	for sleep(ctx, m.opts.Canaries) {
		if m.gate.shut() {
			return
		}
		tenants := m.someTenants(&from)
		for i, tenant := range tenants {
			other, apart := tenants[(i+1)%len(tenants)], len(tenants) > 1
			m.canaryRound(ctx, tenant, other, apart)
		}
	}
}

// someTenants returns tenants with connections here, and moves from behind them.
func (m *Manager) someTenants(from *int) (tenants []string) {
	for seen := 0; seen < canaryTopics && len(tenants) < canaryTenants; {
		topics := m.hub.Topics(nil, from, 64)
		for _, t := range topics {
			address, known := m.hub.Address(t.Key)
			if !known || address.Kind != wire.KindAll {
				continue
			}
			if _, followers, _ := m.hub.Lookup(t.Key); followers > 0 {
				tenants = append(tenants, address.Tenant)
			}
		}
		seen += 64
		if *from == 0 {
			break
		}
	}
	return tenants
}

// canaryRound tries one tenant, with another one apart from it.
func (m *Manager) canaryRound(ctx context.Context, tenant, other string, apart bool) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, canaryKey{}, true), canaryRound)
	defer cancel()
	name := "canary-" + rand.Text()
	flock := &flock{m: m}
	defer flock.leave()
	homes := []wire.Topic{{Tenant: tenant, Kind: wire.KindUser, ID: name + "-a"}, {Tenant: tenant, Kind: wire.KindUser, ID: name + "-b"}}
	if apart {
		homes = append(homes, wire.Topic{Tenant: other, Kind: wire.KindUser, ID: name + "-a"})
	}
	m.count.canaryRounds.Add(1)
	for _, home := range homes {
		if err := flock.add(ctx, home); err != nil {
			m.missed(ctx, home, "connect", err)
			return
		}
	}
	if !flock.sing(ctx) {
		return
	}
	for c := flock.first; c != nil; c = c.next {
		for victim := flock.first; victim != nil; victim = victim.next {
			if victim != c {
				c.tryAll(ctx, victim)
			}
		}
	}
	for c := flock.first; c != nil; c = c.next {
		if c.failed != nil { // what it could not try is not known
			m.missed(ctx, c.home, c.way, c.failed)
			return
		}
	}
	flock.sing(ctx) // what comes now is seen by all who should not
}

// canaries knows which connections of this node are theirs: what those are refused would fill the
// audit log in each round. A connection is known by its id, which the manager has made, and not by
// its user: who takes the name of a canary hides nothing.
type canaries struct {
	mu    sync.Mutex // guards conns
	conns map[string]struct{}
}

func (k *canaries) connected(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conns == nil {
		k.conns = make(map[string]struct{})
	}
	k.conns[id] = struct{}{}
}

func (k *canaries) gone(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, id)
}

func (k *canaries) has(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, there := k.conns[id]
	return there
}

// flock are the canaries of one round, three at most.
type flock struct {
	m     *Manager
	first *canary       // and behind each the next
	room  string        // that all may enter; "": each one of its own
	lasts time.Duration // how long their tickets' sessions do; a minute at least
}

// sing says something to each, and waits until it has come.
func (f *flock) sing(ctx context.Context) bool {
	for c := f.first; c != nil; c = c.next {
		c.last = canaryMark + rand.Text()
		c.own[c.last] = true
		_, err := f.m.Publish(WithTenant(ctx, c.home.Tenant), User(c.home.ID), Message{
			Type: wire.ResilienceTest, Thread: c.home.ID, Payload: map[string]string{"mark": c.last},
		})
		if err != nil {
			f.m.missed(ctx, c.home, "publish", err)
			return false
		}
	}
	for c := f.first; c != nil; c = c.next {
		if !c.await(func(got string, _ wire.Envelope, _ []byte) bool { return got == c.last }) {
			f.m.missed(ctx, c.home, "message", context.DeadlineExceeded)
			return false
		}
	}
	return true
}

// leave ends the connections, and erases what was said.
func (f *flock) leave() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.m.life), canaryAnswer)
	defer cancel()
	for c := f.first; c != nil; c = c.next {
		_ = c.conn.Close()
		if h, ok := f.m.hub.Find(c.id); ok {
			_ = f.m.hub.Close(h, wire.CloseNormal, "", false)
		}
		f.m.canaries.gone(c.id)
		for _, topic := range []wire.Topic{c.home, c.room()} {
			// Of what was erased something is remembered, so that is done only where something was said.
			head, err := f.m.headOf(ctx, topic)
			if err == nil && head.Offset > 0 {
				err = f.m.driver.Drop(ctx, broker.KeyOf(topic))
			}
			if err != nil {
				f.m.log.LogAttrs(ctx, slog.LevelDebug, "topic of a canary not erased", slog.Any("err", err))
			}
		}
	}
}

// missed notes that a round came to nothing.
func (m *Manager) missed(ctx context.Context, home wire.Topic, what string, err error) {
	if m.life.Err() != nil || m.gate.shut() {
		return
	}
	m.count.canaryMissed.Add(1)
	m.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "canary round not finished",
		slog.String("tenant", home.Tenant), slog.String("what", what), slog.Any("err", err))
}

// leaked tells everybody concerned that a canary got what is another's.
func (m *Manager) leaked(c *canary, way string) {
	m.count.canaryLeaks.Add(1)
	m.log.LogAttrs(m.life, slog.LevelError, "a canary got what is another's: users may, too",
		slog.String("tenant", c.home.Tenant), slog.String("user", c.home.ID), slog.String("way", way))
	m.audit(AuditEvent{Tenant: c.home.Tenant, User: c.home.ID, Connection: c.id, Action: AuditLeak, Object: way})
}
