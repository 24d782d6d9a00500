package membroker

// slab keeps records of one type side by side, so that a million of them are
// some thousand objects to the garbage collector. A record stays where it is
// until it is put back. Slot 0 is none. The zero slab is empty; whoever owns it
// locks.
type slab[T any] struct {
	pages  []*[slabPage]T
	made   uint32   // slots handed out so far, without slot 0
	vacant []uint32 // slots that were put back
}

// slabPage is small, because 64 partitions have at least one page each.
const slabPage = 64

// take returns a slot with a zero record.
func (s *slab[T]) take() uint32 {
	if n := len(s.vacant); n > 0 {
		slot := s.vacant[n-1]
		s.vacant = s.vacant[:n-1]
		return slot
	}
	s.made++
	if int(s.made/slabPage) == len(s.pages) {
		s.pages = append(s.pages, new([slabPage]T))
	}
	return s.made
}

// put takes a slot back.
func (s *slab[T]) put(slot uint32) {
	clear(s.pages[slot/slabPage][slot%slabPage:][:1])
	s.vacant = append(s.vacant, slot)
}

// at returns the record in a slot. The pointer is good until the slot is put back.
func (s *slab[T]) at(slot uint32) *T {
	return &s.pages[slot/slabPage][slot%slabPage]
}
