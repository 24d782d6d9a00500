package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// History is what was published and what each receiver got, at any level: by
// drivers, by managers, on sockets. [History.Check] finds what was promised not to
// happen. Topics are named as the test likes, one name per log. Its methods and
// those of its receivers may be called concurrently. The zero History is ready.
type History struct {
	mu        sync.Mutex // guards the fields below
	sent      map[string]map[string]wire.Position
	receivers []*Seen
}

// Kind is a kind of violation.
type Kind string

// What a history can show.
const (
	Loss      Kind = "loss"      // acknowledged, never received, and no gap told of it
	Duplicate Kind = "duplicate" // received twice
	Order     Kind = "order"     // after a higher offset, or in a new epoch without a gap
	Foreign   Kind = "foreign"   // on a topic that is not the receiver's
	Phantom   Kind = "phantom"   // never published on that topic
	Misplaced Kind = "misplaced" // at another position than the publisher was told
)

// Violation is one broken promise.
type Violation struct {
	Kind            Kind
	Receiver, Topic string
	ID              string // of the message
	Detail          string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: receiver %s, topic %s, message %s: %s", v.Kind, v.Receiver, v.Topic, v.ID, v.Detail)
}

// Sent says that a message was acknowledged, at pos if it is durable. Its id is
// its own on the topic. Receivers are owed a durable one.
func (h *History) Sent(topic, id string, pos wire.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topic(topic)[id] = pos
}

// Attempted says that a message is about to be published. Nobody is owed it, but
// it may be received. It does not change what Sent has said.
func (h *History) Attempted(topic, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ids := h.topic(topic); !contains(ids, id) {
		ids[id] = wire.Position{}
	}
}

func contains(ids map[string]wire.Position, id string) bool {
	_, ok := ids[id]
	return ok
}

func (h *History) topic(name string) map[string]wire.Position {
	if h.sent == nil {
		h.sent = map[string]map[string]wire.Position{}
	}
	if h.sent[name] == nil {
		h.sent[name] = map[string]wire.Position{}
	}
	return h.sent[name]
}

// Receiver adds one that may receive nothing but topics, and is owed nothing
// before it says [Seen.From].
func (h *History) Receiver(name string, topics ...string) *Seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Seen{name: name, topics: topics}
	h.receivers = append(h.receivers, s)
	return s
}

// Seen is what one receiver got, such as a connection or a session that
// reconnects.
type Seen struct {
	name   string   // immutable
	topics []string // immutable

	mu     sync.Mutex // guards events
	events []event
}

// event is one thing that a receiver saw; gap events have from and pos, from
// events have pos.
type event struct {
	what      what
	topic, id string
	from, pos wire.Position
}

type what uint8

const (
	message what = iota
	gap
	start
)

// From says that s is owed everything of topic after pos; after a zero pos
// everything.
func (s *Seen) From(topic string, pos wire.Position) {
	s.add(event{what: start, topic: topic, pos: pos})
}

// Message says that s got a message, at pos if it is durable.
func (s *Seen) Message(topic, id string, pos wire.Position) {
	s.add(event{what: message, topic: topic, id: id, pos: pos})
}

// Gap says that s was told of a gap, from exclusive and to inclusive. A gap into
// another epoch takes everything of the old one after from.
func (s *Seen) Gap(topic string, from, to wire.Position) {
	s.add(event{what: gap, topic: topic, from: from, pos: to})
}

func (s *Seen) add(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// Check returns what was promised not to happen, in no particular order. Call it
// once everything that was sent has had the time to arrive.
func (h *History) Check() []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Violation
	for _, s := range h.receivers {
		s.mu.Lock()
		events := slices.Clone(s.events)
		s.mu.Unlock()
		byTopic := map[string][]event{}
		for _, e := range events {
			byTopic[e.topic] = append(byTopic[e.topic], e)
		}
		for topic, events := range byTopic {
			c := checker{receiver: s.name, topic: topic, sent: h.sent[topic], got: map[string]bool{}}
			c.foreign = !slices.Contains(s.topics, topic)
			for _, e := range events {
				c.see(e)
			}
			c.losses()
			out = append(out, c.found...)
		}
	}
	return out
}

// Verify fails the test with the first violations that Check finds.
func (h *History) Verify(t testing.TB) {
	t.Helper()
	found := h.Check()
	for _, v := range found[:min(len(found), 20)] {
		t.Error(v)
	}
	if len(found) > 20 {
		t.Errorf("and %d more", len(found)-20)
	}
}

// checker goes through what one receiver saw of one topic.
type checker struct {
	receiver, topic string
	foreign         bool
	sent            map[string]wire.Position
	owed            bool          // From was said
	began           wire.Position // owed is what comes after it
	last            wire.Position // of what was seen last
	got             map[string]bool
	gaps            []event
	found           []Violation
}

func (c *checker) report(k Kind, id, format string, args ...any) {
	c.found = append(c.found, Violation{k, c.receiver, c.topic, id, fmt.Sprintf(format, args...)})
}

func (c *checker) see(e event) {
	switch e.what {
	case start:
		if !c.owed {
			c.began = e.pos
		}
		c.owed = true
		c.last = e.pos
	case gap:
		c.gaps = append(c.gaps, e)
		c.last = e.pos
	case message:
		c.seeMessage(e)
	}
}

func (c *checker) seeMessage(e event) {
	told, known := c.sent[e.id]
	durable := e.pos != (wire.Position{})
	switch {
	case c.foreign:
		c.report(Foreign, e.id, "at %v", e.pos)
	case !known:
		c.report(Phantom, e.id, "at %v", e.pos)
	case durable && told.Epoch == e.pos.Epoch && told != e.pos:
		c.report(Misplaced, e.id, "at %v, the publisher was told %v", e.pos, told)
	}
	if !durable {
		return
	}
	switch {
	case c.got[e.id]:
		c.report(Duplicate, e.id, "at %v, after %v", e.pos, c.last)
	case c.last.Epoch != "" && c.last.Epoch != e.pos.Epoch:
		c.report(Order, e.id, "at %v, after %v without a gap", e.pos, c.last)
	case c.last.Epoch == e.pos.Epoch && e.pos.Offset <= c.last.Offset:
		c.report(Order, e.id, "at %v, after %v", e.pos, c.last)
	}
	c.got[e.id] = true
	c.last = e.pos
}

// losses reports what is owed and was not received.
func (c *checker) losses() {
	if !c.owed || c.foreign {
		return
	}
	for id, pos := range c.sent {
		switch {
		case pos == (wire.Position{}) || c.got[id]:
		case pos.Epoch == c.began.Epoch && pos.Offset <= c.began.Offset:
		case !slices.ContainsFunc(c.gaps, func(g event) bool { return covers(g, pos) }):
			c.report(Loss, id, "acknowledged at %v; the last one received is at %v", pos, c.last)
		}
	}
}

// covers reports whether a gap tells of the loss of pos.
func covers(g event, pos wire.Position) bool {
	if g.from.Epoch == g.pos.Epoch {
		return pos.Epoch == g.from.Epoch && g.from.Offset < pos.Offset && pos.Offset <= g.pos.Offset
	}
	return pos.Epoch == g.from.Epoch && g.from.Offset < pos.Offset ||
		pos.Epoch == g.pos.Epoch && pos.Offset <= g.pos.Offset
}

// Summary tells how much a history has, for the log of a long test.
func (h *History) Summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := 0
	for _, ids := range h.sent {
		sent += len(ids)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages on %d topics", sent, len(h.sent))
	for _, s := range h.receivers {
		s.mu.Lock()
		fmt.Fprintf(&b, "; %s saw %d", s.name, len(s.events))
		s.mu.Unlock()
	}
	return b.String()
}
