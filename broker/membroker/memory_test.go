package membroker

import (
	"runtime"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// cost is what a broker takes with many topics of three messages.
type cost struct {
	followed  float64 // bytes of a topic that is followed and has no message
	beside    float64 // bytes of a topic beside its data
	objects   float64 // for the garbage collector, per topic
	collected time.Duration
}

const messageBytes, messagesPerTopic = 200, 3

func measure(t testing.TB, topics int) (c cost) {
	t.Helper()
	before, objectsBefore := heapInUse()
	b := New(Options{})
	defer b.Close()
	for i := range topics {
		b.mark([]broker.Key{keyOf(i)}, true)
	}
	followed, _ := heapInUse()
	data := make([]byte, messageBytes)
	for range messagesPerTopic {
		for i := range topics {
			if _, err := b.Publish(t.Context(), broker.Record{Topic: keyOf(i), Keep: usual(), Data: data}); err != nil {
				t.Fatalf("Publish: %v", err)
			}
		}
	}
	full, objects := heapInUse()
	start := time.Now()
	runtime.GC()
	c.collected = time.Since(start)
	n := float64(topics)
	c.followed = (followed - before) / n
	c.beside = (full-before)/n - messagesPerTopic*messageBytes
	c.objects = (objects - objectsBefore) / n
	runtime.KeepAlive(b)
	return c
}

func heapInUse() (bytes, objects float64) {
	runtime.GC()
	runtime.GC() // what pools kept through the first one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.HeapObjects)
}

// TestCollectionsFollowBytes holds what makes a million topics possible: hardly
// an object for each of them.
func TestCollectionsFollowBytes(t *testing.T) {
	c := measure(t, 20_000)
	if c.objects > 0.5 {
		t.Errorf("%.2f objects for each topic with %d messages, want at most 0.5", c.objects, messagesPerTopic)
	}
	if c.followed > 60 {
		t.Errorf("%.0f bytes for a topic that is only followed, want at most 60", c.followed)
	}
	if c.beside > 700 {
		t.Errorf("%.0f bytes for a topic beside its data, want at most 700", c.beside)
	}
}

// BenchmarkMemory reports what 100,000 topics take.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		c := measure(b, 100_000)
		b.ReportMetric(c.followed, "B/followed-topic")
		b.ReportMetric(c.beside, "B-beside-data/topic")
		b.ReportMetric(c.beside/messagesPerTopic, "B-beside-data/message")
		b.ReportMetric(c.objects*100_000, "objects")
		b.ReportMetric(float64(c.collected.Microseconds()), "µs/GC")
	}
}
