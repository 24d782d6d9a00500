package membroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// TestBrokerIsLikeItsModel does random operations on a broker and on a model that
// is plain slices and maps, with time passing, and compares every answer and
// everything that is delivered.
func TestBrokerIsLikeItsModel(t *testing.T) {
	if mutantDedupe {
		t.Skip("the mutant is for brokertest to find")
	}
	synctest.Test(t, func(t *testing.T) {
		for range 3 { // a hundred checks each
			rapid.Check(noDeadline{t}, likeItsModel)
		}
	})
}

// noDeadline hides T.Deadline, which is not for synctest bubbles.
type noDeadline struct{ testing.TB }

func likeItsModel(t *rapid.T) {
	p := newPair(t)
	defer p.close()
	t.Repeat(map[string]func(*rapid.T){
		"publish": p.publish,
		"latest":  p.publishLatest,
		"since":   p.since,
		"before":  p.before,
		"drop":    p.drop,
		"lose":    p.loseTail,
		"append":  p.appendText,
		"seal":    p.sealText,
		"remove":  p.removeText,
		"put":     p.put,
		"delete":  p.delete,
		"sleep":   p.sleep,
		"":        p.check,
	})
}

// pair is a broker and its model.
type pair struct {
	t      *rapid.T
	b      *Broker
	live   *recorder
	stop   func()
	topics []broker.Key
	model  map[broker.Key]*topicModel
	items  map[string]itemModel
	rev    uint64
	want   []string // what has to be delivered
}

type topicModel struct {
	epoch   string
	epochs  map[string]bool
	head    uint64
	entries []entryModel
	keep    broker.Retention
	latest  []latestModel
	ids     map[string]idModel
	texts   map[broker.Key]*textModel
}

type entryModel struct {
	offset uint64
	at     time.Time
	data   string
}

type latestModel struct {
	key, data string
	expires   time.Time
}

type idModel struct {
	done broker.Published
	at   time.Time
}

type textModel struct {
	text []rune
	seal uint64
}

type itemModel struct {
	value    string
	revision uint64
	expires  time.Time
}

const modelWindow = 10 * time.Second

// recorder keeps what it gets as text.
type recorder struct{ got []string }

func (r *recorder) Record(e broker.Entry) { r.got = append(r.got, show(e)) }

func (r *recorder) Text(topic, stream broker.Key, start int, text string) {
	r.got = append(r.got, fmt.Sprint(topic, stream, start, text))
}

func show(e broker.Entry) string {
	return fmt.Sprint(e.Topic, e.Class, e.Key, e.Pos, e.Prev, string(e.Data))
}

func newPair(t *rapid.T) *pair {
	p := &pair{t: t, b: New(Options{Dedupe: modelWindow}), live: &recorder{}, model: map[broker.Key]*topicModel{}, items: map[string]itemModel{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.b.Run(ctx, p.live) }()
	p.stop = func() { cancel(); <-done }
	for i := range 3 {
		topic := broker.Key{0: 7, 1: byte(i)} // in one partition
		p.topics = append(p.topics, topic)
		p.model[topic] = &topicModel{epoch: p.b.shared.base, epochs: map[string]bool{}, ids: map[string]idModel{}, texts: map[broker.Key]*textModel{}}
	}
	if err := p.b.Follow(ctx, p.topics...); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pair) close() {
	p.stop()
	p.b.Close()
}

func (p *pair) topic(t *rapid.T) (broker.Key, *topicModel) {
	topic := rapid.SampledFrom(p.topics).Draw(t, "topic")
	m := p.model[topic]
	m.trim()
	return topic, m
}

// trim removes what retention does not keep.
func (m *topicModel) trim() {
	if m.keep.Messages > 0 && len(m.entries) > m.keep.Messages {
		m.entries = m.entries[len(m.entries)-m.keep.Messages:]
	}
	for m.keep.Age > 0 && len(m.entries) > 0 && time.Since(m.entries[0].at) >= m.keep.Age {
		m.entries = m.entries[1:]
	}
	m.latest = slices.DeleteFunc(m.latest, func(l latestModel) bool { return !time.Now().Before(l.expires) })
}

func (m *topicModel) pos(offset uint64) wire.Position {
	return wire.Position{Epoch: m.epoch, Offset: offset}
}

// entry returns what the log has as its i-th entry.
func (m *topicModel) entry(topic broker.Key, i int) broker.Entry {
	e := broker.Entry{Topic: topic, Pos: m.pos(m.entries[i].offset), Data: []byte(m.entries[i].data)}
	if i > 0 {
		e.Prev = e.Pos.Offset - 1
	}
	return e
}

func (p *pair) item(key string) (itemModel, bool) {
	it, ok := p.items[key]
	if ok && !it.expires.IsZero() && !time.Now().Before(it.expires) {
		p.rev++ // expiry is a write
		delete(p.items, key)
		return itemModel{}, false
	}
	return it, ok
}

var keeps = []broker.Retention{{}, {Messages: 1}, {Messages: 5, Age: 3 * time.Second}, {Messages: 1000, Age: time.Hour}, {Age: time.Second}}

func (p *pair) publish(t *rapid.T) {
	topic, m := p.topic(t)
	r := broker.Record{
		Topic:    topic,
		Keep:     rapid.SampledFrom(keeps).Draw(t, "keep"),
		DedupeID: rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(t, "id"),
		Data:     make([]byte, rapid.OneOf(rapid.IntRange(0, 10), rapid.IntRange(0, 300), rapid.IntRange(0, 70_000)).Draw(t, "size")),
	}
	for i := range r.Data {
		r.Data[i] = byte(int(m.head) + i)
	}
	p.drawGuard(t, &r)
	want, err := p.expect(m, &r)
	if err == nil && !want.Duplicate {
		prev := uint64(0)
		if len(m.entries) > 0 {
			prev = m.head
		}
		m.head++
		want.Pos = m.pos(m.head)
		m.keep = r.Keep
		m.entries = append(m.entries, entryModel{m.head, time.Now(), string(r.Data)})
		if m.keep == (broker.Retention{}) {
			m.entries = nil
		}
		p.want = append(p.want, show(broker.Entry{Topic: topic, Pos: want.Pos, Prev: prev, Data: r.Data}))
	}
	p.done(t, m, &r, want, err)
}

func (p *pair) publishLatest(t *rapid.T) {
	topic, m := p.topic(t)
	r := broker.Record{
		Topic: topic, Class: wire.Latest,
		Key:      fmt.Sprint(rapid.IntRange(0, 80).Draw(t, "key")),
		TTL:      time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ttl")) * time.Millisecond,
		DedupeID: rapid.SampledFrom([]string{"", "", "a", "d"}).Draw(t, "id"),
		Data:     fmt.Append(nil, rapid.IntRange(0, 1000).Draw(t, "data")),
	}
	p.drawGuard(t, &r)
	want, err := p.expect(m, &r)
	if err == nil && !want.Duplicate {
		m.latest = slices.DeleteFunc(m.latest, func(l latestModel) bool { return l.key == r.Key })
		m.latest = append(m.latest, latestModel{r.Key, string(r.Data), time.Now().Add(r.TTL)})
		m.latest = m.latest[max(0, len(m.latest)-broker.LatestKeys):]
		p.want = append(p.want, show(broker.Entry{Topic: topic, Class: wire.Latest, Key: r.Key, Data: r.Data}))
	}
	p.done(t, m, &r, want, err)
}

func (p *pair) drawGuard(t *rapid.T, r *broker.Record) {
	if !rapid.Bool().Draw(t, "guarded") {
		return
	}
	r.Guard.Key = fmt.Sprintf("%v/%d", r.Topic, rapid.IntRange(0, 1).Draw(t, "guard"))
	it, _ := p.item(r.Guard.Key)
	r.Guard.Revision = it.revision + uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "wrong"))
	if rapid.Bool().Draw(t, "put") {
		r.Guard.Put = []byte("by guard")
	}
}

// expect returns what a publish has to return as far as ids and guards tell, and
// puts the guard's item.
func (p *pair) expect(m *topicModel, r *broker.Record) (broker.Published, error) {
	if id, ok := m.ids[r.DedupeID]; ok && time.Since(id.at) < modelWindow {
		done := id.done
		done.Duplicate = true
		if len(m.entries) > 0 {
			p.want = append(p.want, show(m.entry(r.Topic, len(m.entries)-1)))
		}
		return done, nil
	}
	if r.Guard.Key == "" {
		return broker.Published{}, nil
	}
	it, _ := p.item(r.Guard.Key)
	if it.revision != r.Guard.Revision {
		return broker.Published{}, broker.ErrFenced
	}
	if len(r.Guard.Put) > 0 {
		p.rev++
		it = itemModel{value: string(r.Guard.Put), revision: p.rev}
		p.items[r.Guard.Key] = it
	}
	return broker.Published{Revision: it.revision}, nil
}

// done publishes and compares.
func (p *pair) done(t *rapid.T, m *topicModel, r *broker.Record, want broker.Published, wantErr error) {
	got, err := p.b.Publish(context.Background(), *r)
	if got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Publish = %+v, %v; want %+v, %v", got, err, want, wantErr)
	}
	if err == nil && !want.Duplicate && r.DedupeID != "" {
		m.ids[r.DedupeID] = idModel{want, time.Now()}
	}
	m.trim()
}

func (p *pair) since(t *rapid.T) {
	topic, m := p.topic(t)
	pos := p.drawPos(t, m)
	limit := rapid.IntRange(0, 12).Draw(t, "limit")
	first := m.head + 1
	if len(m.entries) > 0 {
		first = m.entries[0].offset
	}
	var gap error
	from := first
	switch {
	case pos == wire.Position{}:
	case pos.Epoch != m.epoch || pos.Offset > m.head:
		gap = &broker.GapError{}
	case pos.Offset+1 < first:
		gap = &broker.GapError{Lost: first - 1 - pos.Offset}
	default:
		from = pos.Offset + 1
	}
	var want []broker.Entry
	for i := range m.entries {
		if m.entries[i].offset >= from && len(want) < limit {
			want = append(want, m.entry(topic, i))
		}
	}
	got, head, err := p.b.Since(context.Background(), topic, pos, limit)
	if head != m.pos(m.head) || errors.Unwrap(err) == nil != (gap == nil) || gap != nil && errors.Unwrap(err).Error() != gap.Error() {
		t.Fatalf("Since(%v): head %v, %v; want %v, %v", pos, head, err, m.pos(m.head), gap)
	}
	if diff := cmp.Diff(shown(want), shown(got)); diff != "" {
		t.Fatalf("Since(%v, %d) (-want +got):\n%s", pos, limit, diff)
	}
}

func (p *pair) before(t *rapid.T) {
	topic, m := p.topic(t)
	pos := p.drawPos(t, m)
	limit := rapid.IntRange(0, 12).Draw(t, "limit")
	gap := pos != wire.Position{} && pos.Epoch != m.epoch
	var want []broker.Entry
	for i := len(m.entries) - 1; i >= 0; i-- {
		if (pos == wire.Position{} || gap || m.entries[i].offset < pos.Offset) && len(want) < limit {
			want = append(want, m.entry(topic, i))
		}
	}
	got, err := p.b.Before(context.Background(), topic, pos, limit)
	if errors.Is(err, broker.ErrGap) != gap || err != nil && !gap {
		t.Fatalf("Before(%v): %v, want a gap: %v", pos, err, gap)
	}
	if diff := cmp.Diff(shown(want), shown(got)); diff != "" {
		t.Fatalf("Before(%v, %d) (-want +got):\n%s", pos, limit, diff)
	}
}

func shown(entries []broker.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, show(e))
	}
	return out
}

func (p *pair) drawPos(t *rapid.T, m *topicModel) wire.Position {
	switch rapid.IntRange(0, 5).Draw(t, "kind of position") {
	case 0:
		return wire.Position{}
	case 1:
		return wire.Position{Epoch: "other", Offset: 1}
	}
	return m.pos(rapid.Uint64Range(0, m.head+2).Draw(t, "offset"))
}
