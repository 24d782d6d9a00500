package brokertest

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func publishRules() []rule {
	return []rule{
		{"what a receiver gets the log has", receivedIsLogged},
		{"offsets rise from above 0 in one epoch", offsetsRise},
		{"nodes that publish at once agree on one order", oneOrder},
		{"data is the caller's again afterwards", dataIsTheCallers},
		{"records are empty or large", dataOfAnySize},
		{"ids that look like wildcards are topics like others", idsAreNotWildcards},
		{"a repeated id returns the first result", repeatedID},
		{"of many with one id one is appended", oneOfMany},
		{"any node may repeat a publish", repeatedElsewhere},
		{"the same id on two topics is two records", sameIDOnTwoTopics},
		{"an id is forgotten after the window", idForgottenAfterWindow},
		{"a duplicate announces the head", duplicateAnnounces},
		{"a volatile record is fanned out only", volatileOnlyFansOut},
		{"what Check refuses is refused", badRecordsAreRefused},
		{"a done context does nothing", doneContext},
	}
}

func receivedIsLogged(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	data := numbered(200)
	e.say(topic, data...)
	live := l.of(topic, data[len(data)-1])
	stored, head := e.since(e.node(), topic, wire.Position{})
	if got := texts(stored); !slices.Equal(got, data) {
		e.Fatalf("the log has %q, want %q", got, data)
	}
	if last := stored[len(stored)-1].Pos; head != last {
		e.Errorf("head %v, want that of the last record, %v", head, last)
	}
	for i, got := range live {
		want := stored[i]
		if got.Pos != want.Pos || string(got.Data) != string(want.Data) || got.Topic != topic || got.Class != wire.Durable || got.Key != "" {
			e.Fatalf("received %+v, the log has %+v", got, want)
		}
		if !got.At.Equal(want.At) || got.At.IsZero() {
			e.Fatalf("record %d: received as of %v, the log says %v", i, got.At, want.At)
		}
		if i > 0 && got.Prev != live[i-1].Pos.Offset {
			e.Fatalf("record %d: prev %d, want %d", i, got.Prev, live[i-1].Pos.Offset)
		}
	}
	if len(live) != len(data) {
		e.Errorf("received %d records, want %d", len(live), len(data))
	}
}

func offsetsRise(e *env) {
	topic := e.topic("t")
	epoch := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	last := wire.Position{}
	for i, data := range numbered(50) {
		pos := e.publish(e.d, record(topic, data)).Pos
		if pos.Offset <= last.Offset {
			e.Fatalf("offset %d after %d", pos.Offset, last.Offset)
		}
		if i > 0 && pos.Epoch != last.Epoch {
			e.Fatalf("epoch %q after %q", pos.Epoch, last.Epoch)
		}
		if !epoch.MatchString(pos.Epoch) {
			e.Fatalf("epoch %q does not match %v", pos.Epoch, epoch)
		}
		last = pos
	}
}

func oneOrder(e *env) {
	topic := e.topic("t")
	nodes := []broker.Driver{e.d, e.node()}
	taps := []*tap{e.listen(nodes[0], topic), e.listen(nodes[1], topic)}
	const publishers, each = 8, 40
	parallel(publishers, func(i int) {
		for _, data := range numbered(each) {
			if _, err := nodes[i%2].Publish(e.ctx, record(topic, data)); err != nil {
				e.Errorf("Publish: %v", err)
			}
		}
	})
	last := e.publish(e.d, record(topic, "last"))
	stored, _ := e.since(e.d, topic, wire.Position{})
	if len(stored) != publishers*each+1 || stored[len(stored)-1].Pos != last.Pos {
		e.Fatalf("the log has %d records, want %d", len(stored), publishers*each+1)
	}
	samePos := func(a, b broker.Entry) bool { return a.Pos == b.Pos && string(a.Data) == string(b.Data) }
	for i, l := range taps {
		if live := l.of(topic, "last"); !slices.EqualFunc(live, stored, samePos) {
			e.Errorf("node %d received another order than the log has", i)
		}
	}
	for i := 1; i < len(stored); i++ {
		if stored[i].At.Before(stored[i-1].At) {
			e.Fatalf("record %d is of %v, the one before of %v", i, stored[i].At, stored[i-1].At)
		}
	}
}

func dataIsTheCallers(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	data := []byte("first")
	r := record(topic, "")
	r.Data = data
	e.publish(e.d, r)
	copy(data, "XXXXX")
	e.say(topic, "second")
	if got := string(l.of(topic, "second")[0].Data); got != "first" {
		e.Errorf("received %q, want what it was when it was published", got)
	}
	e.wantLog(e.d, topic, "first", "second")

	entries, _ := e.since(e.d, topic, wire.Position{})
	e.say(topic, numbered(300)...)
	if got := texts(entries); !slices.Equal(got, []string{"first", "second"}) {
		e.Errorf("entries of Since changed to %q", got)
	}
}

func dataOfAnySize(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	var want []string
	for _, size := range []int{0, 1, 127, 128, 4 << 10, 40 << 10, 64 << 10, 900 << 10, 3} {
		want = append(want, strings.Repeat("x", size))
	}
	want = append(want, "last")
	e.say(topic, want...)
	if got := texts(l.of(topic, "last")); !slices.Equal(got, want) {
		e.Errorf("received %d records with other sizes", len(got))
	}
	e.wantLog(e.d, topic, want...)
}

func idsAreNotWildcards(e *env) {
	ids := []string{
		"*", ">", "a/b", "a", "b", "{x}", "x", "a.b", "a.*", "a.>", "#", "+", "$", "?", "[a]", "%2F", " ", "a b", "\\", "'", "é", "e\u0301",
		"user/a", "a\u200b", strings.Repeat("i", 128),
	}
	var topics []broker.Key
	for _, id := range ids {
		topics = append(topics, e.topic(id))
	}
	l := e.listen(e.d, topics...)
	for i, id := range ids {
		e.say(topics[i], "to "+id)
	}
	for i, id := range ids {
		l.of(topics[i], "to "+id)
		e.wantLog(e.d, topics[i], "to "+id)
	}
}

func repeatedID(e *env) {
	topic := e.topic("t")
	first := e.publish(e.d, withID(topic, "one", "id"))
	if first.Duplicate {
		e.Error("the first publish is a duplicate")
	}
	e.say(topic, "between")
	second := e.publish(e.d, withID(topic, "one again", "id"))
	if !second.Duplicate || second.Pos != first.Pos {
		e.Errorf("the second publish returned %+v, want the duplicate of %v", second, first.Pos)
	}
	if other := e.publish(e.d, withID(topic, "two", "other id")); other.Duplicate {
		e.Error("another id is a duplicate")
	}
	e.publish(e.d, record(topic, "none"))
	if none := e.publish(e.d, record(topic, "none")); none.Duplicate {
		e.Error("a record without an id is a duplicate")
	}
	e.wantLog(e.d, topic, "one", "between", "two", "none", "none")
}

func oneOfMany(e *env) {
	topic := e.topic("t")
	other := e.node()
	var first atomic.Int64
	positions := make([]wire.Position, 64)
	parallel(len(positions), func(i int) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		p, err := d.Publish(e.ctx, withID(topic, "once", "id"))
		if err != nil {
			e.Errorf("Publish: %v", err)
		}
		if !p.Duplicate {
			first.Add(1)
		}
		positions[i] = p.Pos
	})
	if n := first.Load(); n != 1 {
		e.Errorf("%d publishes were the first, want 1", n)
	}
	if p := slices.Compact(positions); len(p) != 1 || p[0].Offset == 0 {
		e.Errorf("positions %v, want one", p)
	}
	e.wantLog(e.d, topic, "once")
}

func repeatedElsewhere(e *env) {
	topic := e.topic("t")
	first := e.publish(e.d, withID(topic, "one", "id"))
	second := e.publish(e.node(), withID(topic, "one", "id"))
	if !second.Duplicate || second.Pos != first.Pos {
		e.Errorf("another node got %+v, want the duplicate of %v", second, first.Pos)
	}
}

func sameIDOnTwoTopics(e *env) {
	a, b := e.topic("a"), e.topic("b")
	e.publish(e.d, withID(a, "to a", "id"))
	if p := e.publish(e.d, withID(b, "to b", "id")); p.Duplicate {
		e.Error("the second topic's record is a duplicate")
	}
	e.wantLog(e.d, a, "to a")
	e.wantLog(e.d, b, "to b")
}

func idForgottenAfterWindow(e *env) {
	if e.h.Dedupe == 0 {
		e.Skip("the window is too long to be waited for")
	}
	topic := e.topic("t")
	first := e.publish(e.d, withID(topic, "one", "id"))
	time.Sleep(e.h.Dedupe / 4)
	if p := e.publish(e.d, withID(topic, "one", "id")); !p.Duplicate {
		e.Error("within the window it is no duplicate")
	}
	e.until("the id is forgotten", func() bool {
		return !e.publish(e.d, withID(topic, "two", "id")).Duplicate
	})
	if head := e.head(e.d, topic); head.Offset <= first.Pos.Offset {
		e.Errorf("head %v, want one after %v", head, first.Pos)
	}
}

func duplicateAnnounces(e *env) {
	topic := e.topic("t")
	other := e.node()
	l := e.listen(other, topic)
	e.publish(e.d, withID(topic, "one", "id"))
	head := e.say(topic, "two")
	l.of(topic, "two")
	heard := func() (n int) {
		for _, entry := range l.entries {
			if entry.Pos == head && string(entry.Data) == "two" {
				n++
			}
		}
		return n
	}
	l.mu.Lock()
	before := heard()
	l.mu.Unlock()
	e.publish(e.d, withID(topic, "one", "id"))
	l.wait("the head again", func() bool { return heard() > before })
}

func volatileOnlyFansOut(e *env) {
	topic := e.topic("t")
	l := e.listen(e.node(), topic)
	e.say(topic, "before")
	head := e.head(e.d, topic)
	for range 2 { // the same id twice: it counts for nothing
		r := broker.Record{Topic: topic, Class: wire.Volatile, DedupeID: "id", Data: []byte("typing")}
		if p := e.publish(e.d, r); p != (broker.Published{}) {
			e.Errorf("Publish returned %+v, want nothing", p)
		}
	}
	r := record(topic, "typing")
	r.DedupeID = "id"
	if p := e.publish(e.d, r); p.Duplicate {
		e.Error("a durable record is the duplicate of a volatile one")
	}
	n := 0
	for _, entry := range l.of(topic, "typing") {
		if entry.Class == wire.Volatile {
			n++
			if entry.Pos != (wire.Position{}) || entry.Prev != 0 {
				e.Errorf("received with the place %v and prev %d, want none", entry.Pos, entry.Prev)
			}
		}
	}
	if n == 0 {
		e.Error("the volatile record was not received")
	}
	stored, _ := e.since(e.d, topic, head)
	if got := texts(stored); !slices.Equal(got, []string{"typing"}) {
		e.Errorf("the log has %q, want the durable one only", got)
	}
}

func badRecordsAreRefused(e *env) {
	topic := e.topic("t")
	for _, bad := range []broker.Record{
		{Class: wire.Volatile + 1},
		{Class: wire.Latest, TTL: time.Minute},
		{Class: wire.Latest, Key: "k"},
		{Class: wire.Latest, Key: "k", TTL: -time.Minute},
		{Key: "k"},
		{TTL: time.Minute},
		{Keep: broker.Retention{Messages: -1}},
		{Keep: broker.Retention{Age: -1}},
		{Guard: broker.Guard{Revision: 1}},
		{Guard: broker.Guard{Put: []byte("v")}},
		{Guard: broker.Guard{Key: "k"}},
		{Guard: broker.Guard{Key: guardKey(e.topic("other"), "k")}},
		{Guard: broker.Guard{Key: strings.ToUpper(topic.String()) + "/k"}},
		{Class: wire.Volatile, Guard: broker.Guard{Key: guardKey(topic, "k")}},
	} {
		bad.Topic = topic
		_, err := e.d.Publish(e.ctx, bad)
		e.wantRefused("Publish", err)
	}
	e.wantLog(e.d, topic)
}

func doneContext(e *env) {
	topic := e.topic("t")
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := e.d.Publish(ctx, record(topic, "never"))
	e.wantErr("Publish", err, context.Canceled)
	_, err = e.d.Append(ctx, topic, broker.NameKey("s"), 0, "never", 0)
	e.wantErr("Append", err, context.Canceled)
	_, err = e.d.Put(ctx, e.key("k"), []byte("never"), 0, 0)
	e.wantErr("Put", err, context.Canceled)
	_, _, err = e.d.Since(ctx, topic, wire.Position{}, 1)
	e.wantErr("Since", err, context.Canceled)
	e.wantErr("Run", e.d.Run(ctx, &tap{}), context.Canceled)
	e.wantErr("Follow", e.d.Follow(ctx, topic), context.Canceled)
	e.wantLog(e.d, topic)
	_, err = e.d.Get(e.ctx, e.key("k"))
	e.wantErr("Get", err, broker.ErrNotFound)
}

func latestRules() []rule {
	return []rule{
		{"it has no offset and replaces the one with its key", latestReplaces},
		{"a topic keeps 64 keys and the oldest leaves", latestKeysAreBounded},
		{"it expires", latestExpires},
		{"it is delivered live, in order with the topic", latestIsDelivered},
		{"its id is published once", latestIDOnce},
	}
}

// latest returns a Latest record.
func latest(topic broker.Key, key, data string) broker.Record {
	return broker.Record{Topic: topic, Class: wire.Latest, Key: key, TTL: time.Hour, Data: []byte(data)}
}

// wantLatest checks the Latest records of a topic.
func (e *env) wantLatest(topic broker.Key, want ...string) {
	e.Helper()
	entries, err := e.d.Latest(e.ctx, topic)
	if err != nil {
		e.Fatalf("Latest: %v", err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Key+"="+string(entry.Data))
		if entry.Topic != topic || entry.Class != wire.Latest || entry.Pos != (wire.Position{}) || entry.Prev != 0 {
			e.Errorf("%q is %v of class %v at %v", entry.Data, entry.Topic, entry.Class, entry.Pos)
		}
	}
	if !slices.Equal(got, want) {
		e.Fatalf("Latest has %q, want %q", got, want)
	}
}

func latestReplaces(e *env) {
	topic := e.topic("t")
	e.wantLatest(topic)
	before := e.say(topic, "durable")
	for _, kv := range [][2]string{{"a", "1"}, {"b", "1"}, {"a", "2"}, {"c d/*", ""}} {
		if p := e.publish(e.d, latest(topic, kv[0], kv[1])); p != (broker.Published{}) {
			e.Errorf("Publish returned %+v, want nothing", p)
		}
	}
	e.wantLatest(topic, "b=1", "a=2", "c d/*=")
	e.publish(e.d, latest(e.topic("other"), "a", "other"))
	e.wantLatest(topic, "b=1", "a=2", "c d/*=")
	if head := e.head(e.d, topic); head != before {
		e.Errorf("head %v, want %v as before", head, before)
	}
	e.wantLog(e.d, topic, "durable")
}

func latestKeysAreBounded(e *env) {
	topic := e.topic("t")
	var want []string
	for _, key := range numbered(broker.LatestKeys + 6) {
		e.publish(e.d, latest(topic, key, string(bytes.Repeat([]byte(key), 100))))
		want = append(want, key+"="+strings.Repeat(key, 100))
	}
	want = want[6:]
	e.wantLatest(topic, want...)
	// What is published again is the newest, so the second one leaves next.
	first, _, _ := strings.Cut(want[0], "=")
	e.publish(e.d, latest(topic, first, "again"))
	e.publish(e.d, latest(topic, "new", "1"))
	e.wantLatest(topic, append(want[2:], first+"=again", "new=1")...)
}

func latestExpires(e *env) {
	topic := e.topic("t")
	r := latest(topic, "short", "1")
	r.TTL = time.Second
	published := time.Now()
	e.publish(e.d, r)
	e.publish(e.d, latest(topic, "long", "1"))
	entries, err := e.d.Latest(e.ctx, topic)
	if err != nil || len(entries) != 2 && time.Since(published) < r.TTL {
		e.Errorf("Latest has %q, %v; want both at first", texts(entries), err)
	}
	e.until("the short one has expired", func() bool {
		entries, err := e.d.Latest(e.ctx, topic)
		return err == nil && len(entries) == 1
	})
	e.wantLatest(topic, "long=1")
}

func latestIsDelivered(e *env) {
	topic := e.topic("t")
	l := e.listen(e.node(), topic)
	e.say(topic, "1")
	e.publish(e.d, latest(topic, "k", "2"))
	e.say(topic, "3")
	live := l.of(topic, "3")
	if got := texts(live); !slices.Equal(got, []string{"1", "2", "3"}) {
		e.Fatalf("received %q, want 1, 2, 3", got)
	}
	if m := live[1]; m.Class != wire.Latest || m.Key != "k" || m.Pos != (wire.Position{}) || m.Prev != 0 {
		e.Errorf("received %+v, want a latest record without a place", m)
	}
	if prev := live[2].Prev; prev != live[0].Pos.Offset {
		e.Errorf("prev %d, want %d: a latest record has no place", prev, live[0].Pos.Offset)
	}
}

func latestIDOnce(e *env) {
	topic := e.topic("t")
	r := latest(topic, "k", "1")
	r.DedupeID = "id"
	e.publish(e.d, r)
	e.publish(e.d, latest(topic, "k", "2"))
	if p := e.publish(e.d, r); !p.Duplicate {
		e.Error("the second publish is no duplicate")
	}
	e.wantLatest(topic, "k=2")
}
