package brokertest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func logRules() []rule {
	return []rule{
		{"a topic without records stands at its first epoch", emptyTopic},
		{"since pages to the head", sinceInPages},
		{"since of large records comes to the head", sinceOfLargeRecords},
		{"since reaches what other nodes acknowledged", sinceIsCurrent},
		{"since of another epoch or above the head is a gap", sinceElsewhere},
		{"before pages to the beginning, newest first", beforeInPages},
		{"before of another epoch is a gap", beforeElsewhere},
		{"prev tells the one before", prevInLog},
		{"heads come in order, more than 1,024", manyHeads},
		{"drop erases a topic and begins an epoch", dropErases},
		{"drop forgets ids, texts and latest records", dropForgets},
		{"drop leaves other topics, items and followers", dropLeaves},
		{"reading makes no topic", readingMakesNothing},
	}
}

func emptyTopic(e *env) {
	topic := e.topic("t")
	head := e.head(e.d, topic)
	if head.Epoch == "" || head.Offset != 0 {
		e.Fatalf("head %v, want offset 0 of an epoch", head)
	}
	if other := e.head(e.node(), topic); other != head {
		e.Errorf("another node says %v, want %v", other, head)
	}
	entries, since, err := e.d.Since(e.ctx, topic, head, 10)
	if len(entries) != 0 || since != head || err != nil {
		e.Errorf("Since: %q, %v, %v; want nothing and the same head", texts(entries), since, err)
	}
	first := e.say(topic, "first")
	if first.Epoch != head.Epoch {
		e.Errorf("the first record is of epoch %q, want %q", first.Epoch, head.Epoch)
	}
	if entries, _ := e.since(e.d, topic, head); !slices.Equal(texts(entries), []string{"first"}) {
		e.Errorf("after %v the log has %q, want the first record", head, texts(entries))
	}
}

func sinceInPages(e *env) {
	topic := e.topic("t")
	data := numbered(257)
	last := e.say(topic, data...)
	for _, limit := range []int{1, 2, 50, 256, 257, 1 << 40} {
		var got []string
		for pos := (wire.Position{}); pos != last; {
			entries, head, err := e.d.Since(e.ctx, topic, pos, limit)
			if err != nil || head != last || len(entries) == 0 || len(entries) > limit {
				e.Fatalf("Since(%v, %d): %d entries, head %v, %v", pos, limit, len(entries), head, err)
			}
			got = append(got, texts(entries)...)
			pos = entries[len(entries)-1].Pos
		}
		if !slices.Equal(got, data) {
			e.Fatalf("pages of %d have %d records, want all %d once", limit, len(got), len(data))
		}
	}
	entries, head, err := e.d.Since(e.ctx, topic, wire.Position{}, 0)
	if len(entries) != 0 || head != last || err != nil {
		e.Errorf("limit 0: %d entries, head %v, %v; want the head only", len(entries), head, err)
	}
	entries, _, err = e.d.Since(e.ctx, topic, last, 10)
	if len(entries) != 0 || err != nil {
		e.Errorf("after the head: %q, %v; want nothing", texts(entries), err)
	}
}

func sinceOfLargeRecords(e *env) {
	topic := e.topic("t")
	want := make([]string, 12)
	for i := range want {
		want[i] = strings.Repeat(fmt.Sprint(i), 600<<10)
	}
	e.say(topic, want...)
	e.wantLog(e.d, topic, want...)
	entries, err := e.d.Before(e.ctx, topic, wire.Position{}, len(want))
	slices.Reverse(entries)
	if err != nil || !slices.Equal(texts(entries), want) {
		e.Errorf("Before has %d entries, %v; want all %d", len(entries), err, len(want))
	}
}

func sinceIsCurrent(e *env) {
	topic := e.topic("t")
	other := e.node()
	for _, data := range numbered(50) {
		pos := e.publish(e.d, record(topic, data)).Pos
		entries, head := e.since(other, topic, wire.Position{})
		if head.Offset < pos.Offset || len(entries) == 0 || string(entries[len(entries)-1].Data) != data {
			e.Fatalf("another node's log ends at %v, want %v", head, pos)
		}
	}
}

func sinceElsewhere(e *env) {
	topic := e.topic("t")
	last := e.say(topic, "one", "two")
	for _, pos := range []wire.Position{
		{Epoch: "other", Offset: 1},
		{Epoch: "other", Offset: 0},
		{Epoch: last.Epoch, Offset: last.Offset + 1},
		{Epoch: last.Epoch, Offset: 1 << 62},
		{Epoch: last.Epoch, Offset: ^uint64(0)},
	} {
		entries, head, err := e.d.Since(e.ctx, topic, pos, 1)
		e.wantErr(fmt.Sprintf("Since(%v)", pos), err, broker.ErrGap)
		var gap *broker.GapError
		if !errors.As(err, &gap) || gap.Lost != 0 {
			e.Errorf("Since(%v): %v, want a GapError that does not know the count", pos, err)
		}
		if !slices.Equal(texts(entries), []string{"one"}) || head != last {
			e.Errorf("Since(%v): %q, %v; want the oldest entry and the head", pos, texts(entries), head)
		}
	}
	_, _, err := e.d.Since(e.ctx, e.topic("empty"), last, 1)
	if head := e.head(e.d, e.topic("empty")); err == nil {
		e.Errorf("Since(%v) of an empty topic at %v: no error, want a gap", last, head)
	}
}

func beforeInPages(e *env) {
	topic := e.topic("t")
	data := numbered(257)
	last := e.say(topic, data...)
	want := slices.Clone(data)
	slices.Reverse(want)
	for _, limit := range []int{1, 50, 256, 257, 1 << 40} {
		var got []string
		for pos := (wire.Position{}); ; {
			entries, err := e.d.Before(e.ctx, topic, pos, limit)
			if err != nil || len(entries) > limit {
				e.Fatalf("Before(%v, %d): %d entries, %v", pos, limit, len(entries), err)
			}
			got = append(got, texts(entries)...)
			if len(entries) < limit {
				break
			}
			pos = entries[len(entries)-1].Pos
		}
		if !slices.Equal(got, want) {
			e.Fatalf("pages of %d have %d records, want all %d once, newest first", limit, len(got), len(want))
		}
	}
	entries, err := e.d.Before(e.ctx, topic, last, 1)
	if err != nil || !slices.Equal(texts(entries), want[1:2]) {
		e.Errorf("before the head: %q, %v; want %q", texts(entries), err, want[1])
	}
	for _, pos := range []wire.Position{{Epoch: last.Epoch}, {Epoch: last.Epoch, Offset: 1}} {
		if entries, err := e.d.Before(e.ctx, topic, pos, 1); len(entries) != 0 || err != nil {
			e.Errorf("Before(%v): %q, %v; want nothing", pos, texts(entries), err)
		}
	}
	if entries, err := e.d.Before(e.ctx, topic, wire.Position{}, 0); len(entries) != 0 || err != nil {
		e.Errorf("limit 0: %q, %v; want nothing", texts(entries), err)
	}
	if entries, err := e.d.Before(e.ctx, e.topic("empty"), wire.Position{}, 5); len(entries) != 0 || err != nil {
		e.Errorf("an empty topic: %q, %v; want nothing", texts(entries), err)
	}
}

func beforeElsewhere(e *env) {
	topic := e.topic("t")
	e.say(topic, "one", "two")
	entries, err := e.d.Before(e.ctx, topic, wire.Position{Epoch: "other", Offset: 1}, 1)
	e.wantErr("Before", err, broker.ErrGap)
	if !slices.Equal(texts(entries), []string{"two"}) {
		e.Errorf("Before: %q, want the newest entry beside the gap", texts(entries))
	}
}

func prevInLog(e *env) {
	topic := e.topic("t")
	e.say(topic, numbered(100)...)
	all, _ := e.since(e.d, topic, wire.Position{})
	page, _ := e.since(e.d, topic, all[9].Pos)
	back, err := e.d.Before(e.ctx, topic, all[90].Pos, 50)
	if err != nil {
		e.Fatalf("Before: %v", err)
	}
	slices.Reverse(back)
	for _, entries := range [][]broker.Entry{all, page, back} {
		for i := range entries[1:] {
			if got, want := entries[i+1].Prev, entries[i].Pos.Offset; got != want {
				e.Fatalf("prev of %v is %d, want %d", entries[i+1].Pos, got, want)
			}
		}
		if first := entries[0]; first.Prev >= first.Pos.Offset {
			e.Errorf("prev of %v is %d, want the one before or 0", first.Pos, first.Prev)
		}
	}
}

func manyHeads(e *env) {
	topics := make([]broker.Key, 1500)
	want := make([]uint64, len(topics))
	for i := range topics {
		topics[i] = e.topic(fmt.Sprint(i))
		if i%3 == 0 {
			want[i] = e.publish(e.d, record(topics[i], "x")).Pos.Offset
		}
	}
	topics, want = append(topics, topics[0], topics[1]), append(want, want[0], want[1])
	heads, err := e.node().Heads(e.ctx, true, topics...)
	if err != nil || len(heads) != len(topics) {
		e.Fatalf("Heads: %d, %v; want %d", len(heads), err, len(topics))
	}
	for i, head := range heads {
		if head.Offset != want[i] || head.Epoch == "" {
			e.Fatalf("head %d is %v, want offset %d", i, head, want[i])
		}
	}
	loose, err := e.d.Heads(e.ctx, false, topics...)
	if err != nil || len(loose) != len(topics) {
		e.Fatalf("Heads, not exact: %d, %v; want %d", len(loose), err, len(topics))
	}
	if none, err := e.d.Heads(e.ctx, true); len(none) != 0 || err != nil {
		e.Errorf("Heads of nothing: %v, %v; want nothing", none, err)
	}
}

// drop drops a topic and returns its head before and after.
func (e *env) drop(topic broker.Key) (before, after wire.Position) {
	e.Helper()
	before = e.head(e.d, topic)
	if err := e.d.Drop(e.ctx, topic); err != nil {
		e.Fatalf("Drop: %v", err)
	}
	after = e.head(e.d, topic)
	if after.Epoch == before.Epoch || after.Offset != 0 {
		e.Fatalf("head %v after %v, want offset 0 of a new epoch", after, before)
	}
	return before, after
}

func dropErases(e *env) {
	topic := e.topic("t")
	e.say(topic, "one", "two")
	before, after := e.drop(topic)
	if other := e.head(e.node(), topic); other != after {
		e.Errorf("another node says %v, want %v", other, after)
	}
	e.wantLog(e.d, topic)
	_, _, err := e.d.Since(e.ctx, topic, before, 10)
	e.wantErr("Since of the old epoch", err, broker.ErrGap)
	if first := e.say(topic, "three"); first.Epoch != after.Epoch {
		e.Errorf("the next record is of epoch %q, want %q", first.Epoch, after.Epoch)
	}
	e.wantLog(e.d, topic, "three")
	seen := map[string]bool{before.Epoch: true, after.Epoch: true}
	for range 3 {
		_, after = e.drop(topic)
		if seen[after.Epoch] {
			e.Errorf("epoch %q comes again", after.Epoch)
		}
		seen[after.Epoch] = true
	}
	e.drop(e.topic("never used"))
}

func dropForgets(e *env) {
	topic, stream := e.topic("t"), broker.NameKey("s")
	e.publish(e.d, withID(topic, "one", "id"))
	e.publish(e.d, latest(topic, "k", "v"))
	if _, err := e.d.Append(e.ctx, topic, stream, 0, "text", 0); err != nil {
		e.Fatalf("Append: %v", err)
	}
	e.drop(topic)
	e.wantLatest(topic)
	_, _, err := e.d.Read(e.ctx, topic, stream, 0, math.MaxInt)
	e.wantErr("Read", err, broker.ErrNotFound)
	if p := e.publish(e.d, withID(topic, "two", "id")); p.Duplicate {
		e.Error("a record is the duplicate of an erased one")
	}
	e.wantLog(e.d, topic, "two")
}

func dropLeaves(e *env) {
	topic, other := e.topic("t"), e.topic("other")
	l := e.listen(e.d, topic)
	e.say(other, "other")
	p := e.publish(e.d, guarded(topic, "one", 0, "v"))
	before := e.head(e.d, other)
	e.drop(topic)
	e.wantLog(e.d, other, "other")
	if head := e.head(e.d, other); head != before {
		e.Errorf("head of another topic %v, want %v", head, before)
	}
	e.wantItem(guardKey(topic, "run"), "v", p.Revision)
	e.say(topic, "two")
	if live := l.of(topic, "two"); live[len(live)-1].Prev != 0 {
		e.Errorf("prev %d, want 0 in a new epoch", live[len(live)-1].Prev)
	}
}

func readingMakesNothing(e *env) {
	topic := e.topic("t")
	e.wantLog(e.d, topic)
	e.wantLatest(topic)
	head := e.head(e.d, topic)
	if _, err := e.d.Before(e.ctx, topic, head, 5); err != nil {
		e.Errorf("Before: %v", err)
	}
	if again := e.head(e.d, topic); again != head {
		e.Errorf("head %v, want %v as before", again, head)
	}
}
