package ws

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFramesAreThoseOfTheRFC(t *testing.T) {
	// RFC 6455 §5.7, and the borders between the three forms of a length.
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	tests := []struct {
		name string
		got  []byte
		want string // hex
	}{
		{"unmasked text", AppendFrame(nil, OpText, []byte("Hello")), "810548656c6c6f"},
		{"masked text", AppendMasked(nil, OpText, true, key, []byte("Hello")), "818537fa213d7f9f4d5158"},
		{"first fragment", AppendMasked(nil, OpText, false, [4]byte{}, []byte("Hel")), "01830000000048656c"},
		{"last fragment", AppendMasked(nil, OpContinuation, true, [4]byte{}, []byte("lo")), "8082000000006c6f"},
		{"ping", AppendFrame(nil, OpPing, []byte("Hello")), "890548656c6c6f"},
		{"empty pong", AppendFrame(nil, OpPong, nil), "8a00"},
		{"longest short length", AppendHeader(nil, OpText, 125), "817d"},
		{"shortest 16-bit length", AppendHeader(nil, OpText, 126), "817e007e"},
		{"256 bytes of binary", AppendHeader(nil, OpBinary, 256), "827e0100"},
		{"longest 16-bit length", AppendHeader(nil, OpText, 65535), "817effff"},
		{"64 KiB of binary", AppendHeader(nil, OpBinary, 65536), "827f0000000000010000"},
		{"appends", AppendFrame([]byte("ab"), OpText, []byte("c")), "6162810163"},
		{"empty close", AppendClose(nil, 0, "dropped"), "8800"},
		{"a close that had no code", AppendClose(nil, 1005, ""), "8800"},
		{"close", AppendClose(nil, 1000, "bye"), "880503e8627965"},
		{"close without reason", AppendClose(nil, 4003, ""), "88020fa3"},
		{"close with invalid text", AppendClose(nil, 1000, "a\xffb"), "880703e861efbfbd62"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(tt.got); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestMaskingLeavesThePayloadOfTheCallerAlone(t *testing.T) {
	payload := []byte("Hello")
	AppendMasked(nil, OpText, true, [4]byte{1, 2, 3, 4}, payload)
	if string(payload) != "Hello" {
		t.Errorf("got %q, want it unchanged", payload)
	}
}

func TestCloseReasonIsCutAtTheEndOfACharacter(t *testing.T) {
	tests := []struct {
		name   string
		reason string
		want   int // bytes left
	}{
		{"just fits", strings.Repeat("a", 123), 123},
		{"one too many", strings.Repeat("a", 124), 123},
		{"two bytes across", strings.Repeat("a", 122) + "ä", 122},
		{"three bytes across", strings.Repeat("€", 42), 123},
		{"four bytes across", "ab" + strings.Repeat("😀", 40), 122},
		{"grows when it is made valid", strings.Repeat("a\xff", 60), 121},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := AppendClose(nil, 1000, tt.reason)
			got := frame[4:]
			if len(got) != tt.want || !utf8.Valid(got) {
				t.Errorf("got %d bytes (%q), want %d of valid UTF-8", len(got), got, tt.want)
			}
			if int(frame[1]) != len(frame)-2 {
				t.Errorf("got announced length %d, want %d", frame[1], len(frame)-2)
			}
		})
	}
}

func TestMaskInPiecesIsMaskAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
		key := rapid.Uint32().Draw(t, "key")
		cut := rapid.IntRange(0, len(plain)).Draw(t, "cut")

		want := bytes.Clone(plain)
		var k [4]byte
		binary.LittleEndian.PutUint32(k[:], key)
		for i := range want {
			want[i] ^= k[i%4]
		}
		got := bytes.Clone(plain)
		mask(got[cut:], mask(got[:cut], key))
		if !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}

func TestErrorsAndOpcodesReadWell(t *testing.T) {
	tests := []struct {
		got  fmt.Stringer
		want string
	}{
		{OpContinuation, "continuation"}, {OpText, "text"}, {OpBinary, "binary"},
		{OpClose, "close"}, {OpPing, "ping"}, {OpPong, "pong"}, {Opcode(11), "opcode(0xb)"},
	}
	for _, tt := range tests {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	broken := &CloseError{Code: 1002, Reason: "unknown opcode"}
	if got, want := broken.Error(), "websocket protocol violation (1002): unknown opcode"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	left := &CloseError{Code: 1001, Remote: true}
	if got, want := left.Error(), "websocket closed by peer (1001)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCutTakesApartWhatAppendMakes(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte{'x'}, size)
		frame := AppendFrame(nil, OpText, payload)
		for _, cut := range []int{0, 1, 2, 3, len(frame) - 1} {
			if cut >= len(frame) {
				continue
			}
			if _, _, rest, ok := Cut(frame[:cut]); ok || len(rest) != cut {
				t.Errorf("%d of %d bytes: got ok %v and %d left, want nothing taken", cut, len(frame), ok, len(rest))
			}
		}
		op, got, rest, ok := Cut(append(frame, "next"...))
		if !ok || op != OpText || !bytes.Equal(got, payload) || string(rest) != "next" {
			t.Errorf("%d bytes: got %v, %d bytes, rest %q, ok %v", size, op, len(got), rest, ok)
		}
	}
}
