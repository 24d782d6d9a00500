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
	rooms  []hub.Key
	until  time.Time // zero: it has gone at once
}

// absence has the devices that count as there though they are not connected.
type absence struct {
	order []*absent             // by until: all wait equally long
	of    map[hub.Key][]*absent // by the user's topic, and by each room
}

func (a *absence) add(d *absent) {
	if a.of == nil {
		a.of = make(map[hub.Key][]*absent)
	}
	a.order = append(a.order, d)
	for place := range d.places() {
		a.of[place] = append(a.of[place], d)
	}
}

// bye forgets that a device was absent before, which would keep it there. Its turn comes, and changes nothing.
func (a *absence) bye(d *absent) {
	key := hubKey(d.user)
	left := slices.DeleteFunc(a.of[key], func(other *absent) bool { return other.device.Session == d.device.Session })
	if len(left) == 0 {
		delete(a.of, key)
	} else {
		a.of[key] = left
	}
}

// first takes the one that has waited for the longest.
func (a *absence) first() *absent {
	d := a.order[0]
	a.order[0] = nil
	if a.order = a.order[1:]; len(a.order) == 0 {
		a.order = nil
	}
	for place := range d.places() {
		a.of[place][0] = nil // it is the first there, too
		if a.of[place] = a.of[place][1:]; len(a.of[place]) == 0 {
			delete(a.of, place)
		}
	}
	return d
}

// places are the user's topic and the rooms of a device.
func (a *absent) places() iter.Seq[hub.Key] {
	return func(yield func(hub.Key) bool) {
		if !yield(hubKey(a.user)) {
			return
		}
		for _, room := range a.rooms {
			if !yield(room) {
				return
			}
		}
	}
}

// leaving is what presence has to know of a connection that has ended.
func (m *Manager) leaving(end hub.End, s state) *absent {
	a := &absent{user: end.View.User, device: deviceOf(end.View, s)}
	for _, t := range end.Topics {
		if t.Address.Kind == wire.KindRoom {
			a.rooms = append(a.rooms, t.Key)
		}
	}
	switch end.Code {
	case wire.CloseNormal, wire.CloseExpired, wire.CloseRevoked, wire.CloseReplaced:
	default:
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
	if a.until.IsZero() {
		k.left.bye(a)
	} else {
		k.left.add(a)
	}
	for _, room := range a.rooms {
		if r := k.rooms[room]; r != nil {
			delete(r.judging, c)
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
	for _, room := range a.rooms {
		if r := k.rooms[room]; r != nil {
			r.changed[a.user.ID] = struct{}{}
			k.due[room] = struct{}{}
		}
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
		if room != nil && !slices.Contains(a.rooms, *room) {
			continue
		}
		if !slices.ContainsFunc(devices, func(d presence.Device) bool { return d.Session == a.device.Session }) {
			devices = append(devices, a.device)
		}
	}
	return devices
}

// here is all that this node has in a place.
func (k *presenceKeeper) here(place wire.Topic) []presence.Entry {
	key := hubKey(place)
	if place.Kind == wire.KindUser {
		if devices := k.devices(place, nil); len(devices) > 0 {
			return []presence.Entry{{User: place.ID, Devices: devices}}
		}
		return nil
	}
	if place.Kind != wire.KindRoom {
		return nil
	}
	users := make(map[string]wire.Topic)
	for _, c := range k.m.hub.Followers(key) {
		if view, ok := k.m.hub.View(c); ok {
			users[view.User.ID] = view.User
		}
	}
	for _, a := range k.left.of[key] {
		users[a.user.ID] = a.user
	}
	entries := make([]presence.Entry, 0, len(users))
	for id, user := range users {
		if devices := k.devices(user, &key); len(devices) > 0 {
			entries = append(entries, presence.Entry{User: id, Devices: devices})
		}
	}
	return entries
}
