package membroker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/broker"
)

func (p *pair) drop(t *rapid.T) {
	topic, m := p.topic(t)
	if err := p.b.Drop(context.Background(), topic); err != nil {
		t.Fatal(err)
	}
	m.head, m.entries, m.latest = 0, nil, nil
	m.ids = map[string]idModel{}
	m.texts = map[broker.Key]*textModel{}
	p.newEpoch(t, topic, m)
}

func (p *pair) loseTail(t *rapid.T) {
	topic, m := p.topic(t)
	n := rapid.IntRange(0, 5).Draw(t, "lost")
	p.b.Faults().LoseTail(topic, n)
	m.head -= min(m.head, uint64(n))
	m.entries = slices.DeleteFunc(m.entries, func(e entryModel) bool { return e.offset > m.head })
	old := m.epoch
	p.newEpoch(t, topic, m)
	for id, of := range m.ids {
		switch {
		case of.done.Pos.Offset > m.head:
			delete(m.ids, id)
		case of.done.Pos.Epoch == old:
			of.done.Pos.Epoch = m.epoch
			m.ids[id] = of
		}
	}
}

// newEpoch takes the epoch that the broker began, which has to be a new one.
func (p *pair) newEpoch(t *rapid.T, topic broker.Key, m *topicModel) {
	m.epochs[m.epoch] = true
	heads, err := p.b.Heads(context.Background(), true, topic)
	if err != nil || heads[0].Offset != m.head || m.epochs[heads[0].Epoch] {
		t.Fatalf("Heads: %v, %v; want offset %d of a new epoch", heads, err, m.head)
	}
	m.epoch = heads[0].Epoch
}

var streamNames = []broker.Key{broker.NameKey("one"), broker.NameKey("two")}

func (p *pair) appendText(t *rapid.T) {
	topic, m := p.topic(t)
	name := rapid.SampledFrom(streamNames).Draw(t, "stream")
	s := m.texts[name]
	var old []rune
	var seal uint64
	if s != nil {
		old, seal = s.text, s.seal
	}
	start := rapid.IntRange(-1, len(old)+1).Draw(t, "start")
	text := []rune(rapid.StringOfN(rapid.RuneFrom([]rune("aaé漢🙂")), 0, 200, -1).Draw(t, "text"))
	if start >= 0 && start < len(old) && rapid.Bool().Draw(t, "overlap is equal") {
		text = append(slices.Clone(old[start:]), text...)
	}
	token := rapid.Uint64Range(0, 3).Draw(t, "token")
	var want error
	length := len(old)
	switch {
	case token < seal:
		want = broker.ErrFenced
	case start > len(old):
		want = broker.ErrHole
	default:
		at := start
		if start < 0 {
			at = len(old)
		}
		overlap := min(len(text), len(old)-at)
		if !slices.Equal(old[at:at+overlap], text[:overlap]) {
			want = broker.ErrConflict
			break
		}
		if s == nil {
			s = &textModel{}
			m.texts[name] = s
		}
		if added := text[overlap:]; len(added) > 0 {
			p.want = append(p.want, fmt.Sprint(topic, name, len(old), string(added)))
			s.text = append(s.text, added...)
		}
		length = len(s.text)
	}
	got, err := p.b.Append(context.Background(), topic, name, start, string(text), token)
	if got != length || !errors.Is(err, want) {
		t.Fatalf("Append(%d, %q) = %d, %v; want %d, %v", start, string(text), got, err, length, want)
	}
}

func (p *pair) sealText(t *rapid.T) {
	topic, m := p.topic(t)
	name := rapid.SampledFrom(streamNames).Draw(t, "stream")
	token := rapid.Uint64Range(0, 3).Draw(t, "token")
	s := m.texts[name]
	if s == nil {
		s = &textModel{}
		m.texts[name] = s
	}
	s.seal = max(s.seal, token)
	if got, err := p.b.Seal(context.Background(), topic, name, token); err != nil || got != len(s.text) {
		t.Fatalf("Seal = %d, %v; want %d", got, err, len(s.text))
	}
}

func (p *pair) removeText(t *rapid.T) {
	topic, m := p.topic(t)
	name := rapid.SampledFrom(streamNames).Draw(t, "stream")
	delete(m.texts, name)
	if err := p.b.Remove(context.Background(), topic, name); err != nil {
		t.Fatal(err)
	}
}

// drawKey returns the key of an item, all in one partition.
func (p *pair) drawKey(t *rapid.T) string {
	return fmt.Sprintf("%v/%d", rapid.SampledFrom(p.topics).Draw(t, "topic"), rapid.IntRange(0, 1).Draw(t, "item"))
}

func (p *pair) drawRevision(t *rapid.T, it itemModel) uint64 {
	return rapid.SampledFrom([]uint64{it.revision, it.revision, broker.Any, 0, it.revision + 1}).Draw(t, "revision")
}

func (p *pair) put(t *rapid.T) {
	key := p.drawKey(t)
	it, ok := p.item(key)
	ifRev := p.drawRevision(t, it)
	ttl := time.Duration(rapid.IntRange(0, 5_000).Draw(t, "ttl")) * time.Millisecond
	value := rapid.String().Draw(t, "value")
	var want error
	if ifRev != broker.Any && ifRev != it.revision || !ok && ifRev != 0 && ifRev != broker.Any {
		want = broker.ErrConflict
	} else {
		p.rev++
		it = itemModel{value: value, revision: p.rev}
		if ttl > 0 {
			it.expires = time.Now().Add((ttl + time.Second - 1).Truncate(time.Second))
		}
		p.items[key] = it
	}
	rev, err := p.b.Put(context.Background(), key, []byte(value), ifRev, ttl)
	if !errors.Is(err, want) || err == nil && rev != it.revision {
		t.Fatalf("Put(%q, if %d) = %d, %v; want %d, %v", key, ifRev, rev, err, it.revision, want)
	}
}

func (p *pair) delete(t *rapid.T) {
	key := p.drawKey(t)
	it, ok := p.item(key)
	ifRev := p.drawRevision(t, it)
	var want error
	switch {
	case ifRev != broker.Any && ifRev != it.revision:
		want = broker.ErrConflict
	case ok:
		p.rev++
		delete(p.items, key)
	}
	if err := p.b.Delete(context.Background(), key, ifRev); !errors.Is(err, want) {
		t.Fatalf("Delete(%q, if %d): %v, want %v", key, ifRev, err, want)
	}
}

func (p *pair) sleep(t *rapid.T) {
	exact := rapid.SampledFrom([]int{1000, 2000, 3000, 10_000}) // of the bounds that are used here
	time.Sleep(time.Duration(rapid.OneOf(exact, rapid.IntRange(1, 6_000)).Draw(t, "ms")) * time.Millisecond)
	if rapid.Bool().Draw(t, "sweep") {
		p.b.shared.of(p.topics[0]).sweep(p.b.shared.now()) // nobody may notice
		for key := range p.items {
			p.item(key)
		}
	}
}

// check compares everything that can be seen.
func (p *pair) check(t *rapid.T) {
	ctx := context.Background()
	if diff := cmp.Diff(p.want, p.live.got); diff != "" {
		t.Fatalf("delivered (-want +got):\n%s", diff)
	}
	p.want, p.live.got = nil, nil
	for _, topic := range p.topics {
		m := p.model[topic]
		m.trim()
		var want []string
		for _, l := range m.latest {
			want = append(want, l.key+l.data)
		}
		entries, err := p.b.Latest(ctx, topic)
		var got []string
		for _, e := range entries {
			got = append(got, e.Key+string(e.Data))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Latest: %q, %v; want %q", got, err, want)
		}
		for _, name := range streamNames {
			p.checkText(t, topic, name, m.texts[name])
		}
		for i := range 2 {
			p.checkItem(t, fmt.Sprintf("%v/%d", topic, i))
		}
	}
}

func (p *pair) checkText(t *rapid.T, topic, name broker.Key, s *textModel) {
	if s == nil {
		if _, _, err := p.b.Read(context.Background(), topic, name, 0, math.MaxInt); !errors.Is(err, broker.ErrNotFound) {
			t.Fatalf("Read: %v, want %v", err, broker.ErrNotFound)
		}
		return
	}
	from := len(s.text) / 2
	got, length, err := p.b.Read(context.Background(), topic, name, from, math.MaxInt)
	if err != nil || length != len(s.text) || got != string(s.text[from:]) {
		t.Fatalf("Read(%d) = %q, %d, %v; want %q, %d", from, got, length, err, string(s.text[from:]), len(s.text))
	}
}

func (p *pair) checkItem(t *rapid.T, key string) {
	want, ok := p.item(key)
	got, err := p.b.Get(context.Background(), key)
	if !ok {
		if !errors.Is(err, broker.ErrNotFound) {
			t.Fatalf("Get(%q): %v, want %v", key, err, broker.ErrNotFound)
		}
		return
	}
	if err != nil || string(got.Value) != want.value || got.Revision != want.revision || !got.Expires.Equal(want.expires) {
		t.Fatalf("Get(%q) = %+v, %v; want %+v", key, got, err, want)
	}
}
