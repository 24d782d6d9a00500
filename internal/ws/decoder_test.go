package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// masked builds a frame of a client.
func masked(op Opcode, fin bool, payload string) []byte {
	return AppendMasked(nil, op, fin, [4]byte{0xA1, 0xB2, 0xC3, 0xD4}, []byte(payload))
}

// announced builds the header of a masked frame and nothing behind it.
func announced(first byte, length uint64) []byte {
	b := []byte{first, 0xFF}
	b = binary.BigEndian.AppendUint64(b, length)
	return append(b, 1, 2, 3, 4)
}

func text(s string) heardMessage { return heardMessage{OpText, s} }

func TestDecoderFollowsTheRFC(t *testing.T) {
	type messages = []heardMessage
	limits := Limits{Message: 1000, Binary: true}
	large := strings.Repeat("x", 1000)
	tests := []struct {
		name   string
		stream [][]byte
		want   heard
	}{
		{"nothing", nil, heard{Idle: true}},
		{"text", [][]byte{masked(OpText, true, "Hello")}, heard{Messages: messages{text("Hello")}, Idle: true}},
		{"empty text", [][]byte{masked(OpText, true, "")}, heard{Messages: messages{text("")}, Idle: true}},
		{"binary", [][]byte{masked(OpBinary, true, "\xff\x00")}, heard{Messages: messages{{OpBinary, "\xff\x00"}}, Idle: true}},
		{"ping with payload", [][]byte{masked(OpPing, true, "p")}, heard{Messages: messages{{OpPing, "p"}}, Idle: true}},
		{"empty pong", [][]byte{masked(OpPong, true, "")}, heard{Messages: messages{{OpPong, ""}}, Idle: true}},
		{"longest control frame", [][]byte{masked(OpPing, true, large[:125])}, heard{Messages: messages{{OpPing, large[:125]}}, Idle: true}},
		{"16-bit length", [][]byte{masked(OpText, true, large[:126])}, heard{Messages: messages{text(large[:126])}, Idle: true}},
		{"two messages", [][]byte{masked(OpText, true, "a"), masked(OpText, true, "b")}, heard{Messages: messages{text("a"), text("b")}, Idle: true}},
		{"fragments", [][]byte{masked(OpText, false, "Hel"), masked(OpContinuation, false, ""), masked(OpContinuation, true, "lo")},
			heard{Messages: messages{text("Hello")}, Idle: true}},
		{"empty fragments", [][]byte{masked(OpText, false, ""), masked(OpContinuation, true, "")}, heard{Messages: messages{text("")}, Idle: true}},
		{"ping between fragments", [][]byte{masked(OpText, false, "a"), masked(OpPing, true, "p"), masked(OpContinuation, true, "b")},
			heard{Messages: messages{{OpPing, "p"}, text("ab")}, Idle: true}},
		{"pings between fragments", [][]byte{masked(OpText, false, "a"), masked(OpPing, true, "p"), masked(OpPing, true, "q"), masked(OpContinuation, true, "b")},
			heard{Messages: messages{{OpPing, "p"}, {OpPing, "q"}, text("ab")}, Idle: true}},
		{"character across fragments", [][]byte{masked(OpText, false, "\xe2\x82"), masked(OpContinuation, true, "\xac")}, heard{Messages: messages{text("€")}, Idle: true}},
		{"message as long as allowed", [][]byte{masked(OpText, true, large)}, heard{Messages: messages{text(large)}, Idle: true}},
		{"fragments as long as allowed", [][]byte{masked(OpText, false, large[:999]), masked(OpContinuation, true, "x")},
			heard{Messages: messages{text(large)}, Idle: true}},
		{"unfinished fragments", [][]byte{masked(OpText, false, "a")}, heard{}},
		{"unfinished frame", [][]byte{masked(OpText, true, "abc")[:8]}, heard{}},
		{"half a header", [][]byte{{0x81}}, heard{}},

		{"reserved bit 1", [][]byte{{0xC1, 0x80, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"reserved bit 2", [][]byte{{0xA1, 0x80, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"reserved bit 3", [][]byte{{0x91, 0x80, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"unknown data opcode", [][]byte{{0x83, 0x80, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"unknown control opcode", [][]byte{{0x8B, 0x80, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"unmasked", [][]byte{AppendFrame(nil, OpText, []byte("Hello"))}, heard{Code: 1002}},
		{"after a good message", [][]byte{masked(OpText, true, "a"), {0xFF, 0xFF}}, heard{Messages: messages{text("a")}, Code: 1002}},
		{"fragmented ping", [][]byte{masked(OpPing, false, "")}, heard{Code: 1002}},
		{"ping too long", [][]byte{masked(OpPing, true, large[:126])}, heard{Code: 1002}},
		{"continuation of nothing", [][]byte{masked(OpContinuation, true, "a")}, heard{Code: 1002}},
		{"continuation of a finished message", [][]byte{masked(OpText, true, "a"), masked(OpContinuation, true, "a")}, heard{Messages: messages{text("a")}, Code: 1002}},
		{"message within a message", [][]byte{masked(OpText, false, "a"), masked(OpText, true, "b")}, heard{Code: 1002}},
		{"16-bit length not minimal", [][]byte{{0x81, 0xFE, 0, 125, 0, 0, 0, 0}}, heard{Code: 1002}},
		{"64-bit length not minimal", [][]byte{announced(0x81, 65535)}, heard{Code: 1002}},
		{"length of 64 bits", [][]byte{announced(0x81, 1<<63)}, heard{Code: 1002}},
		{"length of 63 bits", [][]byte{announced(0x81, 1<<63-1)}, heard{Code: 1009}},
		{"length of 32 bits", [][]byte{announced(0x81, 1<<32)}, heard{Code: 1009}},
		{"too long", [][]byte{{0x81, 0xFE, 0x03, 0xE9, 0, 0, 0, 0}}, heard{Code: 1009}},
		{"too long by fragments", [][]byte{masked(OpText, false, large), masked(OpContinuation, false, "x")}, heard{Code: 1009}},
		{"too long before the key has come", [][]byte{announced(0x81, 1<<20)[:10]}, heard{Code: 1009}},

		{"invalid text", [][]byte{masked(OpText, true, "\xff")}, heard{Code: 1007}},
		{"text that ends within a character", [][]byte{masked(OpText, true, "\xe2\x82")}, heard{Code: 1007}},
		{"surrogate", [][]byte{masked(OpText, true, "\xed\xa0\x80")}, heard{Code: 1007}},
		{"overlong form", [][]byte{masked(OpText, true, "\xc0\xaf")}, heard{Code: 1007}},
		{"beyond U+10FFFF", [][]byte{masked(OpText, true, "\xf4\x90\x80\x80")}, heard{Code: 1007}},
		{"invalid in the second fragment", [][]byte{masked(OpText, false, "\xe2"), masked(OpContinuation, false, "a")}, heard{Code: 1007}},
		{"fragments that end within a character", [][]byte{masked(OpText, false, "\xe2"), masked(OpContinuation, true, "")}, heard{Code: 1007}},

		{"close without code", [][]byte{masked(OpClose, true, "")}, heard{Code: 1005, Remote: true}},
		{"close", [][]byte{masked(OpClose, true, "\x03\xe8bye")}, heard{Code: 1000, Remote: true}},
		{"close between fragments", [][]byte{masked(OpText, false, "a"), masked(OpClose, true, "\x03\xe9")}, heard{Code: 1001, Remote: true}},
		{"nothing after a close", [][]byte{masked(OpClose, true, "\x03\xe8"), masked(OpText, true, "a")}, heard{Code: 1000, Remote: true}},
		{"close with half a code", [][]byte{masked(OpClose, true, "\x03")}, heard{Code: 1002}},
		{"close with an invalid reason", [][]byte{masked(OpClose, true, "\x03\xe8\xff")}, heard{Code: 1007}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stream := slices.Concat(tt.stream...)
			if diff := cmp.Diff(feed(stream, limits), tt.want); diff != "" {
				t.Errorf("at once (-got +want):\n%s", diff)
			}
			bytewise := make([]int, len(stream))
			for i := range bytewise {
				bytewise[i] = i
			}
			if diff := cmp.Diff(feed(stream, limits, bytewise...), tt.want); diff != "" {
				t.Errorf("byte by byte (-got +want):\n%s", diff)
			}
		})
	}
}

func TestBinaryIsRefusedUnlessAllowed(t *testing.T) {
	got := feed(masked(OpBinary, true, "x"), Limits{})
	if got.Code != 1003 {
		t.Errorf("got code %d, want 1003", got.Code)
	}
}

func TestZeroLimitIsTheDefault(t *testing.T) {
	fits := strings.Repeat("x", DefaultMessageBytes)
	if got := feed(masked(OpText, true, fits), Limits{}); len(got.Messages) != 1 {
		t.Errorf("got %d messages of %d bytes, want 1", len(got.Messages), len(fits))
	}
	if got := feed(masked(OpText, true, fits+"x"), Limits{}); got.Code != 1009 {
		t.Errorf("got code %d for one byte more, want 1009", got.Code)
	}
}

func TestCloseCodesThatPeersMaySend(t *testing.T) {
	valid := func(code int) bool {
		return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
	}
	for code := range 1 << 16 {
		got := feed(masked(OpClose, true, string([]byte{byte(code >> 8), byte(code)})), Limits{})
		want := heard{Code: 1002}
		if valid(code) {
			want = heard{Code: uint16(code), Remote: true}
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Fatalf("close code %d (-got +want):\n%s", code, diff)
		}
	}
}

func TestReasonOfThePeerIsKept(t *testing.T) {
	var d Decoder
	_, _, err := d.Feed(masked(OpClose, true, "\x0f\xa1until späte"), Limits{})
	ce, ok := errors.AsType[*CloseError](err)
	if want := (CloseError{Code: 4001, Reason: "until späte", Remote: true}); !ok || *ce != want {
		t.Errorf("got %v, want %v", err, &want)
	}
}

func TestInvalidTextIsRefusedByTheByteThatShowsIt(t *testing.T) {
	// The frame announces far more than arrives.
	tests := []struct {
		name string
		text string // its last byte is the one
	}{
		{"impossible lead byte", "ok\xff"},
		{"overlong by its lead byte", "ok\xc0"},
		{"lone continuation", "ok\x80"},
		{"surrogate by its second byte", "ok\xed\xa0"},
		{"too high by its second byte", "ok\xf4\x90"},
		{"broken third byte", "ok\xe2\x82a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := masked(OpText, true, tt.text+strings.Repeat("x", 100))
			stream := frame[:6+len(tt.text)]
			if got := feed(stream[:len(stream)-1], Limits{}); got.Code != 0 {
				t.Fatalf("got code %d one byte before, want none", got.Code)
			}
			if got := feed(stream, Limits{}); got.Code != 1007 {
				t.Errorf("got code %d, want 1007", got.Code)
			}
			if got := feed(stream, Limits{}, len(stream)-1); got.Code != 1007 {
				t.Errorf("got code %d with the byte alone, want 1007", got.Code)
			}
		})
	}
}

func TestWholeMessageIsNotCopied(t *testing.T) {
	var d Decoder
	p := append(masked(OpText, true, "first"), masked(OpText, true, "second")...)
	m, n, err := d.Feed(p, Limits{})
	if err != nil || string(m.Payload) != "first" {
		t.Fatalf("got %q, %v, want the first message", m.Payload, err)
	}
	if &m.Payload[0] != &p[6] {
		t.Error("got a copy, want a part of the input")
	}
	// Neither when the header came before, or amid fragments a control frame.
	second := p[n:]
	if _, _, err := d.Feed(second[:3], Limits{}); err != nil {
		t.Fatal(err)
	}
	if m, _, _ := d.Feed(second[3:], Limits{}); &m.Payload[0] != &second[6] {
		t.Error("got a copy after a header in two parts, want a part of the input")
	}
	allocs := testing.AllocsPerRun(100, func() {
		_, _, _ = d.Feed(AppendMasked(p[:0], OpText, true, [4]byte{1, 2, 3, 4}, []byte("again")), Limits{})
	})
	if allocs != 0 {
		t.Errorf("got %v allocations for a whole message, want 0", allocs)
	}
}

func TestMemoryFollowsWhatArrivedNotWhatIsAnnounced(t *testing.T) {
	var d Decoder
	payload := strings.Repeat("x", 64<<10)
	frame := masked(OpText, true, payload)
	const head = 14
	_, n, err := d.Feed(frame[:head], Limits{})
	if err != nil || n != head {
		t.Fatalf("got %d, %v, want %d", n, err, head)
	}
	if got := cap(d.part.message); got != 0 {
		t.Errorf("got %d bytes for a header, want 0", got)
	}
	for i := head; i < len(frame)-1; i += 100 {
		if _, _, err := d.Feed(frame[i:min(i+100, len(frame)-1)], Limits{}); err != nil {
			t.Fatal(err)
		}
		arrived := len(d.part.message)
		if got, most := cap(d.part.message), max(64, 2*arrived); got > most {
			t.Fatalf("got %d bytes of memory for %d that arrived, want at most %d", got, arrived, most)
		}
	}
	if got, most := cap(d.part.message), len(payload); got > most {
		t.Errorf("got %d bytes for a message whose length is known, want at most %d", got, most)
	}
	m, _, err := d.Feed(frame[len(frame)-1:], Limits{})
	if err != nil || string(m.Payload) != payload {
		t.Errorf("got %d bytes, %v, want the message", len(m.Payload), err)
	}
	if !d.Idle() {
		t.Error("got memory after the message, want none")
	}
}

func TestManySmallFragmentsAreCopiedOnlyOften(t *testing.T) {
	var d Decoder
	one := masked(OpContinuation, false, "x")
	limits := Limits{Message: 60_000 * leastFragment} // so many fragments
	if _, _, err := d.Feed(masked(OpText, false, "x"), limits); err != nil {
		t.Fatal(err)
	}
	grown := 0
	for last := 0; len(d.part.message) < 60_000; {
		if _, _, err := d.Feed(bytes.Clone(one), limits); err != nil {
			t.Fatal(err)
		}
		if c := cap(d.part.message); c != last {
			last = c
			grown++
		}
	}
	if grown > 16 {
		t.Errorf("got %d moves of the message, want one for each doubling", grown)
	}
}

func TestLowerLimitAmidAMessageHolds(t *testing.T) {
	var d Decoder
	if _, _, err := d.Feed(masked(OpText, false, "0123456789"), Limits{Message: 10}); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.Feed(masked(OpContinuation, true, "x"), Limits{Message: 5})
	if ce, _ := errors.AsType[*CloseError](err); ce == nil || ce.Code != 1009 {
		t.Errorf("got %v, want code 1009", err)
	}
}

func TestEveryCutOfAValidStreamGivesTheSameMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream, want := drawStream(t)
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(stream)), 0, 8).Draw(t, "cuts")
		slices.Sort(cuts)
		got := feed(stream, Limits{Binary: true}, cuts...)
		if diff := cmp.Diff(got, heard{Messages: want, Idle: true}); diff != "" {
			t.Errorf("cut at %v (-got +want):\n%s", cuts, diff)
		}
	})
}

// drawStream draws messages, cut into fragments with control frames between them.
func drawStream(t *rapid.T) (stream []byte, want []heardMessage) {
	key := func() (k [4]byte) {
		binary.BigEndian.PutUint32(k[:], rapid.Uint32().Draw(t, "key"))
		return k
	}
	control := func() {
		op := rapid.SampledFrom([]Opcode{OpPing, OpPong}).Draw(t, "control")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 125).Draw(t, "control payload")
		stream = AppendMasked(stream, op, true, key(), payload)
		want = append(want, heardMessage{op, string(payload)})
	}
	for range rapid.IntRange(0, 4).Draw(t, "messages") {
		op, payload := OpText, []byte(rapid.StringN(-1, -1, 300).Draw(t, "text"))
		if rapid.Bool().Draw(t, "binary") {
			op, payload = OpBinary, rapid.SliceOfN(rapid.Byte(), 0, 70_000).Draw(t, "payload")
			payload = payload[:min(len(payload), DefaultMessageBytes)]
		}
		frameOp, rest := op, payload
		for range rapid.IntRange(0, 3).Draw(t, "fragments") {
			n := rapid.IntRange(0, len(rest)).Draw(t, "fragment")
			stream = AppendMasked(stream, frameOp, false, key(), rest[:n])
			frameOp, rest = OpContinuation, rest[n:]
			if rapid.Bool().Draw(t, "interleave") {
				control()
			}
		}
		stream = AppendMasked(stream, frameOp, true, key(), rest)
		want = append(want, heardMessage{op, string(payload)})
	}
	if rapid.Bool().Draw(t, "control at the end") {
		control()
	}
	return stream, want
}

func TestAMessageOfTooManyFragmentsIsRefused(t *testing.T) {
	for name, piece := range map[string]string{"of one byte": "x", "of nothing": ""} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			n, err := 0, error(nil)
			for op := OpText; err == nil && n < 100_000; op = OpContinuation {
				_, _, err = d.Feed(masked(op, false, piece), Limits{})
				if n++; err == nil && n%10 == 0 { // control frames between them are no fragments
					_, _, err = d.Feed(masked(OpPong, true, ""), Limits{})
				}
			}
			if ce, _ := errors.AsType[*CloseError](err); ce == nil || ce.Code != codePolicy {
				t.Errorf("got %v, want code 1008", err)
			}
			if want := fewFragments + DefaultMessageBytes/leastFragment + 1; n != want {
				t.Errorf("refused the fragment %d, want %d", n, want)
			}
		})
	}
}
