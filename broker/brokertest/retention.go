package brokertest

import (
	"errors"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func retentionRules() []rule {
	return []rule{
		{"records beyond the count leave oldest first", keptByCount},
		{"a gap says how many are gone", gapCounts},
		{"records leave with their age", keptByAge},
		{"after expiry prev is 0 and offsets go on", prevAfterExpiry},
		{"the zero retention keeps nothing", keptNot},
		{"the newest record's retention holds", newestRetentionHolds},
		{"a zero field is no bound", zeroFieldIsNoBound},
	}
}

func (e *env) needExactRetention() {
	e.Helper()
	if !e.h.ExactRetention {
		e.Skip("the engine does not bound single topics exactly")
	}
}

// keeping returns a durable record with a retention.
func keeping(topic broker.Key, data string, messages int, age time.Duration) broker.Record {
	r := record(topic, data)
	r.Keep = broker.Retention{Messages: messages, Age: age}
	return r
}

func keptByCount(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	data := numbered(1000)
	for _, s := range data {
		e.publish(e.d, keeping(topic, s, 100, time.Hour))
	}
	e.wantLog(e.d, topic, data[900:]...)
	entries, err := e.d.Before(e.ctx, topic, wire.Position{}, 1000)
	if err != nil || len(entries) != 100 || string(entries[99].Data) != data[900] {
		e.Errorf("Before: %d entries, %v; want the 100 that are kept", len(entries), err)
	}
}

func gapCounts(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	start := e.head(e.d, topic)
	var positions []wire.Position
	for _, s := range numbered(10) {
		positions = append(positions, e.publish(e.d, keeping(topic, s, 4, time.Hour)).Pos)
	}
	check := func(pos wire.Position, lost uint64) {
		e.Helper()
		entries, head, err := e.d.Since(e.ctx, topic, pos, 2)
		if lost == 0 {
			if err != nil {
				e.Errorf("Since(%v): %v, want no gap", pos, err)
			}
			return
		}
		var gap *broker.GapError
		if !errors.Is(err, broker.ErrGap) || !errors.As(err, &gap) {
			e.Fatalf("Since(%v): %v, want a gap", pos, err)
		}
		if gap.Lost != lost && gap.Lost != 0 {
			e.Errorf("Since(%v): %d are gone, want %d or 0 for not known", pos, gap.Lost, lost)
		}
		if !slices.Equal(texts(entries), []string{"00006", "00007"}) || head != positions[9] {
			e.Errorf("Since(%v): %q, %v; want the oldest that are kept, and the head", pos, texts(entries), head)
		}
	}
	check(start, 6)
	check(positions[0], 5)
	check(positions[4], 1)
	check(positions[5], 0) // the last one that is gone: nothing after it is missing
	check(positions[6], 0)
	check(wire.Position{}, 0)
}

// expired waits until nothing of a topic is left.
func (e *env) expired(topic broker.Key) {
	e.Helper()
	e.until("all records have expired", func() bool {
		entries, _, err := e.d.Since(e.ctx, topic, wire.Position{}, 10)
		return err == nil && len(entries) == 0
	})
}

func keptByAge(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	published := time.Now()
	pos := e.publish(e.d, keeping(topic, "one", 100, time.Second)).Pos
	entries, _, err := e.d.Since(e.ctx, topic, wire.Position{}, 10)
	if time.Since(published) < time.Second && (err != nil || len(entries) != 1) {
		e.Errorf("at first the log has %q, %v; want the record", texts(entries), err)
	}
	e.expired(topic)
	if head := e.head(e.d, topic); head != pos {
		e.Errorf("head %v, want %v", head, pos)
	}
	_, _, err = e.d.Since(e.ctx, topic, wire.Position{Epoch: pos.Epoch}, 10)
	e.wantErr("Since the beginning", err, broker.ErrGap)
	if _, _, err = e.d.Since(e.ctx, topic, pos, 10); err != nil {
		e.Errorf("Since the head: %v, want no gap", err)
	}
	if entries, err := e.d.Before(e.ctx, topic, wire.Position{}, 10); len(entries) != 0 || err != nil {
		e.Errorf("Before: %q, %v; want nothing", texts(entries), err)
	}
}

func prevAfterExpiry(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	e.publish(e.d, keeping(topic, "one", 100, time.Second))
	before := e.publish(e.d, keeping(topic, "two", 100, time.Second)).Pos
	e.expired(topic)
	after := e.publish(e.d, keeping(topic, "three", 100, time.Hour)).Pos
	if after.Epoch != before.Epoch || after.Offset <= before.Offset {
		e.Errorf("position %v after %v, want a higher offset of the same epoch", after, before)
	}
	live := l.of(topic, "three")
	if prev := live[len(live)-1].Prev; prev != 0 {
		e.Errorf("prev %d, want 0: none is retained", prev)
	}
	e.say(topic, "four")
	live = l.of(topic, "four")
	if prev := live[len(live)-1].Prev; prev != after.Offset {
		e.Errorf("prev %d, want %d", prev, after.Offset)
	}
}

func keptNot(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	e.say(topic, "kept")
	first := e.publish(e.d, keeping(topic, "one", 0, 0)).Pos
	second := e.publish(e.d, keeping(topic, "two", 0, 0)).Pos
	if first.Offset == 0 || second.Offset <= first.Offset {
		e.Errorf("offsets %d and %d, want them to rise", first.Offset, second.Offset)
	}
	if live := l.of(topic, "two"); len(live) != 3 || live[2].Prev != 0 {
		e.Errorf("received %q, want all three, the last with prev 0", texts(live))
	}
	e.wantLog(e.d, topic)
	if head := e.head(e.d, topic); head != second {
		e.Errorf("head %v, want %v", head, second)
	}
	_, _, err := e.d.Since(e.ctx, topic, first, 10)
	e.wantErr("Since the first", err, broker.ErrGap)
	e.say(topic, "three")
	e.wantLog(e.d, topic, "three")
}

func newestRetentionHolds(e *env) {
	e.needExactRetention()
	topic := e.topic("t")
	e.say(topic, numbered(50)...)
	e.publish(e.d, keeping(topic, "fewer", 3, time.Hour))
	e.wantLog(e.d, topic, "00048", "00049", "fewer")
	e.publish(e.d, keeping(topic, "more", 10, time.Hour))
	e.wantLog(e.d, topic, "00048", "00049", "fewer", "more")
}

func zeroFieldIsNoBound(e *env) {
	byCount, byAge := e.topic("count"), e.topic("age")
	for _, s := range numbered(20) {
		e.publish(e.d, keeping(byCount, s, 1000, 0))
		e.publish(e.d, keeping(byAge, s, 0, time.Hour))
	}
	e.wantLog(e.d, byCount, numbered(20)...)
	e.wantLog(e.d, byAge, numbered(20)...)
}
