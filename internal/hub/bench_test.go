package hub

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// nullEngine takes everything and remembers nothing, so that what is measured
// is the hub.
type nullEngine struct{ next ws.Socket }

func (e *nullEngine) Attach(net.Conn, []byte) (ws.Socket, error) {
	e.next++
	return e.next, nil
}
func (*nullEngine) Start(ws.Socket, uint64) {}
func (*nullEngine) Write(_ ws.Socket, bufs [][]byte) (n int, blocked bool, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	return n, false, nil
}
func (*nullEngine) Pause(ws.Socket)   {}
func (*nullEngine) Resume(ws.Socket)  {}
func (*nullEngine) Refuse(ws.Socket)  {}
func (*nullEngine) Release(ws.Socket) {}
func (*nullEngine) Close() error      { return nil }

// deaf hears nothing, so that nothing of a run is left for the next.
type deaf struct{}

func (deaf) Message(Handle, []byte) int       { return 0 }
func (deaf) Failed(Handle, *ws.CloseError)    {}
func (deaf) Closed(Handle, End)               {}
func (deaf) Closing(wire.Topic)               {}
func (deaf) Followed(Handle, wire.Topic, Key) {}

func nullRig(b *testing.B) *rig {
	return newRig(b, func(c *Config, _ *fakeEngine) {
		c.Events = deaf{}
		c.Engine = func(ws.Sink) ws.Engine { return new(nullEngine) }
	})
}

// connect opens a connection without the bookkeeping of the test's log.
func (r *rig) connect(u wire.Topic) Handle {
	acquire := func(a wire.Topic) Topic {
		t, live := r.hub.Acquire(keyOf(a), a)
		if !live {
			r.hub.Confirm(t, wire.Position{Epoch: "e1"}, r.hub.Link())
		}
		return t
	}
	h, err := r.hub.Open(Opening{
		Conn: &fakeConn{}, User: acquire(u), All: acquire(wire.Topic{Kind: wire.KindAll}), Session: NewSession(),
		UserFrom: wire.Position{Epoch: "e1"}, AllFrom: wire.Position{Epoch: "e1"}, Info: make([]byte, 48),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	_ = r.hub.Start(h, false)
	return h
}

func (r *rig) ingest(a wire.Topic, key Key, offset uint64, frame []byte) {
	r.hub.Ingest(Entry{Topic: key, Address: a, Pos: wire.Position{Epoch: "e1", Offset: offset}, Prev: offset - 1, Frame: frame})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// gcCPU is the processor time of one collection.
func gcCPU(b *testing.B) float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	read := func() float64 {
		metrics.Read(sample)
		return sample[0].Value.Float64()
	}
	before := read()
	const n = 5
	for range n {
		runtime.GC()
	}
	return (read() - before) / n * 1e3
}

// BenchmarkConnections opens connections, each its own user with its own
// topic, and reports what one costs and what they cost the collector.
func BenchmarkConnections(b *testing.B) {
	for _, n := range []int{20_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				before := heap()
				b.StartTimer()
				r := nullRig(b)
				for i := range n {
					r.connect(user(fmt.Sprintf("user-%07d", i)))
				}
				b.StopTimer()
				b.ReportMetric(float64(heap()-before)/float64(n), "B/conn")
				b.ReportMetric(gcCPU(b), "gc-cpu-ms")
				frame := text("hello")
				for i := range n {
					u := user(fmt.Sprintf("user-%07d", i))
					r.ingest(u, keyOf(u), 1, frame)
				}
				b.ReportMetric(float64(heap()-before)/float64(n), "B/conn-after-message")
				b.ReportMetric(gcCPU(b), "gc-cpu-ms-after-message")
				r.hub.Shutdown()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkIngest is the hub's own share of a delivery, without a socket.
func BenchmarkIngest(b *testing.B) {
	frame := text(string(make([]byte, 256)))
	b.Run("user", func(b *testing.B) {
		r := nullRig(b)
		r.connect(user("a"))
		key, offset := keyOf(user("a")), uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			offset++
			r.ingest(user("a"), key, offset, frame)
		}
	})
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("room of %d", n), func(b *testing.B) {
			r := nullRig(b)
			r.crowd(n)
			key, offset := keyOf(room("r")), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				offset++
				r.ingest(room("r"), key, offset, frame)
				for r.hub.count.sent.Load() < offset*uint64(n) {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
		})
	}
}

// crowd is n users who follow room r.
func (r *rig) crowd(n int) {
	for i := range n {
		r.enter(r.connect(user(fmt.Sprint(i))))
	}
}

// enter makes h follow room r.
func (r *rig) enter(h Handle) {
	t, live := r.hub.Acquire(keyOf(room("r")), room("r"))
	if !live {
		r.hub.Confirm(t, wire.Position{Epoch: "e1"}, r.hub.Link())
	}
	if err := r.hub.Follow(h, t, wire.Position{Epoch: "e1"}); err != nil {
		r.t.Fatal(err)
	}
}

// BenchmarkFollow is one who comes to a room and leaves it.
func BenchmarkFollow(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("room of %d", n), func(b *testing.B) {
			r := nullRig(b)
			r.crowd(n)
			h := r.connect(user("new"))
			b.ReportAllocs()
			for b.Loop() {
				r.enter(h)
				r.hub.Unfollow(h, keyOf(room("r")))
			}
		})
	}
}

// BenchmarkText is the hub's own share of a chunk: tokens of 5 bytes to a room, each at the end
// of its window.
func BenchmarkText(b *testing.B) {
	for _, n := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("watchers %d", n), func(b *testing.B) {
			r := nullRig(b)
			for i := range n {
				h := r.connect(user(fmt.Sprint(i)))
				t, live := r.hub.Acquire(keyOf(room("r")), room("r"))
				if !live {
					r.hub.Confirm(t, wire.Position{Epoch: "e1"}, r.hub.Link())
				}
				if err := r.hub.Follow(h, t, wire.Position{Epoch: "e1"}); err != nil {
					b.Fatal(err)
				}
			}
			key, name := keyOf(room("r")), Key{1}
			r.hub.AddStream(key, Stream{Key: name, ID: "R/answer", Run: "R"}, 0, wire.Position{Epoch: "e1"})
			length, chunks := uint64(0), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				r.hub.Text(key, name, length, "token")
				length += 5
				_, t := r.hub.topicAt(key)
				st := r.hub.streamAt(t, name)
				if st.pending {
					r.hub.ripen(t, st, time.Since(r.hub.start))
					r.hub.deliver(r.hub.index.find(key), t)
				} else {
					t.mu.Unlock()
				}
				chunks++
				for r.hub.count.sent.Load() < chunks*uint64(n) {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/chunk")
		})
	}
}

// How long it takes to see that there is nothing for a connection that follows many rooms, each
// with a board.
func BenchmarkVisitOfOneWhoFollowsManyBoards(b *testing.B) {
	r := newRig(b, nil)
	a := r.open(user("a"))
	for i := range 128 {
		a.join(room(fmt.Sprint(i)))
		r.put(room(fmt.Sprint(i)), "x", 1)
	}
	rec, s := r.hub.conns.at(a.h.slot()), new(scratch)
	r.hub.wakeWith(s, a.h.slot())
	for b.Loop() {
		rec.mu.Lock()
		r.hub.flush(s, rec, a.h.slot())
		rec.mu.Unlock()
	}
}

// BenchmarkSweep is one look at all connections: none needs anything, or all are pinged and answer.
func BenchmarkSweep(b *testing.B) {
	const n = 20_000
	for _, all := range []bool{false, true} {
		b.Run(map[bool]string{false: "quiet", true: "pinged"}[all], func(b *testing.B) {
			r := nullRig(b)
			handles := make([]Handle, n)
			for i := range handles {
				handles[i] = r.connect(user(fmt.Sprint(i)))
			}
			verdict := Verdict{}
			if all {
				verdict.Act = Ping
			}
			s := (*sink)(r.hub)
			b.ReportAllocs()
			for b.Loop() {
				r.hub.Sweep(0, 1, func(Handle, Beat) Verdict { return verdict })
				if !all {
					continue
				}
				for _, c := range handles {
					s.Pong(uint64(c), binary.BigEndian.AppendUint32(nil, r.hub.conns.at(c.slot()).pingAt))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/conn")
		})
	}
}
