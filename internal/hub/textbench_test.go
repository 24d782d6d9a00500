package hub

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// watchRoom opens connections that follow a room.
func (r *rig) watchRoom(n int) {
	for i := range n {
		h := r.connect(user(fmt.Sprint(i)))
		t, live := r.hub.Acquire(keyOf(room("r")), room("r"))
		if !live {
			r.hub.Confirm(t, wire.Position{Epoch: "e1"}, r.hub.Link())
		}
		if err := r.hub.Follow(h, t, wire.Position{Epoch: "e1"}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// token appends to a stream of the room and lets it be written at once.
func (r *rig) token(name Key, length uint64, text string) {
	key := keyOf(room("r"))
	r.hub.Text(key, name, length, text)
	slot, t := r.hub.topicAt(key)
	st := r.hub.streamAt(t, name)
	if !st.pending {
		t.mu.Unlock()
		return
	}
	r.hub.ripen(t, st, st.flushed)
	r.hub.deliver(slot, t)
}

// BenchmarkStreams appends to one after the other of the live streams of a room with 10
// watchers: what an append costs, until all have it, must not depend on how many there are.
func BenchmarkStreams(b *testing.B) {
	const watchers = 10
	for _, n := range []int{1, 100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := nullRig(b)
			r.watchRoom(watchers)
			names := make([]Key, n)
			for i := range names {
				names[i] = keyOf(room(fmt.Sprint("stream ", i)))
				r.hub.AddStream(keyOf(room("r")), Stream{Key: names[i], ID: fmt.Sprintf("R%d/answer", i), Run: fmt.Sprint("R", i)}, 0, wire.Position{Epoch: "e1"})
			}
			appends := uint64(0)
			lap := func() {
				r.token(names[appends%uint64(n)], appends/uint64(n)*5, "token")
				appends++
				for r.hub.count.sent.Load() < appends*watchers {
					runtime.Gosched()
				}
			}
			for range 2 * n { // every watcher has something of every stream
				lap()
			}
			b.ReportAllocs()
			for b.Loop() {
				lap()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/watchers, "ns/chunk")
		})
	}
}

// BenchmarkLongText appends to a stream that is long already, of which a watcher has all.
func BenchmarkLongText(b *testing.B) {
	for _, length := range []int{1 << 10, 1 << 20, 20 << 20} {
		for what, piece := range map[string]string{"ASCII": "token", "others": "tökén"} {
			b.Run(fmt.Sprintf("%d KiB %s", length>>10, what), func(b *testing.B) {
				r := nullRig(b)
				r.watchRoom(1)
				name, at := Key{1}, uint64(0)
				r.hub.AddStream(keyOf(room("r")), Stream{Key: name, ID: "R/answer", Run: "R"}, 0, wire.Position{Epoch: "e1"})
				sent := r.hub.count.sent.Load()
				lap := func(text string, n int) {
					r.token(name, at, text)
					at += uint64(n)
					for sent++; r.hub.count.sent.Load() < sent; {
						runtime.Gosched()
					}
				}
				for int(at) < length {
					lap(strings.Repeat(piece, 100), 500)
				}
				b.ReportAllocs()
				for b.Loop() {
					lap(piece, 5)
				}
			})
		}
	}
}
