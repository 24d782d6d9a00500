package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// benchFrame returns a message of a run whose frame has size bytes.
func benchFrame(b *testing.B, size int) (wire.Envelope, []byte) {
	b.Helper()
	e := wire.Envelope{
		Type: wire.AgentThinking, ID: "019ab697-e877-76ca-a202-c88e549dff68", Timestamp: 1764000000.119,
		ThreadID: "t-orders", RunID: "r_a791366f6f62", Payload: []byte(`{"reasoning":""}`),
	}
	short, err := wire.Append(nil, e)
	if err != nil {
		b.Fatal(err)
	}
	e.Payload = fmt.Appendf(nil, `{"reasoning":"%s"}`, strings.Repeat("x", size-len(short)))
	frame, err := wire.Append(nil, e)
	if err != nil || len(frame) != size {
		b.Fatalf("got a frame of %d bytes, error %v, want %d", len(frame), err, size)
	}
	return e, frame
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{256, 2048} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			_, frame := benchFrame(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Parse(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{256, 2048} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			env, frame := benchFrame(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if frame, err = wire.Append(frame[:0], env); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPlaced(b *testing.B) {
	for _, size := range []int{256, 2048} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			_, body := benchFrame(b, size)
			topic, at := wire.Topic{Kind: wire.KindUser, ID: "alice"}, time.UnixMilli(1764000000042)
			frame := wire.AppendPlaced(nil, topic, 1<<40, at, body)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				frame = wire.AppendPlaced(frame[:0], topic, 1<<40, at, body)
			}
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	_, body := benchFrame(b, 256)
	r := wire.Record{
		Kind: wire.RecordMessage, Topic: wire.Topic{Kind: wire.KindUser, ID: "alice"}, Thread: "t-orders",
		Except: []string{"ses_5b53b6c789e6"}, Body: body,
	}
	data, err := wire.AppendRecord(nil, r)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if data, err = wire.AppendRecord(data[:0], r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.ParseRecord(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendAck(b *testing.B) {
	ack := wire.Ack{Status: wire.StatusOK, Position: wire.Position{Epoch: "a1Fq", Offset: 43}}
	var frame []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if frame, err = wire.AppendAck(frame[:0], "019ab697-e877-76ca-a202-c88e549dff68", 1764000000.119, ack, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	env, _ := benchFrame(b, 256)
	b.ReportAllocs()
	for b.Loop() {
		var v wire.AgentThinkingPayload
		if err := env.Decode(&v); err != nil {
			b.Fatal(err)
		}
	}
}
