package switchboard

import (
	"encoding/json"
	"iter"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// absent is a device whose connection has ended. It counts as there for a while, unless somebody said
// goodbye: a client that comes back within that was never away.
type absent struct {
	user   wire.Topic
	device presence.Device
	rooms  []absentIn
	until  time.Time // zero: it has gone at once

	resumed bool   // the session had a connection before, perhaps on another node
	release func() // lets go of the user's topic; nil: it is there for long enough

	// By what it was there.
	tokenID, sid string
	issued       time.Time
}

// absentIn is a room that a device followed.
type absentIn struct {
	room hub.Key
	at   Position // up to where it had been written
}

// in is where a device was in a room, if it counts there.
func (a *absent) in(room hub.Key) (at Position, ok bool) {
	for _, r := range a.rooms {
		if r.room == room {
			return r.at, true
		}
	}
	return Position{}, false
}

// absence has the devices that count as there though they are not connected. Each list is in the order
// in which they were lost, and so ends from the front.
type absence struct {
	order []*absent
	of    map[hub.Key][]*absent // by user
	in    map[hub.Key][]*absent // by room
}

func (a *absence) add(d *absent) {
	if a.of == nil {
		a.of, a.in = make(map[hub.Key][]*absent), make(map[hub.Key][]*absent)
	}
	key := hubKey(d.user)
	a.order, a.of[key] = append(a.order, d), append(a.of[key], d)
	for _, r := range d.rooms {
		a.in[r.room] = append(a.in[r.room], d)
	}
}

// first takes the one that has waited for the longest.
func (a *absence) first() *absent {
	d := a.order[0]
	a.order[0] = nil
	if a.order = a.order[1:]; len(a.order) == 0 {
		a.order = nil
	}
	a.remove(d)
	return d
}

// remove makes d count no more; in order it stays until its time.
func (a *absence) remove(d *absent) {
	if d.release != nil {
		d.release()
		d.release = nil
	}
	without(a.of, hubKey(d.user), d)
	for _, r := range d.rooms {
		without(a.in, r.room, d)
	}
}

// leave makes d count in a room no more.
func (a *absence) leave(d *absent, room hub.Key) {
	without(a.in, room, d)
	d.rooms = slices.DeleteFunc(d.rooms, func(r absentIn) bool { return r.room == room })
}

// without takes d out of a list.
func without(lists map[hub.Key][]*absent, key hub.Key, d *absent) {
	list := lists[key]
	switch i := slices.Index(list, d); {
	case i < 0:
	case len(list) == 1:
		delete(lists, key)
	case i == 0:
		list[0] = nil
		lists[key] = list[1:]
	default:
		lists[key] = slices.Delete(list, i, i+1)
	}
}

// leaving is what presence has to know of a connection that has ended.
func (m *Manager) leaving(end hub.End, s state) *absent {
	a := &absent{user: end.View.User, device: deviceOf(end.View, s), tokenID: s.tokenID, sid: s.sid, issued: s.issued}
	a.device.Absent, a.resumed = true, s.flags&flagResumed != 0
	for _, t := range end.Topics {
		if t.Address.Kind == wire.KindRoom {
			a.rooms = append(a.rooms, absentIn{t.Key, t.Pos})
		}
	}
	switch end.Code {
	case wire.CloseNormal, wire.CloseExpired, wire.CloseRevoked:
	default: // also who was replaced: the newer connection may not follow the rooms yet
		if m.opts.Heartbeat.OfflineAfter > 0 {
			a.until = time.Now().Add(m.opts.Heartbeat.OfflineAfter)
		}
	}
	return a
}

func deviceOf(v hub.View, s state) presence.Device {
	d := presence.Device{Session: v.Session.String(), Name: s.device, Opened: v.Opened.UnixMilli(), Active: v.Seen.UnixMilli()}
	if s.doing != deviceActive {
		d.State = s.doing.String()
	}
	if s.meta != "" {
		d.Meta = json.RawMessage(s.meta)
	}
	return d
}

// ended takes note of a connection that has.
func (k *presenceKeeper) ended(c hub.Handle, a *absent) {
	if !a.until.IsZero() && !k.m.isRevoked(a) {
		k.holdUser(a)
		k.left.add(a)
	} else {
		k.parted(a.user, presence.Goodbye{Session: a.device.Session})
		if a.resumed {
			k.sayGoodbye(a.user, presence.Goodbye{Session: a.device.Session})
		}
	}
	for _, in := range a.rooms {
		if r := k.rooms[in.room]; r != nil {
			delete(r.watchers, c)
		}
	}
	if u := k.users[hubKey(a.user)]; u != nil {
		delete(u.told, c)
	}
	k.forget(a)
}

// forget looks at the places again where a device was.
func (k *presenceKeeper) forget(a *absent) {
	k.own[hubKey(a.user)] = a.user
	for _, in := range a.rooms {
		k.touch(a.user, in.room)
	}
}

// touch looks at a user in a room again.
func (k *presenceKeeper) touch(user wire.Topic, room hub.Key) {
	if r := k.rooms[room]; r != nil {
		r.changed[user.ID] = struct{}{}
		k.due[room] = struct{}{}
	}
}

// devices are those of a user that this node has in a place: in a room that they follow, or all.
func (k *presenceKeeper) devices(user wire.Topic, room *hub.Key) []presence.Device {
	var devices []presence.Device
	for _, c := range k.m.hub.Followers(hubKey(user)) {
		if room != nil {
			if _, follows := k.m.hub.Cursor(c, *room); !follows {
				continue
			}
		}
		view, ok := k.m.hub.View(c)
		if !ok {
			continue
		}
		s, _, ok := k.m.stateOf(c)
		if !ok || s.flags&flagRevoked != 0 {
			continue
		}
		devices = append(devices, deviceOf(view, s))
	}
	for _, a := range k.left.of[hubKey(user)] {
		if room != nil {
			if _, in := a.in(*room); !in {
				continue
			}
		}
		if !slices.ContainsFunc(devices, func(d presence.Device) bool { return d.Session == a.device.Session }) {
			devices = append(devices, a.device)
		}
	}
	return devices
}

// here is all that this node has in a place.
func (k *presenceKeeper) here(place wire.Topic) iter.Seq[presence.Entry] {
	return func(yield func(presence.Entry) bool) {
		var room *hub.Key
		users := make(map[string]wire.Topic)
		switch key := hubKey(place); place.Kind {
		case wire.KindUser:
			users[place.ID] = place
		case wire.KindRoom:
			room = &key
			for _, c := range k.m.hub.Followers(key) {
				if view, ok := k.m.hub.View(c); ok {
					users[view.User.ID] = view.User
				}
			}
			for _, a := range k.left.in[key] {
				users[a.user.ID] = a.user
			}
		}
		for id, user := range users {
			k.pace.Step()
			if devices := k.devices(user, room); len(devices) > 0 && !yield(presence.Entry{User: id, Devices: devices}) {
				return
			}
		}
	}
}
