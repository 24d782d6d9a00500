package switchboard

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// minSessionReceipts is of how many sessions of a user receipts of one topic are kept, or of
	// twice as many as a user has connections: those that were heard of last.
	minSessionReceipts = 64
	// receiptsPerMinute is how many receipts of a user begin, of sessions and topics that had none,
	// and receiptsAtOnce how many at once: of all rooms that all connections of a user follow.
	receiptsPerMinute = 600
	receiptsAtOnce    = 4096
)

// roomForReceipt sees to it that a user has no more receipts of a topic than of the newest
// sessions, and that no more of any topics begin in a minute than there should.
func (m *Manager) roomForReceipt(ctx context.Context, name receiptName, k mark) (bool, error) {
	if _, ok := m.door.receipts.Take(userID{k.tenant, k.User}, 1, time.Now()); !ok {
		m.count.receiptsDropped.Add(1)
		return false, nil
	}
	marks, err := m.marksBelow(ctx, name.prefix(k.User))
	if err != nil {
		return false, err
	}
	most := max(minSessionReceipts, 2*m.opts.Limits.ConnsPerUser)
	for _, old := range oldest(marks, len(marks)-most+1) {
		session, ok := hub.ParseSession(old.Session)
		if !ok {
			continue
		}
		if err := m.driver.Delete(ctx, receiptName{name.topic, session}.key(k.User), broker.Any); err != nil {
			return false, fmt.Errorf("receipt of an old session: %w", err)
		}
	}
	return true, nil
}

// oldest are the n of one user's marks that were heard of longest ago, but for one or two that say
// how far the user is.
func oldest(marks []mark, n int) []mark {
	if n <= 0 {
		return nil
	}
	far := furthest(marks)
	delivered := slices.IndexFunc(marks, func(k mark) bool { return k.Epoch == far.Epoch && k.Delivered == far.Delivered })
	seen := slices.IndexFunc(marks, func(k mark) bool { return k.Epoch == far.Epoch && k.Seen == far.Seen && k.Seen > 0 })
	var list []mark
	for i, k := range marks {
		if i != delivered && i != seen {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b mark) int { return cmp.Compare(a.At, b.At) })
	return list[:min(n, len(list))]
}

// receiptsAfter yields what comes behind the receipt of a user and session until yield is false.
func (m *Manager) receiptsAfter(ctx context.Context, to Target, user, session string, yield func(Receipt) bool) error {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return err
	}
	topic, err := to.topic(tenant)
	if err != nil {
		return err
	}
	from := ""
	if user != "" {
		from = userHash(user)
	}
	err = m.eachMark(ctx, receiptPrefix(broker.KeyOf(topic)), from, func(of string, marks []mark) bool {
		if of > from && !yield(furthest(marks).receipt()) {
			return false
		}
		for _, k := range marks {
			if (of > from || k.Session > session) && !yield(k.receipt()) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("of %s: %w", topic, err)
	}
	return nil
}

// eachMark calls do with the hash and the marks of each user whose hash is not before from, by hash,
// until do is false.
func (m *Manager) eachMark(ctx context.Context, prefix, from string, do func(of string, marks []mark) bool) error {
	buckets, err := m.bucketsBelow(ctx, prefix)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		if bucket < from[:min(len(bucket), len(from))] {
			continue
		}
		marks, err := m.marksBelow(ctx, prefix+bucket)
		if err != nil {
			return err
		}
		for len(marks) > 0 {
			of, n := userHash(marks[0].User), 1
			for n < len(marks) && marks[n].User == marks[0].User {
				n++
			}
			if of >= from && !do(of, marks[:n]) {
				return nil
			}
			marks = marks[n:]
		}
	}
	return nil
}

// marksBelow reads the marks below a prefix, sorted by the hashes of users, and session.
func (m *Manager) marksBelow(ctx context.Context, prefix string) (marks []mark, err error) {
	found := make(map[string]mark)
	for change, err := range m.driver.Watch(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if change.Synced {
			break
		}
		var k mark
		switch {
		case change.Deleted:
			delete(found, change.Key)
		case wire.Unmarshal(change.Value, &k) != nil:
			m.count.unreadable.Add(1)
		default:
			found[change.Key] = k
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		marks = append(marks, found[key])
	}
	return marks, ctx.Err()
}
