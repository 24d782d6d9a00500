package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// maxMembersTold is how many members room_joined names at most.
const maxMembersTold = 1000

// memberHints are changes of memberships that concern connections of this node. They are
// heard from the driver, which must not wait, and carried out in order by one goroutine.
type memberHints struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards queue
	queue []memberHint
}

type memberHint struct {
	user wire.Topic
	membership
}

// hear takes a hint from the topic of a user.
func (h *memberHints) hear(m *Manager, e broker.Entry, rec wire.Record) {
	if rec.Topic.Kind != wire.KindUser || broker.KeyOf(rec.Topic) != e.Topic {
		m.count.isolation.Add(1)
		m.log.LogAttrs(m.life, slog.LevelError, "record under the key of another topic", slog.String("topic_key", e.Topic.String()))
		return
	}
	hint := memberHint{user: rec.Topic}
	if err := wire.Unmarshal(rec.Body, &hint.membership); err != nil || wire.CheckID(hint.Room) != nil {
		m.count.unreadable.Add(1)
		m.log.LogAttrs(m.life, slog.LevelError, "membership not readable", slog.Any("err", err))
		return
	}
	h.mu.Lock()
	h.queue = append(h.queue, hint)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// carryOutHints does what the hints say until ctx ends.
func (m *Manager) carryOutHints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.members.wake:
		}
		m.members.mu.Lock()
		hints := m.members.queue
		m.members.queue = nil
		m.members.mu.Unlock()
		for _, hint := range hints {
			room := wire.Topic{Tenant: hint.user.Tenant, Kind: wire.KindRoom, ID: hint.Room}
			if hint.Joined {
				m.followAll(ctx, hint, room)
			} else {
				m.unfollowAll(hint.user, room, hint.Position, hint.Reason)
			}
		}
	}
}

// followAll makes all connections of a new member follow the room. They are told, because
// a client has to know a topic's epoch before it counts.
func (m *Manager) followAll(ctx context.Context, hint memberHint, room wire.Topic) {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	now, err := m.memberState(ctx, room, hint.user.ID)
	if err == nil && now.kind == memberNone {
		return // has left again since
	}
	by, _ := m.hub.Find(hint.By)
	var joined []byte
	var fresh []hub.Handle
	for _, c := range m.hub.Followers(hubKey(hint.user)) {
		if _, follows := m.hub.Cursor(c, hubKey(room)); follows || c == by {
			continue
		}
		if now.kind != memberAdded && !m.mayFollow(ctx, c, room) {
			continue // one device's credential speaks for that device only
		}
		if joined == nil {
			if joined, err = m.roomJoined(ctx, room, hint.Position, ""); err != nil {
				m.log.LogAttrs(ctx, slog.LevelWarn, "devices of a new member do not follow", slog.Any("err", err))
				return
			}
		}
		a, err := m.acquire(ctx, room)
		if err != nil {
			m.log.LogAttrs(ctx, slog.LevelWarn, "devices of a new member do not follow", slog.Any("err", err))
			return
		}
		if m.hub.Send(c, joined, false) != nil {
			m.hub.Release(a.topic)
			continue
		}
		followed, err := m.follow(c, a, hint.Position, false)
		if err != nil && !errors.Is(err, ErrNotFound) {
			m.sendRoomLeft(c, room.ID, reasonRemoved, "")
		}
		if followed {
			fresh = append(fresh, c)
		}
	}
	if len(fresh) == 0 {
		return
	}
	// Who ends a membership does so first and then stops those who follow. If that was between
	// the question above and the follow, nobody else would stop these. Nor may they stay if it
	// cannot be found out.
	if now, err = m.memberState(ctx, room, hint.user.ID); err == nil && now.kind != memberNone {
		return
	}
	if err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "devices of a new member do not follow", slog.Any("err", err))
	}
	for _, c := range fresh {
		if m.hub.Unfollow(c, hubKey(room)) {
			m.sendRoomLeft(c, room.ID, reasonRemoved, "")
		}
	}
}

// mayFollow asks whether the credential of c itself allows it to follow room.
func (m *Manager) mayFollow(ctx context.Context, c hub.Handle, room wire.Topic) bool {
	conn, ok := m.conn(c)
	if !ok {
		return false
	}
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = newPanicError(r)
			}
		}()
		return m.authorize(WithTenant(ctx, room.Tenant), conn.identity, conn.allowed, ActJoin, room.ID)
	}()
	if err != nil && !errors.Is(err, ErrForbidden) {
		m.log.LogAttrs(ctx, slog.LevelWarn, "device of a new member does not follow", slog.Any("err", err))
	}
	return err == nil
}

// unfollowAll makes all connections of a former member stop, unless they began to follow
// the room after the membership had ended at pos.
func (m *Manager) unfollowAll(user, room wire.Topic, pos Position, reason string) {
	key := hubKey(room)
	for _, c := range m.hub.Followers(hubKey(user)) {
		at, follows := m.hub.Cursor(c, key)
		if !follows || at.Epoch == pos.Epoch && at.Offset >= pos.Offset {
			continue
		}
		if !m.hub.Unfollow(c, key) {
			continue
		}
		if at.Epoch == pos.Epoch && at.Offset+1 < pos.Offset {
			// The room stops at once: what was not yet written is not written any more.
			m.gap(c, wire.Gap{Topic: room.String(), From: at, To: pos, Reason: wire.ReasonExpired})
		}
		m.sendRoomLeft(c, room.ID, reason, "")
	}
}

// removeMember carries out the end of a membership when its record comes by in the log of
// the room, before anything that follows it can be delivered. Records that this node has
// seen before say nothing about now.
func (m *Manager) removeMember(e broker.Entry, rec wire.Record) {
	head, _, live := m.hub.Lookup(hub.Key(e.Topic))
	if !live || head.Epoch != e.Pos.Epoch || e.Pos.Offset <= head.Offset || broker.KeyOf(rec.Topic) != e.Topic {
		return
	}
	var change membership
	if err := wire.Unmarshal(rec.Body, &change); err != nil || change.Joined {
		return
	}
	user := wire.Topic{Tenant: rec.Topic.Tenant, Kind: wire.KindUser, ID: change.User}
	m.unfollowAll(user, rec.Topic, e.Pos, change.Reason)
}

// roomJoined is the frame that tells of a room that is followed from pos on.
func (m *Manager) roomJoined(ctx context.Context, room wire.Topic, pos Position, id string) ([]byte, error) {
	payload := wire.RoomJoinedPayload{Room: room.ID, Position: pos}
	for user, err := range m.memberNames(ctx, room) {
		if err != nil {
			return nil, err
		}
		if payload.Members = append(payload.Members, user); len(payload.Members) == maxMembersTold {
			break
		}
	}
	slices.Sort(payload.Members)
	return answerFrame(wire.RoomJoined, id, payload)
}

func (m *Manager) sendRoomLeft(c hub.Handle, room, reason, id string) {
	m.answer(c, wire.RoomLeft, id, wire.RoomLeftPayload{Room: room, Reason: reason})
}

// follow makes c receive a room from pos on and takes over the reference in a. Without move
// a room that c follows already stays as it is. followed is true if it is new to c.
func (m *Manager) follow(c hub.Handle, a acquired, pos Position, move bool) (followed bool, err error) {
	mu := &m.following[uint64(c)%uint64(len(m.following))]
	mu.Lock()
	defer mu.Unlock()
	_, follows := m.hub.Cursor(c, a.key)
	if follows && !move {
		m.hub.Release(a.topic)
		return false, nil
	}
	return !follows, hubError(m.hub.Follow(c, a.topic, pos))
}

// roomsLeft returns an error if c cannot follow those of keys that it does not follow yet.
func (m *Manager) roomsLeft(c hub.Handle, keys ...hub.Key) error {
	limit := m.opts.Limits.RoomsPerConn
	if limit <= 0 {
		return nil
	}
	following := m.hub.Following(c)
	n := 0
	for _, f := range following {
		if f.Address.Kind == wire.KindRoom {
			n++
		}
	}
	for i, key := range keys {
		known := slices.ContainsFunc(following, func(f hub.Cursor) bool { return f.Key == key })
		if !known && !slices.Contains(keys[:i], key) {
			n++
		}
	}
	if n > limit {
		return &Error{
			Code: wire.CodeConflict, Message: "too many rooms on this connection",
			Details: map[string]any{"field": "rooms", "limit": limit},
		}
	}
	return nil
}
