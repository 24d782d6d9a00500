package switchboard

import (
	"context"
	"errors"
	"slices"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// sentRoom decodes the room that a verb names.
func (in *inbound) sentRoom(tenant string) (wire.Topic, error) {
	var req wire.JoinRoomRequest
	if err := in.env.Decode(&req); err != nil {
		return wire.Topic{}, err
	}
	if err := wire.CheckID(req.Room); err != nil {
		return wire.Topic{}, fieldError(wire.CodeInvalidMessage, "room", "room "+err.Error())
	}
	return wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: req.Room}, nil
}

func joinRoomVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	user := sender.view.User
	room, err := in.sentRoom(user.Tenant)
	if err != nil {
		return err
	}
	lent, err := m.mayRead(ctx, sender.identity, sender.allowed, room.ID)
	if err != nil {
		if errors.Is(err, ErrForbidden) {
			return roomError("room", room.ID, "you may not join this room")
		}
		return err
	}
	if err := m.roomsLeft(in.c, hubKey(room)); err != nil {
		return err
	}
	a, err := m.acquire(ctx, room)
	if err != nil {
		return err
	}
	var pos Position
	var changed bool
	if lent {
		// Who may join only as a member has nothing to write, and no right to do so if the
		// membership has ended meanwhile.
		var now memberItem
		if now, err = m.memberState(ctx, room, user.ID); err == nil && now.kind != memberAdded {
			err = roomError("room", room.ID, "you may not join this room")
		}
	} else {
		pos, changed, err = m.setMember(ctx, room, user.ID, memberJoined, "")
	}
	if err == nil && !changed {
		pos, err = m.placeIn(ctx, sender, a, lent)
	}
	var joined []byte
	if err == nil {
		joined, err = m.roomJoined(ctx, room, pos, in.env.ID)
	}
	if err != nil {
		m.hub.Release(a.topic)
		return err
	}
	_ = m.hub.Send(in.c, joined, false) // before the first message that it speaks for
	if err := m.followAs(ctx, sender, a, pos, false, lent); err != nil {
		return err
	}
	if !changed {
		return nil
	}
	return m.hintMember(ctx, room, membership{
		Member: wire.Member{User: user.ID, Joined: true}, Position: pos, By: sender.view.ID,
	})
}

func leaveRoomVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	room, err := in.sentRoom(sender.view.User.Tenant)
	if err != nil {
		return err
	}
	// This connection stops first, so that it hears of it once, by the answer.
	key := hubKey(room)
	at, _ := m.hub.Cursor(in.c, key)
	followed := m.hub.Unfollow(in.c, key)
	if err := m.endMembership(ctx, room, sender.view.User.ID, reasonLeft); err != nil {
		if followed {
			m.followAgain(ctx, in.c, room, at)
		}
		return err
	}
	m.sendRoomLeft(in.c, room.ID, reasonLeft, in.env.ID)
	return nil
}

// followAgain takes back an unfollow. If that fails too the client is told that it has left.
func (m *Manager) followAgain(ctx context.Context, c hub.Handle, room wire.Topic, at Position) {
	a, err := m.acquire(ctx, room)
	if err == nil {
		_, err = m.follow(c, a, at, true)
	}
	if err != nil {
		m.sendRoomLeft(c, room.ID, reasonLeft, "")
	}
}

func roomMessageVerb(ctx context.Context, in *inbound) error {
	sender, err := in.conn()
	if err != nil {
		return err
	}
	user := sender.view.User
	room, err := in.sentRoom(user.Tenant)
	if err != nil {
		return err
	}
	if err := in.mayPublish(ctx, sender, "room", room.ID); err != nil {
		return err
	}
	in.stamp(user)
	d, err := in.m.append(ctx, room, user.ID, spoken(in.env), nil)
	if err != nil {
		return err
	}
	ack := wire.Ack{Status: wire.StatusOK, Position: d.Position}
	if d.Duplicate {
		ack.Status = wire.StatusDuplicate
	}
	in.m.ack(in.c, in.env.ID, ack, "")
	return nil
}

func subscribeVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, req, topics, err := in.subscription()
	if err != nil {
		return err
	}
	keys := make([]hub.Key, len(topics))
	for i, topic := range topics {
		keys[i] = hubKey(topic)
	}
	if err := m.roomsLeft(in.c, keys...); err != nil {
		return err
	}
	lent := make([]bool, len(topics))
	for i, topic := range topics {
		if lent[i], err = m.mayRead(ctx, sender.identity, sender.allowed, topic.ID); err != nil {
			if errors.Is(err, ErrForbidden) {
				return roomError("rooms", topic.ID, "you may not read this room")
			}
			return err
		}
	}
	if len(req.Threads) > 0 {
		if err := m.hub.Watch(in.c, req.Threads...); err != nil {
			return hubError(err)
		}
	}
	var wanted []wantedRoom
	defer func() {
		for _, w := range wanted {
			m.hub.Release(w.topic) // those that were not handed over
		}
	}()
	told := make(map[string]Position, len(topics))
	for i, topic := range topics {
		pos, asked := req.Since[topic.String()]
		w, err := m.wantRoom(ctx, sender, topic, pos, asked, lent[i])
		if err != nil {
			return err
		}
		wanted = append(wanted, w)
		told[topic.String()] = w.from
	}
	m.answer(in.c, wire.Subscribed, in.env.ID, wire.SubscribedPayload{Topics: told})
	for len(wanted) > 0 {
		w := wanted[0]
		wanted = wanted[1:]
		if err := m.followAs(ctx, sender, w.acquired, w.from, w.move, w.lent); err != nil {
			return err
		}
	}
	return nil
}

// wantedRoom is a room and where to receive it from.
type wantedRoom struct {
	acquired
	from Position
	move bool // also if it is followed already
	lent bool // the right to follow it
}

// wantRoom makes a room live and finds the place from which sender receives it: from pos,
// if that was asked for and the user may read what was before, else where the connection is
// or now.
func (m *Manager) wantRoom(ctx context.Context, sender *Conn, topic wire.Topic, pos Position, asked, lent bool) (wantedRoom, error) {
	a, err := m.acquire(ctx, topic)
	if err != nil {
		return wantedRoom{}, err
	}
	w := wantedRoom{acquired: a, lent: lent}
	if w.from, err = m.placeIn(ctx, sender, a, lent); err != nil {
		m.hub.Release(a.topic)
		return wantedRoom{}, err
	}
	if !asked {
		return w, nil
	}
	switch err := m.authorize(ctx, sender.identity, sender.allowed, ActHistory, topic.ID); {
	case errors.Is(err, ErrForbidden):
		return w, nil
	case err != nil:
		m.hub.Release(a.topic)
		return wantedRoom{}, err
	}
	r, err := m.reach(ctx, a.key, pos)
	if err != nil {
		m.hub.Release(a.topic)
		return wantedRoom{}, err
	}
	w.from, w.move = r.from, true
	return w, nil
}

// placeIn is where a connection is in a room, or the place from which it begins: now. The right of
// a member begins with the join, of which this node may not have heard yet.
func (m *Manager) placeIn(ctx context.Context, sender *Conn, room acquired, lent bool) (Position, error) {
	at, follows := m.hub.Cursor(sender.handle, room.key)
	switch {
	case follows:
		return at, nil
	case lent:
		return m.clampToJoin(ctx, sender, room, room.head)
	}
	return room.head, nil
}

func unsubscribeVerb(_ context.Context, in *inbound) error {
	_, req, topics, err := in.subscription()
	if err != nil {
		return err
	}
	if len(req.Threads) > 0 {
		if err := in.m.hub.Unwatch(in.c, req.Threads...); err != nil {
			return hubError(err)
		}
	}
	told := make(map[string]Position, len(topics))
	for _, topic := range topics {
		key := hubKey(topic)
		if at, follows := in.m.hub.Cursor(in.c, key); follows && in.m.hub.Unfollow(in.c, key) {
			told[topic.String()] = at
		}
	}
	in.m.answer(in.c, wire.Unsubscribed, in.env.ID, wire.SubscribedPayload{Topics: told})
	return nil
}

// subscription decodes a subscribe or unsubscribe. Threads select streams; messages always
// come.
func (in *inbound) subscription() (*Conn, wire.SubscribeRequest, []wire.Topic, error) {
	var req wire.SubscribeRequest
	sender, err := in.conn()
	if err == nil {
		err = in.env.Decode(&req)
	}
	if err != nil {
		return nil, req, nil, err
	}
	for _, list := range []struct {
		field string
		ids   []string
	}{{"rooms", req.Rooms}, {"threads", req.Threads}} {
		if len(list.ids) > maxPositions {
			return nil, req, nil, fieldError(wire.CodeInvalidMessage, list.field, "too many "+list.field)
		}
		for _, id := range list.ids {
			if err := wire.CheckID(id); err != nil {
				return nil, req, nil, fieldError(wire.CodeInvalidMessage, list.field, list.field+": an id "+err.Error())
			}
		}
	}
	slices.Sort(req.Rooms)
	topics, err := roomTopics(sender.view.User.Tenant, slices.Compact(req.Rooms))
	return sender, req, topics, err
}
