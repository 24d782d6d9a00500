package switchboard

import (
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// goodbyes are what sessions of a user said here that had connections before, perhaps on other nodes, which
// wait for what they have lost. They pass by, and so are told again, as a change in a room is.
type goodbyes struct {
	list []presence.Goodbye
	last time.Time // when the last one was said
}

// ceases is for a connection that ceases to follow a room: it types there no more, and what its session
// had before it, and lost, counts in the room no more.
func (m *Manager) ceases(c hub.Handle, v hub.View, room wire.Topic) {
	m.typesNoMore(c, room)
	m.presence.post(presenceEvent{
		what: roomLeft, conn: c, topic: v.User, room: hubKey(room), more: &presenceMore{session: v.Session.String(), left: room},
	})
}

// leftRoom takes note that a session has left a room.
func (k *presenceKeeper) leftRoom(e presenceEvent) {
	bye := presence.Goodbye{Session: e.more.session, Room: e.more.left.ID}
	k.parted(e.topic, bye)
	k.touch(e.topic, e.room)
	if s, _, there := k.m.stateOf(e.conn); !there || s.flags&flagResumed != 0 {
		k.sayGoodbye(e.topic, bye)
	}
}

// parted takes a session from a room, or from all, where it counts as lost: here, and on nodes that are not
// there any more.
func (k *presenceKeeper) parted(user wire.Topic, bye presence.Goodbye) {
	key := hubKey(user)
	for _, d := range slices.Clone(k.left.of[key]) {
		switch {
		case d.device.Session != bye.Session:
		case bye.Room == "":
			k.left.remove(d)
			k.forget(d)
		default:
			room := hubKey(wire.Topic{Tenant: user.Tenant, Kind: wire.KindRoom, ID: bye.Room})
			k.left.leave(d, room)
			k.touch(user, room)
		}
	}
	u := k.users[key]
	if u == nil || bye.Room != "" {
		return
	}
	for node, devices := range u.others {
		if !k.m.nodes.has(node) {
			if u.others[node] = slices.DeleteFunc(devices, func(d presence.Device) bool { return d.Session == bye.Session }); len(u.others[node]) == 0 {
				delete(u.others, node)
			}
			k.own[key] = user
		}
	}
}

// sayGoodbye has other nodes told what a session said, with the next tick, and again.
func (k *presenceKeeper) sayGoodbye(user wire.Topic, bye presence.Goodbye) {
	if k.m.nodes.alone() {
		return
	}
	key, now := hubKey(user), time.Now()
	b := k.byes[key]
	if b == nil {
		b = new(goodbyes)
		k.byes[key] = b
	}
	if !slices.Contains(b.list, bye) {
		b.list = append(b.list, bye)
	}
	k.own[key] = user
	if b.last.Equal(now) {
		return
	}
	b.last = now
	for i, after := range presenceRepeats() {
		k.repeats[i] = append(k.repeats[i], presenceRepeat{user, now, now.Add(after)})
	}
}

// repeatGoodbyes tells them again, unless others were said since.
func (k *presenceKeeper) repeatGoodbyes(p presenceRepeat, last bool) {
	key := hubKey(p.room)
	b := k.byes[key]
	if b == nil || !b.last.Equal(p.spoke) {
		return
	}
	k.sayUser(p.room, k.devices(p.room, nil), false)
	if last {
		delete(k.byes, key)
	}
}

// heardGoodbyes takes what sessions of a user have said on another node.
func (k *presenceKeeper) heardGoodbyes(user wire.Topic, said presenceRecord) {
	for _, bye := range said.Gone {
		k.parted(user, bye)
	}
	for _, e := range said.Entries {
		for _, d := range e.Devices {
			if !d.Absent {
				k.isBack(user, d.Session)
			}
		}
	}
}

// isBack takes note that a session is connected: what it said before is not told again.
func (k *presenceKeeper) isBack(user wire.Topic, session string) {
	key := hubKey(user)
	b := k.byes[key]
	if b == nil {
		return
	}
	b.list = slices.DeleteFunc(slices.Clone(b.list), func(bye presence.Goodbye) bool { return bye.Session == session })
	if len(b.list) == 0 {
		delete(k.byes, key)
	}
}

// holdUser makes sure that this node hears of a user as long as a device that was lost counts as there.
func (k *presenceKeeper) holdUser(d *absent) {
	if k.m.opts.Heartbeat.OfflineAfter <= topicIdle {
		return // the topic is kept for as long by itself
	}
	topic, _, err := k.m.hub.AcquireWithin(hubKey(d.user), d.user, 0)
	if err == nil {
		d.release = func() { k.m.hub.Release(topic) }
	}
}

// endedMember takes a room from all that a user has lost there before a place, at which the membership
// has ended.
func (k *presenceKeeper) endedMember(user wire.Topic, room hub.Key, end Position) {
	for _, d := range slices.Clone(k.left.of[hubKey(user)]) {
		if at, in := d.in(room); in && (end.IsZero() || at.Epoch != end.Epoch || at.Offset < end.Offset) {
			k.left.leave(d, room)
		}
	}
	k.touch(user, room)
}

// revoked forgets lost devices of a user, or of a tenant, that might not come back.
func (k *presenceKeeper) revoked(of wire.Topic) {
	lost := k.left.of[hubKey(of)]
	if of.Kind == wire.KindAll {
		lost = k.left.order
	}
	for _, d := range slices.Clone(lost) {
		k.pace.Step()
		if d.user.Tenant == of.Tenant && k.m.isRevoked(d) {
			k.left.remove(d)
			k.forget(d)
		}
	}
}

// isRevoked reports whether a device that was lost could not come back as it was.
func (m *Manager) isRevoked(d *absent) bool {
	return m.revocations.index.Find(session.Presented{
		Tenant: d.user.Tenant, User: d.user.ID, Session: d.device.Session, TokenID: d.tokenID, SID: d.sid, Issued: d.issued,
	}, time.Now()) != nil
}
