package wire

import (
	"strings"
	"unicode/utf8"
)

// maxTexts bounds how many unfinished texts a [Track] counts. One that is not counted comes
// again from its beginning.
const maxTexts = 256

// Track reads along what one client gets, in the order in which it gets it, and so knows what
// the client would say in session_restore if its connection ended now. It is never ahead of
// what was read: where it cannot know better, something comes twice and nothing is left out.
//
// The zero Track has read nothing. It is not safe for concurrent use.
type Track struct {
	positions map[string]Position // by topic address; of all topics whose epoch is known
	texts     map[string]int      // the length in code points of each unfinished text, by stream id
}

// NewTrack returns the track of a client that has already what r says and begins with
// session_restore.
func NewTrack(r Restore) Track {
	var t Track
	for topic, pos := range r.Positions {
		t.set(topic, pos)
	}
	for stream, length := range r.Streams {
		t.grow(stream, length)
	}
	return t
}

// Restore is what the client would say now. Its maps are those of t: they must not be
// changed, and change with the next call of Take.
func (t *Track) Restore() Restore { return Restore{Positions: t.positions, Streams: t.texts} }

// Take reads one message of the server and reports whether it changed anything. Payloads that
// are not what their type says change nothing.
func (t *Track) Take(env Envelope) (changed bool) {
	switch {
	case env.Offset != 0:
		return t.durable(env)
	case env.Type == StreamChunk:
		var p StreamChunkPayload
		if env.Decode(&p) != nil || p.StreamID == "" {
			return false
		}
		return t.grow(p.StreamID, p.Start+utf8.RuneCountInString(p.Text))
	}
	switch env.Type {
	case SystemMessage:
		var p Welcome
		return env.Decode(&p) == nil && p.Event == WelcomeEvent && t.learnAll(p.Topics)
	case SessionRestored:
		var p Restored
		return env.Decode(&p) == nil && t.restored(p)
	case Subscribed, Unsubscribed:
		var p SubscribedPayload
		return env.Decode(&p) == nil && t.subscribed(p, env.Type == Subscribed)
	case RoomJoined:
		var p RoomJoinedPayload
		return env.Decode(&p) == nil && t.learn(roomAddress(p.Room), p.Position)
	case RoomLeft:
		var p RoomLeftPayload
		return env.Decode(&p) == nil && t.forget(roomAddress(p.Room))
	case ThreadSnapshot:
		var p Thread
		return env.Decode(&p) == nil && t.snapshot(env.Topic, p)
	case GapType:
		var p Gap
		return env.Decode(&p) == nil && t.gap(p)
	}
	return false
}

func roomAddress(room string) string { return Topic{Kind: KindRoom, ID: room}.String() }

// durable takes a message with a place. Its epoch does not travel with it, so a topic that
// nobody has told about is not counted.
func (t *Track) durable(env Envelope) (changed bool) {
	if pos, known := t.positions[env.Topic]; known && pos.Epoch != "" {
		changed = t.set(env.Topic, Position{Epoch: pos.Epoch, Offset: env.Offset})
	}
	switch env.Type {
	case StreamComplete:
		var p StreamCompletePayload
		if env.Decode(&p) == nil {
			changed = t.end(func(stream string) bool { return stream == p.StreamID }) || changed
		}
	case AgentCompleted, AgentError, AgentCancelled, AgentDeath:
		// What it was writing has ended before, unless that was lost in a gap.
		changed = t.end(func(stream string) bool { return strings.HasPrefix(stream, env.RunID+"/") }) || changed
	}
	return changed
}

// restored takes the answer to a session_restore. What was missed of a topic comes from a
// place on, or behind a gap.
func (t *Track) restored(p Restored) (changed bool) {
	for topic, state := range p.Topics {
		switch {
		case state.Recovered:
			changed = t.set(topic, state.From) || changed
		case state.Reason == ReasonForbidden:
			changed = t.forget(topic) || changed
		case p.Rewind && state.Head.Epoch != "": // how far back is not told
			changed = t.set(topic, Position{Epoch: state.Head.Epoch}) || changed
		}
	}
	return changed
}

// subscribed takes the answer to subscribe or unsubscribe. A room that was followed already
// may have been moved back.
func (t *Track) subscribed(p SubscribedPayload, follows bool) (changed bool) {
	for topic, pos := range p.Topics {
		if follows {
			changed = t.set(topic, pos) || changed
		} else {
			changed = t.forget(topic) || changed
		}
	}
	return changed
}

// snapshot takes a thread. It does not move a topic that is followed already, of which
// messages before the snapshot may still be on their way.
func (t *Track) snapshot(topic string, p Thread) (changed bool) {
	if topic != "" {
		changed = t.learn(topic, p.Position)
	}
	for _, run := range p.Runs {
		for _, stream := range run.Streams {
			if stream.State != StreamStateOpen {
				continue
			}
			if length := utf8.RuneCountInString(stream.Text); length > t.texts[stream.ID] {
				changed = t.grow(stream.ID, length) || changed
			}
		}
	}
	return changed
}

func (t *Track) gap(p Gap) (changed bool) {
	if _, known := t.positions[p.Topic]; !known || p.To.Epoch == "" || p.Reason == ReasonVolatile {
		return false
	}
	return t.set(p.Topic, p.To)
}

// learn takes the position of a topic that is not known yet. Where one is known, messages
// between the two may be on their way.
func (t *Track) learn(topic string, pos Position) (changed bool) {
	if _, known := t.positions[topic]; known {
		return false
	}
	return t.set(topic, pos)
}

func (t *Track) learnAll(topics map[string]Position) (changed bool) {
	for topic, pos := range topics {
		changed = t.learn(topic, pos) || changed
	}
	return changed
}

func (t *Track) set(topic string, pos Position) (changed bool) {
	if former, known := t.positions[topic]; known && former == pos {
		return false
	}
	if t.positions == nil {
		t.positions = make(map[string]Position)
	}
	t.positions[topic] = pos
	return true
}

func (t *Track) forget(topic string) (changed bool) {
	_, changed = t.positions[topic]
	delete(t.positions, topic)
	return changed
}

func (t *Track) grow(stream string, length int) (changed bool) {
	former, known := t.texts[stream]
	if known && former == length || !known && len(t.texts) >= maxTexts {
		return false
	}
	if t.texts == nil {
		t.texts = make(map[string]int)
	}
	t.texts[stream] = length
	return true
}

func (t *Track) end(which func(stream string) bool) (changed bool) {
	for stream := range t.texts {
		if which(stream) {
			delete(t.texts, stream)
			changed = true
		}
	}
	return changed
}
