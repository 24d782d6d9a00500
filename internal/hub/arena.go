package hub

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// arena keeps small byte strings (addresses, owners' blobs) in large chunks, so
// that a million of them are no work for the garbage collector. A block is
// named by a number of 32 bits: five say its size class, the rest which one.
//
// A block never changes between put and drop; who may read it is whoever keeps
// it from being dropped, which is the lock of the record that names it.
type arena struct {
	mu      sync.Mutex // guards allocation
	classes [arenaClasses]arenaClass
}

type arenaClass struct {
	chunks atomic.Pointer[[][]byte] // replaced when it grows
	free   []uint32                 // guarded by arena.mu
	next   uint32                   // guarded by arena.mu; 0 before the first
}

// Sizes rise by 16 bytes up to 256, which nearly all blocks are below, and
// double from there.
const (
	arenaStep    = 16
	arenaSteps   = 16
	arenaClasses = arenaSteps + 5
	arenaChunk   = 16 << 10
	arenaLen     = 2                                                          // bytes in front of a block for its length
	arenaMax     = arenaStep*arenaSteps<<(arenaClasses-arenaSteps) - arenaLen // bytes a block can hold

	arenaIndexBits = 27
	arenaIndex     = 1<<arenaIndexBits - 1
)

// classSize is the size of a class's blocks.
func classSize(class int) int {
	if class < arenaSteps {
		return arenaStep * (class + 1)
	}
	return arenaStep * arenaSteps << (class - arenaSteps + 1)
}

// classFor is the smallest class whose blocks hold n bytes with their length.
func classFor(n int) int {
	if n <= arenaStep*arenaSteps {
		return (n - 1) / arenaStep
	}
	return arenaSteps - 1 + bits.Len(uint((n-1)/(arenaStep*arenaSteps)))
}

// put copies b into the arena and returns its name, or 0 for no bytes and for
// more than arenaMax.
func (a *arena) put(b []byte) uint32 {
	if len(b) == 0 || len(b) > arenaMax {
		return 0
	}
	class := classFor(len(b) + arenaLen)
	size := classSize(class)
	a.mu.Lock()
	c := &a.classes[class]
	var i uint32
	if n := len(c.free); n > 0 {
		i = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		c.next = max(c.next, 1)
		i = c.next
		c.next++
		c.grow(i, size)
	}
	block := c.block(i, size)
	a.mu.Unlock()
	binary.LittleEndian.PutUint16(block, uint16(len(b)))
	copy(block[arenaLen:], b)
	return uint32(class)<<arenaIndexBits | i
}

// get returns the bytes named ref. They are the arena's own: copy what is kept.
func (a *arena) get(ref uint32) []byte {
	if ref == 0 {
		return nil
	}
	class := ref >> arenaIndexBits
	block := a.classes[class].block(ref&arenaIndex, classSize(int(class)))
	return block[arenaLen : arenaLen+int(binary.LittleEndian.Uint16(block))]
}

// drop gives a block back.
func (a *arena) drop(ref uint32) {
	if ref == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.classes[ref>>arenaIndexBits]
	c.free = append(c.free, ref&arenaIndex)
}

// grow makes room for block i. The caller holds arena.mu.
func (c *arenaClass) grow(i uint32, size int) {
	var old [][]byte
	if p := c.chunks.Load(); p != nil {
		old = *p
	}
	if int(i)/(arenaChunk/size) < len(old) {
		return
	}
	grown := make([][]byte, len(old)+1)
	copy(grown, old)
	grown[len(old)] = make([]byte, arenaChunk)
	c.chunks.Store(&grown)
}

func (c *arenaClass) block(i uint32, size int) []byte {
	per := uint32(arenaChunk / size)
	at := int(i%per) * size
	return (*c.chunks.Load())[i/per][at : at+size : at+size]
}

// names gives short strings that recur (tenants, epochs) a number each, for
// good: there are few of them. Number 0 is the empty string.
type names struct {
	list atomic.Pointer[[]string] // replaced when it grows

	mu     sync.Mutex        // guards the fields below and the replacing of list
	of     map[string]uint32 // made on first use
	claims int               // names that were heard from clients first
}

// Clients may say what they like, so that few of their names are kept: the others are one.
const (
	maxClaims = 4096
	unheardOf = "unknown"
)

func (n *names) number(s string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.numberLocked(s)
}

// find is number for a name that may have none.
func (n *names) find(s string) (number uint32, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok = n.of[s]
	return number, ok || s == ""
}

// claimed is number for a name that comes from a client.
func (n *names) claimed(s string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.of[s]; !known && s != "" {
		if n.claims >= maxClaims {
			s = unheardOf
		} else {
			n.claims++
		}
	}
	return n.numberLocked(s)
}

func (n *names) numberLocked(s string) uint32 {
	if s == "" {
		return 0
	}
	if i, ok := n.of[s]; ok {
		return i
	}
	if n.of == nil {
		n.of = make(map[string]uint32)
	}
	list := []string{""}
	if p := n.list.Load(); p != nil {
		list = *p
	}
	i := uint32(len(list))
	grown := append(list, s) // perhaps in place: nobody looks behind the length that he has
	n.of[s] = i
	n.list.Store(&grown)
	return i
}

func (n *names) name(i uint32) string {
	if i == 0 {
		return ""
	}
	return (*n.list.Load())[i]
}
