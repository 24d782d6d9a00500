package switchboard

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Canaries are users that the manager makes up, two in each tenant, who try by all that a client
// can do, over sockets, event streams and HTTP, to read what is said to the other and what the
// other's run writes, to write there and to stop it; and one of the same name in the next tenant.
// They connect with tickets, through the same handler as everybody. Their names are random, new in
// each round, and at home nowhere: a client cannot have one, and a message for one is for nobody else.
//
// They are connections like others, for less than a second: lists and counters of operators show
// them, but they take nothing of their tenant's quota, and what they are refused is in no audit log.
// A canary that is kept from trying, by a bound, a full node or an operator, is neither a leak nor
// silence: the round is missed. Users do not see them, since nobody else follows their topics;
// OnConnect and handlers are not called for them. What they said is erased at the end of a round.

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
		c.ask(wire.ThreadOpen, map[string]any{"thread_id": c.home.ID}) // or its texts would not come
		if c.failed != nil {                                           // what it could not try is not known
			m.missed(ctx, c.home, c.way, c.failed)
			return
		}
	}
	flock.sing(ctx) // what comes now is seen by all who should not
}

// flock are the canaries of one round, three at most.
type flock struct {
	m     *Manager
	first *canary       // and behind each the next
	room  string        // that all may enter; "": each one of its own
	lasts time.Duration // how long their tickets' sessions do; a minute at least
}

// sing says something to each, as a message and as a text, and waits until it has come.
func (f *flock) sing(ctx context.Context) bool {
	return f.say(ctx, "message", (*canary).tell) && f.say(ctx, "text", (*canary).write)
}

func (f *flock) say(ctx context.Context, what string, how func(*canary, context.Context, string) error) bool {
	for c := f.first; c != nil; c = c.next {
		c.last = canaryMark + rand.Text()
		c.own[c.last] = true
		if err := how(c, WithTenant(ctx, c.home.Tenant), c.last); err != nil {
			f.m.missed(ctx, c.home, what, err)
			return false
		}
	}
	for c := f.first; c != nil; c = c.next {
		if !c.hears() {
			f.m.missed(ctx, c.home, what, errNoAnswer)
			return false
		}
	}
	return true
}

// tell publishes a message to the canary.
func (c *canary) tell(ctx context.Context, mark string) error {
	_, err := c.m.Publish(ctx, User(c.home.ID), Message{
		Type: wire.ResilienceTest, Thread: c.home.ID, Payload: map[string]string{"mark": mark},
	})
	return err
}

// write appends to a text of the canary, whose run begins with it. Who claims to have the first
// character of the text would be sent the mark.
func (c *canary) write(ctx context.Context, mark string) (err error) {
	if c.run == nil {
		if c.run, err = c.m.Runs().Start(ctx, RunOptions{Agent: "canary", To: User(c.home.ID), Thread: c.home.ID}); err != nil {
			return err
		}
	}
	_, err = c.run.Stream(canaryText).AppendAt(ctx, -1, " "+mark)
	return err
}

// hears waits until the canary has got, by all its connections, what was said last.
func (c *canary) hears() bool {
	if !c.await(func(got string, _ Envelope, _ []byte) bool { return got == c.last }) {
		return false
	}
	for _, s := range c.heard {
		if !s.await(func(body []byte) bool { return bytes.Contains(body, []byte(c.last)) }) {
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
		c.leave(ctx)
	}
	for c := f.first; c != nil; c = c.next {
		if err := c.erase(ctx); err != nil {
			f.m.log.LogAttrs(ctx, slog.LevelDebug, "what a canary was told is not erased", slog.Any("err", err))
		}
	}
}

// leave ends the connections of a canary, and its run.
func (c *canary) leave(ctx context.Context) {
	c.way = "event stream"
	for _, s := range c.heard {
		c.look(s.close())
	}
	_ = c.conn.Close()
	if h, ok := c.m.hub.Find(c.id); ok {
		_ = c.m.hub.Close(h, wire.CloseNormal, "", false)
	}
	if c.run != nil {
		if _, err := c.run.Complete(ctx, nil); err != nil {
			c.m.log.LogAttrs(ctx, slog.LevelDebug, "run of a canary not ended", slog.Any("err", err))
		}
	}
}

// erase removes what is stored of it, but for its run, of which nothing stays.
func (c *canary) erase(ctx context.Context) (err error) {
	for _, topic := range []wire.Topic{c.home, c.room()} {
		// Of what was erased something is remembered, so that is done only where something was said.
		head, unknown := c.m.headOf(ctx, topic)
		if err = errors.Join(err, unknown); unknown == nil && head.Offset > 0 {
			err = errors.Join(err, c.m.driver.Drop(ctx, broker.KeyOf(topic)))
		}
	}
	return err
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
