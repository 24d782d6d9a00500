package switchboard

import (
	"errors"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// presenceRoom is a room that somebody here follows.
type presenceRoom struct {
	topic   wire.Topic
	changed map[string]struct{}      // users whose devices here have changed
	seq     uint64                   // of what this node has said of it, or would have to other nodes
	spoke   time.Time                // when that was
	fresh   []hub.Handle             // that may have a right to watch, or none any more
	rights  map[hub.Handle]*rightAsk // of whom it is being asked whether they may

	// The rest is there while somebody here watches.
	view     *presence.View
	watchers map[hub.Handle]watcher
	counted  time.Time // when something was told last
	large    bool      // numbers are told, not names

	asking  map[string]time.Time // nodes that are being asked (zero), and when those are that have not answered
	lacking time.Time            // since when what a node has is not known; zero: all is
	partial bool                 // that has lasted so long that it is told
}

// watcher is what a connection was told of a place.
type watcher struct {
	logins uint8     // the credential by which it may, as the connection's state counts them
	state  bool      // all of it, and every change since
	retry  time.Time // not before then: it did not take the last one
}

// selfNode is this node in its own views, whatever its name is among nodes.
const selfNode = ""

// room is what is known of a room that is followed here; nil: it is not.
func (k *presenceKeeper) room(key hub.Key) *presenceRoom {
	r := k.rooms[key]
	if r == nil {
		topic, known := k.m.hub.Address(key)
		if !known {
			return nil
		}
		// Its number is higher than before, and one is left out: who knows the former one asks.
		r = &presenceRoom{topic: topic, changed: make(map[string]struct{}), seq: k.said + 1}
		k.rooms[key] = r
	}
	return r
}

// endView forgets who is there, when nobody watches any more.
func (r *presenceRoom) endView() {
	r.view, r.watchers, r.asking, r.large = nil, nil, nil, false
	r.lacking, r.partial = time.Time{}, false
}

// followed takes note that a connection has begun to follow a room, or has ceased to, or is another one
// to others.
func (k *presenceKeeper) followed(r *presenceRoom, c hub.Handle, user wire.Topic, key hub.Key) {
	r.changed[user.ID] = struct{}{}
	k.due[key] = struct{}{}
}

// tellRoom says what has changed in a room.
func (k *presenceKeeper) tellRoom(key hub.Key, r *presenceRoom, now time.Time) {
	k.admit(key, r)
	var entries []presence.Entry
	for user := range r.changed {
		topic := wire.Topic{Tenant: r.topic.Tenant, Kind: wire.KindUser, ID: user}
		if k.ending(topic) {
			k.again[key] = now.Add(presenceTick)
			continue
		}
		delete(r.changed, user)
		entries = append(entries, presence.Entry{User: user, Devices: k.devices(topic, &key)})
		k.pace.Step()
	}
	if r.view != nil {
		for _, e := range entries {
			r.view.Set(selfNode, e)
		}
	}
	k.sayRoom(r, entries, now)
	if r.view != nil {
		k.tellWatchers(key, r, now)
	}
	if _, followers, _ := k.m.hub.Lookup(key); followers == 0 && len(r.changed) == 0 && len(k.left.in[key]) == 0 {
		k.said = max(k.said, r.seq)
		delete(k.rooms, key)
	}
}

// sayRoom tells other nodes what has changed here. Without any it is counted: there may be some that
// are not known yet.
func (k *presenceKeeper) sayRoom(r *presenceRoom, entries []presence.Entry, now time.Time) {
	alone := k.m.nodes.alone()
	for len(entries) > 0 {
		some := entries[:min(len(entries), answerEntries)]
		entries = entries[len(some):]
		r.seq++
		if alone {
			continue
		}
		k.say(r.topic, presenceRecord{Node: k.m.nodes.id(), Seq: r.seq, Entries: some})
		if r.spoke.Equal(now) {
			continue
		}
		r.spoke = now
		for i, after := range presenceRepeats() {
			k.repeats[i] = append(k.repeats[i], presenceRepeat{r.topic, now, now.Add(after)})
		}
	}
}

// repeat says how far this node is in a room, unless something was said since.
func (k *presenceKeeper) repeat(p presenceRepeat) {
	if r := k.rooms[hubKey(p.room)]; r != nil && !r.spoke.Equal(p.spoke) {
		return
	}
	if !k.sayPlace(p.room) {
		k.notTold(p.room)
	}
}

// heardRoom takes what another node says of a room.
func (k *presenceKeeper) heardRoom(key hub.Key, said presenceRecord) {
	r := k.rooms[key]
	if r == nil || r.view == nil {
		return
	}
	if !r.view.Next(said.Node, said.Seq, said.Entries) {
		k.askRoom(r, said.Node)
	}
	if r.view.Changed() {
		k.due[key] = struct{}{}
	}
}

// askRoom asks nodes what they have in a room, but those that are being asked, or have not answered a
// moment ago.
func (k *presenceKeeper) askRoom(r *presenceRoom, nodes ...string) {
	now := time.Now()
	var ask []string
	for _, node := range nodes {
		if again, under := r.asking[node]; !under || !again.IsZero() && !now.Before(again) {
			r.asking[node] = time.Time{}
			ask = append(ask, node)
		}
	}
	if len(ask) == 0 {
		return
	}
	k.m.count.asked.Add(uint64(len(ask)))
	topic := r.topic
	k.asks.Go(func() {
		_, silent, err := k.m.ask(k.ctx, topic, true, ask...)
		switch {
		case k.ctx.Err() != nil:
			return
		case err != nil:
			k.m.log.LogAttrs(k.ctx, slog.LevelDebug, "nodes not asked who is in a room", slog.Any("err", err))
		case len(silent) > 0:
			k.m.silent(silent)
		}
		if len(silent) > 0 {
			k.m.presence.post(presenceEvent{what: nodesSilent, topic: topic, more: &presenceMore{silent: silent}})
		}
	})
}

// answered takes what another node has in a room, before what it says next.
func (k *presenceKeeper) answered(place wire.Topic, a answered) {
	key := hubKey(place)
	if r := k.rooms[key]; r != nil && r.view != nil {
		delete(r.asking, a.node)
		r.view.Replace(a.node, a.seq, a.entries)
		k.due[key] = struct{}{}
	}
}

// unanswered takes note of nodes that have not answered what they have in a room.
func (k *presenceKeeper) unanswered(e presenceEvent) {
	key := hubKey(e.topic)
	r := k.rooms[key]
	if r == nil || r.view == nil {
		return
	}
	again := time.Now().Add(presenceAsks)
	for _, node := range e.more.silent {
		if _, under := r.asking[node]; under {
			r.asking[node] = again
		}
	}
	k.due[key] = struct{}{}
}

// lookAtLacking looks again at rooms of which something was not known, when other nodes are there.
func (k *presenceKeeper) lookAtLacking() {
	for key, r := range k.rooms {
		if !r.lacking.IsZero() {
			k.due[key] = struct{}{}
		}
	}
}

// lacks reports whether what some node has in a room is not known, and asks for it.
func (k *presenceKeeper) lacks(key hub.Key, r *presenceRoom) (lacks bool) {
	select {
	case <-k.m.nodes.known:
	default:
		lacks = true
	}
	for _, node := range k.m.nodes.others() {
		if _, known := r.view.Known(node); !known {
			k.askRoom(r, node)
		}
	}
	for node, again := range r.asking {
		switch there := k.m.nodes.has(node); {
		case there:
			lacks = true
			if !again.IsZero() {
				k.askRoom(r, node)
			}
			if again = r.asking[node]; !again.IsZero() {
				k.lookAgain(key, again)
			}
		case !again.IsZero(): // it has gone, and with it what it had
			delete(r.asking, node)
		}
	}
	return lacks
}

// lookAgain lets a place be looked at when it is time.
func (k *presenceKeeper) lookAgain(key hub.Key, at time.Time) {
	if due, waits := k.again[key]; !waits || at.Before(due) {
		k.again[key] = at
	}
}

// tellWatchers tells who watches a room what has changed, or all of it.
func (k *presenceKeeper) tellWatchers(key hub.Key, r *presenceRoom, now time.Time) {
	waits := k.awaitNodes(key, r, now)
	k.size(key, r, now)
	change := k.change(key, r, now)
	var state []byte
	for c, t := range r.watchers {
		k.pace.Step()
		frame := change
		if !t.state {
			switch {
			case waits:
				continue
			case now.Before(t.retry):
				k.lookAgain(key, t.retry)
				continue
			}
			if state == nil {
				state = k.frame(r.topic, wire.PresenceState, r.state())
			}
			frame = state
		}
		if frame == nil {
			continue
		}
		switch err := k.m.hub.SendIn(c, key, frame, sameLogin(t.logins)); {
		case err == nil:
			r.watchers[c] = watcher{logins: t.logins, state: true}
			k.m.count.presence.Add(1)
		case errors.Is(err, hub.ErrFull): // it gets all of it later
			r.watchers[c] = watcher{logins: t.logins, retry: now.Add(presenceAway)}
			k.lookAgain(key, now.Add(presenceAway))
		default:
			delete(r.watchers, c)
		}
	}
}

// awaitNodes reports whether who begins to watch waits until more is known. When that lasts too long everybody
// is told that it is not all, and all of it later.
func (k *presenceKeeper) awaitNodes(key hub.Key, r *presenceRoom, now time.Time) bool {
	switch lacks := k.lacks(key, r); {
	case !lacks:
		r.lacking = time.Time{}
	case r.lacking.IsZero():
		r.lacking = now
	}
	waits := !r.lacking.IsZero()
	if end := r.lacking.Add(presenceWait); waits && now.Before(end) {
		k.lookAgain(key, end)
	} else {
		if waits != r.partial {
			r.tellAnew()
		}
		r.partial, waits = waits, false
	}
	return waits
}

// size decides whether names are told, or the number.
func (k *presenceKeeper) size(key hub.Key, r *presenceRoom, now time.Time) {
	count, next := r.view.Count(), r.counted.Add(presenceCounts)
	switch {
	case !r.large && count > presenceNames:
		r.large, r.counted = true, now
		r.tellAnew()
	case !r.large || count > presenceNamesAgain:
	case now.Before(next):
		k.lookAgain(key, next)
	default:
		r.large = false
		r.tellAnew()
	}
}

// tellAnew makes everybody be told all of it.
func (r *presenceRoom) tellAnew() {
	for c, t := range r.watchers {
		t.state = false
		r.watchers[c] = t
	}
}

// change is what is told of what has changed; nil: nothing is now.
func (k *presenceKeeper) change(key hub.Key, r *presenceRoom, now time.Time) []byte {
	if !r.view.Changed() {
		return nil
	}
	if next := r.counted.Add(presenceCounts); r.large && now.Before(next) {
		k.lookAgain(key, next)
		return nil
	}
	r.counted = now
	if diff := r.difference(); r.large || len(diff.Joins)+len(diff.Leaves)+len(diff.Updates) > 0 {
		return k.frame(r.topic, wire.PresenceDiff, diff)
	}
	return nil
}

// difference is what has changed in a room.
func (r *presenceRoom) difference() wire.PresenceDiffPayload {
	if !r.large {
		return r.view.Diff()
	}
	r.view.Skip()
	return wire.PresenceDiffPayload{
		Joins: []wire.Presence{}, Leaves: []wire.Presence{}, Updates: []wire.Presence{}, Count: r.view.Count(),
	}
}

// state is who is in a room.
func (r *presenceRoom) state() wire.PresenceStatePayload {
	p := wire.PresenceStatePayload{Users: []wire.Presence{}, Count: r.view.Count(), Incomplete: r.partial}
	if !r.large {
		for user := range r.view.All() {
			p.Users = append(p.Users, user)
		}
	}
	return p
}

// frame is the frame of what is told of a place; nil if it cannot be encoded.
func (k *presenceKeeper) frame(topic wire.Topic, typ wire.MessageType, payload any) []byte {
	body, err := wire.Marshal(payload)
	if err == nil {
		var frame []byte
		frame, err = encodeFrame(Envelope{Type: typ, Timestamp: wire.Seconds(time.Now()), Topic: topic.String(), Payload: body})
		if err == nil {
			return frame
		}
	}
	k.m.log.LogAttrs(k.ctx, slog.LevelError, "presence not encoded", slog.Any("err", err))
	return nil
}
