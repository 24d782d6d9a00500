package membroker

import (
	"bytes"
	"math"
	"testing"

	"github.com/netra-systems/switchboard/broker"
)

func FuzzEntriesOfABlock(f *testing.F) {
	p := &New(Options{}).shared.parts[0]
	t, slot := p.record(broker.Key{}, broker.Key{})
	for i, data := range []string{"", "a", "entry", string(make([]byte, 300))} {
		p.appendEntry(t, slot, int64(i)<<(10*i), []byte(data))
	}
	b, mem := p.pool.at(t.log.oldest)
	f.Add(bytes.Clone(mem[:b.used]))
	f.Add([]byte{})
	f.Add([]byte{0xff})
	f.Add(bytes.Repeat([]byte{0xff}, 30))
	f.Add([]byte{5, 0, 1, 2})
	f.Fuzz(func(t *testing.T, mem []byte) {
		for rest := mem; ; {
			at, data, next, ok := cutEntry(rest)
			if !ok {
				return
			}
			if at < 0 || len(data)+len(next) >= len(rest) || cap(data) != len(data) {
				t.Fatalf("from %d bytes: at %d, %d bytes of data, %d left", len(rest), at, len(data), len(next))
			}
			rest = next
		}
	})
}

// FuzzEntriesComeBack appends entries cut out of data and reads them again.
func FuzzEntriesComeBack(f *testing.F) {
	f.Add([]byte("some data"), uint16(3), int64(1000))
	f.Add(make([]byte, 100_000), uint16(40_000), int64(1)<<40)
	f.Fuzz(func(t *testing.T, data []byte, size uint16, at int64) {
		e := New(Options{}).shared
		p := &e.parts[0]
		top, slot := p.record(broker.Key{}, broker.Key{})
		var want [][]byte
		for rest := data; len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			want = append(want, rest[:n])
			p.appendEntry(top, slot, at&(1<<62-1), rest[:n])
			rest = rest[n:]
		}
		got := p.read(broker.Key{}, top, 1, top.head, math.MaxInt)
		if len(got) != len(want) {
			t.Fatalf("%d entries, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i].Data, want[i]) || got[i].Pos.Offset != uint64(i+1) {
				t.Fatalf("entry %d at %v has %d bytes, want %d", i, got[i].Pos, len(got[i].Data), len(want[i]))
			}
		}
	})
}

func FuzzLatestOfABlock(f *testing.F) {
	encode := func(n newest) []byte {
		return append(append(appendNewest(nil, n, len(n.key), len(n.data)), n.key...), n.data...)
	}
	f.Add(encode(newest{1 << 40, 1, []byte("key"), []byte("data")}))
	f.Add(encode(newest{0, 0, nil, nil}))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Add([]byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, mem []byte) {
		n, ok := cutNewest(mem)
		if !ok {
			return
		}
		if n.expires < 0 || len(n.key)+len(n.data) >= len(mem) {
			t.Fatalf("key and data have %d bytes of %d, expires %d", len(n.key)+len(n.data), len(mem), n.expires)
		}
		again, ok := cutNewest(encode(n))
		if !ok || again.expires != n.expires || !bytes.Equal(again.key, n.key) || !bytes.Equal(again.data, n.data) {
			t.Fatalf("encoded again it is %+v, want %+v", again, n)
		}
	})
}
