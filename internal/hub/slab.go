package hub

import (
	"sync"
	"sync/atomic"
)

// A chunk holds 256 records: small enough that an idle hub is small, large
// enough that a million records are four thousand allocations.
const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
	chunkMask = chunkSize - 1
)

// slab is a table of records that never move, addressed by number. Record 0
// exists but is never handed out, so that 0 can mean none. A record type
// without pointers makes the whole table invisible to the garbage collector.
//
// at may be called at any time, also beside a growing put; what a record
// holds is guarded by the record.
type slab[T any] struct {
	chunks atomic.Pointer[[]*[chunkSize]T] // replaced when it grows, never changed in place

	mu   sync.Mutex // guards the fields below
	free []uint32   // given back, last one first
	next uint32     // the lowest number never handed out; 0 before the first
}

// get returns an unused number. Its record is as the last owner left it.
func (s *slab[T]) get() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if s.next == 0 {
		s.next = 1
	}
	i := s.next
	s.next++
	s.grow(i)
	return i
}

// grow makes room for number i. The caller holds mu.
func (s *slab[T]) grow(i uint32) {
	var old []*[chunkSize]T
	if p := s.chunks.Load(); p != nil {
		old = *p
	}
	if int(i>>chunkBits) < len(old) {
		return
	}
	grown := make([]*[chunkSize]T, len(old)+1)
	copy(grown, old)
	grown[len(old)] = new([chunkSize]T)
	s.chunks.Store(&grown)
}

// put gives number i back.
func (s *slab[T]) put(i uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, i)
}

// at returns the record with number i, which get has handed out.
func (s *slab[T]) at(i uint32) *T {
	return &(*s.chunks.Load())[i>>chunkBits][i&chunkMask]
}

// limit is above every number handed out so far, for walks over the table.
func (s *slab[T]) limit() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.next, 1)
}

// used is how many records are handed out.
func (s *slab[T]) used() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(max(s.next, 1)) - 1 - len(s.free)
}

// has reports whether number i was ever handed out, so that numbers from
// outside can be looked up.
func (s *slab[T]) has(i uint32) bool {
	p := s.chunks.Load()
	return i != 0 && p != nil && int(i>>chunkBits) < len(*p)
}
