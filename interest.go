package switchboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// topicIdle is how long a topic that nobody needs any more is still followed at the
// driver: clients that come back within it cost nothing there.
const topicIdle = 30 * time.Second

// acquired is a topic that is live here: one reference to it, and its head.
type acquired struct {
	topic   hub.Topic
	key     hub.Key
	address wire.Topic
	head    Position
}

// interest makes calls that follow or unfollow one topic at the driver come one at a time,
// so that neither overtakes the other.
type interest struct {
	mu     sync.Mutex // guards flight
	flight map[hub.Key]*flight
}

// flight is a call under way.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// begin returns the call under way for key, or a new one that the caller makes and ends.
func (i *interest) begin(key hub.Key) (f *flight, mine bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f, ok := i.flight[key]; ok {
		return f, false
	}
	if i.flight == nil {
		i.flight = make(map[hub.Key]*flight)
	}
	f = &flight{done: make(chan struct{})}
	i.flight[key] = f
	return f, true
}

func (i *interest) end(key hub.Key, f *flight, err error) {
	i.mu.Lock()
	delete(i.flight, key)
	i.mu.Unlock()
	f.err = err
	close(f.done)
}

// acquire makes a topic live and returns it with one reference, which the caller releases
// or hands over.
func (m *Manager) acquire(ctx context.Context, address wire.Topic) (acquired, error) {
	return m.acquireWithin(ctx, address, 0)
}

// acquireRoom is acquire for who begins to follow: a room that nobody follows yet is refused if
// its tenant has no place for one more.
func (m *Manager) acquireRoom(ctx context.Context, address wire.Topic) (acquired, error) {
	account := m.tenants.account(address.Tenant, time.Now())
	a, err := m.acquireWithin(ctx, address, account.quota.Rooms)
	if errors.Is(err, hub.ErrTenantRooms) {
		err = m.tenants.full(account, address.Tenant, &account.rooms, "rooms", account.quota.Rooms, topicIdle)
	}
	return a, err
}

func (m *Manager) acquireWithin(ctx context.Context, address wire.Topic, rooms int) (acquired, error) {
	a := acquired{key: hubKey(address), address: address}
	var live bool
	var err error
	if a.topic, live, err = m.hub.AcquireWithin(a.key, address, rooms); err != nil {
		return acquired{}, err
	}
	for !live {
		if err := m.enliven(ctx, a); err != nil {
			m.hub.Release(a.topic)
			return acquired{}, fmt.Errorf("follow %s: %w", address, err)
		}
		_, live = m.hub.Head(a.topic)
	}
	var followers int
	if a.head, followers, _ = m.hub.Lookup(a.key); followers == 0 && a.head.Offset > 0 {
		// Texts that grow there are not in the log, and for nobody the hub does not keep them.
		m.strays.hear(broker.Key(a.key))
	}
	return a, nil
}

// enliven follows a topic at the driver, or waits for who does. It is to be tried again
// until the topic is live or an error comes back.
func (m *Manager) enliven(ctx context.Context, a acquired) error {
	f, mine := m.interest.begin(a.key)
	if !mine {
		select {
		case <-f.done:
			if f.err != nil && !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
				return f.err
			}
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var err error
	defer func() { m.interest.end(a.key, f, err) }()
	if _, live := m.hub.Head(a.topic); live {
		return nil
	}
	link := m.hub.Link()
	if err = m.driver.Follow(ctx, broker.Key(a.key)); err != nil {
		return err
	}
	// The head is asked after Follow, so that nothing lies between them.
	heads, err := m.driver.Heads(ctx, true, broker.Key(a.key))
	if err != nil {
		return err
	}
	if err = m.recall(ctx, a.key); err != nil {
		return err
	}
	m.hub.Confirm(a.topic, heads[0], link)
	if m.hub.Link() != link {
		// All that was live then may have been looked at since, without this one.
		err = m.recall(ctx, a.key)
	}
	return err
}

// forgetIdle unfollows topics that nobody has needed for a while, and reports whether there
// may be more.
func (m *Manager) forgetIdle(ctx context.Context) (more bool) {
	const batch = 512
	keys := m.hub.Idle(nil, batch, topicIdle)
	flights := make(map[hub.Key]*flight, len(keys))
	for _, key := range keys {
		// A key with a call under way is being followed: somebody needs it again.
		if f, mine := m.interest.begin(key); mine {
			flights[key] = f
		}
	}
	var mine []hub.Key
	for key := range flights {
		mine = append(mine, key)
	}
	var gone []broker.Key
	for _, key := range m.hub.Expire(mine) {
		gone = append(gone, broker.Key(key))
	}
	if len(gone) > 0 {
		if err := m.driver.Unfollow(ctx, gone...); err != nil && ctx.Err() == nil {
			// It is a hint: the driver delivers what the hub then drops.
			m.log.LogAttrs(ctx, slog.LevelDebug, "unfollow refused", slog.Any("err", err))
		}
	}
	for key, f := range flights {
		m.interest.end(key, f, nil)
	}
	return len(keys) == batch
}
