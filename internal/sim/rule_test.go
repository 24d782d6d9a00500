package sim_test

import (
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// durable takes a message of a topic.
func (d *device) durable(env wire.Envelope) {
	w := d.w
	if env.Offset <= d.last[env.Topic] {
		w.wrong("%s: %s offset %d was sent behind %d", d.name, env.Topic, env.Offset, d.last[env.Topic])
	}
	d.last[env.Topic] = env.Offset
	pos, follows := d.at[env.Topic]
	if !follows {
		w.wrong("%s: got a message of %s, which it does not follow", d.name, env.Topic)
		return
	}
	if d.restoring[env.Topic] || env.Offset <= pos.Offset {
		return // it comes again, or came before
	}
	pos.Offset = env.Offset
	w.ledgerOf(d.topic(env.Topic)).follow(w)
	entry, real := w.ledgerOf(d.topic(env.Topic)).at(pos.Epoch, env.Offset)
	switch {
	case !real || entry.hidden || entry.id != env.ID:
		w.wrong("%s: got %q at %s of %s, where the log has %+v", d.name, env.ID, pos, env.Topic, entry)
	case slices.Contains(entry.except, d.session.ID):
		w.wrong("%s: got %q, which is not for its session", d.name, env.ID)
	case d.has[env.Topic][pos]:
		w.wrong("%s: got %s of %s twice", d.name, pos, env.Topic)
	case d.topic(env.Topic).Kind == wire.KindRoom && !w.mayRead(d.topic(env.Topic), d.user, env.Offset):
		w.wrong("%s: got %s of %s, which it may not read", d.name, pos, env.Topic)
	}
	d.checkOwner(env)
	d.at[env.Topic] = pos
	d.has[env.Topic][pos] = true
	d.ofRun(env)
}

// checkOwner looks at what the publisher wrote into a message: for whom it is.
func (d *device) checkOwner(env wire.Envelope) {
	var p struct{ To string }
	if json.Unmarshal(env.Payload, &p) == nil && p.To != "" && p.To != d.tenant+"|"+env.Topic+"|" {
		d.w.wrong("%s: got a message of %q as one of %s", d.name, p.To, env.Topic)
	}
}

// gap moves on behind what is lost.
func (d *device) gap(g wire.Gap) {
	w := d.w
	pos, follows := d.at[g.Topic]
	if !follows {
		w.wrong("%s: got a gap of %s, which it does not follow", d.name, g.Topic)
		return
	}
	if g.Reason == wire.ReasonVolatile {
		d.passed[g.Topic] += int(g.Count)
		if g.From != g.To || g.Count == 0 {
			w.wrong("%s: the gap of volatile messages %+v moves somebody, or nothing was lost", d.name, g)
		}
		return
	}
	if g.Reason == wire.ReasonEpochChanged {
		delete(d.last, g.Topic)
	}
	if d.restoring[g.Topic] {
		return // it is told again
	}
	if g.To.Epoch != pos.Epoch {
		// What a room's log began with may be older than the membership: whoever may not read the past skips it.
		if g.Reason != wire.ReasonEpochChanged || g.To.Offset != 0 && d.topic(g.Topic).Kind != wire.KindRoom || g.Count != 0 {
			w.wrong("%s: the gap %+v begins another epoch than %s", d.name, g, pos)
		}
	} else {
		if g.Reason != wire.ReasonExpired || g.From.Epoch != pos.Epoch || g.From.Offset < pos.Offset && d.missing(g.Topic, pos, g.From.Offset) {
			w.wrong("%s: the gap %+v does not begin at %s", d.name, g, pos)
		}
		// Who is removed from a room has no right to the rest, wherever it is.
		if !w.removed(d.topic(g.Topic), d.user) && !w.ledgerOf(d.topic(g.Topic)).gone(w, pos.Epoch, g.From.Offset, g.To.Offset) {
			w.wrong("%s: the gap %+v is about messages that are still there", d.name, g)
		}
		if g.To.Offset <= pos.Offset {
			return
		}
	}
	d.lost[g.Topic] = append(d.lost[g.Topic], wire.Gap{From: pos, To: g.To})
	d.at[g.Topic] = g.To
	for id, r := range w.runsOf(d.tenant, g.Topic) { // their texts may have ended in the gap
		d.ended[id] = d.ended[id] || r.over()
	}
}

// missing reports whether the device should have something of a topic between a place and an
// offset of the same epoch.
func (d *device) missing(topic string, after wire.Position, to uint64) bool {
	for _, r := range d.w.ledgerOf(d.topic(topic)).of[after.Epoch] {
		if r.offset > after.Offset && r.offset <= to && !r.hidden && !d.isExcepted(r.except) {
			return true
		}
	}
	return false
}

// posting takes a message without a place.
func (d *device) posting(env wire.Envelope) {
	var p struct {
		Key string
		N   int
	}
	if err := env.Decode(&p); err != nil {
		d.w.wrong("%s: %v", d.name, err)
	}
	if _, follows := d.at[env.Topic]; !follows {
		d.w.wrong("%s: got %s of %s, which it does not follow", d.name, env.Type, env.Topic)
	}
	d.checkOwner(env)
	if env.Type == "passes" {
		d.passed[env.Topic]++
		return
	}
	key := d.tenant + "|" + env.Topic + "|" + p.Key
	if p.N < d.newest[key] {
		d.w.wrong("%s: got %s %d after %d", d.name, key, p.N, d.newest[key])
	}
	d.newest[key] = p.N
}

// chunk takes text.
func (d *device) chunk(env wire.Envelope) {
	p := decode[wire.StreamChunkPayload](d, env)
	r := d.w.runOf(p.StreamID)
	if _, follows := d.at[env.Topic]; r == nil || !follows || r.key != d.tenant+"|"+env.Topic+"|" {
		d.w.wrong("%s: got text of %s on %s", d.name, p.StreamID, env.Topic)
		return
	}
	have := utf8.RuneCountInString(d.texts[p.StreamID])
	if p.Start > have && d.restoring[env.Topic] {
		return // it comes again
	}
	if p.Start > have {
		d.w.wrong("%s: text of %s goes on at %d, and it has %d", d.name, p.StreamID, p.Start, have)
		return
	}
	text := []rune(p.Text)
	if skip := have - p.Start; skip < len(text) {
		d.texts[p.StreamID] += string(text[skip:])
	}
	if want := r.text(p.StreamID); len(d.texts[p.StreamID]) > len(want) || want[:len(d.texts[p.StreamID])] != d.texts[p.StreamID] {
		d.w.wrong("%s: has %q as the text of %s, which is %q", d.name, d.texts[p.StreamID], p.StreamID, want)
	}
}

// ofRun looks at what an event says of texts: what was written before it has come before it.
func (d *device) ofRun(env wire.Envelope) {
	if env.RunID == "" {
		return
	}
	for id, length := range env.StreamLengths {
		text, begun := d.texts[id]
		if d.answered < d.naming { // it watches some of its threads only
			break
		}
		if begun && !d.ended[id] && d.watches(env.ThreadID) && utf8.RuneCountInString(text) < length {
			d.w.wrong("%s: %s at %d says that %s is %d long, and it has %d", d.name, env.Type, env.Offset, id, length, utf8.RuneCountInString(text))
		}
	}
	if env.Type != wire.StreamComplete {
		return
	}
	p := decode[wire.StreamCompletePayload](d, env)
	r := d.w.runOf(p.StreamID)
	if r == nil || p.Text != r.text(p.StreamID) || p.Length != utf8.RuneCountInString(p.Text) {
		d.w.wrong("%s: %s ends as %q", d.name, p.StreamID, p.Text)
	}
	d.texts[p.StreamID], d.ended[p.StreamID] = p.Text, true
}
