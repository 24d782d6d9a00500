package switchboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Memberships stay until they are ended, so that their number has bounds beside that of a tenant's
// [Quota]. A user's own are those by joining; what the application adds is the application's to say.
const (
	maxUserMemberships = 1000
	maxRoomMembers     = 1 << 17
)

// countAtOnce is how many items are read at most to find out whether there is room for one more.
const countAtOnce = 4096

// roomBelow reports whether there is room for one more item below prefix, where the keys go on with
// hashes in hexadecimal, hash being the new one's. There are never more than most. If most are too
// many to be counted, those are that begin alike, which may have their share of most: then there
// may be no room when there are a quarter less.
func (m *Manager) roomBelow(ctx context.Context, prefix, hash string, most int) (bool, error) {
	digits, share := 0, most
	for share > countAtOnce {
		digits++
		share /= 16
	}
	n := 0
	for change, err := range m.driver.Watch(ctx, prefix+hash[:digits]) {
		switch {
		case err != nil:
			return false, fmt.Errorf("count below %s: %w", prefix, err)
		case change.Synced:
			return true, nil
		case change.Deleted:
			n--
		default:
			n++
		}
		if n >= share {
			return false, nil
		}
	}
	return false, ctx.Err()
}

// bucketsBelow are what keys below a prefix go on with, in their order, so that what begins with one
// of them can be read at once: "" if there are few items, else all pairs of digits, of which one
// was looked at. A driver may read all that is asked for before it yields the first.
func (m *Manager) bucketsBelow(ctx context.Context, prefix string) ([]string, error) {
	const few = countAtOnce / 256
	n := 0
	for change, err := range m.driver.Watch(ctx, prefix+"00") {
		if err != nil {
			return nil, fmt.Errorf("count below %s: %w", prefix, err)
		}
		if n++; change.Synced || n > few {
			break
		}
	}
	if n <= few {
		return []string{""}, ctx.Err()
	}
	pairs := make([]string, 256)
	for i := range pairs {
		pairs[i] = fmt.Sprintf("%02x", i)
	}
	return pairs, ctx.Err()
}

// ownPrefix is where the rooms are noted that a user has joined, beside the user's topic.
func ownPrefix(user wire.Topic) string { return broker.KeyOf(user).String() + "/j/" }

// tenantPrefix is where the memberships of a tenant with a quota of them are noted.
func tenantPrefix(tenant string) string {
	return broker.KeyOf(wire.Topic{Tenant: tenant, Kind: wire.KindAll}).String() + "/m/"
}

// memberNote is a membership among those that are counted.
type memberNote struct {
	prefix, hash string
	most         int
	full         func() error // the error when there is no room
}

// memberNotes are where a membership is counted besides with its room: the notes are written after
// it has begun and go before it ends, so that what is lost on the way makes room.
func (m *Manager) memberNotes(room wire.Topic, user string, kind memberKind) (notes []memberNote) {
	own := wire.Topic{Tenant: room.Tenant, Kind: wire.KindUser, ID: user}
	if kind == memberJoined {
		notes = append(notes, memberNote{ownPrefix(own), broker.KeyOf(room).String(), maxUserMemberships, func() error {
			return m.membersFull(room, user, "user", "you are a member of too many rooms", maxUserMemberships)
		}})
	}
	if a := m.tenants.account(room.Tenant, time.Now()); a.quota.Memberships > 0 {
		hash := broker.NameKey(memberKey(room, user)).String()
		notes = append(notes, memberNote{tenantPrefix(room.Tenant), hash, a.quota.Memberships, func() error {
			return m.tenants.full(a, room.Tenant, &a.memberships, "memberships", a.quota.Memberships, retryAfter*time.Second)
		}})
	}
	return notes
}

// mayBegin refuses a membership for which there is no room.
func (m *Manager) mayBegin(ctx context.Context, room wire.Topic, user string, kind memberKind) error {
	member := broker.KeyOf(wire.Topic{Tenant: room.Tenant, Kind: wire.KindUser, ID: user}).String()
	bounds := append(m.memberNotes(room, user, kind), memberNote{memberPrefix(room), member, maxRoomMembers, func() error {
		return m.membersFull(room, user, "room", "the room has too many members", maxRoomMembers)
	}})
	for _, b := range bounds {
		there, err := m.roomBelow(ctx, b.prefix, b.hash, b.most)
		if err == nil && !there {
			err = b.full()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noteMember notes a membership that has begun.
func (m *Manager) noteMember(ctx context.Context, room wire.Topic, user string, kind memberKind) {
	for _, n := range m.memberNotes(room, user, kind) {
		if _, err := m.driver.Put(ctx, n.prefix+n.hash, memberValue(kind, user, Position{}), broker.Any, 0); err != nil {
			m.log.LogAttrs(ctx, slog.LevelDebug, "membership not counted", slog.Any("err", err))
		}
	}
}

// settleMember takes back what is noted of a membership that ended while its beginning was being
// noted. Whoever begins or ends one calls it afterwards. Notes are read before the membership is, and
// deleted only if nobody has written them since: of two that race, one sees the other.
func (m *Manager) settleMember(ctx context.Context, room wire.Topic, user string) {
	err := m.dropNotes(ctx, room, user)
	if err != nil && !errors.Is(err, broker.ErrConflict) { // noted anew
		m.log.LogAttrs(ctx, slog.LevelDebug, "membership that has ended may be counted", slog.Any("err", err))
	}
}

func (m *Manager) dropNotes(ctx context.Context, room wire.Topic, user string) error {
	noted := make(map[string]uint64)
	for _, n := range m.memberNotes(room, user, memberJoined) {
		item, err := m.driver.Get(ctx, n.prefix+n.hash)
		switch {
		case err == nil:
			noted[n.prefix+n.hash] = item.Revision
		case !errors.Is(err, broker.ErrNotFound):
			return err
		}
	}
	if len(noted) == 0 {
		return nil
	}
	state, err := m.memberState(ctx, room, user)
	if err != nil || state.kind != memberNone {
		return err
	}
	for key, revision := range noted {
		err = errors.Join(err, m.driver.Delete(ctx, key, revision))
	}
	return err
}

// unnoteMember makes room for another before a membership ends, however it began: who has joined
// may have been added since.
func (m *Manager) unnoteMember(ctx context.Context, room wire.Topic, user string) error {
	for _, n := range m.memberNotes(room, user, memberJoined) {
		if err := m.driver.Delete(ctx, n.prefix+n.hash, broker.Any); err != nil {
			return fmt.Errorf("membership: %w", err)
		}
	}
	return nil
}

// membersFull counts and tells that there is no room for a membership.
func (m *Manager) membersFull(room wire.Topic, user, scope, text string, limit int) error {
	m.count.membersRefused.Add(1)
	if n := m.door.notices.add(whyMembers, time.Now()); n > 0 {
		m.log.LogAttrs(m.life, slog.LevelWarn, "there is no room for more memberships", slog.String("scope", scope), slog.Int("refused", n),
			slog.String("tenant", room.Tenant), slog.String("room", room.ID), slog.String("user", user))
	}
	return &Error{Code: wire.CodeConflict, Message: text, Details: map[string]any{"field": "room", "limit": limit, "scope": scope}}
}
