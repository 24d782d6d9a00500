package membroker

import (
	"encoding/binary"
	"math"

	"github.com/netra-systems/switchboard/broker"
)

// forgotten tells topics that were never known from those that were forgotten, and may take
// one for the other in this direction only, and rarely: it is some Bloom filters, each four
// times as large as the one before, of 10 bits for a key. The zero forgotten is empty.
type forgotten struct {
	filters [][]uint64
	room    int // keys that the last one still takes
}

const (
	filterWords  = 128 // of the first filter
	filtersMost  = 5   // the last one has 256 KiB; when it is full more topics are mistaken
	filterProbes = 7
)

// add remembers a key.
func (f *forgotten) add(key broker.Key) {
	if f.room == 0 {
		f.room = math.MaxInt
		if n := len(f.filters); n < filtersMost {
			words := filterWords << (2 * n)
			f.filters = append(f.filters, make([]uint64, words))
			f.room = words * 64 / 10
		}
	}
	f.room--
	bits := f.filters[len(f.filters)-1]
	at, step := probes(key)
	for range filterProbes {
		bits[at/64%uint64(len(bits))] |= 1 << (at % 64)
		at += step
	}
}

// has reports whether a key was added, or is taken for one that was.
func (f *forgotten) has(key broker.Key) bool {
	for _, bits := range f.filters {
		at, step := probes(key)
		n := 0
		for n < filterProbes && bits[at/64%uint64(len(bits))]>>(at%64)&1 != 0 {
			at += step
			n++
		}
		if n == filterProbes {
			return true
		}
	}
	return false
}

// probes returns the first place of a key, which is a hash, and the way to the next. The
// first byte is nearly the same for all keys of a partition.
func probes(key broker.Key) (at, step uint64) {
	return binary.LittleEndian.Uint64(key[1:]), binary.LittleEndian.Uint64(key[8:]) | 1
}
