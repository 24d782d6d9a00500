package switchboard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// BenchmarkResumeInAText is a device that comes back to a text of 10,000 appends of which it has
// the first: from session_restore to the last chunk, sockets in memory.
func BenchmarkResumeInAText(b *testing.B) {
	const appends = 10_000
	s := newServer(b, switchboard.Options{})
	run, err := s.Runs().Start(b.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
	if err != nil {
		b.Fatal(err)
	}
	length := 0
	for i := range appends {
		if length, err = run.Stream("answer").AppendAt(b.Context(), -1, fmt.Sprintf("token %d ", i)); err != nil {
			b.Fatal(err)
		}
	}
	chunks := 0
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		a := s.connect(b, request{path: "/ws?resume=1", token: "alice"})
		b.StartTimer()
		began := time.Now()
		a.send(`{"type":"session_restore","payload":{"positions":{"user/alice":"%s"},"streams":{"R/answer":8}}}`, a.welcome.Topics["user/alice"])
		for have := 8; have < length; {
			env := a.next()
			if env.Type != wire.StreamChunk {
				continue
			}
			chunk := payload[wire.StreamChunkPayload](b, env)
			if chunk.Start != have {
				b.Fatalf("got text from %d on, want from %d", chunk.Start, have)
			}
			have += len([]rune(chunk.Text))
			chunks++
		}
		took += time.Since(began)
		b.StopTimer()
		_ = a.conn.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(chunks)/float64(b.N), "chunks")
	b.ReportMetric(float64(took.Microseconds())/float64(b.N)/1000, "ms/resume")
}

// BenchmarkRun is a short run without watchers: begin, one event, 100 appends, end.
func BenchmarkRun(b *testing.B) {
	s := newServer(b, switchboard.Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		run, err := s.Runs().Start(b.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice")})
		if err == nil {
			err = run.Thinking(b.Context(), "about it")
		}
		for range 100 {
			if err == nil {
				_, err = run.Stream("answer").AppendAt(b.Context(), -1, "token ")
			}
		}
		if err == nil {
			_, err = run.Complete(b.Context(), nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
