package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// presenceRoom is a room that somebody here follows.
type presenceRoom struct {
	topic   wire.Topic
	changed map[string]struct{}   // users whose devices here have changed
	seq     uint64                // of what this node has said of it
	fresh   []hub.Handle          // that may have a right to watch
	judging map[hub.Handle]uint64 // of whom the application is asked that, by which question

	// The rest is there while somebody here watches.
	view     *presence.View
	began    time.Time           // of the view
	asking   map[string]struct{} // nodes that are being asked
	watchers map[hub.Handle]watcher
	counted  time.Time // when a number was told last, of a large room
	large    bool      // numbers are told, not names
}

// watcher is what a connection was told of a place.
type watcher struct {
	state bool      // all of it, and every change since
	retry time.Time // not before then: it did not take the last one
}

// followed takes note that a connection has begun to follow a room, or has ceased to, or that what it
// may do there has changed, or only its device: then nobody is asked for the right again.
func (k *presenceKeeper) followed(c hub.Handle, key hub.Key, right bool) {
	r := k.rooms[key]
	if r == nil {
		topic, known := k.m.hub.Address(key)
		if !known {
			return
		}
		r = &presenceRoom{topic: topic, changed: make(map[string]struct{}), judging: make(map[hub.Handle]uint64)}
		k.rooms[key] = r
	}
	view, ok := k.m.hub.View(c)
	if !ok {
		return // connEnded comes, or has
	}
	r.changed[view.User.ID] = struct{}{}
	if right {
		r.fresh = append(r.fresh, c)
	}
	k.due[key] = struct{}{}
}

// tellRoom says what has changed in a room.
func (k *presenceKeeper) tellRoom(key hub.Key, r *presenceRoom, now time.Time) {
	k.admit(key, r, now)
	var entries []presence.Entry
	for user := range r.changed {
		entries = append(entries, presence.Entry{
			User: user, Devices: k.devices(wire.Topic{Tenant: r.topic.Tenant, Kind: wire.KindUser, ID: user}, &key),
		})
	}
	clear(r.changed)
	if r.view != nil {
		self := k.m.nodes.id()
		for _, e := range entries {
			r.view.Set(self, e)
		}
	}
	k.sayRoom(key, r, entries, now)
	if r.view != nil {
		k.tellWatchers(key, r, now)
	}
	if _, followers, _ := k.m.hub.Lookup(key); followers == 0 && len(r.changed) == 0 && len(k.left.of[key]) == 0 { // nor counts a device as there
		delete(k.rooms, key)
	}
}

// admit finds out who of the new followers may watch. The application is asked by others, since it
// may take its time; until it has answered nobody watches.
func (k *presenceKeeper) admit(key hub.Key, r *presenceRoom, now time.Time) {
	for _, c := range r.fresh {
		_, follows := k.m.hub.Cursor(c, key)
		switch {
		case !follows:
			delete(r.judging, c)
			delete(r.watchers, c)
		case k.m.opts.Authorize == nil:
			k.admitOne(key, r, c, k.mayWatch(k.ctx, c, r.topic), now)
		default:
			delete(r.watchers, c)
			k.judge(key, r, c)
		}
	}
	r.fresh = nil
	k.endView(r)
}

// judge asks the application whether a follower may watch. The answer comes as an event.
func (k *presenceKeeper) judge(key hub.Key, r *presenceRoom, c hub.Handle) {
	k.judgings++
	number, topic := k.judgings, r.topic
	r.judging[c] = number
	k.asks.Go(func() {
		k.m.presence.post(presenceEvent{what: watchJudged, conn: c, room: key, number: number, may: k.mayWatch(k.ctx, c, topic)})
	})
}

// judged takes what the application has answered.
func (k *presenceKeeper) judged(e presenceEvent) {
	r := k.rooms[e.room]
	if r == nil || r.judging[e.conn] != e.number {
		return // it is asked again, or does not follow any more
	}
	delete(r.judging, e.conn)
	_, follows := k.m.hub.Cursor(e.conn, e.room)
	k.admitOne(e.room, r, e.conn, follows && e.may, time.Now())
	k.endView(r)
	k.due[e.room] = struct{}{}
}

// admitOne lets a follower watch, or not. The first who does begins a view.
func (k *presenceKeeper) admitOne(key hub.Key, r *presenceRoom, c hub.Handle, may bool, now time.Time) {
	if !may {
		delete(r.watchers, c)
		return
	}
	if r.view == nil {
		r.view, r.began, r.watchers, r.asking = new(presence.View), now, make(map[hub.Handle]watcher), make(map[string]struct{})
		r.view.Replace(k.m.nodes.id(), r.seq, k.here(r.topic))
		k.askRoom(key, r, k.m.nodes.others()...)
	}
	if _, watches := r.watchers[c]; !watches {
		r.watchers[c] = watcher{}
	}
}

// endView ends a view that nobody watches.
func (k *presenceKeeper) endView(r *presenceRoom) {
	if r.view != nil && len(r.watchers) == 0 {
		r.view, r.watchers, r.asking, r.large = nil, nil, nil, false
	}
}

// mayWatch asks whether a connection may see who is in a room. Any goroutine may.
func (k *presenceKeeper) mayWatch(ctx context.Context, c hub.Handle, room wire.Topic) bool {
	conn, ok := k.m.conn(c)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(WithTenant(ctx, room.Tenant), verbTimeout)
	defer cancel()
	err := k.m.authorize(ctx, conn.identity, conn.allowed, ActPresence, room.ID)
	if err != nil && !errors.Is(err, ErrForbidden) {
		k.m.log.LogAttrs(ctx, slog.LevelWarn, "who may see who is in a room cannot be found out", slog.Any("err", err))
	}
	return err == nil || mutantWatch
}

// sayRoom tells other nodes what has changed here.
func (k *presenceKeeper) sayRoom(key hub.Key, r *presenceRoom, entries []presence.Entry, now time.Time) {
	if k.m.nodes.alone() {
		return
	}
	for len(entries) > 0 {
		some := entries[:min(len(entries), answerEntries)]
		entries = entries[len(some):]
		r.seq++
		k.say(r.topic, presenceRecord{Node: k.m.nodes.id(), Seq: r.seq, Entries: some})
		for i, after := range presenceRepeats() {
			k.repeats[i] = append(k.repeats[i], presenceRepeat{key, now.Add(after)})
		}
	}
}

// say tells all nodes that follow a topic. What does not get through is noticed by them with what
// comes next.
func (k *presenceKeeper) say(topic wire.Topic, r presenceRecord) {
	if err := k.m.tellNodes(k.ctx, topic, broker.KeyOf(topic), r); err != nil && k.ctx.Err() == nil {
		k.m.log.LogAttrs(k.ctx, slog.LevelDebug, "presence not told to other nodes", slog.Any("err", err))
	}
}

// repeat says how far this node is in a room.
func (k *presenceKeeper) repeat(key hub.Key) {
	if r := k.rooms[key]; r != nil && !k.m.nodes.alone() {
		k.say(r.topic, presenceRecord{Node: k.m.nodes.id(), Seq: r.seq})
	}
}

// renamed makes what this node has that of its new name.
func (k *presenceKeeper) renamed(r *presenceRoom) {
	r.seq = 0
	if r.view != nil {
		r.view.Replace(k.m.nodes.id(), 0, k.here(r.topic))
	}
}

// heardRoom takes what another node says of a room.
func (k *presenceKeeper) heardRoom(key hub.Key, said presenceRecord) {
	r := k.rooms[key]
	if r == nil || r.view == nil {
		return
	}
	if !r.view.Next(said.Node, said.Seq, said.Entries) {
		k.askRoom(key, r, said.Node)
	}
	if r.view.Changed() {
		k.due[key] = struct{}{}
	}
}

// askRoom asks nodes what they have in a room. The answers come as an event.
func (k *presenceKeeper) askRoom(key hub.Key, r *presenceRoom, nodes ...string) {
	var ask []string
	for _, node := range nodes {
		if _, under := r.asking[node]; !under {
			r.asking[node] = struct{}{}
			ask = append(ask, node)
		}
	}
	if len(ask) == 0 {
		return
	}
	k.m.count.asked.Add(uint64(len(ask)))
	topic := r.topic
	k.asks.Go(func() {
		all, err := k.m.ask(k.ctx, topic, ask...)
		if err != nil && k.ctx.Err() == nil {
			k.m.log.LogAttrs(k.ctx, slog.LevelDebug, "nodes not asked who is in a room", slog.Any("err", err))
		}
		k.m.presence.post(presenceEvent{what: placeAnswered, topic: topic, all: all, asked: ask})
	})
}

// answered takes what other nodes have in a room. One that has not answered is asked again when it
// says something, or that it is there: until then its users are not known.
func (k *presenceKeeper) answered(e presenceEvent) {
	key := hubKey(e.topic)
	r := k.rooms[key]
	if r == nil || r.view == nil {
		return
	}
	for _, node := range e.asked {
		delete(r.asking, node)
	}
	for _, a := range e.all {
		r.view.Replace(a.node, a.seq, a.entries)
	}
	k.due[key] = struct{}{}
	if len(e.all) < len(e.asked) {
		k.again[key] = time.Now().Add(presenceWait)
	}
}

// tellWatchers tells who watches a room what has changed, or all of it.
func (k *presenceKeeper) tellWatchers(key hub.Key, r *presenceRoom, now time.Time) {
	for _, node := range k.m.nodes.others() {
		if _, known := r.view.Known(node); known {
			continue
		}
		k.askRoom(key, r, node)
		if wait := r.began.Add(presenceWait); now.Before(wait) {
			k.again[key] = wait // whoever begins to watch gets all at once
			return
		}
	}
	if large := r.view.Count() > presenceNames; large != r.large {
		r.large = large
		for c := range r.watchers {
			r.watchers[c] = watcher{}
		}
	}
	var change []byte
	if r.view.Changed() {
		if wait := r.counted.Add(presenceCounts); r.large && now.Before(wait) {
			k.again[key] = wait
		} else {
			change = k.frame(r.topic, wire.PresenceDiff, r.difference())
			r.counted = now
		}
	}
	var state []byte
	for c, t := range r.watchers {
		frame := change
		if !t.state {
			if now.Before(t.retry) {
				k.again[key] = t.retry
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
		switch err := k.m.hub.SendOf(c, key, frame); {
		case err == nil:
			r.watchers[c] = watcher{state: true}
			k.m.count.presence.Add(1)
		case errors.Is(err, hub.ErrFull): // it gets all of it later
			r.watchers[c] = watcher{retry: now.Add(presenceAway)}
			k.again[key] = now.Add(presenceAway)
		default:
			delete(r.watchers, c)
		}
	}
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
	p := wire.PresenceStatePayload{Users: []wire.Presence{}, Count: r.view.Count()}
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
