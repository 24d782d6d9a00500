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

// How many members room_joined names at most: to who asked, and, in bytes, to the user's other devices. They
// have not asked, cannot put it off, and may be slow: what tells of as many rooms as a connection may follow
// by default, all at once, must find room on it (hub.Config.ToldBytes).
const (
	maxMembersTold     = 1000
	maxMembersTellable = 1 << 10
)

// memberHints are joins that concern connections of this node. They are heard from the driver,
// which must not wait, and carried out in order by one goroutine. Ends are carried out at once.
type memberHints struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards the fields below
	queue []memberHint
	at    map[memberOf]int // where in queue
}

// memberOf is a user and a room. Of each pair one hint waits at most: what it says is only that one must
// look how it is by now.
type memberOf struct {
	user wire.Topic
	room string
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
	if !hint.Joined {
		m.unfollowAll(rec.Topic, wire.Topic{Tenant: rec.Topic.Tenant, Kind: wire.KindRoom, ID: hint.Room}, hint.Position, hint.Reason)
		return
	}
	h.add(hint)
}

func (h *memberHints) add(hint memberHint) {
	h.put(hint)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// put adds a hint to the queue, or to the one that waits there. That one's place is the earlier, behind which
// a device that is about to follow must not miss anything; who has joined last sees to itself.
func (h *memberHints) put(hint memberHint) {
	of := memberOf{user: hint.user, room: hint.Room}
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, waits := h.at[of]; waits {
		h.queue[i].By = hint.By
		return
	}
	if h.at == nil {
		h.at = make(map[memberOf]int)
	}
	h.at[of] = len(h.queue)
	h.queue = append(h.queue, hint)
}

// take empties the queue.
func (h *memberHints) take() []memberHint {
	h.mu.Lock()
	defer h.mu.Unlock()
	hints := h.queue
	h.queue, h.at = nil, nil
	return hints
}

// carryOutHints does what the hints say until ctx ends.
func (m *Manager) carryOutHints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.hints.wake:
		}
		for _, hint := range m.hints.take() {
			room := wire.Topic{Tenant: hint.user.Tenant, Kind: wire.KindRoom, ID: hint.Room}
			// What is beyond a quota has been told where that is counted.
			if err := m.followAll(ctx, hint, room); err != nil && ctx.Err() == nil && CodeOf(err) != wire.CodeRateLimited {
				m.log.LogAttrs(ctx, slog.LevelWarn, "devices of a new member do not follow", slog.Any("err", err))
			}
		}
	}
}

// followAll makes all connections of a new member follow the room. They are told, because
// a client has to know a topic's epoch before it counts.
func (m *Manager) followAll(ctx context.Context, hint memberHint, room wire.Topic) error {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	now, start, err := m.placeOfMember(ctx, room, hint.user.ID, hint.Position)
	if err != nil || now.kind == memberNone {
		return err // or has left again since
	}
	by, _ := m.hub.Find(hint.By)
	var fresh []followed
	defer func() {
		for _, f := range fresh { // those that did not begin
			m.hub.Retract(f.c, f.room.key, f.tag)
		}
	}()
	for _, c := range m.hub.Followers(hubKey(hint.user)) {
		if _, follows := m.hub.Cursor(c, hubKey(room)); follows || c == by {
			continue
		}
		conn, there := m.conn(c)
		if !there || now.kind != memberAdded && !m.mayFollow(ctx, conn, room) {
			continue // one device's credential speaks for that device only
		}
		a, err := m.acquireRoom(ctx, room)
		if err != nil {
			return err
		}
		past := m.mayPast(WithTenant(ctx, room.Tenant), conn.identity, conn.allowed, room.ID)
		tag, mine, err := m.follow(c, a, start, false, false, hub.Terms{Held: true, Lent: now.kind == memberAdded, Fresh: !past})
		if err != nil && !errors.Is(err, ErrNotFound) {
			m.log.LogAttrs(ctx, slog.LevelDebug, "device of a new member does not follow", slog.Any("err", err))
		}
		if mine {
			fresh = append(fresh, followed{c: c, room: a, tag: tag})
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	joined, err := m.roomJoined(ctx, room, start, "", maxMembersTellable)
	if err != nil {
		return err
	}
	// Who ends a membership does so first and then stops those who follow. If that was between
	// the question above and the follow, nobody else would stop these. Nor may they stay if it
	// cannot be found out.
	again, err := m.memberState(ctx, room, hint.user.ID)
	if err != nil || (again.kind == memberNone || again.since != now.since) && !mutantLent {
		return err
	}
	for len(fresh) > 0 {
		f := fresh[0]
		if again.kind != memberAdded && !mutantLent {
			conn, there := m.conn(f.c) // its credential may be another one now
			if !there || !m.mayFollow(ctx, conn, room) {
				m.hub.Retract(f.c, f.room.key, f.tag)
				fresh = fresh[1:]
				continue
			}
		}
		m.hub.Begin(f.c, f.room.key, f.tag, joined, false)
		fresh = fresh[1:]
	}
	return nil
}

// mayFollow asks whether the credential of a connection itself allows it to follow room.
func (m *Manager) mayFollow(ctx context.Context, conn *Conn, room wire.Topic) bool {
	err := m.authorize(WithTenant(ctx, room.Tenant), conn.identity, conn.allowed, ActJoin, room.ID)
	if err != nil && !errors.Is(err, ErrForbidden) {
		m.log.LogAttrs(ctx, slog.LevelWarn, "device of a new member does not follow", slog.Any("err", err))
	}
	return err == nil
}

// unfollowAll makes all connections of a former member stop, unless they began to follow
// the room after the membership had ended at pos. If the user is a member again by now they
// follow again, from the new join on.
func (m *Manager) unfollowAll(user, room wire.Topic, pos Position, reason string) {
	frame, err := answerFrame(wire.RoomLeft, "", wire.RoomLeftPayload{Room: room.ID, Reason: reason})
	if err != nil { // they stop all the same
		m.log.LogAttrs(m.life, slog.LevelError, "end of a membership not told", slog.Any("err", err))
	}
	left := false
	for _, c := range m.hub.Followers(hubKey(user)) {
		if m.hub.Leave(c, hubKey(room), pos, frame) {
			left = true
		} else if _, again := m.hub.Cursor(c, hubKey(room)); again {
			continue // it has begun to follow since
		}
		m.typesNoMore(c, room)
	}
	m.presence.post(presenceEvent{what: memberEnded, topic: user, room: hubKey(room), more: &presenceMore{end: pos}})
	if left {
		m.rejoin(user, room, pos)
	}
}

// rejoin makes the devices of user follow room, from pos on at the earliest, if the user is a
// member by now: one of them was made to stop, perhaps for a membership before that.
func (m *Manager) rejoin(user, room wire.Topic, pos Position) {
	m.hints.add(memberHint{user: user, membership: membership{
		Member: wire.Member{User: user.ID, Joined: true}, Room: room.ID, Position: pos,
	}})
}

// stayAway is for a connection that was told that it does not follow a room. One that has begun to
// follow it meanwhile, as a member, begins again and is told again.
func (m *Manager) stayAway(c hub.Handle, user, room wire.Topic, asked bool, frames ...[]byte) {
	if at, followed := m.hub.Quit(c, hubKey(room), asked, frames...); followed {
		m.rejoin(user, room, at)
	}
}

// removeMember carries out the end of a membership when its record comes by in the log of
// the room, before anything that follows it can be delivered. Records that this node has
// seen before say nothing about now.
func (m *Manager) removeMember(e broker.Entry, rec wire.Record) {
	head, _, live := m.hub.Lookup(hub.Key(e.Topic))
	if !live || head.Epoch == e.Pos.Epoch && e.Pos.Offset <= head.Offset {
		return
	}
	if change, ok := endOf(e, rec); ok {
		user := wire.Topic{Tenant: rec.Topic.Tenant, Kind: wire.KindUser, ID: change.User}
		m.unfollowAll(user, rec.Topic, e.Pos, change.Reason)
	}
}

// removeMissed is removeMember for a record that is read from the log. In a log that has begun
// anew all records look new, also that of an end before the user joined again.
func (m *Manager) removeMissed(ctx context.Context, e broker.Entry, rec wire.Record) error {
	head, _, live := m.hub.Lookup(hub.Key(e.Topic))
	if live && head.Epoch != e.Pos.Epoch {
		change, ok := endOf(e, rec)
		if !ok {
			return nil
		}
		if state, err := m.memberState(ctx, rec.Topic, change.User); err != nil || state.kind != memberNone {
			return err
		}
	}
	m.removeMember(e, rec)
	return nil
}

// endOf reads a record that ends a membership.
func endOf(e broker.Entry, rec wire.Record) (change membership, ok bool) {
	if broker.KeyOf(rec.Topic) != e.Topic {
		return change, false
	}
	err := wire.Unmarshal(rec.Body, &change)
	return change, err == nil && !change.Joined
}

// endLent makes the connections stop whose lent right has ended unheard: records up to head are
// gone, one of which may have said so. It is called before anything behind those is delivered.
func (m *Manager) endLent(ctx context.Context, key hub.Key, head Position) error {
	room, known := m.hub.Address(key)
	if !known || room.Kind != wire.KindRoom {
		return nil
	}
	lent := m.hub.Lent(key)
	if len(lent) == 0 {
		return nil
	}
	added := make(map[string]bool)
	for member, err := range m.members(ctx, room) {
		if err != nil {
			return err
		}
		added[member.user] = member.kind == memberAdded
	}
	for _, c := range lent {
		view, there := m.hub.View(c)
		at, follows := m.hub.Cursor(c, key)
		if !there || !follows || added[view.User.ID] || m.hub.Oust(c, key) {
			continue
		}
		m.quit(c, view.User, room, reasonRemoved, "", gapUpTo(room, at, head))
	}
	return nil
}

// roomJoined is the frame that tells of a room that is followed from pos on, with names of members up to
// so many bytes.
func (m *Manager) roomJoined(ctx context.Context, room wire.Topic, pos Position, id string, most int) ([]byte, error) {
	buckets, err := m.bucketsBelow(ctx, memberPrefix(room))
	if err != nil {
		return nil, err
	}
	var users []byte // one behind the other
	var ends []int
names:
	for len(buckets) > 0 && len(ends) < maxMembersTold {
		for member, err := range m.membersBelow(ctx, memberPrefix(room)+buckets[0]) {
			if err != nil {
				return nil, err
			}
			if quoted := len(`"",`); len(users)+len(member.user)+quoted*(len(ends)+1) > most {
				break names
			}
			users = append(users, member.user...)
			if ends = append(ends, len(users)); len(ends) == maxMembersTold {
				break
			}
		}
		buckets = buckets[1:]
	}
	payload := wire.RoomJoinedPayload{Room: room.ID, Position: pos, Members: make([]string, len(ends))}
	all, start := string(users), 0
	for i, end := range ends {
		payload.Members[i], start = all[start:end], end
	}
	slices.Sort(payload.Members)
	return answerFrame(wire.RoomJoined, id, payload)
}

// quit tells a client that it does not follow a room, and makes that true in the same step. Who
// has begun to follow it meanwhile, as a member, begins again and is told again.
func (m *Manager) quit(c hub.Handle, user, room wire.Topic, reason, id string, gap *wire.Gap) {
	var frames [2][]byte
	var err error
	if gap != nil {
		m.count.gaps.Add(1)
		frames[0], err = answerFrame(wire.GapType, "", *gap)
	}
	if err == nil {
		frames[1], err = answerFrame(wire.RoomLeft, id, wire.RoomLeftPayload{Room: room.ID, Reason: reason})
	}
	if err != nil {
		m.log.LogAttrs(m.life, slog.LevelError, "end of a membership not told", slog.Any("err", err))
	}
	m.stayAway(c, user, room, id != "", frames[:]...)
	if v, there := m.hub.View(c); there {
		m.ceases(c, v, room)
	}
}

// follow makes c receive a room from pos on and takes over the reference in a. Without move
// what c follows already stays as it is, unless it is held and oust is set: a client's own wish
// goes before what follows from a hint. mine is true if this call began or moved it. The tag is 0 for the user's own topic.
func (m *Manager) follow(c hub.Handle, a acquired, pos Position, move, oust bool, terms hub.Terms) (tag uint32, mine bool, err error) {
	mu := &m.following[uint64(c)%uint64(len(m.following))]
	mu.Lock()
	defer mu.Unlock()
	if oust {
		m.hub.Oust(c, a.key)
	}
	tag = m.hub.Tag(c, a.key)
	if !move && (tag != 0 || a.address.Kind != wire.KindRoom) { // the user's own topic is always followed
		m.hub.Release(a.topic)
		return tag, false, nil
	}
	tag, err = m.hub.FollowOn(c, a.topic, pos, terms)
	return tag, err == nil, hubError(err)
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
