package client

import (
	"maps"
	"slices"

	"github.com/netra-systems/switchboard/wire"
)

// track is what the client knows about its session: enough to go on where it was. It
// belongs to the goroutine that reads the connection.
type track struct {
	session    wire.SessionInfo
	connection string                   // the latest one's id, which a new one replaces
	positions  map[string]wire.Position // the last message seen, by topic address
	threads    []string                 // watched; switch_thread leaves the last one
	restoring  map[string]bool          // topics of which nothing counts until session_restored
}

func newTrack(since map[string]wire.Position, threads []string) *track {
	t := &track{positions: maps.Clone(since), threads: slices.Clone(threads)}
	if t.positions == nil {
		t.positions = map[string]wire.Position{}
	}
	return t
}

// welcome takes over what a new connection says. Positions that are known already stay:
// they go back to the server in the restore.
func (t *track) welcome(w wire.Welcome) {
	t.session = w.Session
	t.connection = w.ConnectionID
	for topic, pos := range w.Topics {
		t.learn(topic, pos)
	}
}

// restore is what to tell a new connection, and makes all its topics wait for the answer.
func (t *track) restore(replace string) wire.Restore {
	r := wire.Restore{Positions: map[string]wire.Position{}, Replace: replace}
	t.restoring = map[string]bool{}
	for topic, pos := range t.positions {
		if pos.Epoch == "" && pos.Offset != 0 {
			continue // the server never told its epoch
		}
		r.Positions[topic] = pos
		t.restoring[topic] = true
	}
	return r
}

// restored takes the answer to a restore. Rooms that may not be read any more are not
// followed any more: those that are have a head.
func (t *track) restored(r wire.Restored) {
	t.restoring = nil
	for topic, state := range r.Topics {
		switch {
		case state.Reason == wire.ReasonForbidden && state.Head.IsZero():
			delete(t.positions, topic)
		case t.positions[topic].IsZero(): // from the beginning: now its epoch is known
			t.positions[topic] = wire.Position{Epoch: state.Head.Epoch, Offset: state.From.Offset}
		}
	}
}

// learn takes a topic's position as told by the server. Where there is one already it
// stays: messages between the two may be on their way, and of what is lost a gap will tell.
func (t *track) learn(topic string, pos wire.Position) {
	if _, ok := t.positions[topic]; !ok {
		t.positions[topic] = pos
	}
}

// accept reports whether a message of a topic is new, notes its place, and completes it
// with its epoch. Messages without an offset have no place and are always new.
func (t *track) accept(env *wire.Envelope) bool {
	if env.Offset == 0 {
		return true
	}
	if t.restoring[env.Topic] {
		return false // the restore came late; the message comes again after its answer
	}
	pos := t.positions[env.Topic]
	if env.Offset <= pos.Offset {
		return false
	}
	pos.Offset = env.Offset
	t.positions[env.Topic] = pos
	env.Epoch = pos.Epoch
	return true
}

// gap moves behind what is lost, or back from a place that the topic never reached. Volatile
// messages have no place.
func (t *track) gap(g wire.Gap) {
	if g.Reason == wire.ReasonVolatile {
		return
	}
	pos := t.positions[g.Topic]
	back := g.From.Epoch == g.To.Epoch && g.From.Offset > g.To.Offset
	if g.To.Epoch != "" && (g.To.Epoch != pos.Epoch || g.To.Offset > pos.Offset || back) {
		t.positions[g.Topic] = g.To
	}
}

// follow notes the outcome of an order that the server has confirmed.
func (t *track) follow(verb wire.MessageType, order wire.Envelope) {
	switch verb {
	case wire.Subscribe, wire.Unsubscribe:
		var req wire.SubscribeRequest
		if order.Decode(&req) != nil {
			return
		}
		for _, thread := range req.Threads {
			t.forget(thread)
			if verb == wire.Subscribe {
				t.threads = append(t.threads, thread)
			}
		}
		if verb == wire.Subscribe {
			// an earlier place than ours was asked for
			maps.Copy(t.positions, req.Since)
		}
	case wire.ThreadOpen, wire.SwitchThread:
		var req wire.ThreadOpenRequest
		if order.Decode(&req) != nil || !req.Before.IsZero() {
			return // an older page opens nothing
		}
		t.forget(req.ThreadID)
		if n := len(t.threads); n > 0 && verb == wire.SwitchThread {
			t.threads = t.threads[:n-1]
		}
		t.threads = append(t.threads, req.ThreadID)
	}
}

// olderPage reports whether order asks for a thread's messages before a position. Its answer
// is nothing to go on from: the topic need not be followed.
func olderPage(order wire.Envelope) bool {
	var req wire.ThreadOpenRequest
	return order.Decode(&req) == nil && !req.Before.IsZero()
}

func (t *track) forget(thread string) {
	t.threads = slices.DeleteFunc(t.threads, func(s string) bool { return s == thread })
}
