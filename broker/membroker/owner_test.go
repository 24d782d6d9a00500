package membroker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// TestOwnersKeepTheirBoundsAndNobodyElsePays writes for owners with and without bounds, of
// their own and of all together, and looks after each step at everything that is kept.
func TestOwnersKeepTheirBoundsAndNobodyElsePays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(t *rapid.T) {
			w := newOwnersWorld(t)
			defer w.b.Close()
			t.Repeat(map[string]func(*rapid.T){
				"publish": w.publish,
				"burst":   w.burst,
				"latest":  w.latest,
				"append":  w.append,
				"seal":    w.seal,
				"remove":  w.remove,
				"drop":    w.drop,
				"follow":  w.follow,
				"sleep":   w.sleep,
				"":        w.check,
			})
		})
	})
}

// ownersWorld is a broker with some owners, and what was written.
type ownersWorld struct {
	b      *Broker
	owners []broker.Owner
	topics []*ownedTopic
	texts  map[string]*ownedText
}

type ownedTopic struct {
	key      broker.Key
	owner    int
	sent     []sent            // durable records since it was dropped
	high     map[string]uint64 // the highest offset by epoch
	dropped  bool
	followed bool
}

type sent struct {
	pos wire.Position
	at  int64 // nanoseconds since the log began
}

type ownedText struct {
	topic       *ownedTopic
	text        string
	token, seal uint64
}

func (x *ownedText) open() bool { return x.token >= x.seal }

func newOwnersWorld(t *rapid.T) *ownersWorld {
	w := &ownersWorld{
		b:     New(Options{HistoryBytes: rapid.SampledFrom([]int64{0, 0, 64 << 10, 256 << 10}).Draw(t, "history")}),
		texts: map[string]*ownedText{},
	}
	for i := range 4 {
		w.owners = append(w.owners, broker.Owner{
			Key:   broker.OwnerKey(fmt.Sprint(i)),
			Bytes: rapid.SampledFrom([]int64{0, 4 << 10, 32 << 10, 128 << 10}).Draw(t, "bytes"),
		})
	}
	for i := range 40 {
		w.topics = append(w.topics, &ownedTopic{key: keyOf(i), owner: i % 4})
	}
	return w
}

func (w *ownersWorld) topic(t *rapid.T) *ownedTopic {
	time.Sleep(time.Microsecond) // no two things at once: which leaves first is certain then
	return rapid.SampledFrom(w.topics).Draw(t, "topic")
}

func (w *ownersWorld) say(t *rapid.T, to *ownedTopic, size int) {
	done, err := w.b.Publish(context.Background(), broker.Record{
		Topic: to.key, Owner: w.owners[to.owner], Keep: usual(), Data: make([]byte, size),
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(to.sent); n > 0 && done.Pos.Epoch != to.sent[n-1].pos.Epoch || done.Pos.Offset <= to.high[done.Pos.Epoch] {
		t.Fatalf("position %v after %v", done.Pos, to.high)
	}
	if to.high == nil {
		to.high = map[string]uint64{}
	}
	to.high[done.Pos.Epoch] = done.Pos.Offset
	to.sent = append(to.sent, sent{done.Pos, time.Since(w.b.shared.start).Nanoseconds()})
}

func (w *ownersWorld) publish(t *rapid.T) {
	w.say(t, w.topic(t), rapid.OneOf(rapid.IntRange(0, 500), rapid.IntRange(0, 40_000)).Draw(t, "size"))
}

// burst writes to topics that nobody writes to again.
func (w *ownersWorld) burst(t *rapid.T) {
	owner := rapid.IntRange(0, 3).Draw(t, "owner")
	for range rapid.IntRange(1, 100).Draw(t, "topics") {
		time.Sleep(time.Microsecond)
		to := &ownedTopic{key: keyOf(len(w.topics)), owner: owner}
		w.topics = append(w.topics, to)
		w.say(t, to, 50)
	}
}

func (w *ownersWorld) latest(t *rapid.T) {
	to := w.topic(t)
	_, err := w.b.Publish(context.Background(), broker.Record{
		Topic: to.key, Class: wire.Latest, Key: fmt.Sprint(rapid.IntRange(0, 80).Draw(t, "key")), Owner: w.owners[to.owner],
		TTL: time.Minute, Data: make([]byte, rapid.IntRange(0, 2000).Draw(t, "size")),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *ownersWorld) text(t *rapid.T) (name string, x *ownedText, to *ownedTopic) {
	to = w.topic(t)
	name = fmt.Sprintf("%v/%d", to.key, rapid.IntRange(0, 2).Draw(t, "text"))
	return name, w.texts[name], to
}

func (w *ownersWorld) append(t *rapid.T) {
	name, x, to := w.text(t)
	if x == nil {
		x = &ownedText{topic: to}
		if rapid.Bool().Draw(t, "after a record") { // which says whose it is, as with runs
			w.say(t, to, 10)
		}
	}
	more := strings.Repeat("t", rapid.IntRange(1, 4000).Draw(t, "size"))
	token := x.seal + uint64(rapid.IntRange(0, 1).Draw(t, "token"))
	half := w.b.shared.history
	if most := w.owners[to.owner].Bytes; most > 0 {
		half = min(half, most)
	}
	n, err := w.b.Append(context.Background(), to.key, broker.NameKey(name), len(x.text), more, token)
	switch {
	case errors.Is(err, broker.ErrFull):
		if open := w.pinned()[to.owner] + int64(len(x.text)+len(more)) + streamBytes; open < half/10 {
			t.Fatalf("%v with %d bytes of open texts at most, of half of %d", err, open, half)
		}
		return
	case err != nil || n != len(x.text)+len(more):
		t.Fatalf("Append at %d = %d, %v", len(x.text), n, err)
	}
	x.text, x.token = x.text+more, token
	w.texts[name] = x
}

func (w *ownersWorld) seal(t *rapid.T) {
	name, x, to := w.text(t)
	if x == nil {
		return
	}
	x.seal = max(x.seal, x.token+uint64(rapid.IntRange(0, 1).Draw(t, "above")))
	if _, err := w.b.Seal(context.Background(), to.key, broker.NameKey(name), x.seal); err != nil {
		t.Fatal(err)
	}
	w.forgetLeft()
}

func (w *ownersWorld) remove(t *rapid.T) {
	name, _, to := w.text(t)
	if err := w.b.Remove(context.Background(), to.key, broker.NameKey(name)); err != nil {
		t.Fatal(err)
	}
	delete(w.texts, name)
}

func (w *ownersWorld) drop(t *rapid.T) {
	to := w.topic(t)
	if err := w.b.Drop(context.Background(), to.key); err != nil {
		t.Fatal(err)
	}
	to.sent, to.dropped = nil, true
	for name, x := range w.texts {
		if x.topic == to {
			delete(w.texts, name)
		}
	}
}

func (w *ownersWorld) follow(t *rapid.T) {
	to := w.topic(t)
	to.followed = !to.followed
	w.b.mark([]broker.Key{to.key}, to.followed)
}

func (w *ownersWorld) sleep(t *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(0, 120).Draw(t, "seconds")) * time.Second)
	for i := range w.b.shared.parts {
		w.b.shared.parts[i].sweep(w.b.shared.now())
	}
}

// forgetLeft forgets texts that have left, which only sealed ones may.
func (w *ownersWorld) forgetLeft() {
	for name, x := range w.texts {
		if _, _, err := w.b.Read(context.Background(), x.topic.key, broker.NameKey(name), 0, math.MaxInt); err != nil && !x.open() {
			delete(w.texts, name)
		}
	}
}

// counted is what an owner has, by looking at it.
type counted struct {
	bytes, open, empties int64
	newest               []int64 // times of the blocks of its records
}

// check compares what is counted with what is there, and that with what may and must be there.
func (w *ownersWorld) check(t *rapid.T) {
	w.forgetLeft()
	real := map[broker.Key]*counted{}
	for i := range w.b.shared.parts {
		w.b.shared.parts[i].count(t, real)
	}
	var total, open, writers int64
	for key, c := range real {
		o := w.b.shared.owners.find(key)
		if o.bytes.Load() != c.bytes || o.open.Load() != c.open || o.empties.Load() != c.empties {
			t.Fatalf("counted %d bytes, %d of open texts, %d empty topics; there are %+v", o.bytes.Load(), o.open.Load(), o.empties.Load(), c)
		}
		if c.open > 0 {
			writers++
		}
		total, open = total+c.bytes, open+c.open
	}
	all := &w.b.shared.owners
	if all.bytes.Load() != total || all.open.Load() != open || all.writers.Load() != writers || len(all.of) != len(real) {
		t.Fatalf("counted %d bytes of %d owners, %d of open texts of %d; there are %d of %d, %d of %d",
			all.bytes.Load(), len(all.of), all.open.Load(), all.writers.Load(), total, len(real), open, writers)
	}
	pinned := w.pinned()
	for i, of := range w.owners {
		if c := real[of.Key]; c != nil && of.Bytes > 0 && c.bytes > of.Bytes+pinned[i] {
			t.Fatalf("owner %d has %d bytes of at most %d, with %d that must be known", i, c.bytes, of.Bytes, pinned[i])
		}
	}
	if most := w.b.shared.history + pinned[0] + pinned[1] + pinned[2] + pinned[3]; total > most {
		t.Fatalf("%d bytes are kept of at most %d", total, most)
	}
	for name, x := range w.texts {
		text, n, err := w.b.Read(context.Background(), x.topic.key, broker.NameKey(name), 0, math.MaxInt)
		if err != nil || text != x.text || n != len(x.text) {
			t.Fatalf("a text of %d, open %v, is read as %d, %v", len(x.text), x.open(), n, err)
		}
	}
	for _, to := range w.topics {
		w.checkLog(t, to, real[w.owners[to.owner].Key])
	}
}

// pinned is what each owner may have too much: topics that are followed or were dropped, and what
// open texts take by the size of their blocks.
func (w *ownersWorld) pinned() (out [4]int64) {
	for _, to := range w.topics {
		if to.followed || to.dropped {
			out[to.owner] += topicBytes
		}
	}
	for _, x := range w.texts {
		if x.open() {
			out[x.topic.owner] += int64(len(x.text)) + streamBytes + 1000
		}
	}
	return out
}

// checkLog looks whether a log has the end of what was written, and all of it that is not older
// than what is left.
func (w *ownersWorld) checkLog(t *rapid.T, to *ownedTopic, c *counted) {
	var entries []broker.Entry
	var at wire.Position
	for done := false; !done; {
		more, head, err := w.b.Since(context.Background(), to.key, at, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, more...)
		if done = len(more) == 0; !done {
			at = more[len(more)-1].Pos
			done = at == head
		}
	}
	left := to.sent[len(to.sent)-min(len(entries), len(to.sent)):]
	if len(left) != len(entries) {
		t.Fatalf("the log has %d entries, and %d were written", len(entries), len(to.sent))
	}
	for i := range left {
		if entries[i].Pos != left[i].pos {
			t.Fatalf("entry %d is at %v, want %v", i, entries[i].Pos, left[i].pos)
		}
	}
	gone := to.sent[:len(to.sent)-len(left)]
	if len(gone) == 0 {
		return
	}
	bounded := w.owners[to.owner].Bytes > 0 || w.b.shared.history < 1<<30
	if !bounded {
		t.Fatalf("%d records have left of an owner without a bound", len(gone))
	}
	last := gone[len(gone)-1]
	if c != nil && len(c.newest) > 0 && slices.Min(c.newest) < last.at {
		t.Fatalf("a record of %d has left, and a block that was last written at %d has not", last.at, slices.Min(c.newest))
	}
	asked := wire.Position{Epoch: last.pos.Epoch, Offset: last.pos.Offset - 1}
	if _, _, err := w.b.Since(context.Background(), to.key, asked, 1); !errors.Is(err, broker.ErrGap) {
		t.Fatalf("Since(%v): %v, want a gap: %v has left", asked, err, last.pos)
	}
}

// count counts what a partition has.
func (p *partition) count(t *rapid.T, real map[broker.Key]*counted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := 0
	for _, slot := range p.owners {
		s := p.shares.at(slot)
		prev := ref(0)
		for r := s.oldest; r != 0; {
			b, _ := p.pool.at(r)
			if b.older != prev {
				t.Fatal("the list of an owner's blocks is broken")
			}
			if prev != 0 {
				if before, _ := p.pool.at(prev); before.newest > b.newest {
					t.Fatal("the list of an owner's blocks is not in order")
				}
			}
			listed++
			prev, r = r, b.newer
		}
		if s.newest != prev {
			t.Fatal("the list of an owner's blocks has no end")
		}
	}
	for key, v := range p.topics {
		if v&1 != 0 {
			continue
		}
		topic := p.records.at(v >> 1)
		of := p.shares.at(topic.share).of.key
		c := real[of]
		if c == nil {
			c = &counted{}
			real[of] = c
		}
		c.bytes += topicBytes
		bare := topic.log.oldest == 0 && topic.latest.oldest == 0 && topic.texts == 0
		if bare != topic.bare || topic.key != key {
			t.Fatalf("topic %v is noted as %v, bare %v", key, topic.key, topic.bare)
		}
		if bare {
			c.empties++
		}
		for _, ch := range []chain{topic.log, topic.latest} {
			for r := ch.oldest; r != 0; {
				b, _ := p.pool.at(r)
				c.bytes += p.pool.cost(r)
				c.newest = append(c.newest, b.newest)
				listed--
				r = b.next
			}
		}
		for i := topic.texts; i != 0; i = p.texts.records.at(i).next {
			x := p.texts.records.at(i)
			kept := streamBytes
			for r := x.text.oldest; r != 0; {
				b, _ := p.pool.at(r)
				kept += p.pool.cost(r)
				r = b.next
			}
			if kept != x.kept {
				t.Fatalf("a text of %d bytes is charged as %d", kept, x.kept)
			}
			c.bytes += kept
			if x.open {
				c.open += kept
			} else {
				listed--
			}
		}
	}
	if listed != 0 {
		t.Fatalf("%d blocks are in lists too many", listed)
	}
}
