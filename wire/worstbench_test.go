package wire_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// hostileFrames are 64 KiB each, made to be dear to read.
func hostileFrames() map[string]string {
	const size = 64 << 10
	keys := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size-100; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	fill := func(piece string) string {
		return strings.TrimSuffix(strings.Repeat(piece, (size-100)/len(piece)), ",")
	}
	return map[string]string{
		"different keys":         `{"type":"x",` + keys(`"k%d":0,`) + `}`,
		"different keys within":  `{"type":"x","payload":{` + keys(`"k%d":0,`) + `}}`,
		"a duplicate at the end": `{"type":"x",` + keys(`"k%d":0,`) + `,"k0":0}`,
		"small objects":          `{"type":"x","payload":{"a":[` + fill(`{"a":{}},`) + `]}}`,
		"as deep as allowed":     `{"type":"x","payload":{"a":[` + fill(strings.Repeat("[", 28)+strings.Repeat("]", 28)+",") + `]}}`,
		"too deep":               `{"type":"x","payload":{"a":` + strings.Repeat("[", size/2-50) + strings.Repeat("]", size/2-50) + `}}`,
		"escapes":                `{"type":"x","payload":{"a":"` + fill(`\u00e9`) + `"}}`,
		"a long number":          `{"type":"x","timestamp":` + fill(`9`) + `}`,
		"a long id of escapes":   `{"type":"x","message_id":"` + fill(`\u0041`) + `"}`,
		"lengths":                `{"type":"x","stream_lengths":{` + keys(`"k%d":1,`) + `}}`,
		"not closed":             `{"type":"x","payload":{"a":[` + fill(`{},`),
	}
}

func BenchmarkParseOfHostileFrames(b *testing.B) {
	for name, text := range hostileFrames() {
		b.Run(name, func(b *testing.B) {
			frame := []byte(text)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = wire.Parse(frame)
			}
		})
	}
}

// What a frame takes in memory while it is read is bounded by its length, whatever is in it.
func TestAHostileFrameCostsLittleMemory(t *testing.T) {
	const times = 20
	for name, text := range hostileFrames() {
		frame := []byte(text)
		_, _ = wire.Parse(frame) // the parser itself is kept for the next frame
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			_, _ = wire.Parse(frame)
		}
		runtime.ReadMemStats(&after)
		if got, most := int(after.TotalAlloc-before.TotalAlloc)/times, 24*len(frame); got > most {
			t.Errorf("%s: got %d bytes of memory for %d, want at most %d", name, got, len(frame), most)
		}
	}
}
