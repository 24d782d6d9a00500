package switchboard

import (
	"maps"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// presenceUser is a user with several devices here, or with devices on other nodes. Those devices that
// have said what the user does are told which others there are.
type presenceUser struct {
	topic  wire.Topic
	others map[string][]presence.Device // by node
	told   map[hub.Handle]struct{}      // who was told all that there is
	last   []byte                       // what they were told, encoded
	want   bool                         // other nodes are to say what they have
}

// tellUser says which devices a user has here, to other nodes and to those devices themselves.
func (k *presenceKeeper) tellUser(key hub.Key, topic wire.Topic) {
	if k.ending(topic) {
		return // that comes as an event
	}
	u, here := k.users[key], k.devices(topic, nil)
	k.sayUser(topic, here, u == nil || u.want)
	if len(here) == 0 {
		delete(k.users, key)
		return
	}
	if u == nil {
		if len(here) < 2 {
			return // it is alone, as far as is known
		}
		u = k.user(key, topic)
	}
	u.want = false
	k.tellDevices(key, u, here)
}

// sayUser tells other nodes which devices a user has here, and which have said goodbye, and perhaps asks
// for theirs.
func (k *presenceKeeper) sayUser(topic wire.Topic, here []presence.Device, ask bool) {
	if k.m.nodes.alone() {
		return
	}
	for _, r := range k.userRecords(topic, here, ask) {
		k.say(topic, r)
	}
}

// userRecords are what sayUser says: one record, or several where there are very many goodbyes.
func (k *presenceKeeper) userRecords(topic wire.Topic, here []presence.Device, ask bool) []presenceRecord {
	r := presenceRecord{Node: k.m.nodes.id(), Entries: []presence.Entry{{User: topic.ID, Devices: here}}, Tell: ask}
	b := k.byes[hubKey(topic)]
	if b == nil {
		return []presenceRecord{r}
	}
	var all []presenceRecord
	for some := range slices.Chunk(b.list, answerEntries) {
		r.Gone = some
		all = append(all, r)
	}
	return all
}

func (k *presenceKeeper) user(key hub.Key, topic wire.Topic) *presenceUser {
	u := k.users[key]
	if u == nil {
		u = &presenceUser{topic: topic, others: make(map[string][]presence.Device), told: make(map[hub.Handle]struct{})}
		k.users[key] = u
	}
	return u
}

// tellDevices tells the connections of a user which devices there are: those that this node has, and
// those of others.
func (k *presenceKeeper) tellDevices(key hub.Key, u *presenceUser, here []presence.Device) {
	all := [][]presence.Device{here}
	for devices := range maps.Values(u.others) {
		all = append(all, devices)
	}
	now := presence.Merge(u.topic.ID, all...)
	if len(now.Devices) > 1 || len(u.told) > 0 {
		k.tellConnections(key, u, now)
	}
	if len(now.Devices) < 2 && len(u.others) == 0 {
		delete(k.users, key)
	}
}

func (k *presenceKeeper) tellConnections(key hub.Key, u *presenceUser, now wire.Presence) {
	seen := presenceSeen(now)
	changed := string(seen) != string(u.last)
	u.last = seen
	var state, diff []byte
	for _, c := range k.m.hub.Followers(key) {
		if s, _, ok := k.m.stateOf(c); !ok || s.flags&flagPresent == 0 {
			continue
		}
		frame := &diff
		if _, knows := u.told[c]; !knows {
			frame = &state
		} else if !changed {
			continue
		}
		if *frame == nil {
			if frame == &state {
				*frame = k.frame(u.topic, wire.PresenceState, wire.PresenceStatePayload{Users: []wire.Presence{now}, Count: 1})
			} else {
				*frame = k.frame(u.topic, wire.PresenceDiff, wire.PresenceDiffPayload{
					Joins: []wire.Presence{}, Leaves: []wire.Presence{}, Updates: []wire.Presence{now}, Count: 1,
				})
			}
		}
		if *frame == nil || k.m.hub.Send(c, *frame, true) != nil {
			delete(u.told, c) // with the next change it gets all of it
			k.again[key] = time.Now().Add(presenceAway)
			continue
		}
		u.told[c] = struct{}{}
		k.m.count.presence.Add(1)
	}
}

// presenceSeen is what others see of a user, without signs of life.
func presenceSeen(p wire.Presence) []byte {
	p.Since, p.Devices = 0, append([]wire.Device(nil), p.Devices...)
	for i := range p.Devices {
		p.Devices[i].LastActivity = 0
	}
	b, _ := wire.Marshal(p) // it is encoded for clients as well, where an error is told
	return b
}

// heardUser takes which devices of a user another node has.
func (k *presenceKeeper) heardUser(key hub.Key, topic wire.Topic, said presenceRecord) {
	k.heardGoodbyes(topic, said)
	here := k.devices(topic, nil)
	if len(here) == 0 {
		return
	}
	u := k.user(key, topic)
	_, had := u.others[said.Node]
	delete(u.others, said.Node)
	for _, e := range said.Entries {
		if e.User == topic.ID && len(e.Devices) > 0 {
			u.others[said.Node] = e.Devices
		}
	}
	if said.Tell || !had && len(u.others[said.Node]) > 0 {
		k.sayUser(topic, here, false)
	}
	k.tellDevices(key, u, here)
}
