package sim_test

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// run is a run that the story writes, and its texts as they must be.
type run struct {
	w      *world
	topic  wire.Topic
	key    string // tenant|address|
	id     string
	thread string
	node   *node
	run    *switchboard.Run
	texts  map[string]string // by stream id
	ended  bool
}

func keyOf(topic wire.Topic) string { return topic.Tenant + "|" + topic.String() + "|" }

func target(topic wire.Topic) switchboard.Target {
	switch topic.Kind {
	case wire.KindUser:
		return switchboard.User(topic.ID)
	case wire.KindRoom:
		return switchboard.Room(topic.ID)
	}
	return switchboard.All()
}

func in(topic wire.Topic) context.Context {
	return switchboard.WithTenant(context.Background(), topic.Tenant)
}

// begin starts a run.
func (w *world) begin(n *node, topic wire.Topic, thread string) {
	w.number++
	r := &run{
		w: w, topic: topic, key: keyOf(topic), id: fmt.Sprint("r", w.number), thread: thread, node: n, texts: map[string]string{},
	}
	opts := switchboard.RunOptions{Agent: "writer", To: target(topic), Thread: thread, ID: r.id}
	if topic.Kind == wire.KindRoom {
		opts.User = "u0"
	}
	var err error
	if r.run, err = n.manager.Runs().Start(in(topic), opts); err != nil {
		w.wrong("run %s on %s is not begun: %v", r.id, r.key, err)
		return
	}
	w.runs = append(w.runs, r)
	w.tell("%s begins run %s on %s, thread %q", n.name, r.id, r.key, thread)
}

// runOf finds the run of a stream.
func (w *world) runOf(stream string) *run {
	id, _, _ := strings.Cut(stream, "/")
	for _, r := range w.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}

// runsOf returns the runs of a topic by the ids of their streams.
func (w *world) runsOf(tenant, address string) map[string]*run {
	found := map[string]*run{}
	for _, r := range w.runs {
		if r.key == tenant+"|"+address+"|" {
			for id := range r.texts {
				found[id] = r
			}
		}
	}
	return found
}

func (r *run) text(stream string) string { return r.texts[stream] }

// over reports whether the run has ended, also with its node.
func (r *run) over() bool { return r.ended || r.node.gone }

// live returns a run that is not over, or nil.
func (w *world) live() *run {
	var list []*run
	for _, r := range w.runs {
		if !r.over() {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[w.pick(len(list))]
}

// busy reports whether a run of the topic is not over.
func (w *world) busy(topic wire.Topic) bool {
	for _, r := range w.runs {
		if r.topic == topic && !r.over() {
			return true
		}
	}
	return false
}

// write appends to a stream: behind what is there, or from somewhere within it, as a producer
// does that repeats itself.
func (r *run) write(name, text string, overlap int) {
	id := r.id + "/" + name
	had := r.texts[id]
	start := utf8.RuneCountInString(had)
	overlap = min(overlap, start)
	piece := string([]rune(had)[start-overlap:]) + text
	r.texts[id] = had + text
	length, err := r.run.Stream(name).AppendAt(in(r.topic), start-overlap, piece)
	r.w.tell("run %s writes %q at %d of %s", r.id, piece, start-overlap, name)
	if want := utf8.RuneCountInString(r.texts[id]); err != nil || length != want {
		r.w.wrong("run %s: append to %s: got %d, %v, want %d", r.id, name, length, err, want)
	}
}

// end ends the run in one of its ways.
func (r *run) end(how int) {
	var err error
	switch how {
	case 0:
		_, err = r.run.Complete(in(r.topic), nil)
	case 1:
		_, err = r.run.Fail(in(r.topic), context.Canceled)
	default:
		_, err = r.run.Cancel(in(r.topic), "stopped")
	}
	r.ended = true
	r.w.tell("run %s ends (%d)", r.id, how)
	if err != nil {
		r.w.wrong("run %s does not end: %v", r.id, err)
	}
}
