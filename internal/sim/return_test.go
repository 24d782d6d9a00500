package sim_test

import (
	"fmt"
	"math"
	"slices"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// way is how a device comes back.
type way int

const (
	bySession    way = iota // with its session token, and says at once what it has
	byCredential            // with its credential and resume=1, as another session
	late                    // with its session token, and says late what it has, maybe when it is not held any more
	partly                  // with its session token, and says only of some topics what it has
)

func (y way) String() string { return []string{"by its token", "by resume=1", "late", "partly"}[y] }

// chooseWay throws dice over how it comes back.
func (d *device) chooseWay() way {
	if d.session.Token == "" || d.w.pick(3) > 0 {
		return bySession
	}
	return way(1 + d.w.pick(3))
}

// named is what it says that it has when it comes back. The other topics are forgotten.
func (d *device) named() map[string]wire.Position {
	named := map[string]wire.Position{}
	addresses := slices.Collect(func(yield func(string) bool) {
		for _, topic := range topics() { // in an order
			if _, has := d.at[topic.String()]; has && topic.Tenant == d.tenant && !yield(topic.String()) {
				return
			}
		}
	})
	for _, address := range addresses {
		if d.way != partly || d.w.pick(2) == 0 {
			named[address] = d.at[address]
		} else if d.topic(address).Kind == wire.KindRoom {
			d.unlearn(address)
		}
	}
	return named
}

// join connects a device and reads until it is welcomed, and restored if it has been there before.
func (w *world) join(d *device) {
	d.connect(pick(w, w.nodes), 200+w.pick(2)*w.pick(20_000))
	if d.way != late {
		d.until(func() bool { return d.welcomed && !d.held })
		return
	}
	d.until(func() bool { return d.welcomed })
	for range 1 + w.pick(3) { // up to 3 s, and it is held for 2
		w.publishSome()
		time.Sleep(time.Second)
		synctest.Wait()
		d.read(math.MaxInt32)
	}
	if d.client == nil {
		return
	}
	named := d.named()
	w.tell("%s says that it has %v", d.name, named)
	d.restores = d.held && w.pick(2) == 0
	d.restore(named)
	d.until(func() bool { return len(d.restoring) == 0 })
	d.restores = false
}

// isExcepted reports whether one of its sessions is among those that do not get a message.
func (d *device) isExcepted(sessions []string) bool {
	return slices.ContainsFunc(d.sessions, func(id string) bool { return slices.Contains(sessions, id) })
}

// speak lets a client say something in a room.
func (w *world) speak() {
	d := w.connected()
	if d == nil {
		return
	}
	room := pick(w, rooms[:2])
	if _, follows := d.at["room/"+room]; !follows {
		return
	}
	w.tell("%s speaks in %s", d.name, room)
	d.call(wire.RoomMessage, map[string]string{"room": room, "to": fmt.Sprintf("%s|room/%s|", d.tenant, room)})
}

// joinRoom makes a user a member of an open room by one of the user's devices, or ends that.
func (w *world) joinRoom() {
	d := w.connected()
	if d == nil {
		return
	}
	room, verb := pick(w, rooms[:2]), pick(w, []wire.MessageType{wire.JoinRoom, wire.JoinRoom, wire.LeaveRoom})
	w.tell("%s: %s %s", d.name, verb, room)
	if verb == wire.LeaveRoom {
		w.quitters[keyOf(wire.Topic{Tenant: d.tenant, Kind: wire.KindRoom, ID: room})+d.user] = true
	}
	d.call(verb, wire.JoinRoomRequest{Room: room})
}

// stop lets a client stop a run.
func (w *world) stop() {
	d, r := w.connected(), w.live()
	if d == nil || r == nil || r.topic != (wire.Topic{Tenant: d.tenant, Kind: wire.KindUser, ID: d.user}) {
		return
	}
	w.tell("%s stops %s", d.name, r.id)
	d.call(wire.StopAgent, wire.StopAgentRequest{RunID: r.id})
	synctest.Wait()
	r.ended = true
	_, _ = r.run.Cancel(in(r.topic), "its device has lost its connection") // if it did not come to that
}

// call sends a message and reads until it is answered.
func (d *device) call(typ wire.MessageType, payload any) {
	want := d.calls + 1
	d.say(typ, payload)
	d.until(func() bool { return d.answered >= want })
}
