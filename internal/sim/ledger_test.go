package sim_test

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// ledger is what a topic's log had, ever: the truth that devices are held to.
type ledger struct {
	topic wire.Topic
	epoch string
	read  wire.Position // up to here
	of    map[string][]record
}

// record is an entry of a log.
type record struct {
	offset uint64
	id     string
	thread string
	hidden bool
	except []string
}

// ledgerOf returns the ledger of a topic.
func (w *world) ledgerOf(topic wire.Topic) *ledger {
	l := w.ledgers[topic]
	if l == nil {
		l = &ledger{topic: topic, of: map[string][]record{}}
		w.ledgers[topic] = l
	}
	return l
}

// keep writes down what was appended since it was last called. It is called before history can
// have left.
func (w *world) keep() {
	for _, l := range w.ledgers {
		l.follow(w)
	}
}

func (l *ledger) follow(w *world) {
	for {
		entries, head, err := w.broker.Since(context.Background(), broker.KeyOf(l.topic), l.read, 256)
		if err != nil && !errors.Is(err, broker.ErrGap) {
			w.t.Fatal(err)
		}
		l.epoch = head.Epoch
		for _, e := range entries {
			if had := l.of[e.Pos.Epoch]; len(had) == 0 || had[len(had)-1].offset < e.Pos.Offset {
				l.of[e.Pos.Epoch] = append(had, readRecord(w, e))
			}
			l.read = e.Pos
		}
		if len(entries) == 0 || l.read == head {
			l.read = head
			return
		}
	}
}

func readRecord(w *world, e broker.Entry) record {
	rec, err := wire.ParseRecord(e.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	r := record{offset: e.Pos.Offset, hidden: rec.Kind == wire.RecordMember, except: rec.Except}
	if !r.hidden {
		var body struct {
			ID     string `json:"message_id"`
			Thread string `json:"thread_id"`
		}
		if err := json.Unmarshal(rec.Body, &body); err != nil {
			w.t.Fatal(err)
		}
		r.id, r.thread = body.ID, body.Thread
	}
	return r
}

// at finds an entry.
func (l *ledger) at(epoch string, offset uint64) (record, bool) {
	for _, r := range l.of[epoch] {
		if r.offset == offset {
			return r, true
		}
	}
	return record{}, false
}

// gone reports whether everything in an interval of an epoch has left the log.
func (l *ledger) gone(w *world, epoch string, from, to uint64) bool {
	entries, head, err := w.broker.Since(context.Background(), broker.KeyOf(l.topic), wire.Position{Epoch: epoch, Offset: from}, 1)
	if err != nil && !errors.Is(err, broker.ErrGap) {
		w.t.Fatal(err)
	}
	return head.Epoch != epoch || len(entries) == 0 || entries[0].Pos.Offset > to
}

// membership is a time in a room, by offsets of its log; left 0: not over.
type membership struct{ joined, left uint64 }

// mayRead reports whether a user may get a message of a room.
func (w *world) mayRead(room wire.Topic, user string, offset uint64) bool {
	if len(room.ID) >= 4 && room.ID[:4] == "open" {
		return true
	}
	for _, m := range w.members[room.Tenant+"/"+room.ID][user] {
		if offset > m.joined && (m.left == 0 || offset < m.left) {
			return true
		}
	}
	return false
}

// removed reports whether a user was ever removed from a room, or has left it.
func (w *world) removed(room wire.Topic, user string) bool {
	if w.quitters[keyOf(room)+user] {
		return true
	}
	for _, m := range w.members[room.Tenant+"/"+room.ID][user] {
		if m.left != 0 {
			return true
		}
	}
	return false
}
