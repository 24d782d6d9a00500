package membroker

import "math/bits"

// ref names a block of a pool; 0 is none. Blocks are named and not pointed to, so
// that history is nothing but bytes to the garbage collector.
type ref uint32

// block is the head of a piece of memory. What the fields mean is up to who
// allocated it, except used, which is how many bytes hold something.
type block struct {
	prev, next   ref
	older, newer ref // neighbours in the list of an owner, see share
	of           uint32
	used         uint32
	first        uint64
	newest       int64 // nanoseconds since the log began
}

// A ref is a class plus 1, 6 bits, and an index in the class, 26 bits: an arena
// and a block in it, split by arenaBits.
const (
	indexBits = 26
	classes   = 33 // 128, 160, 192, 224, 256, 320, ... 32 KiB: a fifth is wasted at most
	large     = classes
	maxBlock  = 32 << 10
)

// pool hands out blocks of memory from arenas, which are few and large, and
// gives an arena back when its last block is free. What is larger than maxBlock
// gets an arena of its own. The zero pool is ready; whoever owns it locks.
type pool struct {
	classes [classes + 1]class
}

// class is all blocks of one size.
type class struct {
	arenas []arena
	open   []uint32 // arenas that can give a block, or have no memory now
	blocks int      // in all arenas
}

type arena struct {
	mem    []byte
	heads  []block // same number as blocks in mem; next links the free ones
	vacant uint32  // the first free block plus 1
	used   uint32  // blocks that are not free
}

// classSize returns the size of the blocks of a class.
func classSize(c int) int { return (4 + c&3) << (5 + c/4) }

// classOf returns the smallest class for n bytes.
func classOf(n int) int {
	if n > maxBlock {
		return large
	}
	c := max(0, 4*(bits.Len(uint(max(n, 1)-1))-8)) // of the power of two below n
	for classSize(c) < n {
		c++
	}
	return c
}

// arenaBits returns how many bits of an index in class c say the block: an arena
// has at most 512 KiB.
func arenaBits(c int) int {
	switch {
	case c == large:
		return 0
	case c&3 == 0: // a power of two
		return 12 - c/4
	}
	return 11 - c/4
}

// alloc returns an empty block of at least n bytes.
func (p *pool) alloc(n int) ref {
	c := classOf(n)
	cl := &p.classes[c]
	if len(cl.open) == 0 {
		cl.open = append(cl.open, uint32(len(cl.arenas)))
		cl.arenas = append(cl.arenas, arena{})
	}
	ai := cl.open[len(cl.open)-1]
	a := &cl.arenas[ai]
	if a.mem == nil {
		cl.fill(a, c, n)
	}
	i := a.vacant - 1
	a.vacant = uint32(a.heads[i].next)
	a.heads[i] = block{}
	a.used++
	if a.vacant == 0 {
		cl.open = cl.open[:len(cl.open)-1]
	}
	return ref(c+1)<<indexBits | ref(ai)<<arenaBits(c) | ref(i)
}

// fill gives an arena memory: a quarter of what the class has already, so that
// little use costs little.
func (cl *class) fill(a *arena, c, n int) {
	count, size := 1, n
	if c != large {
		count, size = min(1+cl.blocks/4, 1<<arenaBits(c)), classSize(c)
	}
	a.mem = make([]byte, count*size)
	a.heads = make([]block, count)
	for i := range count - 1 {
		a.heads[i].next = ref(i + 2)
	}
	a.vacant = 1
	cl.blocks += count
}

// free takes a block back.
func (p *pool) free(r ref) {
	c, ai, i := split(r)
	cl := &p.classes[c]
	a := &cl.arenas[ai]
	if a.vacant == 0 {
		cl.open = append(cl.open, uint32(ai))
	}
	a.heads[i].next = ref(a.vacant)
	a.vacant = uint32(i) + 1
	a.used--
	if a.used == 0 {
		cl.blocks -= len(a.heads)
		*a = arena{}
	}
}

// at returns the head and the memory of a block. Both are good until it is
// freed; memory that leaves the lock has to be copied.
func (p *pool) at(r ref) (*block, []byte) {
	c, ai, i := split(r)
	a := &p.classes[c].arenas[ai]
	if c == large {
		return &a.heads[0], a.mem
	}
	size := classSize(c)
	return &a.heads[i], a.mem[i*size : (i+1)*size]
}

// cost returns how much memory a block takes.
func (p *pool) cost(r ref) int64 {
	_, mem := p.at(r)
	return int64(len(mem)) + blockBytes
}

// bytes returns how much memory the pool holds, used or not.
func (p *pool) bytes() (n int) {
	for c := range p.classes {
		for i := range p.classes[c].arenas {
			n += len(p.classes[c].arenas[i].mem)
		}
	}
	return n
}

func split(r ref) (class, arena, index int) {
	class = int(r>>indexBits) - 1
	low := arenaBits(class)
	index = int(r & (1<<low - 1))
	arena = int(r & (1<<indexBits - 1) >> low)
	return class, arena, index
}

// chain is a list of blocks, oldest first, in a pool. The zero chain is empty.
type chain struct {
	oldest, newest ref
	blocks         uint32
}

// grow returns the newest block of ch, with at least n bytes free: a new one, of
// which first is said, if there is none or it is full. Blocks grow with the
// chain, so that a short one wastes little and a long one has few.
func (p *pool) grow(ch *chain, n int, first uint64) (*block, []byte) {
	if ch.newest != 0 {
		if b, mem := p.at(ch.newest); len(mem)-int(b.used) >= n {
			return b, mem
		}
	}
	b, mem := p.at(p.add(ch, max(n, min(maxBlock, 128<<min(ch.blocks/4, 8)))))
	b.first = first
	return b, mem
}

// add adds a block of at least n bytes to ch, as its newest.
func (p *pool) add(ch *chain, n int) ref {
	r := p.alloc(n)
	b, _ := p.at(r)
	if b.prev = ch.newest; b.prev == 0 {
		ch.oldest = r
	} else {
		last, _ := p.at(b.prev)
		last.next = r
	}
	ch.newest = r
	ch.blocks++
	return r
}

// drop frees a block of ch.
func (p *pool) drop(ch *chain, r ref) {
	b, _ := p.at(r)
	prev, next := b.prev, b.next
	p.free(r)
	ch.blocks--
	if prev == 0 {
		ch.oldest = next
	} else {
		b, _ = p.at(prev)
		b.next = next
	}
	if next == 0 {
		ch.newest = prev
	} else {
		b, _ = p.at(next)
		b.prev = prev
	}
}

// seek returns the block of ch that has place: the newest one whose first is not
// above it. It begins at the end that is nearer by count.
func (p *pool) seek(ch *chain, place, head uint64) ref {
	if ch.oldest == 0 {
		return 0
	}
	if b, _ := p.at(ch.oldest); place-b.first < head-place {
		r := ch.oldest
		for {
			b, _ := p.at(r)
			if b.next == 0 {
				return r
			}
			if n, _ := p.at(b.next); n.first > place {
				return r
			}
			r = b.next
		}
	}
	r := ch.newest
	for {
		b, _ := p.at(r)
		if b.first <= place || b.prev == 0 {
			return r
		}
		r = b.prev
	}
}
