package switchboard

import (
	"context"
	"errors"
	"math"
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
			return errMayNotJoin(room.ID)
		}
		return err
	}
	if err := m.roomsLeft(in.c, hubKey(room)); err != nil {
		return err
	}
	a, err := m.acquireRoom(ctx, room)
	if err != nil {
		return err
	}
	pos, cl, changed, err := m.joinAs(ctx, sender, a, lent)
	if err != nil {
		m.hub.Release(a.topic)
		return err
	}
	f, err := m.followFor(ctx, sender, a, pos, false, cl)
	if err != nil {
		return err
	}
	joined, err := m.roomJoined(ctx, room, f.from, in.env.ID, math.MaxInt)
	in.more += len(joined) / bytesPerWork // the members were read
	var marker [][]byte
	if err == nil {
		marker, err = m.markFrames(ctx, user, 1, ofRooms(room.ID))
	}
	if err == nil && !m.begin(f, joined) { // before the first message that it speaks for
		err = errMayNotJoin(room.ID)
	}
	if err != nil {
		m.retract(f)
		return err
	}
	m.tell(in.c, marker)
	if !changed {
		return nil
	}
	return m.hintMember(ctx, room, membership{
		Member: wire.Member{User: user.ID, Joined: true}, Position: pos, By: sender.view.ID,
	})
}

// joinAs makes the sender a member, or finds that it is one, and the place from which it follows.
func (m *Manager) joinAs(ctx context.Context, sender *Conn, a acquired, lent bool) (pos Position, cl claim, changed bool, err error) {
	if !lent {
		pos, changed, err = m.setMember(ctx, a.address, sender.view.User.ID, memberJoined, "")
	}
	if err != nil || !changed {
		// Who may join only as a member has nothing to write, and no right to do so if the
		// membership has ended meanwhile.
		if err == nil {
			pos, cl, err = m.placeIn(ctx, sender, a, lent)
		}
		if errors.Is(err, ErrForbidden) {
			err = errMayNotJoin(a.address.ID)
		}
		return pos, cl, false, err
	}
	cl.past = m.mayPast(ctx, sender.identity, sender.allowed, a.address.ID)
	cl.since = pos
	return pos, cl, true, nil
}

func errMayNotJoin(room string) *Error { return roomError("room", room, "you may not join this room") }

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
	m.ceases(in.c, sender.view, room)
	if err := m.endMembership(ctx, room, sender.view.User.ID, reasonLeft); err != nil {
		if followed {
			m.followAgain(ctx, sender, room, at)
		}
		return err
	}
	m.quit(in.c, sender.view.User, room, reasonLeft, in.env.ID, nil)
	return nil
}

// followAgain takes back an unfollow. If that fails too, or the membership has ended though
// that was not heard, the client is told that it has left.
func (m *Manager) followAgain(ctx context.Context, sender *Conn, room wire.Topic, at Position) {
	state, err := m.memberState(ctx, room, sender.view.User.ID)
	if err == nil && state.kind != memberNone {
		var a acquired
		if a, err = m.acquire(ctx, room); err == nil {
			cl := claim{
				lent: state.kind == memberAdded, since: state.since,
				past: m.mayPast(ctx, sender.identity, sender.allowed, room.ID),
			}
			var f followed
			if f, err = m.followFor(ctx, sender, a, at, true, cl); err == nil && m.begin(f, nil) {
				return
			}
		}
	}
	m.quit(sender.handle, sender.view.User, room, reasonLeft, "", nil)
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
		// Held, the connection gets no text of them before the answer.
		if m.hub.Hold(in.c) {
			defer m.hub.Unhold(in.c)
		}
		if err := m.hub.Watch(in.c, req.Threads...); err != nil {
			return hubError(err)
		}
	}
	wanted := make([]wantedRoom, 0, len(topics))
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
	}
	begun := make([]followed, 0, len(topics))
	defer func() {
		for _, f := range begun { // those that were not told
			if m.retract(f) {
				m.quit(f.c, f.user, f.room.address, reasonRemoved, "", nil)
			}
		}
	}()
	for len(wanted) > 0 {
		w := wanted[0]
		wanted = wanted[1:]
		f, err := m.followFor(ctx, sender, w.acquired, w.from, w.move, w.claim)
		if err != nil {
			return err
		}
		f.gap = w.gap
		begun = append(begun, f)
		told[w.address.String()] = f.from
	}
	markers, err := m.markFrames(ctx, sender.view.User, maxMarksTold, func(k wire.ReadMarkerPayload) bool {
		return slices.Contains(req.Rooms, k.Room) || k.Room == "" && slices.Contains(req.Threads, k.ThreadID)
	})
	if err != nil {
		return err
	}
	m.answer(in.c, wire.Subscribed, in.env.ID, wire.SubscribedPayload{Topics: told})
	m.tell(in.c, markers)
	for _, f := range begun {
		if f.gap != nil {
			m.gap(in.c, *f.gap)
		}
		m.beginOrLeave(ctx, f)
	}
	begun = nil
	return nil
}

// wantedRoom is a room and where to receive it from.
type wantedRoom struct {
	acquired
	claim
	from Position
	move bool      // also if it is followed already
	gap  *wire.Gap // back from a place that never was
}

// wantRoom makes a room live and finds the place from which sender receives it: from pos,
// if that was asked for and the user may read what was before, else where the connection is
// or now.
func (m *Manager) wantRoom(ctx context.Context, sender *Conn, topic wire.Topic, pos Position, asked, lent bool) (w wantedRoom, err error) {
	if w.acquired, err = m.acquireRoom(ctx, topic); err != nil {
		return w, err
	}
	defer func() {
		if err != nil {
			m.hub.Release(w.topic)
		}
	}()
	if asked {
		switch err := m.authorize(ctx, sender.identity, sender.allowed, ActHistory, topic.ID); {
		case err == nil:
			r, err := m.reach(ctx, w.key, pos)
			w.from, w.move, w.gap, w.claim = r.from, true, r.gap(topic, pos), claim{lent: lent, past: true}
			return w, err
		case !errors.Is(err, ErrForbidden):
			return w, err
		}
	}
	w.from, w.claim, err = m.placeIn(ctx, sender, w.acquired, lent)
	if errors.Is(err, ErrForbidden) {
		err = roomError("rooms", topic.ID, "you may not read this room")
	}
	return w, err
}

// placeIn is where a connection is in a room, or the place from which it begins: now, which this
// node may not have heard of yet. It is forbidden for who had only been lent the right.
func (m *Manager) placeIn(ctx context.Context, sender *Conn, room acquired, lent bool) (Position, claim, error) {
	cl := claim{lent: lent, past: m.mayPast(ctx, sender.identity, sender.allowed, room.address.ID)}
	if lent {
		now, _, err := m.placeOfMember(ctx, room.address, sender.view.User.ID, Position{})
		if err == nil && now.kind != memberAdded {
			err = ErrForbidden
		}
		if err != nil {
			return Position{}, cl, err
		}
		cl.since = now.since
	}
	if at, follows := m.hub.Cursor(sender.handle, room.key); follows {
		return at, cl, nil
	}
	head, err := m.headOf(ctx, room.address)
	return head, cl, err
}

func unsubscribeVerb(_ context.Context, in *inbound) error {
	sender, req, topics, err := in.subscription()
	if err != nil {
		return err
	}
	if len(req.Threads) > 0 {
		if err := in.m.hub.Unwatch(in.c, req.Threads...); err != nil {
			return hubError(err)
		}
	}
	told := make(map[string]Position, len(topics))
	// Held, the connection gets nothing of a room between the answer and what comes of it.
	if in.m.hub.Hold(in.c) {
		defer in.m.hub.Unhold(in.c)
	}
	for _, topic := range topics {
		if at, followed := in.m.hub.Quit(in.c, hubKey(topic), true); followed {
			told[topic.String()] = at
		}
		in.m.ceases(in.c, sender.view, topic) // or its session did so before
	}
	in.m.answer(in.c, wire.Unsubscribed, in.env.ID, wire.SubscribedPayload{Topics: told})
	for _, topic := range topics {
		if _, was := told[topic.String()]; was {
			in.m.stayAway(in.c, sender.view.User, topic, true)
		}
	}
	return nil
}

// What a verb does beyond a message's work is paid for as so many messages more: each room that
// is subscribed is asked for at the Authorizer and the broker, each record of a page is read, and the text of runs
// is read and sent.
const (
	namesPerMessage   = 16
	recordsPerMessage = 100
	bytesPerMessage   = 64 << 10
)

// How much of what is listed is as much work as a message.
const (
	bytesPerWork   = 512
	recordsPerWork = 8
)

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
			if id == "" && list.field == "threads" {
				continue // the default thread
			}
			if err := wire.CheckID(id); err != nil {
				return nil, req, nil, fieldError(wire.CodeInvalidMessage, list.field, list.field+": an id "+err.Error())
			}
		}
	}
	slices.Sort(req.Rooms)
	req.Rooms = slices.Compact(req.Rooms)
	if err := in.spend((len(req.Rooms) + len(req.Threads)) / namesPerMessage); err != nil {
		return nil, req, nil, err
	}
	in.more += len(req.Rooms)
	topics, err := roomTopics(sender.view.User.Tenant, req.Rooms)
	return sender, req, topics, err
}
