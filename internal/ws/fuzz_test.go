package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecoder(f *testing.F) {
	add := func(frames ...[]byte) { f.Add(slices.Concat(frames...), uint16(3), uint16(9), true) }
	add()
	add(masked(OpText, true, "Hello"), masked(OpPing, true, "p"), masked(OpClose, true, "\x03\xe8bye"))
	add(masked(OpText, false, "\xe2\x82"), masked(OpPong, true, ""), masked(OpContinuation, true, "\xac"))
	add(masked(OpBinary, true, string(make([]byte, 300))))
	add(masked(OpText, true, "\xed\xa0\x80"))
	add(announced(0x81, 1<<63), announced(0x82, 1<<32))
	add(AppendFrame(nil, OpText, []byte("unmasked")))
	add([]byte{0xC1, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte, cut1, cut2 uint16, binary bool) {
		limits := Limits{Message: 512, Binary: binary}
		want := reference(stream, limits)
		cuts := []int{min(int(cut1), len(stream)), min(int(cut2), len(stream))}
		slices.Sort(cuts)
		for _, cuts := range [][]int{nil, cuts} {
			if diff := cmp.Diff(feed(stream, limits, cuts...), want); diff != "" {
				t.Errorf("cut at %v (-got +want):\n%s", cuts, diff)
			}
		}

		// Byte by byte, with an eye on the memory.
		var d Decoder
		for i := range stream {
			_, n, err := d.Feed(bytes.Clone(stream[i:i+1]), limits)
			if err != nil {
				return
			}
			if n != 1 {
				t.Fatalf("got %d bytes taken of 1", n)
			}
			if d.part != nil && cap(d.part.message)+cap(d.part.control) > max(64, 2*(i+1))+256 {
				t.Fatalf("got %d bytes of memory for %d that arrived", cap(d.part.message), i+1)
			}
		}
	})
}

func FuzzClosePayload(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3})
	f.Add([]byte("\x03\xe8going"))
	f.Add([]byte("\x03\xed"))
	f.Add([]byte("\x0f\xa0\xff"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		err := closeError(payload)
		ce, ok := errors.AsType[*CloseError](err)
		if !ok {
			t.Fatalf("got %v, want a CloseError", err)
		}
		if !ce.Remote {
			if ce.Code != codeProtocol && ce.Code != codeInvalid {
				t.Errorf("got %v, want 1002 or 1007", ce)
			}
			return
		}
		if !utf8.ValidString(ce.Reason) {
			t.Errorf("got reason %q, want valid UTF-8", ce.Reason)
		}
		// What a peer may say we can say: the frame comes back as the same error.
		code := ce.Code
		if code == codeNoStatus {
			code = 0
		}
		frame := AppendClose(nil, code, ce.Reason)
		if len(payload) <= maxControl && !bytes.Equal(frame[2:], payload) {
			t.Errorf("got %x, want the payload %x", frame[2:], payload)
		}
	})
}

func FuzzAppendClose(f *testing.F) {
	f.Add(uint16(1000), "bye")
	f.Add(uint16(0), "nothing")
	f.Add(uint16(4001), string(bytes.Repeat([]byte("\xff\xc3\xa4"), 60)))
	f.Fuzz(func(t *testing.T, code uint16, reason string) {
		frame := AppendClose(nil, code, reason)
		if len(frame) < 2 || len(frame) > 2+maxControl || int(frame[1]) != len(frame)-2 {
			t.Fatalf("got frame %x", frame)
		}
		if payload := frame[2:]; len(payload) > 0 {
			if got := binary.BigEndian.Uint16(payload); got != code {
				t.Errorf("got code %d, want %d", got, code)
			}
			if !utf8.Valid(payload[2:]) {
				t.Errorf("got reason %q, want valid UTF-8", payload[2:])
			}
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add(AppendFrame(nil, OpText, []byte("Hello")))
	f.Add(AppendClose(AppendFrame(nil, OpPing, nil), 1000, "bye"))
	f.Add(AppendHeader(nil, OpText, 1<<40))
	f.Add(announced(0x81, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			_, payload, next, ok := Cut(rest)
			if !ok {
				if len(next) != len(rest) {
					t.Fatalf("%d bytes left of %d without a frame", len(next), len(rest))
				}
				return
			}
			if n := len(rest) - len(next) - len(payload); n < 2 || n > 10 {
				t.Fatalf("a header of %d bytes", n)
			}
			rest = next
		}
	})
}
