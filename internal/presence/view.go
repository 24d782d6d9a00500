// Package presence puts together who is there, of what several nodes say of their own connections.
package presence

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"github.com/netra-systems/switchboard/wire"
)

// Entry is what one node has of one user in a place: its devices there, none if it has gone.
type Entry struct {
	User    string   `json:"u"`
	Devices []Device `json:"d,omitempty"`
}

// Device is one session of a user. Of two nodes that have the same session the one on which it is
// connected is right, and of two such the one on which it was opened last, as their clocks say.
type Device struct {
	Session string          `json:"s"`
	Name    string          `json:"n,omitempty"`
	State   string          `json:"st,omitempty"` // "": active
	Opened  int64           `json:"o"`            // milliseconds since 1970
	Active  int64           `json:"a"`            // last sign of life, in milliseconds since 1970
	Meta    json.RawMessage `json:"m,omitempty"`
	Absent  bool            `json:"x,omitzero"` // its connection was lost
}

// Goodbye is a session that has gone from a room, or from all of them, and is not waited for where it
// was lost before.
type Goodbye struct {
	Session string `json:"s"`
	Room    string `json:"r,omitempty"` // "": all
}

// equal reports whether others see no difference: signs of life are none, nor is a session that was
// lost for a moment.
func (d *Device) equal(other *Device) bool {
	return d.Session == other.Session && d.Name == other.Name && d.State == other.State && slices.Equal(d.Meta, other.Meta)
}

// before reports whether what another node has of the same session is right.
func (d *Device) before(other *Device) bool {
	if d.Absent != other.Absent {
		return d.Absent
	}
	return d.Opened < other.Opened
}

// Merge is a user's presence by what nodes have, each with its devices.
func Merge(user string, nodes ...[]Device) wire.Presence {
	newest := make(map[string]*Device)
	for _, devices := range nodes {
		for i := range devices {
			d := &devices[i]
			if known := newest[d.Session]; known == nil || known.before(d) {
				newest[d.Session] = d
			}
		}
	}
	p := wire.Presence{UserID: user, Online: len(newest) > 0, Devices: make([]wire.Device, 0, len(newest))}
	sorted := slices.SortedFunc(maps.Values(newest), func(a, b *Device) int {
		switch {
		case a.Opened != b.Opened && a.Opened < b.Opened, a.Opened == b.Opened && a.Session < b.Session:
			return -1
		}
		return 1
	})
	for _, d := range sorted {
		state := d.State
		if state == "" {
			state = wire.StateActive
		}
		p.Devices = append(p.Devices, wire.Device{
			SessionID: d.Session, Name: d.Name, State: state, LastActivity: float64(d.Active) / 1000, Meta: d.Meta,
		})
	}
	if len(sorted) > 0 {
		p.Since = float64(sorted[0].Opened) / 1000
	}
	return p
}

// View is who is in one place, over all nodes, and what has changed since somebody was told. It is
// for one goroutine.
type View struct {
	users map[string][]part
	seq   map[string]uint64 // of the latest change of each node; a node that is missing has to be asked
	// touched are the users that may have changed since the last Diff, as they were then.
	touched map[string]wire.Presence
	gone    map[string]struct{} // nodes that are not there any more, whose users stay for a while
}

// part is what one node has of one user.
type part struct {
	node    string
	devices []Device
}

// Known says which change of a node was the latest, and false if the node was not heard of as a whole.
func (v *View) Known(node string) (seq uint64, known bool) {
	seq, known = v.seq[node]
	return seq, known
}

// Set takes what a node has of a user, and reports whether others may see a difference. A session that the
// node has no more, though it did not lose it, has said goodbye: no ghost of it stays.
func (v *View) Set(node string, e Entry) bool {
	former := v.devices(node, e.User)
	if !v.put(node, e) {
		return false
	}
	if len(v.gone) == 0 {
		return true
	}
	for _, d := range former {
		if !d.Absent && !slices.ContainsFunc(e.Devices, func(now Device) bool { return now.Session == d.Session }) {
			v.bury(e.User, d.Session)
		}
	}
	return true
}

// put is Set without a look at ghosts.
func (v *View) put(node string, e Entry) bool {
	parts := v.users[e.User]
	i := slices.IndexFunc(parts, func(p part) bool { return p.node == node })
	switch {
	case i < 0 && len(e.Devices) == 0:
		return false
	case i >= 0 && len(parts) == 1 && slices.EqualFunc(parts[i].devices, e.Devices, func(a, b Device) bool { return a.equal(&b) }):
		parts[i].devices = e.Devices // with newer signs of life; of several nodes those say who is right
		return false
	}
	if v.touched == nil {
		v.users, v.touched = make(map[string][]part), make(map[string]wire.Presence)
	}
	if _, touched := v.touched[e.User]; !touched {
		v.touched[e.User] = v.User(e.User)
	}
	switch {
	case i < 0:
		parts = append(parts, part{node, e.Devices})
	case len(e.Devices) == 0:
		parts = slices.Delete(parts, i, i+1)
	default:
		parts[i].devices = e.Devices
	}
	if len(parts) == 0 {
		delete(v.users, e.User)
	} else {
		v.users[e.User] = parts
	}
	return true
}

// devices is what a node has of a user.
func (v *View) devices(node, user string) []Device {
	for _, p := range v.users[user] {
		if p.node == node {
			return p.devices
		}
	}
	return nil
}

// bury takes a session from all nodes that are not there any more.
func (v *View) bury(user, session string) {
	for node := range v.gone {
		left := slices.DeleteFunc(slices.Clone(v.devices(node, user)), func(d Device) bool { return d.Session == session })
		v.put(node, Entry{User: user, Devices: left})
	}
}

// Lose takes note that a node is not there any more. Its users stay until Drop, as of devices that were lost.
func (v *View) Lose(node string) {
	if v.gone == nil {
		v.gone = make(map[string]struct{})
	}
	v.gone[node] = struct{}{}
	for user := range v.users {
		if devices := slices.Clone(v.devices(node, user)); len(devices) > 0 {
			for i := range devices {
				devices[i].Absent = true
			}
			v.put(node, Entry{User: user, Devices: devices})
		}
	}
}

// Next takes a change of a node, the seq-th of it in this place. It is false if one before it is
// missing, or the node was not heard of as a whole: then it has to be asked.
func (v *View) Next(node string, seq uint64, entries []Entry) bool {
	had, known := v.seq[node]
	switch {
	case !known:
		return false
	case seq <= had:
		return true
	case seq > had+1 || len(entries) == 0: // without entries it only says how far the node is
		return false
	}
	for _, e := range entries {
		v.Set(node, e)
	}
	v.seq[node] = seq
	return true
}

// Replace takes all that a node has, as of its seq-th change.
func (v *View) Replace(node string, seq uint64, entries []Entry) {
	if had, known := v.seq[node]; known && seq < had {
		return // what came since is newer
	}
	delete(v.gone, node)
	there := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		there[e.User] = struct{}{}
	}
	for user, parts := range v.users {
		if _, ok := there[user]; !ok && slices.ContainsFunc(parts, func(p part) bool { return p.node == node }) {
			v.Set(node, Entry{User: user})
		}
	}
	for _, e := range entries {
		v.Set(node, e)
	}
	if v.seq == nil {
		v.seq = make(map[string]uint64)
	}
	v.seq[node] = seq
}

// Drop forgets a node.
func (v *View) Drop(node string) {
	for user := range v.users {
		v.put(node, Entry{User: user})
	}
	delete(v.seq, node)
	delete(v.gone, node)
}

// Changed reports whether Diff may say anything.
func (v *View) Changed() bool { return len(v.touched) > 0 }

// Diff returns what has changed since it was called last, by user.
func (v *View) Diff() (diff wire.PresenceDiffPayload) {
	diff = wire.PresenceDiffPayload{Joins: []wire.Presence{}, Leaves: []wire.Presence{}, Updates: []wire.Presence{}}
	for _, user := range slices.Sorted(maps.Keys(v.touched)) {
		was, now := v.touched[user], v.User(user)
		switch {
		case was.Online && now.Online:
			if !sameDevices(was.Devices, now.Devices) { // another node may have them now
				diff.Updates = append(diff.Updates, now)
			}
		case was.Online:
			diff.Leaves = append(diff.Leaves, now)
		case now.Online:
			diff.Joins = append(diff.Joins, now)
		}
	}
	clear(v.touched)
	diff.Count = len(v.users)
	return diff
}

// sameDevices reports whether others see no difference.
func sameDevices(a, b []wire.Device) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(d wire.Device) bool {
		return !slices.ContainsFunc(b, func(e wire.Device) bool {
			return d.SessionID == e.SessionID && d.Name == e.Name && d.State == e.State && slices.Equal(d.Meta, e.Meta)
		})
	})
}

// Skip is Diff for nobody.
func (v *View) Skip() { clear(v.touched) }

// Count is how many users there are.
func (v *View) Count() int { return len(v.users) }

// User is one user's presence.
func (v *View) User(user string) wire.Presence {
	parts := v.users[user]
	nodes := make([][]Device, len(parts))
	for i, p := range parts {
		nodes[i] = p.devices
	}
	return Merge(user, nodes...)
}

// All yields everybody, by user.
func (v *View) All() iter.Seq[wire.Presence] {
	return func(yield func(wire.Presence) bool) {
		for _, user := range slices.Sorted(maps.Keys(v.users)) {
			if !yield(v.User(user)) {
				return
			}
		}
	}
}
