package ws

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// silent is a Sink that only says when a socket is writable.
type silent struct {
	writable chan struct{} // may be nil if nothing is written
}

func (silent) Message(uint64, Opcode, []byte) int { return 0 }
func (silent) Ping(uint64, []byte)                {}
func (silent) Pong(uint64, []byte)                {}
func (s silent) Writable(uint64)                  { s.writable <- struct{}{} }
func (silent) Closed(uint64, error)               {}

func BenchmarkDecoder(b *testing.B) {
	for _, op := range []Opcode{OpText, OpBinary} {
		for _, size := range []int{128, 16 << 10} {
			b.Run(fmt.Sprintf("%v/%d", op, size), func(b *testing.B) {
				frame := masked(op, true, strings.Repeat("a", size))
				p := make([]byte, len(frame))
				var d Decoder
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					copy(p, frame) // Feed unmasks in place
					if _, _, err := d.Feed(p, Limits{Binary: true}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecoderInPieces(b *testing.B) {
	const size, piece = 16 << 10, 1 << 10
	frame := masked(OpText, true, strings.Repeat("a", size))
	p := make([]byte, len(frame))
	var d Decoder
	b.ReportAllocs()
	b.SetBytes(size)
	for b.Loop() {
		copy(p, frame)
		for i := 0; i < len(p); i += piece {
			if _, _, err := d.Feed(p[i:min(i+piece, len(p))], Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkWrite writes one frame, shared by all receivers, to a connection that is
// read as fast as it can be.
func BenchmarkWrite(b *testing.B) {
	frame := AppendFrame(nil, OpText, []byte(strings.Repeat("a", 256)))
	for _, tr := range transports(b) {
		for _, batch := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/%d", tr.name, batch), func(b *testing.B) {
				sink := silent{writable: make(chan struct{}, 1)}
				e := NewGoroutineEngine(sink, Config{})
				client, server, err := tr.connect()
				if err != nil {
					b.Fatal(err)
				}
				s, err := e.Attach(server, nil)
				if err != nil {
					b.Fatal(err)
				}
				e.Start(s, 1)
				drained := make(chan struct{})
				go func() {
					defer close(drained)
					_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, client, make([]byte, 1<<20))
				}()
				bufs := make([][]byte, batch)
				b.ReportAllocs()
				for b.Loop() {
					for i := range bufs {
						bufs[i] = frame
					}
					writeAll(b, e, s, bufs, sink.writable)
				}
				_ = e.Close()
				<-drained
				_ = client.Close()
			})
		}
	}
}

// writeAll writes bufs, which it changes, and waits where it must.
func writeAll(b *testing.B, e Engine, s Socket, bufs [][]byte, writable <-chan struct{}) {
	for len(bufs) > 0 {
		n, blocked, err := e.Write(s, bufs)
		if err != nil {
			b.Fatal(err)
		}
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			bufs[0] = bufs[0][n:]
		}
		if blocked {
			<-writable
		}
	}
}

// BenchmarkEcho sends a message of 128 bytes back and forth.
func BenchmarkEcho(b *testing.B) {
	text := strings.Repeat("a", 128)
	in, out := masked(OpText, true, text), AppendFrame(nil, OpText, []byte(text))
	for _, tr := range transports(b) {
		b.Run(tr.name, func(b *testing.B) {
			sink := newEcho()
			e := NewGoroutineEngine(sink, Config{})
			sink.engine = e
			client, server, err := tr.connect()
			if err != nil {
				b.Fatal(err)
			}
			s, err := e.Attach(server, nil)
			if err != nil {
				b.Fatal(err)
			}
			sink.add(s)
			got := make([]byte, len(out))
			for b.Loop() {
				if _, err := client.Write(in); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, got); err != nil {
					b.Fatal(err)
				}
			}
			_ = e.Close()
			_ = client.Close()
		})
	}
}
