package brokertest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func ownerRules() []rule {
	return []rule{
		{"what an owner has too much leaves oldest first", ownersOldestLeaves},
		{"nothing of another owner leaves", othersKeepAll},
		{"who reads what has left is told, and epochs stay", leavingIsTold},
		{"a record for which there is no room leaves at once and is delivered", tooLargeLeaves},
		{"the newest record's bound of the owner holds", newestBoundHolds},
		{"latest records count and leave oldest first", latestLeaves},
		{"ever new topics stay within the bound", topicsStayWithinBound},
		{"a topic that is not known any more begins above where it was", forgottenTopics},
		{"an open text does not leave and a sealed one does", openTextStays},
		{"open texts take half of the bound and nothing else is refused", openTextsTakeHalf},
		{"a topic stays with the first owner that is named", firstOwnerStays},
	}
}

// owner is somebody of this case.
func (e *env) owner(name string, bytes int64) broker.Owner {
	return broker.Owner{Key: broker.OwnerKey(e.own + name), Bytes: bytes}
}

// owned returns a durable record of size bytes.
func owned(of broker.Owner, topic broker.Key, data string, size int) broker.Record {
	r := record(topic, data+strings.Repeat(".", size-len(data)))
	r.Owner = of
	return r
}

// latestOf is owned of class Latest.
func latestOf(of broker.Owner, topic broker.Key, key string, size int) broker.Record {
	return broker.Record{Topic: topic, Class: wire.Latest, Key: key, TTL: time.Hour, Owner: of, Data: make([]byte, size)}
}

// kept checks that an owner has no more than its bound, and returns what it has.
func (e *env) kept(of broker.Owner) broker.Kept {
	e.Helper()
	k, err := e.d.Kept(e.ctx, of.Key)
	if err != nil {
		e.Fatalf("Kept: %v", err)
	}
	if of.Bytes > 0 && k.Bytes > of.Bytes {
		e.Fatalf("%d bytes of the owner are kept, want at most %d", k.Bytes, of.Bytes)
	}
	return k
}

// logOf returns the first five bytes of all records that a topic has.
func (e *env) logOf(topic broker.Key) (out []string) {
	e.Helper()
	entries, _ := e.since(e.d, topic, wire.Position{})
	for _, entry := range entries {
		out = append(out, string(entry.Data[:5]))
	}
	return out
}

func ownersOldestLeaves(e *env) {
	e.needExactRetention()
	of := e.owner("", 256<<10)
	var topics []broker.Key
	data := numbered(1000)
	for i, s := range data {
		if i%100 == 0 {
			topics = append(topics, e.topic(fmt.Sprint(i)))
		}
		e.publish(e.d, owned(of, topics[len(topics)-1], s, 1000))
		e.kept(of)
	}
	var left []string
	for _, topic := range topics {
		left = append(left, e.logOf(topic)...)
	}
	if n := len(left); n < 100 || n > 262 || !slices.Equal(left, data[1000-n:]) {
		e.Errorf("%d records of 1,000 bytes are left of 256 KiB, from %q on; want the newest, 100 to 262 of them", n, left[:min(n, 1)])
	}
	if k := e.kept(of); k.Evicted != uint64(1000-len(left)) {
		e.Errorf("%d have left, want %d", k.Evicted, 1000-len(left))
	}
}

func othersKeepAll(e *env) {
	loud, quiet := e.owner("loud", 64<<10), e.owner("quiet", 64<<10)
	mine, nobodys, noisy := e.topic("quiet"), e.topic("nobody"), e.topic("loud")
	e.publish(e.d, owned(quiet, mine, "quiet", 1000))
	e.publish(e.d, latestOf(quiet, mine, "k", 1000))
	e.say(nobodys, "nobody")
	stream := broker.NameKey("text")
	if _, err := e.d.Append(e.ctx, mine, stream, 0, "text", 1); err != nil {
		e.Fatalf("Append: %v", err)
	}
	if _, err := e.d.Seal(e.ctx, mine, stream, 2); err != nil {
		e.Fatalf("Seal: %v", err)
	}
	before := e.kept(quiet)
	for i, s := range numbered(500) {
		e.publish(e.d, owned(loud, noisy, s, 1000))
		e.publish(e.d, latestOf(loud, e.topic(fmt.Sprint("loud", i%10)), s, 1000))
	}
	e.publish(e.d, owned(quiet, mine, "more", 1000))
	if got := e.logOf(mine); !slices.Equal(got, []string{"quiet", "more."}) {
		e.Errorf("the quiet owner has %q, want both records", got)
	}
	if list, err := e.d.Latest(e.ctx, mine); err != nil || len(list) != 1 {
		e.Errorf("the quiet owner has %d latest records, %v; want 1", len(list), err)
	}
	if text, _, err := e.d.Read(e.ctx, mine, stream, 0, math.MaxInt); err != nil || text != "text" {
		e.Errorf("the quiet owner's text is %q, %v", text, err)
	}
	e.wantLog(e.d, nobodys, "nobody")
	if after := e.kept(quiet); after.Evicted != 0 || after.Bytes < before.Bytes {
		e.Errorf("the quiet owner has %+v after %+v, want more and nothing evicted", after, before)
	}
}

func leavingIsTold(e *env) {
	e.needExactRetention()
	of := e.owner("", 64<<10)
	topic, other := e.topic("t"), e.topic("other")
	first := e.publish(e.d, owned(of, topic, "first", 1000)).Pos
	var last wire.Position
	for _, s := range numbered(200) {
		last = e.publish(e.d, owned(of, topic, s, 1000)).Pos
	}
	left := e.logOf(topic)
	entries, head, err := e.d.Since(e.ctx, topic, first, 1)
	var gap *broker.GapError
	if !errors.As(err, &gap) || gap.Lost != 0 && gap.Lost != uint64(200-len(left)) || len(entries) != 1 {
		e.Fatalf("Since(%v): %d entries, %v; want one and a gap of %d or 0", first, len(entries), err, 200-len(left))
	}
	if head != last || head.Epoch != first.Epoch {
		e.Errorf("head %v, want %v", head, last)
	}
	for _, s := range numbered(200) {
		e.publish(e.d, owned(of, other, s, 1000))
	}
	entries, head, err = e.d.Since(e.ctx, topic, first, 10)
	if e.wantErr("Since the first", err, broker.ErrGap); len(entries) != 0 || head.Epoch != last.Epoch {
		e.Errorf("%d entries and head %v; want none, and the epoch of %v", len(entries), head, last)
	}
	if _, _, err = e.d.Since(e.ctx, topic, last, 10); err != nil {
		e.Errorf("Since the last: %v, want no gap: nothing came after it", err)
	}
}

func tooLargeLeaves(e *env) {
	e.needExactRetention()
	of := e.owner("", 64<<10)
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	before := e.publish(e.d, owned(of, topic, "small", 10)).Pos
	large := e.publish(e.d, owned(of, topic, "large", 128<<10)).Pos
	if large.Offset <= before.Offset || large.Epoch != before.Epoch {
		e.Errorf("position %v after %v", large, before)
	}
	e.until("the large record is delivered", func() bool { return len(l.of(topic, "large"+strings.Repeat(".", 128<<10-5))) > 0 })
	e.kept(of)
	_, head, err := e.d.Since(e.ctx, topic, before, 10)
	if e.wantErr("Since before it", err, broker.ErrGap); head != large {
		e.Errorf("head %v, want %v", head, large)
	}
	e.publish(e.d, owned(of, topic, "small", 10))
	if got := e.logOf(topic); !slices.Equal(got, []string{"small"}) {
		e.Errorf("the log has %q, want the one after it", got)
	}
}

func newestBoundHolds(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	for _, s := range numbered(200) {
		e.publish(e.d, owned(e.owner("", 0), topic, s, 1000))
	}
	if n := len(e.logOf(topic)); n != 200 {
		e.Fatalf("%d records without a bound, want all 200", n)
	}
	less := e.owner("", 64<<10)
	e.publish(e.d, owned(less, e.topic("other"), "other", 1000))
	if e.kept(less); len(e.logOf(topic)) > 65 {
		e.Errorf("%d records are left of 64 KiB", len(e.logOf(topic)))
	}
}

func latestLeaves(e *env) {
	e.needExactRetention()
	of := e.owner("", 64<<10)
	topic := e.topic("t")
	for i := range broker.LatestKeys {
		e.publish(e.d, latestOf(of, topic, fmt.Sprint(i), 4000))
		e.kept(of)
	}
	list, err := e.d.Latest(e.ctx, topic)
	if err != nil || len(list) < 8 || len(list) > 16 {
		e.Fatalf("%d latest records of 4,000 bytes are left of 64 KiB, %v; want 8 to 16", len(list), err)
	}
	for i, entry := range list {
		if want := fmt.Sprint(broker.LatestKeys - len(list) + i); entry.Key != want {
			e.Errorf("number %d is of key %s, want %s: the newest are left", i, entry.Key, want)
		}
	}
	for range 100 { // one key again and again takes nobody's room
		e.publish(e.d, latestOf(of, topic, "63", 4000))
	}
	if again, err := e.d.Latest(e.ctx, topic); err != nil || len(again) != len(list) {
		e.Errorf("%d latest records, %v; want %d as before", len(again), err, len(list))
	}
}

func topicsStayWithinBound(e *env) {
	e.needExactRetention()
	of := e.owner("", 128<<10)
	first := e.publish(e.d, owned(of, e.topic("0"), "first", 100)).Pos
	for i := 1; i < 5000; i++ {
		e.publish(e.d, owned(of, e.topic(fmt.Sprint(i)), "other", 100))
		if i%100 == 0 {
			e.kept(of)
		}
	}
	_, _, err := e.d.Since(e.ctx, e.topic("0"), wire.Position{Epoch: first.Epoch, Offset: first.Offset - 1}, 10)
	e.wantErr("Since before the first", err, broker.ErrGap)
	if n := len(e.logOf(e.topic("4999"))); n != 1 {
		e.Errorf("%d records in the newest topic, want 1", n)
	}
}

func forgottenTopics(e *env) {
	e.needExactRetention()
	of := e.owner("", 128<<10)
	topic := e.topic("t")
	var last wire.Position
	for range 10 {
		last = e.publish(e.d, owned(of, topic, "known", 100)).Pos
	}
	for i := range 5000 {
		e.publish(e.d, owned(of, e.topic(fmt.Sprint(i)), "other", 100))
	}
	if _, head, err := e.d.Since(e.ctx, topic, last, 10); err != nil && !errors.Is(err, broker.ErrGap) || head != e.head(e.d, topic) {
		e.Errorf("Since: %v, %v; want the head %v, with or without a gap", head, err, e.head(e.d, topic))
	}
	l := e.listen(e.d, topic)
	next := e.publish(e.d, owned(of, topic, "again", 100)).Pos
	if next.Epoch == last.Epoch && next.Offset <= last.Offset {
		e.Errorf("position %v after %v: an offset is given out again", next, last)
	}
	if live := l.of(topic, "again"+strings.Repeat(".", 95)); live[0].Prev != 0 {
		e.Errorf("prev %d, want 0: none is retained", live[0].Prev)
	}
	entries, head, err := e.d.Since(e.ctx, topic, wire.Position{Epoch: last.Epoch, Offset: last.Offset - 1}, 10)
	if e.wantErr("Since before the last that is gone", err, broker.ErrGap); len(entries) != 1 || head != next {
		e.Errorf("%d entries and head %v; want one, and %v", len(entries), head, next)
	}
}

func openTextStays(e *env) {
	e.needExactRetention()
	of := e.owner("", 64<<10)
	s := e.stream("text")
	e.publish(e.d, owned(of, s.topic, "begin", 100))
	text := strings.Repeat("漢", 5000)
	s.add(0, text, 1, 5000, nil)
	fill := func() {
		e.Helper()
		for _, data := range numbered(200) {
			e.publish(e.d, owned(of, e.topic("other"), data, 1000))
		}
		e.kept(of)
	}
	fill()
	s.want(0, text, 5000)
	s.seal(1, 5000) // by who goes on
	fill()
	s.add(5000, "end", 1, 5003, nil)
	s.want(4999, "漢end", 5003)
	s.seal(2, 5003)
	s.want(4999, "漢end", 5003)
	fill()
	_, _, err := e.d.Read(e.ctx, s.topic, s.stream, 0, math.MaxInt)
	e.wantErr("Read of a text that has left", err, broker.ErrNotFound)
}

func openTextsTakeHalf(e *env) {
	e.needExactRetention()
	of := e.owner("", 64<<10)
	topic := e.topic("t")
	e.publish(e.d, owned(of, topic, "begin", 100))
	piece := strings.Repeat("x", 1000)
	written := 0
	var err error
	for n := 0; err == nil && n < 100_000; n = len(piece) * written {
		_, err = e.d.Append(e.ctx, topic, broker.NameKey(fmt.Sprint(written)), 0, piece, 1)
		if err == nil {
			written++
		}
	}
	if e.wantErr("Append", err, broker.ErrFull); written < 8 || written > 32 {
		e.Fatalf("%d texts of 1,000 bytes are open of 64 KiB, want 8 to 32", written)
	}
	first := textOf{e, topic, broker.NameKey("0")}
	first.add(1000, piece, 1, 1000, broker.ErrFull)
	first.add(0, piece, 1, 1000, nil) // adds nothing
	first.want(0, piece, 1000)
	e.publish(e.d, owned(of, topic, "event", 1000))
	e.publish(e.d, latestOf(of, topic, "k", 1000))
	if got := e.logOf(topic); !slices.Contains(got, "event") {
		e.Errorf("the log has %q, want the newest", got)
	}
	for i := range 4 {
		textOf{e, topic, broker.NameKey(fmt.Sprint(i + 1))}.seal(2, 1000)
	}
	first.add(1000, piece, 1, 2000, nil)
	e.kept(of)
}

func firstOwnerStays(e *env) {
	one, two := e.owner("one", 0), e.owner("two", 64<<10)
	topic := e.topic("t")
	e.say(topic, "nobody's") // names none
	e.publish(e.d, owned(one, topic, "first", 1000))
	before := e.kept(one)
	for _, s := range numbered(100) {
		e.publish(e.d, owned(two, topic, s, 1000))
	}
	if after := e.kept(one); after.Bytes < before.Bytes+100_000 || before.Bytes < 1000 {
		e.Errorf("the first owner has %d bytes after %d, want 100 records more", after.Bytes, before.Bytes)
	}
	if k := e.kept(two); k != (broker.Kept{}) {
		e.Errorf("the second owner has %+v, want nothing", k)
	}
	if entries, _ := e.since(e.d, topic, wire.Position{}); len(entries) != 102 {
		e.Errorf("%d records are left, want all 102: the first owner has no bound", len(entries))
	}
}
