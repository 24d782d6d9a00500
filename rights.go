package switchboard

import (
	"context"
	"errors"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// claim is by what right a client follows a room.
type claim struct {
	lent bool // the application made the user a member, and can take that back
	past bool // with the right to read what was said before
	// since is the join by which the place to begin was found; zero: it was not by a membership.
	since Position
}

// followed is a room that a connection follows and that is not written to it before begin.
type followed struct {
	c    hub.Handle
	user wire.Topic
	room acquired
	from Position
	tag  uint32    // 0: it is the user's own topic
	mine bool      // it is followed by this call, or from another place on
	lost bool      // the right has ended, and nothing is followed
	gap  *wire.Gap // told before it begins
}

// followFor makes the connection of sender follow a room by cl, from pos on, and asks then
// whether the right is still there: who ends it does so first and then stops those who follow.
// It takes over the reference in a. The caller answers and calls begin.
func (m *Manager) followFor(ctx context.Context, sender *Conn, a acquired, pos Position, move bool, cl claim) (followed, error) {
	tag, mine, err := m.follow(sender.handle, a, pos, move, true, hub.Terms{Held: true, Lent: cl.lent, Fresh: !cl.past})
	if err != nil {
		return followed{}, err
	}
	f := followed{c: sender.handle, user: sender.view.User, room: a, from: pos, tag: tag, mine: mine}
	if !mine {
		if at, follows := m.hub.Cursor(f.c, a.key); follows {
			f.from = at // somebody else was first, and began elsewhere
		}
		return f, nil
	}
	if err := m.confirm(ctx, sender, a.address, cl); err != nil && !mutantLent {
		m.hub.Retract(f.c, a.key, tag)
		f.lost = true
		if !errors.Is(err, ErrForbidden) {
			return f, err
		}
	}
	return f, nil
}

// confirm asks whether the right that somebody follows by is the one that was there before.
func (m *Manager) confirm(ctx context.Context, sender *Conn, room wire.Topic, cl claim) error {
	if !cl.lent && cl.since.IsZero() {
		return nil
	}
	now, err := m.memberState(ctx, room, sender.view.User.ID)
	switch {
	case err != nil:
		return err
	case now.kind == memberNone, cl.lent && now.kind != memberAdded, !cl.since.IsZero() && now.since != cl.since:
		return ErrForbidden
	}
	return nil
}

// retract ends what followFor began, for a client that was not told.
func (m *Manager) retract(f followed) bool {
	return f.mine && m.hub.Retract(f.c, f.room.key, f.tag)
}

// begin lets a room be written behind frame, and is false if the right has ended since. Then
// nothing was sent.
func (m *Manager) begin(f followed, frame []byte) bool {
	switch {
	case f.lost:
		return false
	case f.tag != 0:
		return m.hub.Begin(f.c, f.room.key, f.tag, frame, true)
	case frame != nil:
		_ = m.hub.Send(f.c, frame, false) // a connection that has ended needs none
	}
	return true
}

// beginOrLeave is begin for a client that has been told already that it follows.
func (m *Manager) beginOrLeave(ctx context.Context, f followed) {
	if m.begin(f, nil) {
		return
	}
	to, err := m.headOf(ctx, f.room.address)
	if err != nil {
		to = f.room.head
	}
	m.quit(f.c, f.user, f.room.address, reasonRemoved, "", gapUpTo(f.room.address, f.from, to))
}

// gapUpTo says that what lies between two places of a log is gone; nil: nothing does.
func gapUpTo(topic wire.Topic, from, to Position) *wire.Gap {
	gap := wire.Gap{Topic: topic.String(), From: from, To: to, Reason: wire.ReasonExpired}
	switch {
	case from.Epoch != to.Epoch:
		gap.Reason, gap.Epoch, gap.NewEpoch = wire.ReasonEpochChanged, from.Epoch, to.Epoch
	case from.Offset >= to.Offset:
		return nil
	}
	return &gap
}

// mayPast reports whether somebody may read what was said in a room before: if that cannot be
// found out, not.
func (m *Manager) mayPast(ctx context.Context, id Identity, allowed *permissions, room string) bool {
	return m.authorize(ctx, id, allowed, ActHistory, room) == nil
}

// placeOfMember returns the membership of a user with the place of its join in the log as it is
// now, and the place from which a device follows that heard of the join at pos: not before it.
func (m *Manager) placeOfMember(ctx context.Context, room wire.Topic, user string, pos Position) (memberItem, Position, error) {
	now, err := m.memberState(ctx, room, user)
	if err != nil || now.kind == memberNone {
		return now, Position{}, err
	}
	if pos.Epoch == now.since.Epoch && pos.Offset >= now.since.Offset && !pos.IsZero() {
		return now, pos, nil
	}
	now, err = m.anchored(ctx, room, user, now)
	return now, now.since, err
}

// anchored returns a membership whose join has a place in the log as it is now. If that is not
// known, or was in a log that has begun anew since, which may have kept what is older than the
// join, it is now, from here on for everybody.
func (m *Manager) anchored(ctx context.Context, room wire.Topic, user string, state memberItem) (memberItem, error) {
	for range memberTries {
		head, err := m.headOf(ctx, room)
		if err != nil || state.kind == memberNone || state.since.Epoch == head.Epoch {
			return state, err
		}
		state.since = head
		state.revision, err = m.driver.Put(ctx, memberKey(room, user), memberValue(state.kind, user, head), state.revision, 0)
		if !errors.Is(err, broker.ErrConflict) {
			return state, err
		}
		if state, err = m.memberState(ctx, room, user); err != nil {
			return state, err
		}
	}
	return state, ErrConflict
}

// clampToJoin returns the place from which a user without the right to read history goes on
// in a room: pos, but not before the join of a member, and not before now for others. since is
// that join.
func (m *Manager) clampToJoin(ctx context.Context, sender *Conn, room acquired, pos Position) (start, since Position, err error) {
	user := sender.view.User.ID
	state, err := m.memberState(ctx, room.address, user)
	if err == nil && state.kind != memberNone && state.since.Epoch != room.head.Epoch {
		state, err = m.anchored(ctx, room.address, user, state)
	}
	if err != nil {
		return Position{}, Position{}, err
	}
	if state.kind == memberNone {
		start, err = m.headOf(ctx, room.address)
	} else {
		start, since = state.since, state.since
	}
	if pos.Epoch == start.Epoch && pos.Offset >= start.Offset {
		start = pos
	}
	return start, since, err
}
