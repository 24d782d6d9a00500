package ws

import (
	"encoding/binary"
	"math/bits"
)

// mask applies the masking key to b in place; masking twice restores b. The key's
// first byte is its lowest. It returns the key for the bytes that follow b, so that a payload
// can be masked in pieces of any length.
func mask(b []byte, key uint32) uint32 {
	next := bits.RotateLeft32(key, -8*(len(b)&3))
	wide := uint64(key) | uint64(key)<<32
	for len(b) >= 64 {
		p := b[:64:64] // one bounds check for all eight words
		xor64(p[0:8], wide)
		xor64(p[8:16], wide)
		xor64(p[16:24], wide)
		xor64(p[24:32], wide)
		xor64(p[32:40], wide)
		xor64(p[40:48], wide)
		xor64(p[48:56], wide)
		xor64(p[56:64], wide)
		b = b[64:]
	}
	for len(b) >= 8 {
		xor64(b, wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(wide)
		wide >>= 8
	}
	return next
}

func xor64(b []byte, wide uint64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
}
