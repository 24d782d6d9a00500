package sim_test

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// openThread asks for a thread of the user's, or of a room that is open, and watches it.
func (w *world) openThread() {
	d := w.connected()
	if d == nil {
		return
	}
	req := wire.ThreadOpenRequest{ThreadID: pick(w, threads)}
	if w.pick(3) == 0 {
		req.Room = pick(w, rooms[:2])
	}
	typ := pick(w, []wire.MessageType{wire.ThreadOpen, wire.SwitchThread, wire.SwitchThread})
	w.tell("%s: %s %+v", d.name, typ, req)
	d.opening = typ
	d.call(typ, req)
}

// chooses notes that a thread is watched, maybe instead of the one before.
func (d *device) chooses(thread string, instead bool) {
	if n := len(d.threads); instead && n > 0 && d.threads[n-1] != thread {
		d.threads = d.threads[:n-1]
	}
	d.threads = append(slices.DeleteFunc(d.threads, func(t string) bool { return t == thread }), thread)
}

// snapshot takes a thread: what came before its position has come, or is in it.
func (d *device) snapshot(env wire.Envelope, p wire.Thread) {
	w, l := d.w, d.w.ledgerOf(d.topic(env.Topic))
	l.follow(w)
	if d.opening != "" {
		d.chooses(env.ThreadID, d.opening == wire.SwitchThread)
	}
	if at, follows := d.at[env.Topic]; follows && !d.restoring[env.Topic] && (at.Epoch != p.Position.Epoch || d.missing(env.Topic, at, p.Position.Offset)) {
		w.wrong("%s: the snapshot of %s is as of %s, and it has come to %s", d.name, env.Topic, p.Position, at)
	}
	d.learn(env.Topic, p.Position)
	got, last := map[uint64]bool{}, uint64(0)
	for _, m := range p.Messages {
		r, real := l.at(p.Position.Epoch, m.Offset)
		if !real || r.hidden || r.id != m.ID || r.thread != env.ThreadID || m.Offset <= last || m.Offset > p.Position.Offset {
			w.wrong("%s: the snapshot of %s, thread %q, at %s has %q at %d, behind %d", d.name, env.Topic, env.ThreadID, p.Position, m.ID, m.Offset, last)
		}
		got[m.Offset], last = true, m.Offset
	}
	for _, r := range l.thread(w, env.ThreadID, p.Position) {
		if !got[r.offset] {
			w.wrong("%s: the snapshot of %s, thread %q, at %s has no %s", d.name, env.Topic, env.ThreadID, p.Position, r.id)
		}
	}
	for _, run := range p.Runs {
		for _, s := range run.Streams {
			r := w.runOf(s.ID)
			if r == nil || r.key != d.tenant+"|"+env.Topic+"|" || r.thread != env.ThreadID || !strings.HasPrefix(r.text(s.ID), s.Text) {
				w.wrong("%s: the snapshot of %s has %q as the text of %s", d.name, env.Topic, s.Text, s.ID)
				continue
			}
			if s.State == wire.StreamStateOpen && utf8.RuneCountInString(s.Text) > utf8.RuneCountInString(d.texts[s.ID]) {
				d.texts[s.ID] = s.Text
			}
		}
	}
	for _, r := range w.runs {
		if r.over() || r.key != d.tenant+"|"+env.Topic+"|" || r.thread != env.ThreadID || p.Position != l.read {
			continue
		}
		if !slices.ContainsFunc(p.Runs, func(run wire.Run) bool { return run.ID == r.id }) {
			w.wrong("%s: the snapshot of %s, thread %q, has no run %s", d.name, env.Topic, env.ThreadID, r.id)
		}
	}
}

// thread is what the log still has of a thread up to a place.
func (l *ledger) thread(w *world, thread string, to wire.Position) (list []record) {
	entries, _, err := w.broker.Since(context.Background(), broker.KeyOf(l.topic), wire.Position{}, historyMessages+10)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if r := readRecord(w, e); !r.hidden && r.thread == thread && e.Pos.Epoch == to.Epoch && e.Pos.Offset <= to.Offset {
			list = append(list, r)
		}
	}
	return list
}
