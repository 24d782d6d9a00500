package ws

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestMemoryIsKeptInPowersOfTwo(t *testing.T) {
	tests := []struct{ want, size int }{{0, 0}, {4096, 4096}, {4097, 8192}, {8192, 8192}, {8193, 16384}, {60_000, 65_536}, {1 << 20, 1 << 20}, {1<<20 + 1, 1<<20 + 1}}
	m := new(memory)
	for _, tt := range tests {
		if got := m.get(tt.want); len(got) != 0 || cap(got) != tt.size {
			t.Errorf("%d bytes: got %d of %d, want none of %d", tt.want, len(got), cap(got), tt.size)
		}
	}
	m.put(make([]byte, 10_000)) // is of no size that is kept
	m.put(nil)
	if got := cap(m.get(8193)); got != 16384 {
		t.Errorf("got %d bytes, want 16384", got)
	}
	var none *memory
	none.put(none.get(60_000))
}

func TestMemoryOfAMessageInPiecesIsUsedAgain(t *testing.T) {
	limits := Limits{memory: new(memory)}
	frame := masked(OpText, true, strings.Repeat("x", 60_000))
	before := (*byte)(nil)
	for range 100 {
		var d Decoder
		m := inPieces(t, &d, frame, limits)
		if before == &m.Payload[0] {
			return
		}
		before = &m.Payload[0]
		limits.memory.put(m.Payload)
	}
	t.Error("each of 100 messages had memory of its own")
}

func TestMemoryThatIsUsedAgainShowsNothingOfOthers(t *testing.T) {
	limits := Limits{memory: new(memory)}
	var decoding sync.WaitGroup
	for i := range 4 {
		decoding.Go(func() {
			var d Decoder
			for n := range 50 {
				want := bytes.Repeat([]byte{byte('a' + i)}, 9000+1000*n)
				m := inPieces(t, &d, masked(OpText, true, string(want)), limits)
				if !bytes.Equal(m.Payload, want) {
					t.Errorf("got another message than was sent")
				}
				limits.memory.put(m.Payload)
			}
		})
	}
	decoding.Wait()
}

// inPieces decodes a frame of which at first the half arrives.
func inPieces(t *testing.T, d *Decoder, frame []byte, limits Limits) Message {
	t.Helper()
	half := len(frame) / 2
	if m, n, err := d.Feed(bytes.Clone(frame[:half]), limits); m.Op != 0 || n != half || err != nil {
		t.Errorf("the first half: got %v, %d, %v", m.Op, n, err)
	}
	m, _, err := d.Feed(bytes.Clone(frame[half:]), limits)
	if err != nil || !m.lent {
		t.Errorf("the second half: got lent %v, %v, want a message in memory of its own", m.lent, err)
	}
	return m
}
