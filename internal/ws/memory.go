package ws

import (
	"math/bits"
	"sync"
)

// Memory of messages that come in pieces is used again, in sizes that are powers of two: what a flood of
// long ones would else leave behind is most of what the collector had to do.
const (
	leastKept = 13 // 8 KiB; below, it is not worth it
	mostKept  = 20 // 1 MiB
)

// memory is what an engine keeps for that. The nil *memory keeps nothing.
type memory [mostKept - leastKept + 1]sync.Pool // of *[]byte, without length

// get returns memory for at least n bytes, without length.
func (m *memory) get(n int) []byte {
	size := bits.Len(uint(max(n, 1) - 1))
	if m == nil || size < leastKept || size > mostKept {
		return make([]byte, 0, n)
	}
	if kept, ok := m[size-leastKept].Get().(*[]byte); ok {
		return *kept
	}
	return make([]byte, 0, 1<<size)
}

// put takes memory back that nobody uses any more.
func (m *memory) put(b []byte) {
	size := bits.Len(uint(cap(b))) - 1
	if m == nil || size < leastKept || size > mostKept || cap(b) != 1<<size {
		return
	}
	b = b[:0]
	m[size-leastKept].Put(&b)
}
