package membroker

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// usual is the retention that a manager asks for by default.
func usual() broker.Retention {
	return broker.Retention{Messages: 10_000, Age: 7 * 24 * time.Hour}
}

// keyOf returns the key of a numbered topic, at less cost than a hash.
func keyOf(i int) (k broker.Key) {
	binary.LittleEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(k[8:], uint64(i))
	return k
}

// sink receives and does nothing.
type sink struct{}

func (sink) Record(broker.Entry)                   {}
func (sink) Text(_, _ broker.Key, _ int, _ string) {}

// following returns a broker with a Run that follows topics.
func following(b *testing.B, topics ...broker.Key) *Broker {
	br := New(Options{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx, sink{}) }()
	b.Cleanup(func() {
		cancel()
		<-done
		br.Close()
	})
	if err := br.Follow(ctx, topics...); err != nil {
		b.Fatal(err)
	}
	return br
}

func BenchmarkPublish(b *testing.B) {
	data := make([]byte, 256)
	for _, bb := range []struct {
		name     string
		topics   int
		followed bool
		ids      bool
	}{
		{"one topic", 1, true, false},
		{"one topic, not followed", 1, false, false},
		{"one topic, with id", 1, true, true},
		{"100,000 topics", 100_000, true, false},
		{"100,000 topics, with id", 100_000, true, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			topics := make([]broker.Key, bb.topics)
			for i := range topics {
				topics[i] = keyOf(i)
			}
			br := following(b)
			if bb.followed {
				if err := br.Follow(b.Context(), topics...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			var id [20]byte
			i := 0
			for b.Loop() {
				r := broker.Record{Topic: topics[i%len(topics)], Keep: usual(), Data: data}
				if bb.ids {
					r.DedupeID = string(strconv.AppendInt(id[:0], int64(i), 10))
				}
				if _, err := br.Publish(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkPublishInParallel(b *testing.B) {
	data := make([]byte, 256)
	topics := make([]broker.Key, 1000)
	for i := range topics {
		topics[i] = keyOf(i)
	}
	br := following(b, topics...)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			r := broker.Record{Topic: topics[i%len(topics)], Keep: usual(), Data: data}
			if _, err := br.Publish(b.Context(), r); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSince(b *testing.B) {
	br := New(Options{})
	defer br.Close()
	topic := keyOf(1)
	for range 10_000 {
		if _, err := br.Publish(b.Context(), broker.Record{Topic: topic, Keep: usual(), Data: make([]byte, 256)}); err != nil {
			b.Fatal(err)
		}
	}
	heads, err := br.Heads(b.Context(), true, topic)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{50, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			pos := wire.Position{Epoch: heads[0].Epoch, Offset: heads[0].Offset - uint64(n)}
			for b.Loop() {
				for at := pos; at != heads[0]; {
					entries, _, err := br.Since(b.Context(), topic, at, n)
					if err != nil {
						b.Fatal(err)
					}
					at = entries[len(entries)-1].Pos
				}
			}
		})
	}
}

func BenchmarkAppendText(b *testing.B) {
	br := following(b, keyOf(1))
	b.ReportAllocs()
	length := 0
	for b.Loop() {
		n, err := br.Append(b.Context(), keyOf(1), keyOf(2), length, " token", 1)
		if err != nil {
			b.Fatal(err)
		}
		length = n
	}
}

func BenchmarkLatest(b *testing.B) {
	for _, size := range []int{100, 16 << 10} {
		b.Run(fmt.Sprint("64 keys of ", size), func(b *testing.B) {
			br := following(b, keyOf(1))
			data := make([]byte, size)
			keys := make([]string, broker.LatestKeys)
			for i := range keys {
				keys[i] = fmt.Sprint("cursor of user ", i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := broker.Record{Topic: keyOf(1), Class: wire.Latest, Key: keys[i%len(keys)], TTL: time.Hour, Data: data}
				if _, err := br.Publish(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkPublishAtTheBound publishes where for each record another one has to leave: of one owner
// with a bound, or of all with a bound for all.
func BenchmarkPublishAtTheBound(b *testing.B) {
	data := make([]byte, 256)
	for _, bb := range []struct {
		name           string
		topics, owners int
		most, all      int64
	}{
		{"one owner, 100 topics, 1 MiB", 100, 1, 1 << 20, 0},
		{"one owner, 10,000 topics, 64 MiB", 10_000, 1, 64 << 20, 0},
		{"one owner, ever new topics, 16 MiB", 1 << 30, 1, 16 << 20, 0},
		{"1,000 owners, 10,000 topics, 64 MiB for all", 10_000, 1000, 0, 64 << 20},
	} {
		b.Run(bb.name, func(b *testing.B) {
			br := New(Options{HistoryBytes: bb.all})
			defer br.Close()
			i := 0
			publish := func() {
				owner := broker.Owner{Key: broker.Key{15: 1}, Bytes: bb.most}
				binary.LittleEndian.PutUint64(owner.Key[:], uint64(i%bb.owners))
				r := broker.Record{Topic: keyOf(i % bb.topics), Keep: usual(), Owner: owner, Data: data}
				if _, err := br.Publish(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				i++
			}
			for br.shared.owners.bytes.Load() < max(bb.most, bb.all)/64*62 {
				publish()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				publish()
			}
			if n := br.shared.owners.bytes.Load(); n > max(bb.most, bb.all) {
				b.Errorf("%d bytes are kept", n)
			}
		})
	}
}
